//! Spans that somebody uploads, as the UI draws them: OTLP's JSON becomes traces of the older API. Nothing is stored.

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use throughline_model::record::Span;
use throughline_model::{Signal, TraceId};
use throughline_store::spans_of;
use throughline_wire::{DecodeContext, DecodeLimits, Encoding, decode};

use super::Jaeger;
use super::reply::{Legacy, written};
use super::search::written_traces;
use crate::traces::links::LinkStates;
use crate::traces::{ReadTrace, Refusal, SPANS_MAX};

/// A file of a trace of 100,000 spans has some 60 MB.
const BODY_BYTES_MAX: usize = 64 << 20;

pub(super) async fn transform(State(jaeger): State<Jaeger>, body: Body) -> Result<Response, Legacy> {
    let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        let message = format!("the upload has more than {BODY_BYTES_MAX} bytes, or has broken off");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    })?;
    let now = jaeger.traces.now();
    let answer = jaeger.traces.ask(move |_, _| transformed(&body, now)).await?;
    Ok(written(answer))
}

/// The answer to an upload: its traces in order, and beside them what could not be read.
fn transformed(body: &[u8], now: i64) -> Result<String, Refusal> {
    // A file may be of any time.
    let limits = DecodeLimits {
        future_ns: i64::MAX,
        items_per_request: SPANS_MAX,
        ..DecodeLimits::with_retention(i64::MAX)
    };
    let decoded = decode(Signal::Traces, Encoding::Json, body, &DecodeContext { received_at: now, limits })
        .map_err(|error| Refusal::bad(format!("cannot unmarshal OTLP: {error}")))?;
    let mut traces: Vec<(TraceId, ReadTrace)> = Vec::new();
    for (id, spans) in by_trace(spans_of(&decoded.batch)) {
        traces
            .push((id, ReadTrace { spans, partial: Vec::new(), left_out: 0, links: LinkStates::default() }));
    }
    let errors = decoded.rejected.into_iter().map(|rejection| {
        let code = StatusCode::PARTIAL_CONTENT.as_u16();
        (code, format!("{} spans are left out: {}", rejection.count, rejection.message), None)
    });
    Ok(written_traces(&traces, &errors.collect::<Vec<_>>()))
}

/// Spans by trace, in the order in which traces first come, those of each by their start.
fn by_trace(spans: Vec<Span>) -> Vec<(TraceId, Vec<Span>)> {
    let mut numbers = std::collections::HashMap::new();
    let mut traces: Vec<(TraceId, Vec<Span>)> = Vec::new();
    for span in spans {
        let at = *numbers.entry(span.trace_id).or_insert_with(|| {
            traces.push((span.trace_id, Vec::new()));
            traces.len() - 1
        });
        if let Some((_, of_trace)) = traces.get_mut(at) {
            of_trace.push(span);
        }
    }
    traces.iter_mut().for_each(|(_, spans)| spans.sort_by_key(|span| span.start_time));
    traces
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn span(trace: u8, id: u8, start: u64) -> Value {
        json!({
            "traceId": format!("{trace:02x}").repeat(16), "spanId": format!("{id:016x}"), "name": format!("span {id}"),
            "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + 5_000).to_string(),
        })
    }

    fn answer(spans: &[Value]) -> Value {
        let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]});
        let request = json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]});
        let now = 1_790_000_000_000_000_000;
        serde_json::from_str(&transformed(request.to_string().as_bytes(), now).expect("an answer"))
            .expect("JSON")
    }

    #[test]
    fn an_upload_of_any_time_becomes_traces() {
        let old = 1_000_000_000_000_000_000;
        let body = answer(&[span(2, 1, old), span(1, 2, old + 9_000), span(1, 3, old)]);
        assert!(body["errors"].is_null(), "{body}");
        let traces = body["data"].as_array().expect("traces");
        assert_eq!((traces.len(), &traces[0]["traceID"]), (2, &json!("02".repeat(16))));
        let spans = traces[1]["spans"].as_array().expect("spans");
        let names: Vec<&Value> = spans.iter().map(|span| &span["operationName"]).collect();
        assert_eq!(names, ["span 3", "span 2"], "by their start");
        assert_eq!(spans[0]["duration"], 5);
        assert_eq!(traces[1]["processes"]["p1"]["serviceName"], "shop");
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let mut bad = span(1, 1, 5);
        bad["spanId"] = json!("");
        let body = answer(&[bad, span(1, 2, 5)]);
        assert_eq!(body["data"][0]["spans"].as_array().map(Vec::len), Some(1));
        let said = body["errors"][0]["msg"].as_str().unwrap_or_default();
        assert!(said.starts_with("1 spans are left out") && body["errors"][0]["code"] == 206, "{body}");
        assert_eq!(answer(&[])["data"], json!([]));
        let refused = transformed(b"{\"resourceSpans\": 5}", 0).expect_err("no OTLP");
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    }
}
