//! What a trace says about itself, of spans that make no sense, too: the same in memory, in a block, in several places, after a merge
//! and after a start.

use std::time::Duration;

use throughline_model::protobuf::{put_bytes, put_fixed64, put_number};
use throughline_model::record::{Sampling, TraceSummary};
use throughline_model::{Signal, TraceId};
use throughline_store::{Snapshot, Want};

use crate::harness::{NOW, Request, Rig, config};
use crate::requests::{body, gauge, text, trace};

const MS: i64 = 1_000_000;

/// The spans of a trace, one a line: service, id, parent (0 is none), start and end in milliseconds, status, name.
const SENSELESS: &str = "
    front   1  0     0  1000  ok     GET /
    cart    2  1   100   900  error  list
    db      3  2   200   600  error  query
    db     12  3   300   400  error  lock
    mail    5  1  -500   100  ok     begins before its caller
    worker  6 77   300   320  ok     lost
    worker  7 77   310   330  ok     lost
    loop    8  9   400   410  ok     a circle
    loop    9  8   400   408  ok     of two
    own    10 10   500   505  ok     its own parent
    front  11  1  1200   700  ok     ends before it starts
    cart    2  1   100   900  error  list
    db      3  2   650   700  ok     another span with the id of the query
    loop   13  1   600   601  ok     one of two that start at once
    loop   13  1   600   601  ok     two of two that start at once
    loop   13  1   600   601  ok     two of two that start at once
";

/// Two circles in one, of spans that start at once: which of them loses its parent must not depend on where they lie.
const CIRCLES: &str = "
    a  4  3  0  10  error  four
    b  3  2  0  10  error  three
    c  2  1  0  10  error  two
    d  1  4  0  10  error  one
    e  5  3  0  10  error  five
    e  6  6  0  10  error  six
";

fn span(of: TraceId, line: &str) -> (String, Vec<u8>) {
    let mut words = line.split_whitespace();
    let service = words.next().expect("a service").to_owned();
    let mut number = || words.next().and_then(|word| word.parse::<i64>().ok()).expect("a number");
    let [id, parent, start, end] = [number(), number(), number(), number()];
    let is_error = words.next() == Some("error");
    let name: Vec<&str> = words.collect();
    let mut out = Vec::new();
    put_bytes(&mut out, 1, &of.0);
    put_bytes(&mut out, 2, &id.to_be_bytes());
    if parent > 0 {
        put_bytes(&mut out, 4, &parent.to_be_bytes());
    }
    put_bytes(&mut out, 5, name.join(" ").as_bytes());
    put_fixed64(&mut out, 7, (NOW + start * MS) as u64);
    put_fixed64(&mut out, 8, (NOW + end * MS) as u64);
    let mut status = Vec::new();
    put_number(&mut status, 3, if is_error { 2 } else { 0 });
    put_bytes(&mut out, 15, &status);
    (service, out)
}

/// A request of these lines, which stays the same for a retry.
fn spans<'l>(of: TraceId, lines: impl Iterator<Item = &'l str>) -> Request {
    let body: Vec<u8> =
        lines.map(|line| span(of, line)).flat_map(|(service, span)| body(&service, &[span])).collect();
    Request { signal: Signal::Traces, body: body.into(), items: Vec::new() }
}

/// Two log records, one of them an error, and an exemplar.
fn references(of: TraceId) -> [Request; 2] {
    let record = |severity: u64| {
        let mut out = Vec::new();
        put_fixed64(&mut out, 1, NOW as u64);
        put_number(&mut out, 2, severity);
        put_bytes(&mut out, 5, &text("a line"));
        put_bytes(&mut out, 9, &of.0);
        out
    };
    let logs = body("front", &[record(9), record(17)]);
    let points = body("front", &[gauge("load", NOW, &[], &[(NOW, &of.0)])]);
    [(Signal::Logs, logs), (Signal::Metrics, points)].map(|(signal, body)| Request {
        signal,
        body: body.into(),
        items: Vec::new(),
    })
}

fn lines(of: &str) -> Vec<&str> {
    of.lines().filter(|line| !line.trim().is_empty()).collect()
}

fn summary(of: TraceId) -> TraceSummary {
    TraceSummary {
        trace_id: of,
        start_time: NOW,
        duration_ns: 10 * MS,
        root_service: String::new(),
        root_name: String::new(),
        services: Vec::new(),
        span_count: 0,
        error_count: 0,
        log_count: 2,
        error_log_count: 1,
        exemplar_count: 1,
        orphan_count: 0,
        culprit_service: String::new(),
        culprit_name: String::new(),
        culprit_self_ns: 0,
        error_culprit_service: String::new(),
        error_culprit_name: String::new(),
        clock_skew_ns: 0,
        sampling: Sampling::Undecided,
        dropped_before: None,
    }
}

fn of_senseless(of: TraceId) -> TraceSummary {
    TraceSummary {
        start_time: NOW - 500 * MS,
        // The last to end is the one that ends before it starts, at its start.
        duration_ns: 1_700 * MS,
        root_service: "front".to_owned(),
        root_name: "GET /".to_owned(),
        services: ["cart", "db", "front", "loop", "mail", "own", "worker"].map(str::to_owned).to_vec(),
        // Two of them were received twice.
        span_count: 14,
        error_count: 3,
        orphan_count: 2,
        culprit_service: "cart".to_owned(),
        culprit_name: "list".to_owned(),
        culprit_self_ns: 350 * MS,
        error_culprit_service: "db".to_owned(),
        error_culprit_name: "lock".to_owned(),
        clock_skew_ns: 500 * MS,
        ..summary(of)
    }
}

fn of_circles(of: TraceId) -> TraceSummary {
    TraceSummary {
        services: ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec(),
        span_count: 6,
        error_count: 6,
        // From the first in order: one, four, three, two. Two loses its parent and is the top; four and five hang on three, and of
        // those that end at once the last in order is on the path.
        culprit_service: "e".to_owned(),
        culprit_name: "five".to_owned(),
        culprit_self_ns: 10 * MS,
        error_culprit_service: "d".to_owned(),
        error_culprit_name: "one".to_owned(),
        ..summary(of)
    }
}

fn assert_summaries(snapshot: &Snapshot, step: &str) {
    for (of, expected) in [(trace(1), of_senseless(trace(1))), (trace(2), of_circles(trace(2)))] {
        let found = snapshot.trace_summary(of).expect("read").expect("known");
        assert_eq!(found, expected, "{step}");
        let spans = snapshot.trace(of, Want::SPANS).expect("read").spans;
        assert_eq!(spans.len(), expected.span_count as usize, "{step}");
        let listed = snapshot.trace_spans(of).expect("read");
        assert_eq!(listed.len(), spans.len(), "{step}");
    }
}

fn merge(rig: &Rig) {
    rig.clock.advance(Duration::from_secs(3_600));
    while rig.engine.compact_once().expect("a merge") {}
    assert_eq!(rig.engine.status().blocks_per_level.iter().sum::<usize>(), 1);
}

#[test]
fn a_summary_is_the_same_wherever_its_spans_lie() {
    let mut rig = Rig::new(config());
    for (of, text) in [(trace(1), SENSELESS), (trace(2), CIRCLES)] {
        assert!(rig.store(&spans(of, lines(text).into_iter())).is_ok());
        references(of).iter().for_each(|request| assert!(rig.store(request).is_ok()));
    }
    assert_summaries(&rig.engine.snapshot(), "in memory");
    rig.flush();
    assert_summaries(&rig.engine.snapshot(), "in a block");
    rig = rig.reopen();
    assert_summaries(&rig.engine.snapshot(), "in a block, after a start");
    merge(&rig);
    assert_summaries(&rig.engine.snapshot(), "in a block that was written again");
}

#[test]
fn a_summary_of_spans_in_several_places_is_the_same() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let mut rig = Rig::new(config());
        for (part, place) in order.into_iter().enumerate() {
            for (of, text) in [(trace(1), SENSELESS), (trace(2), CIRCLES)] {
                let lines = lines(text).into_iter().enumerate().filter(|(at, _)| at % 3 == place);
                assert!(rig.store(&spans(of, lines.map(|(_, line)| line))).is_ok());
                if part == 0 {
                    references(of).iter().for_each(|request| assert!(rig.store(request).is_ok()));
                }
            }
            if part < 2 {
                rig.flush();
            }
        }
        assert_summaries(&rig.engine.snapshot(), "in two blocks and in memory");
        rig.flush();
        assert_summaries(&rig.engine.snapshot(), "in three blocks");
        rig = rig.reopen();
        assert_summaries(&rig.engine.snapshot(), "in three blocks, after a start");
        merge(&rig);
        assert_summaries(&rig.engine.snapshot(), "merged");
        rig = rig.reopen();
        assert_summaries(&rig.engine.snapshot(), "merged, after a start");
    }
}

/// Telling apart spans that start at once must not take every pair of them.
#[test]
fn a_hundred_thousand_spans_that_start_at_once_are_told_apart() {
    const SPANS: i64 = 100_000;
    let mut config = config();
    (config.segment_bytes, config.memtable_bytes) = (64 << 20, 256 << 20);
    let rig = Rig::new(config);
    // Half of what comes second came first; all ids but a hundred are shared, and names tell.
    let line = |n: i64| format!("a {} 0 0 5 ok span {n}", 1 + n % 100);
    for from in [0, SPANS / 2] {
        let lines: Vec<String> = (from..from + SPANS).map(line).collect();
        let body: Vec<Vec<u8>> = lines.iter().map(|line| span(trace(1), line).1).collect();
        let request = Request { signal: Signal::Traces, body: body_of(&body), items: Vec::new() };
        assert!(rig.store(&request).is_ok());
        rig.flush();
    }
    let expected = SPANS + SPANS / 2;
    let assert_all = |step: &str| {
        let snapshot = rig.engine.snapshot();
        let summary = snapshot.trace_summary(trace(1)).expect("read").expect("known");
        assert_eq!(i64::from(summary.span_count), expected, "{step}");
        assert_eq!(
            snapshot.trace(trace(1), Want::SPANS).expect("read").spans.len() as i64,
            expected,
            "{step}"
        );
        assert_eq!(snapshot.trace_spans(trace(1)).expect("read").len() as i64, expected, "{step}");
    };
    assert_all("in two blocks");
    merge(&rig);
    assert_all("merged");
}

fn body_of(spans: &[Vec<u8>]) -> bytes::Bytes {
    body("a", spans).into()
}

/// A look-up by id reads the parts of one block, however many there are, and of an id that was never seen hardly anything.
#[test]
fn a_trace_by_id_reads_the_block_that_has_it() {
    const BLOCKS: u64 = 60;
    const TRACES: u64 = 200;
    let rig = Rig::new(config());
    for block in 0..BLOCKS {
        let line = "a 1 0 0 5 ok operation";
        let spans: Vec<Vec<u8>> = (0..TRACES).map(|n| span(trace(1 + block * TRACES + n), line).1).collect();
        let request = Request { signal: Signal::Traces, body: body_of(&spans), items: Vec::new() };
        assert!(rig.store(&request).is_ok());
        rig.flush();
    }
    let rig = rig.reopen();
    assert_eq!(rig.engine.status().blocks_per_level.iter().sum::<usize>() as u64, BLOCKS);
    let snapshot = rig.engine.snapshot();
    let reads_of = |n: u64| {
        let before = rig.disk.reads();
        let found = snapshot.trace(trace(n), Want::ALL).expect("read").spans.len();
        let after = rig.disk.reads();
        (found, after.count - before.count, after.bytes - before.bytes)
    };
    // The place in the index, the trace, its spans, and what a filter is wrong about.
    const READS_MAX: u64 = 12;
    let all_bytes = rig.disk.used_bytes();
    for block in 0..BLOCKS {
        let (found, reads, bytes) = reads_of(1 + block * TRACES + block);
        assert_eq!(found, 1, "of block {block}");
        assert!(
            reads <= READS_MAX && bytes < all_bytes / BLOCKS,
            "{reads} reads of {bytes} bytes of {all_bytes}"
        );
    }
    const UNKNOWN: u64 = 1_000;
    let mut sum = 0;
    for n in 0..UNKNOWN {
        let (found, reads, _) = reads_of(1_000_000 + n);
        assert!(found == 0 && reads <= READS_MAX, "{reads} reads");
        sum += reads;
    }
    // Filters are wrong about one id in 256; each of these is one read.
    assert!(sum <= UNKNOWN * BLOCKS / 128, "{sum} reads for {UNKNOWN} ids that nobody sent");
}
