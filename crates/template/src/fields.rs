//! What a template asks of its data, so that a caller need not have all of it.

use std::collections::BTreeSet;

use crate::Template;
use crate::ast::{Branch, Command, Node, Operand, OperandKind, Pipe};

/// The fields so far; nothing once the data was used as a whole.
type Fields<'a> = Option<BTreeSet<&'a str>>;

impl Template {
    /// The fields of the data that the template may ask for, or nothing if it uses the data as a whole.
    ///
    /// Fields of other values (inside of `with` and `range`) are among them: there may be more than needed.
    #[must_use]
    pub fn fields(&self) -> Option<BTreeSet<&str>> {
        let mut fields = Some(BTreeSet::new());
        for nodes in std::iter::once(&self.root).chain(self.defined.values()) {
            list(nodes, &mut fields);
        }
        fields
    }
}

/// Recursion is bounded by the parser.
fn list<'a>(nodes: &'a [Node], fields: &mut Fields<'a>) {
    for node in nodes {
        match node {
            Node::Text(_) | Node::Break | Node::Continue => {}
            Node::Action(pipe) => commands(pipe, fields),
            Node::If(branch) | Node::With(branch) | Node::Range(branch) => branches(branch, fields),
            Node::Template { pipe, .. } => {
                if let Some(pipe) = pipe {
                    commands(pipe, fields);
                }
            }
        }
    }
}

fn branches<'a>(branch: &'a Branch, fields: &mut Fields<'a>) {
    commands(&branch.pipe, fields);
    list(&branch.then, fields);
    list(&branch.otherwise, fields);
}

fn commands<'a>(pipe: &'a Pipe, fields: &mut Fields<'a>) {
    for Command { first, arguments, .. } in &pipe.commands {
        operand(first, fields);
        arguments.iter().for_each(|argument| operand(argument, fields));
    }
}

fn operand<'a>(value: &'a Operand, fields: &mut Fields<'a>) {
    match &value.kind {
        OperandKind::Dot => *fields = None,
        OperandKind::Field(names) => note(names, fields),
        OperandKind::Variable(name, names) if name == "$" => note(names, fields),
        OperandKind::Pipe(pipe) => commands(pipe, fields),
        OperandKind::Chain(inner, _) => operand(inner, fields),
        _ => {}
    }
}

fn note<'a>(names: &'a [String], fields: &mut Fields<'a>) {
    match (names.first(), fields) {
        (Some(name), Some(fields)) => {
            fields.insert(name);
        }
        (None, fields) => *fields = None,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::{Functions, Template};

    #[test]
    fn fields_are_found_wherever_they_stand() {
        let fields = |text: &str| {
            let template = Template::parse("t", text, &Functions::new()).expect("a template");
            template.fields().map(|fields| fields.into_iter().collect::<Vec<_>>().join(" "))
        };
        assert_eq!(fields("no action").as_deref(), Some(""));
        assert_eq!(
            fields("{{.a}} {{if .b}}{{print .c (len $.d)}}{{else}}{{(print .e).x}}{{end}}").as_deref(),
            Some("a b c d e")
        );
        assert_eq!(fields("{{$x := .a}}{{$x}}").as_deref(), Some("a"));
        assert_eq!(fields("{{.}}"), None);
        assert_eq!(fields("{{range $k, $v := $}}{{$v}}{{end}}"), None);
    }
}
