//! Power cuts at any operation, from seeds: acknowledged ⊆ stored ⊆ sent, nothing twice, the ledger balanced.
//!
//! A run is a few lives of one store. In each life requests, commits, flushes, merges and reads follow one another
//! until the power goes in the middle of some operation of the disk, which may as well be one of the next recovery. In
//! every other run some lives end with the process alone: the next one finds everything that was written, also what a
//! later power cut takes back. In every third run sampling drops half of the traces: each span is there or its trace says that
//! it was dropped, and the books of both balance.
//! `THROUGHLINE_POWER_CUTS` says how many seeds to try; a failure names its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use throughline_model::link::LinkState;
use throughline_model::{Signal, TraceId};
use throughline_sampling::{Kind, Policy};
use throughline_store::{Durability, ManualClock, Sampling, SimDisk, Want, Written};

use crate::harness::{Answer, DIR, NOW, Random, Request, Rig, config, stored, trace_of};

/// What the sender knows.
#[derive(Default)]
struct Journal {
    sent: BTreeSet<(Signal, u64)>,
    acknowledged: BTreeSet<(Signal, u64)>,
    /// Requests without a good answer: sent again, byte for byte.
    to_retry: Vec<Request>,
    next: u64,
}

impl Journal {
    fn request(&mut self, random: &mut Random) -> Request {
        if !self.to_retry.is_empty() && random.chance(3) {
            let index = random.below(self.to_retry.len() as u64) as usize;
            return self.to_retry.swap_remove(index);
        }
        let signal = Signal::ALL[random.below(3) as usize];
        let count = 1 + random.below(40);
        let items: Vec<u64> = (self.next..self.next + count).collect();
        self.next += count;
        self.sent.extend(items.iter().map(|n| (signal, *n)));
        Request::new(signal, items)
    }

    fn settle(&mut self, pending: Vec<(Request, Answer)>, random: &mut Random) {
        for (request, answer) in pending {
            let answer = answer.lock().expect("no panic").clone();
            match answer {
                Some(Ok(Written::Stored | Written::Deduplicated)) => {
                    self.acknowledged.extend(request.items.iter().map(|n| (request.signal, *n)));
                    // Some senders lose the answer and send again.
                    if random.chance(6) {
                        self.to_retry.push(request);
                    }
                }
                _ => self.to_retry.push(request),
            }
        }
    }
}

fn live(rig: &Rig, journal: &mut Journal, random: &mut Random) {
    let mut pending = Vec::new();
    for _ in 0..60 {
        match random.below(13) {
            0..5 => {
                let request = journal.request(random);
                let answer = rig.submit(&request);
                pending.push((request, answer));
            }
            5..9 => {
                rig.engine.commit_once();
                journal.settle(std::mem::take(&mut pending), random);
            }
            9 => _ = rig.engine.flush_once(),
            10 => _ = rig.engine.compact_once(),
            11 => _ = rig.engine.freeze(),
            _ => {
                rig.clock.advance(Duration::from_millis(random.below(5_000)));
                _ = rig.engine.sync_once();
                rig.engine.reap();
            }
        }
        if rig.disk.is_off() {
            break;
        }
    }
    journal.settle(pending, random);
}

fn check(seed: u64, rig: &Rig, journal: &Journal) {
    let found: BTreeMap<(Signal, u64), usize> = stored(&rig.engine.snapshot());
    for (item, times) in &found {
        assert_eq!(*times, 1, "seed {seed}: {item:?} is there {times} times");
        assert!(journal.sent.contains(item), "seed {seed}: {item:?} was never sent");
    }
    let snapshot = rig.engine.snapshot();
    // A span may have been dropped by sampling, and then its trace says so, whatever of it came later.
    let sent = journal.sent.iter().filter(|(signal, _)| *signal == Signal::Traces);
    let traces: BTreeSet<TraceId> = sent.map(|(_, n)| trace_of(*n)).collect();
    let mut dropped: BTreeMap<TraceId, u64> = BTreeMap::new();
    for id in traces.into_iter().filter(|_| rig.sampling.is_some()) {
        let data = snapshot.trace(id, Want::SPANS).expect("a trace");
        let summary = snapshot.trace_summary(id).expect("a summary");
        assert_eq!(data.dropped, summary.and_then(|summary| summary.dropped()), "seed {seed}: {id}");
        let state = snapshot.link_state(id).expect("a state");
        if let Some(of_trace) = data.dropped {
            let is_tombstone = matches!(state, LinkState::Dropped { .. });
            assert_eq!(is_tombstone, data.spans.is_empty(), "seed {seed}: {id} is {state:?}");
            dropped.insert(id, u64::from(of_trace.span_count));
        }
    }
    let told: u64 = dropped.values().sum();
    assert_eq!(
        told,
        rig.engine.decisions().dropped_spans(),
        "seed {seed}: spans that traces say were dropped"
    );
    for item in journal.acknowledged.iter().filter(|item| !found.contains_key(item)) {
        let left = dropped.get_mut(&trace_of(item.1)).filter(|_| item.0 == Signal::Traces);
        let left = left.filter(|left| **left > 0);
        *left.unwrap_or_else(|| panic!("seed {seed}: {item:?} was acknowledged and is lost")) -= 1;
    }
    drop(snapshot);
    let ledger = rig.engine.ledger();
    assert!(ledger.is_balanced(), "seed {seed}: {ledger:?}");
    let dropped = rig.engine.decisions().dropped_spans();
    assert!(dropped == 0 || rig.sampling.is_some(), "seed {seed}: {dropped} spans are dropped");
    for signal in Signal::ALL {
        let items = found.keys().filter(|(of, _)| *of == signal).count() as u64;
        let dropped = if signal == Signal::Traces { dropped } else { 0 };
        assert_eq!(ledger.account(signal).stored, items + dropped, "seed {seed}: the ledger's {signal:?}");
        assert_eq!(rig.engine.snapshot().stored_rows(signal), items, "seed {seed}: rows of {signal:?}");
    }
    let status = rig.engine.status();
    rig.engine.reap();
    let folders = throughline_store::Disk::list(&rig.disk, &std::path::Path::new(DIR).join("blocks"));
    let blocks: usize = status.blocks_per_level.iter().sum();
    assert_eq!(folders.expect("a folder").len(), blocks, "seed {seed}: folders of blocks");
    assert_eq!(status.lost.records, 0, "seed {seed}: {:?}", status.notices);
    assert!(status.read.ready, "seed {seed}: {:?}", status.read);
}

/// How lives end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    PowerCuts,
    /// Some by a power cut, some by the end of the process.
    Mixed,
}

/// Drops half of all traces soon: in every third run, so that most runs are what they have always been.
fn sampling(seed: u64) -> Option<Sampling> {
    let hash_salt = seed.to_string();
    let kind = Kind::Probabilistic { hash_salt, sampling_percentage: 50.0 };
    let half = Policy { name: "half".to_owned(), kind };
    (seed % 3 == 2).then(|| Sampling::new(vec![half], Duration::from_secs(3)).expect("a policy"))
}

fn run(seed: u64, disk: &SimDisk, ends: Ends) {
    let sampling = sampling(seed);
    let mut random = Random(seed);
    // Of its own, so that a run of power cuts alone is the same for the same seed as ever.
    let mut of_ends = Random(!seed);
    let disk = disk.clone();
    let clock = Arc::new(ManualClock::at(NOW));
    let mut config = config();
    config.segment_bytes = [16 << 10, 64 << 10, 1 << 20][random.below(3) as usize];
    config.memtable_bytes = [64 << 10, 256 << 10, 4 << 20][random.below(3) as usize];
    config.flush_after = Duration::from_secs(10);
    config.compaction.fan_in = 2;
    config.compaction.settle_ns = 5_000_000_000;
    let mut journal = Journal::default();
    let lives = 2 + random.below(4);
    for _ in 0..lives {
        // Some lives end in the middle of the recovery.
        let operations = if random.chance(4) { random.below(30) } else { random.below(400) };
        disk.cut_power_after(operations);
        // Some disks fail as well before the power goes.
        let fails = random.chance(3);
        if fails {
            let (sync, write) = (disk.syncs() + random.below(20), disk.writes() + random.below(60));
            disk.fail_sync_at(sync..=sync + random.below(2));
            disk.fail_write_at(write..=write + random.below(3));
            let name_sync = disk.name_syncs() + random.below(30);
            disk.fail_name_sync_at(name_sync..=name_sync + random.below(3));
        }
        let opened = Rig::open_sampled(config.clone(), disk.clone(), clock.clone(), sampling.clone());
        if let Ok(rig) = &opened {
            live(rig, &mut journal, &mut random);
        } else {
            assert!(fails || disk.is_off(), "seed {seed}: {:?}", opened.err().map(|error| error.to_string()));
        }
        let of_crash = random.next();
        if ends == Ends::Mixed && of_ends.chance(2) {
            disk.end_process();
        } else {
            disk.crash(of_crash);
        }
        clock.advance(Duration::from_millis(random.below(3_000)));
    }
    let rig = Rig::open_sampled(config, disk, clock, sampling)
        .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    check(seed, &rig, &journal);
    // Everything that has no answer yet is sent until it has one, and is there once.
    for request in std::mem::take(&mut journal.to_retry) {
        rig.flush();
        let answer = rig.store(&request);
        assert!(answer.is_ok(), "seed {seed}: {answer:?}");
        journal.acknowledged.extend(request.items.iter().map(|n| (request.signal, *n)));
    }
    check(seed, &rig, &journal);
    rig.engine.close().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let rig = rig.reopen();
    assert!(!rig.engine.status().started_unclean, "seed {seed}");
    check(seed, &rig, &journal);
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_doubled() {
    let seeds = std::env::var("THROUGHLINE_POWER_CUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(50);
    let first = std::env::var("THROUGHLINE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    for seed in first..first + seeds {
        let ends = if seed % 2 == 0 { Ends::PowerCuts } else { Ends::Mixed };
        run(seed, &SimDisk::new(seed), ends);
    }
}

/// Nobody knew whether a manifest was there that names a file of hashes; the next flush wrote a file of the same name, and the power
/// went before its folder was synced: a retry was stored twice.
#[test]
fn a_file_of_hashes_that_a_manifest_may_name_is_not_written_again() {
    run(1988, &SimDisk::new(1988), Ends::PowerCuts);
}

/// A segment's first attempt failed and was removed, the second was given up, and the third took the name of the first:
/// the recovery then believed the second.
#[test]
fn the_last_attempt_at_a_segment_is_the_one_that_counts() {
    run(60_837, &SimDisk::new(60_837), Ends::PowerCuts);
}

/// The test of the test: a disk that drops what was synced is caught.
#[test]
fn a_disk_that_lies_about_syncs_is_caught() {
    for (of_files, of_names) in [(true, false), (false, true)] {
        let caught = (0..12).filter(|seed| {
            let disk = SimDisk::new(*seed);
            disk.lie_about_syncs(of_files, of_names);
            std::panic::catch_unwind(|| run(*seed, &disk, Ends::PowerCuts)).is_err()
        });
        assert!(caught.count() > 3, "files: {of_files}, names: {of_names}");
    }
}

#[test]
fn without_sync_a_power_cut_loses_at_most_what_was_not_synced() {
    for seed in 0..20 {
        let mut config = config();
        config.durability = Durability::Os;
        let rig = Rig::new(config);
        let safe = Request::new(Signal::Logs, (0..10).collect());
        let late = Request::new(Signal::Logs, (10..20).collect());
        assert_eq!(rig.store(&safe), Ok(Written::Stored));
        rig.engine.sync_once().expect("a sync");
        assert_eq!(rig.store(&late), Ok(Written::Stored));
        let rig = rig.crash(seed);
        let found = rig.stored();
        assert!(safe.items.iter().all(|n| found.contains_key(&(Signal::Logs, *n))), "seed {seed}");
        assert!(rig.engine.ledger().is_balanced());
        assert_eq!(rig.engine.status().lost.records, 0, "what was not synced is torn, not lost");
    }
}

#[test]
fn a_store_that_was_never_closed_says_so() {
    let rig = Rig::new(config()).crash(3);
    assert!(rig.engine.status().started_unclean);
    let names = throughline_store::Disk::list(&rig.disk, std::path::Path::new(DIR)).expect("a folder");
    assert!(names.contains(&"manifest".to_owned()));
}

#[test]
fn the_ledger_counts_rejections_after_a_crash_as_before() {
    let rig = Rig::new(config());
    // The second item lies an hour in the future.
    let request = Request::new(Signal::Logs, vec![1, 3_600_000_000]);
    assert_eq!(rig.store(&request), Ok(Written::Stored));
    let before = rig.engine.ledger();
    assert_eq!((before.logs.received, before.logs.stored), (2, 1));
    let rig = rig.crash(1);
    assert_eq!(rig.engine.ledger(), before);
    assert_eq!(rig.crash(2).engine.ledger(), before);
}
