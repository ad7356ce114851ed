//! `tempopb.StreamingQuerier`: the same questions over gRPC. Each message of an answer is a part to be merged with the others;
//! all say that the one job is done, and those of an incomplete answer that another is not; a trailer says why.

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
use crate::grpc::{self, Code, Messages, Status};
use crate::traces::Traces;

/// Answers one call.
pub(super) async fn call(
    State(traces): State<Traces>,
    Path(method): Path<String>,
    request: Request,
) -> Response {
    grpc::respond(request, async |message| answer(&traces, &method, &message).await).await
}

async fn answer(traces: &Traces, method: &str, message: &Bytes) -> Result<Messages, Status> {
    let now = traces.now();
    match method {
        "Search" => {
            let search = Search::of_request(&SearchRequest::decode(message)?, now)?;
            let (SearchAnswer { traces, inspected }, reasons) = search.run(traces).await?;
            let one = |traces| SearchAnswer { traces, inspected: inspected.clone() }.encode();
            let size = |trace: &_| one(vec![Clone::clone(trace)]).len();
            Ok((grpc::parts(traces, size).into_iter().map(one).collect(), reasons))
        }
        "SearchTags" => {
            let names = Names::of_request(&TagsRequest::decode(message)?, now)?;
            let (names, reasons) = names.run_v1(traces).await?;
            Ok((vec![encode_texts(&names, !reasons.is_empty())], reasons))
        }
        "SearchTagsV2" => {
            let names = Names::of_request(&TagsRequest::decode(message)?, now)?;
            let (scopes, reasons) = names.run(traces).await?;
            Ok((vec![encode_scopes(&scopes, !reasons.is_empty())], reasons))
        }
        "SearchTagValues" => {
            let values = Values::of_request(&TagValuesRequest::decode(message)?, true, now)?;
            let (values, reasons) = values.run(traces).await?;
            let texts: Vec<String> = values.into_iter().map(|(_, text)| text).collect();
            Ok((vec![encode_texts(&texts, !reasons.is_empty())], reasons))
        }
        "SearchTagValuesV2" => {
            let values = Values::of_request(&TagValuesRequest::decode(message)?, false, now)?;
            let (values, reasons) = values.run(traces).await?;
            Ok((vec![encode_values(&values, !reasons.is_empty())], reasons))
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

fn metric_parts(answer: MetricsAnswer, encode: fn(&MetricsAnswer) -> Vec<u8>) -> Messages {
    let MetricsAnswer { series, inspected, partial } = answer;
    let reasons = Some(partial.clone()).filter(|partial| !partial.is_empty());
    let one =
        |series| encode(&MetricsAnswer { series, inspected: inspected.clone(), partial: partial.clone() });
    let parts = grpc::parts(series, |series| one(vec![series.clone()]).len());
    (parts.into_iter().map(one).collect(), reasons.into_iter().collect())
}
