//! Spans that stand for others: a few, spread over the time of a query, each of another trace.

use std::collections::HashSet;

use throughline_exec::ExecError;
use throughline_model::TraceId;

use super::Intervals;
use crate::answer::MetricExemplar;
use crate::eval::fields::{FieldRef, Rows};
use crate::source::TraceRun;
use crate::value::Value;

/// Exemplars of one part of the time.
const PER_PART: usize = 2;

/// The exemplars of a query so far.
pub(crate) struct Exemplars {
    left: usize,
    /// How many more each part of the time takes.
    parts: Vec<usize>,
    start_ns: i64,
    part_ns: i64,
    /// From when to when no more are taken: the part that was found full last.
    full: (i64, i64),
    traces: HashSet<TraceId>,
    /// With the number of the series.
    pub found: Vec<(usize, MetricExemplar)>,
}

impl Exemplars {
    pub fn new(most: usize, intervals: &Intervals) -> Exemplars {
        let n_parts = most.div_ceil(PER_PART).max(1);
        let length = intervals.end_ns.saturating_sub(intervals.start_ns);
        let part_ns = (length / i64::try_from(n_parts).unwrap_or(i64::MAX)).saturating_add(1).max(1);
        Exemplars {
            left: most,
            parts: vec![PER_PART; n_parts],
            start_ns: intervals.start_ns,
            part_ns,
            full: (i64::MAX, i64::MIN),
            traces: HashSet::new(),
            found: Vec::new(),
        }
    }

    fn part(&mut self, time_ns: i64) -> Option<&mut usize> {
        let part = usize::try_from(time_ns.saturating_sub(self.start_ns) / self.part_ns).ok()?;
        self.parts.get_mut(part)
    }

    /// Whether a span of this time would be taken.
    pub fn wants(&mut self, time_ns: i64) -> bool {
        if self.left == 0 || (self.full.0 <= time_ns && time_ns < self.full.1) {
            return false;
        }
        let wants = self.part(time_ns).is_some_and(|left| *left > 0);
        if !wants {
            let before = time_ns.saturating_sub(self.start_ns).div_euclid(self.part_ns);
            let start = self.start_ns.saturating_add(before.saturating_mul(self.part_ns));
            self.full = (start, start.saturating_add(self.part_ns));
        }
        wants
    }

    /// Takes one that was found elsewhere, if there is room and none of its trace yet.
    pub fn take(&mut self, series: usize, exemplar: MetricExemplar) {
        if !self.wants(exemplar.time_ns) || !self.traces.insert(exemplar.trace_id) {
            return;
        }
        self.left -= 1;
        if let Some(left) = self.part(exemplar.time_ns) {
            *left -= 1;
        }
        self.found.push((series, exemplar));
    }

    /// Takes a span of a batch, if there is none of its trace yet.
    pub fn add(
        &mut self,
        rows: &Rows<'_>,
        row: u32,
        series: usize,
        (time_ns, value): (i64, f64),
        shown: &[(String, FieldRef)],
    ) -> Result<(), ExecError> {
        let runs = rows.runs()?;
        let Some(run) = runs.get(runs.partition_point(|run| run.end <= row)) else { return Ok(()) };
        let run: TraceRun = *run;
        let Some(head) = rows.batch.heads(&[run])?.first().copied() else { return Ok(()) };
        if !self.traces.insert(head.id) {
            return Ok(());
        }
        let mut labels: Vec<(String, Value)> = Vec::new();
        for (name, field) in shown {
            if let Some(value) = rows.get(*field, row as usize)?.owned() {
                labels.push((name.clone(), value));
            }
        }
        self.left -= 1;
        if let Some(left) = self.part(time_ns) {
            *left -= 1;
        }
        self.found.push((series, MetricExemplar { trace_id: head.id, labels, value, time_ns }));
        Ok(())
    }
}
