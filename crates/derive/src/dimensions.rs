//! Attributes that become labels: their values for one span, as part of a series' key.

use ahash::AHashSet;
use serde_json::Value as Json;
use throughline_model::attribute::{self, RawValue, Value};

use crate::columns::Spans;
use crate::config::{Dimension, label_value};
use crate::table::{ABSENT, SEPARATOR};

/// Which of a span and its resource is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precedence {
    /// The span's attribute.
    Span,
    /// The resource's attribute.
    Resource,
}

/// Attributes that become labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Dimensions {
    list: Vec<Dimension>,
    precedence: Precedence,
}

/// The values of the dimensions that the resources of one batch have, by code and dimension.
pub struct OfResources(Vec<Vec<Option<String>>>);

impl Dimensions {
    /// Dimensions in their order; one whose label an earlier one has already is left out.
    pub fn new(mut list: Vec<Dimension>, precedence: Precedence) -> Dimensions {
        let mut labels = AHashSet::new();
        list.retain(|dimension| labels.insert(label_name(&dimension.name)));
        Dimensions { list, precedence }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The names of the labels, in the order of the values.
    pub fn labels(&self) -> impl Iterator<Item = String> {
        self.list.iter().map(|dimension| label_name(&dimension.name))
    }

    /// Looks the resources of a batch through, once.
    pub fn of_resources(&self, spans: &Spans<'_>) -> OfResources {
        if self.list.is_empty() {
            return OfResources(Vec::new());
        }
        let of_one = |text: &str| {
            let json: Json = serde_json::from_str(text).unwrap_or(Json::Null);
            let values = self.list.iter().map(|dimension| match json.get(&dimension.name)? {
                Json::String(text) => Some(label_value(text).to_owned()).filter(|text| !text.is_empty()),
                Json::Null => None,
                other => Some(label_value(&other.to_string()).to_owned()),
            });
            values.collect()
        };
        OfResources(spans.resources().into_iter().map(of_one).collect())
    }

    /// Appends the values of a span to a key, each after a separator.
    pub fn write(&self, spans: &Spans<'_>, row: usize, resources: &OfResources, key: &mut Vec<u8>) {
        if self.list.is_empty() {
            return;
        }
        let of_resource = resources.0.get(spans.resource_code(row)).map_or(&[][..], Vec::as_slice);
        let list = spans.attributes(row);
        for (place, dimension) in self.list.iter().enumerate() {
            key.push(SEPARATOR);
            let of_resource = of_resource.get(place).and_then(Option::as_deref);
            let wrote = match (self.precedence, of_resource) {
                (Precedence::Resource, Some(text)) => write_text(key, text),
                _ => write_attribute(key, list, &dimension.name),
            };
            if !wrote {
                match of_resource.or(dimension.default.as_deref()) {
                    Some(text) => _ = write_text(key, text),
                    None => key.push(ABSENT),
                }
            }
        }
    }

    /// Appends that all are absent.
    pub fn write_absent(&self, key: &mut Vec<u8>) {
        for _ in &self.list {
            key.extend([SEPARATOR, ABSENT]);
        }
    }
}

fn write_text(key: &mut Vec<u8>, text: &str) -> bool {
    key.extend_from_slice(label_value(text).as_bytes());
    true
}

/// Appends the value of an attribute as text; false where there is none.
fn write_attribute(key: &mut Vec<u8>, list: &[u8], name: &str) -> bool {
    match attribute_text(list, name.as_bytes()) {
        Some(text) => write_text(key, &text),
        None => false,
    }
}

fn attribute_text(list: &[u8], name: &[u8]) -> Option<String> {
    let (_, value) = attribute::iter_raw(list).find(|(key, _)| *key == name)?;
    // An empty label is the same as none, and so is an empty attribute.
    text_of(value).filter(|text| !text.is_empty())
}

/// A value as a label has it; `None` where nothing is set.
fn text_of(value: RawValue<'_>) -> Option<String> {
    match value {
        RawValue::Text(text) => std::str::from_utf8(text).ok().map(str::to_owned),
        RawValue::Int(number) => Some(number.to_string()),
        RawValue::Double(number) => Some(number.to_string()),
        RawValue::Bool(is) => Some(is.to_string()),
        RawValue::Other(message) => match Value::decode(message).ok()? {
            Value::Empty => None,
            value => Some(value.to_text()),
        },
    }
}

/// The labels that are not dimensions: a dimension of that name has two underscores before its own.
const TAKEN: [&str; 5] = ["service", "span_name", "span_kind", "status_code", "le"];

/// An attribute's key as the name of a label.
pub fn label_name(key: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = key.chars().map(plain).collect();
    if TAKEN.contains(&name.as_str()) {
        return format!("__{name}");
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("key_{name}") } else { name }
}
