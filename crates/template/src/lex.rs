//! Text to tokens.
//!
//! Spaces inside an action are tokens: `.a .b` are two fields and `.a.b` is one chain. Trim markers and comments are
//! used up here.

use std::fmt;

use crate::ast::Span;

/// What a token is; its text is in its span.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Text,
    Left,
    Right,
    Space,
    Field,
    Variable,
    Identifier,
    Keyword(Keyword),
    Bool(bool),
    Dot,
    Nil,
    Char,
    Number,
    Quoted,
    RawQuoted,
    Pipe,
    LeftParen,
    RightParen,
    Assign,
    Declare,
    /// Another printable character.
    Mark,
    End,
    Error(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyword {
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Range,
    Template,
    With,
}

impl Keyword {
    fn of(word: &str) -> Option<Keyword> {
        Some(match word {
            "block" => Keyword::Block,
            "break" => Keyword::Break,
            "continue" => Keyword::Continue,
            "define" => Keyword::Define,
            "else" => Keyword::Else,
            "end" => Keyword::End,
            "if" => Keyword::If,
            "range" => Keyword::Range,
            "template" => Keyword::Template,
            "with" => Keyword::With,
            _ => return None,
        })
    }
}

#[derive(Clone, Debug)]
pub struct Token {
    pub kind: Kind,
    pub at: Span,
}

const LEFT: &str = "{{";
const RIGHT: &str = "}}";

/// All tokens; the last is [`Kind::End`] or [`Kind::Error`].
pub fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, start: 0, at: 0, tokens: Vec::new() };
    if let Err(message) = lexer.run() {
        lexer.emit(Kind::Error(message));
    }
    lexer.tokens
}

struct Lexer<'t> {
    text: &'t str,
    /// Where the token begins.
    start: usize,
    at: usize,
    tokens: Vec<Token>,
}

impl<'t> Lexer<'t> {
    fn run(&mut self) -> Result<(), String> {
        while self.at < self.text.len() {
            let Some(left) = self.rest().find(LEFT) else {
                self.at = self.text.len();
                self.emit(Kind::Text);
                break;
            };
            let begin = self.at;
            let text = &self.rest()[..left];
            let trims = has_left_trim(&self.rest()[left + LEFT.len()..]);
            self.at = begin + if trims { text.trim_end_matches(is_space).len() } else { text.len() };
            if self.at > self.start {
                self.emit(Kind::Text);
            }
            self.start = begin + left;
            self.at = self.start + LEFT.len();
            let marker = if trims { 2 } else { 0 };
            if self.text[self.at + marker..].starts_with("/*") {
                self.comment(marker)?;
                continue;
            }
            self.emit(Kind::Left);
            self.at += marker;
            self.start = self.at;
            self.action()?;
        }
        self.emit(Kind::End);
        Ok(())
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn emit(&mut self, kind: Kind) {
        self.tokens.push(Token { kind, at: Span { start: self.start, end: self.at } });
        self.start = self.at;
    }

    fn comment(&mut self, marker: usize) -> Result<(), String> {
        self.at += marker;
        let end = self.rest().find("*/").ok_or("unclosed comment")?;
        self.at += end + 2;
        match self.right() {
            Some(trims) => self.skip_right(trims),
            None => return Err("comment ends before closing delimiter".to_owned()),
        }
        Ok(())
    }

    /// Whether an action ends here, and whether it trims what follows.
    fn right(&self) -> Option<bool> {
        let rest = self.rest();
        if rest.starts_with(RIGHT) {
            return Some(false);
        }
        let mut chars = rest.chars();
        let trims = chars.next().is_some_and(is_space) && chars.next() == Some('-');
        (trims && rest[2..].starts_with(RIGHT)).then_some(true)
    }

    fn skip_right(&mut self, trims: bool) {
        self.at += if trims { 2 + RIGHT.len() } else { RIGHT.len() };
        if trims {
            self.at = self.text.len() - self.rest().trim_start_matches(is_space).len();
        }
        self.start = self.at;
    }

    fn action(&mut self) -> Result<(), String> {
        let mut depth = 0_usize;
        loop {
            if let Some(trims) = self.right() {
                if depth > 0 {
                    return Err("unclosed left paren".to_owned());
                }
                let end = self.at + if trims { 2 + RIGHT.len() } else { RIGHT.len() };
                self.tokens.push(Token { kind: Kind::Right, at: Span { start: self.at, end } });
                self.skip_right(trims);
                return Ok(());
            }
            let c = self.next().ok_or("unclosed action")?;
            match c {
                '(' => {
                    depth += 1;
                    self.emit(Kind::LeftParen);
                }
                ')' => {
                    depth = depth.checked_sub(1).ok_or("unexpected right paren")?;
                    self.emit(Kind::RightParen);
                }
                _ => self.token(c)?,
            }
        }
    }

    fn token(&mut self, c: char) -> Result<(), String> {
        match c {
            c if is_space(c) => {
                while self.peek().is_some_and(is_space) && self.right().is_none() {
                    self.next();
                }
                self.emit(Kind::Space);
            }
            '=' => self.emit(Kind::Assign),
            ':' => {
                if self.next() != Some('=') {
                    return Err("expected :=".to_owned());
                }
                self.emit(Kind::Declare);
            }
            '|' => self.emit(Kind::Pipe),
            '"' => self.quoted('"', Kind::Quoted, "unterminated quoted string")?,
            '\'' => self.quoted('\'', Kind::Char, "unterminated character constant")?,
            '`' => {
                let end = self.rest().find('`').ok_or("unterminated raw quoted string")?;
                self.at += end + 1;
                self.emit(Kind::RawQuoted);
            }
            '$' => self.word(Kind::Variable)?,
            '.' if !self.peek().is_some_and(|c| c.is_ascii_digit()) => self.word(Kind::Field)?,
            '.' | '+' | '-' | '0'..='9' => self.number()?,
            c if is_word(c) => self.identifier()?,
            c if c.is_ascii_graphic() => self.emit(Kind::Mark),
            c => return Err(format!("unrecognized character in action: {}", Named(c))),
        }
        Ok(())
    }

    fn quoted(&mut self, quote: char, kind: Kind, unterminated: &str) -> Result<(), String> {
        loop {
            match self.next() {
                Some('\\') => {
                    if matches!(self.next(), None | Some('\n')) {
                        return Err(unterminated.to_owned());
                    }
                }
                None | Some('\n') => return Err(unterminated.to_owned()),
                Some(c) if c == quote => break,
                Some(_) => {}
            }
        }
        self.emit(kind);
        Ok(())
    }

    /// A field or a variable, the first character of which is read.
    fn word(&mut self, kind: Kind) -> Result<(), String> {
        if self.is_end_of_word() {
            let alone = if kind == Kind::Field { Kind::Dot } else { kind };
            self.emit(alone);
            return Ok(());
        }
        self.word_end()?;
        self.emit(kind);
        Ok(())
    }

    fn identifier(&mut self) -> Result<(), String> {
        self.word_end()?;
        let word = &self.text[self.start..self.at];
        let kind = match word {
            "true" => Kind::Bool(true),
            "false" => Kind::Bool(false),
            "nil" => Kind::Nil,
            _ => Keyword::of(word).map_or(Kind::Identifier, Kind::Keyword),
        };
        self.emit(kind);
        Ok(())
    }

    fn word_end(&mut self) -> Result<(), String> {
        while self.peek().is_some_and(is_word) {
            self.next();
        }
        match self.peek() {
            Some(c) if !self.is_end_of_word() => Err(format!("bad character {}", Named(c))),
            _ => Ok(()),
        }
    }

    fn is_end_of_word(&self) -> bool {
        let ends = |c: char| is_space(c) || matches!(c, '.' | ',' | '|' | ':' | ')' | '(');
        self.peek().is_none_or(ends) || self.rest().starts_with(RIGHT)
    }

    fn number(&mut self) -> Result<(), String> {
        // Whether it is one is found out when it is read; here it only has to end.
        let mut before = self.text[self.start..self.at].chars().next().unwrap_or(' ');
        let is_based = |text: &str| {
            let digits = text.trim_start_matches(['+', '-']);
            digits.starts_with("0x") || digits.starts_with("0X")
        };
        while let Some(c) = self.peek() {
            let text = &self.text[self.start..self.at];
            let exponent = if is_based(text) { ['p', 'P'] } else { ['e', 'E'] };
            let is_sign = matches!(c, '+' | '-') && exponent.contains(&before);
            if !(is_word(c) || c == '.' || is_sign) {
                break;
            }
            before = c;
            self.next();
        }
        self.emit(Kind::Number);
        Ok(())
    }
}

fn has_left_trim(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next() == Some('-') && chars.next().is_some_and(is_space)
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// A character as Go names it: `U+0041 'A'`.
struct Named(char);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "U+{:04X}", u32::from(self.0))?;
        if self.0.is_control() { Ok(()) } else { write!(f, " '{}'", self.0) }
    }
}
