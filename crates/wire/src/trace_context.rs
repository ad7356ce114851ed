//! Finds the trace context of a log record where OTLP's own fields have none.
//!
//! The places are tried in the order in which they can be trusted: attributes ([`from_attributes`]), a body that is
//! a JSON object ([`json`]), free text ([`text`]). Keys are compared without case and punctuation, so that
//! `trace_id`, `traceId`, `trace.id` and `TraceID` are one name. Most records have no context at all; for them the
//! cost is one search of the body for `race`.

mod json;
mod text;

use std::borrow::Cow;

use memchr::memmem;
use throughline_model::attribute::{self, Value};
use throughline_model::link::TraceSource;
use throughline_model::{SpanId, TraceId, id::TraceIdForm};

/// The longest text that is kept of a reference that cannot be read: longer than any form that is in use.
const ORIGINAL_BYTES: usize = 128;

/// A trace context that was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceContext<'a> {
    /// The canonical trace id; none where the text under a known key cannot be read.
    pub trace_id: Option<TraceId>,
    /// The span's id, where it was there and could be read.
    pub span_id: Option<SpanId>,
    /// W3C trace flags, where a `traceparent` or an X-Ray header gave them.
    pub flags: Option<u8>,
    /// Where it was found.
    pub source: TraceSource,
    /// The trace id as it was written; empty where that is the canonical form.
    pub original: Cow<'a, str>,
}

/// Finds trace context in bodies. Holds the prepared search, so make one and keep it.
#[derive(Debug)]
pub struct Finder {
    lower: memmem::Finder<'static>,
    upper: memmem::Finder<'static>,
}

impl Default for Finder {
    fn default() -> Finder {
        Finder { lower: memmem::Finder::new("race"), upper: memmem::Finder::new("RACE") }
    }
}

impl Finder {
    /// A finder.
    pub fn new() -> Finder {
        Finder::default()
    }

    /// Finds trace context in a body: its text, or its JSON.
    pub fn in_body<'a>(&self, body: &'a str) -> Option<TraceContext<'a>> {
        // Every name that is known contains "trace", capitalised or not; "otelTraceID" as well as "TRACE_ID".
        let first = self.next(body.as_bytes(), 0)?;
        if body.trim_start().starts_with('{')
            && let Some(found) = json::find(body)
        {
            return Some(found);
        }
        text::find(self, body, first)
    }

    /// The next place at or after `from` where "race" or "RACE" stands.
    fn next(&self, text: &[u8], from: usize) -> Option<usize> {
        let rest = text.get(from..)?;
        let lower = self.lower.find(rest);
        // What comes first is wanted, so upper case is only searched up to there.
        let upper = self.upper.find(rest.get(..lower.unwrap_or(rest.len()))?);
        upper.or(lower).map(|at| from + at)
    }
}

/// Finds trace context in an attribute list.
pub fn from_attributes(list: &[u8]) -> Option<TraceContext<'_>> {
    let mut gathered = Gathered::default();
    for (key, value) in attribute::iter(list) {
        let Some(role) = role_of(key.as_bytes()) else { continue };
        match value {
            Value::Str(text) => gathered.offer(role, Cow::Borrowed(text)),
            Value::Int(number) => gathered.offer(role, Cow::Owned((number as u64).to_string())),
            Value::Bytes(bytes) => gathered.offer(role, Cow::Owned(hex(bytes))),
            _ => {}
        }
    }
    gathered.finish(TraceSource::Attribute)
}

/// Whether a key may name trace context: a cheap test that lets through few others.
#[inline]
pub(crate) fn may_be_role(key: &[u8]) -> bool {
    // Every known key ends in "trace" or "span" with an "id" after it, or in "trace", or in "traceparent".
    let [.., a, b] = key else { return false };
    match [a | 0x20, b | 0x20] {
        [b'i', b'd'] => {
            let [name @ .., last] = key.get(..key.len() - 2).unwrap_or_default() else { return false };
            let name = if last.is_ascii_alphanumeric() {
                key.get(..key.len() - 2).unwrap_or_default()
            } else {
                name
            };
            ends_with(name, b"ace") || ends_with(name, b"pan")
        }
        [b'c', b'e'] => ends_with(key, b"trace"),
        [b'n', b't'] => ends_with(key, b"parent"),
        _ => false,
    }
}

fn ends_with(text: &[u8], lower: &[u8]) -> bool {
    text.len() >= lower.len()
        && text.get(text.len() - lower.len()..).is_some_and(|end| end.eq_ignore_ascii_case(lower))
}

/// What a key's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// A trace id in any form.
    Trace,
    /// A span id in any form.
    Span,
    /// A W3C `traceparent`.
    Traceparent,
    /// An `X-Amzn-Trace-Id` header.
    XRay,
}

/// The role of an attribute's or field's key.
fn role_of(key: &[u8]) -> Option<Role> {
    if !may_be_role(key) {
        return None;
    }
    let mut plain = [0u8; 32];
    let mut length = 0;
    for byte in key.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
        *plain.get_mut(length)? = byte.to_ascii_lowercase();
        length += 1;
    }
    match plain.get(..length)? {
        b"traceid"
        | b"ddtraceid"
        | b"oteltraceid"
        | b"xb3traceid"
        | b"b3traceid"
        | b"ottraceid"
        | b"apmtraceid"
        | b"logginggoogleapiscomtrace" => Some(Role::Trace),
        b"spanid"
        | b"ddspanid"
        | b"otelspanid"
        | b"xb3spanid"
        | b"b3spanid"
        | b"otspanid"
        | b"logginggoogleapiscomspanid" => Some(Role::Span),
        b"traceparent" | b"httprequestheadertraceparent" | b"w3ctraceparent" => Some(Role::Traceparent),
        b"xamzntraceid" | b"amzntraceid" | b"xraytraceid" | b"awsxraytraceid" => Some(Role::XRay),
        _ => None,
    }
}

/// What was found under known keys. The first of each role counts.
#[derive(Default)]
struct Gathered<'a> {
    trace: Option<Cow<'a, str>>,
    span: Option<Cow<'a, str>>,
    flags: Option<u8>,
}

impl<'a> Gathered<'a> {
    fn offer(&mut self, role: Role, value: Cow<'a, str>) {
        match role {
            Role::Trace => self.offer_trace(value),
            Role::Span => _ = self.span.get_or_insert(value),
            Role::Traceparent => {
                let mut parts = value.trim().split('-').skip(2);
                if let (Some(span), Some(flags)) = (parts.next(), parts.next()) {
                    self.span.get_or_insert(Cow::Owned(span.to_owned()));
                    self.flags = self.flags.or(u8::from_str_radix(flags, 16).ok());
                }
                self.offer_trace(value);
            }
            Role::XRay => {
                let mut root = None;
                for part in value.split(';') {
                    match part.trim().split_once('=') {
                        Some(("Root", id)) => root = Some(id.to_owned()),
                        Some(("Parent", id)) => _ = self.span.get_or_insert(Cow::Owned(id.to_owned())),
                        Some(("Sampled", sampled)) => self.flags = Some(u8::from(sampled == "1")),
                        _ => {}
                    }
                }
                self.offer_trace(root.map_or(value, Cow::Owned));
            }
        }
    }

    fn offer_trace(&mut self, value: Cow<'a, str>) {
        if self.trace.is_none() && !is_placeholder(&value) {
            self.trace = Some(value);
        }
    }

    fn finish(self, source: TraceSource) -> Option<TraceContext<'a>> {
        let text = self.trace?;
        if let Some(id) = lower_hex(text.as_bytes()) {
            let span_id = self.span.as_deref().and_then(parse_span);
            let trace_id = TraceId::from_bytes(id);
            return Some(TraceContext {
                trace_id,
                span_id,
                flags: self.flags,
                source,
                original: Cow::Borrowed(""),
            });
        }
        let span_id = self.span.as_deref().and_then(parse_span);
        // Google writes `projects/<project>/traces/<id>`.
        let bare = text.rsplit_once("traces/").map_or(&*text, |(_, id)| id);
        let parsed = TraceId::parse(bare);
        let original = match parsed {
            Some((_, TraceIdForm::Hex32)) => Cow::Borrowed(""),
            _ if text.len() > ORIGINAL_BYTES => Cow::Owned(shortened(&text).to_owned()),
            _ => text,
        };
        Some(TraceContext {
            trace_id: parsed.map(|(id, _)| id),
            span_id,
            flags: self.flags,
            source,
            original,
        })
    }
}

fn parse_span(text: &str) -> Option<SpanId> {
    match lower_hex::<8>(text.as_bytes()) {
        Some(bytes) => SpanId::from_slice(&bytes),
        None => SpanId::parse(text),
    }
}

/// Exactly `N` bytes in lower-case hex: the form of nearly all ids, read without the search for other forms.
fn lower_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    // By table and without a branch on the digits: they are random, and a branch would be mispredicted half the time.
    let digit = |byte: u8| HEX_DIGITS.get(usize::from(byte)).copied().unwrap_or(NO_DIGIT);
    let (mut bytes, mut seen) = ([0; N], 0);
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (digit(*high), digit(*low));
        seen |= high | low;
        *byte = high << 4 | low;
    }
    (seen & NO_DIGIT == 0).then_some(bytes)
}

/// Marks bytes that are no lower-case hex digit.
const NO_DIGIT: u8 = 0x80;

/// The values of lower-case hex digits.
const HEX_DIGITS: [u8; 256] = {
    let mut table = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        #[expect(
            clippy::indexing_slicing,
            reason = "constant evaluation, where an error would end the build"
        )]
        {
            table[b"0123456789abcdef"[value as usize] as usize] = value;
        }
        value += 1;
    }
    table
};

/// What loggers write where there is no trace.
fn is_placeholder(value: &str) -> bool {
    let value = value.trim();
    value.bytes().all(|b| matches!(b, b'0' | b'-' | b'?' | b'"'))
        || ["null", "nil", "none", "undefined", "n/a", "unknown"]
            .iter()
            .any(|no| value.eq_ignore_ascii_case(no))
}

/// The start of a text, within [`ORIGINAL_BYTES`].
fn shortened(text: &str) -> &str {
    text.get(..text.floor_char_boundary(ORIGINAL_BYTES)).unwrap_or_default()
}

/// The context that OTLP's own fields give; `None` where they are empty or all zeros.
pub(crate) fn from_fields(trace_id: &[u8], span_id: &[u8]) -> Option<TraceContext<'static>> {
    if trace_id.iter().all(|byte| *byte == 0) {
        return None;
    }
    let source = TraceSource::Field;
    // Some senders put the id's text into the field for its bytes. Text is longer than the bytes are.
    let as_text = |id_bytes, bytes: &'_ [u8]| -> Option<String> {
        let text = simdutf8::basic::from_utf8(bytes).ok()?;
        (bytes.len() > id_bytes && text.bytes().all(|b| b.is_ascii_graphic()))
            .then(|| shortened(text).to_owned())
    };
    let span_id = SpanId::from_slice(span_id).or_else(|| SpanId::parse(&as_text(8, span_id)?));
    if let Ok(id) = trace_id.try_into() {
        return Some(TraceContext {
            trace_id: TraceId::from_bytes(id),
            span_id,
            source,
            ..Default::default()
        });
    }
    let text = as_text(16, trace_id);
    let (trace_id, original) = match text {
        Some(text) => (TraceId::parse(&text).map(|(id, _)| id), text),
        None => {
            let head = trace_id.get(..ORIGINAL_BYTES / 2).unwrap_or(trace_id);
            (TraceId::from_slice(trace_id), hex(head))
        }
    };
    Some(TraceContext { trace_id, span_id, flags: None, source, original: Cow::Owned(original) })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        _ = write!(out, "{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests;
