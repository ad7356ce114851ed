//! The demo as a user runs it: real processes, a real spike, and the walk that explains it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longer than the demo gives its own walk.
const ENDS_WITHIN: Duration = Duration::from_secs(240);

/// How long children may take to notice that their driver is gone, the store's last flush included.
const CHILDREN_END_WITHIN: Duration = Duration::from_secs(30);

struct Demo {
    child: Child,
    folder: PathBuf,
}

impl Demo {
    fn start(name: &str, arguments: &[&str]) -> Demo {
        let folder = std::env::temp_dir().join(format!("throughline-{name}-{}", std::process::id()));
        let child = Command::new(env!("CARGO_BIN_EXE_throughline"))
            .args(["demo", "--free-ports", "--data-dir"])
            .arg(folder.join("data"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start the demo");
        Demo { child, folder }
    }
}

impl Drop for Demo {
    #[expect(clippy::disallowed_methods, reason = "removes a folder of its own")]
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The process ids that the demo names.
fn process_ids(text: &str) -> Vec<u32> {
    let after = |line: &str| line.split("process ").nth(1)?.split([',', ' ']).next()?.parse().ok();
    text.lines().filter_map(after).collect()
}

fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let polls = limit.as_millis() / 50;
    for _ in 0..polls {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{what} within {limit:?}");
}

fn is_running(id: &u32) -> bool {
    // A child whose driver was killed may stay as a zombie in a container without an init: that is ended, too.
    let state = std::fs::read_to_string(Path::new("/proc").join(id.to_string()).join("stat"));
    state.is_ok_and(|stat| !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
}

#[test]
fn the_walk_leads_from_the_spike_to_the_throttled_query() {
    let mut demo = Demo::start("demo-once", &["--once", "--quiet-seconds", "10"]);
    let mut stderr = demo.child.stderr.take().expect("stderr");
    let mut stdout = demo.child.stdout.take().expect("stdout");
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let output = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stdout.read_to_string(&mut text);
        text
    });
    wait_until("the demo ends", ENDS_WITHIN, || demo.child.try_wait().expect("wait").is_some());
    let status = demo.child.wait().expect("wait");
    let (output, errors) = (output.join().expect("stdout"), errors.join().expect("stderr"));
    assert!(status.success(), "{status}\n{output}\n{errors}");

    for words in ["task-svc", "http.server.request.duration", "db:query", "RetryAttempts=3"] {
        assert!(output.contains(words), "{words} is not in\n{output}");
    }
    assert!(output.contains("ProvisionedThroughputExceededException"), "no cause in\n{output}");
    let is_trace_id = |word: &&str| word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = output.split(|c: char| !c.is_ascii_alphanumeric());
    assert!(words.filter(is_trace_id).count() >= 2, "no trace id of exemplar and trace in\n{output}");
    let ids = process_ids(&output);
    assert_eq!(ids.len(), 5, "{output}");
    assert!(!ids.iter().any(is_running), "children are left behind: {ids:?}");
}

/// Under the production policies exemplars resolve, the traces of ERROR log records are there, and what was dropped says so:
/// the demo ends well only if that is so.
#[test]
fn sampling_keeps_what_matters_and_explains_the_rest() {
    let arguments = ["--once", "--quiet-seconds", "20", "--sampling", "production"];
    let mut demo = Demo::start("demo-sampling", &arguments);
    let mut stdout = demo.child.stdout.take().expect("stdout");
    let output = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stdout.read_to_string(&mut text);
        text
    });
    wait_until("the demo ends", ENDS_WITHIN, || demo.child.try_wait().expect("wait").is_some());
    let status = demo.child.wait().expect("wait");
    let output = output.join().expect("stdout");
    assert!(status.success(), "{status}\n{output}");
    for words in
        ["exemplars resolve", "with an ERROR log record are here", "was dropped by the sampling policy"]
    {
        assert!(output.contains(words), "{words} is not in\n{output}");
    }
}

/// Reads what the demo prints until all five processes are named.
fn read_process_ids(demo: &mut Demo) -> Vec<u32> {
    let stdout = BufReader::new(demo.child.stdout.take().expect("stdout"));
    let mut text = String::new();
    for line in stdout.lines() {
        text = text + &line.expect("a line") + "\n";
        if process_ids(&text).len() == 5 {
            break;
        }
    }
    let ids = process_ids(&text);
    assert_eq!(ids.len(), 5, "{text}");
    assert!(ids.iter().all(is_running));
    ids
}

#[test]
fn no_child_outlives_a_killed_driver() {
    let mut demo = Demo::start("demo-killed", &["--quiet-seconds", "600"]);
    let ids = read_process_ids(&mut demo);
    demo.child.kill().expect("kill the driver");
    demo.child.wait().expect("wait for the driver");
    wait_until("all children end", CHILDREN_END_WITHIN, || !ids.iter().any(is_running));
}

#[test]
fn ctrl_c_ends_everything_in_order() {
    let mut demo = Demo::start("demo-interrupted", &["--quiet-seconds", "600"]);
    let ids = read_process_ids(&mut demo);
    let driver = demo.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &driver]).status().expect("send the signal").success());
    wait_until("the driver ends", CHILDREN_END_WITHIN, || demo.child.try_wait().expect("wait").is_some());
    assert!(demo.child.wait().expect("wait").success());
    assert!(!ids.iter().any(is_running));
    let log = std::fs::read_to_string(demo.folder.join("data.log")).expect("the server's log");
    assert!(log.contains("everything received is stored"), "{log}");
}
