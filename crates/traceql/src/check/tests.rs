//! What the check lets through and what it refuses.

use super::*;
use crate::parse;

fn checked(query: &str) -> Checked<()> {
    check(&parse(query).unwrap_or_else(|error| panic!("{query}: {error}")))
}

#[test]
fn queries_that_make_sense_are_let_through() {
    for query in [
        "{ .a }",
        "{ -.a = 1 || !(.b = true) }",
        "{ .a + 1h > 5 && 1 < 1.5 }",
        "{ status = error && kind != server && name =~ \"a|b\" }",
        "{ duration > .a && name = .b }",
        "{ .a != nil && nil = span.b && name != nil && nil = nil }",
        "{ .service.name = nil }",
        "{ event:timeSinceStart > 1ms && link:traceID != \"\" }",
        "{} >> { status = error } | by(resource.service.name) | count() > 2 * 3",
        "max(.a + 1) < 2s | select(nestedSetLeft)",
        "({} | by(1 + .a) | coalesce()) && (count() > 1)",
        "{} | quantile_over_time(duration, 0, 0.9, 1) by (name, .a, .b, .c) > 1s | topk(3)",
        "{} | compare({ status = error }, 10, 5, 6) with (exemplars=true)",
        "({} | rate()) / ({} | count_over_time()) * 100 with (sample=0.1, most_recent=true, other=\"x\")",
    ] {
        assert_eq!(checked(query), Ok(()), "{query}");
    }
}

#[test]
fn queries_that_make_no_sense_are_invalid() {
    for (query, part) in [
        ("{ name }", "is a text, expected true or false"),
        ("{ .a + 1 }", "is a whole number, expected true or false"),
        ("{ name = 5 }", "`name = 5` is about a text and a whole number"),
        ("{ status > ok }", "`>` is not for a status"),
        ("{ .a && 1 }", "`&&` is not for a whole number"),
        ("{ .a + \"b\" = .c }", "`+` is not for a text"),
        ("{ .a =~ 5 }", "`=~` is not for a whole number"),
        ("{ .a !~ \"(\" }", "regular expression `(`"),
        ("{ !1 = .a }", "`!` is not for a whole number"),
        ("{ -kind = .a }", "`-` is not for a kind"),
        ("{ trace:id = nil }", "`trace:id` is never nil"),
        ("{ nil = resource.service.name }", "is never nil"),
        ("{ 5 != nil }", "compares nil with a constant"),
        ("{} | by(1 + 2)", "groups by nothing of the span"),
        ("{} | sum(name) = 1", "`sum(name)` is about a text"),
        ("min(3) > 1", "`min(3)` is about nothing of the span"),
        ("min(3) > max(.a)", "about nothing of the span"),
        ("({} | count() > 1) || ({ 1 = name } | count() > 1)", "never match"),
        ("{} | max_over_time(name)", "is about a text"),
        ("{} | quantile_over_time(.a, 1.5)", "from 0 to 1"),
        ("{} | compare({ name })", "expected true or false"),
        ("{} | compare({}, 0)", "at least 1"),
        ("{} | compare({}, 1, 3, 2)", "ends before it starts"),
        ("{} | compare({}) = 1", "`=` is not for the series of compare()"),
        ("({} | rate()) + ({} | compare({}))", "`+` is not for the series of compare()"),
        ("{} | rate() | topk(5) | bottomk(0)", "bottomk takes"),
        ("{} with (most_recent=1)", "hint `most_recent=1`: expected true or false"),
        ("{} | rate() with (extrapolate=2)", "hint `extrapolate=2`: expected true or false"),
        ("{} | rate() with (sample=\"a\")", "hint `sample=\"a\"`: expected true, false or a share"),
        ("{} | rate() with (span_sample=1s)", "hint `span_sample=1s`: expected true, false or a share"),
        ("{} | rate() with (trace_sample=ok)", "hint `trace_sample=ok`: expected true, false or a share"),
        ("{} | rate() with (exemplars=0.5)", "hint `exemplars=0.5`: expected true, false or a whole number"),
    ] {
        match checked(query) {
            Err(CheckError::Invalid(message)) => assert!(message.contains(part), "{query}: {message}"),
            other => panic!("{query}: {other:?}"),
        }
    }
    let regexes = format!("{{ .a =~ \"b\"{} }}", " || .a =~ \"b\"".repeat(REGEXES_MAX - 1));
    assert_eq!(checked(&regexes), Ok(()));
    let regexes = format!("{{ .a =~ \"b\"{} }}", " || .a =~ \"b\"".repeat(REGEXES_MAX));
    assert!(
        matches!(checked(&regexes), Err(CheckError::Invalid(message)) if message.contains("200 regular"))
    );
}

#[test]
fn what_is_not_supported_is_named() {
    for query in [
        "{ parent = .a }",
        "{ parent.a = 1 }",
        "{} | select(parent.resource.a)",
        "{} | rate() by (parent.span.a)",
        "min(.a) < max(.b)",
        "max(.a) - min(.a) > 3",
        "1 < count()",
        "({} | count()) > 1",
        "({} | count()) + ({} | count()) = ({} | count())",
        "{} | rate() by (.a, .b, .c, .d, .e, .f)",
        "{} | histogram_over_time(duration) by (.a, .b, .c, .d, .e)",
    ] {
        let answer = checked(query);
        assert!(matches!(answer, Err(CheckError::Unsupported(_))), "{query}: {answer:?}");
    }
}
