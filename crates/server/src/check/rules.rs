//! `throughline check rules`: rule files as promtool checks them, with its words and exit codes.

use std::io::Read as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use throughline_rules::definition::duplicates;
use throughline_rules::{GroupDefinition, Problem};

use crate::cli::CheckRulesArgs;
use crate::config::rule_file;

/// What promtool ends with for what is valid and doubtful, where that is fatal.
const LINT_FAILED: u8 = 3;

/// Runs the command.
pub fn run(args: &CheckRulesArgs) -> Result<ExitCode> {
    let (mut is_invalid, mut is_doubtful) = (false, false);
    let mut check = |name: &str, read: Result<Vec<GroupDefinition>, Vec<Problem>>| match read {
        Ok(groups) => is_doubtful |= !report(&groups),
        Err(problems) => {
            is_invalid = true;
            eprintln!("  FAILED:");
            for problem in problems {
                eprintln!("{name}: {problem}");
            }
        }
    };
    if args.files.is_empty() {
        println!("Checking standard input");
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("read standard input")?;
        check("standard input", rule_file::parse(&text));
    }
    for file in &args.files {
        println!("Checking {}", file.display());
        check(&file.display().to_string(), rule_file::load(file));
    }
    Ok(match (is_invalid, is_doubtful && args.lint_fatal) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::from(LINT_FAILED),
        (false, false) => ExitCode::SUCCESS,
    })
}

/// Prints what a valid file holds; false if some of its rules cannot be told apart.
fn report(groups: &[GroupDefinition]) -> bool {
    let twice = duplicates(groups);
    if twice.is_empty() {
        let count: usize = groups.iter().map(|group| group.rules.len()).sum();
        println!("  SUCCESS: {count} rules found\n");
        return true;
    }
    eprintln!("  FAILED:\nlint error {} duplicate rule(s) found.", twice.len());
    for rule in twice {
        eprintln!("Metric: {}\nLabel(s):", rule.name);
        for (name, value) in &rule.labels {
            eprintln!("\t{name}: {value}");
        }
    }
    eprintln!("Might cause inconsistency while recording expressions\n");
    false
}
