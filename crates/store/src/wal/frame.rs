//! The bytes of one frame: a header of fixed size, the payload, and zeros up to a multiple of eight.
//!
//! Drawn in `docs/format/wal.md`. All numbers are little-endian.

use throughline_model::Signal;

/// `TLW1`: frames of version 1.
pub const MAGIC: u32 = u32::from_le_bytes(*b"TLW1");
/// The bytes of a header.
pub const HEADER_BYTES: usize = 88;
/// Frames start at multiples of this, which is what a reader that looks for the next one steps by.
pub const ALIGN_BYTES: usize = 8;
/// A payload is never longer: receivers refuse requests far below it.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 30;

/// What a frame records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A request; the payload is its body as received.
    Write = 1,
    /// An exact retry of a request that is stored; no payload.
    Duplicate = 2,
}

/// A frame's header without what follows from its place and its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it records.
    pub kind: Kind,
    /// The signal of the request.
    pub signal: Signal,
    /// A [`throughline_wire::Encoding`].
    pub encoding: u8,
    /// A [`throughline_wire::Compression`].
    pub compression: u8,
    /// The tenant; 0 while there is one.
    pub tenant: u16,
    /// When the request arrived, nanoseconds since the epoch.
    pub received_at: i64,
    /// The hash of signal and decompressed body.
    pub content_hash: u128,
    /// How many items were accepted: a replay must come to the same number.
    pub accepted: u32,
    /// How many items were rejected.
    pub rejected: u32,
}

impl Frame {
    /// The items that were received.
    pub fn items(&self) -> u64 {
        u64::from(self.accepted) + u64::from(self.rejected)
    }
}

/// A frame's place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The log sequence number.
    pub lsn: u64,
    /// The last LSN that was durable when the frame was written.
    pub synced_lsn: u64,
    /// The items of all frames up to and with this one.
    pub total_items: u64,
    /// The checksum of the header before it.
    pub previous_crc: u32,
}

/// A header as it was read: checked, with what its checksum vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What is recorded.
    pub frame: Frame,
    /// Where in the log.
    pub place: Place,
    /// The length of the payload.
    pub payload_bytes: usize,
    payload_crc: u32,
    /// The header's own checksum, which the next frame repeats.
    pub crc: u32,
}

impl Header {
    /// The bytes of the whole frame.
    pub fn frame_bytes(&self) -> u64 {
        (HEADER_BYTES + padded(self.payload_bytes)) as u64
    }

    /// Whether the bytes after the header (payload and padding) are the ones that were written.
    pub fn matches(&self, salt: u64, padded_payload: &[u8]) -> bool {
        padded_payload.len() == padded(self.payload_bytes)
            && checksum(salt, padded_payload) == self.payload_crc
    }
}

/// A payload's length with its padding.
pub fn padded(payload_bytes: usize) -> usize {
    payload_bytes.next_multiple_of(ALIGN_BYTES)
}

/// Appends a frame and returns its header's checksum.
pub fn encode(out: &mut Vec<u8>, salt: u64, frame: &Frame, place: &Place, payload: &[u8]) -> u32 {
    let start = out.len();
    let mut header = [0u8; HEADER_BYTES];
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
    out.resize(start + HEADER_BYTES + padded(payload.len()), 0);
    let payload_crc = checksum(salt, out.get(start + HEADER_BYTES..).unwrap_or_default());
    let mut fields = Fields { bytes: &mut header, at: 8 };
    fields.put(place.lsn.to_le_bytes());
    fields.put(place.synced_lsn.to_le_bytes());
    fields.put(place.total_items.to_le_bytes());
    fields.put(frame.received_at.to_le_bytes());
    fields.put(frame.content_hash.to_le_bytes());
    fields.put((payload.len() as u32).to_le_bytes());
    fields.put(payload_crc.to_le_bytes());
    fields.put(place.previous_crc.to_le_bytes());
    fields.put(frame.accepted.to_le_bytes());
    fields.put(frame.rejected.to_le_bytes());
    fields.put(frame.tenant.to_le_bytes());
    fields.put([frame.kind as u8, signal_code(frame.signal), frame.encoding, frame.compression]);
    let crc = checksum(salt, header.get(8..).unwrap_or_default());
    let mut fields = Fields { bytes: &mut header, at: 0 };
    fields.put(MAGIC.to_le_bytes());
    fields.put(crc.to_le_bytes());
    if let Some(into) = out.get_mut(start..start + HEADER_BYTES) {
        into.copy_from_slice(&header);
    }
    crc
}

/// Reads a header; `None` if these bytes are none that this store wrote.
pub fn decode(salt: u64, bytes: &[u8]) -> Option<Header> {
    let bytes = bytes.get(..HEADER_BYTES)?;
    let mut fields = bytes;
    if u32::from_le_bytes(take(&mut fields)?) != MAGIC {
        return None;
    }
    let crc = u32::from_le_bytes(take(&mut fields)?);
    if checksum(salt, fields) != crc {
        return None;
    }
    let place_lsn = u64::from_le_bytes(take(&mut fields)?);
    let synced_lsn = u64::from_le_bytes(take(&mut fields)?);
    let total_items = u64::from_le_bytes(take(&mut fields)?);
    let received_at = i64::from_le_bytes(take(&mut fields)?);
    let content_hash = u128::from_le_bytes(take(&mut fields)?);
    let payload_bytes = u32::from_le_bytes(take(&mut fields)?) as usize;
    let payload_crc = u32::from_le_bytes(take(&mut fields)?);
    let previous_crc = u32::from_le_bytes(take(&mut fields)?);
    let accepted = u32::from_le_bytes(take(&mut fields)?);
    let rejected = u32::from_le_bytes(take(&mut fields)?);
    let tenant = u16::from_le_bytes(take(&mut fields)?);
    let [kind, signal, encoding, compression] = take::<4>(&mut fields)?;
    let kind = match kind {
        1 => Kind::Write,
        2 => Kind::Duplicate,
        _ => return None,
    };
    let signal = signal_of(signal)?;
    (payload_bytes <= PAYLOAD_BYTES_MAX).then_some(Header {
        frame: Frame {
            kind,
            signal,
            encoding,
            compression,
            tenant,
            received_at,
            content_hash,
            accepted,
            rejected,
        },
        place: Place { lsn: place_lsn, synced_lsn, total_items, previous_crc },
        payload_bytes,
        payload_crc,
        crc,
    })
}

/// CRC-32C over the store's salt and the bytes. Never zero, so that zeros are never a frame of zeros.
pub(crate) fn checksum(salt: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), bytes)
}

/// The code of a signal in stored bytes.
pub fn signal_code(signal: Signal) -> u8 {
    match signal {
        Signal::Traces => 1,
        Signal::Metrics => 2,
        Signal::Logs => 3,
    }
}

fn signal_of(code: u8) -> Option<Signal> {
    Signal::ALL.into_iter().find(|signal| signal_code(*signal) == code)
}

/// Takes the first bytes off.
pub(crate) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

struct Fields<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Fields<'_> {
    fn put<const N: usize>(&mut self, field: [u8; N]) {
        if let Some(into) = self.bytes.get_mut(self.at..self.at + N) {
            into.copy_from_slice(&field);
        }
        self.at += N;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Frame, Place) {
        let frame = Frame {
            kind: Kind::Write,
            signal: Signal::Logs,
            encoding: 1,
            compression: 2,
            tenant: 7,
            received_at: -5,
            content_hash: 1 << 100 | 3,
            accepted: 11,
            rejected: 2,
        };
        (frame, Place { lsn: 9, synced_lsn: 8, total_items: 130, previous_crc: 0xdead_beef })
    }

    #[test]
    fn frame_round_trips() {
        let (frame, place) = sample();
        let mut out = Vec::new();
        let crc = encode(&mut out, 42, &frame, &place, b"hello");
        let header = decode(42, &out).expect("a valid header");
        assert_eq!((header.frame, header.place, header.crc), (frame, place, crc));
        assert_eq!(header.frame_bytes(), out.len() as u64);
        assert!(header.matches(42, &out[HEADER_BYTES..]));
    }

    #[test]
    fn every_flipped_bit_is_seen_and_another_salt_is_refused() {
        let (frame, place) = sample();
        let mut out = Vec::new();
        encode(&mut out, 42, &frame, &place, b"payload of a frame");
        assert_eq!(decode(43, &out), None);
        for bit in 0..out.len() * 8 {
            let mut flipped = out.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let good =
                decode(42, &flipped).is_some_and(|header| header.matches(42, &flipped[HEADER_BYTES..]));
            assert!(!good, "bit {bit}");
        }
    }
}
