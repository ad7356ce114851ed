//! Refusals: why a request is not taken, and how both protocols say it.
//!
//! The statuses are those of the OTLP specification: what may help a second time is 503 / `UNAVAILABLE` with a hint
//! when; what never will is 4xx or a code that senders do not repeat. Load is never a 500.

use std::time::Duration;

use http::StatusCode;
use throughline_wire::{DecodeError, Encoding, response};

/// The longest message: `grpc-message` is a header, and clients take 8 KiB of headers of which percent-encoding can
/// use three times the text and the status details once more.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1 << 10;

/// The longest name of a field, in the details beside the message.
const FIELD_BYTES_MAX: usize = 256;

/// gRPC status codes that are used here.
pub(crate) mod code {
    pub(crate) const CANCELLED: i32 = 1;
    pub(crate) const INVALID_ARGUMENT: i32 = 3;
    pub(crate) const NOT_FOUND: i32 = 5;
    pub(crate) const RESOURCE_EXHAUSTED: i32 = 8;
    pub(crate) const UNIMPLEMENTED: i32 = 12;
    pub(crate) const INTERNAL: i32 = 13;
    pub(crate) const UNAVAILABLE: i32 = 14;
}

/// Why: a closed set, by which refusals are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Cause {
    /// The body is not what it should be.
    Malformed = 0,
    /// The body is over the limit, as sent or decompressed.
    TooLarge = 1,
    /// A compression that is not known.
    UnknownCompression = 2,
    /// A content type that is not known.
    UnknownContentType = 3,
    /// No such path, or no such gRPC method.
    UnknownPath = 4,
    /// Not a POST.
    MethodNotAllowed = 5,
    /// gRPC: not exactly one message in a unary call.
    MessageCount = 6,
    /// gRPC: a message is marked as compressed and the call names no compression.
    UnnamedCompression = 7,
    /// The other protocol's request on this port.
    WrongProtocol = 8,
    /// The body came too slowly.
    SlowBody = 9,
    /// The sender went away before its request was whole.
    Cancelled = 10,
    /// Too many bytes are in flight.
    Busy = 11,
    /// The store has too much to write.
    Overloaded = 12,
    /// The disk is full.
    DiskFull = 13,
    /// The write failed.
    WriteFailed = 14,
    /// The process is shutting down.
    Closing = 15,
    /// A defect here.
    Internal = 16,
}

impl Cause {
    /// All causes, by number.
    pub(crate) const ALL: [Cause; 17] = [
        Cause::Malformed,
        Cause::TooLarge,
        Cause::UnknownCompression,
        Cause::UnknownContentType,
        Cause::UnknownPath,
        Cause::MethodNotAllowed,
        Cause::MessageCount,
        Cause::UnnamedCompression,
        Cause::WrongProtocol,
        Cause::SlowBody,
        Cause::Cancelled,
        Cause::Busy,
        Cause::Overloaded,
        Cause::DiskFull,
        Cause::WriteFailed,
        Cause::Closing,
        Cause::Internal,
    ];

    /// The cause as a label of a metric.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Cause::Malformed => "malformed",
            Cause::TooLarge => "too_large",
            Cause::UnknownCompression => "unknown_compression",
            Cause::UnknownContentType => "unknown_content_type",
            Cause::UnknownPath => "unknown_path",
            Cause::MethodNotAllowed => "method_not_allowed",
            Cause::MessageCount => "message_count",
            Cause::UnnamedCompression => "unnamed_compression",
            Cause::WrongProtocol => "wrong_protocol",
            Cause::SlowBody => "slow_body",
            Cause::Cancelled => "cancelled",
            Cause::Busy => "busy",
            Cause::Overloaded => "overloaded",
            Cause::DiskFull => "disk_full",
            Cause::WriteFailed => "write_failed",
            Cause::Closing => "closing",
            Cause::Internal => "internal",
        }
    }

    /// The status over HTTP.
    pub(crate) fn http_status(self) -> StatusCode {
        match self {
            Cause::Malformed | Cause::MessageCount | Cause::UnnamedCompression | Cause::Cancelled => {
                StatusCode::BAD_REQUEST
            }
            Cause::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Cause::UnknownCompression | Cause::UnknownContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Cause::UnknownPath => StatusCode::NOT_FOUND,
            Cause::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Cause::WrongProtocol => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            // Not 408, which says what happened: senders of OTLP repeat after 429, 502, 503 and 504 alone, and drop the
            // request after anything else.
            Cause::SlowBody
            | Cause::Busy
            | Cause::Overloaded
            | Cause::DiskFull
            | Cause::WriteFailed
            | Cause::Closing => StatusCode::SERVICE_UNAVAILABLE,
            Cause::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The status code over gRPC. Where the OTLP specification leaves it open, gRPC's own document of status codes
    /// decides: a call with no or several messages is `UNIMPLEMENTED`, as is an unknown compression.
    pub(crate) fn grpc_code(self) -> i32 {
        match self {
            Cause::Malformed => code::INVALID_ARGUMENT,
            Cause::TooLarge => code::RESOURCE_EXHAUSTED,
            Cause::UnknownCompression
            | Cause::UnknownContentType
            | Cause::UnknownPath
            | Cause::MethodNotAllowed
            | Cause::MessageCount
            | Cause::WrongProtocol => code::UNIMPLEMENTED,
            Cause::Cancelled => code::CANCELLED,
            // Some senders take DEADLINE_EXCEEDED for the end of their own deadline and give up.
            Cause::SlowBody
            | Cause::Busy
            | Cause::Overloaded
            | Cause::DiskFull
            | Cause::WriteFailed
            | Cause::Closing => code::UNAVAILABLE,
            Cause::UnnamedCompression | Cause::Internal => code::INTERNAL,
        }
    }
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Why.
    pub(crate) cause: Cause,
    /// What the sender is told.
    pub(crate) message: String,
    /// When it may try again; none where that cannot help.
    pub(crate) retry_after: Option<Duration>,
    /// The place in the request that is bad; empty where it is no single one.
    pub(crate) field: String,
}

impl Refusal {
    /// A refusal that a second try does not change.
    pub(crate) fn new(cause: Cause, message: impl Into<String>) -> Refusal {
        let mut message = message.into();
        truncate(&mut message, MESSAGE_BYTES_MAX);
        Refusal { cause, message, retry_after: None, field: String::new() }
    }

    /// A refusal that time may cure.
    pub(crate) fn retry(cause: Cause, message: impl Into<String>, after: Duration) -> Refusal {
        Refusal { retry_after: Some(after), ..Refusal::new(cause, message) }
    }

    /// Bytes that cannot be decompressed or decoded.
    pub(crate) fn undecodable(error: &DecodeError) -> Refusal {
        let cause = if error.is_too_large() { Cause::TooLarge } else { Cause::Malformed };
        let mut field = error.field().to_owned();
        truncate(&mut field, FIELD_BYTES_MAX);
        Refusal { field, ..Refusal::new(cause, error.to_string()) }
    }

    /// The `google.rpc.Status` that says all this.
    pub(crate) fn status(&self, encoding: Encoding) -> Vec<u8> {
        let code = self.cause.grpc_code();
        match self.cause {
            Cause::Malformed => response::bad_request(encoding, code, &self.message, &self.field),
            _ => response::status(encoding, code, &self.message, self.retry_after),
        }
    }

    /// A body over the limit.
    pub(crate) fn too_large(bytes_max: usize) -> Refusal {
        let message = format!(
            "request body is larger than {bytes_max} bytes; send smaller batches or raise the receiver's \
             max_request_body_size"
        );
        Refusal::new(Cause::TooLarge, message)
    }

    /// A compression that is not spoken.
    pub(crate) fn unknown_compression(name: &str) -> Refusal {
        let message = format!("compression {name:?} is not supported; use identity, gzip or zstd");
        Refusal::new(Cause::UnknownCompression, message)
    }

    /// The hint in whole seconds, as `Retry-After` has it.
    pub(crate) fn retry_after_seconds(&self) -> Option<u64> {
        let after = self.retry_after?;
        Some(after.as_secs() + u64::from(after.subsec_nanos() > 0))
    }
}

/// Cuts a text to at most `bytes_max` bytes, between characters.
pub(crate) fn truncate(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        let mut end = bytes_max.saturating_sub('…'.len_utf8());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_time_may_cure_has_statuses_that_senders_repeat() {
        use Cause::{Busy, Closing, DiskFull, Overloaded, SlowBody, WriteFailed};
        let curable = [SlowBody, Busy, Overloaded, DiskFull, WriteFailed, Closing];
        for cause in Cause::ALL {
            // The tables of the OTLP specification; RESOURCE_EXHAUSTED is repeated only with a hint.
            let over_http = matches!(cause.http_status().as_u16(), 429 | 502..=504);
            let over_grpc = matches!(cause.grpc_code(), 1 | 4 | 10 | 11 | 14 | 15);
            assert_eq!(over_http, curable.contains(&cause), "{cause:?}");
            // Whoever broke a call off gets no answer: the code is for what stands in between.
            assert_eq!(over_grpc, curable.contains(&cause) || cause == Cause::Cancelled, "{cause:?}");
        }
    }
}
