//! What Grafana does with the provisioned files: the requests that its data sources make when they are saved, when panels are
//! drawn, and on each jump: metric to trace, trace to log lines, log line to trace, trace to metrics, service graph.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use throughline_instrument::{Config, LATENCY_BOUNDS_SECONDS, SpanKind, Telemetry};

use crate::process::{Server, wait_for};
use crate::{jaeger, service_graph};

/// Derived metrics every second, so that the test does not wait for them.
const SETTINGS: &str = "  derive: {interval: 1s}\n";

/// Grafana's view of its provisioning folder.
pub struct Grafana {
    sources: Vec<Value>,
    dashboard: Value,
}

impl Grafana {
    fn read(folder: &Path) -> Grafana {
        let text =
            |path: &str| std::fs::read_to_string(folder.join(path)).unwrap_or_else(|_| panic!("{path}"));
        let yaml: Value = serde_saphyr::from_str(&text("datasources/throughline.yaml")).expect("YAML");
        let provider: Value = serde_saphyr::from_str(&text("dashboards/throughline.yaml")).expect("YAML");
        let path = provider["providers"][0]["options"]["path"].as_str().expect("a path");
        let dashboard =
            std::fs::read_to_string(Path::new(path).join("throughline-red.json")).expect("where it is said");
        let mut sources = yaml["datasources"].as_array().expect("sources").clone();
        sources.iter_mut().for_each(expand);
        Grafana { sources, dashboard: serde_json::from_str(&dashboard).expect("JSON") }
    }

    fn source(&self, uid: &str) -> &Value {
        self.sources
            .iter()
            .find(|source| source["uid"] == uid)
            .unwrap_or_else(|| panic!("no data source {uid}"))
    }

    fn of_type(&self, kind: &str) -> &Value {
        self.sources.iter().find(|source| source["type"] == kind).unwrap_or_else(|| panic!("no {kind}"))
    }

    /// Where the data source of that id is.
    pub fn url(&self, uid: &str) -> &str {
        self.source(uid)["url"].as_str().expect("a URL")
    }
}

/// As Grafana expands variables when it reads provisioning files: `$$` is a dollar.
fn expand(value: &mut Value) {
    match value {
        Value::String(text) => *text = text.replace("$$", "$"),
        Value::Array(items) => items.iter_mut().for_each(expand),
        Value::Object(members) => members.values_mut().for_each(expand),
        _ => {}
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into()
}

fn get(url: &str, parameters: &[(&str, &str)], headers: &[(&str, &str)]) -> (u16, Vec<u8>) {
    let request =
        parameters.iter().fold(agent().get(url), |request, (name, value)| request.query(*name, value));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let mut response = request.call().unwrap_or_else(|error| panic!("{url}: {error}"));
    (response.status().as_u16(), response.body_mut().read_to_vec().expect("a body"))
}

/// The answer to a request, which is JSON and a success.
pub fn get_json(url: &str, parameters: &[(&str, &str)]) -> Value {
    let (status, body) = get(url, parameters, &[("accept", "application/json")]);
    let text = String::from_utf8_lossy(&body);
    assert_eq!(status, 200, "{url} {parameters:?}: {text}");
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{url}: {text}"))
}

/// Likewise of a form that is posted.
pub fn post(url: &str, form: &[(&str, &str)]) -> Value {
    let mut response = agent().post(url).send_form(form.iter().copied()).expect("answered");
    let text = response.body_mut().read_to_string().expect("text");
    assert_eq!(response.status().as_u16(), 200, "{url} {form:?}: {text}");
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{url}: {text}"))
}

pub fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_nanos()).expect("before 2262")
}

/// Two services, calls between them, records and exemplars.
fn send(server: &Server) {
    let start = |name: &str| {
        let telemetry = Telemetry::start(Config::new(&server.http, name)).expect("started");
        let histogram = telemetry.histogram("http.server.request.duration", "s", LATENCY_BOUNDS_SECONDS);
        (telemetry.tracer("t"), telemetry.logger("t"), histogram, telemetry)
    };
    let (front_tracer, _, front_latency, front) = start("front");
    let (back_tracer, back_logger, back_latency, back) = start("back");
    for n in 0..10 {
        let span = front_tracer.root("GET /", SpanKind::Server);
        let call = front_tracer.child_of(&span.context(), "GET back", SpanKind::Client);
        let mut served = back_tracer.continue_from(Some(&call.context()), "GET /item", SpanKind::Server);
        std::thread::sleep(Duration::from_millis(5));
        back_logger.warn(&served.context(), "item is late", &[("item", n.into())]);
        if n == 9 {
            served.set_error("no such item");
        }
        back_latency.record(served.elapsed().as_secs_f64(), &[], Some(&served.context()));
        served.end();
        call.end();
        front_latency.record(span.elapsed().as_secs_f64(), &[], Some(&span.context()));
        span.end();
    }
    let patience = Duration::from_secs(10);
    assert!(front.flush(patience) && back.flush(patience));
}

fn provisioned(name: &str) -> (Server, Grafana) {
    let server = Server::start_with(name, SETTINGS);
    send(&server);
    let folder = server.folder.join("provisioning");
    let output = Command::new(env!("CARGO_BIN_EXE_throughline"))
        .args(["grafana", "provision", "--url", &server.api, "--out"])
        .arg(&folder)
        .output()
        .expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let grafana = Grafana::read(&folder);
    let metrics = grafana.url("throughline-metrics");
    let counted = |query: &str| {
        wait_for(query, || {
            // The panels ask for whole seconds.
            let time = (now_ns() / 1_000_000_000).to_string();
            let answer = post(&format!("{metrics}/api/v1/query"), &[("query", query), ("time", &time)]);
            answer["data"]["result"].as_array().is_some_and(|result| !result.is_empty())
        });
    };
    counted("traces_service_graph_request_total{client=\"front\",server=\"back\"} >= 10");
    // A rate takes two points.
    send(&server);
    counted("rate(traces_spanmetrics_calls_total{service=\"back\"}[1m]) > 0");
    counted("rate(traces_service_graph_request_total{client=\"front\"}[1m]) > 0");
    (server, grafana)
}

/// "Save & test" of every data source.
fn save_and_test(grafana: &Grafana) {
    let metrics = grafana.of_type("prometheus")["url"].as_str().expect("a URL");
    assert_eq!(
        post(&format!("{metrics}/api/v1/query"), &[("query", "1+1"), ("time", "4")])["data"]["result"][1],
        "2"
    );
    let info = get_json(&format!("{metrics}/api/v1/status/buildinfo"), &[]);
    assert!(info["data"].get("features").is_none(), "it would be taken for Mimir: {info}");
    let logs = grafana.of_type("loki")["url"].as_str().expect("a URL");
    let query = [("query", "vector(1)+vector(1)"), ("time", "4000000000"), ("direction", "backward")];
    let answer = get_json(&format!("{logs}/loki/api/v1/query"), &query);
    assert_eq!(answer["data"]["result"][0]["value"][1], "2", "{answer}");
    let traces = grafana.of_type("tempo")["url"].as_str().expect("a URL");
    assert_eq!(get(&format!("{traces}/api/echo"), &[], &[]).0, 200);
    let jaeger = grafana.of_type("jaeger")["url"].as_str().expect("a URL");
    let services = get_json(&format!("{jaeger}/api/services"), &[]);
    assert!(services["data"].as_array().is_some_and(|names| names.contains(&"back".into())), "{services}");
}

/// An expression of a panel as Grafana sends it.
fn interpolated(text: &str) -> String {
    text.replace("${", "$")
        .replace("$__rate_interval", "1m")
        .replace("$__range", "3600s")
        .replace("$service", ".+")
        .replace("$operation", ".+")
}

/// Every panel draws something.
fn draw(grafana: &Grafana) {
    let now = now_ns();
    let seconds = |ago: i64| format!("{}", (now / 1_000_000_000) - ago);
    let ns = |ago: i64| (now - ago * 1_000_000_000).to_string();
    for panel in grafana.dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().expect("targets") {
            let source = grafana.source(target["datasource"]["uid"].as_str().expect("a uid"));
            let url = source["url"].as_str().expect("a URL");
            let title = &panel["title"];
            match (source["type"].as_str().expect("a type"), target["queryType"].as_str()) {
                ("prometheus", _) => {
                    let query = interpolated(target["expr"].as_str().expect("an expression"));
                    let answer = if target["instant"] == true {
                        post(&format!("{url}/api/v1/query"), &[("query", &query), ("time", &seconds(0))])
                    } else {
                        let window = [("start", &*seconds(300)), ("end", &*seconds(-5)), ("step", "15")];
                        post(
                            &format!("{url}/api/v1/query_range"),
                            &[&[("query", &*query)][..], &window].concat(),
                        )
                    };
                    let result = answer["data"]["result"].as_array().expect("a result");
                    assert!(!result.is_empty(), "{title}: {query}: {answer}");
                }
                ("loki", _) => {
                    let query = interpolated(target["expr"].as_str().expect("an expression"));
                    let window =
                        [("query", &*query), ("start", &*ns(300)), ("end", &*ns(-5)), ("limit", "1000")];
                    let answer = get_json(&format!("{url}/loki/api/v1/query_range"), &window);
                    assert!(
                        answer["data"]["result"].as_array().is_some_and(|r| !r.is_empty()),
                        "{title}: {answer}"
                    );
                }
                ("tempo", Some("traceql")) => {
                    let query = interpolated(target["query"].as_str().expect("a query"));
                    let window = [
                        ("q", &*query),
                        ("limit", "20"),
                        ("spss", "3"),
                        ("start", &*seconds(300)),
                        ("end", &*seconds(-5)),
                    ];
                    let answer = get_json(&format!("{url}/api/search"), &window);
                    assert!(
                        answer["traces"].as_array().is_some_and(|traces| !traces.is_empty()),
                        "{title}: {answer}"
                    );
                }
                ("tempo", Some("serviceMap")) => service_graph::view(grafana, source),
                other => panic!("{title}: {other:?}"),
            }
        }
    }
}

/// From a dot of the panel `Duration` to the trace's id and the data source that opens it.
fn exemplar(grafana: &Grafana) -> (String, String) {
    let metrics = grafana.of_type("prometheus");
    let url = metrics["url"].as_str().expect("a URL");
    let test = get_json(
        &format!("{url}/api/v1/query_exemplars"),
        &[("query", "test"), ("start", "1"), ("end", "2")],
    );
    assert_eq!(test["status"], "success");
    let panels = grafana.dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let with_exemplars: Vec<&Value> = targets.filter(|target| target["exemplar"] == true).collect();
    assert_eq!(with_exemplars.len(), 2);
    let destination = &metrics["jsonData"]["exemplarTraceIdDestinations"][0];
    let label = destination["name"].as_str().expect("a name");
    let uid = destination["datasourceUid"].as_str().expect("a uid").to_owned();
    let mut found = None;
    for target in with_exemplars {
        let query = interpolated(target["expr"].as_str().expect("an expression"));
        let now = now_ns() / 1_000_000_000;
        let (start, end) = ((now - 300).to_string(), (now + 5).to_string());
        let answer = post(
            &format!("{url}/api/v1/query_exemplars"),
            &[("query", &query), ("start", &start), ("end", &end)],
        );
        let series = answer["data"].as_array().expect("series");
        let labels = series.iter().flat_map(|series| series["exemplars"].as_array().into_iter().flatten());
        let labels: Vec<&Value> = labels.map(|exemplar| &exemplar["labels"]).collect();
        assert!(!labels.is_empty(), "{query}: {answer}");
        assert!(
            labels.iter().all(|labels| labels[label].is_string() && labels["span_id"].is_string()),
            "{answer}"
        );
        found = labels.first().and_then(|labels| labels[label].as_str()).map(str::to_owned);
    }
    (found.expect("an exemplar"), uid)
}

/// A span as the trace view has it.
struct Span {
    service: String,
    start_ns: i64,
    end_ns: i64,
}

/// Opens a trace as the data source of type Tempo does, and finds the span of a service in it.
fn open(grafana: &Grafana, uid: &str, id: &str, service: &str) -> Span {
    let url = format!("{}/api/v2/traces/{id}", grafana.url(uid));
    let (status, body) = get(&url, &[], &[("accept", "application/protobuf")]);
    assert_eq!(status, 200, "{url}");
    let id_bytes: Vec<u8> =
        (0..16).map(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).expect("hex")).collect();
    assert!(body.windows(16).any(|window| window == id_bytes), "the trace is in the answer");
    let json = get_json(&url, &[]);
    let resources = json["trace"]["resourceSpans"].as_array().expect("resources");
    let is_service = |resource: &&Value| {
        let attributes = resource["resource"]["attributes"].as_array().into_iter().flatten();
        attributes.into_iter().any(|a| a["key"] == "service.name" && a["value"]["stringValue"] == service)
    };
    let resource = resources.iter().find(is_service).unwrap_or_else(|| panic!("{service} in {json}"));
    let span = &resource["scopeSpans"][0]["spans"][0];
    let time =
        |key: &str| span[key].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{span}"));
    Span { service: service.to_owned(), start_ns: time("startTimeUnixNano"), end_ns: time("endTimeUnixNano") }
}

/// A shift such as `-1m`.
fn shift_ns(text: &Value) -> i64 {
    let text = text.as_str().expect("a shift");
    let minutes: i64 = text.trim_end_matches('m').parse().expect("whole minutes");
    minutes * 60_000_000_000
}

/// From a span to its log lines: the query that Grafana makes of `tracesToLogsV2`, word for word.
fn span_to_logs(grafana: &Grafana, uid: &str, id: &str, span: &Span) -> Value {
    let link = &grafana.source(uid)["jsonData"]["tracesToLogsV2"];
    assert_eq!((&link["filterByTraceID"], &link["customQuery"]), (&Value::Bool(true), &Value::Bool(false)));
    logs(grafana, uid, span, &format!("{}{}", selector(grafana, uid, span), contains("trace", id, "or")))
}

/// The streams of a span's service, by the tag that the link names.
fn selector(grafana: &Grafana, uid: &str, span: &Span) -> String {
    let tag = &grafana.source(uid)["jsonData"]["tracesToLogsV2"]["tags"][0];
    assert_eq!(tag["key"], "service.name");
    format!("{{{}=\"{}\"}}", tag["value"].as_str().expect("a label"), span.service)
}

/// The filter that Grafana makes of an id, be it in the line or beside it.
fn contains(of: &str, id: &str, or: &str) -> String {
    format!(
        " | label_format log_line_contains_{of}_id=`{{{{ contains \"{id}\" __line__  }}}}` | \
         log_line_contains_{of}_id=\"true\" {or} {of}_id=\"{id}\""
    )
}

/// What a query for the log lines of a span finds, in the window that the link has.
fn logs(grafana: &Grafana, uid: &str, span: &Span, query: &str) -> Value {
    let link = &grafana.source(uid)["jsonData"]["tracesToLogsV2"];
    let start = (span.start_ns + shift_ns(&link["spanStartTimeShift"])).to_string();
    let end = (span.end_ns + shift_ns(&link["spanEndTimeShift"])).to_string();
    let url =
        format!("{}/loki/api/v1/query_range", grafana.url(link["datasourceUid"].as_str().expect("a uid")));
    let parameters =
        [("query", query), ("start", &start), ("end", &end), ("direction", "backward"), ("limit", "1000")];
    let headers =
        [("x-loki-response-encoding-flags", "categorize-labels"), ("x-query-tags", "Source=grafana")];
    let (status, body) = get(&url, &parameters, &headers);
    let text = String::from_utf8_lossy(&body);
    assert_eq!(status, 200, "{query}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

/// The lines of an answer.
fn lines(answer: &Value) -> usize {
    let streams = answer["data"]["result"].as_array().expect("streams");
    streams.iter().filter_map(|stream| stream["values"].as_array()).map(Vec::len).sum()
}

/// The log lines of one span: what Grafana makes of `filterBySpanID`, now and in older versions, and what it probes where it
/// does not know how the ids are called.
fn logs_by_span_id(grafana: &Grafana, uid: &str, (trace, id): (&str, &str), span: &Span) {
    let selector = selector(grafana, uid, span);
    for or in ["or", "OR"] {
        let by_both = format!("{selector}{}{}", contains("trace", trace, or), contains("span", id, or));
        assert_eq!(lines(&logs(grafana, uid, span, &by_both)), 1, "{by_both}");
        let other =
            format!("{selector}{}{}", contains("trace", trace, or), contains("span", "00f067aa0ba902b7", or));
        assert_eq!(lines(&logs(grafana, uid, span, &other)), 0, "{other}");
    }
    let in_line = format!("{selector} |=\"{trace}\" |=\"{id}\"");
    assert_eq!(lines(&logs(grafana, uid, span, &in_line)), 0, "ids are beside the line");
    let names = [
        ("traceID", "spanID"),
        ("trace_id", "span_id"),
        ("traceId", "spanId"),
        ("TraceID", "SpanID"),
        ("TraceId", "SpanId"),
        ("otel_trace_id", "otel_span_id"),
    ];
    let job = format!("{{job=~\"(.*/)?({})\"}}", span.service);
    for selector in [&selector, &job] {
        for (of_trace, of_span) in names {
            let probe = format!(
                "{selector} | logfmt | json | drop __error__ | {of_trace}=\"{trace}\" | {of_span}=\"{id}\""
            );
            let expected = usize::from(of_trace == "trace_id" && selector != &job);
            assert_eq!(lines(&logs(grafana, uid, span, &probe)), expected, "{probe}");
        }
    }
}

/// From a log line to its trace: the derived field whose pattern matches the name of a label.
fn log_to_trace(grafana: &Grafana, entry: &Value) -> (String, String) {
    let field = &grafana.of_type("loki")["jsonData"]["derivedFields"][0];
    assert_eq!((&field["matcherType"], &field["url"]), (&"label".into(), &"${__value.raw}".into()));
    let pattern = field["matcherRegex"].as_str().expect("a pattern");
    let name = pattern.trim_start_matches('^').trim_end_matches('$');
    let value = entry[2]["structuredMetadata"][name].as_str().unwrap_or_else(|| panic!("{name} of {entry}"));
    (value.to_owned(), field["datasourceUid"].as_str().expect("a uid").to_owned())
}

/// From a span to the curves of its service: the queries of the link, and the one that Grafana has for an empty query.
fn span_to_metrics(grafana: &Grafana, uid: &str, span: &Span) {
    let link = &grafana.source(uid)["jsonData"]["tracesToMetrics"];
    let tag = &link["tags"][0];
    assert_eq!(tag["key"], "service.name");
    let tags = format!("{}=\"{}\"", tag["value"].as_str().expect("a label"), span.service);
    let url = format!("{}/api/v1/query_range", grafana.url(link["datasourceUid"].as_str().expect("a uid")));
    let seconds = |ns: i64| (ns / 1_000_000_000).to_string();
    let start = seconds(span.start_ns + shift_ns(&link["spanStartTimeShift"]));
    let end = seconds(span.end_ns + shift_ns(&link["spanEndTimeShift"]));
    let queries = link["queries"].as_array().expect("queries");
    assert_eq!(queries.len(), 3);
    let by_default =
        "histogram_quantile(0.5, sum(rate(traces_spanmetrics_latency_bucket{$__tags}[5m])) by (le))";
    let written = queries.iter().map(|query| query["query"].as_str().expect("a query"));
    for query in written.chain([by_default]) {
        assert!(query.contains("$__tags"), "{query} is of all services");
        let text = query.replace("$__tags", &tags);
        let answer = post(&url, &[("query", &text), ("start", &start), ("end", &end), ("step", "15")]);
        let result = answer["data"]["result"].as_array().expect("a result");
        assert!(!result.is_empty(), "{text}: {answer}");
    }
}

/// Opens a trace as the data source of type Jaeger does, and finds the span of a service in it by the tags of its process.
fn open_in_jaeger(grafana: &Grafana, uid: &str, id: &str, service: &str) -> Span {
    let trace = &get_json(&format!("{}/api/traces/{id}", grafana.url(uid)), &[])["data"][0];
    let spans = trace["spans"].as_array().expect("spans");
    assert_eq!(spans.len(), 3, "{trace}");
    let is_service = |span: &&Value| {
        let tags = &trace["processes"][span["processID"].as_str().expect("a process")]["tags"];
        tags.as_array()
            .into_iter()
            .flatten()
            .any(|tag| tag["key"] == "service.name" && tag["value"] == service)
    };
    let span = spans.iter().find(is_service).unwrap_or_else(|| panic!("{service} in {trace}"));
    let ns = |key: &str| span[key].as_i64().expect("microseconds") * 1_000;
    Span { service: service.to_owned(), start_ns: ns("startTime"), end_ns: ns("startTime") + ns("duration") }
}

#[test]
fn grafana_walks_from_metric_to_trace_to_log_and_back() {
    let (_server, grafana) = provisioned("grafana");
    save_and_test(&grafana);
    draw(&grafana);
    let (id, traces) = exemplar(&grafana);
    let span = open(&grafana, &traces, &id, "back");
    let logs = span_to_logs(&grafana, &traces, &id, &span);
    let streams = logs["data"]["result"].as_array().expect("streams");
    assert_eq!(streams.len(), 1, "{logs}");
    let entry = &streams[0]["values"][0];
    assert_eq!(
        (&streams[0]["stream"]["service_name"], &entry[1]),
        (&"back".into(), &"item is late".into()),
        "{logs}"
    );
    let span_id = entry[2]["structuredMetadata"]["span_id"].as_str().expect("a span id");
    logs_by_span_id(&grafana, &traces, (&id, span_id), &span);
    let (back_to, uid) = log_to_trace(&grafana, entry);
    assert_eq!(back_to, id);
    open(&grafana, &uid, &back_to, "front");
    span_to_metrics(&grafana, &traces, &span);
    let uid = grafana.of_type("jaeger")["uid"].as_str().expect("a uid");
    let span = open_in_jaeger(&grafana, uid, &id, "back");
    let logs = span_to_logs(&grafana, uid, &id, &span);
    assert_eq!(lines(&logs), 1, "{logs}");
    span_to_metrics(&grafana, uid, &span);
    jaeger::dependencies(grafana.url(uid));
    jaeger::monitor(grafana.url(uid));
}
