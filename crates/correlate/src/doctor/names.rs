//! Names: one service under several, and names and attributes with too many values.

use std::collections::{BTreeMap, BTreeSet};

use throughline_store::{ServiceSummary, TraceQuery};

use super::evidence::{Evidence, is_nameless};
use super::{Draft, EXAMPLES_MAX, Example, Level, Outcome, Rule};
use crate::command::{quoted, range_options};

/// Words that are put before or after a name and do not make it another one.
const AFFIXES: [&str; 14] = [
    "service",
    "svc",
    "server",
    "app",
    "api",
    "srv",
    "prod",
    "production",
    "staging",
    "stage",
    "dev",
    "test",
    "k8s",
    "deployment",
];
/// Names of spans of one service from which on they are looked at.
const SPAN_NAMES_MANY: usize = 100;
/// Names of spans that are too many whatever they look like.
const SPAN_NAMES_MAX: usize = 500;
/// Values of one attribute in one metric of one service.
const VALUES_MANY: usize = 100;
/// Values that are too many whatever they look like.
const VALUES_MAX: usize = 500;
/// So many are grave.
const VALUES_GRAVE: usize = 1_000;
/// Labels that have many values for good reason.
const WIDE_LABELS: [&str; 7] =
    ["le", "quantile", "instance", "pod", "k8s.pod.name", "service.instance.id", "uid"];
/// A record whose span has another service counts from so many on: one may be a collector's own.
const DISAGREEING_MIN: u64 = 1;

pub(super) const SEVERAL_NAMES: Rule = Rule {
    id: "TL301",
    name: "service-several-names",
    what: "services whose names differ in case, dashes, or what stands before or after them",
    check: several_names,
};
pub(super) const SIGNALS_DISAGREE: Rule = Rule {
    id: "TL302",
    name: "service-name-disagrees",
    what: "log records whose own span belongs to a service of another name",
    check: signals_disagree,
};
pub(super) const SPAN_NAMES: Rule = Rule {
    id: "TL303",
    name: "span-name-cardinality",
    what: "services whose span names carry values",
    check: span_names,
};
pub(super) const ATTRIBUTES: Rule = Rule {
    id: "TL304",
    name: "metric-attribute-cardinality",
    what: "attributes of metrics with too many values",
    check: attributes,
};

/// What is left of a name without case, separators and affixes; the first says whether anything but spelling was taken off.
pub(super) fn stem(name: &str) -> (String, String) {
    let name = name.rsplit('/').next().unwrap_or(name).to_lowercase();
    let words: Vec<&str> =
        name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let spelling = words.concat();
    let mut kept: Vec<&str> = words.iter().copied().filter(|word| !AFFIXES.contains(word)).collect();
    if kept.is_empty() {
        kept = words;
    }
    let mut stem = kept.concat();
    // `cartservice` as well as `cart-service`: the affix is written on to the name.
    for affix in ["service", "svc", "server"] {
        if let Some(rest) = stem.strip_suffix(affix)
            && rest.len() >= 3
        {
            stem = rest.to_owned();
            break;
        }
    }
    (spelling, stem)
}

fn several_names(evidence: &Evidence<'_>) -> Outcome {
    let named: Vec<_> =
        evidence.all_services.iter().filter(|service| !is_nameless(&service.service)).collect();
    let total = named.len() as u64;
    let mut outcome = Outcome::of(total, total, "services");
    let mut groups: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for service in named {
        groups.entry(stem(&service.service).1).or_default().push(service);
    }
    let asked = evidence.request.service.as_deref();
    for group in groups.into_values().filter(|group| group.len() > 1) {
        if asked.is_some_and(|asked| group.iter().all(|service| service.service != asked)) {
            continue;
        }
        let spellings: BTreeSet<String> = group.iter().map(|service| stem(&service.service).0).collect();
        let is_spelling = spellings.len() == 1;
        if !is_spelling && !may_be_one(evidence, &group) {
            continue;
        }
        let names: Vec<&str> = group.iter().map(|service| service.service.as_str()).collect();
        let signals = |service: &ServiceSummary| {
            format!(
                "{}: {} spans, {} log records, {} series",
                service.service, service.span_count, service.log_count, service.series_count
            )
        };
        outcome.findings.push(Draft {
            level: if is_spelling { Level::Warning } else { Level::Note },
            service: names.first().copied().unwrap_or_default().to_owned(),
            count: names.len() as u64,
            total,
            message: format!("{} may be one service", names.join(", ")),
            cause: match is_spelling {
                true => "the names differ in case or separators only: each signal or deployment sets its own".to_owned(),
                false => "the names differ in what stands before or after them only; if they are two services, this is fine"
                    .to_owned(),
            },
            fix: "give all signals of a service one service.name (OTEL_SERVICE_NAME in its environment); for log files and \
                  scraped metrics set it where they are collected (resource, job_name)"
                .to_owned(),
            query: format!("throughline services {}", range_options(evidence.request.range)),
            examples: group.iter().take(EXAMPLES_MAX).map(|service| Example::text(signals(service))).collect(),
        });
    }
    outcome
}

/// Whether services with different names may be one: one name has no signal that another has, and none calls another. Two names
/// that both send spans are two deployments, or two services.
fn may_be_one(evidence: &Evidence<'_>, group: &[&ServiceSummary]) -> bool {
    let signals = |of: &ServiceSummary| {
        // Of what sends spans there are series that this store derived.
        [of.span_count > 0, of.log_count > 0, of.series_count > 0 && of.span_count == 0]
    };
    let is_of = |name: &str| group.iter().any(|of| of.service == name);
    let calls_another =
        evidence.traces.clocks.keys().any(|pair| is_of(&pair.caller.0) && is_of(&pair.callee.0));
    let complete_each_other = group.iter().enumerate().any(|(at, a)| {
        let others = group.iter().skip(at + 1);
        others.into_iter().any(|b| signals(a).iter().zip(signals(b)).all(|(a, b)| !(*a && b)))
    });
    complete_each_other && !calls_another
}

fn signals_disagree(evidence: &Evidence<'_>) -> Outcome {
    let total = evidence.traces.logs_on_spans;
    let mut outcome = Outcome::of(total, total, "log records of sampled traces that name a span");
    for ((of_log, of_span), tally) in &evidence.traces.disagreeing {
        if tally.count < DISAGREEING_MIN {
            continue;
        }
        let query = tally.cases.first().map_or_else(String::new, |case| {
            format!("throughline trace {} --span {}", case.trace_id, case.span_id)
        });
        outcome.findings.push(Draft {
            level: Level::Warning,
            service: of_log.clone(),
            count: tally.count,
            total,
            message: format!("{} log records of {of_log} were written within spans of {of_span}", tally.count),
            cause: format!(
                "{of_log} and {of_span} are one process by its ids: records and spans get their names from different places"
            ),
            fix: "take both from one resource: OTEL_SERVICE_NAME for the SDK, the same service.name where log files are read"
                .to_owned(),
            query,
            examples: examples(&tally.cases),
        });
    }
    outcome
}

pub(super) fn examples(cases: &[super::traces::Case]) -> Vec<Example> {
    let cases = cases.iter().take(EXAMPLES_MAX);
    cases
        .map(|case| Example {
            time: Some(case.time),
            trace_id: Some(case.trace_id),
            span_id: Some(case.span_id),
            text: case.text.clone(),
        })
        .collect()
}

/// A name with a hole for each part that looks like a value.
pub(super) fn template(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut part = String::new();
    let end = |part: &mut String, out: &mut String| {
        out.push_str(if is_value(part) { "{id}" } else { part });
        part.clear();
    };
    for character in name.chars() {
        if matches!(character, '/' | ' ' | '?' | '=' | '&' | ',' | ':' | '(' | ')' | '\'' | '"') {
            end(&mut part, &mut out);
            out.push(character);
        } else {
            part.push(character);
        }
    }
    end(&mut part, &mut out);
    out
}

/// Whether a part of a name is a number, an id, or has as many digits as only those have.
fn is_value(part: &str) -> bool {
    let digits = part.bytes().filter(u8::is_ascii_digit).count();
    let is_version = part.len() <= 3 && part.starts_with('v');
    !is_version && digits > 0 && (digits * 3 >= part.len() || digits >= 4)
}

fn span_names(evidence: &Evidence<'_>) -> Outcome {
    let looked_at: u64 = evidence.services.iter().map(|service| service.operations.len() as u64).sum();
    let mut outcome = Outcome::of(looked_at, looked_at, "span names");
    for service in &evidence.services {
        let names = service.operations.len();
        if names < SPAN_NAMES_MANY {
            continue;
        }
        let mut templates: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for name in &service.operations {
            templates.entry(template(name)).or_default().push(name);
        }
        let mut widest: Vec<(&String, &Vec<&str>)> =
            templates.iter().filter(|(_, names)| names.len() > 1).collect();
        widest.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
        let is_templated = templates.len() * 2 <= names;
        if !is_templated && names < SPAN_NAMES_MAX {
            continue;
        }
        let proposal = widest.first().map(|(template, _)| template.as_str());
        outcome.findings.push(Draft {
            level: Level::Warning,
            service: service.service.clone(),
            count: names as u64,
            total: service.span_count,
            message: format!(
                "{} has at least {names} span names in {} spans; {} without their values",
                service.service,
                service.span_count,
                templates.len()
            ),
            cause: "ids, paths or statements are part of the name: nothing groups by it, and every metric derived from spans \
                    has as many series"
                .to_owned(),
            fix: match proposal {
                Some(template) => format!(
                    "name spans by their route, such as {template:?} (http.route in the server's instrumentation, db.query.summary \
                     for statements), and put the value into an attribute"
                ),
                None => "name spans by what they do, and put values into attributes".to_owned(),
            },
            query: format!(
                "throughline traces --service {} {}",
                quoted(&service.service),
                range_options(evidence.request.range)
            ),
            examples: name_examples(evidence, &service.service, &widest),
        });
    }
    outcome
}

fn name_examples(evidence: &Evidence<'_>, service: &str, widest: &[(&String, &Vec<&str>)]) -> Vec<Example> {
    let example = |(template, names): &(&String, &Vec<&str>)| {
        let name = names.first().copied().unwrap_or_default();
        let found = evidence.snapshot.search_traces(&TraceQuery {
            range: evidence.request.range,
            service: Some(service.to_owned()),
            operation: Some(name.to_owned()),
            min_duration_ns: None,
            max_duration_ns: None,
            error: None,
            limit: 1,
        });
        let trace_id = found.ok().and_then(|found| found.items.first().map(|trace| trace.trace_id));
        let text = format!("{} names like {template:?}, such as {name:?}", names.len());
        Example { trace_id, text, ..Example::default() }
    };
    widest.iter().take(EXAMPLES_MAX).map(example).collect()
}

/// A metric, one of its attributes, and the values that this has.
type Wide<'a> = (&'a str, &'a str, BTreeSet<String>);

fn attributes(evidence: &Evidence<'_>) -> Outcome {
    let total = evidence.series.len() as u64;
    let mut outcome = Outcome::of(total, total, "series");
    let mut values: BTreeMap<(&str, &str, &str), BTreeSet<String>> = BTreeMap::new();
    for series in &evidence.series {
        // What was derived here has the names of operations: that is the rule before this one.
        if series.metric.starts_with("traces_s") {
            continue;
        }
        for (key, value) in &series.attributes {
            if !WIDE_LABELS.contains(&key.as_str()) {
                let key = (series.service.as_str(), series.metric.as_str(), key.as_str());
                values.entry(key).or_default().insert(crate::contrast::text_of(value));
            }
        }
    }
    let mut services: BTreeMap<&str, Vec<Wide<'_>>> = BTreeMap::new();
    for ((service, metric, key), values) in values {
        let is_of_values = || {
            let templates: BTreeSet<String> = values.iter().map(|value| template(value)).collect();
            templates.len() * 2 <= values.len()
        };
        // A hundred routes, queues or tables are as many names.
        if values.len() >= VALUES_MAX || (values.len() >= VALUES_MANY && is_of_values()) {
            services.entry(service).or_default().push((metric, key, values));
        }
    }
    for (service, mut wide) in services {
        wide.sort_by_key(|(metric, key, values)| (std::cmp::Reverse(values.len()), *metric, *key));
        let Some((metric, key, values)) = wide.first() else { continue };
        let n_values = values.len();
        outcome.findings.push(Draft {
            level: if n_values >= VALUES_GRAVE { Level::Error } else { Level::Warning },
            service: service.to_owned(),
            count: n_values as u64,
            total: evidence.series.iter().filter(|series| series.service == service).count() as u64,
            message: format!("{key} of {metric} has {n_values} values in series of {service}"),
            cause: "a value of each request or user is an attribute of a metric: each makes a series of its own".to_owned(),
            fix: format!(
                "drop it with a view (OTEL SDK: a View with attribute keys without {key}; Collector: the transform processor's \
                 delete_key(attributes, \"{key}\")), or write its template ({:?}); exemplars keep the value",
                template(values.first().map_or("", String::as_str))
            ),
            query: format!(
                "throughline series --metric {} --service {} {}",
                quoted(metric),
                quoted(service),
                range_options(evidence.request.range)
            ),
            examples: wide
                .iter()
                .take(EXAMPLES_MAX)
                .map(|(metric, key, values)| {
                    let some: Vec<&str> = values.iter().take(3).map(String::as_str).collect();
                    Example::text(format!("{key} of {metric}: {} values, such as {}", values.len(), some.join(", ")))
                })
                .collect(),
        });
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_service_have_one_stem() {
        for name in [
            "cart",
            "Cart",
            "cart-service",
            "cart_svc",
            "shop/cart",
            "cartservice",
            "prod-cart",
            "CartService",
        ] {
            assert_eq!(stem(name).1, "cart", "{name}");
        }
        assert_eq!(stem("task-svc").0, stem("Task_SVC").0);
        assert_ne!(stem("cart").1, stem("cart2").1);
        assert_ne!(stem("order").1, stem("orders-db").1);
        assert_eq!(stem("api").1, "api", "an affix alone is a name");
    }

    #[test]
    fn values_become_holes() {
        assert_eq!(template("GET /user/12345/cart"), "GET /user/{id}/cart");
        assert_eq!(template("GET /api/v1/tasks"), "GET /api/v1/tasks");
        assert_eq!(template("GET /o/3f2a9c1e-77b3-4da6-a3ce-929d0e0e4736"), "GET /o/{id}");
        assert_eq!(template("SELECT * FROM t WHERE id=77"), "SELECT * FROM t WHERE id={id}");
        assert_eq!(template("oauth2 token"), "oauth2 token");
    }
}
