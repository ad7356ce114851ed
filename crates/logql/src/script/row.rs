//! Rows of a script, as they are loaded and as they are expected.

use throughline_exec::Labels;
use throughline_exec::log::{MemoryLogs, MemoryRow};
use throughline_exec::script::time_ms;

use crate::parse::parse_selector;

/// Most rows of one line: a typing error shall not fill the memory.
const ROWS_MAX: usize = 100_000;

/// A line of a script that stands for rows.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedRow {
    /// The labels.
    pub labels: Labels,
    /// The line, in which `{{.i}}` stands for the number of the row.
    pub line: String,
    /// The time of the first row.
    pub time_ns: i64,
    /// Between two rows.
    pub every_ns: i64,
    /// How many rows.
    pub count: usize,
    /// Of each row, if it was said.
    pub metadata: Option<Labels>,
    /// What stages made of the line, if it was said.
    pub parsed: Option<Labels>,
}

impl LoadedRow {
    /// Reads `{selector} "line" @ START [repeat every D for N] [metadata k="v" …] [parsed k="v" …]`.
    pub fn read(text: &str) -> Result<LoadedRow, String> {
        let (labels, rest) = labels(text)?;
        let (line, rest) = quoted(rest.trim_start())?;
        let rest = rest.trim_start().strip_prefix('@').ok_or("expected \"@\" and a time after the line")?;
        let rest = rest.trim_start();
        let (time, rest) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
        let mut row = LoadedRow {
            labels,
            line: line.to_owned(),
            time_ns: ns(time)?,
            every_ns: 0,
            count: 1,
            metadata: None,
            parsed: None,
        };
        row.options(rest)?;
        Ok(row)
    }

    fn options(&mut self, rest: &str) -> Result<(), String> {
        let mut rest = rest.trim_start();
        while let Some(inner) = rest.strip_prefix('[') {
            let (word, after) = inner.split_once([' ', '\t']).ok_or("expected a word between brackets")?;
            match word {
                "repeat" => {
                    let (repeat, after) = after.split_once(']').ok_or("expected \"]\"")?;
                    let words: Vec<&str> = repeat.split_whitespace().collect();
                    let ["every", every, "for", count] = words.as_slice() else {
                        return Err(format!("expected \"every D for N\", got {repeat:?}"));
                    };
                    self.every_ns = ns(every)?;
                    self.count = count.parse().map_err(|_| format!("{count:?} is no count"))?;
                    if self.count > ROWS_MAX {
                        return Err(format!("more than {ROWS_MAX} rows in one line"));
                    }
                    rest = after;
                }
                "metadata" | "parsed" => {
                    let (pairs, after) = pairs(after)?;
                    *(if word == "metadata" { &mut self.metadata } else { &mut self.parsed }) = Some(pairs);
                    rest = after;
                }
                _ => return Err(format!("unknown option {word:?}")),
            }
            rest = rest.trim_start();
        }
        if rest.is_empty() || rest.starts_with('#') { Ok(()) } else { Err(format!("unexpected {rest:?}")) }
    }

    /// Adds the rows.
    pub fn load(&self, logs: &mut MemoryLogs) {
        let metadata: Vec<(String, String)> = self
            .metadata
            .iter()
            .flat_map(Labels::iter)
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        // A label of a stream has a value.
        let stream = Labels::from_pairs(self.labels.iter());
        for number in 0..self.count {
            let line = self.line.replace("{{.i}}", &number.to_string());
            let time_ns = self.time_ns.saturating_add(self.every_ns.saturating_mul(number as i64));
            logs.push(&stream, MemoryRow { time_ns, line, metadata: metadata.clone() });
        }
    }
}

fn ns(text: &str) -> Result<i64, String> {
    Ok(time_ms(text)?.saturating_mul(1_000_000))
}

/// `{a="b"}` at the start of a text, and what follows.
pub(super) fn labels(text: &str) -> Result<(Labels, &str), String> {
    let mut in_quotes = false;
    let mut escaped = false;
    for (at, char) in text.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' if in_quotes => escaped = true,
            '"' => in_quotes = !in_quotes,
            '}' if !in_quotes => {
                let (selector, rest) = text.split_at(at + 1);
                let matchers = parse_selector(selector).map_err(|error| error.to_string())?;
                let mut pairs: Vec<(&str, &str)> =
                    matchers.iter().map(|matcher| (matcher.name(), matcher.value())).collect();
                pairs.sort_unstable();
                return Ok((Labels::from_sorted_with_empty(pairs), rest));
            }
            _ => {}
        }
    }
    Err("expected labels between braces".to_owned())
}

/// A text between quotes or back quotes, neither of which has escapes, and what follows.
fn quoted(text: &str) -> Result<(&str, &str), String> {
    let quote =
        text.chars().next().filter(|char| matches!(char, '"' | '`')).ok_or("expected a line in quotes")?;
    text[1..].split_once(quote).ok_or_else(|| "the line is not terminated".to_owned())
}

/// `k="v" l="w"]` and what follows.
fn pairs(text: &str) -> Result<(Labels, &str), String> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix(']') {
            pairs.sort_unstable();
            return Ok((Labels::from_sorted_with_empty(pairs), after));
        }
        let (name, after) = rest.split_once('=').ok_or("expected name=\"value\"")?;
        let (value, after) = quoted(after)?;
        pairs.push((name.trim(), value));
        rest = after.trim_start_matches([' ', '\t', ',']);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read() {
        let row = LoadedRow::read(
            r#"{a="}", b=""} `x "y"` @ 100ms [repeat every 1s for 3] [metadata k="v" l=""] # more"#,
        );
        let row = row.expect("a row");
        assert_eq!(row.labels.to_string(), r#"{a="}", b=""}"#);
        assert_eq!(
            (row.line.as_str(), row.time_ns, row.every_ns, row.count),
            ("x \"y\"", 100_000_000, 1_000_000_000, 3)
        );
        assert_eq!(row.metadata.map(|labels| labels.to_string()), Some(r#"{k="v", l=""}"#.to_owned()));
        for wrong in [
            "",
            "x",
            "{a=\"b\"}",
            "{a=\"b\"} \"x",
            "{a=\"b\"} \"x\"",
            "{a=\"b\"} \"x\" @ y",
            "{a=\"b\"} \"x\" @ 1s z",
            "{a=\"b\"} \"x\" @ 1s [repeat 3]",
        ] {
            assert!(LoadedRow::read(wrong).is_err(), "{wrong}");
        }
    }
}
