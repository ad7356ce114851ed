//! `load`: requests at a steady rate, whatever the answers take. On the command `hot`, one partition gets more than
//! its share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use throughline_instrument::{Histogram, LATENCY_BOUNDS_SECONDS, SpanKind, Telemetry, Tracer};

use super::http::Client;
use super::keys::{HOT_PARTITION, TASKS, partition_of, task_id};
use super::random::Random;
use super::{show, time};

/// The command that makes a partition hot.
pub const HOT: &str = "hot";

/// The command that spreads the load evenly again.
pub const QUIET: &str = "quiet";

/// What the hot partition gets of all requests: 14 a second at the usual rate, where 10 are provisioned.
const HOT_SHARE: f64 = 0.35;

/// One request in ten writes.
const WRITE_SHARE: f64 = 0.1;

/// Requests under way at once; more are left out. At the usual rate and the worst latency there are 60.
const IN_FLIGHT_MAX: usize = 256;

/// How often the load says how it goes, and over how long.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
const REPORT_WINDOW: Duration = Duration::from_secs(10);

/// How it goes, as seen from outside; one line of JSON on stdout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Requests in the window.
    pub requests: usize,
    /// Those that were answered with a 5xx, or not at all.
    pub failed: usize,
    /// Half were quicker.
    pub p50_ms: f64,
    /// 99 of 100 were quicker.
    pub p99_ms: f64,
}

/// The running load generator.
pub struct Load {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

struct Shared {
    tracer: Tracer,
    latency: Histogram,
    client: Client,
    random: Random,
    gateway: String,
    hot_keys: Vec<String>,
    hot: AtomicBool,
    stopped: AtomicBool,
    in_flight: AtomicUsize,
    window: Mutex<VecDeque<Sample>>,
}

#[derive(Clone, Copy)]
struct Sample {
    at: Instant,
    duration: Duration,
    failed: bool,
}

impl Load {
    /// Starts making requests.
    pub fn start(telemetry: &Telemetry, gateway: String, rate: f64) -> anyhow::Result<Load> {
        let hot_keys = (0..TASKS).map(task_id).filter(|id| partition_of(id) == HOT_PARTITION).collect();
        let shared = Arc::new(Shared {
            tracer: telemetry.tracer("load"),
            latency: telemetry.histogram("http.client.request.duration", "s", LATENCY_BOUNDS_SECONDS),
            client: Client::new(),
            random: Random::default(),
            gateway,
            hot_keys,
            hot: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            window: Mutex::default(),
        });
        let pace = Duration::from_secs_f64(1.0 / rate.clamp(1.0, 1_000.0));
        let thread = std::thread::Builder::new()
            .name("pace".to_owned())
            .spawn({
                let shared = shared.clone();
                move || shared.run(pace)
            })
            .context("start the load's thread")?;
        Ok(Load { shared, thread })
    }

    /// Takes a command of the driver.
    pub fn obey(&self, command: &str) {
        self.shared.hot.store(command == HOT, Ordering::Relaxed);
    }

    /// Ends the load; requests under way are left to themselves.
    pub fn stop(self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // A thread that panicked has ended too.
        let _ = self.thread.join();
    }
}

impl Shared {
    fn run(self: Arc<Shared>, pace: Duration) {
        let mut next = time::now();
        let mut report_at = next + REPORT_INTERVAL;
        while !self.stopped.load(Ordering::Relaxed) {
            let now = time::now();
            if now >= report_at {
                report_at += REPORT_INTERVAL;
                self.report(now);
            }
            std::thread::sleep(next.saturating_duration_since(now));
            next += pace;
            if self.in_flight.load(Ordering::Relaxed) >= IN_FLIGHT_MAX {
                continue;
            }
            self.in_flight.fetch_add(1, Ordering::Relaxed);
            let shared = self.clone();
            let spawned = std::thread::Builder::new().name("request".to_owned()).spawn(move || {
                shared.request();
                shared.in_flight.fetch_sub(1, Ordering::Relaxed);
            });
            if spawned.is_err() {
                self.in_flight.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// One request: the root of a trace.
    fn request(&self) {
        let hot = self.hot.load(Ordering::Relaxed) && self.random.fraction() < HOT_SHARE;
        let hot_key = self.hot_keys.get(self.random.below(self.hot_keys.len().max(1))).filter(|_| hot);
        let id = hot_key.cloned().unwrap_or_else(|| task_id(self.random.below(TASKS)));
        let method = if self.random.fraction() < WRITE_SHARE { Method::PUT } else { Method::GET };
        let mut span = self.tracer.root(&format!("{method} /api/tasks/{{id}}"), SpanKind::Client);
        span.set_attribute("http.request.method", method.as_str());
        span.set_attribute("peer.service", "gateway");
        let url = format!("{}/api/tasks/{id}", self.gateway);
        span.set_attribute("url.full", url.as_str());
        let context = span.context();
        let started = time::now();
        let answer = if method == Method::PUT {
            self.client.send(&method, &url, &json!({ "id": id, "state": "done" }), &context)
        } else {
            self.client.get(&url, Some(&context))
        };
        let duration = started.elapsed();
        let status = answer.map_or(0, |reply| reply.status);
        let failed = !(200..500).contains(&status);
        span.set_attribute("http.response.status_code", status);
        if failed {
            span.set_error(&format!("gateway answered {status}"));
        }
        let attributes =
            [("http.request.method", method.as_str().into()), ("http.response.status_code", status.into())];
        self.latency.record(duration.as_secs_f64(), &attributes, Some(&context));
        let sample = Sample { at: time::now(), duration, failed };
        self.window.lock().unwrap_or_else(PoisonError::into_inner).push_back(sample);
    }

    fn report(&self, now: Instant) {
        let samples: Vec<Sample> = {
            let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
            window.retain(|sample| now.saturating_duration_since(sample.at) < REPORT_WINDOW);
            window.iter().copied().collect()
        };
        if let Ok(line) = serde_json::to_string(&summarize(&samples)) {
            show::print(&line);
        }
    }
}

fn summarize(samples: &[Sample]) -> Report {
    let mut durations: Vec<Duration> = samples.iter().map(|sample| sample.duration).collect();
    durations.sort_unstable();
    let quantile = |q: f64| {
        let rank = (durations.len() as f64 * q).ceil() as usize;
        durations.get(rank.saturating_sub(1)).map_or(0.0, |duration| duration.as_secs_f64() * 1e3)
    };
    Report {
        requests: samples.len(),
        failed: samples.iter().filter(|sample| sample.failed).count(),
        p50_ms: quantile(0.5),
        p99_ms: quantile(0.99),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_nearest_rank_quantiles() {
        let sample = |ms| Sample { at: time::now(), duration: Duration::from_millis(ms), failed: ms > 99 };
        let samples: Vec<Sample> = (1..=100).map(sample).collect();
        let expected = Report { requests: 100, failed: 1, p50_ms: 50.0, p99_ms: 99.0 };
        assert_eq!(summarize(&samples), expected);
        assert_eq!(summarize(&[]), Report::default());
    }
}
