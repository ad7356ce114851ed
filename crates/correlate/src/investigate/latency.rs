//! Where the added time is spent: own time of every operation, and time on the way between services, against the baseline.
//!
//! How much longer a call takes than calls of its kind usually take is a ratio; how often such a ratio is met by chance is
//! known from all calls of the baseline together, and from those of the same kind the better the more there are of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::side::Side;
use super::statistics::{Sorted, combined_surprise, confidence, weighed_surprise};
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
    /// How many calls, or how many those stand for that are here.
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
    /// What each counts; empty where each counts one.
    weights: Vec<f64>,
    spans: Vec<u32>,
}

fn times(side: &Side) -> BTreeMap<u32, Times> {
    let mut times: BTreeMap<u32, Times> = BTreeMap::new();
    let empty = || Times { own_ns: Vec::new(), weights: Vec::new(), spans: Vec::new() };
    for (at, span) in (0..).zip(&side.spans) {
        let weight = side.weight(span);
        if !weight.is_even {
            continue;
        }
        let of = times.entry(span.spender).or_insert_with(empty);
        if side.is_adjusted {
            of.weights.push(weight.adjusted);
        }
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
    let (mut pooled, mut weights) = (Vec::new(), Vec::new());
    for known in usual {
        pooled.extend_from_slice(known.excesses.values());
        weights.extend_from_slice(&known.weights);
    }
    let pool = Sorted::weighed(pooled, &weights);
    let compared: Vec<(&u32, &Times, &Known)> =
        times_now.iter().filter_map(|(spender, times)| Some((spender, times, known.get(spender)?))).collect();
    let looks = compared.len();
    let mut found: Vec<Slow> = Vec::new();
    for (spender, times, known) in compared {
        let calls = Sorted::weighed(times.own_ns.clone(), &times.weights);
        let (Some(median), n) = (calls.median(), times.spans.len()) else { continue };
        // Calls of one trace behave alike: it is traces that count.
        let weight = now.traces_of(&times.spans) as f64 / n.max(1) as f64;
        let nats = times.surprise(known, &pool) * weight * known.support(calls.effective());
        let by_median = (median - known.median).max(0.0) * calls.sum();
        let beyond: f64 = times.each().map(|(own, weight)| (own - known.longest).max(0.0) * weight).sum();
        let added_ns = by_median.max(beyond);
        if added_ns <= 0.0 {
            continue;
        }
        found.push(Slow {
            spender: *spender,
            calls: calls.sum().round() as usize,
            calls_before: known.excesses.sum().round() as usize,
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

impl Times {
    /// Own times with what each counts.
    fn each(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        let weight = |at: usize| self.weights.get(at).copied().unwrap_or(1.0);
        self.own_ns.iter().enumerate().map(move |(at, own)| (*own, weight(at)))
    }

    /// How unlikely these are together if nothing has changed, in nats.
    fn surprise(&self, known: &Known, pool: &Sorted) -> f64 {
        let step = self.spans.len().div_ceil(CALLS_MAX).max(1);
        let chances = self.each().step_by(step).map(|(own, weight)| (known.chance(own, pool), weight));
        match self.weights.is_empty() {
            true => combined_surprise(chances.map(|(chance, _)| chance)),
            false => weighed_surprise(chances),
        }
    }
}

/// How long calls of a kind took before.
struct Known {
    median: f64,
    longest: f64,
    /// The logarithms of how many times as long as usual.
    excesses: Sorted,
    /// What each counts, in the same order; empty where each counts one.
    weights: Vec<f64>,
}

impl Known {
    fn new(times: &Times) -> Option<Known> {
        let sorted = Sorted::weighed(times.own_ns.clone(), &times.weights);
        let (median, longest) = (sorted.median()?, sorted.max()?);
        if times.weights.is_empty() {
            let excesses = Sorted::new(sorted.values().iter().map(|own| excess(*own, median)).collect());
            return Some(Known { median, longest, excesses, weights: Vec::new() });
        }
        // By excess, which is the order of [`Sorted`], so that each keeps its weight.
        let mut pairs: Vec<(f64, f64)> =
            times.each().map(|(own, weight)| (excess(own, median), weight)).collect();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let (excesses, weights): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        let excesses = Sorted::weighed(excesses, &weights);
        Some(Known { median, longest, excesses, weights })
    }

    /// How much of what so many calls say holds against what is known: calls that are here and stand for many say how long those
    /// took no better than they themselves do.
    fn support(&self, calls: f64) -> f64 {
        let (seen, stand_for) = (self.excesses.effective(), self.excesses.sum());
        if seen >= stand_for { 1.0 } else { (seen / calls.min(stand_for).max(1.0)).min(1.0) }
    }

    /// The chance that a call takes so long.
    fn chance(&self, own_ns: f64, pool: &Sorted) -> f64 {
        let excess = excess(own_ns, self.median);
        let of_kind = self.excesses.at_least(excess);
        (of_kind + POOL_WEIGHT * pool.chance(excess)) / (self.excesses.effective() + POOL_WEIGHT)
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
        side.traces
            .get(number as usize)
            .map_or(0.0, |trace| trace.end.saturating_sub(trace.start) as f64 * trace.weight.adjusted)
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
