//! A segment's name and its first page.
//!
//! The page says what the frames after it need to be read as they were written: the limits of the decoder. Everything
//! else in it can be had elsewhere (the first LSN is in the name, the salt in the manifest), so that losing it costs no
//! record.

use std::path::{Path, PathBuf};

use throughline_wire::DecodeLimits;

use super::frame::take;
use crate::error::Error;

/// The version of the format.
pub const VERSION: u32 = 1;
/// Groups start at multiples of this, the first one after the header's page. It is the page of every file system in
/// use and a multiple of every disk's sector: writing a group never rewrites bytes of the group before.
pub const PAGE_BYTES: u64 = 4096;
/// The end of a segment's name.
pub const EXTENSION: &str = ".wal";

const MAGIC: &[u8; 8] = b"TLWALSEG";
const HEADER_BYTES: usize = 84;
/// So many torn ranges fit a page, with room to spare: a group has one for each record that a power cut tore.
pub const TORN_MAX: usize = 128;

/// What a segment's name says. Names sort in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentName {
    /// The LSN of its first frame.
    pub first_lsn: u64,
    /// Counts segments that start at the same LSN because the one before could not be synced.
    pub attempt: u32,
}

impl SegmentName {
    /// Reads a file name; `None` if it is no segment's.
    pub fn parse(name: &str) -> Option<SegmentName> {
        let (first_lsn, attempt) = name.strip_suffix(EXTENSION)?.split_once('-')?;
        if first_lsn.len() != 20 || attempt.len() != 2 {
            return None;
        }
        Some(SegmentName { first_lsn: first_lsn.parse().ok()?, attempt: attempt.parse().ok()? })
    }

    /// The path in the log's folder.
    pub fn path(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{:020}-{:02}{EXTENSION}", self.first_lsn, self.attempt))
    }
}

/// What a segment's first page says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The store's salt.
    pub salt: u64,
    /// The LSN of its first frame.
    pub first_lsn: u64,
    /// When it was created, nanoseconds since the epoch.
    pub created_at: i64,
    /// What the decoder accepted while it was written.
    pub limits: DecodeLimits,
    /// Ranges of LSNs, first and last, that were torn and never acknowledged before this segment was started: frames
    /// that follow would make them look like losses.
    pub torn: Vec<(u64, u64)>,
}

impl SegmentHeader {
    /// The page's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(PAGE_BYTES as usize);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.salt.to_le_bytes());
        out.extend_from_slice(&self.first_lsn.to_le_bytes());
        out.extend_from_slice(&self.created_at.to_le_bytes());
        let limits = &self.limits;
        out.extend_from_slice(&limits.future_ns.to_le_bytes());
        out.extend_from_slice(&limits.past_ns.to_le_bytes());
        out.extend_from_slice(&(limits.attribute_bytes as u64).to_le_bytes());
        out.extend_from_slice(&(limits.attributes_per_item as u64).to_le_bytes());
        out.extend_from_slice(&(limits.items_per_request as u64).to_le_bytes());
        let torn = self.torn.get(..TORN_MAX).unwrap_or(&self.torn);
        out.extend_from_slice(&(torn.len() as u32).to_le_bytes());
        for (first_lsn, last_lsn) in torn {
            out.extend_from_slice(&first_lsn.to_le_bytes());
            out.extend_from_slice(&last_lsn.to_le_bytes());
        }
        out.resize(PAGE_BYTES as usize, 0);
        let crc = page_checksum(&out);
        if let Some(into) = out.get_mut(12..16) {
            into.copy_from_slice(&crc.to_le_bytes());
        }
        out
    }

    /// Reads the page. `Ok(None)` if it is damaged; a newer version is an error, because frames may differ too.
    pub fn decode(path: &Path, page: &[u8]) -> Result<Option<SegmentHeader>, Error> {
        let Some((header, found, crc)) = SegmentHeader::fields(page) else { return Ok(None) };
        let mut blank = page.to_vec();
        if let Some(into) = blank.get_mut(12..16) {
            into.fill(0);
        }
        if page_checksum(&blank) != crc {
            return Ok(None);
        }
        if found != VERSION {
            return Err(Error::Version { path: path.to_path_buf(), found, supported: VERSION });
        }
        Ok(Some(header))
    }

    fn fields(page: &[u8]) -> Option<(SegmentHeader, u32, u32)> {
        let (mut rest, mut ranges) = page.split_at_checked(HEADER_BYTES)?;
        if &take::<8>(&mut rest)? != MAGIC {
            return None;
        }
        let version = u32::from_le_bytes(take(&mut rest)?);
        let crc = u32::from_le_bytes(take(&mut rest)?);
        let salt = u64::from_le_bytes(take(&mut rest)?);
        let first_lsn = u64::from_le_bytes(take(&mut rest)?);
        let created_at = i64::from_le_bytes(take(&mut rest)?);
        let limits = DecodeLimits {
            future_ns: i64::from_le_bytes(take(&mut rest)?),
            past_ns: i64::from_le_bytes(take(&mut rest)?),
            attribute_bytes: size(take(&mut rest)?),
            attributes_per_item: size(take(&mut rest)?),
            items_per_request: size(take(&mut rest)?),
        };
        let mut torn = Vec::new();
        for _ in 0..u32::from_le_bytes(take(&mut rest)?).min(TORN_MAX as u32) {
            torn.push((u64::from_le_bytes(take(&mut ranges)?), u64::from_le_bytes(take(&mut ranges)?)));
        }
        Some((SegmentHeader { salt, first_lsn, created_at, limits, torn }, version, crc))
    }
}

fn size(bytes: [u8; 8]) -> usize {
    usize::try_from(u64::from_le_bytes(bytes)).unwrap_or(usize::MAX)
}

/// The page's checksum is not salted: the page is where the salt can be read from when the manifest is gone.
fn page_checksum(page: &[u8]) -> u32 {
    crc32c::crc32c(page.get(..PAGE_BYTES as usize).unwrap_or(page))
}
