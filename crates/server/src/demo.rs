//! `throughline demo`: a server, and beside it a small but real workload that gets into trouble and is explained.
//!
//! - [`driver`]: the course of it, in one process;
//! - [`place`], [`process`]: ports, data folder, child processes;
//! - [`service`]: what each child does (`throughline demo-service NAME`): [`load`] → [`gateway`] → [`task`] → [`db`];
//! - [`watch`], [`show`]: the server's answers, and what is printed;
//! - [`sampled`]: what came of sampling, where it is on.

mod db;
mod driver;
mod gateway;
mod http;
mod keys;
mod load;
mod place;
mod process;
mod random;
mod sampled;
mod service;
mod show;
mod task;
mod time;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use sampled::Sampling;
pub use service::ServiceArgs;

/// The demo's arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// End after the walk: exit code 0 if every step of it resolved, 1 if one did not
    #[arg(long)]
    pub once: bool,
    /// Where the server keeps its data [default: a fresh folder under ./throughline-data/demo]
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// Keep what matters and a share of the rest, and show what came of it
    #[arg(long, value_enum, value_name = "POLICIES")]
    pub sampling: Option<Sampling>,
    /// How long everything is quiet
    #[arg(long, hide = true, default_value_t = 30)]
    pub quiet_seconds: u64,
    /// Take free ports even where the usual ones are free
    #[arg(long, hide = true)]
    pub free_ports: bool,
}

/// Runs the demo.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    driver::run(args)
}

/// Runs one of its services.
pub fn run_service(args: ServiceArgs) -> anyhow::Result<ExitCode> {
    service::run(args)
}
