//! Mechanisms: what a text says about why something was slow or failed, by the words that systems use for it.
//!
//! A table of signatures, most telling first. It reads status messages, attribute values, exception events and log
//! lines alike; a text that matches nothing says nothing.

use serde::{Deserialize, Serialize};

/// Why something waits or fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    /// The callee refuses because of a rate or capacity limit.
    Throttling,
    /// Someone holds a lock.
    LockContention,
    /// All connections or workers of a pool are taken.
    PoolExhausted,
    /// Memory is short, or is being collected.
    MemoryPressure,
    /// A disk is full or slow.
    Disk,
    /// A name does not resolve.
    NameResolution,
    /// A connection is refused or breaks.
    Connection,
    /// A certificate or handshake fails.
    Tls,
    /// A deadline passed.
    Timeout,
    /// The callee says that it is not available.
    Unavailable,
}

impl Mechanism {
    /// What it is called in a sentence: "… because of …".
    pub fn phrase(self) -> &'static str {
        match self {
            Mechanism::Throttling => "throttling",
            Mechanism::LockContention => "lock contention",
            Mechanism::PoolExhausted => "an exhausted pool",
            Mechanism::MemoryPressure => "memory pressure",
            Mechanism::Disk => "a full or slow disk",
            Mechanism::NameResolution => "a name that does not resolve",
            Mechanism::Connection => "failing connections",
            Mechanism::Tls => "a failing TLS handshake",
            Mechanism::Timeout => "a passed deadline",
            Mechanism::Unavailable => "an unavailable callee",
        }
    }
}

/// Lower-case words and what they tell; the more telling ones first.
const SIGNATURES: &[(&str, Mechanism)] = &[
    ("provisionedthroughputexceeded", Mechanism::Throttling),
    ("throttlingexception", Mechanism::Throttling),
    ("requestlimitexceeded", Mechanism::Throttling),
    ("toomanyrequests", Mechanism::Throttling),
    ("too many requests", Mechanism::Throttling),
    ("slowdown", Mechanism::Throttling),
    ("rate limit", Mechanism::Throttling),
    ("ratelimit", Mechanism::Throttling),
    ("quota exceeded", Mechanism::Throttling),
    ("resource_exhausted", Mechanism::Throttling),
    ("throttl", Mechanism::Throttling),
    ("deadlock", Mechanism::LockContention),
    ("lock wait timeout", Mechanism::LockContention),
    ("lock timeout", Mechanism::LockContention),
    ("could not serialize access", Mechanism::LockContention),
    ("waiting for lock", Mechanism::LockContention),
    ("timeout waiting for connection", Mechanism::PoolExhausted),
    ("connection pool exhausted", Mechanism::PoolExhausted),
    ("pool exhausted", Mechanism::PoolExhausted),
    ("pooltimeout", Mechanism::PoolExhausted),
    ("connection is not available, request timed out", Mechanism::PoolExhausted),
    ("too many connections", Mechanism::PoolExhausted),
    ("remaining connection slots", Mechanism::PoolExhausted),
    ("too many clients", Mechanism::PoolExhausted),
    ("rejectedexecution", Mechanism::PoolExhausted),
    ("outofmemory", Mechanism::MemoryPressure),
    ("out of memory", Mechanism::MemoryPressure),
    ("oomkill", Mechanism::MemoryPressure),
    ("gc overhead", Mechanism::MemoryPressure),
    ("gc pause", Mechanism::MemoryPressure),
    ("no space left on device", Mechanism::Disk),
    ("disk full", Mechanism::Disk),
    ("i/o error", Mechanism::Disk),
    ("no such host", Mechanism::NameResolution),
    ("name or service not known", Mechanism::NameResolution),
    ("enotfound", Mechanism::NameResolution),
    ("unknownhost", Mechanism::NameResolution),
    ("temporary failure in name resolution", Mechanism::NameResolution),
    ("certificate", Mechanism::Tls),
    ("tls handshake", Mechanism::Tls),
    ("connection refused", Mechanism::Connection),
    ("econnrefused", Mechanism::Connection),
    ("connection reset", Mechanism::Connection),
    ("econnreset", Mechanism::Connection),
    ("broken pipe", Mechanism::Connection),
    ("no route to host", Mechanism::Connection),
    ("deadline exceeded", Mechanism::Timeout),
    ("deadline_exceeded", Mechanism::Timeout),
    ("timed out", Mechanism::Timeout),
    ("timeoutexception", Mechanism::Timeout),
    ("etimedout", Mechanism::Timeout),
    ("service unavailable", Mechanism::Unavailable),
    ("circuit breaker", Mechanism::Unavailable),
    ("unavailable", Mechanism::Unavailable),
];

/// A found signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sign {
    /// What it tells.
    pub mechanism: Mechanism,
    /// The whole word of the text in which it was found, such as `ProvisionedThroughputExceededException`.
    pub word: String,
    /// Its place in the table: lower is more telling.
    rank: usize,
}

impl Sign {
    /// Whether it tells more than another.
    pub fn is_stronger_than(&self, other: &Sign) -> bool {
        self.rank < other.rank
    }
}

/// The most telling signature in a text.
pub fn find(text: &str) -> Option<Sign> {
    let lower = text.to_ascii_lowercase();
    SIGNATURES.iter().enumerate().find_map(|(rank, (words, mechanism))| {
        let at = lower.find(words)?;
        Some(Sign { mechanism: *mechanism, word: whole_word(text, at, words.len()), rank })
    })
}

fn whole_word(text: &str, at: usize, length: usize) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let head = text.get(..at).unwrap_or_default();
    let tail = text.get(at + length..).unwrap_or_default();
    let before = head.len() - head.trim_end_matches(is_word).len();
    let after = tail.len() - tail.trim_start_matches(is_word).len();
    text.get(at - before..at + length + after).unwrap_or_default().to_owned()
}

/// How many retries a text speaks of: the number after `RetryAttempts=`, `retries: ` and the like.
pub fn retries_in(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    [
        "retryattempts",
        "retry_attempts",
        "retry attempts",
        "retry_count",
        "retrycount",
        "retries",
        "attempts",
        "attempt",
    ]
    .iter()
    .find_map(|word| {
        let rest = lower.get(lower.find(word)? + word.len()..)?;
        let rest = rest.trim_start_matches(['"', '\'']).trim_start().strip_prefix(['=', ':', '#'])?;
        let digits = rest.trim_start_matches([' ', '"']);
        let length = digits.bytes().take_while(u8::is_ascii_digit).count();
        digits.get(..length)?.parse().ok().filter(|n| *n > 0)
    })
}

/// Whether a text speaks of waiting between retries.
pub fn speaks_of_back_off(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    ["backoff", "back-off", "back_off", "backing off", "retrying in", "retry after"]
        .iter()
        .any(|w| lower.contains(w))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_telling_word_wins() {
        let sign = find("timed out after ProvisionedThroughputExceededException: slow down").expect("found");
        assert_eq!(
            (sign.mechanism, sign.word.as_str()),
            (Mechanism::Throttling, "ProvisionedThroughputExceededException")
        );
        assert_eq!(find("all good"), None);
        assert_eq!(find("ünï connection refused").map(|s| s.mechanism), Some(Mechanism::Connection));
    }

    #[test]
    fn retries_are_counted() {
        assert_eq!(retries_in("gave up, RetryAttempts=3 key=k"), Some(3));
        assert_eq!(retries_in(r#"{"retries": "12"}"#), Some(12));
        assert_eq!(retries_in("RetryAttempts=0"), None);
        assert_eq!(retries_in("no attempt was made"), None);
        assert!(speaks_of_back_off("Backing off for 100 ms"));
    }
}
