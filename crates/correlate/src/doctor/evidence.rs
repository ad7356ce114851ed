//! What the rules look at: gathered from a snapshot once, within limits that are named here.
//!
//! 1. services, series and exemplars of the window, as lists;
//! 2. one pass over the columns of all log records: counts by service, the newest ERROR records, and an even sample of the
//!    traces that records refer to;
//! 3. a sample of traces, as many from each part of the window, read whole ([`super::traces`]);
//! 4. the ERROR records with their traces, each told apart by its cause ([`super::classify`]).
//!
//! Samples are chosen by time or by a hash of ids, never by chance.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;

use throughline_model::link::LinkState;
use throughline_model::record::{Exemplar, LogRecord, Series, Span, TraceSummary};
use throughline_model::{Level, SpanId, TraceId};
use throughline_store::snapshot::parts::MetricPart;
use throughline_store::{
    Error, FieldWant, Ledger, LogQuery, LogScan, SeriesQuery, ServiceSummary, Snapshot, TimeRange, Want,
};

use super::Request;
use super::classify::{self, Cause, Found};
use super::log_pass::{ErrorPlace, LOG_ROWS_MAX, LogCounts, LogPass, Malformed};
use super::remedy::Sdk;
use super::traces::{self, Tallies};

/// Of these, those without a trace id that are looked up by their time.
const LOOKED_UP_BY_TIME_MAX: usize = 300;
/// Exemplars whose links are asked.
const EXEMPLAR_LINKS_MAX: usize = 2_000;
/// Exemplars that are counted.
const EXEMPLARS_MAX: usize = 200_000;
/// Series that are looked at.
const SERIES_MAX: usize = 50_000;
/// A trace with more spans is not read.
pub(super) const TRACE_SPANS_MAX: u32 = 20_000;
/// A name that some SDKs and decoders give a service that has none.
const UNKNOWN: &str = "unknown_service";

/// Whether a service has no name of its own.
pub(super) fn is_nameless(service: &str) -> bool {
    service.is_empty() || service == UNKNOWN || service.starts_with("unknown_service:")
}

/// What the rules look at.
pub(super) struct Evidence<'a> {
    pub snapshot: &'a Snapshot,
    pub request: &'a Request,
    pub ledger: Option<&'a Ledger>,
    /// What was sent by those that are asked about.
    pub services: Vec<ServiceSummary>,
    /// What was sent by all.
    pub all_services: Vec<ServiceSummary>,
    pub series: Vec<Series>,
    pub exemplars: Exemplars,
    pub logs: Logs,
    pub error_logs: Vec<ErrorLog>,
    pub references: Vec<(Reference, LinkState)>,
    pub traces: Tallies,
    sdks: BTreeMap<String, Sdk>,
    /// Long spans of each service that was asked for them.
    long: RefCell<BTreeMap<String, Rc<[Span]>>>,
    partial: RefCell<Vec<String>>,
}

/// What one pass over log records found.
#[derive(Default)]
pub(super) struct Logs {
    pub by_service: BTreeMap<String, LogCounts>,
    pub looked_at: u64,
    pub of: u64,
    /// Records whose trace id cannot be read, some of each service, the newest first.
    pub malformed: BTreeMap<String, Vec<Malformed>>,
    /// Traces that records of a service refer to, for each service; estimated where there are more than are kept.
    pub references: u64,
}

impl Logs {
    pub fn errors(&self) -> u64 {
        self.by_service.values().map(|counts| counts.errors).sum()
    }
}

/// A record's reference to a trace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reference {
    pub trace_id: TraceId,
    pub span_id: Option<SpanId>,
    pub service: String,
    pub time: i64,
    pub is_error: bool,
    /// Whether a record says that the trace was not sampled.
    pub is_unsampled: bool,
}

/// An ERROR record and why its trace has no error span.
pub(super) struct ErrorLog {
    pub service: String,
    pub time: i64,
    pub trace_id: Option<TraceId>,
    pub span_id: Option<SpanId>,
    pub text: String,
    pub cause: Cause,
}

/// Exemplars of the window.
#[derive(Default)]
pub(super) struct Exemplars {
    pub counted: u64,
    /// By service and metric.
    pub by_metric: BTreeMap<(String, String), u64>,
    pub malformed: Vec<Exemplar>,
    pub malformed_count: u64,
    pub without_id: u64,
    pub without_id_examples: Vec<Exemplar>,
    /// An even sample of those with an id, with the state of their links.
    pub linked: Vec<Exemplar>,
    pub is_cut: bool,
}

impl<'a> Evidence<'a> {
    /// Everything.
    pub fn gather(
        snapshot: &'a Snapshot,
        request: &'a Request,
        ledger: Option<&'a Ledger>,
    ) -> Result<Evidence<'a>, Error> {
        let mut evidence = Evidence::of_services(snapshot, request)?;
        evidence.ledger = ledger;
        evidence.gather_series()?;
        evidence.gather_exemplars()?;
        let (errors, references) = evidence.scan_logs();
        evidence.ask_references(references)?;
        evidence.gather_traces()?;
        evidence.tell_apart(errors)?;
        Ok(evidence)
    }

    /// ERROR records and their causes alone.
    pub fn of_errors(snapshot: &'a Snapshot, request: &'a Request) -> Result<Evidence<'a>, Error> {
        let mut evidence = Evidence::of_services(snapshot, request)?;
        let (errors, _) = evidence.scan_logs();
        evidence.tell_apart(errors)?;
        Ok(evidence)
    }

    fn of_services(snapshot: &'a Snapshot, request: &'a Request) -> Result<Evidence<'a>, Error> {
        let mut all = snapshot.services(request.range)?;
        all.items.retain(|service| !service.service.is_empty());
        let is_asked = |name: &str| request.service.as_deref().is_none_or(|asked| asked == name);
        Ok(Evidence {
            snapshot,
            request,
            ledger: None,
            services: all.items.iter().filter(|service| is_asked(&service.service)).cloned().collect(),
            all_services: all.items,
            series: Vec::new(),
            exemplars: Exemplars::default(),
            logs: Logs::default(),
            error_logs: Vec::new(),
            references: Vec::new(),
            traces: Tallies::default(),
            sdks: BTreeMap::new(),
            long: RefCell::default(),
            partial: RefCell::new(all.partial),
        })
    }

    /// What could not be read or is beyond a limit, each reason once.
    pub fn partial(&self) -> Vec<String> {
        let mut partial = self.partial.borrow().clone();
        partial.sort_unstable();
        partial.dedup();
        partial
    }

    pub fn note(&self, reasons: impl IntoIterator<Item = String>) {
        self.partial.borrow_mut().extend(reasons);
    }

    /// Batch jobs and streams of a service.
    pub fn long_spans(&self, service: &str) -> Result<Rc<[Span]>, Error> {
        if let Some(known) = self.long.borrow().get(service) {
            return Ok(Rc::clone(known));
        }
        let found: Rc<[Span]> = traces::long_spans(self, service)?.into();
        self.long.borrow_mut().insert(service.to_owned(), Rc::clone(&found));
        Ok(found)
    }

    /// The SDK of a service, as far as its resources say.
    pub fn sdk(&self, service: &str) -> Sdk {
        self.sdks.get(service).copied().unwrap_or_default()
    }

    /// Whether a service sends spans in the window.
    pub fn sends_spans(&self, service: &str) -> bool {
        self.spans_of(service) > 0
    }

    /// How many spans a service sends in the window.
    pub fn spans_of(&self, service: &str) -> u64 {
        let known = self.all_services.iter().find(|known| known.service == service);
        known.map_or(0, |known| known.span_count)
    }

    /// Whether a service sends log records in the window.
    pub fn sends_logs(&self, service: &str) -> bool {
        self.all_services.iter().any(|known| known.service == service && known.log_count > 0)
    }

    pub fn spans(&self) -> u64 {
        self.services.iter().map(|service| service.span_count).sum()
    }

    fn learn_sdk(&mut self, service: &str, resource: &serde_json::Map<String, serde_json::Value>) {
        if self.sdks.get(service).is_none_or(|sdk| *sdk == Sdk::Unknown) {
            let sdk = Sdk::of_resource(resource);
            self.sdks.insert(service.to_owned(), sdk);
        }
    }

    fn series_query(&self, limit: usize) -> SeriesQuery {
        SeriesQuery {
            range: self.request.range,
            metric: None,
            service: self.request.service.clone(),
            attributes: Vec::new(),
            limit,
        }
    }

    fn gather_series(&mut self) -> Result<(), Error> {
        let found = self.snapshot.series(&self.series_query(SERIES_MAX))?;
        self.note(found.partial);
        for series in &found.items {
            self.learn_sdk(&series.service, &series.resource);
        }
        self.series = found.items;
        Ok(())
    }

    fn gather_exemplars(&mut self) -> Result<(), Error> {
        let mut exemplars = Exemplars::default();
        let mut sample: BinaryHeap<(u64, usize)> = BinaryHeap::new();
        let mut kept: Vec<Option<Exemplar>> = Vec::new();
        for part in self.snapshot.metric_parts(self.request.range) {
            if exemplars.counted >= EXEMPLARS_MAX as u64 {
                exemplars.is_cut = true;
                break;
            }
            for exemplar in self.exemplars_of(&part)? {
                exemplars.counted += 1;
                let key = (exemplar.service.clone(), exemplar.metric.clone());
                *exemplars.by_metric.entry(key).or_default() += 1;
                let Some(id) = exemplar.trace_id else {
                    exemplars.without(exemplar);
                    continue;
                };
                sample.push((id.fingerprint() ^ exemplar.time as u64, kept.len()));
                kept.push(Some(exemplar));
                if sample.len() > EXEMPLAR_LINKS_MAX
                    && let Some((_, gone)) = sample.pop()
                    && let Some(slot) = kept.get_mut(gone)
                {
                    *slot = None;
                }
            }
        }
        let mut states = BTreeMap::new();
        for mut exemplar in kept.into_iter().flatten() {
            if let Some(id) = exemplar.trace_id {
                exemplar.link = Some(self.state(id, &mut states)?);
            }
            exemplars.linked.push(exemplar);
        }
        self.exemplars = exemplars;
        Ok(())
    }

    fn exemplars_of(&self, part: &MetricPart) -> Result<Vec<Exemplar>, Error> {
        let wanted: Vec<u32> = (0..u32::try_from(part.series_count()).unwrap_or(u32::MAX)).collect();
        let found = part.exemplars(&wanted, self.request.range)?;
        let is_asked = |exemplar: &Exemplar| {
            self.request.service.as_ref().is_none_or(|asked| *asked == exemplar.service)
        };
        Ok(found.into_iter().map(|found| found.record).filter(is_asked).collect())
    }

    fn state(&self, id: TraceId, known: &mut BTreeMap<TraceId, LinkState>) -> Result<LinkState, Error> {
        if let Some(state) = known.get(&id) {
            return Ok(state.clone());
        }
        let state = self.snapshot.link_state(id)?;
        known.insert(id, state.clone());
        Ok(state)
    }

    fn scan_logs(&mut self) -> (Vec<ErrorPlace>, Vec<Reference>) {
        let of = self.services.iter().map(|service| service.log_count).sum();
        let services = self.request.service.clone().map(|service| vec![service]);
        let mut visitor = LogPass::default();
        let scan = LogScan {
            newest_first: true,
            services: services.as_deref(),
            fields: FieldWant {
                level: true,
                context: true,
                rest: true,
                original: true,
                ..FieldWant::default()
            },
            ..LogScan::new(self.request.range)
        };
        let partial = self.snapshot.scan_logs(&scan, &mut visitor);
        self.note(partial);
        if visitor.rows >= LOG_ROWS_MAX {
            let only =
                format!("log records were looked at up to {LOG_ROWS_MAX}, the newest; narrow the window");
            self.note([only]);
        }
        let LogPass { services, counts, resources, errors, references, malformed, .. } = visitor;
        for (service, resource) in services.iter().zip(&resources) {
            self.learn_sdk(service, &serde_json::from_str(resource).unwrap_or_default());
        }
        let looked_at: u64 = counts.iter().map(|counts| counts.records).sum();
        let by_service = services.iter().cloned().zip(counts).collect();
        let name = |service: u32| services.get(service as usize).cloned().unwrap_or_default();
        let newest = |found: BinaryHeap<Reverse<Malformed>>| {
            // Sorted by what is reversed: the newest come first.
            found.into_sorted_vec().into_iter().map(|Reverse(one)| one).collect()
        };
        self.logs = Logs {
            by_service,
            looked_at,
            of: std::cmp::max(of, looked_at),
            malformed: malformed.into_iter().map(|(number, found)| (name(number), newest(found))).collect(),
            references: references.estimate(),
        };
        let mut errors: Vec<ErrorPlace> = errors.into_iter().map(|Reverse(place)| place).collect();
        errors.iter_mut().for_each(|place| place.service = name(place.number));
        errors.sort_by(|a, b| {
            (b.time, &a.service, a.trace, a.span).cmp(&(a.time, &b.service, b.trace, b.span))
        });
        (errors, references.finish(name))
    }

    fn ask_references(&mut self, references: Vec<Reference>) -> Result<(), Error> {
        for reference in references {
            let state = match self.snapshot.link_state(reference.trace_id)? {
                LinkState::NeverReceived if reference.is_unsampled => LinkState::Unsampled,
                state => state,
            };
            self.references.push((reference, state));
        }
        Ok(())
    }

    fn gather_traces(&mut self) -> Result<(), Error> {
        let summaries = traces::sample(self)?;
        let mut tallies = Tallies::default();
        for summary in &summaries {
            if let Some(data) = self.read(summary)? {
                for span in &data.spans {
                    self.learn_sdk(&span.service, &span.resource);
                }
                tallies.add(self, summary, &data);
            }
        }
        self.traces = tallies;
        Ok(())
    }

    /// A whole trace, unless it is too large.
    fn read(&self, summary: &TraceSummary) -> Result<Option<throughline_store::TraceData>, Error> {
        if summary.span_count > TRACE_SPANS_MAX {
            self.note([format!(
                "traces of more than {TRACE_SPANS_MAX} spans are not read, such as {}",
                summary.trace_id
            )]);
            return Ok(None);
        }
        let data =
            self.snapshot.trace(summary.trace_id, Want { spans: true, logs: true, exemplars: false })?;
        self.note(data.partial.iter().cloned());
        Ok(Some(data))
    }

    /// Finds each ERROR record's cause. Records of one trace are told apart together, so that it is read once.
    fn tell_apart(&mut self, places: Vec<ErrorPlace>) -> Result<(), Error> {
        let mut by_trace: BTreeMap<TraceId, Vec<ErrorPlace>> = BTreeMap::new();
        let mut out = Vec::new();
        let mut by_time = 0;
        for place in places {
            match place.trace {
                Some(id) => by_trace.entry(id).or_default().push(place),
                None if by_time < LOOKED_UP_BY_TIME_MAX => {
                    by_time += 1;
                    out.push(self.without_trace(place)?);
                }
                None => out.push(place.log(String::new(), Cause::NotTold)),
            }
        }
        for (id, places) in by_trace {
            self.of_trace(id, places, &mut out)?;
        }
        out.sort_by(|a, b| (b.time, &a.service, a.span_id).cmp(&(a.time, &b.service, b.span_id)));
        self.error_logs = out;
        Ok(())
    }

    fn of_trace(&self, id: TraceId, places: Vec<ErrorPlace>, out: &mut Vec<ErrorLog>) -> Result<(), Error> {
        let state = self.snapshot.link_state(id)?;
        let spans = self.snapshot.trace_summary(id)?.map_or(0, |summary| summary.span_count);
        let is_large = spans > TRACE_SPANS_MAX;
        let want = Want { spans: !is_large, logs: true, exemplars: false };
        let data = self.snapshot.trace(id, want)?;
        for place in places {
            let record = data.logs.iter().find(|log| {
                log.time == place.time && log.span_id == place.span && log.service == place.service
            });
            let cause = match record {
                Some(_) if is_large => Cause::NotTold,
                Some(record) => {
                    let found = Found { state: &state, spans: &data.spans, dropped: data.dropped.as_ref() };
                    classify::of_record(record, &found, self.snapshot.taken_at())
                }
                None => Cause::NotTold,
            };
            out.push(place.log(record.map_or_else(String::new, text_of), cause));
        }
        Ok(())
    }

    fn without_trace(&self, place: ErrorPlace) -> Result<ErrorLog, Error> {
        let query = LogQuery {
            range: TimeRange { start: place.time, end: place.time.saturating_add(1) },
            service: Some(place.service.clone()),
            min_severity: 0,
            pattern: None,
            contains: None,
            limit: 20,
        };
        let found = self.snapshot.search_logs(&query)?;
        let record = found.items.iter().find(|log| log.trace_id.is_none() && log.level >= Level::Error);
        let Some(record) = record else { return Ok(place.log(String::new(), Cause::NotTold)) };
        let cause = match &record.trace_id_original {
            Some(_) => Cause::MalformedId,
            None if !self.sends_spans(&place.service) => Cause::Untraced,
            None => match traces::running_at(self, record)? {
                Some((trace_id, span_id)) => Cause::Detached { running: Some((trace_id, span_id)) },
                None => Cause::OutsideSpan,
            },
        };
        let original =
            record.trace_id_original.as_ref().map_or_else(String::new, |id| format!(" trace id {id:?}"));
        Ok(place.log(text_of(record) + &original, cause))
    }
}

impl Exemplars {
    fn without(&mut self, exemplar: Exemplar) {
        const KEPT: usize = 200;
        let (count, list) = match exemplar.trace_id_original {
            Some(_) => (&mut self.malformed_count, &mut self.malformed),
            None => (&mut self.without_id, &mut self.without_id_examples),
        };
        *count += 1;
        if list.len() < KEPT {
            list.push(exemplar);
        }
    }
}

/// The start of a record's body.
pub(super) fn text_of(record: &LogRecord) -> String {
    const CHARACTERS: usize = 160;
    let body = match &record.body {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    body.chars().take(CHARACTERS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
