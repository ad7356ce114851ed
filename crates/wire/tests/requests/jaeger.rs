//! Jaeger's messages, written down once more, so that tests do not share code with the decoder.

/// `jaeger.api_v2.PostSpansRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PostSpansRequest {
    #[prost(message, optional, tag = "1")]
    pub batch: Option<Batch>,
}

/// `jaeger.api_v2.Batch`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Batch {
    #[prost(message, repeated, tag = "1")]
    pub spans: Vec<Span>,
    #[prost(message, optional, tag = "2")]
    pub process: Option<Process>,
}

/// `jaeger.api_v2.Process`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Process {
    #[prost(string, tag = "1")]
    pub service_name: String,
    #[prost(message, repeated, tag = "2")]
    pub tags: Vec<KeyValue>,
}

/// `jaeger.api_v2.Span`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Span {
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    pub operation_name: String,
    #[prost(message, repeated, tag = "4")]
    pub references: Vec<SpanRef>,
    #[prost(uint32, tag = "5")]
    pub flags: u32,
    #[prost(message, optional, tag = "6")]
    pub start_time: Option<Moment>,
    #[prost(message, optional, tag = "7")]
    pub duration: Option<Moment>,
    #[prost(message, repeated, tag = "8")]
    pub tags: Vec<KeyValue>,
    #[prost(message, repeated, tag = "9")]
    pub logs: Vec<Log>,
    #[prost(message, optional, tag = "10")]
    pub process: Option<Process>,
    #[prost(string, repeated, tag = "12")]
    pub warnings: Vec<String>,
}

/// `jaeger.api_v2.SpanRef`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SpanRef {
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub span_id: Vec<u8>,
    #[prost(int32, tag = "3")]
    pub ref_type: i32,
}

/// `jaeger.api_v2.Log`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Log {
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Moment>,
    #[prost(message, repeated, tag = "2")]
    pub fields: Vec<KeyValue>,
}

/// `google.protobuf.Timestamp` and `Duration`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Moment {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// `jaeger.api_v2.KeyValue`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeyValue {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(int32, tag = "2")]
    pub v_type: i32,
    #[prost(string, tag = "3")]
    pub v_str: String,
    #[prost(bool, tag = "4")]
    pub v_bool: bool,
    #[prost(int64, tag = "5")]
    pub v_int64: i64,
    #[prost(double, tag = "6")]
    pub v_float64: f64,
    #[prost(bytes = "vec", tag = "7")]
    pub v_binary: Vec<u8>,
}

/// Nanoseconds as a message.
pub fn moment(ns: i64) -> Option<Moment> {
    Some(Moment { seconds: ns.div_euclid(1_000_000_000), nanos: ns.rem_euclid(1_000_000_000) as i32 })
}

/// A tag of text.
pub fn tag(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), v_str: value.to_owned(), ..KeyValue::default() }
}

/// A span of this time that lasts two milliseconds, with ids of one byte.
pub fn span(trace: u8, id: u8, start_ns: i64) -> Span {
    Span {
        trace_id: vec![trace; 16],
        span_id: vec![id; 8],
        operation_name: "GET /cart".to_owned(),
        flags: 3,
        start_time: moment(start_ns),
        duration: moment(2_000_000),
        ..Span::default()
    }
}

/// A request of these spans from one process.
pub fn request(spans: Vec<Span>) -> PostSpansRequest {
    let process =
        Process { service_name: "cart".to_owned(), tags: vec![tag("hostname", "n1"), tag("ip", "10.0.0.1")] };
    PostSpansRequest { batch: Some(Batch { spans, process: Some(process) }) }
}

/// A writer of Thrift's binary protocol.
#[derive(Clone, Default)]
pub struct Thrift(pub Vec<u8>);

impl Thrift {
    fn field(&mut self, kind: u8, number: i16) -> &mut Vec<u8> {
        self.0.push(kind);
        self.0.extend(number.to_be_bytes());
        &mut self.0
    }

    pub fn text(mut self, number: i16, text: &str) -> Thrift {
        let out = self.field(11, number);
        out.extend((text.len() as i32).to_be_bytes());
        out.extend(text.as_bytes());
        self
    }

    pub fn int(mut self, number: i16, value: i64) -> Thrift {
        self.field(10, number).extend(value.to_be_bytes());
        self
    }

    pub fn small(mut self, number: i16, value: i32) -> Thrift {
        self.field(8, number).extend(value.to_be_bytes());
        self
    }

    pub fn flag(mut self, number: i16, value: bool) -> Thrift {
        self.field(2, number).push(u8::from(value));
        self
    }

    pub fn double(mut self, number: i16, value: f64) -> Thrift {
        self.field(4, number).extend(value.to_be_bytes());
        self
    }

    pub fn nested(mut self, number: i16, value: Thrift) -> Thrift {
        self.field(12, number).extend(value.end());
        self
    }

    pub fn list(mut self, number: i16, values: Vec<Thrift>) -> Thrift {
        let out = self.field(15, number);
        out.push(12);
        out.extend((values.len() as i32).to_be_bytes());
        values.into_iter().for_each(|value| out.extend(value.end()));
        self
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.push(0);
        self.0
    }
}

/// A tag of text in Thrift.
pub fn thrift_tag(key: &str, value: &str) -> Thrift {
    Thrift::default().text(1, key).small(2, 0).text(3, value)
}

/// Tags of the other types in Thrift.
pub fn thrift_tags() -> Vec<Thrift> {
    vec![
        Thrift::default().text(1, "ratio").small(2, 1).double(4, 0.5),
        Thrift::default().text(1, "error").small(2, 2).flag(5, true),
        Thrift::default().text(1, "size").small(2, 3).int(6, -7),
    ]
}

/// A span in Thrift, with its two ids as numbers.
pub fn thrift_span(trace: i64, id: i64, parent: i64, start_ns: i64) -> Thrift {
    Thrift::default()
        .int(1, trace)
        .int(2, 0)
        .int(3, id)
        .int(4, parent)
        .text(5, "GET /cart")
        .small(7, 1)
        .int(8, start_ns / 1_000)
        .int(9, 2_000)
}

/// A batch of these spans in Thrift.
pub fn thrift_batch(spans: Vec<Thrift>) -> Vec<u8> {
    let process = Thrift::default().text(1, "cart").list(2, vec![thrift_tag("hostname", "n1")]);
    Thrift::default().nested(1, process).list(2, spans).end()
}
