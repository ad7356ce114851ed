//! What happened to a trace that is not here, in one sentence for people and a state for programs.

use throughline_model::TraceId;
use throughline_model::link::LinkState;
use throughline_model::record::{DroppedSpans, Sampling, TraceSummary};
use throughline_store::{Error, Snapshot, Want};

use crate::units::{duration, rfc3339};

/// Why there are no spans of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Missing {
    /// The state of every reference to it.
    pub link: LinkState,
    /// The state as a sentence, with what to do about it.
    pub message: String,
    /// What is left of a trace that was dropped.
    pub tombstone: Option<TraceSummary>,
}

impl Missing {
    /// Looks for a trace of which no span was found.
    pub fn of(snapshot: &Snapshot, id: TraceId) -> Result<Missing, Error> {
        let link = snapshot.link_state(id)?;
        let tombstone = match link {
            LinkState::Dropped { .. } => snapshot.trace_summary(id)?,
            _ => None,
        };
        let tombstone = tombstone.filter(|summary| matches!(summary.sampling, Sampling::Dropped { .. }));
        let mut message = sentence(id, &link);
        if link == LinkState::NeverReceived {
            // Something may refer to it all the same.
            let data = snapshot.trace(id, Want { spans: false, logs: true, exemplars: true })?;
            message = never_received(id, data.logs.len(), data.exemplars.len());
        }
        if let (LinkState::NeverReceived, Some(before)) = (&link, snapshot.forgotten_before()) {
            message += &format!(
                "; of what retention removed, the ids of traces up to {} are not remembered any more",
                second(before)
            );
        }
        if let Some(summary) = &tombstone {
            message += &remains(summary);
        }
        Ok(Missing { link, message, tombstone })
    }
}

/// What sampling had dropped of a trace before the spans that are here came, as a sentence.
pub fn dropped_before(dropped: &DroppedSpans) -> String {
    let DroppedSpans { policy, at, span_count } = dropped;
    let (spans, were) = if *span_count == 1 { ("span", "was") } else { ("spans", "were") };
    format!(
        "{span_count} earlier {spans} of it {were} dropped by the sampling policy {policy} at {}; what is here came later",
        second(*at)
    )
}

fn sentence(id: TraceId, link: &LinkState) -> String {
    match link {
        LinkState::Resolved => format!("trace {id} is here but could not be read; run throughline fsck"),
        LinkState::Pending => {
            format!("trace {id} is not here yet; something refers to it, so ask again in 30 s")
        }
        LinkState::Unsampled => {
            format!("trace {id} was not recorded: its sender's sampler decided against it")
        }
        LinkState::Dropped { policy, at } => {
            format!("trace {id} was dropped by the sampling policy {policy} at {}", second(*at))
        }
        LinkState::Expired { at } => format!("trace {id} has passed its retention at {}", second(*at)),
        LinkState::NeverReceived => never_received(id, 0, 0),
        LinkState::Malformed { form } => format!("{form:?} is not a trace id"),
    }
}

fn never_received(id: TraceId, logs: usize, exemplars: usize) -> String {
    let count = |n: usize, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
    if logs + exemplars == 0 {
        return format!(
            "no span, log record or exemplar of trace {id} was ever received; check the id and the sender"
        );
    }
    format!(
        "no span of trace {id} was ever received, although {} and {} refer to it: lost on export, or dropped before they got here",
        count(logs, "log record"),
        count(exemplars, "exemplar")
    )
}

fn second(time: i64) -> String {
    rfc3339(time / 1_000_000_000 * 1_000_000_000)
}

/// What a tombstone still knows.
fn remains(summary: &TraceSummary) -> String {
    let spans = match summary.sampling {
        Sampling::Dropped { span_count, .. } => span_count,
        _ => summary.span_count,
    };
    let root = match summary.root_name.is_empty() {
        true => "its root is not known".to_owned(),
        false => format!("its root was {} {}", summary.root_service, summary.root_name),
    };
    format!(
        "; it had {spans} spans with {} errors and lasted {} from {}, {root}; {} log records of it are here",
        summary.error_count,
        duration(summary.duration_ns),
        second(summary.start_time),
        summary.log_count
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_refers_to_what_never_came_is_said() {
        let id = TraceId::from_low(0xc0de).expect("not zero");
        assert!(never_received(id, 0, 0).starts_with("no span, log record or exemplar of trace"));
        let text = never_received(id, 2, 1);
        assert!(text.contains("although 2 log records and 1 exemplar refer to it"), "{text}");
    }

    #[test]
    fn a_tombstone_says_what_went_and_who_dropped_it() {
        let at = 1_795_182_305_999_000_000;
        let id = TraceId::from_low(0xc0de).expect("not zero");
        let summary = TraceSummary {
            trace_id: id,
            start_time: at - 400_000_000_000,
            duration_ns: 1_500_000,
            root_service: "web".to_owned(),
            root_name: "GET /".to_owned(),
            services: vec!["web".to_owned()],
            span_count: 0,
            error_count: 0,
            log_count: 2,
            error_log_count: 0,
            exemplar_count: 0,
            orphan_count: 0,
            culprit_service: String::new(),
            culprit_name: String::new(),
            culprit_self_ns: 0,
            error_culprit_service: String::new(),
            error_culprit_name: String::new(),
            clock_skew_ns: 0,
            sampling: Sampling::Dropped { policy: "rest".to_owned(), at, span_count: 7 },
            dropped_before: None,
        };
        let text = sentence(id, &LinkState::Dropped { policy: "rest".to_owned(), at }) + &remains(&summary);
        assert_eq!(
            text,
            "trace 0000000000000000000000000000c0de was dropped by the sampling policy rest at \
             2026-11-20T13:45:05Z; it had 7 spans with 0 errors and lasted 1.5 ms from 2026-11-20T13:38:25Z, its root \
             was web GET /; 2 log records of it are here"
        );
    }
}
