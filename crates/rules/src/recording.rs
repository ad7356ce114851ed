//! Recording rules: the result of a query under a new name.

use std::collections::{BTreeMap, HashSet};

use throughline_exec::METRIC_NAME;

use crate::sample::{Querier, Sample};

/// A recording rule.
#[derive(Debug)]
pub struct RecordingRule {
    /// The series that it writes.
    pub name: String,
    /// The query, as the parser prints it.
    pub expr: String,
    /// Labels that it sets.
    pub labels: BTreeMap<String, String>,
}

impl RecordingRule {
    /// The samples at a moment.
    pub fn evaluate(
        &self,
        query_ms: i64,
        querier: &dyn Querier,
        limit: usize,
    ) -> Result<Vec<Sample>, String> {
        let mut samples = querier.instant(&self.expr, query_ms)?;
        let mut seen = HashSet::with_capacity(samples.len());
        for sample in &mut samples {
            let mut labels = sample.labels.to_builder();
            labels.set(METRIC_NAME, &self.name);
            for (name, value) in &self.labels {
                labels.set(name, value);
            }
            sample.labels = labels.build();
            sample.time_ms = query_ms;
            if !seen.insert(sample.labels.clone()) {
                return Err(
                    "vector contains metrics with the same labelset after applying rule labels".to_owned()
                );
            }
        }
        if limit > 0 && samples.len() > limit {
            return Err(format!("exceeded limit of {limit} with {} series", samples.len()));
        }
        Ok(samples)
    }
}
