//! All that is derived from spans: its state is a function of the batches in the order of the log, and of the times at
//! which they were received. Whoever observes the same batches again comes to the same state, bit by bit: that is what
//! makes counters survive a crash.

use throughline_model::SpanBatch;

use crate::columns::Spans;
use crate::config::DeriveConfig;
use crate::graph::ServiceGraph;
use crate::red::SpanMetrics;

/// A series in which nothing is counted for so long is forgotten: a quarter of an hour, as with other derivations.
const IDLE_NS: i64 = 15 * 60 * SECOND_NS;
/// How often idle series are looked for.
const FORGET_EVERY_NS: i64 = 60 * SECOND_NS;
/// Batches may be stored in another order than they were received, by less than this; more is a clock that was set back.
const DISORDER_NS: i64 = 60 * SECOND_NS;
const SECOND_NS: i64 = 1_000_000_000;

/// Counts spans.
#[derive(Debug)]
pub struct Deriver {
    /// The span metrics.
    pub red: SpanMetrics,
    /// The service graph, if it is wanted.
    pub graph: Option<ServiceGraph>,
    /// The time of the log: the latest time of receipt so far.
    pub now: i64,
    /// When idle series were looked for last.
    pub forgot_at: i64,
    /// Spans counted since the start of the process.
    pub spans: u64,
}

impl Deriver {
    /// Nothing counted yet.
    pub fn new(config: &DeriveConfig) -> Deriver {
        let graph = config.service_graph.as_ref();
        Deriver {
            red: SpanMetrics::new(config),
            graph: graph.map(|graph| ServiceGraph::new(graph, config.cardinality_limit)),
            now: 0,
            forgot_at: 0,
            spans: 0,
        }
    }

    /// Counts the spans of a batch.
    pub fn observe(&mut self, received_at: i64, batch: &SpanBatch) {
        self.advance(received_at);
        let spans = Spans::new(batch);
        self.spans += spans.len() as u64;
        self.red.observe(&spans, self.now);
        if let Some(graph) = &mut self.graph {
            graph.observe(&spans, self.now);
        }
    }

    /// Something was stored: time goes on.
    pub fn advance(&mut self, received_at: i64) {
        if received_at < self.now.saturating_sub(DISORDER_NS) {
            self.set_back(received_at);
        }
        self.now = self.now.max(received_at);
        if let Some(graph) = &mut self.graph {
            graph.expire(self.now);
        }
        if self.now.saturating_sub(self.forgot_at) >= FORGET_EVERY_NS {
            self.forgot_at = self.now;
            let unseen_since = self.now.saturating_sub(IDLE_NS);
            self.red.table.forget(unseen_since);
            if let Some(graph) = &mut self.graph {
                graph.forget(unseen_since);
            }
        }
    }

    /// Without this, nothing would expire until the clock is where it was.
    fn set_back(&mut self, now: i64) {
        self.now = now;
        self.forgot_at = self.forgot_at.min(now);
        self.red.table.set_back(now);
        if let Some(graph) = &mut self.graph {
            graph.set_back(now);
        }
    }
}
