//! A set of labels: sorted by name, immutable, one pointer to clone.
//!
//! All names and values of a set lie in one text, so that making a set costs two allocations whatever its size,
//! and comparing two sets walks contiguous memory. The hash is computed when the set is made. Where names and values end
//! lies beside the hash: a query that looks at thousands of sets waits for memory more than for anything else.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{Arc, LazyLock};

use xxhash_rust::xxh3::xxh3_64;
use xxhash_rust::xxh64::xxh64;

use crate::quote::quote;

/// The label that holds the name of a metric.
pub const METRIC_NAME: &str = "__name__";

/// A sorted set of labels, without empty values unless a language has them. Clones share memory.
#[derive(Clone)]
pub struct Labels(Arc<Inner>);

struct Inner {
    hash: u64,
    /// `name value name value …`
    text: Box<str>,
    ends: Ends,
}

/// Names and values of sets of which the ends need no memory of their own: a dozen labels.
const FEW_ENDS: usize = 24;

/// Where each name and each value ends, in turns.
enum Ends {
    /// Of a small set: how many, and the ends.
    Few(u8, [u16; FEW_ENDS]),
    Many(Box<[u32]>),
}

impl Ends {
    fn new(ends: &[u32]) -> Ends {
        let mut few = [0; FEW_ENDS];
        let is_short = ends.len() <= FEW_ENDS
            && few.iter_mut().zip(ends).all(|(few, end)| u16::try_from(*end).map(|end| *few = end).is_ok());
        if is_short { Ends::Few(ends.len() as u8, few) } else { Ends::Many(ends.into()) }
    }

    fn len(&self) -> usize {
        match self {
            Ends::Few(len, _) => usize::from(*len),
            Ends::Many(ends) => ends.len(),
        }
    }

    /// The end of the part of that number.
    fn get(&self, at: usize) -> usize {
        match self {
            Ends::Few(_, ends) => usize::from(ends[at]),
            Ends::Many(ends) => ends[at] as usize,
        }
    }

    fn is_same(&self, other: &Ends) -> bool {
        match (self, other) {
            (Ends::Few(n, a), Ends::Few(m, b)) => n == m && a == b,
            (Ends::Many(a), Ends::Many(b)) => a == b,
            // The same ends are always kept in the same way.
            _ => false,
        }
    }
}

impl Labels {
    /// No labels.
    #[must_use]
    pub fn empty() -> Labels {
        static EMPTY: LazyLock<Labels> =
            LazyLock::new(|| Labels::from_sorted(std::iter::empty::<(&str, &str)>()));
        EMPTY.clone()
    }

    /// From pairs in any order; of a name that comes twice the last counts, and empty values are no labels.
    #[must_use]
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Labels {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// From pairs that are already sorted by name, without duplicates; pairs with an empty value are left out.
    #[must_use]
    pub fn from_sorted<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Labels {
        Labels::from_sorted_with_empty(pairs.into_iter().filter(|(_, value)| !value.is_empty()))
    }

    /// Like [`Labels::from_sorted`], for languages in which an empty value is a value: all pairs are kept.
    #[must_use]
    pub fn from_sorted_with_empty<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Labels {
        Labels::with_room(pairs, 0)
    }

    /// From sorted pairs whose text has so many bytes at most, as far as that is known.
    fn with_room<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>, bytes: usize) -> Labels {
        let mut text = String::with_capacity(bytes);
        let mut few = [0; FEW_ENDS];
        let (mut n, mut many) = (0, Vec::new());
        for (name, value) in pairs {
            for part in [name, value] {
                text.push_str(part);
                let end = u32::try_from(text.len()).unwrap_or(u32::MAX);
                if n < FEW_ENDS {
                    few[n] = end;
                } else {
                    if n == FEW_ENDS {
                        many.extend_from_slice(&few);
                    }
                    many.push(end);
                }
                n += 1;
            }
        }
        let ends = if n <= FEW_ENDS { &few[..n] } else { &many };
        let mut hash = xxh3_64(text.as_bytes());
        for end in ends {
            hash = (hash.rotate_left(5) ^ u64::from(*end)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
        let ends = Ends::new(ends);
        Labels(Arc::new(Inner { hash, text: text.into_boxed_str(), ends }))
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut start = 0;
        let inner = &*self.0;
        (0..inner.ends.len() / 2).map(move |at| {
            let (name_end, value_end) = (inner.ends.get(2 * at), inner.ends.get(2 * at + 1));
            let pair = (&inner.text[start..name_end], &inner.text[name_end..value_end]);
            start = value_end;
            pair
        })
    }

    /// All names and values one after the other, without anything between them.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// How many labels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.ends.len() / 2
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.ends.len() == 0
    }

    /// The value of a label; a label that is not there has the empty value.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.iter().find(|pair| pair.0 == name).map_or("", |pair| pair.1)
    }

    /// Whether the label is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.iter().any(|pair| pair.0 == name)
    }

    /// The name of the metric, or nothing.
    #[must_use]
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME)
    }

    /// The labels that `names` (in any order) does not name.
    #[must_use]
    pub fn without(&self, names: &[impl AsRef<str>]) -> Labels {
        let dropped = self.iter().filter(|(name, _)| is_in(names, name));
        let dropped: Option<usize> =
            dropped.map(|(name, value)| name.len() + value.len()).reduce(|a, b| a + b);
        let Some(dropped) = dropped else { return self.clone() };
        let room = self.0.text.len() - dropped;
        Labels::with_room(self.iter().filter(|(name, _)| !is_in(names, name)), room)
    }

    /// Only the labels that `names` (in any order) names.
    #[must_use]
    pub fn only(&self, names: &[impl AsRef<str>]) -> Labels {
        Labels::from_sorted_with_empty(self.iter().filter(|(name, _)| is_in(names, name)))
    }

    /// The same with one label set; an empty value removes it.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Labels {
        let mut builder = self.to_builder();
        builder.set(name, value);
        builder.build()
    }

    /// The same without the metric's name.
    #[must_use]
    pub fn without_metric_name(&self) -> Labels {
        self.without(&[METRIC_NAME])
    }

    /// To change several labels.
    #[must_use]
    pub fn to_builder(&self) -> LabelsBuilder {
        let pairs = self.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        LabelsBuilder { pairs: pairs.collect() }
    }

    /// The hash; equal sets have equal hashes, also in other processes.
    #[must_use]
    pub fn hash64(&self) -> u64 {
        self.0.hash
    }

    /// A hash of the labels whose names are kept, which is the same for all sets that have these alike.
    #[must_use]
    pub fn hash_of(&self, is_kept: impl Fn(&str) -> bool) -> u64 {
        let parts = self.iter().filter(|(name, _)| is_kept(name)).flat_map(|(name, value)| [name, value]);
        parts.fold(0, |hash: u64, part| {
            (hash.rotate_left(5) ^ xxh3_64(part.as_bytes())).wrapping_mul(0x517c_c1b7_2722_0a95)
        })
    }

    /// The hash that Prometheus computes of a set (in its default build), by which `limit_ratio` chooses series.
    #[must_use]
    pub fn ratio_hash(&self) -> u64 {
        let mut bytes = Vec::with_capacity(self.0.text.len() + self.0.ends.len());
        for (name, value) in self.iter() {
            for part in [name, value] {
                match u8::try_from(part.len()) {
                    Ok(length) if length < 255 => bytes.push(length),
                    _ => {
                        bytes.push(255);
                        bytes.extend_from_slice(&part.len().to_le_bytes()[..3]);
                    }
                }
                bytes.extend_from_slice(part.as_bytes());
            }
        }
        xxh64(&bytes, 0)
    }

    /// An estimate of the memory of one set.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let ends = match &self.0.ends {
            Ends::Few(..) => 0,
            Ends::Many(ends) => size_of_val(&**ends),
        };
        size_of::<Inner>() + self.0.text.len() + ends
    }
}

fn is_in(names: &[impl AsRef<str>], name: &str) -> bool {
    names.iter().any(|other| other.as_ref() == name)
}

impl Default for Labels {
    fn default() -> Self {
        Labels::empty()
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.hash == other.0.hash
                && self.0.ends.is_same(&other.0.ends)
                && self.0.text == other.0.text)
    }
}

impl Eq for Labels {}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    /// By names and values in turns; of two sets of which one starts with the other, the shorter is first.
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) {
            return Ordering::Equal;
        }
        // Sets of one metric start alike: what is the same is skipped as bytes, and one part of each is compared.
        let (a, b) = (&*self.0, &*other.0);
        let same = common_prefix(a.text.as_bytes(), b.text.as_bytes());
        let mut start = 0;
        for at in 0..a.ends.len().min(b.ends.len()) {
            let (end_a, end_b) = (a.ends.get(at), b.ends.get(at));
            if end_a != end_b || end_a > same {
                return a.text[start..end_a].cmp(&b.text[start..end_b]);
            }
            start = end_a;
        }
        a.ends.len().cmp(&b.ends.len())
    }
}

/// How many bytes two texts have in common at their start.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let words = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
    let same = words.take_while(|(a, b)| a == b).count() * 8;
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
}

impl fmt::Display for Labels {
    /// `name{label="value"}`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, (name, value)) in self.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            if is_plain(name) {
                write!(f, "{comma}{name}={}", quote(value.as_bytes()))?;
            } else {
                write!(f, "{comma}{}={}", quote(name.as_bytes()), quote(value.as_bytes()))?;
            }
        }
        f.write_str("}")
    }
}

/// Whether a label name stands without quotes.
fn is_plain(name: &str) -> bool {
    let first = name.as_bytes().first().is_some_and(|byte| !byte.is_ascii_digit());
    first && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A map by label sets, or by anything that hashes as one number that is a hash already.
pub type LabelsMap<K, V> = HashMap<K, V, BuildHasherDefault<KnownHash>>;

/// Takes a hash that was computed before as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct KnownHash(u64);

impl Hasher for KnownHash {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes) ^ self.0.rotate_left(5);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Labels being changed.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    /// Sorted by name.
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self.pairs.binary_search_by(|pair| pair.0.as_str().cmp(name)) {
            Ok(at) if value.is_empty() => {
                self.pairs.remove(at);
            }
            Ok(at) => value.clone_into(&mut self.pairs[at].1),
            Err(_) if value.is_empty() => {}
            Err(at) => self.pairs.insert(at, (name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Removes a label.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.set(name, "")
    }

    /// The value so far, or nothing.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        let found = self.pairs.binary_search_by(|pair| pair.0.as_str().cmp(name));
        found.map_or("", |at| self.pairs[at].1.as_str())
    }

    /// The labels.
    #[must_use]
    pub fn build(&self) -> Labels {
        // What has an empty value here came with it from a set of labels.
        Labels::from_sorted_with_empty(self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_sorted_and_compare_by_content() {
        let a = Labels::from_pairs([("b", "2"), ("a", "1"), ("c", "")]);
        let b = Labels::from_pairs([("a", "1"), ("b", "2")]);
        assert_eq!(a, b);
        assert_eq!(a.hash64(), b.hash64());
        assert_eq!(a.to_string(), r#"{a="1", b="2"}"#);
        assert!(a < a.with("c", "3"));
        assert!(a < Labels::from_pairs([("a", "10")]));
        assert_ne!(Labels::from_pairs([("a", "bc")]), Labels::from_pairs([("ab", "c")]));
    }

    #[test]
    fn order_is_that_of_names_and_values_in_turns() {
        let texts = ["", "a", "ab", "abc", "b", "region-eu-west-1", "region-eu-west-10", "region-eu-west-2"];
        let pairs = texts.iter().flat_map(|a| texts.iter().map(move |b| (*a, *b)));
        let sets: Vec<Labels> = pairs
            .clone()
            .flat_map(|(a, b)| {
                [
                    Labels::from_pairs([("ab", a), ("b", b)]),
                    Labels::from_pairs([("a", b), ("b", a), ("c", a)]),
                ]
            })
            .collect();
        for a in &sets {
            for b in &sets {
                assert_eq!(a.cmp(b), a.iter().cmp(b.iter()), "{a} {b}");
            }
        }
    }

    #[test]
    fn large_sets_are_as_small_ones() {
        let of = |n: usize, length: usize| {
            Labels::from_pairs((0..n).map(|at| (format!("name_{at:02}"), "v".repeat(length))))
        };
        for (n, length) in [(11, 1), (12, 1), (13, 1), (40, 1), (2, 40_000), (12, 70_000)] {
            let (labels, same) = (of(n, length), of(n, length));
            assert_eq!((labels.len(), labels.iter().count()), (n, n));
            assert!(labels == same && labels.cmp(&same).is_eq());
            assert_eq!(labels.get("name_01").len(), length);
            assert_eq!(labels.without(&["name_00"]).len(), n - 1);
            assert!(labels < labels.with("name_00", "w") && labels < labels.with("z", "1"));
            assert!(labels.text().starts_with("name_00v"));
        }
    }

    #[test]
    fn parts_of_a_set() {
        let labels = Labels::from_pairs([(METRIC_NAME, "up"), ("job", "a"), ("zone", "z")]);
        assert_eq!(labels.metric_name(), "up");
        assert_eq!(labels.without(&["zone", METRIC_NAME]).to_string(), r#"{job="a"}"#);
        assert_eq!(labels.only(&["zone", "none"]).to_string(), r#"{zone="z"}"#);
        assert_eq!(labels.with("job", ""), labels.without(&["job"]));
        let [a, b] = [&labels, &labels.with("zone", "y")].map(|set| set.hash_of(|name| name != "zone"));
        assert!(a == b && a != labels.hash_of(|name| name != "job"));
        assert_eq!(labels.get("none"), "");
        assert!(Labels::empty().is_empty());
        let with_empty = Labels::from_sorted_with_empty([("a", ""), ("b", "2")]);
        assert_eq!(with_empty.without(&["b"]).to_string(), r#"{a=""}"#);
        assert_ne!(with_empty, Labels::from_pairs([("b", "2")]));
        assert_eq!(with_empty.with("b", "").to_string(), r#"{a=""}"#);
    }
}
