//! Cuts the text of a query into tokens.
//!
//! The text is cut as a whole before it is parsed, so its length and the number of its tokens are checked before
//! anything recurses. What a word means depends on where it stands: between braces every word is a label, between
//! brackets a colon parts the range from the step, elsewhere it belongs to a metric name.

pub mod number;
mod text;

pub use text::unquote;

use crate::ast::Span;
use crate::parse::ParseError;
use throughline_exec::quote::quote_char;

/// Longest query, in bytes. A query written by people is shorter than 2 KiB, a generated one than 20 KiB.
pub const QUERY_BYTES_MAX: usize = 64 << 10;
/// Most tokens of a query: bounds the time that parsing and checking take.
pub const TOKENS_MAX: usize = 10_000;

/// The kinds of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The end of the query.
    End,
    /// A word that may name a metric, a label or a function.
    Identifier,
    /// A word with a colon: only a metric.
    MetricIdentifier,
    /// A word with a meaning in the grammar.
    Keyword(Keyword),
    /// A text in quotes.
    Text,
    /// `1.5`, `0x1f`, `Inf`
    Number,
    /// `1h30m`
    Duration,
    /// `(`
    LeftParen,
    /// `)`
    RightParen,
    /// `{`
    LeftBrace,
    /// `}`
    RightBrace,
    /// `[`
    LeftBracket,
    /// `]`
    RightBracket,
    /// `,`
    Comma,
    /// `:` between brackets
    Colon,
    /// `@`
    At,
    /// `=` of a matcher
    Assign,
    /// `=~`
    EqualRegex,
    /// `!~`
    NotRegex,
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `</`
    TrimUpper,
    /// `>/`
    TrimLower,
}

/// The words with a meaning in the grammar. Aggregations are words of their own: see [`crate::ast::AggregateOp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyword {
    /// The name of an aggregation.
    Aggregate(crate::ast::AggregateOp),
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
    /// `atan2`
    Atan2,
    /// `offset`
    Offset,
    /// `smoothed`
    Smoothed,
    /// `anchored`
    Anchored,
    /// `by`
    By,
    /// `without`
    Without,
    /// `on`
    On,
    /// `ignoring`
    Ignoring,
    /// `group_left`
    GroupLeft,
    /// `group_right`
    GroupRight,
    /// `fill`
    Fill,
    /// `fill_left`
    FillLeft,
    /// `fill_right`
    FillRight,
    /// `bool`
    Bool,
    /// `start`
    Start,
    /// `end`
    End,
    /// `step`
    Step,
    /// `range`
    Range,
}

/// Words beside the aggregations. Their case does not count.
const KEYWORDS: [(&str, Keyword); 21] = [
    ("and", Keyword::And),
    ("or", Keyword::Or),
    ("unless", Keyword::Unless),
    ("atan2", Keyword::Atan2),
    ("offset", Keyword::Offset),
    ("smoothed", Keyword::Smoothed),
    ("anchored", Keyword::Anchored),
    ("by", Keyword::By),
    ("without", Keyword::Without),
    ("on", Keyword::On),
    ("ignoring", Keyword::Ignoring),
    ("group_left", Keyword::GroupLeft),
    ("group_right", Keyword::GroupRight),
    ("fill", Keyword::Fill),
    ("fill_left", Keyword::FillLeft),
    ("fill_right", Keyword::FillRight),
    ("bool", Keyword::Bool),
    ("start", Keyword::Start),
    ("end", Keyword::End),
    ("step", Keyword::Step),
    ("range", Keyword::Range),
];

/// A token: its kind and its bytes in the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Where it stands.
    pub span: Span,
}

/// Whether `text` is a label name of the classic character set, which needs no quotes.
#[must_use]
pub fn is_plain_label(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(is_alpha) && bytes.all(is_alphanumeric)
}

/// Whether `text` is a metric name of the classic character set, which may stand before braces.
#[must_use]
pub fn is_plain_metric(text: &str) -> bool {
    let mut bytes = text.bytes();
    let colon = |byte| byte == b':';
    bytes.next().is_some_and(|byte| is_alpha(byte) || colon(byte))
        && bytes.all(|byte| is_alphanumeric(byte) || colon(byte))
}

/// The keyword that `text` is.
#[must_use]
pub fn keyword(text: &str) -> Option<Keyword> {
    let aggregates = crate::ast::AggregateOp::ALL;
    if let Some(op) = aggregates.into_iter().find(|op| op.name().eq_ignore_ascii_case(text)) {
        return Some(Keyword::Aggregate(op));
    }
    KEYWORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, keyword)| *keyword)
}

/// Cuts `query` into tokens; the last is [`Kind::End`].
///
/// What cannot be cut ends the list: the parser shall first have a chance to complain about what stands before.
pub fn tokens(query: &str) -> Result<(Vec<Token>, Option<ParseError>), ParseError> {
    if query.len() > QUERY_BYTES_MAX {
        let message = format!("query of {} bytes is longer than {QUERY_BYTES_MAX} bytes", query.len());
        return Err(ParseError::new("", Span::default(), message));
    }
    let mut lexer = Lexer::new(query);
    let mut tokens = Vec::new();
    loop {
        if tokens.len() > TOKENS_MAX {
            let message = format!("query has more than {TOKENS_MAX} tokens");
            return Err(ParseError::new(query, lexer.span(), message));
        }
        match lexer.token() {
            Ok(token) => {
                tokens.push(token);
                if token.kind == Kind::End {
                    return Ok((tokens, None));
                }
            }
            Err(message) => {
                let span = Span { end: lexer.query.len() as u32, ..lexer.span() };
                tokens.push(Token { kind: Kind::End, span });
                return Ok((tokens, Some(ParseError::new(query, span, message))));
            }
        }
    }
}

type Lexed<T> = Result<T, String>;

struct Lexer<'a> {
    query: &'a str,
    /// The first byte of the token in hand.
    start: usize,
    /// The next byte.
    at: usize,
    parens_open: usize,
    in_braces: bool,
    in_brackets: bool,
    /// Whether a colon was seen since the bracket.
    colon_seen: bool,
}

impl<'a> Lexer<'a> {
    fn new(query: &'a str) -> Self {
        Lexer {
            query,
            start: 0,
            at: 0,
            parens_open: 0,
            in_braces: false,
            in_brackets: false,
            colon_seen: false,
        }
    }

    fn span(&self) -> Span {
        Span { start: self.start as u32, end: self.at as u32 }
    }

    /// The byte `ahead` bytes after the next, zero after the end.
    fn peek(&self, ahead: usize) -> u8 {
        self.query.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    /// Takes the next byte if it is `wanted`.
    fn take(&mut self, wanted: u8) -> bool {
        let hit = self.at < self.query.len() && self.peek(0) == wanted;
        self.at += usize::from(hit);
        hit
    }

    fn skip_while(&mut self, belongs: impl Fn(u8) -> bool) {
        while self.at < self.query.len() && belongs(self.peek(0)) {
            self.at += 1;
        }
    }

    fn skip_space_and_comments(&mut self) {
        loop {
            self.skip_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
            if self.peek(0) != b'#' {
                break;
            }
            self.skip_while(|byte| !matches!(byte, b'\n' | b'\r'));
        }
    }

    fn token(&mut self) -> Lexed<Token> {
        self.skip_space_and_comments();
        self.start = self.at;
        let Some(first) = self.query[self.at..].chars().next() else {
            return self.end();
        };
        let kind = if self.in_braces { self.in_braces(first)? } else { self.outside(first)? };
        Ok(Token { kind, span: self.span() })
    }

    fn end(&mut self) -> Lexed<Token> {
        if self.in_braces {
            return Err("unexpected end of input inside braces".to_owned());
        }
        if self.parens_open != 0 {
            return Err("unclosed left parenthesis".to_owned());
        }
        if self.in_brackets {
            return Err("unclosed left bracket".to_owned());
        }
        Ok(Token { kind: Kind::End, span: self.span() })
    }

    fn outside(&mut self, first: char) -> Lexed<Kind> {
        if let Some(kind) = self.operator(first)? {
            return Ok(kind);
        }
        match first {
            '0'..='9' => self.number_or_duration(),
            '.' if self.peek(1).is_ascii_digit() => self.number_or_duration(),
            '"' | '\'' | '`' => self.text(),
            ':' if self.in_brackets => {
                if std::mem::replace(&mut self.colon_seen, true) {
                    return Err("unexpected colon ':'".to_owned());
                }
                self.at += 1;
                Ok(Kind::Colon)
            }
            'a'..='z' | 'A'..='Z' | '_' if self.in_brackets => self.duration_word(first),
            'a'..='z' | 'A'..='Z' | '_' | ':' => Ok(self.word()),
            '(' | ')' | '{' | '[' | ']' => self.delimiter(first),
            other => Err(format!("unexpected character: {}", quote_char(other))),
        }
    }

    /// The operators and the other signs without a state.
    fn operator(&mut self, first: char) -> Lexed<Option<Kind>> {
        let second = self.peek(1);
        let (kind, bytes) = match (first, second) {
            ('=', b'=') => (Kind::Equal, 2),
            ('=', b'~') => return Err("unexpected character after '=': '~'".to_owned()),
            ('=', _) => (Kind::Assign, 1),
            ('!', b'=') => (Kind::NotEqual, 2),
            ('!', _) => {
                let next = self.query[self.at + 1..].chars().next();
                let next = next.map_or_else(|| "end of input".to_owned(), quote_char);
                return Err(format!("unexpected character after '!': {next}"));
            }
            ('<', b'=') => (Kind::LessOrEqual, 2),
            ('<', b'/') => (Kind::TrimUpper, 2),
            ('<', _) => (Kind::Less, 1),
            ('>', b'=') => (Kind::GreaterOrEqual, 2),
            ('>', b'/') => (Kind::TrimLower, 2),
            ('>', _) => (Kind::Greater, 1),
            ('+', _) => (Kind::Add, 1),
            ('-', _) => (Kind::Sub, 1),
            ('*', _) => (Kind::Mul, 1),
            ('/', _) => (Kind::Div, 1),
            ('%', _) => (Kind::Mod, 1),
            ('^', _) => (Kind::Pow, 1),
            (',', _) => (Kind::Comma, 1),
            ('@', _) => (Kind::At, 1),
            _ => return Ok(None),
        };
        self.at += bytes;
        Ok(Some(kind))
    }

    fn delimiter(&mut self, first: char) -> Lexed<Kind> {
        self.at += 1;
        match first {
            '(' => {
                self.parens_open += 1;
                Ok(Kind::LeftParen)
            }
            ')' => {
                let Some(open) = self.parens_open.checked_sub(1) else {
                    self.start = self.at;
                    return Err("unexpected right parenthesis ')'".to_owned());
                };
                self.parens_open = open;
                Ok(Kind::RightParen)
            }
            '{' => {
                self.in_braces = true;
                Ok(Kind::LeftBrace)
            }
            '[' => {
                if self.in_brackets {
                    return Err("unexpected left bracket '['".to_owned());
                }
                self.in_brackets = true;
                self.colon_seen = false;
                Ok(Kind::LeftBracket)
            }
            _ => {
                if !self.in_brackets {
                    return Err("unexpected right bracket ']'".to_owned());
                }
                self.in_brackets = false;
                Ok(Kind::RightBracket)
            }
        }
    }

    fn word(&mut self) -> Kind {
        self.skip_while(|byte| is_alphanumeric(byte) || byte == b':');
        let text = &self.query[self.start..self.at];
        if text.eq_ignore_ascii_case("inf") || text.eq_ignore_ascii_case("nan") {
            return Kind::Number;
        }
        match keyword(text) {
            Some(keyword) => Kind::Keyword(keyword),
            None if text.contains(':') => Kind::MetricIdentifier,
            None => Kind::Identifier,
        }
    }

    /// A word between brackets: only the functions of durations have a place there.
    fn duration_word(&mut self, first: char) -> Lexed<Kind> {
        self.skip_while(is_alphanumeric);
        let text = self.query[self.start..self.at].to_ascii_lowercase();
        match text.as_str() {
            "step" => Ok(Kind::Keyword(Keyword::Step)),
            "range" => Ok(Kind::Keyword(Keyword::Range)),
            "min_of" | "max_of" => Ok(Kind::Identifier),
            _ => Err(format!("unexpected character: {}, expected ':'", quote_char(first))),
        }
    }

    fn in_braces(&mut self, first: char) -> Lexed<Kind> {
        let (kind, bytes) = match (first, self.peek(1)) {
            ('a'..='z' | 'A'..='Z' | '_', _) => {
                self.skip_while(is_alphanumeric);
                (Kind::Identifier, 0)
            }
            ('"' | '\'' | '`', _) => return self.text(),
            (',', _) => (Kind::Comma, 1),
            ('=', b'~') => (Kind::EqualRegex, 2),
            ('=', _) => (Kind::Assign, 1),
            ('!', b'~') => (Kind::NotRegex, 2),
            ('!', b'=') => (Kind::NotEqual, 2),
            ('!', _) => {
                let next = self.query[self.at + 1..].chars().next();
                let next = next.map_or_else(|| "end of input".to_owned(), quote_char);
                return Err(format!("unexpected character after '!' inside braces: {next}"));
            }
            ('{', _) => return Err("unexpected left brace '{'".to_owned()),
            ('}', _) => {
                self.in_braces = false;
                (Kind::RightBrace, 1)
            }
            (other, _) => {
                return Err(format!("unexpected character inside braces: {}", quote_char(other)));
            }
        };
        self.at += bytes;
        Ok(kind)
    }
}

fn is_alpha(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
