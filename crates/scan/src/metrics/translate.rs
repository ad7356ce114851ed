//! What a stored series is in Prometheus: names, labels and the forms in which its points are exposed.
//!
//! A stored histogram is several Prometheus series (`_bucket`, `_sum`, `_count`), which are never made before somebody
//! asks: a [`Family`] stands for the series of one form that differ at most in `le` or `quantile`.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};
use throughline_exec::{Labels, METRIC_NAME};
use throughline_model::attribute;
use throughline_model::point::{MetricType, PointKind};
use throughline_store::SeriesEntry;

use super::name::{self, Strategy};

/// The exponential histograms' range of scales that a native histogram has. Above it they are merged down.
pub(super) const SCALE_MIN: i32 = -4;

/// How a stored point becomes samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Form {
    /// The value as it is.
    Value,
    /// The cumulated counts of a histogram's buckets: one series per `le`.
    Bucket,
    /// The sum of a histogram or summary.
    Sum,
    /// The count of a histogram or summary.
    Count,
    /// The quantiles of a summary: one series per `quantile`.
    Quantile,
    /// An exponential histogram, as a native one.
    Exponential,
    /// A native histogram as Prometheus sent it.
    Native,
    /// 1, at times when the resource sent anything.
    TargetInfo,
}

impl Form {
    /// The label that tells the series of a family apart.
    pub(super) fn dynamic_label(self) -> Option<&'static str> {
        match self {
            Form::Bucket => Some("le"),
            Form::Quantile => Some("quantile"),
            _ => None,
        }
    }
}

/// The Prometheus series of one form: all labels but `le` or `quantile`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Family {
    pub(super) labels: Labels,
    pub(super) form: Form,
}

/// What a family's metadata says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Metadata {
    /// The metric's type.
    pub metric_type: MetricType,
    /// Its description.
    pub help: String,
    /// Its unit, as a word where it came over OTLP.
    pub unit: String,
}

/// How OTLP is translated; the defaults are Prometheus's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// How names are written.
    pub strategy: Strategy,
    /// Resource attributes that become labels of every series of the resource.
    pub promote_resource_attributes: Vec<String>,
    /// All resource attributes become labels.
    pub promote_all_resource_attributes: bool,
    /// `target_info` keeps `service.name`, `service.namespace` and `service.instance.id`.
    pub keep_identifying_resource_attributes: bool,
    /// The scope's name, version and attributes become labels `otel_scope_…`.
    pub promote_scope_metadata: bool,
}

/// A stored series translated.
#[derive(Debug)]
pub(super) struct Translated {
    /// The name that metadata goes by.
    pub(super) name: String,
    pub(super) families: Vec<Family>,
    pub(super) metadata: Metadata,
}

const IDENTIFYING: [&str; 3] = ["service.namespace", "service.name", "service.instance.id"];

/// Labels in the making: values of keys that become the same name are joined, as Prometheus does.
#[derive(Default)]
struct Building(BTreeMap<String, String>);

impl Building {
    fn join(&mut self, name: &str, value: &str) {
        if name == METRIC_NAME || name.is_empty() {
            return;
        }
        match self.0.get_mut(name) {
            Some(known) => {
                known.push(';');
                known.push_str(value);
            }
            None => {
                self.0.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    fn labels(&self, metric: &str) -> Labels {
        let pairs = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Labels::from_pairs(pairs.chain([(METRIC_NAME, metric)]))
    }
}

fn text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Translation {
    /// Translates a stored series. `resource` is its resource, parsed.
    pub(super) fn series(&self, series: &SeriesEntry, resource: &Map<String, Json>) -> Translated {
        let metric_type = series.metric_type;
        if matches!(series.kind, PointKind::Sample | PointKind::NativeHistogram) {
            return verbatim(series, metric_type);
        }
        let name = name::metric(&series.metric, &series.unit, metric_type, self.strategy);
        let labels = self.labels(series, resource);
        let family = |suffix: &str, form| Family { labels: labels.labels(&format!("{name}{suffix}")), form };
        let families = match series.kind {
            PointKind::Histogram => {
                vec![
                    family("_bucket", Form::Bucket),
                    family("_sum", Form::Sum),
                    family("_count", Form::Count),
                ]
            }
            PointKind::Summary => {
                vec![family("", Form::Quantile), family("_sum", Form::Sum), family("_count", Form::Count)]
            }
            PointKind::ExponentialHistogram => vec![family("", Form::Exponential)],
            _ => vec![family("", Form::Value)],
        };
        let unit = name::unit(&series.unit, self.strategy);
        Translated {
            name,
            families,
            metadata: Metadata { metric_type, help: series.description.to_string(), unit },
        }
    }

    fn labels(&self, series: &SeriesEntry, resource: &Map<String, Json>) -> Building {
        let mut building = Building::default();
        let list = series.attributes.list();
        let mut attributes: Vec<(&str, attribute::Value<'_>)> = attribute::iter(&list).collect();
        attributes.sort_by_key(|(key, _)| *key);
        for (key, value) in attributes {
            building.join(&name::label(key, self.strategy), &value.to_text());
        }
        let promoted = resource.iter().filter(|(key, _)| {
            self.promote_all_resource_attributes || self.promote_resource_attributes.contains(key)
        });
        for (key, value) in promoted {
            let name = name::label(key, self.strategy);
            if !building.0.contains_key(&*name) {
                building.join(&name, &text(value));
            }
        }
        if self.promote_scope_metadata {
            self.scope_labels(series, &mut building);
        }
        for (name, value) in job_and_instance(resource) {
            building.0.insert(name.to_owned(), value);
        }
        building
    }

    fn scope_labels(&self, series: &SeriesEntry, building: &mut Building) {
        let scope: Map<String, Json> = serde_json::from_str(&series.scope).unwrap_or_default();
        for (key, value) in &scope {
            match (key.as_str(), value) {
                ("attributes", Json::Object(attributes)) => {
                    for (key, value) in attributes {
                        let name = name::label(key, self.strategy);
                        building.0.insert(format!("otel_scope_{name}"), text(value));
                    }
                }
                ("name" | "version" | "schema_url", value) => {
                    building.0.insert(format!("otel_scope_{key}"), text(value));
                }
                _ => {}
            }
        }
    }

    /// The `target_info` of a resource, where it says more than who it is.
    pub(super) fn target_info(&self, resource: &Map<String, Json>) -> Option<Family> {
        let mut building = Building::default();
        let mut says_more = false;
        for (key, value) in resource {
            let identifies = IDENTIFYING.contains(&key.as_str());
            says_more |= !identifies;
            if !identifies || self.keep_identifying_resource_attributes {
                building.join(&name::label(key, self.strategy), &text(value));
            }
        }
        let identity = job_and_instance(resource);
        if !says_more || identity.is_empty() {
            return None;
        }
        building.0.extend(identity.into_iter().map(|(name, value)| (name.to_owned(), value)));
        Some(Family { labels: building.labels("target_info"), form: Form::TargetInfo })
    }
}

/// `job` and `instance` of a resource, each where its source is there.
fn job_and_instance(resource: &Map<String, Json>) -> Vec<(&'static str, String)> {
    let get = |key: &str| resource.get(key).map(text).filter(|text| !text.is_empty());
    let job = get("service.name").map(|name| match get("service.namespace") {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name,
    });
    let instance = get("service.instance.id");
    job.map(|job| ("job", job)).into_iter().chain(instance.map(|id| ("instance", id))).collect()
}

/// A series that came with Prometheus's own name and labels.
fn verbatim(series: &SeriesEntry, metric_type: MetricType) -> Translated {
    let attributes: Vec<(String, String)> = attribute::iter(&series.attributes.list())
        .map(|(key, value)| (key.to_owned(), value.to_text()))
        .collect();
    let pairs = attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let labels = Labels::from_pairs(pairs.chain([(METRIC_NAME, &*series.metric)]));
    let form = if series.kind == PointKind::NativeHistogram { Form::Native } else { Form::Value };
    let parts: &[&str] = match metric_type {
        MetricType::Histogram | MetricType::GaugeHistogram => {
            &["_bucket", "_sum", "_count", "_gcount", "_gsum"]
        }
        MetricType::Summary => &["_sum", "_count"],
        _ => &[],
    };
    let name = parts.iter().find_map(|part| series.metric.strip_suffix(part)).unwrap_or(&series.metric);
    Translated {
        name: name.to_owned(),
        families: vec![Family { labels, form }],
        metadata: Metadata {
            metric_type,
            help: series.description.to_string(),
            unit: series.unit.to_string(),
        },
    }
}
