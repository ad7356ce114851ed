//! Takes series, samples, histograms and exemplars into a batch.
//!
//! Most series of a request were in an earlier one: [`Memory`] knows the hashes of label lists that were found good, and
//! such a list is neither taken apart nor checked again. What is remembered changes how fast a request is decoded and
//! never what it becomes.

use std::collections::HashMap;

use hashbrown::HashTable;
use throughline_model::batch::{ExemplarRow, LabelledRow, SampleBatchBuilder};
use throughline_model::point::{MetricType, PointKind};
use throughline_model::protobuf::Malformed;
use throughline_model::{Batch, label};
use xxhash_rust::xxh3::xxh3_128;

use super::labels::Labels;
use super::refusal::{NS_PER_MS, Refusal};
use crate::{DecodeContext, DecodeLimits, trace_context};

/// Label lists that are remembered at most: twice the series of a large installation, and some 35 MB.
const KNOWN_MAX: usize = 1 << 20;

/// The bytes of labels and texts that one request may come to, those of references counted each time: a request of
/// ordinary series is a fraction of it, and a column counts its bytes in 31 bits.
const TEXT_BYTES_MAX: usize = 256 << 20;

/// What a sender says of a metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metadata<'a> {
    pub metric_type: MetricType,
    pub help: &'a str,
    pub unit: &'a str,
}

/// A label list that was found good.
struct Known {
    /// The fingerprint's bytes: the number would make gaps.
    fingerprint: [u8; 16],
    /// The request that had it last.
    request: u32,
    /// Its row in that request's batch.
    row: u32,
}

/// What is remembered from one request to the next.
#[derive(Default)]
pub(crate) struct Memory {
    /// In the order in which they came first.
    known: Vec<Known>,
    /// Their places.
    places: HashTable<u32>,
    /// The place after that of the last series: senders send their series in the same order again and again, and what
    /// lies side by side is found without a search.
    next: usize,
    request: u32,
    limits: Option<DecodeLimits>,
    list: Vec<u8>,
}

/// What stands for the fingerprint of a label list that is no longer known.
const FORGOTTEN: [u8; 16] = [u8::MAX; 16];

impl Memory {
    fn begin(&mut self, limits: &DecodeLimits) {
        self.request = self.request.wrapping_add(1);
        // A number that comes round again could be that of an old row.
        if self.known.len() > KNOWN_MAX || self.limits != Some(*limits) || self.request == 0 {
            self.known.clear();
            self.places.clear();
            (self.request, self.limits) = (1, Some(*limits));
        }
    }

    /// What is known of a label list.
    #[inline]
    fn find(&mut self, fingerprint: u128) -> Option<&mut Known> {
        let bytes = fingerprint.to_ne_bytes();
        let is_next = self.known.get(self.next).is_some_and(|known| known.fingerprint == bytes);
        let place = if is_next { self.next } else { self.place(fingerprint)? };
        self.next = place + 1;
        self.known.get_mut(place)
    }

    fn place(&self, fingerprint: u128) -> Option<usize> {
        let bytes = fingerprint.to_ne_bytes();
        let is_it = |place: &u32| self.known.get(*place as usize).is_some_and(|k| k.fingerprint == bytes);
        self.places.find(unhashed(fingerprint), is_it).map(|place| *place as usize)
    }

    fn learn(&mut self, fingerprint: u128) {
        if self.place(fingerprint).is_some() {
            return;
        }
        let place = self.known.len() as u32;
        self.known.push(Known { fingerprint: fingerprint.to_ne_bytes(), request: 0, row: 0 });
        let of = |place: &u32| self.known.get(*place as usize).map_or(FORGOTTEN, |known| known.fingerprint);
        let hash_of = |place: &u32| unhashed(u128::from_ne_bytes(of(place)));
        self.places.insert_unique(unhashed(fingerprint), place, hash_of);
    }

    fn forget(&mut self, fingerprint: u128) {
        let Some(place) = self.place(fingerprint) else { return };
        if let Ok(entry) = self.places.find_entry(unhashed(fingerprint), |other| *other as usize == place) {
            entry.remove();
        }
        if let Some(known) = self.known.get_mut(place) {
            known.fingerprint = FORGOTTEN;
        }
    }
}

/// A fingerprint is a hash already.
fn unhashed(fingerprint: u128) -> u64 {
    fingerprint as u64
}

/// A place in a batch.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    series: usize,
    items: usize,
}

/// The batch that a request becomes.
pub(crate) struct Sink<'a> {
    builder: SampleBatchBuilder,
    context: &'a DecodeContext,
    memory: &'a mut Memory,
    /// Of each series the latest time; what comes before it may be there twice.
    latest_ms: Vec<i64>,
    /// Values by series and time, from the first point on that is not later than the one before.
    times: Option<HashMap<(u32, i64), u64>>,
    text_bytes: usize,
}

impl<'a> Sink<'a> {
    pub fn new(context: &'a DecodeContext, memory: &'a mut Memory, body_bytes: usize) -> Sink<'a> {
        memory.begin(&context.limits);
        // A series takes a hundred bytes or more; the estimates are bounded by bytes that are here.
        let n_series = (body_bytes / 100).min(16_384);
        Sink {
            builder: SampleBatchBuilder::with_capacity(n_series, body_bytes.min(4 << 20)),
            context,
            memory,
            latest_ms: Vec::with_capacity(n_series),
            times: None,
            text_bytes: 0,
        }
    }

    /// Counts bytes of text against what one request may come to.
    #[inline]
    pub fn count_text(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.text_bytes = self.text_bytes.saturating_add(bytes);
        if self.text_bytes > TEXT_BYTES_MAX {
            return Err(Refusal::TextBytes { limit: TEXT_BYTES_MAX });
        }
        Ok(())
    }

    /// The row of the series of this kind with these labels: `Label` messages as field 1, in any order.
    #[inline]
    pub fn series(
        &mut self,
        list: &[u8],
        kind: PointKind,
        metadata: &Metadata<'_>,
    ) -> Result<Result<u32, Refusal>, Malformed> {
        let fingerprint = fingerprint(list, kind);
        if let Some(row) = self.known_row(fingerprint, list, kind, metadata) {
            return Ok(row);
        }
        let mut labels = Labels::read(list)?;
        if let Err(refusal) = labels.check_series(&self.context.limits) {
            return Ok(Err(refusal));
        }
        let mut sorted = std::mem::take(&mut self.memory.list);
        labels.write(&mut sorted);
        let fingerprint = self::fingerprint(&sorted, kind);
        self.memory.learn(fingerprint);
        let row = self.known_row(fingerprint, &sorted, kind, metadata);
        self.memory.list = sorted;
        Ok(row.unwrap_or(Err(Refusal::NoSample)))
    }

    /// The row of a series whose label list is known to be good.
    #[inline]
    fn known_row(
        &mut self,
        fingerprint: u128,
        list: &[u8],
        kind: PointKind,
        metadata: &Metadata<'_>,
    ) -> Option<Result<u32, Refusal>> {
        let request = self.memory.request;
        let known = self.memory.find(fingerprint)?;
        if known.request == request {
            return Some(Ok(known.row));
        }
        self.text_bytes += list.len() + metadata.help.len() + metadata.unit.len();
        if self.text_bytes > TEXT_BYTES_MAX {
            return Some(Err(Refusal::TextBytes { limit: TEXT_BYTES_MAX }));
        }
        let row = self.builder.push_series(&LabelledRow {
            fingerprint: fingerprint.to_be_bytes(),
            labels: list,
            kind,
            unit: metadata.unit,
            description: metadata.help,
            metric_type: metadata.metric_type,
        });
        (known.request, known.row) = (request, row);
        self.latest_ms.push(i64::MIN);
        Some(Ok(row))
    }

    /// Adds a sample, or a histogram with its payload.
    #[inline]
    pub fn point(
        &mut self,
        series: u32,
        time_ms: i64,
        start_ms: i64,
        value: f64,
        payload: Option<&[u8]>,
    ) -> Result<(), Refusal> {
        let time = self.check_time(time_ms)?;
        match self.latest_ms.get_mut(series as usize) {
            Some(latest_ms) if time_ms > *latest_ms && self.times.is_none() => *latest_ms = time_ms,
            _ => self.check_value(series, time, value)?,
        }
        let start_time = if start_ms == 0 { 0 } else { start_ms.saturating_mul(NS_PER_MS).max(0) };
        self.builder.push_point(series, time, start_time, value, payload);
        Ok(())
    }

    /// Checks that a time has one value. An equal one is the same sample: it is written twice, and read once.
    #[cold]
    fn check_value(&mut self, series: u32, time: i64, value: f64) -> Result<(), Refusal> {
        let builder = &self.builder;
        let so_far = || builder.points().map(|(series, time, value)| ((series, time), value.to_bits()));
        let times = self.times.get_or_insert_with(|| so_far().collect());
        if *times.entry((series, time)).or_insert(value.to_bits()) == value.to_bits() {
            return Ok(());
        }
        Err(Refusal::DuplicateTime { time_ms: time / NS_PER_MS })
    }

    /// Where the batch stands.
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark { series: self.latest_ms.len(), items: self.builder.items() }
    }

    /// Takes back the series that were added since and that nothing is of: all their samples were refused.
    #[inline]
    pub fn drop_unused(&mut self, mark: Mark) {
        if self.builder.items() == mark.items && self.latest_ms.len() > mark.series {
            self.latest_ms.truncate(mark.series);
            for fingerprint in self.builder.truncate_series(mark.series) {
                self.memory.forget(u128::from_be_bytes(fingerprint));
            }
        }
    }

    /// Adds an exemplar with its label list, which is checked.
    pub fn exemplar(&mut self, series: u32, list: &[u8], time_ms: i64, value: f64) -> Result<(), Refusal> {
        let time = self.check_time(time_ms)?;
        let limit = self.context.limits.items_per_request;
        if self.builder.exemplars() >= limit {
            return Err(Refusal::ItemCount { limit });
        }
        let mut attributes = Vec::with_capacity(list.len() + 16);
        label::iter(list)
            .for_each(|(name, text)| throughline_model::attribute::push_text(&mut attributes, name, text));
        let found = trace_context::from_attributes(&attributes).unwrap_or_default();
        self.builder.push_exemplar(&ExemplarRow {
            series,
            time,
            value,
            trace_id: found.trace_id,
            span_id: found.span_id,
            trace_id_original: &found.original,
            attributes: &attributes,
        });
        Ok(())
    }

    /// Checks a time against the limits and converts it to nanoseconds.
    #[inline]
    fn check_time(&self, time_ms: i64) -> Result<i64, Refusal> {
        let (received_at, limits) = (self.context.received_at, &self.context.limits);
        let time = time_ms.saturating_mul(NS_PER_MS);
        if time > received_at.saturating_add(limits.future_ns) {
            return Err(Refusal::TooNew { time_ms, received_at, limit_ns: limits.future_ns });
        }
        if time < received_at.saturating_sub(limits.past_ns) {
            return Err(Refusal::TooOld { time_ms, received_at, limit_ns: limits.past_ns });
        }
        Ok(time)
    }

    pub fn finish(self) -> Batch {
        Batch::Metrics(self.builder.finish())
    }
}

/// A series may have numbers and histograms: those are two series here.
#[inline]
fn fingerprint(list: &[u8], kind: PointKind) -> u128 {
    xxh3_128(list) ^ u128::from(kind == PointKind::NativeHistogram)
}
