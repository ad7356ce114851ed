//! Reads the `index` file: the filter and the directories are pinned, the rest is read where a look-up needs it.

use std::ops::Range;

use bytes::Bytes;
use throughline_model::protobuf::Reader;

use super::format::{HEADER_BYTES, MAGIC, Section, VERSION, VERSION_WITH_BLOOM, bucket_of};
use super::tokens::TextTokens;
use super::{GROUP_TRACES, TracePostings, fuse, tokens};
use crate::block::checksums::{CheckedFile, Windows};
use crate::error::Error;

/// An open index.
pub(crate) struct IndexReader {
    file: CheckedFile,
    sections: [(u64, usize); Section::ALL.len()],
    filter: Bytes,
    lookup_directory: Bytes,
    postings_directory: Bytes,
    tokens_directory: Bytes,
    /// Of each token filter; empty in blocks from before they were kept.
    token_lengths: Bytes,
}

impl IndexReader {
    /// Reads the header and pins the filter and the directories.
    pub(crate) fn open(file: CheckedFile) -> Result<IndexReader, Error> {
        let header = file.read(0, HEADER_BYTES)?;
        let word = |at: usize| read_u32(&header, at).unwrap_or_default();
        if header.get(..4) != Some(&MAGIC) {
            return Err(Error::damaged(file.path(), "it does not start as an index does"));
        }
        let version = word(4);
        if !(VERSION_WITH_BLOOM..=VERSION).contains(&version) {
            let path = file.path().to_path_buf();
            return Err(Error::Version { path, found: version, supported: VERSION });
        }
        let mut sections = [(0, 0); Section::ALL.len()];
        for (at, section) in sections.iter_mut().enumerate() {
            let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
            *section = (long(8 + 16 * at), usize::try_from(long(16 + 16 * at)).unwrap_or(usize::MAX));
        }
        let mut index = IndexReader {
            file,
            sections,
            filter: Bytes::new(),
            lookup_directory: Bytes::new(),
            postings_directory: Bytes::new(),
            tokens_directory: Bytes::new(),
            token_lengths: Bytes::new(),
        };
        index.filter = index.section(Section::Filter)?;
        if !fuse::is_sound(&index.filter) {
            return Err(Error::damaged(index.file.path(), "its filter does not fit its own description"));
        }
        index.lookup_directory = index.section(Section::LookupDirectory)?;
        index.postings_directory = index.section(Section::PostingsDirectory)?;
        if version != VERSION_WITH_BLOOM {
            index.tokens_directory = index.section(Section::TokensDirectory)?;
        }
        index.token_lengths = index.read_token_lengths()?;
        Ok(index)
    }

    /// The bytes that stay in memory.
    pub(crate) fn pinned_bytes(&self) -> usize {
        self.filter.len()
            + self.lookup_directory.len()
            + self.postings_directory.len()
            + self.tokens_directory.len()
            + self.token_lengths.len()
    }

    /// What lies behind the filters, if as much lies there as there are filters.
    fn read_token_lengths(&self) -> Result<Bytes, Error> {
        let n_filters = (self.tokens_directory.len() / 4).saturating_sub(1);
        let from = read_u32(&self.tokens_directory, 4 * n_filters).unwrap_or_default() as usize;
        let (_, len) = self.sections.get(Section::Tokens as usize).copied().unwrap_or_default();
        match len.checked_sub(from) {
            Some(rest) if rest == 8 * n_filters => self.part(Section::Tokens, from, rest),
            _ => Ok(Bytes::new()),
        }
    }

    /// Whether a trace of this fingerprint may be in the block; `false` is certain.
    pub(crate) fn may_contain(&self, fingerprint: u64) -> bool {
        fuse::may_contain(&self.filter, fingerprint)
    }

    /// The rows of the trace table whose fingerprint agrees in the bits that are stored; the caller compares ids.
    pub(crate) fn candidates(&self, fingerprint: u64) -> Result<Vec<u32>, Error> {
        let n_buckets = (self.lookup_directory.len() / 4).saturating_sub(1);
        if n_buckets == 0 || !self.may_contain(fingerprint) {
            return Ok(Vec::new());
        }
        let bucket = bucket_of(fingerprint, n_buckets);
        let (from, to) = self.span(&self.lookup_directory, bucket)?;
        let entries = self.part(Section::LookupEntries, from * 8, (to - from) * 8)?;
        let wanted = fingerprint as u32;
        Ok(entries
            .as_chunks::<8>()
            .0
            .iter()
            .filter(|entry| read_u32(entry.as_slice(), 0) == Some(wanted))
            .filter_map(|entry| read_u32(entry.as_slice(), 4))
            .collect())
    }

    /// As [`IndexReader::candidates`] of many: rows, ascending, each with the place of the fingerprint that it may be of.
    pub(crate) fn candidates_of(
        &self,
        fingerprints: impl Iterator<Item = u64>,
    ) -> Result<Vec<(u32, usize)>, Error> {
        let n_buckets = (self.lookup_directory.len() / 4).saturating_sub(1);
        if n_buckets == 0 {
            return Ok(Vec::new());
        }
        let mut wanted: Vec<(usize, u32, usize)> = fingerprints
            .zip(0..)
            .filter(|(fingerprint, _)| self.may_contain(*fingerprint))
            .map(|(fingerprint, at)| (bucket_of(fingerprint, n_buckets), fingerprint as u32, at))
            .collect();
        wanted.sort_unstable();
        let spans: Vec<(usize, usize)> = wanted
            .iter()
            .map(|(bucket, ..)| self.span(&self.lookup_directory, *bucket))
            .collect::<Result<_, Error>>()?;
        let parts = self.parts(Section::LookupEntries, spans.iter().map(|(from, to)| from * 8..to * 8))?;
        let mut found = Vec::with_capacity(wanted.len());
        for ((_, fingerprint, at), entries) in wanted.iter().zip(&parts) {
            let entries = entries.as_chunks::<8>().0.iter();
            let of_it = entries.filter(|entry| read_u32(entry.as_slice(), 0) == Some(*fingerprint));
            found.extend(of_it.filter_map(|entry| Some((read_u32(entry.as_slice(), 4)?, *at))));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Where the rows of traces lie, whose numbers differ and ascend: groups of them are read and decoded once.
    pub(crate) fn postings_of(&self, trace_rows: &[u32]) -> Result<Vec<TracePostings>, Error> {
        let group_of = |row: &u32| *row as usize / GROUP_TRACES;
        let by_group: Vec<&[u32]> = trace_rows.chunk_by(|a, b| group_of(a) == group_of(b)).collect();
        let mut spans = Vec::with_capacity(by_group.len());
        for group in by_group.iter().filter_map(|rows| rows.first().map(group_of)) {
            let (from, to) = self.span(&self.postings_directory, group)?;
            spans.push(from..to);
        }
        let mut found = Vec::with_capacity(trace_rows.len());
        for (rows, bytes) in by_group.iter().zip(&self.parts(Section::Postings, spans.into_iter())?) {
            let positions = rows.iter().map(|row| *row as usize % GROUP_TRACES);
            decode_some_of_group(bytes, positions, &mut found).ok_or_else(|| {
                let group = rows.first().map_or(0, group_of);
                Error::damaged(self.file.path(), format!("postings group {group} ends early"))
            })?;
        }
        Ok(found)
    }

    /// Where the rows of a trace lie.
    pub(crate) fn postings(&self, trace_row: u32) -> Result<TracePostings, Error> {
        self.postings_of(&[trace_row]).map(|mut found| found.pop().unwrap_or_default())
    }

    /// The first span of each trace, and behind the last the number of spans. None where they do not follow each other.
    pub(crate) fn span_starts(&self) -> Result<Option<Vec<u32>>, Error> {
        let mut starts = Vec::new();
        let mut next = 0u32;
        for group in 0..(self.postings_directory.len() / 4).saturating_sub(1) {
            let (from, to) = self.span(&self.postings_directory, group)?;
            let bytes = self.part(Section::Postings, from, to - from)?;
            let mut reader = Reader::new(&bytes);
            let short = || Error::damaged(self.file.path(), format!("postings group {group} ends early"));
            let first = reader.varint().map_err(|_| short())? as u32;
            if first != next && !starts.is_empty() {
                return Ok(None);
            }
            next = first;
            while !reader.rest().is_empty() {
                let postings = decode_postings(&mut reader, next, false).ok_or_else(short)?;
                starts.push(next);
                let Some(end) = next.checked_add(postings.span_count) else { return Ok(None) };
                next = end;
            }
        }
        starts.push(next);
        Ok(Some(starts))
    }

    /// The postings of every trace, in the order of their rows. For merging.
    pub(crate) fn all_postings(&self) -> Result<Vec<TracePostings>, Error> {
        let mut out = Vec::new();
        for group in 0..(self.postings_directory.len() / 4).saturating_sub(1) {
            let (from, to) = self.span(&self.postings_directory, group)?;
            let bytes = self.part(Section::Postings, from, to - from)?;
            let mut reader = Reader::new(&bytes);
            let short = || Error::damaged(self.file.path(), format!("postings group {group} ends early"));
            let mut first_span = reader.varint().map_err(|_| short())? as u32;
            while !reader.rest().is_empty() {
                let postings = decode_postings(&mut reader, first_span, true).ok_or_else(short)?;
                first_span = first_span.wrapping_add(postings.span_count);
                out.push(postings);
            }
        }
        Ok(out)
    }

    /// Whether a row group of logs may hold the text of these tokens; `false` is certain.
    pub(crate) fn may_contain_tokens(&self, row_group: usize, text: &TextTokens) -> Result<bool, Error> {
        if row_group + 1 >= self.tokens_directory.len() / 4 {
            return Ok(true);
        }
        let lengths =
            self.token_lengths.as_chunks::<8>().0.get(row_group).map(|word| u64::from_le_bytes(*word));
        let (from, to) = self.span(&self.tokens_directory, row_group)?;
        let mut wanted = text.among(lengths).peekable();
        if wanted.peek().is_none() {
            return Ok(true);
        }
        let head = self.part(Section::Tokens, from, (to - from).min(fuse::Description::LEN))?;
        if head == tokens::ALL.as_slice() {
            return Ok(true);
        }
        if head.is_empty() {
            return Ok(false);
        }
        let Some(filter) = fuse::Description::of(&head, to - from) else {
            let reason =
                format!("the token filter of row group {row_group} does not fit its own description");
            return Err(Error::damaged(self.file.path(), reason));
        };
        let mut wanted: Vec<(u64, Range<usize>)> = wanted.map(|hash| (hash, filter.part(hash))).collect();
        wanted.sort_unstable_by_key(|(_, part)| part.start);
        let places = wanted.iter().map(|(_, part)| from + part.start..from + part.end);
        let parts = self.parts(Section::Tokens, places)?;
        Ok(wanted.iter().zip(&parts).all(|((hash, _), part)| filter.may_contain(*hash, part)))
    }

    fn span(&self, directory: &Bytes, at: usize) -> Result<(usize, usize), Error> {
        match (read_u32(directory, 4 * at), read_u32(directory, 4 * at + 4)) {
            (Some(from), Some(to)) if from <= to => Ok((from as usize, to as usize)),
            _ => Err(Error::damaged(self.file.path(), format!("no entry {at} in its directory"))),
        }
    }

    fn section(&self, section: Section) -> Result<Bytes, Error> {
        let (_, len) = self.sections.get(section as usize).copied().unwrap_or_default();
        self.part(section, 0, len)
    }

    fn part(&self, section: Section, from: usize, len: usize) -> Result<Bytes, Error> {
        let (offset, section_len) = self.sections.get(section as usize).copied().unwrap_or_default();
        if from.saturating_add(len) > section_len {
            return Err(Error::damaged(
                self.file.path(),
                format!("{section:?} is shorter than its directory says"),
            ));
        }
        self.file.read(offset + from as u64, len)
    }

    /// Parts of a section that ascend: those that lie near each other are read together.
    fn parts(
        &self,
        section: Section,
        ranges: impl Iterator<Item = Range<usize>> + Clone,
    ) -> Result<Vec<Bytes>, Error> {
        let (offset, section_len) = self.sections.get(section as usize).copied().unwrap_or_default();
        let short =
            || Error::damaged(self.file.path(), format!("{section:?} is shorter than its directory says"));
        if ranges.clone().any(|range| range.end > section_len) {
            return Err(short());
        }
        let place = |range: Range<usize>| offset + range.start as u64..offset + range.end as u64;
        let windows = Windows::new(&self.file, ranges.clone().map(place))?;
        ranges
            .map(|range| windows.bytes(offset + range.start as u64, range.len()).ok_or_else(short))
            .collect()
    }
}

pub(super) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(word.try_into().ok()?))
}

/// Decodes the traces of a group at these positions, which ascend.
fn decode_some_of_group(
    bytes: &[u8],
    positions: impl Iterator<Item = usize>,
    found: &mut Vec<TracePostings>,
) -> Option<()> {
    let mut reader = Reader::new(bytes);
    let mut first_span = reader.varint().ok()? as u32;
    let mut next = 0;
    for position in positions {
        while next < position {
            let skipped = decode_postings(&mut reader, first_span, false)?;
            first_span = first_span.wrapping_add(skipped.span_count);
            next += 1;
        }
        let postings = decode_postings(&mut reader, first_span, true)?;
        first_span = first_span.wrapping_add(postings.span_count);
        next += 1;
        found.push(postings);
    }
    Some(())
}

/// Reads the next trace of a group; its rows of logs and exemplars only where asked for.
fn decode_postings(reader: &mut Reader<'_>, first_span: u32, with_rows: bool) -> Option<TracePostings> {
    let mut postings = TracePostings { first_span, ..TracePostings::default() };
    postings.span_count = reader.varint().ok()? as u32;
    for rows in [&mut postings.logs, &mut postings.exemplars] {
        let count = reader.varint().ok()?;
        let mut before = 0u32;
        for _ in 0..count {
            before = before.wrapping_add(reader.varint().ok()? as u32);
            if with_rows {
                rows.push(before);
            }
        }
    }
    Some(postings)
}
