//! Whether an answer is the one that a script expects.

use throughline_exec::Labels;
use throughline_exec::script::float_equal;

use super::command::Eval;
use super::row::LoadedRow;
use crate::value::{LogStream, QueryValue};

/// Most differences that one failure shows.
const SHOWN_MAX: usize = 10;

/// Compares the value of a query.
pub(super) fn value(eval: &Eval, value: &QueryValue) -> Result<(), String> {
    match value {
        QueryValue::Streams(streams) => rows(eval, streams),
        QueryValue::Scalar(value) => match eval.scalar {
            Some(wanted) if float_equal(wanted, *value) => Ok(()),
            wanted => Err(format!("expected {wanted:?}, got {value}")),
        },
        QueryValue::Vector(vector) => {
            let got: Vec<(&Labels, Vec<Option<f64>>)> =
                vector.iter().map(|(labels, value)| (labels, vec![Some(*value)])).collect();
            series(eval, &got)?;
            if eval.ordered { order(eval, vector) } else { Ok(()) }
        }
        QueryValue::Matrix(matrix) => {
            if !matrix.is_sorted_by(|a, b| a.0 < b.0) {
                return Err("series are not sorted by labels".to_owned());
            }
            let got: Vec<(&Labels, Vec<Option<f64>>)> =
                matrix.iter().map(|(labels, points)| (labels, at_steps(eval, points))).collect();
            series(eval, &got)
        }
    }
}

/// Points at the steps of the query.
fn at_steps(eval: &Eval, points: &[(i64, f64)]) -> Vec<Option<f64>> {
    let times = eval.times;
    let steps = (times.end_ms - times.start_ms) / times.step_ms.max(1) + 1;
    let at = |step: i64| {
        let time_ns = (times.start_ms + times.step_ms * step) * 1_000_000;
        points.iter().find(|point| point.0 == time_ns).map(|point| point.1)
    };
    (0..steps).map(at).collect()
}

fn order(eval: &Eval, got: &[(Labels, f64)]) -> Result<(), String> {
    let pairs = eval.series.iter().zip(got).enumerate();
    match pairs.into_iter().find(|(_, (wanted, got))| wanted.0 != got.0) {
        Some((at, (wanted, got))) => Err(format!("expected {} at place {}, got {}", wanted.0, at + 1, got.0)),
        None => Ok(()),
    }
}

fn series(eval: &Eval, got: &[(&Labels, Vec<Option<f64>>)]) -> Result<(), String> {
    if let Some(wanted) = eval.scalar {
        return Err(format!("expected the number {wanted}, got series"));
    }
    let mut differences = Vec::new();
    for (at, (labels, points)) in got.iter().enumerate() {
        if got.iter().take(at).any(|earlier| earlier.0 == *labels) {
            differences.push(format!("{labels} comes twice"));
        }
        if !eval.series.iter().any(|wanted| wanted.0 == **labels) {
            differences.push(format!("unexpected {labels} {}", show(points)));
        }
    }
    for (labels, wanted) in &eval.series {
        let Some((_, points)) = got.iter().find(|series| series.0 == labels) else {
            differences.push(format!("missing {labels} {}", show(wanted)));
            continue;
        };
        let equal = |(a, b): (&Option<f64>, &Option<f64>)| match (a, b) {
            (Some(a), Some(b)) => float_equal(*a, *b),
            (a, b) => a.is_none() == b.is_none(),
        };
        if wanted.len() != points.len() || !wanted.iter().zip(points).all(equal) {
            differences.push(format!("{labels}: expected {}, got {}", show(wanted), show(points)));
        }
    }
    finish(differences)
}

fn finish(mut differences: Vec<String>) -> Result<(), String> {
    if differences.is_empty() {
        return Ok(());
    }
    let more = differences.len().saturating_sub(SHOWN_MAX);
    differences.truncate(SHOWN_MAX);
    if more > 0 {
        differences.push(format!("and {more} more"));
    }
    Err(differences.join("\n    "))
}

fn show(points: &[Option<f64>]) -> String {
    let shown = points
        .iter()
        .take(SHOWN_MAX)
        .map(|point| point.map_or_else(|| "_".to_owned(), |value| value.to_string()));
    shown.collect::<Vec<_>>().join(" ")
}

fn rows(eval: &Eval, streams: &[LogStream]) -> Result<(), String> {
    let got: Vec<(&LogStream, i64, &str)> = streams
        .iter()
        .flat_map(|stream| {
            stream.entries.iter().map(move |(time_ns, line)| (stream, *time_ns, line.as_str()))
        })
        .collect();
    let same = |wanted: &LoadedRow, got: &(&LogStream, i64, &str)| {
        let (stream, time_ns, line) = got;
        let categories = [(&wanted.metadata, &stream.metadata), (&wanted.parsed, &stream.parsed)];
        wanted.labels == stream.labels
            && wanted.time_ns == *time_ns
            && wanted.line == *line
            && categories.iter().all(|(wanted, got)| wanted.as_ref().is_none_or(|wanted| wanted == *got))
    };
    let show = |got: &(&LogStream, i64, &str)| {
        let (stream, time_ns, line) = got;
        let (labels, metadata, parsed) = (&stream.labels, &stream.metadata, &stream.parsed);
        format!("{labels} {line:?} @ {} ms, metadata {metadata}, parsed {parsed}", time_ns / 1_000_000)
    };
    let mut differences = Vec::new();
    for at in 0..got.len().max(eval.rows.len()) {
        match (eval.rows.get(at), got.get(at)) {
            (Some(wanted), Some(got)) if same(wanted, got) => {}
            (Some(wanted), got) => {
                let got = got.map_or_else(|| "nothing".to_owned(), show);
                differences.push(format!(
                    "expected {} {:?} as line {}, got {got}",
                    wanted.labels,
                    wanted.line,
                    at + 1
                ));
            }
            (None, Some(got)) => differences.push(format!("unexpected {}", show(got))),
            (None, None) => {}
        }
    }
    finish(differences)
}
