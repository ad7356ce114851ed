//! `cargo xtask send`: the load generator as a process of its own, so that what it uses is not counted as the
//! server's. Sends a corpus file, or telemetry made on the way, and prints its report as one line of JSON.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::{Deserialize, Serialize};
use throughline_generate::corpus::{CorpusReader, Encoded};
use throughline_generate::sender::{self, Journal, Pace, Protocol, Target};
use throughline_generate::{Generator, Request};

/// What to send, and how.
#[derive(Args, Clone, Debug)]
pub struct SendArguments {
    /// The corpus file to send; without it telemetry is made on the way
    #[arg(long)]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub made: Made,
    /// Send bodies compressed with gzip (a corpus file must have been written so)
    #[arg(long)]
    pub gzip: bool,
    /// `grpc` or `http`
    #[arg(long, default_value = "grpc")]
    pub protocol: String,
    /// Where the server listens
    #[arg(long)]
    pub address: SocketAddr,
    /// What stands before /v1/traces in the server's OTLP/HTTP paths
    #[arg(long, default_value = "")]
    pub path_prefix: String,
    #[command(flatten)]
    pub pace: PaceArguments,
    /// Write what became of every request into this file
    #[arg(long)]
    pub journal: Option<PathBuf>,
}

/// Telemetry that is made on the way.
#[derive(Args, Clone, Debug)]
pub struct Made {
    /// Seed of the telemetry
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Where the telemetry ends, nanoseconds since 1970
    #[arg(long, default_value_t = 0)]
    pub base_time_ns: u64,
    /// How many spans
    #[arg(long, default_value_t = 0)]
    pub spans: u64,
    /// How many log records
    #[arg(long, default_value_t = 0)]
    pub logs: u64,
    /// How many metric data points
    #[arg(long, default_value_t = 0)]
    pub points: u64,
    /// Time between the starts of neighbouring traces, nanoseconds
    #[arg(long)]
    pub interval_ns: Option<u64>,
    /// Log records and exemplars refer to the traces of these spans alone, however many there are of either
    #[arg(long)]
    pub referring: bool,
}

/// How fast and how patiently.
#[derive(Args, Clone, Debug)]
pub struct PaceArguments {
    /// Connections
    #[arg(long, default_value_t = 3)]
    pub connections: usize,
    /// Requests under way on each connection
    #[arg(long, default_value_t = 8)]
    pub in_flight: usize,
    /// Items a second; as fast as possible without it
    #[arg(long)]
    pub rate: Option<f64>,
    /// Seconds until a request is given up
    #[arg(long, default_value_t = 60)]
    pub patience: u64,
}

/// What a sender did, as it prints it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sent {
    /// Acknowledged spans, log records, data points.
    pub acknowledged: [u64; 3],
    /// Items refused by partial success.
    pub rejected: u64,
    /// Items refused for good or given up.
    pub failed: u64,
    /// Acknowledged requests.
    pub requests: u64,
    /// Requests sent again.
    pub retries: u64,
    /// Bytes of acknowledged bodies.
    pub bytes: u64,
    /// Seconds from the first byte to the last answer.
    pub seconds: f64,
    /// Time until the acknowledgement, milliseconds: p50, p99.
    pub acknowledgement_ms: [f64; 2],
    /// The first refusal.
    pub first_refusal: Option<String>,
}

impl Sent {
    /// All acknowledged items.
    pub fn items(&self) -> u64 {
        self.acknowledged.iter().sum()
    }
}

/// Runs the command.
pub fn run(arguments: &SendArguments) -> anyhow::Result<()> {
    let protocol = match arguments.protocol.as_str() {
        "grpc" => Protocol::Grpc,
        "http" => Protocol::Http,
        other => anyhow::bail!("protocol {other:?} is neither grpc nor http"),
    };
    let target = Target { protocol, address: arguments.address, path_prefix: arguments.path_prefix.clone() };
    let pace = Pace {
        connections: arguments.pace.connections,
        in_flight: arguments.pace.in_flight,
        items_per_second: arguments.pace.rate,
        patience: Duration::from_secs(arguments.pace.patience),
    };
    let journal = match &arguments.journal {
        Some(path) => {
            Some(Journal::create(path).with_context(|| format!("create journal {}", path.display()))?)
        }
        None => None,
    };
    let report = match &arguments.file {
        Some(path) => {
            let reader = CorpusReader::open(path, arguments.gzip)
                .with_context(|| format!("open corpus {}", path.display()))?;
            sender::send(reader, &target, &pace, journal)?
        }
        None => sender::send(made(&arguments.made, arguments.gzip), &target, &pace, journal)?,
    };
    let sent = Sent {
        acknowledged: report.acknowledged,
        rejected: report.rejected,
        failed: report.failed,
        requests: report.requests,
        retries: report.retries,
        bytes: report.bytes,
        seconds: report.elapsed.as_secs_f64(),
        acknowledgement_ms: [report.latency_ms(50.0), report.latency_ms(99.0)],
        first_refusal: report.first_refusal,
    };
    println!("{}", serde_json::to_string(&sent)?);
    Ok(())
}

fn made(made: &Made, gzip: bool) -> impl Iterator<Item = std::io::Result<Encoded>> + use<> {
    // The process lives as long as its generator.
    let mut generator = Generator::new(made.seed, made.base_time_ns);
    if let Some(interval_ns) = made.interval_ns {
        generator = generator.every(interval_ns);
    }
    if made.referring {
        generator = generator.referring_to(made.spans);
    }
    let generator: &'static Generator = Box::leak(Box::new(generator));
    let requests = mixed(generator, made.spans, made.logs, made.points);
    requests.enumerate().map(move |(number, request)| Encoded::new(&request, number as u64, gzip))
}

/// The requests of all signals in one stream, each signal spread evenly over the whole.
pub fn mixed(
    generator: &Generator,
    spans: u64,
    logs: u64,
    points: u64,
) -> impl Iterator<Item = Request> + '_ {
    type Part<'a> = (u64, u64, Box<dyn Iterator<Item = Request> + 'a>);
    let mut parts: Vec<Part<'_>> = Vec::new();
    if spans > 0 {
        parts.push((spans, 0, Box::new(generator.traces(spans))));
    }
    if logs > 0 {
        parts.push((logs, 0, Box::new(generator.logs(logs))));
    }
    if points > 0 {
        parts.push((points, 0, Box::new(generator.metrics(points))));
    }
    std::iter::from_fn(move || {
        while !parts.is_empty() {
            // The part that is furthest behind its share goes next.
            let behind = |part: &Part<'_>| (u128::from(part.1) << 32) / u128::from(part.0);
            let at = (0..parts.len()).min_by_key(|at| behind(&parts[*at]))?;
            match parts[at].2.next() {
                Some(request) => {
                    parts[at].1 += request.items as u64;
                    return Some(request);
                }
                None => drop(parts.remove(at)),
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use throughline_generate::Signal;

    use super::*;

    #[test]
    fn mixed_requests_hold_everything_and_alternate() {
        let generator = Generator::new(1, 1_790_000_000_000_000_000);
        let requests: Vec<Request> = mixed(&generator, 20_000, 30_000, 4_000).collect();
        let items = |signal| requests.iter().filter(|r| r.signal == signal).map(|r| r.items).sum::<usize>();
        assert_eq!((items(Signal::Logs), items(Signal::Metrics)), (30_000, 4_000));
        assert!(items(Signal::Traces) > 15_000);
        let first: Vec<Signal> = requests.iter().take(6).map(|r| r.signal).collect();
        assert!(
            first.contains(&Signal::Traces)
                && first.contains(&Signal::Logs)
                && first.contains(&Signal::Metrics)
        );
    }
}
