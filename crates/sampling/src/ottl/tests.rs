//! Conditions against one span and one event.

use serde_json::json;
use throughline_model::{SpanId, TraceId};

use super::*;

fn span() -> Span {
    serde_json::from_value(json!({
        "trace_id": TraceId::from_low(7).expect("not zero"),
        "span_id": SpanId::parse("00000000000000aa").expect("an id"),
        "parent_span_id": null,
        "trace_state": "ot=th:8, vendor=x",
        "flags": 1,
        "name": "GET /cart",
        "kind": 2,
        "start_time": 1_000,
        "duration_ns": 500,
        "status_code": 2,
        "status_message": "went wrong",
        "service": "web",
        "resource": {"service.name": "web", "tier": 1},
        "scope": {"name": "lib", "version": "1.2"},
        "attributes": {"http.status": 503, "ratio": 0.5, "ok": false, "text": "abc", "list": [1]},
        "events": [{"name": "exception", "time": 1_100, "attributes": {"exception.type": "E"}}],
    }))
    .expect("a span")
}

fn check(text: &str, context: Context) -> bool {
    let condition = Condition::parse(text, context).unwrap_or_else(|error| panic!("{text}: {error}"));
    let span = span();
    condition.is_true(&span, span.events.first().filter(|_| context == Context::SpanEvent))
}

#[test]
fn what_is_true_of_the_span() {
    let conditions = [
        r#"name == "GET /cart""#,
        r#"span.name != "GET""#,
        r#"attributes["http.status"] >= 500 and attributes["http.status"] < 600"#,
        r#"attributes["http.status"] > 502.5"#,
        r#"attributes["nothing"] == nil"#,
        r#"not (attributes["ok"] == true)"#,
        r#"resource.attributes["tier"] + 1 == 2"#,
        r#"(resource.attributes["tier"] + 1) * 2 == 4"#,
        "end_time_unix_nano - start_time_unix_nano == 500",
        "status.code == STATUS_CODE_ERROR or false",
        r#"status.message == "went wrong""#,
        r#"kind == SPAN_KIND_SERVER and kind.string == "Server""#,
        r#"IsMatch(name, "^GET /c.*") and IsRootSpan()"#,
        r#"IsMatch(attributes["http.status"], "5..")"#,
        r#"HasPrefix(name, "GET") and not HasSuffix(name, "x")"#,
        r#"IsInt(attributes["http.status"]) and IsDouble(attributes["ratio"]) and IsBool(attributes["ok"])"#,
        r#"IsString(attributes["text"]) and not IsString(attributes["ratio"])"#,
        r#"trace_state["ot"] == "th:8""#,
        r#"instrumentation_scope.name == "lib" and instrumentation_scope.version == "1.2""#,
        r#"span_id.string == "00000000000000aa""#,
        r#"((((name == "GET /cart"))))"#,
        "-1 < 0 and 7 / 2 == 3",
        r#""a\"b" == "a\"b""#,
    ];
    for text in conditions {
        assert!(check(text, Context::Span), "{text}");
    }
}

#[test]
fn what_is_not() {
    let conditions = [
        r#"attributes["http.status"] == "503""#,
        r#"attributes["text"] > 1"#,
        r#"attributes["text"] <= 1"#,
        r#"attributes["list"] == nil"#,
        r#"attributes["http.status"] / 0 == 1"#,
        r#"name == "GET /cart" and false"#,
        r#"IsMatch(attributes["nothing"], ".*")"#,
    ];
    for text in conditions {
        assert!(!check(text, Context::Span), "{text}");
    }
}

#[test]
fn events_and_their_span() {
    let conditions = [
        r#"name == "exception""#,
        r#"spanevent.attributes["exception.type"] == "E" and span.name == "GET /cart""#,
        r#"resource.attributes["service.name"] == "web" and time_unix_nano == 1100"#,
    ];
    for text in conditions {
        assert!(check(text, Context::SpanEvent), "{text}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_where_it_stands() {
    let deep = "(".repeat(40) + "true" + &")".repeat(40);
    let cases = [
        ("", 1, "expected a value"),
        ("name", 5, "expected a comparison"),
        (r#"name == "x" and"#, 16, "expected a value"),
        (r#"name = "x""#, 6, "unexpected"),
        (r#"name == "x" name"#, 13, "the end of the condition"),
        (r#"Concat(["a"], "") == "a""#, 1, "the function Concat is not supported"),
        (r#"attributes == nil"#, 1, "the path attributes is not supported"),
        (r#"dropped_links_count == 0"#, 1, "the path dropped_links_count is not supported"),
        (r#"IsMatch(name, "(")"#, 15, "is no pattern"),
        (r#"name == "x"#, 9, "has no end"),
        ("(name == nil) == true", 15, "a condition stands where a value"),
        (&deep, 33, "nested more than"),
    ];
    for (text, at, message) in cases {
        let error = Condition::parse(text, Context::Span).expect_err(text);
        assert!(error.message.contains(message), "{text}: {error}");
        assert_eq!(error.at, at, "{text}: {error}");
    }
}

#[test]
fn what_it_looks_at_is_known() {
    let text =
        r#"attributes["a"] == 1 or not IsMatch(resource.attributes["b"], "x") or attributes["a"] + 1 == 2"#;
    let condition = Condition::parse(text, Context::Span).expect("a condition");
    assert_eq!(condition.attributes().collect::<Vec<_>>(), ["a", "b", "a"]);
}
