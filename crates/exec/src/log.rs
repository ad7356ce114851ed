//! What a query reads of logs: rows of streams, and where they come from.
//!
//! A *row* is a log record as a query sees it: a time, a line, and *metadata*, labels that it has for itself. Its
//! *stream* is a set of labels that it shares with other rows.
//!
//! 1. The asker says in a [`LogRequest`] which rows it wants and which parts of each: a query that counts needs neither lines nor
//!    metadata. Conditions on lines travel with the request, because a source can decide most of them without a line: by a
//!    filter over words, or once for each distinct text.
//! 2. The source calls [`LogSink::rows`] with rows of one stream at a time, as columns that are borrowed for the call.
//! 3. The sink answers with a [`Demand`], so that a source stops, or skips what is too far away, when enough rows are known.

mod filter;
mod ip;
mod line_pattern;
mod memory;

pub use filter::{LineFilter, LineRegex, LineTest, Needle};
pub use ip::{IpMatcher, IpMatcherError};
pub use line_pattern::{LinePattern, LinePatternError, PatternPart};
pub use memory::{MemoryLogs, MemoryRow};

use crate::budget::Budget;
use crate::error::ExecError;
use crate::labels::Labels;
use crate::matcher::Matcher;

/// In which order of time rows are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The oldest first.
    Forward,
    /// The newest first.
    #[default]
    Backward,
}

/// What is wanted of the line of each row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinesWanted {
    /// Nothing.
    None,
    /// How many bytes it has.
    Lengths,
    /// The line.
    #[default]
    Text,
}

/// What is wanted of the metadata of each row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MetadataWanted {
    /// Nothing.
    None,
    /// The labels of these names. A source may deliver others with them.
    Names(Vec<String>),
    /// All of it.
    #[default]
    All,
}

/// Where time is cut into pieces, for those who count: rows of one piece that are alike in all that is wanted of them may come
/// as one row that says how many they are.
///
/// There is a cut after each time that is a multiple of the period away from `at_ns`, and one so long before each of those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cuts {
    /// The last nanosecond of a piece.
    pub at_ns: i64,
    /// From such a cut to the next, in nanoseconds, at least 1.
    pub period_ns: i64,
    /// So long before each of them there is another cut; at least 0, less than the period.
    pub before_ns: i64,
}

impl Cuts {
    /// The first and the last nanosecond of the piece that a time is in.
    #[must_use]
    pub fn piece(&self, time_ns: i64) -> (i64, i64) {
        let period_ns = self.period_ns.max(1);
        let alone = (time_ns, time_ns);
        let Some(since) = time_ns.checked_sub(self.at_ns) else { return alone };
        // From the time to the cut at or after it.
        let left = (period_ns - since.rem_euclid(period_ns)) % period_ns;
        let Some(end) = time_ns.checked_add(left) else { return alone };
        let cut = end.saturating_sub(self.before_ns);
        if self.before_ns > 0 && time_ns > cut {
            return (cut.saturating_add(1), end);
        }
        (end.saturating_sub(period_ns).saturating_add(1).min(time_ns), cut)
    }
}

/// Which rows, and which parts of them.
#[derive(Clone, Debug, Default)]
pub struct LogRequest {
    /// Conditions on the labels of the stream; all must match.
    pub matchers: Vec<Matcher>,
    /// The first nanosecond since the epoch.
    pub start_ns: i64,
    /// The nanosecond after the last: it does not belong to the window.
    pub end_ns: i64,
    /// The order in which rows are of use. It orders the rows within a batch, and is what [`Demand::Until`] speaks of; a source
    /// may deliver batches in any order.
    pub direction: Direction,
    /// How many rows the asker hopes to do with; it says by [`Demand`] when it has enough. Nothing where it needs all.
    pub limit_hint: Option<u64>,
    /// Conditions on the line. The source delivers exactly the rows that fulfil all of them, whether lines are wanted or not.
    pub filters: Vec<LineFilter>,
    /// Conditions that the asker will apply to labels of each row: the label of the stream where it has one of the name, else of
    /// the metadata, else empty. A source that has an index of such a label leaves out rows that fail; it need not.
    pub label_hints: Vec<Matcher>,
    /// Where time is cut, if the asker only counts rows: those between two cuts may come as one.
    pub cuts: Option<Cuts>,
    /// What is wanted of lines.
    pub lines: LinesWanted,
    /// What is wanted of metadata. Names of metadata that a stream has as labels too are delivered like all others.
    pub metadata: MetadataWanted,
}

/// Metadata of the rows of a batch: the distinct sets, and which of them each row has.
///
/// Rows of a stream often share a few sets (a level and nothing else); what is derived from one is derived once.
#[derive(Clone, Copy, Debug, Default)]
pub struct MetadataSets<'a> {
    /// Names and values of all sets, one set after the other, each sorted by name without duplicates.
    pub pairs: &'a [(&'a str, &'a str)],
    /// Where each set ends in `pairs`.
    pub ends: &'a [u32],
    /// The set of each row. Empty if no row has any metadata, or none was wanted.
    pub set_of_row: &'a [u32],
}

impl<'a> MetadataSets<'a> {
    /// The pairs of a set; a set that is not there is empty.
    #[must_use]
    pub fn set(&self, set: usize) -> &'a [(&'a str, &'a str)] {
        let start =
            set.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end as usize);
        let end = self.ends.get(set).map_or(start, |end| *end as usize);
        self.pairs.get(start..end).unwrap_or_default()
    }

    /// The pairs of a row.
    #[must_use]
    pub fn row(&self, row: usize) -> &'a [(&'a str, &'a str)] {
        self.set_of_row.get(row).map_or(&[], |set| self.set(*set as usize))
    }
}

/// Some rows of one stream, in the order of the request's direction.
#[derive(Clone, Copy, Debug)]
pub struct LogRows<'a> {
    /// The stream. Sources hand out clones of one set, so that two batches of a stream are told by a pointer.
    pub stream: &'a Labels,
    /// Of each row, nanoseconds since the epoch.
    pub times_ns: &'a [i64],
    /// How many rows each stands for, whose times are in the same piece of [`LogRequest::cuts`]; empty where each stands for itself.
    pub counts: &'a [u64],
    /// Of each row, if [`LinesWanted::Text`], else empty.
    pub lines: &'a [&'a str],
    /// Of each row, if [`LinesWanted::Lengths`], else empty.
    pub line_lengths: &'a [u32],
    /// As far as wanted.
    pub metadata: MetadataSets<'a>,
}

impl LogRows<'_> {
    /// How many rows a row stands for.
    #[must_use]
    pub fn count(&self, row: usize) -> u64 {
        if self.counts.is_empty() { 1 } else { self.counts.get(row).copied().unwrap_or_default() }
    }
}

/// What a sink still wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// All that is left.
    All,
    /// In the request's direction, nothing at or beyond this time, in nanoseconds: enough nearer rows are known. A source
    /// skips what it cheaply can; other rows do no harm.
    Until(i64),
    /// Nothing: the source returns.
    Nothing,
}

/// Takes rows.
pub trait LogSink {
    /// Takes rows of one stream, at least one. An error ends the reading, and the source returns it.
    fn rows(&mut self, rows: &LogRows<'_>) -> Result<Demand, ExecError>;
}

/// Where rows come from.
///
/// The implementations are the store's snapshot and, in tests and tools, memory.
pub trait LogSource: Sync {
    /// Delivers the rows of the request. The source checks the budget for each batch, counts rows and bytes that it looked at
    /// with [`Budget::note_rows_read`], and counts distinct streams with [`Budget::take_series`].
    fn read(&self, request: &LogRequest, budget: &Budget, sink: &mut dyn LogSink) -> Result<(), ExecError>;
}

impl LogRequest {
    /// Whether a time is in the window.
    #[must_use]
    pub fn has_time(&self, time_ns: i64) -> bool {
        (self.start_ns..self.end_ns).contains(&time_ns)
    }

    /// Whether a demand still wants rows of `time_ns`.
    #[must_use]
    pub fn wants(&self, demand: Demand, time_ns: i64) -> bool {
        match (demand, self.direction) {
            (Demand::All, _) => true,
            (Demand::Nothing, _) => false,
            (Demand::Until(bound), Direction::Forward) => time_ns < bound,
            (Demand::Until(bound), Direction::Backward) => time_ns > bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_lie_between_cuts() {
        let cuts = |period_ns, before_ns| Cuts { at_ns: 100, period_ns, before_ns };
        for (of, time, expected) in [
            (cuts(10, 0), 100, (91, 100)),
            (cuts(10, 0), 101, (101, 110)),
            (cuts(10, 0), 91, (91, 100)),
            (cuts(10, 3), 97, (91, 97)),
            (cuts(10, 3), 98, (98, 100)),
            (cuts(10, 3), 101, (101, 107)),
            (cuts(1, 0), 5, (5, 5)),
            (cuts(10, 0), -1, (-9, 0)),
        ] {
            assert_eq!(of.piece(time), expected, "{of:?} {time}");
        }
        for time in [i64::MIN, i64::MIN + 7, i64::MAX, i64::MAX - 7] {
            for of in [cuts(10, 3), cuts(i64::MAX, 0), Cuts { at_ns: -7, ..cuts(i64::MAX, 5) }] {
                let (first, last) = of.piece(time);
                assert!(first <= time && time <= last, "{of:?} {time}");
            }
        }
    }
}
