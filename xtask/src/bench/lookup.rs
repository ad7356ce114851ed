//! `bench lookup`: a store full of traces, log records and metrics, and the questions that people ask it, warm,
//! idle and again while data comes in at full speed.
//!
//! Every answer is checked against what was sent: a wrong answer does not count as a fast one. With `--reuse` a filled
//! store is kept beside the figures, and later runs begin with a copy of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;
use throughline_generate::corpus::CorpusWriter;
use throughline_generate::random::Random;
use throughline_generate::{Generator, TraceTruth};

use super::corpus::now_ns;
use super::ingest::{FLUSH_AGE, sender_process, sent_by};
use super::server::{Place, Server, now, remove_folder};
use super::table::{Bar, Figure, percentile};
use super::{Common, OURS};
use crate::send::mixed;

/// A store with 20 million spans takes a while to come to rest.
const SETTLE_MAX: Duration = Duration::from_secs(1_800);
/// Look-ups before the first that counts.
const WARM_UP: usize = 200;
/// How often every search is asked.
const SEARCHES: usize = 30;
/// The requests of the load, all signals, in each of several files: as much as a server with two cores takes in some
/// seconds. They are made before the measurement, so that the sender costs little, and no request is sent twice,
/// because the store would know it again.
const LOAD: [u64; 3] = [950_000, 1_425_000, 200_000];
/// How many such files there are at most; a measurement that takes longer goes on without load, and says so.
const LOADS_MAX: u64 = 12;

/// Arguments of `bench lookup`.
#[derive(Args, Clone, Debug)]
pub struct LookupArguments {
    #[command(flatten)]
    common: Common,
    /// Spans in the store; several sizes in turn
    #[arg(long, value_delimiter = ',', default_value = "1000000,20000000")]
    spans: Vec<u64>,
    /// Log records for every 10 spans
    #[arg(long, default_value_t = 15)]
    logs_per_ten_spans: u64,
    /// Metric data points
    #[arg(long, default_value_t = 414_720)]
    points: u64,
    /// How many random traces are looked up
    #[arg(long, default_value_t = 2_000)]
    lookups: usize,
    /// How often everything is asked; figures are medians
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Leave out the look-ups during ingest
    #[arg(long)]
    idle_only: bool,
    /// Keep the filled stores, and begin with those that are there
    #[arg(long)]
    reuse: bool,
    /// Files of requests for the load during ingest
    #[arg(long, default_value_t = LOADS_MAX)]
    loads: u64,
}

impl LookupArguments {
    /// What all benchmarks have.
    pub fn common(&self) -> &Common {
        &self.common
    }
}

/// Runs the command.
pub fn run(arguments: &LookupArguments) -> anyhow::Result<Vec<Figure>> {
    if !arguments.common.peer.is_empty() {
        eprintln!(
            "bench lookup compares sizes and states of Throughline: PEERS SKIPPED, use bench ingest for them"
        );
    }
    let mut figures = Vec::new();
    for spans in &arguments.spans {
        figures.extend(at_size(arguments, *spans).with_context(|| format!("look-ups at {spans} spans"))?);
    }
    compare(&figures);
    Ok(figures)
}

fn at_size(arguments: &LookupArguments, spans: u64) -> anyhow::Result<Vec<Figure>> {
    let (server, base_time_ns) = filled(arguments, spans)?;
    let traces = choose(&Generator::new(arguments.common.seed, base_time_ns), spans, arguments.lookups);
    let mut client = Client::new(server.place.query_port);
    let size = format!("{} M spans", spans as f64 / 1e6);
    let mut ask = |state: &str| {
        let mut figures: Vec<Figure> = Vec::new();
        for _ in 0..arguments.runs.max(1) {
            let run = ask(&mut client, &traces, base_time_ns, &format!("{size}, {state}"))?;
            match figures.is_empty() {
                true => figures = run,
                false => figures.iter_mut().zip(run).for_each(|(all, one)| all.runs.extend(one.runs)),
            }
        }
        anyhow::Ok(figures)
    };
    let mut figures = ask("idle")?;
    if !arguments.idle_only {
        let load = Load::start(&server, write_loads(arguments, base_time_ns)?);
        std::thread::sleep(Duration::from_secs(5));
        figures.extend(ask("full ingest")?);
        load.finish()?;
    }
    let place = server.stop()?;
    remove_folder(&place.data_dir)?;
    Ok(figures)
}

/// A server whose store has so many spans and has come to rest, and when its telemetry ends.
fn filled(arguments: &LookupArguments, spans: u64) -> anyhow::Result<(Server, u64)> {
    let common = &arguments.common;
    let place = Place::fresh(&common.folder().join("data"))?;
    let kept = common.folder().join(format!("filled-{spans}"));
    let note = kept.with_extension("base");
    if arguments.reuse
        && let Ok(text) = std::fs::read_to_string(&note)
    {
        eprintln!("{spans} spans: as filled before");
        copy_folder(&kept, &place.data_dir)?;
        let server = Server::throughline(&common.binary(), place, &common.own_settings())?;
        server.settle(Duration::from_secs(3), SETTLE_MAX)?;
        return Ok((server, text.trim().parse().context("read when the telemetry ends")?));
    }
    let server = Server::throughline(&common.binary(), place, &common.own_settings())?;
    let base_time_ns = now_ns();
    eprintln!("{spans} spans: filling the store");
    let mut sender = sender_process("grpc", false, server.place.grpc_port)?;
    let logs = spans * arguments.logs_per_ten_spans / 10;
    sender.args(["--spans", &spans.to_string(), "--logs", &logs.to_string()]);
    sender.args(["--points", &arguments.points.to_string(), "--base-time-ns", &base_time_ns.to_string()]);
    sender.args(["--seed", &common.seed.to_string()]);
    let sent = sent_by(sender)?;
    anyhow::ensure!(sent.failed + sent.rejected == 0, "not everything was taken: {sent:?}");
    server.settle(FLUSH_AGE, SETTLE_MAX)?;
    if !arguments.reuse {
        return Ok((server, base_time_ns));
    }
    let place = server.stop()?;
    copy_folder(&place.data_dir, &kept)?;
    super::write_file(&note, base_time_ns.to_string().as_bytes())?;
    let server = Server::throughline(&common.binary(), place, &common.own_settings())?;
    server.settle(Duration::from_secs(3), SETTLE_MAX)?;
    Ok((server, base_time_ns))
}

/// Copies a folder in place of another.
fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    remove_folder(to)?;
    let mut folders = vec![(from.to_path_buf(), to.to_path_buf())];
    while let Some((from, to)) = folders.pop() {
        std::fs::create_dir_all(&to).with_context(|| format!("create {}", to.display()))?;
        for entry in std::fs::read_dir(&from)? {
            let entry = entry?;
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            match entry.file_type()?.is_dir() {
                true => folders.push((from, to)),
                false => _ = std::fs::copy(&from, &to).with_context(|| format!("copy {}", from.display()))?,
            }
        }
    }
    Ok(())
}

/// Writes the requests of the load. They fall into the hour that is searched, as the stored data does.
fn write_loads(arguments: &LookupArguments, base_time_ns: u64) -> anyhow::Result<Vec<PathBuf>> {
    let [spans, logs, points] = LOAD;
    let mut files = Vec::new();
    for number in 0..arguments.loads {
        let path = arguments.common.folder().join(format!("load-{number}.plain"));
        let generator = Generator::new(arguments.common.seed + 1 + number, base_time_ns);
        let mut writer = CorpusWriter::create(&path, None)?;
        for request in mixed(&generator, spans, logs, points) {
            writer.push(&request)?;
        }
        writer.finish()?;
        files.push(path);
    }
    Ok(files)
}

/// A sender at full speed, file after file, until the measurement ends.
struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Load {
    fn start(server: &Server, files: Vec<PathBuf>) -> Load {
        let (stop, port) = (Arc::new(AtomicBool::new(false)), server.place.grpc_port);
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for file in files {
                if stopped.load(Ordering::Relaxed) {
                    return Ok(());
                }
                send_until(&stopped, port, &file)?;
            }
            if !stopped.load(Ordering::Relaxed) {
                eprintln!(
                    "NO LOAD ANY MORE: everything is sent before the measurement ends; ask for more --loads"
                );
            }
            Ok(())
        });
        Load { stop, thread }
    }

    /// Ends the load; an error where a sender failed, because then there was none.
    fn finish(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the thread of the load panicked"))?
    }
}

fn send_until(stopped: &AtomicBool, port: u16, file: &Path) -> anyhow::Result<()> {
    let mut sender = sender_process("grpc", false, port)?;
    sender.arg("--file").arg(file);
    let mut child = sender.spawn().context("start the sender")?;
    loop {
        if let Some(status) = child.try_wait()? {
            anyhow::ensure!(status.success(), "the sender of the load: {status}");
            return Ok(());
        }
        if stopped.load(Ordering::Relaxed) {
            child.kill()?;
            child.wait()?;
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Random traces of those that were sent.
pub fn choose(generator: &Generator, spans: u64, count: usize) -> Vec<TraceTruth> {
    let mut random = Random::new(7);
    (0..count).map(|_| generator.trace(random.below(generator.trace_count(spans)))).collect()
}

/// Asks everything and returns the latencies as figures.
fn ask(
    client: &mut Client,
    traces: &[TraceTruth],
    base_time_ns: u64,
    job: &str,
) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let spans_only: &[(f64, Option<f64>)] = &[(50.0, Some(1.5)), (90.0, None), (99.0, Some(5.0))];
    let all_signals: &[(f64, Option<f64>)] = &[(50.0, Some(3.0)), (90.0, None), (99.0, None)];
    for (what, query, bars) in
        [("trace, spans only", "?include=spans", spans_only), ("trace, all signals", "", all_signals)]
    {
        let first = traces.first().context("no traces to look up")?;
        if let Err(error) = client.trace(first, query) {
            anyhow::ensure!(!query.is_empty(), "{error:#}");
            eprintln!("{what}: SKIPPED, the server does not know {query}: {error:#}");
            continue;
        }
        for trace in traces.iter().take(WARM_UP) {
            client.trace(trace, query)?;
        }
        let latencies =
            traces.iter().map(|trace| client.trace(trace, query)).collect::<anyhow::Result<Vec<f64>>>()?;
        figures.extend(percentiles(job, what, &latencies, bars));
    }
    let (start, end) = (base_time_ns - 3_600_000_000_000, base_time_ns);
    let searches = [
        ("search, service", format!("traces?service=cart&limit=20&start={start}&end={end}")),
        (
            "search, service and error",
            format!("traces?service=cart&status=error&limit=20&start={start}&end={end}"),
        ),
        ("search, slow", format!("traces?min_duration=40ms&limit=20&start={start}&end={end}")),
        ("logs, needle", format!("logs?contains=deadlock%20detected&limit=20&start={start}&end={end}")),
        (
            "logs, service and severity",
            format!("logs?service=payment&severity=error&limit=100&start={start}&end={end}"),
        ),
        ("services", format!("services?start={start}&end={end}")),
    ];
    for (what, path) in searches {
        let (_, answer) = client.get(&path)?;
        anyhow::ensure!(has_hits(&answer), "{what}: nothing found by {path}");
        let latencies =
            (0..SEARCHES).map(|_| Ok(client.get(&path)?.0)).collect::<anyhow::Result<Vec<f64>>>()?;
        figures.extend(percentiles(job, what, &latencies, &[(50.0, None), (99.0, None)]));
    }
    Ok(figures)
}

/// Whether a search found something: a list that is empty is found fast.
fn has_hits(answer: &Value) -> bool {
    ["traces", "logs", "services"]
        .iter()
        .any(|key| answer.get(key).and_then(Value::as_array).is_some_and(|l| !l.is_empty()))
}

fn percentiles(job: &str, what: &str, latencies_ms: &[f64], wanted: &[(f64, Option<f64>)]) -> Vec<Figure> {
    let figure = |(percent, bar): &(f64, Option<f64>)| Figure {
        system: OURS.to_owned(),
        job: job.to_owned(),
        measure: format!("{what} p{percent:.0}"),
        unit: "ms".to_owned(),
        runs: vec![percentile(latencies_ms, *percent)],
        bar: bar.map(Bar::AtMost).filter(|_| job.ends_with("idle")),
    };
    wanted.iter().map(figure).collect()
}

/// Prints what must hold between the figures: flat in size, and at most three times as slow during ingest.
fn compare(figures: &[Figure]) {
    for figure in figures.iter().filter(|figure| figure.measure.ends_with("p99")) {
        let Some((size, state)) = figure.job.split_once(", ") else { continue };
        if state == "full ingest" {
            let idle = figures
                .iter()
                .find(|other| other.measure == figure.measure && other.job == format!("{size}, idle"));
            relation(figure, idle, 3.0, "the idle figure");
        } else {
            let first =
                figures.iter().find(|other| other.measure == figure.measure && other.job.ends_with("idle"));
            relation(
                figure,
                first.filter(|first| first.job != figure.job),
                1.5,
                "the figure of the smallest store",
            );
        }
    }
}

fn relation(figure: &Figure, other: Option<&Figure>, limit: f64, name: &str) {
    let Some(other) = other else { return };
    let ratio = figure.median() / other.median().max(1e-6);
    let verdict = if ratio <= limit { "met" } else { "MISSED" };
    println!("{}: {} is {ratio:.2} x {name}, bar {limit} x, {verdict}", figure.job, figure.measure);
}

/// One connection to the native API.
struct Client {
    agent: ureq::Agent,
    base: String,
}

impl Client {
    fn new(port: u16) -> Client {
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(60))).build();
        let base = format!("http://{}/api/throughline/v1", Place::address(port));
        Client { agent: config.into(), base }
    }

    /// Latency in milliseconds and the answer.
    fn get(&mut self, path: &str) -> anyhow::Result<(f64, Value)> {
        let url = format!("{}/{path}", self.base);
        let start = now();
        let body =
            self.agent.get(&url).call().with_context(|| format!("GET {url}"))?.body_mut().read_to_vec()?;
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        Ok((milliseconds, serde_json::from_slice(&body)?))
    }

    /// Latency of a trace whose answer was right.
    fn trace(&mut self, truth: &TraceTruth, query: &str) -> anyhow::Result<f64> {
        let id = truth.hex_id();
        let (milliseconds, answer) = self.get(&format!("traces/{id}{query}"))?;
        let spans = answer.get("spans").and_then(Value::as_array).map_or(0, Vec::len);
        anyhow::ensure!(spans == truth.spans, "trace {id} has {spans} spans, {} were sent", truth.spans);
        Ok(milliseconds)
    }
}
