//! What is refused, how it is said, and what is read as what.

use super::*;

fn message(query: &str) -> String {
    match parse(query) {
        Ok(tree) => panic!("{query} was read as {tree}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn errors_say_where_and_what() {
    for (query, part) in [
        ("", "line 1, col 1: unexpected the end of the query, expected `{`, `(`"),
        ("{ .a = 1 }\n  | foo", "line 2, col 5: unexpected `foo`"),
        ("{ service = 1 }", "col 3: unknown name `service`: attributes are written as `.service`"),
        ("{ span:size > 1 }", "there is no intrinsic `span:size`"),
        ("{ .a = }", "unexpected `}`, expected an attribute"),
        ("{ .a 1 }", "unexpected `1`, expected an operator or `}`"),
        ("{ .a > nil }", "`nil` stands only beside"),
        ("{ nil }", "`nil` stands only beside"),
        ("{ -nil = 1 }", "`nil` stands only beside"),
        ("{} + {}", "`+` cannot join sets of spans"),
        ("{} && count() > 1", "`&&` cannot join spans and a comparison"),
        ("{} | max(.a)", "expected a comparison of the number"),
        ("{} | count() + 1", "expected a comparison of the number"),
        ("1 < 2", "expected an aggregate"),
        ("max(.a) > ok", "unexpected `ok`"),
        ("{} | select()", "expected an attribute"),
        ("coalesce()", "coalesce() needs spans before it"),
        ("({} | count() > 1) && {}", "joins a pipeline only with another in parentheses"),
        ("({} | count() > 1) | {}", "are no stage of another pipeline"),
        ("({} | count()) + 1 > 2", "computed with other pipelines"),
        ("1 < ({} | count())", "compared with them or a number on the right"),
        ("{} | topk(3)", "topk needs series before it"),
        ("{} | rate() | {}", "expected `topk(…)` or `bottomk(…)`"),
        ("{} | rate() | topk(-1)", "unexpected `-`, expected a whole number"),
        ("{} | rate() + 1", "unexpected `+`, expected `| topk(…)`"),
        ("({} | rate()) ^ 2", "`^` cannot join series"),
        ("({} | rate()) && ({} | rate())", "`&&` cannot join series"),
        ("({} | rate()) > ({} | rate())", "cannot join series"),
        ("({} | rate()) * 1s", "not computed with durations"),
        ("({} | rate()) + count()", "not with aggregates"),
        ("{} | rate() > count()", "not with aggregates"),
        ("2 ^ 3 + ({} | rate())", "`^` is not for numbers beside series"),
        ("{} | quantile_over_time(duration)", "unexpected `)`, expected `,`"),
        ("{} | quantile_over_time(duration, -1)", "expected a quantile"),
        ("{} | compare(.a)", "unexpected `.a`, expected `{`"),
        ("{} with (a)", "unexpected `)`, expected `=`"),
        ("{} with (1=2)", "expected the name of a hint"),
        ("{} with (a=nil)", "expected the value of the hint"),
        ("{ .a = 9223372036854775808 }", "greater than 9223372036854775807"),
        ("{ .a = 1e999 }", "out of range"),
        ("{} {}", "unexpected `{`, expected `|`"),
    ] {
        let message = message(query);
        assert!(message.contains(part), "{query}: {message}");
    }
}

#[test]
fn hostile_queries_are_refused_with_the_limit() {
    let deep = "nested deeper than 96 levels";
    for open in ["{(", "{-", "{!", "(", "{} | by(("] {
        let query = format!("{}{}", open, open.chars().last().unwrap_or('(').to_string().repeat(5_000));
        assert!(message(&query).contains(deep), "{open}");
    }
    assert!(message(&format!("{{ 1{} }}", " ^ 1".repeat(5_000))).contains("nested deeper"));
    assert!(message(&format!("{{ .a{} }}", " || .a".repeat(5_000))).contains("more than 512 operators"));
    assert!(message(&format!("{{}}{}", " >> {}".repeat(5_000))).contains("more than 512 operators"));
    assert!(message(&format!("{{}} | rate(){}", " | topk(5)".repeat(3_000))).contains("operators"));
    assert!(message(&"a".repeat(200 << 10)).contains("longer than"));
    assert!(message(&"( ".repeat(30_000)).contains("tokens"));
}

/// Queries and how they are printed; what is printed is read as the same tree.
#[test]
fn trees_are_printed_as_they_are_read() {
    for (query, printed) in [
        ("{}", "{}"),
        ("{.a=1}", "{ .a = 1 }"),
        ("{ .a || .b && .c }", "{ .a || .b && .c }"),
        ("{ (.a || .b) && .c }", "{ .a || .b && .c }"),
        ("{ .a || (.b && .c) }", "{ .a || (.b && .c) }"),
        ("{ -.a * 2 + 1 = !.b }", "{ -.a * 2 + 1 = !.b }"),
        ("{ (-.a) * 2 = -(.b + 1) }", "{ (-.a) * 2 = -(.b + 1) }"),
        ("{ 2 ^ (3 ^ 4) = (2 ^ 3) ^ 4 }", "{ 2 ^ 3 ^ 4 = (2 ^ 3) ^ 4 }"),
        ("{ 2 - (3 - 4) = 2 - 3 - 4 }", "{ 2 - (3 - 4) = 2 - 3 - 4 }"),
        ("{ nil != .a } // all", "{ nil != .a }"),
        ("{ ./*a }", "{ ./*a }"),
        ("{ .\"a\" = `b\"` && .\"5 \\\"\" }", "{ .a = \"b\\\"\" && .\"5 \\\"\" }"),
        (
            "{ parent.a = parent.span.b && parent.\"span.c\" }",
            "{ parent.a = parent.span.b && parent.\"span.c\" }",
        ),
        (
            "{ event.a = link.b && instrumentation.c = resource.d }",
            "{ event.a = link.b && instrumentation.c = resource.d }",
        ),
        ("{ span:name = name }", "{ span:name = name }"),
        (
            "{ duration > 1h30m && 1.5s < 1500us && 0s = 1d }",
            "{ duration > 90m && 1500ms < 1500us && 0s = 24h }",
        ),
        ("{ .a > minInt && .a < maxInt }", "{ .a > minInt && .a < 9223372036854775807 }"),
        ("{ .a = 1. && .b = 1e30 && .c = .5 }", "{ .a = 1.0 && .b = 1e30 && .c = 0.5 }"),
        ("{} >> ({} && {}) || {}", "{} >> ({} && {}) || {}"),
        ("({}) && ({}|count()>1)", "({}) && ({} | count() > 1)"),
        ("({} &>> {}) || ({}) | select(name, .a)", "{} &>> {} || {} | select(name, .a)"),
        ("(({}|by(.a))) ~ ((by(.b)) !~ ({}))", "({} | by(.a)) ~ ((by(.b)) !~ ({}))"),
        (
            "{}|by(name)|coalesce()|avg(duration)>=-5+2*3",
            "{} | by(name) | coalesce() | avg(duration) >= -5 + 2 * 3",
        ),
        (
            "({}|count())*(({}|count())+({}|max(.a)))>1",
            "({} | count()) * (({} | count()) + ({} | max(.a))) > 1",
        ),
        (
            "{}|rate()by(.a,name)>1+2|topk(5)<3 with(a=1,b=`c`)",
            "{} | rate() by (.a, name) > 1 + 2 | topk(5) < 3 with (a=1, b=\"c\")",
        ),
        ("({}|rate()>5)-(1-({}|rate()))*2", "({} | rate() > 5) - (1 - ({} | rate())) * 2"),
        ("(({}|rate()) + ({}|rate())) > 5 | bottomk(1)", "({} | rate()) + ({} | rate()) > 5 | bottomk(1)"),
        ("{}|compare({status=error}, 5, 1, 2)", "{} | compare({ status = error }, 5, 1, 2)"),
        ("{}|quantile_over_time(duration,.5,1)by(.a)", "{} | quantile_over_time(duration, 0.5, 1) by (.a)"),
        ("{} with (a=1) with (b=server)", "{} with (a=1, b=server)"),
    ] {
        let tree = parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
        assert_eq!(tree.to_string(), printed, "{query}");
        assert_eq!(parse(printed).as_ref(), Ok(&tree), "{query}");
    }
}
