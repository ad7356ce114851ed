//! What illustrates a suspicion without adding to it: how the metrics of the service moved, an exemplar that leads to a trace, and the
//! span that stands for the difference. What there is none of is said, with the reason.

use std::collections::{BTreeSet, HashMap};

use throughline_model::TraceId;
use throughline_model::link::LinkState;
use throughline_model::record::Exemplar;
use throughline_store::{Error, SeriesQuery, TimeRange};

use super::errors::{Change, Rule};
use super::evidence::{Words, bare, percent, quoted, range_options, round};
use super::latency::Slow;
use super::side::Span;
use super::vocabulary::Feature;
use super::{Evidence, EvidenceKind};
use crate::reconcile::{Counts, DERIVED};
use crate::spike::unit_ms;
use crate::units::{rfc3339, three_digits};

/// Exemplars that are looked at to find one that resolves.
const EXEMPLARS_MAX: usize = 200;

/// What a suspicion is about, for illustration.
#[derive(Clone, Copy)]
pub(super) enum Subject<'a> {
    /// A place that spends more time.
    Slow(&'a Slow),
    /// Something that calls do otherwise.
    Rule(&'a Rule),
    /// Neither, so that no span shows it.
    Other,
}

impl<'a> Subject<'a> {
    fn spans(self) -> &'a [u32] {
        match self {
            Subject::Slow(slow) => &slow.spans,
            Subject::Rule(rule) => &rule.spans,
            Subject::Other => &[],
        }
    }
}

/// A kind of illustration that a suspect has none of, and why.
pub(super) struct Lack {
    pub(super) kind: EvidenceKind,
    pub(super) service: String,
    pub(super) reason: String,
}

impl Words<'_> {
    /// What illustrates the suspicion against a service; what is lacking is added to `lacks`.
    pub(super) fn illustrate(
        &self,
        subject: Subject<'_>,
        service: &str,
        lacks: &mut Vec<Lack>,
    ) -> Result<Vec<Evidence>, Error> {
        let mut evidence = Vec::new();
        let mut take = |kind: EvidenceKind, found: Result<Evidence, String>| match found {
            Ok(found) => evidence.push(found),
            Err(reason) => lacks.push(Lack { kind, service: service.to_owned(), reason }),
        };
        take(EvidenceKind::MetricShift, self.shift(service));
        let exemplar = self.exemplar(subject, service)?;
        let led_to = exemplar.as_ref().ok().and_then(|exemplar| exemplar.trace_id);
        take(EvidenceKind::Culprit, self.culprit(subject, led_to));
        take(EvidenceKind::Exemplar, exemplar.map(|exemplar| self.led_by(&exemplar, subject)));
        Ok(evidence)
    }

    /// How the requests of a service and their failures moved, by what was counted from every span when it came.
    fn shift(&self, service: &str) -> Result<Evidence, String> {
        let (window, baseline) = (self.found.window, self.found.baseline);
        let [of_window, of_baseline] = &self.calls;
        let counts = |calls: &HashMap<String, Counts>, range: TimeRange| -> Option<(f64, f64, f64)> {
            let counts = calls.get(service).filter(|counts| counts.requests >= 1.0)?;
            let seconds = range.end.saturating_sub(range.start).max(1) as f64 / 1e9;
            let failed = counts.errors / counts.requests.max(f64::MIN_POSITIVE);
            Some((counts.requests, counts.requests / seconds, failed))
        };
        let lacks = |side: &str| format!("{DERIVED} counted no request in the {side}");
        let (now, rate, failed) = counts(of_window, window).ok_or_else(|| lacks("window"))?;
        let (before, rate_before, failed_before) =
            counts(of_baseline, baseline).ok_or_else(|| lacks("baseline"))?;
        let sentence = format!(
            "{} requests a second, of which {} failed; {} and {} before ({DERIVED}, from every span)",
            three_digits(rate),
            percent(failed),
            three_digits(rate_before),
            percent(failed_before)
        );
        let command =
            format!("throughline reconcile --service {} {}", quoted(service), range_options(window));
        Ok(Evidence {
            metric: Some(DERIVED.to_owned()),
            now: Some(round(failed)),
            before: Some(round(failed_before)),
            calls: Some(now.round() as usize),
            baseline_calls: Some(before.round() as usize),
            ..bare(EvidenceKind::MetricShift, 0.0, sentence, command)
        })
    }

    /// The span that stands for the difference: of times the one whose own part took longest, of errors one in which they begin. One
    /// in the trace that an exemplar leads to comes first.
    fn culprit(&self, subject: Subject<'_>, led_to: Option<TraceId>) -> Result<Evidence, String> {
        let side = &self.found.now.side;
        let of_trace = |at: &u32| side.span(*at).is_some_and(|span| Some(span.row.trace) == led_to);
        let mut spans = subject.spans().to_vec();
        if let Subject::Rule(rule) = subject {
            if rule.change == Change::New {
                narrow(&mut spans, |at| {
                    let children = side.children(*at).iter().filter_map(|child| side.span(*child));
                    !children.into_iter().any(|child| self.is_bad(child))
                });
            }
            narrow(&mut spans, of_trace);
        }
        let Some(culprit) = self.traces(side, &spans, false).into_iter().next() else {
            return Err("what speaks against it is in no span".to_owned());
        };
        let share = culprit.own_ms / culprit.trace_ms.max(f64::MIN_POSITIVE);
        let shows = match subject {
            Subject::Rule(rule) if rule.change == Change::New => {
                "has the error, and no call below it has one"
            }
            Subject::Rule(_) => "lacks what others had before",
            _ => "",
        };
        let mut sentence = format!("span {} of trace {} ", culprit.span, culprit.trace);
        sentence += &match shows {
            "" => format!(
                "took {} ms of its {} ms by itself ({})",
                three_digits(culprit.own_ms),
                three_digits(culprit.trace_ms),
                percent(share)
            ),
            shows => shows.to_owned(),
        };
        let command = format!("throughline trace {} --span {}", culprit.trace, culprit.span);
        Ok(Evidence {
            share: shows.is_empty().then(|| round(share)),
            traces: vec![culprit],
            ..bare(EvidenceKind::Culprit, 0.0, sentence, command)
        })
    }

    fn is_bad(&self, span: &Span) -> bool {
        let is_error =
            |feature: &u32| self.found.vocabulary.features.get(*feature).is_some_and(Feature::is_error);
        span.row.failed || span.features.iter().any(is_error)
    }

    /// The traces that show what the suspicion is about.
    fn shown_by(&self, subject: Subject<'_>) -> BTreeSet<TraceId> {
        let side = &self.found.now.side;
        subject.spans().iter().filter_map(|at| side.span(*at)).map(|span| span.row.trace).collect()
    }

    /// An exemplar of the service in the window whose trace is here: of times the highest, else one that leads to what is suspected,
    /// if there is one.
    fn exemplar(&self, subject: Subject<'_>, service: &str) -> Result<Result<Exemplar, String>, Error> {
        let query = SeriesQuery {
            range: self.found.window,
            metric: None,
            service: Some(service.to_owned()),
            attributes: Vec::new(),
            limit: EXEMPLARS_MAX,
        };
        let mut found = self.found.snapshot.exemplars(&query)?.items;
        let there = found.len();
        if there == 0 {
            return Ok(Err("none of its metrics has an exemplar in the window".to_owned()));
        }
        found.retain(|exemplar| exemplar.link == Some(LinkState::Resolved) && exemplar.trace_id.is_some());
        if found.is_empty() {
            return Ok(Err(format!("none of {there} exemplars in the window leads to a trace that is here")));
        }
        let is_slow = matches!(subject, Subject::Slow(_));
        let shown_by = if is_slow { BTreeSet::new() } else { self.shown_by(subject) };
        let shows = |exemplar: &Exemplar| exemplar.trace_id.is_some_and(|id| shown_by.contains(&id));
        let best = found
            .into_iter()
            .filter(|exemplar| !is_slow || unit_ms("", &exemplar.metric).is_some())
            .max_by(|a, b| {
                let by_value = a.value.total_cmp(&b.value).then(b.time.cmp(&a.time));
                shows(a).cmp(&shows(b)).then(by_value).then(b.trace_id.cmp(&a.trace_id))
            });
        Ok(best
            .ok_or_else(|| "its exemplars in the window are of metrics that do not measure time".to_owned()))
    }

    /// An exemplar in words.
    fn led_by(&self, exemplar: &Exemplar, subject: Subject<'_>) -> Evidence {
        let trace = exemplar.trace_id.map_or_else(String::new, |id| id.to_string());
        let mut sentence = format!(
            "exemplar of {} with {} at {} leads to trace {trace}",
            exemplar.metric,
            three_digits(exemplar.value),
            rfc3339(exemplar.time)
        );
        if let (Subject::Rule(_), Some(id)) = (subject, exemplar.trace_id) {
            let is_shown = self.shown_by(subject).contains(&id);
            sentence += if is_shown {
                ", which shows the difference"
            } else {
                ", which does not show the difference"
            };
        }
        let command = format!("throughline trace {trace}");
        Evidence {
            metric: Some(exemplar.metric.clone()),
            now: Some(exemplar.value),
            ..bare(EvidenceKind::Exemplar, 0.0, sentence, command)
        }
    }
}

/// Leaves those that are so, if any is.
fn narrow(spans: &mut Vec<u32>, is_so: impl Fn(&u32) -> bool) {
    if spans.iter().any(&is_so) {
        spans.retain(is_so);
    }
}
