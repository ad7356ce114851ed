//! What expressions say, and what they cannot.

use super::*;
use crate::value::{Map, parse_json};

fn entry() -> Entry {
    let body = r#"{"level":"error","n":3,"list":[1,"two"],"nested":{"key":"v"},"null":null}"#;
    Entry {
        body: parse_json(body, true).expect("JSON"),
        attributes: Map::from([
            ("http.method".to_owned(), Value::Str("GET".to_owned())),
            ("status".to_owned(), Value::Int(503)),
        ]),
        severity: 17,
        ..Entry::default()
    }
}

fn value(text: &str) -> Result<Value, String> {
    let environment = |name: &str| (name == "STACK").then(|| "prod".to_owned());
    Expression::parse(text, &environment)?.value(&entry())
}

fn check(text: &str, expected: Value) {
    assert_eq!(value(text), Ok(expected), "{text}");
}

#[test]
fn conditions_are_met() {
    for text in [
        r#"body.level == "error""#,
        r#"$.level == 'error'"#,
        "body['n'] == 3.0 and attributes.status >= 500",
        r#"attributes["http.method"] in ["GET", "HEAD"]"#,
        r#"attributes["http.method"] not in ["PUT"]"#,
        r#"body.level matches "^err" && !(body.level matches '^\\d')"#,
        r#"not (body.level contains "x") and body.level startsWith "e" and body.level endsWith `or`"#,
        r#"body.level not contains "x""#,
        "body.missing == nil and body.null == nil",
        r#""key" in body.nested"#,
        r#"body.missing?.deeper == nil"#,
        r#"(body.missing ?? "fallback") == "fallback""#,
        r#"body.missing.deeper ?? true"#,
        "body.list[0] == 1 and body.list[-1] == 'two'",
        "severity_number >= 17",
        "1 + 2 * 3 == 7 and 7 / 2 == 3.5 and 7 % 4 == 3 and -1 < 0",
        "true or body.level.deeper",
        "false ? false : true",
        r#"env("STACK") == "prod" and env("NONE") == """#,
        r#"body.missing contains "x" == false"#,
        "len(body.list) == 2 and len('é') == 1 and upper('a') == 'A'",
        "trim(' a ') == 'a' and trim('xax', 'x') == 'a' and split('a,b', ',')[1] == 'b'",
        "replace('aa', 'a', 'b') == 'bb' and int('7') == 7 and float('1.5') == 1.5 and string(7) == '7'",
        "hasPrefix('ab', 'a') and hasSuffix('ab', 'b') and trimPrefix('ab', 'a') == 'b'",
        "attributes.missing == nil",
        r#""\x41\n" == "A\n""#,
    ] {
        check(text, Value::Bool(true));
    }
    for text in [r#"body.missing matches "x""#, r#"body.level == 3"#, "false or false and true"] {
        check(text, Value::Bool(false));
    }
}

#[test]
fn what_cannot_be_said_is_an_error() {
    for text in [
        "body.level.deeper == 1",
        "body.level > 3",
        "body.list[9]",
        "not body.level",
        "body + 1",
        "body.nested matches 'x'",
        "5 % 0",
        "int('x')",
        "len(5)",
    ] {
        assert!(value(text).is_err(), "{text}");
    }
    let not_boolean = Expression::parse("body.n", &|_| None).expect("parses").is_met(&entry());
    assert_eq!(not_boolean, Err("the expression is a number, not a boolean".to_owned()));
}

#[test]
fn what_is_not_supported_is_named() {
    for (text, word) in [
        ("", "ends"),
        ("body ==", "ends"),
        ("body == 'x", "quote"),
        ("body matches attributes.x", "quoted regular expression"),
        ("body matches '('", "unclosed"),
        ("map(body, {#})", "not known"),
        ("now()", "now"),
        ("timestamp > 1", "timestamp"),
        ("body | upper()", "|"),
        ("2 ** 3", "**"),
        ("body.x()", "x"),
        ("body[1:2]", "slices"),
        ("foo == 1", "foo"),
        ("0xff", "0xff"),
        ("'\\d'", "\\d"),
        ("a b", "a"),
        (&"(".repeat(1000), "nested"),
        (&"!".repeat(1000), "nested"),
        (&"-".repeat(1000), "nested"),
    ] {
        let error = Expression::parse(text, &|_| None).expect_err(text);
        assert!(error.contains(word), "{word:?} is not in {error:?}");
    }
}

#[test]
fn templates_hold_expressions() {
    let template = |text: &str| Template::parse(text, &|_| None)?.value(&entry());
    assert_eq!(template("plain"), Ok(Value::Str("plain".to_owned())));
    assert_eq!(template(""), Ok(Value::Str(String::new())));
    assert_eq!(template("EXPR(body.n)"), Ok(Value::Int(3)));
    assert_eq!(template("a-EXPR(body.level + \")\")-EXPR((1))"), Ok(Value::Str("a-error)-1".to_owned())));
    assert!(template("EXPR(body").is_err() && template("xEXPR(body.nested)").is_err());
}
