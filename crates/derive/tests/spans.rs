//! Span metrics: names, labels, counts, limits and time.

use throughline_derive::{DeriveConfig, Deriver, Dimension};
use throughline_model::batch::{column_fixed, column_number, exemplar};

use crate::values::{
    CLIENT, INTERNAL, NOW, SECOND, SERVER, Span, all_samples, batch, emitted, values, values_of,
};

fn without_graph() -> DeriveConfig {
    DeriveConfig { service_graph: None, ..DeriveConfig::default() }
}

fn calls(deriver: &mut Deriver) -> Vec<(String, f64)> {
    values_of(deriver, "traces_spanmetrics_calls_total")
}

#[test]
fn names_and_labels_are_those_that_dashboards_query() {
    let mut deriver = Deriver::new(&without_graph());
    deriver.observe(NOW, &batch(&[Span::new("cart", SERVER, 1).under(9).failing()]));
    let found = values(&mut deriver, NOW + SECOND);
    let labels = "service=\"cart\",span_kind=\"SPAN_KIND_SERVER\",span_name=\"GET /cart\",\
                  status_code=\"STATUS_CODE_ERROR\"";
    let mut expected = vec![
        (format!("traces_spanmetrics_calls_total{{{labels}}}"), 1.0),
        (format!("traces_spanmetrics_latency_count{{{labels}}}"), 1.0),
        (format!("traces_spanmetrics_latency_sum{{{labels}}}"), 0.003),
        (format!("traces_spanmetrics_size_total{{{labels}}}"), 57.0),
    ];
    let bounds = [
        "0.002", "0.004", "0.008", "0.016", "0.032", "0.064", "0.128", "0.256", "0.512", "1.024", "2.048",
        "4.096", "8.192", "16.384", "+Inf",
    ];
    for bound in bounds {
        let value = if bound == "0.002" { 0.0 } else { 1.0 };
        expected.push((format!("traces_spanmetrics_latency_bucket{{le=\"{bound}\",{labels}}}"), value));
    }
    assert_eq!(found, expected.into_iter().collect());
}

#[test]
fn every_span_counts_as_often_as_it_stands_for() {
    let mut deriver = Deriver::new(&without_graph());
    let weighted = |weight| Span { weight, ..Span::new("cart", INTERNAL, 1) };
    let spans = [Some(4.0), None, Some(2.5), Some(f64::NAN), Some(-1.0), Some(f64::INFINITY)].map(weighted);
    deriver.observe(NOW, &batch(&spans));
    deriver.observe(NOW, &batch(&[weighted(None).taking(-5)]));
    let found = values_of(&mut deriver, "traces_spanmetrics_");
    let of = |start: &str| -> Vec<f64> {
        found.iter().filter(|(name, _)| name.starts_with(start)).map(|(_, value)| *value).collect()
    };
    assert_eq!(of("calls_total"), [11.5]);
    assert_eq!(of("latency_count"), [11.5]);
    assert!((of("latency_sum")[0] - 10.5 * 0.003).abs() < 1e-12);
    assert!(of("latency_bucket{le=\"0.002\"").contains(&1.0), "a negative duration is none");
}

#[test]
fn dimensions_come_from_the_span_then_its_resource_then_the_default() {
    let dimension = |name: &str, default: Option<&str>| Dimension {
        name: name.to_owned(),
        default: default.map(str::to_owned),
    };
    let dimensions =
        vec![dimension("http.method", None), dimension("region", Some("none")), dimension("service", None)];
    let mut deriver = Deriver::new(&DeriveConfig { dimensions, ..without_graph() });
    let span = Span::new("cart", SERVER, 1);
    let spans = [
        span.clone().with("http.method", "GET").with("region", "eu"),
        Span { resource: "{\"region\":\"us\",\"http.method\":7,\"service\":\"x\"}", ..span.clone() },
        Span { resource: "{\"region\":\"us\"}", ..span.clone().with("region", "eu") },
        span.clone(),
        span.clone().with("http.method", ""),
    ];
    deriver.observe(NOW, &batch(&spans));
    let common = "span_kind=\"SPAN_KIND_SERVER\",span_name=\"GET /cart\",status_code=\"STATUS_CODE_UNSET\"}";
    let found: Vec<(String, f64)> = calls(&mut deriver);
    let found: Vec<(&str, f64)> =
        found.iter().map(|(name, n)| (name.strip_suffix(common).expect("the common labels"), *n)).collect();
    // An empty label is the same as none.
    assert_eq!(
        found,
        [
            ("{__service=\"x\",http_method=\"7\",region=\"us\",service=\"cart\",", 1.0),
            ("{http_method=\"GET\",region=\"eu\",service=\"cart\",", 1.0),
            ("{region=\"eu\",service=\"cart\",", 1.0),
            ("{region=\"none\",service=\"cart\",", 2.0),
        ]
    );
}

#[test]
fn beyond_the_limit_one_series_counts_and_the_attribute_is_named() {
    let mut deriver = Deriver::new(&DeriveConfig { cardinality_limit: 2, ..without_graph() });
    let spans: Vec<Span> =
        (0..5).map(|n| Span { name: format!("GET /user/{n}"), ..Span::new("cart", SERVER, n) }).collect();
    deriver.observe(NOW, &batch(&spans));
    deriver.observe(NOW, &batch(&spans[..1]));
    let found = calls(&mut deriver);
    assert_eq!(found.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [3.0, 2.0, 1.0]);
    assert_eq!(found[0].0, "{otel_metric_overflow=\"true\"}");
    let (place, distinct, example) = deriver.red.table.widest().expect("series");
    assert_eq!((&*deriver.red.labels()[place], distinct, &*example), ("span_name", 2, "GET /user/1"));
}

#[test]
fn a_new_series_begins_at_zero_once() {
    let mut deriver = Deriver::new(&without_graph());
    deriver.observe(NOW, &batch(&[Span::new("cart", SERVER, 1)]));
    let find = |deriver: &mut Deriver, at: i64| {
        let all = all_samples(deriver, at);
        all.into_iter().find(|(name, _)| name.contains("calls_total")).expect("a series").1
    };
    assert_eq!(find(&mut deriver, NOW + SECOND), [(-0.001, 0.0), (1.0, 1.0)]);
    assert_eq!(find(&mut deriver, NOW + 2 * SECOND), [(2.0, 1.0)]);
    throughline_derive::samples::take_back(&mut deriver);
    assert_eq!(find(&mut deriver, NOW + 3 * SECOND), [(-0.001, 0.0), (3.0, 1.0)]);
}

#[test]
fn idle_series_are_forgotten_and_begin_again() {
    let mut deriver = Deriver::new(&without_graph());
    deriver.observe(NOW, &batch(&[Span::new("cart", SERVER, 1), Span::new("shop", SERVER, 2)]));
    deriver.observe(NOW + 600 * SECOND, &batch(&[Span::new("shop", SERVER, 3)]));
    deriver.advance(NOW + 880 * SECOND);
    assert_eq!(calls(&mut deriver).len(), 2);
    deriver.advance(NOW + 961 * SECOND);
    assert_eq!(calls(&mut deriver).iter().map(|(_, n)| *n).collect::<Vec<_>>(), [2.0]);
    deriver.observe(NOW + 1000 * SECOND, &batch(&[Span::new("cart", SERVER, 4)]));
    let all = all_samples(&mut deriver, NOW + 1001 * SECOND);
    let of_cart =
        all.iter().find(|(name, _)| name.contains("calls_total{service=\"cart\"")).expect("a series");
    assert_eq!(*of_cart.1, [(999.999, 0.0), (1001.0, 1.0)]);
}

#[test]
fn a_clock_that_is_set_back_stops_nothing() {
    let mut deriver = Deriver::new(&without_graph());
    let year = 365 * 86_400 * SECOND;
    deriver.observe(NOW + year, &batch(&[Span::new("cart", SERVER, 1)]));
    deriver.observe(NOW, &batch(&[Span::new("shop", SERVER, 2)]));
    assert_eq!((deriver.now, calls(&mut deriver).len()), (NOW, 2));
    deriver.advance(NOW - SECOND);
    assert_eq!(deriver.now, NOW, "batches may be stored in another order");
    deriver.advance(NOW + 1000 * SECOND);
    assert!(calls(&mut deriver).is_empty());
}

#[test]
fn exemplars_lead_to_the_slowest_span_of_a_bucket() {
    let mut deriver = Deriver::new(&without_graph());
    let spans = [(1, 3_000_000), (2, 3_900_000), (3, 3_500_000), (4, 70_000_000)];
    let spans = spans.map(|(id, ns)| Span::new("cart", CLIENT, id).taking(ns));
    deriver.observe(NOW, &batch(&spans));
    let found = |deriver: &mut Deriver, at: i64| -> Vec<(u64, f64)> {
        let mut found = Vec::new();
        for metrics in emitted(deriver, at) {
            let spans = column_fixed(&metrics.exemplars, exemplar::SPAN_ID);
            let values =
                column_number::<arrow_array::types::Float64Type>(&metrics.exemplars, exemplar::VALUE);
            for row in 0..metrics.exemplars.num_rows() {
                let id = u64::from_be_bytes(spans.value(row).try_into().expect("eight bytes"));
                found.push((id, values.value(row)));
            }
        }
        found
    };
    assert_eq!(found(&mut deriver, NOW + SECOND), [(2, 0.0039), (4, 0.07)]);
    assert_eq!(found(&mut deriver, NOW + 2 * SECOND), []);
}
