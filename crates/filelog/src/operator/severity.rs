//! Severities: which words and numbers mean which of OTLP's severity numbers.

use std::collections::BTreeMap;

use super::missing;
use crate::entry::Entry;
use crate::field::Field;
use crate::value::Value;

const ALIASES: [&str; 6] = ["trace", "debug", "info", "warn", "error", "fatal"];

/// Where a severity stands and what it means.
#[derive(Clone, Debug)]
pub struct Severity {
    /// The field.
    pub from: Field,
    /// What its values mean.
    pub mapping: Mapping,
    /// Whether the text becomes the severity's usual short name.
    pub overwrite_text: bool,
}

/// What values mean.
#[derive(Clone, Debug, Default)]
pub struct Mapping {
    words: BTreeMap<String, u8>,
    /// From, to, both included, and what they mean.
    ranges: Vec<(i64, i64, u8)>,
}

/// The severity number of `info`, `warn2` or a number from 1 to 24; `default` is zero.
#[must_use]
pub fn number_of(alias: &str) -> Option<u8> {
    let alias = alias.to_ascii_lowercase();
    if alias == "default" {
        return Some(0);
    }
    if let Ok(number) = alias.parse::<u8>() {
        return (1..=24).contains(&number).then_some(number);
    }
    let (name, step) = match alias.strip_suffix(['2', '3', '4']) {
        Some(name) => (name, alias.as_bytes().last()? - b'1'),
        None => (alias.as_str(), 0),
    };
    let base = ALIASES.iter().position(|known| *known == name)?;
    Some(u8::try_from(base).ok()? * 4 + 1 + step)
}

/// The short name of a severity number as OpenTelemetry displays it.
fn short_name(number: u8) -> String {
    let (base, step) = (usize::from((number - 1) / 4), (number - 1) % 4);
    let name = ALIASES.get(base).copied().unwrap_or_default().to_ascii_uppercase();
    if step == 0 { name } else { format!("{name}{}", step + 1) }
}

impl Mapping {
    /// A preset: `none`, `otel` and `aliases` (OTLP's names and numbers), `default` (with `warning` and `err` as well).
    #[must_use]
    pub fn preset(name: &str) -> Option<Mapping> {
        let mut mapping = Mapping::default();
        if name == "none" {
            return Some(mapping);
        }
        if !matches!(name, "" | "default" | "otel" | "aliases") {
            return None;
        }
        for number in 1..=24 {
            mapping.add_word(&number.to_string(), number);
            mapping.add_word(&short_name(number), number);
        }
        if matches!(name, "" | "default") {
            for (word, base) in [("warning", 13), ("err", 17)] {
                for (step, end) in ["", "2", "3", "4"].into_iter().enumerate() {
                    mapping.add_word(&format!("{word}{end}"), base + step as u8);
                }
            }
        }
        Some(mapping)
    }

    /// A word or a number means this severity; `2xx` to `5xx` stand for a hundred numbers.
    pub fn add_word(&mut self, word: &str, severity: u8) {
        match word {
            "2xx" => self.add_range(200, 299, severity),
            "3xx" => self.add_range(300, 399, severity),
            "4xx" => self.add_range(400, 499, severity),
            "5xx" => self.add_range(500, 599, severity),
            _ => _ = self.words.insert(word.to_lowercase(), severity),
        }
    }

    /// All numbers from one to another mean this severity.
    pub fn add_range(&mut self, from: i64, to: i64, severity: u8) {
        self.ranges.push((from.min(to), from.max(to), severity));
    }

    fn find(&self, text: &str) -> u8 {
        if let Some(severity) = self.words.get(&text.to_lowercase()) {
            return *severity;
        }
        // `0200` and `+200` are words, not numbers.
        let number = text.parse::<i64>().ok().filter(|number| number.to_string() == text);
        let range = number.and_then(|n| self.ranges.iter().find(|(from, to, _)| (*from..=*to).contains(&n)));
        range.map_or(0, |(.., severity)| *severity)
    }
}

impl Severity {
    /// Sets an entry's severity.
    pub fn apply(&self, entry: &mut Entry) -> Result<(), String> {
        let text = match self.from.find(entry).ok_or_else(|| missing(&self.from))? {
            Value::Float(n) if n.fract() != 0.0 => return Err(format!("{n} is no whole number")),
            Value::Float(n) => (*n as i64).to_string(),
            value @ (Value::Int(_) | Value::Str(_) | Value::Bytes(_)) => value.scalar().unwrap_or_default(),
            other => return Err(format!("{} cannot be a severity", other.kind())),
        };
        entry.severity = self.mapping.find(&text);
        let is_known = entry.severity != 0;
        entry.severity_text = if self.overwrite_text && is_known { short_name(entry.severity) } else { text };
        Ok(())
    }
}
