//! Receivers on real files with a store: rotation, truncation, restarts, copies.

#![expect(clippy::disallowed_methods, reason = "a test of real files has real files")]

mod bench;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use bench::{Bench, Folder, receiver, wait_until};
use throughline_filelog::Compression;
use throughline_filelog::chain::Chain;
use throughline_filelog::checkpoint::{self, Part, Pending};
use throughline_filelog::expr::Expression;
use throughline_filelog::field::Field;
use throughline_filelog::glob::Glob;
use throughline_filelog::identity::Position;
use throughline_filelog::operator::recombine::{Edge, Recombine, RecombineLimits};
use throughline_filelog::operator::{Action, OnError, Operator, Output};
use throughline_filelog::settings::OnTruncate;

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("opened");
    file.write_all(text.as_bytes()).expect("written");
}

fn numbered(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("line {number:06} of a log")).collect()
}

#[test]
fn files_are_read_from_where_it_is_said() {
    let folder = Folder::new("start");
    append(&folder.file("old.log"), "before\n");
    let mut bench = Bench::new();
    let mut at_end = receiver(&folder);
    at_end.find.from_beginning = false;
    bench.start(at_end);
    wait_until(|| bench.stats().files == 1, "the old file is known");
    append(&folder.file("old.log"), "after\npart");
    append(&folder.file("new.log"), "\n  first  \n\nlast without an end");
    // What nothing ends is a record after a while.
    bench.expect(&["after", "part", "first", "last without an end"]);
    let attributes = bench.attributes("first");
    assert_eq!(attributes["log.file.name"], "new.log");
    assert_eq!(attributes["log.file.path"], folder.file("new.log").display().to_string());
}

#[test]
fn patterns_and_ages_leave_files_out() {
    let folder = Folder::new("exclude");
    for name in ["a.log", "skip.log", "b.txt"] {
        append(&folder.file(name), &format!("{name}\n"));
    }
    let mut settings = receiver(&folder);
    settings.find.include =
        vec![Glob::parse(&folder.file("*.log").display().to_string()).expect("a pattern")];
    settings.find.exclude =
        vec![Glob::parse(&folder.file("skip*").display().to_string()).expect("a pattern")];
    let mut bench = Bench::new();
    bench.start(settings.clone());
    bench.expect(&["a.log"]);
    // A receiver that knows no age would rightly read it.
    bench.stop();
    settings.find.exclude_older_than = Some(Duration::from_secs(3600));
    let old = fs::File::create(folder.file("old.log")).expect("created");
    append(&folder.file("old.log"), "old\n");
    old.set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).expect("set");
    bench.start(settings);
    append(&folder.file("a.log"), "more\n");
    bench.expect(&["a.log", "more"]);
}

/// Writes lines while the receiver reads, and rotates after every `every`.
fn rotate(name: &str, every: usize, rotate: impl Fn(&Folder, usize)) {
    let folder = Folder::new(name);
    let mut bench = Bench::new();
    bench.start(receiver(&folder));
    let lines = numbered(0..2000);
    for (index, line) in lines.iter().enumerate() {
        append(&folder.file("app.log"), &format!("{line}\n"));
        if index % every == every - 1 {
            rotate(&folder, index);
        }
        if index % 97 == 0 {
            std::thread::sleep(Duration::from_millis(7));
        }
    }
    bench.expect_all(&lines);
}

#[test]
fn a_rotation_by_renaming_loses_and_repeats_nothing() {
    rotate("rename", 113, |folder, index| {
        fs::rename(folder.file("app.log"), folder.file(&format!("app.log.{index}"))).expect("renamed");
    });
}

#[test]
fn a_rotation_by_copying_and_truncating_loses_and_repeats_nothing() {
    let copy = |folder: &Folder, index: usize| {
        fs::copy(folder.file("app.log"), folder.file(&format!("app.log.{index}"))).expect("copied");
        OpenOptions::new().write(true).truncate(true).open(folder.file("app.log")).expect("truncated");
    };
    rotate("copytruncate", 113, copy);
    // Files shorter than what they are known by, several of them within one search.
    rotate("copytruncate-short", 11, copy);
}

#[test]
fn a_copy_waits_for_its_original_to_be_truncated() {
    let folder = Folder::new("slow-copy");
    let mut bench = Bench::new();
    bench.start(receiver(&folder));
    append(&folder.file("app.log"), "one\ntwo\n");
    bench.expect(&["one", "two"]);
    append(&folder.file("app.log.1"), "one\n");
    std::thread::sleep(Duration::from_millis(100));
    append(&folder.file("app.log.1"), "two\n");
    std::thread::sleep(Duration::from_millis(100));
    append(&folder.file("app.log.1"), "three\n");
    fs::write(folder.file("app.log"), "four\n").expect("written");
    bench.expect(&["one", "two", "three", "four"]);
}

#[test]
fn a_file_that_leaves_the_pattern_is_read_to_its_end() {
    let folder = Folder::new("leave");
    let mut settings = receiver(&folder);
    settings.find.include =
        vec![Glob::parse(&folder.file("app.log").display().to_string()).expect("a pattern")];
    let mut bench = Bench::new();
    bench.start(settings);
    append(&folder.file("app.log"), "one\n");
    bench.expect(&["one"]);
    append(&folder.file("app.log"), "two\n");
    fs::rename(folder.file("app.log"), folder.file("app.log.1")).expect("renamed");
    append(&folder.file("app.log.1"), "three\n");
    append(&folder.file("app.log"), "one\nof the new file\n");
    bench.expect(&["one", "two", "three", "one", "of the new file"]);
}

#[test]
fn a_restart_goes_on_where_the_last_run_was() {
    let folder = Folder::new("restart");
    let mut bench = Bench::new();
    let lines = numbered(0..300);
    append(&folder.file("app.log"), &(lines[..100].join("\n") + "\n"));
    bench.start(receiver(&folder));
    bench.expect_all(&lines[..100]);
    bench.stop();
    append(&folder.file("app.log"), &(lines[100..200].join("\n") + "\n"));
    fs::rename(folder.file("app.log"), folder.file("app.log.1")).expect("renamed");
    // A file that came while nobody looked is read from its beginning, whatever start_at says.
    append(&folder.file("app.log"), &(lines[200..].join("\n") + "\n"));
    let mut settings = receiver(&folder);
    settings.find.from_beginning = false;
    bench.start(settings);
    bench.expect_all(&lines);
}

#[test]
fn a_request_on_its_way_at_a_crash_is_made_again_and_known_again() {
    let folder = Folder::new("replay");
    let mut bench = Bench::new();
    append(&folder.file("app.log"), "one\ntwo\n");
    bench.start(receiver(&folder));
    bench.expect(&["one", "two"]);
    bench.stop();
    // As if the process had ended between the store's answer and the next checkpoint.
    let (path, times) = (bench.checkpoint(), bench.records().into_iter().map(|record| record.observed_time));
    let observed_at = times.min().expect("records");
    let mut saved = checkpoint::load(&*bench.disk, &path).expect("read").expect("saved");
    assert_eq!((saved.sequence, saved.pending.take()), (1, None));
    let end = saved.files[0].stored.offset;
    saved.files[0].stored = Position::default();
    let parts = vec![Part { file: saved.files[0].number, end }];
    saved.pending = Some(Pending { sequence: 1, observed_at, parts, is_released: false });
    checkpoint::save(&*bench.disk, &path, &saved).expect("saved");
    append(&folder.file("app.log"), "three\n");
    bench.start(receiver(&folder));
    bench.expect(&["one", "two", "three"]);
    assert_eq!(bench.stats().deduplicated_requests, 1);
    bench.stop();
    // As if it had ended before the store had it.
    checkpoint::save(&*bench.disk, &path, &saved).expect("saved");
    bench.forget_what_is_stored();
    bench.start(receiver(&folder));
    bench.expect(&["one", "two", "three"]);
    assert_eq!(bench.stats().deduplicated_requests, 0);
}

#[test]
fn a_damaged_checkpoint_is_no_new_beginning() {
    let folder = Folder::new("damaged");
    let mut bench = Bench::new();
    append(&folder.file("app.log"), "one\n");
    bench.start(receiver(&folder));
    bench.expect(&["one"]);
    bench.stop();
    bench.disk.replace(&bench.checkpoint(), b"nonsense\n").expect("written");
    let refused = bench.try_start(receiver(&folder)).expect_err("refused");
    assert!(refused.contains("move it away"), "{refused}");
}

#[test]
fn lines_that_wait_for_others_are_not_lost_by_a_stop() {
    let folder = Folder::new("waiting");
    let condition = Expression::parse("not (body startsWith ' ')", &|_| None).expect("an expression");
    let recombine = Recombine {
        edge: Edge::First(condition),
        field: Field::body(),
        with: "\n".to_owned(),
        keep_newest: false,
        sources: vec![Field::attribute("log.file.path")],
        limits: RecombineLimits {
            parts: 1000,
            unmatched_parts: 100,
            bytes: 0,
            sources: 10,
            wait: Duration::from_secs(3600),
        },
    };
    let operator = Operator {
        id: "recombine".to_owned(),
        condition: None,
        on_error: OnError::Send { is_quiet: false },
        outputs: vec![Output::Store],
        action: Action::Recombine(Box::new(recombine)),
    };
    let mut settings = receiver(&folder);
    settings.format.keep_leading = true;
    settings.chain = Chain::new(vec![operator]).expect("a chain");
    let mut bench = Bench::new();
    append(&folder.file("app.log"), "whole\nbegins\n  goes on\n");
    bench.start(settings.clone());
    bench.expect(&["whole"]);
    wait_until(|| bench.stats().lines == 3, "all lines are read");
    bench.stop();
    append(&folder.file("app.log"), "  ends\nnext\n");
    bench.start(settings);
    bench.expect(&["whole", "begins\n  goes on\n  ends"]);
}

#[test]
fn truncated_files_that_begin_as_before_are_read_as_is_said() {
    let banner = format!("{}\n", "a banner ".repeat(20).trim());
    for (on_truncate, expected) in [
        (OnTruncate::Ignore, vec![]),
        (OnTruncate::ReadWholeFile, vec!["again"]),
        (OnTruncate::ReadNew, vec![]),
    ] {
        let folder = Folder::new(&format!("truncate-{on_truncate:?}"));
        let mut settings = receiver(&folder);
        settings.find.fingerprint_bytes = 64;
        settings.find.on_truncate = on_truncate;
        let mut bench = Bench::new();
        append(&folder.file("app.log"), &format!("{banner}one\ntwo\nthree\n"));
        bench.start(settings);
        let first = [banner.trim(), "one", "two", "three"];
        bench.expect(&first);
        fs::write(folder.file("app.log"), format!("{banner}again\n")).expect("written");
        wait_until(|| bench.stats().truncated_files > 0, "the truncation is seen");
        let mut all = first.to_vec();
        if on_truncate == OnTruncate::ReadWholeFile {
            all.push(banner.trim());
        }
        all.extend(expected);
        bench.expect(&all);
        append(&folder.file("app.log"), "and\nso on, for longer than before\n");
        match on_truncate {
            // Other bytes than before: it is another file, and all of it is read.
            OnTruncate::Ignore => all.extend([banner.trim(), "again"]),
            OnTruncate::ReadWholeFile | OnTruncate::ReadNew => {}
        }
        all.extend(["and", "so on, for longer than before"]);
        bench.expect(&all);
    }
}

#[test]
fn more_files_than_may_be_open_are_read_all() {
    let folder = Folder::new("many");
    let mut settings = receiver(&folder);
    settings.find.open_max = 3;
    let mut bench = Bench::new();
    bench.start(settings);
    let lines = numbered(0..200);
    for (index, line) in lines.iter().enumerate() {
        append(&folder.file(&format!("{}.log", index % 40)), &format!("{line}\n"));
    }
    bench.expect_all(&lines);
    assert!(bench.stats().open_files <= 3);
}

#[test]
fn compressed_files_are_read_and_known_again() {
    let folder = Folder::new("gzip");
    let mut settings = receiver(&folder);
    settings.find.compression = Compression::Auto;
    let mut bench = Bench::new();
    append(&folder.file("app.log"), "one\ntwo\n");
    bench.start(settings);
    bench.expect(&["one", "two"]);
    // The rotation compresses what was read already, with a line that was not.
    let mut compressed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    compressed.write_all(b"one\ntwo\nthree\n").expect("compressed");
    fs::remove_file(folder.file("app.log")).expect("removed");
    fs::write(folder.file("app.log.1.gz"), compressed.finish().expect("compressed")).expect("written");
    bench.expect(&["one", "two", "three"]);
}

#[test]
fn files_are_removed_once_they_are_stored() {
    let folder = Folder::new("delete");
    let mut settings = receiver(&folder);
    settings.find.delete_after_read = true;
    let mut bench = Bench::new();
    append(&folder.file("a.log"), "one\ntwo without an end");
    bench.start(settings);
    bench.expect(&["one", "two without an end"]);
    wait_until(|| !folder.file("a.log").exists(), "the file is removed");
}

#[test]
fn long_and_broken_lines_are_kept() {
    let folder = Folder::new("broken");
    let mut bench = Bench::new();
    let long = "x".repeat(3 << 20);
    let mut bytes = b"nul \0 byte\nnot \xff text\n".to_vec();
    bytes.extend_from_slice(format!("{long}\nlast\n").as_bytes());
    fs::write(folder.file("a.log"), bytes).expect("written");
    bench.start(receiver(&folder));
    let piece = "x".repeat(1 << 20);
    bench.expect(&["nul \0 byte", "not \u{fffd} text", &piece, &piece, &piece, "last"]);
}

#[test]
fn a_store_that_takes_nothing_is_waited_for() {
    let folder = Folder::new("full");
    let mut bench = Bench::new();
    bench.start(receiver(&folder));
    append(&folder.file("a.log"), "one\n");
    bench.expect(&["one"]);
    // Less is free than is kept in reserve.
    bench.store_disk.set_capacity(bench.store_disk.used_bytes() + 1000);
    let mut lines = numbered(0..500);
    for line in &lines {
        append(&folder.file("a.log"), &format!("{line}\n"));
        std::thread::sleep(Duration::from_millis(1));
    }
    wait_until(
        || {
            append(&folder.file("a.log"), "more\n");
            lines_of(&folder).len() > 100_000 || bench.stats().store_waits > 0
        },
        "the store takes nothing",
    );
    lines = lines_of(&folder);
    bench.store_disk.set_capacity(u64::MAX);
    bench.expect_all(&lines);
    assert!(bench.stats().store_waits > 0);
}

fn lines_of(folder: &Folder) -> Vec<String> {
    fs::read_to_string(folder.file("a.log")).expect("read").lines().map(str::to_owned).collect()
}
