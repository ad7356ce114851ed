//! Which alerts were firing, from the series that rules write: `ALERTS{alertstate="firing"}`.

use crate::error::Error;
use crate::snapshot::{SeriesQuery, Snapshot, TimeRange};

/// An alert without a sample for so long was not firing in between: the lookback of queries.
const GAP_NS: i64 = 300_000_000_000;

/// Alerts that are looked at.
const ALERTS_MAX: usize = 10_000;

/// An alert that was firing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Firing {
    /// The service in its labels; empty where they name none, and then it is of all.
    service: String,
    from: i64,
    to: i64,
}

/// The alerts that were firing between two times.
pub(super) fn firing(snapshot: &Snapshot, min_time: i64, max_time: i64) -> Result<Vec<Firing>, Error> {
    let range = TimeRange { start: min_time.saturating_sub(GAP_NS), end: max_time.saturating_add(GAP_NS) };
    let query = SeriesQuery {
        range,
        metric: Some("ALERTS".to_owned()),
        service: None,
        attributes: vec![("alertstate".to_owned(), "firing".to_owned())],
        limit: ALERTS_MAX,
    };
    let mut out = Vec::new();
    for (series, points) in snapshot.points(&query)?.items {
        let times: Vec<i64> = points.iter().map(|point| point.time).collect();
        for run in times.chunk_by(|a, b| b.saturating_sub(*a) <= GAP_NS) {
            if let (Some(from), Some(to)) = (run.first(), run.last()) {
                out.push(Firing { service: series.service.clone(), from: *from, to: *to });
            }
        }
    }
    Ok(out)
}

/// Whether one of the alerts was firing from one time to another, and is of a service that took part or of no service.
pub(super) fn is_alerted(
    firing: &[Firing],
    (start, end): (i64, i64),
    took_part: impl Fn(&str) -> bool,
) -> bool {
    firing.iter().any(|alert| {
        let is_during = alert.from <= end && start <= alert.to;
        is_during && (alert.service.is_empty() || took_part(&alert.service))
    })
}
