//! One side of the comparison: the spans of a window as trees, with what happened in each and the time that was its own.
//!
//! Own time: at every moment the time of a trace belongs to the span that is deepest among those that are open. A span that waits
//! for one below it has none, and neither has one that waits beside it, as reactive servers do.

use std::collections::BTreeSet;

use ahash::AHashMap;
use throughline_model::{SpanId, TraceId};

use super::vocabulary::{Feature, Operation, Spender, Vocabulary};

/// No span.
pub(super) const NONE: u32 = u32::MAX;
/// Spans below each other beyond this are damage or a loop, and count as this deep.
const DEPTH_MAX: u32 = 512;
/// Features of one span that are looked at.
const FEATURES_MAX: usize = 64;

/// A span as it was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) parent: Option<SpanId>,
    pub(super) service: u32,
    pub(super) name: u32,
    pub(super) resource: u32,
    pub(super) kind: u8,
    pub(super) failed: bool,
    pub(super) start: i64,
    pub(super) end: i64,
    /// How many spans it stands for, one where nothing says so.
    pub(super) adjusted: f64,
}

/// A span in its tree.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) row: Row,
    pub(super) trace: u32,
    pub(super) parent: u32,
    pub(super) depth: u32,
    pub(super) own_ns: i64,
    pub(super) operation: u32,
    pub(super) spender: u32,
    /// Sorted numbers.
    pub(super) features: Vec<u32>,
}

/// What a trace counts where not all were kept, or not all were read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Weight {
    /// In a share of calls: less than one where more traces of its kind were taken than of others, more where it stands for such as
    /// were not kept.
    pub(super) share: f64,
    /// Whether it is one of those that were taken without regard to what they are like.
    pub(super) is_even: bool,
    /// Among those, what it counts: for how many a sampler kept it.
    pub(super) adjusted: f64,
}

impl Weight {
    /// Of a trace that is one of all.
    pub(super) const ONE: Weight = Weight { share: 1.0, is_even: true, adjusted: 1.0 };

    /// Of a trace that was kept by a sampler. Spans that came late say nothing of that, and those before a service that samples by
    /// itself something else: the trace is as rare as the rarest of them.
    pub(super) fn kept(rows: &[Row]) -> Weight {
        let adjusted = rows.iter().map(|row| row.adjusted).fold(1.0, f64::max);
        Weight { share: adjusted, adjusted, ..Weight::ONE }
    }
}

/// A trace of the side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trace {
    pub(super) weight: Weight,
    pub(super) id: TraceId,
    pub(super) start: i64,
    pub(super) end: i64,
}

/// All of a side.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    pub(super) spans: Vec<Span>,
    pub(super) traces: Vec<Trace>,
    /// Whether any trace stands for more than itself.
    pub(super) is_adjusted: bool,
    /// Spans, those deepest in their trees first: whoever goes along meets children before parents.
    pub(super) deepest_first: Vec<u32>,
    /// Children of each span: from where in `children`.
    child_starts: Vec<u32>,
    children: Vec<u32>,
}

impl Side {
    /// Trees out of rows, in any order; `weigh` says of the rows of one trace what it counts, and nothing where it is not wanted.
    pub(super) fn new(
        mut rows: Vec<Row>,
        weigh: impl Fn(&[Row]) -> Option<Weight>,
        vocabulary: &mut Vocabulary,
    ) -> Side {
        // Of a span that lies in two places that which stands for most; positive numbers are in the order of their bits.
        rows.sort_unstable_by_key(|row| {
            (row.trace, row.start, row.span, std::cmp::Reverse(row.adjusted.to_bits()))
        });
        rows.dedup_by_key(|row| (row.trace, row.span));
        let mut side = Side::default();
        let mut places: AHashMap<SpanId, u32> = AHashMap::new();
        for of_trace in rows.chunk_by(|a, b| a.trace == b.trace) {
            if let Some(weight) = weigh(of_trace) {
                side.add_trace(of_trace, weight, &mut places);
            }
        }
        side.link();
        side.name_operations(vocabulary);
        side
    }

    fn add_trace(&mut self, rows: &[Row], weight: Weight, places: &mut AHashMap<SpanId, u32>) {
        let Some(first_row) = rows.first() else { return };
        let (first, number) = (self.spans.len() as u32, self.traces.len() as u32);
        places.clear();
        places.extend((first..).zip(rows).map(|(at, row)| (row.span, at)));
        for (at, row) in (first..).zip(rows) {
            let parent =
                row.parent.and_then(|parent| places.get(&parent).copied()).filter(|parent| *parent != at);
            self.spans.push(Span {
                row: *row,
                trace: number,
                parent: parent.unwrap_or(NONE),
                depth: 0,
                own_ns: 0,
                operation: NONE,
                spender: NONE,
                features: Vec::new(),
            });
        }
        let last = self.spans.len() as u32;
        self.set_depths(first, last);
        self.set_own_times(first, last);
        let end = rows.iter().map(|row| row.end).max().unwrap_or(first_row.end);
        self.is_adjusted |= weight.adjusted > 1.0;
        self.traces.push(Trace { weight, id: first_row.trace, start: first_row.start, end });
    }

    fn set_depths(&mut self, first: u32, last: u32) {
        for at in first..last {
            let (mut depth, mut up) = (0, at);
            while let Some(parent) = self.span(up).map(|span| span.parent).filter(|parent| *parent != NONE)
                && depth < DEPTH_MAX
            {
                depth += 1;
                up = parent;
            }
            if let Some(span) = self.spans.get_mut(at as usize) {
                span.depth = depth;
                if depth == DEPTH_MAX {
                    // A loop has no top: cut it here.
                    span.parent = NONE;
                }
            }
        }
    }

    fn set_own_times(&mut self, first: u32, last: u32) {
        let spans = self.spans.get_mut(first as usize..last as usize).unwrap_or_default();
        let mut events: Vec<(i64, bool, u32)> = Vec::with_capacity(spans.len() * 2);
        for (at, span) in (0..).zip(&*spans) {
            events.push((span.row.start, true, at));
            events.push((span.row.end.max(span.row.start), false, at));
        }
        events.sort_unstable();
        let mut open: BTreeSet<(u32, i64, u32)> = BTreeSet::new();
        let mut before = i64::MIN;
        for (time, opens, at) in events {
            if let Some((.., deepest)) = open.last().copied()
                && let Some(span) = spans.get_mut(deepest as usize)
            {
                span.own_ns = span.own_ns.saturating_add(time.saturating_sub(before));
            }
            before = time;
            let Some(span) = spans.get(at as usize) else { continue };
            let key = (span.depth, span.row.start, at);
            match opens {
                true => _ = open.insert(key),
                false => _ = open.remove(&key),
            }
        }
    }

    fn link(&mut self) {
        let mut counts = vec![0u32; self.spans.len() + 1];
        for span in &self.spans {
            if let Some(count) =
                counts.get_mut((span.parent as usize).saturating_add(1)).filter(|_| span.parent != NONE)
            {
                *count += 1;
            }
        }
        let mut total = 0;
        for count in &mut counts {
            total += *count;
            *count = total;
        }
        let mut next = counts.clone();
        let mut children = vec![0u32; total as usize];
        for (at, span) in (0..).zip(&self.spans) {
            if span.parent != NONE
                && let Some(place) = next.get_mut(span.parent as usize)
                && let Some(child) = children.get_mut(*place as usize)
            {
                *child = at;
                *place += 1;
            }
        }
        (self.child_starts, self.children) = (counts, children);
        self.deepest_first = (0..self.spans.len() as u32).collect();
        let spans = &self.spans;
        let depth = |at: &u32| spans.get(*at as usize).map_or(0, |span| span.depth);
        self.deepest_first.sort_by_key(|at| (std::cmp::Reverse(depth(at)), *at));
    }

    fn name_operations(&mut self, vocabulary: &mut Vocabulary) {
        for at in 0..self.spans.len() as u32 {
            let Some(span) = self.span(at) else { continue };
            let (service, name) = (span.row.service, span.row.name);
            let children = || self.children(at).iter().filter_map(|child| self.span(*child));
            let callee = children().next().map(|child| (child.row.service, child.row.name));
            let is_remote = callee.is_some() && children().all(|child| child.row.service != service);
            let is_one = children().all(|child| Some((child.row.service, child.row.name)) == callee);
            let is_one_service =
                children().all(|child| Some(child.row.service) == callee.map(|(service, _)| service));
            let operation = Operation { service, name, callee: callee.filter(|_| is_remote && is_one) };
            let spender = match callee {
                Some((callee, _)) if is_remote && is_one_service => Spender::Way { caller: service, callee },
                _ => Spender::Own { service, name },
            };
            let numbers = (vocabulary.operations.number(operation), vocabulary.spenders.number(spender));
            if let Some(span) = self.spans.get_mut(at as usize) {
                (span.operation, span.spender) = numbers;
            }
        }
    }

    /// Adds what happened in each span: lines that were read, calls, and failure.
    pub(super) fn set_features(&mut self, lines: &[(u32, u32)], vocabulary: &mut Vocabulary) {
        for (at, feature) in lines {
            if let Some(span) = self.spans.get_mut(*at as usize) {
                span.features.push(*feature);
            }
        }
        for at in 0..self.spans.len() as u32 {
            let Some(span) = self.span(at) else { continue };
            let is_pure_call = vocabulary.operations.get(span.operation).is_some_and(|o| o.callee.is_some());
            let mut more: Vec<u32> = Vec::new();
            if span.row.failed {
                more.push(vocabulary.features.number(Feature::Failed));
            }
            if !is_pure_call {
                let calls = self
                    .children(at)
                    .iter()
                    .filter_map(|child| self.span(*child))
                    .map(|child| child.operation);
                more.extend(calls.map(|operation| vocabulary.features.number(Feature::Call(operation))));
            }
            if let Some(span) = self.spans.get_mut(at as usize) {
                span.features.extend(more);
                span.features.sort_unstable();
                span.features.dedup();
                span.features.truncate(FEATURES_MAX);
            }
        }
    }

    pub(super) fn span(&self, at: u32) -> Option<&Span> {
        self.spans.get(at as usize)
    }

    /// What the trace of a span counts.
    pub(super) fn weight(&self, span: &Span) -> Weight {
        self.traces.get(span.trace as usize).map_or(Weight::ONE, |trace| trace.weight)
    }

    pub(super) fn children(&self, at: u32) -> &[u32] {
        let bounds = self.child_starts.get(at as usize).zip(self.child_starts.get(at as usize + 1));
        let Some((start, end)) = bounds else { return &[] };
        self.children.get(*start as usize..*end as usize).unwrap_or_default()
    }

    /// The place of each span by its ids.
    pub(super) fn places(&self) -> AHashMap<(TraceId, SpanId), u32> {
        (0..).zip(&self.spans).map(|(at, span)| ((span.row.trace, span.row.span), at)).collect()
    }

    /// How many different traces these spans are of; they ascend.
    pub(super) fn traces_of(&self, spans: &[u32]) -> usize {
        let mut n = 0;
        let mut last = NONE;
        for trace in spans.iter().filter_map(|at| self.span(*at)).map(|span| span.trace) {
            n += usize::from(trace != last);
            last = trace;
        }
        n
    }
}
