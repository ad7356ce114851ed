//! Runs the LogQL scripts of a folder and prints passed of present per file: `cargo xtask conformance logql`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use throughline_logql::Engine;
use throughline_logql::script;

fn main() -> ExitCode {
    let mut folder = None;
    let mut verbose = false;
    let mut files = Vec::new();
    for argument in std::env::args_os().skip(1) {
        match argument.to_str() {
            Some("--verbose") => verbose = true,
            _ if folder.is_none() => folder = Some(PathBuf::from(argument)),
            _ => files.push(argument),
        }
    }
    let Some(folder) = folder else {
        eprintln!("conformance: name a folder of scripts");
        return ExitCode::FAILURE;
    };
    let mut scripts = scripts(&folder);
    scripts.retain(|path| {
        files.is_empty() || path.file_stem().is_some_and(|stem| files.iter().any(|f| f == stem))
    });
    if scripts.is_empty() {
        println!("logql: SKIPPED, no scripts in {}", folder.display());
        return ExitCode::SUCCESS;
    }
    let (mut passed, mut present) = (0, 0);
    for path in &scripts {
        let (file_passed, file_present) = report(path, verbose);
        passed += file_passed;
        present += file_present;
    }
    println!("{passed:5} of {present:5}  all");
    if passed == present { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The scripts of a folder by name; none if there is no such folder.
fn scripts(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut scripts: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "logqltest")).collect();
    scripts.sort();
    scripts
}

/// Runs one script; how many of its queries passed, and how many there are.
fn report(path: &Path, verbose: bool) -> (usize, usize) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let outcomes = match std::fs::read_to_string(path) {
        Ok(text) => script::run(&text, &Engine),
        Err(error) => {
            println!("    0 of     1  {name}: {error}");
            return (0, 1);
        }
    };
    let failures = outcomes.iter().filter(|outcome| outcome.failure.is_some()).count();
    let passed = outcomes.len() - failures;
    println!("{passed:5} of {:5}  {name}", outcomes.len());
    for outcome in outcomes.iter().filter(|_| verbose) {
        if let Some(failure) = &outcome.failure {
            println!("{name}:{}: {}\n    {failure}", outcome.line, outcome.query);
        }
    }
    (passed, outcomes.len())
}
