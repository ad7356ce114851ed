//! The `filelog` receivers: started, and their counters as metrics.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use throughline_api::metrics::{Family, label};
use throughline_filelog::{FileLog, FileLogConfig, ReceiverStats};
use throughline_store::{Clock, Disk, OsDisk, Store};

use super::{log, settings};
use crate::config::Config;

/// The folder of checkpoints within the data folder.
const FOLDER: &str = "filelog";

/// Starts all receivers.
pub fn start(config: &Config, store: &Store, clock: &Arc<dyn Clock>) -> Result<FileLog> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let folder: PathBuf = config.data_dir.join(FOLDER);
    let settings = FileLogConfig {
        receivers: config.pulled.filelog.clone(),
        folder,
        decode_limits: settings::decode_limits(config),
        warn: Arc::new(|text| log("warning", text)),
    };
    FileLog::start(settings, store, clock, &disk).context("start the receivers of log files")
}

/// The counters of all receivers.
pub fn families(stats: &[ReceiverStats]) -> Vec<Family> {
    let of = |read: fn(&ReceiverStats) -> u64| {
        let each =
            stats.iter().map(|receiver| (label("receiver", &receiver.receiver), read(receiver) as f64));
        each.collect::<Vec<_>>()
    };
    vec![
        Family::gauge("throughline_filelog_files", "Log files that are known.", of(|r| r.files)),
        Family::gauge("throughline_filelog_open_files", "Log files that are open.", of(|r| r.open_files)),
        Family::counter(
            "throughline_filelog_truncated_files_total",
            "Files whose bytes were others than before.",
            of(|r| r.truncated_files),
        ),
        Family::counter("throughline_filelog_bytes_total", "Bytes of lines that were read.", of(|r| r.bytes)),
        Family::counter("throughline_filelog_lines_total", "Lines that were read.", of(|r| r.lines)),
        Family::counter("throughline_filelog_records_total", "Records that are stored.", of(|r| r.records)),
        Family::counter(
            "throughline_filelog_filtered_records_total",
            "Records that filters and routers dropped.",
            of(|r| r.filtered),
        ),
        Family::counter(
            "throughline_filelog_failed_records_total",
            "Records that were dropped because an operator failed.",
            of(|r| r.failed),
        ),
        Family::counter(
            "throughline_filelog_rejected_records_total",
            "Records that the store's limits refused.",
            of(|r| r.rejected),
        ),
        Family::counter(
            "throughline_filelog_operator_failures_total",
            "Failures of operators.",
            of(|r| r.operator_failures),
        ),
        Family::counter(
            "throughline_filelog_deduplicated_requests_total",
            "Requests that the store knew from before a crash.",
            of(|r| r.deduplicated_requests),
        ),
        Family::counter(
            "throughline_filelog_store_waits_total",
            "How often the store took nothing and was waited for.",
            of(|r| r.store_waits),
        ),
        Family::counter(
            "throughline_filelog_read_failures_total",
            "How often a file could not be read.",
            of(|r| r.read_failures),
        ),
    ]
}
