//! Counts of a block's log records: rows that are alike in all that is wanted are handed out as one.
//!
//! 1. Of the columns by which rows are chosen (service, resource, scope, pattern, attributes that a condition speaks of) the
//!    numbers of distinct values are read, and a row costs a look at a table of what was decided about them.
//! 2. Bodies are read of those rows alone whose pattern leaves it open.
//! 3. What is left is put into kinds by the numbers of the wanted columns, and counted by kind and piece of time.

use std::ops::Range;

use ahash::AHashMap as HashMap;
use throughline_model::Level;

use super::distinct::DistinctColumn;
use super::layout::Layout;
use super::log_scan::{Candidate, Choosing, Chosen, OriginKeys, time_bounds};
use super::services::lies_within;
use super::{Block, TableReader};
use crate::block::Table;
use crate::block::shred::COLUMN_PREFIX;
use crate::error::Error;
use crate::snapshot::TimeRange;
use crate::snapshot::log_kinds::{Distinct, KindColumn, Kinds, NO_VALUE};
use crate::snapshot::log_scan::{
    BodyWant, FieldValue, FieldWant, KeyTest, LogFields, LogScan, LogVisitor, PieceOf, Progress, ScannedLogs,
    Verdict,
};

/// The kind of a row that is not wanted.
const NOT_WANTED: u32 = u32::MAX;

/// What nobody was asked about.
const NOT_ASKED: u32 = u32::MAX - 1;

/// Pairs of a kind and a number that are looked up in a table; more are looked up in a map.
const TABLE_CELLS_MAX: usize = 1 << 18;

/// Rows that are put into kinds.
pub(super) struct Alike {
    /// The kind of each row.
    pub(super) of_row: Vec<u32>,
    /// The origin of each kind, as whoever was asked numbers them.
    pub(super) origins: Vec<u32>,
    /// Of each column that was added, the kind before and the number that make each kind.
    steps: Vec<Vec<(u32, u32)>>,
}

/// What is known of pairs of two numbers.
enum Pairs<T> {
    Table(usize, Vec<Option<T>>),
    Map(HashMap<(u32, u32), T>),
}

impl<T: Copy> Pairs<T> {
    /// Of numbers below these; the second may be [`NO_VALUE`], too.
    fn new(n_first: usize, n_second: usize) -> Pairs<T> {
        match n_first.checked_mul(n_second + 1) {
            Some(n) if n <= TABLE_CELLS_MAX => Pairs::Table(n_second, vec![None; n]),
            _ => Pairs::Map(HashMap::new()),
        }
    }

    fn get_or_insert_with(&mut self, first: u32, second: u32, make: impl FnOnce() -> T) -> Option<T> {
        match self {
            Pairs::Table(n_second, cells) => {
                let column = if second == NO_VALUE { *n_second } else { second as usize };
                let cell = cells.get_mut(first as usize * (*n_second + 1) + column)?;
                Some(*cell.get_or_insert_with(make))
            }
            Pairs::Map(known) => Some(*known.entry((first, second)).or_insert_with(make)),
        }
    }
}

impl Alike {
    /// Tells the rows of each kind apart by their numbers in a column.
    pub(super) fn divide(&mut self, column: &DistinctColumn, n_kinds: usize) -> usize {
        let mut step: Vec<(u32, u32)> = Vec::new();
        let mut pairs = Pairs::new(n_kinds, column.len());
        for (kind, number) in self.of_row.iter_mut().zip(&column.of_row) {
            if *kind != NOT_WANTED {
                let made = pairs.get_or_insert_with(*kind, *number, || {
                    step.push((*kind, *number));
                    step.len() as u32 - 1
                });
                *kind = made.unwrap_or(NOT_WANTED);
            }
        }
        let n_kinds = step.len();
        self.steps.push(step);
        n_kinds
    }

    /// Calls `put` with the origin of each kind and its number in each column.
    pub(super) fn each_kind(&self, n_kinds: usize, mut put: impl FnMut(u32, &[u32])) {
        let mut numbers = vec![NO_VALUE; self.steps.len()];
        for kind in 0..n_kinds as u32 {
            let mut at = kind;
            for (step, slot) in self.steps.iter().zip(&mut numbers).rev() {
                let (before, number) = step.get(at as usize).copied().unwrap_or((0, NO_VALUE));
                *slot = number;
                at = before;
            }
            put(self.origins.get(at as usize).copied().unwrap_or_default(), &numbers);
        }
    }
}

/// Columns of attributes and others that were read, by name.
pub(super) type Read = HashMap<String, DistinctColumn>;

/// Some rows of a row group that follow each other.
pub(super) struct Part<'a> {
    pub(super) layout: &'a Layout,
    pub(super) group: usize,
    pub(super) rows: Range<u32>,
}

impl Block {
    /// Hands out rows of a row group that are counted; `false` where they have to be read row by row.
    pub(super) fn count_rows(
        &self,
        table: &TableReader,
        (group, rows): (usize, Range<u32>),
        scan: &LogScan<'_>,
        visitor: &mut dyn LogVisitor,
        progress: &mut Progress,
    ) -> Result<bool, Error> {
        let is_counted = scan.bodies == BodyWant::None && !scan.fields.reads_rows();
        let (Some(pieces), Some(layout)) = (scan.pieces.filter(|_| is_counted), self.layout(Table::Logs))
        else {
            return Ok(false);
        };
        let file = self.file(Table::Logs)?;
        let part = Part { layout, group, rows };
        let names = ["service", "resource", "scope", "pattern"];
        let names = if scan.is_filtered { &names[..] } else { &names[..3] };
        let keys = names.iter().map(|name| layout.keys_of(file, group, name, part.rows.clone()));
        let Some(keys) = keys.collect::<Result<Option<Vec<_>>, Error>>()? else { return Ok(false) };
        let Some(choosing) = Choosing::of_keys(&keys) else { return Ok(false) };
        let Some(times) = self.times_of_part(table, &part, scan, pieces)? else { return Ok(false) };
        let times_of_row = times.of_row.as_deref();
        let mut alike =
            origins(&choosing, times_of_row, scan.range, |keys| choosing.origin(keys, scan, visitor));
        let mut read = Read::new();
        if !self.drop_by_conditions(&part, scan, visitor, &mut alike, &mut read)? {
            return Ok(false);
        }
        if scan.is_filtered {
            self.drop_by_bodies(table, &part, choosing, scan, visitor, &mut alike)?;
        }
        if alike.of_row.iter().all(|kind| *kind == NOT_WANTED) {
            return Ok(true);
        }
        let mut n_kinds = alike.origins.len();
        let Some(wanted) = self.kind_columns(&part, &scan.fields, &mut read)? else { return Ok(false) };
        let mut columns = Vec::with_capacity(wanted.len());
        for (_, column, values) in wanted {
            n_kinds = alike.divide(&values, n_kinds);
            columns.push(column(values.values));
        }
        let (mut kinds, mut origins) = (Kinds::new(columns), Vec::with_capacity(n_kinds));
        alike.each_kind(n_kinds, |origin, numbers| {
            origins.push(origin);
            kinds.push(numbers.iter().copied());
        });
        let counted = count(&alike.of_row, n_kinds, &times, pieces);
        let origins: Vec<u32> = counted
            .kinds
            .iter()
            .map(|kind| origins.get(*kind as usize).copied().unwrap_or_default())
            .collect();
        let fields =
            if scan.fields.is_none() { LogFields::None } else { LogFields::Kinds(&kinds, &counted.kinds) };
        let rows = ScannedLogs {
            origins: &origins,
            times: &counted.times,
            counts: &counted.counts,
            bodies: &[],
            body_bytes: &[],
            fields,
        };
        progress.note(visitor.rows(&rows));
        Ok(true)
    }

    /// The times of rows; none where they are of a kind that only the library reads.
    pub(super) fn times_of_part(
        &self,
        table: &TableReader,
        part: &Part<'_>,
        scan: &LogScan<'_>,
        pieces: &PieceOf<'_>,
    ) -> Result<Option<Times>, Error> {
        let (first, last) = time_bounds(table.group(part.group));
        let is_known = lies_within(table, part.group, "time", scan.range);
        if is_known && pieces(first).1 >= last {
            return Ok(Some(Times { of_row: None, first }));
        }
        let file = self.file(Table::Logs)?;
        let of_row = part.layout.integers(file, part.group, "time", part.rows.clone())?;
        Ok(of_row.map(|of_row| Times { of_row: Some(of_row), first }))
    }

    /// Drops rows by the one attribute that a condition speaks of; `false` where that cannot be read.
    fn drop_by_conditions(
        &self,
        part: &Part<'_>,
        scan: &LogScan<'_>,
        visitor: &mut dyn LogVisitor,
        alike: &mut Alike,
        read: &mut Read,
    ) -> Result<bool, Error> {
        for (number, speaks_of) in scan.conditions.iter().enumerate() {
            let Some(name) = decisive(part.layout, part.group, speaks_of) else { continue };
            let file = self.file(Table::Logs)?;
            let Some(column) = part.layout.distinct(file, part.group, &name, part.rows.clone())? else {
                return Ok(false);
            };
            let key = name.strip_prefix(COLUMN_PREFIX).unwrap_or_default();
            let mut pairs = Pairs::new(alike.origins.len(), column.len());
            for (kind, value) in alike.of_row.iter_mut().zip(&column.of_row) {
                if *kind == NOT_WANTED || *value == NO_VALUE {
                    continue;
                }
                let origin = alike.origins.get(*kind as usize).copied().unwrap_or_default();
                let is_wanted = pairs.get_or_insert_with(*kind, *value, || {
                    let value = column.values.value(*value);
                    value.is_none_or(|value| visitor.attribute(number, origin, key, value))
                });
                if is_wanted == Some(false) {
                    *kind = NOT_WANTED;
                }
            }
            read.insert(name, column);
        }
        Ok(true)
    }

    /// Drops candidates of a whole row group by the one attribute that a condition speaks of, where that can be read.
    pub(super) fn drop_by_attributes(
        &self,
        group: usize,
        candidates: &mut Vec<Candidate>,
        scan: &LogScan<'_>,
        visitor: &mut dyn LogVisitor,
    ) -> Result<(), Error> {
        let Some(layout) = self.layout(Table::Logs) else { return Ok(()) };
        let Some(rows) = layout.group_rows(group) else { return Ok(()) };
        for (number, speaks_of) in scan.conditions.iter().enumerate() {
            let Some(name) = decisive(layout, group, speaks_of).filter(|_| !candidates.is_empty()) else {
                continue;
            };
            let file = self.file(Table::Logs)?;
            let Some(column) = layout.distinct(file, group, &name, 0..rows.len() as u32)? else { continue };
            let key = name.strip_prefix(COLUMN_PREFIX).unwrap_or_default();
            let mut known: HashMap<(u32, u32), bool> = HashMap::new();
            candidates.retain(|candidate| {
                let value = column.of_row.get(candidate.row as usize).copied().unwrap_or(NO_VALUE);
                *known.entry((candidate.origin, value)).or_insert_with(|| {
                    let value = column.values.value(value);
                    value.is_none_or(|value| visitor.attribute(number, candidate.origin, key, value))
                })
            });
        }
        Ok(())
    }

    /// Drops rows by what patterns say, and bodies where they do not.
    fn drop_by_bodies(
        &self,
        table: &TableReader,
        part: &Part<'_>,
        mut choosing: Choosing<'_>,
        scan: &LogScan<'_>,
        visitor: &mut dyn LogVisitor,
        alike: &mut Alike,
    ) -> Result<(), Error> {
        let Some(patterns) = choosing.patterns.take() else { return Ok(()) };
        let mut verdicts: Vec<Option<Verdict>> = vec![None; patterns.len()];
        let mut candidates = Vec::new();
        for (at, kind) in alike.of_row.iter_mut().enumerate().filter(|(_, kind)| **kind != NOT_WANTED) {
            let key = patterns.key(at);
            let verdict = match verdicts.get_mut(key as usize) {
                Some(known) => *known.get_or_insert_with(|| visitor.pattern(patterns.text_of(key))),
                None => Verdict::Open,
            };
            match verdict {
                Verdict::Always => {}
                Verdict::Never => *kind = NOT_WANTED,
                Verdict::Open => {
                    let (at, row) = (at as u32, part.rows.start + at as u32);
                    candidates.push(Candidate { at, row, origin: 0, time: 0, is_open: true });
                }
            }
        }
        if candidates.is_empty() {
            return Ok(());
        }
        let open: Vec<u32> = candidates.iter().map(|candidate| candidate.at).collect();
        let mut chosen = Chosen { group: part.group, patterns: Some(patterns), candidates };
        self.drop_pages(&mut chosen, scan)?;
        let candidates = std::mem::take(&mut chosen.candidates);
        let mut left = self.decided(table, &chosen, candidates, scan, visitor)?.into_iter().peekable();
        for at in open {
            if left.next_if(|candidate| candidate.at == at).is_none()
                && let Some(kind) = alike.of_row.get_mut(at as usize)
            {
                *kind = NOT_WANTED;
            }
        }
        Ok(())
    }

    /// The columns of what is wanted of rows, those among `read` taken from there; none where one of them is of a kind that only the library reads.
    pub(super) fn kind_columns(
        &self,
        part: &Part<'_>,
        wanted: &FieldWant<'_>,
        read: &mut Read,
    ) -> Result<Option<Vec<WantedColumn>>, Error> {
        let file = self.file(Table::Logs)?;
        let distinct = |name: &str| part.layout.distinct(file, part.group, name, part.rows.clone());
        let mut out: Vec<WantedColumn> = Vec::new();
        if wanted.level || wanted.severity {
            let Some(numbers) = distinct("severity_number")? else { return Ok(None) };
            if wanted.level {
                let Some(levels) = distinct("level")? else { return Ok(None) };
                out.push((
                    "level".to_owned(),
                    Box::new(|_| KindColumn::Level),
                    level_codes(&levels, &numbers),
                ));
            }
            if wanted.severity {
                let codes = as_codes(&numbers);
                out.push(("severity_number".to_owned(), Box::new(|_| KindColumn::SeverityNumber), codes));
                let Some(texts) = distinct("severity_text")? else { return Ok(None) };
                out.push(("severity_text".to_owned(), Box::new(KindColumn::SeverityText), texts));
            }
        }
        let Some(is_wanted) = wanted.attributes else { return Ok(Some(out)) };
        // The attributes without a column come last, as they do elsewhere.
        let in_use = || part.layout.columns_in_use(part.group);
        let rest = in_use().filter(|name| *name == "attributes");
        for name in in_use().filter(|name| *name != "attributes").chain(rest) {
            let key = name.strip_prefix(COLUMN_PREFIX);
            if name != "attributes" && !key.is_some_and(is_wanted) {
                continue;
            }
            let column = match read.remove(name) {
                Some(column) => column,
                None => match distinct(name)? {
                    Some(column) => column,
                    None => return Ok(None),
                },
            };
            let make: MakeColumn = match key.map(str::to_owned) {
                Some(key) => Box::new(|values| KindColumn::Attribute(key, values)),
                None => Box::new(KindColumn::Attributes),
            };
            out.push((name.to_owned(), make, column));
        }
        Ok(Some(out))
    }
}

/// Makes a column of its distinct values.
type MakeColumn = Box<dyn FnOnce(Distinct) -> KindColumn>;

/// A column of what is wanted: its name, what it becomes, and what was read.
pub(super) type WantedColumn = (String, MakeColumn, DistinctColumn);

/// The one column with attributes of which a condition speaks; none where there are several, or attributes without a column.
pub(super) fn decisive(layout: &Layout, group: usize, speaks_of: KeyTest<'_>) -> Option<String> {
    let mut found = None;
    for name in layout.columns_in_use(group) {
        match name.strip_prefix(COLUMN_PREFIX) {
            _ if name == "attributes" => return None,
            Some(key) if speaks_of(key) => match found {
                None => found = Some(name.to_owned()),
                Some(_) => return None,
            },
            _ => {}
        }
    }
    found
}

/// The levels of rows: of a column of their own where the severity number does not say them.
pub(super) fn level_codes(levels: &DistinctColumn, severities: &DistinctColumn) -> DistinctColumn {
    let number = |column: &DistinctColumn, number: u32| match &column.values {
        Distinct::Ints(values) => values.get(number as usize).map(|value| *value as u8),
        _ => None,
    };
    let of_severity: Vec<u32> = (0..severities.len() as u32)
        .map(|severity| Level::from_severity(number(severities, severity).unwrap_or_default()) as u32)
        .collect();
    let of_level: Vec<u32> = (0..levels.len() as u32)
        .map(|level| Level::from_code(number(levels, level).unwrap_or_default()) as u32)
        .collect();
    let code = |(level, severity): (&u32, &u32)| match of_level.get(*level as usize) {
        Some(code) => *code,
        None => of_severity.get(*severity as usize).copied().unwrap_or(Level::from_severity(0) as u32),
    };
    let of_row = levels.of_row.iter().zip(&severities.of_row).map(code).collect();
    codes(of_row)
}

/// The numbers themselves, which are codes of a byte.
fn as_codes(column: &DistinctColumn) -> DistinctColumn {
    let code = |number: &u32| match column.values.value(*number) {
        Some(FieldValue::Int(code)) => u32::from(code as u8),
        _ => 0,
    };
    codes(column.of_row.iter().map(code).collect())
}

/// A column of codes of a byte, of which each stands for itself.
fn codes(of_row: Vec<u32>) -> DistinctColumn {
    DistinctColumn { of_row, values: Distinct::Ints((0..=i64::from(u8::MAX)).collect()) }
}

/// Puts rows into kinds by their origins; those that are not wanted, or not in the range if times are given, are left out.
pub(super) fn origins(
    choosing: &Choosing<'_>,
    times: Option<&[i64]>,
    range: TimeRange,
    mut number_of: impl FnMut(OriginKeys) -> Option<u32>,
) -> Alike {
    let (services, resources, scopes) =
        (choosing.services.keys(), choosing.resources.keys(), choosing.scopes.keys());
    let mut alike =
        Alike { of_row: Vec::with_capacity(services.len()), origins: Vec::new(), steps: Vec::new() };
    // Of rows with one service and scope, which mostly follow each other: what is known of each resource.
    let mut known: Vec<u32> = vec![NOT_ASKED; choosing.resources.len()];
    let mut at = 0;
    while let (Some(service), Some(scope)) = (services.get(at), scopes.get(at)) {
        let behind = services[at..].iter().zip(&scopes[at..]);
        let end = at + behind.take_while(|keys| *keys == (service, scope)).count();
        known.fill(NOT_ASKED);
        let mut kind_of = |resource: u32| {
            let Some(known) = known.get_mut(resource as usize) else { return NOT_WANTED };
            if *known == NOT_ASKED {
                *known = number_of((*service, resource, *scope)).map_or(NOT_WANTED, |origin| {
                    alike.origins.push(origin);
                    alike.origins.len() as u32 - 1
                });
            }
            *known
        };
        let of_run = resources.get(at..end).unwrap_or_default();
        match times.and_then(|times| times.get(at..end)) {
            None => alike.of_row.extend(of_run.iter().map(|resource| kind_of(*resource))),
            Some(times) => {
                alike.of_row.extend(of_run.iter().zip(times).map(|(resource, time)| {
                    if range.contains(*time) { kind_of(*resource) } else { NOT_WANTED }
                }))
            }
        }
        at = end;
    }
    alike
}

/// Rows that stand for many.
#[derive(Default)]
pub(super) struct Counted {
    pub(super) kinds: Vec<u32>,
    pub(super) times: Vec<i64>,
    pub(super) counts: Vec<u64>,
}

/// The times of rows; where all rows are of one piece, the first of them.
pub(super) struct Times {
    pub(super) of_row: Option<Vec<i64>>,
    first: i64,
}

/// Counts rows by kind and piece of time.
pub(super) fn count(of_row: &[u32], n_kinds: usize, times: &Times, pieces: &PieceOf<'_>) -> Counted {
    let mut out = Counted::default();
    let mut counts = vec![0u64; n_kinds];
    let mut touched: Vec<u32> = Vec::new();
    let mut put = |time: i64, counts: &mut [u64], touched: &mut Vec<u32>| {
        for kind in touched.drain(..) {
            let count = counts.get_mut(kind as usize).map_or(0, std::mem::take);
            out.kinds.push(kind);
            out.times.push(time);
            out.counts.push(count);
        }
    };
    let no_times = Vec::new();
    let of_time = times.of_row.as_ref().unwrap_or(&no_times);
    let (mut piece, mut piece_time) = ((i64::MAX, i64::MIN), times.first);
    for (at, kind) in of_row.iter().enumerate() {
        if *kind == NOT_WANTED {
            continue;
        }
        if let Some(time) = of_time.get(at)
            && !(piece.0 <= *time && *time <= piece.1)
        {
            // Where times jump to and fro, each row stands for few.
            put(piece_time, &mut counts, &mut touched);
            (piece, piece_time) = (pieces(*time), *time);
        }
        if let Some(count) = counts.get_mut(*kind as usize) {
            if *count == 0 {
                touched.push(*kind);
            }
            *count += 1;
        }
    }
    put(piece_time, &mut counts, &mut touched);
    out
}
