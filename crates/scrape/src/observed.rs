//! Targets as others see them: the scraper fills these in, `server` passes them on.

use std::time::Duration;

/// Names and values, by name.
pub type Labels = Vec<(String, String)>;

/// All targets at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Targets {
    /// Those that are scraped.
    pub active: Vec<ActiveTarget>,
    /// Those that relabelling dropped, as many as are kept.
    pub dropped: Vec<DroppedTarget>,
    /// How many were dropped, per job.
    pub dropped_counts: Vec<(String, u64)>,
}

/// A target that is scraped.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveTarget {
    /// What discovery said of it, before relabelling.
    pub discovered_labels: Labels,
    /// What its series get.
    pub labels: Labels,
    /// Its job's name in the configuration.
    pub scrape_pool: String,
    /// The URL of its page.
    pub scrape_url: String,
    /// The same, as others reach it.
    pub global_url: String,
    /// Why the last scrape failed; empty if it did not.
    pub last_error: String,
    /// When the last scrape began, nanoseconds since the epoch; none before the first.
    pub last_scrape: Option<i64>,
    /// How long it took.
    pub last_scrape_duration: Duration,
    /// What the last scrape says of it.
    pub health: TargetHealth,
    /// How often it is scraped.
    pub interval: Duration,
    /// How long a scrape may take.
    pub timeout: Duration,
}

/// A target that relabelling dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct DroppedTarget {
    /// What discovery said of it.
    pub discovered_labels: Labels,
    /// Its job's name in the configuration.
    pub scrape_pool: String,
}

/// What the last scrape says of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetHealth {
    /// There was none yet.
    #[default]
    Unknown,
    /// It succeeded.
    Up,
    /// It failed.
    Down,
}

impl TargetHealth {
    /// The word of the API.
    pub fn name(self) -> &'static str {
        match self {
            TargetHealth::Unknown => "unknown",
            TargetHealth::Up => "up",
            TargetHealth::Down => "down",
        }
    }
}
