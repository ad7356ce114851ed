//! The course of the demo: start everything, a quiet time, a hot partition, the walk, and then on until Ctrl-C.

use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::keys::{HOT_PARTITION, partition_name};
use super::load::{HOT, QUIET, Report};
use super::place::{self, Ports};
use super::process::{Event, Output, Process};
use super::sampled::{self, Outcome, Sampling};
use super::service::{LISTENING, Name};
use super::watch::Watch;
use super::{Args, show, time};

/// How long the server or a service may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How often it is looked whether the server is ready.
const START_POLL: Duration = Duration::from_millis(100);

/// How often the demo says how it goes.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// How long the partition is hot before a walk counts: the first seconds show the edge of a spike, not its height.
const SETTLE: Duration = Duration::from_secs(10);

/// How often a walk is tried.
const WALK_INTERVAL: Duration = Duration::from_secs(1);

/// How long the walk may take to resolve.
const WALK_TIMEOUT: Duration = Duration::from_secs(180);

/// How long sampling may take to drop something, once the walk is done, and how often it is looked.
const SAMPLING_TIMEOUT: Duration = Duration::from_secs(90);
const SAMPLING_INTERVAL: Duration = Duration::from_secs(5);

/// After the walk, hot spells come and go: a spike stands out only where most of the time is quiet.
const QUIET_SPELL: Duration = Duration::from_secs(150);
const HOT_SPELL: Duration = Duration::from_secs(20);

/// Within this, a second signal is the same key press: `make` and `timeout` pass on what the terminal has sent already.
const SIGNAL_ECHO: Duration = Duration::from_secs(1);

/// Requests a second that the load makes.
const REQUESTS_PER_SECOND: u32 = 40;

/// Runs the demo to its end.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (sender, events) = channel();
    stop_on_signals(sender.clone())?;
    let mut driver = Driver {
        started: time::now(),
        events,
        sender,
        report: Report::default(),
        processes: Vec::new(),
        stopped: false,
    };
    let outcome = driver.play(args);
    driver.end();
    outcome
}

struct Driver {
    started: Instant,
    events: Receiver<Event>,
    sender: Sender<Event>,
    /// How it goes, by the load's last report.
    report: Report,
    /// The server first, then each service after the one it calls.
    processes: Vec<Process>,
    /// Somebody asked for the end.
    stopped: bool,
}

impl Driver {
    fn play(&mut self, args: Args) -> anyhow::Result<ExitCode> {
        let ports = Ports::choose(args.free_ports)?;
        let folder = place::data_folder(args.data_dir)?;
        let watch = Watch::new(ports);
        self.start_server(&folder, ports, &watch, args.sampling)?;
        self.start_services(ports)?;
        self.wait(Duration::from_secs(args.quiet_seconds), "quiet")?;
        if self.stopped {
            return Ok(ExitCode::SUCCESS);
        }
        let mut resolved = self.watch_spike(&watch)?;
        if args.sampling.is_some() && !self.stopped {
            resolved &= self.watch_sampling(ports)?;
        }
        if args.once {
            show::print(&show::epilogue(&folder));
            return Ok(if resolved { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        if !self.stopped {
            show::print(&show::farewell(ports));
        }
        while !self.stopped {
            self.order(QUIET)?;
            self.wait(QUIET_SPELL, "")?;
            self.order(HOT)?;
            self.wait(HOT_SPELL, "")?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn start_server(
        &mut self,
        folder: &std::path::Path,
        ports: Ports,
        watch: &Watch,
        sampling: Option<Sampling>,
    ) -> anyhow::Result<()> {
        let (log_path, log) = place::log_file(folder)?;
        show::print(&show::opening(ports, folder));
        let mut arguments = ports.serve_arguments(folder);
        let config = place::write_config(folder, sampling.map_or("", |_| sampled::CONFIG))?;
        arguments.extend(["--config".to_owned(), config.display().to_string()]);
        let output = Output::Log(log, self.sender.clone());
        let server = Process::start("the server", &arguments, output)?;
        show::print(&format!("  {:<10} process {}, log in {}", "server", server.id(), log_path.display()));
        self.processes.push(server);
        let until = time::now() + START_TIMEOUT;
        while !watch.server_is_ready() {
            if time::now() > until {
                bail!("the server is not ready after {START_TIMEOUT:?}; it writes to {}", log_path.display());
            }
            self.take_events(START_POLL)
                .with_context(|| format!("the server did not start; see {}", log_path.display()))?;
            if self.stopped {
                bail!("stopped while the server started");
            }
        }
        Ok(())
    }

    fn start_services(&mut self, ports: Ports) -> anyhow::Result<()> {
        let otlp = format!("http://127.0.0.1:{}", ports.otlp_http);
        let mut upstream = String::new();
        for name in [Name::Db, Name::TaskSvc, Name::Gateway, Name::Load] {
            let text = name.text();
            let arguments = ["demo-service", text, "--otlp", &otlp, "--upstream", &upstream];
            let mut arguments = arguments.map(str::to_owned).to_vec();
            arguments.extend(["--rate".to_owned(), REQUESTS_PER_SECOND.to_string()]);
            let process = Process::start(text, &arguments, Output::Events(self.sender.clone()))?;
            let id = process.id();
            self.processes.push(process);
            if name == Name::Load {
                show::print(&format!(
                    "  {text:<10} process {id}, {REQUESTS_PER_SECOND} requests a second to the gateway"
                ));
            } else {
                let address = self.listening(text)?;
                show::print(&format!("  {text:<10} process {id}, {address}"));
                upstream = format!("http://{address}");
            }
        }
        Ok(())
    }

    /// Waits until a service says where it listens.
    fn listening(&mut self, service: &str) -> anyhow::Result<String> {
        match self.events.recv_timeout(START_TIMEOUT) {
            Ok(Event::Line { name, text }) if name == service => {
                let address = text.strip_prefix(LISTENING);
                address
                    .map(str::to_owned)
                    .with_context(|| format!("{service} says {text:?}, not where it listens"))
            }
            Ok(Event::Stop) => bail!("stopped while {service} started"),
            other => bail!("{service} did not start: {other:?}"),
        }
    }

    /// Makes the partition hot and tries the walk until it resolves; prints it as far as it came.
    fn watch_spike(&mut self, watch: &Watch) -> anyhow::Result<bool> {
        self.order(HOT)?;
        let hot_at = time::now();
        let mut say_at = hot_at + PROGRESS_INTERVAL;
        let sight = loop {
            self.take_events(WALK_INTERVAL)?;
            let sight = watch.look();
            let settled = hot_at.elapsed() >= SETTLE;
            if sight.missing.is_none() && settled || hot_at.elapsed() >= WALK_TIMEOUT || self.stopped {
                break sight;
            }
            if time::now() >= say_at {
                say_at += PROGRESS_INTERVAL;
                let state = sight.missing.as_deref().unwrap_or("resolves, and is given time to settle");
                self.say_report(&format!("hot; the walk: {state}"));
            }
        };
        let took = hot_at.elapsed().as_secs();
        if self.stopped {
            return Ok(false);
        }
        self.say(&format!("the walk, {took} s after the partition went hot"));
        if let Some(walk) = &sight.walk {
            show::print(&format!("\n{}", show::walk(walk, watch.trace(walk).as_ref())));
        }
        if let Some(missing) = &sight.missing {
            eprintln!("the walk did not resolve within {took} s; what is missing is the {missing}");
        }
        Ok(sight.missing.is_none())
    }

    /// Waits until sampling has dropped something, and prints what came of it.
    fn watch_sampling(&mut self, ports: Ports) -> anyhow::Result<bool> {
        let until = time::now() + SAMPLING_TIMEOUT;
        loop {
            self.take_events(SAMPLING_INTERVAL)?;
            let outcome = Outcome::ask(ports)?;
            if outcome.has_decisions() || time::now() >= until || self.stopped {
                show::print(&outcome.show());
                return Ok(outcome.holds());
            }
        }
    }

    /// Tells the load to make the partition hot or quiet.
    fn order(&mut self, command: &str) -> anyhow::Result<()> {
        if !self.stopped {
            self.say(&format!("partition {} of db: {command}", partition_name(HOT_PARTITION)));
            self.processes.last_mut().context("the load does not run")?.command(command)?;
        }
        Ok(())
    }

    /// Lets time pass, saying how it goes.
    fn wait(&mut self, duration: Duration, phase: &str) -> anyhow::Result<()> {
        let until = time::now() + duration;
        let mut say_at = time::now() + PROGRESS_INTERVAL;
        while time::now() < until && !self.stopped {
            self.take_events(until.min(say_at).saturating_duration_since(time::now()))?;
            if time::now() >= say_at && !self.stopped {
                say_at += PROGRESS_INTERVAL;
                if !phase.is_empty() {
                    self.say_report(phase);
                }
            }
        }
        Ok(())
    }

    /// Takes what happens for a while.
    fn take_events(&mut self, duration: Duration) -> anyhow::Result<()> {
        let until = time::now() + duration;
        while !self.stopped {
            let left = until.saturating_duration_since(time::now());
            match self.events.recv_timeout(left) {
                Ok(Event::Stop) => self.stopped = true,
                Ok(Event::Ended(name)) => bail!("{name} ended unexpectedly"),
                Ok(Event::Line { name, text }) => match serde_json::from_str(&text) {
                    Ok(report) => self.report = report,
                    Err(_) => show::print(&format!("{name}: {text}")),
                },
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
        Ok(())
    }

    fn say_report(&self, phase: &str) {
        let Report { requests, failed, p50_ms, p99_ms } = self.report;
        self.say(&format!(
            "{phase}; last 10 s at the load: {requests} requests, {failed} failed, p50 {p50_ms:.0} ms, p99 {p99_ms:.0} ms"
        ));
    }

    fn say(&self, text: &str) {
        let elapsed = self.started.elapsed().as_secs();
        show::print(&format!("[{:2}:{:02}] {text}", elapsed / 60, elapsed % 60));
    }

    /// Ends the load first and the server last, so that all that was gathered still arrives.
    fn end(&mut self) {
        self.say("ending the workload, then the server");
        while let Some(mut process) = self.processes.pop() {
            process.end();
        }
    }
}

/// Turns SIGINT and SIGTERM into an event; a second one ends the driver at once, and with it its children's stdin.
fn stop_on_signals(events: Sender<Event>) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let (mut interrupt, mut terminate) = {
        let _context = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let wait = move || {
        runtime.block_on(async {
            let mut first: Option<Instant> = None;
            while first.is_none_or(|first| first.elapsed() < SIGNAL_ECHO) {
                tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () }
                first.get_or_insert_with(time::now);
                // A driver that no longer listens is about to end.
                let _ = events.send(Event::Stop);
            }
        });
        std::process::exit(130);
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).context("start a thread")?;
    Ok(())
}
