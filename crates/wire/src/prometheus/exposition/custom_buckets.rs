//! Classic histograms become native ones with custom buckets.
//!
//! The series of a histogram stand together on a page: they are held until one comes that is not of it. What does not
//! make a histogram, such as counts that fall from bucket to bucket, is shown as it was.

use std::borrow::Cow;
use std::ops::ControlFlow;

use throughline_model::native_histogram::{Buckets, CUSTOM_BOUNDS_SCHEMA, NativeHistogram, Span};
use throughline_model::point::MetricType;

use super::{Entry, Exemplar, Metadata, NAME_LABEL, Pair, Value, number};

/// Counts up to here are whole numbers in a double.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Holds the series of one classic histogram.
pub struct Collector {
    always_classic: bool,
    held: Option<Held>,
}

/// The series of one histogram.
struct Held {
    family: String,
    help: String,
    unit: String,
    /// Labels but name and bound.
    labels: Vec<Pair<'static>>,
    timestamp_ms: Option<i64>,
    start_timestamp_ms: i64,
    /// Upper bounds with cumulative counts, as they came.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: Option<f64>,
    exemplars: Vec<Exemplar<'static>>,
    /// The series as they were, unless they have been shown.
    series: Vec<Series>,
}

struct Series {
    labels: Vec<Pair<'static>>,
    value: f64,
    exemplars: Vec<Exemplar<'static>>,
}

/// Which part of a histogram a series is.
enum Part {
    Bucket(f64),
    Count,
    Sum,
}

impl Collector {
    pub fn new(always_classic: bool) -> Collector {
        Collector { always_classic, held: None }
    }

    /// Holds an entry, or shows it.
    pub fn take<F>(&mut self, entry: &Entry<'_>, visit: &mut F) -> ControlFlow<()>
    where
        F: FnMut(&Entry<'_>) -> ControlFlow<()>,
    {
        let (Some(part), Value::Number(value)) = (part_of(entry), entry.value) else {
            self.finish(visit)?;
            return visit(entry);
        };
        if self.held.as_ref().is_some_and(|held| !held.is_of(entry)) {
            self.finish(visit)?;
        }
        if self.always_classic {
            visit(entry)?;
        }
        let held = self.held.get_or_insert_with(|| Held::new(entry));
        match part {
            Part::Bucket(bound) => held.buckets.push((bound, value)),
            Part::Count => held.count = Some(value),
            Part::Sum => held.sum = Some(value),
        }
        let exemplars: Vec<Exemplar<'static>> = entry.exemplars.iter().map(owned_exemplar).collect();
        if !self.always_classic {
            let labels = entry.labels.iter().map(owned).collect();
            held.series.push(Series { labels, value, exemplars: exemplars.clone() });
        }
        held.exemplars.extend(exemplars);
        ControlFlow::Continue(())
    }

    /// Shows what is held.
    pub fn finish<F>(&mut self, visit: &mut F) -> ControlFlow<()>
    where
        F: FnMut(&Entry<'_>) -> ControlFlow<()>,
    {
        let Some(held) = self.held.take() else { return ControlFlow::Continue(()) };
        match held.convert() {
            Some(histogram) => {
                let name = (Cow::Borrowed(NAME_LABEL), Cow::Borrowed(held.family.as_str()));
                let labels: Vec<Pair<'_>> =
                    std::iter::once(name).chain(held.labels.iter().cloned()).collect();
                visit(&held.entry(&labels, Value::Histogram(&histogram), &held.exemplars))
            }
            None => held.series.iter().try_for_each(|series| {
                visit(&held.entry(&series.labels, Value::Number(series.value), &series.exemplars))
            }),
        }
    }
}

impl Held {
    fn new(entry: &Entry<'_>) -> Held {
        Held {
            family: entry.metadata.family.to_owned(),
            help: entry.metadata.help.to_owned(),
            unit: entry.metadata.unit.to_owned(),
            labels: own_labels(entry).map(owned).collect(),
            timestamp_ms: entry.timestamp_ms,
            start_timestamp_ms: entry.start_timestamp_ms,
            buckets: Vec::new(),
            count: None,
            sum: None,
            exemplars: Vec::new(),
            series: Vec::new(),
        }
    }

    fn is_of(&self, entry: &Entry<'_>) -> bool {
        self.family == entry.metadata.family
            && self.timestamp_ms == entry.timestamp_ms
            && own_labels(entry).eq(self.labels.iter())
    }

    fn entry<'e>(
        &'e self,
        labels: &'e [Pair<'e>],
        value: Value<'e>,
        exemplars: &'e [Exemplar<'e>],
    ) -> Entry<'e> {
        let Held { family, help, unit, timestamp_ms, start_timestamp_ms, .. } = self;
        let metadata = Metadata { family, kind: MetricType::Histogram, help, unit };
        let (timestamp_ms, start_timestamp_ms) = (*timestamp_ms, *start_timestamp_ms);
        Entry { labels, metadata, value, timestamp_ms, start_timestamp_ms, exemplars }
    }

    /// The native histogram; none where the parts contradict each other.
    fn convert(&self) -> Option<NativeHistogram> {
        let mut buckets = self.buckets.clone();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets.dedup_by_key(|(bound, _)| *bound);
        let last = buckets.last().filter(|(bound, _)| *bound == f64::INFINITY).map(|(_, count)| *count);
        let count = self.count.or(last)?;
        if last.is_none() {
            buckets.push((f64::INFINITY, count));
        }
        let mut before = 0.0;
        let mut counts = Vec::with_capacity(buckets.len());
        for (_, cumulative) in &buckets {
            // Written so that NaN fails.
            let rises = *cumulative >= before && cumulative.is_finite();
            if !rises {
                return None;
            }
            counts.push(cumulative - before);
            before = *cumulative;
        }
        if before != count {
            return None;
        }
        buckets.pop();
        let is_float = counts.iter().any(|count| count.fract() != 0.0 || *count > WHOLE_MAX);
        let spans = vec![Span { offset: 0, length: u32::try_from(counts.len()).ok()? }];
        let mut previous = 0;
        let mut delta = |count: &f64| {
            let count = *count as i64;
            let delta = count - previous;
            previous = count;
            delta
        };
        let positive = match is_float {
            true => Buckets { spans, deltas: Vec::new(), counts },
            false => Buckets { spans, deltas: counts.iter().map(&mut delta).collect(), counts: Vec::new() },
        };
        Some(NativeHistogram {
            is_float,
            count_int: if is_float { 0 } else { count as u64 },
            count_float: if is_float { count } else { 0.0 },
            sum: self.sum.unwrap_or(0.0),
            schema: CUSTOM_BOUNDS_SCHEMA,
            positive,
            custom_bounds: buckets.into_iter().map(|(bound, _)| bound).collect(),
            ..NativeHistogram::default()
        })
    }
}

fn part_of(entry: &Entry<'_>) -> Option<Part> {
    if entry.metadata.kind != MetricType::Histogram {
        return None;
    }
    let (_, name) = entry.labels.first()?;
    match name.strip_prefix(entry.metadata.family)? {
        "_count" => Some(Part::Count),
        "_sum" => Some(Part::Sum),
        "_bucket" => {
            let (_, bound) = entry.labels.iter().find(|(name, _)| name == "le")?;
            number::parse(bound).filter(|bound| !bound.is_nan()).map(Part::Bucket)
        }
        _ => None,
    }
}

fn own_labels<'e>(entry: &'e Entry<'_>) -> impl Iterator<Item = &'e Pair<'e>> {
    entry.labels.iter().skip(1).filter(|(name, _)| name != "le")
}

fn owned((name, value): &Pair<'_>) -> Pair<'static> {
    (Cow::Owned(name.as_ref().to_owned()), Cow::Owned(value.as_ref().to_owned()))
}

fn owned_exemplar(exemplar: &Exemplar<'_>) -> Exemplar<'static> {
    let labels = exemplar.labels.iter().map(owned).collect();
    Exemplar { labels, value: exemplar.value, timestamp_ms: exemplar.timestamp_ms }
}
