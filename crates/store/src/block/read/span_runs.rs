//! Which spans of a block are of which trace: they lie trace after trace, so that the first of each says it.

use std::ops::Range;

use super::Block;
use crate::error::Error;
use crate::snapshot::span_scan::SpanRun;

impl Block {
    /// The first span of each trace and the number of spans. None where the index cannot be read, or says something else than there is.
    pub(super) fn span_starts(&self) -> Option<&[u32]> {
        let read = || {
            let starts = self.index().span_starts().ok()??;
            let is_all = starts.last().map(|end| u64::from(*end)) == Some(self.meta.rows.spans)
                && starts.len() as u64 == self.meta.rows.traces + 1;
            is_all.then(|| starts.into_boxed_slice())
        };
        self.span_starts.get_or_init(read).as_deref()
    }

    /// The spans of a trace as far as [`Block::span_starts`] knows them.
    pub(super) fn spans_of(&self, trace: u32) -> Option<Range<u32>> {
        let starts = self.span_starts()?;
        Some(*starts.get(trace as usize)?..*starts.get(trace as usize + 1)?)
    }

    /// The spans of a trace.
    pub(super) fn span_rows(&self, trace: u32) -> Result<Range<u32>, Error> {
        if let Some(rows) = self.span_starts.get().and_then(|_| self.spans_of(trace)) {
            return Ok(rows);
        }
        let postings = self.index().postings(trace)?;
        Ok(postings.first_span..postings.first_span.saturating_add(postings.span_count))
    }
}

/// The traces of spans that follow each other.
pub(super) fn runs_between(starts: &[u32], rows: &Range<u32>) -> Vec<SpanRun> {
    let mut runs = Vec::new();
    // The last that begins here or before: those without spans begin where the next one does.
    let first = starts.partition_point(|start| *start <= rows.start).saturating_sub(1);
    for (trace, bounds) in (first as u32..).zip(starts.get(first..).unwrap_or_default().windows(2)) {
        let [start, end] = bounds else { continue };
        if *start >= rows.end {
            break;
        }
        let within = (*start).max(rows.start)..(*end).min(rows.end);
        if !within.is_empty() {
            runs.push((within.start - rows.start, within.end - rows.start, trace));
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_without_spans_have_no_run_and_cut_ones_have_two() {
        let starts = [0, 0, 4, 4, 4, 9, 10, 10];
        assert_eq!(runs_between(&starts, &(0..10)), [(0, 4, 1), (4, 9, 4), (9, 10, 5)]);
        assert_eq!(runs_between(&starts, &(2..6)), [(0, 2, 1), (2, 4, 4)]);
        assert_eq!(runs_between(&starts, &(4..9)), [(0, 5, 4)]);
        assert_eq!(runs_between(&[0], &(0..0)), []);
    }
}
