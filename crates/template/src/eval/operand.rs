//! Commands and operands: fields, variables, constants, and calls with typed arguments.

mod method;

use super::Evaluator;
use crate::ast::{Command, Operand, OperandKind, Span};
use crate::builtin;
use crate::error::Error;
use crate::functions::Kind;
use crate::value::Value;

/// What a field or a function is given: arguments, and the value of the command before.
struct Given<'a> {
    arguments: &'a [Operand],
    last: Option<Value>,
}

impl Given<'_> {
    fn nothing() -> Given<'static> {
        Given { arguments: &[], last: None }
    }

    fn is_nothing(&self) -> bool {
        self.arguments.is_empty() && self.last.is_none()
    }
}

impl<'a> Evaluator<'a, '_> {
    /// A command of a pipeline with the value of the one before.
    pub(super) fn command(
        &mut self,
        dot: &Value,
        command: &'a Command,
        last: Option<Value>,
    ) -> Result<Value, Error> {
        let given = Given { arguments: &command.arguments, last };
        let first = &command.first;
        match &first.kind {
            OperandKind::Field(names) => self.fields(dot, dot, names, command.at, given),
            OperandKind::Chain(base, names) => {
                let receiver = self.operand(dot, base)?;
                self.fields(dot, &receiver, names, command.at, given)
            }
            OperandKind::Variable(name, names) => {
                let receiver = self.variable(name, first.at)?;
                if names.is_empty() {
                    self.refuse_arguments(first, &given)?;
                    return Ok(receiver);
                }
                self.fields(dot, &receiver, names, command.at, given)
            }
            OperandKind::Function(name) => self.function(dot, name, command.at, given),
            OperandKind::Nil => Err(self.error(first.at, "nil is not a command")),
            _ => {
                self.refuse_arguments(first, &given)?;
                self.operand(dot, first)
            }
        }
    }

    fn refuse_arguments(&self, operand: &Operand, given: &Given<'_>) -> Result<(), Error> {
        if given.is_nothing() {
            return Ok(());
        }
        let text = self.template.text.get(operand.at.start..operand.at.end).unwrap_or_default();
        Err(self.error(operand.at, format!("can't give argument to non-function {text}")))
    }

    /// An operand that stands alone.
    fn operand(&mut self, dot: &Value, operand: &'a Operand) -> Result<Value, Error> {
        self.step()?;
        Ok(match &operand.kind {
            OperandKind::Dot => dot.clone(),
            OperandKind::Nil => Value::Nil,
            OperandKind::Bool(value) => Value::Bool(*value),
            OperandKind::Number(number) => match number.int {
                Some(int) if !number.is_float => Value::Int(int),
                _ => Value::Float(number.float),
            },
            OperandKind::Text(text) => Value::text(text.as_str()),
            OperandKind::Field(names) => self.fields(dot, dot, names, operand.at, Given::nothing())?,
            OperandKind::Variable(name, names) => {
                let receiver = self.variable(name, operand.at)?;
                self.fields(dot, &receiver, names, operand.at, Given::nothing())?
            }
            OperandKind::Function(name) => self.function(dot, name, operand.at, Given::nothing())?,
            OperandKind::Pipe(pipe) => {
                let scope = self.variables.len();
                let value = self.deeper(|this| this.pipe(dot, pipe))?;
                self.variables.truncate(scope);
                value
            }
            OperandKind::Chain(base, names) => {
                let receiver = self.operand(dot, base)?;
                self.fields(dot, &receiver, names, operand.at, Given::nothing())?
            }
        })
    }

    fn variable(&self, name: &str, at: Span) -> Result<Value, Error> {
        let found = self.variables.iter().rev().find(|(known, _)| *known == name);
        found
            .map(|(_, value)| value.clone())
            .ok_or_else(|| self.error(at, format!("undefined variable: {name}")))
    }

    /// A chain of fields; the last one is given the arguments.
    fn fields(
        &mut self,
        dot: &Value,
        receiver: &Value,
        names: &'a [String],
        at: Span,
        given: Given<'a>,
    ) -> Result<Value, Error> {
        let mut value = receiver.clone();
        let Some((last, before)) = names.split_last() else { return Ok(value) };
        for (depth, name) in before.iter().enumerate() {
            value = self.field(dot, &value, name, at, Given::nothing(), depth == 0)?;
        }
        self.field(dot, &value, last, at, given, before.is_empty())
    }

    fn field(
        &mut self,
        dot: &Value,
        receiver: &Value,
        name: &str,
        at: Span,
        given: Given<'a>,
        is_first: bool,
    ) -> Result<Value, Error> {
        if matches!(receiver, Value::Time(_) | Value::Duration(_)) {
            return self.method(dot, receiver, name, at, given);
        }
        let value = match receiver {
            // Data that is not there has no fields, and that is no mistake; a field that is not there is one.
            Value::Nil if is_first => Value::Nil,
            Value::Nil => {
                return Err(self.error(at, format!("nil pointer evaluating interface {{}}.{name}")));
            }
            Value::Map(map) => match (map.entries.get(name), &map.missing) {
                (Some(value), _) => value.clone(),
                (None, Some(missing)) => missing.clone(),
                (None, None) => return Err(self.no_field(receiver, name, at)),
            },
            _ => return Err(self.no_field(receiver, name, at)),
        };
        if !given.is_nothing() {
            return Err(self.error(at, format!("{name} is not a method but has arguments")));
        }
        Ok(value)
    }

    fn no_field(&self, receiver: &Value, name: &str, at: Span) -> Error {
        self.error(at, format!("can't evaluate field {name} in type {}", receiver.type_name()))
    }

    fn method(
        &mut self,
        dot: &Value,
        receiver: &Value,
        name: &str,
        at: Span,
        given: Given<'a>,
    ) -> Result<Value, Error> {
        let mut values = Vec::new();
        for argument in given.arguments {
            values.push(self.operand(dot, argument)?);
        }
        values.extend(given.last);
        let value = match method::call(receiver, name, &values) {
            None => return Err(self.no_field(receiver, name, at)),
            Some(result) => result.map_err(|message| self.error(at, message))?,
        };
        self.charge(at, &value)?;
        Ok(value)
    }

    fn function(&mut self, dot: &Value, name: &str, at: Span, given: Given<'a>) -> Result<Value, Error> {
        self.step()?;
        let functions = self.functions;
        let failed = |message| format!("error calling {name}: {message}");
        let value = if let Some(function) = functions.get(name) {
            let count = given.arguments.len() + usize::from(given.last.is_some());
            let fixed = function.parameters.len();
            self.check_count(name, at, count, fixed, function.variadic.is_none().then_some(fixed))?;
            let kinds = function
                .parameters
                .iter()
                .copied()
                .chain(std::iter::repeat(function.variadic.unwrap_or(Kind::Any)));
            let values = self.arguments(dot, at, given, kinds)?;
            (function.call)(&values, self.room()).map_err(|message| self.error(at, failed(message)))?
        } else if matches!(name, "and" | "or") {
            return self.and_or(dot, name, at, given);
        } else {
            let count = given.arguments.len() + usize::from(given.last.is_some());
            let (least, most) = builtin::arity(name);
            self.check_count(name, at, count, least, most)?;
            let values = self.arguments(dot, at, given, std::iter::repeat(Kind::Any))?;
            builtin::call(name, &values, self.room()).map_err(|message| self.error(at, failed(message)))?
        };
        self.charge(at, &value)?;
        Ok(value)
    }

    fn check_count(
        &self,
        name: &str,
        at: Span,
        count: usize,
        least: usize,
        most: Option<usize>,
    ) -> Result<(), Error> {
        match most {
            Some(most) if count != most => {
                Err(self.error(at, format!("wrong number of args for {name}: want {most} got {count}")))
            }
            None if count < least => {
                let message = format!("wrong number of args for {name}: want at least {least} got {count}");
                Err(self.error(at, message))
            }
            _ => Ok(()),
        }
    }

    /// The first argument that decides, or the last one.
    fn and_or(&mut self, dot: &Value, name: &str, at: Span, given: Given<'a>) -> Result<Value, Error> {
        let mut value = Value::Nil;
        let count = given.arguments.len() + usize::from(given.last.is_some());
        self.check_count(name, at, count, 1, None)?;
        for argument in given.arguments {
            value = self.operand(dot, argument)?;
            if value.truth() == (name == "or") {
                return Ok(value);
            }
        }
        Ok(given.last.unwrap_or(value))
    }

    fn arguments(
        &mut self,
        dot: &Value,
        at: Span,
        given: Given<'a>,
        kinds: impl Iterator<Item = Kind>,
    ) -> Result<Vec<Value>, Error> {
        let mut kinds = kinds;
        let mut values = Vec::with_capacity(given.arguments.len() + 1);
        for argument in given.arguments {
            let kind = kinds.next().unwrap_or(Kind::Any);
            values.push(self.argument(dot, kind, argument)?);
        }
        if let Some(last) = given.last {
            let kind = kinds.next().unwrap_or(Kind::Any);
            self.check_kind(kind, &last, at)?;
            values.push(last);
        }
        Ok(values)
    }

    fn argument(&mut self, dot: &Value, kind: Kind, operand: &'a Operand) -> Result<Value, Error> {
        let found = |this: &Self, expected: &str| {
            let text = this.template.text.get(operand.at.start..operand.at.end).unwrap_or_default();
            this.error(operand.at, format!("expected {expected}; found {text}"))
        };
        match (&operand.kind, kind) {
            // Constants become what is asked for, if they can.
            (OperandKind::Number(number), Kind::Float) => return Ok(Value::Float(number.float)),
            (OperandKind::Number(number), Kind::Int) => {
                return number.int.map(Value::Int).ok_or_else(|| found(self, "integer"));
            }
            (OperandKind::Number(_) | OperandKind::Text(_), Kind::Bool) => return Err(found(self, "bool")),
            (OperandKind::Number(_) | OperandKind::Bool(_), Kind::Text) => return Err(found(self, "string")),
            (OperandKind::Text(_) | OperandKind::Bool(_), Kind::Int) => return Err(found(self, "integer")),
            (OperandKind::Text(_) | OperandKind::Bool(_), Kind::Float) => return Err(found(self, "float")),
            (OperandKind::Nil, kind) if kind != Kind::Any => {
                return Err(self.error(operand.at, format!("cannot assign nil to {}", kind.name())));
            }
            _ => {}
        }
        let value = self.operand(dot, operand)?;
        self.check_kind(kind, &value, operand.at)?;
        Ok(value)
    }

    fn check_kind(&self, kind: Kind, value: &Value, at: Span) -> Result<(), Error> {
        if kind.takes(value) {
            return Ok(());
        }
        Err(self.error(
            at,
            match value {
                Value::Nil => format!("invalid value; expected {}", kind.name()),
                _ => format!("wrong type for value; expected {}; got {}", kind.name(), value.type_name()),
            },
        ))
    }
}
