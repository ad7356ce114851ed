//! Adding and subtracting: schemas, zero buckets and custom bounds are reconciled first.
//!
//! The coarser schema wins; the zero bucket grows until it ends at a bound of both sides; of custom bounds those
//! remain that both sides have.

use super::buckets::Buckets;
use super::{CounterResetHint, FloatHistogram};

/// One side has custom buckets, the other exponential ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("histograms with exponential and custom buckets cannot be combined")]
pub struct Incompatible;

/// What had to be reconciled, for annotations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// One side said that there was a counter reset, the other that there was none.
    pub hint_collision: bool,
    /// Custom bounds differed.
    pub custom_bounds: bool,
}

impl Reconciled {
    /// Either of both.
    #[must_use]
    pub fn or(self, other: Reconciled) -> Reconciled {
        Reconciled {
            hint_collision: self.hint_collision || other.hint_collision,
            custom_bounds: self.custom_bounds || other.custom_bounds,
        }
    }
}

impl FloatHistogram {
    /// Adds `other` to this one.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<Reconciled, Incompatible> {
        self.combine(other, 1.0)
    }

    /// Subtracts `other`. The hint is treated as in an addition: an operator that subtracts sets it to gauge itself.
    pub fn sub(&mut self, other: &FloatHistogram) -> Result<Reconciled, Incompatible> {
        self.combine(other, -1.0)
    }

    /// Whether a bucket of an index is the same in both.
    pub(super) fn is_aligned_with(&self, other: &FloatHistogram) -> bool {
        self.schema == other.schema
            && self.zero_threshold == other.zero_threshold
            && self.custom_values == other.custom_values
    }

    /// Whether both have the same buckets, so that counts can be combined in place.
    pub(super) fn has_layout_of(&self, other: &FloatHistogram) -> bool {
        let is_same = |mine: &Buckets, theirs: &Buckets| {
            mine.spans == theirs.spans && mine.counts.len() == theirs.counts.len()
        };
        self.is_aligned_with(other)
            && is_same(&self.positive, &other.positive)
            && is_same(&self.negative, &other.negative)
    }

    fn combine(&mut self, other: &FloatHistogram, sign: f64) -> Result<Reconciled, Incompatible> {
        if self.has_layout_of(other) {
            self.zero_count += sign * other.zero_count;
            self.count += sign * other.count;
            self.sum += sign * other.sum;
            let positive = self.positive.counts.iter_mut().zip(&other.positive.counts);
            let negative = self.negative.counts.iter_mut().zip(&other.negative.counts);
            positive.chain(negative).for_each(|(mine, theirs)| *mine += sign * theirs);
            return Ok(Reconciled { hint_collision: self.adopt_hint(other), custom_bounds: false });
        }
        let (reconciled, aligned) = self.align(other)?;
        self.zero_count += sign * aligned.zero_count;
        self.count += sign * other.count;
        self.sum += sign * other.sum;
        let add = |mine: &Buckets, theirs: &Buckets| merge(mine, theirs, |mine, theirs| mine + sign * theirs);
        self.positive = add(&self.positive, &aligned.positive);
        self.negative = add(&self.negative, &aligned.negative);
        Ok(reconciled)
    }

    /// Brings both to one layout: this histogram itself, and what `other` then has in its buckets.
    pub(super) fn align(&mut self, other: &FloatHistogram) -> Result<(Reconciled, Aligned), Incompatible> {
        if self.is_custom() != other.is_custom() {
            return Err(Incompatible);
        }
        let mut reconciled = Reconciled { hint_collision: self.adopt_hint(other), custom_bounds: false };
        if self.is_custom() {
            let positive = if self.custom_values == other.custom_values {
                other.positive.clone()
            } else {
                reconciled.custom_bounds = true;
                let common = common_bounds(&self.custom_values, &other.custom_values);
                self.positive = rebound(&self.positive, &self.custom_values, &common);
                let theirs = rebound(&other.positive, &other.custom_values, &common);
                self.custom_values = common;
                theirs
            };
            let aligned = Aligned { zero_count: 0.0, positive, negative: Buckets::default() };
            return Ok((reconciled, aligned));
        }
        let zero_count = self.reconcile_zero_bucket(other);
        let schema = self.schema.min(other.schema);
        self.coarsen(schema);
        let mut aligned = Aligned {
            zero_count,
            positive: other.positive.coarser(other.schema, schema),
            negative: other.negative.coarser(other.schema, schema),
        };
        if self.zero_threshold > other.zero_threshold {
            aligned.drop_below(self.zero_threshold, schema);
        }
        Ok((reconciled, aligned))
    }

    /// Merges buckets down to a coarser schema.
    pub fn coarsen(&mut self, schema: i32) {
        if schema < self.schema && !self.is_custom() {
            self.positive = self.positive.coarser(self.schema, schema);
            self.negative = self.negative.coarser(self.schema, schema);
            self.schema = schema;
        }
    }

    /// Makes the hint that of a sum. Whether one side said reset and the other not.
    pub(super) fn adopt_hint(&mut self, other: &FloatHistogram) -> bool {
        use CounterResetHint::{Gauge, Unknown};
        let (mine, theirs) = (self.counter_reset_hint, other.counter_reset_hint);
        let collision =
            mine != theirs && ![mine, theirs].contains(&Gauge) && ![mine, theirs].contains(&Unknown);
        self.counter_reset_hint = match (mine, theirs) {
            _ if mine == theirs => mine,
            (Gauge, _) | (_, Gauge) => Gauge,
            _ => Unknown,
        };
        collision
    }

    /// Widens zero buckets until both are equally wide; the zero count that `other` would have.
    fn reconcile_zero_bucket(&mut self, other: &FloatHistogram) -> f64 {
        let (mut other_count, mut other_threshold) = (other.zero_count, other.zero_threshold);
        // Each round moves a threshold to the bound of a populated bucket, of which there are finitely many;
        // thresholds that are no numbers would never meet.
        let rounds = other.positive.counts.len()
            + other.negative.counts.len()
            + self.positive.counts.len()
            + self.negative.counts.len();
        for _ in 0..=rounds {
            if self.zero_threshold > other_threshold {
                (other_count, other_threshold) = other.widened_zero_bucket(self.zero_threshold);
            } else if other_threshold > self.zero_threshold {
                let (count, threshold) = self.widened_zero_bucket(other_threshold);
                (self.zero_count, self.zero_threshold) = (count, threshold);
                let schema = self.schema;
                drop_below(&mut self.positive, threshold, schema);
                drop_below(&mut self.negative, threshold, schema);
            } else {
                break;
            }
        }
        other_count
    }

    /// The zero count if the zero bucket reached at least to `threshold`, and where it would then end: a populated
    /// bucket is never cut.
    pub(super) fn widened_zero_bucket(&self, mut threshold: f64) -> (f64, f64) {
        if threshold == self.zero_threshold {
            return (self.zero_count, threshold);
        }
        'again: loop {
            let mut count = self.zero_count;
            for bucket in self.positive_buckets() {
                if bucket.lower >= threshold {
                    break;
                }
                count += bucket.count;
                if bucket.upper > threshold {
                    if bucket.count != 0.0 {
                        threshold = bucket.upper;
                    }
                    break;
                }
            }
            for bucket in self.negative_buckets() {
                if bucket.upper <= -threshold {
                    break;
                }
                count += bucket.count;
                if bucket.lower < -threshold {
                    if bucket.count != 0.0 {
                        threshold = -bucket.lower;
                        continue 'again;
                    }
                    break;
                }
            }
            return (count, threshold);
        }
    }
}

/// What a histogram has in the layout of another.
pub(super) struct Aligned {
    pub zero_count: f64,
    pub positive: Buckets,
    pub negative: Buckets,
}

impl Aligned {
    fn drop_below(&mut self, threshold: f64, schema: i32) {
        drop_below(&mut self.positive, threshold, schema);
        drop_below(&mut self.negative, threshold, schema);
    }
}

/// Leaves out the buckets that lie within the zero bucket.
fn drop_below(buckets: &mut Buckets, threshold: f64, schema: i32) {
    let kept =
        buckets.iter().filter(|(index, _)| super::buckets::exponential_bound(*index, schema) > threshold);
    *buckets = Buckets::from_sorted(kept);
}

/// Combines the counts of equal indexes; a missing bucket has zero.
pub(super) fn merge(a: &Buckets, b: &Buckets, combine: impl Fn(f64, f64) -> f64) -> Buckets {
    if a.spans == b.spans && a.counts.len() == b.counts.len() {
        let counts = a.counts.iter().zip(&b.counts).map(|(a, b)| combine(*a, *b)).collect();
        return Buckets { spans: a.spans.clone(), counts };
    }
    let (mut left, mut right) = (a.iter().peekable(), b.iter().peekable());
    let mut merged = Vec::with_capacity(a.counts.len().max(b.counts.len()));
    loop {
        let index = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) => a.0.min(b.0),
            (Some(one), None) | (None, Some(one)) => one.0,
            (None, None) => break,
        };
        let mut mine = 0.0;
        while let Some(bucket) = left.next_if(|bucket| bucket.0 == index) {
            mine += bucket.1;
        }
        let mut theirs = 0.0;
        while let Some(bucket) = right.next_if(|bucket| bucket.0 == index) {
            theirs += bucket.1;
        }
        // Spans with a negative gap would go backwards for ever.
        if merged.last().is_some_and(|last: &(i32, f64)| last.0 >= index) {
            break;
        }
        merged.push((index, combine(mine, theirs)));
    }
    Buckets::from_sorted(merged)
}

/// The bounds that both have.
pub(super) fn common_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut others = b.iter().copied().peekable();
    let mut common = Vec::new();
    for bound in a {
        while others.next_if(|other| other < bound).is_some() {}
        if others.peek() == Some(bound) {
            common.push(*bound);
        }
    }
    common
}

/// Custom buckets merged into those of fewer bounds.
pub(super) fn rebound(buckets: &Buckets, from: &[f64], to: &[f64]) -> Buckets {
    let mut counts = vec![0.0; to.len() + 1];
    for (index, count) in buckets.iter() {
        let bound = usize::try_from(index).ok().and_then(|at| from.get(at));
        let target = bound.map_or(to.len(), |bound| to.partition_point(|other| other < bound));
        counts[target] += count;
    }
    let numbered = (0i32..).zip(counts).filter(|bucket| bucket.1 != 0.0);
    Buckets::from_sorted(numbered)
}
