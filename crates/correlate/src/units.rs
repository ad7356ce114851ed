//! Times, durations and sizes as text, both ways: RFC 3339, `500ms`, `15d`, `64MiB`.
//!
//! One place, so that what one command prints another one reads.

const SECOND_NS: i64 = 1_000_000_000;
const DAY_S: i64 = 86_400;

/// A time as RFC 3339 in UTC with as many digits of the second as it needs (none, 3, 6 or 9).
pub fn rfc3339(ns: i64) -> String {
    let (seconds, fraction) = (ns.div_euclid(SECOND_NS), ns.rem_euclid(SECOND_NS));
    let (days, second) = (seconds.div_euclid(DAY_S), seconds.rem_euclid(DAY_S));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let fraction = match fraction {
        0 => String::new(),
        f if f % 1_000_000 == 0 => format!(".{:03}", f / 1_000_000),
        f if f % 1_000 == 0 => format!(".{:06}", f / 1_000),
        f => format!(".{f:09}"),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// The time of day with milliseconds, as log lines and tables show it.
pub fn time_of_day(ns: i64) -> String {
    let second = ns.div_euclid(SECOND_NS).rem_euclid(DAY_S);
    let millis = ns.rem_euclid(SECOND_NS) / 1_000_000;
    format!("{:02}:{:02}:{:02}.{millis:03}", second / 3600, second / 60 % 60, second % 60)
}

/// Reads RFC 3339 with `Z` or an offset; the time may be left out (midnight UTC).
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    if bytes.get(4) != Some(&b'-') || bytes.get(7) != Some(&b'-') {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let midnight = days_from_civil(year, month, day).checked_mul(DAY_S)?;
    if bytes.len() == 10 {
        return midnight.checked_mul(SECOND_NS);
    }
    if !matches!(bytes.get(10), Some(b'T' | b't' | b' ')) || bytes.get(13) != Some(&b':') {
        return None;
    }
    let (hour, minute) = (number(11, 13)?, number(14, 16)?);
    let second = if bytes.get(16) == Some(&b':') { number(17, 19)? } else { 0 };
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let rest = text.get(if bytes.get(16) == Some(&b':') { 19 } else { 16 }..)?;
    let digits =
        rest.strip_prefix('.').map_or("", |r| &r[..r.bytes().take_while(u8::is_ascii_digit).count()]);
    let fraction = format!("{digits:0<9}").get(..9)?.parse::<i64>().ok()?;
    let zone = if rest.starts_with('.') { rest.get(1 + digits.len()..)? } else { rest };
    let offset_s = parse_zone(zone)?;
    let seconds = midnight + hour * 3600 + minute * 60 + second - offset_s;
    seconds.checked_mul(SECOND_NS)?.checked_add(fraction)
}

fn parse_zone(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z" | "") {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits: String = zone.get(1..)?.chars().filter(|c| *c != ':').collect();
    let (hour, minute) = (digits.get(..2)?.parse::<i64>().ok()?, digits.get(2..)?);
    let minute = if minute.is_empty() { 0 } else { minute.parse::<i64>().ok()? };
    Some(sign * (hour * 3600 + minute * 60))
}

/// A duration for people: three significant digits and a unit.
pub fn duration(ns: i64) -> String {
    let value = ns as f64;
    match ns.unsigned_abs() {
        0 => "0".to_owned(),
        n if n < 1_000 => format!("{ns} ns"),
        n if n < 1_000_000 => format!("{} µs", three_digits(value / 1e3)),
        n if n < 1_000_000_000 => format!("{} ms", three_digits(value / 1e6)),
        n if n < 120_000_000_000 => format!("{} s", three_digits(value / 1e9)),
        n if n < 7_200_000_000_000 => format!("{} min", three_digits(value / 60e9)),
        n if n < 172_800_000_000_000 => format!("{} h", three_digits(value / 3_600e9)),
        _ => format!("{} d", three_digits(value / 86_400e9)),
    }
}

/// A number with about three significant digits.
pub fn three_digits(value: f64) -> String {
    let magnitude = value.abs();
    let text = if magnitude >= 99.95 {
        return format!("{value:.0}");
    } else if magnitude >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Reads a duration: a number and a unit (`ns`, `us`, `µs`, `ms`, `s`, `m`, `min`, `h`, `d`, `w`), several in a row
/// (`1h30m`). Zero needs no unit.
pub fn parse_duration(text: &str) -> Option<i64> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, after) = rest.split_at_checked(digits)?;
        let unit_bytes = after.bytes().take_while(|b| !b.is_ascii_digit() && *b != b'.').count();
        let (unit, after) = after.split_at_checked(unit_bytes)?;
        let scale = match unit.trim() {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" | "min" => 60e9,
            "h" => 3_600e9,
            "d" => 86_400e9,
            "w" => 604_800e9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    (total.is_finite() && !text.trim().is_empty() && total < i64::MAX as f64).then_some(total.round() as i64)
}

/// A size for people: binary units.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "";
    for name in UNITS {
        value /= 1024.0;
        unit = name;
        if value < 1024.0 {
            break;
        }
    }
    format!("{} {unit}", three_digits(value))
}

/// Reads a size: a number and a unit, binary (`64MiB`) or decimal (`64MB`), or bytes without one.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (number, unit) = text.split_at_checked(digits)?;
    let scale = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kib" | "ki" => 1024.0,
        "mib" | "mi" => 1024.0 * 1024.0,
        "gib" | "gi" => 1024.0 * 1024.0 * 1024.0,
        "tib" | "ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "kb" | "k" => 1e3,
        "mb" | "m" => 1e6,
        "gb" | "g" => 1e9,
        "tb" | "t" => 1e12,
        _ => return None,
    };
    let value = number.parse::<f64>().ok()? * scale;
    (value.is_finite() && value < u64::MAX as f64).then_some(value as u64)
}

/// Days since the epoch of a date of the Gregorian calendar, extended in both directions.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * shifted + 2) / 5 + 1, (shifted + 2) % 12 + 1);
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_back() {
        for ns in [0, 951_782_400_000_000_000, 1_790_000_000_123_456_789, -1, 1_735_689_599_500_000_000] {
            assert_eq!(parse_rfc3339(&rfc3339(ns)), Some(ns), "{}", rfc3339(ns));
        }
        assert_eq!(rfc3339(951_782_400_000_000_000), "2000-02-29T00:00:00Z");
        assert_eq!(parse_rfc3339("2000-02-29T01:00:00.5+01:00"), Some(951_782_400_500_000_000));
        assert_eq!(parse_rfc3339("2000-02-29"), Some(951_782_400_000_000_000));
        for text in
            ["", "2000-13-01T00:00:00Z", "2000-02-29Tx", "20000229", "2000-02-29T00:00:00.é", "é000-02-29"]
        {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn durations_and_sizes_read_back() {
        assert_eq!(parse_duration("500ms"), Some(500_000_000));
        assert_eq!(parse_duration("1h30m"), Some(5_400_000_000_000));
        assert_eq!(parse_duration("15d"), Some(15 * 86_400 * 1_000_000_000));
        assert_eq!(parse_duration("1.5s"), Some(1_500_000_000));
        for text in ["", "5", "ms", "5 parsecs", "-5s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        assert_eq!(duration(612_345_678), "612 ms");
        assert_eq!(duration(1_500), "1.5 µs");
        assert_eq!(duration(36_240_000_000), "36.2 s");
        assert_eq!(parse_bytes("64MiB"), Some(64 << 20));
        assert_eq!(parse_bytes("10 GB"), Some(10_000_000_000));
        assert_eq!(parse_bytes("x"), None);
        assert_eq!(bytes(64 << 20), "64 MiB");
    }
}
