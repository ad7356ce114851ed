//! The patterns of a memtable's log records.

use arrow_array::RecordBatch;
use arrow_array::types::UInt8Type;
use throughline_model::batch::{column_number, column_text, column_time, log};
use throughline_model::{Level, PatternId};

use super::MemtableView;
use crate::block::bodies::Splitter;
use crate::patterns::counts::Counts;
use crate::patterns::table::PatternTable;
use crate::patterns::{Learner, PatternList};
use crate::snapshot::TimeRange;
use crate::snapshot::rows::dictionary;

/// The patterns of a log batch's rows.
pub(super) fn count(rows: &RecordBatch, learner: &Learner) -> PatternTable {
    let mut splitter = Splitter::default();
    let mut counts = Counts::default();
    let bodies = column_text(rows, log::BODY);
    let times = column_time(rows, log::TIME).values();
    let levels = column_number::<UInt8Type>(rows, log::LEVEL).values();
    for (row, (time, level)) in times.iter().zip(levels).enumerate() {
        let (service, body) = (dictionary(rows, log::SERVICE, row), bodies.value(row));
        let (masked, _) = splitter.split(body);
        let line = (Level::from_code(*level), *time, body);
        counts.add_line(service, masked, line, |service, masked| learner.learn(service, masked));
    }
    counts.finish(|id, first_seen| learner.seen(id, first_seen))
}

/// The pattern of one row; none where it has no body.
pub(crate) fn pattern_of(rows: &RecordBatch, row: usize, learner: &Learner) -> Option<PatternId> {
    let body = column_text(rows, log::BODY).value(row);
    let mut splitter = Splitter::default();
    let service = dictionary(rows, log::SERVICE, row);
    (!body.is_empty()).then(|| learner.learn(service, splitter.split(body).0).id)
}

impl MemtableView {
    /// What knows the patterns of its lines.
    pub(crate) fn learner(&self) -> &Learner {
        &self.contents().learner
    }

    /// Adds the patterns of the records in a range.
    pub(crate) fn patterns(&self, range: TimeRange, list: &mut PatternList<'_>) {
        let minis = self.contents().logs.iter();
        for mini in minis.filter(|mini| range.overlaps(mini.min_time, mini.max_time)) {
            list.add(mini.patterns(self.learner()));
        }
    }
}
