//! Templates against their output, as Go gives it.

use super::*;

fn data() -> Value {
    Value::record(
        "data",
        [
            ("Name", Value::text("world")),
            ("N", Value::Int(7)),
            ("F", Value::Float(1.5)),
            ("Labels", Value::text_map([("job", "cart"), ("instance", "a:80")])),
            ("List", Value::list(vec![Value::Int(1), Value::Int(2), Value::Int(3)])),
            ("Empty", Value::list(vec![])),
            ("Any", Value::map([("x", Value::Int(1))])),
            ("At", Value::Time(1_435_065_584_128_000_000)),
        ],
    )
}

fn functions() -> Functions<'static> {
    let mut functions = Functions::new();
    functions.add("upper", &[Kind::Text], |values, _| {
        Ok(Value::text(values[0].as_text().unwrap_or_default().to_uppercase()))
    });
    functions.add("half", &[Kind::Float], |values, _| match values[0] {
        Value::Float(x) => Ok(Value::Float(x / 2.0)),
        _ => Err("not a float".to_owned()),
    });
    functions.add("fail", &[], |_, _| Err("on purpose".to_owned()));
    functions.add_variadic("list", &[], Kind::Any, |values, _| Ok(Value::list(values.to_vec())));
    functions
}

fn run(text: &str) -> Result<String, String> {
    let functions = functions();
    let template = Template::parse("t", text, &functions).map_err(|error| error.to_string())?;
    template.execute(&data(), &functions, &Limits::default()).map_err(|error| error.to_string())
}

fn check(cases: &[(&str, &str)]) {
    for (text, output) in cases {
        assert_eq!(run(text).as_deref(), Ok(*output), "{text}");
    }
}

fn check_errors(cases: &[(&str, &str)]) {
    for (text, message) in cases {
        assert_eq!(run(text), Err((*message).to_owned()), "{text}");
    }
}

#[test]
fn text_trims_and_comments() {
    check(&[
        ("", ""),
        ("plain }} text", "plain }} text"),
        ("a {{- 1 -}} b", "a1b"),
        ("a {{- /* no */ -}} b", "ab"),
        ("a {{/* no */}} b", "a  b"),
        ("{{\"a\\tb\\u00e9\\x41\\101\"}}{{`raw\\n`}}{{'a'}}", "a\tbéAAraw\\n97"),
        ("{{ 3 -}}\n\n x", "3x"),
        ("{{-3}}", "-3"),
        ("{{0x1F}} {{1_000}} {{1e3}} {{.5}} {{017}} {{0b11}}", "31 1000 1000 0.5 15 3"),
    ]);
}

#[test]
fn fields_variables_and_pipelines() {
    check(&[
        ("{{.Name}} {{.N}} {{.F}}", "world 7 1.5"),
        ("{{.Labels.job}}|{{.Labels.none}}|{{.Any.none}}|{{.Any.x}}", "cart||<no value>|1"),
        ("{{$x := .N}}{{$x}}{{$x = 8}}{{$x}}{{$.Name}}", "78world"),
        ("{{.Name | upper | printf \"%s-%s\" \"a\"}}", "a-WORLD"),
        ("{{(.Labels).job}} {{($.Labels).instance}}", "cart a:80"),
        ("{{half 3}} {{half 3.5}} {{.F | half}}", "1.5 1.75 0.75"),
        ("{{.Labels}} {{.List}} {{list 1 \"b\" nil}}", "map[instance:a:80 job:cart] [1 2 3] [1 b <nil>]"),
        ("{{with $y := .N}}{{$y}}{{end}}", "7"),
        (
            "{{.At}} {{.At.Unix}} {{.At.Format \"02 Jan 15:04\"}}",
            "2015-06-23 13:19:44.128 +0000 UTC 1435065584 23 Jun 13:19",
        ),
        ("{{(list .N .F | len)}}", "2"),
    ]);
}

#[test]
fn control() {
    check(&[
        ("{{if .N}}yes{{else}}no{{end}}{{if .Empty}}yes{{else}}no{{end}}", "yesno"),
        ("{{if eq .N 1}}a{{else if eq .N 7}}b{{else}}c{{end}}", "b"),
        ("{{with .Empty}}a{{else with .Name}}{{.}}{{else}}c{{end}}", "world"),
        ("{{range .List}}{{.}},{{end}}{{range .Empty}}x{{else}}none{{end}}", "1,2,3,none"),
        ("{{range $i, $x := .List}}{{$i}}={{$x}} {{end}}", "0=1 1=2 2=3 "),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}", "instance=a:80;job=cart;"),
        ("{{range .List}}{{if eq . 2}}{{continue}}{{end}}{{.}}{{end}}", "13"),
        ("{{range .List}}{{if eq . 2}}{{break}}{{end}}{{.}}{{end}}", "1"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{$s := 0}}{{range .List}}{{$s = .}}{{end}}{{$s}}", "3"),
        ("{{$i := 9}}{{range $i = .List}}{{end}}{{$i}}", "3"),
        (
            "{{define \"a\"}}<{{.}}{{$}}>{{end}}{{template \"a\" .N}}{{template \"a\"}}",
            "<77><<no value><no value>>",
        ),
        ("{{block \"b\" .Name}}[{{.}}]{{end}}{{template \"b\" 1}}", "[world][1]"),
    ]);
}

#[test]
fn builtins() {
    check(&[
        ("{{and 1 0 (fail)}} {{or 0 2 (fail)}} {{1 | and 2}}", "0 2 1"),
        (
            "{{not 0}} {{eq 1 2 1}} {{ne \"a\" \"b\"}} {{lt 1 2}} {{ge 2.5 2.5}} {{gt \"b\" \"a\"}}",
            "true true true true true true",
        ),
        ("{{len \"héy\"}} {{len .List}} {{len .Labels}}", "4 3 2"),
        (
            "{{index .List 1}} {{index .Labels \"job\"}} {{index .Labels \"no\"}} {{index (list (list 1 2)) 0 1}}",
            "2 cart  2",
        ),
        ("{{slice \"abcdef\" 1 3}} {{slice .List 1}}", "bc [2 3]"),
        (
            "{{html \"<a href='x'>\"}} {{js \"it's <\"}} {{urlquery \"a b&c\"}}",
            "&lt;a href=&#39;x&#39;&gt; it\\'s \\u003C a+b%26c",
        ),
        ("{{print 1 2 \"a\" \"b\" 3}} {{println 1 \"a\"}}", "1 2ab3 1 a\n"),
    ]);
}

#[test]
fn errors_are_worded_as_go_words_them() {
    check_errors(&[
        ("{{", "template: t:1: unclosed action"),
        ("\n{{if}}", "template: t:2: missing value for if"),
        ("{{nope 1}}", "template: t:1: function \"nope\" not defined"),
        ("{{$x}}", "template: t:1: undefined variable \"$x\""),
        ("{{if .N}}", "template: t:1: unexpected EOF"),
        ("{{end}}", "template: t:1: unexpected {{end}}"),
        ("{{break}}", "template: t:1: {{break}} outside {{range}}"),
        ("{{1 | 2}}", "template: t:1: non executable command in pipeline stage 2"),
        ("{{.N }", "template: t:1: unexpected \"}\" in operand"),
        ("{{\"a}}", "template: t:1: unterminated quoted string"),
        ("{{(1}}", "template: t:1: unclosed left paren"),
        ("{{/* a", "template: t:1: unclosed comment"),
        ("{{.None}}", "template: t:1:2: executing \"t\" at <.None>: can't evaluate field None in type data"),
        (
            "{{gt .F 1}}",
            "template: t:1:2: executing \"t\" at <gt .F 1>: error calling gt: incompatible types for comparison",
        ),
        ("{{fail}}", "template: t:1:2: executing \"t\" at <fail>: error calling fail: on purpose"),
        (
            "{{upper .N}}",
            "template: t:1:8: executing \"t\" at <.N>: wrong type for value; expected string; got int",
        ),
        (
            "{{upper 1 2}}",
            "template: t:1:2: executing \"t\" at <upper 1 2>: wrong number of args for upper: want 1 got 2",
        ),
        ("{{.N.X}}", "template: t:1:2: executing \"t\" at <.N.X>: can't evaluate field X in type int"),
        (
            "{{template \"no\"}}",
            "template: t:1:11: executing \"t\" at <{{template \"no\"}}>: template \"no\" not defined",
        ),
        (
            "{{ template `no`  .N }}",
            "template: t:1:12: executing \"t\" at <{{template \"no\" .N}}>: template \"no\" not defined",
        ),
        (
            "{{index .List 3}}",
            "template: t:1:2: executing \"t\" at <index .List 3>: error calling index: index out of range: 3",
        ),
    ]);
}

#[test]
fn limits_hold() {
    let endless = "{{define \"a\"}}{{template \"a\"}}{{end}}{{template \"a\"}}";
    assert!(run(endless).is_err_and(|error| error.contains("levels of templates")));
    assert!(run("{{range 2000000000}}{{end}}").is_err_and(|error| error.contains("steps")));
    assert!(run("{{range 900000}}aaaaaaaaa{{end}}").is_err_and(|error| error.contains("output")));
    let doubling = "{{$x := \"aaaaaaaaaaaaaaaa\"}}{{range 64}}{{$x = print $x $x}}{{end}}";
    assert!(
        run(doubling).is_err_and(|error| error.contains("too large") || error.contains("bytes of values"))
    );
    let nested = "{{$x := list}}{{range 100000}}{{$x = list $x}}{{end}}";
    assert!(run(nested).is_err_and(|error| error.contains("nested deeper")));
    let sharing = "{{$x := list 1}}{{range 30}}{{$x = list $x $x}}{{end}}{{$x}}";
    assert!(run(sharing).is_err_and(|error| error.contains("output")));
    let deep = format!("{}1{}", "{{if ".to_owned() + &"(".repeat(100_000), ")".repeat(100_000) + "}}{{end}}");
    assert!(run(&deep).is_err_and(|error| error.contains("nested deeper than 64")));
    let blocks = "{{if 1}}".repeat(10_000);
    assert!(run(&blocks).is_err_and(|error| error.contains("nested deeper than 64")));
}
