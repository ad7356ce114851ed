//! Remote read: the samples of matching series, as other servers ask for them, in one message or in chunks.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use throughline_exec::{Budget, Labels, MatchOp, Matcher, SelectRequest, SeriesSource};
use throughline_scan::metrics::{MetricSource, to_prometheus};
use throughline_wire::prometheus::read::{self, MatchType, ReadQuery, ReadRequest, ResponseBuilder};

use super::Prometheus;
use super::reply::Refusal;

/// What is asked of the store. The labels that this server adds are not there: whoever asks for their values asks for series
/// without them.
fn request(query: ReadQuery, external: &[(String, String)]) -> Result<SelectRequest, Refusal> {
    let mut matchers = Vec::with_capacity(query.matchers.len());
    for mut matcher in query.matchers {
        let is_external = |(name, value): &(String, String)| (name, value) == (&matcher.name, &matcher.value);
        if matcher.match_type == MatchType::Equal && external.iter().any(is_external) {
            matcher.value.clear();
        }
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
    let ReadRequest { queries, response_type } = match read::decode(&body) {
        Ok(request) => request,
        Err(error) => return Refusal::bad_data(error.to_string()).into_text(),
    };
    let external = prometheus.external_labels.clone();
    let ask = move |source: &MetricSource, budget: &Budget| {
        let mut response = ResponseBuilder::new(response_type);
        for query in queries {
            let request = request(query, &external)?;
            let mut found = source.select(&request, budget).map_err(|error| Refusal::exec(&error))?;
            found.sort_by(|a, b| a.labels.cmp(&b.labels));
            for series in found {
                budget.take_samples(series.len() as u64).map_err(|error| Refusal::exec(&error))?;
                let samples = series.timestamps.iter().copied().zip(series.values.iter().copied());
                let histograms = series.histograms.iter().map(|(time, h)| (*time, to_prometheus(h)));
                response.series(with_external(&series.labels, &external).into_iter(), samples, histograms);
            }
            response.end_query();
        }
        response.finish().map_err(|error| Refusal::internal(error.to_string()))
    };
    match prometheus.ask(ask).await {
        // A reader that cannot be told that something is missing must not take the rest for the whole.
        Ok((_, partial)) if !partial.is_empty() => Refusal::internal(partial.join("; ")).into_text(),
        Ok((body, _)) => {
            let (kind, encoding) = response_type.headers();
            let mut response = (StatusCode::OK, [(header::CONTENT_TYPE, kind)], body).into_response();
            if let Some(encoding) = encoding {
                response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
            }
            response
        }
        Err(refusal) => refusal.into_text(),
    }
}

/// The labels of a series and those of this server that it does not have, sorted by name.
fn with_external<'a>(labels: &'a Labels, external: &'a [(String, String)]) -> Vec<(&'a str, &'a str)> {
    let own = external.iter().filter(|(name, _)| !labels.has(name));
    let mut all: Vec<(&str, &str)> = labels.iter().collect();
    all.extend(own.map(|(name, value)| (name.as_str(), value.as_str())));
    all.sort_unstable();
    all
}
