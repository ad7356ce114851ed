//! Which Prometheus series there are: of every stored series seen so far its families, and postings over their labels.
//!
//! The index is filled as queries meet parts of a snapshot: a block's series are read once, a memtable's as they come.
//! A stored series is known by its fingerprint, so it is translated once, however many blocks hold it. When most of
//! what is known belongs to parts that are gone, the index starts anew.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use ahash::{AHashMap as HashMap, AHashSet as HashSet};
use serde_json::{Map, Value as Json};
use throughline_exec::Matcher;
use throughline_model::point::PointKind;
use throughline_store::snapshot::parts::{MetricPart, PartKey, RunBounds};
use throughline_store::{Error, SeriesEntry, Snapshot, TimeRange};

use super::families::{FamilySet, LabelOrder};
use super::listing::Listing;
use super::runs::{KEPT_BYTES_MAX, RunCache};
use super::translate::{Family, Form, Metadata, Translation};

/// Stored series that no part needs any more and that are kept before the index starts anew.
const IDLE_SERIES_MAX: usize = 100_000;

/// Families that are looked at to find out whether few of them match.
const CANDIDATES_MAX: usize = 4_096;

/// Families of which all names and values of labels are listed in about a millisecond.
const LISTED_MAX: usize = 1 << 17;

/// OTLP's code of delta temporality.
const DELTA: u8 = 1;

/// The index; shared by all queries.
pub struct MetricIndex {
    translation: Translation,
    tables: RwLock<Tables>,
    runs: RunCache,
}

/// A resource, parsed, with the family of its `target_info`.
type KnownResource = (Arc<Map<String, Json>>, Option<u32>);

/// What is known of a stored series.
struct Entry {
    families: Box<[u32]>,
    /// Shared by the series of a metric, of which nearly all say the same.
    described: Arc<Described>,
}

/// A metric's name, and what a sender says of it.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Described {
    name: Arc<str>,
    metadata: Metadata,
}

/// A family and the stored series that its samples come from.
pub(super) struct FamilyEntry {
    pub(super) family: Family,
    /// Nearly always one; it lies here, because a query looks at thousands of families.
    first_entry: Option<u32>,
    more_entries: Vec<u32>,
    /// Whether points are increments that are to be summed up.
    pub(super) is_delta: bool,
}

/// A part's series in terms of the index.
pub(super) struct PartRows {
    /// `(entry, row)`, sorted.
    by_entry: Vec<(u32, u32)>,
    families: FamilySet,
    runs: OnceLock<Arc<[RunBounds]>>,
}

#[derive(Default)]
pub(super) struct Tables {
    entries: Vec<Entry>,
    described: HashSet<Arc<Described>>,
    by_fingerprint: HashMap<[u8; 16], u32>,
    families: Vec<FamilyEntry>,
    /// For each label that tells the series of a family apart, the families that have it, ascending.
    dynamic: BTreeMap<&'static str, Vec<u32>>,
    by_family: HashMap<Family, u32>,
    order: LabelOrder,
    /// Label name, label value, families that have it, ascending.
    postings: BTreeMap<Box<str>, BTreeMap<Box<str>, Vec<u32>>>,
    /// Resources by their text, with the family of their `target_info`.
    resources: HashMap<Arc<str>, KnownResource>,
    parts: HashMap<PartKey, Arc<PartRows>>,
}

/// A part of a snapshot with what the index knows of it.
#[derive(Clone)]
pub(super) struct KnownPart {
    pub(super) part: MetricPart,
    pub(super) rows: Arc<PartRows>,
}

impl MetricIndex {
    /// An empty index.
    pub fn new(translation: Translation) -> MetricIndex {
        MetricIndex { translation, tables: RwLock::default(), runs: RunCache::new(KEPT_BYTES_MAX) }
    }

    /// The decoded runs that are kept.
    pub(super) fn run_cache(&self) -> &RunCache {
        &self.runs
    }

    /// Hands out the parts of a snapshot that may hold anything of the range, and the tables that know their series.
    /// What could not be read is named in `partial` and left out.
    pub(super) fn over<R>(
        &self,
        snapshot: &Snapshot,
        range: TimeRange,
        partial: &mut Vec<String>,
        ask: impl FnOnce(&Tables, &[KnownPart]) -> R,
    ) -> R {
        let parts = snapshot.metric_parts(range);
        {
            let tables = self.read();
            if let Some(known) = tables.known(&parts) {
                return ask(&tables, &known);
            }
        }
        let all = snapshot.metric_parts(TimeRange::ALL);
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        tables.forget(&all);
        self.runs.retain(|key| tables.parts.contains_key(&key));
        let mut known = Vec::with_capacity(parts.len());
        for part in parts {
            match tables.learn(&part, &self.translation) {
                Ok(rows) => known.push(KnownPart { part, rows }),
                Err(error) => partial.push(error.to_string()),
            }
        }
        let Tables { order, families, .. } = &mut *tables;
        order.extend(families);
        ask(&tables, &known)
    }

    /// How many families the selectors match, together; nothing where one of them matches more than `families_max`, or that is
    /// not known without a look at more than that.
    pub fn few<'a>(
        &self,
        snapshot: &Snapshot,
        selectors: impl IntoIterator<Item = &'a [Matcher]>,
        families_max: usize,
    ) -> Option<usize> {
        let tables = self.read();
        tables.known(&snapshot.metric_parts(TimeRange::ALL))?;
        let few = |selector: &[Matcher]| {
            let is_narrow = tables.candidates(selector) <= CANDIDATES_MAX;
            let families = is_narrow.then(|| tables.matching(selector).len());
            families.filter(|families| *families <= families_max)
        };
        selectors.into_iter().map(few).sum()
    }

    /// Whether all that is listed is known, and is found soon: with a look at no more than so many families for each selector.
    pub fn is_listed_among(&self, snapshot: &Snapshot, listing: &Listing, families_max: usize) -> bool {
        let tables = self.read();
        tables.known(&snapshot.metric_parts(TimeRange::ALL)).is_some()
            && tables.families.len() <= if listing.selectors.is_empty() { LISTED_MAX } else { usize::MAX }
            && listing.selectors.iter().all(|selector| tables.candidates(selector) <= families_max)
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        // Tables are changed by appending; a panic in between leaves entries that nothing points at.
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    /// The parts, where all are known to their last series.
    fn known(&self, parts: &[MetricPart]) -> Option<Vec<KnownPart>> {
        let known = |part: &MetricPart| {
            let rows =
                self.parts.get(&part.key()).filter(|rows| rows.by_entry.len() >= part.series_count())?;
            Some(KnownPart { part: part.clone(), rows: rows.clone() })
        };
        parts.iter().map(known).collect()
    }

    /// Drops parts that the snapshot has no more, and everything when little of it is still needed.
    fn forget(&mut self, all: &[MetricPart]) {
        let keys: Vec<PartKey> = all.iter().map(MetricPart::key).collect();
        self.parts.retain(|key, _| keys.contains(key));
        let needed = self.parts.values().map(|part| part.by_entry.len()).max().unwrap_or_default();
        if self.entries.len() > 2 * needed + IDLE_SERIES_MAX {
            *self = Tables::default();
        }
    }

    fn learn(&mut self, part: &MetricPart, translation: &Translation) -> Result<Arc<PartRows>, Error> {
        let key = part.key();
        let known = self.parts.get(&key);
        if let Some(rows) = known.filter(|rows| rows.by_entry.len() >= part.series_count()) {
            return Ok(rows.clone());
        }
        let (mut by_entry, mut families) = match known {
            Some(known) => (known.by_entry.clone(), known.families.clone()),
            None => (Vec::new(), FamilySet::with_room(self.families.len())),
        };
        let known_rows = by_entry.len();
        let series = part.series_from(known_rows)?;
        for (row, series) in (known_rows..).zip(&series) {
            let entry = self.entry(series, translation);
            by_entry.push((entry, row as u32));
            families.extend(self.families_of_entry(entry).iter().copied());
        }
        // What was known is sorted: a stable sort merges rather than sorts it again.
        by_entry.sort();
        let rows = Arc::new(PartRows { by_entry, families, runs: OnceLock::new() });
        self.parts.insert(key, rows.clone());
        Ok(rows)
    }

    fn families_of_entry(&self, entry: u32) -> &[u32] {
        self.entries.get(entry as usize).map(|entry| &*entry.families).unwrap_or_default()
    }

    fn entry(&mut self, series: &SeriesEntry, translation: &Translation) -> u32 {
        if let Some(known) = self.by_fingerprint.get(&series.fingerprint) {
            return *known;
        }
        let entry = self.entries.len() as u32;
        let verbatim = matches!(series.kind, PointKind::Sample | PointKind::NativeHistogram);
        let (resource, target_info) =
            if verbatim { Default::default() } else { self.resource(&series.resource, translation) };
        let translated = translation.series(series, &resource);
        let is_delta = series.temporality == DELTA;
        let mut families: Vec<u32> =
            translated.families.into_iter().map(|family| self.family(family, is_delta)).collect();
        families.extend(target_info);
        for family in &families {
            if let Some(family) = self.families.get_mut(*family as usize) {
                family.add(entry);
            }
        }
        let described = self.described(translated.name, translated.metadata);
        self.entries.push(Entry { families: families.into(), described });
        self.by_fingerprint.insert(series.fingerprint, entry);
        entry
    }

    fn described(&mut self, name: String, metadata: Metadata) -> Arc<Described> {
        let described = Described { name: name.into(), metadata };
        if let Some(known) = self.described.get(&described) {
            return known.clone();
        }
        let new = Arc::new(described);
        self.described.insert(new.clone());
        new
    }

    fn resource(&mut self, text: &Arc<str>, translation: &Translation) -> KnownResource {
        if let Some(known) = self.resources.get(text) {
            return known.clone();
        }
        let parsed: Map<String, Json> = serde_json::from_str(text).unwrap_or_default();
        let target_info = translation.target_info(&parsed).map(|family| self.family(family, false));
        let known = (Arc::new(parsed), target_info);
        self.resources.insert(text.clone(), known.clone());
        known
    }

    fn family(&mut self, family: Family, is_delta: bool) -> u32 {
        if let Some(known) = self.by_family.get(&family) {
            return *known;
        }
        let number = self.families.len() as u32;
        for (name, value) in family.labels.iter() {
            if !self.postings.contains_key(name) {
                self.postings.insert(name.into(), BTreeMap::new());
            }
            let Some(values) = self.postings.get_mut(name) else { continue };
            match values.get_mut(value) {
                Some(list) => list.push(number),
                None => {
                    values.insert(value.into(), vec![number]);
                }
            }
        }
        if let Some(label) = family.form.dynamic_label() {
            self.dynamic.entry(label).or_default().push(number);
        }
        self.by_family.insert(family.clone(), number);
        self.families.push(FamilyEntry::new(family, is_delta));
        number
    }

    pub(super) fn get(&self, family: u32) -> Option<&FamilyEntry> {
        self.families.get(family as usize)
    }

    /// The families whose labels match, ascending. Matchers of a label that tells the series of a family apart (`le`,
    /// `quantile`) are left to whoever makes those series.
    pub(super) fn matching(&self, matchers: &[Matcher]) -> Vec<u32> {
        let is_dynamic = |name: &str| name == "le" || name == "quantile";
        let (listed, mut rest): (Vec<&Matcher>, Vec<&Matcher>) =
            matchers.iter().partition(|m| !m.matches("") && !is_dynamic(m.name()));
        let (named, others): (Vec<&Matcher>, Vec<&Matcher>) =
            listed.into_iter().partition(|m| m.accepted_values().is_some());
        let mut lists: Vec<Cow<'_, [u32]>> =
            named.into_iter().map(|matcher| self.postings_of(matcher)).collect();
        lists.sort_by_key(|list| list.len());
        let mut lists = lists.into_iter();
        let mut families = lists.next().map(Cow::into_owned);
        for list in lists {
            families.iter_mut().for_each(|families| intersect(families, &list));
        }
        for matcher in others {
            // Of a few families the labels are compared, rather than all values that there are.
            let values = self.postings.get(matcher.name()).map_or(0, BTreeMap::len);
            match &mut families {
                Some(families) if families.len() < values => rest.push(matcher),
                Some(families) => intersect(families, &self.postings_of(matcher)),
                None => families = Some(self.postings_of(matcher).into_owned()),
            }
        }
        let mut families = families.unwrap_or_else(|| (0..self.families.len() as u32).collect());
        if !rest.is_empty() {
            families.retain(|family| self.get(*family).is_some_and(|entry| entry.family.may_match(&rest)));
        }
        families
    }

    /// How many families have a value that some matcher names.
    fn candidates(&self, matchers: &[Matcher]) -> usize {
        let named = |matcher: &Matcher| -> Option<usize> {
            let values = self.postings.get(matcher.name());
            let accepted = matcher.accepted_values().filter(|_| !matcher.matches(""))?;
            let of_value = |value: &&str| values.and_then(|values| values.get(*value)).map_or(0, Vec::len);
            Some(accepted.iter().map(of_value).sum())
        };
        matchers.iter().filter_map(named).min().unwrap_or(self.families.len())
    }

    /// The families that have a value of the label that matches, ascending.
    fn postings_of(&self, matcher: &Matcher) -> Cow<'_, [u32]> {
        let Some(values) = self.postings.get(matcher.name()) else { return Cow::default() };
        let lists: Vec<&Vec<u32>> = match matcher.accepted_values() {
            Some(accepted) => accepted.iter().filter_map(|value| values.get(*value)).collect(),
            None => values.iter().filter(|(value, _)| matcher.matches(value)).map(|(_, list)| list).collect(),
        };
        if let [one] = &*lists {
            return Cow::Borrowed(one);
        }
        // Lists that ascend are merged rather than sorted again.
        let mut out: Vec<u32> = lists.into_iter().flatten().copied().collect();
        out.sort();
        out.dedup();
        Cow::Owned(out)
    }

    /// Names of labels and their values with families, for listings.
    pub(super) fn postings(&self) -> &BTreeMap<Box<str>, BTreeMap<Box<str>, Vec<u32>>> {
        &self.postings
    }

    /// The place of a family in the order of labels.
    pub(super) fn place(&self, family: u32) -> u32 {
        self.order.place(family)
    }

    /// The labels that tell the series of a family apart, of the families of a set.
    pub(super) fn dynamic_labels(&self, set: &FamilySet) -> impl Iterator<Item = &'static str> {
        self.dynamic.iter().filter(|(_, families)| set.has_any(families)).map(|(label, _)| *label)
    }

    /// The families that the parts hold.
    pub(super) fn families_of(&self, parts: &[KnownPart]) -> FamilySet {
        let mut present = FamilySet::with_room(self.families.len());
        parts.iter().for_each(|part| present.union(&part.rows.families));
        present
    }

    /// Metadata by metric name, of what the parts hold.
    pub(super) fn metadata(&self, parts: &[KnownPart]) -> BTreeMap<Arc<str>, Vec<Metadata>> {
        let mut out: BTreeMap<Arc<str>, Vec<Metadata>> = BTreeMap::new();
        for part in parts {
            let entries =
                part.rows.by_entry.iter().filter_map(|(entry, _)| self.entries.get(*entry as usize));
            for Entry { described, .. } in entries {
                let of_name = match out.get_mut(&described.name) {
                    Some(list) => list,
                    None => out.entry(described.name.clone()).or_default(),
                };
                if !of_name.contains(&described.metadata) {
                    of_name.push(described.metadata.clone());
                }
            }
        }
        out
    }
}

/// Keeps what is in the list, too; both ascend.
fn intersect(families: &mut Vec<u32>, list: &[u32]) {
    let mut rest = list;
    families.retain(|family| {
        rest = rest.get(less_at_start(rest, *family)..).unwrap_or_default();
        rest.first() == Some(family)
    });
}

/// How many at the start of an ascending list are less than a number: looked for in steps that double, because the next match is
/// mostly near.
fn less_at_start(list: &[u32], than: u32) -> usize {
    let mut step = 1;
    while list.get(step - 1).is_some_and(|number| *number < than) {
        step *= 2;
    }
    let (from, to) = (step / 2, step.min(list.len()));
    from + list.get(from..to).unwrap_or_default().partition_point(|number| *number < than)
}

impl Family {
    /// Whether some series of the family matches, as far as its labels tell.
    fn may_match(&self, matchers: &[&Matcher]) -> bool {
        let dynamic = self.form.dynamic_label();
        matchers.iter().all(|matcher| dynamic == Some(matcher.name()) || matcher.matches_labels(&self.labels))
    }
}

impl KnownPart {
    /// The row of an entry in the part. `from` is where the entry before was found: those of one metric are neighbours.
    fn row_of(&self, entry: u32, from: &mut usize) -> Option<u32> {
        let by_entry = &self.rows.by_entry;
        let known = |at: usize| by_entry.get(at).filter(|(known, _)| *known == entry);
        let at = match known(*from).or_else(|| known(*from + 1)) {
            Some((_, row)) => {
                *from += usize::from(known(*from).is_none());
                return Some(*row);
            }
            None => by_entry.binary_search_by_key(&entry, |(known, _)| *known).ok()?,
        };
        *from = at;
        by_entry.get(at).map(|(_, row)| *row)
    }

    /// The part's runs; a block's are read once.
    pub(super) fn runs(&self) -> Result<Arc<[RunBounds]>, Error> {
        if let MetricPart::Memtable(_) = self.part {
            return self.part.runs().map(Arc::from);
        }
        if let Some(runs) = self.rows.runs.get() {
            return Ok(runs.clone());
        }
        let runs: Arc<[RunBounds]> = self.part.runs()?.into();
        Ok(self.rows.runs.get_or_init(|| runs).clone())
    }
}

/// The rows of a `target_info` family that are looked at: its times are those of a few series of the resource.
const TARGET_INFO_ROWS: usize = 4;

impl FamilyEntry {
    pub(super) fn new(family: Family, is_delta: bool) -> FamilyEntry {
        FamilyEntry { family, first_entry: None, more_entries: Vec::new(), is_delta }
    }

    fn add(&mut self, entry: u32) {
        match self.first_entry {
            None => self.first_entry = Some(entry),
            Some(_) => self.more_entries.push(entry),
        }
    }

    /// The rows of the part that the family's samples come from. `from` is where the search starts, and is moved.
    pub(super) fn rows_in<'a>(
        &'a self,
        part: &'a KnownPart,
        from: &'a mut usize,
    ) -> impl Iterator<Item = u32> + 'a {
        let rows_max = if self.family.form == Form::TargetInfo { TARGET_INFO_ROWS } else { usize::MAX };
        let entries = self.first_entry.iter().chain(&self.more_entries);
        entries.filter_map(move |entry| part.row_of(*entry, from)).take(rows_max)
    }
}
