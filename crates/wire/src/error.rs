//! Why a whole request cannot be read. What is wrong with single items is a [`crate::Rejection`] instead.

use throughline_model::protobuf::Malformed;

/// A request that is refused as a whole: OTLP/HTTP answers 400 (413 where [`DecodeError::is_too_large`]), OTLP/gRPC
/// `INVALID_ARGUMENT` (`RESOURCE_EXHAUSTED` without a retry hint).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The decompressed body passes the limit.
    #[error(
        "request body is larger than {limit_bytes} bytes after decompression; send smaller batches or raise the \
         receiver's max_request_body_size"
    )]
    TooLarge {
        /// The limit that it passed.
        limit_bytes: usize,
    },
    /// The body is not what its `Content-Encoding` says.
    #[error("request body is not valid {encoding}: {detail}")]
    Compression {
        /// `gzip` or `zstd`.
        encoding: &'static str,
        /// What the decompressor said.
        detail: String,
    },
    /// The body is not a protobuf message of the signal.
    #[error("malformed protobuf at {path}: {cause}")]
    Protobuf {
        /// Where, such as `resource_spans[0].scope_spans[1].spans[7]`.
        path: String,
        /// What is wrong there.
        cause: Malformed,
    },
    /// The body is not Thrift's binary protocol, or not a message of the signal in it.
    #[error("malformed Thrift at {path}: {cause}")]
    Thrift {
        /// Where, such as `spans[7]`.
        path: String,
        /// What is wrong there.
        cause: &'static str,
    },
    /// The body is not JSON, or not JSON of the signal's message.
    #[error("malformed JSON at {path}: {detail}")]
    Json {
        /// Where, such as `resourceSpans[0].scopeSpans[1].spans[7].startTimeUnixNano`.
        path: String,
        /// What is wrong there.
        detail: String,
    },
}

impl DecodeError {
    /// Whether the request was refused for its size rather than for its form.
    pub fn is_too_large(&self) -> bool {
        matches!(self, DecodeError::TooLarge { .. })
    }

    /// The place in the request that is bad, where it is one; empty for the whole request.
    pub fn field(&self) -> &str {
        match self {
            DecodeError::Protobuf { path, .. }
            | DecodeError::Thrift { path, .. }
            | DecodeError::Json { path, .. } => path,
            DecodeError::TooLarge { .. } | DecodeError::Compression { .. } => "",
        }
    }
}
