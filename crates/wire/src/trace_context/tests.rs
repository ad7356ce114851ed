//! Trace context in the forms that loggers write.

use super::*;

const TRACE: &str = "ffc8ca7e4c8f06c75142c880d5595d96";
const SPAN: &str = "439bc949a9eeb0cc";

/// A body, the source, the trace id (empty: none) and the span id (empty: none).
fn check(body: &str, source: TraceSource, trace: &str, span: &str) {
    let found = Finder::new().in_body(body).unwrap_or_default();
    let trace_id = found.trace_id.map(|id| id.to_string()).unwrap_or_default();
    let span_id = found.span_id.map(|id| id.to_string()).unwrap_or_default();
    assert_eq!((found.source, trace_id.as_str(), span_id.as_str()), (source, trace, span), "{body}");
}

#[test]
fn free_text_names_its_trace() {
    use TraceSource::Text;
    let line = "16:42:22.382 INFO t.s.TravelServiceImpl#532 TraceID: ffc8ca7e4c8f06c75142c880d5595d96 SpanID: 439bc949a9eeb0cc [x]";
    check(line, Text, TRACE, SPAN);
    check(&format!("trace_id={TRACE} span_id={SPAN} done"), Text, TRACE, SPAN);
    check(&format!("done traceId: \"{TRACE}\", spanId: \"{SPAN}\""), Text, TRACE, SPAN);
    check(&format!("spanId={SPAN} traceId={TRACE}"), Text, TRACE, SPAN);
    check(&format!("TRACE_ID={}", TRACE.to_uppercase()), Text, TRACE, "");
    check(&format!("request{{trace_id={TRACE} span_id={SPAN}}}: finished"), Text, TRACE, SPAN);
    check(&format!("got traceparent: 00-{TRACE}-{SPAN}-01 from peer"), Text, TRACE, SPAN);
    check(
        "X-Amzn-Trace-Id: Root=1-ffc8ca7e-4c8f06c75142c880d5595d96;Parent=439bc949a9eeb0cc;Sampled=1 x",
        Text,
        TRACE,
        SPAN,
    );
    check(&format!("see projects/p-1/traces/{TRACE} there"), Text, TRACE, "");
    check(
        "[dd.service=a dd.trace_id=11803532876627986230 dd.span_id=67667974448284343] hi",
        Text,
        "0000000000000000a3ce929d0e0e4736",
        "00f067aa0ba902b7",
    );
    check("tracing trace traced trace_id=5142c880d5595d96 end", Text, "00000000000000005142c880d5595d96", "");
    check("traceId=/8jKfkyPBsdRQsiA1VldlA== end", Text, "ffc8ca7e4c8f06c75142c880d5595d94", "");
}

#[test]
fn text_without_an_id_names_none() {
    let none = TraceSource::None;
    for body in [
        "",
        "race",
        "trace",
        "trace_id",
        "trace_id=",
        "trace_id=null and more text",
        "stack trace id: 5",
        "traceId: 00000000000000000000000000000000",
        "the traceidentifier ffc8ca7e4c8f06c75142c880d5595d96",
        "traceparent: 00-xx",
        "X-Amzn-Trace-Id: Root=1-zz",
        "{\"trace_id\":null}",
        "{\"trace_id\":{\"a\":[1]}}",
        "{\"trace_id\":",
        "tracé_id=ffc8ca7e4c8f06c75142c880d5595d96é",
    ] {
        check(body, none, "", "");
    }
}

#[test]
fn structured_bodies_name_their_trace() {
    use TraceSource::Body;
    check(&format!(r#"{{"msg":"x","trace_id":"{TRACE}","span_id":"{SPAN}"}}"#), Body, TRACE, SPAN);
    check(&format!(r#"{{"trace.id":"{TRACE}","span.id":"{SPAN}"}}"#), Body, TRACE, SPAN);
    check(&format!(r#"{{"trace":{{"id":"{TRACE}"}},"span":{{"id":"{SPAN}"}}}}"#), Body, TRACE, SPAN);
    check(
        &format!(r#"{{"fields":{{"message":"m"}},"span":{{"name":"s","trace_id":"{TRACE}"}}}}"#),
        Body,
        TRACE,
        "",
    );
    check(
        &format!(r#"{{"spans":[{{"name":"s"}},{{"trace_id":"{TRACE}","span_id":"{SPAN}"}}]}}"#),
        Body,
        TRACE,
        SPAN,
    );
    check(&format!(r#"{{"logging.googleapis.com/trace":"projects/p/traces/{TRACE}"}}"#), Body, TRACE, "");
    check(r#"{"dd":{"trace_id":11803532876627986230}}"#, Body, "0000000000000000a3ce929d0e0e4736", "");
    check(&format!(r#"{{"traceparent":"00-{TRACE}-{SPAN}-01"}}"#), Body, TRACE, SPAN);
    check(&format!(r#"{{"message":"failed, trace_id={TRACE}"}}"#), TraceSource::Text, TRACE, "");
    check(&format!(r#"{{"trace_id":"{TRACE}", cut o"#), Body, TRACE, "");
    let deep = format!("{}\"trace_id\"", "{\"fields\":".repeat(100_000));
    check(&deep, TraceSource::None, "", "");
}

#[test]
fn attributes_name_their_trace() {
    let keys = [
        "trace_id",
        "traceId",
        "TraceId",
        "trace.id",
        "dd.trace_id",
        "otelTraceID",
        "logging.googleapis.com/trace",
    ];
    for key in keys {
        let mut list = Vec::new();
        attribute::push(&mut list, "thread.id", Value::Int(7));
        attribute::push(&mut list, key, Value::Str(TRACE));
        attribute::push(&mut list, "span_id", Value::Str(SPAN));
        let found = from_attributes(&list).expect(key);
        assert_eq!(found.trace_id.map(|id| id.to_string()).as_deref(), Some(TRACE), "{key}");
        assert_eq!((found.source, found.original.as_ref()), (TraceSource::Attribute, ""), "{key}");
        assert!(may_be_role(key.as_bytes()), "{key}");
    }
    let mut list = Vec::new();
    attribute::push(&mut list, "request_id", Value::Str(TRACE));
    assert_eq!(from_attributes(&list), None);
    attribute::push(&mut list, "trace_id", Value::Str("not an id"));
    let found = from_attributes(&list).expect("a reference that cannot be read");
    assert_eq!((found.trace_id, found.original.as_ref()), (None, "not an id"));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table, one entry a logger")]
fn every_logger_of_the_table_is_read() {
    use TraceSource::{Body, Text};
    let nested = |outer: &str| format!(r#"{{"{outer}":{{"trace_id":"{TRACE}","span_id":"{SPAN}"}}}}"#);
    for outer in ["fields", "mdc", "contextMap", "Properties", "extra", "dd", "otel", "attributes"] {
        check(&nested(outer), Body, TRACE, SPAN);
    }
    let table: [(String, TraceSource, &str, &str); 26] = [
        // Serilog's compact events have no "trace" in them.
        (
            format!(r#"{{"@t":"2026-11-30T00:00:00Z","@m":"hi","@tr":"{TRACE}","@sp":"{SPAN}"}}"#),
            Body,
            TRACE,
            SPAN,
        ),
        // .NET's console and its scopes.
        (
            format!(r#"{{"TraceId":"{TRACE}","SpanId":"{SPAN}","ParentId":"0000000000000001"}}"#),
            Body,
            TRACE,
            SPAN,
        ),
        (
            format!(
                r#"{{"Scopes":[{{"Message":"SpanId:{SPAN}, TraceId:{TRACE}","SpanId":"{SPAN}","TraceId":"{TRACE}"}}]}}"#
            ),
            Body,
            TRACE,
            SPAN,
        ),
        // ECS with a transaction in place of a span, nested and dotted.
        (format!(r#"{{"trace":{{"id":"{TRACE}"}},"transaction":{{"id":"{SPAN}"}}}}"#), Body, TRACE, SPAN),
        (format!(r#"{{"trace.id":"{TRACE}","transaction.id":"{SPAN}"}}"#), Body, TRACE, SPAN),
        (format!(r#"{{"trace.id":"{TRACE}","transaction.id":"order-7"}}"#), Body, TRACE, ""),
        // Datadog: decimal, decimal with the upper half, hex of 128 bits.
        (
            r#"{"dd.trace_id":"11803532876627986230","dd.span_id":"67667974448284343"}"#.to_owned(),
            Body,
            "0000000000000000a3ce929d0e0e4736",
            "00f067aa0ba902b7",
        ),
        (
            r#"{"dd.trace_id":"11803532876627986230","_dd.p.tid":"4bf92f3577b34da6"}"#.to_owned(),
            Body,
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "",
        ),
        (
            format!(r#"{{"dd":{{"trace_id":"{TRACE}","span_id":"67667974448284343"}}}}"#),
            Body,
            TRACE,
            "00f067aa0ba902b7",
        ),
        // Google.
        (
            format!(
                r#"{{"logging.googleapis.com/trace":"projects/p/traces/{TRACE}","logging.googleapis.com/spanId":"{SPAN}"}}"#
            ),
            Body,
            TRACE,
            SPAN,
        ),
        // Python, its text and its JSON.
        (
            format!(r#"{{"otelTraceID":"{TRACE}","otelSpanID":"{SPAN}","otelTraceSampled":true}}"#),
            Body,
            TRACE,
            SPAN,
        ),
        (
            format!("INFO [app] [a.py:3] [trace_id={TRACE} span_id={SPAN} trace_sampled=True] - hi"),
            Text,
            TRACE,
            SPAN,
        ),
        (format!(r#"{{"record":{{"extra":{{"otelTraceID":"{TRACE}"}}}}}}"#), Body, TRACE, ""),
        // Java.
        (format!("INFO [orders,{TRACE},{SPAN}] 1 --- [main] c.e.Shop : hi"), Text, TRACE, SPAN),
        (format!("INFO [orders,{TRACE},{SPAN},true] 1 --- [main] c.e.Shop : hi"), Text, TRACE, SPAN),
        (format!("INFO [,{TRACE},{SPAN}] hi"), Text, TRACE, SPAN),
        (format!("INFO [{TRACE}-{SPAN}] hi"), Text, TRACE, SPAN),
        (format!("INFO [orders,{TRACE}-{SPAN}] hi"), Text, TRACE, SPAN),
        (
            "INFO [orders,5142c880d5595d96,439bc949a9eeb0cc,false] old Sleuth".to_owned(),
            Text,
            "00000000000000005142c880d5595d96",
            SPAN,
        ),
        // Headers.
        (format!("uber-trace-id: {TRACE}:{SPAN}:0:1"), Text, TRACE, SPAN),
        (format!("X-Cloud-Trace-Context: {TRACE}/1;o=1"), Text, TRACE, "0000000000000001"),
        (format!("X-B3-TraceId: {TRACE}, X-B3-SpanId: {SPAN}"), Text, TRACE, SPAN),
        (format!("in 00-{TRACE}-{SPAN}-01, out"), Text, TRACE, SPAN),
        // Lambda.
        (
            "REPORT RequestId: 3f1c XRAY TraceId: 1-ffc8ca7e-4c8f06c75142c880d5595d96 Sampled: true"
                .to_owned(),
            Text,
            TRACE,
            "",
        ),
        (format!("level=info trace={TRACE} span={SPAN} msg=hi"), Text, TRACE, SPAN),
        (format!("{{\"trace\": \"{TRACE}\", \"cut"), Body, TRACE, ""),
    ];
    for (body, source, trace, span) in &table {
        check(body, *source, trace, span);
    }
}

#[test]
fn other_hex_is_no_trace() {
    for body in [
        "commit ffc8ca7e4c8f06c75142c880d5595d96",
        "commit 4bf92f3577b34da6a3ce929d0e0e47364bf92f35 (HEAD)",
        "trace_id=4bf92f3577b34da6a3ce929d0e0e47364bf92f35 is a git hash",
        "request_id=ffc8ca7e-4c8f-06c7-5142-c880d5595d96 done",
        "[ffc8ca7e-4c8f-06c7-5142-c880d5595d96] started",
        "[orders,ffc8ca7e-4c8f-06c7-5142-c880d5595d96,x] started",
        "[exec-1,main,INFO,x,y] [a,b,c] [5142c880d5595d96-439bc949a9eeb0cc] etag",
        "[ffc8ca7e4c8f06c75142c880d5595d96] etag",
        "[,,] [,,,] []",
        "etag=\"ffc8ca7e4c8f06c75142c880d5595d96\"",
        "stacktrace=ffc8ca7e4c8f06c75142c880d5595d96",
        "trace=on trace: enabled backtrace:",
        "00-ffc8ca7e4c8f06c75142c880d5595d96-439bc949a9eeb0cc-0",
        "1100-ffc8ca7e4c8f06c75142c880d5595d96-439bc949a9eeb0cc-01",
        "x-request-id: ffc8ca7e4c8f06c75142c880d5595d96 brace identity",
        r#"{"request_id":"ffc8ca7e4c8f06c75142c880d5595d96","b3":"not one"}"#,
        r#"{"id":"ffc8ca7e4c8f06c75142c880d5595d96","span":{"id":"439bc949a9eeb0cc"}}"#,
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    ] {
        check(body, TraceSource::None, "", "");
    }
}

#[test]
fn unsampled_traces_are_known() {
    let unsampled = |body: &str| {
        let found = Finder::new().in_body(body).expect(body);
        (found.is_unsampled(0, false), found.is_unsampled(1, false), found.is_unsampled(0x100, false))
    };
    for body in [
        format!("traceparent=00-{TRACE}-{SPAN}-00"),
        format!("[orders,{TRACE},{SPAN},false] hi"),
        format!("trace_id={TRACE} span_id={SPAN} trace_flags=00"),
        format!("[trace_id={TRACE} span_id={SPAN} trace_sampled=False]"),
        format!("X-Cloud-Trace-Context: {TRACE}/1;o=0"),
        format!(r#"{{"otelTraceID":"{TRACE}","otelTraceSampled":false}}"#),
        format!(r#"{{"otelTraceID":"{TRACE}","otelTraceSampled":"False"}}"#),
        format!(r#"{{"trace_id":"{TRACE}","trace_flags":"00"}}"#),
        format!(r#"{{"TraceId":"{TRACE}","TraceFlags":"None"}}"#),
        format!(
            r#"{{"logging.googleapis.com/trace":"{TRACE}","logging.googleapis.com/trace_sampled":false}}"#
        ),
        format!(r#"{{"dd.trace_id":"{TRACE}","_sampling_priority_v1":-1}}"#),
        "X-Amzn-Trace-Id: Root=1-ffc8ca7e-4c8f06c75142c880d5595d96;Sampled=0".to_owned(),
    ] {
        assert_eq!(unsampled(&body), (true, false, true), "{body}");
    }
    for body in [
        format!("traceparent=00-{TRACE}-{SPAN}-01"),
        format!("trace_id={TRACE}"),
        format!("trace_id={TRACE} trace_flags=01"),
        format!(r#"{{"otelTraceID":"{TRACE}","otelTraceSampled":true}}"#),
        format!(r#"{{"dd.trace_id":"{TRACE}","dd.sampling_priority":"2"}}"#),
        "X-Amzn-Trace-Id: Root=1-ffc8ca7e-4c8f06c75142c880d5595d96;Sampled=?".to_owned(),
    ] {
        assert_eq!(unsampled(&body), (false, false, true), "{body}");
    }
    let mut list = Vec::new();
    attribute::push(&mut list, "otelTraceSampled", Value::Bool(false));
    assert_eq!(from_attributes(&list), None);
    attribute::push(&mut list, "otelTraceID", Value::Str(TRACE));
    assert!(from_attributes(&list).expect("found").is_unsampled(0, false));
    let field = from_fields(&[7; 16], &[]).expect("found");
    assert!(!field.is_unsampled(0, false) && field.is_unsampled(2, false));
    assert!(!TraceContext::default().is_unsampled(2, false));
    // An SDK knows of flags; those of a context in an attribute are not what it fills in.
    assert!(field.is_unsampled(0, true) && !field.is_unsampled(1, true));
    assert!(!TraceContext::default().is_unsampled(0, true));
    let attribute = TraceContext { source: TraceSource::Attribute, ..field };
    assert!(!attribute.is_unsampled(0, true));
}

#[test]
fn headers_among_attributes_name_their_trace() {
    for (key, value) in [
        ("b3", format!("{TRACE}-{SPAN}-0-05e3ac9a4f6e3b90")),
        ("uber-trace-id", format!("{TRACE}:{SPAN}:0:0")),
        ("x-cloud-trace-context", format!("{TRACE}/{};o=0", 0x439b_c949_a9ee_b0cc_u64)),
        ("traceparent", format!("00-{TRACE}-{SPAN}-00")),
        ("@tr", TRACE.to_owned()),
    ] {
        let mut list = Vec::new();
        attribute::push(&mut list, key, Value::Str(&value));
        attribute::push(&mut list, "@sp", Value::Str(SPAN));
        assert!(may_be_role(key.as_bytes()), "{key}");
        let found = from_attributes(&list).expect(key);
        assert_eq!(found.trace_id.map(|id| id.to_string()).as_deref(), Some(TRACE), "{key}");
        assert_eq!(found.span_id.map(|id| id.to_string()).as_deref(), Some(SPAN), "{key}");
        assert_eq!(found.is_unsampled(0, false), key != "@tr", "{key}");
    }
}

#[test]
fn flags_come_with_a_traceparent() {
    let found = Finder::new()
        .in_body("traceparent=00-ffc8ca7e4c8f06c75142c880d5595d96-439bc949a9eeb0cc-00")
        .expect("found");
    assert_eq!(found.flags, Some(0));
    assert_eq!(found.original, "00-ffc8ca7e4c8f06c75142c880d5595d96-439bc949a9eeb0cc-00");
}

#[test]
fn fields_are_read_in_any_form() {
    let hex16 = from_fields(&[0xff, 0xc8, 0xca, 0x7e, 0x4c, 0x8f, 0x06, 0xc7], &[]).expect("legacy");
    assert_eq!(hex16.original, "ffc8ca7e4c8f06c7");
    assert!(hex16.trace_id.is_some());
    let text = from_fields(TRACE.as_bytes(), SPAN.as_bytes()).expect("text in place of bytes");
    assert_eq!(text.trace_id.map(|id| id.to_string()).as_deref(), Some(TRACE));
    assert_eq!(text.span_id.map(|id| id.to_string()).as_deref(), Some(SPAN));
    let malformed = from_fields(&[1, 2, 0xff], &[]).expect("malformed");
    assert_eq!((malformed.trace_id, malformed.original.as_ref()), (None, "0102ff"));
    assert_eq!(from_fields(&[0; 16], &[1; 8]), None);
    assert_eq!(from_fields(&[], &[]), None);
}
