//! `series`, `labels`, `label/{name}/values`, `metadata` and `status/tsdb`.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value as Json, json};
use throughline_exec::{Labels, Matcher};
use throughline_scan::metrics::{LabelValueCounts, Listing, Metadata, MetricSource};

use super::params::Params;
use super::query::listed;
use super::reply::{Notes, Refusal, closed, opened};
use super::{LISTED_MAX, Prometheus, WRITTEN_MAX, values};

/// Series in one answer where no limit is given: about 100 MB of JSON.
const SERIES_MAX: usize = 500_000;

/// Entries of each list of `status/tsdb`: by default, and at most.
const TSDB_LIMIT: (usize, usize) = (10, 10_000);

const TRUNCATED: &str = "results truncated due to limit";

/// What is asked for. A window that ends before it starts has nothing in it.
fn listing(params: &Params, selectors: Vec<Vec<Matcher>>) -> Result<Listing, Refusal> {
    let start_ms = params.time_ms("start")?.unwrap_or(i64::MIN);
    let end_ms = params.time_ms("end")?.unwrap_or(i64::MAX);
    Ok(Listing { selectors, start_ms, end_ms })
}

/// Cuts a list and says so.
fn cut(items: &mut Vec<String>, limit: Option<usize>, partial: &mut Vec<String>) {
    if let Some(limit) = limit.filter(|limit| items.len() > *limit) {
        items.truncate(limit);
        partial.push(TRUNCATED.to_owned());
    }
}

pub(super) async fn series(
    State(prometheus): State<Prometheus>,
    params: Params,
) -> Result<Response, Refusal> {
    let selectors = params.required_selectors()?;
    let limit = params.limit()?.unwrap_or(SERIES_MAX);
    let listing = listing(&params, selectors)?;
    let ask = move |source: &MetricSource, listing: &Listing| {
        let series = source.series(listing, limit);
        (written(series.get(..limit).unwrap_or(&series)), series.len() > limit)
    };
    let ((body, is_cut), mut partial) = prometheus.list(listing, WRITTEN_MAX, ask).await?;
    partial.extend(is_cut.then(|| TRUNCATED.to_owned()));
    Ok(closed(body, &Notes { warnings: partial, ..Notes::default() }))
}

fn written(series: &[Labels]) -> Vec<u8> {
    let mut out = opened(series.iter().map(|labels| labels.text().len() + 64).sum());
    out.push(b'[');
    for (at, labels) in series.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        values::put_labels(&mut out, labels);
    }
    out.push(b']');
    out
}

pub(super) async fn labels(
    State(prometheus): State<Prometheus>,
    params: Params,
) -> Result<Response, Refusal> {
    let limit = params.limit()?;
    let listing = listing(&params, params.selectors()?)?;
    let (mut names, mut partial) =
        prometheus.list(listing, LISTED_MAX, |source, listing| source.label_names(listing)).await?;
    cut(&mut names, limit, &mut partial);
    Ok(listed(&names, partial))
}

pub(super) async fn label_values(
    State(prometheus): State<Prometheus>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, Refusal> {
    let name = unescaped(&name);
    if name.is_empty() {
        return Err(Refusal::bad_data(format!("invalid label name: {name:?}")));
    }
    let limit = params.limit()?;
    let listing = listing(&params, params.selectors()?)?;
    let ask = move |source: &MetricSource, listing: &Listing| source.label_values(&name, listing);
    let (mut values, mut partial) = prometheus.list(listing, LISTED_MAX, ask).await?;
    cut(&mut values, limit, &mut partial);
    Ok(listed(&values, partial))
}

/// A label name from its form in a path: `U__http_2e_status` is `http.status`.
fn unescaped(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else { return name.to_owned() };
    let (mut out, mut rest) = (String::new(), escaped);
    while let Some(at) = rest.find('_') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let after = after.get(1..).unwrap_or_default();
        if let Some(more) = after.strip_prefix('_') {
            out.push('_');
            rest = more;
            continue;
        }
        let code = after.split_once('_').and_then(|(hex, more)| {
            let code = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32)?;
            Some((code, more))
        });
        // What is no escape was never escaped.
        let Some((character, more)) = code else { return name.to_owned() };
        out.push(character);
        rest = more;
    }
    out + rest
}

pub(super) async fn metadata(
    State(prometheus): State<Prometheus>,
    params: Params,
) -> Result<Response, Refusal> {
    let limit = params.at_most("limit")?;
    let per_metric = Some(params.at_most("limit_per_metric")?).filter(|n| *n > 0).unwrap_or(usize::MAX);
    let metric = params.text("metric").filter(|name| !name.is_empty()).map(str::to_owned);
    let (metadata, partial) = prometheus.ask(|source, _| Ok(source.metadata())).await?;
    // Of a metric about which no sender said anything there is no metadata.
    let is_known = |all: &[Metadata]| all.iter().any(|one| *one != Metadata::default());
    let wanted = metadata
        .iter()
        .filter(|(name, all)| metric.as_deref().is_none_or(|wanted| wanted == &***name) && is_known(all));
    let data: BTreeMap<&str, Vec<Json>> = wanted
        .take(limit)
        .map(|(name, all)| {
            let all = all
                .iter()
                .take(per_metric)
                .map(|one| json!({ "type": one.metric_type.name(), "help": one.help, "unit": one.unit }));
            (&**name, all.collect())
        })
        .collect();
    Ok(listed(&data, partial))
}

pub(super) async fn tsdb(State(prometheus): State<Prometheus>, params: Params) -> Result<Response, Refusal> {
    let limit = params.text("limit").filter(|text| !text.is_empty());
    let limit = limit.map_or(Some(TSDB_LIMIT.0), |text| text.parse().ok().filter(|limit| *limit > 0));
    let limit = limit.ok_or_else(|| Refusal::bad_data("limit must be a positive number"))?;
    if limit > TSDB_LIMIT.1 {
        return Err(Refusal::bad_data(format!("limit must not exceed {}", TSDB_LIMIT.1)));
    }
    let (counts, partial) = prometheus.ask(move |source, _| Ok(source.label_value_counts(limit))).await?;
    let LabelValueCounts { series, pairs, series_by_metric, values_by_label, bytes_by_label, series_by_pair } =
        counts;
    let stats = |list: Vec<(String, u64)>| -> Vec<Json> {
        list.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
    };
    let bounds = prometheus.time_bounds_ms();
    let data = json!({
        "headStats": {
            "numSeries": series,
            "numLabelPairs": pairs,
            "chunkCount": 0,
            "minTime": bounds.0,
            "maxTime": bounds.1,
        },
        "seriesCountByMetricName": stats(series_by_metric),
        "labelValueCountByLabelName": stats(values_by_label),
        "memoryInBytesByLabelName": stats(bytes_by_label),
        "seriesCountByLabelValuePair": stats(series_by_pair),
    });
    Ok(listed(&data, partial))
}

#[cfg(test)]
mod tests {
    use super::unescaped;

    #[test]
    fn label_names_in_paths_are_unescaped() {
        assert_eq!(unescaped("job"), "job");
        assert_eq!(unescaped("U__http_2e_status"), "http.status");
        assert_eq!(unescaped("U__a__b"), "a_b");
        assert_eq!(unescaped("U__broken_zz"), "U__broken_zz");
        assert_eq!(unescaped("U___e4_ther"), "äther");
    }
}
