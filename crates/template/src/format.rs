//! Go's `fmt`: values as text, by verbs.

mod float;
mod verb;

use crate::time;
use crate::value::Value;

pub use float::float;
use verb::{Flags, Verbs};

/// Widths and precisions beyond this are refused, as in Go.
const WIDTH_MAX: usize = 1_000_000;

/// The output would have been larger than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Text that may grow so far.
#[derive(Debug)]
pub struct Output {
    text: String,
    bytes_max: usize,
}

impl Output {
    /// Empty.
    #[must_use]
    pub fn new(bytes_max: usize) -> Output {
        Output { text: String::new(), bytes_max }
    }

    /// Adds text.
    pub fn push(&mut self, text: &str) -> Result<(), Full> {
        if self.text.len() + text.len() > self.bytes_max {
            return Err(Full);
        }
        self.text.push_str(text);
        Ok(())
    }

    /// What has been added.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }
}

/// `fmt.Sprint`: spaces between operands of which neither is text.
pub fn sprint(values: &[Value], bytes_max: usize) -> Result<String, Full> {
    let mut out = Output::new(bytes_max);
    let mut was_text = true;
    for (at, value) in values.iter().enumerate() {
        let is_text = matches!(value, Value::Text(_));
        if at > 0 && !is_text && !was_text {
            out.push(" ")?;
        }
        print(&mut out, value)?;
        was_text = is_text;
    }
    Ok(out.into_text())
}

/// `fmt.Sprintln`: spaces between all operands, and a line end.
pub fn sprintln(values: &[Value], bytes_max: usize) -> Result<String, Full> {
    let mut out = Output::new(bytes_max);
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push(" ")?;
        }
        print(&mut out, value)?;
    }
    out.push("\n")?;
    Ok(out.into_text())
}

/// `fmt.Sprintf`.
pub fn sprintf(format: &str, values: &[Value], bytes_max: usize) -> Result<String, Full> {
    Verbs::new(format, values, bytes_max).run()
}

/// A value as `%v`.
pub fn print(out: &mut Output, value: &Value) -> Result<(), Full> {
    value_with(out, value, 'v', &Flags::default())
}

/// A value by a verb.
fn value_with(out: &mut Output, value: &Value, verb: char, flags: &Flags) -> Result<(), Full> {
    match (value, verb) {
        (_, 'T') => flags.pad(out, value.type_name()),
        (Value::Nil, 'v') => flags.pad(out, "<nil>"),
        (Value::Bool(b), 'v' | 't') => flags.pad(out, if *b { "true" } else { "false" }),
        (Value::Int(n), _) => integer(out, *n, verb, flags),
        (Value::Float(n), 'v' | 'g' | 'G' | 'e' | 'E' | 'f' | 'F') => float_with(out, *n, verb, flags),
        (Value::Text(text), _) => text_with(out, text, verb, flags, value),
        (Value::List(list), _) => {
            let (open, between, close) = if flags.sharp_v {
                (format!("{}{{", list.type_name), ", ", "}")
            } else {
                ("[".into(), " ", "]")
            };
            out.push(&open)?;
            for (at, item) in list.items.iter().enumerate() {
                if at > 0 {
                    out.push(between)?;
                }
                value_with(out, item, verb, flags)?;
            }
            out.push(close)
        }
        (Value::Map(map), _) => entries(out, map, verb, flags),
        (Value::Duration(ns), 'd') => integer(out, *ns, verb, flags),
        (Value::Duration(ns), _) => text_with(out, &time::duration(*ns), verb, flags, value),
        (Value::Time(ns), _) => text_with(out, &time::display(*ns), verb, flags, value),
        (Value::Opaque(opaque), _) => text_with(out, &opaque.text, verb, flags, value),
        _ => bad_verb(out, value, verb, flags),
    }
}

fn entries(out: &mut Output, map: &crate::value::Map, verb: char, flags: &Flags) -> Result<(), Full> {
    let is_structure = map.missing.is_none();
    let names = !is_structure || flags.plus_v || flags.sharp_v;
    let open = match (is_structure, flags.sharp_v) {
        (_, true) => format!("{}{{", map.type_name),
        (true, false) => "{".to_owned(),
        (false, false) => "map[".to_owned(),
    };
    out.push(&open)?;
    for (at, (key, value)) in map.entries.iter().enumerate() {
        if at > 0 {
            out.push(if flags.sharp_v { ", " } else { " " })?;
        }
        if names {
            if is_structure {
                out.push(key)?;
            } else {
                value_with(out, &Value::Text(key.clone()), verb, flags)?;
            }
            out.push(":")?;
        }
        value_with(out, value, verb, flags)?;
    }
    out.push(if is_structure || flags.sharp_v { "}" } else { "]" })
}

/// `%!d(string=x)`
fn bad_verb(out: &mut Output, value: &Value, verb: char, flags: &Flags) -> Result<(), Full> {
    out.push(&format!("%!{verb}("))?;
    if !matches!(value, Value::Nil) {
        out.push(value.type_name())?;
        out.push("=")?;
    }
    value_with(out, value, 'v', flags)?;
    out.push(")")
}

fn text_with(out: &mut Output, text: &str, verb: char, flags: &Flags, value: &Value) -> Result<(), Full> {
    // The precision cuts the text off, in characters.
    let cut = || match flags.precision {
        Some(most) => text.char_indices().nth(most).map_or(text, |(at, _)| &text[..at]),
        None => text,
    };
    match verb {
        'v' if flags.sharp_v && matches!(value, Value::Text(_)) => flags.pad(out, &quote(text, '"', false)),
        'v' | 's' => flags.pad(out, cut()),
        'q' if flags.sharp && !text.contains(['`', '\r', '\u{FEFF}']) && !text.contains(char::is_control) => {
            flags.pad(out, &format!("`{}`", cut()))
        }
        'q' => flags.pad(out, &quote(cut(), '"', flags.plus)),
        'x' | 'X' => flags.pad(out, &hexadecimal(text.as_bytes(), verb == 'X', flags)),
        _ => bad_verb(out, value, verb, flags),
    }
}

fn hexadecimal(bytes: &[u8], is_upper: bool, flags: &Flags) -> String {
    let mut out = String::new();
    let prefix = if is_upper { "0X" } else { "0x" };
    for (at, byte) in bytes.iter().take(flags.precision.unwrap_or(usize::MAX)).enumerate() {
        if flags.space && at > 0 {
            out.push(' ');
        }
        if flags.sharp && (at == 0 || flags.space) {
            out.push_str(prefix);
        }
        out += &if is_upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
    }
    out
}

/// Text as a constant of Go.
fn quote(text: &str, mark: char, ascii: bool) -> String {
    let mut out = String::from(mark);
    for c in text.chars() {
        let code = u32::from(c);
        match c {
            c if c == mark || c == '\\' => out.extend(['\\', c]),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if code < 0x20 || code == 0x7f => out += &format!("\\x{:02x}", u32::from(c)),
            c if !c.is_control() && (!ascii || c.is_ascii()) => out.push(c),
            _ if code < 0x1_0000 => out += &format!("\\u{code:04x}"),
            _ => out += &format!("\\U{code:08x}"),
        }
    }
    out.push(mark);
    out
}

fn float_with(out: &mut Output, number: f64, verb: char, flags: &Flags) -> Result<(), Full> {
    let (form, precision) = match verb {
        'v' => ('g', flags.precision),
        'e' | 'E' | 'f' | 'F' => (verb.to_ascii_lowercase(), Some(flags.precision.unwrap_or(6))),
        _ => ('g', flags.precision),
    };
    let mut text = float(number, form, precision);
    if matches!(verb, 'E' | 'G') && number.is_finite() {
        text = text.to_ascii_uppercase();
    }
    let unsigned = text.trim_start_matches(['+', '-']).to_owned();
    let is_positive = !number.is_sign_negative() || number.is_nan();
    let sign = match (is_positive, flags.plus, flags.space) {
        (false, ..) => "-",
        (true, true, _) => "+",
        (true, false, true) => " ",
        (true, false, false) => "",
    };
    if !number.is_finite() {
        let sign = if number.is_infinite() && sign.is_empty() { "+" } else { sign };
        return flags.without_zeros().pad(out, &format!("{sign}{unsigned}"));
    }
    let zeros = match flags.width {
        Some(width) if flags.zero && !flags.minus => width.saturating_sub(sign.len() + unsigned.len()),
        _ => 0,
    };
    flags.without_zeros().pad(out, &format!("{sign}{}{unsigned}", "0".repeat(zeros)))
}

fn integer(out: &mut Output, number: i64, verb: char, flags: &Flags) -> Result<(), Full> {
    let magnitude = number.unsigned_abs();
    let (digits, prefix) = match verb {
        'v' | 'd' => (magnitude.to_string(), ""),
        'b' => (format!("{magnitude:b}"), "0b"),
        'o' => (format!("{magnitude:o}"), "0"),
        'O' => (format!("{magnitude:o}"), "0o"),
        'x' => (format!("{magnitude:x}"), "0x"),
        'X' => (format!("{magnitude:X}"), "0X"),
        'c' | 'q' | 'U' => return character(out, number, verb, flags),
        // Floats only; widths and the like stay, as in Go.
        _ => return bad_verb(out, &Value::Int(number), verb, flags),
    };
    if flags.precision == Some(0) && number == 0 {
        return flags.without_zeros().pad(out, "");
    }
    let sign = match (number < 0, flags.plus, flags.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        (false, false, false) => "",
    };
    let least = match (flags.precision, flags.width) {
        (Some(precision), _) => precision,
        (None, Some(width)) if flags.zero && !flags.minus => width.saturating_sub(sign.len()),
        _ => 0,
    };
    let zeros = "0".repeat(least.saturating_sub(digits.len()));
    let prefix = if flags.sharp || verb == 'O' { prefix } else { "" };
    flags.without_zeros().pad(out, &format!("{sign}{prefix}{zeros}{digits}"))
}

fn character(out: &mut Output, number: i64, verb: char, flags: &Flags) -> Result<(), Full> {
    let c = u32::try_from(number).ok().and_then(char::from_u32).unwrap_or('\u{FFFD}');
    let text = match verb {
        'c' => c.to_string(),
        'q' => quote(&c.to_string(), '\'', flags.plus),
        _ if flags.sharp => format!("U+{number:04X} '{c}'"),
        _ => format!("U+{number:04X}"),
    };
    flags.pad(out, &text)
}

#[cfg(test)]
mod tests;
