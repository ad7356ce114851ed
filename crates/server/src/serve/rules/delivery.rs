//! Notifications over HTTP.

use std::time::Duration;

use throughline_rules::notification::{self, Notification};
use throughline_rules::outbox::{Kind, Next};

use super::{SLEEP_MAX, Shared, lock};
use crate::config::rules::Target;
use crate::serve::log;

/// Where an Alertmanager takes alerts.
const ALERTMANAGER_PATH: &str = "/api/v2/alerts";

/// What came of an attempt.
enum Outcome {
    Delivered,
    /// Worth another attempt.
    Failed(String),
    /// Not worth another attempt.
    Refused(String),
}

impl Shared {
    pub(super) fn deliver_forever(&self, receiver: usize, target: &Target) {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(target.timeout))
            // A proxy of the environment is for other machines; receivers are named.
            .proxy(None)
            .user_agent(concat!("throughline/", env!("CARGO_PKG_VERSION")))
            .build();
        let agent: ureq::Agent = config.into();
        let mut was_failing = false;
        while !self.is_stopped() {
            let Some(batch) = self.next_batch(receiver) else { continue };
            let outcome = send(&agent, target, &batch, &self.settings().external_url);
            let mut journal = lock(&self.journal);
            let (is_failing, problem) = match outcome {
                Outcome::Delivered => {
                    journal.outbox.delivered(receiver);
                    journal.is_stale = true;
                    (false, None)
                }
                Outcome::Failed(problem) => {
                    journal.outbox.failed(receiver, self.clock.monotonic());
                    (true, Some(problem).filter(|_| !was_failing))
                }
                Outcome::Refused(problem) => {
                    journal.outbox.refused(receiver);
                    (false, Some(problem))
                }
            };
            drop(journal);
            let url = &target.receiver.url;
            if let Some(problem) = problem {
                log("warning", &format!("{} notifications for {url}: {problem}", batch.len()));
            } else if was_failing && !is_failing {
                log("info", &format!("notifications for {url} are delivered again"));
            }
            was_failing = is_failing;
        }
    }

    /// Waits until something is to be delivered, or for a while.
    fn next_batch(&self, receiver: usize) -> Option<Vec<Notification>> {
        let mut journal = lock(&self.journal);
        let now = self.clock.monotonic();
        let pause = match journal.outbox.next(receiver, now) {
            Next::Batch(batch) => return Some(batch),
            Next::Wait(until) => until.saturating_sub(now).clamp(Duration::from_millis(1), SLEEP_MAX),
            Next::Idle => SLEEP_MAX,
        };
        drop(self.deliver.wait_timeout(journal, pause));
        None
    }
}

fn send(agent: &ureq::Agent, target: &Target, batch: &[Notification], external_url: &str) -> Outcome {
    let base = &target.receiver.url;
    let (url, body) = match target.receiver.kind {
        Kind::Alertmanager => (format!("{base}{ALERTMANAGER_PATH}"), notification::alertmanager_body(batch)),
        Kind::Webhook => (base.clone(), notification::webhook_body(batch, external_url)),
    };
    match agent.post(&url).header("content-type", "application/json").send(body) {
        Err(error) => Outcome::Failed(error.to_string()),
        Ok(mut response) => match response.status().as_u16() {
            200..=299 => Outcome::Delivered,
            // Too early, too many: a later attempt may succeed.
            status @ (408 | 425 | 429 | 500..) => Outcome::Failed(format!("answered {status}")),
            status => {
                let reason =
                    response.body_mut().with_config().limit(1000).read_to_string().unwrap_or_default();
                Outcome::Refused(format!("refused with {status}: {}", reason.trim()))
            }
        },
    }
}
