//! One entry of `scrape_configs`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use throughline_scrape::duration;
use throughline_scrape::job::{Credentials, Fetch, Honor, Job, Protocol, Secret};
use throughline_wire::prometheus::exposition::Escaping;

use super::{Common, discovery, relabel};
use crate::config::components::refuse_known;
use crate::config::section::{Problem, Section};
use crate::config::tree::{Node, Value};

/// How long a scrape may take where nothing is said.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a job; none where it has no name.
pub fn read(path: &str, node: Node, global: &Common, problems: &mut Vec<Problem>) -> Option<Job> {
    let mut section = Section::new(path, Some(node), problems);
    let name = section.text("job_name", String::new());
    if name.is_empty() {
        section.refuse("job_name", None, "is missing");
    }
    let common = global.read(&mut section);
    let timeout = checked_timeout(&mut section, &common);
    let fetch = read_fetch(&mut section, &common);
    let honor = Honor {
        labels: section.flag("honor_labels", false),
        timestamps: section.flag("honor_timestamps", true),
        timestamps_staleness: section.flag("track_timestamps_staleness", false),
    };
    let rules = ["relabel_configs", "metric_relabel_configs"].map(|key| (key, section.list(key)));
    let lists = ["static_configs", "file_sd_configs", "http_sd_configs"].map(|key| section.list(key));
    refuse_known(
        &mut section,
        &["scrape_failure_log_file", "native_histogram_bucket_limit", "native_histogram_min_bucket_factor"],
    );
    section.refuse_keys(|key| {
        let message = "is not supported yet; static_configs, file_sd_configs and http_sd_configs are";
        key.ends_with("_sd_configs").then(|| message.to_owned())
    });
    section.finish();
    let discovery = discovery::read(path, lists, problems);
    let [target_rules, sample_rules] = rules
        .map(|(key, nodes)| relabel::read(&format!("{path}::{key}"), nodes, common.legacy_names, problems));
    let Common { interval, limits, histograms, legacy_names, extra_metrics, .. } = common;
    let job = Job {
        name,
        interval,
        timeout,
        fetch,
        honor,
        histograms,
        limits,
        discovery,
        target_rules,
        sample_rules,
        legacy_names,
        extra_metrics,
    };
    (!job.name.is_empty()).then_some(job)
}

fn checked_timeout(section: &mut Section<'_>, common: &Common) -> Duration {
    let timeout = common.timeout.unwrap_or(TIMEOUT.min(common.interval));
    if timeout > common.interval {
        let [timeout, interval] = [timeout, common.interval].map(duration::format);
        section.refuse("scrape_timeout", None, format!("{timeout} is longer than the interval {interval}"));
    }
    timeout
}

fn read_fetch(section: &mut Section<'_>, common: &Common) -> Fetch {
    refuse_transport(section);
    let scheme = section.choice("scheme", Some("http"), &[("http", Some("http")), ("https", None)]);
    if scheme.is_none() {
        section.refuse("scheme", None, "https is not supported yet; scrape over http");
    }
    let protocols = common.protocols.clone();
    let fallbacks = Protocol::NAMES.map(|(name, protocol)| (name, Some(protocol)));
    let names = if common.legacy_names { Escaping::Underscores } else { Escaping::AllowUtf8 };
    let escaping = common.escaping.unwrap_or(names);
    if common.legacy_names && escaping == Escaping::AllowUtf8 {
        let message = "allow-utf-8 asks for names that the legacy scheme refuses";
        section.refuse("metric_name_escaping_scheme", None, message);
    }
    Fetch {
        scheme: scheme.unwrap_or_default().to_owned(),
        path: section.text("metrics_path", "/metrics".to_owned()),
        params: params(section),
        authorization: credentials(section),
        protocols: protocols.unwrap_or_else(|| Protocol::defaults(common.histograms.native)),
        fallback: section.choice("fallback_scrape_protocol", None, &fallbacks),
        escaping,
        gzip: section.flag("enable_compression", true),
        redirects: section.flag("follow_redirects", true),
    }
}

/// What Prometheus can do on the way to a server and this version cannot.
pub fn refuse_transport(section: &mut Section<'_>) {
    // Without TLS there is no HTTP/2, there as here.
    section.take("enable_http2");
    let keys = [
        "tls_config",
        "oauth2",
        "proxy_url",
        "proxy_from_environment",
        "no_proxy",
        "proxy_connect_header",
        "http_headers",
    ];
    refuse_known(section, &keys);
}

/// `basic_auth`, `authorization`, or one of the older keys.
pub fn credentials(section: &mut Section<'_>) -> Option<Credentials> {
    let mut found = Vec::new();
    if let Some(secret) = secret(section, ["bearer_token", "bearer_token_file"]) {
        found.push(Credentials::Other("Bearer".to_owned(), secret));
    }
    if let Some(mut basic) = section.optional_section("basic_auth") {
        let user = basic.text("username", String::new());
        let password = secret(&mut basic, ["password", "password_file"]);
        found.push(Credentials::Basic(user, password.unwrap_or(Secret::Text(String::new()))));
        basic.finish();
    }
    if let Some(mut other) = section.optional_section("authorization") {
        let scheme = other.text("type", "Bearer".to_owned());
        match secret(&mut other, ["credentials", "credentials_file"]) {
            Some(secret) => found.push(Credentials::Other(scheme, secret)),
            None => other.refuse("credentials", None, "is missing"),
        }
        other.finish();
    }
    if found.len() > 1 {
        section.refuse("", None, "has more than one of basic_auth, authorization and bearer_token");
    }
    found.pop()
}

fn secret(section: &mut Section<'_>, [text, file]: [&'static str; 2]) -> Option<Secret> {
    match (section.optional_text(text), section.optional_text(file)) {
        (Some(_), Some(_)) => {
            section.refuse(file, None, format!("is given beside {text}"));
            None
        }
        (Some(text), None) => Some(Secret::Text(text)),
        (None, Some(path)) => Some(Secret::File(PathBuf::from(path))),
        (None, None) => None,
    }
}

/// `params`: names with lists of values.
fn params(section: &mut Section<'_>) -> BTreeMap<String, Vec<String>> {
    let mut out = BTreeMap::new();
    let Some(node) = section.take("params") else { return out };
    let Value::Map(entries) = node.value else {
        section.refuse("params", Some(node.line), format!("expected a map, got {}", node.value.kind()));
        return out;
    };
    for (key, value) in entries {
        let values = match value.value {
            Value::List(items) => items.iter().filter_map(|item| item.value.scalar()).collect(),
            other => {
                let message = format!("{:?}: expected a list, got {}", key.name, other.kind());
                section.refuse("params", Some(key.line), message);
                continue;
            }
        };
        out.insert(key.name, values);
    }
    out
}
