//! Which series a target showed last time: those that it shows no more get a stale marker.

use std::collections::HashMap;
use std::sync::Arc;

use throughline_model::point::MetricType;
use throughline_model::protobuf::{Reader, put_varint};
use throughline_wire::prometheus::exposition::{Entry, Metadata, Value};
use xxhash_rust::xxh3::Xxh3;

/// The series of one target.
#[derive(Debug, Default)]
pub struct Tracker {
    series: HashMap<u128, Tracked>,
}

#[derive(Debug)]
struct Tracked {
    /// Names and values, each after its length.
    labels: Box<[u8]>,
    /// Whether its end is written down.
    ends: bool,
    /// Whether its values are histograms.
    is_native: bool,
    family: Arc<Family>,
}

/// What the page says of a metric: the marker says it again, so that it is never unsaid.
#[derive(Debug, Default, PartialEq)]
struct Family {
    kind: MetricType,
    help: String,
    unit: String,
}

/// A series that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'t> {
    /// All its labels.
    pub labels: &'t [(&'t str, &'t str)],
    /// What the page said of its metric.
    pub metadata: Metadata<'t>,
    /// Whether its values were histograms.
    pub is_native: bool,
}

/// The series of one scrape, which replace those before if it succeeds.
#[derive(Debug, Default)]
pub struct Seen {
    /// By hash: new series with their labels, and those that are known.
    series: HashMap<u128, Option<Tracked>>,
    added: u64,
    /// Of the series before, which mostly is of the same family.
    family: Arc<Family>,
}

/// What a series is known by.
pub fn hash(labels: &[(&str, &str)]) -> u128 {
    let mut hash = Xxh3::new();
    for (name, value) in labels {
        hash.update(name.as_bytes());
        // No text of UTF-8 has this byte.
        hash.update(&[0xff]);
        hash.update(value.as_bytes());
        hash.update(&[0xff]);
    }
    hash.digest128()
}

impl Seen {
    /// Notes a series; false if this scrape had it before. `ends` tells whether its end is to be written down.
    pub fn note(&mut self, before: &Tracker, labels: &[(&str, &str)], entry: &Entry<'_>, ends: bool) -> bool {
        let hash = hash(labels);
        if self.series.contains_key(&hash) {
            return false;
        }
        let is_native = matches!(entry.value, Value::Histogram(_));
        let known = before.series.get(&hash);
        self.added += u64::from(known.is_none());
        let is_same = known.is_some_and(|tracked| tracked.ends == ends && tracked.is_native == is_native);
        let new = (!is_same).then(|| {
            let family = self.family(&entry.metadata);
            Tracked { labels: encode(labels), ends, is_native, family }
        });
        self.series.insert(hash, new);
        true
    }

    fn family(&mut self, metadata: &Metadata<'_>) -> Arc<Family> {
        let Family { kind, help, unit } = &*self.family;
        if (*kind, help.as_str(), unit.as_str()) != (metadata.kind, metadata.help, metadata.unit) {
            let (help, unit) = (metadata.help.to_owned(), metadata.unit.to_owned());
            self.family = Arc::new(Family { kind: metadata.kind, help, unit });
        }
        Arc::clone(&self.family)
    }

    /// How many series the scrape before did not have.
    pub fn added(&self) -> u64 {
        self.added
    }
}

impl Tracker {
    /// Takes over what a successful scrape showed; `stale` is called with each series that has ended.
    pub fn replace(&mut self, seen: Seen, mut stale: impl FnMut(Ended<'_>)) {
        let Seen { series: mut seen, .. } = seen;
        self.series.retain(|hash, tracked| match seen.remove(hash) {
            Some(None) => true,
            Some(Some(changed)) => {
                *tracked = changed;
                true
            }
            None => {
                if tracked.ends {
                    tracked.end(&mut stale);
                }
                false
            }
        });
        self.series.extend(seen.into_iter().filter_map(|(hash, new)| Some((hash, new?))));
    }

    /// Forgets everything; `stale` is called with each series that has ended.
    pub fn end(&mut self, stale: impl FnMut(Ended<'_>)) {
        self.replace(Seen::default(), stale);
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }
}

fn encode(labels: &[(&str, &str)]) -> Box<[u8]> {
    let mut out = Vec::with_capacity(labels.iter().map(|(name, value)| name.len() + value.len() + 4).sum());
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        put_varint(&mut out, text.len() as u64);
        out.extend_from_slice(text.as_bytes());
    }
    out.into_boxed_slice()
}

impl Tracked {
    fn end(&self, mut stale: impl FnMut(Ended<'_>)) {
        let mut reader = Reader::new(&self.labels);
        let mut text = || std::str::from_utf8(reader.delimited().ok()?).ok();
        let mut labels = Vec::new();
        while let (Some(name), Some(value)) = (text(), text()) {
            labels.push((name, value));
        }
        let Family { kind, help, unit } = &*self.family;
        let metadata = Metadata { family: "", kind: *kind, help, unit };
        stale(Ended { labels: &labels, metadata, is_native: self.is_native });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(tracker: &mut Tracker, names: &[&str], ends: bool) -> (u64, Vec<String>) {
        let mut seen = Seen::default();
        for name in names {
            let metadata = Metadata { help: "Help.", ..Metadata::default() };
            let entry = Entry {
                labels: &[],
                metadata,
                value: Value::Number(0.0),
                timestamp_ms: None,
                start_timestamp_ms: 0,
                exemplars: &[],
            };
            seen.note(tracker, &[("__name__", name)], &entry, ends);
        }
        let added = seen.added();
        let mut stale = Vec::new();
        tracker.replace(seen, |ended| {
            assert_eq!(ended.metadata.help, "Help.");
            stale.push(ended.labels[0].1.to_owned());
        });
        (added, stale)
    }

    #[test]
    fn series_that_are_shown_no_more_end() {
        let mut tracker = Tracker::default();
        assert_eq!(scrape(&mut tracker, &["a", "b", "a"], true), (2, vec![]));
        assert_eq!(scrape(&mut tracker, &["a", "c"], true), (1, vec!["b".to_owned()]));
        assert_eq!(scrape(&mut tracker, &["a", "c"], false), (0, vec![]), "they have times of their own now");
        assert_eq!(scrape(&mut tracker, &[], true), (0, vec![]));
        assert_eq!(scrape(&mut tracker, &["x"], true), (1, vec![]));
        let mut ended = 0;
        tracker.end(|ended_series| {
            assert_eq!(ended_series.labels, [("__name__", "x")]);
            ended += 1;
        });
        assert_eq!((ended, tracker.len()), (1, 0));
    }
}
