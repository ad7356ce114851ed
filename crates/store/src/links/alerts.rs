//! The traces that alerts cite: by a label of the series `ALERTS`, and by exemplars of it, which rules write when an alert begins
//! to fire. One answer for whoever counts these references and whoever holds what they name.

use throughline_model::TraceId;
use throughline_model::record::Series;

use crate::error::Error;
use crate::snapshot::{SeriesQuery, Snapshot, TimeRange};

/// The series that rules write of alerts.
pub(crate) const ALERTS: &str = "ALERTS";

/// Labels of an alert that name a trace.
const LABELS: [&str; 4] = ["trace_id", "traceId", "traceID", "traceid"];

/// Series of alerts, and exemplars of them, that are looked at.
const ALERTS_MAX: usize = 10_000;

/// Alerts with a trace among their labels: a label that differs from alert to alert is a mistake in a rule.
const LABELLED_MAX: usize = 1_000;

/// A trace that an alert names.
pub(crate) struct Citation {
    /// The service in the alert's labels; empty where they name none.
    pub(crate) service: String,
    /// When, nanoseconds since the epoch: of a label the last time at which the alert was there.
    pub(crate) time: i64,
    /// The trace, or the text that is no id.
    pub(crate) to: Result<TraceId, String>,
}

/// What alerts cite within a time, and why that may not be all.
pub(crate) fn citations(
    snapshot: &Snapshot,
    range: TimeRange,
) -> Result<(Vec<Citation>, Vec<String>), Error> {
    let query = SeriesQuery {
        range,
        metric: Some(ALERTS.to_owned()),
        service: None,
        attributes: Vec::new(),
        limit: ALERTS_MAX,
    };
    let mut out = Vec::new();
    let found = snapshot.series(&query)?;
    let mut partial = found.partial;
    let label_of = |series: &Series| {
        LABELS.iter().find_map(|name| Some((*name, series.attributes.get(*name)?.as_str()?.to_owned())))
    };
    let labelled: Vec<(Series, (&str, String))> = (found.items.into_iter())
        .filter_map(|series| {
            let label = label_of(&series)?;
            Some((series, label))
        })
        .collect();
    if labelled.len() > LABELLED_MAX {
        partial.push(format!(
            "{} alerts with a trace among their labels are left out: more than {LABELLED_MAX} would have to be read",
            labelled.len() - LABELLED_MAX
        ));
    }
    for (series, (name, text)) in labelled.into_iter().take(LABELLED_MAX) {
        // Only of these the points are read: of alerts without such a label they say nothing of traces.
        let of_label = SeriesQuery { attributes: vec![(name.to_owned(), text.clone())], ..query.clone() };
        let found = snapshot.points(&of_label)?.items.into_iter().filter(|(of, _)| *of == series);
        let last = found.filter_map(|(_, points)| points.last().map(|point| point.time)).max();
        let to = TraceId::parse(&text).map(|(id, _)| id).ok_or(text);
        out.extend(last.map(|time| Citation { service: series.service, time, to }));
    }
    let found = snapshot.unlinked_exemplars(&query);
    partial.extend(found.partial);
    for exemplar in found.items {
        let to = exemplar.trace_id.ok_or(exemplar.trace_id_original.unwrap_or_default());
        out.push(Citation { service: exemplar.service, time: exemplar.time, to });
    }
    Ok((out, partial))
}
