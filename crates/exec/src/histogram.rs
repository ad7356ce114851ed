//! Native histograms with float counts: exponential buckets of base 2^(2^-schema), or custom bounds.
//!
//! Results agree with what Prometheus computes, bucket by bucket; layouts may differ where a bucket is empty, which
//! nobody can see. Everything is total: a histogram from outside with inconsistent spans gives odd results, no panic.

mod arithmetic;
mod buckets;
mod compensated;
mod quantile;
mod reset;
mod text;
mod trim;

#[cfg(test)]
mod tests;

pub use arithmetic::{Incompatible, Reconciled};
pub use buckets::{Bucket, Buckets, Span};
pub use compensated::CompensatedSum;
pub use text::format_float;

use buckets::exponential_bound;

/// The schema of histograms with custom bounds.
pub const CUSTOM_SCHEMA: i32 = -53;

/// The coarsest exponential schema.
pub const EXPONENTIAL_SCHEMA_MIN: i32 = -4;

/// The finest exponential schema.
pub const EXPONENTIAL_SCHEMA_MAX: i32 = 8;

/// What is known about a reset of the counter between the sample before and this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CounterResetHint {
    /// Nothing: compare the counts.
    #[default]
    Unknown,
    /// There was one.
    Reset,
    /// There was none.
    NotReset,
    /// Not a counter at all.
    Gauge,
}

/// One native histogram.
#[derive(Clone, Debug, Default)]
pub struct FloatHistogram {
    /// Resolution, or [`CUSTOM_SCHEMA`].
    pub schema: i32,
    /// Observations with an absolute value up to this lie in the zero bucket.
    pub zero_threshold: f64,
    /// How many these are.
    pub zero_count: f64,
    /// All observations, those of NaN included.
    pub count: f64,
    /// Their sum. A stale marker is here.
    pub sum: f64,
    /// Positive buckets; those of custom bounds, too.
    pub positive: Buckets,
    /// Negative buckets, counted from zero downwards.
    pub negative: Buckets,
    /// Upper bounds of all custom buckets but the last, ascending.
    pub custom_values: Vec<f64>,
    /// About resets.
    pub counter_reset_hint: CounterResetHint,
}

impl FloatHistogram {
    /// Whether the buckets have custom bounds.
    #[must_use]
    pub fn is_custom(&self) -> bool {
        self.schema == CUSTOM_SCHEMA
    }

    /// Whether this marks the end of a series.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        crate::series::is_stale(self.sum)
    }

    /// The zero bucket.
    #[must_use]
    pub fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
            index: 0,
        }
    }

    /// Positive buckets from zero upwards, empty ones as they are stored.
    pub fn positive_buckets(&self) -> impl Iterator<Item = Bucket> {
        self.positive.iter().map(|(index, count)| self.positive_bucket(index, count))
    }

    /// Negative buckets from zero downwards.
    pub fn negative_buckets(&self) -> impl Iterator<Item = Bucket> {
        self.negative.iter().map(|(index, count)| self.negative_bucket(index, count))
    }

    /// All buckets, ascending. Those that overlap the zero bucket end where it begins.
    #[must_use]
    pub fn all_buckets(&self) -> Vec<Bucket> {
        let mut all: Vec<Bucket> = self.negative_buckets().collect();
        all.reverse();
        if self.zero_count > 0.0 {
            all.push(self.zero_bucket());
        }
        all.extend(self.positive_buckets());
        for bucket in &mut all {
            if bucket.lower > 0.0 && bucket.lower < self.zero_threshold {
                bucket.lower = self.zero_threshold;
            }
            if bucket.upper < 0.0 && bucket.upper > -self.zero_threshold {
                bucket.upper = -self.zero_threshold;
            }
        }
        all
    }

    fn positive_bucket(&self, index: i32, count: f64) -> Bucket {
        if self.is_custom() {
            let bound = |at: i32| usize::try_from(at).ok().and_then(|at| self.custom_values.get(at));
            let lower = if index <= 0 {
                f64::NEG_INFINITY
            } else {
                bound(index - 1).copied().unwrap_or(f64::INFINITY)
            };
            return Bucket {
                lower,
                upper: bound(index).copied().unwrap_or(f64::INFINITY),
                lower_inclusive: lower == f64::NEG_INFINITY,
                upper_inclusive: true,
                count,
                index,
            };
        }
        Bucket {
            lower: exponential_bound(index.saturating_sub(1), self.schema),
            upper: exponential_bound(index, self.schema),
            lower_inclusive: false,
            upper_inclusive: true,
            count,
            index,
        }
    }

    fn negative_bucket(&self, index: i32, count: f64) -> Bucket {
        Bucket {
            lower: -exponential_bound(index, self.schema),
            upper: -exponential_bound(index.saturating_sub(1), self.schema),
            lower_inclusive: true,
            upper_inclusive: false,
            count,
            index,
        }
    }

    /// Multiplies all counts and the sum; by a negative factor it becomes a gauge.
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> FloatHistogram {
        self.each_value(|value| *value *= factor);
        if factor < 0.0 {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
        self
    }

    /// Divides all counts and the sum. A division by zero leaves no buckets.
    #[must_use]
    pub fn divided(mut self, divisor: f64) -> FloatHistogram {
        if divisor == 0.0 {
            self.positive = Buckets::default();
            self.negative = Buckets::default();
        }
        self.each_value(|value| *value /= divisor);
        if divisor < 0.0 {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
        self
    }

    fn each_value(&mut self, mut change: impl FnMut(&mut f64)) {
        change(&mut self.zero_count);
        change(&mut self.count);
        change(&mut self.sum);
        self.positive.counts.iter_mut().for_each(&mut change);
        self.negative.counts.iter_mut().for_each(&mut change);
    }

    /// Leaves out empty buckets.
    pub fn compact(&mut self) {
        self.positive.compact();
        self.negative.compact();
    }

    /// Whether a value grew beyond what a float holds.
    #[must_use]
    pub fn has_overflow(&self) -> bool {
        let infinite = |counts: &Buckets| counts.counts.iter().any(|count| count.is_infinite());
        self.zero_count.is_infinite()
            || self.count.is_infinite()
            || self.sum.is_infinite()
            || infinite(&self.positive)
            || infinite(&self.negative)
    }

    /// Whether both hold the same data, bit by bit; empty buckets that are stored count as data, hints do not.
    #[must_use]
    pub fn same_data(&self, other: &FloatHistogram) -> bool {
        let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
        self.schema == other.schema
            && same(self.count, other.count)
            && same(self.sum, other.sum)
            && self.zero_threshold == other.zero_threshold
            && same(self.zero_count, other.zero_count)
            && (!self.is_custom() || self.custom_values == other.custom_values)
            && self.positive.same_data(&other.positive)
            && self.negative.same_data(&other.negative)
    }

    /// An estimate of the memory of one histogram.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let buckets = |buckets: &Buckets| (buckets.spans.len() + buckets.counts.len()) * 8;
        size_of::<Self>() + buckets(&self.positive) + buckets(&self.negative) + self.custom_values.len() * 8
    }

    /// How many float samples one histogram counts as against the limit of samples.
    #[must_use]
    pub fn sample_weight(&self) -> u64 {
        (self.bytes() as u64 + 8) / 16
    }
}
