//! Reads arbitrary bytes as if they were a file of a block whose checksums agree, as far as they go: what the fuzz
//! targets and the mutation tests call. The outcome does not matter, only that there is one.

mod table;

use std::io::Write as _;
use std::path::Path;

use super::checksums::{self, CheckedFile, FileWriter};
use super::index::IndexReader;
use super::index::tokens::TextTokens;
use super::read::picked_of;
use super::samples::Run;
use crate::disk::{Disk, SimDisk};
use crate::error::Error;

pub use table::{CHANGE_BYTES, ProbedBlock, damage};

/// Reads bytes as the file `checksums`.
pub fn checksums(bytes: &[u8]) -> Result<usize, Error> {
    checksums::decode(Path::new("checksums"), bytes, crc32c::crc32c(bytes)).map(|files| files.len())
}

/// Reads bytes as the file `index`, and asks it for a few traces.
pub fn index(bytes: &[u8]) -> Result<usize, Error> {
    let disk = SimDisk::new(0);
    let folder = Path::new("block");
    disk.create_dir_all(folder).map_err(Error::io("create", folder))?;
    let mut file = FileWriter::create(&disk, folder, "index")?;
    file.write_all(bytes).map_err(Error::io("write", folder))?;
    let reader = IndexReader::open(CheckedFile::open(&disk, folder, file.finish()?)?)?;
    let mut found = 0;
    let tokens = TextTokens::of("4f2a said 42");
    for n in 0..64u64 {
        for row in reader.candidates(n << 58)? {
            found += reader.postings(row)?.logs.len();
        }
        found += reader.postings(n as u32).map(|postings| postings.exemplars.len()).unwrap_or_default();
        found += usize::from(reader.may_contain_tokens(n as usize, &tokens)?);
    }
    Ok(found + reader.all_postings()?.len())
}

/// Reads bytes as a column chunk of every form, and picks a few rows of it.
pub fn chunk(bytes: &[u8]) -> usize {
    picked_of(bytes)
}

/// Reads bytes as the streams of a run of samples: its counts, times, values and payload.
pub fn run(bytes: &[u8]) -> Result<usize, Error> {
    let (head, rest) = bytes.split_at_checked(4).unwrap_or((&[1, 1, 1, 1], bytes));
    let number = |at: usize| head.get(at).copied().unwrap_or_default();
    let part = |n: usize| rest.get(rest.len() * n / 5..rest.len() * (n + 1) / 5).unwrap_or_default().to_vec();
    let run = Run {
        series_count: u32::from(number(0)),
        point_count: u32::from(number(1)),
        payload_form: number(2) % 3,
        counts: part(0),
        times: part(1),
        start_times: part(2),
        values: part(3),
        payload: Some(part(4)),
        ..Run::default()
    };
    run.series();
    run.points(true).map(|points| points.len())
}
