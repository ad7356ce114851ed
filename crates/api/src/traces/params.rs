//! Parameters of the trace APIs: from the query string to typed values. Parameters that are not known are taken, for clients send
//! extras.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use throughline_correlate::units::{parse_duration, parse_rfc3339};
use throughline_model::TraceId;

use super::Refusal;

const SECOND_NS: i64 = 1_000_000_000;

/// The decoded parameters of one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Params, Infallible> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes());
        Ok(Params { pairs: pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect() })
    }
}

impl Params {
    #[cfg(test)]
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Params {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Params { pairs: pairs.collect() }
    }

    /// All of them.
    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    /// The first value of a parameter, if it is not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let mut found = self.pairs.iter().filter(|(known, _)| known == name);
        found.next().map(|(_, value)| value.as_str()).filter(|text| !text.is_empty())
    }

    /// The first value of any of these parameters: names of one thing in several versions.
    pub(crate) fn any(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.text(name))
    }

    /// All values of a parameter that are not empty.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let found = self.pairs.iter().filter(move |(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|text| !text.is_empty())
    }

    /// A whole number.
    pub(crate) fn whole(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let refuse = |_| Refusal::bad(format!("invalid {name}: {text:?} is not a whole number"));
        text.parse().map(Some).map_err(refuse)
    }

    /// A duration with a unit, as Go writes it, in nanoseconds.
    pub(crate) fn duration_ns(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let refuse =
            || Refusal::bad(format!("invalid {name}: {text:?} is not a duration such as 1.5s or 20ms"));
        parse_duration(text).map(Some).ok_or_else(refuse)
    }

    /// A truth value as Go reads it; false where it is absent.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.text(name) {
            None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some(text) => Err(Refusal::bad(format!("invalid {name}: {text:?} is neither true nor false"))),
        }
    }

    /// RFC 3339, nanoseconds since the epoch.
    pub(crate) fn rfc3339_ns(&self, names: &[&str]) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.any(names) else { return Ok(None) };
        let name = names.first().copied().unwrap_or_default();
        let refuse = || Refusal::bad(format!("malformed parameter {name}: {text:?} is not RFC 3339"));
        parse_rfc3339(text).map(Some).ok_or_else(refuse)
    }
}

/// Seconds as nanoseconds.
pub(crate) fn seconds_ns(seconds: i64) -> i64 {
    seconds.saturating_mul(SECOND_NS)
}

/// A trace id as trace APIs have it: at most 32 hex digits. What is nothing but digits is hex here, not decimal.
pub(crate) fn trace_id(text: &str) -> Result<TraceId, Refusal> {
    let is_hex = !text.is_empty() && text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten();
    let id = number.and_then(|number| TraceId::from_bytes(number.to_be_bytes()));
    id.ok_or_else(|| {
        Refusal::bad(format!("trace IDs are up to 32 hex digits, not all of them zero; got {text:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hex_of_any_length() {
        let read = |text: &str| trace_id(text).ok().map(|id| id.to_string());
        assert_eq!(read("C0DE"), Some("0000000000000000000000000000c0de".to_owned()));
        assert_eq!(read("49374"), Some("00000000000000000000000000049374".to_owned()));
        assert_eq!(read(&"1".repeat(32)), Some("1".repeat(32)));
        for bad in ["", "0", "xyz", &"1".repeat(33), "+1", "0x1f"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn parameters_are_typed() {
        let params =
            Params::of(&[("n", "7"), ("d", "1.5ms"), ("b", "True"), ("x", "?"), ("e", ""), ("n", "8")]);
        assert_eq!(params.whole("n").ok(), Some(Some(7)));
        assert_eq!(params.all("n").collect::<Vec<_>>(), ["7", "8"]);
        assert_eq!(params.duration_ns("d").ok(), Some(Some(1_500_000)));
        assert_eq!(params.flag("b").ok(), Some(true));
        assert_eq!(params.text("e"), None);
        assert!(params.whole("x").is_err() && params.duration_ns("x").is_err() && params.flag("x").is_err());
    }
}
