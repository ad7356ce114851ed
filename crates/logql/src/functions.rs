//! The functions of templates of lines and labels: Loki's, many of which come from sprig.
//!
//! A function that makes text larger than its arguments looks at the room that is left before it makes it.

mod decimal;
mod number;
mod text;
mod time;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use throughline_template::{Functions, Kind, Value};

/// What functions know of the row that a template is executed for.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    time_ns: AtomicI64,
    now_ns: AtomicI64,
    line: Mutex<Arc<str>>,
}

impl Surroundings {
    /// For a query that is asked at this time.
    pub(crate) fn at(now_ns: i64) -> Arc<Surroundings> {
        Arc::new(Surroundings { now_ns: AtomicI64::new(now_ns), ..Surroundings::default() })
    }

    /// The row; without its line if no function asks for it.
    pub(crate) fn set(&self, time_ns: i64, line: Option<&str>) {
        self.time_ns.store(time_ns, Ordering::Relaxed);
        if let Some(line) = line {
            *self.line.lock().unwrap_or_else(PoisonError::into_inner) = line.into();
        }
    }

    fn time_ns(&self) -> i64 {
        self.time_ns.load(Ordering::Relaxed)
    }

    fn line(&self) -> Arc<str> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// All of them.
pub(crate) fn functions(surroundings: &Arc<Surroundings>) -> Functions<'static> {
    let mut table = Functions::new();
    text::add(&mut table);
    number::add(&mut table);
    time::add(&mut table, surroundings);
    let row = surroundings.clone();
    table.add("__line__", &[], move |_, _| Ok(Value::Text(row.line())));
    let row = surroundings.clone();
    table.add("__timestamp__", &[], move |_, _| Ok(Value::Time(row.time_ns())));
    table.add_variadic("default", &[Kind::Any], Kind::Any, |values, _| {
        let given = values.get(1).filter(|value| value.truth());
        Ok(given.or(values.first()).cloned().unwrap_or(Value::Nil))
    });
    table
}

/// The text of an argument that is one.
fn text_of(values: &[Value], at: usize) -> &str {
    values.get(at).and_then(Value::as_text).unwrap_or_default()
}

/// The number of an argument that is a whole one.
fn int_of(values: &[Value], at: usize) -> i64 {
    match values.get(at) {
        Some(Value::Int(value)) => *value,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
