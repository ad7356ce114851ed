//! Watches the server's native API until the walk from the spike to its cause resolves.

use throughline_correlate::trace_view::TraceView;
use throughline_correlate::walk::{Step, Walk};

use super::http;
use super::place::Ports;
use crate::client::Client;

/// The service whose latency is watched.
pub const SERVICE: &str = "task-svc";

/// Where its p99 counts as a spike: what an alert on this service would say.
const THRESHOLD_MS: f64 = 500.0;

/// Asks the server.
pub struct Watch {
    client: Client,
    readiness: (http::Client, String),
}

/// What a look at the walk shows.
pub struct Sight {
    /// The walk, as far as it comes.
    pub walk: Option<Walk>,
    /// Which step does not resolve, and why; `None` if every step does.
    pub missing: Option<String>,
}

impl Watch {
    /// Watches the server on these ports.
    pub fn new(ports: Ports) -> Watch {
        let base = ports.api_address();
        Watch { client: Client::new(Some(&base)), readiness: (http::Client::new(), format!("{base}/readyz")) }
    }

    /// Whether the server takes and answers.
    pub fn server_is_ready(&self) -> bool {
        let (client, url) = &self.readiness;
        client.get(url, None).is_ok_and(|reply| reply.status == 200)
    }

    /// The walk as it stands now.
    pub fn look(&self) -> Sight {
        match self.client.get_as::<Walk>("/walk", &[("service", Some(SERVICE.to_owned()))]) {
            Ok(walk) => Sight { missing: missing(&walk), walk: Some(walk) },
            Err(error) => Sight { walk: None, missing: Some(format!("answer: {error:#}")) },
        }
    }

    /// The trace that the walk came to, for its waterfall.
    pub fn trace(&self, walk: &Walk) -> Option<TraceView> {
        let id = walk.trace.found.as_ref()?.summary.trace_id;
        self.client.get_as(&format!("/traces/{id}"), &[]).ok()
    }
}

/// The first step that does not resolve, with its reason.
fn missing(walk: &Walk) -> Option<String> {
    let after_ms = walk.spike.found.as_ref().map(|spike| spike.after_ms);
    if let Some(after_ms) = after_ms.filter(|after_ms| *after_ms < THRESHOLD_MS) {
        return Some(format!("spike: p99 of {SERVICE} is {after_ms:.0} ms, not over {THRESHOLD_MS} ms"));
    }
    unresolved("spike", &walk.spike)
        .or_else(|| unresolved("exemplar", &walk.exemplar))
        .or_else(|| unresolved("slowest trace", &walk.trace))
        .or_else(|| unresolved("culprit span", &walk.culprit))
        .or_else(|| unresolved("log lines", &walk.logs))
        .or_else(|| unresolved("likely cause", &walk.cause))
}

fn unresolved<T>(name: &str, step: &Step<T>) -> Option<String> {
    let reason = step.reason.as_deref().unwrap_or("no reason given");
    (!step.resolved).then(|| format!("{name}: {reason}"))
}
