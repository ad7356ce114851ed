//! What is done otherwise: error lines that are new, and lines and calls that are missing, both for the same operation.
//!
//! 1. Of each operation that is called on both sides, the share of calls with a feature is compared ([`evidence_of_news`],
//!    [`evidence_of_change`]). The mix of operations may differ between the sides; it does not matter, because calls are compared
//!    with calls of their kind.
//! 2. New: an error (or a warning, which counts half) that more calls have than before. Gone: something ordinary that calls had
//!    before whenever they had something else (or at all), and have not any more. Only what was nearly always so, or is never so any
//!    more, counts: what depends on what is asked for moves with the mix of requests.
//! 3. Calls before that failed in a way that is not seen now are no model of how it should be, and are left out of it.
//! 4. Origin, not symptom: a call that has something bad is explained as far as a call below it has something bad, too.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::lines::{Example, Loose};
use super::read::Reading;
use super::side::{NONE, Side, Span};
use super::statistics::{Share, Tally, UNKNOWN_RATE, confidence, evidence_of_change, evidence_of_news};
use super::vocabulary::{Feature, Vocabulary};

/// What was so in this share of calls counts as always so.
const ALWAYS: f64 = 0.95;
/// A warning counts half of an error.
const WARNING: f64 = 0.5;
/// Errors that are at least half as frequent as before are habits.
const HABIT: f64 = 0.5;
/// Findings that are surer to be chance than this are not followed.
const CONFIDENCE_MIN: f64 = 1e-6;
/// Features of an operation that are compared with each other: pairs grow with the square.
const PAIRED_MAX: usize = 40;
/// Weights of calls that are told apart where pairs of features are counted.
const WEIGHTS_MAX: usize = 12;
/// Calls of an operation of which pairs of features are counted, so that a busy operation does not take all the time.
const PAIRED_CALLS_MAX: usize = 4_000;

/// Whether something came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is new.
    New,
    /// It is gone.
    Gone,
}

/// A difference in what calls of an operation do.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) operation: u32,
    pub(super) change: Change,
    /// What went together with it: a call with this has that too. None: every call.
    pub(super) given: Option<u32>,
    pub(super) feature: u32,
    pub(super) now: Share,
    pub(super) before: Share,
    /// By how much the share changed.
    pub(super) effect: f64,
    /// Nats until it is known at how much was looked, then a chance.
    pub(super) confidence: f64,
    /// Of the calls that show it, how much is not explained by a call below them.
    pub(super) origin: f64,
    /// The calls that show it.
    pub(super) spans: Vec<u32>,
}

impl Rule {
    pub(super) fn score(&self) -> f64 {
        self.effect * self.confidence * self.origin
    }

    /// Of the calls that show it, the share that would not have before.
    fn attributable(&self) -> f64 {
        let (now, before) = match self.change {
            Change::New => (self.now.rate(), self.before.rate()),
            Change::Gone => (1.0 - self.now.rate(), 1.0 - self.before.rate()),
        };
        ((now - before) / now.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
    }
}

/// The calls of each operation.
pub(super) fn calls(side: &Side) -> BTreeMap<u32, Vec<u32>> {
    let mut calls: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (at, span) in (0..).zip(&side.spans) {
        calls.entry(span.operation).or_default().push(at);
    }
    calls
}

/// Finds the rules; `slow` says of each span of the window how surely and how much it is slow.
pub(super) fn find(
    now: &Reading,
    before: &Reading,
    slow: &HashMap<u32, f64>,
    vocabulary: &Vocabulary,
) -> Vec<Rule> {
    let (calls_now, calls_before) = (calls(&now.side), calls(&before.side));
    let sick = sick_spans(now, before, &calls_now, &calls_before, vocabulary);
    let prior = error_prior(&before.side, &calls_before, vocabulary);
    let mut rules = Vec::new();
    let mut looks_gone = 0;
    let may_miss_lines = !now.lines_cut && !before.lines_cut;
    for (operation, spans) in &calls_now {
        let all = calls_before.get(operation).map(Vec::as_slice).unwrap_or_default();
        let healthy: Vec<u32> = all.iter().filter(|at| !sick.contains(*at)).copied().collect();
        let pair = Pair { now: &now.side, before: &before.side, spans, all, healthy: &healthy, vocabulary };
        pair.new_errors(*operation, prior, &mut rules);
        looks_gone += usize::from(pair.gone(*operation, may_miss_lines, &mut rules));
    }
    for rule in &mut rules {
        let looks = if rule.change == Change::New { calls_now.len() } else { looks_gone };
        rule.confidence = confidence(rule.confidence, looks);
    }
    rules.retain(|rule| rule.confidence > CONFIDENCE_MIN && rule.effect > 0.0);
    set_origins(&mut rules, &now.side, slow);
    rules
}

/// How often operations have errors at all.
fn error_prior(side: &Side, calls: &BTreeMap<u32, Vec<u32>>, vocabulary: &Vocabulary) -> (f64, f64) {
    let has_error = |spans: &&Vec<u32>| {
        spans.iter().filter_map(|at| side.span(*at)).any(|span| errors_of(span, vocabulary).next().is_some())
    };
    let with = calls.values().filter(has_error).count();
    let share = (with + 1) as f64 / (calls.len() + 2) as f64;
    (share, 1.0 - share)
}

fn errors_of<'a>(span: &'a Span, vocabulary: &'a Vocabulary) -> impl Iterator<Item = u32> + 'a {
    let is_error = |feature: &&u32| vocabulary.features.get(**feature).is_some_and(Feature::is_error);
    span.features.iter().filter(is_error).copied()
}

/// Spans before that have an error which is not seen now, and those above them.
fn sick_spans(
    now: &Reading,
    before: &Reading,
    calls_now: &BTreeMap<u32, Vec<u32>>,
    calls_before: &BTreeMap<u32, Vec<u32>>,
    vocabulary: &Vocabulary,
) -> HashSet<u32> {
    let count = |side: &Side| {
        let mut counts: HashMap<(u32, u32), Tally> = HashMap::new();
        for span in &side.spans {
            for feature in errors_of(span, vocabulary) {
                counts.entry((span.operation, feature)).or_default().add(side.weight(span).share);
            }
        }
        counts
    };
    let sizes = |side: &Side, calls: &BTreeMap<u32, Vec<u32>>| -> HashMap<u32, Tally> {
        calls.iter().map(|(operation, spans)| (*operation, size(side, spans))).collect()
    };
    let (sizes_now, sizes_before) = (sizes(&now.side, calls_now), sizes(&before.side, calls_before));
    let (errors_now, errors_before) = (count(&now.side), count(&before.side));
    let is_habit = |operation: u32, feature: u32| {
        let key = (operation, feature);
        let share = |errors: &HashMap<(u32, u32), Tally>, sizes: &HashMap<u32, Tally>| {
            let hits = errors.get(&key).copied().unwrap_or_default();
            Share::of(hits, sizes.get(&operation).copied().unwrap_or_default())
        };
        let (now, before) = (share(&errors_now, &sizes_now), share(&errors_before, &sizes_before));
        now.rate() >= HABIT * before.rate() && now.of > 0.0
    };
    let mut sick = HashSet::new();
    for at in &before.side.deepest_first {
        let Some(span) = before.side.span(*at) else { continue };
        let is_sick = errors_of(span, vocabulary).any(|feature| !is_habit(span.operation, feature))
            || before.side.children(*at).iter().any(|child| sick.contains(child));
        if is_sick {
            sick.insert(*at);
        }
    }
    sick
}

/// The calls of one operation on both sides.
struct Pair<'a> {
    now: &'a Side,
    before: &'a Side,
    spans: &'a [u32],
    all: &'a [u32],
    healthy: &'a [u32],
    vocabulary: &'a Vocabulary,
}

impl Pair<'_> {
    /// How much a call counts: calls of one trace behave alike, so that it is traces that count.
    fn weight(&self, before: &[u32]) -> f64 {
        let traces = self.now.traces_of(self.spans) + self.before.traces_of(before);
        traces as f64 / (self.spans.len() + before.len()).max(1) as f64
    }

    fn new_errors(&self, operation: u32, prior: (f64, f64), rules: &mut Vec<Rule>) {
        let (counts_now, counts_before) = (counts(self.now, self.spans), counts(self.before, self.all));
        let (size_now, size_before) = (size(self.now, self.spans), size(self.before, self.all));
        let before = if self.healthy.is_empty() { self.all } else { self.healthy };
        let weight = self.weight(before);
        for (feature, hits) in &counts_now {
            let Some(known) = self.vocabulary.features.get(*feature) else { continue };
            if known.is_ordinary() {
                continue;
            }
            let now = Share::of(*hits, size_now);
            let hits_before = counts_before.get(feature).copied().unwrap_or_default();
            let before = Share::of(hits_before, size_before);
            if now.rate() <= before.rate() {
                continue;
            }
            let worth = if known.is_error() { 1.0 } else { WARNING };
            rules.push(Rule {
                operation,
                change: Change::New,
                given: None,
                feature: *feature,
                now,
                before,
                effect: (now.rate() - before.rate()) * worth,
                confidence: evidence_of_news(now, before, weight, prior),
                origin: 1.0,
                spans: with_feature(self.now, self.spans, *feature, true),
            });
        }
    }

    /// What was always so and is not any more; returns whether there was anything to look at. What a call leaves out it mostly leaves
    /// out together, so that it is operations that were looked at and not each line of them.
    fn gone(&self, operation: u32, may_miss_lines: bool, rules: &mut Vec<Rule>) -> bool {
        let counts_before = counts(self.before, self.healthy);
        let counts_now = counts(self.now, self.spans);
        let (size_now, size_before) = (size(self.now, self.spans), size(self.before, self.healthy));
        let is_looked_at = |(feature, hits): &(&u32, &Tally)| {
            hits.effective() >= 2.0
                && self.vocabulary.features.get(**feature).is_some_and(|known| {
                    known.is_ordinary() && (may_miss_lines || !matches!(known, Feature::Line(..)))
                })
        };
        let mut ordinary: Vec<(u32, Tally)> =
            counts_before.iter().filter(is_looked_at).map(|(feature, hits)| (*feature, *hits)).collect();
        ordinary.sort_unstable_by(|a, b| b.1.sum.total_cmp(&a.1.sum).then(a.0.cmp(&b.0)));
        ordinary.truncate(PAIRED_MAX);
        let weight = self.weight(if self.healthy.is_empty() { self.all } else { self.healthy });
        let features: Vec<u32> = ordinary.iter().map(|(feature, _)| *feature).collect();
        let pairs_before = Pairs::new(self.before, self.healthy, &features);
        let pairs_now = Pairs::new(self.now, self.spans, &features);
        let mut looked_at_any = false;
        for (at, (feature, hits)) in ordinary.iter().enumerate() {
            let hits_now = counts_now.get(feature).copied().unwrap_or_default();
            let mut best: Option<Rule> = None;
            let mut looked = false;
            let givens = std::iter::once(None).chain((0..features.len()).map(Some));
            for given in givens.filter(|given| *given != Some(at)) {
                let (now, before) = match given {
                    None => (Share::of(hits_now, size_now), Share::of(*hits, size_before)),
                    Some(given) => (pairs_now.share(given, at), pairs_before.share(given, at)),
                };
                // What depends on what is asked for is no rule, but that it never happens any more is one.
                let is_rule = before.rate() >= ALWAYS || (given.is_none() && hits_now.sum == 0.0);
                if before.effective() < 2.0 || now.of == 0.0 || !is_rule {
                    continue;
                }
                looked = true;
                if now.rate() >= before.rate() {
                    continue;
                }
                let nats = evidence_of_change(now, before, weight, UNKNOWN_RATE);
                let effect = before.rate() - now.rate();
                if best.as_ref().is_none_or(|best| nats * effect > best.confidence * best.effect) {
                    let change = Change::Gone;
                    let (feature, spans) = (*feature, Vec::new());
                    let given = given.and_then(|given| features.get(given)).copied();
                    best = Some(Rule {
                        operation,
                        change,
                        given,
                        feature,
                        now,
                        before,
                        effect,
                        confidence: nats,
                        origin: 1.0,
                        spans,
                    });
                }
            }
            looked_at_any |= looked;
            if let Some(mut rule) = best {
                let mut spans = with_feature(self.now, self.spans, rule.feature, false);
                if let Some(given) = rule.given {
                    spans = with_feature(self.now, &spans, given, true);
                }
                rule.spans = spans;
                rules.push(rule);
            }
        }
        looked_at_any
    }
}

/// How many calls have each feature, as much as each counts.
fn counts(side: &Side, spans: &[u32]) -> BTreeMap<u32, Tally> {
    let mut counts: BTreeMap<u32, Tally> = BTreeMap::new();
    for span in spans.iter().filter_map(|at| side.span(*at)) {
        let share = side.weight(span).share;
        for feature in &span.features {
            counts.entry(*feature).or_default().add(share);
        }
    }
    counts
}

/// How many calls these are, as much as each counts.
fn size(side: &Side, spans: &[u32]) -> Tally {
    let mut size = Tally::default();
    spans.iter().filter_map(|at| side.span(*at)).for_each(|span| size.add(side.weight(span).share));
    size
}

fn with_feature(side: &Side, spans: &[u32], feature: u32, wanted: bool) -> Vec<u32> {
    let has = |at: &&u32| {
        side.span(**at).is_some_and(|span| span.features.binary_search(&feature).is_ok() == wanted)
    };
    spans.iter().filter(has).copied().collect()
}

/// Which of some calls have which of some features, a bit for each call, to count which go together.
struct Pairs {
    has: Vec<Vec<u64>>,
    /// Calls that do not count one, by what they count.
    weighed: Vec<(f64, Vec<u64>)>,
}

impl Pairs {
    fn new(side: &Side, spans: &[u32], features: &[u32]) -> Pairs {
        let step = spans.len().div_ceil(PAIRED_CALLS_MAX).max(1);
        let words = spans.len().div_ceil(step).div_ceil(64);
        let mut places: Vec<(u32, usize)> =
            features.iter().enumerate().map(|(at, feature)| (*feature, at)).collect();
        places.sort_unstable();
        let empty = vec![0u64; words];
        let mut pairs = Pairs { has: vec![empty; features.len()], weighed: Vec::new() };
        for (call, span) in spans.iter().step_by(step).filter_map(|at| side.span(*at)).enumerate() {
            let (word, bit) = (call / 64, 1u64 << (call % 64));
            pairs.weigh(side.weight(span).share, (word, bit), words);
            for feature in &span.features {
                let Ok(at) = places.binary_search_by_key(feature, |(known, _)| *known) else { continue };
                let has = places.get(at).and_then(|(_, at)| pairs.has.get_mut(*at));
                if let Some(word) = has.and_then(|has| has.get_mut(word)) {
                    *word |= bit;
                }
            }
        }
        pairs
    }

    /// Notes what a call counts. Of very many weights the others count as the nearest of the first.
    fn weigh(&mut self, share: f64, (word, bit): (usize, u64), words: usize) {
        #[expect(clippy::float_cmp, reason = "exactly one is what most calls count")]
        if share == 1.0 {
            return;
        }
        let known = self.weighed.iter().position(|(known, _)| known.to_bits() == share.to_bits());
        let at = match known {
            Some(at) => at,
            None if self.weighed.len() < WEIGHTS_MAX => {
                self.weighed.push((share, vec![0u64; words]));
                self.weighed.len() - 1
            }
            None => {
                let distance = |at: &usize| {
                    self.weighed.get(*at).map_or(f64::INFINITY, |(known, _)| (known - share).abs())
                };
                (0..self.weighed.len()).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0)
            }
        };
        if let Some(bits) = self.weighed.get_mut(at).and_then(|(_, bits)| bits.get_mut(word)) {
            *bits |= bit;
        }
    }

    /// Of the calls that have one, how many have the other.
    fn share(&self, given: usize, feature: usize) -> Share {
        let (Some(given), Some(feature)) = (self.has.get(given), self.has.get(feature)) else {
            return Share::default();
        };
        let count = |among: &dyn Fn(usize) -> u64| {
            let (mut hits, mut of) = (0, 0);
            for (word, (given, feature)) in given.iter().zip(feature).enumerate() {
                let given = given & among(word);
                of += given.count_ones();
                hits += (given & feature).count_ones();
            }
            (hits, of)
        };
        let (mut hits, mut of) = (Tally::default(), Tally::default());
        let (mut hits_left, mut left) = count(&|_| u64::MAX);
        for (weight, bits) in &self.weighed {
            let (hits_of, of_weight) = count(&|word| bits.get(word).copied().unwrap_or_default());
            hits.add_equal(hits_of, *weight);
            of.add_equal(of_weight, *weight);
            (hits_left, left) = (hits_left - hits_of, left - of_weight);
        }
        hits.add_equal(hits_left, 1.0);
        of.add_equal(left, 1.0);
        Share::of(hits, of)
    }
}

/// Says of each rule how much of it no call below explains.
fn set_origins(rules: &mut [Rule], side: &Side, slow: &HashMap<u32, f64>) {
    let mut bad = vec![0.0f64; side.spans.len()];
    for rule in &*rules {
        // How likely it is that such a call shows it because of what changed, however many calls do.
        let weight = rule.confidence * rule.attributable();
        for at in &rule.spans {
            if let Some(bad) = bad.get_mut(*at as usize) {
                *bad = bad.max(weight);
            }
        }
    }
    let mut below = vec![0.0f64; side.spans.len()];
    for at in &side.deepest_first {
        let Some(span) = side.span(*at).filter(|span| span.parent != NONE) else { continue };
        let own = [bad.get(*at as usize), below.get(*at as usize), slow.get(at)];
        let own = own.into_iter().flatten().copied().fold(0.0, f64::max);
        if let Some(above) = below.get_mut(span.parent as usize) {
            *above = above.max(own);
        }
    }
    for rule in rules {
        let (mut explained, mut of) = (0.0, 0.0);
        for at in &rule.spans {
            let share = side.span(*at).map_or(0.0, |span| side.weight(span).share);
            explained += below.get(*at as usize).map_or(0.0, |below| below.clamp(0.0, 1.0)) * share;
            of += share;
        }
        rule.origin = if of > 0.0 { 1.0 - explained / of } else { 0.0 };
    }
}

/// A kind of error line outside of spans that is more frequent than before.
#[derive(Clone, Debug)]
pub(super) struct LooseRule {
    pub(super) service: u32,
    pub(super) feature: u32,
    pub(super) lines: usize,
    /// In how many pieces of the window there was one.
    pub(super) now: Share,
    pub(super) before: Share,
    pub(super) confidence: f64,
    pub(super) example: Example,
}

impl LooseRule {
    pub(super) fn score(&self) -> f64 {
        // Nothing says what such a line belongs to, so that it counts as a warning does.
        (self.now.rate() - self.before.rate()).max(0.0) * self.confidence * WARNING
    }
}

/// Error lines outside of spans: windows are cut into pieces, and those with such a line are counted.
pub(super) fn loose(now: &Reading, before: &Reading, vocabulary: &Vocabulary) -> Vec<LooseRule> {
    let known: HashMap<(u32, u32), usize> =
        before.loose.iter().map(|loose| ((loose.service, loose.feature), loose.pieces.len())).collect();
    let looks = now.loose.len();
    let rule = |loose: &Loose| {
        let hits = known.get(&(loose.service, loose.feature)).copied().unwrap_or(0);
        let share_now = Share::new(loose.pieces.len().min(now.pieces), now.pieces);
        let share_before = Share::new(hits.min(before.pieces), before.pieces);
        LooseRule {
            service: loose.service,
            feature: loose.feature,
            lines: loose.lines,
            now: share_now,
            before: share_before,
            confidence: confidence(evidence_of_change(share_now, share_before, 1.0, UNKNOWN_RATE), looks),
            example: loose.example.clone(),
        }
    };
    let mut rules: Vec<LooseRule> = now
        .loose
        .iter()
        .filter(|loose| vocabulary.features.get(loose.feature).is_some_and(Feature::is_error))
        .map(rule)
        .filter(|rule| rule.now.rate() > rule.before.rate())
        .collect();
    rules.sort_by(|a, b| b.score().total_cmp(&a.score()).then(a.feature.cmp(&b.feature)));
    rules
}
