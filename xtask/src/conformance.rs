//! `cargo xtask conformance`: the suites of others, run against our languages.
//!
//! The runners are examples of the crates of the languages, so that the other tasks need not build these.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use crate::tidy;

/// A suite.
#[derive(Subcommand, Clone, Debug)]
pub enum Conformance {
    /// Prometheus's scripts: passed of present per file
    Promql(SuiteArguments),
    /// Loki's scripts: passed of present per file
    Logql(SuiteArguments),
}

/// Where a suite lies and what to show.
#[derive(Args, Clone, Debug)]
pub struct SuiteArguments {
    /// The folder of the suites
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Print what was expected and what came
    #[arg(long)]
    verbose: bool,
    /// Only these files, named without their extension
    files: Vec<String>,
}

/// Runs a suite; fails if anything in it does.
pub fn run(conformance: &Conformance) -> anyhow::Result<()> {
    match conformance {
        Conformance::Promql(arguments) => suite("promql", "throughline-promql", arguments),
        Conformance::Logql(arguments) => suite("logql", "throughline-logql", arguments),
    }
}

fn suite(name: &str, package: &str, arguments: &SuiteArguments) -> anyhow::Result<()> {
    let root = tidy::root();
    let suites = arguments.dir.clone().unwrap_or_else(|| root.join("../shared/conformance"));
    // The folder of one suite is as good as that of all.
    let folder = if suites.join(name).is_dir() { suites.join(name) } else { suites };
    if !folder.is_dir() {
        println!("{name}: SKIPPED, there is no {}", folder.display());
        return Ok(());
    }
    let folder = folder.canonicalize().context("find the folder of the suite")?;
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(root)
        .args(["run", "-q", "-p", package, "--example", "conformance", "--"])
        .arg(folder);
    if arguments.verbose {
        command.arg("--verbose");
    }
    let status = command.args(&arguments.files).status().context("run the suite")?;
    anyhow::ensure!(status.success(), "{name}: not all queries answer as expected");
    Ok(())
}
