//! Reads a time that is written in one of Go's layouts.

use super::layout::{DAYS, MONTHS, Piece, next_piece};

/// Nanoseconds since the Unix epoch. Without a zone in the layout the time is in UTC.
pub fn parse(layout: &str, text: &str) -> Result<i64, String> {
    let failed = |rest: &str, part: &str| {
        format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {part:?}")
    };
    let mut found = Found { year: 0, month: 1, day: 1, ..Found::default() };
    let (mut layout_rest, mut rest) = (layout, text);
    while let Some((piece, after)) = next_piece(layout_rest) {
        let taken = match piece {
            Piece::Char(char) => rest.strip_prefix(char),
            Piece::Fraction(_) => Some(found.fraction(rest)),
            Piece::Part(part) => found.part(part, rest),
        };
        let shown = &layout_rest[..layout_rest.len() - after.len()];
        rest = taken.ok_or_else(|| failed(rest, shown))?;
        // A fraction of a second may follow the seconds, whether or not the layout has one.
        if matches!(piece, Piece::Part("05" | "5"))
            && !matches!(next_piece(after), Some((Piece::Fraction(_), _)))
        {
            rest = found.fraction(rest);
        }
        layout_rest = after;
    }
    if !rest.is_empty() {
        return Err(format!("parsing time {text:?}: extra text: {rest:?}"));
    }
    found.ns().ok_or_else(|| format!("parsing time {text:?}: out of range"))
}

#[derive(Default)]
struct Found {
    year: i64,
    month: i64,
    day: i64,
    year_day: Option<i64>,
    hour: i64,
    minute: i64,
    second: i64,
    nanosecond: i64,
    afternoon: Option<bool>,
    offset_seconds: i64,
}

/// At least and at most so many digits at the start of a text, and what follows.
fn digits(text: &str, least: usize, most: usize) -> Option<(i64, &str)> {
    let count = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(count);
    if count < least { None } else { Some((number.parse().ok()?, rest)) }
}

/// The place of the name that a text starts with, and what follows it.
fn named<'a>(names: &[&str], text: &'a str, length: Option<usize>) -> Option<(i64, &'a str)> {
    let starts = |name: &str| text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    let names = names.iter().map(|name| &name[..length.unwrap_or(name.len())]);
    let (at, name) = names.enumerate().find(|(_, name)| starts(name))?;
    Some((at as i64, &text[name.len()..]))
}

impl Found {
    fn fraction<'a>(&mut self, text: &'a str) -> &'a str {
        let Some(after) = text.strip_prefix(['.', ',']) else { return text };
        let count = after.bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return text;
        }
        let padded: String = after[..count].chars().chain("000000000".chars()).take(9).collect();
        self.nanosecond = padded.parse().unwrap_or(0);
        &after[count..]
    }

    fn part<'a>(&mut self, part: &str, text: &'a str) -> Option<&'a str> {
        let space = text.strip_prefix(' ').unwrap_or(text);
        let (slot, (value, rest)) = match part {
            "2006" => (&mut self.year, digits(text, 4, 4)?),
            "_2006" => (&mut self.year, digits(text.strip_prefix('_')?, 4, 4)?),
            "06" => {
                let (year, rest) = digits(text, 2, 2)?;
                (&mut self.year, (if year >= 69 { 1900 + year } else { 2000 + year }, rest))
            }
            "01" => (&mut self.month, digits(text, 2, 2)?),
            "1" => (&mut self.month, digits(text, 1, 2)?),
            "January" | "Jan" => {
                let (at, rest) = named(&MONTHS, text, (part == "Jan").then_some(3))?;
                (&mut self.month, (at + 1, rest))
            }
            "Monday" | "Mon" => return named(&DAYS, text, (part == "Mon").then_some(3)).map(|found| found.1),
            "02" => (&mut self.day, digits(text, 2, 2)?),
            "_2" => (&mut self.day, digits(space, 1, 2)?),
            "2" => (&mut self.day, digits(text, 1, 2)?),
            "002" | "__2" => {
                let (day, rest) = digits(text.trim_start_matches(' '), 1, 3)?;
                self.year_day = Some(day);
                return Some(rest);
            }
            "15" | "03" => (&mut self.hour, digits(text, 2, 2)?),
            "3" => (&mut self.hour, digits(text, 1, 2)?),
            "04" => (&mut self.minute, digits(text, 2, 2)?),
            "4" => (&mut self.minute, digits(text, 1, 2)?),
            "05" => (&mut self.second, digits(text, 2, 2)?),
            "5" => (&mut self.second, digits(text, 1, 2)?),
            "PM" | "pm" => {
                let (at, rest) = named(&["AM", "PM"], text, None)?;
                self.afternoon = Some(at == 1);
                return Some(rest);
            }
            // A name says nothing about the distance from UTC, but that of UTC itself.
            "MST" => {
                let length = text.bytes().take(5).take_while(u8::is_ascii_uppercase).count();
                return if length >= 3 { text.get(length..) } else { None };
            }
            zone => return self.zone(zone, text),
        };
        *slot = value;
        Some(rest)
    }

    /// `Z07:00`, `-0700` and the like.
    fn zone<'a>(&mut self, zone: &str, text: &'a str) -> Option<&'a str> {
        if zone.starts_with('Z')
            && let Some(rest) = text.strip_prefix('Z')
        {
            return Some(rest);
        }
        let sign = if text.starts_with('-') { -1 } else { 1 };
        let mut rest = text.strip_prefix(['+', '-'])?;
        let mut offset = 0;
        let parts = (zone.bytes().filter(u8::is_ascii_digit).count() / 2).min(3);
        for (at, unit) in [3600, 60, 1].into_iter().take(parts).enumerate() {
            if at > 0 && zone.contains(':') {
                rest = rest.strip_prefix(':')?;
            }
            let (value, after) = digits(rest, 2, 2)?;
            offset += value * unit;
            rest = after;
        }
        self.offset_seconds = sign * offset;
        Some(rest)
    }

    fn ns(&self) -> Option<i64> {
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        let month_days = match self.month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        let hour = match self.afternoon {
            Some(afternoon) if (1..=12).contains(&self.hour) => {
                self.hour % 12 + if afternoon { 12 } else { 0 }
            }
            Some(_) => return None,
            None => self.hour,
        };
        let in_range =
            (1..=month_days).contains(&self.day) && hour < 24 && self.minute < 60 && self.second < 60;
        if !in_range {
            return None;
        }
        let day = match self.year_day {
            Some(day) if (1..=365 + i64::from(leap)).contains(&day) => {
                days_from_civil(self.year, 1, 1) + day - 1
            }
            Some(_) => return None,
            None => days_from_civil(self.year, self.month, self.day),
        };
        let seconds = day * 86_400 + hour * 3600 + self.minute * 60 + self.second - self.offset_seconds;
        seconds.checked_mul(1_000_000_000)?.checked_add(self.nanosecond)
    }
}

/// Days since the epoch, by eras of 400 years that start in March.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::format_layout;

    #[test]
    fn what_is_written_is_read() {
        let ns = 1_136_214_245_123_450_000;
        for layout in [
            "2006-01-02T15:04:05.999999999Z07:00",
            "Mon Jan _2 15:04:05.000000 MST 2006",
            "Monday, 02-Jan-06 03:04:05.99999PM -0700",
            "2006 002 15:04:05.999999",
        ] {
            assert_eq!(parse(layout, &format_layout(ns, layout)), Ok(ns), "{layout}");
        }
        assert_eq!(parse("2006-01-02 15:04:05", "2000-02-29 00:00:00.5"), Ok(951_782_400_500_000_000));
        assert_eq!(parse("2006-01-02 -07:00", "1970-01-01 -01:00"), Ok(3_600_000_000_000));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for (layout, text) in [
            ("2006-01-02", "2021-13-02"),
            ("2006-01-02", "2021-02-30"),
            ("2006-01-02", "x"),
            ("2006-01-02", "2021-01-02x"),
            ("2006", "9999"),
            ("3PM", "13PM"),
            ("15:04", "25:00"),
            ("Jan", "Foo"),
            ("002", "400"),
        ] {
            assert!(parse(layout, text).is_err(), "{layout} {text}");
        }
    }
}
