//! Labels, streams, volumes and patterns.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value as Json, json};
use throughline_exec::{Budget, Labels, Matcher};
use throughline_model::Level;
use throughline_scan::logs::listing::Counting;
use throughline_scan::logs::{StoredLogs, StreamCount};
use throughline_store::TimeRange;

use super::Loki;
use super::params::Params;
use super::reply::{Refusal, bare, success};

const SECOND_NS: i64 = 1_000_000_000;
const MILLISECOND_NS: i64 = 1_000_000;

/// Entries of a volume, unless asked for otherwise.
const VOLUMES: usize = 100;

/// Patterns in one answer.
const PATTERNS_MAX: usize = 300;

fn streams(
    logs: &StoredLogs,
    matchers: &[Matcher],
    counting: Counting,
    budget: &Budget,
) -> Result<Vec<StreamCount>, Refusal> {
    logs.streams(matchers, counting, budget).map_err(|error| Refusal::exec(&error))
}

/// The streams of a window, without bytes.
fn names(range: TimeRange) -> Counting {
    Counting { range, bytes: false, step_ns: None }
}

pub(super) async fn labels(State(loki): State<Loki>, params: Params) -> Result<Response, Refusal> {
    let (range, matchers) = (params.window(loki.now())?, params.selector()?);
    let ask = move |logs: &StoredLogs, budget: &Budget| {
        let streams = streams(logs, &matchers, names(range), budget)?;
        let names: BTreeSet<String> =
            streams.iter().flat_map(|stream| stream.labels.iter()).map(|(name, _)| name.to_owned()).collect();
        Ok(names)
    };
    let (names, partial) = loki.ask(ask).await?;
    Ok(success(&names, &partial))
}

pub(super) async fn label_values(
    State(loki): State<Loki>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, Refusal> {
    let (range, matchers) = (params.window(loki.now())?, params.selector()?);
    let ask = move |logs: &StoredLogs, budget: &Budget| {
        let streams = streams(logs, &matchers, names(range), budget)?;
        let values = streams.iter().map(|stream| stream.labels.get(&name)).filter(|value| !value.is_empty());
        Ok(values.map(str::to_owned).collect::<BTreeSet<String>>())
    };
    let (values, partial) = loki.ask(ask).await?;
    Ok(success(&values, &partial))
}

pub(super) async fn series(State(loki): State<Loki>, params: Params) -> Result<Response, Refusal> {
    let (range, selectors) = (params.window(loki.now())?, params.selectors()?);
    let ask = move |logs: &StoredLogs, budget: &Budget| {
        let mut all: BTreeSet<Labels> = BTreeSet::new();
        for matchers in &selectors {
            all.extend(
                streams(logs, matchers, names(range), budget)?.into_iter().map(|stream| stream.labels),
            );
        }
        Ok(all.iter().map(object).collect::<Vec<Json>>())
    };
    let (series, partial) = loki.ask(ask).await?;
    Ok(success(&series, &partial))
}

/// Labels as a JSON object.
pub(super) fn object(labels: &Labels) -> Json {
    labels.iter().map(|(name, value)| (name.to_owned(), Json::from(value))).collect()
}

pub(super) async fn index_stats(State(loki): State<Loki>, params: Params) -> Result<Response, Refusal> {
    let range = params.window(loki.now())?;
    let matchers = params.stream_query()?;
    let ask = move |logs: &StoredLogs, budget: &Budget| {
        streams(logs, &matchers, Counting { range, bytes: true, step_ns: None }, budget)
    };
    let (streams, _) = loki.ask(ask).await?;
    // There are no chunks here: each stream counts as one.
    Ok(bare(&json!({
        "streams": streams.len(),
        "chunks": streams.len(),
        "bytes": streams.iter().map(|stream| stream.bytes).sum::<u64>(),
        "entries": streams.iter().map(|stream| stream.entries).sum::<u64>(),
    })))
}

/// What volumes are of.
struct Volumes {
    matchers: Vec<Matcher>,
    targets: Vec<String>,
    by_label: bool,
    limit: usize,
}

impl Volumes {
    fn new(params: &Params) -> Result<Volumes, Refusal> {
        // Of volumes all streams may be asked for.
        let matchers = match params.query()?.trim() {
            "{}" => Vec::new(),
            _ => params.stream_query()?,
        };
        let targets = params.text("targetLabels").unwrap_or_default().split(',');
        let targets = targets.filter(|target| !target.is_empty()).map(str::to_owned).collect();
        let by_label = match params.text("aggregateBy") {
            None | Some("series") => false,
            Some("labels") => true,
            Some(other) => return Err(Refusal::bad(format!("invalid aggregateBy option '{other}'"))),
        };
        let limit = match params.count("limit")? {
            None | Some(0) => VOLUMES,
            Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        Ok(Volumes { matchers, targets, by_label, limit })
    }

    /// The entries that a stream counts for.
    fn entries_of(&self, stream: &Labels) -> Vec<Labels> {
        let names_all = self.targets.is_empty();
        let matched = |name: &str| self.matchers.iter().any(|matcher| matcher.name() == name);
        if !self.targets.iter().all(|target| stream.has(target) || matched(target)) {
            return Vec::new();
        }
        if self.by_label {
            let wanted = |name: &str| names_all || self.targets.iter().any(|target| target == name);
            let names = stream.iter().map(|(name, _)| name).filter(|name| wanted(name));
            return names.map(|name| Labels::from_sorted_with_empty([(name, "")])).collect();
        }
        let wanted = |name: &str| match names_all {
            true => self.matchers.is_empty() || matched(name),
            false => self.targets.iter().any(|target| target == name),
        };
        let labels = Labels::from_sorted(stream.iter().filter(|(name, _)| wanted(name)));
        if labels.is_empty() { Vec::new() } else { vec![labels] }
    }

    /// The largest entries: their bytes, and their bytes by step.
    fn largest(&self, streams: &[StreamCount]) -> Vec<(Labels, u64, BTreeMap<i64, u64>)> {
        let mut sums: BTreeMap<Labels, (u64, BTreeMap<i64, u64>)> = BTreeMap::new();
        for stream in streams {
            for labels in self.entries_of(&stream.labels) {
                let (bytes, steps) = sums.entry(labels).or_default();
                *bytes += stream.bytes;
                for (step, _, of_step) in &stream.steps {
                    *steps.entry(*step).or_default() += of_step;
                }
            }
        }
        let mut sums: Vec<_> =
            sums.into_iter().map(|(labels, (bytes, steps))| (labels, bytes, steps)).collect();
        sums.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        sums.truncate(self.limit);
        sums
    }
}

fn seconds(ns: i64) -> Json {
    let ms = ns.div_euclid(1_000_000);
    if ms % 1_000 == 0 { Json::from(ms / 1_000) } else { Json::from(ms as f64 / 1_000.0) }
}

pub(super) async fn volume(State(loki): State<Loki>, params: Params) -> Result<Response, Refusal> {
    let (range, volumes) = (params.window(loki.now())?, Volumes::new(&params)?);
    let ask = move |logs: &StoredLogs, budget: &Budget| {
        let counting = Counting { range, bytes: true, step_ns: None };
        let streams = streams(logs, &volumes.matchers, counting, budget)?;
        let entry = |(labels, bytes, _): (Labels, u64, _)| json!({ "metric": object(&labels), "value": [seconds(range.end), bytes.to_string()] });
        Ok(volumes.largest(&streams).into_iter().map(entry).collect::<Vec<Json>>())
    };
    let (result, partial) = loki.ask(ask).await?;
    Ok(success(&json!({ "resultType": "vector", "result": result }), &partial))
}

pub(super) async fn volume_range(State(loki): State<Loki>, params: Params) -> Result<Response, Refusal> {
    let (range, volumes) = (params.window(loki.now())?, Volumes::new(&params)?);
    let step = params.step_ns(range)?;
    let ask = move |logs: &StoredLogs, budget: &Budget| {
        let counting = Counting { range, bytes: true, step_ns: Some(step) };
        let streams = streams(logs, &volumes.matchers, counting, budget)?;
        let entry = |(labels, _, steps): (Labels, u64, BTreeMap<i64, u64>)| {
            // A sum stands at the end of its step, which is a millisecond before the next one's begin, or at that of the range.
            let value = |(at, bytes): (i64, u64)| {
                let next = at.saturating_add(1).saturating_mul(step);
                let end = if next < range.end { next - MILLISECOND_NS } else { range.end };
                json!([seconds(end), bytes.to_string()])
            };
            let values: Vec<Json> = steps.into_iter().map(value).collect();
            json!({ "metric": object(&labels), "values": values })
        };
        Ok(volumes.largest(&streams).into_iter().map(entry).collect::<Vec<Json>>())
    };
    let (result, partial) = loki.ask(ask).await?;
    Ok(success(&json!({ "resultType": "matrix", "result": result }), &partial))
}

pub(super) async fn detected_labels(State(loki): State<Loki>, params: Params) -> Result<Response, Refusal> {
    let (range, matchers) = (params.window(loki.now())?, params.selector()?);
    let ask = move |logs: &StoredLogs, budget: &Budget| {
        let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for stream in streams(logs, &matchers, names(range), budget)? {
            for (name, value) in stream.labels.iter() {
                values.entry(name.to_owned()).or_default().insert(value.to_owned());
            }
        }
        // Labels that are nothing but ids and numbers are none to choose by.
        values.retain(|name, values| is_usual(name) || !values.iter().all(|value| is_id(value)));
        let label = |(label, values): (String, BTreeSet<String>)| json!({ "label": label, "cardinality": values.len() });
        Ok(values.into_iter().map(label).collect::<Vec<Json>>())
    };
    let (labels, _) = loki.ask(ask).await?;
    Ok(bare(&json!({ "detectedLabels": labels })))
}

/// Labels that are shown whatever their values.
fn is_usual(name: &str) -> bool {
    ["cluster", "namespace", "instance", "pod", "service_name"].contains(&name)
}

/// Whether a value is a number or a UUID.
fn is_id(value: &str) -> bool {
    let is_uuid = value.len() == 36
        && value.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    is_uuid || value.parse::<f64>().is_ok()
}

pub(super) async fn patterns(State(loki): State<Loki>, params: Params) -> Result<Response, Refusal> {
    let range = params.window(loki.now())?;
    let (matchers, step) = (params.log_query()?.matchers, params.step_ns(range)?);
    let ask = move |logs: &StoredLogs, budget: &Budget| {
        let mut patterns =
            logs.patterns(&matchers, range, step, budget).map_err(|error| Refusal::exec(&error))?;
        patterns.truncate(PATTERNS_MAX);
        let one = |pattern: &throughline_scan::logs::LogPattern| {
            let sample = |(at, count): &(i64, u64)| json!([at.div_euclid(SECOND_NS), count]);
            let samples: Vec<Json> = pattern.counts.iter().map(sample).collect();
            let mut one = json!({ "pattern": pattern.pattern, "samples": samples });
            if pattern.level != Level::Unknown {
                one["level"] = Json::from(pattern.level.name());
            }
            one
        };
        Ok(patterns.iter().map(one).collect::<Vec<Json>>())
    };
    let (patterns, partial) = loki.ask(ask).await?;
    Ok(success(&patterns, &partial))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_names() {
        for id in ["7", "1.5", "0af76519-16cd-43dd-8448-eb211c80319c"] {
            assert!(is_id(id), "{id}");
        }
        for name in ["cart", "0af7651916cd43dd8448eb211c80319c", "v1", ""] {
            assert!(!is_id(name), "{name}");
        }
    }
}
