//! What is put into an index is found in it.

use std::io::Write;
use std::path::Path;

use super::*;
use crate::block::checksums::{CheckedFile, FileWriter};
use crate::disk::{Disk, SimDisk};

fn postings(trace: u32) -> TracePostings {
    TracePostings {
        first_span: 0,
        span_count: trace % 7,
        logs: (0..trace % 5).map(|log| trace * 3 + log * 1_000).collect(),
        exemplars: (0..trace % 2).map(|exemplar| trace + exemplar).collect(),
    }
}

fn fingerprint(trace: u32) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&trace.to_le_bytes())
}

fn open(writer: IndexWriter) -> IndexReader {
    let disk = SimDisk::new(1);
    let folder = Path::new("block");
    disk.create_dir_all(folder).unwrap();
    let mut file = FileWriter::create(&disk, folder, "index").unwrap();
    file.write_all(&writer.finish().unwrap()).unwrap();
    let sums = file.finish().unwrap();
    IndexReader::open(CheckedFile::open(&disk, folder, sums).unwrap()).unwrap()
}

#[test]
fn every_trace_is_found_with_its_rows() {
    for n in [0, 1, 63, 64, 65, 5_000] {
        let mut writer = IndexWriter::default();
        (0..n).for_each(|trace| writer.add_trace(fingerprint(trace), &postings(trace)));
        let index = open(writer);
        let mut first_span = 0;
        for trace in 0..n {
            assert_eq!(index.candidates(fingerprint(trace)).unwrap(), [trace], "{n}");
            let expected = TracePostings { first_span, ..postings(trace) };
            assert_eq!(index.postings(trace).unwrap(), expected);
            first_span += expected.span_count;
        }
        let all = index.all_postings().unwrap();
        assert_eq!(all.len(), n as usize);
        assert!((0..n).all(|trace| all[trace as usize] == index.postings(trace).unwrap()));
        // Of many at once the same as one by one.
        for step in [1, 7, 100] {
            let some: Vec<u32> = (0..n).step_by(step).collect();
            let expected: Vec<TracePostings> =
                some.iter().map(|trace| all[*trace as usize].clone()).collect();
            assert_eq!(index.postings_of(&some).unwrap(), expected);
            let asked = some.iter().rev().copied().chain([n]).map(fingerprint);
            let found = index.candidates_of(asked).unwrap();
            let places = (0..some.len()).rev().zip(&some).map(|(at, trace)| (*trace, at));
            let known: Vec<(u32, usize)> = places.collect();
            assert_eq!(found.into_iter().filter(|(_, at)| *at < some.len()).collect::<Vec<_>>(), known);
        }
        let absent = (n..n + 10_000).filter(|trace| index.may_contain(fingerprint(*trace))).count();
        assert!(absent < 100, "the filter lets {absent} of 10,000 absent traces through");
    }
}

#[test]
fn tokens_of_a_text_are_in_its_filter() {
    let has = |filter: &[u8], text: &str| {
        let mut all = true;
        tokens::each_token(text, |hash| all &= fuse::may_contain(filter, hash));
        all
    };
    let mut collected = tokens::TokenFilter::new();
    (0..10_000).for_each(|n| collected.add(&format!("request {n}")));
    let many = collected.take().unwrap().bytes;
    assert!((0..10_000).all(|n| has(&many, &format!("request {n}"))));
    assert!(many.len() < 13_000, "{}", many.len());
    let absent = (10_000..20_000).filter(|n| has(&many, &n.to_string())).count();
    assert!(absent < 100, "{absent} of 10,000 are let through, and one in 256 should be");
    collected.add("user=42 said: Grüße, RetryAttempts=3");
    let filter = collected.take().unwrap();
    assert!(has(&filter.bytes, "retryattempts 3 Grüße 42 user said") && !has(&filter.bytes, "request"));
    assert!(collected.take().unwrap().bytes.is_empty(), "nothing is left of what was taken");
    let mut writer = IndexWriter::default();
    writer.add_tokens(&filter);
    let index = open(writer);
    let asks = |row_group: usize, text: &str| {
        index.may_contain_tokens(row_group, &tokens::TextTokens::of(text)).unwrap()
    };
    assert!(asks(0, " RetryAttempts said 42 ") && asks(0, ""));
    assert!(!asks(0, " RetryAttempts of nobody who was ever here "));
    assert!(asks(0, "nobody"), "it may be a part of a word");
    assert!(asks(0, "42") && !asks(0, "43"), "no word with a digit is longer");
    assert!(asks(0, "4"), "it may be a part of 42");
    assert!(asks(1, " there is no filter "));
}

/// Row groups of unlikely many words take no more memory for it, and every text may be in them.
#[test]
fn a_filter_of_too_many_tokens_lets_all_through() {
    let mut collected = tokens::TokenFilter::new();
    (0..1_200_000).for_each(|n| collected.add(&n.to_string()));
    let filter = collected.take().unwrap();
    assert_eq!(filter.bytes.len(), 1);
    let mut writer = IndexWriter::default();
    writer.add_tokens(&filter);
    assert!(open(writer).may_contain_tokens(0, &tokens::TextTokens::of(" nobody ")).unwrap());
}
