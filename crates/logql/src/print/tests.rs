//! Queries as text again.

use crate::parse::parse;
use crate::print::pretty;

/// Printed on one line and on many, a query is the same query.
fn round_trip(query: &str) -> String {
    let expr = parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let text = expr.to_string();
    for printed in [text.clone(), pretty(&expr)] {
        let again = parse(&printed).unwrap_or_else(|error| panic!("{printed}: {error}"));
        assert_eq!(again.to_string(), text);
    }
    text
}

#[test]
fn queries_are_printed_as_they_are_written() {
    for query in [
        r#"{app="foo", zone!~"a|b"} |= "err" or ip("10.0.0.0/8") !~ "x" |> "<_> y""#,
        r#"{app="foo"} | json a="b.c[0]", d="d" | logfmt --strict --keep-empty x="y" | unpack | decolorize"#,
        r#"{app="foo"} | regexp "(?P<a>\\w+)" | pattern "<a> - <_>" | drop a, b="c" | keep d, e!~"f""#,
        r#"{app="foo"} | a="b" and (c > 5 or d <= 1m30s) and e == 1024B | f!=ip("::1") | g=~"h""#,
        r#"{app="foo"} | line_format "{{.a}} x" | label_format b=c, d="{{.e}}""#,
        r#"sum by (a, b) (rate({app="foo"} |= "x" [1m] offset 5m))"#,
        r#"quantile_over_time(0.99, {app="foo"} | unwrap duration(d) | __error__="" [1h]) by (a)"#,
        r#"topk(5, count_over_time({app="foo"} [1w])) / on (a) group_left (b, c) vector(2) > bool 1"#,
        r#"(1 + vector(2)) ^ 1.5 or on () bottomk without () (2, rate({a="b"} | unwrap bytes(x) [1s500ms]))"#,
        r#"label_replace(rate({a="b"} [1m] @ start()), "x", "$1", "y", "(.*)")"#,
        r#"variants(count_over_time({a="b"} [1m]), bytes_rate({a="b"} [1m])) of ({a="b"} [1m])"#,
        r#"absent_over_time({a="b"} [1m] @ 1.5 offset -1m)"#,
    ] {
        assert_eq!(round_trip(query), query);
    }
}

#[test]
fn other_ways_to_write_come_out_the_same() {
    for (query, printed) in [
        (r#"sum(rate(({a="b"} |= `x`)[60s])) by (c)"#, r#"sum by (c) (rate({a="b"} |= "x" [1m]))"#),
        (r#"rate({a="b"}[1m] |= "x" | json)"#, r#"rate({a="b"} |= "x" | json [1m])"#),
        (r#"{a="b"} | c="d", e=1KB f==2 # end"#, r#"{a="b"} | c="d" and e == 1000B and f == 2"#),
    ] {
        assert_eq!(round_trip(query), printed);
    }
}

#[test]
fn long_queries_are_broken_at_stages_and_parentheses() {
    let query = r#"sum by (cluster, namespace) (rate({app="foo", namespace="production"} |= "error" | json | status >= 500 | line_format "{{.status}}" [5m])) / 2"#;
    round_trip(query);
    let expected = r#"  sum by (cluster, namespace) (
    rate(
      {app="foo", namespace="production"}
        |= "error"
        | json
        | status >= 500
        | line_format "{{.status}}" [5m]
    )
  )
/
  2"#;
    assert_eq!(pretty(&parse(query).expect("a query")), expected);
}
