//! Why an entry or a stream is refused, in Loki's words.

use std::fmt;

use super::{LINE_BYTES_MAX, METADATA_BYTES_MAX, METADATA_COUNT_MAX};
use crate::{DecodeContext, RejectReason, Rejection};

/// Why an entry is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    TooOld { time: i64 },
    TooNew { time: i64 },
    LineBytes { bytes: usize },
    MetadataBytes { bytes: usize },
    MetadataCount { count: usize },
    NotUtf8,
    EntryCount { limit: usize },
}

impl Refusal {
    pub fn reason(self) -> RejectReason {
        match self {
            Refusal::TooOld { .. } => RejectReason::TooOld,
            Refusal::TooNew { .. } => RejectReason::TooNew,
            Refusal::LineBytes { .. } | Refusal::MetadataBytes { .. } | Refusal::MetadataCount { .. } => {
                RejectReason::TooLarge
            }
            Refusal::NotUtf8 => RejectReason::InvalidUtf8,
            Refusal::EntryCount { .. } => RejectReason::TooManyItems,
        }
    }

    /// What the sender is told of an entry of the stream with these labels.
    pub fn says(self, stream: &str, context: &DecodeContext) -> String {
        match self {
            Refusal::TooOld { time } => format!(
                "entry for stream '{stream}' has timestamp too old: {}, oldest acceptable timestamp is: {}",
                Utc(time),
                Utc(context.received_at.saturating_sub(context.limits.past_ns))
            ),
            Refusal::TooNew { time } => {
                format!("entry for stream '{stream}' has timestamp too new: {}", Utc(time))
            }
            Refusal::LineBytes { bytes } => format!(
                "Max entry size '{LINE_BYTES_MAX}' bytes exceeded for stream '{stream}' while adding an entry with length \
                 '{bytes}' bytes"
            ),
            Refusal::MetadataBytes { bytes } => format!(
                "stream '{stream}' has structured metadata too large: '{bytes}' bytes, limit: '{METADATA_BYTES_MAX}' bytes"
            ),
            Refusal::MetadataCount { count } => format!(
                "stream '{stream}' has too many structured metadata labels: '{count}', limit: '{METADATA_COUNT_MAX}'"
            ),
            Refusal::NotUtf8 => {
                format!("entry for stream '{stream}' is not valid UTF-8, its line or its structured metadata")
            }
            Refusal::EntryCount { limit } => format!(
                "entry for stream '{stream}' is beyond the {limit} entries of one request \
                 (throughline.limits.items_per_request); send less at a time"
            ),
        }
    }
}

/// A time as RFC 3339 has it, in UTC and whole seconds.
struct Utc(i64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.div_euclid(1_000_000_000);
        let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Days to a date in the Gregorian calendar, with years that begin in March so that leap days come last.
        let shifted = days + 719_468;
        let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// What a sender is told of the entries that were refused, as Loki groups errors; empty if there are none.
pub fn summary(rejected: &[Rejection]) -> String {
    match rejected {
        [one] if one.count == 1 => one.message.clone(),
        all => {
            let parts: Vec<String> =
                all.iter().map(|r| format!("{} errors like: {}", r.count, r.message)).collect();
            parts.join("; ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        let text = |seconds: i64| Utc(seconds * 1_000_000_000).to_string();
        assert_eq!(text(0), "1970-01-01T00:00:00Z");
        assert_eq!(text(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(text(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(text(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(text(-1), "1969-12-31T23:59:59Z");
        assert_eq!(Utc(i64::MAX).to_string(), "2262-04-11T23:47:16Z");
        assert_eq!(Utc(i64::MIN).to_string(), "1677-09-21T00:12:43Z");
    }
}
