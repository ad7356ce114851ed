//! Parameters: from query text to typed values, or a refusal that names the parameter.
//!
//! Times are RFC 3339, Unix seconds, milliseconds or nanoseconds (told apart by their size), `now`, or relative to now
//! (`-1h`). Durations carry a unit. A parameter that a route does not know is refused: a misspelt filter must not
//! widen an answer.

use std::str::FromStr;

use throughline_correlate::units::{parse_duration, parse_rfc3339};
use throughline_model::{PatternId, TraceId};
use throughline_store::{TimeRange, Want};

use crate::failure::Failure;

/// OTLP's severity number at which each named severity starts.
const SEVERITIES: [(&str, u8); 6] =
    [("trace", 1), ("debug", 5), ("info", 9), ("warn", 13), ("error", 17), ("fatal", 21)];
/// Clocks of senders run ahead by up to this much and their data is still "until now".
const CLOCK_SKEW_NS: i64 = 60_000_000_000;

/// The signals of a trace that can be asked for one by one.
const INCLUDABLE: [&str; 3] = ["spans", "logs", "exemplars"];

/// The parameters of one request.
pub struct Params {
    pairs: Vec<(String, String)>,
    now: i64,
}

impl Params {
    /// Takes the decoded pairs; refuses what is not among the known names. Empty values count as absent.
    pub fn new(pairs: Vec<(String, String)>, known: &[&str], now: i64) -> Result<Params, Failure> {
        for (name, _) in &pairs {
            if !known.contains(&name.as_str()) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(Failure::parameter(
                    name,
                    format!("unknown parameter {name:?}; known here: {known}"),
                ));
            }
        }
        Ok(Params { pairs: pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect(), now })
    }

    /// A parameter as text; the last one where it stands several times.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A parameter as owned text.
    pub fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    fn parse<T: FromStr>(&self, name: &str, what: &str) -> Result<Option<T>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| Failure::parameter(name, format!("{name}={text:?} is not {what}")))
    }

    /// How many results: at least 1, at most `max`.
    pub fn limit(&self, default: usize, max: usize) -> Result<usize, Failure> {
        let limit = self.parse("limit", "a whole number")?.unwrap_or(default);
        if !(1..=max).contains(&limit) {
            let message = format!(
                "limit={limit} is not between 1 and {max}; narrow start and end to see more in parts"
            );
            return Err(Failure::parameter("limit", message));
        }
        Ok(limit)
    }

    /// A whole number that is not below zero.
    pub fn count(&self, name: &str) -> Result<Option<usize>, Failure> {
        self.parse(name, "a whole number")
    }

    /// `start` and `end`; where they are absent, the last `default_ns` until now.
    pub fn range(&self, default_ns: i64) -> Result<TimeRange, Failure> {
        let end = match self.text("end") {
            Some(text) => self.time("end", text)?,
            None => self.now.saturating_add(CLOCK_SKEW_NS),
        };
        let start = match self.text("start") {
            Some(text) => self.time("start", text)?,
            None => end.min(self.now).saturating_sub(default_ns),
        };
        checked_range(start, end)
    }

    /// `start` and `end`; where they are absent, all of time.
    pub fn range_or_all(&self) -> Result<TimeRange, Failure> {
        let start = self.text("start").map(|text| self.time("start", text)).transpose()?;
        let end = self.text("end").map(|text| self.time("end", text)).transpose()?;
        checked_range(start.unwrap_or(i64::MIN), end.unwrap_or(i64::MAX))
    }

    /// Another window, of two parameters that stand together; none where neither does.
    pub fn other_range(&self, start: &str, end: &str) -> Result<Option<TimeRange>, Failure> {
        let time = |name: &str| self.text(name).map(|text| self.time(name, text)).transpose();
        match (time(start)?, time(end)?) {
            (None, None) => Ok(None),
            (Some(from), Some(until)) if from < until => Ok(Some(TimeRange { start: from, end: until })),
            (Some(_), Some(_)) => Err(Failure::parameter(start, format!("{start} is not before {end}"))),
            _ => Err(Failure::parameter(start, format!("{start} and {end} stand together; give both"))),
        }
    }

    fn time(&self, name: &str, text: &str) -> Result<i64, Failure> {
        parse_time(text, self.now).ok_or_else(|| {
            let message = format!(
                "{name}={text:?} is not a time: write RFC 3339 (2026-01-31T12:00:00Z), Unix seconds, milliseconds or \
                 nanoseconds, now, or a duration before now (-1h)"
            );
            Failure::parameter(name, message)
        })
    }

    /// A moment: a time, or how long ago it was (`1h`).
    pub fn since(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match parse_duration(text) {
            Some(ago) => Ok(Some(self.now.saturating_sub(ago))),
            None => self.time(name, text).map(Some),
        }
    }

    /// A duration in nanoseconds.
    pub fn duration(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let message =
            || format!("{name}={text:?} is not a duration: write a number and a unit (500ms, 2s, 1h30m)");
        parse_duration(text).map(Some).ok_or_else(|| Failure::parameter(name, message()))
    }

    /// A quantile between 0 and 1, exclusive.
    pub fn quantile(&self) -> Result<Option<f64>, Failure> {
        self.fraction("quantile")
    }

    /// A number between 0 and 1, both excluded.
    pub fn fraction(&self, name: &str) -> Result<Option<f64>, Failure> {
        let quantile: Option<f64> = self.parse(name, "a number between 0 and 1")?;
        match quantile {
            Some(q) if !(q > 0.0 && q < 1.0) => {
                Err(Failure::parameter(name, format!("{name}={q} is not between 0 and 1; p99 is 0.99")))
            }
            other => Ok(other),
        }
    }

    /// `true` or `false`; false where absent.
    pub fn flag(&self, name: &str) -> Result<bool, Failure> {
        Ok(self.parse(name, "true or false")?.unwrap_or(false))
    }

    /// A severity by number (0 to 24) or name; 0 where absent.
    pub fn severity(&self) -> Result<u8, Failure> {
        let Some(text) = self.text("severity") else { return Ok(0) };
        let named = SEVERITIES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, n)| *n);
        named.or_else(|| text.parse().ok().filter(|n| *n <= 24)).ok_or_else(|| {
            let names: Vec<&str> = SEVERITIES.iter().map(|(name, _)| *name).collect();
            let message =
                format!("severity={text:?} is neither a number from 0 to 24 nor one of {}", names.join(", "));
            Failure::parameter("severity", message)
        })
    }

    /// The id of a pattern, as `patterns` shows it.
    pub fn pattern(&self) -> Result<Option<PatternId>, Failure> {
        let Some(text) = self.text("pattern") else { return Ok(None) };
        let message =
            || format!("pattern={text:?} is no id of a pattern: 16 hex digits, as patterns shows them");
        PatternId::parse(text).map(Some).ok_or_else(|| Failure::parameter("pattern", message()))
    }

    /// `status`: whether the span's status is error.
    pub fn status(&self) -> Result<Option<bool>, Failure> {
        match self.text("status") {
            None => Ok(None),
            Some("error") => Ok(Some(true)),
            Some("ok") => Ok(Some(false)),
            Some(text) => {
                Err(Failure::parameter("status", format!("status={text:?} is neither error nor ok")))
            }
        }
    }

    /// `include`: which signals of a trace, separated by commas or one by one; all where it is absent.
    pub fn include(&self) -> Result<Want, Failure> {
        let given = self.pairs.iter().filter(|(name, _)| name == "include");
        let mut want = Want { spans: false, logs: false, exemplars: false };
        for name in given.flat_map(|(_, names)| names.split(',')) {
            match name.trim() {
                "spans" => want.spans = true,
                "logs" => want.logs = true,
                "exemplars" => want.exemplars = true,
                unknown => {
                    let known = INCLUDABLE.join(", ");
                    let message = format!(
                        "include={unknown:?} is not a signal of a trace; write any of {known}, separated by commas"
                    );
                    return Err(Failure::parameter("include", message));
                }
            }
        }
        Ok(if included(want).is_empty() { Want::ALL } else { want })
    }

    /// Every `attribute=key=value`.
    pub fn attributes(&self) -> Result<Vec<(String, String)>, Failure> {
        let given = self.pairs.iter().filter(|(name, _)| name == "attribute");
        given
            .map(|(_, pair)| match pair.split_once('=') {
                Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
                None => Err(Failure::parameter(
                    "attribute",
                    format!("attribute={pair:?} lacks a value: write key=value"),
                )),
            })
            .collect()
    }
}

/// The names of the signals that are wanted.
pub fn included(want: Want) -> Vec<&'static str> {
    let flags = [want.spans, want.logs, want.exemplars];
    INCLUDABLE.into_iter().zip(flags).filter_map(|(name, wanted)| wanted.then_some(name)).collect()
}

fn checked_range(start: i64, end: i64) -> Result<TimeRange, Failure> {
    if start >= end {
        return Err(Failure::parameter("start", "start is not before end; swap them or leave one out"));
    }
    Ok(TimeRange { start, end })
}

/// A time in nanoseconds since the epoch.
pub fn parse_time(text: &str, now: i64) -> Option<i64> {
    let text = text.trim();
    if text == "now" {
        return Some(now);
    }
    if let Some(before) = text.strip_prefix('-').or_else(|| text.strip_prefix("now-")) {
        return now.checked_sub(parse_duration(before)?);
    }
    if let Some(after) = text.strip_prefix("now+") {
        return now.checked_add(parse_duration(after)?);
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        // Seconds until the year 5138, then milliseconds, then nanoseconds: today's times are far from the borders.
        let number: i64 = text.parse().ok()?;
        return match text.len() {
            ..=11 => number.checked_mul(1_000_000_000),
            12..=14 => number.checked_mul(1_000_000),
            _ => Some(number),
        };
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds.is_finite().then_some((seconds * 1e9) as i64);
    }
    parse_rfc3339(text)
}

/// A trace id in any form, as it stands in a path or a parameter.
pub fn trace_id(text: &str) -> Result<TraceId, Failure> {
    TraceId::parse(text).map(|(id, _)| id).ok_or_else(|| {
        let message = format!(
            "{text:?} is not a trace id: write it as 32 or 16 hex digits, decimal, base64, UUID, X-Ray or traceparent"
        );
        Failure::parameter("id", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000_000_000_000;

    fn params(pairs: &[(&str, &str)]) -> Params {
        let known = [
            "limit",
            "start",
            "end",
            "severity",
            "status",
            "quantile",
            "attribute",
            "min_duration",
            "include",
            "new_since",
        ];
        let pairs = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Params::new(pairs, &known, NOW).expect("known")
    }

    #[test]
    fn times_in_every_form() {
        for text in [
            "1790000000",
            "1790000000000",
            "1790000000000000000",
            "now",
            "2026-09-21T14:13:20Z",
            "1790000000.0",
        ] {
            assert_eq!(parse_time(text, NOW), Some(NOW), "{text}");
        }
        assert_eq!(parse_time("-1h", NOW), Some(NOW - 3_600_000_000_000));
        assert_eq!(parse_time("now-90s", NOW), Some(NOW - 90_000_000_000));
        for text in ["yesterday", "", "-5", "1e400", "--1h"] {
            assert_eq!(parse_time(text, NOW), None, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_name() {
        assert!(Params::new(vec![("servce".to_owned(), "x".to_owned())], &["service"], NOW).is_err());
        assert!(params(&[("limit", "0")]).limit(10, 100).is_err());
        assert!(params(&[("limit", "101")]).limit(10, 100).is_err());
        assert!(params(&[("start", "now"), ("end", "-1h")]).range(1).is_err());
        assert!(params(&[("severity", "loud")]).severity().is_err());
        assert!(params(&[("status", "unset")]).status().is_err());
        assert!(params(&[("quantile", "99")]).quantile().is_err());
        assert!(params(&[("attribute", "x")]).attributes().is_err());
        assert!(params(&[("min_duration", "5")]).duration("min_duration").is_err());
        assert!(params(&[("new_since", "yesterday")]).since("new_since").is_err());
        assert!(params(&[("include", "spans,events")]).include().is_err());
        assert!(params(&[("include", "spans,")]).include().is_err());
    }

    #[test]
    fn what_can_be_read_is_typed() {
        assert_eq!(params(&[]).limit(10, 100).ok(), Some(10));
        for hour_ago in ["1h", "-1h", "1789996400"] {
            let since = params(&[("new_since", hour_ago)]).since("new_since").ok();
            assert_eq!(since, Some(Some(NOW - 3_600_000_000_000)), "{hour_ago}");
        }
        assert_eq!(params(&[]).since("new_since").ok(), Some(None));
        assert_eq!(params(&[]).include().ok(), Some(Want::ALL));
        assert_eq!(params(&[("include", "")]).include().ok(), Some(Want::ALL));
        assert_eq!(params(&[("include", "spans")]).include().ok(), Some(Want::SPANS));
        let two = Some(Want { spans: false, logs: true, exemplars: true });
        assert_eq!(params(&[("include", "logs, exemplars")]).include().ok(), two);
        assert_eq!(params(&[("include", "exemplars"), ("include", "logs")]).include().ok(), two);
        assert_eq!(params(&[("severity", "WARN")]).severity().ok(), Some(13));
        assert_eq!(params(&[("severity", "17")]).severity().ok(), Some(17));
        let range = params(&[("start", "-1h"), ("end", "now")]).range(1).expect("range");
        assert_eq!((range.start, range.end), (NOW - 3_600_000_000_000, NOW));
    }
}
