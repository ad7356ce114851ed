//! The parser and the checker: what they accept, what they refuse and how they say so, and what they survive.

use proptest::prelude::*;

use super::{DEPTH_MAX, parse, parse_selector};
use crate::ast::{Expr, ValueType};

fn refused(query: &str) -> String {
    match parse(query) {
        Ok(expr) => panic!("{query} was read as {expr}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn operators_bind_as_documented() {
    // The query, and the same with all parentheses.
    for (query, grouped) in [
        ("1 + 2 * 3 ^ 2 ^ 2", "1 + (2 * (3 ^ (2 ^ 2)))"),
        ("a or b and c unless d", "a or ((b and c) unless d)"),
        ("a - b - c", "(a - b) - c"),
        ("-a ^ 2", "-(a ^ 2)"),
        ("-a * 2", "(-a) * 2"),
        ("2 ^ -1 * 3", "(2 ^ (-1)) * 3"),
        ("2/-2^---1*3+2", "((2 / -(2 ^ (-1))) * 3) + 2"),
        ("a == bool b + 1", "a == bool (b + 1)"),
        ("a </ 2 + 1", "a </ (2 + 1)"),
        ("a atan2 b * c", "(a atan2 b) * c"),
        ("x offset 100 + 2", "(x offset 100) + 2"),
        ("x offset -2 ^ 2", "(x offset -2) ^ 2"),
        ("x offset -step() * 2", "(x offset -step()) * 2"),
        ("-x[5m:] @ 3", "-(x[5m:] @ 3)"),
    ] {
        let bare = |query: &str| parse_unchecked_shape(query);
        assert_eq!(bare(query), bare(grouped), "{query}");
    }
}

/// The shape of the tree, parentheses left out.
fn parse_unchecked_shape(query: &str) -> String {
    let expr = super::unchecked(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    shape(&expr)
}

fn shape(expr: &Expr) -> String {
    match expr {
        Expr::Paren(paren) => shape(&paren.expr),
        Expr::Binary(b) => format!("[{} {} {}]", shape(&b.lhs), b.op.symbol(), shape(&b.rhs)),
        Expr::Unary(unary) => format!("[-{}]", shape(&unary.expr)),
        other => other.to_string(),
    }
}

#[test]
fn words_of_the_grammar_name_metrics_and_labels() {
    for query in [
        "sum",
        "sum + max",
        "offset offset 5m",
        "by{by=\"x\"}",
        "start",
        "step + range",
        "fill + fill(0) fill_left",
        "sum by (on, bool, group_left, start) (x)",
        "other + fill_left",
        "anchored anchored",
        "min_of",
        "rate:sum",
        ":x",
        "{\"a b\", \"c d\"=\"e\", f!~\"g.*\",}",
        "sum by (\"a b\") (x)",
        "SUM(x) BY (job)",
        "x # comment\n + y",
    ] {
        if let Err(error) = parse(query) {
            panic!("{query}: {error}");
        }
    }
}

/// Queries that are none, and what is said of them.
const REFUSED: &[(&str, &str)] = &[
    ("", "1:1: parse error: no expression found in input"),
    ("# nothing", "1:1: parse error: no expression found in input"),
    (
        "foo bar",
        "1:5: parse error: unexpected identifier \"bar\", expected an operator or the end of the query",
    ),
    ("1 +", "1:4: parse error: unexpected end of input, expected an expression"),
    ("\n a +\n )", "3:3: parse error: unexpected right parenthesis ')'"),
    ("sum(foo", "1:8: parse error: unclosed left parenthesis"),
    ("foo)", "1:5: parse error: unexpected right parenthesis ')'"),
    ("foo{a=1}", "1:7: parse error: unexpected character inside braces: '1'"),
    ("foo{a=b}", "1:7: parse error: unexpected identifier \"b\" in label matching, expected string"),
    ("foo{a}", "1:6: parse error: unexpected \"}\" in label matching, expected label matching operator"),
    (
        "foo{a=\"b\" c",
        "1:11: parse error: unexpected identifier \"c\" in label matching, expected \",\" or \"}\"",
    ),
    ("foo[5m", "1:7: parse error: unclosed left bracket"),
    (
        "foo[]",
        "1:5: parse error: unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()",
    ),
    ("foo[0m]", "1:5: parse error: duration must be greater than 0"),
    ("foo[1.5h]", "1:5: parse error: not a valid duration string: \"1.5h\""),
    ("foo[5x]", "1:5: parse error: bad number or duration syntax: \"5x\""),
    (
        "foo offset",
        "1:11: parse error: unexpected end of input in offset, expected number, duration, step(), or range()",
    ),
    ("foo offset 1m offset 2m", "1:1: parse error: offset may not be set multiple times"),
    ("foo offset 1m[5m]", "1:14: parse error: no offset modifiers allowed before range"),
    ("(foo)[5m]", "1:6: parse error: ranges only allowed for vector selectors"),
    (
        "sum(foo) offset 5m",
        "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
    ),
    ("foo @ inf", "1:1: parse error: timestamp out of bounds for @ modifier: inf"),
    ("foo @ x", "1:7: parse error: unexpected identifier \"x\" in @, expected timestamp"),
    ("rates(foo[5m])", "1:1: parse error: unknown function with name \"rates\""),
    (
        "rate(foo)",
        "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector",
    ),
    ("rate(foo[5m], 1)", "1:1: parse error: expected 1 argument(s) in call to \"rate\", got 2"),
    ("round()", "1:1: parse error: expected at least 1 argument(s) in call to \"round\", got 0"),
    ("round(a, 1, 2)", "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3"),
    ("sum(1)", "1:5: parse error: expected type instant vector in aggregation expression, got scalar"),
    ("topk(foo, foo)", "1:6: parse error: expected type scalar in aggregation parameter, got instant vector"),
    (
        "topk(foo)",
        "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
    ),
    ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
    ("rate(foo[5m],)", "1:13: parse error: trailing commas not allowed in function call args"),
    ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
    ("a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators"),
    ("a and 1", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression"),
    ("a and on (x) group_left b", "1:1: parse error: no grouping allowed for \"and\" operation"),
    (
        "a + on (x) group_left (x) b",
        "1:3: parse error: label \"x\" must not occur in ON and GROUP clause at once",
    ),
    ("a + on (x) 1", "1:1: parse error: vector matching only allowed between instant vectors"),
    ("a + fill (0) 1", "1:1: parse error: filling in missing series only allowed between instant vectors"),
    ("a or fill (0) b", "1:1: parse error: filling in missing series not allowed for set operators"),
    ("\"a\" + b", "1:1: parse error: binary expression must contain only scalar and instant vector types"),
    (
        "-foo[5m]",
        "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"range vector\"",
    ),
    ("1[5m:]", "1:1: parse error: subquery is only allowed on instant vector, got scalar instead"),
    ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
    ("{a=~\".*\"}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
    ("foo{__name__=\"bar\"}", "1:1: parse error: metric name must not be set twice: \"foo\" or \"bar\""),
    ("foo{\"bar\"}", "1:1: parse error: metric name must not be set twice: \"foo\" or \"bar\""),
    ("info(foo, bar)", "1:11: parse error: expected label selectors only, got vector selector instead"),
    ("sum by (1) (foo)", "1:9: parse error: unexpected number \"1\" in grouping opts, expected label"),
    ("foo anchored smoothed", "1:1: parse error: anchored and smoothed modifiers cannot be used together"),
    ("foo[5m:] anchored", "1:1: parse error: anchored modifier is not supported for subqueries"),
    ("\"abc", "1:1: parse error: unterminated quoted string"),
    ("'\\q'", "1:1: parse error: unknown escape sequence U+0071 'q'"),
    ("foo ! bar", "1:5: parse error: unexpected character after '!': ' '"),
    ("a $ b", "1:3: parse error: unexpected character: '$'"),
];

#[test]
fn errors_point_at_the_place_and_say_what_was_expected() {
    for (query, message) in REFUSED {
        assert_eq!(refused(query), *message, "{query}");
    }
}

#[test]
fn bad_regular_expressions_point_at_the_matcher() {
    assert!(refused("foo{a=~\"(\"}").starts_with("1:5: parse error: "));
}

#[test]
fn selectors_of_the_api_stand_alone() {
    assert_eq!(parse_selector("{}").map(|selector| selector.matchers.len()), Ok(0));
    assert_eq!(parse_selector("up{job=\"a\"}").map(|selector| selector.matchers.len()), Ok(2));
    for query in ["up[5m]", "up offset 5m", "1", "sum(up)", "", "a{__name__=\"b\"}"] {
        assert!(parse_selector(query).is_err(), "{query}");
    }
}

#[test]
fn types_are_those_of_the_functions() {
    for (query, wanted) in [
        ("1 + 1", ValueType::Scalar),
        ("1 + a", ValueType::Vector),
        ("time()", ValueType::Scalar),
        ("-\"a\"[5m:]", ValueType::Matrix),
        ("a[5m:]", ValueType::Matrix),
        ("\"a\"", ValueType::Text),
    ] {
        if let Ok(expr) = parse(query) {
            assert_eq!(expr.value_type(), wanted, "{query}");
        }
    }
}

/// Runs on a stack as small as one that a server might give a request.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(work);
    thread.expect("a thread").join().expect("no panic");
}

#[test]
fn deep_queries_are_refused_quickly() {
    on_a_small_stack(|| {
        for count in [DEPTH_MAX + 1, 1_000, 9_000, 30_000, 100_000] {
            for (start, end) in [
                ("(", ")"),
                ("-", ""),
                ("a+", "a"),
                ("a or ", "a"),
                ("2^", "2"),
                ("sum(", "a)"),
                ("abs(", ")"),
                ("x[", "]"),
                ("x[5m] offset (", ")"),
            ] {
                let query = format!("{}a{}", start.repeat(count), end.repeat(count));
                assert!(parse(&query).is_err(), "{count} × {start}");
            }
            let ranges = format!("a{}", "[5m:]".repeat(count));
            assert!(parse(&ranges).is_err());
            let durations = format!("a[{}1{}]", "(".repeat(count), ")".repeat(count));
            assert!(parse(&durations).is_err());
            let sums = format!("a[1{}]", "+1".repeat(count));
            assert!(parse(&sums).is_err());
            let signs = format!("a[{}1]", "-".repeat(count));
            assert!(parse(&signs).is_err());
        }
    });
}

#[test]
fn queries_of_the_allowed_depth_are_read() {
    on_a_small_stack(|| {
        let depth = DEPTH_MAX - 1;
        let query = format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
        let expr = parse(&query).expect("a query");
        assert_eq!(expr.to_string(), query);
        let query = vec!["a"; DEPTH_MAX].join(" or ");
        assert_eq!(parse(&query).expect("a query").to_string(), query);
    });
}

#[test]
fn large_queries_are_refused() {
    let many = format!("x{{a=~\"{}\"}}", (0..10_000).map(|n| n.to_string()).collect::<Vec<_>>().join("|"));
    assert!(parse(&many).is_ok(), "ten thousand alternatives are fine");
    let long = format!("x{{a=\"{}\"}}", "x".repeat(70_000));
    assert!(refused(&long).contains("longer than 65536 bytes"));
    let regexes = |count: usize, different: bool| {
        let regex = |n: usize| format!("a=~\"x{}.*y\"", if different { n } else { 0 });
        format!("x{{{}}}", (0..count).map(regex).collect::<Vec<_>>().join(","))
    };
    assert!(parse(&regexes(256, true)).is_ok());
    assert!(parse(&regexes(2_000, false)).is_ok());
    assert!(refused(&regexes(257, true)).contains("more than 256 different regular expressions"));
    let tokens = format!("label_join(a{})", ",\"\"".repeat(10_000));
    assert!(refused(&tokens).contains("more than 10000 tokens"));
}

/// Pieces from which queries, and what nearly is one, are made.
const PIECES: [&str; 60] = [
    "sum",
    "rate",
    "foo",
    "by",
    "without",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "@",
    "offset",
    "5m",
    "1",
    "-",
    "+",
    "*",
    "/",
    "%",
    "^",
    "==",
    "!=",
    "=~",
    "!~",
    "=",
    "<",
    ">",
    "</",
    ">/",
    "bool",
    "on",
    "ignoring",
    "group_left",
    "fill",
    "fill_left",
    "start",
    "end",
    "step",
    "range",
    "min_of",
    "max_of",
    "\"a\"",
    "'b'",
    "`c`",
    "\"",
    "\\",
    "#",
    "\n",
    "é",
    "1e",
    "0x",
    "inf",
    "anchored",
    "smoothed",
    "and",
    "or",
    "info",
];

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(pieces in prop::collection::vec((0..PIECES.len(), any::<bool>()), 0..60)) {
        let query: String = pieces.iter().map(|(at, space)| format!("{}{}", PIECES[*at], if *space { " " } else { "" })).collect();
        if let Ok(expr) = parse(&query) {
            // What was read can be printed and read again.
            prop_assert!(parse(&expr.to_string()).is_ok(), "{} from {}", expr, query);
        }
    }

    #[test]
    fn no_characters_make_the_parser_panic(query in "\\PC{0,80}") {
        let _ = parse(&query);
        let _ = parse_selector(&query);
    }
}
