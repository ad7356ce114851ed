//! What the spans of one trace say together: the tree, self times, the critical path, the culprits.
//!
//! [`Analyser::analyse`] takes the spans of one trace in any order and
//!
//! 1. finds each span's parent by id, where several have it the first of them to start; a span that is its own ancestor loses its parent, so that the result is a
//!    forest whatever was sent;
//! 2. takes a span's *self time* as its duration without the union of its children's, clipped to its own bounds;
//! 3. walks the *critical path* backwards from the root's end: the child that ended last before the cursor is on it,
//!    with the part of it that lies within its parent's, and what no child covers is the span's own *critical time*,
//!    so that critical times add up to the root's duration, whatever the clocks say;
//! 4. charges the trace's latency to the span with the most critical time, and its error to the deepest span in
//!    error, the cause rather than its echo in the callers.
//!
//! Nothing recurses: a trace of 100,000 spans in one line is as safe as a flat one.

use crate::SpanId;

/// What the analysis needs of a span.
#[derive(Clone, Copy, Debug)]
pub struct SpanTiming {
    /// Its id.
    pub span_id: SpanId,
    /// Its parent's id.
    pub parent_span_id: Option<SpanId>,
    /// Start, nanoseconds.
    pub start: i64,
    /// Duration, nanoseconds; negative counts as zero.
    pub duration: i64,
    /// Whether its status is error.
    pub error: bool,
}

impl SpanTiming {
    /// When it ends; a span that ends before it starts does so at its start.
    pub fn end(&self) -> i64 {
        self.start.saturating_add(self.duration.max(0))
    }
}

/// The result for one trace. Vectors are parallel to the spans that were given; spans are named by position.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Analysis {
    /// Each span's parent.
    pub parent: Vec<Option<u32>>,
    /// How many ancestors each span has.
    pub depth: Vec<u32>,
    /// Each span's self time, nanoseconds.
    pub self_time: Vec<i64>,
    /// Each span's share of the critical path, nanoseconds; zero off the path.
    pub critical_time: Vec<i64>,
    /// Whether each span is on the critical path.
    pub on_critical_path: Vec<bool>,
    /// The root: the earliest span without a parent id, else the earliest orphan.
    pub root: Option<u32>,
    /// The span to which the latency is charged.
    pub latency_culprit: Option<u32>,
    /// The deepest span in error.
    pub error_culprit: Option<u32>,
    /// Spans that name a parent that is not here.
    pub orphans: u32,
}

impl Analysis {
    /// By how much a span begins before the one that called it at most, nanoseconds: so far at least the clocks of two services are
    /// apart; 0 where none does. `is_same` says whether two spans are of one service, which has one clock as far as is known.
    pub fn clock_skew_ns(&self, spans: &[SpanTiming], is_same: impl Fn(usize, usize) -> bool) -> i64 {
        let early = |(index, parent): (usize, &Option<u32>)| {
            let parent = (*parent)? as usize;
            let early = spans.get(parent)?.start.saturating_sub(spans.get(index)?.start);
            (early > 0 && !is_same(index, parent)).then_some(early)
        };
        self.parent.iter().enumerate().filter_map(early).max().unwrap_or_default()
    }
}

/// Analyses traces one after another, keeping its working memory.
#[derive(Default)]
pub struct Analyser {
    by_id: Vec<(SpanId, u32)>,
    /// `(parent, start, span)`, sorted: the children of a span lie together.
    children: Vec<(u32, i64, u32)>,
    first_child: Vec<u32>,
    stack: Vec<u32>,
    /// Spans of the critical path that are still to be walked, each with the part of it that is on the path.
    path: Vec<(u32, i64, i64)>,
    by_end: Vec<(i64, u32)>,
}

impl Analyser {
    /// Analyses the spans of one trace into `out`, whose memory is used again.
    pub fn analyse(&mut self, spans: &[SpanTiming], out: &mut Analysis) {
        self.find_parents(spans, out);
        self.break_cycles(spans, out);
        self.list_children(spans, out);
        self.self_times(spans, out);
        out.root = find_root(spans, out);
        self.critical_path(spans, out);
        out.latency_culprit = (0..spans.len() as u32)
            .filter(|i| out.critical_time[*i as usize] > 0)
            .max_by_key(|i| (out.critical_time[*i as usize], std::cmp::Reverse(*i)));
        out.error_culprit = (0..spans.len() as u32)
            .filter(|i| spans[*i as usize].error)
            .max_by_key(|i| (out.depth[*i as usize], std::cmp::Reverse(spans[*i as usize].start)));
    }

    fn find_parents(&mut self, spans: &[SpanTiming], out: &mut Analysis) {
        self.by_id.clear();
        self.by_id.extend(spans.iter().enumerate().map(|(index, span)| (span.span_id, index as u32)));
        self.by_id.sort_unstable();
        self.by_id.dedup_by(|later, first| {
            let place = |at: u32| (spans[at as usize].start, at);
            if later.0 == first.0 && place(later.1) < place(first.1) {
                first.1 = later.1;
            }
            later.0 == first.0
        });
        out.orphans = 0;
        out.parent.clear();
        for (index, span) in spans.iter().enumerate() {
            let parent = span.parent_span_id.and_then(|id| {
                let at = self.by_id.partition_point(|(other, _)| *other < id);
                self.by_id.get(at).filter(|(other, _)| *other == id).map(|(_, found)| *found)
            });
            out.orphans += u32::from(span.parent_span_id.is_some() && parent.is_none());
            out.parent.push(parent.filter(|parent| *parent != index as u32));
        }
    }

    /// Walks up from every span until a span of known depth; whoever meets its own walk loses its parent.
    fn break_cycles(&mut self, spans: &[SpanTiming], out: &mut Analysis) {
        const UNKNOWN: u32 = u32::MAX;
        const WALKING: u32 = u32::MAX - 1;
        out.depth.clear();
        out.depth.resize(spans.len(), UNKNOWN);
        for start in 0..spans.len() {
            self.stack.clear();
            let mut at = start;
            while out.depth[at] == UNKNOWN {
                out.depth[at] = WALKING;
                self.stack.push(at as u32);
                match out.parent[at] {
                    Some(parent) => at = parent as usize,
                    None => break,
                }
            }
            if out.depth[at] == WALKING
                && let Some(last) = self.stack.last()
            {
                out.parent[*last as usize] = None;
            }
            while let Some(span) = self.stack.pop() {
                let parent_depth = out.parent[span as usize].map(|parent| out.depth[parent as usize]);
                out.depth[span as usize] = parent_depth.map_or(0, |depth| depth + 1);
            }
        }
    }

    fn list_children(&mut self, spans: &[SpanTiming], out: &Analysis) {
        self.children.clear();
        for (index, parent) in out.parent.iter().enumerate() {
            if let Some(parent) = parent {
                self.children.push((*parent, spans[index].start, index as u32));
            }
        }
        self.children.sort_unstable();
        self.first_child.clear();
        let mut at = 0;
        for span in 0..=spans.len() as u32 {
            while self.children.get(at).is_some_and(|(parent, ..)| *parent < span) {
                at += 1;
            }
            self.first_child.push(at as u32);
        }
    }

    fn children_of(&self, span: u32) -> &[(u32, i64, u32)] {
        let (from, to) = (self.first_child[span as usize], self.first_child[span as usize + 1]);
        &self.children[from as usize..to as usize]
    }

    fn self_times(&self, spans: &[SpanTiming], out: &mut Analysis) {
        out.self_time.clear();
        for (index, span) in spans.iter().enumerate() {
            let (mut covered, mut cursor) = (0i64, span.start);
            for (_, start, child) in self.children_of(index as u32) {
                let from = (*start).max(cursor);
                let to = spans[*child as usize].end().min(span.end());
                if to > from {
                    covered = covered.saturating_add(to - from);
                    cursor = to;
                }
            }
            out.self_time.push(span.duration.max(0).saturating_sub(covered).max(0));
        }
    }

    fn critical_path(&mut self, spans: &[SpanTiming], out: &mut Analysis) {
        out.critical_time.clear();
        out.critical_time.resize(spans.len(), 0);
        out.on_critical_path.clear();
        out.on_critical_path.resize(spans.len(), false);
        let (times, on_path) = (&mut out.critical_time, &mut out.on_critical_path);
        self.walk_path(spans, out.root, |span, from, to| {
            on_path[span as usize] = true;
            times[span as usize] = times[span as usize].saturating_add(to.saturating_sub(from));
        });
    }

    /// Calls `part` with the parts of the critical path, each the span's own; a part may be empty. They cover the root, and no two
    /// of them overlap.
    fn walk_path(&mut self, spans: &[SpanTiming], root: Option<u32>, mut part: impl FnMut(u32, i64, i64)) {
        self.path.clear();
        self.path.extend(root.map(|root| (root, spans[root as usize].start, spans[root as usize].end())));
        while let Some((span, from, until)) = self.path.pop() {
            let mut by_end = std::mem::take(&mut self.by_end);
            by_end.clear();
            let ends =
                self.children_of(span).iter().map(|(.., child)| (spans[*child as usize].end(), *child));
            by_end.extend(ends);
            by_end.sort_unstable();
            let mut cursor = until;
            for (end, child) in by_end.iter().rev() {
                let child_start = spans[*child as usize].start.max(from);
                let child_end = (*end).min(cursor);
                if child_start < child_end {
                    part(span, child_end, cursor);
                    self.path.push((*child, child_start, child_end));
                    cursor = child_start;
                }
            }
            part(span, from, cursor);
            self.by_end = by_end;
        }
    }
}

fn find_root(spans: &[SpanTiming], out: &Analysis) -> Option<u32> {
    (0..spans.len() as u32).filter(|i| out.parent[*i as usize].is_none()).min_by_key(|i| {
        let span = &spans[*i as usize];
        (span.parent_span_id.is_some(), span.start, *i)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A span as `id parent start duration`, with `!` before the id for an error; parent 0 is none.
    fn timings(text: &str) -> Vec<SpanTiming> {
        text.split(',')
            .map(|span| {
                let fields: Vec<&str> = span.split_whitespace().collect();
                let id = |text: &str| SpanId::from_slice(&text.parse::<u64>().unwrap().to_be_bytes());
                SpanTiming {
                    span_id: id(fields[0].trim_start_matches('!')).unwrap(),
                    parent_span_id: id(fields[1]),
                    start: fields[2].parse().unwrap(),
                    duration: fields[3].parse().unwrap(),
                    error: fields[0].starts_with('!'),
                }
            })
            .collect()
    }

    fn check(text: &str) -> Analysis {
        let mut out = Analysis::default();
        Analyser::default().analyse(&timings(text), &mut out);
        out
    }

    #[test]
    fn clocks_are_as_far_apart_as_a_span_begins_before_its_caller() {
        let text = "1 0 100 100, 2 1 90 10, 3 1 60 10, 4 9 0 10";
        let (spans, out) = (timings(text), check(text));
        assert_eq!(out.clock_skew_ns(&spans, |_, _| false), 40);
        // One of them has the caller's clock, and of a caller that is not here nothing is known.
        assert_eq!(out.clock_skew_ns(&spans, |a, b| (a, b) == (2, 0)), 10);
        assert_eq!(out.clock_skew_ns(&spans, |_, _| true), 0);
    }

    #[test]
    fn self_time_is_without_the_union_of_children() {
        assert_eq!(check("1 0 0 100, 2 1 10 40, 3 1 30 40, 4 1 90 50").self_time, [30, 40, 40, 50]);
    }

    #[test]
    fn critical_times_add_up_to_the_root() {
        let out = check("1 0 0 100, 2 1 10 40, 3 1 30 40, 4 2 20 5");
        assert_eq!(out.critical_time, [40, 15, 40, 5]);
        assert_eq!(out.latency_culprit, Some(0));
        assert_eq!(out.critical_time.iter().sum::<i64>(), 100);
    }

    #[test]
    fn of_a_span_that_begins_before_its_parent_what_lies_within_is_on_the_path() {
        let out = check("1 0 100 100, 2 1 60 90, 3 2 50 40, 4 2 40 110");
        // Of 2 and its child 4, from 100 to 150; 3 ends before the root begins.
        assert_eq!(out.critical_time, [50, 0, 0, 50]);
        assert_eq!(out.on_critical_path, [true, true, false, true]);
        assert_eq!(check("1 0 100 100, 2 1 60 90").critical_time, [50, 50]);
        // Before, the part that lies outside of the parent made it the culprit.
        assert_eq!(check("1 0 100 100, 2 1 10 130").latency_culprit, Some(0));
    }

    #[test]
    fn parts_of_the_critical_path_cover_the_root_once_whatever_the_clocks_say() {
        let mut random = 7u64;
        let mut below = |end: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % end
        };
        for round in 0..2_000 {
            // Parents are any other span or none of them, and clocks are off by as much as spans last.
            let n = 1 + below(12);
            let spans: Vec<String> = (1..=n)
                .map(|id| format!("{id} {} {} {}", below(n + 2), 100 + below(100), below(120) as i64 - 10))
                .collect();
            let (text, mut analyser, mut out) = (spans.join(","), Analyser::default(), Analysis::default());
            let spans = timings(&text);
            analyser.analyse(&spans, &mut out);
            let root = spans[out.root.expect("a root") as usize];
            let mut parts = Vec::new();
            analyser.walk_path(&spans, out.root, |span, from, to| parts.push((from, to, span)));
            parts.retain(|(from, to, _)| from != to);
            parts.sort_unstable();
            let mut cursor = root.start;
            for (from, to, span) in parts {
                assert!(from == cursor && to > from, "round {round}: {from}-{to} of {span} in {text}");
                let of = spans[span as usize];
                assert!(of.start <= from && to <= of.end(), "round {round}: {from}-{to} of {span} in {text}");
                cursor = to;
            }
            assert_eq!(cursor, root.end(), "round {round}: {text}");
            assert_eq!(
                out.critical_time.iter().sum::<i64>(),
                root.end() - root.start,
                "round {round}: {text}"
            );
        }
    }

    #[test]
    fn the_deepest_error_is_the_cause() {
        assert_eq!(check("!1 0 0 100, !2 1 10 80, !3 2 20 60, 4 3 30 10").error_culprit, Some(2));
    }

    #[test]
    fn cycles_and_orphans_still_make_a_forest() {
        let out = check("1 2 0 10, 2 3 0 10, 3 1 0 10, 4 4 0 10, 5 9 0 10");
        assert_eq!(out.orphans, 1);
        assert_eq!(out.parent.iter().filter(|parent| parent.is_none()).count(), 3);
        assert!(out.depth.iter().all(|depth| *depth < 3));
    }

    #[test]
    fn of_spans_with_one_id_the_first_to_start_is_the_parent() {
        assert_eq!(check("1 0 0 9, 2 1 5 1, 2 1 3 1, 2 1 3 1, 3 2 0 1").parent[4], Some(2));
    }

    #[test]
    fn a_line_of_spans_does_not_overflow() {
        let line: Vec<String> = (1..=20_000).map(|i| format!("{i} {} {i} 100000", i - 1)).collect();
        assert_eq!(check(&line.join(",")).depth.last(), Some(&19_999));
    }
}
