//! One request in, one batch and its rejections out.

use throughline_model::{Batch, Signal};

use crate::prometheus::write::Version;
use crate::{DecodeError, Rejection};

/// How a request's messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Encoding {
    /// `application/x-protobuf`, and OTLP/gRPC.
    Protobuf = 0,
    /// `application/json`.
    Json = 1,
    /// Prometheus' remote write 1.0: `prometheus.WriteRequest`.
    RemoteWrite1 = 2,
    /// Prometheus' remote write 2.0: `io.prometheus.write.v2.Request`.
    RemoteWrite2 = 3,
    /// Loki's push in protobuf: `logproto.PushRequest`.
    LokiProtobuf = 4,
    /// Loki's push in JSON.
    LokiJson = 5,
    /// Jaeger's spans in protobuf: `jaeger.api_v2.PostSpansRequest`.
    JaegerProtobuf = 6,
    /// Jaeger's spans in Thrift: a `Batch` in the binary protocol.
    JaegerThrift = 7,
    /// Zipkin's spans, version 2, in protobuf: `zipkin.proto3.ListOfSpans`.
    ZipkinProtobuf = 8,
    /// Zipkin's spans, version 2, in JSON.
    ZipkinJson = 9,
}

impl Encoding {
    /// The code that is stored in the write-ahead log.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The encoding that a stored code stands for.
    pub fn from_code(code: u8) -> Option<Encoding> {
        match code {
            0 => Some(Encoding::Protobuf),
            1 => Some(Encoding::Json),
            2 => Some(Encoding::RemoteWrite1),
            3 => Some(Encoding::RemoteWrite2),
            4 => Some(Encoding::LokiProtobuf),
            5 => Some(Encoding::LokiJson),
            6 => Some(Encoding::JaegerProtobuf),
            7 => Some(Encoding::JaegerThrift),
            8 => Some(Encoding::ZipkinProtobuf),
            9 => Some(Encoding::ZipkinJson),
            _ => None,
        }
    }
}

/// Everything beside the bytes that decides what a request becomes. It is stored with the request, so that a replay
/// gives the same result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeContext {
    /// When the request arrived, nanoseconds since the epoch.
    pub received_at: i64,
    /// What single items may be.
    pub limits: DecodeLimits,
}

/// What single items may be. An item over a limit is rejected, the others are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// How far ahead of the time of receipt an item's time may be, nanoseconds.
    pub future_ns: i64,
    /// How far before the time of receipt an item's time may be, nanoseconds: the retention, since what is older
    /// would be removed at once.
    pub past_ns: i64,
    /// The bytes of one attribute (key and value), and of a name.
    pub attribute_bytes: usize,
    /// The attributes of one item, and of a resource or scope.
    pub attributes_per_item: usize,
    /// The items of one request. A log record may be two bytes on the wire and takes more than a hundred in columns:
    /// this limit is what bounds the memory of a decoded request.
    pub items_per_request: usize,
}

impl DecodeLimits {
    /// Ten minutes: clocks of machines under NTP differ by less, and a larger lead is a broken clock.
    pub const FUTURE_NS: i64 = 600 * 1_000_000_000;
    /// 1 MiB: whole prompts and stack traces fit; what is larger belongs in a log body.
    pub const ATTRIBUTE_BYTES: usize = 1 << 20;
    /// Eight times what SDKs allow by default (128).
    pub const ATTRIBUTES_PER_ITEM: usize = 1024;
    /// 64 MiB of ordinary items hold fewer.
    pub const ITEMS_PER_REQUEST: usize = 500_000;

    /// The usual limits, with items as old as `retention_ns` accepted.
    pub fn with_retention(retention_ns: i64) -> DecodeLimits {
        DecodeLimits {
            future_ns: Self::FUTURE_NS,
            past_ns: retention_ns,
            attribute_bytes: Self::ATTRIBUTE_BYTES,
            attributes_per_item: Self::ATTRIBUTES_PER_ITEM,
            items_per_request: Self::ITEMS_PER_REQUEST,
        }
    }
}

/// The largest decompressed request, whatever a receiver is configured to take. Columns of text count their bytes in
/// 31 bits, and as JSON a body can take six times what it takes on the wire.
const REQUEST_BYTES: usize = 256 << 20;

/// A decoded request.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The accepted items.
    pub batch: Batch,
    /// The others, one entry per reason.
    pub rejected: Vec<Rejection>,
}

/// Decodes requests one after another and keeps, within bounds, what they have in common: the JSON of resources and
/// scopes, and which labels are good. Each decoding thread has its own.
#[derive(Default)]
pub struct Decoder {
    state: crate::otlp::Memory,
    series: crate::prometheus::write::Memory,
    streams: crate::loki::Memory,
}

impl Decoder {
    /// A decoder that has seen nothing.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Decodes one decompressed request.
    pub fn decode(
        &mut self,
        signal: Signal,
        encoding: Encoding,
        body: &[u8],
        context: &DecodeContext,
    ) -> Result<Decoded, DecodeError> {
        if body.len() > REQUEST_BYTES {
            return Err(DecodeError::TooLarge { limit_bytes: REQUEST_BYTES });
        }
        match encoding {
            Encoding::Protobuf => crate::otlp::decode(signal, body, context, &mut self.state),
            Encoding::Json => {
                let message = crate::otlp::json::to_protobuf(signal, body)?;
                crate::otlp::decode(signal, &message, context, &mut self.state)
            }
            Encoding::RemoteWrite1 => {
                crate::prometheus::write::decode(Version::V1, body, context, &mut self.series)
            }
            Encoding::RemoteWrite2 => {
                crate::prometheus::write::decode(Version::V2, body, context, &mut self.series)
            }
            Encoding::LokiProtobuf => crate::loki::decode(body, context, &mut self.streams),
            Encoding::LokiJson => {
                let message = crate::loki::json::to_protobuf(body)?;
                crate::loki::decode(&message, context, &mut self.streams)
            }
            Encoding::JaegerProtobuf => crate::jaeger::protobuf::decode(body, context, &mut self.state),
            Encoding::JaegerThrift => crate::jaeger::thrift::decode(body, context, &mut self.state),
            Encoding::ZipkinProtobuf => crate::zipkin::protobuf::decode(body, context, &mut self.state),
            Encoding::ZipkinJson => crate::zipkin::json::decode(body, context, &mut self.state),
        }
    }
}

/// Decodes one decompressed request with a [`Decoder`] of its own.
pub fn decode(
    signal: Signal,
    encoding: Encoding,
    body: &[u8],
    context: &DecodeContext,
) -> Result<Decoded, DecodeError> {
    Decoder::new().decode(signal, encoding, body, context)
}
