//! Templates of lines and labels: Go's, over the labels of a row.
//!
//! A template that is made of text and fields alone is put together directly; any other is executed, with only the labels that it
//! asks for.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use throughline_template::{Functions, Limits, Template, Value};

use super::labels::RowLabels;
use super::symbols::{ERROR, ERROR_DETAILS, Symbol, Symbols};
use crate::functions::{self, Surroundings};

/// What one template may use up for one row: a line is some kilobytes.
const LIMITS: Limits = Limits { output_bytes: 1 << 20, value_bytes: 4 << 20, steps: 100_000 };

/// The functions of templates, to check names with; what they are called with does not matter.
static NAMES: LazyLock<Functions<'static>> = LazyLock::new(|| functions::functions(&Arc::default()));

/// A template as a query has it.
#[derive(Debug)]
pub struct LineTemplate {
    text: String,
    template: Template,
    fields: Option<BTreeSet<String>>,
    /// Text and fields, if there is nothing else.
    simple: Option<Vec<Part>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(String),
}

impl LineTemplate {
    /// Parses the text of a template of lines.
    pub fn new(text: &str) -> Result<LineTemplate, String> {
        LineTemplate::named("line", text)
    }

    /// Parses the text of a template of labels.
    pub fn of_label(text: &str) -> Result<LineTemplate, String> {
        LineTemplate::named("label", text)
    }

    /// The name is part of what is said when something is wrong.
    fn named(name: &str, text: &str) -> Result<LineTemplate, String> {
        let template = Template::parse(name, text, &NAMES).map_err(|error| error.to_string())?;
        let fields = template
            .fields()
            .map(|fields| fields.into_iter().map(str::to_owned).collect::<BTreeSet<String>>());
        Ok(LineTemplate { text: text.to_owned(), template, fields, simple: simple(text) })
    }

    /// As written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The labels that it asks for, or nothing if that may be any.
    #[must_use]
    pub fn fields(&self) -> Option<&BTreeSet<String>> {
        self.fields.as_ref()
    }

    /// Whether the line is part of the output.
    #[must_use]
    pub fn needs_line(&self) -> bool {
        self.text.contains("__line__")
    }
}

/// Text between `{{.field}}`s; nothing if there is any other action.
fn simple(text: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, action)) = rest.split_once("{{") {
        let (action, after) = action.split_once("}}")?;
        let name = action.trim_matches(' ').strip_prefix('.')?;
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if !first || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return None;
        }
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        parts.push(Part::Field(name.to_owned()));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Some(parts)
}

/// A template in a pipeline.
#[derive(Debug)]
pub(crate) struct Bound {
    template: Arc<LineTemplate>,
    /// Of [`LineTemplate::fields`].
    fields: Vec<Symbol>,
    simple: Option<Vec<BoundPart>>,
    needs_line: bool,
}

#[derive(Debug)]
enum BoundPart {
    Text(String),
    Field(Symbol),
}

impl Bound {
    pub(crate) fn new(template: &Arc<LineTemplate>, symbols: &mut Symbols) -> Bound {
        let fields = template.fields.iter().flatten().map(|name| symbols.intern(name)).collect();
        let simple = template.simple.as_ref().map(|parts| {
            let bind = |part: &Part| match part {
                Part::Text(text) => BoundPart::Text(text.clone()),
                Part::Field(name) => BoundPart::Field(symbols.intern(name)),
            };
            parts.iter().map(bind).collect()
        });
        Bound { template: template.clone(), fields, simple, needs_line: template.needs_line() }
    }

    /// Appends the output for a row.
    pub(crate) fn execute(
        &self,
        labels: &RowLabels,
        symbols: &Symbols,
        functions: &Functions<'_>,
        row: RowText<'_>,
        out: &mut String,
    ) -> Result<(), String> {
        if let Some(parts) = &self.simple {
            for part in parts {
                match part {
                    BoundPart::Text(text) => out.push_str(text),
                    BoundPart::Field(name) => out.push_str(labels.text(*name)),
                }
            }
            return Ok(());
        }
        row.surroundings.set(row.time_ns, self.needs_line.then_some(row.line));
        let data = match self.template.fields {
            Some(_) => {
                let known = |name: &Symbol| {
                    labels.get(*name).or_else(|| {
                        let special = matches!(*name, ERROR | ERROR_DETAILS);
                        special.then(|| labels.text(*name)).filter(|text| !text.is_empty())
                    })
                };
                Value::text_map(
                    self.fields
                        .iter()
                        .filter_map(|name| known(name).map(|value| (symbols.name(*name), value))),
                )
            }
            None => Value::text_map(labels.iter().map(|(name, value, _)| (symbols.name(name), value))),
        };
        let text =
            self.template.template.execute(&data, functions, &LIMITS).map_err(|error| error.to_string())?;
        out.push_str(&text);
        Ok(())
    }
}

/// What functions of templates say of a row.
#[derive(Clone, Copy)]
pub(crate) struct RowText<'a> {
    pub surroundings: &'a Surroundings,
    pub time_ns: i64,
    pub line: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_fields_are_simple() {
        let text = |text: &str| Part::Text(text.to_owned());
        let field = |name: &str| Part::Field(name.to_owned());
        assert_eq!(simple("a {{.b}}{{ ._c }}"), Some(vec![text("a "), field("b"), field("_c")]));
        assert_eq!(simple("a"), Some(vec![text("a")]));
        for text in ["{{- .a}}", "{{.a.b}}", "{{.a | upper}}", "{{/* x */}}", "{{.a", "{{.}}", "{{ .a\n}}"] {
            assert_eq!(simple(text), None, "{text}");
        }
    }
}
