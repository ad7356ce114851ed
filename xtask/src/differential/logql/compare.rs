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
        _ => answers::difference(ours, theirs, 0.0),
    }
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
        (Json::Object(a), Json::Object(b)) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let null = Json::Null;
            names.into_iter().find_map(|name| {
                let of = |members: &serde_json::Map<String, Json>| members.get(name).cloned();
                let (a, b) = (of(a).unwrap_or(null.clone()), of(b).unwrap_or(null.clone()));
                members(&format!("{place}.{name}"), &a, &b)
            })
        }
        (Json::Array(a), Json::Array(b)) => {
            let set = |items: &[Json]| items.iter().map(Json::to_string).collect::<BTreeSet<String>>();
            let (a, b) = (set(a), set(b));
            let too_many: Vec<&String> = a.difference(&b).take(4).collect();
            let missing: Vec<&String> = b.difference(&a).take(4).collect();
            let differ = !too_many.is_empty() || !missing.is_empty();
            differ.then(|| format!("{place}: too many {too_many:?}, missing {missing:?}"))
        }
        (a, b) => (a != b).then(|| format!("{place}: {a} instead of {b}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
