//! One target, scrape after scrape.
//!
//! Scrapes begin at fixed places of the interval, so that neither a slow page nor a clock that is set moves those that
//! come after. A scrape that fails is not tried again before the next place.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::observed::TargetHealth;
use throughline_wire::prometheus::exposition::Format;
use tokio::sync::watch;

use crate::fetch::{Answer, Client, Request};
use crate::job::{Job, Protocol};
use crate::page::{Digest, Page, Scrape};
use crate::pool::Pool;
use crate::staleness::Tracker;
use crate::target::Target;
use crate::writer;

/// The largest page where nothing is configured: a thousand times the usual.
const PAGE_BYTES_MAX: usize = 64 << 20;
/// A scrape that begins at most so much late has the time that was planned: whole times compress better.
const LATE_NS_MAX: i64 = 2_000_000;

/// What a cycle is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// To go on.
    Run,
    /// That its target is no more: its series end.
    Vanished,
    /// That the process ends: its series do not.
    Shutdown,
}

/// What the last scrape came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub began_at: Option<i64>,
    pub duration: Duration,
    pub health: TargetHealth,
    pub error: String,
}

/// What the cycle and its pool share.
#[derive(Default)]
pub struct Shown(Mutex<Outcome>);

impl Shown {
    pub fn lock(&self) -> MutexGuard<'_, Outcome> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cycle of one target.
pub struct Cycle {
    pub pool: Arc<Pool>,
    pub target: Arc<Target>,
    pub shown: Arc<Shown>,
    pub orders: watch::Receiver<Order>,
    pub client: Client,
    pub tracker: Tracker,
}

impl Cycle {
    /// Scrapes until it is told otherwise.
    pub async fn run(mut self) {
        let mut last_ns = None;
        loop {
            let planned_ns = self.next(last_ns);
            let mut orders = self.orders.clone();
            let wait =
                Duration::from_nanos((planned_ns - self.pool.shared.clock.now()).max(0).cast_unsigned());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                order = stopped(&mut orders) => return self.stop(order).await,
            }
            // A page that is being read when its target vanishes is read to its end; the process does not wait for it.
            tokio::select! {
                () = self.scrape(planned_ns) => {}
                () = shutdown(&mut orders) => return,
            }
            last_ns = Some(planned_ns);
        }
    }

    /// When the next scrape begins.
    fn next(&self, last_ns: Option<i64>) -> i64 {
        let now = self.pool.shared.clock.now();
        let ns = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        let interval = ns(self.target.interval);
        let planned = now.saturating_add(ns(self.target.offset(now, self.pool.shared.seed)));
        // A clock that was set back a little would show the same place again.
        let again = last_ns.is_some_and(|last| (0..interval / 2).contains(&(planned - last)));
        if again { planned.saturating_add(interval) } else { planned }
    }

    async fn stop(mut self, order: Order) {
        if order == Order::Vanished {
            let time_ms = self.pool.shared.clock.now() / 1_000_000;
            let scrape = Scrape {
                job: &self.pool.job,
                target: &self.target,
                external_labels: &self.pool.shared.external_labels,
                time_ms,
            };
            let requests = scrape.end(&mut self.tracker);
            // What fails here is counted and told by the writer; there is no scrape left to fail.
            _ = writer::store(&self.pool, requests).await;
        }
    }

    async fn scrape(&mut self, planned_ns: i64) {
        let clock = Arc::clone(&self.pool.shared.clock);
        let (now, began) = (clock.now(), clock.monotonic());
        let late_max = LATE_NS_MAX.min(i64::try_from(self.target.interval.as_nanos() / 100).unwrap_or(0));
        let began_at = if (0..=late_max).contains(&(now - planned_ns)) { planned_ns } else { now };
        let answer = self.fetch().await;
        let duration = clock.monotonic().saturating_sub(began);
        let (job, target) = (Arc::clone(&self.pool.job), Arc::clone(&self.target));
        let shared = Arc::clone(&self.pool.shared);
        let mut tracker = std::mem::take(&mut self.tracker);
        let Ok(_turn) = self.pool.shared.reading.acquire().await else { return };
        let read = tokio::task::spawn_blocking(move || {
            let external_labels = &shared.external_labels;
            let scrape =
                Scrape { job: &job, target: &target, external_labels, time_ms: began_at / 1_000_000 };
            let digest = digest(&scrape, &mut tracker, answer, duration);
            (digest, tracker)
        });
        // A panic is caught by the task and would be an error of ours: the target counts as down, its series as new.
        let (digest, tracker) = read.await.unwrap_or_default();
        self.tracker = tracker;
        let stored = writer::store(&self.pool, digest.requests).await;
        let error = digest.error.or(stored.err());
        self.pool.counts.scrape(digest.kept, error.is_some());
        let health = if error.is_none() { TargetHealth::Up } else { TargetHealth::Down };
        let began_at = Some(began_at);
        *self.shown.lock() = Outcome { began_at, duration, health, error: error.unwrap_or_default() };
    }

    async fn fetch(&mut self) -> Result<Answer, String> {
        let Pool { job, shared, .. } = &*self.pool;
        if self.pool.is_over_limit() {
            return Err(format!("the job has more targets than target_limit {}", job.limits.targets));
        }
        let timeout_seconds = self.target.timeout.as_secs_f64().to_string();
        let request = Request {
            url: &self.target.url(),
            accept: &Protocol::accept(&job.fetch.protocols, job.fetch.escaping),
            extra: ("x-prometheus-scrape-timeout-seconds", &timeout_seconds),
            authorization: job.fetch.authorization.as_ref(),
            gzip: job.fetch.gzip,
            redirects: job.fetch.redirects,
            timeout: self.target.timeout,
            body_bytes_max: page_bytes_max(job),
        };
        let turn = tokio::time::timeout(self.target.timeout, shared.fetching.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err("too many scrapes at once; there was no turn within the time limit".to_owned());
        };
        self.client.get(&request).await
    }
}

fn page_bytes_max(job: &Job) -> usize {
    if job.limits.body_bytes == 0 { PAGE_BYTES_MAX } else { job.limits.body_bytes }
}

/// From an answer to requests; away from the reactor, for it takes its time.
fn digest(
    scrape: &Scrape<'_>,
    tracker: &mut Tracker,
    answer: Result<Answer, String>,
    duration: Duration,
) -> Digest {
    let answer = match answer {
        Ok(answer) => answer,
        Err(reason) => return scrape.digest(tracker, Err(reason), duration),
    };
    let plain = answer.plain(page_bytes_max(scrape.job));
    let page = plain.as_ref().map_err(Clone::clone).and_then(|bytes| {
        let format = format(scrape.job, &answer.content_type)?;
        Ok(Page { format, bytes })
    });
    scrape.digest(tracker, page, duration)
}

fn format(job: &Job, content_type: &str) -> Result<Format, String> {
    let fallback = job.fetch.fallback.map(Protocol::format);
    Format::from_content_type(content_type).or(fallback).ok_or_else(|| {
        format!("the answer's Content-Type is {content_type:?}, and there is no fallback_scrape_protocol")
    })
}

/// Completes with the order to stop.
async fn stopped(orders: &mut watch::Receiver<Order>) -> Order {
    match orders.wait_for(|order| *order != Order::Run).await {
        Ok(order) => *order,
        Err(_) => Order::Shutdown,
    }
}

/// Completes when the process ends.
async fn shutdown(orders: &mut watch::Receiver<Order>) {
    _ = orders.wait_for(|order| *order == Order::Shutdown).await;
}
