//! The Collector's part of the file: components and pipelines. Here the `otlp`, `jaeger`, `zipkin`, `prometheus` and `filelog`
//! receivers and the `file_storage` extension work; every other
//! component is refused by its name, with the Collector's words where it has some.

use std::collections::BTreeMap;

use super::section::{Problem, Section, closest};
use super::tree::{Key, Node, Value};
use super::{Config, filelog, prometheus, spans};

/// The signals that a pipeline may be of.
const SIGNALS: [&str; 3] = ["traces", "metrics", "logs"];
/// What a decoder can take at most: text columns count their bytes in 31 bits.
const REQUEST_BYTES_MAX: u64 = 256 << 20;

/// Reads `receivers`, `processors`, `exporters`, `connectors`, `extensions` and `service`.
pub fn read(top: &mut Section<'_>, config: &mut Config) {
    let storages = filelog::read_storages(top.section("extensions"));
    let receivers = read_receivers(top.section("receivers"), &storages, config);
    for (section, kind) in
        [("processors", "processor"), ("exporters", "exporter"), ("connectors", "connector")]
    {
        refuse_all(top.section(section), kind);
    }
    read_service(top.section("service"), &receivers, &storages, config);
}

/// Ids of the receivers, with the line of each.
fn read_receivers(
    mut section: Section<'_>,
    storages: &filelog::Storages,
    config: &mut Config,
) -> BTreeMap<String, u64> {
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    for (key, node) in section.take_rest() {
        let Some(kind) = checked_id(&mut section, &key) else { continue };
        if kind == "prometheus" {
            let mut problems = Vec::new();
            let path = section.path_of(&key.name);
            prometheus::read(&path, node, &mut config.pulled.scraping, &mut problems);
            section.extend(problems);
        } else if filelog::KINDS.contains(&kind.as_str()) {
            let mut problems = Vec::new();
            let path = section.path_of(&key.name);
            if let Some((receiver, warnings)) =
                filelog::read(&path, key.name.trim(), node, storages, &mut problems)
            {
                config.pulled.filelog.push(receiver);
                config.warnings.extend(warnings);
            }
            section.extend(problems);
        } else if !["otlp", "jaeger", "zipkin"].contains(&kind.as_str()) {
            let message = format!(
                "unknown type: {kind:?} for id: {:?} (valid values: [filelog jaeger otlp prometheus zipkin]); the {kind} \
                 receiver is not supported yet",
                key.name
            );
            section.refuse(&key.name, Some(key.line), message);
        } else if let Some(other) = found.keys().find(|id| is_of(id, &kind)) {
            let message = format!("a second {kind} receiver beside {other:?} is not supported yet");
            section.refuse(&key.name, Some(key.line), message);
        } else if kind != "otlp" {
            let mut problems = Vec::new();
            let path = section.path_of(&key.name);
            match kind.as_str() {
                "jaeger" => spans::read_jaeger(&path, node, &mut config.otlp.spans, &mut problems),
                _ => spans::read_zipkin(&path, node, &mut config.otlp.spans, &mut problems),
            }
            section.extend(problems);
        } else {
            read_otlp(&mut section, &key, node, config);
        }
        found.insert(key.name, key.line);
    }
    section.finish();
    found
}

fn is_of(id: &str, wanted: &str) -> bool {
    id.split('/').next().is_some_and(|kind| kind.trim() == wanted)
}

/// A present protocol is on, an absent one is off; without `protocols` both are on.
fn read_otlp(receivers: &mut Section<'_>, key: &Key, node: Node, config: &mut Config) {
    let path = receivers.path_of(&key.name);
    let mut problems = Vec::new();
    let mut otlp = Section::new(&path, Some(node), &mut problems);
    let protocols = otlp.take("protocols");
    otlp.finish();
    if let Some(node) = protocols {
        read_protocols(&format!("{path}::protocols"), node, config, &mut problems);
    }
    receivers.extend(problems);
}

fn read_protocols(path: &str, node: Node, config: &mut Config, problems: &mut Vec<Problem>) {
    let mut protocols = Section::new(path, Some(node), problems);
    let (grpc, http) = (protocols.take("grpc"), protocols.take("http"));
    if grpc.is_none() && http.is_none() {
        protocols.refuse("", None, "must specify at least one protocol when using the OTLP receiver");
    }
    protocols.finish();
    let settings = &mut config.otlp;
    let mut largest = Vec::new();
    settings.grpc = grpc.map(|node| {
        let mut section = Section::new(&format!("{path}::grpc"), Some(node), problems);
        let mib = section.number(
            "max_recv_msg_size_mib",
            settings.request_bytes_max >> 20,
            1..=REQUEST_BYTES_MAX >> 20,
        );
        largest.push(mib << 20);
        let streams = section.number("max_concurrent_streams", u64::from(settings.streams_max), 1..=100_000);
        settings.streams_max = u32::try_from(streams).unwrap_or(u32::MAX);
        refuse_known(
            &mut section,
            &["tls", "auth", "keepalive", "read_buffer_size", "write_buffer_size", "transport"],
        );
        let endpoint = section.endpoint("endpoint", ([127, 0, 0, 1], 4317).into());
        section.finish();
        endpoint
    });
    settings.http = http.map(|node| {
        let mut section = Section::new(&format!("{path}::http"), Some(node), problems);
        largest.push(
            section.size("max_request_body_size", settings.request_bytes_max, 1 << 10).min(REQUEST_BYTES_MAX),
        );
        refuse_known(
            &mut section,
            &["tls", "auth", "cors", "traces_url_path", "metrics_url_path", "logs_url_path"],
        );
        let endpoint = section.endpoint("endpoint", ([127, 0, 0, 1], 4318).into());
        section.finish();
        endpoint
    });
    // Both protocols share one limit, the larger of the two that are given.
    settings.request_bytes_max = largest.into_iter().max().unwrap_or(settings.request_bytes_max);
}

/// Keys that a Collector knows and that do nothing here yet.
pub fn refuse_known(section: &mut Section<'_>, keys: &[&'static str]) {
    for key in keys {
        if let Some(node) = section.take(key) {
            section.refuse(key, Some(node.line), "not supported yet; leave it out");
        }
    }
}

fn refuse_all(mut section: Section<'_>, kind: &str) {
    for (key, _) in section.take_rest() {
        let Some(of_type) = checked_id(&mut section, &key) else { continue };
        let message =
            format!("the {of_type} {kind} is not supported yet; leave it out, and out of the pipelines");
        section.refuse(&key.name, Some(key.line), message);
    }
    section.finish();
}

/// The type of an id `type` or `type/name`.
pub fn checked_id(section: &mut Section<'_>, key: &Key) -> Option<String> {
    let (kind, name) = match key.name.split_once('/') {
        Some((kind, name)) => (kind.trim(), Some(name.trim())),
        None => (key.name.trim(), None),
    };
    let starts_well = kind.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    let plain = kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if starts_well && plain && kind.len() <= 63 && name.is_none_or(|name| !name.is_empty()) {
        return Some(kind.to_owned());
    }
    section.refuse(
        &key.name,
        Some(key.line),
        format!("invalid component id {:?}: write type or type/name", key.name),
    );
    None
}

fn read_service(
    mut service: Section<'_>,
    receivers: &BTreeMap<String, u64>,
    storages: &filelog::Storages,
    config: &mut Config,
) {
    if let Some(node) = service.take("telemetry") {
        let empty = match &node.value {
            Value::Null => true,
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
            _ => false,
        };
        if !empty {
            service.refuse("telemetry", Some(node.line), "not supported yet; leave it out");
        }
    }
    for (id, line) in ids(&mut service, "extensions") {
        if !storages.contains_key(&id) {
            let message = format!("references extension {id:?} which is not configured");
            service.refuse("extensions", Some(line), message);
        }
    }
    let Some(node) = service.take("pipelines") else {
        service.finish();
        return;
    };
    let mut problems = Vec::new();
    let mut pipelines = Section::new("service::pipelines", Some(node), &mut problems);
    let mut signals = Vec::new();
    let mut used: Vec<String> = Vec::new();
    let entries = pipelines.take_rest();
    if entries.is_empty() {
        pipelines.refuse("", None, "service must have at least one pipeline");
    }
    for (key, node) in entries {
        let Some(signal) = checked_id(&mut pipelines, &key) else { continue };
        if !SIGNALS.contains(&signal.as_str()) {
            let near =
                closest(&signal, &SIGNALS).map_or_else(String::new, |near| format!("; did you mean {near}?"));
            pipelines.refuse(&key.name, Some(key.line), format!("unknown signal {signal:?}{near}"));
            continue;
        }
        used.extend(read_pipeline(&mut pipelines, &key, node, receivers));
        signals.push(signal);
    }
    pipelines.finish();
    let well = problems.is_empty();
    service.extend(problems);
    service.finish();
    if !well {
        return;
    }
    for missing in SIGNALS.iter().filter(|signal| !signals.iter().any(|s| s == *signal)) {
        config.warnings.push(format!(
            "service::pipelines has no {missing} pipeline; the otlp receiver takes {missing} all the same, leaving a \
             signal out is not supported yet"
        ));
    }
    for id in receivers.keys().filter(|id| !used.contains(id)) {
        config.warnings.push(format!("receivers::{id} is in no pipeline; it runs all the same"));
    }
}

/// The receivers of one pipeline. Its end is the store, so that it needs no exporter.
fn read_pipeline(
    pipelines: &mut Section<'_>,
    key: &Key,
    node: Node,
    receivers: &BTreeMap<String, u64>,
) -> Vec<String> {
    let path = pipelines.path_of(&key.name);
    let mut problems = Vec::new();
    let mut pipeline = Section::new(&path, Some(node), &mut problems);
    let used = ids(&mut pipeline, "receivers");
    if used.is_empty() {
        pipeline.refuse("", Some(key.line), "must have at least one receiver");
    }
    for (id, line) in &used {
        if !receivers.contains_key(id) {
            pipeline.refuse("", Some(*line), format!("references receiver {id:?} which is not configured"));
        }
    }
    for (section, kind) in [("processors", "processor"), ("exporters", "exporter")] {
        for (id, line) in ids(&mut pipeline, section) {
            pipeline.refuse(
                "",
                Some(line),
                format!("references {kind} {id:?}, and {section} are not supported yet"),
            );
        }
    }
    pipeline.finish();
    pipelines.extend(problems);
    used.into_iter().map(|(id, _)| id).collect()
}

fn ids(pipeline: &mut Section<'_>, key: &'static str) -> Vec<(String, u64)> {
    let Some(node) = pipeline.take(key) else { return Vec::new() };
    match node.value {
        Value::Null => Vec::new(),
        Value::List(items) => items
            .into_iter()
            .filter_map(|item| Some((item.value.scalar()?.trim().to_owned(), item.line)))
            .collect(),
        other => {
            pipeline.refuse(key, Some(node.line), format!("expected a list of ids, got {}", other.kind()));
            Vec::new()
        }
    }
}
