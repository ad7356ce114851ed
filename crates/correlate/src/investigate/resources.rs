//! What the resources of an instance say: how full they are, and whether another version runs.
//!
//! A utilisation is a gauge with values between nothing and all of something. How much slower whatever needs it becomes
//! follows from what is left of it: a service time of `1 / (1 - utilisation)`. From 2 % to 20 % little changes; from 50 %
//! to 95 % everything does.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};
use throughline_store::snapshot::parts::{PointColumns, PointWant};
use throughline_store::{Error, SeriesEntry, Snapshot, TimeRange};

use super::side::Side;
use super::statistics::{Sorted, confidence};
use super::vocabulary::Vocabulary;
use crate::contrast::text_of;

/// Series of utilisations that are read.
pub const SERIES_MAX: usize = 20_000;
/// Points of all of them that are read of one window: about 50 MB while they are compared.
const POINTS_MAX: usize = 1_000_000;
/// Nothing is fuller than this, so that there is always a little left to divide by.
const FULL: f64 = 0.999;
/// OTLP's flag of a point without a value.
pub(super) const NO_VALUE: u32 = 1;

/// The words in a metric's name that say what is used.
const RESOURCES: [(&str, &str); 16] = [
    ("cpu", "cpu"),
    ("memory", "memory"),
    ("mem", "memory"),
    ("heap", "memory"),
    ("disk", "disk"),
    ("filesystem", "disk"),
    ("volume", "disk"),
    ("network", "network"),
    ("thread", "threads"),
    ("pool", "pool"),
    ("connection", "connections"),
    ("connections", "connections"),
    ("queue", "queue"),
    ("descriptor", "file descriptors"),
    ("fd", "file descriptors"),
    ("gc", "garbage collection"),
];

/// What a metric without the unit of a share must have in its name to be one.
const SHARES: [&str; 5] = ["utilization", "utilisation", "ratio", "percent", "saturation"];

/// Which instance a resource is of: the most telling attributes first.
const INSTANCE: [&str; 5] = ["service.instance.id", "k8s.pod.name", "container.id", "host.name", "instance"];

/// The attributes that change when something else runs.
const VERSION: [&str; 5] =
    ["service.version", "container.image.tag", "container.image.tags", "container.image.id", "deployment.id"];

/// A resource that is fuller than before.
#[derive(Clone, Debug)]
pub(super) struct Full {
    pub(super) service: String,
    pub(super) instance: Option<String>,
    pub(super) metric: String,
    /// What is used: `cpu`, `memory` and so on.
    pub(super) resource: &'static str,
    /// Shares between 0 and 1.
    pub(super) now: f64,
    pub(super) before: f64,
    /// By how much what needs it is slowed, as a share of its time.
    pub(super) effect: f64,
    pub(super) confidence: f64,
}

impl Full {
    pub(super) fn score(&self) -> f64 {
        self.effect * self.confidence
    }
}

/// Another version than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deployed {
    pub(super) attribute: &'static str,
    pub(super) before: Vec<String>,
    pub(super) now: Vec<String>,
}

/// The instance that a resource names.
pub(super) fn instance(resource: &Map<String, Json>) -> Option<String> {
    INSTANCE.iter().find_map(|key| resource.get(*key)).map(text_of).filter(|text| !text.is_empty())
}

/// What of something a metric is the share of, and what its values are to be multiplied with.
fn utilisation(metric: &str, unit: &str) -> Option<(&'static str, f64)> {
    let lower = metric.to_ascii_lowercase();
    let mut words = lower.split(|c: char| !c.is_ascii_alphanumeric());
    let resource =
        words.find_map(|word| RESOURCES.iter().find(|(name, _)| *name == word)).map(|(_, kind)| *kind)?;
    let says_share = SHARES.iter().any(|word| lower.contains(word));
    match unit {
        "%" | "percent" => Some((resource, 0.01)),
        "1" | "" if says_share && lower.contains("percent") => Some((resource, 0.01)),
        "1" | "" if says_share => Some((resource, 1.0)),
        _ => None,
    }
}

#[derive(Default)]
struct Points {
    now: Vec<f64>,
    before: Vec<f64>,
}

type Key = (String, Option<String>, String, &'static str, Vec<u8>);

/// What was found of resources.
#[derive(Default)]
pub(super) struct Utilisations {
    pub(super) full: Vec<Full>,
    pub(super) series: usize,
    pub(super) partial: Vec<String>,
}

/// Reads the utilisations of both windows and compares them.
pub(super) fn find(snapshot: &Snapshot, now: TimeRange, before: TimeRange) -> Result<Utilisations, Error> {
    let mut found = Utilisations::default();
    let mut points: BTreeMap<Key, Points> = BTreeMap::new();
    // A point says what was until then, so that of those after a window the next one belongs to it.
    let mut times: BTreeMap<Key, BTreeMap<i64, f64>> = BTreeMap::new();
    let [before_on, now_on] = [before, now].map(|range| {
        let length = range.end.saturating_sub(range.start);
        TimeRange { start: range.start, end: range.end.saturating_add(length.max(REACH_NS)) }
    });
    let both = TimeRange { start: before_on.start.min(now_on.start), end: before_on.end.max(now_on.end) };
    let ranges = match before_on.overlaps(now_on.start, now_on.end) {
        true => vec![Wanted { range: both, points: 2 * POINTS_MAX }],
        false => [before_on, now_on].map(|range| Wanted { range, points: POINTS_MAX }).into(),
    };
    read(snapshot, both, ranges, &mut times, &mut found)?;
    for (key, values) in &times {
        let half = spacing(values) / 2;
        let of = points.entry(key.clone()).or_default();
        for (time, value) in values {
            // The middle of what the point is about.
            let middle = time.saturating_sub(half);
            if now.contains(middle) {
                of.now.push(*value);
            } else if before.contains(middle) {
                of.before.push(*value);
            }
        }
    }
    found.series = points.len();
    compare(points, &mut found);
    Ok(found)
}

/// How far after a window the next point is looked for.
const REACH_NS: i64 = 120_000_000_000;

/// The usual distance of points.
fn spacing(values: &BTreeMap<i64, f64>) -> i64 {
    let times: Vec<i64> = values.keys().copied().collect();
    let mut distances: Vec<i64> = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    distances.sort_unstable();
    distances.get(distances.len() / 2).copied().unwrap_or(0)
}

/// A range that points are read of, and how many more of them.
struct Wanted {
    range: TimeRange,
    points: usize,
}

/// Reads the points of some ranges, which lie within one.
fn read(
    snapshot: &Snapshot,
    both: TimeRange,
    mut ranges: Vec<Wanted>,
    times: &mut BTreeMap<Key, BTreeMap<i64, f64>>,
    found: &mut Utilisations,
) -> Result<(), Error> {
    for part in snapshot.metric_parts(both) {
        let series = part.gauges(|metric, unit| utilisation(metric, unit).is_some())?;
        let keys: Vec<(u32, Key, f64)> = series
            .iter()
            .filter_map(|(row, series)| key_of(series).map(|(key, scale)| (*row, key, scale)))
            .collect();
        let rows: Vec<u32> = keys.iter().map(|(row, ..)| *row).collect();
        for run in part.runs()? {
            let from = rows.partition_point(|row| *row < run.series.start);
            let to = rows.partition_point(|row| *row < run.series.end);
            let of_run = rows.get(from..to).unwrap_or_default();
            if of_run.is_empty() {
                continue;
            }
            for wanted in &mut ranges {
                if wanted.range.overlaps(run.min_time, run.max_time) {
                    let columns = part.read_run(&run, of_run, wanted.range, PointWant::default())?;
                    take(&columns, &keys, wanted, times, found);
                }
            }
        }
    }
    Ok(())
}

/// Takes the values of a run by the keys of their series.
fn take(
    columns: &PointColumns,
    keys: &[(u32, Key, f64)],
    wanted: &mut Wanted,
    times: &mut BTreeMap<Key, BTreeMap<i64, f64>>,
    found: &mut Utilisations,
) {
    let mut left_out = |what: String| {
        if !found.partial.contains(&what) {
            found.partial.push(what);
        }
    };
    for (row, at) in &columns.series {
        let Ok(place) = keys.binary_search_by_key(row, |(row, ..)| *row) else { continue };
        let Some((_, key, scale)) = keys.get(place) else { continue };
        if times.len() >= SERIES_MAX && !times.contains_key(key) {
            left_out(format!("more than {SERIES_MAX} series of utilisations: the others were not read"));
            continue;
        }
        if wanted.points == 0 {
            left_out(format!("more than {POINTS_MAX} points of utilisations: the others were not read"));
            return;
        }
        wanted.points = wanted.points.saturating_sub(at.len());
        let of_series = times.entry(key.clone()).or_default();
        for point in at.clone() {
            let (Some(time), Some(value)) = (columns.times.get(point), columns.values.get(point)) else {
                continue;
            };
            let is_there = columns.flags.get(point).is_none_or(|flags| flags & NO_VALUE == 0);
            if is_there && value.is_finite() && wanted.range.contains(*time) {
                of_series.insert(*time, value * scale);
            }
        }
    }
}

fn key_of(series: &SeriesEntry) -> Option<(Key, f64)> {
    let (resource, scale) = utilisation(&series.metric, &series.unit)?;
    let of: Map<String, Json> = serde_json::from_str(&series.resource).unwrap_or_default();
    let key = (
        series.service.to_string(),
        instance(&of),
        series.metric.to_string(),
        resource,
        series.attributes.list().into_owned(),
    );
    Some((key, scale))
}

fn compare(points: BTreeMap<Key, Points>, found: &mut Utilisations) {
    // How much utilisations move by themselves, by what is used.
    let mut moves: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    let mut both: Vec<(Key, f64, f64)> = Vec::new();
    // An instance that the baseline does not have is compared with those that did its work then.
    let mut of_service: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    for ((service, _, metric, ..), points) in &points {
        of_service.entry((service.clone(), metric.clone())).or_default().extend(&points.before);
    }
    for ((service, instance, metric, resource, attributes), points) in points {
        let (now, mut before) = (Sorted::new(points.now), Sorted::new(points.before));
        if before.len() == 0 {
            let others = of_service.get(&(service.clone(), metric.clone()));
            before = Sorted::new(others.cloned().unwrap_or_default());
        }
        let Some(usual) = before.median() else { continue };
        moves.entry(resource).or_default().extend(before.values().iter().map(|value| value - usual));
        // The upper quartile: high for a good part of the window, and not for a moment of a long one.
        let Some(value) = now.quantile(0.75) else { continue };
        if (0.0..=1.0).contains(&usual) {
            both.push(((service, instance, metric, resource, attributes), usual, value));
        }
    }
    let moves: BTreeMap<&str, Sorted> =
        moves.into_iter().map(|(key, values)| (key, Sorted::new(values))).collect();
    let mut looks: BTreeMap<&str, usize> = BTreeMap::new();
    both.iter().for_each(|((.., resource, _), ..)| *looks.entry(resource).or_default() += 1);
    for ((service, instance, metric, resource, _), usual, value) in both {
        let (before, now) = (usual.clamp(0.0, FULL), value.clamp(0.0, FULL));
        let effect = 1.0 - (1.0 - now) / (1.0 - before);
        if effect <= 0.0 {
            continue;
        }
        let chance = moves.get(resource).map_or(1.0, |moves| moves.chance(now - before));
        let confidence = confidence(-chance.ln(), looks.get(resource).copied().unwrap_or(1));
        found.full.push(Full {
            service,
            instance,
            metric,
            resource,
            now: value,
            before: usual,
            effect,
            confidence,
        });
    }
    found.full.sort_by(|a, b| {
        b.score().total_cmp(&a.score()).then_with(|| (&a.service, &a.metric).cmp(&(&b.service, &b.metric)))
    });
}

/// Which services run something else than before.
pub(super) fn deployments(
    now: &Side,
    before: &Side,
    vocabulary: &Vocabulary,
) -> BTreeMap<u32, Vec<Deployed>> {
    let of = |side: &Side| {
        let pairs: BTreeSet<(u32, u32)> =
            side.spans.iter().map(|span| (span.row.service, span.row.resource)).collect();
        let mut versions: BTreeMap<(u32, &'static str), BTreeSet<String>> = BTreeMap::new();
        for (service, resource) in pairs {
            let text = vocabulary.resources.name(resource);
            let resource: Map<String, Json> = serde_json::from_str(text).unwrap_or_default();
            for attribute in VERSION {
                if let Some(value) = resource.get(attribute) {
                    versions.entry((service, attribute)).or_default().insert(text_of(value));
                }
            }
        }
        versions
    };
    let (now, before) = (of(now), of(before));
    let mut found: BTreeMap<u32, Vec<Deployed>> = BTreeMap::new();
    for ((service, attribute), values) in now {
        let Some(known) = before.get(&(service, attribute)) else { continue };
        let new: Vec<String> = values.difference(known).cloned().collect();
        if !new.is_empty() {
            let before = known.iter().cloned().collect();
            found.entry(service).or_default().push(Deployed { attribute, before, now: new });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_told_from_other_numbers() {
        assert_eq!(utilisation("x.cpu_usage_rate", "%"), Some(("cpu", 0.01)));
        assert_eq!(utilisation("process.cpu.utilization", "1"), Some(("cpu", 1.0)));
        assert_eq!(utilisation("db.client.connections.utilization", ""), Some(("connections", 1.0)));
        assert_eq!(utilisation("node_memory_used_percent", ""), Some(("memory", 0.01)));
        for (metric, unit) in
            [("cpu.time", "s"), ("memory.usage", "By"), ("success_rate", "%"), ("cpu.count", "1")]
        {
            assert_eq!(utilisation(metric, unit), None, "{metric}");
        }
    }

    #[test]
    fn what_is_nearly_full_slows_and_what_is_half_empty_does_not() {
        let points = |service: &str, before: &[f64], now: &[f64]| {
            let key = (service.to_owned(), None, "cpu.utilization".to_owned(), "cpu", Vec::new());
            (key, Points { now: now.to_vec(), before: before.to_vec() })
        };
        let quiet: Vec<f64> = (0..60).map(|n| 0.1 + f64::from(n % 7) * 0.01).collect();
        let mut found = Utilisations::default();
        let all = [
            points("a", &quiet, &[0.97, 0.98]),
            points("b", &quiet, &[0.16]),
            points("c", &quiet, &[0.3]),
            points("d", &[3.5, 3.6], &[7.0]),
        ];
        compare(all.into_iter().collect(), &mut found);
        let score = |name: &str| found.full.iter().find(|full| full.service == name).map_or(0.0, Full::score);
        assert!(score("a") > 0.85, "{}", score("a"));
        assert!(score("b") < 0.05 && score("c") < 0.25 && score("d") == 0.0);
    }

    #[test]
    fn a_new_instance_is_compared_with_those_before_it() {
        let key = |instance: &str| {
            let metric = "cpu.utilization".to_owned();
            ("a".to_owned(), Some(instance.to_owned()), metric, "cpu", Vec::new())
        };
        let quiet: Vec<f64> = (0..60).map(|n| 0.1 + f64::from(n % 7) * 0.01).collect();
        let old = Points { now: Vec::new(), before: quiet };
        let new = Points { now: vec![0.97], before: Vec::new() };
        let mut found = Utilisations::default();
        compare([(key("a-1"), old), (key("a-2"), new)].into_iter().collect(), &mut found);
        let full = found.full.first().expect("it is full");
        assert_eq!((full.instance.as_deref(), full.before), (Some("a-2"), 0.13));
        assert!(full.score() > 0.85, "{}", full.score());
    }
}
