//! The likely cause: one sentence, and the evidence that it rests on.
//!
//! Rules, not guesses: (1) the culprit and what is below it are searched for a known mechanism, (2) for retries and
//! back-off, (3) the contrast with quiet traces says where. What no rule explains is said to be unexplained, with the
//! facts that there are.

use serde::{Deserialize, Serialize};

use crate::contrast::{self, Difference, TraitKind};
use crate::mechanism::{self, Mechanism, Sign};
use crate::trace_view::{Culprit, SpanView, TraceView};
use crate::units::duration;

/// How many pieces of evidence an answer carries.
const EVIDENCE_MAX: usize = 12;

/// Why a trace is slow, as far as the stored data tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// The whole of it in words.
    pub sentence: String,
    /// The mechanism, where a text or code names one.
    pub mechanism: Option<Mechanism>,
    /// The word that gave it away, such as an exception's name.
    pub sign: Option<String>,
    /// How often the call was tried again.
    pub retries: Option<u64>,
    /// Whether the caller waited between tries.
    pub back_off: bool,
    /// The facts, each with where it stands.
    pub evidence: Vec<String>,
    /// What slow traces show more often than quiet ones.
    pub differences: Vec<Difference>,
    /// How many slow traces were compared.
    pub slow_traces: usize,
    /// With how many quiet ones.
    pub quiet_traces: usize,
}

impl Cause {
    /// Whether a rule explains the latency: a mechanism, or a dimension in which slow traces differ.
    pub fn is_explained(&self) -> bool {
        self.mechanism.is_some() || self.differences.iter().any(|difference| difference.is_dimension)
    }
}

/// What the texts around the culprit say.
#[derive(Default)]
struct Findings {
    sign: Option<Sign>,
    retries: Option<u64>,
    back_off: bool,
    evidence: Vec<String>,
}

impl Findings {
    fn read(&mut self, text: &str, place: &str) {
        let sign = mechanism::find(text);
        let retries = mechanism::retries_in(text);
        let back_off = mechanism::speaks_of_back_off(text);
        if sign.is_some() || retries.is_some() || back_off {
            self.note(format!("{place}: {}", one_line(text)));
        }
        if let Some(sign) = sign
            && self.sign.as_ref().is_none_or(|known| sign.is_stronger_than(known))
        {
            self.sign = Some(sign);
        }
        self.retries = self.retries.max(retries);
        self.back_off |= back_off;
    }

    fn read_attribute(&mut self, key: &str, text: &str, place: &str) {
        let lower = key.to_ascii_lowercase();
        let counts_retries =
            ["retry", "retries", "resend", "attempt"].iter().any(|word| lower.contains(word));
        let is_delay = ["_ms", "_ns", "delay", "wait"].iter().any(|word| lower.contains(word));
        if let Some(count) = text.parse::<u64>().ok().filter(|n| counts_retries && !is_delay && *n > 0) {
            self.retries = self.retries.max(Some(count));
            self.note(format!("{place}: {key}={text}"));
        }
        if mechanism::speaks_of_back_off(key) && !matches!(text, "0" | "0.0" | "false" | "") {
            self.back_off = true;
            self.note(format!("{place}: {key}={text}"));
        }
        // 429 is the one status that names its mechanism.
        let is_429 = text == "429" && lower.contains("status");
        self.read(if is_429 { "Too Many Requests (429)" } else { text }, &format!("{place}, {key}"));
    }

    fn read_span(&mut self, view: &SpanView) {
        let place = format!("span {} of {}", view.span.name, view.span.service);
        for (key, value) in &view.span.attributes {
            self.read_attribute(key, &contrast::text_of(value), &place);
        }
        if !view.span.status_message.is_empty() {
            self.read(&view.span.status_message, &format!("{place}, status"));
        }
        for event in &view.span.events {
            let name = event.get("name").map(contrast::text_of).unwrap_or_default();
            self.read(&name, &format!("{place}, event"));
            for (key, value) in event.get("attributes").and_then(|a| a.as_object()).into_iter().flatten() {
                self.read_attribute(key, &contrast::text_of(value), &format!("{place}, event {name}"));
            }
        }
        for log in &view.logs {
            let place = format!("log of {}", log.service);
            self.read(&contrast::body_text(log), &place);
            for (key, value) in &log.attributes {
                self.read_attribute(key, &contrast::text_of(value), &place);
            }
        }
    }

    fn note(&mut self, fact: String) {
        if self.evidence.len() < EVIDENCE_MAX && !self.evidence.contains(&fact) {
            self.evidence.push(fact);
        }
    }
}

/// Explains the latency of one trace from its culprit and from what slow traces share.
pub fn explain(
    view: &TraceView,
    culprit: &Culprit,
    slow: &[contrast::Traits],
    quiet: &[contrast::Traits],
) -> Cause {
    let mut findings = Findings::default();
    let own = view.spans.get(culprit.index);
    let below = view.descendants(culprit.index);
    for at in own.into_iter().chain(view.spans.get(below.clone()).unwrap_or_default()) {
        findings.read_span(at);
    }
    let repeated = repeated_child(view, culprit, below);
    if let Some((name, tries)) = &repeated {
        findings.note(format!("{} called {name} {tries} times", culprit.name));
        findings.retries = findings.retries.max(Some(*tries as u64 - 1));
    }
    if findings.sign.is_none() {
        for log in &view.logs {
            findings.read(&contrast::body_text(log), &format!("log of {} in the trace", log.service));
        }
    }
    let differences = contrast::differences(slow, quiet);
    let mut cause = Cause {
        sentence: String::new(),
        mechanism: findings.sign.as_ref().map(|sign| sign.mechanism),
        sign: findings.sign.map(|sign| sign.word),
        retries: findings.retries,
        back_off: findings.back_off,
        evidence: findings.evidence,
        differences,
        slow_traces: slow.len(),
        quiet_traces: quiet.len(),
    };
    cause.sentence = sentence(view, culprit, own, &cause);
    cause
}

/// A direct child name that occurs several times, with at least one error among them: the shape of retries.
fn repeated_child(
    view: &TraceView,
    culprit: &Culprit,
    below: std::ops::Range<usize>,
) -> Option<(String, usize)> {
    let depth = view.spans.get(culprit.index)?.depth + 1;
    let children: Vec<&SpanView> = view.spans.get(below)?.iter().filter(|at| at.depth == depth).collect();
    let failed = children.iter().find(|at| at.span.is_error() || is_refusal(at))?;
    let tries = children.iter().filter(|at| at.span.name == failed.span.name).count();
    (tries > 1).then(|| (failed.span.name.clone(), tries))
}

fn is_refusal(view: &SpanView) -> bool {
    let status = ["http.response.status_code", "http.status_code"]
        .iter()
        .find_map(|key| view.span.attributes.get(*key));
    status.is_some_and(|value| {
        contrast::text_of(value).parse::<u16>().is_ok_and(|code| code == 429 || code >= 500)
    })
}

fn sentence(view: &TraceView, culprit: &Culprit, own: Option<&SpanView>, cause: &Cause) -> String {
    let mut text = format!(
        "{} in {} took {} of {} ({:.0} %)",
        culprit.name,
        culprit.service,
        duration(culprit.critical_time_ns),
        duration(view.duration_ns),
        culprit.share * 100.0,
    );
    if let (Some(mechanism), Some(sign)) = (cause.mechanism, &cause.sign) {
        let system = own.and_then(callee);
        let by = system.map_or_else(String::new, |name| format!(" by {name}"));
        text += &format!(" because of {}{by} ({sign})", mechanism.phrase());
    }
    match (cause.retries, cause.back_off) {
        (Some(n), true) => text += &format!(": it retried {n} times and waited with back-off in between"),
        (Some(n), false) => text += &format!(": it retried {n} times"),
        (None, true) => text += ": it waited with back-off",
        (None, false) if cause.mechanism.is_none() => {
            text += &format!(", {} of it in the span itself", duration(culprit.self_time_ns));
        }
        (None, false) => {}
    }
    if let Some(difference) = cause.differences.iter().find(|d| d.is_dimension) {
        text += &format!("; {}", difference_text(difference));
    } else if let Some(difference) = cause.differences.first() {
        text += &format!("; {}", difference_text(difference));
    } else if cause.mechanism.is_none() {
        text += "; no stored attribute or log line tells why";
    }
    text + "."
}

/// `db.partition=p7 in 96 % of slow and 6 % of quiet traces`.
pub fn difference_text(difference: &Difference) -> String {
    let what = match difference.what.kind {
        TraitKind::Attribute | TraitKind::Resource => {
            format!("{}={}", difference.what.key, difference.what.value)
        }
        TraitKind::Status => format!("status \"{}\" in {}", difference.what.value, difference.what.service),
        TraitKind::Log => {
            format!("log \"{}\" of {}", one_line(&difference.what.value), difference.what.service)
        }
        TraitKind::Operation => format!("{} of {}", difference.what.value, difference.what.service),
    };
    if difference.quiet_total == 0 {
        return format!(
            "{what} in {} of {} slow traces (no quiet ones to compare)",
            difference.slow, difference.slow_total
        );
    }
    format!(
        "{what} in {:.0} % of slow and {:.0} % of quiet traces",
        difference.slow_share() * 100.0,
        difference.quiet_share() * 100.0
    )
}

/// Whom a client span calls, as far as its attributes say.
fn callee(view: &SpanView) -> Option<String> {
    [
        "peer.service",
        "db.system.name",
        "db.system",
        "messaging.system",
        "rpc.service",
        "server.address",
        "net.peer.name",
    ]
    .iter()
    .find_map(|key| view.span.attributes.get(*key))
    .map(contrast::text_of)
}

fn one_line(text: &str) -> String {
    const CHARS_MAX: usize = 160;
    let line = text.lines().next().unwrap_or_default();
    let mut short: String = line.chars().take(CHARS_MAX).collect();
    if short.len() < text.trim_end().len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
