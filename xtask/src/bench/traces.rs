//! `bench traces`: a store full of spans, and the questions that people ask of traces, warm: by id, in TraceQL, tag values.
//!
//! Peers get the same spans. Tempo is asked the same in TraceQL; VictoriaTraces, which has no TraceQL, in LogsQL, and for traces through
//! its Jaeger API; Jaeger what its API can ask, which is of one service. What a system's language does not have, such as relations
//! between spans, it is not asked. Every answer is checked for what it must hold: a wrong answer does not count as a fast one. The bar
//! of a question is what the fastest peer takes where that is less than the design's.

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
/// Numbers are asked of the last hour, all else of the time that all spans take, and an hour at least.
const WINDOW_NS: u64 = 3_600_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;
/// What is not found as long as this after the system came to rest is not there.
const SEARCHABLE_MAX: Duration = Duration::from_secs(60);
/// Searches over two million spans take at most so many milliseconds; over others in proportion.
const SEARCH_BAR_MS: f64 = 25.0;
const BAR_SPANS: f64 = 2e6;
/// Among fewer spans some questions find nothing, such as the errors of one service, and their answers would count as wrong.
const SPANS_MIN: u64 = 100_000;

/// Arguments of `bench traces`.
#[derive(Args, Clone, Debug)]
pub struct TracesArguments {
    #[command(flatten)]
    common: Common,
    /// Spans in the store, at least 100,000
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(SPANS_MIN..))]
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
    /// The same for Jaeger's search, where that has it: a service, and attributes as JSON.
    jaeger: Option<(&'static str, &'static str)>,
    found: Found,
    bar: Option<f64>,
    /// The most that it may take of what Tempo takes, and of what the fastest peer takes.
    share: (f64, f64),
}

/// What an answer must hold.
#[derive(Clone, Copy)]
enum Found {
    /// Something, with this text in it if it is shown with the attributes that were asked for.
    Some(&'static str),
    /// No trace.
    None,
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
    for known in ["victoriatraces", "tempo", "jaeger"] {
        if !peers.iter().any(|peer| peer.name.to_lowercase().starts_with(known)) {
            eprintln!("{known}: SKIPPED: no --peer {known}=COMMAND");
        }
    }
    for peer in peers.iter().filter(|peer| peer.profile.signals[0]) {
        match measure(arguments, Some(peer), base_time_ns) {
            Ok(of_peer) => figures.extend(of_peer),
            Err(error) => eprintln!("{}: SKIPPED: {error:#}", peer.name),
        }
    }
    Ok(against_peers(figures, arguments.spans))
}

/// Our figures with what peers took as their bar, where that is less.
fn against_peers(mut figures: Vec<Figure>, spans: u64) -> Vec<Figure> {
    for question in questions("", spans) {
        let measure = format!("{} p50", question.what);
        let of_peers: Vec<(String, f64)> = figures
            .iter()
            .filter(|figure| figure.measure == measure && figure.system != OURS)
            .map(|figure| (figure.system.to_lowercase(), figure.median()))
            .collect();
        let (of_tempo, of_any) = question.share;
        let bars = of_peers
            .iter()
            .map(|(system, median)| median * if system.starts_with("tempo") { of_tempo } else { of_any });
        let Some(bar) = bars.chain(question.bar).min_by(f64::total_cmp) else { continue };
        let ours = figures.iter_mut().filter(|figure| figure.measure == measure && figure.system == OURS);
        ours.for_each(|figure| figure.bar = Some(Bar::AtMost(bar)));
    }
    figures
}

fn measure(
    arguments: &TracesArguments,
    peer: Option<&Peer>,
    base_time_ns: u64,
) -> anyhow::Result<Vec<Figure>> {
    let common = &arguments.common;
    let place = Place::fresh(&common.folder().join("data"))?;
    let server = match peer {
        Some(peer) => peer.start(place)?,
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
    eprintln!("{system}: took them in {:.1} s, {} requests were sent again", sent.seconds, sent.retries);
    server.settle(FLUSH_AGE, SETTLE_MAX)?;
    let port = profile.query_port(&server.place);
    let generator = Generator::new(common.seed, base_time_ns);
    let trace = generator.trace(generator.trace_count(arguments.spans) / 2);
    let first_ns = generator.trace(generator.trace_count(arguments.spans).saturating_sub(1)).start_ns;
    let (end, an_hour_ago) = (base_time_ns + 60 * SECOND_NS, base_time_ns - WINDOW_NS);
    let (hour, all) = ((an_hour_ago, end), (an_hour_ago.min(first_ns - SECOND_NS), end));
    let mut figures = Vec::new();
    eprintln!("{system}: asking");
    for question in questions(&trace.hex_id(), arguments.spans) {
        let window = if matches!(question.asked, Asked::Series(_)) { hour } else { all };
        let Some(url) = url(&question, system, window) else {
            eprintln!("{system}, {}: SKIPPED: it is not asked in a way that is known here", question.what);
            continue;
        };
        let url = format!("http://{}{url}", Place::address(port));
        let found = match question.found {
            // Spans, not traces, and no attributes but those of every span.
            Found::Some(_) if is_victoria(system) && question.logsql.is_some() => Found::Some(""),
            found => found,
        };
        match ask(&url, found, arguments.questions) {
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

/// Path and parameters of a question to Jaeger, whose search is of one service. Services and searches are those of its API 3: newer
/// versions have no others.
fn jaeger_url(question: &Question, (start_ns, end_ns): (u64, u64)) -> Option<String> {
    match &question.asked {
        Asked::Trace(id) => Some(format!("/api/traces/{id}")),
        Asked::Services => Some("/api/v3/services".to_owned()),
        Asked::Search(_) | Asked::Series(_) => question.jaeger.map(|(service, attributes)| {
            let mut out = form_urlencoded::Serializer::new(String::new());
            out.append_pair("query.service_name", service).append_pair("query.attributes", attributes);
            out.append_pair("query.start_time_min", &rfc3339(start_ns));
            out.append_pair("query.start_time_max", &rfc3339(end_ns));
            format!("/api/v3/traces?{}", out.append_pair("query.search_depth", "20").finish())
        }),
    }
}

/// A time as RFC 3339 has it, to the second.
fn rfc3339(ns: u64) -> String {
    let seconds = ns / SECOND_NS;
    // Years begin in March here, so that the day that some have more is their last.
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
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
    if system.to_lowercase().starts_with("jaeger") {
        return jaeger_url(question, (start_ns, end_ns));
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

/// A search of one service with an error, for Jaeger's API.
const ERRORS_OF_PAYMENT: (&str, &str) = ("payment", r#"{"error":"true"}"#);

/// No slower than the fastest peer.
const AS_FAST: (f64, f64) = (1.0, 1.0);
/// Where relations between spans are asked for: a third of what Tempo takes, nearly.
const STRUCTURAL: (f64, f64) = (0.3, 1.0);

/// Searches: what they are, in TraceQL, in LogsQL where that has it, and what the answer holds.
const SEARCHES: [(&str, &str, Option<&str>, Found); 14] = [
    (
        "attribute",
        "{ span.http.response.status_code = 503 }",
        Some(r#""span_attr:http.response.status_code":="503""#),
        Found::Some("503"),
    ),
    (
        "attribute that nobody has",
        "{ span.user.id = \"u-no such user\" }",
        Some(r#""span_attr:user.id":="u-no such user""#),
        Found::None,
    ),
    (
        "resource and name",
        "{ resource.service.name = \"cart\" && name =~ \"GET.*\" }",
        Some(r#"{"resource_attr:service.name"="cart"} name:~"^GET""#),
        Found::Some("cart"),
    ),
    ("duration", "{ duration > 30ms }", Some("duration:>30000000"), Found::Some("")),
    ("error", "{ status = error }", Some(r#"status_code:="2""#), Found::Some("error")),
    (
        "error of a service",
        "{ status = error && resource.service.name = \"payment\" }",
        Some(r#"{"resource_attr:service.name"="payment"} status_code:="2""#),
        Found::Some("payment"),
    ),
    (
        "regular expression",
        "{ span.db.query.text =~ \".*cache:0000[0-9a-f]+\" }",
        Some(r#""span_attr:db.query.text":~"cache:0000[0-9a-f]+$""#),
        Found::Some(""),
    ),
    ("descendants", "{ kind = server } >> { status = error }", None, Found::Some("error")),
    ("children that are not there", "{ kind = producer } > { kind = producer }", None, Found::None),
    (
        "descendants that are not there",
        "{ kind = server && name = \"nothing\" } >> { kind = client }",
        None,
        Found::None,
    ),
    ("aggregate", "{ status = error } | count() > 5", None, Found::Some("")),
    ("aggregate that is not there", "{ status = error } | count() > 500", None, Found::None),
    ("average that is not there", "{ kind = server } | avg(duration) > 100s", None, Found::None),
    ("root service that nobody has", "{ rootServiceName = \"no such service\" }", None, Found::None),
];

/// Numbers over an hour: what they are, in TraceQL, and in LogsQL where that has it.
const SERIES: [(&str, &str, Option<&str>); 4] = [
    (
        "rate by service over an hour",
        "{} | rate() by (resource.service.name)",
        Some(r#"* | stats by ("resource_attr:service.name") rate() rate"#),
    ),
    (
        "quantiles by service over an hour",
        "{ kind = server } | quantile_over_time(duration, .5, .99) by (resource.service.name)",
        Some(
            r#"kind:="2" | stats by ("resource_attr:service.name") quantile(0.5, duration) p50, quantile(0.99, duration) p99"#,
        ),
    ),
    (
        "average by service over an hour",
        "{} | avg_over_time(duration) by (resource.service.name)",
        Some(r#"* | stats by ("resource_attr:service.name") avg(duration) average"#),
    ),
    ("comparison of errors over an hour", "{} | compare({ status = error })", None),
];

fn questions(trace: &str, spans: u64) -> Vec<Question> {
    let by_id = Question {
        what: "trace by id",
        asked: Asked::Trace(trace.to_owned()),
        logsql: None,
        jaeger: None,
        found: Found::Some(""),
        bar: Some(1.5),
        share: AS_FAST,
    };
    let values = Question {
        what: "values of a tag",
        asked: Asked::Services,
        logsql: None,
        jaeger: None,
        found: Found::Some("cart"),
        bar: None,
        share: AS_FAST,
    };
    let bar = SEARCH_BAR_MS * (spans as f64 / BAR_SPANS).max(1.0);
    let search = |(what, query, logsql, found): (_, &str, _, _)| Question {
        what,
        asked: Asked::Search(query.to_owned()),
        logsql,
        jaeger: (what == "error of a service").then_some(ERRORS_OF_PAYMENT),
        found,
        bar: Some(bar),
        share: if query.contains("} >") { STRUCTURAL } else { AS_FAST },
    };
    let series = |(what, query, logsql): (_, &str, _)| Question {
        what,
        asked: Asked::Series(query.to_owned()),
        logsql,
        jaeger: None,
        found: Found::Some("cart"),
        bar: None,
        share: AS_FAST,
    };
    let searches = SEARCHES.into_iter().map(search).chain(SERIES.into_iter().map(series));
    std::iter::once(by_id).chain(searches).chain([values]).collect()
}

/// Asks and checks the answer, again for a while if that is not what it should be: some systems find what they took only later. Then
/// asks as often as is wanted, and says how long each took in milliseconds.
fn ask(url: &str, found: Found, times: usize) -> anyhow::Result<Vec<f64>> {
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(120))).build();
    let agent: ureq::Agent = config.into();
    let get = || -> anyhow::Result<(f64, String)> {
        let start = now();
        let mut response = agent.get(url).call().with_context(|| format!("GET {url}"))?;
        let body = response.body_mut().with_config().limit(256 << 20).read_to_string()?;
        Ok((start.elapsed().as_secs_f64() * 1e3, body))
    };
    let deadline = now() + SEARCHABLE_MAX;
    loop {
        let answer = get().and_then(|(_, answer)| check(&answer, found));
        match answer {
            Ok(()) => break,
            Err(error) if now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_secs(1)),
        }
    }
    (0..times.max(1)).map(|_| Ok(get()?.0)).collect()
}

fn check(answer: &str, found: Found) -> anyhow::Result<()> {
    let n_found = items(answer);
    match found {
        Found::Some(text) => {
            anyhow::ensure!(n_found > 0 && answer.contains(text), "the answer lacks {text:?}: {answer:.300}");
        }
        Found::None => anyhow::ensure!(n_found == 0, "the answer has what is not there: {answer:.300}"),
    }
    Ok(())
}

/// How many there are of what an answer is a list of, in any system's form: those of a list with one of these names, or else lines.
fn items(answer: &str) -> usize {
    const LISTS: [&str; 9] =
        ["traces", "series", "services", "spans", "batches", "trace", "data", "tagValues", "result"];
    let Ok(answer) = serde_json::from_str::<serde_json::Value>(answer) else { return answer.lines().count() };
    let Some(members) = answer.as_object() else { return usize::from(!answer.is_null()) };
    let list = LISTS.iter().find_map(|name| members.get(*name));
    match list {
        Some(serde_json::Value::Array(items)) => items.len(),
        Some(serde_json::Value::Object(inner)) => {
            LISTS.iter().find_map(|name| inner.get(*name)?.as_array()).map_or(inner.len(), Vec::len)
        }
        _ => 0,
    }
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
    fn too_few_spans_are_refused() {
        #[derive(clap::Parser)]
        struct Command {
            #[command(flatten)]
            arguments: TracesArguments,
        }
        let parse = |spans: &str| <Command as clap::Parser>::try_parse_from(["traces", "--spans", spans]);
        assert_eq!(parse("100000").map(|of| of.arguments.spans).ok(), Some(SPANS_MIN));
        assert!(parse("3000").is_err());
    }

    #[test]
    fn questions_are_asked_of_all() {
        let questions = questions("ab", 2_000_000);
        assert!(questions.len() >= 14);
        let asked_of = |system: &str| questions.iter().filter(|of| url(of, system, (1, 2)).is_some()).count();
        assert_eq!((asked_of(OURS), asked_of("tempo-3")), (questions.len(), questions.len()));
        assert!(asked_of("victoriatraces") >= 10 && asked_of("jaeger") == 3);
        for question in &questions {
            for (system, prefix) in [(OURS, "/api/"), ("tempo", "/api/"), ("victoriatraces", "/select/")] {
                assert!(url(question, system, (1, 2)).is_none_or(|url| url.starts_with(prefix)));
            }
        }
    }

    #[test]
    fn times_are_written_for_jaeger() {
        for (seconds, written) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_790_000_000, "2026-09-21T14:13:20Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds * SECOND_NS), written);
        }
    }

    #[test]
    fn what_was_found_is_counted_in_any_form() {
        for (answer, n) in [
            (r#"{"traces":[{},{}],"metrics":{}}"#, 2),
            (r#"{"metrics":{"inspectedBytes":"1"}}"#, 0),
            (r#"{"data":[],"errors":null}"#, 0),
            (r#"{"status":"success","data":{"resultType":"matrix","result":[{}]}}"#, 1),
            ("{\"a\":1}\n{\"a\":2}\n", 2),
            ("", 0),
        ] {
            assert_eq!(items(answer), n, "{answer}");
        }
    }

    #[test]
    fn peers_set_the_bar() {
        let figure = |system: &str, what: &str, ms: f64| Figure {
            system: system.to_owned(),
            job: "trace queries".to_owned(),
            measure: format!("{what} p50"),
            unit: "ms".to_owned(),
            runs: vec![ms],
            bar: None,
        };
        let all = |what: &str| {
            [(OURS, 9.0), ("tempo", 20.0), ("victoriatraces", 10.0)]
                .map(|(system, ms)| figure(system, what, ms))
        };
        let figures = against_peers([all("error"), all("descendants")].concat(), 2_000_000);
        let met: Vec<bool> = figures.iter().filter(|of| of.system == OURS).map(Figure::is_met).collect();
        assert_eq!(met, [true, false]);
    }
}
