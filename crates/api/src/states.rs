//! What other parts of the process tell the API: rules, alerts and scrape targets.
//!
//! The API knows neither the rule engine nor the scraper: `server` passes them as a [`StateSource`].

/// Names and values.
pub type LabelPairs = Vec<(String, String)>;

/// Where the states come from. Every method answers at once, from memory.
pub trait StateSource: Send + Sync {
    /// Rule groups in the order of their files.
    fn rule_groups(&self) -> Vec<RuleGroup> {
        Vec::new()
    }

    /// The addresses that alerts are sent to.
    fn alertmanagers(&self) -> Vec<String> {
        Vec::new()
    }

    /// The targets that are scraped, and those that relabelling dropped.
    fn targets(&self) -> Targets {
        Targets::default()
    }
}

/// No rules and no targets.
pub struct NoStates;

impl StateSource for NoStates {}

/// A group of rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleGroup {
    /// Its name, unique in its file.
    pub name: String,
    /// The file.
    pub file: String,
    /// How often it is evaluated, seconds.
    pub interval_s: f64,
    /// How many series or alerts a rule may make; 0 is no limit.
    pub limit: u64,
    /// How long the last evaluation took, seconds.
    pub evaluation_s: f64,
    /// When that was, milliseconds since the epoch; 0 before the first.
    pub last_evaluation_ms: i64,
    /// The rules in order.
    pub rules: Vec<RuleState>,
}

/// A rule and how it fares.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleState {
    /// The series or the alert that it makes.
    pub name: String,
    /// The expression.
    pub query: String,
    /// Labels that it adds.
    pub labels: LabelPairs,
    /// `ok`, `err` or `unknown`.
    pub health: &'static str,
    /// The last error; empty where there is none.
    pub last_error: String,
    /// How long the last evaluation took, seconds.
    pub evaluation_s: f64,
    /// When that was, milliseconds since the epoch; 0 before the first.
    pub last_evaluation_ms: i64,
    /// What an alerting rule has beside; `None` for a recording rule.
    pub alerting: Option<AlertingState>,
}

/// What an alerting rule has beside.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertingState {
    /// `inactive`, `pending` or `firing`: that of its furthest alert.
    pub state: &'static str,
    /// `for`, seconds.
    pub for_s: f64,
    /// `keep_firing_for`, seconds.
    pub keep_firing_for_s: f64,
    /// Annotations, before templates.
    pub annotations: LabelPairs,
    /// Its active alerts.
    pub alerts: Vec<AlertState>,
}

/// An active alert.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertState {
    /// Its labels, `alertname` among them.
    pub labels: LabelPairs,
    /// Annotations, after templates.
    pub annotations: LabelPairs,
    /// `pending` or `firing`.
    pub state: &'static str,
    /// Since when, milliseconds since the epoch.
    pub active_at_ms: i64,
    /// Since when it is only kept firing, milliseconds since the epoch.
    pub keep_firing_since_ms: Option<i64>,
    /// The expression's value.
    pub value: f64,
}

/// All targets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Targets {
    /// Those that are scraped.
    pub active: Vec<ActiveTarget>,
    /// Those that relabelling dropped: their pool and discovered labels. Not all of many.
    pub dropped: Vec<(String, LabelPairs)>,
    /// How many were dropped, by pool.
    pub dropped_counts: Vec<(String, u64)>,
}

/// A target that is scraped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActiveTarget {
    /// Labels before relabelling.
    pub discovered_labels: LabelPairs,
    /// Labels after relabelling.
    pub labels: LabelPairs,
    /// The job of the configuration.
    pub scrape_pool: String,
    /// What is asked.
    pub scrape_url: String,
    /// The same as others can reach it.
    pub global_url: String,
    /// Why the last scrape failed; empty where it did not.
    pub last_error: String,
    /// When it began, milliseconds since the epoch; 0 before the first.
    pub last_scrape_ms: i64,
    /// How long it took, seconds.
    pub last_scrape_s: f64,
    /// `up`, `down` or `unknown`.
    pub health: &'static str,
    /// How often, milliseconds.
    pub interval_ms: i64,
    /// How long it may take, milliseconds.
    pub timeout_ms: i64,
}
