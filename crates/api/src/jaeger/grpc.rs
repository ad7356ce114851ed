//! `jaeger.api_v3.QueryService`: version 3 of the API over gRPC.

use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use throughline_wire::jaeger::query::{
    TraceQuery, encode_dependencies, encode_operations, encode_services, encode_summaries, texts, times,
};
use throughline_wire::otlp::traces_data;

use super::Jaeger;
use super::listing::{calls, service_names};
use super::v3::{operations_of, search_of, summaries_of};
use crate::grpc::{self, Code, Messages, Status};
use crate::traces::ReadTrace;
use crate::traces::params::trace_id;

/// Spans of one message of a trace: about a megabyte of ordinary spans.
const SPANS_PER_MESSAGE: usize = 2_000;

/// Answers one call.
pub(super) async fn call(
    State(jaeger): State<Jaeger>,
    Path(method): Path<String>,
    request: Request,
) -> Response {
    grpc::respond(request, async |message| answer(&jaeger, &method, &message).await).await
}

async fn answer(jaeger: &Jaeger, method: &str, message: &Bytes) -> Result<Messages, Status> {
    let whole = |message: Vec<u8>| Ok((vec![message], Vec::new()));
    match method {
        "GetServices" => whole(encode_services(&service_names(jaeger).await?)),
        "GetOperations" => {
            let [service, kind] = texts(message, [1, 2])?;
            if service.is_empty() {
                return Err(Status::new(Code::InvalidArgument, "service is required"));
            }
            let wanted = Some(kind.as_str()).filter(|kind| !kind.is_empty());
            let operations = operations_of(jaeger, &service, wanted).await?;
            whole(encode_operations(&Vec::from_iter(operations)))
        }
        "GetTrace" => {
            let [id] = texts(message, [1])?;
            // There is no place to say that spans are left out.
            let write = |trace: ReadTrace| {
                let trace = trace.whole()?;
                Ok((cut(&trace.spans), trace.partial))
            };
            Ok(jaeger.traces.read(trace_id(&id)?, write).await?)
        }
        "FindTraces" => {
            let (traces, partial) = search_of(TraceQuery::decode(message)?)?.spans(jaeger).await?.whole()?;
            Ok((traces.iter().flat_map(|spans| cut(spans)).collect(), partial))
        }
        "FindTraceSummaries" => {
            let (found, partial) = search_of(TraceQuery::decode(message)?)?.run(jaeger).await?;
            Ok((vec![encode_summaries(&summaries_of(jaeger, found).await?)], partial))
        }
        "GetDependencies" => {
            let [start, end] = times(message, [1, 2])?;
            let (Some(start), Some(end)) = (start, end) else {
                return Err(Status::new(Code::InvalidArgument, "start_time and end_time are required"));
            };
            let lookback_ms = end.saturating_sub(start).div_euclid(1_000_000);
            whole(encode_dependencies(&calls(jaeger, end.div_euclid(1_000_000), lookback_ms).await?))
        }
        other => Err(Status::new(Code::Unimplemented, format!("no such method: {other:?}"))),
    }
}

/// The messages of a trace: some spans each.
fn cut(spans: &[throughline_model::record::Span]) -> Vec<Vec<u8>> {
    spans.chunks(SPANS_PER_MESSAGE).map(traces_data::encode).collect()
}
