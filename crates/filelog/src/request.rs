//! Entries as an OTLP request: what any sender would send.

use std::collections::HashMap;

use throughline_model::protobuf::{put_bytes, put_fixed64, put_number, put_varint};

use crate::entry::Entry;
use crate::value::{put_map, put_message};

/// An `ExportLogsServiceRequest`. Entries of one resource and scope stand together, otherwise their order stays.
#[must_use]
pub fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut groups: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut known: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut last: Option<(usize, &Entry)> = None;
    for entry in entries {
        let same = last.filter(|(_, other)| other.resource == entry.resource && other.scope == entry.scope);
        let index = match same {
            Some((index, _)) => index,
            None => {
                let head = head(entry);
                *known.entry(head.clone()).or_insert_with(|| {
                    groups.push((head, Vec::new()));
                    groups.len() - 1
                })
            }
        };
        put_message(&mut groups[index].1, 2, |out| put_record(out, entry));
        last = Some((index, entry));
    }
    let mut request = Vec::new();
    for (head, records) in groups {
        // The head is a whole resource and the beginning of its only scope.
        let (resource, scope) = split_head(&head);
        put_message(&mut request, 1, |out| {
            put_bytes(out, 1, resource);
            put_message(out, 2, |out| {
                out.extend_from_slice(scope);
                out.extend_from_slice(&records);
            });
        });
    }
    request
}

/// The resource, its length before it, and the scope.
fn head(entry: &Entry) -> Vec<u8> {
    let mut resource = Vec::new();
    put_map(&mut resource, 1, &entry.resource);
    let mut head = (resource.len() as u64).to_le_bytes().to_vec();
    head.append(&mut resource);
    if !entry.scope.is_empty() {
        put_message(&mut head, 1, |out| put_bytes(out, 1, entry.scope.as_bytes()));
    }
    head
}

fn split_head(head: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, rest)) = head.split_first_chunk::<8>() else { return (&[], &[]) };
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    rest.split_at_checked(length).unwrap_or((rest, &[]))
}

fn put_record(out: &mut Vec<u8>, entry: &Entry) {
    if let Some(time) = entry.timestamp.and_then(|time| u64::try_from(time).ok()) {
        put_fixed64(out, 1, time);
    }
    if entry.severity != 0 {
        put_number(out, 2, u64::from(entry.severity));
    }
    if !entry.severity_text.is_empty() {
        put_bytes(out, 3, entry.severity_text.as_bytes());
    }
    put_message(out, 5, |out| entry.body.encode(out));
    put_map(out, 6, &entry.attributes);
    if let Some(flags) = entry.trace_flags {
        put_varint(out, 8 << 3 | 5);
        out.extend_from_slice(&u32::from(flags).to_le_bytes());
    }
    if let Some(id) = &entry.trace_id {
        put_bytes(out, 9, id);
    }
    if let Some(id) = &entry.span_id {
        put_bytes(out, 10, id);
    }
    put_fixed64(out, 11, entry.observed_at.cast_unsigned());
}

#[cfg(test)]
mod tests {
    use throughline_model::Signal;
    use throughline_wire::{DecodeContext, DecodeLimits, Encoding, decode};

    use super::*;
    use crate::value::{Map, Value};

    #[test]
    fn a_request_reads_back() {
        let now = 1_700_000_000_000_000_000;
        let entry = |host: &str, body: Value| Entry {
            timestamp: Some(now - 1),
            observed_at: now,
            severity: 17,
            severity_text: "ERR".to_owned(),
            body,
            attributes: Map::from([(
                "list".to_owned(),
                Value::List(vec![Value::Int(-1), Value::Bool(true)]),
            )]),
            resource: Map::from([("host.name".to_owned(), Value::Str(host.to_owned()))]),
            trace_id: Some([7; 16]),
            span_id: Some([8; 8]),
            trace_flags: Some(1),
            ..Entry::default()
        };
        let text = |text: &str| Value::Str(text.to_owned());
        let map = Value::Map(Map::from([("k".to_owned(), Value::Float(1.5))]));
        let request =
            encode(&[entry("a", text("one\0")), entry("b", map), entry("a", Value::Bytes(vec![0xff]))]);
        let limits = DecodeLimits::with_retention(i64::MAX);
        let context = DecodeContext { received_at: now, limits };
        let decoded = decode(Signal::Logs, Encoding::Protobuf, &request, &context).expect("decodes");
        assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
        assert_eq!(decoded.batch.items(), 3);
    }
}
