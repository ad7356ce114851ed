//! Virtual environments with packages from the registry, for tests in which Python speaks; and how such a test says that it
//! cannot run.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// Where this is `1`, a test that would be skipped fails.
const MUST_RUN: &str = "THROUGHLINE_TESTS_MUST_RUN";

/// One test of a binary installs at a time.
static INSTALLING: Mutex<()> = Mutex::new(());

/// The interpreter of the environment of this name, made once under the target folder, in which all modules can be imported.
/// Where it cannot be had, nothing: then the test is skipped, which is said, or fails where all tests must run.
pub fn with(environment: &str, packages: &[&str], modules: &str) -> Option<PathBuf> {
    match installed(environment, packages, modules) {
        Ok(python) => Some(python),
        Err(reason) => {
            skip(&reason);
            None
        }
    }
}

fn installed(environment: &str, packages: &[&str], modules: &str) -> Result<PathBuf, String> {
    let _installing = INSTALLING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join(environment);
    let python = environment.join("bin/python");
    let has = || succeeds(Command::new(&python).args(["-c", &format!("import {modules}")]));
    if has() {
        return Ok(python);
    }
    if !succeeds(Command::new("python3").args(["-m", "venv"]).arg(&environment)) {
        return Err("python3 with venv is not there".to_owned());
    }
    let install = ["-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "15"];
    if !succeeds(Command::new(&python).args(install).args(packages)) || !has() {
        return Err(format!("the packages {packages:?} cannot be installed"));
    }
    Ok(python)
}

/// Says that the test of this thread is skipped. The harness holds back what tests print that pass, but not what is written to the
/// stream itself.
fn skip(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let must_run = std::env::var(MUST_RUN).is_ok_and(|value| value == "1");
    assert!(!must_run, "{test} would be skipped, and {MUST_RUN} is 1: {reason}");
    _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {reason}");
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
