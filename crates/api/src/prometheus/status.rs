//! What the server says of itself in Prometheus's terms, and the routes beside the API.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};
use throughline_exec::{Budget, SelectRequest, SeriesSource, is_stale};
use throughline_scan::metrics::{MetricSource, to_prometheus};
use throughline_store::TimeRange;
use throughline_store::snapshot::parts::MetricPart;
use throughline_wire::prometheus::exposition::write::{Form, Writer};

use super::Prometheus;
use super::params::Params;
use super::reply::{Refusal, rfc3339, success};

/// The version of Prometheus whose API and language this is; clients choose features by it.
const PROMETHEUS_VERSION: &str = "3.14.0";

fn build() -> Json {
    json!({
        "version": PROMETHEUS_VERSION,
        "revision": concat!("throughline-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    })
}

pub(super) async fn buildinfo() -> Response {
    success(&build())
}

pub(super) async fn runtimeinfo(State(prometheus): State<Prometheus>) -> Response {
    let process = &prometheus.process;
    let text = |key: &str| process.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    success(&json!({
        "startTime": rfc3339(prometheus.started_at_ms),
        "CWD": text("data_dir"),
        "hostname": "",
        "serverTime": rfc3339(prometheus.now_ms()),
        "reloadConfigSuccess": true,
        "lastConfigTime": rfc3339(prometheus.started_at_ms),
        "corruptionCount": 0,
        "goroutineCount": 0,
        "GOMAXPROCS": threads,
        "GOMEMLIMIT": 0,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": retention(&text("retention")),
    }))
}

/// Seconds as Prometheus writes a duration.
fn retention(text: &str) -> String {
    let seconds = text.strip_suffix('s').and_then(|seconds| seconds.parse::<i64>().ok());
    seconds.map_or_else(|| text.to_owned(), |s| super::reply::duration_seconds(s.saturating_mul(1_000)))
}

pub(super) async fn flags(State(prometheus): State<Prometheus>) -> Response {
    let options = prometheus.engine.options;
    let mut flags: BTreeMap<&str, String> = BTreeMap::new();
    flags.insert("query.lookback-delta", super::reply::duration_seconds(options.lookback_ms));
    flags.insert("query.max-samples", prometheus.limits.samples.to_string());
    flags.insert("query.timeout", super::reply::duration_seconds(prometheus.timeout_ms()));
    flags.insert("web.enable-otlp-receiver", "true".to_owned());
    flags.insert("web.enable-remote-write-receiver", "true".to_owned());
    success(&flags)
}

pub(super) async fn config(State(prometheus): State<Prometheus>) -> Response {
    let yaml = prometheus.process.get("config").and_then(Json::as_str).unwrap_or_default();
    success(&json!({ "yaml": yaml }))
}

/// Blocks that hold points, in the words of Prometheus's: `ulid` is the block's folder.
pub(super) async fn blocks(State(prometheus): State<Prometheus>) -> Response {
    let parts = prometheus.store.snapshot().metric_parts(TimeRange::ALL);
    let blocks = parts.iter().filter_map(|part| match part {
        MetricPart::Block(block) => Some(block.meta()),
        MetricPart::Memtable(_) => None,
    });
    let blocks: Vec<Json> = blocks
        .map(|block| {
            json!({
                "ulid": block.name,
                "minTime": block.min_time.div_euclid(1_000_000),
                // The last millisecond is not part of a block there.
                "maxTime": block.max_time.div_euclid(1_000_000).saturating_add(1),
                "stats": { "numSamples": block.rows.points, "numSeries": block.rows.series },
                "compaction": { "level": block.level.saturating_add(1), "sources": [block.name] },
                "version": 1,
            })
        })
        .collect();
    success(&json!({ "blocks": blocks }))
}

/// How far the replay of the log is. Before it is done, these routes answer that the server is not ready.
pub(super) async fn wal_replay() -> Response {
    success(&json!({ "min": 0, "max": 0, "current": 0 }))
}

/// The notices of the store.
pub(super) async fn notifications(State(prometheus): State<Prometheus>) -> Response {
    let notices = prometheus.store.status().notices.into_iter();
    let shown: Vec<Json> = notices
        .map(|notice| {
            json!({
                "text": notice.text,
                "date": rfc3339(notice.at.div_euclid(1_000_000)),
                "active": true,
            })
        })
        .collect();
    success(&shown)
}

/// Nobody is called when there is a notice: no content, which tells a listener not to come back.
pub(super) async fn live_notifications() -> StatusCode {
    StatusCode::NO_CONTENT
}

pub(super) async fn search() -> Refusal {
    Refusal::unavailable("search API disabled")
}

pub(super) async fn admin() -> Refusal {
    Refusal::unavailable("admin APIs disabled")
}

/// `/-/reload` and `/-/quit`: the process is ended by a signal, and reads its configuration when it starts.
pub(super) async fn lifecycle(method: Method, Path(action): Path<String>) -> Response {
    if !matches!(action.as_str(), "reload" | "quit") {
        return StatusCode::NOT_FOUND.into_response();
    }
    if !matches!(method, Method::POST | Method::PUT) {
        return (StatusCode::METHOD_NOT_ALLOWED, "Only POST or PUT requests allowed").into_response();
    }
    (StatusCode::FORBIDDEN, "Lifecycle API is not enabled.").into_response()
}

/// What is switched on; names as Prometheus groups them.
pub(super) async fn features() -> Response {
    let on = |names: &[&str]| -> BTreeMap<String, bool> {
        names.iter().map(|name| ((*name).to_owned(), true)).collect()
    };
    success(&json!({
        "api": on(&["exclude_alerts", "label_values_match", "query_stats", "query_warnings", "remote_write_receiver", "otlp_write_receiver"]),
        "promql": on(&[
            "anchored", "at_modifier", "bool", "by", "delayed_name_removal", "duration_expr", "fill", "group_left",
            "group_right", "ignoring", "negative_offset", "offset", "on", "per_query_lookback_delta", "smoothed",
            "subqueries", "without",
        ]),
    }))
}

pub(super) async fn healthy() -> &'static str {
    "Throughline is Healthy.\n"
}

pub(super) async fn ready(State(prometheus): State<Prometheus>) -> Response {
    if prometheus.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "Throughline is stopping.\n").into_response();
    }
    "Throughline is Ready.\n".into_response()
}

pub(super) async fn version() -> Response {
    // Without an envelope: it is no part of the API.
    axum::Json(build()).into_response()
}

/// The newest sample of every matching series, in an exposition format.
pub(super) async fn federate(
    State(prometheus): State<Prometheus>,
    headers: HeaderMap,
    params: Params,
) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let form = Form::negotiate(accept);
    let selectors = match params.any_selectors() {
        Ok(selectors) => selectors,
        Err(reason) => return Refusal::bad_data(reason).into_text(),
    };
    let now_ms = prometheus.now_ms();
    let lookback_ms = prometheus.engine.options.lookback_ms;
    let external = prometheus.external_labels.clone();
    let ask = move |source: &MetricSource, budget: &Budget| -> Result<Vec<u8>, Refusal> {
        let mut writer = Writer::new(form);
        let mut found = Vec::new();
        for matchers in selectors {
            let start_ms = now_ms.saturating_sub(lookback_ms);
            let request = SelectRequest { matchers, start_ms, end_ms: now_ms, ..SelectRequest::default() };
            found.extend(source.select(&request, budget).map_err(|error| Refusal::exec(&error))?);
        }
        found.sort_by(|a, b| (a.labels.metric_name(), &a.labels).cmp(&(b.labels.metric_name(), &b.labels)));
        found.dedup_by(|a, b| a.labels == b.labels);
        for series in &found {
            let mut labels: Vec<(&str, &str)> = series.labels.iter().collect();
            for (name, value) in &external {
                if !labels.iter().any(|(known, _)| known == name) {
                    labels.push((name, value));
                }
            }
            if !labels.iter().any(|(known, _)| *known == "instance") {
                labels.push(("instance", ""));
            }
            labels.sort_unstable();
            let float = series.timestamps.last().copied().zip(series.values.last());
            let histogram = series.histograms.last();
            // The newest of either kind.
            let float = float.filter(|(time, _)| histogram.is_none_or(|newest| newest.0 < *time));
            match (float, histogram) {
                (Some((time, value)), _) if !is_stale(*value) => writer.number(&labels, *value, time),
                (None, Some((time, histogram))) if !histogram.is_stale() => {
                    writer.histogram(&labels, &to_prometheus(histogram), *time);
                }
                _ => {}
            }
        }
        Ok(writer.finish())
    };
    match prometheus.ask(ask).await {
        Ok((page, _)) => ([(header::CONTENT_TYPE, form.content_type())], page).into_response(),
        Err(refusal) => refusal.into_text(),
    }
}
