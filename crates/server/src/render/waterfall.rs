//! A trace as a waterfall: the tree on the left, bars on one time scale, durations and self times.
//!
//! Marks: `*` on the critical path, `!` status error, `?` failed by what it recorded or logged though its status does not say so,
//! `◄` the span that the latency is charged to.

use throughline_correlate::missing;
use throughline_correlate::trace_view::{SpanView, TraceView};
use throughline_correlate::units::{duration, rfc3339};
use throughline_model::SpanId;

use super::log_lines;
use super::style::{Style, clean, cut, fit};

/// More rows than this are not read; `--json` has them all.
const ROWS_MAX: usize = 200;
/// Deeper levels are drawn at this one.
const DEPTH_MAX: usize = 16;
/// Columns of the durations and marks beside tree and bars.
const FIXED_COLUMNS: usize = 28;
/// How many spans of other traces that link to the trace are named.
const REFERRERS_MAX: usize = 5;
/// How many ids that several spans have are named.
const SHARED_IDS_MAX: usize = 5;
/// How many log lines follow the waterfall.
pub const LOGS_MAX: usize = 20;

/// The head line, the waterfall and what is missing.
pub fn render(view: &TraceView, style: Style) -> String {
    let mut out = head(view, style);
    if !view.spans.is_empty() {
        out += &rows(view, style);
    }
    for parent in &view.missing_parents {
        out += &style.yellow(&format!("parent span {parent} is not here: not received, or not sampled\n"));
    }
    out += &shared_ids(view, style);
    for skew in &view.clock_skews {
        out += &style.yellow(&format!(
            "the clock of {} is behind that of {} by at least {}: {} too early\n",
            clean(&skew.service),
            clean(&skew.caller),
            duration(skew.at_least_ns),
            plural(skew.span_count, "span")
        ));
    }
    for by in view.referred_by.iter().take(REFERRERS_MAX) {
        let what = format!("{} {}", clean(&by.service), clean(&by.name));
        out += &format!("linked from {} span {}: {}\n", by.trace_id, by.span_id, cut(&what, style.width));
    }
    if view.referred_by.len() > REFERRERS_MAX {
        let more = view.referred_by.len() - REFERRERS_MAX;
        out += &style.dim(&format!("… {more} more spans link to it; --json has them\n"));
    }
    if let Some(dropped) = &view.dropped_before {
        out += &style.yellow(&format!("{}\n", clean(&missing::dropped_before(dropped))));
    }
    for reason in &view.partial {
        out += &style.yellow(&format!("incomplete: {reason}\n"));
    }
    out
}

/// The ids that several spans have, the first of them to be drawn first.
fn shared_ids(view: &TraceView, style: Style) -> String {
    let mut counts: Vec<(SpanId, usize)> = Vec::new();
    for at in view.spans.iter().filter(|at| at.shares_id) {
        let is_full = counts.len() >= SHARED_IDS_MAX;
        match counts.iter_mut().find(|(id, _)| *id == at.span.span_id) {
            Some((_, count)) => *count += 1,
            None if is_full => {}
            None => counts.push((at.span.span_id, 1)),
        }
    }
    let line = |(id, count): &(SpanId, usize)| {
        style.yellow(&format!(
            "{count} spans have the id {id}: what names it is drawn at the first to start\n"
        ))
    };
    counts.iter().map(line).collect()
}

fn head(view: &TraceView, style: Style) -> String {
    let root = match view.root_name.as_str() {
        "" if view.spans.is_empty() => "no spans".to_owned(),
        "" => "root span missing".to_owned(),
        name => format!("{} {}", clean(&view.root_service), clean(name)),
    };
    let mut facts = vec![duration(view.duration_ns), plural(view.spans.len(), "span")];
    facts.push(plural(view.services.len(), "service"));
    if view.error_count > 0 {
        facts.push(style.red(&plural(view.error_count, "error")));
    }
    let unsaid = view.effective_error_count.saturating_sub(view.error_count);
    if unsaid > 0 {
        facts.push(style.red(&format!("{} without a status", plural(unsaid, "failure"))));
    }
    facts.push(plural(view.log_count, "log line"));
    facts.push(plural(view.exemplars.len(), "exemplar"));
    if !view.referred_by.is_empty() {
        facts.push(format!("linked from {}", plural(view.referred_by.len(), "span")));
    }
    let id = view.trace_id.to_string();
    let started = rfc3339(view.start_time);
    format!("trace {}  {}\n{}  started {started}\n", style.cyan(&id), style.bold(&root), facts.join(" · "))
}

/// `1 span`, `2 spans`.
pub fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn rows(view: &TraceView, style: Style) -> String {
    let guides = guides(&view.spans);
    let shown = view.spans.len().min(ROWS_MAX);
    let widest = view
        .spans
        .iter()
        .zip(&guides)
        .take(shown)
        .map(|(at, guide)| label_width(at, guide))
        .max()
        .unwrap_or(0);
    let tree_width = widest.min(style.width / 2);
    let bar_width = style.width.saturating_sub(tree_width + FIXED_COLUMNS).max(16);
    let scale = format!("0{:>width$}", duration(view.duration_ns), width = bar_width - 1);
    let mut out =
        style.dim(&format!("   {}  {scale}  {:>9}  {:>9}\n", " ".repeat(tree_width), "duration", "self"));
    let culprit = view.latency_culprit.as_ref().map(|culprit| culprit.index);
    for (index, (at, guide)) in view.spans.iter().zip(&guides).enumerate().take(shown) {
        out += &row(at, guide, (tree_width, bar_width), view.duration_ns, culprit == Some(index), style);
        out.push('\n');
    }
    if shown < view.spans.len() {
        out += &style.dim(&format!("   … {} more spans; --json has them all\n", view.spans.len() - shown));
    }
    out
}

fn label_width(at: &SpanView, guide: &str) -> usize {
    guide.chars().count() + at.span.name.chars().count() + 1 + at.span.service.chars().count()
}

fn row(
    at: &SpanView,
    guide: &str,
    widths: (usize, usize),
    total_ns: i64,
    culprit: bool,
    style: Style,
) -> String {
    let (tree_width, bar_width) = widths;
    let critical = if at.on_critical_path { style.yellow("*") } else { " ".to_owned() };
    let failed = at.effective_error.is_some();
    let error = match (at.span.is_error(), failed) {
        (true, _) => style.red("!"),
        (false, true) => style.red("?"),
        (false, false) => " ".to_owned(),
    };
    let (name, service) = (clean(&at.span.name), clean(&at.span.service));
    let room = tree_width.saturating_sub(guide.chars().count());
    let name_width = name.chars().count().min(room);
    let service_width = room.saturating_sub(name_width);
    let label = format!(
        "{}{}{}",
        style.dim(&cut(guide, tree_width)),
        style.bold(&cut(&name, name_width)),
        style.dim(&fit(&format!(" {service}"), service_width))
    );
    let bar = bar(at, bar_width, total_ns);
    let bar = match (failed, at.on_critical_path) {
        (true, _) => style.red(&bar),
        (false, true) => style.yellow(&bar),
        (false, false) => bar,
    };
    let times = format!("{:>9}  {:>9}", duration(at.span.duration_ns), duration(at.self_time_ns));
    let mark = if culprit { style.red(&style.bold(" ◄ culprit")) } else { String::new() };
    format!("{critical}{error} {label}  {bar}  {times}{mark}")
}

fn bar(at: &SpanView, width: usize, total_ns: i64) -> String {
    let total = total_ns.max(1) as f64;
    let column = |ns: i64| ((ns.max(0) as f64 / total) * width as f64).round() as usize;
    let from = column(at.offset_ns).min(width.saturating_sub(1));
    let to = column(at.offset_ns.saturating_add(at.span.duration_ns.max(0))).clamp(from + 1, width);
    let symbol = if at.on_critical_path { "━" } else { "─" };
    format!("{}{}{}", " ".repeat(from), symbol.repeat(to - from), " ".repeat(width - to))
}

/// What stands before each name: `│  ├─ `.
fn guides(spans: &[SpanView]) -> Vec<String> {
    // From the end: whether another span of the same depth follows before a shallower one does.
    let mut follows: Vec<bool> = Vec::new();
    let mut has_next = vec![false; spans.len()];
    for (at, next) in spans.iter().zip(&mut has_next).rev() {
        let depth = (at.depth as usize).min(DEPTH_MAX);
        follows.resize(depth + 1, false);
        *next = follows.get(depth).copied().unwrap_or(false);
        if let Some(here) = follows.get_mut(depth) {
            *here = true;
        }
    }
    let mut open: Vec<bool> = Vec::new();
    let mut out = Vec::with_capacity(spans.len());
    for (at, next) in spans.iter().zip(has_next) {
        let depth = (at.depth as usize).min(DEPTH_MAX);
        open.truncate(depth);
        let mut guide: String = open.iter().skip(1).map(|more| if *more { "│  " } else { "   " }).collect();
        if depth > 0 {
            guide += if next { "├─ " } else { "└─ " };
        }
        open.resize(depth, false);
        open.push(next);
        out.push(guide);
    }
    out
}

/// One span with everything that it carries; each of them, where several have its id.
pub fn span_detail(view: &TraceView, id: SpanId, style: Style) -> Option<String> {
    let with_id = view.spans.iter().filter(|at| at.span.span_id == id);
    with_id.map(|at| detail(at, style)).reduce(|all, next| all + &next)
}

fn detail(at: &SpanView, style: Style) -> String {
    let mut out = format!(
        "span {}  {} {}\n  duration {}, self {}, on the critical path {}\n",
        style.cyan(&at.span.span_id.to_string()),
        style.bold(&clean(&at.span.name)),
        clean(&at.span.service),
        duration(at.span.duration_ns),
        duration(at.self_time_ns),
        duration(at.critical_time_ns)
    );
    if let Some(error) = &at.effective_error {
        let mut by = if error.status { vec!["its status".to_owned()] } else { Vec::new() };
        by.extend((error.exceptions > 0).then(|| plural(error.exceptions, "exception")));
        by.extend((error.error_logs > 0).then(|| plural(error.error_logs, "error log line")));
        let text = format!("error: {} (by {})", cut(&clean(&error.message), style.width), by.join(", "));
        out += &format!("  {}\n", style.red(&text));
    }
    for (key, value) in &at.span.attributes {
        let value = throughline_correlate::contrast::text_of(value);
        out += &format!("  {} = {}\n", clean(key), cut(&clean(&value), style.width));
    }
    for event in &at.span.events {
        out += &format!("  event {}\n", cut(&clean(&event.to_string()), style.width));
    }
    for link in &at.link_states {
        let state = link.link.as_ref().map_or("not checked", |state| state.name());
        out += &format!("  link to trace {} ({state})\n", link.trace_id);
    }
    for log in &at.logs {
        out += &format!("  {}\n", log_lines::line(log, style));
    }
    out
}

/// The first log lines of the trace, by time, each with the span that it was written in.
pub fn logs(view: &TraceView, style: Style) -> String {
    let on_spans = view.spans.iter().flat_map(|at| at.logs.iter());
    let mut all: Vec<_> = on_spans.chain(&view.logs).collect();
    all.sort_by_key(|log| log.time);
    let mut out = String::new();
    for log in all.iter().take(LOGS_MAX) {
        out += &log_lines::line(log, style);
        out.push('\n');
    }
    if all.len() > LOGS_MAX {
        let rest = all.len() - LOGS_MAX;
        out += &style.dim(&format!("… {rest} more: throughline logs --trace {}\n", view.trace_id));
    }
    out
}
