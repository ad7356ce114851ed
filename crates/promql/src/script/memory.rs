//! Series in memory: what scripts load.

use std::collections::BTreeMap;
use std::sync::Arc;

use throughline_exec::{
    Budget, CounterResetHint, ExecError, FloatHistogram, Labels, SelectRequest, SeriesSamples, SeriesSource,
    is_stale, stale_nan,
};

use super::points::{Point, SeriesLine};

/// Samples of series by time.
#[derive(Clone, Debug, Default)]
pub struct MemorySeries {
    series: BTreeMap<Labels, BTreeMap<i64, Stored>>,
}

#[derive(Clone, Debug)]
struct Stored {
    value: Value,
    /// Zero where unknown.
    start_ms: i64,
}

#[derive(Clone, Debug)]
enum Value {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

impl MemorySeries {
    /// Drops everything.
    pub fn clear(&mut self) {
        self.series.clear();
    }

    /// Adds lines whose points lie `step_ms` apart, from the time zero on.
    pub fn load(&mut self, step_ms: i64, lines: &[SeriesLine]) {
        for line in lines.iter().filter(|line| !line.start_times) {
            for (at, point) in line.points.iter().enumerate() {
                let time_ms = step_ms.saturating_mul(at as i64);
                match point {
                    Point::Gap => {}
                    Point::Float(value) => self.insert(&line.labels, time_ms, Value::Float(*value)),
                    Point::Histogram { histogram, .. } => {
                        self.insert(&line.labels, time_ms, Value::Histogram(Arc::new(histogram.clone())));
                    }
                }
            }
            self.settle(&line.labels);
        }
        for line in lines.iter().filter(|line| line.start_times) {
            self.start_times(step_ms, line);
        }
    }

    /// Adds one histogram.
    pub fn insert_histogram(&mut self, labels: &Labels, time_ms: i64, histogram: FloatHistogram) {
        self.insert(labels, time_ms, Value::Histogram(Arc::new(histogram)));
    }

    fn insert(&mut self, labels: &Labels, time_ms: i64, value: Value) {
        let samples = self.series.entry(labels.clone()).or_default();
        samples.insert(time_ms, Stored { value, start_ms: 0 });
    }

    fn start_times(&mut self, step_ms: i64, line: &SeriesLine) {
        let Some(samples) = self.series.get_mut(&line.labels) else { return };
        for (at, point) in line.points.iter().enumerate() {
            let time_ms = step_ms.saturating_mul(at as i64);
            if let (Point::Float(distance_ms), Some(sample)) = (point, samples.get_mut(&time_ms)) {
                sample.start_ms = time_ms + *distance_ms as i64;
            }
        }
    }

    /// Says of each histogram what a database that keeps chunks of them would say: the first of a chunk knows
    /// nothing of the one before, and a chunk ends where the counter was reset or the layout changes.
    pub fn settle(&mut self, labels: &Labels) {
        let Some(samples) = self.series.get_mut(labels) else { return };
        let mut previous: Option<Arc<FloatHistogram>> = None;
        for sample in samples.values_mut() {
            // A marker amid histograms marks their end as one of them.
            if let (Value::Float(value), Some(_)) = (&sample.value, &previous)
                && is_stale(*value)
            {
                let marker = FloatHistogram { sum: stale_nan(), ..FloatHistogram::default() };
                sample.value = Value::Histogram(Arc::new(marker));
                previous = None;
                continue;
            }
            let Value::Histogram(histogram) = &mut sample.value else {
                previous = None;
                continue;
            };
            if histogram.is_stale() {
                previous = None;
                continue;
            }
            let mut settled = FloatHistogram::clone(histogram);
            if settled.counter_reset_hint != CounterResetHint::Gauge {
                let goes_on = previous.is_some_and(|previous| continues(&settled, &previous));
                settled.counter_reset_hint =
                    if goes_on { CounterResetHint::NotReset } else { CounterResetHint::Unknown };
            }
            *histogram = Arc::new(settled);
            previous = Some(histogram.clone());
        }
    }
}

/// Whether a database would put both into one chunk of a counter.
fn continues(histogram: &FloatHistogram, previous: &FloatHistogram) -> bool {
    let same_layout = histogram.schema == previous.schema
        && histogram.zero_threshold == previous.zero_threshold
        && histogram.custom_values == previous.custom_values;
    let compared = FloatHistogram {
        counter_reset_hint: match histogram.counter_reset_hint {
            CounterResetHint::Reset => CounterResetHint::Reset,
            _ => CounterResetHint::Unknown,
        },
        ..histogram.clone()
    };
    same_layout && previous.counter_reset_hint != CounterResetHint::Gauge && !compared.detect_reset(previous)
}

impl SeriesSource for MemorySeries {
    fn select(&self, request: &SelectRequest, budget: &Budget) -> Result<Vec<SeriesSamples>, ExecError> {
        let mut selected = Vec::new();
        for (labels, samples) in &self.series {
            if !request.matchers.iter().all(|matcher| matcher.matches_labels(labels)) {
                continue;
            }
            budget.check()?;
            let mut series = SeriesSamples { labels: labels.clone(), ..SeriesSamples::default() };
            let mut times = Vec::new();
            if request.start_ms <= request.end_ms {
                for (time_ms, sample) in samples.range(request.start_ms..=request.end_ms) {
                    push(&mut series, &mut times, *time_ms, sample);
                }
            }
            series.timestamps = times.into();
            if !series.is_empty() {
                selected.push(series);
            }
        }
        Ok(selected)
    }
}

fn push(series: &mut SeriesSamples, times: &mut Vec<i64>, time_ms: i64, sample: &Stored) {
    match &sample.value {
        Value::Float(value) => {
            times.push(time_ms);
            series.values.push(*value);
            series.start_timestamps.push(sample.start_ms);
        }
        Value::Histogram(histogram) => {
            series.histograms.push((time_ms, histogram.clone()));
            series.histogram_start_timestamps.push(sample.start_ms);
        }
    }
}
