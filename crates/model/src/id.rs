//! Trace and span ids: one canonical form, read from any form that is in use.
//!
//! A trace id is 16 bytes (W3C Trace Context, section 3.2.2.3), a span id 8. Other systems write the same ids as
//! 16 hex digits (64-bit legacy), decimal 64-bit (Datadog), base64 (protobuf JSON), with `0x`, in upper case, with
//! leading zeros stripped, as a UUID, in X-Ray's `1-8-24`, or inside a `traceparent`. [`TraceId::parse`] reads all
//! of them; [`TraceIdForm`] records which it was.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A trace id in its canonical form: 16 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(pub [u8; 16]);

/// A span id in its canonical form: 8 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(pub [u8; 8]);

/// The id of a pattern of log lines, which the same lines of a service have at any time and on any machine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PatternId(pub u64);

impl PatternId {
    /// Reads 16 hex digits.
    pub fn parse(text: &str) -> Option<PatternId> {
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex { u64::from_str_radix(text, 16).ok().map(PatternId) } else { None }
    }
}

impl fmt::Display for PatternId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// How a trace id was written where it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceIdForm {
    /// 32 lower-case hex digits, the form of W3C and OTLP/JSON.
    Hex32,
    /// 16 hex digits: a 64-bit legacy id, padded with zeros on the left.
    Hex16,
    /// Hex digits with leading zeros stripped.
    HexStripped,
    /// Hex digits after `0x`.
    HexPrefixed,
    /// Hex with upper-case digits.
    HexUpper,
    /// Standard or URL-safe base64 of 16 or 8 bytes.
    Base64,
    /// A decimal number of at most 64 bits.
    Decimal,
    /// A UUID: 8-4-4-4-12 hex digits.
    Uuid,
    /// AWS X-Ray: `1-` 8 hex digits `-` 24 hex digits.
    XRay,
    /// A whole W3C `traceparent` header.
    Traceparent,
}

impl TraceId {
    /// Takes 16 bytes; `None` if they are all zero, which every specification calls invalid.
    pub fn from_bytes(bytes: [u8; 16]) -> Option<TraceId> {
        (bytes != [0; 16]).then_some(TraceId(bytes))
    }

    /// Takes 16 bytes, or 8 of a legacy id; `None` for any other length or all zeros.
    pub fn from_slice(bytes: &[u8]) -> Option<TraceId> {
        match bytes.len() {
            16 => TraceId::from_bytes(bytes.try_into().ok()?),
            8 => TraceId::from_low(u64::from_be_bytes(bytes.try_into().ok()?)),
            _ => None,
        }
    }

    /// A 64-bit legacy id as the low half of a trace id.
    pub fn from_low(low: u64) -> Option<TraceId> {
        TraceId::from_bytes(u128::from(low).to_be_bytes())
    }

    /// Reads an id in any form that is in use, with white space and quotes around it.
    pub fn parse(text: &str) -> Option<(TraceId, TraceIdForm)> {
        let text = text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`'));
        if text.is_empty() || text.len() > 64 || !text.is_ascii() {
            return None;
        }
        if text.contains('-') {
            return parse_dashed(text);
        }
        if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            return hex128(digits).map(|id| (id, TraceIdForm::HexPrefixed));
        }
        let all_digits = text.bytes().all(|b| b.is_ascii_digit());
        if all_digits && text.len() != 16 && text.len() != 32 {
            let low = text.parse::<u64>().ok()?;
            return TraceId::from_low(low).map(|id| (id, TraceIdForm::Decimal));
        }
        if text.len() <= 32 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            let form = match text.len() {
                _ if text.bytes().any(|b| b.is_ascii_uppercase()) => TraceIdForm::HexUpper,
                32 => TraceIdForm::Hex32,
                16 => TraceIdForm::Hex16,
                _ => TraceIdForm::HexStripped,
            };
            return hex128(text).map(|id| (id, form));
        }
        let bytes = base64(text)?;
        TraceId::from_slice(&bytes).map(|id| (id, TraceIdForm::Base64))
    }

    /// The 64 bits that 64-bit legacy systems keep of the id.
    pub fn low(self) -> u64 {
        u128::from_be_bytes(self.0) as u64
    }

    /// A hash of the id, uniform even where ids are not random. The index and the memtable are keyed by it.
    pub fn fingerprint(self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.0)
    }
}

impl SpanId {
    /// Takes 8 bytes; `None` for any other length or all zeros.
    pub fn from_slice(bytes: &[u8]) -> Option<SpanId> {
        let bytes: [u8; 8] = bytes.try_into().ok()?;
        (bytes != [0; 8]).then_some(SpanId(bytes))
    }

    /// Reads hex (with or without `0x`, leading zeros or upper case), decimal or base64.
    pub fn parse(text: &str) -> Option<SpanId> {
        let text = text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`'));
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        if digits.is_empty() || digits.len() > 20 || !digits.is_ascii() {
            return None;
        }
        let decimal = digits.len() != 16 && digits.bytes().all(|b| b.is_ascii_digit()) && digits == text;
        if decimal {
            return SpanId::from_slice(&digits.parse::<u64>().ok()?.to_be_bytes());
        }
        if digits.len() <= 16 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return SpanId::from_slice(&u64::from_str_radix(digits, 16).ok()?.to_be_bytes());
        }
        SpanId::from_slice(&base64(text)?)
    }
}

fn parse_dashed(text: &str) -> Option<(TraceId, TraceIdForm)> {
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    match lengths.as_slice() {
        [8, 4, 4, 4, 12] => hex128(&parts.concat()).map(|id| (id, TraceIdForm::Uuid)),
        [1, 8, 24] if parts.first() == Some(&"1") => {
            hex128(&parts.get(1..)?.concat()).map(|id| (id, TraceIdForm::XRay))
        }
        [2, 32, 16, 2, ..] => hex128(parts.get(1)?).map(|id| (id, TraceIdForm::Traceparent)),
        _ => base64(text).and_then(|b| TraceId::from_slice(&b)).map(|id| (id, TraceIdForm::Base64)),
    }
}

fn hex128(digits: &str) -> Option<TraceId> {
    if digits.is_empty() || digits.len() > 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    TraceId::from_bytes(u128::from_str_radix(digits, 16).ok()?.to_be_bytes())
}

/// Decodes base64 of 8 or 16 bytes, standard or URL-safe alphabet, padded or not.
fn base64(text: &str) -> Option<Vec<u8>> {
    let body = text.trim_end_matches('=');
    if !matches!(body.len(), 11 | 22) {
        return None;
    }
    let (mut out, mut bits, mut n_bits) = (Vec::with_capacity(16), 0u32, 0);
    for byte in body.bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            out.push((bits >> n_bits) as u8);
        }
    }
    // The bits that are left over must be zero, otherwise the text is not the encoding of whole bytes.
    (bits & ((1 << n_bits) - 1) == 0).then_some(out)
}

macro_rules! hex_text {
    ($type:ident, $parse:expr) => {
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                $parse(&text).ok_or_else(|| serde::de::Error::custom(format!("not an id: {text:?}")))
            }
        }
    };
}

macro_rules! hex_bytes {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    };
}

hex_bytes!(TraceId);
hex_bytes!(SpanId);
hex_text!(TraceId, |text| TraceId::parse(text).map(|(id, _)| id));
hex_text!(SpanId, SpanId::parse);
hex_text!(PatternId, PatternId::parse);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, canonical: &str, form: TraceIdForm) {
        let (id, found) = TraceId::parse(text).expect(text);
        assert_eq!((id.to_string().as_str(), found), (canonical, form), "{text}");
    }

    #[test]
    fn trace_ids_in_any_form_become_one() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        check(id, id, TraceIdForm::Hex32);
        check(&id.to_uppercase(), id, TraceIdForm::HexUpper);
        check("0x4bf92f3577b34da6a3ce929d0e0e4736", id, TraceIdForm::HexPrefixed);
        check("4bf92f35-77b3-4da6-a3ce-929d0e0e4736", id, TraceIdForm::Uuid);
        check("1-4bf92f35-77b34da6a3ce929d0e0e4736", id, TraceIdForm::XRay);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", id, TraceIdForm::Traceparent);
        check("S/kvNXezTaajzpKdDg5HNg==", id, TraceIdForm::Base64);
        check("S_kvNXezTaajzpKdDg5HNg", id, TraceIdForm::Base64);
        check("a3ce929d0e0e4736", "0000000000000000a3ce929d0e0e4736", TraceIdForm::Hex16);
        check("11803532876627986230", "0000000000000000a3ce929d0e0e4736", TraceIdForm::Decimal);
        check("ce929d0e0e4736", "000000000000000000ce929d0e0e4736", TraceIdForm::HexStripped);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in
            ["", "0", "00000000000000000000000000000000", "xyz", "4bf92f3577b34da6a3ce929d0e0e47361", "-"]
        {
            assert_eq!(TraceId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn pattern_ids_are_sixteen_digits() {
        let id = PatternId(0x1f);
        assert_eq!(id.to_string(), "000000000000001f");
        assert_eq!(PatternId::parse("000000000000001F"), Some(id));
        for text in ["", "1f", "+00000000000001f", "00000000000000000000000000000001"] {
            assert_eq!(PatternId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn span_ids_in_any_form_become_one() {
        for text in
            ["00f067aa0ba902b7", "f067aa0ba902b7", "0x00F067AA0BA902B7", "67667974448284343", "APBnqgupArc="]
        {
            assert_eq!(SpanId::parse(text).expect(text).to_string(), "00f067aa0ba902b7", "{text}");
        }
        assert_eq!(SpanId::parse("0000000000000000"), None);
    }
}
