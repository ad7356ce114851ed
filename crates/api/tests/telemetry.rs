//! A minute of telemetry with a spike at its end, small enough to read: OTLP/JSON requests.

use serde_json::{Value, json};

/// The slowest trace.
pub const SLOW_TRACE: &str = "0000000000000000000000000000c0de";

const SECOND: i64 = 1_000_000_000;

fn attribute(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn resource(service: &str) -> Value {
    json!({"attributes": [attribute("service.name", service)]})
}

/// When the telemetry starts, if it is asked for at `now`.
fn start(now: i64) -> i64 {
    now - 100 * SECOND
}

/// Ten quick traces and one slow one, each a request with a query below it.
pub fn traces(now: i64) -> Value {
    let mut spans = Vec::new();
    for n in 0..11i64 {
        let slow = n == 10;
        let trace = if slow { SLOW_TRACE.to_owned() } else { format!("{:032x}", n + 1) };
        let (root, query) = if slow { (0xc0d1, 0xc0d2) } else { (n * 2 + 1, n * 2 + 2) };
        let (start, ms) = (start(now) + n * 5 * SECOND, if slow { 900 } else { 9 });
        let span = |id: i64, parent: Option<i64>, name: &str, from_ms: i64, to_ms: i64, partition: &str| {
            json!({
                "traceId": trace,
                "spanId": format!("{id:016x}"),
                "parentSpanId": parent.map_or(String::new(), |id| format!("{id:016x}")),
                "name": name,
                "kind": 2,
                "startTimeUnixNano": (start + from_ms * 1_000_000).to_string(),
                "endTimeUnixNano": (start + to_ms * 1_000_000).to_string(),
                "attributes": [attribute("db.partition", partition)],
                "events": [{"timeUnixNano": start.to_string(), "name": "began", "attributes": [attribute("a", "b")]}],
                "links": [{"traceId": format!("{:032x}", 1), "spanId": format!("{:016x}", 1)}],
                "status": {"code": if slow { 2 } else { 0 }, "message": if slow { "too slow" } else { "" }},
            })
        };
        let partition = if slow { "p7" } else { "p1" };
        spans.push(span(root, None, "GET /tasks", 0, ms, partition));
        spans.push(span(query, Some(root), "db:query", 1, ms - 1, partition));
    }
    json!({"resourceSpans": [{"resource": resource("task-svc"), "scopeSpans": [{"scope": {"name": "t"}, "spans": spans}]}]})
}

/// Two log records of the slow trace.
pub fn logs(now: i64) -> Value {
    let record = |span: i64, severity: u8, body: &str| {
        json!({
            "timeUnixNano": (start(now) + 51 * SECOND).to_string(),
            "severityNumber": severity,
            "body": {"stringValue": body},
            "traceId": SLOW_TRACE,
            "spanId": format!("{span:016x}"),
            "attributes": [attribute("k", "v")],
        })
    };
    let records = [record(0xc0d1, 9, "got a request"), record(0xc0d2, 13, "throttled, RetryAttempts=3")];
    json!({"resourceLogs": [{"resource": resource("task-svc"), "scopeLogs": [{"logRecords": records}]}]})
}

/// Eleven delta points of a latency histogram, the last one slow and with an exemplar; and a gauge.
pub fn metrics(now: i64) -> Value {
    let points: Vec<Value> = (0..11i64)
        .map(|n| {
            let end = start(now) + n * 5 * SECOND + 2 * SECOND;
            let slow = n == 10;
            let exemplar = json!({
                "timeUnixNano": end.to_string(),
                "asDouble": 900.0,
                "traceId": SLOW_TRACE,
                "spanId": "000000000000c0d1",
            });
            json!({
                "startTimeUnixNano": (end - 5 * SECOND).to_string(),
                "timeUnixNano": end.to_string(),
                "count": "20",
                "sum": 100.0,
                "explicitBounds": [10.0, 100.0, 1000.0],
                "bucketCounts": if slow { ["15", "0", "5", "0"] } else { ["20", "0", "0", "0"] },
                "exemplars": if slow { vec![exemplar] } else { Vec::new() },
                "attributes": [attribute("route", "/tasks")],
            })
        })
        .collect();
    let metrics = json!([
        {"name": "request.duration", "unit": "ms", "histogram": {"aggregationTemporality": 1, "dataPoints": points}},
        {"name": "queue.length", "unit": "1", "gauge": {"dataPoints": [{"timeUnixNano": start(now).to_string(), "asInt": "3"}]}},
    ]);
    json!({"resourceMetrics": [{"resource": resource("task-svc"), "scopeMetrics": [{"metrics": metrics}]}]})
}
