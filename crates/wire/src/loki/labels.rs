//! The labels of a stream: read from their text, checked, sorted, and written as a resource.

use std::fmt::Write as _;

use throughline_model::Level;
use throughline_model::attribute::{push_text, write_json_text};

use super::SERVICE_NAME;
use crate::level::of_label;
use crate::trace_context::may_be_role;
use crate::{DecodeLimits, RejectReason};

/// Names of labels of one stream, without the service's: Loki's `max_label_names_per_series`.
const NAMES_MAX: usize = 15;

/// Bytes of a label's name: Loki's `max_label_name_length`.
const NAME_BYTES_MAX: usize = 1024;

/// Bytes of a label's value: Loki's `max_label_value_length`.
const VALUE_BYTES_MAX: usize = 2048;

/// How much of a stream's text an error shows.
const SHOWN_BYTES_MAX: usize = 512;

/// Labels that name the service of a stream that has no label `service_name`, the most trusted first.
pub const SERVICE_LABELS: [&str; 13] = [
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
];

/// The service of a stream that names none.
const UNKNOWN_SERVICE: &str = "unknown_service";

/// Good labels of a stream.
#[derive(Debug)]
pub(super) struct StreamLabels {
    /// Sorted by name; with the service's name.
    pairs: Vec<(String, String)>,
    text: String,
    json: String,
}

/// What is wrong with the labels of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadLabels {
    NotUtf8,
    Parse { stream: String, at: usize, expected: &'static str },
    Empty,
    Count { stream: String, count: usize },
    NameBytes { stream: String, name: String },
    ValueBytes { stream: String, value: String },
    Duplicate { stream: String, name: String },
}

impl BadLabels {
    pub fn reason(&self) -> RejectReason {
        match self {
            BadLabels::NotUtf8 => RejectReason::InvalidUtf8,
            BadLabels::NameBytes { .. } | BadLabels::ValueBytes { .. } => RejectReason::TooLarge,
            _ => RejectReason::InvalidLabels,
        }
    }

    pub fn says(&self) -> String {
        match self {
            BadLabels::NotUtf8 => "Error parsing labels: they are not valid UTF-8".to_owned(),
            BadLabels::Parse { stream, at, expected } => {
                format!(
                    "Error parsing labels '{stream}' with error: 1:{}: parse error: expected {expected}",
                    at + 1
                )
            }
            BadLabels::Empty => "error at least one label pair is required per stream".to_owned(),
            BadLabels::Count { stream, count } => {
                format!("entry for stream '{stream}' has {count} label names; limit {NAMES_MAX}")
            }
            BadLabels::NameBytes { stream, name } => {
                format!("stream '{stream}' has label name too long: '{name}'")
            }
            BadLabels::ValueBytes { stream, value } => {
                format!("stream '{stream}' has label value too long: '{value}'")
            }
            BadLabels::Duplicate { stream, name } => {
                format!("stream '{stream}' has duplicate label name: '{name}'")
            }
        }
    }
}

impl StreamLabels {
    /// Reads `{name="value", …}`.
    pub fn parse(text: &[u8], limits: &DecodeLimits) -> Result<StreamLabels, BadLabels> {
        let text = simdutf8::basic::from_utf8(text).map_err(|_| BadLabels::NotUtf8)?;
        let mut parser = Parser { text, at: 0, count_max: limits.attributes_per_item };
        let mut pairs = parser.labels().map_err(|expected| BadLabels::Parse {
            stream: shown(text),
            at: parser.at,
            expected,
        })?;
        // An empty value is the same as none.
        pairs.retain(|(_, value)| !value.is_empty());
        check(&mut pairs, text)?;
        if !pairs.iter().any(|(name, _)| name == SERVICE_NAME) {
            let named = SERVICE_LABELS.iter().find_map(|name| value_of(&pairs, name));
            let service = named.unwrap_or(UNKNOWN_SERVICE).to_owned();
            let at = pairs.partition_point(|(name, _)| name.as_str() < SERVICE_NAME);
            pairs.insert(at, (SERVICE_NAME.to_owned(), service));
        }
        let (text, json) = (written(&pairs), as_json(&pairs));
        Ok(StreamLabels { pairs, text, json })
    }

    /// The labels as Loki writes them, shortened for messages.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The labels as a JSON object.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Those labels that may refer to a trace, as an attribute list.
    pub fn references(&self) -> Vec<u8> {
        let mut list = Vec::new();
        for (name, value) in self.pairs.iter().filter(|(name, _)| may_be_role(name.as_bytes())) {
            push_text(&mut list, name, value);
        }
        list
    }

    /// The level that a label names.
    pub fn level(&self) -> Option<Level> {
        self.pairs.iter().find_map(|(name, value)| of_label(name, value))
    }

    /// The service.
    pub fn service(&self) -> &str {
        value_of(&self.pairs, SERVICE_NAME).unwrap_or(UNKNOWN_SERVICE)
    }
}

fn value_of<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
}

/// Sorts and checks labels.
fn check(pairs: &mut [(String, String)], text: &str) -> Result<(), BadLabels> {
    if pairs.is_empty() {
        return Err(BadLabels::Empty);
    }
    let count = pairs.iter().filter(|(name, _)| name != SERVICE_NAME).count();
    if count > NAMES_MAX {
        return Err(BadLabels::Count { stream: shown(text), count });
    }
    pairs.sort_unstable();
    let mut last: Option<&str> = None;
    for (name, value) in pairs.iter() {
        if name.len() > NAME_BYTES_MAX {
            return Err(BadLabels::NameBytes { stream: shown(text), name: shown(name) });
        }
        if value.len() > VALUE_BYTES_MAX {
            return Err(BadLabels::ValueBytes { stream: shown(text), value: shown(value) });
        }
        if last == Some(name) {
            return Err(BadLabels::Duplicate { stream: shown(text), name: name.clone() });
        }
        last = Some(name);
    }
    Ok(())
}

/// The start of a text, for a message.
fn shown(text: &str) -> String {
    match text.len() {
        0..=SHOWN_BYTES_MAX => text.to_owned(),
        _ => format!("{}…", text.get(..text.floor_char_boundary(SHOWN_BYTES_MAX)).unwrap_or_default()),
    }
}

fn written(pairs: &[(String, String)]) -> String {
    let mut out = String::from("{");
    for (at, (name, value)) in pairs.iter().enumerate() {
        _ = write!(out, "{}{name}=", if at > 0 { ", " } else { "" });
        // JSON's escapes are Go's as far as people read them.
        write_json_text(&mut out, value);
    }
    out.push('}');
    shown(&out)
}

fn as_json(pairs: &[(String, String)]) -> String {
    let mut out = String::from("{");
    for (at, (name, value)) in pairs.iter().enumerate() {
        out.push_str(if at > 0 { "," } else { "" });
        write_json_text(&mut out, name);
        out.push(':');
        write_json_text(&mut out, value);
    }
    out.push('}');
    out
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    count_max: usize,
}

impl Parser<'_> {
    fn labels(&mut self) -> Result<Vec<(String, String)>, &'static str> {
        let mut pairs = Vec::new();
        self.expect('{', "\"{\"")?;
        loop {
            if self.eat('}') {
                break;
            }
            let name = self.name()?;
            self.expect('=', "\"=\"")?;
            let value = self.value()?;
            pairs.push((name, value));
            if pairs.len() > self.count_max {
                return Err("fewer labels");
            }
            if !self.eat(',') {
                self.expect('}', "\",\" or \"}\"")?;
                break;
            }
        }
        self.skip_space();
        if self.rest().is_empty() { Ok(pairs) } else { Err("the end of the labels") }
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(wanted);
        self.at += if found { wanted.len_utf8() } else { 0 };
        found
    }

    fn expect(&mut self, wanted: char, name: &'static str) -> Result<(), &'static str> {
        if self.eat(wanted) { Ok(()) } else { Err(name) }
    }

    fn name(&mut self) -> Result<String, &'static str> {
        self.skip_space();
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or_default().to_owned();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err("the name of a label");
        }
        self.at += end;
        Ok(name)
    }

    fn value(&mut self) -> Result<String, &'static str> {
        const EXPECTED: &str = "a quoted value";
        self.skip_space();
        let mut chars = self.rest().char_indices();
        let quote = match chars.next() {
            Some((_, quote @ ('"' | '\'' | '`'))) => quote,
            _ => return Err(EXPECTED),
        };
        let mut value = Vec::new();
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.at += at + 1;
                    return String::from_utf8(value).map_err(|_| "valid UTF-8");
                }
                '\\' if quote != '`' => unescape(&mut chars, &mut value).ok_or("an escape of Go")?,
                '\n' if quote != '`' => return Err("the end of the quoted value"),
                c => value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        Err("the end of the quoted value")
    }
}

/// Reads what follows a backslash, as in Go's strings.
fn unescape(chars: &mut std::str::CharIndices<'_>, value: &mut Vec<u8>) -> Option<()> {
    let (_, c) = chars.next()?;
    let mut digits = |first: u32, n: u32, radix: u32| -> Option<u32> {
        (0..n).try_fold(first, |code, _| {
            let digit = chars.next()?.1.to_digit(radix)?;
            code.checked_mul(radix)?.checked_add(digit)
        })
    };
    let (code, is_byte) = match c {
        'a' => (7, true),
        'b' => (8, true),
        'f' => (12, true),
        'n' => (10, true),
        'r' => (13, true),
        't' => (9, true),
        'v' => (11, true),
        '\\' | '"' | '\'' => (u32::from(c), true),
        '0'..='7' => (digits(c.to_digit(8)?, 2, 8)?, true),
        'x' => (digits(0, 2, 16)?, true),
        'u' => (digits(0, 4, 16)?, false),
        'U' => (digits(0, 8, 16)?, false),
        _ => return None,
    };
    if is_byte {
        value.push(u8::try_from(code).ok()?);
    } else {
        value.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Some(())
}

/// The text of labels that JSON gave, for the decoder to read.
pub(super) fn quoted<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::from("{");
    for (at, (name, value)) in pairs.enumerate() {
        _ = write!(out, "{}{name}=\"", if at > 0 { ", " } else { "" });
        for c in value.chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
        out.push('"');
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<StreamLabels, String> {
        let limits = DecodeLimits::with_retention(0);
        StreamLabels::parse(text.as_bytes(), &limits).map_err(|bad| bad.says())
    }

    #[test]
    fn labels_are_read_as_loki_reads_them() {
        let labels = parse(r#" { b = "x\"\u00e9\x41\101" , a='\'', c=`\n`, } "#).expect("good");
        let json = r#"{"a":"'","b":"x\"éAA","c":"\\n","service_name":"unknown_service"}"#;
        assert_eq!((labels.json(), labels.service()), (json, UNKNOWN_SERVICE));
        let labels = parse(r#"{job="j", app="cart", empty="", lvl="WARN"}"#).expect("good");
        assert_eq!(labels.service(), "cart");
        assert_eq!(labels.text(), r#"{app="cart", job="j", lvl="WARN", service_name="cart"}"#);
        assert_eq!(parse(r#"{service_name="s", app="cart"}"#).expect("good").service(), "s");
    }

    #[test]
    fn quoted_labels_come_back() {
        let value = "a\"b\\c\nd\te\0é";
        let labels = parse(&quoted([("x", value)].into_iter())).expect("good");
        assert_eq!(value_of(&labels.pairs, "x"), Some(value));
    }

    #[test]
    fn bad_labels_are_named() {
        let many: Vec<String> = (0..16).map(|n| format!("l{n}=\"x\"")).collect();
        let cases = [
            ("{}", "error at least one label pair"),
            ("{a=\"\"}", "error at least one label pair"),
            ("", "Error parsing labels '' with error: 1:1: parse error: expected \"{\""),
            ("{a=b}", "Error parsing labels '{a=b}' with error: 1:4: parse error: expected a quoted value"),
            ("{a-b=\"c\"}", "1:3: parse error"),
            ("{9=\"c\"}", "the name of a label"),
            ("{a=\"b\"", "\",\" or \"}\""),
            ("{a=\"b", "the end of the quoted value"),
            ("{a=\"\\q\"}", "an escape of Go"),
            ("{a=\"\\xff\"}", "valid UTF-8"),
            ("{a=\"b\"} x", "the end of the labels"),
            ("{a=\"b\", a=\"c\"}", "has duplicate label name: 'a'"),
            (&format!("{{{}}}", many.join(",")), "has 16 label names; limit 15"),
            (&format!("{{a=\"{}\"}}", "x".repeat(3_000)), "has label value too long"),
            (&format!("{{{}=\"x\"}}", "x".repeat(2_000)), "has label name too long"),
        ];
        for (text, says) in cases {
            let error = parse(text).expect_err(text);
            assert!(error.contains(says) && error.len() < 1_500, "{text}: {error}");
        }
    }
}
