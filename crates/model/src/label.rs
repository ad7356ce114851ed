//! Label lists: the labels of a Prometheus series as one run of bytes.
//!
//! A list is the `Label` messages of remote write 1.0 (name is field 1, value field 2), each as field 1, sorted by
//! name. A series is hashed by it, and a batch carries it as it came, so that the labels of a series that is known
//! need not be taken apart.

use crate::attribute;
use crate::protobuf::{Field, Reader, put_bytes, put_varint, varint_bytes};

/// The label that names the metric.
pub const METRIC_NAME: &str = "__name__";

/// Appends a label.
#[inline]
pub fn push(list: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let bytes = name.len() + value.len() + 2 + varint_bytes(name.len()) + varint_bytes(value.len());
    list.push(1 << 3 | 2);
    put_varint(list, bytes as u64);
    put_bytes(list, 1, name);
    put_bytes(list, 2, value);
}

/// The labels of a list. It ends early at damage.
pub fn iter(list: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    let mut reader = Reader::new(list);
    std::iter::from_fn(move || {
        let (1, Field::Bytes(message)) = reader.next_field().ok()?? else { return None };
        let mut label = Reader::new(message);
        let (1, Field::Bytes(name)) = label.next_field().ok()?? else { return None };
        let (2, Field::Bytes(value)) = label.next_field().ok()?? else { return None };
        Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))
    })
}

/// What a series is known by beside its labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named<'a> {
    /// The label `__name__`.
    pub metric: &'a str,
    /// The service: the label `service_name`, else `service`, else `job` without its namespace, else none.
    pub service: &'a str,
    /// All labels but the metric's name, as an attribute list.
    pub attributes: Vec<u8>,
}

/// Takes a list apart.
pub fn named(list: &[u8]) -> Named<'_> {
    let mut named = Named { attributes: Vec::with_capacity(list.len() + 32), ..Named::default() };
    let (mut service_name, mut service, mut job) = ("", "", "");
    for (name, value) in iter(list) {
        match name {
            METRIC_NAME => {
                named.metric = value;
                continue;
            }
            "service_name" => service_name = value,
            "service" => service = value,
            "job" => job = value,
            _ => {}
        }
        attribute::push_text(&mut named.attributes, name, value);
    }
    let of_job = job.split_once('/').map_or(job, |(_, name)| name);
    named.service = [service_name, service].into_iter().find(|name| !name.is_empty()).unwrap_or(of_job);
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_back() {
        let long = "x".repeat(200);
        let mut list = Vec::new();
        for (name, value) in [("__name__", "m"), ("job", "shop/api"), ("long", long.as_str())] {
            push(&mut list, name.as_bytes(), value.as_bytes());
        }
        let pairs: Vec<_> = iter(&list).collect();
        assert_eq!(pairs, [("__name__", "m"), ("job", "shop/api"), ("long", long.as_str())]);
        let named = named(&list);
        assert_eq!((named.metric, named.service), ("m", "api"));
        let attributes: Vec<_> = attribute::iter(&named.attributes).map(|(name, _)| name).collect();
        assert_eq!(attributes, ["job", "long"]);
        assert_eq!(attribute::get(&named.attributes, "long"), Some(attribute::Value::Str(&long)));
        for end in 0..list.len() {
            assert!(iter(&list[..end]).count() < 3);
        }
    }

    #[test]
    fn lengths_are_those_of_varints() {
        for number in [0, 1, 127, 128, 16_383, 16_384, 1 << 21, (1 << 28) - 1, 1 << 28] {
            let mut out = Vec::new();
            put_varint(&mut out, number as u64);
            assert_eq!(varint_bytes(number), out.len(), "{number}");
        }
    }
}
