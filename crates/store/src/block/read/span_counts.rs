//! Counts of a block's spans by service, kind and time: row groups by their statistics, then five columns.

use arrow_array::types::{Float64Type, UInt8Type};
use arrow_array::{Array as _, RecordBatch};

use super::search::{overlaps_number, overlaps_text};
use super::{Block, Columns};
use crate::block::Table;
use crate::error::Error;
use crate::snapshot::span_counts::{SpanCountQuery, SpanCounts};

impl Block {
    pub(crate) fn count_spans(&self, query: &SpanCountQuery, counts: &mut SpanCounts) -> Result<(), Error> {
        let table = self.table(Table::Spans)?;
        for group in 0..table.groups() {
            let meta = table.group(group);
            let may_match = overlaps_text(meta, "service", query.service.as_deref())
                && overlaps_number(meta, "start_time", query.range.start, query.range.end.saturating_sub(1));
            if !may_match {
                continue;
            }
            let wanted = ["service", "kind", "start_time", "status_code", "adjusted_count"];
            for rows in table.read_group(group, None, Some(&wanted))? {
                count(&rows, query, counts);
            }
        }
        Ok(())
    }
}

fn count(rows: &RecordBatch, query: &SpanCountQuery, counts: &mut SpanCounts) {
    let columns = Columns::new(rows);
    let (Some((keys, names)), Some(kinds), Some(starts), Some(codes)) = (
        columns.dictionary("service"),
        columns.numbers::<UInt8Type>("kind"),
        columns.times("start_time"),
        columns.numbers::<UInt8Type>("status_code"),
    ) else {
        return;
    };
    let weights = columns.numbers::<Float64Type>("adjusted_count");
    let is_wanted = |name: &str| query.service.as_deref().is_none_or(|wanted| wanted == name);
    let mut number =
        |name: Option<&str>| name.filter(|name| is_wanted(name)).map(|name| counts.service(name));
    let services: Vec<Option<u32>> = names.iter().map(&mut number).collect();
    for (row, (start, (kind, code))) in
        starts.values().iter().zip(kinds.values().iter().zip(codes.values())).enumerate()
    {
        let service = keys.key(row).and_then(|key| services.get(key).copied()).flatten();
        if let Some(service) = service.filter(|_| query.range.contains(*start)) {
            let weight = weights.filter(|weights| !weights.is_null(row)).map(|weights| weights.value(row));
            counts.add(service, *kind, *start, *code == 2, weight);
        }
    }
}
