//! Tokens to the tree, by recursive descent. Names of functions and variables are checked here.

mod pipeline;

use std::collections::BTreeMap;

use crate::ast::{Branch, Node, Span};
use crate::error::Error;
use crate::functions::Functions;
use crate::lex::{self, Keyword, Kind, Token};
use crate::number;
use crate::{Template, builtin};

/// How deep blocks and parentheses may nest: recursion of the parser and of the evaluator.
const DEPTH_MAX: usize = 64;

/// The longest template: an alert's annotation is a few kilobytes at most.
const TEXT_BYTES_MAX: usize = 1 << 20;

pub fn parse(name: &str, text: &str, functions: &Functions<'_>) -> Result<Template, Error> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Error::Limit { name: name.to_owned(), limit: TEXT_BYTES_MAX, what: "bytes of text" });
    }
    let mut parser = Parser {
        name,
        text,
        functions,
        tokens: lex::tokens(text),
        at: 0,
        depth: 0,
        range_depth: 0,
        variables: vec!["$".to_owned()],
        defined: BTreeMap::new(),
    };
    let root = parser.top().map_err(|message| parser.error(message))?;
    Ok(Template { name: name.to_owned(), text: text.to_owned(), root, defined: parser.defined })
}

type Parsed<T> = Result<T, String>;

struct Parser<'t, 'f> {
    name: &'t str,
    text: &'t str,
    functions: &'t Functions<'f>,
    tokens: Vec<Token>,
    /// The next token.
    at: usize,
    depth: usize,
    /// How many `range` are around.
    range_depth: usize,
    /// Variables in scope.
    variables: Vec<String>,
    defined: BTreeMap<String, Vec<Node>>,
}

/// What ends a list of nodes.
enum Ending {
    End,
    /// `else`, `else if`, `else with`.
    Else(Option<Keyword>),
}

impl Parser<'_, '_> {
    fn error(&self, message: String) -> Error {
        let offset = self.tokens.get(self.at.saturating_sub(1)).map_or(0, |token| token.at.start);
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = 1 + before.bytes().filter(|byte| *byte == b'\n').count();
        Error::Parse { name: self.name.to_owned(), line, message }
    }

    fn top(&mut self) -> Parsed<Vec<Node>> {
        let mut nodes = Vec::new();
        loop {
            match self.peek().clone() {
                Kind::End => return Ok(nodes),
                Kind::Left if self.peek_keyword() == Some(Keyword::Define) => {
                    self.next();
                    self.next_solid();
                    self.define()?;
                }
                _ => match self.text_or_action()? {
                    Item::Node(node) => nodes.push(node),
                    Item::Ending(Ending::End) => return Err("unexpected {{end}}".to_owned()),
                    Item::Ending(Ending::Else(_)) => return Err("unexpected {{else}}".to_owned()),
                },
            }
        }
    }

    // === tokens ===

    fn peek(&self) -> &Kind {
        self.tokens.get(self.at).map_or(&Kind::End, |token| &token.kind)
    }

    fn next(&mut self) -> Token {
        let end = Token { kind: Kind::End, at: Span { start: self.text.len(), end: self.text.len() } };
        let token = self.tokens.get(self.at).cloned().unwrap_or(end);
        self.at += 1;
        token
    }

    fn skip_space(&mut self) {
        while *self.peek() == Kind::Space {
            self.at += 1;
        }
    }

    fn peek_solid(&mut self) -> &Kind {
        self.skip_space();
        self.peek()
    }

    fn next_solid(&mut self) -> Token {
        self.skip_space();
        self.next()
    }

    /// The keyword after a left delimiter.
    fn peek_keyword(&self) -> Option<Keyword> {
        let mut after = self.tokens[(self.at + 1).min(self.tokens.len())..].iter();
        match after.find(|token| token.kind != Kind::Space)?.kind {
            Kind::Keyword(keyword) => Some(keyword),
            _ => None,
        }
    }

    fn text_of(&self, at: Span) -> &str {
        self.text.get(at.start..at.end).unwrap_or_default()
    }

    fn expect_right(&mut self, context: &str) -> Parsed<()> {
        let token = self.next_solid();
        if token.kind == Kind::Right { Ok(()) } else { Err(self.unexpected(&token, context)) }
    }

    fn unexpected(&self, token: &Token, context: &str) -> String {
        match &token.kind {
            Kind::Error(message) => message.clone(),
            Kind::End => format!("unexpected EOF in {context}"),
            Kind::Keyword(_) => format!("unexpected <{}> in {context}", self.text_of(token.at)),
            _ => format!("unexpected {:?} in {context}", self.text_of(token.at)),
        }
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX}"));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    // === nodes ===

    fn list(&mut self) -> Parsed<(Vec<Node>, Ending)> {
        let mut nodes = Vec::new();
        while *self.peek_solid() != Kind::End {
            match self.text_or_action()? {
                Item::Node(node) => nodes.push(node),
                Item::Ending(ending) => return Ok((nodes, ending)),
            }
        }
        self.next();
        Err("unexpected EOF".to_owned())
    }

    fn text_or_action(&mut self) -> Parsed<Item> {
        let token = self.next_solid();
        match token.kind {
            Kind::Text => Ok(Item::Node(Node::Text(token.at))),
            Kind::Left => self.deeper(Self::action),
            _ => Err(self.unexpected(&token, "input")),
        }
    }

    fn action(&mut self) -> Parsed<Item> {
        let Kind::Keyword(keyword) = *self.peek_solid() else {
            // Variables of an action stay in scope until its block ends.
            return Ok(Item::Node(Node::Action(self.pipeline("command", &Kind::Right)?)));
        };
        let token = self.next_solid();
        Ok(Item::Node(match keyword {
            Keyword::If => Node::If(self.branch(Keyword::If)?),
            Keyword::With => Node::With(self.branch(Keyword::With)?),
            Keyword::Range => Node::Range(self.branch(Keyword::Range)?),
            Keyword::Break => self.loop_control("break", Node::Break)?,
            Keyword::Continue => self.loop_control("continue", Node::Continue)?,
            Keyword::Template => self.call()?,
            Keyword::Block => self.block()?,
            Keyword::End => {
                self.expect_right("end")?;
                return Ok(Item::Ending(Ending::End));
            }
            Keyword::Else => return self.otherwise().map(Item::Ending),
            Keyword::Define => return Err(self.unexpected(&token, "input")),
        }))
    }

    fn otherwise(&mut self) -> Parsed<Ending> {
        if let Kind::Keyword(keyword @ (Keyword::If | Keyword::With)) = *self.peek_solid() {
            self.next_solid();
            return Ok(Ending::Else(Some(keyword)));
        }
        self.expect_right("else")?;
        Ok(Ending::Else(None))
    }

    fn loop_control(&mut self, word: &str, node: Node) -> Parsed<Node> {
        if *self.peek_solid() != Kind::Right {
            let token = self.next_solid();
            return Err(self.unexpected(&token, &format!("{{{{{word}}}}}")));
        }
        self.next_solid();
        if self.range_depth == 0 {
            return Err(format!("{{{{{word}}}}} outside {{{{range}}}}"));
        }
        Ok(node)
    }

    fn branch(&mut self, keyword: Keyword) -> Parsed<Branch> {
        self.deeper(|parser| {
            let scope = parser.variables.len();
            let branch = parser.branch_in_scope(keyword);
            parser.variables.truncate(scope);
            branch
        })
    }

    fn branch_in_scope(&mut self, keyword: Keyword) -> Parsed<Branch> {
        let context = match keyword {
            Keyword::If => "if",
            Keyword::With => "with",
            _ => "range",
        };
        let pipe = self.pipeline(context, &Kind::Right)?;
        let loops = usize::from(keyword == Keyword::Range);
        self.range_depth += loops;
        let (then, ending) = self.list()?;
        self.range_depth -= loops;
        let otherwise = match ending {
            Ending::End => Vec::new(),
            Ending::Else(None) => match self.list()? {
                (nodes, Ending::End) => nodes,
                (_, Ending::Else(_)) => return Err("expected end; found {{else}}".to_owned()),
            },
            // `{{if a}}_{{else if b}}_{{end}}` is `{{if a}}_{{else}}{{if b}}_{{end}}{{end}}`.
            Ending::Else(Some(next)) if next == keyword => {
                let inner = self.branch(next)?;
                vec![if next == Keyword::If { Node::If(inner) } else { Node::With(inner) }]
            }
            Ending::Else(Some(next)) => {
                let word = if next == Keyword::If { "if" } else { "with" };
                return Err(format!("unexpected <{word}> in else"));
            }
        };
        Ok(Branch { pipe, then, otherwise })
    }

    fn template_name(&mut self, context: &str) -> Parsed<(Span, String)> {
        let token = self.next_solid();
        match token.kind {
            Kind::Quoted | Kind::RawQuoted => Ok((token.at, self.quoted(token.at)?)),
            _ => Err(self.unexpected(&token, context)),
        }
    }

    fn quoted(&self, at: Span) -> Parsed<String> {
        let text = self.text_of(at);
        if let Some(raw) = text.strip_prefix('`') {
            // Go's raw strings leave carriage returns out.
            return Ok(raw.trim_end_matches('`').replace('\r', ""));
        }
        number::unquote(text).map_err(|()| "invalid syntax".to_owned())
    }

    fn call(&mut self) -> Parsed<Node> {
        let (at, name) = self.template_name("template clause")?;
        let pipe = if *self.peek_solid() == Kind::Right {
            self.next_solid();
            None
        } else {
            Some(self.pipeline("template clause", &Kind::Right)?)
        };
        Ok(Node::Template { at, name, pipe })
    }

    fn block(&mut self) -> Parsed<Node> {
        let (at, name) = self.template_name("block clause")?;
        let pipe = self.pipeline("block clause", &Kind::Right)?;
        self.body(&name, "block clause")?;
        Ok(Node::Template { at, name, pipe: Some(pipe) })
    }

    fn define(&mut self) -> Parsed<()> {
        let (_, name) = self.template_name("define clause")?;
        self.expect_right("define clause")?;
        self.body(&name, "define clause")
    }

    /// The body of a template: it sees no variables of what is around.
    fn body(&mut self, name: &str, context: &str) -> Parsed<()> {
        let variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let range_depth = std::mem::take(&mut self.range_depth);
        let (nodes, ending) = self.deeper(Self::list)?;
        self.variables = variables;
        self.range_depth = range_depth;
        if !matches!(ending, Ending::End) {
            return Err(format!("unexpected {{{{else}}}} in {context}"));
        }
        let is_empty = self.is_blank(&nodes);
        if !is_empty || !self.defined.contains_key(name) {
            // As in Go, a later definition replaces an earlier one, unless it is empty.
            self.defined.insert(name.to_owned(), nodes);
        }
        Ok(())
    }

    fn is_blank(&self, nodes: &[Node]) -> bool {
        nodes.iter().all(|node| match node {
            Node::Text(at) => self.text_of(*at).trim().is_empty(),
            _ => false,
        })
    }

    fn is_function(&self, name: &str) -> bool {
        self.functions.contains(name) || builtin::is_known(name)
    }
}

enum Item {
    Node(Node),
    Ending(Ending),
}
