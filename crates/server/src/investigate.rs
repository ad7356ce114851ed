//! `throughline investigate`: a focus to a question, the case to the terminal.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value as Json, json};
use throughline_correlate::investigate::{Case, Evidence, report};
use throughline_model::TraceId;

use crate::cli::{CaseFormat, InvestigateArgs};
use crate::client::{Answer, Client};
use crate::render::{self, Style};

/// What a note on a pin is cut to.
const NOTE_CHARACTERS: usize = 200;
/// No suspect was found.
const NOT_FOUND: u8 = 1;

/// Runs the command.
pub fn run(args: InvestigateArgs) -> Result<ExitCode> {
    let format = match (args.short, args.common.json) {
        (true, _) => CaseFormat::Short,
        (false, true) => CaseFormat::Json,
        (false, false) => args.format,
    };
    let client = args.common.server.client();
    let pins = args.pin;
    let answer = client.post_json("/investigate", &question(args)?)?;
    let case: Case = serde_json::from_str(&answer).context("understand the case")?;
    let text = match format {
        CaseFormat::Markdown => report::markdown(&case),
        CaseFormat::Short => report::short(&case),
        CaseFormat::Json => {
            let json: Json = serde_json::from_str(&answer).context("understand the answer")?;
            serde_json::to_string_pretty(&json).context("write JSON")? + "\n"
        }
        CaseFormat::Text => render::case::render(&case, Style::detect()),
    };
    // A reader that has gone away (`| head`) is no error.
    _ = std::io::stdout().lock().write_all(text.as_bytes());
    if pins {
        pin(&client, &case)?;
    }
    // A report or a line for a page is there also where it says that nobody is suspected.
    let is_found = !case.suspects.is_empty() || matches!(format, CaseFormat::Markdown | CaseFormat::Short);
    Ok(if is_found { ExitCode::SUCCESS } else { ExitCode::from(NOT_FOUND) })
}

/// Pins the traces that a case cites, and says so beside the case.
fn pin(client: &Client, case: &Case) -> Result<()> {
    let evidence = case.suspects.iter().flat_map(|suspect| &suspect.evidence);
    let of_evidence = |one: &Evidence| -> Vec<TraceId> {
        let line = one.line.as_ref().and_then(|line| line.trace);
        one.traces.iter().map(|cited| cited.trace).chain(line).collect()
    };
    let traces: BTreeSet<TraceId> = evidence.flat_map(of_evidence).collect();
    let note = format!("cited by the investigation of {}", report::focus(&case.focus));
    let note: String = note.chars().take(NOTE_CHARACTERS).collect();
    let mut gone = 0;
    for trace in &traces {
        let parameters = [("trace", Some(trace.to_string())), ("note", Some(note.clone()))];
        // A trace may have gone since it was read.
        gone += usize::from(matches!(client.post("/pins", &parameters)?, Answer::NotFound(_)));
    }
    let of_them = if gone > 0 { format!("; {gone} have gone meanwhile") } else { String::new() };
    eprintln!("{} traces that the case cites are pinned{of_them}", traces.len() - gone);
    Ok(())
}

fn question(args: InvestigateArgs) -> Result<Json> {
    let [(_, start), (_, end)] = args.window.parameters();
    let window = match (start, end) {
        (None, None) => Json::Null,
        (Some(start), end) => json!({"start": start, "end": end.unwrap_or_else(|| "now".to_owned())}),
        (None, Some(_)) => bail!("--end needs --start"),
    };
    let baseline = match (args.baseline_start, args.baseline_end) {
        (Some(start), Some(end)) => json!({"start": start, "end": end}),
        _ => Json::Null,
    };
    Ok(json!({
        "focus": args.focus.unwrap_or_default(),
        "window": window,
        "baseline": baseline,
        "service": args.service,
        "suspects": args.suspects,
        "format": "json",
    }))
}
