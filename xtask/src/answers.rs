//! Servers that speak Prometheus's API, asked and compared answer by answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value as Json;

use crate::bench::server::{Place, now};

/// Values that agree to this part of themselves are equal.
const RELATIVE: f64 = 1e-12;

/// An answer longer than this is none that anybody wants.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// A server that is written to and asked.
pub struct Target {
    base: String,
    agent: ureq::Agent,
}

/// The data of an answer, or the status of a refusal with its message.
pub type Answer = Result<Json, (u16, String)>;

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

impl Target {
    /// The server whose API is at this port.
    pub fn new(port: u16) -> Target {
        let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build();
        let base = format!("http://{}/api/v1", Place::address(port));
        Target { base, agent: ureq::Agent::from(config) }
    }

    /// The server whose API of Loki is at this port.
    pub fn loki(port: u16) -> Target {
        Target { base: format!("http://{}/loki/api/v1", Place::address(port)), ..Target::new(port) }
    }

    /// Sends a body of remote write 1.0.
    pub fn write(&self, body: &[u8]) -> anyhow::Result<()> {
        let headers = [
            ("Content-Type", "application/x-protobuf"),
            ("Content-Encoding", "snappy"),
            ("X-Prometheus-Remote-Write-Version", "0.1.0"),
        ];
        self.post("write", &headers, body)
    }

    /// Sends a body that must be accepted.
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> anyhow::Result<()> {
        let request = self.agent.post(format!("{}/{path}", self.base));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let mut response = request.send(body)?;
        let status = response.status().as_u16();
        let told = response.body_mut().read_to_string()?;
        anyhow::ensure!(status / 100 == 2, "{path}: {status} {told}");
        Ok(())
    }

    /// Asks by GET: the status and the text.
    pub fn get(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        parameters: &[(&'static str, String)],
    ) -> anyhow::Result<(u16, String)> {
        let url = format!("{}/{path}", self.base);
        let request =
            self.agent.get(&url).query_pairs(parameters.iter().map(|(name, value)| (*name, value.as_str())));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let mut response = request.call().with_context(|| format!("ask {url}"))?;
        let status = response.status().as_u16();
        let bytes = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Asks and waits for the last byte: the status, the bytes, and how long it took.
    pub fn fetch(
        &self,
        path: &str,
        form: &[(&'static str, String)],
    ) -> anyhow::Result<(u16, Vec<u8>, Duration)> {
        let url = format!("{}/{path}", self.base);
        let pairs = form.iter().map(|(name, value)| (*name, value.as_str()));
        let start = now();
        // The values of a label are the one listing that is not asked for by a form.
        let response = if path.starts_with("label/") {
            self.agent.get(&url).query_pairs(pairs).call()
        } else {
            self.agent.post(&url).send_form(pairs)
        };
        let mut response = response.with_context(|| format!("ask {url}"))?;
        let status = response.status().as_u16();
        let bytes = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok((status, bytes, start.elapsed()))
    }

    /// Asks for data.
    pub fn ask(&self, path: &str, form: &[(&'static str, String)]) -> anyhow::Result<Answer> {
        let (status, bytes, _) = self.fetch(path, form)?;
        let json: Json = serde_json::from_slice(&bytes)
            .with_context(|| format!("{status} {}", String::from_utf8_lossy(&bytes)))?;
        Ok(if status == 200 {
            Ok(json.get("data").cloned().unwrap_or_default())
        } else {
            Err((status, json.get("error").and_then(Json::as_str).unwrap_or_default().to_owned()))
        })
    }
}

/// What differs between two answers.
///
/// Numbers that are this close are equal, whatever they are: sums of large numbers that cancel out leave a remainder.
pub fn difference(ours: &Answer, theirs: &Answer, remainder: f64) -> Option<String> {
    match (ours, theirs) {
        (Ok(Json::Array(ours)), Ok(Json::Array(theirs))) => listings(ours, theirs),
        (Ok(ours), Ok(theirs)) => {
            if ours["resultType"] != theirs["resultType"] {
                return Some(format!("type {} instead of {}", ours["resultType"], theirs["resultType"]));
            }
            results(&ours["result"], &theirs["result"], remainder)
        }
        (Err((ours, _)), Err((theirs, _))) if ours == theirs => None,
        (ours, theirs) => Some(format!("{} instead of {}", outcome(ours), outcome(theirs))),
    }
}

fn outcome(answer: &Answer) -> String {
    match answer {
        Ok(data) => format!("an answer ({} series)", data["result"].as_array().map_or(0, Vec::len)),
        Err((status, message)) => format!("{status} {message}"),
    }
}

/// Label names, label values or series, in any order.
fn listings(ours: &[Json], theirs: &[Json]) -> Option<String> {
    let set = |items: &[Json]| items.iter().map(Json::to_string).collect::<BTreeSet<String>>();
    let (a, b) = (set(ours), set(theirs));
    let many = a.difference(&b).next().map(|item| format!("{item} is too many"));
    many.or_else(|| b.difference(&a).next().map(|item| format!("{item} is missing")))
}

fn by_labels(result: &Json) -> Option<BTreeMap<String, &Json>> {
    let series = result.as_array()?;
    series.iter().map(|series| Some((labels_text(series.get("metric")?), series))).collect()
}

/// The labels of a series. `count_values` makes labels of values, whose last digits depend on the order of sums.
fn labels_text(metric: &Json) -> String {
    let mut metric = metric.clone();
    if let Some(Json::String(value)) = metric.get_mut("value")
        && let Some(number) = number(value)
    {
        *value = format!("{number:.10e}");
    }
    metric.to_string()
}

fn results(ours: &Json, theirs: &Json, remainder: f64) -> Option<String> {
    let (Some(a), Some(b)) = (by_labels(ours), by_labels(theirs)) else {
        return samples(ours, theirs, remainder);
    };
    if let Some(labels) = a.keys().find(|labels| !b.contains_key(*labels)) {
        return Some(format!("{labels} is too many ({} series instead of {})", a.len(), b.len()));
    }
    if let Some(labels) = b.keys().find(|labels| !a.contains_key(*labels)) {
        return Some(format!("{labels} is missing ({} series instead of {})", a.len(), b.len()));
    }
    a.iter().find_map(|(labels, ours)| {
        let theirs = b.get(labels)?;
        let keys = ["value", "values", "histogram", "histograms"];
        keys.iter()
            .find_map(|key| samples(&ours[*key], &theirs[*key], remainder))
            .map(|difference| format!("{labels}: {difference}"))
    })
}

/// Compares samples, member by member; numbers in texts by value.
fn samples(ours: &Json, theirs: &Json, remainder: f64) -> Option<String> {
    match (ours, theirs) {
        (Json::Array(a), Json::Array(b)) => {
            if a.len() != b.len() {
                return Some(format!("{} items instead of {}", a.len(), b.len()));
            }
            a.iter().zip(b).find_map(|(a, b)| samples(a, b, remainder))
        }
        (Json::Object(a), Json::Object(b)) => {
            if a.len() != b.len() {
                return Some(format!("{ours} instead of {theirs}"));
            }
            a.iter().find_map(|(key, value)| samples(value, b.get(key).unwrap_or(&Json::Null), remainder))
        }
        (Json::String(a), Json::String(b)) if a != b => {
            let equal = match (number(a), number(b)) {
                (Some(a), Some(b)) => {
                    let distance = (a - b).abs();
                    distance <= RELATIVE * a.abs().max(b.abs()) || distance <= remainder
                }
                _ => false,
            };
            (!equal).then(|| format!("{a} instead of {b}"))
        }
        (Json::Number(a), Json::Number(b)) if a.as_f64() == b.as_f64() => None,
        (a, b) => (a != b).then(|| format!("{a} instead of {b}")),
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_compared_by_value_and_series_in_any_order() {
        let vector = |value: &str| {
            Ok(json!({ "resultType": "vector", "result": [
            { "metric": { "job": "a" }, "value": [1, value] }, { "metric": {}, "value": [1, "NaN"] },
        ] }))
        };
        assert_eq!(difference(&vector("1e3"), &vector("1000.0000000001"), 0.0), None);
        assert!(difference(&vector("1e3"), &vector("1000.00000001"), 0.0).is_some());
        assert_eq!(difference(&vector("0"), &vector("1e-10"), 1e-9), None);
        let counted = |value: &str| {
            let series = json!({ "metric": { "value": value }, "value": [1, "2"] });
            Ok(json!({ "resultType": "vector", "result": [series] }))
        };
        assert_eq!(difference(&counted("0.1"), &counted("0.10000000000000002"), 0.0), None);
        assert!(difference(&counted("0.1"), &counted("0.1001"), 0.0).is_some());
        assert_eq!(difference(&Ok(json!(["a", "b"])), &Ok(json!(["b", "a"])), 0.0), None);
        assert_eq!(difference(&Ok(json!(["a"])), &Ok(json!(["b"])), 0.0), Some("\"a\" is too many".into()));
    }
}
