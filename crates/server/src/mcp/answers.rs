//! Answers as text, what matters most first. JSON of the API in, lines out.

use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use throughline_correlate::contrast::text_of;
use throughline_correlate::doctor::{Example, Report};
use throughline_correlate::reconcile::{Reconciliation, Row};
use throughline_correlate::trace_view::{SpanView, TraceView};
use throughline_correlate::units::{duration, rfc3339, three_digits, time_of_day};
use throughline_correlate::unresolved::{self, Unresolved};
use throughline_correlate::walk::{Step, Walk};
use throughline_model::Level;
use throughline_model::record::{LogRecord, TraceSummary};
use throughline_store::ServiceSummary;

use super::bounded::Bounded;

type Shown = Result<(), String>;

/// Characters of a log line's body.
const BODY_CHARACTERS: usize = 240;
/// Operations that are named of a service.
const OPERATIONS: usize = 6;
/// Points that are shown of a curve.
const CURVE_POINTS: usize = 12;

fn read<T: DeserializeOwned>(json: &Json) -> Result<T, String> {
    serde_json::from_value(json.clone()).map_err(|error| format!("understand the answer: {error}"))
}

fn list<T: DeserializeOwned>(json: &Json, key: &str) -> Result<Vec<T>, String> {
    read(json.get(key).unwrap_or(&Json::Array(Vec::new())))
}

/// What an answer of the API says that it lacks.
fn partial(json: &Json, out: &mut Bounded) -> Shown {
    for reason in list::<String>(json, "partial")? {
        out.not_checked(reason);
    }
    Ok(())
}

/// A list that is as long as its limit may go on.
fn at_limit(json: &Json, count: usize, out: &mut Bounded) {
    if json.get("limit").and_then(Json::as_u64) == Some(count as u64) {
        out.not_checked(format!("what comes after the first {count}, the limit"));
    }
}

/// Why there is nothing.
pub(super) fn not_found(json: &Json, out: &mut Bounded) {
    let state = json.pointer("/link/state").and_then(Json::as_str).unwrap_or("not found");
    let message = json.get("message").and_then(Json::as_str).unwrap_or("there is none");
    out.line(format!("[{state}] {message}"));
}

pub(super) fn services(json: &Json, out: &mut Bounded) -> Shown {
    let services: Vec<ServiceSummary> = list(json, "services")?;
    out.line(format!("{} services", services.len()));
    out.each("services", &services, |service| {
        let names: Vec<&str> = service.operations.iter().take(OPERATIONS).map(String::as_str).collect();
        let more = service.operations.len().saturating_sub(OPERATIONS);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!(
            "{}: {} spans, {} errors, {} log records, {} series; {}{more}",
            service.service,
            service.span_count,
            service.error_count,
            service.log_count,
            service.series_count,
            names.join(", ")
        )
    });
    partial(json, out)
}

pub(super) fn doctor(json: &Json, out: &mut Bounded) -> Shown {
    let report: Report = read(json)?;
    let whose = report.service.as_deref().unwrap_or("all services");
    match report.worst {
        None => out.line(format!("{whose}: nothing is wrong")),
        Some(worst) => out.line(format!(
            "{whose}: {} findings, the gravest is of level {}",
            report.findings.len(),
            worst.name()
        )),
    };
    out.each("findings", &report.findings, |finding| {
        let example = finding
            .examples
            .first()
            .map_or_else(String::new, |example| format!(" Such as {}.", example_text(example)));
        format!(
            "[{} {}] {}. Cause: {}. Fix: {}.{example} Show: {}",
            finding.level.name(),
            finding.rule,
            finding.message,
            finding.cause,
            finding.fix,
            finding.query
        )
    });
    for checked in &report.checked {
        if let Some(reason) = &checked.skipped {
            out.not_checked(format!("{} ({reason})", checked.name));
        } else if checked.looked_at < checked.of {
            out.not_checked(format!("all but {} of {} {}", checked.looked_at, checked.of, checked.unit));
        }
    }
    report.partial.into_iter().for_each(|reason| out.not_checked(reason));
    Ok(())
}

fn example_text(example: &Example) -> String {
    let mut parts = Vec::new();
    parts.extend(example.time.map(rfc3339));
    parts.extend(example.trace_id.map(|id| format!("trace {id}")));
    parts.extend(example.span_id.map(|id| format!("span {id}")));
    parts.push(example.text.clone());
    parts.join(" ")
}

pub(super) fn reconcile(json: &Json, out: &mut Bounded) -> Shown {
    let books: Reconciliation = read(json)?;
    out.line(format!(
        "{}: the books {}",
        books.service,
        if books.balanced { "balance" } else { "do not balance" }
    ));
    out.line(row_text("all minutes", &books.total));
    for difference in &books.differences {
        out.line(format!(
            "{}: {} by {} and {} by {}",
            difference.of,
            three_digits(difference.left.1),
            difference.left.0,
            three_digits(difference.right.1),
            difference.right.0
        ));
        out.each("parts", &difference.parts, |part| {
            format!("  {} {}: {}", three_digits(part.amount), part.cause, part.why)
        });
        if difference.unexplained.abs() > 0.0 {
            out.line(format!("  {} unexplained", three_digits(difference.unexplained)));
        }
    }
    out.each("minutes", &books.minutes, |row| row_text(&rfc3339(row.start), row));
    partial(json, out)
}

fn row_text(name: &str, row: &Row) -> String {
    let counts = |counts: Option<throughline_correlate::reconcile::Counts>| {
        counts
            .map_or("none".to_owned(), |c| format!("{}/{}", three_digits(c.requests), three_digits(c.errors)))
    };
    format!(
        "{name}: requests/errors by metric {}, received {}, spans {}, adjusted {}; in logs {} traces, {} with ERROR, {} unsampled",
        counts(row.metric),
        counts(row.received),
        counts(Some(row.spans)),
        counts(Some(row.adjusted)),
        row.logs.traces,
        row.logs.error_traces,
        row.logs.unsampled_traces
    )
}

pub(super) fn traces(json: &Json, out: &mut Bounded) -> Shown {
    let traces: Vec<TraceSummary> = list(json, "traces")?;
    out.line(format!("{} traces, newest first", traces.len()));
    out.each("traces", &traces, |trace| {
        format!(
            "{} {} {} {} {}: {} spans, {} errors, {} log records; culprit {} {}",
            trace.trace_id,
            rfc3339(trace.start_time),
            trace.root_service,
            trace.root_name,
            duration(trace.duration_ns),
            trace.span_count,
            trace.error_count,
            trace.log_count,
            trace.culprit_service,
            trace.culprit_name
        )
    });
    at_limit(json, traces.len(), out);
    partial(json, out)
}

pub(super) fn trace(json: &Json, out: &mut Bounded) -> Shown {
    let view: TraceView = read(json)?;
    out.line(format!(
        "trace {} {} {}: {}, {} spans of {}, {} errors, {} log records, started {}",
        view.trace_id,
        view.root_service,
        view.root_name,
        duration(view.duration_ns),
        view.spans.len(),
        view.services.join(", "),
        view.error_count,
        view.log_count,
        rfc3339(view.start_time)
    ));
    for (what, culprit) in [("latency", &view.latency_culprit), ("error", &view.error_culprit)] {
        if let Some(culprit) = culprit {
            out.line(format!(
                "{what} is charged to span {} {} of {}: {} of its own, {:.0} % of the trace",
                culprit.span_id,
                culprit.name,
                culprit.service,
                duration(culprit.self_time_ns),
                culprit.share * 100.0
            ));
        }
    }
    trace_logs(&view, out);
    out.line("spans (* on the critical path, start after the trace's start, duration, self time):");
    out.each("spans", &view.spans, span_text);
    if !view.missing_parents.is_empty() {
        out.not_checked(format!("{} parents that are named and not here", view.missing_parents.len()));
    }
    if let Some(state) = json.pointer("/link/state").and_then(Json::as_str).filter(|_| view.spans.is_empty())
    {
        out.line(format!("no span of the trace is here: {state}"));
    }
    partial(json, out)
}

/// Lines at WARN and above first: they say why.
fn trace_logs(view: &TraceView, out: &mut Bounded) {
    let on_spans = view.spans.iter().flat_map(|span| &span.logs);
    let mut logs: Vec<&LogRecord> = on_spans.chain(&view.logs).collect();
    logs.sort_by_key(|log| (log.level < Level::Warn, log.time));
    const SHOWN: usize = 12;
    let shown = logs.get(..logs.len().min(SHOWN)).unwrap_or_default();
    if !shown.is_empty() {
        out.line("log records, WARN and above first:");
        out.each("log records", shown, |log| format!("  {}", log_text(log, false)));
    }
    let over = logs.len() - shown.len();
    if over > 0 {
        out.not_checked(format!("{over} more log records of the trace (logs with trace={})", view.trace_id));
    }
}

fn span_text(span: &SpanView) -> String {
    let star = if span.on_critical_path { "*" } else { " " };
    let indent = "  ".repeat((span.depth as usize).min(20));
    let mut text = format!(
        "{star}{indent}{} [{}] +{} {} self {} {}",
        span.span.name,
        span.span.service,
        duration(span.offset_ns),
        duration(span.span.duration_ns),
        duration(span.self_time_ns),
        span.span.span_id
    );
    if span.span.is_error() {
        text += &format!(" ERROR {}", span.span.status_message);
    }
    // Attributes cost room: they are shown where somebody has to explain something.
    if span.span.is_error() || span.critical_time_ns * 4 > span.span.duration_ns.max(1) {
        let attributes: Vec<String> = span
            .span
            .attributes
            .iter()
            .take(6)
            .map(|(key, value)| format!("{key}={}", text_of(value)))
            .collect();
        text += &format!(" {}", attributes.join(" "));
    }
    text
}

fn log_text(log: &LogRecord, with_trace: bool) -> String {
    let body: String = text_of(&log.body).chars().take(BODY_CHARACTERS).collect();
    let mut text = format!("{} {} {} {body}", rfc3339(log.time), log.level.name(), log.service);
    if let Some(id) = log.trace_id.filter(|_| with_trace) {
        text += &format!(" trace={id}");
    }
    if let Some(id) = log.span_id {
        text += &format!(" span={id}");
    }
    text + if log.unsampled { " unsampled" } else { "" }
}

pub(super) fn logs(json: &Json, out: &mut Bounded) -> Shown {
    let logs: Vec<LogRecord> = list(json, "logs")?;
    out.line(format!("{} log records", logs.len()));
    let unresolved: Vec<Unresolved> = list(json, "unresolved")?;
    out.each("log records", &logs, |log| {
        let lost = unresolved::of_record(log, &unresolved);
        let lost = lost.map_or_else(String::new, |lost| format!(" [{lost}]"));
        log_text(log, json.get("trace_id").is_none()) + &lost
    });
    if let Some(why) = json.get("why").and_then(Json::as_str) {
        out.line(why);
    }
    at_limit(json, logs.len(), out);
    partial(json, out)
}

pub(super) fn metrics(json: &Json, out: &mut Bounded) -> Shown {
    for warning in list::<String>(json, "warnings")?.into_iter().chain(list::<String>(json, "infos")?) {
        out.not_checked(warning);
    }
    let data = json.get("data").unwrap_or(&Json::Null);
    if let Some(names) = data.as_array() {
        out.line(format!("{} metrics", names.len()));
        out.each("names", names, text_of);
        return Ok(());
    }
    let series = data.get("result").and_then(Json::as_array).cloned().unwrap_or_default();
    out.line(format!("{} series; each with its least, greatest and last value, and its curve", series.len()));
    out.each("series", &series, curve);
    Ok(())
}

/// Labels, extremes and a few points of a series of a range query.
fn curve(series: &Json) -> String {
    let labels = series.get("metric").and_then(Json::as_object).cloned().unwrap_or_default();
    let labels: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={}", text_of(value))).collect();
    let name = format!("{{{}}}", labels.join(", "));
    let point = |pair: &Json| Some((pair.get(0)?.as_f64()?, pair.get(1)?.as_str()?.parse::<f64>().ok()?));
    let points: Vec<(f64, f64)> =
        series.get("values").and_then(Json::as_array).into_iter().flatten().filter_map(point).collect();
    let by = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
    let (Some(least), Some(greatest), Some(last)) =
        (points.iter().min_by(by), points.iter().max_by(by), points.last())
    else {
        let histograms = series.get("histograms").and_then(Json::as_array).map_or(0, Vec::len);
        return format!("{name}: {histograms} native histograms (ask for histogram_quantile(0.99, ...))");
    };
    let at = |(time, value): &(f64, f64)| {
        format!("{} at {}", value_text(*value), time_of_day((time * 1e9) as i64))
    };
    let every = points.len().div_ceil(CURVE_POINTS).max(1);
    let some: Vec<String> = points.iter().step_by(every).map(|(_, value)| value_text(*value)).collect();
    format!("{name}: least {}, greatest {}, last {}; {}", at(least), at(greatest), at(last), some.join(" "))
}

fn value_text(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.01 { format!("{value:.2e}") } else { three_digits(value) }
}

/// A member of an object as text.
fn member(json: &Json, key: &str) -> String {
    json.get(key).map(text_of).unwrap_or_default()
}

fn members<'a>(json: &'a Json, key: &str) -> &'a [Json] {
    json.get(key).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

pub(super) fn investigate(json: &Json, out: &mut Bounded) -> Shown {
    let time = |pointer: &str| json.pointer(pointer).and_then(Json::as_i64).map_or_else(String::new, rfc3339);
    out.line(format!(
        "window {} to {}, baseline {} to {}",
        time("/window/start"),
        time("/window/end"),
        time("/baseline/start"),
        time("/baseline/end")
    ));
    let suspects = members(json, "suspects");
    out.each("suspects", suspects, |suspect| {
        let score = suspect.get("score").and_then(Json::as_f64).unwrap_or_default();
        format!(
            "{}. {} [{}, score {score:.2}] {}",
            member(suspect, "rank"),
            member(suspect, "service"),
            member(suspect, "cause"),
            member(suspect, "sentence")
        )
    });
    for suspect in suspects {
        out.line(format!("evidence against {}:", member(suspect, "service")));
        out.each("pieces of evidence", members(suspect, "evidence"), |evidence| {
            format!("  {}", member(evidence, "sentence"))
        });
    }
    for step in members(json, "unchecked") {
        out.not_checked(format!("{}: {}", member(step, "step"), member(step, "reason")));
    }
    partial(json, out)
}

pub(super) fn links(json: &Json, out: &mut Bounded) -> Shown {
    if members(json, "kinds").is_empty() {
        out.line("no references");
    }
    for kind in members(json, "kinds") {
        out.line(format!(
            "{}: {} of {} hold",
            member(kind, "kind"),
            member(kind, "resolved"),
            member(kind, "total")
        ));
        let broken: Vec<&Json> =
            members(kind, "states").iter().filter(|state| member(state, "state") != "resolved").collect();
        out.each("states", &broken, |state| {
            let cause = state.get("cause").map_or_else(String::new, |cause| format!(" ({})", text_of(cause)));
            let examples: Vec<String> = members(state, "examples")
                .iter()
                .take(3)
                .map(|example| {
                    let id = if example.get("trace_id").is_some() {
                        member(example, "trace_id")
                    } else {
                        member(example, "form")
                    };
                    format!("{id} of {}", member(example, "service"))
                })
                .collect();
            format!("  {} {}{cause}: {}", member(state, "count"), member(state, "state"), examples.join(", "))
        });
    }
    partial(json, out)
}

pub(super) fn compare(json: &Json, out: &mut Bounded) -> Shown {
    let side = |key: &str| {
        let side = json.get(key).unwrap_or(&Json::Null);
        format!("{} traces of {}", member(side, "traces"), member(side, "query"))
    };
    out.line(format!("{} compared with {}", side("selection"), side("baseline")));
    let differences = members(json, "differences");
    if differences.is_empty() {
        out.line("nothing is surely more frequent in the selection");
    }
    out.each("differences", differences, |difference| {
        format!(
            "{} {} {} {}: {} of {} against {} of {}, confidence {:.3}",
            member(difference, "kind"),
            member(difference, "service"),
            member(difference, "key"),
            member(difference, "value"),
            member(difference, "selection"),
            member(difference, "selection_total"),
            member(difference, "baseline"),
            member(difference, "baseline_total"),
            difference.get("confidence").and_then(Json::as_f64).unwrap_or_default()
        )
    });
    partial(json, out)
}

pub(super) fn walk(json: &Json, out: &mut Bounded) -> Shown {
    let walk: Walk = read(json)?;
    out.line(format!(
        "p{} walk: {}",
        three_digits(walk.quantile * 100.0),
        if walk.resolved { "every step resolved" } else { "not every step resolved" }
    ));
    if let Some(cause) = &walk.cause.found {
        out.line(format!("likely cause: {}", cause.sentence));
    }
    if let Some(spike) = &walk.spike.found {
        out.line(format!(
            "spike: {} of {} went from {} to {} ms at {}",
            spike.curve.metric,
            spike.curve.service,
            three_digits(spike.before_ms),
            three_digits(spike.after_ms),
            rfc3339(spike.start)
        ));
    }
    if let Some(found) = &walk.exemplar.found {
        let id = found.exemplar.trace_id.map_or_else(String::new, |id| id.to_string());
        out.line(format!(
            "exemplar: {} ms, trace {id}; {} of {} resolve",
            three_digits(found.value_ms),
            found.resolving,
            found.total
        ));
    }
    if let Some(found) = &walk.trace.found {
        out.line(format!(
            "slowest trace: {} {} {}, {}",
            found.summary.trace_id,
            found.summary.root_service,
            found.summary.root_name,
            duration(found.summary.duration_ns)
        ));
    }
    if let Some(culprit) = &walk.culprit.found {
        out.line(format!(
            "culprit: {} of {}, span {}, {} of its own, {:.0} % of the trace",
            culprit.name,
            culprit.service,
            culprit.span_id,
            duration(culprit.self_time_ns),
            culprit.share * 100.0
        ));
    }
    if let Some(logs) = &walk.logs.found {
        out.each("log lines", &logs.lines, |line| log_text(&line.log, false));
    }
    for other in &walk.alternatives {
        out.line(format!(
            "also rose: {} of {}, {} times at {}",
            other.metric,
            other.service,
            three_digits(other.factor),
            rfc3339(other.start)
        ));
    }
    missing("spike", &walk.spike, out);
    missing("exemplar", &walk.exemplar, out);
    missing("trace", &walk.trace, out);
    missing("culprit", &walk.culprit, out);
    missing("log lines", &walk.logs, out);
    missing("cause", &walk.cause, out);
    partial(json, out)
}

/// A step that did not resolve, and why.
fn missing<T>(name: &str, step: &Step<T>, out: &mut Bounded) {
    if !step.resolved {
        out.not_checked(format!("{name}: {}", step.reason.as_deref().unwrap_or("not found")));
    }
}
