//! Who watches the store sees every stored batch: what they kept when they were asked to settle, and what they are shown
//! after it, are together everything, once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use throughline_model::{Batch, Signal};
use throughline_store::engine::Engine;
use throughline_store::{Error, ManualClock, Observer, SimDisk, Written};

use crate::harness::{NOW, Random, Request, Rig, config};

/// Counts spans by LSN, and keeps what was settled over a crash.
#[derive(Default)]
struct Watcher {
    seen: Mutex<BTreeMap<u64, usize>>,
    settled: Mutex<(u64, usize)>,
    next_lsn: Mutex<u64>,
}

impl Observer for Watcher {
    fn stored(&self, lsn: u64, _: i64, batch: &Batch) {
        let twice = self.seen.lock().expect("no panic").insert(lsn, batch.items());
        assert_eq!(twice, None, "LSN {lsn} is shown once");
    }

    fn recovered(&self, next_lsn: u64) {
        *self.next_lsn.lock().expect("no panic") = next_lsn;
    }

    fn settle(&self, lsn: u64) -> Result<(), Error> {
        let mut settled = self.settled.lock().expect("no panic");
        let new: usize = self.seen.lock().expect("no panic").range(settled.0..lsn).map(|(_, n)| n).sum();
        assert!(lsn >= settled.0);
        *settled = (lsn, settled.1 + new);
        Ok(())
    }
}

impl Watcher {
    fn after(other: &Watcher) -> Arc<Watcher> {
        let settled = *other.settled.lock().expect("no panic");
        Arc::new(Watcher { settled: Mutex::new(settled), ..Watcher::default() })
    }

    fn total(&self) -> usize {
        let (lsn, items) = *self.settled.lock().expect("no panic");
        items + self.seen.lock().expect("no panic").range(lsn..).map(|(_, n)| n).sum::<usize>()
    }
}

fn open(disk: &SimDisk, clock: &Arc<ManualClock>, watcher: &Arc<Watcher>) -> Rig {
    let engine = Engine::open_observed(config(), Arc::new(disk.clone()), clock.clone(), watcher.clone())
        .expect("opens");
    Rig { disk: disk.clone(), clock: clock.clone(), engine, config: config(), sampling: None }
}

#[test]
fn everything_is_shown_once_over_flushes_and_power_cuts() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let (disk, clock) = (SimDisk::new(seed), Arc::new(ManualClock::at(NOW)));
        let mut watcher = Arc::new(Watcher::default());
        let mut rig = open(&disk, &clock, &watcher);
        let (mut sent, mut stored) = (Vec::new(), 0);
        for round in 0..60 {
            match random.below(8) {
                0 => rig.flush(),
                1 => _ = rig.engine.freeze(),
                2 => {
                    let engine = rig.engine;
                    drop(engine);
                    disk.crash(seed + round);
                    watcher = Watcher::after(&watcher);
                    rig = open(&disk, &clock, &watcher);
                    assert_eq!(watcher.total(), stored, "seed {seed}, round {round}");
                }
                3 if !sent.is_empty() => {
                    let again: &Request = &sent[random.below(sent.len() as u64) as usize];
                    assert_eq!(rig.store(again), Ok(Written::Deduplicated));
                }
                _ => {
                    let first = sent.len() as u64 * 10;
                    let items = 1 + random.below(9);
                    let request = Request::new(Signal::Traces, (first..first + items).collect());
                    assert_eq!(rig.store(&request), Ok(Written::Stored));
                    stored += items as usize;
                    sent.push(request);
                }
            }
            assert_eq!(watcher.total(), stored, "seed {seed}, round {round}");
        }
        let written = *watcher.next_lsn.lock().expect("no panic");
        assert!(written >= 1);
    }
}
