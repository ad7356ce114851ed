//! One data point of any kind: its layout, its fields, its exemplars.
//!
//! The five kinds differ in a few field numbers ([`Layout`]); they are read by one walk.

use throughline_model::attribute;
use throughline_model::batch::{ExemplarRow, MetricBatchBuilder};
use throughline_model::point::PointKind;
use throughline_model::protobuf::{Field, Malformed, Reader};
use xxhash_rust::xxh3::xxh3_128;

use crate::DecodeLimits;
use crate::otlp::attributes::{check_attribute, count_attribute};
use crate::otlp::refusal::{Fault, Refusal};
use crate::trace_context;

/// OTLP's data point flag that says that no value was recorded.
const NO_RECORDED_VALUE: u32 = 1;

/// The field numbers of one kind of data point. Times are in fields 2 and 3 of every kind.
pub(super) struct Layout {
    pub kind: PointKind,
    pub attributes: u32,
    pub exemplars: Option<u32>,
    flags: u32,
}

const GAUGE: Layout = Layout { kind: PointKind::Gauge, attributes: 7, exemplars: Some(5), flags: 8 };
const SUM: Layout = Layout { kind: PointKind::Sum, attributes: 7, exemplars: Some(5), flags: 8 };
const HISTOGRAM: Layout = Layout { kind: PointKind::Histogram, attributes: 9, exemplars: Some(8), flags: 10 };
const EXPONENTIAL: Layout =
    Layout { kind: PointKind::ExponentialHistogram, attributes: 1, exemplars: Some(11), flags: 10 };
const SUMMARY: Layout = Layout { kind: PointKind::Summary, attributes: 7, exemplars: None, flags: 8 };

impl Layout {
    /// The layout of the points in a metric's data field of that number.
    pub fn of(data_field: u32) -> Option<&'static Layout> {
        match data_field {
            5 => Some(&GAUGE),
            7 => Some(&SUM),
            9 => Some(&HISTOGRAM),
            10 => Some(&EXPONENTIAL),
            11 => Some(&SUMMARY),
            _ => None,
        }
    }

    /// Whether points of this kind are more than a number.
    pub fn has_payload(&self) -> bool {
        !matches!(self.kind, PointKind::Gauge | PointKind::Sum)
    }
}

/// A data point's fields as they are on the wire.
#[derive(Default)]
pub(super) struct PointFields {
    pub time: u64,
    pub start_time: u64,
    pub flags: u32,
    pub has_exemplars: bool,
    /// The sum of the hashes of its attributes.
    pub attributes_hash: u128,
    value: Option<f64>,
    n_counts: usize,
    n_bounds: usize,
}

impl PointFields {
    /// Reads a point. Its attributes are copied, not checked yet. What is neither time, flag, attribute nor exemplar of
    /// a point with a payload is copied there.
    #[inline]
    pub fn read(
        message: &[u8],
        layout: &Layout,
        attributes: &mut Vec<u8>,
        payload: &mut Vec<u8>,
    ) -> Result<PointFields, Malformed> {
        attributes.clear();
        payload.clear();
        let mut fields = PointFields::default();
        let mut reader = Reader::new(message);
        loop {
            let before = reader.rest();
            let Some((number, field)) = reader.next_field()? else { return Ok(fields) };
            match (number, field) {
                (2, Field::Fixed64(time)) => fields.start_time = time,
                (3, Field::Fixed64(time)) => fields.time = time,
                (number, Field::Bytes(key_value)) if number == layout.attributes => {
                    fields.attributes_hash = fields.attributes_hash.wrapping_add(xxh3_128(key_value));
                    attribute::push_encoded(attributes, key_value);
                }
                (number, Field::Bytes(_)) if Some(number) == layout.exemplars => fields.has_exemplars = true,
                (number, Field::Varint(flags)) if number == layout.flags => fields.flags = flags as u32,
                _ if layout.has_payload() => {
                    fields.payload_field(number, field, layout)?;
                    let taken = before.len() - reader.rest().len();
                    payload.extend_from_slice(before.get(..taken).unwrap_or_default());
                }
                (4, Field::Fixed64(bits)) => fields.value = Some(f64::from_bits(bits)),
                (6, Field::Fixed64(bits)) => fields.value = Some(bits as i64 as f64),
                _ => {}
            }
        }
    }

    /// Takes note of a field that goes into the payload, and checks that readers of the payload can read it.
    fn payload_field(&mut self, number: u32, field: Field<'_>, layout: &Layout) -> Result<(), Malformed> {
        match (layout.kind, number, field) {
            (_, 5, Field::Fixed64(bits)) => self.value = Some(f64::from_bits(bits)),
            (PointKind::Histogram, 6, field) => self.n_counts += fixed64_count(field)?,
            (PointKind::Histogram, 7, field) => self.n_bounds += fixed64_count(field)?,
            (PointKind::ExponentialHistogram, 8 | 9, Field::Bytes(buckets)) => check_buckets(buckets)?,
            (PointKind::Summary, 6, Field::Bytes(quantile)) => check_fields(quantile)?,
            _ => {}
        }
        Ok(())
    }

    /// The point's value: the number, or a histogram's sum, undefined where it was not recorded.
    pub fn checked_value(&self, layout: &Layout) -> Result<f64, Refusal> {
        let nothing_recorded = self.flags & NO_RECORDED_VALUE != 0;
        if !layout.has_payload() && self.value.is_none() && !nothing_recorded {
            return Err(Refusal::NoValue);
        }
        let both_none = self.n_counts == 0 && self.n_bounds == 0;
        if layout.kind == PointKind::Histogram && !both_none && self.n_counts != self.n_bounds + 1 {
            return Err(Refusal::Buckets { counts: self.n_counts, bounds: self.n_bounds });
        }
        // A summary's sum is not optional in OTLP: where it is not on the wire it is zero.
        Ok(self.value.unwrap_or(if layout.kind == PointKind::Summary { 0.0 } else { f64::NAN }))
    }
}

/// How many values a repeated fixed64 field adds, packed or not.
fn fixed64_count(field: Field<'_>) -> Result<usize, Malformed> {
    match field {
        Field::Fixed64(_) => Ok(1),
        Field::Bytes(packed) if packed.len() % 8 == 0 => Ok(packed.len() / 8),
        Field::Bytes(_) => Err(Malformed::Truncated),
        _ => Ok(0),
    }
}

fn check_buckets(buckets: &[u8]) -> Result<(), Malformed> {
    let mut reader = Reader::new(buckets);
    while let Some((number, field)) = reader.next_field()? {
        if let (2, Field::Bytes(packed)) = (number, field) {
            let mut counts = Reader::new(packed);
            while !counts.rest().is_empty() {
                counts.varint()?;
            }
        }
    }
    Ok(())
}

fn check_fields(message: &[u8]) -> Result<(), Malformed> {
    let mut reader = Reader::new(message);
    while reader.next_field()?.is_some() {}
    Ok(())
}

/// Checks the exemplars of a point.
pub(super) fn check_exemplars(message: &[u8], layout: &Layout, limits: &DecodeLimits) -> Result<(), Fault> {
    const FIELD: &str = "exemplars.filtered_attributes";
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        if Some(number) != layout.exemplars {
            continue;
        }
        let (mut exemplar, mut count) = (Reader::new(field.bytes()), 0);
        while let Some((number, field)) = exemplar.next_field()? {
            if let (7, Field::Bytes(key_value)) = (number, field) {
                count_attribute(&mut count, limits, FIELD)?;
                check_attribute(key_value, limits, FIELD)?;
            }
        }
    }
    Ok(())
}

/// An exemplar's own time; 0 where it has none.
pub(super) fn exemplar_time(exemplar: &[u8]) -> Result<u64, Malformed> {
    let (mut reader, mut time) = (Reader::new(exemplar), 0);
    while let Some((number, field)) = reader.next_field()? {
        if let (2, Field::Fixed64(ns)) = (number, field) {
            time = ns;
        }
    }
    Ok(time)
}

/// Stores an exemplar that was checked.
pub(super) fn push_exemplar(
    exemplar: &[u8],
    series: u32,
    time: i64,
    list: &mut Vec<u8>,
    builder: &mut MetricBatchBuilder,
) -> Result<(), Malformed> {
    list.clear();
    let (mut value, mut trace_id, mut span_id): (f64, &[u8], &[u8]) = (f64::NAN, &[], &[]);
    let mut reader = Reader::new(exemplar);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (3, Field::Fixed64(bits)) => value = f64::from_bits(bits),
            (6, Field::Fixed64(bits)) => value = bits as i64 as f64,
            (4, Field::Bytes(bytes)) => span_id = bytes,
            (5, Field::Bytes(bytes)) => trace_id = bytes,
            (7, Field::Bytes(key_value)) => attribute::push_encoded(list, key_value),
            _ => {}
        }
    }
    let found = trace_context::from_fields(trace_id, span_id)
        .or_else(|| trace_context::from_attributes(list))
        .unwrap_or_default();
    builder.push_exemplar(&ExemplarRow {
        series,
        time,
        value,
        trace_id: found.trace_id,
        span_id: found.span_id,
        trace_id_original: &found.original,
        attributes: list,
    });
    Ok(())
}
