//! Alerts after a restart.
//!
//! 1. [`from_state`]: from the state file, which has them exactly. Alerts that fired go on firing; of those that were
//!    pending the outage does not count towards `for`.
//! 2. [`from_series`]: where there is no state file, from the series `ALERTS_FOR_STATE`, as Prometheus does.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use throughline_exec::{Labels, METRIC_NAME, is_stale};

use crate::alerting::{Alert, AlertingRule, RESOLVED_RETENTION_NS, State};
use crate::group::{Environment, Group, Kind};
use crate::sample::LastSample;
use crate::state::{SavedAlert, SavedGroup, SavedRule};

const NS_PER_MS: i64 = 1_000_000;
const NS_PER_SECOND: i64 = 1_000_000_000;

/// The last sample of `ALERTS_FOR_STATE` of each alert of a rule.
fn last_states(
    rule: &AlertingRule,
    now_ns: i64,
    env: &Environment<'_>,
) -> Result<HashMap<Labels, LastSample>, String> {
    let start_ms = (now_ns - env.settings.outage_tolerance_ns).div_euclid(NS_PER_MS);
    let found = env.querier.last_samples(&rule.state_selector(), start_ms, now_ns.div_euclid(NS_PER_MS))?;
    Ok(found.into_iter().map(|sample| (sample.labels.without(&[METRIC_NAME]), sample)).collect())
}

/// Looks up since when the alerts of a group are active.
pub fn from_series(group: &mut Group, now_ns: i64, env: &Environment<'_>) {
    for rule in &mut group.rules {
        let Kind::Alerting(rule) = &mut rule.kind else { continue };
        // An alert that holds for less than the grace period fires soon enough by itself. If the series cannot be
        // read, it fires later, which is better than never.
        let states = if rule.hold_ns < env.settings.grace_period_ns {
            HashMap::new()
        } else {
            last_states(rule, now_ns, env).unwrap_or_default()
        };
        for (labels, alert) in &mut rule.active {
            let Some(last) = states.get(labels).filter(|last| !is_stale(last.value)) else { continue };
            let down_at_ns = last.time_ms.div_euclid(1000).saturating_mul(NS_PER_SECOND);
            let active_at_ns = (last.value as i64).saturating_mul(NS_PER_SECOND);
            alert.active_at_ns = moved(active_at_ns, down_at_ns, rule.hold_ns, now_ns, env);
        }
        rule.restored = true;
    }
}

/// Since when an alert is to be taken for active that was so when the server went down.
fn moved(active_at_ns: i64, down_at_ns: i64, hold_ns: i64, now_ns: i64, env: &Environment<'_>) -> i64 {
    let grace_ns = env.settings.grace_period_ns;
    let remaining_ns = hold_ns - (down_at_ns - active_at_ns);
    if remaining_ns <= 0 {
        // It fired. It does so again as soon as it is evaluated.
        active_at_ns
    } else if remaining_ns < grace_ns && hold_ns >= grace_ns {
        now_ns + grace_ns - hold_ns
    } else {
        active_at_ns + (now_ns - down_at_ns)
    }
}

/// Takes alerts from the state file.
pub fn from_state(
    group: &mut Group,
    saved: &SavedGroup,
    saved_at_ns: i64,
    now_ns: i64,
    env: &Environment<'_>,
) {
    let mut by_rule: BTreeMap<(&str, &BTreeMap<String, String>), Vec<&SavedRule>> = BTreeMap::new();
    for rule in saved.rules.iter().rev() {
        by_rule.entry((&rule.name, &rule.labels)).or_default().push(rule);
    }
    for rule in &mut group.rules {
        let Kind::Alerting(alerting) = &mut rule.kind else { continue };
        alerting.restored = true;
        let key = (alerting.name.as_str(), &alerting.labels);
        let Some(saved) = by_rule.get_mut(&key).and_then(Vec::pop) else { continue };
        // When the server went down, to the evaluation: the last sample of each alert. The file is only as new as the
        // last change.
        let states = last_states(alerting, now_ns, env).unwrap_or_default();
        for saved in &saved.alerts {
            let mut alert = Alert::from(saved);
            let last_ns = states.get(&alert.labels).map_or(saved_at_ns, |last| last.time_ms * NS_PER_MS);
            if is_worth_keeping(&mut alert, last_ns.max(saved_at_ns), now_ns, alerting.hold_ns, env) {
                alerting.active.insert(alert.labels.clone(), alert);
            }
        }
        alerting.settling = !alerting.active.is_empty();
        let series: BTreeSet<Labels> = alerting.samples(0).into_iter().map(|sample| sample.labels).collect();
        rule.previous = series;
    }
}

fn is_worth_keeping(
    alert: &mut Alert,
    down_at_ns: i64,
    now_ns: i64,
    hold_ns: i64,
    env: &Environment<'_>,
) -> bool {
    match alert.state {
        State::Inactive => {
            alert.resolved_at_ns.is_some_and(|resolved| now_ns - resolved <= RESOLVED_RETENTION_NS)
        }
        _ if now_ns - down_at_ns > env.settings.outage_tolerance_ns => false,
        State::Pending => {
            alert.active_at_ns = moved(alert.active_at_ns, down_at_ns, hold_ns, now_ns, env);
            true
        }
        State::Firing => true,
    }
}

/// The alerts of a group, for the state file.
pub fn saved(group: &Group) -> SavedGroup {
    let rules = group.rules.iter().filter_map(|rule| match &rule.kind {
        Kind::Recording(_) => None,
        Kind::Alerting(rule) => Some(SavedRule {
            name: rule.name.clone(),
            labels: rule.labels.clone(),
            alerts: rule.active.values().map(SavedAlert::from).collect(),
        }),
    });
    SavedGroup { file: group.file.clone(), name: group.name.clone(), rules: rules.collect() }
}
