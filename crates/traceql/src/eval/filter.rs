//! Conditions between braces, decided for all spans of a batch at once.
//!
//! A comparison of a field with a constant is decided once for each distinct value of a column; what is more than that is
//! computed span by span. Of conditions that must all hold the cheap ones come first, and a column is not read if no span is left.

use throughline_exec::{ExecError, MatchOp, Matcher};

use super::expr::{self, Expr};
use super::fields::{FieldRef, Fields, Rows, instead};
use crate::ast::{CompareOp, Field, FieldExpr, FieldOp, Intrinsic, Literal, Scope, UnaryOp};
use crate::column::{Cell, Column, NIL, Numbers};
use crate::source::{FieldTest, SpanField};
use crate::value::{Scalar, Value, ValueRef};

/// Whether each span of a batch fulfils a condition.
pub(crate) type Mask = Vec<bool>;

/// A condition.
#[derive(Clone, Debug)]
pub(crate) enum Filter {
    Constant(bool),
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Test(FieldRef, Test),
    /// Whether the span has the field, or has it not.
    Exists(FieldRef, bool),
    /// Anything else.
    Expr(Expr),
}

/// A comparison with a constant.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    Compare(CompareOp, Value),
    /// Whether it must not match.
    Regex(Matcher, bool),
}

impl Test {
    fn scalar(&self, value: Scalar<'_>) -> bool {
        match self {
            Test::Compare(op, constant) => {
                constant.scalar().is_some_and(|constant| expr::compare(*op, value, constant))
            }
            Test::Regex(matcher, negated) => match value {
                Scalar::Text(text) => matcher.matches(text) != *negated,
                _ => false,
            },
        }
    }

    /// Whether all values of a list must fulfil it.
    fn is_negative(&self) -> bool {
        matches!(self, Test::Compare(CompareOp::NotEqual, _) | Test::Regex(_, true))
    }

    fn value(&self, value: ValueRef<'_>) -> bool {
        expr::holds(value, self.is_negative(), |scalar| self.scalar(scalar))
    }
}

impl Filter {
    /// Compiles a condition that was checked; nothing is true.
    pub fn new(condition: Option<&FieldExpr>, fields: &mut Fields) -> Filter {
        condition.map_or(Filter::Constant(true), |condition| compile(condition, fields))
    }

    /// Which spans fulfil it.
    pub fn mask(&self, rows: &Rows<'_>) -> Result<Mask, ExecError> {
        Ok(match self {
            Filter::Constant(is) => vec![*is; rows.len()],
            Filter::All(all) => {
                let mut mask = vec![true; rows.len()];
                for filter in all {
                    let other = filter.mask(rows)?;
                    mask.iter_mut().zip(other).for_each(|(mask, other)| *mask &= other);
                    if !mask.contains(&true) {
                        break;
                    }
                }
                mask
            }
            Filter::Any(any) => {
                let mut mask = vec![false; rows.len()];
                for filter in any {
                    let other = filter.mask(rows)?;
                    mask.iter_mut().zip(other).for_each(|(mask, other)| *mask |= other);
                }
                mask
            }
            Filter::Not(filter) => filter.mask(rows)?.into_iter().map(|is| !is).collect(),
            Filter::Test(field, test) => test_mask(rows, *field, test)?,
            Filter::Exists(field, wanted) => {
                let has = exists_mask(rows, *field)?;
                has.into_iter().map(|has| has == *wanted).collect()
            }
            Filter::Expr(expr) => {
                let is_true = |row| Ok(matches!(expr.value(rows, row)?, Some(Value::Bool(true))));
                (0..rows.len()).map(is_true).collect::<Result<Mask, ExecError>>()?
            }
        })
    }

    /// Conditions that all spans fulfil that fulfil this one, as far as a source can use them.
    pub fn tests<'q>(&'q self, fields: &'q Fields, tests: &mut Vec<FieldTest<'q>>) {
        match self {
            Filter::All(all) => all.iter().for_each(|filter| filter.tests(fields, tests)),
            Filter::Test(field, Test::Compare(op, value)) => {
                let Some(field) = field.single().and_then(|number| fields.get(number)) else { return };
                tests.extend(field_test(field, *op, value));
            }
            _ => {}
        }
    }

    /// Calls `visit` with the number of each field in it. Recursion is bounded by the parser.
    pub fn each_field(&self, visit: &mut dyn FnMut(usize)) {
        match self {
            Filter::Constant(_) => {}
            Filter::All(list) | Filter::Any(list) => list.iter().for_each(|filter| filter.each_field(visit)),
            Filter::Not(filter) => filter.each_field(visit),
            Filter::Test(field, _) | Filter::Exists(field, _) => field.numbers().for_each(visit),
            Filter::Expr(expr) => expr.each_field(visit),
        }
    }

    /// How much is read to decide it.
    fn cost(&self, fields: &Fields) -> u32 {
        match self {
            Filter::Constant(_) => 0,
            Filter::All(list) | Filter::Any(list) => list.iter().map(|filter| filter.cost(fields)).sum(),
            Filter::Not(filter) => filter.cost(fields),
            Filter::Test(field, _) | Filter::Exists(field, _) => {
                field.numbers().filter_map(|number| fields.get(number)).map(cost).sum()
            }
            Filter::Expr(_) => 100,
        }
    }
}

/// What it takes to read a column, roughly.
fn cost(field: &SpanField) -> u32 {
    match field {
        SpanField::Service | SpanField::HasParent => 1,
        SpanField::Intrinsic(intrinsic) => match intrinsic {
            Intrinsic::Status | Intrinsic::Kind | Intrinsic::Name => 1,
            Intrinsic::Duration | Intrinsic::SpanStart => 2,
            Intrinsic::EventName | Intrinsic::EventTime | Intrinsic::LinkTraceId | Intrinsic::LinkSpanId => {
                12
            }
            Intrinsic::InstrumentationName | Intrinsic::InstrumentationVersion => 3,
            _ => 8,
        },
        SpanField::Attribute(Scope::Resource | Scope::Instrumentation, _) => 4,
        SpanField::Attribute(Scope::Event | Scope::Link, _) => 12,
        SpanField::Attribute(..) | SpanField::ParentRow => 6,
    }
}

/// What a source can use of a comparison: no less than the values that pass it.
pub(super) fn field_test<'q>(field: &'q SpanField, op: CompareOp, value: &'q Value) -> Option<FieldTest<'q>> {
    match (field, value) {
        (SpanField::Intrinsic(Intrinsic::Status), Value::Status(status)) if op == CompareOp::Equal => {
            crate::ast::SpanStatus::ALL
                .iter()
                .position(|other| other == status)
                .map(|code| FieldTest::Status(code as u8))
        }
        (_, Value::Text(text)) if op == CompareOp::Equal && instead(field) != Some(text) => {
            Some(FieldTest::Text(field, text))
        }
        (SpanField::Intrinsic(Intrinsic::Duration | Intrinsic::SpanStart), value) => {
            let number = value.scalar()?.number()?;
            // Bounds may be wider than the condition, which is decided later.
            let (below, above) = (number.floor() as i64, number.ceil() as i64);
            match op {
                CompareOp::Equal => Some(FieldTest::Between(field, below, above)),
                CompareOp::Greater | CompareOp::GreaterOrEqual => {
                    Some(FieldTest::Between(field, below, i64::MAX))
                }
                CompareOp::Less | CompareOp::LessOrEqual => Some(FieldTest::Between(field, i64::MIN, above)),
                CompareOp::NotEqual => None,
            }
        }
        _ => None,
    }
}

/// Recursion is bounded by the parser.
fn compile(condition: &FieldExpr, fields: &mut Fields) -> Filter {
    match condition {
        FieldExpr::Literal(literal) => Filter::Constant(*literal == Literal::Bool(true)),
        FieldExpr::Field(field) => {
            Filter::Test(fields.reference(field), Test::Compare(CompareOp::Equal, Value::Bool(true)))
        }
        FieldExpr::Unary(UnaryOp::Not, inner) => match &**inner {
            // What is no truth value is not false either.
            FieldExpr::Field(field) => {
                Filter::Test(fields.reference(field), Test::Compare(CompareOp::Equal, Value::Bool(false)))
            }
            inner => Filter::Not(Box::new(compile(inner, fields))),
        },
        FieldExpr::Unary(UnaryOp::Negate, _) => Filter::Constant(false),
        FieldExpr::Binary(binary) => {
            let joins = matches!(binary.op, FieldOp::And | FieldOp::Or);
            if joins {
                let mut list = Vec::new();
                for side in [&binary.left, &binary.right] {
                    match (binary.op, compile(side, fields)) {
                        (FieldOp::And, Filter::All(inner)) | (FieldOp::Or, Filter::Any(inner)) => {
                            list.extend(inner)
                        }
                        (_, other) => list.push(other),
                    }
                }
                if binary.op == FieldOp::Or {
                    return Filter::Any(list);
                }
                list.sort_by_key(|filter| filter.cost(fields));
                return Filter::All(list);
            }
            simple(binary.op, &binary.left, &binary.right, fields)
                .unwrap_or_else(|| Filter::Expr(Expr::new(condition, fields)))
        }
    }
}

/// A field against a constant, whichever stands left.
fn simple(op: FieldOp, left: &FieldExpr, right: &FieldExpr, fields: &mut Fields) -> Option<Filter> {
    let (field, constant, op) = match (left, right) {
        (FieldExpr::Field(field), constant) => (field, constant, op),
        (constant, FieldExpr::Field(field)) => (field, constant, flipped(op)?),
        _ => return None,
    };
    if let FieldOp::Compare(op) = op {
        if *constant == FieldExpr::Literal(Literal::Nil) {
            return Some(Filter::Exists(fields.reference(field), op == CompareOp::NotEqual));
        }
        let Expr::Constant(Some(value)) = Expr::new(constant, fields) else { return None };
        if is_root(field, op, &value) {
            let has_parent = fields.number(SpanField::HasParent);
            let test = Test::Compare(CompareOp::Equal, Value::Bool(false));
            return Some(Filter::Test(FieldRef::one(has_parent), test));
        }
        return Some(Filter::Test(fields.reference(field), Test::Compare(op, value)));
    }
    let (FieldOp::Regex | FieldOp::NotRegex, FieldExpr::Literal(Literal::Text(pattern))) = (op, constant)
    else {
        return None;
    };
    let matcher = Matcher::new("", MatchOp::Regex, pattern.clone()).ok()?;
    Some(Filter::Test(fields.reference(field), Test::Regex(matcher, op == FieldOp::NotRegex)))
}

/// Whether a condition on the nested set asks for root spans: no tree is needed to tell.
fn is_root(field: &Field, op: CompareOp, value: &Value) -> bool {
    let below_zero = matches!(
        (op, value),
        (CompareOp::Less, Value::Int(0)) | (CompareOp::LessOrEqual | CompareOp::Equal, Value::Int(-1))
    );
    below_zero && matches!(field, Field::Intrinsic { intrinsic: Intrinsic::NestedSetParent, .. })
}

/// The operator with its sides exchanged; an expression has its text on the left.
fn flipped(op: FieldOp) -> Option<FieldOp> {
    Some(FieldOp::Compare(match op {
        FieldOp::Compare(CompareOp::Greater) => CompareOp::Less,
        FieldOp::Compare(CompareOp::GreaterOrEqual) => CompareOp::LessOrEqual,
        FieldOp::Compare(CompareOp::Less) => CompareOp::Greater,
        FieldOp::Compare(CompareOp::LessOrEqual) => CompareOp::GreaterOrEqual,
        FieldOp::Compare(op) => op,
        _ => return None,
    }))
}

/// Decides by the column of a field, and by the second where a span has nothing in the first. A column none of whose values passes
/// is not read, and of one that should have a text nothing is taken apart as long as its bytes do not hold it.
fn test_mask(rows: &Rows<'_>, field: FieldRef, test: &Test) -> Result<Mask, ExecError> {
    let may_pass = |column: &Column| any_passes(column, test);
    let decide = |column: &Column| test_column(column, test, rows.len());
    let none = || vec![false; rows.len()];
    let column_if = |number: usize| match test {
        Test::Compare(CompareOp::Equal, Value::Text(text)) if !rows.may_have_text(number, text)? => Ok(None),
        _ => rows.column_if(number, &may_pass),
    };
    let mut numbers = field.numbers();
    let Some(first) = numbers.next() else { return Ok(none()) };
    let of_first = column_if(first)?;
    let Some(second) = numbers.next() else { return Ok(of_first.map_or_else(none, decide)) };
    if let Some(Column::Nil) = of_first {
        return Ok(column_if(second)?.map_or_else(none, decide));
    }
    let of_second = column_if(second)?;
    let mut mask = of_first.map_or_else(none, decide);
    if let Some(of_second) = of_second.filter(|column| !matches!(column, Column::Nil)) {
        let has = exists(rows.column(first)?, rows.len());
        if has.contains(&false) {
            for (mask, (has, other)) in mask.iter_mut().zip(has.into_iter().zip(decide(of_second))) {
                *mask = if has { *mask } else { other };
            }
        }
    }
    Ok(mask)
}

/// Which spans have anything in any of the places of a field.
fn exists_mask(rows: &Rows<'_>, field: FieldRef) -> Result<Mask, ExecError> {
    let mut mask = vec![false; rows.len()];
    for number in field.numbers() {
        let has = exists(rows.column(number)?, rows.len());
        mask.iter_mut().zip(has).for_each(|(mask, has)| *mask |= has);
        if !mask.contains(&false) {
            break;
        }
    }
    Ok(mask)
}

/// Whether any of the values of a column passes a test.
fn any_passes(column: &Column, test: &Test) -> bool {
    match column {
        Column::Nil => false,
        Column::Texts(_, texts) => texts.iter().any(|text| test.scalar(Scalar::Text(text))),
        Column::Cells(_, cells) => cells.iter().any(|cell| test.value(cell_ref(cell))),
        Column::Ints(numbers) => numbers.values.iter().any(|value| test.scalar(Scalar::Int(*value))),
        Column::Durations(numbers) => {
            numbers.values.iter().any(|value| test.scalar(Scalar::Duration(*value)))
        }
        Column::Floats(numbers) => numbers.values.iter().any(|value| test.scalar(Scalar::Float(*value))),
        Column::Bools(_) => true,
    }
}

fn by_key(keys: &[u32], verdicts: &[bool]) -> Mask {
    keys.iter().map(|key| verdicts.get(*key as usize).copied().unwrap_or_default()).collect()
}

fn by_number<T: Copy>(numbers: &Numbers<T>, test: impl Fn(T) -> bool) -> Mask {
    let mask = numbers.values.iter().map(|value| test(*value));
    match &numbers.present {
        None => mask.collect(),
        Some(present) => mask.zip(present).map(|(is, present)| is && *present).collect(),
    }
}

fn test_column(column: &Column, test: &Test, len: usize) -> Mask {
    match column {
        Column::Nil => vec![false; len],
        Column::Ints(numbers) => by_integer(numbers, test, Scalar::Int),
        Column::Durations(numbers) => by_integer(numbers, test, Scalar::Duration),
        Column::Floats(numbers) => by_number(numbers, |value| test.scalar(Scalar::Float(value))),
        Column::Bools(numbers) => {
            let verdicts = [false, true].map(|value| test.scalar(Scalar::Bool(value)));
            by_number(numbers, |value| if value { verdicts[1] } else { verdicts[0] })
        }
        Column::Texts(keys, texts) => {
            let verdicts: Vec<bool> = texts.iter().map(|text| test.scalar(Scalar::Text(text))).collect();
            if verdicts.contains(&true) { by_key(keys, &verdicts) } else { vec![false; len] }
        }
        Column::Cells(keys, cells) => {
            let verdicts: Vec<bool> = cells.iter().map(|cell| test.value(cell_ref(cell))).collect();
            if verdicts.contains(&true) { by_key(keys, &verdicts) } else { vec![false; len] }
        }
    }
}

/// Whole numbers against a whole number in a loop that has nothing else in it.
fn by_integer(numbers: &Numbers<i64>, test: &Test, scalar: fn(i64) -> Scalar<'static>) -> Mask {
    let Test::Compare(op, Value::Int(constant) | Value::Duration(constant)) = test else {
        return by_number(numbers, |value| test.scalar(scalar(value)));
    };
    let constant = *constant;
    match op {
        CompareOp::Equal => by_number(numbers, |value| value == constant),
        CompareOp::NotEqual => by_number(numbers, |value| value != constant),
        CompareOp::Greater => by_number(numbers, |value| value > constant),
        CompareOp::GreaterOrEqual => by_number(numbers, |value| value >= constant),
        CompareOp::Less => by_number(numbers, |value| value < constant),
        CompareOp::LessOrEqual => by_number(numbers, |value| value <= constant),
    }
}

fn cell_ref(cell: &Cell) -> ValueRef<'_> {
    match cell {
        Cell::One(value) => value.borrow(),
        Cell::Each(values) => ValueRef::Each(values),
    }
}

/// Which spans have anything.
fn exists(column: &Column, len: usize) -> Mask {
    let of_numbers = |present: &Option<Vec<bool>>| present.clone().unwrap_or_else(|| vec![true; len]);
    match column {
        Column::Nil => vec![false; len],
        Column::Ints(numbers) | Column::Durations(numbers) => of_numbers(&numbers.present),
        Column::Floats(numbers) => of_numbers(&numbers.present),
        Column::Bools(numbers) => of_numbers(&numbers.present),
        Column::Texts(keys, _) | Column::Cells(keys, _) => keys.iter().map(|key| *key != NIL).collect(),
    }
}
