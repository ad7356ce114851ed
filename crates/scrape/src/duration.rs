//! Durations as Prometheus writes them: `1h30m`, `15s`, `500ms`.

use std::time::Duration;

/// Units from large to small, with their milliseconds. Days and longer are written only where they come out whole.
const UNITS: [(&str, u64, bool); 7] = [
    ("y", 365 * 86_400_000, true),
    ("w", 7 * 86_400_000, true),
    ("d", 86_400_000, true),
    ("h", 3_600_000, false),
    ("m", 60_000, false),
    ("s", 1000, false),
    ("ms", 1, false),
];

/// Reads numbers with units, each unit once, from large to small.
pub fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total_ms = 0u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at_checked(digits)?;
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        let (_, unit_ms, _) = units.by_ref().find(|(name, _, _)| *name == unit)?;
        total_ms = number.parse::<u64>().ok()?.checked_mul(*unit_ms)?.checked_add(total_ms)?;
        rest = after;
    }
    (!text.is_empty()).then_some(Duration::from_millis(total_ms))
}

/// Writes a duration; what is less than a millisecond is left out.
pub fn format(duration: Duration) -> String {
    let mut ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    for (name, unit_ms, only_whole) in UNITS {
        if ms < unit_ms || (only_whole && ms % unit_ms != 0) {
            continue;
        }
        out += &format!("{}{name}", ms / unit_ms);
        ms %= unit_ms;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_come_back() {
        for text in ["15s", "1m", "1h30m", "500ms", "1d", "2w", "1y", "0s", "1m500ms", "25h"] {
            assert_eq!(parse(text).map(format).as_deref(), Some(text));
        }
        assert_eq!(parse("90s").map(format).as_deref(), Some("1m30s"));
        assert_eq!(parse("0"), Some(Duration::ZERO));
        for text in ["", "1", "s", "1s1m", "1m1m", "-1s", "1.5s", "99999999999999999999s", "1x"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
