//! Tempo's and Jaeger's APIs: what Grafana and the command lines ask, byte by byte where they are strict.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
use prost::Message as _;
use serde_json::{Value, json};
use throughline_model::Signal;
use throughline_store::Store;
use throughline_wire::Encoding;

use crate::served::{BODY_BYTES_MAX, NOW, Served, write};
use crate::telemetry;

const SLOW: &str = telemetry::SLOW_TRACE;
const SECOND: i64 = 1_000_000_000;

fn fill(store: &Store) {
    let traces = telemetry::traces(NOW).to_string().into_bytes();
    write(store, Signal::Traces, Encoding::Json, traces);
    write(store, Signal::Logs, Encoding::Json, telemetry::logs(NOW).to_string().into_bytes());
}

/// The window of the telemetry, in seconds.
fn window() -> (i64, i64) {
    (NOW / SECOND - 600, NOW / SECOND + 60)
}

/// One request that takes a kind of answer: the status, the body, and the headers.
pub fn bytes(served: &Served, path: &str, accept: &str) -> (u16, Vec<u8>, Vec<(String, String)>) {
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build();
    let request = ureq::Agent::from(config).get(format!("{}{path}", served.base)).header("accept", accept);
    let mut response = request.call().expect("answered");
    let headers = response.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()));
    let headers = headers.collect();
    (
        response.status().as_u16(),
        response.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_vec().expect("bytes"),
        headers,
    )
}

fn link(headers: &[(String, String)]) -> &str {
    headers.iter().find(|(name, _)| name == "x-throughline-link").map_or("", |(_, value)| value)
}

/// One call of gRPC; its messages, and its status.
fn call(served: &Served, path: &str, message: &[u8]) -> (Vec<Vec<u8>>, String) {
    let (messages, status, _) = call_with_trailers(served, path, message);
    (messages, status)
}

/// One call of gRPC; its messages, its status, and its trailers, which are the headers of an answer without a body.
pub fn call_with_trailers(
    served: &Served,
    path: &str,
    message: &[u8],
) -> (Vec<Vec<u8>>, String, hyper::HeaderMap) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let address = served.base.trim_start_matches("http://").to_owned();
    let mut body = vec![0];
    body.extend((message.len() as u32).to_be_bytes());
    body.extend(message);
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(&address).await.expect("connected");
        let io = hyper_util::rt::TokioIo::new(stream);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(executor, io).await.expect("HTTP/2");
        tokio::spawn(connection);
        let request = hyper::Request::post(format!("http://{address}{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(Bytes::from(body)))
            .expect("a request");
        let response = sender.send_request(request).await.expect("answered");
        assert_eq!(response.status(), 200);
        let status = |headers: &hyper::HeaderMap| {
            headers.get("grpc-status").map(|value| value.to_str().expect("text").to_owned())
        };
        let of_headers = status(response.headers());
        let headers = response.headers().clone();
        let body = response.into_body().collect().await.expect("a body");
        let trailers = body.trailers().cloned().unwrap_or(headers);
        let status = status(&trailers).or(of_headers).expect("grpc-status");
        let (mut rest, mut messages) = (body.to_bytes(), Vec::new());
        while !rest.is_empty() {
            let length = u32::from_be_bytes(rest[1..5].try_into().expect("4")) as usize;
            messages.push(rest[5..5 + length].to_vec());
            rest = rest.slice(5 + length..);
        }
        (messages, status, trailers)
    })
}

/// A length-delimited field.
pub fn field(number: u8, content: &[u8]) -> Vec<u8> {
    assert!(content.len() < 128);
    [&[number << 3 | 2, content.len() as u8], content].concat()
}

#[derive(Clone, PartialEq, prost::Message)]
struct TraceById {
    #[prost(message, optional, tag = "1")]
    trace: Option<TracesData>,
    #[prost(message, optional, tag = "2")]
    metrics: Option<()>,
}

#[test]
fn a_trace_by_id_is_what_grafana_reads() {
    let served = Served::new(fill);
    // What the data source sends, window and all.
    let path = format!("/tempo/api/v2/traces/{}?start=1&end=2", SLOW.trim_start_matches('0'));
    let (status, body, headers) = bytes(&served, &path, "application/protobuf");
    assert_eq!((status, link(&headers)), (200, "resolved"));
    let found = TraceById::decode(body.as_slice()).expect("a TraceByIDResponse");
    let trace = found.trace.expect("a trace");
    let resource = &trace.resource_spans[0];
    assert_eq!(resource.resource.as_ref().expect("never left out").attributes[0].key, "service.name");
    let scope = &resource.scope_spans[0];
    assert_eq!(scope.scope.as_ref().expect("never left out").name, "t");
    assert_eq!(scope.spans.len(), 2);
    assert_eq!(scope.spans[0].status.as_ref().expect("never left out").code, 2);
    assert_eq!((scope.spans[0].events[0].name.as_str(), scope.spans[0].links.len()), ("began", 1));
    assert!(found.metrics.is_some());
    let (status, body, _) = bytes(&served, &format!("/tempo/api/traces/{SLOW}"), "application/protobuf");
    assert_eq!((status, TracesData::decode(body.as_slice()).expect("a Trace")), (200, trace));
    let (_, json) = served.get(&format!("/tempo/api/traces/{SLOW}"));
    let span = &json["batches"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!((&span["spanId"], &span["kind"]), (&json!("AAAAAAAAwNE="), &json!("SPAN_KIND_SERVER")));
    let (_, json) = served.get(&format!("/tempo/api/v2/traces/{SLOW}"));
    assert_eq!(json["trace"]["resourceSpans"][0]["scopeSpans"][0]["spans"][0], *span);
    assert_eq!(json["metrics"], json!({}));
}

#[test]
fn a_trace_that_is_not_here_says_what_became_of_it() {
    let served = Served::new(|store| {
        write(store, Signal::Logs, Encoding::Json, telemetry::logs(NOW).to_string().into_bytes());
    });
    for path in [
        "/tempo/api/traces/bad",
        "/tempo/api/v2/traces/bad",
        "/jaeger/api/traces/bad",
        "/jaeger/api/v3/traces/bad",
    ] {
        let (status, _, headers) = bytes(&served, path, "*/*");
        assert_eq!((status, link(&headers)), (404, "never_received"), "{path}");
    }
    for path in [
        "/tempo/api/traces/xyz",
        "/tempo/api/v2/traces/0",
        "/jaeger/api/traces/xyz",
        "/jaeger/api/v3/traces/xyz",
    ] {
        assert_eq!(bytes(&served, path, "*/*").0, 400, "{path}");
    }
    let (_, text) = served.get_text("/jaeger/api/traces/bad");
    let body: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&body["data"], &body["errors"][0]["code"]), (&Value::Null, &json!(404)));
    assert_eq!(served.get_text("/tempo/api/v2/traces/bad?q={}").0, 400);
    assert_eq!(served.get_text("/tempo/api/traces/bad?start=2&end=1").0, 400);
}

#[test]
fn the_health_of_data_sources() {
    let served = Served::new(fill);
    assert_eq!(served.get_text("/tempo/api/echo"), (200, "echo".to_owned()));
    assert_eq!(served.get_text("/tempo/ready"), (200, "ready\n".to_owned()));
    let (status, buildinfo) = served.get("/tempo/api/status/buildinfo");
    assert_eq!((status, buildinfo["revision"].as_str()), (200, Some("throughline-test")));
    assert_eq!(
        served.get("/jaeger/api/services"),
        (
            200,
            json!({
                "data": ["task-svc"], "total": 1, "limit": 0, "offset": 0, "errors": null,
            })
        )
    );
    // Save & test over gRPC: an empty query, one trace, and the end of the stream.
    let (start, end) = window();
    let mut request = vec![0x20, 1, 0x28];
    throughline_model::protobuf::put_varint(&mut request, start as u64);
    request.push(0x30);
    throughline_model::protobuf::put_varint(&mut request, end as u64);
    let (messages, status) = call(&served, "/tempopb.StreamingQuerier/Search", &request);
    assert_eq!((messages.len(), status.as_str()), (1, "0"));
    let (_, status) = call(&served, "/tempopb.StreamingQuerier/Nothing", &[]);
    assert_eq!(status, "12");
    let (_, status) = call(&served, "/tempopb.StreamingQuerier/Search", &field(8, b"{ nonsense"));
    assert_eq!(status, "3");
}

#[test]
fn a_search_is_strict_json() {
    let served = Served::new(fill);
    let (start, end) = window();
    let query = "q=%7B%20status%20%3D%20error%20%26%26%20name%20%3D%20%22GET%20%2Ftasks%22%20%7D";
    let (status, body) =
        served.get(&format!("/tempo/api/search?{query}&limit=20&spss=3&start={start}&end={end}"));
    assert_eq!(status, 200, "{body}");
    let trace = &body["traces"][0];
    let known = [
        "traceID",
        "rootServiceName",
        "rootTraceName",
        "startTimeUnixNano",
        "durationMs",
        "spanSet",
        "spanSets",
        "serviceStats",
    ];
    assert!(trace.as_object().expect("a trace").keys().all(|key| known.contains(&key.as_str())), "{trace}");
    assert_eq!((&trace["traceID"], &trace["rootServiceName"]), (&json!(SLOW), &json!("task-svc")));
    assert_eq!((&trace["rootTraceName"], &trace["durationMs"]), (&json!("GET /tasks"), &json!(900)));
    assert_eq!(trace["serviceStats"], json!({"task-svc": {"spanCount": 2, "errorCount": 2}}));
    assert_eq!(
        (&trace["spanSet"], trace["spanSets"].as_array().map(Vec::len)),
        (&trace["spanSets"][0], Some(1))
    );
    let span = &trace["spanSets"][0]["spans"][0];
    assert_eq!((&span["spanID"], &span["durationNanos"]), (&json!("000000000000c0d1"), &json!("900000000")));
    assert_eq!(trace["spanSets"][0]["matched"], 1);
    let metrics = body["metrics"].as_object().expect("metrics");
    let known = [
        "inspectedTraces",
        "inspectedBytes",
        "totalBlocks",
        "completedJobs",
        "totalJobs",
        "totalBlockBytes",
        "inspectedSpans",
    ];
    assert!(metrics.keys().all(|key| known.contains(&key.as_str())), "{metrics:?}");
    // The older form, whose conditions are contained.
    let older =
        format!("/tempo/api/search?tags=service.name%3Dtask%20db.partition%3Dp7&start={start}&end={end}");
    let (_, body) = served.get(&older);
    assert_eq!(body["traces"].as_array().map(Vec::len), Some(1), "{body}");
    let (_, body) = served.get(&format!("/tempo/api/search?minDuration=500ms&start={start}&end={end}"));
    assert_eq!(body["traces"].as_array().map(Vec::len), Some(1), "{body}");
    for bad in ["limit=0", "q=%7B", "q=%7B%7D&tags=a%3Db", "start=5&end=4", "q=%7B%7D%20%7C%20rate()"] {
        let (status, text) = served.get_text(&format!("/tempo/api/search?{bad}"));
        assert!(status == 400 && !text.starts_with('{'), "{bad}: {status} {text}");
    }
}

#[test]
fn tags_and_values_are_listed() {
    let served = Served::new(fill);
    let (start, end) = window();
    let (status, body) = served.get(&format!("/tempo/api/v2/search/tags?limit=5000&start={start}&end={end}"));
    assert_eq!(status, 200, "{body}");
    let scope = |name: &str| {
        let scopes = body["scopes"].as_array().expect("scopes");
        scopes.iter().find(|scope| scope["name"] == name).map_or(Value::Null, |scope| scope["tags"].clone())
    };
    assert_eq!(
        (scope("resource"), scope("span"), scope("event")),
        (json!(["service.name"]), json!(["db.partition"]), json!(["a"]))
    );
    assert!(scope("intrinsic").as_array().expect("intrinsics").contains(&json!("rootServiceName")));
    let (_, body) = served.get("/tempo/api/search/tags");
    assert_eq!(body["tagNames"], json!(["a", "db.partition", "service.name"]));
    let (_, body) = served.get("/tempo/api/v2/search/tags?scope=span");
    assert_eq!(body["scopes"], json!([{"name": "span", "tags": ["db.partition"]}]));
    assert_eq!(served.get_text("/tempo/api/v2/search/tags?scope=moon").0, 400);
    let (_, body) =
        served.get("/tempo/api/v2/search/tags?scope=span&q=%7B%20name%20%3D%20%22nothing%22%20%7D");
    assert_eq!(body["scopes"], json!([]));
    let values = |path: &str| served.get(&format!("/tempo{path}")).1["tagValues"].clone();
    let typed = |kind: &str, values: &[&str]| -> Value {
        values.iter().map(|value| json!({"type": kind, "value": value})).collect()
    };
    // As Grafana asks: the tag once more, and a filter that is half typed.
    let grafana = "/api/v2/search/tag/resource.service.name/values?limit=5000&tag=resource.service.name&q=%7B%20span.x%3D%20%7D";
    assert_eq!(values(grafana), typed("string", &["task-svc"]));
    assert_eq!(values("/api/v2/search/tag/span.db.partition/values"), typed("string", &["p1", "p7"]));
    let filtered = "/api/v2/search/tag/span.db.partition/values?q=%7B%20status%20%3D%20error%20%7D";
    assert_eq!(values(filtered), typed("string", &["p7"]));
    assert_eq!(values("/api/v2/search/tag/name/values"), typed("string", &["GET /tasks", "db:query"]));
    assert_eq!(values("/api/v2/search/tag/status/values"), typed("keyword", &["error", "ok", "unset"]));
    assert_eq!(values("/api/v2/search/tag/span.%22a%2Fb%20c%22/values"), json!([]));
    assert_eq!(values("/api/search/tag/service.name/values"), json!(["task-svc"]));
    assert_eq!(served.get_text("/tempo/api/v2/search/tag/nonsense/values").0, 400);
}

#[test]
fn metrics_are_counted_over_a_range_and_at_once() {
    let served = Served::new(fill);
    let (start, end) = (NOW / SECOND - 120, NOW / SECOND);
    let query = "%7B%7D%20%7C%20count_over_time()%20by(resource.service.name)";
    let (status, body) =
        served.get(&format!("/tempo/api/metrics/query_range?q={query}&start={start}&end={end}&step=60s"));
    assert_eq!(status, 200, "{body}");
    let series = &body["series"][0];
    assert_eq!(
        series["labels"],
        json!([{"key": "resource.service.name", "value": {"stringValue": "task-svc"}}])
    );
    let samples = series["samples"].as_array().expect("samples");
    assert!(samples.iter().all(|sample| sample["timestampMs"].is_string()), "{samples:?}");
    let sum: f64 = samples.iter().filter_map(|sample| sample["value"].as_f64()).sum();
    assert_eq!(sum, 22.0, "{samples:?}");
    let labels = series["exemplars"][0]["labels"].as_array().expect("an exemplar");
    assert!(labels.iter().any(|label| label["key"] == "trace:id"), "{labels:?}");
    let (_, body) = served.get(&format!("/tempo/api/metrics/query?q={query}&start={start}&end={end}"));
    assert_eq!(body["series"][0]["value"], 22.0, "{body}");
    // The probe of Traces Drilldown.
    let (status, body) =
        served.get("/tempo/api/metrics/query_range?q=%7B%7D%20%7C%20rate()&since=1m&unknown=1");
    assert_eq!(status, 200, "{body}");
    assert_eq!(served.get_text("/tempo/api/metrics/query_range?q=%7B%7D").0, 400);
}

#[test]
fn the_streaming_querier_answers_the_same() {
    let served = Served::new(fill);
    let (start, end) = window();
    let mut search = field(8, b"{ status = error }");
    for (tag, number) in [(0x28, start), (0x30, end)] {
        search.push(tag);
        throughline_model::protobuf::put_varint(&mut search, number as u64);
    }
    let text = |messages: &[Vec<u8>]| String::from_utf8_lossy(&messages.concat()).into_owned();
    let (messages, status) = call(&served, "/tempopb.StreamingQuerier/Search", &search);
    assert_eq!(status, "0");
    assert!(text(&messages).contains(SLOW));
    for (method, request, says) in [
        ("SearchTags", Vec::new(), "db.partition"),
        ("SearchTagsV2", field(1, b"span"), "db.partition"),
        ("SearchTagValues", field(1, b"service.name"), "task-svc"),
        ("SearchTagValuesV2", field(1, b"resource.service.name"), "task-svc"),
        ("MetricsQueryRange", field(1, b"{} | rate() by(name)"), "db:query"),
        ("MetricsQueryInstant", field(1, b"{} | rate() by(name)"), "db:query"),
    ] {
        let (messages, status) = call(&served, &format!("/tempopb.StreamingQuerier/{method}"), &request);
        assert_eq!(status, "0", "{method}");
        assert!(text(&messages).contains(says), "{method}: {:?}", text(&messages));
    }
}

#[test]
fn jaegers_ui_and_grafana_find_traces() {
    let served = Served::new(fill);
    let (start, end) = (NOW / 1_000 - 600_000_000, NOW / 1_000);
    let (status, body) =
        served.get(&format!("/jaeger/api/traces/{SLOW}?start={}&end={}", NOW / 1_000_000, NOW / 1_000_000));
    assert_eq!(status, 200);
    assert_eq!((&body["total"], &body["errors"]), (&json!(0), &Value::Null));
    let trace = &body["data"][0];
    assert_eq!((&trace["traceID"], trace["spans"].as_array().map(Vec::len)), (&json!(SLOW), Some(2)));
    let child = &trace["spans"][1];
    assert_eq!(child["references"][0]["refType"], "CHILD_OF");
    assert!(child["startTime"].is_i64() && child["duration"] == 898_000 && child["warnings"].is_null());
    assert_eq!(trace["processes"]["p1"]["serviceName"], "task-svc");
    let search = |more: &str| {
        let path = format!("/jaeger/api/traces?service=task-svc&start={start}&end={end}&limit=20{more}");
        let (status, body) = served.get(&path);
        assert_eq!(status, 200, "{body}");
        body["data"].as_array().expect("traces").len()
    };
    assert_eq!(search(""), 11);
    assert_eq!(search("&tags=%7B%22error%22%3A%22true%22%7D"), 1);
    assert_eq!(search("&operation=db%3Aquery&minDuration=500ms"), 1);
    assert_eq!(search("&tag=db.partition%3Ap1&tag=span.kind%3Aserver"), 10);
    assert_eq!(search("&tag=db.partition%3Ap9"), 0);
    let (_, body) = served.get(&format!("/jaeger/api/traces?traceID={SLOW}&traceID=bad"));
    assert_eq!((body["data"].as_array().map(Vec::len), &body["errors"][0]["code"]), (Some(1), &json!(404)));
    for bad in ["", "?service=a&tags=x", "?service=a&limit=0", "?service=a&start=soon"] {
        assert_eq!(served.get_text(&format!("/jaeger/api/traces{bad}")).0, 400, "{bad}");
    }
    let (_, body) = served.get("/jaeger/api/services/task-svc/operations");
    assert_eq!((&body["data"], &body["total"]), (&json!(["GET /tasks", "db:query"]), &json!(2)));
    let (_, body) = served.get("/jaeger/api/operations?service=task-svc&spanKind=server");
    assert_eq!(body["data"][0], json!({"name": "GET /tasks", "spanKind": "server"}));
    let (status, body) =
        served.get(&format!("/jaeger/api/dependencies?endTs={}&lookback=604800000", NOW / 1_000_000));
    assert_eq!((status, &body["data"]), (200, &json!([])));
    assert_eq!(served.get("/jaeger/api/metrics/minstep").1["data"], 1);
    let (status, body) = served.get("/jaeger/api/metrics/calls?service=task-svc&groupByOperation=true");
    assert_eq!(
        (status, &body["name"], &body["type"]),
        (200, &json!("service_operation_call_rate"), &json!("GAUGE"))
    );
    assert_eq!(served.get_text("/jaeger/api/metrics/latencies?service=a").0, 400);
    let upload = telemetry::traces(NOW).to_string();
    let (status, text) = served.post_text("/jaeger/api/transform", &upload);
    let uploaded: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((status, uploaded["data"].as_array().map(Vec::len)), (200, Some(11)), "{text}");
    assert_eq!(uploaded["data"][10]["spans"], trace["spans"], "as if it had been stored");
    assert_eq!(served.post_text("/jaeger/api/transform", "no JSON").0, 400);
    for missing in ["archive/1", "deep-dependencies", "quality-metrics"] {
        assert_eq!(served.get_text(&format!("/jaeger/api/{missing}")).0, 501, "{missing}");
    }
}

#[test]
fn version_3_of_jaeger_is_served_over_http_and_grpc() {
    let served = Served::new(fill);
    let window = "query.startTimeMin=2026-09-21T14:00:00Z&query.startTimeMax=2026-09-21T15:00:00.5Z";
    assert_eq!(served.get("/jaeger/api/v3/services").1, json!({"services": ["task-svc"]}));
    let (_, body) = served.get("/jaeger/api/v3/operations?service=task-svc");
    assert_eq!(body["operations"][1], json!({"name": "db:query", "spanKind": "server"}));
    let (_, body) = served.get(&format!("/jaeger/api/v3/traces/{SLOW}"));
    let span = &body["result"]["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(
        (&span["traceId"], &span["kind"], &span["status"]["code"]),
        (&json!(SLOW), &json!(2), &json!(2))
    );
    let attributes = "query.attributes=%7B%22error%22%3A%22true%22%7D";
    let (status, body) =
        served.get(&format!("/jaeger/api/v3/traces?{window}&query.service_name=task-svc&{attributes}"));
    assert_eq!(status, 200, "{body}");
    let (_, body) =
        served.get(&format!("/jaeger/api/v3/trace-summaries?{window}&{attributes}&query.num_traces=5"));
    assert_eq!(body["summaries"].as_array().map(Vec::len), Some(1), "{body}");
    let summary = &body["summaries"][0];
    assert_eq!(
        (&summary["traceId"], &summary["spanCount"], &summary["orphanSpanCount"]),
        (&json!(SLOW), &json!(2), &json!(0))
    );
    assert_eq!(summary["services"], json!([{"name": "task-svc", "spanCount": 2, "errorSpanCount": 2}]));
    assert!(summary["minStartTimeUnixNano"].is_string());
    for (path, status) in [
        ("traces?query.serviceName=a", 400),
        (
            "traces?query.serviceName=nobody&query.startTimeMin=2026-09-21T14:00:00Z&query.startTimeMax=2026-09-21T15:00:00Z",
            404,
        ),
        ("operations", 400),
    ] {
        let (found, text) = served.get_text(&format!("/jaeger/api/v3/{path}"));
        let body: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((found, &body["error"]["httpCode"]), (status, &json!(status)), "{path}");
    }
    let grpc = |method: &str, request: &[u8]| {
        call(&served, &format!("/jaeger.api_v3.QueryService/{method}"), request)
    };
    assert_eq!(grpc("GetServices", &[]), (vec![field(1, b"task-svc")], "0".to_owned()));
    let (messages, status) = grpc("GetTrace", &field(1, SLOW.as_bytes()));
    assert_eq!(status, "0");
    assert_eq!(TracesData::decode(messages[0].as_slice()).expect("traces").resource_spans.len(), 1);
    assert_eq!(grpc("GetTrace", &field(1, b"bad")).1, "5");
    assert_eq!(grpc("GetTrace", &field(1, b"xyz")).1, "3");
    let (messages, _) = grpc("GetOperations", &field(1, b"task-svc"));
    assert!(String::from_utf8_lossy(&messages[0]).contains("GET /tasks"));
    assert_eq!(grpc("FindTraces", &field(1, &field(1, b"task-svc"))).1, "3", "times are required");
    let moment = |number: u8, seconds: i64| {
        let mut time = vec![0x08];
        throughline_model::protobuf::put_varint(&mut time, seconds as u64);
        field(number, &time)
    };
    let query = [field(1, b"task-svc"), moment(4, NOW / SECOND - 600), moment(5, NOW / SECOND)].concat();
    let (messages, status) = grpc("FindTraces", &field(1, &query));
    assert_eq!((messages.len(), status.as_str()), (11, "0"));
    let (messages, _) = grpc("FindTraceSummaries", &field(1, &query));
    assert!(String::from_utf8_lossy(&messages[0]).contains(SLOW));
    assert_eq!(
        grpc("GetDependencies", &[moment(1, 1), moment(2, 90_000)].concat()),
        (vec![vec![]], "0".to_owned())
    );
}

/// Forty traces, of which each fourth is slow, on a host of its own, and writes a log line.
fn fill_two_sets(store: &Store) {
    let start = |n: i64| NOW - 60 * SECOND + n * SECOND;
    let id = |n: i64| format!("{:032x}", n + 1);
    let span = |n: i64, slow: bool| {
        let end = start(n) + if slow { SECOND } else { 1_000 };
        json!({
            "traceId": id(n), "spanId": format!("{:016x}", n + 1), "name": "GET /",
            "startTimeUnixNano": start(n).to_string(), "endTimeUnixNano": end.to_string(),
            "attributes": [{"key": "shard", "value": {"stringValue": if slow { "s7" } else { "s1" }}},
                {"key": "id", "value": {"intValue": n}}],
            "status": {"code": if slow { 2 } else { 0 }},
        })
    };
    let resource = |host: &str| {
        let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
        json!({"attributes": [text("service.name", "shop"), text("host.name", host)]})
    };
    let spans = |slow: bool| -> Vec<Value> {
        (0..40).filter(|n| (n % 4 == 0) == slow).map(|n| span(n, slow)).collect()
    };
    let request = json!({"resourceSpans": [
        {"resource": resource("h7"), "scopeSpans": [{"spans": spans(true)}]},
        {"resource": resource("h1"), "scopeSpans": [{"spans": spans(false)}]},
    ]});
    write(store, Signal::Traces, Encoding::Json, request.to_string().into_bytes());
    let record = |n: i64| {
        let text =
            if n % 4 == 0 { format!("no reply from shard 7 for request {n}") } else { "done".to_owned() };
        json!({
            "timeUnixNano": start(n).to_string(), "severityNumber": 9, "body": {"stringValue": text},
            "traceId": id(n), "spanId": format!("{:016x}", n + 1),
        })
    };
    let records: Vec<Value> = (0..40).map(record).collect();
    let request =
        json!({"resourceLogs": [{"resource": resource("h1"), "scopeLogs": [{"logRecords": records}]}]});
    write(store, Signal::Logs, Encoding::Json, request.to_string().into_bytes());
}

#[test]
fn two_sets_of_traces_are_compared() {
    let served = Served::new(fill_two_sets);
    for question in [
        "compare?query=%7B%20status%20%3D%20error%20%7D",
        "compare?service=shop&status=error",
        "compare?min_duration=500ms&baseline=%7B%20duration%20%3C%20500ms%20%7D",
    ] {
        let (status, body) = served.ask(question);
        assert_eq!(status, 200, "{question}: {body}");
        assert_eq!(
            (&body["selection"]["traces"], &body["baseline"]["traces"]),
            (&json!(10), &json!(30)),
            "{question}"
        );
        let first = &body["differences"][0];
        assert_eq!(
            (&first["kind"], &first["key"], &first["value"]),
            (&json!("attribute"), &json!("shard"), &json!("s7"))
        );
        assert_eq!((&first["selection"], &first["baseline"]), (&json!(10), &json!(0)));
        assert!(first["confidence"].as_f64().is_some_and(|sure| sure > 0.99), "{first}");
        let of = |kind: &str| {
            let all = body["differences"].as_array().expect("differences").iter();
            all.filter(|one| one["kind"] == kind).collect::<Vec<_>>()
        };
        let (resource, log) = (of("resource"), of("log"));
        assert_eq!((resource.len(), &resource[0]["key"]), (1, &json!("host.name")), "{body}");
        assert_eq!((&resource[0]["value"], &resource[0]["baseline"]), (&json!("h7"), &json!(0)));
        assert_eq!((log.len(), &log[0]["selection"], &log[0]["baseline"]), (1, &json!(10), &json!(0)));
        assert!(
            log[0]["value"].as_str().is_some_and(|text| text.starts_with("no reply from shard")),
            "{log:?}"
        );
        assert_eq!((&log[0]["selection_total"], &log[0]["baseline_total"]), (&json!(10), &json!(30)));
    }
    let (status, body) = served
        .ask("compare?query=%7B%20name%20%3D%20%22GET%20%2F%22%20%7D&baseline_start=-2h&baseline_end=-1h");
    assert_eq!((status, &body["baseline"]["traces"], &body["differences"]), (200, &json!(0), &json!([])));
    for (question, parameter) in [
        ("compare", "query"),
        ("compare?query=%7B%7D&service=a", "query"),
        ("compare?query=%7B", "query"),
        ("compare?query=%7B%7D&baseline_start=-1h", "baseline_start"),
    ] {
        let (status, body) = served.ask(question);
        assert_eq!((status, &body["parameter"]), (400, &json!(parameter)), "{question}");
    }
}

/// A span of a trace of one byte; parent 0 is none.
fn span(trace: u8, id: u64, parent: u64, from_ms: i64, to_ms: i64) -> Span {
    let at = |ms: i64| (NOW - 60 * SECOND + ms * 1_000_000) as u64;
    Span {
        trace_id: vec![trace; 16],
        span_id: id.to_be_bytes().to_vec(),
        parent_span_id: if parent == 0 { Vec::new() } else { parent.to_be_bytes().to_vec() },
        name: format!("span {id}"),
        start_time_unix_nano: at(from_ms),
        end_time_unix_nano: at(to_ms),
        ..Span::default()
    }
}

fn request(spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    TracesData { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
        .encode_to_vec()
}

fn text(key: &str, value: String) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value)) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// All that can be asked of a trace; its spans in the native view.
fn ask_everything(served: &Served, trace: u8) -> Vec<Value> {
    ask_all_but(served, trace, &[])
}

/// Some of the paths have no place to say that they do not hold all.
fn ask_all_but(served: &Served, trace: u8, refused: &[&str]) -> Vec<Value> {
    let id = format!("{trace:02x}").repeat(16);
    let (status, view) = served.ask(&format!("traces/{id}"));
    assert_eq!(status, 200, "{id}");
    for path in [
        format!("/tempo/api/traces/{id}"),
        format!("/tempo/api/v2/traces/{id}"),
        format!("/jaeger/api/traces/{id}"),
        format!("/jaeger/api/v3/traces/{id}"),
    ] {
        for accept in ["application/json", "application/protobuf"] {
            let status = if refused.iter().any(|start| path.starts_with(start)) { 422 } else { 200 };
            assert_eq!(bytes(served, &path, accept).0, status, "{path}");
        }
    }
    let query = format!(
        "q=%7B%20trace%3Aid%20%3D%20%22{id}%22%20%7D%20%3E%3E%20%7B%7D%20%7C%20select(nestedSetLeft)"
    );
    let (start, end) = window();
    let (status, text) = served.get_text(&format!("/tempo/api/search?{query}&start={start}&end={end}"));
    assert_eq!(status, 200, "{text}");
    view["spans"].as_array().expect("spans").clone()
}

/// Traces that make no sense; `written` is called after each request.
fn fill_senseless(store: &Store, written: impl Fn(&Store)) {
    let put = |spans| {
        write(store, Signal::Traces, Encoding::Protobuf, request(spans));
        written(store);
    };
    put(vec![span(1, 7, 7, 0, 5)]);
    put(vec![span(2, 1, 3, 0, 5), span(2, 2, 1, 0, 5), span(2, 3, 2, 0, 5)]);
    let another = Span { name: "another".to_owned(), ..span(3, 2, 1, 1, 3) };
    put(vec![span(3, 1, 0, 0, 9), span(3, 2, 1, 1, 2), another.clone(), span(3, 3, 2, 1, 2)]);
    // The second has the same content, and the third has not; both are batched anew.
    put(vec![another, span(3, 2, 1, 2, 2), span(3, 4, 0, 0, 1)]);
    // The two sides of a call may share an id.
    let side = |kind| Span { kind, ..span(6, 2, 1, 1, 2) };
    put(vec![span(6, 1, 0, 0, 9), side(2), side(3)]);
    put(vec![span(4, 1, 0, 5, 0), span(4, 2, 1, 9, -9)]);
    let large = Span { attributes: vec![text("large", "x".repeat(1_000_000))], ..span(5, 1, 0, 0, 5) };
    let many = (0..1_024).map(|n| text(&format!("key {n}"), "v".to_owned())).collect();
    put(vec![large, Span { attributes: many, ..span(5, 2, 1, 0, 5) }]);
}

fn assert_senseless(served: &Served, step: &str) {
    let own_parent = ask_everything(served, 1);
    assert_eq!((own_parent.len(), &own_parent[0]["depth"]), (1, &json!(0)), "{step}");
    let circle = ask_everything(served, 2);
    assert_eq!((circle.len(), circle[0]["orphan"] == json!(true)), (3, false), "{step}");
    assert_shared_ids(served, step);
    let backwards = ask_everything(served, 4);
    assert!(backwards.iter().all(|span| span["self_time_ns"].as_i64() == Some(0)), "{step}: {backwards:?}");
    let (_, body) = served.get(&format!("/jaeger/api/traces/{}", "04".repeat(16)));
    let said = &body["data"][0]["spans"][0]["warnings"][0];
    assert!(said.as_str().is_some_and(|text| text.contains("ends")), "{step}");
    let (start, end) = window();
    let (_, body) = served.get(&format!(
        "/tempo/api/search?q=%7Btrace%3Aid%3D%22{}%22%7D&start={start}&end={end}",
        "04".repeat(16)
    ));
    assert!(body["traces"][0]["durationMs"].as_i64().is_none_or(|ms| ms >= 0), "{step}: {body}");
    let large = ask_everything(served, 5);
    assert_eq!(large[0]["attributes"]["large"].as_str().map(str::len), Some(1_000_000), "{step}");
    assert_eq!(large[1]["attributes"].as_object().map(|map| map.len()), Some(1_024), "{step}");
}

/// Of different spans with one id all are shown, and each says that it shares its id.
fn assert_shared_ids(served: &Served, step: &str) {
    let spans = ask_everything(served, 3);
    let shape: Vec<(&str, i64, bool)> = spans
        .iter()
        .map(|span| {
            let name = span["name"].as_str().unwrap_or_default();
            (name, span["depth"].as_i64().unwrap_or(-1), span["shares_id"] == json!(true))
        })
        .collect();
    // The child of the id is below the first that has it.
    let expected = [
        ("span 1", 0, false),
        ("span 2", 1, true),
        ("span 3", 2, false),
        ("another", 1, true),
        ("span 2", 1, true),
        ("span 4", 0, false),
    ];
    assert_eq!(shape, expected, "{step}");
    let id = "03".repeat(16);
    let (_, body) = served.get(&format!("/jaeger/api/traces/{id}"));
    let spans = body["data"][0]["spans"].as_array().expect("spans");
    let warned =
        |span: &&Value| span["warnings"][0].as_str().is_some_and(|said| said.contains("have this id"));
    assert_eq!((spans.len(), spans.iter().filter(warned).count()), (6, 3), "{step}");
    assert_eq!(body["data"][0]["warnings"], Value::Null, "{step}: nothing is missing");
    let (start, end) = window();
    let (_, body) = served
        .get(&format!("/tempo/api/search?q=%7Btrace%3Aid%3D%22{id}%22%7D&spss=20&start={start}&end={end}"));
    assert_eq!(body["traces"][0]["spanSets"][0]["matched"], json!(6), "{step}: {body}");
    let sides = ask_everything(served, 6);
    assert_eq!(
        (sides.len(), sides.iter().any(|span| span["shares_id"] == json!(true))),
        (3, false),
        "{step}"
    );
}

#[test]
fn traces_that_make_no_sense_are_drawn() {
    let served = Served::new(|store| fill_senseless(store, |_| ()));
    assert_senseless(&served, "in memory");
    served.flush();
    assert_senseless(&served, "in a block");
    served.merge();
    assert_senseless(&served, "in a block that was written again");
    let served = Served::new(|store| fill_senseless(store, |store| store.flush().expect("flushed")));
    assert_senseless(&served, "in blocks");
    served.merge();
    assert_senseless(&served, "in a block of several");
}

#[test]
fn what_is_over_a_limit_is_refused_with_a_reason() {
    let limits = throughline_wire::DecodeLimits::with_retention(86_400 * SECOND);
    let context = throughline_wire::DecodeContext { received_at: NOW, limits };
    let large = Span { attributes: vec![text("large", "x".repeat(2_000_000))], ..span(5, 1, 0, 0, 5) };
    let many = (0..10_000).map(|n| text(&format!("key {n}"), "v".to_owned())).collect();
    let spans = vec![large, Span { attributes: many, ..span(5, 2, 1, 0, 5) }, span(5, 3, 1, 0, 5)];
    let decoded = throughline_wire::decode(Signal::Traces, Encoding::Protobuf, &request(spans), &context);
    let decoded = decoded.expect("decodes");
    assert_eq!(decoded.batch.items(), 1);
    let rejected = &decoded.rejected[0];
    assert_eq!((rejected.reason.name(), rejected.count), ("too_large", 2));
    assert!(rejected.message.contains("spans[0]: attributes has 2000"), "{}", rejected.message);
}

#[test]
fn a_trace_of_a_hundred_thousand_spans_is_answered() {
    const SPANS: u64 = 100_000;
    let served = Served::new(|store| {
        let line = (1..=SPANS).map(|id| span(1, id, id - 1, 0, 5_000)).collect();
        write(store, Signal::Traces, Encoding::Protobuf, request(line));
        let fan = (1..=SPANS + 7).map(|id| span(2, id, u64::from(id > 1), id as i64 / 100, 5_000)).collect();
        write(store, Signal::Traces, Encoding::Protobuf, request(fan));
    });
    assert_hundred_thousand(&served, SPANS);
    served.flush();
    assert_hundred_thousand(&served, SPANS);
    served.merge();
    assert_hundred_thousand(&served, SPANS);
}

fn assert_hundred_thousand(served: &Served, spans: u64) {
    let line = ask_everything(served, 1);
    assert_eq!((line.len() as u64, &line[line.len() - 1]["depth"]), (spans, &json!(spans - 1)));
    let fan = ask_all_but(served, 2, &["/tempo/api/traces", "/jaeger/api/v3"]);
    assert_eq!(fan.len() as u64, spans, "the limit of one answer");
    let (_, body, _) =
        bytes(served, &format!("/tempo/api/v2/traces/{}", "02".repeat(16)), "application/json");
    let tail = String::from_utf8_lossy(&body[body.len() - 120..]).into_owned();
    assert!(tail.contains("\"status\":\"PARTIAL\"") && tail.contains("7 spans over the limit"), "{tail}");
    let (_, body, _) = bytes(served, &format!("/tempo/api/traces/{}", "02".repeat(16)), "application/json");
    let said = String::from_utf8_lossy(&body).into_owned();
    assert!(said.contains("100007 spans") && said.contains("/api/v2/traces"), "{said}");
    let (_, body) = served.get(&format!("/jaeger/api/traces/{}", "02".repeat(16)));
    let trace = &body["data"][0];
    assert_eq!(trace["warnings"], trace["spans"][0]["warnings"]);
    assert_eq!(trace["warnings"], json!(["7 spans over the limit of 100000 are left out"]));
    let request = field(1, "02".repeat(16).as_bytes());
    let (_, status) = call(served, "/jaeger.api_v3.QueryService/GetTrace", &request);
    assert_eq!(status, "3", "refused, as there is no place to say that it is cut");
}

#[test]
fn an_incomplete_answer_says_so_over_grpc() {
    let served = Served::new(|store| {
        let spans = (1..=10_050).map(|id| {
            let attributes = vec![text("user", format!("u{id}"))];
            Span { attributes, ..span((id / 100) as u8 + 1, id, 0, 0, 5) }
        });
        write(store, Signal::Traces, Encoding::Protobuf, request(spans.collect()));
    });
    let mut request = field(1, b"{} | compare({ name = `span 1` })");
    for (tag, ns) in [(0x10, NOW - 600 * SECOND), (0x18, NOW)] {
        request.push(tag);
        throughline_model::protobuf::put_varint(&mut request, ns as u64);
    }
    let (messages, status, trailers) =
        call_with_trailers(&served, "/tempopb.StreamingQuerier/MetricsQueryRange", &request);
    assert_eq!(status, "0");
    let said = "compare() told 10000 values of span.user apart";
    assert!(String::from_utf8_lossy(&messages.concat()).contains(said), "in the message");
    let trailer = trailers.get("x-throughline-partial").and_then(|value| value.to_str().ok());
    assert!(trailer.is_some_and(|trailer| trailer.contains(said)), "{trailer:?}");
    let mut request = field(1, b"span.user");
    request.extend([0x30, 5]);
    let (_, status, trailers) =
        call_with_trailers(&served, "/tempopb.StreamingQuerier/SearchTagValuesV2", &request);
    assert_eq!((status.as_str(), trailers.contains_key("x-throughline-partial")), ("0", true));
}

#[test]
fn a_trace_says_who_links_to_it_and_a_search_by_id_what_became_of_it() {
    let served = Served::new(|store| {
        let link = opentelemetry_proto::tonic::trace::v1::span::Link {
            trace_id: vec![1; 16],
            span_id: 1u64.to_be_bytes().to_vec(),
            ..Default::default()
        };
        let worker = Span { links: vec![link], name: "work".to_owned(), ..span(2, 9, 0, 10, 20) };
        write(store, Signal::Traces, Encoding::Protobuf, request(vec![span(1, 1, 0, 0, 5), worker]));
        let line = json!({
            "timeUnixNano": (NOW - SECOND).to_string(), "body": {"stringValue": "a line"},
            "traceId": "03".repeat(16), "spanId": "0000000000000003",
        });
        let logs = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [line]}]}]});
        write(store, Signal::Logs, Encoding::Json, logs.to_string().into_bytes());
    });
    let (_, view) = served.ask(&format!("traces/{}", "01".repeat(16)));
    let by = &view["referred_by"][0];
    assert_eq!((&by["trace_id"], &by["name"]), (&json!("02".repeat(16)), &json!("work")));
    assert_eq!(by["to_span_id"], json!("0000000000000001"));
    let (start, end) = window();
    let linking = format!("q=%7Blink%3AtraceID%3D%22{}%22%7D&start={start}&end={end}", "01".repeat(16));
    let (_, body) = served.get(&format!("/tempo/api/search?{linking}"));
    assert_eq!(body["traces"][0]["rootTraceName"], json!("work"), "{body}");
    // A log record refers to this trace, and its spans have not come.
    let missing = "03".repeat(16);
    let by_id = format!("q=%7Btrace%3Aid%3D%22{missing}%22%7D&start={start}&end={end}");
    let (status, body, headers) = bytes(&served, &format!("/tempo/api/search?{by_id}"), "application/json");
    let said =
        headers.iter().find(|(name, _)| name == "x-throughline-partial").map(|(_, said)| said.as_str());
    let json: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((status, &json["traces"]), (200, &json!([])));
    assert!(said.is_some_and(|said| said.contains(&missing)), "{said:?}");
    assert_eq!(json["metrics"]["totalJobs"], json!(2), "one is not done");
}
