//! Lists in files, read anew when one of them changes, comes or goes.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::fs;
use tokio::time::Instant;

use super::{FileDiscovery, Group, LIST_BYTES_MAX, from_json, from_yaml};

/// How often files are looked at: what an operator writes is there within seconds.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// The most files of one job.
const FILES_MAX: usize = 1000;

/// The label that names the file.
const PATH_LABEL: &str = "__meta_filepath";

/// A file as it was read.
struct Known {
    path: PathBuf,
    stamp: Option<(SystemTime, u64)>,
    groups: Vec<Group>,
}

/// The files of one `file_sd_config`.
pub struct Files {
    config: FileDiscovery,
    known: Vec<Known>,
    read_at: Option<Instant>,
}

impl Files {
    pub fn new(config: FileDiscovery) -> Files {
        Files { config, known: Vec::new(), read_at: None }
    }

    /// Waits until the files say something else than before. What cannot be read keeps what it said last, and `warn` is
    /// told.
    pub async fn changed(&mut self, mut warn: impl FnMut(String)) -> Vec<Group> {
        loop {
            let is_first = self.read_at.is_none();
            if !is_first {
                tokio::time::sleep(POLL_INTERVAL.min(self.config.refresh)).await;
            }
            if self.read(&mut warn).await || is_first {
                return self.known.iter().flat_map(|file| file.groups.iter().cloned()).collect();
            }
        }
    }

    /// Reads what has changed; true if anything has.
    async fn read(&mut self, warn: &mut impl FnMut(String)) -> bool {
        let is_due = self.read_at.is_none_or(|at| at.elapsed() >= self.config.refresh);
        if is_due {
            self.read_at = Some(Instant::now());
        }
        let mut paths = Vec::new();
        for pattern in &self.config.patterns {
            expand(pattern, &mut paths).await;
        }
        paths.sort_unstable();
        paths.dedup();
        if paths.len() > FILES_MAX {
            warn(format!("{} files are more than {FILES_MAX}; the rest is left out", paths.len()));
            paths.truncate(FILES_MAX);
        }
        let before = self.known.len();
        self.known.retain(|file| paths.contains(&file.path));
        let mut changed = self.known.len() != before;
        for path in paths {
            let stamp = fs::metadata(&path).await.ok().and_then(|m| Some((m.modified().ok()?, m.len())));
            let at = self.known.iter().position(|file| file.path == path);
            let is_same = at.is_some_and(|at| self.known[at].stamp == stamp);
            if is_same && !is_due {
                continue;
            }
            let groups = read_file(&path).await;
            if let (Err(reason), false) = (&groups, is_same) {
                warn(format!("read {}: {reason}", path.display()));
            }
            match at.and_then(|at| self.known.get_mut(at)) {
                Some(file) => {
                    file.stamp = stamp;
                    if let Some(groups) = groups.ok().filter(|groups| *groups != file.groups) {
                        file.groups = groups;
                        changed = true;
                    }
                }
                None => {
                    changed = true;
                    self.known.push(Known { path, stamp, groups: groups.unwrap_or_default() });
                }
            }
        }
        changed
    }
}

/// The files that a path names, whose last part may have `*` in it.
async fn expand(pattern: &Path, out: &mut Vec<PathBuf>) {
    let name = pattern.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !name.contains('*') {
        if fs::try_exists(pattern).await.unwrap_or(false) {
            out.push(pattern.to_owned());
        }
        return;
    }
    let folder = pattern.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(mut entries) = fs::read_dir(folder).await else { return };
    while let Ok(Some(entry)) = entries.next_entry().await {
        if matches_name(&name, &entry.file_name().to_string_lossy()) {
            out.push(entry.path());
        }
    }
}

/// Whether a name fits a pattern in which `*` stands for any text.
fn matches_name(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut middle: Vec<&str> = parts.collect();
    let Some(end) = middle.pop() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(end)
}

async fn read_file(path: &Path) -> Result<Vec<Group>, String> {
    let bytes = fs::metadata(path).await.map_err(|error| error.to_string())?.len();
    if bytes > LIST_BYTES_MAX as u64 {
        return Err(format!("{bytes} bytes are more than {LIST_BYTES_MAX}"));
    }
    let text = fs::read(path).await.map_err(|error| error.to_string())?;
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    let mut groups = match is_json {
        true => from_json(&text)?,
        false => from_yaml(std::str::from_utf8(&text).map_err(|error| error.to_string())?)?,
    };
    for group in &mut groups {
        group.labels.insert(PATH_LABEL.to_owned(), path.display().to_string());
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, name, fits) in [
            ("*.json", "a.json", true),
            ("*.json", "a.yml", false),
            ("a*c*.yml", "abcd.yml", true),
            ("a*c*.yml", "abd.yml", false),
            ("a*a", "a", false),
            ("*", "anything", true),
        ] {
            assert_eq!(matches_name(pattern, name), fits, "{pattern} {name}");
        }
    }
}
