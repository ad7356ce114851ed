//! `throughline doctor`: asks a server what is wrong with its telemetry, and says it in the format that is wanted.
//!
//! The exit code is for pipelines: 0 where nothing of the level is wrong, 1 where something is, 2 where it cannot be told.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::Value as Json;
use throughline_correlate::doctor::{Level, Report};

use crate::cli::{DoctorArgs, FailOn, ReportFormat};
use crate::query::out;
use crate::render::{self, Style};

/// Something is wrong.
const FOUND: u8 = 1;

/// Runs the command.
pub fn run(args: DoctorArgs) -> Result<ExitCode> {
    let [start, end] = args.window.parameters();
    let json: Json = args.server.client().get_as("/doctor", &[("service", args.service), start, end])?;
    let report: Report = serde_json::from_value(json.clone()).context("understand the report")?;
    let text = match args.format {
        ReportFormat::Text => render::doctor::text(&report, Style::detect()),
        ReportFormat::Json => serde_json::to_string_pretty(&json).context("write JSON")? + "\n",
        ReportFormat::Sarif => {
            serde_json::to_string_pretty(&render::sarif::log(&report)).context("write JSON")? + "\n"
        }
        ReportFormat::Markdown => render::doctor::markdown(&report),
    };
    out(&text);
    let fails = match args.fail_on {
        FailOn::Note => report.worst.is_some(),
        FailOn::Warning => report.worst >= Some(Level::Warning),
        FailOn::Error => report.worst >= Some(Level::Error),
        FailOn::Never => false,
    };
    Ok(if fails { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
}
