//! Rules for the documents: names in the map exist, and drawings of formats are as new as the code.
//!
//! A page under `docs/format/` names the module that it draws in a line of its own:
//! `<!-- format: crates/store/src/wal/format.rs fnv 0123456789abcdef -->`. When the module changes, the page
//! has to be read again; `cargo xtask tidy --bless` then writes the new hash.

use super::source::{self, Source};
use super::{Finding, Project};

const MARK: &str = "<!-- format: ";

/// Checks all documents.
pub fn check(project: &Project) -> Vec<Finding> {
    let mut findings = architecture(project);
    for (path, text) in format_pages(project) {
        findings.extend(format_page(project, path, text));
    }
    findings
}

/// Pages under `docs/format/` with their hashes brought up to date; only those that change.
pub fn blessed(project: &Project) -> Vec<(String, String)> {
    let mut pages = Vec::new();
    for (path, text) in format_pages(project) {
        let mut new = String::with_capacity(text.len());
        for line in text.lines() {
            match mark(line).and_then(|(module, _)| Some((module, hash(project.text(module)?)))) {
                Some((module, hash)) => new.push_str(&format!("{MARK}{module} fnv {hash} -->\n")),
                None => new.extend([line, "\n"]),
            }
        }
        if new != text {
            pages.push((path.to_owned(), new));
        }
    }
    pages
}

fn format_pages(project: &Project) -> impl Iterator<Item = (&str, &str)> {
    project.files().filter(|(path, _)| path.starts_with("docs/format/") && path.ends_with(".md"))
}

fn format_page(project: &Project, path: &str, text: &str) -> Vec<Finding> {
    let marks: Vec<_> =
        text.lines().enumerate().filter_map(|(at, line)| Some((at + 1, mark(line)?))).collect();
    if marks.is_empty() {
        let message = format!("the page does not name the module that it draws: add `{MARK}PATH fnv 0 -->`");
        return vec![Finding::new("format-docs", path, 1, message)];
    }
    let stale = marks.into_iter().filter_map(|(line, (module, written))| {
        let message = match project.text(module) {
            None => format!("`{module}` does not exist"),
            Some(text) if hash(text) == written => return None,
            Some(_) => {
                format!("`{module}` has changed: read the page again, then run `cargo xtask tidy --bless`")
            }
        };
        Some(Finding::new("format-docs", path, line, message))
    });
    stale.collect()
}

/// Module and hash of a mark.
fn mark(line: &str) -> Option<(&str, &str)> {
    let (module, rest) = line.strip_prefix(MARK)?.strip_suffix(" -->")?.split_once(' ')?;
    Some((module, rest.split_once(' ').map_or(rest, |(_, hash)| hash)))
}

/// FNV-1a of a module's production code without comments and blanks: what the format depends on.
pub fn hash(text: &str) -> String {
    let code = Source::new(text).without_comments();
    let production = code.split("#[cfg(test)]").next().unwrap_or_default();
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash =
        production.bytes().filter(|byte| !byte.is_ascii_whitespace()).fold(0xcbf2_9ce4_8422_2325, fold);
    format!("{hash:016x}")
}

/// Every path and every `krate::Name` in backticks exists.
fn architecture(project: &Project) -> Vec<Finding> {
    const PAGE: &str = "ARCHITECTURE.md";
    let Some(text) = project.text(PAGE) else {
        return vec![Finding::new("architecture", PAGE, 1, "the page is missing".to_owned())];
    };
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for name in line.split('`').skip(1).step_by(2) {
            let exists =
                if name.contains("::") { item_exists(project, name) } else { path_exists(project, name) };
            if exists == Some(false) {
                findings.push(Finding::new(
                    "architecture",
                    PAGE,
                    number + 1,
                    format!("`{name}` does not exist"),
                ));
            }
        }
    }
    findings
}

/// Whether a name that looks like a path exists, from the root or from `crates/`; none where it does not look so.
fn path_exists(project: &Project, name: &str) -> Option<bool> {
    let path_like =
        name.chars().all(|c| source::is_word(c) || "/.-".contains(c)) && !name.starts_with(['/', '-']);
    let extension = name.rsplit_once('.').is_some_and(|(_, end)| ["rs", "md", "toml"].contains(&end));
    let folder = name.contains('/') && !name.contains('.');
    if !path_like || !(extension || folder) {
        return None;
    }
    let name = name.trim_end_matches('/');
    let places = [name.to_owned(), format!("crates/{name}")];
    let hit = |path: &str| {
        places.iter().any(|place| {
            path == place || path.strip_prefix(place.as_str()).is_some_and(|r| r.starts_with('/'))
        })
    };
    Some(project.files().any(|(path, _)| hit(path)))
}

/// Whether the last part of `krate::...::Name` is defined in the crate; none where the first is not a crate of ours.
fn item_exists(project: &Project, name: &str) -> Option<bool> {
    let parts: Vec<&str> = name.trim_end_matches("()").split("::").collect();
    let (krate, item) = (parts.first()?, parts.last()?);
    let folder = if *krate == "xtask" { "xtask/src/".to_owned() } else { format!("crates/{krate}/src/") };
    let mut files = project.rust_files().filter(|(path, _)| path.starts_with(&folder)).peekable();
    files.peek()?;
    let kinds = ["struct", "enum", "trait", "fn", "mod", "type", "const", "static"];
    Some(files.any(|(_, text)| {
        let words: Vec<&str> =
            text.split(|c: char| !source::is_word(c)).filter(|word| !word.is_empty()).collect();
        words.windows(2).any(|pair| kinds.contains(&pair[0]) && pair[1] == *item)
    }))
}
