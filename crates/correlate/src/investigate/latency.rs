//! Where the added time is spent: own time of every operation, and time on the way between services, against the baseline.
//!
//! How much longer a call takes than calls of its kind usually take is a ratio; how often such a ratio is met by chance is
//! known from all calls of the baseline together, and from those of the same kind the better the more there are of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::side::Side;
use super::statistics::{Sorted, combined_surprise, confidence};
use super::vocabulary::{Spender, Vocabulary};

/// Shorter times are taken as this long: below it lies the precision of clocks.
const FLOOR_NS: f64 = 1e6;
/// What all calls say together counts as much as so many calls of the kind itself.
const POOL_WEIGHT: f64 = 10.0;
/// Kinds with fewer calls say nothing of how much times vary.
const POOLED_CALLS_MIN: usize = 3;
/// Calls of one kind that are looked at one by one.
const CALLS_MAX: usize = 20_000;

/// A place that spends more time than before.
#[derive(Clone, Debug)]
pub(super) struct Slow {
    pub(super) spender: u32,
    pub(super) calls: usize,
    pub(super) calls_before: usize,
    pub(super) median_ns: f64,
    pub(super) median_before_ns: f64,
    /// Time of all calls beyond what they took before, nanoseconds.
    pub(super) added_ns: f64,
    /// Its share of all time that was added anywhere.
    pub(super) share_of_added: f64,
    /// Its share of the time that the traces took which come by.
    pub(super) share_of_traces: f64,
    pub(super) confidence: f64,
    /// The calls.
    pub(super) spans: Vec<u32>,
}

impl Slow {
    pub(super) fn score(&self) -> f64 {
        self.confidence * self.share_of_traces.min(1.0) * self.share_of_added
    }
}

/// What one service spends more, all its places together.
#[derive(Clone, Debug, Default)]
pub(super) struct SlowService {
    pub(super) score: f64,
    pub(super) share_of_added: f64,
    pub(super) share_of_traces: f64,
    /// The places, the one that adds most first.
    pub(super) places: Vec<Slow>,
}

struct Times {
    own_ns: Vec<f64>,
    spans: Vec<u32>,
}

fn times(side: &Side) -> BTreeMap<u32, Times> {
    let mut times: BTreeMap<u32, Times> = BTreeMap::new();
    for (at, span) in (0..).zip(&side.spans).filter(|(_, span)| side.weight(span).is_even) {
        let of = times.entry(span.spender).or_insert_with(|| Times { own_ns: Vec::new(), spans: Vec::new() });
        of.own_ns.push(span.own_ns as f64);
        of.spans.push(at);
    }
    times
}

/// What is slower than before, by place.
pub(super) fn find(now: &Side, before: &Side) -> Vec<Slow> {
    let (times_now, times_before) = (times(now), times(before));
    let known: BTreeMap<u32, Known> =
        times_before.iter().filter_map(|(spender, times)| Some((*spender, Known::new(times)?))).collect();
    let usual = known.values().filter(|known| known.excesses.len() >= POOLED_CALLS_MIN);
    let pool = Sorted::new(usual.flat_map(|known| known.excesses.values()).copied().collect());
    let compared: Vec<(&u32, &Times, &Known)> =
        times_now.iter().filter_map(|(spender, times)| Some((spender, times, known.get(spender)?))).collect();
    let looks = compared.len();
    let mut found: Vec<Slow> = Vec::new();
    for (spender, times, known) in compared {
        let calls = Sorted::new(times.own_ns.clone());
        let (Some(median), n) = (calls.median(), times.spans.len()) else { continue };
        let step = n.div_ceil(CALLS_MAX).max(1);
        let chances = times.own_ns.iter().step_by(step).map(|own| known.chance(*own, &pool));
        // Calls of one trace behave alike: it is traces that count.
        let weight = now.traces_of(&times.spans) as f64 / n.max(1) as f64;
        let nats = combined_surprise(chances) * weight;
        let by_median = (median - known.median).max(0.0) * n as f64;
        let beyond: f64 = times.own_ns.iter().map(|own| (own - known.longest).max(0.0)).sum();
        let added_ns = by_median.max(beyond);
        if added_ns <= 0.0 {
            continue;
        }
        found.push(Slow {
            spender: *spender,
            calls: n,
            calls_before: known.excesses.len(),
            median_ns: median,
            median_before_ns: known.median,
            added_ns,
            share_of_added: 0.0,
            share_of_traces: added_ns / durations(now, &times.spans).max(1.0),
            confidence: confidence(nats, looks),
            spans: times.spans.clone(),
        });
    }
    let total: f64 = found.iter().map(|slow| slow.added_ns).sum();
    for slow in &mut found {
        slow.share_of_added = slow.added_ns / total.max(f64::MIN_POSITIVE);
    }
    found
}

/// How long calls of a kind took before.
struct Known {
    median: f64,
    longest: f64,
    /// The logarithms of how many times as long as usual.
    excesses: Sorted,
}

impl Known {
    fn new(times: &Times) -> Option<Known> {
        let sorted = Sorted::new(times.own_ns.clone());
        let (median, longest) = (sorted.median()?, sorted.max()?);
        let excesses = Sorted::new(sorted.values().iter().map(|own| excess(*own, median)).collect());
        Some(Known { median, longest, excesses })
    }

    /// The chance that a call takes so long.
    fn chance(&self, own_ns: f64, pool: &Sorted) -> f64 {
        let excess = excess(own_ns, self.median);
        let of_kind = self.excesses.at_least(excess) as f64;
        (of_kind + POOL_WEIGHT * pool.chance(excess)) / (self.excesses.len() as f64 + POOL_WEIGHT)
    }
}

fn excess(own_ns: f64, median: f64) -> f64 {
    (own_ns.max(FLOOR_NS) / median.max(FLOOR_NS)).ln()
}

/// How long the traces of these spans took, each once.
fn durations(side: &Side, spans: &[u32]) -> f64 {
    // In their order, so that the sum is the same each time.
    let traces: BTreeSet<u32> = spans.iter().filter_map(|at| side.span(*at)).map(|span| span.trace).collect();
    let duration = |number: u32| {
        side.traces.get(number as usize).map_or(0.0, |trace| trace.end.saturating_sub(trace.start) as f64)
    };
    traces.into_iter().map(duration).sum()
}

/// Charges each place to the service that is answerable for it.
pub(super) fn by_service(
    found: Vec<Slow>,
    side: &Side,
    vocabulary: &Vocabulary,
) -> BTreeMap<u32, SlowService> {
    let mut services: BTreeMap<u32, SlowService> = BTreeMap::new();
    for slow in found {
        if let Some(spender) = vocabulary.spenders.get(slow.spender) {
            services.entry(spender.charged()).or_default().places.push(slow);
        }
    }
    for service in services.values_mut() {
        service.places.sort_by(|a, b| {
            b.score()
                .total_cmp(&a.score())
                .then(b.added_ns.total_cmp(&a.added_ns))
                .then(a.spender.cmp(&b.spender))
        });
        let sure = |slow: &Slow| slow.added_ns * slow.confidence;
        let added: f64 = service.places.iter().map(sure).sum();
        let mut spans: Vec<u32> = service.places.iter().flat_map(|slow| &slow.spans).copied().collect();
        spans.sort_unstable();
        let together = added / durations(side, &spans).max(1.0);
        let best =
            service.places.iter().map(|slow| slow.share_of_traces * slow.confidence).fold(0.0, f64::max);
        service.share_of_traces = together.max(best).min(1.0);
        service.share_of_added =
            service.places.iter().map(|slow| slow.share_of_added * slow.confidence).sum();
        service.score = service.share_of_traces * service.share_of_added;
    }
    services
}

/// How surely and how much each span is slow; what waits for it is explained by that.
pub(super) fn by_span(found: &[Slow]) -> HashMap<u32, f64> {
    let mut spans = HashMap::new();
    for slow in found {
        let weight = slow.confidence * slow.share_of_traces.min(1.0);
        for at in &slow.spans {
            let known: &mut f64 = spans.entry(*at).or_default();
            *known = known.max(weight);
        }
    }
    spans
}

/// Whether a place is a call that nobody answers with a span: a database, or a service that is not instrumented.
pub(super) fn is_unanswered_call(slow: &Slow, side: &Side, vocabulary: &Vocabulary) -> bool {
    const CLIENT: u8 = 3;
    const PRODUCER: u8 = 4;
    matches!(vocabulary.spenders.get(slow.spender), Some(Spender::Own { .. }))
        && slow.spans.iter().all(|at| {
            side.span(*at).is_some_and(|span| matches!(span.row.kind, CLIENT | PRODUCER))
                && side.children(*at).is_empty()
        })
}
