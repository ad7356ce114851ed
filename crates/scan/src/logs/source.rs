//! The rows of a query: a scan of the store with Loki's labels.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use ahash::AHashMap as HashMap;
use throughline_exec::log::{
    Demand, Direction, LinesWanted, LogRequest, LogRows, LogSink, LogSource, MetadataSets,
};
use throughline_exec::{Budget, ExecError, Labels, MatchOp, Matcher};
use throughline_model::TraceId;
use throughline_model::link::LinkState;
use throughline_store::{
    BodyWant, FieldValue, KeyTest, LogScan, LogVisitor, More, PieceOf, ScannedLogs, Snapshot, TimeRange,
    Verdict,
};
use throughline_wire::loki::SERVICE_NAME;

use super::labels::{LogLabels, OriginLabels, UNKNOWN_SERVICE, sanitised};
use super::metadata::{MetadataMaker, Wanted, text_of_field};
use super::verdict::Conditions;

/// The logs of a snapshot as streams.
pub struct StoredLogs {
    pub(super) snapshot: Snapshot,
    pub(super) labels: Arc<LogLabels>,
    /// Why answers may be incomplete; collected over all questions.
    pub(super) partial: Mutex<Vec<String>>,
}

impl StoredLogs {
    /// The logs of a snapshot.
    pub fn new(snapshot: Snapshot, labels: Arc<LogLabels>) -> StoredLogs {
        StoredLogs { snapshot, labels, partial: Mutex::default() }
    }

    /// Why the answers so far may be incomplete.
    pub fn partial(&self) -> Vec<String> {
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner).clone();
        partial.sort_unstable();
        partial.dedup();
        partial
    }

    /// What became of the trace that a line refers to; none where that cannot be read.
    pub fn link_state(&self, trace: TraceId) -> Option<LinkState> {
        self.snapshot.link_state(trace).map_err(|error| self.note(vec![error.to_string()])).ok()
    }

    pub(super) fn note(&self, partial: Vec<String>) {
        self.partial.lock().unwrap_or_else(PoisonError::into_inner).extend(partial);
    }
}

impl LogSource for StoredLogs {
    fn read(&self, request: &LogRequest, budget: &Budget, sink: &mut dyn LogSink) -> Result<(), ExecError> {
        let range = TimeRange { start: request.start_ns, end: request.end_ns };
        let wanted = Wanted::new(&request.metadata);
        let conditions = Conditions::new(&request.filters);
        let texts = conditions.required();
        let services = services_of(&request.matchers);
        let attributes = |key: &str| wanted.has_attribute(key);
        let cuts = request.cuts.map(|cuts| move |time_ns: i64| cuts.piece(time_ns));
        let speaks_of = |hint: &'_ Matcher| {
            let name = hint.name().to_owned();
            move |key: &str| gives(key, &name)
        };
        let hints: Vec<_> = request.label_hints.iter().map(speaks_of).collect();
        let conditions_on: Vec<KeyTest<'_>> =
            hints.iter().map(|speaks_of| speaks_of as KeyTest<'_>).collect();
        let scan = LogScan {
            range,
            newest_first: request.direction == Direction::Backward,
            few: request.limit_hint.is_some(),
            services: services.as_deref(),
            trace: trace_of(&request.label_hints),
            among: None,
            texts: &texts,
            is_filtered: !conditions.is_empty(),
            times: true,
            bodies: match request.lines {
                LinesWanted::None => BodyWant::None,
                LinesWanted::Lengths => BodyWant::Lengths,
                LinesWanted::Text => BodyWant::Text,
            },
            fields: wanted.fields(&attributes),
            conditions: &conditions_on,
            pieces: cuts.as_ref().map(|pieces| pieces as &PieceOf<'_>),
        };
        let origins = Origins::new(&self.labels, &request.matchers, &request.label_hints);
        let mut reader = Reader {
            request,
            budget,
            sink,
            conditions: RefCell::new(conditions),
            wanted: &wanted,
            origins,
            maker: MetadataMaker::default(),
            failed: None,
            demand: Demand::All,
        };
        let partial = self.snapshot.scan_logs(&scan, &mut reader);
        let failed = reader.failed.take();
        self.note(partial);
        failed.map_or(Ok(()), Err)
    }
}

/// The services that matchers leave, if they name them: with that of origins that name none, whose label comes from elsewhere.
pub(super) fn services_of(matchers: &[Matcher]) -> Option<Vec<String>> {
    let mut matchers = matchers.iter().filter(|matcher| matcher.name() == SERVICE_NAME);
    let names = matchers.find_map(Matcher::accepted_values)?;
    let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    names.push(UNKNOWN_SERVICE.to_owned());
    Some(names)
}

/// Whether an attribute, or a member of it, may be the metadata of a name.
fn gives(key: &str, name: &str) -> bool {
    let of_key = sanitised(key);
    name.strip_prefix(&of_key).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

/// The trace that rows must be of.
fn trace_of(hints: &[Matcher]) -> Option<TraceId> {
    let hint = hints.iter().find(|hint| hint.name() == "trace_id" && hint.op() == MatchOp::Equal)?;
    TraceId::parse(hint.value()).map(|(id, _)| id)
}

/// Origins that were met, and the streams that they belong to.
pub(super) struct Origins<'q> {
    labels: &'q LogLabels,
    matchers: &'q [Matcher],
    hints: &'q [Matcher],
    /// By resource and scope.
    known: HashMap<(Box<str>, Box<str>), Option<u32>>,
    pub by_number: Vec<(u32, OriginLabels)>,
    streams: HashMap<Labels, u32>,
    pub by_stream: Vec<Labels>,
}

impl<'q> Origins<'q> {
    pub fn new(labels: &'q LogLabels, matchers: &'q [Matcher], hints: &'q [Matcher]) -> Origins<'q> {
        Origins {
            labels,
            matchers,
            hints,
            known: HashMap::new(),
            by_number: Vec::new(),
            streams: HashMap::new(),
            by_stream: Vec::new(),
        }
    }

    /// The number of an origin whose stream is wanted.
    pub fn number(&mut self, resource: &str, scope: &str) -> Option<u32> {
        let key = (Box::from(resource), Box::from(scope));
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let mut origin = self.labels.of_origin(resource, scope);
        let is_wanted = self.matchers.iter().all(|matcher| matcher.matches_labels(&origin.stream))
            && self
                .hints
                .iter()
                .all(|hint| !origin.stream.has(hint.name()) || hint.matches_labels(&origin.stream));
        let number = is_wanted.then(|| {
            let next = self.by_stream.len() as u32;
            let stream = *self.streams.entry(origin.stream.clone()).or_insert(next);
            match self.by_stream.get(stream as usize) {
                // All origins of a stream hand out one set.
                Some(labels) => origin.stream = labels.clone(),
                None => self.by_stream.push(origin.stream.clone()),
            }
            self.by_number.push((stream, origin));
            self.by_number.len() as u32 - 1
        });
        self.known.insert(key, number);
        number
    }

    /// The stream of an origin.
    pub fn stream_of(&self, origin: u32) -> u32 {
        self.by_number.get(origin as usize).map_or(0, |(stream, _)| *stream)
    }
}

struct Reader<'r> {
    request: &'r LogRequest,
    budget: &'r Budget,
    sink: &'r mut dyn LogSink,
    conditions: RefCell<Conditions<'r>>,
    wanted: &'r Wanted<'r>,
    origins: Origins<'r>,
    maker: MetadataMaker,
    failed: Option<ExecError>,
    demand: Demand,
}

impl LogVisitor for Reader<'_> {
    fn origin(&mut self, _service: &str, resource: &str, scope: &str) -> Option<u32> {
        let n_streams = self.origins.by_stream.len();
        let number = self.origins.number(resource, scope);
        let added = self.origins.by_stream.len() - n_streams;
        if added > 0
            && let Err(error) = self.budget.take_series(added as u64)
        {
            self.failed = Some(error);
        }
        number
    }

    fn pattern(&mut self, pattern: &str) -> Verdict {
        self.conditions.get_mut().verdict(pattern)
    }

    fn body(&mut self, body: &str) -> bool {
        self.conditions.get_mut().matches(body)
    }

    fn attribute(&mut self, condition: usize, origin: u32, key: &str, value: FieldValue<'_>) -> bool {
        let (Some(hint), Some((_, of_origin))) =
            (self.request.label_hints.get(condition), self.origins.by_number.get(origin as usize))
        else {
            return true;
        };
        // The label of the stream hides it; and what is empty leaves the name to others.
        if sanitised(key) != hint.name() || of_origin.stream.has(hint.name()) {
            return true;
        }
        text_of_field(value).is_none_or(|text| text.is_empty() || hint.matches(&text))
    }

    fn looks_at(&mut self, rows: usize) -> bool {
        self.budget.note_rows_read(rows as u64, 0);
        if self.failed.is_none()
            && let Err(error) = self.budget.check()
        {
            self.failed = Some(error);
        }
        self.failed.is_none()
    }

    fn rows(&mut self, rows: &ScannedLogs<'_>) -> More {
        if self.failed.is_none()
            && let Err(error) = self.hand_out(rows)
        {
            self.failed = Some(error);
        }
        match self.demand {
            _ if self.failed.is_some() => More::Nothing,
            Demand::All => More::All,
            Demand::Until(time) => More::Until(time),
            Demand::Nothing => More::Nothing,
        }
    }
}

impl Reader<'_> {
    fn hand_out(&mut self, rows: &ScannedLogs<'_>) -> Result<(), ExecError> {
        let bytes: u64 = rows.body_bytes.iter().map(|bytes| u64::from(*bytes)).sum();
        self.budget.note_rows_read(0, bytes);
        self.budget.check()?;
        for (stream, at) in by_stream(rows, &self.origins, self.request.direction) {
            if self.demand == Demand::Nothing {
                break;
            }
            self.hand_out_stream(stream, &at, rows)?;
        }
        Ok(())
    }

    fn hand_out_stream(&mut self, stream: u32, at: &[u32], rows: &ScannedLogs<'_>) -> Result<(), ExecError> {
        let Some(labels) = self.origins.by_stream.get(stream as usize) else { return Ok(()) };
        let origin_of = |row: u32| {
            let origin = rows.origins.get(row as usize)?;
            self.origins.by_number.get(*origin as usize).map(|(_, origin)| origin)
        };
        let sets = self.maker.sets(self.wanted, &rows.fields, rows.times, at, origin_of);
        let pairs = sets.pairs();
        let pick = |row: &u32| *row as usize;
        let times: Vec<i64> = at.iter().filter_map(|row| rows.times.get(pick(row)).copied()).collect();
        let lines: Vec<&str> = at.iter().filter_map(|row| rows.bodies.get(pick(row)).copied()).collect();
        let counts: Vec<u64> = match rows.counts.is_empty() {
            true => Vec::new(),
            false => at.iter().map(|row| rows.count(pick(row))).collect(),
        };
        let line_lengths: Vec<u32> = match self.request.lines {
            LinesWanted::Lengths => {
                at.iter().filter_map(|row| rows.body_bytes.get(pick(row)).copied()).collect()
            }
            _ => Vec::new(),
        };
        let metadata = MetadataSets { pairs: &pairs, ends: &sets.ends, set_of_row: &sets.set_of_row };
        let batch = LogRows {
            stream: labels,
            times_ns: &times,
            counts: &counts,
            lines: &lines,
            line_lengths: &line_lengths,
            metadata,
        };
        self.demand = self.sink.rows(&batch)?;
        Ok(())
    }
}

/// The rows of each stream, in the order of time that is wanted.
fn by_stream(rows: &ScannedLogs<'_>, origins: &Origins<'_>, direction: Direction) -> Vec<(u32, Vec<u32>)> {
    let mut places: HashMap<u32, usize> = HashMap::new();
    let mut streams: Vec<(u32, Vec<u32>)> = Vec::new();
    let mut last: Option<(u32, usize)> = None;
    for (row, origin) in rows.origins.iter().enumerate() {
        let place = match last {
            Some((last, place)) if last == *origin => place,
            _ => {
                let stream = origins.stream_of(*origin);
                *places.entry(stream).or_insert_with(|| {
                    streams.push((stream, Vec::new()));
                    streams.len() - 1
                })
            }
        };
        last = Some((*origin, place));
        if let Some((_, of_stream)) = streams.get_mut(place) {
            of_stream.push(row as u32);
        }
    }
    let time = |row: &u32| rows.times.get(*row as usize).copied().unwrap_or_default();
    for (_, of_stream) in &mut streams {
        if !of_stream.is_sorted_by_key(time) {
            of_stream.sort_by_key(time);
        }
        if direction == Direction::Backward {
            of_stream.reverse();
        }
    }
    streams
}
