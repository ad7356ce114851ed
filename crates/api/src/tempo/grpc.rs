//! `tempopb.StreamingQuerier`: the same questions over gRPC. Each message of an answer is a part to be merged with the others;
//! all say that the one job is done.

use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use throughline_wire::tempo::{
    MetricsAnswer, MetricsRequest, SearchAnswer, SearchRequest, TagValuesRequest, TagsRequest, encode_scopes,
    encode_texts, encode_values,
};

use super::metrics::Metrics;
use super::search::Search;
use super::tags::{Names, Values};
use crate::grpc::{self, Code, Status};
use crate::traces::Traces;

/// Answers one call.
pub(super) async fn call(
    State(traces): State<Traces>,
    Path(method): Path<String>,
    request: Request,
) -> Response {
    grpc::respond(request, async |message| answer(&traces, &method, &message).await).await
}

async fn answer(traces: &Traces, method: &str, message: &Bytes) -> Result<Vec<Vec<u8>>, Status> {
    let now = traces.now();
    match method {
        "Search" => {
            let search = Search::of_request(&SearchRequest::decode(message)?, now)?;
            let (SearchAnswer { traces, inspected }, _) = search.run(traces).await?;
            let one = |traces| SearchAnswer { traces, inspected: inspected.clone() }.encode();
            let size = |trace: &_| one(vec![Clone::clone(trace)]).len();
            Ok(grpc::parts(traces, size).into_iter().map(one).collect())
        }
        "SearchTags" => {
            let names = Names::of_request(&TagsRequest::decode(message)?, now)?;
            Ok(vec![encode_texts(&names.run_v1(traces).await?)])
        }
        "SearchTagsV2" => {
            let names = Names::of_request(&TagsRequest::decode(message)?, now)?;
            Ok(vec![encode_scopes(&names.run(traces).await?)])
        }
        "SearchTagValues" => {
            let values = Values::of_request(&TagValuesRequest::decode(message)?, true, now)?;
            let texts: Vec<String> = values.run(traces).await?.into_iter().map(|(_, text)| text).collect();
            Ok(vec![encode_texts(&texts)])
        }
        "SearchTagValuesV2" => {
            let values = Values::of_request(&TagValuesRequest::decode(message)?, false, now)?;
            Ok(vec![encode_values(&values.run(traces).await?)])
        }
        "MetricsQueryRange" => {
            let metrics = Metrics::of_request(&MetricsRequest::decode(message)?, false, now)?;
            Ok(metric_parts(metrics.run(traces).await?, MetricsAnswer::encode_range))
        }
        "MetricsQueryInstant" => {
            let metrics = Metrics::of_request(&MetricsRequest::decode(message)?, true, now)?;
            Ok(metric_parts(metrics.run(traces).await?, MetricsAnswer::encode_instant))
        }
        other => Err(Status::new(Code::Unimplemented, format!("no such method: {other:?}"))),
    }
}

fn metric_parts(answer: MetricsAnswer, encode: fn(&MetricsAnswer) -> Vec<u8>) -> Vec<Vec<u8>> {
    let MetricsAnswer { series, inspected, partial } = answer;
    let one =
        |series| encode(&MetricsAnswer { series, inspected: inspected.clone(), partial: partial.clone() });
    grpc::parts(series, |series| one(vec![series.clone()]).len()).into_iter().map(one).collect()
}
