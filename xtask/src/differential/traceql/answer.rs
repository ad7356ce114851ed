//! Answers of Tempo's API in one form, so that those of two systems can be compared: what is a set has an order, what is left out
//! because it is zero is there. Left out are statistics of the query, exemplars, which are chosen by chance, and the names and
//! attributes that spans are shown with: in Tempo they are those that it happened to read.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::fields::names;
use super::query::Kind;

/// Numbers that agree to this part of themselves are equal: sums depend on their order.
const RELATIVE: f64 = 1e-9;

/// What sums leave that cancel out: less than a part of any number that spans have here.
const REMAINDER: f64 = 1e-15;

/// An answer, or the status of a refusal with its message.
pub type Answer = Result<Json, (u16, String)>;

/// An answer to a question in the form that is compared.
pub fn normal(kind: Kind, question: &str, answer: &Json) -> Json {
    match kind {
        Kind::Search => traces(answer, true),
        Kind::Spans => traces(answer, false),
        Kind::Series => series(question, answer),
        Kind::Tags => tags(answer),
        Kind::Trace => trace(answer),
    }
}

fn items<'a>(json: &'a Json, name: &str) -> &'a [Json] {
    json[name].as_array().map_or(&[], Vec::as_slice)
}

/// A list in any order.
fn sorted(mut items: Vec<Json>) -> Json {
    items.sort_by_cached_key(Json::to_string);
    Json::Array(items)
}

fn or_zero(json: &Json) -> Json {
    if json.is_null() { json!(0) } else { json.clone() }
}

/// Attributes by their keys; of several with one key all.
fn attributes(json: &Json) -> Json {
    let mut all: BTreeMap<&str, Vec<Json>> = BTreeMap::new();
    for attribute in json.as_array().into_iter().flatten() {
        let mut value = attribute["value"].clone();
        // A whole number may have been written without its point, and a list that is empty without its items.
        if let Some(number) = value["doubleValue"].as_f64() {
            value = json!({ "doubleValue": number });
        }
        if value["arrayValue"].is_object() && items(&value["arrayValue"], "values").is_empty() {
            value = json!({ "arrayValue": {} });
        }
        all.entry(attribute["key"].as_str().unwrap_or_default()).or_default().push(value);
    }
    all.into_iter()
        .map(|(key, values)| (key.to_owned(), sorted(values)))
        .collect::<Map<String, Json>>()
        .into()
}

fn padded(id: &Json) -> String {
    format!("{:0>32}", id.as_str().unwrap_or_default())
}

fn spanset(set: &Json) -> Json {
    let span = |span: &Json| {
        json!({
            "start": span["startTimeUnixNano"],
            "duration": or_zero(&span["durationNanos"]),
        })
    };
    let id = |span: &Json| span["spanID"].as_str().unwrap_or_default().to_owned();
    let spans: Map<String, Json> = items(set, "spans").iter().map(|of| (id(of), span(of))).collect();
    json!({ "matched": set["matched"], "attributes": attributes(&set["attributes"]), "spans": spans })
}

fn traces(answer: &Json, as_a_whole: bool) -> Json {
    let of = |trace: &Json| {
        let spansets: Vec<Json> = items(trace, "spanSets").iter().map(spanset).collect();
        if !as_a_whole {
            return sorted(spansets);
        }
        let stats = trace["serviceStats"].as_object().into_iter().flatten();
        let stats: Map<String, Json> = stats
            .map(|(name, of)| (name.clone(), json!([or_zero(&of["spanCount"]), or_zero(&of["errorCount"])])))
            .collect();
        json!({
            "rootServiceName": trace["rootServiceName"].as_str().unwrap_or_default(),
            "rootTraceName": trace["rootTraceName"].as_str().unwrap_or_default(),
            "start": trace["startTimeUnixNano"],
            "durationMs": or_zero(&trace["durationMs"]),
            "serviceStats": stats,
            "spanSets": sorted(spansets),
        })
    };
    items(answer, "traces")
        .iter()
        .map(|trace| (padded(&trace["traceID"]), of(trace)))
        .collect::<Map<_, _>>()
        .into()
}

/// Whether a series of `compare()` is of a field that both compare: Tempo has only lists of one item there, counts children, and says of
/// attributes that it has a column for how many spans lack them. What the question has conditions on it counts once for the conditions
/// and once for all that it compares, of resources and traces once more for each span before.
fn is_compared(question: &str, labels: &Json) -> bool {
    const LEFT_OUT: [&str; 12] = [
        "resource.zones",
        "resource.k8s.",
        "span.tags",
        "span.codes",
        "span.shares",
        "span.flags",
        "span.map",
        "span.raw",
        "span.http.",
        "span.server.",
        "span.url.",
        "span:childCount",
    ];
    let mut keys = labels.as_array().into_iter().flatten().filter_map(|label| label["key"].as_str());
    let is_of_compare = keys.clone().any(|key| key == "__meta_type");
    let is_left_out =
        |key: &str| LEFT_OUT.iter().any(|left_out| key.starts_with(left_out)) || names(question, key);
    !is_of_compare || !keys.any(is_left_out)
}

/// Whether a series of counts has none: Tempo has such of spans at the edge of a window, which it does not count.
fn counts_nothing(question: &str, samples: &Json) -> bool {
    const NUMBERS: [&str; 5] =
        ["sum_over_time", "avg_over_time", "min_over_time", "max_over_time", "quantile"];
    // What begins otherwise may be arithmetic, whose zeros are numbers as others.
    let is_count = question.starts_with('{') && !NUMBERS.iter().any(|function| question.contains(function));
    let is_zero = |value: &Json| value.as_f64() == Some(0.0);
    is_count && samples.as_object().map_or_else(|| is_zero(samples), |samples| samples.values().all(is_zero))
}

fn series(question: &str, answer: &Json) -> Json {
    let of = |series: &Json| {
        if series["samples"].is_null() {
            return or_zero(&series["value"]);
        }
        let samples = items(series, "samples");
        let samples = samples.iter().map(|sample| {
            (sample["timestampMs"].as_str().unwrap_or("0").to_owned(), or_zero(&sample["value"]))
        });
        samples.collect::<Map<_, _>>().into()
    };
    let mut all = Map::new();
    for one in items(answer, "series") {
        let samples = of(one);
        if !is_compared(question, &one["labels"]) || counts_nothing(question, &samples) {
            continue;
        }
        let mut labels = attributes(&one["labels"]).to_string();
        while all.contains_key(&labels) {
            labels.push_str(" again");
        }
        all.insert(labels, samples);
    }
    all.into()
}

fn tags(answer: &Json) -> Json {
    let scopes = items(answer, "scopes").iter().map(|scope| {
        (scope["name"].as_str().unwrap_or_default().to_owned(), sorted(items(scope, "tags").to_vec()))
    });
    // A scope without tags may be left out.
    let scopes: Map<String, Json> =
        scopes.filter(|(_, tags)| tags.as_array().is_some_and(|tags| !tags.is_empty())).collect();
    let value = |value: &Json| match value {
        // The empty text may be left out.
        Json::Object(of) => {
            json!([value["type"], of.get("value").and_then(Json::as_str).unwrap_or_default()])
        }
        text => text.clone(),
    };
    json!({
        "scopes": scopes,
        "names": sorted(items(answer, "tagNames").to_vec()),
        "values": sorted(items(answer, "tagValues").iter().map(value).collect()),
    })
}

/// Removes what says nothing: protobuf's JSON may leave it out.
fn trimmed(json: &Json) -> Json {
    const NOTHING: [&str; 5] = ["", "0", "SPAN_KIND_UNSPECIFIED", "STATUS_CODE_UNSET", "AAAAAAAAAAA="];
    let says = |json: &Json| match json {
        Json::Null => false,
        Json::String(text) => !NOTHING.contains(&text.as_str()),
        Json::Number(number) => number.as_f64() != Some(0.0),
        Json::Array(items) => !items.is_empty(),
        Json::Object(members) => !members.is_empty(),
        Json::Bool(_) => true,
    };
    match json {
        Json::Object(members) => {
            let mut out = Map::new();
            for (name, value) in members {
                let value = if name == "attributes" { attributes(value) } else { trimmed(value) };
                if says(&value) {
                    out.insert(name.clone(), value);
                }
            }
            out.into()
        }
        Json::Array(items) => items.iter().map(trimmed).collect(),
        other => other.clone(),
    }
}

fn trace(answer: &Json) -> Json {
    let trace = if answer["trace"].is_null() { answer } else { &answer["trace"] };
    let resources = items(trace, "batches").iter().chain(items(trace, "resourceSpans"));
    let mut spans = Map::new();
    for of_resource in resources {
        for of_scope in items(of_resource, "scopeSpans") {
            for span in items(of_scope, "spans") {
                let id = span["spanId"].as_str().unwrap_or_default().to_owned();
                let all =
                    json!({ "span": span, "scope": of_scope["scope"], "resource": of_resource["resource"] });
                spans.insert(id, trimmed(&all));
            }
        }
    }
    spans.into()
}

/// What differs between two answers.
pub fn difference(ours: &Answer, theirs: &Answer) -> Option<String> {
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => differing(ours, theirs),
        (Err((ours, _)), Err((theirs, _))) if ours == theirs => None,
        (ours, theirs) => Some(format!("{} instead of {}", outcome(ours), outcome(theirs))),
    }
}

fn outcome(answer: &Answer) -> String {
    match answer {
        Ok(Json::Object(members)) => format!("an answer ({} items)", members.len()),
        Ok(other) => format!("an answer ({other})"),
        Err((status, message)) => format!("{status} {}", message.trim()),
    }
}

fn short(json: &Json) -> String {
    let text = json.to_string();
    match text.char_indices().nth(400) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The first difference, with the way to it.
fn differing(ours: &Json, theirs: &Json) -> Option<String> {
    match (ours, theirs) {
        (Json::Object(a), Json::Object(b)) => {
            let of =
                |n: usize, m: usize| if n == m { format!("of {n}") } else { format!("{n} instead of {m}") };
            let counts = of(a.len(), b.len());
            let extra = a.iter().find(|(key, _)| !b.contains_key(*key));
            if let Some((key, value)) = extra {
                return Some(format!("{key} is too many ({counts}): {}", short(value)));
            }
            if let Some((key, value)) = b.iter().find(|(key, _)| !a.contains_key(*key)) {
                return Some(format!("{key} is missing ({counts}): {}", short(value)));
            }
            a.iter().find_map(|(key, value)| Some(format!("{key}: {}", differing(value, b.get(key)?)?)))
        }
        (Json::Array(a), Json::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(at, (a, b))| Some(format!("[{at}]: {}", differing(a, b)?)))
        }
        (Json::Number(a), Json::Number(b)) => {
            let (a, b) = (a.as_f64()?, b.as_f64()?);
            let is_equal = (a - b).abs() <= (RELATIVE * a.abs().max(b.abs())).max(REMAINDER) || a == b;
            (!is_equal).then(|| format!("{a} instead of {b}"))
        }
        (a, b) => (a != b).then(|| format!("{} instead of {}", short(a), short(b))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared_whatever_their_order() {
        let found = |ids: [&str; 2], zero: &str| {
            let text = format!(
                r#"{{"traces":[{{"traceID":"{}","startTimeUnixNano":"5","spanSets":[{{"matched":1,"spans":[
                    {{"spanID":"0a","startTimeUnixNano":"5"{zero}}}]}}]}},{{"traceID":"{}"}}]}}"#,
                ids[0], ids[1]
            );
            Ok(normal(Kind::Search, "{}", &serde_json::from_str(&text).expect("JSON")))
        };
        let one = found(["ab", "00cd"], "");
        assert_eq!(difference(&one, &found(["0ab", "cd"], r#","name":"""#)), None);
        let other = difference(&one, &found(["ab", "ce"], "")).unwrap_or_default();
        assert!(other.ends_with("\"start\":null}") && other.contains("cd is too many (of 2)"), "{other}");
        let series = |value: f64| {
            let answer =
                json!({"series": [{"labels": [], "samples": [{"timestampMs": "1", "value": value}]}]});
            Ok(normal(Kind::Series, "{} | rate()", &answer))
        };
        assert_eq!(difference(&series(1.0), &series(1.0 + 1e-12)), None);
        assert_eq!(difference(&series(0.5), &series(1.0)).as_deref(), Some("{}: 1: 0.5 instead of 1"));
        let compared = |question: &str| {
            let labels = json!([{"key": "__meta_type"}, {"key": "span.items"}]);
            normal(Kind::Series, question, &json!({"series": [{"labels": labels, "value": 1}]}))
        };
        assert_eq!(compared("{ .items > 1 } | compare({})"), json!({}));
        assert_ne!(compared("{ .item > 1 } | compare({})"), json!({}));
        assert_eq!(normal(Kind::Series, "{} | rate()", &json!({"series": [{"samples": []}]})), json!({}));
        assert!(difference(&Err((400, "a".into())), &Err((400, "b".into()))).is_none());
        assert!(difference(&Err((500, "a".into())), &series(1.0)).is_some());
    }
}
