//! The section `throughline.sampling`: which traces stay. Policies are written as those of the Collector's `tail_sampling`
//! processor; `production` is a list that is shipped.

use std::time::Duration;

use throughline_sampling::ottl::{Condition, Context};
use throughline_sampling::policy::{DEFAULT_HASH_SALT, DEPTH_MAX, Texts};
use throughline_sampling::{Kind, Policy, production};
use throughline_store::Sampling;

use super::section::{Problem, Section, closest};
use super::tree::{Node, Value};

/// The share of what nothing else keeps, where `production` is not told another.
const PRODUCTION_PERCENT: f64 = 10.0;

/// The types of policies: the Collector's, then ours.
const TYPES: [&str; 23] = [
    "always_sample",
    "latency",
    "numeric_attribute",
    "probabilistic",
    "status_code",
    "string_attribute",
    "boolean_attribute",
    "trace_state",
    "trace_flags",
    "rate_limiting",
    "bytes_limiting",
    "span_count",
    "ottl_condition",
    "and",
    "not",
    "drop",
    "composite",
    "error_log",
    "exemplar",
    "firing_alert",
    "slow_for_route",
    "pin",
    "span_link",
];

/// Keys of the processor that are about holding spans in memory, which is not done here.
const MEMORY_KEYS: [&str; 9] = [
    "num_traces",
    "expected_new_traces_per_sec",
    "block_on_overflow",
    "decision_cache",
    "decision_wait_after_root_received",
    "drop_pending_traces_on_shutdown",
    "maximum_trace_size_bytes",
    "tail_storage",
    "sampling_strategy",
];

/// Reads the section; nothing where it is not there or off.
pub fn read(own: &mut Section<'_>) -> Option<Sampling> {
    let node = own.take("sampling")?;
    let mut problems = Vec::new();
    let path = own.path_of("sampling");
    let line = node.line;
    let found = match node.value.scalar() {
        Some(text) => match text.as_str() {
            "production" => Some((production(PRODUCTION_PERCENT), Sampling::DELAY)),
            // YAML reads `off` as a truth value.
            "off" | "false" => None,
            other => {
                let message = format!("{other:?} is not production or off; or write a map with policies");
                own.refuse("sampling", Some(line), message);
                None
            }
        },
        None => read_map(&path, node, &mut problems),
    };
    let is_sound = problems.is_empty();
    own.extend(problems);
    let (policies, delay) = found.filter(|_| is_sound)?;
    match Sampling::new(policies, delay) {
        Ok(sampling) => Some(sampling),
        Err(error) => {
            own.refuse("sampling", Some(line), error.to_string());
            None
        }
    }
}

fn read_map(path: &str, node: Node, problems: &mut Vec<Problem>) -> Option<(Vec<Policy>, Duration)> {
    let line = node.line;
    let mut section = Section::new(path, Some(node), problems);
    let choices = [("production", true), ("policies", false)];
    let is_preset = section.choice("preset", false, &choices);
    let percent = percentage(&mut section, "percentage", PRODUCTION_PERCENT);
    // The processor's name for it is taken as well: there it counts from the first span, here from the last.
    let delay = section.duration("decision_wait", Sampling::DELAY, Duration::from_secs(1));
    let delay = section.duration("decision_delay", delay, Duration::from_secs(1));
    let items = section.list("policies");
    section.refuse_keys(|key| match key {
        "sample_on_first_match" => Some(format!(
            "{key} is not supported: every policy is asked, as the processor does without it; leave it out"
        )),
        key if MEMORY_KEYS.contains(&key) => {
            Some(format!("{key} is not needed: spans wait on the disk, not in memory"))
        }
        _ => None,
    });
    if is_preset && !items.is_empty() {
        section.refuse(
            "policies",
            Some(line),
            "preset: production has policies of its own; leave one of them out",
        );
    }
    if !is_preset && items.is_empty() {
        section.refuse("policies", Some(line), "expected policies, or preset: production");
    }
    section.finish();
    if is_preset {
        return Some((production(percent), delay));
    }
    Some((policies(&format!("{path}::policies"), items, 1, problems), delay))
}

fn policies(path: &str, items: Vec<Node>, depth: usize, problems: &mut Vec<Problem>) -> Vec<Policy> {
    let mut out = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        out.extend(policy(&format!("{path}[{index}]"), item, depth, problems));
    }
    out
}

fn policy(path: &str, node: Node, depth: usize, problems: &mut Vec<Problem>) -> Option<Policy> {
    let line = node.line;
    if depth > DEPTH_MAX {
        let message = format!("policies are nested more than {DEPTH_MAX} deep");
        problems.push(Problem { path: path.to_owned(), line: Some(line), message });
        return None;
    }
    let mut section = Section::new(path, Some(node), problems);
    let name = section.text("name", String::new());
    let kind = section.text("type", String::new());
    let known = TYPES.iter().find(|known| **known == kind).copied();
    let Some(known) = known else {
        let near = closest(&kind, &TYPES).map_or_else(
            || format!("there are {}", TYPES.join(", ")),
            |near| format!("did you mean {near}?"),
        );
        section.refuse("type", Some(line), format!("unknown policy type {kind:?}; {near}"));
        section.take_rest();
        section.finish();
        return None;
    };
    let node = section.take(known);
    section.finish();
    let own = format!("{path}::{known}");
    let kind = nested(known, &own, &node, depth, problems).or_else(|| {
        let mut section = Section::new(&own, node, problems);
        let kind = of_type(known, &mut section);
        section.finish();
        kind
    })?;
    Some(Policy { name, kind })
}

/// Policies that hold others.
fn nested(
    kind: &str,
    path: &str,
    node: &Option<Node>,
    depth: usize,
    problems: &mut Vec<Problem>,
) -> Option<Kind> {
    let key: &'static str = match kind {
        "and" => "and_sub_policy",
        "not" => "not_sub_policy",
        "drop" => "drop_sub_policy",
        "composite" => "composite_sub_policy",
        _ => return None,
    };
    let mut section = Section::new(path, node.clone(), problems);
    let line = node.as_ref().map(|node| node.line);
    let items = match section.take(key) {
        Some(Node { value: Value::List(items), .. }) => items,
        Some(one) => vec![one],
        None => Vec::new(),
    };
    let max_total = match kind {
        "composite" => section.number("max_total_spans_per_second", 0, 0..=u64::MAX),
        _ => 0,
    };
    let shares = if kind == "composite" {
        // The processor reads this and goes by the order of the list.
        section.texts("policy_order");
        section.list("rate_allocation")
    } else {
        Vec::new()
    };
    if items.is_empty() || (kind == "not" && items.len() != 1) {
        section.refuse(key, line, if kind == "not" { "expected one policy" } else { "expected policies" });
    }
    section.finish();
    let own = format!("{path}::{key}");
    let mut parts = policies(&own, items, depth + 1, problems);
    Some(match kind {
        "and" => Kind::And(parts),
        "drop" => Kind::Drop(parts),
        "not" => Kind::Not(Box::new(parts.pop()?)),
        _ => {
            let shares = allocation(path, shares, parts.len(), max_total, problems);
            let share = |policy: &Policy| shares.iter().find(|(name, _)| *name == policy.name);
            let of = |policy: Policy| {
                // As in the processor: a policy without a share never keeps anything.
                let share = share(&policy).map_or(0, |(_, share)| *share);
                (policy, share)
            };
            Kind::Composite {
                max_total_spans_per_second: max_total,
                parts: parts.into_iter().map(of).collect(),
            }
        }
    })
}

/// The share of each policy in spans a second.
fn allocation(
    path: &str,
    items: Vec<Node>,
    n_parts: usize,
    max_total: u64,
    problems: &mut Vec<Problem>,
) -> Vec<(String, u64)> {
    let mut out = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let mut section = Section::new(&format!("{path}::rate_allocation[{index}]"), Some(item), problems);
        let policy = section.text("policy", String::new());
        let percent = section.number("percent", 0, 0..=100);
        section.finish();
        // 0 is an equal share.
        let share = match percent {
            0 => max_total / n_parts.max(1) as u64,
            percent => max_total.saturating_mul(percent) / 100,
        };
        out.push((policy, share));
    }
    out
}

fn of_type(kind: &'static str, section: &mut Section<'_>) -> Option<Kind> {
    Some(match kind {
        "always_sample" => Kind::AlwaysSample,
        "latency" => Kind::Latency {
            threshold_ms: section.number("threshold_ms", 0, 0..=u64::MAX),
            upper_threshold_ms: section.number("upper_threshold_ms", 0, 0..=u64::MAX),
        },
        "numeric_attribute" => Kind::NumericAttribute {
            key: section.text("key", String::new()),
            min_value: integer(section, "min_value"),
            max_value: integer(section, "max_value"),
            invert_match: section.flag("invert_match", false),
        },
        "probabilistic" => {
            let salt = section.text("hash_salt", String::new());
            Kind::Probabilistic {
                hash_salt: if salt.is_empty() { DEFAULT_HASH_SALT.to_owned() } else { salt },
                sampling_percentage: percentage(section, "sampling_percentage", 0.0),
            }
        }
        "status_code" => Kind::StatusCode { status_codes: status_codes(section) },
        "string_attribute" => return string_attribute(section),
        "boolean_attribute" => Kind::BooleanAttribute {
            key: section.text("key", String::new()),
            value: section.flag("value", false),
            invert_match: section.flag("invert_match", false),
        },
        "trace_state" => {
            Kind::TraceState { key: section.text("key", String::new()), values: section.texts("values") }
        }
        "trace_flags" => Kind::TraceFlags,
        "rate_limiting" => Kind::RateLimiting {
            spans_per_second: section.number("spans_per_second", 0, 0..=u64::MAX),
            burst_capacity: section.number("burst_capacity", 0, 0..=u64::MAX),
        },
        "bytes_limiting" => Kind::BytesLimiting {
            bytes_per_second: section.number("bytes_per_second", 0, 0..=u64::MAX),
            burst_capacity: section.number("burst_capacity", 0, 0..=u64::MAX),
        },
        "span_count" => Kind::SpanCount {
            min_spans: section.number("min_spans", 0, 0..=u64::MAX),
            max_spans: section.number("max_spans", 0, 0..=u64::MAX),
        },
        "ottl_condition" => {
            // Conditions are checked when they are read; evaluating them has no errors left.
            section.choice("error_mode", (), &[("ignore", ()), ("silent", ()), ("propagate", ())]);
            Kind::OttlCondition {
                span: conditions(section, "span", Context::Span),
                span_event: conditions(section, "spanevent", Context::SpanEvent),
            }
        }
        "error_log" => Kind::ErrorLog,
        "exemplar" => Kind::Exemplar,
        "firing_alert" => Kind::FiringAlert,
        "slow_for_route" => Kind::SlowForRoute {
            quantile: section.scalar("quantile", 0.99, |text| {
                text.parse::<f64>().map_err(|_| format!("{text:?} is not a number"))
            }),
            min_traces: section.number("min_traces", 20, 0..=1_000_000),
        },
        "pin" => Kind::Pin,
        "span_link" => Kind::SpanLink,
        _ => return None,
    })
}

fn integer(section: &mut Section<'_>, key: &'static str) -> i64 {
    section.scalar(key, 0, |text| text.parse().map_err(|_| format!("{text:?} is not a whole number")))
}

fn percentage(section: &mut Section<'_>, key: &'static str, default: f64) -> f64 {
    section.scalar(key, default, |text| match text.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err(format!("{text:?} is not a percentage: write a number from 0 to 100")),
    })
}

fn status_codes(section: &mut Section<'_>) -> Vec<u8> {
    let mut codes = Vec::new();
    for name in section.texts("status_codes") {
        match name.as_str() {
            "UNSET" => codes.push(0),
            "OK" => codes.push(1),
            "ERROR" => codes.push(2),
            other => section.refuse("status_codes", None, format!("{other:?} is not OK, ERROR or UNSET")),
        }
    }
    codes
}

fn string_attribute(section: &mut Section<'_>) -> Option<Kind> {
    let key = section.text("key", String::new());
    let values = section.texts("values");
    let is_pattern = section.flag("enabled_regex_matching", false);
    // Patterns are compiled once here: nothing is looked up.
    section.number("cache_max_size", 128, 0..=u64::MAX);
    let invert_match = section.flag("invert_match", false);
    if values.is_empty() {
        section.refuse("values", None, "expected at least one value");
    }
    if !is_pattern {
        return Some(Kind::StringAttribute { key, values: Texts::Exact(values), invert_match });
    }
    match Texts::patterns(&values) {
        Ok(values) => Some(Kind::StringAttribute { key, values, invert_match }),
        Err(message) => {
            section.refuse("values", None, message);
            None
        }
    }
}

fn conditions(section: &mut Section<'_>, key: &'static str, context: Context) -> Vec<Condition> {
    let mut out = Vec::new();
    for text in section.texts(key) {
        match Condition::parse(&text, context) {
            Ok(condition) => out.push(condition),
            Err(error) => section.refuse(key, None, format!("{text:?} {error}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    fn problems(yaml: &str) -> Vec<String> {
        let found = parse(yaml, &|_| None).expect_err("problems");
        found.iter().map(ToString::to_string).collect()
    }

    /// The example of the processor's own page, with each of its policies.
    const EVERY_TYPE: &str = r#"
throughline:
  sampling:
    decision_wait: 30s
    policies:
      - {name: p1, type: always_sample}
      - {name: p2, type: latency, latency: {threshold_ms: 5000, upper_threshold_ms: 10000}}
      - {name: p3, type: numeric_attribute, numeric_attribute: {key: key1, min_value: 50, max_value: 100}}
      - {name: p4, type: probabilistic, probabilistic: {sampling_percentage: 10}}
      - {name: p5, type: status_code, status_code: {status_codes: [ERROR, UNSET]}}
      - {name: p6, type: string_attribute, string_attribute: {key: key2, values: [value1, value2]}}
      - name: p7
        type: string_attribute
        string_attribute: {key: key2, values: [value1, val*], enabled_regex_matching: true, cache_max_size: 10}
      - {name: p8, type: rate_limiting, rate_limiting: {spans_per_second: 35}}
      - {name: p9, type: bytes_limiting, bytes_limiting: {bytes_per_second: 1024, burst_capacity: 4096}}
      - name: p10
        type: string_attribute
        string_attribute: {key: http.url, values: [\/health], enabled_regex_matching: true, invert_match: true}
      - {name: p11, type: span_count, span_count: {min_spans: 2, max_spans: 20}}
      - {name: p12, type: trace_state, trace_state: {key: key3, values: [value1, value2]}}
      - {name: p13, type: boolean_attribute, boolean_attribute: {key: key4, value: true}}
      - {name: p14, type: trace_flags}
      - name: p15
        type: ottl_condition
        ottl_condition:
          error_mode: ignore
          span: ['attributes["test_attr_key_1"] == "test_attr_val_1"', 'attributes["k"] != "v"']
          spanevent: ['name != "test_span_event_name"']
      - name: p16
        type: and
        and:
          and_sub_policy:
            - {name: a, type: numeric_attribute, numeric_attribute: {key: key1, min_value: 50, max_value: 100}}
            - name: b
              type: not
              not: {not_sub_policy: {name: c, type: string_attribute, string_attribute: {key: k, values: [v]}}}
      - name: p17
        type: drop
        drop:
          drop_sub_policy:
            - {name: d, type: string_attribute, string_attribute: {key: url.path, values: [\/health], enabled_regex_matching: true}}
      - name: p18
        type: composite
        composite:
          max_total_spans_per_second: 1000
          policy_order: [e, f, g]
          composite_sub_policy:
            - {name: e, type: numeric_attribute, numeric_attribute: {key: key1, min_value: 50}}
            - {name: f, type: string_attribute, string_attribute: {key: key2, values: [value1]}}
            - {name: g, type: always_sample}
          rate_allocation:
            - {policy: e, percent: 50}
            - {policy: f, percent: 25}
      - {name: p19, type: error_log}
      - {name: p20, type: exemplar}
      - {name: p21, type: firing_alert}
      - {name: p22, type: slow_for_route, slow_for_route: {quantile: 0.95, min_traces: 5}}
      - {name: p23, type: pin}
      - {name: p24, type: span_link}
"#;

    #[test]
    fn every_type_of_the_processor_is_read() {
        let config = parse(EVERY_TYPE, &|_| None).unwrap_or_else(|problems| panic!("{problems:?}"));
        let sampling = config.retention.sampling.expect("sampling");
        let text = format!("{sampling:?}");
        for name in 1..=24 {
            assert!(text.contains(&format!("\"p{name}\"")), "p{name}");
        }
        assert!(text.contains("delay_ns: 30000000000"), "{text}");
    }

    #[test]
    fn production_is_a_word_or_a_preset() {
        let of = |yaml: &str| {
            let config = parse(yaml, &|_| None).unwrap_or_else(|problems| panic!("{problems:?}"));
            config.retention.sampling.map(|sampling| format!("{sampling:?}"))
        };
        let word = of("throughline: {sampling: production}").expect("sampling");
        assert!(
            word.contains("sampling_percentage: 10.0") && word.contains("delay_ns: 300000000000"),
            "{word}"
        );
        let map = of("throughline: {sampling: {preset: production, percentage: 1.5, decision_delay: 10s}}");
        let map = map.expect("sampling");
        assert!(map.contains("sampling_percentage: 1.5") && map.contains("delay_ns: 10000000000"), "{map}");
        assert_eq!(of("throughline: {sampling: off}"), None);
        assert_eq!(of("throughline: {durability: fsync}"), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let of_policy =
            |policy: &str| problems(&format!("throughline: {{sampling: {{policies: [{policy}]}}}}"));
        let cases = [
            ("{name: a, type: latncy}", "did you mean latency?"),
            ("{name: a, type: latency, latency: {threshold: 1}}", "did you mean threshold_ms?"),
            ("{name: a, type: latency, probabilistic: {}}", "invalid keys: probabilistic"),
            ("{name: a, type: status_code, status_code: {status_codes: [BAD]}}", "is not OK, ERROR or UNSET"),
            ("{name: a, type: probabilistic, probabilistic: {sampling_percentage: 200}}", "not a percentage"),
            (
                "{name: a, type: ottl_condition, ottl_condition: {span: [Now() > 1]}}",
                "the function Now is not supported",
            ),
            (
                "{name: a, type: string_attribute, string_attribute: {key: k, values: ['('], enabled_regex_matching: true}}",
                "is no pattern",
            ),
            (
                "{name: a, type: numeric_attribute, numeric_attribute: {key: k}}",
                "min_value or max_value must be set",
            ),
            ("{name: a, type: and}", "expected policies"),
        ];
        for (policy, expected) in cases {
            let found = of_policy(policy).join("\n");
            assert!(found.contains(expected), "{policy}: {found}");
        }
        let memory = problems(
            "throughline: {sampling: {num_traces: 100, policies: [{name: a, type: always_sample}]}}",
        );
        assert!(memory[0].contains("num_traces is not needed"), "{memory:?}");
        let twice =
            problems("throughline: {sampling: {policies: [{name: a, type: pin}, {name: a, type: pin}]}}");
        assert!(twice[0].contains("its name is that of another policy"), "{twice:?}");
        assert!(problems("throughline: {sampling: half}")[0].contains("production or off"));
    }
}
