//! Alerts over restarts: by the state file, and by their series where there is none.

use std::path::Path;

use throughline_store::{Disk as _, SimDisk};

use super::*;
use crate::state::{self, Saved, SavedGroup};

fn restart(definition: &GroupDefinition) -> Group {
    Group::new("a.yml", definition, &Settings::default(), true)
}

fn adopt(world: &World, group: &mut Group, saved: &SavedGroup, saved_at_ns: i64, now_ns: i64) {
    let env = Environment {
        querier: world,
        sink: world,
        settings: &Settings::default(),
        now_ns: &|| now_ns,
        monotonic: &|| Duration::ZERO,
    };
    group.adopt(saved, saved_at_ns, &env);
}

/// A group whose alert has been pending since the start, evaluated until five minutes later, after a crash.
fn pending_for_five_minutes(world: &World, hold_s: i64) -> (GroupDefinition, SavedGroup) {
    let definition = group(vec![alert("A", "x", hold_s)]);
    let mut before = running(&definition);
    world.set("x", &[("job=a", 1.0)]);
    for minute in 0..=5 {
        world.evaluate(&mut before, START_NS + minute * MINUTE_NS);
    }
    (definition, before.saved())
}

#[test]
fn without_a_state_file_alerts_come_back_from_their_series() {
    let world = World::default();
    let (definition, _) = pending_for_five_minutes(&world, 1200);
    // Ten minutes down.
    let mut group = restart(&definition);
    let up_ns = START_NS + 15 * MINUTE_NS;
    let n_before = world.written.lock().unwrap().len();
    world.evaluate(&mut group, up_ns);
    world.evaluate(&mut group, up_ns + MINUTE_NS);
    // Until its past is known, a rule writes no series that would replace it.
    assert_eq!(world.written.lock().unwrap().len(), n_before);
    // Five minutes were spent, eleven were down; of twenty, fifteen remain after the second evaluation.
    for minute in 2..=15 {
        world.evaluate(&mut group, up_ns + minute * MINUTE_NS);
        assert_eq!(state(&group), "pending", "{minute}");
    }
    world.evaluate(&mut group, up_ns + 16 * MINUTE_NS);
    assert_eq!(state(&group), "firing");
}

#[test]
fn an_alert_that_was_about_to_fire_waits_for_the_grace_period() {
    let world = World::default();
    let (definition, _) = pending_for_five_minutes(&world, 600);
    let mut group = restart(&definition);
    let up_ns = START_NS + 8 * MINUTE_NS;
    for minute in 0..=10 {
        world.evaluate(&mut group, up_ns + minute * MINUTE_NS);
        assert_eq!(state(&group), "pending", "{minute}");
    }
    // Ten minutes after the second evaluation, in which it was restored.
    world.evaluate(&mut group, up_ns + 11 * MINUTE_NS);
    assert_eq!(state(&group), "firing");
}

#[test]
fn after_a_long_outage_alerts_start_anew() {
    let world = World::default();
    let (definition, saved) = pending_for_five_minutes(&world, 1200);
    let up_ns = START_NS + 70 * MINUTE_NS;
    let mut by_series = restart(&definition);
    let mut by_state = restart(&definition);
    adopt(&world, &mut by_state, &saved, START_NS, up_ns);
    for group in [&mut by_series, &mut by_state] {
        for minute in 0..20 {
            world.evaluate(group, up_ns + minute * MINUTE_NS);
            assert_eq!(state(group), "pending");
        }
        world.evaluate(group, up_ns + 20 * MINUTE_NS);
        assert_eq!(state(group), "firing");
    }
}

#[test]
fn with_a_state_file_a_pending_alert_goes_on_where_it_was() {
    let world = World::default();
    // Shorter than the grace period: Prometheus would start it anew.
    let (definition, saved) = pending_for_five_minutes(&world, 480);
    let up_ns = START_NS + 7 * MINUTE_NS;
    let mut group = restart(&definition);
    // The file is as old as the last change; that the alert was evaluated later is known from its series.
    adopt(&world, &mut group, &saved, START_NS, up_ns);
    for minute in 0..3 {
        world.evaluate(&mut group, up_ns + minute * MINUTE_NS);
        assert_eq!(state(&group), "pending");
    }
    let outcome = world.evaluate(&mut group, up_ns + 3 * MINUTE_NS);
    assert_eq!(state(&group), "firing");
    assert_eq!(outcome.notifications.len(), 1);
}

#[test]
fn with_a_state_file_a_firing_alert_fires_on_and_its_end_is_told() {
    let world = World::default();
    let definition = group(vec![alert("A", "x", 60)]);
    let mut before = running(&definition);
    world.set("x", &[("job=a", 1.0)]);
    world.evaluate(&mut before, START_NS);
    let fired = world.evaluate(&mut before, START_NS + MINUTE_NS);
    assert_eq!(fired.notifications.len(), 1);
    let up_ns = START_NS + 3 * MINUTE_NS;
    let mut group = restart(&definition);
    adopt(&world, &mut group, &before.saved(), START_NS + MINUTE_NS, up_ns);
    // The first evaluation may come before fresh data: nothing ends in it.
    world.set("x", &[]);
    let first = world.evaluate(&mut group, up_ns);
    assert_eq!(state(&group), "firing");
    assert!(first.notifications.iter().all(|n| n.is_repeat && !n.is_resolved));
    assert_eq!(first.notifications[0].starts_at_ns, START_NS + MINUTE_NS, "it has been firing since then");
    world.written();
    let second = world.evaluate(&mut group, up_ns + MINUTE_NS);
    assert!(second.notifications[0].is_resolved && !second.notifications[0].is_repeat);
    assert_eq!(world.written().iter().filter(|line| line.ends_with("stale")).count(), 2);
}

#[test]
fn series_that_vanished_during_an_outage_are_ended() {
    let world = World::default();
    let definition = group(vec![alert("A", "x", 0)]);
    let mut before = running(&definition);
    world.set("x", &[("job=a", 1.0)]);
    world.evaluate(&mut before, START_NS);
    let saved = before.saved();
    let mut group = restart(&definition);
    adopt(&world, &mut group, &saved, START_NS, START_NS + MINUTE_NS);
    world.written();
    world.set("x", &[]);
    world.evaluate(&mut group, START_NS + MINUTE_NS);
    world.evaluate(&mut group, START_NS + 2 * MINUTE_NS);
    assert!(world.written().iter().filter(|line| line.ends_with("stale")).count() == 2);
}

#[test]
fn the_state_file_is_whole_or_refused() {
    let world = World::default();
    let (_, saved) = pending_for_five_minutes(&world, 60);
    let disk = SimDisk::new(1);
    let path = Path::new("/data/rules/state");
    assert!(state::load(&disk, path).unwrap().is_none());
    let state = Saved { saved_at_ns: START_NS, groups: vec![saved], ..Saved::default() };
    state::save(&disk, path, &Saved::default()).unwrap();
    state::save(&disk, path, &state).unwrap();
    assert_eq!(state::load(&disk, path).unwrap(), Some(state));
    let bytes = disk.read_all(path).unwrap();
    for at in [0, 25, bytes.len() - 3] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        disk.replace(path, &damaged).unwrap();
        assert!(state::load(&disk, path).is_err(), "byte {at}");
    }
    disk.replace(path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(state::load(&disk, path).is_err());
}
