//! A small file of a block that is read whole: magic, version and length, then a body under zstd. And the numbers and texts
//! that such bodies are made of.

use std::path::Path;

use throughline_model::protobuf::{Reader, put_varint};

use crate::error::Error;

/// Magic, version and the length of the body.
const HEAD_BYTES: usize = 16;

/// One kind of file.
pub(crate) struct Packed {
    /// The file's name in the block's folder.
    pub(crate) name: &'static str,
    pub(crate) magic: [u8; 4],
    pub(crate) version: u32,
    /// A body of more bytes is refused.
    pub(crate) bytes_max: u64,
}

impl Packed {
    /// The bytes of a file with this body.
    pub(crate) fn pack(&self, body: &[u8]) -> Result<Vec<u8>, Error> {
        let packed = zstd::bulk::compress(body, 1).map_err(|error| Error::Columns {
            action: format!("compress {}", self.name),
            detail: error.to_string(),
        })?;
        let mut out = Vec::with_capacity(HEAD_BYTES + packed.len());
        out.extend_from_slice(&self.magic);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&(body.len() as u64).to_le_bytes());
        out.extend_from_slice(&packed);
        Ok(out)
    }

    /// The body of a file; `path` is for errors.
    pub(crate) fn unpack(&self, path: &Path, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let damaged = |detail: String| Error::damaged(path, detail);
        let ends_early = || damaged("it ends early".to_owned());
        let (head, packed) = bytes.split_at_checked(HEAD_BYTES).ok_or_else(ends_early)?;
        let (magic, rest) = head.split_at(4);
        let (version, length) = rest.split_at(4);
        if magic != self.magic {
            return Err(damaged(format!("it does not start as a file of {} does", self.name)));
        }
        let version = u32::from_le_bytes(version.try_into().unwrap_or_default());
        if version != self.version {
            let path = path.to_path_buf();
            return Err(Error::Version { path, found: version, supported: self.version });
        }
        let length = u64::from_le_bytes(length.try_into().unwrap_or_default());
        if length > self.bytes_max {
            return Err(damaged(format!("it says that it is larger than a file of {} can be", self.name)));
        }
        zstd::bulk::decompress(packed, length as usize).map_err(|error| damaged(error.to_string()))
    }
}

/// Writes a text after its length.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Writes a signed number, a small one short whatever its sign.
pub(crate) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_varint(out, (number << 1 ^ number >> 63) as u64);
}

/// Writes numbers as their distances from the one before.
pub(crate) fn put_deltas(out: &mut Vec<u8>, numbers: impl Iterator<Item = i64>) {
    let mut before = 0i64;
    for number in numbers {
        put_signed(out, number.wrapping_sub(before));
        before = number;
    }
}

/// What is left to read of a body.
pub(crate) struct Body<'a>(pub(crate) &'a [u8]);

impl<'a> Body<'a> {
    pub(crate) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    pub(crate) fn varint(&mut self) -> Option<u64> {
        let mut reader = Reader::new(self.0);
        let number = reader.varint().ok()?;
        self.0 = reader.rest();
        Some(number)
    }

    pub(crate) fn signed(&mut self) -> Option<i64> {
        let number = self.varint()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// A number of things that follow, each of a byte at least.
    pub(crate) fn count(&mut self) -> Option<usize> {
        usize::try_from(self.varint()?).ok().filter(|count| *count <= self.0.len())
    }

    /// Eight bytes, little-endian.
    pub(crate) fn word(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.varint()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    pub(crate) fn numbers(&mut self, n: usize) -> Option<Vec<u64>> {
        (0..n).map(|_| self.varint()).collect()
    }

    pub(crate) fn deltas(&mut self, n: usize) -> Option<Vec<i64>> {
        let mut before = 0i64;
        let mut next = || {
            before = before.wrapping_add(self.signed()?);
            Some(before)
        };
        (0..n).map(|_| next()).collect()
    }
}
