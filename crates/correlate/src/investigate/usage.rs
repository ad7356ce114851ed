//! What the instances of suspects use, where nothing says how much there is: rates of processor seconds and of network traffic, and
//! bytes of memory, against the baseline.
//!
//! Without a limit such a number has no scale to be high on. So it illustrates and adds nothing to a score, and is shown only where the
//! middle of the window lies beyond all of the baseline. Metrics are known by the names of OpenTelemetry's semantic conventions
//! (`system.*`, `process.*`, `container.*`, `k8s.*`), by what those are in Prometheus, and by those of its usual exporters.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};
use throughline_model::attribute;
use throughline_model::point::PointKind;
use throughline_store::snapshot::parts::{MetricPart, PointColumns, PointWant};
use throughline_store::{Error, SeriesEntry, Snapshot, TimeRange};

use super::resources::{NO_VALUE, instance};
use super::statistics::Sorted;

/// Points that are read of one window.
pub(super) const POINTS_MAX: usize = 500_000;
/// Fewer values before say nothing of how much they move by themselves.
const VALUES_MIN: usize = 4;
/// OTLP's temporality of sums that start again with each point.
const DELTA: u8 = 1;
/// What metrics of resources are of.
const PREFIXES: [&str; 5] = ["system", "process", "container", "k8s", "node"];

/// What is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Quantity {
    /// Seconds of processors.
    Cpu,
    /// Bytes of memory.
    Memory,
    /// Bytes over the network.
    NetworkBytes,
    /// Packets over the network.
    NetworkPackets,
    /// Packets with errors.
    NetworkErrors,
    /// Packets that were dropped.
    NetworkDrops,
}

impl Quantity {
    /// What is used, and in what it is counted.
    pub(super) fn words(self) -> (&'static str, &'static str) {
        match self {
            Quantity::Cpu => ("cpu", "seconds a second"),
            Quantity::Memory => ("memory", "bytes"),
            Quantity::NetworkBytes => ("network traffic", "bytes a second"),
            Quantity::NetworkPackets => ("network traffic", "packets a second"),
            Quantity::NetworkErrors => ("network errors", "a second"),
            Quantity::NetworkDrops => ("dropped packets", "a second"),
        }
    }

    fn is_rate(self) -> bool {
        self != Quantity::Memory
    }

    /// What a metric is about.
    fn of(kind: PointKind, metric: &str) -> Option<Quantity> {
        let lower = metric.to_ascii_lowercase();
        let words: Vec<&str> = lower.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        if !words.first().is_some_and(|first| PREFIXES.contains(first)) {
            return None;
        }
        let has = |any: &[&str]| words.iter().any(|word| any.contains(word));
        // What a sum is, is said in its name by its unit alone.
        let last = words.iter().rev().find(|word| !["total", "seconds", "bytes"].contains(word));
        let ends = |any: &[&str]| last.is_some_and(|last| any.contains(last));
        let may_count = match kind {
            PointKind::Sum => true,
            PointKind::Sample => words.last() == Some(&"total"),
            _ => false,
        };
        let may_be_level = matches!(kind, PointKind::Gauge | PointKind::Sum)
            || (kind == PointKind::Sample && words.last() != Some(&"total"));
        if has(&["cpu"]) && may_count && ends(&["cpu", "time", "usage"]) {
            Some(Quantity::Cpu)
        } else if has(&["network"]) && may_count {
            match () {
                () if has(&["error", "errors", "errs"]) => Some(Quantity::NetworkErrors),
                () if has(&["dropped", "drop"]) => Some(Quantity::NetworkDrops),
                () if has(&["packet", "packets"]) => Some(Quantity::NetworkPackets),
                () if has(&["io", "bytes"]) => Some(Quantity::NetworkBytes),
                () => None,
            }
        } else if has(&["memory"])
            && may_be_level
            && (has(&["resident", "working"]) || ends(&["usage", "rss"]))
        {
            Some(Quantity::Memory)
        } else {
            None
        }
    }

    /// What a series is about: of some metrics only a part is what is used.
    fn of_series(series: &SeriesEntry) -> Option<Quantity> {
        let quantity = Quantity::of(series.kind, &series.metric)?;
        // A sum that may fall is a level.
        if series.kind == PointKind::Sum && series.monotonic != quantity.is_rate() {
            return None;
        }
        let attributes = series.attributes.list();
        let states = attribute::iter(&attributes).filter(|(key, _)| {
            ["state", "mode", "cpu.mode", "cpu_mode", "system.memory.state", "system_memory_state"]
                .contains(key)
        });
        let is_unused = |value: attribute::Value<'_>| match quantity {
            Quantity::Memory => value.to_json() != "used",
            _ => value.to_json() == "idle" || value.to_json() == "iowait",
        };
        let is_used = !states.into_iter().any(|(_, value)| is_unused(value));
        is_used.then_some(quantity)
    }
}

/// What an instance uses otherwise than before.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Usage {
    pub(super) instance: Option<String>,
    pub(super) metric: String,
    pub(super) quantity: Quantity,
    pub(super) now: f64,
    pub(super) before: f64,
}

impl Usage {
    /// How many times as much or as little, as a logarithm.
    fn size(&self) -> f64 {
        let least = f64::MIN_POSITIVE.sqrt();
        (self.now.max(least) / self.before.max(least)).ln().abs()
    }
}

/// Service, instance, what is used, metric.
type Key = (String, Option<String>, Quantity, String);
/// Values by time: levels, or what was counted a second since the point before.
type Values = BTreeMap<i64, f64>;

/// What was found of what services use.
#[derive(Default)]
pub(super) struct Usages {
    /// What the instances of each use otherwise, the greatest difference first.
    pub(super) by_service: BTreeMap<String, Vec<Usage>>,
    /// Whether points were left out.
    pub(super) is_cut: bool,
}

/// What instances of these services use otherwise.
pub(super) fn find(
    snapshot: &Snapshot,
    services: &[&str],
    now: TimeRange,
    before: TimeRange,
) -> Result<Usages, Error> {
    if services.is_empty() {
        return Ok(Usages::default());
    }
    let sides = read(snapshot, services, [now, before])?;
    let is_cut = sides.iter().any(|side| side.points_left == 0);
    let [now, mut before] = sides.map(Side::sums);
    let mut found: BTreeMap<String, Vec<Usage>> = BTreeMap::new();
    for (key, values) in now {
        let Some(known) = before.remove(&key).filter(|known| known.len() >= VALUES_MIN) else { continue };
        let known = Sorted::new(known.into_values().collect());
        let Some(now) = Sorted::new(values.into_values().collect()).median() else { continue };
        let (Some(least), Some(usual), Some(most)) =
            (known.values().first().copied(), known.median(), known.max())
        else {
            continue;
        };
        if now < least || now > most {
            let (service, instance, quantity, metric) = key;
            found.entry(service).or_default().push(Usage { instance, metric, quantity, now, before: usual });
        }
    }
    for of_service in found.values_mut() {
        of_service.sort_by(|a, b| {
            let by_name = || (&a.metric, &a.instance).cmp(&(&b.metric, &b.instance));
            b.size().total_cmp(&a.size()).then_with(by_name)
        });
    }
    Ok(Usages { by_service: found, is_cut })
}

/// The points of one window by series, with the temporality of each.
struct Side {
    range: TimeRange,
    points_left: usize,
    series: BTreeMap<(Key, Vec<u8>), (u8, Values)>,
}

impl Side {
    /// All series of an instance and metric together.
    fn sums(self) -> BTreeMap<Key, Values> {
        let mut sums: BTreeMap<Key, Values> = BTreeMap::new();
        for ((key, _), (temporality, values)) in self.series {
            let values = if key.2.is_rate() { rates(&values, temporality) } else { values };
            let of_key = sums.entry(key).or_default();
            for (time, value) in values {
                *of_key.entry(time).or_default() += value;
            }
        }
        sums
    }
}

/// The points of some windows.
fn read(snapshot: &Snapshot, services: &[&str], ranges: [TimeRange; 2]) -> Result<[Side; 2], Error> {
    let mut sides = ranges.map(|range| Side { range, points_left: POINTS_MAX, series: BTreeMap::new() });
    let [a, b] = ranges;
    let both = TimeRange { start: a.start.min(b.start), end: a.end.max(b.end) };
    for part in snapshot.metric_parts(both) {
        read_part(&part, services, &mut sides)?;
    }
    Ok(sides)
}

/// What was counted a second, at each point but the first. A counter that fell began again at nothing.
fn rates(values: &Values, temporality: u8) -> Values {
    let pairs = values.iter().zip(values.iter().skip(1));
    pairs
        .map(|((then, last), (time, value))| {
            let counted = if temporality == DELTA || value < last { *value } else { value - last };
            (*time, counted / (time.saturating_sub(*then).max(1) as f64 / 1e9))
        })
        .collect()
}

fn read_part(part: &MetricPart, services: &[&str], sides: &mut [Side; 2]) -> Result<(), Error> {
    let chosen = part
        .numbers(|head| services.contains(&head.service) && Quantity::of(head.kind, head.metric).is_some())?;
    let keyed: Vec<(u32, (Key, Vec<u8>), u8)> =
        chosen.iter().filter_map(|(row, entry)| Some((*row, key_of(entry)?, entry.temporality))).collect();
    if keyed.is_empty() {
        return Ok(());
    }
    let rows: Vec<u32> = keyed.iter().map(|(row, ..)| *row).collect();
    for run in part.runs()? {
        let from = rows.partition_point(|row| *row < run.series.start);
        let to = rows.partition_point(|row| *row < run.series.end);
        let of_run = rows.get(from..to).unwrap_or_default();
        for side in &mut *sides {
            let is_there = !of_run.is_empty() && side.range.overlaps(run.min_time, run.max_time);
            if !is_there || side.points_left == 0 {
                continue;
            }
            let columns = part.read_run(&run, of_run, side.range, PointWant::default())?;
            side.points_left = side.points_left.saturating_sub(columns.times.len());
            for (row, at) in &columns.series {
                let Ok(place) = keyed.binary_search_by_key(row, |(row, ..)| *row) else { continue };
                let Some((_, key, temporality)) = keyed.get(place) else { continue };
                let (_, values) =
                    side.series.entry(key.clone()).or_insert_with(|| (*temporality, Values::new()));
                values.extend(at.clone().filter_map(|point| value_at(&columns, point, side.range)));
            }
        }
    }
    Ok(())
}

fn value_at(columns: &PointColumns, point: usize, range: TimeRange) -> Option<(i64, f64)> {
    let (time, value) = (columns.times.get(point)?, columns.values.get(point)?);
    let is_there = columns.flags.get(point).is_none_or(|flags| flags & NO_VALUE == 0);
    (is_there && value.is_finite() && range.contains(*time)).then_some((*time, *value))
}

fn key_of(series: &SeriesEntry) -> Option<(Key, Vec<u8>)> {
    let quantity = Quantity::of_series(series)?;
    let resource: Map<String, Json> = serde_json::from_str(&series.resource).unwrap_or_default();
    let key = (series.service.to_string(), instance(&resource), quantity, series.metric.to_string());
    // Series of several resources may name the same instance.
    let mut rest = series.attributes.list().into_owned();
    rest.extend_from_slice(series.resource.as_bytes());
    Some((key, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_known_by_their_conventional_names() {
        use PointKind::{Gauge, Sample, Sum};
        for (kind, metric, expected) in [
            (Sum, "process.cpu.time", Some(Quantity::Cpu)),
            (Sum, "k8s.pod.cpu.time", Some(Quantity::Cpu)),
            (Sum, "process_cpu_time_seconds_total", Some(Quantity::Cpu)),
            (Sample, "process_cpu_seconds_total", Some(Quantity::Cpu)),
            (Sample, "container_cpu_usage_seconds_total", Some(Quantity::Cpu)),
            (Gauge, "container.cpu.usage", None),
            (Gauge, "process.cpu.utilization", None),
            (Sum, "system.network.io", Some(Quantity::NetworkBytes)),
            (Sample, "container_network_receive_bytes_total", Some(Quantity::NetworkBytes)),
            (Sum, "k8s.pod.network.errors", Some(Quantity::NetworkErrors)),
            (Sum, "system.network.packet.dropped", Some(Quantity::NetworkDrops)),
            (Sample, "node_network_transmit_packets_total", Some(Quantity::NetworkPackets)),
            (Sum, "process.memory.usage", Some(Quantity::Memory)),
            (Gauge, "k8s.pod.memory.working_set", Some(Quantity::Memory)),
            (Gauge, "container.memory.rss", Some(Quantity::Memory)),
            (Sample, "process_resident_memory_bytes", Some(Quantity::Memory)),
            (Sample, "container_memory_working_set_bytes", Some(Quantity::Memory)),
            (Gauge, "system.memory.limit", None),
            (Sum, "orders.cpu.time", None),
            (Sum, "process.disk.io", None),
        ] {
            assert_eq!(Quantity::of(kind, metric), expected, "{metric}");
        }
    }

    #[test]
    fn rates_survive_a_restart() {
        let second = 1_000_000_000;
        let values: Values = [(0, 10.0), (10, 15.0), (20, 2.0)].map(|(s, v)| (s * second, v)).into();
        let rates_of = |temporality| rates(&values, temporality).into_values().collect::<Vec<f64>>();
        assert_eq!(rates_of(2), [0.5, 0.2]);
        assert_eq!(rates_of(DELTA), [1.5, 0.2]);
    }
}
