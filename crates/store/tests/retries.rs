//! Exact retries: stored once, answered as stored, across flushes and crashes.

use std::time::Duration;

use throughline_model::Signal;
use throughline_store::{Clock, Written};

use crate::harness::{Request, Rig, config};

fn request() -> Request {
    Request::new(Signal::Logs, (0..25).collect())
}

#[test]
fn a_retry_is_stored_once() {
    let rig = Rig::new(config());
    assert_eq!(rig.store(&request()), Ok(Written::Stored));
    assert_eq!(rig.store(&request()), Ok(Written::Deduplicated));
    assert_eq!(rig.stored().len(), 25);
    let logs = rig.engine.ledger().logs;
    assert_eq!((logs.received, logs.stored, logs.deduplicated), (50, 25, 25));
}

#[test]
fn a_retry_beside_its_original_is_answered_after_the_same_sync() {
    let rig = Rig::new(config());
    let answers = [rig.submit(&request()), rig.submit(&request())];
    let syncs = rig.engine.status().fsyncs;
    rig.engine.commit_once();
    assert_eq!(rig.engine.status().fsyncs, syncs + 1);
    let answers = answers.map(|answer| answer.lock().expect("no panic").clone());
    assert_eq!(answers, [Some(Ok(Written::Stored)), Some(Ok(Written::Deduplicated))]);
}

#[test]
fn a_retry_is_known_after_a_crash_and_after_a_flush() {
    for flushes in [false, true] {
        let rig = Rig::new(config());
        assert_eq!(rig.store(&request()), Ok(Written::Stored));
        if flushes {
            rig.flush();
        }
        let rig = rig.crash(1);
        rig.clock.advance(Duration::from_secs(600));
        assert_eq!(rig.store(&request()), Ok(Written::Deduplicated), "flushed: {flushes}");
        let rig = rig.crash(2);
        assert_eq!(rig.stored().len(), 25);
        assert_eq!(rig.engine.ledger().logs.deduplicated, 25);
        assert!(rig.engine.ledger().is_balanced());
    }
}

#[test]
fn a_retry_of_what_is_in_the_caches_alone_is_acknowledged_when_it_is_on_the_disk() {
    // A process is killed between writing a request and syncing it. The next one replays it, and finds a disk that takes
    // neither blocks nor syncs for a while.
    for seed in 0..20 {
        let rig = Rig::new(config());
        assert_eq!(rig.store(&Request::new(Signal::Logs, vec![99])), Ok(Written::Stored));
        rig.disk.cut_power_after(0);
        assert!(rig.store(&request()).is_err());
        rig.disk.end_process();
        let (writes, syncs) = (rig.disk.writes(), rig.disk.syncs());
        rig.disk.fail_write_at(writes + 1..=writes + 1_000);
        rig.disk.fail_sync_at(syncs + 1..=syncs + 1_000);
        let rig = rig.reopen();
        assert_eq!(rig.stored().len(), 26, "it was replayed");
        rig.disk.fail_write_at(u64::MAX..=u64::MAX);
        rig.disk.fail_sync_at(u64::MAX..=u64::MAX);
        assert_eq!(rig.store(&request()), Ok(Written::Deduplicated));
        let rig = rig.crash(seed);
        assert_eq!(rig.stored().len(), 26, "seed {seed}");
        assert_eq!(rig.engine.status().lost.records, 0);
    }
}

#[test]
fn the_window_ends_after_a_quarter_of_an_hour() {
    let rig = Rig::new(config());
    assert_eq!(rig.store(&request()), Ok(Written::Stored));
    rig.clock.advance(Duration::from_secs(899));
    assert_eq!(rig.store(&request()), Ok(Written::Deduplicated));
    rig.clock.advance(Duration::from_secs(120));
    // Something else moves the window along.
    assert_eq!(rig.store(&Request::new(Signal::Logs, vec![99])), Ok(Written::Stored));
    assert_eq!(rig.store(&request()), Ok(Written::Stored));
}

#[test]
fn a_clock_that_jumps_does_not_end_the_window() {
    let rig = Rig::new(config());
    let now = rig.clock.now();
    for jump in [3600, -3600] {
        assert!(rig.store(&request()).is_ok());
        rig.clock.jump_to(now + jump * 1_000_000_000);
        assert_eq!(rig.store(&request()), Ok(Written::Deduplicated), "jump by {jump} s");
    }
}

#[test]
fn the_same_bytes_of_another_signal_are_no_retry() {
    let rig = Rig::new(config());
    assert_eq!(rig.store(&Request::new(Signal::Logs, vec![])), Ok(Written::Stored));
    assert_eq!(rig.store(&Request::new(Signal::Traces, vec![])), Ok(Written::Stored));
}
