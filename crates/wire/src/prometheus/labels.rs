//! The labels of one series: checked, sorted and hashed.
//!
//! The fingerprint of a series is the hash of its labels as remote write 1.0 encodes them when they are sorted, so that a
//! series is the same one whichever way it comes.

use throughline_model::attribute::{self, Value};
use throughline_model::point::PointKind;
use throughline_model::protobuf::{put_bytes, put_varint};
use xxhash_rust::xxh3::xxh3_128;

use super::refusal::Refusal;
use crate::DecodeLimits;

const NAME: &[u8] = b"__name__";

/// The labels of one series, borrowed from the request. Reused from series to series.
#[derive(Default)]
pub(crate) struct Labels<'a> {
    pairs: Vec<(&'a [u8], &'a [u8])>,
    /// The pairs as `Label` messages, each after tag and length.
    encoded: Vec<u8>,
}

impl<'a> Labels<'a> {
    /// Starts the next series.
    pub fn clear(&mut self) {
        self.pairs.clear();
    }

    /// Adds a label. An empty value is the same as none.
    #[inline]
    pub fn push(&mut self, name: &'a [u8], value: &'a [u8]) {
        if !value.is_empty() {
            self.pairs.push((name, value));
        }
    }

    /// Sorts and checks the labels of a series.
    pub fn check_series(&mut self, limits: &DecodeLimits) -> Result<(), Refusal> {
        self.check(limits)?;
        if self.value(NAME).is_empty() {
            return Err(Refusal::NoMetricName);
        }
        Ok(())
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

    /// The fingerprint of the series of this kind.
    pub fn fingerprint(&mut self, kind: PointKind) -> u128 {
        self.encoded.clear();
        for (name, value) in &self.pairs {
            let bytes = name.len() + value.len() + 2 + varint_bytes(name.len()) + varint_bytes(value.len());
            self.encoded.push(1 << 3 | 2);
            put_varint(&mut self.encoded, bytes as u64);
            put_bytes(&mut self.encoded, 1, name);
            put_bytes(&mut self.encoded, 2, value);
        }
        // A series may have numbers and histograms: those are two series here.
        xxh3_128(&self.encoded) ^ u128::from(kind == PointKind::NativeHistogram)
    }

    /// The label's value; empty where there is none.
    fn value(&self, name: &[u8]) -> &'a [u8] {
        let found = self.pairs.binary_search_by(|(other, _)| (*other).cmp(name)).ok();
        found.and_then(|at| self.pairs.get(at)).map_or(&[], |(_, value)| value)
    }

    /// The label's text, once the labels are checked.
    fn text(&self, name: &[u8]) -> &'a str {
        std::str::from_utf8(self.value(name)).unwrap_or_default()
    }

    /// The metric's name.
    pub fn metric(&self) -> &'a str {
        self.text(NAME)
    }

    /// The service that the labels name.
    pub fn service(&self) -> &'a str {
        let named = [&b"service_name"[..], b"service"].map(|name| self.text(name));
        let job = self.text(b"job");
        named
            .into_iter()
            .find(|name| !name.is_empty())
            .unwrap_or(job.split_once('/').map_or(job, |(_, name)| name))
    }

    /// Writes all labels but the metric's name as an attribute list.
    pub fn write_attributes(&self, list: &mut Vec<u8>) {
        list.clear();
        for (name, value) in self.pairs.iter().filter(|(name, _)| *name != NAME) {
            let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).unwrap_or_default();
            attribute::push(list, text(name), Value::Str(text(value)));
        }
    }
}

fn varint_bytes(number: usize) -> usize {
    (1..10).find(|bytes| number < 1 << (7 * bytes)).unwrap_or(10)
}
