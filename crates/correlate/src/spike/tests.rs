//! Spikes found, and noise that is none.

use super::*;
use crate::sample::{SECOND, histogram_point, latency_series};

const RANGE: TimeRange = TimeRange { start: 0, end: 1_000 * SECOND };
const QUIET: [u64; 7] = [80, 15, 5, 0, 0, 0, 0];
const SLOW: [u64; 7] = [60, 15, 5, 0, 0, 20, 0];

/// Twelve steps of five seconds, slow in those named.
fn points(temporality: u8, slow: std::ops::Range<i64>) -> Vec<Point> {
    let mut total = [0u64; 7];
    (0..12)
        .map(|step| {
            let added = if slow.contains(&step) { SLOW } else { QUIET };
            let counts = match temporality {
                2 => {
                    total.iter_mut().zip(added).for_each(|(sum, n)| *sum += n);
                    total
                }
                _ => added,
            };
            histogram_point((step + 1) * 5 * SECOND, SECOND, &counts)
        })
        .collect()
}

fn check(temporality: u8, unit: &str) -> Spike {
    let series = latency_series("task-svc", "http.server.request.duration", unit, temporality);
    let findings = find(&[(series, points(temporality, 8..12))], RANGE, 0.99);
    findings.into_iter().next().and_then(|finding| finding.spike).expect("a spike")
}

#[test]
fn cumulative_and_delta_give_the_same_spike() {
    for temporality in [1, 2] {
        let spike = check(temporality, "ms");
        assert_eq!((spike.start, spike.end, spike.ongoing), (40 * SECOND, 60 * SECOND, true));
        assert_eq!((spike.before_ms, spike.after_ms), (45.0, 975.0));
        assert!((spike.factor - 975.0 / 45.0).abs() < 1e-9);
        assert_eq!(spike.count, 400);
    }
}

#[test]
fn seconds_become_milliseconds() {
    assert_eq!(check(2, "s").after_ms, 975_000.0);
}

#[test]
fn a_steady_series_has_no_spike() {
    let series = latency_series("a", "m", "ms", 2);
    let findings = find(&[(series, points(2, 0..0))], RANGE, 0.99);
    assert_eq!(findings[0].spike, None);
    assert_eq!(findings[0].curve.steps.len(), 12);
}

#[test]
fn a_spike_that_is_over_is_still_found() {
    let series = latency_series("a", "m", "ms", 1);
    let spike = find(&[(series, points(1, 3..5))], RANGE, 0.99)[0].spike.clone().expect("a spike");
    assert_eq!((spike.start, spike.end, spike.ongoing), (15 * SECOND, 25 * SECOND, false));
}

#[test]
fn series_of_one_service_are_summed_and_the_clearest_comes_first() {
    let quiet = latency_series("gateway", "m", "ms", 1);
    let slow = latency_series("task-svc", "m", "ms", 1);
    let count = Series { kind: PointKind::Sum, ..latency_series("task-svc", "n", "1", 2) };
    let all = [
        (quiet, points(1, 0..0)),
        (slow.clone(), points(1, 0..0)),
        (Series { fingerprint: "other".to_owned(), ..slow }, points(1, 6..12)),
        (count, points(2, 6..12)),
    ];
    let findings = find(&all, RANGE, 0.99);
    assert_eq!(findings.len(), 2);
    assert_eq!(findings[0].curve.service, "task-svc");
    assert_eq!(findings[0].spike.as_ref().map(|spike| spike.count), Some(1200));
    assert_eq!(findings[1].spike, None);
}

#[test]
fn a_restart_counts_from_zero() {
    let series = latency_series("a", "m", "ms", 2);
    let mut points = points(2, 0..0);
    for (step, point) in points.iter_mut().enumerate().skip(6) {
        let counts = QUIET.map(|n| n * (step as u64 - 5));
        *point = histogram_point(point.time, 31 * SECOND, &counts);
    }
    let findings = find(&[(series, points)], RANGE, 0.99);
    assert!(findings[0].curve.steps.iter().all(|step| step.count == 100), "{:?}", findings[0].curve.steps);
}
