//! Metrics of a snapshot part by part and in columns: what query languages read.
//!
//! A *part* is a memtable or a block. It lists its series by row, and its points in runs: columns of the points of
//! neighbouring series. Whoever reads keeps what it has learnt of a part under the part's key: a block's series never
//! change, a memtable's only grow.

use std::ops::Range;
use std::sync::Arc;

use throughline_model::point::PointKind;
use throughline_model::record::Exemplar;

use super::{Snapshot, TimeRange};
use crate::block::Block;
use crate::error::Error;
use crate::memtable::{MemtableView, SeriesEntry};

/// What identifies a part as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PartKey {
    /// A memtable by a number that no other has.
    Memtable(u64),
    /// A block by its id.
    Block(u64),
}

/// A memtable or a block that holds metrics.
#[derive(Clone)]
pub enum MetricPart {
    /// A memtable as it was when the snapshot was taken.
    Memtable(MemtableView),
    /// A block.
    Block(Arc<Block>),
}

/// What a series is chosen by before it is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct SeriesHead<'a> {
    pub kind: PointKind,
    pub metric: &'a str,
    pub unit: &'a str,
    pub service: &'a str,
}

/// The points of neighbouring series, before they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunBounds {
    /// The run's own row.
    pub run: u32,
    /// The rows of its series.
    pub series: Range<u32>,
    /// The earliest time, nanoseconds since the epoch.
    pub min_time: i64,
    /// The latest time, nanoseconds since the epoch.
    pub max_time: i64,
}

/// Which columns of points are wanted beside times and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "one flag per column")]
pub struct PointWant {
    pub start_times: bool,
    pub payloads: bool,
}

/// What the points of a run carry beyond a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Payloads {
    /// Nothing, or nothing was asked for.
    #[default]
    None,
    /// Histograms of equal bounds: bucket after bucket, the counts of all points.
    Buckets {
        /// The upper bounds, one fewer than there are buckets.
        bounds: Arc<[f64]>,
        /// `counts[bucket * points + point]`.
        counts: Vec<u64>,
    },
    /// A payload per point, as [`throughline_model::point`] describes them.
    Raw(RawPayloads),
}

/// Payloads one after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawPayloads {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Payloads {
    /// The memory that they take, in bytes.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Payloads::None => 0,
            Payloads::Buckets { bounds, counts } => (bounds.len() + counts.len()) * size_of::<u64>(),
            Payloads::Raw(raw) => raw.bytes.len() + raw.ends.len() * size_of::<usize>(),
        }
    }
}

impl RawPayloads {
    /// Adds the payload of the next point.
    pub fn push(&mut self, payload: &[u8]) {
        self.bytes.extend_from_slice(payload);
        self.ends.push(self.bytes.len());
    }

    /// The payload of a point; nothing where there is no such point.
    pub fn get(&self, point: usize) -> &[u8] {
        let start =
            point.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default();
        let end = self.ends.get(point).copied().unwrap_or_default();
        self.bytes.get(start..end).unwrap_or_default()
    }
}

/// Points as columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PointColumns {
    /// The rows of the wanted series, and where their points lie in the columns, in time order.
    pub series: Vec<(u32, Range<usize>)>,
    /// Nanoseconds since the epoch.
    pub times: Vec<i64>,
    /// Nanoseconds since the epoch, 0 where unknown; empty where not asked for.
    pub start_times: Vec<i64>,
    /// Values, or the sums of histograms.
    pub values: Vec<f64>,
    /// OTLP's flags; empty where all are 0.
    pub flags: Vec<u32>,
    /// What else the points carry.
    pub payloads: Payloads,
}

/// An exemplar of a part with the row of its series.
#[derive(Clone, Debug, PartialEq)]
pub struct PartExemplar {
    /// The row of its series.
    pub series: u32,
    /// The exemplar as every other question hands it out.
    pub record: Exemplar,
}

impl Snapshot {
    /// The parts that hold metrics within the range, oldest first: blocks by id, then memtables.
    pub fn metric_parts(&self, range: TimeRange) -> Vec<MetricPart> {
        let mut blocks: Vec<&Arc<Block>> = self.blocks.iter().filter(|b| b.meta().rows.points > 0).collect();
        blocks.sort_by_key(|block| block.meta().id);
        let blocks = blocks.into_iter().cloned().map(MetricPart::Block);
        let memtables = self.memtables.iter().filter(|memtable| !memtable.all_series().is_empty());
        let parts = blocks.chain(memtables.cloned().map(MetricPart::Memtable));
        parts.filter(|part| part.overlaps(range)).collect()
    }

    /// Why every answer may lack something: parts that could not be opened.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }
}

impl MetricPart {
    /// What identifies the part.
    pub fn key(&self) -> PartKey {
        match self {
            MetricPart::Memtable(view) => PartKey::Memtable(view.number()),
            MetricPart::Block(block) => PartKey::Block(block.meta().id),
        }
    }

    /// Whether anything of the part may lie within the range.
    pub fn overlaps(&self, range: TimeRange) -> bool {
        match self {
            MetricPart::Memtable(view) => view.metrics_overlap(range),
            MetricPart::Block(block) => range.overlaps(block.min_time(), block.max_time()),
        }
    }

    /// How many series the part has.
    pub fn series_count(&self) -> usize {
        match self {
            MetricPart::Memtable(view) => view.all_series().len(),
            MetricPart::Block(block) => block.meta().rows.series as usize,
        }
    }

    /// The series from a row on, by row.
    pub fn series_from(&self, row: usize) -> Result<Vec<Arc<SeriesEntry>>, Error> {
        match self {
            MetricPart::Memtable(view) => Ok(view.all_series().get(row..).unwrap_or_default().to_vec()),
            MetricPart::Block(block) => Ok(block.all_series()?.into_iter().skip(row).map(Arc::new).collect()),
        }
    }

    /// The gauges whose metric and unit are wanted, with their rows, which ascend.
    pub fn gauges(
        &self,
        is_wanted: impl Fn(&str, &str) -> bool,
    ) -> Result<Vec<(u32, Arc<SeriesEntry>)>, Error> {
        match self {
            MetricPart::Memtable(view) => {
                let of = |entry: &SeriesEntry| {
                    entry.kind == PointKind::Gauge && is_wanted(&entry.metric, &entry.unit)
                };
                let series = (0..).zip(view.all_series()).filter(|(_, entry)| of(entry));
                Ok(series.map(|(row, entry)| (row, Arc::clone(entry))).collect())
            }
            MetricPart::Block(block) => {
                Ok(block.gauges(is_wanted)?.into_iter().map(|(row, entry)| (row, Arc::new(entry))).collect())
            }
        }
    }

    /// The series of numbers that are wanted, with their rows, which ascend.
    pub fn numbers(
        &self,
        is_wanted: impl Fn(&SeriesHead<'_>) -> bool,
    ) -> Result<Vec<(u32, Arc<SeriesEntry>)>, Error> {
        match self {
            MetricPart::Memtable(view) => {
                let of = |entry: &SeriesEntry| {
                    let (metric, unit, service) = (&*entry.metric, &*entry.unit, &*entry.service);
                    is_wanted(&SeriesHead { kind: entry.kind, metric, unit, service })
                };
                let series = (0..).zip(view.all_series()).filter(|(_, entry)| of(entry));
                Ok(series.map(|(row, entry)| (row, Arc::clone(entry))).collect())
            }
            MetricPart::Block(block) => {
                Ok(block.numbers(is_wanted)?.into_iter().map(|(row, entry)| (row, Arc::new(entry))).collect())
            }
        }
    }

    /// The runs of the part. A memtable is one run.
    pub fn runs(&self) -> Result<Vec<RunBounds>, Error> {
        match self {
            MetricPart::Memtable(view) => Ok(vec![view.run_bounds()]),
            MetricPart::Block(block) => block.run_bounds(),
        }
    }

    /// The points of the wanted series of a run; `wanted` ascends. Of a memtable only mini-batches that overlap the
    /// range are read; points out of the range may be among the answer.
    pub fn read_run(
        &self,
        run: &RunBounds,
        wanted: &[u32],
        range: TimeRange,
        want: PointWant,
    ) -> Result<PointColumns, Error> {
        match self {
            MetricPart::Memtable(view) => Ok(view.point_columns(wanted, range, want)),
            MetricPart::Block(block) => block.run_wanted(run, want)?.columns(wanted, want),
        }
    }

    /// The upper bounds of the histograms of a run, where they are alike and that is known without reading points.
    pub fn shared_bounds(&self, run: &RunBounds) -> Result<Option<Vec<f64>>, Error> {
        match self {
            MetricPart::Memtable(_) => Ok(None),
            MetricPart::Block(block) => Ok(block.run(run.run)?.shared_bounds()),
        }
    }

    /// The exemplars of the wanted series within the range; `wanted` ascends.
    pub fn exemplars(&self, wanted: &[u32], range: TimeRange) -> Result<Vec<PartExemplar>, Error> {
        match self {
            MetricPart::Memtable(view) => Ok(view.part_exemplars(wanted, range)),
            MetricPart::Block(block) => block.part_exemplars(wanted, range),
        }
    }
}

#[cfg(test)]
mod tests;
