//! References that lead nowhere: trace ids in log records, exemplars, and histograms without any.

use std::collections::BTreeMap;

use throughline_model::link::LinkState;
use throughline_model::point::PointKind;
use throughline_model::record::{Exemplar, Series};

use super::evidence::{Evidence, Reference};
use super::{Draft, EXAMPLES_MAX, Example, Level, Outcome, Rule};
use crate::command::{quoted, range_options};

/// Beyond this share of references that lead nowhere the way from a record to its trace is broken, not scratched.
const BROKEN_SHARE: f64 = 0.05;

pub(super) const LOG_UNRESOLVED: Rule = Rule {
    id: "TL201",
    name: "log-trace-unresolved",
    what: "trace ids in log records that lead to no span that was ever received",
    check: log_unresolved,
};
pub(super) const EXEMPLAR_MALFORMED: Rule = Rule {
    id: "TL202",
    name: "exemplar-without-id",
    what: "exemplars whose trace id is missing or cannot be read",
    check: exemplar_malformed,
};
pub(super) const EXEMPLAR_UNRESOLVED: Rule = Rule {
    id: "TL203",
    name: "exemplar-unresolved",
    what: "exemplars whose trace is not here",
    check: exemplar_unresolved,
};
pub(super) const HISTOGRAM_WITHOUT_EXEMPLARS: Rule = Rule {
    id: "TL204",
    name: "histogram-without-exemplars",
    what: "histograms of services that send spans and that have no exemplar in the window",
    check: histograms,
};

fn log_unresolved(evidence: &Evidence<'_>) -> Outcome {
    let looked_at = evidence.references.len() as u64;
    let mut outcome =
        Outcome::of(looked_at, evidence.logs.references, "traces that a service's log records refer to");
    let mut services: BTreeMap<&str, (u64, Vec<&Reference>)> = BTreeMap::new();
    for (reference, state) in &evidence.references {
        if *state == LinkState::Pending {
            continue;
        }
        let (total, lost) = services.entry(&reference.service).or_default();
        *total += 1;
        if *state == LinkState::NeverReceived {
            lost.push(reference);
        }
    }
    for (service, (total, lost)) in services.into_iter().filter(|(_, (_, lost))| !lost.is_empty()) {
        let share = lost.len() as f64 / total as f64;
        let sends_spans = evidence.sends_spans(service);
        outcome.findings.push(Draft {
            level: if share > BROKEN_SHARE { Level::Warning } else { Level::Note },
            service: service.to_owned(),
            count: lost.len() as u64,
            total,
            message: format!(
                "{} of {total} traces that records of {service} refer to were never received",
                lost.len()
            ),
            cause: match sends_spans {
                true => {
                    "the spans were lost on export, or dropped before they got here (a Collector's tail_sampling); if the \
                     records said that their trace was not sampled, they would be reported as such"
                        .to_owned()
                }
                false => format!(
                    "{service} sends no spans in this window: its spans go elsewhere, or its ids come from another system"
                ),
            },
            fix: evidence.sdk(service).flush_spans().to_owned(),
            query: links_query(evidence, service),
            examples: lost
                .iter()
                .take(EXAMPLES_MAX)
                .map(|reference| Example {
                    time: Some(reference.time),
                    trace_id: Some(reference.trace_id),
                    span_id: reference.span_id,
                    text: format!("a record of {service}{}", if reference.is_error { ", with an ERROR" } else { "" }),
                })
                .collect(),
        });
    }
    outcome
}

fn exemplar_example(exemplar: &Exemplar, text: String) -> Example {
    Example { time: Some(exemplar.time), trace_id: exemplar.trace_id, span_id: exemplar.span_id, text }
}

/// What counts the references of a service by their state.
fn links_query(evidence: &Evidence<'_>, service: &str) -> String {
    format!("throughline links --service {} {}", quoted(service), range_options(evidence.request.range))
}

fn exemplars_query(evidence: &Evidence<'_>, exemplar: Option<&Exemplar>) -> String {
    let window = range_options(evidence.request.range);
    exemplar.map_or_else(String::new, |exemplar| {
        format!("throughline exemplars --metric {} {window}", quoted(&exemplar.metric))
    })
}

fn exemplar_malformed(evidence: &Evidence<'_>) -> Outcome {
    let exemplars = &evidence.exemplars;
    let total = exemplars.counted;
    let mut outcome = Outcome::of(total, total, "exemplars");
    if exemplars.is_cut {
        evidence.note([format!("exemplars were counted up to {total}; narrow the window")]);
    }
    if exemplars.malformed_count > 0 {
        let examples = exemplars.malformed.iter().take(EXAMPLES_MAX).map(|exemplar| {
            let form = exemplar.trace_id_original.as_deref().unwrap_or_default();
            exemplar_example(exemplar, format!("{} has {form:?}", exemplar.metric))
        });
        outcome.findings.push(Draft {
            level: Level::Warning,
            service: String::new(),
            count: exemplars.malformed_count,
            total,
            message: format!("{} of {total} exemplars have a trace id that cannot be read", exemplars.malformed_count),
            cause: "the id is no trace id in any form that is in use: cut off, a placeholder, or another field's value".to_owned(),
            fix: "write the span context's trace id as 32 hex digits, zeros at its start included".to_owned(),
            query: exemplars_query(evidence, exemplars.malformed.first()),
            examples: examples.collect(),
        });
    }
    if exemplars.without_id > 0 {
        let examples = exemplars.without_id_examples.iter().take(EXAMPLES_MAX);
        outcome.findings.push(Draft {
            level: Level::Note,
            service: String::new(),
            count: exemplars.without_id,
            total,
            message: format!("{} of {total} exemplars carry no trace id", exemplars.without_id),
            cause: "the measurement was recorded where no span was current, and the filter lets such exemplars through \
                    (always_on); or a scraped exemplar names its id by another label than trace_id"
                .to_owned(),
            fix: "OTEL_METRICS_EXEMPLAR_FILTER=trace_based; of scraped exemplars the label is trace_id".to_owned(),
            query: exemplars_query(evidence, exemplars.without_id_examples.first()),
            examples: examples.map(|exemplar| exemplar_example(exemplar, exemplar.metric.clone())).collect(),
        });
    }
    outcome
}

fn exemplar_unresolved(evidence: &Evidence<'_>) -> Outcome {
    let linked = &evidence.exemplars.linked;
    let with_id =
        evidence.exemplars.counted - evidence.exemplars.malformed_count - evidence.exemplars.without_id;
    let mut outcome = Outcome::of(linked.len() as u64, with_id, "exemplars with a trace id");
    let mut groups: BTreeMap<(&str, &'static str), (u64, Vec<&Exemplar>)> = BTreeMap::new();
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for exemplar in linked {
        let Some(state) = &exemplar.link else { continue };
        if *state == LinkState::Pending {
            continue;
        }
        *totals.entry(&exemplar.service).or_default() += 1;
        if *state != LinkState::Resolved {
            let (count, examples) = groups.entry((&exemplar.service, state.name())).or_default();
            *count += 1;
            if examples.len() < EXAMPLES_MAX {
                examples.push(exemplar);
            }
        }
    }
    for ((service, state), (count, examples)) in groups {
        let total = totals.get(service).copied().unwrap_or_default();
        let (cause, fix) = why_unresolved(state);
        outcome.findings.push(Draft {
            level: if count as f64 > total as f64 * BROKEN_SHARE { Level::Warning } else { Level::Note },
            service: service.to_owned(),
            count,
            total,
            message: format!("{count} of {total} exemplars of {} lead to no trace: {state}", who(service)),
            cause: cause.to_owned(),
            fix: fix.to_owned(),
            // Those of no service, such as the service graph's, are found by their metric.
            query: match service {
                "" => exemplars_query(evidence, examples.first().copied()),
                service => links_query(evidence, service),
            },
            examples: examples
                .iter()
                .map(|exemplar| {
                    exemplar_example(exemplar, format!("{} = {}", exemplar.metric, exemplar.value))
                })
                .collect(),
        });
    }
    outcome
}

fn who(service: &str) -> &str {
    if service.is_empty() { "no service" } else { service }
}

fn why_unresolved(state: &str) -> (&'static str, &'static str) {
    match state {
        "unsampled" => (
            "the trace was not sampled by its sender and the exemplar was kept all the same",
            "OTEL_METRICS_EXEMPLAR_FILTER=trace_based keeps exemplars of sampled traces only",
        ),
        "dropped" => (
            "a sampling policy dropped the trace before the exemplar came: one that is stored by then holds its trace",
            "let throughline.sampling.decision_delay be longer than the interval in which metrics are exported \
             (OTEL_METRIC_EXPORT_INTERVAL, a scrape's scrape_interval)",
        ),
        "expired" => (
            "the trace has passed its retention, the exemplar has not",
            "raise throughline.retention.age, or look at a younger window",
        ),
        _ => (
            "no span of the trace was ever received: lost on export, or dropped on its way by a Collector's tail_sampling \
             after its span metrics had been counted",
            "count span metrics here (Throughline derives them from every stored span), or keep what exemplars refer to: \
             sample after the store, not before",
        ),
    }
}

fn histograms(evidence: &Evidence<'_>) -> Outcome {
    let mut metrics: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    for series in &evidence.series {
        if let Some(metric) = histogram_of(series)
            && evidence.sends_spans(&series.service)
        {
            let has =
                evidence.exemplars.by_metric.contains_key(&(series.service.clone(), series.metric.clone()));
            *metrics.entry((&series.service, metric)).or_default() |= has;
        }
    }
    let mut outcome = Outcome::of(metrics.len() as u64, metrics.len() as u64, "histograms");
    let mut services: BTreeMap<&str, (u64, Vec<&str>)> = BTreeMap::new();
    for ((service, metric), has) in metrics {
        let (total, without) = services.entry(service).or_default();
        *total += 1;
        if !has {
            without.push(metric);
        }
    }
    for (service, (total, without)) in services.into_iter().filter(|(_, (_, without))| !without.is_empty()) {
        let is_all = without.len() as u64 == total;
        outcome.findings.push(Draft {
            level: if is_all { Level::Warning } else { Level::Note },
            service: service.to_owned(),
            count: without.len() as u64,
            total,
            message: format!("{} of {total} histograms of {service} have no exemplar", without.len()),
            cause: "measurements were recorded where no sampled span was current, or exemplars are off in the SDK".to_owned(),
            fix: evidence.sdk(service).record_exemplars().to_owned(),
            query: format!(
                "throughline series --service {} {}",
                quoted(service),
                range_options(evidence.request.range)
            ),
            examples: without.iter().take(EXAMPLES_MAX).map(|metric| Example::text(*metric)).collect(),
        });
    }
    outcome
}

/// What histograms of these names measure belongs to no span: runtimes, hosts, and the telemetry's own way. The last two are
/// derived here.
const OUTSIDE_SPANS: [&str; 16] = [
    "jvm",
    "process",
    "go",
    "nodejs",
    "v8js",
    "cpython",
    "dotnet",
    "kestrel",
    "system",
    "container",
    "k8s",
    "otel.sdk",
    "otel_sdk",
    "otelcol",
    "traces_spanmetrics",
    "traces_service_graph",
];

/// The metric's name where the series is a histogram's, of what happens within spans.
fn histogram_of(series: &Series) -> Option<&str> {
    let metric = series.metric.as_str();
    let is_of = |of: &str| metric.strip_prefix(of).is_some_and(|rest| rest.starts_with(['.', '_']));
    if OUTSIDE_SPANS.into_iter().any(is_of) {
        return None;
    }
    match series.kind {
        PointKind::Histogram | PointKind::ExponentialHistogram | PointKind::NativeHistogram => Some(metric),
        PointKind::Sample => metric.strip_suffix("_bucket").filter(|_| series.attributes.contains_key("le")),
        PointKind::Gauge | PointKind::Sum | PointKind::Summary => None,
    }
}
