//! What the services of a block have sent: counts over the dictionaries of whole row groups.

use std::collections::BTreeMap;

use arrow_array::types::{Int32Type, UInt8Type};
use arrow_array::{Array, DictionaryArray, StringArray, TimestampNanosecondArray};
use parquet::file::statistics::Statistics;

use super::search::{bounds, overlaps_number};
use super::{Block, Columns, TableReader};
use crate::block::Table;
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
    /// For each row group of logs its services and how many records each has.
    logs: Vec<Vec<(u32, u32)>>,
    /// The fingerprints of each service's series.
    series: BTreeMap<String, Vec<[u8; 16]>>,
}

impl Listing {
    fn read(block: &Block) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        let mut numbers: BTreeMap<(String, String), u32> = BTreeMap::new();
        let spans = block.table(Table::Spans)?;
        for group in 0..spans.groups() {
            let mut of_group = Vec::new();
            each_span_count(&spans, group, TimeRange::ALL, |service, name, spans, errors| {
                let next = numbers.len() as u32;
                let pair = *numbers.entry((service.to_owned(), name.to_owned())).or_insert(next);
                of_group.push((pair, spans as u32, errors as u32));
            })?;
            listing.spans.push(of_group);
        }
        listing.pairs = by_number(numbers);
        let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
        let logs = block.table(Table::Logs)?;
        for group in 0..logs.groups() {
            let mut of_group = Vec::new();
            each_log_count(&logs, group, TimeRange::ALL, |service, count| {
                let next = numbers.len() as u32;
                of_group.push((*numbers.entry(service.to_owned()).or_insert(next), count as u32));
            })?;
            listing.logs.push(of_group);
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

    /// Counts what lies within the range: rows are looked at in those row groups alone that lie partly within.
    pub(crate) fn services(&self, range: TimeRange, services: &mut Services) -> Result<(), Error> {
        let listing = self.listing()?;
        self.span_services(listing, range, services)?;
        self.log_services(listing, range, services)?;
        listing.series.iter().for_each(|(service, fingerprints)| services.series(service, fingerprints));
        Ok(())
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
        let mut count =
            |service: &str, count: u64| services.with(service, |summary| summary.log_count += count);
        let table = if self.is_within(range) { None } else { Some(self.table(Table::Logs)?) };
        for (group, counted) in listing.logs.iter().enumerate() {
            match &table {
                Some(table) if !overlaps(table, group, "time", range) => {}
                Some(table) if !lies_within(table, group, "time", range) => {
                    each_log_count(table, group, range, &mut count)?;
                }
                _ => counted.iter().for_each(|(service, n)| {
                    let service = listing.services.get(*service as usize);
                    count(service.map_or("", String::as_str), u64::from(*n));
                }),
            }
        }
        Ok(())
    }
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

/// Calls `visit` with service and number of records of each service of a row group that lies within the range.
fn each_log_count(
    table: &TableReader,
    group: usize,
    range: TimeRange,
    mut visit: impl FnMut(&str, u64),
) -> Result<(), Error> {
    let mut wanted = vec!["service"];
    wanted.extend((!lies_within(table, group, "time", range)).then_some("time"));
    for rows in table.read_group(group, None, Some(&wanted))? {
        let columns = Columns::new(&rows);
        let Some(of_service) = Keys::of(&columns, "service") else { continue };
        let times = columns.times("time");
        let mut counts = vec![0u64; of_service.texts.len()];
        for row in (0..rows.num_rows()).filter(|row| is_counted(times, range, *row)) {
            let count = of_service.keys.key(row).and_then(|key| counts.get_mut(key));
            *count.unwrap_or(&mut 0) += 1;
        }
        for (key, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            visit(of_service.text(key), *count);
        }
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
