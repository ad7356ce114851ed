//! Layouts of times: what stands where.
//!
//! Go writes a layout as its reference time would be written, `Mon Jan 2 15:04:05 MST 2006`; `strptime` has a letter for each
//! part. Both become the same pieces.

/// A layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub(super) pieces: Vec<Piece>,
}

/// A part of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// This text; a space stands for any number of them.
    Text(String),
    Year,
    /// 69 to 99 are of the twentieth century.
    YearOfCentury,
    MonthName {
        is_long: bool,
    },
    Month(Digits),
    WeekdayName {
        is_long: bool,
    },
    Day(Digits),
    DayOfYear(Digits),
    Hour,
    HourOfHalf(Digits),
    Minute(Digits),
    Second(Digits),
    /// `AM` or `PM`, or in small letters.
    Half {
        is_small: bool,
    },
    /// `.` or `,` and exactly so many digits.
    Fraction(usize),
    /// `.` or `,` and any digits, or nothing.
    OptionalFraction,
    /// `UTC`, `CET`.
    ZoneName,
    /// An offset, of which `Z` may stand in place.
    Offset {
        has_z: bool,
        has_colons: bool,
        parts: usize,
    },
}

/// How a number of one or two digits is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digits {
    /// `07`.
    Two,
    /// `7`, and `07` as well.
    Plain,
    /// ` 7`.
    Spaced,
}

/// The longest layout.
const LAYOUT_BYTES_MAX: usize = 1000;

impl Layout {
    /// Reads a layout of `strptime`.
    pub fn strptime(text: &str) -> Result<Layout, String> {
        checked_length(text)?;
        let mut pieces = Pieces::default();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            if letter != '%' {
                pieces.text.push(letter);
                continue;
            }
            let directive = letters.next().ok_or_else(|| format!("layout {text:?} ends with %"))?;
            match directive {
                'n' => pieces.text.push('\n'),
                't' => pieces.text.push('\t'),
                '%' => pieces.text.push('%'),
                'L' | 'f' | 's' => {
                    if !pieces.text.ends_with(['.', ',']) {
                        return Err(format!("layout {text:?}: %{directive} follows . or , only"));
                    }
                    pieces.text.pop();
                    pieces.add(Piece::OptionalFraction);
                }
                other => {
                    let known = directive_pieces(other);
                    let known = known
                        .ok_or_else(|| format!("layout {text:?}: the directive %{other} is not known"))?;
                    known.into_iter().for_each(|piece| pieces.add_any(piece));
                }
            }
        }
        Ok(pieces.finish())
    }

    /// Reads a layout of Go.
    pub fn go(text: &str) -> Result<Layout, String> {
        checked_length(text)?;
        let mut pieces = Pieces::default();
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            match go_piece(rest) {
                Some((piece, bytes)) => {
                    pieces.add(piece);
                    rest = &rest[bytes..];
                }
                None => {
                    pieces.text.push(letter);
                    rest = &rest[letter.len_utf8()..];
                }
            }
        }
        Ok(pieces.finish())
    }

    /// Whether it ends with the letter `Z` itself, which means UTC.
    #[must_use]
    pub fn ends_with_z(&self) -> bool {
        matches!(self.pieces.last(), Some(Piece::Text(text)) if text.ends_with('Z'))
    }
}

fn checked_length(text: &str) -> Result<(), String> {
    match text.len() {
        0 => Err("a layout is empty".to_owned()),
        1..=LAYOUT_BYTES_MAX => Ok(()),
        _ => Err(format!("a layout is longer than {LAYOUT_BYTES_MAX} bytes")),
    }
}

#[derive(Default)]
struct Pieces {
    done: Vec<Piece>,
    text: String,
}

impl Pieces {
    fn add(&mut self, piece: Piece) {
        if !self.text.is_empty() {
            self.done.push(Piece::Text(std::mem::take(&mut self.text)));
        }
        self.done.push(piece);
    }

    fn add_any(&mut self, piece: Piece) {
        match piece {
            Piece::Text(text) => self.text.push_str(&text),
            other => self.add(other),
        }
    }

    fn finish(mut self) -> Layout {
        if !self.text.is_empty() {
            self.done.push(Piece::Text(self.text));
        }
        Layout { pieces: self.done }
    }
}

fn directive_pieces(directive: char) -> Option<Vec<Piece>> {
    use Digits::{Plain, Spaced, Two};
    let text = |text: &str| Piece::Text(text.to_owned());
    let offset = |has_z, has_colons, parts| Piece::Offset { has_z, has_colons, parts };
    let date = || vec![Piece::Month(Two), text("/"), Piece::Day(Two), text("/"), Piece::Year];
    let time = || vec![Piece::Hour, text(":"), Piece::Minute(Two), text(":"), Piece::Second(Two)];
    Some(match directive {
        'Y' => vec![Piece::Year],
        'y' => vec![Piece::YearOfCentury],
        'm' => vec![Piece::Month(Two)],
        'o' => vec![Piece::Month(Spaced)],
        'q' => vec![Piece::Month(Plain)],
        'b' | 'h' => vec![Piece::MonthName { is_long: false }],
        'B' => vec![Piece::MonthName { is_long: true }],
        'd' => vec![Piece::Day(Two)],
        'e' => vec![Piece::Day(Spaced)],
        'g' => vec![Piece::Day(Plain)],
        'a' => vec![Piece::WeekdayName { is_long: false }],
        'A' => vec![Piece::WeekdayName { is_long: true }],
        'H' => vec![Piece::Hour],
        'I' | 'l' => vec![Piece::HourOfHalf(Plain)],
        'p' => vec![Piece::Half { is_small: false }],
        'P' => vec![Piece::Half { is_small: true }],
        'M' => vec![Piece::Minute(Two)],
        'S' => vec![Piece::Second(Two)],
        'Z' => vec![Piece::ZoneName],
        'z' => vec![offset(true, false, 2)],
        'w' => vec![offset(false, false, 3)],
        'i' => vec![offset(false, false, 1)],
        'j' => vec![offset(false, true, 2)],
        'k' => vec![offset(false, true, 3)],
        'D' | 'x' => date(),
        'F' => vec![Piece::Year, text("-"), Piece::Month(Two), text("-"), Piece::Day(Two)],
        'T' | 'X' => time(),
        'R' => vec![Piece::Hour, text(":"), Piece::Minute(Two)],
        'r' => {
            let mut pieces = time();
            pieces[0] = Piece::HourOfHalf(Plain);
            pieces.extend([text(" "), Piece::Half { is_small: true }]);
            pieces
        }
        'c' => {
            let mut pieces = vec![Piece::WeekdayName { is_long: false }, text(" ")];
            pieces.extend([Piece::MonthName { is_long: false }, text(" "), Piece::Day(Two), text(" ")]);
            pieces.extend(time());
            pieces.extend([text(" "), Piece::Year]);
            pieces
        }
        _ => return None,
    })
}

/// What of Go's reference time `rest` starts with, and how long that is.
fn go_piece(rest: &str) -> Option<(Piece, usize)> {
    use Digits::{Plain, Spaced, Two};
    let offset = |has_z, has_colons, parts| Piece::Offset { has_z, has_colons, parts };
    let table = [
        ("January", Piece::MonthName { is_long: true }),
        ("Monday", Piece::WeekdayName { is_long: true }),
        ("MST", Piece::ZoneName),
        ("002", Piece::DayOfYear(Two)),
        ("__2", Piece::DayOfYear(Spaced)),
        ("01", Piece::Month(Two)),
        ("02", Piece::Day(Two)),
        ("03", Piece::HourOfHalf(Two)),
        ("04", Piece::Minute(Two)),
        ("05", Piece::Second(Two)),
        ("06", Piece::YearOfCentury),
        ("15", Piece::Hour),
        ("2006", Piece::Year),
        ("_2", Piece::Day(Spaced)),
        ("PM", Piece::Half { is_small: false }),
        ("pm", Piece::Half { is_small: true }),
        ("-07:00:00", offset(false, true, 3)),
        ("-070000", offset(false, false, 3)),
        ("-07:00", offset(false, true, 2)),
        ("-0700", offset(false, false, 2)),
        ("-07", offset(false, false, 1)),
        ("Z07:00:00", offset(true, true, 3)),
        ("Z070000", offset(true, false, 3)),
        ("Z07:00", offset(true, true, 2)),
        ("Z0700", offset(true, false, 2)),
        ("Z07", offset(true, false, 1)),
        ("1", Piece::Month(Plain)),
        ("2", Piece::Day(Plain)),
        ("3", Piece::HourOfHalf(Plain)),
        ("4", Piece::Minute(Plain)),
        ("5", Piece::Second(Plain)),
    ];
    let short =
        [("Jan", Piece::MonthName { is_long: false }), ("Mon", Piece::WeekdayName { is_long: false })];
    for (name, piece) in short {
        let after = rest.strip_prefix(name);
        // `January` is not `Jan`, and `Month` is neither.
        if after.is_some_and(|after| !after.starts_with(|c: char| c.is_ascii_lowercase())) {
            return Some((piece, 3));
        }
    }
    // A year after an underscore is a year after an underscore.
    if rest.starts_with("_2006") {
        return None;
    }
    if let Some(fraction) = go_fraction(rest) {
        return Some(fraction);
    }
    table.into_iter().find(|(text, _)| rest.starts_with(text)).map(|(text, piece)| (piece, text.len()))
}

/// `.000`, `,000`, `.999`: a fraction if no other digit follows.
fn go_fraction(rest: &str) -> Option<(Piece, usize)> {
    let digits = rest.strip_prefix(['.', ','])?;
    let digit = digits.chars().next().filter(|c| "09".contains(*c))?;
    let count = digits.len() - digits.trim_start_matches(digit).len();
    let ends = !digits[count..].starts_with(|c: char| c.is_ascii_digit());
    let piece = if digit == '0' { Piece::Fraction(count) } else { Piece::OptionalFraction };
    ends.then_some((piece, count + 1))
}
