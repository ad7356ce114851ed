//! Tokens to a tree, by precedence.

use regex::bytes::Regex;
use throughline_exec::search_bytes_regex;

use super::lexer::Token;
use super::{DEPTH_MAX, Environment};
use crate::value::Value;

/// A part of an expression.
#[derive(Clone, Debug)]
pub enum Node {
    Literal(Value),
    Variable(Variable),
    /// A key of a map or an index of a list; `optional` gives nothing of nothing.
    Member {
        of: Box<Node>,
        key: Box<Node>,
        optional: bool,
    },
    Not(Box<Node>),
    Negate(Box<Node>),
    Binary(Operator, Box<Node>, Box<Node>),
    Matches(Box<Node>, Regex),
    Conditional(Box<[Node; 3]>),
    List(Vec<Node>),
    Call(Function, Vec<Node>),
}

/// What an entry has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    Body,
    Attributes,
    Resource,
    SeverityText,
    SeverityNumber,
}

/// An operator between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    Greater,
    LessEqual,
    GreaterEqual,
    In,
    NotIn,
    Contains,
    StartsWith,
    EndsWith,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Default,
}

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Len,
    Lower,
    Upper,
    Trim,
    TrimPrefix,
    TrimSuffix,
    HasPrefix,
    HasSuffix,
    Split,
    Replace,
    Int,
    Float,
    Text,
}

const FUNCTIONS: [(&str, Function, std::ops::RangeInclusive<usize>); 13] = [
    ("len", Function::Len, 1..=1),
    ("lower", Function::Lower, 1..=1),
    ("upper", Function::Upper, 1..=1),
    ("trim", Function::Trim, 1..=2),
    ("trimPrefix", Function::TrimPrefix, 2..=2),
    ("trimSuffix", Function::TrimSuffix, 2..=2),
    ("hasPrefix", Function::HasPrefix, 2..=2),
    ("hasSuffix", Function::HasSuffix, 2..=2),
    ("split", Function::Split, 2..=2),
    ("replace", Function::Replace, 3..=3),
    ("int", Function::Int, 1..=1),
    ("float", Function::Float, 1..=1),
    ("string", Function::Text, 1..=1),
];

/// Words that cannot be names.
const OPERATOR_WORDS: [&str; 9] =
    ["and", "or", "not", "in", "matches", "contains", "startsWith", "endsWith", "let"];

/// An operator, with its precedence.
enum Infix {
    Plain(Operator, u32),
    Matches,
}

const UNARY: u32 = 90;
const NOT: u32 = 50;
const COMPARE: u32 = 20;

pub fn parse(tokens: Vec<Token>, environment: Environment<'_>) -> Result<Node, String> {
    let mut parser = Parser { tokens, at: 0, depth: 0, environment };
    let node = parser.expression(0)?;
    match parser.peek() {
        None => Ok(node),
        Some(token) => Err(format!("{} is not expected", show(token))),
    }
}

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    environment: Environment<'a>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Some(Token::Sign(found)) if *found == sign)
    }

    fn is_word(&self, ahead: usize, word: &str) -> bool {
        matches!(self.tokens.get(self.at + ahead), Some(Token::Word(found)) if found == word)
    }

    fn eat(&mut self, sign: &str) -> bool {
        let is_there = self.is_sign(sign);
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.eat(sign) {
            return Ok(());
        }
        Err(match self.peek() {
            Some(token) => format!("{} stands where {sign} is expected", show(token)),
            None => format!("it ends where {sign} is expected"),
        })
    }

    fn expression(&mut self, lowest: u32) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("it is nested more than {DEPTH_MAX} deep"));
        }
        let mut left = self.unary()?;
        while let Some((infix, words)) = self.infix()? {
            let precedence = match infix {
                Infix::Plain(_, precedence) => precedence,
                Infix::Matches => COMPARE,
            };
            if precedence < lowest {
                break;
            }
            let is_negated = words == 2;
            self.at += words;
            let right = self.expression(precedence + 1)?;
            left = match infix {
                Infix::Matches => Node::Matches(Box::new(left), pattern(&right)?),
                Infix::Plain(operator, _) => Node::Binary(operator, Box::new(left), Box::new(right)),
            };
            // `a not in b` is an operator of its own; the others are turned round.
            let is_in = matches!(left, Node::Binary(Operator::NotIn, ..));
            if is_negated && !is_in {
                left = Node::Not(Box::new(left));
            }
        }
        if lowest == 0 && self.eat("?") {
            let yes = self.expression(0)?;
            self.expect(":")?;
            let no = self.expression(0)?;
            left = Node::Conditional(Box::new([left, yes, no]));
        }
        self.depth -= 1;
        Ok(left)
    }

    /// The operator that comes next and how many tokens it takes.
    fn infix(&self) -> Result<Option<(Infix, usize)>, String> {
        let is_negated = self.is_word(0, "not");
        let words = 1 + usize::from(is_negated);
        let token = self.tokens.get(self.at + words - 1);
        let infix = match token {
            Some(Token::Word(word)) => match word.as_str() {
                "or" if !is_negated => Infix::Plain(Operator::Or, 10),
                "and" if !is_negated => Infix::Plain(Operator::And, 15),
                "in" if is_negated => Infix::Plain(Operator::NotIn, COMPARE),
                "in" => Infix::Plain(Operator::In, COMPARE),
                "matches" => Infix::Matches,
                "contains" => Infix::Plain(Operator::Contains, COMPARE),
                "startsWith" => Infix::Plain(Operator::StartsWith, COMPARE),
                "endsWith" => Infix::Plain(Operator::EndsWith, COMPARE),
                _ => return Ok(None),
            },
            Some(Token::Sign(sign)) if !is_negated => match *sign {
                "||" => Infix::Plain(Operator::Or, 10),
                "&&" => Infix::Plain(Operator::And, 15),
                "==" => Infix::Plain(Operator::Equal, COMPARE),
                "!=" => Infix::Plain(Operator::Unequal, COMPARE),
                "<" => Infix::Plain(Operator::Less, COMPARE),
                ">" => Infix::Plain(Operator::Greater, COMPARE),
                "<=" => Infix::Plain(Operator::LessEqual, COMPARE),
                ">=" => Infix::Plain(Operator::GreaterEqual, COMPARE),
                "+" => Infix::Plain(Operator::Add, 30),
                "-" => Infix::Plain(Operator::Subtract, 30),
                "*" => Infix::Plain(Operator::Multiply, 60),
                "/" => Infix::Plain(Operator::Divide, 60),
                "%" => Infix::Plain(Operator::Remainder, 60),
                "??" => Infix::Plain(Operator::Default, 500),
                "**" | "^" | ".." | "|" | "->" | "=>" | "::" | ";" => {
                    return Err(format!("the operator {sign} is not supported yet"));
                }
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some((infix, words)))
    }

    fn unary(&mut self) -> Result<Node, String> {
        if self.is_word(0, "not") || self.is_sign("!") {
            self.at += 1;
            return Ok(Node::Not(Box::new(self.expression(NOT)?)));
        }
        if self.eat("-") {
            return Ok(Node::Negate(Box::new(self.expression(UNARY)?)));
        }
        if self.eat("+") {
            return self.expression(UNARY);
        }
        let mut node = self.primary()?;
        loop {
            let optional = self.is_sign("?.");
            if optional || self.is_sign(".") {
                self.at += 1;
                let Some(Token::Word(key)) = self.peek().cloned() else {
                    return Err("a name is missing after a dot".to_owned());
                };
                self.at += 1;
                if self.is_sign("(") {
                    return Err(format!("calls of {key} on a value are not supported yet"));
                }
                let key = Box::new(Node::Literal(Value::Str(key)));
                node = Node::Member { of: Box::new(node), key, optional };
            } else if self.eat("[") {
                let key = Box::new(self.expression(0)?);
                if self.is_sign(":") {
                    return Err("slices are not supported yet".to_owned());
                }
                self.expect("]")?;
                node = Node::Member { of: Box::new(node), key, optional: false };
            } else {
                return Ok(node);
            }
        }
    }

    fn primary(&mut self) -> Result<Node, String> {
        let Some(token) = self.peek().cloned() else {
            return Err("it ends where a value is expected".to_owned());
        };
        self.at += 1;
        match token {
            Token::Int(n) => Ok(Node::Literal(Value::Int(n))),
            Token::Float(n) => Ok(Node::Literal(Value::Float(n))),
            Token::Text(text) => Ok(Node::Literal(Value::Str(text))),
            Token::Sign("(") => {
                let node = self.expression(0)?;
                self.expect(")")?;
                Ok(node)
            }
            Token::Sign("[") => self.items("]").map(Node::List),
            Token::Sign("{") => Err("maps and predicates in { } are not supported yet".to_owned()),
            Token::Word(word) => self.word(&word),
            token @ Token::Sign(_) => Err(format!("{} stands where a value is expected", show(&token))),
        }
    }

    fn items(&mut self, end: &str) -> Result<Vec<Node>, String> {
        let mut items = Vec::new();
        while !self.eat(end) {
            items.push(self.expression(0)?);
            if !self.is_sign(end) {
                self.expect(",")?;
            }
        }
        Ok(items)
    }

    fn word(&mut self, word: &str) -> Result<Node, String> {
        if OPERATOR_WORDS.contains(&word) {
            return Err(format!("{word} stands where a value is expected"));
        }
        if self.eat("(") {
            let arguments = self.items(")")?;
            return self.call(word, arguments);
        }
        Ok(match word {
            "true" => Node::Literal(Value::Bool(true)),
            "false" => Node::Literal(Value::Bool(false)),
            "nil" => Node::Literal(Value::Null),
            "body" | "$" => Node::Variable(Variable::Body),
            "attributes" => Node::Variable(Variable::Attributes),
            "resource" => Node::Variable(Variable::Resource),
            "severity_text" => Node::Variable(Variable::SeverityText),
            "severity_number" => Node::Variable(Variable::SeverityNumber),
            "timestamp" => return Err("timestamp is not supported in expressions yet".to_owned()),
            other => return Err(format!("unknown name {other}; body, attributes and resource are known")),
        })
    }

    fn call(&mut self, name: &str, arguments: Vec<Node>) -> Result<Node, String> {
        if name == "env" {
            let [Node::Literal(Value::Str(variable))] = arguments.as_slice() else {
                return Err("env takes one quoted name".to_owned());
            };
            return Ok(Node::Literal(Value::Str((self.environment)(variable).unwrap_or_default())));
        }
        let found = FUNCTIONS.iter().find(|(known, ..)| *known == name);
        let Some((_, function, counts)) = found else {
            let known: Vec<&str> = FUNCTIONS.iter().map(|(known, ..)| *known).collect();
            return Err(format!("the function {name} is not supported yet; env, {} are", known.join(", ")));
        };
        if !counts.contains(&arguments.len()) {
            return Err(format!("{name} does not take {} arguments", arguments.len()));
        }
        Ok(Node::Call(*function, arguments))
    }
}

fn pattern(node: &Node) -> Result<Regex, String> {
    match node {
        Node::Literal(Value::Str(pattern)) => {
            search_bytes_regex(pattern, "").map_err(|error| error.to_string())
        }
        _ => Err("the right side of matches is a quoted regular expression".to_owned()),
    }
}

fn show(token: &Token) -> String {
    match token {
        Token::Word(word) => word.clone(),
        Token::Int(n) => n.to_string(),
        Token::Float(n) => n.to_string(),
        Token::Text(text) => format!("{text:?}"),
        Token::Sign(sign) => (*sign).to_owned(),
    }
}
