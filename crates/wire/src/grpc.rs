//! What gRPC puts around messages: the prefix of each, and text in headers.

/// A message's prefix: whether it is compressed, and its length.
pub const PREFIX_BYTES: usize = 5;

/// Appends an uncompressed message with its prefix.
pub fn put_message(out: &mut Vec<u8>, message: &[u8]) {
    out.reserve(PREFIX_BYTES + message.len());
    out.push(0);
    out.extend_from_slice(&(message.len() as u32).to_be_bytes());
    out.extend_from_slice(message);
}

/// The length in a prefix, once it is there.
pub fn message_bytes(start: &[u8]) -> Option<usize> {
    let (prefix, _) = start.split_first_chunk::<PREFIX_BYTES>()?;
    let [_, a, b, c, d] = *prefix;
    Some(u32::from_be_bytes([a, b, c, d]) as usize)
}

/// Percent-encoding of `grpc-message`: everything but visible ASCII and space, and the percent sign.
pub fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | 0..0x20 | 0x7f.. => out.push_str(&format!("%{byte:02X}")),
            _ => out.push(char::from(byte)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_a_prefix() {
        let mut out = Vec::new();
        put_message(&mut out, b"ab");
        assert_eq!(out, [0, 0, 0, 0, 2, b'a', b'b']);
        assert_eq!(message_bytes(&out), Some(2));
        assert_eq!(message_bytes(&out[..4]), None);
    }

    #[test]
    fn text_is_percent_encoded() {
        assert_eq!(percent_encoded("100% of\n„x“~"), "100%25 of%0A%E2%80%9Ex%E2%80%9C~");
    }
}
