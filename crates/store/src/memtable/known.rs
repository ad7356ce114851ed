//! The series that a memtable knows, by fingerprint, and those of the memtable before it.

use std::sync::Arc;

use ahash::{AHashMap as HashMap, AHashSet as HashSet, RandomState};
use arrow_array::types::UInt8Type;
use arrow_array::{Array, BooleanArray, RecordBatch};
use hashbrown::HashTable;
use throughline_model::batch::{
    column_binary, column_dictionary, column_fixed, column_number, column_text, series,
};
use throughline_model::label;
use throughline_model::point::{MetricType, PointKind};

use super::attributes::Pairs;
use super::{Instrument, SeriesEntry, SeriesHalves};
use crate::snapshot::services::half;

/// What a series takes beside its attributes: its entry, and its places in lists and tables.
pub(super) const SERIES_BYTES: usize = 128;

/// Those of [`SERIES_BYTES`] that each memtable of a shared series takes.
pub(super) const SHARED_SERIES_BYTES: usize = 64;

/// Series by fingerprint. Their numbers count up as they come.
#[derive(Default)]
pub(super) struct SeriesTable {
    /// The fingerprints of the series, side by side.
    fingerprints: Vec<[u8; 16]>,
    numbers: HashTable<u32>,
    state: RandomState,
    /// The number after that of the last one found.
    next: usize,
}

impl SeriesTable {
    pub(super) fn is_empty(&self) -> bool {
        self.fingerprints.is_empty()
    }

    /// The number of a series. Senders send their series in the same order again and again: the next one is tried before it is
    /// looked for.
    pub(super) fn find(&mut self, fingerprint: &[u8]) -> Option<u32> {
        let of = |number: u32| self.fingerprints.get(number as usize).map(<[u8; 16]>::as_slice);
        let next = self.next as u32;
        let number = if of(next) == Some(fingerprint) {
            next
        } else {
            let hash = self.state.hash_one(fingerprint);
            *self.numbers.find(hash, |number| of(*number) == Some(fingerprint))?
        };
        self.next = number as usize + 1;
        Some(number)
    }

    /// Adds a series that is not there, and returns its number.
    pub(super) fn push(&mut self, fingerprint: [u8; 16]) -> u32 {
        let number = self.fingerprints.len() as u32;
        self.fingerprints.push(fingerprint);
        let (fingerprints, state) = (&self.fingerprints, &self.state);
        let of = |number: &u32| fingerprints.get(*number as usize).map(<[u8; 16]>::as_slice);
        let hash_of = |number: &u32| state.hash_one(of(number).unwrap_or_default());
        self.numbers.insert_unique(state.hash_one(fingerprint.as_slice()), number, hash_of);
        self.next = number as usize + 1;
        number
    }
}

/// The series of the memtable before.
pub(super) struct Before {
    table: SeriesTable,
    series: Arc<Vec<Arc<SeriesEntry>>>,
}

impl Before {
    pub(super) fn new(mut table: SeriesTable, series: Arc<Vec<Arc<SeriesEntry>>>) -> Before {
        table.next = 0;
        Before { table, series }
    }

    pub(super) fn find(&mut self, fingerprint: &[u8]) -> Option<Arc<SeriesEntry>> {
        let number = self.table.find(fingerprint)?;
        self.series.get(number as usize).cloned()
    }
}

/// What only inserting needs.
#[derive(Default)]
pub(crate) struct Known {
    pub(super) table: SeriesTable,
    pub(super) before: Option<Before>,
    /// The numbers of the series' services.
    services: HashMap<Arc<str>, u32>,
    /// Texts that many series share: services, resources, scopes and metric names.
    texts: HashMap<Arc<str>, ()>,
    /// What many series share as a whole.
    instruments: HashSet<Arc<Instrument>>,
    /// The attributes of series.
    pub(super) pairs: Pairs,
}

impl Known {
    pub(super) fn add_half(&mut self, entry: &SeriesEntry, halves: &mut SeriesHalves) {
        let number = match self.services.get(&entry.service) {
            Some(number) => *number,
            None => {
                let number = halves.services.len() as u32;
                self.services.insert(entry.service.clone(), number);
                halves.services.push(entry.service.clone());
                number
            }
        };
        halves.halves.push((number, half(&entry.fingerprint)));
    }

    pub(super) fn series_entry(&mut self, rows: &RecordBatch, row: usize) -> SeriesEntry {
        let monotonic: Option<&BooleanArray> = rows.column(series::MONOTONIC).as_any().downcast_ref();
        let kind = PointKind::from_code(column_number::<UInt8Type>(rows, series::KIND).value(row));
        let stored = column_binary(rows, series::ATTRIBUTES).value(row);
        let (metric, service, attributes) = if kind.is_prometheus() {
            // The batch has the labels as they came: they are taken apart once, here.
            let named = label::named(stored);
            (self.text(named.metric), self.text(named.service), self.pairs.share(&named.attributes))
        } else {
            let metric = self.text(column_text(rows, series::METRIC).value(row));
            (metric, self.dictionary_text(rows, series::SERVICE, row), self.pairs.share(stored))
        };
        let instrument = Instrument {
            metric,
            kind,
            unit: self.text(column_text(rows, series::UNIT).value(row)),
            description: self.text(column_text(rows, series::DESCRIPTION).value(row)),
            temporality: column_number::<UInt8Type>(rows, series::TEMPORALITY).value(row),
            monotonic: monotonic.is_some_and(|column| column.value(row)),
            service,
            resource: self.dictionary_text(rows, series::RESOURCE, row),
            scope: self.dictionary_text(rows, series::SCOPE, row),
            metric_type: MetricType::from_code(
                column_number::<UInt8Type>(rows, series::METRIC_TYPE).value(row),
            ),
        };
        let fingerprint = column_fixed(rows, series::FINGERPRINT).value(row);
        SeriesEntry {
            fingerprint: fingerprint.try_into().unwrap_or_default(),
            instrument: self.instrument(instrument),
            attributes,
        }
    }

    fn instrument(&mut self, instrument: Instrument) -> Arc<Instrument> {
        if let Some(known) = self.instruments.get(&instrument) {
            return known.clone();
        }
        let new = Arc::new(instrument);
        self.instruments.insert(new.clone());
        new
    }

    fn dictionary_text(&mut self, rows: &RecordBatch, position: usize, row: usize) -> Arc<str> {
        let column = column_dictionary(rows, position);
        let values: Option<&arrow_array::StringArray> = column.values().as_any().downcast_ref();
        let key = column.key(row).unwrap_or_default();
        self.text(values.filter(|values| key < values.len()).map_or("", |values| values.value(key)))
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some((known, ())) = self.texts.get_key_value(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.texts.insert(new.clone(), ());
        new
    }
}
