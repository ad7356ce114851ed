//! The file `patterns` of a block: its patterns, their counts over time, and which shapes they took in.
//!
//! `docs/format/block.md` describes the bytes. The table is small next to the records that it counts: what could make it large
//! is bounded where it is made ([`super::counts`]), and again where it is read.

use std::path::Path;
use std::sync::Arc;

use ahash::AHashMap as HashMap;
use throughline_model::protobuf::put_varint;
use throughline_model::{Level, PatternId};

use crate::block::packed::{Body, Packed, put_signed, put_text};
use crate::error::Error;

/// The name of the file.
pub(crate) const FILE_NAME: &str = "patterns";

/// More bytes are refused: the bounds of a table come to less.
const FORMAT: Packed = Packed { name: FILE_NAME, magic: *b"TLPT", version: 1, bytes_max: 256 << 20 };

/// A pattern and the records of the block that it has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredPattern {
    pub(crate) service: Arc<str>,
    pub(crate) id: PatternId,
    /// As it was when the block was written.
    pub(crate) text: String,
    /// The start of its first line in the block.
    pub(crate) example: String,
    /// When it was seen first in all that was known when the block was written, nanoseconds since the epoch.
    pub(crate) first_seen: i64,
    pub(crate) levels: Vec<LevelCounts>,
}

/// The records of a pattern that have one level.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LevelCounts {
    pub(crate) level: Level,
    pub(crate) last_seen: i64,
    /// The number of each bucket since the epoch, ascending, and how many records are in it.
    pub(crate) buckets: Vec<(i64, u32)>,
}

/// What a block knows of its patterns.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PatternTable {
    pub(crate) patterns: Vec<StoredPattern>,
    /// The pattern of each shape that is not the first of one.
    pub(crate) aliases: HashMap<PatternId, PatternId>,
    /// Records of a service that are in no count, because it has too many patterns.
    pub(crate) left_out: Vec<(Arc<str>, u64)>,
}

impl PatternTable {
    /// The bytes of the file.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        let mut services: Vec<&str> = self.patterns.iter().map(|pattern| &*pattern.service).collect();
        services.extend(self.left_out.iter().map(|(service, _)| &**service));
        services.sort_unstable();
        services.dedup();
        let number = |service: &str| services.binary_search(&service).unwrap_or_default() as u64;
        put_varint(&mut body, services.len() as u64);
        services.iter().for_each(|service| put_text(&mut body, service));
        put_varint(&mut body, self.patterns.len() as u64);
        for pattern in &self.patterns {
            put_varint(&mut body, number(&pattern.service));
            body.extend_from_slice(&pattern.id.0.to_le_bytes());
            put_text(&mut body, &pattern.text);
            put_text(&mut body, &pattern.example);
            body.extend_from_slice(&pattern.first_seen.to_le_bytes());
            put_varint(&mut body, pattern.levels.len() as u64);
            for counts in &pattern.levels {
                put_varint(&mut body, counts.level as u64);
                body.extend_from_slice(&counts.last_seen.to_le_bytes());
                put_varint(&mut body, counts.buckets.len() as u64);
                let mut before = 0i64;
                for (bucket, count) in &counts.buckets {
                    put_signed(&mut body, bucket.wrapping_sub(before));
                    put_varint(&mut body, u64::from(*count));
                    before = *bucket;
                }
            }
        }
        let mut aliases: Vec<(&PatternId, &PatternId)> = self.aliases.iter().collect();
        aliases.sort_unstable();
        put_varint(&mut body, aliases.len() as u64);
        for (own, id) in aliases {
            body.extend_from_slice(&own.0.to_le_bytes());
            body.extend_from_slice(&id.0.to_le_bytes());
        }
        put_varint(&mut body, self.left_out.len() as u64);
        for (service, rows) in &self.left_out {
            put_varint(&mut body, number(service));
            put_varint(&mut body, *rows);
        }
        FORMAT.pack(&body)
    }

    /// Reads the bytes of the file; `path` is for errors.
    pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<PatternTable, Error> {
        let body = FORMAT.unpack(path, bytes)?;
        read(&body).ok_or_else(|| Error::damaged(path, "its content is not what a table of patterns holds"))
    }
}

fn read(body: &[u8]) -> Option<PatternTable> {
    let mut reader = Body(body);
    let mut table = PatternTable::default();
    let n_services = reader.count()?;
    let mut services: Vec<Arc<str>> = Vec::new();
    for _ in 0..n_services {
        services.push(reader.text()?.into());
    }
    let service = |number: u64| services.get(usize::try_from(number).ok()?).cloned();
    for _ in 0..reader.count()? {
        let service = service(reader.varint()?)?;
        let id = PatternId(reader.word()?);
        let (text, example) = (reader.text()?.to_owned(), reader.text()?.to_owned());
        let first_seen = reader.word()? as i64;
        let mut levels = Vec::new();
        for _ in 0..reader.count()? {
            let level = Level::from_code(u8::try_from(reader.varint()?).ok()?);
            let last_seen = reader.word()? as i64;
            let mut buckets = Vec::new();
            let mut bucket = 0i64;
            for _ in 0..reader.count()? {
                bucket = bucket.wrapping_add(reader.signed()?);
                buckets.push((bucket, u32::try_from(reader.varint()?).ok()?));
            }
            levels.push(LevelCounts { level, last_seen, buckets });
        }
        table.patterns.push(StoredPattern { service, id, text, example, first_seen, levels });
    }
    for _ in 0..reader.count()? {
        table.aliases.insert(PatternId(reader.word()?), PatternId(reader.word()?));
    }
    for _ in 0..reader.count()? {
        table.left_out.push((service(reader.varint()?)?, reader.varint()?));
    }
    reader.0.is_empty().then_some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> PatternTable {
        let pattern = |service: &str, id, buckets: &[(i64, u32)]| StoredPattern {
            service: service.into(),
            id: PatternId(id),
            text: "user <_> in".to_owned(),
            example: "user böb in".to_owned(),
            first_seen: -7,
            levels: vec![
                LevelCounts { level: Level::Info, last_seen: i64::MAX, buckets: buckets.to_vec() },
                LevelCounts { level: Level::Fatal, last_seen: i64::MIN, buckets: Vec::new() },
            ],
        };
        PatternTable {
            patterns: vec![
                pattern("web", 7, &[(-3, 1), (5, u32::MAX), (i64::MAX, 1)]),
                pattern("", u64::MAX, &[]),
            ],
            aliases: HashMap::from([(PatternId(1), PatternId(7)), (PatternId(2), PatternId(7))]),
            left_out: vec![("other".into(), 5)],
        }
    }

    #[test]
    fn tables_come_back() {
        let path = Path::new("patterns");
        for table in [table(), PatternTable::default()] {
            let bytes = table.encode().expect("encoded");
            assert_eq!(PatternTable::decode(path, &bytes).expect("decoded"), table);
        }
    }

    #[test]
    fn damage_is_an_error() {
        let path = Path::new("patterns");
        let bytes = table().encode().expect("encoded");
        for at in 0..bytes.len() {
            assert!(PatternTable::decode(path, bytes.get(..at).expect("shorter")).is_err(), "cut at {at}");
            let mut changed = bytes.clone();
            changed[at] ^= 0x55;
            // What is under a checksum of zstd's or not: it must not panic, nor take memory for what it claims to be.
            _ = PatternTable::decode(path, &changed);
        }
        let mut body = Vec::new();
        put_varint(&mut body, u64::MAX);
        assert_eq!(read(&body), None);
    }
}
