//! Pins: traces that sampling and retention keep until they are unpinned.

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use throughline_correlate::missing::Missing;
use throughline_model::link::LinkState;
use throughline_model::record::TraceSummary;
use throughline_store::{Pin, Want};

use crate::Api;
use crate::failure::Failure;
use crate::native::Answer;
use crate::params::{self, Params};

/// How long a note may be: a sentence or two.
const NOTE_BYTES_MAX: usize = 1_000;

type Pairs = Query<Vec<(String, String)>>;

#[derive(Serialize)]
struct PinsAnswer {
    pins: Vec<PinnedTrace>,
}

#[derive(Serialize)]
struct PinnedTrace {
    #[serde(flatten)]
    pin: Pin,
    link: LinkState,
    /// What is known of the trace; nothing where it has gone.
    summary: Option<TraceSummary>,
}

pub(crate) async fn list(State(api): State<Api>, Query(pairs): Pairs) -> Answer {
    Params::new(pairs, &[], api.now())?;
    let store = api.context.store.clone();
    api.ask(move |snapshot| {
        let mut pins = Vec::new();
        for pin in store.decisions().pins {
            let link = snapshot.link_state(pin.trace_id)?;
            let summary = snapshot.trace_summary(pin.trace_id)?;
            pins.push(PinnedTrace { pin, link, summary });
        }
        Ok(PinsAnswer { pins })
    })
    .await
}

pub(crate) async fn pin(State(api): State<Api>, Query(pairs): Pairs) -> Result<Response, Failure> {
    let params = Params::new(pairs, &["trace", "note"], api.now())?;
    let id = params::trace_id(params.text("trace").unwrap_or_default())?;
    let note = params.owned("note").unwrap_or_default();
    if note.len() > NOTE_BYTES_MAX {
        let message = format!("a note of {} bytes is longer than {NOTE_BYTES_MAX}", note.len());
        return Err(Failure::parameter("note", message));
    }
    let store = api.context.store.clone();
    let pinned = move || {
        let snapshot = store.snapshot();
        let is_here = !snapshot.trace(id, Want::SPANS)?.spans.is_empty();
        if !is_here {
            let missing = Missing::of(&snapshot, id)?;
            return Err(Failure::not_found(missing.message, missing.link));
        }
        Ok(store.pin(id, &note)?)
    };
    let pin = api.blocking.run(pinned).await?;
    Ok(Json(json!({"pinned": true, "pin": pin})).into_response())
}

pub(crate) async fn unpin(State(api): State<Api>, Query(pairs): Pairs) -> Result<Response, Failure> {
    let params = Params::new(pairs, &["trace"], api.now())?;
    let id = params::trace_id(params.text("trace").unwrap_or_default())?;
    let store = api.context.store.clone();
    let was_pinned = api.blocking.run(move || Ok(store.unpin(id)?)).await?;
    Ok(Json(json!({"pinned": false, "was_pinned": was_pinned, "trace_id": id})).into_response())
}
