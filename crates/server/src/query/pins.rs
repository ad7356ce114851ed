//! `throughline pin`, `unpin` and `pins`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value as Json;
use throughline_correlate::units::{duration, rfc3339};
use throughline_model::record::TraceSummary;

use super::{ask, list as items, out, show_answer, text};
use crate::cli::{Common, PinArgs, UnpinArgs};
use crate::render::table::Table;

/// Pins a trace.
pub fn pin(args: PinArgs) -> Result<ExitCode> {
    let parameters = [("trace", Some(args.id)), ("note", args.note)];
    let answer = args.common.server.client().post("/pins", &parameters)?;
    show_answer(&args.common, answer, |json, _| {
        let id = json.pointer("/pin/trace_id").and_then(Json::as_str).unwrap_or_default();
        out(&format!("trace {id} stays until it is unpinned, beyond its retention as well\n"));
        Ok(true)
    })
}

/// Takes a pin back.
pub fn unpin(args: UnpinArgs) -> Result<ExitCode> {
    let answer = args.common.server.client().delete("/pins", &[("trace", Some(args.id))])?;
    show_answer(&args.common, answer, |json, _| {
        let was_pinned = json.get("was_pinned").and_then(Json::as_bool).unwrap_or(false);
        let id = text(json, "trace_id");
        out(&match was_pinned {
            true => format!("trace {id} is pinned no more\n"),
            false => format!("trace {id} was not pinned\n"),
        });
        Ok(was_pinned)
    })
}

/// Lists the pinned traces.
pub fn list(common: &Common) -> Result<ExitCode> {
    ask(common, "/pins", &[], |json, style| {
        let pins: Vec<Json> = items(json, "pins")?;
        let mut table =
            Table::new(&["pinned", "trace", "state", "root", ">duration", ">spans"]).ending("note");
        for pin in &pins {
            let at = pin.get("at").and_then(Json::as_i64).unwrap_or_default();
            let summary = pin.get("summary").cloned().unwrap_or_default();
            let summary: Option<TraceSummary> = serde_json::from_value(summary).ok();
            let of = |show: fn(&TraceSummary) -> String| summary.as_ref().map_or_else(String::new, show);
            table.row([
                rfc3339(at / 1_000_000_000 * 1_000_000_000),
                text(pin, "trace_id").to_owned(),
                pin.pointer("/link/state").and_then(Json::as_str).unwrap_or_default().to_owned(),
                of(|summary| format!("{} {}", summary.root_service, summary.root_name)),
                of(|summary| duration(summary.duration_ns)),
                of(|summary| summary.span_count.to_string()),
                text(pin, "note").to_owned(),
            ]);
        }
        out(&if pins.is_empty() { "no trace is pinned\n".to_owned() } else { table.render(style) });
        Ok(!pins.is_empty())
    })
}
