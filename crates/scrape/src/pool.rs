//! The targets of one job: what discovery says is held against what is scraped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::observed::{ActiveTarget, DroppedTarget, Targets};
use throughline_store::{Clock, Store};
use throughline_wire::DecodeLimits;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::cycle::{Cycle, Order, Shown};
use crate::discovery::{Group, TARGETS_MAX};
use crate::fetch::{Budget, Client};
use crate::job::Job;
use crate::staleness::Tracker;
use crate::target::{Labels, Populated, Target};

/// Dropped targets that are shown where nothing is configured.
const DROPPED_SHOWN: usize = 1000;

/// What all jobs share.
pub struct Shared {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub limits: DecodeLimits,
    pub external_labels: Vec<(String, String)>,
    /// Shifts the places of all scrapes.
    pub seed: u64,
    /// Turns of those that fetch.
    pub fetching: Semaphore,
    /// Turns of those that read a page.
    pub reading: Semaphore,
    pub budget: Budget,
    pub warn: Box<dyn Fn(&str) + Send + Sync>,
}

/// A job and its targets.
pub struct Pool {
    pub job: Arc<Job>,
    pub shared: Arc<Shared>,
    pub counts: Counts,
    state: Mutex<State>,
    over_limit: AtomicBool,
    warned: Mutex<String>,
}

#[derive(Default)]
struct State {
    active: HashMap<u64, Running>,
    dropped: Vec<Labels>,
    dropped_count: u64,
}

struct Running {
    target: Arc<Target>,
    /// What discovery says of it now: it may say more than when it was found.
    discovered: Labels,
    shown: Arc<Shown>,
    orders: watch::Sender<Order>,
}

/// What happened to a job so far.
#[derive(Debug, Default)]
pub struct Counts {
    pub scrapes: AtomicU64,
    pub failures: AtomicU64,
    pub samples: AtomicU64,
    pub rejected: AtomicU64,
    pub store_failures: AtomicU64,
}

impl Counts {
    pub fn scrape(&self, samples: u64, failed: bool) {
        self.scrapes.fetch_add(1, Ordering::Relaxed);
        self.samples.fetch_add(samples, Ordering::Relaxed);
        self.failures.fetch_add(u64::from(failed), Ordering::Relaxed);
    }

    pub fn rejected(&self, samples: u64) {
        self.rejected.fetch_add(samples, Ordering::Relaxed);
    }

    pub fn store_failure(&self) {
        self.store_failures.fetch_add(1, Ordering::Relaxed);
    }
}

impl Pool {
    pub fn new(job: Job, shared: &Arc<Shared>) -> Pool {
        Pool {
            job: Arc::new(job),
            shared: Arc::clone(shared),
            counts: Counts::default(),
            state: Mutex::default(),
            over_limit: AtomicBool::new(false),
            warned: Mutex::default(),
        }
    }

    /// Whether discovery found more targets than the job may have: then none is scraped.
    pub fn is_over_limit(&self) -> bool {
        self.over_limit.load(Ordering::Relaxed)
    }

    /// Tells the operator, once for the same thing.
    pub fn warn(&self, text: &str) {
        let mut last = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != text {
            (self.shared.warn)(&format!("scrape job {:?}: {text}", self.job.name));
            text.clone_into(&mut last);
        }
    }

    /// How many targets are scraped.
    pub fn active(&self) -> usize {
        self.lock().active.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts what is new and stops what is gone.
    pub fn sync<'g>(self: &Arc<Self>, groups: impl Iterator<Item = &'g Group>, cycles: &mut JoinSet<()>) {
        let mut found: HashMap<u64, Target> = HashMap::new();
        let mut dropped = Vec::new();
        let mut dropped_count = 0;
        let shown_max = match self.job.limits.dropped_targets {
            0 => DROPPED_SHOWN,
            configured => configured,
        };
        for group in groups {
            let labels: Labels = group.labels.iter().map(|(n, v)| (n.clone(), v.clone())).collect();
            for address in &group.targets {
                match Target::populate(&self.job, address, &labels) {
                    Ok(Populated::Target(target)) if found.len() < TARGETS_MAX => {
                        found.insert(target.hash, *target);
                    }
                    Ok(Populated::Target(_)) => {
                        self.warn(&format!("there are more than {TARGETS_MAX} targets"))
                    }
                    Ok(Populated::Dropped(discovered)) => {
                        dropped_count += 1;
                        if dropped.len() < shown_max {
                            dropped.push(discovered);
                        }
                    }
                    Err(reason) => self.warn(&format!("target {address:?}: {reason}")),
                }
            }
        }
        let limit = self.job.limits.targets;
        self.over_limit.store(limit > 0 && found.len() > limit, Ordering::Relaxed);
        let mut state = self.lock();
        (state.dropped, state.dropped_count) = (dropped, dropped_count);
        state.active.retain(|hash, running| {
            let stays = found.contains_key(hash);
            if !stays {
                running.orders.send_replace(Order::Vanished);
            }
            stays
        });
        for (hash, target) in found {
            match state.active.get_mut(&hash) {
                Some(running) => running.discovered = target.discovered,
                None => _ = state.active.insert(hash, self.start(target, cycles)),
            }
        }
    }

    fn start(self: &Arc<Self>, target: Target, cycles: &mut JoinSet<()>) -> Running {
        let (orders, receiver) = watch::channel(Order::Run);
        let shown = Arc::new(Shown::default());
        let discovered = target.discovered.clone();
        let target = Arc::new(target);
        let cycle = Cycle {
            pool: Arc::clone(self),
            target: Arc::clone(&target),
            shown: Arc::clone(&shown),
            orders: receiver,
            client: Client::new(self.shared.budget.clone()),
            tracker: Tracker::default(),
        };
        cycles.spawn(cycle.run());
        Running { target, discovered, shown, orders }
    }

    /// Stops everything, as the process ends.
    pub fn stop(&self) {
        for running in self.lock().active.values() {
            running.orders.send_replace(Order::Shutdown);
        }
    }

    /// Adds the job's targets to a list, by URL.
    pub fn list(&self, out: &mut Targets) {
        let state = self.lock();
        let from = out.active.len();
        for Running { target, discovered, shown, .. } in state.active.values() {
            let outcome = shown.lock().clone();
            out.active.push(ActiveTarget {
                discovered_labels: discovered.clone(),
                labels: target.labels.clone(),
                scrape_pool: self.job.name.clone(),
                scrape_url: target.url(),
                global_url: target.url(),
                last_error: outcome.error,
                last_scrape: outcome.began_at,
                last_scrape_duration: outcome.duration,
                health: outcome.health,
                interval: target.interval,
                timeout: target.timeout,
            });
        }
        if let Some(own) = out.active.get_mut(from..) {
            own.sort_by(|a, b| (&a.scrape_url, &a.labels).cmp(&(&b.scrape_url, &b.labels)));
        }
        let scrape_pool = &self.job.name;
        out.dropped.extend(state.dropped.iter().map(|labels| DroppedTarget {
            discovered_labels: labels.clone(),
            scrape_pool: scrape_pool.clone(),
        }));
        out.dropped_counts.push((scrape_pool.clone(), state.dropped_count));
    }
}
