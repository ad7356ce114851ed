//! Streams with their counts, and patterns of lines: what the API lists without a query of the language.

use ahash::AHashMap as HashMap;
use throughline_exec::{Budget, ExecError, Labels, MatchOp, Matcher};
use throughline_model::Level;
use throughline_store::block::PLACEHOLDER;
use throughline_store::{
    BodyWant, FieldWant, LogScan, LogVisitor, More, Pattern, PatternQuery, ScannedLogs, TimeRange,
};
use throughline_wire::loki::SERVICE_NAME;

use super::source::{Origins, StoredLogs, services_of};

/// Patterns of one answer: beyond, lines are as good as free text.
const PATTERNS_MAX: usize = 10_000;

/// A stream, and what it has in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamCount {
    /// Its labels.
    pub labels: Labels,
    /// How many records.
    pub entries: u64,
    /// The bytes of their lines; zero where they were not asked for.
    pub bytes: u64,
    /// Records and bytes by step, where steps were asked for: the number of the step, records, bytes.
    pub steps: Vec<(i64, u64, u64)>,
}

/// A pattern of lines and how often it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPattern {
    /// The pattern, with `<_>` where lines differ.
    pub pattern: String,
    /// The level of its records.
    pub level: Level,
    /// How many records by step: its start, nanoseconds since the epoch, ascending.
    pub counts: Vec<(i64, u64)>,
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub struct Counting {
    /// The window.
    pub range: TimeRange,
    /// Whether bytes are wanted.
    pub bytes: bool,
    /// The step in nanoseconds, where counts are wanted by step.
    pub step_ns: Option<i64>,
}

impl StoredLogs {
    /// The streams that match, by labels, with their counts.
    pub fn streams(
        &self,
        matchers: &[Matcher],
        counting: Counting,
        budget: &Budget,
    ) -> Result<Vec<StreamCount>, ExecError> {
        let services = services_of(matchers);
        let pieces = |time: i64| match counting.step_ns {
            Some(step_ns) => {
                let first = time.div_euclid(step_ns).saturating_mul(step_ns);
                (first.min(time), first.saturating_add(step_ns - 1).max(time))
            }
            None => (i64::MIN, i64::MAX),
        };
        let scan = LogScan {
            services: services.as_deref(),
            times: counting.step_ns.is_some(),
            bodies: if counting.bytes { BodyWant::Lengths } else { BodyWant::None },
            pieces: (!counting.bytes).then_some(&pieces),
            ..LogScan::new(counting.range)
        };
        let mut counter = Counter {
            origins: Origins::new(&self.labels, matchers, &[]),
            budget,
            step_ns: counting.step_ns,
            counts: Vec::new(),
            failed: None,
        };
        let partial = self.snapshot.scan_logs(&scan, &mut counter);
        self.note(partial);
        if let Some(error) = counter.failed {
            return Err(error);
        }
        let mut streams: Vec<StreamCount> = Vec::new();
        for (labels, counts) in counter.origins.by_stream.iter().zip(counter.counts) {
            let mut steps: Vec<(i64, u64, u64)> =
                counts.steps.into_iter().map(|(step, (entries, bytes))| (step, entries, bytes)).collect();
            steps.sort_unstable();
            if counts.entries > 0 {
                let labels = labels.clone();
                streams.push(StreamCount { labels, entries: counts.entries, bytes: counts.bytes, steps });
            }
        }
        streams.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(streams)
    }

    /// The patterns of the streams that match, most frequent first. Of whole services the store has counted them as they
    /// came; of other streams their lines are counted by what they have in common.
    pub fn patterns(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        step_ns: i64,
        budget: &Budget,
    ) -> Result<Vec<LogPattern>, ExecError> {
        if matchers.iter().all(|matcher| matcher.name() == SERVICE_NAME) {
            self.patterns_of_services(matchers, range, step_ns)
        } else {
            self.patterns_of_lines(matchers, range, step_ns, budget)
        }
    }

    fn patterns_of_services(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        step_ns: i64,
    ) -> Result<Vec<LogPattern>, ExecError> {
        let named = matchers.iter().find(|matcher| matcher.op() == MatchOp::Equal);
        let service = named.map(|matcher| matcher.value().to_owned());
        let query = PatternQuery { range, service, new_since: None, step_ns, limit: PATTERNS_MAX };
        let found = self
            .snapshot
            .patterns(&query)
            .map_err(|error| ExecError::Source { reason: error.to_string() })?;
        self.note(found.partial);
        let wanted =
            found.items.into_iter().filter(|of| matchers.iter().all(|matcher| matcher.matches(&of.service)));
        let mut patterns: Vec<LogPattern> = Vec::new();
        for Pattern { pattern, levels, .. } in wanted {
            patterns.extend(levels.into_iter().map(|level| LogPattern {
                pattern: pattern.clone(),
                level: level.level,
                counts: level.samples,
            }));
        }
        sort_patterns(&mut patterns);
        Ok(patterns)
    }

    fn patterns_of_lines(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        step_ns: i64,
        budget: &Budget,
    ) -> Result<Vec<LogPattern>, ExecError> {
        let services = services_of(matchers);
        let scan = LogScan {
            services: services.as_deref(),
            bodies: BodyWant::Mask,
            fields: FieldWant { level: true, ..FieldWant::default() },
            ..LogScan::new(range)
        };
        let mut counter = PatternCounter {
            origins: Origins::new(&self.labels, matchers, &[]),
            budget,
            step_ns: step_ns.max(1),
            numbers: HashMap::new(),
            counts: HashMap::new(),
            failed: None,
        };
        let partial = self.snapshot.scan_logs(&scan, &mut counter);
        self.note(partial);
        match counter.failed.take() {
            Some(error) => Err(error),
            None => Ok(counter.finish()),
        }
    }
}

#[derive(Default)]
struct Counts {
    entries: u64,
    bytes: u64,
    steps: HashMap<i64, (u64, u64)>,
}

struct Counter<'q> {
    origins: Origins<'q>,
    budget: &'q Budget,
    step_ns: Option<i64>,
    /// By stream.
    counts: Vec<Counts>,
    failed: Option<ExecError>,
}

/// Notes an error; whether there is none.
fn proceeds(budget: &Budget, rows: usize, failed: &mut Option<ExecError>) -> bool {
    budget.note_rows_read(rows as u64, 0);
    if failed.is_none()
        && let Err(error) = budget.check()
    {
        *failed = Some(error);
    }
    failed.is_none()
}

impl LogVisitor for Counter<'_> {
    fn origin(&mut self, _service: &str, resource: &str, scope: &str) -> Option<u32> {
        let number = self.origins.number(resource, scope);
        self.counts.resize_with(self.origins.by_stream.len(), Counts::default);
        number
    }

    fn looks_at(&mut self, rows: usize) -> bool {
        proceeds(self.budget, rows, &mut self.failed)
    }

    fn rows(&mut self, rows: &ScannedLogs<'_>) -> More {
        for (row, origin) in rows.origins.iter().enumerate() {
            let stream = self.origins.stream_of(*origin);
            let Some(counts) = self.counts.get_mut(stream as usize) else { continue };
            let bytes = rows.body_bytes.get(row).map_or(0, |bytes| u64::from(*bytes));
            let n_rows = rows.count(row);
            counts.entries += n_rows;
            counts.bytes += bytes;
            if let (Some(step), Some(time)) = (self.step_ns, rows.times.get(row)) {
                let of_step = counts.steps.entry(time.div_euclid(step)).or_default();
                of_step.0 += n_rows;
                of_step.1 += bytes;
            }
        }
        More::All
    }
}

struct PatternCounter<'q> {
    origins: Origins<'q>,
    budget: &'q Budget,
    step_ns: i64,
    numbers: HashMap<String, u32>,
    /// By pattern, level and step.
    counts: HashMap<(u32, Level), HashMap<i64, u64>>,
    failed: Option<ExecError>,
}

impl LogVisitor for PatternCounter<'_> {
    fn origin(&mut self, _service: &str, resource: &str, scope: &str) -> Option<u32> {
        self.origins.number(resource, scope)
    }

    fn looks_at(&mut self, rows: usize) -> bool {
        proceeds(self.budget, rows, &mut self.failed)
    }

    fn rows(&mut self, rows: &ScannedLogs<'_>) -> More {
        let levels = rows.fields.levels(rows.times.len());
        for ((pattern, time), level) in rows.bodies.iter().zip(rows.times).zip(levels) {
            let number = match self.numbers.get(*pattern) {
                Some(number) => *number,
                None if self.numbers.len() >= PATTERNS_MAX => continue,
                None => {
                    let next = self.numbers.len() as u32;
                    self.numbers.insert((*pattern).to_owned(), next);
                    next
                }
            };
            let steps = self.counts.entry((number, level)).or_default();
            *steps.entry(time.div_euclid(self.step_ns)).or_default() += 1;
        }
        More::All
    }
}

impl PatternCounter<'_> {
    fn finish(self) -> Vec<LogPattern> {
        let mut names: Vec<(u32, String)> =
            self.numbers.into_iter().map(|(pattern, number)| (number, pattern)).collect();
        names.sort_unstable();
        let step_ns = self.step_ns;
        let pattern = |((number, level), steps): ((u32, Level), HashMap<i64, u64>)| {
            let (_, pattern) = names.get(number as usize)?;
            let mut counts: Vec<(i64, u64)> =
                steps.into_iter().map(|(step, count)| (step.saturating_mul(step_ns), count)).collect();
            counts.sort_unstable();
            Some(LogPattern { pattern: pattern.replace(PLACEHOLDER, "<_>"), level, counts })
        };
        let mut patterns: Vec<LogPattern> = self.counts.into_iter().filter_map(pattern).collect();
        sort_patterns(&mut patterns);
        patterns
    }
}

/// Sorts the most frequent first.
fn sort_patterns(patterns: &mut [LogPattern]) {
    let total = |pattern: &LogPattern| pattern.counts.iter().map(|(_, count)| *count).sum::<u64>();
    patterns.sort_by(|a, b| total(b).cmp(&total(a)).then_with(|| a.pattern.cmp(&b.pattern)));
}
