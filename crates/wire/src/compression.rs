//! Decompression of request bodies, counted on the output.
//!
//! Nothing is trusted that a body says about its size: output is produced in steps and counted, and decompression
//! stops at the first byte over the limit. gzip bodies may have several members (RFC 1952, section 2.2), zstd bodies
//! several frames. snappy is the block format, which is not made for streams: it declares its length, which is only
//! believed as far as the bytes that are here can reach.

use std::borrow::Cow;
use std::io::{self, Read};

use crate::DecodeError;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Compression {
    /// Not at all.
    Identity = 0,
    /// `gzip`.
    Gzip = 1,
    /// `zstd`.
    Zstd = 2,
    /// `snappy`, the block format: of Prometheus' remote write and of Loki's push.
    Snappy = 3,
    /// `deflate` without a header, as Loki has it.
    Deflate = 4,
    /// `gzip` around `snappy`: of Loki's push alone.
    GzipSnappy = 5,
    /// `deflate` around `snappy`: of Loki's push alone.
    DeflateSnappy = 6,
}

impl Compression {
    /// The code that is stored in the write-ahead log.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The compression that a stored code stands for.
    pub fn from_code(code: u8) -> Option<Compression> {
        match code {
            0 => Some(Compression::Identity),
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Zstd),
            3 => Some(Compression::Snappy),
            4 => Some(Compression::Deflate),
            5 => Some(Compression::GzipSnappy),
            6 => Some(Compression::DeflateSnappy),
            _ => None,
        }
    }

    /// The name in `Content-Encoding` and `grpc-encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Compression::Identity => "identity",
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
            Compression::Snappy => "snappy",
            Compression::Deflate => "deflate",
            Compression::GzipSnappy => "gzip of snappy",
            Compression::DeflateSnappy => "deflate of snappy",
        }
    }

    /// The compression of that name, of those that OTLP has.
    pub fn from_name(name: &str) -> Option<Compression> {
        [Compression::Identity, Compression::Gzip, Compression::Zstd]
            .into_iter()
            .find(|compression| compression.name().eq_ignore_ascii_case(name.trim()))
    }
}

/// The largest zstd window that is accepted, as a power of two: 8 MiB, what every level up to 19 of the reference
/// encoder uses and what RFC 8878 (section 3.1.1.1.2) asks decoders to support. A frame may ask for 2 GiB, and the
/// window is memory that is held while decompressing, whatever the output.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Output grows by this much at a time.
const STEP_BYTES: usize = 64 << 10;

/// Decompresses a body, never to more than `limit_bytes`. An uncompressed body is borrowed.
pub fn decompress(
    body: &[u8],
    compression: Compression,
    limit_bytes: usize,
) -> Result<Cow<'_, [u8]>, DecodeError> {
    match compression {
        Compression::Identity if body.len() > limit_bytes => Err(DecodeError::TooLarge { limit_bytes }),
        Compression::Identity => Ok(Cow::Borrowed(body)),
        Compression::Gzip => {
            let reader = flate2::bufread::MultiGzDecoder::new(body);
            read_bounded(reader, compression, body.len(), limit_bytes).map(Cow::Owned)
        }
        Compression::Zstd => {
            let mut reader =
                zstd::stream::read::Decoder::with_buffer(body).map_err(|e| malformed(compression, &e))?;
            reader.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|e| malformed(compression, &e))?;
            read_bounded(reader, compression, body.len(), limit_bytes).map(Cow::Owned)
        }
        Compression::Snappy => unsnap(body, limit_bytes).map(Cow::Owned),
        Compression::Deflate => {
            let reader = flate2::bufread::DeflateDecoder::new(body);
            read_bounded(reader, compression, body.len(), limit_bytes).map(Cow::Owned)
        }
        Compression::GzipSnappy => {
            unsnap(&decompress(body, Compression::Gzip, limit_bytes)?, limit_bytes).map(Cow::Owned)
        }
        Compression::DeflateSnappy => {
            unsnap(&decompress(body, Compression::Deflate, limit_bytes)?, limit_bytes).map(Cow::Owned)
        }
    }
}

/// What a byte of snappy can become at most: a copy of up to 64 bytes takes three.
const SNAPPY_RATIO_MAX: usize = 22;

fn unsnap(body: &[u8], limit_bytes: usize) -> Result<Vec<u8>, DecodeError> {
    let malformed =
        |detail: String| DecodeError::Compression { encoding: Compression::Snappy.name(), detail };
    let declared = snap::raw::decompress_len(body).map_err(|error| malformed(error.to_string()))?;
    if declared > body.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(malformed(format!("{} bytes cannot become the declared {declared}", body.len())));
    }
    if declared > limit_bytes {
        return Err(DecodeError::TooLarge { limit_bytes });
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(|error| malformed(error.to_string()))
}

fn read_bounded(
    mut reader: impl Read,
    compression: Compression,
    compressed_bytes: usize,
    limit_bytes: usize,
) -> Result<Vec<u8>, DecodeError> {
    // Telemetry compresses about five to one; the guess comes from bytes that are here, not from what they declare.
    let mut out = Vec::with_capacity(compressed_bytes.saturating_mul(6).min(limit_bytes).min(8 << 20));
    let mut filled = 0;
    loop {
        if filled == out.len() {
            if filled > limit_bytes {
                return Err(DecodeError::TooLarge { limit_bytes });
            }
            // One byte over the limit tells "exactly the limit" from "more".
            let target = filled.saturating_add(filled.max(STEP_BYTES)).min(limit_bytes.saturating_add(1));
            out.resize(target, 0);
        }
        match reader.read(out.get_mut(filled..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(malformed(compression, &error)),
        }
    }
    if filled > limit_bytes {
        return Err(DecodeError::TooLarge { limit_bytes });
    }
    out.truncate(filled);
    Ok(out)
}

fn malformed(compression: Compression, error: &io::Error) -> DecodeError {
    DecodeError::Compression { encoding: compression.name(), detail: error.to_string() }
}
