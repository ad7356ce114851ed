//! OTLP metrics, from the request's bytes to Prometheus series, out of a memtable and out of a block.

use std::path::Path;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint,
    exponential_histogram_data_point, metric, number_data_point, summary_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use throughline_exec::{Budget, MatchOp, Matcher, SelectRequest, SeriesSamples, SeriesSource, is_stale};
use throughline_model::Signal;
use throughline_scan::metrics::{Listing, MetricIndex, MetricSource, Translation};
use throughline_store::block::Block;
use throughline_store::flush::{BlockOptions, write_blocks};
use throughline_store::memtable::Memtable;
use throughline_store::{SimDisk, Snapshot};
use throughline_wire::{DecodeContext, DecodeLimits, Encoding};

const BASE_S: i64 = 1_795_176_000;
const HOUR_NS: i64 = 3_600_000_000_000;

fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.into())) };
    KeyValue { key: key.into(), value: Some(value), ..KeyValue::default() }
}

fn ns(second: i64) -> u64 {
    ((BASE_S + second) * 1_000_000_000) as u64
}

fn ms(second: i64) -> i64 {
    (BASE_S + second) * 1_000
}

fn number(second: i64, value: f64, attributes: &[(&str, &str)]) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes.iter().map(|(key, value)| text(key, value)).collect(),
        time_unix_nano: ns(second),
        start_time_unix_nano: ns(-60),
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn metric(name: &str, unit: &str, data: metric::Data) -> Metric {
    Metric {
        name: name.into(),
        unit: unit.into(),
        description: format!("What {name} is."),
        data: Some(data),
        ..Metric::default()
    }
}

fn histogram(second: i64, counts: &[u64], sum: f64) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes: vec![text("http.route", "/pay")],
        time_unix_nano: ns(second),
        count: counts.iter().sum(),
        sum: Some(sum),
        bucket_counts: counts.to_vec(),
        explicit_bounds: vec![0.1, 0.5],
        exemplars: vec![Exemplar {
            time_unix_nano: ns(second),
            trace_id: vec![7; 16],
            span_id: vec![8; 8],
            filtered_attributes: vec![text("user", "u1")],
            value: Some(opentelemetry_proto::tonic::metrics::v1::exemplar::Value::AsDouble(0.3)),
        }],
        ..HistogramDataPoint::default()
    }
}

/// One minute of every kind, a point every 15 seconds.
fn requests() -> Vec<ExportMetricsServiceRequest> {
    (0..5).map(|step| request(step * 15, step as f64)).collect()
}

/// An exponential histogram and a summary.
fn distributions(second: i64, n: f64) -> [Metric; 2] {
    let count = n as u64;
    [
        metric(
            "rpc.duration",
            "ms",
            metric::Data::ExponentialHistogram(ExponentialHistogram {
                data_points: vec![ExponentialHistogramDataPoint {
                    time_unix_nano: ns(second),
                    count: 4 * count,
                    sum: Some(9.0 * n),
                    scale: 1,
                    zero_count: count,
                    positive: Some(exponential_histogram_data_point::Buckets {
                        offset: 1,
                        bucket_counts: vec![count, 0, 2 * count],
                    }),
                    ..ExponentialHistogramDataPoint::default()
                }],
                aggregation_temporality: 2,
            }),
        ),
        metric(
            "gc.pause",
            "s",
            metric::Data::Summary(Summary {
                data_points: vec![SummaryDataPoint {
                    time_unix_nano: ns(second),
                    count,
                    sum: n,
                    quantile_values: vec![summary_data_point::ValueAtQuantile { quantile: 0.99, value: 0.2 }],
                    ..SummaryDataPoint::default()
                }],
            }),
        ),
    ]
}

fn request(second: i64, n: f64) -> ExportMetricsServiceRequest {
    let count = n as u64;
    let mut ended = number(second, n, &[("state", "old")]);
    if second == 60 {
        ended.flags = 1;
        ended.value = None;
    }
    let gauge = |points| metric::Data::Gauge(Gauge { data_points: points });
    let sum = |temporality, points| {
        metric::Data::Sum(Sum {
            data_points: points,
            aggregation_temporality: temporality,
            is_monotonic: true,
        })
    };
    let mut metrics = vec![
        metric("queue.depth", "{item}", gauge(vec![number(second, n, &[("state", "ready")]), ended])),
        metric(
            "app.orders",
            "{order}",
            sum(2, vec![number(second, 10.0 * n, &[("a.b", "x"), ("a_b", "y")])]),
        ),
        metric("app.bytes", "By", sum(1, vec![number(second, 2.0, &[])])),
        metric(
            "http.server.request.duration",
            "s",
            metric::Data::Histogram(Histogram {
                data_points: vec![histogram(second, &[count, 2 * count, count], 1.5 * n)],
                aggregation_temporality: 2,
            }),
        ),
    ];
    metrics.extend(distributions(second, n));
    let resource = Resource {
        attributes: vec![
            text("service.name", "checkout"),
            text("service.namespace", "shop"),
            text("service.instance.id", "i-1"),
            text("host.name", "h1"),
        ],
        ..Resource::default()
    };
    let scope = ScopeMetrics { metrics, ..ScopeMetrics::default() };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource),
            scope_metrics: vec![scope],
            ..ResourceMetrics::default()
        }],
    }
}

/// The same data in memory, in a block, and half in each.
fn snapshots() -> Vec<Snapshot> {
    let context =
        DecodeContext { received_at: ns(60) as i64, limits: DecodeLimits::with_retention(48 * HOUR_NS) };
    let fill = |requests: &[ExportMetricsServiceRequest]| {
        let memtable = Memtable::new();
        for request in requests {
            let body = request.encode_to_vec();
            let decoded = throughline_wire::decode(Signal::Metrics, Encoding::Protobuf, &body, &context)
                .expect("a block");
            assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
            memtable.insert(decoded.batch, context.received_at);
        }
        Arc::new(memtable)
    };
    let requests = requests();
    let block = |requests: &[ExportMetricsServiceRequest]| {
        let disk = SimDisk::new(1);
        let options = BlockOptions { partition_ns: 1_000 * HOUR_NS };
        let metas =
            write_blocks(&disk, Path::new("data"), &fill(requests), &mut 1, &options).expect("a block");
        let open = |meta| Arc::new(Block::open(&disk, Path::new("data"), meta).expect("a block"));
        Arc::new(metas.into_iter().map(open).collect::<Vec<_>>())
    };
    let at = context.received_at;
    vec![
        Snapshot::new(vec![fill(&requests).view()], Arc::default(), Arc::default(), at),
        Snapshot::new(Vec::new(), block(&requests), Arc::default(), at),
        Snapshot::new(vec![fill(&requests[3..]).view()], block(&requests[..3]), Arc::default(), at),
    ]
}

fn sources() -> Vec<MetricSource> {
    let of = |snapshot| MetricSource::new(snapshot, Arc::new(MetricIndex::new(Translation::default())));
    snapshots().into_iter().map(of).collect()
}

fn select(
    source: &MetricSource,
    matchers: &[(&str, MatchOp, &str)],
    from: i64,
    to: i64,
) -> Vec<SeriesSamples> {
    let matchers =
        matchers.iter().map(|(name, op, value)| Matcher::new(*name, *op, *value).expect("a block")).collect();
    let request = SelectRequest { matchers, start_ms: ms(from), end_ms: ms(to), ..SelectRequest::default() };
    source.select(&request, &Budget::unlimited()).expect("a block")
}

fn named(name: &str) -> (&'static str, MatchOp, &str) {
    ("__name__", MatchOp::Equal, name)
}

fn show(series: &[SeriesSamples]) -> Vec<String> {
    series.iter().map(|s| format!("{} {:?}", s.labels, s.values)).collect()
}

#[test]
fn counters_and_gauges_have_prometheus_names_and_labels() {
    for source in sources() {
        let orders = select(&source, &[named("app_orders_total")], 0, 60);
        assert_eq!(
            show(&orders),
            [
                r#"{__name__="app_orders_total", a_b="x;y", instance="i-1", job="shop/checkout"} [0.0, 10.0, 20.0, 30.0, 40.0]"#
            ]
        );
        assert_eq!(*orders[0].timestamps, [ms(0), ms(15), ms(30), ms(45), ms(60)]);
        let depth = select(&source, &[named("queue_depth"), ("state", MatchOp::NotRegex, "o.*")], 15, 44);
        assert_eq!(*depth[0].timestamps, [ms(15), ms(30)]);
        let old = select(&source, &[named("queue_depth"), ("state", MatchOp::Regex, "old|none")], 0, 60);
        assert!(is_stale(old[0].values[4]) && old[0].values[3] == 3.0);
        assert!(select(&source, &[named("queue_depth"), ("state", MatchOp::Equal, "")], 0, 60).is_empty());
    }
}

#[test]
fn histograms_become_buckets_sum_and_count() {
    for source in sources() {
        let name = "http_server_request_duration_seconds";
        let buckets = select(&source, &[named(&format!("{name}_bucket"))], 30, 30);
        let values: Vec<(&str, f64)> = buckets.iter().map(|s| (s.labels.get("le"), s.values[0])).collect();
        assert_eq!(values, [("+Inf", 8.0), ("0.1", 2.0), ("0.5", 6.0)]);
        let half = select(&source, &[named(&format!("{name}_bucket")), ("le", MatchOp::Equal, "0.5")], 0, 60);
        assert_eq!(half[0].values, [0.0, 3.0, 6.0, 9.0, 12.0]);
        assert_eq!(half.len(), 1);
        assert_eq!(select(&source, &[named(&format!("{name}_sum"))], 0, 60)[0].values[2], 3.0);
        assert_eq!(select(&source, &[named(&format!("{name}_count"))], 0, 60)[0].values[4], 16.0);
        let pause = select(&source, &[("__name__", MatchOp::Regex, "gc_pause_seconds.*")], 60, 60);
        let names: Vec<(&str, &str, f64)> =
            pause.iter().map(|s| (s.labels.metric_name(), s.labels.get("quantile"), s.values[0])).collect();
        assert_eq!(
            names,
            [
                ("gc_pause_seconds", "0.99", 0.2),
                ("gc_pause_seconds_count", "", 4.0),
                ("gc_pause_seconds_sum", "", 4.0)
            ]
        );
    }
}

#[test]
fn exponential_histograms_become_native_ones() {
    for source in sources() {
        let found = select(&source, &[named("rpc_duration_milliseconds")], 0, 60);
        let (time, histogram) = &found[0].histograms[3];
        assert_eq!((*time, histogram.schema, histogram.count, histogram.sum), (ms(45), 1, 12.0, 27.0));
        let buckets: Vec<(i32, f64)> = histogram.positive.iter().filter(|(_, n)| *n > 0.0).collect();
        assert_eq!(buckets, [(2, 3.0), (4, 6.0)]);
    }
}

#[test]
fn increments_become_one_counter_for_every_question() {
    for source in sources() {
        assert_eq!(select(&source, &[named("app_bytes_total")], 0, 60)[0].values, [2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(select(&source, &[named("app_bytes_total")], 45, 60)[0].values, [8.0, 10.0]);
    }
}

#[test]
fn target_info_says_what_the_resource_is() {
    for source in sources() {
        let found = select(&source, &[named("target_info")], 0, 60);
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].labels.to_string(),
            r#"{__name__="target_info", host_name="h1", instance="i-1", job="shop/checkout"}"#
        );
        assert_eq!(found[0].values, [1.0; 5]);
    }
}

#[test]
fn listings_know_labels_series_and_metadata() {
    for source in sources() {
        let all = Listing { selectors: Vec::new(), start_ms: ms(0), end_ms: ms(60) };
        let names = source.label_names(&all);
        for name in ["__name__", "a_b", "http_route", "instance", "job", "le", "quantile", "state"] {
            assert!(names.iter().any(|known| known == name), "{name} of {names:?}");
        }
        assert_eq!(source.label_values("state", &all), ["old", "ready"]);
        assert_eq!(source.label_values("le", &all), ["+Inf", "0.1", "0.5"]);
        let buckets = Listing {
            selectors: vec![vec![Matcher::new("le", MatchOp::Regex, "0.*").unwrap()]],
            ..all.clone()
        };
        assert_eq!(source.series(&buckets, 100).len(), 2);
        assert_eq!(source.label_values("__name__", &all).len(), 11);
        let metadata = source.metadata();
        let of = &metadata["http_server_request_duration_seconds"][0];
        assert_eq!((of.metric_type.name(), of.unit.as_str()), ("histogram", "seconds"));
        assert_eq!(source.label_value_counts(3).values_by_label[0].0, "__name__");
        let later = Listing { selectors: Vec::new(), start_ms: ms(7_200), end_ms: ms(9_000) };
        assert!(source.label_values("state", &later).is_empty());
    }
}

#[test]
fn exemplars_belong_to_the_bucket_of_their_value() {
    for source in sources() {
        let name = Matcher::equal("__name__", "http_server_request_duration_seconds_bucket");
        let found = source.exemplars(&[vec![name.clone()]], ms(0), ms(60), &Budget::unlimited()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].labels.get("le"), "0.5");
        assert_eq!(found[0].exemplars.len(), 5);
        let labels: Vec<&str> = found[0].exemplars[0].labels.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(labels, ["trace_id", "span_id", "user"]);
        let other = [vec![name, Matcher::equal("le", "0.1")]];
        assert!(source.exemplars(&other, ms(0), ms(60), &Budget::unlimited()).unwrap().is_empty());
    }
}
