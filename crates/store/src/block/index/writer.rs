//! Writes the `index` file.

use throughline_model::protobuf::put_varint;

use super::format::{HEADER_BYTES, MAGIC, Section, VERSION, bucket_of};
use super::tokens::Filter;
use super::{BUCKET_ENTRIES, GROUP_TRACES, fuse};
use crate::error::Error;

/// Where the rows of one trace lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TracePostings {
    /// The first of its rows in `spans.parquet`; they are contiguous.
    pub(crate) first_span: u32,
    /// How many spans.
    pub(crate) span_count: u32,
    /// Its rows in `logs.parquet`, ascending.
    pub(crate) logs: Vec<u32>,
    /// Its rows in `exemplars.parquet`, ascending.
    pub(crate) exemplars: Vec<u32>,
}

/// Collects what the index holds; traces come in the order of the trace table.
#[derive(Default)]
pub(crate) struct IndexWriter {
    fingerprints: Vec<(u64, u32)>,
    group_offsets: Vec<u32>,
    postings: Vec<u8>,
    token_offsets: Vec<u32>,
    tokens: Vec<u8>,
    token_lengths: Vec<u64>,
    next_span: u32,
}

impl IndexWriter {
    /// Adds the next trace. Spans of all traces follow each other without gaps.
    pub(crate) fn add_trace(&mut self, fingerprint: u64, postings: &TracePostings) {
        let row = self.fingerprints.len();
        self.fingerprints.push((fingerprint, row as u32));
        if row.is_multiple_of(GROUP_TRACES) {
            self.group_offsets.push(self.postings.len() as u32);
            put_varint(&mut self.postings, u64::from(self.next_span));
        }
        self.next_span += postings.span_count;
        put_varint(&mut self.postings, u64::from(postings.span_count));
        for rows in [&postings.logs, &postings.exemplars] {
            put_varint(&mut self.postings, rows.len() as u64);
            let mut before = 0;
            for row in rows {
                put_varint(&mut self.postings, u64::from(row.wrapping_sub(before)));
                before = *row;
            }
        }
    }

    /// Adds the token filter of the next row group of logs.
    pub(crate) fn add_tokens(&mut self, filter: &Filter) {
        self.token_offsets.push(self.tokens.len() as u32);
        self.tokens.extend_from_slice(&filter.bytes);
        self.token_lengths.push(filter.lengths);
    }

    /// The bytes of the file.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, Error> {
        self.group_offsets.push(self.postings.len() as u32);
        self.token_offsets.push(self.tokens.len() as u32);
        self.tokens.extend(self.token_lengths.iter().flat_map(|lengths| lengths.to_le_bytes()));
        self.fingerprints.sort_unstable();
        let (directory, entries) = self.lookup();
        let sections: [Vec<u8>; Section::ALL.len()] = [
            self.filter()?,
            directory,
            entries,
            words(&self.group_offsets),
            self.postings,
            words(&self.token_offsets),
            self.tokens,
        ];
        let mut file = Vec::with_capacity(HEADER_BYTES + sections.iter().map(Vec::len).sum::<usize>());
        file.extend_from_slice(&MAGIC);
        file.extend_from_slice(&VERSION.to_le_bytes());
        let mut offset = HEADER_BYTES as u64;
        for section in &sections {
            file.extend_from_slice(&offset.to_le_bytes());
            file.extend_from_slice(&(section.len() as u64).to_le_bytes());
            offset += section.len() as u64;
        }
        sections.iter().for_each(|section| file.extend_from_slice(section));
        Ok(file)
    }

    fn filter(&self) -> Result<Vec<u8>, Error> {
        let mut keys: Vec<u64> = self.fingerprints.iter().map(|(fingerprint, _)| *fingerprint).collect();
        keys.dedup();
        fuse::written(&keys)
    }

    fn lookup(&self) -> (Vec<u8>, Vec<u8>) {
        let n_buckets = self.fingerprints.len().div_ceil(BUCKET_ENTRIES);
        let mut directory = Vec::with_capacity(n_buckets + 1);
        let mut entries = Vec::with_capacity(8 * self.fingerprints.len());
        for (at, (fingerprint, row)) in self.fingerprints.iter().enumerate() {
            let bucket = bucket_of(*fingerprint, n_buckets);
            directory.resize((bucket + 1).max(directory.len()), at as u32);
            entries.extend_from_slice(&(*fingerprint as u32).to_le_bytes());
            entries.extend_from_slice(&row.to_le_bytes());
        }
        directory.resize(n_buckets + 1, self.fingerprints.len() as u32);
        (words(&directory), entries)
    }
}

fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}
