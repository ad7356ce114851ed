//! The store with its threads on a real disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use throughline_model::Signal;
use throughline_store::{Clock, Disk, Durability, OsDisk, Store, StoreConfig, SystemClock, Written, fsck};

use crate::harness::{Request, stored};

/// A folder of this test, empty.
fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("throughline-store-{}-{name}", std::process::id()));
    _ = OsDisk.remove_dir(&dir);
    dir
}

fn open(config: &StoreConfig) -> Store {
    Store::open(config.clone(), Arc::new(OsDisk), Arc::new(SystemClock::new())).expect("a store")
}

/// Sends so many requests from each of a few threads and waits for all answers.
fn send(store: &Store, config: &StoreConfig, first: u64, per_thread: u64) -> usize {
    let stored = Arc::new(AtomicUsize::new(0));
    let clock = SystemClock::new();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let stored = stored.clone();
            scope.spawn(move || {
                for n in 0..per_thread {
                    let from = first + (thread * per_thread + n) * 10;
                    let signal = Signal::ALL[(n % 3) as usize];
                    let request = Request::new(signal, (from..from + 10).collect());
                    let (sender, receiver) = channel();
                    let done = move |result| sender.send(result).expect("the test listens");
                    // Items are dated by the tests' own clock; receipt as well, so that none is too old or too new.
                    assert!(clock.now() > 0);
                    store.submit(request.write(crate::harness::NOW, config), Box::new(done));
                    assert_eq!(receiver.recv().expect("an answer"), Ok(Written::Stored));
                    stored.fetch_add(request.items.len(), Ordering::Relaxed);
                }
            });
        }
    });
    stored.load(Ordering::Relaxed)
}

#[test]
fn parallel_senders_are_all_stored_and_found_again() {
    for durability in [Durability::Fsync, Durability::Os] {
        let dir = folder(&format!("parallel-{durability:?}"));
        let mut config = StoreConfig::new(dir.clone(), Duration::from_secs(10_000 * 86_400));
        config.durability = durability;
        config.memtable_bytes = 256 << 10;
        config.segment_bytes = 1 << 20;
        config.reserve_bytes = Some(0);
        let store = open(&config);
        let count = send(&store, &config, 0, 30);
        assert_eq!(stored(&store.snapshot()).len(), count);
        assert!(store.ledger().is_balanced());
        let status = store.status();
        assert!(status.write.ready && status.read.ready, "{status:?}");
        store.close().expect("a close");
        let report = fsck::check(&OsDisk, &dir, false).expect("a check");
        assert!(report.is_whole(), "{report:#?}");
        assert_eq!(report.log.records, 0, "a closed store has an empty log");

        let store = open(&config);
        assert!(!store.status().started_unclean);
        let found = stored(&store.snapshot());
        assert!(found.len() == count && found.values().all(|times| *times == 1));
        let count = count + send(&store, &config, 1_000_000, 5);
        // Dropping the last clone closes it as well.
        drop(store);
        let store = open(&config);
        assert_eq!(stored(&store.snapshot()).len(), count);
        assert!(!store.status().started_unclean);
        drop(store);
        OsDisk.remove_dir(&dir).expect("a removal");
    }
}

#[test]
fn a_second_store_on_the_folder_is_refused_until_the_first_is_closed() {
    let dir = folder("lock");
    let config = StoreConfig::new(dir.clone(), Duration::from_secs(86_400));
    let store = open(&config);
    let second = Store::open(config.clone(), Arc::new(OsDisk), Arc::new(SystemClock::new()));
    assert!(second.err().expect("a refusal").to_string().contains("in use"));
    store.close().expect("a close");
    drop(open(&config));
    OsDisk.remove_dir(&dir).expect("a removal");
}
