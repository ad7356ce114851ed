//! Bare `NaN`, `Infinity` and `-Infinity`, which JSON does not have and which Python's `json` writes all the same.
//!
//! They are put in quotes, as protobuf's JSON mapping has them, and the request is read again. Only a request that
//! failed is looked at, so that good ones pay nothing.

const NAMES: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];

/// The body with bare names in quotes; `None` if it has none.
pub(super) fn quoted(body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut rest, mut copied) = (body, 0);
    let mut in_string = false;
    while let Some((byte, after)) = rest.split_first() {
        match byte {
            b'\\' if in_string => {
                // Whatever is escaped does not end the string.
                rest = after.get(1..).unwrap_or_default();
                continue;
            }
            b'"' => in_string = !in_string,
            b'N' | b'I' | b'-' if !in_string => {
                if let Some(name) = NAMES.iter().find(|name| rest.starts_with(name)) {
                    let at = body.len() - rest.len();
                    out.extend_from_slice(body.get(copied..at)?);
                    out.push(b'"');
                    out.extend_from_slice(name);
                    out.push(b'"');
                    copied = at + name.len();
                    rest = body.get(copied..)?;
                    continue;
                }
            }
            _ => {}
        }
        rest = after;
    }
    out.extend_from_slice(body.get(copied..)?);
    (copied > 0).then_some(out)
}
