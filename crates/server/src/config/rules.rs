//! The sections `rules` and `alerting`: which rules are evaluated, and who is told of alerts.

use std::path::PathBuf;
use std::time::Duration;

use throughline_rules::group::Settings;
use throughline_rules::outbox::{Kind, Receiver};

use super::section::Section;
use super::tree::{Node, Value};

/// How long a receiver may take, unless told otherwise. As in Prometheus.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Rules and who is told of alerts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// Patterns of rule files.
    pub files: Vec<String>,
    /// What patterns are relative to: the folder of the configuration file.
    pub base: PathBuf,
    /// What all groups share.
    pub settings: Settings,
    /// Who is told of alerts.
    pub targets: Vec<Target>,
}

/// Somebody who is told of alerts.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Who.
    pub receiver: Receiver,
    /// How long an attempt may take.
    pub timeout: Duration,
}

/// Reads the section `rules`.
pub fn read(mut section: Section<'_>, rules: &mut Rules) {
    rules.files = section.texts("files");
    let settings = &mut rules.settings;
    let minimum = Duration::from_millis(1);
    let interval = Duration::from_millis(settings.interval_ms.unsigned_abs());
    settings.interval_ms = millis(section.duration("evaluation_interval", interval, minimum));
    let offset = Duration::from_millis(settings.query_offset_ms.unsigned_abs());
    settings.query_offset_ms = millis(section.duration("query_offset", offset, Duration::ZERO));
    let url = section.text("external_url", String::new());
    settings.external_url = url.trim_end_matches('/').to_owned();
    for (key, value) in [
        ("resend_delay", &mut settings.resend_delay_ns),
        ("outage_tolerance", &mut settings.outage_tolerance_ns),
        ("grace_period", &mut settings.grace_period_ns),
    ] {
        let default = Duration::from_nanos(value.unsigned_abs());
        *value = nanos(section.duration(key, default, Duration::ZERO));
    }
    section.finish();
}

/// Reads the section `alerting`.
pub fn read_alerting(mut section: Section<'_>, rules: &mut Rules) {
    for (key, kind) in [("alertmanagers", Kind::Alertmanager), ("webhooks", Kind::Webhook)] {
        let path = section.path_of(key);
        let mut problems = Vec::new();
        for node in list(&mut section, key) {
            rules.targets.extend(target(Section::new(&path, Some(node), &mut problems), kind));
        }
        section.extend(problems);
    }
    // A queue is known by its URL.
    let mut urls: Vec<String> = rules.targets.iter().map(|target| target.receiver.url.clone()).collect();
    urls.sort_unstable();
    if let Some(twice) = urls.windows(2).find(|pair| pair[0] == pair[1]) {
        section.refuse("", None, format!("{:?} is named twice", twice[0]));
    }
    section.finish();
}

fn target(mut section: Section<'_>, kind: Kind) -> Option<Target> {
    let url = section.text("url", String::new());
    if kind == Kind::Alertmanager {
        section.choice("api_version", (), &[("v2", ())]);
    }
    let timeout = section.duration("timeout", TIMEOUT, Duration::from_millis(1));
    let problem = match url.split_once("://") {
        _ if url.is_empty() => Some("is needed".to_owned()),
        Some(("http", rest)) if !rest.is_empty() => None,
        Some(("https", _)) => Some(format!("{url:?}: this version cannot do https yet")),
        _ => Some(format!("{url:?} is not a URL: write http://host:port")),
    };
    let is_good = problem.is_none();
    if let Some(message) = problem {
        section.refuse("url", None, message);
    }
    section.finish();
    let url = url.trim_end_matches('/').to_owned();
    is_good.then_some(Target { receiver: Receiver { kind, url }, timeout })
}

fn list(section: &mut Section<'_>, key: &'static str) -> Vec<Node> {
    let Some(node) = section.take(key) else { return Vec::new() };
    match node.value {
        Value::List(items) => items,
        Value::Null => Vec::new(),
        other => {
            section.refuse(key, Some(node.line), format!("expected a list, got {}", other.kind()));
            Vec::new()
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
