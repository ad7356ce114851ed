//! Whether a counter was reset between two histograms.

use super::arithmetic::{common_bounds, rebound};
use super::{Buckets, CounterResetHint, FloatHistogram};

impl FloatHistogram {
    /// Whether a counter that was `previous` must have been reset to become this one.
    ///
    /// The hint decides where there is one. Otherwise any count that fell, a finer schema or a narrower zero bucket
    /// is a reset, and so is a populated bucket that the wider zero bucket cuts.
    #[must_use]
    pub fn detect_reset(&self, previous: &FloatHistogram) -> bool {
        match self.counter_reset_hint {
            CounterResetHint::Reset => return true,
            CounterResetHint::NotReset => return false,
            CounterResetHint::Unknown | CounterResetHint::Gauge => {}
        }
        if self.count < previous.count || self.is_custom() != previous.is_custom() {
            return true;
        }
        if self.is_custom() {
            return self.detect_custom_reset(previous);
        }
        // The common case: nothing fell in any bucket, so nothing fell in those that matter.
        if self.has_layout_of(previous)
            && self.zero_count >= previous.zero_count
            && !fell(&self.positive, &previous.positive)
            && !fell(&self.negative, &previous.negative)
        {
            return false;
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (zero_count, threshold) = previous.widened_zero_bucket(self.zero_threshold);
        if threshold != self.zero_threshold || self.zero_count < zero_count {
            return true;
        }
        let visible = |buckets: &Buckets, schema: i32| {
            let coarse = buckets.coarser(schema, self.schema);
            let outside = coarse
                .iter()
                .filter(|(index, _)| super::exponential_bound(*index, self.schema) > self.zero_threshold);
            Buckets::from_sorted(outside)
        };
        fell(&self.positive, &visible(&previous.positive, previous.schema))
            || fell(&self.negative, &visible(&previous.negative, previous.schema))
    }

    fn detect_custom_reset(&self, previous: &FloatHistogram) -> bool {
        if self.custom_values == previous.custom_values {
            return fell(&self.positive, &previous.positive);
        }
        let common = common_bounds(&self.custom_values, &previous.custom_values);
        fell(
            &rebound(&self.positive, &self.custom_values, &common),
            &rebound(&previous.positive, &previous.custom_values, &common),
        )
    }
}

/// Whether any bucket of `previous` has less now.
fn fell(current: &Buckets, previous: &Buckets) -> bool {
    if current.spans == previous.spans && current.counts.len() == previous.counts.len() {
        return current.counts.iter().zip(&previous.counts).any(|(now, before)| now < before);
    }
    let mut now = current.iter().peekable();
    previous.iter().any(|(index, before)| {
        while now.next_if(|bucket| bucket.0 < index).is_some() {}
        let count = now.peek().filter(|bucket| bucket.0 == index).map_or(0.0, |bucket| bucket.1);
        count < before
    })
}
