//! `differential traceql`: a real Tempo and Throughline get the same spans over OTLP and the same random questions: searches, series,
//! names and values of tags, traces by their ids.
//!
//! Tempo keeps what it gets in memory first, then in a log, then in a block; the questions are asked once it has come to rest, of the
//! block.

mod answer;
mod data;
mod fields;
mod query;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value as Json;

use self::answer::{Answer, difference, normal};
use self::query::Query;
use super::{Asked, Compared};
use crate::bench::peer;
use crate::bench::server::{Place, Server};

/// How long Tempo may take to make a block of what it got: a trace waits for more spans, a block for more traces.
const AT_REST_AFTER: Duration = Duration::from_secs(45);
const AT_REST_MOST: Duration = Duration::from_secs(120);

/// An answer longer than this is none that anybody wants.
const ANSWER_BYTES_MAX: u64 = 1 << 28;

/// All spans of an answer are compared, and all comes from the part of Tempo that has it.
const MORE_CONFIGURATION: &str = "query_frontend:
  query_end_cutoff: 0s
  search: { max_spans_per_span_set: 0, query_backend_after: 1h }
  metrics: { query_backend_after: 1h }
";

#[derive(Args)]
pub struct Arguments {
    /// The binary of Tempo 3
    #[arg(long, env = "THROUGHLINE_TEMPO", value_name = "PATH")]
    tempo: Option<PathBuf>,
    #[command(flatten)]
    asked: Asked,
}

/// A server that speaks Tempo's API.
struct Target {
    base: String,
    agent: ureq::Agent,
}

impl Target {
    fn new(port: u16, prefix: &str) -> Target {
        let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
        let config = config.timeout_global(Some(Duration::from_secs(120))).build();
        Target { base: format!("http://{}{prefix}/api", Place::address(port)), agent: config.into() }
    }

    fn ask(&self, query: &Query) -> anyhow::Result<Answer> {
        let url = format!("{}/{}", self.base, query.path);
        let pairs = query.form.iter().map(|(name, value)| (*name, value.as_str()));
        let request = self.agent.get(&url).header("Accept", "application/json").query_pairs(pairs);
        let mut response = request.call().with_context(|| format!("ask {url}"))?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?;
        if status != 200 {
            return Ok(Err((status, body)));
        }
        let json: Json = serde_json::from_str(&body).with_context(|| format!("{url}: {body:.300}"))?;
        let question = query.form.iter().find(|(name, _)| *name == "q").map_or("", |(_, text)| text);
        Ok(Ok(normal(query.kind, question, &json)))
    }
}

fn send(server: &Server, bodies: &[Json]) -> anyhow::Result<()> {
    let url = format!("http://{}/v1/traces", Place::address(server.place.http_port));
    for body in bodies {
        let request = ureq::post(&url).header("Content-Type", "application/json");
        request.send(body.to_string()).with_context(|| format!("send to {url}"))?;
    }
    Ok(())
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Some(tempo) = &arguments.tempo else {
        eprintln!("skipped: no Tempo; name its binary with --tempo or THROUGHLINE_TEMPO");
        return Ok(());
    };
    let asked = &arguments.asked;
    let folder = std::path::absolute("target/differential")?;
    let place = Place::fresh(&folder.join("throughline"))?;
    let ours = Server::throughline(&asked.throughline, place, "")?;
    let place = Place::fresh(&folder.join("tempo"))?;
    let tempo = peer::parse(&format!("tempo={} -config.file={{config}}", tempo.display()))?;
    let theirs = tempo.start_with(place, MORE_CONFIGURATION)?;
    let end_ns = u64::try_from(super::data::aligned_now_ms()?)? * 1_000_000;
    let bodies = data::requests(asked.seed, end_ns);
    for server in [&ours, &theirs] {
        send(server, &bodies)?;
    }
    theirs.settle(AT_REST_AFTER, AT_REST_MOST)?;
    let a = Target::new(ours.place.query_port, "/tempo");
    let b = Target::new(theirs.place.query_port, "");
    asked.compare_all("Tempo", |number| {
        let query = query::query(asked.seed, number, end_ns);
        let (a, b) = (a.ask(&query)?, b.ask(&query)?);
        let shown = |answer: &Answer| match answer {
            Ok(json) => format!("{json:#}"),
            Err((status, message)) => format!("{status} {message}"),
        };
        Ok(Compared {
            query: format!("{} {:?}", query.path, query.form),
            answers: format!("ours: {}\ntheirs: {}", shown(&a), shown(&b)),
            is_refused: b.is_err(),
            difference: difference(&a, &b),
        })
    })
}
