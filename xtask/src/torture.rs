//! `cargo xtask torture`: the long fault campaigns.
//!
//! Most are the ordinary tests at larger counts, which a variable of the environment sets: what runs on every change
//! and what runs for hours is the same code. Two need the real binary: kill -9 under load, and a full disk.

mod disk_full;
mod kill;
mod ledger;

use std::process::Command;

use anyhow::Context as _;
use clap::Subcommand;

/// A campaign.
#[derive(Subcommand, Clone, Debug)]
pub enum Torture {
    /// Cut the power of a simulated disk at seeded points: nothing acknowledged is lost, nothing is half there
    PowerCuts {
        /// How many seeds
        #[arg(long, default_value_t = 2_000)]
        seeds: u64,
        /// The first seed
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Flip every byte of a small log and block in turn, lose sectors, swap pages: detected, and only what is damaged lost
    BitFlips,
    /// Change requests and tables of blocks at random: the right answer or a refusal, never a panic
    Mutations {
        /// How many changed requests for every decoder; of tables, a twentieth
        #[arg(long, default_value_t = 100_000)]
        mutations: u64,
        /// The first seed
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Kill the release server at random times under load: everything acknowledged is there once
    Kill(kill::KillArguments),
    /// Fill a small disk under load and free it again: refused with a retryable error, then served
    DiskFull(disk_full::DiskFullArguments),
}

/// Runs a campaign.
pub fn run(torture: &Torture) -> anyhow::Result<()> {
    match torture {
        Torture::PowerCuts { seeds, seed } => {
            let variables = [("THROUGHLINE_POWER_CUTS", *seeds), ("THROUGHLINE_SEED", *seed)];
            tests("power cuts", "throughline-store", &variables, &["power_cut"])
        }
        Torture::BitFlips => tests("bit flips", "throughline-store", &[], &["damage", "flip"]),
        Torture::Mutations { mutations, seed } => {
            let variables = [("THROUGHLINE_MUTATIONS", *mutations), ("THROUGHLINE_SEED", *seed)];
            tests("mutations", "throughline-wire", &variables, &["never_panic", "agree"])?;
            // Reading a whole block takes as long as decoding some hundred requests.
            let of_tables = [("THROUGHLINE_MUTATIONS", *mutations / 20), ("THROUGHLINE_SEED", *seed)];
            tests("mutations of tables", "throughline-store", &of_tables, &["never_panic"])
        }
        Torture::Kill(arguments) => kill::run(arguments),
        Torture::DiskFull(arguments) => disk_full::run(arguments),
    }
}

/// Runs the tests of a package whose names hold a word, at larger counts; their own lines say counts and seeds.
fn tests(campaign: &str, package: &str, variables: &[(&str, u64)], words: &[&str]) -> anyhow::Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.args(["test", "--package", package, "--", "--nocapture"]).args(words);
    for (name, count) in variables {
        println!("{campaign}: {name}={count}");
        command.env(name, count.to_string());
    }
    let output = command.output().context("start cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    anyhow::ensure!(
        output.status.success(),
        "{campaign}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let passed: u64 = text.lines().filter_map(passed).sum();
    anyhow::ensure!(passed > 0, "{campaign}: no test of {package} has one of {words:?} in its name");
    println!("{campaign}: {passed} tests passed");
    Ok(())
}

/// How many tests a summary line of the test harness counts.
fn passed(line: &str) -> Option<u64> {
    line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse().ok()
}
