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
use crate::snapshot::TimeRange;
use crate::snapshot::merge::Services;

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
    /// Services and names of spans that occur together.
    pairs: Vec<(String, String)>,
    /// For each row group of spans its pairs, how many spans each has and how many of them are errors.
    spans: Vec<Vec<(u32, u32, u32)>>,
    /// Services of log records.
    services: Vec<String>,
    /// Log records of one service that follow each other, a page at most; in the order of the table.
    logs: Vec<LogRun>,
    /// The fingerprints of each service's series.
    series: BTreeMap<String, Vec<[u8; 16]>>,
}

/// Log records of one service by time.
struct LogRun {
    service: u32,
    rows: Range<u32>,
    min_time: i64,
    max_time: i64,
}

/// The same with the service's name, and the first and the last time.
type NamedRun = (String, Range<u32>, Range<i64>);

impl Listing {
    fn read(block: &Block) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        let mut numbers: HashMap<String, HashMap<String, u32>> = HashMap::new();
        for group in 0..block.groups(Table::Spans)? {
            let mut of_group = Vec::new();
            let pairs = &mut listing.pairs;
            block.each_span_count(group, |service, name, spans, errors| {
                let known = numbers.get(service).and_then(|names| names.get(name)).copied();
                let pair = known.unwrap_or_else(|| {
                    let next = pairs.len() as u32;
                    pairs.push((service.to_owned(), name.to_owned()));
                    numbers.entry(service.to_owned()).or_default().insert(name.to_owned(), next);
                    next
                });
                of_group.push((pair, spans as u32, errors as u32));
            })?;
            listing.spans.push(of_group);
        }
        let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
        for group in 0..block.groups(Table::Logs)? {
            let runs = block.log_runs(group)?;
            for (service, rows, times) in runs {
                let next = numbers.len() as u32;
                let service = *numbers.entry(service).or_insert(next);
                listing.logs.push(LogRun { service, rows, min_time: times.start, max_time: times.end });
            }
        }
        listing.services = by_number(numbers);
        let series = block.table(Table::Series)?;
        for group in 0..series.groups() {
            for rows in series.read_group(group, None, Some(&["service", "fingerprint"]))? {
                let columns = Columns::new(&rows);
                for row in 0..rows.num_rows() {
                    let fingerprint = columns.bytes("fingerprint", row).unwrap_or_default();
                    let service = columns.text("service", row).unwrap_or_default();
                    if !listing.series.contains_key(service) {
                        listing.series.insert(service.to_owned(), Vec::new());
                    }
                    let of_service = listing.series.get_mut(service);
                    of_service.into_iter().for_each(|list| list.extend(<[u8; 16]>::try_from(fingerprint)));
                }
            }
        }
        listing.series.values_mut().for_each(|fingerprints| fingerprints.sort_unstable());
        Ok(listing)
    }
}

fn by_number<T>(numbers: BTreeMap<T, u32>) -> Vec<T> {
    let mut items: Vec<(T, u32)> = numbers.into_iter().collect();
    items.sort_by_key(|(_, number)| *number);
    items.into_iter().map(|(item, _)| item).collect()
}

impl Block {
    /// Counts what its services have sent, if that was not done before.
    pub(crate) fn list_services(&self) -> Result<(), Error> {
        self.listing().map(|_| ())
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
            listing.services.iter().map(|name| service.is_none_or(|wanted| name == wanted)).collect();
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
        self.log_services(listing, range, services)?;
        listing.series.iter().for_each(|(service, fingerprints)| services.series(service, fingerprints));
        Ok(())
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
        let mut count = |service: &str, name: &str, spans: u64, errors: u64| {
            services.with(service, |summary| {
                summary.span_count += spans;
                summary.error_count += errors;
            });
            services.operation(service, name);
        };
        let mut sums = vec![(0u64, 0u64); listing.pairs.len()];
        let table = if self.is_within(range) { None } else { Some(self.table(Table::Spans)?) };
        for (group, counted) in listing.spans.iter().enumerate() {
            match &table {
                Some(table) if !overlaps(table, group, "start_time", range) => {}
                Some(table) if !lies_within(table, group, "start_time", range) => {
                    each_span_count(table, group, range, &mut count)?;
                }
                _ => counted.iter().for_each(|(pair, spans, errors)| {
                    if let Some(sum) = sums.get_mut(*pair as usize) {
                        *sum = (sum.0 + u64::from(*spans), sum.1 + u64::from(*errors));
                    }
                }),
            }
        }
        let counted = listing.pairs.iter().zip(sums).filter(|(_, (spans, _))| *spans > 0);
        counted.for_each(|((service, name), (spans, errors))| count(service, name, spans, errors));
        Ok(())
    }

    fn log_services(
        &self,
        listing: &Listing,
        range: TimeRange,
        services: &mut Services,
    ) -> Result<(), Error> {
        let mut sums = vec![0u64; listing.services.len()];
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
        for (service, sum) in listing.services.iter().zip(sums).filter(|(_, sum)| *sum > 0) {
            services.with(service, |summary| summary.log_count += sum);
        }
        Ok(())
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
