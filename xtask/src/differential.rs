//! `differential`: a real system and Throughline get the same telemetry and the same random queries, and must give the same answers:
//! `promql` beside Prometheus, `logql` beside Loki, `traceql` beside Tempo.
//!
//! A query is a function of the seed and its number, so that any that differs can be asked again alone.

mod data;
mod logql;
mod query;
mod random;
mod traceql;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};

use crate::answers::{Answer, Target, difference};
use crate::bench::server::{Place, Server};

/// Sums of large numbers that cancel out leave a remainder: below this it counts as nothing.
const REMAINDER: f64 = 1e-9;

/// How long a server may take until it answers queries over what was written.
const VISIBLE_WITHIN: Duration = Duration::from_secs(20);

#[derive(Subcommand)]
pub enum Differential {
    /// Random queries to a real Prometheus 3 and to Throughline
    Promql(PromqlArguments),
    /// Random queries to a real Loki 3 and to Throughline: LogQL, and fixed questions about labels, streams, volumes and fields
    Logql(logql::Arguments),
    /// Random queries to a real Tempo 3 and to Throughline: TraceQL, tags, traces by id
    Traceql(traceql::Arguments),
}

#[derive(Args)]
pub struct PromqlArguments {
    /// The binary of Prometheus 3
    #[arg(long, env = "THROUGHLINE_PROMETHEUS", value_name = "PATH")]
    prometheus: Option<PathBuf>,
    #[command(flatten)]
    asked: Asked,
}

/// Which queries are asked, and of what.
#[derive(Args)]
struct Asked {
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

/// A query that was asked of both.
struct Compared {
    /// What was asked, and when.
    query: String,
    /// Both answers.
    answers: String,
    /// Whether the other system refused it.
    is_refused: bool,
    /// What differs.
    difference: Option<String>,
}

impl Asked {
    /// Asks all queries by their numbers and tells of those that differ, which is an error.
    fn compare_all(
        &self,
        peer: &str,
        mut compare: impl FnMut(u64) -> anyhow::Result<Compared>,
    ) -> anyhow::Result<()> {
        let numbers = match self.only {
            Some(number) => number..number + 1,
            None => 0..self.count,
        };
        let (mut asked, mut refused, mut differing) = (0u64, 0u64, 0u64);
        for number in numbers {
            let compared = compare(number)?;
            asked += 1;
            refused += u64::from(compared.is_refused);
            if self.only.is_some() {
                println!("{}", compared.answers);
            }
            if let Some(difference) = compared.difference {
                differing += 1;
                println!("query {number} differs: {}\n  {difference}", compared.query);
            }
        }
        println!("{asked} queries, seed {}: {differing} differ, {refused} are refused by {peer}", self.seed);
        if differing > 0 {
            bail!("{differing} of {asked} queries differ");
        }
        Ok(())
    }
}

pub fn run(differential: &Differential) -> anyhow::Result<()> {
    match differential {
        Differential::Promql(arguments) => promql(arguments),
        Differential::Logql(arguments) => logql::run(arguments),
        Differential::Traceql(arguments) => traceql::run(arguments),
    }
}

fn promql(arguments: &PromqlArguments) -> anyhow::Result<()> {
    let Some(prometheus) = &arguments.prometheus else {
        eprintln!("skipped: no Prometheus; name its binary with --prometheus or THROUGHLINE_PROMETHEUS");
        return Ok(());
    };
    let asked = &arguments.asked;
    let folder = std::path::absolute("target/differential")?;
    let place = Place::fresh(&folder.join("throughline"))?;
    let ours = Server::throughline(&asked.throughline, place, "")?;
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
    for body in data::requests(asked.seed, end_ms)? {
        ours.write(&body)?;
        theirs.write(&body)?;
    }
    for target in [&ours, &theirs] {
        wait_until_visible(target, end_ms)?;
    }
    asked.compare_all("Prometheus", |number| {
        let query = query::query(asked.seed, number, end_ms);
        let (a, b) = (ask(&ours, &query)?, ask(&theirs, &query)?);
        Ok(Compared {
            query: format!("{}\n  {:?}", query.text, query.window),
            answers: format!("ours: {a:?}\ntheirs: {b:?}"),
            is_refused: b.is_err(),
            difference: difference(&a, &b, REMAINDER),
        })
    })
}

fn ask(target: &Target, query: &query::Query) -> anyhow::Result<Answer> {
    let path = if query.window.is_range() { "query_range" } else { "query" };
    target.ask(path, &query.form())
}

fn wait_until_visible(target: &Target, end_ms: i64) -> anyhow::Result<()> {
    let started = crate::bench::server::now();
    loop {
        let query = query::Query::instant("count({__name__!=\"\"})".to_owned(), end_ms);
        let answer = ask(target, &query)?;
        if answer.is_ok_and(|data| data["result"].as_array().is_some_and(|result| !result.is_empty())) {
            return Ok(());
        }
        anyhow::ensure!(started.elapsed() < VISIBLE_WITHIN, "{target} shows nothing of what was written");
        std::thread::sleep(Duration::from_millis(200));
    }
}
