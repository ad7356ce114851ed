//! Finds the trace context of a log record where OTLP's own fields have none.
//!
//! The places are tried in the order in which they can be trusted: attributes ([`from_attributes`]), a body that is
//! a JSON object ([`json`]), free text ([`text`]). Keys are compared without case and punctuation, so that
//! `trace_id`, `traceId`, `trace.id` and `TraceID` are one name ([`roles`]). Most records have no context at all; for them
//! the cost is one search of the body for `race`, and a look at its brackets.

mod json;
mod roles;
mod text;

use std::borrow::Cow;

use memchr::memmem;
use throughline_model::attribute::{self, Value};
use throughline_model::link::TraceSource;
use throughline_model::{SpanId, TraceId, id::TraceIdForm};

pub(crate) use roles::may_be_role;
use roles::{Role, role_of};

/// The longest text that is kept of a reference that cannot be read: longer than any form that is in use.
const ORIGINAL_BYTES: usize = 128;

/// A trace context that was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceContext<'a> {
    /// The canonical trace id; none where the text under a known key cannot be read.
    pub trace_id: Option<TraceId>,
    /// The span's id, where it was there and could be read.
    pub span_id: Option<SpanId>,
    /// W3C trace flags, where a header or a field gave them.
    pub flags: Option<u8>,
    /// Whether the trace is sampled, where something said so.
    pub sampled: Option<bool>,
    /// Where it was found.
    pub source: TraceSource,
    /// The trace id as it was written; empty where that is the canonical form.
    pub original: Cow<'a, str>,
}

impl TraceContext<'_> {
    /// Whether the trace is known not to be sampled. `flags` are those of OTLP's own field. Of a record that an SDK of OpenTelemetry
    /// made they are the flags of its span, where the span's context stands in OTLP's fields as well; of others zero is no answer:
    /// it is what senders leave there that know nothing of flags.
    pub fn is_unsampled(&self, flags: u32, is_of_sdk: bool) -> bool {
        let is_said = flags != 0 || is_of_sdk && self.source == TraceSource::Field;
        let said = if is_said { Some(flags & 1 != 0) } else { self.sampled };
        self.source != TraceSource::None && said == Some(false)
    }
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
        // Nearly every name that is known contains "trace", capitalised or not; "otelTraceID" as well as "TRACE_ID".
        let first = self.next(body.as_bytes(), 0);
        let trimmed = body.trim_start();
        if trimmed.starts_with('{')
            && (first.is_some() || is_compact_event(trimmed))
            && let Some(found) = json::find(body)
        {
            return Some(found);
        }
        first.and_then(|first| text::find(self, body, first)).or_else(|| text::find_unnamed(body))
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

/// Whether JSON is an event in Serilog's compact format, whose trace is called `@tr`.
fn is_compact_event(body: &str) -> bool {
    body.get(..4) == Some("{\"@t") && memmem::find(body.as_bytes(), b"\"@tr\"").is_some()
}

/// Finds trace context in an attribute list.
pub fn from_attributes(list: &[u8]) -> Option<TraceContext<'_>> {
    let mut gathered = Gathered::default();
    for (key, value) in attribute::iter(list) {
        let Some(role) = role_of(key.as_bytes()) else { continue };
        match value {
            Value::Str(text) => gathered.offer(role, Cow::Borrowed(text)),
            Value::Int(number) if role == Role::Priority => gathered.offer(role, number.to_string().into()),
            Value::Int(number) => gathered.offer(role, Cow::Owned((number as u64).to_string())),
            Value::Bool(flag) => gathered.offer_flag(role, flag),
            Value::Bytes(bytes) => gathered.offer(role, Cow::Owned(hex(bytes))),
            _ => {}
        }
    }
    gathered.finish(TraceSource::Attribute)
}

/// What was found under known keys. The first of each role counts.
#[derive(Default)]
struct Gathered<'a> {
    trace: Option<Cow<'a, str>>,
    trace_high: Option<Cow<'a, str>>,
    span: Option<Cow<'a, str>>,
    transaction: Option<Cow<'a, str>>,
    flags: Option<u8>,
    sampled: Option<bool>,
}

impl<'a> Gathered<'a> {
    fn offer(&mut self, role: Role, value: Cow<'a, str>) {
        match role {
            Role::Trace => self.offer_trace(value),
            Role::TraceHigh => _ = self.trace_high.get_or_insert(value),
            Role::Span => _ = self.span.get_or_insert(value),
            Role::Transaction => _ = self.transaction.get_or_insert(value),
            Role::Traceparent => {
                let mut parts = value.trim().split('-').skip(2);
                if let (Some(span), Some(flags)) = (parts.next(), parts.next()) {
                    self.span.get_or_insert(Cow::Owned(span.to_owned()));
                    self.offer_flags(u8::from_str_radix(flags, 16).ok());
                }
                self.offer_trace(value);
            }
            Role::XRay => self.offer_x_ray(value),
            Role::B3 => self.offer_parts(&value, '-'),
            Role::Jaeger => self.offer_parts(&value, ':'),
            Role::CloudTrace => self.offer_cloud_trace(&value),
            Role::Flags => self.offer_flags(parse_flags(&value)),
            Role::Sampled => self.sampled = self.sampled.or_else(|| parse_sampled(&value)),
            Role::Priority => {
                let priority = value.trim().parse::<i64>().ok();
                self.sampled = self.sampled.or(priority.map(|priority| priority > 0));
            }
        }
    }

    fn offer_flag(&mut self, role: Role, flag: bool) {
        if role == Role::Sampled {
            self.sampled = self.sampled.or(Some(flag));
        }
    }

    fn offer_flags(&mut self, flags: Option<u8>) {
        self.flags = self.flags.or(flags);
        self.sampled = self.sampled.or(flags.map(|flags| flags & 1 != 0));
    }

    /// `Root=…;Parent=…;Sampled=…`, or the root alone.
    fn offer_x_ray(&mut self, value: Cow<'a, str>) {
        let mut root = None;
        for part in value.split(';') {
            match part.trim().split_once('=') {
                Some(("Root", id)) => root = Some(id.to_owned()),
                Some(("Parent", id)) => _ = self.span.get_or_insert(Cow::Owned(id.to_owned())),
                Some(("Sampled", "0")) => self.offer_flags(Some(0)),
                Some(("Sampled", "1")) => self.offer_flags(Some(1)),
                _ => {}
            }
        }
        self.offer_trace(root.map_or(value, Cow::Owned));
    }

    /// Trace, span and, at the end, the sampling state, with a sign between them.
    fn offer_parts(&mut self, value: &str, separator: char) {
        let parts: Vec<&str> = value.trim().splitn(5, separator).collect();
        let (trace, span, state) = match parts.as_slice() {
            // Jaeger has the parent before its flags, B3 after its state.
            [trace, span, _, flags] if separator == ':' => (trace, span, Some(flags)),
            [trace, span] if separator == '-' => (trace, span, None),
            [trace, span, state] | [trace, span, state, _] if separator == '-' => (trace, span, Some(state)),
            _ => return,
        };
        if let Some(state) = state {
            self.offer_flags(match *state {
                "d" => Some(1),
                state => u8::from_str_radix(state, 16).ok().map(|flags| flags & 1),
            });
        }
        self.span.get_or_insert(Cow::Owned((*span).to_owned()));
        self.offer_trace(Cow::Owned((*trace).to_owned()));
    }

    /// `trace/span;o=1`.
    fn offer_cloud_trace(&mut self, value: &str) {
        let (ids, options) = value.trim().split_once(';').unwrap_or((value.trim(), ""));
        let (trace, span) = ids.split_once('/').unwrap_or((ids, ""));
        if let Ok(span) = span.parse::<u64>() {
            self.span.get_or_insert(Cow::Owned(format!("{span:016x}")));
        }
        match options {
            "o=0" => self.offer_flags(Some(0)),
            "o=1" => self.offer_flags(Some(1)),
            _ => {}
        }
        self.offer_trace(Cow::Owned(trace.to_owned()));
    }

    fn offer_trace(&mut self, value: Cow<'a, str>) {
        if self.trace.is_none() && !is_placeholder(&value) {
            self.trace = Some(value);
        }
    }

    fn finish(self, source: TraceSource) -> Option<TraceContext<'a>> {
        let text = self.trace?;
        let span_id = self.span.as_deref().and_then(parse_span).or_else(|| {
            // Other things are called transactions too: only what looks like a span's id is taken for one.
            SpanId::from_slice(&lower_hex::<8>(self.transaction?.as_bytes())?)
        });
        let found = TraceContext {
            trace_id: None,
            span_id,
            flags: self.flags,
            sampled: self.sampled,
            source,
            original: Cow::Borrowed(""),
        };
        if let Some(id) = lower_hex(text.as_bytes()) {
            return Some(TraceContext { trace_id: TraceId::from_bytes(id), ..found });
        }
        // Google writes `projects/<project>/traces/<id>`.
        let bare = text.rsplit_once("traces/").map_or(&*text, |(_, id)| id);
        let parsed = TraceId::parse(bare);
        let high = self.trace_high.and_then(|high| lower_hex::<8>(high.as_bytes()));
        let trace_id = parsed.map(|(id, form)| match (form, high) {
            (TraceIdForm::Decimal, Some(high)) => {
                let whole = u128::from(u64::from_be_bytes(high)) << 64 | u128::from(id.low());
                TraceId(whole.to_be_bytes())
            }
            _ => id,
        });
        let original = match parsed {
            Some((_, TraceIdForm::Hex32)) => Cow::Borrowed(""),
            _ if text.len() > ORIGINAL_BYTES => Cow::Owned(shortened(&text).to_owned()),
            _ => text,
        };
        Some(TraceContext { trace_id, original, ..found })
    }
}

/// W3C trace flags as text: hex digits, or .NET's names.
fn parse_flags(text: &str) -> Option<u8> {
    match text.trim() {
        "None" => Some(0),
        "Recorded" => Some(1),
        digits => u8::from_str_radix(digits, 16).ok(),
    }
}

/// Whether something is sampled, as text.
fn parse_sampled(text: &str) -> Option<bool> {
    let text = text.trim();
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match () {
        () if is(&["true", "1", "01", "yes"]) => Some(true),
        () if is(&["false", "0", "00", "no"]) => Some(false),
        () => None,
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
    Some(TraceContext { trace_id, span_id, source, original: Cow::Owned(original), ..Default::default() })
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
