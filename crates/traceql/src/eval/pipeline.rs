//! A pipeline over the spans of one trace.

use std::collections::HashMap;

use throughline_exec::ExecError;

use super::EvalError;
use super::expr::{self, Expr};
use super::fields::Rows;
use super::filter::Mask;
use super::plan::{Number, Plan, PlannedStage, Set};
use super::tree::Family;
use crate::ast::{Fold, Relation, SpansetOp};
use crate::column::Column;
use crate::source::TraceRun;
use crate::value::{Scalar, Value, ValueKey};

/// Spans of a trace that belong together.
#[derive(Clone, Debug, Default)]
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

impl TraceRows<'_> {
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
            ([], [right]) => (&[][..], right.rows.as_slice()),
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
