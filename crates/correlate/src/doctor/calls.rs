//! Calls between services: context that does not arrive, parents that do not, and clocks that disagree.

use super::evidence::Evidence;
use super::names::{examples, stem};
use super::traces::{Tally, Unanswered};
use super::{Draft, Level, Outcome, Rule};
use crate::command::{quoted, range_options};
use crate::units::duration;

/// A pair of instances with fewer calls says nothing about its clocks.
const CALLS_MIN: u64 = 5;
/// Of the calls of a peer fewer than this without its span are single losses.
const RARE_SHARE: f64 = 0.05;
/// Of a pair's calls so many must be shifted.
const SHIFTED_SHARE: f64 = 0.5;

pub(super) const LOST_PROPAGATION: Rule = Rule {
    id: "TL401",
    name: "lost-propagation",
    what: "client spans without a server span whose peer does send spans",
    check: lost_propagation,
};
pub(super) const UNINSTRUMENTED: Rule = Rule {
    id: "TL402",
    name: "uninstrumented-peer",
    what: "client spans without a server span whose peer sends no spans",
    check: uninstrumented,
};
pub(super) const ORPHANS: Rule =
    Rule { id: "TL403", name: "orphan-span", what: "spans whose parent is not in the trace", check: orphans };
pub(super) const HOST_CLOCKS: Rule = Rule {
    id: "TL404",
    name: "host-clock-skew",
    what: "pairs of instances between which server spans lie outside of their client spans",
    check: host_clocks,
};

/// Up to this share of spans without their parent is what a restart or a full queue loses now and then.
const LOST_SHARE: f64 = 0.01;

/// The service that a peer's name means, where it sends spans: its own name, or a host's first label.
fn known_peer<'a>(evidence: &'a Evidence<'_>, peer: &str) -> Option<&'a str> {
    if peer.is_empty() || is_address(peer) {
        return None;
    }
    let host = peer.split(':').next().unwrap_or(peer);
    let label = host.split('.').next().unwrap_or(host);
    let known = evidence.all_services.iter().filter(|service| service.span_count > 0);
    known.map(|service| service.service.as_str()).find(|name| {
        let wanted = stem(name).1;
        stem(peer).1 == wanted || stem(label).1 == wanted
    })
}

/// Whether a peer is named by numbers, of IPv4 or IPv6, with or without a port.
fn is_address(peer: &str) -> bool {
    let is_of_v4 = |host: &str| host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let is_of_v6 = |host: &str| {
        host.matches(':').count() > 1 && host.bytes().all(|b| b.is_ascii_hexdigit() || b":.[]%".contains(&b))
    };
    is_of_v4(peer.split(':').next().unwrap_or(peer)) || is_of_v6(peer)
}

/// The calls of a service to one peer.
struct ToPeer<'a> {
    service: &'a str,
    peer: &'a str,
    /// The service that the peer is, where it sends spans.
    known: Option<&'a str>,
    unanswered: &'a Unanswered,
    /// Those of the same service.
    answered: u64,
    /// All client spans of the service.
    total: u64,
}

fn unanswered(evidence: &Evidence<'_>, draft: impl Fn(&ToPeer<'_>) -> Option<Draft>) -> Outcome {
    let calls = evidence.traces.calls.values().map(|calls| calls.client_spans).sum();
    let mut outcome = Outcome::of(calls, calls, "client spans of sampled traces");
    for (service, calls) in &evidence.traces.calls {
        let service_of = |peer: &str| known_peer(evidence, peer).filter(|known| known != service);
        for (peer, unanswered) in &calls.unanswered {
            let known = service_of(peer);
            // Clients name one service in several ways.
            let is_same = |other: &str| other == peer || (known.is_some() && service_of(other) == known);
            let answered = calls.answered.iter().filter(|(other, _)| is_same(other));
            outcome.findings.extend(draft(&ToPeer {
                service,
                peer,
                known,
                unanswered,
                answered: answered.map(|(_, count)| count).sum(),
                total: calls.client_spans,
            }));
        }
    }
    outcome
}

/// What finds the calls: where an attribute names the peer all of them, else one.
fn calls_query(evidence: &Evidence<'_>, calls: &ToPeer<'_>) -> String {
    let Some((key, value)) = &calls.unanswered.by else {
        return query(evidence, calls.service, &calls.unanswered.tally);
    };
    let client = format!(
        "{{ resource.service.name = {} && kind = client && span.{key} = {} }}",
        traceql_text(calls.service),
        traceql_text(value)
    );
    search(evidence, &format!("{{ kind = server }} !< {client}"))
}

/// A command that asks a question in TraceQL.
fn search(evidence: &Evidence<'_>, question: &str) -> String {
    format!("throughline search {} {}", quoted(question), range_options(evidence.request.range))
}

/// A text as TraceQL writes it.
fn traceql_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn query(evidence: &Evidence<'_>, service: &str, tally: &Tally) -> String {
    match tally.cases.first() {
        Some(case) => format!("throughline trace {} --span {}", case.trace_id, case.span_id),
        None => format!(
            "throughline traces --service {} {}",
            quoted(service),
            range_options(evidence.request.range)
        ),
    }
}

fn lost_propagation(evidence: &Evidence<'_>) -> Outcome {
    unanswered(evidence, |calls| {
        let ToPeer { service, peer, answered, total, .. } = *calls;
        let known = calls.known?;
        let tally = &calls.unanswered.tally;
        let is_rare = (tally.count as f64) < (answered + tally.count) as f64 * RARE_SHARE;
        Some(Draft {
            level: if is_rare { Level::Note } else { Level::Warning },
            service: service.to_owned(),
            count: tally.count,
            total,
            message: format!(
                "{} of {total} client spans of {service} call {peer}, which sends spans as {known}, and have no server span",
                tally.count
            ),
            cause: match answered {
                0 => format!(
                    "the context does not reach {known}: the client does not inject traceparent, something between them \
                     strips it, or {known} reads another format (b3, jaeger) and begins a trace of its own"
                ),
                answered => format!(
                    "the context reaches {known} in {answered} other calls: the server spans of these were lost on export, or \
                     an endpoint or an instance of {known} has no instrumentation"
                ),
            },
            fix: match answered {
                0 => "set OTEL_PROPAGATORS=tracecontext,baggage on both sides; use the instrumentation of the HTTP or RPC client \
                      that injects headers; let proxies pass traceparent and tracestate"
                    .to_owned(),
                _ => format!("in {known}: {}", evidence.sdk(known).flush_spans()),
            },
            query: calls_query(evidence, calls),
            examples: examples(&tally.cases),
        })
    })
}

fn uninstrumented(evidence: &Evidence<'_>) -> Outcome {
    unanswered(evidence, |calls| {
        let ToPeer { service, peer, total, known: None, .. } = *calls else { return None };
        let tally = &calls.unanswered.tally;
        let is_unknown = peer.is_empty() || is_address(peer);
        let whom = match peer {
            "" => "a peer without a name".to_owned(),
            peer if is_unknown => {
                format!("{peer}, an address that names no service, and have no server span")
            }
            peer => format!("{peer}, which sends no spans"),
        };
        Some(Draft {
            level: Level::Note,
            service: service.to_owned(),
            count: tally.count,
            total,
            message: format!("{} of {total} client spans of {service} call {whom}", tally.count),
            cause: match peer {
                "" => "the span names no peer, so that nobody can say who was called".to_owned(),
                _ if is_unknown => {
                    "an address does not say which service was called, nor whether that sends spans"
                        .to_owned()
                }
                peer => format!("{peer} is not instrumented, or is outside: the trace ends there"),
            },
            fix: match is_unknown {
                true => {
                    "set peer.service or server.address on client spans (the client's instrumentation does)"
                        .to_owned()
                }
                false => format!("instrument {peer}; if it is outside, this is as it should be"),
            },
            query: calls_query(evidence, calls),
            examples: examples(&tally.cases),
        })
    })
}

fn orphans(evidence: &Evidence<'_>) -> Outcome {
    let traces = &evidence.traces;
    let mut outcome = Outcome::of(traces.spans, evidence.spans(), "spans");
    for (service, tally) in &traces.orphans {
        let total = traces.by_service.get(service).copied().unwrap_or_default();
        let servers = traces.orphan_servers.get(service).copied().unwrap_or_default();
        let cause = match (servers, tally.count - servers) {
            (0, inner) => format!(
                "{inner} are within the service: their parents were lost on export, or have not ended"
            ),
            (servers, inner) => {
                let mut cause = format!(
                    "{servers} serve a request whose caller sent a traceparent and no span: a browser, gateway or mesh that \
                     takes part and does not export, a caller whose spans were lost, or a sampler that decided by itself on \
                     each side"
                );
                if inner > 0 {
                    cause += &format!("; {inner} are within the service: their parents were lost on export");
                }
                cause
            }
        };
        outcome.findings.push(Draft {
            level: if tally.count as f64 > total as f64 * LOST_SHARE { Level::Warning } else { Level::Note },
            service: service.clone(),
            count: tally.count,
            total,
            message: format!("{} of {total} sampled spans of {service} name a parent that is not here", tally.count),
            cause,
            fix: match servers > 0 {
                true => {
                    "export the caller's spans as well, use parent-based samplers everywhere \
                     (OTEL_TRACES_SAMPLER=parentbased_...), or let the edge drop traceparent headers that come from outside"
                        .to_owned()
                }
                false => evidence.sdk(service).flush_spans().to_owned(),
            },
            query: search(
                evidence,
                &format!(
                    "{{ }} !> {{ resource.service.name = {} && span:parentID != \"0000000000000000\" }}",
                    traceql_text(service)
                ),
            ),
            examples: examples(&tally.cases),
        });
    }
    outcome
}

fn host_clocks(evidence: &Evidence<'_>) -> Outcome {
    let calls = evidence.traces.clocks.values().map(|clocks| clocks.calls).sum();
    let mut outcome = Outcome::of(calls, calls, "calls between instances in sampled traces");
    for (pair, clocks) in &evidence.traces.clocks {
        let share = clocks.outside.count as f64 / clocks.calls.max(1) as f64;
        if clocks.calls < CALLS_MIN || share < SHIFTED_SHARE {
            continue;
        }
        let mut offsets = clocks.offsets_ns.clone();
        offsets.sort_unstable();
        let offset = offsets.get(offsets.len() / 2).copied().unwrap_or_default();
        let (caller, callee) = (named(&pair.caller), named(&pair.callee));
        let way = if offset < 0 { "behind" } else { "ahead of" };
        let by = duration(offset.saturating_abs());
        outcome.findings.push(Draft {
            level: Level::Warning,
            service: pair.callee.0.clone(),
            count: clocks.outside.count,
            total: clocks.calls,
            message: format!(
                "the clock of {callee} is {by} {way} that of {caller}: {} of {} server spans lie outside of their client spans",
                clocks.outside.count, clocks.calls
            ),
            cause: "both hosts keep their own time: waterfalls, self times and the order of log lines across them are off by so \
                    much"
                .to_owned(),
            fix: "synchronise both (chrony, systemd-timesyncd; in containers it is the node's clock)".to_owned(),
            query: query(evidence, &pair.callee.0, &clocks.outside),
            examples: examples(&clocks.outside.cases),
        });
    }
    outcome
}

fn named((service, instance): &(String, String)) -> String {
    if instance.is_empty() { service.clone() } else { format!("{service} on {instance}") }
}
