//! One line that is a sample: name, labels, value, time, exemplar.

use std::borrow::Cow;

use super::super::{Exemplar, NAME_LABEL, Pair, is_legacy_label_name, is_legacy_metric_name, number};

/// Which text format a page is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Prometheus' own: blanks anywhere between words, times in milliseconds.
    Prometheus,
    /// OpenMetrics: one space between words, times in seconds, exemplars, an end mark.
    OpenMetrics,
}

/// What follows the labels of a sample.
#[derive(Debug)]
pub struct Reading<'a> {
    pub value: f64,
    pub timestamp_ms: Option<i64>,
    pub exemplar: Option<Exemplar<'a>>,
}

/// The rest of a line.
#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    rest: &'a str,
    dialect: Dialect,
}

/// How much of a line a message shows.
const SHOWN_CHARS: usize = 40;

impl<'a> Cursor<'a> {
    pub fn new(line: &'a str, dialect: Dialect) -> Cursor<'a> {
        Cursor { rest: line, dialect }
    }

    pub fn rest(&self) -> &'a str {
        self.rest
    }

    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Reads a whole sample; `labels` is filled anew.
    pub fn sample(&mut self, labels: &mut Vec<Pair<'a>>) -> Result<Reading<'a>, String> {
        labels.clear();
        self.skip_blanks();
        let name = self.word(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':'));
        if !name.is_empty() && !is_legacy_metric_name(name) {
            return Err(format!("metric name {name:?} begins with a digit"));
        }
        labels.push((Cow::Borrowed(NAME_LABEL), Cow::Borrowed(name)));
        let mut open = *self;
        open.skip_blanks();
        if open.eat("{") {
            *self = open;
            self.labels(labels, true)?;
        } else if !self.rest.starts_with([' ', '\t']) {
            return Err(self.expected(if name.is_empty() { "a metric name" } else { "a space or {" }));
        }
        if labels.first().is_none_or(|(_, name)| name.is_empty()) {
            return Err("the sample has no metric name".to_owned());
        }
        self.reading()
    }

    fn reading(&mut self) -> Result<Reading<'a>, String> {
        let value = self.number("a value")?;
        let timestamp_ms = match self.dialect {
            Dialect::Prometheus => self.milliseconds()?,
            Dialect::OpenMetrics => self.seconds()?,
        };
        let has_exemplar = self.dialect == Dialect::OpenMetrics && self.eat(" # ");
        let exemplar = if has_exemplar { Some(self.exemplar()?) } else { None };
        self.skip_blanks();
        if !self.is_at_end() {
            return Err(self.expected("the end of the line"));
        }
        Ok(Reading { value, timestamp_ms, exemplar })
    }

    fn exemplar(&mut self) -> Result<Exemplar<'a>, String> {
        if !self.eat("{") {
            return Err(self.expected("{ of an exemplar"));
        }
        let mut labels = Vec::new();
        self.labels(&mut labels, false)?;
        let value = self.number("an exemplar's value")?;
        Ok(Exemplar { labels, value, timestamp_ms: self.seconds()? })
    }

    /// Labels up to the closing brace. A text in quotes without `=` is the metric's name, where it may be there.
    fn labels(&mut self, out: &mut Vec<Pair<'a>>, with_name: bool) -> Result<(), String> {
        loop {
            self.skip_blanks();
            if self.eat("}") {
                return Ok(());
            }
            let is_quoted = self.rest.starts_with('"');
            let name = if is_quoted { self.quoted()? } else { Cow::Borrowed(self.label_name()?) };
            self.skip_blanks();
            if self.eat("=") {
                self.skip_blanks();
                let value = self.quoted()?;
                out.push((name, value));
            } else {
                match out.first_mut() {
                    Some((_, metric)) if is_quoted && with_name && metric.is_empty() => *metric = name,
                    _ => return Err(self.expected("= after a label's name")),
                }
            }
            self.skip_blanks();
            if !self.eat(",") && !self.rest.starts_with('}') {
                return Err(self.expected(", or } after a label"));
            }
        }
    }

    fn label_name(&mut self) -> Result<&'a str, String> {
        let before = *self;
        let name = self.word(|b| b.is_ascii_alphanumeric() || b == b'_');
        if is_legacy_label_name(name) { Ok(name) } else { Err(before.expected("a label's name or }")) }
    }

    /// A text in quotes, in which `\\`, `\"` and `\n` stand for themselves and a line feed.
    pub fn quoted(&mut self) -> Result<Cow<'a, str>, String> {
        let Some(inside) = self.rest.strip_prefix('"') else { return Err(self.expected("\"")) };
        let mut end = 0;
        let mut escaped = false;
        loop {
            let tail = inside.as_bytes().get(end..).unwrap_or_default();
            match memchr::memchr2(b'"', b'\\', tail) {
                None => return Err(self.expected("a closing quote")),
                Some(at) if tail.get(at) == Some(&b'"') => {
                    end += at;
                    break;
                }
                // A backslash and what it escapes; a character of several bytes is passed over as it comes.
                Some(at) => (end, escaped) = (end + at + 2, true),
            }
        }
        let text = inside.get(..end).unwrap_or_default();
        self.rest = inside.get(end + 1..).unwrap_or_default();
        Ok(if escaped { Cow::Owned(unescape(text, true)) } else { Cow::Borrowed(text) })
    }

    /// A number after its separator.
    fn number(&mut self, what: &str) -> Result<f64, String> {
        if !self.separator() {
            return Err(self.expected(what));
        }
        let before = *self;
        number::parse(self.token()).ok_or_else(|| before.expected(what))
    }

    fn milliseconds(&mut self) -> Result<Option<i64>, String> {
        self.skip_blanks();
        if self.is_at_end() {
            return Ok(None);
        }
        let before = *self;
        self.token().parse().map(Some).map_err(|_| before.expected("a time in milliseconds"))
    }

    fn seconds(&mut self) -> Result<Option<i64>, String> {
        if !self.rest.starts_with(' ') || self.rest.starts_with(" #") {
            return Ok(None);
        }
        let before = *self;
        let seconds = self.number("a time in seconds")?;
        milliseconds(seconds).map(Some).ok_or_else(|| before.expected("a time in seconds"))
    }

    /// What stands between words. In Prometheus' format a closing brace needs nothing after it.
    fn separator(&mut self) -> bool {
        match self.dialect {
            Dialect::Prometheus => {
                self.skip_blanks();
                true
            }
            Dialect::OpenMetrics => self.eat(" "),
        }
    }

    pub fn skip_blanks(&mut self) {
        if self.dialect == Dialect::Prometheus {
            self.rest = self.rest.trim_start_matches([' ', '\t']);
        }
    }

    /// Everything up to the next blank.
    pub fn token(&mut self) -> &'a str {
        self.word(|b| b != b' ' && b != b'\t')
    }

    fn word(&mut self, is_part: impl Fn(u8) -> bool) -> &'a str {
        let end = self.rest.bytes().position(|b| !is_part(b)).unwrap_or(self.rest.len());
        // Both predicates stop only before bytes of ASCII, which are boundaries; elsewhere this is empty.
        let word = self.rest.get(..end).unwrap_or_default();
        self.rest = self.rest.get(word.len()..).unwrap_or_default();
        word
    }

    pub fn eat(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    pub fn expected(&self, what: &str) -> String {
        if self.is_at_end() {
            return format!("expected {what}, got the end of the line");
        }
        let shown: String = self.rest.chars().take(SHOWN_CHARS).collect();
        format!("expected {what}, got {shown:?}")
    }
}

/// Seconds since the epoch in milliseconds; none for what is no time.
pub fn milliseconds(seconds: f64) -> Option<i64> {
    let ms = (seconds * 1000.0).round();
    // 2^62: far from where the conversion saturates.
    (ms.abs() < 4.6e18).then_some(ms as i64)
}

/// Undoes `\\` and `\n`, and `\"` where quotes are escaped; any other backslash is kept as it is.
pub fn unescape(text: &str, quotes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(rest.get(..at).unwrap_or_default());
        let mut after = rest.get(at + 1..).unwrap_or_default().chars();
        match after.next() {
            Some('\\') => out.push('\\'),
            Some('n') => out.push('\n'),
            Some('"') if quotes => out.push('"'),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
        rest = after.as_str();
    }
    out.push_str(rest);
    out
}
