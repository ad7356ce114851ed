//! JSON as it stands in lines: walked over once, without a tree of it.
//!
//! What is found before a mistake is delivered; only what is walked over is checked.

/// The deepest nesting.
const DEPTH_MAX: usize = 128;

/// A value, as its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// What is between the quotes.
    Text(&'a str),
    /// A number, `true` or `false`.
    Plain(&'a str),
    Null,
    /// With its brackets.
    Array(&'a str),
    /// With its braces.
    Object(&'a str),
}

impl<'a> Value<'a> {
    /// The text that the value says, using `scratch` where escapes must be replaced.
    pub(crate) fn text<'s>(self, scratch: &'s mut String) -> &'s str
    where
        'a: 's,
    {
        match self {
            Value::Null => "",
            Value::Plain(text) | Value::Array(text) | Value::Object(text) => text,
            Value::Text(text) => spoken(text, scratch),
        }
    }
}

/// What a text between quotes says: nothing where it has an escape that is none. What replaces broken characters is a space.
pub(crate) fn spoken<'s>(text: &'s str, scratch: &'s mut String) -> &'s str {
    let is_plain = memchr::memchr(b'\\', text.as_bytes()).is_none();
    if is_plain && !text.contains(char::REPLACEMENT_CHARACTER) {
        return text;
    }
    scratch.clear();
    if !unescape(text, scratch) {
        scratch.clear();
    }
    if scratch.contains(char::REPLACEMENT_CHARACTER) {
        *scratch = scratch.replace(char::REPLACEMENT_CHARACTER, " ");
    }
    scratch
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    On,
    Enough,
}

pub(crate) type Failure = &'static str;

/// What is wrong with a text, in Loki's words: people have them in their queries.
pub(crate) const MALFORMED: Failure = "Malformed JSON error";
const NO_OBJECT: Failure = "Value looks like object, but can't find closing '}' symbol";
const NO_ARRAY: Failure = "Value is array, but can't find closing ']' symbol";
const NO_TEXT: Failure = "Value is string, but can't find closing '\"' symbol";
const NO_VALUE: Failure = "Unknown value type";
pub(crate) const NO_ESCAPE: Failure = "Encountered an invalid escape sequence in a string";

#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Reader<'a> {
        Reader { text, at: 0 }
    }

    /// From a byte on.
    pub(crate) fn at(text: &'a str, at: usize) -> Reader<'a> {
        Reader { text, at }
    }

    /// The byte that is read next.
    pub(crate) fn place(&self) -> usize {
        self.at
    }

    pub(crate) fn advance(&mut self) {
        self.at += 1;
    }

    /// The next byte that is no space.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    fn take(&mut self, wanted: u8) -> bool {
        let hit = self.peek() == Some(wanted);
        self.at += usize::from(hit);
        hit
    }

    fn slice(&self, from: usize, to: usize) -> &'a str {
        self.text.get(from..to).unwrap_or_default()
    }

    /// What is between the quotes of the text in hand.
    pub(crate) fn string(&mut self) -> Result<&'a str, Failure> {
        if !self.take(b'"') {
            return Err(if self.peek().is_none() { MALFORMED } else { NO_OBJECT });
        }
        let start = self.at;
        let bytes = self.text.as_bytes();
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let found = memchr::memchr2(b'"', b'\\', rest).ok_or(NO_TEXT)?;
            self.at += found;
            if bytes.get(self.at) == Some(&b'"') {
                self.at += 1;
                return Ok(self.slice(start, self.at - 1));
            }
            self.at += 2;
        }
    }

    /// The value in hand; arrays and objects are skipped.
    pub(crate) fn value(&mut self) -> Result<Value<'a>, Failure> {
        match self.peek() {
            None => Err(MALFORMED),
            Some(b'"') => self.string().map(Value::Text),
            Some(open @ (b'{' | b'[')) => {
                let start = self.at;
                self.skip()?;
                let text = self.slice(start, self.at);
                Ok(if open == b'{' { Value::Object(text) } else { Value::Array(text) })
            }
            Some(_) => {
                let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
                let length = rest.iter().position(ends).unwrap_or(rest.len());
                let text = self.slice(self.at, self.at + length);
                self.at += length;
                match text.as_bytes().first() {
                    Some(b'-' | b'0'..=b'9') => Ok(Value::Plain(text)),
                    _ if text == "null" => Ok(Value::Null),
                    _ if matches!(text, "true" | "false") => Ok(Value::Plain(text)),
                    _ => Err(NO_VALUE),
                }
            }
        }
    }

    /// Skips an array or an object by counting its kind of brackets.
    pub(crate) fn skip(&mut self) -> Result<(), Failure> {
        let bytes = self.text.as_bytes();
        let (opens, closes, failure) = match bytes.get(self.at) {
            Some(b'{') => (b'{', b'}', NO_OBJECT),
            _ => (b'[', b']', NO_ARRAY),
        };
        let mut open = 0usize;
        while let Some(byte) = bytes.get(self.at) {
            if *byte == b'"' {
                self.string().map_err(|_| failure)?;
                continue;
            }
            open += usize::from(*byte == opens);
            open = open.saturating_sub(usize::from(*byte == closes));
            self.at += 1;
            if open == 0 {
                return Ok(());
            }
        }
        Err(failure)
    }

    /// Calls `visit` for each member of the object in hand: with its key as written and this reader in front of the
    /// value, which `visit` must read.
    pub(crate) fn members(
        &mut self,
        mut visit: impl FnMut(&mut Self, &'a str) -> Result<Flow, Failure>,
    ) -> Result<Flow, Failure> {
        if !self.take(b'{') {
            return Err(NO_OBJECT);
        }
        loop {
            // A comma may stand before the end.
            if self.take(b'}') {
                return Ok(Flow::On);
            }
            let key = self.string().map_err(|reason| if reason == NO_TEXT { MALFORMED } else { reason })?;
            if key.contains('\\') && !unescape(key, &mut String::new()) {
                return Err(NO_ESCAPE);
            }
            if !self.take(b':') {
                return Err(MALFORMED);
            }
            if visit(self, key)? == Flow::Enough {
                return Ok(Flow::Enough);
            }
            if self.take(b'}') {
                return Ok(Flow::On);
            }
            if !self.take(b',') {
                return Err(if self.peek().is_none() { NO_ARRAY } else { NO_OBJECT });
            }
        }
    }

    /// Calls `found` for each member that is no object: of the object in hand and of all in it. The path is the keys
    /// joined by underscores, as names of labels. Objects at paths that `enters` does not want are skipped.
    pub(crate) fn flatten(
        &mut self,
        path: &mut String,
        enters: &impl Fn(&str) -> bool,
        found: &mut impl FnMut(&str, Value<'a>) -> Flow,
    ) -> Result<Flow, Failure> {
        // Where the outermost object ends all in it do; where as many braces close as open it does, but for braces in texts.
        let count = |brace: u8| memchr::memchr_iter(brace, self.text.as_bytes()).count();
        let is_cut = count(b'{') != count(b'}') && {
            let mut ahead = *self;
            ahead.peek();
            ahead.skip().is_err()
        };
        self.flatten_at(path, 0, is_cut, enters, found)
    }

    fn flatten_at(
        &mut self,
        path: &mut String,
        depth: usize,
        is_cut: bool,
        enters: &impl Fn(&str) -> bool,
        found: &mut impl FnMut(&str, Value<'a>) -> Flow,
    ) -> Result<Flow, Failure> {
        if depth > DEPTH_MAX {
            return Err("JSON is nested too deeply");
        }
        self.members(|reader, key| {
            let length = path.len();
            push_name(path, key);
            let flow = if reader.peek() == Some(b'{') && (path.is_empty() || enters(path)) {
                // An object that does not end has no members.
                if is_cut {
                    let mut ahead = *reader;
                    ahead.skip()?;
                }
                reader.flatten_at(path, depth + 1, is_cut, enters, found)?
            } else {
                match reader.value()? {
                    Value::Object(_) => Flow::On,
                    _ if path.is_empty() => Flow::On,
                    value => found(path, value),
                }
            };
            path.truncate(length);
            Ok(flow)
        })
    }

    /// Calls `found` for each member of the object in hand.
    pub(crate) fn top(&mut self, mut found: impl FnMut(&'a str, Value<'a>)) -> Result<(), Failure> {
        self.members(|reader, key| {
            found(key, reader.value()?);
            Ok(Flow::On)
        })
        .map(|_| ())
    }

    /// Goes to the member of a key; whether there is one.
    pub(crate) fn enter_key(&mut self, wanted: &str) -> Result<bool, Failure> {
        if self.peek() != Some(b'{') {
            return Ok(false);
        }
        let mut scratch = String::new();
        let flow = self.members(|reader, key| {
            if key_text(key, &mut scratch) == wanted {
                return Ok(Flow::Enough);
            }
            reader.value()?;
            Ok(Flow::On)
        })?;
        Ok(flow == Flow::Enough)
    }

    /// Goes to a place of the array in hand; whether there is one.
    pub(crate) fn enter_index(&mut self, wanted: usize) -> Result<bool, Failure> {
        if !self.take(b'[') {
            return Ok(false);
        }
        for _ in 0..wanted {
            if self.peek() == Some(b']') {
                return Ok(false);
            }
            self.value()?;
            if !self.take(b',') {
                return Ok(false);
            }
        }
        Ok(!matches!(self.peek(), Some(b']') | None))
    }
}

/// A key, whose escapes are known to be good.
pub(crate) fn key_text<'s>(key: &'s str, scratch: &'s mut String) -> &'s str {
    if !key.contains('\\') {
        return key;
    }
    scratch.clear();
    unescape(key, scratch);
    scratch
}

/// Appends a key as a part of a name: an underscore for what a name does not have, and one before it if it follows
/// another part or would begin with a digit.
pub(crate) fn push_name(path: &mut String, key: &str) {
    let mut scratch = String::new();
    let key = key_text(key, &mut scratch).trim();
    if key.is_empty() {
        return;
    }
    if !path.is_empty() || key.as_bytes().first().is_some_and(u8::is_ascii_digit) {
        path.push('_');
    }
    push_sanitized(path, key);
}

/// Appends a text with an underscore for each character that a name does not have.
pub(crate) fn push_sanitized(out: &mut String, text: &str) {
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        out.push_str(text);
    } else {
        let fits = |char: char| char.is_ascii_alphanumeric() || char == '_';
        out.extend(text.chars().map(|char| if fits(char) { char } else { '_' }));
    }
}

/// Appends a text with its escapes replaced; whether all of them are escapes. Half of a pair is none.
pub(crate) fn unescape(text: &str, out: &mut String) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(rest.get(..at).unwrap_or_default());
        let escaped = rest.get(at + 1..).unwrap_or_default();
        let found = match escaped.as_bytes().first() {
            Some(b'n') => Some(('\n', 1)),
            Some(b't') => Some(('\t', 1)),
            Some(b'r') => Some(('\r', 1)),
            Some(b'b') => Some(('\u{8}', 1)),
            Some(b'f') => Some(('\u{c}', 1)),
            Some(byte @ (b'"' | b'\\' | b'/')) => Some((char::from(*byte), 1)),
            Some(b'u') => code_point(escaped),
            _ => None,
        };
        let Some((char, length)) = found else { return false };
        out.push(char);
        rest = escaped.get(length..).unwrap_or_default();
    }
    out.push_str(rest);
    true
}

/// The number of `u00e9`.
pub(crate) fn utf16_unit(escaped: &str) -> Option<u32> {
    let digits = escaped.get(1..5)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

/// The character of two halves.
pub(crate) fn paired(high: u32, low: u32) -> char {
    let pair = 0x10000 + (high.wrapping_sub(0xd800) << 10) + low.wrapping_sub(0xdc00);
    char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// `u00e9`, or the two halves of a pair.
fn code_point(escaped: &str) -> Option<(char, usize)> {
    let unit = utf16_unit(escaped)?;
    if let Some(char) = char::from_u32(unit) {
        return Some((char, 5));
    }
    // Whatever two characters stand between are taken for those of an escape.
    let low = escaped.get(6..).and_then(utf16_unit).filter(|low| *low >= 0xdc00)?;
    Some((paired(unit, low), 11))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(text: &str) -> (Vec<String>, Option<Failure>) {
        let mut found = Vec::new();
        let mut path = String::new();
        let result = Reader::new(text).flatten(&mut path, &|path| path != "skipped", &mut |key, value| {
            found.push(format!("{key}={value:?}"));
            Flow::On
        });
        (found, result.err())
    }

    #[test]
    fn objects_become_names_joined_by_underscores() {
        let (found, failure) = flat(
            r#" {"skipped":{"x":["}"]},"a":{"b-c":1,"2":{}},"3x":"t\"","n":null,"l":[{"x":"]"}],"d.e" : true} rest"#,
        );
        let expected = [
            "a_b_c=Plain(\"1\")",
            "_3x=Text(\"t\\\\\\\"\")",
            "n=Null",
            "l=Array(\"[{\\\"x\\\":\\\"]\\\"}]\")",
            "d_e=Plain(\"true\")",
        ];
        assert_eq!((found, failure), (expected.map(str::to_owned).to_vec(), None));
    }

    #[test]
    fn mistakes_end_the_walk_and_keep_what_was_found() {
        let (found, failure) = flat(r#"{"a":1,"b":x}"#);
        assert_eq!(found.len(), 1);
        assert!(failure.is_some());
        for text in
            ["", "x", "[1]", r#"{"a"}"#, r#"{"a":1"#, r#"{"a":"b"#, r#"{"a":[1}"#, r#"{a:1}"#, "{\"a\\"]
        {
            assert!(flat(text).1.is_some(), "{text}");
        }
        assert!(flat(&(r#"{"a":"#.repeat(10_000))).1.is_some());
    }

    #[test]
    fn an_object_that_does_not_end_has_no_members() {
        for (text, keys) in [
            (r#"{"x":1,"a":{"b":{"c":2}"#, vec!["x"]),
            (r#"{"x":1,"a":{"b":{"c":2}}"#, vec!["x", "a_b_c"]),
            (r#"{"x":"}","a":{"b":2}}"#, vec!["x", "a_b"]),
            (r#"{"x":"}}}","a":{"b":{"c":2}"#, vec!["x"]),
            (r#"{"x":1,"a":{"b":2},"c":3"#, vec!["x", "a_b", "c"]),
        ] {
            let (found, _) = flat(text);
            let found: Vec<&str> = found.iter().filter_map(|field| Some(field.split_once('=')?.0)).collect();
            assert_eq!(found, keys, "{text}");
        }
        assert_eq!(flat(r#"{"x":1,"a":{"b":{"c":2}"#).1, Some(NO_OBJECT));
    }

    #[test]
    fn escapes() {
        let mut out = String::new();
        assert!(unescape(r#"a\n\"\u00e9\ud83d\ude00"#, &mut out));
        assert_eq!(out, "a\n\"é😀");
        for wrong in [r"\q", r"\u12", r"\ud83d", r"\ud83d\u0041", "\\", r"\'"] {
            assert!(!unescape(wrong, &mut out), "{wrong}");
        }
        let mut scratch = String::new();
        assert_eq!(spoken("a\u{fffd}b", &mut scratch), "a b");
        assert_eq!(spoken(r"a\q", &mut scratch), "");
    }
}
