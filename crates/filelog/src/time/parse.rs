//! A text read by a layout, with Go's leniencies: a space stands for any number of them, and after seconds a fraction may
//! come that the layout does not mention.

use super::layout::{Digits, Layout, Piece};

/// What a text says; years, months and days as far as it says them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    pub year: Option<i16>,
    pub month: Option<i8>,
    pub day: Option<i8>,
    pub day_of_year: Option<i16>,
    pub hour: i8,
    pub minute: i8,
    pub second: i8,
    pub nanosecond: i32,
    /// Seconds east of Greenwich.
    pub offset: Option<i32>,
    pub zone: Option<String>,
}

const MONTHS: [&str; 12] = [
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
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Reads a text.
pub fn parse(layout: &Layout, text: &str) -> Result<Parsed, String> {
    let mut reader = Reader { rest: text, parsed: Parsed::default(), half: None };
    for (at, piece) in layout.pieces.iter().enumerate() {
        let next = layout.pieces.get(at + 1);
        if reader.piece(piece, next).is_none() {
            let rest: String = reader.rest.chars().take(40).collect();
            return Err(format!("time {text:?} does not fit the layout at {rest:?}"));
        }
    }
    if !reader.rest.is_empty() {
        return Err(format!("time {text:?} has {:?} after what the layout knows", reader.rest));
    }
    let mut parsed = reader.parsed;
    match reader.half {
        Some(true) if parsed.hour < 12 => parsed.hour += 12,
        Some(false) if parsed.hour == 12 => parsed.hour = 0,
        _ => {}
    }
    Ok(parsed)
}

struct Reader<'a> {
    rest: &'a str,
    parsed: Parsed,
    /// Whether it is after noon.
    half: Option<bool>,
}

impl<'a> Reader<'a> {
    fn piece(&mut self, piece: &Piece, next: Option<&Piece>) -> Option<()> {
        match piece {
            Piece::Text(text) => self.text(text)?,
            Piece::Year => self.parsed.year = Some(i16::try_from(self.exact_digits(4)?).ok()?),
            Piece::YearOfCentury => {
                let year = i16::try_from(self.exact_digits(2)?).ok()?;
                self.parsed.year = Some(year + if year >= 69 { 1900 } else { 2000 });
            }
            Piece::MonthName { is_long } => {
                self.parsed.month = Some(i8::try_from(self.name(&MONTHS, *is_long)? + 1).ok()?);
            }
            Piece::WeekdayName { is_long } => _ = self.name(&WEEKDAYS, *is_long)?,
            Piece::Month(digits) => self.parsed.month = Some(self.number(*digits, 1..=12)?),
            Piece::Day(digits) => self.parsed.day = Some(self.number(*digits, 1..=31)?),
            Piece::DayOfYear(digits) => {
                if *digits == Digits::Spaced {
                    self.rest = self.rest.trim_start_matches(' ');
                    let digits = self.leading_digits(3);
                    self.parsed.day_of_year = Some(digits.parse().ok()?);
                } else {
                    self.parsed.day_of_year = Some(i16::try_from(self.exact_digits(3)?).ok()?);
                }
            }
            Piece::Hour => self.parsed.hour = self.number(Digits::Plain, 0..=23)?,
            Piece::HourOfHalf(digits) => self.parsed.hour = self.number(*digits, 0..=12)?,
            Piece::Minute(digits) => self.parsed.minute = self.number(*digits, 0..=59)?,
            Piece::Second(digits) => {
                self.parsed.second = self.number(*digits, 0..=59)?;
                let is_known = matches!(next, Some(Piece::Fraction(_) | Piece::OptionalFraction));
                if !is_known {
                    self.optional_fraction()?;
                }
            }
            Piece::Half { is_small } => {
                let (morning, evening) = if *is_small { ("am", "pm") } else { ("AM", "PM") };
                let is_evening = self.rest.starts_with(evening);
                self.rest = self.rest.strip_prefix(if is_evening { evening } else { morning })?;
                self.half = Some(is_evening);
            }
            Piece::Fraction(count) => {
                self.rest = self.rest.strip_prefix(['.', ','])?;
                let digits = self.leading_digits(*count);
                (digits.len() == *count).then_some(())?;
                self.parsed.nanosecond = nanoseconds(digits);
            }
            Piece::OptionalFraction => self.optional_fraction()?,
            Piece::ZoneName => self.zone_name()?,
            Piece::Offset { has_z, has_colons, parts } => self.offset(*has_z, *has_colons, *parts)?,
        }
        Some(())
    }

    fn text(&mut self, text: &str) -> Option<()> {
        let mut wanted = text;
        while let Some(letter) = wanted.chars().next() {
            if letter == ' ' {
                if !self.rest.is_empty() && !self.rest.starts_with(' ') {
                    return None;
                }
                wanted = wanted.trim_start_matches(' ');
                self.rest = self.rest.trim_start_matches(' ');
            } else {
                self.rest = self.rest.strip_prefix(letter)?;
                wanted = &wanted[letter.len_utf8()..];
            }
        }
        Some(())
    }

    fn leading_digits(&mut self, most: usize) -> &'a str {
        let count = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        digits
    }

    fn exact_digits(&mut self, count: usize) -> Option<u32> {
        let digits = self.leading_digits(count);
        (digits.len() == count).then(|| digits.parse().ok()).flatten()
    }

    fn number(&mut self, digits: Digits, bounds: std::ops::RangeInclusive<i8>) -> Option<i8> {
        if digits == Digits::Spaced {
            self.rest = self.rest.strip_prefix(' ').unwrap_or(self.rest);
        }
        let text = self.leading_digits(2);
        if digits == Digits::Two && text.len() != 2 {
            return None;
        }
        text.parse().ok().filter(|number| bounds.contains(number))
    }

    fn name(&mut self, names: &[&str], is_long: bool) -> Option<usize> {
        let found = names.iter().position(|name| {
            let name = if is_long { name } else { &name[..3] };
            self.rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
        })?;
        let length = if is_long { names[found].len() } else { 3 };
        self.rest = &self.rest[length..];
        Some(found)
    }

    fn optional_fraction(&mut self) -> Option<()> {
        let Some(after) = self.rest.strip_prefix(['.', ',']) else { return Some(()) };
        if after.starts_with(|c: char| c.is_ascii_digit()) {
            self.rest = after;
            let digits = self.leading_digits(usize::MAX);
            self.parsed.nanosecond = nanoseconds(digits);
        }
        Some(())
    }

    /// An abbreviation of three to five capitals, or an offset in its place.
    fn zone_name(&mut self) -> Option<()> {
        let letters = self.rest.bytes().take_while(u8::is_ascii_uppercase).count();
        if (3..=5).contains(&letters) {
            let (name, rest) = self.rest.split_at(letters);
            self.rest = rest;
            self.parsed.zone = Some(name.to_owned());
            return Some(());
        }
        self.rest.starts_with(['+', '-']).then_some(())?;
        self.offset(false, false, 1)
    }

    fn offset(&mut self, has_z: bool, has_colons: bool, parts: usize) -> Option<()> {
        if has_z && let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            self.parsed.offset = Some(0);
            return Some(());
        }
        let is_west = self.rest.starts_with('-');
        self.rest = self.rest.strip_prefix(['+', '-'])?;
        let mut seconds = 0;
        for (part, (unit, most)) in [(3600, 24), (60, 59), (1, 59)].into_iter().take(parts).enumerate() {
            if part > 0 && has_colons {
                self.rest = self.rest.strip_prefix(':')?;
            }
            let number = i32::try_from(self.exact_digits(2)?).ok()?;
            (number <= most).then_some(())?;
            seconds += number * unit;
        }
        self.parsed.offset = Some(if is_west { -seconds } else { seconds });
        Some(())
    }
}

/// The first nine digits of a fraction.
fn nanoseconds(digits: &str) -> i32 {
    digits
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(9)
        .fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0'))
}
