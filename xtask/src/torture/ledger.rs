//! What the server says of itself over its native API, as far as the campaigns need it.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use throughline_generate::TraceTruth;
use throughline_generate::logs::WITH_CONTEXT;

use crate::bench::server::Place;

/// The signals in the order of the sender's counts.
const SIGNALS: [&str; 3] = ["traces", "logs", "metrics"];

/// Asks a server.
pub struct Asker {
    agent: ureq::Agent,
    base: String,
}

/// One account of the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Items of all acknowledged requests.
    pub received: u64,
    /// Items that are stored.
    pub stored: u64,
    /// Items of exact retries.
    pub deduplicated: u64,
}

impl Asker {
    /// For a server's native API.
    pub fn new(place: &Place) -> Asker {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(30)))
            .http_status_as_error(false)
            // Every server that was killed took its connections with it.
            .max_idle_connections(0)
            .build();
        Asker { agent: config.into(), base: format!("http://{}", Place::address(place.query_port)) }
    }

    /// Status and JSON of a path.
    pub fn get(&self, path: &str) -> anyhow::Result<(u16, Value)> {
        let url = format!("{}{path}", self.base);
        let mut response = self.agent.get(&url).call().with_context(|| format!("GET {url}"))?;
        let body = response.body_mut().read_to_vec().with_context(|| format!("read {url}"))?;
        Ok((response.status().as_u16(), serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    /// Whether the server is ready to write and read.
    pub fn is_ready(&self) -> bool {
        self.get("/readyz").is_ok_and(|(status, _)| status == 200)
    }

    /// The accounts of traces, logs and metrics.
    pub fn accounts(&self) -> anyhow::Result<[Account; 3]> {
        let (status, ledger) = self.get("/api/throughline/v1/ledger")?;
        anyhow::ensure!(status == 200, "ledger: HTTP {status}: {ledger}");
        let mut accounts = [Account::default(); 3];
        for (account, signal) in accounts.iter_mut().zip(SIGNALS) {
            let entry =
                find(&ledger, signal).with_context(|| format!("ledger without {signal}: {ledger}"))?;
            let count = |key: &str| entry.get(key).and_then(Value::as_u64).unwrap_or(0);
            *account = Account {
                received: count("received"),
                stored: count("stored"),
                deduplicated: count("deduplicated"),
            };
        }
        Ok(accounts)
    }

    /// Checks that a trace is there with all of its spans and log records, each once.
    pub fn check_trace(&self, truth: &TraceTruth) -> anyhow::Result<()> {
        let id = truth.hex_id();
        let (status, trace) = self.get(&format!("/api/throughline/v1/traces/{id}"))?;
        anyhow::ensure!(status == 200, "trace {id}: HTTP {status}: {trace}");
        let (spans, logs) = counts(&trace);
        anyhow::ensure!(spans == truth.spans, "trace {id} has {spans} spans, {} were sent", truth.spans);
        anyhow::ensure!(logs == WITH_CONTEXT, "trace {id} has {logs} log records, {WITH_CONTEXT} were sent");
        Ok(())
    }
}

/// Spans and log records of a trace: records lie with their spans, and beside them where they have none.
pub fn counts(trace: &Value) -> (usize, u64) {
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).map_or(0, Vec::len);
    let spans = trace.get("spans").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let logs = list(trace, "logs") + spans.iter().map(|span| list(span, "logs")).sum::<usize>();
    (spans.len(), logs as u64)
}

/// The account of a signal, whether the ledger is a map by signal, lies under a key, or is a list.
fn find<'a>(value: &'a Value, signal: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => match map.get(signal) {
            Some(found) if found.get("stored").is_some() => Some(found),
            _ => map.values().find_map(|inner| find(inner, signal)),
        },
        Value::Array(items) => items
            .iter()
            .find(|item| item.get("signal").and_then(Value::as_str) == Some(signal))
            .or_else(|| items.iter().find_map(|item| find(item, signal))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_is_found_in_every_shape() {
        for text in [
            r#"{"logs":{"stored":3}}"#,
            r#"{"signals":{"logs":{"stored":3}}}"#,
            r#"{"accounts":[{"signal":"traces","stored":1},{"signal":"logs","stored":3}]}"#,
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(
                find(&value, "logs").and_then(|account| account.get("stored")?.as_u64()),
                Some(3),
                "{text}"
            );
        }
    }
}
