//! Sparse buckets: counts, and spans that say which indexes they have.

/// A run of buckets with consecutive indexes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Of the first span its first index, of later ones the gap to the span before.
    pub offset: i32,
    /// How many buckets.
    pub length: u32,
}

/// Counts of buckets by index.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// Which buckets there are.
    pub spans: Vec<Span>,
    /// Their counts, in order.
    pub counts: Vec<f64>,
}

impl Buckets {
    /// From indexes in ascending order.
    pub fn from_sorted(buckets: impl IntoIterator<Item = (i32, f64)>) -> Buckets {
        let mut built = Buckets::default();
        let mut next = 0;
        for (index, count) in buckets {
            match built.spans.last_mut() {
                Some(span) if index == next => span.length += 1,
                _ => {
                    let offset = index.saturating_sub(next);
                    built.spans.push(Span { offset, length: 1 });
                }
            }
            next = index.saturating_add(1);
            built.counts.push(count);
        }
        built
    }

    /// Indexes and counts, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (i32, f64)> {
        let mut start = 0i32;
        let indexes = self.spans.iter().flat_map(move |span| {
            let first = start.saturating_add(span.offset);
            start = first.saturating_add_unsigned(span.length);
            first..start
        });
        indexes.zip(self.counts.iter().copied())
    }

    /// Whether no bucket is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Leaves out empty buckets.
    pub fn compact(&mut self) {
        if self.counts.contains(&0.0) || self.spans.iter().any(|span| span.length == 0) {
            *self = Buckets::from_sorted(self.iter().filter(|bucket| bucket.1 != 0.0));
        }
    }

    /// The buckets of a coarser schema.
    #[must_use]
    pub fn coarser(&self, from_schema: i32, to_schema: i32) -> Buckets {
        let mut merged: Vec<(i32, f64)> = Vec::with_capacity(self.counts.len());
        for (index, count) in self.iter() {
            let target = coarser_index(index, from_schema, to_schema);
            match merged.last_mut() {
                Some(last) if last.0 == target => last.1 += count,
                _ => merged.push((target, count)),
            }
        }
        Buckets::from_sorted(merged)
    }

    pub(super) fn same_data(&self, other: &Buckets) -> bool {
        self.counts.len() == other.counts.len()
            && self.iter().zip(other.iter()).all(|(a, b)| a.0 == b.0 && a.1.to_bits() == b.1.to_bits())
    }
}

/// The bucket of the coarser schema that holds a bucket of the finer one.
pub(super) fn coarser_index(index: i32, from_schema: i32, to_schema: i32) -> i32 {
    let shift = u32::try_from(from_schema - to_schema).unwrap_or(0).min(31);
    (index.saturating_sub(1) >> shift).saturating_add(1)
}

/// One bucket with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// The lower bound.
    pub lower: f64,
    /// The upper bound.
    pub upper: f64,
    /// Whether `lower` itself belongs to the bucket.
    pub lower_inclusive: bool,
    /// Whether `upper` itself belongs to the bucket.
    pub upper_inclusive: bool,
    /// How many observations.
    pub count: f64,
    /// The index within its side; of no meaning for the zero bucket.
    pub index: i32,
}

/// The upper bound of a positive exponential bucket.
///
/// The bucket above the greatest power of two ends at the greatest float, and only the one after it at infinity.
pub(super) fn exponential_bound(index: i32, schema: i32) -> f64 {
    let (whole, fraction) = if schema <= 0 {
        (i64::from(index) << (-schema).min(31), 0.0)
    } else {
        let per_power = 1i64 << schema.min(31);
        let part = i64::from(index).rem_euclid(per_power);
        (i64::from(index).div_euclid(per_power), part as f64 / per_power as f64)
    };
    match whole {
        1024 if fraction == 0.0 => f64::MAX,
        1024.. => f64::INFINITY,
        _ => fraction.exp2() * (whole.max(-2000) as f64).exp2(),
    }
}
