//! Remote write 1.0: labels are written out with each series, metadata is by metric family.

use std::collections::HashMap;

use throughline_model::point::MetricType;
use throughline_model::protobuf::{Field, Malformed, Reader};

use super::{Layout, Walk};
use crate::prometheus::labels::Labels;
use crate::prometheus::sink::Metadata;

const LAYOUT: Layout = Layout { samples: 2, histograms: 4, exemplars: 3 };
/// The endings that series of one family have beyond its name.
const ENDINGS: [&str; 7] = ["_total", "_bucket", "_sum", "_count", "_created", "_info", "_gcount"];

pub(super) fn walk<'a>(body: &'a [u8], walk: &mut Walk<'a>) -> Result<(), Malformed> {
    let families = families(body)?;
    let mut reader = Reader::new(body);
    while let Some((number, field)) = reader.next_field()? {
        let (1, Field::Bytes(message)) = (number, field) else { continue };
        walk.labels.clear();
        push_labels(message, &mut walk.labels)?;
        match walk.labels.check_series(&walk.context.limits) {
            Ok(()) => {
                let metadata = metadata_of(walk.labels.metric(), &families);
                walk.take(message, &LAYOUT, &metadata, |exemplar, labels| {
                    push_labels(exemplar, labels).map(Ok)
                })?;
            }
            Err(refusal) => walk.refuse_series(message, &LAYOUT, refusal)?,
        }
        walk.index += 1;
    }
    Ok(())
}

/// Labels are field 1 of a series and of an exemplar.
fn push_labels<'a>(message: &'a [u8], labels: &mut Labels<'a>) -> Result<(), Malformed> {
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        let (1, Field::Bytes(label)) = (number, field) else { continue };
        let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
        let mut fields = Reader::new(label);
        while let Some((number, field)) = fields.next_field()? {
            match (number, field) {
                (1, Field::Bytes(bytes)) => name = bytes,
                (2, Field::Bytes(bytes)) => value = bytes,
                _ => {}
            }
        }
        labels.push(name, value);
    }
    Ok(())
}

/// What the request says of metric families.
fn families(body: &[u8]) -> Result<HashMap<&str, Metadata<'_>>, Malformed> {
    let mut families = HashMap::new();
    let mut reader = Reader::new(body);
    while let Some((number, field)) = reader.next_field()? {
        let (3, Field::Bytes(message)) = (number, field) else { continue };
        let (mut family, mut metadata) = ("", Metadata::default());
        let mut fields = Reader::new(message);
        while let Some((number, field)) = fields.next_field()? {
            match (number, field) {
                (1, Field::Varint(code)) => metadata.metric_type = metric_type(code),
                (2, Field::Bytes(bytes)) => family = text(bytes),
                (4, Field::Bytes(bytes)) => metadata.help = text(bytes),
                (5, Field::Bytes(bytes)) => metadata.unit = text(bytes),
                _ => {}
            }
        }
        families.insert(family, metadata);
    }
    Ok(families)
}

fn metadata_of<'a>(metric: &str, families: &HashMap<&str, Metadata<'a>>) -> Metadata<'a> {
    if families.is_empty() {
        return Metadata::default();
    }
    let family = ENDINGS.iter().find_map(|ending| families.get(metric.strip_suffix(ending)?));
    families.get(metric).or(family).copied().unwrap_or_default()
}

pub(super) fn metric_type(code: u64) -> MetricType {
    u8::try_from(code).map(MetricType::from_code).unwrap_or_default()
}

/// Text that describes and does not identify: what cannot be read is left out.
pub(super) fn text(bytes: &[u8]) -> &str {
    simdutf8::basic::from_utf8(bytes).unwrap_or_default()
}
