//! Remote write 1.0: labels are written out with each series, metadata is by metric family.

use std::collections::HashMap;

use throughline_model::label::METRIC_NAME;
use throughline_model::point::MetricType;
use throughline_model::protobuf::{Field, Malformed, Reader};
use throughline_model::{label, protobuf};

use super::{Contents, Layout, Walk};
use crate::prometheus::sink::Metadata;

const LAYOUT: Layout = Layout { samples: 2, histograms: 4, exemplars: 3, refuses_empty: false };
const LABELS: u32 = 1;
/// The endings that series of one family have beyond its name.
const ENDINGS: [&str; 7] = ["_total", "_bucket", "_sum", "_count", "_created", "_info", "_gcount"];

pub(super) fn walk(body: &[u8], walk: &mut Walk<'_>) -> Result<(), Malformed> {
    let families = families(body)?;
    let mut gathered = Vec::new();
    let mut reader = Reader::new(body);
    while let Some((number, field)) = reader.next_field()? {
        let (1, Field::Bytes(message)) = (number, field) else { continue };
        let (labels, contents) = split(message, &mut gathered)?;
        let metadata = if families.is_empty() { Metadata::default() } else { metadata_of(labels, &families) };
        walk.take(message, labels, contents, &LAYOUT, &metadata, |exemplar, written, _| {
            written.clear();
            gather_labels(exemplar, written).map(Ok)
        })?;
        walk.index += 1;
    }
    Ok(())
}

/// The labels of a series as one run of `Label` messages, and what else it has. They come first in every encoding that
/// is in use; otherwise they are gathered.
#[inline]
fn split<'a>(message: &'a [u8], gathered: &'a mut Vec<u8>) -> Result<(&'a [u8], Contents), Malformed> {
    let mut contents = Contents::default();
    let (mut labels_end, mut rest_began, mut scattered) = (0, false, false);
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        if !matches!(field, Field::Bytes(_)) {
            rest_began = true;
        } else if number == LABELS {
            labels_end = message.len() - reader.rest().len();
            scattered |= rest_began;
        } else {
            rest_began = true;
            contents.count(number, &LAYOUT);
        }
    }
    if !scattered {
        return Ok((message.get(..labels_end).unwrap_or_default(), contents));
    }
    gathered.clear();
    gather_labels(message, gathered)?;
    Ok((gathered, contents))
}

/// Labels are field 1 of a series and of an exemplar.
fn gather_labels(message: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        if let (LABELS, Field::Bytes(label)) = (number, field) {
            protobuf::put_bytes(out, LABELS, label);
        }
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

fn metadata_of<'a>(labels: &[u8], families: &HashMap<&str, Metadata<'a>>) -> Metadata<'a> {
    let metric = label::iter(labels).find(|(name, _)| *name == METRIC_NAME).map_or("", |(_, value)| value);
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
