//! What the terminal shows, as text.

use serde_json::{Map, json};
use throughline_correlate::trace_view::TraceView;
use throughline_model::record::Span;
use throughline_model::{SpanId, TraceId};
use throughline_store::TraceData;

use super::{Style, style, table::Table, waterfall};

const PLAIN: Style = Style { colour: false, width: 90 };
const MS: i64 = 1_000_000;

fn span(id: u64, parent: u64, service: &str, name: &str, start_ms: i64, duration_ms: i64) -> Span {
    let id_of = |n: u64| SpanId::from_slice(&n.to_be_bytes());
    Span {
        trace_id: TraceId::from_low(1).expect("not zero"),
        span_id: id_of(id).expect("not zero"),
        parent_span_id: id_of(parent),
        trace_state: String::new(),
        flags: 0,
        name: name.to_owned(),
        kind: 2,
        start_time: start_ms * MS,
        duration_ns: duration_ms * MS,
        status_code: 0,
        status_message: String::new(),
        service: service.to_owned(),
        resource: Map::new(),
        scope: Map::new(),
        attributes: json!({"db.partition": "p7"}).as_object().cloned().unwrap_or_default(),
        events: Vec::new(),
        links: Vec::new(),
        adjusted_count: None,
    }
}

fn view(spans: Vec<Span>) -> TraceView {
    let id = TraceId::from_low(1).expect("not zero");
    TraceView::new(id, TraceData { spans, ..TraceData::default() })
}

#[test]
fn a_waterfall_shows_tree_bars_times_and_marks() {
    let mut failed = span(4, 2, "db", "get", 100, 20);
    failed.status_code = 2;
    let view = view(vec![
        span(1, 0, "gateway", "GET /", 0, 1000),
        span(2, 1, "task-svc", "db:query", 50, 900),
        span(3, 1, "task-svc", "notify", 960, 30),
        failed,
        span(5, 2, "db", "get", 900, 40),
    ]);
    let expected = "\
trace 00000000000000000000000000000001  gateway GET /
1 s · 5 spans · 3 services · 1 error · 0 log lines · 0 exemplars  started 1970-01-01T00:00:00Z
                         0                                      1 s   duration       self
*  GET / gateway         ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━        1 s      70 ms
*  ├─ db:query task-svc    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━       900 ms     840 ms ◄ culprit
*! │  ├─ get db              ━                                           20 ms      20 ms
*  │  └─ get db                                                ━         40 ms      40 ms
*  └─ notify task-svc                                            ━━      30 ms      30 ms
";
    let shown = waterfall::render(&view, PLAIN);
    assert_eq!(shown, expected, "\n{shown}");
}

#[test]
fn spans_that_share_an_id_are_all_drawn() {
    let spans = vec![
        span(1, 0, "a", "GET /", 0, 100),
        span(2, 1, "b", "first", 10, 10),
        span(2, 1, "b", "second", 20, 10),
        span(3, 2, "c", "below", 12, 5),
    ];
    let view = view(spans);
    let shown = waterfall::render(&view, PLAIN);
    let said = "2 spans have the id 0000000000000002: what names it is drawn at the first to start";
    assert!(shown.contains(said) && shown.contains("second b"), "{shown}");
    let detail = waterfall::span_detail(&view, view.spans[1].span.span_id, PLAIN).expect("here");
    assert!(detail.contains("first b") && detail.contains("second b"), "{detail}");
}

#[test]
fn what_is_missing_is_named() {
    let shown = waterfall::render(&view(vec![span(2, 77, "a", "lost", 0, 10)]), PLAIN);
    assert!(shown.contains("root span missing"), "{shown}");
    assert!(shown.contains("parent span 000000000000004d is not here"), "{shown}");
}

#[test]
fn long_traces_and_deep_ones_are_cut() {
    let line: Vec<Span> = (1..=1_000).map(|n| span(n, n - 1, "a", "deeper", n as i64, 2_000)).collect();
    let shown = waterfall::render(&view(line), PLAIN);
    assert!(shown.contains("… 800 more spans; --json has them all"), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() < 130), "{shown}");
}

#[test]
fn text_from_outside_cannot_move_the_cursor() {
    let shown = waterfall::render(&view(vec![span(1, 0, "a\x1b[2J", "b\nc", 0, 10)]), PLAIN);
    assert!(!shown.contains('\x1b') && shown.contains("b c"), "{shown}");
    assert_eq!(style::fit("ü", 3), "ü  ");
    assert_eq!(style::cut("übergröße", 5), "über…");
}

#[test]
fn tables_align_numbers_to_the_right() {
    let mut table = Table::new(&["name", ">count"]);
    table.row(["a".to_owned(), "7".to_owned()]);
    table.row(["längste".to_owned(), "12345".to_owned()]);
    assert_eq!(table.render(PLAIN), "name     count\na            7\nlängste  12345\n");
}

#[test]
fn traces_that_make_no_sense_are_drawn() {
    const SPANS: u64 = 100_000;
    let shown = |spans: Vec<Span>| waterfall::render(&view(spans), PLAIN);
    let line = shown((1..=SPANS).map(|id| span(id, id - 1, "a", "deeper", 0, 5_000)).collect());
    assert!(line.contains("100000 spans") && line.contains("more spans; --json has them all"), "{line}");
    let fan = shown((1..=SPANS).map(|id| span(id, u64::from(id > 1), "a", "beside", id as i64, 5)).collect());
    assert!(fan.contains("100000 spans"));
    let circle = shown(vec![
        span(1, 2, "a", "one", 0, 5),
        span(2, 1, "a", "other", 0, 5),
        span(3, 3, "a", "own", 0, 5),
    ]);
    assert!(circle.contains("3 spans"), "{circle}");
    let backwards = shown(vec![span(1, 0, "a", "ends before it starts", 5, -5)]);
    assert!(backwards.contains("ends before it starts"), "{backwards}");
    let mut wide = span(1, 0, "a", "wide", 0, 5);
    wide.attributes = (0..10_000).map(|n| (format!("key {n}"), json!("x".repeat(100)))).collect();
    wide.attributes.insert("large".to_owned(), json!("y".repeat(1_000_000)));
    let detail =
        waterfall::span_detail(&view(vec![wide]), SpanId([0, 0, 0, 0, 0, 0, 0, 1]), PLAIN).expect("a span");
    assert!(detail.lines().count() > 10_000 && detail.lines().all(|line| line.chars().count() < 300));
}

#[test]
fn a_failure_without_a_status_is_marked() {
    let mut thrown = span(2, 1, "db", "get", 1, 5);
    let attributes = json!({"exception.type": "Timeout", "exception.message": "after 5 s"});
    thrown.events = vec![json!({"time": 1, "name": "exception", "attributes": attributes})];
    let view = view(vec![span(1, 0, "gateway", "GET /", 2, 10), thrown]);
    let text = waterfall::render(&view, PLAIN);
    assert!(text.contains("1 failure without a status") && text.contains("? └─ get db"), "{text}");
    assert!(
        text.contains("the clock of db is behind that of gateway by at least 1 ms: 1 span too early"),
        "{text}"
    );
    let detail = waterfall::span_detail(&view, SpanId([0, 0, 0, 0, 0, 0, 0, 2]), PLAIN).expect("a span");
    assert!(detail.contains("error: Timeout: after 5 s (by 1 exception)"), "{detail}");
}
