//! What Jaeger's API makes of derived metrics: the calls between services in all three forms, and the graphs of the Monitor tab.

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use serde_json::Value;
use throughline_model::protobuf::{put_bytes, put_number};

use crate::grafana::{get_json, now_ns};

const MS: i64 = 1_000_000;
const HOUR_MS: i64 = 3_600_000;

fn call_of<'a>(list: &'a Value, what: &str) -> &'a Value {
    let calls = list.as_array().unwrap_or_else(|| panic!("{what}: {list}"));
    let call = calls.iter().find(|call| call["parent"] == "front" && call["child"] == "back");
    &call.unwrap_or_else(|| panic!("{what}: {list}"))["callCount"]
}

/// Who calls whom; `url` is that of the API.
pub fn dependencies(url: &str) {
    let now_ms = now_ns() / MS;
    let (end, lookback) = (now_ms.to_string(), HOUR_MS.to_string());
    let older = format!("{url}/api/dependencies");
    let answer = get_json(&older, &[("endTs", &end), ("lookback", &lookback)]);
    let calls = call_of(&answer["data"], "the older API").as_u64().expect("a whole number");
    assert!((1..=40).contains(&calls), "{answer}");
    let of_service = get_json(&older, &[("endTs", &end), ("lookback", &lookback), ("service", "back")]);
    call_of(&of_service["data"], "of one service");
    let other = get_json(&older, &[("endTs", &end), ("lookback", &lookback), ("service", "nobody")]);
    assert_eq!(other["data"], serde_json::json!([]));
    // Times are milliseconds: the same in seconds is long ago.
    let seconds = (now_ms / 1_000).to_string();
    let answer = get_json(&older, &[("endTs", &seconds), ("lookback", &lookback)]);
    assert_eq!(answer["data"], serde_json::json!([]));
    let rfc3339 = |ms: i64| throughline_correlate::units::rfc3339(ms * MS);
    let (start, end) = (rfc3339(now_ms - HOUR_MS), rfc3339(now_ms));
    let answer = get_json(&format!("{url}/api/v3/dependencies"), &[("startTime", &start), ("endTime", &end)]);
    let text = call_of(&answer["dependencies"], "version 3").as_str().expect("a number as text");
    assert!(text.parse::<u64>().is_ok_and(|calls| calls > 0), "{answer}");
    let mut request = Vec::new();
    for (number, ms) in [(1, now_ms - HOUR_MS), (2, now_ms)] {
        let mut time = Vec::new();
        put_number(&mut time, 1, (ms / 1_000) as u64);
        put_bytes(&mut request, number, &time);
    }
    let address = url.trim_start_matches("http://").split('/').next().expect("an address");
    let body = grpc(address, "/jaeger.api_v3.QueryService/GetDependencies", &request);
    let call = b"\x0a\x05front\x12\x04back\x18";
    assert!(body.windows(call.len()).any(|window| window == call), "{body:?}");
}

/// One call of gRPC that succeeds; its messages with their prefixes.
fn grpc(address: &str, path: &str, message: &[u8]) -> Vec<u8> {
    let mut body = vec![0];
    body.extend((message.len() as u32).to_be_bytes());
    body.extend(message);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.expect("connected");
        let (io, executor) = (hyper_util::rt::TokioIo::new(stream), hyper_util::rt::TokioExecutor::new());
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(executor, io).await.expect("HTTP/2");
        tokio::spawn(connection);
        let request = hyper::Request::post(format!("http://{address}{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(Bytes::from(body)))
            .expect("a request");
        let body = sender.send_request(request).await.expect("answered").into_body();
        let body = body.collect().await.expect("a body");
        let status = body.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
        assert_eq!(status.as_ref().map(|status| status.as_bytes()), Some(&b"0"[..]), "{path}");
        body.to_bytes().to_vec()
    })
}

/// The last point of the first series that has the labels.
fn last(family: &Value, labels: &[(&str, &str)]) -> f64 {
    let metrics = family["metrics"].as_array().unwrap_or_else(|| panic!("no series: {family}"));
    let has = |metric: &&Value, (name, value): &(&str, &str)| {
        let of = metric["labels"].as_array().into_iter().flatten();
        of.into_iter().any(|label| label["name"] == *name && label["value"] == *value)
    };
    let metric = metrics.iter().find(|metric| labels.iter().all(|label| has(metric, label)));
    let metric = metric.unwrap_or_else(|| panic!("{labels:?}: {family}"));
    let points = metric["metricPoints"].as_array().expect("points");
    let mut numbers = points.iter().filter_map(|point| point["gaugeValue"]["doubleValue"].as_f64());
    numbers.next_back().unwrap_or_else(|| panic!("no point: {metric}"))
}

/// The graphs of the Monitor tab, as it asks for them.
pub fn monitor(url: &str) {
    let end = (now_ns() / MS).to_string();
    let ask = |kind: &str, more: &[(&str, &str)]| {
        let window = [("endTs", &*end), ("lookback", "120000"), ("step", "5000"), ("ratePer", "60000")];
        get_json(&format!("{url}/api/metrics/{kind}"), &[&window[..], more].concat())
    };
    let back = ("service", "back");
    let latencies = ask("latencies", &[back, ("quantile", "0.5"), ("groupByOperation", "true")]);
    assert_eq!(latencies["name"], "service_operation_latencies");
    let milliseconds = last(&latencies, &[("service_name", "back"), ("operation", "GET /item")]);
    assert!((4.0..5_000.0).contains(&milliseconds), "each took five milliseconds at least: {latencies}");
    let calls = ask("calls", &[back]);
    let per_second = last(&calls, &[("service_name", "back")]);
    assert!(per_second > 0.0 && per_second < 20.0, "twenty calls in a minute: {calls}");
    let errors = ask("errors", &[back]);
    let share = last(&errors, &[("service_name", "back")]);
    assert!((0.01..0.6).contains(&share), "one of ten fails: {errors}");
    // Of what never fails the share is nought.
    let errors = ask("errors", &[("service", "front")]);
    assert_eq!(last(&errors, &[("service_name", "front")]), 0.0);
    let clients = ask("calls", &[("service", "front"), ("spanKind", "client"), ("groupByOperation", "true")]);
    assert!(last(&clients, &[("operation", "GET back")]) > 0.0, "{clients}");
    // Times are milliseconds.
    let answer = get_json(&format!("{url}/api/metrics/calls"), &[back, ("endTs", &end[..10])]);
    assert!(answer.get("metrics").is_none(), "{answer}");
}
