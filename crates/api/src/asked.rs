//! Exemplars by question: `exemplars?query=EXPR` with `near`, `first`, `per_series`.

use serde::Serialize;
use throughline_correlate::exemplar::{self, Pick, Question};
use throughline_exec::Cancellation;
use throughline_model::link::LinkState;
use throughline_scan::metrics::MetricSource;
use throughline_store::TimeRange;

use crate::Api;
use crate::blocking::budget;
use crate::failure::Failure;
use crate::native::{Answer, EXEMPLARS, HOUR_NS};
use crate::params::Params;

const NS_PER_MS: i64 = 1_000_000;

#[derive(Serialize)]
struct AskedAnswer {
    range: TimeRange,
    limit: usize,
    /// How many of those shown have a trace that is here.
    resolving: usize,
    #[serde(flatten)]
    answer: exemplar::Answer,
    partial: Vec<String>,
}

fn pick(params: &Params) -> Result<Pick, Failure> {
    let first = params.flag("first")?;
    match (params.fraction("near")?, first) {
        (Some(_), true) => {
            Err(Failure::parameter("first", "near and first are two questions; ask one of them"))
        }
        (Some(quantile), false) => Ok(Pick::Near(quantile)),
        (None, true) => Ok(Pick::First),
        (None, false) => Ok(Pick::All),
    }
}

pub(crate) async fn exemplars(api: &Api, params: &Params) -> Answer {
    if let Some(name) =
        ["metric", "service", "attribute"].into_iter().find(|name| params.text(name).is_some())
    {
        let message = format!("{name} cannot stand beside query; write it into the expression");
        return Err(Failure::parameter(name, message));
    }
    let text = params.owned("query").unwrap_or_default();
    let expr =
        throughline_promql::parse(&text).map_err(|error| Failure::parameter("query", error.to_string()))?;
    let (pick, per_series) = (pick(params)?, params.flag("per_series")?);
    let range = params.range(HOUR_NS)?;
    let limit = params.limit(EXEMPLARS.0, EXEMPLARS.1)?;
    let prometheus = api.context.prometheus.clone();
    let clock = api.context.clock.clone();
    api.ask(move |snapshot| {
        let budget = budget(prometheus.limits, prometheus.timeout, Cancellation::new(), clock);
        let source = MetricSource::new(snapshot.clone(), prometheus.index.clone());
        let question = Question {
            text: &text,
            expr: &expr,
            start_ms: range.start.div_euclid(NS_PER_MS),
            end_ms: range.end.div_euclid(NS_PER_MS),
            pick,
            per_series,
            limit,
        };
        let answer = exemplar::ask(&question, &prometheus.engine, &source, snapshot, &budget)
            .map_err(|error| Failure::parameter("query", error.to_string()))?;
        let is_here = |picked: &&exemplar::Picked| picked.exemplar.link == Some(LinkState::Resolved);
        let resolving = answer.exemplars.iter().filter(is_here).count();
        Ok(AskedAnswer { range, limit, resolving, answer, partial: source.partial() })
    })
    .await
}
