//! The decoder against prost: random requests are encoded by prost and decoded by ours, and every column is compared
//! with what the messages say. What must be rejected is computed from the messages, too.

#[path = "requests/generate.rs"]
mod generate;

use std::collections::BTreeMap;

use arrow_array::types::{Float64Type, Int64Type, UInt8Type, UInt32Type};
use arrow_array::{Array, RecordBatch};
use generate::{HOUR_NS, NOW, Seed};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, Metric, NumberDataPoint, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use proptest::prelude::*;
use prost::Message;
use throughline_model::batch::{
    column_binary, column_dictionary, column_fixed, column_number, column_text, column_time, exemplar, log,
    point, series, span,
};
use throughline_model::link::UNSAMPLED;
use throughline_model::{Batch, Level, MetricBatch, Signal, attribute};
use throughline_wire::{DecodeContext, DecodeLimits, Decoded, Decoder, Encoding, RejectReason};

type Counts = BTreeMap<RejectReason, u64>;

fn context() -> DecodeContext {
    DecodeContext { received_at: NOW as i64, limits: DecodeLimits::with_retention(24 * HOUR_NS as i64) }
}

/// Decodes with a decoder that has seen other requests, and once more with one that has not.
fn decode(signal: Signal, message: &impl Message) -> Decoded {
    thread_local! {
        static DECODER: std::cell::RefCell<Decoder> = std::cell::RefCell::new(Decoder::new());
    }
    let bytes = message.encode_to_vec();
    let warm = DECODER
        .with_borrow_mut(|decoder| decoder.decode(signal, Encoding::Protobuf, &bytes, &context()))
        .expect("a well-formed request");
    let cold = throughline_wire::decode(signal, Encoding::Protobuf, &bytes, &context()).expect("the same");
    assert_eq!(format!("{:?}", warm.batch), format!("{:?}", cold.batch));
    assert_eq!(warm.rejected, cold.rejected);
    warm
}

fn rejected(decoded: &Decoded) -> Counts {
    decoded.rejected.iter().filter(|r| r.count > 0).map(|r| (r.reason, r.count)).collect()
}

// === what the rules say of a message ===

fn depth(value: &AnyValue) -> usize {
    1 + match &value.value {
        Some(Value::ArrayValue(array)) => array.values.iter().map(depth).max().unwrap_or(0),
        Some(Value::KvlistValue(map)) => {
            map.values.iter().filter_map(|kv| kv.value.as_ref()).map(depth).max().unwrap_or(0)
        }
        _ => 0,
    }
}

fn too_deep(attributes: &[KeyValue]) -> bool {
    attributes.iter().filter_map(|kv| kv.value.as_ref()).any(|value| depth(value) > attribute::MAX_DEPTH)
}

fn time_fault(time: u64) -> Option<RejectReason> {
    if time == 0 {
        Some(RejectReason::TooOld)
    } else if time > NOW + DecodeLimits::FUTURE_NS as u64 {
        Some(RejectReason::TooNew)
    } else {
        (time < NOW - 24 * HOUR_NS).then_some(RejectReason::TooOld)
    }
}

fn is_id(id: &[u8], length: usize) -> bool {
    id.len() == length && id.iter().any(|byte| *byte != 0)
}

fn zero(id: &[u8]) -> bool {
    id.iter().all(|byte| *byte == 0)
}

fn origin_fault(resource: Option<&Resource>, scope_attributes: &[KeyValue]) -> Option<RejectReason> {
    let deep = resource.is_some_and(|resource| too_deep(&resource.attributes)) || too_deep(scope_attributes);
    deep.then_some(RejectReason::TooDeep)
}

fn service(resource: Option<&Resource>) -> String {
    let list = encode_list(resource.map_or(&[], |resource| &resource.attributes));
    let name = attribute::get(&list, "service.name").map(|value| value.to_text()).unwrap_or_default();
    if name.is_empty() { "unknown_service".to_owned() } else { name }
}

// === columns as messages ===

fn encode_list(attributes: &[KeyValue]) -> Vec<u8> {
    attributes.iter().flat_map(Message::encode_length_delimited_to_vec).collect()
}

fn encode_all<M: Message>(messages: &[M]) -> Option<Vec<u8>> {
    let bytes: Vec<u8> = messages.iter().flat_map(Message::encode_length_delimited_to_vec).collect();
    (!bytes.is_empty()).then_some(bytes)
}

fn text(rows: &RecordBatch, column: usize, row: usize) -> &str {
    let column = column_text(rows, column);
    if column.is_null(row) { "" } else { column.value(row) }
}

fn dictionary(rows: &RecordBatch, column: usize, row: usize) -> String {
    let column = column_dictionary(rows, column);
    let values = column.values().as_any().downcast_ref::<arrow_array::StringArray>().expect("text");
    values.value(column.keys().value(row) as usize).to_owned()
}

fn binary(rows: &RecordBatch, column: usize, row: usize) -> Option<&[u8]> {
    let column = column_binary(rows, column);
    (!column.is_null(row)).then(|| column.value(row))
}

fn fixed(rows: &RecordBatch, column: usize, row: usize) -> &[u8] {
    let column = column_fixed(rows, column);
    if column.is_null(row) { &[] } else { column.value(row) }
}

fn small(rows: &RecordBatch, column: usize, row: usize) -> u8 {
    column_number::<UInt8Type>(rows, column).value(row)
}

fn word(rows: &RecordBatch, column: usize, row: usize) -> u32 {
    column_number::<UInt32Type>(rows, column).value(row)
}

// === spans ===

fn span_fault(span: &Span) -> Option<RejectReason> {
    let deep = too_deep(&span.attributes)
        || span.events.iter().any(|event: &Event| too_deep(&event.attributes))
        || span.links.iter().any(|link: &Link| too_deep(&link.attributes));
    let ids = is_id(&span.trace_id, 16)
        && is_id(&span.span_id, 8)
        && (span.parent_span_id.is_empty() || span.parent_span_id.len() == 8);
    let end =
        (span.end_time_unix_nano > NOW + DecodeLimits::FUTURE_NS as u64).then_some(RejectReason::TooNew);
    deep.then_some(RejectReason::TooDeep)
        .or_else(|| time_fault(span.start_time_unix_nano))
        .or_else(|| (!ids).then_some(RejectReason::InvalidId))
        .or(end)
}

fn check_span(rows: &RecordBatch, row: usize, expected: &Span, resource: Option<&Resource>) {
    assert_eq!(fixed(rows, span::TRACE_ID, row), expected.trace_id);
    assert_eq!(fixed(rows, span::SPAN_ID, row), expected.span_id);
    let parent = if zero(&expected.parent_span_id) { &[][..] } else { &expected.parent_span_id };
    assert_eq!(fixed(rows, span::PARENT_SPAN_ID, row), parent);
    assert_eq!(text(rows, span::TRACE_STATE, row), expected.trace_state);
    assert_eq!(word(rows, span::FLAGS, row), expected.flags);
    assert_eq!(text(rows, span::NAME, row), expected.name);
    let kind = if (0..=5).contains(&expected.kind) { expected.kind as u8 } else { 0 };
    assert_eq!(small(rows, span::KIND, row), kind);
    assert_eq!(column_time(rows, span::START_TIME).value(row) as u64, expected.start_time_unix_nano);
    let duration = match expected.end_time_unix_nano {
        0 => 0,
        end => end as i64 - expected.start_time_unix_nano as i64,
    };
    assert_eq!(column_number::<Int64Type>(rows, span::DURATION).value(row), duration);
    let status = expected.status.clone().unwrap_or_default();
    assert_eq!(small(rows, span::STATUS_CODE, row), if status.code <= 2 { status.code as u8 } else { 0 });
    assert_eq!(text(rows, span::STATUS_MESSAGE, row), status.message);
    assert_eq!(dictionary(rows, span::SERVICE, row), service(resource));
    let mut json = String::new();
    attribute::write_json_object(&encode_list(resource.map_or(&[], |r| &r.attributes)), &mut json);
    assert_eq!(dictionary(rows, span::RESOURCE, row), json);
    assert_eq!(binary(rows, span::ATTRIBUTES, row), Some(encode_list(&expected.attributes).as_slice()));
    assert_eq!(binary(rows, span::EVENTS, row), encode_all(&expected.events).as_deref());
    assert_eq!(binary(rows, span::LINKS, row), encode_all(&expected.links).as_deref());
    let adjusted = column_number::<Float64Type>(rows, span::ADJUSTED_COUNT);
    let randomness: String = expected.trace_id[9..].iter().map(|byte| format!("{byte:02x}")).collect();
    let count = match expected.trace_state.as_str() {
        "ot=th:8" if *randomness >= *"8" => Some(2.0),
        // One digit is no randomness.
        "a=b,ot=rv:1;th:c" if *randomness >= *"c" => Some(4.0),
        "ot=th:8;rv:80000000000000" => Some(2.0),
        _ => None,
    };
    assert_eq!((!adjusted.is_null(row)).then(|| adjusted.value(row)), count);
}

fn spans_agree(seed: u64) {
    let request = generate::spans(&mut Seed(seed));
    let decoded = decode(Signal::Traces, &request);
    let Batch::Spans(batch) = &decoded.batch else { panic!("not spans") };
    let (mut row, mut counts) = (0, Counts::new());
    for of_resource in &request.resource_spans {
        let resource = of_resource.resource.as_ref();
        for of_scope in &of_resource.scope_spans {
            let scope = of_scope.scope.as_ref().map_or(&[][..], |scope| &scope.attributes);
            for span in &of_scope.spans {
                match origin_fault(resource, scope).or_else(|| span_fault(span)) {
                    Some(reason) => *counts.entry(reason).or_default() += 1,
                    None => {
                        check_span(&batch.rows, row, span, resource);
                        row += 1;
                    }
                }
            }
        }
    }
    assert_eq!(batch.rows.num_rows(), row);
    assert_eq!(rejected(&decoded), counts);
}

// === logs ===

fn log_time(record: &LogRecord) -> u64 {
    match (record.time_unix_nano, record.observed_time_unix_nano) {
        (0, 0) => NOW,
        (0, observed) => observed,
        (time, _) => time,
    }
}

fn check_record(rows: &RecordBatch, row: usize, expected: &LogRecord, resource: Option<&Resource>) {
    assert_eq!(column_time(rows, log::TIME).value(row) as u64, log_time(expected));
    let severity =
        if (0..=24).contains(&expected.severity_number) { expected.severity_number as u8 } else { 0 };
    assert_eq!(small(rows, log::SEVERITY_NUMBER, row), severity);
    assert_eq!(text(rows, log::SEVERITY_TEXT, row), expected.severity_text);
    let body = expected.body.as_ref().and_then(|body| body.value.as_ref());
    let kind = small(rows, log::BODY_KIND, row);
    match body {
        None => assert_eq!((text(rows, log::BODY, row), kind), ("", 2)),
        Some(Value::StringValue(body)) => assert_eq!((text(rows, log::BODY, row), kind), (body.as_str(), 0)),
        Some(_) => {
            let any = expected.body.as_ref().map(Message::encode_to_vec).unwrap_or_default();
            let json = attribute::Value::decode(&any).expect("a value").to_text();
            assert_eq!((text(rows, log::BODY, row), kind), (json.as_str(), 1));
            serde_json::from_str::<serde_json::Value>(&json).expect("valid JSON");
        }
    }
    if is_id(&expected.trace_id, 16) {
        assert_eq!(fixed(rows, log::TRACE_ID, row), expected.trace_id);
        assert_eq!(text(rows, log::TRACE_ID_ORIGINAL, row), "");
    } else if is_id(&expected.trace_id, 8) {
        assert_eq!(fixed(rows, log::TRACE_ID, row).get(8..), Some(&*expected.trace_id));
    } else if !zero(&expected.trace_id) {
        assert_eq!(fixed(rows, log::TRACE_ID, row), [0u8; 0]);
        assert!(!text(rows, log::TRACE_ID_ORIGINAL, row).is_empty());
    }
    // Where the field has none, an attribute that happens to be called `trace_id` may.
    let source = small(rows, log::TRACE_SOURCE, row);
    assert_eq!(source & !UNSAMPLED == 1, !zero(&expected.trace_id));
    let says_unsampled = expected.flags != 0 && expected.flags & 1 == 0;
    assert!(source & UNSAMPLED == 0 || says_unsampled || expected.flags == 0);
    assert!(source == 0 || !says_unsampled || source & UNSAMPLED != 0);
    let level = Level::from_severity(small(rows, log::SEVERITY_NUMBER, row));
    assert!(level == Level::Unknown || small(rows, log::LEVEL, row) == level as u8);
    assert_eq!(word(rows, log::FLAGS, row), expected.flags);
    assert_eq!(dictionary(rows, log::SERVICE, row), service(resource));
    assert_eq!(text(rows, log::EVENT_NAME, row), expected.event_name);
    assert_eq!(binary(rows, log::ATTRIBUTES, row), Some(encode_list(&expected.attributes).as_slice()));
    let dropped = match expected.dropped_attributes_count {
        0 => String::new(),
        count => format!("{{\"attributes\":{count}}}"),
    };
    assert_eq!(text(rows, log::DROPPED, row), dropped);
}

fn logs_agree(seed: u64) {
    let request = generate::logs(&mut Seed(seed));
    let decoded = decode(Signal::Logs, &request);
    let Batch::Logs(batch) = &decoded.batch else { panic!("not logs") };
    let (mut row, mut counts) = (0, Counts::new());
    for of_resource in &request.resource_logs {
        let resource = of_resource.resource.as_ref();
        for of_scope in &of_resource.scope_logs {
            let scope = of_scope.scope.as_ref().map_or(&[][..], |scope| &scope.attributes);
            for record in &of_scope.log_records {
                let deep = too_deep(&record.attributes).then_some(RejectReason::TooDeep);
                let fault = origin_fault(resource, scope).or(deep).or_else(|| time_fault(log_time(record)));
                match fault {
                    Some(reason) => *counts.entry(reason).or_default() += 1,
                    None => {
                        check_record(&batch.rows, row, record, resource);
                        row += 1;
                    }
                }
            }
        }
    }
    assert_eq!(batch.rows.num_rows(), row);
    assert_eq!(rejected(&decoded), counts);
}

// === metrics ===

/// A data point of any kind, with its message stripped to what belongs into the payload.
struct AnyPoint<'a> {
    attributes: &'a [KeyValue],
    exemplars: &'a [Exemplar],
    time: u64,
    flags: u32,
    value: f64,
    payload: Option<Vec<u8>>,
    fault: bool,
}

/// A metric's kind, temporality and points.
fn points(metric: &Metric) -> (u8, i32, Vec<AnyPoint<'_>>) {
    match &metric.data {
        None => (0, 1, Vec::new()),
        Some(Data::Gauge(data)) => (0, 1, data.data_points.iter().map(number_point).collect()),
        Some(Data::Sum(data)) => {
            (1, data.aggregation_temporality, data.data_points.iter().map(number_point).collect())
        }
        Some(Data::Histogram(data)) => {
            let points = data.data_points.iter().map(|point| {
                let mut rest = point.clone();
                rest.exemplars.clear();
                rest.attributes.clear();
                (rest.start_time_unix_nano, rest.time_unix_nano, rest.flags) = (0, 0, 0);
                let (counts, bounds) = (point.bucket_counts.len(), point.explicit_bounds.len());
                AnyPoint {
                    attributes: &point.attributes,
                    exemplars: &point.exemplars,
                    time: point.time_unix_nano,
                    flags: point.flags,
                    value: point.sum.unwrap_or(f64::NAN),
                    payload: Some(rest.encode_to_vec()),
                    fault: (counts, bounds) != (0, 0) && counts != bounds + 1,
                }
            });
            (2, data.aggregation_temporality, points.collect())
        }
        Some(Data::ExponentialHistogram(data)) => {
            let points = data.data_points.iter().map(|point| {
                let mut rest = point.clone();
                rest.exemplars.clear();
                rest.attributes.clear();
                (rest.start_time_unix_nano, rest.time_unix_nano, rest.flags) = (0, 0, 0);
                AnyPoint {
                    attributes: &point.attributes,
                    exemplars: &point.exemplars,
                    time: point.time_unix_nano,
                    flags: point.flags,
                    value: point.sum.unwrap_or(f64::NAN),
                    payload: Some(rest.encode_to_vec()),
                    fault: false,
                }
            });
            (3, data.aggregation_temporality, points.collect())
        }
        Some(Data::Summary(data)) => {
            let points = data.data_points.iter().map(|point| {
                let mut rest = point.clone();
                rest.attributes.clear();
                (rest.start_time_unix_nano, rest.time_unix_nano, rest.flags) = (0, 0, 0);
                AnyPoint {
                    attributes: &point.attributes,
                    exemplars: &[],
                    time: point.time_unix_nano,
                    flags: point.flags,
                    // Adding zero makes a negative zero, which proto3 leaves out, a positive one.
                    value: point.sum + 0.0,
                    payload: Some(rest.encode_to_vec()),
                    fault: false,
                }
            });
            (4, 1, points.collect())
        }
    }
}

fn number_point(point: &NumberDataPoint) -> AnyPoint<'_> {
    AnyPoint {
        attributes: &point.attributes,
        exemplars: &point.exemplars,
        time: point.time_unix_nano,
        flags: point.flags,
        value: match point.value {
            Some(number_data_point::Value::AsDouble(value)) => value,
            Some(number_data_point::Value::AsInt(value)) => value as f64,
            None => f64::NAN,
        },
        payload: None,
        fault: point.value.is_none() && point.flags & 1 == 0,
    }
}

fn point_fault(point: &AnyPoint<'_>) -> Option<RejectReason> {
    let deep = too_deep(point.attributes)
        || point.exemplars.iter().any(|exemplar| too_deep(&exemplar.filtered_attributes));
    time_fault(point.time)
        .or(point.fault.then_some(RejectReason::InvalidMetric))
        .or(deep.then_some(RejectReason::TooDeep))
}

/// What makes a series, in a form that does not depend on the order of attributes.
type SeriesKey = (Vec<Vec<u8>>, Vec<u8>, String, String, u8, i32, bool, Vec<Vec<u8>>);

fn sorted(attributes: &[KeyValue]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = attributes.iter().map(Message::encode_to_vec).collect();
    all.sort();
    all
}

struct MetricCheck<'a> {
    batch: &'a MetricBatch,
    row: usize,
    exemplar_row: usize,
    by_key: BTreeMap<SeriesKey, u32>,
}

impl MetricCheck<'_> {
    fn point(&mut self, key: SeriesKey, metric: &Metric, expected: &AnyPoint<'_>) {
        let (points, series_rows, row) = (&self.batch.points, &self.batch.series, self.row);
        let series_row = word(points, point::SERIES, row);
        let known = *self.by_key.entry(key).or_insert(series_row);
        assert_eq!(known, series_row, "one series has one row");
        assert_eq!(text(series_rows, series::METRIC, series_row as usize), metric.name);
        assert_eq!(text(series_rows, series::UNIT, series_row as usize), metric.unit);
        let list = binary(series_rows, series::ATTRIBUTES, series_row as usize).unwrap_or_default();
        assert_eq!(attribute::iter(list).count(), expected.attributes.len());
        assert_eq!(column_time(points, point::TIME).value(row) as u64, expected.time);
        let value = column_number::<Float64Type>(points, point::VALUE).value(row);
        assert!(value.to_bits() == expected.value.to_bits() || value.is_nan() && expected.value.is_nan());
        assert_eq!(word(points, point::FLAGS, row), expected.flags);
        assert_eq!(binary(points, point::PAYLOAD, row), expected.payload.as_deref());
        self.row += 1;
        for exemplar in expected.exemplars {
            let time = exemplar.time_unix_nano;
            if time == 0 || time_fault(time).is_none() {
                self.exemplar(series_row, exemplar, if time == 0 { expected.time } else { time });
            }
        }
    }

    fn exemplar(&mut self, series_row: u32, expected: &Exemplar, time: u64) {
        let (rows, row) = (&self.batch.exemplars, self.exemplar_row);
        assert_eq!(word(rows, exemplar::SERIES, row), series_row);
        assert_eq!(column_time(rows, exemplar::TIME).value(row) as u64, time);
        if is_id(&expected.trace_id, 16) {
            assert_eq!(fixed(rows, exemplar::TRACE_ID, row), expected.trace_id);
        } else if !zero(&expected.trace_id) {
            assert!(!text(rows, exemplar::TRACE_ID_ORIGINAL, row).is_empty());
        }
        let list = encode_list(&expected.filtered_attributes);
        assert_eq!(binary(rows, exemplar::ATTRIBUTES, row), Some(list.as_slice()));
        self.exemplar_row += 1;
    }
}

fn metrics_agree(seed: u64) {
    let request = generate::metrics(&mut Seed(seed));
    let decoded = decode(Signal::Metrics, &request);
    let Batch::Metrics(batch) = &decoded.batch else { panic!("not metrics") };
    let mut check = MetricCheck { batch, row: 0, exemplar_row: 0, by_key: BTreeMap::new() };
    let mut counts = Counts::new();
    for of_resource in &request.resource_metrics {
        let resource = of_resource.resource.as_ref();
        for of_scope in &of_resource.scope_metrics {
            let scope = of_scope.scope.clone().unwrap_or_default();
            for metric in &of_scope.metrics {
                let (kind, temporality, points) = points(metric);
                let monotonic = matches!(&metric.data, Some(Data::Sum(sum)) if sum.is_monotonic);
                let fault = origin_fault(resource, &scope.attributes)
                    .or((!matches!(temporality, 1 | 2)).then_some(RejectReason::InvalidMetric));
                for point in &points {
                    if let Some(reason) = fault.or_else(|| point_fault(point)) {
                        *counts.entry(reason).or_default() += 1;
                        continue;
                    }
                    let mut scope_key = scope.clone();
                    scope_key.attributes.sort_by_key(Message::encode_to_vec);
                    let key: SeriesKey = (
                        sorted(resource.map_or(&[], |resource| &resource.attributes)),
                        scope_key.encode_to_vec(),
                        metric.name.clone(),
                        metric.unit.clone(),
                        kind,
                        temporality,
                        monotonic,
                        sorted(point.attributes),
                    );
                    check.point(key, metric, point);
                }
            }
        }
    }
    assert_eq!(batch.points.num_rows(), check.row);
    assert_eq!(batch.exemplars.num_rows(), check.exemplar_row);
    assert_eq!(batch.series.num_rows(), check.by_key.len());
    assert_eq!(rejected(&decoded), counts);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn spans_are_what_prost_encoded(seed: u64) {
        spans_agree(seed);
    }

    #[test]
    fn log_records_are_what_prost_encoded(seed: u64) {
        logs_agree(seed);
    }

    #[test]
    fn data_points_are_what_prost_encoded(seed: u64) {
        metrics_agree(seed);
    }
}

#[test]
fn depth_is_counted_in_values() {
    assert_eq!(depth(&generate::nested(attribute::MAX_DEPTH)), attribute::MAX_DEPTH);
}
