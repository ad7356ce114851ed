//! What the points of a run carry beyond a value, as the run grows: columns while all points are histograms of equal
//! bounds, and the payloads as they came from the first point on that is not.

use throughline_model::point::Histogram;
use throughline_model::protobuf::{Field, Reader, put_varint};

use super::{PayloadForm, compress, put_stream};
use crate::error::Error;

/// Histograms of equal bounds.
#[derive(Clone, Debug, Default)]
pub(super) struct HistogramColumns {
    /// The upper bounds, 8 bytes each.
    pub(super) bounds: Vec<u8>,
    /// All counts of a point, then all of the next.
    pub(super) counts: Vec<u64>,
    /// Empty where the points have none.
    pub(super) mins: Vec<f64>,
    /// Empty where the points have none.
    pub(super) maxs: Vec<f64>,
}

/// The payloads of a run so far.
#[derive(Debug, Default)]
pub(super) enum Payloads {
    /// Points are numbers.
    #[default]
    None,
    Columns(HistogramColumns),
    /// Each payload after its length.
    Raw(Vec<u8>),
}

/// A histogram that fits into columns, as it lies in its payload.
struct Regular<'a> {
    bounds: &'a [u8],
    counts: &'a [u8],
    min: Option<f64>,
    max: Option<f64>,
}

impl<'a> Regular<'a> {
    /// `None` where the point would not come back exactly as it was.
    fn read(payload: &'a [u8], value: f64) -> Option<Regular<'a>> {
        let mut reader = Reader::new(payload);
        let (mut bounds, mut counts): (Option<&[u8]>, Option<&[u8]>) = (None, None);
        let (mut count, mut sum, mut min, mut max) = (0u64, None, None, None);
        while let Some((number, field)) = reader.next_field().ok()? {
            match (number, field) {
                (4, Field::Fixed64(n)) => count = n,
                (5, Field::Fixed64(bits)) => sum = Some(bits),
                (6, Field::Bytes(packed)) if counts.is_none() => counts = Some(packed),
                (7, Field::Bytes(packed)) if bounds.is_none() => bounds = Some(packed),
                (6 | 7, _) => return None,
                (11, Field::Fixed64(bits)) => min = Some(f64::from_bits(bits)),
                (12, Field::Fixed64(bits)) => max = Some(f64::from_bits(bits)),
                _ => {}
            }
        }
        let (bounds, counts) = (bounds.unwrap_or_default(), counts.unwrap_or_default());
        let total = numbers(counts).fold(0u64, u64::wrapping_add);
        let is_regular = counts.len() == bounds.len() + 8
            && counts.len().is_multiple_of(8)
            && sum == Some(value.to_bits())
            && total == count;
        is_regular.then_some(Regular { bounds, counts, min, max })
    }
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks::<8>().0.iter().map(|chunk| u64::from_le_bytes(*chunk))
}

impl HistogramColumns {
    fn n_buckets(&self) -> usize {
        self.bounds.len() / 8 + 1
    }

    fn len(&self) -> usize {
        self.counts.len() / self.n_buckets()
    }

    /// Takes a point in, unless its shape is another than that of the points before it.
    fn push(&mut self, point: &Regular<'_>) -> bool {
        let is_first = self.counts.is_empty();
        let fits = self.bounds == point.bounds
            && self.mins.is_empty() == point.min.is_none()
            && self.maxs.is_empty() == point.max.is_none();
        if is_first {
            self.bounds.extend_from_slice(point.bounds);
        } else if !fits {
            return false;
        }
        self.counts.extend(numbers(point.counts));
        self.mins.extend(point.min);
        self.maxs.extend(point.max);
        true
    }

    /// Takes points of a run in, unless their shape is another.
    fn extend(&mut self, from: &HistogramColumns, range: std::ops::Range<usize>) -> bool {
        let fits = self.bounds == from.bounds
            && self.mins.is_empty() == from.mins.is_empty()
            && self.maxs.is_empty() == from.maxs.is_empty();
        if self.counts.is_empty() {
            self.bounds.extend_from_slice(&from.bounds);
        } else if !fits {
            return false;
        }
        let n = self.n_buckets();
        self.counts.extend_from_slice(from.counts.get(range.start * n..range.end * n).unwrap_or_default());
        self.mins.extend_from_slice(from.mins.get(range.clone()).unwrap_or_default());
        self.maxs.extend_from_slice(from.maxs.get(range).unwrap_or_default());
        true
    }

    /// The payload of a point, whose sum is its value.
    fn payload(&self, at: usize, value: f64) -> Vec<u8> {
        let n = self.n_buckets();
        let bucket_counts = self.counts.get(at * n..(at + 1) * n).unwrap_or_default().to_vec();
        let histogram = Histogram {
            count: bucket_counts.iter().fold(0, |sum, n| sum.wrapping_add(*n)),
            sum: Some(value),
            min: self.mins.get(at).copied(),
            max: self.maxs.get(at).copied(),
            bucket_counts,
            bounds: numbers(&self.bounds).map(f64::from_bits).collect(),
        };
        histogram.encode()
    }

    fn encode(&self, level: u32) -> Result<Vec<u8>, Error> {
        let n_buckets = self.n_buckets();
        let mut counts: Vec<u64> = Vec::with_capacity(self.counts.len());
        for bucket in 0..n_buckets {
            counts.extend(self.counts.iter().skip(bucket).step_by(n_buckets));
        }
        let mut out = Vec::new();
        put_varint(&mut out, (n_buckets - 1) as u64);
        out.extend_from_slice(&self.bounds);
        put_stream(&mut out, &compress(&counts, level)?);
        for values in [&self.mins, &self.maxs] {
            let stream = if values.is_empty() { Vec::new() } else { compress(values, level)? };
            put_stream(&mut out, &stream);
        }
        Ok(out)
    }
}

fn put_raw(out: &mut Vec<u8>, payload: &[u8]) {
    put_varint(out, payload.len() as u64);
    out.extend_from_slice(payload);
}

impl Payloads {
    /// Takes the payload of the next point; `values` are those of the points before it, and `value` is its own.
    pub(super) fn push(&mut self, payload: &[u8], value: f64, values: &[f64], may_be_columns: bool) {
        if let Payloads::None = self {
            if payload.is_empty() {
                return;
            }
            if may_be_columns && values.is_empty() {
                *self = Payloads::Columns(HistogramColumns::default());
            }
        }
        if let Payloads::Columns(columns) = self
            && let Some(point) = Regular::read(payload, value)
            && columns.push(&point)
        {
            return;
        }
        put_raw(self.as_raw(values), payload);
    }

    /// Takes so many points without payloads.
    pub(super) fn pad(&mut self, n: usize, values: &[f64]) {
        if !matches!(self, Payloads::None) {
            let raw = self.as_raw(values);
            raw.resize(raw.len() + n, 0);
        }
    }

    /// Takes points of a run; `values` are those of the points before them.
    pub(super) fn extend(
        &mut self,
        from: &super::decoded::Payloads,
        range: std::ops::Range<usize>,
        values: &[f64],
    ) {
        use super::decoded::Payloads as From;
        if range.is_empty() {
            // A series of which only exemplars are known: there is no first histogram to take bounds from.
            return;
        }
        match from {
            From::None => self.pad(range.len(), values),
            From::Columns(columns, sums) => {
                if let Payloads::None = self
                    && values.is_empty()
                {
                    *self = Payloads::Columns(HistogramColumns::default());
                }
                if let Payloads::Columns(own) = self
                    && own.extend(columns, range.clone())
                {
                    return;
                }
                let raw = self.as_raw(values);
                for at in range {
                    put_raw(raw, &columns.payload(at, sums.get(at).copied().unwrap_or(f64::NAN)));
                }
            }
            From::Raw { plain, starts } => {
                let bounds = starts.get(range.start).zip(starts.get(range.end));
                let bytes = bounds.and_then(|(from, to)| plain.get(*from..*to)).unwrap_or_default();
                self.as_raw(values).extend_from_slice(bytes);
            }
        }
    }

    /// The payloads of the points so far, one after the other.
    fn as_raw(&mut self, values: &[f64]) -> &mut Vec<u8> {
        let raw = match std::mem::take(self) {
            Payloads::None => vec![0; values.len()],
            Payloads::Columns(columns) => {
                let mut raw = Vec::new();
                for (at, value) in values.iter().enumerate().take(columns.len()) {
                    put_raw(&mut raw, &columns.payload(at, *value));
                }
                raw
            }
            Payloads::Raw(raw) => raw,
        };
        *self = Payloads::Raw(raw);
        match self {
            Payloads::Raw(raw) => raw,
            Payloads::None | Payloads::Columns(_) => unreachable!("it was made raw just now"),
        }
    }

    /// The form and bytes as `samples.parquet` has them.
    pub(super) fn encode(&self, level: u32) -> Result<(PayloadForm, Option<Vec<u8>>), Error> {
        match self {
            Payloads::None => Ok((PayloadForm::None, None)),
            Payloads::Columns(columns) => Ok((PayloadForm::Histogram, Some(columns.encode(level)?))),
            Payloads::Raw(plain) => {
                let packed =
                    zstd::bulk::compress(plain, zstd::DEFAULT_COMPRESSION_LEVEL).map_err(|error| {
                        Error::Columns { action: "encode samples".to_owned(), detail: error.to_string() }
                    })?;
                let mut payload = Vec::with_capacity(packed.len() + 10);
                put_varint(&mut payload, plain.len() as u64);
                payload.extend_from_slice(&packed);
                Ok((PayloadForm::Raw, Some(payload)))
            }
        }
    }
}
