//! Spans as TraceQL sees them, from the request's bytes to the answers of queries: out of a memtable, out of blocks, and out of both,
//! where traces lie in several places.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use throughline_exec::{Budget, Cancellation, ExecError, Limits};
use throughline_model::{Signal, TraceId};
use throughline_scan::traces::StoredTraces;
use throughline_store::block::Block;
use throughline_store::flush::{BlockOptions, write_blocks};
use throughline_store::memtable::Memtable;
use throughline_store::{SimDisk, Snapshot};
use throughline_traceql::column::Column;
use throughline_traceql::source::{
    Demand, SpanBatch, SpanField, SpanRequest, SpanSink, TraceHead, TraceRun, TraceSource,
};
use throughline_traceql::{
    Engine, EvalError, FoundTrace, MetricSeries, MetricsParams, SearchParams, Value, checked,
};
use throughline_wire::{DecodeContext, DecodeLimits, Encoding};

const BASE_NS: i64 = 1_795_176_000_000_000_000;
const SECOND: i64 = 1_000_000_000;
const TRACES: i64 = 60;

fn attribute(key: &str, value: Json) -> Json {
    let kind = match &value {
        Json::String(_) => "stringValue",
        Json::Bool(_) => "boolValue",
        Json::Number(number) if number.is_i64() => "intValue",
        Json::Number(_) => "doubleValue",
        _ => return json!({"key": key, "value": value}),
    };
    json!({"key": key, "value": {kind: value}})
}

fn id(trace: i64) -> String {
    format!("{trace:032x}")
}

/// One span of a trace: `number` is its id, from one.
fn span(trace: i64, number: i64, parent: Option<i64>, name: &str, extra: Json) -> Json {
    let start = BASE_NS + trace * SECOND + number * 1_000_000;
    let mut span = json!({
        "traceId": id(trace),
        "spanId": format!("{:016x}", trace * 100 + number),
        "parentSpanId": parent.map(|parent| format!("{:016x}", trace * 100 + parent)).unwrap_or_default(),
        "name": name,
        "kind": 1,
        "startTimeUnixNano": start.to_string(),
        "endTimeUnixNano": (start + number * 10_000_000).to_string(),
    });
    if let (Some(span), Json::Object(extra)) = (span.as_object_mut(), extra) {
        span.extend(extra);
    }
    span
}

fn request(service: &str, spans: &[Json]) -> Json {
    let resource = json!({"attributes": [
        attribute("service.name", json!(service)), attribute("host.name", json!(format!("{service}-1")))]});
    json!({"resourceSpans": [{
        "resource": resource,
        "scopeSpans": [{"scope": {"name": "lib", "version": "1.2", "attributes": [attribute("lang", json!("rust"))]}, "spans": spans}],
    }]})
}

/// Traces of three services: a root, two children, and in every fifth trace an error below them, sent by service.
fn requests() -> Vec<Json> {
    let mut by_service: [(&str, Vec<Json>); 3] =
        [("web", Vec::new()), ("cart", Vec::new()), ("db", Vec::new())];
    for trace in 1..=TRACES {
        let [web, cart, db] = &mut by_service;
        let route = format!("/items/{}", trace % 7);
        web.1.push(span(
            trace,
            1,
            None,
            "GET /items",
            json!({
                "kind": 2,
                "attributes": [
                    attribute("http.route", json!(route)),
                    attribute("http.status_code", json!(if trace % 5 == 0 { 500 } else { 200 })),
                    attribute(&format!("rare.{trace}"), json!(trace)),
                ],
            }),
        ));
        cart.1.push(span(trace, 2, Some(1), "add", json!({
            "attributes": [attribute("items", json!(trace)), {"key": "tags", "value": {"arrayValue": {"values": [
                {"stringValue": "a"}, {"stringValue": format!("t{}", trace % 3)}]}}}],
            "links": [{"traceId": id(trace % 10 + 1), "spanId": "00000000000000ff", "attributes": [attribute("why", json!("retry"))]}],
        })));
        db.1.push(span(trace, 3, Some(2), "SELECT", json!({
            "kind": 3,
            "attributes": [attribute("db.share", json!(0.5)), attribute("db.cached", json!(trace % 2 == 0))],
        })));
        if trace % 5 == 0 {
            db.1.push(span(trace, 4, Some(3), "fsync", json!({
                "status": {"code": 2, "message": "disk full"},
                "events": [{"timeUnixNano": (BASE_NS + trace * SECOND + 5_000_000).to_string(), "name": "exception",
                            "attributes": [attribute("exception.type", json!("IoError"))]}],
            })));
        }
    }
    by_service
        .iter()
        .flat_map(|(service, spans)| {
            spans.chunks(25).map(|spans| request(service, spans)).collect::<Vec<_>>()
        })
        .collect()
}

fn memtable(requests: &[Json]) -> Arc<Memtable> {
    let memtable = Arc::new(Memtable::new());
    for request in requests {
        let limits = DecodeLimits::with_retention(86_400 * SECOND);
        let context = DecodeContext { received_at: BASE_NS + 600 * SECOND, limits };
        let decoded = throughline_wire::decode(
            Signal::Traces,
            Encoding::Json,
            request.to_string().as_bytes(),
            &context,
        );
        let decoded = decoded.expect("decodes");
        assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
        memtable.insert(decoded.batch, context.received_at);
    }
    memtable
}

fn blocks(memtable: &Memtable, disk: &SimDisk, next: &mut u64) -> Vec<Arc<Block>> {
    let options = BlockOptions { partition_ns: 1_000 * 3_600 * SECOND };
    let metas = write_blocks(disk, Path::new("data"), memtable, next, &options).expect("a block");
    let open = |meta| Arc::new(Block::open(disk, Path::new("data"), meta).expect("a block"));
    metas.into_iter().map(open).collect()
}

/// The same spans in memory, in a block, in two blocks that have all traces or few in common, and partly in a block and partly in memory.
fn sources() -> Vec<(&'static str, StoredTraces)> {
    let all = requests();
    let part = |rest: usize| -> Vec<Json> {
        all.iter().enumerate().filter(|(at, _)| at % 2 == rest).map(|(_, request)| request.clone()).collect()
    };
    let disk = SimDisk::new(1);
    let mut next = 1;
    let one = blocks(&memtable(&all), &disk, &mut next);
    let first = blocks(&memtable(&part(0)), &disk, &mut next);
    let second = blocks(&memtable(&part(1)), &disk, &mut next);
    let two: Vec<Arc<Block>> = first.iter().chain(&second).cloned().collect();
    // The first requests of each service are of the same traces, nearly.
    let (older, newer): (Vec<_>, Vec<_>) = all.iter().cloned().enumerate().partition(|(at, _)| at % 3 == 0);
    let requests =
        |part: Vec<(usize, Json)>| part.into_iter().map(|(_, request)| request).collect::<Vec<_>>();
    let older = blocks(&memtable(&requests(older)), &disk, &mut next);
    let newer = memtable(&requests(newer));
    let apart = [older.clone(), blocks(&newer, &disk, &mut next)].concat();
    let snapshot = |memtables: Vec<&Arc<Memtable>>, blocks: &[Arc<Block>]| {
        let views = memtables.iter().map(|memtable| memtable.view()).collect();
        StoredTraces::new(Snapshot::new(views, Arc::new(blocks.to_vec()), Arc::default(), BASE_NS))
    };
    vec![
        ("a memtable", snapshot(vec![&memtable(&all)], &[])),
        ("two memtables", snapshot(vec![&memtable(&part(0)), &memtable(&part(1))], &[])),
        ("a block", snapshot(Vec::new(), &one)),
        ("two blocks", snapshot(Vec::new(), &two)),
        ("two blocks with few traces in both", snapshot(Vec::new(), &apart)),
        ("a block and a memtable", snapshot(vec![&memtable(&part(1))], &first)),
        ("a block and a memtable with few traces in both", snapshot(vec![&newer], &older)),
    ]
}

fn params(limit: usize) -> SearchParams {
    SearchParams { start_ns: BASE_NS, end_ns: BASE_NS + 600 * SECOND, limit, spans_per_set: 0 }
}

fn search(source: &StoredTraces, query: &str, params: &SearchParams) -> Vec<FoundTrace> {
    let tree = checked(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let answer = Engine.search(&tree, params, source, &Budget::unlimited());
    let answer = answer.unwrap_or_else(|error| panic!("{query}: {error}"));
    assert_eq!(source.partial(), Vec::<String>::new(), "{query}");
    answer.traces
}

fn metrics(source: &StoredTraces, query: &str, step_ns: i64) -> Vec<MetricSeries> {
    let tree = checked(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let params = MetricsParams {
        start_ns: BASE_NS,
        end_ns: BASE_NS + 100 * SECOND,
        step_ns,
        exemplars: 10,
        series_max: 0,
    };
    let answer = Engine.metrics(&tree, &params, source, &Budget::unlimited());
    answer.unwrap_or_else(|error| panic!("{query}: {error}")).series
}

#[test]
fn spans_are_found_wherever_they_lie() {
    for (name, source) in sources() {
        for (query, traces, spans) in [
            ("{}", 60, 192),
            ("{ name = \"SELECT\" }", 60, 60),
            ("{ span.http.status_code = 500 }", 12, 12),
            ("{ .http.route =~ \"/items/[12]\" && kind = server }", 18, 18),
            ("{ span.rare.17 = 17 }", 1, 1),
            ("{ span.rare.61 != nil }", 0, 0),
            ("{ resource.host.name = \"db-1\" && status = error }", 12, 12),
            ("{ statusMessage =~ \"disk.*\" }", 12, 12),
            ("{ duration >= 40ms }", 12, 12),
            ("{ span.tags = \"t2\" }", 20, 20),
            ("{ span.db.share = 0.5 && span.db.cached }", 30, 30),
            ("{ event:name = \"exception\" && event.exception.type = \"IoError\" }", 12, 12),
            ("{ event:timeSinceStart = 1ms }", 12, 12),
            ("{ link.why = \"retry\" && link:traceID = \"0000000000000000000000000000000a\" }", 6, 6),
            (
                "{ instrumentation:name = \"lib\" && instrumentation.lang = \"rust\" && span:childCount = 0 }",
                60,
                60,
            ),
            ("{ rootServiceName = \"web\" && resource.service.name = \"cart\" }", 60, 60),
            ("{ traceDuration > 40ms }", 12, 48),
            ("{ span:parentID = \"0000000000000065\" }", 1, 1),
            ("{ nestedSetParent < 0 }", 60, 60),
            ("{ nestedSetLeft = 4 }", 12, 12),
            ("{ status = error } << { kind = server }", 12, 12),
            ("{ kind = server } >> { name = \"fsync\" }", 12, 12),
            ("{ kind = server } > { name = \"SELECT\" }", 0, 0),
            ("{ kind = server } &>> { name = \"fsync\" }", 12, 24),
            ("{ name = \"add\" } !< { kind = server }", 0, 0),
            ("{} | count() = 4", 12, 48),
            ("{ name = \"SELECT\" } && { status = error }", 12, 24),
            ("{ .items > 50 } | by(resource.service.name) | max(span.items) > 55", 5, 5),
            ("{} | by(resource.service.name) | count() > 1", 12, 24),
        ] {
            let found = search(&source, query, &params(100));
            let sets = || found.iter().flat_map(|trace| &trace.spansets);
            let matched: u64 = sets().map(|set| set.matched).sum();
            let shown: usize = sets().map(|set| set.spans.len()).sum();
            assert_eq!((found.len(), matched), (traces, spans), "{name}: {query}");
            assert_eq!(shown as u64, matched, "{name}: {query}");
        }
    }
}

#[test]
fn answers_are_the_same_wherever_spans_lie_and_when_asked_again() {
    let sources = sources();
    let queries = [
        "{} | avg(duration) > 12ms",
        "{ kind = client } | max(duration) >= 5ms",
        "{ status = error } | sum(duration) > 1ms",
        "{} | min(duration) < 5ms",
        "{ resource.service.name = \"db\" } | count() > 1",
        "{ resource.service.name = \"db\" && status = error }",
        "{ resource.service.name = \"web\" && status = error }",
        "{ name = \"SELECT\" && status = unset }",
        "{ .http.route = \"/items/3\" }",
        "{ span.http.route = \"/items/9\" }",
        "{ .host.name = \"db-1\" && name = \"fsync\" }",
        "{ .nothing = \"x\" }",
        "{ status = error } > { kind = client }",
        "{ kind = client } > { status = error }",
    ];
    let mut n_found = 0;
    for query in queries {
        let ids = |source: &StoredTraces| -> Vec<(String, u64)> {
            let found = search(source, query, &params(100));
            let matched = |trace: &FoundTrace| trace.spansets.iter().map(|set| set.matched).sum();
            found.iter().map(|trace| (trace.id.to_string(), matched(trace))).collect()
        };
        let expected = ids(&sources[0].1);
        n_found += usize::from(!expected.is_empty());
        for (name, source) in &sources {
            for time in ["first", "second"] {
                assert_eq!(ids(source), expected, "{name}: {query}, asked the {time} time");
            }
        }
    }
    assert!((6..=10).contains(&n_found), "{n_found} of the queries find something");
}

#[test]
fn the_newest_traces_are_shown_whole() {
    for (name, source) in sources() {
        for query in ["{ name = \"SELECT\" }", "{ kind = server } >> { name = \"SELECT\" }"] {
            let found = search(&source, query, &SearchParams { spans_per_set: 1, ..params(3) });
            let ids: Vec<String> = found.iter().map(|trace| trace.id.to_string()).collect();
            assert_eq!(ids, [id(60), id(59), id(58)], "{name}");
            let first = &found[0];
            assert_eq!(
                (first.root_service.as_str(), first.root_name.as_str()),
                ("web", "GET /items"),
                "{name}"
            );
            assert_eq!(first.start_ns, BASE_NS + 60 * SECOND + 1_000_000, "{name}");
            assert_eq!(first.duration_ns, 43_000_000, "{name}");
            let stats: Vec<(&str, u32, u32)> = first
                .services
                .iter()
                .map(|stats| (stats.service.as_str(), stats.spans, stats.errors))
                .collect();
            assert_eq!(stats, [("cart", 1, 0), ("db", 2, 1), ("web", 1, 0)], "{name}");
        }
        let found = search(
            &source,
            "{ status = error } | select(event.exception.type, resource.host.name)",
            &params(1),
        );
        let span = &found[0].spansets[0].spans[0];
        assert_eq!((span.name.as_str(), span.duration_ns), ("fsync", 40_000_000), "{name}");
        assert_eq!(span.id.to_string(), format!("{:016x}", 6_004), "{name}");
        let shown: Vec<String> =
            span.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(shown, ["status=error", "exception.type=\"IoError\"", "host.name=\"db-1\""], "{name}");
    }
}

#[test]
fn windows_are_those_of_traces() {
    for (name, source) in sources() {
        let within = |from_ms: i64, to_ms: i64| {
            let (start_ns, end_ns) = (BASE_NS + from_ms * 1_000_000, BASE_NS + to_ms * 1_000_000);
            search(&source, "{ name = \"add\" }", &SearchParams { start_ns, end_ns, ..params(100) }).len()
        };
        assert_eq!(within(10_000, 20_000), 10, "{name}");
        // The trace of the fifth second ends 43 ms after it, the others 33 ms.
        assert_eq!((within(5_040, 5_900), within(5_050, 5_900), within(6_040, 6_900)), (1, 0, 0), "{name}");
    }
}

#[test]
fn series_are_the_same_wherever_spans_lie() {
    for (name, source) in sources() {
        let number = |query: &str| -> f64 {
            metrics(&source, query, 0).iter().flat_map(|series| &series.samples).map(|(_, value)| value).sum()
        };
        for (query, expected) in [
            ("{} | count_over_time()", 192.0),
            ("{ status = error } | rate()", 0.12),
            ("{ .http.status_code >= 500 } | count_over_time() by (.http.route)", 12.0),
            ("{ kind = server } >> { name = \"fsync\" } | count_over_time()", 12.0),
            ("{ nestedSetParent < 0 && true } | count_over_time() by (resource.service.name)", 60.0),
            ("{ rootName = \"GET /items\" && name = \"add\" } | sum_over_time(span.items)", 1830.0),
            ("{ name = \"add\" } | avg_over_time(duration)", 0.02),
            ("{} | count() = 4 | count_over_time()", 48.0),
        ] {
            assert!((number(query) - expected).abs() < 1e-9, "{name}: {query}: {}", number(query));
        }
        let series = metrics(&source, "{} | rate() by (resource.service.name)", 10 * SECOND);
        let names: Vec<String> = series.iter().map(|series| format!("{:?}", series.labels)).collect();
        assert_eq!(names.len(), 3, "{name}: {names:?}");
        assert!(series.iter().all(|series| series.samples.len() == 10), "{name}");
        let exemplars: Vec<_> = series.iter().flat_map(|series| &series.exemplars).collect();
        assert!((1..=10).contains(&exemplars.len()), "{name}: {exemplars:?}");
        for exemplar in exemplars {
            assert!(
                exemplar.value > 0.0
                    && exemplar.labels.iter().any(|(name, _)| name == "resource.service.name")
            );
        }
        let compared = metrics(&source, "{} | compare({ status = error })", 0);
        let error = [("__meta_type", "selection"), ("name", "fsync")]
            .map(|(n, v)| (n.to_owned(), Value::Text(v.to_owned())));
        let of_error =
            compared.iter().find(|series| series.labels == error).expect("the name of spans in error");
        assert_eq!(of_error.samples.first().map(|(_, value)| *value), Some(12.0), "{name}");
        assert!(
            compared.iter().any(|series| series.labels.iter().any(|(name, _)| name == "span.http.route")),
            "{name}"
        );
    }
}

#[test]
fn limits_and_cancellation_end_queries() {
    for (name, source) in sources() {
        let tree = checked("{} | rate() by (name)").expect("a query");
        let params = MetricsParams {
            start_ns: BASE_NS,
            end_ns: BASE_NS + 100 * SECOND,
            step_ns: SECOND,
            exemplars: 0,
            series_max: 0,
        };
        let error = |limits: Limits| {
            Engine.metrics(&tree, &params, &source, &Budget::new(limits, Cancellation::new()))
        };
        for limits in [
            Limits { series: 2, ..Limits::NONE },
            Limits { steps: 99, ..Limits::NONE },
            Limits { bytes: 800, ..Limits::NONE },
        ] {
            let error = error(limits).expect_err("a limit");
            assert!(matches!(error, EvalError::Exec(ExecError::Exceeded { .. })), "{name}: {error}");
        }
        let token = Cancellation::new();
        token.cancel();
        let budget = Budget::new(Limits::NONE, token);
        let error = Engine.metrics(&tree, &params, &source, &budget).expect_err("canceled");
        assert!(matches!(error, EvalError::Exec(ExecError::Canceled)), "{name}: {error}");
        let tree = checked("{ name = \"add\" } >> {}").expect("a query");
        let error = Engine.search(&tree, &self::params(5), &source, &budget).expect_err("canceled");
        assert!(matches!(error, EvalError::Exec(ExecError::Canceled)), "{name}: {error}");
    }
}

/// A trace of so many spans in one line: each is the parent of the next.
#[test]
fn deep_traces_end() {
    const SPANS: i64 = 30_000;
    let spans: Vec<Json> = (1..=SPANS)
        .map(|number| {
            let start = BASE_NS + number;
            json!({
                "traceId": id(7), "spanId": format!("{number:016x}"),
                "parentSpanId": if number > 1 { format!("{:016x}", number - 1) } else { String::new() },
                "name": if number == SPANS { "last" } else { "next" }, "kind": 1,
                "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + 1_000).to_string(),
            })
        })
        .collect();
    let request = json!({"resourceSpans": [{"resource": {"attributes": [attribute("service.name", json!("deep"))]},
                                            "scopeSpans": [{"spans": spans}]}]});
    let disk = SimDisk::new(1);
    let memtable = memtable(&[request]);
    let blocks = blocks(&memtable, &disk, &mut 1);
    for (memtables, blocks) in [(vec![memtable.view()], Vec::new()), (Vec::new(), blocks)] {
        let source = StoredTraces::new(Snapshot::new(memtables, Arc::new(blocks), Arc::default(), BASE_NS));
        for (query, matched) in [
            ("{ nestedSetParent < 0 } >> { name = \"last\" }", 1),
            ("{ name = \"last\" } << {}", SPANS as u64 - 1),
            ("{} &>> {}", SPANS as u64),
            ("{ nestedSetRight > 30000 }", SPANS as u64),
            ("{ span:childCount = 0 }", 1),
            ("{} | count() > 29999", SPANS as u64),
        ] {
            let found = search(&source, query, &SearchParams { spans_per_set: 3, ..params(5) });
            assert_eq!(found.iter().map(|trace| trace.spansets[0].matched).sum::<u64>(), matched, "{query}");
        }
    }
}

/// The same spans without what makes it fast: one sink gets all batches, whatever statistics say, and every column is read whole.
struct Plain<'a>(&'a StoredTraces);

impl TraceSource for Plain<'_> {
    fn scan(
        &self,
        request: &SpanRequest<'_>,
        budget: &Budget,
        sink: &mut dyn SpanSink,
    ) -> Result<(), ExecError> {
        self.0.scan(&SpanRequest { tests: &[], ..*request }, budget, &mut PlainSink(sink))
    }

    fn trace(&self, id: TraceId, budget: &Budget) -> Result<Option<Box<dyn SpanBatch + '_>>, ExecError> {
        self.0.trace(id, budget)
    }
}

struct PlainSink<'a>(&'a mut dyn SpanSink);

impl SpanSink for PlainSink<'_> {
    fn batch(&mut self, batch: &dyn SpanBatch) -> Result<Demand, ExecError> {
        self.0.batch(&PlainBatch(batch))
    }
}

struct PlainBatch<'a>(&'a dyn SpanBatch);

impl SpanBatch for PlainBatch<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn column(&self, field: &SpanField) -> Result<Column, ExecError> {
        self.0.column(field)
    }

    fn pick(&self, field: &SpanField, rows: &[u32]) -> Result<Column, ExecError> {
        self.0.pick(field, rows)
    }

    fn runs(&self) -> Result<Vec<TraceRun>, ExecError> {
        self.0.runs()
    }

    fn heads(&self, runs: &[TraceRun]) -> Result<Vec<TraceHead>, ExecError> {
        // A few at a time are read row by row.
        let mut heads = Vec::new();
        for some in runs.chunks(7) {
            heads.extend(self.0.heads(some)?);
        }
        Ok(heads)
    }

    fn is_whole(&self, run: &TraceRun, id: TraceId) -> Result<bool, ExecError> {
        self.0.is_whole(run, id)
    }

    fn attributes(&self) -> Result<Vec<SpanField>, ExecError> {
        self.0.attributes()
    }

    fn starts_within(&self, start_ns: i64, end_ns: i64) -> bool {
        self.0.starts_within(start_ns, end_ns)
    }
}

/// So many spans that several threads share them: traces of ten, of which some have attributes that few have.
fn many() -> StoredTraces {
    let mut of_service = [Vec::new(), Vec::new()];
    for trace in 0..5_200i64 {
        for number in 1..=10 {
            let parent = (number > 1).then_some(number / 2);
            let mut attributes = vec![attribute("http.status", json!(200 + trace % 7 * number))];
            if trace % 40 == 3 {
                attributes.push(attribute("user", json!(format!("u{}", trace * number))));
            }
            let status = if (trace * 3 + number) % 11 == 0 { 2 } else { 0 };
            let start = BASE_NS + trace * 50_000_000 + number * 1_000_000;
            // A few last long, among them some of whose trace the rest is in the next row group.
            let long = if trace % 819 == 0 && number == 1 { 3_000 } else { 0 };
            let extra = json!({
                "kind": 1 + (trace + number) % 5,
                "status": {"code": status},
                "attributes": attributes,
                "startTimeUnixNano": start.to_string(),
                "endTimeUnixNano": (start + (trace % 97 + number + long) * 1_000_000).to_string(),
            });
            let span = span(trace + 1, number, parent, &format!("op {}", (trace + number) % 9), extra);
            of_service[(number % 2) as usize].push(span);
        }
    }
    let [one, other] = of_service;
    let requests: Vec<Json> = [("web", one), ("cart", other)]
        .iter()
        .flat_map(|(name, spans)| spans.chunks(5_000).map(|spans| request(name, spans)).collect::<Vec<_>>())
        .collect();
    let (disk, mut next) = (SimDisk::new(1), 1);
    let blocks = blocks(&memtable(&requests), &disk, &mut next);
    StoredTraces::new(Snapshot::new(Vec::new(), Arc::new(blocks), Arc::default(), BASE_NS))
}

#[test]
fn what_makes_it_fast_changes_no_answer() {
    let source = many();
    let plain = Plain(&source);
    let budget = Budget::unlimited();
    let end_ns = BASE_NS + 600 * SECOND;
    for query in [
        "{ span.http.status = 212 }",
        "{ span.user = \"nobody\" }",
        "{ span.user != \"u3\" }",
        "{ .user =~ \"u1.*5\" || .service.name = \"web\" && name = \"op 3\" }",
        "{ resource.service.name = \"cart\" && status = error }",
        "{ kind = server } > { kind = producer }",
        "{ kind = server } !> { status = error }",
        "{ status = error } << { kind = client } | count() > 2",
        "{ kind = server } &>> { status = error }",
        "{ name = \"op 1\" } ~ { name = \"op 2\" }",
        "{ name = \"op 1\" } && { status = error } | avg(duration) > 50ms",
        "{ kind = server } | avg(duration) > 400ms",
        "{ kind = server } | max(duration) >= 3001ms",
        "{} | max(duration) = 3001ms",
        "{ duration > 1s } | min(duration) <= 3001ms",
        "{} | min(duration) < 2ms",
        "{} | sum(duration) > 3s",
        "{ kind = server } > { kind = server }",
        "{ rootServiceName = \"web\" && traceDuration > 90ms }",
        "{ span:childCount = 2 && nestedSetLeft > 3 }",
        "{ span.user != nil } | by(name)",
        "{ duration > 2s }",
        "{ statusMessage = \"nobody's\" || rootName = \"nobody's\" }",
        "{ statusMessage = \"\" && rootServiceName != \"\" && instrumentation:version = \"\" && status = error }",
        "{ span:parentID = \"0000000000000000\" && span:parentID != nil }",
    ] {
        let tree = checked(query).unwrap_or_else(|error| panic!("{query}: {error}"));
        for limit in [20, 10_000] {
            let params = SearchParams { start_ns: BASE_NS, end_ns, limit, spans_per_set: 0 };
            let fast = Engine.search(&tree, &params, &source, &budget).expect("an answer");
            let slow = Engine.search(&tree, &params, &plain, &budget).expect("an answer");
            assert_eq!(fast, slow, "{query}");
        }
    }
    for query in [
        "{} | rate() by (resource.service.name)",
        "{ kind = server } | quantile_over_time(duration, .5, .99) by (name)",
        "{ status = error } >> {} | count_over_time()",
        "{} | sum_over_time(span.http.status) by (kind)",
        "{} | avg_over_time(duration)",
        "{} | min_over_time(duration) by (name)",
        "{ span.user != nil } | histogram_over_time(duration)",
        "{} | compare({ status = error })",
    ] {
        let tree = checked(query).unwrap_or_else(|error| panic!("{query}: {error}"));
        for step_ns in [0, 15 * SECOND] {
            let params = MetricsParams { start_ns: BASE_NS, end_ns, step_ns, exemplars: 0, series_max: 0 };
            let fast = Engine.metrics(&tree, &params, &source, &budget).expect("an answer");
            let slow = Engine.metrics(&tree, &params, &plain, &budget).expect("an answer");
            assert_eq!(fast.series.len(), slow.series.len(), "{query}");
            for (fast, slow) in fast.series.iter().zip(&slow.series) {
                assert_eq!(fast.labels, slow.labels, "{query}");
                assert_eq!(fast.samples.len(), slow.samples.len(), "{query}");
                // Sums of parts are rounded elsewhere.
                let is_close =
                    |(a, b): (&(i64, f64), &(i64, f64))| a.0 == b.0 && (a.1 - b.1).abs() <= 1e-12 * b.1.abs();
                assert!(fast.samples.iter().zip(&slow.samples).all(is_close), "{query}: {fast:?} {slow:?}");
            }
        }
    }
    assert_eq!(source.partial(), Vec::<String>::new());
}

/// Traces one by one, each read by its id: nothing is torn, and nothing is decided for many at once.
struct OneByOne<'a>(&'a StoredTraces, Vec<TraceId>);

impl TraceSource for OneByOne<'_> {
    fn scan(&self, _: &SpanRequest<'_>, budget: &Budget, sink: &mut dyn SpanSink) -> Result<(), ExecError> {
        for id in &self.1 {
            if let Some(trace) = self.0.trace(*id, budget)? {
                sink.batch(&PlainBatch(trace.as_ref()))?;
            }
        }
        Ok(())
    }

    fn trace(&self, id: TraceId, budget: &Budget) -> Result<Option<Box<dyn SpanBatch + '_>>, ExecError> {
        self.0.trace(id, budget)
    }
}

const TORN_TRACES: i64 = 30;

/// Traces of which some lie in several places: each span is in one of three, by its service, and in every fourth trace the root is
/// missing.
fn torn() -> Vec<(&'static str, StoredTraces)> {
    let mut of_place: [Vec<Json>; 3] = [Vec::new(), Vec::new(), Vec::new()];
    let mut all: Vec<Json> = Vec::new();
    for trace in 1..=TORN_TRACES {
        let roots = ["web", "shop", "app"];
        for number in 1..=12 {
            if number == 1 && trace % 4 == 0 {
                continue;
            }
            let service =
                if number == 1 { roots[trace as usize % 3] } else { ["cart", "db"][number as usize % 2] };
            let extra = json!({
                "kind": 1 + (trace * 7 + number * number) % 5,
                "status": {"code": if (trace * 5 + number) % 31 == 0 { 2 } else { 0 }},
                "attributes": [attribute("user", json!(format!("u{}", trace * number % 400)))],
            });
            let parent = (number > 1).then_some(number / 2);
            let name = format!("op {}", (trace + number * 3) % 7);
            let span = request(service, &[span(trace, number, parent, &name, extra)]);
            // Half of the traces are whole.
            let place = if trace % 2 == 0 { 0 } else { (number + trace) % 3 };
            of_place[place as usize].push(span.clone());
            all.push(span);
        }
    }
    let disk = SimDisk::new(1);
    let mut next = 1;
    let mut block = |spans: &[Json]| blocks(&memtable(spans), &disk, &mut next);
    let [first, second, third] = &of_place;
    let (one, other, last) = (block(first), block(second), block(third));
    let together = block(&all);
    let snapshot = |memtables: Vec<Arc<Memtable>>, blocks: Vec<Arc<Block>>| {
        let views = memtables.iter().map(|memtable| memtable.view()).collect();
        StoredTraces::new(Snapshot::new(views, Arc::new(blocks), Arc::default(), BASE_NS))
    };
    vec![
        ("a block", snapshot(Vec::new(), together)),
        ("three blocks", snapshot(Vec::new(), [one.clone(), other.clone(), last].concat())),
        ("two blocks and a memtable", snapshot(vec![memtable(third)], [one.clone(), other].concat())),
        ("a block and two memtables", snapshot(vec![memtable(second), memtable(third)], one)),
        (
            "two memtables",
            snapshot(vec![memtable(first), memtable(&[&second[..], third].concat())], Vec::new()),
        ),
    ]
}

#[test]
fn traces_in_several_places_are_found_as_if_they_were_in_one() {
    let sets =
        ["{ kind = producer }", "{ status = error }", "{ name = \"op 3\" }", "{ rootServiceName = \"web\" }"];
    let mut queries: Vec<String> = [
        "{ rootServiceName = \"web\" }",
        "{ rootServiceName = \"nobody\" }",
        "{ rootServiceName = \"\" && kind = server }",
        "{ rootServiceName != \"web\" && status = error }",
        "{ rootServiceName =~ \"s.*\" || traceDuration < 1ms }",
        "{ !(rootServiceName = \"web\" && status = error) && kind = client }",
        "{ rootServiceName = \"app\" && rootName = \"op 5\" && resource.service.name = \"db\" }",
        "{ rootName = \"op 5\" || status = error }",
        "{ (rootName = \"op 5\" || status = error) && (rootServiceName = \"web\" || kind = consumer) }",
        "{ rootName = name }",
        "{ traceDuration > 130ms }",
        "{ traceDuration < 100ms && status = error }",
        "{ traceDuration > 1h }",
        "{ span:childCount = 2 && rootServiceName = \"web\" }",
        "{ nestedSetParent < 0 && rootServiceName = \"web\" }",
        "{ rootServiceName = resource.service.name }",
        "{ rootServiceName = \"web\" } | count() > 11",
        "{ status = error } | avg(duration) > 60ms",
        "{ status = error } | by(rootServiceName) | max(duration) > 60ms",
        "{ span.user = \"u17\" }",
        "{ span.user = \"u170\" } && { span.user =~ \"u1.*\" }",
        "max(traceDuration) > 120ms",
    ]
    .map(str::to_owned)
    .to_vec();
    for (at, left) in sets.iter().enumerate() {
        for right in &sets[at..] {
            for op in [
                "&&", "||", ">", "!>", "&>", "<", "!<", "&<", ">>", "!>>", "&>>", "<<", "!<<", "&<<", "~",
                "!~", "&~",
            ] {
                queries.push(format!("{left} {op} {right}"));
            }
        }
    }
    let budget = Budget::unlimited();
    let ids: Vec<TraceId> =
        (1..=TORN_TRACES).map(|trace| TraceId::parse(&id(trace)).expect("an id").0).collect();
    for (name, source) in torn() {
        let alone = OneByOne(&source, ids.clone());
        for query in &queries {
            let tree = checked(query).unwrap_or_else(|error| panic!("{query}: {error}"));
            for limit in [5, 10_000] {
                let params = SearchParams { end_ns: BASE_NS + 1_000 * SECOND, ..params(limit) };
                let found = Engine.search(&tree, &params, &source, &budget).expect("an answer");
                let expected = Engine.search(&tree, &params, &alone, &budget).expect("an answer");
                assert_eq!(found.traces.len(), expected.traces.len(), "{name}: {query} {limit}");
                assert_eq!(found, expected, "{name}: {query} {limit}");
            }
            let Ok(tree) = checked(&format!("{query} | count_over_time() by (name)")) else { continue };
            let params = MetricsParams {
                start_ns: BASE_NS,
                end_ns: BASE_NS + 1_000 * SECOND,
                step_ns: 100 * SECOND,
                exemplars: 0,
                series_max: 0,
            };
            let counted = Engine.metrics(&tree, &params, &source, &budget).expect("an answer");
            let expected = Engine.metrics(&tree, &params, &alone, &budget).expect("an answer");
            assert_eq!(counted, expected, "{name}: {query}");
        }
    }
}
