//! `throughline investigate`: a focus to a question, the case to the terminal.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value as Json, json};
use throughline_correlate::investigate::Case;

use crate::cli::{CaseFormat, InvestigateArgs};
use crate::render::{self, Style};

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
    let answer = client.post_json("/investigate", &question(args, format)?)?;
    let (text, found) = match format {
        CaseFormat::Markdown | CaseFormat::Short => (answer, true),
        CaseFormat::Json => {
            let json: Json = serde_json::from_str(&answer).context("understand the answer")?;
            let found = json.get("suspects").and_then(Json::as_array).is_some_and(|all| !all.is_empty());
            (serde_json::to_string_pretty(&json).context("write JSON")? + "\n", found)
        }
        CaseFormat::Text => {
            let case: Case = serde_json::from_str(&answer).context("understand the case")?;
            (render::case::render(&case, Style::detect()), !case.suspects.is_empty())
        }
    };
    // A reader that has gone away (`| head`) is no error.
    _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(if found { ExitCode::SUCCESS } else { ExitCode::from(NOT_FOUND) })
}

fn question(args: InvestigateArgs, format: CaseFormat) -> Result<Json> {
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
    let format = match format {
        CaseFormat::Text | CaseFormat::Json => "json",
        CaseFormat::Markdown => "markdown",
        CaseFormat::Short => "short",
    };
    Ok(json!({
        "focus": args.focus.unwrap_or_default(),
        "window": window,
        "baseline": baseline,
        "service": args.service,
        "suspects": args.suspects,
        "format": format,
    }))
}
