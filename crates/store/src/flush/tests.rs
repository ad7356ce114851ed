//! A block answers as the memtable that it was written from.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use throughline_generate::Generator;
use throughline_model::{Level, Signal, TraceId};
use throughline_wire::{DecodeContext, DecodeLimits, Encoding};

use super::*;
use crate::block::Block;
use crate::disk::SimDisk;
use crate::patterns::{Learner, PatternQuery};
use crate::snapshot::log_scan::{Among, BodyWant, FieldWant, LogScan, LogVisitor, More, ScannedLogs};
use crate::snapshot::{LogQuery, SeriesQuery, Snapshot, TimeRange, TraceQuery, Want};

pub(crate) const BASE: u64 = 1_795_182_000_000_000_000;
pub(crate) const HOUR_NS: i64 = 3_600_000_000_000;

/// A store has one learner; so have all memtables of a test.
static LEARNER: LazyLock<Arc<Learner>> = LazyLock::new(Learner::new);

/// A memtable of generated telemetry: spans, the logs of their traces, data points.
pub(crate) fn memtable(seed: u64, spans: u64, logs: u64, points: u64) -> Arc<Memtable> {
    part_of_memtable(seed, [spans, logs, points], |_| true)
}

/// A memtable of those requests whose number is wanted.
pub(crate) fn part_of_memtable(
    seed: u64,
    [spans, logs, points]: [u64; 3],
    wanted: fn(usize) -> bool,
) -> Arc<Memtable> {
    let generator = Generator::new(seed, BASE).referring_to(spans);
    let memtable = Memtable::with_learner(LEARNER.clone());
    let context =
        DecodeContext { received_at: BASE as i64, limits: DecodeLimits::with_retention(48 * HOUR_NS) };
    let requests = generator.traces(spans).chain(generator.logs(logs)).chain(generator.metrics(points));
    for (_, request) in requests.enumerate().filter(|(number, _)| wanted(*number)) {
        let signal = match request.signal {
            throughline_generate::Signal::Traces => Signal::Traces,
            throughline_generate::Signal::Logs => Signal::Logs,
            throughline_generate::Signal::Metrics => Signal::Metrics,
        };
        let decoded = throughline_wire::decode(signal, Encoding::Protobuf, &request.body, &context).unwrap();
        assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
        memtable.insert(decoded.batch, BASE as i64);
    }
    Arc::new(memtable)
}

pub(crate) fn of_memtables(memtables: &[Arc<Memtable>]) -> Snapshot {
    let views = memtables.iter().map(|memtable| memtable.view()).collect();
    Snapshot::new(views, Arc::default(), Arc::default(), BASE as i64)
}

pub(crate) fn of_blocks(disk: &SimDisk, metas: &[BlockMeta]) -> Snapshot {
    let open = |meta: &BlockMeta| Arc::new(Block::open(disk, Path::new("data"), meta.clone()).unwrap());
    let blocks = metas.iter().map(open).collect();
    Snapshot::new(Vec::new(), Arc::new(blocks), Arc::default(), BASE as i64)
}

/// Asks both snapshots the same questions.
pub(crate) fn assert_same(expected: &Snapshot, found: &Snapshot, ids: &[TraceId]) {
    for id in ids {
        let (a, b) = (expected.trace(*id, Want::ALL).unwrap(), found.trace(*id, Want::ALL).unwrap());
        assert_eq!(b.partial, Vec::<String>::new());
        assert!(!a.spans.is_empty());
        assert_eq!(a.spans, b.spans);
        assert_eq!(a.logs, b.logs);
        assert_eq!(a.exemplars, b.exemplars);
    }
    let everything = TraceQuery {
        range: TimeRange::ALL,
        service: None,
        operation: None,
        min_duration_ns: None,
        max_duration_ns: None,
        error: None,
        limit: 20,
    };
    let service = expected.services(TimeRange::ALL).unwrap().items.swap_remove(1);
    let queries = [
        everything.clone(),
        TraceQuery { service: Some(service.service.clone()), ..everything.clone() },
        TraceQuery { operation: Some(service.operations[0].clone()), limit: 3, ..everything.clone() },
        TraceQuery { min_duration_ns: Some(50_000_000), error: Some(true), ..everything.clone() },
        TraceQuery { service: Some("nobody".into()), ..everything },
    ];
    for query in queries {
        let (a, b) = (expected.search_traces(&query).unwrap(), found.search_traces(&query).unwrap());
        assert_eq!(a.items, b.items, "{query:?}");
    }
    assert_eq!(
        expected.services(TimeRange::ALL).unwrap().items,
        found.services(TimeRange::ALL).unwrap().items
    );
    let logs = LogQuery {
        range: TimeRange::ALL,
        service: Some(service.service.clone()),
        min_severity: 13,
        pattern: None,
        contains: None,
        limit: 50,
    };
    let (a, b) = (expected.search_logs(&logs).unwrap().items, found.search_logs(&logs).unwrap().items);
    assert!(!a.is_empty());
    assert_eq!(a, b);
    let word = a[0].body.as_str().unwrap().split_whitespace().nth(1).unwrap().to_owned();
    let logs = LogQuery { contains: Some(word), min_severity: 0, ..logs };
    assert_eq!(expected.search_logs(&logs).unwrap().items, found.search_logs(&logs).unwrap().items);
    assert_same_lines(expected, found, ids);
    let patterns =
        PatternQuery { range: TimeRange::ALL, service: None, new_since: None, step_ns: 1, limit: 100_000 };
    let (a, b) = (expected.patterns(&patterns).unwrap(), found.patterns(&patterns).unwrap());
    assert!(a.items.len() > 1 && a.partial.is_empty() && b.partial.is_empty(), "{:?}", a.partial);
    for (a, b) in a.items.iter().zip(&b.items) {
        assert_eq!((a.id, a.count, a.last_seen), (b.id, b.count, b.last_seen));
        assert_eq!((&a.service, &a.levels), (&b.service, &b.levels));
    }
    let series = SeriesQuery {
        range: TimeRange::ALL,
        metric: None,
        service: None,
        attributes: Vec::new(),
        limit: 100_000,
    };
    let (a, b) = (expected.points(&series).unwrap().items, found.points(&series).unwrap().items);
    assert!(!a.is_empty());
    assert_eq!(a, b);
    let (a, b) = (expected.exemplars(&series).unwrap().items, found.exemplars(&series).unwrap().items);
    assert!(!a.is_empty());
    assert_eq!(a, b);
}

fn assert_same_lines(expected: &Snapshot, found: &Snapshot, ids: &[TraceId]) {
    let (a, b) = (lines_among(expected, ids), lines_among(found, ids));
    assert!(a.iter().any(|line| line.1) && a.iter().any(|line| !line.1), "of the traces and of none");
    let differs = a.iter().zip(&b).position(|(a, b)| a != b);
    assert_eq!((a.len(), differs.map(|at| &a[at])), (b.len(), differs.map(|at| &b[at])));
}

/// The lines of traces and severe ones of none: when, whether of a trace, and the text.
fn lines_among(snapshot: &Snapshot, ids: &[TraceId]) -> Vec<(i64, bool, String)> {
    struct Lines(Vec<(i64, bool, String)>);
    impl LogVisitor for Lines {
        fn origin(&mut self, _: &str, _: &str, _: &str) -> Option<u32> {
            Some(0)
        }

        fn rows(&mut self, rows: &ScannedLogs<'_>) -> More {
            let lines = rows.times.iter().zip(rows.bodies).enumerate();
            let line = |(row, (time, body)): (usize, (&i64, &&str))| {
                (*time, rows.fields.context(row).0.is_some(), (*body).to_owned())
            };
            self.0.extend(lines.map(line));
            More::All
        }
    }
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    let scan = LogScan {
        among: Some(&Among { traces: &ids, loose: Level::Warn }),
        is_filtered: true,
        bodies: BodyWant::Text,
        fields: FieldWant { level: true, context: true, ..FieldWant::default() },
        ..LogScan::new(TimeRange::ALL)
    };
    let mut lines = Lines(Vec::new());
    assert_eq!(snapshot.scan_logs(&scan, &mut lines), Vec::<String>::new());
    lines.0.sort_unstable();
    lines.0
}

pub(crate) fn ids(seed: u64, spans: u64) -> Vec<TraceId> {
    let generator = Generator::new(seed, BASE);
    generator.trace_ids(spans).step_by(7).map(|truth| TraceId(truth.trace_id)).collect()
}

#[test]
fn a_block_answers_as_its_memtable() {
    let disk = SimDisk::new(1);
    let memtable = memtable(42, 5_000, 6_000, 20_000);
    let mut next = 1;
    let options = BlockOptions { partition_ns: 1_000 * HOUR_NS };
    let metas = write_blocks(&disk, Path::new("data"), &memtable, &mut next, &options).unwrap();
    assert_eq!(metas.len(), 1);
    assert_eq!(metas[0].rows.spans, memtable.rows(Signal::Traces));
    assert_same(&of_memtables(&[memtable]), &of_blocks(&disk, &metas), &ids(42, 5_000));
}

#[test]
fn partitions_split_a_memtable() {
    let disk = SimDisk::new(1);
    let memtable = memtable(43, 2_000, 2_000, 20_000);
    let mut next = 1;
    let options = BlockOptions { partition_ns: 1_000_000_000 };
    let metas = write_blocks(&disk, Path::new("data"), &memtable, &mut next, &options).unwrap();
    assert!(metas.len() > 1, "{}", metas.len());
    assert_same(&of_memtables(&[memtable]), &of_blocks(&disk, &metas), &ids(43, 2_000));
}

#[test]
fn every_flipped_byte_of_a_block_is_detected() {
    let disk = SimDisk::new(1);
    let memtable = memtable(44, 60, 60, 60);
    let options = BlockOptions { partition_ns: 1_000 * HOUR_NS };
    let metas = write_blocks(&disk, Path::new("data"), &memtable, &mut 1, &options).unwrap();
    let truth = of_memtables(std::slice::from_ref(&memtable));
    let id = ids(44, 60)[0];
    let expected = truth.trace(id, Want::ALL).unwrap();
    for file in &metas[0].files {
        let path = metas[0].folder(Path::new("data")).join(&file.name);
        for at in 0..file.bytes {
            disk.flip_bit(&path, at, (at % 8) as u8).unwrap();
            assert!(!crate::block::verify(&disk, Path::new("data"), &metas[0]).is_empty(), "{path:?} {at}");
            if at % 97 == 0
                && let Ok(block) = Block::open(&disk, Path::new("data"), metas[0].clone())
            {
                let snapshot =
                    Snapshot::new(Vec::new(), Arc::new(vec![Arc::new(block)]), Arc::default(), BASE as i64);
                let found = snapshot.trace(id, Want::ALL).unwrap();
                let is_whole = (&found.spans, &found.logs) == (&expected.spans, &expected.logs)
                    && found.exemplars == expected.exemplars;
                assert!(is_whole || !found.partial.is_empty(), "{path:?} {at}");
            }
            disk.flip_bit(&path, at, (at % 8) as u8).unwrap();
        }
    }
    assert!(crate::block::verify(&disk, Path::new("data"), &metas[0]).is_empty());
}

#[test]
fn mutated_files_with_agreeing_checksums_are_refused_or_read() {
    use crate::block::probe;
    use crate::disk::Disk;
    let disk = SimDisk::new(1);
    let memtable = memtable(45, 300, 300, 300);
    let options = BlockOptions { partition_ns: 1_000 * HOUR_NS };
    let metas = write_blocks(&disk, Path::new("data"), &memtable, &mut 1, &options).unwrap();
    let folder = metas[0].folder(Path::new("data"));
    let count: u64 = std::env::var("THROUGHLINE_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    type Probe = fn(&[u8]) -> Result<usize, Error>;
    let probes: [(&str, Probe); 3] =
        [("index", probe::index), ("checksums", probe::checksums), ("index", probe::run)];
    for (name, probe) in probes {
        let good = disk.read_all(&folder.join(name)).unwrap();
        for seed in 0..count {
            let mut bytes = good.clone();
            let mut random = xxhash_rust::xxh3::xxh3_64(&seed.to_le_bytes());
            for _ in 0..1 + seed % 8 {
                random = xxhash_rust::xxh3::xxh3_64(&random.to_le_bytes());
                let at = (random >> 8) as usize % bytes.len();
                bytes[at] = random as u8;
            }
            bytes.truncate(bytes.len() - (random >> 32) as usize % (bytes.len() / 4));
            _ = probe(&bytes);
        }
    }
}

/// A point of each of some series of remote write, in this order.
pub(crate) fn points_of(series: impl ExactSizeIterator<Item = u32>, time: i64) -> throughline_model::Batch {
    use throughline_model::batch::{LabelledRow, SampleBatchBuilder};
    use throughline_model::point::{MetricType, PointKind};
    let mut builder = SampleBatchBuilder::with_capacity(series.len(), 0);
    for number in series {
        let row = builder.push_series(&LabelledRow {
            fingerprint: u128::from(number).to_be_bytes(),
            labels: &[],
            kind: PointKind::Sample,
            unit: "",
            description: "",
            metric_type: MetricType::default(),
        });
        builder.push_point(row, time, 0, f64::from(number) + time as f64, None);
    }
    throughline_model::Batch::Metrics(builder.finish())
}

#[test]
fn a_memtable_is_full_of_rows_or_of_series() {
    let memtable = Memtable::new();
    memtable.insert(points_of(0..1_000, 1), 0);
    let series_bytes = memtable.series_bytes();
    assert_eq!(series_bytes, 128_000);
    memtable.insert(points_of(0..1_000, 1), 0);
    assert_eq!(memtable.series_bytes(), series_bytes);
    // What all batches share is not counted: a point takes some sixteen bytes, and the number of its series.
    let row_bytes = memtable.bytes() - series_bytes;
    assert!((40_000..55_000).contains(&row_bytes), "{row_bytes}");
    assert!(memtable.is_full(row_bytes - 1) && !memtable.is_full(64_000));
    assert!(memtable.is_full(series_bytes / crate::memtable::SERIES_ROOM - 1));
}

#[test]
fn a_memtable_shares_series_with_the_one_before() {
    let first = Arc::new(Memtable::new());
    first.insert(points_of(0..1_000, 1), 0);
    let second = Arc::new(first.successor().0);
    assert_eq!((second.series_bytes(), second.kept_bytes()), (0, 128_000));
    second.insert(points_of(0..1_500, 2), 0);
    assert_eq!((second.series_bytes(), second.shared_bytes()), (192_000, 64_000));
    assert_eq!(second.kept_bytes(), 64_000);
    let (of_first, of_second) = (first.contents().series, second.contents().series);
    assert_eq!((of_first.len(), of_second.len()), (1_000, 1_500));
    assert!(of_first.iter().zip(of_second.iter()).all(|(a, b)| Arc::ptr_eq(a, b)));
    // Their first series is the same, and they are not.
    let key = |memtable: &Arc<Memtable>| {
        of_memtables(std::slice::from_ref(memtable)).metric_parts(TimeRange::ALL)[0].key()
    };
    assert_ne!(key(&first), key(&second));
    second.forget_before();
    assert_eq!(second.kept_bytes(), 0);
    let third = second.successor().0;
    third.forget_before();
    third.insert(points_of(0..1_000, 3), 0);
    assert_eq!((third.series_bytes(), third.shared_bytes()), (128_000, 0));
}

#[test]
fn points_of_few_series_are_those_of_all() {
    use crate::snapshot::parts::PointWant;
    let memtable = Arc::new(Memtable::new());
    memtable.insert(points_of(0..1_000, 5), 0);
    memtable.insert(points_of((0..500).rev().collect::<Vec<_>>().into_iter(), 7), 0);
    memtable.insert(points_of(200..1_000, 6), 0);
    memtable.insert(points_of(0..1_000, 5), 0);
    let view = memtable.view();
    let want = PointWant { start_times: false, payloads: true };
    let points = |wanted: &[u32]| {
        let columns = view.point_columns(wanted, TimeRange::ALL, want);
        let of = |(series, range): &(u32, Range<usize>)| {
            (*series, columns.times[range.clone()].to_vec(), columns.values[range.clone()].to_vec())
        };
        columns.series.iter().map(of).collect::<Vec<_>>()
    };
    let all = points(&(0..1_000).collect::<Vec<_>>());
    assert_eq!(all[499], (499, vec![5, 6, 7], vec![504.0, 505.0, 506.0]));
    for few in [vec![0], vec![499, 500], vec![3, 250, 700, 999], vec![999, 1_000], vec![]] {
        let expected: Vec<_> = all.iter().filter(|(series, ..)| few.contains(series)).cloned().collect();
        assert_eq!(points(&few), expected, "{few:?}");
    }
}
