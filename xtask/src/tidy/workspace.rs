//! Rules for the workspace as a whole: layer order, locked packages, configuration.

use std::collections::BTreeMap;

use super::source::{self, Source};
use super::{Finding, Project};

/// Packages in `Cargo.lock`, our own included.
pub const LOCKED_PACKAGES_MAX: usize = 300;
/// Fields of one configuration struct.
pub const CONFIG_FIELDS_MAX: usize = 12;
/// Keys of the whole configuration file.
pub const CONFIG_KEYS_MAX: usize = 120;

/// Crates that stand apart: they use no other, and others may use them in tests.
const APART: [&str; 2] = ["throughline-generate", "throughline-instrument"];
/// The only crates that may use `anyhow`: nobody matches on their errors.
const ANYHOW: [&str; 2] = ["throughline-server", "xtask"];

/// Checks all of it.
pub fn check(project: &Project) -> Vec<Finding> {
    let mut findings = layers(project);
    findings.extend(locked_packages(project));
    findings.extend(configuration(project));
    findings
}

/// A crate depends only on crates listed above it in the root manifest.
fn layers(project: &Project) -> Vec<Finding> {
    let root = project.text("Cargo.toml").unwrap_or_default();
    let mut findings = Vec::new();
    let mut above: Vec<String> = Vec::new();
    for member in members(root) {
        let path = format!("{member}/Cargo.toml");
        let Some(manifest) = project.text(&path) else {
            findings.push(Finding::new(
                "layers",
                "Cargo.toml",
                1,
                format!("member `{member}` has no manifest"),
            ));
            continue;
        };
        let name = package_name(manifest);
        for Dependency { line, section, package } in dependencies(manifest) {
            let tests_only = section == "dev-dependencies" && APART.contains(&package.as_str());
            let ours = package.starts_with("throughline-");
            if ours && !tests_only && !above.contains(&package) {
                let message =
                    format!("{name} depends on {package}, which is not above it in the root Cargo.toml");
                findings.push(Finding::new("layers", &path, line, message));
            }
            if ours && APART.contains(&name.as_str()) {
                let message = format!("{name} stands apart and depends on {package}");
                findings.push(Finding::new("layers", &path, line, message));
            }
            if package == "anyhow" && !ANYHOW.contains(&name.as_str()) {
                let message = format!("{name} uses anyhow: errors of a library are enums with facts");
                findings.push(Finding::new("layers", &path, line, message));
            }
        }
        above.push(name);
    }
    findings
}

fn members(root: &str) -> Vec<String> {
    let list = root
        .split_once("members = [")
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or("", |(list, _)| list);
    let lines = list.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines
        .flat_map(|line| line.split(','))
        .map(|name| name.trim().trim_matches('"').to_owned())
        .filter(|n| !n.is_empty())
        .collect()
}

fn package_name(manifest: &str) -> String {
    let line = manifest.lines().find_map(|line| line.strip_prefix("name = "));
    line.map_or_else(String::new, |name| name.trim().trim_matches('"').to_owned())
}

struct Dependency {
    line: usize,
    section: String,
    package: String,
}

fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut section = String::new();
    let mut found = Vec::new();
    for (number, line) in manifest.lines().enumerate() {
        if let Some(name) = line.trim().strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if section.ends_with("dependencies") {
            let package: String = line.chars().take_while(|c| source::is_word(*c) || *c == '-').collect();
            if !package.is_empty() {
                found.push(Dependency { line: number + 1, section: section.clone(), package });
            }
        }
    }
    found
}

fn locked_packages(project: &Project) -> Option<Finding> {
    let lock = project.text("Cargo.lock").unwrap_or_default();
    let packages = lock.lines().filter(|line| *line == "[[package]]").count();
    let message = format!("{packages} locked packages, more than {LOCKED_PACKAGES_MAX}");
    (packages > LOCKED_PACKAGES_MAX).then(|| Finding::new("locked-packages", "Cargo.lock", 1, message))
}

/// Structs of settings have few fields, and the file that users write few keys.
fn configuration(project: &Project) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut keys = BTreeMap::new();
    for (path, text) in project.rust_files().filter(|(path, _)| path.starts_with("crates/")) {
        let (code, _) = Source::new(text).production();
        for (name, line, fields) in structs(&code) {
            let settings = ["Config", "Settings", "Options", "Limits"].iter().any(|end| name.ends_with(end));
            if settings && fields > CONFIG_FIELDS_MAX {
                let message = format!("`{name}` has {fields} fields, more than {CONFIG_FIELDS_MAX}");
                findings.push(Finding::new("config-fields", path, line, message));
            }
            if path.starts_with("crates/server/src/config") {
                keys.insert((path, name), fields);
            }
        }
    }
    let total: usize = keys.values().sum();
    if total > CONFIG_KEYS_MAX {
        let message = format!("{total} configuration keys, more than {CONFIG_KEYS_MAX}");
        findings.push(Finding::new("config-keys", "crates/server/src/config.rs", 1, message));
    }
    findings
}

/// Name, line and number of fields of every struct with named fields.
pub fn structs(code: &str) -> Vec<(String, usize, usize)> {
    let chars: Vec<char> = code.chars().collect();
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = source::find(&chars, "struct ", from) {
        from = at + 7;
        let name: String = chars[from..].iter().take_while(|c| source::is_word(**c)).collect();
        let Some(open) = chars[from..].iter().position(|c| matches!(c, '{' | ';' | '(')).map(|o| from + o)
        else {
            break;
        };
        if (at > 0 && source::is_word(chars[at - 1])) || chars[open] != '{' {
            continue;
        }
        let end = source::closing(&chars, open);
        let line = 1 + chars[..at].iter().filter(|c| **c == '\n').count();
        found.push((name, line, fields(&chars[open + 1..end])));
        from = end;
    }
    found
}

/// Fields are the single colons outside of all brackets.
fn fields(body: &[char]) -> usize {
    let (mut depth, mut count) = (0_i32, 0);
    for (at, c) in body.iter().enumerate() {
        match c {
            '(' | '[' | '{' | '<' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            '>' if at > 0 && body[at - 1] != '-' => depth -= 1,
            ':' if depth == 0 => {
                let double = body.get(at + 1) == Some(&':') || (at > 0 && body[at - 1] == ':');
                count += usize::from(!double);
            }
            _ => {}
        }
    }
    count
}
