//! The handler of the native API that investigates: a focus, a window and a baseline in, a case out.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::Value as Json;
use throughline_correlate::investigate::{self as cases, Case, Focus, Request, Shift, report};
use throughline_correlate::missing::Missing;
use throughline_exec::Cancellation;
use throughline_model::TraceId;
use throughline_model::link::LinkState;
use throughline_scan::metrics::MetricSource;
use throughline_store::{Snapshot, TimeRange};

use crate::Api;
use crate::blocking::budget;
use crate::failure::Failure;
use crate::native::{Answer, HOUR_NS};
use crate::params::{self, parse_time};

/// How far back is looked where neither a window nor the focus says.
const WINDOW_NS: i64 = 15 * 60 * 1_000_000_000;
/// A request is a few lines.
const BODY_BYTES_MAX: usize = 64 << 10;

/// What a client asks.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    focus: String,
    window: Option<AskedWindow>,
    baseline: Option<AskedWindow>,
    service: Option<String>,
    suspects: Option<usize>,
    format: Format,
}

/// A window with times in any form that parameters may have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedWindow {
    start: Json,
    end: Json,
}

/// How the case is written.
#[derive(Clone, Copy, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Json,
    Markdown,
    Short,
}

impl AskedWindow {
    fn range(&self, name: &str, now: i64) -> Result<TimeRange, Failure> {
        let time = |end: &str, value: &Json| {
            let text = match value {
                Json::String(text) => text.clone(),
                other => other.to_string(),
            };
            parse_time(&text, now).ok_or_else(|| {
                let message = format!(
                    "{name}.{end}={text:?} is not a time: write RFC 3339, Unix seconds, milliseconds or nanoseconds, now, or a duration before now (-1h)"
                );
                Failure::parameter(name, message)
            })
        };
        let range = TimeRange { start: time("start", &self.start)?, end: time("end", &self.end)? };
        if range.start >= range.end {
            return Err(Failure::parameter(name, format!("{name}.start is not before {name}.end")));
        }
        Ok(range)
    }
}

/// What a focus says, before anything is looked up.
#[derive(Debug, PartialEq)]
enum FocusText<'a> {
    Window,
    Alert(&'a str),
    Trace(TraceId),
    Line(&'a str, &'a str),
    LineOfTrace(TraceId),
    Query(&'a str),
}

/// Reads a focus: a kind and a colon before it (`alert:`, `trace:`, `exemplar:`, `log:`, `query:`), or an id of a trace, or an
/// expression.
fn focus_of(text: &str) -> Result<FocusText<'_>, Failure> {
    let text = text.trim();
    if text.is_empty() || text == "window" {
        return Ok(FocusText::Window);
    }
    if let Some(name) = text.strip_prefix("alert:") {
        return Ok(FocusText::Alert(name.trim()));
    }
    if let Some(id) = text.strip_prefix("trace:").or_else(|| text.strip_prefix("exemplar:")) {
        return params::trace_id(id.trim()).map(FocusText::Trace);
    }
    if let Some(line) = text.strip_prefix("log:") {
        if let Some((service, time)) = line.rsplit_once('@') {
            return Ok(FocusText::Line(service.trim(), time.trim()));
        }
        return params::trace_id(line.trim()).map(FocusText::LineOfTrace);
    }
    if let Some(expression) = text.strip_prefix("query:") {
        return Ok(FocusText::Query(expression.trim()));
    }
    // Whatever else could be an id could be a metric, too.
    let is_hex = (text.len() == 16 || text.len() == 32) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match TraceId::parse(text).filter(|_| is_hex) {
        Some((id, _)) => Ok(FocusText::Trace(id)),
        None => Ok(FocusText::Query(text)),
    }
}

pub(crate) async fn investigate(State(api): State<Api>, body: axum::body::Bytes) -> Answer {
    if body.len() > BODY_BYTES_MAX {
        return Err(Failure::parameter("body", format!("a request has at most {BODY_BYTES_MAX} bytes")));
    }
    let asked: Asked = match body.is_empty() {
        true => Asked::default(),
        false => serde_json::from_slice(&body)
            .map_err(|error| Failure::parameter("body", format!("the body is not a request: {error}")))?,
    };
    let now = api.now();
    let window = asked.window.as_ref().map(|window| window.range("window", now)).transpose()?;
    let baseline = asked.baseline.as_ref().map(|window| window.range("baseline", now)).transpose()?;
    if let (Some(window), Some(baseline)) = (window, baseline)
        && baseline.start < window.end
        && window.start < baseline.end
    {
        let message =
            "the baseline and the window have time in common: what is wrong there would count as usual";
        return Err(Failure::parameter("baseline", message));
    }
    let format = asked.format;
    let prometheus = api.context.prometheus.clone();
    let clock = api.context.clock.clone();
    let question = move |snapshot: &Snapshot| {
        let budget = budget(prometheus.limits, prometheus.timeout, Cancellation::new(), clock);
        let source = MetricSource::new(snapshot.clone(), prometheus.index.clone());
        let looked_at = match (window, baseline) {
            (Some(window), baseline) => {
                let baseline = baseline.unwrap_or_else(|| cases::baseline_of(window));
                TimeRange { start: baseline.start.min(window.start), end: window.end }
            }
            (None, _) => TimeRange { start: now.saturating_sub(HOUR_NS), end: now },
        };
        let shift = |text: &str| {
            let expr = throughline_promql::parse(text)
                .map_err(|error| Failure::parameter("focus", format!("{text:?} is not PromQL: {error}")))?;
            cases::focus::shift(text, &expr, looked_at, &prometheus.engine, &source, &budget)
                .map_err(|error| Failure::parameter("focus", error.to_string()))
        };
        let focus = resolve(focus_of(&asked.focus)?, snapshot, now, shift)?;
        let suggested = match window {
            Some(window) => Some(window),
            None => focus.window(snapshot)?,
        };
        let window = match (suggested, &focus) {
            (Some(window), _) => window,
            (None, Focus::Window) => TimeRange { start: now.saturating_sub(WINDOW_NS), end: now },
            (None, _) => return Err(no_window(&focus)),
        };
        let suspects = asked.suspects.unwrap_or(cases::SUSPECTS);
        if !(1..=cases::SUSPECTS_MAX).contains(&suspects) {
            let message = format!("suspects={suspects} is not between 1 and {}", cases::SUSPECTS_MAX);
            return Err(Failure::parameter("suspects", message));
        }
        let request = Request { focus, window, baseline, service: asked.service, suspects };
        Ok(cases::investigate(snapshot, &request)?)
    };
    let Format::Json = format else {
        let store = api.context.store.clone();
        let case = api.blocking.run(move || question(&store.snapshot())).await?;
        return Ok(as_text(&case, format));
    };
    api.ask(question).await
}

fn as_text(case: &Case, format: Format) -> axum::response::Response {
    let (kind, text) = match format {
        Format::Markdown => ("text/markdown; charset=utf-8", report::markdown(case)),
        Format::Short | Format::Json => ("text/plain; charset=utf-8", report::short(case)),
    };
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Looks up what a focus names.
fn resolve(
    text: FocusText<'_>,
    snapshot: &Snapshot,
    now: i64,
    shift: impl Fn(&str) -> Result<Option<Shift>, Failure>,
) -> Result<Focus, Failure> {
    Ok(match text {
        FocusText::Window => Focus::Window,
        FocusText::Query(expression) => {
            Focus::Query { expression: expression.to_owned(), shift: shift(expression)? }
        }
        FocusText::Alert(name) => {
            let name = name.to_owned();
            // Rules write their alerts as series, as Prometheus does.
            let selector = format!("ALERTS{{alertname={name:?},alertstate=\"firing\"}}");
            Focus::Alert { shift: shift(&selector)?, name }
        }
        FocusText::Trace(id) => {
            if snapshot.trace_summary(id)?.is_none_or(|summary| summary.span_count == 0) {
                let Missing { link, message, .. } = Missing::of(snapshot, id)?;
                return Err(Failure::not_found(format!("trace {id} has no spans here: {message}"), link));
            }
            Focus::Trace { id }
        }
        FocusText::LineOfTrace(id) => {
            let want = throughline_store::Want { spans: false, logs: true, exemplars: false };
            let logs = snapshot.trace(id, want)?.logs;
            let worst = logs.iter().max_by_key(|log| (log.level, std::cmp::Reverse(log.time)));
            let Some(log) = worst else {
                let Missing { link, message, .. } = Missing::of(snapshot, id)?;
                let message = match link {
                    LinkState::Resolved => format!("trace:{id} starts from its spans"),
                    _ => message,
                };
                return Err(Failure::not_found(format!("trace {id} has no log lines here; {message}"), link));
            };
            Focus::Line { service: log.service.clone(), time: log.time, trace: Some(id), span: log.span_id }
        }
        FocusText::Line(service, time) => {
            let time = parse_time(time, now).ok_or_else(|| {
                Failure::parameter("focus", format!("log:SERVICE@TIME needs a time, {time:?} is none"))
            })?;
            Focus::Line { service: service.to_owned(), time, trace: None, span: None }
        }
    })
}

fn no_window(focus: &Focus) -> Failure {
    let what = match focus {
        Focus::Alert { name, .. } => {
            format!("the alert {name} did not fire within the last hour (no series ALERTS says so)")
        }
        Focus::Query { expression, .. } => format!("{expression} did not rise within the last hour"),
        _ => "the focus does not say when".to_owned(),
    };
    Failure::parameter("window", format!("{what}; name a window with start and end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_focus_is_what_it_looks_like() {
        let of = |text| focus_of(text).expect("a focus");
        assert_eq!(of(""), FocusText::Window);
        assert_eq!(of("window"), FocusText::Window);
        assert_eq!(of("alert: HighLatency"), FocusText::Alert("HighLatency"));
        assert_eq!(of("rate(x[5m]) > 1"), FocusText::Query("rate(x[5m]) > 1"));
        assert_eq!(of("up"), FocusText::Query("up"));
        let id = "5b8efff798038103d269b633813fc60c";
        assert!(matches!(of(id), FocusText::Trace(_)));
        let (exemplar, log) = (format!("exemplar:{id}"), format!("log:{id}"));
        assert!(matches!(of(&exemplar), FocusText::Trace(_)));
        assert!(matches!(of(&log), FocusText::LineOfTrace(_)));
        assert_eq!(of("log:cart@-5m"), FocusText::Line("cart", "-5m"));
        assert!(focus_of("trace:what").is_err());
    }
}
