//! What operators do with two samples, and with two columns.

use std::sync::Arc;

use throughline_exec::histogram::Reconciled;
use throughline_exec::{CounterResetHint, FloatHistogram};

use crate::annotations::{Annotations, Note};
use crate::ast::{BinaryOp, Span};
use crate::value::{Column, Sample, StepSet, Steps};

/// An operator and where it says something.
pub(super) struct Operation<'a> {
    pub op: BinaryOp,
    pub return_bool: bool,
    pub notes: &'a Annotations,
    pub span: Span,
}

/// One side of an operator.
#[derive(Clone, Copy)]
pub(super) enum Side<'a> {
    Column(&'a Column),
    /// By step.
    Scalar(&'a [f64]),
    /// Stands in for a series that is not there.
    Filled(f64),
}

impl Side<'_> {
    fn has_histograms(&self) -> bool {
        matches!(self, Side::Column(column) if !column.histograms.is_empty())
    }

    fn float(&self, step: usize) -> f64 {
        match self {
            Side::Column(column) => column.values[step],
            Side::Scalar(values) => values[step],
            Side::Filled(value) => *value,
        }
    }

    fn get(&self, step: usize) -> Option<Sample> {
        match self {
            Side::Column(column) => column.get(step),
            Side::Scalar(values) => Some(Sample::Float(values[step])),
            Side::Filled(value) => Some(Sample::Float(*value)),
        }
    }
}

/// What there is to say about two samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Complaint {
    /// Their kinds do not go together.
    Types(&'static str, &'static str),
    /// Their buckets do not.
    Buckets,
    /// Their hints contradict each other, in an addition or subtraction.
    Resets(&'static str),
    /// Their custom bounds differed, in an addition or subtraction.
    Bounds(&'static str),
}

/// What became of two columns.
pub(super) struct Combined {
    /// The results.
    pub column: Column,
    /// The steps at which both sides had samples that go together, whether or not a filter left the result.
    pub met: StepSet,
    /// What there is to say, by step, ascending.
    pub complaints: Vec<(usize, Complaint)>,
}

impl Operation<'_> {
    /// Combines two columns. A comparison that filters gives the samples of `kept`.
    pub(super) fn combine(&self, lhs: Side<'_>, rhs: Side<'_>, kept: Side<'_>, steps: Steps) -> Combined {
        let is_trim = matches!(self.op, BinaryOp::TrimLower | BinaryOp::TrimUpper);
        if lhs.has_histograms() || rhs.has_histograms() || is_trim {
            return self.combine_samples(lhs, rhs, kept, steps);
        }
        let mut column = Column::empty(steps.count);
        column.present = StepSet::all(steps.count);
        for side in [lhs, rhs] {
            if let Side::Column(other) = side {
                column.present.intersect(&other.present);
            }
        }
        let met = column.present.clone();
        let compute = of_floats(self.op);
        let is_filter = self.op.is_comparison() && !self.return_bool;
        for (step, value) in column.values.iter_mut().enumerate() {
            let computed = compute(lhs.float(step), rhs.float(step));
            *value = if is_filter { kept.float(step) } else { computed };
            if is_filter && computed == 0.0 {
                column.present.remove(step);
            }
        }
        Combined { column, met, complaints: Vec::new() }
    }

    /// Says what there is to say.
    pub(super) fn complain(&self, complaint: Complaint) {
        let op = self.op.symbol();
        let note = match complaint {
            Complaint::Types(lhs, rhs) => Note::IncompatibleTypes { lhs, op, rhs },
            Complaint::Buckets => Note::IncompatibleBuckets(op),
            Complaint::Resets(during) => Note::ResetCollision(during),
            Complaint::Bounds(during) => Note::CustomBounds(during),
        };
        self.notes.add(note, self.span);
    }

    fn combine_samples(&self, lhs: Side<'_>, rhs: Side<'_>, kept: Side<'_>, steps: Steps) -> Combined {
        let (mut column, mut met) = (Column::empty(steps.count), StepSet::none(steps.count));
        let mut complaints = Vec::new();
        for step in 0..steps.count {
            let (Some(left), Some(right)) = (lhs.get(step), rhs.get(step)) else { continue };
            let mut complain = |complaint| complaints.push((step, complaint));
            let Some(found) = self.of_samples(&left, &right, &mut complain) else { continue };
            met.insert(step);
            if !self.op.is_comparison() {
                column.set(step, found);
                continue;
            }
            let holds = matches!(found, Sample::Float(value) if value != 0.0);
            if self.return_bool {
                column.set_float(step, f64::from(u8::from(holds)));
            } else if let Some(sample) = kept.get(step).filter(|_| holds) {
                column.set(step, sample);
            }
        }
        Combined { column, met, complaints }
    }

    /// The result for two samples; of a comparison one or zero. Nothing if they do not go together.
    fn of_samples(&self, lhs: &Sample, rhs: &Sample, complain: &mut dyn FnMut(Complaint)) -> Option<Sample> {
        let histogram = |histogram: FloatHistogram| Some(Sample::Histogram(Arc::new(histogram)));
        let truth = |holds: bool| Some(Sample::Float(f64::from(u8::from(holds))));
        let owned = |histogram: &Arc<FloatHistogram>| FloatHistogram::clone(histogram);
        match (lhs, rhs, self.op) {
            (Sample::Float(_), Sample::Float(_), BinaryOp::TrimLower | BinaryOp::TrimUpper) => {}
            (Sample::Float(lhs), Sample::Float(rhs), op) => {
                return Some(Sample::Float(of_floats(op)(*lhs, *rhs)));
            }
            (Sample::Histogram(lhs), Sample::Float(rhs), op) => match op {
                BinaryOp::Mul => return histogram(owned(lhs).scaled(*rhs)),
                BinaryOp::Div => return histogram(owned(lhs).divided(*rhs)),
                BinaryOp::TrimUpper => return histogram(lhs.trim_above(*rhs)),
                BinaryOp::TrimLower => return histogram(lhs.trim_below(*rhs)),
                _ => {}
            },
            (Sample::Float(lhs), Sample::Histogram(rhs), BinaryOp::Mul) => {
                return histogram(owned(rhs).scaled(*lhs));
            }
            (Sample::Float(_), Sample::Histogram(_), _) => {}
            (Sample::Histogram(lhs), Sample::Histogram(rhs), op) => match op {
                BinaryOp::Add => return histogram(sum(lhs, rhs, complain)?),
                BinaryOp::Sub => return histogram(difference(lhs, rhs, complain)?),
                BinaryOp::Equal => return truth(lhs.same_data(rhs)),
                BinaryOp::NotEqual => return truth(!lhs.same_data(rhs)),
                _ => {}
            },
        }
        complain(Complaint::Types(kind(lhs), kind(rhs)));
        None
    }
}

fn sum(
    lhs: &FloatHistogram,
    rhs: &FloatHistogram,
    complain: &mut dyn FnMut(Complaint),
) -> Option<FloatHistogram> {
    let mut sum = lhs.clone();
    check_reconciled(sum.add(rhs).ok(), "addition", complain)?;
    sum.compact();
    Some(sum)
}

fn difference(
    lhs: &FloatHistogram,
    rhs: &FloatHistogram,
    complain: &mut dyn FnMut(Complaint),
) -> Option<FloatHistogram> {
    let mut difference = lhs.clone();
    check_reconciled(difference.sub(rhs).ok(), "subtraction", complain)?;
    difference.counter_reset_hint = CounterResetHint::Gauge;
    difference.compact();
    Some(difference)
}

fn check_reconciled(
    reconciled: Option<Reconciled>,
    during: &'static str,
    complain: &mut dyn FnMut(Complaint),
) -> Option<()> {
    let Some(reconciled) = reconciled else {
        complain(Complaint::Buckets);
        return None;
    };
    if reconciled.hint_collision {
        // Prometheus gives no result then.
        complain(Complaint::Resets(during));
        return None;
    }
    if reconciled.custom_bounds {
        complain(Complaint::Bounds(during));
    }
    Some(())
}

fn kind(sample: &Sample) -> &'static str {
    match sample {
        Sample::Float(_) => "float",
        Sample::Histogram(_) => "histogram",
    }
}

/// The operator on floats; comparisons give one or zero.
pub(super) fn of_floats(op: BinaryOp) -> fn(f64, f64) -> f64 {
    fn truth(holds: bool) -> f64 {
        f64::from(u8::from(holds))
    }
    match op {
        BinaryOp::Add => |a, b| a + b,
        BinaryOp::Sub => |a, b| a - b,
        BinaryOp::Mul => |a, b| a * b,
        BinaryOp::Div => |a, b| a / b,
        BinaryOp::Mod => |a, b| a % b,
        BinaryOp::Pow => f64::powf,
        BinaryOp::Atan2 => f64::atan2,
        BinaryOp::Equal => |a, b| truth(a == b),
        BinaryOp::NotEqual => |a, b| truth(a != b),
        BinaryOp::Greater => |a, b| truth(a > b),
        BinaryOp::Less => |a, b| truth(a < b),
        BinaryOp::GreaterOrEqual => |a, b| truth(a >= b),
        BinaryOp::LessOrEqual => |a, b| truth(a <= b),
        // These are of histograms or of sets, and never come here.
        BinaryOp::TrimUpper | BinaryOp::TrimLower | BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => {
            |_, _| f64::NAN
        }
    }
}
