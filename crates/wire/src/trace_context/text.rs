//! Trace context in free text: `trace_id=…`, `traceId: …`, `TraceID: … SpanID: …`, `traceparent: …`,
//! `X-Amzn-Trace-Id: Root=…`, `projects/…/traces/…`, `trace=…`; and without a name `[service,trace,span]` and a whole
//! `traceparent`.
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
    } else if starts_with(rest, b"-context") {
        (Role::CloudTrace, 8)
    } else if rest.starts_with(b"s/") {
        (Role::Trace, 2)
    } else if let Some(suffix) = id_suffix(rest) {
        (Role::Trace, suffix)
    } else {
        return at_bare_word(text, race);
    };
    let value_start = skip_separators(bytes, race + 4 + name_length)?;
    if starts_with(bytes.get(value_start..)?, b"root=") || starts_with(bytes.get(value_start..)?, b"self=") {
        return x_ray(text, value_start);
    }
    if role == Role::CloudTrace {
        let end = value_start + header_length(text, value_start)?;
        let mut gathered = Gathered::default();
        gathered.offer(role, Cow::Borrowed(text.get(value_start..end)?));
        return gathered.finish(TraceSource::Text).filter(|found| found.trace_id.is_some());
    }
    let value = value_at(text, value_start, role)?;
    let mut gathered = Gathered::default();
    gathered.offer(role, Cow::Borrowed(value));
    add_neighbours(text, race, value_start + value.len(), &mut gathered);
    gathered.finish(TraceSource::Text)
}

/// `trace=<id>` and `trace: <id>`: the word alone means much else, so only 32 lower-case hex digits count.
fn at_bare_word(text: &str, race: usize) -> Option<TraceContext<'_>> {
    let bytes = text.as_bytes();
    let (name, mut at) = (race.checked_sub(1)?, race + 4);
    let begins = name.checked_sub(1).is_none_or(|before| !is_word(bytes.get(before)));
    // A quoted name may have its quote between.
    at += usize::from(bytes.get(at) == Some(&b'"'));
    if !begins || !matches!(bytes.get(at)?, b'=' | b':') {
        return None;
    }
    let start = skip_separators(bytes, at)?;
    let value = hex_word::<16>(text, start)?;
    let mut gathered = Gathered::default();
    gathered.offer(Role::Trace, Cow::Borrowed(value));
    add_neighbours(text, race, start + value.len(), &mut gathered);
    gathered.finish(TraceSource::Text)
}

fn is_word(byte: Option<&u8>) -> bool {
    byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Adds the span id and the sampling state that stand near a trace id.
fn add_neighbours<'a>(text: &'a str, name_start: usize, value_end: usize, gathered: &mut Gathered<'a>) {
    if gathered.span.is_none() {
        // Jaeger's header goes on with the span.
        let after = text.get(value_end..).and_then(|rest| rest.strip_prefix(':'));
        let jaeger = after.and_then(|_| hex_word::<8>(text, value_end + 1));
        if let Some(span) = jaeger.or_else(|| span_near(text, name_start, value_end)) {
            gathered.offer(Role::Span, Cow::Borrowed(span));
        }
    }
    for (name, role) in [("ampled", Role::Sampled), ("race_flags", Role::Flags)] {
        if gathered.sampled.is_none()
            && let Some(value) = word_after(text, name, value_end)
        {
            gathered.offer(role, Cow::Borrowed(value));
        }
    }
}

/// The word that a name gives, where the name stands within reach of a place.
fn word_after<'a>(text: &'a str, name: &str, from: usize) -> Option<&'a str> {
    let to = from.saturating_add(SPAN_DISTANCE_BYTES).min(text.len());
    let at = from + memchr::memmem::find(text.as_bytes().get(from..to)?, name.as_bytes())?;
    let start = skip_separators(text.as_bytes(), at + name.len())?;
    let rest = text.as_bytes().get(start..)?;
    let length = rest.iter().take(8).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    text.get(start..start + length)
}

// === ids without a name ===

/// How many places of a text are tried.
const TRIES: usize = 16;

/// The longest name of a service within brackets.
const NAME_BYTES: usize = 80;

/// Finds ids that no name announces, in the two forms that are unlikely to be anything else: a whole `traceparent`, and
/// the brackets of Sleuth and logback.
pub(super) fn find_unnamed(text: &str) -> Option<TraceContext<'_>> {
    let bytes = text.as_bytes();
    let in_brackets = memchr::memchr_iter(b'[', bytes).take(TRIES).find_map(|at| bracketed(text, at + 1));
    in_brackets.or_else(|| {
        memchr::memmem::find_iter(bytes, b"00-").take(TRIES).find_map(|at| bare_traceparent(text, at))
    })
}

/// `service,trace,span]`, `service,trace,span,true]`, `trace,span]`, `trace-span]` and `service,trace-span]` after a
/// bracket: Spring Cloud Sleuth's and Micrometer's, and what people make of them.
fn bracketed(text: &str, start: usize) -> Option<TraceContext<'_>> {
    let rest = text.as_bytes().get(start..)?;
    let length = memchr::memchr(b']', rest.get(..NAME_BYTES + 64).unwrap_or(rest))?;
    // The shortest has an id of 16 digits, a sign, and another.
    let inner = text.get(start..start + length).filter(|inner| inner.len() >= 33)?;
    let mut parts = [""; 4];
    for (at, part) in inner.split(',').enumerate() {
        *parts.get_mut(at)? = part.trim();
    }
    let is_pair = |trace: &str, span: &str| {
        let is_trace =
            lower_hex::<16>(trace.as_bytes()).is_some() || lower_hex::<8>(trace.as_bytes()).is_some();
        is_trace && lower_hex::<8>(span.as_bytes()).is_some()
    };
    let joined = |part: &'_ str| -> Option<(usize, usize)> {
        let at = part.find('-')?;
        is_pair(part.get(..at)?, part.get(at + 1..)?).then_some((at, at + 1))
    };
    let (trace, span, state) = match parts {
        [trace, span, state, _] if is_pair(trace, span) => (trace, span, state),
        [_, trace, span, state] if is_pair(trace, span) => (trace, span, state),
        [whole, "", ..] | [_, whole, "", ""] => {
            let (to, from) = joined(whole)?;
            // Two ids of 64 bits with a dash are as well something else: the trace must be a whole one.
            (whole.get(..to).filter(|trace| trace.len() == 32)?, whole.get(from..)?, "")
        }
        _ => return None,
    };
    let mut gathered = Gathered::default();
    gathered.offer(Role::Span, Cow::Borrowed(span));
    gathered.offer(Role::Sampled, Cow::Borrowed(state));
    gathered.offer(Role::Trace, Cow::Borrowed(trace));
    gathered.finish(TraceSource::Text)
}

/// A `traceparent` as a word of its own.
fn bare_traceparent(text: &str, start: usize) -> Option<TraceContext<'_>> {
    const BYTES: usize = 55;
    let value = text.get(start..start + BYTES)?;
    let bytes = text.as_bytes();
    let stands_alone = !is_word(start.checked_sub(1).and_then(|before| bytes.get(before)))
        && !is_word(bytes.get(start + BYTES));
    let is_dash = |at: usize| value.as_bytes().get(at) == Some(&b'-');
    let is_one = stands_alone
        && is_dash(35)
        && is_dash(52)
        && lower_hex::<16>(value.as_bytes().get(3..35)?).is_some()
        && lower_hex::<8>(value.as_bytes().get(36..52)?).is_some()
        && lower_hex::<1>(value.as_bytes().get(53..)?).is_some();
    if !is_one {
        return None;
    }
    let mut gathered = Gathered::default();
    gathered.offer(Role::Traceparent, Cow::Borrowed(value));
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
    let end = start + header_length(text, start)?;
    let mut gathered = Gathered::default();
    gathered.offer(Role::XRay, Cow::Borrowed(text.get(start..end)?));
    gathered.finish(TraceSource::Text).filter(|found| found.trace_id.is_some())
}

/// How long a header's value is that stands at a place: up to a space, a quote or a bracket.
fn header_length(text: &str, start: usize) -> Option<usize> {
    let rest = text.get(start..)?;
    let end = rest
        .bytes()
        .take(256)
        .position(|b| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b',' | b']' | b')'));
    Some(end.unwrap_or(rest.floor_char_boundary(256)))
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

/// The span id after a name whose "an" stands at `an`: `span_id=…`, `SpanID: …`, `span=…`.
fn span_at<'a>(text: &'a str, bytes: &[u8], an: usize) -> Option<&'a str> {
    if !matches!(bytes.get(an.checked_sub(2)?)?, b's' | b'S') || !starts_with(bytes.get(an..)?, b"an") {
        return None;
    }
    if matches!(bytes.get(an + 2)?, b'=' | b':') {
        return hex_word::<8>(text, skip_separators(bytes, an + 2)?);
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
