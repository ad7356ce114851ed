//! `cargo xtask`: what the project needs besides building: checks, benchmarks, fault campaigns.

mod answers;
mod bench;
mod conformance;
mod differential;
mod remote_write;
mod send;
mod send_samples;
mod tidy;
mod torture;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks, benchmarks and fault campaigns of Throughline")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check the rules of the house
    Tidy {
        /// Write new hashes of format modules into docs/format first
        #[arg(long)]
        bless: bool,
    },
    /// Measure the release server
    #[command(subcommand)]
    Bench(Box<bench::Bench>),
    /// Run a suite of another project
    #[command(subcommand)]
    Conformance(conformance::Conformance),
    /// Compare with the real thing, answer by answer
    #[command(subcommand)]
    Differential(differential::Differential),
    /// Run a fault campaign
    #[command(subcommand)]
    Torture(torture::Torture),
    /// Send telemetry to a server over OTLP and print a report as JSON
    Send(Box<send::SendArguments>),
    /// Send samples to a server by remote write and print a report as JSON
    SendSamples(send_samples::SendSamplesArguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Tidy { bless } => tidy::run(bless),
        Command::Bench(bench) => bench::run(&bench),
        Command::Conformance(conformance) => conformance::run(&conformance),
        Command::Differential(differential) => differential::run(&differential),
        Command::Torture(torture) => torture::run(&torture),
        Command::Send(arguments) => send::run(&arguments),
        Command::SendSamples(arguments) => send_samples::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
