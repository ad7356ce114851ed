//! `differential promql`: a real Prometheus and Throughline get the same samples by remote write and the same random
//! queries, and must give the same answers.
//!
//! A query is a function of the seed and its number, so that any that differs can be asked again alone.

mod data;
mod query;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::Value as Json;

use crate::bench::server::{Place, Server};

/// Values that agree to this part of themselves are equal.
const RELATIVE: f64 = 1e-12;

/// Sums of large numbers that cancel out leave a remainder: below this it counts as nothing.
const REMAINDER: f64 = 1e-9;

/// How long a server may take until it answers queries over what was written.
const VISIBLE_WITHIN: Duration = Duration::from_secs(20);

#[derive(Subcommand)]
pub enum Differential {
    /// Random queries to a real Prometheus 3 and to Throughline
    Promql(PromqlArguments),
}

#[derive(Args)]
pub struct PromqlArguments {
    /// The binary of Prometheus 3
    #[arg(long, env = "THROUGHLINE_PROMETHEUS", value_name = "PATH")]
    prometheus: Option<PathBuf>,
    /// The binary of Throughline
    #[arg(long, default_value = "target/release/throughline", value_name = "PATH")]
    throughline: PathBuf,
    /// How many queries
    #[arg(long, default_value_t = 1_000)]
    count: u64,
    /// Where the queries come from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only the query of this number
    #[arg(long)]
    only: Option<u64>,
}

pub fn run(differential: &Differential) -> anyhow::Result<()> {
    let Differential::Promql(arguments) = differential;
    let Some(prometheus) = &arguments.prometheus else {
        eprintln!("skipped: no Prometheus; name its binary with --prometheus or THROUGHLINE_PROMETHEUS");
        return Ok(());
    };
    let folder = std::path::absolute("target/differential")?;
    let place = Place::fresh(&folder.join("throughline"))?;
    let ours = Server::throughline(&arguments.throughline, place, "")?;
    let place = Place::fresh(&folder.join("prometheus"))?;
    let command = format!(
        "{} --config.file=/dev/null --web.listen-address=127.0.0.1:{{http_port}} --storage.tsdb.path={{data_dir}} \
         --web.enable-remote-write-receiver --query.lookback-delta=5m --query.max-samples=50000000 \
         --enable-feature=promql-experimental-functions,promql-duration-expr,promql-extended-range-selectors,\
         promql-binop-fill-modifiers,promql-delayed-name-removal",
        prometheus.display()
    );
    let theirs = Server::peer(&command, place)?;
    let servers = (ours, theirs);
    let (ours, theirs) = (Target::new(servers.0.place.query_port), Target::new(servers.1.place.http_port));
    let end_ms = data::aligned_now_ms()?;
    for body in data::requests(arguments.seed, end_ms)? {
        ours.write(&body)?;
        theirs.write(&body)?;
    }
    for target in [&ours, &theirs] {
        target.wait_until_visible(end_ms)?;
    }
    let numbers = match arguments.only {
        Some(number) => number..number + 1,
        None => 0..arguments.count,
    };
    let (mut asked, mut refused, mut differing) = (0u64, 0u64, 0u64);
    for number in numbers {
        let query = query::query(arguments.seed, number, end_ms);
        let (a, b) = (ours.ask(&query)?, theirs.ask(&query)?);
        asked += 1;
        if arguments.only.is_some() {
            println!("ours: {a:?}\ntheirs: {b:?}");
        }
        refused += u64::from(b.is_err());
        if let Some(difference) = difference(&a, &b) {
            differing += 1;
            println!("query {number} differs: {}\n  {:?}\n  {difference}", query.text, query.window);
        }
    }
    println!(
        "{asked} queries, seed {}: {differing} differ, {refused} are refused by Prometheus",
        arguments.seed
    );
    if differing > 0 {
        bail!("{differing} of {asked} queries differ");
    }
    Ok(())
}

/// A server that is written to and asked.
struct Target {
    base: String,
    agent: ureq::Agent,
}

/// The result of a query, or the status of its refusal with the message.
type Answer = Result<Json, (u16, String)>;

impl Target {
    fn new(port: u16) -> Target {
        let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build();
        let base = format!("http://127.0.0.1:{port}/api/v1");
        Target { base, agent: ureq::Agent::from(config) }
    }

    fn write(&self, body: &[u8]) -> anyhow::Result<()> {
        let mut response = self
            .agent
            .post(format!("{}/write", self.base))
            .header("Content-Type", "application/x-protobuf")
            .header("Content-Encoding", "snappy")
            .header("X-Prometheus-Remote-Write-Version", "0.1.0")
            .send(body)?;
        let status = response.status().as_u16();
        anyhow::ensure!(
            status / 100 == 2,
            "remote write: {status} {}",
            response.body_mut().read_to_string()?
        );
        Ok(())
    }

    fn ask(&self, query: &query::Query) -> anyhow::Result<Answer> {
        let path = if query.window.is_range() { "query_range" } else { "query" };
        let form = query.form();
        let pairs = form.iter().map(|(name, value)| (*name, value.as_str()));
        let mut response = self.agent.post(format!("{}/{path}", self.base)).send_form(pairs)?;
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(1 << 30).read_to_string()?;
        let json: Json = serde_json::from_str(&text).with_context(|| format!("{status} {text}"))?;
        Ok(if status == 200 {
            Ok(json.get("data").cloned().unwrap_or_default())
        } else {
            Err((status, json.get("error").and_then(Json::as_str).unwrap_or_default().to_owned()))
        })
    }

    fn wait_until_visible(&self, end_ms: i64) -> anyhow::Result<()> {
        let started = crate::bench::server::now();
        loop {
            let query = query::Query::instant("count({__name__!=\"\"})".to_owned(), end_ms);
            let answer = self.ask(&query)?;
            if answer.is_ok_and(|data| data["result"].as_array().is_some_and(|result| !result.is_empty())) {
                return Ok(());
            }
            anyhow::ensure!(
                started.elapsed() < VISIBLE_WITHIN,
                "{} shows nothing of what was written",
                self.base
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// What differs between two answers.
fn difference(ours: &Answer, theirs: &Answer) -> Option<String> {
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => {
            if ours["resultType"] != theirs["resultType"] {
                return Some(format!("type {} instead of {}", ours["resultType"], theirs["resultType"]));
            }
            results(&ours["result"], &theirs["result"])
        }
        (Err((ours, _)), Err((theirs, _))) if ours == theirs => None,
        (ours, theirs) => Some(format!("{} instead of {}", outcome(ours), outcome(theirs))),
    }
}

fn outcome(answer: &Answer) -> String {
    match answer {
        Ok(data) => format!("an answer ({} series)", data["result"].as_array().map_or(0, Vec::len)),
        Err((status, message)) => format!("{status} {message}"),
    }
}

fn by_labels(result: &Json) -> Option<BTreeMap<String, &Json>> {
    let series = result.as_array()?;
    series.iter().map(|series| Some((series.get("metric")?.to_string(), series))).collect()
}

fn results(ours: &Json, theirs: &Json) -> Option<String> {
    let (Some(a), Some(b)) = (by_labels(ours), by_labels(theirs)) else {
        return samples(ours, theirs);
    };
    if let Some(labels) = a.keys().find(|labels| !b.contains_key(*labels)) {
        return Some(format!("{labels} is too many ({} series instead of {})", a.len(), b.len()));
    }
    if let Some(labels) = b.keys().find(|labels| !a.contains_key(*labels)) {
        return Some(format!("{labels} is missing ({} series instead of {})", a.len(), b.len()));
    }
    a.iter().find_map(|(labels, ours)| {
        let theirs = b.get(labels)?;
        let keys = ["value", "values", "histogram", "histograms"];
        keys.iter()
            .find_map(|key| samples(&ours[*key], &theirs[*key]))
            .map(|difference| format!("{labels}: {difference}"))
    })
}

/// Compares samples, member by member; numbers in texts by value.
fn samples(ours: &Json, theirs: &Json) -> Option<String> {
    match (ours, theirs) {
        (Json::Array(a), Json::Array(b)) => {
            if a.len() != b.len() {
                return Some(format!("{} items instead of {}", a.len(), b.len()));
            }
            a.iter().zip(b).find_map(|(a, b)| samples(a, b))
        }
        (Json::Object(a), Json::Object(b)) => {
            if a.len() != b.len() {
                return Some(format!("{ours} instead of {theirs}"));
            }
            a.iter().find_map(|(key, value)| samples(value, b.get(key).unwrap_or(&Json::Null)))
        }
        (Json::String(a), Json::String(b)) if a != b => {
            let equal = match (number(a), number(b)) {
                (Some(a), Some(b)) => {
                    let distance = (a - b).abs();
                    distance <= RELATIVE * a.abs().max(b.abs()) || distance <= REMAINDER
                }
                _ => false,
            };
            (!equal).then(|| format!("{a} instead of {b}"))
        }
        (Json::Number(a), Json::Number(b)) if a.as_f64() == b.as_f64() => None,
        (a, b) => (a != b).then(|| format!("{a} instead of {b}")),
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}
