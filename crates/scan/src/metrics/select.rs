//! The samples of matching series: which runs to read, what to take from them, and how the pieces fit together.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use throughline_exec::{
    Budget, ExecError, Labels, Matcher, SelectRequest, SeriesSamples, SeriesSource, Times,
};
use throughline_store::snapshot::parts::{MetricPart, PointWant, RunBounds};
use throughline_store::{Snapshot, TimeRange};

use super::delta;
use super::expand::{Expansion, Piece, WindowTimes, number_text};
use super::index::{KnownPart, MetricIndex, Tables};
use super::runs::LastPoints;
use super::translate::{Family, Form};

/// Points that a second thread is worth.
const PARALLEL_POINTS: usize = 50_000;

/// Points that are copied and looked at in less time than it takes to wake another thread.
const QUICK_POINTS: usize = 20_000;

/// Threads that read for one query: as many as the machine we aim at has cores.
const THREADS: usize = 2;

const NS_PER_MS: i64 = 1_000_000;

/// Does work that may take long; whoever asks on a thread that others wait for lets them go on elsewhere first.
pub type SlowWork = fn(&mut dyn FnMut());

/// A snapshot's metrics as Prometheus series.
pub struct MetricSource {
    pub(super) snapshot: Snapshot,
    pub(super) index: Arc<MetricIndex>,
    /// Why answers may be incomplete; collected over all questions.
    pub(super) partial: Mutex<Vec<String>>,
    start_times: bool,
    slow_work: SlowWork,
}

/// A family that takes part in a query.
struct Selected {
    family: Family,
    is_delta: bool,
    /// Its place in the order of labels.
    place: u32,
}

impl Selected {
    /// Whether each point is a sample of each series of the family: then the last point is the last sample. Increments
    /// are summed up, and points of other forms may leave series out.
    fn has_one_sample_per_point(&self) -> bool {
        !self.is_delta && matches!(self.family.form, Form::Value | Form::Native)
    }
}

/// One run to read, with `(row, selected family)` sorted by row.
struct Task {
    part: MetricPart,
    run: RunBounds,
    uses: Uses,
}

/// `(row, selected family)`
type Uses = Vec<(u32, u32)>;

/// What is taken from a run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// The last point of each series.
    Last,
    /// The points.
    Points(PointWant),
}

/// What a question reads.
struct Plan {
    /// Where reading starts: before the question's own start where increments are summed up.
    start_ms: i64,
    selected: Vec<Selected>,
    tasks: Vec<Task>,
}

/// A piece of a selected family, in the order of parts and runs.
struct Found {
    selected: u32,
    order: usize,
    piece: Piece,
}

/// The window as the store has it.
pub(super) fn range_of(start_ms: i64, end_ms: i64) -> TimeRange {
    TimeRange {
        start: start_ms.saturating_mul(NS_PER_MS),
        end: end_ms.saturating_add(1).saturating_mul(NS_PER_MS),
    }
}

impl MetricSource {
    /// The metrics of a snapshot.
    pub fn new(snapshot: Snapshot, index: Arc<MetricIndex>) -> MetricSource {
        let partial = Mutex::new(snapshot.missing().to_vec());
        MetricSource { snapshot, index, partial, start_times: false, slow_work: |work| work() }
    }

    /// Does what may take long, as what reads from a disk, in this way.
    pub fn with_slow_work(mut self, slow_work: SlowWork) -> MetricSource {
        self.slow_work = slow_work;
        self
    }

    /// Does work that may take long.
    pub(super) fn slowly<R>(&self, work: impl FnOnce() -> R) -> R {
        let (mut work, mut done) = (Some(work), None);
        (self.slow_work)(&mut || done = work.take().map(|work| work()));
        // It was not done, or panicked: neither is what a way of doing work may do.
        done.unwrap_or_else(|| unreachable!("work is done before it is asked for"))
    }

    /// Hands out start timestamps too.
    pub fn with_start_times(mut self) -> MetricSource {
        self.start_times = true;
        self
    }

    /// Why the answers so far may be incomplete.
    pub fn partial(&self) -> Vec<String> {
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner).clone();
        partial.sort_unstable();
        partial.dedup();
        partial
    }

    pub(super) fn note(&self, reasons: Vec<String>) {
        self.partial.lock().unwrap_or_else(PoisonError::into_inner).extend(reasons);
    }

    /// Asks the tables about the parts that may hold anything of the window.
    pub(super) fn over<R>(&self, range: TimeRange, ask: impl FnOnce(&Tables, &[KnownPart]) -> R) -> R {
        let mut partial = Vec::new();
        let answer = self.index.over(&self.snapshot, range, &mut partial, ask);
        self.note(partial);
        answer
    }

    /// The families that match, and of each part the rows that they need.
    fn choose(&self, request: &SelectRequest, start_ms: i64) -> (Vec<Selected>, Vec<(KnownPart, Uses)>) {
        self.over(range_of(start_ms, request.end_ms), |tables, parts| {
            let families = tables.matching(&request.matchers);
            let mut selected: Vec<Selected> = Vec::with_capacity(families.len());
            let mut uses: Vec<Uses> = vec![Uses::new(); parts.len()];
            let mut from = vec![0; parts.len()];
            for family in families {
                let Some(entry) = tables.get(family) else { continue };
                let number = selected.len() as u32;
                let place = tables.place(family);
                selected.push(Selected { family: entry.family.clone(), is_delta: entry.is_delta, place });
                for ((part, uses), from) in parts.iter().zip(&mut uses).zip(&mut from) {
                    uses.extend(entry.rows_in(part, from).map(|row| (row, number)));
                }
            }
            (selected, parts.iter().cloned().zip(uses).collect())
        })
    }

    fn plan(&self, request: &SelectRequest, budget: &Budget) -> Result<Plan, ExecError> {
        let mut start_ms = request.start_ms;
        let (mut selected, mut parts) = self.choose(request, start_ms);
        if selected.iter().any(|selected| selected.is_delta) {
            // Increments are summed up from the start of their window, so that sums do not depend on the question.
            start_ms = delta::window_start_ms(start_ms);
            (selected, parts) = self.choose(request, start_ms);
        }
        budget.take_series(selected.len() as u64)?;
        let range = range_of(start_ms, request.end_ms);
        let mut tasks = Vec::new();
        for (part, mut uses) in parts {
            budget.check()?;
            uses.sort_unstable();
            let runs = match part.runs() {
                Ok(runs) if !uses.is_empty() => runs,
                Ok(_) => continue,
                Err(error) => {
                    self.note(vec![error.to_string()]);
                    continue;
                }
            };
            for run in runs.iter().filter(|run| range.overlaps(run.min_time, run.max_time)) {
                let from = uses.partition_point(|(row, _)| *row < run.series.start);
                let to = uses.partition_point(|(row, _)| *row < run.series.end);
                if let Some(uses) = uses.get(from..to).filter(|uses| !uses.is_empty()) {
                    tasks.push(Task { part: part.part.clone(), run: run.clone(), uses: uses.to_vec() });
                }
            }
        }
        Ok(Plan { start_ms, selected, tasks })
    }

    /// Reads the tasks, on several threads where that is worth it.
    fn read(&self, request: &SelectRequest, plan: &Plan, budget: &Budget) -> Result<Vec<Found>, ExecError> {
        let tasks = &plan.tasks;
        let accesses: Vec<Access> = tasks.iter().map(|task| self.access(request, plan, task)).collect();
        // A run that is not kept is decoded whole, which is worth a thread.
        let runs = self.index.run_cache();
        let is_missing = |(task, access): &(&Task, &Access)| !runs.has(&task.part, &task.run, **access);
        let missing = tasks.iter().zip(&accesses).filter(is_missing).take(2).count();
        let series: usize = tasks.iter().map(|task| task.uses.len()).sum();
        let steps = (request.end_ms.saturating_sub(plan.start_ms) / 15_000).max(1) as usize;
        let points = series.saturating_mul(steps);
        let is_shared = tasks.len() > 1 && (missing > 1 || points >= PARALLEL_POINTS);
        let read = || self.read_all(request, (plan, &accesses), is_shared, budget);
        if missing > 0 || points > QUICK_POINTS { self.slowly(read) } else { read() }
    }

    fn read_all(
        &self,
        request: &SelectRequest,
        (plan, accesses): (&Plan, &[Access]),
        is_shared: bool,
        budget: &Budget,
    ) -> Result<Vec<Found>, ExecError> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut found = Vec::new();
            loop {
                let order = next.fetch_add(1, Ordering::Relaxed);
                let (Some(task), Some(access)) = (plan.tasks.get(order), accesses.get(order)) else {
                    return Ok(found);
                };
                budget.check()?;
                self.read_task(request, plan, (task, *access), order, &mut found);
            }
        };
        if !is_shared {
            return work();
        }
        std::thread::scope(|scope| {
            let threads: Vec<_> = (1..THREADS).map(|_| scope.spawn(work)).collect();
            let mut found = work()?;
            for thread in threads {
                let panicked = |_| ExecError::Source { reason: "a reading thread failed".to_owned() };
                found.extend(thread.join().map_err(panicked)??);
            }
            Ok(found)
        })
    }

    fn read_task(
        &self,
        request: &SelectRequest,
        plan: &Plan,
        (task, access): (&Task, Access),
        order: usize,
        found: &mut Vec<Found>,
    ) {
        let Plan { start_ms, selected, .. } = plan;
        let runs = self.index.run_cache();
        let want = match access {
            Access::Points(want) => want,
            Access::Last => match runs.last_points(&task.part, &task.run) {
                Ok(last) => return last_pieces(&last, request, task, order, found),
                Err(error) => return self.note(vec![error.to_string()]),
            },
        };
        let mut wanted: Vec<u32> = task.uses.iter().map(|(row, _)| *row).collect();
        wanted.dedup();
        let range = range_of(*start_ms, request.end_ms);
        let decoded = match runs.read(&task.part, &task.run, &wanted, range, want, plan.tasks.len()) {
            Ok(decoded) => decoded,
            Err(error) => return self.note(vec![error.to_string()]),
        };
        let mut window_times = WindowTimes::default();
        for of_row in task.uses.chunk_by(|(a, _), (b, _)| a == b) {
            let Some(series) = of_row.first().and_then(|(row, _)| decoded.series_of(*row)) else { continue };
            for (_, number) in of_row {
                let Some(selected) = selected.get(*number as usize) else { continue };
                let dynamic = selected.family.form.dynamic_label();
                let matchers: Vec<&Matcher> =
                    request.matchers.iter().filter(|matcher| Some(matcher.name()) == dynamic).collect();
                let expansion = Expansion {
                    family: &selected.family,
                    matchers: &matchers,
                    start_ms: *start_ms,
                    end_ms: request.end_ms,
                    start_times: self.start_times,
                    last_at: request.hints.last_at.filter(|_| selected.has_one_sample_per_point()),
                };
                let pieces = expansion.pieces(&decoded, series, &mut window_times);
                found.extend(pieces.into_iter().map(|piece| Found { selected: *number, order, piece }));
            }
        }
    }
}

impl MetricSource {
    fn access(&self, request: &SelectRequest, plan: &Plan, task: &Task) -> Access {
        if self.asks_for_last_points(request, plan, task) {
            return Access::Last;
        }
        let payloads = task.uses.iter().any(|(_, number)| {
            let selected = plan.selected.get(*number as usize);
            selected.is_some_and(|s| !matches!(s.family.form, Form::Value | Form::TargetInfo))
        });
        Access::Points(PointWant { start_times: self.start_times, payloads })
    }

    /// Whether of each series of the task only the last point is asked for, and that is the last of its run.
    fn asks_for_last_points(&self, request: &SelectRequest, plan: &Plan, task: &Task) -> bool {
        let is_last = request.hints.last_at.is_some_and(|grid| grid.count == 1)
            && task.run.max_time.div_euclid(NS_PER_MS) <= request.end_ms;
        let is_value = |number: u32| {
            let selected = plan.selected.get(number as usize);
            selected.is_some_and(|of| of.family.form == Form::Value && !of.is_delta)
        };
        is_last
            && !self.start_times
            && matches!(task.part, MetricPart::Block(_))
            && task.uses.iter().all(|(_, number)| is_value(*number))
    }
}

/// The last points of the series of a task, where they lie within the window.
fn last_pieces(
    last: &LastPoints,
    request: &SelectRequest,
    task: &Task,
    order: usize,
    found: &mut Vec<Found>,
) {
    // Series of one target have one time, and their last points share it.
    let mut shared = Times::default();
    found.reserve(task.uses.len());
    for (row, selected) in &task.uses {
        let Some((time, value)) = last.of(*row).filter(|(time, _)| *time >= request.start_ms) else {
            continue;
        };
        if shared.first() != Some(&time) {
            shared = vec![time].into();
        }
        let samples =
            SeriesSamples { timestamps: shared.clone(), values: vec![value], ..SeriesSamples::default() };
        found.push(Found { selected: *selected, order, piece: Piece { dynamic: None, samples } });
    }
}

impl SeriesSource for MetricSource {
    fn select(&self, request: &SelectRequest, budget: &Budget) -> Result<Vec<SeriesSamples>, ExecError> {
        let plan = self.plan(request, budget)?;
        let mut found = self.read(request, &plan, budget)?;
        let order = in_order(&found, &plan.selected);
        let mut out: Vec<SeriesSamples> = Vec::with_capacity(order.len());
        let mut joined = JoinedTimes::default();
        for of_series in order.chunk_by(|a, b| (a.place, a.dynamic) == (b.place, b.dynamic)) {
            let selected =
                of_series.first().and_then(|key| found.get(key.piece as usize)).map(|f| f.selected);
            let Some(of) = selected.and_then(|number| plan.selected.get(number as usize)) else { continue };
            let mut take = |key: &Key| {
                found
                    .get_mut(key.piece as usize)
                    .map(|f| std::mem::take(&mut f.piece.samples))
                    .unwrap_or_default()
            };
            let mut samples = match of_series {
                [one] => take(one),
                several => join(several.iter().map(take).collect(), &mut joined),
            };
            if of.is_delta {
                delta::accumulate(&mut samples);
                delta::cut_before(&mut samples, request.start_ms);
            }
            if !samples.is_empty() {
                samples.labels = series_labels(&of.family, of_series.first().and_then(|key| key.dynamic));
                out.push(samples);
            }
        }
        if plan.selected.iter().any(|of| of.family.form.dynamic_label().is_some()) {
            out.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        // Stored series that differ in what Prometheus does not see are one series.
        if out.windows(2).any(|pair| matches!(pair, [a, b] if a.labels == b.labels)) {
            out = join_equal(out);
        }
        Ok(out)
    }
}

/// Where a piece goes. Pieces are large, and keys are sorted in their stead.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// Of its family in the order of labels.
    place: u32,
    dynamic: Option<u64>,
    /// Of its part and run.
    order: u32,
    /// Its number among the pieces.
    piece: u32,
}

/// The pieces series by series, those of one series in the order of parts and runs.
fn in_order(found: &[Found], selected: &[Selected]) -> Vec<Key> {
    let key = |(piece, found): (u32, &Found)| Key {
        place: selected.get(found.selected as usize).map_or(u32::MAX, |of| of.place),
        dynamic: found.piece.dynamic,
        order: found.order as u32,
        piece,
    };
    let mut keys: Vec<Key> = (0..).zip(found).map(key).collect();
    if !keys.is_sorted() {
        keys.sort_unstable();
    }
    keys
}

/// The labels of one series of a family.
pub(super) fn series_labels(family: &Family, dynamic: Option<u64>) -> Labels {
    match (family.form.dynamic_label(), dynamic) {
        (Some(name), Some(bits)) => family.labels.with(name, &number_text(f64::from_bits(bits))),
        _ => family.labels.clone(),
    }
}

fn join_equal(series: Vec<SeriesSamples>) -> Vec<SeriesSamples> {
    let mut out: Vec<SeriesSamples> = Vec::with_capacity(series.len());
    for next in series {
        match out.last_mut() {
            Some(last) if last.labels == next.labels => {
                let labels = next.labels.clone();
                *last = join(vec![std::mem::take(last), next], &mut JoinedTimes::default());
                last.labels = labels;
            }
            _ => out.push(next),
        }
    }
    out
}

/// The times of the pieces put together last: series that share their times in every piece share them joined.
#[derive(Default)]
struct JoinedTimes {
    pieces: Vec<Times>,
    joined: Times,
}

impl JoinedTimes {
    fn of(&mut self, pieces: &[SeriesSamples]) -> Times {
        let is_same = |(known, piece): (&Times, &SeriesSamples)| known.is_same(&piece.timestamps);
        if self.pieces.len() != pieces.len() || !self.pieces.iter().zip(pieces).all(is_same) {
            self.joined = pieces.iter().flat_map(|piece| piece.timestamps.iter().copied()).collect();
            self.pieces = pieces.iter().map(|piece| piece.timestamps.clone()).collect();
        }
        self.joined.clone()
    }
}

/// Puts pieces of one series together in time order; of equal times the later piece counts.
fn join(mut pieces: Vec<SeriesSamples>, joined: &mut JoinedTimes) -> SeriesSamples {
    if pieces.len() == 1 {
        return pieces.pop().unwrap_or_default();
    }
    let in_order = pieces.windows(2).all(|pair| match pair {
        [a, b] => {
            is_before(&a.timestamps, &b.timestamps) && a.histograms.is_empty() && b.histograms.is_empty()
        }
        _ => true,
    });
    let mut out = SeriesSamples::default();
    if in_order {
        out.timestamps = joined.of(&pieces);
        out.values.reserve_exact(out.timestamps.len());
        for piece in pieces {
            out.values.extend(piece.values);
            out.start_timestamps.extend(piece.start_timestamps);
        }
        return out;
    }
    let mut floats: Vec<(i64, usize, f64, i64)> = Vec::new();
    let mut histograms: Vec<(i64, usize, _, i64)> = Vec::new();
    let (mut has_starts, mut has_histogram_starts) = (false, false);
    for (order, piece) in pieces.into_iter().enumerate() {
        has_starts |= !piece.start_timestamps.is_empty();
        has_histogram_starts |= !piece.histogram_start_timestamps.is_empty();
        for (at, (time, value)) in piece.timestamps.iter().zip(&piece.values).enumerate() {
            floats.push((*time, order, *value, piece.start_timestamps.get(at).copied().unwrap_or_default()));
        }
        for (at, (time, histogram)) in piece.histograms.into_iter().enumerate() {
            let start = piece.histogram_start_timestamps.get(at).copied().unwrap_or_default();
            histograms.push((time, order, histogram, start));
        }
    }
    // Later pieces first among equal times, so that they stay.
    floats.sort_by_key(|(time, order, ..)| (*time, std::cmp::Reverse(*order)));
    floats.dedup_by_key(|(time, ..)| *time);
    histograms.sort_by_key(|(time, order, ..)| (*time, std::cmp::Reverse(*order)));
    histograms.dedup_by_key(|(time, ..)| *time);
    out.timestamps = floats.iter().map(|(time, ..)| *time).collect();
    for (_, _, value, start) in floats {
        out.values.push(value);
        if has_starts {
            out.start_timestamps.push(start);
        }
    }
    for (time, _, histogram, start) in histograms {
        out.histograms.push((time, histogram));
        if has_histogram_starts {
            out.histogram_start_timestamps.push(start);
        }
    }
    out
}

fn is_before(a: &[i64], b: &[i64]) -> bool {
    match (a.last(), b.first()) {
        (Some(last), Some(first)) => last < first,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(times: &[i64]) -> SeriesSamples {
        let values = times.iter().map(|time| *time as f64).collect();
        SeriesSamples { timestamps: times.to_vec().into(), values, ..SeriesSamples::default() }
    }

    #[test]
    fn joined_times_are_shared_where_those_of_all_pieces_are_the_same() {
        let mut joined = JoinedTimes::default();
        let mut join =
            |pieces: &[&[i64]]| join(pieces.iter().map(|times| piece(times)).collect(), &mut joined);
        let (a, b, c) = (join(&[&[1, 2], &[3]]), join(&[&[1, 2], &[3]]), join(&[&[1, 2], &[4]]));
        assert_eq!((&*a.timestamps, &*c.timestamps), (&[1, 2, 3][..], &[1, 2, 4][..]));
        assert!(std::ptr::eq(&*a.timestamps, &*b.timestamps));
        assert_eq!(
            (a.values, b.values, c.values),
            (vec![1.0, 2.0, 3.0], vec![1.0, 2.0, 3.0], vec![1.0, 2.0, 4.0])
        );
        // Of equal times the later piece counts, wherever it lies.
        assert_eq!(&*join(&[&[2, 5], &[1, 2]]).timestamps, [1, 2, 5]);
    }
}
