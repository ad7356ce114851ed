//! `cargo xtask send-samples`: a sender of remote write as a process of its own, with as many series as asked.
//!
//! It sends as Prometheus does: a request has a sample of each of two thousand series, a series always goes over the
//! same connection, and its samples in the order of their times. What is refused for a moment is sent again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;

use crate::bench::samples::{NATIVE_PER_TARGET, Point, Series, TARGET_SERIES};
use crate::remote_write::{histogram, label, put_bytes, put_varint, sample};
use crate::send::Sent;

/// Samples of one request: what Prometheus sends at most by default.
const REQUEST_SAMPLES: usize = 2_000;
/// The schema of native histograms: eight buckets for each doubling.
const NATIVE_SCHEMA: i64 = 3;
/// How long a request is tried.
const PATIENCE: Duration = Duration::from_secs(120);
/// The wait before a request is sent again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// What to send.
#[derive(Args, Clone, Debug)]
pub struct SendSamplesArguments {
    /// Where the server listens
    #[arg(long)]
    pub address: SocketAddr,
    /// The path that takes remote write
    #[arg(long, default_value = "/api/v1/write")]
    pub path: String,
    /// How many series
    #[arg(long)]
    pub series: u64,
    /// How many series of native histograms besides
    #[arg(long, default_value_t = 0)]
    pub native: u64,
    /// How many samples, all series together
    #[arg(long)]
    pub samples: u64,
    /// Milliseconds between the samples of a series
    #[arg(long, default_value_t = 15_000)]
    pub step_ms: i64,
    /// The time of the last samples, milliseconds since 1970
    #[arg(long)]
    pub end_ms: i64,
    /// Which remote write to speak: 1 or 2
    #[arg(long, default_value_t = 1)]
    pub version: u8,
    /// Seed of the samples
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Connections
    #[arg(long, default_value_t = 8)]
    pub connections: u64,
}

/// Runs the command.
pub fn run(arguments: &SendSamplesArguments) -> anyhow::Result<()> {
    let start = now();
    let reports = std::thread::scope(|scope| {
        let connections = 0..arguments.connections;
        let threads: Vec<_> =
            connections.map(|number| scope.spawn(move || connection(arguments, number))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Result<Vec<_>, _>>()
    })?;
    let mut sent = Sent { seconds: start.elapsed().as_secs_f64(), ..Sent::default() };
    let mut latencies_ms: Vec<f64> = Vec::new();
    for (report, latencies) in reports {
        sent.acknowledged[2] += report.acknowledged[2];
        sent.failed += report.failed;
        sent.requests += report.requests;
        sent.retries += report.retries;
        sent.bytes += report.bytes;
        sent.first_refusal = sent.first_refusal.or(report.first_refusal);
        latencies_ms.extend(latencies);
    }
    latencies_ms.sort_by(f64::total_cmp);
    let percentile = |share: f64| {
        let at = (latencies_ms.len().saturating_sub(1) as f64 * share) as usize;
        latencies_ms.get(at).copied().unwrap_or_default()
    };
    sent.acknowledgement_ms = [percentile(0.5), percentile(0.99)];
    println!("{}", serde_json::to_string(&sent)?);
    Ok(())
}

/// Sends the series of one connection; the report, and every latency in milliseconds.
fn connection(arguments: &SendSamplesArguments, number: u64) -> anyhow::Result<(Sent, Vec<f64>)> {
    let is_mine = |series: u64, per_target: u64| (series / per_target) % arguments.connections == number;
    let mut encoder = Encoder::new(arguments.version)?;
    let plain = (0..arguments.series).filter(|series| is_mine(*series, TARGET_SERIES));
    let native = (0..arguments.native).filter(|series| is_mine(*series, NATIVE_PER_TARGET));
    let all = plain
        .map(|number| Series::new(arguments.seed, number))
        .chain(native.map(|number| Series::native(arguments.seed, number)));
    let mut series: Vec<(Series, Vec<u8>)> = all
        .map(|series| {
            let labels = encoder.labels(&series);
            (series, labels)
        })
        .collect();
    let steps = (arguments.samples / (arguments.series + arguments.native).max(1)) as i64;
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let url = format!("http://{}{}", arguments.address, arguments.path);
    let (mut sent, mut latencies) = (Sent::default(), Vec::new());
    for step in 0..steps {
        let time_ms = arguments.end_ms - (steps - 1 - step) * arguments.step_ms;
        for part in series.chunks_mut(REQUEST_SAMPLES) {
            let body = encoder.request(part, time_ms)?;
            let start = now();
            post(&agent, &url, arguments.version, &body, part.len() as u64, &mut sent)?;
            latencies.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok((sent, latencies))
}

fn post(
    agent: &ureq::Agent,
    url: &str,
    version: u8,
    body: &[u8],
    items: u64,
    sent: &mut Sent,
) -> anyhow::Result<()> {
    let (content_type, number) = match version {
        2 => ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"),
        _ => ("application/x-protobuf", "0.1.0"),
    };
    let deadline = now() + PATIENCE;
    loop {
        let request = agent
            .post(url)
            .header("Content-Type", content_type)
            .header("Content-Encoding", "snappy")
            .header("X-Prometheus-Remote-Write-Version", number);
        let mut response = request.send(body).with_context(|| format!("POST {url}"))?;
        let status = response.status().as_u16();
        if (200..300).contains(&status) {
            sent.acknowledged[2] += items;
            sent.requests += 1;
            sent.bytes += body.len() as u64;
            return Ok(());
        }
        let text = response.body_mut().read_to_string().unwrap_or_default();
        sent.first_refusal.get_or_insert_with(|| format!("{status}: {text}"));
        if status < 500 && status != 429 || now() > deadline {
            sent.failed += items;
            return Ok(());
        }
        sent.retries += 1;
        std::thread::sleep(RETRY_AFTER);
    }
}

/// Encodes requests; the labels of a series are encoded once, or are references into the texts of all.
struct Encoder {
    version: u8,
    texts: Vec<String>,
    references: HashMap<String, u32>,
    snappy: snap::raw::Encoder,
}

impl Encoder {
    fn new(version: u8) -> anyhow::Result<Encoder> {
        anyhow::ensure!(version == 1 || version == 2, "remote write is of version 1 or 2, not {version}");
        Ok(Encoder {
            version,
            texts: Vec::new(),
            references: HashMap::new(),
            snappy: snap::raw::Encoder::new(),
        })
    }

    /// 1.0: the messages of the labels. 2.0: their references, 4 bytes each.
    fn labels(&mut self, series: &Series) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in &series.labels {
            if self.version == 1 {
                put_bytes(&mut out, 1, &label(name, value));
            } else {
                for text in [name, value.as_str()] {
                    out.extend_from_slice(&self.reference(text).to_le_bytes());
                }
            }
        }
        out
    }

    fn reference(&mut self, text: &str) -> u32 {
        if let Some(known) = self.references.get(text) {
            return *known;
        }
        let reference = self.texts.len() as u32;
        self.texts.push(text.to_owned());
        self.references.insert(text.to_owned(), reference);
        reference
    }

    fn request(&mut self, part: &mut [(Series, Vec<u8>)], time_ms: i64) -> anyhow::Result<Vec<u8>> {
        let (mut symbols, mut body) = (vec![0x22, 0], Vec::with_capacity(part.len() * 240));
        let mut local: HashMap<u32, u64> = HashMap::new();
        let mut message = Vec::new();
        for (series, labels) in part {
            message.clear();
            if self.version == 1 {
                message.extend_from_slice(labels);
            } else {
                let mut references = Vec::with_capacity(40);
                for reference in labels.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)) {
                    let next = local.len() as u64 + 1;
                    let here = *local.entry(reference).or_insert_with(|| {
                        put_bytes(&mut symbols, 4, self.texts[reference as usize].as_bytes());
                        next
                    });
                    put_varint(&mut references, here);
                }
                put_bytes(&mut message, 1, &references);
            }
            let (of_series, of_histogram) = if self.version == 1 { (1, 4) } else { (5, 3) };
            match series.next() {
                Point::Float(value) => put_bytes(&mut message, 2, &sample(value, time_ms)),
                Point::Histogram(counts) => {
                    put_bytes(&mut message, of_histogram, &histogram(NATIVE_SCHEMA, counts, time_ms));
                }
            }
            put_bytes(&mut body, of_series, &message);
        }
        if self.version == 2 {
            symbols.extend_from_slice(&body);
            body = symbols;
        }
        Ok(self.snappy.compress_vec(&body)?)
    }
}

#[expect(clippy::disallowed_methods, reason = "xtask measures real time")]
fn now() -> Instant {
    Instant::now()
}
