//! Labels, series and metadata: what there is, without samples.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use throughline_exec::{Labels, Matcher};
use throughline_model::point::{Histogram, Summary};
use throughline_store::snapshot::parts::{MetricPart, Payloads, PointColumns, PointWant, RunBounds};
use throughline_store::{Error, TimeRange};

use super::families::FamilySet;
use super::index::{KnownPart, Tables};
use super::select::{MetricSource, range_of, series_labels};
use super::translate::{Family, Form, Metadata};

/// Which series a listing is about.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Series that match all matchers of any of these; all series where there are none.
    pub selectors: Vec<Vec<Matcher>>,
    /// The first millisecond.
    pub start_ms: i64,
    /// The last millisecond.
    pub end_ms: i64,
}

/// How often names and values occur, for `status/tsdb`.
#[derive(Clone, Debug, Default)]
pub struct LabelValueCounts {
    /// How many series there are.
    pub series: u64,
    /// How many pairs of label and value.
    pub pairs: u64,
    /// Series of each metric.
    pub series_by_metric: Vec<(String, u64)>,
    /// Values of each label.
    pub values_by_label: Vec<(String, u64)>,
    /// Bytes of the values of each label.
    pub bytes_by_label: Vec<(String, u64)>,
    /// Series of each pair, as `name=value`.
    pub series_by_pair: Vec<(String, u64)>,
}

/// A family that a listing is about, with its rows in each part (by the part's place).
struct Listed {
    family: Family,
    rows: Vec<(usize, Vec<u32>)>,
}

/// The matchers of a selector that only the values of a dynamic label can decide.
fn dynamic_matchers<'a>(selector: &'a [Matcher], family: &Family) -> Vec<&'a Matcher> {
    let dynamic = family.form.dynamic_label();
    selector.iter().filter(|matcher| Some(matcher.name()) == dynamic).collect()
}

/// The families that match a selector and are in one of the parts, ascending.
fn matching(tables: &Tables, present: &FamilySet, selectors: &[Vec<Matcher>]) -> Vec<u32> {
    let mut families: Vec<u32> = match selectors {
        [] => tables.matching(&[]),
        selectors => selectors.iter().flat_map(|selector| tables.matching(selector)).collect(),
    };
    families.sort_unstable();
    families.dedup();
    families.retain(|family| present.has(*family));
    families
}

/// [`matching`] as a set.
fn matching_set(tables: &Tables, parts: &[KnownPart], selectors: &[Vec<Matcher>]) -> FamilySet {
    let present = tables.families_of(parts);
    if selectors.is_empty() {
        return present;
    }
    let mut set = FamilySet::default();
    selectors.iter().for_each(|selector| set.extend(tables.matching(selector)));
    set.intersect(&present);
    set
}

impl MetricSource {
    /// The names of labels, sorted.
    pub fn label_names(&self, listing: &Listing) -> Vec<String> {
        self.over(range_of(listing.start_ms, listing.end_ms), |tables, parts| {
            let set = matching_set(tables, parts, &listing.selectors);
            let occurs = |values: &BTreeMap<Box<str>, Vec<u32>>| values.values().any(|of| set.has_any(of));
            let names = tables.postings().iter().filter(|(_, values)| occurs(values));
            let mut names: BTreeSet<String> = names.map(|(name, _)| name.to_string()).collect();
            names.extend(tables.dynamic_labels(&set).map(str::to_owned));
            names.into_iter().collect()
        })
    }

    /// The values of a label, sorted.
    pub fn label_values(&self, name: &str, listing: &Listing) -> Vec<String> {
        let range = range_of(listing.start_ms, listing.end_ms);
        let mut values: Vec<String> = self.over(range, |tables, parts| {
            let set = matching_set(tables, parts, &listing.selectors);
            let values = tables.postings().get(name).into_iter().flatten();
            values.filter(|(_, families)| set.has_any(families)).map(|(value, _)| value.to_string()).collect()
        });
        if name == "le" || name == "quantile" {
            let of_name = |family: &Family| family.form.dynamic_label() == Some(name);
            let expanded = self.slowly(|| self.expand(listing, of_name, usize::MAX));
            values.extend(expanded.iter().map(|labels| labels.get(name).to_owned()));
            values.sort_unstable();
            values.dedup();
        }
        values
    }

    /// The labels of series, sorted; at most one over the limit, so that the asker sees that there are more.
    pub fn series(&self, listing: &Listing, limit: usize) -> Vec<Labels> {
        let mut out = self.expand(listing, |_| true, limit.saturating_add(1));
        // Only the series of histograms are not in order yet.
        if !out.is_sorted() {
            out.sort_unstable();
        }
        out.dedup();
        out
    }

    /// What is known of metrics by name: types, help and units, which may differ between senders.
    pub fn metadata(&self) -> BTreeMap<Arc<str>, Vec<Metadata>> {
        self.over(TimeRange::ALL, |tables, parts| tables.metadata(parts))
    }

    /// How often names and values occur, the most frequent first, at most `limit` of each.
    pub fn label_value_counts(&self, limit: usize) -> LabelValueCounts {
        self.over(TimeRange::ALL, |tables, parts| {
            let present = tables.families_of(parts);
            let mut counts = LabelValueCounts { series: present.len() as u64, ..LabelValueCounts::default() };
            for (name, values) in tables.postings() {
                let live = |families: &Vec<u32>| {
                    families.iter().filter(|family| present.has(**family)).count() as u64
                };
                let values: Vec<(&str, u64)> = values
                    .iter()
                    .map(|(value, families)| (&**value, live(families)))
                    .filter(|(_, n)| *n > 0)
                    .collect();
                counts.pairs += values.len() as u64;
                counts.values_by_label.push((name.to_string(), values.len() as u64));
                let bytes = values.iter().map(|(value, _)| value.len() as u64).sum();
                counts.bytes_by_label.push((name.to_string(), bytes));
                for (value, n) in values {
                    if &**name == "__name__" {
                        counts.series_by_metric.push((value.to_owned(), n));
                    }
                    counts.series_by_pair.push((format!("{name}={value}"), n));
                }
            }
            for list in [
                &mut counts.series_by_metric,
                &mut counts.values_by_label,
                &mut counts.bytes_by_label,
                &mut counts.series_by_pair,
            ] {
                list.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
                list.truncate(limit);
            }
            counts
        })
    }

    /// The labels of the series of the listed families that `wanted` takes; it may be cut short beyond the limit.
    fn expand(&self, listing: &Listing, wanted: impl Fn(&Family) -> bool, limit: usize) -> Vec<Labels> {
        let range = range_of(listing.start_ms, listing.end_ms);
        let (listed, parts) = self.over(range, |tables, parts| {
            let present = tables.families_of(parts);
            let mut families = matching(tables, &present, &listing.selectors);
            families.sort_unstable_by_key(|family| tables.place(*family));
            let entries = families.iter().filter_map(|family| tables.get(*family));
            let listed = entries.filter(|entry| wanted(&entry.family)).take(limit).map(|entry| {
                let is_dynamic = entry.family.form.dynamic_label().is_some();
                let rows = if is_dynamic {
                    let rows_in = |part: &KnownPart| {
                        let mut rows: Vec<u32> = entry.rows_in(part, &mut 0).collect();
                        rows.sort_unstable();
                        rows
                    };
                    let rows = parts.iter().enumerate().map(|(at, part)| (at, rows_in(part)));
                    rows.filter(|(_, rows)| !rows.is_empty()).collect()
                } else {
                    Vec::new()
                };
                Listed { family: entry.family.clone(), rows }
            });
            (listed.collect::<Vec<_>>(), parts.to_vec())
        });
        let mut out = Vec::with_capacity(listed.len());
        for listed in &listed {
            if out.len() >= limit {
                break;
            }
            if listed.family.form.dynamic_label().is_none() {
                out.push(listed.family.labels.clone());
                continue;
            }
            for value in self.slowly(|| self.dynamic_values(listed, &parts, range)) {
                let labels = series_labels(&listed.family, Some(value));
                let is_listed = listing.selectors.is_empty()
                    || listing
                        .selectors
                        .iter()
                        .any(|selector| selector.iter().all(|matcher| matcher.matches_labels(&labels)));
                if is_listed {
                    out.push(labels);
                }
            }
        }
        out
    }

    /// The values of the dynamic label of a family, as bits.
    fn dynamic_values(&self, listed: &Listed, parts: &[KnownPart], range: TimeRange) -> BTreeSet<u64> {
        let mut values = BTreeSet::new();
        for (at, rows) in &listed.rows {
            let Some(part) = parts.get(*at) else { continue };
            if let Err(error) = part.dynamic_values(listed.family.form, rows, range, &mut values) {
                self.note(vec![error.to_string()]);
            }
        }
        values
    }
}

impl KnownPart {
    fn dynamic_values(
        &self,
        form: Form,
        rows: &[u32],
        range: TimeRange,
        values: &mut BTreeSet<u64>,
    ) -> Result<(), Error> {
        for run in self.runs()?.iter() {
            let wanted: Vec<u32> = rows.iter().copied().filter(|row| run.series.contains(row)).collect();
            if wanted.is_empty() || !range.overlaps(run.min_time, run.max_time) {
                continue;
            }
            if let Some(bounds) = self.part.shared_bounds(run)? {
                values.extend(bounds.iter().chain([&f64::INFINITY]).map(|bound| bound.to_bits()));
                continue;
            }
            let columns = self.read_payloads(run, &wanted, range)?;
            for (_, range) in &columns.series {
                // The last point stands for all: bounds change with a deployment, not from point to point.
                let last = range.end.saturating_sub(1);
                values.extend(dynamic_values_of(&columns, form, last).into_iter().map(f64::to_bits));
            }
        }
        Ok(())
    }

    fn read_payloads(
        &self,
        run: &RunBounds,
        wanted: &[u32],
        range: TimeRange,
    ) -> Result<PointColumns, Error> {
        self.part.read_run(run, wanted, range, PointWant { start_times: false, payloads: true })
    }

    /// The bounds of the histogram of a row, for an exemplar: those of its run, or of its last point in the range.
    pub(super) fn bounds_of(&self, row: u32, range: TimeRange) -> Result<Vec<f64>, Error> {
        for run in self.runs()?.iter().filter(|run| run.series.contains(&row)) {
            if let MetricPart::Block(_) = self.part
                && let Some(bounds) = self.part.shared_bounds(run)?
            {
                return Ok(bounds);
            }
            let columns = self.read_payloads(run, &[row], range)?;
            if let Some((_, range)) = columns.series.first() {
                let last = range.end.saturating_sub(1);
                let mut bounds = dynamic_values_of(&columns, Form::Bucket, last);
                bounds.retain(|bound| bound.is_finite());
                return Ok(bounds);
            }
        }
        Ok(Vec::new())
    }
}

fn dynamic_values_of(columns: &PointColumns, form: Form, at: usize) -> Vec<f64> {
    match &columns.payloads {
        Payloads::Buckets { bounds, .. } => bounds.iter().copied().chain([f64::INFINITY]).collect(),
        Payloads::Raw(payloads) => {
            let payload = payloads.get(at);
            if form == Form::Quantile {
                let quantiles = Summary::decode(payload).map(|summary| summary.quantiles).unwrap_or_default();
                return quantiles.into_iter().map(|(quantile, _)| quantile).collect();
            }
            let bounds = Histogram::decode(payload).map(|histogram| histogram.bounds).unwrap_or_default();
            bounds.into_iter().chain([f64::INFINITY]).collect()
        }
        Payloads::None => Vec::new(),
    }
}

/// Whether the value of a dynamic label is one that some selector accepts.
pub(super) fn accepts(selectors: &[Vec<Matcher>], family: &Family, labels: &Labels) -> bool {
    selectors.iter().any(|selector| {
        let dynamic = dynamic_matchers(selector, family);
        dynamic.iter().all(|matcher| matcher.matches_labels(labels))
    })
}
