//! `db`: a key-value store with partitions, each with a provisioned throughput, that throttles as DynamoDB does.
//!
//! A partition has a token bucket. A request takes one token; where there is none, the answer is at once
//! `400 ProvisionedThroughputExceededException`. The store itself is always quick: whoever waits does so in the client.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use throughline_instrument::SpanContext;

use super::http::{Call, Reply};
use super::keys::{PARTITIONS, TASKS, partition_name, partition_of, task_id};
use super::random::Random;
use super::service::Served;
use super::time;

/// What a throttled request is answered with.
pub const THROTTLED: &str = "ProvisionedThroughputExceededException";

/// Provisioned throughput of a partition: four times what an even load asks of it, less than a hot one gets.
const REQUESTS_PER_SECOND: f64 = 10.0;

/// What a partition that was idle may take at once.
const BURST: f64 = 10.0;

/// How long a read or write takes: between one and three milliseconds.
const WORK_MIN: Duration = Duration::from_millis(1);
const WORK_SPREAD: Duration = Duration::from_millis(2);

/// The key-value store.
pub struct Db {
    served: Served,
    random: Random,
    partitions: Vec<Mutex<Partition>>,
}

struct Partition {
    tokens: TokenBucket,
    items: HashMap<String, Value>,
}

impl Db {
    /// A store with all tasks in it.
    pub fn new(served: Served) -> Db {
        let now = time::now();
        let mut items = vec![HashMap::new(); PARTITIONS];
        for id in (0..TASKS).map(task_id) {
            if let Some(partition) = items.get_mut(partition_of(&id)) {
                partition.insert(id.clone(), json!({ "id": id, "state": "open" }));
            }
        }
        let partition = |items| Mutex::new(Partition { tokens: TokenBucket::full(now), items });
        Db { served, random: Random::default(), partitions: items.into_iter().map(partition).collect() }
    }

    /// Answers `POST /GetItem` and `POST /PutItem` with `{"key": …, "item": …}`.
    pub fn answer(&self, call: Call) -> Reply {
        let operation = call.path.trim_start_matches('/').to_owned();
        let route = if operation == "PutItem" { "/PutItem" } else { "/GetItem" };
        self.served.answer(&call, route, |span| {
            let request: Value = serde_json::from_slice(&call.body).unwrap_or_default();
            let key = request["key"].as_str().unwrap_or_default();
            let number = partition_of(key);
            let name = partition_name(number);
            span.set_attribute("db.operation", operation.as_str());
            span.set_attribute("db.partition", name.as_str());
            let Some(partition) = self.partitions.get(number) else {
                return Reply::error(500, "no such partition");
            };
            let mut partition = partition.lock().unwrap_or_else(PoisonError::into_inner);
            if !partition.tokens.take(time::now()) {
                drop(partition);
                return self.throttle(&span.context(), &name);
            }
            let reply = match operation.as_str() {
                "PutItem" => {
                    partition.items.insert(key.to_owned(), request["item"].clone());
                    Reply::new(200, json!({ "partition": name }))
                }
                _ => match partition.items.get(key) {
                    Some(item) => Reply::new(200, json!({ "partition": name, "item": item })),
                    None => Reply::new(404, json!({ "partition": name, "error": "no such item" })),
                },
            };
            drop(partition);
            std::thread::sleep(WORK_MIN + WORK_SPREAD.mul_f64(self.random.fraction()));
            reply
        })
    }

    fn throttle(&self, span: &SpanContext, partition: &str) -> Reply {
        let message =
            format!("request rejected: partition {partition} is over {REQUESTS_PER_SECOND} requests/s");
        self.served.logger.info(span, &message, &[("db.partition", partition.into())]);
        Reply::new(400, json!({ "partition": partition, "error": THROTTLED }))
    }
}

/// Tokens that come back at a steady rate up to a limit.
struct TokenBucket {
    tokens: f64,
    filled_at: Instant,
}

impl TokenBucket {
    fn full(now: Instant) -> TokenBucket {
        TokenBucket { tokens: BURST, filled_at: now }
    }

    /// Takes a token if there is one.
    fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.filled_at);
        self.filled_at = now;
        self.tokens = (self.tokens + elapsed.as_secs_f64() * REQUESTS_PER_SECOND).min(BURST);
        let granted = self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_grants_its_burst_and_then_its_rate() {
        let start = time::now();
        let mut bucket = TokenBucket::full(start);
        let granted =
            |bucket: &mut TokenBucket, at: Duration| (0..50).filter(|_| bucket.take(start + at)).count();
        assert_eq!(granted(&mut bucket, Duration::ZERO), 10);
        assert_eq!(granted(&mut bucket, Duration::from_millis(500)), 5);
        assert_eq!(granted(&mut bucket, Duration::from_secs(60)), 10);
    }
}
