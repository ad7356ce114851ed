//! The metadata of single records: what a record has for itself, and what its origin gives to all of its records.

use std::borrow::Cow;

use ahash::AHashMap as HashMap;
use throughline_exec::log::MetadataWanted;
use throughline_model::Level;
use throughline_store::{FieldValue, FieldWant, KeyTest, LogFields};

use super::labels::{OriginLabels, flatten, number_text, sanitised};

/// The name of the level.
pub(super) const DETECTED_LEVEL: &str = "detected_level";

/// Which metadata is wanted.
pub(super) struct Wanted<'q> {
    wanted: &'q MetadataWanted,
    /// Whether a level and nothing else is wanted, for which no attributes are read.
    level_only: bool,
    /// Whether something is wanted that nearly every record has for itself.
    varies: bool,
}

/// What a record of OTLP has for itself, beside attributes and level.
const OWN: [&str; 8] = [
    "trace_id",
    "span_id",
    "severity_number",
    "severity_text",
    "observed_timestamp",
    "flags",
    "event_name",
    "dropped_attributes_count",
];

impl<'q> Wanted<'q> {
    pub fn new(wanted: &'q MetadataWanted) -> Wanted<'q> {
        let level_only = match wanted {
            MetadataWanted::Names(names) => names.iter().all(|name| name == DETECTED_LEVEL),
            _ => false,
        };
        let varies = match wanted {
            MetadataWanted::Names(names) => names.iter().any(|name| OWN.contains(&name.as_str())),
            MetadataWanted::All => true,
            MetadataWanted::None => false,
        };
        Wanted { wanted, level_only, varies }
    }

    pub fn is_none(&self) -> bool {
        match self.wanted {
            MetadataWanted::None => true,
            MetadataWanted::Names(names) => names.is_empty(),
            MetadataWanted::All => false,
        }
    }

    /// Whether a name is wanted.
    pub fn has(&self, name: &str) -> bool {
        match self.wanted {
            MetadataWanted::None => false,
            MetadataWanted::Names(names) => names.iter().any(|wanted| wanted == name),
            MetadataWanted::All => true,
        }
    }

    /// Whether an attribute, or a member of it, may have a name that is wanted.
    pub fn has_attribute(&self, key: &str) -> bool {
        let MetadataWanted::Names(names) = self.wanted else { return !self.is_none() };
        let name = sanitised(key);
        names.iter().any(|wanted| {
            wanted.strip_prefix(&name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        })
    }

    /// What the store is asked for.
    pub fn fields<'a>(&self, attributes: KeyTest<'a>) -> FieldWant<'a> {
        let any = |names: &[&str]| names.iter().any(|name| self.has(name));
        FieldWant {
            level: self.has(DETECTED_LEVEL),
            severity: any(&["severity_number", "severity_text"]),
            context: any(&["trace_id", "span_id"]),
            rest: any(&["observed_timestamp", "flags", "event_name", "dropped_attributes_count"]),
            original: false,
            attributes: (!self.is_none() && !self.level_only).then_some(attributes),
        }
    }
}

/// Texts of pairs, and the sets that they make: what [`throughline_exec::log::MetadataSets`] borrows.
#[derive(Default)]
pub(super) struct Sets {
    text: String,
    /// Where name and value of each pair end.
    pairs: Vec<(u32, u32)>,
    pub ends: Vec<u32>,
    pub set_of_row: Vec<u32>,
}

impl Sets {
    /// The pairs of all sets.
    pub fn pairs(&self) -> Vec<(&str, &str)> {
        let mut start = 0;
        let part = |from: u32, to: u32| self.text.get(from as usize..to as usize).unwrap_or_default();
        let pair = |(name, value): &(u32, u32)| {
            let pair = (part(start, *name), part(*name, *value));
            start = *value;
            pair
        };
        self.pairs.iter().map(pair).collect()
    }

    fn push_set<'a>(&mut self, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> u32 {
        for (name, value) in pairs {
            self.text.push_str(name);
            let name_end = self.text.len() as u32;
            self.text.push_str(value);
            self.pairs.push((name_end, self.text.len() as u32));
        }
        self.ends.push(self.pairs.len() as u32);
        self.ends.len() as u32 - 1
    }
}

/// Makes metadata; keeps names that were sanitised.
#[derive(Default)]
pub(super) struct MetadataMaker {
    names: HashMap<String, String>,
    pairs: Vec<(String, String)>,
    /// Sets of rows that have nothing for themselves but a level, by origin and level.
    common: HashMap<(usize, Level), u32>,
    /// Sets of kinds of rows, by origin and kind.
    of_kinds: HashMap<(usize, u32), u32>,
}

impl MetadataMaker {
    /// The sets of rows: `origins` gives the origin of each of them, `at` their places among the fields.
    pub fn sets<'o>(
        &mut self,
        wanted: &Wanted<'_>,
        fields: &LogFields<'_>,
        times: &[i64],
        at: &[u32],
        origin_of: impl Fn(u32) -> Option<&'o OriginLabels>,
    ) -> Sets {
        let mut sets = Sets::default();
        if wanted.is_none() {
            return sets;
        }
        let may_have_attributes = fields.may_have_attributes();
        let levels = fields.levels(times.len());
        let mut last = None;
        for row in at {
            let Some(origin) = origin_of(*row) else { continue };
            let (at, time) = (*row as usize, times.get(*row as usize).copied().unwrap_or_default());
            let is_common = !(wanted.varies || may_have_attributes && fields.has_attributes(at));
            // Origins stay where they are while rows are handed out.
            let level = levels.get(at).copied().unwrap_or_default();
            let key = (std::ptr::from_ref(origin) as usize, level);
            let kind = fields.kind(at).map(|kind| (key.0, kind));
            let known = match last {
                _ if !is_common => kind.and_then(|kind| self.of_kinds.get(&kind).copied()),
                Some((last, set)) if last == key => Some(set),
                _ => self.common.get(&key).copied(),
            };
            let set = known.unwrap_or_else(|| {
                self.fill(wanted, fields, (at, time, level), origin);
                let pairs = self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                let set = sets.push_set(pairs);
                if is_common {
                    self.common.insert(key, set);
                } else if let Some(kind) = kind {
                    self.of_kinds.insert(kind, set);
                }
                set
            });
            if is_common {
                last = Some((key, set));
            }
            sets.set_of_row.push(set);
        }
        self.common.clear();
        self.of_kinds.clear();
        sets
    }

    /// Fills in the pairs of a row, sorted.
    fn fill(
        &mut self,
        wanted: &Wanted<'_>,
        fields: &LogFields<'_>,
        (row, time, level): (usize, i64, Level),
        origin: &OriginLabels,
    ) {
        let MetadataMaker { names, pairs, .. } = self;
        pairs.clear();
        fields.each_attribute(row, &mut |key, value| {
            if !names.contains_key(key) {
                names.insert(key.to_owned(), sanitised(key));
            }
            let name = names.get(key).map_or(key, String::as_str);
            match (value, text_of_field(value)) {
                (FieldValue::Json(json), _) => {
                    flatten(key, json, &mut |name, value| pairs.push((name.to_owned(), value)));
                }
                (_, text) => pairs.push((name.to_owned(), text.unwrap_or_default().into_owned())),
            }
        });
        if !origin.is_pushed {
            push_own(fields, row, time, pairs);
            pairs.extend(origin.metadata.iter().cloned());
        }
        if !pairs.iter().any(|(name, _)| name == DETECTED_LEVEL) {
            pairs.push((DETECTED_LEVEL.to_owned(), level.name().to_owned()));
        }
        pairs.retain(|(name, value)| wanted.has(name) && !value.is_empty());
        super::labels::sort_pairs(pairs);
    }
}

/// The text of an attribute's value; none of a structure, which is several.
pub(super) fn text_of_field(value: FieldValue<'_>) -> Option<Cow<'_, str>> {
    Some(match value {
        FieldValue::Text(text) => Cow::Borrowed(text),
        FieldValue::Int(number) => Cow::Owned(number.to_string()),
        FieldValue::Double(number) => Cow::Owned(number_text(number)),
        FieldValue::Bool(is) => Cow::Borrowed(if is { "true" } else { "false" }),
        FieldValue::Json(_) => return None,
    })
}

/// What a record of OTLP has beside body and attributes.
fn push_own(fields: &LogFields<'_>, row: usize, time: i64, pairs: &mut Vec<(String, String)>) {
    let mut push = |name: &str, value: String| pairs.push((name.to_owned(), value));
    let (trace, span) = fields.context(row);
    if let Some(trace) = trace {
        push("trace_id", trace.to_string());
    }
    if let Some(span) = span {
        push("span_id", span.to_string());
    }
    match fields.severity_number(row) {
        0 => {}
        number => push("severity_number", number.to_string()),
    }
    push("severity_text", fields.severity_text(row).to_owned());
    match fields.flags(row) {
        0 => {}
        flags => push("flags", flags.to_string()),
    }
    match fields.observed_delay_ns(row) {
        0 => {}
        delay => push("observed_timestamp", time.wrapping_add(delay).to_string()),
    }
    push("event_name", fields.event_name(row).to_owned());
    if let Some(count) = fields.dropped(row).split_once("\"attributes\":").map(|(_, rest)| rest) {
        push("dropped_attributes_count", count.chars().take_while(char::is_ascii_digit).collect());
    }
}
