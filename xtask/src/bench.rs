//! `cargo xtask bench`: figures of Throughline, and of peers on the same input in turn.
//!
//! Per core means per CPU second of the server process as the operating system accounts it. One job at a time: the
//! sender is a process of its own, and nothing else should run on the machine.

mod corpus;
mod incidents;
mod ingest;
mod investigate;
mod logs;
mod lookup;
mod metrics;
pub mod peer;
mod queries;
pub mod samples;
pub mod server;
mod shares;
mod table;
mod traces;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};

pub use corpus::now_ns;
pub use ingest::{sender_process, sent_by};

/// The name under which our own figures stand.
const OURS: &str = "throughline";

/// What to measure.
#[derive(Subcommand, Clone, Debug)]
pub enum Bench {
    /// Items in: CPU, memory, bytes on disk, per signal, protocol and encoding
    Ingest(ingest::IngestArguments),
    /// Questions: traces by id and searches, at several sizes, idle and during ingest
    Lookup(lookup::LookupArguments),
    /// Questions about log records: needles, counts, patterns, labels, through Loki's API
    Logs(logs::LogsArguments),
    /// Questions about traces: by id, in TraceQL, tag values
    Traces(traces::TracesArguments),
    /// Samples in by remote write: CPU, memory, bytes on disk, at several numbers of series; then forty queries
    Metrics(metrics::MetricsArguments),
    /// An hour of all signals, and investigations of it: cold, warm, and the memory that they take
    Investigate(investigate::InvestigateArguments),
    /// Real incidents through the receiver, and whether the investigation names the service that caused them
    Incidents(incidents::IncidentArguments),
}

/// What both have.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// The server to measure
    #[arg(long, default_value = "target/release/throughline")]
    server: PathBuf,
    /// Where the server keeps its data and the input lies
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
    /// A peer to run on the same input: victoriatraces, victorialogs, victoriametrics, loki, tempo or jaeger, and the command that
    /// starts it, with {http_port}, {grpc_port}, {query_port} and {data_dir} in it, and {config} for loki, tempo and jaeger, which
    /// get a configuration: `tempo=./tempo -config.file={config}` (loki likewise), `jaeger=./jaeger --config {config}`
    #[arg(long, value_name = "NAME=COMMAND")]
    peer: Vec<String>,
    /// Seed of the telemetry
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// `fsync` or `os`
    #[arg(long, default_value = "fsync")]
    durability: String,
    /// Write all figures into this file
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Common {
    fn binary(&self) -> PathBuf {
        self.server.clone()
    }

    fn folder(&self) -> PathBuf {
        self.folder.clone()
    }

    fn own_settings(&self) -> String {
        format!("durability: {}\n", self.durability)
    }
}

/// Runs the command.
pub fn run(bench: &Bench) -> anyhow::Result<()> {
    let (figures, common) = match bench {
        Bench::Ingest(arguments) => (ingest::run(arguments)?, arguments.common()),
        Bench::Lookup(arguments) => (lookup::run(arguments)?, arguments.common()),
        Bench::Logs(arguments) => (logs::run(arguments)?, arguments.common()),
        Bench::Traces(arguments) => (traces::run(arguments)?, arguments.common()),
        Bench::Metrics(arguments) => (metrics::run(arguments)?, arguments.common()),
        Bench::Investigate(arguments) => (investigate::run(arguments)?, arguments.common()),
        Bench::Incidents(arguments) => return incidents::run(arguments),
    };
    println!("durability of Throughline: {}", common.durability);
    table::print(&figures);
    if let Some(path) = &common.json {
        write_file(path, &serde_json::to_vec_pretty(&figures)?)?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the file is the benchmark's, not the store's")]
fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}
