//! A pipeline over the spans of one trace.

use std::collections::HashMap;

use throughline_exec::ExecError;

use super::EvalError;
use super::expr::{self, Expr};
use super::fields::Rows;
use super::filter::Mask;
use super::plan::{Number, Plan, PlannedStage, Set};
use super::tree::Family;
use crate::ast::{CompareOp, Fold, Mode, Relation, SpansetOp};
use crate::column::{Column, Numbers};
use crate::source::TraceRun;
use crate::value::{Scalar, Value, ValueKey};

/// Spans of a trace that belong together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Spanset {
    /// Rows of the batch, ascending.
    pub rows: Vec<u32>,
    /// What they have in common, and what was computed of them.
    pub attributes: Vec<(String, Value)>,
}

/// The whole spans of one trace.
pub(crate) struct TraceRows<'r> {
    pub rows: &'r Rows<'r>,
    pub masks: &'r [Mask],
    pub run: TraceRun,
}

/// The spans that the first stage leaves of each trace of a batch by itself, decided for all of them at once; nothing where that
/// takes a look at one trace after the other.
pub(crate) fn first_stage(plan: &Plan, rows: &Rows<'_>, masks: &[Mask]) -> Result<Option<Mask>, ExecError> {
    match plan.stages.first() {
        Some(PlannedStage::Spanset(set)) => of_batch(set, rows, masks),
        _ => Ok(None),
    }
}

/// Recursion is bounded by the parser.
fn of_batch(set: &Set, rows: &Rows<'_>, masks: &[Mask]) -> Result<Option<Mask>, ExecError> {
    let (op, sides) = match set {
        Set::Leaf(leaf) => return Ok(masks.get(*leaf).cloned()),
        Set::Pipeline(_) => return Ok(None),
        Set::Binary(op, sides) => (*op, sides),
    };
    let (Some(mut left), Some(mut right)) =
        (of_batch(&sides.0, rows, masks)?, of_batch(&sides.1, rows, masks)?)
    else {
        return Ok(None);
    };
    match op {
        SpansetOp::Or => left.iter_mut().zip(&right).for_each(|(left, right)| *left |= right),
        SpansetOp::And => {
            let any = |mask: &[bool]| mask.contains(&true);
            for run in rows.runs()? {
                let of_run = run.start as usize..run.end as usize;
                let (Some(left), Some(right)) = (left.get_mut(of_run.clone()), right.get(of_run)) else {
                    continue;
                };
                match any(left) && any(right) {
                    true => left.iter_mut().zip(right).for_each(|(left, right)| *left |= right),
                    false => left.fill(false),
                }
            }
        }
        // Roots are siblings within their trace, which a batch has many of.
        SpansetOp::Structural(Relation::Sibling, _) => return Ok(None),
        SpansetOp::Structural(relation, mode) => {
            let of = |mask: &[bool]| -> Vec<u32> {
                (0..).zip(mask).filter(|(_, is)| **is).map(|(row, _)| row).collect()
            };
            // Who stands alone in the trace is related to nobody, and nobody need know the parents.
            if mode != Mode::Unrelated {
                for run in rows.runs()? {
                    let of_run = run.start as usize..run.end as usize;
                    let (Some(left), Some(right)) = (left.get_mut(of_run.clone()), right.get_mut(of_run))
                    else {
                        continue;
                    };
                    let is_pair =
                        || left.iter().zip(&*right).filter(|(left, right)| **left || **right).nth(1);
                    if !left.contains(&true) || !right.contains(&true) || is_pair().is_none() {
                        left.fill(false);
                        right.fill(false);
                    }
                }
            }
            let (of_left, of_right) = (of(&left), of(&right));
            if of_right.is_empty() || of_left.is_empty() {
                // What is left of the right side without a left one is what is wanted: all of it, or nothing.
                return Ok(Some(right));
            }
            left.fill(false);
            let batch = TraceRun { start: 0, end: u32::try_from(rows.len()).unwrap_or(u32::MAX), trace: 0 };
            // Only siblings ask who has lost the parent.
            let has_parent = |_: u32| false;
            let family = Family::new(rows.parents()?, &has_parent, &batch);
            for row in family.related(relation, mode, &of_left, &of_right) {
                if let Some(place) = left.get_mut(row as usize) {
                    *place = true;
                }
            }
        }
    }
    Ok(Some(left))
}

/// What a whole number is a value of.
type ValueOf = fn(i64) -> Value;

/// The comparison after the first stage, where a trace's number is that of its spans or is made of whole numbers that all spans have:
/// most traces fail it, and need no list of spans for that.
pub(crate) struct QuickFilter<'r> {
    fold: Option<(Fold, &'r [i64], ValueOf)>,
    op: CompareOp,
    right: Scalar<'r>,
}

impl<'r> QuickFilter<'r> {
    /// The comparison of a plan for a batch; nothing where it is of another kind.
    pub fn new(plan: &'r Plan, rows: &'r Rows<'_>) -> Result<Option<QuickFilter<'r>>, ExecError> {
        let Some(PlannedStage::Filter(number, op, right, _)) = plan.stages.get(1) else { return Ok(None) };
        let fold = match number {
            Number::Count => None,
            Number::Fold(fold, Expr::Field(field)) => {
                let Some(field) = field.single() else { return Ok(None) };
                match rows.column(field)? {
                    Column::Ints(Numbers { values, present: None }) => {
                        Some((*fold, values.as_slice(), Value::Int as ValueOf))
                    }
                    Column::Durations(Numbers { values, present: None }) => {
                        Some((*fold, values.as_slice(), Value::Duration as ValueOf))
                    }
                    _ => return Ok(None),
                }
            }
            Number::Fold(..) => return Ok(None),
        };
        Ok(right.scalar().map(|right| QuickFilter { fold, op: *op, right }))
    }

    /// Whether it holds for those spans of a trace that the first stage leaves.
    pub fn holds(&self, first: &Mask, run: &TraceRun) -> bool {
        let of_run = run.start as usize..run.end as usize;
        let Some(left) = first.get(of_run.clone()) else { return true };
        let count = left.iter().filter(|is| **is).count() as u64;
        let value = match self.fold {
            _ if count == 0 => None,
            None => i64::try_from(count).ok().map(Value::Int),
            Some((fold, values, value_of)) => {
                let values = values.get(of_run).unwrap_or_default();
                let values = values.iter().zip(left).filter(|(_, is)| **is).map(|(value, _)| *value);
                let folded = match fold {
                    Fold::Avg | Fold::Sum => values.reduce(i64::saturating_add),
                    Fold::Max => values.max(),
                    Fold::Min => values.min(),
                };
                Folded { value: folded.map(value_of), count }.finish(fold)
            }
        };
        let holds =
            |value: &Value| value.scalar().is_some_and(|value| expr::compare(self.op, value, self.right));
        value.as_ref().is_some_and(holds)
    }
}

impl TraceRows<'_> {
    /// What the pipeline gives for the trace, of which the first stage leaves these spans.
    pub fn evaluate_after(&self, plan: &Plan, first: &Mask) -> Result<Vec<Spanset>, EvalError> {
        let of_run = first.get(self.run.start as usize..self.run.end as usize).unwrap_or_default();
        let left = (self.run.start..).zip(of_run).filter(|(_, is)| **is).map(|(row, _)| row);
        let rows: Vec<u32> = left.collect();
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        self.stages(plan.stages.get(1..).unwrap_or_default(), vec![Spanset { rows, attributes: Vec::new() }])
    }

    /// What the pipeline gives for the trace.
    pub fn evaluate(&self, plan: &Plan) -> Result<Vec<Spanset>, EvalError> {
        let all = Spanset { rows: (self.run.start..self.run.end).collect(), attributes: Vec::new() };
        self.stages(&plan.stages, vec![all])
    }

    fn stages(&self, stages: &[PlannedStage], mut sets: Vec<Spanset>) -> Result<Vec<Spanset>, EvalError> {
        for stage in stages {
            sets = self.stage(stage, sets)?;
            if sets.is_empty() {
                break;
            }
        }
        Ok(sets)
    }

    fn stage(&self, stage: &PlannedStage, sets: Vec<Spanset>) -> Result<Vec<Spanset>, EvalError> {
        match stage {
            PlannedStage::Spanset(set) => self.set(set, sets),
            PlannedStage::Filter(number, op, right, text) => {
                let mut kept = Vec::new();
                for mut set in sets {
                    let Some(value) = self.number(number, &set)? else { continue };
                    let holds = value
                        .scalar()
                        .zip(right.scalar())
                        .is_some_and(|(value, right)| expr::compare(*op, value, right));
                    if holds {
                        set.attributes.push((text.clone(), value));
                        kept.push(set);
                    }
                }
                Ok(kept)
            }
            PlannedStage::Group(by, text) => {
                let mut groups = Vec::new();
                for set in sets {
                    self.group(by, text, &set, &mut groups)?;
                }
                Ok(groups)
            }
            PlannedStage::Coalesce => {
                let mut rows: Vec<u32> = sets.into_iter().flat_map(|set| set.rows).collect();
                rows.sort_unstable();
                rows.dedup();
                Ok(vec![Spanset { rows, attributes: Vec::new() }])
            }
            PlannedStage::Select => Ok(sets),
        }
    }

    /// Recursion is bounded by the parser.
    fn set(&self, set: &Set, sets: Vec<Spanset>) -> Result<Vec<Spanset>, EvalError> {
        match set {
            Set::Leaf(leaf) => {
                let Some(mask) = self.masks.get(*leaf) else { return Ok(Vec::new()) };
                let keep = |row: &u32| mask.get(*row as usize) == Some(&true);
                let kept = sets.into_iter().map(|mut set| {
                    set.rows.retain(keep);
                    set
                });
                Ok(kept.filter(|set| !set.rows.is_empty()).collect())
            }
            Set::Pipeline(stages) => self.stages(stages, sets),
            Set::Binary(op, sides) => {
                let mut joined = Vec::new();
                for set in sets {
                    let left = self.set(&sides.0, vec![set.clone()])?;
                    let right = self.set(&sides.1, vec![set.clone()])?;
                    let rows = self.join(*op, left, right)?;
                    if !rows.is_empty() {
                        joined.push(Spanset { rows, attributes: set.attributes });
                    }
                }
                Ok(joined)
            }
        }
    }

    fn join(&self, op: SpansetOp, left: Vec<Spanset>, right: Vec<Spanset>) -> Result<Vec<u32>, EvalError> {
        let SpansetOp::Structural(relation, mode) = op else {
            if op == SpansetOp::And && (left.is_empty() || right.is_empty()) {
                return Ok(Vec::new());
            }
            let mut rows: Vec<u32> = left.into_iter().chain(right).flat_map(|set| set.rows).collect();
            rows.sort_unstable();
            rows.dedup();
            return Ok(rows);
        };
        let (left, right) = match (left.as_slice(), right.as_slice()) {
            (_, []) => return Ok(Vec::new()),
            // To nobody none is related.
            ([], [right]) if mode == Mode::Unrelated => return Ok(right.rows.clone()),
            ([], [_]) => return Ok(Vec::new()),
            ([left], [right]) => (left.rows.as_slice(), right.rows.as_slice()),
            _ => {
                return Err(EvalError::Invalid {
                    message: format!(
                        "`{}` relates one set of spans of a trace with one other, and there are several; join them with coalesce()",
                        op.symbol()
                    ),
                });
            }
        };
        let column = match relation {
            Relation::Sibling => self.rows.has_parent()?,
            _ => Column::Nil,
        };
        let has_parent = |row: u32| column.is_true(row as usize);
        Ok(Family::new(self.rows.parents()?, &has_parent, &self.run).related(relation, mode, left, right))
    }

    fn group(
        &self,
        by: &Expr,
        text: &str,
        set: &Spanset,
        groups: &mut Vec<Spanset>,
    ) -> Result<(), ExecError> {
        let mut places: HashMap<ValueKey, usize> = HashMap::new();
        for row in &set.rows {
            let value = by.value(self.rows, *row as usize)?;
            let place = *places.entry(ValueKey::of(value.as_ref())).or_insert_with(|| {
                let mut attributes = set.attributes.clone();
                // As Tempo writes what is missing.
                attributes.push((text.to_owned(), value.unwrap_or_else(|| Value::Text("nil".to_owned()))));
                groups.push(Spanset { rows: Vec::new(), attributes });
                groups.len() - 1
            });
            if let Some(group) = groups.get_mut(place) {
                group.rows.push(*row);
            }
        }
        Ok(())
    }

    /// The number of a set of spans; nothing if none of them has what it is made of.
    fn number(&self, number: &Number, set: &Spanset) -> Result<Option<Value>, ExecError> {
        let Number::Fold(fold, field) = number else {
            return Ok(Some(Value::Int(i64::try_from(set.rows.len()).unwrap_or(i64::MAX))));
        };
        let mut folded = Folded::default();
        if let Expr::Field(field) = field {
            for row in &set.rows {
                if let Some(scalar) = self.rows.get(*field, *row as usize)?.scalar() {
                    folded.add(*fold, scalar);
                }
            }
            return Ok(folded.finish(*fold));
        }
        for row in &set.rows {
            if let Some(value) = field.value(self.rows, *row as usize)?
                && let Some(scalar) = value.scalar()
            {
                folded.add(*fold, scalar);
            }
        }
        Ok(folded.finish(*fold))
    }
}

/// Numbers made one. The first says the type: others of other types are left out of sums, as Tempo does.
#[derive(Default)]
struct Folded {
    value: Option<Value>,
    count: u64,
}

impl Folded {
    fn add(&mut self, fold: Fold, scalar: Scalar<'_>) {
        let Some(number) = scalar.number() else { return };
        self.count += 1;
        let Some(value) = &mut self.value else {
            self.value = Some(scalar.owned());
            return;
        };
        match fold {
            Fold::Avg | Fold::Sum => match (value, scalar) {
                (Value::Int(sum), Scalar::Int(number)) | (Value::Duration(sum), Scalar::Duration(number)) => {
                    *sum = sum.saturating_add(number);
                }
                (Value::Float(sum), Scalar::Float(number)) => *sum += number,
                _ => {}
            },
            Fold::Max | Fold::Min => {
                let held = value.scalar().and_then(Scalar::number).unwrap_or(f64::NAN);
                if (fold == Fold::Max && number > held) || (fold == Fold::Min && number < held) {
                    *value = scalar.owned();
                }
            }
        }
    }

    fn finish(self, fold: Fold) -> Option<Value> {
        let count = self.count as f64;
        match (self.value?, fold) {
            (Value::Int(sum), Fold::Avg) => Some(Value::Float(sum as f64 / count)),
            (Value::Float(sum), Fold::Avg) => Some(Value::Float(sum / count)),
            (Value::Duration(sum), Fold::Avg) => {
                i64::try_from(self.count).ok().map(|n| Value::Duration(sum / n.max(1)))
            }
            (value, _) => Some(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use throughline_exec::Budget;
    use throughline_model::{SpanId, TraceId};

    use super::*;
    use crate::ast::{Expr as QueryExpr, SpanKind, SpanStatus};
    use crate::checked;
    use crate::eval::search::masks;
    use crate::memory::{MemorySpan, MemoryTraces};
    use crate::source::{Demand, SpanBatch, SpanRequest, SpanSink, TraceSource, WindowOf};

    /// Traces of every size to a dozen spans with parents anywhere, also after them, in circles and nowhere.
    fn traces() -> MemoryTraces {
        let mut state = 9u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let mut all = MemoryTraces::default();
        for trace in 1..=200u64 {
            let n_spans = 1 + random(12);
            for number in 1..=n_spans {
                let parent = Some(random(n_spans + 2)).filter(|parent| *parent > 0);
                all.push(MemorySpan {
                    trace_id: TraceId::from_low(trace).expect("not zero"),
                    id: SpanId(number.to_be_bytes()),
                    parent: parent.map(|parent| SpanId(parent.to_be_bytes())),
                    service: String::new(),
                    name: format!("n{}", random(3)),
                    kind: if random(2) == 0 { SpanKind::Server } else { SpanKind::Client },
                    status: if random(4) == 0 { SpanStatus::Error } else { SpanStatus::Unset },
                    status_message: String::new(),
                    start_ns: number as i64,
                    duration_ns: random(9) as i64,
                    attributes: Vec::new(),
                    resource: Vec::new(),
                    scope_name: String::new(),
                    scope_version: String::new(),
                    scope: Vec::new(),
                    events: Vec::new(),
                    links: Vec::new(),
                });
            }
        }
        all
    }

    struct Both<'p>(&'p Plan, &'p str);

    impl SpanSink for Both<'_> {
        fn batch(&mut self, batch: &dyn SpanBatch) -> Result<Demand, ExecError> {
            let Both(plan, query) = self;
            let rows = Rows::new(batch, &plan.fields);
            let masks = masks(plan, &rows)?;
            let first =
                first_stage(plan, &rows, &masks)?.unwrap_or_else(|| panic!("{query} is for all at once"));
            for run in rows.runs()? {
                let trace = TraceRows { rows: &rows, masks: &masks, run: *run };
                let together = trace.evaluate_after(plan, &first).expect("evaluated");
                let alone = trace.evaluate(plan).expect("evaluated");
                assert_eq!(together, alone, "{query} {run:?}");
                if let Some(quick) = QuickFilter::new(plan, &rows)?.filter(|_| plan.stages.len() == 2) {
                    assert_eq!(quick.holds(&first, run), !alone.is_empty(), "{query} {run:?}");
                }
            }
            Ok(Demand::All)
        }
    }

    #[test]
    fn a_batch_at_once_gives_what_its_traces_give() {
        let traces = traces();
        let (a, b) = ("{ kind = server }", "{ status = error }");
        let mut queries = vec![
            format!("{a}"),
            format!("{a} && {b}"),
            format!("{a} || {b}"),
            format!("({a} > {b}) && ({{ name = `n1` }} << {a})"),
            format!("({a} && {b}) >> ({{ name = `n2` }} || {b})"),
            format!("{a} | count() > 2"),
            format!("{a} | avg(duration) > 4ns"),
            format!("{b} | sum(duration) <= 9ns"),
            format!("{b} | max(duration) = 8ns"),
            format!("{a} | min(duration) != 1ns"),
            format!("{a} > {b} | by(name) | max(duration) > 3"),
        ];
        for op in [">", "<", ">>", "<<"] {
            for form in ["", "!", "&"] {
                queries.push(format!("{a} {form}{op} {b}"));
                queries.push(format!("{a} {form}{op} {a}"));
            }
        }
        for query in &queries {
            let tree = checked(query).unwrap_or_else(|error| panic!("{query}: {error}"));
            let QueryExpr::Spans(pipeline) = &tree.expr else { panic!("{query}") };
            let plan = Plan::new(pipeline);
            let request = SpanRequest {
                start_ns: 0,
                end_ns: 100,
                window: WindowOf::Traces,
                tests: &[],
                whole: true,
                newest_first: false,
            };
            traces.scan(&request, &Budget::unlimited(), &mut Both(&plan, query)).expect("read");
        }
    }
}
