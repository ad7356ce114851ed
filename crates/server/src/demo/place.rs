//! Where the demo runs: its ports and its data folder.

use std::fs::{File, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::time;

/// The ports that users know.
const DEFAULT_PORTS: Ports = Ports { otlp_grpc: 4317, otlp_http: 4318, api: 4319 };

/// Where the demo's data goes unless told otherwise.
const DATA_ROOT: &str = "throughline-data/demo";

/// The configuration of the demo's server, to which more lines of its section may be added. The demo's data is small, so that it
/// can run on a disk which is too full for a server that is to stay.
const CONFIG: &str = "throughline:\n  retention: {disk_reserve: 256MiB}\n";

/// How the folder of one run is called.
const RUN_PREFIX: &str = "run-";

/// A run that is older than this holds its lock, or has ended.
const START_SECONDS_MAX: u64 = 60;

/// The server's ports on loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// OTLP over gRPC.
    pub otlp_grpc: u16,
    /// OTLP over HTTP.
    pub otlp_http: u16,
    /// The native API.
    pub api: u16,
}

impl Ports {
    /// The usual ports, or free ones where one of the usual is taken or `free` asks for it.
    pub fn choose(free: bool) -> anyhow::Result<Ports> {
        if !free && DEFAULT_PORTS.all().iter().all(|port| listen(*port).is_ok()) {
            return Ok(DEFAULT_PORTS);
        }
        // All three are held until all are known, so that none is given out twice.
        let held = [listen(0)?, listen(0)?, listen(0)?];
        let [otlp_grpc, otlp_http, api] = held.each_ref().map(TcpListener::local_addr);
        Ok(Ports { otlp_grpc: otlp_grpc?.port(), otlp_http: otlp_http?.port(), api: api?.port() })
    }

    /// Whether these are the usual ones, which commands need not be told.
    pub fn are_default(&self) -> bool {
        *self == DEFAULT_PORTS
    }

    /// Where the native API is.
    pub fn api_address(&self) -> String {
        format!("http://{}:{}", Ipv4Addr::LOCALHOST, self.api)
    }

    /// How the server is started on them.
    pub fn serve_arguments(&self, folder: &Path) -> Vec<String> {
        let mut arguments = vec!["serve".to_owned(), "--until-stdin-closes".to_owned()];
        arguments.extend(["--data-dir".to_owned(), folder.display().to_string()]);
        for (option, port) in
            [("--otlp-grpc", self.otlp_grpc), ("--otlp-http", self.otlp_http), ("--api", self.api)]
        {
            arguments.extend([option.to_owned(), format!("{}:{port}", Ipv4Addr::LOCALHOST)]);
        }
        arguments
    }

    fn all(&self) -> [u16; 3] {
        [self.otlp_grpc, self.otlp_http, self.api]
    }
}

fn listen(port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| format!("listen on port {port}"))
}

/// The run's data folder: the one that was asked for, or a fresh one. Fresh ones of earlier runs go, unless a server
/// still holds them.
pub fn data_folder(asked: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let folder = asked.unwrap_or_else(|| {
        let root = Path::new(DATA_ROOT);
        remove_earlier_runs(root);
        root.join(format!("{RUN_PREFIX}{}-{}", time::unix_seconds(), std::process::id()))
    });
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder)
}

/// A file beside the data folder for what the server writes.
#[expect(clippy::disallowed_methods, reason = "a log file of the demo, no file of the store")]
pub fn log_file(data_folder: &Path) -> anyhow::Result<(PathBuf, File)> {
    let path = data_folder.with_extension("log");
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    Ok((path, file))
}

/// Writes the server's configuration beside the data folder, with these lines of the section `throughline` added.
#[expect(clippy::disallowed_methods, reason = "a configuration file of the demo, no file of the store")]
pub fn write_config(data_folder: &Path, more: &str) -> anyhow::Result<PathBuf> {
    let path = data_folder.with_extension("yaml");
    std::fs::write(&path, format!("{CONFIG}{more}")).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// Best effort: a folder that stays costs some disk, nothing else.
#[expect(clippy::disallowed_methods, reason = "removes whole folders that the demo made and no store holds")]
fn remove_earlier_runs(root: &Path) {
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let started_at =
            name.to_str().and_then(|name| name.strip_prefix(RUN_PREFIX)?.split('-').next()?.parse().ok());
        // A run that has just begun may not hold its lock yet.
        let is_old =
            started_at.is_some_and(|at: u64| at.saturating_add(START_SECONDS_MAX) < time::unix_seconds());
        if is_old && path.is_dir() && !is_held(&path) && std::fs::remove_dir_all(&path).is_ok() {
            // They are there only if that run got as far as starting a server.
            for extension in ["log", "yaml"] {
                let _ = std::fs::remove_file(path.with_extension(extension));
            }
        }
    }
}

/// Whether a server holds the lock of a data folder.
#[expect(
    clippy::disallowed_methods,
    reason = "asks for the lock of a folder that this process does not open"
)]
fn is_held(folder: &Path) -> bool {
    match File::open(folder.join("lock")) {
        Ok(file) => matches!(file.try_lock(), Err(TryLockError::WouldBlock)),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_differ() {
        let ports = Ports::choose(true).unwrap();
        let mut all = ports.all().to_vec();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 3);
        assert!(!ports.are_default());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "makes and removes folders as runs of the demo do")]
    fn earlier_runs_go_unless_they_are_held() {
        let root = std::env::temp_dir().join(format!("throughline-demo-place-{}", std::process::id()));
        for name in ["run-1-1", "run-2-1", "kept"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        let lock = File::create(root.join("run-2-1/lock")).unwrap();
        lock.try_lock().unwrap();
        remove_earlier_runs(&root);
        assert_eq!(["run-1-1", "run-2-1", "kept"].map(|name| root.join(name).exists()), [false, true, true]);
        drop(lock);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
