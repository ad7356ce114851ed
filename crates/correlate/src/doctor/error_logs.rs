//! ERROR records whose trace has no error span, one rule for each cause; and error spans without a record.

use std::collections::BTreeMap;

use throughline_store::{TraceQuery, Want};

use super::classify::Cause;
use super::evidence::{ErrorLog, Evidence};
use super::traces::SETTLED_NS;
use super::{Draft, Example, Level, Outcome, Rule};
use crate::command::{quoted, range_options};
use crate::units::duration;

/// What is counted.
const UNIT: &str = "ERROR log records";
/// Traces with an error span that are looked at for each service.
const ERROR_TRACES_MAX: usize = 100;
/// Services whose error spans are looked at, those with most errors first.
const SERVICES_MAX: usize = 50;

pub(super) const HEAD_SAMPLED: Rule = Rule {
    id: "TL101",
    name: "error-log-head-sampled",
    what: "ERROR records whose trace the head sampler left out",
    check: head_sampled,
};
pub(super) const TAIL_SAMPLED: Rule = Rule {
    id: "TL102",
    name: "error-log-tail-sampled",
    what: "ERROR records whose trace a retention policy dropped",
    check: tail_sampled,
};
pub(super) const STATUS_UNSET: Rule = Rule {
    id: "TL103",
    name: "error-log-status-unset",
    what: "ERROR records within a span that ended without an error status",
    check: status_unset,
};
pub(super) const OUTSIDE_SPAN: Rule = Rule {
    id: "TL104",
    name: "error-log-outside-span",
    what: "ERROR records without trace context, written while no span of the service was running",
    check: outside_span,
};
pub(super) const DETACHED: Rule = Rule {
    id: "TL105",
    name: "error-log-detached",
    what: "ERROR records of detached or late tasks: without the context of the span that was running, or after it ended",
    check: detached,
};
pub(super) const MALFORMED_ID: Rule = Rule {
    id: "TL106",
    name: "error-log-malformed-id",
    what: "ERROR records whose trace id cannot be read, or is another system's",
    check: malformed_id,
};
pub(super) const SPANS_LOST: Rule = Rule {
    id: "TL107",
    name: "error-log-spans-lost",
    what: "ERROR records whose span was sampled and never came",
    check: spans_lost,
};
pub(super) const NOT_ENDED: Rule = Rule {
    id: "TL108",
    name: "error-log-span-not-ended",
    what: "ERROR records of spans that have not ended",
    check: not_ended,
};
pub(super) const CLOCK_SKEW: Rule = Rule {
    id: "TL109",
    name: "error-log-clock-skew",
    what: "ERROR records that lie before the start of their own span",
    check: clock_skew,
};
pub(super) const WITHOUT_LOG: Rule = Rule {
    id: "TL110",
    name: "error-span-without-log",
    what: "traces with an error span and no log record at all",
    check: without_log,
};

/// The texts of a rule for one service.
struct Texts {
    level: Level,
    /// What comes after "N of M ERROR records of SERVICE".
    what: String,
    cause: String,
    fix: String,
}

/// One finding for each service with such records.
fn by_service(
    evidence: &Evidence<'_>,
    is_meant: impl Fn(&Cause) -> bool,
    texts: impl Fn(&Evidence<'_>, &str, &[&ErrorLog]) -> Texts,
) -> Outcome {
    let told = evidence.error_logs.iter().filter(|log| log.cause != Cause::NotTold).count() as u64;
    let mut outcome = Outcome::of(told, evidence.logs.errors(), UNIT);
    let mut services: BTreeMap<&str, (u64, Vec<&ErrorLog>)> = BTreeMap::new();
    for log in evidence.error_logs.iter().filter(|log| log.cause != Cause::NotTold) {
        let (total, meant) = services.entry(&log.service).or_default();
        *total += 1;
        if is_meant(&log.cause) {
            meant.push(log);
        }
    }
    for (service, (total, meant)) in services.into_iter().filter(|(_, (_, meant))| !meant.is_empty()) {
        let texts = texts(evidence, service, &meant);
        outcome.findings.push(Draft {
            level: texts.level,
            service: service.to_owned(),
            count: meant.len() as u64,
            total,
            message: format!("{} of {total} ERROR records of {service} {}", meant.len(), texts.what),
            cause: texts.cause,
            fix: texts.fix,
            query: query(evidence, service, &meant),
            examples: meant.iter().take(super::EXAMPLES_MAX).map(|log| example(log)).collect(),
        });
    }
    outcome
}

fn example(log: &ErrorLog) -> Example {
    let mut text = log.text.clone();
    match &log.cause {
        Cause::StatusUnset { span: Some(span) } => text += &format!(" (span {})", span.name),
        Cause::Late { by_ns } => text += &format!(" ({} after its span ended)", duration(*by_ns)),
        Cause::Early { by_ns } => text += &format!(" ({} before its span began)", duration(*by_ns)),
        Cause::TailSampled { policy } => text += &format!(" (dropped by {policy})"),
        _ => {}
    }
    let (trace_id, span_id) = match &log.cause {
        Cause::Detached { running: Some((trace_id, span_id)) } => (Some(*trace_id), Some(*span_id)),
        _ => (log.trace_id, log.span_id),
    };
    Example { time: Some(log.time), trace_id, span_id, text }
}

fn query(evidence: &Evidence<'_>, service: &str, meant: &[&ErrorLog]) -> String {
    // Where the traces are not here, the records with what became of each are all that there is to see.
    let is_gone = |cause: &Cause| {
        matches!(
            cause,
            Cause::HeadSampled
                | Cause::TailSampled { .. }
                | Cause::MalformedId
                | Cause::ForeignId
                | Cause::SpansLost { others_came: false }
        )
    };
    let of_trace = meant.iter().find(|log| !is_gone(&log.cause) && log.trace_id.is_some());
    match of_trace.and_then(|log| log.trace_id) {
        Some(id) => format!("throughline trace {id}"),
        None => {
            let window = range_options(evidence.request.range);
            format!("throughline logs --service {} --severity error {window}", quoted(service))
        }
    }
}

fn head_sampled(evidence: &Evidence<'_>) -> Outcome {
    by_service(
        evidence,
        |cause| *cause == Cause::HeadSampled,
        |evidence, service, _| {
            Texts {
        level: Level::Warning,
        what: "have no trace: its head sampler left it out".to_owned(),
        cause: "the record says that its trace was not sampled (W3C's sampled flag is off, or a field that says the same): \
                the spans were never exported"
            .to_owned(),
        fix: evidence.sdk(service).open_sampler().to_owned(),
    }
        },
    )
}

fn tail_sampled(evidence: &Evidence<'_>) -> Outcome {
    by_service(
        evidence,
        |cause| matches!(cause, Cause::TailSampled { .. }),
        |_, _, meant| {
            let mut policies: Vec<&str> = meant
                .iter()
                .filter_map(|log| match &log.cause {
                    Cause::TailSampled { policy } => Some(policy.as_str()),
                    _ => None,
                })
                .collect();
            policies.sort_unstable();
            policies.dedup();
            Texts {
            level: Level::Warning,
            what: format!("have no trace any more: dropped by {}", policies.join(", ")),
            cause: "the sampling policy decided against the trace before it knew of the record, or does not look at records"
                .to_owned(),
            fix: "add {name: error-logs, type: error_log} to throughline.sampling.policies, or take preset: production, which has \
                  it; a policy of type drop has the last word whatever others want: give that another drop_sub_policy. Records \
                  must come within throughline.sampling.decision_delay"
                .to_owned(),
        }
        },
    )
}

fn status_unset(evidence: &Evidence<'_>) -> Outcome {
    by_service(
        evidence,
        |cause| matches!(cause, Cause::StatusUnset { .. }),
        |evidence, service, meant| {
            let count = |is: fn(&super::classify::Ended) -> bool| {
                let spans = meant.iter().filter_map(|log| match &log.cause {
                    Cause::StatusUnset { span } => span.as_ref(),
                    _ => None,
                });
                spans.filter(|span| is(span)).count()
            };
            let (ok, exceptions) = (count(|span| span.is_ok), count(|span| span.has_exception));
            let mut cause =
                "the error was handled or logged within the span, and nobody set the span's status"
                    .to_owned();
            if exceptions > 0 {
                cause += &format!(
                    "; {exceptions} of these spans have an exception event, which sets no status by itself"
                );
            }
            if ok > 0 {
                cause += &format!(
                    "; {ok} of these spans were set to Ok on purpose: there the record's level is too high"
                );
            }
            Texts {
                level: Level::Warning,
                what: "lie in a trace without an error span: the status was never set".to_owned(),
                cause,
                fix: evidence.sdk(service).set_status().to_owned(),
            }
        },
    )
}

fn outside_span(evidence: &Evidence<'_>) -> Outcome {
    by_service(
        evidence,
        |cause| *cause == Cause::OutsideSpan,
        |evidence, service, _| {
            Texts {
        level: Level::Warning,
        what: "carry no trace id: they were written outside any span".to_owned(),
        cause: "no span of this instance was running when they were written: start-up code, a timer, a queue's consumer \
                without instrumentation"
            .to_owned(),
        fix: evidence.sdk(service).log_within_span().to_owned(),
    }
        },
    )
}

fn detached(evidence: &Evidence<'_>) -> Outcome {
    let is_meant = |cause: &Cause| matches!(cause, Cause::Detached { .. } | Cause::Late { .. });
    by_service(evidence, is_meant, |evidence, service, meant| {
        let late = meant.iter().filter(|log| matches!(log.cause, Cause::Late { .. })).count();
        let lost = meant.len() - late;
        let mut causes = Vec::new();
        if lost > 0 {
            causes.push(format!(
                "{lost} carry no trace id although a span of the same instance was running (inferred from time and \
                 instance): the context did not reach the task that wrote them, or the logger"
            ));
        }
        if late > 0 {
            causes.push(format!("{late} were written after their span had ended: its task outlives it"));
        }
        Texts {
            level: Level::Warning,
            what: "come from detached or late tasks".to_owned(),
            cause: causes.join("; "),
            fix: match lost > 0 {
                true => {
                    let sdk = evidence.sdk(service);
                    format!("{}; and {}", sdk.carry_context(), sdk.log_within_span())
                }
                false => evidence.sdk(service).carry_context(),
            },
        }
    })
}

fn malformed_id(evidence: &Evidence<'_>) -> Outcome {
    let is_meant = |cause: &Cause| matches!(cause, Cause::MalformedId | Cause::ForeignId);
    by_service(evidence, is_meant, |_, _, meant| {
        let foreign = meant.iter().filter(|log| log.cause == Cause::ForeignId).count();
        Texts {
            level: Level::Warning,
            what: "have a trace id that leads nowhere by its form".to_owned(),
            cause: match (meant.len() - foreign, foreign) {
                (malformed, 0) => format!("{malformed} ids are no trace ids in any form that is in use"),
                (0, foreign) => format!(
                    "{foreign} ids are 64-bit ids of another tracer (Datadog, B3 single, X-Ray segments), and no trace is \
                     known by them: the spans carry ids of 128 bits"
                ),
                (malformed, foreign) => format!(
                    "{malformed} ids are no trace ids in any form that is in use, and {foreign} are 64-bit ids of another \
                     tracer"
                ),
            },
            fix: "log the id that the span has, as 32 hex digits: trace.get_current_span().get_span_context().trace_id, or \
                  let the SDK's log bridge fill OTLP's own trace_id; turn on 128-bit ids in the other tracer \
                  (DD_TRACE_128_BIT_TRACEID_LOGGING_ENABLED=true for Datadog)"
                .to_owned(),
        }
    })
}

fn spans_lost(evidence: &Evidence<'_>) -> Outcome {
    by_service(
        evidence,
        |cause| matches!(cause, Cause::SpansLost { .. }),
        |evidence, service, meant| {
            let others =
                meant.iter().filter(|log| log.cause == Cause::SpansLost { others_came: true }).count();
            let whole = meant.len() - others;
            let mut causes = Vec::new();
            if others > 0 {
                causes.push(format!(
                "of {others} other spans of the trace came and the record's own did not: it was lost on export, in the SDK's \
                 queue or on the way"
            ));
            }
            if whole > 0 {
                causes.push(format!(
                "of {whole} no span of the trace came from anybody: lost on export, or dropped before it got here by a \
                 Collector's tail_sampling"
            ));
            }
            Texts {
                level: Level::Error,
                what: "name a span that was sampled and never came".to_owned(),
                cause: causes.join("; "),
                fix: evidence.sdk(service).flush_spans().to_owned(),
            }
        },
    )
}

fn not_ended(evidence: &Evidence<'_>) -> Outcome {
    by_service(
        evidence,
        |cause| matches!(cause, Cause::NotEnded { .. }),
        |_, _, meant| {
            let open = meant.iter().filter(|log| log.cause == Cause::NotEnded { has_children: true }).count();
            Texts {
            level: Level::Note,
            what: "belong to a span that has not ended".to_owned(),
            cause: match open {
                0 => "the span is not here and the record is young: a span is exported when it ends".to_owned(),
                open => format!(
                    "of {open} the span's children are here and the span is not: it is still running, was never ended, or \
                     its process ended first"
                ),
            },
            fix: "end every span, also where an exception leaves the block (with, try-with-resources, defer span.End()); \
                  long work is better many spans than one"
                .to_owned(),
        }
        },
    )
}

fn clock_skew(evidence: &Evidence<'_>) -> Outcome {
    by_service(
        evidence,
        |cause| matches!(cause, Cause::Early { .. }),
        |_, _, _| {
            Texts {
        level: Level::Warning,
        what: "lie before the start of their own span: clocks disagree".to_owned(),
        cause: "the record's time was taken from another clock than the span's: another host, a collector that stamps \
                records, or a time without its zone"
            .to_owned(),
        fix: "synchronise the clocks (chrony, NTP); of log files parse the record's own time with its zone in the operator's \
              timestamp block"
            .to_owned(),
    }
        },
    )
}

fn without_log(evidence: &Evidence<'_>) -> Outcome {
    let mut services: Vec<_> = evidence.services.iter().filter(|service| service.error_count > 0).collect();
    services.sort_by_key(|service| (std::cmp::Reverse(service.error_count), service.service.clone()));
    let total: u64 = services.iter().map(|service| service.error_count).sum();
    let mut outcome = Outcome::of(0, total, "traces with an error span");
    let settled = evidence.snapshot.taken_at().saturating_sub(SETTLED_NS);
    for service in services.into_iter().take(SERVICES_MAX) {
        let found = evidence.snapshot.search_traces(&TraceQuery {
            range: evidence.request.range,
            service: Some(service.service.clone()),
            operation: None,
            min_duration_ns: None,
            max_duration_ns: None,
            error: Some(true),
            limit: ERROR_TRACES_MAX,
        });
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                evidence.note([error.to_string()]);
                continue;
            }
        };
        evidence.note(found.partial);
        let looked_at = found.items.iter().filter(|trace| trace.start_time < settled);
        let (mut count, mut examples) = (0u64, Vec::new());
        let mut of_service = 0u64;
        for trace in looked_at {
            of_service += 1;
            if trace.log_count > 0 {
                continue;
            }
            count += 1;
            if examples.len() < super::EXAMPLES_MAX {
                examples.push(error_example(evidence, trace, &service.service));
            }
        }
        outcome.looked_at += of_service;
        outcome.of = outcome.of.max(outcome.looked_at);
        if count > 0 {
            outcome.findings.push(no_log_finding(evidence, &service.service, count, of_service, examples));
        }
    }
    outcome
}

fn error_example(
    evidence: &Evidence<'_>,
    trace: &throughline_model::record::TraceSummary,
    service: &str,
) -> Example {
    let spans = match evidence.snapshot.trace(trace.trace_id, Want::SPANS) {
        Ok(data) => data.spans,
        Err(_) => Vec::new(),
    };
    let span = spans.iter().find(|span| span.service == service && span.is_error());
    Example {
        time: Some(trace.start_time),
        trace_id: Some(trace.trace_id),
        span_id: span.map(|span| span.span_id),
        text: span.map_or_else(
            || format!("{} {}", trace.root_service, trace.root_name),
            |span| format!("{} {}", span.name, span.status_message),
        ),
    }
}

fn no_log_finding(
    evidence: &Evidence<'_>,
    service: &str,
    count: u64,
    total: u64,
    examples: Vec<Example>,
) -> Draft {
    let sends_logs = evidence.sends_logs(service);
    let window = range_options(evidence.request.range);
    Draft {
        level: Level::Note,
        service: service.to_owned(),
        count,
        total,
        message: format!("{count} of {total} traces with an error span of {service} have no log record"),
        cause: match sends_logs {
            true => "nothing was logged where the error happened, or its records carry no trace id".to_owned(),
            false => format!("{service} sends no log records at all in this window"),
        },
        fix: match sends_logs {
            true => format!("log the error once, where it is handled, within its span: {}", evidence.sdk(service).log_within_span()),
            false => "send its records over OTLP (the SDK's log bridge), or read its files with the filelog receiver".to_owned(),
        },
        query: format!("throughline traces --service {} --status error {window}", quoted(service)),
        examples,
    }
}
