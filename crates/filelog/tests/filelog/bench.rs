//! A receiver with a store of its own, on files in a folder of their own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use throughline_filelog::chain::Chain;
use throughline_filelog::encoding::Encoding;
use throughline_filelog::glob::Glob;
use throughline_filelog::settings::{FindConfig, LabelConfig, OnTruncate, Receiver, RetryConfig};
use throughline_filelog::split::{LineFormat, Splitter, TooLong};
use throughline_filelog::{Compression, FileLog, FileLogConfig, Observer, ReceiverStats};
use throughline_model::record::LogRecord;
use throughline_store::snapshot::{LogQuery, TimeRange};
use throughline_store::{Clock, Disk, SimDisk, Store, StoreConfig, SystemClock};
use throughline_wire::DecodeLimits;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where checkpoints are.
const CHECKPOINTS: &str = "/checkpoints";

/// A folder that is removed with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("throughline-filelog-{name}-{}", std::process::id()));
        _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("created");
        Folder(path)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// All files of a folder, from their beginning.
pub fn receiver(folder: &Folder) -> Receiver {
    Receiver {
        id: "filelog/test".to_owned(),
        find: FindConfig {
            include: vec![Glob::parse(&folder.file("*").display().to_string()).expect("a pattern")],
            exclude: Vec::new(),
            exclude_older_than: None,
            poll_interval: Duration::from_millis(5),
            from_beginning: true,
            fingerprint_bytes: 1000,
            open_max: 1024,
            compression: Compression::None,
            on_truncate: OnTruncate::Ignore,
            delete_after_read: false,
        },
        format: LineFormat {
            encoding: Encoding::Utf8,
            splitter: Splitter::Newline,
            bytes_max: 1 << 20,
            too_long: TooLong::Split,
            keep_leading: false,
            keep_trailing: false,
        },
        flush_after: Some(Duration::from_millis(300)),
        labels: LabelConfig { name: true, path: true, ..LabelConfig::default() },
        chain: Chain::default(),
        retry: RetryConfig { initial: Duration::from_millis(10), max: Duration::from_millis(100) },
        storage: None,
    }
}

pub struct Bench {
    pub disk: Arc<dyn Disk>,
    /// The disk of the store, which is another.
    pub store_disk: Arc<SimDisk>,
    store: Store,
    running: Option<FileLog>,
    observer: Observer,
}

impl Bench {
    pub fn new() -> Bench {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
        let (store_disk, store) = store();
        Bench { disk, store_disk, store, running: None, observer: Observer::default() }
    }

    pub fn try_start(&mut self, receiver: Receiver) -> Result<(), String> {
        let config = FileLogConfig {
            receivers: vec![receiver],
            folder: Path::new(CHECKPOINTS).to_owned(),
            decode_limits: DecodeLimits::with_retention(86_400_000_000_000),
            warn: Arc::new(|text| eprintln!("{text}")),
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let running =
            FileLog::start(config, &self.store, &clock, &self.disk).map_err(|error| error.to_string())?;
        self.observer = running.observer();
        self.running = Some(running);
        Ok(())
    }

    pub fn start(&mut self, receiver: Receiver) {
        self.try_start(receiver).expect("started");
    }

    pub fn stop(&mut self) {
        self.running.take().expect("running").stop();
    }

    pub fn forget_what_is_stored(&mut self) {
        (self.store_disk, self.store) = store();
    }

    pub fn checkpoint(&self) -> PathBuf {
        Path::new(CHECKPOINTS).join("filelog_2ftest")
    }

    pub fn stats(&self) -> ReceiverStats {
        self.observer.stats().pop().expect("a receiver")
    }

    pub fn records(&self) -> Vec<LogRecord> {
        let (range, limit) = (TimeRange::ALL, 1_000_000);
        let query = LogQuery { range, service: None, min_severity: 0, pattern: None, contains: None, limit };
        self.store.snapshot().search_logs(&query).expect("readable").items
    }

    fn bodies(&self) -> Vec<String> {
        let records = self.records();
        let text = |record: &LogRecord| record.body.as_str().unwrap_or_default().to_owned();
        let mut bodies: Vec<String> = records.iter().map(text).collect();
        bodies.sort();
        bodies
    }

    /// The attributes of the record with this body.
    pub fn attributes(&self, body: &str) -> serde_json::Map<String, serde_json::Value> {
        let record = self.records().into_iter().find(|record| record.body.as_str() == Some(body));
        record.expect("a record").attributes
    }

    /// Waits until exactly these lines are stored, and looks again a while later.
    pub fn expect(&self, lines: &[&str]) {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        self.expect_all(&lines);
    }

    pub fn expect_all(&self, lines: &[String]) {
        let mut expected = lines.to_vec();
        expected.sort();
        let started = Instant::now();
        while self.bodies().len() < expected.len() && started.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        // What is read twice comes soon after.
        std::thread::sleep(Duration::from_millis(50));
        // Only what differs is shown.
        let (mut extra, mut missing) = (self.bodies(), expected);
        missing.retain(|line| match extra.iter().position(|found| found == line) {
            Some(at) => {
                extra.remove(at);
                false
            }
            None => true,
        });
        let shorten = |lines: Vec<String>| -> Vec<String> {
            lines.iter().take(20).map(|line| format!("{line:.60} ({} bytes)", line.len())).collect()
        };
        assert!(
            extra.is_empty() && missing.is_empty(),
            "missing: {:#?}\ntoo many: {:#?}\n{:#?}",
            shorten(missing),
            shorten(extra),
            self.stats()
        );
    }
}

fn store() -> (Arc<SimDisk>, Store) {
    let mut config = StoreConfig::new(PathBuf::from("/data"), Duration::from_secs(86_400));
    config.segment_bytes = 8 << 20;
    config.reserve_bytes = Some(1 << 20);
    let disk = Arc::new(SimDisk::new(1));
    let store = Store::open(config, disk.clone(), Arc::new(SystemClock::new())).expect("opened");
    (disk, store)
}

pub fn wait_until(is_met: impl Fn() -> bool, what: &str) {
    let started = Instant::now();
    while !is_met() {
        assert!(started.elapsed() < PATIENCE, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
