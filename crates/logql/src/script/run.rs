//! Runs scripts.

use throughline_exec::Budget;
use throughline_exec::log::MemoryLogs;
use throughline_exec::script::{self, Message, Outcome, messages};

use super::command::{Command, Eval, commands};
use super::compare;
use crate::eval::{Engine, QueryParams};
use crate::parse::parse;
use crate::value::QueryValue;

/// Runs a script. What cannot be read of it fails; the rest is run.
#[must_use]
pub fn run(text: &str, engine: &Engine) -> Vec<Outcome> {
    let mut logs = MemoryLogs::default();
    script::run(commands(text), |command| match command {
        Command::Clear => {
            logs.clear();
            None
        }
        Command::Load(rows) => {
            rows.iter().for_each(|row| row.load(&mut logs));
            None
        }
        Command::Eval(eval) => {
            let failure = check(&eval, &logs, engine).err();
            Some(Outcome { line: eval.line, query: eval.query, failure })
        }
    })
}

fn check(eval: &Eval, logs: &MemoryLogs, engine: &Engine) -> Result<(), String> {
    match (evaluate(eval, logs, engine), &eval.fail) {
        (Ok(value), None) => {
            let answers = !eval.series.is_empty() || !eval.rows.is_empty() || eval.scalar.is_some();
            if answers == eval.empty {
                return Err("the script must expect an answer, or that there is none".to_owned());
            }
            compare::value(eval, &value)
        }
        (Ok(value), Some(message)) => Err(format!("expected to fail with {message:?}, got {value:?}")),
        (Err(error), None) => Err(format!("failed: {error}")),
        (Err(error), Some(message)) => {
            messages("error", std::slice::from_ref(message), false, &[error], Message::is_in)
        }
    }
}

fn evaluate(eval: &Eval, logs: &MemoryLogs, engine: &Engine) -> Result<QueryValue, String> {
    let expr = parse(&eval.query).map_err(|error| error.to_string())?;
    // What is printed is the same query.
    let printed = crate::print::pretty(&expr);
    match parse(&printed) {
        Ok(again) if again.to_string() == expr.to_string() => {}
        again => {
            return Err(format!(
                "printed as {printed}, which is read as {:?}",
                again.map(|expr| expr.to_string())
            ));
        }
    }
    let ns = |ms: i64| ms.saturating_mul(1_000_000);
    let times = eval.times;
    let mut params = QueryParams::range(ns(times.start_ms), ns(times.end_ms), ns(times.step_ms));
    if let Some(lines) = eval.lines {
        params.limit = lines.limit;
        params.direction = lines.direction;
        params.interval_ns = ns(lines.interval_ms);
    }
    engine.evaluate(&expr, &params, logs, &Budget::unlimited()).map_err(|error| error.to_string())
}
