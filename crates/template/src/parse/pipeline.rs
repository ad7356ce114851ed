//! Pipelines, commands and operands.

use super::{Parsed, Parser};
use crate::ast::{Command, Operand, OperandKind, Pipe, Span};
use crate::lex::Kind;
use crate::number;

impl Parser<'_, '_> {
    /// A pipeline up to and with the token that ends it.
    pub(super) fn pipeline(&mut self, context: &str, end: &Kind) -> Parsed<Pipe> {
        self.skip_space();
        let start = self.tokens.get(self.at).map_or(self.text.len(), |token| token.at.start);
        let (is_assignment, variables) = self.declarations(context)?;
        let mut commands = Vec::new();
        let at = loop {
            let token = self.next_solid();
            if token.kind == *end {
                break Span { start, end: token.at.start };
            }
            if !starts_operand(&token.kind) {
                return Err(self.unexpected(&token, context));
            }
            self.at -= 1;
            commands.push(self.command()?);
        };
        if commands.is_empty() {
            return Err(format!("missing value for {context}"));
        }
        for (stage, command) in commands.iter().enumerate().skip(1) {
            let is_constant = matches!(
                command.first.kind,
                OperandKind::Bool(_)
                    | OperandKind::Dot
                    | OperandKind::Nil
                    | OperandKind::Number(_)
                    | OperandKind::Text(_)
            );
            if is_constant {
                return Err(format!("non executable command in pipeline stage {}", stage + 1));
            }
        }
        Ok(Pipe { at, is_assignment, variables, commands })
    }

    /// `$x :=`, `$x =`, and in a range `$i, $x :=`.
    fn declarations(&mut self, context: &str) -> Parsed<(bool, Vec<String>)> {
        let mut names: Vec<String> = Vec::new();
        loop {
            let before = self.at;
            if *self.peek_solid() != Kind::Variable {
                return Ok((false, names));
            }
            let variable = self.next_solid();
            let name = self.text_of(variable.at).to_owned();
            let after = self.next_solid();
            match after.kind {
                Kind::Assign | Kind::Declare => {
                    let is_assignment = after.kind == Kind::Assign;
                    if is_assignment && !self.variables.contains(&name) {
                        return Err(format!("undefined variable {name:?}"));
                    }
                    names.push(name);
                    self.variables.extend(names.iter().cloned());
                    return Ok((is_assignment, names));
                }
                Kind::Mark if self.text_of(after.at) == "," => {
                    names.push(name);
                    if context != "range" || names.len() > 1 {
                        return Err(format!("too many declarations in {context}"));
                    }
                    match self.peek_solid() {
                        Kind::Variable | Kind::Right | Kind::RightParen => {}
                        _ => return Err("range can only initialize variables".to_owned()),
                    }
                }
                _ => {
                    self.at = before;
                    if names.is_empty() {
                        return Ok((false, names));
                    }
                    // `range $i, $x` without an assignment.
                    self.variables.extend(names.iter().cloned());
                    return Ok((false, names));
                }
            }
        }
    }

    fn command(&mut self) -> Parsed<Command> {
        let mut operands = Vec::new();
        self.skip_space();
        let start = self.tokens.get(self.at).map_or(0, |token| token.at.start);
        let mut end = start;
        loop {
            self.skip_space();
            if let Some(operand) = self.operand()? {
                end = operand.at.end;
                operands.push(operand);
            }
            let token = self.next();
            match token.kind {
                Kind::Space => {}
                Kind::Right | Kind::RightParen => {
                    self.at -= 1;
                    break;
                }
                Kind::Pipe => break,
                _ => return Err(self.unexpected(&token, "operand")),
            }
        }
        let mut operands = operands.into_iter();
        let first = operands.next().ok_or("empty command")?;
        Ok(Command { at: Span { start, end }, first, arguments: operands.collect() })
    }

    fn operand(&mut self) -> Parsed<Option<Operand>> {
        let Some(mut operand) = self.term()? else { return Ok(None) };
        let mut fields = Vec::new();
        while *self.peek() == Kind::Field {
            let token = self.next();
            operand.at.end = token.at.end;
            fields.push(self.text_of(token.at).trim_start_matches('.').to_owned());
        }
        if fields.is_empty() {
            return Ok(Some(operand));
        }
        let at = operand.at;
        let kind = match operand.kind {
            OperandKind::Field(mut names) => {
                names.append(&mut fields);
                OperandKind::Field(names)
            }
            OperandKind::Variable(name, mut names) => {
                names.append(&mut fields);
                OperandKind::Variable(name, names)
            }
            OperandKind::Bool(_)
            | OperandKind::Text(_)
            | OperandKind::Number(_)
            | OperandKind::Nil
            | OperandKind::Dot => {
                return Err(format!("unexpected . after term {:?}", self.text_of(at)));
            }
            kind => OperandKind::Chain(Box::new(Operand { at, kind }), fields),
        };
        Ok(Some(Operand { at, kind }))
    }

    fn term(&mut self) -> Parsed<Option<Operand>> {
        let token = self.next_solid();
        let text = self.text_of(token.at).to_owned();
        let kind = match token.kind {
            Kind::Identifier if !self.is_function(&text) => {
                return Err(format!("function {text:?} not defined"));
            }
            Kind::Identifier => OperandKind::Function(text),
            Kind::Dot => OperandKind::Dot,
            Kind::Nil => OperandKind::Nil,
            Kind::Bool(value) => OperandKind::Bool(value),
            Kind::Variable if !self.variables.contains(&text) => {
                return Err(format!("undefined variable {text:?}"));
            }
            Kind::Variable => OperandKind::Variable(text, Vec::new()),
            Kind::Field => OperandKind::Field(vec![text.trim_start_matches('.').to_owned()]),
            Kind::Number => OperandKind::Number(number::number(&text)?),
            Kind::Char => OperandKind::Number(number::character(&text)?),
            Kind::Quoted | Kind::RawQuoted => OperandKind::Text(self.quoted(token.at)?),
            Kind::LeftParen => {
                let inner =
                    self.deeper(|parser| parser.pipeline("parenthesized pipeline", &Kind::RightParen))?;
                let end = self.tokens.get(self.at - 1).map_or(token.at.end, |token| token.at.end);
                let at = Span { start: token.at.start, end };
                return Ok(Some(Operand { at, kind: OperandKind::Pipe(Box::new(inner)) }));
            }
            _ => {
                self.at -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Operand { at: token.at, kind }))
    }
}

fn starts_operand(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Bool(_)
            | Kind::Char
            | Kind::Dot
            | Kind::Field
            | Kind::Identifier
            | Kind::Number
            | Kind::Nil
            | Kind::Quoted
            | Kind::RawQuoted
            | Kind::Variable
            | Kind::LeftParen
    )
}
