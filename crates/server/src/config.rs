//! The configuration: Collector-shaped YAML with one section of our own, `throughline`. No file is needed.
//!
//! 1. [`tree`]: text to values with lines;
//! 2. [`expand`]: environment variables;
//! 3. [`section`], [`components`], [`spans`], [`prometheus`], [`filelog`] and [`derive`]: values to settings, collecting every problem.
//!
//! What a Collector may configure and this version cannot do yet is
//! refused by name, never ignored.

mod components;
mod derive;
mod expand;
mod filelog;
mod prometheus;
mod query;
pub mod rule_file;
pub mod rule_files;
pub mod rules;
mod sampling;
mod section;
mod spans;
mod tree;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use prometheus::Scraping;
pub use query::{Prometheus, Query};
pub use section::Problem;
use section::Section;
use throughline_derive::DeriveConfig;
use throughline_store::{Sampling, StoreConfig};

/// Everything that can be configured, with its default where the file says nothing.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of the store.
    pub data_dir: PathBuf,
    /// When an acknowledgement is sent.
    pub durability: Durability,
    /// Where the native API listens.
    pub api_endpoint: SocketAddr,
    /// The `otlp` receiver.
    pub otlp: Otlp,
    /// What requests and items may be.
    pub limits: Limits,
    /// When memory goes to disk.
    pub memtable: Memtable,
    /// How long data is kept.
    pub retention: Retention,
    /// What one query may use.
    pub query: Query,
    /// How OTLP becomes Prometheus series.
    pub prometheus: Prometheus,
    /// What is fetched and not sent.
    pub pulled: Pulled,
    /// What is derived from spans, if anything is.
    pub derive: Option<DeriveConfig>,
    /// What is worth knowing and no problem.
    pub warnings: Vec<String>,
}

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The data survives power loss: it is sent after `fdatasync`.
    Fsync,
    /// The data survives a crash of the process only: it is sent after the write.
    Os,
}

/// The `otlp` receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Otlp {
    /// Where OTLP/gRPC listens, if it does.
    pub grpc: Option<SocketAddr>,
    /// Where OTLP/HTTP listens, if it does.
    pub http: Option<SocketAddr>,
    /// The largest request, decompressed.
    pub request_bytes_max: u64,
    /// HTTP/2 requests at once on one connection.
    pub streams_max: u32,
    /// The receivers of other systems' spans, which share the limits.
    pub spans: SpanReceivers,
}

/// The `jaeger` and `zipkin` receivers: where each listens, if it does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanReceivers {
    /// Jaeger over gRPC.
    pub jaeger_grpc: Option<SocketAddr>,
    /// Jaeger's Thrift over HTTP.
    pub jaeger_http: Option<SocketAddr>,
    /// Zipkin.
    pub zipkin: Option<SocketAddr>,
}

impl Otlp {
    /// Everything that listens for what is sent, with what it is called.
    pub fn listeners(&self) -> [(&'static str, Option<SocketAddr>); 5] {
        let SpanReceivers { jaeger_grpc, jaeger_http, zipkin } = self.spans;
        [
            ("otlp grpc", self.grpc),
            ("otlp http", self.http),
            ("jaeger grpc", jaeger_grpc),
            ("jaeger thrift_http", jaeger_http),
            ("zipkin", zipkin),
        ]
    }
}

/// What is fetched and not sent.
#[derive(Clone, Debug, Default)]
pub struct Pulled {
    /// The `prometheus` receiver.
    pub scraping: Scraping,
    /// The `filelog` receivers.
    pub filelog: Vec<throughline_filelog::settings::Receiver>,
}

/// What requests and items may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of all requests in work.
    pub in_flight_bytes: u64,
    /// Connections at once.
    pub connections: u64,
    /// Bytes of one attribute.
    pub attribute_bytes: u64,
    /// Attributes of one item.
    pub attributes_per_item: u64,
    /// Items of one request.
    pub items_per_request: u64,
    /// How far in the future an item may lie.
    pub future: Duration,
}

/// When the memtable is flushed.
#[derive(Clone, Debug, PartialEq)]
pub struct Memtable {
    /// When it holds so many bytes.
    pub bytes: u64,
    /// When its oldest row is so old.
    pub age: Duration,
}

/// How long data is kept.
#[derive(Clone, Debug)]
pub struct Retention {
    /// Data older than this is removed.
    pub age: Duration,
    /// The oldest data is removed when the folder is larger; none where only age counts.
    pub disk_budget_bytes: Option<u64>,
    /// Traces that something cites are held beyond `age` and `disk_budget` in so many bytes.
    pub held_budget_bytes: u64,
    /// Writes are refused when the disk has less free than this; none leaves it to the store.
    pub disk_reserve_bytes: Option<u64>,
    /// Which traces stay; all of them where none is.
    pub sampling: Option<Sampling>,
}

const MIB: u64 = 1 << 20;
const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

impl Default for Config {
    fn default() -> Self {
        Config {
            data_dir: PathBuf::from("./throughline-data"),
            durability: Durability::Fsync,
            api_endpoint: SocketAddr::from((LOOPBACK, 4319)),
            otlp: Otlp {
                grpc: Some(SocketAddr::from((LOOPBACK, 4317))),
                http: Some(SocketAddr::from((LOOPBACK, 4318))),
                request_bytes_max: 64 * MIB,
                streams_max: 128,
                spans: SpanReceivers::default(),
            },
            limits: Limits {
                in_flight_bytes: 256 * MIB,
                connections: 768,
                attribute_bytes: MIB,
                attributes_per_item: 1024,
                items_per_request: 500_000,
                future: Duration::from_secs(600),
            },
            memtable: Memtable { bytes: 64 * MIB, age: Duration::from_secs(30) },
            retention: Retention {
                age: Duration::from_secs(15 * 86_400),
                disk_budget_bytes: None,
                held_budget_bytes: StoreConfig::HELD_BYTES,
                disk_reserve_bytes: None,
                sampling: None,
            },
            query: Query::default(),
            prometheus: Prometheus::default(),
            pulled: Pulled::default(),
            derive: Some(DeriveConfig::default()),
            warnings: Vec::new(),
        }
    }
}

/// Reads a file, or takes the defaults where there is none.
pub fn load(path: Option<&Path>) -> Result<Config, Vec<Problem>> {
    let Some(path) = path else { return Ok(Config::default()) };
    let text = std::fs::read_to_string(path).map_err(|error| {
        let message = format!("read {}: {error}", path.display());
        vec![Problem { path: String::new(), line: None, message }]
    })?;
    let mut config = parse(&text, &|name| std::env::var(name).ok())?;
    config.prometheus.rules.base = path.parent().unwrap_or(Path::new("")).to_owned();
    Ok(config)
}

/// Reads configuration text.
pub fn parse(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Vec<Problem>> {
    let mut root = tree::parse(text).map_err(|(line, message)| {
        let message = format!("cannot unmarshal the configuration: {message}");
        vec![Problem { path: String::new(), line, message }]
    })?;
    let mut unexpanded = Vec::new();
    expand::expand(&mut root, env, &mut unexpanded);
    let mut problems: Vec<Problem> = unexpanded
        .into_iter()
        .map(|(line, message)| Problem { path: String::new(), line: Some(line), message })
        .collect();
    let mut config = Config::default();
    let mut top = Section::new("", Some(root), &mut problems);
    components::read(&mut top, &mut config);
    read_own(top.section("throughline"), &mut config);
    top.finish();
    check_whole(&config, &mut problems);
    config.warnings.extend(exposed(&config));
    problems.sort_by_key(|problem| problem.line);
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

fn read_own(mut own: Section<'_>, config: &mut Config) {
    config.data_dir = PathBuf::from(own.text("data_dir", config.data_dir.display().to_string()));
    let choices = [("fsync", Durability::Fsync), ("os", Durability::Os)];
    config.durability = own.choice("durability", config.durability, &choices);
    let mut api = own.section("api");
    config.api_endpoint = api.endpoint("endpoint", config.api_endpoint);
    api.finish();
    read_limits(own.section("limits"), &mut config.limits);
    let mut memtable = own.section("memtable");
    config.memtable.bytes = memtable.size("size", config.memtable.bytes, MIB);
    config.memtable.age = memtable.duration("age", config.memtable.age, Duration::from_secs(1));
    memtable.finish();
    let mut retention = own.section("retention");
    config.retention.age = retention.duration("age", config.retention.age, Duration::from_secs(60));
    config.retention.disk_budget_bytes = retention.optional_size("disk_budget", 64 * MIB);
    // By default no more than a tenth of what all may take.
    let tenth = config.retention.disk_budget_bytes.map_or(u64::MAX, |budget| budget / 10);
    config.retention.held_budget_bytes =
        retention.size("held_budget", config.retention.held_budget_bytes.min(tenth), 0);
    config.retention.disk_reserve_bytes = retention.optional_size("disk_reserve", MIB);
    retention.finish();
    config.retention.sampling = sampling::read(&mut own);
    query::read_query(own.section("query"), &mut config.query);
    query::read_prometheus(own.section("prometheus"), &mut config.prometheus);
    query::read_loki(own.section("loki"), &mut config.query);
    config.derive = derive::read(own.section("derive"));
    rules::read(own.section("rules"), &mut config.prometheus.rules);
    rules::read_alerting(own.section("alerting"), &mut config.prometheus.rules);
    config.prometheus.rules.settings.external_labels =
        config.prometheus.external_labels.iter().cloned().collect();
    own.finish();
}

fn read_limits(mut section: Section<'_>, limits: &mut Limits) {
    limits.in_flight_bytes = section.size("in_flight_size", limits.in_flight_bytes, MIB);
    limits.connections = section.number("connections", limits.connections, 1..=100_000);
    limits.attribute_bytes = section.size("attribute_size", limits.attribute_bytes, 256);
    limits.attributes_per_item =
        section.number("attributes_per_item", limits.attributes_per_item, 1..=100_000);
    limits.items_per_request = section.number("items_per_request", limits.items_per_request, 1..=10_000_000);
    limits.future = section.duration("future", limits.future, Duration::ZERO);
    section.finish();
}

/// What only the settings together show.
fn check_whole(config: &Config, problems: &mut Vec<Problem>) {
    if config.otlp.request_bytes_max * 2 > config.limits.in_flight_bytes {
        let message = format!(
            "{} bytes are less than twice the largest request ({} bytes), which could then never be read",
            config.limits.in_flight_bytes, config.otlp.request_bytes_max
        );
        let path = "throughline::limits::in_flight_size".to_owned();
        problems.push(Problem { path, line: None, message });
    }
    let listeners = config.otlp.listeners().into_iter().filter_map(|(_, address)| address);
    let listeners = listeners.chain([config.api_endpoint]);
    let mut taken: Vec<SocketAddr> = listeners.filter(|address| address.port() != 0).collect();
    taken.sort_unstable();
    if let Some(twice) = taken.windows(2).find(|pair| pair[0] == pair[1]) {
        let message = format!("{} is the endpoint of two listeners", twice[0]);
        problems.push(Problem { path: String::new(), line: None, message });
    }
}

/// A line for every listener that others can reach.
fn exposed(config: &Config) -> Vec<String> {
    let listeners = config.otlp.listeners().into_iter().chain([("api", Some(config.api_endpoint))]);
    let open = listeners.filter_map(|(name, address)| Some((name, address?)));
    open.filter(|(_, address)| !address.ip().is_loopback())
        .map(|(name, address)| {
            format!("{name} listens on {address}, which is not loopback: anyone who reaches it can use it, without \
                     authentication or encryption")
        })
        .collect()
}

#[cfg(test)]
mod tests;
