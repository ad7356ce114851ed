//! Peers that run on the same input in turn: where each takes OTLP and where it answers.

use std::time::Duration;

use anyhow::Context as _;
use throughline_generate::TraceTruth;

use super::server::{Place, now};

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
}

/// What is known of ourselves.
pub const OURSELVES: Profile = Profile {
    prefix: super::OURS,
    path_prefix: "",
    grpc: true,
    signals: [true; 3],
    trace_path: Some("/api/throughline/v1/traces/{id}"),
    queries_at_http_port: false,
};

/// Answers to look-ups that are shorter than this hold no trace.
const ANSWER_BYTES_MIN: usize = 200;

const PROFILES: [Profile; 5] = [
    Profile {
        prefix: "victoriatraces",
        path_prefix: "/insert/opentelemetry",
        grpc: false,
        signals: [true, false, false],
        trace_path: Some("/select/jaeger/api/traces/{id}"),
        queries_at_http_port: true,
    },
    Profile {
        prefix: "victorialogs",
        path_prefix: "/insert/opentelemetry",
        grpc: false,
        signals: [false, true, false],
        trace_path: Some("/select/logsql/query?query=trace_id:{id}"),
        queries_at_http_port: true,
    },
    Profile {
        prefix: "victoriametrics",
        path_prefix: "/opentelemetry",
        grpc: false,
        signals: [false, false, true],
        trace_path: None,
        queries_at_http_port: true,
    },
    Profile {
        prefix: "loki",
        path_prefix: "/otlp",
        grpc: false,
        signals: [false, true, false],
        trace_path: None,
        queries_at_http_port: true,
    },
    Profile {
        prefix: "tempo",
        path_prefix: "",
        grpc: true,
        signals: [true, false, false],
        trace_path: Some("/api/traces/{id}"),
        queries_at_http_port: false,
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

impl Profile {
    /// Looks traces up and returns the latencies in milliseconds; none where the system keeps no traces.
    pub fn look_up(&self, place: &Place, traces: &[TraceTruth]) -> anyhow::Result<Vec<f64>> {
        let Some(path) = self.trace_path.filter(|_| self.signals[0]) else { return Ok(Vec::new()) };
        let port = if self.queries_at_http_port { place.http_port } else { place.query_port };
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
}
