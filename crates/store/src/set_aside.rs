//! What recovery sets aside for a person to look at: torn ends of the log (`.broken` files beside the segments), segments
//! and blocks in `quarantine`. Their names say since when, and in time they go.

use std::time::Duration;

/// So long a person has to look.
pub const KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);
/// Of each kind at most so many are kept, the youngest.
pub const KEPT_MAX: usize = 32;

/// How the names of torn ends of the log end.
pub const BROKEN: &str = ".broken";

const SECOND_NS: i64 = 1_000_000_000;
/// Digits of a time in seconds, from 2001 to 2286. Segments and blocks end in fewer.
const STAMP_DIGITS: usize = 10;

/// A name with the time at which it was set aside, before its ending.
pub fn stamped(name: &str, ending: &str, now: i64) -> String {
    let stem = name.strip_suffix(ending).unwrap_or(name);
    format!("{stem}.{:0width$}{ending}", now.div_euclid(SECOND_NS).max(0), width = STAMP_DIGITS)
}

/// The time in a name, nanoseconds since the epoch.
pub fn stamp(name: &str, ending: &str) -> Option<i64> {
    let (_, digits) = name.strip_suffix(ending)?.rsplit_once('.')?;
    let seconds: i64 = (digits.len() == STAMP_DIGITS).then(|| digits.parse().ok())??;
    seconds.checked_mul(SECOND_NS)
}

/// What of these goes. Names without a time stay.
pub fn choose(names: &[String], ending: &str, now: i64) -> Vec<String> {
    let mut oldest_first: Vec<(i64, &String)> =
        names.iter().filter_map(|name| Some((stamp(name, ending)?, name))).collect();
    oldest_first.sort_unstable();
    let too_many = oldest_first.len().saturating_sub(KEPT_MAX);
    let horizon = now.saturating_sub(KEPT_FOR.as_nanos() as i64);
    let goes = |(place, (at, _)): &(usize, (i64, &String))| *place < too_many || *at < horizon;
    oldest_first.into_iter().enumerate().filter(goes).map(|(_, (_, name))| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_760_000_000 * SECOND_NS;

    #[test]
    fn names_say_since_when() {
        for (name, ending) in
            [("00000000000000000012-00.broken", BROKEN), ("20251009T00-L1-00000012", ""), ("a.wal", "")]
        {
            assert_eq!(stamp(name, ending), None, "{name}");
            let stamped = stamped(name, ending, NOW + 5);
            assert!(stamped.ends_with(ending) && stamped != name);
            assert_eq!(stamp(&stamped, ending), Some(NOW), "{stamped}");
        }
    }

    #[test]
    fn the_old_and_the_many_go() {
        let day = 86_400 * SECOND_NS;
        let name = |days: i64| stamped(&format!("s{days}"), "", NOW - days * day);
        let few: Vec<String> = [1, 29, 31, 400].map(name).into_iter().chain(["unknown".to_owned()]).collect();
        assert_eq!(choose(&few, "", NOW), [name(400), name(31)]);
        let many: Vec<String> =
            (0..KEPT_MAX as i64 + 3).map(|n| stamped("s", "", NOW - n * SECOND_NS)).collect();
        let gone = choose(&many, "", NOW);
        assert_eq!(gone, [&many[KEPT_MAX + 2], &many[KEPT_MAX + 1], &many[KEPT_MAX]].map(String::clone));
    }
}
