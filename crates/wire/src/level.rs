//! The level of a log record, found where its logger put it.
//!
//! The first of these that names one counts: OTLP's severity number, its severity text, an attribute (`level`,
//! `severity`, …), a field of the body (`"level":"warn"`, `level=warn`, `severity: WARN`), a word of the body
//! (`[ERROR]`, `WARN`). Nearly all records have a severity number; the body is looked at only where none of the others says
//! anything, and of it the start.

use throughline_model::Level;
use throughline_model::attribute::{self, Value};

/// How much of a body is looked at. Loggers put the level at the start, after a time and perhaps a name.
const BODY_BYTES: usize = 2_048;

/// How much of a body is searched for a bare word: further on, words are what the line is about.
const WORDS_BYTES: usize = 256;

/// What a record says of its level.
pub(crate) struct Said<'a> {
    pub(crate) severity_number: u8,
    pub(crate) severity_text: &'a str,
    /// An attribute list.
    pub(crate) attributes: &'a [u8],
    pub(crate) body: &'a str,
}

/// The level of a record.
#[inline]
pub(crate) fn detect(said: &Said<'_>) -> Level {
    match Level::from_severity(said.severity_number) {
        Level::Unknown => detect_without_number(said),
        level => level,
    }
}

#[inline(never)]
fn detect_without_number(said: &Said<'_>) -> Level {
    Level::from_text(said.severity_text)
        .or_else(|| of_attributes(said.attributes))
        .or_else(|| of_body(said.body))
        .unwrap_or_default()
}

fn of_attributes(list: &[u8]) -> Option<Level> {
    attribute::iter(list).find_map(|(key, value)| match value {
        // As records that came over OTLP elsewhere are pushed on.
        Value::Str(text) if key == "severity_number" => {
            Some(Level::from_severity(text.parse().ok()?)).filter(|level| *level != Level::Unknown)
        }
        Value::Str(text) if is_name(key.as_bytes()) => Level::from_text(text),
        Value::Int(number) if is_name(key.as_bytes()) => Level::from_text(number.to_string().as_str()),
        _ => None,
    })
}

/// The level of a label, where its name is that of one.
pub(crate) fn of_label(name: &str, value: &str) -> Option<Level> {
    if is_name(name.as_bytes()) { Level::from_text(value) } else { None }
}

/// Whether a key names a level: `level`, `severity`, `lvl`, `log.level`, `severity_text` and the like.
fn is_name(key: &[u8]) -> bool {
    let mut plain = [0u8; 16];
    let mut length = 0;
    for byte in key.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
        let Some(slot) = plain.get_mut(length) else { return false };
        *slot = byte.to_ascii_lowercase();
        length += 1;
    }
    let plain = plain.get(..length).unwrap_or_default();
    matches!(
        plain,
        b"level"
            | b"lvl"
            | b"severity"
            | b"loglevel"
            | b"levelname"
            | b"severitytext"
            | b"logseverity"
            | b"detectedlevel"
    )
}

/// The level that a body names.
pub(crate) fn of_body(body: &str) -> Option<Level> {
    let start = body.as_bytes().get(..BODY_BYTES).unwrap_or(body.as_bytes());
    of_field(start).or_else(|| of_words(start))
}

/// The first field that is called a level and has one: `"level":"info"`, `level=info`, `Severity: info`. Broken JSON has
/// fields too.
fn of_field(text: &[u8]) -> Option<Level> {
    memchr::memchr2_iter(b'v', b'V', text).find_map(|at| {
        let end = name_around(text, at)?;
        let rest = text.get(end..)?;
        let quote = usize::from(matches!(rest.first(), Some(b'"' | b'\'')));
        let rest = skip_spaces(rest.get(quote..)?);
        let (b':' | b'=', value) = rest.split_first()? else { return None };
        let value = skip_spaces(value);
        let value = match value.split_first() {
            Some((b'"' | b'\'' | b'[', inner)) => inner,
            _ => value,
        };
        word_level(value)
    })
}

/// The end of the name whose "v" stands at a place, where it is one of a level.
fn name_around(text: &[u8], v: usize) -> Option<usize> {
    const NAMES: [(&[u8], usize); 4] = [(b"levelname", 2), (b"level", 2), (b"severity", 2), (b"lvl", 1)];
    NAMES.iter().find_map(|(name, before)| {
        let from = v.checked_sub(*before)?;
        let is_name = text.get(from..from + name.len())?.eq_ignore_ascii_case(name);
        // `loglevel` is one word; everything else that ends in a name is another name.
        let head = text.get(..from)?;
        let begins = !head.last().is_some_and(u8::is_ascii_alphanumeric)
            || head.last_chunk::<3>().is_some_and(|log| log.eq_ignore_ascii_case(b"log"));
        let mut end = from + name.len();
        if text.get(end..end + 5).is_some_and(|more| more.eq_ignore_ascii_case(b"_text")) {
            end += 5;
        }
        let ends = !text.get(end).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        (is_name && begins && ends).then_some(end)
    })
}

fn skip_spaces(text: &[u8]) -> &[u8] {
    let spaces = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    text.get(spaces..).unwrap_or_default()
}

/// The level that a text begins with.
fn word_level(text: &[u8]) -> Option<Level> {
    let length = text.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    Level::from_text(std::str::from_utf8(text.get(..length)?).ok()?)
}

/// The first word that is a level: written as loggers do (`WARN`, `warn`, `Warn`), and of three letters or more, as single
/// letters are words of other kinds. klog's `E0102 15:04:05` is the exception, at the start of a line. What is joined with others is
/// none: a part of a path or a name (`/error-page`, `rate.error`), or what follows a colon at once (`unit:error`).
fn of_words(text: &[u8]) -> Option<Level> {
    let text = text.get(..WORDS_BYTES).unwrap_or(text);
    if let [letter @ (b'I' | b'W' | b'E' | b'F'), digits @ ..] = text
        && digits.get(..4).is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
        && digits.get(4) == Some(&b' ')
    {
        return word_level(std::slice::from_ref(letter));
    }
    let joins = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/' | b'.' | b':');
    let words = text.split(|byte| !joins(byte)).map(bare_word);
    words.filter(|word| is_level_word(word)).find_map(word_level)
}

/// A word without the colon after it, and without the channel that Monolog writes before a level: `shop.ERROR:`.
fn bare_word(joined: &[u8]) -> &[u8] {
    let word = joined.split(|byte| *byte == b':').next().unwrap_or_default();
    match word.iter().rposition(|byte| *byte == b'.').and_then(|at| word.get(at + 1..)) {
        Some(after) if after.iter().all(u8::is_ascii_uppercase) => after,
        _ => word,
    }
}

/// Whether a word of running text is taken for a level: "fine", "alert" and "config" are English more often than not.
fn is_level_word(word: &[u8]) -> bool {
    const LOWER: [&[u8]; 14] = [
        b"trace",
        b"debug",
        b"dbg",
        b"info",
        b"warn",
        b"warning",
        b"error",
        b"err",
        b"critical",
        b"crit",
        b"fatal",
        b"panic",
        b"severe",
        b"notice",
    ];
    const UPPER: [&[u8]; 6] = [b"TRC", b"INF", b"WRN", b"FTL", b"ALERT", b"EMERG"];
    (3..=8).contains(&word.len())
        && (LOWER.iter().any(|known| word.eq_ignore_ascii_case(known)) || UPPER.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, level: Level) {
        assert_eq!(of_body(body).unwrap_or_default(), level, "{body}");
    }

    #[test]
    fn fields_of_bodies_name_their_level() {
        check(r#"{"msg":"no error here","level":"warn"}"#, Level::Warn);
        check(r#"{"level": 30, "msg":"pino"}"#, Level::Info);
        check(r#"{"log.level":"ERROR","message":"ecs"}"#, Level::Error);
        check(r#"{"log":{"level":"debug"},"message":"ecs, nested"}"#, Level::Debug);
        check(r#"{"severity":"CRITICAL","message":"google"}"#, Level::Critical);
        check(r#"{"Timestamp":1,"LogLevel":"Information","State":{}}"#, Level::Info);
        check(r#"{"SeverityText":"WARN"}"#.replace("SeverityText", "severity_text").as_str(), Level::Warn);
        check(r#"{"level":"warn","broken":"#, Level::Warn);
        check(r#"{"game":{"level":"5"},"lvl":"dbg"}"#, Level::Debug);
        check("ts=2026-01-01 lvl=eror msg=\"x\"", Level::Error);
        check("time=1 level=info msg=\"an error\"", Level::Info);
        check("severity: [FATAL] down", Level::Fatal);
        check("sealevel=error elevel=error", Level::Error);
        check(&format!("{}level=warn", " ".repeat(BODY_BYTES)), Level::Unknown);
    }

    #[test]
    fn words_of_bodies_name_their_level() {
        check("2026-01-01 12:00:00 [main] WARN c.e.Shop - slow", Level::Warn);
        check("[error] 7#7: upstream timed out", Level::Error);
        check("E0102 15:04:05.678901 1 reflector.go:138] failed", Level::Error);
        check("E0102x", Level::Unknown);
        check("panic: runtime error", Level::Fatal);
        check("12:00 INF started", Level::Info);
        check("connection lost: 5 errors, all is fine, i wait, leveled up", Level::Unknown);
        check("GET /api/info_page 200", Level::Unknown);
        check("GET /api/error-page 200 -", Level::Unknown);
        check("unit=db:error [info] done", Level::Info);
        check("rate.error 5", Level::Unknown);
        check("[2026-01-01 10:00:00] shop.ERROR: no stock", Level::Error);
        check("warn: no stock, an error follows", Level::Warn);
        check("fatal:cannot bind", Level::Fatal);
        check("", Level::Unknown);
        check(&"é".repeat(2_000), Level::Unknown);
        check("\u{0}\u{0}error\u{0}", Level::Error);
    }

    #[test]
    fn what_is_most_certain_counts() {
        let mut attributes = Vec::new();
        attribute::push(&mut attributes, "thread", Value::Str("error"));
        let detected = |severity_number, severity_text, attributes: &[u8]| {
            detect(&Said { severity_number, severity_text, attributes, body: "level=debug" })
        };
        assert_eq!(detected(17, "INFO", &attributes), Level::Error);
        assert_eq!(detected(0, "INFO", &attributes), Level::Info);
        assert_eq!(detected(0, "?", &attributes), Level::Debug);
        attribute::push(&mut attributes, "Log.Level", Value::Str("Warning"));
        assert_eq!(detected(0, "", &attributes), Level::Warn);
        let mut pushed = Vec::new();
        attribute::push(&mut pushed, "severity_number", Value::Str("13"));
        assert_eq!(detected(0, "", &pushed), Level::Warn);
        let mut odd = Vec::new();
        attribute::push(&mut odd, "severity_number", Value::Str("many"));
        assert_eq!(detected(0, "", &odd), Level::Debug, "the body's");
        let mut numbers = Vec::new();
        attribute::push(&mut numbers, "level", Value::Int(50));
        assert_eq!(detected(0, "", &numbers), Level::Error);
    }
}
