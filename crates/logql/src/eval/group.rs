//! Which series of the result a row belongs to.

use std::collections::HashMap;

use throughline_exec::Labels;

use crate::pipeline::labels::RowLabels;
use crate::pipeline::symbols::{ERROR, ERROR_DETAILS, Symbol, Symbols};

/// The labels of the result.
#[derive(Clone, Debug)]
pub(super) enum GroupBy {
    /// All but these.
    Without {
        names: Vec<Symbol>,
        /// Whether a label of an empty value tells nothing apart, as in a sum.
        drops_empty: bool,
    },
    /// These.
    By(Vec<Symbol>),
}

/// Series by their labels. The key of a row is made in memory that is used again; labels are made once for each series.
#[derive(Debug)]
pub(super) struct Groups {
    by: GroupBy,
    known: HashMap<Box<[u8]>, usize, ahash::RandomState>,
    labels: Vec<Labels>,
    key: Vec<u8>,
    /// Labels of a row and where their values are in `text`.
    pairs: Vec<(Symbol, usize, usize)>,
    text: String,
    /// An estimate of the memory of all keys and labels.
    bytes: u64,
}

impl Groups {
    pub(super) fn new(by: GroupBy) -> Groups {
        Groups {
            by,
            known: HashMap::default(),
            labels: Vec::new(),
            key: Vec::new(),
            pairs: Vec::new(),
            text: String::new(),
            bytes: 0,
        }
    }

    /// The series of a row.
    pub(super) fn of(&mut self, row: &RowLabels, symbols: &Symbols) -> usize {
        self.pairs.clear();
        self.text.clear();
        let mut push = |name: Symbol, value: &str| {
            let start = self.text.len();
            self.text.push_str(value);
            self.pairs.push((name, start, self.text.len()));
        };
        match &self.by {
            GroupBy::Without { names, drops_empty } => {
                let kept = row
                    .iter()
                    .filter(|(name, value, _)| !(names.contains(name) || *drops_empty && value.is_empty()));
                kept.for_each(|(name, value, _)| push(name, value));
            }
            GroupBy::By(names) => {
                for name in names {
                    if let Some(value) = row.get(*name) {
                        push(*name, value);
                    } else if matches!(*name, ERROR | ERROR_DETAILS) && !row.text(*name).is_empty() {
                        push(*name, row.text(*name));
                    }
                }
            }
        }
        self.pairs.sort_unstable_by_key(|pair| pair.0);
        self.key.clear();
        for (name, start, end) in &self.pairs {
            self.key.extend_from_slice(&name.0.to_le_bytes());
            self.key.extend_from_slice(&(end - start).to_le_bytes());
            self.key.extend_from_slice(self.text.as_bytes().get(*start..*end).unwrap_or_default());
        }
        if let Some(at) = self.known.get(self.key.as_slice()) {
            return *at;
        }
        let at = self.labels.len();
        let value = |pair: &(Symbol, usize, usize)| self.text.get(pair.1..pair.2).unwrap_or_default();
        let mut named: Vec<(&str, &str)> =
            self.pairs.iter().map(|pair| (symbols.name(pair.0), value(pair))).collect();
        named.sort_unstable();
        named.dedup_by_key(|pair| pair.0);
        let labels = Labels::from_sorted_with_empty(named);
        self.bytes += 2 * (self.key.len() + labels.bytes()) as u64;
        self.labels.push(labels);
        self.known.insert(self.key.as_slice().into(), at);
        at
    }

    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn into_labels(self) -> Vec<Labels> {
        self.labels
    }
}
