//! The life of an alert.

use super::*;

#[test]
fn an_alert_pends_fires_and_is_resolved() {
    let world = World::default();
    let mut rule = alert("Down", "up == 0", 120);
    rule.labels =
        pairs(&[("severity", "{{ if gt $value 0.5 }}page{{ end }}"), ("job", "new {{ $labels.job }}")]);
    rule.annotations = pairs(&[("summary", "{{ $labels.job }} is at {{ $value }}")]);
    let mut group = running(&group(vec![rule]));
    assert_eq!(state(&group), "unknown");
    world.set("up == 0", &[("__name__=up,job=a", 1.0)]);

    let pending = world.evaluate(&mut group, START_NS);
    assert!(pending.is_changed && pending.notifications.is_empty());
    assert_eq!(state(&group), "pending");
    let series = [
        r#"{__name__="ALERTS", alertname="Down", alertstate="pending", job="new a", severity="page"} 1"#,
        r#"{__name__="ALERTS_FOR_STATE", alertname="Down", job="new a", severity="page"} 1700000000"#,
    ];
    assert_eq!(world.written(), series);

    let still = world.evaluate(&mut group, START_NS + MINUTE_NS);
    assert!(!still.is_changed && still.notifications.is_empty());
    world.written();

    let firing = world.evaluate(&mut group, START_NS + 2 * MINUTE_NS);
    assert!(firing.is_changed);
    let [notification] = firing.notifications.as_slice() else { panic!("{:?}", firing.notifications) };
    assert_eq!(notification.starts_at_ns, START_NS + 2 * MINUTE_NS);
    assert_eq!(notification.ends_at_ns, START_NS + 6 * MINUTE_NS);
    assert_eq!(notification.annotations["summary"], "a is at 1");
    assert!(!notification.is_resolved && !notification.is_repeat);
    assert_eq!(notification.generator_url, "/graph?g0.expr=up+%3D%3D+0&g0.tab=1");
    let series = world.written();
    assert!(series[0].contains("alertstate=\"firing\"") && series[0].ends_with(" 1"), "{series:?}");
    assert!(series[1].contains("alertstate=\"pending\"") && series[1].ends_with(" stale"), "{series:?}");

    world.set("up == 0", &[]);
    let resolved = world.evaluate(&mut group, START_NS + 3 * MINUTE_NS);
    assert!(resolved.is_changed && resolved.notifications[0].is_resolved);
    assert_eq!(resolved.notifications[0].ends_at_ns, START_NS + 3 * MINUTE_NS);
    assert_eq!(state(&group), "inactive");
    assert!(states(&group).is_empty());
    assert_eq!(world.written().iter().filter(|line| line.ends_with("stale")).count(), 2);

    // It is told again for less than 15 minutes, and then forgotten.
    let mut repeats = 0;
    for minute in 4..40 {
        let outcome = world.evaluate(&mut group, START_NS + minute * MINUTE_NS + minute);
        assert!(outcome.notifications.iter().all(|n| n.is_resolved && n.is_repeat));
        repeats += outcome.notifications.len();
    }
    assert_eq!(repeats, 14);
}

#[test]
fn a_pending_alert_whose_condition_ends_is_forgotten() {
    let world = World::default();
    let mut group = running(&group(vec![alert("A", "x", 300)]));
    world.set("x", &[("job=a", 1.0)]);
    world.evaluate(&mut group, START_NS);
    world.set("x", &[]);
    let outcome = world.evaluate(&mut group, START_NS + MINUTE_NS);
    assert!(outcome.is_changed && outcome.notifications.is_empty());
    assert!(states(&group).is_empty());
    // It starts anew.
    world.set("x", &[("job=a", 1.0)]);
    world.evaluate(&mut group, START_NS + 2 * MINUTE_NS);
    world.evaluate(&mut group, START_NS + 6 * MINUTE_NS);
    assert_eq!(state(&group), "pending");
    world.evaluate(&mut group, START_NS + 7 * MINUTE_NS);
    assert_eq!(state(&group), "firing");
}

#[test]
fn an_alert_without_for_fires_at_once_and_is_told_again() {
    let world = World::default();
    let mut group = running(&group(vec![alert("A", "x", 0)]));
    world.set("x", &[("job=a", 1.0), ("job=b", 2.0)]);
    let outcome = world.evaluate(&mut group, START_NS);
    assert_eq!(outcome.notifications.len(), 2);
    // Not before the delay is over, and then as a repetition.
    assert!(world.evaluate(&mut group, START_NS + 30 * SECOND_NS).notifications.is_empty());
    assert!(world.evaluate(&mut group, START_NS + MINUTE_NS).notifications.is_empty());
    let again = world.evaluate(&mut group, START_NS + MINUTE_NS + 1);
    assert_eq!(again.notifications.len(), 2);
    assert!(again.notifications.iter().all(|n| n.is_repeat) && !again.is_changed);
    // One of two ends, and comes back as a new alert.
    world.set("x", &[("job=b", 2.0)]);
    let ended = world.evaluate(&mut group, START_NS + 90 * SECOND_NS);
    assert_eq!(ended.notifications.len(), 1);
    world.set("x", &[("job=a", 1.0), ("job=b", 2.0)]);
    let back = world.evaluate(&mut group, START_NS + 100 * SECOND_NS);
    let [notification] = back.notifications.as_slice() else { panic!("{:?}", back.notifications) };
    assert!(!notification.is_resolved && !notification.is_repeat);
    assert_eq!(notification.starts_at_ns, START_NS + 100 * SECOND_NS);
}

#[test]
fn keep_firing_for_bridges_gaps() {
    let world = World::default();
    let mut rule = alert("A", "x", 0);
    rule.keep_firing_ms = 180_000;
    let mut group = running(&group(vec![rule]));
    world.set("x", &[("job=a", 1.0)]);
    world.evaluate(&mut group, START_NS);
    world.set("x", &[]);
    let since = |group: &Group| {
        let status = group.status();
        status.rules[0].alerting.as_ref().and_then(|a| a.alerts.first()?.keep_firing_since_ns)
    };
    for minute in 1..4 {
        world.evaluate(&mut group, START_NS + minute * MINUTE_NS);
        assert_eq!(state(&group), "firing");
        assert_eq!(since(&group), Some(START_NS + MINUTE_NS));
    }
    // The condition holds again: the count starts over.
    world.set("x", &[("job=a", 1.0)]);
    world.evaluate(&mut group, START_NS + 4 * MINUTE_NS);
    assert_eq!(since(&group), None);
    world.set("x", &[]);
    for minute in 5..8 {
        world.evaluate(&mut group, START_NS + minute * MINUTE_NS);
        assert_eq!(state(&group), "firing");
    }
    let outcome = world.evaluate(&mut group, START_NS + 8 * MINUTE_NS);
    assert_eq!(state(&group), "inactive");
    assert!(outcome.notifications[0].is_resolved);
}

#[test]
fn a_longer_for_makes_a_firing_alert_pending() {
    let world = World::default();
    let mut old = running(&group(vec![alert("A", "x", 60)]));
    world.set("x", &[("job=a", 1.0)]);
    world.evaluate(&mut old, START_NS);
    world.evaluate(&mut old, START_NS + MINUTE_NS);
    assert_eq!(state(&old), "firing");
    let mut new = running(&group(vec![alert("A", "x", 180)]));
    new.take_over(old);
    world.evaluate(&mut new, START_NS + 2 * MINUTE_NS);
    assert_eq!(state(&new), "pending");
    let outcome = world.evaluate(&mut new, START_NS + 3 * MINUTE_NS);
    assert_eq!(state(&new), "firing");
    assert!(!outcome.notifications[0].is_repeat);
}

#[test]
fn alerts_that_cannot_be_told_apart_are_an_error() {
    let world = World::default();
    let mut rule = alert("A", "x", 0);
    rule.labels = pairs(&[("job", "")]);
    let mut group = running(&group(vec![rule]));
    world.set("x", &[("job=a", 1.0), ("job=b", 1.0)]);
    let outcome = world.evaluate(&mut group, START_NS);
    assert!(outcome.failures[0].1.contains("same labelset after applying alert labels"));
}

#[test]
fn a_write_that_fails_is_the_rules_error_and_alerts_go_on() {
    let world = World::default();
    let mut group = running(&group(vec![alert("A", "x", 0)]));
    world.set("x", &[("job=a", 1.0)]);
    *world.refuses_writes.lock().unwrap() = true;
    let outcome = world.evaluate(&mut group, START_NS);
    assert_eq!(outcome.failures, [("A".to_owned(), "disk full".to_owned())]);
    assert_eq!(outcome.notifications.len(), 1, "people are told all the same");
    assert_eq!(group.status().rules[0].health.error.as_deref(), Some("disk full"));
}

#[test]
fn external_labels_are_added_to_what_receivers_see() {
    let world = World::default();
    let mut group = running(&group(vec![alert("A", "x", 0)]));
    world.set("x", &[("job=a", 1.0)]);
    let settings = Settings {
        external_labels: [("zone", "z"), ("job", "never")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        external_url: "http://tl".to_owned(),
        ..Settings::default()
    };
    let outcome = world.evaluate_with(&mut group, START_NS, &settings);
    let labels = &outcome.notifications[0].labels;
    assert_eq!((labels["zone"].as_str(), labels["job"].as_str()), ("z", "a"));
    assert!(outcome.notifications[0].generator_url.starts_with("http://tl/graph?"));
    assert!(world.written().iter().all(|line| !line.contains("zone")));
}

#[test]
fn an_alert_that_begins_to_fire_cites_the_exemplars_of_its_series() {
    let world = World::default();
    let mut rule = alert("Slow", "latency > 1", 60);
    rule.labels = pairs(&[("severity", "page")]);
    let mut group = running(&group(vec![rule]));
    world.set("latency > 1", &[("__name__=latency,service=web", 2.0)]);
    let exemplar = |service: &str, trace: &str, second: i64, value: f64| FoundExemplar {
        series: parse_labels(&format!("__name__=latency_bucket,service={service},le=5")),
        cited: Cited {
            labels: vec![("trace_id".to_owned(), trace.to_owned())],
            time_ms: START_NS / 1_000_000 + 1_000 * second,
            value,
        },
    };
    *world.exemplars.lock().unwrap() = vec![
        exemplar("web", "a", 10, 1.5),
        exemplar("web", "b", 20, 3.0),
        exemplar("web", "b", 21, 2.9),
        exemplar("db", "c", 30, 9.0),
        exemplar("web", "old", -600, 99.0),
    ];
    let cites = |world: &World| -> Vec<(String, Vec<String>)> {
        let written = std::mem::take(&mut *world.written.lock().unwrap());
        let citing = written.into_iter().filter(|sample| !sample.cites.is_empty());
        let traces = |sample: &Sample| sample.cites.iter().map(|cited| cited.labels[0].1.clone()).collect();
        citing.map(|sample| (sample.labels.to_string(), traces(&sample))).collect()
    };
    world.evaluate(&mut group, START_NS);
    assert_eq!(cites(&world), [], "it does not fire yet");
    world.evaluate(&mut group, START_NS + MINUTE_NS);
    let series =
        r#"{__name__="ALERTS", alertname="Slow", alertstate="firing", service="web", severity="page"}"#;
    let expected = vec!["b".to_owned(), "a".to_owned()];
    assert_eq!(cites(&world), [(series.to_owned(), expected)], "the largest first, each trace once");
    world.evaluate(&mut group, START_NS + 2 * MINUTE_NS);
    assert_eq!(cites(&world), [], "once");
}
