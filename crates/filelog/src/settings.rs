//! What a receiver is told: settled, checked values.

use std::path::PathBuf;
use std::time::Duration;

use crate::chain::Chain;
use crate::expr::Template;
use crate::glob::Glob;
use crate::source::Compression;
use crate::split::LineFormat;

/// One receiver.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Its id, as it is configured.
    pub id: String,
    /// Which files are read.
    pub find: FindConfig,
    /// How their bytes become records.
    pub format: LineFormat,
    /// After so long without new bytes what is there is a record; none waits for ever.
    pub flush_after: Option<Duration>,
    /// What entries are given.
    pub labels: LabelConfig,
    /// What is done to them.
    pub chain: Chain,
    /// How long to wait before the store is asked again.
    pub retry: RetryConfig,
    /// The folder of its checkpoint, where it is not that of the data.
    pub storage: Option<PathBuf>,
}

/// Which files are read.
#[derive(Clone, Debug)]
pub struct FindConfig {
    /// Files that are read.
    pub include: Vec<Glob>,
    /// Those of them that are not.
    pub exclude: Vec<Glob>,
    /// Files that were not changed for so long are not begun.
    pub exclude_older_than: Option<Duration>,
    /// How often files are looked at.
    pub poll_interval: Duration,
    /// Whether files that are there at the first start are read from their beginning.
    pub from_beginning: bool,
    /// How many first bytes tell files apart.
    pub fingerprint_bytes: usize,
    /// Files open at once.
    pub open_max: usize,
    /// How files are compressed.
    pub compression: Compression,
    /// What becomes of a file that is shorter than before and begins as before.
    pub on_truncate: OnTruncate,
    /// Whether files are removed once they are stored.
    pub delete_after_read: bool,
}

/// What becomes of a file that is shorter than before and begins as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTruncate {
    /// It is read on when it is longer again.
    Ignore,
    /// It is read from its beginning.
    ReadWholeFile,
    /// What is added from now on is read.
    ReadNew,
}

/// What entries are given.
#[derive(Clone, Debug, Default)]
pub struct LabelConfig {
    /// `log.file.name`.
    pub name: bool,
    /// `log.file.path`.
    pub path: bool,
    /// `log.file.name_resolved`.
    pub name_resolved: bool,
    /// `log.file.path_resolved`.
    pub path_resolved: bool,
    /// `log.file.owner.name`.
    pub owner: bool,
    /// `log.file.owner.group.name`.
    pub group: bool,
    /// `log.file.record_number`.
    pub record_number: bool,
    /// `log.file.record_offset`.
    pub record_offset: bool,
    /// More attributes.
    pub attributes: Vec<(String, Template)>,
    /// The resource.
    pub resource: Vec<(String, Template)>,
}

/// How long to wait before the store is asked again. Nothing is given up.
#[derive(Clone, Debug)]
pub struct RetryConfig {
    /// At first.
    pub initial: Duration,
    /// At most.
    pub max: Duration,
}
