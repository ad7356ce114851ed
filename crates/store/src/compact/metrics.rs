//! Merges series, samples and exemplars of the inputs.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::iter::Peekable;
use std::ops::Range;
use std::sync::Arc;
use std::vec::IntoIter;

use super::traces::RowMap;
use crate::block::build::BlockBuilder;
use crate::block::metrics::{ExemplarEntry, MetricsWriter, WrittenMetrics, series_order, write_exemplars};
use crate::block::read::{Columns, TableReader, series_of_group};
use crate::block::samples::{DecodedRun, RunBuilder};
use crate::block::{Block, Table};
use crate::error::Error;
use crate::memtable::SeriesEntry;

/// One input's series in order, a row group at a time, and the run that the points of the next ones lie in.
struct Input<'a> {
    block: &'a Block,
    series: Peekable<IntoIter<SeriesEntry>>,
    /// Where the series are read from, and the row groups of it that are not read yet.
    table: TableReader,
    groups: Range<usize>,
    /// The row of the series that is next.
    next: u32,
    /// The rows of runs that are not decoded yet.
    next_run: u32,
    n_runs: u32,
    run: DecodedRun,
    /// The series of the run that are not taken yet, and where their points lie in it.
    ranges: VecDeque<(u32, Range<usize>)>,
    /// The output's row of each series.
    rows: Vec<u32>,
}

impl<'a> Input<'a> {
    fn new(block: &'a Block) -> Result<Input<'a>, Error> {
        let table = block.table(Table::Series)?.with_dictionaries()?;
        let mut input = Input {
            block,
            series: Vec::new().into_iter().peekable(),
            groups: 0..table.groups(),
            table,
            next: 0,
            next_run: 0,
            n_runs: block.table(Table::Samples)?.num_rows() as u32,
            run: DecodedRun::default(),
            ranges: VecDeque::new(),
            rows: Vec::new(),
        };
        input.read_series()?;
        Ok(input)
    }

    /// Sees to it that the next series can be looked at, if there is one.
    fn read_series(&mut self) -> Result<(), Error> {
        while self.series.len() == 0
            && let Some(group) = self.groups.next()
        {
            self.series = series_of_group(&self.table, group)?.into_iter().peekable();
        }
        Ok(())
    }

    /// The next series and where its points lie in the run, which stays until the next call.
    fn take(&mut self) -> Result<Option<(SeriesEntry, Range<usize>)>, Error> {
        let Some(series) = self.series.next() else { return Ok(None) };
        self.read_series()?;
        while self.ranges.is_empty() && self.next_run < self.n_runs {
            let run = self.block.run(self.next_run)?;
            self.next_run += 1;
            self.run = run.decode()?;
            self.ranges = run.series().into();
        }
        let is_next = self.ranges.front().is_some_and(|(row, _)| *row == self.next);
        let range = if is_next { self.ranges.pop_front() } else { None };
        self.next += 1;
        Ok(Some((series, range.map(|(_, range)| range).unwrap_or_default())))
    }

    fn times(&self, range: Range<usize>) -> &[i64] {
        self.run.times.get(range).unwrap_or_default()
    }
}

/// Writes the points of one series, which lie in these ranges of the inputs' runs. Later inputs were received later: of
/// points of equal time the last counts.
fn push_points(inputs: &[Input<'_>], pieces: &[(usize, Range<usize>)], run: &mut RunBuilder) {
    let input = |number: usize| inputs.get(number);
    let times = |(number, range): &(usize, Range<usize>)| {
        input(*number).map(|input| input.times(range.clone())).unwrap_or_default()
    };
    let mut last = None;
    let follows_each_other = pieces.iter().all(|piece| {
        let (Some(first), end) = (times(piece).first(), times(piece).last().copied()) else { return true };
        let follows = last.is_none_or(|last| last < *first);
        last = end;
        follows
    });
    if follows_each_other {
        for (number, range) in pieces {
            input(*number).into_iter().for_each(|input| run.extend_decoded(&input.run, range.clone()));
        }
        return;
    }
    let mut all: Vec<(i64, usize, usize)> = Vec::new();
    for piece in pieces {
        all.extend(times(piece).iter().zip(piece.1.clone()).map(|(time, row)| (*time, piece.0, row)));
    }
    all.sort_unstable();
    for same in all.chunk_by(|a, b| a.0 == b.0) {
        if let Some((_, number, row)) = same.last()
            && let Some(input) = input(*number)
        {
            run.extend_decoded(&input.run, *row..row + 1);
        }
    }
}

/// Writes `series.parquet`, `samples.parquet` and `exemplars.parquet`.
pub(super) fn write(
    builder: &mut BlockBuilder<'_>,
    blocks: &[Arc<Block>],
    map: &RowMap,
) -> Result<(), Error> {
    let mut inputs: Vec<Input<'_>> =
        blocks.iter().map(|block| Input::new(block)).collect::<Result<_, _>>()?;
    let mut writer = MetricsWriter::create(builder.disk, &builder.folder, builder.meta.level)?;
    let mut pieces: Vec<(usize, Range<usize>)> = Vec::with_capacity(inputs.len());
    loop {
        let heads = inputs.iter_mut().enumerate();
        let heads = heads.filter_map(|(number, input)| Some((number, input.series.peek()?)));
        let Some((least, _)) = heads.min_by(|(_, a), (_, b)| series_order(a, b)) else { break };
        let taken = inputs.get_mut(least).map(Input::take).transpose()?.flatten();
        let Some((series, range)) = taken else { break };
        pieces.clear();
        pieces.push((least, range));
        // Those before it have other series: of equal ones the first is the least.
        for (number, input) in inputs.iter_mut().enumerate().skip(least + 1) {
            let is_same =
                input.series.peek().is_some_and(|head| series_order(head, &series) == Ordering::Equal);
            if is_same && let Some((_, range)) = input.take()? {
                pieces.push((number, range));
            }
        }
        let row = writer.add(&Arc::new(series), |run| push_points(&inputs, &pieces, run))?;
        for (number, _) in &pieces {
            if let Some(input) = inputs.get_mut(*number) {
                input.rows.push(row);
            }
        }
    }
    let WrittenMetrics { sums, services, alerts, n_series, n_points } = writer.finish()?;
    builder.sums.extend(sums);
    builder.meta.rows.series = u64::from(n_series);
    builder.meta.rows.points = n_points;
    let mut exemplars = Vec::new();
    for (number, input) in inputs.iter().enumerate() {
        exemplars.extend(read_exemplars(number, input, map)?);
    }
    exemplars.sort_by(|a, b| {
        (a.series_row, a.time, a.trace_row, a.span_id).cmp(&(b.series_row, b.time, b.trace_row, b.span_id))
    });
    exemplars.dedup();
    for (row, exemplar) in exemplars.iter().enumerate() {
        if let Some(entry) = exemplar.trace_row.and_then(|trace| builder.traces.get_mut(trace as usize)) {
            entry.postings.exemplars.push(row as u32);
        }
    }
    builder.links.add_exemplars(&exemplars, (&services, &alerts), &builder.traces);
    let sums = write_exemplars(builder, &exemplars)?;
    builder.sums.push(sums);
    builder.meta.rows.exemplars = exemplars.len() as u64;
    Ok(())
}

/// Writes those files without any row.
pub(super) fn write_none(builder: &mut BlockBuilder<'_>) -> Result<(), Error> {
    let writer = MetricsWriter::create(builder.disk, &builder.folder, builder.meta.level)?;
    builder.sums.extend(writer.finish()?.sums);
    let sums = write_exemplars(builder, &[])?;
    builder.sums.push(sums);
    Ok(())
}

fn read_exemplars(number: usize, input: &Input<'_>, map: &RowMap) -> Result<Vec<ExemplarEntry>, Error> {
    let table = input.block.table(Table::Exemplars)?;
    let mut out = Vec::with_capacity(table.num_rows() as usize);
    for group in 0..table.groups() {
        for batch in table.read_group(group, None, None)? {
            let columns = Columns::new(&batch);
            for row in 0..batch.num_rows() {
                let series = columns.u32("series_row", row).and_then(|old| input.rows.get(old as usize));
                let Some(series_row) = series else { continue };
                out.push(ExemplarEntry {
                    series_row: *series_row,
                    time: columns.time("time", row),
                    value: columns.f64("value", row).unwrap_or_default(),
                    trace_row: columns.u32("trace_row", row).and_then(|old| map.trace(number, old)),
                    span_id: columns.span_id("span_id", row),
                    trace_id_original: columns.text("trace_id_original", row).map(str::to_owned),
                    attributes: columns.text("attributes", row).map(str::to_owned),
                });
            }
        }
    }
    Ok(out)
}
