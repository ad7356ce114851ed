//! One file that is known, and reading it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::entry::Origin;
use crate::identity::{Position, Print, TAIL_BYTES_MAX};
use crate::source::{Source, Stat};
use crate::split::{Ahead, LineFormat, Step};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 128 << 10;

/// A file that is known.
#[derive(Debug)]
pub struct Tracked {
    /// Its number.
    pub number: u64,
    /// Its path when it was last seen.
    pub path: PathBuf,
    /// What the file system said last. The inode is zero when the file's bytes are no longer there.
    pub stat: Stat,
    /// Whether the file system would say something else by now if the file had changed since then: its stamps have a grain.
    pub is_settled: bool,
    /// Its first bytes.
    pub head: Print,
    /// Everything before is read.
    pub read: Position,
    /// Everything before is stored.
    pub stored: Position,
    /// The open file.
    pub source: Option<Source>,
    /// Whether there may be bytes that are not read.
    pub is_dirty: bool,
    /// Whether there are bytes that are no record yet.
    pub is_partial: bool,
    /// When it was last found by its path, in monotonic time.
    pub seen_at: Duration,
    /// When it was last found to be larger.
    pub grown_at: Duration,
    /// Whether it was found by its path in the last search.
    pub is_listed: bool,
}

/// How far to read.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// No further than this offset, where everything there is ends for good.
    pub until: Option<u64>,
    /// Whether what is there at the end is a record.
    pub is_flush: bool,
    /// Stop after about so many bytes.
    pub bytes_max: u64,
}

/// How a reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// At the end of the file.
    AtEnd,
    /// Before it.
    Stopped,
    /// The first bytes, or those before the position, are not those that were read: it is another file by now.
    Changed,
}

/// Takes records; false stops the reading after this one.
pub type OnRecord<'a> = &'a mut dyn FnMut(&[u8], Origin) -> bool;

impl Tracked {
    /// The file's bytes are no longer there: whoever comes with the same ones goes on from its position.
    pub fn detach(&mut self) {
        self.stat.inode = 0;
        self.source = None;
        self.is_dirty = false;
        self.is_partial = false;
        self.is_listed = false;
    }

    /// Whether it is the file of this inode.
    #[must_use]
    pub fn is_inode(&self, stat: &Stat) -> bool {
        stat.inode != 0 && (self.stat.device, self.stat.inode) == (stat.device, stat.inode)
    }

    /// Whether it still lives somewhere with the bytes that were read, although no path leads to it.
    pub fn lives_elsewhere(&mut self) -> bool {
        let Some(source) = &mut self.source else { return false };
        let has_name = source.stat().is_ok_and(|stat| stat.links > 0);
        has_name && source.head(self.head.bytes).is_ok_and(|head| self.head.begins(&head))
    }

    /// Whether another file has the same bytes up to the position.
    pub fn is_continued_by(&self, source: &mut Source, head: &[u8]) -> io::Result<bool> {
        let bytes = self.read.tail.bytes;
        if self.head.bytes == 0 || !self.head.begins(head) {
            return Ok(false);
        }
        let mut tail = Vec::new();
        source.read(self.read.offset.saturating_sub(bytes as u64), bytes, &mut tail)?;
        Ok(bytes == 0 || self.read.tail.is_of(&tail))
    }

    /// Reads records from the position on.
    ///
    /// The file may be truncated and written anew between any two looks at it. So its first bytes are looked at after each piece
    /// that was read: as long as they are those that were there, so is the piece. What is read of another file is no part of this
    /// one, and is left to the next search.
    pub fn read(
        &mut self,
        format: &LineFormat,
        extent: Extent,
        on_record: OnRecord<'_>,
    ) -> io::Result<Ended> {
        let Some(source) = &mut self.source else { return Ok(Ended::AtEnd) };
        let head = self.head;
        let mut window = Window::open(source, &self.read, extent.until)?;
        let Some(window) = &mut window else { return Ok(Ended::Changed) };
        if !begins_with(source, head)? {
            return Ok(Ended::Changed);
        }
        let start = self.read.offset;
        let ended = loop {
            let ahead = Ahead { is_end: window.is_end, is_flush: extent.is_flush };
            let data = window.data();
            let (advance, wants_more) = match format.step(data, ahead, &mut self.read.is_skipping) {
                Step::More if window.is_end => break Ended::AtEnd,
                Step::More => {
                    window.fill(source, self.read.offset)?;
                    if !begins_with(source, head)? {
                        break Ended::Changed;
                    }
                    continue;
                }
                Step::Skip(bytes) => (bytes, true),
                Step::Record { advance, text } => {
                    let Position { offset: start, records: record, .. } = self.read;
                    self.read.records += 1;
                    (advance, on_record(&data[text], Origin { file: self.number, start, record }))
                }
            };
            window.at += advance;
            self.read.offset += advance as u64;
            if !wants_more || self.read.offset - start >= extent.bytes_max {
                break Ended::Stopped;
            }
        };
        self.is_partial = ended == Ended::AtEnd && !window.data().is_empty();
        self.read.tail = window.tail();
        Ok(ended)
    }
}

/// Whether a file still begins with these bytes. What is compressed is not truncated and written on, and costs more to look at.
fn begins_with(source: &mut Source, head: Print) -> io::Result<bool> {
    Ok(source.is_compressed() || head.begins(&source.head(head.bytes)?))
}

/// Bytes around the position.
struct Window {
    bytes: Vec<u8>,
    /// Where in them the position is.
    at: usize,
    is_end: bool,
    until: Option<u64>,
}

impl Window {
    /// Reads at a position; none if the bytes before it are not those that were there.
    fn open(source: &mut Source, position: &Position, until: Option<u64>) -> io::Result<Option<Window>> {
        let back = position.tail.bytes;
        let from = position.offset.saturating_sub(back as u64);
        let mut bytes = Vec::new();
        source.read(from, back, &mut bytes)?;
        if back > 0 && !position.tail.is_of(&bytes) {
            return Ok(None);
        }
        let mut window = Window { bytes, at: back, is_end: false, until };
        window.fill(source, position.offset)?;
        Ok(Some(window))
    }

    fn data(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// Reads the next bytes; `offset` is that of the position.
    fn fill(&mut self, source: &mut Source, offset: u64) -> io::Result<()> {
        // What lies before the position is kept as far as the tail needs it.
        let spent = self.at.saturating_sub(TAIL_BYTES_MAX);
        self.bytes.drain(..spent);
        self.at -= spent;
        let known = self.data().len();
        let next = offset + known as u64;
        // A record that is large is read in larger steps, so that it is not looked through too often.
        let wanted = CHUNK_BYTES.max(known) as u64;
        let wanted = self.until.map_or(wanted, |until| wanted.min(until.saturating_sub(next)));
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let read = source.read(next, wanted, &mut self.bytes)?;
        self.is_end = read < wanted || wanted == 0;
        Ok(())
    }

    fn tail(&self) -> Print {
        Print::of(&self.bytes[self.at.saturating_sub(TAIL_BYTES_MAX)..self.at])
    }
}
