//! Which traces that an answer's items refer to are not here, and why: for lists of log records and exemplars.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use throughline_model::TraceId;
use throughline_model::link::LinkState;
use throughline_model::record::LogRecord;
use throughline_store::{Error, Snapshot};

/// Traces that are looked for in one answer.
pub const ASKED_MAX: usize = 1_000;
/// Traces that are named of those that are not here for one reason.
const NAMED_MAX: usize = 5;

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

/// References of an answer, counted by what became of their traces where those are not here. Each trace is looked for once.
#[derive(Debug, Default)]
pub struct Tally {
    states: HashMap<TraceId, Option<LinkState>>,
    lost: BTreeMap<String, Lost>,
    left_out: u64,
}

/// References whose traces are not here for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// How many there are.
    pub count: u64,
    /// Some of the traces.
    pub named: Vec<String>,
}

impl Tally {
    /// Counts so many references to a trace. What became of it is asked once; none is where that cannot be read.
    pub fn add(&mut self, trace: TraceId, count: u64, state: impl FnOnce(TraceId) -> Option<LinkState>) {
        let is_new = !self.states.contains_key(&trace);
        if is_new && self.states.len() >= ASKED_MAX {
            return self.leave_out(count);
        }
        let state = self.states.entry(trace).or_insert_with(|| state(trace));
        match state {
            None | Some(LinkState::Resolved) => {}
            Some(state) => {
                let lost = self.lost.entry(in_words(state)).or_default();
                lost.add(count, || is_new.then(|| trace.to_string()));
            }
        }
    }

    /// Counts so many references whose id cannot be read.
    pub fn add_malformed(&mut self, form: &str, count: u64) {
        let lost = self.lost.entry(in_words(&LinkState::Malformed { form: form.to_owned() })).or_default();
        lost.add(count, || Some(form.to_owned()));
    }

    /// Counts so many references that nobody looks for.
    pub fn leave_out(&mut self, count: u64) {
        self.left_out += count;
    }

    /// References whose traces are not here, by the reason in words.
    pub fn lost(&self) -> &BTreeMap<String, Lost> {
        &self.lost
    }

    /// How many references it was not looked for whether their traces are here: those beyond [`ASKED_MAX`] traces.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

impl Lost {
    fn add(&mut self, count: u64, name: impl FnOnce() -> Option<String>) {
        self.count += count;
        if self.named.len() < NAMED_MAX {
            self.named.extend(name());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_counted_by_state_and_each_trace_is_asked_for_once() {
        let mut tally = Tally::default();
        let mut asked = 0;
        for n in [1_u8, 2, 1, 3] {
            tally.add(TraceId([n; 16]), 2, |_| {
                asked += 1;
                Some(if n == 3 { LinkState::Resolved } else { LinkState::NeverReceived })
            });
        }
        tally.add_malformed("xyz", 1);
        assert_eq!((asked, tally.left_out()), (3, 0));
        let never = Lost { count: 6, named: [1, 2].map(|n| TraceId([n; 16]).to_string()).to_vec() };
        let malformed = Lost { count: 1, named: vec!["xyz".to_owned()] };
        let expected = [("never received".to_owned(), never), ("no trace id".to_owned(), malformed)];
        assert_eq!(*tally.lost(), BTreeMap::from(expected));
    }

    #[test]
    fn no_more_traces_are_asked_for_than_the_limit() {
        let mut tally = Tally::default();
        for n in 0..ASKED_MAX as u128 + 2 {
            tally.add(TraceId(n.to_be_bytes()), 1, |_| Some(LinkState::NeverReceived));
        }
        // What is known already costs nothing.
        tally.add(TraceId(1_u128.to_be_bytes()), 1, |_| None);
        let lost = tally.lost().get("never received").cloned().unwrap_or_default();
        assert_eq!((lost.count, lost.named.len(), tally.left_out()), (ASKED_MAX as u64 + 1, NAMED_MAX, 2));
    }
}
