//! Printing: the forms of each node, lines, and that what is printed is read as the same tree.

use proptest::prelude::*;

use super::pretty;
use crate::ast::{Duration, DurationExpr, DurationKind, Expr, Span};
use crate::parse;

fn printed(query: &str) -> String {
    parse(query).unwrap_or_else(|error| panic!("{query}: {error}")).to_string()
}

#[test]
fn queries_are_printed_in_one_form() {
    for (query, wanted) in [
        ("sum(x)by(a,b)", "sum by (a, b) (x)"),
        ("sum by() (x)", "sum(x)"),
        ("sum without() (x)", "sum without () (x)"),
        ("topk by(\"a b\")(5,x)", "topk by (\"a b\") (5, x)"),
        ("a+on()b", "a + on () b"),
        ("a*on(x)group_left b", "a * on (x) group_left () b"),
        (
            "a* ignoring (x) group_right(\"y z\") fill_left(1)fill_right(-Inf) b",
            "a * ignoring (x) group_right (\"y z\") fill_left (1) fill_right (-Inf) b",
        ),
        ("a+fill(1e3)b", "a + fill (1000) b"),
        ("a>bool b", "a > bool b"),
        ("a and on(x) b", "a and on (x) b"),
        ("x{b=\"1\",a!=\"2\"}[90s]offset -1h@ 3", "x{a!=\"2\",b=\"1\"}[1m30s] @ 3.000 offset -1h"),
        ("{__name__=\"x\"}", "{__name__=\"x\"}"),
        ("{\"x y\",\"a.b\"=~\"c\"}", "{\"a.b\"=~\"c\",__name__=\"x y\"}"),
        ("x[5m] smoothed @ end()", "x[5m] smoothed @ end()"),
        ("x anchored offset 5m", "x anchored offset 5m"),
        ("(sum(x))[1h:5m]@start()", "(sum(x))[1h:5m] @ start()"),
        ("x[1h:]", "x[1h:]"),
        ("x[2*(step()+1m)] offset -min_of(step(),1s)", "x[2 * (step() + 1m)] offset -min_of(step(), 1s)"),
        ("x[((5m))]", "x[(5m)]"),
        ("1e3+0x10+1_0+inf- -NaN", "1000 + 16 + 10 + +Inf - NaN"),
        ("vector(1h30m)", "vector(1h30m)"),
        ("-1", "-1"),
        ("- x", "-x"),
        ("'a\"b'", "\"a\\\"b\""),
        ("info(x,{})", "info(x, {})"),
        ("h </ 5", "h </ 5"),
    ] {
        assert_eq!(printed(query), wanted, "{query}");
        assert_eq!(printed(wanted), wanted);
    }
}

#[test]
fn long_queries_are_broken_into_lines() {
    let metric = "http_server_request_duration_seconds_bucket";
    let query = format!(
        "sum by (le, job) (rate({metric}{{job=\"a\"}}[5m])) / on (job) group_left () (sum(rate({metric}[5m])) + topk(5, {metric}))"
    );
    let wanted = format!(
        "  sum by (le, job) (rate({metric}{{job=\"a\"}}[5m]))\n/ on (job) group_left ()\n  (\n      sum(rate({metric}[5m]))\n    +\n      topk(5, {metric})\n  )"
    );
    assert_eq!(pretty(&parse(&query).expect("a query")), wanted);

    let query =
        format!("histogram_quantile(0.99, sum by (le) (rate({metric}{{job=\"{}\"}}[5m])))", "j".repeat(50));
    let wanted = format!(
        "histogram_quantile(\n  0.99,\n  sum by (le) (\n    rate(\n      {metric}{{job=\"{}\"}}[5m]\n    )\n  )\n)",
        "j".repeat(50)
    );
    assert_eq!(pretty(&parse(&query).expect("a query")), wanted);
    assert_eq!(pretty(&parse("a + b").expect("a query")), "a + b");
}

/// Queries of all forms, with random spaces left out: the printer puts its own.
fn query() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        any::<u16>().prop_map(|n| n.to_string()),
        (0.0..1e9f64).prop_map(|n| n.to_string()),
        Just("(Inf)".to_owned()),
        (1u32..100_000).prop_map(|ms| crate::lexer::number::format_duration_ms(u64::from(ms) * 7)),
    ];
    let modifiers = prop::sample::select(vec![
        "",
        " offset 5m",
        " offset -1h30m",
        " @ 12.345",
        " @ start()",
        " offset (step() * 2)",
        " @ end() offset 7s",
        " anchored",
        " smoothed",
    ]);
    let labels = prop::sample::select(vec![
        "",
        "{a=\"b\"}",
        "{a!=\"\\n\", b=~\"x.*|y\"}",
        "{\"a b\"=\"é\"}",
        "{c!~\"d\",}",
    ]);
    let selector = (prop::sample::select(vec!["x", "sum", "a:b", "offset", "fill"]), labels, modifiers)
        .prop_map(|(name, labels, modifiers)| format!("{name}{labels}{modifiers}"));
    let range = prop::sample::select(vec!["5m", "step()+1", "2*(1m+range())", "max_of(1s,step())", "-1+2^3"]);
    let matrix = (prop::sample::select(vec!["x", "{__name__=~\"y|z\"}"]), range)
        .prop_map(|(name, range)| format!("rate({name}[{range}] offset 1m)"));
    let vector = prop_oneof![selector, matrix];
    vector.prop_recursive(6, 40, 3, move |inner| {
        let operators = vec![
            "+",
            "-",
            "*",
            "/",
            "%",
            "^",
            "atan2",
            "== bool",
            ">",
            "</",
            ">/",
            "and",
            "or",
            "unless on(a)",
            "* on(a,b) group_left(c)",
            "/ ignoring(a) group_right",
            "+ fill(0)",
            "- on() fill_left(-Inf)",
            "> bool on (\"a b\") fill_right(NaN)",
        ];
        let arithmetic = prop::sample::select(vec!["+", "*", "^", "> bool", "</"]);
        prop_oneof![
            (inner.clone(), prop::sample::select(operators), inner.clone())
                .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            (number.clone(), arithmetic, inner.clone()).prop_map(|(n, op, b)| format!("{n} {op} {b}")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("-{a}")),
            inner.clone().prop_map(|a| format!("+ {a}")),
            inner
                .clone()
                .prop_map(|a| format!("({a})[1h:5m] offset 3m").to_owned())
                .prop_map(|a| format!("avg_over_time({a})")),
            inner.clone().prop_map(|a| format!("sum(({a})) by (a, \"b c\")")),
            (number.clone(), inner.clone()).prop_map(|(n, a)| format!("quantile without () ({n}, {a})")),
            inner.clone().prop_map(|a| format!("count_values(\"v\", {a})")),
            inner.prop_map(|a| format!("label_replace({a}, 'a', `$1`, \"b\", '(.*)')")),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_as_the_same_tree(query in query()) {
        let Ok(mut first) = parse(&query) else { return Ok(()) };
        let text = first.to_string();
        let mut second = parse(&text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        let lines = pretty(&first);
        let mut third = parse(&lines).map_err(|error| TestCaseError::fail(format!("{lines}: {error}")))?;
        for expr in [&mut first, &mut second, &mut third] {
            forget_spans(expr);
        }
        // NaN as a fill value is not equal to itself, so the trees are compared as text.
        prop_assert_eq!(format!("{:?}", &first), format!("{:?}", second), "{}", text);
        prop_assert_eq!(format!("{:?}", &first), format!("{:?}", third), "{}", lines);
    }
}

fn forget_spans(expr: &mut Expr) {
    let none = Span::default();
    match expr {
        Expr::Number(e) => e.span = none,
        Expr::Text(e) => e.span = none,
        Expr::Vector(e) => {
            e.span = none;
            e.matchers.sort_by_key(ToString::to_string);
            forget_in_duration(&mut e.offset);
        }
        Expr::Matrix(e) => {
            (e.span, e.selector.span) = (none, none);
            forget_in_duration(&mut e.range);
            forget_in_duration(&mut e.selector.offset);
        }
        Expr::Subquery(e) => {
            e.span = none;
            forget_spans(&mut e.expr);
        }
        Expr::Call(e) => {
            e.span = none;
            e.args.iter_mut().for_each(forget_spans);
        }
        Expr::Aggregate(e) => {
            e.span = none;
            e.param.iter_mut().for_each(|param| forget_spans(param));
            forget_spans(&mut e.expr);
        }
        Expr::Binary(e) => {
            forget_spans(&mut e.lhs);
            forget_spans(&mut e.rhs);
        }
        Expr::Unary(e) => {
            e.start = 0;
            forget_spans(&mut e.expr);
        }
        Expr::Paren(e) => {
            e.span = none;
            forget_spans(&mut e.expr);
        }
    }
}

fn forget_in_duration(duration: &mut Duration) {
    if let Duration::Computed(expr) = duration {
        forget_in_expr(expr);
    }
}

fn forget_in_expr(expr: &mut DurationExpr) {
    expr.span = Span::default();
    match &mut expr.kind {
        DurationKind::Number(literal) => literal.span = Span::default(),
        DurationKind::Step | DurationKind::Range => {}
        DurationKind::Unary { inner, .. } | DurationKind::Paren(inner) => forget_in_expr(inner),
        DurationKind::Binary { lhs, rhs, .. } => {
            forget_in_expr(lhs);
            forget_in_expr(rhs);
        }
        DurationKind::MinOf(a, b) | DurationKind::MaxOf(a, b) => {
            forget_in_expr(a);
            forget_in_expr(b);
        }
    }
}
