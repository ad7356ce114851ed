//! Metrics in by scraping: targets are found, asked for their pages again and again, and what they show is stored.
//!
//! The path of a sample:
//!
//! 1. [`discovery`] finds addresses; [`target`] and [`relabel`] make targets of them, which [`pool`] starts and stops.
//! 2. [`cycle`] waits for the target's place in the interval; [`fetch`] asks for the page.
//! 3. [`page`] makes requests of remote write 2.0 of it, with stale markers from [`staleness`].
//! 4. [`writer`] decodes them like those of any sender and hands them to the store.
//!
//! This is a boundary: it does network I/O and reads files that discovery names. Time comes from the store's clock.
//! Relabelling, targets, pages and staleness are pure.

mod cycle;
pub mod discovery;
pub mod duration;
mod fetch;
pub mod job;
pub mod labels;
pub mod observed;
pub mod page;
mod pool;
pub mod relabel;
pub mod staleness;
pub mod target;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use throughline_store::{Clock, Store};
use throughline_wire::DecodeLimits;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::discovery::{Group, HttpDiscovery, file, url};
use crate::fetch::{Budget, Client};
use crate::job::Job;
use crate::observed::Targets;
use crate::pool::{Pool, Shared};

/// Scrapes at once: sockets are cheap, and a slow target must not hold up others.
const FETCHING_MAX: usize = 1000;
/// Bytes of all pages that are being fetched.
const FETCHING_BYTES_MAX: usize = 256 << 20;
/// Lists of groups that wait for their job.
const LISTS_MAX: usize = 16;
/// How long stopping waits for scrapes that are being stored.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// What the scraper is told.
pub struct ScrapeConfig {
    /// What is to be scraped.
    pub jobs: Vec<Job>,
    /// Labels that every series gets that lacks them.
    pub external_labels: Vec<(String, String)>,
    /// What single samples may be.
    pub decode_limits: DecodeLimits,
    /// Shifts the places of all scrapes: two processes with different seeds ask at different times.
    pub seed: u64,
    /// Is told what an operator should know.
    pub warn: Box<dyn Fn(&str) + Send + Sync>,
}

/// The running scraper.
pub struct Scraper {
    pools: Vec<Arc<Pool>>,
    stop: watch::Sender<bool>,
    jobs: Vec<JoinHandle<()>>,
}

/// Asks the running scraper; clones ask the same.
#[derive(Clone)]
pub struct Observer {
    pools: Vec<Arc<Pool>>,
}

/// What happened to a job so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobStats {
    /// Its name.
    pub job: String,
    /// Targets that are scraped.
    pub targets: u64,
    /// Scrapes so far.
    pub scrapes: u64,
    /// Those that failed.
    pub failures: u64,
    /// Samples that were kept.
    pub samples: u64,
    /// Samples that the store's limits refused.
    pub rejected_samples: u64,
    /// Requests that the store did not take.
    pub store_failures: u64,
}

impl Scraper {
    /// Starts all jobs. It must be called within a runtime.
    pub fn start(config: ScrapeConfig, store: Store, clock: Arc<dyn Clock>) -> Scraper {
        let ScrapeConfig { jobs, external_labels, decode_limits: limits, seed, warn } = config;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let shared = Arc::new(Shared {
            store,
            clock,
            limits,
            external_labels,
            seed,
            fetching: Semaphore::new(FETCHING_MAX),
            reading: Semaphore::new(threads),
            budget: Budget::new(FETCHING_BYTES_MAX),
            warn,
        });
        let (stop, stopped) = watch::channel(false);
        let pools: Vec<Arc<Pool>> = jobs.into_iter().map(|job| Arc::new(Pool::new(job, &shared))).collect();
        let jobs = pools.iter().map(|pool| tokio::spawn(run(Arc::clone(pool), stopped.clone()))).collect();
        Scraper { pools, stop, jobs }
    }

    /// Somebody who may ask.
    pub fn observer(&self) -> Observer {
        Observer { pools: self.pools.clone() }
    }

    /// Stops all jobs; what is being stored is waited for.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        for job in self.jobs {
            // A job that panicked has nothing left to wait for.
            _ = job.await;
        }
    }
}

impl Observer {
    /// All targets now.
    pub fn targets(&self) -> Targets {
        let mut targets = Targets::default();
        self.pools.iter().for_each(|pool| pool.list(&mut targets));
        targets
    }

    /// What happened so far, per job.
    pub fn stats(&self) -> Vec<JobStats> {
        let stats = self.pools.iter().map(|pool| {
            let counts = &pool.counts;
            JobStats {
                job: pool.job.name.clone(),
                targets: pool.active() as u64,
                scrapes: counts.scrapes.load(Ordering::Relaxed),
                failures: counts.failures.load(Ordering::Relaxed),
                samples: counts.samples.load(Ordering::Relaxed),
                rejected_samples: counts.rejected.load(Ordering::Relaxed),
                store_failures: counts.store_failures.load(Ordering::Relaxed),
            }
        });
        stats.collect()
    }
}

/// One job: takes what its sources say, until the end.
async fn run(pool: Arc<Pool>, mut stopped: watch::Receiver<bool>) {
    let (sender, mut lists) = mpsc::channel(LISTS_MAX);
    let mut sources = start_sources(&pool, &sender);
    let mut cycles = JoinSet::new();
    let mut latest: BTreeMap<usize, Vec<Group>> = BTreeMap::new();
    latest.insert(0, pool.job.discovery.fixed.clone());
    loop {
        pool.sync(latest.values().flatten(), &mut cycles);
        tokio::select! {
            Some((source, groups)) = lists.recv() => {
                latest.insert(source, groups);
            }
            _ = stopped.wait_for(|stop| *stop) => break,
        }
        // Cycles of targets that vanished have ended by themselves.
        while cycles.try_join_next().is_some() {}
    }
    sources.abort_all();
    pool.stop();
    let ended = async { while cycles.join_next().await.is_some() {} };
    _ = tokio::time::timeout(STOP_TIMEOUT, ended).await;
}

/// Sources are numbered from 1; 0 is the list in the configuration.
fn start_sources(pool: &Arc<Pool>, lists: &mpsc::Sender<(usize, Vec<Group>)>) -> JoinSet<()> {
    let mut sources = JoinSet::new();
    let mut number = 0;
    for config in pool.job.discovery.files.clone() {
        number += 1;
        let (pool, lists, source) = (Arc::clone(pool), lists.clone(), number);
        sources.spawn(async move {
            let mut files = file::Files::new(config);
            loop {
                let groups = files.changed(|text| pool.warn(&text)).await;
                if lists.send((source, groups)).await.is_err() {
                    return;
                }
            }
        });
    }
    for config in pool.job.discovery.urls.clone() {
        number += 1;
        sources.spawn(ask_repeatedly(Arc::clone(pool), config, number, lists.clone()));
    }
    sources
}

/// What a URL said last stays while it does not answer.
async fn ask_repeatedly(
    pool: Arc<Pool>,
    config: HttpDiscovery,
    source: usize,
    lists: mpsc::Sender<(usize, Vec<Group>)>,
) {
    let mut client = Client::new(pool.shared.budget.clone());
    loop {
        match url::ask(&config, &mut client).await {
            Ok(groups) => {
                if lists.send((source, groups)).await.is_err() {
                    return;
                }
            }
            Err(reason) => pool.warn(&format!("{}: {reason}", config.url)),
        }
        tokio::time::sleep(config.refresh).await;
    }
}
