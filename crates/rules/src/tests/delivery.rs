//! Notifications on their way.

use serde_json::{Value as Json, json};

use super::*;
use crate::notification::{self, Notification};
use crate::outbox::{Kind, Next, Outbox, Receiver};

const NOW: Duration = Duration::from_secs(100);

fn notification(name: &str, job: &str, is_resolved: bool) -> Notification {
    Notification {
        labels: [("alertname", name), ("job", job)].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        annotations: [("summary".to_owned(), format!("{job} is down"))].into(),
        starts_at_ns: START_NS,
        ends_at_ns: START_NS + MINUTE_NS,
        is_resolved,
        is_repeat: false,
        generator_url: "http://tl/graph".to_owned(),
    }
}

fn outbox(kinds: &[Kind]) -> Outbox {
    let receivers = kinds.iter().enumerate();
    Outbox::new(receivers.map(|(at, kind)| Receiver { kind: *kind, url: format!("http://r{at}") }).collect())
}

fn batch(outbox: &mut Outbox, receiver: usize, now: Duration) -> Vec<Notification> {
    match outbox.next(receiver, now) {
        Next::Batch(batch) => batch,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_leaves_before_it_is_saved() {
    let mut outbox = outbox(&[Kind::Alertmanager]);
    outbox.add(&[notification("A", "a", false)]);
    assert_eq!(outbox.next(0, NOW), Next::Idle);
    outbox.release();
    assert_eq!(batch(&mut outbox, 0, NOW).len(), 1);
    outbox.add(&[notification("A", "b", false)]);
    outbox.delivered(0);
    assert_eq!(outbox.next(0, NOW), Next::Idle);
    outbox.release();
    assert_eq!(batch(&mut outbox, 0, NOW)[0].labels["job"], "b");
    outbox.delivered(0);
    assert_eq!(outbox.receivers().next().unwrap().1.sent, 2);
}

#[test]
fn a_failure_is_tried_again_later_and_later() {
    let mut outbox = outbox(&[Kind::Alertmanager]);
    outbox.add(&[notification("A", "a", false)]);
    outbox.release();
    let mut now = NOW;
    let mut pauses = Vec::new();
    for _ in 0..8 {
        batch(&mut outbox, 0, now);
        outbox.failed(0, now);
        let Next::Wait(until) = outbox.next(0, now) else { panic!() };
        pauses.push((until - now).as_secs());
        now = until;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    batch(&mut outbox, 0, now);
    outbox.delivered(0);
    assert_eq!(outbox.next(0, now), Next::Idle);
}

#[test]
fn what_waits_is_replaced_by_what_says_the_same() {
    let mut outbox = outbox(&[Kind::Alertmanager]);
    let mut newer = notification("A", "a", false);
    newer.ends_at_ns += MINUTE_NS;
    outbox.add(&[notification("A", "a", false), notification("A", "b", false), newer.clone()]);
    outbox.add(&[notification("A", "a", true), notification("A", "a", false)]);
    outbox.release();
    let waiting = batch(&mut outbox, 0, NOW);
    let order: Vec<(&str, bool)> =
        waiting.iter().map(|n| (n.labels["job"].as_str(), n.is_resolved)).collect();
    assert_eq!(order, [("a", false), ("b", false), ("a", true), ("a", false)]);
    assert_eq!(waiting[0], newer);
    // What is being delivered is not replaced: its delivery says nothing about what came since.
    outbox.add(&[notification("A", "a", false)]);
    outbox.delivered(0);
    outbox.release();
    assert_eq!(batch(&mut outbox, 0, NOW).len(), 1);
}

#[test]
fn one_that_is_refused_does_not_hold_up_the_others() {
    let mut outbox = outbox(&[Kind::Alertmanager]);
    outbox.add(&["a", "bad", "c"].map(|job| notification("A", job, false)));
    outbox.release();
    assert_eq!(batch(&mut outbox, 0, NOW).len(), 3);
    outbox.refused(0);
    let mut delivered = Vec::new();
    while let Next::Batch(batch) = outbox.next(0, NOW) {
        assert_eq!(batch.len(), 1);
        if batch[0].labels["job"] == "bad" {
            outbox.refused(0);
        } else {
            delivered.push(batch[0].labels["job"].clone());
            outbox.delivered(0);
        }
    }
    assert_eq!(delivered, ["a", "c"]);
    let counts = outbox.receivers().next().unwrap().1;
    assert_eq!((counts.sent, counts.dropped, counts.waiting), (2, 1, 0));
}

#[test]
fn a_full_queue_loses_the_oldest() {
    let mut outbox = outbox(&[Kind::Alertmanager]);
    let many: Vec<Notification> = (0..10_100).map(|n| notification("A", &n.to_string(), false)).collect();
    outbox.add(&many);
    outbox.release();
    let counts = outbox.receivers().next().unwrap().1;
    assert_eq!((counts.waiting, counts.dropped), (10_000, 100));
    assert_eq!(batch(&mut outbox, 0, NOW)[0].labels["job"], "100");
    assert_eq!(batch(&mut outbox, 0, NOW).len(), 256);
}

#[test]
fn webhooks_hear_every_change_once() {
    let mut outbox = outbox(&[Kind::Alertmanager, Kind::Webhook]);
    let mut repeat = notification("A", "a", false);
    repeat.is_repeat = true;
    outbox.add(&[repeat, notification("A", "b", false), notification("B", "b", false)]);
    outbox.release();
    assert_eq!(batch(&mut outbox, 0, NOW).len(), 3);
    assert_eq!(batch(&mut outbox, 1, NOW).len(), 1, "one payload is about alerts of one name");
    outbox.delivered(1);
    assert_eq!(batch(&mut outbox, 1, NOW)[0].name(), "B");
}

#[test]
fn what_waits_survives_a_restart() {
    let mut before = outbox(&[Kind::Alertmanager, Kind::Webhook]);
    before.add(&[notification("A", "a", false), notification("A", "b", true)]);
    let waiting = before.waiting();
    assert_eq!(waiting.len(), 2);
    let mut after = outbox(&[Kind::Alertmanager]);
    after.restore(&waiting, START_NS, START_NS);
    assert_eq!(batch(&mut after, 0, NOW).len(), 2);
    // An Alertmanager would take an alert whose end has passed for resolved.
    let mut later = outbox(&[Kind::Alertmanager, Kind::Webhook]);
    later.restore(&waiting, START_NS, START_NS + 2 * MINUTE_NS);
    assert!(batch(&mut later, 0, NOW).iter().all(|n| n.is_resolved));
    assert_eq!(batch(&mut later, 1, NOW).len(), 2);
    let mut much_later = outbox(&[Kind::Alertmanager]);
    much_later.restore(&waiting, START_NS + 2 * MINUTE_NS, START_NS + 60 * MINUTE_NS);
    assert_eq!(much_later.next(0, NOW), Next::Idle);
}

#[test]
fn payloads() {
    let firing = notification("A", "a", false);
    let body: Json =
        serde_json::from_str(&notification::alertmanager_body(std::slice::from_ref(&firing))).unwrap();
    let expected = json!([{
        "labels": {"alertname": "A", "job": "a"},
        "annotations": {"summary": "a is down"},
        "startsAt": "2023-11-14T22:13:20.000Z",
        "endsAt": "2023-11-14T22:14:20.000Z",
        "generatorURL": "http://tl/graph",
    }]);
    assert_eq!(body, expected);
    let both = [firing, notification("A", "b", true)];
    let body: Json = serde_json::from_str(&notification::webhook_body(&both, "http://tl")).unwrap();
    assert_eq!(body["version"], "4");
    assert_eq!(body["status"], "firing");
    assert_eq!(body["groupKey"], "{}:{alertname=\"A\"}");
    assert_eq!(body["commonLabels"], json!({"alertname": "A"}));
    assert_eq!(body["commonAnnotations"], json!({}));
    assert_eq!(body["alerts"][0]["endsAt"], "0001-01-01T00:00:00Z");
    assert_eq!(body["alerts"][1]["status"], "resolved");
    assert_eq!(body["alerts"][1]["endsAt"], "2023-11-14T22:14:20.000Z");
    assert_eq!(body["alerts"][0]["fingerprint"].as_str().map(str::len), Some(16));
}
