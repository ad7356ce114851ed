//! Commands that ask a running server.

use clap::{Args, Subcommand, ValueEnum};

use crate::client::{Client, Parameter};

/// Commands that ask a running server.
#[derive(Subcommand, Debug)]
pub enum QueryCommand {
    /// A trace by id in any form: waterfall, critical path, self times, log lines
    Trace(TraceArgs),
    /// Find traces by service, operation, duration and status
    Traces(TracesArgs),
    /// Ask in TraceQL: the traces that a query finds, or the series that it makes
    Search(SearchArgs),
    /// Find log records, or show those of a trace or span
    Logs(LogsArgs),
    /// Patterns of log lines, the most frequent first; with --new-since those that were never seen before
    Patterns(PatternsArgs),
    /// Exemplars of a metric or a PromQL expression, each with the state of its link
    Exemplars(ExemplarsArgs),
    /// Series; with --quantile their curves
    Series(QuantileArgs),
    /// The services that sent anything
    Services(ServicesArgs),
    /// References by kind and state: what holds, and why the rest does not
    Links(LinksArgs),
    /// Keep a trace, whatever sampling and retention say, until it is unpinned
    Pin(PinArgs),
    /// Take a pin back
    Unpin(UnpinArgs),
    /// The pinned traces
    Pins(Common),
    /// What became of everything received
    Ledger(Common),
    /// From the clearest latency spike to its log lines and likely cause
    Walk(WalkArgs),
    /// Requests and errors of a service by metric, span and log record, and where the differences come from
    Reconcile(ReconcileArgs),
    /// What some traces have in common that others lack: attributes, resources, operations, log patterns
    Compare(CompareArgs),
    /// From an alert, an expression, a trace, a log line or a window to who is likely to be the cause
    Investigate(InvestigateArgs),
    /// The state of the server
    Status(Common),
}

/// What every query command takes.
#[derive(Args, Clone, Debug, Default)]
pub struct Common {
    #[command(flatten)]
    pub server: ServerUrl,
    /// Answer in JSON, as the server gives it
    #[arg(long)]
    pub json: bool,
}

/// Which server a command asks.
#[derive(Args, Clone, Debug, Default)]
pub struct ServerUrl {
    /// The server [default: $THROUGHLINE_SERVER, else http://127.0.0.1:4319]
    #[arg(long = "server", value_name = "URL")]
    pub url: Option<String>,
}

/// A window of time.
#[derive(Args, Clone, Debug, Default)]
pub struct Window {
    /// How far back from now (15m, 1h, 7d), in place of --start and --end
    #[arg(long, value_name = "DURATION", conflicts_with_all = ["start", "end"])]
    pub last: Option<String>,
    /// From: RFC 3339, Unix s/ms/ns, or before now (-1h)
    #[arg(long, allow_hyphen_values = true)]
    pub start: Option<String>,
    /// Until, in the same forms
    #[arg(long, allow_hyphen_values = true)]
    pub end: Option<String>,
}

/// `trace`.
#[derive(Args, Debug)]
pub struct TraceArgs {
    /// The trace's id: hex, decimal, base64, UUID, X-Ray, traceparent
    #[arg(allow_hyphen_values = true)]
    pub id: String,
    /// Show one span with its attributes, events and log lines
    #[arg(long, value_name = "ID")]
    pub span: Option<String>,
    #[command(flatten)]
    pub common: Common,
}

/// `traces`.
#[derive(Args, Debug)]
pub struct TracesArgs {
    /// A span of this service
    #[arg(long)]
    pub service: Option<String>,
    /// A span of this name
    #[arg(long)]
    pub operation: Option<String>,
    /// A span that lasted at least so long (500ms)
    #[arg(long)]
    pub min_duration: Option<String>,
    /// A span that lasted at most so long
    #[arg(long)]
    pub max_duration: Option<String>,
    /// error or ok
    #[arg(long)]
    pub status: Option<String>,
    /// At most so many traces
    #[arg(long)]
    pub limit: Option<usize>,
    #[command(flatten)]
    pub window: Window,
    #[command(flatten)]
    pub common: Common,
}

/// `search`.
#[derive(Args, Debug)]
pub struct SearchArgs {
    /// TraceQL, such as '{ status = error && resource.service.name = \"cart\" }' or '{} | rate() by (name)'
    pub query: String,
    /// At most so many traces
    #[arg(long)]
    pub limit: Option<usize>,
    /// At most so many spans of each set; 0 shows all [default: 3]
    #[arg(long)]
    pub spans: Option<usize>,
    /// From one point of a series to the next (15s) [default: a 240th of the window]
    #[arg(long, value_name = "DURATION")]
    pub step: Option<String>,
    #[command(flatten)]
    pub window: Window,
    #[command(flatten)]
    pub common: Common,
}

/// `logs`.
#[derive(Args, Debug)]
pub struct LogsArgs {
    /// Those of this trace
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub trace: Option<String>,
    /// Those of this span of the trace
    #[arg(long, value_name = "ID", requires = "trace")]
    pub span: Option<String>,
    /// Those of this service
    #[arg(long)]
    pub service: Option<String>,
    /// At least this severity: a number, or trace, debug, info, warn, error, fatal
    #[arg(long)]
    pub severity: Option<String>,
    /// Those of this pattern, as `patterns` shows its id
    #[arg(long, value_name = "ID")]
    pub pattern: Option<String>,
    /// The body contains this text
    #[arg(long, value_name = "TEXT")]
    pub contains: Option<String>,
    /// At most so many records
    #[arg(long)]
    pub limit: Option<usize>,
    #[command(flatten)]
    pub window: Window,
    #[command(flatten)]
    pub common: Common,
}

/// `patterns`.
#[derive(Args, Debug)]
pub struct PatternsArgs {
    /// Those of this service
    #[arg(long)]
    pub service: Option<String>,
    /// Only those of which nothing was seen before: so long ago (1h), or since a time
    #[arg(long, value_name = "AGE", allow_hyphen_values = true)]
    pub new_since: Option<String>,
    /// The width of the buckets that --json counts in [default: 1m]
    #[arg(long, value_name = "DURATION")]
    pub step: Option<String>,
    /// At most so many patterns
    #[arg(long)]
    pub limit: Option<usize>,
    #[command(flatten)]
    pub window: Window,
    #[command(flatten)]
    pub common: Common,
}

/// `exemplars`.
#[derive(Args, Debug)]
pub struct ExemplarsArgs {
    /// A PromQL expression: its series' exemplars instead of those of --metric
    #[arg(conflicts_with_all = ["metric", "service", "attribute"])]
    pub expression: Option<String>,
    /// Those nearest to this quantile of what the series measured (0.99)
    #[arg(long, requires = "expression", value_name = "QUANTILE")]
    pub near: Option<f64>,
    /// Those since the expression rose most, the first of them first
    #[arg(long, requires = "expression", conflicts_with = "near")]
    pub first: bool,
    /// Only the best of each series
    #[arg(long, requires = "expression")]
    pub per_series: bool,
    #[command(flatten)]
    pub series: SeriesArgs,
}

/// Which series.
#[derive(Args, Debug)]
pub struct SeriesArgs {
    /// The metric
    #[arg(long)]
    pub metric: Option<String>,
    /// The service
    #[arg(long)]
    pub service: Option<String>,
    /// An attribute of the series (KEY=VALUE)
    #[arg(long, value_name = "KEY=VALUE")]
    pub attribute: Vec<String>,
    /// At most so many
    #[arg(long)]
    pub limit: Option<usize>,
    #[command(flatten)]
    pub window: Window,
    #[command(flatten)]
    pub common: Common,
}

/// `series`.
#[derive(Args, Debug)]
pub struct QuantileArgs {
    /// Show this quantile of latency histograms over time (0.99)
    #[arg(long)]
    pub quantile: Option<f64>,
    #[command(flatten)]
    pub series: SeriesArgs,
}

/// `services`.
#[derive(Args, Debug)]
pub struct ServicesArgs {
    #[command(flatten)]
    pub window: Window,
    #[command(flatten)]
    pub common: Common,
}

/// `links`.
#[derive(Args, Debug)]
pub struct LinksArgs {
    /// References of this service alone
    #[arg(long)]
    pub service: Option<String>,
    #[command(flatten)]
    pub window: Window,
    #[command(flatten)]
    pub common: Common,
}

/// `pin`.
#[derive(Args, Debug)]
pub struct PinArgs {
    /// The trace's id in any form
    #[arg(allow_hyphen_values = true)]
    pub id: String,
    /// Why, for those who see the pin later
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    #[command(flatten)]
    pub common: Common,
}

/// `unpin`.
#[derive(Args, Debug)]
pub struct UnpinArgs {
    /// The trace's id in any form
    #[arg(allow_hyphen_values = true)]
    pub id: String,
    #[command(flatten)]
    pub common: Common,
}

/// `walk`.
#[derive(Args, Debug)]
pub struct WalkArgs {
    /// Only this service's metrics
    #[arg(long)]
    pub service: Option<String>,
    /// Only this metric
    #[arg(long)]
    pub metric: Option<String>,
    /// Which quantile [default: 0.99]
    #[arg(long)]
    pub quantile: Option<f64>,
    #[command(flatten)]
    pub window: Window,
    #[command(flatten)]
    pub common: Common,
}

/// `reconcile`.
#[derive(Args, Debug)]
pub struct ReconcileArgs {
    /// The service
    #[arg(long)]
    pub service: String,
    #[command(flatten)]
    pub window: Window,
    #[command(flatten)]
    pub common: Common,
}

/// `compare`.
#[derive(Args, Debug)]
pub struct CompareArgs {
    /// The traces, as a TraceQL query ('{ status = error }')
    #[arg(conflicts_with_all = ["service", "operation", "min_duration", "max_duration", "status"])]
    pub query: Option<String>,
    /// Or: traces with a span of this service
    #[arg(long)]
    pub service: Option<String>,
    /// And of this name
    #[arg(long)]
    pub operation: Option<String>,
    /// That lasted at least so long (500ms)
    #[arg(long)]
    pub min_duration: Option<String>,
    /// That lasted at most so long
    #[arg(long)]
    pub max_duration: Option<String>,
    /// error or ok
    #[arg(long)]
    pub status: Option<String>,
    /// What to compare with, as a TraceQL query [default: the other traces of the service and operation, or of the same roots]
    #[arg(long, value_name = "QUERY")]
    pub baseline: Option<String>,
    /// From when to take the baseline, in the forms of --start [default: the same window]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, requires = "baseline_end")]
    pub baseline_start: Option<String>,
    /// Until when
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, requires = "baseline_start")]
    pub baseline_end: Option<String>,
    /// At most so many traces of each
    #[arg(long)]
    pub limit: Option<usize>,
    #[command(flatten)]
    pub window: Window,
    #[command(flatten)]
    pub common: Common,
}

/// `investigate`.
#[derive(Args, Debug)]
pub struct InvestigateArgs {
    /// alert:NAME, trace:ID, exemplar:ID, log:SERVICE@TIME, log:ID (a trace's line), a PromQL expression, or nothing for a window
    pub focus: Option<String>,
    #[command(flatten)]
    pub window: Window,
    /// When nothing was wrong, from [default: the time before the window]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, requires = "baseline_end")]
    pub baseline_start: Option<String>,
    /// Until
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, requires = "baseline_start")]
    pub baseline_end: Option<String>,
    /// Only traces that come by this service
    #[arg(long)]
    pub service: Option<String>,
    /// How many suspects to name [default: 5]
    #[arg(long, value_name = "N")]
    pub suspects: Option<usize>,
    /// Keep the traces that the case cites until they are unpinned, whatever sampling and retention say
    #[arg(long)]
    pub pin: bool,
    /// How the case is written
    #[arg(long, value_enum, default_value = "text", conflicts_with = "json")]
    pub format: CaseFormat,
    /// The same as --format short: fewer than two kilobytes
    #[arg(long, conflicts_with_all = ["format", "json"])]
    pub short: bool,
    #[command(flatten)]
    pub common: Common,
}

/// `--format` of `investigate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CaseFormat {
    /// For the terminal.
    Text,
    /// As the server gives it.
    Json,
    /// A report for an incident record.
    Markdown,
    /// Fewer than two kilobytes.
    Short,
}

impl ServerUrl {
    /// A client of the server.
    pub fn client(&self) -> Client {
        Client::new(self.url.as_deref())
    }
}

impl Window {
    /// The parameters of the window; the server chooses what is left out.
    pub fn parameters(self) -> [Parameter<'static>; 2] {
        let last = self.last.map(|last| format!("-{}", last.trim_start_matches('-')));
        [("start", last.or(self.start)), ("end", self.end)]
    }
}
