//! Numbers at equal distances, written briefly: `1 _ 2x3 1+1x5`.

use crate::duration::duration_ms;

/// Most points of one line: a typing error shall not fill the memory.
pub const POINTS_MAX: usize = 1_000_000;

/// Reads the points of a series from a line.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Whether values are durations.
    durations: bool,
}

impl<'a> Reader<'a> {
    /// Reads a text; `durations`: numbers are durations, whose unit is the second where there is none.
    #[must_use]
    pub fn new(text: &'a str, durations: bool) -> Reader<'a> {
        Reader { text, at: 0, durations }
    }

    /// What is left.
    #[must_use]
    pub fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    /// Whether something follows the space.
    pub fn skip_space(&mut self) -> bool {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        !self.rest().is_empty()
    }

    /// Takes a text if it is next.
    pub fn take(&mut self, wanted: &str) -> bool {
        let hit = self.rest().starts_with(wanted);
        self.at += if hit { wanted.len() } else { 0 };
        hit
    }

    /// Takes what belongs.
    pub fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|char| !belongs(char)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or("")
    }

    /// `xN`: the count, if it is there.
    pub fn times(&mut self) -> Result<Option<usize>, String> {
        if !self.take("x") {
            return Ok(None);
        }
        let digits = self.take_while(|char| char.is_ascii_digit());
        let count = digits.parse().map_err(|_| self.unexpected("count"))?;
        if count > POINTS_MAX {
            Err(format!("series has more than {POINTS_MAX} points"))
        } else {
            Ok(Some(count))
        }
    }

    /// `a`, `axN`, `a+bxN`: calls `push` for each number.
    pub fn numbers(&mut self, mut push: impl FnMut(f64)) -> Result<(), String> {
        let mut value = self.number()?;
        let step = if self.rest().starts_with(['+', '-']) { Some(self.number()?) } else { None };
        let times = self.times()?;
        if step.is_some() && times.is_none() {
            return Err(self.unexpected("\"x\" and a count"));
        }
        push(value);
        for _ in 0..times.unwrap_or(0) {
            value += step.unwrap_or(0.0);
            push(value);
        }
        Ok(())
    }

    /// One number, or a duration in milliseconds.
    pub fn number(&mut self) -> Result<f64, String> {
        let negative = self.take("-");
        if !negative {
            self.take("+");
        }
        let start = self.at;
        let value = if self.rest().starts_with(|char: char| char.is_ascii_alphabetic()) {
            let word = self.take_while(|char| char.is_ascii_alphabetic());
            match word.to_ascii_lowercase().as_str() {
                "inf" => Some(f64::INFINITY),
                "nan" => Some(f64::NAN),
                _ => None,
            }
        } else {
            self.take_while(|char| char.is_ascii_digit() || char == '.');
            if self.durations && self.rest().starts_with(|char: char| "smhdwy".contains(char)) {
                self.take_while(|char| char.is_ascii_digit() || "smhdwy".contains(char));
                let text = self.text.get(start..self.at).unwrap_or("");
                Some(duration_ms(text)? as f64)
            } else {
                self.exponent();
                let text = self.text.get(start..self.at).unwrap_or("");
                let scale = if self.durations { 1_000.0 } else { 1.0 };
                text.parse::<f64>().ok().map(|value| value * scale)
            }
        };
        let value = value.ok_or_else(|| self.unexpected("a value"))?;
        Ok(if negative { -value } else { value })
    }

    fn exponent(&mut self) {
        let before = self.at;
        if !self.take("e") && !self.take("E") {
            return;
        }
        if !self.take("+") {
            self.take("-");
        }
        if self.take_while(|char| char.is_ascii_digit()).is_empty() {
            self.at = before;
        }
    }

    /// A message about what is next.
    #[must_use]
    pub fn unexpected(&self, expected: &str) -> String {
        let shown: String = self.rest().chars().take(20).collect();
        format!("expected {expected} at {shown:?}")
    }
}
