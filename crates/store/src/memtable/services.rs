//! What the services of a memtable have sent: counted once for each mini-batch, and once for each piece of many.

use ahash::AHashMap as HashMap;
use arrow_array::types::UInt8Type;
use arrow_array::{Array as _, RecordBatch, StringArray};
use throughline_model::batch::{column_dictionary, column_number, column_text, column_time, log, span};

use super::{MemtableView, MiniBatch, Minis};
use crate::snapshot::TimeRange;
use crate::snapshot::merge::Services;

/// Rows of a mini-batch that have the same service and name.
pub(super) struct Counted {
    /// The service's key.
    service: usize,
    /// One of the rows, which has the name.
    row: usize,
    rows: u64,
    errors: u64,
}

/// The rows of a piece by service and name; log records have no name.
pub(crate) struct PieceCounts {
    min_time: i64,
    max_time: i64,
    counts: Vec<((String, String), Sum)>,
}

/// Rows, and how many of them are spans in error.
#[derive(Clone, Copy, Default)]
struct Sum {
    rows: u64,
    errors: u64,
}

impl Sum {
    fn add(&mut self, other: Sum) {
        self.rows += other.rows;
        self.errors += other.errors;
    }
}

/// Sums by service and name, whose texts lie where they were found.
type Sums<'a> = HashMap<(&'a str, &'a str), Sum>;

/// How the rows of a signal are counted.
#[derive(Clone, Copy)]
struct Counting {
    count: fn(&RecordBatch, TimeRange) -> Vec<Counted>,
    service: usize,
    name: Option<usize>,
}

const SPANS: Counting = Counting { count: count_spans, service: span::SERVICE, name: Some(span::NAME) };
const LOGS: Counting = Counting { count: count_logs, service: log::SERVICE, name: None };

impl Counting {
    fn list<'a>(&self, minis: &'a Minis, range: TimeRange, sums: &mut Sums<'a>) {
        for piece in minis.pieces() {
            let counts = piece.memo.get_or_init(|| self.piece(piece.iter().map(|mini| &**mini)));
            if range.contains(counts.min_time) && range.contains(counts.max_time) {
                for ((service, name), sum) in &counts.counts {
                    sums.entry((service, name)).or_default().add(*sum);
                }
            } else if range.overlaps(counts.min_time, counts.max_time) {
                piece.iter().for_each(|mini| self.mini(mini, range, sums));
            }
        }
        minis.open().iter().for_each(|mini| self.mini(mini, range, sums));
    }

    fn piece<'a>(&self, minis: impl Iterator<Item = &'a MiniBatch>) -> PieceCounts {
        let (mut min_time, mut max_time, mut sums) = (i64::MAX, i64::MIN, Sums::new());
        for mini in minis {
            (min_time, max_time) = (min_time.min(mini.min_time), max_time.max(mini.max_time));
            self.mini(mini, TimeRange::ALL, &mut sums);
        }
        let owned =
            |((service, name), sum): ((&str, &str), Sum)| ((service.to_owned(), name.to_owned()), sum);
        PieceCounts { min_time, max_time, counts: sums.into_iter().map(owned).collect() }
    }

    /// Adds what a mini-batch has within the range; all of it is counted once and remembered.
    fn mini<'a>(&self, mini: &'a MiniBatch, range: TimeRange, sums: &mut Sums<'a>) {
        if !range.overlaps(mini.min_time, mini.max_time) {
            return;
        }
        let mut add = |counted: &Counted| {
            let service = dictionary_text(&mini.rows, self.service, counted.service);
            let name = self.name.map_or("", |name| column_text(&mini.rows, name).value(counted.row));
            let sum = Sum { rows: counted.rows, errors: counted.errors };
            sums.entry((service, name)).or_default().add(sum);
        };
        let is_whole = range.contains(mini.min_time) && range.contains(mini.max_time);
        match is_whole {
            true => {
                let all = mini.counted.get_or_init(|| (self.count)(&mini.rows, TimeRange::ALL));
                all.iter().for_each(&mut add);
            }
            false => (self.count)(&mini.rows, range).iter().for_each(&mut add),
        }
    }
}

impl MemtableView {
    /// Adds what its services have sent.
    pub(crate) fn services(&self, range: TimeRange, services: &mut Services) {
        let mut sums = Sums::new();
        SPANS.list(&self.contents().spans, range, &mut sums);
        for ((service, name), sum) in sums.drain() {
            services.with(service, |summary| {
                summary.span_count += sum.rows;
                summary.error_count += sum.errors;
            });
            services.operation(service, name);
        }
        LOGS.list(&self.contents().logs, range, &mut sums);
        for ((service, _), sum) in sums {
            services.with(service, |summary| summary.log_count += sum.rows);
        }
        let mut series: HashMap<&str, Vec<[u8; 16]>> = HashMap::new();
        for entry in self.contents().series.iter() {
            series.entry(&entry.service).or_default().push(entry.fingerprint);
        }
        series.into_iter().for_each(|(service, fingerprints)| services.series(service, &fingerprints));
    }
}

fn count_spans(rows: &RecordBatch, range: TimeRange) -> Vec<Counted> {
    let starts = column_time(rows, span::START_TIME).values();
    let status = column_number::<UInt8Type>(rows, span::STATUS_CODE).values();
    let names = column_text(rows, span::NAME);
    let of_service = column_dictionary(rows, span::SERVICE);
    let mut counts: HashMap<(usize, &str), Counted> = HashMap::new();
    for (row, (start, status)) in starts.iter().zip(status).enumerate() {
        if let Some(service) = of_service.key(row).filter(|_| range.contains(*start)) {
            let counted = counts.entry((service, names.value(row)));
            let counted = counted.or_insert(Counted { service, row, rows: 0, errors: 0 });
            counted.rows += 1;
            counted.errors += u64::from(*status == 2);
        }
    }
    counts.into_values().collect()
}

fn count_logs(rows: &RecordBatch, range: TimeRange) -> Vec<Counted> {
    let times = column_time(rows, log::TIME).values();
    let of_service = column_dictionary(rows, log::SERVICE);
    let mut counts: HashMap<usize, Counted> = HashMap::new();
    for (row, _) in times.iter().enumerate().filter(|(_, time)| range.contains(**time)) {
        let service = of_service.key(row).unwrap_or(usize::MAX);
        counts.entry(service).or_insert(Counted { service, row, rows: 0, errors: 0 }).rows += 1;
    }
    counts.into_values().collect()
}

/// The text of a key of a dictionary column.
fn dictionary_text(rows: &RecordBatch, position: usize, key: usize) -> &str {
    let values: Option<&StringArray> = column_dictionary(rows, position).values().as_any().downcast_ref();
    values.filter(|values| key < values.len()).map_or("", |values| values.value(key))
}
