//! A report of the doctor for the terminal and as Markdown.

use throughline_correlate::doctor::{Checked, Example, Finding, Level, Report};
use throughline_correlate::units::{rfc3339, time_of_day};

use super::Style;
use super::style::{clean, cut};

/// What stands before the lines of a finding.
const INDENT: &str = "   ";
const SECOND_NS: i64 = 1_000_000_000;

/// For the terminal.
pub fn text(report: &Report, style: Style) -> String {
    let mut out = format!("{}\n", style.bold(&headline(report)));
    for finding in &report.findings {
        out += &finding_text(finding, style);
    }
    out += "\n";
    out += &style.dim(&wrapped(&looked_at(report), "", style.width));
    for reason in &report.partial {
        out += &style.yellow(&format!("incomplete: {reason}\n"));
    }
    out
}

/// The window, and how many findings of each level.
fn headline(report: &Report) -> String {
    let whose = report.service.as_deref().unwrap_or("all services");
    let second = |time: i64| rfc3339(time.div_euclid(SECOND_NS).saturating_mul(SECOND_NS));
    let window = format!("{} to {}", second(report.range.start), second(report.range.end));
    let count = |level| report.findings.iter().filter(|finding| finding.level == level).count();
    let counts = [(Level::Error, "errors"), (Level::Warning, "warnings"), (Level::Note, "notes")]
        .map(|(level, plural)| {
            let n = count(level);
            format!("{n} {}", if n == 1 { level.name() } else { plural })
        })
        .join(", ");
    match report.findings.is_empty() {
        true => format!("{whose}, {window}: nothing is wrong"),
        false => format!("{whose}, {window}: {counts}"),
    }
}

fn finding_text(finding: &Finding, style: Style) -> String {
    let level = match finding.level {
        Level::Error => style.red("error"),
        Level::Warning => style.yellow("warning"),
        Level::Note => "note".to_owned(),
    };
    let head = format!("{} {}", finding.rule, finding.name);
    let mut out = format!("\n{level} {}\n", style.bold(&head));
    let width = style.width;
    out += &wrapped(&clean(&finding.message), INDENT, width);
    out += &wrapped(&format!("cause: {}", clean(&finding.cause)), INDENT, width);
    out += &wrapped(&format!("fix: {}", clean(&finding.fix)), INDENT, width);
    for example in &finding.examples {
        out += &style
            .dim(&format!("{INDENT}{}\n", cut(&example_line(example), width.saturating_sub(INDENT.len()))));
    }
    if !finding.query.is_empty() {
        out += &format!("{INDENT}{}\n", style.cyan(&format!("$ {}", clean(&finding.query))));
    }
    out
}

fn example_line(example: &Example) -> String {
    let mut parts = Vec::new();
    parts.extend(example.time.map(time_of_day));
    parts.extend(example.trace_id.map(|id| format!("trace {id}")));
    parts.extend(example.span_id.map(|id| format!("span {id}")));
    parts.push(clean(&example.text));
    parts.join("  ")
}

/// "2,000 of 131,000 ERROR log records" of every kind of thing that was looked at, once.
fn looked_at(report: &Report) -> String {
    let mut seen: Vec<(&str, &Checked)> = Vec::new();
    for checked in report.checked.iter().filter(|checked| checked.of > 0) {
        if seen.iter().all(|(unit, _)| *unit != checked.unit) {
            seen.push((&checked.unit, checked));
        }
    }
    let parts: Vec<String> = seen
        .iter()
        .map(|(unit, checked)| match checked.looked_at == checked.of {
            true => format!("{} {unit}", checked.of),
            false => format!("{} of {} {unit}", checked.looked_at, checked.of),
        })
        .collect();
    format!(
        "{} rules looked at {}",
        report.checked.len(),
        if parts.is_empty() {
            "nothing: there is nothing in this window".to_owned()
        } else {
            parts.join("; ")
        }
    )
}

/// Text in lines of at most so many characters, with something before each.
fn wrapped(text: &str, indent: &str, width: usize) -> String {
    let room = width.saturating_sub(indent.len()).max(20);
    let mut out = String::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let fits = line.chars().count() + 1 + word.chars().count() <= room;
        if !line.is_empty() && !fits {
            out += &format!("{indent}{line}\n");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    format!("{out}{indent}{line}\n")
}

/// For an issue or a pull request.
pub fn markdown(report: &Report) -> String {
    let mut out = format!("## Telemetry: {}\n\n", escaped(&headline(report)));
    if !report.findings.is_empty() {
        out += "| level | rule | service | count | of |\n|---|---|---|---:|---:|\n";
        for finding in &report.findings {
            out += &format!(
                "| {} | {} {} | {} | {} | {} {} |\n",
                finding.level.name(),
                finding.rule,
                finding.name,
                escaped(&finding.service),
                finding.count,
                finding.total,
                finding.unit
            );
        }
    }
    for finding in &report.findings {
        out += &format!("\n### {} {}: {}\n\n", finding.rule, finding.name, escaped(&finding.message));
        out += &format!("- **Cause:** {}\n- **Fix:** {}\n", escaped(&finding.cause), escaped(&finding.fix));
        for example in &finding.examples {
            out += &format!("- {}\n", escaped(&example_line(example)));
        }
        if !finding.query.is_empty() {
            out += &format!("\n```sh\n{}\n```\n", clean(&finding.query).replace('`', "'"));
        }
    }
    out += &format!("\n{}\n", escaped(&looked_at(report)));
    for reason in &report.partial {
        out += &format!("\n*Incomplete: {}*\n", escaped(reason));
    }
    out
}

/// Text that Markdown takes as it is.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in clean(text).chars() {
        if matches!(character, '|' | '<' | '*' | '_' | '`' | '[' | ']' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use throughline_store::TimeRange;

    use super::*;

    fn report() -> Report {
        Report {
            range: TimeRange { start: 0, end: 3_600 * SECOND_NS },
            service: None,
            worst: Some(Level::Warning),
            findings: vec![Finding {
                rule: "TL103".to_owned(),
                name: "error-log-status-unset".to_owned(),
                level: Level::Warning,
                service: "cart_a".to_owned(),
                count: 1,
                total: 2,
                unit: "ERROR log records".to_owned(),
                message: "1 of 2 ERROR records of cart_a lie | apart".to_owned(),
                cause: "nobody set it".to_owned(),
                fix: "span.set_status(...)".to_owned(),
                query: "throughline trace 1".to_owned(),
                examples: vec![Example {
                    time: Some(SECOND_NS),
                    text: "a\u{1b}[31mred\nline".to_owned(),
                    ..Example::default()
                }],
            }],
            checked: vec![Checked {
                rule: "TL103".to_owned(),
                name: "error-log-status-unset".to_owned(),
                what: "x".to_owned(),
                looked_at: 2,
                of: 20,
                unit: "ERROR log records".to_owned(),
                findings: 1,
                skipped: None,
            }],
            partial: vec!["something".to_owned()],
        }
    }

    #[test]
    fn a_report_reads_well_in_each_format() {
        let text = text(&report(), Style { colour: false, width: 80 });
        for part in [
            "all services, 1970-01-01T00:00:00Z to 1970-01-01T01:00:00Z: 0 errors, 1 warning, 0 notes\n",
            "\nwarning TL103 error-log-status-unset\n   1 of 2 ERROR records of cart_a lie | apart\n   cause: nobody set it\n",
            "   00:00:01.000  a [31mred line\n   $ throughline trace 1\n",
            "1 rules looked at 2 of 20 ERROR log records\n",
            "incomplete: something\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        let markdown = markdown(&report());
        assert!(
            markdown
                .contains("| warning | TL103 error-log-status-unset | cart\\_a | 1 | 2 ERROR log records |"),
            "{markdown}"
        );
        assert!(markdown.contains("lie \\| apart"), "{markdown}");
        let sarif = crate::render::sarif::log(&report());
        assert_eq!(sarif["version"], "2.1.0");
        let result = &sarif["runs"][0]["results"][0];
        assert_eq!(
            (&result["ruleId"], &result["ruleIndex"], &result["level"]),
            (&"TL103".into(), &0.into(), &"warning".into())
        );
    }

    #[test]
    fn long_texts_are_wrapped() {
        let text = wrapped("one two three four five six seven", "> ", 22);
        assert_eq!(text, "> one two three four\n> five six seven\n");
    }
}
