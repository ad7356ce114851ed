//! What the origin of a record is in Loki: the labels of a stream, and metadata that its records have in common.
//!
//! A resource of OTLP gives the labels that are in a list, under sanitised names; its other attributes and those of the scope are
//! metadata. The resource of a stream that was pushed has its labels and nothing else.

use serde_json::Value as Json;
use throughline_exec::Labels;
use throughline_wire::loki::{SERVICE_LABELS, SERVICE_NAME, STREAM_SCOPE};

/// Resource attributes that are labels of streams unless configured otherwise: Loki's `default_resource_attributes_as_index_labels`.
const INDEX_LABELS: [&str; 18] = [
    "service.name",
    "service.namespace",
    "service.instance.id",
    "deployment.environment",
    "deployment.environment.name",
    "cloud.region",
    "cloud.availability_zone",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.container.name",
    "container.name",
    "k8s.replicaset.name",
    "k8s.deployment.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.cronjob.name",
    "k8s.job.name",
];

/// The service of what names none.
pub const UNKNOWN_SERVICE: &str = "unknown_service";

/// How deep values are taken apart; the decoder lets none in that is deeper.
const DEPTH: usize = throughline_model::attribute::MAX_DEPTH;

/// Which resource attributes are labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLabels {
    index: Vec<String>,
}

impl Default for LogLabels {
    fn default() -> LogLabels {
        LogLabels { index: INDEX_LABELS.map(str::to_owned).to_vec() }
    }
}

/// What an origin is in Loki.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginLabels {
    /// The labels of the stream.
    pub stream: Labels,
    /// Metadata of all its records, sorted by name.
    pub metadata: Vec<(String, String)>,
    /// Whether it was pushed as a stream: then nothing is added to what the sender gave but the level.
    pub is_pushed: bool,
}

impl LogLabels {
    /// With these resource attributes as labels, by their names in OTLP.
    pub fn new(index: Vec<String>) -> LogLabels {
        LogLabels { index }
    }

    /// The labels and metadata of an origin; `resource` and `scope` are JSON objects.
    pub fn of_origin(&self, resource: &str, scope: &str) -> OriginLabels {
        let members = members(resource);
        if scope == STREAM_SCOPE {
            let pairs = members.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
            return OriginLabels { stream: Labels::from_pairs(pairs), metadata: Vec::new(), is_pushed: true };
        }
        let mut stream: Vec<(String, String)> = Vec::new();
        let mut metadata: Vec<(String, String)> = Vec::new();
        let mut service = None;
        for (name, value) in &members {
            let is_label = self.index.iter().any(|index| index == name);
            let into = if is_label { &mut stream } else { &mut metadata };
            let from = into.len();
            flatten(name, value, &mut |name, value| into.push((name.to_owned(), value)));
            if is_label && service.is_none() {
                let named = stream.iter().skip(from).find(|(name, _)| names_service(name));
                service = named.map(|(_, value)| value.clone());
            }
        }
        if !stream.iter().any(|(name, value)| name == SERVICE_NAME && !value.is_empty()) {
            stream.retain(|(name, _)| name != SERVICE_NAME);
            stream.push((SERVICE_NAME.to_owned(), service.unwrap_or_else(|| UNKNOWN_SERVICE.to_owned())));
        }
        push_scope(scope, &mut metadata);
        sort_pairs(&mut metadata);
        OriginLabels { stream: Labels::from_pairs(stream), metadata, is_pushed: false }
    }
}

fn members(object: &str) -> Vec<(String, Json)> {
    match serde_json::from_str(object) {
        Ok(Json::Object(members)) => members.into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Whether a label of OTLP names the service where there is no `service.name`.
fn names_service(label: &str) -> bool {
    SERVICE_LABELS.contains(&label)
}

fn push_scope(scope: &str, metadata: &mut Vec<(String, String)>) {
    for (name, value) in members(scope) {
        match (name.as_str(), &value) {
            ("attributes", Json::Object(attributes)) => {
                for (name, value) in attributes {
                    flatten(name, value, &mut |name, value| metadata.push((name.to_owned(), value)));
                }
            }
            ("name", Json::String(name)) => metadata.push(("scope_name".to_owned(), name.clone())),
            ("version", Json::String(version)) => {
                metadata.push(("scope_version".to_owned(), version.clone()));
            }
            _ => {}
        }
    }
}

/// Sorts pairs by name; of a name that is there twice the first stays.
pub(super) fn sort_pairs(pairs: &mut Vec<(String, String)>) {
    pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
    pairs.dedup_by(|later, first| later.0 == first.0);
}

/// A name as Loki writes it: what is no ASCII letter, digit or underscore is an underscore, of several one stays, and a digit does
/// not come first.
pub fn sanitised(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        out.push_str("key_");
    }
    for c in name.chars() {
        match c {
            c if c.is_ascii_alphanumeric() => out.push(c),
            _ if out.ends_with('_') => {}
            _ => out.push('_'),
        }
    }
    out
}

/// Calls `visit` with the sanitised name and the text of a value; the members of an object come one by one.
pub(super) fn flatten(name: &str, value: &Json, visit: &mut dyn FnMut(&str, String)) {
    flatten_at(name, value, DEPTH, visit);
}

fn flatten_at(name: &str, value: &Json, depth: usize, visit: &mut dyn FnMut(&str, String)) {
    match value {
        Json::Object(members) => match special(value) {
            Some(text) => visit(&sanitised(name), text.to_owned()),
            None if depth == 0 => {}
            None => {
                for (member, value) in members {
                    flatten_at(&format!("{name}_{member}"), value, depth - 1, visit);
                }
            }
        },
        value => visit(&sanitised(name), text_of(value)),
    }
}

/// What JSON lacks is stored as an object of one member.
fn special(value: &Json) -> Option<&str> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    let member = |name: &str| members.get(name).and_then(Json::as_str);
    member("bytesValue").or_else(|| member("doubleValue"))
}

fn text_of(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => number.to_string(),
            (None, Some(number)) => number_text(number),
            (None, None) => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// A number as Go's JSON has it.
pub(super) fn number_text(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) { format!("{number:e}") } else { number.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sanitised_as_loki_does() {
        for (name, expected) in [
            ("service.name", "service_name"),
            ("a..b--c", "a_b_c"),
            ("5xx.rate", "key_5xx_rate"),
            ("_x", "_x"),
            ("__x__", "_x_"),
            ("größe", "gr_e"),
            ("", ""),
        ] {
            assert_eq!(sanitised(name), expected, "{name}");
        }
    }

    #[test]
    fn resources_become_streams_and_metadata() {
        let labels = LogLabels::default();
        let resource = r#"{"service.name":"cart","k8s.pod.name":"p-1","host.name":"h","process":{"pid":7,"args":["a",1]},"f":2.0}"#;
        let scope = r#"{"name":"lib","version":"1.2","attributes":{"a.b":true}}"#;
        let origin = labels.of_origin(resource, scope);
        assert_eq!(origin.stream.to_string(), r#"{k8s_pod_name="p-1", service_name="cart"}"#);
        let expected = [
            ("a_b", "true"),
            ("f", "2"),
            ("host_name", "h"),
            ("process_args", r#"["a",1]"#),
            ("process_pid", "7"),
            ("scope_name", "lib"),
            ("scope_version", "1.2"),
        ];
        let expected: Vec<(String, String)> =
            expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        assert_eq!(origin.metadata, expected);
        assert!(!origin.is_pushed);
    }

    #[test]
    fn services_are_discovered_from_labels() {
        let labels = LogLabels::default();
        let stream = |resource: &str| labels.of_origin(resource, "{}").stream.to_string();
        assert_eq!(stream("{}"), r#"{service_name="unknown_service"}"#);
        assert_eq!(
            stream(r#"{"app":"x","k8s.container.name":"c","service.name":""}"#),
            r#"{k8s_container_name="c", service_name="c"}"#
        );
        let own = LogLabels::new(vec!["app".to_owned()]);
        assert_eq!(own.of_origin(r#"{"app":"x"}"#, "{}").stream.get("app"), "x");
    }

    #[test]
    fn pushed_streams_are_what_was_pushed() {
        let origin = LogLabels::default().of_origin(r#"{"ab":"1","service_name":"s"}"#, STREAM_SCOPE);
        assert_eq!(origin.stream.to_string(), r#"{ab="1", service_name="s"}"#);
        assert!(origin.is_pushed && origin.metadata.is_empty());
    }
}
