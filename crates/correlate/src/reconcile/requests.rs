//! Requests by metric: of every family of metrics that count requests the first name that a service has.
//!
//! Counters and cumulative histograms become what they rose by between two points; a point whose value fell, or whose start
//! changed, begins anew. Delta points are what they are.

use std::collections::HashMap;

use serde_json::{Map, Value as Json};
use throughline_model::point::{ExponentialHistogram, Histogram, PointKind};
use throughline_model::record::{Point, Series};
use throughline_store::{Error, Found, SeriesQuery, Snapshot, TimeRange};

use super::Counts;

/// Series of one metric that are read.
const SERIES_MAX: usize = 20_000;
/// Series of all services that are read of a metric.
const ALL_SERIES_MAX: usize = 100_000;
/// How far outside of the window a point is looked for: the first one in it has risen from the one before, and what the last
/// minute counted stands in the one after.
const OUTSIDE_NS: i64 = 300_000_000_000;
/// OTLP's cumulative temporality.
const CUMULATIVE: u8 = 2;

/// Families of metrics of which each counts a request once; the names of one family are the same thing in other versions.
const FAMILIES: [&[&str]; 3] = [
    &[
        "http.server.request.duration",
        "http.server.duration",
        "http_server_request_duration_seconds_count",
        "http_server_duration_milliseconds_count",
        "http_requests_total",
    ],
    &[
        "rpc.server.call.duration",
        "rpc.server.duration",
        "rpc_server_call_duration_seconds_count",
        "rpc_server_duration_milliseconds_count",
        "grpc_server_handled_total",
    ],
    &["messaging.process.duration", "messaging_process_duration_seconds_count"],
];

/// What this store derives from every span.
pub(crate) const DERIVED: &str = "traces_spanmetrics_calls_total";
/// What a Collector's spanmetrics connector writes, over OTLP and scraped.
pub(crate) const SPAN_METRICS: [&str; 4] =
    ["traces.span.metrics.calls", "traces_span_metrics_calls_total", "calls", "calls_total"];
/// Attributes that hold a status of HTTP.
const STATUS_KEYS: [&str; 7] = [
    "http.response.status_code",
    "http_response_status_code",
    "http.status_code",
    "http_status_code",
    "status_code",
    "code",
    "status",
];
/// Attributes that hold a status of gRPC.
const GRPC_KEYS: [&str; 4] =
    ["rpc.grpc.status_code", "rpc_grpc_status_code", "rpc.response.status_code", "grpc_code"];
/// Statuses of gRPC that are the server's fault, as OpenTelemetry's conventions list them, by number and by name.
const GRPC_ERRORS: [(&str, &str); 6] = [
    ("2", "unknown"),
    ("4", "deadlineexceeded"),
    ("12", "unimplemented"),
    ("13", "internal"),
    ("14", "unavailable"),
    ("15", "dataloss"),
];

/// Requests between two moments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    pub from: i64,
    pub to: i64,
    pub counts: Counts,
}

/// Requests by metric.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counted {
    /// The metrics' names.
    pub metrics: Vec<String>,
    pub steps: Vec<Step>,
    pub partial: Vec<String>,
}

impl Counted {
    /// Adds the rises of a series within a window.
    fn add(&mut self, series: &Series, points: &[Point], range: TimeRange) {
        let failed = is_error(&series.attributes);
        for (from, to, requests) in rises(series, points) {
            if to > range.start && from < range.end {
                let errors = if failed { requests } else { 0.0 };
                self.steps.push(Step { from, to, counts: Counts { requests, errors } });
            }
        }
    }

    /// Requests within a window; a step that crosses its bounds counts as far as it lies within.
    pub fn within(&self, range: TimeRange) -> Counts {
        let mut sum = Counts::default();
        for step in &self.steps {
            let length = step.to.saturating_sub(step.from);
            let within = step.to.min(range.end).saturating_sub(step.from.max(range.start));
            let share = match length {
                length if length > 0 => (within as f64 / length as f64).clamp(0.0, 1.0),
                _ => f64::from(u8::from(range.contains(step.to))),
            };
            sum.add(Counts { requests: step.counts.requests * share, errors: step.counts.errors * share });
        }
        sum
    }
}

/// Requests by the service's own metrics.
pub(crate) fn own_requests(snapshot: &Snapshot, service: &str, range: TimeRange) -> Result<Counted, Error> {
    let mut counted = Counted::default();
    for family in FAMILIES {
        for metric in family {
            if count(snapshot, service, range, metric, |_| true, &mut counted)? {
                break;
            }
        }
    }
    Ok(counted)
}

/// Spans of servers and consumers as this store counted them when they came.
pub(crate) fn derived_calls(snapshot: &Snapshot, service: &str, range: TimeRange) -> Result<Counted, Error> {
    let mut counted = Counted::default();
    count(snapshot, service, range, DERIVED, is_derived_call, &mut counted)?;
    Ok(counted)
}

/// The same of all services, within a window; of none where some of it cannot be read, because a part of the calls says nothing.
pub(crate) fn derived_calls_by_service(
    snapshot: &Snapshot,
    range: TimeRange,
) -> Result<HashMap<String, Counts>, Error> {
    let mut counted: HashMap<String, Counted> = HashMap::new();
    let mut found = points_of(snapshot, None, range, DERIVED)?;
    if !found.partial.is_empty() {
        found.items.clear();
    }
    for (series, points) in found.items.iter().filter(|(series, _)| is_derived_call(&series.attributes)) {
        counted.entry(series.service.clone()).or_default().add(series, points, range);
    }
    Ok(counted.into_iter().map(|(service, counted)| (service, counted.within(range))).collect())
}

/// Server spans as somebody else's span metrics count them.
pub(crate) fn span_metric_calls(
    snapshot: &Snapshot,
    service: &str,
    range: TimeRange,
) -> Result<Counted, Error> {
    let mut counted = Counted::default();
    let is_server = |attributes: &Map<String, Json>| {
        text(attributes, &["span.kind", "span_kind"]).is_some_and(|kind| kind == "SPAN_KIND_SERVER")
    };
    for metric in SPAN_METRICS {
        if count(snapshot, service, range, metric, is_server, &mut counted)? {
            break;
        }
    }
    Ok(counted)
}

/// Whether a series counts spans of servers or consumers, and is our own: another's span metrics have labels of where they come from.
fn is_derived_call(attributes: &Map<String, Json>) -> bool {
    let serves = text(attributes, &["span_kind"])
        .is_some_and(|kind| matches!(kind.as_str(), "SPAN_KIND_SERVER" | "SPAN_KIND_CONSUMER"));
    serves && !attributes.contains_key("job") && !attributes.contains_key("instance")
}

fn text(attributes: &Map<String, Json>, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| attributes.get(*key)).map(crate::contrast::text_of)
}

/// The points of a metric, of one service or of all, in a window and a little beyond its bounds.
fn points_of(
    snapshot: &Snapshot,
    service: Option<&str>,
    range: TimeRange,
    metric: &str,
) -> Result<Found<(Series, Vec<Point>)>, Error> {
    snapshot.points(&SeriesQuery {
        range: TimeRange {
            start: range.start.saturating_sub(OUTSIDE_NS),
            end: range.end.saturating_add(OUTSIDE_NS),
        },
        metric: Some(metric.to_owned()),
        service: service.map(str::to_owned),
        attributes: Vec::new(),
        limit: if service.is_some() { SERIES_MAX } else { ALL_SERIES_MAX },
    })
}

/// Adds what a metric counted; false where the service has none of the name.
fn count(
    snapshot: &Snapshot,
    service: &str,
    range: TimeRange,
    metric: &str,
    is_meant: impl Fn(&Map<String, Json>) -> bool,
    counted: &mut Counted,
) -> Result<bool, Error> {
    let found = points_of(snapshot, Some(service), range, metric)?;
    let mut is_there = false;
    for (series, points) in found.items.iter().filter(|(series, _)| is_meant(&series.attributes)) {
        is_there = true;
        counted.add(series, points, range);
    }
    if is_there {
        counted.metrics.push(metric.to_owned());
        counted.partial.extend(found.partial);
    }
    Ok(is_there)
}

/// Whether the attributes of a series say that its requests failed at the server.
fn is_error(attributes: &Map<String, Json>) -> bool {
    if let Some(status) =
        text(attributes, &["status_code"]).filter(|status| status.starts_with("STATUS_CODE_"))
    {
        return status == "STATUS_CODE_ERROR";
    }
    let code = text(attributes, &STATUS_KEYS).and_then(|code| code.parse::<u16>().ok());
    if let Some(code) = code {
        return (500..600).contains(&code);
    }
    if let Some(code) = text(attributes, &GRPC_KEYS) {
        let code = code.to_lowercase().replace('_', "");
        return GRPC_ERRORS.iter().any(|(number, name)| code == *number || code == *name);
    }
    text(attributes, &["error.type", "error_type"]).is_some_and(|kind| !kind.is_empty())
}

/// From when to when, and by how much.
fn rises(series: &Series, points: &[Point]) -> Vec<(i64, i64, f64)> {
    let value = |point: &Point| match series.kind {
        PointKind::Histogram => Histogram::decode(&point.payload).ok().map(|point| point.count as f64),
        PointKind::ExponentialHistogram => {
            ExponentialHistogram::decode(&point.payload).ok().map(|point| point.count as f64)
        }
        PointKind::Sum | PointKind::Sample => Some(point.value).filter(|value| value.is_finite()),
        PointKind::Gauge | PointKind::Summary | PointKind::NativeHistogram => None,
    };
    let valued = points.iter().filter(|point| point.flags & 1 == 0);
    let valued = valued.filter_map(|point| Some((point, value(point)?)));
    if !series.kind.is_prometheus() && series.temporality != CUMULATIVE {
        let from = |point: &Point| if point.start_time > 0 { point.start_time } else { point.time };
        return valued.map(|(point, value)| (from(point), point.time, value)).collect();
    }
    let mut out = Vec::new();
    let mut before: Option<(&Point, f64)> = None;
    for (point, value) in valued {
        let begins_anew = before.is_some_and(|(last, old)| value < old || point.start_time > last.time);
        match before {
            Some((last, old)) if !begins_anew => out.push((last.time, point.time, value - old)),
            // Of a counter that began within what is looked at all is new.
            Some((last, _)) => out.push((last.time.max(point.start_time), point.time, value)),
            None if point.start_time > 0 && is_recent(point) => {
                out.push((point.start_time, point.time, value))
            }
            None => {}
        }
        before = Some((point, value));
    }
    out.retain(|(_, _, rise)| *rise > 0.0);
    out
}

/// Whether a series began so shortly before its first point that the rise lies where it is put.
fn is_recent(point: &Point) -> bool {
    point.time.saturating_sub(point.start_time) <= OUTSIDE_NS
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sample::{SECOND, histogram_point, latency_series, object};

    #[test]
    fn cumulative_points_become_rises() {
        let series = latency_series("cart", "http.server.request.duration", "s", CUMULATIVE);
        let point = |at: i64, start: i64, count: u64| {
            histogram_point(at * SECOND, start * SECOND, &[count, 0, 0, 0, 0, 0, 0])
        };
        let points = [point(60, 30, 5), point(120, 30, 12), point(180, 30, 12), point(240, 200, 3)];
        let rises = rises(&series, &points);
        let seconds: Vec<(i64, i64, f64)> =
            rises.iter().map(|(a, b, n)| (a / SECOND, b / SECOND, *n)).collect();
        assert_eq!(seconds, [(30, 60, 5.0), (60, 120, 7.0), (200, 240, 3.0)]);
        let delta = latency_series("cart", "http.server.request.duration", "s", 1);
        let rises = super::rises(&delta, &points);
        assert_eq!(rises.iter().map(|(_, _, n)| n).sum::<f64>(), 32.0);
    }

    #[test]
    fn failures_are_known_by_any_convention() {
        let is = |attributes: Json| is_error(&object(attributes));
        assert!(is(json!({"http.response.status_code": 503})));
        assert!(!is(json!({"http.response.status_code": 404, "error.type": "404"})));
        assert!(is(json!({"code": "500"})));
        assert!(is(json!({"grpc_code": "Unavailable"})));
        assert!(!is(json!({"rpc.grpc.status_code": 5})));
        assert!(is(json!({"error.type": "timeout"})));
        assert!(is(json!({"status_code": "STATUS_CODE_ERROR"})));
        assert!(!is(json!({"http.route": "/"})));
    }
}
