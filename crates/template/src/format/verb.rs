//! Format text: flags, widths, precisions, argument indexes, and what is wrong with them.

use super::{Full, Output, WIDTH_MAX, value_with};
use crate::value::Value;

/// What stands between `%` and the verb.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    pub width: Option<usize>,
    pub precision: Option<usize>,
    pub plus: bool,
    pub minus: bool,
    pub sharp: bool,
    pub space: bool,
    pub zero: bool,
    /// `%+v`
    pub plus_v: bool,
    /// `%#v`
    pub sharp_v: bool,
}

impl Flags {
    /// Text, padded to the width.
    pub fn pad(&self, out: &mut Output, text: &str) -> Result<(), Full> {
        let missing = self.width.unwrap_or(0).saturating_sub(text.chars().count());
        if missing == 0 {
            return out.push(text);
        }
        if self.minus {
            out.push(text)?;
            return out.push(&" ".repeat(missing));
        }
        let with = if self.zero { "0" } else { " " };
        out.push(&with.repeat(missing))?;
        out.push(text)
    }

    /// The same, padded with spaces.
    pub fn without_zeros(&self) -> Flags {
        Flags { zero: false, ..self.clone() }
    }
}

/// A format and its arguments.
pub struct Verbs<'a> {
    rest: &'a str,
    values: &'a [Value],
    out: Output,
    /// The next argument.
    at: usize,
    /// Whether an index chose arguments: then unused ones are no mistake.
    reordered: bool,
    is_good_index: bool,
}

impl<'a> Verbs<'a> {
    pub fn new(format: &'a str, values: &'a [Value], bytes_max: usize) -> Verbs<'a> {
        let out = Output::new(bytes_max);
        Verbs { rest: format, values, out, at: 0, reordered: false, is_good_index: true }
    }

    pub fn run(mut self) -> Result<String, Full> {
        while let Some(percent) = self.rest.find('%') {
            self.out.push(&self.rest[..percent])?;
            self.rest = &self.rest[percent + 1..];
            self.verb()?;
        }
        self.out.push(self.rest)?;
        if !self.reordered && self.at < self.values.len() {
            self.extra()?;
        }
        Ok(self.out.into_text())
    }

    fn extra(&mut self) -> Result<(), Full> {
        self.out.push("%!(EXTRA ")?;
        for (at, value) in self.values.iter().skip(self.at).enumerate() {
            if at > 0 {
                self.out.push(", ")?;
            }
            if matches!(value, Value::Nil) {
                self.out.push("<nil>")?;
            } else {
                self.out.push(value.type_name())?;
                self.out.push("=")?;
                value_with(&mut self.out, value, 'v', &Flags::default())?;
            }
        }
        self.out.push(")")
    }

    fn verb(&mut self) -> Result<(), Full> {
        let mut flags = self.flags();
        self.is_good_index = true;
        let mut after_index = self.index();
        if self.take('*') {
            flags.width = self.number_argument("%!(BADWIDTH)", true, &mut flags.minus)?;
            after_index = false;
        } else if let Some(width) = self.digits() {
            flags.width = Some(width.min(WIDTH_MAX));
            if after_index {
                // `%[3]2d`
                self.is_good_index = false;
            }
        }
        if self.take('.') {
            if after_index {
                self.is_good_index = false;
            }
            after_index = self.index();
            if self.take('*') {
                let mut negative = false;
                flags.precision = self.number_argument("%!(BADPREC)", false, &mut negative)?;
                after_index = false;
            } else {
                flags.precision = Some(self.digits().unwrap_or(0).min(WIDTH_MAX));
            }
        }
        if !after_index {
            self.index();
        }
        let Some(verb) = self.rest.chars().next() else { return self.out.push("%!(NOVERB)") };
        self.rest = &self.rest[verb.len_utf8()..];
        if verb == '%' {
            return self.out.push("%");
        }
        if !self.is_good_index {
            return self.out.push(&format!("%!{verb}(BADINDEX)"));
        }
        let Some(value) = self.values.get(self.at) else {
            return self.out.push(&format!("%!{verb}(MISSING)"));
        };
        self.at += 1;
        if verb == 'v' {
            flags.sharp_v = std::mem::take(&mut flags.sharp);
            flags.plus_v = std::mem::take(&mut flags.plus);
        }
        value_with(&mut self.out, value, verb, &flags)
    }

    fn flags(&mut self) -> Flags {
        let mut flags = Flags::default();
        while let Some(c) = self.rest.chars().next() {
            match c {
                '#' => flags.sharp = true,
                '0' => flags.zero = true,
                '+' => flags.plus = true,
                '-' => flags.minus = true,
                ' ' => flags.space = true,
                _ => break,
            }
            self.rest = &self.rest[1..];
        }
        flags
    }

    fn take(&mut self, c: char) -> bool {
        let rest = self.rest.strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn digits(&mut self) -> Option<usize> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        // Too large is as good as the largest.
        (!digits.is_empty()).then(|| digits.parse().unwrap_or(usize::MAX))
    }

    /// `[n]`: the next argument is the n-th.
    fn index(&mut self) -> bool {
        if !self.rest.starts_with('[') {
            return false;
        }
        self.reordered = true;
        let Some(end) = self.rest.find(']') else {
            self.is_good_index = false;
            self.rest = &self.rest[1..];
            return false;
        };
        let number: Option<usize> = self.rest[1..end].parse().ok();
        self.rest = &self.rest[end + 1..];
        match number {
            Some(number) if number >= 1 && number <= self.values.len() => self.at = number - 1,
            _ => self.is_good_index = false,
        }
        true
    }

    /// `*`: a width or precision that is an argument.
    fn number_argument(
        &mut self,
        bad: &str,
        is_width: bool,
        minus: &mut bool,
    ) -> Result<Option<usize>, Full> {
        let value = self.values.get(self.at);
        self.at += usize::from(value.is_some());
        let number = match value {
            Some(Value::Int(number)) if number.unsigned_abs() <= WIDTH_MAX as u64 => *number,
            _ => {
                self.out.push(bad)?;
                return Ok(None);
            }
        };
        let magnitude = usize::try_from(number.unsigned_abs()).unwrap_or(WIDTH_MAX);
        if number < 0 {
            *minus = true;
            // A negative precision is none.
            return Ok(is_width.then_some(magnitude));
        }
        Ok(Some(magnitude))
    }
}
