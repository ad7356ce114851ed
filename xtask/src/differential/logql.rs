//! `differential logql`: random LogQL and fixed questions to a real Loki 3 and to Throughline, over lines sent by Loki's push.

mod compare;
mod data;
mod query;
mod questions;
mod stages;
mod template;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::Value as Json;

use self::query::Query;
use super::data::aligned_now_ms;
use super::{Asked, Compared};
use crate::answers::{Answer, Target};
use crate::bench::server::{Place, Server};

/// How long a server may take until it takes lines in and shows them.
const READY_WITHIN: Duration = Duration::from_secs(60);

#[derive(Args)]
pub struct Arguments {
    /// The binary of Loki 3
    #[arg(long, env = "THROUGHLINE_LOKI", value_name = "PATH")]
    loki: Option<PathBuf>,
    #[command(flatten)]
    asked: Asked,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Some(loki) = &arguments.loki else {
        eprintln!("skipped: no Loki; name its binary with --loki or THROUGHLINE_LOKI");
        return Ok(());
    };
    let asked = &arguments.asked;
    let folder = std::path::absolute("target/differential/logql")?;
    let place = Place::fresh(&folder.join("throughline"))?;
    let ours = Server::throughline(&asked.throughline, place, "")?;
    let theirs = start_loki(loki, Place::fresh(&folder.join("loki"))?)?;
    let pair =
        Pair { ours: Target::loki(ours.place.query_port), theirs: Target::loki(theirs.place.http_port) };
    let end_ns = aligned_now_ms()? * 1_000_000;
    for body in data::pushes(asked.seed, end_ns) {
        let body = body.to_string();
        for target in [&pair.ours, &pair.theirs] {
            push(target, body.as_bytes())?;
        }
    }
    for target in [&pair.ours, &pair.theirs] {
        wait_until_visible(target, end_ns)?;
    }
    // Questions first: what differs in queries is an error that ends here.
    let differing = if asked.only.is_none() { pair.questions(end_ns)? } else { 0 };
    asked.compare_all("Loki", |number| pair.compare(&query::query(asked.seed, number, end_ns)))?;
    anyhow::ensure!(differing == 0, "{differing} answers to questions differ");
    Ok(())
}

/// Loki in one process, in one folder, with what is off by default and documented on.
fn start_loki(binary: &Path, place: Place) -> anyhow::Result<Server> {
    let settings = "auth_enabled: false\nanalytics:\n  reporting_enabled: false\nserver:\n  http_listen_address: 127.0.0.1\n  http_listen_port: {http_port}\n  \
         grpc_listen_address: 127.0.0.1\n  grpc_listen_port: {grpc_port}\n  log_level: warn\ncommon:\n  instance_addr: 127.0.0.1\n  \
         path_prefix: {data_dir}\n  storage:\n    filesystem:\n      chunks_directory: {data_dir}/chunks\n      rules_directory: \
         {data_dir}/rules\n  replication_factor: 1\n  ring:\n    kvstore:\n      store: inmemory\nschema_config:\n  configs:\n    - from: 2020-10-24\n      \
         store: tsdb\n      object_store: filesystem\n      schema: v13\n      index:\n        prefix: index_\n        period: 24h\n\
         ingester:\n  lifecycler:\n    min_ready_duration: 0s\nlimits_config:\n  split_queries_by_interval: 24h\n  volume_enabled: true\n  shard_aggregations: [approx_topk]\n\
         pattern_ingester:\n  enabled: true\n";
    place.write_config(&place.filled(settings))?;
    // Templates say times in the zone of the process.
    Server::peer(&format!("env TZ=UTC {} -config.file={{config}}", binary.display()), place)
}

/// Sends lines, as soon as they are taken.
fn push(target: &Target, body: &[u8]) -> anyhow::Result<()> {
    let started = crate::bench::server::now();
    loop {
        match target.post("push", &[("Content-Type", "application/json")], body) {
            Ok(()) => return Ok(()),
            Err(error) if started.elapsed() > READY_WITHIN => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

fn wait_until_visible(target: &Target, end_ns: i64) -> anyhow::Result<()> {
    let started = crate::bench::server::now();
    let query = Query {
        text: "count(count_over_time({app=~\".+\"}[1h]))".to_owned(),
        window: query::Window::At(end_ns),
    };
    loop {
        let answer = ask(target, query.path(), &[], &query.parameters())?;
        if answer.is_ok_and(|data| data["result"].as_array().is_some_and(|result| !result.is_empty())) {
            return Ok(());
        }
        anyhow::ensure!(started.elapsed() < READY_WITHIN, "{target} shows nothing of what was written");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The data of an answer, or all of it where it has no envelope.
fn ask(
    target: &Target,
    path: &str,
    headers: &[(&str, &str)],
    parameters: &[(&'static str, String)],
) -> anyhow::Result<Answer> {
    let (status, text) = target.get(path, headers, parameters)?;
    if status != 200 {
        return Ok(Err((status, text)));
    }
    Ok(match serde_json::from_str::<Json>(&text) {
        Ok(mut json) if json["status"] == "success" => Ok(json["data"].take()),
        Ok(json) => Ok(json),
        Err(error) => Err((status, format!("no JSON ({error}): {text}"))),
    })
}

struct Pair {
    ours: Target,
    theirs: Target,
}

impl Pair {
    fn ask(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        parameters: &[(&'static str, String)],
    ) -> anyhow::Result<(Answer, Answer)> {
        Ok((ask(&self.ours, path, headers, parameters)?, ask(&self.theirs, path, headers, parameters)?))
    }

    fn compare(&self, query: &Query) -> anyhow::Result<Compared> {
        let (ours, theirs) = self.ask(query.path(), query.headers(), &query.parameters())?;
        Ok(Compared {
            query: format!("{}\n  {:?}", query.text, query.window),
            answers: format!(
                "{}\n{:?}\nours: {}\ntheirs: {}",
                query.text,
                query.window,
                told(&ours),
                told(&theirs)
            ),
            is_refused: theirs.is_err(),
            // Series that a label without a value tells apart are mixed up by Loki on their way out.
            difference: if compare::has_empty_label(&ours) {
                None
            } else {
                compare::difference(&ours, &theirs, query.is_ordered())
            },
        })
    }

    /// Asks the fixed questions: how many answers differ.
    fn questions(&self, end_ns: i64) -> anyhow::Result<u64> {
        let questions = questions::questions(end_ns);
        let (asked, mut differing) = (questions.len(), 0);
        for question in questions {
            let (mut ours, mut theirs) = self.ask(question.path, &[], &question.parameters)?;
            for answer in [&mut ours, &mut theirs].into_iter().flatten() {
                compare::leave_out(answer, question.ignored);
            }
            if let Some(difference) = compare::listing(&ours, &theirs) {
                differing += 1;
                println!("question differs: {} {:?}\n  {difference}", question.path, question.parameters);
            }
        }
        println!("{asked} questions: {differing} differ");
        Ok(differing)
    }
}

fn told(answer: &Answer) -> String {
    match answer {
        Ok(data) => data["result"].to_string(),
        Err((status, text)) => format!("{status} {text}"),
    }
}
