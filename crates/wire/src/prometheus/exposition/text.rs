//! The text formats: lines of metadata and samples.
//!
//! Metadata belongs to the samples after it as long as their names are the family's, with the endings of its type; a
//! line of metadata for another name begins another family.

mod line;

use std::borrow::Cow;
use std::ops::ControlFlow;

use throughline_model::point::MetricType;

use self::line::{Cursor, unescape};
use super::created::Starts;
use super::output::Output;
use super::{Entry, ExpositionError, Metadata, Pair, Value, is_legacy_metric_name, number};

pub use self::line::{Dialect, milliseconds};

/// Reads a line of OpenMetrics.
pub fn cursor(line: &str) -> Cursor<'_> {
    Cursor::new(line, Dialect::OpenMetrics)
}

/// Walks a page.
pub fn parse<F>(page: &[u8], dialect: Dialect, mut output: Output<F>) -> Result<(), ExpositionError>
where
    F: FnMut(&Entry<'_>) -> ControlFlow<()>,
{
    let text = utf8(page)?;
    let has_starts = dialect == Dialect::OpenMetrics && memchr::memmem::find(page, b"_created").is_some();
    let starts = if has_starts { Starts::collect(text)? } else { Starts::default() };
    let mut lines = Lines::new(text, dialect);
    let mut labels = Vec::new();
    while let Some(line) = lines.next_sample()? {
        let mut cursor = Cursor::new(line, dialect);
        let reading = cursor.sample(&mut labels).map_err(|detail| lines.error(detail))?;
        let metadata = lines.family.metadata_of(metric_name(&labels));
        normalize_bounds(metadata.kind, &mut labels);
        let entry = Entry {
            labels: &labels,
            metadata,
            value: Value::Number(reading.value),
            timestamp_ms: reading.timestamp_ms,
            start_timestamp_ms: starts.of(&metadata, &labels),
            exemplars: reading.exemplar.as_slice(),
        };
        if output.classic(&entry).is_break() {
            return Ok(());
        }
    }
    _ = output.finish();
    Ok(())
}

fn utf8(page: &[u8]) -> Result<&str, ExpositionError> {
    simdutf8::compat::from_utf8(page).map_err(|error| {
        let before = page.get(..error.valid_up_to()).unwrap_or_default();
        let line = 1 + memchr::memchr_iter(b'\n', before).count();
        ExpositionError::Line { line, detail: "text is not UTF-8".to_owned() }
    })
}

/// The name of a sample as [`Cursor::sample`] leaves it.
pub fn metric_name<'l>(labels: &'l [Pair<'_>]) -> &'l str {
    labels.first().map_or("", |(_, name)| name.as_ref())
}

/// Bounds are texts: `le="1"` and `le="1.0"` would be two series.
fn normalize_bounds(kind: MetricType, labels: &mut [Pair<'_>]) {
    let label = match kind {
        MetricType::Histogram => "le",
        MetricType::Summary => "quantile",
        _ => return,
    };
    for (_, text) in labels.iter_mut().filter(|(name, _)| name == label) {
        if let Some(bound) = number::parse(text) {
            let mut normal = String::new();
            number::format_open_metrics_float(&mut normal, bound);
            if normal != *text {
                *text = Cow::Owned(normal);
            }
        }
    }
}

/// The lines of a page, metadata taken out.
pub struct Lines<'a> {
    rest: std::str::SplitTerminator<'a, char>,
    dialect: Dialect,
    number: usize,
    ended: bool,
    /// What was said last.
    pub family: Family<'a>,
}

impl<'a> Lines<'a> {
    pub fn new(text: &'a str, dialect: Dialect) -> Lines<'a> {
        Lines {
            rest: text.split_terminator('\n'),
            dialect,
            number: 0,
            ended: false,
            family: Family::default(),
        }
    }

    /// The next line that is a sample.
    pub fn next_sample(&mut self) -> Result<Option<&'a str>, ExpositionError> {
        for line in self.rest.by_ref() {
            self.number += 1;
            if self.ended {
                return Err(self.error("there is something after # EOF".to_owned()));
            }
            let mut cursor = Cursor::new(line, self.dialect);
            cursor.skip_blanks();
            if cursor.eat("#") {
                match self.family.comment(cursor, self.dialect) {
                    Ok(ended) => self.ended = ended,
                    Err(detail) => return Err(self.error(detail)),
                }
            } else if !cursor.is_at_end() {
                return Ok(Some(line));
            } else if self.dialect == Dialect::OpenMetrics {
                return Err(self.error("empty lines are not allowed in OpenMetrics".to_owned()));
            }
        }
        if self.dialect == Dialect::OpenMetrics && !self.ended {
            return Err(self.error("the page ends without # EOF".to_owned()));
        }
        Ok(None)
    }

    pub fn error(&self, detail: String) -> ExpositionError {
        ExpositionError::Line { line: self.number.max(1), detail }
    }
}

/// What lines of metadata say of a family.
#[derive(Default)]
pub struct Family<'a> {
    name: Cow<'a, str>,
    kind: MetricType,
    help: Cow<'a, str>,
    unit: &'a str,
}

impl<'a> Family<'a> {
    /// Reads what follows a `#`. True for the end mark.
    fn comment(&mut self, mut cursor: Cursor<'a>, dialect: Dialect) -> Result<bool, String> {
        let strict = dialect == Dialect::OpenMetrics;
        if strict && cursor.rest() == " EOF" {
            return Ok(true);
        }
        let blank = cursor.rest().starts_with(if strict { &[' '][..] } else { &[' ', '\t'] });
        let spaced = blank && (!strict || cursor.eat(" "));
        cursor.skip_blanks();
        let word = cursor.token();
        let known = matches!(word, "HELP" | "TYPE") || (strict && word == "UNIT");
        if !spaced || !known {
            let problem =
                "comments other than # HELP, # TYPE, # UNIT and # EOF are not allowed in OpenMetrics";
            return if strict { Err(problem.to_owned()) } else { Ok(false) };
        }
        let name = self.begin(&mut cursor, strict)?;
        let text = cursor.rest().trim_start_matches([' ', '\t']);
        if name != self.name {
            *self = Family { name, ..Family::default() };
        }
        match word {
            "HELP" if text.contains('\\') => self.help = Cow::Owned(unescape(text, strict)),
            "HELP" => self.help = Cow::Borrowed(text),
            "TYPE" => {
                let kind = MetricType::from_name(text.trim_end());
                self.kind = kind.ok_or_else(|| format!("{text:?} is not a type of metrics"))?;
            }
            _ => {
                let before = self.name.strip_suffix(text);
                if !text.is_empty() && !before.is_some_and(|name| name.ends_with('_')) {
                    return Err(format!("unit {text:?} is not the end of the name {:?}", self.name));
                }
                self.unit = text;
            }
        }
        Ok(false)
    }

    fn begin(&self, cursor: &mut Cursor<'a>, strict: bool) -> Result<Cow<'a, str>, String> {
        if strict && !cursor.eat(" ") {
            return Err(cursor.expected("a space"));
        }
        cursor.skip_blanks();
        if cursor.rest().starts_with('"') {
            return cursor.quoted();
        }
        let before = *cursor;
        let name = cursor.token();
        if is_legacy_metric_name(name) {
            Ok(Cow::Borrowed(name))
        } else {
            Err(before.expected("a metric name"))
        }
    }

    /// What is said of a metric: nothing, if it is not of this family.
    pub fn metadata_of<'s>(&'s self, metric: &str) -> Metadata<'s> {
        let of_family = metric.strip_prefix(self.name.as_ref()).is_some_and(|end| is_ending(self.kind, end));
        if !of_family || self.name.is_empty() {
            return Metadata::default();
        }
        Metadata { family: &self.name, kind: self.kind, help: &self.help, unit: self.unit }
    }
}

/// Whether a family's name with this ending is the name of one of its series.
fn is_ending(kind: MetricType, ending: &str) -> bool {
    let endings: &[&str] = match kind {
        MetricType::Counter => &["_total", "_created"],
        MetricType::Histogram => &["_bucket", "_count", "_sum", "_created"],
        MetricType::GaugeHistogram => &["_bucket", "_gcount", "_gsum"],
        MetricType::Summary => &["_count", "_sum", "_created"],
        MetricType::Info => &["_info"],
        MetricType::Unknown | MetricType::Gauge | MetricType::StateSet => &[],
    };
    ending.is_empty() || endings.contains(&ending)
}
