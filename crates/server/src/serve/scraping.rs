//! The scraper as others see it: its counters as metrics, its targets for the API.

use throughline_api::metrics::{Family, label};
use throughline_api::states::{ActiveTarget, RuleGroup, StateSource, Targets};
use throughline_scrape::observed;
use throughline_scrape::{JobStats, Observer};

use super::rules::RuleStates;

/// The counters of all jobs.
pub fn families(stats: &[JobStats]) -> Vec<Family> {
    let of = |read: fn(&JobStats) -> u64| {
        stats.iter().map(|job| (label("job", &job.job), read(job) as f64)).collect::<Vec<_>>()
    };
    vec![
        Family::gauge("throughline_scrape_targets", "Targets that are scraped.", of(|job| job.targets)),
        Family::counter("throughline_scrape_scrapes_total", "Scrapes so far.", of(|job| job.scrapes)),
        Family::counter("throughline_scrape_failures_total", "Scrapes that failed.", of(|job| job.failures)),
        Family::counter(
            "throughline_scrape_samples_total",
            "Samples that relabelling left.",
            of(|job| job.samples),
        ),
        Family::counter(
            "throughline_scrape_rejected_samples_total",
            "Samples that the store's limits refused.",
            of(|job| job.rejected_samples),
        ),
        Family::counter(
            "throughline_scrape_store_failures_total",
            "Requests that the store did not take.",
            of(|job| job.store_failures),
        ),
    ]
}

/// What the API asks of other parts of the process.
pub struct States {
    /// Asks the scraper.
    pub scraper: Observer,
    /// Asks the rules, where there are any.
    pub rules: Option<RuleStates>,
}

impl StateSource for States {
    fn rule_groups(&self) -> Vec<RuleGroup> {
        self.rules.as_ref().map(StateSource::rule_groups).unwrap_or_default()
    }

    fn alertmanagers(&self) -> Vec<String> {
        self.rules.as_ref().map(StateSource::alertmanagers).unwrap_or_default()
    }

    fn targets(&self) -> Targets {
        let observed::Targets { active, dropped, dropped_counts } = self.scraper.targets();
        Targets {
            active: active.into_iter().map(active_target).collect(),
            dropped: dropped
                .into_iter()
                .map(|target| (target.scrape_pool, target.discovered_labels))
                .collect(),
            dropped_counts,
        }
    }
}

fn active_target(target: observed::ActiveTarget) -> ActiveTarget {
    let ms = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    ActiveTarget {
        discovered_labels: target.discovered_labels,
        labels: target.labels,
        scrape_pool: target.scrape_pool,
        scrape_url: target.scrape_url,
        global_url: target.global_url,
        last_error: target.last_error,
        last_scrape_ms: target.last_scrape.map_or(0, |ns| ns / 1_000_000),
        last_scrape_s: target.last_scrape_duration.as_secs_f64(),
        health: target.health.name(),
        interval_ms: ms(target.interval),
        timeout_ms: ms(target.timeout),
    }
}
