//! Whether a span failed, whatever its sender set: many libraries record an exception or log an error and leave the status unset.
//!
//! A span is *effectively* in error if its status is error, or if it has exception events or log records of level ERROR or
//! FATAL of its own. A status that is explicitly `ok` settles it: whoever set it knew of them.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use throughline_model::Level;
use throughline_model::record::{LogRecord, Span};

use super::SpanView;
use crate::contrast::body_text;

/// OTLP's code of a status that was set to `ok`.
const OK: u8 = 1;
/// OTLP's severity number from which a record is an error.
const SEVERITY_ERROR: u8 = 17;
/// A message is cut to so many bytes: it is a headline, the whole text stands with what it came from.
const MESSAGE_BYTES_MAX: usize = 500;

/// Why a span counts as failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectiveError {
    /// Whether its status is error.
    pub status: bool,
    /// How many exceptions it recorded.
    pub exceptions: usize,
    /// How many of its log records are of level ERROR or above.
    pub error_logs: usize,
    /// What went wrong: the status' message, else the first exception's, else the first such log line.
    pub message: String,
}

impl EffectiveError {
    /// Looks at a span with its log records.
    pub fn of(span: &Span, logs: &[LogRecord]) -> Option<EffectiveError> {
        if span.status_code == OK {
            return None;
        }
        let mut exceptions = span.events.iter().filter_map(exception);
        let mut errors = logs.iter().filter(|log| is_error(log));
        let (first_exception, first_log) = (exceptions.next(), errors.next());
        if !span.is_error() && first_exception.is_none() && first_log.is_none() {
            return None;
        }
        let said = Some(span.status_message.clone()).filter(|message| !message.is_empty());
        let message = said.or_else(|| first_exception.clone()).or_else(|| first_log.map(body_text));
        let mut message = message.unwrap_or_default();
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        Some(EffectiveError {
            status: span.is_error(),
            exceptions: usize::from(first_exception.is_some()) + exceptions.count(),
            error_logs: usize::from(first_log.is_some()) + errors.count(),
            message,
        })
    }
}

/// What an event says of an exception, by OpenTelemetry's conventions; nothing where it is none.
fn exception(event: &Json) -> Option<String> {
    let attribute = |key: &str| event.get("attributes")?.get(key)?.as_str();
    let (kind, message) = (attribute("exception.type"), attribute("exception.message"));
    let is_named = event.get("name").and_then(Json::as_str) == Some("exception");
    match (kind, message) {
        (None, None) => is_named.then(String::new),
        (Some(kind), Some(message)) => Some(format!("{kind}: {message}")),
        (one, other) => Some(one.or(other).unwrap_or_default().to_owned()),
    }
}

fn is_error(log: &LogRecord) -> bool {
    log.severity_number >= SEVERITY_ERROR || matches!(log.level, Level::Error | Level::Fatal)
}

/// The position of the span that the error is charged to, of spans in tree order: of those that are effectively in error and lie
/// below, or are, a span whose status is error, the deepest; where no status is error, the deepest of all.
pub(super) fn culprit(spans: &[SpanView]) -> Option<usize> {
    let any_status = spans.iter().any(|at| at.span.is_error());
    // The depth of the topmost span in error around the span at hand.
    let mut around: Option<u32> = None;
    let mut best: Option<usize> = None;
    for (index, at) in spans.iter().enumerate() {
        if around.is_some_and(|depth| at.depth <= depth) {
            around = None;
        }
        if at.span.is_error() {
            around = around.or(Some(at.depth));
        }
        let counts = at.effective_error.is_some() && (around.is_some() || !any_status);
        let key = |index: usize| spans.get(index).map(|at| (at.depth, std::cmp::Reverse(at.span.start_time)));
        if counts && best.is_none_or(|best| key(index) > key(best)) {
            best = Some(index);
        }
    }
    best
}
