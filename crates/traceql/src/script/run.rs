//! Runs scripts.

use throughline_exec::Budget;
use throughline_exec::script::{self, Message, Outcome, float_equal, messages};
use throughline_model::TraceId;

use super::command::{Asked, Command, Eval, commands};
use super::span;
use crate::answer::{FoundSpanset, MetricsAnswer, SearchAnswer};
use crate::eval::{Engine, MetricsParams, SearchParams};
use crate::memory::MemoryTraces;
use crate::value::Value;

enum Answer {
    Search(SearchAnswer),
    Series(MetricsAnswer),
}

/// Runs a script. What cannot be read of it fails; the rest is run.
#[must_use]
pub fn run(text: &str, engine: &Engine) -> Vec<Outcome> {
    let mut traces = MemoryTraces::default();
    script::run(commands(text), |command| match command {
        Command::Clear => {
            traces.clear();
            None
        }
        Command::Load(spans) => {
            spans.into_iter().for_each(|span| traces.push(span));
            None
        }
        Command::Eval(eval) => {
            let failure = check(&eval, &traces, engine).err();
            Some(Outcome { line: eval.line, query: eval.query, failure })
        }
    })
}

fn check(eval: &Eval, traces: &MemoryTraces, engine: &Engine) -> Result<(), String> {
    match (evaluate(eval, traces, engine), &eval.fail) {
        (Ok(answer), None) => {
            if (eval.sets.is_empty() && eval.series.is_empty()) != eval.empty {
                return Err("the script must expect an answer, or that there is none".to_owned());
            }
            match answer {
                Answer::Search(answer) => compare_sets(eval, &answer),
                Answer::Series(answer) => compare_series(eval, &answer),
            }
        }
        (Ok(_), Some(message)) => Err(format!("expected to fail with {message:?}")),
        (Err(error), None) => Err(format!("failed: {error}")),
        (Err(error), Some(message)) => {
            messages("error", std::slice::from_ref(message), false, &[error], Message::is_in)
        }
    }
}

fn evaluate(eval: &Eval, traces: &MemoryTraces, engine: &Engine) -> Result<Answer, String> {
    let query = crate::checked(&eval.query).map_err(|error| error.to_string())?;
    // What is printed is the same query.
    let printed = query.to_string();
    if crate::parse(&printed).as_ref() != Ok(&query) {
        return Err(format!("printed as {printed}, which is another query"));
    }
    let budget = Budget::unlimited();
    match eval.asked {
        Asked::Search(start_ns, end_ns, limit, spans_per_set) => {
            let params = SearchParams { start_ns, end_ns, limit, spans_per_set };
            engine.search(&query, &params, traces, &budget).map(Answer::Search)
        }
        Asked::Series(start_ns, end_ns, step_ns) => {
            let params = MetricsParams { start_ns, end_ns, step_ns, exemplars: 4, series_max: 0 };
            engine.metrics(&query, &params, traces, &budget).map(Answer::Series)
        }
    }
    .map_err(|error| error.to_string())
}

/// The name that an id was made of.
fn name_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_start_matches('\0').to_owned()
}

fn pairs(pairs: &[(String, Value)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(", ")
}

/// A set of spans as it is written; with attributes of spans only where they are expected.
fn written(id: TraceId, set: &FoundSpanset, with_attributes: &[bool]) -> String {
    let mut text = format!("{}:", name_of(&id.0));
    for (at, span) in set.spans.iter().enumerate() {
        text.push(' ');
        text.push_str(&name_of(&span.id.0));
        if with_attributes.get(at) == Some(&true) {
            text.push_str(&format!("[{}]", pairs(&span.attributes)));
        }
    }
    if set.matched != set.spans.len() as u64 {
        text.push_str(&format!(" of {}", set.matched));
    }
    if !set.attributes.is_empty() {
        text.push_str(&format!(" {{{}}}", pairs(&set.attributes)));
    }
    text
}

fn compare_sets(eval: &Eval, answer: &SearchAnswer) -> Result<(), String> {
    let found: Vec<(TraceId, &FoundSpanset)> =
        answer.traces.iter().flat_map(|trace| trace.spansets.iter().map(|set| (trace.id, set))).collect();
    let texts = |expected: Option<&String>, at: usize| {
        let words = expected.map(|text| span::words(text)).unwrap_or_default();
        let with: Vec<bool> = words.iter().skip(1).map(|word| word.ends_with(']')).collect();
        found.get(at).map(|(id, set)| written(*id, set, &with))
    };
    for at in 0..eval.sets.len().max(found.len()) {
        let expected = eval.sets.get(at);
        let got = texts(expected, at);
        let normal = expected.map(|text| span::words(text).join(" "));
        if normal != got {
            let or_none = |text: Option<String>| text.unwrap_or_else(|| "nothing".to_owned());
            return Err(format!("expected {}, got {}", or_none(normal), or_none(got)));
        }
    }
    Ok(())
}

fn compare_series(eval: &Eval, answer: &MetricsAnswer) -> Result<(), String> {
    let mut left: Vec<&(String, Vec<Option<f64>>)> = eval.series.iter().collect();
    for series in &answer.series {
        let labels = format!("{{{}}}", pairs(&series.labels));
        let Some(place) = left.iter().position(|(expected, _)| *expected == labels) else {
            let all: Vec<String> = answer.series.iter().map(|series| pairs(&series.labels)).collect();
            return Err(format!("unexpected {labels}; all are {all:?}"));
        };
        let (_, points) = left.swap_remove(place);
        let Asked::Series(start_ns, end_ns, step_ns) = eval.asked else { continue };
        let step_ns = if step_ns > 0 { step_ns } else { end_ns.saturating_sub(start_ns) };
        for (at, expected) in (1i64..).zip(points) {
            let time = start_ns.saturating_add(step_ns.saturating_mul(at));
            let got = series.samples.iter().find(|(of, _)| *of == time).map(|(_, value)| *value);
            let same = match (expected, got) {
                (Some(expected), Some(got)) => float_equal(*expected, got),
                (None, None) => true,
                _ => false,
            };
            if !same {
                return Err(format!("{labels}: expected {expected:?} in interval {at}, got {got:?}"));
            }
        }
        if series.samples.len() != points.iter().flatten().count() {
            return Err(format!(
                "{labels}: expected {} samples, got {:?}",
                points.iter().flatten().count(),
                series.samples
            ));
        }
    }
    if let Some((labels, _)) = left.first() {
        return Err(format!("missing {labels}"));
    }
    let exemplars: usize = answer.series.iter().map(|series| series.exemplars.len()).sum();
    if eval.exemplars.is_some_and(|expected| expected != exemplars) {
        return Err(format!("expected {:?} exemplars, got {exemplars}", eval.exemplars));
    }
    messages("note", &eval.notes, false, &answer.notes, Message::is_in)
}
