//! The books of a service for the terminal.

use throughline_correlate::reconcile::{Counts, Difference, Reconciliation, Row};
use throughline_correlate::units::rfc3339;

use super::Style;
use super::table::Table;

/// The minutes as a table, then the differences with their parts.
pub fn render(books: &Reconciliation, style: Style) -> String {
    if books.minutes.is_empty() {
        return format!("nothing of {} lies within the window\n{}", books.service, incomplete(books, style));
    }
    let mut table = Table::new(&[
        "minute",
        ">metric",
        ">errors",
        ">received",
        ">errors",
        ">spans",
        ">errors",
        ">adjusted",
        ">traces in logs",
        ">with ERROR",
        ">unsampled",
        ">ERROR alone",
    ]);
    for row in &books.minutes {
        table.row(cells(rfc3339(row.start), row));
    }
    table.row(cells("all".to_owned(), &books.total));
    let mut out = table.render(style);
    if !books.metrics.is_empty() {
        out += &style.dim(&format!("metrics: {}\n", books.metrics.join(", ")));
    }
    for difference in &books.differences {
        out += &difference_text(difference, style);
    }
    out += &match books.balanced {
        true => style.green("\nthe books balance: every difference is explained\n"),
        false => style.yellow("\nthe books do not balance: a difference is unexplained\n"),
    };
    out + &incomplete(books, style)
}

fn incomplete(books: &Reconciliation, style: Style) -> String {
    books.partial.iter().map(|reason| style.yellow(&format!("incomplete: {reason}\n"))).collect()
}

fn cells(name: String, row: &Row) -> [String; 12] {
    let both = |counts: Option<Counts>| match counts {
        Some(counts) => (figure(counts.requests), figure(counts.errors)),
        None => ("-".to_owned(), "-".to_owned()),
    };
    let (metric, metric_errors) = both(row.metric);
    let (received, received_errors) = both(row.received);
    [
        name,
        metric,
        metric_errors,
        received,
        received_errors,
        figure(row.spans.requests),
        figure(row.spans.errors),
        figure(row.adjusted.requests),
        row.logs.traces.to_string(),
        row.logs.error_traces.to_string(),
        row.logs.unsampled_traces.to_string(),
        row.logs.errors_without_trace.to_string(),
    ]
}

/// A whole number, or one digit where a count was spread over minutes.
fn figure(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0;
    if rounded.fract().abs() < 0.05 { format!("{rounded:.0}") } else { format!("{rounded:.1}") }
}

fn difference_text(difference: &Difference, style: Style) -> String {
    let (left, right) = (&difference.left, &difference.right);
    let head =
        format!("{}: {} by {}, {} by {}", difference.of, figure(left.1), left.0, figure(right.1), right.0);
    let mut out = format!("\n{}\n", style.bold(&head));
    for part in &difference.parts {
        out += &format!("   {:>8}  {}: {}\n", signed(part.amount), part.cause, part.why);
    }
    if difference.unexplained.abs() > 0.0 {
        out += &style.yellow(&format!("   {:>8}  unexplained\n", signed(difference.unexplained)));
    }
    out
}

fn signed(value: f64) -> String {
    let sign = if value > 0.0 { "+" } else { "" };
    format!("{sign}{}", figure(value))
}
