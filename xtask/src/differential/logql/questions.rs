//! Fixed questions about labels, streams, fields and counts, and queries that are only formatted.

use super::data::HISTORY_NS;

/// A question.
pub struct Question {
    /// The last part of its path.
    pub path: &'static str,
    /// Its parameters.
    pub parameters: Vec<(&'static str, String)>,
    /// Parts of the answer that are not compared, by their names.
    pub ignored: &'static [&'static str],
}

/// Loki estimates volumes by the share of a chunk that is in the window.
const VALUES: &[&str] = &["value", "values", "resultType"];

/// What is refused, or nearly: a path, and a parameter.
const REFUSED_OR_ODD: &[(&str, &str, &str)] = &[
    ("labels", "query", "{app=~\".*\"}"),
    ("labels", "query", "{"),
    ("labels", "end", "0"),
    ("labels", "since", "x"),
    ("label/app/values", "query", "{app=\"api\"} | json"),
    ("series", "match[]", "{"),
    ("series", "match[]", "{}"),
    ("series", "match[]", "{app=\"api\"} |= \"x\""),
    ("index/stats", "query", "{app=\"api\"} |= \"x\""),
    ("index/stats", "query", ""),
    ("index/volume", "query", "{"),
    ("index/volume", "aggregateBy", "nothing"),
    ("index/volume_range", "step", "0"),
    ("detected_fields", "query", "{"),
    ("detected_fields", "query", "rate({app=\"api\"}[1m])"),
    ("detected_labels", "query", "{"),
    ("query_range", "limit", "0"),
    ("query_range", "limit", "x"),
    ("query_range", "direction", "sideways"),
    ("query_range", "step", "0"),
    ("query_range", "step", "x"),
    ("query_range", "start", "x"),
    ("query_range", "interval", "-1"),
    ("query", "limit", "-1"),
    ("query", "time", "x"),
    ("format_query", "query", "{app=\"a\"} | json | "),
    ("format_query", "query", ""),
];

/// All of them, over the lines that were sent.
pub fn questions(end_ns: i64) -> Vec<Question> {
    let mut out = Vec::new();
    let (start, end) = (end_ns - HISTORY_NS, end_ns + 60_000_000_000);
    let mut ask =
        |path: &'static str, parameters: &[(&'static str, &str)], ignored: &'static [&'static str]| {
            let mut all: Vec<(&'static str, String)> =
                parameters.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            for (name, time) in [("start", start), ("end", end)] {
                if !parameters.iter().any(|(given, _)| *given == name) {
                    all.push((name, time.to_string()));
                }
            }
            out.push(Question { path, parameters: all, ignored });
        };
    let selectors = ["{app=\"api\"}", "{app=~\".+\"}", "{env=\"prod\", app!=\"db\"}", "{app=\"none\"}"];
    ask("labels", &[], &[]);
    ask("label/app/values", &[], &[]);
    ask("label/level/values", &[], &[]);
    ask("label/nowhere/values", &[], &[]);
    ask("label/service_name/values", &[], &[]);
    ask("series", &[("match[]", "{app=~\"api|web\"}"), ("match[]", "{env=\"test\"}")], &[]);
    ask("series", &[], &[]);
    ask("detected_labels", &[], &[]);
    for selector in selectors {
        let query = ("query", selector);
        ask("labels", &[query], &[]);
        ask("label/instance/values", &[query], &[]);
        ask("label/app/values", &[query], &[]);
        ask("series", &[("match", selector)], &[]);
        // Chunks are how Loki stores, and what is in them is counted when it has cut them.
        ask("index/stats", &[query], &["chunks", "bytes", "entries"]);
        ask("index/volume", &[query], VALUES);
        ask("index/volume", &[query, ("targetLabels", "app,env")], VALUES);
        ask("index/volume", &[query, ("aggregateBy", "labels")], VALUES);
        ask("index/volume", &[query, ("limit", "2")], VALUES);
        ask("index/volume_range", &[query, ("step", "300")], VALUES);
        ask("detected_labels", &[query], &[]);
        ask("detected_fields", &[query, ("line_limit", "5000")], &[]);
        ask("detected_field/level/values", &[query, ("line_limit", "5000")], &[]);
    }
    for query in [
        "{app=\"api\"} | logfmt | status>=500",
        "{app=\"web\"} | json | latency > 1s",
        "{app=\"web\"} | json method=\"req.method\"",
        "{app=\"api\"} | logfmt | drop level",
        "{app=\"proxy\"} | pattern `<ip> <_>`",
        "{app=\"odd\"}",
        "{app=\"agent\"} | unpack",
    ] {
        ask("detected_fields", &[("query", query), ("line_limit", "5000")], &[]);
        ask("detected_field/status/values", &[("query", query), ("line_limit", "5000")], &[]);
    }
    for (path, name, value) in REFUSED_OR_ODD {
        let filled = if *name == "query" {
            vec![(*name, *value)]
        } else {
            vec![("query", "{app=\"api\"}"), (*name, *value)]
        };
        ask(path, &filled, &[]);
    }
    out
}
