//! Random requests as prost messages, from a seed: the same seed gives the same request.
//!
//! Most of what is generated is good; a small share is wrong in every way that a typed message can be (ids of wrong
//! length, times out of bounds, values nested too deep, histograms whose counts and bounds disagree).

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

/// The time of receipt that requests are made for.
pub const NOW: u64 = 1_750_000_000_000_000_000;
/// An hour.
pub const HOUR_NS: u64 = 3_600_000_000_000;

/// A stream of random numbers (splitmix64).
pub struct Seed(pub u64);

impl Seed {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn bytes(&mut self, length: u64) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// An id of `length` bytes, now and then of another length or all zeros.
    fn id(&mut self, length: u64) -> Vec<u8> {
        match self.below(24) {
            0 => Vec::new(),
            1 => vec![0; length as usize],
            2 => {
                let length = self.below(40);
                self.bytes(length)
            }
            _ => self.bytes(length),
        }
    }

    fn text(&mut self) -> String {
        const WORDS: [&str; 12] =
            ["", "GET", "order", "trace_id", "ß", "日本語", "a\"b\\c\n", "\u{1}", "x", "service", "🦀", "{}"];
        let mut text = String::new();
        for _ in 0..self.below(4) {
            text.push_str(WORDS[self.below(WORDS.len() as u64) as usize]);
        }
        if self.one_in(40) {
            text.push_str(&"long ".repeat(self.below(100) as usize));
        }
        text
    }

    fn time(&mut self) -> u64 {
        match self.below(30) {
            0 => 0,
            1 => self.next(),
            2 => NOW + HOUR_NS,
            3 => NOW - 100 * HOUR_NS,
            _ => NOW - self.below(HOUR_NS),
        }
    }

    fn double(&mut self) -> f64 {
        match self.below(12) {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => -0.0,
            _ => self.next() as i32 as f64 / 8.0,
        }
    }

    fn list<T>(&mut self, below: u64, mut make: impl FnMut(&mut Seed) -> T) -> Vec<T> {
        (0..self.below(below)).map(|_| make(self)).collect()
    }

    fn value(&mut self, depth: u32) -> AnyValue {
        let kind = if depth == 0 { self.below(6) } else { self.below(9) };
        let value = match kind {
            0 => None,
            1 => Some(Value::BoolValue(self.one_in(2))),
            2 => Some(Value::IntValue(self.next() as i64 >> self.below(64))),
            3 => Some(Value::DoubleValue(self.double())),
            4 => {
                let length = self.below(20);
                Some(Value::BytesValue(self.bytes(length)))
            }
            6 => Some(Value::ArrayValue(ArrayValue { values: self.list(4, |seed| seed.value(depth - 1)) })),
            7 => Some(Value::KvlistValue(KeyValueList { values: self.list(4, |seed| seed.pair(depth - 1)) })),
            _ => Some(Value::StringValue(self.text())),
        };
        AnyValue { value }
    }

    fn pair(&mut self, depth: u32) -> KeyValue {
        let value = if self.one_in(20) { None } else { Some(self.value(depth)) };
        KeyValue { key: self.text(), value, ..Default::default() }
    }

    fn attributes(&mut self) -> Vec<KeyValue> {
        let mut all = self.list(6, |seed| seed.pair(3));
        if self.one_in(100) {
            let depth = 28 + self.below(10) as usize;
            all.push(KeyValue { key: "deep".to_owned(), value: Some(nested(depth)), ..Default::default() });
        }
        all
    }

    fn resource(&mut self) -> Option<Resource> {
        let mut attributes = self.attributes();
        if !self.one_in(4) {
            let value = Some(AnyValue { value: Some(Value::StringValue(self.text())) });
            attributes.push(KeyValue { key: "service.name".to_owned(), value, ..Default::default() });
        }
        (!self.one_in(6)).then(|| Resource { attributes, ..Default::default() })
    }

    fn scope(&mut self) -> Option<InstrumentationScope> {
        let (name, version, attributes) = (self.text(), self.text(), self.attributes());
        (!self.one_in(4)).then(|| InstrumentationScope { name, version, attributes, ..Default::default() })
    }
}

/// A chain of `depth` values, arrays but for the last.
pub fn nested(depth: usize) -> AnyValue {
    let mut value = AnyValue { value: Some(Value::IntValue(1)) };
    for _ in 1..depth {
        value = AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![value] })) };
    }
    value
}

/// A request of spans.
pub fn spans(seed: &mut Seed) -> ExportTraceServiceRequest {
    let resource_spans = seed.list(4, |seed| ResourceSpans {
        resource: seed.resource(),
        scope_spans: seed.list(4, |seed| ScopeSpans {
            scope: seed.scope(),
            spans: seed.list(8, span),
            schema_url: seed.text(),
        }),
        schema_url: seed.text(),
    });
    ExportTraceServiceRequest { resource_spans }
}

fn span(seed: &mut Seed) -> Span {
    const STATES: [&str; 8] = [
        "",
        "",
        "ot=th:8",
        "a=b,ot=rv:1;th:c",
        "ot=th:",
        "ot=th:fffffffffffffff",
        "ot=th:8;rv:80000000000000",
        "ot=rv:7fffffffffffff;th:8",
    ];
    let start = seed.time();
    Span {
        trace_id: seed.id(16),
        span_id: seed.id(8),
        trace_state: STATES[seed.below(8) as usize].to_owned(),
        parent_span_id: if seed.one_in(3) { Vec::new() } else { seed.id(8) },
        flags: seed.next() as u32 & 0x3ff,
        name: seed.text(),
        kind: seed.below(8) as i32 - 1,
        start_time_unix_nano: start,
        end_time_unix_nano: if seed.one_in(2) {
            start.wrapping_add(seed.below(1 << 30))
        } else {
            seed.time()
        },
        attributes: seed.attributes(),
        dropped_attributes_count: seed.below(2) as u32,
        events: seed.list(3, |seed| Event {
            time_unix_nano: seed.time(),
            name: seed.text(),
            attributes: seed.attributes(),
            dropped_attributes_count: 0,
        }),
        dropped_events_count: seed.below(3) as u32,
        links: seed.list(3, |seed| Link {
            trace_id: seed.id(16),
            span_id: seed.id(8),
            trace_state: seed.text(),
            attributes: seed.attributes(),
            ..Default::default()
        }),
        dropped_links_count: 0,
        status: (!seed.one_in(3)).then(|| Status { message: seed.text(), code: seed.below(4) as i32 }),
    }
}

/// A request of log records.
pub fn logs(seed: &mut Seed) -> ExportLogsServiceRequest {
    let resource_logs = seed.list(4, |seed| ResourceLogs {
        resource: seed.resource(),
        scope_logs: seed.list(4, |seed| ScopeLogs {
            scope: seed.scope(),
            log_records: seed.list(8, record),
            schema_url: seed.text(),
        }),
        schema_url: seed.text(),
    });
    ExportLogsServiceRequest { resource_logs }
}

fn record(seed: &mut Seed) -> LogRecord {
    LogRecord {
        time_unix_nano: seed.time(),
        observed_time_unix_nano: seed.time(),
        severity_number: seed.below(27) as i32 - 1,
        severity_text: seed.text(),
        body: (!seed.one_in(8)).then(|| seed.value(3)),
        attributes: seed.attributes(),
        dropped_attributes_count: seed.below(3) as u32,
        flags: seed.below(3) as u32,
        trace_id: if seed.one_in(2) { Vec::new() } else { seed.id(16) },
        span_id: seed.id(8),
        event_name: seed.text(),
    }
}

/// A request of metrics.
pub fn metrics(seed: &mut Seed) -> ExportMetricsServiceRequest {
    let resource_metrics = seed.list(3, |seed| ResourceMetrics {
        resource: seed.resource(),
        scope_metrics: seed.list(3, |seed| ScopeMetrics {
            scope: seed.scope(),
            metrics: seed.list(8, metric),
            schema_url: seed.text(),
        }),
        schema_url: seed.text(),
    });
    ExportMetricsServiceRequest { resource_metrics }
}

fn metric(seed: &mut Seed) -> Metric {
    let temporality = [0, 1, 2, 2, 2, 1, 3][seed.below(7) as usize];
    let data = match seed.below(6) {
        0 => Data::Gauge(Gauge { data_points: seed.list(6, number) }),
        1 => Data::Sum(Sum {
            data_points: seed.list(6, number),
            aggregation_temporality: temporality,
            is_monotonic: seed.one_in(2),
        }),
        2 => Data::Histogram(Histogram {
            data_points: seed.list(6, histogram),
            aggregation_temporality: temporality,
        }),
        3 => Data::ExponentialHistogram(ExponentialHistogram {
            data_points: seed.list(6, exponential),
            aggregation_temporality: temporality,
        }),
        _ => Data::Summary(Summary { data_points: seed.list(6, summary) }),
    };
    let data = (!seed.one_in(12)).then_some(data);
    Metric { name: seed.text(), description: seed.text(), unit: seed.text(), data, ..Default::default() }
}

/// Attributes of which the same come again, so that points share series.
fn point_attributes(seed: &mut Seed) -> Vec<KeyValue> {
    if seed.one_in(4) { seed.attributes() } else { Seed(seed.below(3)).list(4, |seed| seed.pair(1)) }
}

fn exemplars(seed: &mut Seed) -> Vec<Exemplar> {
    seed.list(3, |seed| Exemplar {
        filtered_attributes: seed.attributes(),
        time_unix_nano: seed.time(),
        span_id: seed.id(8),
        trace_id: seed.id(16),
        value: Some(exemplar::Value::AsInt(seed.next() as i64 >> 20)),
    })
}

fn number(seed: &mut Seed) -> NumberDataPoint {
    let value = match seed.below(12) {
        0 => None,
        n if n % 2 == 0 => Some(number_data_point::Value::AsInt(seed.next() as i64 >> 12)),
        _ => Some(number_data_point::Value::AsDouble(seed.double())),
    };
    NumberDataPoint {
        attributes: point_attributes(seed),
        start_time_unix_nano: seed.time(),
        time_unix_nano: seed.time(),
        exemplars: exemplars(seed),
        flags: seed.below(2) as u32,
        value,
    }
}

fn histogram(seed: &mut Seed) -> HistogramDataPoint {
    let explicit_bounds: Vec<f64> = (0..seed.below(5)).map(|bound| bound as f64).collect();
    let n_counts = explicit_bounds.len() as u64 + u64::from(!seed.one_in(6));
    HistogramDataPoint {
        attributes: point_attributes(seed),
        start_time_unix_nano: seed.time(),
        time_unix_nano: seed.time(),
        count: seed.below(100),
        sum: seed.one_in(2).then(|| seed.double()),
        bucket_counts: (0..n_counts).map(|_| seed.below(50)).collect(),
        explicit_bounds,
        exemplars: exemplars(seed),
        flags: seed.below(2) as u32,
        min: seed.one_in(2).then(|| seed.double()),
        max: seed.one_in(2).then(|| seed.double()),
    }
}

fn exponential(seed: &mut Seed) -> ExponentialHistogramDataPoint {
    let buckets = |seed: &mut Seed| Buckets {
        offset: seed.next() as i32 >> 20,
        bucket_counts: seed.list(6, |seed| seed.below(1 << 20)),
    };
    ExponentialHistogramDataPoint {
        attributes: point_attributes(seed),
        start_time_unix_nano: seed.time(),
        time_unix_nano: seed.time(),
        count: seed.below(100),
        sum: seed.one_in(2).then(|| seed.double()),
        scale: seed.below(30) as i32 - 10,
        zero_count: seed.below(3),
        positive: seed.one_in(2).then(|| buckets(seed)),
        negative: seed.one_in(2).then(|| buckets(seed)),
        flags: seed.below(2) as u32,
        exemplars: exemplars(seed),
        min: None,
        max: seed.one_in(2).then(|| seed.double()),
        zero_threshold: 0.0,
    }
}

fn summary(seed: &mut Seed) -> SummaryDataPoint {
    SummaryDataPoint {
        attributes: point_attributes(seed),
        start_time_unix_nano: seed.time(),
        time_unix_nano: seed.time(),
        count: seed.below(100),
        sum: seed.double(),
        quantile_values: seed.list(4, |seed| ValueAtQuantile { quantile: 0.5, value: seed.double() }),
        flags: seed.below(2) as u32,
    }
}
