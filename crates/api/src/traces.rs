//! What the trace APIs of other systems share: questions about traces on a blocking thread, parameters, refusals.
//!
//! Tempo's ([`crate::tempo`]) and Jaeger's ([`crate::jaeger`]) answers differ; how a trace is read, what one may use and why
//! something is refused does not.

pub(crate) mod conditions;
pub(crate) mod links;
pub(crate) mod params;
pub(crate) mod values;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode};
use serde_json::Value as Json;
use throughline_correlate::missing::{Missing, dropped_before};
use throughline_exec::{Budget, Cancellation, ExecError, Limits};
use throughline_model::TraceId;
use throughline_model::link::LinkState;
use throughline_model::record::Span;
use throughline_scan::traces::StoredTraces;
use throughline_store::{Clock, Snapshot, Store, TraceData, Want};
use throughline_traceql::ast::Query;
use throughline_traceql::{EvalError, QueryError};

use self::links::LinkStates;
use crate::blocking::{Blocking, CancelOnDrop, budget};
use crate::failure::Failure;

/// Spans of one trace in one answer: about 50 MB of JSON.
pub(crate) const SPANS_MAX: usize = 100_000;

/// What the trace APIs stand on.
#[derive(Clone, Debug)]
pub struct TracesContext {
    /// What one query may use.
    pub limits: Limits,
    /// How long one query may take.
    pub timeout: Duration,
}

/// The header, or the trailer of gRPC, that says why an answer may be incomplete.
pub(crate) const PARTIAL: HeaderName = HeaderName::from_static("x-throughline-partial");

/// Bytes of reasons in a header.
const PARTIAL_BYTES_MAX: usize = 2 << 10;

/// What [`PARTIAL`] says; nothing where the answer is complete.
pub(crate) fn partial_header(reasons: &[String]) -> Option<HeaderValue> {
    if reasons.is_empty() {
        return None;
    }
    let text = reasons.join("; ").replace(|c: char| !(' '..='~').contains(&c), "?");
    let cut = text.get(..text.floor_char_boundary(PARTIAL_BYTES_MAX)).unwrap_or_default();
    Some(
        HeaderValue::from_str(cut)
            .unwrap_or_else(|_| HeaderValue::from_static("not everything could be read")),
    )
}

#[derive(Clone)]
pub(crate) struct Traces {
    store: Store,
    clock: Arc<dyn Clock>,
    blocking: Blocking,
    draining: Arc<AtomicBool>,
    process: Arc<Json>,
    context: Arc<TracesContext>,
}

/// Why a request is not answered.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// What became of the trace that was asked for.
    pub(crate) link: Option<LinkState>,
}

/// A trace as it was found.
pub(crate) struct ReadTrace {
    /// Its spans by start.
    pub(crate) spans: Vec<Span>,
    /// Why there may be more; empty where that is all.
    pub(crate) partial: Vec<String>,
    /// How many of its spans are left out, as one answer holds [`SPANS_MAX`].
    pub(crate) left_out: usize,
    /// What became of the traces that its spans link to; nothing where that was not looked up.
    pub(crate) links: LinkStates,
}

impl ReadTrace {
    /// The trace, if it is whole, for answers that have no place to say that it is not.
    pub(crate) fn whole(self) -> Result<ReadTrace, Refusal> {
        if self.left_out == 0 {
            return Ok(self);
        }
        let all = self.spans.len() + self.left_out;
        Err(Refusal::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!(
                "the trace has {all} spans, and one answer holds {SPANS_MAX}; Tempo's /api/v2/traces/ID and Jaeger's \
                 /api/traces/ID answer with the first of them and say so, a TraceQL search finds any of them"
            ),
        ))
    }
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Refusal {
        Refusal { status, message: message.into(), link: None }
    }

    pub(crate) fn bad(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, message)
    }
}

/// The status that nginx uses for a client that went away.
const CLIENT_CLOSED_REQUEST: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};

impl From<ExecError> for Refusal {
    fn from(error: ExecError) -> Refusal {
        let status = match error {
            ExecError::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            ExecError::Canceled => CLIENT_CLOSED_REQUEST,
            ExecError::Exceeded { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            ExecError::Source { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Refusal::new(status, error.to_string())
    }
}

impl From<EvalError> for Refusal {
    fn from(error: EvalError) -> Refusal {
        match error {
            EvalError::Exec(error) => error.into(),
            other => Refusal::bad(other.to_string()),
        }
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Refusal {
        Refusal::bad(format!("invalid TraceQL query: {error}"))
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        let status = match failure.is_busy() {
            true => StatusCode::TOO_MANY_REQUESTS,
            false => failure.status(),
        };
        Refusal::new(status, failure.message())
    }
}

impl From<throughline_store::Error> for Refusal {
    fn from(error: throughline_store::Error) -> Refusal {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl Traces {
    pub(crate) fn new(context: &crate::Context, blocking: Blocking) -> Traces {
        Traces {
            store: context.store.clone(),
            clock: Arc::clone(&context.clock),
            blocking,
            draining: Arc::clone(&context.draining),
            process: Arc::clone(&context.process),
            context: Arc::new(context.traces.clone()),
        }
    }

    /// Nanoseconds since the epoch.
    pub(crate) fn now(&self) -> i64 {
        self.clock.now()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The version of the process.
    pub(crate) fn version(&self) -> &str {
        self.process.get("version").and_then(Json::as_str).unwrap_or_default()
    }

    /// Asks a snapshot on a blocking thread, within the limits of a query.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&StoredTraces, &Budget) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let cancellation = Cancellation::new();
        let _canceled_with_the_request = CancelOnDrop(cancellation.clone());
        let (store, clock, context) =
            (self.store.clone(), Arc::clone(&self.clock), Arc::clone(&self.context));
        let run = move || {
            let budget = budget(context.limits, context.timeout, cancellation, clock);
            question(&StoredTraces::new(store.snapshot()), &budget)
        };
        // The budget ends the query in time; waiting a little longer lets it say so itself.
        self.blocking.run_within(self.context.timeout + Duration::from_secs(5), run).await
    }

    /// Reads one trace and makes an answer of it; one that is not here is refused with its state.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        id: TraceId,
        answer: impl FnOnce(ReadTrace) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let store = self.store.clone();
        // A look-up of one trace: it is answered sooner than another thread would begin.
        let read = move || Ok::<_, Failure>(read_linked(&store.snapshot(), id).and_then(answer));
        self.blocking.run_here(read).await.map_err(Refusal::from)?
    }
}

/// Where a query that names a trace by its id finds nothing: what became of it.
pub(crate) fn gone(
    query: &Query,
    snapshot: &Snapshot,
    is_empty: bool,
) -> Result<Option<String>, throughline_store::Error> {
    let id = query.trace_id().filter(|_| is_empty);
    let missing = id.map(|id| Missing::of(snapshot, id)).transpose()?;
    // A trace that is here does not meet the other conditions, and one that nobody knows is not found as any other.
    let is_news = |missing: &Missing| !matches!(missing.link, LinkState::Resolved | LinkState::NeverReceived);
    Ok(missing.filter(is_news).map(|missing| missing.message))
}

/// Reads one trace, or says what became of it.
pub(crate) fn read_trace(snapshot: &Snapshot, id: TraceId) -> Result<ReadTrace, Refusal> {
    let TraceData { mut spans, dropped, mut partial, .. } = snapshot.trace(id, Want::SPANS)?;
    if spans.is_empty() {
        let Missing { link, mut message, .. } = Missing::of(snapshot, id)?;
        if !partial.is_empty() {
            message += &format!("; not everything could be read: {}", partial.join("; "));
        }
        return Err(Refusal { link: Some(link), ..Refusal::new(StatusCode::NOT_FOUND, message) });
    }
    partial.extend(dropped.as_ref().map(dropped_before));
    let left_out = spans.len().saturating_sub(SPANS_MAX);
    if left_out > 0 {
        partial.push(format!("{left_out} spans over the limit of {SPANS_MAX} are left out"));
        spans.truncate(SPANS_MAX);
    }
    Ok(ReadTrace { spans, partial, left_out, links: LinkStates::default() })
}

/// Likewise, with what became of the traces that it links to.
pub(crate) fn read_linked(snapshot: &Snapshot, id: TraceId) -> Result<ReadTrace, Refusal> {
    let mut trace = read_trace(snapshot, id)?;
    trace.links = LinkStates::look_up(snapshot, id, &trace.spans)?;
    Ok(trace)
}
