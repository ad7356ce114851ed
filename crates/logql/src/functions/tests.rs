//! What templates print by each function.

use throughline_template::{Limits, Template, Value};

use super::{Surroundings, functions};

fn run(text: &str) -> Result<String, String> {
    let surroundings = Surroundings::at(1_700_000_000_000_000_000);
    surroundings.set(1_679_577_215_000_000_000, Some("the line"));
    let functions = functions(&surroundings);
    let template = Template::parse("line", text, &functions).map_err(|error| error.to_string())?;
    let data = Value::text_map([("a", "Hello World"), ("n", "12"), ("j", r#"{"q":[{"x":1.5},{"x":"y"}]}"#)]);
    template.execute(&data, &functions, &Limits::default()).map_err(|error| error.to_string())
}

#[test]
fn functions_do_what_they_say() {
    for (text, expected) in [
        ("{{.a | lower}} {{ToUpper .a}} {{title \"foo bar\"}}", "hello world HELLO WORLD Foo Bar"),
        (
            "{{trim \" x \"}}|{{trimAll \"$\" \"$5$\"}}|{{Trim \"xax\" \"x\"}}|{{TrimLeft \"xax\" \"x\"}}|{{TrimRight \"xax\" \"x\"}}",
            "x|5|a|ax|xa",
        ),
        (
            "{{trimPrefix \"-\" \"-a\"}} {{TrimPrefix \"-a\" \"-\"}} {{trimSuffix \"-\" \"a-\"}} {{TrimSuffix \"a-\" \"-\"}}",
            "a a a a",
        ),
        (
            "{{trunc 5 .a}} {{trunc -5 .a}} {{substr 6 11 .a}} {{substr 0 -1 .a}} {{substr -1 5 .a}}",
            "Hello World World Hello World Hello",
        ),
        ("{{replace \"o\" \"0\" .a}} {{Replace .a \"o\" \"0\" 1}}", "Hell0 W0rld Hell0 World"),
        (
            "{{alignLeft 5 \"hi\"}}|{{alignRight 5 \"hi\"}}|{{alignLeft 2 \"héllo\"}}|{{alignRight 2 \"héllo\"}}",
            "hi   |   hi|hé|lo",
        ),
        ("{{indent 2 \"a\\nb\"}}|{{nindent 1 \"a\"}}|{{repeat 3 \"ab\"}}", "  a\n  b|\n a|ababab"),
        ("{{contains \"lo\" .a}} {{hasPrefix \"He\" .a}} {{hasSuffix \"x\" .a}}", "true true false"),
        (
            "{{regexReplaceAll \"(o)\" .a \"<${1}>\"}} {{regexReplaceAllLiteral \"o\" .a \"$1\"}} {{count \"o\" .a}}",
            "Hell<o> W<o>rld Hell$1 W$1rld 2",
        ),
        (
            "{{b64enc \"foo\"}} {{b64dec \"Zm9v\"}} {{urlencode \"a b&\"}} {{urldecode \"a+b%26\"}}",
            "Zm9v foo a+b%26 a b&",
        ),
        ("{{range $q := (fromJson .j).q}}[{{$q.x}}]{{end}}{{fromJson \"x\"}}", "[1.5][y]<no value>"),
        (
            "{{add 3 2 5}} {{sub .n \"2\"}} {{mul 2 3}} {{div 10 3}} {{mod 10 3}} {{max 1 3 2}} {{min 3 1}}",
            "10 10 6 3 1 3 1",
        ),
        (
            "{{addf 3.5 2 5}} {{subf 5 1.5}} {{mulf 2 1.5}} {{divf 10 2 4}} {{maxf 1 2.5}} {{minf 1 2.5}}",
            "10.5 3.5 3 1.25 2.5 1",
        ),
        (
            "{{ceil 123.001}} {{floor 123.9}} {{round 123.5555 3}} {{int \"12.0\"}} {{float64 \"3.5\"}}",
            "124 123 123.556 12 3.5",
        ),
        (
            "{{bytes \"2KB\"}} {{duration \"1m30s\"}} {{.x | default \"-\"}} {{.a | default \"-\"}}",
            "2000 90 - Hello World",
        ),
        (
            "{{__line__}} {{__timestamp__ | unixEpoch}} {{date \"2006-01-02\" __timestamp__}}",
            "the line 1679577215 2023-03-23",
        ),
        (
            "{{unixEpochMillis now}} {{unixEpochNanos (unixToTime \"1679577215\")}} {{unixEpoch (unixToTime \"19439\")}}",
            "1700000000000 1679577215000000000 1679529600",
        ),
        (
            "{{unixEpoch (toDate \"2006-01-02\" \"2021-11-02\")}} {{toDateInZone \"2006-01-02T15:04:05.999999999Z\" \"UTC\" \"2021-11-02T01:02:03.5Z\" | unixEpochMillis}}",
            "1635811200 1635814923500",
        ),
        (
            "{{unixEpoch (toDate \"Jan 2, 2006 at 3:04pm (MST)\" \"Feb 3, 2013 at 7:54pm (UTC)\")}} {{unixEpoch (toDate \"2006-01-02T15:04:05Z07:00\" \"2021-11-02T01:00:00+01:00\")}}",
            "1359921240 1635811200",
        ),
    ] {
        assert_eq!(run(text), Ok(expected.to_owned()), "{text}");
    }
}

#[test]
fn functions_are_odd_where_sprig_is() {
    for (text, expected) in [
        // What is no time is the first of all; halves below zero are rounded down; letters that have no one capital stay.
        (
            "{{toDate \"2006-01-02\" \"2021-13-02\" | unixEpoch}} {{round -1.5 0}} {{upper \"größe İ\"}} {{lower \"İΣ\"}} {{title \"don't go\"}}",
            "-62135596800 -2 GRÖßE İ iσ Don'T Go",
        ),
        (
            "{{addf 0.1 0.2}} {{mulf 1.1 1.1}} {{int \"0x10\"}} {{int \"-7.9\"}} {{int \"1_0\"}} {{b64dec \"aGVsbG8\"}} {{b64dec \"a-b\"}}",
            "0.3 1.21 16 -7 0 hello illegal base64 data at input byte 1",
        ),
    ] {
        assert_eq!(run(text), Ok(expected.to_owned()), "{text}");
    }
}

#[test]
fn what_cannot_be_done_is_an_error() {
    for (text, part) in [
        ("{{nope}}", "not defined"),
        ("{{div 1 0}}", "divide by zero"),
        ("{{repeat 1000000000 \"abc\"}}", "too large"),
        ("{{alignLeft 1000000000 \"abc\"}}", "too large"),
        ("{{replace \"\" (repeat 1000000 \"a\") (repeat 1000000 \"a\")}}", "too large"),
        ("{{divf 1 0}}", "decimal division by 0"),
        ("{{addf (divf 1 3) (float64 \"NaN\")}}", "Cannot create a Decimal from NaN"),
        ("{{substr 3 1 \"hello\"}}", "slice bounds out of range [3:1]"),
        ("{{urldecode \"%zz\"}}", "invalid URL escape \"%zz\""),
        ("{{toDateInZone \"2006\" \"Europe/Berlin\" \"2021\"}}", "unknown time zone"),
        ("{{duration \"x\"}}", "invalid duration"),
        ("{{regexReplaceAll \"(\" .a \"\"}}", "missing closing ): `(`"),
        ("{{unixToTime \"12\"}}", "unable to parse time"),
    ] {
        let error = run(text).expect_err(text);
        assert!(error.contains(part), "{text}: {error}");
    }
    let deep = format!("{{{{fromJson `{}`}}}}", "[".repeat(100) + &"]".repeat(100));
    assert!(run(&deep).is_err_and(|error| error.contains("nested too deeply")));
}
