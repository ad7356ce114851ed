//! `torture kill`: kill -9 of the release server at random times while all three signals come in.
//!
//! 1. A sender with a journal sends a wave of telemetry, retrying the same bytes whenever the server is gone.
//! 2. Meanwhile the server is killed and started again, over and over. After each start the ledger holds at least
//!    what the journal said was acknowledged before the kill, and traces of earlier waves are whole.
//! 3. When the wave is through, everything was acknowledged: the ledger holds exactly that, and traces have exactly
//!    their spans and log records. A request that was stored before a crash and sent again after it counts once.

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

/// The place of metrics among the signals.
const METRICS: usize = 2;

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

/// Runs the campaign.
pub fn run(arguments: &KillArguments) -> anyhow::Result<()> {
    println!("kill -9: {} kills, seed {}, OTLP/{}", arguments.kills, arguments.seed, arguments.protocol);
    let place = Place::fresh(&arguments.folder.join("data"))?;
    let mut campaign = Campaign {
        arguments,
        random: Random::new(arguments.seed),
        place: place.clone(),
        server: Some(Server::throughline(&arguments.server, place, "")?),
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
        let server = Server::throughline(&self.arguments.server, place, "")?;
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
            anyhow::ensure!(
                account.stored >= least,
                "{least} items were acknowledged, {account:?} after a restart"
            );
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
        for (signal, (account, settled)) in accounts.iter().zip(self.settled).enumerate() {
            // What the server derives from spans is stored as metrics beside those that were sent.
            let of_its_own = if signal == METRICS { account.stored.saturating_sub(settled) } else { 0 };
            anyhow::ensure!(
                account.stored == settled + of_its_own,
                "{settled} items were acknowledged, {account:?} after a wave"
            );
        }
        for _ in 0..TRACES_AFTER_WAVE {
            let number = self.random.below(generator.trace_count(WAVE_SPANS));
            asker.check_trace(&generator.trace(number))?;
        }
        Ok(())
    }
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
