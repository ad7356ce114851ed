//! `throughline serve`: the assembly, in start-up order.
//!
//! 1. configuration; 2. the API binds: alive, not ready; 3. store (locks the folder, replays the log), watched by what
//!    derives metrics; 4. receivers bind; 5. ready, printed with the addresses.
//!
//! On SIGTERM or SIGINT: not ready, receivers stop accepting and finish what they have, then the API, then derived metrics
//! are written, then the store flushes and closes. What is still in flight at a second signal is not acknowledged and so
//! not lost to its sender.

mod derived_metrics;
mod log_files;
mod receiver_metrics;
mod reload;
mod rules;
mod scraping;
mod settings;
mod writer;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use axum::Router;
use serde_json::json;
use throughline_api::PrometheusContext;
use throughline_api::listener;
use throughline_derive::{Derivation, Running};
use throughline_filelog::FileLog;
use throughline_receive::{Receiver, Transport};
use throughline_scrape::Scraper;
use throughline_store::{Clock, OsDisk, Parts, Store, SystemClock};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cli::{DurabilityArg, ServeArgs};
use crate::config::{self, Config, Durability, Problem};
use crate::mcp;
use crate::process;
use rules::RuleEngine;

/// How long queries may go on after the receivers ended.
const QUERIES_TIMEOUT: Duration = Duration::from_secs(5);

/// Threads that accept queries and send answers; the queries themselves run on others.
const API_REACTORS: usize = 2;

/// Runs the command until a signal ends it.
pub fn run(args: &ServeArgs) -> Result<ExitCode> {
    let config = configure(args)?;
    for warning in &config.warnings {
        log("warning", warning);
    }
    if config.durability == Durability::Os {
        log(
            "warning",
            "durability os: an acknowledged request survives the end of this process, not a power loss or a \
             crash of the machine; up to the last few seconds may be lost then",
        );
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .on_thread_start(throughline_receive::behind_questions)
        .enable_all()
        .build()
        .context("start the runtime")?;
    // Reactors of their own: a query does not wait behind requests that come in. They answer while this thread opens the
    // store.
    let queries = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(API_REACTORS)
        .thread_name("api")
        .enable_all()
        .build()
        .context("start the runtime of the API")?;
    let api = queries.block_on(Api::start(config.api_endpoint))?;
    let derivation = load_derivation(&config)?;
    let store = open_store(&config, &clock, derivation.clone())?;
    let deriving = start_deriving(derivation.as_ref(), &config, &store, &clock)?;
    let opened = Opened { store: &store, clock: &clock, derivation };
    let served = runtime.block_on(serve(&config, &opened, api, args.until_stdin_closes));
    // Queries that are still running hold snapshots, not data: they need not end before the store closes.
    runtime.shutdown_background();
    queries.shutdown_background();
    // Nobody writes any more: the last values are those of everything that was acknowledged.
    if let Some(deriving) = deriving {
        deriving.stop();
    }
    let closed = store.close().context("close the store");
    served.and(closed)?;
    log("info", "stopped: everything received is stored");
    Ok(ExitCode::SUCCESS)
}

/// The file's settings with those of the command line over them.
fn configure(args: &ServeArgs) -> Result<Config> {
    let mut config = config::load(args.config.as_deref()).map_err(|problems| refused(args, &problems))?;
    if let Some(folder) = &args.data_dir {
        config.data_dir.clone_from(folder);
    }
    if let Some(durability) = args.durability {
        config.durability = match durability {
            DurabilityArg::Fsync => Durability::Fsync,
            DurabilityArg::Os => Durability::Os,
        };
    }
    config.otlp.grpc = args.otlp_grpc.or(config.otlp.grpc);
    config.otlp.http = args.otlp_http.or(config.otlp.http);
    config.api_endpoint = args.api.unwrap_or(config.api_endpoint);
    Ok(config)
}

fn refused(args: &ServeArgs, problems: &[Problem]) -> anyhow::Error {
    let file = args.config.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let lines: Vec<String> = problems.iter().map(|problem| format!("{file}: {problem}")).collect();
    anyhow!("invalid configuration:\n{}", lines.join("\n"))
}

/// What was counted before the last stop.
fn load_derivation(config: &Config) -> Result<Option<Arc<Derivation>>> {
    let Some(derive) = config.derive.clone() else { return Ok(None) };
    let derivation = Derivation::load(derive, Arc::new(OsDisk), &config.data_dir);
    Ok(Some(derivation.context("read the counters of derived metrics")?))
}

fn start_deriving(
    derivation: Option<&Arc<Derivation>>,
    config: &Config,
    store: &Store,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Running>> {
    let Some(derivation) = derivation else { return Ok(None) };
    let limits = settings::store(config).limits;
    let running = derivation.start(store.clone(), Arc::clone(clock), limits);
    Ok(Some(running.context("start the thread that derives metrics")?))
}

fn open_store(config: &Config, clock: &Arc<dyn Clock>, derivation: Option<Arc<Derivation>>) -> Result<Store> {
    let (settings, disk, clock) = (settings::store(config), Arc::new(OsDisk), Arc::clone(clock));
    let mut parts = Parts { sampling: config.retention.sampling.clone(), ..Parts::default() };
    if let Some(derivation) = derivation {
        parts.observer = derivation;
    }
    let store = Store::open_with(settings, disk, clock, parts);
    let store = store.with_context(|| format!("open the data folder {}", config.data_dir.display()))?;
    let status = store.status();
    log(
        "info",
        &format!(
            "store {} open: {} records replayed, {} blocks{}",
            config.data_dir.display(),
            status.replayed_records,
            status.blocks_per_level.iter().sum::<usize>(),
            if status.started_unclean { ", after a stop without shutdown" } else { "" }
        ),
    );
    for notice in &status.notices {
        log("warning", &notice.text);
    }
    Ok(store)
}

/// The native API's socket and what answers on it.
struct Api {
    address: SocketAddr,
    router: watch::Sender<Router>,
    stop: watch::Sender<bool>,
    ended: JoinHandle<()>,
}

impl Api {
    /// Listens, and answers that the store is being opened.
    async fn start(endpoint: SocketAddr) -> Result<Api> {
        let listener = TcpListener::bind(endpoint)
            .await
            .with_context(|| format!("listen for the native API on {endpoint}"))?;
        let address = listener.local_addr()?;
        let (router, answers) = watch::channel(throughline_api::starting());
        let (stop, stopped) = watch::channel(false);
        let ended = tokio::spawn(listener::serve(listener, answers, changed(stopped)));
        Ok(Api { address, router, stop, ended })
    }
}

/// What a server stands on.
struct Opened<'a> {
    store: &'a Store,
    clock: &'a Arc<dyn Clock>,
    derivation: Option<Arc<Derivation>>,
}

async fn serve(config: &Config, opened: &Opened<'_>, api: Api, until_stdin_closes: bool) -> Result<()> {
    let (store, clock) = (opened.store, opened.clock);
    let receiver = Receiver::bind(settings::receive(config), store.clone(), Arc::clone(clock))?;
    let received = Transport::ALL.map(|transport| (transport, receiver.addr(transport)));
    let addresses = Addresses { received, api: api.address };
    let draining = Arc::new(AtomicBool::new(false));
    let scraper = Scraper::start(settings::scrape(config), store.clone(), Arc::clone(clock));
    let log_files = log_files::start(config, store, clock)?;
    let sources = Sources { receiver: &receiver, scraper: &scraper, log_files: &log_files };
    let mut context = context(config, opened, &sources, addresses, &draining);
    let rules = start_rules(config, store, clock, &context.prometheus)?;
    let states =
        scraping::States { scraper: scraper.observer(), rules: rules.as_ref().map(RuleEngine::states) };
    context.prometheus.states = Arc::new(states);
    let router = mcp::mount(throughline_api::native(context), addresses.api);
    let mut router = writer::mount(router, &receiver.push_writer());
    if let Some(rules) = &rules {
        router = reload::install(router, rules.reloader())?;
    }
    _ = api.router.send_replace(router);
    let signals = signals(until_stdin_closes)?;
    log("info", &addresses.line());
    receiver
        .run(async move {
            log("info", &format!("{}: finishing what is in work", signals.await));
            draining.store(true, Ordering::Relaxed);
        })
        .await?;
    // It waits for the request on its way.
    tokio::task::spawn_blocking(|| log_files.stop()).await?;
    scraper.stop().await;
    if let Some(rules) = rules {
        // It waits for the evaluation under way.
        tokio::task::spawn_blocking(|| rules.stop()).await?;
    }
    api.stop.send_replace(true);
    if tokio::time::timeout(QUERIES_TIMEOUT, api.ended).await.is_err() {
        log("warning", "queries were still running and are cut off");
    }
    Ok(())
}

fn start_rules(
    config: &Config,
    store: &Store,
    clock: &Arc<dyn Clock>,
    prometheus: &PrometheusContext,
) -> Result<Option<RuleEngine>> {
    if config.prometheus.rules.files.is_empty() {
        return Ok(None);
    }
    let limits = settings::decode_limits(config);
    RuleEngine::start(&config.prometheus.rules, &config.data_dir, store, clock, prometheus, limits).map(Some)
}

/// Where everything listens.
#[derive(Clone, Copy)]
struct Addresses {
    received: [(Transport, Option<SocketAddr>); Transport::ALL.len()],
    api: SocketAddr,
}

impl Addresses {
    /// The ready line: tests and scripts read the ports from it.
    fn line(&self) -> String {
        let text = |transport| self.of(transport).unwrap_or_else(|| "off".to_owned());
        let (grpc, http) = (text(Transport::Grpc), text(Transport::Http));
        let mut line = format!("ready: otlp/grpc {grpc} otlp/http {http} api {}", self.api);
        let others = [
            ("jaeger/grpc", Transport::JaegerGrpc),
            ("jaeger/http", Transport::JaegerHttp),
            ("zipkin", Transport::Zipkin),
        ];
        for (name, transport) in others {
            if let Some(address) = self.of(transport) {
                line += &format!(" {name} {address}");
            }
        }
        line
    }

    fn of(&self, wanted: Transport) -> Option<String> {
        let found = self.received.iter().find(|(transport, _)| *transport == wanted);
        found.and_then(|(_, address)| *address).map(|address| address.to_string())
    }
}

/// Everything that data comes in by.
struct Sources<'a> {
    receiver: &'a Receiver,
    scraper: &'a Scraper,
    log_files: &'a FileLog,
}

fn context(
    config: &Config,
    opened: &Opened<'_>,
    sources: &Sources<'_>,
    addresses: Addresses,
    draining: &Arc<AtomicBool>,
) -> throughline_api::Context {
    let (stats, observer) = (sources.receiver.stats(), sources.scraper.observer());
    let log_files = sources.log_files.observer();
    let derivation = opened.derivation.clone();
    let families = move || {
        let mut families = receiver_metrics::families(&stats.read());
        families.extend(scraping::families(&observer.stats()));
        families.extend(log_files::families(&log_files.stats()));
        if let Some(derivation) = &derivation {
            families.extend(derived_metrics::families(&derivation.status()));
        }
        families.extend(process::families());
        families
    };
    throughline_api::Context {
        store: opened.store.clone(),
        clock: Arc::clone(opened.clock),
        families: Arc::new(families),
        draining: Arc::clone(draining),
        prometheus: settings::prometheus(config, opened.clock),
        loki: settings::loki(config),
        traces: settings::traces(config),
        process: Arc::new(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "data_dir": config.data_dir.display().to_string(),
            "retention": format!("{}s", config.retention.age.as_secs()),
            "otlp_grpc": addresses.of(Transport::Grpc),
            "otlp_http": addresses.of(Transport::Http),
            "jaeger_grpc": addresses.of(Transport::JaegerGrpc),
            "jaeger_http": addresses.of(Transport::JaegerHttp),
            "zipkin": addresses.of(Transport::Zipkin),
            "api": addresses.api.to_string(),
        })),
    }
}

/// Completes when the value becomes true, or nobody can set it any more.
async fn changed(mut flag: watch::Receiver<bool>) {
    _ = flag.wait_for(|set| *set).await;
}

/// Completes with the name of what asked for the end. A second signal ends the process at once.
fn signals(until_stdin_closes: bool) -> Result<impl Future<Output = &'static str>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let (closed_sender, closed) = watch::channel(false);
    if until_stdin_closes {
        std::thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || {
                _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
                closed_sender.send_replace(true);
            })
            .context("start a thread")?;
    }
    Ok(async move {
        let stdin =
            async { if until_stdin_closes { changed(closed).await } else { std::future::pending().await } };
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            () = stdin => "end of input",
        };
        tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => (), _ = interrupt.recv() => () }
            log("warning", "a second signal: ending at once");
            std::process::exit(130);
        });
        name
    })
}

/// One event, one line.
fn log(level: &str, text: &str) {
    eprintln!("throughline {level}: {text}");
}
