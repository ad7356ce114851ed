//! Classic histograms as native ones with custom buckets, for `load_with_nhcb`.

use std::collections::BTreeMap;

use throughline_exec::histogram::{Buckets, CUSTOM_SCHEMA};
use throughline_exec::{FloatHistogram, Labels, METRIC_NAME};

use super::memory::MemorySeries;
use super::points::{Point, SeriesLine};

/// The upper bound of a classic bucket.
const BOUND: &str = "le";

/// What the series of one classic histogram say at one time.
#[derive(Default)]
struct Classic {
    /// Bounds and cumulative counts.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// Adds a native histogram for each classic one among `lines`.
pub(super) fn load(memory: &mut MemorySeries, step_ms: i64, lines: &[SeriesLine]) {
    let mut histograms: BTreeMap<Labels, BTreeMap<i64, Classic>> = BTreeMap::new();
    for line in lines.iter().filter(|line| !line.start_times) {
        let name = line.labels.metric_name();
        let bound = line.labels.get(BOUND).parse::<f64>().ok();
        let (base, part) = match (name.strip_suffix("_bucket"), bound) {
            (Some(base), Some(bound)) => (base, Part::Bucket(bound)),
            _ => match (name.strip_suffix("_count"), name.strip_suffix("_sum")) {
                (Some(base), _) => (base, Part::Count),
                (_, Some(base)) => (base, Part::Sum),
                _ => continue,
            },
        };
        let labels = line.labels.with(METRIC_NAME, base).without(&[BOUND]);
        let histogram = histograms.entry(labels).or_default();
        for (at, point) in line.points.iter().enumerate() {
            let Point::Float(value) = point else { continue };
            let classic = histogram.entry(step_ms.saturating_mul(at as i64)).or_default();
            match part {
                Part::Bucket(bound) => classic.buckets.push((bound, *value)),
                Part::Count => classic.count = Some(*value),
                Part::Sum => classic.sum = *value,
            }
        }
    }
    // A series called `_count` or `_sum` alone is no histogram.
    for (labels, times) in &histograms {
        for (time_ms, classic) in times.iter().filter(|(_, classic)| !classic.buckets.is_empty()) {
            if let Some(native) = native(classic) {
                memory.insert_histogram(labels, *time_ms, native);
            }
        }
        memory.settle(labels);
    }
}

enum Part {
    Bucket(f64),
    Count,
    Sum,
}

/// Nothing if the counts do not ascend.
fn native(classic: &Classic) -> Option<FloatHistogram> {
    let mut buckets = classic.buckets.clone();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    buckets.dedup_by(|a, b| a.0 == b.0);
    let (last_bound, last_count) = *buckets.last()?;
    let count = classic.count.unwrap_or(last_count);
    if last_bound != f64::INFINITY {
        buckets.push((f64::INFINITY, count));
    }
    let mut counts = Vec::with_capacity(buckets.len());
    let mut below = 0.0;
    for (_, cumulative) in &buckets {
        if *cumulative < below {
            return None;
        }
        counts.push(cumulative - below);
        below = *cumulative;
    }
    buckets.pop();
    let mut positive = Buckets::from_sorted((0..).zip(counts));
    positive.compact();
    Some(FloatHistogram {
        schema: CUSTOM_SCHEMA,
        count,
        sum: classic.sum,
        positive,
        custom_values: buckets.iter().map(|bucket| bucket.0).collect(),
        ..FloatHistogram::default()
    })
}
