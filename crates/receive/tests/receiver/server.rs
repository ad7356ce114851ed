//! A receiver with a real store in a folder of its own, for one test.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use throughline_model::Signal;
use throughline_receive::{Listen, ReceiveConfig, ReceiveStats, Receiver, Stats, Transport};
use throughline_store::disk::{Disk, OsDisk, SimDisk};
use throughline_store::{Store, StoreConfig, SystemClock};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const RETENTION: Duration = Duration::from_secs(24 * 3600);

/// Tests that measure the process' memory run alone; the others run beside each other.
static QUIET: std::sync::LazyLock<Arc<RwLock<()>>> = std::sync::LazyLock::new(Arc::default);

static FOLDERS: AtomicU64 = AtomicU64::new(0);

enum Turn {
    Shared(#[expect(dead_code, reason = "held, not read")] OwnedRwLockReadGuard<()>),
    Alone(#[expect(dead_code, reason = "held, not read")] OwnedRwLockWriteGuard<()>),
}

/// A running receiver.
pub struct Running {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    /// Jaeger over gRPC, Jaeger over HTTP, Zipkin.
    pub spans: [SocketAddr; 3],
    pub stats: Stats,
    pub store: Store,
    folder: Option<PathBuf>,
    shutdown: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
    _turn: Turn,
}

impl Running {
    /// Starts with the usual limits, adjusted.
    pub async fn start(adjust: impl FnOnce(&mut ReceiveConfig)) -> Running {
        let turn = Turn::Shared(Arc::clone(&QUIET).read_owned().await);
        Running::on_disk(adjust, turn)
    }

    /// Starts when no other test runs, and keeps others waiting.
    pub async fn start_alone(adjust: impl FnOnce(&mut ReceiveConfig)) -> Running {
        let turn = Turn::Alone(Arc::clone(&QUIET).write_owned().await);
        Running::on_disk(adjust, turn)
    }

    /// Starts on a simulated disk, whose faults the test decides.
    pub async fn start_simulated(adjust: impl FnOnce(&mut ReceiveConfig)) -> (Running, SimDisk) {
        let turn = Turn::Shared(Arc::clone(&QUIET).read_owned().await);
        let disk = SimDisk::new(1);
        let mut config = StoreConfig::new(PathBuf::from("/data"), RETENTION);
        config.segment_bytes = 1 << 20;
        config.reserve_bytes = Some(1 << 20);
        (Running::with_store(adjust, config, Arc::new(disk.clone()), None, turn), disk)
    }

    fn on_disk(adjust: impl FnOnce(&mut ReceiveConfig), turn: Turn) -> Running {
        let name = format!("throughline-receive-{}-{}", std::process::id(), FOLDERS.fetch_add(1, Relaxed));
        let folder = std::env::temp_dir().join(name);
        let mut config = StoreConfig::new(folder.clone(), RETENTION);
        // A test must not depend on how full the machine's disk is.
        config.reserve_bytes = Some(0);
        Running::with_store(adjust, config, Arc::new(OsDisk), Some(folder), turn)
    }

    fn with_store(
        adjust: impl FnOnce(&mut ReceiveConfig),
        store_config: StoreConfig,
        disk: Arc<dyn Disk>,
        folder: Option<PathBuf>,
        turn: Turn,
    ) -> Running {
        let clock = Arc::new(SystemClock::new());
        let limits = store_config.limits;
        let store = Store::open(store_config, disk, clock.clone()).expect("a store");
        let mut config = ReceiveConfig::loopback(0);
        config.decode_limits = limits;
        let any = Some(([127, 0, 0, 1], 0).into());
        config.listen = Listen { grpc: any, http: any, jaeger_grpc: any, jaeger_http: any, zipkin: any };
        adjust(&mut config);
        let receiver = Receiver::bind(config, store.clone(), clock).expect("free ports");
        let addr = |transport| receiver.addr(transport).expect("bound");
        let (grpc, http) = (addr(Transport::Grpc), addr(Transport::Http));
        let spans = [Transport::JaegerGrpc, Transport::JaegerHttp, Transport::Zipkin].map(addr);
        let stats = receiver.stats();
        let (shutdown, stopping) = oneshot::channel();
        let task = tokio::spawn(async move {
            let stopped = async { stopping.await.unwrap_or(()) };
            receiver.run(stopped).await.expect("a clean end");
        });
        let (shutdown, task) = (Some(shutdown), Some(task));
        Running { grpc, http, spans, stats, store, folder, shutdown, task, _turn: turn }
    }

    /// Tells the receiver to stop; the task ends when it has.
    pub fn begin_stop(&mut self) -> JoinHandle<()> {
        // It may have ended by itself, which its task then says.
        let _ = self.shutdown.take().expect("not stopped yet").send(());
        self.task.take().expect("not stopped yet")
    }

    /// Stops the receiver, closes the store and checks that the books balance.
    pub async fn stop(mut self) {
        self.begin_stop().await.expect("no panic");
        self.close();
    }

    /// Closes the store and removes its folder.
    pub fn close(self) {
        let ledger = self.store.ledger();
        assert!(ledger.is_balanced(), "{ledger:?}");
        let closed = self.store.close();
        if let Some(folder) = self.folder {
            closed.expect("closed");
            // What the operating system keeps of it is in the folder for temporary files.
            #[expect(clippy::disallowed_methods, reason = "the test's own folder")]
            let _ = std::fs::remove_dir_all(folder);
        }
    }

    /// Waits until the counters are as wanted.
    pub async fn wait_for(&self, wanted: impl Fn(&ReceiveStats) -> bool) {
        let start = Instant::now();
        while !wanted(&self.stats.read()) {
            assert!(start.elapsed() < Duration::from_secs(20), "{:?}", self.stats.read());
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the store has noticed that its disk is full.
    pub async fn wait_for_full_disk(&self) {
        let start = Instant::now();
        while self.store.status().write.ready {
            assert!(start.elapsed() < Duration::from_secs(20), "the store does not notice");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Items that the ledger has received: traces, metrics, logs.
    pub fn received(&self) -> [u64; 3] {
        let ledger = self.store.ledger();
        Signal::ALL.map(|signal| ledger.account(signal).received)
    }

    /// Items that the ledger has rejected: traces, metrics, logs.
    pub fn rejected(&self) -> [u64; 3] {
        let ledger = self.store.ledger();
        Signal::ALL.map(|signal| ledger.account(signal).rejected.values().sum())
    }

    /// Items that senders were told are stored: traces, metrics, logs.
    pub fn accepted(&self) -> [u64; 3] {
        let stats = self.stats.read();
        Signal::ALL
            .map(|signal| stats.signals.iter().filter(|s| s.signal == signal).map(|s| s.accepted_items).sum())
    }
}
