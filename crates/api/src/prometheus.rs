//! The Prometheus HTTP API, at the root and under `/prometheus`: what stock Grafana, promtool and other servers ask.
//!
//! Answers are Prometheus's own, to the status codes and the way numbers are written. What cannot be read in full is
//! said in `warnings`.

pub(crate) mod compression;
mod listing;
pub(crate) mod params;
mod query;
mod read;
pub(crate) mod reply;
mod states;
mod stats;
mod status;
mod tree;
pub(crate) mod values;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::{any, get, post};
use serde_json::Value as Json;
use throughline_exec::{Budget, Cancellation, Limits};
use throughline_promql::Engine;
use throughline_promql::ast::Expr;
use throughline_scan::metrics::{Listing, MetricIndex, MetricSource};
use throughline_store::{Clock, Snapshot, Store, TimeRange};

use self::reply::Refusal;
use crate::blocking::{Blocking, CancelOnDrop, budget, handed_over};
use crate::states::StateSource;

/// A query of so few series, and of so few samples in its answer, is small.
const SMALL_SERIES: usize = 64;
/// See [`SMALL_SERIES`].
const SMALL_SAMPLES: usize = 64_000;

/// An answer of so few samples is computed and written in about the time that another thread needs to wake up.
const AT_ONCE_SAMPLES: usize = 4_000;

/// Families that are looked at for names and values of their labels in less than a millisecond.
const LISTED_MAX: usize = 1 << 15;

/// Families that are looked at where labels are to be written.
const WRITTEN_MAX: usize = 1 << 12;

/// Where the API lies beside the root.
pub const PREFIX: &str = "/prometheus";

/// What the Prometheus API stands on.
#[derive(Clone)]
pub struct PrometheusContext {
    /// The index of series, shared with whoever else evaluates PromQL.
    pub index: Arc<MetricIndex>,
    /// The evaluator.
    pub engine: Engine,
    /// What one query may use.
    pub limits: Limits,
    /// How long one query may take, unless it asks for less.
    pub timeout: Duration,
    /// Rules, alerts and targets.
    pub states: Arc<dyn StateSource>,
    /// Labels that federation adds.
    pub external_labels: Vec<(String, String)>,
    /// When the process started, milliseconds since the epoch.
    pub started_at_ms: i64,
}

/// Where a query is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// On this thread, and what else it has to do waits, until something takes longer.
    AtOnce,
    /// On this thread, after what else it has to do was handed over.
    Here,
    /// On a thread that may be blocked, with a time limit.
    Elsewhere,
}

#[derive(Clone)]
pub(crate) struct Prometheus {
    store: Store,
    clock: Arc<dyn Clock>,
    blocking: Blocking,
    draining: Arc<AtomicBool>,
    process: Arc<Json>,
    context: Arc<PrometheusContext>,
}

impl std::ops::Deref for Prometheus {
    type Target = PrometheusContext;

    fn deref(&self) -> &PrometheusContext {
        &self.context
    }
}

impl Prometheus {
    pub(crate) fn new(context: &crate::Context, blocking: Blocking) -> Prometheus {
        Prometheus {
            store: context.store.clone(),
            clock: Arc::clone(&context.clock),
            blocking,
            draining: Arc::clone(&context.draining),
            process: Arc::clone(&context.process),
            context: Arc::new(context.prometheus.clone()),
        }
    }

    fn now_ms(&self) -> i64 {
        self.clock.now().div_euclid(1_000_000)
    }

    fn timeout_ms(&self) -> i64 {
        i64::try_from(self.context.timeout.as_millis()).unwrap_or(i64::MAX)
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The times of the oldest and the newest point, milliseconds since the epoch, as far as parts tell.
    fn time_bounds_ms(&self) -> (i64, i64) {
        let parts = self.store.snapshot().metric_parts(TimeRange::ALL);
        let runs = parts.iter().filter_map(|part| part.runs().ok()).flatten();
        let bounds =
            runs.fold((i64::MAX, i64::MIN), |(min, max), run| (min.min(run.min_time), max.max(run.max_time)));
        (bounds.0.div_euclid(1_000_000), bounds.1.div_euclid(1_000_000))
    }

    /// Asks a snapshot's metrics on a blocking thread, with the default time limit. Returns why the answer may be
    /// incomplete, too.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&MetricSource, &Budget) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<(T, Vec<String>), Refusal> {
        self.ask_within(None, self.store.snapshot(), Place::Elsewhere, question).await
    }

    /// As [`Prometheus::ask`], on this thread: for what the index answers without reading samples. It is answered at once where
    /// no selector has more than so many families to look at.
    async fn list<T: Send + 'static>(
        &self,
        listing: Listing,
        at_once_max: usize,
        question: impl FnOnce(&MetricSource, &Listing) -> T + Send + 'static,
    ) -> Result<(T, Vec<String>), Refusal> {
        let snapshot = self.store.snapshot();
        let is_quick = self.index.is_listed_among(&snapshot, &listing, at_once_max);
        let source = self.source(snapshot);
        let answer = move || {
            let answer = question(&source, &listing);
            Ok((answer, source.partial()))
        };
        if is_quick { self.blocking.run_at_once(answer).await } else { self.blocking.run_here(answer).await }
    }

    fn source(&self, snapshot: Snapshot) -> MetricSource {
        MetricSource::new(snapshot, Arc::clone(&self.context.index)).with_slow_work(handed_over)
    }

    /// Where a query is answered soonest, without keeping others from being answered.
    fn place_of(&self, snapshot: &Snapshot, expr: &Expr, steps: i64) -> Place {
        let mut found = Vec::new();
        query::selectors(expr, &mut found);
        let steps = usize::try_from(steps).unwrap_or(usize::MAX).max(1);
        let series_max = (SMALL_SAMPLES / steps).min(SMALL_SERIES);
        if has_subquery(expr) {
            return Place::Elsewhere;
        }
        let selectors = found.iter().map(|selector| &*selector.matchers);
        match self.index.few(snapshot, selectors, series_max) {
            Some(series) if series.max(1).saturating_mul(steps) <= AT_ONCE_SAMPLES => Place::AtOnce,
            Some(_) => Place::Here,
            None => Place::Elsewhere,
        }
    }

    /// As [`Prometheus::ask`], for another API. What is incomplete is not said.
    pub(crate) async fn ask_for<T: Send + 'static>(
        &self,
        question: impl FnOnce(&MetricSource, &Budget) -> Result<T, crate::traces::Refusal> + Send + 'static,
    ) -> Result<T, crate::traces::Refusal> {
        let ask = move |source: &MetricSource, budget: &Budget| Ok(question(source, budget));
        match self.ask(ask).await {
            Ok((answer, _)) => answer,
            Err(refusal) => Err(crate::traces::Refusal::new(refusal.status(), refusal.message())),
        }
    }

    async fn ask_within<T: Send + 'static>(
        &self,
        timeout_ms: Option<i64>,
        snapshot: Snapshot,
        place: Place,
        question: impl FnOnce(&MetricSource, &Budget) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<(T, Vec<String>), Refusal> {
        let timeout_ms =
            timeout_ms.filter(|ms| *ms > 0).map_or(self.timeout_ms(), |ms| ms.min(self.timeout_ms()));
        let cancellation = Cancellation::new();
        let _canceled_with_the_request = CancelOnDrop(cancellation.clone());
        let (source, clock, limits) = (self.source(snapshot), Arc::clone(&self.clock), self.context.limits);
        let run = move || {
            let timeout = Duration::from_millis(timeout_ms.unsigned_abs());
            let budget = budget(limits, timeout, cancellation, clock);
            let answer = question(&source, &budget)?;
            Ok((answer, source.partial()))
        };
        match place {
            Place::AtOnce => self.blocking.run_at_once(run).await,
            Place::Here => self.blocking.run_here(run).await,
            Place::Elsewhere => {
                // The budget ends the query in time; waiting a little longer lets it say so itself.
                let wait = Duration::from_millis(timeout_ms.unsigned_abs()) + Duration::from_secs(5);
                self.blocking.run_within(wait, run).await
            }
        }
    }
}

/// Whether something is evaluated at steps of its own.
fn has_subquery(expr: &Expr) -> bool {
    matches!(expr, Expr::Subquery(_)) || expr.children().into_iter().any(has_subquery)
}

impl From<crate::failure::Failure> for Refusal {
    fn from(failure: crate::failure::Failure) -> Refusal {
        Refusal::shared(&failure)
    }
}

/// The routes, relative to the root and to [`PREFIX`].
pub(crate) fn routes(prometheus: Prometheus) -> Router {
    let api = Router::new()
        .route("/query", get(query::query).post(query::query))
        .route("/query_range", get(query::query_range).post(query::query_range))
        .route("/query_exemplars", get(query::query_exemplars).post(query::query_exemplars))
        .route("/format_query", get(query::format_query).post(query::format_query))
        .route("/parse_query", get(query::parse_query).post(query::parse_query))
        .route("/read", post(read::read))
        .route("/series", get(listing::series).post(listing::series))
        .route("/labels", get(listing::labels).post(listing::labels))
        .route("/label/{name}/values", get(listing::label_values))
        .route("/metadata", get(listing::metadata))
        .route("/scrape_pools", get(states::scrape_pools))
        .route("/targets", get(states::targets))
        .route("/targets/metadata", get(states::targets_metadata))
        .route("/rules", get(states::rules))
        .route("/alerts", get(states::alerts))
        .route("/alertmanagers", get(states::alertmanagers))
        .route("/features", get(status::features))
        .route("/status/buildinfo", get(status::buildinfo))
        .route("/status/runtimeinfo", get(status::runtimeinfo))
        .route("/status/flags", get(status::flags))
        .route("/status/config", get(status::config))
        .route("/status/tsdb", get(listing::tsdb))
        .route("/status/tsdb/blocks", get(status::blocks))
        .route("/status/walreplay", get(status::wal_replay))
        .route("/notifications", get(status::notifications))
        .route("/notifications/live", get(status::live_notifications))
        .route("/search/{what}", get(status::search).post(status::search))
        .route("/admin/tsdb/{action}", post(status::admin).put(status::admin));
    let routes = Router::new()
        .nest("/api/v1", api)
        .route("/federate", get(status::federate))
        .route("/version", get(status::version))
        .route("/-/healthy", get(status::healthy))
        .route("/-/ready", get(status::ready))
        .route("/-/{action}", any(status::lifecycle))
        .layer(axum::middleware::from_fn(compression::compress))
        .with_state(prometheus);
    Router::new().merge(routes.clone()).nest(PREFIX, routes)
}
