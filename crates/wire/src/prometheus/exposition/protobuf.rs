//! The protobuf format: a list of `io.prometheus.client.MetricFamily` messages, each after its length.
//!
//! Classic histograms and summaries are shown as the series that the text formats would have.

mod message;

use std::borrow::Cow;
use std::ops::ControlFlow;

use throughline_model::native_histogram::ResetHint;
use throughline_model::point::MetricType;
use throughline_model::protobuf::{Field, Malformed, Reader};

use self::message::{Bucket, Histogram, Metric, Number, Summary};
use super::output::Output;
use super::{Entry, Exemplar, ExpositionError, Metadata, NAME_LABEL, Pair, Value, number};

type Flow = Result<ControlFlow<()>, String>;

/// Walks a page.
pub fn parse<F>(page: &[u8], mut output: Output<F>) -> Result<(), ExpositionError>
where
    F: FnMut(&Entry<'_>) -> ControlFlow<()>,
{
    let mut reader = Reader::new(page);
    let mut family = 0;
    while !reader.rest().is_empty() {
        family += 1;
        let mut name = "";
        let shown = reader
            .delimited()
            .map_err(broken)
            .and_then(|message| {
                let (metadata, metrics) = read_family(message)?;
                name = metadata.family;
                Ok((metadata, metrics))
            })
            .and_then(|(metadata, metrics)| show_family(metadata, &metrics, &mut output))
            .map_err(|detail| ExpositionError::Family { family, name: name.to_owned(), detail })?;
        if shown.is_break() {
            return Ok(());
        }
    }
    _ = output.finish();
    Ok(())
}

fn broken(cause: Malformed) -> String {
    cause.to_string()
}

/// A family's metadata, the field of its metrics' values, and its metrics.
fn read_family(message: &[u8]) -> Result<(Metadata<'_>, Vec<&[u8]>), String> {
    let mut metadata = Metadata::default();
    let mut metrics = Vec::new();
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field().map_err(broken)? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => metadata.family = message::text(bytes)?,
            (2, Field::Bytes(bytes)) => metadata.help = message::text(bytes)?,
            (3, Field::Varint(kind)) => {
                metadata.kind = kind_of(kind).ok_or_else(|| format!("{kind} is not a type of metrics"))?;
            }
            (4, Field::Bytes(metric)) => metrics.push(metric),
            (5, Field::Bytes(bytes)) => metadata.unit = message::text(bytes)?,
            _ => {}
        }
    }
    if metadata.family.is_empty() {
        return Err("the family has no name".to_owned());
    }
    Ok((metadata, metrics))
}

/// The type that a code of the format stands for; none is written for counters, whose code is 0.
fn kind_of(code: u64) -> Option<MetricType> {
    Some(match code {
        0 => MetricType::Counter,
        1 => MetricType::Gauge,
        2 => MetricType::Summary,
        3 => MetricType::Unknown,
        4 => MetricType::Histogram,
        5 => MetricType::GaugeHistogram,
        _ => return None,
    })
}

fn show_family<F>(metadata: Metadata<'_>, metrics: &[&[u8]], output: &mut Output<F>) -> Flow
where
    F: FnMut(&Entry<'_>) -> ControlFlow<()>,
{
    for message in metrics {
        let metric = Metric::read(message)?;
        let mut series = Shown { metadata, metric: &metric, labels: Vec::new(), output };
        let flow = match metadata.kind {
            MetricType::Summary => series.summary(&Summary::read(metric.summary)?),
            MetricType::Histogram | MetricType::GaugeHistogram => {
                series.histogram(Histogram::read(metric.histogram)?)
            }
            MetricType::Counter => series.number(&Number::read(metric.counter)?),
            MetricType::Gauge => series.number(&Number::read(metric.gauge)?),
            _ => series.number(&Number::read(metric.untyped)?),
        };
        if flow.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// One metric on its way out.
struct Shown<'m, 'a, F> {
    metadata: Metadata<'a>,
    metric: &'m Metric<'a>,
    /// Of the series at hand; the allocation is kept.
    labels: Vec<Pair<'a>>,
    output: &'m mut Output<F>,
}

impl<'a, F> Shown<'_, 'a, F>
where
    F: FnMut(&Entry<'_>) -> ControlFlow<()>,
{
    fn number(&mut self, number: &Number<'a>) -> ControlFlow<()> {
        self.series(
            "",
            None,
            Value::Number(number.value),
            number.start_timestamp_ms,
            number.exemplar.as_slice(),
        )
    }

    fn summary(&mut self, summary: &Summary) -> ControlFlow<()> {
        let start = summary.start_timestamp_ms;
        self.series("_count", None, Value::Number(summary.count), start, &[])?;
        self.series("_sum", None, Value::Number(summary.sum), start, &[])?;
        for (quantile, value) in &summary.quantiles {
            self.series("", Some(("quantile", *quantile)), Value::Number(*value), start, &[])?;
        }
        ControlFlow::Continue(())
    }

    fn histogram(&mut self, mut histogram: Histogram<'a>) -> ControlFlow<()> {
        let wanted = self.output.histograms;
        let is_native = wanted.native && histogram.is_native;
        let start = histogram.start_timestamp_ms;
        if is_native {
            if self.metadata.kind == MetricType::GaugeHistogram {
                histogram.native.reset_hint = ResetHint::Gauge;
            }
            let exemplars = match histogram.exemplars.is_empty() {
                true => histogram.buckets.iter().filter_map(|bucket| bucket.exemplar.clone()).collect(),
                false => std::mem::take(&mut histogram.exemplars),
            };
            self.set_labels("", None);
            let value = Value::Histogram(&histogram.native);
            self.output.verbatim(&entry(
                self.metadata,
                self.metric,
                &self.labels,
                value,
                start,
                &exemplars,
            ))?;
            if !wanted.always_classic || histogram.buckets.is_empty() {
                return ControlFlow::Continue(());
            }
        }
        if histogram.buckets.last().is_none_or(|bucket| bucket.bound != f64::INFINITY) {
            let all = Bucket { cumulative: histogram.count(), bound: f64::INFINITY, exemplar: None };
            histogram.buckets.push(all);
        }
        let mut shown: Vec<(&str, Option<f64>, f64, &[Exemplar<'a>])> = Vec::new();
        for bucket in &histogram.buckets {
            shown.push(("_bucket", Some(bucket.bound), bucket.cumulative, bucket.exemplar.as_slice()));
        }
        shown.push(("_count", None, histogram.count(), &[]));
        shown.push(("_sum", None, histogram.native.sum, &[]));
        for (ending, bound, value, exemplars) in shown {
            self.set_labels(ending, bound.map(|bound| ("le", bound)));
            let value = Value::Number(value);
            let entry = entry(self.metadata, self.metric, &self.labels, value, start, exemplars);
            // Where a native histogram stands for it already, it is not converted a second time.
            if is_native { self.output.verbatim(&entry)? } else { self.output.classic(&entry)? }
        }
        ControlFlow::Continue(())
    }

    fn series(
        &mut self,
        ending: &str,
        bound: Option<(&'static str, f64)>,
        value: Value<'_>,
        start_ms: i64,
        exemplars: &[Exemplar<'_>],
    ) -> ControlFlow<()> {
        self.set_labels(ending, bound);
        self.output.classic(&entry(self.metadata, self.metric, &self.labels, value, start_ms, exemplars))
    }

    fn set_labels(&mut self, ending: &str, bound: Option<(&'static str, f64)>) {
        let family = self.metadata.family;
        let name = match ending {
            "" => Cow::Borrowed(family),
            _ => Cow::Owned(format!("{family}{ending}")),
        };
        self.labels.clear();
        self.labels.push((Cow::Borrowed(NAME_LABEL), name));
        self.labels.extend(self.metric.labels.iter().cloned());
        if let Some((label, bound)) = bound {
            let mut text = String::new();
            number::format_open_metrics_float(&mut text, bound);
            self.labels.push((Cow::Borrowed(label), Cow::Owned(text)));
        }
    }
}

fn entry<'e>(
    metadata: Metadata<'e>,
    metric: &Metric<'_>,
    labels: &'e [Pair<'e>],
    value: Value<'e>,
    start_timestamp_ms: i64,
    exemplars: &'e [Exemplar<'e>],
) -> Entry<'e> {
    Entry { labels, metadata, value, timestamp_ms: metric.timestamp_ms, start_timestamp_ms, exemplars }
}
