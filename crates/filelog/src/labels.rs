//! What entries are given beside their line: the name of the file and what is configured.

use std::path::Path;

use crate::entry::{Entry, Origin};
use crate::operator::container::PATH_ATTRIBUTE;
use crate::settings::LabelConfig;
use crate::source::{self, Stat};
use crate::value::{Map, Value};

/// Where the names of users are listed.
const USERS: &str = "/etc/passwd";
/// Where the names of groups are listed.
const GROUPS: &str = "/etc/group";

/// What all entries of a file have, until it is renamed.
#[must_use]
pub fn of_file(config: &LabelConfig, path: &Path, stat: &Stat) -> Map {
    let mut labels = Map::new();
    let mut add = |is_wanted: bool, name: &str, value: &dyn Fn() -> Option<String>| {
        if let Some(value) = is_wanted.then(value).flatten() {
            labels.insert(name.to_owned(), Value::Str(value));
        }
    };
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    add(config.name, "log.file.name", &|| name(path));
    add(config.path, PATH_ATTRIBUTE, &|| Some(path.display().to_string()));
    let resolved = if config.name_resolved || config.path_resolved { source::resolve(path) } else { None };
    add(config.name_resolved, "log.file.name_resolved", &|| resolved.as_deref().and_then(name));
    add(config.path_resolved, "log.file.path_resolved", &|| {
        resolved.as_deref().map(|path| path.display().to_string())
    });
    add(config.owner, "log.file.owner.name", &|| source::name_of(USERS, stat.owner));
    add(config.group, "log.file.owner.group.name", &|| source::name_of(GROUPS, stat.group));
    labels
}

/// A new entry. What an expression in the configuration cannot compute is left out, and its reason is the result.
pub fn entry(
    config: &LabelConfig,
    file: &Map,
    body: Value,
    origin: Origin,
    observed_at: i64,
) -> (Entry, Option<String>) {
    let mut entry = Entry { origin, observed_at, body, attributes: file.clone(), ..Entry::default() };
    let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    if config.record_number {
        entry.attributes.insert("log.file.record_number".to_owned(), number(origin.record + 1));
    }
    if config.record_offset {
        entry.attributes.insert("log.file.record_offset".to_owned(), number(origin.start));
    }
    let mut failure = None;
    for (name, template) in &config.attributes {
        match template.value(&entry) {
            Ok(value) => _ = entry.attributes.insert(name.clone(), value),
            Err(reason) => failure = Some(format!("attribute {name}: {reason}")),
        }
    }
    for (name, template) in &config.resource {
        match template.value(&entry) {
            Ok(value) => _ = entry.resource.insert(name.clone(), value),
            Err(reason) => failure = Some(format!("resource {name}: {reason}")),
        }
    }
    (entry, failure)
}
