//! Alerting rules: a query whose every result is an alert, which is pending, then fires, then is resolved.

use std::collections::{BTreeMap, HashMap, HashSet};

use throughline_exec::{Labels, METRIC_NAME};

use crate::expand::functions::link;
use crate::expand::{Expander, Surroundings};
use crate::notification::Notification;
use crate::sample::{Cited, FoundExemplar, Querier, Sample};

const NS_PER_MS: i64 = 1_000_000;
const NS_PER_SECOND: i64 = 1_000_000_000;

/// The label with the name of the alert.
pub const ALERT_NAME: &str = "alertname";
/// The series of alerts that are pending or firing.
const ALERTS: &str = "ALERTS";
/// The series whose value is when an alert became active.
const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";
/// The label of [`ALERTS`] that says which of the two.
const ALERT_STATE: &str = "alertstate";

/// A resolved alert is told to receivers for so long, because one of them may not have heard of it.
pub const RESOLVED_RETENTION_NS: i64 = 15 * 60 * NS_PER_SECOND;

/// An alert that begins to fire cites exemplars of the series of its expression from so long before: the lookback of queries.
const CITES_FROM_MS: i64 = 300_000;
/// So many traces are what a person looks at.
const CITES_MAX: usize = 5;

/// A notification says that its alert ends after so many evaluations or resends, whichever is longer, if nothing more
/// is heard of it.
const VALID_FOR: i64 = 4;

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It fired and is resolved.
    Inactive,
    /// Its condition holds, not yet for long enough.
    Pending,
    /// It fires.
    Firing,
}

impl State {
    /// Its name in series and in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Inactive => "inactive",
            State::Pending => "pending",
            State::Firing => "firing",
        }
    }
}

/// One alert: one label set of one rule. Times are nanoseconds since the epoch.
#[derive(Clone, Debug)]
pub struct Alert {
    /// Where it stands.
    pub state: State,
    /// Its labels, expanded.
    pub labels: Labels,
    /// Its texts, expanded.
    pub annotations: BTreeMap<String, String>,
    /// The value of its query at the last evaluation in which there was one.
    pub value: f64,
    /// Since when its condition holds.
    pub active_at_ns: i64,
    /// Since when it fires.
    pub fired_at_ns: Option<i64>,
    /// When it was resolved.
    pub resolved_at_ns: Option<i64>,
    /// When a notification of it was last made.
    pub last_sent_at_ns: Option<i64>,
    /// Since when it only fires because of `keep_firing_for`.
    pub keep_firing_since_ns: Option<i64>,
}

impl Alert {
    fn needs_sending(&self, at_ns: i64, resend_delay_ns: i64) -> bool {
        if self.state == State::Pending {
            return false;
        }
        let Some(sent_at_ns) = self.last_sent_at_ns else { return true };
        self.resolved_at_ns.is_some_and(|resolved| resolved > sent_at_ns)
            || sent_at_ns.saturating_add(resend_delay_ns) < at_ns
    }
}

/// An alerting rule with its alerts.
#[derive(Debug)]
pub struct AlertingRule {
    /// The alert.
    pub name: String,
    /// The query, as the parser prints it.
    pub expr: String,
    /// `for`.
    pub hold_ns: i64,
    /// `keep_firing_for`.
    pub keep_firing_ns: i64,
    /// Templates of labels.
    pub labels: BTreeMap<String, String>,
    /// Templates of texts.
    pub annotations: BTreeMap<String, String>,
    /// Its alerts, also those that were resolved lately.
    pub active: BTreeMap<Labels, Alert>,
    /// Whether its alerts are known as they were before a restart; until then it writes no series, so that what is to
    /// be restored stays.
    pub restored: bool,
    /// Whether this is the first evaluation after its alerts were taken over from before a restart: data may still be
    /// missing, and so no alert ends.
    pub settling: bool,
}

/// When, and over what.
#[derive(Clone, Copy)]
pub struct Moment {
    /// The time of the evaluation.
    pub at_ns: i64,
    /// How far behind it the query looks.
    pub offset_ns: i64,
    /// The most alerts, or 0.
    pub limit: usize,
}

/// What an evaluation came to.
#[derive(Debug, Default)]
pub struct Evaluated {
    /// Samples to be written.
    pub samples: Vec<Sample>,
    /// Whether an alert came, went or changed its state.
    pub is_changed: bool,
}

impl AlertingRule {
    /// Evaluates the rule at a moment.
    pub fn evaluate(
        &mut self,
        moment: Moment,
        querier: &dyn Querier,
        surroundings: Surroundings<'_>,
    ) -> Result<Evaluated, String> {
        let query_ms = (moment.at_ns - moment.offset_ns).div_euclid(NS_PER_MS);
        let found = self.alerts_of(&querier.instant(&self.expr, query_ms)?, moment.at_ns, surroundings)?;
        let mut evaluated = Evaluated::default();
        let present: HashSet<Labels> = found.keys().cloned().collect();
        for (labels, alert) in found {
            match self.active.get_mut(&labels) {
                Some(known) if known.state != State::Inactive => {
                    known.value = alert.value;
                    known.annotations = alert.annotations;
                }
                _ => {
                    self.active.insert(labels, alert);
                    evaluated.is_changed = true;
                }
            }
        }
        let n_active = self.advance(moment.at_ns, &present, &mut evaluated.is_changed);
        self.settling = false;
        if moment.limit > 0 && n_active > moment.limit {
            self.active.clear();
            return Err(format!("exceeded limit of {} with {n_active} alerts", moment.limit));
        }
        if self.restored {
            evaluated.samples = self.samples(query_ms);
            self.cite(moment.at_ns, query_ms, querier, &mut evaluated.samples);
        }
        Ok(evaluated)
    }

    /// Has the series of alerts that have just begun to fire cite traces: the exemplars that show most of what the expression
    /// measures, of series that have the labels of the alert. Without an answer they cite nothing.
    fn cite(&self, at_ns: i64, query_ms: i64, querier: &dyn Querier, samples: &mut [Sample]) {
        let begins = |alert: &&Alert| alert.state == State::Firing && alert.fired_at_ns == Some(at_ns);
        let firing: Vec<&Alert> = self.active.values().filter(begins).collect();
        if firing.is_empty() {
            return;
        }
        let found = querier.exemplars(&self.expr, query_ms.saturating_sub(CITES_FROM_MS), query_ms);
        let Ok(mut found) = found else { return };
        found.sort_by(|a, b| {
            b.cited.value.total_cmp(&a.cited.value).then(a.cited.time_ms.cmp(&b.cited.time_ms))
        });
        for alert in firing {
            let series = self.state_series(alert);
            if let Some(sample) = samples.iter_mut().find(|sample| sample.labels == series) {
                sample.cites = cites_of(&alert.labels, &found);
            }
        }
    }

    /// The series that says where an alert stands.
    fn state_series(&self, alert: &Alert) -> Labels {
        let mut labels = self.labels_over(Some(&alert.labels));
        labels.set(METRIC_NAME, ALERTS).set(ALERT_STATE, alert.state.name());
        labels.build()
    }

    /// The alerts of a result, all pending.
    fn alerts_of(
        &self,
        samples: &[Sample],
        at_ns: i64,
        surroundings: Surroundings<'_>,
    ) -> Result<HashMap<Labels, Alert>, String> {
        let expander = Expander::new(&self.name, surroundings);
        let mut alerts = HashMap::with_capacity(samples.len());
        for sample in samples {
            let data = expander.data(sample);
            let mut labels = sample.labels.to_builder();
            labels.remove(METRIC_NAME);
            for (name, text) in &self.labels {
                labels.set(name, &expander.expand(text, &data));
            }
            labels.set(ALERT_NAME, &self.name);
            let labels = labels.build();
            let annotations =
                self.annotations.iter().map(|(name, text)| (name.clone(), expander.expand(text, &data)));
            let alert = Alert {
                state: State::Pending,
                labels: labels.clone(),
                annotations: annotations.collect(),
                value: sample.value.float(),
                active_at_ns: at_ns,
                fired_at_ns: None,
                resolved_at_ns: None,
                last_sent_at_ns: None,
                keep_firing_since_ns: None,
            };
            if alerts.insert(labels, alert).is_some() {
                return Err(
                    "vector contains metrics with the same labelset after applying alert labels".to_owned()
                );
            }
        }
        Ok(alerts)
    }

    /// Moves every alert on; the number of those that are pending or firing.
    fn advance(&mut self, at_ns: i64, present: &HashSet<Labels>, is_changed: &mut bool) -> usize {
        let (hold_ns, keep_firing_ns, settling) = (self.hold_ns, self.keep_firing_ns, self.settling);
        let mut n_active = 0;
        self.active.retain(|labels, alert| {
            let before = (alert.state, alert.keep_firing_since_ns);
            let stays = if present.contains(labels) {
                alert.keep_firing_since_ns = None;
                true
            } else if settling && alert.state != State::Inactive {
                true
            } else {
                let keeps_firing = keeps_firing(alert, at_ns, keep_firing_ns);
                if !keeps_firing && ends(alert, at_ns) {
                    *is_changed = true;
                    return false;
                }
                keeps_firing
            };
            if stays {
                n_active += 1;
                ripen(alert, at_ns, hold_ns);
            }
            *is_changed |= before != (alert.state, alert.keep_firing_since_ns);
            true
        });
        n_active
    }

    /// The series of the alerts that are pending or firing.
    pub(crate) fn samples(&self, time_ms: i64) -> Vec<Sample> {
        let mut samples = Vec::new();
        for alert in self.active.values().filter(|alert| alert.state != State::Inactive) {
            samples.push(Sample::float(self.state_series(alert), time_ms, 1.0));
            let mut labels = self.labels_over(Some(&alert.labels));
            labels.set(METRIC_NAME, ALERTS_FOR_STATE);
            let since_s = alert.active_at_ns.div_euclid(NS_PER_SECOND) as f64;
            samples.push(Sample::float(labels.build(), time_ms, since_s));
        }
        samples
    }

    fn labels_over(&self, alert: Option<&Labels>) -> throughline_exec::LabelsBuilder {
        let mut labels = Labels::from_pairs(&self.labels).to_builder();
        for (name, value) in alert.into_iter().flat_map(Labels::iter) {
            labels.set(name, value);
        }
        labels.set(ALERT_NAME, &self.name);
        labels
    }

    /// The labels that every series of [`ALERTS_FOR_STATE`] of this rule has. Templates are left out: what they expand
    /// to differs from alert to alert.
    pub(crate) fn state_selector(&self) -> Vec<(String, String)> {
        let mut labels = self.labels_over(None);
        labels.set(METRIC_NAME, ALERTS_FOR_STATE);
        let labels = labels.build();
        let plain = labels.iter().filter(|(_, value)| !value.contains("{{"));
        plain.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The notifications that are due.
    pub(crate) fn notifications(
        &mut self,
        at_ns: i64,
        resend_delay_ns: i64,
        interval_ns: i64,
        surroundings: Surroundings<'_>,
    ) -> Vec<Notification> {
        let generator_url = format!("{}{}", surroundings.external_url, link(&self.expr, 1));
        let due = self.active.values_mut().filter(|alert| alert.needs_sending(at_ns, resend_delay_ns));
        due.map(|alert| {
            let is_repeat = alert
                .last_sent_at_ns
                .is_some_and(|sent| alert.resolved_at_ns.is_none_or(|resolved| resolved <= sent));
            alert.last_sent_at_ns = Some(at_ns);
            let valid_until_ns = at_ns + VALID_FOR * interval_ns.max(resend_delay_ns);
            let mut labels: BTreeMap<String, String> = surroundings.external_labels.clone();
            labels.extend(alert.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
            Notification {
                labels,
                annotations: alert.annotations.clone(),
                starts_at_ns: alert.fired_at_ns.unwrap_or(alert.active_at_ns),
                ends_at_ns: alert.resolved_at_ns.unwrap_or(valid_until_ns),
                is_resolved: alert.resolved_at_ns.is_some(),
                is_repeat,
                generator_url: generator_url.clone(),
            }
        })
        .collect()
    }
}

/// The traces of exemplars whose series agree with an alert in all labels that both have; each trace once. A label that only the
/// rule has says nothing of a series.
fn cites_of(alert: &Labels, found: &[FoundExemplar]) -> Vec<Cited> {
    let is_of = |found: &&FoundExemplar| {
        alert.iter().all(|(name, value)| {
            let own = found.series.get(name);
            own.is_empty() || own == value
        })
    };
    let mut cites: Vec<Cited> = Vec::new();
    for found in found.iter().filter(is_of) {
        let trace = |cited: &Cited| cited.labels.iter().find(|(name, _)| name == "trace_id").cloned();
        if cites.iter().all(|other| trace(other) != trace(&found.cited)) {
            cites.push(found.cited.clone());
        }
        if cites.len() == CITES_MAX {
            break;
        }
    }
    cites
}

/// Whether an alert whose condition ended fires on because of `keep_firing_for`.
fn keeps_firing(alert: &mut Alert, at_ns: i64, keep_firing_ns: i64) -> bool {
    if alert.state != State::Firing || keep_firing_ns == 0 {
        return false;
    }
    let since_ns = *alert.keep_firing_since_ns.get_or_insert(at_ns);
    at_ns - since_ns < keep_firing_ns
}

/// Ends an alert whose condition ended. Whether it is to be forgotten.
fn ends(alert: &mut Alert, at_ns: i64) -> bool {
    let is_old = alert.resolved_at_ns.is_some_and(|resolved| at_ns - resolved > RESOLVED_RETENTION_NS);
    if alert.state == State::Pending || is_old {
        return true;
    }
    if alert.state == State::Firing {
        alert.state = State::Inactive;
        alert.resolved_at_ns = Some(at_ns);
    }
    false
}

/// Makes a pending alert fire, or a firing one pending again where `for` has become longer.
fn ripen(alert: &mut Alert, at_ns: i64, hold_ns: i64) {
    let active_ns = at_ns - alert.active_at_ns;
    if alert.state == State::Pending && active_ns >= hold_ns {
        alert.state = State::Firing;
        alert.fired_at_ns = Some(at_ns);
    }
    if alert.state == State::Firing && active_ns < hold_ns {
        alert.state = State::Pending;
        alert.fired_at_ns = None;
        alert.last_sent_at_ns = None;
        alert.keep_firing_since_ns = None;
    }
}
