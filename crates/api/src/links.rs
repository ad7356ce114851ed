//! The link ledger: `links`, and the gauges `throughline_links`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Query, State};
use serde::Serialize;
use throughline_model::link::{LinkKind, LinkState};
use throughline_store::links::EXAMPLES_MAX;
use throughline_store::{KindCount, LinkQuery, LinkReport, Snapshot, TimeRange};

use crate::Api;
use crate::metrics::{Family, label};
use crate::native::{Answer, HOUR_NS};
use crate::params::Params;

/// The gauges are of the references of so many nanoseconds until now: an hour.
const GAUGE_RANGE_NS: i64 = HOUR_NS;

/// How old the gauges may be: half of what servers are scraped at most, so that counting costs nothing that is noticed.
const GAUGE_AGE_NS: i64 = 15_000_000_000;

#[derive(Serialize)]
struct LinksAnswer {
    range: TimeRange,
    /// Over all services.
    kinds: Vec<KindCount>,
    /// By service and kind: how many references there are and how many of them hold.
    services: Vec<ServiceLinks>,
    partial: Vec<String>,
}

#[derive(Serialize)]
struct ServiceLinks {
    service: String,
    kind: LinkKind,
    total: u64,
    /// How many are in each state.
    states: BTreeMap<String, u64>,
}

fn by_service(report: &LinkReport) -> Vec<ServiceLinks> {
    let mut services: BTreeMap<(&str, LinkKind), BTreeMap<String, u64>> = BTreeMap::new();
    for of in &report.counts {
        let states = services.entry((&of.service, of.kind)).or_default();
        *states.entry(of.state.clone()).or_default() += of.count;
    }
    let of = |((service, kind), states): ((&str, LinkKind), BTreeMap<String, u64>)| ServiceLinks {
        service: service.to_owned(),
        kind,
        total: states.values().sum(),
        states,
    };
    services.into_iter().map(of).collect()
}

pub(crate) async fn links(State(api): State<Api>, Query(pairs): Query<Vec<(String, String)>>) -> Answer {
    let params = Params::new(pairs, &["service", "start", "end"], api.now())?;
    let range = params.range(HOUR_NS)?;
    let query = LinkQuery { range, service: params.owned("service"), examples: EXAMPLES_MAX };
    api.ask(move |snapshot| {
        let report = snapshot.links(&query)?;
        let (kinds, services) = (report.kinds(), by_service(&report));
        Ok(LinksAnswer { range, kinds, services, partial: report.partial })
    })
    .await
}

/// When references were counted, nanoseconds since the epoch, and what came of it.
type Counted = (i64, Arc<LinkReport>);

/// The gauges as they were counted last.
#[derive(Clone, Default)]
pub(crate) struct Gauges {
    last: Arc<Mutex<Option<Counted>>>,
}

impl Gauges {
    /// `throughline_links` by kind and state: all of them, so that a ratio of two has both.
    pub(crate) fn families(&self, snapshot: impl FnOnce() -> Snapshot) -> Vec<Family> {
        let snapshot = snapshot();
        let report = self.report(&snapshot);
        let mut samples = Vec::new();
        for kind in LinkKind::ALL {
            for state in LinkState::NAMES {
                let labels = format!("{},{}", label("kind", kind.name()), label("state", state));
                samples.push((labels, report.count(kind, state) as f64));
            }
        }
        let help = "References of the last hour, by kind and by the state of what they refer to.";
        vec![
            Family::gauge("throughline_links", help, samples),
            Family::value(
                "throughline_links_uncounted",
                "Reasons why throughline_links lacks something; the links question says which.",
                report.partial.len() as f64,
            ),
        ]
    }

    fn report(&self, snapshot: &Snapshot) -> Arc<LinkReport> {
        let now = snapshot.taken_at();
        // Who comes meanwhile waits for the same count.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, report)) = &*last
            && (0..GAUGE_AGE_NS).contains(&(now - at))
        {
            return report.clone();
        }
        let range = TimeRange { start: now.saturating_sub(GAUGE_RANGE_NS), end: now };
        let query = LinkQuery { range, service: None, examples: 0 };
        let report = snapshot
            .links(&query)
            .unwrap_or_else(|error| LinkReport { counts: Vec::new(), partial: vec![error.to_string()] });
        let report = Arc::new(report);
        *last = Some((now, report.clone()));
        report
    }
}
