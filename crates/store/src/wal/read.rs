//! Reading a segment: frame by frame, and past damage to the next frame that is whole.
//!
//! 1. A header that checks out is believed, its length included. If the payload does not, that record is damaged and
//!    the next one starts right after it.
//! 2. Where no header is, the next one is looked for in steps of eight bytes. Zeros on the way are the padding of a
//!    group; anything else is damage.
//! 3. Without damage between them a frame must repeat its predecessor's checksum: a frame that does not is an old or
//!    misplaced one, and counts as damage.
//!
//! The reader judges bytes only. Which LSNs are missing, and whether that is a loss, the caller sees.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{self, ALIGN_BYTES, HEADER_BYTES, Header, padded};
use super::segment::{PAGE_BYTES, SegmentHeader};
use crate::disk::{Disk, DiskFile};
use crate::error::Error;

/// What is read at a time: large enough for sequential speed, small enough to be no memory worth counting.
const WINDOW_BYTES: usize = 1 << 20;

/// What the reader came across.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A whole frame.
    Frame {
        /// Its header.
        header: Header,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// Bytes that are not what was written.
    Damage {
        /// Where.
        offset: u64,
        /// How many.
        bytes: u64,
        /// The header, where that much is whole.
        header: Option<Header>,
    },
}

/// Where the frames of a segment end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentEnd {
    /// After the last whole frame.
    pub frames_end: u64,
    /// After the last byte that is not zero.
    pub written_end: u64,
    /// The file's length.
    pub file_bytes: u64,
}

/// Reads one segment from its start.
pub struct Reader {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    salt: u64,
    header: Option<SegmentHeader>,
    at: u64,
    chain: Option<u32>,
    end: SegmentEnd,
    window: Vec<u8>,
    window_at: u64,
}

impl Reader {
    /// Opens a segment.
    pub fn open(disk: &dyn Disk, path: &Path, salt: u64) -> Result<Reader, Error> {
        let file = disk.open(path).map_err(Error::io("open", path))?;
        let file_bytes = file.len().map_err(Error::io("read", path))?;
        let mut reader = Reader {
            path: path.to_path_buf(),
            file,
            salt,
            header: None,
            at: PAGE_BYTES,
            chain: None,
            end: SegmentEnd { frames_end: PAGE_BYTES.min(file_bytes), written_end: 0, file_bytes },
            window: Vec::new(),
            window_at: 0,
        };
        let page = reader.bytes(0, PAGE_BYTES as usize)?.map(<[u8]>::to_vec).unwrap_or_default();
        reader.header = SegmentHeader::decode(path, &page)?;
        Ok(reader)
    }

    /// The segment's first page; `None` if it is damaged.
    pub fn header(&self) -> Option<&SegmentHeader> {
        self.header.as_ref()
    }

    /// Where frames and bytes end, as far as the reader has come.
    pub fn end(&self) -> SegmentEnd {
        self.end
    }

    /// The next frame or damage; `None` at the end of what was written.
    pub fn next_found(&mut self) -> Result<Option<Found>, Error> {
        let start = self.at;
        if let Some(header) = self.header_at(start)?
            && self.chain.is_none_or(|crc| crc == header.place.previous_crc)
        {
            return self.frame_at(start, header).map(Some);
        }
        let (next, last_written) = self.search(start)?;
        self.at = next.unwrap_or(self.end.file_bytes);
        self.end.written_end = self.end.written_end.max(last_written.unwrap_or(0));
        if last_written.is_none() {
            return if next.is_some() { self.next_found_after_padding() } else { Ok(None) };
        }
        self.chain = None;
        let end = next.or(last_written).unwrap_or(start);
        Ok(Some(Found::Damage { offset: start, bytes: end - start, header: None }))
    }

    fn next_found_after_padding(&mut self) -> Result<Option<Found>, Error> {
        let start = self.at;
        match self.header_at(start)? {
            Some(header) if self.chain.is_none_or(|crc| crc == header.place.previous_crc) => {
                self.frame_at(start, header).map(Some)
            }
            Some(header) => {
                // Whole, but out of order: stepped over as damage, by the length that it vouches for.
                self.at = start + header.frame_bytes();
                self.chain = None;
                self.end.written_end = self.end.written_end.max(self.at.min(self.end.file_bytes));
                Ok(Some(Found::Damage { offset: start, bytes: header.frame_bytes(), header: None }))
            }
            None => Ok(None),
        }
    }

    fn frame_at(&mut self, start: u64, header: Header) -> Result<Found, Error> {
        let salt = self.salt;
        let bytes = self.bytes(start + HEADER_BYTES as u64, padded(header.payload_bytes))?;
        let payload = bytes
            .filter(|bytes| header.matches(salt, bytes))
            .and_then(|bytes| bytes.get(..header.payload_bytes))
            .map(<[u8]>::to_vec);
        self.at = start.saturating_add(header.frame_bytes()).min(self.end.file_bytes);
        self.chain = Some(header.crc);
        self.end.written_end = self.end.written_end.max(self.at);
        match payload {
            Some(payload) => {
                self.end.frames_end = self.at;
                Ok(Found::Frame { header, payload })
            }
            None => Ok(Found::Damage { offset: start, bytes: self.at - start, header: Some(header) }),
        }
    }

    fn header_at(&mut self, offset: u64) -> Result<Option<Header>, Error> {
        let salt = self.salt;
        Ok(self.bytes(offset, HEADER_BYTES)?.and_then(|bytes| frame::decode(salt, bytes)))
    }

    /// The next header after `start`, and the end of the last bytes before it that are not zero.
    fn search(&mut self, start: u64) -> Result<(Option<u64>, Option<u64>), Error> {
        const STEP: u64 = ALIGN_BYTES as u64;
        let mut last_written = None;
        let mut at = start;
        while at < self.end.file_bytes {
            let chunk_bytes = (self.end.file_bytes - at).min(WINDOW_BYTES as u64) as usize;
            // A copy, so that what merely looks like a header costs a check and not another read.
            let chunk = self.bytes(at, chunk_bytes)?.unwrap_or_default().to_vec();
            for (index, word) in chunk.chunks(ALIGN_BYTES).enumerate() {
                let offset = at + index as u64 * STEP;
                if offset > start && word.starts_with(&frame::MAGIC.to_le_bytes()) {
                    let is_header = match chunk.get(index * ALIGN_BYTES..index * ALIGN_BYTES + HEADER_BYTES) {
                        Some(bytes) => frame::decode(self.salt, bytes).is_some(),
                        None => self.header_at(offset)?.is_some(),
                    };
                    if is_header {
                        return Ok((Some(offset), last_written));
                    }
                }
                if word.iter().any(|byte| *byte != 0) {
                    last_written = Some(offset + word.len() as u64);
                }
            }
            at += chunk_bytes as u64;
        }
        Ok((None, last_written))
    }

    /// Bytes of the file; `None` if it ends before them.
    fn bytes(&mut self, offset: u64, count: usize) -> Result<Option<&[u8]>, Error> {
        let Some(end) = offset.checked_add(count as u64).filter(|end| *end <= self.end.file_bytes) else {
            return Ok(None);
        };
        let window_end = self.window_at + self.window.len() as u64;
        if offset < self.window_at || end > window_end {
            let wanted = (self.end.file_bytes - offset).min(count.max(WINDOW_BYTES) as u64) as usize;
            self.window.resize(wanted, 0);
            self.window_at = offset;
            if let Err(error) = self.file.read_exact_at(offset, &mut self.window) {
                self.window.clear();
                return Err(Error::io("read", &self.path)(error));
            }
        }
        let from = (offset - self.window_at) as usize;
        Ok(self.window.get(from..from + count))
    }
}
