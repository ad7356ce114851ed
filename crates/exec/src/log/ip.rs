//! Addresses in lines and labels: one address, a range, or a network.

use std::net::IpAddr;

/// Why a text is no condition on addresses.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "ip: invalid pattern {pattern:?}: expected an address, two joined by a dash, or a network such as 10.0.0.0/8"
)]
pub struct IpMatcherError {
    /// The text.
    pub pattern: String,
}

/// A set of addresses that lie in a row, both ends included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpMatcher {
    text: String,
    first: IpAddr,
    last: IpAddr,
}

impl IpMatcher {
    /// Reads `192.168.0.1`, `192.168.0.1-192.168.0.20`, `192.168.0.0/16`, or the same of IPv6.
    pub fn new(text: &str) -> Result<IpMatcher, IpMatcherError> {
        let failed = || IpMatcherError { pattern: text.chars().take(100).collect() };
        let (first, last) = bounds(text.trim()).ok_or_else(failed)?;
        Ok(IpMatcher { text: text.to_owned(), first, last })
    }

    /// The condition as given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a text is an address of the set.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        text.parse().is_ok_and(|address| self.contains(address))
    }

    /// Whether an address of the set is somewhere in the line.
    #[must_use]
    pub fn is_in(&self, line: &str) -> bool {
        let v4 = self.first.is_ipv4();
        let belongs = |byte: u8| match v4 {
            true => byte.is_ascii_digit() || byte == b'.',
            false => byte.is_ascii_hexdigit() || byte == b'.' || byte == b':',
        };
        let bytes = line.as_bytes();
        let mut at = 0;
        while let Some(start) = bytes.iter().skip(at).position(|byte| belongs(*byte)).map(|skip| at + skip) {
            let length = bytes.iter().skip(start).take_while(|byte| belongs(**byte)).count();
            at = start + length;
            // A sentence may end behind an address.
            let run = line.get(start..at).unwrap_or_default();
            if run.len() >= 2 && (self.matches(run) || self.matches(run.trim_end_matches(['.', ':']))) {
                return true;
            }
        }
        false
    }

    fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && self.first <= address && address <= self.last
    }
}

fn bounds(text: &str) -> Option<(IpAddr, IpAddr)> {
    if let Some((first, last)) = text.split_once('-') {
        let (first, last): (IpAddr, IpAddr) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        return (first.is_ipv4() == last.is_ipv4() && first <= last).then_some((first, last));
    }
    let Some((address, bits)) = text.split_once('/') else {
        let address = text.parse().ok()?;
        return Some((address, address));
    };
    let bits: u32 = bits.parse().ok()?;
    match address.parse().ok()? {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32u32.checked_sub(bits)?).unwrap_or(0);
            let network = address.to_bits() & mask;
            Some((IpAddr::V4(network.into()), IpAddr::V4((network | !mask).into())))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128u32.checked_sub(bits)?).unwrap_or(0);
            let network = address.to_bits() & mask;
            Some((IpAddr::V6(network.into()), IpAddr::V6((network | !mask).into())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_ranges_and_networks() {
        let cases = [
            ("192.168.1.7", "from 192.168.1.7:80", true),
            ("192.168.1.7", "from 192.168.1.70", false),
            ("192.168.1.7", "it was 192.168.1.7.", true),
            ("192.168.1.1-192.168.1.9", "a 192.168.1.9 b", true),
            ("192.168.1.1-192.168.1.9", "a 192.168.1.10 b", false),
            ("10.0.0.0/8", "1.2.3.4 then 10.255.255.255", true),
            ("0.0.0.0/0", "no address, v1.2", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("2001:db8::/32", "[2001:db8::1]:443 said", true),
            ("::1", "from ::1, and so on", true),
            ("::1", "127.0.0.1", false),
            ("10.0.0.0/8", "", false),
        ];
        for (pattern, line, expected) in cases {
            assert_eq!(IpMatcher::new(pattern).unwrap().is_in(line), expected, "{pattern} {line}");
        }
        for wrong in
            ["", "x", "1.2.3", "1.2.3.4/33", "::1/129", "2.0.0.0-1.0.0.0", "1.2.3.4-::1", "1.2.3.4/-1"]
        {
            assert!(IpMatcher::new(wrong).is_err(), "{wrong}");
        }
    }
}
