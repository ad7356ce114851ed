//! Tallies of a block's log records: how many of each page are of each origin and level. Counted once, because a block does not
//! change; counts over windows, lists of labels and volumes need nothing else of a page that lies within a piece of time.
//!
//! A page with more kinds of records than a tally is worth has none, and is looked at.

use std::ops::Range;

use ahash::AHashMap as HashMap;

use super::log_alike::level_codes;
use super::log_scan::Choosing;
use super::services::LogRun;
use super::{Block, TableReader};
use crate::block::Table;
use crate::error::Error;
use crate::snapshot::log_kinds::LevelCounts;
use crate::snapshot::log_scan::{LogScan, LogVisitor, More, PieceOf, Progress};

/// A page has at most so many tallies: a sixteenth of its records.
const PAGE_TALLIES_MAX: usize = 128;

/// A block remembers so many origins; records of others are looked at.
const ORIGINS_MAX: usize = 8_192;

/// Of a row group, so many pages are looked at one by one; where there are more, the row group is read at once.
const PAGES_MAX: usize = 4;

/// Service, resource and scope.
type Origin = (Box<str>, Box<str>, Box<str>);

/// So many records of an origin and a level.
#[derive(Clone, Copy, Debug)]
struct Tally {
    origin: u32,
    /// The level's code above, the number of records below.
    level_and_count: u32,
}

const COUNT_BITS: u32 = 24;

impl Tally {
    fn level(self) -> u32 {
        self.level_and_count >> COUNT_BITS
    }

    fn count(self) -> u64 {
        u64::from(self.level_and_count & ((1 << COUNT_BITS) - 1))
    }
}

/// The tallies of all pages.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    origins: Vec<Origin>,
    tallies: Vec<Tally>,
    /// Those of each of the block's pages; none where the page has to be looked at.
    of_page: Vec<Option<Range<u32>>>,
    /// Those of whole row groups, likewise.
    of_group: Vec<Option<Range<u32>>>,
}

impl Tallies {
    fn read(block: &Block) -> Result<Tallies, Error> {
        let (table, pages) = (block.table(Table::Logs)?, block.log_pages()?);
        let mut out = Tallies::default();
        let mut known: HashMap<Origin, u32> = HashMap::new();
        let group_of = |page: &LogRun| table.group_of(u64::from(page.rows.start));
        for of_group in pages.chunk_by(|a, b| group_of(a) == group_of(b)) {
            let Some(group) = of_group.first().map(group_of) else { continue };
            let read = out.add_group(block, (&table, group), of_group, &mut known)?;
            if read.is_none() {
                out.of_page.extend(of_group.iter().map(|_| None));
            }
            let pages = out.of_page.get(out.of_page.len() - of_group.len()..).unwrap_or_default();
            let whole = sum(pages, &out.tallies);
            let from = out.tallies.len() as u32;
            out.of_group.push(whole.as_ref().map(|whole| from..from + whole.len() as u32));
            out.tallies.extend(whole.unwrap_or_default());
        }
        out.origins = super::services::by_number(known);
        out.tallies.shrink_to_fit();
        Ok(out)
    }

    /// Adds the pages of a row group; none where the row group is of a kind that only the library reads.
    fn add_group(
        &mut self,
        block: &Block,
        (table, group): (&TableReader, usize),
        pages: &[LogRun],
        known: &mut HashMap<Origin, u32>,
    ) -> Result<Option<()>, Error> {
        let (Some(layout), file) = (block.layout(Table::Logs), block.file(Table::Logs)?) else {
            return Ok(None);
        };
        let n_rows = u32::try_from(table.group(group).num_rows()).unwrap_or_default();
        let keys = ["service", "resource", "scope"].map(|name| layout.keys(file, group, name));
        let Some(keys) = keys.into_iter().collect::<Result<Option<Vec<_>>, Error>>()? else {
            return Ok(None);
        };
        let Some(choosing) = Choosing::of_keys(&keys) else { return Ok(None) };
        let (Some(levels), Some(severities)) = (
            layout.distinct(file, group, "level", 0..n_rows)?,
            layout.distinct(file, group, "severity_number", 0..n_rows)?,
        ) else {
            return Ok(None);
        };
        let levels = level_codes(&levels, &severities).of_row;
        let first = table.first_row(group) as u32;
        let mut counts: HashMap<(u32, u32, u32, u32), u32> = HashMap::new();
        for page in pages {
            let mut last: Option<((u32, u32, u32, u32), u32)> = None;
            for row in page.rows.clone().map(|row| (row - first) as usize) {
                let level = levels.get(row).copied().unwrap_or_default();
                let key = (
                    choosing.services.key(row),
                    choosing.resources.key(row),
                    choosing.scopes.key(row),
                    level,
                );
                match &mut last {
                    Some((of, count)) if *of == key => *count += 1,
                    _ => {
                        if let Some((key, count)) = last.replace((key, 1)) {
                            *counts.entry(key).or_default() += count;
                        }
                    }
                }
            }
            if let Some((key, count)) = last {
                *counts.entry(key).or_default() += count;
            }
            let of_page = self.add_page(&choosing, &mut counts, known);
            self.of_page.push(of_page);
        }
        Ok(Some(()))
    }

    fn add_page(
        &mut self,
        choosing: &Choosing<'_>,
        counts: &mut HashMap<(u32, u32, u32, u32), u32>,
        known: &mut HashMap<Origin, u32>,
    ) -> Option<Range<u32>> {
        let from = self.tallies.len();
        let is_few = counts.len() <= PAGE_TALLIES_MAX;
        for ((service, resource, scope, level), count) in counts.drain() {
            let origin = (
                choosing.services.text_of(service).into(),
                choosing.resources.text_of(resource).into(),
                choosing.scopes.text_of(scope).into(),
            );
            let next = known.len() as u32;
            let origin = match known.get(&origin) {
                Some(origin) => *origin,
                None if !is_few || known.len() >= ORIGINS_MAX => u32::MAX,
                None => *known.entry(origin).or_insert(next),
            };
            self.tallies.push(Tally { origin, level_and_count: level << COUNT_BITS | count });
        }
        let added = self.tallies.get(from..).unwrap_or_default();
        if !is_few || added.iter().any(|tally| tally.origin == u32::MAX) {
            self.tallies.truncate(from);
            return None;
        }
        Some(from as u32..self.tallies.len() as u32)
    }

    fn of(&self, range: &Option<Range<u32>>) -> Option<&[Tally]> {
        let range = range.as_ref()?;
        self.tallies.get(range.start as usize..range.end as usize)
    }

    /// The bytes that they hold.
    pub(super) fn memory_bytes(&self) -> usize {
        let texts = self.origins.iter().map(|(service, resource, scope)| {
            service.len() + resource.len() + scope.len() + size_of::<Origin>()
        });
        self.tallies.capacity() * size_of::<Tally>()
            + (self.of_page.capacity() + self.of_group.capacity()) * size_of::<Option<Range<u32>>>()
            + texts.sum::<usize>()
    }
}

/// The tallies of pages together; none where one of them has none.
fn sum(pages: &[Option<Range<u32>>], tallies: &[Tally]) -> Option<Vec<Tally>> {
    let mut sums: HashMap<(u32, u32), u32> = HashMap::new();
    for page in pages {
        let page = page.as_ref()?;
        for tally in tallies.get(page.start as usize..page.end as usize)? {
            *sums.entry((tally.origin, tally.level())).or_default() += tally.count() as u32;
        }
    }
    let tally = |((origin, level), count)| Tally { origin, level_and_count: level << COUNT_BITS | count };
    Some(sums.into_iter().map(tally).collect())
}

/// What is added up of pages.
struct Sums<'t> {
    tallies: &'t Tallies,
    /// What the visitor said of each of the block's origins.
    origins: Vec<Option<Option<u32>>>,
    counts: LevelCounts,
}

impl<'t> Sums<'t> {
    fn new(tallies: &'t Tallies, has_levels: bool) -> Sums<'t> {
        Sums { tallies, origins: vec![None; tallies.origins.len()], counts: LevelCounts::new(has_levels) }
    }

    /// Adds tallies of records that lie within a piece of time, of which the first nanosecond is given, and a time in it.
    fn add(&mut self, tallies: &[Tally], piece: (i64, i64), visitor: &mut dyn LogVisitor) {
        for tally in tallies {
            let Some(known) = self.origins.get_mut(tally.origin as usize) else { continue };
            let of = self.tallies.origins.get(tally.origin as usize);
            let ask = || of.and_then(|(service, resource, scope)| visitor.origin(service, resource, scope));
            if let Some(origin) = *known.get_or_insert_with(ask) {
                self.counts.add(origin, tally.level(), piece, tally.count());
            }
        }
    }
}

/// Pages of a row group, and the number of the first of them.
type GroupPages<'p> = (usize, usize, &'p [LogRun]);

/// A part of a scan that is answered by tallies.
struct Part<'t> {
    rows: usize,
    /// Tallies, the first nanosecond of the piece that they are of, and a time in it.
    whole: Vec<(&'t [Tally], (i64, i64))>,
    /// Rows of pages that have to be looked at.
    looked_at: Vec<Range<u32>>,
}

impl Block {
    /// The tallies of its pages, counted when somebody asks first.
    fn tallies(&self) -> Result<&Tallies, Error> {
        if let Some(tallies) = self.tallies.get() {
            return Ok(tallies);
        }
        let tallies = Tallies::read(self)?;
        Ok(self.tallies.get_or_init(|| tallies))
    }

    /// Hands out the counts of a scan that needs nothing but origins and levels; `false` where that is not so, or there are no
    /// tallies to be had.
    pub(super) fn count_by_tallies(
        &self,
        table: &TableReader,
        scan: &LogScan<'_>,
        visitor: &mut dyn LogVisitor,
        progress: &mut Progress,
    ) -> Result<bool, Error> {
        if scan.is_filtered || !scan.counts_levels() {
            return Ok(false);
        }
        // Some other table may be damaged; the scan says what of this one cannot be read.
        let (Ok(tallies), Ok(pages)) = (self.tallies(), self.log_pages()) else { return Ok(false) };
        let mut sums = Sums::new(tallies, scan.fields.level);
        let added = self.add_up(table, &mut sums, pages, scan, visitor, progress);
        // Whatever could be read counts.
        sums.counts.hand_out(visitor, progress);
        added.map(|()| true)
    }

    fn add_up(
        &self,
        table: &TableReader,
        sums: &mut Sums<'_>,
        pages: &[LogRun],
        scan: &LogScan<'_>,
        visitor: &mut dyn LogVisitor,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let Some(pieces) = scan.pieces else { return Ok(()) };
        let group_of = |page: &LogRun| table.group_of(u64::from(page.rows.start));
        let mut number = 0;
        for (at, of_group) in pages.chunk_by(|a, b| group_of(a) == group_of(b)).enumerate() {
            let part = self.part_of(sums.tallies, (at, number, of_group), scan, piece_within(pieces))?;
            number += of_group.len();
            let group = of_group.first().map_or(0, group_of);
            if part.looked_at.len() > PAGES_MAX {
                self.scan_pages(table, group, None, scan, visitor, progress)?;
            } else if part.rows > 0 && !visitor.looks_at(part.rows) {
                progress.note(More::Nothing);
            } else {
                part.whole.into_iter().for_each(|(of, piece)| sums.add(of, piece, visitor));
                for rows in part.looked_at {
                    let first = table.first_row(group) as u32;
                    let within = rows.start - first..rows.end - first;
                    if !self.count_rows(table, (group, within.clone()), scan, visitor, progress)? {
                        self.scan_group(table, group, within.collect(), scan, visitor, progress)?;
                    }
                }
            }
            if progress.is_over() {
                break;
            }
        }
        Ok(())
    }

    /// What tallies say of a row group.
    fn part_of<'t>(
        &self,
        tallies: &'t Tallies,
        (group, first, pages): GroupPages<'_>,
        scan: &LogScan<'_>,
        piece_of: impl Fn(i64, i64) -> Option<i64>,
    ) -> Result<Part<'t>, Error> {
        let is_whole = |min: i64, max: i64| scan.range.contains(min) && scan.range.contains(max);
        let mut part = Part { rows: 0, whole: Vec::new(), looked_at: Vec::new() };
        let bounds =
            pages.iter().map(|page| page.min_time).min().zip(pages.iter().map(|page| page.max_time).max());
        let of_group = tallies.of_group.get(group).and_then(|range| tallies.of(range));
        if let (Some((min, max)), Some(of_group), None) = (bounds, of_group, scan.services)
            && is_whole(min, max)
            && let Some(piece) = piece_of(min, max)
        {
            part.rows = pages.iter().map(|page| page.rows.len()).sum();
            part.whole.push((of_group, (piece, min)));
            return Ok(part);
        }
        for (page, number) in pages.iter().zip(first..) {
            let service = self.service_of(page)?;
            let is_wanted = scan.services.is_none_or(|services| services.iter().any(|name| name == service));
            let (min, max) = (page.min_time, page.max_time);
            if !is_wanted || !scan.range.overlaps(min, max) {
                continue;
            }
            part.rows += page.rows.len();
            let of_page = tallies.of_page.get(number).and_then(|range| tallies.of(range));
            match (of_page.filter(|_| is_whole(min, max)), piece_of(min, max)) {
                (Some(of_page), Some(piece)) => part.whole.push((of_page, (piece, min))),
                _ => part.looked_at.push(page.rows.clone()),
            }
        }
        Ok(part)
    }
}

/// The first nanosecond of the piece that two times are in, if it is one.
fn piece_within(pieces: &PieceOf<'_>) -> impl Fn(i64, i64) -> Option<i64> {
    move |min, max| {
        let (first, last) = pieces(min);
        (max <= last).then_some(first)
    }
}
