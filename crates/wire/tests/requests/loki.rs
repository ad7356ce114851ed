//! Loki's push messages, written down once more, so that tests do not share code with the decoder.

/// `logproto.PushRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    pub streams: Vec<Stream>,
}

/// `logproto.Stream`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Stream {
    #[prost(bytes = "vec", tag = "1")]
    pub labels: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    pub entries: Vec<Entry>,
    #[prost(uint64, tag = "3")]
    pub hash: u64,
}

/// `logproto.Entry`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Entry {
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    #[prost(bytes = "vec", tag = "2")]
    pub line: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    pub metadata: Vec<Pair>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// `logproto.LabelPairAdapter`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Pair {
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// A stream of these labels.
pub fn stream(labels: &str, entries: Vec<Entry>) -> Stream {
    Stream { labels: labels.as_bytes().to_vec(), entries, hash: 7 }
}

/// An entry of this time, in nanoseconds since the epoch.
pub fn entry(time: i64, line: &[u8], metadata: &[(&str, &str)]) -> Entry {
    let pair = |(name, value): &(&str, &str)| Pair {
        name: name.as_bytes().to_vec(),
        value: value.as_bytes().to_vec(),
    };
    let timestamp =
        Timestamp { seconds: time.div_euclid(1_000_000_000), nanos: time.rem_euclid(1_000_000_000) as i32 };
    Entry { timestamp: Some(timestamp), line: line.to_vec(), metadata: metadata.iter().map(pair).collect() }
}
