//! The `filelog` receiver, as the Collector configures it.
//!
//! What the Collector knows and this version does not is refused by its name.

mod operators;
mod parsers;
mod storage;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use throughline_exec::search_bytes_regex;
use throughline_filelog::Compression;
use throughline_filelog::encoding::Encoding;
use throughline_filelog::expr::Template;
use throughline_filelog::glob::Glob;
use throughline_filelog::settings::{FindConfig, LabelConfig, OnTruncate, Receiver, RetryConfig};
use throughline_filelog::split::{LineFormat, Splitter, TooLong};
use throughline_filelog::value::{Map, Value};

use super::components::refuse_known;
use super::section::{Problem, Section};
use super::tree::{self, Node};

pub use storage::{Storages, read as read_storages};

/// Records may be so large: several of them are in memory at once.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// First bytes may be so many: they are read whenever a file changes.
const FINGERPRINT_BYTES_MAX: u64 = 1 << 20;

/// Names that the receiver goes by: the second is what newer Collectors call it.
pub const KINDS: [&str; 2] = ["filelog", "file_log"];

/// Reads one receiver; none where something is wrong with it.
pub fn read(
    path: &str,
    id: &str,
    node: Node,
    storages: &Storages,
    problems: &mut Vec<Problem>,
) -> Option<(Receiver, Vec<String>)> {
    let before = problems.len();
    let mut section = Section::new(path, Some(node), problems);
    refuse_known(
        &mut section,
        &[
            "ordering_criteria",
            "header",
            "initial_buffer_size",
            "include_file_permissions",
            "file_cache_advise",
            "acquire_fs_lock",
            "max_batches",
            "polls_to_archive",
        ],
    );
    let find = read_find(&mut section);
    let encoding = read_encoding(&mut section);
    let format = read_format(&mut section, encoding);
    let flush_after = section.duration("force_flush_period", Duration::from_millis(500), Duration::ZERO);
    let labels = read_labels(&mut section);
    let retry = read_retry(section.section("retry_on_failure"));
    let storage = read_storage(&mut section, storages);
    let operators = section.list("operators");
    section.finish();
    let (chain, has_metadata) = operators::read(&format!("{path}::operators"), operators, problems);
    let mut warnings = Vec::new();
    if has_metadata && !labels.path {
        warnings.push(format!(
            "{path}: the container operator takes metadata from the attribute log.file.path, which is not there: set \
             include_file_path to true, or add_metadata_from_filepath to false"
        ));
    }
    if problems.len() > before {
        return None;
    }
    let flush_after = (!flush_after.is_zero()).then_some(flush_after);
    let receiver =
        Receiver { id: id.to_owned(), find, format, flush_after, labels, chain: chain?, retry, storage };
    Some((receiver, warnings))
}

fn read_find(section: &mut Section<'_>) -> FindConfig {
    let include = globs(section, "include");
    if include.is_empty() {
        section.refuse("include", None, "names no file");
    }
    let exclude = globs(section, "exclude");
    let oldest = section.duration("exclude_older_than", Duration::ZERO, Duration::ZERO);
    let from_beginning = section.choice("start_at", false, &[("end", false), ("beginning", true)]);
    let poll_interval =
        section.duration("poll_interval", Duration::from_millis(200), Duration::from_millis(1));
    let fingerprint = section.size("fingerprint_size", 1000, 16);
    if fingerprint > FINGERPRINT_BYTES_MAX {
        section.refuse(
            "fingerprint_size",
            None,
            format!("is above the most of {FINGERPRINT_BYTES_MAX} bytes"),
        );
    }
    let open_max = section.number("max_concurrent_files", 1024, 2..=100_000);
    let ways = [("", Compression::None), ("gzip", Compression::Gzip), ("auto", Compression::Auto)];
    let compression = section.choice("compression", Compression::None, &ways);
    let ways = [
        ("ignore", OnTruncate::Ignore),
        ("read_whole_file", OnTruncate::ReadWholeFile),
        ("read_new", OnTruncate::ReadNew),
    ];
    let on_truncate = section.choice("on_truncate", OnTruncate::Ignore, &ways);
    let delete_after_read = section.flag("delete_after_read", false);
    if delete_after_read && !from_beginning {
        section.refuse("delete_after_read", None, "cannot be used with start_at: end");
    }
    FindConfig {
        include,
        exclude,
        exclude_older_than: (!oldest.is_zero()).then_some(oldest),
        poll_interval,
        from_beginning,
        fingerprint_bytes: usize::try_from(fingerprint).unwrap_or(usize::MAX),
        open_max: usize::try_from(open_max).unwrap_or(usize::MAX),
        compression,
        on_truncate,
        delete_after_read,
    }
}

fn globs(section: &mut Section<'_>, key: &'static str) -> Vec<Glob> {
    let mut out = Vec::new();
    for text in section.texts(key) {
        match Glob::parse(&text) {
            Ok(glob) => out.push(glob),
            Err(reason) => section.refuse(key, None, reason),
        }
    }
    out
}

fn read_encoding(section: &mut Section<'_>) -> Encoding {
    section.scalar("encoding", Encoding::Utf8, |text| {
        let names =
            "utf-8, ascii, utf-16le, utf-16be, latin1, nop, or another name of the IANA's that is supported";
        Encoding::from_name(text)
            .ok_or_else(|| format!("the encoding {text:?} is not supported: write {names}"))
    })
}

fn read_format(section: &mut Section<'_>, encoding: Encoding) -> LineFormat {
    let bytes = section.size("max_log_size", 1 << 20, 1);
    if bytes > LOG_BYTES_MAX {
        section.refuse("max_log_size", None, format!("is above the most of {LOG_BYTES_MAX} bytes"));
    }
    let ways = [("split", TooLong::Split), ("truncate", TooLong::Truncate)];
    let too_long = section.choice("max_log_size_behavior", TooLong::Split, &ways);
    let keep_leading = section.flag("preserve_leading_whitespaces", false);
    let keep_trailing = section.flag("preserve_trailing_whitespaces", false);
    let splitter = match section.optional_section("multiline") {
        Some(multiline) => read_multiline(multiline, encoding),
        None => Splitter::Newline,
    };
    if too_long == TooLong::Truncate && !matches!(splitter, Splitter::Newline) {
        section.refuse("max_log_size_behavior", None, "truncate is not supported with multiline yet");
    }
    let bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX);
    LineFormat { encoding, splitter, bytes_max, too_long, keep_leading, keep_trailing }
}

fn read_multiline(mut section: Section<'_>, encoding: Encoding) -> Splitter {
    let start = section.text("line_start_pattern", String::new());
    let end = section.text("line_end_pattern", String::new());
    let omit = section.flag("omit_pattern", false);
    let (key, pattern) = match (start.is_empty(), end.is_empty()) {
        (false, true) => ("line_start_pattern", start),
        (true, false) => ("line_end_pattern", end),
        (true, true) => {
            section.finish();
            return Splitter::Newline;
        }
        (false, false) => {
            section.refuse("", None, "only one of line_start_pattern or line_end_pattern can be set");
            section.finish();
            return Splitter::Newline;
        }
    };
    if matches!(encoding, Encoding::Nop | Encoding::Legacy(_)) {
        section.refuse(key, None, "is supported with utf-8, utf-16 and latin1 only");
    }
    let compiled = search_bytes_regex(&pattern, "m");
    if let Err(error) = &compiled {
        section.refuse(key, None, error.to_string());
    }
    section.finish();
    match compiled {
        Ok(pattern) if key == "line_start_pattern" => Splitter::Start { pattern, omit },
        Ok(pattern) => Splitter::End { pattern, omit },
        Err(_) => Splitter::Newline,
    }
}

fn read_labels(section: &mut Section<'_>) -> LabelConfig {
    LabelConfig {
        name: section.flag("include_file_name", true),
        path: section.flag("include_file_path", false),
        name_resolved: section.flag("include_file_name_resolved", false),
        path_resolved: section.flag("include_file_path_resolved", false),
        owner: section.flag("include_file_owner_name", false),
        group: section.flag("include_file_owner_group_name", false),
        record_number: section.flag("include_file_record_number", false),
        record_offset: section.flag("include_file_record_offset", false),
        attributes: templates(section, "attributes"),
        resource: templates(section, "resource"),
    }
}

/// A map of names to texts with expressions.
fn templates(section: &mut Section<'_>, key: &'static str) -> Vec<(String, Template)> {
    let mut out = Vec::new();
    for (name, text) in section.pairs(key) {
        match Template::parse(&text, &environment) {
            Ok(template) => out.push((name, template)),
            Err(reason) => section.refuse(key, None, format!("{name}: {reason}")),
        }
    }
    out
}

/// Whether it is enabled changes nothing: reading always pauses while the store takes nothing, and no line is given up.
fn read_retry(mut section: Section<'_>) -> RetryConfig {
    _ = section.flag("enabled", false);
    let initial = section.duration("initial_interval", Duration::from_secs(1), Duration::from_millis(1));
    let max = section.duration("max_interval", Duration::from_secs(30), Duration::from_millis(1));
    let elapsed = section.duration("max_elapsed_time", Duration::ZERO, Duration::ZERO);
    if !elapsed.is_zero() {
        section.refuse("max_elapsed_time", None, "lines are never given up: write 0, or leave it out");
    }
    section.finish();
    RetryConfig { initial, max }
}

fn read_storage(section: &mut Section<'_>, storages: &Storages) -> Option<PathBuf> {
    let id = section.optional_text("storage")?;
    let found = storages.get(id.trim()).cloned();
    if found.is_none() {
        section.refuse(
            "storage",
            None,
            format!("references extension {id:?} which is not a file_storage that is configured"),
        );
    }
    found
}

/// A variable of the process: expressions may ask for one.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A value of the file as one of an entry. Its depth is limited by the parser of the file.
fn value(node: &Node) -> Value {
    match &node.value {
        tree::Value::Null => Value::Null,
        tree::Value::Bool(b) => Value::Bool(*b),
        tree::Value::Int(n) => Value::Int(*n),
        tree::Value::Float(n) => Value::Float(*n),
        tree::Value::Text(text) => Value::Str(text.clone()),
        tree::Value::List(items) => Value::List(items.iter().map(value).collect()),
        tree::Value::Map(entries) => {
            Value::Map(entries.iter().map(|(key, node)| (key.name.clone(), value(node))).collect::<Map>())
        }
    }
}
