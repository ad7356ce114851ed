//! Attributes of series. Hundreds of thousands of series have most of theirs in common: those of a target, and a few that name what
//! they count. A memtable holds each attribute once, with what it is in JSON, which every flush writes anew.

use std::borrow::Cow;
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;
use throughline_model::attribute;
use throughline_model::protobuf::Reader;

/// What an attribute takes beside its bytes: three allocations and its place in a table.
const PAIR_BYTES: usize = 96;

/// An attribute: its entry in an attribute list, and the member of a JSON object.
#[derive(Debug)]
struct Pair {
    entry: Box<[u8]>,
    json: Box<str>,
}

impl Pair {
    fn new(entry: &[u8]) -> Pair {
        let mut json = String::new();
        attribute::write_json_object(entry, &mut json);
        let member = json.strip_prefix('{').and_then(|json| json.strip_suffix('}')).unwrap_or_default();
        Pair { entry: entry.into(), json: member.into() }
    }
}

/// The attributes of a series.
#[derive(Clone, Debug)]
pub struct SeriesAttributes(Form);

#[derive(Clone, Debug)]
enum Form {
    Whole(Box<[u8]>),
    Shared(Box<[Arc<Pair>]>),
}

impl SeriesAttributes {
    /// Those of an attribute list.
    pub fn whole(list: &[u8]) -> SeriesAttributes {
        SeriesAttributes(Form::Whole(list.into()))
    }

    /// As an attribute list.
    pub fn list(&self) -> Cow<'_, [u8]> {
        match &self.0 {
            Form::Whole(list) => Cow::Borrowed(list),
            Form::Shared(pairs) => {
                let mut list = Vec::with_capacity(pairs.iter().map(|pair| pair.entry.len()).sum());
                pairs.iter().for_each(|pair| list.extend_from_slice(&pair.entry));
                Cow::Owned(list)
            }
        }
    }

    /// Appends them as a JSON object.
    pub(crate) fn write_json(&self, out: &mut String) {
        let pairs = match &self.0 {
            Form::Whole(list) => return attribute::write_json_object(list, out),
            Form::Shared(pairs) => pairs,
        };
        out.reserve(2 + pairs.iter().map(|pair| pair.json.len() + 1).sum::<usize>());
        out.push('{');
        for (at, pair) in pairs.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            out.push_str(&pair.json);
        }
        out.push('}');
    }

    /// The memory that the series has of its own.
    pub(super) fn bytes(&self) -> usize {
        match &self.0 {
            Form::Whole(list) => list.len(),
            Form::Shared(pairs) => size_of_val(&**pairs),
        }
    }
}

impl PartialEq for SeriesAttributes {
    fn eq(&self, other: &Self) -> bool {
        self.list() == other.list()
    }
}

/// The attributes that the series of a memtable have.
#[derive(Default)]
pub(super) struct Pairs {
    known: HashTable<Arc<Pair>>,
    state: RandomState,
    bytes: usize,
}

impl Pairs {
    /// The attributes of a list, shared with other series.
    pub(super) fn share(&mut self, list: &[u8]) -> SeriesAttributes {
        let mut pairs = Vec::new();
        let mut reader = Reader::new(list);
        while !reader.rest().is_empty() {
            let rest = reader.rest();
            let is_whole =
                reader.delimited().is_ok_and(|message| attribute::decode_key_value(message).is_ok());
            let entry = rest.get(..rest.len() - reader.rest().len()).filter(|_| is_whole);
            // What cannot be taken apart stays as it came.
            let Some(entry) = entry else { return SeriesAttributes::whole(list) };
            pairs.push(self.pair(entry));
        }
        SeriesAttributes(Form::Shared(pairs.into()))
    }

    fn pair(&mut self, entry: &[u8]) -> Arc<Pair> {
        let hash = self.state.hash_one(entry);
        if let Some(known) = self.known.find(hash, |pair| *pair.entry == *entry) {
            return known.clone();
        }
        let new = Arc::new(Pair::new(entry));
        self.bytes += PAIR_BYTES + new.entry.len() + new.json.len();
        let state = &self.state;
        self.known.insert_unique(hash, new.clone(), |pair| state.hash_one(&*pair.entry));
        new
    }

    /// The memory of all of them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use throughline_model::attribute::Value;

    use super::*;

    fn json(attributes: &SeriesAttributes) -> String {
        let mut json = String::new();
        attributes.write_json(&mut json);
        json
    }

    #[test]
    fn shared_attributes_are_those_of_the_list() {
        let mut pairs = Pairs::default();
        let mut nested = Vec::new();
        attribute::push_text(&mut nested, "in\"side", "\n");
        let lists: Vec<Vec<u8>> = (0..40u8)
            .map(|n| {
                let mut list = Vec::new();
                attribute::push_text(&mut list, "job", ["a", "b\\\"", ""][usize::from(n % 3)]);
                attribute::push(&mut list, "n", Value::Int(i64::from(n / 10)));
                attribute::push(&mut list, "x", Value::Double(f64::NAN));
                attribute::push(&mut list, "map", Value::Map(&nested));
                list.truncate(if n % 4 == 0 { 0 } else { list.len() });
                list
            })
            .collect();
        for list in &lists {
            let (whole, shared) = (SeriesAttributes::whole(list), pairs.share(list));
            assert_eq!((&*shared.list(), json(&shared)), (list.as_slice(), json(&whole)));
            assert_eq!(whole, shared);
        }
        // Three jobs, four numbers, and what is the same for all.
        assert_eq!(pairs.known.len(), 9);
        assert!(pairs.bytes() > 9 * PAIR_BYTES);
    }

    #[test]
    fn what_is_damaged_stays_as_it_came() {
        let mut pairs = Pairs::default();
        let mut list = Vec::new();
        attribute::push_text(&mut list, "job", "a");
        attribute::push_text(&mut list, "pod", "b");
        for cut in 0..list.len() {
            let (whole, shared) = (SeriesAttributes::whole(&list[..cut]), pairs.share(&list[..cut]));
            assert_eq!((&*shared.list(), json(&shared)), (&list[..cut], json(&whole)));
        }
    }
}
