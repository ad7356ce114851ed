//! The `index` file of a block: what decides where to read before anything is read.
//!
//! 1. a *filter* over the fingerprints of the block's trace ids (binary fuse, 9 bits a trace, pinned in memory);
//! 2. a *look-up* from fingerprint to the trace's row in the trace table: entries sorted by fingerprint, in buckets of
//!    about [`BUCKET_ENTRIES`], of which only the directory is pinned;
//! 3. *postings* from trace to its rows of spans, logs and exemplars, varint-coded in groups of [`GROUP_TRACES`];
//! 4. *token filters* of log bodies, one for each row group of `logs.parquet`.
//!
//! `docs/format/block.md` draws the bytes. Checksums are those of every file of a block ([`super::checksums`]).

mod format;
mod fuse;
mod reader;
pub(crate) mod tokens;
mod writer;

pub(crate) use reader::IndexReader;
pub(crate) use writer::{IndexWriter, TracePostings};

/// Look-up entries that share a bucket, on average: what one look-up reads is 8 bytes each.
const BUCKET_ENTRIES: usize = 64;

/// Traces that share a group of postings: what one look-up reads is about 10 bytes each.
const GROUP_TRACES: usize = 64;

#[cfg(test)]
mod tests;
