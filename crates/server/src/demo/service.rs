//! One of the demo's services as a process of its own.
//!
//! The driver starts it with the address of the OTLP receiver and of the service that it calls. It says where it
//! listens on stdout, takes commands on stdin, and ends when stdin closes: no service outlives its driver, however
//! the driver ends.

use std::io::BufRead;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use throughline_instrument::{
    Config, Histogram, LATENCY_BOUNDS_SECONDS, Logger, Span, SpanKind, Telemetry, Tracer,
};

use super::http::{Call, Handler, Reply, Server};
use super::{db, gateway, load, show, task};

/// How long the last export may take.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(1_500);

/// The line with which a service says where it listens.
pub const LISTENING: &str = "listening ";

/// The hidden subcommand's arguments.
#[derive(clap::Args, Debug)]
pub struct ServiceArgs {
    /// Which service to be.
    #[arg(value_enum)]
    name: Name,
    /// Base address of the OTLP/HTTP receiver.
    #[arg(long)]
    otlp: String,
    /// Base address of the service that this one calls.
    #[arg(long, default_value = "")]
    upstream: String,
    /// Requests a second that `load` makes.
    #[arg(long, default_value_t = 40.0)]
    rate: f64,
}

/// The services of the demo.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// The key-value store.
    Db,
    /// The service over it.
    TaskSvc,
    /// The front.
    Gateway,
    /// The load generator.
    Load,
}

impl Name {
    /// As the service calls itself in its telemetry, and on the command line.
    pub fn text(self) -> &'static str {
        match self {
            Name::Db => "db",
            Name::TaskSvc => "task-svc",
            Name::Gateway => "gateway",
            Name::Load => "load",
        }
    }
}

/// Runs the service until stdin closes.
pub fn run(args: ServiceArgs) -> anyhow::Result<ExitCode> {
    let mut config = Config::new(&args.otlp, args.name.text());
    config.resource.push(("service.instance.id".to_owned(), format!("{}-1", args.name.text()).into()));
    config.resource.push(("deployment.environment.name".to_owned(), "demo".into()));
    config.resource.push(("process.pid".to_owned(), std::process::id().into()));
    let telemetry = Telemetry::start(config).context("start the telemetry")?;
    if args.name == Name::Load {
        let load = load::Load::start(&telemetry, args.upstream, args.rate)?;
        follow_stdin(|command| load.obey(command));
        load.stop();
    } else {
        let handler = handler(args.name, &telemetry, args.upstream);
        let server = Server::start(handler)?;
        show::print(&format!("{LISTENING}{}", server.address));
        follow_stdin(|_| ());
        server.stop();
    }
    telemetry.shutdown(SHUTDOWN_TIMEOUT);
    Ok(ExitCode::SUCCESS)
}

fn handler(name: Name, telemetry: &Telemetry, upstream: String) -> Handler {
    let served = Served::new(telemetry);
    match name {
        Name::Db => {
            let db = db::Db::new(served);
            Arc::new(move |call| db.answer(call))
        }
        Name::TaskSvc => {
            let task = task::Task::new(served, upstream);
            Arc::new(move |call| task.answer(call))
        }
        Name::Gateway | Name::Load => {
            let gateway = gateway::Gateway::new(served, upstream);
            Arc::new(move |call| gateway.answer(call))
        }
    }
}

fn follow_stdin(mut obey: impl FnMut(&str)) {
    for line in std::io::stdin().lock().lines() {
        match line {
            Ok(line) => obey(line.trim()),
            Err(_) => return,
        }
    }
}

/// What every server of the demo does around its own work: span, log records and latency of a request.
pub struct Served {
    /// For spans within a request.
    pub tracer: Tracer,
    /// For log records within a span.
    pub logger: Logger,
    latency: Histogram,
}

impl Served {
    fn new(telemetry: &Telemetry) -> Served {
        let latency = telemetry.histogram("http.server.request.duration", "s", LATENCY_BOUNDS_SECONDS);
        Served { tracer: telemetry.tracer("http"), logger: telemetry.logger("http"), latency }
    }

    /// Answers a call within a server span, and records how long it took with that span as the exemplar.
    pub fn answer(&self, call: &Call, route: &str, work: impl FnOnce(&mut Span) -> Reply) -> Reply {
        let name = format!("{} {route}", call.method);
        let mut span = self.tracer.continue_from(call.caller.as_ref(), &name, SpanKind::Server);
        span.set_attribute("http.request.method", call.method.as_str());
        span.set_attribute("http.route", route);
        span.set_attribute("url.path", call.path.as_str());
        let reply = work(&mut span);
        span.set_attribute("http.response.status_code", reply.status);
        // OpenTelemetry's rule for servers: a status of the caller's making is no error of the server.
        if reply.status >= 500 {
            span.set_attribute("error.type", reply.status.to_string());
            span.set_error(reply.body["error"].as_str().unwrap_or("failed"));
        }
        let attributes = [
            ("http.request.method", call.method.as_str().into()),
            ("http.route", route.into()),
            ("http.response.status_code", reply.status.into()),
        ];
        self.latency.record(span.elapsed().as_secs_f64(), &attributes, Some(&span.context()));
        reply
    }
}
