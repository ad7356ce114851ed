//! Runs scripts: each query as it is written, and in the other forms that must answer the same.

use throughline_exec::script::{self, Message, Outcome, messages};
use throughline_exec::{Budget, Cancellation, Limits};

use super::command::{Command, Eval, Loaded, commands};
use super::memory::MemorySeries;
use super::{classic, compare};
use crate::ast::{At, Expr, Function};
use crate::eval::Engine;
use crate::value::{QueryResult, QueryValue};

/// Most samples that a query of a script may hold.
const SAMPLES_MAX: u64 = 10_000;
/// Before and after the time of an instant query, when it is asked as a range.
const NEIGHBOUR_MS: i64 = 60_000;

/// Runs a script. What cannot be read of it fails; the rest is run.
pub fn run(text: &str, engine: &Engine) -> Vec<Outcome> {
    let mut memory = MemorySeries::default();
    script::run(commands(text), |command| match command {
        Command::Clear => {
            memory.clear();
            None
        }
        Command::Load(Loaded { step_ms, with_custom_buckets, series }) => {
            memory.load(step_ms, &series);
            if with_custom_buckets {
                classic::load(&mut memory, step_ms, &series);
            }
            None
        }
        Command::Eval(eval) => {
            let failure = Run { eval: &eval, memory: &memory, engine }.all().err();
            Some(Outcome { line: eval.line, query: eval.query, failure })
        }
    })
}

struct Run<'a> {
    eval: &'a Eval,
    memory: &'a MemorySeries,
    engine: &'a Engine,
}

impl Run<'_> {
    fn all(&self) -> Result<(), String> {
        let eval = self.eval;
        let expr = match crate::parse::parse(&eval.query) {
            Ok(expr) => expr,
            Err(error) => return self.refused(&error.to_string()),
        };
        if eval.times.step_ms > 0 {
            let times = (eval.times.start_ms, eval.times.end_ms, eval.times.step_ms);
            return match self.range(&expr, times) {
                Ok(result) => self.accepted(&result, |matrix| compare::range(eval, matrix)),
                Err(error) => self.refused(&error),
            };
        }
        let result = match self.instant(&expr, eval.times.start_ms) {
            Ok(result) => result,
            Err(error) => return self.refused(&error),
        };
        self.said(&result)?;
        compare::instant(eval, &result.value)?;
        self.as_range(&expr, &result)?;
        self.with_fixed_times(&expr)
    }

    fn budget() -> Budget {
        Budget::new(Limits { samples: SAMPLES_MAX, ..Limits::NONE }, Cancellation::new())
    }

    fn instant(&self, expr: &Expr, time_ms: i64) -> Result<QueryResult, String> {
        let answer = self.engine.instant(&self.eval.query, expr, time_ms, self.memory, &Self::budget());
        answer.map_err(|error| error.to_string())
    }

    fn range(&self, expr: &Expr, times: (i64, i64, i64)) -> Result<QueryResult, String> {
        let answer = self.engine.range(&self.eval.query, expr, times, self.memory, &Self::budget());
        answer.map_err(|error| error.to_string())
    }

    fn refused(&self, error: &str) -> Result<(), String> {
        if self.eval.said.fail.is_empty() {
            return Err(format!("failed: {error}"));
        }
        messages("error", &self.eval.said.fail, false, &[error.to_owned()], Message::is)
    }

    fn accepted(
        &self,
        result: &QueryResult,
        compare: impl FnOnce(&[crate::value::RangeSeries]) -> Result<(), String>,
    ) -> Result<(), String> {
        self.said(result)?;
        match &result.value {
            QueryValue::Matrix(matrix) => compare(matrix),
            _ => Err("a range query has samples over time".to_owned()),
        }
    }

    /// Checks that failures failed, and what was said besides.
    fn said(&self, result: &QueryResult) -> Result<(), String> {
        let said = &self.eval.said;
        if let Some(message) = said.fail.first() {
            let wanted = match message {
                Message::Any => String::new(),
                message => format!(" with {message:?}"),
            };
            return Err(format!("expected to fail{wanted}, got {:?}", result.value));
        }
        messages("warning", &said.warn, said.no_warn, &result.warnings, Message::is)?;
        messages("info", &said.info, said.no_info, &result.infos, Message::is)
    }

    /// The answer at one time is also that of a range query at this step.
    fn as_range(&self, expr: &Expr, result: &QueryResult) -> Result<(), String> {
        if !matches!(result.value, QueryValue::Scalar(_) | QueryValue::Vector(_)) {
            return Ok(());
        }
        let time_ms = self.eval.times.start_ms;
        let single = (time_ms, time_ms, 1_000);
        let neighbours = (time_ms - NEIGHBOUR_MS, time_ms + NEIGHBOUR_MS, NEIGHBOUR_MS);
        let depends_on_step =
            mentions(expr, &[Function::Step]) || self.eval.query.to_lowercase().contains("step()");
        let depends_on_times = depends_on_step
            || mentions(expr, &[Function::Start, Function::End, Function::Range])
            || ["range()", "start()", "end()"]
                .iter()
                .any(|call| self.eval.query.to_lowercase().contains(call));
        for (form, times, skipped) in
            [("one step", single, depends_on_step), ("three steps", neighbours, depends_on_times)]
        {
            if skipped {
                continue;
            }
            let compared = self.range(expr, times).and_then(|result| match &result.value {
                QueryValue::Matrix(matrix) => compare::step(self.eval, matrix, time_ms),
                _ => Err("a range query has samples over time".to_owned()),
            });
            compared.map_err(|reason| format!("as a range of {form}: {reason}"))?;
        }
        Ok(())
    }

    /// With `@` at each selector the answer is the same at every time.
    fn with_fixed_times(&self, expr: &Expr) -> Result<(), String> {
        if mentions(expr, &DEPEND_ON_TIME) {
            return Ok(());
        }
        let time_ms = self.eval.times.start_ms;
        let mut fixed = expr.clone();
        fix_times(&mut fixed, time_ms);
        let times = match time_ms {
            0 => vec![-1_000, 0, 1_000],
            _ => vec![-10 * time_ms, 0, time_ms / 5, time_ms, 10 * time_ms],
        };
        for at_ms in times {
            let result = self.instant(&fixed, at_ms).and_then(|result| {
                self.said(&result)?;
                compare::instant(self.eval, &result.value)
            });
            result.map_err(|reason| format!("as {fixed} at {at_ms} ms: {reason}"))?;
        }
        Ok(())
    }
}

/// Functions whose answer depends on the time of the query, whatever their argument.
const DEPEND_ON_TIME: [Function; 16] = [
    Function::DaysInMonth,
    Function::DayOfMonth,
    Function::DayOfWeek,
    Function::DayOfYear,
    Function::Hour,
    Function::Minute,
    Function::Month,
    Function::Year,
    Function::PredictLinear,
    Function::Time,
    Function::Timestamp,
    Function::Start,
    Function::End,
    Function::Step,
    Function::Range,
    Function::Info,
];

fn mentions(expr: &Expr, functions: &[Function]) -> bool {
    let here = matches!(expr, Expr::Call(call) if functions.contains(&call.function));
    here || expr.children().into_iter().any(|child| mentions(child, functions))
}

/// Puts `@` and the time at each selector that has none, nor a time of its own; what is inside a subquery is fixed by the
/// subquery.
fn fix_times(expr: &mut Expr, time_ms: i64) {
    let fix = |at: &mut Option<At>| {
        if !matches!(at, Some(At::Timestamp { .. })) {
            *at = Some(At::Timestamp { ms: time_ms });
        }
    };
    match expr {
        Expr::Number(_) | Expr::Text(_) => {}
        Expr::Vector(selector) => fix(&mut selector.at),
        Expr::Matrix(matrix) => fix(&mut matrix.selector.at),
        Expr::Subquery(subquery) => fix(&mut subquery.at),
        Expr::Call(call) => call.args.iter_mut().for_each(|argument| fix_times(argument, time_ms)),
        Expr::Aggregate(aggregate) => {
            if let Some(param) = &mut aggregate.param {
                fix_times(param, time_ms);
            }
            fix_times(&mut aggregate.expr, time_ms);
        }
        Expr::Binary(binary) => {
            fix_times(&mut binary.lhs, time_ms);
            fix_times(&mut binary.rhs, time_ms);
        }
        Expr::Unary(unary) => fix_times(&mut unary.expr, time_ms),
        Expr::Paren(paren) => fix_times(&mut paren.expr, time_ms),
    }
}
