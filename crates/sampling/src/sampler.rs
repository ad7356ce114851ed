//! The sampler: policies at work on one trace after the other.
//!
//! 1. What something holds on to stays: a pin, an alert or an exemplar that cites it.
//! 2. `drop` policies, in their order: one that fires has the last word.
//! 3. All other policies, in their order. Every one is asked, also after one wanted the trace, as the Collector does: a
//!    rate is spent on traces that another policy keeps anyway.
//! 4. The trace stays if any wanted it. It stands for 1/p traces, where p is the chance that a trace like it stays
//!    ([`chance`]): 1 where a policy wanted it for what it is and none drops by chance, unknown where a rate has a part in it.

mod attributes;
mod chance;
mod foresight;
mod rates;

use throughline_model::TraceId;
use throughline_model::record::Span;

use crate::policy::{self, Kind, Policy, PolicyError};
use crate::routes::Durations;
use chance::Cells;
use rates::{Rates, Spent};

/// A trace as policies see it.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// Its id.
    pub id: TraceId,
    /// The earliest start of its spans, nanoseconds since the epoch.
    pub start: i64,
    /// The latest end of its spans.
    pub end: i64,
    /// How many spans.
    pub span_count: u64,
    /// How many of them have status error.
    pub error_count: u64,
    /// What it takes, where [`Needs::bytes`] asks for it.
    pub bytes: u64,
    /// Its spans, where [`Needs::spans`] asks for them, with those of their parts that are asked for.
    pub spans: &'a [Span],
    /// What refers to it.
    pub evidence: Evidence<'a>,
}

/// What refers to a trace, and what it is compared with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence<'a> {
    /// Log records of level ERROR or above.
    pub error_logs: u64,
    /// Exemplars.
    pub exemplars: u64,
    /// An alert of one of its services, or of no service, was firing while it ran.
    pub is_alerted: bool,
    /// Somebody pinned it.
    pub is_pinned: bool,
    /// A span links to it of a trace that stays for a reason of its own.
    pub is_linked: bool,
    /// The durations of its route, where it has one.
    pub route: Option<&'a Durations>,
    /// What keeps it whatever policies say.
    pub hold: Option<Hold>,
}

/// What keeps a trace whatever policies say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Somebody pinned it.
    Pin,
    /// An alert cites it.
    Alert,
    /// A stored exemplar cites it.
    Exemplar,
}

impl Hold {
    /// Its name, as decisions carry it.
    pub fn name(self) -> &'static str {
        match self {
            Hold::Pin => "pin",
            Hold::Alert => "alert",
            Hold::Exemplar => "exemplar",
        }
    }
}

/// What becomes of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision<'a> {
    /// It stays.
    Keep {
        /// The policy that wanted it.
        policy: &'a str,
        /// How many traces it stands for; none where that is not known.
        adjusted_count: Option<f64>,
    },
    /// It goes.
    Drop {
        /// The policy that dropped it, or that would have kept it by chance or within a rate.
        policy: &'a str,
    },
}

/// The name under which a trace goes that no policy wanted for what it is.
pub const UNWANTED: &str = "no-policy";

/// Which parts of spans policies look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Spans at all: with their names, kinds, times and status.
    pub spans: bool,
    /// Attributes of spans and resources, by name.
    pub attributes: Vec<String>,
    /// Events.
    pub events: bool,
    /// The size of the trace.
    pub bytes: bool,
    /// The durations of routes.
    pub routes: bool,
    /// Which alerts were firing.
    pub alerts: bool,
    /// Which traces link to it.
    pub links: bool,
}

/// Policies and what they have spent.
#[derive(Clone, Debug)]
pub struct Sampler {
    /// `drop` policies first.
    policies: Vec<Policy>,
    /// What each policy with a rate has spent, in the order in which they are met.
    rates: Rates,
    /// What policies may draw, where some draw.
    cells: Cells,
}

impl Sampler {
    /// A sampler of these policies, which are checked.
    pub fn new(policies: Vec<Policy>) -> Result<Sampler, PolicyError> {
        policy::check(&policies)?;
        let (mut first, rest): (Vec<Policy>, Vec<Policy>) =
            policies.into_iter().partition(|policy| matches!(policy.kind, Kind::Drop(_)));
        first.extend(rest);
        let cells = Cells::of(&first);
        Ok(Sampler { policies: first, rates: Rates::default(), cells })
    }

    /// The names of the policies, in the order in which they are asked.
    pub fn policies(&self) -> impl Iterator<Item = &str> {
        self.policies.iter().map(|policy| policy.name.as_str())
    }

    /// What the policies look at.
    pub fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        self.policies.iter().for_each(|policy| attributes::add_needs(policy, &mut needs));
        needs.attributes.sort_unstable();
        needs.attributes.dedup();
        needs
    }

    /// Whether a trace that is not decided about yet is sure to stay for a reason of its own, as far as that follows from its
    /// summary: it needs no spans, and no rate is spent. That another trace links to it is no such reason.
    pub fn foresees(&self, trace: &Trace<'_>) -> bool {
        foresight::stays(&self.policies, trace)
    }

    /// Whether the policy of this name asks who links to a trace.
    pub fn is_about_links(&self, policy: &str) -> bool {
        self.policies.iter().any(|other| other.name == policy && foresight::is_about_links(other))
    }

    /// What becomes of a trace; `now` is the time in nanoseconds since the epoch that rates are of.
    pub fn decide(&mut self, trace: &Trace<'_>, now: i64) -> Decision<'_> {
        if let Some(hold) = trace.evidence.hold {
            return Decision::Keep { policy: hold.name(), adjusted_count: Some(1.0) };
        }
        let Sampler { policies, rates, cells } = self;
        rates.begin(now);
        let mut votes: Vec<(&Policy, bool)> = Vec::with_capacity(policies.len());
        for policy in policies.iter() {
            let wants = vote(policy, trace, rates);
            if wants && matches!(policy.kind, Kind::Drop(_)) {
                return Decision::Drop { policy: &policy.name };
            }
            votes.push((policy, wants));
        }
        let others = || votes.iter().filter(|(policy, _)| !matches!(policy.kind, Kind::Drop(_)));
        let mut wanted = others().filter(|(_, wants)| *wants).map(|(policy, _)| *policy);
        let Some(first) = wanted.next() else {
            let by_chance = others().map(|(policy, _)| *policy).find(|policy| cells.may_want(policy, trace));
            return Decision::Drop { policy: by_chance.map_or(UNWANTED, |policy| &policy.name) };
        };
        let certain = std::iter::once(first).chain(wanted).find(|policy| cells.surely_want(policy, trace));
        Decision::Keep {
            policy: &certain.unwrap_or(first).name,
            adjusted_count: cells.chance(&votes, trace).map(|chance| 1.0 / chance),
        }
    }
}

/// Whether a policy wants a trace; what it spends of a rate it has spent.
fn vote(policy: &Policy, trace: &Trace<'_>, rates: &mut Rates) -> bool {
    match &policy.kind {
        Kind::And(parts) | Kind::Drop(parts) => all_of(parts, trace, rates),
        Kind::Not(part) => !vote(part, trace, rates),
        Kind::Probabilistic { hash_salt, sampling_percentage } => {
            is_in_share(hash_salt, trace.id, sampling_percentage / 100.0)
        }
        Kind::RateLimiting { spans_per_second, burst_capacity } => {
            rates.take(*spans_per_second, *burst_capacity, trace.span_count)
        }
        Kind::BytesLimiting { bytes_per_second, burst_capacity } => {
            rates.take(*bytes_per_second, *burst_capacity, trace.bytes)
        }
        Kind::Composite { max_total_spans_per_second, parts } => {
            composite(*max_total_spans_per_second, parts, trace, rates)
        }
        kind => is_so(kind, trace),
    }
}

/// As in the Collector the first that does not want it ends the questions: rates after it are not spent.
fn all_of(parts: &[Policy], trace: &Trace<'_>, rates: &mut Rates) -> bool {
    let mut wants = true;
    for part in parts {
        match wants {
            true => wants = vote(part, trace, rates),
            false => pass_over(part, rates),
        }
    }
    wants
}

/// The first that wants it decides, within its share; there is no second choice.
fn composite(max_total: u64, parts: &[(Policy, u64)], trace: &Trace<'_>, rates: &mut Rates) -> bool {
    let spent: Vec<Spent> = parts.iter().map(|_| rates.next_second()).collect();
    let mut out: Option<bool> = None;
    for ((part, share), spent) in parts.iter().zip(spent) {
        if out.is_some() {
            pass_over(part, rates);
        } else if vote(part, trace, rates) {
            out = Some(rates.spend(spent, trace.span_count, (*share).min(max_total)));
        }
    }
    out.unwrap_or(false)
}

/// Leaves out the accounts of a policy that is not asked.
fn pass_over(policy: &Policy, rates: &mut Rates) {
    match &policy.kind {
        Kind::RateLimiting { .. } | Kind::BytesLimiting { .. } => rates.pass_over(),
        Kind::And(parts) | Kind::Drop(parts) => parts.iter().for_each(|part| pass_over(part, rates)),
        Kind::Not(part) => pass_over(part, rates),
        Kind::Composite { parts, .. } => {
            parts.iter().for_each(|_| _ = rates.next_second());
            parts.iter().for_each(|(part, _)| pass_over(part, rates));
        }
        _ => {}
    }
}

/// Whether a trace is what a policy without chance or rate looks for.
fn is_so(kind: &Kind, trace: &Trace<'_>) -> bool {
    let evidence = &trace.evidence;
    match kind {
        Kind::AlwaysSample => true,
        Kind::Latency { threshold_ms, upper_threshold_ms } => {
            let duration_ms = trace.end.saturating_sub(trace.start).max(0) as u64 / 1_000_000;
            match upper_threshold_ms {
                0 => duration_ms >= *threshold_ms,
                upper => *threshold_ms < duration_ms && duration_ms <= *upper,
            }
        }
        Kind::StatusCode { status_codes } => match status_codes.as_slice() {
            [2] => trace.error_count > 0,
            codes => trace.spans.iter().any(|span| codes.contains(&span.status_code)),
        },
        Kind::SpanCount { min_spans, max_spans } => {
            *min_spans <= trace.span_count && (*max_spans == 0 || trace.span_count <= *max_spans)
        }
        Kind::TraceFlags => trace.spans.iter().any(|span| span.flags & 1 != 0),
        Kind::ErrorLog => evidence.error_logs > 0,
        Kind::Exemplar => evidence.exemplars > 0,
        Kind::FiringAlert => evidence.is_alerted,
        Kind::Pin => evidence.is_pinned,
        Kind::SpanLink => evidence.is_linked,
        Kind::SlowForRoute { quantile, min_traces } => evidence.route.is_some_and(|route| {
            route.total() < *min_traces || route.is_above(trace.end.saturating_sub(trace.start), *quantile)
        }),
        kind => attributes::is_so(kind, trace.spans),
    }
}

/// The Collector's choice: FNV-1a over the salt and the id, at most the share of all numbers.
fn is_in_share(salt: &str, id: TraceId, share: f64) -> bool {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in salt.bytes().chain(id.0) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    if share >= 1.0 {
        return true;
    }
    // Converting saturates, and a share below 1 leaves room for rounding.
    hash <= (share * u64::MAX as f64) as u64 && share > 0.0
}

#[cfg(test)]
mod tests;
