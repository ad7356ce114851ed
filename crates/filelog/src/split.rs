//! Where records end in a file: at newlines, where a pattern begins or ends them, or nowhere.
//!
//! [`LineFormat::step`] looks at the bytes from the end of the last record on and says what comes next. It is pure; who
//! calls it reads more when it says so.

use std::borrow::Cow;
use std::ops::Range;

use regex::bytes::Regex;

use crate::encoding::Encoding;
use crate::value::Value;

/// What tells records apart.
#[derive(Clone, Debug)]
pub enum Splitter {
    /// They are lines.
    Newline,
    /// Each begins with a match.
    Start {
        /// The pattern.
        pattern: Regex,
        /// Whether the match is left out.
        omit: bool,
    },
    /// Each ends with a match.
    End {
        /// The pattern.
        pattern: Regex,
        /// Whether the match is left out.
        omit: bool,
    },
}

/// What becomes of a record that is longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooLong {
    /// It becomes several.
    Split,
    /// Its rest is left out.
    Truncate,
}

/// How a file's bytes become records.
#[derive(Clone, Debug)]
pub struct LineFormat {
    /// The encoding.
    pub encoding: Encoding,
    /// What ends a record.
    pub splitter: Splitter,
    /// The most bytes of a record.
    pub bytes_max: usize,
    /// What becomes of longer ones.
    pub too_long: TooLong,
    /// Whether white space at the start is kept.
    pub keep_leading: bool,
    /// Whether white space at the end is kept.
    pub keep_trailing: bool,
}

/// What comes next in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed to say.
    More,
    /// A record.
    Record {
        /// How many bytes it takes with what ends it.
        advance: usize,
        /// Its bytes without that.
        text: Range<usize>,
    },
    /// Bytes that belong to no record.
    Skip(usize),
}

/// What is known of the bytes after those that are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// The file ends here for now.
    pub is_end: bool,
    /// What is there is a record although nothing ends it: nothing came for long enough.
    pub is_flush: bool,
}

impl LineFormat {
    /// Says what comes next in `data`. `is_skipping` is kept by the caller for each file: whether the rest of a record that
    /// was too long is being left out.
    pub fn step(&self, data: &[u8], ahead: Ahead, is_skipping: &mut bool) -> Step {
        if *is_skipping {
            return self.skip(data, is_skipping);
        }
        let found = match &self.splitter {
            _ if self.encoding == Encoding::Nop => self.whole(data, ahead),
            Splitter::Newline => self.line(data),
            Splitter::Start { pattern, omit } => self.match_start(data, ahead, pattern, *omit),
            Splitter::End { pattern, omit } => self.match_end(data, ahead, pattern, *omit),
        };
        match found {
            Step::Record { advance, text } if text.len() <= self.bytes_max => Step::Record { advance, text },
            Step::More if data.len() < self.bytes_max + self.encoding.unit_bytes() => {
                let is_due = ahead.is_end && ahead.is_flush && !data.is_empty();
                if is_due { Step::Record { advance: data.len(), text: 0..data.len() } } else { Step::More }
            }
            _ => {
                *is_skipping = self.too_long == TooLong::Truncate;
                let cut = self.encoding.cut(data, self.bytes_max);
                Step::Record { advance: cut, text: 0..cut }
            }
        }
    }

    /// The value of a record: decoded, and without white space around it.
    #[must_use]
    pub fn value(&self, record: &[u8]) -> Value {
        let Value::Str(text) = self.encoding.decode(record) else { return self.encoding.decode(record) };
        let white = ['\r', '\n', '\t', ' '];
        let mut kept = text.as_str();
        if !self.keep_leading {
            kept = kept.trim_start_matches(white);
        }
        if !self.keep_trailing {
            kept = kept.trim_end_matches(white);
        }
        if kept.len() == text.len() { Value::Str(text) } else { Value::Str(kept.to_owned()) }
    }

    fn skip(&self, data: &[u8], is_skipping: &mut bool) -> Step {
        let unit = self.encoding.unit_bytes();
        match self.encoding.newline(data) {
            Some(at) => {
                *is_skipping = false;
                Step::Skip(at + unit)
            }
            None if data.len() < unit => Step::More,
            None => Step::Skip(data.len() / unit * unit),
        }
    }

    fn whole(&self, data: &[u8], ahead: Ahead) -> Step {
        match data.len().min(self.bytes_max) {
            0 => Step::More,
            bytes if ahead.is_end || bytes == self.bytes_max => {
                Step::Record { advance: bytes, text: 0..bytes }
            }
            _ => Step::More,
        }
    }

    fn line(&self, data: &[u8]) -> Step {
        let unit = self.encoding.unit_bytes();
        let window = data.get(..self.bytes_max + unit).unwrap_or(data);
        match self.encoding.newline(window) {
            Some(at) => {
                let text = self.encoding.without_return(&data[..at]).len();
                Step::Record { advance: at + unit, text: 0..text }
            }
            None => Step::More,
        }
    }

    fn match_start(&self, data: &[u8], ahead: Ahead, pattern: &Regex, omit: bool) -> Step {
        let text = Searched::new(self.encoding, data);
        let mut matches = pattern.find_iter(&text.bytes);
        let Some(first) = matches.next() else { return Step::More };
        if first.start() > 0 {
            let end = text.position(first.start());
            return Step::Record { advance: end, text: 0..end };
        }
        let from = if omit { text.position(first.end()) } else { 0 };
        if let Some(second) = matches.find(|second| second.start() > first.end()) {
            let end = text.position(second.start());
            return Step::Record { advance: end, text: from..end };
        }
        if ahead.is_end && ahead.is_flush {
            return Step::Record { advance: data.len(), text: from..data.len() };
        }
        Step::More
    }

    fn match_end(&self, data: &[u8], ahead: Ahead, pattern: &Regex, omit: bool) -> Step {
        let text = Searched::new(self.encoding, data);
        let found = pattern.find_iter(&text.bytes).find(|found| found.end() > 0);
        let Some(found) = found else { return Step::More };
        let (start, end) = (text.position(found.start()), text.position(found.end()));
        if end == data.len() && !ahead.is_end {
            // The match may go on in what is not read yet.
            return Step::More;
        }
        Step::Record { advance: end, text: 0..if omit { start } else { end } }
    }
}

/// Text that a pattern is searched in, with the way back to bytes of the file.
struct Searched<'a> {
    bytes: Cow<'a, [u8]>,
    positions: Option<Vec<usize>>,
}

impl Searched<'_> {
    fn new(encoding: Encoding, data: &[u8]) -> Searched<'_> {
        match encoding.decode_with_positions(data) {
            None => Searched { bytes: Cow::Borrowed(data), positions: None },
            Some((text, positions)) => {
                Searched { bytes: Cow::Owned(text.into_bytes()), positions: Some(positions) }
            }
        }
    }

    fn position(&self, at: usize) -> usize {
        self.positions.as_ref().map_or(at, |positions| positions.get(at).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(splitter: Splitter) -> LineFormat {
        LineFormat {
            encoding: Encoding::Utf8,
            splitter,
            bytes_max: 16,
            too_long: TooLong::Split,
            keep_leading: false,
            keep_trailing: false,
        }
    }

    fn pattern(text: &str) -> Regex {
        Regex::new(&format!("(?m){text}")).expect("a pattern")
    }

    /// The records of a file, read in pieces of `piece` bytes; what is left at the end is not flushed, and returned.
    fn read(format: &LineFormat, file: &[u8], piece: usize, is_flush: bool) -> (Vec<String>, usize) {
        let (mut at, mut known, mut skipping, mut out) = (0, 0, false, Vec::new());
        loop {
            let ahead = Ahead { is_end: known == file.len(), is_flush };
            match format.step(&file[at..known], ahead, &mut skipping) {
                Step::More if ahead.is_end => return (out, file.len() - at),
                Step::More => known = (known + piece).min(file.len()),
                Step::Skip(bytes) => at += bytes,
                Step::Record { advance, text } => {
                    assert!(advance > 0, "no step goes nowhere");
                    let value = format.value(&file[at..at + advance][text]);
                    out.extend(value.scalar().filter(|text| !text.is_empty()));
                    at += advance;
                }
            }
        }
    }

    fn check(format: &LineFormat, file: &str, expected: &[&str], left: usize) {
        for piece in [1, 2, 3, 7, 1000] {
            let (records, rest) = read(format, file.as_bytes(), piece, false);
            assert_eq!(
                (records, rest),
                (expected.iter().map(|text| (*text).to_owned()).collect(), left),
                "{piece}"
            );
        }
    }

    #[test]
    fn lines_end_at_newlines() {
        check(&format(Splitter::Newline), "one\r\n\n  two \nthr", &["one", "two"], 3);
        let (records, left) = read(&format(Splitter::Newline), b"one\ntw", 4, true);
        assert_eq!((records.as_slice(), left), (["one".to_owned(), "tw".to_owned()].as_slice(), 0));
    }

    #[test]
    fn white_space_is_kept_where_that_is_said() {
        let kept = LineFormat { keep_leading: true, keep_trailing: true, ..format(Splitter::Newline) };
        check(&kept, "  a \n", &["  a "], 0);
    }

    #[test]
    fn long_lines_become_several_or_lose_their_rest() {
        let long = "0123456789abcdefgh\nnext\n";
        check(&format(Splitter::Newline), long, &["0123456789abcdef", "gh", "next"], 0);
        check(&format(Splitter::Newline), "0123456789abcde€\n", &["0123456789abcde", "€"], 0);
        check(&format(Splitter::Newline), "0123456789abcdef\nnext\n", &["0123456789abcdef", "next"], 0);
        let truncating = LineFormat { too_long: TooLong::Truncate, ..format(Splitter::Newline) };
        check(&truncating, long, &["0123456789abcdef", "next"], 0);
    }

    #[test]
    fn records_begin_with_a_match() {
        let start = format(Splitter::Start { pattern: pattern("^ERR"), omit: false });
        check(&start, "x\nERR a\n b\nERR c\n", &["x", "ERR a\n b"], 6);
        let omitting = format(Splitter::Start { pattern: pattern("^ERR"), omit: true });
        check(&omitting, "ERR a\n b\nERR c\n", &["a\n b"], 6);
        let (records, _) = read(&start, b"ERR a\n b\n", 100, true);
        assert_eq!(records, ["ERR a\n b"]);
        check(&start, "ERR a very long one\nERR", &["ERR a very long", "one"], 3);
    }

    #[test]
    fn records_end_with_a_match() {
        let end = format(Splitter::End { pattern: pattern(";$"), omit: false });
        check(&end, "a\nb;\nc;d;\ne", &["a\nb;", "c;d;"], 2);
        let omitting = format(Splitter::End { pattern: pattern("END"), omit: true });
        check(&omitting, "aENDbENDc", &["a", "b"], 1);
    }

    #[test]
    fn patterns_see_text_in_other_encodings() {
        let encoded: Vec<u8> = "é1\né2\né3".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let start = LineFormat {
            encoding: Encoding::Utf16Le,
            ..format(Splitter::Start { pattern: pattern("^é"), omit: false })
        };
        for piece in [1, 2, 3, 100] {
            assert_eq!(read(&start, &encoded, piece, true).0, ["é1", "é2", "é3"], "{piece}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_come_as_they_are_read() {
        let whole = LineFormat { encoding: Encoding::Nop, ..format(Splitter::Newline) };
        let mut skipping = false;
        let end = Ahead { is_end: true, is_flush: false };
        assert_eq!(whole.step(b"a\nb", end, &mut skipping), Step::Record { advance: 3, text: 0..3 });
        assert_eq!(whole.step(&[0; 40], end, &mut skipping), Step::Record { advance: 16, text: 0..16 });
        assert_eq!(whole.step(b"", end, &mut skipping), Step::More);
    }
}
