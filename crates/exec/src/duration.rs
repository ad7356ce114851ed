//! Durations as Prometheus writes them: `1h30m`.

/// The units of durations from the longest to the shortest, in milliseconds. A duration names each at most once,
/// in this order.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Longest duration: what fits into nanoseconds of 64 bits, as in Prometheus (292 years).
const DURATION_MS_MAX: u64 = i64::MAX as u64 / 1_000_000;

/// The milliseconds of a duration such as `1h30m`.
pub fn duration_ms(text: &str) -> Result<u64, String> {
    let invalid = || format!("not a valid duration string: {}", crate::quote::quote(text.as_bytes()));
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let (_, unit_ms) = units.by_ref().find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        if number.is_empty() {
            return Err(invalid());
        }
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*unit_ms));
        total = part
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= DURATION_MS_MAX)
            .ok_or("duration out of range")?;
        rest = after;
    }
    if text.is_empty() { Err(invalid()) } else { Ok(total) }
}

/// A duration as it is printed: weeks and years only where they come out even.
#[must_use]
pub fn format_duration_ms(ms: u64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut rest = ms;
    let mut text = String::new();
    for (unit, unit_ms) in UNITS {
        let even_only = matches!(unit, "y" | "w");
        if even_only && !rest.is_multiple_of(unit_ms) {
            continue;
        }
        let count = rest / unit_ms;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            rest -= count * unit_ms;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_round_trip() {
        for text in ["1ms", "5m", "1h30m", "1w", "2y", "8d", "1m30s500ms", "54w"] {
            let ms = duration_ms(text).expect("a duration");
            assert_eq!(duration_ms(&format_duration_ms(ms)), Ok(ms), "{text}");
        }
        assert_eq!(format_duration_ms(90_000), "1m30s");
        assert_eq!(format_duration_ms(8 * 24 * 3_600_000), "8d");
        for text in ["", "5", "1.5h", "5m1h", "1m1m", "1hs"] {
            assert!(duration_ms(text).is_err(), "{text}");
        }
        assert_eq!(duration_ms("300y"), Err("duration out of range".to_owned()));
        assert_eq!(duration_ms("99999999999999999999y"), Err("duration out of range".to_owned()));
    }
}
