//! Pages as text, what they come to, and what is said of those that are refused.

use std::fmt::Write as _;

use proptest::prelude::*;
use throughline_model::native_histogram::{Buckets, Span};
use throughline_model::protobuf::{put_bytes, put_fixed64, put_number, put_varint};

use super::write::{Form, Writer};
use super::*;

const CLASSIC: Histograms = Histograms { native: false, always_classic: false, convert_classic: false };
const NATIVE: Histograms = Histograms { native: true, ..CLASSIC };
const CONVERT: Histograms = Histograms { convert_classic: true, ..CLASSIC };

/// An entry as a line: name{labels} value @time ^start #exemplars [type|unit|help].
fn show(entry: &Entry<'_>) -> String {
    let pairs = |pairs: &[Pair<'_>]| {
        pairs.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(",")
    };
    let (name, labels) = entry.labels.split_first().expect("a name");
    let mut out = format!("{}{{{}}}", name.1, pairs(labels));
    match entry.value {
        Value::Number(value) => _ = write!(out, " {value}"),
        Value::Histogram(h) => {
            let counts = [h.zero_count(), h.count(), h.sum];
            let (negative, positive) = (h.negative.absolute(), h.positive.absolute());
            let bounds = &h.custom_bounds;
            _ = write!(out, " s{} {counts:?} {negative:?} {positive:?} {bounds:?}", h.schema);
        }
    }
    if let Some(ms) = entry.timestamp_ms {
        _ = write!(out, " @{ms}");
    }
    if entry.start_timestamp_ms != 0 {
        _ = write!(out, " ^{}", entry.start_timestamp_ms);
    }
    for exemplar in entry.exemplars {
        let Exemplar { labels, value, timestamp_ms } = exemplar;
        _ = write!(out, " #{{{}}} {value} {timestamp_ms:?}", pairs(labels));
    }
    let Metadata { kind, unit, help, .. } = entry.metadata;
    if entry.metadata != Metadata::default() {
        _ = write!(out, " [{}|{unit}|{help}]", kind.name());
    }
    out
}

fn read(format: Format, page: &[u8], histograms: Histograms) -> Result<Vec<String>, String> {
    let mut lines = Vec::new();
    let visit = |entry: &Entry<'_>| {
        lines.push(show(entry));
        ControlFlow::Continue(())
    };
    parse(format, page, histograms, visit).map_err(|error| error.to_string())?;
    Ok(lines)
}

fn check(format: Format, page: &str, expected: &[&str]) {
    assert_eq!(read(format, page.as_bytes(), CLASSIC).expect("a page"), expected, "{page}");
}

fn check_error(format: Format, page: &str, expected: &str) {
    assert_eq!(read(format, page.as_bytes(), CLASSIC).expect_err("refused"), expected, "{page:?}");
}

#[test]
fn text_with_metadata_blanks_and_times() {
    check(
        Format::Text,
        "# HELP http_requests Requests,\\nby \\\\ code.\n# TYPE http_requests counter\n\
         http_requests{code=\"200\",path=\"C:\\\\a \\\"b\\\"\\n\",} 1027 1395066363000\n\
         \x20 http_requests\t{ code = \"400\" , }3 \n\n# a remark\n#no blank\n\
         other NaN\nno_inf -Inf -5\n# TYPE other gauge\nother 1e-3",
        &[
            "http_requests{code=\"200\",path=\"C:\\\\a \\\"b\\\"\\n\"} 1027 @1395066363000 [counter||Requests,\nby \\ code.]",
            "http_requests{code=\"400\"} 3 [counter||Requests,\nby \\ code.]",
            "other{} NaN",
            "no_inf{} -inf @-5",
            "other{} 0.001 [gauge||]",
        ],
    );
}

#[test]
fn names_of_any_letters_stand_in_quotes() {
    check(
        Format::Text,
        "# TYPE \"http.requests\" counter\n{\"http.requests\",\"status.code\"=\"200\",a=\"b\"} 1\n{\"ключ\"} 2\n\
         {a=\"b\",\"last\"} 3\n",
        &["http.requests{status.code=\"200\",a=\"b\"} 1 [counter||]", "ключ{} 2", "last{a=\"b\"} 3"],
    );
}

#[test]
fn bounds_have_one_form() {
    check(
        Format::Text,
        "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"1e+06\"} 2\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\n\
         # TYPE s summary\ns{quantile=\"0\"} 1\ns{le=\"1\"} 1\nh_count 4\n",
        &[
            "h_bucket{le=\"1.0\"} 1 [histogram||]",
            "h_bucket{le=\"1e+06\"} 2 [histogram||]",
            "h_bucket{le=\"+Inf\"} 2 [histogram||]",
            "h_sum{} 3 [histogram||]",
            "s{quantile=\"0.0\"} 1 [summary||]",
            "s{le=\"1\"} 1 [summary||]",
            "h_count{} 4",
        ],
    );
}

#[test]
fn open_metrics_with_all_types() {
    check(
        Format::OpenMetrics,
        "# TYPE lag_seconds counter\n# UNIT lag_seconds seconds\n# HELP lag_seconds A \\\"b\\\".\n\
         lag_seconds_total{a=\"b\"} 17 1520879607.789 # {trace_id=\"0af7\",span_id=\"\"} 0.5 1520879607.5\n\
         lag_seconds_created{a=\"b\"} 1520872607.123\n\
         # TYPE h histogram\nh_bucket{le=\"1\"} 4 # {} 0.25\nh_bucket{le=\"+Inf\"} 5\nh_count 5\nh_sum 7\nh_created 2\n\
         # TYPE gh gaugehistogram\ngh_bucket{le=\"+Inf\"} 1\ngh_gcount 1\ngh_gsum 2\n\
         # TYPE build info\nbuild_info{v=\"1\"} 1\n# TYPE state stateset\nstate{state=\"on\"} 1\n\
         # TYPE x unknown\nx 0\n# TYPE q summary\nq{quantile=\"0.5\"} 1\nq_created 3\n# EOF\n",
        &[
            "lag_seconds_total{a=\"b\"} 17 @1520879607789 ^1520872607123 \
             #{trace_id=\"0af7\",span_id=\"\"} 0.5 Some(1520879607500) [counter|seconds|A \"b\".]",
            "lag_seconds_created{a=\"b\"} 1520872607.123 [counter|seconds|A \"b\".]",
            "h_bucket{le=\"1.0\"} 4 ^2000 #{} 0.25 None [histogram||]",
            "h_bucket{le=\"+Inf\"} 5 ^2000 [histogram||]",
            "h_count{} 5 ^2000 [histogram||]",
            "h_sum{} 7 ^2000 [histogram||]",
            "h_created{} 2 [histogram||]",
            "gh_bucket{le=\"+Inf\"} 1 [gaugehistogram||]",
            "gh_gcount{} 1 [gaugehistogram||]",
            "gh_gsum{} 2 [gaugehistogram||]",
            "build_info{v=\"1\"} 1 [info||]",
            "state{state=\"on\"} 1 [stateset||]",
            "x{} 0 [unknown||]",
            "q{quantile=\"0.5\"} 1 ^3000 [summary||]",
            "q_created{} 3 [summary||]",
        ],
    );
    check(Format::OpenMetrics, "# EOF", &[]);
}

#[test]
fn text_is_refused_with_its_line() {
    use Format::Text;
    check_error(Text, "a 1\nb\n", "line 2: expected a space or {, got the end of the line");
    check_error(Text, "a 1 2 3", "line 1: expected the end of the line, got \"3\"");
    check_error(Text, "a 1.5.2", "line 1: expected a value, got \"1.5.2\"");
    check_error(Text, "a 1 1.5", "line 1: expected a time in milliseconds, got \"1.5\"");
    check_error(Text, "\n\n<html>", "line 3: expected a metric name, got \"<html>\"");
    check_error(Text, "1a 2", "line 1: metric name \"1a\" begins with a digit");
    check_error(Text, "a{b='c'} 1", "line 1: expected \", got \"'c'} 1\"");
    check_error(Text, "a{b=\"c} 1", "line 1: expected a closing quote, got \"\\\"c} 1\"");
    check_error(Text, "a{,} 1", "line 1: expected a label's name or }, got \",} 1\"");
    check_error(
        Text,
        "a{b=\"c\" d=\"e\"} 1",
        "line 1: expected , or } after a label, got \"d=\\\"e\\\"} 1\"",
    );
    check_error(Text, "{\"a\",\"b\"} 1", "line 1: expected = after a label's name, got \"} 1\"");
    check_error(Text, "{a=\"b\"} 1", "line 1: the sample has no metric name");
    check_error(Text, "# TYPE a lie", "line 1: \"lie\" is not a type of metrics");
    check_error(Text, "# HELP a-b c", "line 1: expected a metric name, got \"a-b c\"");
    check_error(Text, "a 1 # {} 2", "line 1: expected a time in milliseconds, got \"# {} 2\"");
    let bytes = read(Text, b"a 1\nb{c=\"\xff\"} 2\n", CLASSIC);
    assert_eq!(bytes.expect_err("refused"), "line 2: text is not UTF-8");
}

#[test]
fn open_metrics_is_strict() {
    use Format::OpenMetrics;
    check_error(OpenMetrics, "a 1\n", "line 1: the page ends without # EOF");
    check_error(OpenMetrics, "", "line 1: the page ends without # EOF");
    check_error(OpenMetrics, "# EOF\na 1\n", "line 2: there is something after # EOF");
    check_error(OpenMetrics, "a 1\n\n# EOF", "line 2: empty lines are not allowed in OpenMetrics");
    check_error(OpenMetrics, "a  1\n# EOF", "line 1: expected a value, got \" 1\"");
    check_error(OpenMetrics, "a 1 soon\n# EOF", "line 1: expected a time in seconds, got \"soon\"");
    check_error(OpenMetrics, "a 1 # 2\n# EOF", "line 1: expected { of an exemplar, got \"2\"");
    check_error(
        OpenMetrics,
        "# UNIT a seconds\n# EOF",
        "line 1: unit \"seconds\" is not the end of the name \"a\"",
    );
    check_error(
        OpenMetrics,
        "# hello\n# EOF",
        "line 1: comments other than # HELP, # TYPE, # UNIT and # EOF are not allowed in OpenMetrics",
    );
}

#[test]
fn classic_histograms_become_native() {
    let page = "# TYPE h histogram\nh_bucket{a=\"1\",le=\"1\"} 1\nh_bucket{a=\"1\",le=\"5\"} 1\n\
                h_bucket{a=\"1\",le=\"+Inf\"} 4\nh_sum{a=\"1\"} 9\nh_count{a=\"1\"} 4\n\
                h_bucket{a=\"2\",le=\"1\"} 3\nh_bucket{a=\"2\",le=\"+Inf\"} 2\nz 1\n";
    let native = "h{a=\"1\"} s-53 [0.0, 4.0, 9.0] [] [1.0, 0.0, 3.0] [1.0, 5.0] [histogram||]";
    let contradiction =
        ["h_bucket{a=\"2\",le=\"1.0\"} 3 [histogram||]", "h_bucket{a=\"2\",le=\"+Inf\"} 2 [histogram||]"];
    let lines = read(Format::Text, page.as_bytes(), CONVERT).expect("a page");
    assert_eq!(lines, [native, contradiction[0], contradiction[1], "z{} 1"]);
    let both = Histograms { always_classic: true, ..CONVERT };
    let lines = read(Format::Text, page.as_bytes(), both).expect("a page");
    assert_eq!(lines.len(), 9);
    assert_eq!(lines.iter().filter(|line| *line == native).count(), 1);
}

fn native_histogram() -> NativeHistogram {
    NativeHistogram {
        count_int: 6,
        sum: 8.5,
        schema: 3,
        zero_threshold: 0.001,
        zero_count_int: 1,
        negative: Buckets { spans: vec![Span { offset: -2, length: 1 }], deltas: vec![2], counts: vec![] },
        positive: Buckets { spans: vec![Span { offset: 1, length: 2 }], deltas: vec![2, -1], counts: vec![] },
        ..NativeHistogram::default()
    }
}

fn message(build: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    build(&mut out);
    out
}

/// A family of one metric.
fn family(name: &str, kind: u64, value_field: u32, value: &[u8]) -> Vec<u8> {
    let pair = message(|out| {
        put_bytes(out, 1, b"a");
        put_bytes(out, 2, b"b");
    });
    let metric = message(|out| {
        put_bytes(out, 1, &pair);
        put_bytes(out, value_field, value);
    });
    let family = message(|out| {
        put_bytes(out, 1, name.as_bytes());
        put_bytes(out, 2, b"Help.");
        put_number(out, 3, kind);
        put_bytes(out, 4, &metric);
        put_bytes(out, 5, b"seconds");
    });
    message(|out| {
        put_varint(out, family.len() as u64);
        out.extend_from_slice(&family);
    })
}

fn protobuf_page() -> Vec<u8> {
    let time = message(|out| put_number(out, 1, 5));
    let exemplar = message(|out| {
        put_fixed64(out, 2, 0.5f64.to_bits());
        put_bytes(out, 3, &time);
    });
    let counter = message(|out| {
        put_fixed64(out, 1, 7f64.to_bits());
        put_bytes(out, 2, &exemplar);
        put_bytes(out, 3, &time);
    });
    let quantile = message(|out| {
        put_fixed64(out, 1, 0.5f64.to_bits());
        put_fixed64(out, 2, 3f64.to_bits());
    });
    let summary = message(|out| {
        put_number(out, 1, 2);
        put_fixed64(out, 2, 6f64.to_bits());
        put_bytes(out, 3, &quantile);
    });
    let bucket = message(|out| {
        put_number(out, 1, 4);
        put_fixed64(out, 2, 1f64.to_bits());
        put_bytes(out, 3, &exemplar);
    });
    let histogram = message(|out| {
        put_number(out, 1, 6);
        put_fixed64(out, 2, 8.5f64.to_bits());
        put_bytes(out, 3, &bucket);
        put_number(out, 5, 6);
        put_fixed64(out, 6, 0.001f64.to_bits());
        put_number(out, 7, 1);
        put_bytes(out, 9, &[8, 3, 16, 1]);
        put_number(out, 10, 4);
        put_bytes(out, 12, &[8, 2, 16, 2]);
        put_bytes(out, 13, &[4, 1]);
    });
    [
        family("c_total", 0, 3, &counter),
        family("s", 2, 4, &summary),
        family("h", 4, 7, &histogram),
        family("u", 3, 5, &message(|out| put_fixed64(out, 1, 1f64.to_bits()))),
    ]
    .concat()
}

#[test]
fn protobuf_with_native_histograms() {
    let page = protobuf_page();
    let meta = |kind: &str| format!(" [{kind}|seconds|Help.]");
    let native = format!(
        "h{{a=\"b\"}} s3 [1.0, 6.0, 8.5] [2.0] [2.0, 1.0] [] #{{}} 0.5 Some(5000){}",
        meta("histogram")
    );
    let lines = read(Format::Protobuf, &page, NATIVE).expect("a page");
    let expected = [
        format!("c_total{{a=\"b\"}} 7 ^5000 #{{}} 0.5 Some(5000){}", meta("counter")),
        format!("s_count{{a=\"b\"}} 2{}", meta("summary")),
        format!("s_sum{{a=\"b\"}} 6{}", meta("summary")),
        format!("s{{a=\"b\",quantile=\"0.5\"}} 3{}", meta("summary")),
        native.clone(),
        format!("u{{a=\"b\"}} 1{}", meta("unknown")),
    ];
    assert_eq!(lines, expected);
    let classic = [
        format!("h_bucket{{a=\"b\",le=\"1.0\"}} 4 #{{}} 0.5 Some(5000){}", meta("histogram")),
        format!("h_bucket{{a=\"b\",le=\"+Inf\"}} 6{}", meta("histogram")),
        format!("h_count{{a=\"b\"}} 6{}", meta("histogram")),
        format!("h_sum{{a=\"b\"}} 8.5{}", meta("histogram")),
    ];
    assert_eq!(read(Format::Protobuf, &page, CLASSIC).expect("a page")[4..8], classic);
    let both = Histograms { always_classic: true, convert_classic: true, ..NATIVE };
    let lines = read(Format::Protobuf, &page, both).expect("a page");
    assert_eq!(lines[4], native);
    assert_eq!(lines[5..9], classic);
    let converted = read(Format::Protobuf, &page, CONVERT).expect("a page");
    assert!(converted[4].starts_with("h{a=\"b\"} s-53 [0.0, 6.0, 8.5] [] [4.0, 2.0] [1.0]"), "{converted:?}");
}

#[test]
fn protobuf_is_refused_with_its_family() {
    let mut page = protobuf_page();
    page.truncate(page.len() - 1);
    let error = read(Format::Protobuf, &page, NATIVE).expect_err("cut off");
    assert_eq!(error, "metric family 4 \"\": message ends inside a field");
    let error = read(Format::Protobuf, &family("x", 9, 1, &[]), NATIVE).expect_err("no such type");
    assert_eq!(error, "metric family 1 \"\": 9 is not a type of metrics");
    let error = read(Format::Protobuf, &family("x", 4, 7, &[0x4a, 2, 8]), NATIVE).expect_err("cut off");
    assert_eq!(error, "metric family 1 \"x\": message ends inside a field");
}

#[test]
fn what_is_written_can_be_read() {
    let series = |writer: &mut Writer| {
        writer.number(&[("__name__", "up"), ("instance", ""), ("job", "a\\b\"\n")], 1.0, 1000);
        writer.number(&[("__name__", "up"), ("job", "c")], f64::INFINITY, -1);
        writer.number(&[("__name__", "http.size"), ("status.code", "1")], 2.5e9, 7);
        writer.histogram(&[("__name__", "h"), ("a", "b")], &native_histogram(), 9);
    };
    let mut writer = Writer::new(Form::negotiate("text/html, */*"));
    series(&mut writer);
    let text = String::from_utf8(writer.finish()).expect("text");
    assert_eq!(
        text,
        "# TYPE up untyped\nup{instance=\"\",job=\"a\\\\b\\\"\\n\"} 1 1000\nup{job=\"c\"} +Inf -1\n\
         # TYPE http_size untyped\nhttp_size{status_code=\"1\"} 2.5e+09 7\n"
    );
    let form = Form::negotiate("text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,*/*;q=0.1");
    assert!(form.content_type().starts_with("text/plain; version=1.0.0"));
    let mut writer = Writer::new(form);
    series(&mut writer);
    let lines = read(Format::Text, &writer.finish(), CLASSIC).expect("a page");
    assert_eq!(lines[2], "http.size{status.code=\"1\"} 2500000000 @7 [unknown||]");
    let form = Form::negotiate(
        "text/plain;version=0.0.4;q=0.5,application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
         encoding=delimited;q=0.7",
    );
    let mut writer = Writer::new(form);
    series(&mut writer);
    let lines = read(Format::Protobuf, &writer.finish(), NATIVE).expect("a page");
    assert_eq!(lines[0], "up{instance=\"\",job=\"a\\\\b\\\"\\n\"} 1 @1000 [unknown||]");
    assert_eq!(lines[3], "h{a=\"b\"} s3 [1.0, 6.0, 8.5] [2.0] [2.0, 1.0] [] @9 [histogram||]");
}

const TEXT: &str =
    "# HELP a b\\n\n# TYPE a counter\na{b=\"c\\\\\",\"d\"=\"é\"} 1e3 5\n{\"x.y\",le=\"1\"} NaN\n";
const OPEN: &str = "# TYPE h histogram\n# UNIT h_s s\nh_bucket{le=\"1\"} 4 1.5 # {a=\"\\\"\"} 0.25 2\nh_count 4\nh_sum 2\n\
                    h_created 3\n# EOF\n";

proptest! {
    /// Whatever is cut, doubled or overwritten: an answer, and no panic.
    #[test]
    fn mutated_pages_are_read_or_refused(
        which in 0..3usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..6),
        native: bool,
        convert_classic: bool,
    ) {
        let format = [Format::Text, Format::OpenMetrics, Format::Protobuf][which];
        let mut page = [TEXT.as_bytes().to_vec(), OPEN.replace("# UNIT h_s s\n", "").into_bytes(), protobuf_page()][which].clone();
        for (at, byte, what) in edits {
            let at = at.index(page.len().max(1)).min(page.len());
            match what {
                0 => page.truncate(at),
                1 => page.insert(at, byte),
                2 => page.extend_from_within(at..),
                _ => if let Some(there) = page.get_mut(at) { *there = byte },
            }
        }
        let histograms = Histograms { native, convert_classic, always_classic: false };
        for format in [format, Format::Text, Format::OpenMetrics, Format::Protobuf] {
            _ = read(format, &page, histograms);
        }
    }
}
