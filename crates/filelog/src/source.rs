//! Files as they are read: at any offset, decompressed where they are compressed. The only place that touches log files.

#![expect(
    clippy::disallowed_methods,
    reason = "log files belong to other programs: they are no part of the store"
)]

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use flate2::read::MultiGzDecoder;

/// How files are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// By gzip, all of them.
    Gzip,
    /// By gzip where the name ends with `.gz`.
    Auto,
}

/// What the file system says about a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// The device that it is on.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// Its size as it is on the disk.
    pub size: u64,
    /// When it was last changed, nanoseconds since the epoch.
    pub modified_at: i64,
    /// How many names it has.
    pub links: u64,
    /// The number of its owner.
    pub owner: u32,
    /// The number of its group.
    pub group: u32,
}

impl Stat {
    fn of(metadata: &fs::Metadata) -> Stat {
        Stat {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified_at: metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
            links: metadata.nlink(),
            owner: metadata.uid(),
            group: metadata.gid(),
        }
    }
}

/// What a path leads to; none if it is no plain file or not there.
#[must_use]
pub fn stat(path: &Path) -> Option<Stat> {
    let metadata = fs::metadata(path).ok()?;
    metadata.is_file().then(|| Stat::of(&metadata))
}

/// The names in a folder, and whether each is a folder itself; a link to one is none. Nothing if it cannot be read.
#[must_use]
pub fn list(folder: &Path) -> Vec<(String, bool)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.filter_map(Result::ok).filter_map(|entry| {
        // A name that is no text cannot be in a pattern, nor in an attribute.
        let name = entry.file_name().into_string().ok()?;
        Some((name, entry.file_type().is_ok_and(|kind| kind.is_dir())))
    });
    names.collect()
}

/// The path without links.
#[must_use]
pub fn resolve(path: &Path) -> Option<std::path::PathBuf> {
    fs::canonicalize(path).ok()
}

/// The name of a user or a group, from the machine's lists.
#[must_use]
pub fn name_of(list: &'static str, number: u32) -> Option<String> {
    let text = fs::read_to_string(list).ok()?;
    let number = number.to_string();
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    })
}

/// Removes a file that is read and stored.
pub fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}

/// An open file.
#[derive(Debug)]
pub struct Source {
    file: File,
    is_compressed: bool,
    /// What decompresses, and how much it gave.
    decoder: Option<(MultiGzDecoder<BufReader<File>>, u64)>,
}

impl Source {
    /// Opens a file.
    pub fn open(path: &Path, compression: Compression) -> io::Result<Source> {
        let is_compressed = match compression {
            Compression::None => false,
            Compression::Gzip => true,
            Compression::Auto => path.extension().is_some_and(|ending| ending == "gz"),
        };
        Ok(Source { file: File::open(path)?, is_compressed, decoder: None })
    }

    /// Whether it is decompressed.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.is_compressed
    }

    /// What the file system says about it.
    pub fn stat(&self) -> io::Result<Stat> {
        self.file.metadata().map(|metadata| Stat::of(&metadata))
    }

    /// The first bytes.
    pub fn head(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read(0, most, &mut bytes)?;
        Ok(bytes)
    }

    /// How many bytes there are, decompressed.
    pub fn len(&mut self) -> io::Result<u64> {
        if !self.is_compressed {
            return Ok(self.stat()?.size);
        }
        let (mut at, mut piece) = (0, Vec::new());
        loop {
            piece.clear();
            match self.read(at, 1 << 20, &mut piece)? {
                0 => return Ok(at),
                bytes => at += bytes as u64,
            }
        }
    }

    /// Appends bytes from an offset on, fewer than `most` only at the end; the number of them is the result.
    pub fn read(&mut self, offset: u64, most: usize, into: &mut Vec<u8>) -> io::Result<usize> {
        let before = into.len();
        if self.is_compressed {
            self.read_compressed(offset, most, into)?;
            return Ok(into.len() - before);
        }
        into.resize(before + most, 0);
        let mut read = 0;
        while read < most {
            match self.file.read_at(&mut into[before + read..], offset + read as u64) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    into.truncate(before);
                    return Err(error);
                }
            }
        }
        into.truncate(before + read);
        Ok(read)
    }

    fn read_compressed(&mut self, offset: u64, most: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let (mut decoder, mut at) = match self.decoder.take() {
            Some((decoder, at)) if at <= offset => (decoder, at),
            _ => {
                let mut file = self.file.try_clone()?;
                file.seek(SeekFrom::Start(0))?;
                (MultiGzDecoder::new(BufReader::new(file)), 0)
            }
        };
        let before = into.len();
        at += io::copy(&mut decoder.by_ref().take(offset - at), &mut io::sink()).or_else(ended)?;
        if at == offset {
            decoder.by_ref().take(most as u64).read_to_end(into).or_else(|error| ended(error).map(|_| 0))?;
            at += (into.len() - before) as u64;
            // At the end a new decoder is needed, which sees what is added later.
            self.decoder = (into.len() - before == most).then_some((decoder, at));
        }
        Ok(())
    }
}

/// A file that is still being compressed ends in the middle.
fn ended(error: io::Error) -> io::Result<u64> {
    if error.kind() == io::ErrorKind::UnexpectedEof { Ok(0) } else { Err(error) }
}
