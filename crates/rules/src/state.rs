//! The state file: alerts and waiting notifications, so that a crash loses neither.
//!
//! It is saved whenever an alert came, went or changed its state, and before anybody is told of it; what was told is
//! therefore known after a crash, and what was not told yet waits in the file. It is one line that names the format and
//! the checksum of the rest, which is JSON: rarely written, small, and readable in an emergency. It is replaced as a
//! whole, so that it is the state before or the state after.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use throughline_exec::Labels;
use throughline_store::Disk;

use crate::alerting::{Alert, State};
use crate::notification::Notification;

/// The first word of the file and the version of its format.
const MAGIC: &str = "throughline-rules 1";

/// Everything in the file. Times are nanoseconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// When it was saved.
    pub saved_at_ns: i64,
    /// Alerts by group.
    pub groups: Vec<SavedGroup>,
    /// Notifications that wait, by the URL of their receiver.
    pub waiting: BTreeMap<String, Vec<Notification>>,
}

/// The alerts of one group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedGroup {
    /// The file of the group.
    pub file: String,
    /// Its name.
    pub name: String,
    /// Its alerting rules.
    pub rules: Vec<SavedRule>,
}

/// The alerts of one rule, which is known by its name and labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedRule {
    /// The alert.
    pub name: String,
    /// The rule's labels, not expanded.
    pub labels: BTreeMap<String, String>,
    /// Its alerts.
    pub alerts: Vec<SavedAlert>,
}

/// One alert; see [`Alert`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedAlert {
    state: State,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    /// The bits of the float: JSON has no NaN.
    value_bits: u64,
    active_at_ns: i64,
    fired_at_ns: Option<i64>,
    resolved_at_ns: Option<i64>,
    last_sent_at_ns: Option<i64>,
    keep_firing_since_ns: Option<i64>,
}

impl From<&Alert> for SavedAlert {
    fn from(alert: &Alert) -> SavedAlert {
        let labels = alert.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        SavedAlert {
            state: alert.state,
            labels: labels.collect(),
            annotations: alert.annotations.clone(),
            value_bits: alert.value.to_bits(),
            active_at_ns: alert.active_at_ns,
            fired_at_ns: alert.fired_at_ns,
            resolved_at_ns: alert.resolved_at_ns,
            last_sent_at_ns: alert.last_sent_at_ns,
            keep_firing_since_ns: alert.keep_firing_since_ns,
        }
    }
}

impl From<&SavedAlert> for Alert {
    fn from(saved: &SavedAlert) -> Alert {
        Alert {
            state: saved.state,
            labels: Labels::from_pairs(&saved.labels),
            annotations: saved.annotations.clone(),
            value: f64::from_bits(saved.value_bits),
            active_at_ns: saved.active_at_ns,
            fired_at_ns: saved.fired_at_ns,
            resolved_at_ns: saved.resolved_at_ns,
            last_sent_at_ns: saved.last_sent_at_ns,
            keep_firing_since_ns: saved.keep_firing_since_ns,
        }
    }
}

/// Why the state could not be saved or read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The disk failed.
    #[error("{action} {}: {error}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What happened.
        error: std::io::Error,
    },
    /// The file is not what was written.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Puts the state in place of the file at once.
pub fn save(disk: &dyn Disk, path: &Path, state: &Saved) -> Result<(), StateError> {
    let io = |action| {
        let path = path.to_owned();
        move |error| StateError::Io { action, path, error }
    };
    let json = serde_json::to_vec(state).map_err(|error| io("encode")(std::io::Error::other(error)))?;
    let mut bytes = format!("{MAGIC} {:08x} {}\n", crc32c::crc32c(&json), json.len()).into_bytes();
    bytes.extend_from_slice(&json);
    if let Some(folder) = path.parent() {
        disk.create_dir_all(folder).map_err(io("create the folder of"))?;
    }
    disk.replace(path, &bytes).map_err(io("replace"))
}

/// Reads the file; nothing if there is none.
pub fn load(disk: &dyn Disk, path: &Path) -> Result<Option<Saved>, StateError> {
    let io = |action| {
        let path = path.to_owned();
        move |error| StateError::Io { action, path, error }
    };
    if !disk.exists(path).map_err(io("look for"))? {
        return Ok(None);
    }
    let bytes = disk.read_all(path).map_err(io("read"))?;
    decode(&bytes).map(Some).map_err(|reason| StateError::Damaged { path: path.to_owned(), reason })
}

fn decode(bytes: &[u8]) -> Result<Saved, String> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or("there is no first line")?;
    let (line, json) = bytes.split_at(end);
    let json = json.get(1..).unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let rest =
        line.strip_prefix(MAGIC).ok_or_else(|| format!("the first line does not begin with {MAGIC:?}"))?;
    let mut parts = rest.split_whitespace();
    let checksum = parts.next().and_then(|text| u32::from_str_radix(text, 16).ok());
    let length: Option<usize> = parts.next().and_then(|text| text.parse().ok());
    if length != Some(json.len()) {
        return Err(format!("{} bytes follow the first line, which says {length:?}", json.len()));
    }
    let found = crc32c::crc32c(json);
    if checksum != Some(found) {
        return Err(format!("the checksum is {found:08x}, the first line says {checksum:08x?}"));
    }
    serde_json::from_slice(json).map_err(|error| error.to_string())
}
