//! Groups, rules and alerts as plain data, for whoever serves them.

use std::collections::BTreeMap;
use std::time::Duration;

use throughline_template::format;

use crate::alerting::State;
use crate::group::{Kind, Rule};

/// A group after its last evaluation. Times are nanoseconds since the epoch.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    /// Its name.
    pub name: String,
    /// Its file.
    pub file: String,
    /// How often it is evaluated.
    pub interval: Duration,
    /// The most series or alerts of a rule, or 0.
    pub limit: usize,
    /// How long the last evaluation took.
    pub evaluation_time: Duration,
    /// When it was.
    pub last_evaluation_ns: Option<i64>,
    /// Its rules, in order.
    pub rules: Vec<RuleStatus>,
}

/// A rule after its last evaluation.
#[derive(Clone, Debug)]
pub struct RuleStatus {
    /// The series or the alert.
    pub name: String,
    /// The query.
    pub query: String,
    /// Its labels, not expanded.
    pub labels: BTreeMap<String, String>,
    /// How it is doing.
    pub health: Health,
    /// What an alerting rule has beside.
    pub alerting: Option<AlertingStatus>,
}

/// What an alerting rule has beside.
#[derive(Clone, Debug)]
pub struct AlertingStatus {
    /// `for`.
    pub hold: Duration,
    /// `keep_firing_for`.
    pub keep_firing: Duration,
    /// Its texts, not expanded.
    pub annotations: BTreeMap<String, String>,
    /// `firing`, `pending`, `inactive`, or `unknown` before the first evaluation.
    pub state: &'static str,
    /// Its alerts that are pending or firing.
    pub alerts: Vec<AlertStatus>,
}

/// An alert.
#[derive(Clone, Debug)]
pub struct AlertStatus {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its texts.
    pub annotations: BTreeMap<String, String>,
    /// Pending or firing.
    pub state: State,
    /// Since when its condition holds.
    pub active_at_ns: i64,
    /// Since when it only fires because of `keep_firing_for`.
    pub keep_firing_since_ns: Option<i64>,
    /// The value of its query.
    pub value: f64,
}

impl AlertStatus {
    /// The value as Prometheus' API shows it: `1e+00`.
    #[must_use]
    pub fn value_text(&self) -> String {
        format::float(self.value, 'e', None)
    }
}

/// How a rule is doing.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// What its last evaluation failed with.
    pub error: Option<String>,
    /// When that was.
    pub last_evaluation_ns: Option<i64>,
    /// How long it took.
    pub evaluation_time: Duration,
}

impl Health {
    /// `ok`, `err`, or `unknown` before the first evaluation.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match (&self.error, self.last_evaluation_ns) {
            (Some(_), _) => "err",
            (None, Some(_)) => "ok",
            (None, None) => "unknown",
        }
    }
}

pub(crate) fn rule_status(rule: &Rule) -> RuleStatus {
    let (query, alerting) = match &rule.kind {
        Kind::Recording(recording) => (recording.expr.clone(), None),
        Kind::Alerting(alerting) => {
            let duration = |ns: i64| Duration::from_nanos(ns.unsigned_abs());
            let alerts = alerting.active.values().filter(|alert| alert.resolved_at_ns.is_none());
            let alerts = alerts.map(|alert| AlertStatus {
                labels: alert
                    .labels
                    .iter()
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
                annotations: alert.annotations.clone(),
                state: alert.state,
                active_at_ns: alert.active_at_ns,
                keep_firing_since_ns: alert.keep_firing_since_ns,
                value: alert.value,
            });
            let worst = alerting.active.values().map(|alert| alert.state).max().unwrap_or(State::Inactive);
            let is_evaluated = rule.health.last_evaluation_ns.is_some();
            let status = AlertingStatus {
                hold: duration(alerting.hold_ns),
                keep_firing: duration(alerting.keep_firing_ns),
                annotations: alerting.annotations.clone(),
                state: if is_evaluated { worst.name() } else { "unknown" },
                alerts: alerts.collect(),
            };
            (alerting.expr.clone(), Some(status))
        }
    };
    RuleStatus {
        name: rule.name().to_owned(),
        query,
        labels: rule.labels().clone(),
        health: rule.health.clone(),
        alerting,
    }
}
