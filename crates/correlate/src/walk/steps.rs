//! The steps of a walk, each a question to the snapshot and a choice among what it answers.

use throughline_model::TraceId;
use throughline_model::link::LinkState;
use throughline_model::record::{Exemplar, TraceSummary};
use throughline_store::{Error, SeriesQuery, Snapshot, TimeRange, TraceQuery, Want};

use super::{Alternative, ExemplarFound, LogLine, LogsFound, Relation, Step, TraceFound, WalkRequest};
use crate::cause::{self, Cause};
use crate::command::{quoted, range_options};
use crate::contrast::{self, TRACES_COMPARED, Traits};
use crate::spike::{self, Finding, Spike};
use crate::trace_view::{Culprit, TraceView};
use crate::units::{rfc3339, three_digits};

const SECOND_NS: i64 = 1_000_000_000;
/// How many series are looked at.
const SERIES_MAX: usize = 5_000;
/// How many exemplars of the spike are looked at.
const EXEMPLARS_MAX: usize = 2_000;
/// How many traces one search for the slowest returns.
const TRACES_MAX: usize = 200;
/// How often the search for the slowest is repeated with a higher floor, when it met its limit.
const CLIMBS_MAX: usize = 6;
/// How many log lines a walk carries.
const LINES_MAX: usize = 20;
/// How many alternatives a walk names.
const ALTERNATIVES_MAX: usize = 10;
/// Fewer quiet traces than this before the spike are filled up with fast ones from within it.
const QUIET_MIN: usize = 10;
/// What a walk reads of a trace; it has its exemplars already.
const TREE_AND_LOGS: Want = Want { spans: true, logs: true, exemplars: false };

pub(super) struct Walker<'a> {
    snapshot: &'a Snapshot,
    request: &'a WalkRequest,
    partial: Vec<String>,
}

impl<'a> Walker<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, request: &'a WalkRequest) -> Walker<'a> {
        Walker { snapshot, request, partial: Vec::new() }
    }

    /// What could not be read, each reason once.
    pub(super) fn partial(mut self) -> Vec<String> {
        self.partial.sort_unstable();
        self.partial.dedup();
        self.partial
    }

    pub(super) fn spike(&mut self) -> Result<(Step<Spike>, Vec<Alternative>), Error> {
        let request = self.request;
        let found = self.snapshot.points(&SeriesQuery {
            range: request.range,
            metric: request.metric.clone(),
            service: request.service.clone(),
            attributes: Vec::new(),
            limit: SERIES_MAX,
        })?;
        self.partial.extend(found.partial);
        let findings = spike::find(&found.items, request.range, request.quantile);
        let reason = match findings.first() {
            None => self.no_histogram(found.items.len()),
            Some(highest) => no_shift(highest, findings.len(), request.quantile),
        };
        let mut spikes = findings.into_iter().filter_map(|finding| finding.spike);
        let Some(first) = spikes.next() else {
            let command =
                self.walk_command(request.service.as_deref(), request.metric.as_deref(), request.range);
            return Ok((Step::unresolved(reason, command), Vec::new()));
        };
        let alternatives = spikes
            .take(ALTERNATIVES_MAX)
            .map(|spike| Alternative {
                service: spike.curve.service,
                metric: spike.curve.metric,
                before_ms: spike.before_ms,
                after_ms: spike.after_ms,
                factor: spike.factor,
                start: spike.start,
            })
            .collect();
        let command = format!(
            "throughline series --metric {} --service {} --quantile {} {}",
            quoted(&first.curve.metric),
            quoted(&first.curve.service),
            request.quantile,
            range_options(TimeRange { start: first.quiet_start, end: first.end })
        );
        Ok((Step::resolved(first, command), alternatives))
    }

    fn no_histogram(&self, series: usize) -> String {
        let of = match (&self.request.service, &self.request.metric) {
            (Some(service), Some(metric)) => format!(" {metric} of {service}"),
            (Some(service), None) => format!(" of {service}"),
            (None, Some(metric)) => format!(" {metric}"),
            (None, None) => String::new(),
        };
        format!(
            "no latency histogram{of} has values from {} to {} ({series} series were looked at)",
            rfc3339(self.request.range.start / SECOND_NS * SECOND_NS),
            rfc3339(self.request.range.end / SECOND_NS * SECOND_NS)
        )
    }

    pub(super) fn exemplar(&mut self, spike: Option<&Spike>) -> Result<Step<ExemplarFound>, Error> {
        let Some(spike) = spike else {
            return Ok(Step::unresolved("there is no spike to look in", "throughline exemplars".to_owned()));
        };
        let window = TimeRange { start: spike.start, end: spike.end };
        let command = format!(
            "throughline exemplars --metric {} --service {} {}",
            quoted(&spike.curve.metric),
            quoted(&spike.curve.service),
            range_options(window)
        );
        let found = self.snapshot.exemplars(&SeriesQuery {
            range: window,
            metric: Some(spike.curve.metric.clone()),
            service: Some(spike.curve.service.clone()),
            attributes: Vec::new(),
            limit: EXEMPLARS_MAX,
        })?;
        self.partial.extend(found.partial);
        let scale = spike::unit_ms(&spike.curve.unit, &spike.curve.metric).unwrap_or(1.0);
        let is_here = |exemplar: &Exemplar| exemplar.link == Some(LinkState::Resolved);
        let total = found.items.len();
        let resolving = found.items.iter().filter(|exemplar| is_here(exemplar)).count();
        let mut ranked = found.items;
        ranked.sort_by(|a, b| {
            nearness(a, scale, spike.after_ms).total_cmp(&nearness(b, scale, spike.after_ms))
        });
        let nearest_link = ranked.first().and_then(|exemplar| exemplar.link.clone());
        let Some(exemplar) = ranked.into_iter().find(is_here) else {
            let reason = if total == 0 {
                format!("{} has no exemplar within the spike", spike.curve.metric)
            } else {
                let state = nearest_link.as_ref().map_or("unknown", LinkState::name);
                format!(
                    "none of the {total} exemplars within the spike has its trace here; the nearest is {state}"
                )
            };
            return Ok(Step { link: nearest_link, ..Step::unresolved(reason, command) });
        };
        let value_ms = exemplar.value * scale;
        let link = exemplar.link.clone();
        let step = Step::resolved(ExemplarFound { exemplar, value_ms, total, resolving }, command);
        Ok(Step {
            link,
            reason: Some(format!("{resolving} of {total} exemplars within the spike resolve")),
            ..step
        })
    }

    pub(super) fn trace(
        &mut self,
        spike: Option<&Spike>,
        exemplar: Option<&ExemplarFound>,
    ) -> Result<Step<TraceFound>, Error> {
        let Some(spike) = spike else {
            return Ok(Step::unresolved("there is no spike to look in", "throughline traces".to_owned()));
        };
        let of_exemplar = match exemplar.and_then(|found| found.exemplar.trace_id) {
            Some(id) => self.snapshot.trace_summary(id)?,
            None => None,
        };
        let mut candidates = self.slow_traces(spike)?;
        if let Some(known) = &of_exemplar {
            candidates.retain(|c| c.root_name == known.root_name && c.root_service == known.root_service);
            if candidates.iter().all(|c| c.trace_id != known.trace_id) {
                candidates.push(known.clone());
            }
        }
        let total = candidates.len();
        let slowest = candidates.into_iter().max_by_key(|c| (c.duration_ns, std::cmp::Reverse(c.trace_id)));
        let Some(summary) = slowest else {
            let window = TimeRange { start: spike.start, end: spike.end };
            let service = quoted(&spike.curve.service);
            let command = format!("throughline traces --service {service} {}", range_options(window));
            let reason = format!("no trace of {} within the spike is stored", spike.curve.service);
            return Ok(Step::unresolved(reason, command));
        };
        let is_exemplar = of_exemplar.is_some_and(|known| known.trace_id == summary.trace_id);
        let command = format!("throughline trace {}", summary.trace_id);
        let step = Step::resolved(TraceFound { summary, is_exemplar, candidates: total }, command);
        Ok(Step { link: Some(LinkState::Resolved), ..step })
    }

    /// Traces of the spike's service and window that are slower than the middle between before and after. Where there
    /// are more than one search returns, the floor rises to the slowest found until all above it fit.
    fn slow_traces(&mut self, spike: &Spike) -> Result<Vec<TraceSummary>, Error> {
        let mut floor_ns = middle_ns(spike);
        let mut kept: Vec<TraceSummary> = Vec::new();
        for _ in 0..CLIMBS_MAX {
            let found = self.snapshot.search_traces(&TraceQuery {
                range: window_of_starts(spike),
                service: Some(spike.curve.service.clone()),
                operation: None,
                min_duration_ns: Some(floor_ns),
                max_duration_ns: None,
                error: None,
                limit: TRACES_MAX,
            })?;
            self.partial.extend(found.partial);
            let met_limit = found.items.len() >= TRACES_MAX;
            let slowest = found.items.iter().map(|summary| summary.duration_ns).max().unwrap_or(0);
            kept.extend(found.items);
            if !met_limit || slowest <= floor_ns {
                break;
            }
            floor_ns = slowest;
        }
        kept.sort_by_key(|summary| summary.trace_id);
        kept.dedup_by_key(|summary| summary.trace_id);
        Ok(kept)
    }

    pub(super) fn view(&mut self, id: Option<TraceId>) -> Result<Option<TraceView>, Error> {
        let Some(id) = id else { return Ok(None) };
        let view = TraceView::read(self.snapshot, id, TREE_AND_LOGS)?;
        self.partial.extend(view.partial.iter().cloned());
        Ok(Some(view).filter(|view| !view.is_empty()))
    }

    pub(super) fn culprit(&self, view: Option<&TraceView>) -> Step<Culprit> {
        let Some(view) = view else {
            return Step::unresolved("there is no trace to look in", "throughline trace ID".to_owned());
        };
        let command = format!("throughline trace {}", view.trace_id);
        match &view.latency_culprit {
            Some(culprit) => {
                let command = format!("{command} --span {}", culprit.span_id);
                Step::resolved(culprit.clone(), command)
            }
            None => Step::unresolved("the trace's spans have no duration, so no span stands out", command),
        }
    }

    pub(super) fn logs(&self, view: Option<&TraceView>, culprit: Option<&Culprit>) -> Step<LogsFound> {
        let (Some(view), Some(culprit)) = (view, culprit) else {
            return Step::unresolved("there is no span to look at", "throughline logs --trace ID".to_owned());
        };
        let below = view.descendants(culprit.index);
        let mut lines: Vec<LogLine> = Vec::new();
        for (index, at) in view.spans.iter().enumerate() {
            let relation = match index {
                _ if index == culprit.index => Relation::Span,
                _ if below.contains(&index) => Relation::Below,
                _ => Relation::Trace,
            };
            lines.extend(at.logs.iter().map(|log| LogLine { relation, log: log.clone() }));
        }
        lines.extend(view.logs.iter().map(|log| LogLine { relation: Relation::Trace, log: log.clone() }));
        lines.sort_by_key(|line| (line.relation, line.log.time));
        let total = lines.len();
        let own = lines.iter().filter(|line| line.relation == Relation::Span).count();
        let command = format!("throughline logs --trace {}", view.trace_id);
        if total == 0 {
            return Step::unresolved("no log record carries this trace's id", command);
        }
        lines.truncate(LINES_MAX);
        let step = Step::resolved(LogsFound { lines, total }, command.clone());
        if own == 0 {
            let reason =
                format!("none of the trace's {total} log records was written within the culprit span");
            return Step { reason: Some(reason), link: Some(LinkState::Resolved), ..step };
        }
        let command = format!("{command} --span {}", culprit.span_id);
        let reason = format!("{own} of the span itself, {total} in the whole trace");
        Step { command, reason: Some(reason), link: Some(LinkState::Resolved), ..step }
    }

    pub(super) fn cause(
        &mut self,
        spike: Option<&Spike>,
        view: Option<&TraceView>,
        culprit: Option<&Culprit>,
    ) -> Result<Step<Cause>, Error> {
        let command = self.walk_command(
            spike.map(|s| s.curve.service.as_str()).or(self.request.service.as_deref()),
            spike.map(|s| s.curve.metric.as_str()).or(self.request.metric.as_deref()),
            self.request.range,
        );
        let (Some(spike), Some(view), Some(culprit)) = (spike, view, culprit) else {
            return Ok(Step::unresolved("there is no culprit to explain", command));
        };
        let (slow, quiet) = self.samples(spike, culprit)?;
        let cause = cause::explain(view, culprit, &slow, &quiet);
        let explained = cause.is_explained();
        let reason = (!explained).then(|| {
            "no attribute, status or log line of the culprit names a known mechanism, and slow traces do not differ \
             from quiet ones"
                .to_owned()
        });
        Ok(Step { resolved: explained, reason, ..Step::resolved(cause, command) })
    }

    /// The traits of slow traces within the spike and of quiet ones before it, of the culprit's operation.
    fn samples(&mut self, spike: &Spike, culprit: &Culprit) -> Result<(Vec<Traits>, Vec<Traits>), Error> {
        let border_ns = middle_ns(spike).min(culprit.duration_ns / 2).max(1);
        let within = window_of_starts(spike);
        let before = TimeRange { start: self.request.range.start, end: within.start };
        let slow = self.sample(culprit, within, Some(border_ns), None, TRACES_COMPARED)?;
        let mut quiet = self.sample(culprit, before, None, Some(border_ns - 1), TRACES_COMPARED)?;
        if quiet.len() < QUIET_MIN {
            let missing = TRACES_COMPARED - quiet.len();
            quiet.extend(self.sample(culprit, within, None, Some(border_ns - 1), missing)?);
        }
        Ok((slow, quiet))
    }

    fn sample(
        &mut self,
        culprit: &Culprit,
        range: TimeRange,
        min_duration_ns: Option<i64>,
        max_duration_ns: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Traits>, Error> {
        let found = self.snapshot.search_traces(&TraceQuery {
            range,
            service: Some(culprit.service.clone()),
            operation: Some(culprit.name.clone()),
            min_duration_ns,
            max_duration_ns,
            error: None,
            limit,
        })?;
        self.partial.extend(found.partial);
        let mut traits = Vec::with_capacity(found.items.len());
        for summary in found.items {
            let view = TraceView::read(self.snapshot, summary.trace_id, TREE_AND_LOGS)?;
            if !view.is_empty() {
                traits.push(contrast::traits(&view, &culprit.service, &culprit.name));
            }
        }
        Ok(traits)
    }

    /// The command that walks the same way again. What comes after this snapshot would not have been in it.
    fn walk_command(&self, service: Option<&str>, metric: Option<&str>, range: TimeRange) -> String {
        let range = TimeRange { end: range.end.min(self.snapshot.taken_at()).max(range.start), ..range };
        let mut command = "throughline walk".to_owned();
        if let Some(service) = service {
            command += &format!(" --service {}", quoted(service));
        }
        if let Some(metric) = metric {
            command += &format!(" --metric {}", quoted(metric));
        }
        command + " " + &range_options(range)
    }
}

/// How far an exemplar lies from the quantile: those at or above it first, nearest first, then those below.
fn nearness(exemplar: &Exemplar, scale: f64, quantile_ms: f64) -> f64 {
    const BELOW: f64 = 1e12;
    let distance = exemplar.value * scale - quantile_ms;
    if distance >= 0.0 { distance } else { BELOW - distance }
}

fn middle_ns(spike: &Spike) -> i64 {
    ((spike.before_ms + spike.after_ms) / 2.0 * 1e6) as i64
}

/// A span is measured at its end, so those of the spike started earlier by up to their duration.
fn window_of_starts(spike: &Spike) -> TimeRange {
    let earlier_ns = (spike.after_ms * 1e6) as i64;
    TimeRange { start: spike.start.saturating_sub(earlier_ns), end: spike.end }
}

fn no_shift(highest: &Finding, looked_at: usize, quantile: f64) -> String {
    let values = highest.curve.steps.iter().map(|step| step.value_ms);
    let (low, high) = values.fold((f64::MAX, 0f64), |(low, high), v| (low.min(v), high.max(v)));
    format!(
        "no quantile rose clearly among {looked_at} service metrics; p{} of {} of {} went from {} to {} ms",
        three_digits(quantile * 100.0),
        highest.curve.metric,
        highest.curve.service,
        three_digits(low),
        three_digits(high)
    )
}
