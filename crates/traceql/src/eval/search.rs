//! Queries for spans: which traces, the newest first, and what is shown of them.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use throughline_exec::{Budget, ExecError};
use throughline_model::{SpanId, TraceId};

use super::fields::Rows;
use super::filter::Mask;
use super::parts::{Candidate, Parts};
use super::pipeline::{QuickFilter, Spanset, TraceRows};
use super::plan::Plan;
use super::torn::{self, Torn};
use super::{EvalError, SearchParams, THREADS};
use crate::answer::{FoundSpan, FoundSpanset, FoundTrace, SearchAnswer, ServiceStats};
use crate::ast::{Intrinsic, Pipeline, SpanStatus};
use crate::source::{
    Demand, SpanBatch, SpanField, SpanRequest, SpanSink, TraceHead, TraceRun, TraceSource, WindowOf,
};
use crate::value::{Scalar, Value, ValueRef};

/// The most traces of an answer.
pub(crate) const TRACES_MAX: usize = 100_000;

/// Traces that are read together.
pub(super) const ASKED_TOGETHER: usize = 32;
/// The most that are read together to decide about them.
const DECIDED_TOGETHER: usize = 512;

/// Finds traces.
pub(super) fn search(
    pipeline: &Pipeline,
    params: &SearchParams,
    source: &dyn TraceSource,
    budget: &Budget,
) -> Result<SearchAnswer, EvalError> {
    let plan = Plan::new(pipeline);
    let limit = params.limit.min(TRACES_MAX);
    if limit == 0 {
        return Ok(SearchAnswer::default());
    }
    let tests = plan.search_tests();
    let any_span = plan.is_any_span();
    let parts = Parts::new(&plan);
    let request = SpanRequest {
        start_ns: params.start_ns,
        end_ns: params.end_ns,
        window: WindowOf::Traces,
        tests: &tests,
        whole: !any_span,
        newest_first: true,
    };
    let found = Mutex::new(Found { limit, starts: HashMap::new(), too_old: None });
    let new_finder = || Finder {
        plan: &plan,
        params,
        any_span,
        parts: &parts,
        source,
        budget,
        found: &found,
        torn: Torn::default(),
        failed: None,
    };
    let (mut finder, mut helpers) = (new_finder(), Vec::new());
    helpers.resize_with(THREADS - 1, new_finder);
    if let Some(id) = plan.trace_id() {
        // One trace may be found, and it is known where it lies.
        return match finder.ask(id)? {
            Some(_) => {
                let batch = source.trace(id, budget)?;
                let shown = batch.map(|batch| show(&plan, params, batch.as_ref(), id)).transpose()?;
                Ok(SearchAnswer { traces: shown.flatten().into_iter().collect() })
            }
            None => Ok(SearchAnswer::default()),
        };
    }
    let sinks = std::iter::once(&mut finder).chain(&mut helpers);
    let read = source.scan_split(&request, budget, sinks.map(|sink| sink as _).collect());
    for helper in helpers {
        finder.join(helper);
    }
    if let Some(error) = finder.failed.take() {
        return Err(error);
    }
    read?;
    finder.finish()?;
    let newest: Vec<TraceId> = finder.found().newest().into_iter().map(|(_, id)| id).collect();
    shown(&newest, &plan, params, source, budget)
}

/// The traces that were found, read some at a time.
fn shown(
    found: &[TraceId],
    plan: &Plan,
    params: &SearchParams,
    source: &dyn TraceSource,
    budget: &Budget,
) -> Result<SearchAnswer, EvalError> {
    let mut traces = Vec::new();
    for ids in found.chunks(ASKED_TOGETHER) {
        budget.check()?;
        for (id, batch) in ids.iter().zip(source.traces(ids, budget)?) {
            if let Some(batch) = batch {
                traces.extend(show(plan, params, batch.as_ref(), *id)?);
            }
        }
    }
    traces.sort_by_key(|trace: &FoundTrace| (std::cmp::Reverse(trace.start_ns), trace.id));
    Ok(SearchAnswer { traces })
}

/// The masks of all conditions.
pub(super) fn masks(plan: &Plan, rows: &Rows<'_>) -> Result<Vec<Mask>, ExecError> {
    plan.leaves.iter().map(|leaf| leaf.mask(rows)).collect()
}

/// Looks at batches for traces.
struct Finder<'q> {
    plan: &'q Plan,
    params: &'q SearchParams,
    any_span: bool,
    parts: &'q Parts,
    source: &'q dyn TraceSource,
    budget: &'q Budget,
    /// What all finders of the search have found: what one of them knows to be too old the others need not look at.
    found: &'q Mutex<Found>,
    torn: Torn,
    failed: Option<EvalError>,
}

/// Traces that were found.
struct Found {
    /// How many are wanted.
    limit: usize,
    /// When each of them started.
    starts: HashMap<TraceId, i64>,
    /// Once there are enough: traces that started then or before are too old.
    too_old: Option<i64>,
}

impl Found {
    fn add(&mut self, id: TraceId, start_ns: i64) {
        let known = self.starts.entry(id).or_insert(start_ns);
        *known = (*known).min(start_ns);
        if self.starts.len() > self.limit.saturating_mul(8).max(1_024) {
            let keep: HashSet<TraceId> = self.newest().into_iter().map(|(_, id)| id).collect();
            self.starts.retain(|id, _| keep.contains(id));
        }
        if self.starts.len() >= self.limit && self.too_old.is_none_or(|time| start_ns > time) {
            // Of those that started at the same time the ids decide, not who comes first.
            self.too_old = self.newest().last().map(|(start_ns, _)| start_ns.saturating_sub(1));
        }
    }

    /// The traces that started last, the last first.
    fn newest(&self) -> Vec<(i64, TraceId)> {
        let mut all: Vec<(i64, TraceId)> = self.starts.iter().map(|(id, start)| (*start, *id)).collect();
        all.sort_unstable_by_key(|(start, id)| (std::cmp::Reverse(*start), *id));
        all.truncate(self.limit);
        all
    }
}

impl SpanSink for Finder<'_> {
    fn batch(&mut self, batch: &dyn SpanBatch) -> Result<Demand, ExecError> {
        match self.look(batch) {
            Ok(()) => Ok(self.demand()),
            Err(EvalError::Exec(error)) => Err(error),
            Err(error) => {
                self.failed = Some(error);
                Ok(Demand::Nothing)
            }
        }
    }
}

impl Finder<'_> {
    fn look(&mut self, batch: &dyn SpanBatch) -> Result<(), EvalError> {
        let rows = Rows::new(batch, &self.plan.fields);
        let masks = self.parts.masks(self.plan, &rows)?;
        if !masks.any() {
            return Ok(());
        }
        let (mut runs, first) = match self.any_span {
            true => (masks.runs(&rows)?, None),
            false => masks.candidates(self.plan, &rows)?,
        };
        if let Some(first) = first.as_ref().filter(|_| self.plan.stages.len() > 1) {
            // When a trace was is asked of those that are left alone.
            let quick = if runs.is_empty() { None } else { QuickFilter::new(self.plan, &rows)? };
            let mut left = Vec::with_capacity(runs.len());
            for of in runs {
                if !of.may_be_torn && quick.as_ref().is_some_and(|quick| !quick.holds(first, &of.run)) {
                    continue;
                }
                let trace = TraceRows { rows: &rows, masks: &masks.leaves, run: of.run };
                if of.may_be_torn || !trace.evaluate_after(self.plan, first)?.is_empty() {
                    left.push(of);
                }
            }
            runs = left;
        }
        if runs.is_empty() {
            return Ok(());
        }
        let heads = batch.heads(&runs.iter().map(|of| of.run).collect::<Vec<TraceRun>>())?;
        let mut runs: Vec<(TraceHead, Candidate)> = heads.into_iter().zip(runs).collect();
        runs.sort_by_key(|(head, _)| std::cmp::Reverse(head.start_ns));
        for (head, Candidate { run, bits, may_be_torn }) in &runs {
            if self.too_old().is_some_and(|time| head.start_ns <= time) {
                break;
            }
            let overlaps = self.params.overlaps(head);
            let is_found = if self.any_span && overlaps {
                true
            } else if self.any_span && !self.params.is_near(head) {
                false
            } else if *may_be_torn && !batch.is_whole(run, head.id)? {
                self.torn.add(head, *bits, self.budget)?;
                false
            } else {
                let trace = TraceRows { rows: &rows, masks: &masks.leaves, run: *run };
                overlaps
                    && torn::may_match(self.plan, *bits)
                    && match &first {
                        Some(first) => !trace.evaluate_after(self.plan, first)?.is_empty(),
                        None => !trace.evaluate(self.plan)?.is_empty(),
                    }
            };
            if is_found {
                self.found().add(head.id, head.start_ns);
            }
        }
        Ok(())
    }

    /// Reads the traces that lie in several places, as long as they may be among the newest.
    fn finish(&mut self) -> Result<(), EvalError> {
        let torn = std::mem::take(&mut self.torn).candidates(self.plan);
        let (mut left, mut together) = (torn.as_slice(), ASKED_TOGETHER);
        while !left.is_empty() {
            let (some, rest) = left.split_at(together.min(left.len()));
            // Where few are found many will have to be read.
            (left, together) = (rest, (together * 2).min(DECIDED_TOGETHER));
            let too_old = self.too_old();
            let is_old = |start_ns: i64| too_old.is_some_and(|time| start_ns <= time);
            let ids: Vec<TraceId> =
                some.iter().filter(|(_, start_ns)| !is_old(*start_ns)).map(|(id, _)| *id).collect();
            if ids.is_empty() {
                break;
            }
            self.budget.check()?;
            for (id, batch) in ids.iter().zip(self.source.traces(&ids, self.budget)?) {
                if let Some(batch) = batch
                    && let Some(start_ns) = self.decide(batch.as_ref())?
                {
                    self.found().add(*id, start_ns);
                }
            }
        }
        Ok(())
    }

    /// When a trace started, if it is found with all its spans.
    fn ask(&self, id: TraceId) -> Result<Option<i64>, EvalError> {
        self.budget.check()?;
        self.source.trace(id, self.budget)?.map_or(Ok(None), |batch| self.decide(batch.as_ref()))
    }

    /// When the trace started that these are all the spans of, if it is found.
    fn decide(&self, batch: &dyn SpanBatch) -> Result<Option<i64>, EvalError> {
        let (_, sets) = spansets(self.plan, batch)?;
        if sets.is_empty() {
            return Ok(None);
        }
        let head = head_of(batch)?;
        Ok(head.filter(|head| self.params.overlaps(head)).map(|head| head.start_ns))
    }

    /// Takes what another one has noted.
    fn join(&mut self, other: Finder<'_>) {
        self.torn.join(other.torn);
        self.failed = self.failed.take().or(other.failed);
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn too_old(&self) -> Option<i64> {
        self.found().too_old
    }

    fn demand(&self) -> Demand {
        self.too_old().map_or(Demand::All, Demand::After)
    }
}

/// What the pipeline gives for one trace, as rows of the batch that holds all of it.
fn spansets<'b>(plan: &'b Plan, batch: &'b dyn SpanBatch) -> Result<(Rows<'b>, Vec<Spanset>), EvalError> {
    let rows = Rows::new(batch, &plan.fields);
    let masks = masks(plan, &rows)?;
    let sets = TraceRows { rows: &rows, masks: &masks, run: run_of(batch) }.evaluate(plan)?;
    Ok((rows, sets))
}

/// The run of a batch that holds one trace.
fn run_of(batch: &dyn SpanBatch) -> TraceRun {
    TraceRun { start: 0, end: u32::try_from(batch.len()).unwrap_or(u32::MAX), trace: 0 }
}

/// What is known of the trace of such a batch.
fn head_of(batch: &dyn SpanBatch) -> Result<Option<TraceHead>, ExecError> {
    Ok(batch.heads(&[run_of(batch)])?.first().copied())
}

/// What is read of every trace that is shown.
const SHOWN: [SpanField; 7] = [
    SpanField::Service,
    SpanField::HasParent,
    SpanField::Intrinsic(Intrinsic::Name),
    SpanField::Intrinsic(Intrinsic::Status),
    SpanField::Intrinsic(Intrinsic::SpanId),
    SpanField::Intrinsic(Intrinsic::SpanStart),
    SpanField::Intrinsic(Intrinsic::Duration),
];

/// A trace of the answer.
fn show(
    plan: &Plan,
    params: &SearchParams,
    batch: &dyn SpanBatch,
    id: TraceId,
) -> Result<Option<FoundTrace>, EvalError> {
    batch.prepare(&plan.fields.iter().chain(&SHOWN).collect::<Vec<_>>());
    let (rows, sets) = spansets(plan, batch)?;
    if sets.is_empty() {
        return Ok(None);
    }
    let Some(head) = head_of(batch)? else { return Ok(None) };
    let names = batch.column(&SpanField::Intrinsic(Intrinsic::Name))?;
    let services = batch.column(&SpanField::Service)?;
    let has_parent = batch.column(&SpanField::HasParent)?;
    let statuses = batch.column(&SpanField::Intrinsic(Intrinsic::Status))?;
    let root = (0..batch.len()).find(|row| !has_parent.is_true(*row));
    let text = |column: &crate::column::Column| {
        root.and_then(|root| column.text(root)).unwrap_or_default().to_owned()
    };
    let mut stats: Vec<ServiceStats> = Vec::new();
    for row in 0..batch.len() {
        let service = services.text(row).unwrap_or_default();
        let place = match stats.iter().position(|stats| stats.service == service) {
            Some(place) => place,
            None => {
                stats.push(ServiceStats { service: service.to_owned(), spans: 0, errors: 0 });
                stats.len() - 1
            }
        };
        let is_error = matches!(statuses.get(row), ValueRef::One(Scalar::Status(SpanStatus::Error)));
        if let Some(stats) = stats.get_mut(place) {
            stats.spans += 1;
            stats.errors += u32::from(is_error);
        }
    }
    stats.sort_by(|a, b| a.service.cmp(&b.service));
    let mut spansets = Vec::with_capacity(sets.len());
    for set in sets {
        spansets.push(show_set(plan, params, batch, &rows, set, &names)?);
    }
    Ok(Some(FoundTrace {
        id,
        root_service: text(&services),
        root_name: text(&names),
        start_ns: head.start_ns,
        duration_ns: head.end_ns.saturating_sub(head.start_ns),
        spansets,
        services: stats,
    }))
}

fn show_set(
    plan: &Plan,
    params: &SearchParams,
    batch: &dyn SpanBatch,
    rows: &Rows<'_>,
    set: Spanset,
    names: &crate::column::Column,
) -> Result<FoundSpanset, EvalError> {
    let matched = set.rows.len() as u64;
    let most = if params.spans_per_set == 0 { set.rows.len() } else { params.spans_per_set };
    let shown = set.rows.get(..most.min(set.rows.len())).unwrap_or_default();
    let pick = |intrinsic: Intrinsic| batch.pick(&SpanField::Intrinsic(intrinsic), shown);
    let (ids, starts, durations) =
        (pick(Intrinsic::SpanId)?, pick(Intrinsic::SpanStart)?, pick(Intrinsic::Duration)?);
    let mut spans = Vec::with_capacity(shown.len());
    for (at, row) in shown.iter().enumerate() {
        let mut attributes: Vec<(String, Value)> = Vec::new();
        for (name, field) in &plan.shown {
            if let Some(value) = rows.get(*field, *row as usize)?.owned() {
                attributes.push((name.clone(), value));
            }
        }
        let Some(id) = ids.text(at).and_then(SpanId::parse) else { continue };
        spans.push(FoundSpan {
            id,
            name: names.text(*row as usize).unwrap_or_default().to_owned(),
            start_ns: starts.int(at).unwrap_or_default(),
            duration_ns: durations.int(at).unwrap_or_default(),
            attributes,
        });
    }
    Ok(FoundSpanset { matched, spans, attributes: set.attributes })
}
