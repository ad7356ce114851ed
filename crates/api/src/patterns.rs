//! The handler of the native API that lists patterns of log lines.

use axum::extract::{Query, State};
use serde::Serialize;
use throughline_store::{Found, Pattern, PatternQuery, TimeRange};

use crate::Api;
use crate::native::{Answer, HOUR_NS};
use crate::params::Params;

/// A screenful by default; JSON of some MB at most.
const PATTERNS: (usize, usize) = (50, 5_000);
/// A chart's worth of buckets by default.
const STEP_NS: i64 = 60_000_000_000;

#[derive(Serialize)]
struct PatternsAnswer {
    range: TimeRange,
    step_ns: i64,
    limit: usize,
    patterns: Vec<Pattern>,
    partial: Vec<String>,
}

pub(crate) async fn patterns(State(api): State<Api>, Query(pairs): Query<Vec<(String, String)>>) -> Answer {
    let known = ["service", "new_since", "step", "start", "end", "limit"];
    let params = Params::new(pairs, &known, api.now())?;
    let new_since = params.since("new_since")?;
    let mut range = params.range(HOUR_NS)?;
    if let (Some(since), None) = (new_since, params.text("start")) {
        // What is new since then was seen since then.
        range.start = since.min(range.end.saturating_sub(1));
    }
    let query = PatternQuery {
        range,
        service: params.owned("service"),
        new_since,
        step_ns: params.duration("step")?.unwrap_or(STEP_NS),
        limit: params.limit(PATTERNS.0, PATTERNS.1)?,
    };
    api.ask(move |snapshot| {
        let Found { items: patterns, partial } = snapshot.patterns(&query)?;
        Ok(PatternsAnswer { range, step_ns: query.step_ns(), limit: query.limit, patterns, partial })
    })
    .await
}
