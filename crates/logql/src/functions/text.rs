//! Functions that make texts of texts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::DecodeError;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use regex::Regex;
use throughline_exec::quote::quote;
use throughline_exec::search_regex;
use throughline_template::{Functions, Kind, Room, Value, url_query};

use super::{int_of, text_of};

const TEXT: Kind = Kind::Text;

/// Most compiled expressions that are kept: those of a template are constant, or nearly.
const REGEXES_MAX: usize = 64;

/// As Go reads it: the bits that are left over need not be zero.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// A text, if there is room for it.
fn bounded(text: String, room: Room) -> Result<Value, String> {
    if text.len() > room.bytes { Err(too_large()) } else { Ok(Value::text(text)) }
}

fn too_large() -> String {
    "the text is too large".to_owned()
}

pub(super) fn add(table: &mut Functions<'static>) {
    add_cases(table);
    add_trims(table);
    add_parts(table);
    add_expressions(table);
    add_encodings(table);
}

fn add_cases(table: &mut Functions<'static>) {
    for name in ["lower", "ToLower"] {
        table.add(name, &[TEXT], |values, room| {
            bounded(text_of(values, 0).chars().map(lower).collect(), room)
        });
    }
    for name in ["upper", "ToUpper"] {
        table.add(name, &[TEXT], |values, room| {
            bounded(text_of(values, 0).chars().map(upper).collect(), room)
        });
    }
    table.add("title", &[TEXT], |values, room| {
        let mut in_word = false;
        let mut title = String::new();
        for char in text_of(values, 0).chars() {
            title.push(if in_word { char } else { upper(char) });
            in_word = match char.is_ascii() {
                true => char.is_ascii_alphanumeric() || char == '_',
                false => !char.is_whitespace(),
            };
        }
        bounded(title, room)
    });
}

/// The one small letter of a letter; Go knows no others.
fn lower(char: char) -> char {
    let mut letters = char.to_lowercase();
    match (letters.next(), letters.next()) {
        // Of a capital with a dot, the plain letter.
        (Some(lower), None) => lower,
        (Some('i'), Some(_)) => 'i',
        _ => char,
    }
}

/// The one capital of a letter; of one with several it is the letter itself.
fn upper(char: char) -> char {
    let mut letters = char.to_uppercase();
    match (letters.next(), letters.next()) {
        (Some(upper), None) => upper,
        _ => char,
    }
}

fn add_trims(table: &mut Functions<'static>) {
    for name in ["trim", "TrimSpace"] {
        table.add(name, &[TEXT], |values, _| Ok(Value::text(text_of(values, 0).trim())));
    }
    // Sprig's take what is cut first, so that the text can come through a pipe; Go's take it last.
    table.add("trimAll", &[TEXT, TEXT], |values, _| {
        Ok(trimmed(text_of(values, 1), text_of(values, 0), true, true))
    });
    table.add("Trim", &[TEXT, TEXT], |values, _| {
        Ok(trimmed(text_of(values, 0), text_of(values, 1), true, true))
    });
    table.add("TrimLeft", &[TEXT, TEXT], |values, _| {
        Ok(trimmed(text_of(values, 0), text_of(values, 1), true, false))
    });
    table.add("TrimRight", &[TEXT, TEXT], |values, _| {
        Ok(trimmed(text_of(values, 0), text_of(values, 1), false, true))
    });
    let prefix = |text: &str, prefix: &str| Value::text(text.strip_prefix(prefix).unwrap_or(text));
    let suffix = |text: &str, suffix: &str| Value::text(text.strip_suffix(suffix).unwrap_or(text));
    table.add("trimPrefix", &[TEXT, TEXT], move |values, _| {
        Ok(prefix(text_of(values, 1), text_of(values, 0)))
    });
    table.add("TrimPrefix", &[TEXT, TEXT], move |values, _| {
        Ok(prefix(text_of(values, 0), text_of(values, 1)))
    });
    table.add("trimSuffix", &[TEXT, TEXT], move |values, _| {
        Ok(suffix(text_of(values, 1), text_of(values, 0)))
    });
    table.add("TrimSuffix", &[TEXT, TEXT], move |values, _| {
        Ok(suffix(text_of(values, 0), text_of(values, 1)))
    });
}

fn trimmed(text: &str, cut: &str, start: bool, end: bool) -> Value {
    let belongs = |char: char| cut.contains(char);
    let text = if start { text.trim_start_matches(belongs) } else { text };
    Value::text(if end { text.trim_end_matches(belongs) } else { text })
}

fn add_parts(table: &mut Functions<'static>) {
    table.add("contains", &[TEXT, TEXT], |values, _| {
        Ok(Value::Bool(text_of(values, 1).contains(text_of(values, 0))))
    });
    table.add("hasPrefix", &[TEXT, TEXT], |values, _| {
        Ok(Value::Bool(text_of(values, 1).starts_with(text_of(values, 0))))
    });
    table.add("hasSuffix", &[TEXT, TEXT], |values, _| {
        Ok(Value::Bool(text_of(values, 1).ends_with(text_of(values, 0))))
    });
    table.add("trunc", &[Kind::Int, TEXT], |values, _| {
        let (count, text) = (int_of(values, 0), text_of(values, 1));
        let length = text.len() as i64;
        Ok(match count {
            0.. => part(text, 0, count.min(length)),
            _ => part(text, (length + count.max(-length)).max(0), length),
        })
    });
    table.add("substr", &[Kind::Int, Kind::Int, TEXT], |values, _| {
        let (start, end, text) = (int_of(values, 0), int_of(values, 1), text_of(values, 2));
        let length = text.len() as i64;
        let out_of_range =
            |bounds: String| Err(format!("runtime error: slice bounds out of range [{bounds}"));
        match (start, end) {
            (..0, ..0) => out_of_range(format!(":{end}]")),
            (..0, _) if end > length => out_of_range(format!(":{end}] with length {length}")),
            (..0, _) => Ok(part(text, 0, end)),
            (_, _) if end < 0 || end > length => match start > length {
                true => out_of_range(format!("{start}:{length}]")),
                false => Ok(part(text, start, length)),
            },
            (_, _) if start > end => out_of_range(format!("{start}:{end}]")),
            _ => Ok(part(text, start, end)),
        }
    });
    table.add("replace", &[TEXT, TEXT, TEXT], |values, room| {
        replaced(text_of(values, 2), text_of(values, 0), text_of(values, 1), -1, room)
    });
    table.add("Replace", &[TEXT, TEXT, TEXT, Kind::Int], |values, room| {
        replaced(text_of(values, 0), text_of(values, 1), text_of(values, 2), int_of(values, 3), room)
    });
    table.add("indent", &[Kind::Int, TEXT], |values, room| {
        indented(int_of(values, 0), text_of(values, 1), "", room)
    });
    table.add("nindent", &[Kind::Int, TEXT], |values, room| {
        indented(int_of(values, 0), text_of(values, 1), "\n", room)
    });
    table.add("repeat", &[Kind::Int, TEXT], |values, room| {
        let count =
            usize::try_from(int_of(values, 0)).map_err(|_| "strings: negative Repeat count".to_owned())?;
        let text = text_of(values, 1);
        if count.saturating_mul(text.len()) > room.bytes {
            return Err(too_large());
        }
        Ok(Value::text(text.repeat(count)))
    });
    table.add("alignLeft", &[Kind::Int, TEXT], |values, room| {
        aligned(int_of(values, 0), text_of(values, 1), false, room)
    });
    table.add("alignRight", &[Kind::Int, TEXT], |values, room| {
        aligned(int_of(values, 0), text_of(values, 1), true, room)
    });
}

/// Bytes of a text; half a character becomes the replacement character.
fn part(text: &str, start: i64, end: i64) -> Value {
    let place = |at: i64| usize::try_from(at.max(0)).unwrap_or(0).min(text.len());
    let bytes = text.as_bytes().get(place(start)..place(end)).unwrap_or_default();
    Value::text(String::from_utf8_lossy(bytes).into_owned())
}

fn replaced(text: &str, old: &str, new: &str, count: i64, room: Room) -> Result<Value, String> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let found = text.matches(old).take(count).count();
    if text.len().saturating_add(found.saturating_mul(new.len())) > room.bytes {
        return Err(too_large());
    }
    Ok(Value::text(text.replacen(old, new, count)))
}

fn indented(spaces: i64, text: &str, before: &str, room: Room) -> Result<Value, String> {
    let spaces = usize::try_from(spaces).map_err(|_| "strings: negative Repeat count".to_owned())?;
    let lines = text.matches('\n').count() + 1;
    if text.len().saturating_add(spaces.saturating_mul(lines)) > room.bytes {
        return Err(too_large());
    }
    let pad = " ".repeat(spaces);
    bounded(format!("{before}{pad}{}", text.replace('\n', &format!("\n{pad}"))), room)
}

fn aligned(count: i64, text: &str, right: bool, room: Room) -> Result<Value, String> {
    let Ok(count) = usize::try_from(count) else { return Ok(Value::text(text)) };
    let length = text.chars().count();
    if count <= length {
        let chars = text.chars();
        return Ok(Value::text(match right {
            true => chars.skip(length - count).collect::<String>(),
            false => chars.take(count).collect(),
        }));
    }
    if count > room.bytes {
        return Err(too_large());
    }
    let pad = " ".repeat(count - length);
    Ok(Value::text(if right { format!("{pad}{text}") } else { format!("{text}{pad}") }))
}

/// Compiled expressions by their text.
#[derive(Default)]
struct Regexes(Mutex<HashMap<String, Regex>>);

impl Regexes {
    fn get(&self, pattern: &str) -> Result<Regex, String> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(regex) = known.get(pattern) {
            return Ok(regex.clone());
        }
        let regex = search_regex(pattern).map_err(|error| crate::parse::regex_message(&error))?;
        if known.len() >= REGEXES_MAX {
            known.clear();
        }
        known.insert(pattern.to_owned(), regex.clone());
        Ok(regex)
    }
}

fn add_expressions(table: &mut Functions<'static>) {
    let regexes = Arc::new(Regexes::default());
    let known = regexes.clone();
    table.add("regexReplaceAll", &[TEXT, TEXT, TEXT], move |values, room| {
        let regex = known.get(text_of(values, 0))?;
        let (text, template) = (text_of(values, 1), text_of(values, 2));
        let mut out = String::new();
        let mut copied = 0;
        for groups in regex.captures_iter(text) {
            let Some(whole) = groups.get(0) else { continue };
            out.push_str(text.get(copied..whole.start()).unwrap_or_default());
            groups.expand(template, &mut out);
            copied = whole.end();
            if out.len() > room.bytes {
                return Err(too_large());
            }
        }
        out.push_str(text.get(copied..).unwrap_or_default());
        bounded(out, room)
    });
    let known = regexes.clone();
    table.add("regexReplaceAllLiteral", &[TEXT, TEXT, TEXT], move |values, room| {
        let regex = known.get(text_of(values, 0))?;
        let (text, with) = (text_of(values, 1), text_of(values, 2));
        let found = regex.find_iter(text).count();
        if text.len().saturating_add(found.saturating_mul(with.len())) > room.bytes {
            return Err(too_large());
        }
        bounded(regex.replace_all(text, regex::NoExpand(with)).into_owned(), room)
    });
    table.add("count", &[TEXT, TEXT], move |values, _| {
        let regex = regexes.get(text_of(values, 0))?;
        Ok(Value::Int(regex.find_iter(text_of(values, 1)).count() as i64))
    });
}

fn add_encodings(table: &mut Functions<'static>) {
    table.add("b64enc", &[TEXT], |values, room| bounded(STANDARD.encode(text_of(values, 0)), room));
    table.add("b64dec", &[TEXT], |values, _| Ok(Value::text(base64_decoded(text_of(values, 0)))));
    table.add("urlencode", &[TEXT], |values, room| bounded(url_query(text_of(values, 0)), room));
    table.add("urldecode", &[TEXT], |values, _| url_decoded(text_of(values, 0)).map(Value::text));
    table.add("fromJson", &[TEXT], |values, _| match serde_json::from_str(text_of(values, 0)) {
        Ok(json) => json_value(&json, 0),
        // As in sprig: what is no JSON is nothing.
        Err(_) => Ok(Value::Nil),
    });
}

/// What a text of base64 says, whose padding may be missing; of any other text, what is wrong with it.
fn base64_decoded(text: &str) -> String {
    // Line ends are skipped.
    let mut padded: Vec<u8> = text.bytes().collect();
    if let missing @ (2 | 3) = padded.len() % 4 {
        padded.extend(std::iter::repeat_n(b'=', 4 - missing));
    }
    let mut places = Vec::with_capacity(padded.len());
    let mut digits = Vec::with_capacity(padded.len());
    for (at, byte) in padded.iter().enumerate() {
        if !matches!(byte, b'\r' | b'\n') {
            places.push(at);
            digits.push(*byte);
        }
    }
    match LENIENT.decode(&digits) {
        Ok(decoded) => String::from_utf8_lossy(&decoded).into_owned(),
        Err(error) => {
            let at = match error {
                DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol { offset: at, .. } => at,
                DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => digits.len() / 4 * 4,
            };
            let at = places.get(at).copied().unwrap_or(padded.len());
            format!("illegal base64 data at input byte {at}")
        }
    }
}

fn url_decoded(text: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    loop {
        let at = text.len() - bytes.len();
        let Some(byte) = bytes.next() else { break };
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                match (digit(bytes.next()), digit(bytes.next())) {
                    (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
                    _ => {
                        let escape = text.get(at..).unwrap_or_default();
                        let end = escape.char_indices().nth(3).map_or(escape.len(), |(end, _)| end);
                        let escape = quote(escape.get(..end).unwrap_or_default().as_bytes());
                        return Err(format!("invalid URL escape {escape}"));
                    }
                }
            }
            other => out.push(other),
        }
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Recursion ends where values may not nest deeper.
fn json_value(json: &serde_json::Value, depth: usize) -> Result<Value, String> {
    if depth >= throughline_template::NESTING_MAX {
        return Err("the JSON is nested too deeply".to_owned());
    }
    Ok(match json {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(text) => Value::text(text.as_str()),
        serde_json::Value::Array(items) => {
            let items: Result<Vec<Value>, String> =
                items.iter().map(|item| json_value(item, depth + 1)).collect();
            Value::list(items?)
        }
        serde_json::Value::Object(members) => {
            let mut entries = Vec::with_capacity(members.len());
            for (key, member) in members {
                entries.push((key.as_str(), json_value(member, depth + 1)?));
            }
            Value::map(entries)
        }
    })
}
