//! Runs the LogQL scripts that it is given and prints passed of present for each: `cargo xtask conformance logql`.

use std::path::PathBuf;
use std::process::ExitCode;

use throughline_exec::script::Report;
use throughline_logql::{Engine, script};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    let is_verbose = arguments.next_if(|argument| argument == "--verbose").is_some();
    let mut report = Report::default();
    for path in arguments.map(PathBuf::from) {
        match std::fs::read_to_string(&path) {
            Ok(text) => report
                .add(&path.file_name().unwrap_or_default().to_string_lossy(), &script::run(&text, &Engine)),
            Err(error) => {
                eprintln!("conformance: {}: {error}", path.display());
                return ExitCode::FAILURE;
            }
        }
    }
    print!("{}", report.lines);
    report.failures.iter().filter(|_| is_verbose).for_each(|failure| println!("{failure}"));
    println!("{:5} of {:5}  all", report.passed, report.present);
    if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
