//! Contrast: what slow traces have in common that quiet ones lack.
//!
//! From each trace a set of traits is taken: attribute values, status and log patterns of the spans with the
//! culprit's service and name and of the spans below them. A trait counts once per trace, however often it occurs,
//! so that a trace of many retries weighs as much as one of none. What is unique to a trace (ids, times) falls out by
//! itself: it is never over-represented.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use throughline_model::record::{LogRecord, Span};

use crate::trace_view::{SpanView, TraceView};

/// How many slow and how many quiet traces are compared.
pub const TRACES_COMPARED: usize = 50;
/// A trait differs when its shares are at least this far apart.
pub const GAP_MIN: f64 = 0.3;
/// How many differences an answer carries.
pub const DIFFERENCES_MAX: usize = 12;
/// Longer values are texts, not dimensions.
const VALUE_BYTES_MAX: usize = 200;
/// WARN: records below it are the noise of normal work.
const SEVERITY_WARN: u8 = 13;

/// What kind of trait it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraitKind {
    /// A span attribute has a value.
    Attribute,
    /// A resource attribute has a value.
    Resource,
    /// A span has a status message.
    Status,
    /// A log record has a pattern; of contrasts one of severity WARN or above.
    Log,
    /// A span has a name; not of contrasts, which are of one operation.
    Operation,
}

/// Something that a trace shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Trait {
    /// Its kind.
    pub kind: TraitKind,
    /// The service that shows it.
    pub service: String,
    /// The attribute's key; of a log record its pattern's id where a comparison knows it; else empty.
    pub key: String,
    /// The value, message or pattern.
    pub value: String,
}

/// The traits of one trace.
pub type Traits = BTreeSet<Trait>;

/// A trait that is more frequent in slow traces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The trait.
    #[serde(flatten)]
    pub what: Trait,
    /// How many slow traces show it.
    pub slow: usize,
    /// Of how many.
    pub slow_total: usize,
    /// How many quiet traces show it.
    pub quiet: usize,
    /// Of how many.
    pub quiet_total: usize,
    /// Whether it says where or for whom (a partition, a host, a version) rather than how it went (a status, a retry
    /// count): an attribute that quiet traces carry too, with other values.
    pub is_dimension: bool,
}

impl Difference {
    /// Share of the slow traces, 0 to 1.
    pub fn slow_share(&self) -> f64 {
        self.slow as f64 / self.slow_total.max(1) as f64
    }

    /// Share of the quiet traces, 0 to 1.
    pub fn quiet_share(&self) -> f64 {
        self.quiet as f64 / self.quiet_total.max(1) as f64
    }
}

/// The traits of one trace, at the spans with this service and name and below.
pub fn traits(view: &TraceView, service: &str, name: &str) -> Traits {
    let mut traits = Traits::new();
    // Spans up to here are in already: an operation that calls itself lies below itself, however deep.
    let mut added = 0;
    for (index, at) in view.spans.iter().enumerate() {
        if index < added || at.span.service != service || at.span.name != name {
            continue;
        }
        added = view.descendants(index).end;
        for span in view.spans.get(index..added).unwrap_or_default() {
            add_span(&mut traits, span);
        }
    }
    traits
}

fn add_span(traits: &mut Traits, view: &SpanView) {
    let Span { attributes, resource, status_message, service, .. } = &view.span;
    for (kind, map) in [(TraitKind::Attribute, attributes), (TraitKind::Resource, resource)] {
        for (key, value) in map {
            let value = text_of(value);
            if value.len() <= VALUE_BYTES_MAX {
                traits.insert(Trait { kind, service: service.clone(), key: key.clone(), value });
            }
        }
    }
    if !status_message.is_empty() {
        let value = pattern(status_message);
        traits.insert(Trait { kind: TraitKind::Status, service: service.clone(), key: String::new(), value });
    }
    for log in view.logs.iter().filter(|log| log.severity_number >= SEVERITY_WARN) {
        let value = pattern(&body_text(log));
        traits.insert(Trait {
            kind: TraitKind::Log,
            service: log.service.clone(),
            key: String::new(),
            value,
        });
    }
}

/// Whether a trait is of a kind that can be a dimension, by its key.
fn names_a_dimension(what: &Trait) -> bool {
    const SYMPTOMS: [&str; 16] = [
        "retry",
        "retries",
        "attempt",
        "resend",
        "error",
        "status",
        "exception",
        "backoff",
        "back_off",
        "duration",
        "latency",
        "elapsed",
        "size",
        "bytes",
        "timeout",
        "throttl",
    ];
    let key = what.key.to_ascii_lowercase();
    matches!(what.kind, TraitKind::Attribute | TraitKind::Resource)
        && !SYMPTOMS.iter().any(|s| key.contains(s))
}

/// The differences between slow and quiet traces, the widest gap first; dimensions before symptoms of equal gap.
pub fn differences<'a>(slow: &'a [Traits], quiet: &'a [Traits]) -> Vec<Difference> {
    let mut counts: BTreeMap<&Trait, (usize, usize)> = BTreeMap::new();
    for one in slow.iter().flatten() {
        counts.entry(one).or_default().0 += 1;
    }
    for one in quiet.iter().flatten() {
        counts.entry(one).or_default().1 += 1;
    }
    let place = |what: &'a Trait| (what.kind, what.service.as_str(), what.key.as_str());
    let mut keys_in_quiet: BTreeMap<(TraitKind, &str, &str), usize> = BTreeMap::new();
    for one in quiet {
        let keys: BTreeSet<(TraitKind, &str, &str)> = one.iter().map(place).collect();
        keys.into_iter().for_each(|key| *keys_in_quiet.entry(key).or_default() += 1);
    }
    let is_usual = |what: &'a Trait| {
        let with_key = keys_in_quiet.get(&place(what)).copied().unwrap_or(0);
        with_key * 2 >= quiet.len()
    };
    let mut found: Vec<Difference> = counts
        .into_iter()
        .map(|(what, (in_slow, in_quiet))| Difference {
            what: what.clone(),
            slow: in_slow,
            slow_total: slow.len(),
            quiet: in_quiet,
            quiet_total: quiet.len(),
            is_dimension: names_a_dimension(what) && is_usual(what),
        })
        .filter(|d| d.slow >= 2 && d.slow_share() - d.quiet_share() >= GAP_MIN)
        .collect();
    let gap = |d: &Difference| d.slow_share() - d.quiet_share();
    found.sort_by(|a, b| gap(b).total_cmp(&gap(a)).then(b.is_dimension.cmp(&a.is_dimension)));
    // What caller and callee both show, or a span and its resource, is one difference: the widest gap stands.
    let mut seen: BTreeSet<(TraitKind, String, String)> = BTreeSet::new();
    found.retain(|d| {
        let kind = match d.what.kind {
            TraitKind::Resource => TraitKind::Attribute,
            kind => kind,
        };
        seen.insert((kind, d.what.key.clone(), d.what.value.clone()))
    });
    found.truncate(DIFFERENCES_MAX);
    found
}

/// A JSON value as text: strings bare.
pub fn text_of(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A record's body as one line of text.
pub fn body_text(log: &LogRecord) -> String {
    match &log.body {
        Json::Null => log.event_name.clone(),
        body => text_of(body),
    }
}

/// A text with its numbers and hex runs replaced, so that lines of one template are equal.
pub fn pattern(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_inclusive(|c: char| !c.is_alphanumeric()).take(40) {
        let core = word.trim_end_matches(|c: char| !c.is_alphanumeric());
        let is_hex = core.len() >= 8 && core.bytes().all(|b| b.is_ascii_hexdigit());
        if is_hex {
            out.push('#');
            out.push_str(word.get(core.len()..).unwrap_or_default());
            continue;
        }
        let mut in_number = false;
        for c in word.chars() {
            if c.is_ascii_digit() {
                if !std::mem::replace(&mut in_number, true) {
                    out.push('#');
                }
            } else {
                in_number = false;
                out.push(c);
            }
        }
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traits_of(pairs: &[(&str, &str)]) -> Traits {
        let one = |(key, value): &(&str, &str)| Trait {
            kind: TraitKind::Attribute,
            service: "a".to_owned(),
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        };
        pairs.iter().map(one).collect()
    }

    #[test]
    fn over_represented_values_are_found() {
        let slow: Vec<Traits> = (0..50)
            .map(|i| {
                traits_of(&[
                    ("partition", if i < 48 { "p7" } else { "p1" }),
                    ("id", &i.to_string()),
                    ("db", "kv"),
                ])
            })
            .collect();
        let quiet: Vec<Traits> = (0..50)
            .map(|i| traits_of(&[("partition", if i < 3 { "p7" } else { "p2" }), ("db", "kv")]))
            .collect();
        let found = differences(&slow, &quiet);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].what.value.as_str(), found[0].slow, found[0].quiet), ("p7", 48, 3));
        assert!(found[0].is_dimension);
    }

    #[test]
    fn what_several_spans_show_is_one_difference() {
        let of = |kind, service: &str| Trait {
            kind,
            service: service.to_owned(),
            key: "db.partition".to_owned(),
            value: "p07".to_owned(),
        };
        let (caller, callee) = (of(TraitKind::Attribute, "task-svc"), of(TraitKind::Attribute, "db"));
        let resource = of(TraitKind::Resource, "db");
        let slow: Vec<Traits> = (0..4)
            .map(|i| match i {
                0 => Traits::from([caller.clone()]),
                _ => Traits::from([caller.clone(), callee.clone(), resource.clone()]),
            })
            .collect();
        let found = differences(&slow, &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((&found[0].what, found[0].slow), (&caller, 4));
    }

    #[test]
    fn numbers_and_ids_leave_patterns() {
        assert_eq!(pattern("retry 12 of 30 for 4bf92f3577b34da6"), "retry # of # for #");
        assert_eq!(pattern("RetryAttempts=3 key=user-991"), "RetryAttempts=# key=user-#");
    }
}
