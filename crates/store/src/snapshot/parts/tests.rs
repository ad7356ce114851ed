//! Parts in columns hold the same points and exemplars as the questions by row.

use std::collections::BTreeMap;
use std::path::Path;

use throughline_model::point::{Histogram, PointKind};

use super::*;
use crate::flush::tests::{HOUR_NS, memtable, of_blocks, of_memtables};
use crate::flush::{BlockOptions, write_blocks};
use crate::snapshot::SeriesQuery;

/// By series and time: value, start, and bucket counts of histograms.
type Points = BTreeMap<(String, i64), (f64, i64, Vec<u64>)>;

const ALL: SeriesQuery = SeriesQuery {
    range: TimeRange::ALL,
    metric: None,
    service: None,
    attributes: Vec::new(),
    limit: usize::MAX,
};

fn hex(fingerprint: [u8; 16]) -> String {
    crate::snapshot::series_record(&SeriesEntry { fingerprint, ..entry() }).fingerprint
}

fn entry() -> SeriesEntry {
    let instrument = crate::Instrument {
        metric: "m".into(),
        kind: PointKind::Gauge,
        unit: "".into(),
        description: "".into(),
        temporality: 0,
        monotonic: false,
        service: "".into(),
        resource: "{}".into(),
        scope: "{}".into(),
        metric_type: throughline_model::point::MetricType::Unknown,
    };
    SeriesEntry {
        fingerprint: [0; 16],
        instrument: Arc::new(instrument),
        attributes: crate::SeriesAttributes::whole(&[]),
    }
}

fn by_row(snapshot: &Snapshot) -> Points {
    let mut out = Points::new();
    for (series, points) in snapshot.points(&ALL).unwrap().items {
        for point in points {
            let counts = Histogram::decode(&point.payload).unwrap().bucket_counts;
            let key = (series.fingerprint.clone(), point.time);
            out.insert(key, (point.value, point.start_time, counts));
        }
    }
    out
}

fn by_column(snapshot: &Snapshot) -> Points {
    let mut out = Points::new();
    for part in snapshot.metric_parts(TimeRange::ALL) {
        let series = part.series_from(0).unwrap();
        assert_eq!(series.len(), part.series_count());
        let is_wanted = |metric: &str, unit: &str| metric.len() > unit.len() + 12;
        let gauges = series
            .iter()
            .zip(0..)
            .filter(|(entry, _)| entry.kind == PointKind::Gauge && is_wanted(&entry.metric, &entry.unit));
        let gauges: Vec<_> = gauges.map(|(entry, row)| (row, Arc::clone(entry))).collect();
        assert_eq!(part.gauges(is_wanted).unwrap(), gauges);
        for run in part.runs().unwrap() {
            let wanted: Vec<u32> = run.series.clone().collect();
            let want = PointWant { start_times: true, payloads: true };
            let columns = part.read_run(&run, &wanted, TimeRange::ALL, want).unwrap();
            for (row, range) in &columns.series {
                for at in range.clone() {
                    let counts = match &columns.payloads {
                        Payloads::None => Vec::new(),
                        Payloads::Buckets { bounds, counts } => {
                            let n = columns.times.len();
                            (0..=bounds.len()).map(|bucket| counts[bucket * n + at]).collect()
                        }
                        Payloads::Raw(payloads) => Histogram::decode(payloads.get(at)).unwrap().bucket_counts,
                    };
                    let key = (hex(series[*row as usize].fingerprint), columns.times[at]);
                    out.insert(key, (columns.values[at], columns.start_times[at], counts));
                }
            }
        }
    }
    out
}

fn exemplars_by_part(snapshot: &Snapshot) -> Vec<Exemplar> {
    let mut out = Vec::new();
    for part in snapshot.metric_parts(TimeRange::ALL) {
        let wanted: Vec<u32> = (0..part.series_count() as u32).collect();
        out.extend(part.exemplars(&wanted, TimeRange::ALL).unwrap().into_iter().map(|found| found.record));
    }
    crate::snapshot::merge::sort_exemplars(&mut out);
    out
}

/// A question by metric and service has of all what it asks for.
fn assert_questions_agree(snapshot: &Snapshot) {
    let all = snapshot.points(&ALL).unwrap().items;
    for (wanted, _) in all.iter().step_by(all.len() / 7 + 1) {
        let (metric, service) = (&wanted.metric, &wanted.service);
        for (metric, service) in [(Some(metric), None), (None, Some(service)), (Some(metric), Some(service))]
        {
            let query = SeriesQuery { metric: metric.cloned(), service: service.cloned(), ..ALL };
            let of = all.iter().filter(|(series, _)| {
                metric.is_none_or(|metric| *metric == series.metric)
                    && service.is_none_or(|service| *service == series.service)
            });
            let of: Vec<_> = of.cloned().collect();
            assert!(!of.is_empty());
            assert_eq!(snapshot.points(&query).unwrap().items, of);
        }
    }
}

fn assert_parts_agree(snapshot: &Snapshot) {
    let rows = by_row(snapshot);
    assert!(rows.len() > 1_000, "{}", rows.len());
    assert_questions_agree(snapshot);
    assert_eq!(rows, by_column(snapshot));
    let mut exemplars = snapshot.exemplars(&ALL).unwrap().items;
    exemplars.iter_mut().for_each(|exemplar| exemplar.link = None);
    assert!(!exemplars.is_empty());
    assert_eq!(exemplars, exemplars_by_part(snapshot));
}

#[test]
fn a_memtable_and_its_block_agree_in_columns() {
    let disk = crate::disk::SimDisk::new(1);
    let memtable = memtable(46, 500, 500, 20_000);
    let options = BlockOptions { partition_ns: 1_000 * HOUR_NS };
    let metas = write_blocks(&disk, Path::new("data"), &memtable, &mut 1, &options).unwrap();
    assert_parts_agree(&of_memtables(&[memtable]));
    assert_parts_agree(&of_blocks(&disk, &metas));
}

#[test]
fn only_wanted_series_are_read() {
    let memtable = memtable(47, 100, 100, 5_000);
    let part = of_memtables(&[memtable]).metric_parts(TimeRange::ALL).remove(0);
    let run = part.runs().unwrap().remove(0);
    let columns = part.read_run(&run, &[3, 9], TimeRange::ALL, PointWant::default()).unwrap();
    assert_eq!(columns.series.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [3, 9]);
    assert!(columns.start_times.is_empty());
}
