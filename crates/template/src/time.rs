//! Times and durations as Go prints them, and times as it reads them. Times are in UTC.

mod layout;
mod read;

pub use layout::format as format_layout;
pub use read::parse as parse_layout;

const NS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// A moment in the parts that people use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// The year of the Gregorian calendar.
    pub year: i64,
    /// 1 is January.
    pub month: u32,
    /// Of the month, from 1.
    pub day: u32,
    /// From 0.
    pub hour: u32,
    /// From 0.
    pub minute: u32,
    /// From 0.
    pub second: u32,
    /// Of the second.
    pub nanosecond: u32,
    /// 0 is Sunday.
    pub weekday: u32,
    /// Of the year, from 1.
    pub year_day: u32,
}

/// Go's zero time, the first of January of the year 1: what a time is that could not be read. It lies before all others.
pub const ZERO: i64 = i64::MIN;

/// The seconds from the Unix epoch to [`ZERO`].
pub const ZERO_SECONDS: i64 = -62_135_596_800;

/// The parts of a moment: nanoseconds since the Unix epoch.
#[must_use]
pub fn civil(ns: i64) -> Civil {
    let (seconds, ns) = match ns {
        ZERO => (ZERO_SECONDS, 0),
        ns => (ns.div_euclid(NS_PER_SECOND), ns),
    };
    let days = seconds.div_euclid(SECONDS_PER_DAY);
    let of_day = small(seconds.rem_euclid(SECONDS_PER_DAY));
    let (year, month, day) = date(days);
    let year_day = small(days - days_before(year)) + 1;
    Civil {
        year,
        month,
        day,
        hour: of_day / 3600,
        minute: of_day / 60 % 60,
        second: of_day % 60,
        nanosecond: small(ns.rem_euclid(NS_PER_SECOND)),
        weekday: small((days + 4).rem_euclid(7)),
        year_day,
    }
}

fn small(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

/// Year, month and day of a day since the epoch, by eras of 400 years that start in March.
fn date(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = small(of_year - (153 * month_from_march + 2) / 5 + 1);
    let month = small(if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 });
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days from the epoch to the first of January.
fn days_before(year: i64) -> i64 {
    let before = year - 1;
    365 * (year - 1970) + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400) - 477
}

/// `2009-11-10 23:00:00 +0000 UTC`
#[must_use]
pub fn display(ns: i64) -> String {
    format_layout(ns, "2006-01-02 15:04:05.999999999 -0700 MST")
}

/// `1h2m3.5s`
#[must_use]
pub fn duration(ns: i64) -> String {
    if ns == 0 {
        return "0s".to_owned();
    }
    let sign = if ns < 0 { "-" } else { "" };
    let magnitude = ns.unsigned_abs();
    let small = |unit: u64, name: &str| {
        format!("{sign}{}{}{name}", magnitude / unit, fraction(magnitude % unit, unit))
    };
    match magnitude {
        0..1_000 => small(1, "ns"),
        1_000..1_000_000 => small(1_000, "µs"),
        1_000_000..1_000_000_000 => small(1_000_000, "ms"),
        _ => {
            let seconds = magnitude / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let rest = format!("{}{}s", seconds % 60, fraction(magnitude % 1_000_000_000, 1_000_000_000));
            match (hours, minutes) {
                (0, 0) => format!("{sign}{rest}"),
                (0, _) => format!("{sign}{minutes}m{rest}"),
                _ => format!("{sign}{hours}h{minutes}m{rest}"),
            }
        }
    }
}

/// `.5` of 500 of 1000.
fn fraction(part: u64, whole: u64) -> String {
    if part == 0 {
        return String::new();
    }
    let digits = whole.ilog10() as usize;
    format!(".{part:0digits$}").trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_parts() {
        assert_eq!(display(0), "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(display(1_435_065_584_128_000_000), "2015-06-23 13:19:44.128 +0000 UTC");
        assert_eq!(display(-1), "1969-12-31 23:59:59.999999999 +0000 UTC");
        let leap = civil(1_709_208_000_000_000_000);
        assert_eq!((leap.year, leap.month, leap.day, leap.year_day, leap.weekday), (2024, 2, 29, 60, 4));
        assert_eq!(civil(1_735_603_200_000_000_000).year_day, 366);
        // The ends of the range have parts, too.
        assert_eq!(civil(i64::MAX).year, 2262);
        assert_eq!(civil(i64::MIN + 1).year, 1677);
        assert_eq!(display(ZERO), "0001-01-01 00:00:00 +0000 UTC");
    }

    #[test]
    fn durations() {
        for (ns, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (2_000_000, "2ms"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (-5_025_500_000_000, "-1h23m45.5s"),
        ] {
            assert_eq!(duration(ns), text);
        }
    }
}
