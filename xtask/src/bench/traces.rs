//! `bench traces`: a store full of spans, and the questions that people ask of traces, warm: by id, in TraceQL, tag values.
//!
//! Tempo gets the same spans and is asked the same in TraceQL; VictoriaTraces, which has no TraceQL, in LogsQL, and for traces through
//! its Jaeger API. What its language does not have, such as relations between spans, it is not asked. Every answer is checked for what
//! it must hold: a wrong answer does not count as a fast one.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use throughline_generate::Generator;

use super::corpus::now_ns;
use super::ingest::{FLUSH_AGE, sender_process, sent_by};
use super::peer::{self, Peer};
use super::server::{Place, Server, now, remove_folder};
use super::table::{Bar, Figure, percentile};
use super::{Common, OURS};

/// A server that has not come to rest by then is measured as it is.
const SETTLE_MAX: Duration = Duration::from_secs(1_800);
/// What lies behind the newest span is asked for, too.
const WINDOW_NS: u64 = 3_600_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;
/// Searches over two million spans take at most so many milliseconds; over others in proportion.
const SEARCH_BAR_MS: f64 = 25.0;
const BAR_SPANS: f64 = 2e6;

/// Arguments of `bench traces`.
#[derive(Args, Clone, Debug)]
pub struct TracesArguments {
    #[command(flatten)]
    common: Common,
    /// Spans in the store
    #[arg(long, default_value_t = 2_000_000)]
    spans: u64,
    /// How often every question is asked
    #[arg(long, default_value_t = 30)]
    questions: usize,
}

impl TracesArguments {
    /// What all benchmarks have.
    pub fn common(&self) -> &Common {
        &self.common
    }
}

/// A question: what is asked, and what the answer holds.
struct Question {
    what: &'static str,
    asked: Asked,
    /// The same in LogsQL, where that has it.
    logsql: Option<&'static str>,
    holds: String,
    bar: Option<f64>,
}

/// What an answer in LogsQL shows of a span.
const FIELDS: &str = "sort by (_time desc) limit 20 | fields trace_id, span_id, _time, name, duration";

enum Asked {
    Trace(String),
    Search(String),
    Series(String),
    Services,
}

/// Runs the command.
pub fn run(arguments: &TracesArguments) -> anyhow::Result<Vec<Figure>> {
    let peers = arguments.common.peers()?;
    let base_time_ns = now_ns();
    let mut figures = measure(arguments, None, base_time_ns)?;
    for peer in peers.iter().filter(|peer| peer.profile.signals[0]) {
        figures.extend(measure(arguments, Some(peer), base_time_ns).with_context(|| peer.name.clone())?);
    }
    Ok(figures)
}

fn measure(
    arguments: &TracesArguments,
    peer: Option<&Peer>,
    base_time_ns: u64,
) -> anyhow::Result<Vec<Figure>> {
    let common = &arguments.common;
    let place = Place::fresh(&common.folder().join("data"))?;
    let server = match peer {
        Some(peer) => Server::peer(&peer.command, place)?,
        None => Server::throughline(&common.binary(), place, &common.own_settings())?,
    };
    let system = peer.map_or(OURS, |peer| peer.name.as_str());
    let profile = peer.map_or(peer::OURSELVES, |peer| peer.profile);
    eprintln!("{system}: filling with {} spans", arguments.spans);
    let mut sender = sender_process("http", false, server.place.http_port)?;
    sender.args(["--spans", &arguments.spans.to_string(), "--base-time-ns", &base_time_ns.to_string()]);
    sender.args(["--seed", &common.seed.to_string(), "--path-prefix", profile.path_prefix]);
    let sent = sent_by(sender)?;
    anyhow::ensure!(sent.failed + sent.rejected == 0, "not everything was taken: {sent:?}");
    server.settle(FLUSH_AGE, SETTLE_MAX)?;
    let port = if profile.queries_at_http_port { server.place.http_port } else { server.place.query_port };
    let generator = Generator::new(common.seed, base_time_ns);
    let trace = generator.trace(generator.trace_count(arguments.spans) / 2);
    let window = (base_time_ns - WINDOW_NS, base_time_ns + 60 * SECOND_NS);
    let mut figures = Vec::new();
    for question in questions(&trace.hex_id(), arguments.spans) {
        let Some(url) = url(&question, system, window) else {
            eprintln!("{system}, {}: SKIPPED: it is not asked in a way that is known here", question.what);
            continue;
        };
        let url = format!("http://{}{url}", Place::address(port));
        let holds = match question.logsql {
            // Spans, not traces, and no attributes but those of every span.
            Some(_) if is_victoria(system) => "",
            _ => question.holds.as_str(),
        };
        match ask(&url, holds, arguments.questions) {
            Ok(latencies) => figures.extend(percentiles(system, &question, &latencies)),
            Err(error) if peer.is_some() => eprintln!("{system}, {}: SKIPPED: {error:#}", question.what),
            Err(error) => return Err(error.context(question.what)),
        }
    }
    let place = server.stop()?;
    remove_folder(&place.data_dir)?;
    Ok(figures)
}

fn is_victoria(system: &str) -> bool {
    system.to_lowercase().starts_with("victoriatraces")
}

/// Path and parameters of a question to VictoriaTraces.
fn victoria_url(question: &Question, (start, end): (&str, &str)) -> Option<String> {
    let ask = |path: &str, query: &str, more: &[(&str, &str)]| {
        let mut out = form_urlencoded::Serializer::new(String::new());
        let window = [("query", query), ("start", start), ("end", end)];
        window.iter().chain(more).for_each(|(name, value)| _ = out.append_pair(name, value));
        format!("/select/logsql/{path}?{}", out.finish())
    };
    Some(match (&question.asked, question.logsql) {
        (Asked::Trace(id), _) => format!("/select/jaeger/api/traces/{id}"),
        (Asked::Services, _) => "/select/jaeger/api/services".to_owned(),
        (Asked::Search(_), Some(query)) => ask("query", &format!("{query} | {FIELDS}"), &[]),
        (Asked::Series(_), Some(query)) => ask("stats_query_range", query, &[("step", "15s")]),
        (_, None) => return None,
    })
}

/// Path and parameters of a question to a system.
fn url(question: &Question, system: &str, (start_ns, end_ns): (u64, u64)) -> Option<String> {
    let asked = &question.asked;
    let encoded = |pairs: &[(&str, &str)]| {
        let mut out = form_urlencoded::Serializer::new(String::new());
        pairs.iter().for_each(|(name, value)| _ = out.append_pair(name, value));
        out.finish()
    };
    if system == OURS {
        let (start, end) = (start_ns.to_string(), end_ns.to_string());
        let search = |query: &str, more: &[(&str, &str)]| {
            let window = [("query", query), ("start", start.as_str()), ("end", end.as_str())];
            format!("/api/throughline/v1/search?{}", encoded(&[&window[..], more].concat()))
        };
        return Some(match asked {
            Asked::Trace(id) => format!("/api/throughline/v1/traces/{id}?include=spans"),
            Asked::Search(query) => search(query, &[("limit", "20")]),
            Asked::Series(query) => search(query, &[("step", "15s")]),
            Asked::Services => {
                format!("/api/throughline/v1/services?{}", encoded(&[("start", &start), ("end", &end)]))
            }
        });
    }
    let is_tempo = system.to_lowercase().starts_with("tempo");
    let (start, end) = ((start_ns / SECOND_NS).to_string(), (end_ns / SECOND_NS).to_string());
    if is_victoria(system) {
        return victoria_url(question, (&start, &end));
    }
    let with_window = |path: &str, more: &[(&str, &str)]| {
        let window = [("start", start.as_str()), ("end", end.as_str())];
        format!("{path}?{}", encoded(&[&window[..], more].concat()))
    };
    is_tempo.then(|| match asked {
        Asked::Trace(id) => format!("/api/traces/{id}"),
        Asked::Search(query) => with_window("/api/search", &[("q", query), ("limit", "20")]),
        Asked::Series(query) => with_window("/api/metrics/query_range", &[("q", query), ("step", "15s")]),
        Asked::Services => with_window("/api/v2/search/tag/resource.service.name/values", &[]),
    })
}

/// A search: what it is, in TraceQL, in LogsQL where that has it, and what the answer holds.
type Search = (&'static str, &'static str, Option<&'static str>, &'static str);

const SEARCHES: [Search; 11] = [
    (
        "attribute",
        "{ span.http.response.status_code = 503 }",
        Some(r#""span_attr:http.response.status_code":="503""#),
        "503",
    ),
    (
        "attribute that nobody has",
        "{ span.user.id = \"u-no such user\" }",
        Some(r#""span_attr:user.id":="u-no such user""#),
        "traces",
    ),
    (
        "resource and name",
        "{ resource.service.name = \"cart\" && name =~ \"GET.*\" }",
        Some(r#"{"resource_attr:service.name"="cart"} name:~"^GET""#),
        "cart",
    ),
    ("duration", "{ duration > 1s }", Some("duration:>1000000000"), "traces"),
    ("error", "{ status = error }", Some(r#"status_code:="2""#), "error"),
    (
        "error of a service",
        "{ status = error && resource.service.name = \"payment\" }",
        Some(r#"{"resource_attr:service.name"="payment"} status_code:="2""#),
        "payment",
    ),
    (
        "regular expression",
        "{ span.db.query.text =~ \".*cache:0000[0-9a-f]+\" }",
        Some(r#""span_attr:db.query.text":~"cache:0000[0-9a-f]+$""#),
        "traces",
    ),
    ("descendants", "{ kind = server } >> { status = error }", None, "error"),
    ("children that are not there", "{ kind = producer } > { kind = producer }", None, "traces"),
    ("aggregate", "{ status = error } | count() > 5", None, "traces"),
    ("root service that nobody has", "{ rootServiceName = \"no such service\" }", None, "traces"),
];

/// Numbers over an hour: what they are, in TraceQL, and in LogsQL.
const SERIES: [(&str, &str, &str); 2] = [
    (
        "rate by service over an hour",
        "{} | rate() by (resource.service.name)",
        r#"* | stats by ("resource_attr:service.name") rate() rate"#,
    ),
    (
        "quantiles by service over an hour",
        "{ kind = server } | quantile_over_time(duration, .5, .99) by (resource.service.name)",
        r#"kind:="2" | stats by ("resource_attr:service.name") quantile(0.5, duration) p50, quantile(0.99, duration) p99"#,
    ),
];

fn questions(trace: &str, spans: u64) -> Vec<Question> {
    let by_id = Question {
        what: "trace by id",
        asked: Asked::Trace(trace.to_owned()),
        logsql: None,
        holds: String::new(),
        bar: Some(1.5),
    };
    let values = Question {
        what: "values of a tag",
        asked: Asked::Services,
        logsql: None,
        holds: "cart".to_owned(),
        bar: None,
    };
    let bar = SEARCH_BAR_MS * (spans as f64 / BAR_SPANS).max(1.0);
    let search = |(what, query, logsql, holds): (_, &str, _, &str)| Question {
        what,
        asked: Asked::Search(query.to_owned()),
        logsql,
        holds: holds.to_owned(),
        bar: Some(bar),
    };
    let series = |(what, query, logsql): (_, &str, _)| Question {
        what,
        asked: Asked::Series(query.to_owned()),
        logsql: Some(logsql),
        holds: "cart".to_owned(),
        bar: None,
    };
    let searches = SEARCHES.into_iter().map(search).chain(SERIES.into_iter().map(series));
    std::iter::once(by_id).chain(searches).chain([values]).collect()
}

fn ask(url: &str, holds: &str, times: usize) -> anyhow::Result<Vec<f64>> {
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(120))).build();
    let agent: ureq::Agent = config.into();
    let get = || -> anyhow::Result<(f64, String)> {
        let start = now();
        let mut response = agent.get(url).call().with_context(|| format!("GET {url}"))?;
        let body = response.body_mut().with_config().limit(256 << 20).read_to_string()?;
        Ok((start.elapsed().as_secs_f64() * 1e3, body))
    };
    let (_, answer) = get()?;
    anyhow::ensure!(answer.contains(holds), "the answer lacks {holds:?}: {answer:.300}");
    (0..times.max(1)).map(|_| Ok(get()?.0)).collect()
}

fn percentiles(system: &str, question: &Question, latencies_ms: &[f64]) -> Vec<Figure> {
    let figure = |percent: f64| Figure {
        system: system.to_owned(),
        job: "trace queries".to_owned(),
        measure: format!("{} p{percent:.0}", question.what),
        unit: "ms".to_owned(),
        runs: vec![percentile(latencies_ms, percent)],
        bar: question.bar.filter(|_| percent < 90.0 && system == OURS).map(Bar::AtMost),
    };
    [50.0, 95.0].map(figure).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_asked_of_both() {
        let questions = questions("ab", 2_000_000);
        assert!(questions.len() >= 12);
        for question in &questions {
            for system in [OURS, "tempo-3"] {
                assert!(url(question, system, (1, 2)).is_some_and(|url| url.starts_with("/api/")));
            }
            let has_relations = ["descendants", "children that are not there"].contains(&question.what);
            let victoria = url(question, "victoriatraces", (1, 2));
            assert!(
                victoria.is_none()
                    || !has_relations && victoria.is_some_and(|url| url.starts_with("/select/"))
            );
        }
    }
}
