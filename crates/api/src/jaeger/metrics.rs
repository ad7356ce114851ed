//! The graphs of the Monitor tab: latencies, calls and errors of services and their operations, from the derived metrics.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value as Json, json};
use throughline_correlate::units::rfc3339;
use throughline_promql::value::RangeSeries;
use throughline_promql::{QueryValue, parse};
use throughline_scan::metrics::MetricSource;

use super::Jaeger;
use super::reply::{Legacy, bare, enveloped};
use crate::traces::Refusal;
use crate::traces::params::Params;

/// Milliseconds.
const LOOKBACK_MS: i64 = 3_600_000;
const STEP_MS: i64 = 5_000;
const RATE_PER_MS: i64 = 600_000;
/// Points of one series at most.
const STEPS_MAX: i64 = 11_000;

/// Names of kinds, and how the derived metrics call them.
const KINDS: [(&str, &str); 6] = [
    ("unspecified", "SPAN_KIND_UNSPECIFIED"),
    ("internal", "SPAN_KIND_INTERNAL"),
    ("server", "SPAN_KIND_SERVER"),
    ("client", "SPAN_KIND_CLIENT"),
    ("producer", "SPAN_KIND_PRODUCER"),
    ("consumer", "SPAN_KIND_CONSUMER"),
];

/// What a graph is of.
struct Graph {
    name: &'static str,
    help: String,
    expression: String,
    /// What there is where the expression has no series, though there were calls.
    otherwise: Option<String>,
}

/// Matchers, the range of rates and labels to group by, as PromQL writes them.
struct Selection {
    matchers: String,
    rate_per: String,
    by: &'static str,
}

impl Selection {
    fn of_params(params: &Params) -> Result<Selection, Refusal> {
        let services: Vec<String> = params.all("service").map(regex_escaped).collect();
        if services.is_empty() {
            return Err(Refusal::bad(
                "unable to parse param 'service': please provide at least one service name",
            ));
        }
        let mut kinds = Vec::new();
        for wanted in params.all("spanKind") {
            let known = KINDS.iter().find(|(name, _)| *name == wanted);
            let (_, name) = known.ok_or_else(|| {
                Refusal::bad(format!("unable to parse param 'spanKind': unsupported span kind: '{wanted}'"))
            })?;
            kinds.push(*name);
        }
        if kinds.is_empty() {
            kinds.push("SPAN_KIND_SERVER");
        }
        let rate_per = positive(params, "ratePer", RATE_PER_MS)?;
        let matchers = format!(
            "service=~{},span_kind=~{}",
            promql_text(&services.join("|")),
            promql_text(&kinds.join("|"))
        );
        let by = if params.flag("groupByOperation")? { "service,span_name" } else { "service" };
        Ok(Selection { matchers, rate_per: format!("{rate_per}ms"), by })
    }

    fn rate(&self, metric: &str, more: &str, by: &str) -> String {
        let Selection { matchers, rate_per, .. } = self;
        format!("sum(rate({metric}{{{matchers}{more}}}[{rate_per}])) by ({by})")
    }

    fn graph(&self, kind: &str, params: &Params) -> Result<Graph, Refusal> {
        const CALLS: &str = "traces_spanmetrics_calls_total";
        let by = self.by;
        let calls = self.rate(CALLS, "", by);
        let (name, help, expression, otherwise) = match kind {
            "latencies" => {
                let text = params.text("quantile").unwrap_or_default();
                let quantile: f64 = text.parse().map_err(|_| {
                    Refusal::bad(format!("unable to parse param 'quantile': {text:?} is not a number"))
                })?;
                let buckets = self.rate("traces_spanmetrics_latency_bucket", "", &format!("{by},le"));
                let help = format!("{quantile:.2}th quantile latency, grouped by service");
                // Jaeger's unit is the millisecond.
                ("latencies", help, format!("1000 * histogram_quantile({quantile}, {buckets})"), None)
            }
            "calls" => ("call_rate", "calls/sec, grouped by service".to_owned(), calls, None),
            "errors" => {
                let errors = self.rate(CALLS, ",status_code=\"STATUS_CODE_ERROR\"", by);
                let help =
                    "error rate, computed as a fraction of errors/sec over calls/sec, grouped by service";
                // Where there are calls and none failed the share is nought, not unknown.
                ("error_rate", help.to_owned(), format!("{errors} / {calls}"), Some(format!("0 * {calls}")))
            }
            other => {
                let message =
                    format!("there are no metrics {other:?}; there are latencies, calls, errors and minstep");
                return Err(Refusal::new(StatusCode::NOT_FOUND, message));
            }
        };
        Ok(Graph { name, help, expression, otherwise })
    }
}

/// Text in quotes.
fn promql_text(text: &str) -> String {
    throughline_exec::quote::quote(text.as_bytes())
}

/// A name as a regular expression that matches only it.
fn regex_escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if r"\.+*?()|[]{}^$".contains(char) {
            out.push('\\');
        }
        out.push(char);
    }
    out
}

fn positive(params: &Params, name: &str, default: i64) -> Result<i64, Refusal> {
    match params.whole(name)?.unwrap_or(default) {
        value if value > 0 => Ok(value),
        value => Err(Refusal::bad(format!("unable to parse param '{name}': {value} is not positive"))),
    }
}

pub(super) async fn min_step(params: Params) -> Response {
    enveloped(&json!(1), 1, &params)
}

pub(super) async fn metrics(
    State(jaeger): State<Jaeger>,
    Path(kind): Path<String>,
    params: Params,
) -> Result<Response, Legacy> {
    let selection = Selection::of_params(&params)?;
    let graph = selection.graph(&kind, &params)?;
    let now_ms = jaeger.traces.now().div_euclid(1_000_000);
    let end_ms = params.whole("endTs")?.unwrap_or(now_ms);
    let (lookback_ms, step_ms) =
        (positive(&params, "lookback", LOOKBACK_MS)?, positive(&params, "step", STEP_MS)?);
    if lookback_ms / step_ms > STEPS_MAX {
        let message = format!("lookback has more than {STEPS_MAX} steps; choose a longer step");
        return Err(Refusal::bad(message).into());
    }
    let range = (end_ms.saturating_sub(lookback_ms), end_ms, step_ms);
    let Graph { name, help, expression, otherwise } = graph;
    let mut series = matrix(&jaeger, expression, range).await?;
    if let Some(otherwise) = otherwise.filter(|_| series.is_empty()) {
        series = matrix(&jaeger, otherwise, range).await?;
    }
    let by_operation = selection.by.contains("span_name");
    let (prefix, suffix) = if by_operation { ("service_operation", " & operation") } else { ("service", "") };
    let mut family =
        json!({"name": format!("{prefix}_{name}"), "type": "GAUGE", "help": format!("{help}{suffix}")});
    if !series.is_empty() {
        family["metrics"] = Json::Array(series);
    }
    Ok(bare(&family, &params))
}

/// The series of an expression as Jaeger has metrics.
async fn matrix(jaeger: &Jaeger, text: String, range: (i64, i64, i64)) -> Result<Vec<Json>, Refusal> {
    let engine = jaeger.prometheus.engine;
    let expr = parse(&text).map_err(|error| Refusal::bad(error.to_string()))?;
    let read = jaeger.prometheus.ask_for(move |source: &MetricSource, budget| {
        let result = engine.range(&text, &expr, range, source, budget);
        Ok(result.map_err(|error| Refusal::bad(error.to_string()))?.value)
    });
    let QueryValue::Matrix(series) = read.await? else { return Ok(Vec::new()) };
    let point = |(ms, value): &(i64, f64)| {
        let value = if value.is_finite() { json!(value) } else { json!("NaN") };
        json!({"gaugeValue": {"doubleValue": value}, "timestamp": rfc3339(ms.saturating_mul(1_000_000))})
    };
    let one = |series: &RangeSeries| {
        let labels = series.labels.iter().map(|(name, value)| {
            let name = match name {
                "service" => "service_name",
                "span_name" => "operation",
                other => other,
            };
            json!({"name": name, "value": value})
        });
        let labels: Vec<Json> = labels.collect();
        let points: Vec<Json> = series.floats.iter().map(point).collect();
        json!({"labels": labels, "metricPoints": points})
    };
    Ok(series.iter().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graphs_are_expressions() {
        let params = Params::of(&[
            ("service", "a.b"),
            ("service", "web"),
            ("groupByOperation", "true"),
            ("quantile", "0.95"),
            ("spanKind", "client"),
            ("ratePer", "60000"),
        ]);
        let selection = Selection::of_params(&params).expect("a selection");
        let graph = selection.graph("latencies", &params).expect("a graph");
        let expected = "1000 * histogram_quantile(0.95, sum(rate(traces_spanmetrics_latency_bucket{service=~\"a\\\\.b|web\",\
                        span_kind=~\"SPAN_KIND_CLIENT\"}[60000ms])) by (service,span_name,le))";
        assert_eq!((graph.expression.as_str(), graph.name), (expected, "latencies"));
        for kind in ["latencies", "calls", "errors"] {
            let graph = selection.graph(kind, &params).expect("a graph");
            assert!(parse(&graph.expression).is_ok(), "{}", graph.expression);
            assert!(graph.otherwise.is_none_or(|text| parse(&text).is_ok()));
        }
        assert!(selection.graph("others", &params).is_err());
        for bad in [[("spanKind", "server"), ("x", "")], [("service", "a"), ("spanKind", "loud")]] {
            assert!(Selection::of_params(&Params::of(&bad)).is_err(), "{bad:?}");
        }
    }
}
