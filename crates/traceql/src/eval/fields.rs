//! The fields that a query reads, by number, and their columns of one batch, read when first asked for.

use std::cell::OnceCell;

use throughline_exec::ExecError;

use super::tree::{self, Forest};
use crate::ast::{Field, Intrinsic, Scope};
use crate::column::{Column, Numbers};
use crate::source::{SpanBatch, SpanField, TraceRun};
use crate::value::ValueRef;

/// The fields of a query.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    list: Vec<SpanField>,
}

/// A field as it was written: where it is looked for, in this order, until a span has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FieldRef {
    first: usize,
    or: Option<usize>,
}

impl Fields {
    /// The number of a field.
    pub fn number(&mut self, field: SpanField) -> usize {
        match self.list.iter().position(|other| *other == field) {
            Some(at) => at,
            None => {
                self.list.push(field);
                self.list.len() - 1
            }
        }
    }

    /// A field as it was written.
    pub fn reference(&mut self, field: &Field) -> FieldRef {
        let one = |first| FieldRef { first, or: None };
        match field {
            Field::Intrinsic { intrinsic, .. } => one(self.number(SpanField::Intrinsic(*intrinsic))),
            Field::Attribute(attribute) => {
                let mut of = |scope: Scope| match (scope, attribute.name.as_str()) {
                    // Every span has one, and it is a column of its own.
                    (Scope::Resource, "service.name") => self.number(SpanField::Service),
                    (scope, name) => self.number(SpanField::Attribute(scope, name.to_owned())),
                };
                match attribute.scope {
                    Scope::Any => FieldRef { first: of(Scope::Span), or: Some(of(Scope::Resource)) },
                    scope => one(of(scope)),
                }
            }
        }
    }

    /// What the source calls a field.
    pub fn get(&self, number: usize) -> Option<&SpanField> {
        self.list.get(number)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &SpanField> {
        self.list.iter()
    }

    /// Whether any is such.
    pub fn any(&self, is: fn(&SpanField) -> bool) -> bool {
        self.list.iter().any(is)
    }
}

impl FieldRef {
    /// A field that is looked for in one place.
    pub fn one(number: usize) -> FieldRef {
        FieldRef { first: number, or: None }
    }

    /// The field alone, if it is looked for in one place.
    pub fn single(self) -> Option<usize> {
        self.or.is_none().then_some(self.first)
    }

    /// The numbers of where it is looked for.
    pub fn numbers(self) -> impl Iterator<Item = usize> {
        std::iter::once(self.first).chain(self.or)
    }
}

/// What spans have that have nothing in one of the fields that every span has: what a sender leaves empty is the empty text, and who has
/// no parent has a parent's id of zeros, as in Tempo.
pub(crate) fn instead(field: &SpanField) -> Option<&'static str> {
    use Intrinsic::{
        InstrumentationName, InstrumentationVersion, ParentId, RootName, RootServiceName, StatusMessage,
    };
    match field {
        SpanField::Intrinsic(
            StatusMessage | RootName | RootServiceName | InstrumentationName | InstrumentationVersion,
        ) => Some(""),
        SpanField::Intrinsic(ParentId) => Some("0000000000000000"),
        _ => None,
    }
}

/// The columns of a batch.
pub(crate) struct Rows<'b> {
    pub batch: &'b dyn SpanBatch,
    fields: &'b Fields,
    columns: Vec<OnceCell<Column>>,
    runs: OnceCell<Vec<TraceRun>>,
    parents: OnceCell<Vec<u32>>,
    forest: OnceCell<Forest>,
}

impl<'b> Rows<'b> {
    pub fn new(batch: &'b dyn SpanBatch, fields: &'b Fields) -> Rows<'b> {
        let columns = fields.list.iter().map(|_| OnceCell::new()).collect();
        let (runs, parents, forest) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Rows { batch, fields, columns, runs, parents, forest }
    }

    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// A column by the number of its field.
    pub fn column(&self, number: usize) -> Result<&Column, ExecError> {
        let (Some(cell), Some(field)) = (self.columns.get(number), self.fields.get(number)) else {
            return Ok(&Column::Nil);
        };
        if let Some(column) = cell.get() {
            return Ok(column);
        }
        let column = match field {
            SpanField::Intrinsic(intrinsic) if field.is_of_tree() => self.of_tree(*intrinsic)?,
            field => self.filled(field)?,
        };
        Ok(cell.get_or_init(|| column))
    }

    /// A column as the batch has it, with what spans have instead of nothing.
    pub fn filled(&self, field: &SpanField) -> Result<Column, ExecError> {
        let column = self.batch.column(field)?;
        Ok(match instead(field) {
            Some(text) => column.or_text(text, self.len()),
            None => column,
        })
    }

    /// A column by the number of its field; nothing if `may_pass` says no of values among which are all that spans have.
    pub fn column_if(
        &self,
        number: usize,
        may_pass: &dyn Fn(&Column) -> bool,
    ) -> Result<Option<&Column>, ExecError> {
        let (Some(cell), Some(field)) = (self.columns.get(number), self.fields.get(number)) else {
            return Ok(Some(&Column::Nil));
        };
        if cell.get().is_some() || field.is_of_tree() {
            return self.column(number).map(Some);
        }
        let Some(text) = instead(field) else {
            let column = self.batch.column_if(field, may_pass)?;
            return Ok(column.map(|column| cell.get_or_init(|| column)));
        };
        if may_pass(&Column::Nil.or_text(text, 1)) {
            return self.column(number).map(Some);
        }
        let column = self.batch.column_if(field, may_pass)?;
        Ok(column.map(|column| cell.get_or_init(|| column.or_text(text, self.len()))))
    }

    /// Whether any span may have a text in the column of a field; no is certain.
    pub fn may_have_text(&self, number: usize, text: &str) -> Result<bool, ExecError> {
        match (self.columns.get(number), self.fields.get(number)) {
            (Some(cell), Some(field))
                if cell.get().is_none() && !field.is_of_tree() && instead(field) != Some(text) =>
            {
                self.batch.may_have_text(field, text)
            }
            _ => Ok(true),
        }
    }

    /// What a span has of a field. Its columns have been asked for before.
    pub fn get(&self, field: FieldRef, row: usize) -> Result<ValueRef<'_>, ExecError> {
        let first = self.column(field.first)?.get(row);
        match field.or {
            Some(or) if first.is_nil() => Ok(self.column(or)?.get(row)),
            _ => Ok(first),
        }
    }

    /// The traces.
    pub fn runs(&self) -> Result<&[TraceRun], ExecError> {
        if let Some(runs) = self.runs.get() {
            return Ok(runs);
        }
        let runs = self.batch.runs()?;
        Ok(self.runs.get_or_init(|| runs))
    }

    /// Of each span the row of its parent, [`tree::NONE`] without one; no span is its own ancestor.
    pub fn parents(&self) -> Result<&[u32], ExecError> {
        if let Some(parents) = self.parents.get() {
            return Ok(parents);
        }
        let within = self.batch.column(&SpanField::ParentRow)?;
        let mut parents = vec![tree::NONE; self.len()];
        if let Column::Ints(Numbers { values, present }) = &within {
            let has = |row: usize| present.as_ref().is_none_or(|present| present.get(row) == Some(&true));
            for run in self.runs()? {
                let rows = run.start as usize..run.end as usize;
                let (Some(values), Some(of_run)) = (values.get(rows.clone()), parents.get_mut(rows)) else {
                    continue;
                };
                let len = i64::from(run.end - run.start);
                for (at, (value, place)) in values.iter().zip(of_run).enumerate() {
                    if (0..len).contains(value) && has(run.start as usize + at) {
                        *place = run.start + *value as u32;
                    }
                }
            }
        }
        tree::break_cycles(&mut parents);
        Ok(self.parents.get_or_init(|| parents))
    }

    /// Of each span whether it names a parent, be it there or not.
    pub fn has_parent(&self) -> Result<Column, ExecError> {
        self.batch.column(&SpanField::HasParent)
    }

    fn of_tree(&self, intrinsic: Intrinsic) -> Result<Column, ExecError> {
        if self.forest.get().is_none() {
            let parents = self.parents()?;
            let has_parent = self.has_parent()?;
            let forest = tree::number(parents, self.runs()?, |row| !has_parent.is_true(row));
            self.forest.get_or_init(|| forest);
        }
        let Some(forest) = self.forest.get() else { return Ok(Column::Nil) };
        let values = match intrinsic {
            Intrinsic::NestedSetLeft => &forest.left,
            Intrinsic::NestedSetRight => &forest.right,
            Intrinsic::NestedSetParent => &forest.parent,
            _ => &forest.children,
        };
        Ok(Column::Ints(Numbers::all(values.iter().map(|value| i64::from(*value)).collect())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::filter::Filter;
    use super::*;
    use crate::ast::{Expr, SpansetExpr, Stage};
    use crate::source::TraceHead;

    /// Two spans with one message between them; whole columns are counted.
    struct Known(std::cell::Cell<usize>);

    impl SpanBatch for Known {
        fn len(&self) -> usize {
            2
        }

        fn column(&self, _: &SpanField) -> Result<Column, ExecError> {
            self.0.set(self.0.get() + 1);
            Ok(Column::Texts(vec![crate::column::NIL, 0], ["boom"].into_iter().collect()))
        }

        fn column_if(
            &self,
            field: &SpanField,
            may_pass: &dyn Fn(&Column) -> bool,
        ) -> Result<Option<Column>, ExecError> {
            let known = Column::Texts(vec![0], ["boom"].into_iter().collect());
            may_pass(&known).then(|| self.column(field)).transpose()
        }

        fn pick(&self, _: &SpanField, _: &[u32]) -> Result<Column, ExecError> {
            Ok(Column::Nil)
        }

        fn runs(&self) -> Result<Vec<TraceRun>, ExecError> {
            Ok(Vec::new())
        }

        fn heads(&self, _: &[TraceRun]) -> Result<Vec<TraceHead>, ExecError> {
            Ok(Vec::new())
        }

        fn is_whole(&self, _: &TraceRun, _: throughline_model::TraceId) -> Result<bool, ExecError> {
            Ok(true)
        }

        fn attributes(&self) -> Result<Vec<SpanField>, ExecError> {
            Ok(Vec::new())
        }

        fn starts_within(&self, _: i64, _: i64) -> bool {
            true
        }
    }

    /// Which spans fulfil a condition, and how many columns were read for it.
    fn found(condition: &str) -> (Vec<bool>, usize) {
        let query = crate::checked(&format!("{{ {condition} }}")).expect("a query");
        let Expr::Spans(spans) = &query.expr else { panic!("{condition}") };
        let Some(Stage::Spanset(SpansetExpr::Filter(filter))) = spans.stages.first() else {
            panic!("{condition}")
        };
        let mut fields = Fields::default();
        let filter = Filter::new(filter.as_ref(), &mut fields);
        let batch = Known(std::cell::Cell::new(0));
        let mask = filter.mask(&Rows::new(&batch, &fields)).expect("a mask");
        (mask, batch.0.get())
    }

    #[test]
    fn a_column_is_not_read_for_what_nobody_has_though_some_have_nothing() {
        assert_eq!(found("statusMessage = \"nobody's\""), (vec![false, false], 0));
        assert_eq!(found("statusMessage =~ \"no.+\""), (vec![false, false], 0));
        assert_eq!(found("statusMessage = \"boom\""), (vec![false, true], 1));
        assert_eq!(found("statusMessage = \"\""), (vec![true, false], 1));
        assert_eq!(found("statusMessage != \"boom\""), (vec![true, false], 1));
        assert_eq!(found("statusMessage =~ \"x?\""), (vec![true, false], 1));
        assert_eq!(found("span.message != \"boom\""), (vec![false, false], 0));
    }
}
