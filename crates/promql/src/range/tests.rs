//! Windows against a reference that looks at every sample for every step.

use proptest::prelude::*;
use throughline_exec::{Budget, ExecError, SelectRequest, SeriesSource};

use super::*;
use crate::eval::Engine;
use crate::value::QueryValue;

fn samples(gaps: &[u8]) -> SeriesSamples {
    let mut at = 0;
    let mut samples = SeriesSamples::default();
    let mut times = Vec::new();
    for (index, gap) in gaps.iter().enumerate() {
        at += i64::from(*gap) + 1;
        if index % 5 == 4 {
            samples.histograms.push((at, Arc::new(FloatHistogram::default())));
        } else {
            times.push(at);
            samples.values.push(index as f64);
        }
    }
    samples.timestamps = times.into();
    samples
}

proptest! {
    #[test]
    fn windows_hold_what_lies_in_them(
        gaps in prop::collection::vec(0u8..20, 0..60),
        range_ms in 1i64..100,
        step_ms in 1i64..50,
        shift in -40i64..40,
    ) {
        let samples = samples(&gaps);
        let steps = Steps { start_ms: -20, step_ms, count: 40 };
        for window in windows(&samples, steps, range_ms, |time| time - shift) {
            let end = steps.at(window.step) - shift;
            let inside = |at: i64| at > end - range_ms && at <= end;
            let times: Vec<i64> =
                samples.timestamps.iter().copied().filter(|at| inside(*at)).collect();
            prop_assert_eq!(window.times, times.as_slice());
            prop_assert_eq!(window.times.len(), window.values.len());
            let histograms = samples.histograms.iter().filter(|pair| inside(pair.0)).count();
            prop_assert_eq!(window.histograms.len(), histograms);
            let first = samples.timestamps.iter().position(|at| inside(*at));
            let value = first.map(|first| samples.values[first]);
            prop_assert_eq!(window.values.first().copied(), value);
        }
    }
}

/// One series of floats.
struct One(SeriesSamples);

impl SeriesSource for One {
    fn select(&self, _: &SelectRequest, _: &Budget) -> Result<Vec<SeriesSamples>, ExecError> {
        Ok(vec![self.0.clone()])
    }
}

const FUNCTIONS: [&str; 8] = [
    "min_over_time(x_total[70ms])",
    "max_over_time(x_total[70ms])",
    "sum_over_time(x_total[70ms])",
    "avg_over_time(x_total[70ms])",
    "quantile_over_time(0.3, x_total[70ms])",
    "rate(x_total[70ms])",
    "increase(x_total[70ms])",
    "delta(x_total[70ms])",
];

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => -100.0..100.0,
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(1e300),
        2 => Just(0.0),
    ]
}

proptest! {
    #[test]
    fn sliding_over_steps_gives_what_each_step_gives_alone(
        points in prop::collection::vec((1i64..40, value()), 0..60),
        finite in any::<bool>(),
        step_ms in 1i64..60,
    ) {
        let mut samples = SeriesSamples { labels: Labels::from_pairs([("a", "b")]), ..SeriesSamples::default() };
        let mut at = 0;
        let mut times = Vec::new();
        for (gap, value) in points {
            at += gap;
            times.push(at);
            samples.values.push(if finite && (value.is_nan() || value.abs() > 1e6) { 1.0 } else { value });
        }
        samples.timestamps = times.into();
        let source = One(samples);
        let engine = Engine::default();
        for text in FUNCTIONS {
            let expr = crate::parse(text).unwrap();
            let budget = Budget::unlimited();
            let times = (0, step_ms * 40, step_ms);
            let whole = engine.range(text, &expr, times, &source, &budget).unwrap();
            let QueryValue::Matrix(series) = whole.value else { panic!("no matrix") };
            for step in 0..=40 {
                let time = step * step_ms;
                let floats = series.iter().flat_map(|series| &series.floats);
                let slid = floats.clone().find(|point| point.0 == time).map(|point| point.1);
                let single = engine.instant(text, &expr, time, &source, &budget).unwrap();
                let QueryValue::Vector(vector) = single.value else { panic!("no vector") };
                let alone = vector.first().map(|found| match found.sample {
                    Sample::Float(value) => value,
                    Sample::Histogram(_) => panic!("no float"),
                });
                prop_assert!(same(slid, alone), "{} at {}: {:?} {:?}", text, time, slid, alone);
            }
        }
    }
}

fn same(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => {
            a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-12 * (a.abs() + b.abs() + 100.0)
        }
        (a, b) => a.is_none() && b.is_none(),
    }
}
