//! Loki's HTTP API, at the root and under `/loki`: what stock Grafana and logcli ask.
//!
//! Answers are Loki's own, to the status codes, the plain text of refusals and the order of keys. What cannot be read in full is
//! said in `warnings`, and so is what became of the traces that lines refer to and that are not here.

mod fields;
mod listing;
mod lost;
mod params;
mod query;
mod reply;
mod status;
mod streams;
mod tail;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use throughline_exec::{Budget, Cancellation, Limits};
use throughline_logql::Engine;
use throughline_scan::logs::{LogLabels, StoredLogs};
use throughline_store::{Clock, Store};
use tokio::sync::Semaphore;

use self::reply::Refusal;
use crate::blocking::{Blocking, CancelOnDrop, budget};
use crate::prometheus::compression;

/// Where the API lies beside the root.
pub const PREFIX: &str = "/loki";

/// What Loki's API stands on.
#[derive(Clone)]
pub struct LokiContext {
    /// Which resource attributes are labels of streams.
    pub labels: Arc<LogLabels>,
    /// The evaluator.
    pub engine: Engine,
    /// What one query may use.
    pub limits: Limits,
    /// How long one query may take.
    pub timeout: Duration,
}

#[derive(Clone)]
pub(crate) struct Loki {
    store: Store,
    clock: Arc<dyn Clock>,
    blocking: Blocking,
    draining: Arc<AtomicBool>,
    /// The places of those who follow new lines.
    tails: Arc<Semaphore>,
    context: Arc<LokiContext>,
}

impl std::ops::Deref for Loki {
    type Target = LokiContext;

    fn deref(&self) -> &LokiContext {
        &self.context
    }
}

impl Loki {
    pub(crate) fn new(context: &crate::Context, blocking: Blocking) -> Loki {
        Loki {
            store: context.store.clone(),
            clock: Arc::clone(&context.clock),
            blocking,
            draining: Arc::clone(&context.draining),
            tails: Arc::new(Semaphore::new(tail::TAILS_MAX)),
            context: Arc::new(context.loki.clone()),
        }
    }

    /// Nanoseconds since the epoch.
    fn now(&self) -> i64 {
        self.clock.now()
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Asks a snapshot's logs on a blocking thread. Returns why the answer may be incomplete, too.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&StoredLogs, &Budget) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<(T, Vec<String>), Refusal> {
        let cancellation = Cancellation::new();
        let _canceled_with_the_request = CancelOnDrop(cancellation.clone());
        let (store, clock, context) =
            (self.store.clone(), Arc::clone(&self.clock), Arc::clone(&self.context));
        let run = move || {
            let budget = budget(context.limits, context.timeout, cancellation, clock);
            let logs = StoredLogs::new(store.snapshot(), Arc::clone(&context.labels));
            let answer = question(&logs, &budget)?;
            Ok((answer, logs.partial()))
        };
        // The budget ends the query in time; waiting a little longer lets it say so itself.
        self.blocking.run_within(self.timeout + Duration::from_secs(5), run).await
    }
}

/// The routes, relative to the root and to [`PREFIX`].
pub(crate) fn routes(loki: Loki) -> Router {
    let api = Router::new()
        .route("/query", get(query::query).post(query::query))
        .route("/query_range", get(query::query_range).post(query::query_range))
        .route("/format_query", get(query::format_query).post(query::format_query))
        .route("/labels", get(listing::labels).post(listing::labels))
        .route("/label", get(listing::labels).post(listing::labels))
        .route("/label/{name}/values", get(listing::label_values).post(listing::label_values))
        .route("/series", get(listing::series).post(listing::series))
        .route("/index/stats", get(listing::index_stats).post(listing::index_stats))
        .route("/index/volume", get(listing::volume).post(listing::volume))
        .route("/index/volume_range", get(listing::volume_range).post(listing::volume_range))
        .route("/patterns", get(listing::patterns).post(listing::patterns))
        .route("/detected_labels", get(listing::detected_labels).post(listing::detected_labels))
        .route("/detected_fields", get(query::detected_fields).post(query::detected_fields))
        .route("/detected_field/{name}/values", get(query::detected_values).post(query::detected_values))
        .route("/delete", axum::routing::any(status::delete))
        .route("/status/buildinfo", get(status::buildinfo))
        .route("/drilldown-limits", get(status::drilldown_limits));
    let routes = Router::new()
        .nest("/loki/api/v1", api)
        .route("/ready", get(status::ready))
        .layer(axum::middleware::from_fn(compression::compress))
        // A connection that is upgraded is none to compress.
        .route("/loki/api/v1/tail", get(tail::tail))
        .with_state(loki);
    Router::new().merge(routes.clone()).nest(PREFIX, routes)
}
