//! What is refused, and how it is said.

use super::*;

fn message(query: &str) -> String {
    match parse(query) {
        Ok(expr) => panic!("{query} was read as {expr}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn errors_say_where_and_what() {
    for (query, part) in [
        ("", "line 1, col 1: syntax error: unexpected $end"),
        ("sum(\n  foo)", "line 2, col 3: syntax error: unexpected IDENTIFIER"),
        (r#"-rate({a="b"}[1m])"#, "unexpected rate, expecting NUMBER"),
        (r#"{a="b"} | keep"#, "unexpected $end, expecting IDENTIFIER"),
        (r#"{a=~".*"}"#, "queries require at least one regexp or equality matcher"),
        ("{}", "queries require at least one"),
        (r#"{a="b""#, "unexpected $end, expecting } or ,"),
        (r#"rate({a="b"})"#, "unexpected ), expecting RANGE"),
        (r#"rate({a="b"}[5])"#, "missing unit in duration"),
        (r#"rate({a="b"}[5x])"#, "unknown unit \"x\" in duration \"5x\""),
        (r#"{a="b"} |= 5"#, "unexpected NUMBER, expecting STRING or ip"),
        (r#"{a="b"} |~ "(""#, "error parsing regexp"),
        (r#"{a="b"} | regexp "a""#, "at least one named capture must be supplied"),
        (r#"{a="b"} | regexp "(?P<x>a)(?P<x>b)""#, "duplicate extracted label name 'x'"),
        (r#"{a="b"} | pattern "<a><b>""#, "found consecutive capture"),
        (r#"{a="b"} | json x="a..b""#, "cannot parse expression [a..b]"),
        (r#"{a="b"} | label_format a=b,a=c"#, "multiple label name 'a' not allowed"),
        (r#"{a="b"} | line_format "{{""#, "invalid line template"),
        (r#"{a="b"} | label_format x="{{ nope }}""#, "invalid template for label 'x'"),
        (r#"{a="b"} | a > 1mb"#, "unexpected IDENTIFIER"),
        (r#"{a="b"} | a == "b""#, "syntax error: unexpected STRING"),
        (r#"{a="b"} | unwrap c"#, "unexpected unwrap"),
        (r#"sum_over_time({a="b"} | unwrap c | json [1m])"#, "only label filters may follow unwrap"),
        (r#"count_over_time({a="b"} | unwrap c [1m])"#, "invalid aggregation count_over_time with unwrap"),
        (r#"topk(rate({a="b"}[1m]))"#, "parameter required for operation topk"),
        (r#"topk(0, rate({a="b"}[1m]))"#, "invalid parameter (must be greater than 0) topk(0"),
        (r#"topk(1e18, rate({a="b"}[1m]))"#, "invalid parameter topk(1e18,"),
        (r#"topk(1000000000000000000, rate({a="b"}[1m]))"#, "must be at most 4294967295"),
        (r#"sum(1, rate({a="b"}[1m]))"#, "unsupported parameter for operation sum(1,"),
        (r#"sort by (a) (rate({a="b"}[1m]))"#, "sort and sort_desc doesn't allow grouping by"),
        (r#"rate({a="b"}[1m]) bool > 1"#, "unexpected bool"),
        (
            r#"1 or vector(1)"#,
            "unexpected literal for left leg of logical/set binary operation (or): 1.000000",
        ),
        (r#"{a="b"} + 1"#, "unexpected type for left leg of binary operation (+)"),
        (r#"sum({a="b"})"#, "expected an aggregation of log lines, got log lines"),
        (r#"label_replace(vector(1), "a", "b", "c", "(")"#, "invalid regex in label_replace"),
        (r#"{a="b"} | a = ip("x")"#, "ip: invalid pattern"),
        (r#"{a="b"} ) "#, "unexpected )"),
    ] {
        let message = message(query);
        assert!(message.contains(part), "{query}: {message}");
    }
}

#[test]
fn hostile_queries_are_refused_with_the_limit() {
    let stages = format!(r#"{{a="b"}}{}"#, r#" |= "x""#.repeat(5_000));
    assert!(message(&stages).contains("more than 512 stages"));
    let parens = format!("{}1{}", "(".repeat(5_000), ")".repeat(5_000));
    assert!(message(&parens).contains("nested deeper than 96 levels"));
    assert!(message(&format!("1{}", "+1".repeat(5_000))).contains("more than 192 operators"));
    assert!(message(&format!("1{}", "^1".repeat(5_000))).contains("nested deeper"));
    let filters = format!(r#"{{a="b"}} | a="b"{}"#, r#" or a="b""#.repeat(4_000));
    assert!(message(&filters).contains("more than 256 conditions"));
    let deep = format!(r#"{{a="b"}} | {}a="b""#, "(".repeat(5_000));
    assert!(message(&deep).contains("nested deeper"));
    let ranges = format!("rate({}", "(".repeat(5_000));
    assert!(message(&ranges).contains("nested deeper"));
    let texts = format!(r#"{{a="b"}} |= "x"{}"#, r#" or "x""#.repeat(4_000));
    assert!(message(&texts).contains("more than 256 texts"));
    assert!(message(r#"{a="b"} |~ "(a{1000}){1000}""#).contains("error parsing regexp"));
    assert!(message(&"a".repeat(200 << 10)).contains("longer than"));
    assert!(message(&"( ".repeat(30_000)).contains("tokens"));
}

#[test]
fn words_are_labels_where_labels_stand() {
    for query in [
        r#"{json="a"} | json != "x" | duration > 5s | bytes < 5KB | sum = 3"#,
        r#"sum by (by, sum, count_over_time) (rate({a="b"} | unwrap bytes(bytes) [1m]))"#,
        r#"rate({a="b"} | json [1m] offset 5m)"#,
        r#"rate({a="b"}[1m] offset 5m | json)"#,
        r#"rate({a="b"} [1m]) * on (a) group_left (sum(rate({a="b"}[1m])))"#,
        r#"{a="b"} | drop json, logfmt != "x" |= "y""#,
    ] {
        assert!(parse(query).is_ok(), "{query}: {:?}", parse(query).err());
    }
}
