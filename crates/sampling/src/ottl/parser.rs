//! From tokens to a condition: `or` of `and` of `not` of comparisons of sums of products, each with its own function.
//! Every token is looked at once.

use regex::RegexBuilder;

use super::lexer::{Token, TokenKind, tokens};
use super::{Comparison, ConditionError, Context, FUNCTIONS, Path, Term, Test, TextTest, Type, Value};

/// Conditions within parentheses and terms within terms.
const DEPTH_MAX: usize = 32;

/// What a pattern may take when it is compiled.
const PATTERN_BYTES_MAX: usize = 1 << 20;

pub(super) fn parse(text: &str, context: Context) -> Result<Test, ConditionError> {
    let end = text.chars().count() + 1;
    let mut parser = Parser { tokens: tokens(text)?, next: 0, context, depth: 0, end };
    let item = parser.any_of()?;
    let test = parser.test(item)?;
    match parser.peek() {
        None => Ok(test),
        Some(_) => Err(parser.error("expected the end of the condition, and, or or".to_owned())),
    }
}

/// What stands in an expression: parentheses may hold either.
enum Item {
    Test(Test),
    Term(Term),
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    context: Context,
    depth: usize,
    /// Where the text ends, in characters from 1.
    end: usize,
}

impl Parser {
    fn peek(&self) -> Option<&TokenKind> {
        self.tokens.get(self.next).map(|token| &token.kind)
    }

    fn error(&self, message: String) -> ConditionError {
        ConditionError { at: self.tokens.get(self.next).map_or(self.end, |token| token.at), message }
    }

    /// Takes a word or sign, if it is next.
    fn take(&mut self, wanted: &str) -> bool {
        let is_next = match self.peek() {
            Some(TokenKind::Word(word)) => word == wanted,
            Some(TokenKind::Sign(sign)) => *sign == wanted,
            _ => false,
        };
        self.next += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), ConditionError> {
        if self.take(sign) { Ok(()) } else { Err(self.error(format!("expected {sign:?}"))) }
    }

    fn deeper<T>(
        &mut self,
        read: impl FnOnce(&mut Parser) -> Result<T, ConditionError>,
    ) -> Result<T, ConditionError> {
        if self.depth >= DEPTH_MAX {
            // At the token that goes deeper, which is taken.
            let at = self.tokens.get(self.next.saturating_sub(1)).map_or(self.end, |token| token.at);
            return Err(ConditionError { at, message: format!("nested more than {DEPTH_MAX} deep") });
        }
        self.depth += 1;
        let found = read(self);
        self.depth -= 1;
        found
    }

    // === tests ===

    fn any_of(&mut self) -> Result<Item, ConditionError> {
        let first = self.all_of()?;
        if self.peek() != Some(&TokenKind::Word("or".to_owned())) {
            return Ok(first);
        }
        let mut parts = vec![self.test(first)?];
        while self.take("or") {
            let next = self.all_of()?;
            parts.push(self.test(next)?);
        }
        Ok(Item::Test(Test::Or(parts)))
    }

    fn all_of(&mut self) -> Result<Item, ConditionError> {
        let first = self.negation()?;
        if self.peek() != Some(&TokenKind::Word("and".to_owned())) {
            return Ok(first);
        }
        let mut parts = vec![self.test(first)?];
        while self.take("and") {
            let next = self.negation()?;
            parts.push(self.test(next)?);
        }
        Ok(Item::Test(Test::And(parts)))
    }

    fn negation(&mut self) -> Result<Item, ConditionError> {
        if !self.take("not") {
            return self.comparison();
        }
        let negated = self.deeper(Parser::negation)?;
        Ok(Item::Test(Test::Not(Box::new(self.test(negated)?))))
    }

    fn comparison(&mut self) -> Result<Item, ConditionError> {
        let left = self.sum()?;
        let comparison = match self.peek() {
            Some(TokenKind::Sign("==")) => Comparison::Equal,
            Some(TokenKind::Sign("!=")) => Comparison::Unequal,
            Some(TokenKind::Sign("<")) => Comparison::Less,
            Some(TokenKind::Sign("<=")) => Comparison::AtMost,
            Some(TokenKind::Sign(">")) => Comparison::Greater,
            Some(TokenKind::Sign(">=")) => Comparison::AtLeast,
            _ => return Ok(left),
        };
        let left = self.value(left)?;
        self.next += 1;
        let right = self.sum()?;
        Ok(Item::Test(Test::Compare(left, comparison, self.value(right)?)))
    }

    /// Something that is true or not: a term that stands alone must be a boolean.
    fn test(&self, item: Item) -> Result<Test, ConditionError> {
        match item {
            Item::Test(test) => Ok(test),
            Item::Term(
                term @ (Term::Literal(Value::Bool(_)) | Term::Text(..) | Term::Type(..) | Term::IsRootSpan),
            ) => Ok(Test::Is(term)),
            Item::Term(_) => Err(self.error("expected a comparison, such as == \"text\"".to_owned())),
        }
    }

    fn value(&self, item: Item) -> Result<Term, ConditionError> {
        match item {
            Item::Term(term) => Ok(term),
            Item::Test(_) => Err(self.error("a condition stands where a value is expected".to_owned())),
        }
    }

    fn pattern(&mut self) -> Result<Test, ConditionError> {
        self.next += 1;
        self.expect("(")?;
        let term = self.argument()?;
        self.expect(",")?;
        let at = self.next;
        let text = self.text()?;
        let pattern = RegexBuilder::new(&text).size_limit(PATTERN_BYTES_MAX).build().map_err(|error| {
            let at = self.tokens.get(at).map_or(1, |token| token.at);
            ConditionError { at, message: format!("{text:?} is no pattern: {error}") }
        })?;
        self.expect(")")?;
        Ok(Test::Match(term, pattern))
    }

    fn argument(&mut self) -> Result<Term, ConditionError> {
        let item = self.deeper(Parser::sum)?;
        self.value(item)
    }

    // === terms ===

    fn sum(&mut self) -> Result<Item, ConditionError> {
        let mut item = self.product()?;
        loop {
            let operator = match self.peek() {
                Some(TokenKind::Sign("+")) => '+',
                Some(TokenKind::Sign("-")) => '-',
                _ => return Ok(item),
            };
            self.next += 1;
            let right = self.product()?;
            item = self.math(item, operator, right)?;
        }
    }

    fn product(&mut self) -> Result<Item, ConditionError> {
        let mut item = self.item()?;
        loop {
            let operator = match self.peek() {
                Some(TokenKind::Sign("*")) => '*',
                Some(TokenKind::Sign("/")) => '/',
                _ => return Ok(item),
            };
            self.next += 1;
            let right = self.item()?;
            item = self.math(item, operator, right)?;
        }
    }

    fn math(&self, left: Item, operator: char, right: Item) -> Result<Item, ConditionError> {
        let (left, right) = (self.value(left)?, self.value(right)?);
        Ok(Item::Term(Term::Math(Box::new(left), operator, Box::new(right))))
    }

    fn item(&mut self) -> Result<Item, ConditionError> {
        if self.take("(") {
            let item = self.deeper(Parser::any_of)?;
            self.expect(")")?;
            return Ok(item);
        }
        if self.take("-") {
            let negated = self.deeper(Parser::item)?;
            return self.math(Item::Term(Term::Literal(Value::Int(0))), '-', negated);
        }
        let Some(kind) = self.peek().cloned() else {
            return Err(self.error("expected a value".to_owned()));
        };
        let literal = match &kind {
            TokenKind::Text(text) => Value::Text(text.clone()),
            TokenKind::Int(whole) => Value::Int(*whole),
            TokenKind::Double(number) => Value::Double(*number),
            TokenKind::Word(word) if word == "IsMatch" => return self.pattern().map(Item::Test),
            TokenKind::Word(word) => match constant(word) {
                Some(value) => value,
                None => return self.named(word).map(Item::Term),
            },
            TokenKind::Sign(sign) => return Err(self.error(format!("expected a value, got {sign:?}"))),
        };
        self.next += 1;
        Ok(Item::Term(Term::Literal(literal)))
    }

    /// A function or a path.
    fn named(&mut self, word: &str) -> Result<Term, ConditionError> {
        let is_call = self.tokens.get(self.next + 1).is_some_and(|t| t.kind == TokenKind::Sign("("));
        if !is_call {
            return Ok(Term::Path(self.path()?));
        }
        let kind = match word {
            "IsString" => Some(Type::String),
            "IsInt" => Some(Type::Int),
            "IsDouble" => Some(Type::Double),
            "IsBool" => Some(Type::Bool),
            "IsRootSpan" | "HasPrefix" | "HasSuffix" => None,
            _ => {
                let known = FUNCTIONS.join(", ");
                return Err(
                    self.error(format!("the function {word} is not supported here; there are {known}"))
                );
            }
        };
        self.next += 1;
        self.expect("(")?;
        if word == "IsRootSpan" {
            self.expect(")")?;
            return Ok(Term::IsRootSpan);
        }
        let argument = Box::new(self.argument()?);
        let term = match kind {
            Some(kind) => Term::Type(kind, argument),
            None => {
                self.expect(",")?;
                let part = self.text()?;
                let test = if word == "HasPrefix" { TextTest::HasPrefix } else { TextTest::HasSuffix };
                Term::Text(test, argument, part)
            }
        };
        self.expect(")")?;
        Ok(term)
    }

    fn text(&mut self) -> Result<String, ConditionError> {
        match self.peek() {
            Some(TokenKind::Text(text)) => {
                let text = text.clone();
                self.next += 1;
                Ok(text)
            }
            _ => Err(self.error("expected a text in quotes".to_owned())),
        }
    }

    // === paths ===

    fn path(&mut self) -> Result<Path, ConditionError> {
        let at = self.next;
        let mut words = Vec::new();
        while let Some(TokenKind::Word(word)) = self.peek() {
            words.push(word.clone());
            self.next += 1;
            if !self.take(".") {
                break;
            }
        }
        let key = if self.take("[") {
            let key = self.text()?;
            self.expect("]")?;
            Some(key)
        } else {
            None
        };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        path_of(&words, key, self.context).ok_or_else(|| {
            let text = words.join(".");
            let at = self.tokens.get(at).map_or(1, |token| token.at);
            let message = format!(
                "the path {text} is not supported here; there are name, kind, status.code, status.message, \
                 start_time_unix_nano, end_time_unix_nano, trace_state, attributes[\"key\"], \
                 resource.attributes[\"key\"], instrumentation_scope.name and .version, and the ids as \
                 trace_id.string, span_id.string, parent_span_id.string"
            );
            ConditionError { at, message }
        })
    }
}

fn constant(word: &str) -> Option<Value> {
    let numbers = [
        ("STATUS_CODE_UNSET", 0),
        ("STATUS_CODE_OK", 1),
        ("STATUS_CODE_ERROR", 2),
        ("SPAN_KIND_UNSPECIFIED", 0),
        ("SPAN_KIND_INTERNAL", 1),
        ("SPAN_KIND_SERVER", 2),
        ("SPAN_KIND_CLIENT", 3),
        ("SPAN_KIND_PRODUCER", 4),
        ("SPAN_KIND_CONSUMER", 5),
    ];
    match word {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        "nil" => Some(Value::Nil),
        word => numbers.iter().find(|(name, _)| *name == word).map(|(_, number)| Value::Int(*number)),
    }
}

/// The path of these words, with or without the name of its context in front.
fn path_of(words: &[&str], key: Option<String>, context: Context) -> Option<Path> {
    match (words, key) {
        (["resource", "attributes"], Some(key)) => Some(Path::Resource(key)),
        (["instrumentation_scope" | "scope", "name"], None) => Some(Path::ScopeName),
        (["instrumentation_scope" | "scope", "version"], None) => Some(Path::ScopeVersion),
        (["span", rest @ ..], key) => of_span(rest, key),
        (["spanevent", rest @ ..], key) if context == Context::SpanEvent => of_event(rest, key),
        (rest, key) => match context {
            Context::Span => of_span(rest, key),
            Context::SpanEvent => of_event(rest, key),
        },
    }
}

fn of_span(words: &[&str], key: Option<String>) -> Option<Path> {
    match (words, key) {
        (["attributes"], Some(key)) => Some(Path::Attribute(key)),
        (["trace_state"], key) => Some(Path::TraceState(key)),
        (words, None) => Some(match words {
            ["name"] => Path::Name,
            ["kind"] => Path::Kind,
            ["kind", "string"] => Path::KindText,
            ["status", "code"] => Path::StatusCode,
            ["status", "message"] => Path::StatusMessage,
            ["start_time_unix_nano"] => Path::Start,
            ["end_time_unix_nano"] => Path::End,
            ["trace_id", "string"] => Path::TraceIdText,
            ["span_id", "string"] => Path::SpanIdText,
            ["parent_span_id", "string"] => Path::ParentSpanIdText,
            _ => return None,
        }),
        _ => None,
    }
}

fn of_event(words: &[&str], key: Option<String>) -> Option<Path> {
    match (words, key) {
        (["attributes"], Some(key)) => Some(Path::EventAttribute(key)),
        (["name"], None) => Some(Path::EventName),
        (["time_unix_nano"], None) => Some(Path::EventTime),
        _ => None,
    }
}
