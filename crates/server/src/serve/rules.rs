//! The rules of a running server: threads that evaluate groups when they are due, and one for each receiver of alerts.
//!
//! What makes alerts and notifications survive a crash is the order in [`Shared::record`]: state and new notifications
//! are saved in one file before any of them is sent. `rules::state` argues it.

mod delivery;
mod query;
mod states;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use throughline_api::PrometheusContext;
use throughline_rules::GroupDefinition;
use throughline_rules::group::{Environment, Group, Outcome, Settings};
use throughline_rules::outbox::Outbox;
use throughline_rules::overview::GroupStatus;
use throughline_rules::schedule;
use throughline_rules::sink::StoreSink;
use throughline_rules::state::{self, Saved, SavedGroup};
use throughline_store::{Clock, OsDisk, Store};
use throughline_wire::DecodeLimits;

use super::log;
use crate::config::rule_files;
use crate::config::rules::Rules;
use query::StoreQuerier;

pub use states::RuleStates;

/// Where the state is, in the data folder.
const STATE_FILE: &str = "rules/state";
/// Groups that are evaluated at once: queries use the processor, and ingest and people's queries need it, too.
const EVALUATORS: usize = 2;
/// The longest sleep: wall time may jump, and what is due is due by wall time.
const SLEEP_MAX: Duration = Duration::from_secs(1);

type GroupKey = (String, String);

/// The rules at work.
pub struct RuleEngine {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    store: Store,
    clock: Arc<dyn Clock>,
    /// How queries are answered, as the API answers them.
    prometheus: PrometheusContext,
    limits: DecodeLimits,
    rules: Rules,
    state_path: PathBuf,
    stop: AtomicBool,
    slots: Mutex<Vec<Slot>>,
    due: Condvar,
    journal: Mutex<Journal>,
    deliver: Condvar,
}

/// A group and its time.
struct Slot {
    key: GroupKey,
    definition: GroupDefinition,
    group: Arc<Mutex<Group>>,
    /// After its last evaluation: for people, who do not wait for the next one to end.
    status: GroupStatus,
    last_ns: i64,
    is_running: bool,
}

/// What the state file holds.
struct Journal {
    saved: BTreeMap<GroupKey, SavedGroup>,
    outbox: Outbox,
    /// Whether notifications were delivered that still wait in the file.
    is_stale: bool,
    /// Whether the last attempt to save failed: told once, not at every evaluation.
    is_failing: bool,
}

impl RuleEngine {
    /// Reads the rule files, takes over the state of before and starts the threads.
    pub fn start(
        rules: &Rules,
        data_dir: &Path,
        store: &Store,
        clock: &Arc<dyn Clock>,
        prometheus: &PrometheusContext,
        limits: DecodeLimits,
    ) -> Result<RuleEngine> {
        let receivers = rules.targets.iter().map(|target| target.receiver.clone()).collect();
        let shared = Arc::new(Shared {
            store: store.clone(),
            clock: Arc::clone(clock),
            prometheus: prometheus.clone(),
            limits,
            rules: rules.clone(),
            state_path: data_dir.join(STATE_FILE),
            stop: AtomicBool::new(false),
            slots: Mutex::new(Vec::new()),
            due: Condvar::new(),
            journal: Mutex::new(Journal {
                saved: BTreeMap::new(),
                outbox: Outbox::new(receivers),
                is_stale: false,
                is_failing: false,
            }),
            deliver: Condvar::new(),
        });
        let definitions = rule_files::load(rules).context("read the rule files")?;
        shared.begin(definitions);
        let mut threads = Vec::new();
        for number in 0..EVALUATORS {
            let shared = Arc::clone(&shared);
            threads.push(spawn(format!("rules-{number}"), move || shared.evaluate_forever())?);
        }
        for (number, target) in rules.targets.iter().cloned().enumerate() {
            let shared = Arc::clone(&shared);
            // Not waited for at the end: an attempt may take its whole timeout, and what it delivers is saved.
            spawn(format!("alerts-{number}"), move || shared.deliver_forever(number, &target))?;
        }
        Ok(RuleEngine { shared, threads })
    }

    /// What rules and alerts are doing, for the API.
    pub fn states(&self) -> RuleStates {
        RuleStates::new(&self.shared)
    }

    /// Reads the rule files again, for a signal or a request. If there is something wrong with one of them, nothing
    /// changes.
    pub fn reloader(&self) -> impl Fn() -> Result<usize> + Clone + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || {
            let definitions = rule_files::load(&shared.rules)?;
            let count = definitions.len();
            shared.replace(definitions);
            Ok(count)
        }
    }

    /// Ends evaluation and saves the state.
    pub fn stop(self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.due.notify_all();
        self.shared.deliver.notify_all();
        for thread in self.threads {
            _ = thread.join();
        }
        let mut journal = lock(&self.shared.journal);
        if !journal.saved.is_empty() {
            self.shared.save(&mut journal);
        }
    }
}

impl Shared {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn settings(&self) -> &Settings {
        &self.rules.settings
    }

    fn with_environment<T>(&self, run: impl FnOnce(&Environment<'_>) -> T) -> T {
        let querier = StoreQuerier::new(&self.store, &self.prometheus, &self.clock);
        let sink = StoreSink::new(&self.store, self.clock.as_ref(), self.limits);
        run(&Environment {
            querier: &querier,
            sink: &sink,
            settings: self.settings(),
            now_ns: &|| self.clock.now(),
            monotonic: &|| self.clock.monotonic(),
        })
    }

    /// The groups after a start, with the state of before.
    fn begin(&self, definitions: Vec<(String, GroupDefinition)>) {
        let saved = match state::load(&OsDisk, &self.state_path) {
            Ok(saved) => saved,
            Err(error) => {
                log(
                    "warning",
                    &format!(
                        "the state of the rules cannot be read, alerts are restored from their series: {error}"
                    ),
                );
                None
            }
        };
        let mut slots = Vec::new();
        for (file, definition) in definitions {
            let mut group = Group::new(&file, &definition, self.settings(), true);
            if let Some(saved) = &saved {
                let known =
                    saved.groups.iter().find(|known| known.file == file && known.name == definition.name);
                match known {
                    Some(known) => self.with_environment(|env| group.adopt(known, saved.saved_at_ns, env)),
                    None => group.begin_anew(),
                }
            }
            slots.push(self.slot(group, definition));
        }
        let mut journal = lock(&self.journal);
        journal.saved = slots.iter().map(|slot| (slot.key.clone(), lock(&slot.group).saved())).collect();
        if let Some(saved) = saved {
            let now_ns = self.clock.now();
            journal.outbox.restore(&saved.waiting, now_ns - self.settings().outage_tolerance_ns, now_ns);
        }
        drop(journal);
        *lock(&self.slots) = slots;
    }

    fn slot(&self, group: Group, definition: GroupDefinition) -> Slot {
        let last_ns = schedule::slot_ns(group.file(), group.name(), group.interval_ns(), self.clock.now());
        Slot {
            key: (group.file().to_owned(), group.name().to_owned()),
            definition,
            status: group.status(),
            group: Arc::new(Mutex::new(group)),
            last_ns,
            is_running: false,
        }
    }

    /// Puts other groups in place of those that there are. A group that has not changed goes on as it is.
    fn replace(&self, definitions: Vec<(String, GroupDefinition)>) {
        let mut old = std::mem::take(&mut *lock(&self.slots));
        let mut slots = Vec::new();
        for (file, definition) in definitions {
            let known = old.iter().position(|slot| slot.key.0 == file && slot.key.1 == definition.name);
            let Some(known) = known.map(|at| old.swap_remove(at)) else {
                let group = Group::new(&file, &definition, self.settings(), false);
                slots.push(self.slot(group, definition));
                continue;
            };
            if known.definition == definition {
                slots.push(Slot { is_running: false, ..known });
                continue;
            }
            let mut group = Group::new(&file, &definition, self.settings(), false);
            // This waits for an evaluation that is under way.
            let placeholder = Group::new(&file, &GroupDefinition::default(), self.settings(), false);
            group.take_over(std::mem::replace(&mut *lock(&known.group), placeholder));
            let last_ns = known.last_ns;
            slots.push(Slot { last_ns, ..self.slot(group, definition) });
        }
        for gone in old {
            self.with_environment(|env| lock(&gone.group).end(self.clock.now(), env));
        }
        let mut journal = lock(&self.journal);
        journal.saved.retain(|key, _| slots.iter().any(|slot| slot.key == *key));
        self.save(&mut journal);
        drop(journal);
        *lock(&self.slots) = slots;
        self.due.notify_all();
    }

    fn evaluate_forever(&self) {
        while !self.is_stopped() {
            let Some((key, group, at_ns, missed)) = self.next_due() else { continue };
            if missed > 0 {
                log(
                    "warning",
                    &format!(
                        "rule group {:?} missed {missed} evaluations: they take longer than its interval",
                        key.1
                    ),
                );
            }
            let (outcome, saved, status) = {
                let mut group = lock(&group);
                let outcome = self.with_environment(|env| group.evaluate(at_ns, env));
                (outcome, group.saved(), group.status())
            };
            for (rule, error) in &outcome.failures {
                log("warning", &format!("rule group {:?}: rule {rule:?}: {error}", key.1));
            }
            self.record(&key, &outcome, saved);
            let mut slots = lock(&self.slots);
            if let Some(slot) = slots.iter_mut().find(|slot| Arc::ptr_eq(&slot.group, &group)) {
                slot.is_running = false;
                slot.status = status;
            }
            drop(slots);
            self.due.notify_one();
        }
    }

    /// Waits until a group is due, or for a while.
    fn next_due(&self) -> Option<(GroupKey, Arc<Mutex<Group>>, i64, u64)> {
        let mut slots = lock(&self.slots);
        let now_ns = self.clock.now();
        let next = slots.iter_mut().filter(|slot| !slot.is_running).min_by_key(|slot| slot.due_ns());
        let pause = match next {
            Some(slot) if slot.due_ns() <= now_ns => {
                let (at_ns, missed) = schedule::next_ns(slot.last_ns, slot.interval_ns(), now_ns);
                slot.last_ns = at_ns;
                slot.is_running = true;
                return Some((slot.key.clone(), Arc::clone(&slot.group), at_ns, missed));
            }
            Some(slot) => {
                // Wall time was set back: the next evaluation must not wait until it has caught up.
                if slot.due_ns() - now_ns > slot.interval_ns() {
                    slot.last_ns = schedule::slot_ns(&slot.key.0, &slot.key.1, slot.interval_ns(), now_ns);
                }
                Duration::from_nanos((slot.due_ns() - now_ns).unsigned_abs()).min(SLEEP_MAX)
            }
            None => SLEEP_MAX,
        };
        if !self.is_stopped() {
            drop(self.due.wait_timeout(slots, pause));
        }
        None
    }

    /// Saves what an evaluation changed, then lets its notifications go.
    fn record(&self, key: &GroupKey, outcome: &Outcome, saved: SavedGroup) {
        let mut journal = lock(&self.journal);
        journal.saved.insert(key.clone(), saved);
        journal.outbox.add(&outcome.notifications);
        if outcome.is_changed || journal.is_stale {
            self.save(&mut journal);
        }
        journal.outbox.release();
        drop(journal);
        if !outcome.notifications.is_empty() {
            self.deliver.notify_all();
        }
    }

    fn save(&self, journal: &mut Journal) {
        let state = Saved {
            saved_at_ns: self.clock.now(),
            groups: journal.saved.values().cloned().collect(),
            waiting: journal.outbox.waiting(),
        };
        match state::save(&OsDisk, &self.state_path, &state) {
            Ok(()) => {
                journal.is_stale = false;
                journal.is_failing = false;
            }
            // People are told of alerts all the same: it is worse if they are not than if they are told twice.
            Err(error) if !journal.is_failing => {
                journal.is_failing = true;
                log(
                    "warning",
                    &format!("the state of the rules is not saved, a crash would lose it: {error}"),
                );
            }
            Err(_) => {}
        }
    }
}

impl Slot {
    fn interval_ns(&self) -> i64 {
        i64::try_from(self.status.interval.as_nanos()).unwrap_or(i64::MAX)
    }

    fn due_ns(&self) -> i64 {
        self.last_ns.saturating_add(self.interval_ns())
    }
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(run).context("start a thread")
}

/// Every change under these locks leaves whole values.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
