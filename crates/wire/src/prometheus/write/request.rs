//! Remote write 2.0 requests of our own: what scrapes, rules and derived metrics become before they are stored, so that
//! the log holds them like any other request.

use std::collections::HashMap;

use throughline_model::native_histogram::{NativeHistogram, START_TIME_FIELD, TIME_FIELD};
use throughline_model::point::MetricType;
use throughline_model::protobuf::{put_bytes, put_fixed64, put_number, put_varint};

/// A series and what is known of its metric.
#[derive(Clone, Copy, Debug, Default)]
pub struct Series<'a> {
    /// All labels, `__name__` among them; they are sorted here.
    pub labels: &'a [(&'a str, &'a str)],
    /// What the metric is.
    pub metric_type: MetricType,
    /// Its help text.
    pub help: &'a str,
    /// Its unit.
    pub unit: &'a str,
}

/// A sample of a series; `V` is a number or a [`NativeHistogram`].
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<V = f64> {
    /// Milliseconds since the epoch.
    pub time_ms: i64,
    /// When the counter or histogram started; 0 where that is unknown.
    pub start_ms: i64,
    /// The value.
    pub value: V,
}

/// An exemplar of a series.
#[derive(Clone, Copy, Debug)]
pub struct Exemplar<'a> {
    /// Its labels, such as `trace_id`.
    pub labels: &'a [(&'a str, &'a str)],
    /// Milliseconds since the epoch.
    pub time_ms: i64,
    /// The measured value.
    pub value: f64,
}

/// Builds a request.
#[derive(Debug)]
pub struct RequestBuilder {
    references: HashMap<String, u64>,
    symbols: Vec<u8>,
    series: Vec<u8>,
    n_samples: usize,
    message: Vec<u8>,
    part: Vec<u8>,
}

impl Default for RequestBuilder {
    fn default() -> RequestBuilder {
        RequestBuilder::new()
    }
}

impl RequestBuilder {
    /// An empty request.
    pub fn new() -> RequestBuilder {
        let mut builder = RequestBuilder {
            references: HashMap::new(),
            symbols: Vec::new(),
            series: Vec::new(),
            n_samples: 0,
            message: Vec::new(),
            part: Vec::new(),
        };
        // The first symbol is empty: a reference of 0 is "none".
        builder.reference("");
        builder
    }

    /// Adds a series with its samples, histograms and exemplars.
    pub fn add(
        &mut self,
        series: &Series<'_>,
        samples: &[Sample],
        histograms: &[Sample<NativeHistogram>],
        exemplars: &[Exemplar<'_>],
    ) {
        let mut message = std::mem::take(&mut self.message);
        let mut part = std::mem::take(&mut self.part);
        message.clear();
        self.put_labels(&mut message, series.labels);
        for sample in samples {
            part.clear();
            put_fixed64(&mut part, 1, sample.value.to_bits());
            put_number(&mut part, 2, sample.time_ms as u64);
            put_start(&mut part, 3, sample.start_ms);
            put_bytes(&mut message, 2, &part);
        }
        for histogram in histograms {
            part.clear();
            part.extend_from_slice(&histogram.value.encode());
            put_number(&mut part, TIME_FIELD, histogram.time_ms as u64);
            put_start(&mut part, START_TIME_FIELD, histogram.start_ms);
            put_bytes(&mut message, 3, &part);
        }
        for exemplar in exemplars {
            part.clear();
            self.put_labels(&mut part, exemplar.labels);
            put_fixed64(&mut part, 2, exemplar.value.to_bits());
            put_number(&mut part, 3, exemplar.time_ms as u64);
            put_bytes(&mut message, 4, &part);
        }
        part.clear();
        put_number(&mut part, 1, u64::from(series.metric_type.code()));
        put_number(&mut part, 3, self.reference(series.help));
        put_number(&mut part, 4, self.reference(series.unit));
        put_bytes(&mut message, 5, &part);
        put_bytes(&mut self.series, 5, &message);
        self.n_samples += samples.len() + histograms.len();
        (self.message, self.part) = (message, part);
    }

    /// The number of samples and histograms so far.
    pub fn len(&self) -> usize {
        self.n_samples
    }

    /// Whether there is no series yet.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// The bytes of the request so far.
    pub fn bytes(&self) -> usize {
        self.symbols.len() + self.series.len()
    }

    /// The request: the body of [`crate::Encoding::RemoteWrite2`].
    pub fn finish(self) -> Vec<u8> {
        let mut body = self.symbols;
        body.extend_from_slice(&self.series);
        body
    }

    fn put_labels(&mut self, out: &mut Vec<u8>, labels: &[(&str, &str)]) {
        let mut sorted = labels.to_vec();
        sorted.sort_unstable();
        let mut packed = Vec::with_capacity(4 * sorted.len());
        for (name, value) in sorted {
            put_varint(&mut packed, self.reference(name));
            put_varint(&mut packed, self.reference(value));
        }
        put_bytes(out, 1, &packed);
    }

    fn reference(&mut self, text: &str) -> u64 {
        if let Some(reference) = self.references.get(text) {
            return *reference;
        }
        let reference = self.references.len() as u64;
        self.references.insert(text.to_owned(), reference);
        put_bytes(&mut self.symbols, 4, text.as_bytes());
        reference
    }
}

fn put_start(out: &mut Vec<u8>, field: u32, start_ms: i64) {
    if start_ms != 0 {
        put_number(out, field, start_ms as u64);
    }
}
