//! Start times of OpenMetrics: `_created` samples stand after the samples that they date, so they are read first.
//!
//! They are shown as samples as well, as Prometheus stores them.

use std::collections::HashMap;

use throughline_model::point::MetricType;
use xxhash_rust::xxh3::Xxh3;

use super::text::{Dialect, Lines, cursor, metric_name};
use super::{ExpositionError, Metadata, Pair};

/// When the series of a page began.
#[derive(Default)]
pub struct Starts {
    /// By family and labels, bounds and quantiles aside.
    by_series: HashMap<u128, i64>,
}

impl Starts {
    /// Reads them from a page of OpenMetrics.
    pub fn collect(text: &str) -> Result<Starts, ExpositionError> {
        let mut starts = Starts::default();
        let mut lines = Lines::new(text, Dialect::OpenMetrics);
        let mut labels = Vec::new();
        while let Some(line) = lines.next_sample()? {
            if !line.contains("_created") {
                continue;
            }
            let reading = cursor(line).sample(&mut labels).map_err(|detail| lines.error(detail))?;
            let name = metric_name(&labels);
            let metadata = lines.family.metadata_of(name);
            let is_start = has_start(metadata.kind) && name.ends_with("_created") && name != metadata.family;
            let at = super::text::milliseconds(reading.value);
            if let (true, Some(at)) = (is_start, at) {
                starts.by_series.insert(key(&metadata, &labels), at);
            }
        }
        Ok(starts)
    }

    /// When a series began; 0 where that is not said.
    pub fn of(&self, metadata: &Metadata<'_>, labels: &[Pair<'_>]) -> i64 {
        if self.by_series.is_empty() || !has_start(metadata.kind) || metric_name(labels).ends_with("_created")
        {
            return 0;
        }
        self.by_series.get(&key(metadata, labels)).copied().unwrap_or(0)
    }
}

fn has_start(kind: MetricType) -> bool {
    matches!(kind, MetricType::Counter | MetricType::Histogram | MetricType::Summary)
}

fn key(metadata: &Metadata<'_>, labels: &[Pair<'_>]) -> u128 {
    let own = |(name, _): &&Pair<'_>| name != "le" && name != "quantile";
    let mut sorted: Vec<&Pair<'_>> = labels.iter().skip(1).filter(own).collect();
    sorted.sort_unstable();
    let mut hash = Xxh3::new();
    hash.update(metadata.family.as_bytes());
    for (name, value) in sorted {
        // No text of UTF-8 has this byte.
        hash.update(&[0xff]);
        hash.update(name.as_bytes());
        hash.update(&[0xff]);
        hash.update(value.as_bytes());
    }
    hash.digest128()
}
