//! Trace context from fields: hexadecimal ids and flags.

use crate::entry::Entry;
use crate::field::Field;
use crate::value::Value;

/// Which fields hold the context.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The trace.
    pub trace_id: Field,
    /// The span.
    pub span_id: Field,
    /// The flags.
    pub flags: Field,
}

impl Trace {
    /// Sets an entry's context. What is not there stays unset; each is tried, whatever becomes of the others.
    pub fn apply(&self, entry: &mut Entry) -> Result<(), String> {
        let trace_id = hexadecimal::<16>(&self.trace_id, entry);
        let span_id = hexadecimal::<8>(&self.span_id, entry);
        let flags = hexadecimal::<1>(&self.flags, entry);
        let mut failure = Ok(());
        let mut keep = |name: &str, reason: &String| failure = Err(format!("{name}: {reason}"));
        match &flags {
            Ok(found) => entry.trace_flags = found.map(|[flags]| flags),
            Err(reason) => keep("trace_flags", reason),
        }
        match &span_id {
            Ok(found) => entry.span_id = *found,
            Err(reason) => keep("span_id", reason),
        }
        match &trace_id {
            Ok(found) => entry.trace_id = *found,
            Err(reason) => keep("trace_id", reason),
        }
        failure
    }
}

/// The bytes of a field, filled up with zeros at the end, as the Collector does.
fn hexadecimal<const N: usize>(field: &Field, entry: &Entry) -> Result<Option<[u8; N]>, String> {
    let Some(value) = field.find(entry) else { return Ok(None) };
    let text = match value {
        Value::Null => return Ok(None),
        value => value.scalar().ok_or_else(|| format!("{} is no id", value.kind()))?,
    };
    if text.is_empty() {
        return Ok(None);
    }
    let digits = text.as_bytes();
    let (pairs, odd) = digits.as_chunks::<2>();
    if !odd.is_empty() || pairs.len() > N {
        return Err(format!("{text:?} is not an even number of at most {} hexadecimal digits", N * 2));
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+'));
        let found = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        *byte = found.ok_or_else(|| format!("{text:?} is not hexadecimal"))?;
    }
    Ok(Some(bytes))
}
