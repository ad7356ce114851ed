//! `cargo xtask`: what the project needs besides building: checks, benchmarks, fault campaigns.

mod tidy;

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
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Tidy { bless } => tidy::run(bless),
    }
}
