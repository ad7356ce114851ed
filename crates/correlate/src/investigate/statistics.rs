//! What makes a difference a difference: Bayes factors of shares, combined tail probabilities, and how sure one may be
//! after so many looks.
//!
//! Evidence is measured in nats, natural logarithms of odds, so that it adds up. Nothing here is a threshold on a value: how
//! much a value must differ follows from how much it differs by itself.

/// Evidence beyond this is certainty, and its exponential still a number.
const NATS_MAX: f64 = 500.0;

/// Calls as much as each counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tally {
    /// How many calls they stand for.
    pub(super) sum: f64,
    squares: f64,
}

impl Tally {
    pub(super) fn add(&mut self, weight: f64) {
        self.add_equal(1, weight);
    }

    /// Adds so many calls that count the same.
    pub(super) fn add_equal(&mut self, calls: u32, weight: f64) {
        self.sum += f64::from(calls) * weight;
        self.squares += f64::from(calls) * weight * weight;
    }

    fn without(self, some: Tally) -> Tally {
        Tally { sum: (self.sum - some.sum).max(0.0), squares: (self.squares - some.squares).max(0.0) }
    }

    /// As many calls of equal weight say as much (Kish's effective size): never more than were seen, nor than they stand for.
    pub(super) fn effective(self) -> f64 {
        // Where no call counts more than one this is exact, and nothing is rounded.
        if self.squares <= self.sum { self.sum } else { self.sum * self.sum / self.squares }
    }
}

/// Of how many calls something was seen in how many. Both may be fractions where calls count less than one each, and more than were
/// seen where one stands for many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    pub(super) hits: f64,
    pub(super) of: f64,
    /// What both are to be multiplied with so that they say no more than the calls that were seen.
    seen: f64,
}

impl Default for Share {
    fn default() -> Share {
        Share::new(0, 0)
    }
}

impl Share {
    pub(super) fn new(hits: usize, of: usize) -> Share {
        Share { hits: hits as f64, of: of as f64, seen: 1.0 }
    }

    /// Of calls that count differently.
    ///
    /// A sampler that keeps all errors and few of the rest leaves a share whose precision is that of the errors. So the effective size
    /// is that of a plain sample with the same variance of the share's log odds, which is what hits and misses have together.
    pub(super) fn of(hits: Tally, of: Tally) -> Share {
        let share = Share { hits: hits.sum, of: of.sum, seen: 1.0 };
        let all = of.effective();
        if all >= of.sum {
            return share;
        }
        let rate = share.rate();
        let (some, others) = (hits.effective(), of.without(hits).effective());
        let size = match some > 0.0 && others > 0.0 && rate < 1.0 {
            true => 1.0 / (rate * (1.0 - rate) * (1.0 / some + 1.0 / others)),
            false => all,
        };
        Share { seen: (size / of.sum).clamp(0.0, 1.0), ..share }
    }

    /// As many calls as say as much.
    pub(super) fn effective(self) -> f64 {
        self.of * self.seen
    }

    pub(super) fn rate(self) -> f64 {
        if self.of > 0.0 { self.hits / self.of } else { 0.0 }
    }

    fn scaled(self, by: f64) -> Share {
        let by = by * self.seen;
        Share { hits: self.hits * by, of: self.of * by, seen: 1.0 }
    }
}

/// The logarithm of the gamma function for positive numbers, after Lanczos (g = 7), to 13 digits.
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        // Reflection: small arguments are mapped to large ones.
        return (std::f64::consts::PI / (std::f64::consts::PI * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let t = x + 7.5;
    let sum =
        (1..).zip(TERMS).fold(0.999_999_999_999_809_9, |sum, (n, term)| sum + term / (x + f64::from(n)));
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// The evidence that two shares come from two different rates rather than from one, in nats: a Bayes factor with a beta
/// prior. `weight` says how many independent calls each call stands for, where calls come in groups that behave alike.
pub(super) fn evidence_of_change(now: Share, before: Share, weight: f64, prior: (f64, f64)) -> f64 {
    let (now, before) = (now.scaled(weight), before.scaled(weight));
    let (a, b) = prior;
    let of = |share: Share| ln_beta(a + share.hits, b + (share.of - share.hits).max(0.0));
    let both = Share { hits: now.hits + before.hits, of: now.of + before.of, seen: 1.0 };
    of(now) + of(before) - ln_beta(a, b) - of(both)
}

/// The evidence that something is there that was not: that a share comes from a rate of which nothing is known, as it may be where
/// something broke, rather than from the rate of before, which is one of those that `prior` says are usual. So one call that does
/// what hardly any call of any kind ever did says more than one that does what a few always do.
pub(super) fn evidence_of_news(now: Share, before: Share, weight: f64, prior: (f64, f64)) -> f64 {
    let (now, before) = (now.scaled(weight), before.scaled(weight));
    let after = |(a, b): (f64, f64), share: Share| (a + share.hits, b + (share.of - share.hits).max(0.0));
    let of = |prior: (f64, f64)| {
        let (a, b) = after(prior, now);
        ln_beta(a, b) - ln_beta(prior.0, prior.1)
    };
    of(UNKNOWN_RATE) - of(after(prior, before))
}

/// The prior of a rate of which nothing is known (Jeffreys).
pub(super) const UNKNOWN_RATE: (f64, f64) = (0.5, 0.5);

/// How sure one may be of evidence that is the best of so many looks: one in `looks` is expected to be real.
pub(super) fn confidence(nats: f64, looks: usize) -> f64 {
    let nats = nats.clamp(-NATS_MAX, NATS_MAX);
    1.0 / (1.0 + looks.max(1) as f64 * (-nats).exp())
}

/// How unlikely these tail probabilities are together if nothing has changed, in nats (Fisher's method).
pub(super) fn combined_surprise(probabilities: impl Iterator<Item = f64>) -> f64 {
    let (mut total, mut n) = (0.0, 0usize);
    for probability in probabilities {
        total -= probability.clamp(f64::MIN_POSITIVE, 1.0).ln();
        n += 1;
    }
    surprise(total, n)
}

/// Likewise where calls count differently: what they say on average, as often as they say it independently.
pub(super) fn weighed_surprise(probabilities: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (mut total, mut calls) = (0.0, Tally::default());
    for (probability, weight) in probabilities {
        total -= probability.clamp(f64::MIN_POSITIVE, 1.0).ln() * weight;
        calls.add(weight);
    }
    let n = calls.effective();
    surprise(total / calls.sum.max(f64::MIN_POSITIVE) * n, n.round() as usize)
}

fn surprise(total: f64, n: usize) -> f64 {
    if total <= 0.0 || n == 0 {
        return 0.0;
    }
    // The chance that n such sums reach the total: e^-total * sum of total^i / i! for i < n, summed by its logarithms.
    let (mut term, mut highest, mut terms) = (0.0f64, 0.0f64, vec![0.0f64]);
    for i in 1..n {
        term += total.ln() - (i as f64).ln();
        highest = highest.max(term);
        terms.push(term);
    }
    let sum: f64 = terms.iter().map(|term| (term - highest).exp()).sum();
    (total - highest - sum.ln()).max(0.0)
}

/// Values in order, to ask how often one is met by chance.
#[derive(Clone, Debug, Default)]
pub(super) struct Sorted {
    values: Vec<f64>,
    /// Of values that count differently, what each and all below it count; empty where each counts one.
    cumulative: Vec<f64>,
    tally: Tally,
}

impl Sorted {
    pub(super) fn new(mut values: Vec<f64>) -> Sorted {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        let n = values.len() as f64;
        Sorted { values, cumulative: Vec::new(), tally: Tally { sum: n, squares: n } }
    }

    /// Values that count differently, by the weight of each; all one where there are no weights.
    pub(super) fn weighed(values: Vec<f64>, weights: &[f64]) -> Sorted {
        if weights.is_empty() {
            return Sorted::new(values);
        }
        let mut pairs: Vec<(f64, f64)> = values.into_iter().zip(weights.iter().copied()).collect();
        pairs.retain(|(value, _)| value.is_finite());
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let mut tally = Tally::default();
        let mut cumulative = Vec::with_capacity(pairs.len());
        for (_, weight) in &pairs {
            tally.add(*weight);
            cumulative.push(tally.sum);
        }
        Sorted { values: pairs.into_iter().map(|(value, _)| value).collect(), cumulative, tally }
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// How many they stand for.
    pub(super) fn sum(&self) -> f64 {
        self.tally.sum
    }

    /// As many values that count the same say as much.
    pub(super) fn effective(&self) -> f64 {
        self.tally.effective()
    }

    /// How many values are at least so high, out of [`Self::effective`].
    pub(super) fn at_least(&self, value: f64) -> f64 {
        let below = self.values.partition_point(|known| *known < value);
        if self.cumulative.is_empty() {
            return (self.values.len() - below) as f64;
        }
        let below = below.checked_sub(1).and_then(|last| self.cumulative.get(last)).copied();
        let share = 1.0 - below.unwrap_or_default() / self.tally.sum.max(f64::MIN_POSITIVE);
        share.max(0.0) * self.effective()
    }

    /// The chance of a value at least so high; never zero, because what was not seen yet may still come.
    pub(super) fn chance(&self, value: f64) -> f64 {
        (self.at_least(value) + 1.0) / (self.effective() + 1.0)
    }

    /// The value that `share` of all do not exceed.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let at = match self.cumulative.is_empty() {
            true => ((share * self.values.len() as f64).ceil() as usize).saturating_sub(1),
            false => self.cumulative.partition_point(|below| *below < share * self.tally.sum),
        };
        self.values.get(at).copied()
    }

    /// The middle one, of two the mean.
    pub(super) fn median(&self) -> Option<f64> {
        if !self.cumulative.is_empty() {
            return self.quantile(0.5);
        }
        let n = self.values.len();
        let (low, high) = (self.values.get(n.checked_sub(1)? / 2)?, self.values.get(n / 2)?);
        Some(f64::midpoint(*low, *high))
    }

    pub(super) fn max(&self) -> Option<f64> {
        self.values.last().copied()
    }

    pub(super) fn values(&self) -> &[f64] {
        &self.values
    }
}

/// The score of several independent findings together: the chance that not all of them are for nothing.
pub(super) fn any_of(scores: impl Iterator<Item = f64>) -> f64 {
    1.0 - scores.map(|score| 1.0 - score.clamp(0.0, 0.999)).product::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_is_the_factorial() {
        let mut factorial = 1.0f64;
        for n in 1..20u32 {
            assert!((ln_gamma(f64::from(n)) - factorial.ln()).abs() < 1e-10, "{n}");
            factorial *= f64::from(n);
        }
        assert!((ln_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-10);
        assert!((ln_gamma(0.1) - 9.513_507_698_668_732f64.ln()).abs() < 1e-10);
    }

    #[test]
    fn evidence_grows_with_calls_and_is_none_where_nothing_changed() {
        let of = |now: (usize, usize), before: (usize, usize)| {
            evidence_of_change(Share::new(now.0, now.1), Share::new(before.0, before.1), 1.0, UNKNOWN_RATE)
        };
        assert!(of((0, 9), (9, 9)) > 5.0);
        assert!(of((0, 90), (90, 90)) > of((0, 9), (9, 9)));
        assert!(of((5, 10), (50, 100)) < 0.0);
        assert!(of((4, 4), (0, 1)) < 2.5, "one call before says little");
        assert!(of((3, 3), (0, 0)).abs() < 1e-9, "no call before says nothing");
    }

    #[test]
    fn news_is_what_is_rare_everywhere() {
        let of = |now: (usize, usize), before: (usize, usize), prior: f64| {
            let (now, before) = (Share::new(now.0, now.1), Share::new(before.0, before.1));
            evidence_of_news(now, before, 1.0, (prior, 1.0 - prior))
        };
        // One failed call of a kind that was called once and did not fail, where hardly any kind ever fails.
        assert!(of((1, 1), (0, 1), 0.03) > 3.0, "{}", of((1, 1), (0, 1), 0.03));
        assert!(of((1, 1), (0, 1), 0.5) < 1.0);
        assert!(of((3, 3), (0, 9), 0.03) > of((1, 1), (0, 9), 0.03));
        assert!(of((5, 100), (50, 1_000), 0.03) < 0.0, "as before");
        assert!(of((0, 100), (0, 100), 0.03) < 0.0);
    }

    #[test]
    fn surprise_combines() {
        assert!(combined_surprise([1.0, 1.0].into_iter()).abs() < 1e-12);
        let one = combined_surprise([0.001].into_iter());
        assert!((one - 0.001f64.ln().abs()).abs() < 1e-9);
        assert!(combined_surprise([0.001; 5].into_iter()) > 3.0 * one);
        // Half of all values are below one half: that is no surprise however many there are.
        assert!(combined_surprise((0..1000).map(|n| (f64::from(n) + 0.5) / 1000.0)) < 2.0);
        assert!(combined_surprise([0.0; 2000].into_iter()).is_finite());
        assert_eq!(combined_surprise(std::iter::empty()), 0.0);
    }

    #[test]
    fn confidence_falls_with_the_number_of_looks() {
        assert!(confidence(10.0, 10) > 0.99 && confidence(10.0, 1_000_000) < 0.03);
        assert_eq!(confidence(f64::NAN.max(0.0), 1), 0.5);
        let sorted = Sorted::new(vec![3.0, 1.0, 2.0, f64::NAN]);
        assert_eq!(
            (sorted.len(), sorted.at_least(2.0), sorted.median(), sorted.max()),
            (3, 2.0, Some(2.0), Some(3.0))
        );
        assert_eq!((sorted.quantile(0.75), sorted.chance(4.0)), (Some(3.0), 0.25));
        assert_eq!(Sorted::default().median(), None);
        assert!(any_of([0.5, 0.5].into_iter()) > 0.74);
    }

    fn tally(calls: &[(u32, f64)]) -> Tally {
        let mut tally = Tally::default();
        calls.iter().for_each(|(n, weight)| tally.add_equal(*n, *weight));
        tally
    }

    #[test]
    fn calls_that_stand_for_many_say_as_much_as_were_seen() {
        // Each tenth call was kept: a hundred say what a hundred say.
        let tenth = Share::of(tally(&[(5, 10.0)]), tally(&[(100, 10.0)]));
        assert_eq!((tenth.rate(), tenth.of), (0.05, 1_000.0));
        assert!((tenth.effective() - 100.0).abs() < 1e-6, "{tenth:?}");
        let (seen, none) = (Share::new(5, 100), Share::new(0, 100));
        let of = |share| evidence_of_change(share, none, 1.0, UNKNOWN_RATE);
        assert!((of(tenth) - of(seen)).abs() < 1e-6);
        // All errors were kept: there are no more of them than were seen, and the rest makes the share a little less sure.
        let kept = Share::of(tally(&[(10, 1.0)]), tally(&[(10, 1.0), (99, 10.0)]));
        assert!((kept.rate() - 0.01).abs() < 1e-9);
        assert!(kept.hits * kept.seen < 10.0 && (800.0..1_000.0).contains(&kept.effective()), "{kept:?}");
        let none = Share::of(Tally::default(), tally(&[(99, 10.0)]));
        assert!((none.effective() - 99.0).abs() < 1e-6, "what was not seen is as sure as the calls are many");
        // Those that count one or less are as before.
        let light = Share::of(tally(&[(5, 0.5)]), tally(&[(5, 0.5), (20, 1.0)]));
        assert_eq!((light.of, light.effective()), (22.5, 22.5));
    }

    #[test]
    fn quantiles_are_of_what_values_stand_for() {
        let sorted = Sorted::weighed(vec![50.0, 1.0, 2.0, 3.0], &[1.0, 10.0, 10.0, 10.0]);
        assert_eq!((sorted.median(), sorted.quantile(0.99), sorted.sum()), (Some(2.0), Some(50.0), 31.0));
        assert!((sorted.at_least(50.0) / sorted.effective() - 1.0 / 31.0).abs() < 1e-9);
        assert!(sorted.effective() < 4.0);
        let plain = Sorted::weighed(vec![3.0, 1.0, 2.0], &[]);
        assert_eq!((plain.median(), plain.at_least(2.0)), (Some(2.0), 2.0));
        let one = combined_surprise([0.01; 50].into_iter());
        assert!((weighed_surprise([(0.01, 10.0); 50].into_iter()) - one).abs() < 1e-6);
    }
}
