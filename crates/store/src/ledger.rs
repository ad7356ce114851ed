//! The ledger: received = stored + deduplicated + rejected{reason}, per signal, at every instant.
//!
//! It counts what the log records, in the order of the log: the engine adds each frame as it applies it, the manifest
//! keeps the totals as of its floor, and a replay adds the frames above. A request that was refused as a whole is in
//! none of the columns, because its sender still has it. An exact retry counts wholly as deduplicated, its rejected
//! items included: their rejection was counted the first time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use throughline_model::Signal;
use throughline_wire::Rejection;

use crate::sample::{Decisions, Dropped};

/// What became of the items of one signal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Items of all acknowledged requests.
    pub received: u64,
    /// Items that were stored.
    pub stored: u64,
    /// Items of exact retries.
    pub deduplicated: u64,
    /// Items that were rejected, by the name of the reason.
    #[serde(default)]
    pub rejected: BTreeMap<String, u64>,
    /// Of the stored items, those that sampling dropped later, by the name of the policy.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped: BTreeMap<String, u64>,
}

impl Account {
    /// Whether every received item is accounted for, and no more was dropped than stored.
    pub fn is_balanced(&self) -> bool {
        self.received == self.stored + self.deduplicated + self.rejected.values().sum::<u64>()
            && self.dropped.values().sum::<u64>() <= self.stored
    }
}

/// The accounts of all signals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Spans.
    pub traces: Account,
    /// Data points.
    pub metrics: Account,
    /// Log records.
    pub logs: Account,
}

impl Ledger {
    /// The account of a signal.
    pub fn account(&self, signal: Signal) -> &Account {
        match signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
            Signal::Logs => &self.logs,
        }
    }

    /// Whether every account is balanced.
    pub fn is_balanced(&self) -> bool {
        Signal::ALL.into_iter().all(|signal| self.account(signal).is_balanced())
    }

    /// Adds a request that was stored.
    pub fn add_stored(&mut self, signal: Signal, stored: u64, rejected: &[Rejection]) {
        let account = self.account_mut(signal);
        account.received += stored + Rejection::total(rejected);
        account.stored += stored;
        for rejection in rejected {
            *account.rejected.entry(rejection.reason.name().to_owned()).or_default() += rejection.count;
        }
    }

    /// Adds an exact retry.
    pub fn add_duplicate(&mut self, signal: Signal, items: u64) {
        let account = self.account_mut(signal);
        account.received += items;
        account.deduplicated += items;
    }

    /// Says what sampling dropped of the stored spans.
    pub(crate) fn set_dropped(&mut self, decisions: &Decisions) {
        let of = |(policy, dropped): (&String, &Dropped)| (policy.clone(), dropped.spans);
        self.traces.dropped = decisions.dropped.iter().map(of).collect();
    }

    fn account_mut(&mut self, signal: Signal) -> &mut Account {
        match signal {
            Signal::Traces => &mut self.traces,
            Signal::Metrics => &mut self.metrics,
            Signal::Logs => &mut self.logs,
        }
    }
}
