//! When a group is evaluated: at times that its name decides, so that groups spread over the interval and keep their
//! times over restarts.

use throughline_exec::Labels;

/// The time of the evaluation at or before a moment: `floor` to the interval, moved by the group's own offset.
/// All in nanoseconds since the epoch.
#[must_use]
pub fn slot_ns(file: &str, group: &str, interval_ns: i64, now_ns: i64) -> i64 {
    let hash = Labels::from_sorted([("file", file), ("name", group)]).ratio_hash();
    let interval = interval_ns.max(1);
    let offset = i64::try_from(hash % interval.unsigned_abs()).unwrap_or(0);
    let adjusted = now_ns - offset;
    adjusted - adjusted.rem_euclid(interval) + offset
}

/// The evaluation that is due after one: the next slot, or the latest one where some were missed. The second part
/// counts those.
#[must_use]
pub fn next_ns(last_ns: i64, interval_ns: i64, now_ns: i64) -> (i64, u64) {
    let interval = interval_ns.max(1);
    let missed = ((now_ns - last_ns) / interval - 1).max(0);
    (last_ns + (missed + 1) * interval, missed.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_NS: i64 = 60_000_000_000;

    #[test]
    fn slots_keep_their_offset() {
        let now = 1_700_000_000_123_456_789;
        let slot = slot_ns("a.yml", "g", MINUTE_NS, now);
        assert!(slot <= now && now - slot < MINUTE_NS);
        for later in [slot, slot + 1, slot + MINUTE_NS - 1] {
            assert_eq!(slot_ns("a.yml", "g", MINUTE_NS, later), slot);
        }
        assert_eq!(slot_ns("a.yml", "g", MINUTE_NS, slot + MINUTE_NS), slot + MINUTE_NS);
        assert_ne!(slot_ns("a.yml", "other", MINUTE_NS, now), slot);
    }

    #[test]
    fn missed_evaluations_are_left_out() {
        assert_eq!(next_ns(0, 10, 10), (10, 0));
        assert_eq!(next_ns(0, 10, 5), (10, 0));
        assert_eq!(next_ns(0, 10, 19), (10, 0));
        assert_eq!(next_ns(0, 10, 35), (30, 2));
    }
}
