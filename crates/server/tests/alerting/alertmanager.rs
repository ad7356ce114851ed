//! A real Alertmanager: the one that `THROUGHLINE_ALERTMANAGER` names, that is installed, or that Debian's package holds.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value as Json;

/// The variable that names the binary.
const VARIABLE: &str = "THROUGHLINE_ALERTMANAGER";
const PACKAGE: &str = "prometheus-alertmanager";
/// Where Debian's binary looks for its templates, and the same in as many bytes, relative to the unpacked package.
const INSTALLED_TEMPLATES: &[u8] = b"/usr/share/prometheus/alertmanager";
const UNPACKED_TEMPLATES: &[u8] = b"usr//share/prometheus/alertmanager";

/// One that could be started, and where it will listen.
pub struct Alertmanager {
    binary: PathBuf,
    port: u16,
}

/// One that runs.
pub struct Running {
    child: Child,
    url: String,
    folder: PathBuf,
}

impl Alertmanager {
    /// Finds or unpacks a binary; says so loudly where there is none.
    pub fn find() -> Option<Alertmanager> {
        let installed = Path::new("/usr/bin").join(PACKAGE);
        let named = std::env::var_os(VARIABLE).map(PathBuf::from);
        let named = named.map(|path| std::fs::canonicalize(&path).unwrap_or(path));
        let binary = named.or_else(|| installed.is_file().then_some(installed)).or_else(unpack);
        let Some(binary) = binary else {
            eprintln!("SKIPPED: no Alertmanager: set {VARIABLE}, or install {PACKAGE}");
            return None;
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        Some(Alertmanager { binary, port: listener.local_addr().expect("an address").port() })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn start(self) -> Running {
        let folder = std::env::temp_dir().join(format!("throughline-alertmanager-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("created");
        let config = folder.join("alertmanager.yml");
        std::fs::write(&config, "route: {receiver: none}\nreceivers: [{name: none}]\n").expect("written");
        let child = Command::new(&self.binary)
            // What was unpacked finds its templates from there; anything else does not care.
            .current_dir(self.binary.parent().unwrap_or(Path::new("/")))
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{}", self.port))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        Running { child, url: self.url(), folder }
    }
}

/// Debian's package below `target`, downloaded once.
fn unpack() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("alertmanager");
    let binary = folder.join("usr/bin").join(PACKAGE);
    let relocated = folder.join("alertmanager");
    if relocated.is_file() {
        return Some(relocated);
    }
    std::fs::create_dir_all(&folder).ok()?;
    let downloaded =
        Command::new("apt-get").args(["download", PACKAGE]).current_dir(&folder).output().ok()?;
    if !downloaded.status.success() {
        return None;
    }
    let files = std::fs::read_dir(&folder).ok()?.flatten().map(|entry| entry.path());
    let package =
        files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "deb"))?;
    let unpacked = Command::new("dpkg").arg("-x").arg(package).arg(&folder).output().ok()?;
    if !unpacked.status.success() {
        return None;
    }
    let mut bytes = std::fs::read(&binary).ok()?;
    for at in 0..bytes.len().saturating_sub(INSTALLED_TEMPLATES.len()) {
        if bytes[at..].starts_with(INSTALLED_TEMPLATES) {
            bytes[at..at + UNPACKED_TEMPLATES.len()].copy_from_slice(UNPACKED_TEMPLATES);
        }
    }
    std::fs::write(&binary, bytes).ok()?;
    std::fs::rename(&binary, &relocated).ok()?;
    Some(relocated)
}

impl Running {
    /// The alerts that are not resolved.
    pub fn alerts(&self) -> Vec<Json> {
        let config = ureq::Agent::config_builder().proxy(None).timeout_global(Some(Duration::from_secs(10)));
        let agent: ureq::Agent = config.build().into();
        let answer = agent.get(format!("{}/api/v2/alerts", self.url)).call();
        let Ok(mut answer) = answer else { return Vec::new() };
        let text = answer.body_mut().read_to_string().expect("text");
        serde_json::from_str(&text).expect("JSON")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
