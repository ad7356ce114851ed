//! A server as a process of its own, and the binaries of clients that talk to it.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_throughline");
/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A child that ends with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server in a folder of its own.
pub struct Server {
    _child: Running,
    pub folder: PathBuf,
    pub http: String,
    pub api: String,
}

impl Server {
    /// Starts it on free ports.
    pub fn start(name: &str) -> Server {
        Server::start_with(name, "")
    }

    /// Starts it on free ports with these lines of the section `throughline`, however full the machine's disk is.
    pub fn start_with(name: &str, settings: &str) -> Server {
        let folder = std::env::temp_dir().join(format!("throughline-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("created");
        let file = folder.join("throughline.yaml");
        let configuration = format!("throughline:\n  retention: {{disk_reserve: 1MiB}}\n{settings}");
        std::fs::write(&file, configuration).expect("written");
        let any = "127.0.0.1:0";
        let mut child = Command::new(BINARY)
            .args(["serve", "--otlp-grpc", any, "--otlp-http", any, "--api", any, "--data-dir"])
            .arg(folder.join("data"))
            .arg("--config")
            .arg(file)
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines();
        let ready = lines.find_map(|line| line.ok().filter(|line| line.contains(" ready: "))).expect("ready");
        std::thread::spawn(move || lines.for_each(drop));
        let address = |name: &str| {
            let mut words = ready.split(' ').skip_while(move |word| *word != name);
            format!("http://{}", words.nth(1).expect("an address"))
        };
        Server { folder, http: address("otlp/http"), api: address("api"), _child: Running(child) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The body of an answer.
pub fn get(url: &str) -> Option<String> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).build().into();
    agent.get(url).call().ok()?.body_mut().read_to_string().ok()
}

/// The binary that a variable names.
pub fn binary(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.exists());
    if path.is_none() {
        eprintln!("SKIPPED: set {variable} to the path of the binary");
    }
    path
}

/// Waits until something is there.
pub fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_there() {
        assert!(start.elapsed() < PATIENCE, "{what}: not there after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
