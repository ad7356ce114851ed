//! Where targets come from: lists in the configuration, in files, behind URLs. What they say is the same everywhere:
//! groups of addresses with labels.

pub(crate) mod file;
pub(crate) mod url;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::job::Credentials;

/// The largest list of groups in one file or answer.
pub const LIST_BYTES_MAX: usize = 32 << 20;

/// The most targets of a job.
pub const TARGETS_MAX: usize = 100_000;

/// Addresses that share labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// `host:port`.
    #[serde(default)]
    pub targets: Vec<String>,
    /// What they have in common.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// `file_sd_configs`: files that are read anew when they change.
#[derive(Clone, Debug)]
pub struct FileDiscovery {
    /// Paths; the name of the file may have `*` in it.
    pub patterns: Vec<PathBuf>,
    /// They are read anew at least so often.
    pub refresh: Duration,
}

/// `http_sd_configs`: a URL that answers with a list.
#[derive(Clone, Debug)]
pub struct HttpDiscovery {
    /// Its URL.
    pub url: String,
    /// How often it is asked.
    pub refresh: Duration,
    /// Who asks.
    pub authorization: Option<Credentials>,
}

/// Reads a list in JSON.
pub fn from_json(text: &[u8]) -> Result<Vec<Group>, String> {
    let groups: Vec<Group> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    checked(groups)
}

/// Reads a list in YAML.
pub fn from_yaml(text: &str) -> Result<Vec<Group>, String> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Vec::new());
    }
    let groups: Option<Vec<Group>> = serde_saphyr::from_str(text)
        .map_err(|error| error.without_snippet().to_string().lines().next().unwrap_or_default().to_owned())?;
    checked(groups.unwrap_or_default())
}

fn checked(groups: Vec<Group>) -> Result<Vec<Group>, String> {
    let count: usize = groups.iter().map(|group| group.targets.len()).sum();
    if count > TARGETS_MAX {
        return Err(format!("{count} targets are more than {TARGETS_MAX}"));
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_in_both_languages() {
        let groups = vec![
            Group { targets: vec!["a:1".into(), "b:2".into()], labels: [("zone".into(), "1".into())].into() },
            Group { targets: vec!["c:3".into()], labels: BTreeMap::new() },
        ];
        let json = r#"[{"targets": ["a:1", "b:2"], "labels": {"zone": "1"}}, {"targets": ["c:3"]}]"#;
        assert_eq!(from_json(json.as_bytes()), Ok(groups.clone()));
        assert_eq!(
            from_yaml("- targets: [a:1, 'b:2']\n  labels: {zone: '1'}\n- targets:\n  - c:3\n"),
            Ok(groups)
        );
        assert_eq!(from_yaml("# none\n"), Ok(vec![]));
        for text in ["{}", "[{\"target\": [\"a\"]}]", "[{\"targets\": \"a\"}]", "[1]", "[[[", "\u{0}"] {
            assert!(from_json(text.as_bytes()).is_err(), "{text}");
            assert!(from_yaml(text).is_err(), "{text}");
        }
    }
}
