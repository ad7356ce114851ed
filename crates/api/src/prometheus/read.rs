//! Remote read: the samples of matching series, as other servers ask for them.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use throughline_exec::{Budget, MatchOp, Matcher, SelectRequest, SeriesSource};
use throughline_scan::metrics::{MetricSource, to_prometheus};
use throughline_wire::prometheus::read::{self, MatchType, ReadQuery, ResponseBuilder};

use super::Prometheus;
use super::reply::Refusal;

fn request(query: ReadQuery) -> Result<SelectRequest, Refusal> {
    let mut matchers = Vec::with_capacity(query.matchers.len());
    for matcher in query.matchers {
        let op = match matcher.match_type {
            MatchType::Equal => MatchOp::Equal,
            MatchType::NotEqual => MatchOp::NotEqual,
            MatchType::Regex => MatchOp::Regex,
            MatchType::NotRegex => MatchOp::NotRegex,
        };
        let made = Matcher::new(matcher.name, op, matcher.value);
        matchers.push(made.map_err(|error| Refusal::bad_data(error.to_string()))?);
    }
    Ok(SelectRequest { matchers, start_ms: query.start_ms, end_ms: query.end_ms, ..SelectRequest::default() })
}

pub(super) async fn read(State(prometheus): State<Prometheus>, body: Bytes) -> Response {
    let queries = match read::decode(&body) {
        Ok(queries) => queries,
        Err(error) => return Refusal::bad_data(error.to_string()).into_text(),
    };
    let ask = move |source: &MetricSource, budget: &Budget| {
        let mut response = ResponseBuilder::new();
        for query in queries {
            let found = source.select(&request(query)?, budget).map_err(|error| Refusal::exec(&error))?;
            for series in found {
                budget.take_samples(series.len() as u64).map_err(|error| Refusal::exec(&error))?;
                let samples = series.timestamps.iter().copied().zip(series.values.iter().copied());
                let histograms = series.histograms.iter().map(|(time, h)| (*time, to_prometheus(h)));
                response.series(series.labels.iter(), samples, histograms);
            }
            response.end_query();
        }
        response.finish().map_err(|error| Refusal::internal(error.to_string()))
    };
    match prometheus.ask(ask).await {
        // A reader that cannot be told that something is missing must not take the rest for the whole.
        Ok((_, partial)) if !partial.is_empty() => Refusal::internal(partial.join("; ")).into_text(),
        Ok((response, _)) => {
            let headers =
                [(header::CONTENT_TYPE, "application/x-protobuf"), (header::CONTENT_ENCODING, "snappy")];
            (StatusCode::OK, headers, response).into_response()
        }
        Err(refusal) => refusal.into_text(),
    }
}
