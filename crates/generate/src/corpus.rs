//! Encoded requests in a file, so that a benchmark sends the same bytes to everybody and spends no time on
//! making them.
//!
//! A frame is `signal u8 | items u32 | length u32 | number u64 | body`, little-endian; the body is what goes over
//! the wire, compressed or not.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

use crate::{Request, Signal};

/// Bytes that gRPC puts before a message: a flag and a length. Bodies are kept with room for them in front.
pub const GRPC_PREFIX_BYTES: usize = 5;
const HEADER_BYTES: usize = 17;
/// A longer frame is damage: no request of the generator comes near.
const BODY_BYTES_MAX: usize = 64 << 20;
const BUFFER_BYTES: usize = 1 << 20;

/// One request as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// What it holds.
    pub signal: Signal,
    /// How many spans, records or data points.
    pub items: u32,
    /// Its place in the corpus, counted from 0.
    pub number: u64,
    /// Whether it is compressed with gzip.
    pub gzip: bool,
    framed: Bytes,
}

impl Encoded {
    /// Encodes a request.
    pub fn new(request: &Request, number: u64, gzip: bool) -> std::io::Result<Encoded> {
        let compressed;
        let body = if gzip {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
            encoder.write_all(&request.body)?;
            compressed = encoder.finish()?;
            &compressed
        } else {
            &request.body
        };
        let framed = framed(body.len(), gzip, |room| {
            room.copy_from_slice(body);
            Ok(())
        })?;
        Ok(Encoded { signal: request.signal, items: request.items as u32, number, gzip, framed })
    }

    /// The bytes as OTLP/HTTP sends them.
    pub fn http_body(&self) -> Bytes {
        self.framed.slice(GRPC_PREFIX_BYTES..)
    }

    /// The bytes as OTLP/gRPC sends them.
    pub fn grpc_body(&self) -> Bytes {
        self.framed.clone()
    }
}

fn framed(
    length: usize,
    gzip: bool,
    fill: impl FnOnce(&mut [u8]) -> std::io::Result<()>,
) -> std::io::Result<Bytes> {
    let mut bytes = vec![0; GRPC_PREFIX_BYTES + length];
    bytes[0] = u8::from(gzip);
    bytes[1..GRPC_PREFIX_BYTES].copy_from_slice(&(length as u32).to_be_bytes());
    fill(&mut bytes[GRPC_PREFIX_BYTES..])?;
    Ok(Bytes::from(bytes))
}

/// Writes a corpus, plain and, if that is wanted, compressed beside it.
pub struct CorpusWriter {
    plain: BufWriter<File>,
    gzip: Option<BufWriter<File>>,
    number: u64,
}

impl CorpusWriter {
    /// Creates the files.
    #[expect(clippy::disallowed_methods, reason = "the files are the benchmark's, not the store's")]
    pub fn create(plain: &Path, gzip: Option<&Path>) -> std::io::Result<CorpusWriter> {
        let open =
            |path| Ok::<_, std::io::Error>(BufWriter::with_capacity(BUFFER_BYTES, File::create(path)?));
        Ok(CorpusWriter { plain: open(plain)?, gzip: gzip.map(open).transpose()?, number: 0 })
    }

    /// Appends a request.
    pub fn push(&mut self, request: &Request) -> std::io::Result<()> {
        let gzip = self.gzip.as_mut().map(|file| (true, file));
        for (gzip, file) in std::iter::once((false, &mut self.plain)).chain(gzip) {
            let encoded = Encoded::new(request, self.number, gzip)?;
            let body = encoded.http_body();
            let mut header = [0; HEADER_BYTES];
            header[0] = encoded.signal as u8;
            header[1..5].copy_from_slice(&encoded.items.to_le_bytes());
            header[5..9].copy_from_slice(&(body.len() as u32).to_le_bytes());
            header[9..].copy_from_slice(&self.number.to_le_bytes());
            file.write_all(&header)?;
            file.write_all(&body)?;
        }
        self.number += 1;
        Ok(())
    }

    /// Writes out what is buffered.
    pub fn finish(mut self) -> std::io::Result<()> {
        self.plain.flush()?;
        self.gzip.map_or(Ok(()), |mut file| file.flush())
    }
}

/// Reads a corpus file.
pub struct CorpusReader {
    file: BufReader<File>,
    gzip: bool,
}

impl CorpusReader {
    /// Opens a file that [`CorpusWriter`] wrote.
    #[expect(clippy::disallowed_methods, reason = "the files are the benchmark's, not the store's")]
    pub fn open(path: &Path, gzip: bool) -> std::io::Result<CorpusReader> {
        Ok(CorpusReader { file: BufReader::with_capacity(BUFFER_BYTES, File::open(path)?), gzip })
    }

    fn read(&mut self) -> std::io::Result<Option<Encoded>> {
        let mut header = [0; HEADER_BYTES];
        match self.file.read_exact(&mut header) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let [signal, i0, i1, i2, i3, l0, l1, l2, l3, number @ ..] = header;
        let signal = *[Signal::Traces, Signal::Logs, Signal::Metrics]
            .get(usize::from(signal))
            .ok_or_else(|| damaged(format!("signal {signal}")))?;
        let (items, length) =
            (u32::from_le_bytes([i0, i1, i2, i3]), u32::from_le_bytes([l0, l1, l2, l3]) as usize);
        if length > BODY_BYTES_MAX {
            return Err(damaged(format!("a frame of {length} bytes")));
        }
        let framed = framed(length, self.gzip, |room| self.file.read_exact(room))?;
        Ok(Some(Encoded { signal, items, number: u64::from_le_bytes(number), gzip: self.gzip, framed }))
    }
}

impl Iterator for CorpusReader {
    type Item = std::io::Result<Encoded>;

    fn next(&mut self) -> Option<std::io::Result<Encoded>> {
        self.read().transpose()
    }
}

fn damaged(what: String) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, format!("corpus file has {what}"))
}
