//! `cargo xtask tidy`: the rules of the house as a test.
//!
//! A rule that is not checked is a wish. Every rule is a pure function from text to findings; this file walks the
//! project, subtracts the allow-list and prints. The allow-list started empty and may only shrink: an entry that
//! is no longer needed is a finding itself.

mod code;
mod docs;
mod source;
mod words;
mod workspace;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Entries that the allow-list may have. Lower it when an entry goes; never raise it.
const ALLOWED_MAX: usize = 0;
/// The allow-list: one `rule path reason` a line.
const ALLOW_LIST: &str = "xtask/tidy-allow.txt";
/// Folders with things that are built or downloaded.
const SKIPPED: [&str; 5] = ["target", ".git", "throughline-data", ".venv", "corpus"];
/// Larger files are data, not text that somebody reads.
const TEXT_BYTES_MAX: u64 = 2 << 20;

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    path: String,
    line: usize,
    rule: &'static str,
    message: String,
}

impl Finding {
    fn new(rule: &'static str, path: &str, line: usize, message: String) -> Finding {
        Finding { path: path.to_owned(), line, rule, message }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: [{}] {}", self.path, self.line, self.rule, self.message)
    }
}

/// The text files of the project by path from the root.
pub struct Project {
    texts: BTreeMap<String, String>,
}

impl Project {
    /// Reads all text files under a folder.
    pub fn read(root: &Path) -> anyhow::Result<Project> {
        let mut texts = BTreeMap::new();
        read_folder(root, "", &mut texts)?;
        Ok(Project { texts })
    }

    fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    fn rust_files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter(|(path, _)| path.ends_with(".rs"))
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }
}

fn read_folder(root: &Path, folder: &str, texts: &mut BTreeMap<String, String>) -> anyhow::Result<()> {
    let place = root.join(folder);
    for entry in std::fs::read_dir(&place).with_context(|| format!("read folder {}", place.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        let kind = entry.file_type()?;
        if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
            read_folder(root, &path, texts)?;
        } else if kind.is_file() && entry.metadata()?.len() <= TEXT_BYTES_MAX {
            // What is not UTF-8 is a fixture, not text.
            if let Ok(text) = std::fs::read_to_string(entry.path()) {
                texts.insert(path, text);
            }
        }
    }
    Ok(())
}

/// The root of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs the command: prints findings, fails if there are any.
pub fn run(bless: bool) -> anyhow::Result<()> {
    if bless {
        for (path, text) in docs::blessed(&Project::read(&root())?) {
            write(&root().join(&path), &text).with_context(|| format!("write {path}"))?;
            println!("blessed {path}");
        }
    }
    let findings = check(&Project::read(&root())?);
    findings.iter().for_each(|finding| println!("{finding}"));
    anyhow::ensure!(findings.is_empty(), "{} findings", findings.len());
    println!("tidy");
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "xtask works on the project's files, not on the store's")]
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::write(path, text)
}

/// All findings that the allow-list does not excuse.
pub fn check(project: &Project) -> Vec<Finding> {
    let mut findings = workspace::check(project);
    findings.extend(docs::check(project));
    for (path, text) in project.files() {
        findings.extend(code::check_path(path));
        findings.extend(words::check(path, text));
    }
    for (path, text) in project.rust_files() {
        findings.extend(code::check(path, text));
    }
    findings = excuse(findings, project.text(ALLOW_LIST).unwrap_or_default());
    findings.sort();
    findings
}

/// Takes out what the allow-list names, and adds what is wrong with the list.
fn excuse(findings: Vec<Finding>, list: &str) -> Vec<Finding> {
    let entries: Vec<(usize, &str)> = list
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let mut used = vec![false; entries.len()];
    let mut left: Vec<Finding> = Vec::new();
    for finding in findings {
        let key = format!("{} {} ", finding.rule, finding.path);
        match entries.iter().position(|(_, entry)| entry.starts_with(&key)) {
            Some(at) => used[at] = true,
            None => left.push(finding),
        }
    }
    for ((line, entry), _) in entries.iter().zip(&used).filter(|(_, used)| !**used) {
        left.push(Finding::new(
            "allow-list",
            ALLOW_LIST,
            *line,
            format!("`{entry}` is not needed: remove it"),
        ));
    }
    if entries.len() > ALLOWED_MAX {
        let message = format!("{} entries, more than {ALLOWED_MAX}: the list may only shrink", entries.len());
        left.push(Finding::new("allow-list", ALLOW_LIST, 1, message));
    }
    left
}

#[cfg(test)]
mod tests;
