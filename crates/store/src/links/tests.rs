//! The ledger says the same of references in memory, in a block, across blocks and after a merge.

use std::path::Path;
use std::sync::Arc;

use throughline_model::Signal;
use throughline_model::protobuf::{put_bytes, put_fixed64};
use throughline_wire::{DecodeContext, DecodeLimits, Encoding};

use super::*;
use crate::block::{Block, BlockMeta};
use crate::compact::{self, Choice};
use crate::disk::SimDisk;
use crate::flush::{BlockOptions, write_blocks};
use crate::memtable::Memtable;
use crate::snapshot::Snapshot;

#[path = "../../tests/requests.rs"]
mod requests;

use requests::{attribute, body, gauge, text, trace};

const NOW: i64 = 1_795_182_000_000_000_000;
const SECOND: i64 = 1_000_000_000;
const OLD: i64 = NOW - 600 * SECOND;

fn span(of: u64, id: u64, links: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, &trace(of).0);
    put_bytes(&mut out, 2, &id.to_be_bytes());
    put_bytes(&mut out, 5, b"operation");
    put_fixed64(&mut out, 7, OLD as u64);
    put_fixed64(&mut out, 8, OLD as u64 + 500);
    for link in links {
        let mut message = Vec::new();
        put_bytes(&mut message, 1, &trace(*link).0);
        put_bytes(&mut message, 2, &1u64.to_be_bytes());
        put_bytes(&mut out, 13, &message);
    }
    out
}

/// A log record of a trace and a span; its flags say whether it was sampled where they are not 0.
fn log(time: i64, of: &[u8], id: u64, flags: u32) -> Vec<u8> {
    let mut out = Vec::new();
    put_fixed64(&mut out, 1, time as u64);
    put_bytes(&mut out, 5, &text("a line"));
    // Fixed32, which the writer of messages has no function for.
    out.extend_from_slice(&[8 << 3 | 5]);
    out.extend_from_slice(&flags.to_le_bytes());
    put_bytes(&mut out, 9, of);
    put_bytes(&mut out, 10, &id.to_be_bytes());
    out
}

/// An alert, with a label that names a trace.
fn alert(of: &str) -> Vec<u8> {
    gauge("ALERTS", OLD, &[attribute("trace_id", of)], &[])
}

fn insert(memtable: &Memtable, signal: Signal, service: &str, items: &[Vec<u8>]) {
    let context = DecodeContext { received_at: NOW, limits: DecodeLimits::with_retention(86_400 * SECOND) };
    let body = body(service, items);
    let decoded = throughline_wire::decode(signal, Encoding::Protobuf, &body, &context).expect("decoded");
    assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
    memtable.insert(decoded.batch, NOW);
}

/// Spans of traces 1 and 2, of which the second links to the first and to one that is nowhere.
fn spans() -> Arc<Memtable> {
    let memtable = Memtable::new();
    insert(&memtable, Signal::Traces, "web", &[span(1, 11, &[]), span(1, 12, &[])]);
    insert(&memtable, Signal::Traces, "queue", &[span(2, 21, &[1, 99])]);
    Arc::new(memtable)
}

/// What refers to them, and to what is not there.
fn references() -> Arc<Memtable> {
    let memtable = Memtable::new();
    let (recent, sampled, unsampled) = (NOW - SECOND, 1, 2);
    let logs = [
        log(OLD, &trace(1).0, 11, sampled),
        log(OLD, &trace(1).0, 12, sampled),
        // A span that is not there, of a trace that is.
        log(OLD, &trace(1).0, 13, sampled),
        log(OLD, &trace(3).0, 31, sampled),
        log(recent, &trace(4).0, 41, sampled),
        log(OLD, &trace(5).0, 51, unsampled),
        log(OLD, b"short", 61, sampled),
    ];
    insert(&memtable, Signal::Logs, "web", &logs);
    insert(&memtable, Signal::Logs, "queue", &[log(OLD, &trace(2).0, 21, sampled)]);
    let exemplars: [(i64, &[u8]); 3] = [(OLD, &trace(2).0), (OLD, &trace(6).0), (OLD, b"bad")];
    insert(&memtable, Signal::Metrics, "web", &[gauge("test.gauge", OLD, &[], &exemplars)]);
    insert(&memtable, Signal::Metrics, "rules", &[alert(&trace(1).to_string()), alert("x")]);
    // What rules write of an alert that begins to fire.
    let cites: [(i64, &[u8]); 2] = [(OLD, &trace(2).0), (OLD, &trace(7).0)];
    insert(
        &memtable,
        Signal::Metrics,
        "rules",
        &[gauge("ALERTS", OLD, &[attribute("alertname", "Slow")], &cites)],
    );
    Arc::new(memtable)
}

fn write(disk: &SimDisk, memtable: &Memtable, id: u64) -> BlockMeta {
    let options = BlockOptions { partition_ns: 1_000_000 * 3_600 * SECOND };
    let metas = write_blocks(disk, Path::new("data"), memtable, &mut { id }, &options).expect("blocks");
    assert_eq!(metas.len(), 1);
    metas.into_iter().next().expect("one")
}

fn open(disk: &SimDisk, meta: &BlockMeta) -> Arc<Block> {
    Arc::new(Block::open(disk, Path::new("data"), meta.clone()).expect("a block"))
}

fn snapshot(memtables: &[&Arc<Memtable>], blocks: &[Arc<Block>]) -> Snapshot {
    let views = memtables.iter().map(|memtable| memtable.view()).collect();
    Snapshot::new(views, Arc::new(blocks.to_vec()), Arc::default(), NOW)
}

fn merged(disk: &SimDisk, blocks: &[Arc<Block>], id: u64) -> Arc<Block> {
    let choice = Choice { inputs: blocks.iter().map(|block| block.meta().id).collect(), level: 1 };
    let metas = compact::merge(disk, Path::new("data"), blocks, &choice, &mut { id }).expect("merged");
    open(disk, &metas[0])
}

fn everything() -> LinkQuery {
    LinkQuery { range: TimeRange::ALL, service: None, examples: EXAMPLES_MAX }
}

/// `service kind state cause count`, a line each.
fn lines(report: &LinkReport) -> Vec<String> {
    assert_eq!(report.partial, Vec::<String>::new());
    let line = |of: &LinkCount| {
        let cause = of.cause.as_deref().map_or_else(String::new, |cause| format!(" ({cause})"));
        format!("{} {} {}{cause} {}", of.service, of.kind.name(), of.state, of.count)
    };
    report.counts.iter().map(line).collect()
}

const EXPECTED: [&str; 18] = [
    "queue log_trace resolved 1",
    "queue log_span resolved 1",
    "queue span_link_trace never_received 1",
    "queue span_link_trace resolved 1",
    "rules alert_trace malformed (1 characters, not all hex digits) 1",
    "rules alert_trace never_received 1",
    "rules alert_trace resolved 2",
    "web log_trace malformed (10 hex digits) 1",
    "web log_trace never_received 1",
    "web log_trace pending 1",
    "web log_trace resolved 3",
    "web log_trace unsampled 1",
    "web log_span never_received 2",
    "web log_span pending 1",
    "web log_span resolved 2",
    "web log_span unsampled 1",
    "web exemplar_trace malformed (6 hex digits) 1",
    "web exemplar_trace never_received 1",
];

#[test]
fn references_have_the_same_states_wherever_they_lie() {
    let disk = SimDisk::new(1);
    let (spans, references) = (spans(), references());
    let mut expected: Vec<String> = EXPECTED.iter().map(|line| (*line).to_owned()).collect();
    expected.push("web exemplar_trace resolved 1".to_owned());
    let blocks = [open(&disk, &write(&disk, &spans, 1)), open(&disk, &write(&disk, &references, 2))];
    let one = merged(&disk, &blocks, 3);
    let ways = [
        ("in memory", snapshot(&[&spans, &references], &[])),
        ("spans in a block", snapshot(&[&references], &blocks[..1])),
        ("references in a block", snapshot(&[&spans], &blocks[1..])),
        ("in two blocks", snapshot(&[], &blocks)),
        ("in one block", snapshot(&[], &[one])),
    ];
    for (how, snapshot) in ways {
        assert_eq!(lines(&snapshot.links(&everything()).expect("a report")), expected, "{how}");
    }
}

#[test]
fn a_service_and_a_time_are_counted_alone() {
    let disk = SimDisk::new(1);
    let (spans, references) = (spans(), references());
    let block = open(&disk, &write(&disk, &references, 1));
    for snapshot in [snapshot(&[&spans, &references], &[]), snapshot(&[&spans], &[block])] {
        let of_queue = LinkQuery { service: Some("queue".to_owned()), ..everything() };
        let report = snapshot.links(&of_queue).expect("a report");
        assert!(report.counts.iter().all(|of| of.service == "queue"), "{:?}", report.counts);
        assert_eq!(report.count(LinkKind::LogTrace, "resolved"), 1);
        let of_recent = TimeRange { start: NOW - 120 * SECOND, end: NOW };
        let report = snapshot.links(&LinkQuery { range: of_recent, ..everything() }).expect("a report");
        let logs: u64 =
            report.counts.iter().filter(|of| of.kind == LinkKind::LogTrace).map(|of| of.count).sum();
        assert_eq!(logs, 1, "{:?}", report.counts);
    }
}

#[test]
fn examples_name_what_is_referred_to() {
    let disk = SimDisk::new(1);
    let block = open(&disk, &write(&disk, &references(), 1));
    let report = snapshot(&[&spans()], &[block]).links(&everything()).expect("a report");
    let kinds = report.kinds();
    let of = |kind: LinkKind, state: &str| {
        let kind = kinds.iter().find(|of| of.kind == kind).expect("the kind");
        kind.states.iter().find(|of| of.state == state).expect("the state").clone()
    };
    let missing = of(LinkKind::LogSpan, "never_received");
    assert_eq!(missing.count, 2);
    let named: Vec<_> = missing.examples.iter().map(|example| example.trace_id).collect();
    assert!(named.contains(&Some(trace(1))) && named.contains(&Some(trace(3))), "{named:?}");
    let malformed = of(LinkKind::LogTrace, "malformed");
    assert_eq!(malformed.examples[0].form.as_deref(), Some("73686f7274"));
    let exemplars = kinds.iter().find(|of| of.kind == LinkKind::ExemplarTrace).expect("exemplars");
    assert_eq!((exemplars.total, exemplars.resolved), (3, 1));
}

#[test]
fn what_links_to_a_trace_is_found_wherever_it_lies() {
    let disk = SimDisk::new(1);
    let memtable = Memtable::new();
    insert(&memtable, Signal::Traces, "web", &[span(1, 11, &[]), span(1, 12, &[1])]);
    let own = Arc::new(memtable);
    let memtable = Memtable::new();
    insert(
        &memtable,
        Signal::Traces,
        "queue",
        &[span(2, 21, &[1, 99]), span(3, 31, &[9]), span(3, 32, &[1, 1])],
    );
    let others = Arc::new(memtable);
    let blocks = [open(&disk, &write(&disk, &own, 1)), open(&disk, &write(&disk, &others, 2))];
    let one = merged(&disk, &blocks, 3);
    for (how, snapshot) in [
        ("in memory", snapshot(&[&own, &others], &[])),
        ("in a block", snapshot(&[&own], &blocks[1..])),
        ("in memory and a block", snapshot(&[&others], &blocks)),
        ("in one block", snapshot(&[], &[one])),
    ] {
        let found = snapshot.referring_spans(trace(1), 10);
        let spans: Vec<(TraceId, &str, &str)> = (found.items.iter())
            .map(|span| (span.trace_id, span.service.as_str(), span.name.as_str()))
            .collect();
        let expected = [(trace(2), "queue", "operation"), (trace(3), "queue", "operation")];
        assert_eq!(spans, expected, "{how}: a link of the trace's own is none, and two of one span are one");
        let first = &found.items[0];
        assert_eq!((first.span_id.0, first.start_time), (21u64.to_be_bytes(), OLD), "{how}");
        assert_eq!(first.to_span_id.map(|id| id.0), Some(1u64.to_be_bytes()), "{how}");
        assert_eq!(found.partial, Vec::<String>::new(), "{how}");
        let cut = snapshot.referring_spans(trace(1), 1);
        assert_eq!((cut.items.len(), cut.partial.len()), (1, 1), "{how}");
        assert!(snapshot.referring_spans(trace(2), 10).items.is_empty(), "{how}");
    }
}
