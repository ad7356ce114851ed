//! Warnings and notes beside a result, in the words that dashboards know, each with its place in the query.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use throughline_exec::histogram::format_float;

use crate::ast::Span;

/// How many different annotations are kept: a query over many metrics could name each of them.
const ANNOTATIONS_MAX: usize = 1000;

/// What is worth saying about a result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Note<'a> {
    /// A warning about a quantile out of range.
    InvalidQuantile(f64),
    /// A ratio out of range, and what it is taken for.
    InvalidRatio(f64, f64),
    /// `le` of a classic bucket is no number.
    BadBucketLabel { value: &'a str, metric: &'a str },
    /// Floats and histograms in one range.
    MixedRange(&'a str),
    /// Floats and histograms in one group.
    MixedGroup,
    /// Classic buckets and a native histogram with the same labels.
    MixedClassicNative(&'a str),
    /// A gauge where a counter is needed.
    NotCounter(&'a str),
    /// A counter where a gauge is needed.
    NotGauge(&'a str),
    /// Exponential and custom buckets together.
    MixedSchemas(&'a str),
    /// Exponential and custom buckets on both sides of an operator.
    IncompatibleBuckets(&'a str),
    /// Hints that contradict each other, in an aggregation, addition or subtraction.
    ResetCollision(&'a str),
    /// What the sample counts began before the sample before it.
    StartOverlap(&'a str),
    /// Sorting a range query.
    SortOfRange,
    /// The name does not look like that of a counter.
    PossibleNonCounter(&'a str),
    /// The type does not look like that of a counter.
    PossibleNonCounterType { metric: &'a str, kind: &'a str },
    /// Sides of an operator that do not go together.
    IncompatibleTypes { lhs: &'a str, op: &'a str, rhs: &'a str },
    /// Aggregations that know only floats.
    IgnoredInAggregation(&'a str),
    /// Functions over ranges that know only floats.
    IgnoredInRange(&'a str),
    /// A quantile beyond all buckets because of NaN.
    QuantileNan(&'a str),
    /// A quantile that NaN moves.
    QuantileSkewed(&'a str),
    /// A fraction without NaN.
    FractionNan(&'a str),
    /// Custom bounds that differ, in an aggregation, addition or subtraction.
    CustomBounds(&'a str),
}

impl Note<'_> {
    fn is_warning(self) -> bool {
        !matches!(
            self,
            Note::PossibleNonCounter(_)
                | Note::PossibleNonCounterType { .. }
                | Note::IncompatibleTypes { .. }
                | Note::IgnoredInAggregation(_)
                | Note::IgnoredInRange(_)
                | Note::QuantileNan(_)
                | Note::QuantileSkewed(_)
                | Note::FractionNan(_)
                | Note::CustomBounds(_)
        )
    }

    fn text(self) -> String {
        match self {
            Note::InvalidQuantile(q) => {
                format!("quantile value should be between 0 and 1, got {}", format_float(q))
            }
            Note::InvalidRatio(ratio, capped) => format!(
                "ratio value should be between -1 and 1, got {}, capping to {}",
                format_float(ratio),
                format_float(capped)
            ),
            Note::BadBucketLabel { value, metric } => format!(
                "bucket label \"le\" is missing or has a malformed value of {}{}",
                quoted(value),
                of_metric(metric)
            ),
            Note::MixedRange(metric) => {
                format!("encountered a mix of histograms and floats{}", of_metric(metric))
            }
            Note::MixedGroup => "encountered a mix of histograms and floats for aggregation".to_owned(),
            Note::MixedClassicNative(metric) => {
                format!("vector contains a mix of classic and native histograms{}", of_metric(metric))
            }
            Note::NotCounter(metric) => {
                format!("this native histogram metric is not a counter: {}", quoted(metric))
            }
            Note::NotGauge(metric) => {
                format!("this native histogram metric is not a gauge: {}", quoted(metric))
            }
            Note::MixedSchemas(metric) => format!(
                "vector contains a mix of histograms with exponential and custom buckets schemas{}",
                of_metric(metric)
            ),
            Note::IncompatibleBuckets(op) => {
                format!("incompatible bucket layout encountered for binary operator {op}")
            }
            Note::ResetCollision(during) => {
                format!("conflicting counter resets during histogram {during}")
            }
            Note::StartOverlap(metric) => format!(
                "sample has start time that overlaps with previous sample timestamp for metric {}",
                quoted(metric)
            ),
            Note::SortOfRange => {
                "sort is ineffective for range queries since results are always ordered by labels".to_owned()
            }
            _ => self.info_text(),
        }
    }

    fn info_text(self) -> String {
        match self {
            Note::PossibleNonCounter(metric) => format!(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {}",
                quoted(metric)
            ),
            Note::PossibleNonCounterType { metric, kind } => format!(
                "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", \
                 got {}: {}",
                quoted(kind),
                quoted(metric)
            ),
            Note::IncompatibleTypes { lhs, op, rhs } => {
                format!("incompatible sample types encountered for binary operator {op:?}: {lhs} {op} {rhs}")
            }
            Note::IgnoredInAggregation(name) => format!("ignored histogram in {name} aggregation"),
            Note::IgnoredInRange(metric) => format!(
                "ignored histograms in a range containing both floats and histograms{}",
                of_metric(metric)
            ),
            Note::QuantileNan(metric) => format!(
                "input to histogram_quantile has NaN observations, result is NaN{}",
                of_metric(metric)
            ),
            Note::QuantileSkewed(metric) => format!(
                "input to histogram_quantile has NaN observations, result is skewed higher{}",
                of_metric(metric)
            ),
            Note::FractionNan(metric) => format!(
                "input to histogram_fraction has NaN observations, which are excluded from all fractions{}",
                of_metric(metric)
            ),
            Note::CustomBounds(during) => {
                format!("mismatched custom buckets were reconciled during {during}")
            }
            _ => String::new(),
        }
    }
}

fn quoted(text: &str) -> String {
    throughline_exec::quote::quote(text.as_bytes())
}

fn of_metric(metric: &str) -> String {
    if metric.is_empty() { String::new() } else { format!(" for metric name {}", quoted(metric)) }
}

/// How far the counts of classic buckets had to be repaired.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Repair {
    pub lowest: f64,
    pub highest: f64,
    pub difference_max: f64,
    pub first_ms: i64,
    pub last_ms: i64,
    pub samples: u64,
}

impl Repair {
    pub(crate) fn merge(&mut self, other: Repair) {
        self.lowest = self.lowest.min(other.lowest);
        self.highest = self.highest.max(other.highest);
        self.difference_max = self.difference_max.max(other.difference_max);
        self.first_ms = self.first_ms.min(other.first_ms);
        self.last_ms = self.last_ms.max(other.last_ms);
        self.samples += other.samples;
    }

    fn text(&self) -> String {
        format!(
            ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
            format_float(self.lowest),
            format_float(self.highest),
            format_float(two_digits(self.difference_max)),
            self.samples,
            crate::functions::time::format_utc(self.first_ms),
            crate::functions::time::format_utc(self.last_ms),
        )
    }
}

fn two_digits(value: f64) -> f64 {
    format!("{value:.1e}").parse().unwrap_or(value)
}

/// The annotations of one query so far. Shared by the threads that evaluate it.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    kept: Mutex<Kept>,
}

/// What is known of something that was said.
#[derive(Debug)]
struct Said {
    start: u32,
    is_warning: bool,
    /// How often, where that is told.
    occurrences: Option<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By text.
    notes: BTreeMap<String, Said>,
    /// By metric: where it was repaired last.
    repairs: BTreeMap<String, (u32, Repair)>,
}

impl Annotations {
    /// Says something about what stands at `span`. What is said again is said once, of the last place.
    pub(crate) fn add(&self, note: Note<'_>, span: Span) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let text = note.text();
        let is_counted = matches!(note, Note::StartOverlap(_));
        if let Some(said) = kept.notes.get_mut(&text) {
            match &mut said.occurrences {
                // What is counted keeps its first place.
                Some(occurrences) => *occurrences += 1,
                None => said.start = span.start,
            }
        } else if kept.notes.len() < ANNOTATIONS_MAX {
            let (start, is_warning) = (span.start, note.is_warning());
            kept.notes.insert(text, Said { start, is_warning, occurrences: is_counted.then_some(1) });
        }
    }

    /// Says that the counts of a classic histogram had to be repaired.
    pub(crate) fn add_repair(&self, metric: &str, repair: Repair, span: Span) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((start, before)) = kept.repairs.get_mut(metric) {
            before.merge(repair);
            *start = span.start;
        } else if kept.repairs.len() < ANNOTATIONS_MAX {
            kept.repairs.insert(metric.to_owned(), (span.start, repair));
        }
    }

    /// Warnings and infos as the API gives them.
    pub(crate) fn texts(&self, query: &str) -> (Vec<String>, Vec<String>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let place = |start: u32| Span { start, end: start }.position(query);
        let (mut warnings, mut infos) = (Vec::new(), Vec::new());
        for (text, said) in &kept.notes {
            let at = place(said.start);
            if let Some(often @ 2..) = said.occurrences {
                warnings.push(format!("PromQL warning: {text} ({often} occurrences) ({at})"));
            } else if said.is_warning {
                warnings.push(format!("PromQL warning: {text} ({at})"));
            } else {
                infos.push(format!("PromQL info: {text} ({at})"));
            }
        }
        for (metric, (start, repair)) in &kept.repairs {
            infos.push(format!(
                "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see \
                 https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){}{} ({})",
                of_metric(metric),
                repair.text(),
                place(*start)
            ));
        }
        (warnings, infos)
    }
}
