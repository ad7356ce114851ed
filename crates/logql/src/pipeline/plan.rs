//! What of a pipeline the source of the rows does, and what is left for each row.
//!
//! 1. What nobody looks at is left out: parsers whose labels nobody wants, new lines that nobody reads.
//! 2. Line filters before the first stage that makes a new line go to the source, wherever they stand: they and the stages
//!    between do not see each other. So do conditions on labels before the first stage that makes labels, as hints.
//! 3. What the remaining stages need of each row is asked for, and no more.

use throughline_exec::Matcher;
use throughline_exec::log::{LineFilter, LinesWanted, LogRequest, MetadataWanted};

use super::symbols::{EXTRACTED, SPECIAL};
use super::wanted::Wanted;
use crate::ast::{LabelFilter, LogExpr, Stage, Unwrap};

/// What a query takes of the rows that stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// That they are there, or a label.
    Rows,
    /// The length of the line.
    Lengths,
    /// The line.
    Lines,
}

/// How a pipeline is run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Without a window.
    pub request: LogRequest,
    /// What is left for each row.
    pub stages: Vec<Stage>,
    pub wanted: Wanted,
}

impl Plan {
    /// For a result with the labels `output`: nothing if that is all of them.
    pub(crate) fn new(
        log: &LogExpr,
        unwrap: Option<&Unwrap>,
        output: Option<&[String]>,
        taken: Taken,
    ) -> Plan {
        let mut wanted = Wanted::of(&log.stages, unwrap, output);
        // Only what is counted can fail a query.
        wanted.errors &= taken != Taken::Lines;
        let mut stages = needed(&log.stages, wanted.is_none(), taken);
        let label_hints = label_hints(&stages);
        let filters = take_filters(&mut stages);
        let reads_line = stages.iter().any(reads_line);
        let makes_line = stages.iter().any(makes_line);
        let lines = match taken {
            Taken::Lines => LinesWanted::Text,
            _ if reads_line => LinesWanted::Text,
            Taken::Lengths if !makes_line => LinesWanted::Lengths,
            Taken::Rows | Taken::Lengths => LinesWanted::None,
        };
        let metadata = match &wanted.names {
            None => MetadataWanted::All,
            Some(names) => {
                let plain = names
                    .iter()
                    .filter(|name| !SPECIAL.contains(&name.as_str()))
                    .cloned()
                    .collect::<Vec<_>>();
                if plain.is_empty() { MetadataWanted::None } else { MetadataWanted::Names(plain) }
            }
        };
        let request = LogRequest {
            matchers: log.matchers.clone(),
            filters,
            label_hints,
            lines,
            metadata,
            ..LogRequest::default()
        };
        Plan { request, stages, wanted }
    }
}

/// Whether a stage looks at the line.
fn reads_line(stage: &Stage) -> bool {
    match stage {
        Stage::LineFilter(_)
        | Stage::Json(_)
        | Stage::Logfmt(_)
        | Stage::Regexp(_)
        | Stage::Pattern(_)
        | Stage::Unpack
        | Stage::Decolorize => true,
        Stage::LineFormat(template) => template.needs_line(),
        Stage::LabelFormat(formats) => formats.iter().any(|format| match &format.source {
            crate::ast::LabelSource::Template(template) => template.needs_line(),
            crate::ast::LabelSource::Rename(_) => false,
        }),
        Stage::LabelFilter(_) | Stage::Drop(_) | Stage::Keep(_) => false,
    }
}

/// Whether a stage puts another line in the place of the line.
fn makes_line(stage: &Stage) -> bool {
    matches!(stage, Stage::Unpack | Stage::Decolorize | Stage::LineFormat(_))
}

/// The stages that somebody needs, looking from the last to the first.
fn needed(stages: &[Stage], no_labels: bool, taken: Taken) -> Vec<Stage> {
    let mut line_is_read = taken != Taken::Rows;
    let mut kept = Vec::with_capacity(stages.len());
    for stage in stages.iter().rev() {
        let is_needed = match stage {
            Stage::LineFilter(filter) => !filter.filter.is_always_true(),
            Stage::Json(_) | Stage::Logfmt(_) | Stage::Regexp(_) | Stage::Pattern(_) => !no_labels,
            Stage::Unpack => !no_labels || line_is_read,
            Stage::LineFormat(_) | Stage::Decolorize => line_is_read,
            Stage::LabelFilter(_) | Stage::LabelFormat(_) | Stage::Drop(_) | Stage::Keep(_) => true,
        };
        if is_needed {
            line_is_read |= reads_line(stage);
            kept.push(stage.clone());
        }
    }
    kept.reverse();
    kept
}

/// Takes the line filters that see the line as it was read.
fn take_filters(stages: &mut Vec<Stage>) -> Vec<LineFilter> {
    let unchanged = stages.iter().position(makes_line).unwrap_or(stages.len());
    let mut filters = Vec::new();
    let mut at = 0;
    stages.retain(|stage| {
        at += 1;
        match stage {
            Stage::LineFilter(filter) if at <= unchanged => {
                filters.push(filter.filter.clone());
                false
            }
            _ => true,
        }
    });
    filters
}

/// Conditions on labels that every row fulfils which stays, as far as they are conditions on the labels that it comes with.
fn label_hints(stages: &[Stage]) -> Vec<Matcher> {
    let mut hints = Vec::new();
    for stage in stages {
        match stage {
            Stage::LineFilter(_) | Stage::LineFormat(_) | Stage::Decolorize => {}
            Stage::LabelFilter(filter) => conjuncts(filter, &mut hints),
            _ => break,
        }
    }
    hints
}

fn conjuncts(filter: &LabelFilter, hints: &mut Vec<Matcher>) {
    match filter {
        LabelFilter::Match(matcher) => {
            let name = matcher.name();
            if !SPECIAL.contains(&name) && !name.ends_with(EXTRACTED) {
                hints.push(matcher.clone());
            }
        }
        LabelFilter::And(left, right) => {
            conjuncts(left, hints);
            conjuncts(right, hints);
        }
        LabelFilter::Compare { .. } | LabelFilter::Ip { .. } | LabelFilter::Or(..) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::Expr;
    use crate::parse::parse;

    fn plan(query: &str, output: Option<&[&str]>, taken: Taken) -> String {
        let Ok(Expr::Log(log)) = parse(query) else { panic!("no log query: {query}") };
        let output: Option<Vec<String>> =
            output.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let plan = Plan::new(&log, None, output.as_deref(), taken);
        let stages: Vec<String> = plan.stages.iter().map(ToString::to_string).collect();
        let request = plan.request;
        format!(
            "{} filters, hints {:?}, lines {:?}, metadata {:?}, stages {}",
            request.filters.len(),
            request.label_hints,
            request.lines,
            request.metadata,
            stages.join(" ")
        )
    }

    #[test]
    fn counting_by_a_label_reads_no_lines() {
        assert_eq!(
            plan(r#"{a="b"} |= "x" | json | line_format "y""#, Some(&[]), Taken::Rows),
            "1 filters, hints [], lines None, metadata None, stages "
        );
        assert_eq!(
            plan(r#"{a="b"} | trace_id="x" |= "y""#, Some(&["level"]), Taken::Rows),
            r#"1 filters, hints [trace_id="x"], lines None, metadata Names(["level", "trace_id"]), stages | trace_id="x""#
        );
        assert_eq!(
            plan(r#"{a="b"} | json"#, Some(&["level"]), Taken::Rows),
            r#"0 filters, hints [], lines Text, metadata Names(["level"]), stages | json"#
        );
        assert_eq!(
            plan(r#"{a="b"}"#, None, Taken::Lengths),
            "0 filters, hints [], lines Lengths, metadata All, stages "
        );
    }

    #[test]
    fn filters_go_to_the_source_until_the_line_is_another() {
        assert_eq!(
            plan(
                r#"{a="b"} | logfmt |= "x" | c="d" != "y" | line_format "{{.c}}" |= "z""#,
                None,
                Taken::Lines
            ),
            r#"2 filters, hints [], lines Text, metadata All, stages | logfmt | c="d" | line_format "{{.c}}" |= "z""#
        );
        assert_eq!(
            plan(r#"{a="b"} | unpack |= "x""#, Some(&[]), Taken::Rows),
            r#"0 filters, hints [], lines Text, metadata None, stages | unpack |= "x""#
        );
    }
}
