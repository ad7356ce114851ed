//! `search`: a query of TraceQL, and the traces or the series that it answers with.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value as Json;
use throughline_correlate::units::{duration, rfc3339, three_digits};

use super::{ask, list, show_table, text};
use crate::cli::SearchArgs;
use crate::render::Style;
use crate::render::table::Table;

/// Asks in TraceQL.
pub(super) fn run(args: SearchArgs) -> Result<ExitCode> {
    let [start, end] = args.window.parameters();
    let parameters = [
        ("query", Some(args.query)),
        ("limit", args.limit.map(|limit| limit.to_string())),
        ("spans", args.spans.map(|spans| spans.to_string())),
        ("step", args.step),
        start,
        end,
    ];
    ask(&args.common, "/search", &parameters, |json, style| match json.get("series") {
        Some(_) => show_series_found(json, style),
        None => show_traces_found(json, style),
    })
}

/// The spans that a query found, those of a trace below it.
fn show_traces_found(json: &Json, style: Style) -> Result<bool> {
    let found: Vec<Json> = list(json, "traces")?;
    let number = |json: &Json, key: &str| json.get(key).and_then(Json::as_i64).unwrap_or_default();
    let mut table =
        Table::new(&["started", "trace or span", "root or name", ">duration", ">matched", "attributes"]);
    for trace in &found {
        let sets: Vec<Json> = list(trace, "spansets")?;
        let matched: i64 = sets.iter().map(|set| number(set, "matched")).sum();
        table.row([
            rfc3339(number(trace, "start_time") / 1_000_000 * 1_000_000),
            text(trace, "trace_id").to_owned(),
            format!("{} {}", text(trace, "root_service"), text(trace, "root_name")),
            duration(number(trace, "duration_ns")),
            matched.to_string(),
            sets.iter().map(|set| pairs(set.get("attributes"))).collect::<Vec<_>>().join("; "),
        ]);
        for set in &sets {
            for span in list::<Json>(set, "spans")? {
                table.row([
                    String::new(),
                    format!("  {}", text(&span, "span_id")),
                    format!("  {}", text(&span, "name")),
                    duration(number(&span, "duration_ns")),
                    String::new(),
                    pairs(span.get("attributes")),
                ]);
            }
        }
    }
    let nothing = "no trace meets that within the window; --last 24h looks further back than the last hour";
    show_table(&table, found.len(), nothing, json, style)
}

/// The series that a query made: of each its last value and its bounds.
fn show_series_found(json: &Json, style: Style) -> Result<bool> {
    let found: Vec<Json> = list(json, "series")?;
    let mut table = Table::new(&["labels", ">points", ">last", ">least", ">greatest", ">exemplars"]);
    for series in &found {
        let points: Vec<(i64, f64)> = list(series, "points")?;
        let values = || points.iter().map(|(_, value)| *value);
        let exemplars: Vec<Json> = list(series, "exemplars")?;
        table.row([
            pairs(series.get("labels")),
            points.len().to_string(),
            values().next_back().map_or_else(String::new, three_digits),
            values().reduce(f64::min).map_or_else(String::new, three_digits),
            values().reduce(f64::max).map_or_else(String::new, three_digits),
            exemplars.len().to_string(),
        ]);
    }
    let nothing = "no span meets that within the window; --last 24h looks further back than the last hour";
    show_table(&table, found.len(), nothing, json, style)
}

/// Members of an object as `name=value`.
fn pairs(object: Option<&Json>) -> String {
    let pairs = object.and_then(Json::as_object).into_iter().flatten();
    let pairs = pairs.map(|(name, value)| match value.as_str() {
        Some(text) => format!("{name}={text}"),
        None => format!("{name}={value}"),
    });
    pairs.collect::<Vec<String>>().join(" ")
}
