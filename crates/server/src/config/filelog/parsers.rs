//! Parsers, and what they share: where they read and write, and the blocks for time, severity, trace and scope.

use std::time::Duration;

use throughline_exec::search_bytes_regex;
use throughline_filelog::expr::Expression;
use throughline_filelog::field::{Field, Root};
use throughline_filelog::operator::container::{Container, Format, PATH_ATTRIBUTE};
use throughline_filelog::operator::csv::{Csv, Header, Quotes};
use throughline_filelog::operator::key_value::KeyValue;
use throughline_filelog::operator::parse::{Parse, Parser};
use throughline_filelog::operator::recombine::{Edge, Recombine, RecombineLimits};
use throughline_filelog::operator::severity::{Mapping, Severity, number_of};
use throughline_filelog::operator::trace::Trace;
use throughline_filelog::operator::{Action, TimeRule};
use throughline_filelog::time::{Abbreviations, EpochUnit, Layout, TimeFormat, parse_zone};

use super::operators::{field_or, required, required_field};
use crate::config::components::refuse_known;
use crate::config::section::Section;
use crate::config::tree::{self, Node};

/// Reads a parser of this type.
pub fn read(kind: &str, section: &mut Section<'_>) -> Option<Action> {
    match kind {
        "time_parser" => Some(Action::Time(read_time(section)?)),
        "severity_parser" => Some(Action::Severity(read_severity(section)?)),
        "trace_parser" => Some(Action::Trace(read_trace(section))),
        "scope_name_parser" => Some(Action::ScopeName(required_field(section, "parse_from")?)),
        "container" => Some(Action::Container(Box::new(read_container(section)?))),
        _ => {
            let parse = read_parse(section);
            let parser = match kind {
                "json_parser" => Some(Parser::Json { whole_numbers: section.flag("parse_ints", false) }),
                "regex_parser" => read_regex(section),
                "key_value_parser" => Some(Parser::KeyValue(read_key_value(section))),
                _ => read_csv(section).map(Parser::Csv),
            };
            Some(Action::Parse(Box::new(parse?), parser?))
        }
    }
}

/// What all parsers share; none where a block is wrong.
fn read_parse(section: &mut Section<'_>) -> Option<Parse> {
    refuse_known(section, &["preserve_to", "cache"]);
    let from = field_or(section, "parse_from", Field::body);
    let to = field_or(section, "parse_to", Field::attributes);
    let body = section.scalar("body", None, |text| Field::parse(text).map(Some));
    if body.is_some() && to == Field::body() {
        section.refuse("body", None, "is not allowed with parse_to: body");
    }
    let mut parse = Parse { from, to, body, ..Parse::default() };
    let mut is_well = true;
    if let Some(mut block) = section.optional_section("timestamp") {
        parse.time = read_time(&mut block);
        is_well &= parse.time.is_some();
        block.finish();
    }
    if let Some(mut block) = section.optional_section("severity") {
        parse.severity = read_severity(&mut block);
        is_well &= parse.severity.is_some();
        block.finish();
    }
    if let Some(mut block) = section.optional_section("trace") {
        parse.trace = Some(read_trace(&mut block));
        block.finish();
    }
    if let Some(mut block) = section.optional_section("scope_name") {
        parse.scope = required_field(&mut block, "parse_from");
        is_well &= parse.scope.is_some();
        block.finish();
    }
    is_well.then_some(parse)
}

fn read_regex(section: &mut Section<'_>) -> Option<Parser> {
    let pattern = required(section, "regex", |text| {
        let pattern = search_bytes_regex(text, "").map_err(|error| error.to_string())?;
        if pattern.capture_names().flatten().next().is_none() {
            return Err("no named capture groups in regex pattern".to_owned());
        }
        Ok(pattern)
    })?;
    Some(Parser::Regex(pattern))
}

fn read_key_value(section: &mut Section<'_>) -> KeyValue {
    let delimiter = section.text("delimiter", "=".to_owned());
    let pair_delimiter = section.text("pair_delimiter", " ".to_owned());
    if delimiter.is_empty() || delimiter == pair_delimiter {
        section.refuse("delimiter", None, "must be there, and another than pair_delimiter");
    }
    let pair_delimiter = if pair_delimiter.is_empty() { " ".to_owned() } else { pair_delimiter };
    KeyValue { delimiter, pair_delimiter }
}

fn read_csv(section: &mut Section<'_>) -> Option<Csv> {
    let one_character = |text: &str| {
        let mut letters = text.chars();
        match (letters.next(), letters.next()) {
            (Some(letter), None) if !"\r\n".contains(letter) => Ok(letter),
            _ => Err(format!("{text:?} is not one character that may separate values")),
        }
    };
    let delimiter = section.scalar("delimiter", ',', one_character);
    let of_header = section.scalar("header_delimiter", delimiter, one_character);
    let names = section.text("header", String::new());
    let attribute = section.text("header_attribute", String::new());
    let quotes = match (section.flag("lazy_quotes", false), section.flag("ignore_quotes", false)) {
        (false, false) => Quotes::Strict,
        (true, false) => Quotes::Lazy,
        (false, true) => Quotes::Ignored,
        (true, true) => {
            section.refuse("ignore_quotes", None, "only one of lazy_quotes and ignore_quotes can be true");
            return None;
        }
    };
    let header = match (names.is_empty(), attribute.is_empty()) {
        (false, true) => Header::Names(names.split(of_header).map(str::to_owned).collect()),
        (true, false) => Header::Attribute(attribute, of_header),
        _ => {
            section.refuse("header", None, "exactly one of header and header_attribute must be set");
            return None;
        }
    };
    Some(Csv { header, delimiter, quotes })
}

fn read_container(section: &mut Section<'_>) -> Option<Container> {
    let formats = [
        ("", None),
        ("docker", Some(Format::Docker)),
        ("crio", Some(Format::CriO)),
        ("containerd", Some(Format::Containerd)),
    ];
    let format = section.choice("format", None, &formats);
    let add_metadata = section.flag("add_metadata_from_filepath", true);
    let bytes = section.size("max_log_size", 1 << 20, 0);
    if section.take("parse_to").is_some_and(|node| node.value.scalar().as_deref() != Some("attributes")) {
        section.refuse("parse_to", None, "other than attributes is not supported yet");
    }
    let parse = read_parse(section)?;
    // The tag of CRI says which part is the last.
    let edge = Expression::parse("attributes.logtag == 'F'", &|_| None);
    let edge = edge.map_err(|reason| section.refuse("", None, reason)).ok()?;
    let recombine = Recombine {
        edge: Edge::Last(edge),
        field: Field::body(),
        with: String::new(),
        keep_newest: true,
        sources: vec![Field::attribute(PATH_ATTRIBUTE), Field::attribute("log.iostream")],
        limits: RecombineLimits {
            parts: 1000,
            unmatched_parts: 100,
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            sources: 1000,
            wait: Duration::from_secs(5),
        },
    };
    Some(Container { format, add_metadata, parse, recombine })
}

fn read_time(section: &mut Section<'_>) -> Option<TimeRule> {
    let from = required_field(section, "parse_from");
    let kind = section.text("layout_type", "strptime".to_owned());
    let location = section.optional_text("location");
    let places = section.pairs("time_zone_locations");
    if kind == "epoch" {
        let unit = required(section, "layout", |text| {
            let known = "write s, ms, us, ns, s.ms, s.us or s.ns";
            EpochUnit::from_layout(text).ok_or_else(|| format!("{text:?} is not a layout of epoch: {known}"))
        });
        return Some(TimeRule { from: from?, format: TimeFormat::Epoch(unit?) });
    }
    let layout = match kind.as_str() {
        "strptime" => required(section, "layout", Layout::strptime),
        "gotime" => required(section, "layout", Layout::go),
        other => {
            section.refuse("layout_type", None, format!("{other:?} is not one of strptime, gotime, epoch"));
            None
        }
    };
    let is_utc = layout.as_ref().is_some_and(Layout::ends_with_z);
    let mut zone =
        |key: &str, name: &str| parse_zone(name).map_err(|reason| section.refuse(key, None, reason)).ok();
    let place = zone("location", location.as_deref().unwrap_or(if is_utc { "UTC" } else { "Local" }));
    let mut abbreviations = Abbreviations::new();
    for (abbreviation, name) in places {
        if let Some(place) = zone("time_zone_locations", &name) {
            abbreviations.insert(abbreviation, place);
        }
    }
    Some(TimeRule {
        from: from?,
        format: TimeFormat::Layout { layout: layout?, zone: place?, abbreviations },
    })
}

fn read_severity(section: &mut Section<'_>) -> Option<Severity> {
    let from = required_field(section, "parse_from");
    let preset = section.text("preset", String::new());
    let mut mapping = Mapping::preset(&preset).unwrap_or_else(|| {
        section.refuse("preset", None, format!("{preset:?} is not one of default, otel, none"));
        Mapping::default()
    });
    let overwrite_text = section.flag("overwrite_text", false);
    let mut problems = Vec::new();
    let entries = section.section("mapping").take_rest();
    for (key, node) in entries {
        let Some(severity) = number_of(&key.name) else {
            problems.push((
                key.line,
                format!("{:?} is not a severity: write info, warn2 or a number from 1 to 24", key.name),
            ));
            continue;
        };
        let values = match node.value {
            tree::Value::List(items) => items,
            value => vec![Node { line: node.line, value }],
        };
        for value in values {
            if !add_value(&mut mapping, &value, severity) {
                let message = format!("{}: expected text, a whole number, or min and max", key.name);
                problems.push((value.line, message));
            }
        }
    }
    for (line, message) in problems {
        section.refuse("mapping", Some(line), message);
    }
    Some(Severity { from: from?, mapping, overwrite_text })
}

fn add_value(mapping: &mut Mapping, node: &Node, severity: u8) -> bool {
    match &node.value {
        tree::Value::Map(entries) => {
            let bound = |name: &str| {
                entries.iter().find(|(key, _)| key.name == name).and_then(|(_, node)| match node.value {
                    tree::Value::Int(number) => Some(number),
                    _ => None,
                })
            };
            let (Some(min), Some(max), 2) = (bound("min"), bound("max"), entries.len()) else { return false };
            mapping.add_range(min, max, severity);
            true
        }
        tree::Value::Text(_) | tree::Value::Int(_) => {
            mapping.add_word(&node.value.scalar().unwrap_or_default(), severity);
            true
        }
        _ => false,
    }
}

fn read_trace(section: &mut Section<'_>) -> Trace {
    let mut field = |key: &'static str| {
        let default = || Field { root: Root::Body, keys: vec![key.to_owned()] };
        let mut block = section.section(key);
        let field = field_or(&mut block, "parse_from", default);
        block.finish();
        field
    };
    Trace { trace_id: field("trace_id"), span_id: field("span_id"), flags: field("trace_flags") }
}
