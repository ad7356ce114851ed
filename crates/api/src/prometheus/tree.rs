//! The syntax tree as `parse_query` shows it.

use serde_json::{Map, Value as Json, json};
use throughline_exec::MatchOp;
use throughline_promql::ast::{
    At, Cardinality, Duration, DurationExpr, DurationKind, Expr, Extension, Matching, ValueType,
    VectorSelector,
};
use throughline_promql::signature::Arity;

use super::reply::float_text;

/// A node with everything below it. The parser bounds the depth.
pub(super) fn node(expr: &Expr) -> Json {
    match expr {
        Expr::Number(number) => json!({ "type": "numberLiteral", "val": float_text(number.value) }),
        Expr::Text(text) => json!({ "type": "stringLiteral", "val": text.text() }),
        Expr::Paren(paren) => json!({ "type": "parenExpr", "expr": node(&paren.expr) }),
        Expr::Unary(unary) => {
            json!({ "type": "unaryExpr", "op": if unary.negative { "-" } else { "+" }, "expr": node(&unary.expr) })
        }
        Expr::Vector(selector) => Json::Object(vector("vectorSelector", selector)),
        Expr::Matrix(matrix) => {
            let mut out = vector("matrixSelector", &matrix.selector);
            out.insert("range".to_owned(), milliseconds(&matrix.range));
            out.insert("rangeExpr".to_owned(), computed(&matrix.range));
            Json::Object(out)
        }
        Expr::Subquery(subquery) => {
            let mut out = Map::new();
            out.insert("type".to_owned(), "subquery".into());
            out.insert("expr".to_owned(), node(&subquery.expr));
            out.insert("range".to_owned(), milliseconds(&subquery.range));
            out.insert("rangeExpr".to_owned(), computed(&subquery.range));
            out.insert("offset".to_owned(), milliseconds(&subquery.offset));
            out.insert("offsetExpr".to_owned(), computed(&subquery.offset));
            let step = subquery.step.as_ref().map_or_else(|| 0.into(), milliseconds);
            out.insert("step".to_owned(), step);
            out.insert("stepExpr".to_owned(), subquery.step.as_ref().map_or(Json::Null, computed));
            put_at(&mut out, subquery.at);
            Json::Object(out)
        }
        Expr::Aggregate(aggregate) => json!({
            "type": "aggregation",
            "op": aggregate.op.name(),
            "expr": node(&aggregate.expr),
            "param": aggregate.param.as_deref().map(node),
            "grouping": aggregate.grouping,
            "without": aggregate.without,
        }),
        Expr::Binary(binary) => json!({
            "type": "binaryExpr",
            "op": binary.op.symbol(),
            "lhs": node(&binary.lhs),
            "rhs": node(&binary.rhs),
            "matching": binary.matching.as_ref().map(matching),
            "bool": binary.return_bool,
        }),
        Expr::Call(call) => {
            let signature = call.function.signature();
            let variadic = match signature.arity {
                Arity::Exact => 0,
                Arity::Optional(count) => count as i64,
                Arity::Any => -1,
            };
            let types: Vec<&str> = signature.args.iter().copied().map(ValueType::name).collect();
            json!({
                "type": "call",
                "func": {
                    "name": signature.name,
                    "argTypes": types,
                    "variadic": variadic,
                    "returnType": signature.returns.name(),
                },
                "args": call.args.iter().map(node).collect::<Vec<_>>(),
            })
        }
    }
}

/// A duration in milliseconds; one that is computed has none before the query runs.
fn milliseconds(duration: &Duration) -> Json {
    match duration {
        Duration::Fixed { ms } => (*ms).into(),
        Duration::Computed(_) => 0.into(),
    }
}

/// How a duration is computed; null of one that is fixed.
fn computed(duration: &Duration) -> Json {
    match duration {
        Duration::Fixed { .. } => Json::Null,
        Duration::Computed(expr) => duration_node(expr, false),
    }
}

/// A node of the arithmetic on durations; `wrapped` says that it stands in parentheses.
fn duration_node(expr: &DurationExpr, wrapped: bool) -> Json {
    let of = |op: &str, lhs: Json, rhs: Json| json!({ "type": "durationExpr", "op": op, "lhs": lhs, "rhs": rhs, "wrapped": wrapped });
    match &expr.kind {
        DurationKind::Number(number) => json!({
            "type": "numberLiteral",
            "val": float_text(number.value),
            "duration": number.duration,
        }),
        DurationKind::Step => of("step", Json::Null, Json::Null),
        DurationKind::Range => of("range", Json::Null, Json::Null),
        DurationKind::Unary { negative, inner } => {
            of(if *negative { "-" } else { "+" }, Json::Null, duration_node(inner, false))
        }
        DurationKind::Binary { op, lhs, rhs } => {
            of(op.symbol(), duration_node(lhs, false), duration_node(rhs, false))
        }
        DurationKind::MinOf(lhs, rhs) => of("min_of", duration_node(lhs, false), duration_node(rhs, false)),
        DurationKind::MaxOf(lhs, rhs) => of("max_of", duration_node(lhs, false), duration_node(rhs, false)),
        DurationKind::Paren(inner) => duration_node(inner, true),
    }
}

fn put_at(out: &mut Map<String, Json>, at: Option<At>) {
    let (timestamp, anchor) = match at {
        None => (Json::Null, Json::Null),
        Some(At::Timestamp { ms }) => (ms.into(), Json::Null),
        Some(At::Start) => (Json::Null, "start".into()),
        Some(At::End) => (Json::Null, "end".into()),
    };
    out.insert("timestamp".to_owned(), timestamp);
    out.insert("startOrEnd".to_owned(), anchor);
}

fn vector(kind: &str, selector: &VectorSelector) -> Map<String, Json> {
    let mut out = Map::new();
    out.insert("type".to_owned(), kind.into());
    out.insert("name".to_owned(), selector.name.clone().unwrap_or_default().into());
    out.insert("offset".to_owned(), milliseconds(&selector.offset));
    out.insert("offsetExpr".to_owned(), computed(&selector.offset));
    let matchers = selector.matchers.iter().map(
        |matcher| json!({ "name": matcher.name(), "type": symbol(matcher.op()), "value": matcher.value() }),
    );
    out.insert("matchers".to_owned(), Json::Array(matchers.collect()));
    put_at(&mut out, selector.at);
    out.insert("anchored".to_owned(), (selector.extension == Extension::Anchored).into());
    out.insert("smoothed".to_owned(), (selector.extension == Extension::Smoothed).into());
    out
}

fn symbol(op: MatchOp) -> &'static str {
    match op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    }
}

fn matching(matching: &Matching) -> Json {
    let card = match matching.card {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    json!({
        "card": card,
        "labels": matching.labels,
        "on": matching.on,
        "include": matching.include,
        "fillValues": { "lhs": matching.fill_left, "rhs": matching.fill_right },
    })
}
