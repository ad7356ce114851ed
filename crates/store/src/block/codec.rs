//! Compression of pages, with what is set up once for all of them.
//!
//! zstd makes one Huffman code for up to 128 KiB. Where a page has parts that are unlike, each of them gets a code of its own: a
//! flush ends a block of the frame, which every reader of zstd reads.

use parquet::basic::Compression;
use parquet::errors::{ParquetError, Result};
use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd::zstd_safe::{self, CCtx, CParameter, InBuffer, OutBuffer, ResetDirective};

/// What a block that a part ends takes beyond the bound of a whole page: its header.
const BLOCK_BYTES_MORE: usize = 16;

/// A compressor that is set up once for all chunks.
pub(super) struct Codec {
    compression: Compression,
    zstd: Option<CCtx<'static>>,
    /// Room for a compressed page.
    room: Vec<u8>,
}

impl Codec {
    pub(super) fn new(compression: Compression) -> Result<Codec> {
        let zstd = match compression {
            Compression::ZSTD(level) => {
                let mut zstd = CCtx::try_create().ok_or_else(|| no_room("a compressor"))?;
                let level = CParameter::CompressionLevel(level.compression_level());
                zstd.set_parameter(level).map_err(failed)?;
                Some(zstd)
            }
            _ => None,
        };
        Ok(Codec { compression, zstd, room: Vec::new() })
    }

    /// How chunks are compressed that are worth it.
    pub(super) fn compression(&self) -> Compression {
        self.compression
    }

    /// Compresses parts that are alike in themselves, which have this many bytes each, and what is left.
    pub(super) fn compress(&mut self, bytes: &[u8], parts: &[usize]) -> Result<Option<Vec<u8>>> {
        match (&mut self.zstd, self.compression) {
            (Some(zstd), _) => {
                self.room.clear();
                compress_parts(zstd, bytes, parts, &mut self.room)?;
                Ok(Some(self.room.as_slice().to_vec()))
            }
            (None, Compression::LZ4_RAW) => Ok(Some(lz4_flex::block::compress(bytes))),
            _ => Ok(None),
        }
    }
}

/// Writes one zstd frame in which each part begins a block, so that it has a code of its own: packed lengths and the texts that
/// follow them, or bytes of different weight, have nothing in common.
fn compress_parts(zstd: &mut CCtx<'_>, bytes: &[u8], parts: &[usize], out: &mut Vec<u8>) -> Result<()> {
    out.reserve(zstd_safe::compress_bound(bytes.len()) + parts.len() * BLOCK_BYTES_MORE);
    zstd.reset(ResetDirective::SessionOnly).map_err(failed)?;
    if parts.is_empty() {
        zstd.compress2(out, bytes).map_err(failed)?;
        return Ok(());
    }
    zstd.set_pledged_src_size(Some(bytes.len() as u64)).map_err(failed)?;
    let mut to = OutBuffer::around(out);
    let mut rest = bytes;
    for part in parts {
        let (part, after) = rest.split_at_checked(*part).unwrap_or((rest, &[]));
        rest = after;
        compress_part(zstd, part, ZSTD_EndDirective::ZSTD_e_flush, &mut to)?;
    }
    compress_part(zstd, rest, ZSTD_EndDirective::ZSTD_e_end, &mut to)
}

fn compress_part(
    zstd: &mut CCtx<'_>,
    part: &[u8],
    end: ZSTD_EndDirective,
    to: &mut OutBuffer<'_, Vec<u8>>,
) -> Result<()> {
    let mut from = InBuffer::around(part);
    loop {
        let before = (from.pos(), to.pos());
        if zstd.compress_stream2(to, &mut from, end).map_err(failed)? == 0 {
            return Ok(());
        }
        if before == (from.pos(), to.pos()) {
            return Err(no_room("a page"));
        }
    }
}

fn failed(code: zstd_safe::ErrorCode) -> ParquetError {
    ParquetError::General(format!("zstd: {}", zstd_safe::get_error_name(code)))
}

fn no_room(what: &str) -> ParquetError {
    ParquetError::General(format!("zstd: no room for {what}"))
}
