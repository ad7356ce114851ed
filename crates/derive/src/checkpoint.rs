//! The checkpoint: the state of the derivation and the LSN up to which it counted, as one file.
//!
//! The first line has the version and a checksum of the rest, which is a protobuf message; `docs/format/derived.md` has
//! its fields. Exemplars are not in it: those that wait for an emission when the process is killed are lost, and spans
//! that are observed again make new ones.

use std::sync::Arc;

use throughline_model::protobuf::{Field, Malformed, Reader, put_bytes, put_fixed64, put_number};

use crate::config::DeriveConfig;
use crate::deriver::Deriver;
use crate::graph::Edge;
use crate::histogram::{Bounds, Histogram};
use crate::pairing::{EdgeKey, Half};
use crate::red::Red;
use crate::table::Series;

/// The version of the format.
pub const VERSION: u32 = 1;

const TITLE: &str = "throughline-derived";

/// Why a checkpoint cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is not as it was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// A newer version wrote it.
    #[error("it has format version {0}, this version reads up to {VERSION}")]
    Version(u32),
    /// It counted for other labels or bounds than those that are configured now.
    #[error("its labels or histogram bounds are not those of the configuration")]
    Shape,
}

impl From<Malformed> for Unusable {
    fn from(error: Malformed) -> Unusable {
        Unusable::Damaged(error.to_string())
    }
}

/// Writes the state, and that it counted the frames below an LSN.
pub fn encode(deriver: &Deriver, config: &DeriveConfig, lsn: u64) -> Vec<u8> {
    let mut body = Vec::new();
    put_number(&mut body, 1, lsn);
    put_fixed64(&mut body, 2, deriver.now as u64);
    put_fixed64(&mut body, 3, deriver.forgot_at as u64);
    put_bytes(&mut body, 4, shape(config).as_bytes());
    for series in deriver.red.table.iter() {
        let red = &series.value;
        put_bytes(&mut body, 5, &encode_series(series, &[red.bytes], &[&red.latency]));
    }
    if let Some(graph) = &deriver.graph {
        for series in graph.edges.table.iter() {
            let edge = &series.value;
            let bytes = encode_series(series, &[edge.failed], &[&edge.server, &edge.client]);
            put_bytes(&mut body, 6, &bytes);
        }
        for series in graph.unpaired.iter() {
            put_bytes(&mut body, 7, &encode_series(series, &[series.value], &[]));
        }
        for (key, half) in graph.pairing.iter() {
            put_bytes(&mut body, 8, &encode_half(key, half));
        }
    }
    let crc = crc32c::crc32c(&body);
    let header = format!("{TITLE} version={VERSION} crc32c={crc:08x} bytes={}\n", body.len());
    [header.into_bytes(), body].concat()
}

/// Reads the state, and the LSN below which it counted.
pub fn decode(bytes: &[u8], config: &DeriveConfig) -> Result<(Deriver, u64), Unusable> {
    let body = checked_body(bytes)?;
    let mut deriver = Deriver::new(config);
    let (mut lsn, mut shape_found) = (0, "");
    let mut reader = Reader::new(body);
    while let Some((number, field)) = reader.next_field()? {
        let message = field.bytes();
        match number {
            1 => lsn = field.number(),
            2 => deriver.now = field.number() as i64,
            3 => deriver.forgot_at = field.number() as i64,
            4 => shape_found = std::str::from_utf8(message).unwrap_or_default(),
            5 => add_red(&mut deriver, message)?,
            6 => add_edge(&mut deriver, message)?,
            7 => add_unpaired(&mut deriver, message)?,
            8 => add_half(&mut deriver, message)?,
            _ => {}
        }
    }
    if shape_found != shape(config) {
        return Err(Unusable::Shape);
    }
    Ok((deriver, lsn))
}

/// What the keys and histograms of the state mean: counters of one shape say nothing of another.
fn shape(config: &DeriveConfig) -> String {
    let dimensions: Vec<_> = config.dimensions.iter().map(|d| (&d.name, &d.default)).collect();
    let graph = config.service_graph.as_ref().map(|graph| (&graph.dimensions, &graph.histogram_buckets));
    format!("{dimensions:?} {:?} {graph:?}", config.histogram_buckets)
}

fn checked_body(bytes: &[u8]) -> Result<&[u8], Unusable> {
    let damaged = |detail: &str| Unusable::Damaged(detail.to_owned());
    let line_end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| damaged("no first line"))?;
    let (line, body) = bytes.split_at(line_end);
    let body = body.get(1..).unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| damaged("the first line is no text"))?;
    let mut words = line.split(' ');
    if words.next() != Some(TITLE) {
        return Err(damaged("the first line is another file's"));
    }
    let mut field = |name: &str| words.next().and_then(|word| word.strip_prefix(name));
    match field("version=").and_then(|text| text.parse().ok()) {
        Some(VERSION) => {}
        Some(found) => return Err(Unusable::Version(found)),
        None => return Err(damaged("the first line has no version")),
    }
    let crc = field("crc32c=").and_then(|text| u32::from_str_radix(text, 16).ok());
    if field("bytes=").and_then(|text| text.parse().ok()) != Some(body.len()) {
        return Err(damaged("it is not as long as its first line says"));
    }
    if crc != Some(crc32c::crc32c(body)) {
        return Err(damaged("its checksum does not match"));
    }
    Ok(body)
}

// === series ===

fn encode_series<V>(series: &Series<V>, values: &[f64], histograms: &[&Histogram]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, &series.key);
    put_fixed64(&mut out, 2, series.born_at as u64);
    put_fixed64(&mut out, 3, series.seen_at as u64);
    put_number(&mut out, 4, u64::from(series.is_written));
    for value in values {
        put_fixed64(&mut out, 5, value.to_bits());
    }
    for histogram in histograms {
        let numbers = std::iter::once(histogram.sum).chain(histogram.counts());
        let bytes: Vec<u8> = numbers.flat_map(f64::to_le_bytes).collect();
        put_bytes(&mut out, 6, &bytes);
    }
    out
}

/// A series as it was written: its numbers and histograms in order.
type Raw = Series<(Vec<f64>, Vec<Histogram>)>;

fn decode_series(message: &[u8]) -> Result<Raw, Unusable> {
    let value = (Vec::new(), Vec::new());
    let mut series = Series { key: Arc::new([]), born_at: 0, seen_at: 0, is_written: false, value };
    let (values, histograms) = &mut series.value;
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Bytes(key)) => series.key = key.into(),
            (2, field) => series.born_at = field.number() as i64,
            (3, field) => series.seen_at = field.number() as i64,
            (4, field) => series.is_written = field.number() != 0,
            (5, field) => values.push(f64::from_bits(field.number())),
            (6, Field::Bytes(bytes)) => {
                let (numbers, _) = bytes.as_chunks::<8>();
                let mut numbers = numbers.iter().map(|bytes| f64::from_le_bytes(*bytes));
                let sum = numbers.next().unwrap_or_default();
                histograms.push(Histogram::restore(sum, &numbers.collect::<Vec<_>>()));
            }
            _ => {}
        }
    }
    Ok(series)
}

fn with_value<V>(raw: Raw, value: V) -> Series<V> {
    let Raw { key, born_at, seen_at, is_written, .. } = raw;
    Series { key, born_at, seen_at, is_written, value }
}

/// A histogram of the configured bounds; another number of buckets is another shape.
fn fitting(histogram: Option<Histogram>, bounds: &Bounds) -> Result<Histogram, Unusable> {
    histogram.filter(|found| found.counts().count() == bounds.buckets()).ok_or(Unusable::Shape)
}

fn add_red(deriver: &mut Deriver, message: &[u8]) -> Result<(), Unusable> {
    let mut raw = decode_series(message)?;
    let (numbers, histograms) = std::mem::take(&mut raw.value);
    let bytes = numbers.first().copied().unwrap_or_default();
    let latency = fitting(histograms.into_iter().next(), &deriver.red.bounds)?;
    deriver.red.table.add(with_value(raw, Red { bytes, latency }));
    Ok(())
}

fn add_edge(deriver: &mut Deriver, message: &[u8]) -> Result<(), Unusable> {
    let Some(graph) = &mut deriver.graph else { return Ok(()) };
    let mut raw = decode_series(message)?;
    let (numbers, histograms) = std::mem::take(&mut raw.value);
    let failed = numbers.first().copied().unwrap_or_default();
    let mut histograms = histograms.into_iter();
    let server = fitting(histograms.next(), &graph.edges.bounds)?;
    let client = fitting(histograms.next(), &graph.edges.bounds)?;
    graph.edges.table.add(with_value(raw, Edge { failed, server, client }));
    Ok(())
}

fn add_unpaired(deriver: &mut Deriver, message: &[u8]) -> Result<(), Unusable> {
    let Some(graph) = &mut deriver.graph else { return Ok(()) };
    let raw = decode_series(message)?;
    let count = raw.value.0.first().copied().unwrap_or_default();
    graph.unpaired.add(with_value(raw, count));
    Ok(())
}

// === sides that wait ===

fn encode_half(key: &EdgeKey, half: &Half) -> Vec<u8> {
    let mut out = Vec::new();
    let (trace_id, span_id) = key.ids();
    put_bytes(&mut out, 1, &trace_id);
    put_bytes(&mut out, 2, &span_id);
    let flags = [half.is_client, half.is_messaging, half.failed];
    put_number(&mut out, 3, flags.iter().enumerate().map(|(bit, is)| u64::from(*is) << bit).sum());
    put_fixed64(&mut out, 4, half.arrived_at as u64);
    put_number(&mut out, 5, half.duration_ns);
    put_fixed64(&mut out, 6, half.weight.to_bits());
    put_bytes(&mut out, 7, half.service.as_bytes());
    if let Some(peer) = &half.peer {
        put_bytes(&mut out, 8, peer.as_bytes());
    }
    if let Some(dimensions) = &half.dimensions {
        put_bytes(&mut out, 9, dimensions);
    }
    out
}

fn add_half(deriver: &mut Deriver, message: &[u8]) -> Result<(), Unusable> {
    let Some(graph) = &mut deriver.graph else { return Ok(()) };
    let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
    let mut half = Half {
        is_client: false,
        is_messaging: false,
        failed: false,
        arrived_at: 0,
        duration_ns: 0,
        weight: 1.0,
        service: "".into(),
        peer: None,
        dimensions: None,
    };
    let mut reader = Reader::new(message);
    let text = |field: Field<'_>| Arc::from(std::str::from_utf8(field.bytes()).unwrap_or_default());
    while let Some((number, field)) = reader.next_field()? {
        match number {
            1 => trace_id = field.bytes().try_into().unwrap_or_default(),
            2 => span_id = field.bytes().try_into().unwrap_or_default(),
            3 => {
                let is = |bit: u32| field.number() >> bit & 1 != 0;
                (half.is_client, half.is_messaging, half.failed) = (is(0), is(1), is(2));
            }
            4 => half.arrived_at = field.number() as i64,
            5 => half.duration_ns = field.number(),
            6 => half.weight = f64::from_bits(field.number()),
            7 => half.service = text(field),
            8 => half.peer = Some(text(field)),
            9 => half.dimensions = Some(field.bytes().into()),
            _ => {}
        }
    }
    graph.pairing.wait(EdgeKey::new(trace_id, span_id), half);
    Ok(())
}
