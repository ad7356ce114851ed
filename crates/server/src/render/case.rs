//! A case in the terminal: the suspects, each with its evidence and the commands that show it.

use throughline_correlate::investigate::{Case, Evidence, Suspect, report};
use throughline_correlate::units::three_digits;

use super::style::{Style, clean};
use super::waterfall::plural;

/// Evidence that is drawn for each suspect.
const EVIDENCE_MAX: usize = 5;

/// The whole case.
pub fn render(case: &Case, style: Style) -> String {
    let mut out = format!("{}    {}\n", style.bold("focus"), clean(&report::focus(&case.focus)));
    out += &format!("{}   {}\n", style.bold("window"), report::window(case.window));
    let chosen =
        if case.baseline_chosen { style.dim(" (chosen: the time before the window)") } else { String::new() };
    out += &format!("{} {}{chosen}\n", style.bold("baseline"), report::window(case.baseline));
    if let Some(service) = &case.service {
        out += &format!("{} traces that come by {}\n", style.bold("compared"), clean(service));
    }
    let read = &case.read;
    out += &style.dim(&format!(
        "read     {}, {}, {} of the window; {}, {}, {} of the baseline; {} series of utilisations\n",
        plural(read.traces, "trace"),
        plural(read.spans, "span"),
        plural(read.lines, "line"),
        plural(read.baseline_traces, "trace"),
        plural(read.baseline_spans, "span"),
        plural(read.baseline_lines, "line"),
        read.series
    ));
    if case.suspects.is_empty() {
        out += "\nno suspect: nothing that was compared differs from the baseline by more than it does by itself\n";
    }
    for suspect in &case.suspects {
        out += &render_suspect(suspect, style);
    }
    out += &format!("\n{}\n", style.bold("Not checked"));
    for unchecked in &case.unchecked {
        out += &style.dim(&format!("   {}: {}\n", unchecked.step, clean(&unchecked.reason)));
    }
    for partial in &case.partial {
        out += &style.yellow(&format!("incomplete: {}\n", clean(partial)));
    }
    out
}

fn render_suspect(suspect: &Suspect, style: Style) -> String {
    let head = format!("{}. {}", suspect.rank, clean(&suspect.service));
    let score = format!("{:.2}", suspect.score);
    let score = if suspect.score >= 0.5 { style.red(&score) } else { style.yellow(&score) };
    let mut out = format!("\n{}  {score}  {}\n", style.bold(&head), suspect.cause.name());
    let place = [("instance", &suspect.instance), ("operation", &suspect.operation)];
    for (name, value) in place {
        if let Some(value) = value {
            out += &format!("   {name} {}\n", clean(value));
        }
    }
    for evidence in suspect.evidence.iter().take(EVIDENCE_MAX) {
        out += &render_evidence(evidence, style);
    }
    let more = suspect.evidence.len().saturating_sub(EVIDENCE_MAX);
    if more > 0 {
        out += &style.dim(&format!("   and {more} more; --json has all\n"));
    }
    out
}

fn render_evidence(evidence: &Evidence, style: Style) -> String {
    let mut out = format!("   {:.2} {}\n", evidence.score, clean(&evidence.sentence));
    if let Some(line) = &evidence.line {
        out += &format!("        {}\n", style.yellow(&clean(line.text.lines().next().unwrap_or_default())));
    }
    for trace in evidence.traces.iter().filter(|trace| trace.baseline) {
        out += &style.dim(&format!(
            "        compared with trace {}: {} ms of {} ms\n",
            trace.trace,
            three_digits(trace.own_ms),
            three_digits(trace.trace_ms)
        ));
    }
    out + &format!("        {}\n", style.cyan(&format!("$ {}", evidence.command)))
}
