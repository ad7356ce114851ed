//! The demo's child processes: started from this same binary, followed by their lines, and never left behind.
//!
//! A child lives as long as its stdin: it ends when the pipe closes, which the operating system does for a driver
//! that was killed. Children have a process group of their own, so that Ctrl-C reaches the driver alone and the
//! driver can end them in order.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::Sender;
use std::time::Duration;

use anyhow::Context;

use super::time;

/// How long a child may take to end by itself.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is looked whether it has.
const END_POLL: Duration = Duration::from_millis(20);

/// What happens while the demo runs.
#[derive(Debug)]
pub enum Event {
    /// A child wrote a line.
    Line {
        /// Which.
        name: &'static str,
        /// What.
        text: String,
    },
    /// A child closed its stdout: it has ended, or is about to.
    Ended(&'static str),
    /// Somebody asked for the end.
    Stop,
}

/// Where a child's output goes.
pub enum Output {
    /// Its stdout comes as events; its stderr is ours.
    Events(Sender<Event>),
    /// All of it goes to a file; only the end comes as an event.
    Log(File, Sender<Event>),
}

/// A child process.
pub struct Process {
    name: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts this binary with other arguments.
    pub fn start(name: &'static str, arguments: &[String], output: Output) -> anyhow::Result<Process> {
        let binary = std::env::current_exe().context("find this program's own file")?;
        let mut command = Command::new(binary);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        if let Output::Log(file, _) = &output {
            command.stderr(file.try_clone().context("share the log file")?);
        }
        let mut child = command.spawn().with_context(|| format!("start {name}"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let process = Process { name, child, stdin };
        let stdout = BufReader::new(stdout.context("take the child's stdout")?);
        std::thread::Builder::new()
            .name(format!("{name} output"))
            .spawn(move || follow(name, stdout, output))
            .context("start a thread")?;
        Ok(process)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a line to its stdin.
    pub fn command(&mut self, line: &str) -> anyhow::Result<()> {
        let stdin = self.stdin.as_mut().context("the child's stdin is closed")?;
        writeln!(stdin, "{line}").with_context(|| format!("send {line:?} to {}", self.name))
    }

    /// Ends it: asks by closing its stdin, waits, and kills it if it does not listen.
    pub fn end(&mut self) {
        self.stdin = None;
        let until = time::now() + END_TIMEOUT;
        while time::now() < until {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(END_POLL),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        // Both fail only for a child that has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn follow(name: &'static str, stdout: impl BufRead, output: Output) {
    let (events, mut log) = match output {
        Output::Events(events) => (events, None),
        Output::Log(file, events) => (events, Some(file)),
    };
    for line in stdout.lines() {
        let Ok(text) = line else { break };
        match &mut log {
            // A log that cannot be written must not stop the child, which would block on a full pipe.
            Some(file) => drop(writeln!(file, "{text}")),
            // The driver has gone on to its end.
            None if events.send(Event::Line { name, text }).is_err() => return,
            None => (),
        }
    }
    let _ = events.send(Event::Ended(name));
}
