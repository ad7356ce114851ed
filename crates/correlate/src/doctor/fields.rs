//! Fields that every item needs, by service and signal: without them there is nothing to join by.

use std::collections::BTreeSet;

use throughline_model::Signal;
use throughline_model::link::form_fault;
use throughline_store::{LogQuery, ServiceSummary, TraceQuery};

use super::classify::Cause;
use super::evidence::{Evidence, is_nameless, text_of};
use super::{Draft, EXAMPLES_MAX, Example, Level, Outcome, Rule};
use crate::command::{quoted, range_options};

/// Of a service's records so many must carry a trace id: the others may well be outside of requests.
const TRACED_SHARE: f64 = 0.05;
/// Fewer records than this say little about a share.
const RECORDS_MIN: u64 = 20;
/// A service with fewer spans than this, and fewer than that share of its records, works mostly outside of spans.
const SPANS_MIN: u64 = 100;
/// Of a service's records so many may lack a level.
const UNLEVELLED_SHARE: f64 = 0.5;

pub(super) const SPAN_SERVICE: Rule = Rule {
    id: "TL001",
    name: "span-without-service",
    what: "spans whose resource has no service.name",
    check: span_service,
};
pub(super) const LOG_SERVICE: Rule = Rule {
    id: "TL002",
    name: "log-without-service",
    what: "log records without the name of a service",
    check: log_service,
};
pub(super) const METRIC_SERVICE: Rule = Rule {
    id: "TL003",
    name: "metric-without-service",
    what: "series without the name of a service",
    check: metric_service,
};
pub(super) const LOG_TRACE_ID: Rule = Rule {
    id: "TL004",
    name: "log-without-trace-id",
    what: "services that send spans and whose log records carry no trace ids",
    check: log_trace_id,
};
pub(super) const LOG_LEVEL: Rule = Rule {
    id: "TL005",
    name: "log-without-level",
    what: "services whose log records say no level",
    check: log_level,
};
pub(super) const REJECTED: Rule = Rule {
    id: "TL006",
    name: "items-rejected",
    what: "items that were received and could not be stored",
    check: rejected,
};
pub(super) const UNTRACED: Rule = Rule {
    id: "TL007",
    name: "service-without-spans",
    what: "services that log errors and send no spans",
    check: untraced,
};
pub(super) const LOG_MALFORMED_ID: Rule = Rule {
    id: "TL008",
    name: "log-trace-id-malformed",
    what: "log records of any level whose trace id cannot be read",
    check: log_malformed_id,
};

fn nameless(
    evidence: &Evidence<'_>,
    unit: &'static str,
    count: impl Fn(&ServiceSummary) -> u64,
    examples: impl Fn(&str) -> (String, Vec<Example>),
) -> Outcome {
    let total: u64 = evidence.services.iter().map(&count).sum();
    let mut outcome = Outcome::of(total, total, unit);
    for service in evidence.services.iter().filter(|service| is_nameless(&service.service)) {
        let n = count(service);
        if n == 0 {
            continue;
        }
        let (query, examples) = examples(&service.service);
        outcome.findings.push(Draft {
            level: Level::Error,
            service: service.service.clone(),
            count: n,
            total,
            message: format!("{n} of {total} {unit} name no service"),
            cause: "the resource has no service.name; the SDK then says unknown_service, and all such senders are one".to_owned(),
            fix: evidence.sdk(&service.service).set_service_name().to_owned(),
            query,
            examples,
        });
    }
    outcome
}

fn span_service(evidence: &Evidence<'_>) -> Outcome {
    nameless(
        evidence,
        "spans",
        |service| service.span_count,
        |service| {
            let query = TraceQuery {
                range: evidence.request.range,
                service: Some(service.to_owned()),
                operation: None,
                min_duration_ns: None,
                max_duration_ns: None,
                error: None,
                limit: EXAMPLES_MAX,
            };
            let found = evidence.snapshot.search_traces(&query).map(|found| found.items).unwrap_or_default();
            let examples = found.into_iter().map(|trace| Example {
                time: Some(trace.start_time),
                trace_id: Some(trace.trace_id),
                span_id: None,
                text: format!("{} {}", trace.root_service, trace.root_name),
            });
            let window = range_options(evidence.request.range);
            (format!("throughline traces --service {} {window}", quoted(service)), examples.collect())
        },
    )
}

fn log_service(evidence: &Evidence<'_>) -> Outcome {
    nameless(
        evidence,
        "log records",
        |service| service.log_count,
        |service| {
            let found = newest_logs(evidence, service);
            let window = range_options(evidence.request.range);
            (format!("throughline logs --service {} {window}", quoted(service)), found)
        },
    )
}

fn newest_logs(evidence: &Evidence<'_>, service: &str) -> Vec<Example> {
    let query = LogQuery {
        range: evidence.request.range,
        service: Some(service.to_owned()),
        min_severity: 0,
        pattern: None,
        contains: None,
        limit: EXAMPLES_MAX,
    };
    let found = evidence.snapshot.search_logs(&query).map(|found| found.items).unwrap_or_default();
    let examples = found.into_iter().map(|log| Example {
        time: Some(log.time),
        trace_id: log.trace_id,
        span_id: log.span_id,
        text: text_of(&log),
    });
    examples.collect()
}

fn metric_service(evidence: &Evidence<'_>) -> Outcome {
    // Edges of the service graph are between two services, and have the names of both.
    let is_edge = |metric: &str| metric.starts_with("traces_service_graph_");
    let series: Vec<_> = evidence.series.iter().filter(|series| !is_edge(&series.metric)).collect();
    let total = series.len() as u64;
    let mut outcome = Outcome::of(total, total, "series");
    let bare: Vec<_> = series.into_iter().filter(|series| is_nameless(&series.service)).collect();
    if bare.is_empty() {
        return outcome;
    }
    let mut metrics: Vec<&str> = bare.iter().map(|series| series.metric.as_str()).collect();
    metrics.sort_unstable();
    metrics.dedup();
    let is_scraped = bare.iter().all(|series| series.kind.is_prometheus());
    outcome.findings.push(Draft {
        level: Level::Warning,
        service: String::new(),
        count: bare.len() as u64,
        total,
        message: format!("{} of {total} series, of {} metrics, name no service", bare.len(), metrics.len()),
        cause: match is_scraped {
            true => "they have none of the labels service_name, service and job".to_owned(),
            false => "their resource has no service.name, or they have none of the labels service_name, service and job".to_owned(),
        },
        fix: match is_scraped {
            true => {
                "give the scrape job a job_name, or the remote write sender a label service_name (write_relabel_configs)"
                    .to_owned()
            }
            false => evidence.sdk("").set_service_name().to_owned(),
        },
        query: metrics.first().map_or_else(String::new, |metric| {
            format!("throughline series --metric {} {}", quoted(metric), range_options(evidence.request.range))
        }),
        examples: metrics.iter().take(EXAMPLES_MAX).map(|metric| Example::text(*metric)).collect(),
    });
    outcome
}

fn log_trace_id(evidence: &Evidence<'_>) -> Outcome {
    let mut outcome = Outcome::of(evidence.logs.looked_at, evidence.logs.of, "log records");
    for (service, counts) in &evidence.logs.by_service {
        // An id that cannot be read is one all the same, and has a rule of its own.
        let without = counts.records - counts.with_trace - counts.malformed;
        let share = 1.0 - without as f64 / counts.records.max(1) as f64;
        if !evidence.sends_spans(service) || counts.records < RECORDS_MIN || share >= TRACED_SHARE {
            continue;
        }
        // A service that mostly works outside of requests logs mostly there.
        let spans = evidence.spans_of(service);
        if spans < SPANS_MIN && (spans as f64) < counts.records as f64 * TRACED_SHARE {
            continue;
        }
        outcome.findings.push(Draft {
            level: Level::Warning,
            service: service.clone(),
            count: without,
            total: counts.records,
            message: format!(
                "{without} of {} log records of {service}, which sends spans, carry no trace id",
                counts.records
            ),
            cause: "the logger does not know of the span: no log bridge, or records are written where no span is current"
                .to_owned(),
            fix: evidence.sdk(service).log_within_span().to_owned(),
            query: format!(
                "throughline logs --service {} {}",
                quoted(service),
                range_options(evidence.request.range)
            ),
            examples: newest_logs(evidence, service).into_iter().filter(|log| log.trace_id.is_none()).collect(),
        });
    }
    outcome
}

fn log_malformed_id(evidence: &Evidence<'_>) -> Outcome {
    let mut outcome = Outcome::of(evidence.logs.looked_at, evidence.logs.of, "log records");
    for (service, counts) in evidence.logs.by_service.iter().filter(|(_, counts)| counts.malformed > 0) {
        let newest = evidence.logs.malformed.get(service).map(Vec::as_slice).unwrap_or_default();
        let faults: BTreeSet<String> = newest.iter().map(|record| form_fault(&record.form)).collect();
        let faults: Vec<String> = faults.into_iter().collect();
        let examples = newest.iter().map(|record| Example {
            time: Some(record.time),
            trace_id: None,
            span_id: record.span,
            text: format!("trace id {:?}", record.form),
        });
        let (malformed, records) = (counts.malformed, counts.records);
        outcome.findings.push(Draft {
            level: Level::Warning,
            service: service.clone(),
            count: malformed,
            total: records,
            message: format!("{malformed} of {records} log records of {service} have a trace id that cannot be read"),
            cause: format!(
                "what stands there is no trace id in any form that is in use ({}): a placeholder that nobody filled in, an id \
                 that was cut off, or another field's value",
                faults.join("; ")
            ),
            fix: evidence.sdk(service).write_trace_id(),
            query: format!(
                "throughline links --service {} {}",
                quoted(service),
                range_options(evidence.request.range)
            ),
            examples: examples.collect(),
        });
    }
    outcome
}

fn log_level(evidence: &Evidence<'_>) -> Outcome {
    let mut outcome = Outcome::of(evidence.logs.looked_at, evidence.logs.of, "log records");
    for (service, counts) in &evidence.logs.by_service {
        let share = counts.without_level as f64 / counts.records.max(1) as f64;
        if counts.records < RECORDS_MIN || share <= UNLEVELLED_SHARE {
            continue;
        }
        outcome.findings.push(Draft {
            level: Level::Note,
            service: service.clone(),
            count: counts.without_level,
            total: counts.records,
            message: format!(
                "{} of {} log records of {service} say no level",
                counts.without_level, counts.records
            ),
            cause: "neither the severity, nor an attribute, nor the body names one: errors among them are not found"
                .to_owned(),
            fix: "set OTLP's severity_number; of log files name the field in the operator's severity block".to_owned(),
            query: format!(
                "throughline logs --service {} {}",
                quoted(service),
                range_options(evidence.request.range)
            ),
            examples: newest_logs(evidence, service),
        });
    }
    outcome
}

fn rejected(evidence: &Evidence<'_>) -> Outcome {
    let Some(ledger) = evidence.ledger else { return Outcome::skipped("there is no ledger to look at") };
    if evidence.request.service.is_some() {
        return Outcome::skipped("what was rejected is not known by service; ask for all services");
    }
    let received = |signal: Signal| ledger.account(signal).received;
    let total: u64 = Signal::ALL.into_iter().map(received).sum();
    let mut outcome = Outcome::of(total, total, "items received since the folder began");
    for signal in Signal::ALL {
        for (reason, count) in &ledger.account(signal).rejected {
            outcome.findings.push(Draft {
                level: if reason == "invalid_id" { Level::Error } else { Level::Warning },
                service: String::new(),
                count: *count,
                total: received(signal),
                // What is rejected is counted by its reason, and not stored: neither when it came is known, nor whose it was.
                message: format!(
                    "{count} of {} {} that came since the folder began, of all services, were rejected: {reason}",
                    received(signal),
                    signal.items()
                ),
                cause: why_rejected(reason).to_owned(),
                fix: "the sender was told in partial_success which and why: look at its exporter's log"
                    .to_owned(),
                query: "throughline ledger".to_owned(),
                examples: Vec::new(),
            });
        }
    }
    outcome
}

fn why_rejected(reason: &str) -> &'static str {
    match reason {
        "invalid_id" => {
            "a trace or span id is all zeros or has a wrong length: nothing could ever find such an item"
        }
        "too_old" => "the item is older than what is retained",
        "too_new" => {
            "the item's time lies further in the future than is accepted: a clock is wrong, or a unit"
        }
        "duplicate_time" => "two samples of one series have the same time and different values",
        _ => "the item breaks a rule of its format, or a limit",
    }
}

fn untraced(evidence: &Evidence<'_>) -> Outcome {
    let looked_at = evidence.logs.by_service.len() as u64;
    let mut outcome = Outcome::of(looked_at, looked_at, "services that log");
    for (service, counts) in &evidence.logs.by_service {
        if counts.errors == 0 || evidence.sends_spans(service) || counts.with_trace == counts.records {
            continue;
        }
        let of_service =
            evidence.error_logs.iter().filter(|log| log.service == *service && log.cause == Cause::Untraced);
        let examples = of_service.take(EXAMPLES_MAX).map(|log| Example {
            time: Some(log.time),
            trace_id: None,
            span_id: None,
            text: log.text.clone(),
        });
        outcome.findings.push(Draft {
            level: Level::Note,
            service: service.clone(),
            count: counts.errors,
            total: counts.records,
            message: format!("{service} logs errors ({} of {} records) and sends no spans", counts.errors, counts.records),
            cause: "the service is not instrumented for traces: its errors belong to no request".to_owned(),
            fix: "instrument it (the zero-code agents of OpenTelemetry need no change of code), or forward the caller's \
                  traceparent into its records"
                .to_owned(),
            query: format!(
                "throughline logs --service {} --severity error {}",
                quoted(service),
                range_options(evidence.request.range)
            ),
            examples: examples.collect(),
        });
    }
    outcome
}
