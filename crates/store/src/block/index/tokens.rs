//! Token filters of log bodies: which words a row group may hold.
//!
//! A token is a run of ASCII letters, digits and underscores, or of bytes outside ASCII, lower-cased. A filter is a [binary fuse
//! filter](super::fuse) of the hashes of a row group's distinct tokens: one in 256 look-ups of an absent token is let through. Reading a
//! row group for nothing costs so much more than a look-up that the half byte more for each token than a Bloom filter takes pays.

use xxhash_rust::xxh3::xxh3_64;

use super::fuse;
use crate::block::bodies::{PLACEHOLDER, SEPARATOR};
use crate::error::Error;

/// More distinct tokens in a row group have no filter.
const KEYS_MAX: usize = 1 << 20;

/// What stands for a filter that lets everything through.
pub(super) const ALL: [u8; 1] = [0];

/// Longer tokens are cut: what follows does not tell lines apart often enough to be worth hashing.
const TOKEN_BYTES_MAX: usize = 64;

/// Calls `visit` with the hash of each token of a text.
pub(crate) fn each_token(text: &str, mut visit: impl FnMut(u64)) {
    each_token_of(text, |_, hash| visit(hash));
}

/// Calls `visit` with each token of a text and its hash.
fn each_token_of<'t>(text: &'t str, mut visit: impl FnMut(&'t [u8], u64)) {
    for token in text.as_bytes().split(|byte| !is_token_byte(*byte)) {
        if !token.is_empty() {
            visit(token, hash_of(token));
        }
    }
}

fn hash_of(token: &[u8]) -> u64 {
    let mut buffer = [0u8; TOKEN_BYTES_MAX];
    let len = token.len().min(TOKEN_BYTES_MAX);
    match (buffer.get_mut(..len), token.get(..len)) {
        (Some(out), Some(token)) => {
            out.copy_from_slice(token);
            out.make_ascii_lowercase();
            xxh3_64(out)
        }
        _ => 0,
    }
}

/// The bit of the length of a token with a digit: one for all that are as long as this or longer.
fn length_bit(len: usize) -> u64 {
    1 << len.min(LENGTH_MAX)
}

/// Lengths up to this are told apart.
const LENGTH_MAX: usize = 63;

/// The tokens that a body must have if it holds a text.
#[derive(Debug, Default)]
pub(crate) struct TextTokens {
    /// Those that lie within the text.
    whole: Vec<u64>,
    /// Those at its ends, which may be parts of longer ones; with a digit, and their lengths.
    cut: Vec<(u64, usize)>,
}

impl TextTokens {
    /// Takes a text apart.
    pub(crate) fn of(text: &str) -> TextTokens {
        let mut tokens = TextTokens::default();
        let start = text.as_ptr().addr();
        each_token_of(text, |token, hash| {
            let from = token.as_ptr().addr() - start;
            if from > 0 && from + token.len() < text.len() {
                tokens.whole.push(hash);
            } else if token.iter().any(u8::is_ascii_digit) && token.len() < LENGTH_MAX {
                tokens.cut.push((hash, token.len()));
            }
        });
        tokens
    }

    /// Those that lines must have, if these are the lengths of tokens with digits among them: what is cut off is a token where
    /// no token is longer.
    pub(super) fn among(&self, lengths: Option<u64>) -> impl Iterator<Item = u64> {
        let is_longest = move |len: usize| lengths.is_some_and(|lengths| lengths >> len >> 1 == 0);
        let cut = self.cut.iter().filter(move |(_, len)| is_longest(*len)).map(|(hash, _)| *hash);
        self.whole.iter().copied().chain(cut)
    }
}

fn is_token_byte(byte: u8) -> bool {
    !byte.is_ascii() || byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The tokens of lines of one pattern of [`bodies`](crate::block::bodies): those that all of them have, and what stands
/// around each slot.
pub(crate) struct PatternTokens {
    fixed: Vec<u64>,
    /// Before the first slot and after each.
    ends: Vec<Ends>,
}

/// The text around a slot, as far as it belongs to a token with a slot in it; whether a part is within one token from slot
/// to slot.
type Ends = (Box<[u8]>, Box<[u8]>, bool);

impl PatternTokens {
    /// Takes a pattern apart.
    pub(crate) fn new(pattern: &str) -> PatternTokens {
        let parts: Vec<&str> = pattern.split(PLACEHOLDER).collect();
        let (mut fixed, mut ends) = (Vec::new(), Vec::with_capacity(parts.len()));
        for (at, part) in parts.iter().enumerate() {
            let bytes = part.as_bytes();
            let is_part = |byte: &&u8| is_token_byte(**byte);
            // The first part follows no slot, and no slot follows the last.
            let (is_first, is_last) = (at == 0, at + 1 == parts.len());
            let head = if is_first { 0 } else { bytes.iter().take_while(is_part).count() };
            let tail = if is_last { 0 } else { bytes.iter().rev().take_while(is_part).count() };
            let is_within = !is_first && !is_last && head == bytes.len();
            // Parts are cut at ASCII, or where nothing is left between.
            let middle = part.get(head..bytes.len().saturating_sub(tail)).unwrap_or_default();
            each_token(middle, |hash| fixed.push(hash));
            let head = bytes.get(..head).unwrap_or_default();
            let tail = bytes.get(bytes.len() - tail..).unwrap_or_default();
            ends.push((head.into(), tail.into(), is_within));
        }
        PatternTokens { fixed, ends }
    }

    /// Calls `visit` with the length and the hash of each token that a slot is part of; `token` is working memory.
    fn each_with_slot(&self, slots: &str, token: &mut Vec<u8>, mut visit: impl FnMut(usize, u64)) {
        token.clear();
        let mut ends = self.ends.iter();
        if let Some((_, tail, _)) = ends.next() {
            token.extend_from_slice(tail);
        }
        for (slot, (head, tail, is_within)) in slots.split(SEPARATOR).zip(ends) {
            token.extend_from_slice(slot.as_bytes());
            token.extend_from_slice(head);
            if !is_within {
                let len = token.len();
                token.truncate(TOKEN_BYTES_MAX);
                token.make_ascii_lowercase();
                visit(len, xxh3_64(token));
                token.clear();
                token.extend_from_slice(tail);
            }
        }
    }
}

/// Tokens that were seen lately, by the low bits of their hash: log lines repeat the words of their templates.
const RECENT: usize = 1 << 12;

/// A filter, and the lengths of the tokens with a digit that it holds.
pub(crate) struct Filter {
    pub(crate) bytes: Vec<u8>,
    pub(crate) lengths: u64,
}

/// Collects the tokens of one row group.
pub(crate) struct TokenFilter {
    /// Hashes, some of them more than once.
    keys: Vec<u64>,
    /// Whether there are more than [`KEYS_MAX`].
    is_full: bool,
    lengths: u64,
    recent: Vec<u64>,
    token: Vec<u8>,
}

impl TokenFilter {
    pub(crate) fn new() -> TokenFilter {
        TokenFilter {
            keys: Vec::new(),
            is_full: false,
            lengths: 0,
            recent: nothing_recent(),
            token: Vec::new(),
        }
    }

    /// Adds the tokens of a text.
    pub(crate) fn add(&mut self, text: &str) {
        each_token_of(text, |token, hash| {
            if token.iter().any(u8::is_ascii_digit) {
                self.lengths |= length_bit(token.len());
            }
            self.set(hash);
        });
    }

    /// Adds the tokens that all lines of a pattern have.
    pub(crate) fn add_pattern(&mut self, pattern: &PatternTokens) {
        pattern.fixed.iter().for_each(|hash| self.set(*hash));
    }

    /// Adds the tokens of a line that slots are part of; those of its pattern are added once.
    pub(crate) fn add_slots(&mut self, pattern: &PatternTokens, slots: &str) {
        let mut token = std::mem::take(&mut self.token);
        pattern.each_with_slot(slots, &mut token, |len, hash| {
            self.lengths |= length_bit(len);
            self.set(hash);
        });
        self.token = token;
    }

    #[inline]
    fn set(&mut self, hash: u64) {
        if let Some(slot) = self.recent.get_mut(hash as usize % RECENT) {
            if *slot == hash {
                return;
            }
            *slot = hash;
        }
        if self.is_full {
            return;
        }
        self.keys.push(hash);
        if self.keys.len() >= 2 * KEYS_MAX {
            self.make_distinct();
            self.is_full = self.keys.len() > KEYS_MAX;
        }
    }

    fn make_distinct(&mut self) {
        self.keys.sort_unstable();
        self.keys.dedup();
    }

    /// The filter; afterwards this is empty again.
    pub(crate) fn take(&mut self) -> Result<Filter, Error> {
        self.make_distinct();
        let is_full = std::mem::take(&mut self.is_full) || self.keys.len() > KEYS_MAX;
        let bytes = if is_full { ALL.to_vec() } else { fuse::written(&self.keys)? };
        self.keys.clear();
        self.recent = nothing_recent();
        Ok(Filter { bytes, lengths: std::mem::take(&mut self.lengths) })
    }
}

/// Slots that no hash equals: a hash lies in the slot of its own low bits.
fn nothing_recent() -> Vec<u64> {
    (0..RECENT as u64).map(|slot| slot ^ 1).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn what_is_cut_off_is_a_token_where_none_is_longer() {
        let among = |text: &str, lines: &[&str]| -> usize {
            let mut filter = TokenFilter::new();
            lines.iter().for_each(|line| filter.add(line));
            TextTokens::of(text).among(Some(filter.take().unwrap().lengths)).count()
        };
        assert_eq!(among("4f2a", &["id 4f2a", "code 12"]), 1);
        assert_eq!(among("4f2a", &["id 4f2a", "code 12345"]), 0, "it may be a part of a longer one");
        assert_eq!(among("4f2a", &["application 4f2a"]), 1, "words without digits do not have it");
        assert_eq!(among("id 4f2a: took", &["id 4f2a: took 12345678"]), 1);
        assert_eq!(among("took", &["took 1"]), 0);
        let long = "7".repeat(70);
        assert_eq!(among(&long, &[&long]), 0);
        assert_eq!(TextTokens::of("4f2a").among(None).count(), 0);
    }

    use super::*;
    use crate::block::bodies::Splitter;

    /// A line taken apart has the tokens of the line.
    #[test]
    fn tokens_of_a_pattern_and_slots_are_those_of_the_line() {
        let alphabet: Vec<char> = "a1_. Z-é{9}".chars().collect();
        let mut state = 9u64;
        let mut splitter = Splitter::default();
        for round in 0..30_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (mut bits, mut line) = (state >> 8, String::new());
            for _ in 0..(state >> 4) % 14 {
                line.push(alphabet[(bits % alphabet.len() as u64) as usize]);
                bits /= alphabet.len() as u64;
            }
            if round % 100 == 0 {
                line += &"x7".repeat(50);
            }
            let (mut whole, mut parts) = (BTreeSet::new(), BTreeSet::new());
            each_token(&line, |hash| _ = whole.insert(hash));
            let (pattern, slots) = splitter.split(&line);
            match slots {
                None => each_token(pattern, |hash| _ = parts.insert(hash)),
                Some(slots) => {
                    let tokens = PatternTokens::new(pattern);
                    parts.extend(&tokens.fixed);
                    tokens.each_with_slot(slots, &mut Vec::new(), |_, hash| _ = parts.insert(hash));
                }
            }
            assert_eq!(whole, parts, "{line:?}");
        }
    }
}
