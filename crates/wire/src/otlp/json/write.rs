//! The protobuf that JSON becomes: scalars by the type of their field, and messages whose length is known last.

use throughline_model::protobuf::put_varint;

use super::Scalar;
use super::schema::Kind;

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const DELIMITED: u64 = 2;
const FIXED32: u64 = 5;

pub(super) struct Writer {
    out: Vec<u8>,
}

/// A length-delimited field that is being written.
pub(super) struct Open {
    start: usize,
}

impl Writer {
    /// A writer for a request of so many bytes of JSON.
    pub fn new(json_bytes: usize) -> Writer {
        // Protobuf takes a third to a half of the JSON.
        Writer { out: Vec::with_capacity(json_bytes / 2) }
    }

    pub fn len(&self) -> usize {
        self.out.len()
    }

    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    /// Opens a message or a packed list.
    pub fn open(&mut self, number: u32) -> Open {
        self.tag(Some(number), DELIMITED);
        // One byte for the length, which is what most messages need.
        self.out.push(0);
        Open { start: self.out.len() }
    }

    /// Writes the length of what was opened; what is longer than 127 bytes is moved to make room.
    pub fn close(&mut self, open: Open) {
        let length = self.out.len() - open.start;
        if let (Ok(short @ 0..=0x7f), Some(byte)) = (u8::try_from(length), self.out.get_mut(open.start - 1)) {
            *byte = short;
            return;
        }
        let mut prefix = Vec::with_capacity(10);
        put_varint(&mut prefix, length as u64);
        self.out.splice(open.start - 1..open.start, prefix);
    }

    /// Moves what was written since `from` before everything since `to`.
    pub fn move_to(&mut self, from: usize, to: usize) {
        let length = self.out.len() - from;
        if from > to
            && let Some(tail) = self.out.get_mut(to..)
        {
            tail.rotate_right(length);
        }
    }

    /// Writes a scalar, with its tag unless it is an element of a packed list. Fails if the value is not of the
    /// type.
    pub fn scalar(&mut self, tag: Option<u32>, kind: &Kind, value: Scalar<'_>) -> Result<(), ()> {
        match (kind, value) {
            (Kind::Text, Scalar::Text(text)) => self.bytes(tag, text.as_bytes()),
            (Kind::Bytes, Scalar::Text(text)) => self.bytes(tag, &base64(text).ok_or(())?),
            (Kind::Id, Scalar::Text(text)) => self.id(tag, text),
            (Kind::Bool, Scalar::Bool(value)) => self.varint(tag, u64::from(value)),
            (Kind::Bool, Scalar::Text("true")) => self.varint(tag, 1),
            (Kind::Bool, Scalar::Text("false")) => self.varint(tag, 0),
            (Kind::Unsigned, value) => self.varint(tag, unsigned(value)?),
            (Kind::Signed, value) => self.varint(tag, signed(value)? as u64),
            (Kind::Zigzag, value) => {
                let number = i32::try_from(signed(value)?).map_err(drop)?;
                self.varint(tag, u64::from(((number << 1) ^ (number >> 31)) as u32));
            }
            (Kind::Fixed64, value) => self.fixed64(tag, unsigned(value)?),
            (Kind::Time, value) => {
                let time = unsigned(value).or_else(|()| signed(value).map(|negative| negative as u64))?;
                self.fixed64(tag, time);
            }
            (Kind::SignedFixed64, value) => self.fixed64(tag, signed(value)? as u64),
            (Kind::Fixed32, value) => {
                let number = u32::try_from(unsigned(value)?).map_err(drop)?;
                self.tag(tag, FIXED32);
                self.out.extend_from_slice(&number.to_le_bytes());
            }
            (Kind::Double, value) => self.fixed64(tag, double(value)?.to_bits()),
            (Kind::Enumeration(prefix, names), Scalar::Text(text)) => {
                let bare = text.strip_prefix(prefix).unwrap_or(text);
                match names.iter().position(|name| *name == bare) {
                    Some(position) => self.varint(tag, position as u64),
                    None => self.varint(tag, text.parse().map_err(drop)?),
                }
            }
            (Kind::Enumeration(..), value) => self.varint(tag, signed(value)? as u64),
            _ => return Err(()),
        }
        Ok(())
    }

    fn tag(&mut self, number: Option<u32>, wire_type: u64) {
        if let Some(number) = number {
            put_varint(&mut self.out, u64::from(number) << 3 | wire_type);
        }
    }

    fn varint(&mut self, tag: Option<u32>, value: u64) {
        self.tag(tag, VARINT);
        put_varint(&mut self.out, value);
    }

    fn fixed64(&mut self, tag: Option<u32>, value: u64) {
        self.tag(tag, FIXED64);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, tag: Option<u32>, bytes: &[u8]) {
        self.tag(tag, DELIMITED);
        put_varint(&mut self.out, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    /// An id: the bytes of its hex digits. Text that is not hex stays text; where it happens to have the length of an
    /// id it is put in quotes, so that it cannot be taken for one.
    fn id(&mut self, tag: Option<u32>, text: &str) {
        let digits = text.as_bytes();
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let (pairs, rest) = digits.as_chunks::<2>();
        let bytes: Option<Vec<u8>> =
            pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
        match bytes {
            Some(bytes) if rest.is_empty() => self.bytes(tag, &bytes),
            _ if matches!(digits.len(), 8 | 16) => self.bytes(tag, format!("\"{text}\"").as_bytes()),
            _ => self.bytes(tag, digits),
        }
    }
}

fn unsigned(value: Scalar<'_>) -> Result<u64, ()> {
    match value {
        Scalar::Unsigned(number) => Ok(number),
        Scalar::Text(text) => text.parse().map_err(drop),
        Scalar::Signed(number) => u64::try_from(number).map_err(drop),
        Scalar::Double(number) => whole(number).and_then(|number| u64::try_from(number).map_err(drop)),
        Scalar::Bool(_) => Err(()),
    }
}

fn signed(value: Scalar<'_>) -> Result<i64, ()> {
    match value {
        Scalar::Signed(number) => Ok(number),
        Scalar::Unsigned(number) => i64::try_from(number).map_err(drop),
        Scalar::Text(text) => text.parse().map_err(drop),
        Scalar::Double(number) => whole(number).and_then(|number| i64::try_from(number).map_err(drop)),
        Scalar::Bool(_) => Err(()),
    }
}

/// A whole number that was written with a point or an exponent, such as `1.0` or `1e9`.
fn whole(number: f64) -> Result<i128, ()> {
    if number.fract() == 0.0 && number.abs() < 1e19 { Ok(number as i128) } else { Err(()) }
}

fn double(value: Scalar<'_>) -> Result<f64, ()> {
    match value {
        Scalar::Double(number) => Ok(number),
        Scalar::Unsigned(number) => Ok(number as f64),
        Scalar::Signed(number) => Ok(number as f64),
        // Rust reads "NaN", "Infinity" and "-Infinity" too.
        Scalar::Text(text) => text.parse().map_err(drop),
        Scalar::Bool(_) => Err(()),
    }
}

/// Base64 in the standard or the URL-safe alphabet, padded or not.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    let body = text.trim_end_matches('=');
    if body.len() % 4 == 1 || text.len() - body.len() > 2 {
        return None;
    }
    let (mut out, mut bits, mut n_bits) = (Vec::with_capacity(body.len() / 4 * 3 + 2), 0u32, 0);
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
    Some(out)
}
