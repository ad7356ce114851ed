//! Evidence in words: each difference as a sentence with its numbers, the line or the traces that show it, and the command that
//! shows them again.

use std::collections::HashMap;
use std::fmt::Write as _;

use throughline_model::Level;
use throughline_store::{Error, TimeRange};

use super::errors::{Change, LooseRule, Rule};
use super::latency::Slow;
use super::lines::{Example, text_of};
use super::read::Reading;
use super::resources::{Deployed, Full};
use super::side::Side;
use super::signature::LineKind;
use super::suspects::{Found, kind_of};
use super::usage::Usage;
use super::vocabulary::{Feature, Spender};
use super::{Evidence, EvidenceKind, Line, TraceRef};
use crate::reconcile::{Counts, derived_calls_by_service};
use crate::units::{duration, rfc3339, three_digits};

/// Traces that one piece of evidence names.
const TRACES_MAX: usize = 3;
const MS: f64 = 1e6;

/// Writes evidence.
pub(super) struct Words<'a> {
    pub(super) found: &'a Found<'a>,
    /// Requests of each service in the window and in the baseline.
    pub(super) calls: [HashMap<String, Counts>; 2],
}

/// Evidence without details.
pub(super) fn bare(kind: EvidenceKind, score: f64, sentence: String, command: String) -> Evidence {
    Evidence {
        kind,
        score: round(score),
        confidence: None,
        sentence,
        operation: None,
        metric: None,
        now: None,
        before: None,
        calls: None,
        baseline_calls: None,
        share: None,
        line: None,
        traces: Vec::new(),
        command,
    }
}

/// Four digits: what is further behind depends on the order in which numbers are added.
pub(super) fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

pub(super) fn percent(share: f64) -> String {
    format!("{} %", three_digits(share * 100.0))
}

/// A value as a word of a command line.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

pub(super) fn range_options(range: TimeRange) -> String {
    format!("--start {} --end {}", rfc3339(range.start), rfc3339(range.end))
}

impl<'a> Words<'a> {
    pub(super) fn new(found: &'a Found<'a>) -> Result<Words<'a>, Error> {
        let calls = |range: TimeRange| derived_calls_by_service(found.snapshot, range);
        Ok(Words { found, calls: [calls(found.window)?, calls(found.baseline)?] })
    }

    /// Something that calls do otherwise.
    pub(super) fn rule(&self, rule: &Rule) -> Evidence {
        let vocabulary = self.found.vocabulary;
        let is_new = rule.change == Change::New;
        let feature = vocabulary.features.get(rule.feature);
        let kind = kind_of(feature, is_new);
        let reading = if is_new { self.found.now } else { self.found.before };
        let line = self.line_of(reading, rule.feature, feature);
        let what = match feature {
            Some(Feature::Call(operation)) => format!(
                "the call of {} {}",
                vocabulary.texts.name(vocabulary.service_of(*operation)),
                vocabulary.operation(*operation)
            ),
            Some(Feature::Failed) => "the status error".to_owned(),
            Some(Feature::Line(level, kind)) => {
                format!("the {} line {}", level.name(), name_of(kind, line.as_ref()))
            }
            None => "something".to_owned(),
        };
        let operation = vocabulary.operation(rule.operation);
        let condition = rule
            .given
            .map_or_else(String::new, |given| format!(" that get as far as {}", self.milestone(given)));
        let verb = if is_new { "have" } else { "lack" };
        let (share_now, share_before) = match is_new {
            true => (rule.now.rate(), rule.before.rate()),
            false => (1.0 - rule.now.rate(), 1.0 - rule.before.rate()),
        };
        let mut sentence = format!(
            "{} of {} calls of {operation}{condition} {verb} {what}, {} of {} did before",
            count(share_now, rule.now.of),
            rule.now.of.round(),
            count(share_before, rule.before.of),
            rule.before.of.round()
        );
        if rule.origin < 0.95 {
            _ = write!(sentence, "; calls below explain {} of it", percent(1.0 - rule.origin));
        }
        let traces = self.traces(&self.found.now.side, &rule.spans, false);
        let service = vocabulary.texts.name(vocabulary.service_of(rule.operation));
        let side = if is_new { self.found.window } else { self.found.baseline };
        let command = match (traces.first(), is_new) {
            (Some(shown), true) => format!("throughline logs --trace {} --span {}", shown.trace, shown.span),
            (Some(shown), false) => format!("throughline trace {} --span {}", shown.trace, shown.span),
            (None, _) => format!("throughline logs --service {} {}", quoted(service), range_options(side)),
        };
        Evidence {
            confidence: Some(round(rule.confidence)),
            operation: Some(operation),
            now: Some(round(share_now)),
            before: Some(round(share_before)),
            calls: Some(rule.now.of.round() as usize),
            baseline_calls: Some(rule.before.of.round() as usize),
            share: Some(round(rule.origin)),
            line,
            traces,
            ..bare(kind, rule.score(), sentence, command)
        }
    }

    /// What a call has done when it has got that far.
    fn milestone(&self, feature: u32) -> String {
        let vocabulary = self.found.vocabulary;
        match vocabulary.features.get(feature) {
            Some(Feature::Call(operation)) => format!("calling {}", vocabulary.operation(*operation)),
            Some(Feature::Line(_, kind)) => name_of(
                kind,
                self.line_of(self.found.before, feature, vocabulary.features.get(feature)).as_ref(),
            ),
            _ => "failing".to_owned(),
        }
    }

    fn line_of(&self, reading: &Reading, number: u32, feature: Option<&Feature>) -> Option<Line> {
        reading.examples.get(&number).map(|example| self.to_line(example, feature))
    }

    fn to_line(&self, example: &Example, feature: Option<&Feature>) -> Line {
        let (level, kind) = match feature {
            Some(Feature::Line(level, kind)) => (*level, kind),
            _ => (Level::Unknown, &LineKind::Empty),
        };
        Line {
            time: example.time,
            level,
            text: text_of(self.found.snapshot, example, level, kind),
            pattern: match kind {
                LineKind::Pattern(pattern) => Some(*pattern),
                _ => None,
            },
            trace: example.trace,
            span: example.span,
        }
    }

    /// Error lines outside of spans.
    pub(super) fn loose(&self, rule: &LooseRule) -> Evidence {
        let vocabulary = self.found.vocabulary;
        let feature = vocabulary.features.get(rule.feature);
        let line = self.to_line(&rule.example, feature);
        let kind = match feature {
            Some(Feature::Line(_, kind)) => name_of(kind, Some(&line)),
            _ => String::new(),
        };
        let sentence = format!(
            "error line {kind} outside of any span, {} times in the window ({} of its {} pieces), in {} of {} pieces before",
            rule.lines, rule.now.hits, rule.now.of, rule.before.hits, rule.before.of
        );
        let service = vocabulary.texts.name(rule.service);
        let command = format!(
            "throughline logs --service {} --severity error {}",
            quoted(service),
            range_options(self.found.window)
        );
        Evidence {
            confidence: Some(round(rule.confidence)),
            now: Some(round(rule.now.rate())),
            before: Some(round(rule.before.rate())),
            line: Some(line),
            ..bare(EvidenceKind::LooseErrors, rule.score(), sentence, command)
        }
    }

    /// A place that spends more time.
    pub(super) fn slow(&self, slow: &Slow) -> Evidence {
        let vocabulary = self.found.vocabulary;
        let name = |number: u32| vocabulary.texts.name(number);
        let (kind, place) = match vocabulary.spenders.get(slow.spender) {
            Some(Spender::Way { caller, callee }) => (
                EvidenceKind::TimeOnTheWay,
                format!("on the way from {} to {} and back", name(*caller), name(*callee)),
            ),
            Some(Spender::Own { service, name: operation }) => {
                (EvidenceKind::OwnTime, format!("in {} of {} itself", name(*operation), name(*service)))
            }
            None => (EvidenceKind::OwnTime, String::new()),
        };
        let sentence = format!(
            "{} {place} at the median of {} calls, {} of {} before: {} of all added time, {} of the time of the traces that come by",
            duration(slow.median_ns as i64),
            slow.calls,
            duration(slow.median_before_ns as i64),
            slow.calls_before,
            percent(slow.share_of_added),
            percent(slow.share_of_traces.min(1.0))
        );
        let mut traces = self.traces(&self.found.now.side, &slow.spans, false);
        let before: Vec<u32> = (0..)
            .zip(&self.found.before.side.spans)
            .filter(|(_, span)| span.spender == slow.spender)
            .map(|(at, _)| at)
            .collect();
        traces.extend(self.typical(&before));
        let command = traces.first().map_or_else(
            || format!("throughline traces {}", range_options(self.found.window)),
            |shown| format!("throughline trace {}", shown.trace),
        );
        Evidence {
            confidence: Some(round(slow.confidence)),
            now: Some(round(slow.median_ns / MS)),
            before: Some(round(slow.median_before_ns / MS)),
            calls: Some(slow.calls),
            baseline_calls: Some(slow.calls_before),
            share: Some(round(slow.share_of_added)),
            traces,
            ..bare(kind, slow.score(), sentence, command)
        }
    }

    /// A resource that is full.
    pub(super) fn full(&self, full: &Full) -> Evidence {
        let of = full.instance.as_deref().map_or_else(String::new, |instance| format!(" of {instance}"));
        let sentence = format!(
            "{} {of} is {} used ({}), {} before",
            full.resource,
            percent(full.now),
            full.metric,
            percent(full.before)
        )
        .replace("  ", " ");
        let command = format!(
            "throughline series --metric {} --service {} {}",
            quoted(&full.metric),
            quoted(&full.service),
            range_options(self.found.window)
        );
        Evidence {
            confidence: Some(round(full.confidence)),
            metric: Some(full.metric.clone()),
            now: Some(round(full.now)),
            before: Some(round(full.before)),
            ..bare(EvidenceKind::Saturation, full.score(), sentence, command)
        }
    }

    /// What an instance uses otherwise than before, where nothing says how much there is.
    pub(super) fn usage(&self, service: &str, usage: &Usage) -> Evidence {
        let (what, unit) = usage.quantity.words();
        let of = usage.instance.as_deref().unwrap_or(service);
        let sentence = format!(
            "{what} of {of}: {} {unit} ({}), {} before",
            three_digits(usage.now),
            usage.metric,
            three_digits(usage.before)
        );
        let command = format!(
            "throughline series --metric {} --service {} {}",
            quoted(&usage.metric),
            quoted(service),
            range_options(self.found.window)
        );
        Evidence {
            metric: Some(usage.metric.clone()),
            now: Some(round(usage.now)),
            before: Some(round(usage.before)),
            ..bare(EvidenceKind::ResourceUse, 0.0, sentence, command)
        }
    }

    /// Another version.
    pub(super) fn deployed(&self, service: &str, deployed: &Deployed) -> Evidence {
        let list = |values: &[String]| values.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        let sentence = format!(
            "{} is {} in the window, {} before",
            deployed.attribute,
            list(&deployed.now),
            list(&deployed.before)
        );
        let command =
            format!("throughline traces --service {} {}", quoted(service), range_options(self.found.window));
        bare(EvidenceKind::Deployment, 0.0, sentence, command)
    }

    /// The spans among these whose own part took longest, one of each trace.
    pub(super) fn traces(&self, side: &Side, spans: &[u32], baseline: bool) -> Vec<TraceRef> {
        let mut ranked: Vec<u32> = spans.to_vec();
        let own = |at: &u32| side.span(*at).map_or(0, |span| span.own_ns);
        ranked.sort_by_key(|at| (std::cmp::Reverse(own(at)), *at));
        let mut shown: Vec<TraceRef> = Vec::new();
        for at in ranked {
            let Some(found) = trace_ref(side, at, baseline) else { continue };
            if shown.iter().all(|known| known.trace != found.trace) {
                shown.push(found);
            }
            if shown.len() >= TRACES_MAX {
                break;
            }
        }
        shown
    }

    /// The span in the middle of those of the baseline.
    fn typical(&self, spans: &[u32]) -> Option<TraceRef> {
        let side = &self.found.before.side;
        let mut ranked = spans.to_vec();
        ranked.sort_by_key(|at| (side.span(*at).map_or(0, |span| span.own_ns), *at));
        let weight = |at: &u32| side.span(*at).map_or(0.0, |span| side.weight(span).adjusted);
        let half = ranked.iter().map(weight).sum::<f64>() / 2.0;
        let mut below = 0.0;
        let middle = ranked.iter().find(|at| {
            below += weight(at);
            below > half
        });
        trace_ref(side, *middle?, true)
    }
}

fn trace_ref(side: &Side, at: u32, baseline: bool) -> Option<TraceRef> {
    let span = side.span(at)?;
    let trace = side.traces.get(span.trace as usize)?;
    Some(TraceRef {
        trace: trace.id,
        span: span.row.span,
        own_ms: round(span.own_ns as f64 / MS),
        trace_ms: round(trace.end.saturating_sub(trace.start) as f64 / MS),
        baseline,
        link: None,
    })
}

fn count(share: f64, of: f64) -> String {
    format!("{}", (share * of).round())
}

/// A kind of line in a sentence: its place in the code, else the start of a line of it.
fn name_of(kind: &LineKind, line: Option<&Line>) -> String {
    const SHOWN: usize = 60;
    match (kind, line) {
        (LineKind::Place(place), _) => place.clone(),
        (_, Some(line)) => {
            let text = line.text.lines().next().unwrap_or_default();
            let start = text.get(..text.floor_char_boundary(SHOWN)).unwrap_or_default();
            let more = if start.len() < text.len() { "…" } else { "" };
            format!("\"{start}{more}\"")
        }
        (LineKind::Pattern(pattern), None) => format!("of pattern {pattern}"),
        (LineKind::Empty, None) => "without text".to_owned(),
    }
}
