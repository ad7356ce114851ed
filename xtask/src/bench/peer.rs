//! Peers that run on the same input in turn: where each takes OTLP and where it answers.

use std::time::Duration;

use anyhow::Context as _;
use throughline_generate::TraceTruth;

use super::server::{Place, Server, now};

/// A peer as it was named on the command line.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The name, which chooses the profile.
    pub name: String,
    /// The command that starts it.
    pub command: String,
    /// What is known of it.
    pub profile: Profile,
}

/// What is known of a system.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// What its name starts with.
    prefix: &'static str,
    /// Before `/v1/traces` in its OTLP/HTTP paths.
    pub path_prefix: &'static str,
    /// Whether it takes OTLP/gRPC.
    pub grpc: bool,
    /// Which signals it takes: traces, logs, metrics.
    pub signals: [bool; 3],
    /// The path that answers with a trace; `{id}` is its id in hexadecimal.
    pub trace_path: Option<&'static str>,
    /// Whether queries go to the port of OTLP/HTTP rather than to one of their own.
    pub queries_at_http_port: bool,
    /// The configuration that it is started with, with places as a command has them: `{config}` there is the file.
    configuration: Option<&'static str>,
    /// The path among those of queries that answers with success once the system takes requests.
    ready_path: Option<&'static str>,
}

/// What is known of ourselves.
pub const OURSELVES: Profile = Profile {
    prefix: super::OURS,
    path_prefix: "",
    grpc: true,
    signals: [true; 3],
    trace_path: Some("/api/throughline/v1/traces/{id}"),
    queries_at_http_port: false,
    configuration: None,
    ready_path: None,
};

/// Tempo in one process on local disk: limits on what comes in are lifted, and so are those on how old it may be. What is not said is
/// as it comes.
const TEMPO: &str = r#"
server: { http_listen_address: 127.0.0.1, http_listen_port: {query_port}, grpc_listen_address: 127.0.0.1, grpc_listen_port: {inner_port}, log_level: warn }
distributor:
  receivers:
    otlp: { protocols: { grpc: { endpoint: "127.0.0.1:{grpc_port}" }, http: { endpoint: "127.0.0.1:{http_port}" } } }
storage:
  trace:
    backend: local
    wal: { path: "{data_dir}/wal", ingestion_time_range_slack: 24h }
    local: { path: "{data_dir}/blocks" }
live_store:
  ring: { instance_addr: 127.0.0.1 }
  wal: { path: "{data_dir}/live", ingestion_time_range_slack: 24h }
  shutdown_marker_dir: "{data_dir}/shutdown"
  max_live_traces_bytes: 2000000000
backend_scheduler: { local_work_path: "{data_dir}/work" }
metrics_generator: { storage: { path: "{data_dir}/generator" } }
memberlist: { bind_addr: [127.0.0.1], bind_port: {gossip_port} }
overrides:
  defaults:
    ingestion: { rate_limit_bytes: 2000000000, burst_size_bytes: 2000000000, max_traces_per_user: 100000000 }
usage_report: { reporting_enabled: false }
"#;

/// Jaeger in one process with Badger, the storage that it brings and that outlives it.
const JAEGER: &str = r#"
service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines: { traces: { receivers: [otlp], processors: [batch], exporters: [jaeger_storage_exporter] } }
  telemetry: { metrics: { level: none }, logs: { level: warn } }
extensions:
  jaeger_query:
    storage: { traces: spans }
    http: { endpoint: "127.0.0.1:{query_port}" }
    grpc: { endpoint: "127.0.0.1:{inner_port}" }
  jaeger_storage:
    backends: { spans: { badger: { directories: { keys: "{data_dir}/keys", values: "{data_dir}/values" }, ephemeral: false } } }
receivers:
  otlp: { protocols: { grpc: { endpoint: "127.0.0.1:{grpc_port}" }, http: { endpoint: "127.0.0.1:{http_port}" } } }
processors: { batch: {} }
exporters: { jaeger_storage_exporter: { trace_storage: spans } }
"#;

/// Loki in one process on local disk: limits on what comes in, on its messages and on the series of an answer are lifted; it finds patterns.
/// What is not said is as it comes, so no answer is kept for the next time.
const LOKI: &str = r#"
auth_enabled: false
server:
  { http_listen_address: 127.0.0.1, http_listen_port: {http_port}, grpc_listen_address: 127.0.0.1, grpc_listen_port: {inner_port}, log_level: warn, grpc_server_max_recv_msg_size: 134217728 }
common:
  instance_addr: 127.0.0.1
  path_prefix: "{data_dir}"
  replication_factor: 1
  ring: { kvstore: { store: inmemory } }
  storage:
    object_store: { filesystem: { dir: "{data_dir}/chunks" } }
    filesystem: { chunks_directory: "{data_dir}/chunks", rules_directory: "{data_dir}/rules" }
schema_config:
  configs: [{ from: 2020-10-24, store: tsdb, object_store: filesystem, schema: v13, index: { prefix: index_, period: 24h } }]
limits_config:
  ingestion_rate_mb: 2000
  ingestion_burst_size_mb: 2000
  per_stream_rate_limit: 2GB
  per_stream_rate_limit_burst: 2GB
  max_query_series: 1000000
pattern_ingester: { enabled: true }
analytics: { reporting_enabled: false }
"#;

/// How long a system may take until it says that it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// Answers to look-ups that are shorter than this hold no trace.
const ANSWER_BYTES_MIN: usize = 200;

const PROFILES: [Profile; 6] = [
    Profile {
        prefix: "victoriatraces",
        path_prefix: "/insert/opentelemetry",
        grpc: false,
        signals: [true, false, false],
        trace_path: Some("/select/jaeger/api/traces/{id}"),
        queries_at_http_port: true,
        configuration: None,
        ready_path: None,
    },
    Profile {
        prefix: "victorialogs",
        path_prefix: "/insert/opentelemetry",
        grpc: false,
        signals: [false, true, false],
        trace_path: Some("/select/logsql/query?query=trace_id:{id}"),
        queries_at_http_port: true,
        configuration: None,
        ready_path: None,
    },
    Profile {
        prefix: "victoriametrics",
        path_prefix: "/opentelemetry",
        grpc: false,
        signals: [false, false, true],
        trace_path: None,
        queries_at_http_port: true,
        configuration: None,
        ready_path: None,
    },
    Profile {
        prefix: "loki",
        path_prefix: "/otlp",
        grpc: false,
        signals: [false, true, false],
        trace_path: None,
        queries_at_http_port: true,
        configuration: Some(LOKI),
        ready_path: Some("/ready"),
    },
    Profile {
        prefix: "tempo",
        path_prefix: "",
        grpc: true,
        signals: [true, false, false],
        trace_path: Some("/api/traces/{id}"),
        queries_at_http_port: false,
        configuration: Some(TEMPO),
        ready_path: Some("/ready"),
    },
    Profile {
        prefix: "jaeger",
        path_prefix: "",
        grpc: true,
        signals: [true, false, false],
        trace_path: Some("/api/traces/{id}"),
        queries_at_http_port: false,
        configuration: Some(JAEGER),
        ready_path: Some("/api/v3/services"),
    },
];

/// Reads `NAME=COMMAND`.
pub fn parse(text: &str) -> anyhow::Result<Peer> {
    let (name, command) = text.split_once('=').context("a peer is NAME=COMMAND")?;
    let profile = PROFILES.iter().find(|profile| name.to_lowercase().starts_with(profile.prefix)).copied();
    let known: Vec<&str> = PROFILES.iter().map(|profile| profile.prefix).collect();
    let profile = profile.with_context(|| format!("peer {name:?} is none of {}", known.join(", ")))?;
    Ok(Peer { name: name.to_owned(), command: command.to_owned(), profile })
}

impl Peer {
    /// Starts it in a place, and waits until it takes requests.
    pub fn start(&self, place: Place) -> anyhow::Result<Server> {
        self.start_with(place, "")
    }

    /// Starts it with more lines at the end of its configuration.
    pub fn start_with(&self, place: Place, more: &str) -> anyhow::Result<Server> {
        if let Some(configuration) = self.profile.configuration {
            place.write_config(&place.filled(&format!("{configuration}{more}")))?;
        }
        let server = Server::peer(&self.command, place)?;
        let Some(path) = self.profile.ready_path else { return Ok(server) };
        let url = format!("http://{}{path}", Place::address(self.profile.query_port(&server.place)));
        let deadline = now() + READY_TIMEOUT;
        while let Err(error) = ureq::get(&url).call() {
            anyhow::ensure!(
                now() < deadline,
                "not ready after {READY_TIMEOUT:?}: GET {url}: {error}; see {}",
                server.log_path().display()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(server)
    }
}

impl Profile {
    /// Where queries go.
    pub fn query_port(&self, place: &Place) -> u16 {
        if self.queries_at_http_port { place.http_port } else { place.query_port }
    }

    /// Looks traces up and returns the latencies in milliseconds; none where the system keeps no traces.
    pub fn look_up(&self, place: &Place, traces: &[TraceTruth]) -> anyhow::Result<Vec<f64>> {
        let Some(path) = self.trace_path.filter(|_| self.signals[0]) else { return Ok(Vec::new()) };
        let port = self.query_port(place);
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(60))).build();
        let agent: ureq::Agent = config.into();
        let mut latencies = Vec::with_capacity(traces.len());
        for trace in traces {
            let url = format!("http://{}{}", Place::address(port), path.replace("{id}", &trace.hex_id()));
            let start = now();
            let answer =
                agent.get(&url).call().with_context(|| format!("GET {url}"))?.body_mut().read_to_vec()?;
            latencies.push(start.elapsed().as_secs_f64() * 1e3);
            anyhow::ensure!(answer.len() >= ANSWER_BYTES_MIN, "GET {url}: no trace in the answer");
        }
        Ok(latencies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_chooses_the_profile() {
        let peer = parse("tempo-3=./tempo --port={http_port}").unwrap();
        assert_eq!((peer.name.as_str(), peer.profile.path_prefix, peer.profile.grpc), ("tempo-3", "", true));
        assert!(parse("other=x").is_err() && parse("tempo").is_err());
    }

    #[test]
    fn configurations_have_every_place_filled_in() {
        let place = Place::beside(std::path::Path::new("/data")).unwrap();
        for configuration in PROFILES.iter().filter_map(|profile| profile.configuration) {
            let filled = place.filled(configuration);
            let left = ["_port}", "_dir}"].iter().find(|left| filled.contains(**left));
            assert!(left.is_none() && filled.contains("/data/"), "{left:?} in {filled}");
        }
    }
}
