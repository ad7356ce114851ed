//! Rules for one Rust file: header, size, functions, and things that must not be left behind.

use super::Finding;
use super::source::{self, Source};

/// Production lines of a file.
pub const FILE_LINES_MAX: usize = 600;
/// Lines of a function: what fits a screen.
pub const FUNCTION_LINES_MAX: usize = 70;

/// What must not stay in code, and why.
const FORBIDDEN: [(&str, &str); 4] = [
    ("#[ignore", "a test that does not run proves nothing: delete it, or make it run"),
    ("#[should_panic", "assert on a result instead: a panic may come from anywhere"),
    ("todo!", "finish it"),
    ("dbg!", "remove it"),
];

/// Names of files and folders that say nothing about what is inside.
const EMPTY_NAMES: [&str; 6] = ["util", "utils", "common", "helper", "helpers", "misc"];

/// Checks a file by its path from the root and its text.
pub fn check(path: &str, text: &str) -> Vec<Finding> {
    let source = Source::new(text);
    let mut findings = Vec::new();
    findings.extend(header(path, text));
    findings.extend(forbidden(path, &source));
    findings.extend(commented_out_modules(path, &source));
    if !is_test(path) {
        let (code, lines) = source.production();
        if lines > FILE_LINES_MAX {
            let message = format!("{lines} production lines, more than {FILE_LINES_MAX}: split it");
            findings.push(Finding::new("file-lines", path, 1, message));
        }
        findings.extend(functions(path, &code));
    }
    findings
}

/// Checks the names of a path.
pub fn check_path(path: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in path.split('/') {
        let stem = name.split('.').next().unwrap_or(name);
        if EMPTY_NAMES.contains(&stem) {
            let message = format!("`{name}` says nothing: name it after its stage or data structure");
            findings.push(Finding::new("names", path, 1, message));
        }
        if name == "mod.rs" {
            findings.push(Finding::new(
                "names",
                path,
                1,
                "use `foo.rs` beside `foo/` instead of `mod.rs`".to_owned(),
            ));
        }
    }
    findings
}

/// Whether the whole file is a test.
pub fn is_test(path: &str) -> bool {
    let folders: Vec<&str> = path.split('/').collect();
    let (file, folders) = folders.split_last().unwrap_or((&"", &[]));
    *file == "tests.rs" || folders.contains(&"tests")
}

fn header(path: &str, text: &str) -> Option<Finding> {
    let starts =
        text.lines().find(|line| !line.trim().is_empty()).is_some_and(|line| line.starts_with("//! "));
    let message = "the file does not open with `//!`: say what it holds and what it promises".to_owned();
    (!starts).then(|| Finding::new("header", path, 1, message))
}

fn functions(path: &str, code: &str) -> Vec<Finding> {
    let long = source::functions(code).into_iter().filter(|function| function.lines > FUNCTION_LINES_MAX);
    long.map(|function| {
        let message =
            format!("`{}` has {} lines, more than {FUNCTION_LINES_MAX}", function.name, function.lines);
        Finding::new("function-lines", path, function.line, message)
    })
    .collect()
}

fn forbidden(path: &str, source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in source.code().lines().enumerate() {
        for (word, reason) in FORBIDDEN {
            if line.contains(word) {
                findings.push(Finding::new("left-behind", path, number + 1, format!("`{word}`: {reason}")));
            }
        }
    }
    findings
}

fn commented_out_modules(path: &str, source: &Source) -> Vec<Finding> {
    let comments = source.comments();
    let commented = comments.lines().enumerate().filter(|(_, line)| {
        let text = line.trim().trim_start_matches('/').trim();
        let text = text.strip_prefix("pub ").unwrap_or(text);
        text.strip_prefix("mod ").is_some_and(|rest| {
            rest.strip_suffix(';').is_some_and(|name| !name.is_empty() && name.chars().all(source::is_word))
        })
    });
    commented
        .map(|(number, _)| {
            Finding::new("left-behind", path, number + 1, "a module that is commented out".to_owned())
        })
        .collect()
}
