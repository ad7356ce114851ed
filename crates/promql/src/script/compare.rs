//! Whether an answer is the one that a script expects.

use std::fmt::Write as _;

use throughline_exec::histogram::{Buckets, format_float};
use throughline_exec::script::{Times, float_equal};
use throughline_exec::{FloatHistogram, Labels};

use super::command::Eval;
use super::points::{Point, SeriesLine};
use crate::value::{QueryValue, RangeSeries, Sample};

/// Most differences that one failure shows.
const SHOWN_MAX: usize = 10;

/// Compares the value of an instant query.
pub(super) fn instant(eval: &Eval, value: &QueryValue) -> Result<(), String> {
    match value {
        QueryValue::Scalar(value) => scalar(eval, *value),
        QueryValue::Text(text) => match &eval.text {
            Some(wanted) if wanted == text => Ok(()),
            wanted => Err(format!("expected the text {wanted:?}, got {text:?}")),
        },
        QueryValue::Matrix(matrix) => {
            let times = eval.range.ok_or("got samples over time, which the script does not expect")?;
            series(&eval.series, times, matrix)
        }
        QueryValue::Vector(vector) => {
            single_values(eval)?;
            let time_ms = eval.times.start_ms;
            let matrix: Vec<RangeSeries> = vector
                .iter()
                .map(|sample| {
                    let mut series = RangeSeries { labels: sample.labels.clone(), ..RangeSeries::default() };
                    match &sample.sample {
                        Sample::Float(value) => series.floats.push((time_ms, *value)),
                        Sample::Histogram(histogram) => series.histograms.push((time_ms, histogram.clone())),
                    }
                    series
                })
                .collect();
            series(&eval.series, eval.times, &matrix)?;
            if eval.ordered { order(&eval.series, &matrix) } else { Ok(()) }
        }
    }
}

/// Compares one step of a range query with what an instant query at this step should answer.
pub(super) fn step(eval: &Eval, matrix: &[RangeSeries], time_ms: i64) -> Result<(), String> {
    let mut at: Vec<RangeSeries> = matrix.to_vec();
    for series in &mut at {
        series.floats.retain(|point| point.0 == time_ms);
        series.histograms.retain(|point| point.0 == time_ms);
    }
    at.retain(|series| !series.floats.is_empty() || !series.histograms.is_empty());
    match eval.scalar {
        // A number is a series without labels over time.
        Some(_) => match at.first().and_then(|series| series.floats.first()) {
            Some((_, value)) if at.len() == 1 => scalar(eval, *value),
            _ => Err(format!("expected one series without labels, got {} series", at.len())),
        },
        None => series(&eval.series, eval.times, &at),
    }
}

/// Compares samples over time.
pub(super) fn range(eval: &Eval, matrix: &[RangeSeries]) -> Result<(), String> {
    if !matrix.is_sorted_by(|a, b| a.labels <= b.labels) {
        return Err("series are not sorted by labels".to_owned());
    }
    series(&eval.series, eval.times, matrix)
}

fn scalar(eval: &Eval, value: f64) -> Result<(), String> {
    match eval.scalar {
        Some(wanted) if float_equal(wanted, value) => Ok(()),
        Some(wanted) => Err(format!("expected {wanted}, got {value}")),
        None => Err(format!("got the number {value}, which the script does not expect")),
    }
}

fn single_values(eval: &Eval) -> Result<(), String> {
    if let Some(wanted) = eval.scalar {
        return Err(format!("expected the number {wanted}, got a vector"));
    }
    match eval.series.iter().find(|series| series.points.len() != 1) {
        Some(series) => Err(format!("an instant query has one value for {}", series.labels)),
        None => Ok(()),
    }
}

fn order(wanted: &[SeriesLine], got: &[RangeSeries]) -> Result<(), String> {
    let pairs = wanted.iter().map(|series| &series.labels).zip(got.iter().map(|series| &series.labels));
    match pairs.enumerate().find(|(_, (wanted, got))| wanted != got) {
        Some((at, (wanted, got))) => Err(format!("expected {wanted} at place {}, got {got}", at + 1)),
        None => Ok(()),
    }
}

fn series(wanted: &[SeriesLine], times: Times, got: &[RangeSeries]) -> Result<(), String> {
    let mut differences = Vec::new();
    for (at, series) in got.iter().enumerate() {
        if got[..at].iter().any(|earlier| earlier.labels == series.labels) {
            differences.push(format!("{} comes twice", series.labels));
        }
        if !wanted.iter().any(|wanted| wanted.labels == series.labels && has_points(wanted)) {
            differences.push(format!("unexpected {} {}", series.labels, show(series)));
        }
    }
    for line in wanted.iter().filter(|line| has_points(line)) {
        let Some(series) = got.iter().find(|series| series.labels == line.labels) else {
            differences.push(format!("missing {}", line.labels));
            continue;
        };
        if let Err(difference) = points(line, times, series) {
            differences.push(format!("{}: {difference}", line.labels));
        }
    }
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

fn has_points(line: &SeriesLine) -> bool {
    line.points.iter().any(|point| !matches!(point, Point::Gap))
}

fn points(line: &SeriesLine, times: Times, series: &RangeSeries) -> Result<(), String> {
    let labels: &Labels = &series.labels;
    let mut floats = series.floats.iter().peekable();
    let mut histograms = series.histograms.iter().peekable();
    for (at, point) in line.points.iter().enumerate() {
        let time_ms = times.start_ms + times.step_ms * at as i64;
        if time_ms > times.end_ms {
            return Err(format!("the script has more points than {labels} has steps"));
        }
        let float = floats.next_if(|point| point.0 == time_ms);
        let histogram = histograms.next_if(|point| point.0 == time_ms);
        let equal = match (point, float, histogram) {
            (Point::Gap, None, None) => true,
            (Point::Float(wanted), Some((_, value)), None) => float_equal(*wanted, *value),
            (Point::Histogram { histogram: wanted, hint_given }, None, Some((_, got))) => {
                let hints_equal = wanted.counter_reset_hint == got.counter_reset_hint;
                histogram_equal(wanted, got) && (!hint_given || hints_equal)
            }
            _ => false,
        };
        if !equal {
            let got = match (float, histogram) {
                (Some((_, value)), _) => format_float(*value),
                (_, Some((_, histogram))) => histogram.expression(),
                _ => "nothing".to_owned(),
            };
            return Err(format!(
                "expected {} at {time_ms} ms, got {got} in {}",
                show_point(point),
                show(series)
            ));
        }
    }
    match (floats.next(), histograms.next()) {
        (None, None) => Ok(()),
        (Some((time_ms, _)), _) | (_, Some((time_ms, _))) => {
            Err(format!("expected nothing at {time_ms} ms, got more in {}", show(series)))
        }
    }
}

fn show_point(point: &Point) -> String {
    match point {
        Point::Gap => "nothing".to_owned(),
        Point::Float(value) => format_float(*value),
        Point::Histogram { histogram, .. } => histogram.expression(),
    }
}

fn show(series: &RangeSeries) -> String {
    let mut text = String::new();
    for (time_ms, value) in series.floats.iter().take(SHOWN_MAX) {
        let _ = write!(text, "{}@{time_ms} ", format_float(*value));
    }
    for (time_ms, histogram) in series.histograms.iter().take(SHOWN_MAX) {
        let _ = write!(text, "{}@{time_ms} ", histogram.expression());
    }
    text
}

fn histogram_equal(wanted: &FloatHistogram, got: &FloatHistogram) -> bool {
    wanted.schema == got.schema
        && float_equal(wanted.count, got.count)
        && float_equal(wanted.sum, got.sum)
        && (wanted.is_custom()
            || (wanted.zero_threshold == got.zero_threshold
                && float_equal(wanted.zero_count, got.zero_count)))
        && wanted.custom_values == got.custom_values
        && buckets_equal(&wanted.positive, &got.positive)
        && buckets_equal(&wanted.negative, &got.negative)
}

/// Empty buckets count as absent.
fn buckets_equal(wanted: &Buckets, got: &Buckets) -> bool {
    let populated = |buckets: &Buckets| buckets.iter().filter(|bucket| bucket.1 != 0.0).collect::<Vec<_>>();
    let (wanted, got) = (populated(wanted), populated(got));
    wanted.len() == got.len()
        && wanted.iter().zip(&got).all(|(wanted, got)| wanted.0 == got.0 && float_equal(wanted.1, got.1))
}
