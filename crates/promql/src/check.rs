//! Holds a tree to the rules of the language: types, matching, arguments.
//!
//! Messages are those of Prometheus, because people and tools know them.

use std::cmp::Ordering;

use throughline_exec::METRIC_NAME;

use crate::ast::{
    Aggregate, Binary, Call, Cardinality, Expr, Function, MatrixSelector, Span, Subquery, Unary, ValueType,
    VectorSelector,
};
use crate::parse::ParseError;
use crate::signature::Arity;
use throughline_exec::quote::quote;

/// Checks the tree of `query` and settles what types decide: how set operators match, and that nothing is
/// matched where a side is no vector.
pub(crate) fn check(query: &str, expr: &mut Expr) -> Result<(), ParseError> {
    Checker { query }.expr(expr).map(drop)
}

/// Checks that a selector names its metric at most once.
pub(crate) fn check_names(query: &str, selector: &VectorSelector) -> Result<(), ParseError> {
    Checker { query }.names(selector)
}

type Checked<T> = Result<T, ParseError>;

struct Checker<'a> {
    query: &'a str,
}

impl Checker<'_> {
    fn fail<T>(&self, span: Span, message: impl Into<String>) -> Checked<T> {
        Err(ParseError::new(self.query, span, message))
    }

    fn expr(&self, expr: &mut Expr) -> Checked<ValueType> {
        match expr {
            Expr::Number(_) | Expr::Text(_) => {}
            Expr::Vector(selector) => self.selector(selector)?,
            Expr::Matrix(matrix) => self.matrix(matrix)?,
            Expr::Subquery(subquery) => self.subquery(subquery)?,
            Expr::Call(call) => self.call(call)?,
            Expr::Aggregate(aggregate) => self.aggregate(aggregate)?,
            Expr::Binary(binary) => self.binary(binary)?,
            Expr::Unary(unary) => self.unary(unary)?,
            Expr::Paren(paren) => return self.expr(&mut paren.expr),
        }
        Ok(expr.value_type())
    }

    fn expect(&self, expr: &mut Expr, wanted: ValueType, place: &str) -> Checked<()> {
        let given = self.expr(expr)?;
        if given == wanted {
            return Ok(());
        }
        let (wanted, given) = (wanted.documented_name(), given.documented_name());
        self.fail(expr.span(), format!("expected type {wanted} in {place}, got {given}"))
    }

    fn names(&self, selector: &VectorSelector) -> Checked<()> {
        let Some(name) = &selector.name else { return Ok(()) };
        let inside = selector.matchers.len().saturating_sub(1);
        let twice = selector.matchers.iter().take(inside).find(|matcher| matcher.name() == METRIC_NAME);
        let Some(twice) = twice else { return Ok(()) };
        let (first, second) = (quote(name.as_bytes()), quote(twice.value().as_bytes()));
        self.fail(selector.span, format!("metric name must not be set twice: {first} or {second}"))
    }

    fn selector(&self, selector: &VectorSelector) -> Checked<()> {
        self.names(selector)?;
        // Without this a slip of the fingers would read every series.
        if selector.name.is_none() && selector.matchers.iter().all(|matcher| matcher.matches("")) {
            return self.fail(selector.span, "vector selector must contain at least one non-empty matcher");
        }
        Ok(())
    }

    fn matrix(&self, matrix: &MatrixSelector) -> Checked<()> {
        self.selector(&matrix.selector)
    }

    fn subquery(&self, subquery: &mut Subquery) -> Checked<()> {
        let inner = self.expr(&mut subquery.expr)?;
        if inner != ValueType::Vector {
            let message = format!("subquery is only allowed on instant vector, got {} instead", inner.name());
            return self.fail(subquery.span, message);
        }
        Ok(())
    }

    fn unary(&self, unary: &mut Unary) -> Checked<()> {
        let inner = self.expr(&mut unary.expr)?;
        if matches!(inner, ValueType::Scalar | ValueType::Vector) {
            return Ok(());
        }
        let span = Span { start: unary.start, end: unary.expr.span().end };
        let message = format!(
            "unary expression only allowed on expressions of type scalar or instant vector, got \"{}\"",
            inner.documented_name()
        );
        self.fail(span, message)
    }

    fn aggregate(&self, aggregate: &mut Aggregate) -> Checked<()> {
        self.expect(&mut aggregate.expr, ValueType::Vector, "aggregation expression")?;
        match (&mut aggregate.param, aggregate.op.param_type()) {
            (Some(param), Some(wanted)) => self.expect(param, wanted, "aggregation parameter"),
            _ => Ok(()),
        }
    }

    fn call(&self, call: &mut Call) -> Checked<()> {
        let signature = call.function.signature();
        self.argument_count(call)?;
        if call.function == Function::Info {
            self.info_selector(call)?;
        }
        let place = format!("call to function {}", quote(signature.name.as_bytes()));
        for (at, argument) in call.args.iter_mut().enumerate() {
            let Some(wanted) = signature.args.get(at).or(signature.args.last()) else { break };
            // Checked above: the data labels of `info` may select everything.
            if call.function == Function::Info && at == 1 {
                continue;
            }
            self.expect(argument, *wanted, &place)?;
        }
        Ok(())
    }

    fn argument_count(&self, call: &Call) -> Checked<()> {
        let signature = call.function.signature();
        let (types, given) = (signature.args.len(), call.args.len());
        let (least, most) = match signature.arity {
            Arity::Exact => (types, types),
            Arity::Optional(count) => (types - 1, types - 1 + count),
            Arity::Any => (types - 1, usize::MAX),
        };
        let wanted = match (signature.arity, given.cmp(&least)) {
            (Arity::Exact, Ordering::Equal) => return Ok(()),
            (Arity::Exact, _) => format!("{types}"),
            (_, Ordering::Less) => format!("at least {least}"),
            _ if given > most => format!("at most {most}"),
            _ => return Ok(()),
        };
        let name = quote(signature.name.as_bytes());
        self.fail(call.span, format!("expected {wanted} argument(s) in call to {name}, got {given}"))
    }

    /// The second argument of `info` is a selector of labels, not of series.
    fn info_selector(&self, call: &Call) -> Checked<()> {
        let Some(argument) = call.args.get(1) else { return Ok(()) };
        let given = argument.value_type();
        if given != ValueType::Vector {
            let (wanted, given) = (ValueType::Vector.documented_name(), given.documented_name());
            let message = format!("expected type {wanted} in call to function \"info\", got {given}");
            return self.fail(call.span, message);
        }
        match argument {
            Expr::Vector(selector) if selector.name.is_none() => Ok(()),
            Expr::Vector(_) => {
                self.fail(argument.span(), "expected label selectors only, got vector selector instead")
            }
            _ => self.fail(argument.span(), "expected label selectors only"),
        }
    }

    fn binary(&self, binary: &mut Binary) -> Checked<()> {
        let lhs = self.expr(&mut binary.lhs)?;
        let rhs = self.expr(&mut binary.rhs)?;
        let op = binary.op;
        if binary.return_bool && !op.is_comparison() {
            let message = "bool modifier can only be used on comparison operators";
            return self.fail(self.operator_span(binary), message);
        }
        let scalars = lhs == ValueType::Scalar && rhs == ValueType::Scalar;
        if op.is_comparison() && !binary.return_bool && scalars {
            let message = "comparisons between scalars must use BOOL modifier";
            return self.fail(self.operator_span(binary), message);
        }
        self.labels_of_both_clauses(binary)?;
        for (side, value_type) in [(&binary.lhs, lhs), (&binary.rhs, rhs)] {
            if !matches!(value_type, ValueType::Scalar | ValueType::Vector) {
                let message = "binary expression must contain only scalar and instant vector types";
                return self.fail(side.span(), message);
            }
        }
        if lhs == ValueType::Vector && rhs == ValueType::Vector {
            return self.set_operator(binary);
        }
        self.without_matching(binary)
    }

    fn labels_of_both_clauses(&self, binary: &Binary) -> Checked<()> {
        let Some(matching) = binary.matching.as_ref().filter(|matching| matching.on) else {
            return Ok(());
        };
        match matching.labels.iter().find(|label| matching.include.contains(label)) {
            Some(label) => {
                let label = quote(label.as_bytes());
                let message = format!("label {label} must not occur in ON and GROUP clause at once");
                self.fail(self.operator_span(binary), message)
            }
            None => Ok(()),
        }
    }

    /// A side is a scalar: there is nothing to match.
    fn without_matching(&self, binary: &mut Binary) -> Checked<()> {
        let span = binary.lhs.span().to(binary.rhs.span());
        if let Some(matching) = binary.matching.take() {
            if !matching.labels.is_empty() {
                return self.fail(span, "vector matching only allowed between instant vectors");
            }
            if matching.fill_left.is_some() || matching.fill_right.is_some() {
                return self.fail(span, "filling in missing series only allowed between instant vectors");
            }
        }
        if binary.op.is_set() {
            let op = quote(binary.op.symbol().as_bytes());
            return self.fail(span, format!("set operator {op} not allowed in binary scalar expression"));
        }
        Ok(())
    }

    fn set_operator(&self, binary: &mut Binary) -> Checked<()> {
        let span = binary.lhs.span().to(binary.rhs.span());
        let Some(matching) = binary.matching.as_mut().filter(|_| binary.op.is_set()) else {
            return Ok(());
        };
        if matches!(matching.card, Cardinality::OneToMany | Cardinality::ManyToOne) {
            let op = quote(binary.op.symbol().as_bytes());
            return self.fail(span, format!("no grouping allowed for {op} operation"));
        }
        if matching.fill_left.is_some() || matching.fill_right.is_some() {
            return self.fail(span, "filling in missing series not allowed for set operators");
        }
        matching.card = Cardinality::ManyToMany;
        Ok(())
    }

    /// The operator and its modifiers.
    fn operator_span(&self, binary: &Binary) -> Span {
        let (start, end) = (binary.lhs.span().end, binary.rhs.span().start);
        let between = self.query.get(start as usize..end as usize).unwrap_or("");
        let before = between.len() - between.trim_start().len();
        Span { start: start + before as u32, end: start + between.trim_end().len() as u32 }
    }
}
