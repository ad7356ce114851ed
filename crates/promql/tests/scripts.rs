//! The language as scripts: those of the project beside this file, and Prometheus's own where they are present.

use std::path::Path;

use throughline_exec::script::Report;
use throughline_promql::eval::Engine;
use throughline_promql::script;

/// Runs every script of a folder.
fn run(folder: &Path) -> Report {
    let entries = std::fs::read_dir(folder).expect("a folder of scripts");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    paths.sort();
    let mut report = Report::default();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a script");
        report.add(
            &path.file_name().unwrap_or_default().to_string_lossy(),
            &script::run(&text, &Engine::default()),
        );
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
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/promql");
    if !folder.is_dir() {
        eprintln!("SKIPPED: no conformance suite at {}", folder.display());
        return;
    }
    let Report { present, failures, .. } = run(&folder);
    assert!(failures.is_empty(), "{} of {present} fail:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn what_cannot_be_read_fails_in_its_line() {
    let text = "clear\nfoo\n\nload 1m\n  a 1 2x\n\neval instant at 0 1\n  1\n\neval instant at x 1\n";
    let outcomes = script::run(text, &Engine::default());
    let lines: Vec<_> = outcomes.iter().map(|outcome| (outcome.line, outcome.failure.is_some())).collect();
    assert_eq!(lines, [(2, true), (5, true), (7, false), (10, true)]);
}

#[test]
fn failures_say_what_was_expected() {
    let text =
        "load 1m\n  a{b=\"1\"} 1\n  a{b=\"2\"} 2\n\neval instant at 0 a\n  a{b=\"1\"} 3\n  a{b=\"3\"} 1\n";
    let outcomes = script::run(text, &Engine::default());
    let failure = outcomes.first().and_then(|outcome| outcome.failure.clone()).expect("a failure");
    for part in ["expected 3", "unexpected {__name__=\"a\", b=\"2\"}", "missing {__name__=\"a\", b=\"3\"}"] {
        assert!(failure.contains(part), "{failure}");
    }
}
