//! Templates as they stand in rules, against what Prometheus makes of them.

use throughline_exec::Labels;

use super::*;
use crate::sample::{FoundExemplar, LastSample};

struct Table;

impl Querier for Table {
    fn instant(&self, expr: &str, time_ms: i64) -> Result<Vec<Sample>, String> {
        match expr {
            "metric" => Ok(["b", "a"]
                .iter()
                .map(|instance| {
                    let labels = Labels::from_pairs([("__name__", "metric"), ("instance", *instance)]);
                    Sample::float(labels, time_ms, 11.0)
                })
                .collect()),
            "none" => Ok(Vec::new()),
            _ => Err("no such thing".to_owned()),
        }
    }

    fn exemplars(&self, _: &str, _: i64, _: i64) -> Result<Vec<FoundExemplar>, String> {
        Ok(Vec::new())
    }

    fn last_samples(&self, _: &[(String, String)], _: i64, _: i64) -> Result<Vec<LastSample>, String> {
        Ok(Vec::new())
    }
}

fn run(text: &str, value: f64) -> String {
    let external_labels = BTreeMap::from([("zone".to_owned(), "z1".to_owned())]);
    let surroundings = Surroundings {
        querier: Some(&Table),
        time_ms: 1_500_000,
        external_url: "http://tl:4319/sub",
        external_labels: &external_labels,
    };
    let expander = Expander::new("A", surroundings);
    let sample = Sample::float(Labels::from_pairs([("instance", "a.b.c:80")]), 0, value);
    expander.expand(text, &expander.data(&sample))
}

fn check_all(cases: &[(&str, f64, &str)]) {
    for (text, value, expected) in cases {
        assert_eq!(run(text, *value), *expected, "{text}");
    }
}

#[test]
fn what_templates_see() {
    check_all(&[
        ("plain {", 0.0, "plain {"),
        ("{{ $labels.instance }} {{ $labels.none }}| {{ $value }}", 1.5, "a.b.c:80 | 1.5"),
        ("{{ $externalLabels.zone }} {{ $externalURL }} {{ pathPrefix }}", 0.0, "z1 http://tl:4319/sub /sub"),
        ("{{ .Value | printf \"%.2f\" }}", 2.0 / 3.0, "0.67"),
        ("{{ $value }}", 12_345_678.0, "1.2345678e+07"),
        ("{{ if gt $value 5.0 }}high{{ else }}low{{ end }}", 6.0, "high"),
    ]);
}

#[test]
fn queries() {
    check_all(&[
        ("{{ query \"metric\" | first | value }}", 0.0, "11"),
        ("{{ query \"metric\" | first | label \"instance\" }}", 0.0, "b"),
        (
            "{{ range query \"metric\" | sortByLabel \"instance\" }}{{.Labels.instance}}:{{.Value}}: {{end}}",
            0.0,
            "a:11: b:11: ",
        ),
        ("{{ with query \"none\" }}x{{ else }}nothing{{ end }}", 0.0, "nothing"),
        ("{{ (args 1 \"b\").arg1 }}", 0.0, "b"),
    ]);
    let failed = run("{{ query \"none\" | first }}", 0.0);
    assert!(
        failed.starts_with(
            "<error expanding template: error executing template __alert_A: template: __alert_A:1:"
        ),
        "{failed}"
    );
    assert!(failed.ends_with("first() called on vector with no elements>"), "{failed}");
    assert!(run("{{ query \"bad\" }}", 0.0).contains("error calling query: no such thing"));
}

#[test]
fn numbers_for_people() {
    check_all(&[
        ("{{ humanize $value }}", 1_234_567.0, "1.235M"),
        ("{{ humanize $value }}", 0.001_234, "1.234m"),
        ("{{ humanize $value }}", 0.0, "0"),
        ("{{ humanize $value }}", f64::INFINITY, "+Inf"),
        ("{{ humanize $value }}", -1000.0, "-1k"),
        ("{{ humanize1024 $value }}", 1_048_576.0, "1Mi"),
        ("{{ humanizeDuration $value }}", 0.0, "0s"),
        ("{{ humanizeDuration $value }}", 899.99, "14m 59s"),
        ("{{ humanizeDuration $value }}", 86_400.0 * 2.0 + 3661.0, "2d 1h 1m 1s"),
        ("{{ humanizeDuration $value }}", -1.5, "-1.5s"),
        ("{{ humanizeDuration $value }}", 0.000_1, "100us"),
        ("{{ humanizePercentage $value }}", 0.123_456, "12.35%"),
        ("{{ humanizeTimestamp $value }}", 1_435_065_584.128, "2015-06-23 13:19:44.128 +0000 UTC"),
        ("{{ ($value | toTime).Year }}", 1_435_065_584.128, "2015"),
        ("{{ $value | toDuration }}", 90.0, "1m30s"),
        ("{{ \"1.5\" | humanize }}{{ 5 | humanize }}", 0.0, "1.55"),
        ("{{ now }} {{ parseDuration \"1h2m10ms\" }} {{ parseDuration \"-5m\" }}", 0.0, "1500 3720.01 -300"),
    ]);
}

#[test]
fn texts_and_links() {
    check_all(&[
        ("{{ title \"aa bb CC it's\" }} {{ toUpper \"x\" }} {{ toLower \"X\" }}", 0.0, "Aa Bb CC It's X x"),
        ("{{ match \"^a+\" \"aa\" }} {{ reReplaceAll \"(a)b\" \"x$1\" \"ab ab\" }}", 0.0, "true xa xa"),
        (
            "{{ stripPort $labels.instance }} {{ stripDomain $labels.instance }} {{ stripDomain \"1.2.3.4:5\" }}",
            0.0,
            "a.b.c a:80 1.2.3.4:5",
        ),
        ("{{ stripPort \"[::1]:80\" }} {{ stripPort \"::1\" }}", 0.0, "::1 ::1"),
        (
            "{{ graphLink \"up > 0\" }} {{ tableLink \"up\" }}",
            0.0,
            "/graph?g0.expr=up+%3E+0&g0.tab=0 /graph?g0.expr=up&g0.tab=1",
        ),
        ("{{ safeHtml \"<b>\" }} {{ urlQueryEscape \"a b\" }}", 0.0, "<b> a+b"),
    ]);
}

#[test]
fn bad_templates_are_found_before_they_are_needed() {
    assert_eq!(check("A", "{{ $labels.x | humanize }}"), Ok(()));
    assert_eq!(
        check("A", "{{ nope }}"),
        Err("template: __alert_A:1: function \"nope\" not defined".to_owned())
    );
    assert!(check("A", "{{ $value").is_err());
}
