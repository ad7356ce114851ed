//! Rule files by patterns.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use throughline_rules::GroupDefinition;

use super::rule_file;
use super::rules::Rules;

/// More files than this are a pattern that means something else.
const FILES_MAX: usize = 10_000;

/// All groups of all files that the patterns name, in the order of patterns and names. A pattern that names none is no
/// mistake, as in Prometheus.
pub fn load(rules: &Rules) -> Result<Vec<(String, GroupDefinition)>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for pattern in &rules.files {
        for path in expand(&rules.base.join(pattern)).with_context(|| format!("look for {pattern}"))? {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    let (mut groups, mut problems) = (Vec::new(), Vec::new());
    for path in paths {
        let file = path.display().to_string();
        match rule_file::load(&path) {
            Ok(found) => groups.extend(found.into_iter().map(|group| (file.clone(), group))),
            Err(found) => problems.extend(found.iter().map(|problem| format!("{file}: {problem}"))),
        }
    }
    if !problems.is_empty() {
        bail!("invalid rules:\n{}", problems.join("\n"));
    }
    Ok(groups)
}

/// The files that a pattern names, sorted: `*`, `?` and `[a-z]` stand for parts of one name.
fn expand(pattern: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let name = part.as_os_str().to_string_lossy();
        if !name.contains(['*', '?', '[']) {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let mut next = Vec::new();
        for folder in found {
            let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
            let Ok(entries) = std::fs::read_dir(listed) else { continue };
            let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
            let mut names: Vec<String> =
                names.filter(|candidate| matches(name.as_bytes(), candidate.as_bytes())).collect();
            names.sort();
            next.extend(names.into_iter().map(|name| folder.join(name)));
        }
        if next.len() > FILES_MAX {
            bail!("more than {FILES_MAX} files match");
        }
        found = next;
    }
    found.retain(|path| path.is_file());
    Ok(found)
}

/// Whether a name is as the pattern says.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on if what follows the last star does not fit.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, n));
                p += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => class(&pattern[p..], name[n]),
            Some(b'\\') => (pattern.get(p + 1) == Some(&name[n])).then_some(2),
            Some(byte) => (*byte == name[n]).then_some(1),
            None => None,
        };
        match (step, star) {
            (Some(length), _) => (p, n) = (p + length, n + 1),
            (None, Some((after, tried))) => {
                star = Some((after, tried + 1));
                (p, n) = (after, tried + 1);
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// The length of `[a-z]` or `[^a-z]` if it takes the byte.
fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let end = pattern.iter().skip(1).position(|b| *b == b']')? + 1;
    let (is_negated, set) = match pattern.get(1..end)? {
        [b'^', rest @ ..] => (true, rest),
        set => (false, set),
    };
    let mut is_in = false;
    let mut at = 0;
    while let Some(first) = set.get(at) {
        let (last, length) = match (set.get(at + 1), set.get(at + 2)) {
            (Some(b'-'), Some(last)) => (last, 3),
            _ => (first, 1),
        };
        is_in |= (*first..=*last).contains(&byte);
        at += length;
    }
    (is_in != is_negated).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("*.yml", "a.yml", true),
            ("*.yml", "a.yaml", false),
            ("a*b*c", "aXbXbXc", true),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("*", "", true),
            ("", "a", false),
            ("[", "[", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
