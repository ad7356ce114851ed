//! `bench ingest`: the same bytes to every server, each in a fresh folder, one after the other.
//!
//! A run: start, send, wait until compaction is done, read CPU time and peak memory from `/proc` and the bytes on
//! disk, stop. CPU time runs from the start of the process to the end of compaction, so nothing is left out.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::corpus::{Amount, Corpus, now_ns};
use super::peer::{self, Peer};
use super::server::{Place, Server, Usage, disk_usage, remove_folder};
use super::shares::{PARTS, Recording};
use super::table::{Bar, Figure, percentile};
use super::{Common, OURS};
use crate::send::Sent;

/// A memtable is flushed when it is 30 s old, and a partition that got no new block for 60 s after that is merged whatever it has:
/// until then nothing is at rest.
pub const FLUSH_AGE: Duration = Duration::from_secs(100);
/// A server that has not come to rest by then is measured as it is.
const SETTLE_MAX: Duration = Duration::from_secs(600);

/// Arguments of `bench ingest`.
#[derive(Args, Clone, Debug)]
pub struct IngestArguments {
    #[command(flatten)]
    common: Common,
    /// Spans of the input
    #[arg(long, default_value_t = 2_000_000)]
    spans: u64,
    /// Log records of the input
    #[arg(long, default_value_t = 3_000_000)]
    logs: u64,
    /// Metric data points of the input
    #[arg(long, default_value_t = 414_720)]
    points: u64,
    /// What to send: traces, logs, metrics, mixed
    #[arg(long, value_delimiter = ',', default_value = "traces,logs,metrics,mixed")]
    signals: Vec<String>,
    /// How to send: grpc, http
    #[arg(long, value_delimiter = ',', default_value = "grpc,http")]
    protocols: Vec<String>,
    /// How to encode: plain, gzip
    #[arg(long, value_delimiter = ',', default_value = "plain,gzip")]
    encodings: Vec<String>,
    /// Runs of every combination
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Connections of the sender
    #[arg(long, default_value_t = 3)]
    connections: usize,
    /// Requests under way on each connection
    #[arg(long, default_value_t = 8)]
    in_flight: usize,
    /// perf(1), by which the shares of parts of the server in its CPU time are told apart; it slows the server down a little
    #[arg(long)]
    perf: Option<PathBuf>,
}

impl IngestArguments {
    /// What all benchmarks have.
    pub fn common(&self) -> &Common {
        &self.common
    }
}

/// One thing to measure.
struct Job<'a> {
    signals: &'a str,
    protocol: &'a str,
    gzip: bool,
}

impl Job<'_> {
    fn name(&self) -> String {
        format!("{} over {}, {}", self.signals, self.protocol, if self.gzip { "gzip" } else { "plain" })
    }
}

/// What one run gave.
struct Outcome {
    sent: Sent,
    cpu_seconds: f64,
    peak_memory_bytes: u64,
    /// Bytes in blocks and everything else that stays, by file.
    files: Vec<(String, u64)>,
    /// Latencies of look-ups by trace id at rest, milliseconds.
    lookups_ms: Vec<f64>,
    /// What parts of the server have of its CPU time, per cent, where that was asked for.
    shares: Vec<f64>,
}

/// Runs the command.
pub fn run(arguments: &IngestArguments) -> anyhow::Result<Vec<Figure>> {
    let amount = Amount { spans: arguments.spans, logs: arguments.logs, points: arguments.points };
    let folder = arguments.common.folder();
    let peers = arguments.common.peers()?;
    if arguments.perf.is_none() {
        eprintln!("no --perf PATH: shares of CPU time SKIPPED");
    }
    let mut figures = Vec::new();
    for signals in &arguments.signals {
        eprintln!("{signals}: encoding the input");
        let corpus = Corpus::write(&folder, signals, amount.only(signals)?, arguments.common.seed, now_ns())?;
        for protocol in &arguments.protocols {
            for encoding in &arguments.encodings {
                let job = Job { signals, protocol, gzip: encoding == "gzip" };
                figures.extend(measure(arguments, &folder, &corpus, &job, None)?);
                for peer in peers.iter().filter(|peer| peer.takes(&job)) {
                    figures.extend(measure(arguments, &folder, &corpus, &job, Some(peer))?);
                }
            }
        }
        for gzip in [false, true] {
            remove_file(corpus.file(gzip))?;
        }
    }
    Ok(figures)
}

impl Peer {
    fn takes(&self, job: &Job<'_>) -> bool {
        let [traces, logs, metrics] = self.profile.signals;
        let signal = match job.signals {
            "traces" => traces,
            "logs" => logs,
            "metrics" => metrics,
            _ => traces && logs && metrics,
        };
        signal && (self.profile.grpc || job.protocol == "http")
    }
}

fn measure(
    arguments: &IngestArguments,
    folder: &Path,
    corpus: &Corpus,
    job: &Job<'_>,
    peer: Option<&Peer>,
) -> anyhow::Result<Vec<Figure>> {
    let system = peer.map_or(OURS, |peer| peer.name.as_str());
    let mut outcomes = Vec::new();
    for run in 1..=arguments.runs {
        let outcome = once(arguments, folder, corpus, job, peer)
            .with_context(|| format!("{system}, {}, run {run}", job.name()))?;
        eprintln!(
            "{system}, {}, run {run}: {} items in {:.1} s, {:.2} CPU seconds, {} retries, {} failed",
            job.name(),
            outcome.sent.items(),
            outcome.sent.seconds,
            outcome.cpu_seconds,
            outcome.sent.retries,
            outcome.sent.failed + outcome.sent.rejected,
        );
        outcomes.push(outcome);
    }
    Ok(figures(system, job, &outcomes))
}

fn once(
    arguments: &IngestArguments,
    folder: &Path,
    corpus: &Corpus,
    job: &Job<'_>,
    peer: Option<&Peer>,
) -> anyhow::Result<Outcome> {
    let place = Place::fresh(&folder.join("data"))?;
    let server = match peer {
        Some(peer) => peer.start(place)?,
        None => Server::throughline(&arguments.common.binary(), place, &arguments.common.own_settings())?,
    };
    // Only together do the signals use all of its parts.
    let perf = arguments.perf.as_ref().filter(|_| peer.is_none() && job.signals == "mixed");
    let recording = perf.map(|perf| Recording::start(perf, server.process(), folder)).transpose()?;
    let profile = peer.map_or(peer::OURSELVES, |peer| peer.profile);
    let port = if job.protocol == "grpc" { server.place.grpc_port } else { server.place.http_port };
    let mut sender = sender_process(job.protocol, job.gzip, port)?;
    sender.arg("--file").arg(corpus.file(job.gzip)).arg("--path-prefix").arg(profile.path_prefix);
    sender.arg("--connections").arg(arguments.connections.to_string());
    sender.arg("--in-flight").arg(arguments.in_flight.to_string());
    let sent = sent_by(sender)?;
    if let Some(reason) = &sent.first_refusal {
        eprintln!("refused: {reason}");
    }
    server.settle(FLUSH_AGE, SETTLE_MAX)?;
    let usage = server.usage()?;
    let shares = recording.map(Recording::finish).transpose()?.unwrap_or_default();
    let lookups_ms = profile.look_up(&server.place, &corpus.traces)?;
    let place = server.stop()?;
    let files = disk_usage(&place.data_dir)?;
    remove_folder(&place.data_dir)?;
    let Usage { cpu_seconds, peak_memory_bytes, .. } = usage;
    Ok(Outcome { sent, cpu_seconds, peak_memory_bytes, files, lookups_ms, shares })
}

/// This program again, as a sender.
pub fn sender_process(protocol: &str, gzip: bool, port: u16) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("send")
        .arg("--protocol")
        .arg(protocol)
        .arg("--address")
        .arg(Place::address(port).to_string());
    if gzip {
        command.arg("--gzip");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(command)
}

/// Runs a sender to its end.
pub fn sent_by(mut sender: Command) -> anyhow::Result<Sent> {
    let output = sender.output().context("start the sender")?;
    anyhow::ensure!(
        output.status.success(),
        "sender: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("read the sender's report")
}

fn figures(system: &str, job: &Job<'_>, outcomes: &[Outcome]) -> Vec<Figure> {
    let items = |outcome: &Outcome| outcome.sent.items().max(1) as f64;
    let figure = |measure: &str, unit: &str, bar: Option<Bar>, of: &dyn Fn(&Outcome) -> f64| Figure {
        system: system.to_owned(),
        job: job.name(),
        measure: measure.to_owned(),
        unit: unit.to_owned(),
        runs: outcomes.iter().map(of).collect(),
        bar: bar.filter(|_| system == OURS),
    };
    let (rate, size) = match job.signals {
        "traces" => (Some(Bar::AtLeast(300_000.0)), Some(Bar::AtMost(44.0))),
        "logs" => (Some(Bar::AtLeast(400_000.0)), Some(Bar::AtMost(22.0))),
        "metrics" => (Some(Bar::AtLeast(800_000.0)), None),
        _ => (None, None),
    };
    let memory = (job.signals == "mixed").then_some(Bar::AtMost(600.0));
    let mut figures = vec![
        figure("items per CPU second", "1/s", rate, &|o| items(o) / o.cpu_seconds.max(0.01)),
        figure("items per second", "1/s", None, &|o| items(o) / o.sent.seconds.max(0.001)),
        figure("acknowledgement p50", "ms", None, &|o| o.sent.acknowledgement_ms[0]),
        figure("acknowledgement p99", "ms", None, &|o| o.sent.acknowledgement_ms[1]),
        figure("peak resident memory", "MB", memory, &|o| o.peak_memory_bytes as f64 / 1e6),
        figure("bytes per item, without log and ballast", "B", size, &|o| stored_bytes(o) / items(o)),
    ];
    for (at, part) in PARTS.iter().enumerate() {
        if outcomes.iter().all(|outcome| outcome.shares.len() > at) {
            let measure = format!("{}, share of CPU time", part.name);
            let bar = part.bar.map(Bar::AtMost);
            figures.push(figure(&measure, "%", bar, &|o| o.shares.get(at).copied().unwrap_or_default()));
        }
    }
    // How others name their files says nothing to whoever compares.
    if let Some(last) = outcomes.last().filter(|_| system == OURS) {
        for (name, bytes) in last.files.iter().filter(|(_, bytes)| *bytes as f64 / items(last) >= 0.01) {
            let each = *bytes as f64 / items(last);
            figures.push(figure(&format!("  {name}"), "B/item", None, &move |_| each));
        }
    }
    if outcomes.iter().any(|outcome| !outcome.lookups_ms.is_empty()) {
        figures.push(figure("trace by id p50", "ms", None, &|o| percentile(&o.lookups_ms, 50.0)));
        figures.push(figure("trace by id p99", "ms", None, &|o| percentile(&o.lookups_ms, 99.0)));
    }
    // Histogram points hold many samples each: a sample is one number that a query can read.
    if job.signals == "metrics" {
        let samples = |o: &Outcome| items(o) * SAMPLES_PER_POINT;
        let bar = Some(Bar::AtMost(1.7));
        figures.push(figure("bytes per sample, without log and ballast", "B", bar, &|o| {
            stored_bytes(o) / samples(o)
        }));
        let part = |measure: &str, files: &'static [&'static str]| {
            figure(measure, "B/sample", None, &|o| bytes_of(o, files) / samples(o))
        };
        figures.push(part("  of it samples and series", &["samples.parquet", "series.parquet"]));
        // Nothing but exemplars refers to traces here.
        let exemplars = &["exemplars.parquet", "traces.parquet", "index"];
        figures.push(part("  of it exemplars and their traces", exemplars));
    }
    if job.signals == "mixed" {
        let part = |measure: &str, files: &'static [&'static str], signal: usize| {
            let count = move |o: &Outcome| o.sent.acknowledged[signal].max(1) as f64;
            figure(measure, "B", None, &|o| bytes_of(o, files) / count(o))
        };
        figures.push(part("spans and traces, per span", &["spans.parquet", "traces.parquet"], 0));
        figures.push(part("logs, per record", &["logs.parquet"], 1));
    }
    figures
}

/// Five points in six are one number; the sixth is a histogram of 15 buckets, count and sum. Minimum and maximum are
/// not counted, because the peers that the bar comes from do not make series of them.
const SAMPLES_PER_POINT: f64 = (5.0 + 17.0) / 6.0;

/// Files that do not grow with what is stored: the log, which is freed as blocks are written, and 4 MiB that are kept for
/// the day on which the disk is full.
const FIXED: [&str; 2] = ["wal", "ballast"];

fn stored_bytes(outcome: &Outcome) -> f64 {
    let files = outcome.files.iter().filter(|(name, _)| !FIXED.contains(&name.as_str()));
    files.map(|(_, bytes)| *bytes as f64).sum()
}

fn bytes_of(outcome: &Outcome, names: &[&str]) -> f64 {
    let files = outcome.files.iter().filter(|(name, _)| names.contains(&name.as_str()));
    files.map(|(_, bytes)| *bytes as f64).sum()
}

#[expect(clippy::disallowed_methods, reason = "the file is the benchmark's, not the store's")]
pub(super) fn remove_file(path: &Path) -> anyhow::Result<()> {
    std::fs::remove_file(path).with_context(|| format!("remove {}", path.display()))
}

impl Common {
    /// The peers of the command line.
    pub fn peers(&self) -> anyhow::Result<Vec<Peer>> {
        if self.peer.is_empty() {
            eprintln!("no --peer NAME=COMMAND: PEERS SKIPPED, the figures stand alone");
        }
        self.peer.iter().map(|text| peer::parse(text)).collect()
    }
}
