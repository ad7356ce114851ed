//! The `prometheus` receiver: a Prometheus configuration within the Collector's, of which scraping works here.
//!
//! What Prometheus knows and this version does not is refused by its name.

mod discovery;
mod job;
mod relabel;

use std::time::Duration;

use throughline_scrape::duration;
use throughline_scrape::job::{Job, PageLimits, Protocol};
use throughline_wire::prometheus::exposition::{Escaping, Histograms, is_legacy_label_name};

use super::section::{Problem, Section};
use super::tree::{Node, Value};

/// What is to be scraped.
#[derive(Clone, Debug, Default)]
pub struct Scraping {
    /// The jobs, from all receivers.
    pub jobs: Vec<Job>,
    /// Labels that every series gets that lacks them.
    pub external_labels: Vec<(String, String)>,
}

/// What `global` says for all jobs and each job may say for itself.
#[derive(Clone, Debug)]
struct Common {
    interval: Duration,
    /// Where nothing is said: ten seconds, or the interval if that is shorter.
    timeout: Option<Duration>,
    protocols: Option<Vec<Protocol>>,
    limits: PageLimits,
    histograms: Histograms,
    legacy_names: bool,
    escaping: Option<Escaping>,
    extra_metrics: bool,
}

impl Default for Common {
    fn default() -> Common {
        Common {
            interval: Duration::from_secs(60),
            timeout: None,
            protocols: None,
            limits: PageLimits::default(),
            histograms: Histograms::default(),
            legacy_names: false,
            escaping: None,
            extra_metrics: false,
        }
    }
}

/// Reads one receiver.
pub fn read(path: &str, node: Node, scraping: &mut Scraping, problems: &mut Vec<Problem>) {
    let mut receiver = Section::new(path, Some(node), problems);
    super::components::refuse_known(
        &mut receiver,
        &[
            "target_allocator",
            "trim_metric_suffixes",
            "api_server",
            "use_start_time_metric",
            "start_time_metric_regex",
        ],
    );
    let mut common = Common::default();
    common.extra_metrics = receiver.flag("report_extra_scrape_metrics", common.extra_metrics);
    let Some(node) = receiver.take("config") else {
        receiver.refuse("config", None, "no Prometheus configuration is given");
        return receiver.finish();
    };
    receiver.finish();
    let path = format!("{path}::config");
    let mut config = Section::new(&path, Some(node), problems);
    for key in ["alerting", "rule_files", "remote_read", "remote_write"] {
        if let Some(node) = config.take(key) {
            config.refuse(key, Some(node.line), "is not for a receiver; leave it out");
        }
    }
    super::components::refuse_known(
        &mut config,
        &["scrape_config_files", "storage", "tracing", "otlp", "runtime"],
    );
    let mut global = config.section("global");
    common = common.read(&mut global);
    for key in ["evaluation_interval", "rule_query_offset"] {
        // They are of rules; configurations that are shared with Prometheus have them.
        global.take(key);
    }
    super::components::refuse_known(&mut global, &["query_log_file", "scrape_failure_log_file"]);
    let external = labels(&mut global, "external_labels");
    scraping.external_labels.extend(external);
    global.finish();
    let jobs = config.list("scrape_configs");
    if jobs.is_empty() {
        config.refuse("scrape_configs", None, "there is nothing to scrape");
    }
    config.finish();
    for (index, node) in jobs.into_iter().enumerate() {
        let line = node.line;
        let path = format!("{path}::scrape_configs[{index}]");
        let Some(job) = job::read(&path, node, &common, problems) else { continue };
        if scraping.jobs.iter().any(|other| other.name == job.name) {
            let message = format!("there is a second job {:?}", job.name);
            problems.push(Problem { path, line: Some(line), message });
        } else {
            scraping.jobs.push(job);
        }
    }
}

impl Common {
    /// What a section says, and what is said here where it says nothing.
    fn read(&self, section: &mut Section<'_>) -> Common {
        let mut out = self.clone();
        out.interval = span(section, "scrape_interval").unwrap_or(self.interval);
        out.timeout = span(section, "scrape_timeout").or(self.timeout);
        let limits = &mut out.limits;
        limits.body_bytes = prometheus_size(section, "body_size_limit", limits.body_bytes);
        for (key, limit) in [
            ("sample_limit", &mut limits.samples),
            ("target_limit", &mut limits.targets),
            ("label_limit", &mut limits.labels),
            ("label_name_length_limit", &mut limits.label_name_bytes),
            ("label_value_length_limit", &mut limits.label_value_bytes),
            ("keep_dropped_targets", &mut limits.dropped_targets),
        ] {
            let number = section.number(key, *limit as u64, 0..=u64::from(u32::MAX));
            *limit = usize::try_from(number).unwrap_or(usize::MAX);
        }
        let histograms = &mut out.histograms;
        histograms.native = section.flag("scrape_native_histograms", histograms.native);
        histograms.always_classic =
            section.flag("always_scrape_classic_histograms", histograms.always_classic);
        histograms.convert_classic =
            section.flag("convert_classic_histograms_to_nhcb", histograms.convert_classic);
        out.protocols = protocols(section).or(out.protocols);
        let schemes = [("utf8", false), ("legacy", true)];
        out.legacy_names = section.choice("metric_name_validation_scheme", out.legacy_names, &schemes);
        out.escaping = escaping(section).or(out.escaping);
        out.extra_metrics = section.flag("extra_scrape_metrics", out.extra_metrics);
        out
    }
}

fn protocols(section: &mut Section<'_>) -> Option<Vec<Protocol>> {
    let names = section.optional_texts("scrape_protocols")?;
    let mut out = Vec::new();
    for name in names {
        match Protocol::NAMES.iter().find(|(known, _)| *known == name) {
            Some((_, protocol)) if out.contains(protocol) => {
                section.refuse("scrape_protocols", None, format!("{name} is there twice"));
            }
            Some((_, protocol)) => out.push(*protocol),
            None => {
                let known: Vec<&str> = Protocol::NAMES.iter().map(|(name, _)| *name).collect();
                section.refuse(
                    "scrape_protocols",
                    None,
                    format!("{name:?} is not one of {}", known.join(", ")),
                );
            }
        }
    }
    if out.is_empty() {
        section.refuse("scrape_protocols", None, "names no protocol");
    }
    Some(out)
}

fn escaping(section: &mut Section<'_>) -> Option<Escaping> {
    let schemes = ["allow-utf-8", "underscores", "dots", "values"];
    let schemes = schemes.map(|name| (name, Escaping::from_name(name)));
    section.choice("metric_name_escaping_scheme", None, &schemes)
}

/// A duration as Prometheus writes it.
fn span(section: &mut Section<'_>, key: &'static str) -> Option<Duration> {
    section.scalar(key, None, |text| {
        let span = duration::parse(text).filter(|span| !span.is_zero());
        let problem = || format!("{text:?} is not a duration above 0: write 15s or 1m30s");
        span.map(Some).ok_or_else(problem)
    })
}

/// A size as Prometheus writes it: `10MB` are 10 × 1024 × 1024 bytes there.
fn prometheus_size(section: &mut Section<'_>, key: &'static str, default: usize) -> usize {
    section.scalar(key, default, |text| {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let shift = match unit.trim() {
            "" | "B" => 0,
            "KB" | "KiB" => 10,
            "MB" | "MiB" => 20,
            "GB" | "GiB" => 30,
            _ => return Err(format!("{text:?} is not a size: write 10MB")),
        };
        let number: usize = number.parse().map_err(|_| format!("{text:?} is not a size: write 10MB"))?;
        Ok(number.saturating_mul(1 << shift))
    })
}

/// A map of label names to values.
fn labels(section: &mut Section<'_>, key: &'static str) -> Vec<(String, String)> {
    let Some(node) = section.take(key) else { return Vec::new() };
    let line = node.line;
    let entries = match node.value {
        Value::Null => Vec::new(),
        Value::Map(entries) => entries,
        other => {
            section.refuse(key, Some(line), format!("expected a map, got {}", other.kind()));
            Vec::new()
        }
    };
    let mut out = Vec::new();
    for (name, value) in entries {
        match value.value.scalar() {
            Some(text) if is_legacy_label_name(&name.name) => out.push((name.name, text)),
            Some(_) => {
                let message = format!("{:?} is not a label's name", name.name);
                section.refuse(key, Some(name.line), message);
            }
            None => {
                let message = format!("{:?}: expected a value, got {}", name.name, value.value.kind());
                section.refuse(key, Some(name.line), message);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
