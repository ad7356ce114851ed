//! Remote read: `prometheus.ReadRequest` in, `prometheus.ReadResponse` out, both in one snappy block.
//!
//! Of the response types only samples are written: every reader takes them, and chunks would be made for the answer
//! alone.

use throughline_model::native_histogram::{NativeHistogram, TIME_FIELD};
use throughline_model::protobuf::{Field, Malformed, Reader, put_bytes, put_fixed64, put_number};

use crate::{Compression, DecodeError, decompress};

/// A request is a few matchers; a longer one is refused.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// Queries of one request at most: readers send one.
const QUERIES_MAX: usize = 64;

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
pub fn decode(body: &[u8]) -> Result<Vec<ReadQuery>, DecodeError> {
    let body = decompress(body, Compression::Snappy, REQUEST_BYTES_MAX)?;
    let mut queries = Vec::new();
    let malformed = |cause| DecodeError::Protobuf { path: "read request".to_owned(), cause };
    let mut reader = Reader::new(&body);
    while let Some((number, field)) = reader.next_field().map_err(malformed)? {
        if let (1, Field::Bytes(message)) = (number, field)
            && queries.len() < QUERIES_MAX
        {
            queries.push(query(message).map_err(malformed)?);
        }
    }
    Ok(queries)
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
    out: Vec<u8>,
    result: Vec<u8>,
}

impl ResponseBuilder {
    /// A response without results.
    pub fn new() -> ResponseBuilder {
        ResponseBuilder::default()
    }

    /// Adds a series to the result of the query in turn. Labels are sorted by name; times are milliseconds.
    pub fn series<'a>(
        &mut self,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        samples: impl Iterator<Item = (i64, f64)>,
        histograms: impl Iterator<Item = (i64, NativeHistogram)>,
    ) {
        let mut series = Vec::new();
        let mut message = Vec::new();
        for (name, value) in labels {
            message.clear();
            put_bytes(&mut message, 1, name.as_bytes());
            put_bytes(&mut message, 2, value.as_bytes());
            put_bytes(&mut series, 1, &message);
        }
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

    /// Ends the result of the query in turn.
    pub fn end_query(&mut self) {
        put_bytes(&mut self.out, 1, &self.result);
        self.result.clear();
    }

    /// The response as it is sent; an error where it is too long for a snappy block.
    pub fn finish(self) -> Result<Vec<u8>, DecodeError> {
        let encoded = snap::raw::Encoder::new().compress_vec(&self.out);
        encoded.map_err(|error| DecodeError::Compression {
            encoding: Compression::Snappy.name(),
            detail: error.to_string(),
        })
    }
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
        assert_eq!(
            decode(&body).unwrap(),
            [ReadQuery { start_ms: 1_000, end_ms: 2_000, matchers: vec![expected] }]
        );
        assert!(decode(b"no snappy").is_err());
    }

    #[test]
    fn a_response_has_a_result_for_each_query() {
        let mut builder = ResponseBuilder::new();
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
