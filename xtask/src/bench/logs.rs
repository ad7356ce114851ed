//! `bench logs`: a store full of log records, and the questions that people ask of logs, warm, through Loki's API.
//!
//! Peers get the same records and are asked the same in their own language. Every answer is checked for what it must hold: a
//! wrong answer does not count as a fast one.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;
use throughline_generate::Generator;

use super::corpus::now_ns;
use super::ingest::{FLUSH_AGE, sender_process, sent_by};
use super::peer::{self, Peer};
use super::server::{Place, Server, now, remove_folder};
use super::table::{Bar, Figure, percentile};
use super::{Common, OURS};

/// A server that has not come to rest by then is measured as it is.
const SETTLE_MAX: Duration = Duration::from_secs(600);

/// What lies behind the newest record is asked for, too.
const WINDOW_NS: u64 = 3_600_000_000_000;

/// Records of the generator for each trace.
const RECORDS_PER_TRACE: u64 = 15;

/// Arguments of `bench logs`.
#[derive(Args, Clone, Debug)]
pub struct LogsArguments {
    #[command(flatten)]
    common: Common,
    /// Log records in the store
    #[arg(long, default_value_t = 3_000_000)]
    logs: u64,
    /// How often every question is asked
    #[arg(long, default_value_t = 50)]
    questions: usize,
}

impl LogsArguments {
    /// What all benchmarks have.
    pub fn common(&self) -> &Common {
        &self.common
    }
}

/// A question in the languages of the systems: path and parameters.
struct Question {
    what: &'static str,
    loki: Asked,
    victoria: Option<Asked>,
    /// What the answer holds.
    holds: String,
    bar: Option<f64>,
}

/// What is looked for.
struct Truth {
    start_ns: u64,
    end_ns: u64,
    trace: String,
    needle: String,
}

/// Runs the command.
pub fn run(arguments: &LogsArguments) -> anyhow::Result<Vec<Figure>> {
    let peers = arguments.common.peers()?;
    let base_time_ns = now_ns();
    let mut figures = Vec::new();
    let mut needle = None;
    figures.extend(measure(arguments, None, base_time_ns, &mut needle)?);
    for peer in peers.iter().filter(|peer| peer.profile.signals[1]) {
        match measure(arguments, Some(peer), base_time_ns, &mut needle) {
            Ok(of_peer) => figures.extend(of_peer),
            Err(error) => eprintln!("{}: SKIPPED: {error:#}", peer.name),
        }
    }
    Ok(figures)
}

fn measure(
    arguments: &LogsArguments,
    peer: Option<&Peer>,
    base_time_ns: u64,
    needle: &mut Option<String>,
) -> anyhow::Result<Vec<Figure>> {
    let common = &arguments.common;
    let place = Place::fresh(&common.folder().join("data"))?;
    let server = match peer {
        Some(peer) => peer.start(place)?,
        None => Server::throughline(&common.binary(), place, &common.own_settings())?,
    };
    let system = peer.map_or(OURS, |peer| peer.name.as_str());
    let profile = peer.map_or(peer::OURSELVES, |peer| peer.profile);
    eprintln!("{system}: filling with {} log records", arguments.logs);
    let mut sender = sender_process("http", false, server.place.http_port)?;
    sender.args(["--logs", &arguments.logs.to_string(), "--base-time-ns", &base_time_ns.to_string()]);
    sender.args(["--seed", &common.seed.to_string(), "--path-prefix", profile.path_prefix]);
    let sent = sent_by(sender)?;
    anyhow::ensure!(sent.failed + sent.rejected == 0, "not everything was taken: {sent:?}");
    server.settle(FLUSH_AGE, SETTLE_MAX)?;
    let port = if profile.queries_at_http_port { server.place.http_port } else { server.place.query_port };
    let mut client = Client::new(port);
    let trace =
        Generator::new(common.seed, base_time_ns).trace(arguments.logs / RECORDS_PER_TRACE / 2).hex_id();
    let (start_ns, end_ns) = (base_time_ns - WINDOW_NS, base_time_ns + 1_000_000_000);
    let mut truth = Truth { start_ns, end_ns, trace, needle: String::new() };
    // A word that one line has is known from the answer of the first system: all have the same lines.
    truth.needle = match needle {
        Some(needle) => needle.clone(),
        None => needle.insert(client.some_word(&truth)?).clone(),
    };
    let is_victoria = system.to_lowercase().starts_with("victorialogs");
    let mut figures = Vec::new();
    for question in questions(&truth) {
        let asked = if is_victoria { question.victoria.as_ref() } else { Some(&question.loki) };
        let Some((path, parameters)) = asked else { continue };
        match ask(&mut client, path, parameters, &question, arguments.questions) {
            Ok(latencies) => {
                eprintln!("{system}, {}: {:.2} ms", question.what, percentile(&latencies, 50.0));
                figures.extend(percentiles(system, &question, &latencies));
            }
            Err(error) if peer.is_some() => eprintln!("{system}, {}: SKIPPED: {error:#}", question.what),
            Err(error) => return Err(error.context(question.what)),
        }
    }
    let place = server.stop()?;
    remove_folder(&place.data_dir)?;
    Ok(figures)
}

fn ask(
    client: &mut Client,
    path: &str,
    parameters: &[(&str, String)],
    question: &Question,
    times: usize,
) -> anyhow::Result<Vec<f64>> {
    let (_, answer) = client.get(path, parameters)?;
    anyhow::ensure!(answer.contains(&question.holds), "the answer lacks {:?}: {answer:.300}", question.holds);
    (0..times.max(1)).map(|_| Ok(client.get(path, parameters)?.0)).collect()
}

fn percentiles(system: &str, question: &Question, latencies_ms: &[f64]) -> Vec<Figure> {
    let figure = |percent: f64| Figure {
        system: system.to_owned(),
        job: "log queries".to_owned(),
        measure: format!("{} p{percent:.0}", question.what),
        unit: "ms".to_owned(),
        runs: vec![percentile(latencies_ms, percent)],
        bar: question.bar.filter(|_| percent < 90.0 && system == OURS).map(Bar::AtMost),
    };
    [50.0, 95.0].map(figure).to_vec()
}

/// Path and parameters of a request.
type Asked = (&'static str, Vec<(&'static str, String)>);

const ALL: &str = "{service_name=~\".+\"}";

impl Truth {
    fn window(&self, more: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
        let mut all = vec![("start", self.start_ns.to_string()), ("end", self.end_ns.to_string())];
        all.extend_from_slice(more);
        all
    }

    fn lines(&self, query: String) -> Asked {
        let parameters = self.window(&[("query", query), ("limit", "100".to_owned())]);
        ("/loki/api/v1/query_range", parameters)
    }

    fn count(&self, filter: &str) -> Asked {
        let query = format!("sum(count_over_time({ALL}{filter}[1h]))");
        ("/loki/api/v1/query", vec![("query", query), ("time", self.end_ns.to_string())])
    }

    fn victoria(&self, query: &str) -> Asked {
        ("/select/logsql/query", self.window(&[("query", query.to_owned())]))
    }
}

fn question(what: &'static str, loki: Asked, victoria: Asked, holds: &str, bar: Option<f64>) -> Question {
    Question { what, loki, victoria: Some(victoria), holds: holds.to_owned(), bar }
}

/// All questions.
fn questions(truth: &Truth) -> Vec<Question> {
    let mut all = for_lines(truth);
    all.extend(for_numbers(truth));
    all
}

fn for_lines(truth: &Truth) -> Vec<Question> {
    let (needle, trace) = (&truth.needle, &truth.trace);
    vec![
        question(
            "needle in a window",
            truth.lines(format!("{ALL} |= \"{needle}\"")),
            truth.victoria(needle),
            needle,
            Some(2.0),
        ),
        question(
            "lines of a trace",
            truth.lines(format!("{ALL} | trace_id=\"{trace}\"")),
            truth.victoria(&format!("trace_id:{trace}")),
            trace,
            Some(3.0),
        ),
        question(
            "rare phrase, 100 lines",
            truth.lines(format!("{ALL} |= \"deadlock detected\"")),
            truth.victoria("\"deadlock detected\" | sort by (_time) desc limit 100"),
            "deadlock detected",
            None,
        ),
        question(
            "last 100 lines of a service",
            truth.lines("{service_name=\"cart\"}".to_owned()),
            truth.victoria("service.name:cart | sort by (_time) desc limit 100"),
            "",
            None,
        ),
    ]
}

fn for_numbers(truth: &Truth) -> Vec<Question> {
    let by_level = format!("sum by (level, detected_level) (count_over_time({ALL}[1m]))");
    let by_level = truth.window(&[("query", by_level), ("step", "60".to_owned())]);
    let patterns = [("query", "{service_name=\"cart\"}".to_owned()), ("step", "60s".to_owned())];
    let values = [("query", "*".to_owned()), ("field", "service.name".to_owned())];
    let count = |what, filter: &str, victoria: &str, bar| {
        question(what, truth.count(filter), truth.victoria(&format!("{victoria} | stats count()")), "", bar)
    };
    vec![
        count("common phrase, count", " |= \"handled GET\"", "\"handled GET\"", Some(70.0)),
        count("count of everything", "", "*", Some(70.0)),
        count("regular expression, count", " |~ \"attempt [0-9]+ of 5\"", "~\"attempt [0-9]+ of 5\"", None),
        count(
            "attribute, count",
            " | logger_name=\"shop.service.cache\"",
            "logger.name:\"shop.service.cache\"",
            None,
        ),
        question(
            "count by level over time",
            ("/loki/api/v1/query_range", by_level),
            truth.victoria("* | stats by (severity_text, _time:1m) count()"),
            "",
            None,
        ),
        question(
            "top patterns of a service",
            ("/loki/api/v1/patterns", truth.window(&patterns)),
            truth.victoria("service.name:cart | collapse_nums | top 50 by (_msg)"),
            "",
            None,
        ),
        question(
            "label values",
            ("/loki/api/v1/label/service_name/values", truth.window(&[])),
            ("/select/logsql/field_values", truth.window(&values)),
            "cart",
            None,
        ),
    ]
}

/// One connection.
struct Client {
    agent: ureq::Agent,
    base: String,
}

impl Client {
    fn new(port: u16) -> Client {
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(120))).build();
        Client { agent: config.into(), base: format!("http://{}", Place::address(port)) }
    }

    /// Latency in milliseconds and the answer.
    fn get(&mut self, path: &str, parameters: &[(&str, String)]) -> anyhow::Result<(f64, String)> {
        let url = format!("{}{path}", self.base);
        let start = now();
        let request = parameters
            .iter()
            .fold(self.agent.get(&url), |request, (name, value)| request.query(*name, value));
        let mut response = request.call().with_context(|| format!("GET {url} {parameters:?}"))?;
        let body = response.body_mut().with_config().limit(256 << 20).read_to_string()?;
        Ok((start.elapsed().as_secs_f64() * 1e3, body))
    }

    /// A word that is in one line alone: the id of some request.
    fn some_word(&mut self, truth: &Truth) -> anyhow::Result<String> {
        let middle = u64::midpoint(truth.end_ns - WINDOW_NS / 60, truth.end_ns);
        let parameters = [
            ("query", "{service_name=~\".+\"} |= \"request id \"".to_owned()),
            ("start", truth.start_ns.to_string()),
            ("end", middle.to_string()),
            ("limit", "1".to_owned()),
        ];
        let (_, answer) = self.get("/loki/api/v1/query_range", &parameters)?;
        let answer: Value = serde_json::from_str(&answer)?;
        let line = answer.pointer("/data/result/0/values/0/1").and_then(Value::as_str);
        let line = line.context("no line with a request id")?;
        let (_, word) = line.rsplit_once("request id ").context("a line without a request id")?;
        Ok(word.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_asked_of_all_systems() {
        let truth = Truth { start_ns: 1, end_ns: 2, trace: "t".to_owned(), needle: "n".to_owned() };
        let questions = questions(&truth);
        assert!(questions.len() >= 10);
        assert!(questions.iter().all(|question| question.victoria.is_some()));
    }
}
