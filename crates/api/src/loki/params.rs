//! Parameters of Loki's API: from the query string and a form, to typed values. Parameters that are not known are taken.

use axum::extract::{FromRequest, Request};
use throughline_correlate::units::parse_rfc3339;
use throughline_exec::Matcher;
use throughline_exec::log::Direction;
use throughline_logql::ast::LogExpr;
use throughline_logql::parse::{parse_log, parse_selector};
use throughline_store::TimeRange;

use super::Loki;
use super::reply::Refusal;
use crate::prometheus::params::{form_pairs, parse_duration_ms};

const SECOND_NS: i64 = 1_000_000_000;

/// How far back a query looks that names no start.
const SINCE_NS: i64 = 3_600 * SECOND_NS;

/// Lines of one answer, unless asked for otherwise.
const LIMIT: u64 = 100;

/// Lines of one answer at most: as many as stock Grafana asks for at most.
const LIMIT_MAX: u64 = 5_000;

/// Points of one series at most.
const STEPS_MAX: i64 = 11_000;

/// The decoded parameters of one request, those of the form first.
pub(super) struct Params {
    pairs: Vec<(String, String)>,
}

impl FromRequest<Loki> for Params {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &Loki) -> Result<Params, Refusal> {
        form_pairs(request).await.map(|pairs| Params { pairs }).map_err(Refusal::bad)
    }
}

impl Params {
    /// The first value of a parameter, if it is not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .filter(|text| !text.is_empty())
    }

    /// All values of a parameter.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.pairs.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    /// A time in nanoseconds since the epoch.
    pub(super) fn time_ns(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let parsed = parse_time_ns(text);
        parsed
            .map(Some)
            .ok_or_else(|| Refusal::bad(format!("could not parse '{name}' parameter: {text:?} is no time")))
    }

    /// A duration in nanoseconds.
    pub(super) fn duration_ns(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let parsed = parse_duration_ns(text);
        parsed.map(Some).ok_or_else(|| {
            Refusal::bad(format!("could not parse '{name}' parameter: {text:?} is no duration"))
        })
    }

    /// A whole number.
    pub(super) fn count(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let parsed = text.parse();
        parsed.map(Some).map_err(|_| {
            Refusal::bad(format!("could not parse '{name}' parameter: {text:?} is no whole number"))
        })
    }

    /// `limit`: lines of the answer.
    pub(super) fn limit(&self) -> Result<usize, Refusal> {
        match self.count("limit")? {
            None => Ok(LIMIT as usize),
            Some(0) => Err(Refusal::bad("limit must be a positive value")),
            Some(limit) if limit > LIMIT_MAX => Err(Refusal::bad(format!(
                "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {LIMIT_MAX})"
            ))),
            Some(limit) => Ok(limit as usize),
        }
    }

    /// `direction`, in any case.
    pub(super) fn direction(&self) -> Result<Direction, Refusal> {
        match self.text("direction").unwrap_or("backward").to_ascii_lowercase().as_str() {
            "backward" => Ok(Direction::Backward),
            "forward" => Ok(Direction::Forward),
            other => Err(Refusal::bad(format!("invalid direction '{other}'"))),
        }
    }

    /// `start` and `end`, or `since`.
    pub(super) fn window(&self, now: i64) -> Result<TimeRange, Refusal> {
        let end = self.time_ns("end")?.unwrap_or(now);
        let since = self.duration_ns("since")?.unwrap_or(SINCE_NS);
        let start = self.time_ns("start")?.unwrap_or_else(|| end.min(now).saturating_sub(since));
        if end < start {
            return Err(Refusal::bad("end timestamp must not be before or equal to start time"));
        }
        Ok(TimeRange { start, end })
    }

    /// `step` in nanoseconds, or one that gives some 250 points, and at most as many points as there may be.
    pub(super) fn step_ns(&self, range: TimeRange) -> Result<i64, Refusal> {
        let length = range.end.saturating_sub(range.start);
        let usual = (length / 250 / SECOND_NS * SECOND_NS).max(SECOND_NS);
        let step = self.duration_ns("step")?.unwrap_or(usual);
        if step <= 0 {
            return Err(Refusal::bad(
                "zero or negative query resolution step widths are not accepted. Try a positive integer",
            ));
        }
        if length / step > STEPS_MAX {
            return Err(Refusal::bad(
                "exceeded maximum resolution of 11,000 points per time series. Try decreasing the query resolution (?step=XX)",
            ));
        }
        Ok(step)
    }

    /// The query's text.
    pub(super) fn query(&self) -> Result<&str, Refusal> {
        self.text("query")
            .ok_or_else(|| Refusal::bad("parse error : syntax error: unexpected $end: the query is empty"))
    }

    /// `query` as a log query.
    pub(super) fn log_query(&self) -> Result<LogExpr, Refusal> {
        Ok(parse_log(self.query()?)?)
    }

    /// `query` as the selector of a log query without stages.
    pub(super) fn stream_query(&self) -> Result<Vec<Matcher>, Refusal> {
        let log = self.log_query()?;
        match log.stages.is_empty() {
            true => Ok(log.matchers),
            false => Err(Refusal::bad("only label matchers are supported")),
        }
    }

    /// `query` as a selector; nothing selects all streams, and so does one without conditions, but not one whose conditions
    /// mean nothing.
    pub(super) fn selector(&self) -> Result<Vec<Matcher>, Refusal> {
        match self.text("query").map(str::trim) {
            None | Some("" | "{}") => Ok(Vec::new()),
            Some(_) => self.stream_query(),
        }
    }

    /// The selectors of `match[]` and `match`; none select all streams.
    pub(super) fn selectors(&self) -> Result<Vec<Vec<Matcher>>, Refusal> {
        let mut texts = self.all("match[]");
        texts.extend(self.all("match"));
        if texts.is_empty() {
            texts.push("{}");
        }
        texts.into_iter().map(selector).collect()
    }
}

fn selector(text: &str) -> Result<Vec<Matcher>, Refusal> {
    Ok(parse_selector(text)?)
}

/// Seconds with a fraction, whole seconds of at most ten digits, nanoseconds, or RFC 3339.
fn parse_time_ns(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<i64>() {
        let digits = text.trim_start_matches('-').len();
        return Some(if digits <= 10 { number.saturating_mul(SECOND_NS) } else { number });
    }
    if text.contains('.')
        && let Ok(seconds) = text.parse::<f64>()
    {
        return seconds.is_finite().then(|| (seconds * SECOND_NS as f64).round() as i64);
    }
    parse_rfc3339(text)
}

/// Seconds as a number, or a duration with units.
fn parse_duration_ns(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        let ns = seconds * SECOND_NS as f64;
        return (ns.is_finite() && ns.abs() < i64::MAX as f64).then_some(ns as i64);
    }
    parse_duration_ms(text)?.checked_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params { pairs: pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect() }
    }

    #[test]
    fn times_are_told_by_their_digits() {
        assert_eq!(parse_time_ns("1700000000"), Some(1_700_000_000_000_000_000));
        assert_eq!(parse_time_ns("4000000000"), Some(4_000_000_000_000_000_000));
        assert_eq!(parse_time_ns("1700000000000"), Some(1_700_000_000_000));
        assert_eq!(parse_time_ns("1700000000.5"), Some(1_700_000_000_500_000_000));
        assert_eq!(parse_time_ns("2023-11-14T22:13:20.250Z"), Some(1_700_000_000_250_000_000));
        assert_eq!(parse_time_ns("yesterday"), None);
        assert_eq!(parse_duration_ns("0.25"), Some(250_000_000));
        assert_eq!(parse_duration_ns("1000ms"), Some(SECOND_NS));
        assert_eq!(parse_duration_ns("1h5m"), Some(3_900 * SECOND_NS));
    }

    #[test]
    fn windows_and_steps_have_lokis_defaults() {
        let now = 10_000 * SECOND_NS;
        let range = params(&[]).window(now).expect("good");
        assert_eq!((range.start, range.end), (6_400 * SECOND_NS, now));
        assert_eq!(params(&[]).step_ns(range).expect("good"), 14 * SECOND_NS);
        let range = params(&[("end", "9000"), ("since", "10m")]).window(now).expect("good");
        assert_eq!((range.start, range.end), (8_400 * SECOND_NS, 9_000 * SECOND_NS));
        assert_eq!(params(&[("step", "1000ms")]).step_ns(range).expect("good"), SECOND_NS);
        assert!(params(&[("start", "5"), ("end", "4")]).window(now).is_err());
        assert!(params(&[("step", "0")]).step_ns(range).is_err());
        let year = TimeRange { start: 0, end: 365 * 86_400 * SECOND_NS };
        assert!(params(&[("step", "60")]).step_ns(year).is_err());
        assert!(params(&[("limit", "0")]).limit().is_err());
        assert!(params(&[("limit", "5001")]).limit().is_err());
        assert_eq!(params(&[("direction", "FORWARD")]).direction().expect("good"), Direction::Forward);
        assert!(params(&[("direction", "up")]).direction().is_err());
    }
}
