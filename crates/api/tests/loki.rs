//! Loki's API over what was pushed and over what came by OTLP, from memory and from a block: shapes, labels, refusals.

use serde_json::{Value, json};
use throughline_model::Signal;
use throughline_store::Store;
use throughline_wire::Encoding;

use crate::served::{NOW, Served, write};
use crate::telemetry;

const SECOND: i64 = 1_000_000_000;

/// Two streams that were pushed, and one of OTLP.
fn fill(store: &Store) {
    let at = |ago: i64| (NOW - ago * SECOND).to_string();
    let pushed = json!({"streams": [
        {"stream": {"app": "cart", "zone": "a"}, "values": [
            [at(30), "level=info msg=\"added item 7\" took=12ms"],
            [at(20), "level=error msg=\"added item 8\" took=5ms", {"user.id": "u1"}],
            [at(10), "level=info msg=\"added item 9\" took=9ms"],
        ]},
        {"stream": {"app": "shop"}, "values": [[at(15), "{\"status\":200,\"path\":\"/a\"}"]]},
    ]});
    write(store, Signal::Logs, Encoding::LokiJson, pushed.to_string().into_bytes());
    write(store, Signal::Logs, Encoding::Json, telemetry::logs(NOW).to_string().into_bytes());
}

/// The same from memory and from a block.
fn both(check: impl Fn(&Served)) {
    check(&Served::new(fill));
    check(&Served::new(|store| {
        fill(store);
        store.flush().expect("written");
    }));
}

fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

fn path(endpoint: &str, parameters: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    format!("/loki/api/v1/{endpoint}?{}", pairs.join("&"))
}

fn ask(served: &Served, endpoint: &str, parameters: &[(&str, &str)]) -> Value {
    let (status, body) = served.get(&path(endpoint, parameters));
    assert_eq!(status, 200, "{endpoint} {parameters:?}: {body}");
    body
}

fn lines(body: &Value) -> Vec<String> {
    let streams = body["data"]["result"].as_array().into_iter().flatten();
    let values = streams.flat_map(|stream| stream["values"].as_array().into_iter().flatten());
    values.map(|value| value[1].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn lines_are_found_and_ordered() {
    both(|served| {
        let query = |query: &str, more: &[(&str, &str)]| {
            lines(&ask(served, "query_range", &[&[("query", query)], more].concat()))
        };
        assert_eq!(query(r#"{app="cart"} |= "added""#, &[]).len(), 3);
        assert_eq!(query(r#"{app="cart"} |= "item 8""#, &[]).len(), 1);
        assert_eq!(query(r#"{app="cart"} !~ "item [78]""#, &[]).len(), 1);
        assert_eq!(query(r#"{service_name=~"cart|shop"}"#, &[]).len(), 4);
        assert_eq!(query(r#"{app="cart"} | detected_level="error""#, &[]).len(), 1);
        assert_eq!(query(r#"{app="cart"} | user_id="u1""#, &[]).len(), 1);
        assert_eq!(query(r#"{app="shop"} | json | status="200""#, &[]).len(), 1);
        assert_eq!(query(r#"{app="cart"} | logfmt | took > 10ms"#, &[]).len(), 1);
        assert_eq!(query(r#"{app="nobody"}"#, &[]).len(), 0);
        let last = query(r#"{app="cart"}"#, &[("limit", "1")]);
        assert!(last.len() == 1 && last[0].contains("item 9"), "{last:?}");
        let first = query(r#"{app="cart"}"#, &[("limit", "1"), ("direction", "FORWARD")]);
        assert!(first.len() == 1 && first[0].contains("item 7"), "{first:?}");
        let end = (NOW - 10 * SECOND).to_string();
        assert_eq!(
            query(r#"{app="cart"}"#, &[("end", &end)]).len(),
            2,
            "the end does not belong to the window"
        );
    });
}

#[test]
fn records_of_otlp_are_streams_with_metadata() {
    both(|served| {
        let query = r#"{service_name="task-svc"} |= "throttled""#;
        let body = ask(served, "query_range", &[("query", query)]);
        let stream = &body["data"]["result"][0]["stream"];
        assert_eq!(stream["service_name"], "task-svc", "{body}");
        assert_eq!(stream["trace_id"], telemetry::SLOW_TRACE);
        assert_eq!(stream["span_id"], "000000000000c0d2");
        assert_eq!((&stream["detected_level"], &stream["severity_number"]), (&json!("warn"), &json!("13")));
        assert_eq!((&stream["k"], &stream["scope_name"]), (&json!("v"), &Value::Null));
        let by_trace = format!(r#"{{service_name=~".+"}} | trace_id="{}""#, telemetry::SLOW_TRACE);
        assert_eq!(lines(&ask(served, "query_range", &[("query", &by_trace)])).len(), 2);
        // What Grafana asks from a span.
        let id = telemetry::SLOW_TRACE;
        let from_span = format!(
            r#"{{service_name="task-svc"}} | label_format log_line_contains_trace_id=`{{{{ contains "{id}" __line__  }}}}` | log_line_contains_trace_id="true" or trace_id="{id}""#
        );
        assert_eq!(lines(&ask(served, "query_range", &[("query", &from_span)])).len(), 2);
    });
}

/// What an answer warns of.
fn warnings(body: &Value) -> Vec<&str> {
    body["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn lines_whose_traces_are_not_here_are_counted_by_state() {
    let query = [("query", r#"{service_name=~"task-svc|cart|shop"}"#)];
    // Two lines of one trace of which nothing came.
    both(|served| {
        let body = ask(served, "query_range", &query);
        let never = format!(
            "2 of 6 lines refer to a trace that is not here: 2 never received (e.g. {})",
            telemetry::SLOW_TRACE
        );
        assert_eq!(warnings(&body), [never], "{body}");
        // What counts lines looks at no trace.
        let count = [("query", r#"sum(count_over_time({service_name="task-svc"}[5m]))"#)];
        assert!(ask(served, "query", &count).get("warnings").is_none());
        assert!(ask(served, "query_range", &count).get("warnings").is_none());
    });
    // A pushed line names its trace in metadata, in a label or in its text; and one is no trace id.
    let served = Served::new(|store| {
        fill(store);
        write(store, Signal::Traces, Encoding::Json, telemetry::traces(NOW).to_string().into_bytes());
        let at = |ago: i64| (NOW - ago * SECOND).to_string();
        let (one, two, three) = ("1".repeat(32), "2".repeat(32), "3".repeat(32));
        let pushed = json!({"streams": [
            {"stream": {"app": "cart"}, "values": [
                [at(60), "in metadata", {"traceID": one}],
                [at(61), format!("level=info traceID={two} msg=\"in the line\"")],
                [at(1), "not here yet", {"trace_id": three}],
                [at(62), "no id", {"trace_id": "<no value>"}],
            ]},
            {"stream": {"app": "cart", "trace_id": one}, "values": [[at(63), "in a label"]]},
        ]});
        write(store, Signal::Logs, Encoding::LokiJson, pushed.to_string().into_bytes());
    });
    let body = ask(&served, "query_range", &query);
    let said = format!(
        "5 of 11 lines refer to a trace that is not here: 3 never received (e.g. {}), 1 no trace id (e.g. <no value>), \
         1 not here yet (e.g. {})",
        "2".repeat(32),
        "3".repeat(32)
    );
    assert_eq!(warnings(&body), [said], "{body}");
    // Those that are here are no matter.
    let resolved = ask(&served, "query_range", &[("query", r#"{service_name="task-svc"}"#)]);
    assert_eq!((lines(&resolved).len(), resolved.get("warnings")), (2, None), "{resolved}");
}

#[test]
fn lines_whose_traces_were_dropped_say_by_whom() {
    let delay = std::time::Duration::from_secs(300);
    let served = Served::sampled(delay, |store, clock| {
        let put = |signal, request: Value| {
            write(store, signal, Encoding::Json, request.to_string().into_bytes());
        };
        put(Signal::Traces, telemetry::traces(NOW));
        put(Signal::Logs, telemetry::logs(NOW));
        store.flush().expect("written");
        clock.advance(delay + std::time::Duration::from_secs(120));
        store.compact().expect("compacted");
    });
    let body = ask(&served, "query_range", &[("query", r#"{service_name="task-svc"}"#)]);
    let dropped = format!(
        "2 of 2 lines refer to a trace that is not here: 2 dropped by the sampling policy no-policy (e.g. {})",
        telemetry::SLOW_TRACE
    );
    assert_eq!(warnings(&body), [dropped], "{body}");
}

#[test]
fn categorised_labels_come_in_threes() {
    let served = Served::new(fill);
    let query = [("query", r#"{app="cart"} | logfmt"#)];
    let flags = [("x-loki-response-encoding-flags", "categorize-labels")];
    let (_, text) = served.get_with(&path("query_range", &query), &flags);
    let body: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(body["data"]["encodingFlags"], json!(["categorize-labels"]));
    assert!(text.find("encodingFlags") < text.find("\"result\""), "{text}");
    let [stream] = &body["data"]["result"].as_array().expect("a list")[..] else {
        panic!("one stream: {body}")
    };
    assert_eq!(stream["stream"], json!({"app": "cart", "service_name": "cart", "zone": "a"}));
    let values = stream["values"].as_array().expect("a list");
    assert!(values.iter().all(|value| value.as_array().is_some_and(|parts| parts.len() == 3)), "{body}");
    assert_eq!(values[1][2]["structuredMetadata"], json!({"detected_level": "error", "user_id": "u1"}));
    assert_eq!(values[1][2]["parsed"]["took"], "5ms");
    assert!(body["data"]["stats"]["summary"]["totalLinesProcessed"].as_u64() > Some(0), "{body}");
    let plain = ask(&served, "query_range", &query);
    assert!(plain["data"].get("encodingFlags").is_none());
    assert_eq!(plain["data"]["result"][0]["values"][0].as_array().map(Vec::len), Some(2));
}

#[test]
fn lines_are_counted() {
    both(|served| {
        let vector = |query: &str| {
            let body = ask(served, "query", &[("query", query)]);
            assert_eq!(body["data"]["resultType"], "vector", "{body}");
            body["data"]["result"].clone()
        };
        let count = vector(r#"sum(count_over_time({app="cart"}[1m]))"#);
        assert_eq!(count[0]["value"][1], "3", "{count}");
        let by_level = vector(r#"sum by (detected_level) (count_over_time({service_name=~".+"}[5m]))"#);
        let levels: Vec<(String, String)> = by_level
            .as_array()
            .into_iter()
            .flatten()
            .map(|sample| {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                (text(&sample["metric"]["detected_level"]), text(&sample["value"][1]))
            })
            .collect();
        for expected in [("info", "3"), ("error", "1"), ("warn", "1"), ("unknown", "1")] {
            let expected = (expected.0.to_owned(), expected.1.to_owned());
            assert!(levels.contains(&expected), "{expected:?} of {levels:?}");
        }
        let needle = vector(r#"sum(count_over_time({service_name=~".+"} |= "item 8" [5m]))"#);
        assert_eq!(needle[0]["value"][1], "1");
        let bytes = vector(r#"sum(bytes_over_time({app="shop"}[1m]))"#);
        assert_eq!(bytes[0]["value"][1], "26");
        let health = ask(served, "query", &[("query", "vector(1)+vector(1)"), ("time", "4000000000")]);
        assert_eq!(health["data"]["result"][0]["value"], json!([4_000_000_000_u64, "2"]));
        let matrix = ask(served, "query_range", &[("query", r#"rate({app="cart"}[1m])"#), ("step", "10")]);
        assert_eq!(matrix["data"]["resultType"], "matrix");
        // Points lie at whole steps, the first before the start and the last behind the end.
        let ones = [("query", "vector(1)"), ("start", "11"), ("end", "25"), ("step", "10")];
        let ones = ask(served, "query_range", &ones)["data"]["result"][0]["values"].clone();
        assert_eq!(ones, json!([[10, "1"], [20, "1"], [30, "1"]]));
    });
}

#[test]
fn labels_streams_and_volumes_are_listed() {
    both(|served| {
        let all = json!(["app", "service_name", "zone"]);
        assert_eq!(ask(served, "labels", &[])["data"], all);
        assert_eq!(ask(served, "label", &[])["data"], all);
        let values = |name: &str, more: &[(&str, &str)]| {
            ask(served, &format!("label/{name}/values"), more)["data"].clone()
        };
        assert_eq!(values("service_name", &[]), json!(["cart", "shop", "task-svc"]));
        assert_eq!(values("app", &[("query", r#"{zone="a"}"#)]), json!(["cart"]));
        assert_eq!(values("__stream_shard__", &[]), json!([]));
        assert_eq!(values("app", &[("end", "1000")]), json!([]));
        let cart = json!({"app": "cart", "service_name": "cart", "zone": "a"});
        assert_eq!(ask(served, "series", &[("match", r#"{app="cart"}"#)])["data"], json!([cart]));
        assert_eq!(ask(served, "series", &[("match[]", "{}")])["data"].as_array().map(Vec::len), Some(3));
        let stats = ask(served, "index/stats", &[("query", r#"{app="shop"}"#)]);
        assert_eq!(stats, json!({"streams": 1, "chunks": 1, "bytes": 26, "entries": 1}));
        let volume = ask(served, "index/volume", &[("query", r#"{service_name=~".+"}"#), ("limit", "5000")]);
        let result = &volume["data"]["result"];
        assert_eq!(result[0]["metric"], json!({"service_name": "cart"}), "{volume}");
        assert_eq!(result.as_array().map(Vec::len), Some(3));
        let by_label = [("query", r#"{app="cart"}"#), ("aggregateBy", "labels"), ("targetLabels", "zone")];
        assert_eq!(
            ask(served, "index/volume", &by_label)["data"]["result"][0]["metric"],
            json!({"zone": ""})
        );
        // Streams that lack a label that is asked for do not count, and all streams may be asked for.
        let targets = [("query", r#"{service_name=~".+"}"#), ("targetLabels", "app,zone")];
        let targets = ask(served, "index/volume", &targets)["data"]["result"].clone();
        assert!(
            targets.as_array().is_some_and(|all| all.iter().all(|one| one["metric"]["zone"].is_string())),
            "{targets}"
        );
        let all = ask(served, "index/volume", &[("query", "{}")])["data"]["result"].clone();
        assert!(all[0]["metric"]["service_name"].is_string(), "{all}");
        let range = ask(served, "index/volume_range", &[("query", r#"{app="cart"}"#), ("step", "10s")]);
        let values = range["data"]["result"][0]["values"].as_array().expect("values");
        assert_eq!(values.len(), 3, "{range}");
        // A sum stands at the end of its step.
        assert_eq!(values[0][0].as_f64().map(|at| (at * 1e3) as i64 % 10_000), Some(9_999), "{range}");
        let detected = ask(served, "detected_labels", &[]);
        assert!(
            detected["detectedLabels"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|label| label == &json!({"label": "service_name", "cardinality": 3}))
        );
    });
}

#[test]
fn fields_and_patterns_are_detected() {
    both(|served| {
        let fields = ask(served, "detected_fields", &[("query", r#"{app="shop"}"#)]);
        assert_eq!(fields["limit"], 1000);
        let of = |name: &str| {
            let all = fields["fields"].as_array().into_iter().flatten();
            all.clone().find(|field| field["label"] == name).cloned().unwrap_or_default()
        };
        let status = json!({"label": "status", "type": "int", "cardinality": 1, "parsers": ["json"], "jsonPath": ["status"]});
        assert_eq!(of("status"), status);
        assert_eq!(of("detected_level")["parsers"], Value::Null);
        let values = ask(served, "detected_field/took/values", &[("query", r#"{app="cart"}"#)]);
        assert_eq!(values["values"], json!(["12ms", "5ms", "9ms"]));
        let patterns = ask(served, "patterns", &[("query", r#"{app="cart"}"#), ("step", "60s")]);
        let list = patterns["data"].as_array().expect("a list");
        assert!(
            list.iter().any(|pattern| pattern["pattern"].as_str().is_some_and(|text| text.contains("<_>"))),
            "{patterns}"
        );
        let counted = list.iter().flat_map(|pattern| pattern["samples"].as_array().into_iter().flatten());
        assert_eq!(counted.map(|sample| sample[1].as_u64().unwrap_or_default()).sum::<u64>(), 3);
    });
}

#[test]
fn refusals_are_plain_text() {
    let served = Served::new(fill);
    for (endpoint, parameters, says) in [
        ("query_range", vec![("query", "{app=")], "parse error"),
        ("query_range", vec![], "query is empty"),
        ("query_range", vec![("query", r#"{app="a"}"#), ("limit", "0")], "limit must be a positive value"),
        (
            "query_range",
            vec![("query", r#"{app="a"}"#), ("start", "9"), ("end", "8")],
            "end timestamp must not be before",
        ),
        ("query_range", vec![("query", r#"{app="a"}"#), ("direction", "up")], "invalid direction"),
        ("query_range", vec![("query", r#"rate({app="a"}[1m])"#), ("step", "0")], "zero or negative"),
        ("query", vec![("query", r#"{app="a"}"#)], "log queries are not supported as an instant query type"),
        ("index/volume", vec![("query", r#"{app="a"}"#), ("aggregateBy", "x")], "aggregateBy"),
        ("index/stats", vec![("query", r#"{app="a"} |= "x""#)], "only label matchers are supported"),
        ("labels", vec![("query", r#"{app=~".*"}"#)], "queries require at least one"),
        (
            "query",
            vec![("query", r#"vector(1) + on () count_over_time({service_name=~".+"}[5m])"#)],
            "found duplicate series on the right",
        ),
        ("tail", vec![("query", r#"{app="a"}"#), ("delay_for", "6")], "delay_for can't be greater than 5"),
    ] {
        let (status, text) = served.get_text(&path(endpoint, &parameters));
        assert_eq!(status, 400, "{endpoint} {parameters:?}: {text}");
        assert!(text.contains(says) && !text.starts_with('{'), "{text}");
    }
}

#[test]
fn the_server_says_what_it_is() {
    let served = Served::new(fill);
    assert_eq!(served.get_text("/ready"), (200, "ready\n".to_owned()));
    assert_eq!(served.get_text("/loki/ready").0, 200);
    assert_eq!(ask(&served, "status/buildinfo", &[])["version"], "3.8.0");
    assert_eq!(ask(&served, "drilldown-limits", &[])["pattern_ingester_enabled"], true);
    let formatted = ask(&served, "format_query", &[("query", r#"{app="a"}|="b""#)]);
    assert_eq!(formatted, json!({"status": "success", "data": "{app=\"a\"} |= \"b\""}));
    let (status, body) = served.get(&path("format_query", &[("query", "{")]));
    assert_eq!((status, &body["status"]), (400, &json!("invalid-query")));
    let (status, body) = served.get("/loki/loki/api/v1/labels");
    assert_eq!((status, &body["status"]), (200, &json!("success")));
}

#[test]
fn new_lines_are_followed() {
    let served = Served::new(fill);
    let url = format!(
        "{}{}",
        served.base.replace("http", "ws"),
        path("tail", &[("query", r#"{app="cart"}"#), ("limit", "2")])
    );
    let (mut socket, _) = tungstenite::connect(&url).expect("upgraded");
    let mut next = || loop {
        if let tungstenite::Message::Text(text) = socket.read().expect("a message") {
            return serde_json::from_str::<Value>(&text).expect("JSON");
        }
    };
    let values = |body: &Value| {
        let streams = body["streams"].as_array().expect("a list").iter();
        streams
            .flat_map(|stream| stream["values"].as_array().expect("a list").clone())
            .collect::<Vec<Value>>()
    };
    let first = next();
    assert_eq!(values(&first).len(), 2, "{first}");
    let time = (NOW - SECOND).to_string();
    let more = json!({"streams": [{"stream": {"app": "cart"}, "values": [[time, "new"]]}]});
    write(&served.store, Signal::Logs, Encoding::LokiJson, more.to_string().into_bytes());
    let second = next();
    assert_eq!(values(&second), [json!([time, "new"])], "{second}");
}

#[test]
fn lines_are_not_deleted_one_by_one() {
    let served = Served::new(fill);
    let (status, text) = served.get_text("/loki/api/v1/delete?query=%7Bapp%3D%22cart%22%7D");
    assert_eq!(status, 403, "{text}");
    assert!(text.contains("throughline.retention.age"), "{text}");
}

/// The native API asks for pushed lines as for others: by a level that only their text says, and by pattern.
#[test]
fn pushed_lines_are_found_by_level_and_pattern() {
    both(|served| {
        let window = "service=cart&start=-10m&end=now";
        let logs = |filter: &str| served.ask(&format!("logs?{window}&{filter}")).1["logs"].clone();
        let errors = logs("severity=error");
        let bodies: Vec<&Value> = errors.as_array().expect("a list").iter().map(|log| &log["body"]).collect();
        assert_eq!(bodies, [&json!("level=error msg=\"added item 8\" took=5ms")]);
        let found = served.ask(&format!("patterns?{window}")).1["patterns"].clone();
        assert!(!found.as_array().expect("a list").is_empty());
        for pattern in found.as_array().expect("a list") {
            let id = pattern["id"].as_str().expect("an id");
            let of_pattern = logs(&format!("pattern={id}"));
            let of_pattern = of_pattern.as_array().expect("a list");
            assert_eq!(json!(of_pattern.len()), pattern["count"], "{pattern}");
            assert!(of_pattern.iter().all(|log| log["pattern_id"] == pattern["id"]));
        }
        assert_eq!(logs("pattern=0000000000000001"), json!([]));
        assert_eq!(served.ask("logs?pattern=x").0, 400);
    });
}
