//! Commands of scripts, what became of their queries, and of the scripts of a suite.

use std::fmt::Write as _;

use super::{POINTS_MAX, Reader, blocks};

/// A script that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ScriptError {
    /// From one.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

/// One command: `L` is what it loads, `E` a query and what is expected of it.
#[derive(Clone, Debug)]
pub enum Command<L, E> {
    /// Drops all that was loaded.
    Clear,
    /// Adds data.
    Load(L),
    /// Asks a query.
    Eval(Box<E>),
}

/// How one query of a script went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The line of the query, from one.
    pub line: usize,
    /// The query.
    pub query: String,
    /// What is not as expected.
    pub failure: Option<String>,
}

/// How a language reads the lines of its scripts.
pub struct Language<L, E> {
    /// A line of what a `load` adds.
    pub load: fn(&str) -> Result<L, String>,
    /// A query: the line that it is in, and what follows `eval`.
    pub eval: fn(usize, &str) -> Result<E, String>,
    /// A line of what is expected of it.
    pub expect: fn(&mut E, &str) -> Result<(), String>,
}

impl<L, E> Language<L, E> {
    /// Reads a script. What cannot be read is in its place among the commands, so that the rest can be run.
    #[must_use]
    pub fn commands(&self, text: &str) -> Vec<Result<Command<Vec<L>, E>, ScriptError>> {
        blocks(text).iter().map(|block| self.command(block.line, block.command, &block.lines)).collect()
    }

    fn command(
        &self,
        line: usize,
        command: &str,
        block: &[(usize, &str)],
    ) -> Result<Command<Vec<L>, E>, ScriptError> {
        let fail = |line: usize| move |reason: String| ScriptError { line, reason };
        if command == "clear" {
            return Ok(Command::Clear);
        }
        if command == "load" {
            let items = block.iter().map(|(line, text)| (self.load)(text).map_err(fail(*line)));
            return Ok(Command::Load(items.collect::<Result<_, _>>()?));
        }
        let Some(asked) = command.strip_prefix("eval ") else {
            return Err(fail(line)(format!("unknown command {command:?}")));
        };
        let mut eval = (self.eval)(line, asked).map_err(fail(line))?;
        for (line, text) in block {
            (self.expect)(&mut eval, text).map_err(fail(*line))?;
        }
        Ok(Command::Eval(Box::new(eval)))
    }
}

/// Runs commands, each by `step`, which says how a query went. What could not be read fails; the rest is run.
pub fn run<L, E>(
    commands: Vec<Result<Command<L, E>, ScriptError>>,
    mut step: impl FnMut(Command<L, E>) -> Option<Outcome>,
) -> Vec<Outcome> {
    let unread = |error: ScriptError| Outcome {
        line: error.line,
        query: String::new(),
        failure: Some(format!("cannot be read: {}", error.reason)),
    };
    commands.into_iter().filter_map(|command| command.map_or_else(|e| Some(unread(e)), &mut step)).collect()
}

/// Points of an expected series until a comment; `_` is none.
pub fn points(text: &str) -> Result<Vec<Option<f64>>, String> {
    let mut reader = Reader::new(text.split('#').next().unwrap_or_default(), false);
    let mut points = Vec::new();
    while reader.skip_space() {
        if reader.take("_") {
            let count = reader.times()?.unwrap_or(1);
            points.extend(std::iter::repeat_n(None, count));
        } else {
            reader.numbers(|value| points.push(Some(value)))?;
        }
        if points.len() > POINTS_MAX {
            return Err(format!("series has more than {POINTS_MAX} points"));
        }
    }
    Ok(points)
}

/// What became of the scripts of a suite.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many queries there were.
    pub present: usize,
    /// How many of them went as expected.
    pub passed: usize,
    /// The others: where, what was asked, and what was not as expected.
    pub failures: Vec<String>,
    /// Passed of present, a line for each script.
    pub lines: String,
}

impl Report {
    /// Adds what became of a script.
    pub fn add(&mut self, name: &str, outcomes: &[Outcome]) {
        let before = self.failures.len();
        for outcome in outcomes {
            if let Some(failure) = &outcome.failure {
                self.failures.push(format!("{name}:{}: {}\n    {failure}", outcome.line, outcome.query));
            }
        }
        let passed = outcomes.len() - (self.failures.len() - before);
        self.present += outcomes.len();
        self.passed += passed;
        _ = writeln!(self.lines, "{passed:5} of {:5}  {name}", outcomes.len());
    }
}
