//! A sample of the traces of a window: spread evenly over it, whole, and the same wherever the spans lie.
//!
//! 1. The window is cut into slots of ten seconds, and so many of them are looked at, at equal distances, that reading them takes
//!    little: blocks keep together what began in the same ten seconds.
//! 2. Of the traces that began in those slots some are taken, by a hash of their ids: a share that follows from how many spans may be
//!    compared. Of traces with an error more are taken, because there are few of them; what they say of shares is weighed
//!    accordingly, and of times they say nothing ([`Weight`]). What a trace stands for because a sampler kept it counts beside that.
//! 3. A trace that lies in several places is put together from all of them.

use ahash::{AHashMap, AHashSet};
use throughline_model::TraceId;
use throughline_store::{More, Snapshot, SpanColumn, SpanRows, SpanVisitor, TimeRange};

use super::read::{Gathered, RowColumns, SPANS_MAX, TAIL_NS, Through, span_scan};
use super::side::{Row, Weight};

/// Traces that began within these are near each other in blocks.
const SLOT_NS: i64 = 10_000_000_000;
/// Spans of the slots that are looked at.
const LOOKED_AT_MAX: u64 = 120_000;
/// The same where only some of the traces are wanted, so that enough of those are among them.
const LOOKED_AT_NARROW_MAX: u64 = 500_000;
/// At least so many slots are looked at, if there are so many.
const SLOTS_MIN: u64 = 12;
/// Spans of traces with errors that are taken beside the others.
const FAILED_SPANS_MAX: u64 = 10_000;
/// Traces that lie in several places: more are left out.
const TORN_MAX: usize = 2_000;
/// So many of them are read together.
const TORN_TOGETHER: usize = 256;

/// What was taken of the traces that began in the slots that were looked at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sampled {
    slots: usize,
    slots_there: usize,
    /// Traces are taken whose hash is below.
    all: Ladder,
    /// Traces with an error are taken, too, whose hash is below.
    failed: Ladder,
    torn_left_out: usize,
}

/// A share that falls in steps until what is taken fits. Which step fits does not depend on the order in which it is filled.
#[derive(Clone, Debug, PartialEq)]
struct Ladder {
    below: u64,
    spans: u64,
    spans_max: u64,
}

impl Ladder {
    fn new(spans_max: u64) -> Ladder {
        Ladder { below: u64::MAX, spans: 0, spans_max }
    }

    fn takes(&self, hash: u64) -> bool {
        hash <= self.below
    }

    fn share(&self) -> f64 {
        self.below as f64 / u64::MAX as f64
    }
}

impl Sampled {
    /// What a trace counts.
    pub(super) fn weight(&self, rows: &[Row]) -> Weight {
        let Some(first) = rows.first() else { return Weight::ONE };
        let is_even = self.all.takes(first.trace.fingerprint());
        let is_failed = rows.iter().any(|row| row.failed);
        let share = if is_failed { (self.all.share() / self.failed.share()).min(1.0) } else { 1.0 };
        let kept = Weight::kept(rows);
        Weight { share: share * kept.share, is_even, ..kept }
    }

    /// How it was taken, in words.
    pub(super) fn sentence(&self) -> String {
        let one_in = |ladder: &Ladder| match ladder.below {
            u64::MAX => "all".to_owned(),
            _ => format!("one in {:.1}", 1.0 / ladder.share()),
        };
        let slots = match self.slots == self.slots_there {
            true => "from all of the window".to_owned(),
            false => format!(
                "from {} of its {} slots of ten seconds, at equal distances",
                self.slots, self.slots_there
            ),
        };
        let mut sentence = format!("{} of them {slots}", one_in(&self.all));
        if self.failed.below > self.all.below {
            sentence +=
                &format!(", and of those with an error {} (weighed accordingly)", one_in(&self.failed));
        }
        if self.torn_left_out > 0 {
            sentence += &format!("; {} traces that lie in several places were left out", self.torn_left_out);
        }
        sentence
    }
}

/// Takes a sample of a window with so many spans.
pub(super) fn gather(
    snapshot: &Snapshot,
    window: TimeRange,
    spans_there: u64,
    through: &Through,
    gathered: &mut Gathered,
) {
    let is_narrow = through.service.is_some() || through.root.is_some();
    let looked_at = if is_narrow { LOOKED_AT_NARROW_MAX } else { LOOKED_AT_MAX };
    let (slots, slots_there) = slots(window, spans_there, looked_at);
    let mut taken = Taken {
        snapshot,
        through,
        gathered,
        slot: window,
        traces: AHashMap::new(),
        torn: AHashSet::new(),
        sampled: Sampled {
            slots: slots.len(),
            slots_there,
            all: Ladder::new(SPANS_MAX),
            failed: Ladder::new(FAILED_SPANS_MAX),
            torn_left_out: 0,
        },
    };
    for slot in merged(slots) {
        taken.slot = slot;
        // In memory a trace is as whole as the range reaches.
        let range = TimeRange { start: slot.start, end: slot.end.saturating_add(TAIL_NS) };
        let partial = snapshot.scan_spans(&span_scan(range), &mut taken);
        taken.gathered.partial.extend(partial);
        taken.mend();
    }
    taken.finish();
}

/// The slots of a window that are looked at, and how many there are.
fn slots(window: TimeRange, spans_there: u64, looked_at_max: u64) -> (Vec<TimeRange>, usize) {
    let first = window.start.div_euclid(SLOT_NS);
    let last = window.end.saturating_sub(1).div_euclid(SLOT_NS);
    let there = u64::try_from(last.saturating_sub(first)).unwrap_or(0) + 1;
    let wanted = (u128::from(there) * u128::from(looked_at_max)).div_ceil(u128::from(spans_there.max(1)));
    let wanted = u64::try_from(wanted).unwrap_or(there).clamp(SLOTS_MIN.min(there), there);
    let slot = |number: u64| {
        // The middle one of each of as many equal parts as are wanted.
        let at = (u128::from(number) * 2 + 1) * u128::from(there) / (u128::from(wanted) * 2);
        let start = (first + at as i64).saturating_mul(SLOT_NS);
        TimeRange { start: start.max(window.start), end: start.saturating_add(SLOT_NS).min(window.end) }
    };
    ((0..wanted).map(slot).collect(), usize::try_from(there).unwrap_or(usize::MAX))
}

/// Slots that follow each other as one.
fn merged(slots: Vec<TimeRange>) -> Vec<TimeRange> {
    let mut out: Vec<TimeRange> = Vec::new();
    for slot in slots {
        match out.last_mut() {
            Some(last) if last.end == slot.start => last.end = slot.end,
            _ => out.push(slot),
        }
    }
    out
}

/// A trace that was taken.
struct Trace {
    is_failed: bool,
    rows: Vec<Row>,
}

struct Taken<'a> {
    snapshot: &'a Snapshot,
    through: &'a Through,
    gathered: &'a mut Gathered,
    slot: TimeRange,
    traces: AHashMap<TraceId, Trace>,
    /// Traces that lie in several places, a part of which began in the slot.
    torn: AHashSet<TraceId>,
    sampled: Sampled,
}

impl SpanVisitor for Taken<'_> {
    fn rows(&mut self, rows: &SpanRows<'_>) -> More {
        if let Err(error) = self.take(rows) {
            self.gathered.partial.push(error.to_string());
        }
        More::All
    }
}

impl Taken<'_> {
    fn take(&mut self, rows: &SpanRows<'_>) -> Result<(), throughline_store::Error> {
        let runs = rows.runs()?;
        let traces = rows.traces(&runs)?;
        let mut of_slot = runs
            .iter()
            .zip(&traces)
            .filter(|(_, trace)| self.slot.contains(trace.start) && !self.traces.contains_key(&trace.id))
            .peekable();
        if of_slot.peek().is_none() {
            return Ok(());
        }
        let statuses = rows.column(SpanColumn::Status, None)?;
        let may_be = |ladder: &Ladder, id: TraceId| ladder.takes(id.fingerprint());
        let chosen: Vec<_> = of_slot
            .filter(|((first, last, _), trace)| {
                may_be(&self.sampled.all, trace.id)
                    || ((*first as usize..*last as usize).any(|row| statuses.int(row) == Some(2))
                        && may_be(&self.sampled.failed, trace.id))
            })
            .collect();
        let columns = RowColumns::read(|column| rows.column(column, None), &mut self.gathered.names)?;
        let asked: Vec<_> = chosen.iter().map(|(run, trace)| (**run, trace.id)).collect();
        let whole = rows.are_whole(&asked)?;
        for ((run, trace), is_whole) in chosen.into_iter().zip(whole) {
            if !is_whole {
                self.torn.insert(trace.id);
                continue;
            }
            let (first, last, _) = *run;
            let of_trace: Vec<Row> =
                (first as usize..last as usize).filter_map(|row| columns.row(trace.id, row)).collect();
            self.add(trace.id, of_trace);
        }
        Ok(())
    }

    /// Puts together what lies in several places.
    fn mend(&mut self) {
        let mut torn: Vec<TraceId> = self.torn.drain().collect();
        torn.sort_unstable_by_key(|id| (id.fingerprint(), *id));
        let room = TORN_MAX.saturating_sub(self.sampled.torn_left_out);
        self.sampled.torn_left_out += torn.len().saturating_sub(room);
        torn.truncate(room);
        for ids in torn.chunks(TORN_TOGETHER) {
            if let Err(error) = self.add_whole(ids) {
                self.gathered.partial.push(error.to_string());
            }
        }
    }

    fn add_whole(&mut self, ids: &[TraceId]) -> Result<(), throughline_store::Error> {
        let snapshot = self.snapshot;
        for (id, spans) in ids.iter().zip(snapshot.traces_spans(ids)?) {
            let mut rows = Vec::new();
            for part in 0..spans.parts() {
                let columns =
                    RowColumns::read(|column| spans.column(part, column), &mut self.gathered.names)?;
                rows.extend((0..).map_while(|row| columns.row(*id, row)));
            }
            self.gathered.partial.extend(spans.partial.iter().cloned());
            self.add(*id, rows);
        }
        Ok(())
    }

    fn add(&mut self, id: TraceId, mut rows: Vec<Row>) {
        rows.sort_unstable_by_key(|row| (row.start, row.span));
        rows.dedup_by_key(|row| row.span);
        let Some(first) = rows.first() else { return };
        let names = &self.gathered.names;
        let is_wanted = self.slot.contains(first.start)
            && self.through.root.as_ref().is_none_or(|(service, name)| {
                names.texts.name(first.service) == service && names.texts.name(first.name) == name
            })
            && self
                .through
                .service
                .as_ref()
                .is_none_or(|service| rows.iter().any(|row| names.texts.name(row.service) == service));
        if !is_wanted {
            return;
        }
        let is_failed = rows.iter().any(|row| row.failed);
        let (hash, n_spans) = (id.fingerprint(), rows.len() as u64);
        // Shares may have fallen since the trace was chosen.
        let is_even = self.sampled.all.takes(hash);
        let is_extra = is_failed && self.sampled.failed.takes(hash);
        if is_even {
            self.sampled.all.spans += n_spans;
        }
        if is_extra {
            self.sampled.failed.spans += n_spans;
        }
        if !is_even && !is_extra {
            return;
        }
        self.traces.insert(id, Trace { is_failed, rows });
        let is_over = |ladder: &Ladder| ladder.spans > ladder.spans_max;
        if is_over(&self.sampled.all) || is_over(&self.sampled.failed) {
            self.step_down();
        }
    }

    /// Lowers shares until what is taken fits, and lets go what is above.
    fn step_down(&mut self) {
        let Sampled { all, failed, .. } = &mut self.sampled;
        let spans_of = |ladder: &Ladder, only_failed: bool| -> u64 {
            let of = self
                .traces
                .iter()
                .filter(|(id, trace)| ladder.takes(id.fingerprint()) && (trace.is_failed || !only_failed));
            of.map(|(_, trace)| trace.rows.len() as u64).sum()
        };
        for (ladder, only_failed) in [(&mut *all, false), (&mut *failed, true)] {
            while ladder.spans > ladder.spans_max && ladder.below > 1 {
                ladder.below = ladder.below / 8 * 7;
                ladder.spans = spans_of(ladder, only_failed);
            }
        }
        let (all, failed) = (all.clone(), failed.clone());
        self.traces.retain(|id, trace| {
            let hash = id.fingerprint();
            all.takes(hash) || (trace.is_failed && failed.takes(hash))
        });
    }

    fn finish(self) {
        let mut traces: Vec<(TraceId, Trace)> = self.traces.into_iter().collect();
        traces.sort_unstable_by_key(|(id, _)| *id);
        self.gathered.rows.extend(traces.into_iter().flat_map(|(_, trace)| trace.rows));
        self.gathered.sampled = Some(self.sampled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn slots_lie_at_equal_distances_over_the_whole_window() {
        let window = TimeRange { start: 5 * SECOND, end: 3_605 * SECOND };
        let (few, there) = slots(window, 5_000_000, 240_000);
        assert_eq!((few.len(), there), (18, 361));
        let middles: Vec<i64> = few.iter().map(|slot| (slot.start + slot.end) / 2).collect();
        let gaps: Vec<i64> = middles.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| (190 * SECOND..=210 * SECOND).contains(gap)), "{gaps:?}");
        assert!(middles[0] < 120 * SECOND && middles[17] > 3_480 * SECOND);
        let (all, there) = slots(window, 1_000, 240_000);
        assert_eq!((all.len(), there, merged(all)), (361, 361, vec![window]));
        let (short, _) = slots(TimeRange { start: 0, end: 20 * SECOND }, 5_000_000, 240_000);
        assert_eq!(short.len(), 2);
    }
}
