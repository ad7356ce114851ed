//! Text to tokens.

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A name or a word.
    Word(String),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// Quoted text.
    Text(String),
    /// A sign.
    Sign(&'static str),
}

/// Longer ones first.
const SIGNS: [&str; 34] = [
    "**", "==", "!=", "<=", ">=", "&&", "||", "??", "?.", "..", "->", "=>", "::", "(", ")", "[", "]", "{",
    "}", ".", ",", ":", ";", "?", "+", "-", "*", "/", "%", "^", "<", ">", "!", "|",
];

/// All tokens of a text.
pub fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let (mut out, mut rest) = (Vec::new(), text);
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return Ok(out) };
        let (token, bytes) = match first {
            '"' | '\'' => quoted(rest, first)?,
            '`' => {
                let end = rest[1..].find('`').ok_or("a quote has no end")?;
                (Token::Text(rest[1..=end].to_owned()), end + 2)
            }
            '0'..='9' => number(rest)?,
            c if c.is_alphabetic() || "_$".contains(c) => {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || "_$".contains(c)));
                let end = end.unwrap_or(rest.len());
                (Token::Word(rest[..end].to_owned()), end)
            }
            other => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                let sign = sign.ok_or_else(|| format!("{other:?} is not known here"))?;
                (Token::Sign(sign), sign.len())
            }
        };
        out.push(token);
        rest = &rest[bytes..];
    }
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    let digits = |text: &str| text.find(|c: char| !(c.is_ascii_digit() || c == '_')).unwrap_or(text.len());
    let mut end = digits(rest);
    let is_fraction =
        rest[end..].starts_with('.') && rest[end + 1..].starts_with(|c: char| c.is_ascii_digit());
    if is_fraction {
        end += 1 + digits(&rest[end + 1..]);
    }
    if rest[end..].starts_with(|c: char| c.is_alphanumeric()) {
        let word: String = rest.chars().take_while(|c| c.is_alphanumeric() || "._".contains(*c)).collect();
        return Err(format!("the number {word} is not supported: write decimal digits"));
    }
    let text = rest[..end].replace('_', "");
    let token = match text.parse::<i64>() {
        Ok(whole) => Token::Int(whole),
        Err(_) => Token::Float(text.parse().map_err(|_| format!("{text} is not a number"))?),
    };
    Ok((token, end))
}

fn quoted(rest: &str, quote: char) -> Result<(Token, usize), String> {
    let mut out = String::new();
    let mut letters = rest.char_indices().skip(1);
    while let Some((at, c)) = letters.next() {
        if c == quote {
            return Ok((Token::Text(out), at + 1));
        }
        if c != '\\' {
            out.push(c);
            continue;
        }
        let (_, escaped) = letters.next().ok_or("a quote has no end")?;
        let code = |letters: &mut dyn Iterator<Item = (usize, char)>, digits: usize| {
            let text: String = letters.take(digits).map(|(_, c)| c).collect();
            let code = u32::from_str_radix(&text, 16).ok().filter(|_| text.len() == digits);
            code.and_then(char::from_u32).ok_or_else(|| format!("\\{escaped}{text} is no character"))
        };
        out.push(match escaped {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            '\\' | '"' | '\'' | '`' => escaped,
            'x' => code(&mut letters, 2)?,
            'u' => code(&mut letters, 4)?,
            'U' => code(&mut letters, 8)?,
            other => return Err(format!("the escape \\{other} is not known; a backslash is written \\\\")),
        });
    }
    Err("a quote has no end".to_owned())
}
