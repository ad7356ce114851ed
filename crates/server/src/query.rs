//! The query commands: arguments to a question, the answer to the terminal.

mod links;
mod pins;
mod search;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::Value as Json;
use throughline_correlate::compare::Ranked;
use throughline_correlate::reconcile::Reconciliation;
use throughline_correlate::spike::Curve;
use throughline_correlate::trace_view::TraceView;
use throughline_correlate::units::{bytes, duration, rfc3339, three_digits, time_of_day};
use throughline_correlate::unresolved::{self, Unresolved};
use throughline_correlate::walk::Walk;
use throughline_model::SpanId;
use throughline_model::record::{Exemplar, LogRecord, Series, TraceSummary};
use throughline_store::{Pattern, ServiceSummary};

use crate::cli::{
    Common, CompareArgs, ExemplarsArgs, LogsArgs, PatternsArgs, QuantileArgs, QueryCommand, ReconcileArgs,
    SeriesArgs, ServicesArgs, TraceArgs, TracesArgs, WalkArgs,
};
use crate::client::{Answer, Parameter, segment};
use crate::render::table::Table;
use crate::render::{self, Style};

/// Something asked for is not there, or a step did not resolve.
const NOT_FOUND: u8 = 1;

/// Runs a query command.
pub fn run(command: QueryCommand) -> Result<ExitCode> {
    match command {
        QueryCommand::Trace(args) => trace(&args),
        QueryCommand::Traces(args) => traces(args),
        QueryCommand::Search(args) => search::run(args),
        QueryCommand::Logs(args) => logs(args),
        QueryCommand::Patterns(args) => patterns(args),
        QueryCommand::Exemplars(args) => exemplars(args),
        QueryCommand::Series(args) => series(args),
        QueryCommand::Services(args) => services(args),
        QueryCommand::Links(args) => links::run(args),
        QueryCommand::Pin(args) => pins::pin(args),
        QueryCommand::Unpin(args) => pins::unpin(args),
        QueryCommand::Pins(common) => pins::list(&common),
        QueryCommand::Ledger(common) => ledger(&common),
        QueryCommand::Walk(args) => walk(args),
        QueryCommand::Reconcile(args) => reconcile(args),
        QueryCommand::Compare(args) => compare(args),
        QueryCommand::Investigate(args) => crate::investigate::run(args),
        QueryCommand::Status(common) => status(&common),
    }
}

/// Asks and either prints the JSON or hands it to `show`, which says whether anything was found.
fn ask(
    common: &Common,
    path: &str,
    parameters: &[Parameter<'_>],
    show: impl FnOnce(&Json, Style) -> Result<bool>,
) -> Result<ExitCode> {
    show_answer(common, common.server.client().get(path, parameters)?, show)
}

/// Prints an answer's JSON or hands it to `show`.
fn show_answer(
    common: &Common,
    answer: Answer,
    show: impl FnOnce(&Json, Style) -> Result<bool>,
) -> Result<ExitCode> {
    match answer {
        Answer::Found(json) => {
            let found = if common.json { print_json(&json)? } else { show(&json, Style::detect())? };
            Ok(if found { ExitCode::SUCCESS } else { ExitCode::from(NOT_FOUND) })
        }
        Answer::NotFound(json) => {
            if common.json {
                print_json(&json)?;
            } else {
                let state = json.pointer("/link/state").and_then(Json::as_str);
                let state = state.map_or_else(String::new, |state| format!(" [{state}]"));
                eprintln!("throughline: {}{state}", text(&json, "message"));
            }
            Ok(ExitCode::from(NOT_FOUND))
        }
    }
}

/// Prints JSON; whether it holds anything is for the reader to see.
fn print_json(json: &Json) -> Result<bool> {
    out(&(serde_json::to_string_pretty(json).context("write JSON")? + "\n"));
    Ok(true)
}

/// Writes to standard output; a reader that has gone away (`| head`) is no error.
pub(crate) fn out(text: &str) {
    use std::io::Write as _;
    _ = std::io::stdout().lock().write_all(text.as_bytes());
}

fn text<'a>(json: &'a Json, key: &str) -> &'a str {
    json.get(key).and_then(Json::as_str).unwrap_or_default()
}

fn list<T: serde::de::DeserializeOwned>(json: &Json, key: &str) -> Result<Vec<T>> {
    let items = json.get(key).cloned().unwrap_or_default();
    serde_json::from_value(items).with_context(|| format!("understand the answer's {key}"))
}

/// Why an answer is incomplete or may be, one line each.
fn partial(json: &Json, count: usize, style: Style) -> Result<String> {
    let reasons: Vec<String> = list(json, "partial")?;
    let limit = json.get("limit").and_then(Json::as_u64);
    let hint = match limit {
        Some(limit) if limit == count as u64 => {
            style.dim(&format!("these are {limit}, the limit; --limit, --start and --end show others\n"))
        }
        _ => String::new(),
    };
    Ok(hint
        + &reasons.iter().map(|reason| style.yellow(&format!("incomplete: {reason}\n"))).collect::<String>())
}

/// A table, or a sentence where it would be empty.
fn show_table(table: &Table, count: usize, nothing: &str, json: &Json, style: Style) -> Result<bool> {
    if count == 0 {
        out(&format!("{nothing}\n"));
    } else {
        out(&table.render(style));
    }
    out(&partial(json, count, style)?);
    Ok(count > 0)
}

fn trace(args: &TraceArgs) -> Result<ExitCode> {
    let span = match &args.span {
        Some(text) => Some(SpanId::parse(text).with_context(|| format!("{text:?} is not a span id"))?),
        None => None,
    };
    ask(&args.common, &format!("/traces/{}", segment(&args.id)), &[], |json, style| {
        let view: TraceView = serde_json::from_value(json.clone()).context("understand the trace")?;
        out(&render::waterfall::render(&view, style));
        if let Some(span) = span {
            let Some(detail) = render::waterfall::span_detail(&view, span, style) else {
                out(&format!("\nthere is no span {span} in this trace\n"));
                return Ok(false);
            };
            out(&format!("\n{detail}"));
            return Ok(true);
        }
        out("\n");
        out(&render::waterfall::logs(&view, style));
        if view.spans.is_empty() {
            let state = json.pointer("/link/state").and_then(Json::as_str).unwrap_or("unknown");
            let why = text(json, "why");
            out(&style.yellow(&format!("no span of this trace is here [{state}]: {why}\n")));
        }
        Ok(!view.spans.is_empty())
    })
}

fn traces(args: TracesArgs) -> Result<ExitCode> {
    let [start, end] = args.window.parameters();
    let parameters = [
        ("service", args.service),
        ("operation", args.operation),
        ("min_duration", args.min_duration),
        ("max_duration", args.max_duration),
        ("status", args.status),
        ("limit", args.limit.map(|limit| limit.to_string())),
        start,
        end,
    ];
    ask(&args.common, "/traces", &parameters, |json, style| {
        let found: Vec<TraceSummary> = list(json, "traces")?;
        let mut table = Table::new(&[
            "started",
            "trace",
            "root",
            ">duration",
            ">spans",
            ">errors",
            ">logs",
            "culprit",
            ">self",
        ]);
        for summary in &found {
            table.row([
                rfc3339(summary.start_time / 1_000_000 * 1_000_000),
                summary.trace_id.to_string(),
                format!("{} {}", summary.root_service, summary.root_name),
                duration(summary.duration_ns),
                summary.span_count.to_string(),
                summary.error_count.to_string(),
                summary.log_count.to_string(),
                format!("{} {}", summary.culprit_service, summary.culprit_name),
                duration(summary.culprit_self_ns),
            ]);
        }
        let nothing =
            "no trace meets that within the window; --last 24h looks further back than the last hour";
        show_table(&table, found.len(), nothing, json, style)
    })
}

fn logs(args: LogsArgs) -> Result<ExitCode> {
    let of_trace = args.trace.is_some();
    let [start, end] = args.window.parameters();
    let parameters = [
        ("trace", args.trace),
        ("span", args.span),
        ("service", args.service),
        ("severity", args.severity),
        ("pattern", args.pattern),
        ("contains", args.contains),
        ("limit", args.limit.map(|limit| limit.to_string())),
        start,
        end,
    ];
    ask(&args.common, "/logs", &parameters, |json, style| {
        let mut found: Vec<LogRecord> = list(json, "logs")?;
        // Searches are answered newest first, and read oldest first.
        found.sort_by_key(|log| log.time);
        // Of the records of one trace it is said once.
        let unresolved: Vec<Unresolved> = if of_trace { Vec::new() } else { list(json, "unresolved")? };
        for log in &found {
            let lost = unresolved::of_record(log, &unresolved);
            let lost = lost.map_or_else(String::new, |lost| format!(" [{}]", render::style::clean(&lost)));
            let trace =
                log.trace_id.filter(|_| !of_trace).map_or_else(String::new, |id| format!(" trace={id}"));
            let unsampled = if log.unsampled { " unsampled" } else { "" };
            let trace = style.dim(&format!("{trace}{unsampled}"));
            let lost = style.yellow(&lost);
            out(&format!("{}{trace}{lost}\n", render::log_lines::line(log, style)));
        }
        if found.is_empty() {
            let total = json.get("total").and_then(Json::as_u64).unwrap_or(0);
            let rest = if total > 0 { format!("; the trace has {total} others") } else { String::new() };
            out(&format!("no log record meets that{rest}\n"));
        }
        if let Some(why) = json.get("why").and_then(Json::as_str) {
            out(&format!("{}\n", style.yellow(&render::style::clean(why))));
        }
        out(&partial(json, found.len(), style)?);
        Ok(!found.is_empty())
    })
}

fn patterns(args: PatternsArgs) -> Result<ExitCode> {
    let [start, end] = args.window.parameters();
    let parameters = [
        ("service", args.service),
        ("new_since", args.new_since),
        ("step", args.step),
        ("limit", args.limit.map(|limit| limit.to_string())),
        start,
        end,
    ];
    ask(&args.common, "/patterns", &parameters, |json, style| {
        let found: Vec<Pattern> = list(json, "patterns")?;
        let mut table =
            Table::new(&[">lines", "level", "first seen", "last seen", "id", "service"]).ending("pattern");
        for pattern in &found {
            let levels: Vec<&str> = pattern.levels.iter().map(|of| of.level.name()).collect();
            table.row([
                pattern.count.to_string(),
                levels.join(","),
                rfc3339(pattern.first_seen / 1_000_000_000 * 1_000_000_000),
                rfc3339(pattern.last_seen / 1_000_000_000 * 1_000_000_000),
                pattern.id.to_string(),
                pattern.service.clone(),
                pattern.pattern.clone(),
            ]);
        }
        let nothing =
            "no log line of the window has such a pattern; --last 24h looks further back than the last hour";
        show_table(&table, found.len(), nothing, json, style)
    })
}

fn series_parameters(args: SeriesArgs) -> (Vec<Parameter<'static>>, Common) {
    let mut parameters = vec![("metric", args.metric), ("service", args.service)];
    parameters.extend(args.attribute.into_iter().map(|pair| ("attribute", Some(pair))));
    parameters.push(("limit", args.limit.map(|limit| limit.to_string())));
    parameters.extend(args.window.parameters());
    (parameters, args.common)
}

fn exemplars(args: ExemplarsArgs) -> Result<ExitCode> {
    let (mut parameters, common) = series_parameters(args.series);
    let flag = |set: bool| set.then(|| "true".to_owned());
    parameters.push(("query", args.expression));
    parameters.push(("near", args.near.map(|quantile| quantile.to_string())));
    parameters.push(("first", flag(args.first)));
    parameters.push(("per_series", flag(args.per_series)));
    ask(&common, "/exemplars", &parameters, |json, style| {
        let found: Vec<Exemplar> = list(json, "exemplars")?;
        let mut table = Table::new(&["time", "service", "metric", ">value", "trace", "span", "link"]);
        for exemplar in &found {
            let id = exemplar.trace_id.map(|id| id.to_string());
            table.row([
                time_of_day(exemplar.time),
                exemplar.service.clone(),
                exemplar.metric.clone(),
                three_digits(exemplar.value),
                id.or_else(|| exemplar.trace_id_original.clone()).unwrap_or_default(),
                exemplar.span_id.map_or_else(String::new, |id| id.to_string()),
                exemplar.link.as_ref().map_or("-", |link| link.name()).to_owned(),
            ]);
        }
        let how =
            json.get("target").and_then(|target| Some((target.get("value")?, target.get("how")?.as_str()?)));
        if let Some((value, how)) = how {
            out(&format!("{} = {how}\n", three_digits(value.as_f64().unwrap_or_default())));
        }
        let some = show_table(&table, found.len(), "no exemplar lies within the window", json, style)?;
        if some {
            let resolving = json.get("resolving").and_then(Json::as_u64).unwrap_or(0);
            out(&format!("{resolving} of {} exemplars resolve\n", found.len()));
        }
        Ok(some)
    })
}

fn series(args: QuantileArgs) -> Result<ExitCode> {
    let (mut parameters, common) = series_parameters(args.series);
    parameters.push(("quantile", args.quantile.map(|quantile| quantile.to_string())));
    ask(&common, "/series", &parameters, |json, style| {
        if args.quantile.is_some() {
            return show_curves(json, style);
        }
        let found: Vec<Series> = list(json, "series")?;
        let mut table = Table::new(&["service", "metric", "kind", "unit", "attributes"]);
        for series in &found {
            let attributes: Vec<String> =
                series.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
            table.row([
                series.service.clone(),
                series.metric.clone(),
                format!("{:?}", series.kind).to_lowercase(),
                series.unit.clone(),
                attributes.join(" "),
            ]);
        }
        show_table(&table, found.len(), "no series has a point within the window", json, style)
    })
}

fn show_curves(json: &Json, style: Style) -> Result<bool> {
    let curves: Vec<Curve> = list(json, "curves")?;
    for curve in &curves {
        let head =
            format!("p{} of {} of {}", three_digits(curve.quantile * 100.0), curve.metric, curve.service);
        out(&format!("{}\n", style.bold(&head)));
        let highest = curve.steps.iter().map(|step| step.value_ms).fold(f64::MIN_POSITIVE, f64::max);
        for step in &curve.steps {
            let length = (step.value_ms / highest * 40.0).round() as usize;
            let (time, value) = (time_of_day(step.time), format!("{} ms", three_digits(step.value_ms)));
            out(&format!("  {time} {value:>10} {:>6} values  {}\n", step.count, "█".repeat(length)));
        }
    }
    if curves.is_empty() {
        out("no latency histogram has values within the window\n");
    }
    out(&partial(json, curves.len(), style)?);
    Ok(!curves.is_empty())
}

fn services(args: ServicesArgs) -> Result<ExitCode> {
    ask(&args.common, "/services", &args.window.parameters(), |json, style| {
        let found: Vec<ServiceSummary> = list(json, "services")?;
        let mut table = Table::new(&["service", ">spans", ">errors", ">logs", ">series", "operations"]);
        for service in &found {
            table.row([
                service.service.clone(),
                service.span_count.to_string(),
                service.error_count.to_string(),
                service.log_count.to_string(),
                service.series_count.to_string(),
                service.operations.join(", "),
            ]);
        }
        show_table(&table, found.len(), "no service has sent anything", json, style)
    })
}

fn ledger(common: &Common) -> Result<ExitCode> {
    ask(common, "/ledger", &[], |json, style| {
        let mut table =
            Table::new(&["signal", ">received", ">stored", ">deduplicated", ">rejected", "reasons"]);
        for signal in throughline_model::Signal::ALL {
            let account = json.pointer(&format!("/signals/{}", signal.name())).cloned().unwrap_or_default();
            let number = |key: &str| account.get(key).and_then(Json::as_u64).unwrap_or(0).to_string();
            let reasons = account.get("rejected").and_then(Json::as_object).cloned().unwrap_or_default();
            let rejected: u64 = reasons.values().filter_map(Json::as_u64).sum();
            let reasons: Vec<String> =
                reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
            table.row([
                signal.name().to_owned(),
                number("received"),
                number("stored"),
                number("deduplicated"),
                rejected.to_string(),
                reasons.join(", "),
            ]);
        }
        out(&table.render(style));
        let balanced = json.get("balanced").and_then(Json::as_bool).unwrap_or(false);
        let line = "received = stored + deduplicated + rejected";
        out(&if balanced {
            format!("{line}\n")
        } else {
            style.red(&format!("the ledger does not balance: {line}\n"))
        });
        Ok(balanced)
    })
}

fn walk(args: WalkArgs) -> Result<ExitCode> {
    let client = args.common.server.client();
    let [start, end] = args.window.parameters();
    let quantile = args.quantile.map(|quantile| quantile.to_string());
    let parameters = [("service", args.service), ("metric", args.metric), ("quantile", quantile), start, end];
    let json: Json = client.get_as("/walk", &parameters)?;
    let walk: Walk = serde_json::from_value(json.clone()).context("understand the walk")?;
    if args.common.json {
        print_json(&json)?;
    } else {
        let view: Option<TraceView> = match &walk.trace.found {
            Some(found) => Some(client.get_as(&format!("/traces/{}", found.summary.trace_id), &[])?),
            None => None,
        };
        out(&render::walk::render(&walk, view.as_ref(), Style::detect()));
    }
    Ok(if walk.resolved { ExitCode::SUCCESS } else { ExitCode::from(NOT_FOUND) })
}

fn reconcile(args: ReconcileArgs) -> Result<ExitCode> {
    let [start, end] = args.window.parameters();
    let parameters = [("service", Some(args.service)), start, end];
    ask(&args.common, "/reconcile", &parameters, |json, style| {
        let books: Reconciliation = serde_json::from_value(json.clone()).context("understand the books")?;
        out(&render::reconcile::render(&books, style));
        Ok(books.balanced)
    })
}

fn compare(args: CompareArgs) -> Result<ExitCode> {
    let [start, end] = args.window.parameters();
    let parameters = [
        ("query", args.query),
        ("service", args.service),
        ("operation", args.operation),
        ("min_duration", args.min_duration),
        ("max_duration", args.max_duration),
        ("status", args.status),
        ("baseline", args.baseline),
        ("baseline_start", args.baseline_start),
        ("baseline_end", args.baseline_end),
        ("limit", args.limit.map(|limit| limit.to_string())),
        start,
        end,
    ];
    ask(&args.common, "/compare", &parameters, |json, style| {
        let found: Vec<Ranked> = list(json, "differences")?;
        out(&render::compare::sides(json, style));
        let table = render::compare::differences(&found);
        let nothing = "nothing tells them apart with confidence; more traces (--limit) or a longer window (--start) may";
        show_table(&table, found.len(), nothing, json, style)
    })
}

fn status(common: &Common) -> Result<ExitCode> {
    ask(common, "/status", &[], |json, style| {
        let at = |pointer: &str| json.pointer(pointer).cloned().unwrap_or_default();
        let number = |pointer: &str| at(pointer).as_u64().unwrap_or(0);
        let mut ready = true;
        for path in ["write", "read"] {
            let is_ready = at(&format!("/store/{path}/ready")) == Json::Bool(true);
            let reasons: Vec<String> = list(&at(&format!("/store/{path}")), "reasons").unwrap_or_default();
            let word = if is_ready { style.green("ready") } else { style.red("not ready") };
            out(&format!("{path:<12} {word} {}\n", reasons.join("; ")));
            ready &= is_ready;
        }
        for (key, value) in at("/process").as_object().into_iter().flatten() {
            out(&format!("{key:<12} {}\n", throughline_correlate::contrast::text_of(value)));
        }
        out(&format!("{:<12} {}\n", "durability", text(&at("/store"), "durability")));
        out(&format!("{:<12} {}\n", "log", bytes(number("/store/wal_bytes"))));
        out(&format!("{:<12} {}\n", "memtables", bytes(number("/store/memtable_bytes"))));
        let blocks = at("/store/blocks_per_level");
        out(&format!("{:<12} {} in levels {blocks}\n", "blocks", bytes(number("/store/block_bytes"))));
        let (fsyncs, p99_us) = (number("/store/fsyncs"), number("/store/fsync_p99_us"));
        let p99 = duration(i64::try_from(p99_us).unwrap_or(i64::MAX).saturating_mul(1_000));
        out(&format!("{:<12} {fsyncs}, p99 {p99}\n", "fsyncs"));
        for notice in at("/store/notices").as_array().into_iter().flatten() {
            out(&style.yellow(&format!("notice       {}\n", text(notice, "text"))));
        }
        Ok(ready)
    })
}
