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
