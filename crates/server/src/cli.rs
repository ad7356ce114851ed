//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::demo;

mod query;

pub use query::{
    CaseFormat, Common, CompareArgs, ExemplarsArgs, InvestigateArgs, LinksArgs, LogsArgs, PatternsArgs,
    PinArgs, QuantileArgs, QueryCommand, ReconcileArgs, SearchArgs, SeriesArgs, ServerUrl, ServicesArgs,
    TraceArgs, TracesArgs, UnpinArgs, WalkArgs, Window,
};

/// OpenTelemetry in, one store, and the way from a spike to its cause
#[derive(Parser, Debug)]
#[command(name = "throughline", version, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Take OTLP in, store it, answer queries
    Serve(ServeArgs),
    /// Check a configuration file and show what it comes to, or check rule files
    Check(CheckArgs),
    /// Ask a running server.
    #[command(flatten)]
    Query(QueryCommand),
    /// What is wrong with the telemetry itself, why, and what to do: 0 if nothing, 1 for findings, 2 if it cannot be told
    Doctor(DoctorArgs),
    /// Files from which Grafana provisions itself: data sources wired to each other, and a dashboard
    #[command(subcommand)]
    Grafana(GrafanaCommand),
    /// Speak the Model Context Protocol over standard input and output: the server's answers as tools
    Mcp(McpArgs),
    /// Check the files of a data folder that no server uses
    Fsck(FsckArgs),
    /// Start a server and a small workload that gets into trouble, and explain the trouble
    Demo(demo::Args),
    /// One of the demo's services
    #[command(hide = true)]
    DemoService(demo::ServiceArgs),
}

/// `serve`.
#[derive(Args, Debug, Default)]
pub struct ServeArgs {
    /// Configuration file (YAML in the shape of the OpenTelemetry Collector's); every setting has a default
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data folder [default: ./throughline-data]
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// What an acknowledgement means: fsync survives power loss, os survives only the end of the process
    #[arg(long, value_enum)]
    pub durability: Option<DurabilityArg>,
    /// Where OTLP/gRPC listens [default: 127.0.0.1:4317]
    #[arg(long, value_name = "ADDRESS")]
    pub otlp_grpc: Option<SocketAddr>,
    /// Where OTLP/HTTP listens [default: 127.0.0.1:4318]
    #[arg(long, value_name = "ADDRESS")]
    pub otlp_http: Option<SocketAddr>,
    /// Where the native API listens [default: 127.0.0.1:4319]
    #[arg(long, value_name = "ADDRESS")]
    pub api: Option<SocketAddr>,
    /// End when standard input closes: for a parent process that must not leave a server behind
    #[arg(long, hide = true)]
    pub until_stdin_closes: bool,
}

/// `--durability`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum DurabilityArg {
    /// Acknowledge after `fdatasync`.
    Fsync,
    /// Acknowledge after the write.
    Os,
}

/// `check`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct CheckArgs {
    /// What else can be checked.
    #[command(subcommand)]
    pub command: Option<CheckCommand>,
    /// Configuration file
    #[arg(required = true)]
    pub config: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// What can be checked beside a configuration file.
#[derive(Subcommand, Debug)]
pub enum CheckCommand {
    /// Check rule files: 0 if all are valid, 1 if not, 3 for duplicate rules with --lint-fatal
    Rules(CheckRulesArgs),
}

/// `check rules`.
#[derive(Args, Debug)]
pub struct CheckRulesArgs {
    /// Rule files; standard input without any
    pub files: Vec<PathBuf>,
    /// Fail where rules cannot be told apart by what they produce
    #[arg(long)]
    pub lint_fatal: bool,
}

/// `doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Only this service's telemetry
    #[arg(long)]
    pub service: Option<String>,
    #[command(flatten)]
    pub window: Window,
    /// How to write the report
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub format: ReportFormat,
    /// Exit with 1 for findings of at least this level
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = FailOn::Warning)]
    pub fail_on: FailOn,
    #[command(flatten)]
    pub server: ServerUrl,
}

/// `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For the terminal.
    Text,
    /// As the server gives it.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// For an issue or a pull request.
    Markdown,
}

/// `--fail-on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Any finding.
    Note,
    /// Warnings and errors.
    Warning,
    /// Errors.
    Error,
    /// None.
    Never,
}

/// `grafana`.
#[derive(Subcommand, Debug)]
pub enum GrafanaCommand {
    /// Write data sources (Prometheus, Loki, Tempo, Jaeger) with every correlation, and a dashboard of rate, errors, durations
    Provision(ProvisionArgs),
}

/// `grafana provision`.
#[derive(Args, Debug)]
pub struct ProvisionArgs {
    /// The server as Grafana reaches it [default: http://127.0.0.1:4319]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Where to write: the folders datasources and dashboards [default: ./grafana-provisioning]
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Where Grafana sees that folder, if it runs elsewhere (/etc/grafana/provisioning)
    #[arg(long, value_name = "FOLDER")]
    pub seen_at: Option<PathBuf>,
}

/// `mcp`.
#[derive(Args, Debug)]
pub struct McpArgs {
    #[command(flatten)]
    pub server: ServerUrl,
}

/// `fsck`.
#[derive(Args, Debug)]
pub struct FsckArgs {
    /// Data folder
    pub folder: PathBuf,
    /// Set aside what is damaged so that the rest can be used
    #[arg(long)]
    pub repair: bool,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_window_is_told_in_one_way() {
        let window = |arguments: &[&str]| {
            let all = ["throughline", "services"].iter().chain(arguments);
            match Cli::try_parse_from(all).map(|cli| cli.command) {
                Ok(Command::Query(QueryCommand::Services(args))) => Some(args.window.parameters()),
                _ => None,
            }
        };
        let bounds = |start: Option<&str>, end: Option<&str>| {
            Some([("start", start.map(str::to_owned)), ("end", end.map(str::to_owned))])
        };
        assert_eq!(window(&[]), bounds(None, None));
        assert_eq!(window(&["--last", "15m"]), bounds(Some("-15m"), None));
        assert_eq!(window(&["--start", "-2h", "--end", "-1h"]), bounds(Some("-2h"), Some("-1h")));
        assert_eq!(window(&["--last", "15m", "--start", "-2h"]), None);
    }
}
