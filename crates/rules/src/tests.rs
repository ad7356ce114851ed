//! Groups of rules against a table of results and a clock that is moved by hand.

mod alerts;
mod delivery;
mod restarts;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use throughline_exec::{Labels, is_stale};

use crate::alerting::State;
use crate::group::{Environment, Group, Outcome, Settings};
use crate::sample::{Cited, FoundExemplar, LastSample, Querier, Sample, Sink};
use crate::{GroupDefinition, RuleDefinition, definition};

const SECOND_NS: i64 = 1_000_000_000;
const MINUTE_NS: i64 = 60 * SECOND_NS;
const START_NS: i64 = 1_700_000_000 * SECOND_NS;

/// What queries find, and what was written.
#[derive(Default)]
struct World {
    exemplars: Mutex<Vec<FoundExemplar>>,
    results: Mutex<BTreeMap<String, Result<Vec<Sample>, String>>>,
    written: Mutex<Vec<Sample>>,
    refuses_writes: Mutex<bool>,
    asked: Mutex<Vec<(String, i64)>>,
}

impl Querier for World {
    fn instant(&self, expr: &str, time_ms: i64) -> Result<Vec<Sample>, String> {
        self.asked.lock().unwrap().push((expr.to_owned(), time_ms));
        self.results.lock().unwrap().get(expr).cloned().unwrap_or(Ok(Vec::new()))
    }

    fn exemplars(&self, _: &str, start_ms: i64, end_ms: i64) -> Result<Vec<FoundExemplar>, String> {
        let is_within = |found: &FoundExemplar| (start_ms..=end_ms).contains(&found.cited.time_ms);
        Ok(self.exemplars.lock().unwrap().iter().filter(|found| is_within(found)).cloned().collect())
    }

    fn last_samples(
        &self,
        labels: &[(String, String)],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<LastSample>, String> {
        let mut last = BTreeMap::new();
        for sample in self.written.lock().unwrap().iter() {
            let matches = labels.iter().all(|(name, value)| sample.labels.get(name) == value);
            if matches && (start_ms..=end_ms).contains(&sample.time_ms) {
                last.insert(sample.labels.clone(), (sample.time_ms, sample.value.float()));
            }
        }
        let last = last.into_iter();
        Ok(last.map(|(labels, (time_ms, value))| LastSample { labels, time_ms, value }).collect())
    }
}

impl Sink for World {
    fn write(&self, samples: &[Sample]) -> Result<(), String> {
        if *self.refuses_writes.lock().unwrap() {
            return Err("disk full".to_owned());
        }
        self.written.lock().unwrap().extend_from_slice(samples);
        Ok(())
    }
}

impl World {
    /// `expr` gives these from now on: labels as `a=1,b=2`, and a value.
    fn set(&self, expr: &str, samples: &[(&str, f64)]) {
        let samples = samples.iter().map(|(labels, value)| Sample::float(parse_labels(labels), 0, *value));
        self.results.lock().unwrap().insert(expr.to_owned(), Ok(samples.collect()));
    }

    fn fail(&self, expr: &str) {
        self.results.lock().unwrap().insert(expr.to_owned(), Err("query failed".to_owned()));
    }

    fn evaluate_with(&self, group: &mut Group, at_ns: i64, settings: &Settings) -> Outcome {
        let env = Environment {
            querier: self,
            sink: self,
            settings,
            now_ns: &|| at_ns,
            monotonic: &|| Duration::ZERO,
        };
        group.evaluate(at_ns, &env)
    }

    fn evaluate(&self, group: &mut Group, at_ns: i64) -> Outcome {
        self.evaluate_with(group, at_ns, &Settings::default())
    }

    /// What was written since the last call: `{labels} value` each, sorted.
    fn written(&self) -> Vec<String> {
        let written = std::mem::take(&mut *self.written.lock().unwrap());
        let mut lines: Vec<String> = written
            .iter()
            .map(|sample| {
                let value = sample.value.float();
                let value = if is_stale(value) { "stale".to_owned() } else { value.to_string() };
                format!("{} {value}", sample.labels)
            })
            .collect();
        lines.sort();
        lines
    }
}

fn parse_labels(text: &str) -> Labels {
    Labels::from_pairs(text.split(',').filter_map(|pair| pair.split_once('=')))
}

fn pairs(entries: &[(&str, &str)]) -> Vec<(String, String)> {
    entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn alert(name: &str, expr: &str, hold_s: i64) -> RuleDefinition {
    RuleDefinition {
        alert: name.to_owned(),
        expr: expr.to_owned(),
        hold_ms: hold_s * 1000,
        ..RuleDefinition::default()
    }
}

fn record(name: &str, expr: &str) -> RuleDefinition {
    RuleDefinition { record: name.to_owned(), expr: expr.to_owned(), ..RuleDefinition::default() }
}

fn group(rules: Vec<RuleDefinition>) -> GroupDefinition {
    let definition = GroupDefinition {
        line: 1,
        name: "g".to_owned(),
        interval_ms: Some(60_000),
        rules,
        ..GroupDefinition::default()
    };
    assert_eq!(definition::validate(std::slice::from_ref(&definition)), []);
    definition
}

fn running(definition: &GroupDefinition) -> Group {
    Group::new("a.yml", definition, &Settings::default(), false)
}

/// The states of the alerts of the first alerting rule: `name state` each.
fn states(group: &Group) -> Vec<String> {
    let status = group.status();
    let alerting = status.rules.iter().find_map(|rule| rule.alerting.as_ref()).expect("an alerting rule");
    let alerts = alerting.alerts.iter();
    alerts.map(|alert| format!("{:?} {}", alert.labels, alert.state.name())).collect()
}

fn state(group: &Group) -> &'static str {
    let status = group.status();
    status.rules.iter().find_map(|rule| rule.alerting.as_ref()).map_or("", |alerting| alerting.state)
}

#[test]
fn recording_rules_write_series_and_end_those_that_vanish() {
    let world = World::default();
    let mut rule = record("job:up:sum", "sum by (job) (up)");
    rule.labels = pairs(&[("team", "x"), ("drop", "")]);
    let mut definition = group(vec![rule]);
    definition.labels = pairs(&[("zone", "z"), ("team", "group")]);
    let mut group = running(&definition);
    world.set("sum by (job) (up)", &[("job=a,drop=1", 1.0), ("job=b", 2.0)]);
    let outcome = world.evaluate(&mut group, START_NS);
    assert!(outcome.failures.is_empty() && outcome.notifications.is_empty() && !outcome.is_changed);
    let first = [
        r#"{__name__="job:up:sum", job="a", team="x", zone="z"} 1"#,
        r#"{__name__="job:up:sum", job="b", team="x", zone="z"} 2"#,
    ];
    assert_eq!(world.written(), first);
    world.set("sum by (job) (up)", &[("job=b", 3.0)]);
    world.evaluate(&mut group, START_NS + MINUTE_NS);
    let second = [
        r#"{__name__="job:up:sum", job="a", team="x", zone="z"} stale"#,
        r#"{__name__="job:up:sum", job="b", team="x", zone="z"} 3"#,
    ];
    assert_eq!(world.written(), second);
    // A failed query writes nothing, and ends nothing.
    world.fail("sum by (job) (up)");
    let outcome = world.evaluate(&mut group, START_NS + 2 * MINUTE_NS);
    assert_eq!(outcome.failures, [("job:up:sum".to_owned(), "query failed".to_owned())]);
    assert!(world.written().is_empty());
    assert_eq!(group.status().rules[0].health.name(), "err");
}

#[test]
fn rules_are_refused_whose_results_cannot_be_told_apart() {
    let world = World::default();
    let mut rule = record("r", "x");
    rule.labels = pairs(&[("job", "one")]);
    let mut group = running(&group(vec![rule]));
    world.set("x", &[("job=a", 1.0), ("job=b", 2.0)]);
    let outcome = world.evaluate(&mut group, START_NS);
    assert!(outcome.failures[0].1.contains("same labelset after applying rule labels"));
    assert!(world.written().is_empty());
}

#[test]
fn limits_and_offsets_of_groups() {
    let world = World::default();
    let mut definition = group(vec![record("r", "x"), alert("A", "x", 0)]);
    definition.limit = 1;
    definition.query_offset_ms = Some(30_000);
    let mut group = running(&definition);
    world.set("x", &[("job=a", 1.0)]);
    world.evaluate(&mut group, START_NS);
    assert_eq!(world.asked.lock().unwrap()[0], ("x".to_owned(), START_NS / 1_000_000 - 30_000));
    assert!(
        world.written.lock().unwrap().iter().all(|sample| sample.time_ms == START_NS / 1_000_000 - 30_000)
    );
    world.written();
    world.set("x", &[("job=a", 1.0), ("job=b", 1.0)]);
    let outcome = world.evaluate(&mut group, START_NS + MINUTE_NS);
    assert_eq!(outcome.failures[0].1, "exceeded limit of 1 with 2 series");
    assert_eq!(outcome.failures[1].1, "exceeded limit of 1 with 2 alerts");
    assert!(states(&group).is_empty());
}

#[test]
fn a_changed_file_keeps_alerts_and_ends_series_of_rules_that_are_no_more() {
    let world = World::default();
    let mut old = running(&group(vec![record("gone", "x"), alert("A", "x", 0)]));
    world.set("x", &[("job=a", 1.0)]);
    world.evaluate(&mut old, START_NS);
    world.written();
    let mut new = running(&group(vec![alert("A", "x", 0), record("fresh", "y")]));
    new.take_over(old);
    assert_eq!(state(&new), "unknown");
    world.evaluate(&mut new, START_NS + MINUTE_NS);
    let written = world.written();
    assert!(written.contains(&r#"{__name__="gone", job="a"} stale"#.to_owned()), "{written:?}");
    assert_eq!(states(&new), [r#"{"alertname": "A", "job": "a"} firing"#]);
    let env = Environment {
        querier: &world,
        sink: &world,
        settings: &Settings::default(),
        now_ns: &|| START_NS,
        monotonic: &|| Duration::ZERO,
    };
    new.end(START_NS + 2 * MINUTE_NS, &env);
    assert_eq!(world.written().iter().filter(|line| line.ends_with("stale")).count(), 2);
}

#[test]
fn definitions_are_checked() {
    let mut both = alert("A", "up", 0);
    both.record = "r".to_owned();
    let mut recording = record("r{x}", "up");
    recording.hold_ms = 1;
    recording.annotations = pairs(&[("a", "b")]);
    let mut template = alert("T", "up", 0);
    template.labels = pairs(&[("__name__", "x"), ("l", "{{ nope }}")]);
    template.annotations = pairs(&[("summary", "{{ $value")]);
    let definition = GroupDefinition {
        line: 2,
        name: "g".to_owned(),
        rules: vec![both, RuleDefinition::default(), alert("B", "sum(", 0), recording, template],
        ..GroupDefinition::default()
    };
    let unnamed = GroupDefinition { line: 9, ..GroupDefinition::default() };
    let problems = definition::validate(&[definition.clone(), definition.clone(), unnamed]);
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for part in [
        "rule 1, \"A\": only one of 'record' and 'alert' must be set",
        "rule 2, \"\": one of 'record' or 'alert' must be set",
        "rule 2, \"\", field \"expr\": field 'expr' must be set in rule",
        "rule 3, \"B\", field \"expr\": could not parse expression: ",
        "field \"for\": invalid field 'for' in recording rule",
        "field \"annotations\": invalid field 'annotations' in recording rule",
        "braces present in the recording rule name",
        "field \"labels\": invalid label name: __name__",
        "label \"l\": template: __alert_T:1: function \"nope\" not defined",
        "annotation \"summary\": template: __alert_T:1: unclosed action",
        "line 2: group \"g\": groupname: \"g\" is repeated in the same file",
        "line 9: group \"\": the name of a group must not be empty",
    ] {
        assert!(texts.iter().any(|text| text.contains(part)), "{part} is not in {texts:#?}");
    }
    assert_eq!(definition::duplicates(&[definition.clone(), definition]).len(), 5);
}

#[test]
fn states_have_an_order() {
    assert!(State::Firing > State::Pending && State::Pending > State::Inactive);
}
