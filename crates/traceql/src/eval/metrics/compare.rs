//! `compare()`: how often each value of each attribute is among the spans that fulfil a condition, and among all others.

use ahash::AHashMap as HashMap;
use throughline_exec::ExecError;

use super::exemplars::Exemplars;
use super::observe::{Observer, spans};
use super::series::Series;
use super::{Context, Intervals};
use crate::ast::{Attribute, Field, FieldExpr, Intrinsic, Pipeline, Scope};
use crate::column::{Column, NIL};
use crate::eval::fields::Rows;
use crate::eval::filter::Filter;
use crate::eval::plan::Plan;
use crate::eval::{EvalError, THREADS};
use crate::source::SpanField;
use crate::value::{Scalar, Value, ValueKey, ValueRef};

/// Values of an attribute that are shown unless the query says how many.
const TOP: usize = 10;

/// Values of an attribute that are told apart: an attribute with more says nothing about what a set of spans has in common.
const VALUES_MAX: usize = 10_000;

/// What is compared beside attributes.
const INTRINSICS: [Intrinsic; 8] = [
    Intrinsic::Name,
    Intrinsic::Kind,
    Intrinsic::Status,
    Intrinsic::StatusMessage,
    Intrinsic::RootName,
    Intrinsic::RootServiceName,
    Intrinsic::InstrumentationName,
    Intrinsic::InstrumentationVersion,
];

/// The label that says which spans a series counts.
const META_TYPE: &str = "__meta_type";

/// Compares spans.
pub(super) fn compare(
    pipeline: &Pipeline,
    selection: Option<&FieldExpr>,
    top: Option<i64>,
    window: Option<(i64, i64)>,
    context: &Context<'_>,
) -> Result<Vec<Series>, EvalError> {
    let mut plan = Plan::new(pipeline);
    let selection = Filter::new(selection, &mut plan.fields);
    let shown = plan.shown.clone();
    let new_comparing = || Comparing {
        selection: selection.clone(),
        window: window.filter(|window| *window != (0, 0)),
        intervals: context.intervals,
        fields: HashMap::new(),
        exemplars: Exemplars::new(context.exemplars, &context.intervals),
        shown: shown.clone(),
        context,
    };
    let (mut comparing, mut helpers) = (new_comparing(), Vec::new());
    helpers.resize_with(THREADS - 1, new_comparing);
    let observers = std::iter::once(&mut comparing).chain(&mut helpers).map(|observer| observer as _);
    spans(&plan, context, observers.collect())?;
    helpers.into_iter().for_each(|helper| comparing.join(helper));
    let top = top.and_then(|top| usize::try_from(top).ok()).unwrap_or(TOP);
    Ok(comparing.finish(top))
}

/// How often a value was met: by interval, of the others and of the selection.
#[derive(Clone, Debug, Default)]
struct Counts {
    /// Those that were met, in no order: spans come by time, so that the last is nearly always meant.
    by_interval: Vec<(u32, [u64; 2])>,
    total: [u64; 2],
}

impl Counts {
    fn add(&mut self, interval: usize, side: usize, count: u64) {
        let interval = interval as u32;
        let at = self.by_interval.iter().rposition(|(other, _)| *other == interval).unwrap_or_else(|| {
            self.by_interval.push((interval, [0; 2]));
            self.by_interval.len() - 1
        });
        let counts = self.by_interval.get_mut(at).map(|(_, counts)| counts);
        for list in counts.into_iter().chain([&mut self.total]) {
            if let Some(place) = list.get_mut(side) {
                *place += count;
            }
        }
    }

    fn join(&mut self, other: &Counts) {
        for (interval, counts) in &other.by_interval {
            for (side, count) in counts.iter().enumerate() {
                self.add(*interval as usize, side, *count);
            }
        }
    }

    fn values(&self, side: usize, intervals: &Intervals) -> Vec<f64> {
        let mut values = vec![0.0; intervals.count];
        for (interval, counts) in &self.by_interval {
            if let (Some(place), Some(count)) = (values.get_mut(*interval as usize), counts.get(side)) {
                *place = *count as f64;
            }
        }
        values
    }
}

/// One field that is compared.
#[derive(Debug, Default)]
struct Compared {
    name: String,
    /// The places of values that are texts, and of others.
    texts: HashMap<Box<str>, usize>,
    others: HashMap<ValueKey, usize>,
    values: Vec<(Value, Counts)>,
    totals: Counts,
    /// Whether there were more than [`VALUES_MAX`] values.
    is_cut: bool,
}

impl Compared {
    fn of(field: &SpanField) -> Compared {
        Compared { name: name_of(field), ..Compared::default() }
    }

    /// The place of a value, which is added if it is new and there is room.
    fn place(&mut self, value: ValueRef<'_>) -> Option<usize> {
        let next = self.values.len();
        if let ValueRef::One(Scalar::Text(text)) = value {
            if let Some(place) = self.texts.get(text) {
                return Some(*place);
            }
            if next < VALUES_MAX {
                self.texts.insert(text.into(), next);
                self.values.push((Value::Text(text.to_owned()), Counts::default()));
                return Some(next);
            }
        } else {
            let value = value.owned()?;
            let key = ValueKey::of(Some(&value));
            if let Some(place) = self.others.get(&key) {
                return Some(*place);
            }
            if next < VALUES_MAX {
                self.others.insert(key, next);
                self.values.push((value, Counts::default()));
                return Some(next);
            }
        }
        self.is_cut = true;
        None
    }

    /// The most frequent values of a side, and of equally frequent ones those that come first.
    fn most_frequent(&self, side: usize, top: usize) -> Vec<&(Value, Counts)> {
        let count = |of: &(Value, Counts)| of.1.total.get(side).copied().unwrap_or_default();
        let mut values: Vec<&(Value, Counts)> = self.values.iter().filter(|of| count(of) > 0).collect();
        let order = |a: &&(Value, Counts), b: &&(Value, Counts)| {
            count(b).cmp(&count(a)).then_with(|| match (&a.0, &b.0) {
                (Value::Text(a), Value::Text(b)) => a.cmp(b),
                (a, b) => ValueKey::of(Some(a)).cmp(&ValueKey::of(Some(b))),
            })
        };
        if top < values.len() {
            values.select_nth_unstable_by(top, order);
            values.truncate(top);
        }
        values.sort_by(order);
        values
    }
}

/// The distinct values of a column among some spans: a row of each, and how often it is there in each slot.
struct Distinct {
    rows: Vec<u32>,
    counts: Vec<u32>,
}

impl Distinct {
    fn of(column: &Column, chosen: &[u32], slot_of: &[u32], n_slots: usize) -> Distinct {
        let mut found = Distinct { rows: Vec::new(), counts: Vec::new() };
        match column {
            Column::Texts(keys, texts) => found.by_key(keys, texts.len(), (chosen, slot_of), n_slots),
            Column::Cells(keys, cells) => found.by_key(keys, cells.len(), (chosen, slot_of), n_slots),
            column => {
                let mut places: HashMap<u64, u32> = HashMap::new();
                for (row, slot) in chosen.iter().zip(slot_of) {
                    let bits = match column.get(*row as usize).scalar() {
                        Some(Scalar::Int(number)) => number as u64,
                        Some(Scalar::Float(number)) => number.to_bits(),
                        Some(Scalar::Bool(is)) => u64::from(is),
                        _ => continue,
                    };
                    let next = found.rows.len() as u32;
                    let place = *places.entry(bits).or_insert(next);
                    found.add(place, next, *row, *slot, n_slots);
                }
            }
        }
        found
    }

    fn by_key(&mut self, keys: &[u32], n_keys: usize, (chosen, slot_of): (&[u32], &[u32]), n_slots: usize) {
        let mut places = vec![NIL; n_keys];
        for (row, slot) in chosen.iter().zip(slot_of) {
            let Some(place) = keys.get(*row as usize).and_then(|key| places.get_mut(*key as usize)) else {
                continue;
            };
            let next = self.rows.len() as u32;
            if *place == NIL {
                *place = next;
            }
            let place = *place;
            self.add(place, next, *row, *slot, n_slots);
        }
    }

    fn add(&mut self, place: u32, next: u32, row: u32, slot: u32, n_slots: usize) {
        if place == next {
            self.rows.push(row);
            self.counts.resize(self.counts.len() + n_slots, 0);
        }
        if let Some(count) = self.counts.get_mut(place as usize * n_slots + slot as usize) {
            *count += 1;
        }
    }
}

struct Comparing<'c> {
    selection: Filter,
    window: Option<(i64, i64)>,
    intervals: Intervals,
    fields: HashMap<SpanField, Compared>,
    exemplars: Exemplars,
    shown: Vec<(String, crate::eval::fields::FieldRef)>,
    context: &'c Context<'c>,
}

impl Observer for Comparing<'_> {
    fn observe(
        &mut self,
        rows: &Rows<'_>,
        chosen: &[u32],
        intervals: &[usize],
        starts: &[i64],
    ) -> Result<(), ExecError> {
        let mask = self.selection.mask(rows)?;
        let in_window = |start: i64| self.window.is_none_or(|(from, to)| start > from && start <= to);
        let sides: Vec<usize> = chosen
            .iter()
            .zip(starts)
            .map(|(row, start)| usize::from(mask.get(*row as usize) == Some(&true) && in_window(*start)))
            .collect();
        // A batch has few intervals: each with a side is a slot.
        let (mut slots, mut slot_of) = (Vec::<(usize, usize)>::new(), Vec::with_capacity(chosen.len()));
        for slot in intervals.iter().copied().zip(sides.iter().copied()) {
            let known = slots.iter().rposition(|other| *other == slot);
            slot_of.push(known.unwrap_or_else(|| {
                slots.push(slot);
                slots.len() - 1
            }) as u32);
        }
        let mut fields = rows.batch.attributes()?;
        fields.push(SpanField::Service);
        fields.extend(INTRINSICS.map(SpanField::Intrinsic));
        for field in fields {
            let column = rows.filled(&field)?;
            self.count(field, &column, chosen, &slot_of, &slots)?;
        }
        for ((row, start), side) in chosen.iter().zip(starts).zip(&sides) {
            if self.exemplars.wants(*start) {
                self.exemplars.add(rows, *row, *side, (*start, f64::NAN), &self.shown)?;
            }
        }
        Ok(())
    }
}

impl Comparing<'_> {
    /// Counts the values of a field. Those of a batch are few, and are looked up once.
    fn count(
        &mut self,
        field: SpanField,
        column: &Column,
        chosen: &[u32],
        slot_of: &[u32],
        slots: &[(usize, usize)],
    ) -> Result<(), ExecError> {
        if matches!(column, Column::Nil | Column::Durations(_)) {
            return Ok(());
        }
        let Distinct { rows, counts } = Distinct::of(column, chosen, slot_of, slots.len());
        if rows.is_empty() {
            return Ok(());
        }
        let compared = self.fields.entry(field).or_insert_with_key(Compared::of);
        let before = compared.values.len();
        for (row, counts) in rows.into_iter().zip(counts.chunks_exact(slots.len().max(1))) {
            let place = compared.place(column.get(row as usize));
            for ((interval, side), count) in slots.iter().zip(counts).filter(|(_, count)| **count > 0) {
                compared.totals.add(*interval, *side, u64::from(*count));
                if let Some((_, of_value)) = place.and_then(|place| compared.values.get_mut(place)) {
                    of_value.add(*interval, *side, u64::from(*count));
                }
            }
        }
        // What a value takes with its counts, roughly.
        let added = compared.values.len().saturating_sub(before) as u64;
        self.context.budget.take_bytes(added.saturating_mul(256))
    }

    /// Takes what another one counted.
    fn join(&mut self, other: Comparing<'_>) {
        for (field, of_other) in other.fields {
            let compared = self.fields.entry(field).or_insert_with_key(Compared::of);
            compared.is_cut |= of_other.is_cut;
            compared.totals.join(&of_other.totals);
            for (value, counts) in of_other.values {
                let place = compared.place(value.borrow());
                if let Some((_, of_value)) = place.and_then(|place| compared.values.get_mut(place)) {
                    of_value.join(&counts);
                }
            }
        }
        for (side, exemplar) in other.exemplars.found {
            self.exemplars.take(side, exemplar);
        }
    }

    fn finish(self, top: usize) -> Vec<Series> {
        let mut found = Vec::new();
        let meta = |name: &str| (META_TYPE.to_owned(), Value::Text(name.to_owned()));
        for compared in self.fields.into_values() {
            if compared.is_cut {
                self.context.note(format!(
                    "compare() told {VALUES_MAX} values of {} apart; its others are in the totals alone",
                    compared.name
                ));
            }
            for (side, kind, total) in
                [(0, "baseline", "baseline_total"), (1, "selection", "selection_total")]
            {
                for (value, counts) in compared.most_frequent(side, top) {
                    let labels = vec![meta(kind), (compared.name.clone(), value.clone())];
                    found.push(Series::new(labels, counts.values(side, &self.intervals), Vec::new()));
                }
                if compared.totals.total.get(side).is_some_and(|total| *total > 0) {
                    let labels = vec![meta(total), (compared.name.clone(), Value::Text("nil".to_owned()))];
                    let exemplars = self.exemplars.found.iter().filter(|(of, exemplar)| {
                        *of == side && exemplar.labels.iter().any(|(name, _)| *name == compared.name)
                    });
                    let exemplars = exemplars.map(|(_, exemplar)| exemplar.clone()).collect();
                    found.push(Series::new(labels, compared.totals.values(side, &self.intervals), exemplars));
                }
            }
        }
        found
    }
}

/// A field as it is written in a query.
fn name_of(field: &SpanField) -> String {
    match field {
        SpanField::Attribute(scope, name) => {
            Field::Attribute(Attribute { parent: false, scope: *scope, name: name.clone() }).to_string()
        }
        SpanField::Service => {
            let name = "service.name".to_owned();
            Field::Attribute(Attribute { parent: false, scope: Scope::Resource, name }).to_string()
        }
        SpanField::Intrinsic(intrinsic) => {
            Field::Intrinsic { intrinsic: *intrinsic, scoped: intrinsic.name().is_none() }.to_string()
        }
        SpanField::HasParent | SpanField::ParentRow => String::new(),
    }
}
