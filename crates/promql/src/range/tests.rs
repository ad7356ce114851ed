//! Windows against a reference that looks at every sample for every step.

use proptest::prelude::*;

use super::*;

fn samples(gaps: &[u8]) -> SeriesSamples {
    let mut at = 0;
    let mut samples = SeriesSamples::default();
    for (index, gap) in gaps.iter().enumerate() {
        at += i64::from(*gap) + 1;
        if index % 5 == 4 {
            samples.histograms.push((at, Arc::new(FloatHistogram::default())));
        } else {
            samples.timestamps.push(at);
            samples.values.push(index as f64);
        }
    }
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
            if let Some(value) = window.values.first() {
                prop_assert_eq!(samples.values[window.first], *value);
            }
        }
    }
}
