//! Templates of labels and annotations: what they see, and Prometheus' functions for them.

pub(crate) mod functions;
mod humanize;

use std::collections::BTreeMap;

use throughline_template::{Functions, Limits, Opaque, Template, Value};

use crate::sample::{Number, Querier, Sample};

/// What comes before every text: short names for what it sees.
const DEFINITIONS: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
                           {{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// Where a template is expanded.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// For the function `query`; none while a template is only checked.
    pub querier: Option<&'a dyn Querier>,
    /// The time of the evaluation.
    pub time_ms: i64,
    /// The server's address for people.
    pub external_url: &'a str,
    /// The server's own labels.
    pub external_labels: &'a BTreeMap<String, String>,
}

/// Expands the templates of one rule.
pub struct Expander<'a> {
    name: String,
    functions: Functions<'a>,
    surroundings: Surroundings<'a>,
}

impl<'a> Expander<'a> {
    pub fn new(alert: &str, surroundings: Surroundings<'a>) -> Expander<'a> {
        Expander {
            name: format!("__alert_{alert}"),
            functions: functions::functions(surroundings),
            surroundings,
        }
    }

    /// What a template sees of a sample.
    pub fn data(&self, sample: &Sample) -> Value {
        let external = self.surroundings.external_labels;
        let external = external.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Value::record(
            "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }",
            [
                ("Labels", Value::text_map(sample.labels.iter())),
                ("ExternalLabels", Value::text_map(external)),
                ("ExternalURL", Value::text(self.surroundings.external_url)),
                ("Value", number(&sample.value)),
            ],
        )
    }

    /// A text; an error becomes part of it, because an alert with half a description is better than none.
    pub fn expand(&self, text: &str, data: &Value) -> String {
        if !text.contains("{{") {
            return text.to_owned();
        }
        let name = &self.name;
        let text = format!("{DEFINITIONS}{text}");
        let expanded = match Template::parse(name, &text, &self.functions) {
            Err(error) => Err(format!("error parsing template {name}: {error}")),
            Ok(template) => template
                .execute(data, &self.functions, &Limits::default())
                .map_err(|error| format!("error executing template {name}: {error}")),
        };
        expanded.unwrap_or_else(|error| format!("<error expanding template: {error}>"))
    }
}

/// What is wrong with a text as a template.
pub fn check(alert: &str, text: &str) -> Result<(), String> {
    let external_labels = BTreeMap::new();
    let surroundings =
        Surroundings { querier: None, time_ms: 0, external_url: "", external_labels: &external_labels };
    let expander = Expander::new(alert, surroundings);
    let parsed = Template::parse(&expander.name, &format!("{DEFINITIONS}{text}"), &expander.functions);
    parsed.map(|_| ()).map_err(|error| error.to_string())
}

/// The value of a sample as templates have it.
fn number(value: &Number) -> Value {
    match value {
        Number::Float(value) => Value::Float(*value),
        Number::Histogram(histogram) => Value::Opaque(std::sync::Arc::new(Opaque {
            type_name: "*histogram.FloatHistogram",
            text: histogram.to_string(),
        })),
    }
}

#[cfg(test)]
mod tests;
