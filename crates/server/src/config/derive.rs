//! The section `throughline.derive`: metrics derived from spans.

use std::time::Duration;

use throughline_correlate::units::parse_duration;
use throughline_derive::config::{BUCKETS_MAX, DIMENSIONS_MAX};
use throughline_derive::{DeriveConfig, Dimension, GraphConfig};

use super::section::{Problem, Section};
use super::tree::{Node, Value};

const BOOLEANS: [(&str, bool); 2] = [("true", true), ("false", false)];
/// More than this would be noise in every chart, less often than this a gap.
const INTERVAL_MAX: Duration = Duration::from_secs(240);

/// Reads the section; nothing where it is off.
pub fn read(mut section: Section<'_>) -> Option<DeriveConfig> {
    let mut config = DeriveConfig::default();
    let enabled = section.choice("enabled", true, &BOOLEANS);
    config.interval = section.duration("interval", config.interval, Duration::from_secs(1));
    if config.interval > INTERVAL_MAX {
        let message = format!("series without a sample for 5 minutes are stale; at most {INTERVAL_MAX:?}");
        section.refuse("interval", None, message);
    }
    config.dimensions = list(&mut section, "dimensions", DIMENSIONS_MAX, dimension).unwrap_or_default();
    if let Some(bounds) = bounds(&mut section) {
        config.histogram_buckets = bounds;
    }
    let limit = section.number("cardinality_limit", config.cardinality_limit as u64, 1..=1_000_000);
    config.cardinality_limit = usize::try_from(limit).unwrap_or(usize::MAX);
    config.service_graph = read_graph(section.section("service_graph"));
    section.finish();
    enabled.then_some(config)
}

fn read_graph(mut section: Section<'_>) -> Option<GraphConfig> {
    let mut graph = GraphConfig::default();
    let enabled = section.choice("enabled", true, &BOOLEANS);
    graph.wait = section.duration("wait", graph.wait, Duration::from_millis(100));
    let limit = section.number("store_limit", graph.store_limit as u64, 1..=10_000_000);
    graph.store_limit = usize::try_from(limit).unwrap_or(usize::MAX);
    graph.dimensions = list(&mut section, "dimensions", DIMENSIONS_MAX, text).unwrap_or_default();
    if let Some(attributes) = list(&mut section, "peer_attributes", DIMENSIONS_MAX, text) {
        graph.peer_attributes = attributes;
    }
    if let Some(bounds) = bounds(&mut section) {
        graph.histogram_buckets = bounds;
    }
    section.finish();
    enabled.then_some(graph)
}

/// A list under a key; `None` where there is none.
fn list<T>(
    section: &mut Section<'_>,
    key: &'static str,
    items_max: usize,
    read: impl Fn(&str, Node) -> Result<T, Vec<Problem>>,
) -> Option<Vec<T>> {
    let node = section.take(key)?;
    let items = match node.value {
        Value::Null => return None,
        Value::List(items) => items,
        other => {
            section.refuse(key, Some(node.line), format!("expected a list, got {}", other.kind()));
            return None;
        }
    };
    if items.len() > items_max {
        section.refuse(key, Some(node.line), format!("{} are more than {items_max}", items.len()));
        return None;
    }
    let path = section.path_of(key);
    let mut found = Vec::new();
    for item in items {
        match read(&path, item) {
            Ok(value) => found.push(value),
            Err(problems) => section.extend(problems),
        }
    }
    Some(found)
}

fn problem(path: &str, line: u64, message: String) -> Vec<Problem> {
    vec![Problem { path: path.to_owned(), line: Some(line), message }]
}

fn text(path: &str, node: Node) -> Result<String, Vec<Problem>> {
    match node.value.scalar() {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(problem(path, node.line, "expected the name of an attribute".to_owned())),
    }
}

/// `http.method`, or `{name: http.method, default: GET}`.
fn dimension(path: &str, node: Node) -> Result<Dimension, Vec<Problem>> {
    if !matches!(node.value, Value::Map(_)) {
        return Ok(Dimension { name: text(path, node)?, default: None });
    }
    let mut problems = Vec::new();
    let line = node.line;
    let mut section = Section::new(path, Some(node), &mut problems);
    let name = section.text("name", String::new());
    let default = Some(section.text("default", String::new())).filter(|text| !text.is_empty());
    if name.is_empty() {
        section.refuse("name", Some(line), "expected the name of an attribute");
    }
    section.finish();
    if problems.is_empty() { Ok(Dimension { name, default }) } else { Err(problems) }
}

/// The bounds of a histogram, ascending.
fn bounds(section: &mut Section<'_>) -> Option<Vec<f64>> {
    const KEY: &str = "histogram_buckets";
    let bounds = list(section, KEY, BUCKETS_MAX, bound)?;
    let ascends = bounds.is_sorted_by(|a, b| a < b);
    if bounds.is_empty() || !ascends {
        section.refuse(KEY, None, "expected at least one bound, each larger than the one before it");
        return None;
    }
    Some(bounds)
}

/// `5ms`, or a number of seconds.
fn bound(path: &str, node: Node) -> Result<f64, Vec<Problem>> {
    let text = node.value.scalar().unwrap_or_default();
    let ns = parse_duration(&text).map(|ns| ns as f64 / 1e9);
    let seconds = text.parse::<f64>().ok().or(ns).filter(|seconds| seconds.is_finite() && *seconds > 0.0);
    seconds.ok_or_else(|| {
        problem(path, node.line, format!("{text:?} is not a bound: write 5ms or a number of seconds"))
    })
}
