//! Trace context in free text: `trace_id=…`, `traceId: …`, `TraceID: … SpanID: …`, `traceparent: …`,
//! `X-Amzn-Trace-Id: Root=…`, `projects/…/traces/…`.
//!
//! Text is less certain than a key, so a value must look like an id that systems write: 15 digits or more of hex or
//! decimal, a UUID, an X-Ray id, a `traceparent`, or the base64 of 16 bytes. Every place where "trace" stands is
//! tried; each try looks at a bounded stretch of text.

use std::borrow::Cow;

use throughline_model::TraceId;
use throughline_model::link::TraceSource;

use super::{Finder, Gathered, Role, TraceContext, lower_hex, parse_span};

/// The longest value that is looked at: a `traceparent` has 55 bytes.
const VALUE_BYTES: usize = 80;

/// How far from the trace id its span id is looked for.
const SPAN_DISTANCE_BYTES: usize = 160;

/// How many quotes, brackets and signs may stand between a name and its value.
const SEPARATORS: usize = 6;

/// Finds trace context in text; `first` is where "race" stands first.
pub(super) fn find<'a>(finder: &Finder, text: &'a str, first: usize) -> Option<TraceContext<'a>> {
    let bytes = text.as_bytes();
    let mut at = Some(first);
    while let Some(race) = at {
        if let Some(found) = at_word(text, race) {
            return Some(found);
        }
        at = finder.next(bytes, race + 4);
    }
    None
}

/// Tries the word whose "race" stands at `race`.
fn at_word(text: &str, race: usize) -> Option<TraceContext<'_>> {
    let bytes = text.as_bytes();
    if !matches!(bytes.get(race.checked_sub(1)?)?, b't' | b'T') {
        return None;
    }
    let rest = bytes.get(race + 4..)?;
    let (role, name_length) = if starts_with(rest, b"parent") {
        (Role::Traceparent, 6)
    } else if rest.starts_with(b"s/") {
        (Role::Trace, 2)
    } else {
        (Role::Trace, id_suffix(rest)?)
    };
    let value_start = skip_separators(bytes, race + 4 + name_length)?;
    if starts_with(bytes.get(value_start..)?, b"root=") || starts_with(bytes.get(value_start..)?, b"self=") {
        return x_ray(text, value_start);
    }
    let value = value_at(text, value_start, role)?;
    let mut gathered = Gathered::default();
    gathered.offer(role, Cow::Borrowed(value));
    if gathered.span.is_none()
        && let Some(span) = span_near(text, race, value_start + value.len())
    {
        gathered.offer(Role::Span, Cow::Borrowed(span));
    }
    gathered.finish(TraceSource::Text)
}

/// The length of `id`, `_id`, `-Id`, `.id`, ` ID` and the like, if the name ends after it.
fn id_suffix(rest: &[u8]) -> Option<usize> {
    let separator = usize::from(matches!(rest.first()?, b'_' | b'-' | b'.' | b' '));
    let ends = |byte: &u8| !byte.is_ascii_alphanumeric();
    (starts_with(rest.get(separator..)?, b"id") && rest.get(separator + 2).is_some_and(ends))
        .then_some(separator + 2)
}

fn starts_with(text: &[u8], lower: &[u8]) -> bool {
    text.get(..lower.len()).is_some_and(|head| head.eq_ignore_ascii_case(lower))
}

/// Where the value starts after its name.
fn skip_separators(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let is_separator = |b: &u8| {
        matches!(
            b,
            b' ' | b'\t'
                | b'"'
                | b'\''
                | b'\\'
                | b':'
                | b'='
                | b'['
                | b'('
                | b'{'
                | b'<'
                | b'>'
                | b'|'
                | b'`'
        )
    };
    let skipped = rest.iter().take(SEPARATORS + 1).take_while(|b| is_separator(b)).count();
    (skipped <= SEPARATORS && skipped < rest.len()).then_some(from + skipped)
}

/// The id at a place, if what stands there looks like one.
fn value_at(text: &str, start: usize, role: Role) -> Option<&str> {
    if role == Role::Trace
        && let Some(word) = hex_word::<16>(text, start)
    {
        return Some(word);
    }
    let rest = text.as_bytes().get(start..)?;
    let run = |accept: fn(&u8) -> bool| rest.iter().take(VALUE_BYTES).take_while(|b| accept(b)).count();
    let word = text.get(start..start + run(|b| b.is_ascii_alphanumeric() || *b == b'-'))?;
    if looks_like_id(word) {
        return Some(word);
    }
    if role == Role::Traceparent {
        return None;
    }
    let head = word.split('-').next().unwrap_or_default();
    if head.len() < word.len() && looks_like_id(head) {
        return Some(head);
    }
    let base64 = text.get(
        start..start + run(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'-' | b'_')),
    )?;
    (base64.len() == 24 && base64.ends_with("==") && TraceId::parse(base64).is_some()).then_some(base64)
}

/// Exactly `N` bytes in lower-case hex, if they stand at a place as a word of their own.
fn hex_word<const N: usize>(text: &str, start: usize) -> Option<&str> {
    let word = text.get(start..start + 2 * N)?;
    let goes_on = text.as_bytes().get(start + 2 * N).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'-');
    (!goes_on && lower_hex::<N>(word.as_bytes()).is_some()).then_some(word)
}

fn looks_like_id(word: &str) -> bool {
    if lower_hex::<16>(word.as_bytes()).is_some() {
        return true;
    }
    let digits = word.strip_prefix("0x").unwrap_or(word);
    let credible =
        word.contains('-') || (digits.len() >= 15 && digits.bytes().all(|b| b.is_ascii_hexdigit()));
    credible && TraceId::parse(word).is_some()
}

/// `Root=1-…-…;Parent=…;Sampled=1` at a place.
fn x_ray(text: &str, start: usize) -> Option<TraceContext<'_>> {
    let rest = text.get(start..)?;
    let end = rest
        .bytes()
        .take(256)
        .position(|b| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b',' | b']' | b')'));
    let header = rest.get(..end.unwrap_or(rest.len().min(256)))?;
    let mut gathered = Gathered::default();
    gathered.offer(Role::XRay, Cow::Borrowed(header));
    gathered.finish(TraceSource::Text).filter(|found| found.trace_id.is_some())
}

/// The span id that stands near a trace id: after it, or before its name.
fn span_near(text: &str, name_start: usize, value_end: usize) -> Option<&str> {
    let after = value_end..value_end.saturating_add(SPAN_DISTANCE_BYTES).min(text.len());
    let before = name_start.saturating_sub(SPAN_DISTANCE_BYTES)..name_start;
    [after, before].into_iter().find_map(|range| {
        let bytes = text.as_bytes().get(..range.end)?;
        let mut at = range.start;
        while let Some(found) = memchr::memchr2(b'p', b'P', bytes.get(at..)?) {
            at += found + 1;
            if let Some(span) = span_at(text, bytes, at) {
                return Some(span);
            }
        }
        None
    })
}

/// The span id after a name whose "an" stands at `an`.
fn span_at<'a>(text: &'a str, bytes: &[u8], an: usize) -> Option<&'a str> {
    if !matches!(bytes.get(an.checked_sub(2)?)?, b's' | b'S') || !starts_with(bytes.get(an..)?, b"an") {
        return None;
    }
    let suffix = id_suffix(bytes.get(an + 2..)?)?;
    let start = skip_separators(bytes, an + 2 + suffix)?;
    if let Some(word) = hex_word::<8>(text, start) {
        return parse_span(word).map(|_| word);
    }
    let length =
        text.as_bytes().get(start..)?.iter().take(21).take_while(|b| b.is_ascii_alphanumeric()).count();
    let word = text.get(start..start + length)?;
    (word.len() >= 8 && parse_span(word).is_some()).then_some(word)
}
