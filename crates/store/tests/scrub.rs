//! The scrub finds what goes bad under a running store, and what was set aside goes in time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use throughline_model::Signal;
use throughline_store::engine::Engine;
use throughline_store::{Clock, Disk, LogQuery, TimeRange, TraceQuery, Written};

use crate::harness::{DIR, Request, Rig, config};

fn request(n: u64) -> Request {
    Request::new(Signal::ALL[(n % 3) as usize], (n * 10..n * 10 + 10).collect())
}

/// A store that was opened with two blocks in it.
fn with_blocks() -> Rig {
    let rig = Rig::new(config());
    for n in 0..6 {
        assert_eq!(rig.store(&request(n)), Ok(Written::Stored));
        if n % 3 == 2 {
            rig.flush();
        }
    }
    rig.engine.close().expect("a close");
    rig.reopen()
}

fn round(engine: &Engine) -> usize {
    std::iter::from_fn(|| engine.scrub_once().then_some(())).count()
}

fn files(rig: &Rig) -> Vec<PathBuf> {
    let blocks = Path::new(DIR).join("blocks");
    let folders = rig.disk.list(&blocks).expect("blocks");
    let of = |folder: &String| {
        let folder = blocks.join(folder);
        let names = rig.disk.list(&folder).expect("files");
        names.into_iter().map(move |name| folder.join(name))
    };
    // The edit file is for a manifest that is gone, and has no checksum.
    folders.iter().flat_map(of).filter(|path| !path.ends_with("edit.json")).collect()
}

#[test]
fn a_byte_that_goes_bad_is_found_in_one_round() {
    let rig = with_blocks();
    assert_eq!(round(&rig.engine), 2, "both blocks are due");
    let bytes = rig.engine.status().scrubbed_bytes;
    assert!(bytes > 0);
    assert_eq!(round(&rig.engine), 0, "and then none for some days");
    for path in files(&rig) {
        let rig = with_blocks();
        rig.disk.flip_bit(&path, 10, 3).expect("a flip");
        round(&rig.engine);
        let status = rig.engine.status();
        assert_eq!(status.damaged_blocks, 1, "{}", path.display());
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(status.notices.iter().any(|notice| notice.text.contains(&name)), "{:?}", status.notices);
        assert!(!status.read.ready);
        let query = LogQuery {
            range: TimeRange::ALL,
            service: None,
            min_severity: 0,
            pattern: None,
            contains: None,
            limit: 1_000,
        };
        let found = rig.engine.snapshot().search_logs(&query).expect("an answer");
        assert!(found.partial.iter().any(|text| text.contains("is damaged")), "{:?}", found.partial);
        assert!(!found.items.is_empty(), "the other block's records are there");
        let query = TraceQuery {
            range: TimeRange::ALL,
            service: None,
            operation: None,
            min_duration_ns: None,
            max_duration_ns: None,
            error: None,
            limit: 1_000,
        };
        let found = rig.engine.snapshot().search_traces(&query).expect("an answer");
        assert!(!found.partial.is_empty() && !found.items.is_empty(), "{}", path.display());
    }
}

#[test]
fn blocks_of_this_process_are_read_after_some_days_and_again() {
    let rig = Rig::new(config());
    assert_eq!(rig.store(&request(0)), Ok(Written::Stored));
    rig.flush();
    assert_eq!(round(&rig.engine), 0);
    for _ in 0..3 {
        let before = rig.engine.status().scrubbed_bytes;
        rig.clock.advance(throughline_store::scrub::ROUND_MAX / 2);
        assert_eq!(round(&rig.engine), 1);
        assert!(rig.engine.status().scrubbed_bytes > before);
    }
}

#[test]
fn a_damaged_block_is_never_merged_and_its_complaint_goes_with_it() {
    let mut config = config();
    config.compaction.fan_in = 2;
    config.compaction.settle_ns = 0;
    config.retention = Duration::from_secs(3600);
    let rig = Rig::new(config);
    for n in 0..6 {
        assert_eq!(rig.store(&request(n)), Ok(Written::Stored));
        if n % 3 == 2 {
            rig.flush();
        }
    }
    let rig = rig.crash(1);
    let spans = files(&rig).into_iter().find(|path| path.ends_with("spans.parquet")).expect("a table");
    rig.disk.flip_bit(&spans, 100, 3).expect("a flip");
    round(&rig.engine);
    assert_eq!(rig.engine.status().damaged_blocks, 1);
    // The good one is written again alone; the damaged one is left.
    while rig.engine.compact_once().expect("a merge") {}
    assert!(files(&rig).contains(&spans), "the damaged block was merged");
    assert_eq!(rig.engine.status().damaged_blocks, 1);
    rig.clock.advance(Duration::from_secs(3700));
    assert!(rig.engine.retain_once().expect("retention") > 0);
    let status = rig.engine.status();
    assert_eq!(status.damaged_blocks, 0);
    assert!(status.read.ready, "{:?}", status.read);
}

#[test]
fn what_was_set_aside_goes_after_a_month() {
    let rig = with_blocks();
    let (log, quarantine) = (Path::new(DIR).join("wal"), Path::new(DIR).join("quarantine"));
    rig.disk.create_dir_all(&quarantine.join("a-block")).expect("a folder");
    rig.disk.write_new(&quarantine.join("a-block/index"), b"x").expect("a file");
    rig.disk.write_new(&log.join("00000000000000000009-00.broken"), b"x").expect("a file");
    let kept = |rig: &Rig| {
        let in_log = rig.disk.list(&log).expect("a log");
        let in_log = in_log.iter().filter(|name| name.ends_with(".broken")).count();
        (in_log, rig.disk.list(&quarantine).expect("a folder").len())
    };
    // Nobody knows how old they are: they are as old as the first look at them.
    assert_eq!((rig.engine.prune_set_aside(), kept(&rig)), (0, (1, 1)));
    rig.clock.advance(throughline_store::set_aside::KEPT_FOR - Duration::from_secs(10));
    let rig = rig.reopen();
    assert_eq!((rig.engine.prune_set_aside(), kept(&rig)), (0, (1, 1)));
    rig.clock.advance(Duration::from_secs(20));
    assert!(rig.clock.now() > 0);
    assert_eq!((rig.engine.prune_set_aside(), kept(&rig)), (2, (0, 0)));
}
