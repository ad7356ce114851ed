//! How long the traces of each route of a block last, those included whose spans were dropped.

use std::sync::Arc;

use ahash::AHashMap as HashMap;
use arrow_array::Array;
use arrow_array::types::{Int64Type, UInt32Type};
use throughline_model::TraceId;
use throughline_sampling::{Durations, Routes};

use super::{Block, Columns};
use crate::block::Table;
use crate::error::Error;
use crate::sample::Mentions;

impl Block {
    /// The durations of the block's routes, computed when somebody asks first.
    pub(crate) fn routes(&self) -> Result<Arc<Routes>, Error> {
        if let Some(routes) = self.routes.get() {
            return Ok(routes.clone());
        }
        let routes = Arc::new(self.read_routes()?);
        Ok(self.routes.get_or_init(|| routes).clone())
    }

    fn read_routes(&self) -> Result<Routes, Error> {
        let mut routes = Routes::default();
        let table = self.table(Table::Traces)?.with_dictionaries()?;
        let names = ["root_service", "root_name", "duration_ns", "span_count", "dropped_spans"];
        for group in 0..table.groups() {
            for batch in table.read_group(group, None, Some(&names))? {
                let columns = Columns::new(&batch);
                let (Some((services, service_names)), Some((operations, operation_names))) =
                    (columns.dictionary("root_service"), columns.dictionary("root_name"))
                else {
                    continue;
                };
                let (durations, spans) = (
                    columns.numbers::<Int64Type>("duration_ns"),
                    columns.numbers::<UInt32Type>("span_count"),
                );
                let dropped = columns.numbers::<UInt32Type>("dropped_spans");
                let mut of_keys: HashMap<(usize, usize), Durations> = HashMap::new();
                for row in 0..batch.num_rows() {
                    let has_spans = spans.is_some_and(|spans| spans.value(row) > 0);
                    let had_spans = dropped.is_some_and(|dropped| dropped.is_valid(row));
                    let (Some(service), Some(operation)) = (services.key(row), operations.key(row)) else {
                        continue;
                    };
                    if has_spans || had_spans {
                        let duration = durations.map_or(0, |durations| durations.value(row));
                        of_keys.entry((service, operation)).or_default().add(duration);
                    }
                }
                for ((service, operation), durations) in of_keys {
                    let (service, operation) =
                        (service_names.value(service), operation_names.value(operation));
                    routes.add_all(service, operation, &durations);
                }
            }
        }
        Ok(routes)
    }

    /// What the block has of a trace beside what is merged.
    pub(crate) fn mentions(&self, id: TraceId) -> Result<Mentions, Error> {
        let Some(row) = self.trace_row(id)? else { return Ok(Mentions::default()) };
        let postings = self.index().postings(row)?;
        let mut error_logs = 0;
        if !postings.logs.is_empty() {
            let batches = self.pick(Table::Traces, &[row], Some(&["error_log_count"]))?;
            let count = batches.first().and_then(|batch| Columns::new(batch).u32("error_log_count", 0));
            error_logs = u64::from(count.unwrap_or_default());
        }
        Ok(Mentions {
            has_spans: postings.span_count > 0,
            error_logs,
            exemplars: postings.exemplars.len() as u64,
        })
    }
}
