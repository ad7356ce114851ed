//! `throughline fsck`: checks every byte of a data folder that no server uses, and repairs it where told to.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use throughline_correlate::units::bytes;
use throughline_store::OsDisk;
use throughline_store::fsck::{self, Report};

use crate::cli::FsckArgs;

/// Runs the command: 0 where everything is as it was written, or was repaired; 1 where something is not.
pub fn run(args: &FsckArgs) -> Result<ExitCode> {
    let report = fsck::check(&OsDisk, &args.folder, args.repair)
        .with_context(|| format!("check {}", args.folder.display()))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).context("write the report")?);
    } else {
        print!("{}", text(&report));
    }
    Ok(if report.is_whole() || args.repair { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(report: &Report) -> String {
    let Report { blocks, blocks_whole, blocks_orphaned, block_bytes, log, problems } = report;
    let mut out = format!("blocks  {blocks_whole} of {blocks} whole, {} compared\n", bytes(*block_bytes));
    if *blocks_orphaned > 0 {
        out += &format!(
            "        {blocks_orphaned} left over from an interrupted edit, removed at the next start\n"
        );
    }
    out += &format!(
        "log     {} segments, {} records ({} items) to replay",
        log.segments, log.records, log.items
    );
    if log.lost_records > 0 {
        out += &format!(", {} records ({} items) lost to damage", log.lost_records, log.lost_items);
    }
    if log.torn_bytes > 0 {
        out += &format!(", {} of a torn end that nobody was told is stored", bytes(log.torn_bytes));
    }
    out.push('\n');
    for problem in problems {
        out += &format!("{}: {}\n", problem.path.display(), problem.detail);
        if let Some(done) = &problem.repaired {
            out += &format!("    repaired: {done}\n");
        }
    }
    match problems.len() {
        0 => out + "everything is as it was written\n",
        n => out + &format!("{n} problem(s)\n"),
    }
}
