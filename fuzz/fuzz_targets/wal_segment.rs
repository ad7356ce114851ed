//! A segment of the write-ahead log: whatever its bytes are, reading it ends.
#![no_main]

use std::path::Path;

use throughline_store::wal::Reader;
use throughline_store::{Disk, SimDisk};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let disk = SimDisk::new(0);
    let path = Path::new("segment");
    disk.write_new(path, input).expect("a simulated disk has room");
    let Ok(mut reader) = Reader::open(&disk, path, 1) else { return };
    while let Ok(Some(_)) = reader.next_found() {}
});
