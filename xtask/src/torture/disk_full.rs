//! `torture disk-full`: a small disk fills up and is freed again, over and over, under load.
//!
//! The disk is a tmpfs with a size limit in a mount namespace of our own, so that no other file is in danger. Where
//! the system does not permit that, the campaign is skipped, and says so.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::ledger::Asker;
use crate::bench::server::{Place, Server, now, remove_folder};
use crate::bench::{now_ns, sender_process, sent_by};
use crate::send::Sent;

/// Size of the disk.
const DISK_MIB: u64 = 384;
/// What the server keeps free, as configured for this campaign.
const RESERVE_MIB: u64 = 64;
/// The server must take writes again this soon after there is room.
const RECOVERY: Duration = Duration::from_secs(10);
/// Spans of one round's load.
const SPANS: u64 = 5_000;

/// Arguments of `torture disk-full`.
#[derive(Args, Clone, Debug)]
pub struct DiskFullArguments {
    /// How often the disk is filled
    #[arg(long, default_value_t = 20)]
    rounds: u64,
    /// The server
    #[arg(long, default_value = "target/release/throughline")]
    server: PathBuf,
    /// Where the small disk is mounted
    #[arg(long, default_value = "target/torture/disk")]
    folder: PathBuf,
    /// Set by the command itself: the small disk is there
    #[arg(long, hide = true)]
    mounted: bool,
}

/// Runs the campaign, in a mount namespace of its own.
pub fn run(arguments: &DiskFullArguments) -> anyhow::Result<()> {
    if arguments.mounted {
        return rounds(arguments);
    }
    std::fs::create_dir_all(&arguments.folder)?;
    let permitted =
        Command::new("unshare").args(["-Urm", "true"]).status().is_ok_and(|status| status.success());
    if !permitted {
        println!("DISK FULL SKIPPED: `unshare -Urm` is not there or not permitted on this system");
        return Ok(());
    }
    let script = format!(
        "mount -t tmpfs -o size={DISK_MIB}m tmpfs \"$1\" && exec \"$2\" torture disk-full --mounted --folder \"$1\" \
         --server \"$3\" --rounds {}",
        arguments.rounds
    );
    let status = Command::new("unshare")
        .args(["-Urm", "sh", "-c", &script, "sh"])
        .arg(&arguments.folder)
        .arg(std::env::current_exe()?)
        .arg(&arguments.server)
        .status()?;
    anyhow::ensure!(status.success(), "disk full: {status}");
    Ok(())
}

fn rounds(arguments: &DiskFullArguments) -> anyhow::Result<()> {
    let place = Place::fresh(&arguments.folder.join("data"))?;
    let settings = format!("retention:\n  disk_reserve: {RESERVE_MIB}MiB\nmemtable:\n  age: 1s\n");
    let server = Server::throughline(&arguments.server, place, &settings)?;
    let asker = Asker::new(&server.place);
    let ballast = arguments.folder.join("ballast");
    let mut acknowledged = 0;
    for round in 1..=arguments.rounds {
        acknowledged += send(&server, round * 2, 30).context("send with room on the disk")?.items();
        fill(&ballast, &arguments.folder)?;
        // Space is looked at from time to time, not at every write.
        std::thread::sleep(Duration::from_secs(2));
        let refused = send(&server, round * 2 + 1, 0).context("send with a full disk")?;
        acknowledged += refused.items();
        let reason = refused.first_refusal.as_deref().context("a full disk refused nothing")?;
        anyhow::ensure!(
            reason.contains("503") || reason.contains("status 14") || reason.contains("status 8"),
            "{reason}"
        );
        let stored = asker.accounts().context("read with a full disk")?[0].stored;
        anyhow::ensure!(
            stored == acknowledged,
            "{acknowledged} spans acknowledged, {stored} stored on a full disk"
        );
        remove_file(&ballast)?;
        acknowledged += recover(&server, round * 2 + 1)?;
        let stored = asker.accounts()?[0].stored;
        anyhow::ensure!(
            stored == acknowledged,
            "{acknowledged} spans acknowledged, {stored} stored in round {round}"
        );
    }
    server.stop()?;
    remove_folder(&arguments.folder.join("data"))?;
    println!(
        "disk full: {} rounds, {acknowledged} spans acknowledged, all stored, every refusal retryable",
        arguments.rounds
    );
    Ok(())
}

/// Sends until everything is taken, and returns how much that was.
fn recover(server: &Server, seed: u64) -> anyhow::Result<u64> {
    let start = now();
    let sent = send(server, seed, RECOVERY.as_secs())?;
    anyhow::ensure!(
        sent.failed == 0,
        "not writable {RECOVERY:?} after there is room: {:?}",
        sent.first_refusal
    );
    anyhow::ensure!(start.elapsed() < RECOVERY * 2, "took {:?} to be writable again", start.elapsed());
    Ok(sent.items())
}

fn send(server: &Server, seed: u64, patience: u64) -> anyhow::Result<Sent> {
    let mut sender = sender_process("grpc", false, server.place.grpc_port)?;
    sender.args(["--seed", &seed.to_string(), "--base-time-ns", &now_ns().to_string()]);
    sender.args(["--spans", &SPANS.to_string(), "--patience", &patience.to_string()]);
    sent_by(sender)
}

/// Fills the disk until only half of the reserve is free.
fn fill(ballast: &Path, folder: &Path) -> anyhow::Result<()> {
    let mut file = create(ballast)?;
    let block = vec![0_u8; 1 << 20];
    while free_mib(folder)? > RESERVE_MIB / 2 {
        file.write_all(&block).context("write ballast")?;
    }
    Ok(())
}

/// What `df` says is free.
fn free_mib(folder: &Path) -> anyhow::Result<u64> {
    let output = Command::new("df").args(["-Pk"]).arg(folder).output().context("start df")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let kib: u64 =
        text.lines().nth(1).and_then(|line| line.split_whitespace().nth(3)).context("read df")?.parse()?;
    Ok(kib >> 10)
}

#[expect(clippy::disallowed_methods, reason = "the ballast is the campaign's own file")]
fn create(path: &Path) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("create {}", path.display()))
}

#[expect(clippy::disallowed_methods, reason = "the ballast is the campaign's own file")]
fn remove_file(path: &Path) -> anyhow::Result<()> {
    std::fs::remove_file(path).with_context(|| format!("remove {}", path.display()))
}
