//! `task-svc`: reads and writes tasks in `db`, through a client that retries as cloud SDKs do.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};
use throughline_instrument::{SpanContext, SpanKind};

use super::db::THROTTLED;
use super::http::{Call, Client, Reply};
use super::random::Random;
use super::service::Served;

/// How often a throttled request is tried again.
const RETRIES_MAX: u32 = 3;

/// The first back-off; each later one is twice as long. Half of each is jitter.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);

/// The service.
pub struct Task {
    served: Served,
    db: DbClient,
}

impl Task {
    /// A service over the store at an address.
    pub fn new(served: Served, db: String) -> Task {
        Task { served, db: DbClient { client: Client::new(), random: Random::default(), address: db } }
    }

    /// Answers `GET` and `PUT /tasks/{id}`.
    pub fn answer(&self, call: Call) -> Reply {
        self.served.answer(&call, "/tasks/{id}", |span| {
            let Some(id) = call.path.strip_prefix("/tasks/").filter(|id| !id.is_empty()) else {
                return Reply::error(404, "no such path");
            };
            span.set_attribute("task.id", id);
            let parent = span.context();
            let reply = if call.method == Method::PUT {
                let item: Value = serde_json::from_slice(&call.body).unwrap_or_default();
                self.db.query(&self.served, &parent, "PutItem", &json!({ "key": id, "item": item }))
            } else {
                self.db.query(&self.served, &parent, "GetItem", &json!({ "key": id }))
            };
            if reply.status < 400 {
                self.served.logger.info(&parent, &format!("{} {id}", call.method), &[("task.id", id.into())]);
            }
            reply
        })
    }
}

/// What a cloud vendor's SDK is to a service: it hides the retries, and with them the time that they take.
struct DbClient {
    client: Client,
    random: Random,
    address: String,
}

impl DbClient {
    /// One query: a client span over all its tries and the waits between them.
    fn query(&self, served: &Served, parent: &SpanContext, operation: &str, request: &Value) -> Reply {
        let mut span = served.tracer.child_of(parent, "db:query", SpanKind::Client);
        span.set_attribute("db.system", "throughline-demo-kv");
        span.set_attribute("db.operation", operation);
        let url = format!("{}/{operation}", self.address);
        let context = span.context();
        let mut retries = 0;
        let reply = loop {
            let reply = match self.client.send(&Method::POST, &url, request, &context) {
                Ok(reply) => reply,
                Err(error) => break Reply::error(502, &format!("call db: {error}")),
            };
            if reply.body["error"] != THROTTLED || retries == RETRIES_MAX {
                break reply;
            }
            let delay = back_off(retries, self.random.fraction());
            retries += 1;
            log_throttle(served, &context, &reply, retries, delay);
            std::thread::sleep(delay);
        };
        let partition = reply.body["partition"].as_str().unwrap_or("unknown").to_owned();
        span.set_attribute("db.partition", partition.as_str());
        span.set_attribute("retry.attempts", retries);
        span.set_attribute("http.response.status_code", reply.status);
        if reply.status < 400 {
            log_late_success(served, &context, operation, &partition, retries);
            return reply;
        }
        let error = reply.body["error"].as_str().unwrap_or("failed").to_owned();
        span.set_attribute("error.type", error.as_str());
        span.set_error(&error);
        let message = format!("{operation} gave up: {error} partition={partition} RetryAttempts={retries}");
        served.logger.error(&context, &message, &log_attributes(&partition, retries, &error));
        // A missing item is the caller's business; everything else is ours.
        Reply::error(if reply.status == 404 { 404 } else { 503 }, &error)
    }
}

fn log_throttle(served: &Served, span: &SpanContext, reply: &Reply, retry: u32, delay: Duration) {
    let partition = reply.body["partition"].as_str().unwrap_or("unknown");
    let delay_ms = delay.as_millis();
    let message = format!(
        "throttled: {THROTTLED} partition={partition}, backing off {delay_ms} ms before retry {retry} of {RETRIES_MAX}"
    );
    served.logger.warn(span, &message, &log_attributes(partition, retry, THROTTLED));
}

fn log_late_success(served: &Served, span: &SpanContext, operation: &str, partition: &str, retries: u32) {
    if retries > 0 {
        let message = format!("{operation} succeeded late: partition={partition} RetryAttempts={retries}");
        served.logger.warn(span, &message, &log_attributes(partition, retries, THROTTLED));
    }
}

fn log_attributes(
    partition: &str,
    retries: u32,
    error: &str,
) -> [throughline_instrument::Attribute<'static>; 3] {
    [("db.partition", partition.into()), ("RetryAttempts", retries.into()), ("error.type", error.into())]
}

/// Exponential, the upper half of it random.
fn back_off(retries: u32, jitter: f64) -> Duration {
    BACKOFF_FIRST.saturating_mul(1 << retries.min(8)).mul_f64(0.5 + jitter / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_retries_wait_longer_than_half_a_second_whatever_the_jitter() {
        let total = |jitter| (0..RETRIES_MAX).map(|retries| back_off(retries, jitter)).sum::<Duration>();
        assert_eq!((total(0.0).as_millis(), total(1.0).as_millis()), (700, 1_400));
    }
}
