//! Log lines: time, severity, service, body, attributes.

use throughline_correlate::contrast::{body_text, text_of};
use throughline_correlate::units::time_of_day;
use throughline_model::Level;
use throughline_model::record::LogRecord;

use super::style::{Style, clean, cut, fit};

/// A longer body is cut; `--json` has all of it.
const BODY_MAX: usize = 400;
/// How many attributes follow the body.
const ATTRIBUTES_MAX: usize = 8;

/// One record as one line.
pub fn line(log: &LogRecord, style: Style) -> String {
    let name = severity_name(log);
    let severity = fit(&name, 5);
    let severity = match log.level {
        Level::Error | Level::Critical | Level::Fatal => style.red(&severity),
        Level::Warn => style.yellow(&severity),
        _ => severity,
    };
    let body = cut(&clean(&body_text(log)), BODY_MAX);
    let attributes: Vec<String> = log
        .attributes
        .iter()
        .take(ATTRIBUTES_MAX)
        .map(|(key, value)| format!("{}={}", clean(key), cut(&clean(&text_of(value)), 60)))
        .collect();
    let head =
        format!("{} {severity} {}", style.dim(&time_of_day(log.time)), style.cyan(&clean(&log.service)));
    if attributes.is_empty() {
        return format!("{head}  {body}");
    }
    format!("{head}  {body}  {}", style.dim(&attributes.join(" ")))
}

fn severity_name(log: &LogRecord) -> String {
    if !log.severity_text.is_empty() {
        return clean(&log.severity_text);
    }
    match log.level {
        Level::Unknown => "-".to_owned(),
        level => level.name().to_uppercase(),
    }
}
