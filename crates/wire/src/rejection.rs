//! Why single items of a good request are not stored: reasons, sentences and exact counts.
//!
//! A refusal is a small value while items are walked; its sentence is written once per reason, for the first item,
//! so that a request full of bad items costs no more than a good one.

use throughline_model::Signal;

use crate::DecodeLimits;

/// Why items were rejected: a closed set, so that the ledger can count by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RejectReason {
    /// A trace or span id of the wrong length, or all zeros.
    InvalidId = 0,
    /// Text that is not UTF-8.
    InvalidUtf8 = 1,
    /// A time further ahead than the limit.
    TooNew = 2,
    /// A time older than the limit (the retention), or none.
    TooOld = 3,
    /// A value nested deeper than [`throughline_model::attribute::MAX_DEPTH`].
    TooDeep = 4,
    /// A value, or a list of attributes, over its limit.
    TooLarge = 5,
    /// More items in one request than the limit.
    TooManyItems = 6,
    /// A metric without aggregation temporality, a histogram whose counts and bounds disagree, and the like.
    InvalidMetric = 7,
    /// Labels without a metric's name, with an empty name, or with a name twice.
    InvalidLabels = 8,
    /// Another value for a time that the series has in the same request.
    DuplicateTime = 9,
}

impl RejectReason {
    /// All reasons, by code.
    pub const ALL: [RejectReason; 10] = [
        RejectReason::InvalidId,
        RejectReason::InvalidUtf8,
        RejectReason::TooNew,
        RejectReason::TooOld,
        RejectReason::TooDeep,
        RejectReason::TooLarge,
        RejectReason::TooManyItems,
        RejectReason::InvalidMetric,
        RejectReason::InvalidLabels,
        RejectReason::DuplicateTime,
    ];

    /// The reason as a label of the ledger.
    pub fn name(self) -> &'static str {
        match self {
            RejectReason::InvalidId => "invalid_id",
            RejectReason::InvalidUtf8 => "invalid_utf8",
            RejectReason::TooNew => "too_new",
            RejectReason::TooOld => "too_old",
            RejectReason::TooDeep => "too_deep",
            RejectReason::TooLarge => "too_large",
            RejectReason::TooManyItems => "too_many_items",
            RejectReason::InvalidMetric => "invalid_metric",
            RejectReason::InvalidLabels => "invalid_labels",
            RejectReason::DuplicateTime => "duplicate_time",
        }
    }

    /// The code that is stored.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The reason that a stored code stands for.
    pub fn from_code(code: u8) -> Option<RejectReason> {
        RejectReason::ALL.get(usize::from(code)).copied()
    }
}

/// Items of one request that were rejected for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Why.
    pub reason: RejectReason,
    /// How many items. Zero for a remark: what is named was left out of an item that was stored.
    pub count: u64,
    /// The first of them: its place in the request, the field, the limit and the way out.
    pub message: String,
}

impl Rejection {
    /// How many items were rejected for all reasons together.
    pub fn total(rejected: &[Rejection]) -> u64 {
        rejected.iter().map(|rejection| rejection.count).sum()
    }

    /// What a sender is told in OTLP's `partial_success.error_message`; empty if nothing was rejected.
    pub fn summary(rejected: &[Rejection], signal: Signal) -> String {
        let items = signal.items();
        let parts: Vec<String> = rejected
            .iter()
            .map(|r| match r.count {
                0 => format!("{items} stored in part ({}): {}", r.reason.name(), r.message),
                count => format!("{count} {items} rejected ({}): {}", r.reason.name(), r.message),
            })
            .collect();
        parts.join("; ")
    }
}

/// Counts a request's items, and those that are refused by reason.
pub(crate) struct Tally {
    items: usize,
    items_limit: usize,
    rejected: Vec<Rejection>,
}

impl Tally {
    pub fn new(limits: &DecodeLimits) -> Tally {
        Tally { items: 0, items_limit: limits.items_per_request, rejected: Vec::new() }
    }

    /// Makes room for one more item, unless the request has too many: then `refusal` of the limit.
    #[inline]
    pub fn admit<R>(&mut self, refusal: impl FnOnce(usize) -> R) -> Result<(), R> {
        self.items += 1;
        if self.items > self.items_limit { Err(refusal(self.items_limit)) } else { Ok(()) }
    }

    /// Counts `count` refused items; the sentence is that of the first of a reason. A count of zero is a remark: the item is
    /// stored, but not all of it.
    #[cold]
    pub fn refuse(&mut self, reason: RejectReason, count: u64, message: impl FnOnce() -> String) {
        match self.rejected.iter_mut().find(|rejection| rejection.reason == reason) {
            Some(rejection) => rejection.count += count,
            None => self.rejected.push(Rejection { reason, count, message: message() }),
        }
    }

    pub fn finish(self) -> Vec<Rejection> {
        self.rejected
    }
}
