//! What log records of a service say of its requests: distinct traces by minute, in one pass over columns.

use std::collections::HashMap;

use throughline_model::Level;
use throughline_store::{FieldWant, LogScan, LogVisitor, More, ScannedLogs, Snapshot, TimeRange};

use super::Minutes;

/// Records that are looked at.
const ROWS_MAX: usize = 10_000_000;
/// Distinct traces that are told apart: 50 MB.
const TRACES_MAX: usize = 1_000_000;

/// What is known of a trace: the first time, whether it has an ERROR, whether it was not sampled.
#[derive(Clone, Copy)]
struct Known {
    first: i64,
    is_error: bool,
    is_unsampled: bool,
}

struct Pass<'m> {
    minutes: &'m mut Minutes,
    traces: HashMap<[u8; 16], Known>,
    rows: usize,
    is_cut: bool,
}

/// Adds the records of a service to the rows. What could not be read is named in the answer.
pub(super) fn count(
    snapshot: &Snapshot,
    service: &str,
    range: TimeRange,
    minutes: &mut Minutes,
) -> Vec<String> {
    let services = [service.to_owned()];
    let mut pass = Pass { minutes, traces: HashMap::new(), rows: 0, is_cut: false };
    let scan = LogScan {
        services: Some(&services),
        fields: FieldWant { level: true, context: true, rest: true, ..FieldWant::default() },
        ..LogScan::new(range)
    };
    let mut partial = snapshot.scan_logs(&scan, &mut pass);
    if pass.is_cut {
        partial.push(format!(
            "log records beyond {ROWS_MAX}, or of more than {TRACES_MAX} traces, are not counted; narrow the window"
        ));
    }
    let Pass { minutes, traces, .. } = pass;
    // A trace counts in the minute of its first record, so that no trace counts twice.
    for known in traces.values() {
        if let Some(row) = minutes.at(known.first) {
            row.logs.traces += 1;
            row.logs.error_traces += u64::from(known.is_error);
            row.logs.unsampled_traces += u64::from(known.is_unsampled);
        }
    }
    partial
}

impl LogVisitor for Pass<'_> {
    fn origin(&mut self, _service: &str, _resource: &str, _scope: &str) -> Option<u32> {
        Some(0)
    }

    fn looks_at(&mut self, rows: usize) -> bool {
        self.is_cut |= self.rows >= ROWS_MAX;
        self.rows = self.rows.saturating_add(rows);
        !self.is_cut
    }

    fn rows(&mut self, rows: &ScannedLogs<'_>) -> More {
        let levels = rows.fields.levels(rows.origins.len());
        for (row, level) in levels.iter().enumerate() {
            let time = rows.times.get(row).copied().unwrap_or_default();
            let (trace, _) = rows.fields.context(row);
            let is_error = *level >= Level::Error;
            if let Some(minute) = self.minutes.at(time) {
                minute.logs.records += 1;
                minute.logs.error_records += u64::from(is_error);
                minute.logs.errors_without_trace += u64::from(is_error && trace.is_none());
            }
            let Some(id) = trace else { continue };
            if self.traces.len() >= TRACES_MAX && !self.traces.contains_key(&id.0) {
                self.is_cut = true;
                continue;
            }
            let new = Known { first: time, is_error: false, is_unsampled: false };
            let known = self.traces.entry(id.0).or_insert(new);
            known.first = known.first.min(time);
            known.is_error |= is_error;
            known.is_unsampled |= rows.fields.is_unsampled(row);
        }
        More::All
    }
}
