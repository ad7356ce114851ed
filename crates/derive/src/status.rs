//! What there is to know of the derivation: its size, what became of requests' sides, and which attribute made a metric
//! overflow.

use std::collections::BTreeMap;

use crate::deriver::Deriver;
use crate::graph::GraphCounts;
use crate::table::Table;

/// The metrics that have a limit each.
pub const METRICS: [&str; 3] =
    ["traces_spanmetrics", "traces_service_graph_request", "traces_service_graph_unpaired_spans"];

/// A picture of the derivation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Spans counted since the start of the process.
    pub spans: u64,
    /// Sets of labels per metric.
    pub series: Vec<(&'static str, usize)>,
    /// What was counted in overflow series since the start of the process, by metric and the guilty attribute.
    pub overflowed: Vec<(&'static str, String, u64)>,
    /// Sides of requests that wait for the other.
    pub waiting_sides: usize,
    /// What became of the sides.
    pub sides: GraphCounts,
    /// Stored batches that are not counted yet.
    pub waiting_batches: usize,
    /// The size of the last checkpoint.
    pub checkpoint_bytes: usize,
    /// Emissions that were stored.
    pub emissions: u64,
    /// Emissions that were not.
    pub failed_emissions: u64,
    /// Samples in stored emissions.
    pub samples: u64,
}

impl Status {
    pub(crate) fn of(deriver: &Deriver, overflows: &Overflows) -> Status {
        let graph = deriver.graph.as_ref();
        let mut series = vec![(METRICS[0], deriver.red.table.len())];
        if let Some(graph) = graph {
            series.extend([(METRICS[1], graph.edges.table.len()), (METRICS[2], graph.unpaired.len())]);
        }
        let overflowed = overflows.by_attribute.iter();
        Status {
            spans: deriver.spans,
            series,
            overflowed: overflowed.map(|((metric, label), n)| (*metric, label.clone(), *n)).collect(),
            waiting_sides: graph.map_or(0, |graph| graph.pairing.waiting()),
            sides: graph.map_or(GraphCounts::default(), |graph| graph.counts),
            ..Status::default()
        }
    }
}

/// Which attribute is to blame for what is beyond the limit: the one with most values.
#[derive(Debug, Default)]
pub(crate) struct Overflows {
    by_attribute: BTreeMap<(&'static str, String), u64>,
    seen: [u64; METRICS.len()],
}

impl Overflows {
    /// Finds who is to blame for what overflowed since the last time; a text for each that was not blamed before.
    pub fn update(&mut self, deriver: &Deriver) -> Vec<String> {
        let mut notices: Vec<String> =
            self.blame(0, &deriver.red.table, || deriver.red.labels()).into_iter().collect();
        if let Some(graph) = &deriver.graph {
            notices.extend(self.blame(1, &graph.edges.table, || graph.labels()));
            notices.extend(self.blame(2, &graph.unpaired, || graph.labels()));
        }
        notices
    }

    fn blame<V>(
        &mut self,
        metric: usize,
        table: &Table<V>,
        labels: impl FnOnce() -> Vec<String>,
    ) -> Option<String> {
        let new = table.overflowed() - std::mem::replace(&mut self.seen[metric], table.overflowed());
        if new == 0 {
            return None;
        }
        let (place, distinct, example) = table.widest()?;
        let (name, label) = (METRICS[metric], labels().get(place).cloned().unwrap_or_default());
        let text = format!(
            "{name} has {} sets of labels, which is its limit; what is new is counted together under \
             otel_metric_overflow=\"true\". {label} has most values, {distinct}, such as {example:?}",
            table.len()
        );
        let counted = self.by_attribute.entry((name, label)).or_default();
        let is_first = *counted == 0;
        *counted += new;
        is_first.then_some(text)
    }
}
