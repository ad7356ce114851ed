//! Made-up incidents of a small shop: a web server calls a cart, and the cart calls stock and price.

use serde_json::{Value, json};
use throughline_correlate::investigate::{
    Case, CauseClass, EvidenceKind, Focus, Request, SPANS_MAX, investigate, report,
};
use throughline_model::{Signal, TraceId};
use throughline_store::TimeRange;

use crate::filled::Filled;

const MS: i64 = 1_000_000;
pub(crate) const SECOND: i64 = 1_000 * MS;
pub(crate) const NOW: i64 = 1_790_000_000 * SECOND;
pub(crate) const BASELINE: TimeRange = TimeRange { start: NOW - 1_200 * SECOND, end: NOW - 900 * SECOND };
pub(crate) const WINDOW: TimeRange = TimeRange { start: NOW - 600 * SECOND, end: NOW - 300 * SECOND };
const TRACES: i64 = 60;

/// What is wrong in the window.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Stock fails, the cart and the web server say so, too.
    Error,
    /// One call of stock in twenty fails.
    RareError,
    /// One request in a hundred fails at stock, and one in fifty is slow at price: as it always is.
    Usual,
    /// As usual, but one in twenty fails.
    MoreErrors,
    /// As usual, but one in eight is slow, and slower than any was.
    MoreSlow,
    /// Price leaves out a step and says nothing.
    MissingLine,
    /// Cart does not ask for prices any more.
    MissingCall,
    /// Price takes longer itself.
    SlowItself,
    /// One call of price in ten takes much longer.
    SlowTail,
    /// The way to stock takes longer.
    SlowToReach,
    /// Stock's processor is busy.
    Saturation,
    /// As an error, with a new version of stock.
    Deployment,
    /// Half of the requests are for something else; nothing is wrong.
    OtherMix,
    /// Stock writes errors outside of spans.
    LooseErrors,
}

impl Fault {
    /// Whether stock fails at a request.
    fn fails(self, n: i64) -> bool {
        match self {
            Fault::Error | Fault::Deployment => true,
            Fault::RareError | Fault::MoreErrors => n % 20 == 0,
            Fault::Usual | Fault::MoreSlow => n % 100 == 0,
            _ => false,
        }
    }

    /// How much longer price takes at a request.
    fn slow(self, n: i64) -> i64 {
        match self {
            Fault::SlowItself => 300 * MS,
            Fault::SlowTail if n % 10 == 0 => 2_000 * MS,
            Fault::Usual | Fault::MoreErrors if n % 50 == 7 => 2_000 * MS,
            Fault::MoreSlow if n % 8 == 7 => 6_000 * MS,
            _ => 0,
        }
    }
}

/// Numbers that vary and stay the same from run to run.
struct Dice(u64);

impl Dice {
    fn up_to(&mut self, n: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as i64 % n.max(1)
    }
}

#[derive(Default)]
struct Telemetry {
    spans: Vec<(String, Value)>,
    logs: Vec<(String, Value)>,
    version: &'static str,
}

impl Telemetry {
    fn span(
        &mut self,
        service: &str,
        ids: (&str, &str, &str),
        name: &str,
        kind: u8,
        at: (i64, i64),
        failed: bool,
    ) {
        let (trace, span, parent) = ids;
        let status = if failed { json!({"code": 2}) } else { json!({}) };
        self.spans.push((
            service.to_owned(),
            json!({"traceId": trace, "spanId": span, "parentSpanId": parent, "name": name, "kind": kind,
                "startTimeUnixNano": at.0.to_string(), "endTimeUnixNano": at.1.to_string(), "status": status}),
        ));
    }

    fn log(&mut self, service: &str, (trace, span): (&str, &str), time: i64, severity: u8, text: &str) {
        self.logs.push((
            service.to_owned(),
            json!({"timeUnixNano": time.to_string(), "severityNumber": severity, "body": {"stringValue": text},
                "traceId": trace, "spanId": span}),
        ));
    }

    fn resource(&self, service: &str) -> Value {
        let version = if service == "stock" { self.version } else { "1.0.0" };
        json!({"attributes": [
            {"key": "service.name", "value": {"stringValue": service}},
            {"key": "service.instance.id", "value": {"stringValue": format!("{service}-1")}},
            {"key": "service.version", "value": {"stringValue": version}},
        ]})
    }

    fn write(&self, filled: &Filled) {
        for service in ["web", "cart", "stock", "price"] {
            let of = |items: &[(String, Value)]| -> Vec<Value> {
                items.iter().filter(|(of, _)| of == service).map(|(_, item)| item.clone()).collect()
            };
            let resource = self.resource(service);
            let spans = json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": of(&self.spans)}]}]});
            filled.write(Signal::Traces, spans.to_string().into_bytes());
            let logs = json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": of(&self.logs)}]}]});
            filled.write(Signal::Logs, logs.to_string().into_bytes());
        }
    }
}

/// Traces from this number on have ids as senders draw them, which samplers need: a hash of numbers in a row is no draw.
pub(crate) const DRAWN_FROM: i64 = 10_000_000;

fn trace_id(n: i64) -> String {
    let number = n as u128 + 1;
    let is_drawn = n >= DRAWN_FROM;
    let id = if is_drawn { number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) } else { number };
    format!("{id:032x}")
}

/// One request for a cart.
fn request(telemetry: &mut Telemetry, n: i64, start: i64, fault: Fault, dice: &mut Dice) {
    let trace = trace_id(n);
    let id = |k: i64| format!("{:016x}", (n + 1) * 16 + k);
    let ids: Vec<String> = (0..8).map(id).collect();
    let of = |span: usize, parent: usize| {
        (trace.as_str(), ids[span].as_str(), if parent > 7 { "" } else { ids[parent].as_str() })
    };
    let fails = fault.fails(n);
    let way = if fault == Fault::SlowToReach { 500 * MS } else { MS };
    let busy = if fault == Fault::Saturation { 20 * MS } else { 0 };
    let slow = fault.slow(n);
    let mut time = start + 3 * MS;
    let stock = (time + MS + way, time + MS + way + 4 * MS + busy + dice.up_to(3 * MS));
    telemetry.span("stock", of(4, 3), "check", 2, stock, fails);
    telemetry.log("stock", (&trace, &ids[4]), stock.0 + MS, 9, "looking up item in warehouse");
    match fails {
        true => telemetry.log(
            "stock",
            (&trace, &ids[4]),
            stock.0 + 2 * MS,
            17,
            "warehouse refused the connection",
        ),
        false => telemetry.log(
            "stock",
            (&trace, &ids[4]),
            stock.0 + 2 * MS,
            9,
            &format!("item is there {} times", dice.up_to(90)),
        ),
    }
    let call = (time + MS, stock.1 + MS);
    telemetry.span("cart", of(3, 2), "GET", 3, call, fails);
    time = call.1;
    let asks_price = fault != Fault::MissingCall && !fails;
    if asks_price {
        let price = (time + 2 * MS, time + 5 * MS + slow + dice.up_to(2 * MS));
        telemetry.span("price", of(6, 5), "quote", 2, price, false);
        telemetry.log("price", (&trace, &ids[6]), price.0, 9, "quoting");
        if fault != Fault::MissingLine {
            telemetry.log(
                "price",
                (&trace, &ids[6]),
                price.1 - MS,
                9,
                &format!("quoted {} cents", dice.up_to(9_000)),
            );
        }
        telemetry.span("cart", of(5, 2), "GET", 3, (time + MS, price.1 + MS), false);
        time = price.1 + MS;
    }
    let cart = (start + 2 * MS, time + 2 * MS + dice.up_to(MS));
    telemetry.span("cart", of(2, 1), "load", 2, cart, fails);
    match fails {
        true => telemetry.log("cart", (&trace, &ids[2]), cart.1 - MS, 17, "cart could not ask stock"),
        false => telemetry.log("cart", (&trace, &ids[2]), cart.1 - MS, 9, "cart is loaded"),
    }
    telemetry.span("web", of(1, 0), "GET", 3, (start + MS, cart.1 + MS), fails);
    telemetry.span("web", of(0, 9), "GET /cart", 2, (start, cart.1 + 2 * MS), fails);
    telemetry.log(
        "web",
        (&trace, &ids[0]),
        cart.1 + MS,
        if fails { 17 } else { 9 },
        if fails { "answered 502" } else { "answered 200" },
    );
}

/// A request that nobody else is asked for.
fn home(telemetry: &mut Telemetry, n: i64, start: i64, dice: &mut Dice) {
    let (trace, span) = (trace_id(n), format!("{:016x}", (n + 1) * 16));
    telemetry.span("web", (&trace, &span, ""), "GET /", 2, (start, start + 2 * MS + dice.up_to(MS)), false);
    telemetry.log("web", (&trace, &span), start + MS, 9, "rendered the front page");
}

fn side(range: TimeRange, fault: Fault, from: i64, filled: &Filled) {
    traces(range, fault, from..from + TRACES, filled);
}

pub(crate) fn traces(range: TimeRange, fault: Fault, numbers: std::ops::Range<i64>, filled: &Filled) {
    let (from, count) = (numbers.start, numbers.end - numbers.start);
    let version = if fault == Fault::Deployment { "2.0.0" } else { "1.0.0" };
    let mut telemetry = Telemetry { version, ..Telemetry::default() };
    let mut dice = Dice(range.start as u64 | 1);
    for n in 0..count {
        let start = range.start + (range.end - range.start) / count * n + dice.up_to(SECOND);
        let is_home = n % if fault == Fault::OtherMix { 2 } else { 5 } == 1;
        match is_home {
            true => home(&mut telemetry, from + n, start, &mut dice),
            false => request(&mut telemetry, from + n, start, fault, &mut dice),
        }
        if fault == Fault::LooseErrors {
            let record = json!({"timeUnixNano": start.to_string(), "severityNumber": 17,
                "body": {"stringValue": "replication to the second warehouse stopped"}});
            telemetry.logs.push(("stock".to_owned(), record));
        }
    }
    telemetry.write(filled);
    for service in ["web", "cart", "stock", "price"] {
        let busy = fault == Fault::Saturation && service == "stock";
        let points: Vec<Value> = (0..(range.end - range.start) / (15 * SECOND))
            .map(|n| {
                let share = if busy { 0.97 } else { 0.08 } + dice.up_to(20) as f64 / 1_000.0;
                json!({"timeUnixNano": (range.start + n * 15 * SECOND).to_string(), "asDouble": share})
            })
            .collect();
        let metric = json!({"name": "process.cpu.utilization", "unit": "1", "gauge": {"dataPoints": points}});
        let body = json!({"resourceMetrics": [{"resource": telemetry.resource(service), "scopeMetrics": [{"metrics": [metric]}]}]});
        filled.write(Signal::Metrics, body.to_string().into_bytes());
    }
}

/// Calls of stock by what is counted from its spans, as the server does it when they come.
fn calls(range: TimeRange, failed: u32, filled: &Filled) {
    let series = |status: &str, count: u32| {
        let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
        json!({"startTimeUnixNano": range.start.to_string(), "timeUnixNano": (range.end - 1).to_string(), "asInt": count.to_string(),
            "attributes": [attribute("span_kind", "SPAN_KIND_SERVER"), attribute("status_code", status)]})
    };
    let points = [series("STATUS_CODE_UNSET", 48 - failed), series("STATUS_CODE_ERROR", failed)];
    let metric = json!({"name": "traces_spanmetrics_calls_total", "sum": {"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": points}});
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "stock"}}]});
    let body = json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]});
    filled.write(Signal::Metrics, body.to_string().into_bytes());
}

#[test]
fn a_suspect_has_the_shift_of_its_metrics() {
    let filled = filled(Fault::Error);
    calls(BASELINE, 0, &filled);
    calls(WINDOW, 48, &filled);
    let case = asked(&filled, Focus::Window, None);
    let evidence = &case.suspects[0].evidence;
    let shift = evidence.iter().find(|evidence| evidence.kind == EvidenceKind::MetricShift).expect("a shift");
    assert_eq!((shift.now, shift.before, shift.score), (Some(1.0), Some(0.0), 0.0), "{shift:?}");
    assert!(shift.sentence.contains("0.16 requests a second, of which 100 % failed"), "{}", shift.sentence);
}

pub(crate) fn filled(fault: Fault) -> Filled {
    let filled = Filled::new(NOW);
    side(BASELINE, Fault::None, 0, &filled);
    side(WINDOW, fault, 100_000, &filled);
    filled
}

pub(crate) fn asked(filled: &Filled, focus: Focus, service: Option<&str>) -> Case {
    let request = Request {
        focus,
        window: WINDOW,
        baseline: Some(BASELINE),
        service: service.map(str::to_owned),
        suspects: 10,
    };
    investigate(&filled.store.snapshot(), &request).expect("a case")
}

pub(crate) fn case(fault: Fault) -> Case {
    asked(&filled(fault), Focus::Window, None)
}

pub(crate) fn score(case: &Case, service: &str) -> f64 {
    case.suspects.iter().find(|suspect| suspect.service == service).map_or(0.0, |suspect| suspect.score)
}

/// The first suspect, of whom there is no doubt, beside whom nobody is likely.
fn check(fault: Fault, service: &str, cause: CauseClass, kind: EvidenceKind) -> Case {
    let case = case(fault);
    let text = report::markdown(&case);
    let first = case.suspects.first().unwrap_or_else(|| panic!("a suspect\n{text}"));
    assert_eq!((first.service.as_str(), first.cause), (service, cause), "{text}");
    assert!(first.score > 0.5, "{text}");
    assert!(first.evidence.iter().any(|evidence| evidence.kind == kind), "{text}");
    for other in case.suspects.iter().skip(1) {
        assert!(other.score < 0.5 * first.score, "{} is blamed, too\n{text}", other.service);
    }
    assert!(report::short(&case).len() < report::SHORT_BYTES);
    case
}

#[test]
fn errors_are_charged_to_where_they_begin() {
    let case = check(Fault::Error, "stock", CauseClass::Errors, EvidenceKind::NewError);
    let first = &case.suspects[0];
    assert_eq!((first.operation.as_deref(), first.instance.as_deref()), (Some("check"), Some("stock-1")));
    let new = first.evidence.iter().filter(|evidence| evidence.kind == EvidenceKind::NewError);
    let line = new.filter_map(|evidence| evidence.line.as_ref()).next().expect("a line");
    assert_eq!(line.text, "warehouse refused the connection");
    assert!(line.trace.is_some() && line.span.is_some());
}

#[test]
fn work_that_is_left_out_is_found() {
    check(Fault::MissingLine, "price", CauseClass::MissingWork, EvidenceKind::VanishedLine);
    check(Fault::MissingCall, "cart", CauseClass::MissingWork, EvidenceKind::MissingCall);
}

#[test]
fn whoever_waits_is_not_blamed() {
    let case = check(Fault::SlowItself, "price", CauseClass::SlowItself, EvidenceKind::OwnTime);
    let evidence = &case.suspects[0].evidence[0];
    assert!(evidence.now.is_some_and(|ms| ms > 300.0) && evidence.before.is_some_and(|ms| ms < 10.0));
    assert!(evidence.share.is_some_and(|share| share > 0.9));
    assert!(
        evidence.traces.iter().any(|trace| trace.baseline)
            && evidence.traces.iter().any(|trace| !trace.baseline)
    );
    let case = check(Fault::SlowToReach, "stock", CauseClass::SlowToReach, EvidenceKind::TimeOnTheWay);
    assert!(score(&case, "cart") < 0.1 && score(&case, "web") < 0.1);
}

#[test]
fn a_slow_tail_is_found() {
    let case = case(Fault::SlowTail);
    assert_eq!(
        case.suspects.first().map(|s| s.service.as_str()),
        Some("price"),
        "{}",
        report::markdown(&case)
    );
}

#[test]
fn a_full_resource_is_found() {
    let case = check(Fault::Saturation, "stock", CauseClass::Saturation, EvidenceKind::Saturation);
    assert_eq!(case.suspects[0].instance.as_deref(), Some("stock-1"));
}

#[test]
fn a_new_version_is_named_and_makes_likelier() {
    let case = check(Fault::Deployment, "stock", CauseClass::Errors, EvidenceKind::Deployment);
    assert!(!case.unchecked.iter().any(|unchecked| unchecked.step == "deployments"));
}

#[test]
fn errors_outside_of_spans_count_half() {
    let case = case(Fault::LooseErrors);
    assert_eq!(
        case.suspects.first().map(|s| s.service.as_str()),
        Some("stock"),
        "{}",
        report::markdown(&case)
    );
    assert!((0.3..0.6).contains(&score(&case, "stock")), "{}", report::markdown(&case));
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    for fault in [Fault::None, Fault::OtherMix] {
        let case = case(fault);
        let worst = case.suspects.first().map_or(0.0, |suspect| suspect.score);
        assert!(worst < 0.2, "{}", report::markdown(&case));
    }
}

#[test]
fn the_same_data_gives_the_same_case_from_memory_and_from_blocks() {
    for fault in [Fault::Error, Fault::SlowToReach, Fault::Saturation] {
        let filled = filled(fault);
        let memory = asked(&filled, Focus::Window, None);
        assert_eq!(asked(&filled, Focus::Window, None), memory);
        filled.store.flush().expect("written");
        assert_eq!(asked(&filled, Focus::Window, None), memory);
    }
}

#[test]
fn merges_and_a_restart_change_nothing() {
    let memory = case(Fault::Error);
    // The same telemetry in two blocks, of which a merge makes one.
    let filled = Filled::new(NOW);
    side(BASELINE, Fault::None, 0, &filled);
    filled.store.flush().expect("written");
    side(WINDOW, Fault::Error, 100_000, &filled);
    assert_eq!(asked(&filled, Focus::Window, None), memory, "a block and memory");
    filled.store.flush().expect("written");
    assert_eq!(asked(&filled, Focus::Window, None), memory, "two blocks");
    filled.clock.advance(std::time::Duration::from_secs(3_600));
    filled.store.compact().expect("merged");
    assert_eq!(asked(&filled, Focus::Window, None), memory, "merged");
    let filled = filled.reopened();
    assert_eq!(asked(&filled, Focus::Window, None), memory, "after a restart");
}

#[test]
fn the_short_form_is_short_whatever_the_names_are() {
    let mut case = case(Fault::Error);
    let long = "é🦀\u{7}".repeat(400);
    let first = case.suspects[0].clone();
    case.suspects = (1..=20)
        .map(|rank| {
            let mut suspect = first.clone();
            (suspect.rank, suspect.service) = (rank, long.clone());
            (suspect.instance, suspect.operation) = (Some(long.clone()), Some(long.clone()));
            suspect.evidence.iter_mut().for_each(|one| {
                (one.sentence, one.command) = (long.clone(), format!("throughline logs --service '{long}'"));
            });
            suspect
        })
        .collect();
    case.partial = vec![long; 20];
    let text = report::short(&case);
    assert!(text.len() < report::SHORT_BYTES, "{}", text.len());
    assert!(text.contains("\nnot checked: ") && text.contains("\nincomplete: "), "{text}");
    assert!(
        text.contains(": errors begin here\n") && !text.contains("$ throughline"),
        "no command is cut: {text}"
    );
}

#[test]
fn a_sample_of_many_spans_names_the_same_cause_from_memory_and_from_blocks() {
    const PIECES: i64 = 20;
    let filled = Filled::new(NOW);
    side(BASELINE, Fault::None, 0, &filled);
    let length = (WINDOW.end - WINDOW.start) / PIECES;
    for piece in 0..PIECES {
        let start = WINDOW.start + piece * length;
        let from = 100_000 + piece * 1_000;
        traces(TimeRange { start, end: start + length }, Fault::RareError, from..from + 550, &filled);
    }
    let case = asked(&filled, Focus::Window, None);
    let read = &case.read;
    let there = read.spans_there.expect("more than are read");
    assert!(there > SPANS_MAX && (read.spans as u64) <= SPANS_MAX + 15_000, "{read:?}");
    assert!(read.spans as u64 > SPANS_MAX / 2 && read.linked_lines > read.spans / 4, "{read:?}");
    assert_eq!(read.baseline_spans_there, None);
    let [said] = case.partial.as_slice() else { panic!("{:?}", case.partial) };
    assert!(said.contains(&format!("{there} spans began from")), "{said}");
    assert!(said.contains("one in 2.") && said.contains("error all (weighed accordingly)"), "{said}");
    let first = &case.suspects[0];
    assert_eq!((first.service.as_str(), first.cause), ("stock", CauseClass::Errors), "{case:#?}");
    // Of 440 requests 28 fail: all of those are there, and count as much as they do among all.
    let (now, before) = (first.evidence[0].now.expect("a share"), first.evidence[0].before);
    assert!((now - 28.0 / 440.0).abs() < 0.005 && before == Some(0.0), "{:?}", first.evidence[0]);
    filled.store.flush().expect("written");
    assert_eq!(asked(&filled, Focus::Window, None), case);
}

#[test]
fn a_focus_narrows_what_is_compared() {
    let filled = filled(Fault::Error);
    let id = TraceId::parse(&format!("{:032x}", 100_001)).expect("an id").0;
    let focus = Focus::Trace { id };
    let window = focus.window(&filled.store.snapshot()).expect("read").expect("its time");
    assert!(window.start < WINDOW.end && window.start >= WINDOW.start - 60 * SECOND);
    let case = asked(&filled, focus, None);
    assert_eq!(case.suspects[0].service, "stock");
    // The requests for the front page are left out.
    assert!(case.read.traces < TRACES as usize);
    let case = asked(&filled, Focus::Window, Some("price"));
    assert_eq!((case.read.traces, case.service.as_deref()), (0, Some("price")));
    assert!(case.unchecked.iter().any(|unchecked| unchecked.step == "traces"), "{:?}", case.unchecked);
}

#[test]
fn a_case_says_what_was_not_checked() {
    let filled = Filled::new(NOW);
    let case = asked(&filled, Focus::Window, None);
    assert!(case.suspects.is_empty());
    for step in ["traces", "log lines of calls", "saturation", "exemplars", "deployments"] {
        assert!(
            case.unchecked.iter().any(|unchecked| unchecked.step == step),
            "{step}: {:?}",
            case.unchecked
        );
    }
    let text = report::short(&case) + &report::markdown(&case);
    assert!(text.contains("no suspect") && text.contains("None:"), "{text}");
}
