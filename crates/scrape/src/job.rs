//! What is to be scraped, how, and what of it is kept: a validated entry of `scrape_configs`.

use std::collections::BTreeMap;
use std::time::Duration;

use throughline_wire::prometheus::exposition::{Escaping, Format, Histograms};

use crate::discovery::{FileDiscovery, Group, HttpDiscovery};
use crate::relabel::Rule;

/// A job.
#[derive(Clone, Debug)]
pub struct Job {
    /// The label `job`, unless discovery or relabelling say otherwise.
    pub name: String,
    /// How often.
    pub interval: Duration,
    /// How long a scrape may take.
    pub timeout: Duration,
    /// How pages are fetched.
    pub fetch: Fetch,
    /// What is believed of a page.
    pub honor: Honor,
    /// What becomes of histograms.
    pub histograms: Histograms,
    /// What a page may be.
    pub limits: PageLimits,
    /// Where the targets are.
    pub discovery: Discovery,
    /// Rules for the labels of targets.
    pub target_rules: Vec<Rule>,
    /// Rules for the labels of samples.
    pub sample_rules: Vec<Rule>,
    /// Names of metrics and labels may have letters, digits, underscores and colons only.
    pub legacy_names: bool,
    /// `scrape_timeout_seconds`, `scrape_sample_limit` and `scrape_body_size_bytes` are written as well.
    pub extra_metrics: bool,
}

/// How pages are fetched.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// The label `__scheme__`.
    pub scheme: String,
    /// The label `__metrics_path__`.
    pub path: String,
    /// Parameters of the URL.
    pub params: BTreeMap<String, Vec<String>>,
    /// The value of `Authorization`, where there is one.
    pub authorization: Option<Credentials>,
    /// Formats that are asked for, the best first.
    pub protocols: Vec<Protocol>,
    /// What a page is taken for that does not say what it is.
    pub fallback: Option<Protocol>,
    /// How names beyond the legacy letters are asked for.
    pub escaping: Escaping,
    /// gzip is asked for.
    pub gzip: bool,
    /// Redirects are followed.
    pub redirects: bool,
}

/// A secret for the header `Authorization`, or where it stands.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// `Basic`: user and password.
    Basic(String, Secret),
    /// Another scheme, mostly `Bearer`.
    Other(String, Secret),
}

/// A secret, or the file that has it, which is read for every scrape.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The secret.
    Text(String),
    /// Its file.
    File(std::path::PathBuf),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

/// What is believed of a page.
#[derive(Clone, Copy, Debug)]
pub struct Honor {
    /// Its labels win over those of the target.
    pub labels: bool,
    /// Its times are taken.
    pub timestamps: bool,
    /// Series with times of their own end, too, when they are no longer shown.
    pub timestamps_staleness: bool,
}

/// What a page, and a job, may be. Zero is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct PageLimits {
    /// Bytes of a page, decompressed.
    pub body_bytes: usize,
    /// Samples after relabelling.
    pub samples: usize,
    /// Labels of a sample.
    pub labels: usize,
    /// Bytes of a label's name.
    pub label_name_bytes: usize,
    /// Bytes of a label's value.
    pub label_value_bytes: usize,
    /// Targets of the job.
    pub targets: usize,
    /// Dropped targets that are shown.
    pub dropped_targets: usize,
}

/// Where targets are.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// Written down.
    pub fixed: Vec<Group>,
    /// In files.
    pub files: Vec<FileDiscovery>,
    /// Behind URLs.
    pub urls: Vec<HttpDiscovery>,
}

/// A format that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Delimited protobuf.
    Proto,
    /// OpenMetrics 1.0.0.
    OpenMetrics1,
    /// OpenMetrics 0.0.1.
    OpenMetrics0,
    /// Prometheus' text with names of any letters.
    Text1,
    /// Prometheus' text.
    Text0,
}

impl Protocol {
    /// All of them, by the names that configurations use.
    pub const NAMES: [(&'static str, Protocol); 5] = [
        ("PrometheusProto", Protocol::Proto),
        ("OpenMetricsText1.0.0", Protocol::OpenMetrics1),
        ("OpenMetricsText0.0.1", Protocol::OpenMetrics0),
        ("PrometheusText1.0.0", Protocol::Text1),
        ("PrometheusText0.0.4", Protocol::Text0),
    ];

    /// What is asked for where nothing is configured; protobuf first where native histograms are wanted, which only it
    /// has.
    pub fn defaults(native_histograms: bool) -> Vec<Protocol> {
        let all = Protocol::NAMES.map(|(_, protocol)| protocol);
        all.into_iter().filter(|protocol| native_histograms || *protocol != Protocol::Proto).collect()
    }

    /// How its pages are read.
    pub fn format(self) -> Format {
        match self {
            Protocol::Proto => Format::Protobuf,
            Protocol::OpenMetrics1 | Protocol::OpenMetrics0 => Format::OpenMetrics,
            Protocol::Text1 | Protocol::Text0 => Format::Text,
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Protocol::Proto => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
            Protocol::OpenMetrics1 => "application/openmetrics-text;version=1.0.0",
            Protocol::OpenMetrics0 => "application/openmetrics-text;version=0.0.1",
            Protocol::Text1 => "text/plain;version=1.0.0",
            Protocol::Text0 => "text/plain;version=0.0.4",
        }
    }

    /// The value of `Accept` that asks for these, in this order.
    pub fn accept(protocols: &[Protocol], escaping: Escaping) -> String {
        let mut out = String::new();
        let mut weight = Protocol::NAMES.len() + 1;
        for protocol in protocols.iter().take(Protocol::NAMES.len()) {
            out += protocol.media_type();
            if matches!(protocol, Protocol::Text1 | Protocol::OpenMetrics1) {
                out += &format!(";escaping={}", escaping.name());
            }
            out += &format!(";q=0.{weight},");
            weight -= 1;
        }
        out + &format!("*/*;q=0.{weight}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_asked_for_in_order() {
        assert_eq!(
            Protocol::accept(&Protocol::defaults(false), Escaping::AllowUtf8),
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
        assert_eq!(Protocol::defaults(true)[0], Protocol::Proto);
    }
}

#[cfg(test)]
pub(crate) mod sample {
    //! A job for tests.

    use super::*;

    /// A job with Prometheus' defaults.
    pub fn job() -> Job {
        Job {
            name: "shop".to_owned(),
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(10),
            fetch: Fetch {
                scheme: "http".to_owned(),
                path: "/metrics".to_owned(),
                params: BTreeMap::new(),
                authorization: None,
                protocols: Protocol::defaults(false),
                fallback: None,
                escaping: Escaping::AllowUtf8,
                gzip: true,
                redirects: true,
            },
            honor: Honor { labels: false, timestamps: true, timestamps_staleness: false },
            histograms: Histograms::default(),
            limits: PageLimits::default(),
            discovery: Discovery::default(),
            target_rules: Vec::new(),
            sample_rules: Vec::new(),
            legacy_names: false,
            extra_metrics: false,
        }
    }
}
