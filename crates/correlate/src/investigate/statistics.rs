//! What makes a difference a difference: Bayes factors of shares, combined tail probabilities, and how sure one may be
//! after so many looks.
//!
//! Evidence is measured in nats, natural logarithms of odds, so that it adds up. Nothing here is a threshold on a value: how
//! much a value must differ follows from how much it differs by itself.

/// Evidence beyond this is certainty, and its exponential still a number.
const NATS_MAX: f64 = 500.0;

/// Of how many calls something was seen in how many. Both may be fractions where calls count less than one each.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Share {
    pub(super) hits: f64,
    pub(super) of: f64,
}

impl Share {
    pub(super) fn new(hits: usize, of: usize) -> Share {
        Share { hits: hits as f64, of: of as f64 }
    }

    pub(super) fn rate(self) -> f64 {
        if self.of > 0.0 { self.hits / self.of } else { 0.0 }
    }

    fn scaled(self, by: f64) -> Share {
        Share { hits: self.hits * by, of: self.of * by }
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
    let both = Share { hits: now.hits + before.hits, of: now.of + before.of };
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
    if total <= 0.0 {
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
pub(super) struct Sorted(Vec<f64>);

impl Sorted {
    pub(super) fn new(mut values: Vec<f64>) -> Sorted {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        Sorted(values)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many values are at least so high.
    pub(super) fn at_least(&self, value: f64) -> usize {
        self.0.len() - self.0.partition_point(|known| *known < value)
    }

    /// The chance of a value at least so high; never zero, because what was not seen yet may still come.
    pub(super) fn chance(&self, value: f64) -> f64 {
        (self.at_least(value) + 1) as f64 / (self.0.len() + 1) as f64
    }

    /// The value that `share` of all do not exceed.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let at = (share * self.0.len() as f64).ceil() as usize;
        self.0.get(at.saturating_sub(1)).copied()
    }

    /// The middle one, of two the mean.
    pub(super) fn median(&self) -> Option<f64> {
        let n = self.0.len();
        let (low, high) = (self.0.get(n.checked_sub(1)? / 2)?, self.0.get(n / 2)?);
        Some(f64::midpoint(*low, *high))
    }

    pub(super) fn max(&self) -> Option<f64> {
        self.0.last().copied()
    }

    pub(super) fn values(&self) -> &[f64] {
        &self.0
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
            (3, 2, Some(2.0), Some(3.0))
        );
        assert_eq!((sorted.quantile(0.75), sorted.chance(4.0)), (Some(3.0), 0.25));
        assert_eq!(Sorted::default().median(), None);
        assert!(any_of([0.5, 0.5].into_iter()) > 0.74);
    }
}
