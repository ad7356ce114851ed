//! The commands of a script.

use throughline_exec::script::{self, Language, Message, ScriptError, Words, time_ms};

use super::span;
use crate::memory::MemorySpan;

/// One command.
pub(super) type Command = script::Command<Vec<MemorySpan>, Eval>;

/// A query and what it should answer.
#[derive(Clone, Debug)]
pub struct Eval {
    /// The line of the command, from one.
    pub line: usize,
    /// The text of the query.
    pub query: String,
    /// What is asked for.
    pub asked: Asked,
    /// Sets of spans in order, as they are written.
    pub sets: Vec<String>,
    /// Labels as they are written, and points.
    pub series: Vec<(String, Vec<Option<f64>>)>,
    /// What is said beside the series.
    pub notes: Vec<Message>,
    /// How many exemplars all series have together.
    pub exemplars: Option<usize>,
    /// Whether there is no answer.
    pub empty: bool,
    /// That it fails, and how.
    pub fail: Option<Message>,
}

/// What a query is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Traces: a window, the most traces, the most spans of each set.
    Search(i64, i64, usize, usize),
    /// Series: a window and a step, which is zero for one interval.
    Series(i64, i64, i64),
}

/// Reads a script. What cannot be read is in its place among the commands, so that the rest can be run.
pub(super) fn commands(text: &str) -> Vec<Result<Command, ScriptError>> {
    Language { load: span::read, eval: query, expect: expectation }.commands(text)
}

fn query(line: usize, text: &str) -> Result<Eval, String> {
    let (asked, query) = head(text)?;
    let query = query.to_owned();
    let (sets, series, notes) = (Vec::new(), Vec::new(), Vec::new());
    Ok(Eval { line, query, asked, sets, series, notes, exemplars: None, empty: false, fail: None })
}

/// Reads what is asked for, up to the query.
fn head(text: &str) -> Result<(Asked, &str), String> {
    const NS: i64 = 1_000_000;
    let mut words = Words { rest: text };
    let kind = words.next();
    let (mut start_ns, mut end_ns) = (-3_600_000_000_000, 3_600_000_000_000);
    let (mut limit, mut spans, mut step_ns) = (20, 0, 0);
    loop {
        let before = words;
        let number = |words: &mut Words<'_>| words.next().parse().map_err(|_| "expected a number".to_owned());
        match words.next() {
            "from" => start_ns = time_ms(words.next())?.saturating_mul(NS),
            "to" => end_ns = time_ms(words.next())?.saturating_mul(NS),
            "step" => step_ns = time_ms(words.next())?.saturating_mul(NS),
            "limit" => limit = number(&mut words)?,
            "spans" => spans = number(&mut words)?,
            _ => {
                let query = before.rest.trim();
                return match kind {
                    "search" => Ok((Asked::Search(start_ns, end_ns, limit, spans), query)),
                    "range" if step_ns > 0 => Ok((Asked::Series(start_ns, end_ns, step_ns), query)),
                    "instant" if step_ns == 0 => Ok((Asked::Series(start_ns, end_ns, 0), query)),
                    "range" | "instant" => Err("a range has a step, an instant has none".to_owned()),
                    other => Err(format!("expected \"search\", \"range\" or \"instant\", got {other:?}")),
                };
            }
        }
    }
}

fn expectation(eval: &mut Eval, text: &str) -> Result<(), String> {
    let mut words = Words { rest: text };
    if words.next() == "expect" {
        let kind = words.next();
        match kind {
            "fail" => eval.fail = Some(Message::read(words.rest.trim())),
            "empty" => eval.empty = true,
            "note" => eval.notes.push(Message::read(words.rest.trim())),
            "exemplars" => {
                eval.exemplars = Some(words.next().parse().map_err(|_| "expected how many exemplars")?);
            }
            _ => return Err(format!("unknown expectation {kind:?}")),
        }
        return Ok(());
    }
    if matches!(eval.asked, Asked::Search(..)) {
        eval.sets.push(text.to_owned());
        return Ok(());
    }
    let labels = span::words(text).first().copied().unwrap_or_default();
    let points = text.get(labels.len()..).unwrap_or_default();
    eval.series.push((labels.to_owned(), script::points(points)?));
    Ok(())
}
