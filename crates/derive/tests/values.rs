//! What the tests share: spans by hand, and the series that come of them as text.

use std::collections::BTreeMap;

use throughline_derive::{Deriver, samples};
use throughline_model::batch::{
    SpanBatchBuilder, SpanRow, column_binary, column_number, column_time, point, series,
};
use throughline_model::label;
use throughline_model::protobuf::{put_bytes, put_varint};
use throughline_model::{Batch, MetricBatch, Signal, SpanBatch, SpanId, TraceId};
use throughline_wire::{DecodeContext, DecodeLimits, Encoding};

/// A time at which nothing is too old or too new.
pub const NOW: i64 = 1_760_000_000_000_000_000;
/// In nanoseconds.
pub const SECOND: i64 = 1_000_000_000;

pub const INTERNAL: u8 = 1;
pub const SERVER: u8 = 2;
pub const CLIENT: u8 = 3;
pub const PRODUCER: u8 = 4;
pub const CONSUMER: u8 = 5;

/// A span; the rest is not looked at.
#[derive(Clone, Debug)]
pub struct Span {
    pub trace: u128,
    pub id: u64,
    pub parent: Option<u64>,
    pub service: &'static str,
    pub resource: &'static str,
    pub name: String,
    pub kind: u8,
    pub status: u8,
    pub duration_ns: i64,
    pub weight: Option<f64>,
    pub attributes: Vec<(&'static str, &'static str)>,
}

impl Span {
    pub fn new(service: &'static str, kind: u8, id: u64) -> Span {
        Span {
            trace: 7,
            id,
            parent: None,
            service,
            resource: "{}",
            name: "GET /cart".to_owned(),
            kind,
            status: 0,
            duration_ns: 3_000_000,
            weight: None,
            attributes: Vec::new(),
        }
    }

    pub fn under(mut self, parent: u64) -> Span {
        self.parent = Some(parent);
        self
    }

    pub fn with(mut self, key: &'static str, value: &'static str) -> Span {
        self.attributes.push((key, value));
        self
    }

    pub fn taking(mut self, duration_ns: i64) -> Span {
        self.duration_ns = duration_ns;
        self
    }

    pub fn failing(mut self) -> Span {
        self.status = 2;
        self
    }
}

/// A batch of these spans.
pub fn batch(spans: &[Span]) -> SpanBatch {
    let mut builder = SpanBatchBuilder::new();
    for span in spans {
        let resource = builder.add_resource(span.service, span.resource);
        let scope = builder.add_scope("{}");
        let list = attribute_list(&span.attributes);
        builder.push(&SpanRow {
            resource,
            scope,
            trace_id: TraceId(span.trace.to_be_bytes()),
            span_id: SpanId(span.id.to_be_bytes()),
            parent_span_id: span.parent.map(|id| SpanId(id.to_be_bytes())),
            trace_state: "",
            flags: 0,
            name: &span.name,
            kind: span.kind,
            start_time: NOW,
            duration_ns: span.duration_ns,
            status_code: span.status,
            status_message: "",
            attributes: &list,
            events: &[],
            links: &[],
            adjusted_count: span.weight,
            dropped: "",
        });
    }
    builder.finish()
}

fn attribute_list(attributes: &[(&str, &str)]) -> Vec<u8> {
    let mut list = Vec::new();
    for (key, value) in attributes {
        let (mut any, mut message) = (Vec::new(), Vec::new());
        put_bytes(&mut any, 1, value.as_bytes());
        put_bytes(&mut message, 1, key.as_bytes());
        put_bytes(&mut message, 2, &any);
        put_varint(&mut list, message.len() as u64);
        list.extend(message);
    }
    list
}

/// The metrics of an emission, decoded as the store decodes them.
pub fn emitted(deriver: &mut Deriver, at: i64) -> Vec<MetricBatch> {
    let (bodies, count) = samples::requests(deriver, at);
    let context = DecodeContext { received_at: at, limits: DecodeLimits::with_retention(1 << 62) };
    let batches: Vec<MetricBatch> = bodies
        .iter()
        .map(|body| {
            let decoded = throughline_wire::decode(Signal::Metrics, Encoding::RemoteWrite2, body, &context);
            let decoded = decoded.expect("decodes");
            assert_eq!(decoded.rejected, [], "nothing of our own is rejected");
            match decoded.batch {
                Batch::Metrics(metrics) => metrics,
                other => panic!("{other:?}"),
            }
        })
        .collect();
    assert_eq!(batches.iter().map(|metrics| metrics.points.num_rows()).sum::<usize>(), count);
    batches
}

/// The series of an emission, `name{label="value",…}`, each with its samples as seconds since [`NOW`] and values.
pub fn all_samples(deriver: &mut Deriver, at: i64) -> BTreeMap<String, Vec<(f64, f64)>> {
    let mut found: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for metrics in emitted(deriver, at) {
        let names: Vec<String> = (0..metrics.series.num_rows()).map(|row| name(&metrics, row)).collect();
        let of = column_number::<arrow_array::types::UInt32Type>(&metrics.points, point::SERIES);
        let times = column_time(&metrics.points, point::TIME);
        let values = column_number::<arrow_array::types::Float64Type>(&metrics.points, point::VALUE);
        for row in 0..metrics.points.num_rows() {
            let time = (times.value(row) - NOW) as f64 / 1e9;
            found.entry(names[of.value(row) as usize].clone()).or_default().push((time, values.value(row)));
        }
    }
    found
}

/// The last values of an emission's series.
pub fn values(deriver: &mut Deriver, at: i64) -> BTreeMap<String, f64> {
    let last = |samples: Vec<(f64, f64)>| samples.last().expect("a sample").1;
    all_samples(deriver, at).into_iter().map(|(name, samples)| (name, last(samples))).collect()
}

/// The values of the series whose names start so, without what the names start with, but for zeros.
pub fn values_of(deriver: &mut Deriver, start: &str) -> Vec<(String, f64)> {
    let all = values(deriver, deriver.now + 1_000_000);
    let wanted = all.into_iter().filter(|(_, value)| *value != 0.0);
    wanted.filter_map(|(name, value)| Some((name.strip_prefix(start)?.to_owned(), value))).collect()
}

fn name(metrics: &MetricBatch, row: usize) -> String {
    let list = column_binary(&metrics.series, series::ATTRIBUTES).value(row);
    let (names, labels): (Vec<_>, Vec<_>) =
        label::iter(list).partition(|(name, _)| *name == label::METRIC_NAME);
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{}{{{}}}", names[0].1, labels.join(","))
}
