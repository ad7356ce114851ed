//! The file `referrers` of a block: which of its spans link to which traces, so that a trace can say who refers to it.
//!
//! Traces are named by their fingerprints, ascending, in one column, and the rows of the spans that link stand in a second.
//! Fingerprints are spread evenly, so that the place of one is guessed, and a look-up reads one or two chunks of the file,
//! however long it is. What is found is compared with the span's own links: a fingerprint is not an id.

use crate::block::checksums::CheckedFile;
use crate::error::Error;

/// The file's name in the block's folder.
pub(crate) const FILE_NAME: &str = "referrers";

const MAGIC: [u8; 4] = *b"TLRF";
const VERSION: u32 = 1;
const HEAD_BYTES: u64 = 16;
const FINGERPRINT_BYTES: u64 = 8;
const ROW_BYTES: u64 = 4;

/// Fingerprints that are read at once: a quarter of a checked chunk.
const WINDOW: u64 = 512;

/// Guesses before the middle is taken: fingerprints that somebody chose are not spread evenly.
const GUESSES: u32 = 4;

/// The bytes of the file; links come in any order.
pub(crate) fn encode(mut links: Vec<(u64, u32)>) -> Vec<u8> {
    links.sort_unstable();
    links.dedup();
    let mut out =
        Vec::with_capacity(HEAD_BYTES as usize + links.len() * (FINGERPRINT_BYTES + ROW_BYTES) as usize);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(links.len() as u64).to_le_bytes());
    links.iter().for_each(|(fingerprint, _)| out.extend_from_slice(&fingerprint.to_le_bytes()));
    links.iter().for_each(|(_, row)| out.extend_from_slice(&row.to_le_bytes()));
    out
}

/// The file of a block.
#[derive(Clone)]
pub(crate) struct Referrers {
    file: CheckedFile,
    count: u64,
}

impl Referrers {
    /// Checks the head of the file.
    pub(crate) fn open(file: CheckedFile) -> Result<Referrers, Error> {
        let damaged = |detail: &str| Error::damaged(file.path(), detail);
        let head = file.read(0, HEAD_BYTES as usize)?;
        let (magic, rest) = head.split_at_checked(4).ok_or_else(|| damaged("it ends early"))?;
        let (version, count) = rest.split_at_checked(4).ok_or_else(|| damaged("it ends early"))?;
        if magic != MAGIC {
            return Err(damaged("it does not start as a list of referrers does"));
        }
        let version = u32::from_le_bytes(version.try_into().unwrap_or_default());
        if version != VERSION {
            return Err(Error::Version {
                path: file.path().to_path_buf(),
                found: version,
                supported: VERSION,
            });
        }
        let count = u64::from_le_bytes(count.try_into().unwrap_or_default());
        let bytes =
            count.checked_mul(FINGERPRINT_BYTES + ROW_BYTES).and_then(|bytes| bytes.checked_add(HEAD_BYTES));
        if bytes != Some(file.bytes()) {
            return Err(damaged("it is not as long as it says"));
        }
        Ok(Referrers { file, count })
    }

    /// The rows of spans that may link to a trace, ascending, at most so many, and whether there are more.
    pub(crate) fn rows_of(&self, fingerprint: u64, limit: usize) -> Result<(Vec<u32>, bool), Error> {
        let first = self.first_of(fingerprint)?;
        let mut rows = Vec::new();
        let mut at = first;
        while at < self.count {
            let window = self.fingerprints(at)?;
            let same = window.iter().take_while(|other| **other == fingerprint).count();
            let wanted = same.min(limit.saturating_sub(rows.len()));
            let from = HEAD_BYTES + self.count * FINGERPRINT_BYTES + at * ROW_BYTES;
            let bytes = self.file.read(from, wanted * ROW_BYTES as usize)?;
            rows.extend(bytes.as_chunks::<4>().0.iter().map(|row| u32::from_le_bytes(*row)));
            if wanted < same {
                return Ok((rows, true));
            }
            if same < window.len() {
                break;
            }
            at += same as u64;
        }
        Ok((rows, false))
    }

    /// How many links it lists.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The links to traces that are wanted, at most so many to each: fingerprints, and the rows of the spans that link. Goes through all
    /// fingerprints.
    pub(crate) fn among(
        &self,
        is_wanted: impl Fn(u64) -> bool,
        limit: usize,
    ) -> Result<Vec<(u64, u32)>, Error> {
        let mut out = Vec::new();
        let (mut at, mut of, mut n) = (0, None, 0);
        while at < self.count {
            let window = self.fingerprints(at)?;
            let mut hits = Vec::new();
            for (place, fingerprint) in window.iter().copied().enumerate() {
                n = if of == Some(fingerprint) { n + 1 } else { 1 };
                of = Some(fingerprint);
                if n <= limit && is_wanted(fingerprint) {
                    hits.push((place, fingerprint));
                }
            }
            if !hits.is_empty() {
                let from = HEAD_BYTES + self.count * FINGERPRINT_BYTES + at * ROW_BYTES;
                let bytes = self.file.read(from, window.len() * ROW_BYTES as usize)?;
                let rows = bytes.as_chunks::<4>().0;
                let row = |place: usize| rows.get(place).map(|row| u32::from_le_bytes(*row));
                out.extend(hits.into_iter().filter_map(|(place, of)| Some((of, row(place)?))));
            }
            at += window.len() as u64;
        }
        Ok(out)
    }

    /// The fingerprints from a place on, as many as are read at once.
    fn fingerprints(&self, at: u64) -> Result<Vec<u64>, Error> {
        let n = WINDOW.min(self.count.saturating_sub(at));
        let bytes = self.file.read(HEAD_BYTES + at * FINGERPRINT_BYTES, (n * FINGERPRINT_BYTES) as usize)?;
        Ok(bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }

    /// The place of the first fingerprint that is not less.
    fn first_of(&self, fingerprint: u64) -> Result<u64, Error> {
        // It lies from `low` to `high`.
        let (mut low, mut high, mut guesses) = (0, self.count, 0);
        while low < high {
            guesses += 1;
            let guess = if guesses <= GUESSES {
                ((u128::from(fingerprint) * u128::from(self.count)) >> 64) as u64
            } else {
                low + (high - low) / 2
            };
            let at = guess.saturating_sub(WINDOW / 2).clamp(low, high.saturating_sub(1));
            let window = self.fingerprints(at)?;
            let less = window.partition_point(|other| *other < fingerprint);
            match less {
                0 => high = at,
                n if n < window.len() => return Ok(at + n as u64),
                n => low = at + n as u64,
            }
        }
        Ok(low)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::block::checksums::FileWriter;
    use crate::disk::SimDisk;

    fn opened(links: &[(u64, u32)], damage: impl Fn(&mut Vec<u8>)) -> Result<Referrers, Error> {
        let disk = SimDisk::new(1);
        let folder = Path::new("/block");
        crate::disk::Disk::create_dir_all(&disk, folder).expect("a folder");
        let mut bytes = encode(links.to_vec());
        damage(&mut bytes);
        let mut file = FileWriter::create(&disk, folder, FILE_NAME).expect("a file");
        std::io::Write::write_all(&mut file, &bytes).expect("written");
        let sums = file.finish().expect("finished");
        Referrers::open(CheckedFile::open(&disk, folder, sums).expect("opened"))
    }

    #[test]
    fn every_link_is_found_and_no_other() {
        let spread = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let even: Vec<(u64, u32)> = (0..10_000).map(|n| (spread(n / 3), n as u32)).collect();
        let crowded: Vec<(u64, u32)> = (0..5_000).map(|n| (n / 700, n as u32)).collect();
        for links in [even, crowded, vec![(u64::MAX, 7)], vec![(0, 0)], Vec::new()] {
            let referrers = opened(&links, |_| {}).expect("opened");
            let all: std::collections::BTreeSet<u64> = links.iter().map(|(of, _)| *of).collect();
            for wanted in all.iter().copied().chain([0, 1, 8, u64::MAX, u64::MAX / 2, spread(77_777)]) {
                let expected: Vec<u32> =
                    links.iter().filter(|(of, _)| *of == wanted).map(|(_, row)| *row).collect();
                assert_eq!(
                    referrers.rows_of(wanted, usize::MAX).expect("read"),
                    (expected, false),
                    "{wanted}"
                );
            }
        }
    }

    #[test]
    fn all_that_is_wanted_is_found_at_once() {
        let links: Vec<(u64, u32)> = (0..5_000).map(|n| (n / 7 * 1_000, n as u32)).collect();
        let referrers = opened(&links, |_| {}).expect("opened");
        for (limit, step) in [(usize::MAX, 1), (usize::MAX, 13), (3, 13), (1, 1)] {
            let is_wanted = |of: u64| of.is_multiple_of(step * 1_000);
            let mut expected: Vec<(u64, u32)> = Vec::new();
            for of_one in links.chunk_by(|a, b| a.0 == b.0).filter(|of_one| is_wanted(of_one[0].0)) {
                expected.extend(of_one.iter().take(limit));
            }
            assert_eq!(referrers.among(is_wanted, limit).expect("read"), expected, "{limit}, {step}");
        }
        assert!(opened(&[], |_| {}).expect("opened").among(|_| true, 1).expect("read").is_empty());
    }

    #[test]
    fn many_links_are_cut() {
        let links: Vec<(u64, u32)> = (0..3_000).map(|row| (5, row)).collect();
        let referrers = opened(&links, |_| {}).expect("opened");
        let (rows, more) = referrers.rows_of(5, 1_000).expect("read");
        assert_eq!((rows.len(), more), (1_000, true));
        assert!(!referrers.rows_of(5, 3_000).expect("read").1);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let links = [(1, 1), (2, 2)];
        assert!(opened(&links, |bytes| bytes[0] = b'x').is_err());
        assert!(opened(&links, |bytes| bytes[4] = 9).is_err());
        assert!(opened(&links, |bytes| bytes[15] = 0xff).is_err());
        assert!(opened(&links, |bytes| bytes.truncate(20)).is_err());
    }
}
