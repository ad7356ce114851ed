//! Span metrics: how many spans, how long they took and how large they were, per service, name, kind and status.

use crate::columns::Spans;
use crate::config::DeriveConfig;
use crate::dimensions::{Dimensions, Precedence};
use crate::histogram::{Bounds, Histogram};
use crate::table::{SEPARATOR, Slot, Table};

/// The values of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Red {
    /// The sizes of all spans.
    pub bytes: f64,
    /// Their durations; its count is the number of calls.
    pub latency: Histogram,
}

/// The span metrics.
#[derive(Debug)]
pub struct SpanMetrics {
    /// Series by labels.
    pub table: Table<Red>,
    /// The bounds of the histograms.
    pub bounds: Bounds,
    /// Labels of the user's choice.
    pub dimensions: Dimensions,
    key: Vec<u8>,
}

impl SpanMetrics {
    /// Nothing counted yet.
    pub fn new(config: &DeriveConfig) -> SpanMetrics {
        SpanMetrics {
            table: Table::new(config.cardinality_limit),
            bounds: Bounds::new(&config.histogram_buckets),
            dimensions: Dimensions::new(config.dimensions.clone(), Precedence::Span),
            key: Vec::new(),
        }
    }

    /// Counts every span.
    pub fn observe(&mut self, spans: &Spans<'_>, now: i64) {
        let resources = self.dimensions.of_resources(spans);
        let mut recent = Recent::default();
        let is_plain = self.dimensions.is_empty();
        for row in 0..spans.len() {
            let bounds = &self.bounds;
            let new = || Red { bytes: 0.0, latency: Histogram::new(bounds) };
            let slot = match recent.find(spans, row).filter(|_| is_plain) {
                Some(slot) => slot,
                None => {
                    let key = &mut self.key;
                    key.clear();
                    key.extend([spans.kind(row), spans.status(row)]);
                    key.extend_from_slice(spans.service(row).as_bytes());
                    key.push(SEPARATOR);
                    key.extend_from_slice(spans.name(row).as_bytes());
                    self.dimensions.write(spans, row, &resources, key);
                    let slot = self.table.slot(key, now, new);
                    recent.keep(spans, row, slot);
                    slot
                }
            };
            let red = self.table.at(slot, now, new);
            let weight = spans.weight(row);
            red.bytes += spans.bytes(row) as f64 * weight;
            let ids = || (spans.trace_id(row), spans.span_id(row));
            red.latency.observe(bounds, spans.duration_ns(row), weight, now, ids);
        }
    }

    /// The names of the labels, in the order of a key's texts.
    pub fn labels(&self) -> Vec<String> {
        ["service", "span_name"].map(str::to_owned).into_iter().chain(self.dimensions.labels()).collect()
    }
}

/// How many series are remembered while a batch is counted: those of a service or a few.
const RECENT: usize = 128;

/// The series of the last spans of a batch, so that the labels of most spans need not be put together and looked for:
/// names repeat. What stands in a place is compared before it is believed.
struct Recent {
    /// By what tells most names apart: one more than a row that was counted there, and the series.
    places: [(u32, Slot); RECENT],
}

impl Default for Recent {
    fn default() -> Recent {
        Recent { places: [(0, Slot::OVERFLOW); RECENT] }
    }
}

impl Recent {
    #[inline]
    fn find(&self, spans: &Spans<'_>, row: usize) -> Option<Slot> {
        let (counted, slot) = *self.places.get(place(spans, row))?;
        let like = counted.checked_sub(1)? as usize;
        let is_same = spans.service_code(like) == spans.service_code(row)
            && spans.kind(like) == spans.kind(row)
            && spans.status(like) == spans.status(row)
            && spans.name(like) == spans.name(row);
        is_same.then_some(slot)
    }

    #[inline]
    fn keep(&mut self, spans: &Spans<'_>, row: usize, slot: Slot) {
        if let (Some(place), Ok(row)) = (self.places.get_mut(place(spans, row)), u32::try_from(row)) {
            *place = (row.saturating_add(1), slot);
        }
    }
}

#[inline]
fn place(spans: &Spans<'_>, row: usize) -> usize {
    let name = spans.name(row).as_bytes();
    let ends = |bytes: Option<&[u8; 4]>| bytes.map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)));
    let codes = spans.service_code(row) as u64
        ^ u64::from(spans.kind(row)) << 16
        ^ u64::from(spans.status(row)) << 20;
    let text = ends(name.first_chunk()) << 32 ^ ends(name.last_chunk()) ^ (name.len() as u64) << 24;
    // Fibonacci hashing (Knuth, volume 3, section 6.4): the high bits depend on all others.
    let hash = (text ^ codes << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> 32) as usize % RECENT
}

/// The value of the label `span_kind`.
pub fn kind_label(code: u8) -> &'static str {
    match code {
        1 => "SPAN_KIND_INTERNAL",
        2 => "SPAN_KIND_SERVER",
        3 => "SPAN_KIND_CLIENT",
        4 => "SPAN_KIND_PRODUCER",
        5 => "SPAN_KIND_CONSUMER",
        _ => "SPAN_KIND_UNSPECIFIED",
    }
}

/// The value of the label `status_code`.
pub fn status_label(code: u8) -> &'static str {
    match code {
        1 => "STATUS_CODE_OK",
        2 => "STATUS_CODE_ERROR",
        _ => "STATUS_CODE_UNSET",
    }
}
