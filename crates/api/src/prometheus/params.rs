//! Parameters of the Prometheus API: from the query string and a form, to typed values.
//!
//! Unlike the native API it takes parameters that it does not know: clients send extras.

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{Method, header};
use throughline_correlate::units::parse_rfc3339;
use throughline_exec::Matcher;

use super::Prometheus;
use super::reply::Refusal;

/// A form is a query and a few numbers; a query of more than this is refused.
const FORM_BYTES_MAX: usize = 4 << 20;

/// The decoded parameters of one request, those of the form first.
pub(super) struct Params {
    pairs: Vec<(String, String)>,
}

impl FromRequest<Prometheus> for Params {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &Prometheus) -> Result<Params, Refusal> {
        form_pairs(request).await.map(|pairs| Params { pairs }).map_err(Refusal::bad_data)
    }
}

/// The parameters of a form and of the query string, in that order; or why they cannot be read.
pub(crate) async fn form_pairs(request: Request) -> Result<Vec<(String, String)>, String> {
    let (parts, body) = request.into_parts();
    let mut pairs = Vec::new();
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_form = content_type.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if parts.method == Method::POST && is_form {
        let form = to_bytes(body, FORM_BYTES_MAX)
            .await
            .map_err(|_| format!("the form is longer than {FORM_BYTES_MAX} bytes, or broke off"))?;
        pairs.extend(decode(&form));
    }
    pairs.extend(decode(parts.uri.query().unwrap_or_default().as_bytes()));
    Ok(pairs)
}

fn decode(text: &[u8]) -> impl Iterator<Item = (String, String)> {
    form_urlencoded::parse(text).map(|(name, value)| (name.into_owned(), value.into_owned()))
}

impl Params {
    /// The first value of a parameter.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.pairs.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    fn filled(&self, name: &str) -> Option<&str> {
        self.text(name).filter(|text| !text.is_empty())
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.filled(name) {
            None => Ok(false),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some(text) => Err(Refusal::parameter(name, format!("cannot parse {text:?} to a truth value"))),
        }
    }

    /// A whole number, which may be negative; refused in these words if it is none.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.filled(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| Refusal::bad_data(format!("{name} must be a number")))
    }

    /// A count of which negative values mean that there is no limit, and 0 that nothing is wanted.
    pub(super) fn at_most(&self, name: &str) -> Result<usize, Refusal> {
        Ok(self.number(name)?.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX)))
    }

    /// `limit`: how many items at most; none where there is no limit.
    pub(super) fn limit(&self) -> Result<Option<usize>, Refusal> {
        let Some(text) = self.filled("limit") else { return Ok(None) };
        let limit: i64 = text
            .parse()
            .map_err(|_| Refusal::parameter("limit", format!("cannot parse {text:?} to a whole number")))?;
        match usize::try_from(limit) {
            Ok(limit) => Ok(Some(limit).filter(|limit| *limit > 0)),
            Err(_) => Err(Refusal::parameter("limit", "limit must be non-negative")),
        }
    }

    /// A time in milliseconds since the epoch.
    pub(super) fn time_ms(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.filled(name) else { return Ok(None) };
        let refuse = || {
            let reason = format!("invalid time value for '{name}': {}", not_a("timestamp", text));
            Refusal::parameter(name, reason)
        };
        parse_time_ms(text).map(Some).ok_or_else(refuse)
    }

    /// A time that must be there.
    pub(super) fn required_time_ms(&self, name: &str) -> Result<i64, Refusal> {
        let text = self.text(name).unwrap_or_default();
        parse_time_ms(text).ok_or_else(|| Refusal::parameter(name, not_a("timestamp", text)))
    }

    /// A duration in milliseconds.
    pub(super) fn duration_ms(&self, name: &str) -> Result<Option<i64>, Refusal> {
        self.filled(name).map(|_| self.required_duration_ms(name)).transpose()
    }

    /// A duration that must be there.
    pub(super) fn required_duration_ms(&self, name: &str) -> Result<i64, Refusal> {
        let text = self.text(name).unwrap_or_default();
        parse_duration_ms(text).ok_or_else(|| Refusal::parameter(name, not_a("duration", text)))
    }

    /// How far back a sample is the newest one, where the request says so.
    pub(super) fn lookback_ms(&self) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.filled("lookback_delta") else { return Ok(None) };
        parse_duration_ms(text).map(Some).ok_or_else(|| {
            Refusal::bad_data(format!("error parsing lookback delta duration: {}", not_a("duration", text)))
        })
    }

    /// The selectors of `match[]`. Each must have a matcher that the empty value does not match.
    pub(super) fn selectors(&self) -> Result<Vec<Vec<Matcher>>, Refusal> {
        let selectors = self.any_selectors().map_err(Refusal::bad_data)?;
        if selectors.iter().any(|matchers| matchers.iter().all(|matcher| matcher.matches(""))) {
            return Err(Refusal::bad_data("match[] must contain at least one non-empty matcher"));
        }
        Ok(selectors)
    }

    /// The same for a request that must have some, and names the parameter where they are refused.
    pub(super) fn required_selectors(&self) -> Result<Vec<Vec<Matcher>>, Refusal> {
        if self.all("match[]").is_empty() {
            return Err(Refusal::bad_data("no match[] parameter provided"));
        }
        self.selectors().map_err(|refusal| Refusal::parameter("match[]", refusal.message()))
    }

    /// The selectors of `match[]`, whatever they match; or why they cannot be read.
    pub(super) fn any_selectors(&self) -> Result<Vec<Vec<Matcher>>, String> {
        let parsed = self.all("match[]").into_iter().map(throughline_promql::parse::parse_selector);
        parsed.map(|selector| Ok(selector.map_err(|error| error.to_string())?.matchers)).collect()
    }
}

fn not_a(kind: &str, text: &str) -> String {
    format!("cannot parse {text:?} to a valid {kind}")
}

/// Unix seconds with a fraction, or RFC 3339.
fn parse_time_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        // Far times saturate: clients send milliseconds where seconds are meant, and want an empty answer.
        return seconds.is_finite().then(|| (seconds * 1_000.0).round() as i64);
    }
    parse_rfc3339(text).map(|ns| ns.div_euclid(1_000_000))
}

/// Seconds as a number, or a duration as PromQL writes it.
pub(crate) fn parse_duration_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = seconds * 1_000.0;
        return (ms.is_finite() && ms.abs() <= i64::MAX as f64).then_some(ms as i64);
    }
    let mut rest = text;
    let mut total: i64 = 0;
    let units = [
        ("y", 31_536_000_000),
        ("w", 604_800_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ];
    for (unit, ms) in units.into_iter().chain([("ms", 1)]) {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let Some(after) = after.strip_prefix(unit) else { continue };
        // `5ms` is not five minutes and an s.
        if number.is_empty() || (unit == "m" && after.starts_with('s')) {
            continue;
        }
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(ms)?)?;
        rest = after;
    }
    (rest.is_empty() && !text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_or_promql() {
        assert_eq!(parse_duration_ms("15"), Some(15_000));
        assert_eq!(parse_duration_ms("0.5"), Some(500));
        assert_eq!(parse_duration_ms("1h30m"), Some(5_400_000));
        assert_eq!(parse_duration_ms("1m100ms"), Some(60_100));
        assert_eq!(parse_duration_ms("5ms"), Some(5));
        assert_eq!(parse_duration_ms("30m1h"), None);
        assert_eq!(parse_duration_ms("5"), Some(5_000));
        assert_eq!(parse_duration_ms("h"), None);
        assert_eq!(parse_duration_ms(""), None);
    }

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        assert_eq!(parse_time_ms("1435781430.781"), Some(1_435_781_430_781));
        assert_eq!(parse_time_ms("2015-07-01T20:10:30.781Z"), Some(1_435_781_430_781));
        assert_eq!(parse_time_ms("1e30"), Some(i64::MAX));
        assert_eq!(parse_time_ms("yesterday"), None);
    }
}
