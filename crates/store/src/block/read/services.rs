//! What the services of a block have sent: counts over the dictionaries of whole row groups.

use std::collections::BTreeMap;
use std::ops::Range;

use ahash::AHashMap as HashMap;
use arrow_array::types::{Int32Type, UInt8Type};
use arrow_array::{Array, DictionaryArray, StringArray, TimestampNanosecondArray};
use parquet::file::statistics::Statistics;

use super::picked::Keys as PickedKeys;
use super::search::{bounds, overlaps_number};
use super::{Block, Columns, TableReader};
use crate::block::Table;
use crate::block::tables::LOG_PAGE_ROWS;
use crate::error::Error;
use crate::snapshot::services::{Services, half};
use crate::snapshot::span_scan::{SpanBound, SpanColumn};
use crate::snapshot::{TimeRange, TraceQuery};

/// Services times names of one row group that are counted in a table; more are counted in a map.
const TABLE_CELLS_MAX: usize = 1 << 20;

/// Whether all rows of a row group lie within the range, by its statistics.
pub(super) fn lies_within(table: &TableReader, group: usize, column: &str, range: TimeRange) -> bool {
    match bounds(table.group(group), column) {
        Some(Statistics::Int64(stats)) => {
            stats.min_opt().is_some_and(|min| range.contains(*min))
                && stats.max_opt().is_some_and(|max| range.contains(*max))
        }
        _ => false,
    }
}

/// A text column as keys and their texts, and for each row whether its time is within the range.
struct Keys<'a> {
    keys: &'a DictionaryArray<Int32Type>,
    texts: &'a StringArray,
}

impl<'a> Keys<'a> {
    fn of(columns: &Columns<'a>, name: &str) -> Option<Keys<'a>> {
        columns.dictionary(name).map(|(keys, texts)| Keys { keys, texts })
    }

    fn text(&self, key: usize) -> &'a str {
        if key < self.texts.len() { self.texts.value(key) } else { "" }
    }
}

fn is_counted(times: Option<&TimestampNanosecondArray>, range: TimeRange, row: usize) -> bool {
    times.is_none_or(|times| range.contains(times.value(row)))
}

/// What the services of a block have sent, row group by row group: counted once, because a block does not change.
#[derive(Default)]
pub(super) struct Listing {
    /// Services and names of spans that occur together, in order, and their counts in the whole block.
    pairs: Vec<Pair>,
    /// For each row group of spans its pairs, how many spans each has and how many of them are errors.
    spans: Vec<Vec<(u32, u32, u32)>>,
    /// Services of log records, and how many each has.
    services: Vec<(String, u64)>,
    /// Log records of one service that follow each other, a page at most; in the order of the table.
    logs: Vec<LogRun>,
    /// The series of each service, by the first halves of their fingerprints.
    series: Vec<(String, Vec<u64>)>,
}

/// Spans of one service and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    service: String,
    name: String,
    spans: u64,
    errors: u64,
}

/// Log records of one service by time.
pub(super) struct LogRun {
    service: u32,
    pub(super) rows: Range<u32>,
    pub(super) min_time: i64,
    pub(super) max_time: i64,
}

/// The same with the service's name, and the first and the last time.
type NamedRun = (String, Range<u32>, Range<i64>);

impl Listing {
    fn read(block: &Block) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        listing.read_spans(block)?;
        let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
        for group in 0..block.groups(Table::Logs)? {
            let runs = block.log_runs(group)?;
            for (service, rows, times) in runs {
                let next = numbers.len() as u32;
                let service = *numbers.entry(service).or_insert(next);
                listing.logs.push(LogRun { service, rows, min_time: times.start, max_time: times.end });
            }
        }
        listing.services = by_number(numbers).into_iter().map(|service| (service, 0)).collect();
        for run in &listing.logs {
            if let Some((_, records)) = listing.services.get_mut(run.service as usize) {
                *records += run.rows.len() as u64;
            }
        }
        listing.read_series(block)?;
        Ok(listing)
    }

    fn read_spans(&mut self, block: &Block) -> Result<(), Error> {
        let mut numbers: HashMap<String, HashMap<String, u32>> = HashMap::new();
        let mut pairs: Vec<Pair> = Vec::new();
        for group in 0..block.groups(Table::Spans)? {
            let mut of_group = Vec::new();
            block.each_span_count(group, |service, name, spans, errors| {
                let known = numbers.get(service).and_then(|names| names.get(name)).copied();
                let number = known.unwrap_or_else(|| {
                    let next = pairs.len() as u32;
                    let (service, name) = (service.to_owned(), name.to_owned());
                    numbers.entry(service.clone()).or_default().insert(name.clone(), next);
                    pairs.push(Pair { service, name, spans: 0, errors: 0 });
                    next
                });
                if let Some(pair) = pairs.get_mut(number as usize) {
                    (pair.spans, pair.errors) = (pair.spans + spans, pair.errors + errors);
                }
                of_group.push((number, spans as u32, errors as u32));
            })?;
            self.spans.push(of_group);
        }
        // By service, so that whoever adds them up looks each service for once.
        let mut order: Vec<(Pair, usize)> = pairs.into_iter().zip(0..).collect();
        order.sort_unstable();
        let mut places = vec![0u32; order.len()];
        for (place, (_, number)) in order.iter().enumerate() {
            places.get_mut(*number).into_iter().for_each(|slot| *slot = place as u32);
        }
        for (number, ..) in self.spans.iter_mut().flatten() {
            *number = places.get(*number as usize).copied().unwrap_or_default();
        }
        self.pairs = order.into_iter().map(|(pair, _)| pair).collect();
        Ok(())
    }

    fn read_series(&mut self, block: &Block) -> Result<(), Error> {
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let table = block.table(Table::Series)?;
        for group in 0..table.groups() {
            for rows in table.read_group(group, None, Some(&["service", "fingerprint"]))? {
                let columns = Columns::new(&rows);
                let mut last: Option<(&str, usize)> = None;
                for row in 0..rows.num_rows() {
                    let service = columns.text("service", row).unwrap_or_default();
                    let number = match last.filter(|(of, _)| *of == service) {
                        Some((_, number)) => number,
                        None => numbers.get(service).copied().unwrap_or_else(|| {
                            numbers.insert(service.to_owned(), self.series.len());
                            self.series.push((service.to_owned(), Vec::new()));
                            self.series.len() - 1
                        }),
                    };
                    last = Some((service, number));
                    let fingerprint = columns.bytes("fingerprint", row).map(half);
                    if let Some((_, series)) = self.series.get_mut(number) {
                        series.extend(fingerprint);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a row group may have spans of such a service and name, and such with errors.
    pub(super) fn may_have(&self, group: usize, query: &TraceQuery) -> bool {
        let Some(of_group) = self.spans.get(group) else { return true };
        let is_wanted = |pair: &Pair| {
            query.service.as_deref().is_none_or(|wanted| wanted == pair.service)
                && query.operation.as_deref().is_none_or(|wanted| wanted == pair.name)
        };
        of_group.iter().any(|(number, spans, errors)| {
            let is_status = match query.error {
                Some(true) => *errors > 0,
                Some(false) => errors < spans,
                None => true,
            };
            is_status && self.pairs.get(*number as usize).is_none_or(is_wanted)
        })
    }
}

/// Which row groups may have spans within bounds of service, name and status, by what was counted.
pub(super) struct CountedPairs<'l> {
    listing: &'l Listing,
    is_wanted: Vec<bool>,
    /// Whether status error, and whether any other, is within the bounds.
    statuses: [bool; 2],
}

impl CountedPairs<'_> {
    pub(super) fn may_hold(&self, group: usize) -> bool {
        let Some(of_group) = self.listing.spans.get(group) else { return true };
        let [errors_count, others_count] = self.statuses;
        of_group.iter().any(|(number, spans, errors)| {
            self.is_wanted.get(*number as usize) == Some(&true)
                && (errors_count && *errors > 0 || others_count && errors < spans)
        })
    }
}

pub(super) fn by_number<T>(numbers: impl IntoIterator<Item = (T, u32)>) -> Vec<T> {
    let mut items: Vec<(T, u32)> = numbers.into_iter().collect();
    items.sort_by_key(|(_, number)| *number);
    items.into_iter().map(|(item, _)| item).collect()
}

impl Block {
    /// Counts what its services have sent, if that was not done before.
    pub(crate) fn list_services(&self) -> Result<(), Error> {
        self.listing().map(|_| ())
    }

    /// What its services have sent, if that was counted before.
    pub(super) fn counted(&self) -> Option<&Listing> {
        self.listing.get()
    }

    /// Which row groups may have spans within bounds; none where they cannot be counted.
    pub(super) fn span_pairs(&self, bounds: &[SpanBound<'_>]) -> Option<CountedPairs<'_>> {
        let listing = self.listing().ok()?;
        let is_wanted = |pair: &Pair| {
            bounds.iter().all(|bound| match bound {
                SpanBound::Text(SpanColumn::Service, text) => pair.service == *text,
                SpanBound::Text(SpanColumn::Name, text) => pair.name == *text,
                _ => true,
            })
        };
        let within = |code: i64| {
            bounds.iter().all(|bound| match bound {
                SpanBound::Number(SpanColumn::Status, least, greatest) => {
                    (*least..=*greatest).contains(&code)
                }
                _ => true,
            })
        };
        let is_wanted = listing.pairs.iter().map(is_wanted).collect();
        // What OTLP does not know yet counts as no error.
        Some(CountedPairs { listing, is_wanted, statuses: [within(2), within(0) || within(1) || within(3)] })
    }

    /// Calls `visit` with each service that has series, and these. Nothing is said of a block that cannot be read.
    pub(crate) fn each_series(&self, mut visit: impl FnMut(&str, &[u64])) {
        let series = self.listing().map(|listing| listing.series.as_slice()).unwrap_or_default();
        series.iter().for_each(|(service, series)| visit(service, series));
    }

    /// Its log records: those of one service that follow each other, a page at most; in the order of the table.
    pub(super) fn log_pages(&self) -> Result<&[LogRun], Error> {
        Ok(&self.listing()?.logs)
    }

    /// The name of a page's service.
    pub(super) fn service_of(&self, run: &LogRun) -> Result<&str, Error> {
        Ok(self.listing()?.services.get(run.service as usize).map_or("", |(name, _)| name.as_str()))
    }

    fn listing(&self) -> Result<&Listing, Error> {
        if let Some(listing) = self.listing.get() {
            return Ok(listing);
        }
        let listing = Listing::read(self)?;
        Ok(self.listing.get_or_init(|| listing))
    }

    /// Log records that follow each other, of one service if one is asked for: their rows, a page at most, and the newest time.
    pub(super) fn log_runs_of(
        &self,
        service: Option<&str>,
        range: TimeRange,
    ) -> Result<impl Iterator<Item = (Range<u32>, i64)>, Error> {
        let listing = self.listing()?;
        let wanted: Vec<bool> =
            listing.services.iter().map(|(name, _)| service.is_none_or(|wanted| name == wanted)).collect();
        let is_wanted = move |run: &&LogRun| {
            range.overlaps(run.min_time, run.max_time) && wanted.get(run.service as usize) == Some(&true)
        };
        let runs = listing.logs.iter().filter(is_wanted);
        Ok(runs.map(|run| (run.rows.clone(), run.max_time)))
    }

    /// Counts what lies within the range: rows are looked at in those row groups alone that lie partly within.
    pub(crate) fn services(&self, range: TimeRange, services: &mut Services) -> Result<(), Error> {
        let listing = self.listing()?;
        self.span_services(listing, range, services)?;
        self.log_services(listing, range, services)
    }

    fn groups(&self, table: Table) -> Result<usize, Error> {
        match self.layout(table) {
            Some(layout) => Ok(layout.groups()),
            None => Ok(self.table(table)?.groups()),
        }
    }

    /// Calls `visit` with service, name, spans and errors of each pair of a row group.
    fn each_span_count(
        &self,
        group: usize,
        mut visit: impl FnMut(&str, &str, u64, u64),
    ) -> Result<(), Error> {
        if let Some(layout) = self.layout(Table::Spans) {
            let keys = |name: &str| layout.keys(self.file(Table::Spans)?, group, name);
            let (services, names, codes) = (keys("service")?, keys("name")?, keys("status_code")?);
            let counted = services.zip(names).zip(codes);
            if counted
                .and_then(|((services, names), codes)| count(&services, &names, &codes, &mut visit))
                .is_some()
            {
                return Ok(());
            }
        }
        let table = self.table(Table::Spans)?;
        each_span_count(&table, group, TimeRange::ALL, visit)
    }

    /// The log records of a row group by service, page by page: the service, the rows, the first and the last time.
    fn log_runs(&self, group: usize) -> Result<Vec<NamedRun>, Error> {
        let services = self.log_services_of(group)?;
        let first = self.layout(Table::Logs).and_then(|layout| layout.group_rows(group));
        let first = match first {
            Some(rows) => rows.start,
            None => self.table(Table::Logs)?.first_row(group) as u32,
        };
        let mut ends: Vec<u32> = Vec::new();
        let mut runs: Vec<(String, Range<u32>)> = Vec::new();
        for (service, rows) in services {
            let mut from = rows.start;
            while from < rows.end {
                let to = rows.end.min((from / LOG_PAGE_ROWS as u32 + 1) * LOG_PAGE_ROWS as u32);
                ends.extend([first + from, first + to - 1]);
                runs.push((service.clone(), first + from..first + to));
                from = to;
            }
        }
        ends.dedup();
        let times = self.log_times(&ends)?;
        let time = |row: u32| ends.binary_search(&row).ok().and_then(|at| times.get(at).copied());
        let run = |(service, rows): (String, Range<u32>)| {
            let times = time(rows.start).unwrap_or_default()..time(rows.end - 1).unwrap_or_default();
            (service, rows, times)
        };
        Ok(runs.into_iter().map(run).collect())
    }

    /// The services of a row group of logs and the rows within it that each has.
    fn log_services_of(&self, group: usize) -> Result<Vec<(String, Range<u32>)>, Error> {
        let keys = match self.layout(Table::Logs) {
            Some(layout) => layout.keys(self.file(Table::Logs)?, group, "service")?,
            None => None,
        };
        if let Some(keys) = &keys
            && let Some(texts) = keys.texts()
        {
            let text = |key: Option<&u32>| key.and_then(|key| texts.get(*key as usize)).copied();
            return Ok(runs_of(
                keys.of_row.chunk_by(|a, b| a == b).map(|run| (text(run.first()), run.len())),
            ));
        }
        let mut services = Vec::new();
        for rows in self.table(Table::Logs)?.read_group(group, None, Some(&["service"]))? {
            let columns = Columns::new(&rows);
            services.extend((0..rows.num_rows()).map(|row| columns.owned("service", row)));
        }
        Ok(runs_of(services.chunk_by(|a, b| a == b).map(|run| (run.first().map(String::as_str), run.len()))))
    }

    fn log_times(&self, rows: &[u32]) -> Result<Vec<i64>, Error> {
        let mut times = Vec::with_capacity(rows.len());
        for batch in self.pick(Table::Logs, rows, Some(&["time"]))? {
            let columns = Columns::new(&batch);
            times.extend((0..batch.num_rows()).map(|row| columns.time("time", row)));
        }
        Ok(times)
    }

    fn is_within(&self, range: TimeRange) -> bool {
        range.contains(self.min_time()) && range.contains(self.max_time())
    }

    fn span_services(
        &self,
        listing: &Listing,
        range: TimeRange,
        services: &mut Services,
    ) -> Result<(), Error> {
        if self.is_within(range) {
            let counted = listing.pairs.iter().map(|pair| (pair.spans, pair.errors));
            add_pairs(services, &listing.pairs, counted);
            return Ok(());
        }
        let mut sums = vec![(0u64, 0u64); listing.pairs.len()];
        let table = self.table(Table::Spans)?;
        for (group, counted) in listing.spans.iter().enumerate() {
            if !overlaps(&table, group, "start_time", range) {
                continue;
            }
            if !lies_within(&table, group, "start_time", range) {
                each_span_count(&table, group, range, |service, name, spans, errors| {
                    services.of(service).into_iter().for_each(|of| of.add_spans(name, spans, errors));
                })?;
                continue;
            }
            for (pair, spans, errors) in counted {
                if let Some(sum) = sums.get_mut(*pair as usize) {
                    *sum = (sum.0 + u64::from(*spans), sum.1 + u64::from(*errors));
                }
            }
        }
        add_pairs(services, &listing.pairs, sums.into_iter());
        Ok(())
    }

    fn log_services(
        &self,
        listing: &Listing,
        range: TimeRange,
        services: &mut Services,
    ) -> Result<(), Error> {
        let mut sums = vec![0u64; listing.services.len()];
        if self.is_within(range) {
            sums = listing.services.iter().map(|(_, records)| *records).collect();
        } else {
            for run in &listing.logs {
                let n = if range.contains(run.min_time) && range.contains(run.max_time) {
                    run.rows.len()
                } else if range.overlaps(run.min_time, run.max_time) {
                    let rows: Vec<u32> = run.rows.clone().collect();
                    self.log_times(&rows)?.into_iter().filter(|time| range.contains(*time)).count()
                } else {
                    0
                };
                if let Some(sum) = sums.get_mut(run.service as usize) {
                    *sum += n as u64;
                }
            }
        }
        for ((service, _), sum) in listing.services.iter().zip(sums).filter(|(_, sum)| *sum > 0) {
            services.of(service).into_iter().for_each(|of| of.add_logs(sum));
        }
        Ok(())
    }
}

/// Adds spans and errors of each pair; pairs of a service follow each other.
fn add_pairs(services: &mut Services, pairs: &[Pair], mut counts: impl Iterator<Item = (u64, u64)>) {
    for of_service in pairs.chunk_by(|a, b| a.service == b.service) {
        let name = of_service.first().map_or("", |pair| &pair.service);
        let counted: Vec<_> = of_service.iter().zip(counts.by_ref().take(of_service.len())).collect();
        // A service that has nothing within the range is not listed.
        let mut counted = counted.into_iter().filter(|(_, (spans, _))| *spans > 0).peekable();
        if counted.peek().is_some()
            && let Some(of) = services.of(name)
        {
            counted.for_each(|(pair, (spans, errors))| of.add_spans(&pair.name, spans, errors));
        }
    }
}

/// Counts pairs of a service and a name by their keys.
fn count<'a>(
    services: &'a PickedKeys,
    names: &'a PickedKeys,
    codes: &PickedKeys,
    visit: &mut impl FnMut(&str, &str, u64, u64),
) -> Option<()> {
    let (service_texts, name_texts) = (services.texts()?, names.texts()?);
    let is_error: Vec<bool> = codes.numbers().iter().map(|code| *code == 2).collect();
    let mut counts = Counts::new(service_texts.len(), name_texts.len());
    for ((service, name), code) in services.of_row.iter().zip(&names.of_row).zip(&codes.of_row) {
        counts.add(*service as usize, *name as usize, *is_error.get(*code as usize)?);
    }
    let text =
        |texts: &[&str], key: usize| texts.get(key).map_or_else(String::new, |text| (*text).to_owned());
    counts.each(|service, name, spans, errors| {
        visit(&text(&service_texts, service), &text(&name_texts, name), spans, errors);
    });
    Some(())
}

/// Runs of equal services as rows.
fn runs_of<'a>(runs: impl Iterator<Item = (Option<&'a str>, usize)>) -> Vec<(String, Range<u32>)> {
    let mut from = 0;
    let rows = runs.map(|(service, n)| {
        let rows = from..from + n as u32;
        from = rows.end;
        (service.unwrap_or_default().to_owned(), rows)
    });
    rows.collect()
}

fn overlaps(table: &TableReader, group: usize, column: &str, range: TimeRange) -> bool {
    overlaps_number(table.group(group), column, range.start, range.end.saturating_sub(1))
}

/// Calls `visit` with service, name, spans and errors of each pair of a row group that lies within the range.
fn each_span_count(
    table: &TableReader,
    group: usize,
    range: TimeRange,
    mut visit: impl FnMut(&str, &str, u64, u64),
) -> Result<(), Error> {
    let mut wanted = vec!["service", "name", "status_code"];
    wanted.extend((!lies_within(table, group, "start_time", range)).then_some("start_time"));
    for rows in table.read_group(group, None, Some(&wanted))? {
        let columns = Columns::new(&rows);
        let (Some(of_service), Some(of_name), Some(status)) = (
            Keys::of(&columns, "service"),
            Keys::of(&columns, "name"),
            columns.numbers::<UInt8Type>("status_code"),
        ) else {
            continue;
        };
        let times = columns.times("start_time");
        let mut counts = Counts::new(of_service.texts.len(), of_name.texts.len());
        for (row, status) in status.values().iter().enumerate() {
            if let (Some(service), Some(name)) = (of_service.keys.key(row), of_name.keys.key(row))
                && is_counted(times, range, row)
            {
                counts.add(service, name, *status == 2);
            }
        }
        counts.each(|service, name, spans, errors| {
            visit(of_service.text(service), of_name.text(name), spans, errors);
        });
    }
    Ok(())
}

/// Spans and errors by service and name.
enum Counts {
    Table { n_names: usize, cells: Vec<(u64, u64)> },
    Map(BTreeMap<(usize, usize), (u64, u64)>),
}

impl Counts {
    fn new(n_services: usize, n_names: usize) -> Counts {
        match n_services.saturating_mul(n_names) {
            n_cells if n_cells <= TABLE_CELLS_MAX => Counts::Table { n_names, cells: vec![(0, 0); n_cells] },
            _ => Counts::Map(BTreeMap::new()),
        }
    }

    fn add(&mut self, service: usize, name: usize, is_error: bool) {
        let cell = match self {
            Counts::Table { n_names, cells } => cells.get_mut(service * *n_names + name),
            Counts::Map(cells) => Some(cells.entry((service, name)).or_default()),
        };
        if let Some((spans, errors)) = cell {
            *spans += 1;
            *errors += u64::from(is_error);
        }
    }

    /// Calls `visit` with service, name, spans and errors of each pair that occurs.
    fn each(&self, mut visit: impl FnMut(usize, usize, u64, u64)) {
        match self {
            Counts::Table { n_names, cells } => {
                let used = cells.iter().enumerate().filter(|(_, (spans, _))| *spans > 0);
                used.for_each(|(at, (spans, errors))| visit(at / n_names, at % n_names, *spans, *errors));
            }
            Counts::Map(cells) => {
                cells.iter().for_each(|((service, name), (spans, errors))| {
                    visit(*service, *name, *spans, *errors);
                });
            }
        }
    }
}
