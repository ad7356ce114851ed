//! Metric data points that are more than a number: their kind and their payload.
//!
//! A *payload* is what remains of an OTLP histogram, exponential histogram or summary data point when its
//! attributes, exemplars, times and flags are taken out: the other fields of that message, encoded as they came.

use serde::{Deserialize, Serialize};

use crate::protobuf::{Field, Malformed, Reader};

/// What an instrument's points are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum PointKind {
    /// A last value.
    Gauge = 0,
    /// A sum, monotonic or not.
    Sum = 1,
    /// A histogram with explicit bounds.
    Histogram = 2,
    /// A histogram with exponential buckets.
    ExponentialHistogram = 3,
    /// Quantiles computed by the sender.
    Summary = 4,
    /// A number of a Prometheus series, whose name and labels are verbatim.
    Sample = 5,
    /// A native histogram of a Prometheus series; the payload is a `Histogram` message of remote write, without its
    /// timestamp and start timestamp.
    NativeHistogram = 6,
}

impl PointKind {
    /// The kind that a stored code stands for; an unknown one is a gauge.
    pub fn from_code(code: u8) -> PointKind {
        match code {
            1 => PointKind::Sum,
            2 => PointKind::Histogram,
            3 => PointKind::ExponentialHistogram,
            4 => PointKind::Summary,
            5 => PointKind::Sample,
            6 => PointKind::NativeHistogram,
            _ => PointKind::Gauge,
        }
    }

    /// Whether the series is one of Prometheus, and not of OTLP.
    pub fn is_prometheus(self) -> bool {
        matches!(self, PointKind::Sample | PointKind::NativeHistogram)
    }
}

/// The value of a stale marker, as bits: a NaN that says that the series has ended for now.
pub const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// What a sender says that a metric is; the codes are those of remote write 2.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum MetricType {
    /// Nothing was said.
    #[default]
    Unknown = 0,
    /// It only rises, but for restarts.
    Counter = 1,
    /// It rises and falls.
    Gauge = 2,
    /// A histogram of counters, classic or native.
    Histogram = 3,
    /// A histogram of gauges.
    GaugeHistogram = 4,
    /// Quantiles computed by the sender.
    Summary = 5,
    /// Its labels are its content.
    Info = 6,
    /// A set of states, one series each.
    StateSet = 7,
}

impl MetricType {
    /// All types, by code.
    pub const ALL: [MetricType; 8] = [
        MetricType::Unknown,
        MetricType::Counter,
        MetricType::Gauge,
        MetricType::Histogram,
        MetricType::GaugeHistogram,
        MetricType::Summary,
        MetricType::Info,
        MetricType::StateSet,
    ];

    /// The type that a stored code stands for.
    pub fn from_code(code: u8) -> MetricType {
        MetricType::ALL.get(usize::from(code)).copied().unwrap_or_default()
    }

    /// The code that is stored.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The name, as exposition formats write it.
    pub fn name(self) -> &'static str {
        match self {
            MetricType::Unknown => "unknown",
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
            MetricType::GaugeHistogram => "gaugehistogram",
            MetricType::Summary => "summary",
            MetricType::Info => "info",
            MetricType::StateSet => "stateset",
        }
    }

    /// The type of that name; `untyped` is unknown as well.
    pub fn from_name(name: &str) -> Option<MetricType> {
        let name = if name == "untyped" { "unknown" } else { name };
        MetricType::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A histogram point with explicit bounds: OTLP's `HistogramDataPoint`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// The number of values.
    pub count: u64,
    /// Their sum, where it was recorded.
    pub sum: Option<f64>,
    /// The smallest value, where it was recorded.
    pub min: Option<f64>,
    /// The largest value, where it was recorded.
    pub max: Option<f64>,
    /// How many values fell into each bucket (not cumulated): one more than there are bounds, or none.
    pub bucket_counts: Vec<u64>,
    /// The buckets' upper bounds, inclusive, ascending; the last bucket has none.
    pub bounds: Vec<f64>,
}

impl Histogram {
    /// Reads a payload.
    pub fn decode(payload: &[u8]) -> Result<Histogram, Malformed> {
        let mut reader = Reader::new(payload);
        let mut point = Histogram::default();
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (4, Field::Fixed64(n)) => point.count = n,
                (5, Field::Fixed64(bits)) => point.sum = Some(f64::from_bits(bits)),
                (6, field) => push_fixed64(&mut point.bucket_counts, field, |n| n),
                (7, field) => push_fixed64(&mut point.bounds, field, f64::from_bits),
                (11, Field::Fixed64(bits)) => point.min = Some(f64::from_bits(bits)),
                (12, Field::Fixed64(bits)) => point.max = Some(f64::from_bits(bits)),
                _ => {}
            }
        }
        Ok(point)
    }
}

/// Appends a repeated fixed64 field, packed or not.
fn push_fixed64<T>(out: &mut Vec<T>, field: Field<'_>, convert: impl Fn(u64) -> T) {
    match field {
        Field::Fixed64(n) => out.push(convert(n)),
        Field::Bytes(packed) => {
            out.extend(packed.as_chunks::<8>().0.iter().map(|chunk| convert(u64::from_le_bytes(*chunk))));
        }
        _ => {}
    }
}

impl Histogram {
    /// Writes the point as a payload; [`Histogram::decode`] reads it back.
    pub fn encode(&self) -> Vec<u8> {
        use crate::protobuf::{put_bytes, put_fixed64};
        let mut out = Vec::with_capacity(64 + 16 * self.bucket_counts.len());
        // As every encoder of protobuf does it: a count of zero is not written.
        if self.count != 0 {
            put_fixed64(&mut out, 4, self.count);
        }
        if let Some(sum) = self.sum {
            put_fixed64(&mut out, 5, sum.to_bits());
        }
        let counts: Vec<u8> = self.bucket_counts.iter().flat_map(|n| n.to_le_bytes()).collect();
        let bounds: Vec<u8> = self.bounds.iter().flat_map(|bound| bound.to_le_bytes()).collect();
        if !counts.is_empty() {
            put_bytes(&mut out, 6, &counts);
        }
        if !bounds.is_empty() {
            put_bytes(&mut out, 7, &bounds);
        }
        if let Some(min) = self.min {
            put_fixed64(&mut out, 11, min.to_bits());
        }
        if let Some(max) = self.max {
            put_fixed64(&mut out, 12, max.to_bits());
        }
        out
    }
}

/// Buckets of one sign of an exponential histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExponentialBuckets {
    /// The index of the first bucket: bucket `i` holds values above `base^i`, up to `base^(i+1)`.
    pub offset: i32,
    /// How many values fell into each bucket.
    pub counts: Vec<u64>,
}

/// An exponential histogram point: OTLP's `ExponentialHistogramDataPoint`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExponentialHistogram {
    /// The number of values.
    pub count: u64,
    /// Their sum, where it was recorded.
    pub sum: Option<f64>,
    /// The base of the buckets is 2^(2^-scale).
    pub scale: i32,
    /// How many values fell into the zero bucket.
    pub zero_count: u64,
    /// The zero bucket's half width.
    pub zero_threshold: f64,
    /// Buckets of positive values.
    pub positive: ExponentialBuckets,
    /// Buckets of negative values.
    pub negative: ExponentialBuckets,
}

/// Protobuf's `sint32`.
fn zigzag(n: u64) -> i32 {
    ((n >> 1) as i32) ^ -((n & 1) as i32)
}

impl ExponentialHistogram {
    /// Reads a payload.
    pub fn decode(payload: &[u8]) -> Result<ExponentialHistogram, Malformed> {
        let mut reader = Reader::new(payload);
        let mut point = ExponentialHistogram::default();
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (4, Field::Fixed64(n)) => point.count = n,
                (5, Field::Fixed64(bits)) => point.sum = Some(f64::from_bits(bits)),
                (6, Field::Varint(n)) => point.scale = zigzag(n),
                (7, Field::Fixed64(n)) => point.zero_count = n,
                (8, Field::Bytes(message)) => point.positive = ExponentialBuckets::decode(message)?,
                (9, Field::Bytes(message)) => point.negative = ExponentialBuckets::decode(message)?,
                (14, Field::Fixed64(bits)) => point.zero_threshold = f64::from_bits(bits),
                _ => {}
            }
        }
        Ok(point)
    }
}

impl ExponentialBuckets {
    fn decode(message: &[u8]) -> Result<ExponentialBuckets, Malformed> {
        let mut reader = Reader::new(message);
        let mut buckets = ExponentialBuckets::default();
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (1, Field::Varint(n)) => buckets.offset = zigzag(n),
                (2, Field::Varint(n)) => buckets.counts.push(n),
                (2, Field::Bytes(packed)) => {
                    let mut packed = Reader::new(packed);
                    while !packed.rest().is_empty() {
                        buckets.counts.push(packed.varint()?);
                    }
                }
                _ => {}
            }
        }
        Ok(buckets)
    }
}

/// A summary point: OTLP's `SummaryDataPoint`. Its count and sum have the numbers of a [`Histogram`]'s.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// The number of values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Quantiles from 0 to 1 with their values.
    pub quantiles: Vec<(f64, f64)>,
}

impl Summary {
    /// Reads a payload.
    pub fn decode(payload: &[u8]) -> Result<Summary, Malformed> {
        let mut reader = Reader::new(payload);
        let mut point = Summary::default();
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (4, Field::Fixed64(n)) => point.count = n,
                (5, Field::Fixed64(bits)) => point.sum = f64::from_bits(bits),
                (6, Field::Bytes(message)) => {
                    let (mut reader, mut pair) = (Reader::new(message), (0.0, 0.0));
                    while let Some((number, field)) = reader.next_field()? {
                        match (number, field) {
                            (1, Field::Fixed64(bits)) => pair.0 = f64::from_bits(bits),
                            (2, Field::Fixed64(bits)) => pair.1 = f64::from_bits(bits),
                            _ => {}
                        }
                    }
                    point.quantiles.push(pair);
                }
                _ => {}
            }
        }
        Ok(point)
    }
}
