//! Fields that lines and their metadata have, found in a sample of lines.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use throughline_logql::LogStream;
use throughline_logql::fields::{fields_of, listed_value};

/// Fields of one answer, unless asked for otherwise.
pub(super) const FIELDS: u64 = 1_000;

/// Values of one field that are kept: beyond, the count says "many" either way.
const VALUES_MAX: usize = 1_000;

/// Fields that are looked for at most: an object with a million members is data, not fields.
const FIELDS_MAX: usize = 5_000;

/// What went wrong is no field.
const HIDDEN: [&str; 3] = ["__error__", "__error_details__", "__preserve_error__"];

/// What is known of a field.
#[derive(Default)]
struct Known {
    values: BTreeSet<String>,
    parsers: Vec<&'static str>,
    json_path: Vec<String>,
    kind: Option<&'static str>,
}

/// The fields of some lines.
#[derive(Default)]
pub(super) struct Fields {
    fields: BTreeMap<String, Known>,
}

impl Fields {
    /// Those of all lines of the streams, at most so many. Of a field whose values are of several kinds the last counts, as
    /// in Loki.
    pub(super) fn of(streams: &[LogStream], limit: usize) -> Fields {
        let mut fields = Fields::default();
        let limit = limit.min(FIELDS_MAX);
        // The oldest line of the last stream comes last.
        let mut lines: Vec<(&LogStream, i64, &str)> = streams
            .iter()
            .flat_map(|stream| stream.entries.iter().map(move |(time, line)| (stream, *time, line.as_str())))
            .collect();
        lines.sort_by(|a, b| a.0.stream.cmp(&b.0.stream).then(b.1.cmp(&a.1)));
        for (stream, _, line) in lines {
            let is_taken = |label: &str| stream.stream.has(label);
            for (name, value) in stream.metadata.iter() {
                fields.add(name, value, limit);
            }
            let (parser, found) = fields_of(line, is_taken);
            for (name, value) in stream.parsed.iter().filter(|(name, _)| !HIDDEN.contains(name)) {
                fields.add_parsed(name, value, (parser, &[]), limit);
            }
            for field in &found {
                fields.add_parsed(&field.label, &field.value, (parser, &field.path), limit);
            }
        }
        fields
    }

    fn add_parsed(
        &mut self,
        name: &str,
        value: &str,
        (parser, path): (&'static str, &[String]),
        limit: usize,
    ) {
        let Some(known) = self.add(name, value, limit) else { return };
        if !known.parsers.contains(&parser) {
            known.parsers.push(parser);
        }
        if parser == "json" {
            known.json_path = path.to_vec();
        }
    }

    fn add(&mut self, name: &str, value: &str, limit: usize) -> Option<&mut Known> {
        if !self.fields.contains_key(name) {
            if self.fields.len() >= limit {
                return None;
            }
            self.fields.insert(name.to_owned(), Known::default());
        }
        let known = self.fields.get_mut(name)?;
        known.kind = Some(kind_of(value));
        if known.values.len() < VALUES_MAX {
            known.values.insert(value.to_owned());
        }
        Some(known)
    }

    /// The fields.
    pub(super) fn list(&self) -> Json {
        let one = |(name, known): (&String, &Known)| {
            // No parser is `null`: clients tell metadata by it.
            let parsers = if known.parsers.is_empty() { Json::Null } else { json!(known.parsers) };
            let mut one = json!({
                "label": name,
                "type": known.kind.unwrap_or("string"),
                "cardinality": known.values.len(),
                "parsers": parsers,
            });
            if !known.json_path.is_empty() {
                one["jsonPath"] = json!(known.json_path);
            }
            one
        };
        self.fields.iter().map(one).collect()
    }

    /// The values of a field, at most so many. Those that a parser finds are listed as queries are made with them, so that several may
    /// become one.
    pub(super) fn values(&self, name: &str, limit: u64) -> Vec<String> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let Some(known) = self.fields.get(name) else { return Vec::new() };
        let values = known.values.iter();
        let listed: BTreeSet<String> = match known.parsers.is_empty() {
            true => values.cloned().collect(),
            false => values.map(|value| listed_value(value)).collect(),
        };
        listed.into_iter().take(limit).collect()
    }
}

/// What kind of value a text is.
fn kind_of(text: &str) -> &'static str {
    if text.parse::<i64>().is_ok() {
        return "int";
    }
    if text.parse::<f64>().is_ok() {
        return "float";
    }
    if matches!(text, "true" | "True" | "TRUE" | "t" | "T" | "false" | "False" | "FALSE" | "f" | "F") {
        return "boolean";
    }
    if is_duration(text.strip_prefix(['-', '+']).unwrap_or(text)) {
        return "duration";
    }
    if is_bytes(text) { "bytes" } else { "string" }
}

/// Whether a text is a number of bytes: digits, perhaps in groups, and a unit of thousands or of 1,024.
fn is_bytes(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.' || c == ',');
    let number = text.get(..text.len() - unit.len()).unwrap_or_default().replace(',', "");
    let unit = unit.trim().to_ascii_lowercase();
    let prefix = unit.strip_suffix('b').unwrap_or(&unit);
    let prefix = prefix.strip_suffix('i').filter(|prefix| !prefix.is_empty()).unwrap_or(prefix);
    number.parse::<f64>().is_ok() && matches!(prefix, "" | "k" | "m" | "g" | "t" | "p" | "e")
}

/// Whether a text is a duration as Go writes it.
fn is_duration(text: &str) -> bool {
    let mut rest = text;
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        if after.len() == rest.len() {
            return false;
        }
        let unit = ["ns", "us", "µs", "ms", "s", "m", "h"].iter().find_map(|unit| after.strip_prefix(unit));
        match unit {
            // `5ms` is not five minutes and an s.
            Some(next) => rest = next,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use throughline_exec::Labels;

    use super::*;

    #[test]
    fn values_have_kinds() {
        for (text, kind) in [
            ("5", "int"),
            ("-1.5", "float"),
            ("true", "boolean"),
            ("5ms", "duration"),
            ("1h30m", "duration"),
            ("-1.5s", "duration"),
            ("5MB", "bytes"),
            ("12 KiB", "bytes"),
            ("3k", "bytes"),
            ("1,000", "bytes"),
            ("TRUE", "boolean"),
            ("x", "string"),
            ("5x", "string"),
            ("ib", "string"),
            ("-", "string"),
            ("", "string"),
            ("NaN", "float"),
        ] {
            assert_eq!(kind_of(text), kind, "{text}");
        }
    }

    #[test]
    fn fields_are_found_in_lines_and_metadata() {
        let lines = [
            r#"{"status":200,"req":{"path":"/a b"},"app":"no","n":1}"#,
            r#"took=5ms msg="a \"b\" c=d" status=ok n=0.5 size=1010KB"#,
            "size=1012KB",
        ];
        let stream = LogStream {
            labels: Labels::empty(),
            stream: Labels::from_pairs([("app", "x")]),
            metadata: Labels::from_pairs([("detected_level", "info")]),
            parsed: Labels::empty(),
            entries: lines.iter().map(|line| (1, (*line).to_owned())).collect(),
        };
        let fields = Fields::of(&[stream], 10);
        let expected = json!([
            {"label": "app_extracted", "type": "string", "cardinality": 1, "parsers": ["json"], "jsonPath": ["app"]},
            {"label": "detected_level", "type": "string", "cardinality": 1, "parsers": null},
            {"label": "msg", "type": "string", "cardinality": 1, "parsers": ["logfmt"]},
            {"label": "n", "type": "float", "cardinality": 2, "parsers": ["json", "logfmt"], "jsonPath": ["n"]},
            {"label": "req_path", "type": "string", "cardinality": 1, "parsers": ["json"], "jsonPath": ["req", "path"]},
            {"label": "size", "type": "bytes", "cardinality": 2, "parsers": ["logfmt"]},
            {"label": "status", "type": "string", "cardinality": 2, "parsers": ["json", "logfmt"], "jsonPath": ["status"]},
            {"label": "took", "type": "duration", "cardinality": 1, "parsers": ["logfmt"]},
        ]);
        assert_eq!(fields.list(), expected);
        assert_eq!(fields.values("msg", 10), ["a \"b\" c=d"]);
        assert_eq!(fields.values("status", 1), ["200"]);
        assert_eq!(fields.values("size", 10), ["1.0MB"], "as queries are made with them");
    }
}
