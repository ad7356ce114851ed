//! A virtual environment with packages from the registry.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// One test installs at a time.
static INSTALLING: Mutex<()> = Mutex::new(());

/// The interpreter of an environment in which all modules can be imported, or nothing and a line that says so.
pub fn with(packages: &[&str], modules: &str) -> Option<PathBuf> {
    let _installing = INSTALLING.lock().expect("nobody panicked");
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("correlation-python");
    let python = environment.join("bin/python");
    let has = || succeeds(Command::new(&python).args(["-c", &format!("import {modules}")]));
    if has() {
        return Some(python);
    }
    if !succeeds(Command::new("python3").args(["-m", "venv"]).arg(&environment)) {
        eprintln!("SKIPPED: python3 with venv is not there");
        return None;
    }
    let install = ["-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "15"];
    if !succeeds(Command::new(&python).args(install).args(packages)) || !has() {
        eprintln!("SKIPPED: the packages {packages:?} cannot be installed");
        return None;
    }
    Some(python)
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
