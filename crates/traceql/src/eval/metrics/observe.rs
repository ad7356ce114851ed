//! The spans of a pipeline, batch by batch, and the series that functions make of them.

use throughline_exec::ExecError;
use throughline_model::TraceId;

use super::exemplars::Exemplars;
use super::fold::{self, Folded};
use super::group::Groups;
use super::series::Series;
use super::{Context, Intervals};
use crate::ast::{Field, Grouped, Intrinsic, Literal, Pipeline, SpanFunction};
use crate::column::Column;
use crate::eval::fields::{FieldRef, Rows};
use crate::eval::parts::{Candidate, Parts};
use crate::eval::pipeline::TraceRows;
use crate::eval::plan::Plan;
use crate::eval::search::{ASKED_TOGETHER, masks};
use crate::eval::torn::{self, Torn};
use crate::eval::{EvalError, THREADS};
use crate::source::{Demand, FieldTest, SpanBatch, SpanField, SpanRequest, SpanSink, TraceRun, WindowOf};
use crate::value::Value;

/// Takes the spans that a pipeline leaves.
pub(super) trait Observer {
    /// Takes spans of a batch, at least one, with their intervals.
    fn observe(
        &mut self,
        rows: &Rows<'_>,
        chosen: &[u32],
        intervals: &[usize],
        starts: &[i64],
    ) -> Result<(), ExecError>;
}

/// Hands the spans that a pipeline leaves within the time of the query to observers, of which there is at least one: each span to
/// one of them.
pub(super) fn spans<'w>(
    plan: &'w Plan,
    context: &'w Context<'w>,
    observers: Vec<&'w mut (dyn Observer + Send + 'w)>,
) -> Result<(), EvalError> {
    let (start_ns, end_ns) = (context.intervals.start_ns, context.intervals.end_ns);
    let any_span = plan.is_any_span();
    let start = SpanField::Intrinsic(Intrinsic::SpanStart);
    let mut tests = plan.tests();
    if any_span {
        tests.push(FieldTest::Between(&start, start_ns, end_ns));
    }
    let request = SpanRequest {
        start_ns,
        end_ns: end_ns.saturating_add(1),
        window: if any_span { WindowOf::Spans } else { WindowOf::Traces },
        tests: &tests,
        whole: !any_span,
        newest_first: false,
    };
    let parts = Parts::new(plan);
    let parts = &parts;
    let new_walker = |observer: &'w mut (dyn Observer + Send + 'w)| Walker {
        plan,
        context,
        any_span,
        parts,
        observer,
        torn: Torn::default(),
        failed: None,
    };
    let mut walkers: Vec<Walker<'_>> = observers.into_iter().map(new_walker).collect();
    if let Some(id) = plan.trace_id() {
        return walkers.first_mut().map_or(Ok(()), |walker| walker.ask(&[id]));
    }
    let sinks = walkers.iter_mut().map(|walker| walker as _).collect();
    let read = context.source.scan_split(&request, context.budget, sinks);
    if let Some(error) = walkers.iter_mut().find_map(|walker| walker.failed.take()) {
        return Err(error);
    }
    read?;
    let mut torn = Torn::default();
    walkers.iter_mut().for_each(|walker| torn.join(std::mem::take(&mut walker.torn)));
    let Some(walker) = walkers.first_mut() else { return Ok(()) };
    let torn: Vec<TraceId> = torn.candidates(plan).into_iter().map(|(id, _)| id).collect();
    torn.chunks(ASKED_TOGETHER).try_for_each(|ids| walker.ask(ids))
}

struct Walker<'w> {
    plan: &'w Plan,
    context: &'w Context<'w>,
    any_span: bool,
    parts: &'w Parts,
    observer: &'w mut (dyn Observer + Send + 'w),
    torn: Torn,
    failed: Option<EvalError>,
}

impl SpanSink for Walker<'_> {
    fn batch(&mut self, batch: &dyn SpanBatch) -> Result<Demand, ExecError> {
        match self.look(batch) {
            Ok(()) => Ok(Demand::All),
            Err(EvalError::Exec(error)) => Err(error),
            Err(error) => {
                self.failed = Some(error);
                Ok(Demand::Nothing)
            }
        }
    }
}

impl Walker<'_> {
    fn look(&mut self, batch: &dyn SpanBatch) -> Result<(), EvalError> {
        let rows = Rows::new(batch, &self.plan.fields);
        let masks = self.parts.masks(self.plan, &rows)?;
        if self.any_span {
            let chosen: Vec<u32> = match masks.leaves.as_slice() {
                [mask] if !mask.contains(&false) => (0..rows.len() as u32).collect(),
                [mask] => (0..).zip(mask).filter(|(_, is)| **is).map(|(row, _)| row).collect(),
                masks => {
                    let is = |row: &u32| masks.iter().any(|mask| mask.get(*row as usize) == Some(&true));
                    (0..rows.len() as u32).filter(is).collect()
                }
            };
            return self.take(&rows, chosen);
        }
        if !masks.any() {
            return Ok(());
        }
        let (runs, first) = masks.candidates(self.plan, &rows)?;
        if runs.is_empty() {
            return Ok(());
        }
        // Who lies here alone needs no name.
        let torn: Vec<TraceRun> = runs.iter().filter(|of| of.may_be_torn).map(|of| of.run).collect();
        let mut heads = if torn.is_empty() { Vec::new() } else { batch.heads(&torn)? }.into_iter();
        let mut chosen = Vec::new();
        for Candidate { run, bits, may_be_torn } in &runs {
            let head = if *may_be_torn { heads.next() } else { None };
            if let Some(head) = head
                && !batch.is_whole(run, head.id)?
            {
                self.torn.add(&head, *bits, self.context.budget)?;
            } else if torn::may_match(self.plan, *bits) {
                let trace = TraceRows { rows: &rows, masks: &masks.leaves, run: *run };
                let sets = match &first {
                    Some(first) => trace.evaluate_after(self.plan, first)?,
                    None => trace.evaluate(self.plan)?,
                };
                chosen.extend(sets.into_iter().flat_map(|set| set.rows));
            }
        }
        self.take(&rows, chosen)
    }

    /// Takes the spans of traces that lie in several places.
    fn ask(&mut self, ids: &[TraceId]) -> Result<(), EvalError> {
        self.context.budget.check()?;
        for batch in self.context.source.traces(ids, self.context.budget)?.into_iter().flatten() {
            let rows = Rows::new(batch.as_ref(), &self.plan.fields);
            let masks = masks(self.plan, &rows)?;
            let run = TraceRun { start: 0, end: u32::try_from(batch.len()).unwrap_or(u32::MAX), trace: 0 };
            let sets = TraceRows { rows: &rows, masks: &masks, run }.evaluate(self.plan)?;
            let chosen = sets.into_iter().flat_map(|set| set.rows).collect();
            self.take(&rows, chosen)?;
        }
        Ok(())
    }

    /// Takes those of the spans that start within the time of the query.
    fn take(&mut self, rows: &Rows<'_>, mut chosen: Vec<u32>) -> Result<(), EvalError> {
        if chosen.is_empty() {
            return Ok(());
        }
        let column = rows.batch.column(&SpanField::Intrinsic(Intrinsic::SpanStart))?;
        let Column::Ints(starts) = column else { return Ok(()) };
        let (mut intervals, mut times) = (Vec::with_capacity(chosen.len()), Vec::with_capacity(chosen.len()));
        // Spans that lie together start at about the same time: most are in the interval of the one before.
        let mut last = (i64::MAX, i64::MIN, 0);
        let mut kept = 0;
        for at in 0..chosen.len() {
            let Some(row) = chosen.get(at).copied() else { break };
            let Some(time) = starts.get(row as usize) else { continue };
            if !(last.0 < time && time <= last.1) {
                let Some(interval) = self.context.intervals.of(time) else { continue };
                let end = self.context.intervals.end_of(interval);
                let start = end.saturating_sub(self.context.intervals.step_ns);
                last = (start, end.min(self.context.intervals.end_ns), interval);
            }
            intervals.push(last.2);
            times.push(time);
            if let Some(place) = chosen.get_mut(kept) {
                *place = row;
            }
            kept += 1;
        }
        chosen.truncate(kept);
        if chosen.is_empty() {
            return Ok(());
        }
        Ok(self.observer.observe(rows, &chosen, &intervals, &times)?)
    }
}

/// Series of groups under construction.
struct Grouping<'g> {
    function: SpanFunction,
    intervals: Intervals,
    field: Option<FieldRef>,
    groups: Groups,
    folded: Vec<Folded>,
    exemplars: Exemplars,
    shown: Vec<(String, FieldRef)>,
    context: &'g Context<'g>,
    /// Whether its series count against the budget: those of a helper do when they are joined.
    counts_series: bool,
}

impl Observer for Grouping<'_> {
    fn observe(
        &mut self,
        rows: &Rows<'_>,
        chosen: &[u32],
        intervals: &[usize],
        starts: &[i64],
    ) -> Result<(), ExecError> {
        let groups = self.groups.of(rows, chosen)?;
        self.make_room()?;
        match self.field {
            None => {
                for (interval, group) in intervals.iter().zip(&groups) {
                    if let Some(folded) = self.folded.get_mut(*group) {
                        folded.add(self.function, *interval, &self.intervals, None);
                    }
                }
            }
            Some(field) => {
                for ((row, interval), group) in chosen.iter().zip(intervals).zip(&groups) {
                    let value = rows.get(field, *row as usize)?.scalar();
                    if let Some(folded) = self.folded.get_mut(*group) {
                        folded.add(self.function, *interval, &self.intervals, value);
                    }
                }
            }
        }
        for ((row, start), group) in chosen.iter().zip(starts).zip(groups) {
            if self.exemplars.wants(*start) {
                let value = match self.field {
                    None => None,
                    Some(field) => rows.get(field, *row as usize)?.scalar(),
                };
                let counts = matches!(
                    self.function,
                    SpanFunction::Rate | SpanFunction::CountOverTime | SpanFunction::HistogramOverTime
                );
                let number = if counts { Some(f64::NAN) } else { value.and_then(fold::seconds) };
                if let Some(number) = number {
                    self.exemplars.add(rows, *row, group, (*start, number), &self.shown)?;
                }
            }
        }
        Ok(())
    }
}

impl Grouping<'_> {
    /// Takes what another one counted.
    fn join(&mut self, other: Grouping<'_>) -> Result<(), ExecError> {
        let places: Vec<usize> =
            other.groups.into_values().into_iter().map(|values| self.groups.place(values)).collect();
        self.make_room()?;
        for (folded, place) in other.folded.into_iter().zip(&places) {
            if let Some(into) = self.folded.get_mut(*place) {
                into.join(self.function, folded);
            }
        }
        for (series, exemplar) in other.exemplars.found {
            if let Some(place) = places.get(series) {
                self.exemplars.take(*place, exemplar);
            }
        }
        Ok(())
    }

    /// Series for groups that are new, within the budget.
    fn make_room(&mut self) -> Result<(), ExecError> {
        while self.folded.len() < self.groups.len() {
            if self.counts_series {
                self.context.budget.take_series(1)?;
            }
            let bytes = Folded::interval_bytes(self.function).saturating_mul(self.intervals.count as u64);
            self.context.budget.take_bytes(bytes)?;
            self.folded.push(Folded::new(self.function, &self.intervals));
        }
        Ok(())
    }
}

/// The series that a function makes of the spans of a pipeline.
pub(super) fn grouped(
    pipeline: &Pipeline,
    grouped: &Grouped,
    context: &Context<'_>,
) -> Result<Vec<Series>, EvalError> {
    let mut plan = Plan::new(pipeline);
    let mut shown: Vec<(String, FieldRef)> = Vec::new();
    let mut show = |field: &Field, plan: &mut Plan| {
        let reference = plan.fields.reference(field);
        if !shown.iter().any(|(_, other)| *other == reference) {
            shown.push((field.to_string(), reference));
        }
        reference
    };
    for field in conditions(pipeline) {
        show(&field, &mut plan);
    }
    let by: Vec<FieldRef> = grouped.by.iter().map(|field| show(field, &mut plan)).collect();
    let field = grouped.field.as_ref().map(|field| show(field, &mut plan));
    let new_grouping = |counts_series| Grouping {
        function: grouped.function,
        intervals: context.intervals,
        field,
        groups: Groups::new(by.clone()),
        folded: Vec::new(),
        exemplars: Exemplars::new(context.exemplars, &context.intervals),
        shown: shown.clone(),
        context,
        counts_series,
    };
    let (mut grouping, mut helpers) = (new_grouping(true), Vec::new());
    helpers.resize_with(THREADS - 1, || new_grouping(false));
    let observers = std::iter::once(&mut grouping).chain(&mut helpers).map(|observer| observer as _);
    spans(&plan, context, observers.collect())?;
    for helper in helpers {
        grouping.join(helper)?;
    }
    if grouped.by.is_empty() && grouping.folded.is_empty() {
        // Without groups there is one series, also of no spans.
        grouping.groups = Groups::default();
        grouping.folded.push(Folded::new(grouped.function, &context.intervals));
    }
    finish(grouping, grouped)
}

/// The fields of the conditions of a pipeline.
fn conditions(pipeline: &Pipeline) -> Vec<Field> {
    let mut fields = Vec::new();
    crate::eval::plan::each_field(pipeline, &mut |field| fields.push(field.clone()));
    fields
}

fn finish(grouping: Grouping<'_>, grouped: &Grouped) -> Result<Vec<Series>, EvalError> {
    let intervals = grouping.intervals;
    let function = grouped.function;
    let mut values = grouping.groups.into_values();
    values.resize(grouping.folded.len(), Vec::new());
    let mut exemplars: Vec<Vec<crate::answer::MetricExemplar>> = vec![Vec::new(); values.len()];
    for (series, exemplar) in grouping.exemplars.found {
        if let Some(of_series) = exemplars.get_mut(series) {
            of_series.push(exemplar);
        }
    }
    let mut found = Vec::new();
    for ((values, folded), exemplars) in values.into_iter().zip(grouping.folded).zip(exemplars) {
        if folded.is_empty() {
            continue;
        }
        let mut labels: Vec<(String, Value)> = Vec::new();
        for (field, value) in grouped.by.iter().zip(values) {
            labels.extend(value.map(|value| (field.to_string(), value)));
        }
        match (folded, function) {
            (Folded::Buckets(buckets), SpanFunction::HistogramOverTime) => {
                for (at, (bound, counts)) in buckets.into_iter().flatten().enumerate() {
                    let mut labels = labels.clone();
                    labels.push(("__bucket".to_owned(), Value::Float(bound)));
                    // One series may show them.
                    let exemplars = if at == 0 { exemplars.clone() } else { Vec::new() };
                    found.push(Series::new(labels, counts, exemplars));
                }
            }
            (Folded::Buckets(buckets), _) => {
                quantiles(&buckets, grouped, &intervals, &labels, exemplars, &mut found);
            }
            (folded, _) => {
                if labels.is_empty() {
                    labels.push(match grouped.by.first() {
                        // As Tempo writes it: a series is never without a label.
                        Some(field) => (field.to_string(), Value::Text("nil".to_owned())),
                        None => (super::series::NAME.to_owned(), Value::Text(function.name().to_owned())),
                    });
                }
                found.push(Series::new(labels, folded.values(function, &intervals), exemplars));
            }
        }
    }
    Ok(found)
}

/// A series for each quantile; an exemplar goes to the nearest.
fn quantiles(
    buckets: &[Option<(f64, Vec<f64>)>],
    grouped: &Grouped,
    intervals: &Intervals,
    labels: &[(String, Value)],
    exemplars: Vec<crate::answer::MetricExemplar>,
    found: &mut Vec<Series>,
) {
    let wanted: Vec<f64> = grouped
        .quantiles
        .iter()
        .map(|quantile| match quantile {
            Literal::Int(value) => *value as f64,
            Literal::Float(value) => *value,
            _ => f64::NAN,
        })
        .collect();
    let all: Vec<(f64, f64)> =
        buckets.iter().flatten().map(|(bound, counts)| (*bound, counts.iter().sum())).collect();
    let overall: Vec<f64> = wanted.iter().map(|quantile| fold::quantile(*quantile, &all)).collect();
    let nearest = |value: f64| {
        let distance = |at: &usize| overall.get(*at).map_or(f64::INFINITY, |of| (of - value).abs());
        (0..overall.len()).min_by(|a, b| distance(a).total_cmp(&distance(b)))
    };
    for (at, quantile) in wanted.iter().enumerate() {
        let mut labels = labels.to_vec();
        labels.push(("p".to_owned(), Value::Float(*quantile)));
        let value = |interval: usize| fold::quantile(*quantile, &fold::buckets_at(buckets, interval));
        let of_quantile = exemplars.iter().filter(|exemplar| nearest(exemplar.value) == Some(at)).cloned();
        found.push(Series::new(labels, (0..intervals.count).map(value).collect(), of_quantile.collect()));
    }
}
