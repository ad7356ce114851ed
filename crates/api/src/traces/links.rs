//! What became of the traces that the span links of a trace name: what the native view says beside each link, for formats that have
//! no such place.

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use throughline_correlate::trace_view::LINKS_ASKED_MAX;
use throughline_correlate::unresolved::in_words;
use throughline_model::TraceId;
use throughline_model::link::LinkState;
use throughline_model::record::Span;
use throughline_store::{Error, Snapshot};

/// The header that says what became of the trace that was asked for.
pub(crate) const LINK: HeaderName = HeaderName::from_static("x-throughline-link");

/// The header that names the linked traces that are not here, each with its state.
const UNRESOLVED: HeaderName = HeaderName::from_static("x-throughline-unresolved");

/// The states of linked traces, each once, as far as they were looked up; the trace's own is not among them.
#[derive(Default)]
pub(crate) struct LinkStates {
    of: Option<TraceId>,
    states: Vec<(TraceId, LinkState)>,
}

impl LinkStates {
    /// Looks for the traces that these spans of a trace link to, the first [`LINKS_ASKED_MAX`] of them.
    pub(crate) fn look_up(snapshot: &Snapshot, of: TraceId, spans: &[Span]) -> Result<LinkStates, Error> {
        let mut states: Vec<(TraceId, LinkState)> = Vec::new();
        for span in spans {
            for id in linked(span) {
                let is_known = id == of || states.iter().any(|(known, _)| *known == id);
                if !is_known && states.len() < LINKS_ASKED_MAX {
                    states.push((id, snapshot.link_state_since(id, Some(span.start_time))?));
                }
            }
        }
        Ok(LinkStates { of: Some(of), states })
    }

    /// What is to be said of a span's links; nothing where all resolve, or where nobody has looked.
    pub(crate) fn warnings(&self, span: &Span) -> Vec<String> {
        let (mut warnings, mut unchecked) = (Vec::new(), 0);
        for id in linked(span).filter(|id| self.of.is_some_and(|of| of != *id)) {
            match self.states.iter().find(|(known, _)| *known == id) {
                Some((_, LinkState::Resolved)) => {}
                Some((_, state)) => warnings
                    .push(format!("the span links to trace {id}, which is not here: {}", in_words(state))),
                None => unchecked += 1,
            }
        }
        if unchecked > 0 {
            warnings.push(format!(
                "{unchecked} links of the span were not checked: only {LINKS_ASKED_MAX} linked traces are looked up"
            ));
        }
        warnings
    }

    /// An answer that holds the trace: its headers say so, and which of the linked traces are not here.
    pub(crate) fn found(&self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        headers.insert(LINK, HeaderValue::from_static(LinkState::Resolved.name()));
        let lost = self.states.iter().filter(|(_, state)| *state != LinkState::Resolved);
        let lost: Vec<String> = lost.map(|(id, state)| format!("{id} {}", state.name())).collect();
        // Hex digits and names of states are what a header can hold.
        headers.extend(
            (!lost.is_empty())
                .then(|| HeaderValue::from_str(&lost.join(", ")).ok())
                .flatten()
                .map(|lost| (UNRESOLVED, lost)),
        );
        response
    }
}

/// The traces that a span's links name.
fn linked(span: &Span) -> impl Iterator<Item = TraceId> {
    let texts = span.links.iter().filter_map(|link| link.get("trace_id")?.as_str());
    texts.filter_map(|text| TraceId::parse(text).map(|(id, _)| id))
}
