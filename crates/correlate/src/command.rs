//! Commands of the terminal as text: what an answer names so that anybody can see the same again.

use throughline_store::TimeRange;

use crate::units::rfc3339;

const SECOND_NS: i64 = 1_000_000_000;

/// The window in whole seconds, none narrower than it is.
pub fn range_options(range: TimeRange) -> String {
    let start = range.start.div_euclid(SECOND_NS).saturating_mul(SECOND_NS);
    let end = range.end.saturating_add(SECOND_NS - 1).div_euclid(SECOND_NS).saturating_mul(SECOND_NS);
    format!("--start {} --end {}", rfc3339(start), rfc3339(end))
}

/// A word as a shell takes it.
pub fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'/' | b':');
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}
