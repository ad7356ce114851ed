//! Walks the tree of a template with its data and writes the output.

mod operand;

use crate::ast::{Branch, Node, Pipe, Span};
use crate::error::Error;
use crate::format::{self, Output};
use crate::functions::{Functions, Room};
use crate::value::{NESTING_MAX, Value};
use crate::{Limits, Template};

/// How deep templates, blocks and parentheses may nest while they are evaluated. Go allows templates to call each
/// other 100,000 deep; here the stack is a thread's.
const DEPTH_MAX: usize = 160;

pub fn execute(
    template: &Template,
    data: &Value,
    functions: &Functions<'_>,
    limits: &Limits,
) -> Result<String, Error> {
    let mut evaluator = Evaluator {
        template,
        functions,
        limits,
        out: Output::new(limits.output_bytes),
        steps_left: limits.steps,
        bytes_left: limits.value_bytes,
        depth: 0,
        name: &template.name,
        variables: vec![("$", data.clone())],
    };
    evaluator.list(data, &template.root)?;
    Ok(evaluator.out.into_text())
}

struct Evaluator<'a, 'f> {
    template: &'a Template,
    functions: &'a Functions<'f>,
    limits: &'a Limits,
    out: Output,
    steps_left: usize,
    bytes_left: usize,
    depth: usize,
    /// The template that is being executed.
    name: &'a str,
    /// Innermost last.
    variables: Vec<(&'a str, Value)>,
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Through,
    Break,
    Continue,
}

impl<'a> Evaluator<'a, '_> {
    fn error(&self, at: Span, message: impl Into<String>) -> Error {
        let text = &self.template.text;
        let before = text.get(..at.start).unwrap_or(text);
        Error::Execute {
            name: self.template.name.clone(),
            line: 1 + before.bytes().filter(|byte| *byte == b'\n').count(),
            column: before.len() - before.rfind('\n').map_or(0, |newline| newline + 1),
            template: self.name.to_owned(),
            context: text.get(at.start..at.end).unwrap_or_default().trim().to_owned(),
            message: message.into(),
        }
    }

    fn limit(&self, limit: usize, what: &'static str) -> Error {
        Error::Limit { name: self.template.name.clone(), limit, what }
    }

    fn step(&mut self) -> Result<(), Error> {
        match self.steps_left.checked_sub(1) {
            Some(left) => self.steps_left = left,
            None => return Err(self.limit(self.limits.steps, "steps")),
        }
        Ok(())
    }

    fn deeper<T>(&mut self, eval: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth >= DEPTH_MAX {
            return Err(self.limit(DEPTH_MAX, "levels of templates and blocks"));
        }
        self.depth += 1;
        let done = eval(self);
        self.depth -= 1;
        done
    }

    /// Counts what a function made.
    fn charge(&mut self, at: Span, value: &Value) -> Result<(), Error> {
        let bytes = match value {
            Value::Text(text) => text.len(),
            Value::List(list) => list.items.len() * size_of::<Value>(),
            Value::Map(map) => map.entries.len() * 2 * size_of::<Value>(),
            _ => 0,
        };
        if value.nesting() > NESTING_MAX {
            return Err(self.error(at, format!("a value is nested deeper than {NESTING_MAX}")));
        }
        match self.bytes_left.checked_sub(bytes) {
            Some(left) => self.bytes_left = left,
            None => return Err(self.limit(self.limits.value_bytes, "bytes of values")),
        }
        Ok(())
    }

    fn room(&self) -> Room {
        Room { bytes: self.bytes_left }
    }

    fn write(&mut self, text: &str) -> Result<(), Error> {
        self.out.push(text).map_err(|_| self.limit(self.limits.output_bytes, "bytes of output"))
    }

    fn list(&mut self, dot: &Value, nodes: &'a [Node]) -> Result<Flow, Error> {
        for node in nodes {
            self.step()?;
            let flow = match node {
                Node::Text(at) => {
                    let template = self.template;
                    self.write(template.text.get(at.start..at.end).unwrap_or_default())?;
                    Flow::Through
                }
                Node::Action(pipe) => {
                    let value = self.pipe(dot, pipe)?;
                    if pipe.variables.is_empty() {
                        self.print(&value)?;
                    }
                    Flow::Through
                }
                Node::If(branch) => self.deeper(|this| this.branch(dot, branch, false))?,
                Node::With(branch) => self.deeper(|this| this.branch(dot, branch, true))?,
                Node::Range(branch) => self.deeper(|this| this.range(dot, branch))?,
                Node::Template { at, name, pipe } => {
                    self.deeper(|this| this.call(dot, *at, name, pipe.as_ref()))?;
                    Flow::Through
                }
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::Through {
                return Ok(flow);
            }
        }
        Ok(Flow::Through)
    }

    fn print(&mut self, value: &Value) -> Result<(), Error> {
        if matches!(value, Value::Nil) {
            return self.write("<no value>");
        }
        format::print(&mut self.out, value)
            .map_err(|_| self.limit(self.limits.output_bytes, "bytes of output"))
    }

    fn branch(&mut self, dot: &Value, branch: &'a Branch, moves_dot: bool) -> Result<Flow, Error> {
        let scope = self.variables.len();
        let value = self.pipe(dot, &branch.pipe)?;
        let flow = if value.truth() {
            self.list(if moves_dot { &value } else { dot }, &branch.then)
        } else {
            self.list(dot, &branch.otherwise)
        };
        self.variables.truncate(scope);
        flow
    }

    fn range(&mut self, dot: &Value, branch: &'a Branch) -> Result<Flow, Error> {
        let scope = self.variables.len();
        let value = self.pipe(dot, &branch.pipe)?;
        let inner = self.variables.len();
        let flow = self.iterate(dot, branch, &value, inner);
        self.variables.truncate(scope);
        flow
    }

    fn iterate(
        &mut self,
        dot: &Value,
        branch: &'a Branch,
        value: &Value,
        inner: usize,
    ) -> Result<Flow, Error> {
        let is_empty = match value {
            Value::List(list) => {
                for (at, item) in list.items.iter().enumerate() {
                    let at = Value::Int(i64::try_from(at).unwrap_or(i64::MAX));
                    if self.iteration(branch, at, item, inner)? == Flow::Break {
                        break;
                    }
                }
                list.items.is_empty()
            }
            Value::Map(map) if map.missing.is_some() => {
                for (key, item) in &map.entries {
                    if self.iteration(branch, Value::Text(key.clone()), item, inner)? == Flow::Break {
                        break;
                    }
                }
                map.entries.is_empty()
            }
            Value::Int(count) => {
                if branch.pipe.variables.len() > 1 {
                    let message = format!("can't use {count} to iterate over more than one variable");
                    return Err(self.error(branch.pipe.at, message));
                }
                for at in 0..*count {
                    if self.iteration(branch, Value::Int(at), &Value::Int(at), inner)? == Flow::Break {
                        break;
                    }
                }
                *count <= 0
            }
            Value::Nil => true,
            other => {
                let message = format!("range can't iterate over a value of type {}", other.type_name());
                return Err(self.error(branch.pipe.at, message));
            }
        };
        if is_empty { self.list(dot, &branch.otherwise) } else { Ok(Flow::Through) }
    }

    fn iteration(
        &mut self,
        branch: &'a Branch,
        at: Value,
        item: &Value,
        inner: usize,
    ) -> Result<Flow, Error> {
        self.step()?;
        let pipe = &branch.pipe;
        let values = match pipe.variables.len() {
            0 => vec![],
            1 => vec![item.clone()],
            _ => vec![at, item.clone()],
        };
        for (name, value) in pipe.variables.iter().zip(values) {
            // The pipe has declared them, or they were there before.
            self.assign(name, value, pipe.at)?;
        }
        let flow = self.list(item, &branch.then);
        self.variables.truncate(inner);
        flow
    }

    fn call(&mut self, dot: &Value, at: Span, name: &'a str, pipe: Option<&'a Pipe>) -> Result<(), Error> {
        let template = self.template;
        let Some(nodes) = template.defined.get(name) else {
            let mut error = self.error(at, format!("template {name:?} not defined"));
            // Go shows the whole action, whose place is that of the name.
            if let Error::Execute { context, .. } = &mut error {
                let pipe = pipe.and_then(|pipe| template.text.get(pipe.at.start..pipe.at.end));
                let pipe = pipe.map(|text| format!(" {}", text.trim())).unwrap_or_default();
                *context = format!("{{{{template {name:?}{pipe}}}}}");
            }
            return Err(error);
        };
        let scope = self.variables.len();
        let data = match pipe {
            Some(pipe) => self.pipe(dot, pipe)?,
            None => Value::Nil,
        };
        self.variables.truncate(scope);
        // The template sees none of the variables around its call.
        let variables = std::mem::replace(&mut self.variables, vec![("$", data.clone())]);
        let caller = std::mem::replace(&mut self.name, name);
        let done = self.list(&data, nodes);
        self.variables = variables;
        if done.is_ok() {
            self.name = caller;
        }
        done.map(|_| ())
    }

    fn assign(&mut self, name: &str, value: Value, at: Span) -> Result<(), Error> {
        match self.variables.iter_mut().rev().find(|(known, _)| *known == name) {
            Some((_, slot)) => {
                *slot = value;
                Ok(())
            }
            None => Err(self.error(at, format!("undefined variable: {name}"))),
        }
    }

    /// The value of a pipeline; its variables are set.
    fn pipe(&mut self, dot: &Value, pipe: &'a Pipe) -> Result<Value, Error> {
        self.step()?;
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(dot, command, value)?);
        }
        let value = value.unwrap_or(Value::Nil);
        for name in &pipe.variables {
            if pipe.is_assignment {
                self.assign(name, value.clone(), pipe.at)?;
            } else {
                self.variables.push((name, value.clone()));
            }
        }
        Ok(value)
    }
}
