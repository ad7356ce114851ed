//! What an OTLP server's answer means for the sender: stored, refused, later, or unknown.

use std::time::Duration;

use http::HeaderMap;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;

use crate::Signal;

/// Waits that a server asks for are cut to this.
const HINT_MAX: Duration = Duration::from_secs(60);

/// The meaning of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Stored, except for so many items.
    Accepted {
        /// Items that a partial success refused.
        rejected: u64,
        /// Why.
        message: String,
    },
    /// Refused for good.
    Refused {
        /// Status and message.
        reason: String,
    },
    /// Not now.
    Later {
        /// How long the server wants the sender to wait.
        hint: Option<Duration>,
        /// Status and message.
        reason: String,
    },
    /// The connection broke before the answer.
    Lost {
        /// What broke.
        reason: String,
    },
}

/// `google.rpc.Status`, as far as the sender needs it.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// Reads an answer of OTLP/HTTP.
pub fn of_http(signal: Signal, status: u16, headers: &HeaderMap, body: &[u8]) -> Answer {
    if (200..300).contains(&status) {
        return accepted(signal, body);
    }
    let message =
        RpcStatus::decode(body).map_or_else(|_| String::from_utf8_lossy(body).into_owned(), |s| s.message);
    let reason = format!("HTTP {status}: {message}");
    if !matches!(status, 429 | 502 | 503 | 504) {
        return Answer::Refused { reason };
    }
    let seconds = headers.get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Answer::Later { hint: seconds.map(|seconds| Duration::from_secs(seconds).min(HINT_MAX)), reason }
}

/// Reads an answer of OTLP/gRPC from its trailers (or headers, where there was no body) and its framed body.
pub fn of_grpc(signal: Signal, trailers: &HeaderMap, body: &[u8]) -> Answer {
    let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok());
    let Some(code) = text("grpc-status").and_then(|code| code.parse::<i32>().ok()) else {
        return Answer::Lost { reason: "answer without grpc-status".to_owned() };
    };
    if code == 0 {
        return accepted(signal, body.get(crate::corpus::GRPC_PREFIX_BYTES..).unwrap_or_default());
    }
    let reason = format!("gRPC status {code}: {}", text("grpc-message").unwrap_or_default());
    let hint = text("grpc-status-details-bin").and_then(base64).and_then(|bytes| retry_delay(&bytes));
    // RESOURCE_EXHAUSTED may be retried only where the server says when: the rest is in OTLP's table.
    let retryable = matches!(code, 1 | 4 | 10 | 11 | 14 | 15) || (code == 8 && hint.is_some());
    if retryable { Answer::Later { hint, reason } } else { Answer::Refused { reason } }
}

fn accepted(signal: Signal, body: &[u8]) -> Answer {
    let partial = match signal {
        Signal::Traces => ExportTraceServiceResponse::decode(body)
            .map(|response| response.partial_success.map(|p| (p.rejected_spans, p.error_message))),
        Signal::Logs => ExportLogsServiceResponse::decode(body)
            .map(|response| response.partial_success.map(|p| (p.rejected_log_records, p.error_message))),
        Signal::Metrics => ExportMetricsServiceResponse::decode(body)
            .map(|response| response.partial_success.map(|p| (p.rejected_data_points, p.error_message))),
    };
    // Some servers answer with JSON or text: their success is in the status.
    let (rejected, message) = partial.ok().flatten().unwrap_or_default();
    Answer::Accepted { rejected: u64::try_from(rejected).unwrap_or(0), message }
}

fn retry_delay(status: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(status).ok()?;
    let info = status.details.iter().find(|any| any.type_url.ends_with("google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&info.value[..]).ok()?.retry_delay?;
    let whole = Duration::from_secs(u64::try_from(delay.seconds).ok()?);
    Some((whole + Duration::from_nanos(u64::try_from(delay.nanos).ok()?)).min(HINT_MAX))
}

/// Decodes base64 with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let (mut bits, mut count) = (0_u32, 0);
    for c in text.bytes().filter(|c| *c != b'=') {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn retryable_statuses_carry_the_hint() {
        let later = of_http(Signal::Logs, 503, &headers(&[("retry-after", "7")]), b"");
        assert!(matches!(later, Answer::Later { hint: Some(hint), .. } if hint == Duration::from_secs(7)));
        let refused = of_http(Signal::Logs, 400, &headers(&[]), b"");
        assert!(matches!(refused, Answer::Refused { .. }));
        // code 14, RetryInfo of 2.5 s
        let info = RetryInfo { retry_delay: Some(ProtoDuration { seconds: 2, nanos: 500_000_000 }) };
        let any = Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            value: info.encode_to_vec(),
        };
        let status = RpcStatus { code: 14, message: "full".to_owned(), details: vec![any] }.encode_to_vec();
        assert_eq!(retry_delay(&status), Some(Duration::from_millis(2_500)));
    }

    #[test]
    fn exhausted_without_hint_is_final_and_unavailable_is_not() {
        let refused = of_grpc(Signal::Traces, &headers(&[("grpc-status", "8")]), b"");
        assert!(matches!(refused, Answer::Refused { .. }));
        let later = of_grpc(Signal::Traces, &headers(&[("grpc-status", "14")]), b"");
        assert!(matches!(later, Answer::Later { hint: None, .. }));
        let lost = of_grpc(Signal::Traces, &headers(&[]), b"");
        assert!(matches!(lost, Answer::Lost { .. }));
    }

    #[test]
    fn base64_decodes_with_and_without_padding() {
        assert_eq!(base64("aGk=").as_deref(), Some(&b"hi"[..]));
        assert_eq!(base64("aGkh").as_deref(), Some(&b"hi!"[..]));
        assert_eq!(base64("aGk").as_deref(), Some(&b"hi"[..]));
        assert_eq!(base64("!"), None);
    }
}
