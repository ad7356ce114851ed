//! A pipeline made ready to run: fields by number, every condition between braces by the number of its mask.

use throughline_model::TraceId;

use super::expr::{Expr, arithmetic, literal_value};
use super::fields::{FieldRef, Fields};
use super::filter::{Filter, field_test};
use crate::ast::{
    Aggregate, CompareOp, Field, FieldExpr, Fold, Intrinsic, Mode, Pipeline, ScalarExpr, SpansetExpr,
    SpansetOp, Stage,
};
use crate::source::{FieldTest, SpanField};
use crate::value::Value;

/// A pipeline.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub fields: Fields,
    /// The conditions, each once; a span's bit in the mask of each says whether it fulfils it.
    pub leaves: Vec<Filter>,
    /// What the leaves were made of.
    conditions: Vec<Option<FieldExpr>>,
    pub stages: Vec<PlannedStage>,
    /// What spans of an answer are shown with: the name and the field.
    pub shown: Vec<(String, FieldRef)>,
}

#[derive(Clone, Debug)]
pub(crate) enum PlannedStage {
    Spanset(Set),
    /// The number of each spanset, how it is compared and with what, and the text of the number.
    Filter(Number, CompareOp, Value, String),
    /// What groups are made by, and its text.
    Group(Expr, String),
    Coalesce,
    Select,
}

/// Which spans.
#[derive(Clone, Debug)]
pub(crate) enum Set {
    Leaf(usize),
    Binary(SpansetOp, Box<(Set, Set)>),
    Pipeline(Vec<PlannedStage>),
}

/// A number of a spanset.
#[derive(Clone, Debug)]
pub(crate) enum Number {
    Count,
    Fold(Fold, Expr),
}

impl Plan {
    /// The plan of a pipeline that was checked.
    pub fn new(pipeline: &Pipeline) -> Plan {
        let mut plan = Plan::default();
        plan.stages = plan.stages_of(pipeline);
        plan
    }

    /// Adds a condition and says which it is.
    pub fn add_leaf(&mut self, condition: Option<&FieldExpr>) -> usize {
        if let Some(condition) = condition {
            self.show_all(condition);
        }
        if let Some(known) = self.conditions.iter().position(|known| known.as_ref() == condition) {
            return known;
        }
        let filter = Filter::new(condition, &mut self.fields);
        self.leaves.push(filter);
        self.conditions.push(condition.cloned());
        self.leaves.len() - 1
    }

    fn stages_of(&mut self, pipeline: &Pipeline) -> Vec<PlannedStage> {
        pipeline.stages.iter().map(|stage| self.stage(stage)).collect()
    }

    fn stage(&mut self, stage: &Stage) -> PlannedStage {
        match stage {
            Stage::Spanset(spanset) => PlannedStage::Spanset(self.set(spanset)),
            Stage::Filter(filter) => {
                let (number, text) = match &filter.left {
                    ScalarExpr::Aggregate(Aggregate::Fold(fold, expr)) => {
                        self.show_all(expr);
                        (Number::Fold(*fold, Expr::new(expr, &mut self.fields)), filter.left.to_string())
                    }
                    // The check lets nothing else through.
                    other => (Number::Count, other.to_string()),
                };
                // Nothing compares with what cannot be computed.
                let right = constant(&filter.right).unwrap_or_else(|| Value::List(Vec::new()));
                PlannedStage::Filter(number, filter.op, right, text)
            }
            Stage::Group(expr) => {
                self.show_all(expr);
                PlannedStage::Group(Expr::new(expr, &mut self.fields), stage.to_string())
            }
            Stage::Coalesce => PlannedStage::Coalesce,
            Stage::Select(fields) => {
                fields.iter().for_each(|field| self.show(field));
                PlannedStage::Select
            }
        }
    }

    fn set(&mut self, spanset: &SpansetExpr) -> Set {
        match spanset {
            SpansetExpr::Filter(condition) => Set::Leaf(self.add_leaf(condition.as_ref())),
            SpansetExpr::Binary(binary) => {
                let sides = (self.set(&binary.left), self.set(&binary.right));
                Set::Binary(binary.op, Box::new(sides))
            }
            SpansetExpr::Pipeline(pipeline) => Set::Pipeline(self.stages_of(pipeline)),
        }
    }

    /// Shows spans with the fields of an expression.
    fn show_all(&mut self, expr: &FieldExpr) {
        each_of_expr(expr, &mut |field| self.show(field));
    }

    /// Shows spans with a field, unless they have a place of their own for it.
    pub fn show(&mut self, field: &Field) {
        let name = match field {
            Field::Attribute(attribute) => attribute.name.clone(),
            Field::Intrinsic { intrinsic, .. } => {
                use Intrinsic::{Duration, Name, RootName, RootServiceName, SpanId, TraceDuration, TraceId};
                if [Duration, Name, RootName, RootServiceName, SpanId, TraceDuration, TraceId]
                    .contains(intrinsic)
                {
                    return;
                }
                intrinsic.name().or(intrinsic.scoped_name()).unwrap_or_default().to_owned()
            }
        };
        let reference = self.fields.reference(field);
        if !self.shown.iter().any(|(_, other)| *other == reference) {
            self.shown.push((name, reference));
        }
    }

    /// Whether a trace is found as soon as any of its spans fulfils any condition.
    pub fn is_any_span(&self) -> bool {
        let first = match self.stages.first() {
            Some(PlannedStage::Spanset(set)) => is_union(set),
            _ => false,
        };
        let rest = self.stages.iter().skip(1);
        let keeps = |stage: &PlannedStage| {
            matches!(stage, PlannedStage::Group(..) | PlannedStage::Coalesce | PlannedStage::Select)
        };
        first
            && rest.clone().all(keeps)
            && !self.fields.any(|field| field.is_of_tree() || field.is_of_trace())
    }

    /// Conditions that every span fulfils that fulfils any leaf: those of the only leaf.
    pub fn tests(&self) -> Vec<FieldTest<'_>> {
        let mut tests = Vec::new();
        if let [leaf] = self.leaves.as_slice()
            && matches!(self.stages.first(), Some(PlannedStage::Spanset(Set::Leaf(_))))
        {
            leaf.tests(&self.fields, &mut tests);
        }
        tests
    }

    /// As [`Plan::tests`], and what a span of each trace fulfils besides that is found: an average or a greatest number above another
    /// takes one that is above it, and a least one below takes one that is below.
    pub fn search_tests(&self) -> Vec<FieldTest<'_>> {
        use CompareOp::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual};
        let mut tests = self.tests();
        if let [PlannedStage::Spanset(Set::Leaf(_)), PlannedStage::Filter(number, op, value, _), ..] =
            self.stages.as_slice()
            && let (Number::Fold(fold, Expr::Field(field)), [_]) = (number, self.leaves.as_slice())
            && let Some(field) = field.single().and_then(|field| self.fields.get(field))
        {
            let takes_one = match fold {
                Fold::Avg => matches!(op, Greater | GreaterOrEqual),
                Fold::Max => matches!(op, Equal | Greater | GreaterOrEqual),
                Fold::Min => matches!(op, Equal | Less | LessOrEqual),
                Fold::Sum => false,
            };
            tests.extend(takes_one.then(|| field_test(field, *op, value)).flatten());
        }
        tests
    }

    /// The trace that all spans are of, where the conditions name one by its id.
    pub fn trace_id(&self) -> Option<TraceId> {
        let named = |test: &FieldTest<'_>| match test {
            FieldTest::Text(SpanField::Intrinsic(Intrinsic::TraceId), text) => {
                Some(TraceId::parse(text)?.0).filter(|id| id.to_string() == **text)
            }
            _ => None,
        };
        self.tests().iter().find_map(named)
    }

    /// Whether a trace whose spans fulfil these conditions and no others can be found at all.
    pub fn may_match(&self, has: &impl Fn(usize) -> bool) -> bool {
        stages_may_match(&self.stages, has)
    }
}

fn is_union(set: &Set) -> bool {
    match set {
        Set::Leaf(_) => true,
        Set::Binary(SpansetOp::Or, sides) => is_union(&sides.0) && is_union(&sides.1),
        Set::Binary(..) | Set::Pipeline(_) => false,
    }
}

fn stages_may_match(stages: &[PlannedStage], has: &impl Fn(usize) -> bool) -> bool {
    match stages.first() {
        Some(PlannedStage::Spanset(set)) => set_may_match(set, has),
        _ => true,
    }
}

fn set_may_match(set: &Set, has: &impl Fn(usize) -> bool) -> bool {
    match set {
        Set::Leaf(leaf) => has(*leaf),
        Set::Pipeline(stages) => stages_may_match(stages, has),
        Set::Binary(op, sides) => match op {
            SpansetOp::Or => set_may_match(&sides.0, has) || set_may_match(&sides.1, has),
            SpansetOp::Structural(_, Mode::Unrelated) => set_may_match(&sides.1, has),
            SpansetOp::And | SpansetOp::Structural(..) => {
                set_may_match(&sides.0, has) && set_may_match(&sides.1, has)
            }
        },
    }
}

/// The value of an expression without spans.
pub(crate) fn constant(expr: &ScalarExpr) -> Option<Value> {
    match expr {
        ScalarExpr::Number(literal) => literal_value(literal),
        ScalarExpr::Binary(binary) => {
            let (left, right) = (constant(&binary.left)?, constant(&binary.right)?);
            arithmetic(binary.op, left.scalar()?, right.scalar()?)
        }
        ScalarExpr::Aggregate(_) | ScalarExpr::Pipeline(_) => None,
    }
}

/// Calls `visit` with each field that a pipeline is about.
pub(crate) fn each_field(pipeline: &Pipeline, visit: &mut dyn FnMut(&Field)) {
    for stage in &pipeline.stages {
        match stage {
            Stage::Spanset(spanset) => each_of_spanset(spanset, visit),
            Stage::Filter(filter) => {
                if let ScalarExpr::Aggregate(Aggregate::Fold(_, expr)) = &filter.left {
                    each_of_expr(expr, visit);
                }
            }
            Stage::Group(expr) => each_of_expr(expr, visit),
            Stage::Coalesce => {}
            Stage::Select(fields) => fields.iter().for_each(&mut *visit),
        }
    }
}

fn each_of_spanset(spanset: &SpansetExpr, visit: &mut dyn FnMut(&Field)) {
    match spanset {
        SpansetExpr::Filter(condition) => {
            condition.iter().for_each(|condition| each_of_expr(condition, visit));
        }
        SpansetExpr::Binary(binary) => {
            each_of_spanset(&binary.left, visit);
            each_of_spanset(&binary.right, visit);
        }
        SpansetExpr::Pipeline(pipeline) => each_field(pipeline, visit),
    }
}

fn each_of_expr(expr: &FieldExpr, visit: &mut dyn FnMut(&Field)) {
    match expr {
        FieldExpr::Literal(_) => {}
        FieldExpr::Field(field) => visit(field),
        FieldExpr::Unary(_, inner) => each_of_expr(inner, visit),
        FieldExpr::Binary(binary) => {
            each_of_expr(&binary.left, visit);
            each_of_expr(&binary.right, visit);
        }
    }
}
