//! What the trace table of an input says that sampling decided.

use arrow_array::{Array, Float64Array, TimestampNanosecondArray, UInt32Array};

use crate::block::read::Columns;
use crate::block::texts::{NO_TEXT, TextId};
use crate::block::traces::{DroppedPart, Fate};

/// The columns that say what sampling decided.
pub(super) struct Fates<'a> {
    decided_at: Option<&'a TimestampNanosecondArray>,
    adjusted: Option<&'a Float64Array>,
    dropped: Option<&'a UInt32Array>,
    dropped_at: Option<&'a TimestampNanosecondArray>,
}

impl<'a> Fates<'a> {
    pub(super) fn new(columns: &Columns<'a>) -> Fates<'a> {
        Fates {
            decided_at: columns.times("decided_at"),
            adjusted: columns.numbers("adjusted_count"),
            dropped: columns.numbers("dropped_spans"),
            dropped_at: columns.times("dropped_at"),
        }
    }

    /// What sampling decided about the trace of a row, and what it had dropped of it before. There is no policy where it decided
    /// nothing; of a tombstone the policy is the one that dropped the spans, elsewhere that stands apart.
    pub(super) fn at(
        &self,
        row: usize,
        policy: TextId,
        dropped_policy: TextId,
    ) -> (Fate, Option<DroppedPart>) {
        let time = |column: Option<&TimestampNanosecondArray>| {
            column.map(|column| column.value(row)).unwrap_or_default()
        };
        let at = time(self.decided_at);
        let dropped = self.dropped.filter(|column| column.is_valid(row)).map(|column| column.value(row));
        let before = dropped.filter(|_| dropped_policy != NO_TEXT).map(|spans| DroppedPart {
            policy: dropped_policy,
            at: time(self.dropped_at),
            spans,
        });
        let fate = match dropped {
            _ if policy == NO_TEXT => Fate::Undecided,
            Some(spans) if before.is_none() => Fate::Dropped { policy, at, spans },
            _ => {
                let adjusted = self.adjusted.filter(|column| column.is_valid(row));
                Fate::Kept { policy, at, adjusted: adjusted.map(|column| column.value(row)) }
            }
        };
        (fate, before)
    }
}
