//! `bench investigate`: an hour of all signals, at rest in blocks, and investigations of it.
//!
//! A server is started anew for every cold figure, with its files out of the page cache. Memory is what is resident beyond what was
//! before the first investigation; its peak is watched while they run.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value as Json, json};
use throughline_generate::Generator;

use super::corpus::now_ns;
use super::ingest::{FLUSH_AGE, sender_process, sent_by};
use super::server::{Place, Server, now, remove_folder};
use super::table::{Bar, Figure, percentile};
use super::{Common, OURS};

/// A server that has not come to rest by then is measured as it is.
const SETTLE_MAX: Duration = Duration::from_secs(1_800);
/// An answer is waited for so long.
const TIMEOUT: Duration = Duration::from_secs(120);
const SECOND_NS: u64 = 1_000_000_000;
const HOUR_NS: u64 = 3_600 * SECOND_NS;
/// Spans of a trace on average, as the generator makes them.
const SPANS_PER_TRACE: u64 = 10;
/// Steps of 15 seconds in an hour.
const STEPS: u64 = 240;
/// How often memory is looked at while investigations run.
const WATCH_EVERY: Duration = Duration::from_millis(2);

/// Arguments of `bench investigate`.
#[derive(Args, Clone, Debug)]
pub struct InvestigateArguments {
    #[command(flatten)]
    common: Common,
    /// Spans of the hour; log records are six for every ten of them
    #[arg(long, default_value_t = 5_000_000)]
    spans: u64,
    /// Series, each with a point every 15 seconds
    #[arg(long, default_value_t = 20_000)]
    series: u64,
    /// How often every investigation is asked for
    #[arg(long, default_value_t = 15)]
    questions: usize,
    /// How many traces are looked up with their spans, log records and exemplars
    #[arg(long, default_value_t = 500)]
    lookups: u64,
    /// Leave the data where it is in the end
    #[arg(long)]
    keep: bool,
    /// Ask the data that an earlier run left, until this time in nanoseconds since 1970
    #[arg(long)]
    reuse: Option<u64>,
}

impl InvestigateArguments {
    /// What all benchmarks have.
    pub fn common(&self) -> &Common {
        &self.common
    }
}

/// Runs the command.
pub fn run(arguments: &InvestigateArguments) -> anyhow::Result<Vec<Figure>> {
    let common = &arguments.common;
    let base_time_ns = arguments.reuse.unwrap_or_else(now_ns);
    let interval_ns = (HOUR_NS / (arguments.spans / SPANS_PER_TRACE).max(1)).max(1);
    let folder = common.folder().join("investigate");
    if arguments.reuse.is_none() {
        fill(arguments, &folder, base_time_ns, interval_ns)?;
    }
    let mut figures = Vec::new();
    for question in questions(base_time_ns) {
        figures.extend(measure(arguments, &folder, &question)?);
    }
    figures.push(traces(arguments, &folder, base_time_ns, interval_ns)?);
    match arguments.keep {
        true => eprintln!("the data is kept: --reuse {base_time_ns}"),
        false => remove_folder(&folder)?,
    }
    Ok(figures)
}

fn fill(
    arguments: &InvestigateArguments,
    folder: &Path,
    base_time_ns: u64,
    interval_ns: u64,
) -> anyhow::Result<()> {
    let server = start(arguments, Place::fresh(folder)?)?;
    let (logs, points) = (arguments.spans * 6 / 10, arguments.series * STEPS);
    eprintln!("filling with {} spans, {logs} log records, {points} points", arguments.spans);
    let mut sender = sender_process("http", false, server.place.http_port)?;
    for (option, value) in [
        ("--spans", arguments.spans),
        ("--logs", logs),
        ("--points", points),
        ("--base-time-ns", base_time_ns),
        ("--seed", arguments.common.seed),
        ("--interval-ns", interval_ns),
    ] {
        sender.args([option, &value.to_string()]);
    }
    sender.arg("--referring");
    let sent = sent_by(sender)?;
    anyhow::ensure!(sent.failed + sent.rejected == 0, "not everything was taken: {sent:?}");
    server.settle(FLUSH_AGE, SETTLE_MAX)?;
    server.stop()?;
    Ok(())
}

/// Starts the server where its data lies.
fn start(arguments: &InvestigateArguments, place: Place) -> anyhow::Result<Server> {
    Server::throughline(&arguments.common.binary(), place, &arguments.common.own_settings())
}

struct Question {
    what: &'static str,
    body: Json,
}

/// Windows of an hour that ends with the data, as people have them.
fn questions(base_time_ns: u64) -> Vec<Question> {
    let before = |seconds: u64| (base_time_ns - seconds * SECOND_NS).to_string();
    let window = |from: u64, until: u64| json!({"start": before(from), "end": before(until)});
    vec![
        Question {
            what: "half an hour against the one before",
            body: json!({"window": window(1_800, 0), "baseline": window(3_600, 1_800)}),
        },
        Question { what: "five minutes of the hour", body: json!({"window": window(600, 300)}) },
        Question {
            what: "an expression over the hour",
            body: json!({"focus": "sum by (service_name) (rate(traces_spanmetrics_calls_total{status_code=\"STATUS_CODE_ERROR\"}[5m]))",
                "window": window(3_600, 0)}),
        },
    ]
}

/// Asks once of a fresh server, then many times of the same.
fn measure(
    arguments: &InvestigateArguments,
    folder: &Path,
    question: &Question,
) -> anyhow::Result<Vec<Figure>> {
    let server = restarted(arguments, folder)?;
    let url = format!("http://{}/api/throughline/v1/investigate", Place::address(server.place.query_port));
    let agent = agent();
    let ask = || -> anyhow::Result<(f64, Json)> {
        let started = now();
        let mut response = agent
            .post(&url)
            .header("content-type", "application/json")
            .send(question.body.to_string())
            .with_context(|| format!("ask for {}", question.what))?;
        let text = response.body_mut().read_to_string()?;
        let elapsed = started.elapsed().as_secs_f64() * 1e3;
        Ok((elapsed, serde_json::from_str(&text)?))
    };
    let resting = server.usage()?.memory_bytes;
    let (peak, is_over) = (AtomicU64::new(resting), AtomicBool::new(false));
    let answers = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let usage = server.usage().unwrap_or_default();
                peak.fetch_max(usage.memory_bytes, Ordering::Relaxed);
                std::thread::sleep(WATCH_EVERY);
            }
        });
        let answers: anyhow::Result<Vec<(f64, Json)>> =
            (0..=arguments.questions.max(1)).map(|_| ask()).collect();
        is_over.store(true, Ordering::Relaxed);
        answers
    })?;
    server.stop()?;
    let (cold_ms, case) = answers.first().context("an answer")?;
    eprintln!("{}: read {}, partial {}", question.what, case["read"], case["partial"]);
    let is_same = answers.iter().all(|(_, other)| other == case);
    anyhow::ensure!(is_same, "{}: the same question has different answers", question.what);
    let warm: Vec<f64> = answers.iter().skip(1).map(|(ms, _)| *ms).collect();
    let added = peak.into_inner().saturating_sub(resting) as f64 / (1 << 20) as f64;
    let figure = |measure: &str, unit: &str, runs: Vec<f64>, bar: Option<f64>| Figure {
        system: OURS.to_owned(),
        job: "investigate".to_owned(),
        measure: format!("{}: {measure}", question.what),
        unit: unit.to_owned(),
        runs,
        bar: bar.map(Bar::AtMost),
    };
    Ok(vec![
        figure("cold", "ms", vec![*cold_ms], Some(2_000.0)),
        figure("warm p50", "ms", vec![percentile(&warm, 50.0)], Some(300.0)),
        figure("warm p95", "ms", vec![percentile(&warm, 95.0)], None),
        figure("memory beyond rest", "MiB", vec![added], Some(200.0)),
    ])
}

/// Traces with all that belongs to them, in one call each.
fn traces(
    arguments: &InvestigateArguments,
    folder: &Path,
    base_time_ns: u64,
    interval_ns: u64,
) -> anyhow::Result<Figure> {
    let server = restarted(arguments, folder)?;
    let generator = Generator::new(arguments.common.seed, base_time_ns).every(interval_ns);
    let (agent, traces) = (agent(), generator.trace_count(arguments.spans));
    let mut latencies = Vec::new();
    for number in 0..arguments.lookups.max(1) {
        let trace = generator.trace(number * traces / arguments.lookups.max(1));
        let address = Place::address(server.place.query_port);
        let url = format!("http://{address}/api/throughline/v1/traces/{}", trace.hex_id());
        let started = now();
        let mut response = agent.get(&url).call().with_context(|| format!("GET {url}"))?;
        let answer: Json = serde_json::from_str(&response.body_mut().read_to_string()?)?;
        latencies.push(started.elapsed().as_secs_f64() * 1e3);
        let spans = answer.get("spans").and_then(Json::as_array).map_or(0, Vec::len);
        anyhow::ensure!(spans == trace.spans, "{url}: {spans} spans of {}", trace.spans);
    }
    server.stop()?;
    Ok(Figure {
        system: OURS.to_owned(),
        job: "investigate".to_owned(),
        measure: "trace id to spans, log records and exemplars, p50".to_owned(),
        unit: "ms".to_owned(),
        runs: vec![percentile(&latencies, 50.0)],
        bar: Some(Bar::AtMost(10.0)),
    })
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).proxy(None).build().into()
}

/// The server with the data of before, and nothing of it in the page cache if that can be had.
fn restarted(arguments: &InvestigateArguments, folder: &Path) -> anyhow::Result<Server> {
    leave_page_cache(folder)?;
    let server = start(arguments, Place::beside(folder)?)?;
    server.settle(Duration::ZERO, SETTLE_MAX)?;
    Ok(server)
}

/// Takes the files of a folder out of the page cache, so that the next to read them reads the disk.
#[expect(clippy::disallowed_methods, reason = "the files are only looked at, not the store's to read")]
fn leave_page_cache(folder: &Path) -> anyhow::Result<()> {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let file = std::fs::File::open(&path).with_context(|| format!("open {}", path.display()))?;
                rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
            }
        }
    }
    Ok(())
}
