//! Series written in one line: labels, then points at equal distances.

use throughline_exec::histogram::{Buckets, Span};
use throughline_exec::script::{POINTS_MAX, Reader};
use throughline_exec::{CounterResetHint, FloatHistogram, Labels, MatchOp, stale_nan};

/// What is written after the labels for the line to hold start times.
const START_TIMES: &str = "@st";

/// One point of a series.
#[derive(Clone, Debug)]
pub enum Point {
    /// Nothing at this time.
    Gap,
    /// A number; also the marker for the end of a series.
    Float(f64),
    /// A native histogram.
    Histogram {
        /// Its value.
        histogram: FloatHistogram,
        /// Whether the hint about resets is part of what is meant.
        hint_given: bool,
    },
}

/// A series and its points.
#[derive(Clone, Debug)]
pub struct SeriesLine {
    /// The series.
    pub labels: Labels,
    /// Whether the points are the distances in milliseconds from each sample to its start time.
    pub start_times: bool,
    /// In order.
    pub points: Vec<Point>,
}

/// Reads `name{labels} points`.
pub fn series_line(line: &str) -> Result<SeriesLine, String> {
    let (series, rest) = split_series(line);
    let (rest, start_times) = match rest.strip_prefix(START_TIMES) {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let selector = crate::parse::parse_selector(series).map_err(|error| error.to_string())?;
    if let Some(matcher) = selector.matchers.iter().find(|matcher| matcher.op() != MatchOp::Equal) {
        return Err(format!("a series has labels, not conditions such as {matcher}"));
    }
    let labels =
        Labels::from_pairs(selector.matchers.iter().map(|matcher| (matcher.name(), matcher.value())));
    let mut reader = Reader::new(rest, start_times);
    let mut points = Vec::new();
    while reader.skip_space() {
        item(&mut reader, &mut points)?;
        if points.len() > POINTS_MAX {
            return Err(format!("series has more than {POINTS_MAX} points"));
        }
    }
    Ok(SeriesLine { labels, start_times, points })
}

/// Parts the name and the braces from what follows.
fn split_series(line: &str) -> (&str, &str) {
    let mut quote = None;
    let mut escaped = false;
    let mut in_braces = false;
    for (at, char) in line.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"' | '\'') if char == '\\' => escaped = true,
            Some(open) if char == open => quote = None,
            Some(_) => {}
            None if in_braces && matches!(char, '"' | '\'' | '`') => quote = Some(char),
            None if char == '{' => in_braces = true,
            None if char == '}' => return line.split_at(at + 1),
            None if !in_braces && (char.is_whitespace() || char == '@') => return line.split_at(at),
            None => {}
        }
    }
    (line, "")
}

/// One item between spaces.
fn item(reader: &mut Reader<'_>, points: &mut Vec<Point>) -> Result<(), String> {
    if reader.take("_") {
        let count = reader.times()?.unwrap_or(1);
        points.extend(std::iter::repeat_n(Point::Gap, count));
    } else if reader.take("stale") {
        points.push(Point::Float(stale_nan()));
    } else if reader.rest().starts_with("{{") {
        histograms(reader, points)?;
    } else {
        reader.numbers(|value| points.push(Point::Float(value)))?;
    }
    match reader.rest().chars().next() {
        Some(char) if !char.is_whitespace() => Err(reader.unexpected("space")),
        _ => Ok(()),
    }
}

/// `{{…}}`, `{{…}}xN`, `{{…}}+{{…}}xN`
fn histograms(reader: &mut Reader<'_>, points: &mut Vec<Point>) -> Result<(), String> {
    let (mut current, mut hint_given) = histogram(reader)?;
    let step = match reader.rest().as_bytes() {
        [b'+', b'{', ..] => Some(true),
        [b'-', b'{', ..] => Some(false),
        _ => None,
    };
    let mut push = |histogram: &FloatHistogram, hint_given: bool| {
        points.push(Point::Histogram { histogram: histogram.clone(), hint_given });
    };
    let Some(adds) = step else {
        let times = reader.times()?.unwrap_or(0);
        (0..=times).for_each(|_| push(&current, hint_given));
        return Ok(());
    };
    reader.take(if adds { "+" } else { "-" });
    let (by, by_hint_given) = histogram(reader)?;
    hint_given = by_hint_given;
    let times = reader.times()?.ok_or_else(|| reader.unexpected("\"x\" and a count"))?;
    push(&current, hint_given);
    for _ in 0..times {
        let outcome = if adds { current.add(&by) } else { current.sub(&by) };
        outcome.map_err(|_| "histograms with different kinds of buckets cannot be added".to_owned())?;
        push(&current, hint_given);
    }
    Ok(())
}

fn histogram(reader: &mut Reader<'_>) -> Result<(FloatHistogram, bool), String> {
    if !reader.take("{{") {
        return Err(reader.unexpected("\"{{\""));
    }
    let mut described = Described::default();
    loop {
        reader.skip_space();
        if reader.take("}}") {
            return Ok(described.finish());
        }
        let key = reader.take_while(|char| char.is_ascii_alphabetic() || char == '_');
        if key.is_empty() || !reader.take(":") {
            return Err(reader.unexpected("a part of a histogram, or \"}}\""));
        }
        reader.skip_space();
        match key {
            "schema" => described.histogram.schema = reader.number()? as i32,
            "sum" => described.histogram.sum = reader.number()?,
            "count" => described.histogram.count = reader.number()?,
            "z_bucket" => described.histogram.zero_count = reader.number()?,
            "z_bucket_w" => described.histogram.zero_threshold = reader.number()?,
            "offset" => described.offset = reader.number()? as i32,
            "n_offset" => described.negative_offset = reader.number()? as i32,
            "buckets" => described.histogram.positive.counts = list(reader)?,
            "n_buckets" => described.histogram.negative.counts = list(reader)?,
            "custom_values" => described.histogram.custom_values = list(reader)?,
            "counter_reset_hint" => described.hint = Some(hint(reader)?),
            other => return Err(format!("unknown part of a histogram: {other:?}")),
        }
    }
}

fn hint(reader: &mut Reader<'_>) -> Result<CounterResetHint, String> {
    match reader.take_while(|char| char.is_ascii_alphabetic() || char == '_') {
        "unknown" => Ok(CounterResetHint::Unknown),
        "reset" => Ok(CounterResetHint::Reset),
        "not_reset" => Ok(CounterResetHint::NotReset),
        "gauge" => Ok(CounterResetHint::Gauge),
        other => Err(format!("unknown hint about counter resets: {other:?}")),
    }
}

fn list(reader: &mut Reader<'_>) -> Result<Vec<f64>, String> {
    if !reader.take("[") {
        return Err(reader.unexpected("\"[\""));
    }
    let mut values = Vec::new();
    loop {
        reader.skip_space();
        if reader.take("]") {
            return Ok(values);
        }
        values.push(reader.number()?);
    }
}

#[derive(Default)]
struct Described {
    histogram: FloatHistogram,
    offset: i32,
    negative_offset: i32,
    hint: Option<CounterResetHint>,
}

impl Described {
    fn finish(mut self) -> (FloatHistogram, bool) {
        lay_out(&mut self.histogram.positive, self.offset);
        lay_out(&mut self.histogram.negative, self.negative_offset);
        self.histogram.counter_reset_hint = self.hint.unwrap_or_default();
        (self.histogram, self.hint.is_some())
    }
}

/// Gives the counts indexes from `offset` on.
fn lay_out(buckets: &mut Buckets, offset: i32) {
    if let Ok(length @ 1..) = u32::try_from(buckets.counts.len()) {
        buckets.spans = vec![Span { offset, length }];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(line: &str) -> Vec<Option<f64>> {
        let line = series_line(line).expect("a series");
        let float = |point: &Point| match point {
            Point::Float(value) => Some(*value),
            _ => None,
        };
        line.points.iter().map(float).collect()
    }

    #[test]
    fn points_are_written_briefly() {
        assert_eq!(
            floats("a 1 _ 2x2 _x2 1+1x2 3-1.5x1"),
            [
                Some(1.0),
                None,
                Some(2.0),
                Some(2.0),
                Some(2.0),
                None,
                None,
                Some(1.0),
                Some(2.0),
                Some(3.0),
                Some(3.0),
                Some(1.5),
            ]
        );
        assert_eq!(
            floats("a -Inf +1e3 -.5 1e-2x0"),
            [Some(f64::NEG_INFINITY), Some(1_000.0), Some(-0.5), Some(0.01),]
        );
        assert_eq!(
            floats("a@st _ -30s-1mx1 0 +1m 1ms"),
            [None, Some(-30_000.0), Some(-90_000.0), Some(0.0), Some(60_000.0), Some(1.0),]
        );
        for wrong in
            ["a 1x", "a 1+2", "a x", "a 1 2b", "a{b!=\"c\"} 1", "a {{", "a {{x:1}}", "a 1x9999999999"]
        {
            assert!(series_line(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn labels_may_hold_anything() {
        let line = series_line("{\"a b\", c=\"} @ \\\" 1\"} 5").expect("a series");
        assert_eq!(line.labels, Labels::from_pairs([("__name__", "a b"), ("c", "} @ \" 1")]));
        assert_eq!(line.points.len(), 1);
        assert_eq!(series_line("a").expect("a series").points.len(), 0);
    }

    #[test]
    fn histograms_add_up() {
        let line = "h {{schema:1 count:2 sum:-3.5 z_bucket:1 z_bucket_w:0.01 offset:-1 buckets:[1 0 2] \
                    n_buckets:[1]}}+{{count:1 offset:-1 buckets:[1] counter_reset_hint:not_reset}}x2";
        let line = series_line(line).expect("a series");
        assert_eq!(line.points.len(), 3);
        let Some(Point::Histogram { histogram, hint_given }) = line.points.last() else {
            panic!("no histogram")
        };
        assert!(*hint_given);
        assert_eq!(histogram.count, 4.0);
        assert_eq!(histogram.negative.counts, [1.0]);
    }
}
