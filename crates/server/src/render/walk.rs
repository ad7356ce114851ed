//! The walk as numbered steps, each with the command that shows it again.

use throughline_correlate::contrast::TRACES_COMPARED;
use throughline_correlate::spike::{Spike, Step as CurveStep};
use throughline_correlate::trace_view::TraceView;
use throughline_correlate::units::{duration, rfc3339, three_digits, time_of_day};
use throughline_correlate::walk::{Relation, Step, Walk};

use super::style::{Style, clean, cut};
use super::waterfall::plural;
use super::{log_lines, waterfall};

/// Differences and facts under the cause.
const FACTS_MAX: usize = 5;

/// The whole walk. The slowest trace is drawn where its view is given.
pub fn render(walk: &Walk, view: Option<&TraceView>, style: Style) -> String {
    let mut out = String::new();
    let quantile = format!("p{}", three_digits(walk.quantile * 100.0));
    out += &step(1, "Spike", &walk.spike, style, |spike| spike_lines(spike, &quantile));
    out += &step(2, "Exemplar", &walk.exemplar, style, |found| {
        let exemplar = &found.exemplar;
        let id = exemplar.trace_id.map_or_else(String::new, |id| id.to_string());
        let span = exemplar.span_id.map_or_else(String::new, |id| format!(", span {id}"));
        vec![format!(
            "{} ms at {}, trace {id}{span}",
            three_digits(found.value_ms),
            time_of_day(exemplar.time)
        )]
    });
    out += &step(3, "Slowest trace", &walk.trace, style, |found| {
        let summary = &found.summary;
        let own = if found.is_exemplar { ", the exemplar's own" } else { "" };
        vec![format!(
            "{} {} {}, {} among {}{own}",
            summary.trace_id,
            clean(&summary.root_service),
            clean(&summary.root_name),
            duration(summary.duration_ns),
            plural(found.candidates, "slow trace")
        )]
    });
    if let Some(view) = view {
        out += &indent(&waterfall::render(view, Style { width: style.width.saturating_sub(3), ..style }));
    }
    out += &step(4, "Culprit", &walk.culprit, style, |culprit| {
        vec![format!(
            "{} in {}, span {}: {} self time, {:.0} % of the trace on the critical path",
            clean(&culprit.name),
            clean(&culprit.service),
            culprit.span_id,
            duration(culprit.self_time_ns),
            culprit.share * 100.0
        )]
    });
    out += &step(5, "Log lines", &walk.logs, style, |found| {
        found
            .lines
            .iter()
            .map(|line| {
                let relation = match line.relation {
                    Relation::Span => "span ",
                    Relation::Below => "below",
                    Relation::Trace => "trace",
                };
                format!("{} {}", style.dim(relation), log_lines::line(&line.log, style))
            })
            .collect()
    });
    out += &step(6, "Likely cause", &walk.cause, style, |cause| cause_lines(cause, style));
    out + &tail(walk, &quantile, style)
}

fn step<T>(
    number: u32,
    title: &str,
    step: &Step<T>,
    style: Style,
    lines: impl FnOnce(&T) -> Vec<String>,
) -> String {
    let state = match (&step.link, step.resolved) {
        (Some(link), true) => style.green(&format!("[{}]", link.name())),
        (Some(link), false) => style.red(&format!("[{}]", link.name())),
        (None, true) => String::new(),
        (None, false) => style.red("[unresolved]"),
    };
    let mut out =
        format!("{} {}", style.bold(&format!("{number}. {title}")), state).trim_end().to_owned() + "\n";
    for line in step.found.as_ref().map(lines).unwrap_or_default() {
        out += &format!("   {line}\n");
    }
    if let Some(reason) = &step.reason {
        out += &format!("   {}\n", if step.resolved { style.dim(reason) } else { style.yellow(reason) });
    }
    out + &format!("   {}\n", style.cyan(&format!("$ {}", step.command)))
}

fn spike_lines(spike: &Spike, quantile: &str) -> Vec<String> {
    let curve = &spike.curve;
    let until = if spike.ongoing {
        ", still going on".to_owned()
    } else {
        format!(" until {}", time_of_day(spike.end))
    };
    vec![
        format!(
            "{quantile} of {} of {} went from {} ms to {} ms ({} times) at {}{until}",
            clean(&curve.metric),
            clean(&curve.service),
            three_digits(spike.before_ms),
            three_digits(spike.after_ms),
            three_digits(spike.factor),
            rfc3339(spike.start)
        ),
        format!("{}  one column is {}", sparkline(&curve.steps), duration(curve.step_ns)),
    ]
}

/// Eight heights, scaled to the highest step.
fn sparkline(steps: &[CurveStep]) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const COLUMNS_MAX: usize = 60;
    let highest = steps.iter().map(|step| step.value_ms).fold(f64::MIN_POSITIVE, f64::max);
    let shown = steps.iter().skip(steps.len().saturating_sub(COLUMNS_MAX));
    shown
        .map(|step| {
            let height = (step.value_ms / highest * 7.0).round().clamp(0.0, 7.0) as usize;
            HEIGHTS.get(height).copied().unwrap_or('█')
        })
        .collect()
}

fn cause_lines(cause: &throughline_correlate::cause::Cause, style: Style) -> Vec<String> {
    let mut lines = vec![style.bold(&clean(&cause.sentence))];
    for difference in cause.differences.iter().take(FACTS_MAX) {
        lines.push(format!("- {}", clean(&throughline_correlate::cause::difference_text(difference))));
    }
    for fact in cause.evidence.iter().take(FACTS_MAX) {
        lines.push(style.dim(&format!("- {}", cut(&clean(fact), style.width.saturating_sub(6)))));
    }
    let compared = format!(
        "compared {} slow with {} quiet traces of the operation (at most {TRACES_COMPARED} each)",
        cause.slow_traces, cause.quiet_traces
    );
    lines.push(style.dim(&compared));
    lines
}

fn tail(walk: &Walk, quantile: &str, style: Style) -> String {
    let mut out = String::new();
    if !walk.alternatives.is_empty() {
        out += "Also rose:\n";
    }
    for other in &walk.alternatives {
        out += &format!(
            "   {quantile} of {} of {}: {} ms to {} ms\n",
            clean(&other.metric),
            clean(&other.service),
            three_digits(other.before_ms),
            three_digits(other.after_ms)
        );
    }
    for reason in &walk.partial {
        out += &style.yellow(&format!("incomplete: {reason}\n"));
    }
    out
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("   {line}\n")).collect()
}
