//! The commands of a script.

use throughline_exec::Labels;
use throughline_exec::log::Direction;
use throughline_exec::script::{self, Language, Message, ScriptError, Times, Words, time_ms};

use super::row::{self, LoadedRow};

/// One command.
pub(super) type Command = script::Command<Vec<LoadedRow>, Eval>;

/// A query and what it should answer.
#[derive(Clone, Debug)]
pub struct Eval {
    /// The line of the command, from one.
    pub line: usize,
    /// The text of the query.
    pub query: String,
    /// When; of a query for lines, the window.
    pub times: Times,
    /// Of a query for lines.
    pub lines: Option<LinesAsked>,
    /// Series and their points, in order.
    pub series: Vec<(Labels, Vec<Option<f64>>)>,
    /// A number instead.
    pub scalar: Option<f64>,
    /// Lines instead, stream by stream.
    pub rows: Vec<LoadedRow>,
    /// Whether the order of the series counts.
    pub ordered: bool,
    /// Whether there are none.
    pub empty: bool,
    /// That it fails, and how.
    pub fail: Option<Message>,
}

/// How many lines a query asks for, and which first.
#[derive(Clone, Copy, Debug)]
pub struct LinesAsked {
    /// The most.
    pub limit: usize,
    /// Which come first.
    pub direction: Direction,
    /// How far they lie apart at least.
    pub interval_ms: i64,
}

/// Reads a script. What cannot be read is in its place among the commands, so that the rest can be run.
pub(super) fn commands(text: &str) -> Vec<Result<Command, ScriptError>> {
    Language { load: LoadedRow::read, eval: head, expect: expectation }.commands(text)
}

fn head(line: usize, asked: &str) -> Result<Eval, String> {
    let (times, query, lines) = if let Some(rest) = asked.strip_prefix("logs ") {
        let mut words = Words { rest };
        words.expect("from")?;
        let start_ms = time_ms(words.next())?;
        words.expect("to")?;
        let times = Times { start_ms, end_ms: time_ms(words.next())?, step_ms: 0 };
        let mut lines = LinesAsked { limit: 100, direction: Direction::Backward, interval_ms: 0 };
        loop {
            let before = words;
            match words.next() {
                "limit" => lines.limit = words.next().parse().map_err(|_| "expected a limit".to_owned())?,
                "interval" => lines.interval_ms = time_ms(words.next())?,
                "forward" => lines.direction = Direction::Forward,
                "backward" => lines.direction = Direction::Backward,
                _ => break (times, before.rest.trim(), Some(lines)),
            }
        }
    } else {
        let (times, query) = script::timed(asked)?;
        (times, query, None)
    };
    Ok(Eval {
        line,
        query: query.to_owned(),
        times,
        lines,
        series: Vec::new(),
        scalar: None,
        rows: Vec::new(),
        ordered: false,
        empty: false,
        fail: None,
    })
}

fn expectation(eval: &mut Eval, text: &str) -> Result<(), String> {
    let mut words = Words { rest: text };
    match words.next() {
        "expect" => {
            let kind = words.next();
            let rest = words.rest.trim();
            match kind {
                "fail" => eval.fail = Some(Message::read(rest)),
                "empty" => eval.empty = true,
                "ordered" => eval.ordered = true,
                _ => return Err(format!("unknown expectation {kind:?}")),
            }
            return Ok(());
        }
        // What some stacks of servers cannot promise; there is none here.
        "skip" => return Ok(()),
        word => {
            if let Ok(value) = word.parse::<f64>() {
                eval.scalar = Some(value);
                return Ok(());
            }
        }
    }
    if eval.lines.is_some() {
        eval.rows.push(LoadedRow::read(text)?);
        return Ok(());
    }
    let (labels, rest) = row::labels(text)?;
    eval.series.push((labels, script::points(rest)?));
    Ok(())
}
