//! Policies: what a trace must be like to stay.
//!
//! Names, keys and meaning are those of the Collector's `tail_sampling` processor (opentelemetry-collector-contrib
//! v0.155), with its quirks where a configuration may rely on them; each is named at its policy.

use regex::{Regex, RegexBuilder};

use crate::ottl::Condition;

/// What is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy {policy:?}: {detail}")]
pub struct PolicyError {
    /// The policy's name.
    pub policy: String,
    /// What, and what would be right.
    pub detail: String,
}

/// A policy and its name, which decisions carry.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The name.
    pub name: String,
    /// What it looks at.
    pub kind: Kind,
}

/// What a policy looks at.
#[derive(Clone, Debug)]
pub enum Kind {
    /// `always_sample`.
    AlwaysSample,
    /// `latency`: the trace lasts at least so long; with an upper bound longer than the one and at most the other.
    Latency {
        /// Milliseconds.
        threshold_ms: u64,
        /// Milliseconds; 0 is no bound.
        upper_threshold_ms: u64,
    },
    /// `numeric_attribute`: an attribute of a resource or span is an integer within bounds. What is no integer reads as 0.
    NumericAttribute {
        /// The attribute.
        key: String,
        /// The least; 0 is no bound.
        min_value: i64,
        /// The greatest; 0 is no bound.
        max_value: i64,
        /// Nothing may match instead.
        invert_match: bool,
    },
    /// `probabilistic`: a share of all traces, chosen by a hash of the id.
    Probabilistic {
        /// Tells the choice of one policy from another's.
        hash_salt: String,
        /// 0 to 100.
        sampling_percentage: f64,
    },
    /// `status_code`: a span has one of these codes; 0 unset, 1 ok, 2 error.
    StatusCode {
        /// The codes.
        status_codes: Vec<u8>,
    },
    /// `string_attribute`: an attribute of a resource or span is one of some texts. An empty attribute of a span never is.
    StringAttribute {
        /// The attribute.
        key: String,
        /// The texts.
        values: Texts,
        /// Nothing may match instead.
        invert_match: bool,
    },
    /// `boolean_attribute`: an attribute of a resource or span is this. What is no truth value reads as false.
    BooleanAttribute {
        /// The attribute.
        key: String,
        /// The value.
        value: bool,
        /// Nothing may match instead.
        invert_match: bool,
    },
    /// `trace_state`: a member of a span's `tracestate` is one of some texts.
    TraceState {
        /// The member.
        key: String,
        /// The texts.
        values: Vec<String>,
    },
    /// `trace_flags`: a span has W3C's sampled flag.
    TraceFlags,
    /// `rate_limiting`: so many spans a second, in whole traces. One with more spans than the burst never stays.
    RateLimiting {
        /// Spans.
        spans_per_second: u64,
        /// Spans; 0 is twice the rate.
        burst_capacity: u64,
    },
    /// `bytes_limiting`: so many bytes a second, in whole traces.
    BytesLimiting {
        /// Bytes.
        bytes_per_second: u64,
        /// Bytes; 0 is twice the rate.
        burst_capacity: u64,
    },
    /// `span_count`: the trace has so many spans.
    SpanCount {
        /// At least.
        min_spans: u64,
        /// At most; 0 is no bound.
        max_spans: u64,
    },
    /// `ottl_condition`: one of these is true of a span or a span event.
    OttlCondition {
        /// Of spans.
        span: Vec<Condition>,
        /// Of span events.
        span_event: Vec<Condition>,
    },
    /// `and`: all of these want it.
    And(Vec<Policy>),
    /// `not`: this does not want it.
    Not(Box<Policy>),
    /// `drop`: the trace goes if all of these want it, whatever any other policy says.
    Drop(Vec<Policy>),
    /// `composite`: the first that wants it decides, within its share of a rate.
    Composite {
        /// Spans a second of all of them.
        max_total_spans_per_second: u64,
        /// Policies in the order in which they are asked, each with its share in spans a second. (The Collector reads
        /// `policy_order` and does not use it: the list's order counts.)
        parts: Vec<(Policy, u64)>,
    },
    /// `error_log`: a log record of level ERROR or above refers to it. (Ours.)
    ErrorLog,
    /// `exemplar`: a stored exemplar refers to it. (Ours.)
    Exemplar,
    /// `firing_alert`: an alert was firing while it ran, of one of its services or of no service. (Ours.)
    FiringAlert,
    /// `slow_for_route`: it lasts longer than most traces with the same root service and operation. (Ours.)
    SlowForRoute {
        /// Longer than this share of them, 0 to 1.
        quantile: f64,
        /// Of a route with fewer traces every one stays: nobody knows yet what is slow there.
        min_traces: u64,
    },
    /// `pin`: somebody pinned it. (Ours.)
    Pin,
    /// `span_link`: a span of a trace that stays for a reason of its own links to it. (Ours.)
    SpanLink,
}

/// Texts to compare with.
#[derive(Clone, Debug)]
pub enum Texts {
    /// Equal to one of these.
    Exact(Vec<String>),
    /// One of these is found somewhere in the text.
    Patterns(Vec<Regex>),
}

impl Texts {
    /// Patterns that are looked for anywhere in a text.
    pub fn patterns(texts: &[String]) -> Result<Texts, String> {
        let compiled = texts.iter().map(|text| {
            let pattern = RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build();
            pattern.map_err(|error| format!("{text:?} is no pattern: {error}"))
        });
        compiled.collect::<Result<_, _>>().map(Texts::Patterns)
    }

    pub(crate) fn has(&self, text: &str) -> bool {
        match self {
            Texts::Exact(texts) => texts.iter().any(|other| other == text),
            Texts::Patterns(patterns) => patterns.iter().any(|pattern| pattern.is_match(text)),
        }
    }
}

/// What a pattern may take when it is compiled.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Policies within policies: as deep as the Collector's configuration allows (`composite` of `and` of `not`), and one more.
pub const DEPTH_MAX: usize = 4;

/// Policies in one list.
pub const POLICIES_MAX: usize = 100;

/// Looks at a list of policies as a whole and at each of them.
pub fn check(policies: &[Policy]) -> Result<(), PolicyError> {
    check_list(policies, 1, "tail_sampling")
}

fn check_list(policies: &[Policy], depth: usize, of: &str) -> Result<(), PolicyError> {
    let error = |policy: &str, detail: String| PolicyError { policy: policy.to_owned(), detail };
    if policies.is_empty() {
        return Err(error(of, "it has no policies".to_owned()));
    }
    if policies.len() > POLICIES_MAX {
        return Err(error(of, format!("{} policies are more than {POLICIES_MAX}", policies.len())));
    }
    if depth > DEPTH_MAX {
        return Err(error(of, format!("policies are nested more than {DEPTH_MAX} deep")));
    }
    for (at, policy) in policies.iter().enumerate() {
        if policy.name.is_empty() {
            return Err(error(of, "a policy has no name".to_owned()));
        }
        if policies.iter().take(at).any(|other| other.name == policy.name) {
            return Err(error(&policy.name, "its name is that of another policy".to_owned()));
        }
        check_one(policy, depth).map_err(|detail| error(&policy.name, detail))?;
        match &policy.kind {
            Kind::And(parts) | Kind::Drop(parts) => check_list(parts, depth + 1, &policy.name)?,
            Kind::Not(part) => check_list(std::slice::from_ref(part), depth + 1, &policy.name)?,
            Kind::Composite { parts, .. } => {
                let parts: Vec<Policy> = parts.iter().map(|(part, _)| part.clone()).collect();
                check_list(&parts, depth + 1, &policy.name)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_one(policy: &Policy, depth: usize) -> Result<(), String> {
    let needs_key = |key: &str| if key.is_empty() { Err("it names no key".to_owned()) } else { Ok(()) };
    match &policy.kind {
        Kind::Latency { threshold_ms, upper_threshold_ms } if *upper_threshold_ms != 0 => {
            let is_range = threshold_ms < upper_threshold_ms;
            if is_range { Ok(()) } else { Err("upper_threshold_ms must be above threshold_ms".to_owned()) }
        }
        Kind::NumericAttribute { key, min_value, max_value, .. } => {
            needs_key(key)?;
            match (*min_value, *max_value) {
                (0, 0) => Err("min_value or max_value must be set".to_owned()),
                (min, max) if max != 0 && min > max => Err(format!("{min} is above {max}")),
                _ => Ok(()),
            }
        }
        Kind::Probabilistic { sampling_percentage, .. } => {
            match (0.0..=100.0).contains(sampling_percentage) {
                true => Ok(()),
                false => Err(format!("sampling_percentage {sampling_percentage} is not between 0 and 100")),
            }
        }
        Kind::StatusCode { status_codes } if status_codes.is_empty() => {
            Err("status_codes must name OK, ERROR or UNSET".to_owned())
        }
        Kind::StringAttribute { key, .. } | Kind::BooleanAttribute { key, .. } => needs_key(key),
        Kind::TraceState { key, .. } => needs_key(key),
        Kind::SpanCount { min_spans, max_spans } if *max_spans != 0 && min_spans > max_spans => {
            Err("max_spans must not be below min_spans".to_owned())
        }
        Kind::OttlCondition { span, span_event } if span.is_empty() && span_event.is_empty() => {
            Err("it has no condition, neither span nor spanevent".to_owned())
        }
        Kind::Drop(_) if depth > 1 => Err("a drop policy stands in the outermost list alone".to_owned()),
        Kind::SlowForRoute { quantile, .. } if !(0.5..1.0).contains(quantile) => {
            Err(format!("quantile {quantile} is not between 0.5 and 1"))
        }
        Kind::RateLimiting { spans_per_second: 0, .. } | Kind::BytesLimiting { bytes_per_second: 0, .. } => {
            Err("a rate of 0 keeps nothing".to_owned())
        }
        _ => Ok(()),
    }
}

/// The shipped policies for production: all errors, in spans or in log records, all that is slow for its route, all that ran
/// while an alert of its services was firing, `percentage` of the rest, and what those traces link to. What exemplars and pins refer
/// to stays anyway.
pub fn production(percentage: f64) -> Vec<Policy> {
    let policy = |name: &str, kind| Policy { name: name.to_owned(), kind };
    vec![
        policy("errors", Kind::StatusCode { status_codes: vec![2] }),
        policy("error-logs", Kind::ErrorLog),
        policy("slow-for-route", Kind::SlowForRoute { quantile: 0.99, min_traces: 20 }),
        policy("firing-alerts", Kind::FiringAlert),
        policy("span-links", Kind::SpanLink),
        policy(
            "rest",
            Kind::Probabilistic { hash_salt: DEFAULT_HASH_SALT.to_owned(), sampling_percentage: percentage },
        ),
    ]
}

/// The Collector's salt where none is configured.
pub const DEFAULT_HASH_SALT: &str = "default-hash-seed";

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, kind: Kind) -> Policy {
        Policy { name: name.to_owned(), kind }
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let both_unset =
            Kind::NumericAttribute { key: "k".to_owned(), min_value: 0, max_value: 0, invert_match: false };
        let nested = |kind| Kind::And(vec![policy("inner", kind)]);
        let deep = nested(nested(nested(nested(Kind::AlwaysSample))));
        let cases = [
            ("min_value or max_value", vec![policy("p", both_unset)]),
            (
                "not between 0 and 100",
                vec![policy(
                    "p",
                    Kind::Probabilistic { hash_salt: String::new(), sampling_percentage: 101.0 },
                )],
            ),
            ("its name is that", vec![policy("p", Kind::AlwaysSample), policy("p", Kind::AlwaysSample)]),
            ("outermost", vec![policy("p", nested(Kind::Drop(vec![policy("q", Kind::AlwaysSample)])))]),
            ("nested more than", vec![policy("p", deep)]),
            ("no policies", vec![policy("p", Kind::And(Vec::new()))]),
            ("no policies", Vec::new()),
        ];
        for (expected, policies) in cases {
            let error = check(&policies).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(check(&production(10.0)), Ok(()));
    }
}
