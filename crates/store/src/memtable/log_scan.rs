//! Scans of a memtable's log records, one mini-batch at a time.

use ahash::AHashMap as HashMap;
use arrow_array::types::UInt8Type;
use arrow_array::{Array as _, RecordBatch, StringArray};
use throughline_model::Level;
use throughline_model::batch::{
    column_dictionary, column_fixed, column_number, column_text, column_time, log,
};

use super::{MemtableView, MiniBatch};
use crate::block::settled::mask;
use crate::snapshot::log_kinds::LevelCounts;
use crate::snapshot::log_scan::{
    BodyWant, LogFields, LogScan, LogVisitor, More, PieceOf, Progress, ScannedLogs,
};

/// The text of a row of a dictionary column.
fn text_of(rows: &RecordBatch, position: usize, row: usize) -> &str {
    let column = column_dictionary(rows, position);
    let values: Option<&StringArray> = column.values().as_any().downcast_ref();
    match (values, column.key(row)) {
        (Some(values), Some(key)) if key < values.len() => values.value(key),
        _ => "",
    }
}

/// The keys of a row's resource and scope.
type OriginKeys = (Option<usize>, Option<usize>);

/// The origins of a mini-batch that were asked about.
#[derive(Default)]
struct Origins {
    known: HashMap<OriginKeys, Option<u32>>,
    last: Option<(OriginKeys, Option<u32>)>,
}

impl Origins {
    fn of(
        &mut self,
        rows: &RecordBatch,
        row: usize,
        scan: &LogScan<'_>,
        visitor: &mut dyn LogVisitor,
    ) -> Option<u32> {
        let (resources, scopes) =
            (column_dictionary(rows, log::RESOURCE), column_dictionary(rows, log::SCOPE));
        let keys = (resources.key(row), scopes.key(row));
        if let Some((last, number)) = self.last
            && last == keys
        {
            return number;
        }
        let number = *self.known.entry(keys).or_insert_with(|| {
            let service = text_of(rows, log::SERVICE, row);
            let is_wanted =
                scan.services.is_none_or(|services| services.iter().any(|wanted| wanted == service));
            let (resource, scope) = (text_of(rows, log::RESOURCE, row), text_of(rows, log::SCOPE, row));
            if is_wanted { visitor.origin(service, resource, scope) } else { None }
        });
        self.last = Some((keys, number));
        number
    }
}

impl MemtableView {
    /// The times of the oldest and the newest log record.
    pub(crate) fn log_bounds(&self) -> Option<(i64, i64)> {
        let logs = || self.contents().logs.iter();
        Some((logs().map(|mini| mini.min_time).min()?, logs().map(|mini| mini.max_time).max()?))
    }

    /// Hands out log records.
    pub(crate) fn scan_logs(
        &self,
        scan: &LogScan<'_>,
        visitor: &mut dyn LogVisitor,
        progress: &mut Progress,
    ) {
        let mut minis: Vec<&MiniBatch> = self.contents().logs.iter().map(|mini| &**mini).collect();
        if scan.few {
            match scan.newest_first {
                true => minis.sort_by_key(|mini| std::cmp::Reverse(mini.max_time)),
                false => minis.sort_by_key(|mini| mini.min_time),
            }
        }
        for mini in minis {
            if progress.is_over() {
                return;
            }
            let (min, max) = (mini.min_time, mini.max_time);
            if !scan.range.overlaps(min, max) || !progress.wants_within(min, max) {
                continue;
            }
            if !visitor.looks_at(mini.rows.num_rows()) {
                return progress.note(More::Nothing);
            }
            match scan.pieces {
                Some(pieces) if scan.trace.is_none() && scan.counts_levels() => {
                    count_mini(mini, pieces, scan, visitor, progress);
                }
                _ => scan_mini(mini, scan, visitor, progress),
            }
        }
    }
}

/// Hands out the rows of a mini-batch as counts by origin, level and piece of time.
fn count_mini(
    mini: &MiniBatch,
    pieces: &PieceOf<'_>,
    scan: &LogScan<'_>,
    visitor: &mut dyn LogVisitor,
    progress: &mut Progress,
) {
    let rows = &mini.rows;
    let bodies = column_text(rows, log::BODY);
    let levels = column_number::<UInt8Type>(rows, log::LEVEL);
    let mut of_origin = Origins::default();
    let mut counts = LevelCounts::new(scan.fields.level);
    let mut piece = (i64::MAX, i64::MIN);
    for (row, time) in column_time(rows, log::TIME).values().iter().enumerate() {
        if !scan.range.contains(*time) {
            continue;
        }
        let Some(origin) = of_origin.of(rows, row, scan, visitor) else { continue };
        if scan.is_filtered && !visitor.body(bodies.value(row)) {
            continue;
        }
        if *time < piece.0 || *time > piece.1 {
            piece = pieces(*time);
        }
        counts.add(origin, u32::from(levels.value(row)), (piece.0, *time), 1);
    }
    counts.hand_out(visitor, progress);
}

fn scan_mini(mini: &MiniBatch, scan: &LogScan<'_>, visitor: &mut dyn LogVisitor, progress: &mut Progress) {
    let rows = &mini.rows;
    let all_times = column_time(rows, log::TIME).values();
    let all_bodies = column_text(rows, log::BODY);
    let ids = column_fixed(rows, log::TRACE_ID);
    let levels = column_number::<UInt8Type>(rows, log::LEVEL);
    let is_among = |row: usize| {
        scan.among.is_none_or(|among| match ids.is_null(row) {
            true => Level::from_code(levels.value(row)) >= among.loose,
            false => among.traces.binary_search_by(|id| id.0.as_slice().cmp(ids.value(row))).is_ok(),
        })
    };
    let mut of_origin = Origins::default();
    let (mut at, mut origins) = (Vec::new(), Vec::new());
    let mut look = |row: usize| {
        let Some(time) = all_times.get(row) else { return };
        if !scan.range.contains(*time) || !progress.wants(*time) || !is_among(row) {
            return;
        }
        let Some(origin) = of_origin.of(rows, row, scan, visitor) else { return };
        if !scan.is_filtered || visitor.body(all_bodies.value(row)) {
            at.push(row);
            origins.push(origin);
        }
    };
    match scan.trace {
        Some(id) => mini.rows_of(id.fingerprint()).filter(|row| ids.value(*row) == id.0).for_each(&mut look),
        None => (0..rows.num_rows()).for_each(&mut look),
    }
    if at.is_empty() {
        return;
    }
    let times: Vec<i64> = at.iter().filter_map(|row| all_times.get(*row).copied()).collect();
    let body = |row: &usize| all_bodies.value(*row);
    let masks: Vec<String> = match scan.bodies {
        BodyWant::Mask => at.iter().map(|row| mask(body(row)).into_owned()).collect(),
        _ => Vec::new(),
    };
    let bodies: Vec<&str> = match scan.bodies {
        BodyWant::Text | BodyWant::Judged => at.iter().map(body).collect(),
        _ => masks.iter().map(String::as_str).collect(),
    };
    let body_bytes: Vec<u32> = match scan.bodies {
        BodyWant::None | BodyWant::Mask | BodyWant::Judged => Vec::new(),
        _ => at.iter().map(|row| u32::try_from(body(row).len()).unwrap_or(u32::MAX)).collect(),
    };
    let fields = if scan.fields.is_none() { LogFields::None } else { LogFields::Memtable(rows, &at) };
    let scanned = ScannedLogs {
        origins: &origins,
        times: &times,
        counts: &[],
        bodies: &bodies,
        body_bytes: &body_bytes,
        fields,
    };
    progress.note(visitor.rows(&scanned));
}
