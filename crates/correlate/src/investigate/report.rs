//! A case as text: a report in Markdown for an incident record, and a short form that fits everywhere.

use std::fmt::Write as _;

use throughline_store::TimeRange;

use super::{Case, Evidence, Focus, Suspect};
use crate::units::{duration, rfc3339, three_digits};

/// The short form is shorter than this, in bytes.
pub const SHORT_BYTES: usize = 2_000;
/// What a sentence of the short form is cut to.
const SHORT_SENTENCE_BYTES: usize = 260;
/// A longer command is left out of the short form: what is cut runs no more.
const SHORT_COMMAND_BYTES: usize = 240;
/// Suspects of the short form.
const SHORT_SUSPECTS: usize = 3;
/// What a log line of the report is cut to.
const LINE_BYTES: usize = 300;

/// The focus in words.
pub fn focus(focus: &Focus) -> String {
    let shifted = |shift: &Option<super::Shift>| match shift {
        Some(shift) => format!(
            ", which went from {} to {} at {} ({})",
            three_digits(shift.before),
            three_digits(shift.after),
            rfc3339(shift.since),
            shift.labels
        ),
        None => ", which did not rise".to_owned(),
    };
    match focus {
        Focus::Window => "a window".to_owned(),
        Focus::Alert { name, shift } => format!("the alert {name}{}", shifted(shift)),
        Focus::Query { expression, shift } => format!("{expression}{}", shifted(shift)),
        Focus::Trace { id } => format!("trace {id}"),
        Focus::Line { service, time, .. } => format!("a log line of {service} at {}", rfc3339(*time)),
    }
}

/// A window in words.
pub fn window(range: TimeRange) -> String {
    let length = range.end.saturating_sub(range.start);
    format!("{} to {} ({})", rfc3339(range.start), rfc3339(range.end), duration(length))
}

/// The case as Markdown.
pub fn markdown(case: &Case) -> String {
    let mut out = String::from("# Investigation\n\n");
    _ = writeln!(out, "- Focus: {}", inline(&focus(&case.focus)));
    _ = writeln!(out, "- Window: {}", window(case.window));
    let chosen = if case.baseline_chosen { ", chosen as the time before the window" } else { "" };
    _ = writeln!(out, "- Baseline: {}{chosen}", window(case.baseline));
    if let Some(service) = &case.service {
        _ = writeln!(out, "- Compared: traces that come by {}", inline(service));
    }
    let read = &case.read;
    _ = writeln!(
        out,
        "- Read: {} traces, {} spans and {} log lines of the window; {}, {} and {} of the baseline; {} series of utilisations\n",
        read.traces,
        read.spans,
        read.lines,
        read.baseline_traces,
        read.baseline_spans,
        read.baseline_lines,
        read.series
    );
    out += "## Suspects\n\n";
    if case.suspects.is_empty() {
        out += "None: nothing that was compared differs from the baseline by more than it does by itself.\n";
    } else {
        out += "| | service | instance | operation | cause | score |\n|---|---|---|---|---|---|\n";
    }
    for suspect in &case.suspects {
        _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {:.2} |",
            suspect.rank,
            cell(&suspect.service),
            cell(suspect.instance.as_deref().unwrap_or("")),
            cell(suspect.operation.as_deref().unwrap_or("")),
            suspect.cause.name(),
            suspect.score
        );
    }
    for suspect in &case.suspects {
        out += &suspect_section(suspect);
    }
    out += "\n## Not checked\n\n";
    for unchecked in &case.unchecked {
        _ = writeln!(out, "- {}: {}", unchecked.step, inline(&unchecked.reason));
    }
    for partial in &case.partial {
        _ = writeln!(out, "- incomplete: {}", inline(partial));
    }
    out
}

fn suspect_section(suspect: &Suspect) -> String {
    let mut out =
        format!("\n### {}. {}\n\n{}\n\n", suspect.rank, inline(&suspect.service), inline(&suspect.sentence));
    for evidence in &suspect.evidence {
        _ = writeln!(out, "- **{:.2}** {}", evidence.score, inline(&evidence.sentence));
        if let Some(line) = &evidence.line {
            _ = writeln!(
                out,
                "  - `{}`",
                cut(&line.text.replace('`', "'").replace(['\n', '\r'], " "), LINE_BYTES)
            );
        }
        for trace in &evidence.traces {
            let side = if trace.baseline { "baseline" } else { "window" };
            _ = writeln!(
                out,
                "  - {side}: trace {} span {}, {} ms of {} ms",
                trace.trace,
                trace.span,
                three_digits(trace.own_ms),
                three_digits(trace.trace_ms)
            );
        }
        _ = writeln!(out, "  - `{}`", evidence.command.replace('`', "'"));
    }
    out
}

/// The case in fewer than [`SHORT_BYTES`] bytes: the first suspects, the strongest evidence of each, and what was not checked.
/// What has no room is left out by whole lines, the last suspects first; what was not checked is always said.
pub fn short(case: &Case) -> String {
    let mut end = String::new();
    let steps: Vec<&str> = case.unchecked.iter().map(|unchecked| unchecked.step.as_str()).collect();
    if !steps.is_empty() {
        _ = writeln!(end, "not checked: {}", cut(&one_line(&steps.join(", ")), 200));
    }
    if !case.partial.is_empty() {
        _ = writeln!(end, "incomplete: {}", cut(&one_line(&case.partial.join("; ")), 120));
    }
    let mut out = format!("focus: {}\n", cut(&one_line(&focus(&case.focus)), 200));
    _ = writeln!(out, "window: {}\nbaseline: {}", window(case.window), window(case.baseline));
    if case.suspects.is_empty() {
        out += "no suspect: nothing differs from the baseline by more than it does by itself\n";
    }
    let room = (SHORT_BYTES - 1).saturating_sub(end.len());
    for line in case.suspects.iter().take(SHORT_SUSPECTS).flat_map(short_lines) {
        if out.len() + line.len() < room {
            out += &line;
            out.push('\n');
        }
    }
    out + &end
}

fn short_lines(suspect: &Suspect) -> Vec<String> {
    let instance = suspect.instance.as_deref().map_or_else(String::new, |name| format!(" ({name})"));
    let operation = suspect.operation.as_deref().map_or_else(String::new, |name| format!(" at {name}"));
    // The cause and the score are said however long the names are.
    let who = format!("{}{instance}{operation}", suspect.service);
    let who = cut(&one_line(&who), SHORT_SENTENCE_BYTES - 60);
    let mut lines = vec![format!("{}. {:.2} {who}: {}", suspect.rank, suspect.score, suspect.cause.name())];
    let shown = if suspect.rank == 1 { 2 } else { 1 };
    for evidence in suspect.evidence.iter().take(shown) {
        lines.push(format!("   {}", cut(&one_line(&evidence.sentence), SHORT_SENTENCE_BYTES)));
    }
    if let Some(Evidence { command, .. }) = suspect.evidence.first()
        && command.len() <= SHORT_COMMAND_BYTES
    {
        lines.push(format!("   $ {}", one_line(command)));
    }
    lines
}

/// The start of a text, in so many bytes with a sign that there was more.
fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes.saturating_sub("…".len()));
    format!("{}…", text.get(..end).unwrap_or_default())
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Text that Markdown does not take for its own signs.
fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in one_line(text).chars() {
        if "\\`*_[]<>|#".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn cell(text: &str) -> String {
    inline(text)
}
