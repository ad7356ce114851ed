//! Values of queries as JSON, written straight into bytes: lines are the most of an answer.

use std::collections::HashMap;

use throughline_exec::Labels;
use throughline_exec::log::Direction;
use throughline_logql::{LogStream, QueryValue};

use super::reply::decimal_text;
use crate::prometheus::reply::put_seconds;
use crate::prometheus::values::{put_labels, put_text, separate};

/// The name of the flag that asks for labels by their kind.
pub(super) const CATEGORIZE: &str = "categorize-labels";

/// How streams are written.
#[derive(Clone, Copy)]
pub(super) struct Form {
    /// Whether labels of the stream, metadata and parsed labels are told apart.
    pub categorized: bool,
    pub direction: Direction,
}

/// `resultType`, `encodingFlags` and `result` of a value, as the inside of a JSON object. `time_ns` is that of an instant query.
pub(super) fn put_value(out: &mut Vec<u8>, value: &QueryValue, time_ns: i64, form: Form) {
    let kind = match value {
        QueryValue::Streams(_) => "streams",
        QueryValue::Scalar(_) => "scalar",
        QueryValue::Vector(_) => "vector",
        QueryValue::Matrix(_) => "matrix",
    };
    out.extend_from_slice(format!(r#""resultType":"{kind}","#).as_bytes());
    if form.categorized {
        out.extend_from_slice(format!(r#""encodingFlags":["{CATEGORIZE}"],"#).as_bytes());
    }
    out.extend_from_slice(br#""result":"#);
    match value {
        QueryValue::Streams(streams) => put_streams(out, streams, form),
        QueryValue::Scalar(number) => put_sample(out, time_ns, *number),
        QueryValue::Vector(samples) => {
            out.push(b'[');
            for (at, (labels, value)) in samples.iter().enumerate() {
                separate(out, at);
                out.extend_from_slice(br#"{"metric":"#);
                put_labels(out, labels);
                out.extend_from_slice(br#","value":"#);
                put_sample(out, time_ns, *value);
                out.push(b'}');
            }
            out.push(b']');
        }
        QueryValue::Matrix(series) => {
            out.push(b'[');
            for (at, (labels, points)) in series.iter().enumerate() {
                separate(out, at);
                out.extend_from_slice(br#"{"metric":"#);
                put_labels(out, labels);
                out.extend_from_slice(br#","values":["#);
                for (at, (time, value)) in points.iter().enumerate() {
                    separate(out, at);
                    put_sample(out, *time, *value);
                }
                out.extend_from_slice(b"]}");
            }
            out.push(b']');
        }
    }
}

fn put_sample(out: &mut Vec<u8>, time_ns: i64, value: f64) {
    out.push(b'[');
    put_seconds(out, time_ns.div_euclid(1_000_000));
    out.extend_from_slice(format!(",\"{}\"]", decimal_text(value)).as_bytes());
}

/// A list of streams.
pub(super) fn put_streams(out: &mut Vec<u8>, streams: &[LogStream], form: Form) {
    out.push(b'[');
    if form.categorized {
        for (at, stream) in by_stream(streams, form.direction).iter().enumerate() {
            separate(out, at);
            put_categorized(out, stream);
        }
    } else {
        for (at, stream) in streams.iter().enumerate() {
            separate(out, at);
            out.extend_from_slice(br#"{"stream":"#);
            put_labels(out, &stream.labels);
            out.extend_from_slice(br#","values":["#);
            for (at, (time, line)) in stream.entries.iter().enumerate() {
                separate(out, at);
                put_entry(out, *time, line);
                out.push(b']');
            }
            out.extend_from_slice(b"]}");
        }
    }
    out.push(b']');
}

/// Time and line, without the end of the list.
fn put_entry(out: &mut Vec<u8>, time: i64, line: &str) {
    out.extend_from_slice(format!("[\"{time}\",").as_bytes());
    put_text(out, line);
}

/// The entries of one stream, with what they come from.
struct Merged<'a> {
    stream: &'a Labels,
    entries: Vec<(i64, &'a str, &'a LogStream)>,
}

/// Puts together what differs in metadata and parsed labels only.
fn by_stream(streams: &[LogStream], direction: Direction) -> Vec<Merged<'_>> {
    let mut places: HashMap<&Labels, usize> = HashMap::new();
    let mut merged: Vec<Merged<'_>> = Vec::new();
    for part in streams {
        let place = *places.entry(&part.stream).or_insert_with(|| {
            merged.push(Merged { stream: &part.stream, entries: Vec::new() });
            merged.len() - 1
        });
        if let Some(of_stream) = merged.get_mut(place) {
            of_stream.entries.extend(part.entries.iter().map(|(time, line)| (*time, line.as_str(), part)));
        }
    }
    for stream in &mut merged {
        match direction {
            Direction::Forward => stream.entries.sort_by_key(|(time, ..)| *time),
            Direction::Backward => stream.entries.sort_by_key(|(time, ..)| std::cmp::Reverse(*time)),
        }
    }
    merged
}

fn put_categorized(out: &mut Vec<u8>, stream: &Merged<'_>) {
    out.extend_from_slice(br#"{"stream":"#);
    put_labels(out, stream.stream);
    out.extend_from_slice(br#","values":["#);
    for (at, (time, line, of)) in stream.entries.iter().enumerate() {
        separate(out, at);
        put_entry(out, *time, line);
        out.extend_from_slice(b",{");
        let kinds = [("structuredMetadata", &of.metadata), ("parsed", &of.parsed)];
        for (at, (name, labels)) in kinds.into_iter().filter(|(_, labels)| !labels.is_empty()).enumerate() {
            separate(out, at);
            put_text(out, name);
            out.push(b':');
            put_labels(out, labels);
        }
        out.extend_from_slice(b"}]");
    }
    out.extend_from_slice(b"]}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(metadata: &[(&str, &str)], parsed: &[(&str, &str)], entries: &[(i64, &str)]) -> LogStream {
        let of = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
        let stream = [("app", "x")];
        LogStream {
            labels: of(&[&stream[..], metadata, parsed].concat()),
            stream: of(&stream),
            metadata: of(metadata),
            parsed: of(parsed),
            entries: entries.iter().map(|(time, line)| (*time, (*line).to_owned())).collect(),
        }
    }

    fn written(value: &QueryValue, categorized: bool) -> String {
        let mut out = b"{".to_vec();
        put_value(&mut out, value, 1_500_000_000, Form { categorized, direction: Direction::Forward });
        out.push(b'}');
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn streams_are_written_with_and_without_kinds_of_labels() {
        let streams = QueryValue::Streams(vec![
            stream(&[("level", "info")], &[("n", "1")], &[(1, "a\"b"), (3, "c")]),
            stream(&[], &[], &[(2, "d")]),
        ]);
        let plain = r#"{"resultType":"streams","result":[{"stream":{"app":"x","level":"info","n":"1"},"values":[["1","a\"b"],["3","c"]]},{"stream":{"app":"x"},"values":[["2","d"]]}]}"#;
        assert_eq!(written(&streams, false), plain);
        let kinds = r#"{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[{"stream":{"app":"x"},"values":[["1","a\"b",{"structuredMetadata":{"level":"info"},"parsed":{"n":"1"}}],["2","d",{}],["3","c",{"structuredMetadata":{"level":"info"},"parsed":{"n":"1"}}]]}]}"#;
        assert_eq!(written(&streams, true), kinds);
    }

    #[test]
    fn numbers_are_written_as_prometheus_does() {
        assert_eq!(
            written(&QueryValue::Scalar(2.0), false),
            r#"{"resultType":"scalar","result":[1.500,"2"]}"#
        );
        let labels = Labels::from_pairs([("a", "b")]);
        let vector = QueryValue::Vector(vec![(labels.clone(), 0.5)]);
        assert_eq!(
            written(&vector, false),
            r#"{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1.500,"0.5"]}]}"#
        );
        let matrix = QueryValue::Matrix(vec![(labels, vec![(0, 1.0), (1_000_000_000, 2.0)])]);
        assert_eq!(
            written(&matrix, false),
            r#"{"resultType":"matrix","result":[{"metric":{"a":"b"},"values":[[0,"1"],[1,"2"]]}]}"#
        );
    }
}
