//! Queries that nobody wrote: pieces of queries put together at random, and the deepest that there are.

use proptest::prelude::*;
use throughline_traceql::{check, parse};

/// Pieces that a query is made of.
const PIECES: [&str; 64] = [
    "{",
    "}",
    "(",
    ")",
    "(",
    ")",
    "{}",
    "{ .a }",
    "{ .a = 1 }",
    "|",
    "|",
    "&&",
    "||",
    ">>",
    "<",
    "!~",
    "~",
    "&>",
    "!<<",
    "=",
    "!=",
    "=~",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "^",
    "%",
    "!",
    "-",
    ".a",
    "span.b",
    ".\"a b\"",
    "parent.resource.c",
    "parent",
    "name",
    "span:duration",
    "duration",
    "status",
    "nil",
    "nil",
    "error",
    "server",
    "true",
    "1",
    "2.5",
    "1h",
    "\"x\"",
    "`(`",
    "count()",
    "max(.a)",
    "by(.a)",
    "coalesce()",
    "select(name, .a)",
    "rate()",
    "quantile_over_time(duration, .9) by (.a)",
    "compare({ .a })",
    "topk(2)",
    "bottomk(1)",
    "with (sample=0.1)",
    "({} | rate())",
    "({} | count() > 1)",
    "({} | count())",
];

/// What is read is printed as the same, and is checked without a panic.
fn verify(query: &str) {
    let Ok(tree) = parse(query) else { return };
    let printed = tree.to_string();
    assert_eq!(parse(&printed).as_ref(), Ok(&tree), "{query} is printed as {printed}");
    let _ = check(&tree);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn pieces_are_read_as_they_are_printed(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 1..12)) {
        verify(&pieces.join(" "));
        verify(&format!("{{ {} }}", pieces.join(" ")));
        verify(&format!("{{}} | {}", pieces.join(" ")));
    }

    #[test]
    fn expressions_are_read_as_they_are_printed(
        parts in prop::collection::vec((prop::sample::select(&["", "-", "!", "(", "-(", "!-"][..]),
            prop::sample::select(&[".a", "name", "1", "2.5", "true", "parent.b"][..]),
            prop::sample::select(&["+", "-", "*", "^", "=", "!=", "&&", "||", ") +", ") ^", ") =", ") &&"][..])), 1..10),
    ) {
        let body: Vec<String> = parts.iter().map(|(prefix, value, op)| format!("{prefix}{value} {op}")).collect();
        let mut query = format!("{{ {} .z", body.join(" "));
        let open = query.matches('(').count().saturating_sub(query.matches(')').count());
        query.push_str(&")".repeat(open));
        verify(&format!("{query} }}"));
    }

    #[test]
    fn any_text_is_read_or_refused(query in "\\PC{0,60}") {
        verify(&query);
    }
}

#[test]
fn the_deepest_queries_fit_a_small_stack() {
    let nested = |open: &str, inner: &str, close: &str, count: usize| {
        format!("{}{inner}{}", open.repeat(count), close.repeat(count))
    };
    let queries = [
        format!("{{ {} }}", nested("(", ".a", ")", 94)),
        format!("{{ {} }}", nested("!", ".a", "", 94)),
        format!("{{ .a{} }}", " ^ 1".repeat(93)),
        format!("{{ .a{} }}", " || .a = 1".repeat(255)),
        format!("{{}}{}", " >> {}".repeat(510)),
        nested("(", "{}", ")", 94),
        nested("(", "{} | count() > 1", ")", 93),
        format!("({} | count()) > 1", nested("(", "{}", ")", 90)),
        format!("{{}} | max(.a) > 1{}", " + 1".repeat(500)),
        format!("({{}} | rate()){}", " + 1".repeat(500)),
        nested("(1 + ", "({} | rate())", ")", 45),
        format!("{{}} | rate(){}", " | topk(5)".repeat(500)),
    ];
    let run = std::thread::Builder::new().stack_size(512 << 10).spawn(move || {
        for query in &queries {
            assert!(parse(query).is_ok(), "{query}: {:?}", parse(query).err());
            verify(query);
        }
    });
    run.expect("a thread").join().expect("no overflow");
}
