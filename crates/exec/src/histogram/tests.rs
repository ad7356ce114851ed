//! Histograms: what the conformance suite shows only at the end of long queries.

use super::*;

fn exponential(schema: i32, buckets: &[f64]) -> FloatHistogram {
    let numbered = (0i32..).zip(buckets.iter().copied());
    FloatHistogram {
        schema,
        count: buckets.iter().sum(),
        sum: 1.0,
        positive: Buckets::from_sorted(numbered),
        ..FloatHistogram::default()
    }
}

fn custom(bounds: &[f64], buckets: &[f64]) -> FloatHistogram {
    FloatHistogram { custom_values: bounds.to_vec(), ..exponential(CUSTOM_SCHEMA, buckets) }
}

#[test]
fn bounds_are_powers_of_two() {
    assert_eq!(exponential_bound(0, 0), 1.0);
    assert_eq!(exponential_bound(3, 0), 8.0);
    assert_eq!(exponential_bound(-2, -1), 0.0625);
    assert_eq!(exponential_bound(4, 1), 4.0);
    assert!((exponential_bound(1, 1) - std::f64::consts::SQRT_2).abs() < 1e-15);
    assert_eq!(exponential_bound(1024, 0), f64::MAX);
    assert_eq!(exponential_bound(1025, 0), f64::INFINITY);
    assert_eq!(exponential_bound(-1074, 0), 5e-324);
    assert_eq!(exponential_bound(i32::MIN, 0), 0.0);
}

#[test]
fn the_coarser_schema_wins() {
    let mut sum = exponential(1, &[1.0, 2.0, 3.0, 4.0, 5.0]);
    sum.add(&exponential(0, &[10.0, 20.0, 30.0])).unwrap();
    assert_eq!(sum.schema, 0);
    assert_eq!(sum.positive.counts, vec![11.0, 25.0, 39.0]);
    assert_eq!(sum.count, 75.0);
}

#[test]
fn zero_buckets_grow_to_a_common_bound() {
    let mut sum = exponential(0, &[1.0, 2.0, 4.0]);
    let other =
        FloatHistogram { zero_threshold: 1.5, zero_count: 8.0, count: 8.0, ..FloatHistogram::default() };
    sum.add(&other).unwrap();
    assert_eq!((sum.zero_threshold, sum.zero_count), (2.0, 11.0));
    assert_eq!(sum.positive.iter().collect::<Vec<_>>(), vec![(2, 4.0)]);
}

#[test]
fn custom_bounds_shrink_to_what_both_have() {
    let mut sum = custom(&[1.0, 2.0, 3.0], &[1.0, 1.0, 1.0, 1.0]);
    let reconciled = sum.add(&custom(&[2.0, 4.0], &[10.0, 10.0, 10.0])).unwrap();
    assert!(reconciled.custom_bounds);
    assert_eq!(sum.custom_values, vec![2.0]);
    assert_eq!(sum.positive.counts, vec![12.0, 22.0]);
    assert_eq!(sum.add(&exponential(0, &[1.0])), Err(Incompatible));
}

#[test]
fn compensation_gives_back_what_rounding_took() {
    let mut sum = CompensatedSum::new(exponential(0, &[1.0, 0.0, 2.0]));
    for factor in [1e100, 1.0, -1e100] {
        sum.add(&exponential(0, &[1.0, 1.0]).scaled(factor)).unwrap();
    }
    let total = sum.finish();
    assert_eq!(total.positive.counts, vec![2.0, 1.0, 2.0]);
    assert_eq!(total.sum, 2.0);
}

#[test]
fn equal_layouts_are_combined_as_any_others() {
    let whole = exponential(2, &[1.0, 4.0, 0.5, 1e16]);
    let mut parted = whole.clone();
    parted.positive.spans = vec![
        Span { offset: whole.positive.spans[0].offset, length: 1 },
        Span { offset: 0, length: whole.positive.spans[0].length - 1 },
    ];
    let (mut in_place, mut merged) = (CompensatedSum::new(whole.clone()), CompensatedSum::new(whole.clone()));
    for factor in [1.0, 1e-3, 7.0, -2.0] {
        in_place.add(&whole.clone().scaled(factor)).unwrap();
        merged.add(&parted.clone().scaled(factor)).unwrap();
    }
    assert!(in_place.finish().same_data(&merged.finish()));
    let (mut a, mut b) = (whole.clone(), whole.clone());
    a.sub(&exponential(2, &[0.5, 1.0, 0.25, 1.0])).unwrap();
    b.sub(&FloatHistogram { positive: parted.positive.clone(), ..exponential(2, &[0.5, 1.0, 0.25, 1.0]) })
        .unwrap();
    assert_eq!(a.positive.counts, [0.5, 3.0, 0.25, 1e16 - 1.0]);
    assert_eq!(b.positive.counts, [0.0; 4]);
}

#[test]
fn resets_are_seen_in_single_buckets() {
    let before = exponential(0, &[1.0, 2.0]);
    assert!(!exponential(0, &[1.0, 2.0, 1.0]).detect_reset(&before));
    assert!(exponential(0, &[0.0, 5.0]).detect_reset(&before));
    assert!(exponential(1, &[9.0, 9.0]).detect_reset(&before));
    assert!(!exponential(-1, &[1.0, 9.0]).detect_reset(&before));
    assert!(custom(&[2.0, 6.0], &[1.0, 9.0]).detect_reset(&custom(&[2.0], &[2.0, 1.0])));
}

#[test]
fn floats_print_as_percent_g() {
    let cases = [
        (0.0, "0"),
        (1.0, "1"),
        (100_000.0, "100000"),
        (1_000_000.0, "1e+06"),
        (1_234_567.0, "1.234567e+06"),
        (0.0001, "0.0001"),
        (0.000_01, "1e-05"),
        (-1.5, "-1.5"),
        (f64::INFINITY, "+Inf"),
        (1e21, "1e+21"),
    ];
    for (value, text) in cases {
        assert_eq!(format_float(value), text);
    }
}

#[test]
fn expressions_have_one_span() {
    let mut histogram = exponential(0, &[0.0, 1.0, 0.0, 2.0]);
    histogram.counter_reset_hint = CounterResetHint::Gauge;
    let text = "{{count:3 sum:1 counter_reset_hint:gauge offset:1 buckets:[1 0 2]}}";
    assert_eq!(histogram.expression(), text);
    assert_eq!(histogram.to_string(), "{count:3, sum:1, (1,2]:1, (4,8]:2}");
}

#[test]
fn broken_spans_do_not_panic() {
    let spans = vec![
        Span { offset: i32::MAX, length: u32::MAX },
        Span { offset: -5, length: 3 },
        Span { offset: i32::MIN, length: 0 },
    ];
    let broken = FloatHistogram {
        positive: Buckets { spans, counts: vec![1.0; 7] },
        count: 7.0,
        ..FloatHistogram::default()
    };
    let mut sum = broken.clone();
    let _ = sum.add(&exponential(8, &[1.0; 20]));
    let _ = (broken.quantile(0.5), broken.fraction(0.0, 1.0), broken.variance());
    let _ = (broken.expression(), broken.detect_reset(&sum), broken.trim_above(1.0));
}
