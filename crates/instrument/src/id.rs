//! Random trace and span ids without a dependency.
//!
//! The standard library's hasher is a keyed SipHash whose key the operating system draws; hashing a counter with it
//! gives numbers that nobody without the key can foresee and that do not repeat across processes.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{SpanId, TraceId};

/// Where the ids of one [`Telemetry`](crate::Telemetry) come from.
#[derive(Default)]
pub(crate) struct IdSource {
    key: RandomState,
    counter: AtomicU64,
}

impl IdSource {
    /// A new trace id, never zero.
    pub(crate) fn trace_id(&self) -> TraceId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.next().to_be_bytes());
        bytes[8..].copy_from_slice(&self.next().to_be_bytes());
        TraceId(bytes)
    }

    /// A new span id, never zero.
    pub(crate) fn span_id(&self) -> SpanId {
        SpanId(self.next().to_be_bytes())
    }

    /// A random fraction in `0.0..1.0`, for jitter.
    pub(crate) fn fraction(&self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn next(&self) -> u64 {
        loop {
            let number = self.key.hash_one(self.counter.fetch_add(1, Ordering::Relaxed));
            // Zero means "no id" in W3C trace context and in OTLP.
            if number != 0 {
                return number;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_differ_within_and_across_sources() {
        let (one, two) = (IdSource::default(), IdSource::default());
        let ids: HashSet<_> = (0..1_000).flat_map(|_| [one.trace_id().0, two.trace_id().0]).collect();
        assert_eq!(ids.len(), 2_000);
    }

    #[test]
    fn fractions_spread_over_the_unit_interval() {
        let source = IdSource::default();
        let mean = (0..10_000).map(|_| source.fraction()).sum::<f64>() / 10_000.0;
        assert!((0.45..0.55).contains(&mean), "mean {mean}");
    }
}
