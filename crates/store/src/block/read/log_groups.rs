//! Counts of whole row groups whatever bodies are, several row groups at the same time.
//!
//! 1. A row group is divided into kinds by origin, by the column that each condition speaks of, and by the wanted columns, and counted
//!    by kind and piece of time. Nobody is asked anything, so that each row group has a thread of its own.
//! 2. In the order of the scan the visitor is asked once about each origin and each value that came up, and takes what is left.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use ahash::AHashMap as HashMap;

use super::log_alike::{Counted, Part, Read, count, decisive, origins};
use super::log_rows::Rows;
use super::log_scan::{Choosing, OriginKeys};
use super::{Block, TableReader};
use crate::block::Table;
use crate::block::shred::COLUMN_PREFIX;
use crate::error::Error;
use crate::snapshot::log_kinds::{Distinct, Kinds, NO_VALUE};
use crate::snapshot::log_scan::{LogFields, LogScan, LogVisitor, More, Progress, ScannedLogs};

/// Row groups that are read at the same time: each takes a few megabytes.
pub(super) static TOGETHER: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from).min(4));

/// Row groups that each thread counts before what came of them is handed out: they take some longer than others.
const GROUPS_EACH: usize = 4;

/// Of a column that a condition speaks of and nobody wants, more values would make more kinds than they are worth.
const CONDITION_VALUES_MAX: usize = 1 << 10;

/// A condition, by the column that decides it.
struct Condition {
    /// Its number in the scan.
    number: usize,
    key: String,
    values: Values,
}

/// Where the values of a condition's column are.
enum Values {
    /// Among the columns of the kinds.
    OfKinds(usize),
    /// Among those that only conditions speak of.
    Own(usize),
}

/// A row group that was counted.
struct Tallied {
    /// Service, resource and scope, by number.
    origins: Vec<[String; 3]>,
    origin_of_kind: Vec<u32>,
    conditions: Vec<Condition>,
    /// Columns that only conditions speak of: of one there may be several conditions.
    own: Vec<(String, Distinct)>,
    /// Kind after kind, for each condition the number of the value.
    condition_numbers: Vec<u32>,
    kinds: Kinds,
    counted: Counted,
}

impl Block {
    /// Counts row groups, in this order.
    pub(super) fn count_groups(
        &self,
        table: &TableReader,
        groups: &[usize],
        scan: &LogScan<'_>,
        visitor: &mut dyn LogVisitor,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let n_rows = |group: usize| table.group(group).num_rows().max(0) as u32;
        for some in groups.chunks(*TOGETHER * GROUPS_EACH) {
            for group in some {
                if progress.is_over() || !visitor.looks_at(n_rows(*group) as usize) {
                    progress.note(More::Nothing);
                    return Ok(());
                }
            }
            for (group, tallied) in some.iter().zip(at_once(some, |group| self.tallied(table, *group, scan)))
            {
                let rows = 0..n_rows(*group);
                match tallied? {
                    _ if progress.is_over() => return Ok(()),
                    Some(tallied) => tallied.hand_out(scan, visitor, progress),
                    None if self.count_rows(table, (*group, rows.clone()), scan, visitor, progress)? => {}
                    None => self.scan_rows(table, *group, Rows::Between(rows), scan, visitor, progress)?,
                }
            }
        }
        Ok(())
    }

    /// Counts a row group; none where its columns are of a kind that only the library reads, and where conditions are better
    /// decided row by row.
    fn tallied(
        &self,
        table: &TableReader,
        group: usize,
        scan: &LogScan<'_>,
    ) -> Result<Option<Tallied>, Error> {
        let (Some(pieces), Some(layout)) = (scan.pieces, self.layout(Table::Logs)) else { return Ok(None) };
        let (file, rows) = (self.file(Table::Logs)?, 0..table.group(group).num_rows().max(0) as u32);
        let part = Part { layout, group, rows: rows.clone() };
        let keys = ["service", "resource", "scope"].map(|of| layout.keys_of(file, group, of, rows.clone()));
        let Some(keys) = keys.into_iter().collect::<Result<Option<Vec<_>>, Error>>()? else {
            return Ok(None);
        };
        let Some(choosing) = Choosing::of_keys(&keys) else { return Ok(None) };
        let Some(times) = self.times_of_part(table, &part, scan, pieces)? else { return Ok(None) };
        let mut met: Vec<OriginKeys> = Vec::new();
        let mut alike = origins(&choosing, times.of_row.as_deref(), scan.range, |keys| {
            met.push(keys);
            Some(met.len() as u32 - 1)
        });
        let mut n_kinds = alike.origins.len();
        // The column of each step of the division, and each condition with the step of its column.
        let (mut steps, mut conditions, mut read) = (Vec::<String>::new(), Vec::new(), Read::new());
        for (number, speaks_of) in scan.conditions.iter().enumerate() {
            let Some(name) = decisive(layout, group, *speaks_of) else { continue };
            if !read.contains_key(&name) {
                let column = layout.distinct(file, group, &name, rows.clone())?;
                let Some(column) = column.filter(|column| column.len() <= CONDITION_VALUES_MAX) else {
                    return Ok(None);
                };
                n_kinds = alike.divide(&column, n_kinds);
                steps.push(name.clone());
                read.insert(name.clone(), column);
            }
            conditions.push((number, name));
        }
        let Some(wanted) = self.kind_columns(&part, &scan.fields, &mut read)? else { return Ok(None) };
        let (mut columns, mut names) = (Vec::with_capacity(wanted.len()), Vec::with_capacity(wanted.len()));
        for (name, column, values) in wanted {
            if !steps.contains(&name) {
                n_kinds = alike.divide(&values, n_kinds);
                steps.push(name.clone());
            }
            columns.push(column(values.values));
            names.push(name);
        }
        let step_of = |name: &String| steps.iter().position(|step| step == name).unwrap_or_default();
        let steps_of_columns: Vec<usize> = names.iter().map(step_of).collect();
        let steps_of_conditions: Vec<usize> = conditions.iter().map(|(_, name)| step_of(name)).collect();
        let mut out = Tallied {
            origins: met.iter().map(|keys| choosing.texts(*keys).map(str::to_owned)).collect(),
            origin_of_kind: Vec::with_capacity(n_kinds),
            conditions: Vec::with_capacity(conditions.len()),
            own: Vec::new(),
            condition_numbers: Vec::with_capacity(n_kinds * conditions.len()),
            kinds: Kinds::new(columns),
            counted: count(&alike.of_row, n_kinds, &times, pieces),
        };
        alike.each_kind(n_kinds, |origin, numbers| {
            let number_at = |step: &usize| numbers.get(*step).copied().unwrap_or(NO_VALUE);
            out.origin_of_kind.push(origin);
            out.condition_numbers.extend(steps_of_conditions.iter().map(number_at));
            out.kinds.push(steps_of_columns.iter().map(number_at));
        });
        conditions.iter().for_each(|(number, name)| out.add_condition(*number, name, &names, &mut read));
        Ok(Some(out))
    }
}

impl Tallied {
    /// Adds a condition on a column, one of those with these names that are handed out or one of those that were read.
    fn add_condition(&mut self, number: usize, name: &str, names: &[String], read: &mut Read) {
        if let Some(column) = read.remove(name).filter(|_| !names.iter().any(|of| of == name)) {
            self.own.push((name.to_owned(), column.values));
        }
        let own = || self.own.iter().position(|(of, _)| of == name).unwrap_or(usize::MAX);
        let values = match names.iter().position(|of| of == name) {
            Some(column) => Values::OfKinds(column),
            None => Values::Own(own()),
        };
        let key = name.strip_prefix(COLUMN_PREFIX).unwrap_or_default().to_owned();
        self.conditions.push(Condition { number, key, values });
    }

    /// Hands out what is wanted.
    fn hand_out(mut self, scan: &LogScan<'_>, visitor: &mut dyn LogVisitor, progress: &mut Progress) {
        let number_of = |[service, resource, scope]: &[String; 3]| {
            let is_wanted = scan.services.is_none_or(|wanted| wanted.contains(service));
            is_wanted.then(|| visitor.origin(service, resource, scope)).flatten()
        };
        let numbers: Vec<Option<u32>> = self.origins.iter().map(number_of).collect();
        let mut known: HashMap<(usize, u32, u32), bool> = HashMap::new();
        let mut passes = |origin: u32, at: usize, number: u32| {
            let Some(condition) = self.conditions.get(at).filter(|_| number != NO_VALUE) else { return true };
            *known.entry((at, origin, number)).or_insert_with(|| {
                let value = match &condition.values {
                    Values::OfKinds(column) => self.kinds.value(*column, number),
                    Values::Own(column) => self.own.get(*column).and_then(|(_, values)| values.value(number)),
                };
                value.is_none_or(|value| visitor.attribute(condition.number, origin, &condition.key, value))
            })
        };
        let n_conditions = self.conditions.len();
        let origin_of = |(kind, origin): (usize, &u32)| {
            let origin = numbers.get(*origin as usize).copied().flatten()?;
            let of_kind = self.condition_numbers.get(kind * n_conditions..).unwrap_or_default();
            let of_kind = of_kind.iter().take(n_conditions).enumerate();
            of_kind.into_iter().all(|(at, number)| passes(origin, at, *number)).then_some(origin)
        };
        let origin_of_kind: Vec<Option<u32>> =
            self.origin_of_kind.iter().enumerate().map(origin_of).collect();
        let origin = |kind: &u32| origin_of_kind.get(*kind as usize).copied().flatten();
        let of_row: Vec<Option<u32>> = self.counted.kinds.iter().map(origin).collect();
        let Counted { kinds, times, counts } = &mut self.counted;
        keep(kinds, &of_row);
        keep(times, &of_row);
        keep(counts, &of_row);
        if self.counted.kinds.is_empty() {
            return;
        }
        let origins: Vec<u32> = of_row.into_iter().flatten().collect();
        let fields = match scan.fields.is_none() {
            true => LogFields::None,
            false => LogFields::Kinds(&self.kinds, &self.counted.kinds),
        };
        progress.note(visitor.rows(&ScannedLogs {
            origins: &origins,
            times: &self.counted.times,
            counts: &self.counted.counts,
            bodies: &[],
            body_bytes: &[],
            fields,
        }));
    }
}

/// Keeps the values of rows that have an origin.
fn keep<T>(values: &mut Vec<T>, of_row: &[Option<u32>]) {
    let mut of_row = of_row.iter();
    values.retain(|_| of_row.next().is_some_and(Option::is_some));
}

/// Does something with many items, [`TOGETHER`] at the same time; what comes of it in their order.
pub(super) fn at_once<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let some = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return done };
            done.push((at, work(item)));
        }
    };
    let mut done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..items.len().min(*TOGETHER)).map(|_| scope.spawn(some)).collect();
        let mut done = some();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, of_item)| of_item).collect()
}
