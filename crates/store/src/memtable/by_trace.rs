//! Which rows of a mini-batch are of which trace.

use arrow_array::{Array, RecordBatch};
use throughline_model::TraceId;
use throughline_model::batch::column_fixed;

/// Bits of the filter for each trace: of sixteen other traces, one is looked for in vain.
const FILTER_BITS: usize = 16;

/// Rows by the fingerprint of their trace id, sorted, and a filter before them: most mini-batches have nothing of the traces that
/// a search lists, and a bit is found faster than a place among hundreds.
pub(crate) struct ByTrace {
    rows: Vec<(u64, u32)>,
    /// A power of two of words, or none.
    filter: Box<[u64]>,
}

impl ByTrace {
    /// Without any trace.
    pub(super) fn none() -> ByTrace {
        ByTrace { rows: Vec::new(), filter: Box::new([]) }
    }

    /// Of the trace ids in a column.
    pub(super) fn of(batch: &RecordBatch, column: usize) -> ByTrace {
        let ids = column_fixed(batch, column);
        let mut rows = Vec::with_capacity(ids.len() - ids.null_count());
        for row in 0..ids.len() {
            if let Some(id) = (!ids.is_null(row)).then(|| TraceId::from_slice(ids.value(row))).flatten() {
                rows.push((id.fingerprint(), row as u32));
            }
        }
        rows.sort_unstable();
        let mut by_trace = ByTrace { rows, filter: Box::new([]) };
        let n_words = (by_trace.fingerprints().count() * FILTER_BITS / 64).next_power_of_two();
        let mut filter: Box<[u64]> = vec![0; n_words].into();
        for fingerprint in by_trace.fingerprints() {
            let (word, bit) = place(&filter, fingerprint);
            filter.get_mut(word).into_iter().for_each(|word| *word |= bit);
        }
        by_trace.filter = filter;
        by_trace
    }

    /// The fingerprint of each trace, once.
    pub(super) fn fingerprints(&self) -> impl Iterator<Item = u64> {
        let of_traces = self.rows.chunk_by(|(a, _), (b, _)| a == b);
        of_traces.filter_map(|rows| rows.first().map(|(fingerprint, _)| *fingerprint))
    }

    /// The fingerprint of each trace and its rows.
    pub(super) fn traces(&self) -> impl Iterator<Item = (u64, impl Iterator<Item = usize>)> {
        let of_traces = self.rows.chunk_by(|(a, _), (b, _)| a == b);
        of_traces.filter_map(|rows| {
            let (fingerprint, _) = rows.first()?;
            Some((*fingerprint, rows.iter().map(|(_, row)| *row as usize)))
        })
    }

    /// The rows of one trace, by fingerprint; the caller compares the ids.
    #[inline]
    pub(super) fn rows_of(&self, fingerprint: u64) -> impl Iterator<Item = usize> {
        let (word, bit) = place(&self.filter, fingerprint);
        let may_be_here = self.filter.get(word).is_some_and(|word| word & bit != 0);
        let rows = if may_be_here { self.rows.as_slice() } else { &[] };
        let from = rows.partition_point(|(other, _)| *other < fingerprint);
        let rest = rows.get(from..).unwrap_or_default();
        rest.iter().take_while(move |(other, _)| *other == fingerprint).map(|(_, row)| *row as usize)
    }

    pub(super) fn bytes(&self) -> usize {
        self.rows.len() * size_of::<(u64, u32)>() + self.filter.len() * size_of::<u64>()
    }
}

/// The word and the bit of a fingerprint, which is as good as random.
fn place(filter: &[u64], fingerprint: u64) -> (usize, u64) {
    let n_words = filter.len();
    ((fingerprint >> 6) as usize & n_words.wrapping_sub(1), 1 << (fingerprint % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow_array::{ArrayRef, FixedSizeBinaryArray};
    use arrow_schema::{DataType, Field, Schema};

    #[test]
    fn rows_of_every_trace_are_found_and_no_others() {
        let id = |n: u32| TraceId([n.to_be_bytes(); 4].concat().try_into().unwrap());
        for n_rows in [0u32, 1, 7, 3_000] {
            let ids: Vec<[u8; 16]> = (0..n_rows).map(|row| id(row / 3 + 1).0).collect();
            let column = match ids.is_empty() {
                true => FixedSizeBinaryArray::new_null(16, 0),
                false => FixedSizeBinaryArray::try_from_iter(ids.iter()).unwrap(),
            };
            let schema = Schema::new(vec![Field::new("id", DataType::FixedSizeBinary(16), true)]);
            let rows = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(column) as ArrayRef]).unwrap();
            let by_trace = ByTrace::of(&rows, 0);
            for trace in 1..=n_rows / 3 + 1 {
                let found: Vec<usize> = by_trace.rows_of(id(trace).fingerprint()).collect();
                let expected: Vec<usize> =
                    (0..n_rows).filter(|row| row / 3 + 1 == trace).map(|row| row as usize).collect();
                assert_eq!(found, expected, "trace {trace} of {n_rows} rows");
            }
            assert_eq!(by_trace.rows_of(id(9_999).fingerprint()).count(), 0);
        }
    }
}
