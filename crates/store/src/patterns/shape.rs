//! The shape of a line: what is left of its masked text when everything that is a value is a hole.
//!
//! [`write`] looks at the masked text alone (`crate::block::bodies`), so that the same line has the same shape, and the
//! shape's hash is the same id, in every block, after every restart and on every machine. A shape keeps the line's spaces
//! and signs, so that it matches the line where `<_>` stands for any text.
//!
//! Where slots stand in the text again, or never were taken out of it, it is masked first (`crate::block::settled`).
//!
//! 1. Text: each run of letters and digits with a digit is a hole; holes with one sign between them (`3.5`, `10:30`, the
//!    parts of an address or a UUID) are one.
//! 2. JSON: values are holes, but of the message the words are kept; what is left is the message and the keys.
//! 3. logfmt: likewise.

use crate::block::bodies::PLACEHOLDER;
use crate::block::settled::mask;

/// What stands in a shape for a value.
pub(crate) const HOLE: &str = "<_>";

/// How much of a line is looked at. What follows is a hole.
const LINE_BYTES: usize = 2_048;

/// The longest shape. What follows is a hole.
pub(crate) const SHAPE_BYTES: usize = 512;

/// How deep JSON is followed; deeper values are holes.
const DEPTH_MAX: usize = 16;

/// Writes the shape of a masked line in place of what `out` has.
pub(crate) fn write(masked: &str, out: &mut String) {
    out.clear();
    let masked = mask(masked);
    let line = masked.get(..masked.floor_char_boundary(LINE_BYTES)).unwrap_or_default();
    if !json(line, out) && !logfmt(line, out) {
        words(line, out);
    }
    let is_cut = line.len() < masked.len() || out.len() > SHAPE_BYTES;
    if is_cut {
        let mut end = out.floor_char_boundary(SHAPE_BYTES);
        // Not within a hole.
        if let Some(at) = out.get(..end).and_then(|head| head.rfind('<')).filter(|at| at + HOLE.len() > end) {
            end = at;
        }
        out.truncate(end);
        hole(out);
    }
}

/// Ends the text with a hole, together with holes before it of which it is a part.
fn hole(out: &mut String) {
    if let Some(before) = out.rfind(HOLE) {
        let between = out.as_bytes().get(before + HOLE.len()..).unwrap_or_default();
        if between.is_empty() {
            return;
        }
        if is_joint(between) {
            return out.truncate(before + HOLE.len());
        }
    }
    out.push_str(HOLE);
}

/// Whether what stands between two holes makes them one value: a sign; or signs and the letters of hexadecimal digits, as
/// in addresses and UUIDs whose digits are letters by chance.
fn is_joint(between: &[u8]) -> bool {
    let is_sign = |byte: &u8| matches!(byte, b'.' | b':' | b'-');
    match between {
        [b'.' | b':' | b'-' | b'/' | b'_' | b',' | b'+'] => true,
        [first, middle @ .., last] => {
            middle.len() <= 12
                && is_sign(first)
                && is_sign(last)
                && middle.iter().all(|byte| is_sign(byte) || byte.is_ascii_hexdigit())
        }
        _ => false,
    }
}

// === text ===

/// Adds the shape of running text.
fn words(text: &str, out: &mut String) {
    let bytes = text.as_bytes();
    let (mut at, mut copied) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        let rest = bytes.get(at..).unwrap_or_default();
        let length = if rest.starts_with(PLACEHOLDER.as_bytes()) {
            PLACEHOLDER.len()
        } else if byte.is_ascii_alphanumeric() {
            let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
            if !rest.iter().take(length).any(u8::is_ascii_digit) {
                at += length;
                continue;
            }
            length
        } else {
            at += 1;
            continue;
        };
        out.push_str(text.get(copied..at).unwrap_or_default());
        hole(out);
        at += length;
        copied = at;
    }
    out.push_str(text.get(copied..).unwrap_or_default());
}

// === JSON ===

/// Keys whose text is what a record has to say.
const MESSAGES: [&str; 14] = [
    "message",
    "msg",
    "Message",
    "MESSAGE",
    "Msg",
    "@m",
    "@mt",
    "MessageTemplate",
    "RenderedMessage",
    "log",
    "event",
    "text",
    "short_message",
    "textPayload",
];

/// Adds the shape of a JSON object, and of text after it; false, and nothing added, where it is none. Broken JSON has the
/// shape of what there is of it.
fn json(text: &str, out: &mut String) -> bool {
    let is_json = text.trim_start().strip_prefix('{').is_some_and(|rest| rest.trim_start().starts_with('"'));
    if is_json {
        Json { text, at: 0, depth: 0, is_value: false, is_message: false }.write(out);
    }
    is_json
}

struct Json<'a> {
    text: &'a str,
    at: usize,
    /// How many objects are open.
    depth: usize,
    /// Whether a colon was read and its value was not.
    is_value: bool,
    /// Whether the last key is that of a message.
    is_message: bool,
}

impl Json<'_> {
    fn rest(&self) -> &[u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn write(mut self, out: &mut String) {
        while let Some(byte) = self.rest().first().copied() {
            match byte {
                b'{' if !self.rest().starts_with(PLACEHOLDER.as_bytes()) && self.depth < DEPTH_MAX => {
                    self.depth += 1;
                    self.is_value = false;
                    self.copy(out);
                }
                b'}' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.is_value = false;
                    self.copy(out);
                    if self.depth == 0 {
                        break;
                    }
                }
                b':' => {
                    self.is_value = true;
                    self.copy(out);
                }
                b',' => {
                    self.is_value = false;
                    self.copy(out);
                }
                b' ' | b'\t' | b'\n' | b'\r' => self.copy(out),
                b'"' => self.string(out),
                b'[' => self.array(out),
                _ => self.scalar(out),
            }
        }
        words(self.text.get(self.at..).unwrap_or_default(), out);
    }

    /// Copies one ASCII character.
    fn copy(&mut self, out: &mut String) {
        out.push_str(self.text.get(self.at..self.at + 1).unwrap_or_default());
        self.at += 1;
    }

    /// The end of the string that starts at a place, after its quote; the end of the text where it has none.
    fn string_end(&self, from: usize) -> usize {
        let bytes = self.text.as_bytes();
        let mut at = from + 1;
        while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
            at += found;
            match bytes.get(at) {
                Some(b'"') => return at + 1,
                _ => at += 2,
            }
        }
        bytes.len()
    }

    fn string(&mut self, out: &mut String) {
        let end = self.string_end(self.at);
        let whole = self.text.get(self.at..end).unwrap_or_default();
        let is_key = !self.is_value;
        if is_key {
            let key = whole.trim_matches('"');
            self.is_message = MESSAGES.contains(&key);
        }
        if is_key || self.is_message {
            words(whole, out);
        } else {
            out.push('"');
            hole(out);
            if whole.len() > 1 && whole.ends_with('"') {
                out.push('"');
            }
        }
        self.is_value = false;
        self.at = end;
    }

    /// An array is one value, however long it is.
    fn array(&mut self, out: &mut String) {
        let bytes = self.text.as_bytes();
        let mut depth = 0usize;
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b'"' => {
                    self.at = self.string_end(self.at);
                    continue;
                }
                b'[' => depth += 1,
                b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                break;
            }
        }
        out.push('[');
        out.push_str(HOLE);
        if depth == 0 {
            out.push(']');
        }
        self.is_value = false;
    }

    /// A number, a word, or what its mask left of it.
    fn scalar(&mut self, out: &mut String) {
        let start = self.at;
        while let Some(byte) = self.rest().first() {
            match byte {
                b'{' if self.rest().starts_with(PLACEHOLDER.as_bytes()) => self.at += PLACEHOLDER.len(),
                b',' | b'}' | b'"' | b'[' | b' ' | b'\t' | b'\n' | b'\r' if self.at > start => break,
                _ => self.at += 1,
            }
        }
        hole(out);
        self.is_value = false;
    }
}

// === logfmt ===

/// Adds the shape of a line of `key=value` pairs; false, and nothing added, where it is none: every word must be a pair, or
/// one of them be a message.
fn logfmt(text: &str, out: &mut String) -> bool {
    let mut is_logfmt = false;
    let (mut n_pairs, mut n_words) = (0, 0);
    let mut at = 0;
    while at < text.len() {
        let pair = Pair::at(text, at);
        n_words += 1;
        n_pairs += usize::from(pair.key > at);
        if at == 0 && n_pairs == 0 {
            return false;
        }
        is_logfmt |= pair.is_message(text, at);
        at = pair.end + 1;
    }
    if n_pairs < 2 || !(is_logfmt || n_pairs == n_words) {
        return false;
    }
    at = 0;
    while at < text.len() {
        let pair = Pair::at(text, at);
        let value = text.get(pair.key..pair.end).unwrap_or_default();
        words(text.get(at..pair.key).unwrap_or_default(), out);
        if pair.key == at || pair.is_message(text, at) {
            words(value, out);
        } else {
            hole(out);
        }
        if pair.end < text.len() {
            out.push(' ');
        }
        at = pair.end + 1;
    }
    true
}

/// A word of a line, up to a space outside of quotes.
struct Pair {
    /// Where the value starts, after the `=`; where the word starts if it is no pair.
    key: usize,
    /// Where the word ends.
    end: usize,
}

impl Pair {
    fn at(text: &str, from: usize) -> Pair {
        let bytes = text.as_bytes();
        let is_key =
            |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'@' | b'/');
        let length = bytes.iter().skip(from).take_while(is_key).count();
        let mut at = from + length;
        let mut key = from;
        if length > 0 && bytes.get(at) == Some(&b'=') {
            at += 1;
            key = at;
            if bytes.get(at) == Some(&b'"') {
                at += 1;
                while let Some(byte) = bytes.get(at) {
                    match byte {
                        b'"' => break,
                        b'\\' => at += 2,
                        _ => at += 1,
                    }
                }
            }
        }
        let rest = bytes.get(at..).unwrap_or_default();
        let end = at.min(bytes.len()) + memchr::memchr(b' ', rest).unwrap_or(rest.len());
        Pair { key, end }
    }

    fn is_message(&self, text: &str, from: usize) -> bool {
        let key = text.get(from..self.key.saturating_sub(1).max(from)).unwrap_or_default();
        matches!(key, "msg" | "message" | "Msg" | "event")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::bodies::Splitter;

    fn check(line: &str, shape: &str) {
        let mut splitter = Splitter::default();
        let mut out = String::from("what was there");
        write(splitter.split(line).0, &mut out);
        assert_eq!(out, shape, "{line}");
    }

    #[test]
    fn values_of_text_are_holes() {
        check("GET /orders/4711 for u-42 took 8.26ms", "GET /orders/<_> for u-<_> took <_>ms");
        check("GET /orders/4711 for u-42 took 8ms", "GET /orders/<_> for u-<_> took <_>ms");
        check("2026-11-30T12:00:00.123Z  peer 10.0.0.1:80 up", "<_>Z  peer <_> up");
        check("id 2f91282e-beef-4c1d-abcd-012345678901 x", "id <_> x");
        check("a 1, 2 and {} or 3", "a <_>, <_> and <_> or <_>");
        check("list 1,2,3", "list <_>");
        check("nothing to see", "nothing to see");
        check("", "");
        check("é 1 \u{0} ü2", "é <_> \u{0} ü<_>");
        check("/carts/5/add/7", "/carts/<_>/add/<_>");
    }

    #[test]
    fn of_json_the_message_and_the_keys_are_kept() {
        check(
            r#"{"level":"info","msg":"user 7 logged in","user":"bob","ms":1.5,"ok":true,"tags":["a",[1]]}"#,
            r#"{"level":"<_>","msg":"user <_> logged in","user":"<_>","ms":<_>,"ok":<_>,"tags":[<_>]}"#,
        );
        check(r#"{"fields":{"message":"hi bob"},"x":null}"#, r#"{"fields":{"message":"hi bob"},"x":<_>}"#);
        check(r#"{ "a" : -5e3 , "b":"\"}" } tail 5"#, r#"{ "a" : <_> , "b":"<_>" } tail <_>"#);
        check(r#"{"msg":"cut o"#, r#"{"msg":"cut o"#);
        check(r#"{"a":"cut o"#, r#"{"a":"<_>"#);
        check(r#"{"a":[1,"#, r#"{"a":[<_>"#);
        check(r#"{"a":{},"b":1}"#, r#"{"a":<_>,"b":<_>}"#);
        check("{hello} 5", "{hello} <_>");
        let deep = format!("{}1", r#"{"a":"#.repeat(100));
        let mut out = String::new();
        write(&deep, &mut out);
        assert!(out.len() <= SHAPE_BYTES + HOLE.len());
    }

    #[test]
    fn of_logfmt_the_message_and_the_keys_are_kept() {
        check(
            r#"ts=2026-11-30 level=info msg="user 7 logged in" user=bob err="a \" b""#,
            r#"ts=<_> level=<_> msg="user <_> logged in" user=<_> err=<_>"#,
        );
        check("a=1 b=x", "a=<_> b=<_>");
        check("level=warn msg=retry try again", "level=<_> msg=retry try again");
        check("throttled partition=p7 backing off", "throttled partition=<_> backing off");
        check("took=5 and more", "took=<_> and more");
        check(r#"a=1 msg="cut o"#, r#"a=<_> msg="cut o"#);
        check(r#"a=1 b="\"#, r#"a=<_> b=<_>"#);
    }

    #[test]
    fn shapes_are_short() {
        let mut out = String::new();
        for line in ["word ".repeat(300_000), "1 ".repeat(500_000), "é".repeat(700), "<_> ".repeat(500)] {
            write(&line, &mut out);
            assert!(out.len() <= SHAPE_BYTES + HOLE.len() && out.ends_with(HOLE), "{} {out}", out.len());
        }
    }

    #[test]
    fn any_text_has_a_shape_that_stays() {
        let alphabet: Vec<char> = "a1{}[]\":,=\\ .msg_ü\u{0}<>".chars().collect();
        let mut state = 1u64;
        let (mut first, mut again) = (String::new(), String::new());
        for _ in 0..50_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut bits = state >> 20;
            let mut line = String::from(if bits & 1 == 0 { "{\"" } else { "" });
            for _ in 0..(bits % 14) {
                bits = bits.wrapping_mul(31).wrapping_add(7);
                line.extend(alphabet.get((bits >> 5) as usize % alphabet.len()));
            }
            write(&line, &mut first);
            write(&line, &mut again);
            assert_eq!(first, again);
            assert!(!first.contains("<_><_>") || line.contains("<_>"), "{line} {first}");
        }
    }
}
