//! The commands of a script.

use throughline_exec::Labels;
use throughline_exec::log::Direction;
use throughline_exec::script::{self, Message, Reader, Times, Words, time_ms};

use super::row::{self, LoadedRow};

/// A script that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ScriptError {
    /// From one.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

/// One command.
#[derive(Clone, Debug)]
pub enum Command {
    /// Drops all rows.
    Clear,
    /// Adds rows.
    Load(Vec<LoadedRow>),
    /// Asks a query.
    Eval(Box<Eval>),
}

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
pub fn commands(text: &str) -> Vec<Result<Command, ScriptError>> {
    script::blocks(text).iter().map(|block| read(block.line, block.command, &block.lines)).collect()
}

fn read(line: usize, command: &str, block: &[(usize, &str)]) -> Result<Command, ScriptError> {
    let fail = |line: usize| move |reason: String| ScriptError { line, reason };
    if command == "clear" {
        return Ok(Command::Clear);
    }
    if command == "load" {
        let rows = block.iter().map(|(line, text)| LoadedRow::read(text).map_err(fail(*line)));
        return Ok(Command::Load(rows.collect::<Result<_, _>>()?));
    }
    if !command.starts_with("eval ") {
        return Err(fail(line)(format!("unknown command {command:?}")));
    }
    let mut eval = head(line, command).map_err(fail(line))?;
    for (line, text) in block {
        expectation(&mut eval, text).map_err(fail(*line))?;
    }
    Ok(Command::Eval(Box::new(eval)))
}

fn head(line: usize, command: &str) -> Result<Eval, String> {
    let (times, query, lines) = if let Some(rest) = command.strip_prefix("eval logs ") {
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
        let head = script::head(command)?;
        (head.times, head.query, None)
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
    eval.series.push((labels, points(rest)?));
    Ok(())
}

/// Points until a comment.
fn points(text: &str) -> Result<Vec<Option<f64>>, String> {
    let mut reader = Reader::new(text.split('#').next().unwrap_or_default(), false);
    let mut points = Vec::new();
    while reader.skip_space() {
        if reader.take("_") {
            let count = reader.times()?.unwrap_or(1);
            points.extend(std::iter::repeat_n(None, count));
        } else {
            reader.numbers(|value| points.push(Some(value)))?;
        }
        if points.len() > script::POINTS_MAX {
            return Err(format!("series has more than {} points", script::POINTS_MAX));
        }
    }
    Ok(points)
}
