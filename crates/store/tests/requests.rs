//! Parts of OTLP requests that the store's tests are made of, inside and outside of the crate: traces by number, texts, attributes,
//! the envelope of one service, exemplars.

use throughline_model::TraceId;
use throughline_model::protobuf::{put_bytes, put_fixed64};

/// A trace that a test calls by a number.
pub fn trace(n: u64) -> TraceId {
    TraceId::from_low(n).expect("not zero")
}

/// A text as a value.
pub fn text(value: &str) -> Vec<u8> {
    let mut any = Vec::new();
    put_bytes(&mut any, 1, value.as_bytes());
    any
}

pub fn attribute(key: &str, value: &str) -> Vec<u8> {
    let mut pair = Vec::new();
    put_bytes(&mut pair, 1, key.as_bytes());
    put_bytes(&mut pair, 2, &text(value));
    pair
}

/// The request of a service with these spans, log records or metrics.
pub fn body(service: &str, items: &[Vec<u8>]) -> Vec<u8> {
    let (mut resource, mut scope, mut of_resource, mut body) = (vec![], vec![], vec![], vec![]);
    put_bytes(&mut resource, 1, &attribute("service.name", service));
    items.iter().for_each(|item| put_bytes(&mut scope, 2, item));
    put_bytes(&mut of_resource, 1, &resource);
    put_bytes(&mut of_resource, 2, &scope);
    put_bytes(&mut body, 1, &of_resource);
    body
}

/// A metric with one point at a time: its attributes, and exemplars by their times and the ids of their traces.
pub fn gauge(name: &str, time: i64, attributes: &[Vec<u8>], exemplars: &[(i64, &[u8])]) -> Vec<u8> {
    let (mut point, mut points, mut out) = (Vec::new(), Vec::new(), Vec::new());
    put_fixed64(&mut point, 3, time as u64);
    put_fixed64(&mut point, 4, 1f64.to_bits());
    for (time, of) in exemplars {
        let mut exemplar = Vec::new();
        put_fixed64(&mut exemplar, 2, *time as u64);
        put_fixed64(&mut exemplar, 3, 2f64.to_bits());
        put_bytes(&mut exemplar, 4, &7u64.to_be_bytes());
        put_bytes(&mut exemplar, 5, of);
        put_bytes(&mut point, 5, &exemplar);
    }
    attributes.iter().for_each(|attribute| put_bytes(&mut point, 7, attribute));
    put_bytes(&mut points, 1, &point);
    put_bytes(&mut out, 1, name.as_bytes());
    put_bytes(&mut out, 5, &points);
    out
}
