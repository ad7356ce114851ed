//! Aggregations over time: from rows to the points of series.

use throughline_exec::log::{Demand, Direction, LinesWanted, LogRequest, LogRows, LogSink};
use throughline_exec::{ExecError, Labels, MatchOp, Matcher};

use super::group::{GroupBy, Groups};
use super::{Evaluator, QueryError};
use crate::ast::{At, Conversion, Grouping, RangeAggregation, RangeOp};
use crate::convert;
use crate::pipeline::Pipeline;
use crate::pipeline::filter::Condition;
use crate::pipeline::plan::{Plan, Taken};
use crate::pipeline::symbols::{PRESERVE_ERROR, Symbol};
use crate::range::fold::{Avg, Deviation, First, Fold, Last, Max, Min, Sum, Variance};
use crate::range::samples::{Samples, Whole};
use crate::range::{Cells, Grid, Piece};
use crate::value::{Series, Steps};

const EXTRACTION_ERROR: &str = "SampleExtractionErr";

/// Evaluates an aggregation; `outer` is the grouping of a sum around it, which it does in the same pass.
pub(super) fn eval(
    evaluator: &Evaluator<'_>,
    aggregation: &RangeAggregation,
    outer: Option<&Grouping>,
    steps: Steps,
) -> Result<Vec<Series>, QueryError> {
    if let Some(at) = aggregation.range.at {
        let time_ns = match at {
            At::Time(ns) => ns,
            At::Start => evaluator.params.start_ns,
            At::End => steps.end_ns(),
        };
        let once = windows(evaluator, aggregation, outer, Steps { start_ns: time_ns, step_ns: 1, count: 1 })?;
        evaluator.hold(once.len(), steps)?;
        let repeat = |series: Series| {
            let point = series.points.first().copied().flatten();
            Series { labels: series.labels, points: vec![point; steps.count] }
        };
        return Ok(once.into_iter().map(repeat).collect());
    }
    windows(evaluator, aggregation, outer, steps)
}

fn windows(
    evaluator: &Evaluator<'_>,
    aggregation: &RangeAggregation,
    outer: Option<&Grouping>,
    steps: Steps,
) -> Result<Vec<Series>, QueryError> {
    let seconds = aggregation.range.range_ns as f64 / 1e9;
    let run = Run { evaluator, aggregation, outer, steps };
    match aggregation.op {
        RangeOp::CountOverTime | RangeOp::BytesOverTime | RangeOp::SumOverTime => run.fold::<Sum>(1.0),
        RangeOp::Rate | RangeOp::BytesRate => run.fold::<Sum>(seconds),
        RangeOp::AvgOverTime => run.fold::<Avg>(1.0),
        RangeOp::MinOverTime => run.fold::<Min>(1.0),
        RangeOp::MaxOverTime => run.fold::<Max>(1.0),
        RangeOp::FirstOverTime => run.fold::<First>(1.0),
        RangeOp::LastOverTime => run.fold::<Last>(1.0),
        RangeOp::StddevOverTime => run.fold::<Deviation>(1.0),
        RangeOp::StdvarOverTime => run.fold::<Variance>(1.0),
        RangeOp::AbsentOverTime => run.absent(),
        RangeOp::QuantileOverTime => run.whole(Whole::Quantile(aggregation.parameter.unwrap_or(f64::NAN))),
        RangeOp::RateCounter => run.whole(Whole::Increase),
    }
}

struct Run<'a> {
    evaluator: &'a Evaluator<'a>,
    aggregation: &'a RangeAggregation,
    outer: Option<&'a Grouping>,
    steps: Steps,
}

impl Run<'_> {
    fn fold<F: Fold>(&self, divisor: f64) -> Result<Vec<Series>, QueryError> {
        let mut store = Vec::<Cells<F>>::new();
        let (labels, grid) = self.read(&mut store)?;
        self.evaluator.hold(labels.len(), self.steps)?;
        let series = labels.into_iter().zip(&store).map(|(labels, cells)| {
            let mut points = cells.windows(&grid);
            if divisor != 1.0 {
                points.iter_mut().flatten().for_each(|point| *point /= divisor);
            }
            Series { labels, points }
        });
        Ok(series.collect())
    }

    fn whole(&self, whole: Whole) -> Result<Vec<Series>, QueryError> {
        let mut store = Vec::<Samples>::new();
        let (labels, grid) = self.read(&mut store)?;
        self.evaluator.hold(labels.len(), self.steps)?;
        let series = labels.into_iter().zip(store).map(|(labels, samples)| {
            let points = samples.windows(&grid, whole);
            Series { labels, points }
        });
        Ok(series.collect())
    }

    /// One where no series has a row.
    fn absent(&self) -> Result<Vec<Series>, QueryError> {
        let mut store = Vec::<Cells<Sum>>::new();
        let (_, grid) = self.read(&mut store)?;
        self.evaluator.hold(1, self.steps)?;
        let mut points = vec![Some(1.0); self.steps.count];
        for cells in &store {
            for (point, present) in points.iter_mut().zip(cells.windows(&grid)) {
                if present.is_some() {
                    *point = None;
                }
            }
        }
        if points.iter().all(Option::is_none) {
            return Ok(Vec::new());
        }
        Ok(vec![Series { labels: labels_of(&self.aggregation.range.log.matchers), points }])
    }

    /// Which labels the result has, by name; all others if the first is true.
    fn grouping(&self) -> (bool, Vec<String>) {
        let none = Grouping { labels: Vec::new(), without: false };
        let absent = self.aggregation.op == RangeOp::AbsentOverTime;
        let grouping = if absent { Some(&none) } else { self.outer.or(self.aggregation.grouping.as_ref()) };
        let (without, mut labels) = match grouping {
            Some(grouping) => (grouping.without, grouping.labels.clone()),
            None => (true, Vec::new()),
        };
        // A label that became a number tells no series from another.
        if let (true, Some(unwrap)) = (without, &self.aggregation.range.unwrap) {
            labels.push(unwrap.label.clone());
        }
        (without, labels)
    }

    /// Reads all rows into the store; the labels of its series.
    fn read<S: Store>(&self, store: &mut Vec<S>) -> Result<(Vec<Labels>, Grid), QueryError> {
        let Evaluator { source, budget, params, .. } = *self.evaluator;
        let range = &self.aggregation.range;
        let taken = match self.aggregation.op {
            RangeOp::BytesRate | RangeOp::BytesOverTime => Taken::Lengths,
            _ => Taken::Rows,
        };
        let (without, names) = self.grouping();
        let output = (!without).then_some(names.as_slice());
        let plan = Plan::new(&range.log, range.unwrap.as_ref(), output, taken);
        let grid = Grid::new(self.steps, range.range_ns);
        if range.range_ns == 0 {
            // In no time there are no rows.
            return Ok((Vec::new(), grid));
        }
        let mut pipeline = Pipeline::new(&plan.stages, &plan.wanted, params.now_ns);
        let symbols = names.iter().map(|name| pipeline.symbols.intern(name)).collect();
        let groups = Groups::new(if without {
            GroupBy::Without { names: symbols, drops_empty: self.outer.is_some() }
        } else {
            GroupBy::By(symbols)
        });
        let unwrap = range.unwrap.as_ref().map(|unwrap| UnwrapStage {
            label: pipeline.symbols.intern(&unwrap.label),
            conversion: unwrap.conversion,
            conditions: unwrap.filters.iter().map(|filter| pipeline.condition(filter)).collect(),
        });
        let by_set = pipeline.needs_no_line() && unwrap.is_none();
        // Whoever counts takes rows that are alike together.
        let counts =
            matches!(self.aggregation.op, RangeOp::CountOverTime | RangeOp::Rate | RangeOp::AbsentOverTime);
        let cuts =
            (by_set && counts && plan.request.lines == LinesWanted::None).then(|| grid.cuts(range.offset_ns));
        let mut sink = Sink {
            evaluator: self.evaluator,
            grid,
            piece: Piece::EMPTY,
            offset_ns: range.offset_ns,
            taken,
            pipeline,
            unwrap,
            groups,
            by_set,
            sets: Vec::new(),
            stream: None,
            store,
            held_bytes: 0,
            failure: None,
        };
        let window = |time_ns: i64| time_ns.saturating_sub(range.offset_ns);
        let request = LogRequest {
            // Windows do not have their start, and have their end.
            start_ns: window(self.steps.start_ns).saturating_sub(range.range_ns).saturating_add(1),
            end_ns: window(self.steps.end_ns()).saturating_add(1),
            direction: Direction::Forward,
            cuts,
            ..plan.request
        };
        let read = source.read(&request, budget, &mut sink);
        if let Some(failure) = sink.failure.take() {
            return Err(failure);
        }
        read?;
        Ok((sink.groups.into_labels(), grid))
    }
}

/// The labels that a selector says of its streams: those that it names once, with a value.
fn labels_of(matchers: &[Matcher]) -> Labels {
    let once = |matcher: &&Matcher| {
        let same = matchers.iter().filter(|other| other.name() == matcher.name()).count();
        matcher.op() == MatchOp::Equal && same == 1
    };
    Labels::from_pairs(matchers.iter().filter(once).map(|matcher| (matcher.name(), matcher.value())))
}

/// What the samples of one series are put into.
trait Store: Default {
    /// Adds a sample; whether it takes more memory.
    fn put(&mut self, cell: i64, time_ns: i64, value: f64) -> bool;
}

impl<F: Fold> Store for Cells<F> {
    fn put(&mut self, cell: i64, time_ns: i64, value: f64) -> bool {
        self.add(cell, time_ns, value)
    }
}

impl Store for Samples {
    fn put(&mut self, _: i64, time_ns: i64, value: f64) -> bool {
        self.add(time_ns, value);
        true
    }
}

struct UnwrapStage {
    label: Symbol,
    conversion: Option<Conversion>,
    conditions: Vec<Condition>,
}

impl UnwrapStage {
    /// The number of the row; nothing if it goes.
    fn value(&self, pipeline: &mut Pipeline) -> Option<f64> {
        let text = pipeline.labels.get(self.label).filter(|text| !text.is_empty())?;
        let value = match self.conversion {
            None => convert::float(text),
            Some(Conversion::Duration | Conversion::DurationSeconds) => {
                convert::duration(text).map(|ns| ns as f64 / 1e9)
            }
            Some(Conversion::Bytes) => convert::bytes(text).map(|bytes| bytes as f64),
        };
        let value = value.unwrap_or_else(|details| {
            pipeline.labels.fail(EXTRACTION_ERROR, &details);
            0.0
        });
        self.conditions.iter().all(|condition| condition.holds(&mut pipeline.labels)).then_some(value)
    }
}

/// What is known of a set of metadata of a batch: nothing yet, that its rows go, or the series that they belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Nothing,
    Goes,
    Series(usize),
}

struct Sink<'a, S> {
    evaluator: &'a Evaluator<'a>,
    grid: Grid,
    /// Where the last row was.
    piece: Piece,
    offset_ns: i64,
    taken: Taken,
    pipeline: Pipeline,
    unwrap: Option<UnwrapStage>,
    groups: Groups,
    /// Whether rows with the same metadata fare alike.
    by_set: bool,
    sets: Vec<Known>,
    /// The series of rows that have the labels of this stream and no others.
    stream: Option<(Labels, Option<usize>)>,
    store: &'a mut Vec<S>,
    held_bytes: u64,
    failure: Option<QueryError>,
}

impl<S: Store> LogSink for Sink<'_, S> {
    fn rows(&mut self, rows: &LogRows<'_>) -> Result<Demand, ExecError> {
        let is_known = self.stream.as_ref().is_some_and(|(stream, _)| stream == rows.stream);
        if !is_known {
            self.pipeline.begin_stream(rows.stream);
            self.stream = Some((rows.stream.clone(), None));
        }
        self.sets.clear();
        self.sets.resize(rows.metadata.ends.len() + 1, Known::Nothing);
        let no_set = rows.metadata.ends.len();
        let mut taken = 0;
        for (row, row_ns) in rows.times_ns.iter().enumerate() {
            let time_ns = row_ns.saturating_add(self.offset_ns);
            if !self.piece.has(time_ns) {
                self.piece = self.grid.piece(time_ns);
            }
            let Some(cell) = self.piece.cell else { continue };
            let set = rows.metadata.set_of_row.get(row).map_or(no_set, |set| *set as usize);
            let known =
                if self.by_set { self.sets.get(set).copied().unwrap_or(Known::Goes) } else { Known::Nothing };
            let (series, value) = match known {
                Known::Goes => continue,
                Known::Series(series) => (series, 1.0),
                Known::Nothing => {
                    let line = rows.lines.get(row).copied().unwrap_or_default();
                    let found = self.row(*row_ns, line, rows.metadata.set(set))?;
                    if self.by_set
                        && let Some(slot) = self.sets.get_mut(set)
                    {
                        *slot = found.map_or(Known::Goes, |(series, _)| Known::Series(series));
                    }
                    match found {
                        Some(found) => found,
                        None if self.failure.is_some() => return Ok(Demand::Nothing),
                        None => continue,
                    }
                }
            };
            let value = if self.taken == Taken::Lengths { self.length(rows, row) } else { value };
            let value = if rows.counts.is_empty() { value } else { value * rows.count(row) as f64 };
            if let Some(store) = self.store.get_mut(series) {
                taken += u64::from(store.put(cell, time_ns, value));
            }
        }
        self.account(taken)?;
        Ok(Demand::All)
    }
}

impl<S: Store> Sink<'_, S> {
    /// Runs the pipeline on a row: its series and its value, or nothing if it goes.
    fn row(
        &mut self,
        time_ns: i64,
        line: &str,
        metadata: &[(&str, &str)],
    ) -> Result<Option<(usize, f64)>, ExecError> {
        if !self.pipeline.row(time_ns, line, metadata) {
            return Ok(None);
        }
        let value = match &self.unwrap {
            None => 1.0,
            Some(unwrap) => match unwrap.value(&mut self.pipeline) {
                Some(value) => value,
                None => return Ok(None),
            },
        };
        let labels = &self.pipeline.labels;
        if labels.has_error() && labels.get(PRESERVE_ERROR).is_none() {
            self.failure = Some(pipeline_error(&self.pipeline));
            return Ok(None);
        }
        if labels.is_stream()
            && let Some((_, Some(series))) = &self.stream
        {
            return Ok(Some((*series, value)));
        }
        let series = self.groups.of(labels, &self.pipeline.symbols);
        if series >= self.store.len() {
            self.store.resize_with(series + 1, S::default);
            self.evaluator.budget.take_series(1)?;
        }
        if labels.is_stream()
            && let Some((_, slot)) = &mut self.stream
        {
            *slot = Some(series);
        }
        Ok(Some((series, value)))
    }

    /// The bytes of the line of the row in hand.
    fn length(&self, rows: &LogRows<'_>, row: usize) -> f64 {
        if let Some(length) = rows.line_lengths.get(row) {
            return f64::from(*length);
        }
        let line = rows.lines.get(row).copied().unwrap_or_default();
        // Rows that fare alike have their own lines; only a pipeline that reads lines has another.
        if self.by_set { line.len() as f64 } else { self.pipeline.line(line).len() as f64 }
    }

    /// Counts what is held after a batch.
    fn account(&mut self, samples: u64) -> Result<(), ExecError> {
        let budget = self.evaluator.budget;
        budget.take_samples(samples)?;
        let bytes =
            self.groups.bytes() + self.pipeline.symbols.bytes() + (self.groups.len() * size_of::<S>()) as u64;
        budget.take_bytes(bytes.saturating_sub(self.held_bytes))?;
        self.held_bytes = bytes.max(self.held_bytes);
        Ok(())
    }
}

fn pipeline_error(pipeline: &Pipeline) -> QueryError {
    let labels = pipeline.labels.iter().map(|(name, value, _)| (pipeline.symbols.name(name), value));
    let labels = Labels::from_pairs(labels);
    QueryError::Pipeline { error: labels.get("__error__").to_owned(), labels: labels.to_string() }
}
