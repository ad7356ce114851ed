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
fn lies_within(table: &TableReader, group: usize, column: &str, range: TimeRange) -> bool {
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

impl Block {
    /// Counts what lies within the range.
    pub(crate) fn services(&self, range: TimeRange, services: &mut Services) -> Result<(), Error> {
        self.span_services(range, services)?;
        self.log_services(range, services)?;
        let series = self.table(Table::Series)?;
        for group in 0..series.groups() {
            for rows in series.read_group(group, None, Some(&["service", "fingerprint"]))? {
                let columns = Columns::new(&rows);
                for row in 0..rows.num_rows() {
                    let fingerprint = columns.bytes("fingerprint", row).unwrap_or_default();
                    services.series(columns.text("service", row).unwrap_or_default(), fingerprint);
                }
            }
        }
        Ok(())
    }

    fn span_services(&self, range: TimeRange, services: &mut Services) -> Result<(), Error> {
        let table = self.table(Table::Spans)?;
        for group in 0..table.groups() {
            if !overlaps_number(table.group(group), "start_time", range.start, range.end.saturating_sub(1)) {
                continue;
            }
            let mut wanted = vec!["service", "name", "status_code"];
            wanted.extend((!lies_within(&table, group, "start_time", range)).then_some("start_time"));
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
                    let service = of_service.text(service);
                    services.with(service, |summary| {
                        summary.span_count += spans;
                        summary.error_count += errors;
                    });
                    services.operation(service, of_name.text(name));
                });
            }
        }
        Ok(())
    }

    fn log_services(&self, range: TimeRange, services: &mut Services) -> Result<(), Error> {
        let table = self.table(Table::Logs)?;
        for group in 0..table.groups() {
            if !overlaps_number(table.group(group), "time", range.start, range.end.saturating_sub(1)) {
                continue;
            }
            let mut wanted = vec!["service"];
            wanted.extend((!lies_within(&table, group, "time", range)).then_some("time"));
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
                    services.with(of_service.text(key), |summary| summary.log_count += count);
                }
            }
        }
        Ok(())
    }
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
