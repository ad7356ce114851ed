//! The language as scripts: those of the project beside this file, and Loki's where they are present.

use std::path::Path;

use throughline_exec::script::Report;
use throughline_logql::{Engine, script};

/// Runs every script of a folder.
fn run(folder: &Path) -> Report {
    let entries = std::fs::read_dir(folder).expect("a folder of scripts");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "logqltest"));
    paths.sort();
    let mut report = Report::default();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a script");
        report.add(&path.file_name().unwrap_or_default().to_string_lossy(), &script::run(&text, &Engine));
    }
    report
}

#[test]
fn own_scripts_pass() {
    let report = run(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases"));
    assert!(report.present > 0);
    assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));
}

#[test]
fn the_suite_passes_where_it_is_present() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/logql");
    if !folder.is_dir() {
        eprintln!("SKIPPED: no conformance suite at {}", folder.display());
        return;
    }
    let Report { present, failures, .. } = run(&folder);
    assert!(failures.is_empty(), "{} of {present} fail:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn what_cannot_be_read_fails_in_its_line() {
    let text = "clear\nfoo\n\nload\n  {a=\"b\"} x\n\neval instant at 0 1\n  1\n\neval instant at x 1\neval instant at 0 2\n  3\n";
    let outcomes = script::run(text, &Engine);
    let lines: Vec<_> = outcomes.iter().map(|outcome| (outcome.line, outcome.failure.is_some())).collect();
    assert_eq!(lines, [(2, true), (5, true), (7, false), (10, true), (11, true)]);
}

#[test]
fn failures_say_what_was_expected() {
    let text = "load\n  {a=\"b\"} \"x\" @ 1s\neval instant at 2s count_over_time({a=\"b\"}[5s])\n  {a=\"b\"} 3\n  {a=\"c\"} 1\n\
                eval logs from 0s to 2s {a=\"b\"}\n  {a=\"b\"} \"y\" @ 1s\neval instant at 1s vector(1)\n";
    let failures: Vec<_> =
        script::run(text, &Engine).into_iter().filter_map(|outcome| outcome.failure).collect();
    for (failure, parts) in failures.iter().zip([
        ["expected 3", "missing {a=\"c\"}"],
        ["expected {a=\"b\"} \"y\"", "got {a=\"b\"} \"x\""],
        ["must expect an answer", ""],
    ]) {
        assert!(parts.iter().all(|part| failure.contains(part)), "{failure}");
    }
    assert_eq!(failures.len(), 3);
}
