//! `bench incidents`: real incidents, one at a time, through the receiver into a fresh server, and who it names as the cause.
//!
//! Of a folder of incidents (`faults.json`, and for each incident and baseline `traces`, `logs` and `metrics.jsonl.zst`, one OTLP/JSON
//! request a line) each is sent together with its baseline; then `POST /investigate` is asked with the window and the
//! baseline, and the answer compared with what is known. Nothing of what is known is told to the server.
//!
//! With `--cross-validate` the same is asked of other data of the same incidents: of each half of the traces, against the baseline of
//! another day, and without metrics. That is no clean hold-out: the incidents that are handed out were looked at while the methods
//! were made, and two constants (what counts as always, what is left of a full resource) were picked with them in view.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::server::{Place, Server, now, remove_folder};

/// An answer is waited for so long.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Suspects that are asked for: a rank beyond them is no rank.
const SUSPECTS: usize = 10;
/// Incidents may be old: the store takes what is younger than this.
const ACCEPTED_AGE: &str = "36500d";
/// The largest file that is read, decompressed.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// What to run.
#[derive(Args, Clone, Debug)]
pub struct IncidentArguments {
    /// The incidents
    #[arg(long, default_value = "../shared/datasets/trainticket")]
    dir: PathBuf,
    /// The server to ask
    #[arg(long, default_value = "target/release/throughline")]
    server: PathBuf,
    /// Where the server keeps its data
    #[arg(long, default_value = "target/bench/incidents")]
    folder: PathBuf,
    /// Only incidents whose id has this in it
    #[arg(long)]
    only: Option<String>,
    /// Ask of halves of the traces, of another baseline and without metrics as well
    #[arg(long)]
    cross_validate: bool,
    /// Print the answers, too
    #[arg(long)]
    show: bool,
    /// Write all answers into this file
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Deserialize, Clone)]
struct Incident {
    id: String,
    window: Window,
    baseline: Baseline,
    answer: Known,
}

#[derive(Deserialize, Serialize, Clone)]
struct Window {
    start: String,
    end: String,
}

#[derive(Deserialize, Clone, PartialEq)]
struct Baseline {
    folder: String,
    start: String,
    end: String,
}

#[derive(Deserialize, Clone)]
struct Known {
    service: String,
    kind: String,
    #[serde(default)]
    pod: String,
}

/// Which part of an incident is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    All,
    /// Traces whose id's last digit is even, or odd.
    Half(bool),
    OtherBaseline,
    WithoutMetrics,
}

impl Part {
    const VALIDATION: [Part; 4] =
        [Part::Half(false), Part::Half(true), Part::OtherBaseline, Part::WithoutMetrics];

    fn name(self) -> &'static str {
        match self {
            Part::All => "all data",
            Part::Half(false) => "one half of the traces",
            Part::Half(true) => "the other half of the traces",
            Part::OtherBaseline => "baseline of another day",
            Part::WithoutMetrics => "without metrics",
        }
    }

    fn takes(self, trace_id: &str) -> bool {
        match self {
            Part::Half(odd) => trace_id.bytes().last().is_none_or(|digit| (digit % 2 == 1) == odd),
            _ => true,
        }
    }
}

struct Outcome {
    part: Part,
    id: String,
    known: Known,
    /// From 1; none where the service is not among the suspects.
    rank: Option<usize>,
    seconds: f64,
    case: Json,
}

/// Runs the command.
pub fn run(arguments: &IncidentArguments) -> anyhow::Result<()> {
    let path = arguments.dir.join("faults.json");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("read {}: --dir names a folder of incidents", path.display()))?;
    let mut incidents: Vec<Incident> = serde_json::from_str(&text).context("understand faults.json")?;
    let baselines: Vec<Baseline> = incidents.iter().map(|incident| incident.baseline.clone()).collect();
    if let Some(only) = &arguments.only {
        incidents.retain(|incident| incident.id.contains(only.as_str()));
    }
    anyhow::ensure!(!incidents.is_empty(), "no incident is chosen");
    let mut outcomes = Vec::new();
    let parts = if arguments.cross_validate { Part::VALIDATION.as_slice() } else { &[] };
    for part in std::iter::once(&Part::All).chain(parts) {
        println!("{}:", part.name());
        for incident in &incidents {
            let mut incident = incident.clone();
            if *part == Part::OtherBaseline {
                let other = baselines.iter().find(|other| **other != incident.baseline);
                let Some(other) = other else { continue };
                incident.baseline = other.clone();
            }
            let outcome =
                one(arguments, &incident, *part).with_context(|| format!("incident {}", incident.id))?;
            print(&outcome, arguments.show);
            outcomes.push(outcome);
        }
        summary(outcomes.iter().filter(|outcome| outcome.part == *part));
    }
    if let Some(path) = &arguments.json {
        super::write_file(path, &serde_json::to_vec_pretty(&json_of(&outcomes))?)?;
    }
    Ok(())
}

/// Sends one incident to a server of its own and asks it.
fn one(arguments: &IncidentArguments, incident: &Incident, part: Part) -> anyhow::Result<Outcome> {
    let place = Place::fresh(&arguments.folder.join(&incident.id))?;
    let settings = format!("durability: os\nretention:\n  age: {ACCEPTED_AGE}\n");
    let server = Server::throughline(&arguments.server, place, &settings)?;
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).proxy(None).build().into();
    for folder in [incident.baseline.folder.as_str(), incident.id.as_str()] {
        for signal in ["traces", "logs", "metrics"] {
            if signal == "metrics" && part == Part::WithoutMetrics {
                continue;
            }
            let path = arguments.dir.join(folder).join(format!("{signal}.jsonl.zst"));
            for line in lines(&path)? {
                let body = if matches!(part, Part::Half(_)) && signal == "traces" {
                    half(&line, part)?
                } else {
                    line
                };
                send(&agent, server.place.http_port, signal, body)?;
            }
        }
    }
    let question = json!({
        "window": incident.window,
        "baseline": {"start": incident.baseline.start, "end": incident.baseline.end},
        "suspects": SUSPECTS,
    });
    let url = format!("http://{}/api/throughline/v1/investigate", Place::address(server.place.query_port));
    let started = now();
    let mut response = agent
        .post(&url)
        .header("content-type", "application/json")
        .send(question.to_string())
        .context("ask the server")?;
    let case: Json = serde_json::from_str(&response.body_mut().read_to_string()?)?;
    let seconds = started.elapsed().as_secs_f64();
    let place = server.kill()?;
    remove_folder(&place.data_dir)?;
    let suspects = case.get("suspects").and_then(Json::as_array).context("a case without suspects")?;
    let is_known =
        |suspect: &Json| suspect.get("service").and_then(Json::as_str) == Some(&incident.answer.service);
    let rank = suspects.iter().position(is_known).map(|at| at + 1);
    Ok(Outcome { part, id: incident.id.clone(), known: incident.answer.clone(), rank, seconds, case })
}

/// The lines of a compressed file.
fn lines(path: &Path) -> anyhow::Result<Vec<String>> {
    let file = open(path)?;
    let mut text = String::new();
    zstd::Decoder::new(file)
        .and_then(|decoder| decoder.take(FILE_BYTES_MAX).read_to_string(&mut text))
        .with_context(|| format!("decompress {}", path.display()))?;
    Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

#[expect(clippy::disallowed_methods, reason = "the file is the benchmark's, not the store's")]
fn open(path: &Path) -> anyhow::Result<std::fs::File> {
    std::fs::File::open(path).with_context(|| format!("open {}", path.display()))
}

/// A request of traces with the spans of one half alone.
fn half(line: &str, part: Part) -> anyhow::Result<String> {
    let mut request: Json = serde_json::from_str(line)?;
    let resources = request.get_mut("resourceSpans").and_then(Json::as_array_mut);
    for resource in resources.into_iter().flatten() {
        for scope in resource.get_mut("scopeSpans").and_then(Json::as_array_mut).into_iter().flatten() {
            if let Some(spans) = scope.get_mut("spans").and_then(Json::as_array_mut) {
                spans.retain(|span| {
                    part.takes(span.get("traceId").and_then(Json::as_str).unwrap_or_default())
                });
            }
        }
    }
    Ok(request.to_string())
}

fn send(agent: &ureq::Agent, port: u16, signal: &str, body: String) -> anyhow::Result<()> {
    let url = format!("http://{}/v1/{signal}", Place::address(port));
    let mut response =
        agent.post(&url).header("content-type", "application/json").send(body).context("send a request")?;
    let answer: Json = serde_json::from_str(&response.body_mut().read_to_string()?).unwrap_or_default();
    // A success that leaves something out would make the answer one about other data.
    let left_out = answer.pointer("/partialSuccess").filter(|partial| {
        partial.as_object().is_some_and(|fields| {
            fields.iter().any(|(name, value)| {
                name.starts_with("rejected") && value != &json!(0) && value != &json!("0")
            })
        })
    });
    anyhow::ensure!(left_out.is_none(), "the server refused a part of {signal}: {answer}");
    Ok(())
}

fn print(outcome: &Outcome, show: bool) {
    let rank = outcome.rank.map_or_else(|| "-".to_owned(), |rank| rank.to_string());
    let suspects = outcome.case.get("suspects").and_then(Json::as_array).cloned().unwrap_or_default();
    let named: Vec<String> = suspects
        .iter()
        .take(3)
        .map(|suspect| {
            let text = |key: &str| suspect.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
            let score = suspect.get("score").and_then(Json::as_f64).unwrap_or_default();
            format!("{} {} {score:.2}", text("service"), text("cause"))
        })
        .collect();
    let Known { service, kind, pod } = &outcome.known;
    let instance = suspects
        .iter()
        .find(|suspect| suspect.get("service").and_then(Json::as_str) == Some(service))
        .and_then(|suspect| suspect.get("instance").and_then(Json::as_str));
    let instance = match instance {
        Some(instance) if instance == pod => "",
        Some(_) => " (another instance)",
        None => " (no instance)",
    };
    println!(
        "  {rank:>2}  {}  {kind} of {service}{instance}  {:.0} ms  [{}]",
        outcome.id,
        outcome.seconds * 1e3,
        named.join(", ")
    );
    if show {
        println!("{}", serde_json::to_string_pretty(&outcome.case).unwrap_or_default());
    }
}

fn summary<'a>(outcomes: impl Iterator<Item = &'a Outcome>) {
    let mut kinds: BTreeMap<&str, (usize, usize, usize)> = BTreeMap::new();
    let mut seconds: Vec<f64> = Vec::new();
    for outcome in outcomes {
        for kind in [outcome.known.kind.as_str(), "all"] {
            let (first, three, of) = kinds.entry(kind).or_default();
            *first += usize::from(outcome.rank == Some(1));
            *three += usize::from(outcome.rank.is_some_and(|rank| rank <= 3));
            *of += 1;
        }
        seconds.push(outcome.seconds);
    }
    for (kind, (first, three, of)) in kinds {
        let share = |n: usize| n as f64 / of.max(1) as f64 * 100.0;
        println!(
            "  {kind:<16} first {first}/{of} ({:.1} %), among three {three}/{of} ({:.1} %)",
            share(first),
            share(three)
        );
    }
    seconds.sort_by(f64::total_cmp);
    let at = |share: f64| {
        seconds.get((share * seconds.len().saturating_sub(1) as f64) as usize).copied().unwrap_or(0.0)
    };
    println!("  an answer takes {:.0} ms at the median, {:.0} ms at most", at(0.5) * 1e3, at(1.0) * 1e3);
}

fn json_of(outcomes: &[Outcome]) -> Json {
    let all = outcomes.iter().map(|outcome| {
        json!({
            "part": outcome.part.name(),
            "id": outcome.id,
            "service": outcome.known.service,
            "kind": outcome.known.kind,
            "rank": outcome.rank,
            "seconds": outcome.seconds,
            "case": outcome.case,
        })
    });
    Json::Array(all.collect())
}
