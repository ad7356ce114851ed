//! `throughline check`: every problem of a configuration file, or what it comes to.

mod rules;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::json;
use throughline_correlate::units::bytes;

use crate::cli::{CheckArgs, CheckCommand};
use crate::config::{self, Config, Durability};

/// Runs the command.
pub fn run(args: &CheckArgs) -> Result<ExitCode> {
    if let Some(CheckCommand::Rules(args)) = &args.command {
        return rules::run(args);
    }
    let path = args.config.as_deref().context("no file to check")?;
    let file = path.display();
    match config::load(Some(path)) {
        Ok(config) => {
            if let Err(error) = config::rule_files::load(&config.prometheus.rules) {
                return refuse_rules(args, &error);
            }
            if args.json {
                println!("{:#}", json!({"valid": true, "warnings": config.warnings}));
            } else {
                print!("{file} is valid\n{}", summary(&config));
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            if args.json {
                let problems: Vec<_> = problems
                    .iter()
                    .map(|problem| json!({"path": problem.path, "line": problem.line, "message": problem.message}))
                    .collect();
                println!("{:#}", json!({"valid": false, "problems": problems}));
            } else {
                for problem in &problems {
                    eprintln!("{file}: {problem}");
                }
                eprintln!("{file} is not valid: {} problem(s)", problems.len());
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The configuration is valid, and the rule files that it names are not.
fn refuse_rules(args: &CheckArgs, error: &anyhow::Error) -> Result<ExitCode> {
    let text = format!("{error:#}");
    if args.json {
        println!(
            "{:#}",
            json!({"valid": false, "problems": [{"path": "throughline::rules", "line": null, "message": text}]})
        );
    } else {
        eprintln!("throughline::rules: {text}");
    }
    Ok(ExitCode::FAILURE)
}

/// The effective settings, one line each.
pub fn summary(config: &Config) -> String {
    let address = |address: Option<std::net::SocketAddr>| address.map_or("off".to_owned(), |a| a.to_string());
    let durability = match config.durability {
        Durability::Fsync => "fsync: an acknowledged request survives power loss",
        Durability::Os => "os: power loss may cost the last seconds of acknowledged requests",
    };
    let Config { otlp, limits, memtable, retention, .. } = config;
    let budget = retention.disk_budget_bytes.map_or("no budget".to_owned(), bytes);
    let reserve = retention.disk_reserve_bytes.map_or("5 % and at least 1 GiB".to_owned(), bytes);
    let mut out = format!(
        "  data folder   {}\n  durability    {durability}\n  OTLP/gRPC     {}\n  OTLP/HTTP     {}\n  native API    {}\n  \
         requests      at most {} each, {} in work, {} connections\n  memtable      flushed at {} or after {:?}\n  \
         retention     {:?}, {budget} on disk, {reserve} kept free, {} for what is cited beyond it\n",
        config.data_dir.display(),
        address(otlp.grpc),
        address(otlp.http),
        config.api_endpoint,
        bytes(otlp.request_bytes_max),
        bytes(limits.in_flight_bytes),
        limits.connections,
        bytes(memtable.bytes),
        memtable.age,
        retention.age,
        bytes(retention.held_budget_bytes),
    );
    for (name, listens) in otlp.listeners().into_iter().skip(2) {
        if let Some(address) = listens {
            out += &format!("  {name:<13} {address}\n");
        }
    }
    if let Some(sampling) = &retention.sampling {
        let names: Vec<&str> = sampling.policies().collect();
        out += &format!("  sampling      after {:?}: {}\n", sampling.delay(), names.join(", "));
    }
    for receiver in &config.pulled.filelog {
        let patterns: Vec<&str> = receiver.find.include.iter().map(|pattern| pattern.text()).collect();
        out += &format!("  log files     {}: {}\n", receiver.id, patterns.join(", "));
    }
    for warning in &config.warnings {
        out += &format!("  warning: {warning}\n");
    }
    out
}
