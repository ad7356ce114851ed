//! Jaeger's query messages in protobuf: `jaeger.api_v3.QueryService`. Traces are OTLP's `TracesData`
//! ([`crate::otlp::traces_data`]).

use throughline_model::TraceId;
use throughline_model::protobuf::{Field, Malformed, Reader, put_bytes, put_fixed64, put_number};

/// `TraceQueryParameters`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceQuery {
    /// The service; empty for all.
    pub service: String,
    /// The operation; empty for all.
    pub operation: String,
    /// Attributes, compared as text.
    pub attributes: Vec<(String, String)>,
    /// The first start, nanoseconds since the epoch.
    pub start_min: Option<i64>,
    /// The last start, nanoseconds since the epoch.
    pub start_max: Option<i64>,
    /// Nanoseconds.
    pub duration_min: Option<i64>,
    /// Nanoseconds.
    pub duration_max: Option<i64>,
    /// Traces at most; 0 leaves it to the server.
    pub search_depth: i32,
    /// Whether there is a structured filter, which is not understood.
    pub has_filter: bool,
}

/// `TraceSummary`.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The trace.
    pub trace_id: TraceId,
    /// The root's service.
    pub root_service: String,
    /// The root's name.
    pub root_operation: String,
    /// Nanoseconds since the epoch.
    pub start_ns: i64,
    /// Nanoseconds since the epoch.
    pub end_ns: i64,
    /// How many spans.
    pub spans: u32,
    /// How many of them failed.
    pub errors: u32,
    /// How many name a parent that is not here.
    pub orphans: u32,
    /// Spans and failed spans of each service, by its name.
    pub services: Vec<(String, u32, u32)>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The texts of these fields, in their order; empty where they are not there.
pub fn texts<const N: usize>(message: &[u8], numbers: [u32; N]) -> Result<[String; N], Malformed> {
    let mut texts = [const { String::new() }; N];
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        if let Field::Bytes(bytes) = field {
            let slots = texts.iter_mut().zip(numbers).filter(|(_, wanted)| *wanted == number);
            slots.for_each(|(slot, _)| *slot = text(bytes));
        }
    }
    Ok(texts)
}

/// The times of these fields of `Timestamp` or `Duration`, nanoseconds.
pub fn times<const N: usize>(message: &[u8], numbers: [u32; N]) -> Result<[Option<i64>; N], Malformed> {
    let mut times = [None; N];
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        if let Field::Bytes(bytes) = field {
            for (slot, _) in times.iter_mut().zip(numbers).filter(|(_, wanted)| *wanted == number) {
                *slot = Some(nanoseconds(bytes)?);
            }
        }
    }
    Ok(times)
}

/// Seconds and nanoseconds, as nanoseconds.
fn nanoseconds(message: &[u8]) -> Result<i64, Malformed> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Varint(n)) => seconds = n as i64,
            (2, Field::Varint(n)) => nanos = n as i64,
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

impl TraceQuery {
    /// Reads a `FindTracesRequest` or a `FindTraceSummariesRequest`.
    pub fn decode(message: &[u8]) -> Result<TraceQuery, Malformed> {
        let mut query = TraceQuery::default();
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field()? {
            if let (1, Field::Bytes(parameters)) = (number, field) {
                query.read(parameters)?;
            }
        }
        Ok(query)
    }

    fn read(&mut self, message: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (1, Field::Bytes(bytes)) => self.service = text(bytes),
                (2, Field::Bytes(bytes)) => self.operation = text(bytes),
                (3, Field::Bytes(bytes)) => {
                    let [key, value] = texts(bytes, [1, 2])?;
                    self.attributes.push((key, value));
                }
                (4, Field::Bytes(bytes)) => self.start_min = Some(nanoseconds(bytes)?),
                (5, Field::Bytes(bytes)) => self.start_max = Some(nanoseconds(bytes)?),
                (6, Field::Bytes(bytes)) => self.duration_min = Some(nanoseconds(bytes)?),
                (7, Field::Bytes(bytes)) => self.duration_max = Some(nanoseconds(bytes)?),
                (8, Field::Varint(n)) => self.search_depth = n as i32,
                (10, Field::Bytes(_)) => self.has_filter = true,
                _ => {}
            }
        }
        Ok(())
    }
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

/// `GetServicesResponse`.
pub fn encode_services(services: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    services.iter().for_each(|service| put_bytes(&mut out, 1, service.as_bytes()));
    out
}

/// `GetOperationsResponse`: names and kinds.
pub fn encode_operations(operations: &[(String, &str)]) -> Vec<u8> {
    let (mut out, mut one) = (Vec::new(), Vec::new());
    for (name, kind) in operations {
        one.clear();
        put_text(&mut one, 1, name);
        put_text(&mut one, 2, kind);
        put_bytes(&mut out, 1, &one);
    }
    out
}

/// `DependenciesResponse`: caller, callee and calls.
pub fn encode_dependencies(dependencies: &[(String, String, u64)]) -> Vec<u8> {
    let (mut out, mut one) = (Vec::new(), Vec::new());
    for (parent, child, calls) in dependencies {
        one.clear();
        put_text(&mut one, 1, parent);
        put_text(&mut one, 2, child);
        put_count(&mut one, 3, *calls);
        put_bytes(&mut out, 1, &one);
    }
    out
}

/// `FindTraceSummariesResponse`.
pub fn encode_summaries(summaries: &[Summary]) -> Vec<u8> {
    let (mut out, mut one, mut part) = (Vec::new(), Vec::new(), Vec::new());
    for summary in summaries {
        one.clear();
        put_text(&mut one, 1, &summary.trace_id.to_string());
        put_text(&mut one, 2, &summary.root_service);
        put_text(&mut one, 3, &summary.root_operation);
        put_fixed64(&mut one, 4, summary.start_ns as u64);
        put_fixed64(&mut one, 5, summary.end_ns as u64);
        put_count(&mut one, 6, u64::from(summary.spans));
        put_count(&mut one, 7, u64::from(summary.errors));
        put_count(&mut one, 8, u64::from(summary.orphans));
        for (name, spans, errors) in &summary.services {
            part.clear();
            put_text(&mut part, 1, name);
            put_count(&mut part, 2, u64::from(*spans));
            put_count(&mut part, 3, u64::from(*errors));
            put_bytes(&mut one, 9, &part);
        }
        put_bytes(&mut out, 1, &one);
    }
    out
}
