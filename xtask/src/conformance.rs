//! `cargo xtask conformance`: the suites of others, run against our languages.
//!
//! The runners are examples of the crates of the languages, so that the other tasks need not build these; that of TraceQL, which
//! is small, is here.

mod traceql;

use std::path::{Path, PathBuf};
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
    /// Tempo's examples: as marked of present per list
    Traceql(ListArguments),
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

/// Where lists of queries lie and what to show.
#[derive(Args, Clone, Debug)]
pub struct ListArguments {
    /// The folder of the suites
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Print the queries that are not as marked
    #[arg(long)]
    verbose: bool,
}

/// Runs a suite; fails if anything in it does.
pub fn run(conformance: &Conformance) -> anyhow::Result<()> {
    match conformance {
        Conformance::Promql(arguments) => suite("promql", "test", arguments),
        Conformance::Logql(arguments) => suite("logql", "logqltest", arguments),
        Conformance::Traceql(arguments) => lists("traceql", arguments),
    }
}

/// The folder of a suite; nothing, and a line that says so, if there is none.
fn folder(name: &str, dir: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
    let suites = dir.map_or_else(|| tidy::root().join("../shared/conformance"), Path::to_path_buf);
    // The folder of one suite is as good as that of all.
    let folder = if suites.join(name).is_dir() { suites.join(name) } else { suites };
    if !folder.is_dir() {
        println!("{name}: SKIPPED, there is no {}", folder.display());
        return Ok(None);
    }
    folder.canonicalize().context("find the folder of the suite").map(Some)
}

fn lists(name: &str, arguments: &ListArguments) -> anyhow::Result<()> {
    let Some(folder) = folder(name, arguments.dir.as_deref())? else { return Ok(()) };
    let reports = traceql::run(&folder)?;
    let (mut passed, mut present) = (0, 0);
    for report in &reports {
        println!("{:5} of {:5}  {}", report.passed, report.present, report.list);
        report.failures.iter().filter(|_| arguments.verbose).for_each(|failure| println!("{failure}"));
        passed += report.passed;
        present += report.present;
    }
    println!("{passed:5} of {present:5}  all");
    anyhow::ensure!(passed == present, "{name}: not all queries are as marked");
    Ok(())
}

/// The scripts of a folder that are wanted, by name.
fn scripts(folder: &Path, extension: &str, wanted: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).context("read the folder of the suite")?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    let is_wanted = |path: &PathBuf| {
        wanted.is_empty()
            || path.file_stem().is_some_and(|stem| wanted.iter().any(|wanted| stem == wanted.as_str()))
    };
    paths.retain(|path| path.extension().is_some_and(|of| of == extension) && is_wanted(path));
    paths.sort();
    Ok(paths)
}

fn suite(name: &str, extension: &str, arguments: &SuiteArguments) -> anyhow::Result<()> {
    let Some(folder) = folder(name, arguments.dir.as_deref())? else { return Ok(()) };
    let scripts = scripts(&folder, extension, &arguments.files)?;
    if scripts.is_empty() {
        println!("{name}: SKIPPED, no scripts in {}", folder.display());
        return Ok(());
    }
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(tidy::root()).args([
        "run",
        "-q",
        "-p",
        &format!("throughline-{name}"),
        "--example",
        "conformance",
        "--",
    ]);
    if arguments.verbose {
        command.arg("--verbose");
    }
    let status = command.args(scripts).status().context("run the suite")?;
    anyhow::ensure!(status.success(), "{name}: not all queries answer as expected");
    Ok(())
}
