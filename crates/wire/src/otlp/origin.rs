//! Where items come from: resources and instrumentation scopes, turned into JSON once and remembered.
//!
//! A process sends the same resource with every request. Its text is found again by the raw bytes of the message:
//! within a request in a map to the batch's index, across requests in [`OriginMemory`]. A hash only finds the entry;
//! the bytes are compared.

use std::borrow::Cow;
use std::collections::HashMap;

use throughline_model::attribute;
use throughline_model::batch::{ResourceIndex, ScopeIndex};
use throughline_model::protobuf::{Field, Reader};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::attributes::{copy_attribute, count_attribute, text};
use super::refusal::{Fault, Refusal};
use crate::DecodeLimits;

/// The service of a resource that names none, as the semantic conventions of `service.name` have it.
const UNKNOWN_SERVICE: &str = "unknown_service";

/// Bytes of raw messages and their JSON that a decoder remembers: some thousand resources of ordinary size. When it
/// is full everything is forgotten; a working set that fits comes back with the next requests, and one that does not
/// fit would gain nothing from a finer order.
const MEMORY_BYTES: usize = 8 << 20;

/// A resource or a scope as text.
#[derive(Debug, Default)]
struct Origin {
    raw: Box<[u8]>,
    /// The service's name; empty for a scope.
    service: String,
    json: String,
    /// A hash that does not depend on the order of attributes.
    identity: u128,
    /// An SDK of OpenTelemetry made it.
    is_of_sdk: bool,
}

/// Resources and scopes of earlier requests.
#[derive(Default)]
pub(super) struct OriginMemory {
    resources: HashMap<u64, Origin>,
    scopes: HashMap<u64, Origin>,
    bytes: usize,
}

/// What a batch builder offers for the origins of its items.
pub(super) trait OriginColumns {
    fn add_resource(&mut self, service: &str, json: &str) -> ResourceIndex;
    fn add_scope(&mut self, json: &str) -> ScopeIndex;
}

macro_rules! origin_columns {
    ($($builder:ty),*) => {$(
        impl OriginColumns for $builder {
            fn add_resource(&mut self, service: &str, json: &str) -> ResourceIndex {
                <$builder>::add_resource(self, service, json)
            }

            fn add_scope(&mut self, json: &str) -> ScopeIndex {
                <$builder>::add_scope(self, json)
            }
        }
    )*};
}

origin_columns!(
    throughline_model::batch::SpanBatchBuilder,
    throughline_model::batch::LogBatchBuilder,
    throughline_model::batch::MetricBatchBuilder
);

/// A registered resource or scope: its index in the batch and its identity.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registered<I> {
    pub index: I,
    pub identity: u128,
    /// Of a resource: an SDK of OpenTelemetry made it.
    pub is_of_sdk: bool,
}

/// The resources and scopes of one request, by the hash of their raw bytes.
#[derive(Default)]
pub(super) struct RequestOrigins<'a> {
    resources: HashMap<u64, (Cow<'a, [u8]>, Registered<ResourceIndex>)>,
    scopes: HashMap<u64, (Cow<'a, [u8]>, Registered<ScopeIndex>)>,
}

impl<'a> RequestOrigins<'a> {
    /// The index of a resource in the batch.
    pub fn resource(
        &mut self,
        raw: Cow<'a, [u8]>,
        memory: &mut OriginMemory,
        limits: &DecodeLimits,
        columns: &mut impl OriginColumns,
    ) -> Result<Registered<ResourceIndex>, Fault> {
        let hash = xxh3_64(&raw);
        if let Some((bytes, known)) = self.resources.get(&hash)
            && *bytes == raw
        {
            return Ok(*known);
        }
        let add = |origin: &Origin| {
            let index = columns.add_resource(&origin.service, &origin.json);
            Registered { index, identity: origin.identity, is_of_sdk: origin.is_of_sdk }
        };
        let known = memory.recall(Level::Resource, hash, &raw, limits, add)?;
        self.resources.insert(hash, (raw, known));
        Ok(known)
    }

    /// The index of a scope in the batch.
    pub fn scope(
        &mut self,
        raw: Cow<'a, [u8]>,
        memory: &mut OriginMemory,
        limits: &DecodeLimits,
        columns: &mut impl OriginColumns,
    ) -> Result<Registered<ScopeIndex>, Fault> {
        let hash = xxh3_64(&raw);
        if let Some((bytes, known)) = self.scopes.get(&hash)
            && *bytes == raw
        {
            return Ok(*known);
        }
        let add = |origin: &Origin| Registered {
            index: columns.add_scope(&origin.json),
            identity: origin.identity,
            is_of_sdk: false,
        };
        let known = memory.recall(Level::Scope, hash, &raw, limits, add)?;
        self.scopes.insert(hash, (raw, known));
        Ok(known)
    }
}

#[derive(Clone, Copy)]
enum Level {
    Resource,
    Scope,
}

impl OriginMemory {
    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = OriginMemory::default();
    }

    /// Hands the text of a resource or scope to `take`, reading it first if it is not remembered.
    fn recall<T>(
        &mut self,
        level: Level,
        hash: u64,
        raw: &[u8],
        limits: &DecodeLimits,
        take: impl FnOnce(&Origin) -> T,
    ) -> Result<T, Fault> {
        let known = match level {
            Level::Resource => self.resources.get(&hash),
            Level::Scope => self.scopes.get(&hash),
        };
        if let Some(origin) = known.filter(|origin| *origin.raw == *raw) {
            return Ok(take(origin));
        }
        let origin = match level {
            Level::Resource => read_resource(raw, limits)?,
            Level::Scope => read_scope(raw, limits)?,
        };
        let taken = take(&origin);
        let origin_bytes = origin.raw.len() + origin.json.len() + origin.service.len() + size_of::<Origin>();
        if self.bytes + origin_bytes > MEMORY_BYTES {
            self.clear();
        }
        if origin_bytes <= MEMORY_BYTES / 16 {
            self.bytes += origin_bytes;
            match level {
                Level::Resource => self.resources.insert(hash, origin),
                Level::Scope => self.scopes.insert(hash, origin),
            };
        }
        Ok(taken)
    }
}

fn read_resource(raw: &[u8], limits: &DecodeLimits) -> Result<Origin, Fault> {
    const FIELD: &str = "resource.attributes";
    let mut reader = Reader::new(raw);
    let (mut list, mut count, mut identity) = (Vec::with_capacity(raw.len()), 0, 0u128);
    while let Some((number, field)) = reader.next_field()? {
        if let (1, Field::Bytes(key_value)) = (number, field) {
            count_attribute(&mut count, limits, FIELD)?;
            copy_attribute(&mut list, key_value, limits, FIELD)?;
            identity = identity.wrapping_add(xxh3_128(key_value));
        }
    }
    let service = attribute::get(&list, "service.name").map(|value| value.to_text()).unwrap_or_default();
    let service = if service.is_empty() { UNKNOWN_SERVICE.to_owned() } else { service };
    let mut json = String::with_capacity(list.len() + list.len() / 4 + 2);
    attribute::write_json_object(&list, &mut json);
    let is_of_sdk = attribute::iter(&list).any(|(key, _)| key.starts_with("telemetry.sdk."));
    Ok(Origin { raw: raw.into(), service, json, identity, is_of_sdk })
}

fn read_scope(raw: &[u8], limits: &DecodeLimits) -> Result<Origin, Fault> {
    const FIELD: &str = "scope.attributes";
    let mut reader = Reader::new(raw);
    let (mut name, mut version, mut list, mut count, mut identity) = ("", "", Vec::new(), 0, 0u128);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => name = short_text(bytes, limits, "scope.name")?,
            (2, Field::Bytes(bytes)) => version = short_text(bytes, limits, "scope.version")?,
            (3, Field::Bytes(key_value)) => {
                count_attribute(&mut count, limits, FIELD)?;
                copy_attribute(&mut list, key_value, limits, FIELD)?;
                identity = identity.wrapping_add(xxh3_128(key_value));
            }
            _ => {}
        }
    }
    let mut json = String::from("{");
    for (key, value) in [("\"name\":", name), ("\"version\":", version)] {
        if !value.is_empty() {
            json.push_str(if json.len() > 1 { "," } else { "" });
            json.push_str(key);
            attribute::write_json_text(&mut json, value);
        }
    }
    if !list.is_empty() {
        json.push_str(if json.len() > 1 { ",\"attributes\":" } else { "\"attributes\":" });
        attribute::write_json_object(&list, &mut json);
    }
    json.push('}');
    // The separator keeps name and version apart: neither can contain it and stay valid UTF-8.
    let named = [name.as_bytes(), &[0xff], version.as_bytes()].concat();
    let identity = identity.wrapping_add(xxh3_128(&named));
    Ok(Origin { raw: raw.into(), service: String::new(), json, identity, is_of_sdk: false })
}

/// Text of a name, within the limit of an attribute.
#[inline]
pub(super) fn short_text<'a>(
    bytes: &'a [u8],
    limits: &DecodeLimits,
    field: &'static str,
) -> Result<&'a str, Refusal> {
    if bytes.len() > limits.attribute_bytes {
        return Err(Refusal::AttributeBytes { field, bytes: bytes.len(), limit: limits.attribute_bytes });
    }
    text(bytes, field)
}
