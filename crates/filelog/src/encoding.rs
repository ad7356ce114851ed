//! Encodings of log files: bytes to text, and where lines end in them.

use crate::value::Value;

/// How a file's text is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8; each byte that is none becomes U+FFFD, as in the Collector.
    Utf8,
    /// UTF-16, little-endian.
    Utf16Le,
    /// UTF-16, big-endian.
    Utf16Be,
    /// ISO 8859-1: each byte is the character of that number.
    Latin1,
    /// Not text: bytes are kept as they are and not split into lines.
    Nop,
    /// Another one in which a byte of value 10 always ends a line.
    Legacy(&'static encoding_rs::Encoding),
}

impl Encoding {
    /// The encoding of a name as the Collector has it; none if it is not known here.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Encoding> {
        let name = name.to_ascii_lowercase();
        Some(match name.as_str() {
            "" | "utf-8" | "utf8" | "ascii" | "us-ascii" => Encoding::Utf8,
            "utf-16" | "utf16" | "utf-16le" | "utf16le" => Encoding::Utf16Le,
            "utf-16be" | "utf16be" => Encoding::Utf16Be,
            "iso-8859-1" | "iso8859-1" | "latin1" | "l1" => Encoding::Latin1,
            "nop" => Encoding::Nop,
            other => {
                let known = encoding_rs::Encoding::for_label(other.as_bytes())?;
                let stateful =
                    [encoding_rs::ISO_2022_JP, encoding_rs::REPLACEMENT, encoding_rs::X_USER_DEFINED];
                let unicode = [encoding_rs::UTF_8, encoding_rs::UTF_16LE, encoding_rs::UTF_16BE];
                if stateful.contains(&known) || unicode.contains(&known) {
                    return None;
                }
                Encoding::Legacy(known)
            }
        })
    }

    /// The bytes of one unit: positions in a file are multiples of it.
    #[must_use]
    pub fn unit_bytes(self) -> usize {
        if matches!(self, Encoding::Utf16Le | Encoding::Utf16Be) { 2 } else { 1 }
    }

    /// Where the next newline begins.
    #[must_use]
    pub fn newline(self, data: &[u8]) -> Option<usize> {
        match self {
            Encoding::Utf16Le => unit(data, [b'\n', 0]),
            Encoding::Utf16Be => unit(data, [0, b'\n']),
            _ => memchr::memchr(b'\n', data),
        }
    }

    /// The line without a carriage return at its end.
    #[must_use]
    pub fn without_return(self, line: &[u8]) -> &[u8] {
        let end: &[u8] = match self {
            Encoding::Utf16Le => b"\r\0",
            Encoding::Utf16Be => b"\0\r",
            _ => b"\r",
        };
        line.strip_suffix(end).unwrap_or(line)
    }

    /// The longest prefix of at most so many bytes that does not cut a character in two; never empty.
    #[must_use]
    pub fn cut(self, data: &[u8], bytes_max: usize) -> usize {
        let most = bytes_max.min(data.len());
        match self {
            Encoding::Utf8 => {
                let is_inside = |at: usize| data.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
                let start = (0..4).map(|back| most.saturating_sub(back)).find(|at| !is_inside(*at));
                start.filter(|at| *at > 0).unwrap_or(most)
            }
            Encoding::Utf16Le | Encoding::Utf16Be => (most & !1).max(most.min(2)),
            Encoding::Latin1 | Encoding::Nop | Encoding::Legacy(_) => most,
        }
    }

    /// The text of some bytes; bytes where this is no text encoding.
    #[must_use]
    pub fn decode(self, bytes: &[u8]) -> Value {
        Value::Str(match self {
            Encoding::Utf8 => utf8(bytes),
            Encoding::Utf16Le | Encoding::Utf16Be => self.with_positions(bytes).0,
            Encoding::Latin1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
            Encoding::Nop => return Value::Bytes(bytes.to_vec()),
            Encoding::Legacy(encoding) => encoding.decode_without_bom_handling(bytes).0.into_owned(),
        })
    }

    /// The text of some bytes, and for each byte of the text and its end where it stood. None where that is not known.
    #[must_use]
    pub fn decode_with_positions(self, bytes: &[u8]) -> Option<(String, Vec<usize>)> {
        match self {
            Encoding::Utf16Le | Encoding::Utf16Be => Some(self.with_positions(bytes)),
            Encoding::Latin1 => {
                let characters = bytes.iter().map(|byte| char::from(*byte)).enumerate();
                Some(collect(characters, bytes.len()))
            }
            Encoding::Utf8 | Encoding::Nop | Encoding::Legacy(_) => None,
        }
    }

    fn with_positions(self, bytes: &[u8]) -> (String, Vec<usize>) {
        let (pairs, odd) = bytes.as_chunks::<2>();
        let units = pairs.iter().map(|pair| match self {
            Encoding::Utf16Be => u16::from_be_bytes(*pair),
            _ => u16::from_le_bytes(*pair),
        });
        let mut at = 0;
        let characters = char::decode_utf16(units).map(|decoded| {
            let character = decoded.unwrap_or(char::REPLACEMENT_CHARACTER);
            let start = at;
            at += character.len_utf16() * 2;
            (start, character)
        });
        let (mut text, mut positions) = collect(characters, bytes.len() - odd.len());
        if !odd.is_empty() {
            positions.extend([bytes.len() - 1; 2]);
            positions.push(bytes.len());
            text.push(char::REPLACEMENT_CHARACTER);
        }
        (text, positions)
    }
}

fn collect(characters: impl Iterator<Item = (usize, char)>, end: usize) -> (String, Vec<usize>) {
    let (mut text, mut positions) = (String::new(), Vec::new());
    for (start, character) in characters {
        positions.extend(std::iter::repeat_n(start, character.len_utf8()));
        text.push(character);
    }
    positions.push(end);
    (text, positions)
}

fn unit(data: &[u8], wanted: [u8; 2]) -> Option<usize> {
    let (pairs, _) = data.as_chunks::<2>();
    pairs.iter().position(|pair| *pair == wanted).map(|at| at * 2)
}

fn utf8(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(name: &str, bytes: &[u8]) -> String {
        let encoding = Encoding::from_name(name).expect("known");
        encoding.decode(bytes).scalar().expect("text")
    }

    #[test]
    fn encodings_decode() {
        assert_eq!(decode("utf-8", b"a\xffb\xe2\x82c\0"), "a\u{fffd}b\u{fffd}\u{fffd}c\0");
        assert_eq!(decode("utf-16le", b"a\0\xac\x20=\xd8\0\xde"), "a€😀");
        assert_eq!(decode("utf-16be", b"\0a\x20\xac\xd8\x00"), "a€\u{fffd}");
        assert_eq!(decode("utf-16le", b"a\0b"), "a\u{fffd}");
        assert_eq!(decode("latin1", b"\xe9\x80"), "é\u{80}");
        assert_eq!(decode("big5", b"\xa4\xa4"), "中");
        assert_eq!(Encoding::Nop.decode(b"\xff"), Value::Bytes(vec![0xff]));
        for unknown in ["iso-2022-jp", "utf8-raw", "klingon"] {
            assert_eq!(Encoding::from_name(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn newlines_are_units_of_the_encoding() {
        assert_eq!(Encoding::Utf16Le.newline(b"\x0a\x0a\0\x0a\x0a\0"), Some(4));
        assert_eq!(Encoding::Utf16Be.newline(b"\x0a\0\0\x0a"), Some(2));
        assert_eq!(Encoding::Utf8.newline(b"ab\n"), Some(2));
        assert_eq!(Encoding::Utf16Le.without_return(b"a\0\r\0"), b"a\0");
    }

    #[test]
    fn cuts_keep_characters_whole() {
        let text = "aé€😀".as_bytes();
        let cuts: Vec<usize> = (1..=text.len()).map(|most| Encoding::Utf8.cut(text, most)).collect();
        assert_eq!(cuts, [1, 1, 3, 3, 3, 6, 6, 6, 6, 10]);
        assert_eq!(Encoding::Utf8.cut(b"\x80\x80\x80\x80\x80", 3), 3, "what is no text is cut anywhere");
        assert_eq!(Encoding::Utf16Le.cut(b"a\0b\0", 3), 2);
    }

    #[test]
    fn positions_lead_back_to_bytes() {
        let (text, positions) = Encoding::Utf16Le.decode_with_positions(b"\xac\x20a\0x").expect("known");
        assert_eq!(text, "€a\u{fffd}");
        assert_eq!(positions, [0, 0, 0, 2, 4, 4, 4, 5]);
    }
}
