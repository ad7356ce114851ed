//! Tempo's examples: lists of queries, each with what becomes of its queries.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use throughline_traceql::{CheckError, check, parse};

/// The file in the folder of the suite.
const FILE: &str = "examples.yaml";

/// What becomes of the queries of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Accepted,
    NotParsed,
    Invalid,
    Unsupported,
}

impl Outcome {
    /// What a list of this name holds.
    fn of_list(name: &str) -> Option<Outcome> {
        Some(match name {
            "valid" => Outcome::Accepted,
            "parse_fails" => Outcome::NotParsed,
            "validate_fails" => Outcome::Invalid,
            "unsupported" => Outcome::Unsupported,
            _ => return None,
        })
    }
}

/// What becomes of a query, and what is said about it.
fn outcome(query: &str) -> (Outcome, String) {
    let tree = match parse(query) {
        Ok(tree) => tree,
        Err(error) => return (Outcome::NotParsed, error.to_string()),
    };
    match check(&tree) {
        Ok(()) => (Outcome::Accepted, tree.to_string()),
        Err(error @ CheckError::Invalid(_)) => (Outcome::Invalid, error.to_string()),
        Err(error @ CheckError::Unsupported(_)) => (Outcome::Unsupported, error.to_string()),
    }
}

/// A list of the file: how many of its queries are as marked, and those that are not.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// Its name.
    pub list: String,
    /// Queries that are as marked.
    pub passed: usize,
    /// All its queries.
    pub present: usize,
    /// The others, and what became of them.
    pub failures: Vec<String>,
}

/// Reads the file of a folder and runs its queries; lists without queries are left out.
pub fn run(folder: &Path) -> anyhow::Result<Vec<Report>> {
    let path = folder.join(FILE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    reports(&text)
}

fn reports(text: &str) -> anyhow::Result<Vec<Report>> {
    let lists: BTreeMap<String, Option<Vec<String>>> =
        serde_saphyr::from_str(text).context("read the lists of queries")?;
    let mut reports = Vec::new();
    for (list, queries) in lists {
        let queries = queries.unwrap_or_default();
        if queries.is_empty() {
            continue;
        }
        let expected = Outcome::of_list(&list).with_context(|| format!("list `{list}` is not known"))?;
        let mut failures = Vec::new();
        for query in &queries {
            let (outcome, said) = outcome(query);
            let printed =
                outcome != Outcome::Accepted || parse(&said).is_ok_and(|again| again.to_string() == said);
            if outcome != expected || !printed {
                failures.push(format!("{list}: {query}\n    {outcome:?}: {said}"));
            }
        }
        let passed = queries.len() - failures.len();
        reports.push(Report { list, passed, present: queries.len(), failures });
    }
    Ok(reports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_held_to_their_lists() {
        let text = "valid: ['{ .a }', '{ name }', '{']\nparse_fails: ['{', '{}']\nvalidate_fails: ['{ name }']\n\
                    unsupported: ['{ parent.a }', '{ .a }']\ndump:\n";
        let reports = reports(text).expect("lists");
        let counts: Vec<_> =
            reports.iter().map(|report| (report.list.as_str(), report.passed, report.present)).collect();
        let expected =
            [("parse_fails", 1, 2), ("unsupported", 1, 2), ("valid", 1, 3), ("validate_fails", 1, 1)];
        assert_eq!(counts, expected);
        assert!(reports[2].failures[0].contains("{ name }\n    Invalid: invalid query:"), "{reports:?}");
        assert!(super::reports("other: ['{}']").is_err());
    }

    #[test]
    fn the_suite_passes_where_it_is_present() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance/traceql");
        if !folder.is_dir() {
            eprintln!("SKIPPED: no conformance suite at {}", folder.display());
            return;
        }
        let failures: Vec<String> =
            run(&folder).expect("a suite").into_iter().flat_map(|report| report.failures).collect();
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }
}
