//! Fields that lines and their metadata have, found in a sample of lines.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use throughline_logql::LogStream;

/// Fields of one answer, unless asked for otherwise.
pub(super) const FIELDS: u64 = 1_000;

/// Values of one field that are kept: beyond, the count says "many" either way.
const VALUES_MAX: usize = 1_000;

/// Fields that are looked for at most: an object with a million members is data, not fields.
const FIELDS_MAX: usize = 5_000;

/// How deep objects are looked into.
const DEPTH_MAX: usize = 16;

/// Metadata that every record has, and that is no field.
const HIDDEN: [&str; 2] = ["__error__", "__error_details__"];

/// What is known of a field.
#[derive(Default)]
struct Field {
    values: BTreeSet<String>,
    parsers: BTreeSet<&'static str>,
    json_path: Vec<String>,
    kind: Option<&'static str>,
}

/// The fields of some lines.
#[derive(Default)]
pub(super) struct Fields {
    fields: BTreeMap<String, Field>,
}

impl Fields {
    /// Those of all lines of the streams.
    pub(super) fn of(streams: &[LogStream]) -> Fields {
        let mut fields = Fields::default();
        for stream in streams {
            for (name, value) in stream.metadata.iter().chain(stream.parsed.iter()) {
                if !HIDDEN.contains(&name) {
                    fields.add(name, value, None, &[]);
                }
            }
            for (_, line) in &stream.entries {
                fields.add_line(line, stream);
            }
        }
        fields
    }

    fn add_line(&mut self, line: &str, stream: &LogStream) {
        let trimmed = line.trim();
        if trimmed.starts_with('{')
            && let Ok(object @ Json::Object(_)) = serde_json::from_str::<Json>(trimmed)
        {
            return self.add_json(&object, &mut Vec::new(), stream);
        }
        for (name, value) in logfmt_pairs(trimmed) {
            let name = sanitised(name);
            self.add_parsed(name, &value, ("logfmt", &[]), stream);
        }
    }

    fn add_json(&mut self, value: &Json, path: &mut Vec<String>, stream: &LogStream) {
        let text = match value {
            Json::Object(members) => {
                if path.len() < DEPTH_MAX {
                    for (name, member) in members {
                        path.push(name.clone());
                        self.add_json(member, path, stream);
                        path.pop();
                    }
                }
                return;
            }
            Json::Array(_) | Json::Null => return,
            Json::String(text) => text.clone(),
            other => other.to_string(),
        };
        self.add_parsed(sanitised(&path.join("_")), &text, ("json", path), stream);
    }

    /// Adds what a parser finds: a name that the stream has is another there, as in queries.
    fn add_parsed(
        &mut self,
        mut name: String,
        value: &str,
        (parser, path): (&'static str, &[String]),
        stream: &LogStream,
    ) {
        if name.is_empty() {
            return;
        }
        if stream.stream.has(&name) {
            name.push_str("_extracted");
        }
        self.add(&name, value, Some(parser), path);
    }

    fn add(&mut self, name: &str, value: &str, parser: Option<&'static str>, path: &[String]) {
        if !self.fields.contains_key(name) {
            if self.fields.len() >= FIELDS_MAX {
                return;
            }
            self.fields.insert(name.to_owned(), Field::default());
        }
        let Some(field) = self.fields.get_mut(name) else { return };
        field.parsers.extend(parser);
        if field.json_path.is_empty() {
            field.json_path = path.to_vec();
        }
        let kind = kind_of(value);
        field.kind = match field.kind {
            Some("int" | "float") if matches!(kind, "int" | "float") => {
                Some(if field.kind == Some(kind) { kind } else { "float" })
            }
            Some(known) if known != kind => Some("string"),
            _ => Some(kind),
        };
        if field.values.len() < VALUES_MAX {
            field.values.insert(value.to_owned());
        }
    }

    /// The fields, at most so many.
    pub(super) fn list(&self, limit: u64) -> Json {
        let one = |(name, field): (&String, &Field)| {
            // No parser is `null`: clients tell metadata by it.
            let parsers = if field.parsers.is_empty() { Json::Null } else { json!(field.parsers) };
            let mut one = json!({
                "label": name,
                "type": field.kind.unwrap_or("string"),
                "cardinality": field.values.len(),
                "parsers": parsers,
            });
            if !field.json_path.is_empty() {
                one["jsonPath"] = json!(field.json_path);
            }
            one
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.fields.iter().take(limit).map(one).collect()
    }

    /// The values of a field, at most so many.
    pub(super) fn values(&self, name: &str, limit: u64) -> Vec<&str> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let values = self.fields.get(name).map(|field| field.values.iter().take(limit));
        values.into_iter().flatten().map(String::as_str).collect()
    }
}

/// A name as labels have it.
fn sanitised(name: &str) -> String {
    let mut out: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == ':' { c } else { '_' })
        .collect();
    if out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
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

/// The pairs of a line of logfmt; none of what is no pair.
fn logfmt_pairs(line: &str) -> Vec<(&str, String)> {
    let mut pairs = Vec::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('=') {
        let name = before.rsplit(|c: char| c.is_ascii_whitespace()).next().unwrap_or_default();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => match end_of_quoted(quoted) {
                Some(end) => {
                    let text = quoted.get(..end).unwrap_or_default();
                    (text.replace("\\\"", "\""), quoted.get(end + 1..).unwrap_or_default())
                }
                None => return pairs,
            },
            None => {
                let end = after.find(|c: char| c.is_ascii_whitespace()).unwrap_or(after.len());
                let (value, next) = after.split_at(end);
                (value.to_owned(), next)
            }
        };
        if !name.is_empty() && !name.contains('"') {
            pairs.push((name, value));
        }
        rest = next;
    }
    pairs
}

fn end_of_quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
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
            r#"took=5ms msg="a \"b\" c=d" status=ok n=0.5"#,
        ];
        let stream = LogStream {
            labels: Labels::empty(),
            stream: Labels::from_pairs([("app", "x")]),
            metadata: Labels::from_pairs([("detected_level", "info")]),
            parsed: Labels::empty(),
            entries: lines.iter().map(|line| (1, (*line).to_owned())).collect(),
        };
        let fields = Fields::of(&[stream]);
        let expected = json!([
            {"label": "app_extracted", "type": "string", "cardinality": 1, "parsers": ["json"], "jsonPath": ["app"]},
            {"label": "detected_level", "type": "string", "cardinality": 1, "parsers": null},
            {"label": "msg", "type": "string", "cardinality": 1, "parsers": ["logfmt"]},
            {"label": "n", "type": "float", "cardinality": 2, "parsers": ["json", "logfmt"], "jsonPath": ["n"]},
            {"label": "req_path", "type": "string", "cardinality": 1, "parsers": ["json"], "jsonPath": ["req", "path"]},
            {"label": "status", "type": "string", "cardinality": 2, "parsers": ["json", "logfmt"], "jsonPath": ["status"]},
            {"label": "took", "type": "duration", "cardinality": 1, "parsers": ["logfmt"]},
        ]);
        assert_eq!(fields.list(10), expected);
        assert_eq!(fields.values("msg", 10), ["a \"b\" c=d"]);
        assert_eq!(fields.values("status", 1), ["200"]);
    }
}
