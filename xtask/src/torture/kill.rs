//! `torture kill`: kill -9 of the release server at random times while all three signals come in.
//!
//! 1. A sender with a journal sends a wave of telemetry, retrying the same bytes whenever the server is gone.
//! 2. Meanwhile the server is killed and started again, over and over. After each start the ledger holds at least
//!    what the journal said was acknowledged before the kill, and traces of earlier waves are whole.
//! 3. When the wave is through, everything was acknowledged: the ledger holds exactly that, and traces have exactly
//!    their spans and log records. A request that was stored before a crash and sent again after it counts once.
//!
//! That the checks would notice is checked, too: after the first wave they are asked about an item and a trace that were
//! never sent. `--control` runs the campaign over a log that loses its end at every kill, and fails if nobody notices.

use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use throughline_generate::random::Random;
use throughline_generate::sender::{Journal, Outcome};
use throughline_generate::{Generator, RECORDS_PER_TRACE, SPANS_PER_TRACE};

use super::ledger::Asker;
use crate::bench::server::{Place, Server, now};
use crate::bench::{now_ns, sender_process};
use crate::send::Sent;

/// Spans of a wave.
const WAVE_SPANS: u64 = 60_000;
/// Data points of a wave.
const WAVE_POINTS: u64 = 12_000;
/// Items a second: enough for a busy log, little enough for several kills a wave.
const RATE: f64 = 20_000.0;
/// The server lives between these, in milliseconds.
const LIFE_MS: (u64, u64) = (50, 1_500);
/// How long a restarted server may replay.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Traces that are looked up after a restart, and after a wave.
const TRACES_AFTER_RESTART: usize = 20;
const TRACES_AFTER_WAVE: usize = 300;

/// Metrics that the server derives from spans are stored beside those that were sent, and nobody knows how many they are:
/// without them the ledger is exact. Their own counters over kills are a test of the server's.
const SETTINGS: &str = "derive:\n  enabled: false";

/// The page at the start of a segment of the log.
const LOG_PAGE_BYTES: usize = 4096;

/// What every complaint about missing items says.
const COMPLAINT: &str = "items were acknowledged";

/// Arguments of `torture kill`.
#[derive(Args, Clone, Debug)]
pub struct KillArguments {
    /// How many kills; `THROUGHLINE_KILLS` sets the default
    #[arg(long, env = "THROUGHLINE_KILLS", default_value_t = 200)]
    kills: u64,
    /// Seed of the telemetry and of the times
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// The server to kill
    #[arg(long, default_value = "target/release/throughline")]
    server: PathBuf,
    /// Where its data lies
    #[arg(long, default_value = "target/torture/kill")]
    folder: PathBuf,
    /// `grpc` or `http`
    #[arg(long, default_value = "grpc")]
    protocol: String,
    /// Blank the end of the log after every kill, and succeed only if the checks complain of it
    #[arg(long)]
    control: bool,
}

/// One wave of telemetry.
struct Wave {
    generator: Generator,
    sender: Child,
    journal: PathBuf,
}

/// The state of a campaign.
struct Campaign<'a> {
    arguments: &'a KillArguments,
    random: Random,
    place: Place,
    server: Option<Server>,
    kills: u64,
    /// Acknowledged by earlier waves: traces, logs, metrics.
    settled: [u64; 3],
    /// Earlier waves.
    whole: Vec<Generator>,
}

/// Runs the campaign, or its control.
pub fn run(arguments: &KillArguments) -> anyhow::Result<()> {
    let outcome = run_waves(arguments);
    if !arguments.control {
        return outcome;
    }
    match outcome {
        Ok(()) => anyhow::bail!("the log lost its end at {} kills, and no check noticed", arguments.kills),
        Err(error) if format!("{error:#}").contains(COMPLAINT) => {
            println!("kill -9, control: noticed: {error:#}");
            Ok(())
        }
        Err(error) => Err(error.context("not the complaint that the control is about")),
    }
}

fn run_waves(arguments: &KillArguments) -> anyhow::Result<()> {
    println!("kill -9: {} kills, seed {}, OTLP/{}", arguments.kills, arguments.seed, arguments.protocol);
    let place = Place::fresh(&arguments.folder.join("data"))?;
    let mut campaign = Campaign {
        arguments,
        random: Random::new(arguments.seed),
        place: place.clone(),
        server: Some(Server::throughline(&arguments.server, place, SETTINGS)?),
        kills: 0,
        settled: [0; 3],
        whole: Vec::new(),
    };
    while campaign.kills < arguments.kills {
        campaign
            .wave()
            .with_context(|| format!("after {} kills, seed {}", campaign.kills, arguments.seed))?;
    }
    let [traces, logs, metrics] = campaign.settled;
    println!(
        "kill -9: {} kills: {traces} spans, {logs} log records, {metrics} data points acknowledged, none missing, none doubled",
        campaign.kills
    );
    Ok(())
}

impl Campaign<'_> {
    /// Sends a wave and kills the server until it is through.
    fn wave(&mut self) -> anyhow::Result<()> {
        let mut wave = self.start_wave()?;
        while wave.sender.try_wait()?.is_none() {
            if self.kills < self.arguments.kills {
                let life_ms = LIFE_MS.0 + self.random.below(LIFE_MS.1 - LIFE_MS.0);
                std::thread::sleep(Duration::from_millis(life_ms));
                self.kill_and_check(&wave)?;
            } else {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        let output = wave.sender.wait_with_output()?;
        anyhow::ensure!(output.status.success(), "sender: {}", output.status);
        let sent: Sent = serde_json::from_slice(&output.stdout).context("read the sender's report")?;
        anyhow::ensure!(sent.failed == 0 && sent.rejected == 0, "the sender gave up: {sent:?}");
        for (settled, acknowledged) in self.settled.iter_mut().zip(sent.acknowledged) {
            *settled += acknowledged;
        }
        self.check_exact(&wave.generator)?;
        if self.whole.is_empty() {
            self.check_checks(&wave.generator)?;
        }
        self.whole.push(wave.generator);
        println!(
            "{} kills, wave {}: {} items, {} retries",
            self.kills,
            self.whole.len(),
            sent.items(),
            sent.retries
        );
        Ok(())
    }

    fn start_wave(&self) -> anyhow::Result<Wave> {
        let number = self.whole.len() as u64;
        let (seed, base_time_ns) = (self.arguments.seed + number, now_ns());
        let port = match self.arguments.protocol.as_str() {
            "http" => self.place.http_port,
            _ => self.place.grpc_port,
        };
        let journal = self.arguments.folder.join(format!("journal-{number}"));
        // Half of the waves are compressed: replay goes through the same decoder as receive, for both.
        let mut sender: Command = sender_process(&self.arguments.protocol, number % 2 == 1, port)?;
        let logs = WAVE_SPANS / SPANS_PER_TRACE * RECORDS_PER_TRACE;
        for (name, value) in [
            ("--seed", seed.to_string()),
            ("--base-time-ns", base_time_ns.to_string()),
            ("--spans", WAVE_SPANS.to_string()),
            ("--logs", logs.to_string()),
            ("--points", WAVE_POINTS.to_string()),
            ("--rate", RATE.to_string()),
            ("--patience", "120".to_owned()),
            ("--journal", journal.display().to_string()),
        ] {
            sender.arg(name).arg(value);
        }
        let generator = Generator::new(seed, base_time_ns);
        Ok(Wave { generator, sender: sender.spawn().context("start the sender")?, journal })
    }

    fn kill_and_check(&mut self, wave: &Wave) -> anyhow::Result<()> {
        let server = self.server.take().context("no server to kill")?;
        // Read before the kill: whatever is in the journal now must survive it.
        let acknowledged = acknowledged(&wave.journal)?;
        let place = server.kill()?;
        self.kills += 1;
        if self.arguments.control {
            blank_end_of_log(&place.data_dir.join("wal"))?;
        }
        let server = Server::throughline(&self.arguments.server, place, SETTINGS)?;
        let asker = Asker::new(&server.place);
        let deadline = now() + READY_TIMEOUT;
        while !asker.is_ready() {
            anyhow::ensure!(now() < deadline, "not ready {READY_TIMEOUT:?} after a kill");
            std::thread::sleep(Duration::from_millis(10));
        }
        self.server = Some(server);
        let accounts = asker.accounts()?;
        for (at, account) in accounts.iter().enumerate() {
            let least = self.settled[at] + acknowledged[at];
            anyhow::ensure!(account.stored >= least, "{least} {COMPLAINT}, {account:?} after a restart");
        }
        for _ in 0..TRACES_AFTER_RESTART {
            if !self.whole.is_empty() {
                let wave = self.random.index(self.whole.len());
                let generator = &self.whole[wave];
                let number = self.random.below(generator.trace_count(WAVE_SPANS));
                asker.check_trace(&generator.trace(number))?;
            }
        }
        Ok(())
    }

    /// After a wave nothing is under way: the ledger is exact, and the wave's traces are whole.
    fn check_exact(&mut self, generator: &Generator) -> anyhow::Result<()> {
        let asker = Asker::new(&self.place);
        let accounts = asker.accounts()?;
        for (account, settled) in accounts.iter().zip(self.settled) {
            anyhow::ensure!(account.stored == settled, "{settled} {COMPLAINT}, {account:?} after a wave");
        }
        for _ in 0..TRACES_AFTER_WAVE {
            let number = self.random.below(generator.trace_count(WAVE_SPANS));
            asker.check_trace(&generator.trace(number))?;
        }
        Ok(())
    }
}

impl Campaign<'_> {
    /// Asks about what was never sent: an item of each signal more, one less, and a trace.
    fn check_checks(&mut self, generator: &Generator) -> anyhow::Result<()> {
        let settled = self.settled;
        for signal in 0..settled.len() {
            for wrong in [settled[signal] + 1, settled[signal] - 1] {
                self.settled[signal] = wrong;
                anyhow::ensure!(
                    self.check_exact(generator).is_err(),
                    "{wrong} items of {settled:?} pass the check"
                );
                self.settled = settled;
            }
        }
        let unsent = Generator::new(!self.arguments.seed, now_ns()).trace(0);
        let asker = Asker::new(&self.place);
        anyhow::ensure!(asker.check_trace(&unsent).is_err(), "a trace that was never sent passes the check");
        Ok(())
    }
}

/// Puts zeros over the last half of what was written of the log's last segment, as if it had never reached the disk.
fn blank_end_of_log(folder: &Path) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<PathBuf>>>()?;
    let segments = paths.into_iter().filter(|path| path.extension().is_some_and(|end| end == "wal"));
    // Names sort in the order of the log.
    let Some(last) = segments.max() else { return Ok(()) };
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&last)?;
    let mut bytes = Vec::new();
    (&file).read_to_end(&mut bytes)?;
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    // Not the first page, which has no records.
    let from = (written / 2).max(LOG_PAGE_BYTES);
    file.write_all_at(&vec![0; written.saturating_sub(from)], from as u64)?;
    Ok(())
}

/// Items that a journal says were acknowledged.
fn acknowledged(journal: &Path) -> anyhow::Result<[u64; 3]> {
    let mut items = [0; 3];
    // The sender may not have made the file yet.
    if !journal.exists() {
        return Ok(items);
    }
    for entry in Journal::read(journal).with_context(|| format!("read {}", journal.display()))? {
        if entry.outcome == Outcome::Acknowledged {
            items[entry.signal as usize] += entry.items;
        }
    }
    Ok(items)
}
