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

/// The ratio of neighbouring bounds in the schemas 1 to 8, as Prometheus has them: not always the float nearest to the root.
#[expect(
    clippy::approx_constant,
    reason = "it is not the float nearest to the root of two, which is the point"
)]
const RATIOS: [f64; 8] = [
    1.414213562373095,
    1.189207115002721,
    1.0905077326652577,
    1.0442737824274138,
    1.0218971486541166,
    1.0108892860517005,
    1.0054299011128027,
    1.0027112750502025,
];

/// The bounds between one half and one in schema 8, of which those of other schemas are some. Every second bound of a schema is
/// one of the schema before it, and those in between are the one before times the schema's ratio.
const FRACTIONS: [f64; 256] = {
    let mut fractions = [0.5; 256];
    let mut schema = 1;
    while schema <= RATIOS.len() {
        let stride = 256 >> schema;
        let mut at = 1;
        while at < 1 << schema {
            fractions[at * stride] = fractions[(at - 1) * stride] * RATIOS[schema - 1];
            at += 2;
        }
        schema += 1;
    }
    fractions
};

/// The upper bound of a positive exponential bucket, to the bit as Prometheus has it.
///
/// The bucket above the greatest power of two ends at the greatest float, and only the one after it at infinity.
pub(super) fn exponential_bound(index: i32, schema: i32) -> f64 {
    let (whole, fraction) = if schema <= 0 {
        (i64::from(index) << (-schema).min(31), 0.5)
    } else {
        // Schemas above 8 do not exist; of a damaged one any bound will do.
        let schema = schema.min(8);
        let part = i64::from(index).rem_euclid(1 << schema) << (8 - schema);
        let fraction = usize::try_from(part).ok().and_then(|part| FRACTIONS.get(part));
        (i64::from(index) >> schema, fraction.copied().unwrap_or(0.5))
    };
    match whole {
        1024 if fraction == 0.5 => f64::MAX,
        1024.. => f64::INFINITY,
        _ => 2.0 * fraction * (whole.max(-2000) as f64).exp2(),
    }
}
