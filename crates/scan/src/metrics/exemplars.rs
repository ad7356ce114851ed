//! Exemplars of Prometheus series.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use throughline_exec::{Budget, ExecError, Labels, Matcher};
use throughline_model::TraceId;
use throughline_model::link::LinkState;
use throughline_model::record::Exemplar;
use throughline_store::TimeRange;

use super::index::KnownPart;
use super::listing::accepts;
use super::name::{Strategy, label};
use super::select::{MetricSource, range_of, series_labels};
use super::translate::{Family, Form};

/// What the labels of an exemplar have at most, in characters: OpenMetrics' limit. Beyond it only the ids stay.
const LABEL_CHARACTERS_MAX: usize = 128;

/// An exemplar as Prometheus has it.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundExemplar {
    /// `trace_id`, `span_id` and the attributes that the series does not have.
    pub labels: Vec<(String, String)>,
    /// The measured value.
    pub value: f64,
    /// Milliseconds since the epoch.
    pub time_ms: i64,
    /// The exemplar as it is stored.
    pub record: Exemplar,
}

/// The exemplars of one series, in time order.
#[derive(Clone, Debug, PartialEq)]
pub struct ExemplarSeries {
    /// The series.
    pub labels: Labels,
    /// Its exemplars.
    pub exemplars: Vec<FoundExemplar>,
}

impl MetricSource {
    /// The exemplars of the series that match any of the selectors, within the window (milliseconds, both ends within).
    /// A histogram's exemplar belongs to the first bucket whose bound is not below its value.
    pub fn exemplars(
        &self,
        selectors: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
        budget: &Budget,
    ) -> Result<Vec<ExemplarSeries>, ExecError> {
        let range = range_of(start_ms, end_ms);
        let chosen: Vec<(KnownPart, BTreeMap<u32, Family>)> = self.over(range, |tables, parts| {
            let mut families: Vec<u32> = selectors.iter().flat_map(|s| tables.matching(s)).collect();
            families.sort_unstable();
            families.dedup();
            let mut chosen: Vec<(KnownPart, BTreeMap<u32, Family>)> =
                parts.iter().map(|part| (part.clone(), BTreeMap::new())).collect();
            for entry in families.iter().filter_map(|family| tables.get(*family)) {
                if matches!(entry.family.form, Form::Sum | Form::Count | Form::Quantile | Form::TargetInfo) {
                    continue;
                }
                for (part, rows) in &mut chosen {
                    rows.extend(entry.rows_in(part, &mut 0).map(|row| (row, entry.family.clone())));
                }
            }
            chosen
        });
        let mut out: BTreeMap<Labels, Vec<FoundExemplar>> = BTreeMap::new();
        for (part, rows) in chosen.iter().filter(|(_, rows)| !rows.is_empty()) {
            budget.check()?;
            if let Err(error) = exemplars_of_part(part, rows, range, selectors, &mut out) {
                self.note(vec![error.to_string()]);
            }
        }
        Ok(out
            .into_iter()
            .map(|(labels, exemplars)| ExemplarSeries { labels, exemplars: in_order(exemplars) })
            .collect())
    }
}

impl MetricSource {
    /// What became of the trace that an exemplar leads to; none where that cannot be read.
    pub fn link_state(&self, trace: TraceId) -> Option<LinkState> {
        self.snapshot.link_state(trace).map_err(|error| self.note(vec![error.to_string()])).ok()
    }
}

fn in_order(mut exemplars: Vec<FoundExemplar>) -> Vec<FoundExemplar> {
    exemplars.sort_by(|a, b| (a.record.time, &a.labels).cmp(&(b.record.time, &b.labels)));
    exemplars.dedup_by(|a, b| a.record.time == b.record.time && a.labels == b.labels && a.value == b.value);
    exemplars
}

fn exemplars_of_part(
    part: &KnownPart,
    rows: &BTreeMap<u32, Family>,
    range: TimeRange,
    selectors: &[Vec<Matcher>],
    out: &mut BTreeMap<Labels, Vec<FoundExemplar>>,
) -> Result<(), throughline_store::Error> {
    let wanted: Vec<u32> = rows.keys().copied().collect();
    let mut bounds: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for found in part.part.exemplars(&wanted, range)? {
        let Some(family) = rows.get(&found.series) else { continue };
        let labels = if family.form == Form::Bucket {
            let bounds = match bounds.entry(found.series) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(part.bounds_of(found.series, TimeRange::ALL)?),
            };
            let bound =
                bounds.iter().copied().find(|bound| *bound >= found.record.value).unwrap_or(f64::INFINITY);
            series_labels(family, Some(bound.to_bits()))
        } else {
            family.labels.clone()
        };
        if family.form.dynamic_label().is_some() && !accepts(selectors, family, &labels) {
            continue;
        }
        let exemplar = FoundExemplar {
            labels: exemplar_labels(&found.record),
            value: found.record.value,
            time_ms: found.record.time.div_euclid(1_000_000),
            record: found.record,
        };
        out.entry(labels).or_default().push(exemplar);
    }
    Ok(())
}

fn exemplar_labels(exemplar: &Exemplar) -> Vec<(String, String)> {
    let mut labels: Vec<(String, String)> = Vec::new();
    match (&exemplar.trace_id, &exemplar.trace_id_original) {
        (Some(id), _) => labels.push(("trace_id".to_owned(), id.to_string())),
        (None, Some(original)) => labels.push(("trace_id".to_owned(), original.clone())),
        (None, None) => {}
    }
    labels.extend(exemplar.span_id.as_ref().map(|id| ("span_id".to_owned(), id.to_string())));
    let attributes = exemplar.attributes.iter().map(|(key, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (label(key, Strategy::default()).into_owned(), text)
    });
    let attributes: Vec<(String, String)> =
        attributes.filter(|(name, _)| !labels.iter().any(|(known, _)| known == name)).collect();
    let characters = |labels: &[(String, String)]| -> usize {
        labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum()
    };
    if characters(&labels) + characters(&attributes) <= LABEL_CHARACTERS_MAX {
        labels.extend(attributes);
    }
    labels
}
