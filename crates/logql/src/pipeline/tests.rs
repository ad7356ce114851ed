//! Single rows through the stages of a query.

use throughline_exec::Labels;

use super::Pipeline;
use super::wanted::Wanted;
use crate::ast::Expr;
use crate::parse::parse;

/// The labels and the line of a row after the stages; nothing if it goes.
fn run(stages: &str, line: &str, output: Option<&[&str]>) -> Option<String> {
    let query = format!("{{app=\"x\"}} {stages}");
    let Ok(Expr::Log(log)) = parse(&query) else { panic!("no log query: {query}") };
    let output: Option<Vec<String>> =
        output.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    let wanted = Wanted::of(&log.stages, None, output.as_deref());
    let mut pipeline = Pipeline::new(&log.stages, &wanted, 0);
    pipeline.begin_stream(&Labels::from_pairs([("app", "x"), ("s", "stream")]));
    // Twice: nothing of a row may be left for the next.
    pipeline.row(5, "{\"other\":\"line\",\"s\":1", &[("m", "other"), ("o", "1")]);
    let stays = pipeline.row(1_000_000_000, line, &[("m", "metadata")]);
    stays.then(|| {
        let mut labels: Vec<String> = pipeline
            .labels
            .iter()
            .filter(|label| pipeline.symbols.name(label.0) != "app")
            .map(|(name, value, _)| format!("{}={value}", pipeline.symbols.name(name)))
            .collect();
        labels.sort();
        format!("{} | {}", labels.join(" "), pipeline.line(line))
    })
}

fn all(stages: &str, line: &str) -> String {
    run(stages, line, None).unwrap_or_else(|| "goes".to_owned())
}

#[test]
fn stages_change_labels_and_lines() {
    for (stages, line, expected) in [
        ("", "a", "m=metadata s=stream | a"),
        (
            "| json",
            r#"{"a":{"b":1},"s":2,"m":"\n"}"#,
            "a_b=1 m=metadata m_extracted=\n s=stream s_extracted=2 | {\"a\":{\"b\":1},\"s\":2,\"m\":\"\\n\"}",
        ),
        (
            "| json x=\"a.b\", s=\"c\" | line_format \"\"",
            r#"{"a":{"b":[1]}}"#,
            "m=metadata s=stream x=[1] | ",
        ),
        ("| logfmt | drop s, m", "a=1 b=\"c d\" e", "a=1 b=c d | a=1 b=\"c d\" e"),
        ("| logfmt x=\"a\", y=\"b\" | keep x, y", "a=1", "x=1 y= | a=1"),
        ("| regexp \"(?P<a>\\\\w+) (?P<b>\\\\d+)?\" | keep a, b", "foo x", "a=foo b= | foo x"),
        ("| pattern \"<a> <_> <b>\" | keep a, b", "x y z w", "a=x b=z w | x y z w"),
        ("| unpack | keep a", r#"{"a":"1","n":2,"_entry":"the line"}"#, "a=1 | the line"),
        ("| unpack | keep a", r#"{"a":"1"}"#, " | {\"a\":\"1\"}"),
        ("| label_format n=s, t=\"{{.s}}-{{.m | upper}}\" | keep n, t", "x", "n=stream t=-METADATA | x"),
        ("| label_format m=\"{{.m}}{{.m}}\" | keep m", "x", "m=metadatametadata | x"),
        (
            "| line_format \"{{.m}} {{ __line__ }} {{ __timestamp__ | unixEpoch }}\" | keep app",
            "x",
            " | metadata x 1",
        ),
        (
            "| line_format \"{{ printf \\\"\\\\x1b[1;31m%s\\\\x1b[0m\\\" .m }}\" | decolorize | keep app",
            "x",
            " | metadata",
        ),
        (
            "| decolorize | keep app",
            "\u{1b}[1;31mred\u{1b}[0m \u{1b}]0;title\u{7}n \u{9b}1mbold \u{1b}[12 \u{1b}[2Kx",
            " | red n bold  x",
        ),
        ("| drop m=\"other\", s=~\"str.*\"", "x", "m=metadata | x"),
        ("| keep m=\"other\", s", "x", "s=stream | x"),
        (
            "| json | __error__!=\"\" | drop __error__, __error_details__",
            "x",
            "__preserve_error__=true m=metadata s=stream | x",
        ),
    ] {
        assert_eq!(all(stages, line), expected, "{stages}");
    }
}

#[test]
fn conditions_behind_parsers_refuse_no_row_that_fulfils_them() {
    for (stages, line, stays) in [
        ("| json | a=\"A\"", r#"{"a":"A"}"#, true),
        ("| json | a=\"A\"", r#"{"a":"\u0041"}"#, true),
        ("| json | a=\"A/\" and b=\"1\"", r#"{"a":"A\/","b":1}"#, true),
        ("| json | a=\"A\"", r#"{"a":"B"}"#, false),
        ("| json | a=\"A\"", r#"{"b":"A"}"#, false),
        ("| json | m=\"metadata\"", "{}", true),
        ("| json | s=\"stream\"", "{}", true),
        ("| json | s_extracted=\"x\"", r#"{"s":"x"}"#, true),
        ("| json | a=\"A\" or m=\"metadata\"", "{}", true),
        ("| json | a!=\"A\"", "{}", true),
        ("| json | label_format a=m | a=\"metadata\"", "{}", true),
        ("| json | line_format \"a=A\" | logfmt | a=\"A\"", "{}", true),
        ("| unpack | logfmt | a=\"A\"", r#"{"_entry":"a=A"}"#, true),
        ("| logfmt x=\"a\" | x=\"1 2\"", "a=\"1 2\"", true),
        ("| pattern \"<a> <_>\" | a=\"\\\\x\"", "\\x y", true),
        ("| json | drop a | a=\"A\"", r#"{"a":"A"}"#, false),
    ] {
        assert_eq!(run(stages, line, None).is_some(), stays, "{stages} {line}");
    }
}

#[test]
fn what_goes_wrong_is_noted_once() {
    assert_eq!(
        all("| json", "x"),
        "__error__=JSONParserErr __error_details__=Value looks like object, but can't find closing '}' symbol m=metadata s=stream | x"
    );
    assert_eq!(
        all("| logfmt --strict", "a=1 b=\"c"),
        "__error__=LogfmtParserErr __error_details__=logfmt syntax error at pos 9 : unterminated quoted value a=1 m=metadata s=stream | a=1 b=\"c"
    );
    assert_eq!(
        all("| s > 5 | m > 1s", "x"),
        "__error__=LabelFilterErr __error_details__=strconv.ParseFloat: parsing \"stream\": invalid syntax m=metadata s=stream | x"
    );
    assert!(all("| line_format \"{{ div 1 0 }}\"", "x").starts_with("__error__=TemplateFormatErr"));
    assert_eq!(all("| nothing > 5", "x"), "goes");
    assert_eq!(all("| json | __error__=\"\"", "x"), "goes");
}

#[test]
fn parsers_find_what_is_wanted_and_no_more() {
    let line = r#"{"a":1,"b":2,"s":3,"broken"#;
    assert_eq!(
        run("| json", line, Some(&["a"])).as_deref(),
        Some("a=1 m=metadata s=stream | {\"a\":1,\"b\":2,\"s\":3,\"broken")
    );
    let found = run("| json", line, Some(&["s_extracted"])).expect("stays");
    assert!(found.contains("s_extracted=3") && !found.contains("b=2"), "{found}");
    let found = run("| logfmt | b=\"2\"", "a=1 b=2 c=3", Some(&["c"])).expect("stays");
    assert_eq!(found, "b=2 c=3 m=metadata s=stream | a=1 b=2 c=3");
}
