//! Pages of a column chunk: their headers, and their bytes decompressed.
//!
//! The header is a struct of Thrift's compact protocol. Only pages as the store's own writers make them are understood;
//! for others there is the library.

use std::cell::RefCell;

use parquet::basic::Compression;

use crate::block::hybrid::take_varint;

thread_local! {
    /// A zstd context for each thread that reads: setting one up for every column chunk was a third of a look-up.
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// No page is larger once it is decompressed. Pages hold a few thousand rows, of which each came in a request.
pub(super) const PAGE_BYTES_MAX: usize = 1 << 30;

/// Room for so many times what is stored is made at once where a page says that it needs it; and [`ROOM_BYTES`] for any.
const ROOM_RATIO: usize = 64;
const ROOM_BYTES: usize = 1 << 20;

/// Whether room for so many bytes is made at once for a frame; else it grows with what comes.
pub(super) fn has_room(frame_bytes: usize, n_bytes: usize) -> bool {
    n_bytes <= frame_bytes.saturating_mul(ROOM_RATIO).max(ROOM_BYTES)
}

/// Structs within structs of a page header: the statistics of a page are the second.
const DEPTH_MAX: usize = 4;

/// How values lie in a page, by Parquet's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Dictionary,
    Rle,
    Delta,
    /// Texts after the lengths of all of them.
    Lengths,
    ByteStreamSplit,
}

impl Encoding {
    fn of(code: i64) -> Option<Encoding> {
        Some(match code {
            0 => Encoding::Plain,
            2 | 8 => Encoding::Dictionary,
            3 => Encoding::Rle,
            5 => Encoding::Delta,
            6 => Encoding::Lengths,
            9 => Encoding::ByteStreamSplit,
            _ => return None,
        })
    }
}

/// What a page header says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Header {
    kind: i64,
    plain_bytes: usize,
    n_bytes: usize,
    /// Values of a dictionary, or levels of a data page.
    pub(super) n_values: usize,
    pub(super) n_nulls: usize,
    pub(super) n_rows: usize,
    encoding: i64,
    definition_bytes: usize,
    repetition_bytes: usize,
    is_plain: bool,
}

/// A page before decompression.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredPage<'a> {
    pub(super) header: Header,
    pub(super) encoding: Encoding,
    pub(super) repetition_levels: &'a [u8],
    pub(super) definition_levels: &'a [u8],
    values: &'a [u8],
}

impl<'a> StoredPage<'a> {
    /// Takes the next page from the front of a chunk's bytes; none where it is not understood.
    pub(super) fn take(bytes: &mut &'a [u8]) -> Option<StoredPage<'a>> {
        let header = take_header(bytes)?;
        let (page, rest) = bytes.split_at_checked(header.n_bytes)?;
        *bytes = rest;
        let (repetition_levels, page) = page.split_at_checked(header.repetition_bytes)?;
        let (definition_levels, values) = page.split_at_checked(header.definition_bytes)?;
        let encoding = Encoding::of(header.encoding)?;
        Some(StoredPage { header, encoding, repetition_levels, definition_levels, values })
    }

    pub(super) fn is_dictionary(&self) -> bool {
        self.header.kind == 2
    }

    /// The values, in `scratch` if they have to be decompressed, to at most so many bytes.
    pub(super) fn values<'b>(
        &self,
        codec: Compression,
        bytes_max: usize,
        scratch: &'b mut Vec<u8>,
    ) -> Option<&'b [u8]>
    where
        'a: 'b,
    {
        if self.header.is_plain || codec == Compression::UNCOMPRESSED || self.values.is_empty() {
            return Some(self.values);
        }
        let levels = self.header.repetition_bytes + self.header.definition_bytes;
        scratch.clear();
        let n_bytes = self.header.plain_bytes.checked_sub(levels)?;
        decompress(codec, self.values, n_bytes.min(bytes_max), scratch)?;
        Some(scratch.as_slice())
    }
}

/// Appends the bytes of a frame, of which there are no more than so many.
fn decompress(codec: Compression, frame: &[u8], n_bytes: usize, out: &mut Vec<u8>) -> Option<()> {
    if !has_room(frame.len(), n_bytes) {
        // Rare, or not as it says: the library's way makes room little by little.
        return None;
    }
    match codec {
        Compression::ZSTD(_) => decompress_zstd(frame, n_bytes, out).ok(),
        Compression::LZ4_RAW => {
            let from = out.len();
            out.resize(from + n_bytes, 0);
            let written = lz4_flex::block::decompress_into(frame, out.get_mut(from..)?).ok()?;
            out.truncate(from + written);
            Some(())
        }
        _ => None,
    }
}

/// Appends the bytes of a zstd frame, of which there are no more than so many.
pub(super) fn decompress_zstd(frame: &[u8], n_bytes: usize, out: &mut Vec<u8>) -> std::io::Result<()> {
    out.reserve(n_bytes);
    let mut rest = std::io::Cursor::new(std::mem::take(out));
    rest.set_position(rest.get_ref().len() as u64);
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(zstd::bulk::Decompressor::new()?),
        };
        decompressor.decompress_to_buffer(frame, &mut rest)
    })?;
    *out = rest.into_inner();
    Ok(())
}

fn take_header(bytes: &mut &[u8]) -> Option<Header> {
    let mut header = Header::default();
    each_field(bytes, &mut |bytes, field, kind| {
        let header = &mut header;
        match field {
            1 => header.kind = take_int(bytes, kind)?,
            2 => header.plain_bytes = take_size(bytes, kind)?,
            3 => header.n_bytes = take_size(bytes, kind)?,
            7 => each_field(bytes, &mut |bytes, field, kind| {
                match field {
                    1 => header.n_values = take_size(bytes, kind)?,
                    2 => header.encoding = take_int(bytes, kind)?,
                    _ => skip(bytes, kind, DEPTH_MAX)?,
                }
                Some(())
            })?,
            8 => each_field(bytes, &mut |bytes, field, kind| {
                match field {
                    1 => header.n_values = take_size(bytes, kind)?,
                    2 => header.n_nulls = take_size(bytes, kind)?,
                    3 => header.n_rows = take_size(bytes, kind)?,
                    4 => header.encoding = take_int(bytes, kind)?,
                    5 => header.definition_bytes = take_size(bytes, kind)?,
                    6 => header.repetition_bytes = take_size(bytes, kind)?,
                    // A truth value is in the kind of its field.
                    7 => header.is_plain = kind == 2,
                    _ => skip(bytes, kind, DEPTH_MAX)?,
                }
                Some(())
            })?,
            _ => skip(bytes, kind, DEPTH_MAX)?,
        }
        Some(())
    })?;
    // 2 is a dictionary, 3 a data page of the second version.
    matches!(header.kind, 2 | 3).then_some(header)
}

type Visit<'v> = dyn FnMut(&mut &[u8], i64, u8) -> Option<()> + 'v;

/// Calls `visit` with the number and the kind of each field of a struct; it takes the value from the front.
fn each_field(bytes: &mut &[u8], visit: &mut Visit<'_>) -> Option<()> {
    let mut field = 0;
    loop {
        let head = take_byte(bytes)?;
        if head == 0 {
            return Some(());
        }
        field = match head >> 4 {
            0 => take_int(bytes, 4)?,
            step => field + i64::from(step),
        };
        visit(bytes, field, head & 15)?;
    }
}

fn take_byte(bytes: &mut &[u8]) -> Option<u8> {
    let (byte, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*byte)
}

/// An integer of 16, 32 or 64 bits.
fn take_int(bytes: &mut &[u8], kind: u8) -> Option<i64> {
    matches!(kind, 4..=6).then(|| take_zigzag(bytes))?
}

/// A number whose sign is its lowest bit.
pub(super) fn take_zigzag(bytes: &mut &[u8]) -> Option<i64> {
    let number = take_varint(bytes)?;
    Some((number >> 1) as i64 ^ -((number & 1) as i64))
}

fn take_size(bytes: &mut &[u8], kind: u8) -> Option<usize> {
    usize::try_from(take_int(bytes, kind)?).ok().filter(|size| *size <= i32::MAX as usize)
}

fn skip(bytes: &mut &[u8], kind: u8, depth: usize) -> Option<()> {
    let n_bytes = match kind {
        1 | 2 => 0,
        3 => 1,
        4..=6 => return take_varint(bytes).map(|_| ()),
        7 => 8,
        8 => usize::try_from(take_varint(bytes)?).ok()?,
        12 if depth > 0 => return each_field(bytes, &mut |bytes, _, kind| skip(bytes, kind, depth - 1)),
        _ => return None,
    };
    (_, *bytes) = bytes.split_at_checked(n_bytes)?;
    Some(())
}
