//! The language as scripts: the cases beside this file.

use std::path::Path;

use throughline_exec::script::Report;
use throughline_traceql::{Engine, script};

#[test]
fn own_scripts_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let entries = std::fs::read_dir(&folder).expect("a folder of scripts");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "traceqltest"));
    paths.sort();
    let mut report = Report::default();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a script");
        report.add(&path.file_name().unwrap_or_default().to_string_lossy(), &script::run(&text, &Engine));
    }
    assert!(report.present > 0);
    assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));
}

#[test]
fn what_is_not_as_expected_fails_in_its_line() {
    let text = "foo\nload\n  t/a s \"x\" @0s +1ms kind=nothing\nload\n  t/a s \"x\" @0s +1ms\n\
                eval search {}\n  t: b\neval search {}\n  t: a\neval search {\n  t: a\n\
                eval instant from 0s to 1s {} | rate()\n  {a=1} 1\neval search {}\neval range {} | rate()\n";
    let outcomes = script::run(text, &Engine);
    let lines: Vec<_> = outcomes.iter().map(|outcome| (outcome.line, outcome.failure.is_some())).collect();
    let expected =
        [(1, true), (3, true), (6, true), (8, false), (10, true), (12, true), (14, true), (15, true)];
    assert_eq!(lines, expected, "{outcomes:?}");
}
