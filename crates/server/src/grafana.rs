//! `throughline grafana provision`: files from which Grafana provisions itself.
//!
//! Data sources of the four kinds that this server speaks, wired to each other in both directions, and a dashboard. The files
//! are as they stand in the folder beside this one, but for the address of the server and the path of the dashboards.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::cli::{GrafanaCommand, ProvisionArgs};
use crate::client::SERVER_DEFAULT;
use crate::query::out;

const DATASOURCES: &str = include_str!("grafana/datasources.yaml");
const PROVIDER: &str = include_str!("grafana/dashboards.yaml");
const DASHBOARD: &str = include_str!("grafana/red.json");
/// Where the files go when nothing is said.
const FOLDER_DEFAULT: &str = "grafana-provisioning";

/// Runs the command.
pub fn run(command: &GrafanaCommand) -> Result<ExitCode> {
    let GrafanaCommand::Provision(args) = command;
    let written = provision(args)?;
    for path in &written {
        out(&format!("wrote {}\n", path.display()));
    }
    let folder = folder(args).display().to_string();
    out(&format!(
        "start Grafana with GF_PATHS_PROVISIONING={folder}, or copy both folders into its provisioning folder\n"
    ));
    Ok(ExitCode::SUCCESS)
}

fn folder(args: &ProvisionArgs) -> PathBuf {
    args.out.clone().unwrap_or_else(|| PathBuf::from(FOLDER_DEFAULT))
}

/// Writes the files and says which.
fn provision(args: &ProvisionArgs) -> Result<Vec<PathBuf>> {
    let url = base(args.url.as_deref().unwrap_or(SERVER_DEFAULT))?;
    let folder = folder(args);
    let (sources, dashboards) = (folder.join("datasources"), folder.join("dashboards"));
    for folder in [&sources, &dashboards] {
        std::fs::create_dir_all(folder).with_context(|| format!("create the folder {}", folder.display()))?;
    }
    let seen_at = match &args.seen_at {
        Some(path) => path.join("dashboards"),
        None => {
            dashboards.canonicalize().with_context(|| format!("find the folder {}", dashboards.display()))?
        }
    };
    let files = [
        (sources.join("throughline.yaml"), datasources(&url)),
        (dashboards.join("throughline.yaml"), provider(&seen_at)?),
        (dashboards.join("throughline-red.json"), DASHBOARD.to_owned()),
    ];
    let mut written = Vec::new();
    for (path, text) in files {
        write(&path, &text)?;
        written.push(path);
    }
    Ok(written)
}

#[expect(clippy::disallowed_methods, reason = "these files are for another program, not part of the store")]
fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// The address without a slash at its end. What YAML or Grafana's expansion of variables would read otherwise is refused.
fn base(url: &str) -> Result<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]%@".contains(c);
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) || !url.chars().all(is_plain) {
        bail!(
            "--url {url:?} is not an address: write http://host:port, as Grafana's server reaches this one"
        );
    }
    Ok(url.trim_end_matches('/').to_owned())
}

fn datasources(url: &str) -> String {
    DATASOURCES.replace("{url}", url)
}

fn provider(path: &Path) -> Result<String> {
    let path = path.to_str().context("the path of the dashboards is not UTF-8: name another with --out")?;
    // In double quotes YAML takes both as they are only after a backslash; `$` begins one of Grafana's variables.
    let path = path.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "$$");
    Ok(PROVIDER.replace("{path}", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_or_is_refused() {
        assert_eq!(base("http://10.0.0.1:4319/").expect("an address"), "http://10.0.0.1:4319");
        assert_eq!(
            base("https://[::1]:4319/throughline").expect("an address"),
            "https://[::1]:4319/throughline"
        );
        for url in ["10.0.0.1:4319", "http://", "http://a\"\nb: c", "http://$HOME", "ftp://a", "http:///x"] {
            assert!(base(url).is_err(), "{url}");
        }
    }

    #[test]
    fn every_reference_between_sources_is_to_one_of_them() {
        let text = datasources("http://server:4319");
        assert!(!text.contains("{url}") && text.contains("url: \"http://server:4319/tempo\""), "{text}");
        let of = |key: &str| -> Vec<String> {
            let lines =
                text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key));
            lines.map(|value| value.trim().to_owned()).collect()
        };
        let uids = of("uid:");
        assert_eq!(uids.len(), 4);
        let references = of("datasourceUid:");
        assert_eq!(references.len(), 7);
        assert!(references.iter().all(|reference| uids.contains(reference)), "{references:?}");
        let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).expect("JSON");
        let used = dashboard.pointer("/panels").and_then(serde_json::Value::as_array).expect("panels");
        for panel in used {
            let uid =
                panel.pointer("/datasource/uid").and_then(serde_json::Value::as_str).unwrap_or_default();
            assert!(uids.iter().any(|known| known == uid), "{panel}");
        }
    }
}
