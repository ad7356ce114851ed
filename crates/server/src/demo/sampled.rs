//! The demo with sampling: what came of the production policies, with delays so short that decisions are made while somebody
//! watches.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value as Json;
use throughline_model::TraceId;
use throughline_model::link::LinkKind;
use throughline_model::record::LogRecord;
use throughline_store::links::{KindCount, LinkExample};

use super::place::Ports;
use crate::client::{Answer, Client};

/// What `--sampling` can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sampling {
    /// The production policies with 10 % of the rest, and a delay of seconds
    Production,
}

/// Lines for the section `throughline`: the production policies, decided about within half a minute. A user's configuration needs the word `production` alone. The
/// delay is longer than exemplars take, which come with metrics, every few seconds: those of services and those that are derived.
pub const CONFIG: &str = "  memtable: {age: 2s}\n  \
                          derive: {interval: 5s}\n  \
                          sampling: {preset: production, percentage: 10, decision_delay: 30s}\n";

/// Traces of ERROR log records that are looked up one by one.
const ERROR_TRACES_MAX: usize = 300;

/// Dropped traces that are asked for what happened to them.
const DROPPED_ASKED: usize = 5;

/// What sampling has come to.
#[derive(Debug, Default)]
pub struct Outcome {
    dropped_spans: u64,
    stored_spans: u64,
    exemplars: u64,
    dangling_exemplars: u64,
    error_traces: usize,
    missing_error_traces: Vec<TraceId>,
    /// Dropped traces that were asked for, and what the server said of them.
    dropped: Vec<(TraceId, String)>,
    unexplained: usize,
}

impl Outcome {
    /// Asks the server.
    pub fn ask(ports: Ports) -> Result<Outcome> {
        let client = Client::new(Some(&ports.api_address()));
        let mut outcome = Outcome::default();
        outcome.read_ledger(&client)?;
        outcome.read_links(&client)?;
        outcome.read_error_logs(&client)?;
        Ok(outcome)
    }

    /// Whether something was dropped, so that there is something to look at.
    pub fn has_decisions(&self) -> bool {
        !self.dropped.is_empty()
    }

    /// Whether everything that was promised holds.
    pub fn holds(&self) -> bool {
        self.has_decisions()
            && self.exemplars > 0
            && self.dangling_exemplars == 0
            && self.missing_error_traces.is_empty()
            && self.unexplained == 0
    }

    fn read_ledger(&mut self, client: &Client) -> Result<()> {
        let ledger: Json = client.get_as("/ledger", &[])?;
        let traces = ledger.pointer("/signals/traces").cloned().unwrap_or_default();
        self.stored_spans = traces.get("stored").and_then(Json::as_u64).unwrap_or_default();
        let dropped = traces.get("dropped").and_then(Json::as_object);
        self.dropped_spans = dropped.map_or(0, |of| of.values().filter_map(Json::as_u64).sum());
        Ok(())
    }

    fn read_links(&mut self, client: &Client) -> Result<()> {
        let links: Json = client.get_as("/links", &[])?;
        let kinds = links.get("kinds").cloned().unwrap_or_default();
        let kinds: Vec<KindCount> = serde_json::from_value(kinds).context("understand the links")?;
        let mut dropped: BTreeSet<TraceId> = BTreeSet::new();
        for kind in &kinds {
            for state in &kind.states {
                if kind.kind == LinkKind::ExemplarTrace {
                    self.exemplars += state.count;
                    // A trace on its way is no broken promise.
                    let is_fine = ["resolved", "pending"].contains(&state.state.as_str());
                    self.dangling_exemplars += if is_fine { 0 } else { state.count };
                }
                if state.state == "dropped" {
                    dropped
                        .extend(state.examples.iter().filter_map(|LinkExample { trace_id, .. }| *trace_id));
                }
            }
        }
        for id in dropped.into_iter().take(DROPPED_ASKED) {
            let answer = match client.get(&format!("/traces/{id}"), &[])? {
                Answer::Found(json) => json.get("why").cloned().unwrap_or_default(),
                Answer::NotFound(json) => json.get("message").cloned().unwrap_or_default(),
            };
            let why = answer.as_str().unwrap_or_default().to_owned();
            self.unexplained += usize::from(!why.contains("was dropped by the sampling policy"));
            self.dropped.push((id, why));
        }
        Ok(())
    }

    fn read_error_logs(&mut self, client: &Client) -> Result<()> {
        let parameters = [("severity", Some("error".to_owned())), ("limit", Some("10000".to_owned()))];
        let answer: Json = client.get_as("/logs", &parameters)?;
        let logs = answer.get("logs").cloned().unwrap_or_default();
        let logs: Vec<LogRecord> = serde_json::from_value(logs).context("understand the log records")?;
        let traces: BTreeSet<TraceId> = logs.iter().filter_map(|log| log.trace_id).collect();
        for id in traces.into_iter().take(ERROR_TRACES_MAX) {
            self.error_traces += 1;
            let parameters = [("include", Some("spans".to_owned()))];
            if let Answer::NotFound(json) = client.get(&format!("/traces/{id}"), &parameters)? {
                // Records arrive before their spans.
                let is_pending = json.pointer("/link/state").and_then(Json::as_str) == Some("pending");
                self.missing_error_traces.extend((!is_pending).then_some(id));
            }
        }
        Ok(())
    }

    /// What it is, for people.
    pub fn show(&self) -> String {
        let part = 100.0 * self.dropped_spans as f64 / self.stored_spans.max(1) as f64;
        let mut lines = vec![
            "sampling: all errors, all that is slow for its route, all that exemplars cite, and 10 % of the rest"
                .to_owned(),
            format!("  {} of {} spans are dropped so far ({part:.0} %)", self.dropped_spans, self.stored_spans),
            format!(
                "  {} of {} exemplars resolve",
                self.exemplars - self.dangling_exemplars,
                self.exemplars
            ),
            format!(
                "  {} of {} traces with an ERROR log record are here",
                self.error_traces - self.missing_error_traces.len(),
                self.error_traces
            ),
        ];
        for id in self.missing_error_traces.iter().take(DROPPED_ASKED) {
            lines.push(format!("    missing: {id}"));
        }
        for (id, why) in self.dropped.iter().take(1) {
            lines.push(format!("  throughline trace {id}\n    {why}"));
        }
        lines.join("\n") + "\n"
    }
}
