//! The replay: frames above the floor, once each, through the decoder that first read them.
//!
//! - A segment counts up to the first LSN of the next one; frames at or below the last one seen are skipped.
//! - A missing LSN is *lost* if a later frame says that it was synced, and *torn* otherwise: then nobody was told that
//!   it was stored.
//! - Damage after the last frame is the torn end of the last write. It is kept in a `.broken` file and cut off.

use std::path::{Path, PathBuf};

use throughline_model::Signal;
use throughline_wire::{Compression, DecodeContext, DecodeLimits, Decoder, Encoding, Rejection};

use super::super::{Engine, LOG_FOLDER, lock};
use crate::error::Error;
use crate::manifest::Lost;
use crate::set_aside;
use crate::wal::frame::Header;
use crate::wal::segment::SegmentName;
use crate::wal::{Cursor, Found, Kind, Reader};

/// Bodies in the log passed the receiver's limit when they were written, which may have been any up to this.
const BODY_BYTES_MAX: usize = 1 << 30;

/// What a replay comes to.
pub(super) struct Replayed {
    pub(super) cursor: Cursor,
    /// Segments that hold acknowledged records that could not be replayed.
    pub(super) suspects: Vec<PathBuf>,
    /// Ranges of LSNs that were torn: what is written from now on must not make them look like losses.
    pub(super) torn: Vec<(u64, u64)>,
}

/// Missing LSNs of which it is not known yet whether they were synced.
#[derive(Clone, Copy)]
struct Gap {
    first_lsn: u64,
    last_lsn: u64,
    items: u64,
}

struct Replay<'a> {
    engine: &'a Engine,
    cursor: Cursor,
    gaps: Vec<Gap>,
    decoder: Decoder,
    /// Stored bytes that were no frames, since the last frame.
    damage: Option<Damage>,
    suspects: Vec<PathBuf>,
    /// Ranges that an earlier recovery found torn.
    torn: Vec<(u64, u64)>,
}

struct Damage {
    offset: u64,
    bytes: u64,
    header: Option<Header>,
}

impl Engine {
    pub(super) fn replay(&self, names: &[SegmentName]) -> Result<Replayed, Error> {
        let floor = self.applied().floor.clone();
        let mut replay = Replay {
            engine: self,
            cursor: Cursor { next_lsn: floor.lsn, previous_crc: 0, total_items: floor.total_items },
            gaps: Vec::new(),
            decoder: Decoder::new(),
            damage: None,
            suspects: Vec::new(),
            torn: Vec::new(),
        };
        let dir = self.folder(LOG_FOLDER);
        for (index, name) in names.iter().enumerate() {
            let end_lsn = names.get(index + 1).map_or(u64::MAX, |next| next.first_lsn);
            if end_lsn <= floor.lsn {
                continue;
            }
            let path = name.path(&dir);
            let is_last = index + 1 == names.len();
            if let Err(error) = replay.segment(&path, end_lsn, is_last) {
                if matches!(error, Error::Version { .. }) {
                    return Err(error);
                }
                // The frames that could not be read show as a gap, if there were any.
                replay.suspects.push(path);
                self.counters.note(self.clock.now(), error.to_string());
            }
        }
        replay.finish();
        let torn = replay.torn.into_iter().chain(replay.gaps.iter().map(|gap| (gap.first_lsn, gap.last_lsn)));
        Ok(Replayed { cursor: replay.cursor, suspects: replay.suspects, torn: torn.collect() })
    }
}

impl Replay<'_> {
    fn segment(&mut self, path: &Path, end_lsn: u64, is_last: bool) -> Result<(), Error> {
        let engine = self.engine;
        let salt = lock(&engine.manifest).manifest.store_id;
        let mut reader = Reader::open(engine.disk.as_ref(), path, salt)?;
        let limits = match reader.header() {
            Some(header) => {
                self.torn.clone_from(&header.torn);
                let torn = &self.torn;
                self.gaps.retain(|gap| !torn.contains(&(gap.first_lsn, gap.last_lsn)));
                header.limits
            }
            None => {
                let text = format!("{}: the first page is damaged, its frames are not", path.display());
                engine.counters.note(engine.clock.now(), text);
                engine.config.limits
            }
        };
        self.damage = None;
        let mut hashes = Vec::new();
        let mut youngest = i64::MIN;
        while let Some(found) = reader.next_found()? {
            match found {
                Found::Damage { offset, bytes, header } => {
                    let sum = self.damage.as_ref().map_or(0, |damage| damage.bytes);
                    let offset = self.damage.as_ref().map_or(offset, |damage| damage.offset);
                    self.damage = Some(Damage { offset, bytes: sum + bytes, header });
                }
                Found::Frame { header, payload } => {
                    if header.place.lsn < self.cursor.next_lsn || header.place.lsn >= end_lsn {
                        self.damage = None;
                        continue;
                    }
                    let lost_before = engine.applied().floor.lost;
                    self.step_to(path, &header);
                    self.apply(&header, &payload, limits);
                    if engine.applied().floor.lost != lost_before
                        && self.suspects.last().is_none_or(|p| p != path)
                    {
                        self.suspects.push(path.to_path_buf());
                    }
                    hashes.push(header.frame.content_hash);
                    youngest = youngest.max(header.frame.received_at);
                    self.flush_if_full();
                }
            }
        }
        let (now, monotonic) = (engine.clock.now(), engine.clock.monotonic());
        let age_ns = u64::try_from(now.saturating_sub(youngest)).unwrap_or(0);
        let age = std::time::Duration::from_nanos(if hashes.is_empty() { 0 } else { age_ns });
        lock(&engine.log).dedup.restore(hashes, monotonic, age);
        if is_last && self.damage.is_some() {
            let end = reader.end();
            self.cut_tail(path, end.frames_end, end.written_end)?;
        }
        Ok(())
    }

    /// Accounts for the LSNs between the last frame and this one.
    fn step_to(&mut self, path: &Path, header: &Header) {
        let (place, items) = (header.place, header.frame.items());
        self.settle(place.synced_lsn);
        if place.lsn > self.cursor.next_lsn {
            let before = place.total_items.saturating_sub(items);
            let gap = Gap {
                first_lsn: self.cursor.next_lsn,
                last_lsn: place.lsn - 1,
                items: before.saturating_sub(self.cursor.total_items),
            };
            self.gaps.push(gap);
            self.settle(place.synced_lsn);
        }
        if let Some(damage) = self.damage.take() {
            let text = format!(
                "{}: {} bytes at offset {} are not what was written",
                path.display(),
                damage.bytes,
                damage.offset
            );
            self.engine.counters.note(self.engine.clock.now(), text);
        }
        self.cursor =
            Cursor { next_lsn: place.lsn + 1, previous_crc: header.crc, total_items: place.total_items };
    }

    /// Gaps that were synced are losses.
    fn settle(&mut self, synced_lsn: u64) {
        let engine = self.engine;
        self.gaps.retain(|gap| {
            if gap.first_lsn > synced_lsn {
                return true;
            }
            let records = gap.last_lsn - gap.first_lsn + 1;
            {
                let mut applied = engine.applied();
                let lost = &mut applied.floor.lost;
                *lost = Lost { records: lost.records + records, items: lost.items + gap.items };
            }
            let text = format!(
                "{records} records (LSN {} to {}, {} items) were lost to damage of the write-ahead log",
                gap.first_lsn, gap.last_lsn, gap.items
            );
            engine.counters.note(engine.clock.now(), text.clone());
            engine.show(|visible| visible.with_missing(text));
            false
        });
    }

    fn apply(&mut self, header: &Header, payload: &[u8], limits: DecodeLimits) {
        let engine = self.engine;
        let frame = header.frame;
        engine.counters.replayed_records.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        engine.counters.replayed_items.fetch_add(frame.items(), std::sync::atomic::Ordering::Relaxed);
        let decoded = match frame.kind {
            Kind::Duplicate => None,
            Kind::Write => Some(decode(&mut self.decoder, header, payload, limits)),
        };
        let monotonic = engine.clock.monotonic();
        let mut applied = engine.applied();
        applied.floor.lsn = header.place.lsn + 1;
        applied.floor.total_items = header.place.total_items;
        applied.memtable_since.get_or_insert(monotonic);
        match decoded {
            None => applied.floor.ledger.add_duplicate(frame.signal, frame.items()),
            Some(Ok((batch, rejected))) => {
                let stored = batch.items() as u64;
                applied.floor.ledger.add_stored(frame.signal, stored, &rejected);
                applied.hashes.push(frame.content_hash);
                if !batch.is_empty() {
                    engine.observer.stored(header.place.lsn, frame.received_at, &batch);
                    applied.memtable.insert(batch, frame.received_at);
                }
                let differs = (stored, Rejection::total(&rejected))
                    != (u64::from(frame.accepted), u64::from(frame.rejected));
                drop(applied);
                if differs {
                    let text = format!(
                        "LSN {}: {stored} items were replayed, {} were acknowledged",
                        header.place.lsn, frame.accepted
                    );
                    engine.counters.note(engine.clock.now(), text);
                }
            }
            Some(Err(detail)) => {
                let lost = &mut applied.floor.lost;
                *lost = Lost { records: lost.records + 1, items: lost.items + frame.items() };
                drop(applied);
                let text = format!(
                    "LSN {}: its {} items cannot be decoded: {detail}",
                    header.place.lsn, frame.accepted
                );
                engine.counters.note(engine.clock.now(), text.clone());
                engine.show(|visible| visible.with_missing(text));
            }
        }
    }

    fn flush_if_full(&self) {
        let engine = self.engine;
        let is_full = engine.applied().memtable.bytes() > engine.config.memtable_bytes;
        if is_full && let Err(error) = engine.flush_once() {
            engine.counters.note(engine.clock.now(), error.to_string());
        }
    }

    /// Cuts off what a torn write left after the last frame, and keeps it beside the segment.
    fn cut_tail(&mut self, path: &Path, frames_end: u64, written_end: u64) -> Result<(), Error> {
        let Some(damage) = self.damage.take() else { return Ok(()) };
        let engine = self.engine;
        let disk = engine.disk.as_ref();
        engine.counters.torn_records.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let items =
            damage.header.map_or(String::new(), |h| format!(" (a record of {} items)", h.frame.items()));
        let name =
            path.with_extension("broken").file_name().unwrap_or_default().to_string_lossy().into_owned();
        let broken = path.with_file_name(set_aside::stamped(&name, set_aside::BROKEN, engine.clock.now()));
        let text = format!(
            "{}: {} bytes{items} at the end are no whole record: cut off, kept in {}",
            path.display(),
            damage.bytes,
            broken.display()
        );
        engine.counters.note(engine.clock.now(), text);
        let file = disk.open(path).map_err(Error::io("open", path))?;
        let from = frames_end.min(damage.offset);
        let mut tail = vec![0; usize::try_from(written_end.saturating_sub(from)).unwrap_or(0)];
        file.read_exact_at(from, &mut tail).map_err(Error::io("read", path))?;
        // On a full disk there is no room for a copy: then the tail stays where it is.
        if disk.replace(&broken, &tail).is_ok() {
            file.truncate(from).and_then(|()| file.sync_data()).map_err(Error::io("truncate", path))?;
        }
        Ok(())
    }

    fn finish(&mut self) {
        let torn: u64 = self.gaps.iter().map(|gap| gap.last_lsn - gap.first_lsn + 1).sum();
        self.engine.counters.torn_records.fetch_add(torn, std::sync::atomic::Ordering::Relaxed);
    }
}

type Request = (throughline_model::Batch, Vec<Rejection>);

fn decode(
    decoder: &mut Decoder,
    header: &Header,
    payload: &[u8],
    limits: DecodeLimits,
) -> Result<Request, String> {
    let frame = header.frame;
    let encoding = Encoding::from_code(frame.encoding).ok_or("unknown encoding")?;
    let compression = Compression::from_code(frame.compression).ok_or("unknown compression")?;
    let body =
        throughline_wire::decompress(payload, compression, BODY_BYTES_MAX).map_err(|e| e.to_string())?;
    let context = DecodeContext { received_at: frame.received_at, limits };
    let signal: Signal = frame.signal;
    let decoded = decoder.decode(signal, encoding, &body, &context).map_err(|e| e.to_string())?;
    Ok((decoded.batch, decoded.rejected))
}
