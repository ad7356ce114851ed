//! Queries that nobody wrote: pieces of queries put together at random.

use proptest::prelude::*;
use throughline_exec::log::{MemoryLogs, MemoryRow};
use throughline_exec::{Budget, Cancellation, Labels, Limits};
use throughline_logql::{Engine, QueryParams, parse, print};

/// Pieces that a query is made of, those that begin and end something more often than others.
const PIECES: [&str; 72] = [
    "{a=\"b\"}",
    "{a=~\".+\"}",
    "{",
    "}",
    "(",
    ")",
    "(",
    ")",
    "[1m]",
    "[5s]",
    "[292y]",
    ",",
    "|",
    "|=",
    "!=",
    "|~",
    "!~",
    "|>",
    "!>",
    "=",
    "==",
    ">",
    "<=",
    "\"b\"",
    "`x.*`",
    "\"<_> y\"",
    "`(?P<n>\\w+)`",
    "\"{{.a}}{{ .b | upper }}\"",
    "1",
    "2.5",
    "1m",
    "5KB",
    "| json",
    "| logfmt",
    "| logfmt --strict --keep-empty",
    "| regexp",
    "| pattern \"<x> <_>\"",
    "| unpack",
    "| unwrap",
    "| drop a",
    "| keep b=\"c\"",
    "| line_format",
    "| label_format c=a",
    "| decolorize",
    "| a=\"b\"",
    "| n > 1 or a != \"x\"",
    "| __error__=\"\"",
    "duration(n)",
    "rate(",
    "count_over_time(",
    "sum_over_time(",
    "quantile_over_time(0.5,",
    "absent_over_time(",
    "rate_counter(",
    "sum(",
    "sum by (a) (",
    "topk(2,",
    "sort(",
    "avg without (a) (",
    "vector(1)",
    "label_replace(",
    "by (a, n)",
    "offset 1m",
    "@ 5",
    "+",
    "/",
    "^",
    "and",
    "or on (a)",
    "> bool",
    "* on (a) group_left (n)",
    "ip(\"10.0.0.0/8\")",
];

/// Whole queries that pieces are put into.
const QUERIES: [&str; 8] = [
    "sum by (a) (rate({a=~\".+\"} |= \"x\" | json | n > 1 [1m] offset 5s))",
    "quantile_over_time(0.9, {a=\"b\"} | logfmt | unwrap duration(n) | __error__=\"\" [1m]) by (n)",
    "{a=\"b\"} |= \"x\" or \"y\" != ip(\"10.0.0.1\") | logfmt x=\"y\" | line_format \"{{.x}}\"",
    "topk(2, count_over_time({a=\"b\"} | pattern \"<x> <_>\" | drop a [1m])) > bool 1",
    "label_replace(rate({a=\"b\"}[1m]), \"x\", \"$1\", \"a\", \"(.*)\") and on (a) vector(1)",
    "variants(count_over_time({a=\"b\"}[1m]), bytes_rate({a=\"b\"}[1m])) of ({a=\"b\"}[1m])",
    "absent_over_time({a=\"b\"} | json a=\"b.c[0]\" | keep a [5m] @ 5)",
    "1 + 2 ^ -3 % vector(4)",
];

fn logs() -> MemoryLogs {
    let mut logs = MemoryLogs::default();
    let lines = [
        "x {\"n\":1}",
        "{\"n\":\"5s\",\"b\":{\"c\":[1]}}",
        "n=5 x=\"y z\"",
        "10.0.0.1 y",
        "\u{1b}[1mé\u{1b}[0m",
        "",
    ];
    for (at, line) in lines.iter().cycle().take(60).enumerate() {
        let stream = Labels::from_pairs([("a", if at % 2 == 0 { "b" } else { "c" })]);
        let metadata = vec![("n".to_owned(), at.to_string())];
        logs.push(
            &stream,
            MemoryRow { time_ns: at as i64 * 1_000_000_000, line: (*line).to_owned(), metadata },
        );
    }
    logs
}

/// What is read is printed as the same, and evaluates to something or to an error.
fn check(query: &str) {
    let Ok(expr) = parse(query) else { return };
    let text = expr.to_string();
    for printed in [text.clone(), print::pretty(&expr)] {
        let again =
            parse(&printed).unwrap_or_else(|error| panic!("{query} is printed as {printed}: {error}"));
        assert_eq!(again.to_string(), text, "{query}");
    }
    let limits = Limits { samples: 100_000, series: 10_000, bytes: 64 << 20, steps: 1_000 };
    for params in [
        QueryParams::instant(60_000_000_000),
        QueryParams::range(0, 60_000_000_000, 7_000_000_000),
        QueryParams::range(i64::MAX - 10, i64::MAX, 1),
    ] {
        let budget = Budget::new(limits, Cancellation::new());
        let _ = Engine.evaluate(&expr, &params, &logs(), &budget);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(query in ".{0,80}") {
        check(&query);
    }

    #[test]
    fn pieces_in_any_order(pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..14)) {
        check(&pieces.join(" "));
    }

    #[test]
    fn queries_with_pieces_put_in_and_cut_out(
        query in prop::sample::select(QUERIES.to_vec()),
        piece in prop::sample::select(PIECES.to_vec()),
        at in any::<prop::sample::Index>(),
        cut in 0usize..6,
    ) {
        let chars: Vec<char> = query.chars().collect();
        let at = at.index(chars.len() + 1);
        let (before, after) = chars.split_at(at);
        let after: String = after.iter().skip(cut).collect();
        check(&format!("{} {piece} {after}", before.iter().collect::<String>()));
    }
}

/// The deepest and longest queries that are read, on a stack half as large as that of a thread that evaluates.
#[test]
fn the_deepest_queries_are_evaluated_on_a_small_stack() {
    let nested = |open: &str, inner: &str, close: &str, depth: usize| {
        format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
    };
    let queries = [
        nested("(", "1", ")", 94),
        nested("sum(", "rate({a=\"b\"}[1m])", ")", 90),
        nested("label_replace(", "rate({a=\"b\"}[1m])", ", \"x\", \"$1\", \"a\", \"(.*)\")", 90),
        format!("rate({})", nested("(", "{a=\"b\"}[1m]", ")", 90)),
        format!("{{a=\"b\"}} | {}", nested("(", "a=\"b\"", ")", 90)),
        format!("{{a=\"b\"}} | a=\"b\"{}", " or a!=\"b\"".repeat(250)),
        format!("1{}", " + vector(1)".repeat(190)),
        format!("vector(1){}", " ^ vector(1)".repeat(90)),
        format!("vector(1){}", " or (vector(1) > 2)".repeat(90)),
    ];
    let run = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
        for query in &queries {
            assert!(parse(query).is_ok(), "{query}: {:?}", parse(query).err());
            check(query);
        }
    });
    run.expect("a thread").join().expect("no overflow");
}
