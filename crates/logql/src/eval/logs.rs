//! Queries for lines: the nearest lines in the direction of the query, by their labels.

use std::collections::HashMap;

use throughline_exec::log::{Demand, Direction, LogRequest, LogRows, LogSink, LogSource};
use throughline_exec::{Budget, ExecError, Labels};

use super::{QueryError, QueryParams};
use crate::ast::LogExpr;
use crate::pipeline::Pipeline;
use crate::pipeline::labels::Category;
use crate::pipeline::plan::{Plan, Taken};
use crate::pipeline::symbols::Symbol;
use crate::value::LogStream;

/// Lines are sorted out when so many more than wanted are there.
const SLACK: usize = 1024;

/// The lines of a query, by labels.
pub(super) fn streams(
    log: &LogExpr,
    params: &QueryParams,
    source: &dyn LogSource,
    budget: &Budget,
) -> Result<Vec<LogStream>, QueryError> {
    if params.limit == 0 || params.end_ns <= params.start_ns {
        return Ok(Vec::new());
    }
    let plan = Plan::new(log, None, None, Taken::Lines);
    let keeps_all = params.interval_ns > 0;
    let request = LogRequest {
        start_ns: params.start_ns,
        end_ns: params.end_ns,
        direction: params.direction,
        // Stages may drop any number of rows, but most of the time they do not.
        limit_hint: (!keeps_all).then_some(params.limit as u64),
        ..plan.request
    };
    let mut sink = Sink {
        pipeline: Pipeline::new(&plan.stages, &plan.wanted, params.now_ns),
        direction: params.direction,
        limit: if keeps_all { usize::MAX } else { params.limit },
        bound: None,
        lines: Vec::new(),
        sets: Sets::default(),
        stream: None,
        budget,
        label_bytes: 0,
        next_number: 0,
    };
    source.read(&request, budget, &mut sink)?;
    Ok(sink.finish(params))
}

/// A line and the labels that it has.
#[derive(Debug)]
struct Entry {
    /// The time, or its opposite where later lines come first: less is nearer.
    place: i64,
    /// Of lines of one time, the one that came first is nearer.
    number: u64,
    set: usize,
    line: String,
}

/// Sets of labels with categories.
#[derive(Debug, Default)]
struct Sets {
    known: HashMap<Box<[u8]>, usize, ahash::RandomState>,
    sets: Vec<[Labels; 4]>,
    key: Vec<u8>,
    pairs: Vec<(Symbol, Category, usize, usize)>,
    text: String,
    bytes: u64,
}

impl Sets {
    fn of(&mut self, pipeline: &Pipeline) -> usize {
        self.pairs.clear();
        self.text.clear();
        for (name, value, category) in pipeline.labels.iter() {
            let start = self.text.len();
            self.text.push_str(value);
            self.pairs.push((name, category, start, self.text.len()));
        }
        self.pairs.sort_unstable_by_key(|pair| pair.0);
        self.key.clear();
        for (name, category, start, end) in &self.pairs {
            self.key.extend_from_slice(&name.0.to_le_bytes());
            self.key.push(*category as u8);
            self.key.extend_from_slice(&(end - start).to_le_bytes());
            self.key.extend_from_slice(self.text.as_bytes().get(*start..*end).unwrap_or_default());
        }
        if let Some(at) = self.known.get(self.key.as_slice()) {
            return *at;
        }
        let mut named: Vec<(&str, &str, Category)> = self
            .pairs
            .iter()
            .map(|pair| {
                (pipeline.symbols.name(pair.0), self.text.get(pair.2..pair.3).unwrap_or_default(), pair.1)
            })
            .collect();
        named.sort_unstable_by_key(|pair| pair.0);
        let of = |wanted: Option<Category>| {
            let pairs = named.iter().filter(|pair| wanted.is_none_or(|wanted| wanted == pair.2));
            Labels::from_sorted_with_empty(pairs.map(|pair| (pair.0, pair.1)))
        };
        let set =
            [of(None), of(Some(Category::Stream)), of(Some(Category::Metadata)), of(Some(Category::Parsed))];
        self.bytes += (self.key.len() + set.iter().map(Labels::bytes).sum::<usize>()) as u64;
        self.sets.push(set);
        let at = self.sets.len() - 1;
        self.known.insert(self.key.as_slice().into(), at);
        at
    }
}

struct Sink<'a> {
    pipeline: Pipeline,
    direction: Direction,
    limit: usize,
    /// Enough lines are nearer than this place.
    bound: Option<i64>,
    lines: Vec<Entry>,
    sets: Sets,
    /// The stream of the rows, and the set of labels that it is.
    stream: Option<(Labels, Option<usize>)>,
    budget: &'a Budget,
    /// Of sets and names, as far as they were counted.
    label_bytes: u64,
    next_number: u64,
}

impl LogSink for Sink<'_> {
    fn rows(&mut self, rows: &LogRows<'_>) -> Result<Demand, ExecError> {
        if self.stream.as_ref().is_none_or(|(stream, _)| stream != rows.stream) {
            self.pipeline.begin_stream(rows.stream);
            self.stream = Some((rows.stream.clone(), None));
        }
        for (row, time_ns) in rows.times_ns.iter().enumerate() {
            let place = self.place(*time_ns);
            if self.bound.is_some_and(|bound| place >= bound) {
                continue;
            }
            let original = rows.lines.get(row).copied().unwrap_or_default();
            if !self.pipeline.row(*time_ns, original, rows.metadata.row(row)) {
                continue;
            }
            let set = self.set();
            let line = self.pipeline.line(original).to_owned();
            self.budget.take_bytes((line.len() + size_of::<Entry>()) as u64)?;
            self.lines.push(Entry { place, number: self.next_number, set, line });
            self.next_number += 1;
            if self.lines.len() >= self.limit.saturating_add(SLACK.max(self.limit / 4)) {
                self.cut();
            }
        }
        let labels = self.sets.bytes + self.pipeline.symbols.bytes();
        self.budget.take_bytes(labels.saturating_sub(self.label_bytes))?;
        self.label_bytes = labels;
        Ok(match self.bound {
            Some(bound) => Demand::Until(self.time(bound)),
            None if self.lines.len() >= self.limit => {
                self.cut();
                self.bound.map_or(Demand::All, |bound| Demand::Until(self.time(bound)))
            }
            None => Demand::All,
        })
    }
}

impl Sink<'_> {
    /// The set of labels of the row in hand.
    fn set(&mut self) -> usize {
        if !self.pipeline.labels.is_stream() {
            return self.sets.of(&self.pipeline);
        }
        let sets = &mut self.sets;
        match &mut self.stream {
            Some((_, known)) => *known.get_or_insert_with(|| sets.of(&self.pipeline)),
            None => sets.of(&self.pipeline),
        }
    }

    fn place(&self, time_ns: i64) -> i64 {
        if self.direction == Direction::Forward { time_ns } else { time_ns.saturating_neg() }
    }

    fn time(&self, place: i64) -> i64 {
        if self.direction == Direction::Forward { place } else { place.saturating_neg() }
    }

    /// Leaves the nearest lines, and knows then which are near enough.
    fn cut(&mut self) {
        if self.lines.len() > self.limit {
            let by = |entry: &Entry| (entry.place, entry.number);
            self.lines.select_nth_unstable_by_key(self.limit, by);
            let dropped: u64 = self
                .lines
                .drain(self.limit..)
                .map(|entry| (entry.line.len() + size_of::<Entry>()) as u64)
                .sum();
            self.budget.release_bytes(dropped);
        }
        if self.lines.len() >= self.limit {
            self.bound = self.lines.iter().map(|entry| entry.place).max();
        }
    }

    fn finish(mut self, params: &QueryParams) -> Vec<LogStream> {
        self.lines.sort_unstable_by_key(|entry| (entry.place, entry.number));
        if params.interval_ns > 0 {
            let mut next: Option<i64> = None;
            self.lines.retain(|entry| {
                let is_far = next.is_none_or(|next| entry.place >= next);
                if is_far {
                    next = Some(entry.place.saturating_add(params.interval_ns));
                }
                is_far
            });
        }
        self.lines.truncate(params.limit);
        let direction = self.direction;
        let mut streams: Vec<LogStream> = self
            .sets
            .sets
            .into_iter()
            .map(|[labels, stream, metadata, parsed]| LogStream {
                labels,
                stream,
                metadata,
                parsed,
                entries: Vec::new(),
            })
            .collect();
        for entry in self.lines {
            let time_ns =
                if direction == Direction::Forward { entry.place } else { entry.place.saturating_neg() };
            if let Some(stream) = streams.get_mut(entry.set) {
                stream.entries.push((time_ns, entry.line));
            }
        }
        streams.retain(|stream| !stream.entries.is_empty());
        streams.sort_by(|a, b| a.labels.cmp(&b.labels));
        streams
    }
}
