//! One POST over OTLP/HTTP and what its answer means.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use ureq::http::{Response, StatusCode, header::RETRY_AFTER};
use ureq::{Agent, Body};

/// How long one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// The most that is read of an answer; an honest one has a few hundred bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// What the receiver said.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It took the request, but for some items.
    Taken { rejected: u64, message: String },
    /// Sending it again may help.
    TryLater { error: String, retry_after: Option<Duration> },
    /// Sending it again will not help.
    Refused(String),
}

/// Posts to one receiver over kept-alive connections.
pub(crate) struct Client {
    agent: Agent,
    endpoint: String,
}

impl Client {
    pub(crate) fn new(endpoint: &str) -> Client {
        // Telemetry goes where the configuration says: not through a proxy that the environment names.
        let config = Agent::config_builder().http_status_as_error(false).proxy(None).max_redirects(0).build();
        Client { agent: config.new_agent(), endpoint: endpoint.trim_end_matches('/').to_owned() }
    }

    /// Posts once, within the time that is left.
    pub(crate) fn post(&self, path: &str, body: &[u8], time_left: Option<Duration>) -> Answer {
        // A millisecond at least: a timeout of zero would mean none.
        let timeout =
            time_left.map_or(ATTEMPT_TIMEOUT, |left| left.clamp(Duration::from_millis(1), ATTEMPT_TIMEOUT));
        let request = self.agent.post(format!("{}{path}", self.endpoint));
        let request = request.header("content-type", "application/x-protobuf");
        match request.config().timeout_global(Some(timeout)).build().send(body) {
            Ok(response) => read_answer(response, path),
            Err(error) => Answer::TryLater {
                error: format!("post {}{path}: {error}", self.endpoint),
                retry_after: None,
            },
        }
    }
}

fn read_answer(mut response: Response<Body>, path: &str) -> Answer {
    let status = response.status();
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
    match status {
        status if status.is_success() => {
            let (rejected, message) = partial_success(&body.unwrap_or_default());
            Answer::Taken { rejected, message }
        }
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            Answer::TryLater {
                error: format!("{path} answered {status}"),
                retry_after: retry_after.and_then(parse_retry_after),
            }
        }
        _ => Answer::Refused(format!("{path} answered {status}")),
    }
}

/// The three responses of OTLP have the same fields under the same numbers: one reader serves all.
fn partial_success(body: &[u8]) -> (u64, String) {
    let response = ExportTraceServiceResponse::decode(body).unwrap_or_default();
    let partial = response.partial_success.unwrap_or_default();
    (u64::try_from(partial.rejected_spans).unwrap_or(0), partial.error_message)
}

/// The form in seconds; a date is left to our own back-off.
fn parse_retry_after(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs)
}
