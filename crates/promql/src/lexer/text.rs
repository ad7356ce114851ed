//! Texts in quotes: how they are cut from the query.

use throughline_exec::quote::escape_length;
pub use throughline_exec::quote::unquote;

use super::{Kind, Lexed, Lexer};

impl Lexer<'_> {
    pub(super) fn text(&mut self) -> Lexed<Kind> {
        let quote = self.peek(0);
        let raw = quote == b'`';
        self.at += 1;
        loop {
            self.skip_while(|byte| byte != quote && byte != b'\\' && (raw || byte != b'\n'));
            if self.take(quote) {
                return Ok(Kind::Text);
            }
            if raw && self.take(b'\\') {
                continue;
            }
            if !self.take(b'\\') {
                let kind = if raw { "raw" } else { "quoted" };
                return Err(format!("unterminated {kind} string"));
            }
            if self.take(quote) {
                continue;
            }
            self.at += escape_length(&self.query[self.at..])?;
        }
    }
}
