//! `compare()`: how often each value of each attribute is among the spans that fulfil a condition, and among all others.

use ahash::AHashMap as HashMap;
use throughline_exec::ExecError;

use super::exemplars::Exemplars;
use super::observe::{Observer, spans};
use super::series::Series;
use super::{Context, Intervals};
use crate::ast::{Attribute, Field, FieldExpr, Intrinsic, Pipeline, Scope};
use crate::column::Column;
use crate::eval::EvalError;
use crate::eval::fields::Rows;
use crate::eval::filter::Filter;
use crate::eval::plan::Plan;
use crate::source::SpanField;
use crate::value::{Value, ValueKey};

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
    let mut comparing = Comparing {
        selection,
        window: window.filter(|window| *window != (0, 0)),
        intervals: context.intervals,
        fields: HashMap::new(),
        exemplars: Exemplars::new(context.exemplars, &context.intervals),
        shown,
        context,
    };
    spans(&plan, context, &mut comparing)?;
    let top = top.and_then(|top| usize::try_from(top).ok()).unwrap_or(TOP);
    Ok(comparing.finish(top))
}

/// How often a value was met: by interval, of the others and of the selection.
#[derive(Clone, Debug, Default)]
struct Counts {
    by_interval: HashMap<u32, [u64; 2]>,
    total: [u64; 2],
}

impl Counts {
    fn add(&mut self, interval: usize, side: usize, count: u64) {
        let counts = self.by_interval.entry(interval as u32).or_default();
        for list in [counts, &mut self.total] {
            if let Some(place) = list.get_mut(side) {
                *place += count;
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
    values: HashMap<ValueKey, (Value, Counts)>,
    totals: Counts,
    /// Whether there were more than [`VALUES_MAX`] values.
    is_cut: bool,
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
        let mut fields = rows.batch.attributes()?;
        fields.push(SpanField::Service);
        fields.extend(INTRINSICS.map(SpanField::Intrinsic));
        for field in fields {
            let column = rows.batch.column(&field)?;
            self.count(field, &column, chosen, intervals, &sides)?;
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
        intervals: &[usize],
        sides: &[usize],
    ) -> Result<(), ExecError> {
        if matches!(column, Column::Nil | Column::Durations(_)) {
            return Ok(());
        }
        let mut of_batch: HashMap<(ValueKey, usize, usize), (Value, u64)> = HashMap::new();
        let mut by_key: HashMap<(u32, usize, usize), (usize, u64)> = HashMap::new();
        for (at, ((row, interval), side)) in chosen.iter().zip(intervals).zip(sides).enumerate() {
            match column {
                Column::Texts(keys, _) | Column::Cells(keys, _) => {
                    let key = keys.get(*row as usize).copied().unwrap_or(crate::column::NIL);
                    if key != crate::column::NIL {
                        by_key.entry((key, *interval, *side)).or_insert((at, 0)).1 += 1;
                    }
                }
                column => {
                    if let Some(value) = column.get(*row as usize).owned() {
                        let key = (ValueKey::of(Some(&value)), *interval, *side);
                        of_batch.entry(key).or_insert((value, 0)).1 += 1;
                    }
                }
            }
        }
        for ((_, interval, side), (at, count)) in by_key {
            let row = chosen.get(at).copied().unwrap_or_default();
            if let Some(value) = column.get(row as usize).owned() {
                let key = (ValueKey::of(Some(&value)), interval, side);
                of_batch.entry(key).or_insert((value, 0)).1 += count;
            }
        }
        if of_batch.is_empty() {
            return Ok(());
        }
        let compared = self
            .fields
            .entry(field)
            .or_insert_with_key(|field| Compared { name: name_of(field), ..Compared::default() });
        let before = compared.values.len();
        for ((key, interval, side), (value, count)) in of_batch {
            compared.totals.add(interval, side, count);
            if compared.values.len() >= VALUES_MAX && !compared.values.contains_key(&key) {
                compared.is_cut = true;
                continue;
            }
            let (_, counts) = compared.values.entry(key).or_insert_with(|| (value, Counts::default()));
            counts.add(interval, side, count);
        }
        // What a value takes with its counts, roughly.
        let added = compared.values.len().saturating_sub(before) as u64;
        self.context.budget.take_bytes(added.saturating_mul(256))
    }

    fn finish(self, top: usize) -> Vec<Series> {
        let mut found = Vec::new();
        let meta = |name: &str| (META_TYPE.to_owned(), Value::Text(name.to_owned()));
        for compared in self.fields.into_values() {
            if compared.is_cut {
                self.context.notes.borrow_mut().push(format!(
                    "compare() told {VALUES_MAX} values of {} apart; its others are in the totals alone",
                    compared.name
                ));
            }
            for (side, kind, total) in
                [(0, "baseline", "baseline_total"), (1, "selection", "selection_total")]
            {
                let count = |counts: &Counts| counts.total.get(side).copied().unwrap_or_default();
                let mut values: Vec<(&ValueKey, &(Value, Counts))> =
                    compared.values.iter().filter(|(_, (_, counts))| count(counts) > 0).collect();
                values.sort_by(|(a, (_, a_counts)), (b, (_, b_counts))| {
                    count(b_counts).cmp(&count(a_counts)).then(a.cmp(b))
                });
                for (_, (value, counts)) in values.into_iter().take(top) {
                    let labels = vec![meta(kind), (compared.name.clone(), value.clone())];
                    found.push(Series::new(labels, counts.values(side, &self.intervals), Vec::new()));
                }
                if count(&compared.totals) > 0 {
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
