//! Checksums of a block's files: every [`CHUNK_BYTES`] bytes of every file have a CRC-32C, kept in the block's
//! `checksums` file, and nothing is handed out before its chunks were compared.
//!
//! `docs/format/block.md` draws the bytes. [`FileWriter`] computes the sums as it writes, [`CheckedFile`] compares them
//! as it reads, so that a damaged chunk costs the rows in it and never becomes a wrong answer.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use crate::disk::{Disk, DiskFile};
use crate::error::Error;

/// The bytes under one checksum. Small enough that a point read does not read much more than it needs, large enough
/// that the sums are a 4,000th of the data.
pub(crate) const CHUNK_BYTES: usize = 16 << 10;

/// The name of the file that holds the sums.
pub(crate) const FILE_NAME: &str = "checksums";

const MAGIC: [u8; 4] = *b"TLCK";
const VERSION: u32 = 1;

/// Written bytes are handed to the disk in pieces of this size.
const WRITE_BYTES: usize = 256 << 10;

/// Bytes that are read at once to compare them: a multiple of [`CHUNK_BYTES`].
const VERIFY_BYTES: u64 = 1 << 20;

/// The sums of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileSums {
    pub(crate) name: String,
    pub(crate) len: u64,
    pub(crate) crcs: Vec<u32>,
}

/// Writes one file of a block and computes its sums.
pub(crate) struct FileWriter {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    name: String,
    buffer: Vec<u8>,
    written: u64,
    crcs: Vec<u32>,
}

impl FileWriter {
    pub(crate) fn create(disk: &dyn Disk, folder: &Path, name: &str) -> Result<FileWriter, Error> {
        let path = folder.join(name);
        let file = disk.create(&path).map_err(Error::io("create", &path))?;
        let buffer = Vec::with_capacity(WRITE_BYTES);
        Ok(FileWriter { file, path, name: name.to_owned(), buffer, written: 0, crcs: Vec::new() })
    }

    fn flush_whole_chunks(&mut self) -> io::Result<()> {
        let whole = self.buffer.len() - self.buffer.len() % CHUNK_BYTES;
        let (chunks, _) = self.buffer.split_at(whole);
        self.crcs.extend(chunks.chunks(CHUNK_BYTES).map(crc32c::crc32c));
        self.file.write_at(self.written, chunks)?;
        self.written += whole as u64;
        self.buffer.drain(..whole);
        Ok(())
    }

    /// Writes what is left, syncs, and returns the sums.
    pub(crate) fn finish(mut self) -> Result<FileSums, Error> {
        self.flush_whole_chunks().map_err(Error::io("write", &self.path))?;
        if !self.buffer.is_empty() {
            self.crcs.push(crc32c::crc32c(&self.buffer));
            self.file.write_at(self.written, &self.buffer).map_err(Error::io("write", &self.path))?;
        }
        self.file.sync_data().map_err(Error::io("sync", &self.path))?;
        let len = self.written + self.buffer.len() as u64;
        Ok(FileSums { name: self.name, len, crcs: self.crcs })
    }
}

impl io::Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BYTES {
            self.flush_whole_chunks()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The `checksums` file's bytes, and the CRC-32C of all of them.
pub(crate) fn encode(files: &[FileSums]) -> (Vec<u8>, u32) {
    let mut out = Vec::new();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(CHUNK_BYTES as u32).to_le_bytes());
    out.extend_from_slice(&(files.len() as u32).to_le_bytes());
    for file in files {
        out.extend_from_slice(&(file.name.len() as u32).to_le_bytes());
        out.extend_from_slice(file.name.as_bytes());
        out.extend_from_slice(&file.len.to_le_bytes());
        file.crcs.iter().for_each(|crc| out.extend_from_slice(&crc.to_le_bytes()));
    }
    let crc = crc32c::crc32c(&out);
    (out, crc)
}

/// Reads a `checksums` file whose own sum is known.
pub(crate) fn decode(path: &Path, bytes: &[u8], expected_crc: u32) -> Result<Vec<FileSums>, Error> {
    let found = crc32c::crc32c(bytes);
    if found != expected_crc {
        let detail = format!("its checksum is {found:08x}, the manifest says {expected_crc:08x}");
        return Err(Error::damaged(path, detail));
    }
    let mut rest = bytes;
    let short = || Error::damaged(path, "it ends early");
    let mut take = |n: usize| -> Result<&[u8], Error> {
        let (head, tail) = rest.split_at_checked(n).ok_or_else(short)?;
        rest = tail;
        Ok(head)
    };
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
    if take(4)? != MAGIC {
        return Err(Error::damaged(path, "it does not start as a checksum file does"));
    }
    let version = word(take(4)?) as u32;
    if version != VERSION || word(take(4)?) != CHUNK_BYTES as u64 {
        return Err(Error::Version { path: path.to_path_buf(), found: version, supported: VERSION });
    }
    let n_files = word(take(4)?);
    let mut files = Vec::new();
    for _ in 0..n_files {
        let name_len = word(take(4)?) as usize;
        let name = String::from_utf8_lossy(take(name_len)?).into_owned();
        let len = word(take(8)?);
        let n_chunks = usize::try_from(len.div_ceil(CHUNK_BYTES as u64)).map_err(|_| short())?;
        let crcs = take(n_chunks.checked_mul(4).ok_or_else(short)?)?;
        let crcs = crcs.as_chunks::<4>().0.iter().map(|crc| u32::from_le_bytes(*crc)).collect();
        files.push(FileSums { name, len, crcs });
    }
    Ok(files)
}

/// A file of a block that compares checksums as it reads.
#[derive(Clone)]
pub(crate) struct CheckedFile {
    inner: Arc<Inner>,
}

struct Inner {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    sums: FileSums,
}

impl CheckedFile {
    pub(crate) fn open(disk: &dyn Disk, folder: &Path, sums: FileSums) -> Result<CheckedFile, Error> {
        let path = folder.join(&sums.name);
        let file = disk.open(&path).map_err(Error::io("open", &path))?;
        let len = file.len().map_err(Error::io("read", &path))?;
        if len != sums.len {
            return Err(Error::damaged(&path, format!("it has {len} bytes, {} were written", sums.len)));
        }
        Ok(CheckedFile { inner: Arc::new(Inner { file, path, sums }) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.inner.path
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.inner.sums.len
    }

    /// Reads a part of the file after comparing the chunks that it lies in.
    pub(crate) fn read(&self, offset: u64, len: usize) -> Result<Bytes, Error> {
        let Inner { file, path, sums } = &*self.inner;
        let end = offset.checked_add(len as u64).filter(|end| *end <= sums.len);
        let Some(end) = end else {
            return Err(Error::damaged(path, format!("bytes {offset}+{len} are asked for of {}", sums.len)));
        };
        if len == 0 {
            return Ok(Bytes::new());
        }
        let chunk = CHUNK_BYTES as u64;
        let (first, aligned_end) = (offset / chunk, end.next_multiple_of(chunk).min(sums.len));
        let aligned_len = (aligned_end - first * chunk) as usize;
        let buffer = file.read_bytes_at(first * chunk, aligned_len).map_err(Error::io("read", path))?;
        for (bytes, at) in buffer.chunks(CHUNK_BYTES).zip(first as usize..) {
            if sums.crcs.get(at) != Some(&crc32c::crc32c(bytes)) {
                let from = at as u64 * chunk;
                return Err(Error::damaged(
                    path,
                    format!("the checksum of bytes {from}+{CHUNK_BYTES} is wrong"),
                ));
            }
        }
        let skip = (offset - first * chunk) as usize;
        Ok(Bytes::from(buffer).slice(skip..skip + len))
    }

    /// Compares the chunks of a part and says from where to where they reach.
    pub(crate) fn verify_part(&self, part: Range<u64>) -> Result<(u64, u64), Error> {
        let chunk = CHUNK_BYTES as u64;
        let from = part.start / chunk * chunk;
        let to = part.end.checked_next_multiple_of(chunk).unwrap_or(u64::MAX).min(self.bytes());
        let mut at = from;
        while at < to {
            let len = (to - at).min(VERIFY_BYTES);
            self.read(at, len as usize)?;
            at += len;
        }
        Ok((from, to.max(from)))
    }

    /// Compares every chunk and returns the offsets of those that are damaged.
    pub(crate) fn verify(&self) -> Vec<u64> {
        let chunk = CHUNK_BYTES as u64;
        (0..self.inner.sums.crcs.len() as u64)
            .map(|at| at * chunk)
            .filter(|from| self.read(*from, chunk.min(self.bytes() - from) as usize).is_err())
            .collect()
    }
}

fn as_parquet_error(error: Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl Length for CheckedFile {
    fn len(&self) -> u64 {
        self.bytes()
    }
}

impl ChunkReader for CheckedFile {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        // Only reads of unknown length come here, such as page headers where there is no offset index.
        let len = (self.bytes().saturating_sub(start)).min(WRITE_BYTES as u64) as usize;
        Ok(self.read(start, len).map_err(as_parquet_error)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.read(start, length).map_err(as_parquet_error)
    }
}

/// Parts of a file that were read at once, for readers that will ask for them in pieces; what lies elsewhere is read
/// when it is asked for.
pub(crate) struct Windows {
    file: CheckedFile,
    /// Where each part starts, ascending, and its bytes.
    parts: Vec<(u64, Bytes)>,
}

impl Windows {
    /// Reads the ranges, which ascend; those that follow each other closely are read together.
    pub(crate) fn new(
        file: &CheckedFile,
        ranges: impl IntoIterator<Item = Range<u64>>,
    ) -> Result<Windows, Error> {
        let mut merged: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.start.saturating_sub(last.end) < CHUNK_BYTES as u64 => {
                    last.end = last.end.max(range.end);
                }
                _ => merged.push(range),
            }
        }
        let read = |range: Range<u64>| {
            let len = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
            Ok((range.start, file.read(range.start, len)?))
        };
        Ok(Windows { file: file.clone(), parts: merged.into_iter().map(read).collect::<Result<_, Error>>()? })
    }

    /// Bytes that were read at once; none where they are not of one part.
    pub(crate) fn part(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let after = self.parts.partition_point(|(start, _)| *start <= offset);
        let (start, bytes) = self.parts.get(after.checked_sub(1)?)?;
        bytes.get(usize::try_from(offset - start).ok()?..)?.get(..len)
    }

    /// As [`Windows::part`], to be kept.
    pub(crate) fn bytes(&self, offset: u64, len: usize) -> Option<Bytes> {
        if len == 0 {
            return Some(Bytes::new());
        }
        self.from(offset).filter(|rest| len <= rest.len()).map(|rest| rest.slice(..len))
    }

    /// The bytes from an offset to the end of the part that it lies in.
    fn from(&self, offset: u64) -> Option<Bytes> {
        let after = self.parts.partition_point(|(start, _)| *start <= offset);
        let (start, bytes) = self.parts.get(after.checked_sub(1)?)?;
        let skip = usize::try_from(offset - start).ok()?;
        (skip < bytes.len()).then(|| bytes.slice(skip..))
    }
}

impl Length for Windows {
    fn len(&self) -> u64 {
        self.file.bytes()
    }
}

impl ChunkReader for Windows {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        match self.from(start) {
            Some(rest) => Ok(rest.reader()),
            None => self.file.get_read(start),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        match self.from(start) {
            Some(rest) if length <= rest.len() => Ok(rest.slice(..length)),
            _ => self.file.get_bytes(start, length),
        }
    }
}
