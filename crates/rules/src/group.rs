//! A group of rules: one evaluation of all of them, in order, and what has to be remembered from one to the next.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use throughline_exec::Labels;

use crate::alerting::{AlertingRule, Moment};
use crate::definition::{GroupDefinition, RuleDefinition};
use crate::expand::Surroundings;
use crate::notification::Notification;
use crate::overview::{self, GroupStatus, Health};
use crate::recording::RecordingRule;
use crate::restore;
use crate::sample::{Querier, Sample, Sink};
use crate::state::SavedGroup;

const NS_PER_MS: i64 = 1_000_000;

/// What all groups of a server share.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How often groups are evaluated that do not say.
    pub interval_ms: i64,
    /// How far behind groups look that do not say.
    pub query_offset_ms: i64,
    /// Labels of the server that notifications and templates get.
    pub external_labels: BTreeMap<String, String>,
    /// The server's address for people.
    pub external_url: String,
    /// An alert that fires on is told again after so long.
    pub resend_delay_ns: i64,
    /// Alerts are not taken over from before a longer outage.
    pub outage_tolerance_ns: i64,
    /// An alert that was pending before a restart fires no sooner than so long after it, where its `for` is longer.
    pub grace_period_ns: i64,
}

impl Default for Settings {
    /// As in Prometheus.
    fn default() -> Self {
        Settings {
            interval_ms: 60_000,
            query_offset_ms: 0,
            external_labels: BTreeMap::new(),
            external_url: String::new(),
            resend_delay_ns: 60_000 * NS_PER_MS,
            outage_tolerance_ns: 3_600_000 * NS_PER_MS,
            grace_period_ns: 600_000 * NS_PER_MS,
        }
    }
}

/// The world around an evaluation.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// Answers queries.
    pub querier: &'a dyn Querier,
    /// Takes results.
    pub sink: &'a dyn Sink,
    /// What all groups share.
    pub settings: &'a Settings,
    /// Wall time in nanoseconds since the epoch.
    pub now_ns: &'a dyn Fn() -> i64,
    /// A clock for durations.
    pub monotonic: &'a dyn Fn() -> Duration,
}

impl<'a> Environment<'a> {
    fn surroundings(&self, at_ns: i64) -> Surroundings<'a> {
        Surroundings {
            querier: Some(self.querier),
            time_ms: at_ns.div_euclid(NS_PER_MS),
            external_url: &self.settings.external_url,
            external_labels: &self.settings.external_labels,
        }
    }
}

/// One of the two kinds.
#[derive(Debug)]
pub(crate) enum Kind {
    Recording(RecordingRule),
    Alerting(AlertingRule),
}

/// A rule and how it is doing.
#[derive(Debug)]
pub(crate) struct Rule {
    pub kind: Kind,
    pub health: Health,
    /// The series of its last evaluation: those that are missing in the next one get a stale marker.
    pub previous: BTreeSet<Labels>,
}

impl Rule {
    pub fn name(&self) -> &str {
        match &self.kind {
            Kind::Recording(rule) => &rule.name,
            Kind::Alerting(rule) => &rule.name,
        }
    }

    pub fn labels(&self) -> &BTreeMap<String, String> {
        match &self.kind {
            Kind::Recording(rule) => &rule.labels,
            Kind::Alerting(rule) => &rule.labels,
        }
    }
}

/// What an evaluation came to, beside the samples that were written.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Notifications for the outbox.
    pub notifications: Vec<Notification>,
    /// Whether an alert came, went or changed its state, so that the state has to be saved.
    pub is_changed: bool,
    /// Rules that failed, and why.
    pub failures: Vec<(String, String)>,
}

/// A group at work.
#[derive(Debug)]
pub struct Group {
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) interval_ns: i64,
    pub(crate) limit: usize,
    pub(crate) rules: Vec<Rule>,
    offset_ns: i64,
    /// Series of rules that are no more.
    stale: Vec<Labels>,
    /// Whether alerts have to be looked up in the store after the second evaluation.
    must_restore: bool,
    evaluations: u64,
    last_evaluation_ns: Option<i64>,
    evaluation_time: Duration,
}

impl Group {
    /// From a valid definition. With `must_restore` alerts come back from their series once there was time for fresh
    /// data, as in Prometheus, unless [`Group::adopt`] has them from the state file.
    #[must_use]
    pub fn new(file: &str, definition: &GroupDefinition, settings: &Settings, must_restore: bool) -> Group {
        let interval_ms = definition.interval_ms.filter(|ms| *ms > 0).unwrap_or(settings.interval_ms);
        let offset_ms = definition.query_offset_ms.unwrap_or(settings.query_offset_ms);
        let rules = definition.rules.iter().map(|rule| Rule {
            kind: kind(definition, rule, must_restore),
            health: Health::default(),
            previous: BTreeSet::new(),
        });
        Group {
            file: file.to_owned(),
            name: definition.name.clone(),
            interval_ns: interval_ms.max(1).saturating_mul(NS_PER_MS),
            limit: definition.limit,
            rules: rules.collect(),
            offset_ns: offset_ms.saturating_mul(NS_PER_MS),
            stale: Vec::new(),
            must_restore,
            evaluations: 0,
            last_evaluation_ns: None,
            evaluation_time: Duration::ZERO,
        }
    }

    /// The file of the group.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How often it is evaluated.
    #[must_use]
    pub fn interval_ns(&self) -> i64 {
        self.interval_ns
    }

    /// Evaluates all rules in order at a moment. Results are in the store afterwards; notifications must be saved
    /// before they are sent.
    pub fn evaluate(&mut self, at_ns: i64, env: &Environment<'_>) -> Outcome {
        let started = (env.monotonic)();
        let mut outcome = Outcome::default();
        for at in 0..self.rules.len() {
            if let Err(error) = self.evaluate_rule(at, at_ns, env, &mut outcome)
                && let Some(rule) = self.rules.get(at)
            {
                outcome.failures.push((rule.name().to_owned(), error));
            }
        }
        self.end_stale(at_ns, env);
        self.evaluations += 1;
        self.last_evaluation_ns = Some((env.now_ns)());
        self.evaluation_time = (env.monotonic)().saturating_sub(started);
        // The first evaluation may have come before fresh data and before the results of other rules.
        if self.must_restore && self.evaluations >= 2 {
            restore::from_series(self, (env.now_ns)(), env);
            self.must_restore = false;
        }
        outcome
    }

    fn evaluate_rule(
        &mut self,
        at: usize,
        at_ns: i64,
        env: &Environment<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let (offset_ns, limit, interval_ns) = (self.offset_ns, self.limit, self.interval_ns);
        let Some(rule) = self.rules.get_mut(at) else { return Ok(()) };
        let started = (env.monotonic)();
        let begun_ns = (env.now_ns)();
        let query_ms = (at_ns - offset_ns).div_euclid(NS_PER_MS);
        let surroundings = env.surroundings(at_ns);
        let evaluated = match &mut rule.kind {
            Kind::Recording(recording) => recording.evaluate(query_ms, env.querier, limit),
            Kind::Alerting(alerting) => {
                let moment = Moment { at_ns, offset_ns, limit };
                alerting.evaluate(moment, env.querier, surroundings).map(|evaluated| {
                    outcome.is_changed |= evaluated.is_changed;
                    let resend_delay_ns = env.settings.resend_delay_ns;
                    let due = alerting.notifications(at_ns, resend_delay_ns, interval_ns, surroundings);
                    outcome.notifications.extend(due);
                    evaluated.samples
                })
            }
        };
        let written = evaluated.and_then(|samples| write(rule, samples, query_ms, env.sink));
        rule.health = Health {
            error: written.as_ref().err().cloned(),
            last_evaluation_ns: Some(begun_ns),
            evaluation_time: (env.monotonic)().saturating_sub(started),
        };
        written
    }

    /// Ends the series of rules that are no more.
    fn end_stale(&mut self, at_ns: i64, env: &Environment<'_>) {
        if self.stale.is_empty() {
            return;
        }
        let time_ms = (at_ns - self.offset_ns).div_euclid(NS_PER_MS);
        let markers: Vec<Sample> =
            self.stale.iter().map(|labels| Sample::stale(labels.clone(), time_ms)).collect();
        if env.sink.write(&markers).is_ok() {
            self.stale.clear();
        }
    }

    /// Ends all series of a group that is no more.
    pub fn end(&mut self, at_ns: i64, env: &Environment<'_>) {
        for rule in &mut self.rules {
            self.stale.extend(std::mem::take(&mut rule.previous));
        }
        self.end_stale(at_ns, env);
    }

    /// Takes over alerts and series from the group as it was before its file changed. Rules are the same by name and
    /// labels; of several the first is the first.
    pub fn take_over(&mut self, from: Group) {
        self.evaluation_time = from.evaluation_time;
        self.last_evaluation_ns = from.last_evaluation_ns;
        self.must_restore = from.must_restore;
        self.evaluations = from.evaluations;
        let mut places: HashMap<(String, BTreeMap<String, String>), Vec<usize>> = HashMap::new();
        for (at, rule) in self.rules.iter().enumerate().rev() {
            places.entry((rule.name().to_owned(), rule.labels().clone())).or_default().push(at);
        }
        self.stale = from.stale;
        for old in from.rules {
            let key = (old.name().to_owned(), old.labels().clone());
            let Some(rule) = places.get_mut(&key).and_then(Vec::pop).and_then(|at| self.rules.get_mut(at))
            else {
                self.stale.extend(old.previous);
                continue;
            };
            rule.previous = old.previous;
            if let (Kind::Alerting(new), Kind::Alerting(old)) = (&mut rule.kind, old.kind) {
                new.active = old.active;
                new.restored = old.restored;
                new.settling = old.settling;
            }
        }
    }

    /// Takes over alerts as they were saved before a restart.
    pub fn adopt(&mut self, saved: &SavedGroup, saved_at_ns: i64, env: &Environment<'_>) {
        restore::from_state(self, saved, saved_at_ns, (env.now_ns)(), env);
        self.must_restore = false;
    }

    /// There is a state file that does not know this group: it is new, and there is nothing to restore.
    pub fn begin_anew(&mut self) {
        self.must_restore = false;
        for rule in &mut self.rules {
            if let Kind::Alerting(rule) = &mut rule.kind {
                rule.restored = true;
            }
        }
    }

    /// Its alerts, for the state file.
    #[must_use]
    pub fn saved(&self) -> SavedGroup {
        restore::saved(self)
    }

    /// How it is doing, for people.
    #[must_use]
    pub fn status(&self) -> GroupStatus {
        GroupStatus {
            name: self.name.clone(),
            file: self.file.clone(),
            interval: Duration::from_nanos(self.interval_ns.unsigned_abs()),
            limit: self.limit,
            evaluation_time: self.evaluation_time,
            last_evaluation_ns: self.last_evaluation_ns,
            rules: self.rules.iter().map(overview::rule_status).collect(),
        }
    }
}

fn kind(group: &GroupDefinition, rule: &RuleDefinition, must_restore: bool) -> Kind {
    let labels = rule.labels_over(group);
    // The parser's own text, as the API shows it; a definition that is used is valid.
    let expr =
        throughline_promql::parse(&rule.expr).map_or_else(|_| rule.expr.clone(), |expr| expr.to_string());
    if rule.alert.is_empty() {
        return Kind::Recording(RecordingRule { name: rule.record.clone(), expr, labels });
    }
    Kind::Alerting(AlertingRule {
        name: rule.alert.clone(),
        expr,
        hold_ns: rule.hold_ms.saturating_mul(NS_PER_MS),
        keep_firing_ns: rule.keep_firing_ms.saturating_mul(NS_PER_MS),
        labels,
        annotations: rule.annotations.iter().cloned().collect(),
        active: BTreeMap::new(),
        restored: !must_restore,
        settling: false,
    })
}

/// Writes the samples of a rule, and stale markers for series of the evaluation before that are missing.
fn write(rule: &mut Rule, mut samples: Vec<Sample>, time_ms: i64, sink: &dyn Sink) -> Result<(), String> {
    let returned: BTreeSet<Labels> = samples.iter().map(|sample| sample.labels.clone()).collect();
    let vanished = rule.previous.difference(&returned);
    samples.extend(vanished.map(|labels| Sample::stale(labels.clone(), time_ms)));
    if !samples.is_empty() {
        sink.write(&samples)?;
    }
    rule.previous = returned;
    Ok(())
}
