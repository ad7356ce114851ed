//! Metrics: `ExportMetricsServiceRequest` into a [`MetricBatch`](throughline_model::MetricBatch).
//!
//! A point belongs to a series, found by a fingerprint that does not depend on the order of attributes: the sum of
//! the hashes of its `KeyValue` messages, hashed together with what its metric, scope and resource are. A series is
//! read and checked with its first point; the attributes of later points have the same bytes and are only hashed.

mod point;

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasherDefault;

use throughline_model::Batch;
use throughline_model::batch::{MetricBatchBuilder, PointRow, SeriesRow};
use throughline_model::point::{MetricType, PointKind};
use throughline_model::protobuf::{Field, Malformed, Reader};
use xxhash_rust::xxh3::xxh3_128;

use self::point::{Layout, PointFields};
use super::attributes::{check_attribute, count_attribute};
use super::origin::{OriginColumns, short_text};
use super::refusal::{Fault, Refusal, Tally};
use super::{ItemOrigin, Memory, Scratch, Sink, check_time, is_set, refused, walk};
use crate::unhashed::Unhashed;
use crate::{DecodeContext, DecodeError, Decoded};

/// Aggregation temporality, as OTLP codes it.
const CUMULATIVE: u64 = 2;

pub(super) fn decode(
    body: &[u8],
    context: &DecodeContext,
    memory: &mut Memory,
) -> Result<Decoded, DecodeError> {
    let mut tally = Tally::new(["resource_metrics", "scope_metrics", "metrics"], &context.limits);
    let Memory { origins, scratch, metrics, series, .. } = memory;
    // What the request before left behind.
    metrics.clear();
    series.clear();
    series.shrink_to(SERIES_KEPT);
    let mut sink = MetricSink { builder: metrics, series, context, scratch };
    walk(body, &mut sink, origins, &context.limits, &mut tally)?;
    Ok(Decoded { batch: Batch::Metrics(sink.builder.finish()), rejected: tally.finish() })
}

/// The rows of a batch's series by their fingerprints.
pub(super) type SeriesRows = HashMap<u128, u32, BuildHasherDefault<Unhashed>>;

/// Room for so many series is kept for the next request.
const SERIES_KEPT: usize = 16_384;

struct MetricSink<'a> {
    builder: &'a mut MetricBatchBuilder,
    series: &'a mut SeriesRows,
    context: &'a DecodeContext,
    scratch: &'a mut Scratch,
}

/// What a metric's points have in common.
struct Metric<'a> {
    name: &'a str,
    unit: &'a str,
    description: &'a str,
    layout: &'static Layout,
    temporality: u8,
    monotonic: bool,
    metric_type: MetricType,
    /// A hash of all that makes the series of this metric, without the points' attributes.
    identity: u128,
    origin: ItemOrigin,
}

impl Sink for MetricSink<'_> {
    fn columns(&mut self) -> &mut impl OriginColumns {
        &mut *self.builder
    }

    fn take(&mut self, message: &[u8], origin: ItemOrigin, tally: &mut Tally) -> Result<(), Malformed> {
        let parts = Parts::read(message)?;
        let metric = match refused(self.metric(&parts, origin))? {
            Ok(metric) => metric,
            Err(refusal) => {
                let count = parts.count_points()?;
                // A metric without points has nothing to refuse.
                if count > 0 {
                    tally.refuse(refusal, count);
                }
                return Ok(());
            }
        };
        let mut reader = Reader::new(&parts.data);
        let mut index = 0;
        while let Some((number, field)) = reader.next_field()? {
            let (1, Field::Bytes(message)) = (number, field) else { continue };
            tally.place.point = Some(index);
            index += 1;
            let taken = match tally.admit() {
                Ok(()) => refused(self.point(message, &metric, tally))?,
                Err(refusal) => Err(refusal),
            };
            if let Err(refusal) = taken {
                tally.refuse(refusal, 1);
            }
        }
        Ok(())
    }

    fn count(&self, message: &[u8]) -> Result<u64, Malformed> {
        Parts::read(message)?.count_points()
    }
}

/// What Prometheus calls a metric of this kind.
fn metric_type(kind: PointKind, monotonic: bool) -> MetricType {
    match kind {
        PointKind::Sum if monotonic => MetricType::Counter,
        PointKind::Gauge | PointKind::Sum => MetricType::Gauge,
        PointKind::Histogram | PointKind::ExponentialHistogram => MetricType::Histogram,
        PointKind::Summary => MetricType::Summary,
        PointKind::Sample | PointKind::NativeHistogram => MetricType::Unknown,
    }
}

/// A metric's fields as they are on the wire.
#[derive(Default)]
struct Parts<'a> {
    name: &'a [u8],
    description: &'a [u8],
    unit: &'a [u8],
    /// The field number of the data: which kind it is.
    kind: u32,
    data: Cow<'a, [u8]>,
}

impl<'a> Parts<'a> {
    fn read(message: &'a [u8]) -> Result<Parts<'a>, Malformed> {
        let mut parts = Parts::default();
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (1, Field::Bytes(bytes)) => parts.name = bytes,
                (2, Field::Bytes(bytes)) => parts.description = bytes,
                (3, Field::Bytes(bytes)) => parts.unit = bytes,
                // The same kind twice is merged, which for encoded messages is to put one after the other; of
                // different kinds the last counts.
                (5 | 7 | 9 | 10 | 11, Field::Bytes(bytes)) if number == parts.kind => {
                    parts.data.to_mut().extend_from_slice(bytes);
                }
                (5 | 7 | 9 | 10 | 11, Field::Bytes(bytes)) => {
                    parts.kind = number;
                    parts.data = Cow::Borrowed(bytes);
                }
                _ => {}
            }
        }
        Ok(parts)
    }

    fn count_points(&self) -> Result<u64, Malformed> {
        let mut reader = Reader::new(&self.data);
        let mut count = 0;
        while let Some((number, field)) = reader.next_field()? {
            count += u64::from(number == 1 && matches!(field, Field::Bytes(_)));
        }
        Ok(count)
    }
}

impl MetricSink<'_> {
    fn metric<'p>(&self, parts: &'p Parts<'_>, origin: ItemOrigin) -> Result<Metric<'p>, Fault> {
        let limits = &self.context.limits;
        let layout = Layout::of(parts.kind).ok_or(Refusal::NoData)?;
        let (mut temporality, mut monotonic) = (0, 0);
        let mut reader = Reader::new(&parts.data);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (2, Field::Varint(value)) => temporality = value,
                (3, Field::Varint(value)) => monotonic = value,
                _ => {}
            }
        }
        if layout.kind == PointKind::Gauge || layout.kind == PointKind::Summary {
            temporality = 0;
        } else if temporality == 0 || temporality > CUMULATIVE {
            return Err(Refusal::Temporality { value: temporality }.into());
        }
        let monotonic = layout.kind == PointKind::Sum && monotonic != 0;
        let name = short_text(parts.name, limits, "name")?;
        let unit = short_text(parts.unit, limits, "unit")?;
        let codes = [layout.kind as u8, temporality as u8, u8::from(monotonic)];
        // The separators keep name, unit and the rest apart: no valid UTF-8 contains them.
        let identity = xxh3_128(
            &[
                name.as_bytes(),
                &[0xff],
                unit.as_bytes(),
                &[0xff],
                &codes,
                &origin.resource.identity.to_le_bytes(),
                &origin.scope.identity.to_le_bytes(),
            ]
            .concat(),
        );
        Ok(Metric {
            name,
            unit,
            description: short_text(parts.description, limits, "description")?,
            layout,
            temporality: temporality as u8,
            monotonic,
            metric_type: metric_type(layout.kind, monotonic),
            identity,
            origin,
        })
    }

    fn point(&mut self, message: &[u8], metric: &Metric<'_>, tally: &mut Tally) -> Result<(), Fault> {
        let Scratch { attributes, events: payload, .. } = &mut *self.scratch;
        let fields = PointFields::read(message, metric.layout, attributes, payload)?;
        let time = check_time(fields.time, self.context, "time_unix_nano")?;
        let value = fields.checked_value(metric.layout)?;
        if fields.has_exemplars {
            // Before anything is stored: a point is refused whole or not at all.
            point::check_exemplars(message, metric.layout, &self.context.limits)?;
        }
        let series = self.series(metric, fields.attributes_hash)?;
        self.builder.push_point(&PointRow {
            series,
            time,
            start_time: i64::try_from(fields.start_time).unwrap_or(i64::MAX),
            value,
            flags: fields.flags,
            payload: metric.layout.has_payload().then_some(&self.scratch.events),
        });
        if fields.has_exemplars {
            self.exemplars(message, metric.layout, series, time, tally)?;
        }
        Ok(())
    }

    /// The row of the series of the point whose attributes are in `scratch`; they are checked if the series is new.
    fn series(&mut self, metric: &Metric<'_>, attributes_hash: u128) -> Result<u32, Fault> {
        const FIELD: &str = "attributes";
        let mut bytes = [0; 32];
        let (head, tail) = bytes.split_at_mut(16);
        head.copy_from_slice(&metric.identity.to_le_bytes());
        tail.copy_from_slice(&attributes_hash.to_le_bytes());
        let fingerprint = xxh3_128(&bytes);
        let vacant = match self.series.entry(fingerprint) {
            Entry::Occupied(known) => return Ok(*known.get()),
            Entry::Vacant(vacant) => vacant,
        };
        let list = &self.scratch.attributes;
        let (mut reader, mut count) = (Reader::new(list), 0);
        while !reader.rest().is_empty() {
            count_attribute(&mut count, &self.context.limits, FIELD)?;
            check_attribute(reader.delimited()?, &self.context.limits, FIELD)?;
        }
        let row = self.builder.push_series(&SeriesRow {
            resource: metric.origin.resource.index,
            scope: metric.origin.scope.index,
            fingerprint: fingerprint.to_be_bytes(),
            metric: metric.name,
            kind: metric.layout.kind,
            unit: metric.unit,
            description: metric.description,
            temporality: metric.temporality,
            monotonic: metric.monotonic,
            attributes: list,
            metric_type: metric.metric_type,
        });
        vacant.insert(row);
        Ok(row)
    }

    /// Stores a point's exemplars. One whose own time is out of bounds is left out and remarked upon: libraries keep
    /// an exemplar for as long as their process lives, and its point is good.
    fn exemplars(
        &mut self,
        message: &[u8],
        layout: &Layout,
        series: u32,
        point_time: i64,
        tally: &mut Tally,
    ) -> Result<(), Malformed> {
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field()? {
            if Some(number) != layout.exemplars {
                continue;
            }
            let time = match point::exemplar_time(field.bytes())? {
                time if !is_set(time) => Ok(point_time),
                time => {
                    check_time(time, self.context, "exemplars.time_unix_nano (the exemplar was left out)")
                }
            };
            match time {
                Ok(time) => {
                    let list = &mut self.scratch.attributes;
                    point::push_exemplar(field.bytes(), series, time, list, self.builder)?;
                }
                Err(refusal) => tally.refuse(refusal, 0),
            }
        }
        Ok(())
    }
}
