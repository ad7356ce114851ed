//! What a rule file says: groups of rules, as they are written, and everything that is wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::expand;

/// Names and values in the file's order.
pub type Pairs = Vec<(String, String)>;

/// A group of rules, which are evaluated in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupDefinition {
    /// Where it begins, counted from 1.
    pub line: u64,
    /// Its name, of which a file has one.
    pub name: String,
    /// How often it is evaluated, where it does not follow the default.
    pub interval_ms: Option<i64>,
    /// How far behind the time of its evaluation it looks, where it does not follow the default.
    pub query_offset_ms: Option<i64>,
    /// The most series or alerts of one rule; 0 for no limit.
    pub limit: usize,
    /// Labels of all its rules.
    pub labels: Pairs,
    /// Its rules.
    pub rules: Vec<RuleDefinition>,
}

/// A rule: one of `record` and `alert` is set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleDefinition {
    /// Where it begins, counted from 1.
    pub line: u64,
    /// The series that it writes.
    pub record: String,
    /// The alert that it raises.
    pub alert: String,
    /// The query.
    pub expr: String,
    /// Where the query stands.
    pub expr_line: u64,
    /// `for`: how long the condition holds before the alert fires.
    pub hold_ms: i64,
    /// How long the alert fires on after the condition ended.
    pub keep_firing_ms: i64,
    /// Labels of what it produces; templates in an alert.
    pub labels: Pairs,
    /// Templates of an alert's texts.
    pub annotations: Pairs,
}

impl RuleDefinition {
    /// The alert or the series.
    #[must_use]
    pub fn name(&self) -> &str {
        if self.alert.is_empty() { &self.record } else { &self.alert }
    }

    /// Its labels over those of its group.
    #[must_use]
    pub fn labels_over(&self, group: &GroupDefinition) -> BTreeMap<String, String> {
        group.labels.iter().chain(&self.labels).cloned().collect()
    }
}

/// Something wrong with a rule file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, counted from 1, where it is known.
    pub line: Option<u64>,
    /// The group, the rule and the field, as far as the problem is theirs.
    pub place: String,
    /// What.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong with the groups of one file.
#[must_use]
pub fn validate(groups: &[GroupDefinition]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut names = BTreeSet::new();
    for group in groups {
        let place = format!("group {:?}", group.name);
        let mut refuse = |message: String| {
            problems.push(Problem { line: Some(group.line), place: place.clone(), message });
        };
        if group.name.is_empty() {
            refuse("the name of a group must not be empty".to_owned());
        } else if !names.insert(&group.name) {
            refuse(format!("groupname: {:?} is repeated in the same file", group.name));
        }
        for (name, _) in group.labels.iter().filter(|(name, _)| !is_label_name(name)) {
            refuse(format!("invalid label name: {name}"));
        }
        for (at, rule) in group.rules.iter().enumerate() {
            let place = rule_place(&group.name, at, rule.name());
            validate_rule(rule, &place, &mut problems);
        }
    }
    problems
}

/// How a message names a rule; rules count from 1.
#[must_use]
pub fn rule_place(group: &str, at: usize, name: &str) -> String {
    format!("group {group:?}, rule {}, {name:?}", at + 1)
}

fn validate_rule(rule: &RuleDefinition, place: &str, problems: &mut Vec<Problem>) {
    let mut refuse = |line: u64, field: &str, message: String| {
        let place = if field.is_empty() { place.to_owned() } else { format!("{place}, field {field:?}") };
        problems.push(Problem { line: Some(line), place, message });
    };
    match (rule.record.is_empty(), rule.alert.is_empty()) {
        (false, false) => refuse(rule.line, "", "only one of 'record' and 'alert' must be set".to_owned()),
        (true, true) => refuse(rule.line, "", "one of 'record' or 'alert' must be set".to_owned()),
        _ => {}
    }
    if rule.expr.is_empty() {
        refuse(rule.line, "expr", "field 'expr' must be set in rule".to_owned());
    } else if let Err(error) = throughline_promql::parse(&rule.expr) {
        refuse(rule.expr_line, "expr", format!("could not parse expression: {error}"));
    }
    if !rule.record.is_empty() {
        for (field, is_set) in [
            ("annotations", !rule.annotations.is_empty()),
            ("for", rule.hold_ms != 0),
            ("keep_firing_for", rule.keep_firing_ms != 0),
        ] {
            if is_set {
                refuse(rule.line, field, format!("invalid field '{field}' in recording rule"));
            }
        }
        if rule.record.contains(['{', '}']) {
            let name = &rule.record;
            let message = format!("braces present in the recording rule name; should it be in expr?: {name}");
            refuse(rule.line, "record", message);
        }
    }
    for (name, _) in rule.labels.iter().filter(|(name, _)| !is_label_name(name)) {
        refuse(rule.line, "labels", format!("invalid label name: {name}"));
    }
    for (name, _) in rule.annotations.iter().filter(|(name, _)| name.is_empty()) {
        refuse(rule.line, "annotations", format!("invalid annotation name: {name}"));
    }
    if rule.alert.is_empty() {
        return;
    }
    for (field, word, texts) in
        [("labels", "label", &rule.labels), ("annotations", "annotation", &rule.annotations)]
    {
        for (name, text) in texts {
            if let Err(error) = expand::check(&rule.alert, text) {
                refuse(rule.line, field, format!("{word} {name:?}: {error}"));
            }
        }
    }
}

/// With UTF-8 names everything is one but nothing, and the name of the metric is no label.
fn is_label_name(name: &str) -> bool {
    !name.is_empty() && name != throughline_exec::METRIC_NAME
}

/// A name and labels that several rules of a file have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duplicate {
    /// The alert or the series.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// Rules that cannot be told apart by what they produce, each once.
#[must_use]
pub fn duplicates(groups: &[GroupDefinition]) -> Vec<Duplicate> {
    let mut seen: BTreeMap<Duplicate, usize> = BTreeMap::new();
    for group in groups {
        for rule in &group.rules {
            let key = Duplicate { name: rule.name().to_owned(), labels: rule.labels_over(group) };
            *seen.entry(key).or_default() += 1;
        }
    }
    seen.into_iter().filter(|(_, count)| *count > 1).map(|(key, _)| key).collect()
}
