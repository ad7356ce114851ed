//! Operators of a receiver: each by its type, with its outputs resolved.

use std::collections::BTreeMap;
use std::time::Duration;

use throughline_exec::search_bytes_regex;
use throughline_filelog::chain::Chain;
use throughline_filelog::expr::{Expression, Template};
use throughline_filelog::field::Field;
use throughline_filelog::operator::edit::{Added, Edit};
use throughline_filelog::operator::recombine::{Edge, Recombine, RecombineLimits};
use throughline_filelog::operator::{Action, OnError, Operator, Output, Route};
use throughline_filelog::value::Value;

use super::parsers;
use super::{environment, templates, value};
use crate::config::section::{Problem, Section, closest};
use crate::config::tree::{self, Node};

/// Operators that work here.
const KNOWN: [&str; 21] = [
    "add",
    "container",
    "copy",
    "csv_parser",
    "filter",
    "flatten",
    "json_parser",
    "key_value_parser",
    "move",
    "noop",
    "recombine",
    "regex_parser",
    "regex_replace",
    "remove",
    "retain",
    "router",
    "scope_name_parser",
    "severity_parser",
    "time_parser",
    "trace_parser",
    "unquote",
];

/// Operators of the Collector that do not work here yet.
const UNSUPPORTED: [&str; 19] = [
    "assign_keys",
    "file_input",
    "file_output",
    "generate_input",
    "headerless_jarray_parser",
    "journald_input",
    "json_array_parser",
    "k8s_event_input",
    "metadata",
    "restructure",
    "sanitize_utf8",
    "stdin",
    "stdout",
    "strip_ansi_escape_codes",
    "syslog_input",
    "syslog_parser",
    "tcp_input",
    "udp_input",
    "uri_parser",
];

/// An operator whose outputs are still names.
struct Named {
    kind: String,
    operator: Operator,
    /// Its own outputs, and those of its routes in their order; none means the next operator.
    outputs: Vec<Outputs>,
    path: String,
    line: u64,
}

/// Names of operators; none means the next one.
type Outputs = Option<Vec<String>>;

/// Reads all operators, and whether one takes metadata from the file's path; no chain where something is wrong.
pub fn read(path: &str, nodes: Vec<Node>, problems: &mut Vec<Problem>) -> (Option<Chain>, bool) {
    let (mut named, mut ids): (Vec<Named>, BTreeMap<String, usize>) = (Vec::new(), BTreeMap::new());
    for (index, node) in nodes.into_iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Some(mut one) = read_one(&path, node, problems) else { continue };
        if one.operator.id.is_empty() {
            one.operator.id = free_id(&ids, &one.kind);
        }
        if ids.insert(one.operator.id.clone(), named.len()).is_some() {
            let message = format!("there is a second operator {:?}", one.operator.id);
            problems.push(Problem { path: format!("{path}::id"), line: Some(one.line), message });
        }
        named.push(one);
    }
    let takes_metadata = named.iter().any(|one| match &one.operator.action {
        Action::Container(container) => container.add_metadata,
        _ => false,
    });
    let count = named.len();
    let mut places = Vec::new();
    let mut operators = Vec::with_capacity(count);
    for (index, one) in named.into_iter().enumerate() {
        let next = if index + 1 < count { Output::Operator(index + 1) } else { Output::Store };
        places.push((one.path.clone(), one.line));
        operators.push(resolve(one, next, &ids, problems));
    }
    match Chain::new(operators) {
        Ok(chain) => (Some(chain), takes_metadata),
        Err(error) => {
            let (path, line) = places.get(error.index).cloned().unwrap_or((path.to_owned(), 0));
            problems.push(Problem { path, line: Some(line), message: error.reason });
            (None, takes_metadata)
        }
    }
}

/// An id for an operator that has none: its type, with a number where that is taken.
fn free_id(ids: &BTreeMap<String, usize>, kind: &str) -> String {
    let numbered = (1..).map(|number| format!("{kind}{number}"));
    let mut names = std::iter::once(kind.to_owned()).chain(numbered);
    names.find(|name| !ids.contains_key(name)).unwrap_or_default()
}

fn resolve(
    named: Named,
    next: Output,
    ids: &BTreeMap<String, usize>,
    problems: &mut Vec<Problem>,
) -> Operator {
    let Named { mut operator, outputs, path, line, .. } = named;
    let mut resolved = outputs.into_iter().map(|names| {
        let Some(names) = names else { return vec![next] };
        let mut found = Vec::new();
        for name in names {
            match ids.get(&name) {
                Some(index) => found.push(Output::Operator(*index)),
                None => {
                    let message = format!("output {name:?} is no operator of this receiver");
                    problems.push(Problem { path: path.clone(), line: Some(line), message });
                }
            }
        }
        found
    });
    operator.outputs = resolved.next().unwrap_or_default();
    if let Action::Router(routes, default) = &mut operator.action {
        for route in routes {
            route.outputs = resolved.next().unwrap_or_default();
        }
        *default = resolved.next().unwrap_or_default();
    }
    operator
}

fn read_one(path: &str, node: Node, problems: &mut Vec<Problem>) -> Option<Named> {
    let line = node.line;
    let mut section = Section::new(path, Some(node), problems);
    let kind = section.text("type", String::new());
    if !KNOWN.contains(&kind.as_str()) {
        section.refuse("type", Some(line), unknown(&kind));
        return None;
    }
    let id = section.text("id", String::new());
    let mut outputs = Vec::new();
    if kind != "router" {
        outputs.push(outputs_of(&mut section, "output"));
    }
    let ways = [
        ("send", OnError::Send { is_quiet: false }),
        ("send_quiet", OnError::Send { is_quiet: true }),
        ("drop", OnError::Drop { is_quiet: false }),
        ("drop_quiet", OnError::Drop { is_quiet: true }),
    ];
    let on_error = section.choice("on_error", ways[0].1, &ways);
    let condition = expression(&mut section, "if");
    let action = read_action(&kind, &mut section, &mut outputs);
    section.finish();
    if kind == "router" {
        // It has no way of its own beside its routes.
        outputs.insert(0, Some(Vec::new()));
    }
    let operator = Operator { id, condition, on_error, outputs: Vec::new(), action: action? };
    Some(Named { kind, operator, outputs, path: path.to_owned(), line })
}

fn unknown(kind: &str) -> String {
    if kind.is_empty() {
        return "is missing".to_owned();
    }
    if UNSUPPORTED.contains(&kind) {
        return format!("the operator {kind} is not supported yet; {} are", KNOWN.join(", "));
    }
    let near = closest(kind, &KNOWN).map_or_else(String::new, |near| format!("; did you mean {near}?"));
    format!("unsupported operator type {kind:?}{near}")
}

fn read_action(kind: &str, section: &mut Section<'_>, outputs: &mut Vec<Outputs>) -> Option<Action> {
    if kind.ends_with("_parser") || kind == "container" {
        return parsers::read(kind, section);
    }
    Some(match kind {
        "add" => Action::Edit(read_add(section)?),
        "copy" | "move" => {
            let (from, to) = (required_field(section, "from"), required_field(section, "to"));
            Action::Edit(if kind == "copy" { Edit::Copy(from?, to?) } else { Edit::Move(from?, to?) })
        }
        "remove" => Action::Edit(Edit::Remove(required_field(section, "field")?)),
        "flatten" => Action::Edit(Edit::Flatten(required_field(section, "field")?)),
        "unquote" => Action::Edit(Edit::Unquote(required_field(section, "field")?)),
        "retain" => Action::Edit(read_retain(section)?),
        "regex_replace" => Action::Edit(read_replace(section)?),
        "filter" => {
            let ratio = section.scalar("drop_ratio", 1.0, |text| {
                text.parse::<f64>().map_err(|_| format!("{text:?} is not a number"))
            });
            if ratio < 1.0 {
                section.refuse(
                    "drop_ratio",
                    None,
                    "below 1 is not supported yet: all that match are dropped",
                );
            }
            Action::Filter(required_expression(section, "expr")?)
        }
        "router" => read_router(section, outputs)?,
        "recombine" => Action::Recombine(Box::new(read_recombine(section)?)),
        _ => Action::Noop,
    })
}

fn read_add(section: &mut Section<'_>) -> Option<Edit> {
    let field = required_field(section, "field");
    let Some(node) = section.take("value") else {
        section.refuse("value", None, "is missing");
        return None;
    };
    let added = match &node.value {
        tree::Value::Text(text) if text.starts_with("EXPR(") && text.ends_with(')') => {
            match Template::parse(text, &environment) {
                Ok(template) => Added::Computed(template),
                Err(reason) => {
                    section.refuse("value", Some(node.line), reason);
                    return None;
                }
            }
        }
        _ => Added::Fixed(value(&node)),
    };
    if let (Some(field), Added::Fixed(fixed)) = (&field, &added)
        && field.is_root()
        && *field != Field::body()
        && !matches!(fixed, Value::Map(_))
    {
        section.refuse("value", Some(node.line), format!("{field} can be set to a map only"));
    }
    Some(Edit::Add(field?, added))
}

fn read_retain(section: &mut Section<'_>) -> Option<Edit> {
    let texts = section.texts("fields");
    if texts.is_empty() {
        section.refuse("fields", None, "names no field");
    }
    let mut fields = Vec::new();
    for text in texts {
        match Field::parse(&text) {
            Ok(field) => fields.push(field),
            Err(reason) => section.refuse("fields", None, reason),
        }
    }
    (!fields.is_empty()).then_some(Edit::Retain(fields))
}

fn read_replace(section: &mut Section<'_>) -> Option<Edit> {
    let field = required_field(section, "field");
    let name = section.text("regex_name", String::new());
    // What terminals are told: colours, the cursor, titles.
    let ansi = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])";
    let given = section.text("regex", String::new());
    let pattern = match (name.as_str(), given.is_empty()) {
        ("ansi_control_sequences", true) => ansi.to_owned(),
        ("", false) => given,
        ("", true) => {
            section.refuse("regex", None, "is missing");
            return None;
        }
        (_, true) => {
            section.refuse("regex_name", None, format!("{name:?} is not known; ansi_control_sequences is"));
            return None;
        }
        (_, false) => {
            section.refuse("regex", None, "either regex or regex_name can be set");
            return None;
        }
    };
    let with = section.text("replace_with", String::new());
    match search_bytes_regex(&pattern, "") {
        Ok(pattern) => Some(Edit::Replace(field?, pattern, with)),
        Err(error) => {
            section.refuse("regex", None, error.to_string());
            None
        }
    }
}

fn read_router(section: &mut Section<'_>, outputs: &mut Vec<Outputs>) -> Option<Action> {
    let nodes = section.list("routes");
    if nodes.is_empty() {
        section.refuse("routes", None, "there is no route");
    }
    let (mut routes, mut problems) = (Vec::new(), Vec::new());
    for (index, node) in nodes.into_iter().enumerate() {
        let path = section.path_of(&format!("routes[{index}]"));
        let mut route = Section::new(&path, Some(node), &mut problems);
        let names = outputs_of(&mut route, "output");
        if names.is_none() {
            route.refuse("output", None, "is missing");
        }
        let condition = required_expression(&mut route, "expr");
        let attributes = templates(&mut route, "attributes");
        route.finish();
        if let Some(condition) = condition {
            outputs.push(names);
            routes.push(Route { condition, outputs: Vec::new(), attributes });
        }
    }
    section.extend(problems);
    outputs.push(Some(outputs_of(section, "default").unwrap_or_default()));
    Some(Action::Router(routes, Vec::new()))
}

fn read_recombine(section: &mut Section<'_>) -> Option<Recombine> {
    let (first, last) = (expression(section, "is_first_entry"), expression(section, "is_last_entry"));
    let edge = match (first, last) {
        (Some(first), None) => Some(Edge::First(first)),
        (None, Some(last)) => Some(Edge::Last(last)),
        _ => {
            section.refuse("", None, "exactly one of is_first_entry and is_last_entry must be set");
            None
        }
    };
    let field = required_field(section, "combine_field");
    let with = section.text("combine_with", "\n".to_owned());
    let keep_newest = section.choice("overwrite_with", true, &[("newest", true), ("oldest", false)]);
    let source = field_or(section, "source_identifier", || Field::attribute("log.file.path"));
    let number = |section: &mut Section<'_>, key, default| {
        usize::try_from(section.number(key, default, 0..=1_000_000)).unwrap_or(usize::MAX)
    };
    let limits = RecombineLimits {
        parts: number(section, "max_batch_size", 1000),
        unmatched_parts: number(section, "max_unmatched_batch_size", 100),
        sources: number(section, "max_sources", 1000),
        bytes: usize::try_from(section.size("max_log_size", 0, 0)).unwrap_or(usize::MAX),
        wait: section.duration("force_flush_period", Duration::from_secs(5), Duration::from_millis(1)),
    };
    Some(Recombine { edge: edge?, field: field?, with, keep_newest, sources: vec![source], limits })
}

/// Ids of operators: one, or a list.
fn outputs_of(section: &mut Section<'_>, key: &'static str) -> Outputs {
    let node = section.take(key)?;
    match node.value {
        tree::Value::Null => None,
        tree::Value::List(items) => Some(items.iter().filter_map(|item| item.value.scalar()).collect()),
        other => match other.scalar() {
            Some(name) => Some(vec![name]),
            None => {
                section.refuse(
                    key,
                    Some(node.line),
                    format!("expected an id or a list of ids, got {}", other.kind()),
                );
                None
            }
        },
    }
}

/// A field, or the default where there is none.
pub fn field_or(section: &mut Section<'_>, key: &'static str, default: impl FnOnce() -> Field) -> Field {
    section.scalar(key, None, |text| Field::parse(text).map(Some)).unwrap_or_else(default)
}

/// A field that has to be there.
pub fn required_field(section: &mut Section<'_>, key: &'static str) -> Option<Field> {
    required(section, key, Field::parse)
}

fn required_expression(section: &mut Section<'_>, key: &'static str) -> Option<Expression> {
    required(section, key, |text| Expression::parse(text, &environment))
}

fn expression(section: &mut Section<'_>, key: &'static str) -> Option<Expression> {
    section.scalar(key, None, |text| Expression::parse(text, &environment).map(Some))
}

/// Something that has to be there; a problem is reported once.
pub fn required<T>(
    section: &mut Section<'_>,
    key: &'static str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let mut is_there = false;
    let found = section.scalar(key, None, |text| {
        is_there = true;
        read(text).map(Some)
    });
    if !is_there {
        section.refuse(key, None, "is missing");
    }
    found
}
