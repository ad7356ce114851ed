//! Patterns of paths: `*`, `?`, `[a-z]`, `{this,that}` within a name, `**` for any folders between.

use std::path::{Path, PathBuf};

/// The most patterns that braces are written out to.
const ALTERNATIVES_MAX: usize = 1000;
/// The longest pattern.
const PATTERN_BYTES_MAX: usize = 4096;
/// The most names that one search looks at.
const NAMES_MAX: usize = 1_000_000;
/// The deepest folder that `**` looks into.
const DEPTH_MAX: usize = 64;

/// A pattern of paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    text: String,
    alternatives: Vec<Alternative>,
}

/// A pattern without braces.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Alternative {
    is_absolute: bool,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `**`: any folders, or none.
    Folders,
    /// A name as it is.
    Name(String),
    /// A name with signs in it.
    Pattern(Vec<Sign>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Sign {
    Letter(char),
    Any,
    Many,
    Class { is_negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Glob, String> {
        let failed = |reason: &str| format!("{text:?} is not a pattern of paths: {reason}");
        if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
            return Err(failed(&format!("it has {} bytes, not 1 to {PATTERN_BYTES_MAX}", text.len())));
        }
        let mut alternatives = Vec::new();
        for plain in write_out(text).map_err(|reason| failed(&reason))? {
            let parts: Result<Vec<Part>, &str> =
                plain.split('/').filter(|part| !part.is_empty() && *part != ".").map(part).collect();
            let parts = parts.map_err(failed)?;
            alternatives.push(Alternative { is_absolute: plain.starts_with('/'), parts });
        }
        Ok(Glob { text: text.to_owned(), alternatives })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a path is one of them.
    #[must_use]
    pub fn matches(&self, path: &Path) -> bool {
        let names: Vec<String> = path
            .components()
            .filter_map(|component| match component {
                std::path::Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
                std::path::Component::ParentDir => Some("..".to_owned()),
                _ => None,
            })
            .collect();
        let mut alternatives = self.alternatives.iter();
        alternatives.any(|alternative| {
            alternative.is_absolute == path.is_absolute() && matches_names(&alternative.parts, &names)
        })
    }

    /// Adds the files that there are now; false if there were more names than are looked at. `list` gives the names in a
    /// folder, and whether each is a folder itself and no link.
    pub fn find(&self, list: &dyn Fn(&Path) -> Vec<(String, bool)>, found: &mut Vec<PathBuf>) -> bool {
        let mut budget = NAMES_MAX;
        for alternative in &self.alternatives {
            let root = PathBuf::from(if alternative.is_absolute { "/" } else { "" });
            let mut open = vec![(root, 0, 0)];
            while let Some((path, at, depth)) = open.pop() {
                let Some(next) = alternative.parts.get(at) else {
                    found.push(path);
                    continue;
                };
                if let Part::Name(name) = next {
                    open.push((path.join(name), at + 1, depth));
                    continue;
                }
                let folder = if path.as_os_str().is_empty() { Path::new(".") } else { path.as_path() };
                let names = list(folder);
                budget = match budget.checked_sub(names.len()) {
                    Some(left) => left,
                    None => return false,
                };
                if *next == Part::Folders {
                    open.push((path.clone(), at + 1, depth));
                    let folders = names.into_iter().filter(|(_, is_folder)| *is_folder && depth < DEPTH_MAX);
                    open.extend(folders.map(|(name, _)| (path.join(name), at, depth + 1)));
                } else {
                    let fitting = names.into_iter().filter(|(name, _)| matches_name(next, name));
                    open.extend(fitting.map(|(name, _)| (path.join(name), at + 1, depth)));
                }
            }
        }
        true
    }
}

/// A pattern without its braces: one for each choice.
fn write_out(text: &str) -> Result<Vec<String>, String> {
    let (mut done, mut open) = (Vec::new(), vec![text.to_owned()]);
    while let Some(pattern) = open.pop() {
        if done.len() + open.len() >= ALTERNATIVES_MAX {
            return Err(format!("its braces come to more than {ALTERNATIVES_MAX} patterns"));
        }
        match first_braces(&pattern)? {
            None => done.push(pattern),
            Some((start, end, choices)) => {
                let choices: Vec<String> = choices
                    .iter()
                    .map(|choice| format!("{}{choice}{}", &pattern[..start], &pattern[end..]))
                    .collect();
                open.extend(choices.into_iter().rev());
            }
        }
    }
    Ok(done)
}

/// Where a pair of braces begins and ends, and what stands between its commas.
type Braces<'a> = (usize, usize, Vec<&'a str>);

/// The first pair of braces.
fn first_braces(pattern: &str) -> Result<Option<Braces<'_>>, String> {
    let (mut depth, mut start, mut choice, mut choices) = (0, 0, 0, Vec::new());
    let mut letters = pattern.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => _ = letters.next(),
            '{' => {
                depth += 1;
                if depth == 1 {
                    (start, choice) = (at, at + 1);
                }
            }
            ',' if depth == 1 => {
                choices.push(&pattern[choice..at]);
                choice = at + 1;
            }
            '}' if depth == 1 => {
                choices.push(&pattern[choice..at]);
                return Ok(Some((start, at + 1, choices)));
            }
            '}' if depth > 1 => depth -= 1,
            _ => {}
        }
    }
    if depth > 0 { Err("a brace has no end".to_owned()) } else { Ok(None) }
}

fn part(text: &str) -> Result<Part, &'static str> {
    if text == "**" {
        return Ok(Part::Folders);
    }
    let (mut signs, mut letters) = (Vec::new(), text.chars());
    while let Some(letter) = letters.next() {
        signs.push(match letter {
            '*' if signs.last() == Some(&Sign::Many) => continue,
            '*' => Sign::Many,
            '?' => Sign::Any,
            '[' => class(&mut letters)?,
            '\\' => Sign::Letter(letters.next().ok_or("it ends with a backslash")?),
            other => Sign::Letter(other),
        });
    }
    let name: Option<String> =
        signs.iter().map(|sign| if let Sign::Letter(letter) = sign { Some(*letter) } else { None }).collect();
    Ok(name.map_or(Part::Pattern(signs), Part::Name))
}

fn class(letters: &mut std::str::Chars<'_>) -> Result<Sign, &'static str> {
    const UNENDED: &str = "a bracket has no end";
    let mut next = letters.next().ok_or(UNENDED)?;
    let is_negated = matches!(next, '^' | '!');
    if is_negated {
        next = letters.next().ok_or(UNENDED)?;
    }
    let mut ranges = Vec::new();
    while next != ']' {
        let from = if next == '\\' { letters.next().ok_or(UNENDED)? } else { next };
        next = letters.next().ok_or(UNENDED)?;
        let mut to = from;
        if next == '-' && !letters.as_str().starts_with(']') {
            to = letters.next().ok_or(UNENDED)?;
            next = letters.next().ok_or(UNENDED)?;
        }
        ranges.push((from, to));
    }
    if ranges.is_empty() { Err("brackets are empty") } else { Ok(Sign::Class { is_negated, ranges }) }
}

/// Whether parts fit names: for each part the numbers of names that may lie before it.
fn matches_names(parts: &[Part], names: &[String]) -> bool {
    let mut reached = vec![false; names.len() + 1];
    reached[0] = true;
    for part in parts {
        let mut next = vec![false; names.len() + 1];
        for at in 0..=names.len() {
            match part {
                Part::Folders => next[at] = reached[at] || (at > 0 && next[at - 1]),
                _ => next[at] = at > 0 && reached[at - 1] && matches_name(part, &names[at - 1]),
            }
        }
        reached = next;
    }
    reached[names.len()]
}

fn matches_name(part: &Part, name: &str) -> bool {
    match part {
        Part::Folders => true,
        Part::Name(wanted) => wanted == name,
        Part::Pattern(signs) => matches_signs(signs, name),
    }
}

/// A star takes as little as it can, and more whenever what follows does not fit.
fn matches_signs(signs: &[Sign], name: &str) -> bool {
    let letters: Vec<char> = name.chars().collect();
    let (mut sign, mut at, mut star) = (0, 0, None);
    while at < letters.len() {
        let fits = match signs.get(sign) {
            Some(Sign::Many) => {
                star = Some((sign, at));
                sign += 1;
                continue;
            }
            Some(Sign::Any) => true,
            Some(Sign::Letter(letter)) => *letter == letters[at],
            Some(Sign::Class { is_negated, ranges }) => {
                ranges.iter().any(|(from, to)| (*from..=*to).contains(&letters[at])) != *is_negated
            }
            None => false,
        };
        if fits {
            sign += 1;
            at += 1;
        } else if let Some((after, taken)) = star {
            star = Some((after, taken + 1));
            (sign, at) = (after + 1, taken + 1);
        } else {
            return false;
        }
    }
    signs[sign..].iter().all(|sign| *sign == Sign::Many)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Glob::parse(pattern).expect("a pattern").matches(Path::new(path))
    }

    #[test]
    fn patterns_match_paths() {
        for (pattern, path) in [
            ("/var/log/*.log", "/var/log/a.log"),
            ("/var/log/**/*.log", "/var/log/a.log"),
            ("/var/log/**/*.log", "/var/log/x/y/a.log"),
            ("/var/**", "/var/x/y"),
            ("/l/{a,b{1,2}}.log", "/l/b2.log"),
            ("/l/[a-c]?.[!x]", "/l/bz.y"),
            ("/l/\\*.log", "/l/*.log"),
            ("logs/*", "logs/x"),
            ("/l/a*b*c", "/l/a1b2bc"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("/var/log/*.log", "/var/log/x/a.log"),
            ("/var/log/*.log", "var/log/a.log"),
            ("/l/[a-c]", "/l/d"),
            ("/l/*.log", "/l/a.log.1"),
            ("/l/\\*.log", "/l/a.log"),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
        for bad in ["", "{a", "[a", "[]", "a\\", &"{a,b}".repeat(20)] {
            assert!(Glob::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_search_walks_folders() {
        let list = |folder: &Path| {
            let names: &[(&str, bool)] = match folder.to_str() {
                Some("/l") => &[("a.log", false), ("sub", true), ("b.txt", false)],
                Some("/l/sub") => &[("c.log", false), ("deep", true)],
                Some("/l/sub/deep") => &[("d.log", false)],
                _ => &[],
            };
            names.iter().map(|(name, is_folder)| ((*name).to_owned(), *is_folder)).collect()
        };
        let find = |pattern: &str| {
            let mut found = Vec::new();
            assert!(Glob::parse(pattern).expect("a pattern").find(&list, &mut found));
            found.sort();
            found.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(find("/l/**/*.log"), ["/l/a.log", "/l/sub/c.log", "/l/sub/deep/d.log"]);
        assert_eq!(find("/l/*.log"), ["/l/a.log"]);
        assert_eq!(find("/l/plain/name.log"), ["/l/plain/name.log"]);
        let circle = |_: &Path| vec![("again".to_owned(), true)];
        assert!(
            Glob::parse("/**/x").expect("a pattern").find(&circle, &mut Vec::new()),
            "a circle of folders ends"
        );
    }

    #[test]
    fn stars_do_not_take_exponential_time() {
        let pattern = format!("/{}b", "a*".repeat(100));
        assert!(!matches(&pattern, &format!("/{}", "a".repeat(4000))));
    }
}
