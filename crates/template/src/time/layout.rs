//! Go's layouts: a time is written like the reference time `Mon Jan 2 15:04:05 MST 2006`.

use super::{Civil, civil};

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(super) const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Parts of layouts; of two that start alike the longer one is first.
const PARTS: [&str; 34] = [
    "January",
    "Jan",
    "Monday",
    "Mon",
    "MST",
    "2006",
    "-07:00:00",
    "-070000",
    "-07:00",
    "-0700",
    "-07",
    "Z07:00:00",
    "Z070000",
    "Z07:00",
    "Z0700",
    "Z07",
    "002",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "15",
    "__2",
    "_2006",
    "_2",
    "PM",
    "pm",
    "1",
    "2",
    "3",
    "4",
    "5",
];

/// A moment (nanoseconds since the Unix epoch) in a layout.
#[must_use]
pub fn format(ns: i64, layout: &str) -> String {
    let moment = civil(ns);
    let mut out = String::new();
    let mut rest = layout;
    while let Some((piece, after)) = next_piece(rest) {
        match piece {
            Piece::Fraction(layout) => push_fraction(&mut out, &moment, layout),
            Piece::Part(part) => push_part(&mut out, &moment, part),
            Piece::Char(c) => out.push(c),
        }
        rest = after;
    }
    out
}

/// A piece of a layout.
#[derive(Clone, Copy)]
pub(super) enum Piece<'a> {
    /// `.000` or `.999`
    Fraction(&'a str),
    /// One of the parts of the reference time.
    Part(&'static str),
    /// Itself.
    Char(char),
}

/// The first piece of a layout, and what follows it.
pub(super) fn next_piece(layout: &str) -> Option<(Piece<'_>, &str)> {
    let first = layout.chars().next()?;
    if let Some(digits) = fraction_of(layout) {
        let (fraction, rest) = layout.split_at(digits);
        return Some((Piece::Fraction(fraction), rest));
    }
    match PARTS.iter().find(|part| layout.starts_with(**part) && is_whole(part, layout)) {
        Some(part) => Some((Piece::Part(part), &layout[part.len()..])),
        None => Some((Piece::Char(first), &layout[first.len_utf8()..])),
    }
}

/// `Jan` and `Mon` are no parts where a lower-case letter follows.
fn is_whole(part: &str, rest: &str) -> bool {
    !matches!(part, "Jan" | "Mon") || !rest[part.len()..].starts_with(|c: char| c.is_ascii_lowercase())
}

/// The length of `.000` or `,999`, if the text starts with it.
fn fraction_of(text: &str) -> Option<usize> {
    let digits = text.strip_prefix(['.', ','])?;
    let first = digits.chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let length = digits.len() - digits.trim_start_matches(first).len();
    let ends = !digits[length..].starts_with(|c: char| c.is_ascii_digit());
    ends.then_some(length + 1)
}

fn push_fraction(out: &mut String, moment: &Civil, layout: &str) {
    let digits = (layout.len() - 1).min(9);
    let text = format!("{:09}", moment.nanosecond);
    let mut kept = &text[..digits];
    if layout.ends_with('9') {
        kept = kept.trim_end_matches('0');
        if kept.is_empty() {
            return;
        }
    }
    out.push_str(&layout[..1]);
    out.push_str(kept);
}

fn push_part(out: &mut String, moment: &Civil, part: &str) {
    let month = MONTHS[(moment.month.clamp(1, 12) - 1) as usize];
    let day = DAYS[(moment.weekday % 7) as usize];
    let hour12 = if moment.hour.is_multiple_of(12) { 12 } else { moment.hour % 12 };
    *out += &match part {
        "January" => month.to_owned(),
        "Jan" => month[..3].to_owned(),
        "Monday" => day.to_owned(),
        "Mon" => day[..3].to_owned(),
        "MST" => "UTC".to_owned(),
        "2006" => format!("{:04}", moment.year),
        "_2006" => format!("_{:04}", moment.year),
        "06" => format!("{:02}", moment.year.rem_euclid(100)),
        "01" => format!("{:02}", moment.month),
        "1" => moment.month.to_string(),
        "02" => format!("{:02}", moment.day),
        "_2" => format!("{:2}", moment.day),
        "2" => moment.day.to_string(),
        "002" => format!("{:03}", moment.year_day),
        "__2" => format!("{:3}", moment.year_day),
        "15" => format!("{:02}", moment.hour),
        "03" => format!("{hour12:02}"),
        "3" => hour12.to_string(),
        "04" => format!("{:02}", moment.minute),
        "4" => moment.minute.to_string(),
        "05" => format!("{:02}", moment.second),
        "5" => moment.second.to_string(),
        "PM" => if moment.hour < 12 { "AM" } else { "PM" }.to_owned(),
        "pm" => if moment.hour < 12 { "am" } else { "pm" }.to_owned(),
        part if part.starts_with('Z') => "Z".to_owned(),
        // All that is left are zones, and the zone is UTC.
        zone => zone.replace('-', "+").replace('7', "0"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        let ns = 1_136_214_245_123_450_000;
        for (layout, text) in [
            ("Mon Jan 2 15:04:05 MST 2006", "Mon Jan 2 15:04:05 UTC 2006"),
            ("2006-01-02T15:04:05.999999999Z07:00", "2006-01-02T15:04:05.12345Z"),
            ("2006-01-02T15:04:05.000-07:00", "2006-01-02T15:04:05.123+00:00"),
            ("Monday, 02-Jan-06 3:04PM -0700", "Monday, 02-Jan-06 3:04PM +0000"),
            ("January _2 002", "January  2 002"),
            ("Janet 7.8 é", "Janet 7.8 é"),
        ] {
            assert_eq!(format(ns, layout), text, "{layout}");
        }
    }
}
