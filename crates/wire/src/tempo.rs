//! Tempo's query messages in protobuf (`tempopb`): what its clients ask over gRPC, and every answer.
//!
//! Requests are read leniently: fields that are not known are passed over, as protobuf has it. The answers are plain structs,
//! which the API writes as JSON too.

use serde_json::Value as Json;
use throughline_model::protobuf::{Field, Malformed, Reader, put_bytes, put_fixed64, put_number};
use throughline_model::{SpanId, TraceId};

use crate::otlp::traces_data::put_attribute;

/// `SearchRequest`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchRequest {
    /// Tags of the old form.
    pub tags: Vec<(String, String)>,
    /// Milliseconds; 0 is none.
    pub min_duration_ms: u32,
    /// Milliseconds; 0 is none.
    pub max_duration_ms: u32,
    /// Traces at most; 0 leaves it to the server.
    pub limit: u32,
    /// Seconds since the epoch; 0 is none.
    pub start: u32,
    /// Seconds since the epoch; 0 is none.
    pub end: u32,
    /// TraceQL.
    pub query: String,
    /// Spans of one spanset at most; 0 leaves it to the server.
    pub spans_per_span_set: u32,
}

/// `SearchTagsRequest`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TagsRequest {
    /// The scope; empty for all.
    pub scope: String,
    /// TraceQL that filters.
    pub query: String,
    /// Seconds since the epoch; 0 is none.
    pub start: u32,
    /// Seconds since the epoch; 0 is none.
    pub end: u32,
    /// Tags of one scope at most; 0 leaves it to the server.
    pub limit: u32,
}

/// `SearchTagValuesRequest`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TagValuesRequest {
    /// The tag.
    pub tag: String,
    /// TraceQL that filters.
    pub query: String,
    /// Seconds since the epoch; 0 is none.
    pub start: u32,
    /// Seconds since the epoch; 0 is none.
    pub end: u32,
    /// Values at most; 0 leaves it to the server.
    pub limit: u32,
}

/// `QueryRangeRequest`, and `QueryInstantRequest`, which has the first three.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricsRequest {
    /// TraceQL.
    pub query: String,
    /// Nanoseconds since the epoch; 0 is none.
    pub start: u64,
    /// Nanoseconds since the epoch; 0 is none.
    pub end: u64,
    /// Nanoseconds; 0 is none.
    pub step: u64,
    /// Exemplars at most; 0 leaves it to the server.
    pub exemplars: u32,
    /// Series at most; 0 leaves it to the server.
    pub max_series: u32,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads an entry of a map of texts.
fn pair(message: &[u8]) -> Result<(String, String), Malformed> {
    let (mut key, mut value) = (String::new(), String::new());
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => key = text(bytes),
            (2, Field::Bytes(bytes)) => value = text(bytes),
            _ => {}
        }
    }
    Ok((key, value))
}

impl SearchRequest {
    /// Reads a message.
    pub fn decode(message: &[u8]) -> Result<SearchRequest, Malformed> {
        let mut request = SearchRequest::default();
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (1, Field::Bytes(bytes)) => request.tags.push(pair(bytes)?),
                (2, Field::Varint(n)) => request.min_duration_ms = n as u32,
                (3, Field::Varint(n)) => request.max_duration_ms = n as u32,
                (4, Field::Varint(n)) => request.limit = n as u32,
                (5, Field::Varint(n)) => request.start = n as u32,
                (6, Field::Varint(n)) => request.end = n as u32,
                (8, Field::Bytes(bytes)) => request.query = text(bytes),
                (9, Field::Varint(n)) => request.spans_per_span_set = n as u32,
                _ => {}
            }
        }
        Ok(request)
    }
}

impl TagsRequest {
    /// Reads a message.
    pub fn decode(message: &[u8]) -> Result<TagsRequest, Malformed> {
        let mut request = TagsRequest::default();
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (1, Field::Bytes(bytes)) => request.scope = text(bytes),
                (2, Field::Bytes(bytes)) => request.query = text(bytes),
                (3, Field::Varint(n)) => request.start = n as u32,
                (4, Field::Varint(n)) => request.end = n as u32,
                (5, Field::Varint(n)) => request.limit = n as u32,
                _ => {}
            }
        }
        Ok(request)
    }
}

impl TagValuesRequest {
    /// Reads a message.
    pub fn decode(message: &[u8]) -> Result<TagValuesRequest, Malformed> {
        let mut request = TagValuesRequest::default();
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (1, Field::Bytes(bytes)) => request.tag = text(bytes),
                (2, Field::Bytes(bytes)) => request.query = text(bytes),
                (4, Field::Varint(n)) => request.start = n as u32,
                (5, Field::Varint(n)) => request.end = n as u32,
                (6, Field::Varint(n)) => request.limit = n as u32,
                _ => {}
            }
        }
        Ok(request)
    }
}

impl MetricsRequest {
    /// Reads a message.
    pub fn decode(message: &[u8]) -> Result<MetricsRequest, Malformed> {
        let mut request = MetricsRequest::default();
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (1, Field::Bytes(bytes)) => request.query = text(bytes),
                (2, Field::Varint(n)) => request.start = n,
                (3, Field::Varint(n)) => request.end = n,
                (4, Field::Varint(n)) => request.step = n,
                (16, Field::Varint(n)) => request.exemplars = n as u32,
                (17, Field::Varint(n)) => request.max_series = n as u32,
                _ => {}
            }
        }
        Ok(request)
    }
}

// === answers ===

/// Names and values; the values are as stored spans have them.
pub type Attributes = Vec<(String, Json)>;

/// What a query has looked at. Members that clients of an earlier version do not know are never sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inspected {
    /// Traces.
    pub traces: u32,
    /// Bytes.
    pub bytes: u64,
    /// Blocks.
    pub blocks: u32,
    /// Spans.
    pub spans: u64,
    /// Whether not everything was looked at that the query is about.
    pub is_partial: bool,
}

impl Inspected {
    /// The jobs that a query was, of which one is done: what is not done is a job that is missing. Clients take as many done as
    /// there are for a whole answer.
    pub fn jobs(&self) -> u32 {
        1 + u32::from(self.is_partial)
    }
}

/// `SearchResponse`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchAnswer {
    /// The traces.
    pub traces: Vec<FoundTrace>,
    /// What was looked at.
    pub inspected: Inspected,
}

/// `TraceSearchMetadata`.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundTrace {
    /// The trace.
    pub trace_id: TraceId,
    /// The root's service.
    pub root_service: String,
    /// The root's name.
    pub root_name: String,
    /// Nanoseconds since the epoch.
    pub start_ns: i64,
    /// Nanoseconds.
    pub duration_ns: i64,
    /// The spans that were asked for.
    pub span_sets: Vec<FoundSpanSet>,
    /// Spans and failed spans of each service.
    pub services: Vec<(String, u32, u32)>,
}

/// `SpanSet`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FoundSpanSet {
    /// Some of its spans.
    pub spans: Vec<FoundSpan>,
    /// How many there are.
    pub matched: u32,
    /// What the query computed of the set.
    pub attributes: Attributes,
}

/// `Span` of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundSpan {
    /// Its id.
    pub span_id: SpanId,
    /// Its name.
    pub name: String,
    /// Nanoseconds since the epoch.
    pub start_ns: i64,
    /// Nanoseconds.
    pub duration_ns: i64,
    /// What the query asked of it.
    pub attributes: Attributes,
}

/// `QueryRangeResponse`, or `QueryInstantResponse` where each series has one value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricsAnswer {
    /// The series.
    pub series: Vec<FoundSeries>,
    /// What was looked at.
    pub inspected: Inspected,
    /// Why the answer is incomplete; empty where it is complete.
    pub partial: String,
}

/// `TimeSeries`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FoundSeries {
    /// Its labels.
    pub labels: Attributes,
    /// Milliseconds since the epoch, and values.
    pub samples: Vec<(i64, f64)>,
    /// Its exemplars.
    pub exemplars: Vec<FoundExemplar>,
}

/// `Exemplar`.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundExemplar {
    /// Its labels, the trace's id among them.
    pub labels: Attributes,
    /// The value.
    pub value: f64,
    /// Milliseconds since the epoch.
    pub time_ms: i64,
}

fn put_text(out: &mut Vec<u8>, field: u32, text: &str) {
    if !text.is_empty() {
        put_bytes(out, field, text.as_bytes());
    }
}

fn put_count(out: &mut Vec<u8>, field: u32, count: u64) {
    if count > 0 {
        put_number(out, field, count);
    }
}

fn put_double(out: &mut Vec<u8>, field: u32, value: f64) {
    if value.to_bits() != 0 {
        put_fixed64(out, field, value.to_bits());
    }
}

fn put_all(out: &mut Vec<u8>, field: u32, attributes: &Attributes) {
    for (key, value) in attributes {
        put_attribute(out, field, key, value);
    }
}

fn put_nested(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let mut message = Vec::new();
    write(&mut message);
    put_bytes(out, field, &message);
}

impl Inspected {
    /// `SearchMetrics`.
    fn put(&self, out: &mut Vec<u8>) {
        put_nested(out, 2, |out| {
            put_count(out, 1, u64::from(self.traces));
            put_count(out, 2, self.bytes);
            put_count(out, 3, u64::from(self.blocks));
            put_number(out, 4, 1);
            put_number(out, 5, u64::from(self.jobs()));
            put_count(out, 7, self.spans);
        });
    }
}

/// `MetadataMetrics` of a request that was one job; where not everything was looked at, another is not done.
fn put_jobs(out: &mut Vec<u8>, is_partial: bool) {
    put_nested(out, 2, |out| {
        put_number(out, 2, 1 + u64::from(is_partial));
        put_number(out, 3, 1);
    });
}

impl SearchAnswer {
    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for trace in &self.traces {
            put_nested(&mut out, 1, |out| trace.put(out));
        }
        self.inspected.put(&mut out);
        out
    }
}

impl FoundTrace {
    /// Milliseconds, as many as the field holds.
    pub fn duration_ms(&self) -> u32 {
        u32::try_from(self.duration_ns.max(0) / 1_000_000).unwrap_or(u32::MAX)
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_text(out, 1, &self.trace_id.to_string());
        put_text(out, 2, &self.root_service);
        put_text(out, 3, &self.root_name);
        put_count(out, 4, self.start_ns.max(0) as u64);
        put_count(out, 5, u64::from(self.duration_ms()));
        if let Some(first) = self.span_sets.first() {
            put_nested(out, 6, |out| first.put(out));
        }
        for set in &self.span_sets {
            put_nested(out, 7, |out| set.put(out));
        }
        for (service, spans, errors) in &self.services {
            put_nested(out, 8, |out| {
                put_text(out, 1, service);
                put_nested(out, 2, |out| {
                    put_count(out, 1, u64::from(*spans));
                    put_count(out, 2, u64::from(*errors));
                });
            });
        }
    }
}

impl FoundSpanSet {
    fn put(&self, out: &mut Vec<u8>) {
        for span in &self.spans {
            put_nested(out, 1, |out| {
                put_text(out, 1, &span.span_id.to_string());
                put_text(out, 2, &span.name);
                put_count(out, 3, span.start_ns.max(0) as u64);
                put_count(out, 4, span.duration_ns.max(0) as u64);
                put_all(out, 5, &span.attributes);
            });
        }
        put_count(out, 2, u64::from(self.matched));
        put_all(out, 3, &self.attributes);
    }
}

impl MetricsAnswer {
    /// `QueryRangeResponse`.
    pub fn encode_range(&self) -> Vec<u8> {
        self.encode(|series, out| {
            for (time, value) in &series.samples {
                put_nested(out, 2, |out| {
                    put_double(out, 1, *value);
                    put_number(out, 2, *time as u64);
                });
            }
            for exemplar in &series.exemplars {
                put_nested(out, 4, |out| {
                    put_all(out, 1, &exemplar.labels);
                    put_double(out, 2, exemplar.value);
                    put_number(out, 3, exemplar.time_ms as u64);
                });
            }
        })
    }

    /// `QueryInstantResponse`.
    pub fn encode_instant(&self) -> Vec<u8> {
        self.encode(|series, out| {
            if let Some((_, value)) = series.samples.last() {
                put_double(out, 2, *value);
            }
        })
    }

    fn encode(&self, values: impl Fn(&FoundSeries, &mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        for series in &self.series {
            put_nested(&mut out, 1, |out| {
                put_all(out, 1, &series.labels);
                values(series, out);
            });
        }
        self.inspected.put(&mut out);
        if !self.partial.is_empty() {
            put_number(&mut out, 3, 1);
            put_text(&mut out, 4, &self.partial);
        }
        out
    }
}

/// `TraceByIDResponse` around a `Trace` that is encoded already. `partial` says why it is incomplete; empty where it is not.
pub fn encode_trace_by_id(trace: &[u8], partial: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(trace.len() + 16);
    put_bytes(&mut out, 1, trace);
    put_bytes(&mut out, 2, &[]);
    if !partial.is_empty() {
        put_number(&mut out, 3, 1);
        put_text(&mut out, 4, partial);
    }
    out
}

/// `SearchTagsResponse`, and `SearchTagValuesResponse`, which has the same form.
pub fn encode_texts(texts: &[String], is_partial: bool) -> Vec<u8> {
    let mut out = Vec::new();
    // Not left out where empty: an element of a list that is not there is one fewer.
    texts.iter().for_each(|text| put_bytes(&mut out, 1, text.as_bytes()));
    put_jobs(&mut out, is_partial);
    out
}

/// `SearchTagsV2Response`: scopes and their tags.
pub fn encode_scopes(scopes: &[(&str, Vec<String>)], is_partial: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (scope, tags) in scopes {
        put_nested(&mut out, 1, |out| {
            put_text(out, 1, scope);
            tags.iter().for_each(|tag| put_bytes(out, 2, tag.as_bytes()));
        });
    }
    put_jobs(&mut out, is_partial);
    out
}

/// `SearchTagValuesV2Response`: types and values.
pub fn encode_values(values: &[(&str, String)], is_partial: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, value) in values {
        put_nested(&mut out, 1, |out| {
            put_text(out, 1, kind);
            put_text(out, 2, value);
        });
    }
    put_jobs(&mut out, is_partial);
    out
}

#[cfg(test)]
mod tests;
