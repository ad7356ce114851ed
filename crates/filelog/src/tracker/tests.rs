//! What happens to files between a search and the reading, one step at a time.

#![expect(clippy::disallowed_methods, reason = "a test of real files has real files")]

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::Tracker;
use crate::encoding::Encoding;
use crate::glob::Glob;
use crate::settings::{FindConfig, OnTruncate};
use crate::source::Compression;
use crate::split::{LineFormat, Splitter, TooLong};
use crate::tracked::{Ended, Extent};

/// A folder, what looks for files in it, and everything that was read.
struct Bench {
    folder: PathBuf,
    tracker: Tracker,
    lines: Vec<String>,
}

impl Bench {
    fn new(name: &str) -> Bench {
        let folder = std::env::temp_dir().join(format!("throughline-tracker-{name}-{}", std::process::id()));
        _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("created");
        let find = FindConfig {
            include: vec![Glob::parse(&folder.join("*").display().to_string()).expect("a pattern")],
            exclude: Vec::new(),
            exclude_older_than: None,
            poll_interval: Duration::from_millis(5),
            from_beginning: true,
            fingerprint_bytes: 1000,
            open_max: 10,
            compression: Compression::None,
            on_truncate: OnTruncate::Ignore,
            delete_after_read: false,
        };
        Bench { folder, tracker: Tracker::new(find, 1, None), lines: Vec::new() }
    }

    /// Writes a file anew, in the place of what it was, with the same stamp each time.
    fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        fs::write(&path, text).expect("written");
        let file = OpenOptions::new().append(true).open(&path).expect("opened");
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)).expect("set");
    }

    /// Rotates by copying and truncating.
    fn rotate(&self, to: &str) {
        fs::copy(self.folder.join("app.log"), self.folder.join(to)).expect("copied");
        self.write("app.log", "");
    }

    /// Looks for files a second after the stamp of all of them.
    fn scan(&mut self) {
        self.tracker.scan(Duration::from_secs(1), 1_700_000_001_000_000_000);
    }

    /// Reads every file to its end, as the worker does.
    fn read(&mut self) -> Vec<Ended> {
        let format = LineFormat {
            encoding: Encoding::Utf8,
            splitter: Splitter::Newline,
            bytes_max: 1 << 20,
            too_long: TooLong::Split,
            keep_leading: false,
            keep_trailing: false,
        };
        let extent = Extent { until: None, is_flush: false, bytes_max: u64::MAX };
        let mut all = Vec::new();
        for number in self.tracker.readable(Duration::from_secs(1), None) {
            let file = self.tracker.files.get_mut(&number).expect("a file");
            let lines = &mut self.lines;
            let mut on_record = |record: &[u8], _| {
                lines.push(String::from_utf8_lossy(record).into_owned());
                true
            };
            let ended = file.read(&format, extent, &mut on_record).expect("read");
            match ended {
                Ended::Changed => file.detach(),
                Ended::AtEnd | Ended::Stopped => file.is_dirty = false,
            }
            all.push(ended);
        }
        all
    }

    fn sorted(&self) -> Vec<&str> {
        let mut lines: Vec<&str> = self.lines.iter().map(String::as_str).collect();
        lines.sort_unstable();
        lines
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn what_was_truncated_since_it_was_met_is_not_read_as_what_was_met() {
    let mut bench = Bench::new("met");
    bench.write("app.log", "a1\na2\n");
    bench.scan();
    bench.write("app.log", "a1\na2\na3\n");
    bench.rotate("app.log.1");
    bench.write("app.log", "b1\n");
    assert_eq!(bench.read(), [Ended::Changed]);
    for _ in 0..3 {
        bench.scan();
        bench.read();
    }
    assert_eq!(bench.sorted(), ["a1", "a2", "a3", "b1"]);
}

#[test]
fn what_was_truncated_since_the_search_is_not_read_on() {
    let mut bench = Bench::new("searched");
    bench.write("app.log", "a1\na2\n");
    bench.scan();
    bench.read();
    bench.write("app.log", "a1\na2\na3\n");
    bench.scan();
    bench.rotate("app.log.1");
    // The bytes before the position are those of the file that was there, the first ones are not.
    bench.write("app.log", "b1\na2\nb3\n");
    let tail = &mut bench.tracker.files.values_mut().next().expect("a file").read.tail;
    *tail = crate::identity::Print::of(b"a2\n");
    assert_eq!(bench.read(), [Ended::Changed]);
    for _ in 0..3 {
        bench.scan();
        bench.read();
    }
    let mut lines = bench.sorted();
    lines.dedup();
    assert_eq!(lines, ["a1", "a2", "a3", "b1", "b3"]);
}

#[test]
fn another_file_of_the_same_size_and_stamp_is_another_file() {
    let mut bench = Bench::new("stamp");
    bench.write("app.log", "a1\na2\n");
    bench.scan();
    bench.read();
    bench.write("app.log", "a1\na2\na3\n");
    bench.rotate("app.log.1");
    bench.write("app.log", "b1\nb2\n");
    bench.scan();
    bench.read();
    assert_eq!(bench.sorted(), ["a1", "a2", "a3", "b1", "b2"]);
}
