//! Remote read: `prometheus.ReadRequest` in, in one snappy block; out either `prometheus.ReadResponse`, likewise, or a stream of
//! `prometheus.ChunkedReadResponse`, each in a frame of its own with its checksum.

mod chunk;

use self::chunk::{CHUNK_SAMPLES_MAX, FLOAT_HISTOGRAM, XOR, XorChunk, histogram_chunk};
use throughline_model::native_histogram::{NativeHistogram, TIME_FIELD};
use throughline_model::protobuf::{Field, Malformed, Reader, put_bytes, put_fixed64, put_number, put_varint};

use crate::{Compression, DecodeError, decompress};

/// A request is a few matchers; a longer one is refused.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// Queries of one request at most: readers send one.
const QUERIES_MAX: usize = 64;

/// Bytes of one frame of chunks, about: Prometheus's own limit.
const FRAME_BYTES: usize = 1 << 20;

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// It asks for too much at once.
    #[error("more than {QUERIES_MAX} queries in one request; send several")]
    TooManyQueries,
    /// The reader accepts nothing that there is.
    #[error(
        "none of the requested response types {accepted:?} is supported; there are SAMPLES and STREAMED_XOR_CHUNKS"
    )]
    ResponseType {
        /// What it accepts.
        accepted: Vec<u64>,
    },
}

/// What a reader can be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseType {
    /// All samples in one message.
    #[default]
    Samples,
    /// Chunks, series by series.
    StreamedChunks,
}

impl ResponseType {
    /// The headers `Content-Type` and, where there is one, `Content-Encoding`.
    pub fn headers(self) -> (&'static str, Option<&'static str>) {
        match self {
            ResponseType::Samples => ("application/x-protobuf", Some("snappy")),
            ResponseType::StreamedChunks => {
                ("application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse", None)
            }
        }
    }
}

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadRequest {
    /// Each is answered on its own.
    pub queries: Vec<ReadQuery>,
    /// The first response type that the reader accepts and that there is.
    pub response_type: ResponseType,
}

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Prometheus's")]
pub enum MatchType {
    Equal,
    NotEqual,
    Regex,
    NotRegex,
}

/// A matcher of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMatcher {
    /// How it compares.
    pub match_type: MatchType,
    /// The label's name.
    pub name: String,
    /// What it is compared with.
    pub value: String,
}

/// One query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadQuery {
    /// The first millisecond.
    pub start_ms: i64,
    /// The last millisecond.
    pub end_ms: i64,
    /// All must match.
    pub matchers: Vec<LabelMatcher>,
}

/// Reads a request as it came.
pub fn decode(body: &[u8]) -> Result<ReadRequest, ReadError> {
    let body = decompress(body, Compression::Snappy, REQUEST_BYTES_MAX)?;
    let malformed = |cause| DecodeError::Protobuf { path: "read request".to_owned(), cause };
    let (mut queries, mut accepted) = (Vec::new(), Vec::new());
    let mut reader = Reader::new(&body);
    while let Some((number, field)) = reader.next_field().map_err(malformed)? {
        match (number, field) {
            (1, Field::Bytes(_)) if queries.len() == QUERIES_MAX => {
                return Err(ReadError::TooManyQueries);
            }
            (1, Field::Bytes(message)) => queries.push(query(message).map_err(malformed)?),
            (2, Field::Varint(code)) => accepted.push(code),
            // A list of small numbers may be packed: each is a byte.
            (2, Field::Bytes(codes)) => accepted.extend(codes.iter().map(|code| u64::from(*code))),
            _ => {}
        }
    }
    let response_type = |code: &u64| match code {
        0 => Some(ResponseType::Samples),
        1 => Some(ResponseType::StreamedChunks),
        _ => None,
    };
    let response_type = match accepted.iter().find_map(response_type) {
        Some(response_type) => response_type,
        None if accepted.is_empty() => ResponseType::Samples,
        None => return Err(ReadError::ResponseType { accepted }),
    };
    Ok(ReadRequest { queries, response_type })
}

fn query(message: &[u8]) -> Result<ReadQuery, Malformed> {
    let mut reader = Reader::new(message);
    let mut query = ReadQuery { start_ms: 0, end_ms: 0, matchers: Vec::new() };
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Varint(n)) => query.start_ms = n as i64,
            (2, Field::Varint(n)) => query.end_ms = n as i64,
            (3, Field::Bytes(message)) => query.matchers.push(matcher(message)?),
            _ => {}
        }
    }
    Ok(query)
}

fn matcher(message: &[u8]) -> Result<LabelMatcher, Malformed> {
    let mut reader = Reader::new(message);
    let mut matcher =
        LabelMatcher { match_type: MatchType::Equal, name: String::new(), value: String::new() };
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Varint(1)) => matcher.match_type = MatchType::NotEqual,
            (1, Field::Varint(2)) => matcher.match_type = MatchType::Regex,
            (1, Field::Varint(3)) => matcher.match_type = MatchType::NotRegex,
            (2, Field::Bytes(text)) => matcher.name = String::from_utf8_lossy(text).into_owned(),
            (3, Field::Bytes(text)) => matcher.value = String::from_utf8_lossy(text).into_owned(),
            _ => {}
        }
    }
    Ok(matcher)
}

/// Writes a response.
#[derive(Default)]
pub struct ResponseBuilder {
    response_type: ResponseType,
    out: Vec<u8>,
    /// Of samples: the result of the query in turn.
    result: Vec<u8>,
    /// The number of the query in turn.
    query: u64,
}

impl ResponseBuilder {
    /// A response without results.
    pub fn new(response_type: ResponseType) -> ResponseBuilder {
        ResponseBuilder { response_type, ..ResponseBuilder::default() }
    }

    /// Adds a series to the result of the query in turn. Labels are sorted by name; times are milliseconds and ascend.
    pub fn series<'a>(
        &mut self,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        samples: impl Iterator<Item = (i64, f64)>,
        histograms: impl Iterator<Item = (i64, NativeHistogram)>,
    ) {
        let (mut series, mut message) = (Vec::new(), Vec::new());
        for (name, value) in labels {
            message.clear();
            put_bytes(&mut message, 1, name.as_bytes());
            put_bytes(&mut message, 2, value.as_bytes());
            put_bytes(&mut series, 1, &message);
        }
        match self.response_type {
            ResponseType::Samples => self.samples(series, samples, histograms),
            ResponseType::StreamedChunks => self.chunks(&series, samples, histograms),
        }
    }

    fn samples(
        &mut self,
        mut series: Vec<u8>,
        samples: impl Iterator<Item = (i64, f64)>,
        histograms: impl Iterator<Item = (i64, NativeHistogram)>,
    ) {
        let mut message = Vec::new();
        for (time_ms, value) in samples {
            message.clear();
            put_fixed64(&mut message, 1, value.to_bits());
            put_number(&mut message, 2, time_ms as u64);
            put_bytes(&mut series, 2, &message);
        }
        for (time_ms, histogram) in histograms {
            let mut message = histogram.encode();
            put_number(&mut message, TIME_FIELD, time_ms as u64);
            put_bytes(&mut series, 4, &message);
        }
        put_bytes(&mut self.result, 1, &series);
    }

    /// Frames of one series, each with its labels and as many chunks as fit.
    fn chunks(
        &mut self,
        labels: &[u8],
        samples: impl Iterator<Item = (i64, f64)>,
        histograms: impl Iterator<Item = (i64, NativeHistogram)>,
    ) {
        let mut series = labels.to_vec();
        for_each_chunk(samples, histograms, |(first_ms, last_ms), code, data| {
            let mut chunk = Vec::with_capacity(data.len() + 24);
            put_number(&mut chunk, 1, first_ms.cast_unsigned());
            put_number(&mut chunk, 2, last_ms.cast_unsigned());
            put_number(&mut chunk, 3, code);
            put_bytes(&mut chunk, 4, data);
            put_bytes(&mut series, 2, &chunk);
            if series.len() >= FRAME_BYTES {
                self.frame(&series);
                series.truncate(labels.len());
            }
        });
        if series.len() > labels.len() {
            self.frame(&series);
        }
    }

    fn frame(&mut self, series: &[u8]) {
        let mut message = Vec::with_capacity(series.len() + 16);
        put_bytes(&mut message, 1, series);
        put_number(&mut message, 2, self.query);
        put_varint(&mut self.out, message.len() as u64);
        self.out.extend_from_slice(&crc32c::crc32c(&message).to_be_bytes());
        self.out.append(&mut message);
    }

    /// Ends the result of the query in turn.
    pub fn end_query(&mut self) {
        if self.response_type == ResponseType::Samples {
            put_bytes(&mut self.out, 1, &self.result);
            self.result.clear();
        }
        self.query += 1;
    }

    /// The response as it is sent; an error where it is too long for a snappy block.
    pub fn finish(self) -> Result<Vec<u8>, DecodeError> {
        if self.response_type == ResponseType::StreamedChunks {
            return Ok(self.out);
        }
        let encoded = snap::raw::Encoder::new().compress_vec(&self.out);
        encoded.map_err(|error| DecodeError::Compression {
            encoding: Compression::Snappy.name(),
            detail: error.to_string(),
        })
    }
}

/// Packs samples of both kinds into chunks in the order of time, each with its bounds and the code of its kind.
fn for_each_chunk(
    samples: impl Iterator<Item = (i64, f64)>,
    histograms: impl Iterator<Item = (i64, NativeHistogram)>,
    mut take: impl FnMut((i64, i64), u64, &[u8]),
) {
    let mut end = |chunk: Option<XorChunk>, histogram: Option<(i64, NativeHistogram)>| {
        if let Some(chunk) = chunk {
            take((chunk.first_ms, chunk.last_ms), XOR, &chunk.finish());
        }
        if let Some((time_ms, histogram)) = histogram {
            take((time_ms, time_ms), FLOAT_HISTOGRAM, &histogram_chunk(time_ms, &histogram));
        }
    };
    let mut histograms = histograms.peekable();
    let mut open: Option<XorChunk> = None;
    for (time_ms, value) in samples {
        while let Some(earlier) = histograms.next_if(|(time, _)| *time < time_ms) {
            end(open.take(), Some(earlier));
        }
        match &mut open {
            Some(chunk) if chunk.count < CHUNK_SAMPLES_MAX => chunk.push(time_ms, value),
            _ => end(open.replace(XorChunk::new(time_ms, value)), None),
        }
    }
    end(open, None);
    histograms.for_each(|histogram| end(None, Some(histogram)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read() {
        let mut matcher = Vec::new();
        put_number(&mut matcher, 1, 2);
        put_bytes(&mut matcher, 2, b"job");
        put_bytes(&mut matcher, 3, b"a|b");
        let mut query = Vec::new();
        put_number(&mut query, 1, 1_000);
        put_number(&mut query, 2, 2_000);
        put_bytes(&mut query, 3, &matcher);
        let mut request = Vec::new();
        put_bytes(&mut request, 1, &query);
        let body = snap::raw::Encoder::new().compress_vec(&request).unwrap();
        let expected = LabelMatcher { match_type: MatchType::Regex, name: "job".into(), value: "a|b".into() };
        let query = ReadQuery { start_ms: 1_000, end_ms: 2_000, matchers: vec![expected] };
        let read = decode(&body).unwrap();
        assert_eq!((&read.queries[..], read.response_type), (&[query][..], ResponseType::Samples));
        assert!(decode(b"no snappy").is_err());
        for (accepted, response_type) in [
            (&[1u64, 0][..], Some(ResponseType::StreamedChunks)),
            (&[7, 0], Some(ResponseType::Samples)),
            (&[7], None),
        ] {
            let mut request = request.clone();
            accepted.iter().for_each(|code| {
                put_varint(&mut request, 2 << 3);
                put_varint(&mut request, *code);
            });
            let body = snap::raw::Encoder::new().compress_vec(&request).unwrap();
            assert_eq!(decode(&body).ok().map(|read| read.response_type), response_type);
        }
        let many = request.repeat(QUERIES_MAX + 1);
        assert!(decode(&snap::raw::Encoder::new().compress_vec(&many).unwrap()).is_err());
    }

    #[test]
    fn chunks_come_in_the_order_of_time_and_in_frames() {
        let samples = (0..250).map(|n| (n * 10, n as f64));
        let histogram = NativeHistogram { is_float: true, count_float: 1.0, ..NativeHistogram::default() };
        let histograms = [(5, histogram.clone()), (9_999, histogram)];
        let mut chunks = Vec::new();
        for_each_chunk(samples, histograms.into_iter(), |bounds, code, _| chunks.push((bounds, code)));
        let expected = [
            ((0, 0), XOR),
            ((5, 5), FLOAT_HISTOGRAM),
            ((10, 1_200), XOR),
            ((1_210, 2_400), XOR),
            ((2_410, 2_490), XOR),
            ((9_999, 9_999), FLOAT_HISTOGRAM),
        ];
        assert_eq!(chunks, expected);
        let mut builder = ResponseBuilder::new(ResponseType::StreamedChunks);
        builder.end_query();
        builder.series([("a", "b")].into_iter(), [(5, 1.5)].into_iter(), std::iter::empty());
        builder.series([("a", "c")].into_iter(), std::iter::empty(), std::iter::empty());
        let out = builder.finish().unwrap();
        let (length, rest) = out.split_first().unwrap();
        let (checksum, message) = rest.split_first_chunk::<4>().unwrap();
        assert_eq!(message.len(), usize::from(*length));
        assert_eq!(u32::from_be_bytes(*checksum), crc32c::crc32c(message));
        assert!(message.ends_with(&[2 << 3, 1]), "the second query");
    }

    #[test]
    fn a_response_has_a_result_for_each_query() {
        let mut builder = ResponseBuilder::new(ResponseType::Samples);
        builder.series([("a", "b")].into_iter(), [(5, 1.5)].into_iter(), std::iter::empty());
        builder.end_query();
        builder.end_query();
        let body = snap::raw::Decoder::new().decompress_vec(&builder.finish().unwrap()).unwrap();
        let mut reader = Reader::new(&body);
        let mut lengths = Vec::new();
        while let Some((number, field)) = reader.next_field().unwrap() {
            lengths.push((number, field.bytes().len()));
        }
        assert_eq!(lengths, [(1, 23), (1, 0)]);
    }
}
