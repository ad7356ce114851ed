//! `bench metrics`: samples in by remote write, the same to every server, each in a fresh folder, one after the other.
//!
//! A run: start, send, wait until compaction is done, read CPU time and peak memory from `/proc` and the bytes on
//! disk, stop. A peer takes remote write at `/api/v1/write` of `{http_port}`; Prometheus needs
//! `--web.enable-remote-write-receiver`. Then all systems at once get an hour of samples, and the questions of
//! [`super::queries`].

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::corpus::now_ns;
use super::ingest::{FLUSH_AGE, sent_by};
use super::queries::{self, System};
use super::server::{Place, Server, Usage, disk_usage, remove_folder};
use super::table::{Bar, Figure};
use super::{Common, OURS};
use crate::answers::Target;
use crate::send::Sent;

/// A server that has not come to rest by then is measured as it is.
const SETTLE_MAX: Duration = Duration::from_secs(600);
/// What the questions are about: an hour at one sample in 15 seconds of each.
const ASKED: Job = Job { series: 50_000, native: 1_000, version: 1, samples: 51_000 * 240 };

/// Arguments of `bench metrics`.
#[derive(Args, Clone, Debug)]
pub struct MetricsArguments {
    #[command(flatten)]
    common: Common,
    /// Series
    #[arg(long, value_delimiter = ',', default_value = "50000,500000")]
    series: Vec<u64>,
    /// Samples, all series together
    #[arg(long, default_value_t = 12_000_000)]
    samples: u64,
    /// Which remote write to speak: 1, 2
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    versions: Vec<u8>,
    /// Runs of every combination; 0 leaves the remote write out
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// How often every system is asked every query; 0 leaves the queries out
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Connections of the sender
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// A system that runs already and holds the samples of `send-samples --series 50000 --native 1000 --samples 12240000`,
    /// with the port of its API: only the queries are asked, of these systems alone; ours is `throughline`, and comes first
    #[arg(long, value_name = "NAME=PORT", requires = "end_ms")]
    running: Vec<String>,
    /// The time of the last samples that the running systems hold, milliseconds since 1970
    #[arg(long)]
    end_ms: Option<i64>,
}

impl MetricsArguments {
    /// What all benchmarks have.
    pub fn common(&self) -> &Common {
        &self.common
    }
}

/// One thing to measure.
struct Job {
    series: u64,
    native: u64,
    version: u8,
    samples: u64,
}

impl Job {
    fn name(&self) -> String {
        format!("{} series, remote write {}.0", self.series, self.version)
    }
}

/// What one run gave.
struct Outcome {
    sent: Sent,
    cpu_seconds: f64,
    peak_memory_bytes: u64,
    files: Vec<(String, u64)>,
}

/// Runs the command.
pub fn run(arguments: &MetricsArguments) -> anyhow::Result<Vec<Figure>> {
    if let Some(end_ms) = arguments.end_ms.filter(|_| !arguments.running.is_empty()) {
        let systems =
            arguments.running.iter().map(|text| running(text)).collect::<anyhow::Result<Vec<_>>>()?;
        return queries::measure(&systems, arguments.rounds, end_ms);
    }
    let peers = arguments.common.commands()?;
    let systems = std::iter::once((OURS, None)).chain(peers.iter().map(|(name, line)| (*name, Some(*line))));
    let systems: Vec<(&str, Option<&str>)> = systems.collect();
    let mut figures = Vec::new();
    let jobs: &[u64] = if arguments.runs > 0 { &arguments.series } else { &[] };
    for series in jobs {
        for version in &arguments.versions {
            let job = Job { series: *series, native: 0, version: *version, samples: arguments.samples };
            for (system, command) in &systems {
                let outcomes = (1..=arguments.runs)
                    .map(|run| measured(arguments, &job, system, *command, run))
                    .collect::<anyhow::Result<Vec<_>>>()?;
                figures.extend(figures_of(system, &job, &outcomes));
            }
        }
    }
    if arguments.rounds > 0 {
        figures.extend(asked(arguments, &systems)?);
    }
    Ok(figures)
}

/// A system as it was named on the command line.
fn running(text: &str) -> anyhow::Result<System<'_>> {
    let (name, port) = text.split_once('=').context("a running system is NAME=PORT")?;
    Ok(System { name, target: Target::new(port.parse().context("the port of a running system")?) })
}

/// Fills all systems with the same samples, and asks them.
fn asked(arguments: &MetricsArguments, systems: &[(&str, Option<&str>)]) -> anyhow::Result<Vec<Figure>> {
    let end_ms = (now_ns() / 1_000_000) as i64;
    let (mut systems_asked, mut servers) = (Vec::new(), Vec::new());
    for (name, command) in systems {
        let server = started(arguments, *command, &format!("data-{name}"))?;
        let port = if command.is_some() { server.place.http_port } else { server.place.query_port };
        let sent = sent_by(sender(arguments, &ASKED, server.place.http_port, end_ms)?)?;
        eprintln!("{name}: {} samples, {} failed", sent.items(), sent.failed);
        if let Some(refusal) = &sent.first_refusal {
            eprintln!("refused: {refusal}");
        }
        servers.push(server);
        systems_asked.push(System { name, target: Target::new(port) });
    }
    for server in &servers {
        server.settle(FLUSH_AGE, SETTLE_MAX)?;
    }
    let mut figures = queries::measure(&systems_asked, arguments.rounds, end_ms)?;
    for (System { name, .. }, server) in systems_asked.into_iter().zip(servers) {
        let usage = server.usage()?;
        let place = server.stop()?;
        let bytes: u64 = disk_usage(&place.data_dir)?.iter().map(|(_, bytes)| *bytes).sum();
        remove_folder(&place.data_dir)?;
        let figure = |measure: &str, unit: &str, value: f64| Figure {
            system: name.to_owned(),
            job: "fill, then all queries".to_owned(),
            measure: measure.to_owned(),
            unit: unit.to_owned(),
            runs: vec![value],
            bar: None,
        };
        figures.push(figure("resident memory", "MB", usage.memory_bytes as f64 / 1e6));
        figures.push(figure("peak resident memory", "MB", usage.peak_memory_bytes as f64 / 1e6));
        figures.push(figure("CPU", "s", usage.cpu_seconds));
        figures.push(figure("bytes per sample, with log", "B", bytes as f64 / ASKED.samples as f64));
    }
    Ok(figures)
}

fn started(arguments: &MetricsArguments, command: Option<&str>, folder: &str) -> anyhow::Result<Server> {
    let place = Place::fresh(&arguments.common.folder().join(folder))?;
    match command {
        Some(command) => Server::peer(command, place),
        None => Server::throughline(&arguments.common.binary(), place, &arguments.common.own_settings()),
    }
}

fn measured(
    arguments: &MetricsArguments,
    job: &Job,
    system: &str,
    command: Option<&str>,
    run: usize,
) -> anyhow::Result<Outcome> {
    let outcome =
        once(arguments, job, command).with_context(|| format!("{system}, {}, run {run}", job.name()))?;
    eprintln!(
        "{system}, {}, run {run}: {} samples in {:.1} s, {:.2} CPU seconds, {} retries, {} failed",
        job.name(),
        outcome.sent.items(),
        outcome.sent.seconds,
        outcome.cpu_seconds,
        outcome.sent.retries,
        outcome.sent.failed,
    );
    if let Some(refusal) = &outcome.sent.first_refusal {
        eprintln!("refused: {refusal}");
    }
    Ok(outcome)
}

fn once(arguments: &MetricsArguments, job: &Job, command: Option<&str>) -> anyhow::Result<Outcome> {
    let server = started(arguments, command, "data")?;
    let end_ms = (now_ns() / 1_000_000) as i64;
    let sent = sent_by(sender(arguments, job, server.place.http_port, end_ms)?)?;
    server.settle(FLUSH_AGE, SETTLE_MAX)?;
    let Usage { cpu_seconds, peak_memory_bytes, .. } = server.usage()?;
    let place = server.stop()?;
    let files = disk_usage(&place.data_dir)?;
    remove_folder(&place.data_dir)?;
    Ok(Outcome { sent, cpu_seconds, peak_memory_bytes, files })
}

/// This program again, as a sender.
fn sender(arguments: &MetricsArguments, job: &Job, port: u16, end_ms: i64) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    let settings = [
        ("--address", Place::address(port).to_string()),
        ("--series", job.series.to_string()),
        ("--native", job.native.to_string()),
        ("--samples", job.samples.to_string()),
        ("--end-ms", end_ms.to_string()),
        ("--version", job.version.to_string()),
        ("--seed", arguments.common.seed.to_string()),
        ("--connections", arguments.connections.to_string()),
    ];
    command.arg("send-samples");
    settings.iter().for_each(|(name, value)| _ = command.arg(name).arg(value));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(command)
}

fn figures_of(system: &str, job: &Job, outcomes: &[Outcome]) -> Vec<Figure> {
    let samples = |outcome: &Outcome| outcome.sent.items().max(1) as f64;
    let figure = |measure: &str, unit: &str, bar: Option<Bar>, of: &dyn Fn(&Outcome) -> f64| Figure {
        system: system.to_owned(),
        job: job.name(),
        measure: measure.to_owned(),
        unit: unit.to_owned(),
        runs: outcomes.iter().map(of).collect(),
        bar: bar.filter(|_| system == OURS),
    };
    let (rate, size) = (Some(Bar::AtLeast(1_500_000.0)), Some(Bar::AtMost(1.7)));
    let mut figures = vec![
        figure("samples per CPU second", "1/s", rate, &|o| samples(o) / o.cpu_seconds.max(0.01)),
        figure("samples per second", "1/s", None, &|o| samples(o) / o.sent.seconds.max(0.001)),
        figure("acknowledgement p50", "ms", None, &|o| o.sent.acknowledgement_ms[0]),
        figure("acknowledgement p99", "ms", None, &|o| o.sent.acknowledgement_ms[1]),
        figure("peak resident memory", "MB", None, &|o| o.peak_memory_bytes as f64 / 1e6),
        figure("bytes per sample, without log", "B", size, &|o| stored_bytes(o) / samples(o)),
        figure("bytes per sample, with log", "B", None, &|o| all_bytes(o) / samples(o)),
    ];
    if let Some(last) = outcomes.last() {
        for (name, bytes) in last.files.iter().filter(|(_, bytes)| *bytes as f64 / samples(last) >= 0.01) {
            let each = *bytes as f64 / samples(last);
            figures.push(figure(&format!("  {name}"), "B/sample", None, &move |_| each));
        }
    }
    figures
}

/// All files but the log, which is freed as blocks are written.
fn stored_bytes(outcome: &Outcome) -> f64 {
    outcome.files.iter().filter(|(name, _)| name != "wal").map(|(_, bytes)| *bytes as f64).sum()
}

fn all_bytes(outcome: &Outcome) -> f64 {
    outcome.files.iter().map(|(_, bytes)| *bytes as f64).sum()
}

impl Common {
    /// Peers as name and command.
    fn commands(&self) -> anyhow::Result<Vec<(&str, &str)>> {
        if self.peer.is_empty() {
            eprintln!("no --peer NAME=COMMAND: PEERS SKIPPED, the figures stand alone");
        }
        self.peer.iter().map(|text| text.split_once('=').context("a peer is NAME=COMMAND")).collect()
    }
}
