//! What identifies a span to others: its ids and flags, and their text form, the W3C `traceparent` header.

use std::fmt;

/// The `sampled` bit of the trace flags.
const SAMPLED: u8 = 0x01;

/// Length of a `traceparent` of version 00: `00-` 32 `-` 16 `-` 2.
const TRACEPARENT_LENGTH: usize = 55;

/// A trace id: 16 bytes, written as 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

/// A span id: 8 bytes, written as 16 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub [u8; 8]);

/// The part of a span that travels: to child spans, log records, exemplars and other processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace that the span belongs to.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// The W3C trace flags; bit 0 is `sampled`.
    pub flags: u8,
    /// Whether it came from another process.
    pub remote: bool,
}

impl SpanContext {
    /// Reads a `traceparent` header. `None` for anything that the W3C recommendation calls invalid: the caller then
    /// starts a trace of its own.
    pub fn parse_traceparent(text: &str) -> Option<SpanContext> {
        let bytes = text.trim().as_bytes();
        let version = hex::<1>(bytes.get(..2)?)?[0];
        let fits = match version {
            0x00 => bytes.len() == TRACEPARENT_LENGTH,
            // The recommendation reserves 255 and lets later versions append fields.
            0xff => false,
            _ => bytes.len() == TRACEPARENT_LENGTH || bytes.get(TRACEPARENT_LENGTH) == Some(&b'-'),
        };
        let dashes = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));
        let context = SpanContext {
            trace_id: TraceId(hex(bytes.get(3..35)?)?),
            span_id: SpanId(hex(bytes.get(36..52)?)?),
            flags: hex::<1>(bytes.get(53..55)?)?[0],
            remote: true,
        };
        let ids_are_set = context.trace_id.0 != [0; 16] && context.span_id.0 != [0; 8];
        (fits && dashes && ids_are_set).then_some(context)
    }

    /// The `traceparent` header for a call made within this span.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id, self.span_id, self.flags)
    }

    /// Whether the trace is recorded. Spans of a trace that is not are not exported, and no exemplar leads to them.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The flags of a trace that starts here.
    pub(crate) const ROOT_FLAGS: u8 = SAMPLED;
}

impl fmt::Display for TraceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "TraceId({self})")
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SpanId({self})")
    }
}

/// `N` bytes from exactly `2 * N` lower-case hex digits: the recommendation forbids upper case.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn traceparent_survives_a_round_trip() {
        let context = SpanContext::parse_traceparent(GOOD).unwrap();
        assert!(context.is_sampled() && context.remote);
        assert_eq!(context.trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(context.span_id.to_string(), "b7ad6b7169203331");
        assert_eq!(context.traceparent(), GOOD);
    }

    #[test]
    fn later_versions_may_append_fields() {
        assert!(SpanContext::parse_traceparent(&GOOD.replacen("00-", "cc-", 1)).is_some());
        assert!(
            SpanContext::parse_traceparent(&format!("{}-more", GOOD.replacen("00-", "cc-", 1))).is_some()
        );
        assert!(SpanContext::parse_traceparent(&format!("{}more", GOOD.replacen("00-", "cc-", 1))).is_none());
    }

    #[test]
    fn what_the_recommendation_calls_invalid_is_refused() {
        let bad = [
            String::new(),
            "00".to_owned(),
            format!("{GOOD}-more"),
            GOOD.to_uppercase(),
            GOOD.replacen("00-", "ff-", 1),
            GOOD.replace('-', "_"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01".to_owned(),
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01".to_owned(),
            "00-0af7651916cd43dd8448eb211c80319ü-b7ad6b7169203331-01".to_owned(),
        ];
        for text in bad {
            assert_eq!(SpanContext::parse_traceparent(&text), None, "{text}");
        }
    }

    #[test]
    fn the_sampled_flag_is_kept() {
        let context = SpanContext::parse_traceparent(&format!("{}00", &GOOD[..53])).unwrap();
        assert!(!context.is_sampled());
    }
}
