//! `static_configs`, `file_sd_configs` and `http_sd_configs`.

use std::path::PathBuf;
use std::time::Duration;

use throughline_scrape::discovery::{FileDiscovery, Group, HttpDiscovery};
use throughline_scrape::job::Discovery;

use super::{job, labels, span};
use crate::config::section::{Problem, Section};
use crate::config::tree::Node;

/// How often files are read anew where nothing is said.
const FILE_REFRESH: Duration = Duration::from_secs(300);
/// How often URLs are asked where nothing is said.
const URL_REFRESH: Duration = Duration::from_secs(60);
/// The endings of lists in files.
const ENDINGS: [&str; 3] = ["json", "yml", "yaml"];

/// Reads the three lists of a job.
pub fn read(path: &str, lists: [Vec<Node>; 3], problems: &mut Vec<Problem>) -> Discovery {
    let [fixed, files, urls] = lists;
    Discovery {
        fixed: each(path, "static_configs", fixed, problems, read_fixed),
        files: each(path, "file_sd_configs", files, problems, read_files),
        urls: each(path, "http_sd_configs", urls, problems, read_url),
    }
}

fn each<T>(
    path: &str,
    key: &str,
    nodes: Vec<Node>,
    problems: &mut Vec<Problem>,
    read: impl Fn(&mut Section<'_>) -> T,
) -> Vec<T> {
    let mut out = Vec::new();
    for (index, node) in nodes.into_iter().enumerate() {
        let mut section = Section::new(&format!("{path}::{key}[{index}]"), Some(node), problems);
        out.push(read(&mut section));
        section.finish();
    }
    out
}

fn read_fixed(section: &mut Section<'_>) -> Group {
    let targets = section.texts("targets");
    if let Some(bad) = targets.iter().find(|target| target.contains('/')) {
        section.refuse("targets", None, format!("{bad:?} is not an address: write host:port"));
    }
    Group { targets, labels: labels(section, "labels").into_iter().collect() }
}

fn read_files(section: &mut Section<'_>) -> FileDiscovery {
    let patterns = section.texts("files");
    if patterns.is_empty() {
        section.refuse("files", None, "names no file");
    }
    let patterns: Vec<PathBuf> = patterns.into_iter().map(PathBuf::from).collect();
    for pattern in &patterns {
        let ending = pattern.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let folder = pattern.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
        if !ENDINGS.contains(&ending) || folder.contains('*') {
            let message = format!(
                "{:?} is not supported: write a path that ends with .json, .yml or .yaml, with * in its last part only",
                pattern.display().to_string()
            );
            section.refuse("files", None, message);
        }
    }
    FileDiscovery { patterns, refresh: span(section, "refresh_interval").unwrap_or(FILE_REFRESH) }
}

fn read_url(section: &mut Section<'_>) -> HttpDiscovery {
    let url = section.text("url", String::new());
    if !url.starts_with("http://") {
        section.refuse("url", None, format!("{url:?} is not a URL that begins with http://"));
    }
    job::refuse_transport(section);
    let authorization = job::credentials(section);
    let refresh = span(section, "refresh_interval").unwrap_or(URL_REFRESH);
    HttpDiscovery { url, refresh, authorization }
}
