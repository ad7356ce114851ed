//! Damaged logs: every byte in turn, every record in turn, whole sectors and files.

use std::path::{Path, PathBuf};

use throughline_model::Signal;
use throughline_store::{Clock, Disk, SimDisk, Written};

use crate::harness::{DIR, NOW, Request, Rig, config};

/// A store with these requests in the log of one segment, one commit each, and none of them in blocks.
fn written(requests: &[Request], per_commit: usize) -> Rig {
    let mut config = config();
    config.segment_bytes = 256 << 10;
    config.memtable_bytes = 1 << 30;
    let rig = Rig::new(config);
    for group in requests.chunks(per_commit) {
        let answers: Vec<_> = group.iter().map(|request| rig.submit(request)).collect();
        rig.engine.commit_once();
        for answer in answers {
            assert_eq!(answer.lock().expect("no panic").clone(), Some(Ok(Written::Stored)));
        }
    }
    rig
}

fn requests(count: u64, items: u64) -> Vec<Request> {
    (0..count)
        .map(|n| Request::new(Signal::ALL[(n % 3) as usize], (n * items..(n + 1) * items).collect()))
        .collect()
}

fn segment(disk: &SimDisk) -> PathBuf {
    let dir = Path::new(DIR).join("wal");
    let names = disk.list(&dir).expect("a log");
    dir.join(names.iter().find(|name| name.ends_with(".wal")).expect("a segment"))
}

/// Which requests are whole in the store; a request that is there in part fails the test.
fn whole(rig: &Rig, requests: &[Request]) -> Vec<bool> {
    let found = rig.stored();
    let whole: Vec<bool> = requests
        .iter()
        .map(|request| {
            let there =
                request.items.iter().filter(|n| found.get(&(request.signal, **n)) == Some(&1)).count();
            assert!(there == 0 || there == request.items.len(), "a request is whole or absent");
            there > 0
        })
        .collect();
    let items: usize =
        whole.iter().zip(requests).filter(|(whole, _)| **whole).map(|(_, r)| r.items.len()).sum();
    assert_eq!(found.len(), items, "nothing is there that was not sent, nothing twice");
    assert!(rig.engine.ledger().is_balanced());
    whole
}

fn open_copy(rig: &Rig, change: impl FnOnce(&SimDisk)) -> Rig {
    let disk = rig.disk.copy();
    change(&disk);
    let clock = std::sync::Arc::new(throughline_store::ManualClock::at(NOW));
    Rig::open(rig.config.clone(), disk, clock).expect("a damaged log opens")
}

#[test]
fn every_flipped_byte_costs_at_most_its_own_record() {
    let requests = requests(3, 2);
    let rig = written(&requests, 1);
    let path = segment(&rig.disk);
    // Every byte of the frames, and of the padding after them one in 61.
    for byte in (0..4 * 4096u64).filter(|byte| byte % 4096 < 320 || byte % 61 == 0) {
        let damaged = open_copy(&rig, |disk| disk.flip_bit(&path, byte, (byte % 8) as u8).expect("a flip"));
        let whole = whole(&damaged, &requests);
        let page = (byte / 4096) as usize;
        let missing: Vec<usize> = (0..3).filter(|n| !whole[*n]).collect();
        let status = damaged.engine.status();
        assert!(missing.is_empty() || missing == [page - 1], "byte {byte}: {missing:?} are missing");
        let (lost, torn) = (status.lost.records, status.torn_records);
        if missing.is_empty() {
            assert_eq!(lost, 0, "byte {byte}");
        } else if page == 3 {
            // Nothing after the last record says that it was synced.
            assert_eq!((lost, torn), (0, 1), "byte {byte}");
        } else {
            assert_eq!((lost, status.lost.items), (1, 2), "byte {byte}: {:?}", status.notices);
            assert!(!status.read.ready, "byte {byte}: answers say that something is missing");
        }
        // Padding after the last record is beyond everything that was written.
        let is_noticed = !status.notices.is_empty();
        assert!(is_noticed, "byte {byte}: nothing was noticed");
    }
}

#[test]
fn of_many_records_each_can_be_lost_alone() {
    let requests = requests(200, 3);
    let rig = written(&requests, 7);
    let path = segment(&rig.disk);
    let bytes = rig.disk.read_all(&path).expect("a segment");
    let starts: Vec<usize> =
        (0..bytes.len()).step_by(8).filter(|at| bytes[*at..].starts_with(b"TLW1")).collect();
    assert_eq!(starts.len(), 200);
    for (n, start) in starts.iter().enumerate() {
        for at in [start + 20, start + 100] {
            let damaged = open_copy(&rig, |disk| disk.flip_bit(&path, at as u64, 3).expect("a flip"));
            let whole = whole(&damaged, &requests);
            let missing: Vec<usize> = (0..200).filter(|n| !whole[*n]).collect();
            assert_eq!(missing, [n], "byte {at}");
            let status = damaged.engine.status();
            // The last group is followed by nothing that says that it was synced.
            let (lost, items) = if n < 196 { (1, 3) } else { (0, 0) };
            assert_eq!((status.lost.records, status.lost.items), (lost, items), "record {n}");
            assert_eq!(status.lost.records + status.torn_records, 1, "record {n}");
        }
    }
}

#[test]
fn a_lost_sector_costs_the_records_in_it() {
    let requests = requests(60, 4);
    let rig = written(&requests, 5);
    let path = segment(&rig.disk);
    for sector in 0..80u64 {
        let damaged = open_copy(&rig, |disk| {
            disk.open(&path).and_then(|file| file.write_at(sector * 512, &[0; 512])).expect("a write");
        });
        let whole = whole(&damaged, &requests);
        let missing = whole.iter().filter(|whole| !**whole).count();
        assert!(missing <= 4, "sector {sector}: {missing} records are missing");
    }
}

#[test]
fn swapped_and_repeated_pages_are_no_other_history() {
    let requests = requests(12, 4);
    let rig = written(&requests, 1);
    let path = segment(&rig.disk);
    let bytes = rig.disk.read_all(&path).expect("a segment");
    let page = |n: usize| bytes[n * 4096..(n + 1) * 4096].to_vec();
    for (from, to) in [(1, 5), (5, 1), (3, 4), (12, 2)] {
        let damaged = open_copy(&rig, |disk| {
            let file = disk.open(&path).expect("a segment");
            file.write_at(to as u64 * 4096, &page(from)).expect("a write");
        });
        let whole = whole(&damaged, &requests);
        assert!(!whole[to - 1], "page {from} over {to}: the record that was there is gone");
        assert!(damaged.engine.status().lost.records + damaged.engine.status().torn_records >= 1);
    }
}

#[test]
fn what_looks_like_a_frame_in_a_payload_is_none() {
    // A sender who knows the format puts a whole frame of another store into a log body.
    let other = written(&requests(1, 1), 1);
    let bytes = other.disk.read_all(&segment(&other.disk)).expect("a segment");
    let mut scope = Vec::new();
    let mut record = Vec::new();
    let mut any = Vec::new();
    throughline_model::protobuf::put_bytes(&mut any, 7, &bytes[4096..4096 + 512]);
    throughline_model::protobuf::put_bytes(&mut record, 5, &any);
    throughline_model::protobuf::put_bytes(&mut scope, 2, &record);
    let mut resource = Vec::new();
    throughline_model::protobuf::put_bytes(&mut resource, 2, &scope);
    let mut body = Vec::new();
    throughline_model::protobuf::put_bytes(&mut body, 1, &resource);
    let mut config = config();
    config.segment_bytes = 1 << 20;
    let clock = std::sync::Arc::new(throughline_store::ManualClock::at(NOW + 77));
    let rig = Rig::open(config, SimDisk::new(1), clock).expect("a new store");
    let request = Request { signal: Signal::Logs, body: body.into(), items: vec![] };
    assert_eq!(rig.store(&request), Ok(Written::Stored));
    let path = segment(&rig.disk);
    let damaged = open_copy(&rig, |disk| disk.flip_bit(&path, 4096 + 9, 1).expect("a flip"));
    let status = damaged.engine.status();
    assert_eq!(status.replayed_records, 0, "{:?}", status.notices);
}

#[test]
fn a_torn_tail_is_kept_beside_the_segment() {
    let requests = requests(3, 2);
    let rig = written(&requests, 1);
    let path = segment(&rig.disk);
    let damaged = open_copy(&rig, |disk| disk.flip_bit(&path, 3 * 4096 + 95, 0).expect("a flip"));
    assert_eq!(whole(&damaged, &requests), [true, true, false]);
    let names = damaged.disk.list(&Path::new(DIR).join("wal")).expect("a log");
    assert!(names.iter().any(|name| name.ends_with(".broken")), "{names:?}");
    // The log goes on, and the next start finds nothing to complain of.
    assert_eq!(damaged.store(&requests[2]), Ok(Written::Stored));
    let again = damaged.crash(4);
    assert_eq!(whole(&again, &requests), [true, true, true]);
    assert_eq!(again.engine.status().lost.records, 0);
}

#[test]
fn segments_that_are_gone_are_counted() {
    let mut config = config();
    config.segment_bytes = 16 << 10;
    config.memtable_bytes = 1 << 30;
    let rig = Rig::new(config);
    let requests = requests(12, 5);
    for request in &requests {
        assert_eq!(rig.store(request), Ok(Written::Stored));
    }
    let dir = Path::new(DIR).join("wal");
    let names = rig.disk.list(&dir).expect("a log");
    assert!(names.len() > 3, "{names:?}");
    let damaged = open_copy(&rig, |disk| disk.remove(&dir.join(&names[1])).expect("a removal"));
    let missing = whole(&damaged, &requests).iter().filter(|whole| !**whole).count() as u64;
    let status = damaged.engine.status();
    assert!(missing > 0);
    assert_eq!((status.lost.records, status.lost.items), (missing, missing * 5));
    assert!(damaged.clock.now() > 0);
}

#[test]
fn a_record_of_another_history_is_none() {
    // The same store twice: what one of them wrote third finds its way into the other, LSN and checksums all right.
    let ours = requests(3, 2);
    let theirs =
        [ours[0].clone(), Request::new(Signal::Logs, vec![70]), Request::new(Signal::Logs, vec![80])];
    let (rig, other) = (written(&ours, 1), written(&theirs, 1));
    let path = segment(&rig.disk);
    let bytes = other.disk.read_all(&segment(&other.disk)).expect("a segment");
    let damaged = open_copy(&rig, |disk| {
        let page = &bytes[3 * 4096..4 * 4096];
        disk.open(&path).and_then(|file| file.write_at(3 * 4096, page)).expect("a write");
    });
    assert_eq!(whole(&damaged, &ours), [true, true, false]);
}

#[test]
fn a_record_of_another_history_within_a_group_is_none() {
    // As above, in the middle of what was written at once: the frame before it follows without a gap.
    let history = |numbers: [u64; 4]| numbers.map(|n| Request::new(Signal::Logs, vec![n])).to_vec();
    let (ours, theirs) = (history([10, 11, 12, 13]), history([10, 71, 72, 73]));
    let (rig, other) = (written(&ours, 4), written(&theirs, 4));
    let path = segment(&rig.disk);
    let bytes = other.disk.read_all(&segment(&other.disk)).expect("a segment");
    let starts: Vec<usize> =
        (0..bytes.len()).step_by(8).filter(|at| bytes[*at..].starts_with(b"TLW1")).collect();
    let damaged = open_copy(&rig, |disk| {
        let frame = &bytes[starts[2]..starts[3]];
        disk.open(&path).and_then(|file| file.write_at(starts[2] as u64, frame)).expect("a write");
    });
    assert_eq!(whole(&damaged, &ours), [true, true, false, true]);
}
