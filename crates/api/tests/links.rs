//! What became of a trace, by every API that answers a trace by its id.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use throughline_model::Signal;
use throughline_sampling::policy::{Kind, Policy};
use throughline_store::engine::Engine;
use throughline_store::{ManualClock, Parts, Sampling, SimDisk, Write};
use throughline_wire::{Compression, DecodeContext, Encoding};

use crate::served::{NOW, Served, config, write};
use crate::traces::{bytes, call_with_trailers, field};

const SECOND: i64 = 1_000_000_000;

/// Traces by what becomes of them, each by the byte that its id is made of.
const RESOLVED: u8 = 1;
const EXPIRED: u8 = 2;
const DROPPED: u8 = 3;
const PENDING: u8 = 4;
const UNSAMPLED: u8 = 5;
const NEVER_RECEIVED: u8 = 6;

fn id(trace: u8) -> String {
    format!("{trace:02x}").repeat(16)
}

/// A span that links to other traces.
fn span(trace: u8, start: i64, links: &[u8]) -> Value {
    let links = links.iter().map(|of| json!({"traceId": id(*of), "spanId": format!("{of:016x}")}));
    let span = json!({
        "traceId": id(trace), "spanId": format!("{trace:016x}"), "name": "GET /",
        "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + 1_000_000).to_string(),
        "links": links.collect::<Vec<Value>>(),
    });
    json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
}

fn log(trace: u8, time: i64, flags: u32) -> Vec<u8> {
    let record = json!({
        "timeUnixNano": time.to_string(), "body": {"stringValue": "a line"}, "traceId": id(trace),
        "spanId": format!("{trace:016x}"), "flags": flags,
    });
    json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).to_string().into_bytes()
}

/// A disk whose store has lost one trace to retention and one to sampling.
fn aged() -> SimDisk {
    let (disk, clock) = (SimDisk::new(1), Arc::new(ManualClock::at(NOW - 26 * 3_600 * SECOND)));
    // What no policy keeps is dropped.
    let errors = Policy { name: "errors".to_owned(), kind: Kind::StatusCode { status_codes: vec![2] } };
    let sampling = Sampling::new(vec![errors], Duration::from_secs(300)).expect("policies");
    let parts = Parts { sampling: Some(sampling), ..Parts::default() };
    let mut config = config();
    config.compaction.fan_in = 2;
    let engine =
        Engine::open_with(config.clone(), Arc::new(disk.clone()), clock.clone(), parts).expect("opened");
    let put = |trace: u8| {
        let received_at = throughline_store::Clock::now(&*clock);
        let body = span(trace, received_at - SECOND, &[]).to_string().into_bytes();
        let context = DecodeContext { received_at, limits: config.limits };
        let decoded = throughline_wire::decode(Signal::Traces, Encoding::Json, &body, &context);
        let write = Write {
            signal: Signal::Traces,
            encoding: Encoding::Json,
            compression: Compression::Identity,
            body: Bytes::from(body),
            received_at,
            content_hash: u128::from(trace),
            batch: decoded.expect("decoded").batch,
            rejected: Vec::new(),
        };
        engine.submit(write, Box::new(|done| assert!(done.is_ok(), "{done:?}")));
        engine.commit_once();
        while engine.flush_once().expect("a flush") {}
    };
    put(EXPIRED);
    clock.advance(Duration::from_secs(25 * 3_600));
    assert_eq!(engine.retain_once().expect("retention"), 1);
    put(DROPPED);
    clock.advance(Duration::from_secs(600));
    while engine.compact_once().expect("a merge") {}
    engine.close().expect("closed");
    disk
}

fn served() -> Served {
    let fill = |store: &throughline_store::Store| {
        let all = [EXPIRED, DROPPED, PENDING, UNSAMPLED, NEVER_RECEIVED, RESOLVED];
        let body = span(RESOLVED, NOW - 3 * 3_600 * SECOND, &all).to_string().into_bytes();
        write(store, Signal::Traces, Encoding::Json, body);
        write(store, Signal::Logs, Encoding::Json, log(PENDING, NOW - SECOND, 0));
        // A flag that is not the one of sampling shows that flags are meant.
        write(store, Signal::Logs, Encoding::Json, log(UNSAMPLED, NOW - 3_600 * SECOND, 2));
    };
    Served::over(aged(), fill, Arc::new(throughline_api::states::NoStates))
}

#[test]
fn every_api_says_what_became_of_a_trace() {
    let served = served();
    for (trace, state, says) in [
        (RESOLVED, "resolved", ""),
        (EXPIRED, "expired", "has passed its retention"),
        (DROPPED, "dropped", "was dropped by the sampling policy no-policy"),
        (PENDING, "pending", "is not here yet"),
        (UNSAMPLED, "unsampled", "was not recorded"),
        (NEVER_RECEIVED, "never_received", "was ever received"),
    ] {
        let (id, found) = (id(trace), trace == RESOLVED);
        for path in
            ["/tempo/api/traces", "/tempo/api/v2/traces", "/jaeger/api/traces", "/jaeger/api/v3/traces"]
        {
            for accept in ["application/json", "application/protobuf"] {
                let (status, body, headers) = bytes(&served, &format!("{path}/{id}"), accept);
                let headers: HashMap<String, String> = headers.into_iter().collect();
                let link = headers.get("x-throughline-link").map(String::as_str);
                assert_eq!((status, link), (if found { 200 } else { 404 }, Some(state)), "{path} {accept}");
                let body = String::from_utf8_lossy(&body);
                assert!(found || body.contains(says), "{path} {accept}: {body}");
            }
        }
        let (messages, status, trailers) =
            call_with_trailers(&served, "/jaeger.api_v3.QueryService/GetTrace", &field(1, id.as_bytes()));
        if found {
            assert_eq!((messages.len(), status.as_str()), (1, "0"));
        } else {
            let text =
                |name: &str| trailers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            assert_eq!((status.as_str(), text("x-throughline-link")), ("5", state));
            assert!(text("grpc-message").replace("%20", " ").contains(says), "{:?}", text("grpc-message"));
        }
        let (status, view) = served.ask(&format!("traces/{id}"));
        // The native view has log records of a trace that is not here.
        let is_cited = found || [PENDING, UNSAMPLED].contains(&trace);
        assert_eq!(
            (status, &view["link"]["state"]),
            (if is_cited { 200 } else { 404 }, &json!(state)),
            "{view}"
        );
    }
}

#[test]
fn what_a_span_links_to_is_told_where_the_format_has_a_place() {
    let served = served();
    let (_, body) = served.get(&format!("/jaeger/api/traces/{}", id(RESOLVED)));
    let trace = &body["data"][0];
    let warnings = trace["spans"][0]["warnings"].as_array().expect("warnings");
    let says = |trace: u8, what: &str| {
        let text = format!("the span links to trace {}, which is not here: {what}", id(trace));
        assert!(warnings.contains(&json!(text)), "{text}: {warnings:?}");
    };
    says(EXPIRED, "expired");
    says(DROPPED, "dropped by the sampling policy no-policy");
    says(PENDING, "not here yet");
    says(UNSAMPLED, "not sampled by its sender");
    says(NEVER_RECEIVED, "never received");
    assert_eq!((warnings.len(), &trace["warnings"]), (5, &Value::Null), "a link within the trace resolves");
    let (_, body) = served.get(&format!("/jaeger/api/traces?traceID={}", id(RESOLVED)));
    assert_eq!(body["data"][0]["spans"][0]["warnings"].as_array().map(Vec::len), Some(5));
    let lost = [
        (EXPIRED, "expired"),
        (DROPPED, "dropped"),
        (PENDING, "pending"),
        (UNSAMPLED, "unsampled"),
        (NEVER_RECEIVED, "never_received"),
    ];
    let lost = lost.map(|(trace, state)| format!("{} {state}", id(trace))).join(", ");
    for path in ["/tempo/api/traces", "/tempo/api/v2/traces", "/jaeger/api/v3/traces"] {
        let (_, _, headers) = bytes(&served, &format!("{path}/{}", id(RESOLVED)), "application/protobuf");
        let said = headers.iter().find(|(name, _)| name == "x-throughline-unresolved");
        assert_eq!(said.map(|(_, value)| value.as_str()), Some(lost.as_str()), "{path}");
    }
}

#[test]
fn only_so_many_linked_traces_are_looked_up() {
    let served = Served::new(|store| {
        let links: Vec<u8> = (100..130).collect();
        let body = span(RESOLVED, NOW - 60 * SECOND, &links).to_string().into_bytes();
        write(store, Signal::Traces, Encoding::Json, body);
    });
    let (_, body) = served.get(&format!("/jaeger/api/traces/{}", id(RESOLVED)));
    let warnings = body["data"][0]["spans"][0]["warnings"].as_array().expect("warnings");
    let said = "10 links of the span were not checked: only 20 linked traces are looked up";
    assert_eq!((warnings.len(), warnings.last()), (21, Some(&json!(said))));
}
