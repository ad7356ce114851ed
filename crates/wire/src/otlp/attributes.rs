//! Attributes on their way from the wire into attribute lists: checked once, then copied as they are.
//!
//! What is checked is what readers of attribute lists rely on: UTF-8 in keys and strings, values nested at most
//! [`MAX_DEPTH`] deep, well-formed messages all the way down, and sizes within the limits.

use throughline_model::attribute::{self, MAX_DEPTH};
use throughline_model::protobuf::{Field, Reader};

use super::refusal::{Fault, Refusal};
use crate::DecodeLimits;

/// Text of a field. `basic` validates without saying where the text is bad, which is the fastest.
#[inline]
pub(super) fn text<'a>(bytes: &'a [u8], field: &'static str) -> Result<&'a str, Refusal> {
    simdutf8::basic::from_utf8(bytes).map_err(|_| Refusal::NotUtf8 { field })
}

/// Checks one `KeyValue` and appends it to a list.
#[inline]
pub(super) fn copy_attribute(
    list: &mut Vec<u8>,
    key_value: &[u8],
    limits: &DecodeLimits,
    field: &'static str,
) -> Result<(), Fault> {
    check_attribute(key_value, limits, field)?;
    attribute::push_encoded(list, key_value);
    Ok(())
}

/// Checks one `KeyValue`.
#[inline]
pub(super) fn check_attribute(
    key_value: &[u8],
    limits: &DecodeLimits,
    field: &'static str,
) -> Result<(), Fault> {
    if key_value.len() > limits.attribute_bytes {
        let bytes = key_value.len();
        return Err(Refusal::AttributeBytes { field, bytes, limit: limits.attribute_bytes }.into());
    }
    if !is_plain(key_value) {
        check_key_value(key_value, field, 1)?;
    }
    Ok(())
}

/// Counts an item's attributes against the limit.
#[inline]
pub(super) fn count_attribute(
    count: &mut usize,
    limits: &DecodeLimits,
    field: &'static str,
) -> Result<(), Refusal> {
    *count += 1;
    if *count > limits.attributes_per_item {
        return Err(Refusal::AttributeCount { field, limit: limits.attributes_per_item });
    }
    Ok(())
}

/// The key of a `KeyValue` in the usual layout (key first, shorter than 128 bytes).
#[inline]
pub(super) fn plain_key(key_value: &[u8]) -> Option<(&[u8], &[u8])> {
    match key_value {
        [0x0a, length @ 0..=0x7f, rest @ ..] => rest.split_at_checked(usize::from(*length)),
        _ => None,
    }
}

/// Whether a `KeyValue` is of the most common kind, an ASCII key and a short ASCII string, which needs no walk: its
/// layout is fixed, and one pass over the bytes shows that they are ASCII.
#[inline]
fn is_plain(key_value: &[u8]) -> bool {
    let Some((_, value)) = plain_key(key_value) else { return false };
    let [0x12, value_length @ 2..=0x7f, 0x0a, text_length, text @ ..] = value else { return false };
    *text_length == *value_length - 2 && text.len() == usize::from(*text_length) && key_value.is_ascii()
}

/// Checks one `KeyValue` whose value is at `depth`.
fn check_key_value(key_value: &[u8], field: &'static str, depth: usize) -> Result<(), Fault> {
    let mut reader = Reader::new(key_value);
    while let Some((number, value)) = reader.next_field()? {
        match (number, value) {
            (1, Field::Bytes(key)) => _ = text(key, field)?,
            (2, Field::Bytes(any)) => check_value(any, field, depth)?,
            _ => {}
        }
    }
    Ok(())
}

/// Checks one `AnyValue` at `depth`, counted from 1. Recursion ends at [`MAX_DEPTH`].
pub(super) fn check_value(any: &[u8], field: &'static str, depth: usize) -> Result<(), Fault> {
    if depth > MAX_DEPTH {
        return Err(Refusal::TooDeep { field }.into());
    }
    let mut reader = Reader::new(any);
    while let Some((number, value)) = reader.next_field()? {
        match (number, value) {
            (1, Field::Bytes(bytes)) => _ = text(bytes, field)?,
            (5, Field::Bytes(array)) => {
                let mut values = Reader::new(array);
                while let Some((number, value)) = values.next_field()? {
                    if let (1, Field::Bytes(any)) = (number, value) {
                        check_value(any, field, depth + 1)?;
                    }
                }
            }
            (6, Field::Bytes(map)) => {
                let mut entries = Reader::new(map);
                while let Some((number, value)) = entries.next_field()? {
                    if let (1, Field::Bytes(key_value)) = (number, value) {
                        check_key_value(key_value, field, depth + 1)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}
