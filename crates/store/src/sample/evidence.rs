//! What is known around the traces of a merge: what holds on to them, which alerts were firing, how long their routes take.

use std::collections::HashSet;
use std::sync::Arc;

use throughline_model::TraceId;
use throughline_sampling::{Evidence, Hold, Needs, Routes};

use super::alerts::{self, Firing};
use super::{Decisions, ROUTES_BEFORE_NS};
use crate::block::Block;
use crate::error::Error;
use crate::links::alerts::citations;
use crate::snapshot::{Snapshot, TimeRange};

/// What is known around the traces of a merge.
pub(super) struct Around {
    routes: Routes,
    firing: Vec<Firing>,
    pins: HashSet<TraceId>,
    /// What alerts cite.
    cited: HashSet<TraceId>,
    /// Traces that others which stay link to, by their fingerprints.
    pub(super) linked: HashSet<u64>,
}

/// A trace, as far as what is known around it depends on it.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) id: TraceId,
    /// Nanoseconds since the epoch.
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) error_logs: u64,
    pub(super) exemplars: u64,
    /// Service and name.
    pub(super) root: (&'a str, &'a str),
}

impl Around {
    /// Reads what policies ask for.
    pub(super) fn new(
        snapshot: &Snapshot,
        (min_time, max_time): (i64, i64),
        decisions: &Decisions,
        needs: &Needs,
    ) -> Result<Around, Error> {
        let mut routes = Routes::default();
        if needs.routes {
            let from = min_time.saturating_sub(ROUTES_BEFORE_NS);
            let is_near = |block: &&Arc<Block>| block.max_time() >= from && block.min_time() <= max_time;
            // A block that cannot be read is not among the inputs, or the merge fails on it: the others are a baseline.
            for of_block in snapshot.blocks.iter().filter(is_near).filter_map(|block| block.routes().ok()) {
                routes.merge(&of_block);
            }
        }
        let firing = if needs.alerts { alerts::firing(snapshot, min_time, max_time)? } else { Vec::new() };
        // An alert is younger than what it cites.
        let since = TimeRange { start: min_time, end: i64::MAX };
        let (citations, _) = citations(snapshot, since)?;
        let remembered = decisions.cited.iter().map(|cited| cited.trace_id);
        Ok(Around {
            routes,
            firing,
            pins: decisions.pins.iter().map(|pin| pin.trace_id).collect(),
            cited: citations.into_iter().filter_map(|of| of.to.ok()).chain(remembered).collect(),
            linked: HashSet::new(),
        })
    }

    /// What speaks for a trace.
    pub(super) fn evidence(&self, of: &About<'_>, took_part: impl Fn(&str) -> bool) -> Evidence<'_> {
        let is_pinned = self.pins.contains(&of.id);
        let hold = match of.exemplars {
            _ if is_pinned => Some(Hold::Pin),
            _ if self.cited.contains(&of.id) => Some(Hold::Alert),
            0 => None,
            _ => Some(Hold::Exemplar),
        };
        let (service, name) = of.root;
        Evidence {
            error_logs: of.error_logs,
            exemplars: of.exemplars,
            is_alerted: alerts::is_alerted(&self.firing, (of.start, of.end), took_part),
            is_pinned,
            is_linked: self.linked.contains(&of.id.fingerprint()),
            route: self.routes.of(service, name),
            hold,
        }
    }
}
