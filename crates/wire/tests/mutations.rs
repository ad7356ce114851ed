//! Seeded mutations: good requests are damaged in every way and decoded. Nothing may panic, and whatever is accepted
//! must be readable again.
//!
//! `THROUGHLINE_MUTATIONS` sets how many mutations each driver makes (default 2,000); `THROUGHLINE_SEED` the seed. A
//! failure prints the seed of its round.

#[path = "requests/generate.rs"]
mod generate;

use generate::{HOUR_NS, NOW, Seed};
use prost::Message as _;
use throughline_model::batch::{column_binary, log, series, span};
use throughline_model::{Batch, Signal, attribute};
use throughline_wire::trace_context::Finder;
use throughline_wire::{
    Compression, DecodeContext, DecodeLimits, Decoded, Decoder, Encoding, Rejection, decompress, otlp,
};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs `round` with a seed of its own for each mutation.
fn drive(round: impl Fn(&mut Seed)) {
    let first = setting("THROUGHLINE_SEED", 1);
    for number in 0..setting("THROUGHLINE_MUTATIONS", 2_000) {
        let seed = first.wrapping_mul(0x9e37_79b9).wrapping_add(number);
        let guard = SeedOnPanic(seed);
        round(&mut Seed(seed));
        std::mem::forget(guard);
    }
}

/// Names the seed when a round unwinds.
struct SeedOnPanic(u64);

impl Drop for SeedOnPanic {
    fn drop(&mut self) {
        eprintln!("failing seed of the round: {}", self.0);
    }
}

fn request(signal: Signal, seed: &mut Seed) -> Vec<u8> {
    match signal {
        Signal::Traces => generate::spans(seed).encode_to_vec(),
        Signal::Logs => generate::logs(seed).encode_to_vec(),
        Signal::Metrics => generate::metrics(seed).encode_to_vec(),
    }
}

fn json_request(signal: Signal, seed: &mut Seed) -> Vec<u8> {
    let json = match signal {
        Signal::Traces => serde_json::to_vec(&generate::spans(seed)),
        Signal::Logs => serde_json::to_vec(&generate::logs(seed)),
        Signal::Metrics => serde_json::to_vec(&generate::metrics(seed)),
    };
    json.expect("JSON")
}

/// Damages bytes in one to four places.
fn mutate(bytes: &mut Vec<u8>, seed: &mut Seed) {
    for _ in 0..=seed.below(3) {
        let at = seed.below(bytes.len() as u64) as usize;
        match seed.below(8) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << seed.below(8),
            1 if !bytes.is_empty() => bytes[at] = seed.next() as u8,
            2 => bytes.truncate(at),
            3 => bytes.insert(at, seed.next() as u8),
            4 if !bytes.is_empty() => _ = bytes.remove(at),
            5 => {
                // A length, or a part of one, becomes huge.
                let huge = [0xff; 9];
                bytes.splice(at..at, huge);
            }
            6 if !bytes.is_empty() => {
                let end = (at + seed.below(64) as usize).min(bytes.len());
                let part = bytes[at..end].to_vec();
                let to = seed.below(bytes.len() as u64) as usize;
                bytes.splice(to..to, part);
            }
            _ if !bytes.is_empty() => bytes[at] = b"\x00\x0a\x12\x7f\x80{}[]\",:0"[seed.below(13) as usize],
            _ => {}
        }
    }
}

fn context() -> DecodeContext {
    DecodeContext { received_at: NOW as i64, limits: DecodeLimits::with_retention(24 * HOUR_NS as i64) }
}

/// Decodes; what is accepted is read back through the model's readers.
fn check(decoder: &mut Decoder, signal: Signal, encoding: Encoding, bytes: &[u8]) {
    let Ok(decoded) = decoder.decode(signal, encoding, bytes, &context()) else { return };
    for rejection in &decoded.rejected {
        assert!(!rejection.message.is_empty());
    }
    let attributes = match &decoded.batch {
        Batch::Spans(batch) => column_binary(&batch.rows, span::ATTRIBUTES),
        Batch::Logs(batch) => column_binary(&batch.rows, log::ATTRIBUTES),
        Batch::Metrics(batch) => column_binary(&batch.series, series::ATTRIBUTES),
    };
    for list in attributes.iter().flatten() {
        let mut json = String::new();
        attribute::write_json_object(list, &mut json);
        serde_json::from_str::<serde_json::Value>(&json).expect("accepted attributes are valid JSON");
    }
}

fn damaged_requests(encoding: Encoding) {
    let make = if encoding == Encoding::Json { json_request } else { request };
    let decoder = std::cell::RefCell::new(Decoder::new());
    drive(|seed| {
        let signal = Signal::ALL[seed.below(3) as usize];
        let mut bytes = make(signal, seed);
        mutate(&mut bytes, seed);
        check(&mut decoder.borrow_mut(), signal, encoding, &bytes);
    });
}

#[test]
fn damaged_protobuf_never_panics() {
    damaged_requests(Encoding::Protobuf);
}

#[test]
fn damaged_json_never_panics() {
    damaged_requests(Encoding::Json);
}

#[test]
fn random_bytes_never_panic() {
    let decoder = std::cell::RefCell::new(Decoder::new());
    drive(|seed| {
        let bytes: Vec<u8> = (0..seed.below(200)).map(|_| seed.next() as u8).collect();
        for signal in Signal::ALL {
            check(&mut decoder.borrow_mut(), signal, Encoding::Protobuf, &bytes);
            check(&mut decoder.borrow_mut(), signal, Encoding::Json, &bytes);
        }
        for compression in [Compression::Gzip, Compression::Zstd] {
            _ = decompress(&bytes, compression, 1 << 20);
        }
    });
}

#[test]
fn requests_cut_at_every_byte_never_panic() {
    let mut decoder = Decoder::new();
    for signal in Signal::ALL {
        let seed =
            (1..).find(|seed| request(signal, &mut Seed(*seed)).len() > 2_000).expect("a long request");
        for (encoding, bytes) in [
            (Encoding::Protobuf, request(signal, &mut Seed(seed))),
            (Encoding::Json, json_request(signal, &mut Seed(seed))),
        ] {
            for end in 0..bytes.len().min(6_000) {
                check(&mut decoder, signal, encoding, &bytes[..end]);
            }
        }
    }
}

#[test]
fn damaged_compressed_bodies_never_panic() {
    drive(|seed| {
        let body = request(Signal::Logs, seed);
        let (compression, mut bytes) = if seed.one_in(2) {
            (Compression::Zstd, zstd::encode_all(body.as_slice(), 1).expect("zstd"))
        } else {
            use std::io::Write as _;
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&body).expect("gzip");
            (Compression::Gzip, gzip.finish().expect("gzip"))
        };
        mutate(&mut bytes, seed);
        if let Ok(out) = decompress(&bytes, compression, 1 << 20) {
            assert!(out.len() <= 1 << 20);
        }
    });
}

#[test]
fn random_bodies_never_panic_the_finder() {
    const PARTS: [&str; 24] = [
        "trace",
        "Trace",
        "TRACE",
        "_id",
        "ID",
        "parent",
        ":",
        "=",
        " ",
        "\"",
        "{",
        "}",
        "[",
        "Root=",
        "1-",
        "-",
        "span",
        "ffc8ca7e4c8f06c75142c880d5595d96",
        "439bc949a9eeb0cc",
        "é",
        "🦀",
        "==",
        "fields",
        ",",
    ];
    let finder = Finder::new();
    drive(|seed| {
        let body: String = (0..seed.below(24)).map(|_| PARTS[seed.below(24) as usize]).collect();
        if let Some(found) = finder.in_body(&body) {
            assert!(found.trace_id.is_some() || !found.original.is_empty(), "{body}");
        }
    });
}

/// JSON and protobuf of one request give one batch.
#[test]
fn json_and_protobuf_agree() {
    drive(|seed| {
        let signal = Signal::ALL[seed.below(3) as usize];
        let state = seed.0;
        let protobuf = request(signal, &mut Seed(state));
        let json = json_request(signal, &mut Seed(state));
        let Ok(transcoded) = otlp::json::to_protobuf(signal, &json) else {
            // Values that nest deeper than JSON may.
            return;
        };
        let context = context();
        let a = throughline_wire::decode(signal, Encoding::Protobuf, &protobuf, &context).expect("protobuf");
        let b =
            throughline_wire::decode(signal, Encoding::Protobuf, &transcoded, &context).expect("transcoded");
        let items = |decoded: &Decoded| decoded.batch.items() as u64 + Rejection::total(&decoded.rejected);
        assert_eq!(items(&a), items(&b));
        if signal != Signal::Metrics {
            // serde writes null for a point whose value is NaN, and that is a point without a value.
            assert_eq!(a.rejected, b.rejected);
        }
        if let (Batch::Spans(a), Batch::Spans(b)) = (&a.batch, &b.batch) {
            // Not what is kept as it came: serde writes out what protobuf leaves out, and null for NaN.
            let kept =
                [span::EVENTS, span::LINKS, span::ATTRIBUTES, span::SERVICE, span::RESOURCE, span::SCOPE];
            for column in (0..a.rows.num_columns()).filter(|column| !kept.contains(column)) {
                assert_eq!(format!("{:?}", a.rows.column(column)), format!("{:?}", b.rows.column(column)));
            }
        }
    });
}
