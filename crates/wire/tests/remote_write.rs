//! Remote write: requests that prost encodes, and what they become.

#[path = "requests/remote_write.rs"]
mod messages;

use arrow_array::types::{UInt8Type, UInt32Type};
use arrow_array::{Array, Float64Array};
use messages::{Histogram, histogram, v1, v2};
use prost::Message as _;
use throughline_model::batch::{
    column_binary, column_fixed, column_number, column_text, column_time, exemplar, point, series,
};
use throughline_model::native_histogram::NativeHistogram;
use throughline_model::point::{MetricType, PointKind, STALE_BITS};
use throughline_model::{Batch, MetricBatch, Signal, attribute, label};
use throughline_wire::prometheus::write::{Exemplar, RequestBuilder, Sample, Series};
use throughline_wire::{DecodeContext, DecodeLimits, Decoded, Encoding, RejectReason, decode};

const NOW_MS: i64 = 1_750_000_000_000;
const DAY_NS: i64 = 86_400_000_000_000;

fn context() -> DecodeContext {
    DecodeContext { received_at: NOW_MS * 1_000_000, limits: DecodeLimits::with_retention(DAY_NS) }
}

fn decode_v1(request: &v1::WriteRequest) -> Decoded {
    decode(Signal::Metrics, Encoding::RemoteWrite1, &request.encode_to_vec(), &context()).expect("decodes")
}

fn decode_v2(body: &[u8]) -> Decoded {
    decode(Signal::Metrics, Encoding::RemoteWrite2, body, &context()).expect("decodes")
}

fn metrics(decoded: &Decoded) -> &MetricBatch {
    match &decoded.batch {
        Batch::Metrics(metrics) => metrics,
        other => panic!("{other:?}"),
    }
}

fn values(batch: &MetricBatch) -> Vec<(u32, i64, f64)> {
    let series = column_number::<UInt32Type>(&batch.points, point::SERIES).values();
    let times = column_time(&batch.points, point::TIME).values();
    let values: &Float64Array = batch.points.column(point::VALUE).as_any().downcast_ref().expect("good");
    (0..series.len()).map(|row| (series[row], times[row] / 1_000_000, values.value(row))).collect()
}

/// The series as `metric{name=value,…}`, its kind and its service.
fn series_text(batch: &MetricBatch, row: usize) -> (String, PointKind, String) {
    let list = column_binary(&batch.series, series::ATTRIBUTES).value(row);
    let named = label::named(list);
    let labels: Vec<String> = attribute::iter(&named.attributes)
        .map(|(name, value)| format!("{name}={}", value.to_text()))
        .collect();
    let kind = column_number::<UInt8Type>(&batch.series, series::KIND).value(row);
    (
        format!("{}{{{}}}", named.metric, labels.join(",")),
        PointKind::from_code(kind),
        named.service.to_owned(),
    )
}

fn one_series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> v1::TimeSeries {
    let sample = |(timestamp, value): &(i64, f64)| v1::Sample { value: *value, timestamp: *timestamp };
    v1::TimeSeries {
        labels: v1::labels(labels),
        samples: samples.iter().map(sample).collect(),
        ..Default::default()
    }
}

fn request(timeseries: Vec<v1::TimeSeries>) -> v1::WriteRequest {
    v1::WriteRequest { timeseries, ..Default::default() }
}

const UP: &[(&str, &str)] = &[("__name__", "up"), ("instance", "a:1"), ("job", "shop/api")];

#[test]
fn labels_and_samples_of_1_0_are_kept_verbatim() {
    let stale = f64::from_bits(STALE_BITS);
    let decoded = decode_v1(&request(vec![
        one_series(UP, &[(NOW_MS, 1.5), (NOW_MS - 30_000, -0.5), (NOW_MS + 1, stale)]),
        one_series(&[("job", "b"), ("__name__", "http.ok"), ("é", "ü"), ("empty", "")], &[(NOW_MS, 2.0)]),
    ]));
    assert_eq!(decoded.rejected, []);
    let batch = metrics(&decoded);
    assert_eq!(
        series_text(batch, 0),
        ("up{instance=a:1,job=shop/api}".to_owned(), PointKind::Sample, "api".to_owned())
    );
    assert_eq!(series_text(batch, 1), ("http.ok{job=b,é=ü}".to_owned(), PointKind::Sample, "b".to_owned()));
    let values = values(batch);
    assert_eq!(values[..2], [(0, NOW_MS, 1.5), (0, NOW_MS - 30_000, -0.5)]);
    assert_eq!(values[2].2.to_bits(), STALE_BITS);
    assert_eq!(values[3], (1, NOW_MS, 2.0));
}

/// Whatever way a series comes, its fingerprint is the same.
#[test]
fn a_series_is_the_same_in_any_order_and_version() {
    let mut shuffled = UP.to_vec();
    shuffled.reverse();
    let mut builder = RequestBuilder::new();
    let sample = Sample { time_ms: NOW_MS, start_ms: 0, value: 1.0 };
    builder.add(&Series { labels: &shuffled, ..Default::default() }, &[sample], &[], &[]);
    let fingerprints: Vec<Vec<u8>> = [
        decode_v1(&request(vec![one_series(UP, &[(NOW_MS, 1.0)])])),
        decode_v1(&request(vec![one_series(&shuffled, &[(NOW_MS, 1.0)])])),
        decode_v2(&builder.finish()),
    ]
    .iter()
    .map(|decoded| column_fixed(&metrics(decoded).series, series::FINGERPRINT).value(0).to_vec())
    .collect();
    assert_eq!(fingerprints[0], fingerprints[1]);
    assert_eq!(fingerprints[0], fingerprints[2]);
}

fn check_refused(timeseries: v1::TimeSeries, reason: RejectReason, count: u64, part: &str) {
    let good = one_series(UP, &[(NOW_MS, 1.0)]);
    let decoded = decode_v1(&request(vec![timeseries, good]));
    assert_eq!(decoded.rejected.len(), 1, "{:?}", decoded.rejected);
    assert_eq!((decoded.rejected[0].reason, decoded.rejected[0].count), (reason, count));
    assert!(decoded.rejected[0].message.contains(part), "{}", decoded.rejected[0].message);
    assert_eq!(values(metrics(&decoded)).last().map(|point| point.1), Some(NOW_MS), "the good one is kept");
}

#[test]
fn bad_series_are_refused_and_the_others_kept() {
    let two = [(NOW_MS, 1.0), (NOW_MS + 1, 2.0)];
    let labels = RejectReason::InvalidLabels;
    check_refused(one_series(&[("job", "a")], &two), labels, 2, "timeseries[0]: the series has no label");
    check_refused(one_series(&[("__name__", "m"), ("", "x")], &two), labels, 2, "no name");
    check_refused(one_series(&[("__name__", "m"), ("a", "1"), ("a", "2")], &two), labels, 2, "twice");
    check_refused(one_series(&[("__name__", "")], &two), labels, 2, "no label __name__");
    let mut bytes = one_series(UP, &two);
    bytes.labels[1].value = vec![0xff];
    check_refused(bytes, RejectReason::InvalidUtf8, 2, "not valid UTF-8");
}

#[test]
fn a_series_without_samples_is_nothing_in_1_0() {
    assert!(decode_v1(&request(vec![one_series(UP, &[])])).rejected.is_empty());
}

#[test]
fn bad_samples_are_refused_and_the_others_kept() {
    let old = NOW_MS - DAY_NS / 1_000_000 - 1;
    let new = NOW_MS + 601_000;
    let other = one_series(&[("__name__", "m")], &[(old, 1.0), (NOW_MS, 1.0), (i64::MIN, 1.0)]);
    check_refused(other, RejectReason::TooOld, 2, "throughline.retention.age");
    let other = one_series(&[("__name__", "m")], &[(new, 1.0), (NOW_MS, 1.0), (i64::MAX, 1.0)]);
    check_refused(other, RejectReason::TooNew, 2, "601 s ahead");
    let times = [(NOW_MS, 1.0), (NOW_MS - 5, 2.0), (NOW_MS, 1.0), (NOW_MS - 5, 3.0), (NOW_MS - 9, 3.0)];
    check_refused(
        one_series(&[("__name__", "m")], &times),
        RejectReason::DuplicateTime,
        1,
        "another value for timestamp",
    );
}

#[test]
fn a_series_in_two_places_of_a_request_is_one() {
    let halves = vec![one_series(UP, &[(NOW_MS, 1.0)]), one_series(UP, &[(NOW_MS, 2.0), (NOW_MS + 9, 2.0)])];
    let decoded = decode_v1(&request(halves));
    assert_eq!(decoded.rejected[0].reason, RejectReason::DuplicateTime);
    assert_eq!(values(metrics(&decoded)), [(0, NOW_MS, 1.0), (0, NOW_MS + 9, 2.0)]);
}

#[test]
fn exemplars_are_kept_with_their_trace() {
    let mut timeseries = one_series(UP, &[(NOW_MS, 1.0)]);
    let labels = v1::labels(&[("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"), ("who", "x")]);
    timeseries.exemplars = vec![
        v1::Exemplar { labels: labels.clone(), value: 0.7, timestamp: NOW_MS - 5 },
        v1::Exemplar { labels, value: 0.8, timestamp: 5 },
    ];
    let alone = v1::TimeSeries { samples: vec![], ..timeseries.clone() };
    let decoded = decode_v1(&request(vec![timeseries, alone]));
    // One that cannot be taken is a remark.
    assert_eq!((decoded.rejected[0].reason, decoded.rejected[0].count), (RejectReason::TooOld, 0));
    let rows = &metrics(&decoded).exemplars;
    assert_eq!(rows.num_rows(), 2);
    assert_eq!(column_fixed(rows, exemplar::TRACE_ID).value(0)[..2], [0x4b, 0xf9]);
    let list = column_binary(rows, exemplar::ATTRIBUTES).value(1);
    assert_eq!(attribute::iter(list).count(), 2, "all labels are kept as they are");
}

#[test]
fn metadata_of_1_0_goes_to_its_family() {
    let metadata =
        v1::Metadata { kind: 1, family: "jobs".to_owned(), help: "Jobs.".to_owned(), unit: "1".to_owned() };
    let timeseries = vec![one_series(&[("__name__", "jobs_total")], &[(NOW_MS, 1.0)])];
    let decoded = decode_v1(&v1::WriteRequest { timeseries, metadata: vec![metadata] });
    let rows = &metrics(&decoded).series;
    assert_eq!(column_number::<UInt8Type>(rows, series::METRIC_TYPE).value(0), MetricType::Counter.code());
    assert_eq!(column_text(rows, series::DESCRIPTION).value(0), "Jobs.");
}

fn check_histogram(good: bool, change: impl FnOnce(&mut Histogram)) {
    let mut changed = histogram(NOW_MS);
    change(&mut changed);
    let body =
        v1::TimeSeries { labels: v1::labels(UP), histograms: vec![changed.clone()], ..Default::default() };
    let decoded = decode_v1(&request(vec![body]));
    assert_eq!(decoded.rejected.is_empty(), good, "{changed:?}: {:?}", decoded.rejected);
    let batch = metrics(&decoded);
    assert_eq!(batch.points.num_rows(), usize::from(good));
    if good {
        assert_eq!(series_text(batch, 0).1, PointKind::NativeHistogram);
        let payload = column_binary(&batch.points, point::PAYLOAD).value(0);
        let read = NativeHistogram::decode(payload).expect("good");
        assert_eq!((read.sum.to_bits(), read.schema), (changed.sum.to_bits(), changed.schema));
        assert_eq!(read.positive.deltas, changed.positive_deltas);
        let start = column_time(&batch.points, point::START_TIME).value(0);
        assert_eq!(start, (NOW_MS - 1_000) * 1_000_000);
    }
}

#[test]
fn native_histograms_are_checked() {
    let span = |offset, length| messages::BucketSpan { offset, length };
    check_histogram(true, |_| {});
    check_histogram(true, |h| h.sum = f64::from_bits(STALE_BITS));
    check_histogram(true, |h| (h.sum, h.count_int) = (f64::NAN, Some(9)));
    check_histogram(false, |h| h.count_int = Some(8));
    check_histogram(false, |h| h.schema = 9);
    check_histogram(false, |h| h.schema = -5);
    check_histogram(false, |h| h.positive_deltas[1] = -3);
    check_histogram(false, |h| h.positive_spans[1].offset = -1);
    check_histogram(false, |h| h.positive_spans[1].length = u32::MAX);
    check_histogram(false, |h| h.positive_counts = vec![1.0]);
    check_histogram(false, |h| h.custom_values = vec![1.0]);
    check_histogram(false, |h| h.zero_threshold = -1.0);
    let floats = |h: &mut Histogram| {
        (h.count_int, h.count_float) = (None, Some(4.5));
        (h.zero_count_int, h.zero_count_float) = (None, Some(0.5));
        (h.positive_deltas, h.positive_counts) = (vec![], vec![1.0, 1.5, 1.5]);
    };
    check_histogram(true, floats);
    check_histogram(false, |h| {
        floats(h);
        h.positive_counts[0] = -1.0;
    });
    let custom = |h: &mut Histogram| {
        (h.schema, h.custom_values) = (-53, vec![0.1, 1.0]);
        (h.count_int, h.zero_count_int, h.zero_threshold) = (Some(6), None, 0.0);
        h.positive_spans = vec![span(0, 3)];
    };
    check_histogram(true, custom);
    check_histogram(false, |h| {
        custom(h);
        h.custom_values = vec![1.0, 1.0];
    });
    check_histogram(false, |h| {
        custom(h);
        h.custom_values = vec![1.0];
    });
}

fn v2_request(symbols: &[&str], timeseries: v2::TimeSeries) -> Vec<u8> {
    let symbols = symbols.iter().map(|symbol| symbol.as_bytes().to_vec()).collect();
    v2::Request { symbols, timeseries: vec![timeseries] }.encode_to_vec()
}

#[test]
fn requests_of_2_0_are_read() {
    let timeseries = v2::TimeSeries {
        labels_refs: vec![1, 2, 3, 4],
        samples: vec![v2::Sample { value: 4.0, timestamp: NOW_MS, start_timestamp: NOW_MS - 7 }],
        histograms: vec![histogram(NOW_MS)],
        exemplars: vec![v2::Exemplar { labels_refs: vec![3, 4], value: 0.5, timestamp: NOW_MS }],
        metadata: Some(v2::Metadata { kind: 3, help_ref: 5, unit_ref: 6 }),
    };
    let symbols = ["", "__name__", "m", "job", "j", "Help.", "seconds"];
    let decoded = decode_v2(&v2_request(&symbols, timeseries.clone()));
    assert_eq!(decoded.rejected, []);
    let batch = metrics(&decoded);
    assert_eq!(series_text(batch, 0), ("m{job=j}".to_owned(), PointKind::Sample, "j".to_owned()));
    assert_eq!(series_text(batch, 1).1, PointKind::NativeHistogram);
    assert_eq!(column_text(&batch.series, series::UNIT).value(1), "seconds");
    assert_eq!(column_time(&batch.points, point::START_TIME).value(0), (NOW_MS - 7) * 1_000_000);
    assert_eq!(batch.exemplars.num_rows(), 1);

    let check = |symbols: &[&str], refs: &[u32], part: &str| {
        let changed = v2::TimeSeries { labels_refs: refs.to_vec(), ..timeseries.clone() };
        let decoded = decode_v2(&v2_request(symbols, changed));
        assert_eq!((decoded.rejected[0].reason, decoded.rejected[0].count), (RejectReason::InvalidLabels, 2));
        assert!(decoded.rejected[0].message.contains(part), "{}", decoded.rejected[0].message);
        assert_eq!(decoded.batch.items(), 0);
    };
    check(&symbols, &[1, 2, 3], "come in pairs");
    check(&symbols, &[1, 2, 3, 99], "symbol 99, the request has 7");
    check(&["x", "__name__", "m", "job", "j"], &[1, 2], "first symbol must be empty");
    let empty = v2::TimeSeries { samples: vec![], histograms: vec![], exemplars: vec![], ..timeseries };
    let decoded = decode_v2(&v2_request(&symbols, empty));
    assert_eq!(decoded.rejected[0].reason, RejectReason::InvalidMetric);
}

#[test]
fn requests_that_are_built_here_come_back() {
    let labels = [("job", "j"), ("__name__", "m")];
    let mut builder = RequestBuilder::new();
    assert!(builder.is_empty());
    let read = NativeHistogram::decode(&histogram(0).encode_to_vec()).expect("good");
    builder.add(
        &Series { labels: &labels, metric_type: MetricType::Histogram, help: "H.", unit: "s" },
        &[Sample { time_ms: NOW_MS, start_ms: NOW_MS - 4, value: f64::INFINITY }],
        &[Sample { time_ms: NOW_MS, start_ms: 0, value: read.clone() }],
        &[Exemplar { labels: &[("trace_id", "00c0de")], time_ms: NOW_MS, value: 1.0 }],
    );
    assert_eq!(builder.len(), 2);
    let body = builder.finish();
    let message = v2::Request::decode(body.as_slice()).expect("prost reads it");
    assert_eq!((message.symbols[0].len(), message.timeseries.len()), (0, 1));
    let decoded = decode_v2(&body);
    assert_eq!(decoded.rejected, []);
    let batch = metrics(&decoded);
    assert_eq!((batch.points.num_rows(), batch.exemplars.num_rows()), (2, 1));
    let payload = column_binary(&batch.points, point::PAYLOAD);
    assert!(payload.is_null(0));
    assert_eq!(NativeHistogram::decode(payload.value(1)), Ok(read));
    assert_eq!(column_text(&batch.series, series::DESCRIPTION).value(0), "H.");
}

/// What a decoder remembers changes nothing.
#[test]
fn an_old_decoder_decodes_like_a_new_one() {
    let all_old = one_series(&[("__name__", "gone")], &[(5, 1.0)]);
    let unsorted = one_series(&[("job", "j"), ("__name__", "u")], &[(NOW_MS, 1.0)]);
    let bad = one_series(&[("job", "j")], &[(NOW_MS, 1.0)]);
    let first = request(vec![one_series(UP, &[(NOW_MS, 1.0)]), all_old.clone(), bad.clone()]);
    let second = request(vec![bad, all_old, unsorted.clone(), one_series(UP, &[(NOW_MS, 2.0)]), unsorted]);
    let mut decoder = throughline_wire::Decoder::new();
    for message in [&first, &second, &first, &second] {
        let body = message.encode_to_vec();
        let old = decoder.decode(Signal::Metrics, Encoding::RemoteWrite1, &body, &context()).expect("good");
        let new = decode_v1(message);
        assert_eq!(old.rejected, new.rejected);
        assert_eq!(metrics(&old).series, metrics(&new).series);
        assert_eq!(metrics(&old).points, metrics(&new).points);
        assert!(
            (0..metrics(&old).series.num_rows()).all(|row| series_text(metrics(&old), row).0 != "gone{}")
        );
    }
}
