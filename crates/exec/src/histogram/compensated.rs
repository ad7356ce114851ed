//! A sum of many histograms with Neumaier's compensation in every value.

use super::arithmetic::{Incompatible, Reconciled, common_bounds, merge, rebound};
use super::{Buckets, CounterResetHint, FloatHistogram};

/// A running sum, and what rounding lost of it.
#[derive(Clone, Debug)]
pub struct CompensatedSum {
    sum: FloatHistogram,
    /// In the same schema and bounds as `sum`, but only with the buckets that lost something.
    lost: FloatHistogram,
}

impl CompensatedSum {
    /// Starts with one histogram.
    #[must_use]
    pub fn new(first: FloatHistogram) -> CompensatedSum {
        let lost = FloatHistogram {
            schema: first.schema,
            zero_threshold: first.zero_threshold,
            custom_values: first.custom_values.clone(),
            counter_reset_hint: first.counter_reset_hint,
            ..FloatHistogram::default()
        };
        CompensatedSum { sum: first, lost }
    }

    /// Adds one more.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<Reconciled, Incompatible> {
        if self.sum.is_aligned_with(other) {
            self.align_lost();
            return Ok(self.add_aligned(other));
        }
        let (reconciled, aligned) = self.sum.align(other)?;
        self.align_lost();
        let (sum, lost) = (&mut self.sum, &mut self.lost);
        increase(&mut sum.zero_count, &mut lost.zero_count, aligned.zero_count);
        increase(&mut sum.count, &mut lost.count, other.count);
        increase(&mut sum.sum, &mut lost.sum, other.sum);
        add_buckets(&mut sum.positive, &mut lost.positive, &aligned.positive);
        add_buckets(&mut sum.negative, &mut lost.negative, &aligned.negative);
        Ok(reconciled)
    }

    /// Adds one of the same schema, bounds and zero bucket.
    fn add_aligned(&mut self, other: &FloatHistogram) -> Reconciled {
        let hint_collision = self.sum.adopt_hint(other);
        let (sum, lost) = (&mut self.sum, &mut self.lost);
        increase(&mut sum.zero_count, &mut lost.zero_count, other.zero_count);
        increase(&mut sum.count, &mut lost.count, other.count);
        increase(&mut sum.sum, &mut lost.sum, other.sum);
        increase_buckets(&mut sum.positive, &mut lost.positive, &other.positive);
        increase_buckets(&mut sum.negative, &mut lost.negative, &other.negative);
        Reconciled { hint_collision, custom_bounds: false }
    }

    /// Multiplies the sum so far.
    pub fn scale(&mut self, factor: f64) {
        let scale = |histogram: &mut FloatHistogram| {
            *histogram = std::mem::take(histogram).scaled(factor);
        };
        scale(&mut self.sum);
        scale(&mut self.lost);
    }

    /// Divides the sum so far.
    pub fn divide(&mut self, divisor: f64) {
        let divide = |histogram: &mut FloatHistogram| {
            *histogram = std::mem::take(histogram).divided(divisor);
        };
        divide(&mut self.sum);
        divide(&mut self.lost);
    }

    /// The sum without what was lost.
    #[must_use]
    pub fn uncompensated(&self) -> &FloatHistogram {
        &self.sum
    }

    /// The hint that the sum has so far.
    #[must_use]
    pub fn hint(&self) -> CounterResetHint {
        self.sum.counter_reset_hint
    }

    /// The sum, with what was lost given back.
    #[must_use]
    pub fn finish(self) -> FloatHistogram {
        let CompensatedSum { mut sum, lost } = self;
        sum.zero_count += lost.zero_count;
        sum.count += lost.count;
        sum.sum += lost.sum;
        sum.positive = merge(&sum.positive, &lost.positive, |sum, lost| sum + lost);
        sum.negative = merge(&sum.negative, &lost.negative, |sum, lost| sum + lost);
        sum
    }

    /// Brings `lost` to the layout that `sum` was just brought to.
    fn align_lost(&mut self) {
        if self.sum.is_custom() {
            if self.lost.custom_values != self.sum.custom_values {
                let common = common_bounds(&self.lost.custom_values, &self.sum.custom_values);
                self.lost.positive = rebound(&self.lost.positive, &self.lost.custom_values, &common);
                self.lost.custom_values = common;
            }
            return;
        }
        if self.lost.zero_threshold != self.sum.zero_threshold {
            let (count, _) = self.lost.widened_zero_bucket(self.sum.zero_threshold);
            self.lost.zero_count = count;
            self.lost.zero_threshold = self.sum.zero_threshold;
            let threshold = self.sum.zero_threshold;
            let schema = self.lost.schema;
            for buckets in [&mut self.lost.positive, &mut self.lost.negative] {
                let kept =
                    buckets.iter().filter(|(index, _)| super::exponential_bound(*index, schema) > threshold);
                *buckets = Buckets::from_sorted(kept);
            }
        }
        self.lost.coarsen(self.sum.schema);
    }
}

/// Adds `value` to `sum`; what rounding takes away is added to `lost`.
fn increase(sum: &mut f64, lost: &mut f64, value: f64) {
    let total = *sum + value;
    if total.is_infinite() {
        *lost = 0.0;
    } else if sum.abs() >= value.abs() {
        *lost += (*sum - total) + value;
    } else {
        *lost += (value - total) + *sum;
    }
    *sum = total;
}

/// [`add_buckets`] in place, where the sum has all buckets already; after a few histograms it has.
fn increase_buckets(sum: &mut Buckets, lost: &mut Buckets, other: &Buckets) {
    if !has_all_of(sum, other) {
        return add_buckets(sum, lost, other);
    }
    if lost.spans != sum.spans || lost.counts.len() != sum.counts.len() {
        let nothing = Buckets { spans: sum.spans.clone(), counts: vec![0.0; sum.counts.len()] };
        *lost = merge(&nothing, lost, |_, lost| lost);
    }
    if sum.spans == other.spans {
        let values = sum.counts.iter_mut().zip(&mut lost.counts).zip(&other.counts);
        return values.for_each(|((sum, lost), value)| increase(sum, lost, *value));
    }
    let places: Vec<usize> = places(sum, other).flatten().collect();
    for (at, value) in places.into_iter().zip(&other.counts) {
        if let (Some(sum), Some(lost)) = (sum.counts.get_mut(at), lost.counts.get_mut(at)) {
            increase(sum, lost, *value);
        }
    }
}

fn has_all_of(sum: &Buckets, other: &Buckets) -> bool {
    let is_whole = |buckets: &Buckets| {
        let length: u64 = buckets.spans.iter().map(|span| u64::from(span.length)).sum();
        length == buckets.counts.len() as u64 && buckets.spans.iter().skip(1).all(|span| span.offset >= 0)
    };
    is_whole(sum)
        && is_whole(other)
        && (sum.spans == other.spans || places(sum, other).all(|place| place.is_some()))
}

/// Where each bucket of `other` lies in `sum`.
fn places(sum: &Buckets, other: &Buckets) -> impl Iterator<Item = Option<usize>> {
    let mut mine = sum.iter().map(|(index, _)| index).enumerate().peekable();
    other.iter().map(move |(index, _)| {
        while mine.next_if(|(_, known)| *known < index).is_some() {}
        mine.peek().filter(|(_, known)| *known == index).map(|(at, _)| *at)
    })
}

fn add_buckets(sum: &mut Buckets, lost: &mut Buckets, other: &Buckets) {
    let before = merge(sum, other, |mine, _| mine);
    let theirs = merge(&before, other, |_, theirs| theirs);
    let lost_before = merge(&before, lost, |_, lost| lost);
    let mut total = before;
    let mut lost_now = lost_before;
    if total.counts.len() == lost_now.counts.len() && total.counts.len() == theirs.counts.len() {
        let values = total.counts.iter_mut().zip(&mut lost_now.counts).zip(&theirs.counts);
        for ((sum, lost), value) in values {
            increase(sum, lost, *value);
        }
    }
    *sum = total;
    *lost = lost_now;
}
