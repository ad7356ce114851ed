//! Each operator with entries that it can and cannot do something with.

use std::time::Duration;

use throughline_exec::search_bytes_regex;

use super::container::Format;
use super::csv::{Csv, Header, Quotes};
use super::edit::Added;
use super::key_value::KeyValue;
use super::recombine::{Edge, RecombineLimits};
use super::severity::{Mapping, number_of};
use super::*;
use crate::chain::{Chain, Outcome, Running};
use crate::expr::Template;
use crate::time::EpochUnit;
use crate::value::{Map, parse_json};

fn field(text: &str) -> Field {
    Field::parse(text).expect("a field")
}

fn expression(text: &str) -> Expression {
    Expression::parse(text, &|_| None).expect("an expression")
}

fn pattern(text: &str) -> Regex {
    search_bytes_regex(text, "").expect("a pattern")
}

fn json(text: &str) -> Value {
    parse_json(text, true).expect("JSON")
}

fn map(text: &str) -> Map {
    match json(text) {
        Value::Map(map) => map,
        _ => Map::new(),
    }
}

fn entry(body: Value) -> Entry {
    Entry { body, observed_at: 1_714_979_289_000_000_000, ..Entry::default() }
}

fn line(text: &str) -> Entry {
    entry(Value::Str(text.to_owned()))
}

/// Runs entries through one operator; what waits is let go at the end.
fn run(action: Action, entries: Vec<Entry>) -> Outcome {
    let on_error = OnError::Send { is_quiet: false };
    let operator =
        Operator { id: "it".to_owned(), condition: None, on_error, outputs: vec![Output::Store], action };
    let mut running = Running::new(Chain::new(vec![operator]).expect("a chain"));
    let mut outcome = Outcome::default();
    entries.into_iter().for_each(|entry| running.push(entry, Duration::ZERO, &mut outcome));
    running.release(true, Duration::ZERO, &mut outcome);
    outcome
}

fn good(action: Action, entry: Entry) -> Entry {
    let mut outcome = run(action, vec![entry]);
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    outcome.entries.pop().expect("an entry")
}

/// The failure of an operator; the entry goes on.
fn bad(action: Action, entry: Entry) -> String {
    let mut outcome = run(action, vec![entry]);
    assert_eq!(outcome.entries.len(), 1);
    outcome.failures.pop().expect("a failure").reason
}

fn parser(parser: Parser) -> Action {
    Action::Parse(Box::default(), parser)
}

#[test]
fn json_becomes_attributes() {
    let json_parser = || parser(Parser::Json { whole_numbers: false });
    let parsed = good(json_parser(), line(r#"{"a":1,"b":{"c":"x"}}"#));
    assert_eq!(parsed.attributes["a"], Value::Float(1.0));
    assert_eq!(parsed.attributes["b"], json(r#"{"c":"x"}"#));
    assert_eq!(parsed.body.kind(), "text");
    for (text, word) in [("{", "EOF"), ("7", "not an object"), ("", "EOF")] {
        assert!(bad(json_parser(), line(text)).contains(word), "{text}");
    }
    assert!(bad(json_parser(), entry(Value::Int(7))).contains("not text"));
    let whole = good(parser(Parser::Json { whole_numbers: true }), line(r#"{"a":1}"#));
    assert_eq!(whole.attributes["a"], Value::Int(1));
}

#[test]
fn a_parser_says_where_and_takes_more_from_what_it_parsed() {
    let parse = Parse {
        from: field("body.raw"),
        to: field("body"),
        time: Some(TimeRule {
            from: field("body.t"),
            format: TimeFormat::Epoch(EpochUnit::from_layout("s").expect("a unit")),
        }),
        severity: Some(severity_of("body.level")),
        trace: Some(trace_of("body")),
        scope: Some(field("body.logger")),
        ..Parse::default()
    };
    let raw = r#"{"t":7,"level":"warning","logger":"main","trace_id":"0102030405060708090a0b0c0d0e0f10","span_id":"0102030405060708","trace_flags":"01"}"#;
    let body = Value::Map(Map::from([("raw".to_owned(), Value::Str(raw.to_owned()))]));
    let action = Action::Parse(Box::new(parse.clone()), Parser::Json { whole_numbers: true });
    let parsed = good(action.clone(), entry(body));
    assert_eq!(parsed.timestamp, Some(7_000_000_000));
    assert_eq!((parsed.severity, parsed.severity_text.as_str()), (13, "warning"));
    assert_eq!((parsed.scope.as_str(), parsed.trace_flags), ("main", Some(1)));
    assert_eq!(parsed.trace_id.map(|id| id[15]), Some(0x10));
    // A bad time does not keep the severity from being found.
    let body = json(r#"{"raw":"{\"t\":true,\"level\":\"error\",\"logger\":\"x\"}"}"#);
    let outcome = run(action, vec![entry(body)]);
    assert_eq!(outcome.entries[0].severity, 17);
    assert!(outcome.failures[0].reason.starts_with("timestamp: "), "{:?}", outcome.failures);
    let body = Parse { body: Some(field("attributes.msg")), ..Parse::default() };
    let action = Action::Parse(Box::new(body), Parser::Regex(pattern("(?P<msg>[a-z]+)$")));
    assert_eq!(good(action, line("1 text")).body, Value::Str("text".to_owned()));
}

#[test]
fn named_groups_become_attributes() {
    let action = || parser(Parser::Regex(pattern(r"^Host=(?P<host>[^,]+)(, Type=(?P<type>.*))?$")));
    let parsed = good(action(), line("Host=a, Type=é"));
    assert_eq!(parsed.attributes, map(r#"{"host":"a","type":"é"}"#));
    assert_eq!(good(action(), line("Host=a")).attributes, map(r#"{"host":"a","type":""}"#));
    assert_eq!(bad(action(), line("nothing")), "regex pattern does not match");
}

#[test]
fn pairs_become_attributes() {
    let rule = |delimiter: &str, pair: &str| {
        parser(Parser::KeyValue(KeyValue {
            delimiter: delimiter.to_owned(),
            pair_delimiter: pair.to_owned(),
        }))
    };
    let parsed = good(rule("=", " "), line(r#"name=stanza  msg="two words" e='' q="a \"b\"" u=a=b"#));
    assert_eq!(
        parsed.attributes,
        map(r#"{"name":"stanza","msg":"two words","e":"","q":"a \\\"b\\\"","u":"a=b"}"#)
    );
    let parsed = good(rule(":", "!"), line("name:stanza ! org:otel"));
    assert_eq!(parsed.attributes, map(r#"{"name":"stanza","org":"otel"}"#));
    assert!(bad(rule("=", " "), line("name")).contains("has no"));
    assert!(bad(rule("=", " "), line("name=\"x")).contains("end of a quoted value"));
}

#[test]
fn rows_become_attributes() {
    let names = |text: &str| Header::Names(text.split(',').map(str::to_owned).collect());
    let csv = |header, delimiter, quotes| parser(Parser::Csv(Csv { header, delimiter, quotes }));
    let strict = || csv(names("id,level,msg"), ',', Quotes::Strict);
    assert_eq!(
        good(strict(), line(r#"1,debug,"a, ""b""""#)).attributes,
        map(r#"{"id":"1","level":"debug","msg":"a, \"b\""}"#)
    );
    assert_eq!(good(strict(), line("1,,")).attributes, map(r#"{"id":"1","level":"","msg":""}"#));
    assert_eq!(bad(strict(), line("1,2")), "wrong number of fields: expected 3, found 2");
    assert!(bad(strict(), line("1,a\"b,c")).contains("quote"));
    assert!(bad(strict(), line("1,\"b,c")).contains("no end"));
    let lazy = csv(names("a,b"), '\t', Quotes::Lazy);
    assert_eq!(good(lazy, line("x\"y\t\"p\"q\"")).attributes, map(r#"{"a":"x\"y","b":"p\"q"}"#));
    let ignored = csv(names("a,b"), ',', Quotes::Ignored);
    assert_eq!(good(ignored, line("\"x,y\"")).attributes, map(r#"{"a":"\"x","b":"y\""}"#));
    let by_attribute = || csv(Header::Attribute("names".to_owned(), ';'), ',', Quotes::Strict);
    let given = Entry { attributes: map(r#"{"names":"a;b"}"#), ..line("1,2") };
    assert_eq!(good(by_attribute(), given).attributes, map(r#"{"a":"1","b":"2","names":"a;b"}"#));
    assert!(bad(by_attribute(), line("1,2")).contains("missing"));
}

fn severity_of(from: &str) -> Severity {
    let mut mapping = Mapping::preset("").expect("a preset");
    mapping.add_word("oops", 21);
    mapping.add_word("4xx", 17);
    mapping.add_range(9050, 9001, 18);
    Severity { from: field(from), mapping, overwrite_text: false }
}

#[test]
fn severities_are_found() {
    let find = |body: Value| {
        let found = good(Action::Severity(severity_of("body")), entry(body));
        (found.severity, found.severity_text)
    };
    let text = |text: &str| Value::Str(text.to_owned());
    for (body, number, written) in [
        (text("ERROR"), 17, "ERROR"),
        (text("Warning2"), 14, "Warning2"),
        (text("err"), 17, "err"),
        (text("OOPS"), 21, "OOPS"),
        (Value::Int(404), 17, "404"),
        (text("9010"), 18, "9010"),
        (text("09010"), 0, "09010"),
        (Value::Float(9.0), 9, "9"),
        (Value::Bytes(b"info".to_vec()), 9, "info"),
        (text("unknown"), 0, "unknown"),
        (text(""), 0, ""),
    ] {
        assert_eq!(find(body.clone()), (number, written.to_owned()), "{body:?}");
    }
    assert!(bad(Action::Severity(severity_of("body")), entry(Value::Float(1.5))).contains("whole"));
    assert!(bad(Action::Severity(severity_of("body")), entry(Value::Bool(true))).contains("cannot be"));
    assert!(bad(Action::Severity(severity_of("body.x")), line("x")).contains("body.x"));
    let short = Severity { overwrite_text: true, ..severity_of("body") };
    assert_eq!(good(Action::Severity(short.clone()), line("warning3")).severity_text, "WARN3");
    assert_eq!(good(Action::Severity(short), line("unknown")).severity_text, "unknown");
    let none = Severity { mapping: Mapping::preset("none").expect("a preset"), ..severity_of("body") };
    assert_eq!(good(Action::Severity(none), line("error")).severity, 0);
    assert!(Mapping::preset("syslog").is_none());
    let numbers = ["default", "trace", "info4", "FATAL4", "13"].map(number_of);
    assert_eq!(numbers, [Some(0), Some(1), Some(12), Some(24), Some(13)]);
    assert_eq!(["", "info5", "25", "loud", "0"].map(number_of), [None; 5]);
}

fn trace_of(root: &str) -> Trace {
    let key = |name: &str| field(&format!("{root}.{name}"));
    Trace { trace_id: key("trace_id"), span_id: key("span_id"), flags: key("trace_flags") }
}

#[test]
fn trace_context_is_hexadecimal() {
    let action = || Action::Trace(trace_of("attributes"));
    let with = |text: &str| Entry { attributes: map(text), ..line("x") };
    let found = good(
        action(),
        with(r#"{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7"}"#),
    );
    assert_eq!(found.span_id, Some([0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]));
    assert_eq!((found.trace_id.map(|id| id[0]), found.trace_flags), (Some(0x4b), None));
    assert_eq!(good(action(), with(r#"{"trace_id":""}"#)).trace_id, None);
    for text in [
        r#"{"trace_id":"xyz1"}"#,
        r#"{"span_id":"abc"}"#,
        r#"{"trace_flags":"0101"}"#,
        r#"{"trace_id":"+1"}"#,
    ] {
        bad(action(), with(text));
    }
    let both = run(action(), vec![with(r#"{"trace_id":"zz","span_id":"00f067aa0ba902b7"}"#)]);
    assert!(both.entries[0].span_id.is_some() && both.failures[0].reason.starts_with("trace_id"));
}

#[test]
fn times_and_scopes_are_taken_from_fields() {
    let unit = EpochUnit::from_layout("ms").expect("a unit");
    let rule = || Action::Time(TimeRule { from: field("attributes.t"), format: TimeFormat::Epoch(unit) });
    let with = |text: &str| Entry { attributes: map(text), ..line("x") };
    assert_eq!(good(rule(), with(r#"{"t":7}"#)).timestamp, Some(7_000_000));
    assert!(bad(rule(), with(r#"{"t":"x"}"#)).contains("epoch"));
    assert!(bad(rule(), line("x")).contains("attributes.t"));
    assert_eq!(good(Action::ScopeName(field("body")), line("lib")).scope, "lib");
    assert!(bad(Action::ScopeName(field("attributes.s")), line("x")).contains("attributes.s"));
}

#[test]
fn fields_are_changed() {
    let given = || Entry {
        attributes: map(r#"{"a":{"b":1,"c":2},"d":"\"x\\n\""}"#),
        resource: map(r#"{"r":1,"s":2}"#),
        ..line("x")
    };
    let edit = |edit: Edit| good(Action::Edit(edit), given());
    let fails = |edit: Edit| bad(Action::Edit(edit), given());
    let computed = Added::Computed(
        Template::parse("EXPR(body + \"_\" + string(attributes.a.b))", &|_| None).expect("parses"),
    );
    assert_eq!(
        edit(Edit::Add(field("attributes.n"), computed)).attributes["n"],
        Value::Str("x_1".to_owned())
    );
    let fixed = edit(Edit::Add(field("body.k"), Added::Fixed(json("[1]"))));
    assert_eq!(fixed.body, json(r#"{"k":[1]}"#));
    assert_eq!(edit(Edit::Copy(field("attributes.a"), field("body"))).body, json(r#"{"b":1,"c":2}"#));
    let moved = edit(Edit::Move(field("attributes.a.b"), field("resource.b")));
    assert_eq!(
        (moved.resource["b"].clone(), moved.attributes["a"].clone()),
        (Value::Int(1), json(r#"{"c":2}"#))
    );
    let kept = run(Action::Edit(Edit::Move(field("body"), field("attributes"))), vec![given()]);
    assert_eq!(kept.entries[0], given(), "a move that fails moves nothing");
    assert_eq!(edit(Edit::Remove(field("attributes.a"))).attributes.len(), 1);
    let retained =
        edit(Edit::Retain(vec![field("attributes.a.c"), field("resource.s"), field("resource.none")]));
    assert_eq!(retained.attributes, map(r#"{"a":{"c":2}}"#));
    assert_eq!((retained.resource, retained.body), (map(r#"{"s":2}"#), Value::Str("x".to_owned())));
    assert_eq!(edit(Edit::Flatten(field("attributes.a"))).attributes.len(), 3);
    assert_eq!(edit(Edit::Unquote(field("attributes.d"))).attributes["d"], Value::Str("x\n".to_owned()));
    let replace = Edit::Replace(field("body"), pattern("(?P<x>x)"), "<$x>".to_owned());
    assert_eq!(edit(replace).body, Value::Str("<x>".to_owned()));
    for failing in [
        Edit::Copy(field("attributes.none"), field("body")),
        Edit::Move(field("body.none"), field("attributes.x")),
        Edit::Remove(field("attributes.none")),
        Edit::Flatten(field("attributes.d")),
        Edit::Flatten(field("attributes")),
        Edit::Unquote(field("body")),
        Edit::Replace(field("attributes.a"), pattern("x"), String::new()),
    ] {
        assert!(!fails(failing).is_empty());
    }
}

fn recombine(edge: Edge) -> Recombine {
    let limits =
        RecombineLimits { parts: 4, unmatched_parts: 3, bytes: 0, sources: 2, wait: Duration::from_secs(5) };
    let sources = vec![field("attributes.source")];
    Recombine { edge, field: Field::body(), with: "\n".to_owned(), keep_newest: true, sources, limits }
}

fn combined(rule: Recombine, lines: &[&str]) -> Vec<String> {
    let outcome = run(Action::Recombine(Box::new(rule)), lines.iter().map(|text| line(text)).collect());
    outcome.entries.iter().filter_map(|entry| entry.body.scalar()).collect()
}

#[test]
fn lines_become_one_entry() {
    let first = || recombine(Edge::First(expression("body == 'log1'")));
    let lines = ["log2", "log3", "log4", "log5", "log1", "log6", "log7", "log1"];
    assert_eq!(combined(first(), &lines), ["log2\nlog3\nlog4", "log5", "log1\nlog6\nlog7", "log1"]);
    let last = recombine(Edge::Last(expression("body == 'log1'")));
    assert_eq!(combined(last, &lines), ["log2\nlog3\nlog4", "log5\nlog1", "log6\nlog7\nlog1"]);
    assert_eq!(
        combined(first(), &["log1", "a", "b", "c", "d"]),
        ["log1\na\nb\nc", "d"],
        "at most four parts"
    );
    let mut small = first();
    small.limits.bytes = 5;
    assert_eq!(combined(small, &["log1", "abc", "d"]), ["log1\nabc", "d"]);
}

#[test]
fn sources_are_kept_apart_and_their_number_is_limited() {
    let rule = recombine(Edge::First(expression("body startsWith 'x'")));
    let from = |source: &str, body: &str| Entry {
        attributes: map(&format!("{{\"source\":\"{source}\"}}")),
        ..line(body)
    };
    let lines = vec![from("a", "x1"), from("b", "x2"), from("a", "y1"), from("b", "y2")];
    let bodies =
        |outcome: Outcome| outcome.entries.iter().filter_map(|e| e.body.scalar()).collect::<Vec<_>>();
    let action = || Action::Recombine(Box::new(rule.clone()));
    assert_eq!(bodies(run(action(), lines)), ["x1\ny1", "x2\ny2"]);
    let lines = vec![from("a", "x1"), from("b", "x2"), from("c", "x3"), from("a", "y1")];
    assert_eq!(bodies(run(action(), lines)), ["x1", "x2", "y1", "x3"], "a third source lets the others go");
    // What cannot be put together goes on as it is.
    let outcome = run(action(), vec![from("a", "x1"), entry(Value::Int(7))]);
    assert_eq!((outcome.entries.len(), outcome.failures.len()), (2, 1));
}

#[test]
fn what_waits_is_let_go_in_time_and_is_known() {
    let on_error = OnError::Send { is_quiet: false };
    let action = Action::Recombine(Box::new(recombine(Edge::Last(expression("body == 'end'")))));
    let operator =
        Operator { id: "r".to_owned(), condition: None, on_error, outputs: vec![Output::Store], action };
    let mut running = Running::new(Chain::new(vec![operator]).expect("a chain"));
    let mut outcome = Outcome::default();
    for start in [10, 20] {
        let origin = crate::entry::Origin { file: 3, start, record: 1 };
        running.push(Entry { origin, ..line("part") }, Duration::from_secs(1), &mut outcome);
    }
    assert_eq!(running.earliest(3).map(|origin| origin.start), Some(10));
    assert_eq!(running.earliest(4), None);
    assert!(!running.is_due(Duration::from_secs(5)) && running.is_due(Duration::from_secs(6)));
    running.release(false, Duration::from_secs(6), &mut outcome);
    assert_eq!(outcome.entries[0].body, Value::Str("part\npart".to_owned()));
    assert_eq!(running.earliest(3), None);
}

const POD: &str = "/var/log/pods/some-ns_kube-controller_49cc7c1f-d370-2c40-b268-6ea7486091d6/main/1.log";

fn container(format: Option<Format>, add_metadata: bool) -> Action {
    let edge = Edge::Last(expression("attributes.logtag == 'F'"));
    let sources = vec![field(r#"attributes["log.file.path"]"#), field(r#"attributes["log.iostream"]"#)];
    let recombine = Recombine { with: String::new(), sources, ..recombine(edge) };
    Action::Container(Box::new(Container { format, add_metadata, parse: Parse::default(), recombine }))
}

fn from_pod(text: &str) -> Entry {
    Entry { attributes: Map::from([("log.file.path".to_owned(), Value::Str(POD.to_owned()))]), ..line(text) }
}

#[test]
fn lines_of_container_runtimes_are_read() {
    let docker =
        r#"{"log":"INFO: log line here\n","stream":"stdout","time":"2024-03-30T08:31:20.545192187Z"}"#;
    let crio = "2024-04-13T07:59:37.505201169-05:00 stderr F a crio line";
    let containerd = "2023-06-22T10:27:25.813799277Z stdout F a containerd line";
    for (text, body, stream, seconds) in [
        (docker, "INFO: log line here", "stdout", 1_711_787_480),
        (crio, "a crio line", "stderr", 1_713_013_177),
        (containerd, "a containerd line", "stdout", 1_687_429_645),
    ] {
        let found = good(container(None, true), from_pod(text));
        assert_eq!(found.body, Value::Str(body.to_owned()));
        assert_eq!(found.attributes["log.iostream"], Value::Str(stream.to_owned()));
        assert!(!found.attributes.contains_key("time") && !found.attributes.contains_key("log"));
        assert_eq!(found.timestamp.map(|ns| ns / 1_000_000_000), Some(seconds));
        let expected = r#"{"k8s.container.name":"main","k8s.container.restart_count":"1","k8s.namespace.name":"some-ns",
            "k8s.pod.name":"kube-controller","k8s.pod.uid":"49cc7c1f-d370-2c40-b268-6ea7486091d6"}"#;
        assert_eq!(found.resource, map(expected));
    }
    assert!(good(container(Some(Format::Containerd), false), line(containerd)).resource.is_empty());
    for (action, entry, word) in [
        (container(None, true), from_pod("plain text"), "no format"),
        (container(Some(Format::CriO), true), from_pod(containerd), "CRI"),
        (container(None, true), line(crio), "include_file_path"),
        (container(None, true), from_pod("{\"log\":\"x\"}"), "attributes.time"),
        (container(None, true), from_pod("{"), "EOF"),
    ] {
        let reason = bad(action, entry);
        assert!(reason.contains(word), "{reason}");
    }
}

#[test]
fn partial_lines_are_put_together_for_each_stream() {
    let part = |stream: &str, tag: &str, text: &str| {
        from_pod(&format!("2023-06-22T10:27:25.813799277Z {stream} {tag} {text}"))
    };
    let lines = vec![
        part("stdout", "P", "multiline that i"),
        part("stderr", "F", "between"),
        part("stdout", "F", "s one"),
    ];
    let outcome = run(container(None, true), lines);
    let bodies: Vec<String> = outcome.entries.iter().filter_map(|entry| entry.body.scalar()).collect();
    assert_eq!(bodies, ["between", "multiline that is one"]);
    assert_eq!(outcome.entries[1].attributes["logtag"], Value::Str("F".to_owned()));
}
