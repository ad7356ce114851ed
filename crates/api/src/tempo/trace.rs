//! A trace by its id, in both versions. No time is needed: the window that clients send is checked and changes nothing.
//!
//! Of a trace that has more spans than an answer holds version 2 gives the first and says `PARTIAL`; version 1 has no place for that
//! and refuses it.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use throughline_wire::otlp::traces_data;
use throughline_wire::tempo::encode_trace_by_id;

use super::reply::{Answer, Encoding, partial};
use crate::otlp_json::{Dialect, write_resource_spans};
use crate::traces::params::{Params, trace_id};
use crate::traces::{ReadTrace, Refusal, Traces};

/// Parameters that would narrow the trace: what is not done is refused, for it would answer with more than was asked.
const NARROWING: [&str; 5] = ["q", "keep_hierarchy", "match_depth", "ancestor_depth", "span_pruning"];

fn check(params: &Params) -> Result<(), Refusal> {
    if let Some(name) = NARROWING.into_iter().find(|name| params.text(name).is_some()) {
        return Err(Refusal::bad(format!(
            "{name} is not supported: a trace is answered whole; leave it out"
        )));
    }
    let (start, end) = (params.whole("start")?, params.whole("end")?);
    match (start, end) {
        (Some(start), Some(end)) if end <= start => Err(Refusal::bad(format!(
            "http parameter start must be before end. received start={start} end={end}"
        ))),
        _ => Ok(()),
    }
}

pub(super) async fn v1(
    State(traces): State<Traces>,
    Path(id): Path<String>,
    headers: HeaderMap,
    params: Params,
) -> Answer {
    check(&params)?;
    let encoding = Encoding::of(&headers);
    let write = move |trace: ReadTrace| {
        let trace = trace.whole()?;
        let body = match encoding {
            Encoding::Protobuf => traces_data::encode(&trace.spans),
            Encoding::Json => {
                let mut out = r#"{"batches":"#.to_owned();
                write_resource_spans(&mut out, Dialect::Tempo, &trace.spans);
                out.push('}');
                out.into_bytes()
            }
        };
        Ok(partial(trace.links.found(encoding.answer(body)), &trace.partial))
    };
    Ok(traces.read(trace_id(&id)?, write).await?)
}

pub(super) async fn v2(
    State(traces): State<Traces>,
    Path(id): Path<String>,
    headers: HeaderMap,
    params: Params,
) -> Answer {
    check(&params)?;
    let encoding = Encoding::of(&headers);
    let write = move |trace: ReadTrace| {
        let partial = trace.partial.join("; ");
        if encoding == Encoding::Protobuf {
            let body = encode_trace_by_id(&traces_data::encode(&trace.spans), &partial);
            return Ok(trace.links.found(encoding.answer(body)));
        }
        let mut out = r#"{"trace":{"resourceSpans":"#.to_owned();
        write_resource_spans(&mut out, Dialect::Tempo, &trace.spans);
        out.push_str(r#"},"metrics":{}"#);
        if !partial.is_empty() {
            out.push_str(r#","status":"PARTIAL","message":"#);
            throughline_model::attribute::write_json_text(&mut out, &partial);
        }
        out.push('}');
        Ok(trace.links.found(encoding.answer(out)))
    };
    Ok(traces.read(trace_id(&id)?, write).await?)
}
