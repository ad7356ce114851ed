//! Seeded requests of remote write, whole and damaged: whatever is sent is accepted or counted as refused, nothing
//! panics, and what is accepted can be read again.
//!
//! `THROUGHLINE_MUTATIONS` sets how many rounds each driver makes (default 2,000), `THROUGHLINE_SEED` the seed.

#[path = "requests/remote_write.rs"]
mod messages;

use std::cell::RefCell;

use messages::{BucketSpan, Histogram, v1, v2};
use prost::Message as _;
use throughline_model::batch::{column_binary, point, series};
use throughline_model::native_histogram::NativeHistogram;
use throughline_model::{Batch, Signal, label};
use throughline_wire::{
    Compression, DecodeContext, DecodeLimits, Decoder, Encoding, RejectReason, Rejection, decompress,
};

const NOW_MS: i64 = 1_750_000_000_000;

/// splitmix64.
struct Seed(u64);

impl Seed {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn list<T>(&mut self, most: u64, mut make: impl FnMut(&mut Seed) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| make(self)).collect()
    }

    fn text(&mut self) -> Vec<u8> {
        const TEXTS: [&[u8]; 10] =
            [b"a", b"b", b"job", b"le", b"", "é".as_bytes(), b"__name__", b"\xff", b"trace_id", b"x.y"];
        TEXTS[self.below(10) as usize].to_vec()
    }

    fn time(&mut self) -> i64 {
        match self.below(12) {
            0 => i64::MIN,
            1 => i64::MAX,
            2 => 0,
            3 => NOW_MS + 700_000,
            _ => NOW_MS - self.below(20) as i64,
        }
    }

    fn value(&mut self) -> f64 {
        [0.0, 1.0, -1.5, f64::NAN, f64::INFINITY][self.below(5) as usize]
    }

    fn histogram(&mut self) -> Histogram {
        let mut histogram = messages::histogram(self.time());
        match self.below(6) {
            0 => histogram.schema = self.below(20) as i32 - 10,
            1 => histogram.positive_deltas = self.list(5, |seed| seed.below(9) as i64 - 4),
            2 => {
                let span = |seed: &mut Seed| BucketSpan {
                    offset: seed.below(9) as i32 - 4,
                    length: if seed.one_in(3) { u32::MAX } else { seed.below(4) as u32 },
                };
                histogram.positive_spans = self.list(4, span);
            }
            3 => histogram.custom_values = self.list(3, Seed::value),
            4 => histogram.count_float = Some(self.value()),
            _ => {}
        }
        histogram
    }

    fn v1_series(&mut self) -> v1::TimeSeries {
        let label = |seed: &mut Seed| v1::Label { name: seed.text(), value: seed.text() };
        let mut labels = self.list(4, label);
        if !self.one_in(4) {
            labels.insert(0, v1::labels(&[("__name__", "m")])[0].clone());
        }
        v1::TimeSeries {
            labels,
            samples: self.list(3, |seed| v1::Sample { value: seed.value(), timestamp: seed.time() }),
            exemplars: self.list(1, |seed| v1::Exemplar {
                labels: seed.list(2, label),
                value: seed.value(),
                timestamp: seed.time(),
            }),
            histograms: self.list(1, Seed::histogram),
        }
    }

    fn v2_series(&mut self) -> v2::TimeSeries {
        let references = |seed: &mut Seed| seed.list(8, |seed| seed.below(11) as u32);
        v2::TimeSeries {
            labels_refs: if self.one_in(3) { references(self) } else { vec![7, 1, 2, 3] },
            samples: self.list(3, |seed| v2::Sample {
                value: seed.value(),
                timestamp: seed.time(),
                start_timestamp: seed.time(),
            }),
            exemplars: self.list(1, |seed| v2::Exemplar {
                labels_refs: references(seed),
                value: seed.value(),
                timestamp: seed.time(),
            }),
            histograms: self.list(1, Seed::histogram),
            metadata: self.one_in(2).then(|| v2::Metadata {
                kind: self.below(20) as i32 - 2,
                help_ref: self.below(12) as u32,
                unit_ref: self.below(12) as u32,
            }),
        }
    }

    /// A request, its version, and how many samples and histograms it has; a series without any counts as one.
    fn request(&mut self) -> (Encoding, Vec<u8>, u64) {
        if self.one_in(2) {
            let timeseries = self.list(5, Seed::v1_series);
            let items = timeseries.iter().map(|s| s.samples.len() + s.histograms.len()).sum::<usize>();
            let request = v1::WriteRequest { timeseries, metadata: vec![] };
            return (Encoding::RemoteWrite1, request.encode_to_vec(), items as u64);
        }
        let timeseries = self.list(5, Seed::v2_series);
        let items = timeseries.iter().map(|s| s.samples.len() + s.histograms.len()).sum::<usize>();
        let mut symbols: Vec<Vec<u8>> = (0..10).map(|_| self.text()).collect();
        (symbols[0], symbols[7]) = (Vec::new(), b"__name__".to_vec());
        (Encoding::RemoteWrite2, v2::Request { symbols, timeseries }.encode_to_vec(), items as u64)
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs `round` with a seed of its own for each mutation; the seed of a round that fails is printed.
fn drive(round: impl Fn(&mut Seed)) {
    struct SeedOnPanic(u64);
    impl Drop for SeedOnPanic {
        fn drop(&mut self) {
            eprintln!("failing seed of the round: {}", self.0);
        }
    }
    let first = setting("THROUGHLINE_SEED", 1);
    for number in 0..setting("THROUGHLINE_MUTATIONS", 2_000) {
        let seed = first.wrapping_mul(0x9e37_79b9).wrapping_add(number);
        let guard = SeedOnPanic(seed);
        round(&mut Seed(seed));
        std::mem::forget(guard);
    }
}

fn context() -> DecodeContext {
    let limits = DecodeLimits::with_retention(86_400_000_000_000);
    DecodeContext { received_at: NOW_MS * 1_000_000, limits }
}

/// Decodes; accepted items and rejections, where the request is one.
fn check(decoder: &RefCell<Decoder>, encoding: Encoding, body: &[u8]) -> Option<(u64, Vec<Rejection>)> {
    let context = context();
    let decoded = decoder.borrow_mut().decode(Signal::Metrics, encoding, body, &context);
    let fresh = Decoder::new().decode(Signal::Metrics, encoding, body, &context);
    let (Ok(decoded), Ok(fresh)) = (&decoded, &fresh) else {
        assert_eq!(decoded.as_ref().err(), fresh.as_ref().err());
        return None;
    };
    let (Batch::Metrics(batch), Batch::Metrics(same)) = (&decoded.batch, &fresh.batch) else {
        panic!("another signal");
    };
    assert_eq!(batch.series, same.series, "what a decoder remembers changes nothing");
    assert_eq!(batch.points.num_rows(), same.points.num_rows());
    for list in column_binary(&batch.series, series::ATTRIBUTES).iter().flatten() {
        let names: Vec<&str> = label::iter(list).map(|(name, _)| name).collect();
        assert!(names.contains(&"__name__") && names.is_sorted(), "{names:?}");
        assert_eq!(label::iter(list).map(|(n, v)| n.len() + v.len()).sum::<usize>() > 0, !list.is_empty());
    }
    for payload in column_binary(&batch.points, point::PAYLOAD).iter().flatten() {
        let histogram = NativeHistogram::decode(payload).expect("checked");
        assert_eq!(histogram.positive.len(), histogram.positive.absolute().len() as u64);
    }
    Some((decoded.batch.items() as u64, decoded.rejected.clone()))
}

#[test]
fn whatever_is_sent_is_accounted_for() {
    let decoder = RefCell::new(Decoder::new());
    drive(|seed| {
        let (encoding, body, sent) = seed.request();
        let (accepted, rejected) = check(&decoder, encoding, &body).expect("a request");
        // A series with nothing but bad labels is counted as one.
        let extra = accepted + Rejection::total(&rejected) - sent;
        let of_series = [RejectReason::InvalidLabels, RejectReason::InvalidUtf8, RejectReason::InvalidMetric];
        let most: u64 = rejected.iter().filter(|r| of_series.contains(&r.reason)).map(|r| r.count).sum();
        assert!(extra <= most, "{sent} sent, {accepted} accepted, {rejected:?}");
    });
}

#[test]
fn damaged_requests_never_panic() {
    let decoder = RefCell::new(Decoder::new());
    drive(|seed| {
        let (encoding, mut body, _) = seed.request();
        for _ in 0..=seed.below(3) {
            let at = seed.below(body.len() as u64) as usize;
            match seed.below(6) {
                0 if !body.is_empty() => body[at] ^= 1 << seed.below(8),
                1 => body.truncate(at),
                2 => body.insert(at, seed.below(256) as u8),
                3 if !body.is_empty() => _ = body.remove(at),
                // A length, or a part of one, becomes huge.
                4 => _ = body.splice(at..at, [0xff; 9]),
                _ if !body.is_empty() => body[at] = seed.below(256) as u8,
                _ => {}
            }
        }
        for encoding in [encoding, Encoding::RemoteWrite1, Encoding::RemoteWrite2] {
            _ = check(&decoder, encoding, &body);
        }
        for end in 0..body.len().min(200) {
            _ = check(&decoder, encoding, &body[..end]);
        }
    });
}

#[test]
fn damaged_snappy_never_panics() {
    drive(|seed| {
        let (_, body, _) = seed.request();
        let mut bytes = snap::raw::Encoder::new().compress_vec(&body).expect("small");
        let at = seed.below(bytes.len() as u64) as usize;
        bytes[at] = seed.below(256) as u8;
        bytes.truncate(bytes.len() - seed.below(3).min(bytes.len() as u64) as usize);
        if let Ok(out) = decompress(&bytes, Compression::Snappy, 1 << 20) {
            assert!(out.len() <= 1 << 20 && out.len() <= 22 * bytes.len());
        }
    });
}

/// A reference of a byte to a text of a megabyte, thousands of times: refused before it is copied.
#[test]
fn references_do_not_multiply_texts_without_limit() {
    let symbols = vec![Vec::new(), b"__name__".to_vec(), vec![b'x'; 1 << 19], b"a".to_vec()];
    let sample = v2::Sample { value: 1.0, timestamp: NOW_MS, start_timestamp: 0 };
    let series = v2::TimeSeries {
        labels_refs: vec![1, 2, 3, 2],
        samples: vec![sample],
        exemplars: vec![v2::Exemplar { labels_refs: vec![3, 2], value: 1.0, timestamp: NOW_MS }],
        ..Default::default()
    };
    let request = v2::Request { symbols, timeseries: vec![series; 20_000] };
    let decoder = RefCell::new(Decoder::new());
    let body = request.encode_to_vec();
    let (accepted, rejected) = check(&decoder, Encoding::RemoteWrite2, &body).expect("a request");
    assert!(rejected.iter().any(|r| r.reason == RejectReason::TooLarge), "{accepted} {rejected:?}");
    assert_eq!(accepted + Rejection::total(&rejected), 20_000);
}
