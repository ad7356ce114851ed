//! The labels of one series or exemplar: checked, sorted and written as a label list.
//!
//! The fingerprint of a series is the hash of its label list ([`throughline_model::label`]), so that a series is the same
//! one whichever way it comes.

use throughline_model::label::{self, METRIC_NAME};
use throughline_model::protobuf::{Field, Malformed, Reader};

use super::refusal::Refusal;
use crate::DecodeLimits;

/// Labels, borrowed from a request.
#[derive(Default)]
pub(crate) struct Labels<'a> {
    pairs: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Labels<'a> {
    /// Reads the `Label` messages of a message of remote write 1.0: field 1 of a series, of an exemplar and of a list.
    pub fn read(message: &'a [u8]) -> Result<Labels<'a>, Malformed> {
        let mut labels = Labels::default();
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
            // An empty value is the same as none.
            if !value.is_empty() {
                labels.pairs.push((name, value));
            }
        }
        Ok(labels)
    }

    /// Sorts and checks the labels of a series.
    pub fn check_series(&mut self, limits: &DecodeLimits) -> Result<(), Refusal> {
        self.check(limits)?;
        let name = METRIC_NAME.as_bytes();
        match self.pairs.binary_search_by(|(other, _)| (*other).cmp(name)) {
            Ok(_) => Ok(()),
            Err(_) => Err(Refusal::NoMetricName),
        }
    }

    /// Sorts and checks labels that need no name of a metric: those of an exemplar.
    pub fn check(&mut self, limits: &DecodeLimits) -> Result<(), Refusal> {
        if self.pairs.len() > limits.attributes_per_item {
            return Err(Refusal::LabelCount { count: self.pairs.len(), limit: limits.attributes_per_item });
        }
        if !self.pairs.is_sorted_by(|(a, _), (b, _)| a <= b) {
            self.pairs.sort_unstable_by_key(|(name, _)| *name);
        }
        let mut last: Option<&[u8]> = None;
        for (name, value) in &self.pairs {
            let bytes = name.len() + value.len();
            if bytes > limits.attribute_bytes {
                return Err(Refusal::LabelBytes { bytes, limit: limits.attribute_bytes });
            }
            if name.is_empty() {
                return Err(Refusal::EmptyLabelName);
            }
            if last == Some(name) {
                return Err(Refusal::DuplicateLabel);
            }
            if simdutf8::basic::from_utf8(name).is_err() || simdutf8::basic::from_utf8(value).is_err() {
                return Err(Refusal::NotUtf8);
            }
            last = Some(name);
        }
        Ok(())
    }

    /// Writes the labels as a label list.
    pub fn write(&self, list: &mut Vec<u8>) {
        list.clear();
        self.pairs.iter().for_each(|(name, value)| label::push(list, name, value));
    }
}
