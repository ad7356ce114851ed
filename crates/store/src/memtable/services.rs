//! What the services of a memtable have sent: counted once for each mini-batch, and once for each piece of many.

use ahash::AHashMap as HashMap;
use arrow_array::types::UInt8Type;
use arrow_array::{Array as _, RecordBatch, StringArray};
use throughline_model::Signal;
use throughline_model::batch::{column_dictionary, column_number, column_text, column_time, log, span};

use super::growing::Piece;
use super::{MemtableView, MiniBatch, Minis};
use crate::snapshot::TimeRange;
use crate::snapshot::services::Services;

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

/// Counts a mini-batch of spans or log records and, once it is whole, the piece that came before it: for whoever asks next.
pub(super) fn count(signal: Signal, mini: &MiniBatch, piece: Option<&Piece<MiniBatch, PieceCounts>>) {
    let counting = if signal == Signal::Logs { LOGS } else { SPANS };
    mini.counted.get_or_init(|| (counting.count)(&mini.rows, TimeRange::ALL));
    if let Some(piece) = piece {
        piece.memo.get_or_init(|| counting.piece(piece.iter().map(|mini| &**mini)));
    }
}

impl MemtableView {
    /// Adds what its services have sent.
    pub(crate) fn services(&self, range: TimeRange, services: &mut Services) {
        let mut sums = Sums::new();
        SPANS.list(&self.contents().spans, range, &mut sums);
        for ((service, name), sum) in sums.drain() {
            services.of(service).into_iter().for_each(|of| of.add_spans(name, sum.rows, sum.errors));
        }
        LOGS.list(&self.contents().logs, range, &mut sums);
        for ((service, _), sum) in sums {
            services.of(service).into_iter().for_each(|of| of.add_logs(sum.rows));
        }
        let series = &self.contents().series_halves;
        for of_service in series.halves.chunk_by(|(a, _), (b, _)| a == b) {
            let name = of_service.first().and_then(|(number, _)| series.services.get(*number as usize));
            if let Some(of) = name.and_then(|name| services.of(name)) {
                of_service.iter().for_each(|(_, half)| of.add_series(*half));
            }
        }
    }
}

/// Places for the counts of the names that were met last.
const RECENT: usize = 128;

fn count_spans(rows: &RecordBatch, range: TimeRange) -> Vec<Counted> {
    let starts = column_time(rows, span::START_TIME).values();
    let status = column_number::<UInt8Type>(rows, span::STATUS_CODE).values();
    let names = column_text(rows, span::NAME);
    let of_service = column_dictionary(rows, span::SERVICE);
    let mut counts: Vec<Counted> = Vec::new();
    let mut known: HashMap<(usize, &str), usize> = HashMap::new();
    // Names repeat: most are found by their ends, and compared, without a look into the map.
    let mut recent = [0u16; RECENT];
    for (row, (start, status)) in starts.iter().zip(status).enumerate() {
        let Some(service) = of_service.key(row).filter(|_| range.contains(*start)) else { continue };
        let name = names.value(row);
        let place = place(service, name.as_bytes());
        let found = recent.get(place).and_then(|number| usize::from(*number).checked_sub(1)).filter(|at| {
            counts.get(*at).is_some_and(|like| like.service == service && names.value(like.row) == name)
        });
        let number = found.unwrap_or_else(|| {
            let number = *known.entry((service, name)).or_insert(counts.len());
            if number == counts.len() {
                counts.push(Counted { service, row, rows: 0, errors: 0 });
            }
            if let (Some(slot), Ok(number)) = (recent.get_mut(place), u16::try_from(number + 1)) {
                *slot = number;
            }
            number
        });
        if let Some(counted) = counts.get_mut(number) {
            counted.rows += 1;
            counted.errors += u64::from(*status == 2);
        }
    }
    counts
}

#[inline]
fn place(service: usize, name: &[u8]) -> usize {
    let ends = |bytes: Option<&[u8; 4]>| bytes.map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)));
    let text = ends(name.first_chunk()) << 32 ^ ends(name.last_chunk()) ^ (name.len() as u64) << 24;
    // Fibonacci hashing (Knuth, volume 3, section 6.4): the high bits depend on all others.
    let hash = (text ^ (service as u64) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> 32) as usize % RECENT
}

fn count_logs(rows: &RecordBatch, range: TimeRange) -> Vec<Counted> {
    let times = column_time(rows, log::TIME).values();
    let of_service = column_dictionary(rows, log::SERVICE);
    let mut counts: Vec<Counted> = Vec::new();
    let mut numbers: HashMap<usize, usize> = HashMap::new();
    let mut last: Option<(usize, usize)> = None;
    for (row, _) in times.iter().enumerate().filter(|(_, time)| range.contains(**time)) {
        let service = of_service.key(row).unwrap_or(usize::MAX);
        let number = match last.filter(|(of, _)| *of == service) {
            Some((_, number)) => number,
            None => *numbers.entry(service).or_insert_with(|| {
                counts.push(Counted { service, row, rows: 0, errors: 0 });
                counts.len() - 1
            }),
        };
        last = Some((service, number));
        counts.get_mut(number).into_iter().for_each(|counted| counted.rows += 1);
    }
    counts
}

/// The text of a key of a dictionary column.
fn dictionary_text(rows: &RecordBatch, position: usize, key: usize) -> &str {
    let values: Option<&StringArray> = column_dictionary(rows, position).values().as_any().downcast_ref();
    values.filter(|values| key < values.len()).map_or("", |values| values.value(key))
}
