//! Durations as Prometheus writes them: `1h30m`.

/// Unit and milliseconds, in the order in which they have to come.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads a duration into milliseconds.
pub fn parse_ms(text: &str) -> Result<i64, String> {
    let invalid = || format!("not a valid duration string: {text:?}");
    match text {
        "" => return Err("empty duration string".to_owned()),
        "0" => return Ok(0),
        _ => {}
    }
    let (mut rest, mut next, mut total) = (text, 0, 0_i64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0).ok_or_else(invalid)?;
        let after = &rest[digits..];
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let at = UNITS.iter().position(|(unit, _)| *unit == &after[..end]).ok_or_else(invalid)?;
        if at < next {
            return Err(invalid());
        }
        next = at + 1;
        let out_of_range = || "duration out of range".to_owned();
        let number: i64 = rest[..digits].parse().map_err(|_| out_of_range())?;
        let part = number.checked_mul(UNITS[at].1).ok_or_else(out_of_range)?;
        total = total
            .checked_add(part)
            .filter(|total| *total <= i64::MAX / 1_000_000)
            .ok_or_else(out_of_range)?;
        rest = &after[end..];
    }
    Ok(total)
}

/// Writes milliseconds in the largest units that leave no rest.
#[must_use]
pub fn format_ms(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut rest = ms.unsigned_abs();
    let mut out = if ms < 0 { "-".to_owned() } else { String::new() };
    for (at, (unit, unit_ms)) in UNITS.iter().enumerate() {
        let unit_ms = unit_ms.unsigned_abs();
        // Years and weeks only where they come out even: 1y1d is no help to anybody.
        if at < 2 && !rest.is_multiple_of(unit_ms) {
            continue;
        }
        if rest / unit_ms > 0 {
            out += &format!("{}{unit}", rest / unit_ms);
            rest %= unit_ms;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("0", 0),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("100ms", 100),
            ("1w", 604_800_000),
            ("90s", 90_000),
        ] {
            assert_eq!(parse_ms(text), Ok(ms));
        }
        assert_eq!(parse_ms("1d2h3m4s5ms").map(format_ms).as_deref(), Ok("1d2h3m4s5ms"));
        for text in ["", "5", "m", "5x", "1m1h", "1m1m", "-5m", "99999999999y", "1.5h"] {
            assert!(parse_ms(text).is_err(), "{text}");
        }
    }
}
