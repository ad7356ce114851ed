//! Rules and alerts for the API.

use std::sync::Arc;

use throughline_api::states::{AlertState, AlertingState, LabelPairs, RuleGroup, RuleState, StateSource};
use throughline_rules::outbox::Kind;
use throughline_rules::overview::{AlertStatus, AlertingStatus, GroupStatus, RuleStatus};

use super::{Shared, lock};

const NS_PER_MS: i64 = 1_000_000;

/// Answers from memory, whatever is being evaluated.
pub struct RuleStates {
    shared: Arc<Shared>,
}

impl RuleStates {
    pub(super) fn new(shared: &Arc<Shared>) -> RuleStates {
        RuleStates { shared: Arc::clone(shared) }
    }
}

impl StateSource for RuleStates {
    fn rule_groups(&self) -> Vec<RuleGroup> {
        let mut groups: Vec<RuleGroup> =
            lock(&self.shared.slots).iter().map(|slot| group(&slot.status)).collect();
        groups.sort_by(|a, b| (&a.file, &a.name).cmp(&(&b.file, &b.name)));
        groups
    }

    fn alertmanagers(&self) -> Vec<String> {
        let journal = lock(&self.shared.journal);
        let receivers = journal.outbox.receivers().map(|(receiver, _)| receiver);
        let alertmanagers = receivers.filter(|receiver| receiver.kind == Kind::Alertmanager);
        alertmanagers.map(|receiver| format!("{}/api/v2/alerts", receiver.url)).collect()
    }
}

fn pairs<'a>(entries: impl IntoIterator<Item = (&'a String, &'a String)>) -> LabelPairs {
    entries.into_iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn millis(ns: Option<i64>) -> i64 {
    ns.unwrap_or(0).div_euclid(NS_PER_MS)
}

fn group(status: &GroupStatus) -> RuleGroup {
    RuleGroup {
        name: status.name.clone(),
        file: status.file.clone(),
        interval_s: status.interval.as_secs_f64(),
        limit: status.limit as u64,
        evaluation_s: status.evaluation_time.as_secs_f64(),
        last_evaluation_ms: millis(status.last_evaluation_ns),
        rules: status.rules.iter().map(rule).collect(),
    }
}

fn rule(status: &RuleStatus) -> RuleState {
    RuleState {
        name: status.name.clone(),
        query: status.query.clone(),
        labels: pairs(&status.labels),
        health: status.health.name(),
        last_error: status.health.error.clone().unwrap_or_default(),
        evaluation_s: status.health.evaluation_time.as_secs_f64(),
        last_evaluation_ms: millis(status.health.last_evaluation_ns),
        alerting: status.alerting.as_ref().map(alerting),
    }
}

fn alerting(status: &AlertingStatus) -> AlertingState {
    AlertingState {
        state: status.state,
        for_s: status.hold.as_secs_f64(),
        keep_firing_for_s: status.keep_firing.as_secs_f64(),
        annotations: pairs(&status.annotations),
        alerts: status.alerts.iter().map(alert).collect(),
    }
}

fn alert(status: &AlertStatus) -> AlertState {
    AlertState {
        labels: pairs(&status.labels),
        annotations: pairs(&status.annotations),
        state: status.state.name(),
        active_at_ms: millis(Some(status.active_at_ns)),
        keep_firing_since_ms: status.keep_firing_since_ns.map(|ns| millis(Some(ns))),
        value: status.value,
    }
}
