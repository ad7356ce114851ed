//! A server under measurement: Throughline or a peer, started in a fresh folder, read through `/proc`, ended by
//! its process id.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// How long a server may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a server may take to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// Ticks of `utime` and `stime` in a second: the kernel's ABI says 100 on every platform that we run on.
const TICKS_PER_SECOND: f64 = 100.0;
/// A server that uses less than this share of a core is at rest.
const REST_SHARE: f64 = 0.02;
/// For this long it must be at rest until its compaction counts as done.
const REST_FOR: Duration = Duration::from_secs(8);

/// Ports and folder of a server.
#[derive(Clone, Debug)]
pub struct Place {
    /// OTLP/gRPC.
    pub grpc_port: u16,
    /// OTLP/HTTP.
    pub http_port: u16,
    /// Queries.
    pub query_port: u16,
    /// What a peer's parts say to each other.
    inner_port: u16,
    /// Where a peer looks for others of its kind.
    gossip_port: u16,
    /// Data.
    pub data_dir: PathBuf,
}

impl Place {
    /// Free ports and an empty folder.
    pub fn fresh(folder: &Path) -> anyhow::Result<Place> {
        remove_folder(folder)?;
        std::fs::create_dir_all(folder)?;
        Place::beside(folder)
    }

    /// Free ports and a folder as it is.
    pub fn beside(folder: &Path) -> anyhow::Result<Place> {
        // The listeners live until all ports are chosen, so that no port is chosen twice.
        let listeners = [(); 5].map(|()| TcpListener::bind("127.0.0.1:0"));
        let mut ports = [0; 5];
        for (port, listener) in ports.iter_mut().zip(listeners) {
            *port = listener.context("find a free port")?.local_addr()?.port();
        }
        let [grpc_port, http_port, query_port, inner_port, gossip_port] = ports;
        let data_dir = folder.to_path_buf();
        Ok(Place { grpc_port, http_port, query_port, inner_port, gossip_port, data_dir })
    }

    /// A text with `{http_port}`, `{grpc_port}`, `{query_port}`, `{inner_port}`, `{gossip_port}`, `{data_dir}` and `{config}` filled in.
    pub fn filled(&self, text: &str) -> String {
        let ports = [
            ("{http_port}", self.http_port),
            ("{grpc_port}", self.grpc_port),
            ("{query_port}", self.query_port),
            ("{inner_port}", self.inner_port),
            ("{gossip_port}", self.gossip_port),
        ];
        let filled =
            ports.iter().fold(text.to_owned(), |text, (name, port)| text.replace(name, &port.to_string()));
        let config = config_path(self).display().to_string();
        filled.replace("{data_dir}", &self.data_dir.display().to_string()).replace("{config}", &config)
    }

    /// Writes the configuration of the server that is started here, beside its folder.
    pub fn write_config(&self, text: &str) -> anyhow::Result<()> {
        write(&config_path(self), text)
    }

    /// The address of a port.
    pub fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }
}

/// Deletes a folder if it is there.
#[expect(clippy::disallowed_methods, reason = "the folder is the benchmark's own, under target")]
pub fn remove_folder(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    Ok(())
}

/// A running server.
pub struct Server {
    /// Where it is.
    pub place: Place,
    child: Child,
    is_peer: bool,
}

/// What the operating system accounts to a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Seconds of both cores, in user and kernel mode.
    pub cpu_seconds: f64,
    /// The most memory that was resident.
    pub peak_memory_bytes: u64,
    /// The memory that is resident now.
    pub memory_bytes: u64,
}

impl Server {
    /// Starts Throughline from a binary in a place; further lines go into its section of the configuration.
    pub fn throughline(binary: &Path, place: Place, own_settings: &str) -> anyhow::Result<Server> {
        anyhow::ensure!(binary.exists(), "{} is missing: build it with `make build`", binary.display());
        let config = config_path(&place);
        place.write_config(&configuration(&place, own_settings))?;
        let mut command = Command::new(binary);
        command.arg("serve").arg("--config").arg(&config);
        // The last port that it opens: the API answers while the log is replayed.
        let ready = place.http_port;
        Server::start(command, place, ready)
    }

    /// Starts a peer from a command line with what [`Place::filled`] knows in it.
    pub fn peer(line: &str, place: Place) -> anyhow::Result<Server> {
        let line = place.filled(line);
        let mut command = Command::new("sh");
        // `exec`: the process that is measured is the peer, not the shell.
        command.arg("-c").arg(format!("exec {line}"));
        command
            .env("OTLP_HTTP_PORT", place.http_port.to_string())
            .env("OTLP_GRPC_PORT", place.grpc_port.to_string());
        command.env("QUERY_PORT", place.query_port.to_string()).env("DATA_DIR", &place.data_dir);
        let ready = place.http_port;
        let mut server = Server::start(command, place, ready)?;
        server.is_peer = true;
        Ok(server)
    }

    fn start(mut command: Command, place: Place, ready_port: u16) -> anyhow::Result<Server> {
        let log = create(&place.data_dir.with_extension("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("start {command:?}"))?;
        let mut server = Server { place, child, is_peer: false };
        let deadline = now() + START_TIMEOUT;
        while TcpStream::connect(Place::address(ready_port)).is_err() {
            if let Some(status) = server.child.try_wait()? {
                anyhow::bail!("server ended at once ({status}); see {}", server.log_path().display());
            }
            anyhow::ensure!(now() < deadline, "server does not listen after {START_TIMEOUT:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// What the server printed.
    pub fn log_path(&self) -> PathBuf {
        self.place.data_dir.with_extension("log")
    }

    /// Its process id.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// CPU and memory so far.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        let folder = PathBuf::from(format!("/proc/{}", self.child.id()));
        let stat = std::fs::read_to_string(folder.join("stat"))
            .context("read the server's /proc entry: did it end?")?;
        let status = std::fs::read_to_string(folder.join("status"))?;
        Ok(Usage {
            cpu_seconds: cpu_seconds(&stat)?,
            peak_memory_bytes: memory_bytes(&status, "VmHWM:")?,
            memory_bytes: memory_bytes(&status, "VmRSS:")?,
        })
    }

    /// Waits until the server has had nothing to do for a while, at least `least`: compaction is done.
    pub fn settle(&self, least: Duration, most: Duration) -> anyhow::Result<()> {
        let start = now();
        let (mut rest_since, mut before) = (now(), self.usage()?.cpu_seconds);
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let used = self.usage()?.cpu_seconds;
            if used - before > REST_SHARE {
                rest_since = now();
            }
            before = used;
            if start.elapsed() >= least && rest_since.elapsed() >= REST_FOR {
                return Ok(());
            }
            if start.elapsed() > most {
                eprintln!("the server is still busy after {most:?}: measured all the same");
                return Ok(());
            }
        }
    }

    /// Ends the server with SIGKILL.
    pub fn kill(mut self) -> anyhow::Result<Place> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(self.place.clone())
    }

    /// Ends the server with SIGTERM and waits. A peer that does not end is killed.
    pub fn stop(mut self) -> anyhow::Result<Place> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        let deadline = now() + STOP_TIMEOUT;
        while self.child.try_wait()?.is_none() {
            if now() >= deadline {
                anyhow::ensure!(self.is_peer, "server does not end {STOP_TIMEOUT:?} after SIGTERM");
                eprintln!("the peer does not end {STOP_TIMEOUT:?} after SIGTERM: killed");
                return self.kill();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(self.place.clone())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail where the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config_path(place: &Place) -> PathBuf {
    place.data_dir.with_extension("yaml")
}

fn configuration(place: &Place, own_settings: &str) -> String {
    let (grpc, http, query) = (place.grpc_port, place.http_port, place.query_port);
    let own: String = own_settings.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "receivers:\n  otlp:\n    protocols:\n      grpc:\n        endpoint: 127.0.0.1:{grpc}\n      http:\n        \
         endpoint: 127.0.0.1:{http}\nthroughline:\n  data_dir: {}\n  api:\n    endpoint: 127.0.0.1:{query}\n{own}",
        place.data_dir.display()
    )
}

/// `utime` and `stime` are the 14th and 15th field; the second, the name, may hold spaces.
fn cpu_seconds(stat: &str) -> anyhow::Result<f64> {
    let rest = stat.rsplit_once(')').context("stat without a name")?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks =
        |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).context("stat without times");
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

fn memory_bytes(status: &str, name: &str) -> anyhow::Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let line = line.with_context(|| format!("status without {name}"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib << 10)
}

/// Bytes of the files under a folder by file name, largest first.
pub fn disk_usage(folder: &Path) -> anyhow::Result<Vec<(String, u64)>> {
    let mut sizes = std::collections::BTreeMap::<String, u64>::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            // A file may go between listing and asking: compaction runs until the end.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                *sizes.entry(kind_of(&entry.path())).or_default() += metadata.len();
            }
        }
    }
    let mut sizes: Vec<(String, u64)> = sizes.into_iter().collect();
    sizes.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    Ok(sizes)
}

/// Files of blocks by their name, segments of the log and content hashes by their folder.
fn kind_of(path: &Path) -> String {
    let of_folder =
        ["wal", "hashes"].iter().find(|name| path.parent().is_some_and(|folder| folder.ends_with(name)));
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    of_folder.map_or(name, |folder| (*folder).to_owned())
}

#[expect(clippy::disallowed_methods, reason = "xtask measures real time")]
pub fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the file is the benchmark's, not the store's")]
fn create(path: &Path) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("create {}", path.display()))
}

#[expect(clippy::disallowed_methods, reason = "the file is the benchmark's, not the store's")]
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_after_the_name() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 1 2 3 4 250 150 0 0 20 0 8 0 100 1000 10";
        assert_eq!(cpu_seconds(stat).ok(), Some(4.0));
        assert_eq!(memory_bytes("Name:\tx\nVmHWM:\t  2048 kB\n", "VmHWM:").ok(), Some(2 << 20));
    }

    #[test]
    fn own_settings_lie_in_our_section() {
        let mut place = Place::beside(Path::new("d")).unwrap();
        (place.grpc_port, place.http_port, place.query_port) = (1, 2, 3);
        let text = configuration(&place, "durability: os\n");
        assert!(text.ends_with("  api:\n    endpoint: 127.0.0.1:3\n  durability: os\n"), "{text}");
    }
}
