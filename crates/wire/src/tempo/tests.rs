//! Messages against what `prost` makes of the same fields, written down once more.

use prost::Message as _;
use serde_json::json;

use super::*;

#[derive(Clone, PartialEq, prost::Message)]
struct Search {
    #[prost(map = "string, string", tag = "1")]
    tags: std::collections::HashMap<String, String>,
    #[prost(uint32, tag = "4")]
    limit: u32,
    #[prost(uint32, tag = "5")]
    start: u32,
    #[prost(string, tag = "8")]
    query: String,
    #[prost(uint32, tag = "9")]
    spans: u32,
    #[prost(bytes = "vec", tag = "99")]
    unknown: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(message, repeated, tag = "1")]
    traces: Vec<Metadata>,
    #[prost(message, optional, tag = "2")]
    metrics: Option<Metrics>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    trace_id: String,
    #[prost(uint64, tag = "4")]
    start: u64,
    #[prost(uint32, tag = "5")]
    duration_ms: u32,
    #[prost(message, optional, tag = "6")]
    span_set: Option<Set>,
    #[prost(message, repeated, tag = "7")]
    span_sets: Vec<Set>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Set {
    #[prost(message, repeated, tag = "1")]
    spans: Vec<Span>,
    #[prost(uint32, tag = "2")]
    matched: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Span {
    #[prost(string, tag = "1")]
    span_id: String,
    #[prost(uint64, tag = "4")]
    duration: u64,
    #[prost(message, repeated, tag = "5")]
    attributes: Vec<opentelemetry_proto::tonic::common::v1::KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metrics {
    #[prost(uint32, tag = "4")]
    completed: u32,
    #[prost(uint32, tag = "5")]
    total: u32,
}

#[test]
fn a_request_reads_as_it_was_written() {
    let sent = Search {
        tags: [("a".to_owned(), "b".to_owned())].into(),
        limit: 7,
        start: 1_700_000_000,
        query: "{}".to_owned(),
        spans: 3,
        unknown: vec![1; 300],
    };
    let read = SearchRequest::decode(&sent.encode_to_vec()).expect("reads");
    let expected = SearchRequest {
        tags: vec![("a".to_owned(), "b".to_owned())],
        limit: 7,
        start: 1_700_000_000,
        query: "{}".to_owned(),
        spans_per_span_set: 3,
        ..SearchRequest::default()
    };
    assert_eq!(read, expected);
    assert!(SearchRequest::decode(&[0x0a, 9, 1]).is_err());
}

#[test]
fn an_answer_reads_as_it_is_meant() {
    let trace_id = TraceId::from_low(0xc0de).expect("an id");
    let span = FoundSpan {
        span_id: SpanId([0, 0, 0, 0, 0, 0, 0, 9]),
        name: "GET".to_owned(),
        start_ns: 5,
        duration_ns: 6_000_000,
        attributes: vec![("http.status_code".to_owned(), json!(500)), ("load".to_owned(), json!(0.5))],
    };
    let set = FoundSpanSet { spans: vec![span], matched: 4, attributes: Vec::new() };
    let trace = FoundTrace {
        trace_id,
        root_service: String::new(),
        root_name: String::new(),
        start_ns: 5,
        duration_ns: 7_900_000,
        span_sets: vec![set],
        services: vec![("cart".to_owned(), 3, 1)],
    };
    let answer = SearchAnswer { traces: vec![trace], inspected: Inspected::default() };
    let read = Answer::decode(answer.encode().as_slice()).expect("reads");
    let trace = &read.traces[0];
    assert_eq!(
        (trace.trace_id.as_str(), trace.start, trace.duration_ms),
        (trace_id.to_string().as_str(), 5, 7)
    );
    assert_eq!(trace.span_set.as_ref(), trace.span_sets.first());
    assert_eq!((trace.span_sets[0].matched, trace.span_sets[0].spans[0].duration), (4, 6_000_000));
    assert_eq!(trace.span_sets[0].spans[0].attributes.len(), 2);
    assert_eq!(read.metrics, Some(Metrics { completed: 1, total: 1 }));
}
