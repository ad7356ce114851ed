//! Lines of `key=value` pairs.

use super::json::{paired, utf16_unit};

/// A pair of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair<'a> {
    pub key: &'a str,
    pub value: &'a str,
    /// Whether `value` stood in quotes and has escapes.
    pub escaped: bool,
}

impl<'a> Pair<'a> {
    /// Whether its value has characters that are broken.
    pub(crate) fn is_broken(self) -> bool {
        self.value.contains(char::REPLACEMENT_CHARACTER)
    }

    /// The value, using `scratch` where escapes or broken characters must be replaced; these by a space.
    pub(crate) fn text<'s>(self, scratch: &'s mut String) -> &'s str
    where
        'a: 's,
    {
        if !self.escaped && !self.value.contains(char::REPLACEMENT_CHARACTER) {
            return self.value;
        }
        scratch.clear();
        match self.escaped {
            true => _ = unescape(self.value, scratch),
            false => scratch.push_str(self.value),
        }
        if scratch.contains(char::REPLACEMENT_CHARACTER) {
            *scratch = scratch.replace(char::REPLACEMENT_CHARACTER, " ");
        }
        scratch
    }
}

/// Appends a text with its escapes replaced; whether all of them are escapes. Half of a pair is a broken character.
fn unescape(text: &str, out: &mut String) -> bool {
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
            Some(byte @ (b'"' | b'\\' | b'/' | b'\'')) => Some((char::from(*byte), 1)),
            Some(b'u') => utf16_unit(escaped).map(|unit| code_point(unit, escaped)),
            _ => None,
        };
        let Some((char, length)) = found else { return false };
        out.push(char);
        rest = escaped.get(length..).unwrap_or_default();
    }
    out.push_str(rest);
    true
}

fn code_point(unit: u32, escaped: &str) -> (char, usize) {
    let next = escaped.get(5..).and_then(|rest| rest.strip_prefix('\\')).filter(|rest| rest.starts_with('u'));
    match (char::from_u32(unit), next.and_then(utf16_unit)) {
        (Some(char), _) => (char, 5),
        (None, Some(low @ 0xdc00..0xe000)) if unit < 0xdc00 => (paired(unit, low), 11),
        (None, _) => (char::REPLACEMENT_CHARACTER, 5),
    }
}

/// Where a line is wrong, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub at: usize,
    pub reason: &'static str,
}

/// The pairs of a line in order. After a failure it goes on behind the next space.
#[derive(Clone, Debug)]
pub(crate) struct Pairs<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Pairs<'a> {
    pub(crate) fn new(line: &'a str) -> Pairs<'a> {
        Pairs { line, at: 0 }
    }

    fn byte(&self) -> Option<u8> {
        self.line.as_bytes().get(self.at).copied()
    }

    fn slice(&self, start: usize) -> &'a str {
        self.line.get(start..self.at).unwrap_or_default()
    }

    fn skip_while(&mut self, belongs: impl Fn(u8) -> bool) {
        let rest = self.line.as_bytes().get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(|byte| !belongs(*byte)).unwrap_or(rest.len());
    }

    fn fail(&mut self, reason: &'static str) -> Failure {
        let at = self.at + 1;
        self.skip_while(|byte| byte > b' ');
        Failure { at, reason }
    }

    fn pair(&mut self) -> Result<Pair<'a>, Failure> {
        let start = self.at;
        self.skip_while(|byte| byte > b' ' && byte != b'=' && byte != b'"');
        let key = self.slice(start);
        match self.byte() {
            byte if byte != Some(b'"') && key.contains(char::REPLACEMENT_CHARACTER) => {
                return Err(self.fail("invalid key"));
            }
            Some(b'=') if !key.is_empty() => self.at += 1,
            Some(b'=') => return Err(self.fail("unexpected '='")),
            Some(b'"') => return Err(self.fail("unexpected '\"'")),
            _ => return Ok(Pair { key, value: "", escaped: false }),
        }
        if self.byte() == Some(b'"') {
            return self.quoted(key);
        }
        let start = self.at;
        self.skip_while(|byte| byte > b' ' && byte != b'=' && byte != b'"');
        let value = self.slice(start);
        match self.byte() {
            Some(b'=') => Err(self.fail("unexpected '='")),
            Some(b'"') => Err(self.fail("unexpected '\"'")),
            _ => Ok(Pair { key, value, escaped: false }),
        }
    }

    fn quoted(&mut self, key: &'a str) -> Result<Pair<'a>, Failure> {
        let start = self.at + 1;
        let mut end = start;
        let mut escaped = false;
        loop {
            let rest = self.line.as_bytes().get(end..).unwrap_or_default();
            let Some(found) = memchr::memchr2(b'"', b'\\', rest) else {
                let at = self.line.len() + 1;
                self.at = self.line.len();
                return Err(Failure { at, reason: "unterminated quoted value" });
            };
            end += found;
            if rest.get(found) == Some(&b'"') {
                break;
            }
            escaped = true;
            end += 2;
        }
        self.at = end + 1;
        let value = self.line.get(start..end).unwrap_or_default();
        if escaped && !unescape(value, &mut String::new()) {
            return Err(Failure { at: self.at + 1, reason: "invalid quoted value" });
        }
        Ok(Pair { key, value, escaped })
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<Pair<'a>, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        self.skip_while(|byte| byte <= b' ');
        (self.at < self.line.len()).then(|| self.pair())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(line: &str) -> Vec<String> {
        Pairs::new(line)
            .map(|pair| match pair {
                Ok(pair) => format!("{}={}", pair.key, pair.text(&mut String::new())),
                Err(failure) => format!("{} at {}", failure.reason, failure.at),
            })
            .collect()
    }

    #[test]
    fn pairs_in_order() {
        assert_eq!(pairs(r#"a=1 b="x \"y\" z" c d= "#), ["a=1", r#"b=x "y" z"#, "c=", "d="]);
        assert_eq!(pairs(r#"a=1 b="unterminated"#), ["a=1", "unterminated quoted value at 20"]);
        assert_eq!(
            pairs(r#"=x a=b=c d"e f=1"#),
            ["unexpected '=' at 1", "unexpected '=' at 7", "unexpected '\"' at 11", "f=1"]
        );
        assert_eq!(pairs("größe=5 b=ü"), ["größe=5", "b=ü"]);
        assert!(pairs("  ").is_empty());
        assert_eq!(pairs("a=\"x\\"), ["unterminated quoted value at 6"]);
        assert_eq!(pairs(r#"a="\u00e9\'" b="\q" c=1"#), ["a=é'", "invalid quoted value at 20", "c=1"]);
        assert_eq!(pairs("a=x\u{fffd}y \u{fffd}=1 b=2"), ["a=x y", "invalid key at 12", "b=2"]);
    }
}
