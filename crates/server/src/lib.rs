//! What the binary does: command line in, exit code out. Assembly is in [`serve`], in start-up order.
//!
//! Exit codes: 0 as asked; 1 not found, not resolved, or not a valid configuration; 2 wrong usage, no connection, or
//! a start that failed.

mod check;
mod cli;
mod client;
mod config;
mod demo;
mod doctor;
mod fsck;
mod grafana;
mod investigate;
mod mcp;
mod process;
mod query;
mod render;
mod serve;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

/// What a command ended with that could not do what it was asked.
const USAGE: u8 = 2;

/// Runs the command that the arguments of this process name.
pub fn run() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Query(command) => query::run(command),
        Command::Doctor(args) => doctor::run(args),
        Command::Grafana(command) => grafana::run(&command),
        Command::Mcp(args) => mcp::run(&args),
        Command::Fsck(args) => fsck::run(&args),
        Command::Demo(args) => demo::run(args),
        Command::DemoService(args) => demo::run_service(args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("throughline: {error:#}");
        ExitCode::from(USAGE)
    })
}
