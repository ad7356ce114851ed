//! TraceQL's metrics: over a range, and for one moment.

use axum::extract::State;
use axum::http::HeaderMap;
use throughline_correlate::units::parse_rfc3339;
use throughline_traceql::answer;
use throughline_traceql::{Engine, MetricsParams, checked};
use throughline_wire::tempo::{FoundExemplar, FoundSeries, Inspected, MetricsAnswer, MetricsRequest};

use super::reply::{Answer, Encoding, json_answer, metrics_json};
use crate::prometheus::params::parse_duration_ms;
use crate::traces::params::{Params, seconds_ns};
use crate::traces::values::attributes_of;
use crate::traces::{Refusal, Traces};

const SECOND_NS: i64 = 1_000_000_000;
/// How far back a query looks that names no window.
const SINCE_NS: i64 = 3_600 * SECOND_NS;
/// Intervals of one series at most.
const STEPS_MAX: i64 = 11_000;
/// Exemplars of one answer, unless asked for fewer, and at most.
const EXEMPLARS: usize = 100;
/// Series of one answer, unless asked for fewer, and at most.
const SERIES: usize = 1_000;

/// A query for numbers as it is asked.
pub(super) struct Metrics {
    query: String,
    params: MetricsParams,
}

/// What is asked for: zeros leave it to the server.
struct Asked {
    query: String,
    range: (i64, i64),
    step_ns: i64,
    exemplars: u64,
    series_max: u64,
    now_ns: i64,
}

impl Metrics {
    fn of_params(params: &Params, is_instant: bool, now: i64) -> Result<Metrics, Refusal> {
        let query = params.any(&["q", "query"]).unwrap_or_default().to_owned();
        let count = |name: &str| {
            let count = params.whole(name)?.unwrap_or(0);
            u64::try_from(count).map_err(|_| Refusal::bad(format!("invalid {name}: {count} is negative")))
        };
        let step_ns = match params.text("step") {
            None => 0,
            Some(text) => step_of(text)?,
        };
        let is_instant = is_instant || params.flag("instant")?;
        let (exemplars, series_max) = (count("exemplars")?, count("maxSeries")?);
        let range = range_of(params, now)?;
        Metrics::new(Asked { query, range, step_ns, exemplars, series_max, now_ns: now }, is_instant)
    }

    pub(super) fn of_request(
        request: &MetricsRequest,
        is_instant: bool,
        now: i64,
    ) -> Result<Metrics, Refusal> {
        let time = |ns: u64| i64::try_from(ns).ok().filter(|ns| *ns > 0);
        let end = time(request.end).unwrap_or(now);
        let start = time(request.start).unwrap_or_else(|| end.saturating_sub(SINCE_NS));
        let asked = Asked {
            query: request.query.clone(),
            range: (start, end),
            step_ns: i64::try_from(request.step).unwrap_or(0),
            exemplars: u64::from(request.exemplars),
            series_max: u64::from(request.max_series),
            now_ns: now,
        };
        Metrics::new(asked, is_instant)
    }

    fn new(asked: Asked, is_instant: bool) -> Result<Metrics, Refusal> {
        let Asked { query, range: (start_ns, end_ns), step_ns, exemplars, series_max, now_ns } = asked;
        if end_ns <= start_ns {
            let message = format!("end must be greater than start. received start={start_ns} end={end_ns}");
            return Err(Refusal::bad(message));
        }
        let at_most = |asked: u64, most: usize| match usize::try_from(asked) {
            Ok(0) | Err(_) => most,
            Ok(asked) => asked.min(most),
        };
        let series_max = at_most(series_max, SERIES);
        let params = MetricsParams { start_ns, end_ns, step_ns: 0, exemplars: 0, series_max };
        if is_instant {
            return Ok(Metrics { query, params });
        }
        let step_ns = if step_ns == 0 { usual_step(end_ns.saturating_sub(start_ns)) } else { step_ns };
        let exemplars = at_most(exemplars, EXEMPLARS);
        let params = MetricsParams { step_ns, exemplars, ..params }.aligned(now_ns);
        let steps = params.end_ns.saturating_sub(params.start_ns) / step_ns;
        if steps > STEPS_MAX {
            let message =
                format!("{steps} steps are more than {STEPS_MAX}; choose a longer step or a shorter range");
            return Err(Refusal::bad(message));
        }
        Ok(Metrics { query, params })
    }

    /// Runs the query.
    pub(super) async fn run(self, traces: &Traces) -> Result<MetricsAnswer, Refusal> {
        let query = checked(&self.query)?;
        let params = self.params;
        let answer = traces.ask(move |source, budget| {
            let answer = Engine.metrics(&query, &params, source, budget)?;
            let (spans, bytes) = budget.rows_read();
            let mut partial = source.partial();
            partial.extend(answer.notes.iter().cloned());
            if answer.is_cut {
                let most = params.series_max;
                let more = format!("there are more than {most} series; narrow the query or group by less");
                partial.push(more);
            }
            Ok(MetricsAnswer {
                series: answer.series.iter().map(found_series).collect(),
                inspected: Inspected { traces: 0, bytes, blocks: 0, spans, is_partial: !partial.is_empty() },
                partial: partial.join("; "),
            })
        });
        answer.await
    }
}

fn found_series(series: &answer::MetricSeries) -> FoundSeries {
    let ms = |ns: i64| ns.div_euclid(1_000_000);
    let exemplar = |exemplar: &answer::MetricExemplar| {
        let mut labels = attributes_of(&exemplar.labels);
        labels.retain(|(name, _)| name != "trace:id");
        labels.push(("trace:id".to_owned(), exemplar.trace_id.to_string().into()));
        FoundExemplar { labels, value: exemplar.value, time_ms: ms(exemplar.time_ns) }
    };
    let samples = series.samples.iter().filter(|(_, value)| !value.is_nan());
    FoundSeries {
        labels: attributes_of(&series.labels),
        samples: samples.map(|(time, value)| (ms(*time), *value)).collect(),
        exemplars: series.exemplars.iter().map(exemplar).collect(),
    }
}

/// `start` and `end`, or `since`.
fn range_of(params: &Params, now: i64) -> Result<(i64, i64), Refusal> {
    let time = |name: &str| {
        let Some(text) = params.text(name) else { return Ok(None) };
        let refuse = || Refusal::bad(format!("could not parse '{name}' parameter: {text:?} is not a time"));
        parse_time(text).map(Some).ok_or_else(refuse)
    };
    let since = match params.text("since") {
        None => SINCE_NS,
        Some(text) => parse_duration_ms(text).and_then(|ms| ms.checked_mul(1_000_000)).ok_or_else(|| {
            Refusal::bad(format!("could not parse 'since' parameter: {text:?} is not a duration"))
        })?,
    };
    let end = time("end")?.unwrap_or(now);
    let start = time("start")?.unwrap_or_else(|| end.min(now).saturating_sub(since));
    Ok((start, end))
}

/// Seconds with up to ten digits, nanoseconds with more, seconds with a point, or RFC 3339.
fn parse_time(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<i64>() {
        return Some(if text.len() <= 10 { seconds_ns(number) } else { number });
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds.is_finite().then_some((seconds * 1e9) as i64);
    }
    parse_rfc3339(text)
}

/// Seconds as a number, or a duration.
fn step_of(text: &str) -> Result<i64, Refusal> {
    let ns = match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() => Some((seconds * 1e9) as i64),
        Ok(_) => None,
        Err(_) => throughline_correlate::units::parse_duration(text),
    };
    match ns {
        Some(ns) if ns > 0 => Ok(ns),
        Some(_) => Err(Refusal::bad(format!("cannot parse {text:?}: step must be positive"))),
        None => Err(Refusal::bad(format!("cannot parse {text:?} to a valid duration"))),
    }
}

/// A step of which some 240 make the range, of a length that people like.
fn usual_step(range_ns: i64) -> i64 {
    const SHORT_NS: i64 = 50_000_000;
    let baseline = range_ns / 240;
    if range_ns < 60 * SECOND_NS {
        return (baseline / SHORT_NS * SHORT_NS).max(SHORT_NS);
    }
    let units = [3_600, 300, 60, 15, 5, 1].map(|seconds| seconds * SECOND_NS);
    let unit = units.into_iter().find(|unit| *unit < baseline).unwrap_or(SECOND_NS);
    (baseline / unit * unit).max(SECOND_NS)
}

pub(super) async fn query_range(State(traces): State<Traces>, headers: HeaderMap, params: Params) -> Answer {
    respond(&traces, &headers, &params, false).await
}

pub(super) async fn query(State(traces): State<Traces>, headers: HeaderMap, params: Params) -> Answer {
    respond(&traces, &headers, &params, true).await
}

async fn respond(traces: &Traces, headers: &HeaderMap, params: &Params, is_instant: bool) -> Answer {
    let answer = Metrics::of_params(params, is_instant, traces.now())?.run(traces).await?;
    Ok(match (Encoding::of(headers), is_instant) {
        (Encoding::Json, _) => json_answer(&metrics_json(&answer, is_instant)),
        (encoding, true) => encoding.answer(answer.encode_instant()),
        (encoding, false) => encoding.answer(answer.encode_range()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000 * SECOND_NS;

    fn asked(pairs: &[(&str, &str)]) -> Result<Metrics, Refusal> {
        Metrics::of_params(&Params::of(pairs), false, NOW)
    }

    #[test]
    fn times_are_told_by_their_digits() {
        for text in ["1790000000", "1790000000000000000", "1790000000.0", "2026-09-21T14:13:20Z"] {
            assert_eq!(parse_time(text), Some(NOW), "{text}");
        }
        assert_eq!(parse_time("yesterday"), None);
    }

    #[test]
    fn a_step_that_is_not_over_is_left_out() {
        let end = |pairs: &[(&str, &str)]| asked(pairs).expect("asked").params.end_ns - NOW;
        // Now is 20 s into the minute.
        assert_eq!(end(&[("step", "1m")]), -20 * SECOND_NS);
        assert_eq!(end(&[("step", "1m"), ("start", "1789999000"), ("end", "1790000600")]), -20 * SECOND_NS);
        assert_eq!(end(&[("step", "1m"), ("start", "1789999000"), ("end", "1789999970")]), -20 * SECOND_NS);
        assert_eq!(end(&[("step", "1h"), ("since", "5m")]), -800 * SECOND_NS);
        // Where there is no other, it is answered.
        assert_eq!(end(&[("step", "1m"), ("start", "1790000100"), ("end", "1790000110")]), 100 * SECOND_NS);
    }

    #[test]
    fn ranges_are_whole_steps() {
        let metrics = asked(&[("q", "{} | rate()"), ("start", "1000"), ("end", "1100"), ("step", "30s")])
            .expect("asked");
        let params = metrics.params;
        assert_eq!((params.start_ns, params.end_ns), (960 * SECOND_NS, 1_110 * SECOND_NS));
        assert_eq!((params.step_ns, params.exemplars, params.series_max), (30 * SECOND_NS, 100, 1_000));
        let hour = asked(&[("query", "{} | rate()"), ("exemplars", "7")]).expect("asked").params;
        assert_eq!((hour.step_ns, hour.exemplars), (15 * SECOND_NS, 7));
        let day = asked(&[("since", "1d")]).expect("asked").params;
        assert_eq!(day.step_ns, 300 * SECOND_NS);
        assert_eq!(usual_step(10 * SECOND_NS), 50_000_000);
        for bad in [
            [("start", "20"), ("end", "10")],
            [("step", "0"), ("q", "")],
            [("step", "-1s"), ("q", "")],
            [("step", "1ms"), ("since", "1h")],
            [("start", "soon"), ("end", "10")],
            [("exemplars", "-1"), ("q", "")],
        ] {
            assert!(asked(&bad).is_err(), "{bad:?}");
        }
    }
}
