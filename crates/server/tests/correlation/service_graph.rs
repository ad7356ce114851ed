//! The service graph view of Grafana's Tempo data source: what it asks of the metrics that it is linked to, for the graph, for the
//! table, and behind each link of a node or an edge.

use serde_json::{Value, json};

use crate::grafana::{Grafana, get_json, now_ns, post};

/// What the graph shows at edges and nodes.
const METRICS: [&str; 4] = [
    "traces_service_graph_request_server_seconds_sum",
    "traces_service_graph_request_total",
    "traces_service_graph_request_failed_total",
    "traces_service_graph_request_server_seconds_bucket",
];

/// Asks once, at this moment, as the view does.
fn instant(url: &str, query: &str) -> Vec<Value> {
    let time = (now_ns() / 1_000_000_000).to_string();
    let answer = post(&format!("{url}/api/v1/query"), &[("query", query), ("time", &time)]);
    answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}: {answer}")).clone()
}

fn has_edge(result: &[Value]) -> bool {
    result.iter().any(|one| one["metric"]["client"] == "front" && one["metric"]["server"] == "back")
}

fn number(one: &Value) -> f64 {
    one["value"][1].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{one}"))
}

/// All that the view asks.
pub fn view(grafana: &Grafana, traces: &Value) {
    let uid = traces["jsonData"]["serviceMap"]["datasourceUid"].as_str().expect("a uid");
    let url = grafana.url(uid);
    let native = [("match[]", "traces_service_graph_request_server_seconds"), ("limit", "1")];
    assert_eq!(get_json(&format!("{url}/api/v1/series"), &native)["data"], json!([]), "classic histograms");
    graph(url);
    links(url);
    table(url);
}

/// The graph: numbers of edges and attributes of nodes, of all services and of those that a filter lets through.
fn graph(url: &str) {
    for filter in ["", "{client=\"front\"}", "{client=~\"front|other\",server=\"back\"}"] {
        for metric in METRICS {
            let query = format!("sum by (client, server) (rate({metric}{filter} [3600s]))");
            assert!(has_edge(&instant(url, &query)), "{query}");
            let query = format!("group by (client, connection_type, server) ({metric}{filter})");
            let nodes = instant(url, &query);
            assert!(has_edge(&nodes) && nodes.iter().all(|node| number(node) == 1.0), "{query}: {nodes:?}");
        }
    }
    // Several filters are joined by the operator in capitals.
    let of = |filter: &str| format!("sum by (client, server) (rate({}{filter}[3600s]))", METRICS[1]);
    let both = format!("{} OR {}", of("{client=\"nobody\"}"), of("{server=\"back\"}"));
    assert!(has_edge(&instant(url, &both)), "{both}");
    let neither = format!("{} OR {}", of("{client=\"nobody\"}"), of("{server=\"nobody\"}"));
    assert_eq!(instant(url, &neither), Vec::<Value>::new());
}

/// What opens behind an edge or a node: curves, with the interval of the panel.
fn links(url: &str) {
    let now = now_ns() / 1_000_000_000;
    let (start, end) = ((now - 300).to_string(), (now + 5).to_string());
    for of in ["{client=\"front\",server=\"back\"}", "{server=\"back\"}"] {
        let rate = |metric: &str| format!("sum by (client, server)(rate({metric}{of}[1m]))");
        let seconds = format!(
            "histogram_quantile(0.9, sum(rate(traces_service_graph_request_server_seconds_bucket{of}[1m])) by (le, client, \
             server))"
        );
        for query in [rate(METRICS[1]), seconds, rate(METRICS[2])] {
            let window = [("query", &*query), ("start", &start), ("end", &end), ("step", "15")];
            let answer = post(&format!("{url}/api/v1/query_range"), &window);
            let result = answer["data"]["result"].as_array().expect("a result");
            assert!(has_edge(result), "{query}: {answer}");
        }
    }
}

/// The table: rates, errors and durations of operations.
fn table(url: &str) {
    let rate =
        |filter: &str| format!("sum(rate(traces_spanmetrics_calls_total{{{filter}}}[3600s])) by (span_name)");
    let server = "span_kind=\"SPAN_KIND_SERVER\"";
    let names = |query: String| {
        let result = instant(url, &query);
        let name = |one: &Value| one["metric"]["span_name"].as_str().unwrap_or_default().to_owned();
        let mut names: Vec<String> = result.iter().map(name).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names(format!("topk(5, {})", rate(server))), ["GET /", "GET /item"]);
    // The user's filter: `client` and `server` have become `service`.
    assert_eq!(names(format!("topk(5, {})", rate(&format!("{server},service=\"back\"")))), ["GET /item"]);
    let (front, back) = (format!("{server},service=\"front\""), format!("{server},service=\"back\""));
    assert_eq!(names(format!("topk(5, {} OR {})", rate(&front), rate(&back))), ["GET /", "GET /item"]);
    let errors = "status_code=\"STATUS_CODE_ERROR\",span_name=~\"GET /|GET /item\"";
    assert_eq!(names(format!("topk(5, {})", rate(errors))), ["GET /item"]);
    for name in ["GET /", "GET /item"] {
        let query = format!(
            "histogram_quantile(.9, sum(rate(traces_spanmetrics_latency_bucket{{span_name=~\"{name}\"}}[3600s])) by (le))"
        );
        let result = instant(url, &query);
        // Each took five milliseconds at least: seconds, whatever else the machine did.
        assert!(result.len() == 1 && (0.004..5.0).contains(&number(&result[0])), "{query}: {result:?}");
    }
}
