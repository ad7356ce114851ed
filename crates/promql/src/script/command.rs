//! The commands of a script.

use throughline_exec::script::{self, Message, ScriptError, Times, Words, time_ms};

use super::points::{SeriesLine, series_line};
use crate::lexer::unquote;

/// One command.
pub(super) type Command = script::Command<Loaded, Eval>;

/// Samples to add.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Between two points.
    pub step_ms: i64,
    /// Whether classic histograms become native ones as well.
    pub with_custom_buckets: bool,
    /// What to add.
    pub series: Vec<SeriesLine>,
}

/// A query and what it should answer.
#[derive(Clone, Debug)]
pub struct Eval {
    /// The line of the command, from one.
    pub line: usize,
    /// The text of the query.
    pub query: String,
    /// When.
    pub times: Times,
    /// The series, in order.
    pub series: Vec<SeriesLine>,
    /// A number instead.
    pub scalar: Option<f64>,
    /// A text instead.
    pub text: Option<String>,
    /// The times of the points of a range selector's answer.
    pub range: Option<Times>,
    /// Whether the order of the series counts.
    pub ordered: bool,
    /// What must be said besides.
    pub said: Said,
}

/// What is expected to be said about a query. Each list says whether anything is expected, and what.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Errors.
    pub fail: Vec<Message>,
    /// Warnings.
    pub warn: Vec<Message>,
    /// Infos.
    pub info: Vec<Message>,
    /// No warnings.
    pub no_warn: bool,
    /// No infos.
    pub no_info: bool,
}

/// Reads a script. What cannot be read is in its place among the commands, so that the rest can be run.
pub(super) fn commands(text: &str) -> Vec<Result<Command, ScriptError>> {
    let mut lines = text.lines().enumerate().map(|(at, line)| {
        let line = line.trim();
        (at + 1, if line.starts_with('#') { "" } else { line })
    });
    let mut commands = Vec::new();
    while let Some((line, command)) = lines.next() {
        // What belongs to a command ends at an empty line or a comment.
        let block = lines.by_ref().take_while(|(_, line)| !line.is_empty());
        if command.is_empty() {
            continue;
        }
        if command == "clear" {
            commands.push(Ok(Command::Clear));
        } else if command.starts_with("load") {
            commands.push(load(line, command, block));
        } else if command.starts_with("eval") {
            commands.push(eval(line, command, block));
        } else {
            commands.push(Err(ScriptError { line, reason: format!("unknown command {command:?}") }));
        }
    }
    commands
}

fn eval<'a>(
    line: usize,
    command: &str,
    block: impl Iterator<Item = (usize, &'a str)>,
) -> Result<Command, ScriptError> {
    // All of the block is taken, whether or not it can be read.
    let said: Vec<_> = block.collect();
    let mut eval = head(line, command).map_err(|reason| ScriptError { line, reason })?;
    for (line, text) in said {
        expectation(&mut eval, text).map_err(|reason| ScriptError { line, reason })?;
    }
    Ok(Command::Eval(Box::new(eval)))
}

fn load<'a>(
    line: usize,
    command: &str,
    block: impl Iterator<Item = (usize, &'a str)>,
) -> Result<Command, ScriptError> {
    let lines: Vec<_> = block.collect();
    let fail = |reason: String| ScriptError { line, reason };
    let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let with_custom_buckets = match word {
        "load" => false,
        "load_with_nhcb" => true,
        _ => return Err(fail(format!("unknown command {word:?}"))),
    };
    let step_ms = time_ms(rest).map_err(fail)?;
    let mut series = Vec::new();
    for (line, text) in lines {
        series.push(series_line(text).map_err(|reason| ScriptError { line, reason })?);
    }
    Ok(Command::Load(Loaded { step_ms, with_custom_buckets, series }))
}

fn head(line: usize, command: &str) -> Result<Eval, String> {
    let head = script::head(command)?;
    let mut said = Said::default();
    let mut ordered = false;
    match head.kind.strip_prefix("eval").unwrap_or(head.kind) {
        "" => {}
        "_fail" => said.fail.push(Message::Any),
        "_warn" => said.warn.push(Message::Any),
        "_info" => said.info.push(Message::Any),
        "_ordered" => ordered = true,
        _ => return Err(format!("unknown command {:?}", head.kind)),
    }
    Ok(Eval {
        line,
        query: head.query.to_owned(),
        times: head.times,
        series: Vec::new(),
        scalar: None,
        text: None,
        range: None,
        ordered,
        said,
    })
}

fn expectation(eval: &mut Eval, line: &str) -> Result<(), String> {
    let mut words = Words { rest: line };
    match words.next() {
        "expect" => return expect(eval, &mut words),
        "expected_fail_message" => {
            eval.said.fail = vec![Message::Text(words.rest.trim().to_owned())];
            return Ok(());
        }
        "expected_fail_regexp" => {
            eval.said.fail = vec![Message::Regex(words.rest.trim().to_owned())];
            return Ok(());
        }
        _ => {}
    }
    if let Ok(value) = line.parse::<f64>() {
        eval.scalar = Some(value);
        return Ok(());
    }
    eval.series.push(series_line(line)?);
    Ok(())
}

fn expect(eval: &mut Eval, words: &mut Words<'_>) -> Result<(), String> {
    let kind = words.next();
    let rest = words.rest.trim();
    let message = Message::read(rest);
    match kind {
        "fail" => eval.said.fail.push(message),
        "warn" => eval.said.warn.push(message),
        "info" => eval.said.info.push(message),
        "no_warn" => eval.said.no_warn = true,
        "no_info" => eval.said.no_info = true,
        "ordered" => eval.ordered = true,
        "string" if rest.len() >= 2 => {
            eval.text = Some(String::from_utf8_lossy(&unquote(rest)).into_owned());
        }
        "range" => {
            words.expect("vector")?;
            eval.range = Some(script::times(words)?);
        }
        _ => return Err(format!("unknown expectation {kind:?}")),
    }
    Ok(())
}
