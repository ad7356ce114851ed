//! Words that must not stand in the text of the project: paths of one machine, hosts of package registries, and
//! talk about how the text came to be.
//!
//! The words are written in two halves here, so that the list does not find itself.

use super::Finding;

/// What is looked for, in lower case, and what is wrong with it.
const WORDS: [(&str, &str); 19] = [
    (concat!("/wo", "rk/"), MACHINE),
    (concat!("/ro", "ot/"), MACHINE),
    (concat!("/ho", "me/"), MACHINE),
    (concat!("/us", "ers/"), MACHINE),
    (concat!("/tm", "p/"), MACHINE),
    (concat!("index.cra", "tes.io"), REGISTRY),
    (concat!("static.cra", "tes.io"), REGISTRY),
    (concat!("pypi", ".org"), REGISTRY),
    (concat!("pythonhosted", ".org"), REGISTRY),
    (concat!("npmjs", ".org"), REGISTRY),
    (concat!("proxy.golang", ".org"), REGISTRY),
    (concat!("this ses", "sion"), TALK),
    (concat!("another ses", "sion"), TALK),
    (concat!("next ses", "sion"), TALK),
    (concat!("sub", "agent"), TALK),
    (concat!("co-authored", "-by"), TALK),
    (concat!("language mo", "del"), TALK),
    (concat!("the br", "ief says"), TALK),
    (concat!("the le", "ad's"), TALK),
];

const MACHINE: &str = "a path of one machine";
const REGISTRY: &str = "the host of a package registry";
const TALK: &str = "talk about how the text came to be";

/// Files that quote others and are not our text.
const QUOTED: [&str; 2] = ["Cargo.lock", "LICENSE"];

/// Checks one text file.
pub fn check(path: &str, text: &str) -> Vec<Finding> {
    if QUOTED.contains(&path) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.to_lowercase();
        for (word, what) in WORDS {
            // A path of an HTTP API may end like a path of a machine (`/api/users/1`): only the start of one counts.
            let hit = line.match_indices(word).any(|(at, _)| what != MACHINE || !follows_name(&line, at));
            if hit {
                findings.push(Finding::new("words", path, number + 1, format!("`{word}` is {what}")));
            }
        }
    }
    findings
}

fn follows_name(line: &str, at: usize) -> bool {
    line[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || "-_.{}*~$".contains(c))
}
