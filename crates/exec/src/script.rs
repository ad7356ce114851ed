//! What the scripts of all query languages have in common: commands, times, expected numbers and messages.
//!
//! A script loads data and says what queries over it answer. Each language has its own data and answers; a query begins with `eval
//! instant at T` or `eval range from T to T step D`, and is followed by lines of what is expected.

mod reader;
mod run;

pub use reader::{POINTS_MAX, Reader};
pub use run::{Command, Language, Outcome, Report, ScriptError, points, run};

use crate::duration::duration_ms;
use crate::series::is_stale;

/// A command of a script and the lines that belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// The line of the command, from one.
    pub line: usize,
    /// The command.
    pub command: &'a str,
    /// What belongs to it, with the number of each line.
    pub lines: Vec<(usize, &'a str)>,
}

/// Cuts a script into its commands: a command begins at the margin, what belongs to it is indented. Empty lines and those that begin
/// with `#` are left out.
#[must_use]
pub fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let (line, trimmed) = (line, line.trim());
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        match blocks.last_mut() {
            Some(block) if line.starts_with([' ', '\t']) => block.lines.push((at + 1, trimmed)),
            _ => blocks.push(Block { line: at + 1, command: trimmed, lines: Vec::new() }),
        }
    }
    blocks
}

/// Relative difference up to which floats are equal.
const TOLERANCE: f64 = 1e-6;

/// When a query is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The first time.
    pub start_ms: i64,
    /// The last time at most.
    pub end_ms: i64,
    /// Between two times; zero in an instant query.
    pub step_ms: i64,
}

/// What a message should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Anything.
    Any,
    /// This text.
    Text(String),
    /// Something like this.
    Regex(String),
}

impl Message {
    /// Reads `msg: text`, `regex: expression`, or nothing.
    #[must_use]
    pub fn read(text: &str) -> Message {
        if let Some(text) = text.strip_prefix("msg:") {
            Message::Text(text.trim().to_owned())
        } else if let Some(regex) = text.strip_prefix("regex:") {
            Message::Regex(regex.trim().to_owned())
        } else {
            Message::Any
        }
    }

    /// Whether a text is just this message.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        matches!(self, Message::Text(wanted) if wanted == text)
            || (!matches!(self, Message::Text(_)) && self.is_in(text))
    }

    /// Whether this message is in a text.
    #[must_use]
    pub fn is_in(&self, text: &str) -> bool {
        match self {
            Message::Any => true,
            Message::Text(wanted) => text.contains(wanted),
            Message::Regex(pattern) => regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text)),
        }
    }
}

/// Compares what was said with what was expected to be: each expectation is met, and if there is any, all that was
/// said was expected.
pub fn messages(
    kind: &str,
    wanted: &[Message],
    none: bool,
    said: &[String],
    is_said: impl Fn(&Message, &str) -> bool,
) -> Result<(), String> {
    if none && !said.is_empty() {
        return Err(format!("expected no {kind}, got {said:?}"));
    }
    for message in wanted {
        if !said.iter().any(|text| is_said(message, text)) {
            return Err(format!("expected the {kind} {message:?}, got {said:?}"));
        }
    }
    let unexpected =
        |text: &&String| !wanted.is_empty() && !wanted.iter().any(|message| is_said(message, text));
    match said.iter().find(unexpected) {
        Some(text) => Err(format!("unexpected {kind} {text:?}")),
        None => Ok(()),
    }
}

/// Whether two results are the same, but for the last digits.
#[must_use]
pub fn float_equal(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    let (difference, sum) = ((a - b).abs(), a.abs() + b.abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

/// The line of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// Its first word.
    pub kind: &'a str,
    /// When it is evaluated.
    pub times: Times,
    /// The rest.
    pub query: &'a str,
}

/// Reads `eval instant at T QUERY` or `eval range from T to T step D QUERY`.
pub fn head(command: &str) -> Result<Head<'_>, String> {
    let mut words = Words { rest: command };
    let kind = words.next();
    let (times, query) = timed(words.rest)?;
    Ok(Head { kind, times, query })
}

/// Reads `instant at T QUERY` or `range from T to T step D QUERY`.
pub fn timed(text: &str) -> Result<(Times, &str), String> {
    let mut words = Words { rest: text };
    let times = match words.next() {
        "instant" => {
            words.expect("at")?;
            let at = time_ms(words.next())?;
            Times { start_ms: at, end_ms: at, step_ms: 0 }
        }
        "range" => times(&mut words)?,
        other => return Err(format!("expected \"instant\" or \"range\", got {other:?}")),
    };
    Ok((times, words.rest.trim()))
}

/// Reads `from T to T step D`.
pub fn times(words: &mut Words<'_>) -> Result<Times, String> {
    words.expect("from")?;
    let start_ms = time_ms(words.next())?;
    words.expect("to")?;
    let end_ms = time_ms(words.next())?;
    words.expect("step")?;
    let step_ms = time_ms(words.next())?;
    if step_ms <= 0 || end_ms < start_ms {
        return Err("a range goes forward in positive steps".to_owned());
    }
    Ok(Times { start_ms, end_ms, step_ms })
}

/// A time or a duration: with units, or in seconds.
pub fn time_ms(text: &str) -> Result<i64, String> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Ok((seconds * 1_000.0).round() as i64);
    }
    let (negative, length) = match text.strip_prefix('-') {
        Some(length) => (true, length),
        None => (false, text),
    };
    let ms = i64::try_from(duration_ms(length)?).unwrap_or(i64::MAX);
    Ok(if negative { -ms } else { ms })
}

/// The words of a line.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    /// What is left.
    pub rest: &'a str,
}

impl<'a> Words<'a> {
    /// Takes the next word; nothing is left after the last.
    #[expect(clippy::should_implement_trait, reason = "there is a next word always: an empty one at the end")]
    pub fn next(&mut self) -> &'a str {
        let rest = self.rest.trim_start();
        let (word, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        self.rest = rest;
        word
    }

    /// Takes the next word, which must be this one.
    pub fn expect(&mut self, wanted: &str) -> Result<(), String> {
        let word = self.next();
        if word == wanted { Ok(()) } else { Err(format!("expected {wanted:?}, got {word:?}")) }
    }
}
