//! What start timestamps say: a counter that began anew, or a first sample that counts from zero.

use super::Window;

/// Whether the counter was reset between two samples, going by when what they count began.
///
/// A start after the sample before is a reset. A start at the very time of it is one if the series is of deltas:
/// of a counter with an unknown start, the first sample has none or its own time as its start.
pub(super) fn is_reset(
    (previous_ms, previous_start): (i64, i64),
    (current_ms, current_start): (i64, i64),
) -> bool {
    if current_start == 0 || current_start >= current_ms {
        return false;
    }
    current_start > previous_ms
        || (current_start == previous_ms && previous_start != 0 && previous_start < previous_ms)
}

/// Whether a sample's start lies before the sample before it although it is not the same start.
pub(super) fn overlaps((previous_ms, previous_start): (i64, i64), current_start: i64) -> bool {
    current_start != 0 && current_start < previous_ms && current_start != previous_start
}

/// The start of the first sample if it lies within the window and before the sample.
pub(super) fn first_start(window: &Window<'_>, first_ms: i64, starts: &[i64]) -> Option<i64> {
    let start = *starts.first()?;
    (start != 0 && start > window.start_ms && start < first_ms).then_some(start)
}

/// Times and starts of neighbours.
pub(super) fn pairs<'a>(
    times: impl Iterator<Item = i64> + Clone + 'a,
    starts: &'a [i64],
) -> impl Iterator<Item = ((i64, i64), (i64, i64))> + 'a {
    let stamped = times.zip(starts.iter().copied());
    stamped.clone().zip(stamped.skip(1))
}
