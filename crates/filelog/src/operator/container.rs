//! `container`: the lines that Docker, CRI-O and containerd write, and what a file's path says about the pod.
//!
//! A line of CRI is `TIME STREAM TAG TEXT`, where the tag `P` says that the text goes on in the next line of the stream; those
//! are put together. Docker's are JSON.

use std::sync::LazyLock;

use regex::bytes::Regex;

use super::parse::Parse;
use super::recombine::Recombine;
use super::{missing, named_groups, text_of};
use crate::entry::Entry;
use crate::field::Field;
use crate::value::{Map, Value, parse_json};

/// The attribute with the path of the file.
pub const PATH_ATTRIBUTE: &str = "log.file.path";
/// The attribute with the name of the stream.
const STREAM_ATTRIBUTE: &str = "log.iostream";

/// A runtime's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON with `log`, `stream` and `time`.
    Docker,
    /// CRI with an offset in its times.
    CriO,
    /// CRI with times in UTC.
    Containerd,
}

/// The operator.
#[derive(Clone, Debug)]
pub struct Container {
    /// The format; none is found out for each line.
    pub format: Option<Format>,
    /// Whether the path says which pod it is.
    pub add_metadata: bool,
    /// What all parsers share.
    pub parse: Parse,
    /// How partial lines are put together.
    pub recombine: Recombine,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// It is an entry.
    Whole,
    /// It may be a part of one.
    Part,
}

static CRIO: LazyLock<Result<Regex, regex::Error>> = LazyLock::new(|| {
    Regex::new(r"(?s-u)^(?P<time>[^ Z]+) (?P<stream>stdout|stderr) (?P<logtag>[^ ]*) ?(?P<log>.*)$")
});
static CONTAINERD: LazyLock<Result<Regex, regex::Error>> = LazyLock::new(|| {
    Regex::new(r"(?s-u)^(?P<time>[^ Z]+Z) (?P<stream>stdout|stderr) (?P<logtag>[^ ]*) ?(?P<log>.*)$")
});
static PATH: LazyLock<Result<Regex, regex::Error>> = LazyLock::new(|| {
    Regex::new(
        r"^.*[/\\](?P<namespace>[^_]+)_(?P<pod>[^_]+)_(?P<uid>[a-f0-9-]+)[/\\](?P<container>[^._]+)[/\\](?P<restarts>[0-9]+)\.log$",
    )
});

/// Groups of the path, and what they are called in the resource.
const METADATA: [(&str, &str); 5] = [
    ("namespace", "k8s.namespace.name"),
    ("pod", "k8s.pod.name"),
    ("uid", "k8s.pod.uid"),
    ("container", "k8s.container.name"),
    ("restarts", "k8s.container.restart_count"),
];

impl Container {
    /// Parses one line.
    pub fn apply(&self, entry: &mut Entry) -> Result<Parsed, String> {
        let text = text_of(&self.parse.from, entry)?;
        let format = match self.format {
            Some(format) => format,
            None => detect(text)?,
        };
        let fields = match format {
            Format::Docker => docker(text)?,
            Format::CriO => groups(&CRIO, text)?,
            Format::Containerd => groups(&CONTAINERD, text)?,
        };
        self.parse.merge(fields, entry)?;
        self.finish(entry)?;
        Ok(if format == Format::Docker { Parsed::Whole } else { Parsed::Part })
    }

    /// Time, body and stream go where they belong, and the path says which pod it is.
    fn finish(&self, entry: &mut Entry) -> Result<(), String> {
        let [time, log, stream] = ["time", "log", "stream"].map(Field::attribute);
        let text = text_of(&time, entry)?;
        let moment: jiff::Timestamp = text.parse().map_err(|_| format!("{text:?} is not a time"))?;
        let moment =
            i64::try_from(moment.as_nanosecond()).map_err(|_| "the time is out of range".to_owned())?;
        entry.timestamp = Some(moment);
        _ = time.take(entry);
        entry.body = log.take(entry).ok_or_else(|| missing(&log))?;
        let name = stream.take(entry).ok_or_else(|| missing(&stream))?;
        entry.attributes.insert(STREAM_ATTRIBUTE.to_owned(), name);
        if self.add_metadata { add_metadata(entry) } else { Ok(()) }
    }
}

fn groups(pattern: &LazyLock<Result<Regex, regex::Error>>, text: &str) -> Result<Map, String> {
    let pattern = pattern.as_ref().map_err(ToString::to_string)?;
    named_groups(pattern, text).ok_or_else(|| "the line is not in the format of CRI".to_owned())
}

fn detect(text: &str) -> Result<Format, String> {
    let matches = |pattern: &LazyLock<Result<Regex, regex::Error>>| {
        pattern.as_ref().is_ok_and(|pattern| pattern.is_match(text.as_bytes()))
    };
    if text.starts_with('{') {
        Ok(Format::Docker)
    } else if matches(&CRIO) {
        Ok(Format::CriO)
    } else if matches(&CONTAINERD) {
        Ok(Format::Containerd)
    } else {
        Err("the line is in no format of a container runtime that is known".to_owned())
    }
}

/// Docker writes the newline of each line into the JSON; it is not part of the record.
fn docker(text: &str) -> Result<Map, String> {
    let Value::Map(mut fields) = parse_json(text, false)? else {
        return Err("the line is no JSON object".to_owned());
    };
    if let Some(Value::Str(log)) = fields.get_mut("log")
        && log.ends_with('\n')
    {
        log.pop();
    }
    Ok(fields)
}

fn add_metadata(entry: &mut Entry) -> Result<(), String> {
    let path = entry.attributes.get(PATH_ATTRIBUTE).and_then(Value::text);
    let path = path.ok_or("the attribute log.file.path is missing: set include_file_path to true")?;
    let pattern = PATH.as_ref().map_err(ToString::to_string)?;
    let mut found =
        named_groups(pattern, path).ok_or_else(|| format!("{path:?} is not the path of a pod's log file"))?;
    for (group, name) in METADATA {
        entry.resource.insert(name.to_owned(), found.remove(group).unwrap_or_default());
    }
    Ok(())
}
