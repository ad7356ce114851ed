//! Series written in one line: labels, then points at equal distances.

use throughline_exec::histogram::{Buckets, Span};
use throughline_exec::{CounterResetHint, FloatHistogram, Labels, MatchOp, stale_nan};

use crate::lexer::number::duration_ms;

/// Most points of one line: a typing error shall not fill the memory.
const POINTS_MAX: usize = 1_000_000;

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
    let mut reader = Reader { text: rest, at: 0, durations: start_times };
    let mut points = Vec::new();
    while reader.skip_space() {
        reader.item(&mut points)?;
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

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Whether values are durations.
    durations: bool,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    /// Whether something follows the space.
    fn skip_space(&mut self) -> bool {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        !self.rest().is_empty()
    }

    fn take(&mut self, wanted: &str) -> bool {
        let hit = self.rest().starts_with(wanted);
        self.at += if hit { wanted.len() } else { 0 };
        hit
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|char| !belongs(char)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or("")
    }

    /// One item between spaces.
    fn item(&mut self, points: &mut Vec<Point>) -> Result<(), String> {
        if self.take("_") {
            let count = self.times()?.unwrap_or(1);
            points.extend(std::iter::repeat_n(Point::Gap, count));
        } else if self.take("stale") {
            points.push(Point::Float(stale_nan()));
        } else if self.rest().starts_with("{{") {
            self.histograms(points)?;
        } else {
            self.numbers(points)?;
        }
        match self.rest().chars().next() {
            Some(char) if !char.is_whitespace() => Err(self.unexpected("space")),
            _ => Ok(()),
        }
    }

    /// `xN`
    fn times(&mut self) -> Result<Option<usize>, String> {
        if !self.take("x") {
            return Ok(None);
        }
        let digits = self.take_while(|char| char.is_ascii_digit());
        let count = digits.parse().map_err(|_| self.unexpected("count"))?;
        if count > POINTS_MAX {
            Err(format!("series has more than {POINTS_MAX} points"))
        } else {
            Ok(Some(count))
        }
    }

    /// `a`, `axN`, `a+bxN`
    fn numbers(&mut self, points: &mut Vec<Point>) -> Result<(), String> {
        let mut value = self.number()?;
        let step = if self.rest().starts_with(['+', '-']) { Some(self.number()?) } else { None };
        let times = self.times()?;
        if step.is_some() && times.is_none() {
            return Err(self.unexpected("\"x\" and a count"));
        }
        points.push(Point::Float(value));
        for _ in 0..times.unwrap_or(0) {
            value += step.unwrap_or(0.0);
            points.push(Point::Float(value));
        }
        Ok(())
    }

    fn number(&mut self) -> Result<f64, String> {
        let negative = self.take("-");
        if !negative {
            self.take("+");
        }
        let start = self.at;
        let value = if self.rest().starts_with(|char: char| char.is_ascii_alphabetic()) {
            let word = self.take_while(|char| char.is_ascii_alphabetic());
            match word.to_ascii_lowercase().as_str() {
                "inf" => Some(f64::INFINITY),
                "nan" => Some(f64::NAN),
                _ => None,
            }
        } else {
            self.take_while(|char| char.is_ascii_digit() || char == '.');
            if self.durations && self.rest().starts_with(|char: char| "smhdwy".contains(char)) {
                self.take_while(|char| char.is_ascii_digit() || "smhdwy".contains(char));
                let text = self.text.get(start..self.at).unwrap_or("");
                Some(duration_ms(text)? as f64)
            } else {
                self.exponent();
                let text = self.text.get(start..self.at).unwrap_or("");
                let scale = if self.durations { 1_000.0 } else { 1.0 };
                text.parse::<f64>().ok().map(|value| value * scale)
            }
        };
        let value = value.ok_or_else(|| self.unexpected("a value"))?;
        Ok(if negative { -value } else { value })
    }

    fn exponent(&mut self) {
        let before = self.at;
        if !self.take("e") && !self.take("E") {
            return;
        }
        if !self.take("+") {
            self.take("-");
        }
        if self.take_while(|char| char.is_ascii_digit()).is_empty() {
            self.at = before;
        }
    }

    /// `{{…}}`, `{{…}}xN`, `{{…}}+{{…}}xN`
    fn histograms(&mut self, points: &mut Vec<Point>) -> Result<(), String> {
        let (mut current, mut hint_given) = self.histogram()?;
        let step = match self.rest().as_bytes() {
            [b'+', b'{', ..] => Some(true),
            [b'-', b'{', ..] => Some(false),
            _ => None,
        };
        let mut push = |histogram: &FloatHistogram, hint_given: bool| {
            points.push(Point::Histogram { histogram: histogram.clone(), hint_given });
        };
        let Some(adds) = step else {
            let times = self.times()?.unwrap_or(0);
            (0..=times).for_each(|_| push(&current, hint_given));
            return Ok(());
        };
        self.at += 1;
        let (by, by_hint_given) = self.histogram()?;
        hint_given = by_hint_given;
        let times = self.times()?.ok_or_else(|| self.unexpected("\"x\" and a count"))?;
        push(&current, hint_given);
        for _ in 0..times {
            let outcome = if adds { current.add(&by) } else { current.sub(&by) };
            outcome.map_err(|_| "histograms with different kinds of buckets cannot be added".to_owned())?;
            push(&current, hint_given);
        }
        Ok(())
    }

    fn histogram(&mut self) -> Result<(FloatHistogram, bool), String> {
        if !self.take("{{") {
            return Err(self.unexpected("\"{{\""));
        }
        let mut described = Described::default();
        loop {
            self.skip_space();
            if self.take("}}") {
                return Ok(described.finish());
            }
            let key = self.take_while(|char| char.is_ascii_alphabetic() || char == '_');
            if key.is_empty() || !self.take(":") {
                return Err(self.unexpected("a part of a histogram, or \"}}\""));
            }
            self.skip_space();
            match key {
                "schema" => described.histogram.schema = self.number()? as i32,
                "sum" => described.histogram.sum = self.number()?,
                "count" => described.histogram.count = self.number()?,
                "z_bucket" => described.histogram.zero_count = self.number()?,
                "z_bucket_w" => described.histogram.zero_threshold = self.number()?,
                "offset" => described.offset = self.number()? as i32,
                "n_offset" => described.negative_offset = self.number()? as i32,
                "buckets" => described.histogram.positive.counts = self.list()?,
                "n_buckets" => described.histogram.negative.counts = self.list()?,
                "custom_values" => described.histogram.custom_values = self.list()?,
                "counter_reset_hint" => described.hint = Some(self.hint()?),
                other => return Err(format!("unknown part of a histogram: {other:?}")),
            }
        }
    }

    fn hint(&mut self) -> Result<CounterResetHint, String> {
        match self.take_while(|char| char.is_ascii_alphabetic() || char == '_') {
            "unknown" => Ok(CounterResetHint::Unknown),
            "reset" => Ok(CounterResetHint::Reset),
            "not_reset" => Ok(CounterResetHint::NotReset),
            "gauge" => Ok(CounterResetHint::Gauge),
            other => Err(format!("unknown hint about counter resets: {other:?}")),
        }
    }

    fn list(&mut self) -> Result<Vec<f64>, String> {
        if !self.take("[") {
            return Err(self.unexpected("\"[\""));
        }
        let mut values = Vec::new();
        loop {
            self.skip_space();
            if self.take("]") {
                return Ok(values);
            }
            values.push(self.number()?);
        }
    }

    fn unexpected(&self, expected: &str) -> String {
        let shown: String = self.rest().chars().take(20).collect();
        format!("expected {expected} at {shown:?}")
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
