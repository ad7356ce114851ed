//! Counts of spans by service, kind and time, out of four columns: what metrics and logs are compared with.

use std::collections::BTreeMap;

use super::{Found, Snapshot, TimeRange};
use crate::error::Error;

/// Sets of service, kind and bucket that are counted; what is beyond is left out, and named.
pub const SPAN_BUCKETS_MAX: usize = 500_000;

/// Which spans to count.
#[derive(Clone, Debug)]
pub struct SpanCountQuery {
    /// The span starts within.
    pub range: TimeRange,
    /// The span's service.
    pub service: Option<String>,
    /// The width of the buckets, nanoseconds; they begin at multiples of it.
    pub step_ns: i64,
}

/// Spans of one service and kind that started in one bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanCount {
    /// The service.
    pub service: String,
    /// OTLP's kind, 0 to 5.
    pub kind: u8,
    /// The start of the bucket, nanoseconds since the epoch.
    pub start: i64,
    /// How many spans are stored.
    pub spans: u64,
    /// Those with status error.
    pub errors: u64,
    /// How many spans they stand for, where their sampler says so; as many as there are where it does not.
    pub adjusted: f64,
    /// Likewise of those with status error.
    pub adjusted_errors: f64,
    /// The variance of `adjusted` where chance chose which spans stay: the sum of each weight times one less.
    pub variance: f64,
    /// That of `adjusted_errors`.
    pub error_variance: f64,
}

/// Counts as they come together.
pub(crate) struct SpanCounts {
    step_ns: i64,
    services: BTreeMap<String, u32>,
    counts: BTreeMap<(u32, u8, i64), SpanCount>,
    left_out: u64,
}

impl SpanCounts {
    fn new(step_ns: i64) -> SpanCounts {
        SpanCounts {
            step_ns: step_ns.max(1),
            services: BTreeMap::new(),
            counts: BTreeMap::new(),
            left_out: 0,
        }
    }

    /// The number of a service, to add with.
    pub(crate) fn service(&mut self, name: &str) -> u32 {
        if let Some(number) = self.services.get(name) {
            return *number;
        }
        let number = self.services.len() as u32;
        self.services.insert(name.to_owned(), number);
        number
    }

    /// Adds a span.
    pub(crate) fn add(&mut self, service: u32, kind: u8, start: i64, is_error: bool, weight: Option<f64>) {
        let bucket = start.div_euclid(self.step_ns).saturating_mul(self.step_ns);
        let key = (service, kind, bucket);
        if self.counts.len() >= SPAN_BUCKETS_MAX && !self.counts.contains_key(&key) {
            self.left_out += 1;
            return;
        }
        let weight = weight.filter(|weight| weight.is_finite() && *weight >= 0.0).unwrap_or(1.0);
        let count = self.counts.entry(key).or_default();
        count.spans += 1;
        count.adjusted += weight;
        let variance = weight * (weight - 1.0).max(0.0);
        count.variance += variance;
        if is_error {
            count.errors += 1;
            count.adjusted_errors += weight;
            count.error_variance += variance;
        }
    }

    fn finish(self) -> (Vec<SpanCount>, u64) {
        let names: BTreeMap<u32, String> =
            self.services.into_iter().map(|(name, number)| (number, name)).collect();
        let name = |number: u32| names.get(&number).cloned().unwrap_or_default();
        let counts = self.counts.into_iter();
        let mut out: Vec<SpanCount> = counts
            .map(|((service, kind, start), count)| SpanCount { service: name(service), kind, start, ..count })
            .collect();
        out.sort_by(|a, b| (&a.service, a.start, a.kind).cmp(&(&b.service, b.start, b.kind)));
        (out, self.left_out)
    }
}

impl Snapshot {
    /// Counts stored spans by service, kind and bucket, in that order. A span that lies in several places, which only a sender
    /// that repeats itself in other requests makes, counts each time.
    pub fn span_counts(&self, query: &SpanCountQuery) -> Result<Found<SpanCount>, Error> {
        let mut counts = SpanCounts::new(query.step_ns);
        let mut partial = self.missing.to_vec();
        for memtable in &self.memtables {
            memtable.count_spans(query, &mut counts);
        }
        for block in self.blocks.iter().filter(|b| query.range.overlaps(b.min_time(), b.max_time())) {
            if let Err(error) = block.count_spans(query, &mut counts) {
                partial.push(error.to_string());
            }
        }
        let (items, left_out) = counts.finish();
        if left_out > 0 {
            partial.push(format!(
                "{left_out} spans beyond {SPAN_BUCKETS_MAX} sets of service, kind and bucket are left out; narrow the window"
            ));
        }
        Ok(Found { items, partial })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::SimDisk;
    use crate::flush::tests::{HOUR_NS, memtable, of_blocks, of_memtables};
    use crate::flush::{BlockOptions, write_blocks};

    #[test]
    fn memtables_and_blocks_count_alike_and_all_of_it() {
        let memtable = memtable(7, 4_000, 0, 0);
        let disk = SimDisk::new(1);
        let options = BlockOptions { partition_ns: 1_000 * HOUR_NS };
        let metas = write_blocks(&disk, Path::new("data"), &memtable, &mut 1, &options).expect("a block");
        let (rows, blocks) = (of_memtables(&[memtable]), of_blocks(&disk, &metas));
        let query = SpanCountQuery { range: TimeRange::ALL, service: None, step_ns: 60_000_000_000 };
        let counted = rows.span_counts(&query).expect("counted").items;
        assert_eq!(blocks.span_counts(&query).expect("counted").items, counted);
        let spans: u64 = counted.iter().map(|count| count.spans).sum();
        let services = rows.services(TimeRange::ALL).expect("listed").items;
        assert_eq!(spans, services.iter().map(|service| service.span_count).sum::<u64>());
        let errors: u64 = counted.iter().map(|count| count.errors).sum();
        assert_eq!(errors, services.iter().map(|service| service.error_count).sum::<u64>());
        let one = services.iter().find(|service| service.span_count > 0).expect("a service");
        let of_one = SpanCountQuery { service: Some(one.service.clone()), ..query };
        let counted = blocks.span_counts(&of_one).expect("counted").items;
        assert!(counted.iter().all(|count| count.service == one.service));
        assert_eq!(counted.iter().map(|count| count.spans).sum::<u64>(), one.span_count);
    }
}
