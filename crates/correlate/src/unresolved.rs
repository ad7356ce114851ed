//! Which traces that an answer's items refer to are not here, and why: for lists of log records and exemplars.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use throughline_model::TraceId;
use throughline_model::link::LinkState;
use throughline_model::record::LogRecord;
use throughline_store::{Error, Snapshot};

/// Traces that are looked for in one answer.
pub const ASKED_MAX: usize = 1_000;

/// A trace that something refers to and that is not here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unresolved {
    /// The trace.
    pub trace_id: TraceId,
    /// What became of it.
    pub link: LinkState,
}

/// Those of some traces that are not here, in their order, each once; and why that may not be all.
pub fn of(
    snapshot: &Snapshot,
    traces: impl IntoIterator<Item = TraceId>,
) -> Result<(Vec<Unresolved>, Option<String>), Error> {
    let (mut known, mut out, mut left_out) = (HashSet::new(), Vec::new(), 0u64);
    for trace_id in traces {
        if known.contains(&trace_id) {
            continue;
        }
        if known.len() >= ASKED_MAX {
            left_out += 1;
            continue;
        }
        known.insert(trace_id);
        let link = snapshot.link_state(trace_id)?;
        if link != LinkState::Resolved {
            out.push(Unresolved { trace_id, link });
        }
    }
    let partial = (left_out > 0).then(|| {
        format!("of {left_out} references it was not looked for whether their traces are here: {ASKED_MAX} traces are, at most")
    });
    Ok((out, partial))
}

/// What became of the trace that a log record refers to, in a few words, where it is not here; `unresolved` are those of all records.
pub fn of_record(record: &LogRecord, unresolved: &[Unresolved]) -> Option<String> {
    match (record.trace_id, &record.trace_id_original) {
        (None, Some(form)) => Some(format!("no trace id: {form:?}")),
        (id, _) => unresolved.iter().find(|lost| Some(lost.trace_id) == id).map(|lost| in_words(&lost.link)),
    }
}

/// What became of a trace in a few words, without the time.
pub fn in_words(link: &LinkState) -> String {
    match link {
        LinkState::Resolved => "here".to_owned(),
        LinkState::Pending => "not here yet".to_owned(),
        LinkState::Unsampled => "not sampled by its sender".to_owned(),
        LinkState::Dropped { policy, .. } => format!("dropped by the sampling policy {policy}"),
        LinkState::Expired { .. } => "expired".to_owned(),
        LinkState::NeverReceived => "never received".to_owned(),
        LinkState::Malformed { .. } => "no trace id".to_owned(),
    }
}
