//! Counts of a memtable's spans by service, kind and time.

use arrow_array::types::{Float64Type, UInt8Type};
use arrow_array::{Array as _, StringArray};
use throughline_model::batch::{column_dictionary, column_number, column_time, span};

use super::MemtableView;
use crate::snapshot::span_counts::{SpanCountQuery, SpanCounts};

impl MemtableView {
    pub(crate) fn count_spans(&self, query: &SpanCountQuery, counts: &mut SpanCounts) {
        let minis = self.contents().spans.iter();
        for mini in minis.filter(|mini| query.range.overlaps(mini.min_time, mini.max_time)) {
            let rows = &mini.rows;
            let of_service = column_dictionary(rows, span::SERVICE);
            let names: Option<&StringArray> = of_service.values().as_any().downcast_ref();
            let is_wanted = |name: &str| query.service.as_deref().is_none_or(|wanted| wanted == name);
            let mut number =
                |name: Option<&str>| name.filter(|name| is_wanted(name)).map(|name| counts.service(name));
            let services: Vec<Option<u32>> =
                names.into_iter().flat_map(|names| names.iter()).map(&mut number).collect();
            let kinds = column_number::<UInt8Type>(rows, span::KIND).values();
            let codes = column_number::<UInt8Type>(rows, span::STATUS_CODE).values();
            let starts = column_time(rows, span::START_TIME).values();
            let weights = column_number::<Float64Type>(rows, span::ADJUSTED_COUNT);
            for (row, (start, (kind, code))) in starts.iter().zip(kinds.iter().zip(codes)).enumerate() {
                let service = of_service.key(row).and_then(|key| services.get(key).copied()).flatten();
                if let Some(service) = service.filter(|_| query.range.contains(*start)) {
                    let weight = (!weights.is_null(row)).then(|| weights.value(row));
                    counts.add(service, *kind, *start, *code == 2, weight);
                }
            }
        }
    }
}
