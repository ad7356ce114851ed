//! What differs between two answers of Loki's API.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::answers::{self, Answer};

/// What differs between two answers to a query. Values are equal to 1e-12 of themselves, all else byte by byte; the order of
/// series counts where the query asks for one.
pub fn difference(ours: &Answer, theirs: &Answer, ordered: bool) -> Option<String> {
    match (ours, theirs) {
        (Ok(a), Ok(b)) if a["resultType"] == "streams" && b["resultType"] == "streams" => {
            if a["encodingFlags"] != b["encodingFlags"] {
                return Some(format!("flags {} instead of {}", a["encodingFlags"], b["encodingFlags"]));
            }
            streams(&a["result"], &b["result"])
        }
        (Ok(a), Ok(b)) if ordered && a["resultType"] == "vector" && b["resultType"] == "vector" => {
            answers::difference(ours, theirs, 0.0).or_else(|| order(&a["result"], &b["result"]))
        }
        // Loki writes the time of a number alone in thousandths of seconds.
        (Ok(a), Ok(b)) if a["resultType"] == "scalar" && b["resultType"] == "scalar" => {
            let (ours, theirs) = (&a["result"][1], &b["result"][1]);
            (ours != theirs).then(|| format!("{ours} instead of {theirs}"))
        }
        // Series that do not match are the server's error to Loki. Here they are the query's: who is woken by failing answers, and
        // clients that ask again after them, must not be.
        (Err((400, _)), Err((500, theirs))) if is_mismatch(theirs) => None,
        // Loki answers queries with templates and addresses that are none wherever it happens not to need them.
        (Err((400, ours)), Ok(_))
            if ours.contains("invalid line template") || ours.contains("ip: invalid") =>
        {
            None
        }
        _ => answers::difference(ours, theirs, 0.0),
    }
}

/// Whether an operator did not find which series of its sides belong together.
fn is_mismatch(message: &str) -> bool {
    message.contains("multiple matches for labels") || message.contains("found duplicate series")
}

/// Whether a series of numbers has a label without a value.
pub fn has_empty_label(answer: &Answer) -> bool {
    let series = answer.as_ref().ok().and_then(|data| data["result"].as_array());
    let labels = series.into_iter().flatten().filter_map(|series| series["metric"].as_object());
    labels.flat_map(|labels| labels.values()).any(|value| value == "")
}

/// Series with equal values may change places.
fn order(ours: &Json, theirs: &Json) -> Option<String> {
    let values = |result: &Json| -> Vec<String> {
        result.as_array().into_iter().flatten().map(|sample| sample["value"][1].to_string()).collect()
    };
    let (a, b) = (values(ours), values(theirs));
    let near = |a: &str, b: &str| {
        let number = |text: &str| text.trim_matches('"').parse::<f64>();
        matches!((number(a), number(b)), (Ok(a), Ok(b)) if (a - b).abs() <= 1e-12 * a.abs().max(b.abs()))
    };
    let at = a.iter().zip(&b).position(|(a, b)| a != b && !near(a, b))?;
    Some(format!("place {at} has {} instead of {}", a[at], b[at]))
}

fn by_labels(result: &Json) -> BTreeMap<String, &Json> {
    let streams = result.as_array().into_iter().flatten();
    streams.map(|stream| (stream["stream"].to_string(), &stream["values"])).collect()
}

fn streams(ours: &Json, theirs: &Json) -> Option<String> {
    let (a, b) = (by_labels(ours), by_labels(theirs));
    let lines = |streams: &BTreeMap<String, &Json>| -> usize {
        streams.values().map(|values| values.as_array().map_or(0, Vec::len)).sum()
    };
    let counts =
        format!("{} streams of {} lines instead of {} of {}", a.len(), lines(&a), b.len(), lines(&b));
    if let Some((labels, values)) = a.iter().find(|(labels, _)| !b.contains_key(*labels)) {
        return Some(format!("{labels} is too many, first {} ({counts})", values[0]));
    }
    if let Some((labels, values)) = b.iter().find(|(labels, _)| !a.contains_key(*labels)) {
        return Some(format!("{labels} is missing, first {} ({counts})", values[0]));
    }
    a.iter().find_map(|(labels, ours)| {
        let theirs = b.get(labels)?;
        let none = Vec::new();
        let (a, b) = (ours.as_array().unwrap_or(&none), theirs.as_array().unwrap_or(&none));
        if let Some((a, b)) = a.iter().zip(b).find(|(a, b)| a != b) {
            return Some(format!("{labels}: {a} instead of {b}"));
        }
        (a.len() != b.len()).then(|| format!("{labels}: {} lines instead of {}", a.len(), b.len()))
    })
}

/// Takes members of these names out, at any depth; statistics always.
pub fn leave_out(answer: &mut Json, names: &[&str]) {
    match answer {
        Json::Object(members) => {
            members.retain(|name, _| name != "stats" && !names.contains(&name.as_str()));
            members.values_mut().for_each(|member| leave_out(member, names));
        }
        Json::Array(items) => items.iter_mut().for_each(|item| leave_out(item, names)),
        _ => {}
    }
}

/// Estimates of cardinality agree if they are within a tenth, and what is empty in one way is empty in another.
fn is_alike(place: &str, ours: &Json, theirs: &Json) -> bool {
    let is_empty = |json: &Json| json.is_null() || json.as_array().is_some_and(Vec::is_empty);
    match (ours.as_f64(), theirs.as_f64()) {
        (Some(a), Some(b)) if place.ends_with(".cardinality") => (a - b).abs() <= 0.1 * a.max(b),
        // Without any values the limit is not repeated.
        (Some(_), None) if place == ".limit" => theirs.is_null(),
        _ => is_empty(ours) && is_empty(theirs),
    }
}

/// What differs between two listings in any order, at any depth.
pub fn listing(ours: &Answer, theirs: &Answer) -> Option<String> {
    match (ours, theirs) {
        (Ok(a), Ok(b)) => members("", a, b),
        (Err((a, _)), Err((b, _))) if a == b => None,
        (a, b) => Some(format!("{a:?} instead of {b:?}")),
    }
}

fn members(place: &str, ours: &Json, theirs: &Json) -> Option<String> {
    match (ours, theirs) {
        (a, b) if a == b || is_alike(place, a, b) => None,
        (Json::Object(a), Json::Object(b)) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let of = |members: &serde_json::Map<String, Json>, name| {
                members.get(name).cloned().unwrap_or_default()
            };
            names.into_iter().find_map(|name| members(&format!("{place}.{name}"), &of(a, name), &of(b, name)))
        }
        (Json::Array(a), Json::Array(b)) => {
            let key = |item: &Json| item.get("label").unwrap_or(item).to_string();
            let set = |items: &[Json]| items.iter().map(|item| (key(item), item.clone())).collect();
            let (a, b): (BTreeMap<String, Json>, BTreeMap<String, Json>) = (set(a), set(b));
            let too_many: Vec<&String> = a.keys().filter(|key| !b.contains_key(*key)).take(4).collect();
            let missing: Vec<&String> = b.keys().filter(|key| !a.contains_key(*key)).take(4).collect();
            if !too_many.is_empty() || !missing.is_empty() {
                return Some(format!("{place}: too many {too_many:?}, missing {missing:?}"));
            }
            a.iter().find_map(|(key, ours)| members(&format!("{place}[{key}]"), ours, b.get(key)?))
        }
        (a, b) => Some(format!("{place}: {a} instead of {b}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_loki_says_of_wrong_queries_counts_but_for_exceptions() {
        let refused = |status: u16, message: &str| Err((status, message.to_owned()));
        let mismatch = "found duplicate series on the right hand-side";
        assert_eq!(difference(&refused(400, mismatch), &refused(500, mismatch), false), None);
        assert!(difference(&refused(400, "x"), &refused(500, "x"), false).is_some());
        let answer = Ok(json!({ "resultType": "matrix", "result": [] }));
        assert_eq!(difference(&refused(400, "invalid line template: x"), &answer, false), None);
        assert!(difference(&refused(400, "x"), &answer, false).is_some());
        assert!(difference(&answer, &refused(400, "invalid line template: x"), false).is_some());
    }

    #[test]
    fn lines_are_compared_byte_by_byte_and_streams_in_any_order() {
        let streams = |line: &str, first: bool| {
            let a = json!({ "stream": { "app": "a" }, "values": [["1", line]] });
            let b = json!({ "stream": { "app": "b" }, "values": [["2", "x"]] });
            Ok(json!({ "resultType": "streams", "result": if first { [a, b] } else { [b, a] } }))
        };
        assert_eq!(difference(&streams("1.0", true), &streams("1.0", false), false), None);
        assert!(difference(&streams("1.0", true), &streams("1", true), false).is_some());
        let vector = |values: [&str; 2]| {
            let sample = |app: &str, value: &str| json!({ "metric": { "app": app }, "value": [1, value] });
            let result = if values[0] < values[1] {
                [sample("a", values[0]), sample("b", values[1])]
            } else {
                [sample("b", values[0]), sample("a", values[1])]
            };
            Ok(json!({ "resultType": "vector", "result": result }))
        };
        assert_eq!(difference(&vector(["1", "2"]), &vector(["2", "1"]), false), None);
        assert!(difference(&vector(["1", "2"]), &vector(["2", "1"]), true).is_some());
    }
}
