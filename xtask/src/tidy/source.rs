//! Rust source as the rules see it: which characters are code, comment or text, and which lines are tests.
//!
//! A hand-written scanner instead of a parser: the rules need no more, it needs no dependency, and it works on
//! files that do not compile yet.

/// What a character of a source file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Code,
    Comment,
    /// The inside of a string or character literal.
    Text,
}

/// A function with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of `fn`, counted from 1.
    pub line: usize,
    /// How many lines it has, from `fn` to the closing brace.
    pub lines: usize,
}

/// A scanned source file.
pub struct Source {
    chars: Vec<char>,
    parts: Vec<Part>,
}

impl Source {
    /// Scans a file.
    pub fn new(text: &str) -> Source {
        let chars: Vec<char> = text.chars().collect();
        let parts = Scanner { chars: &chars, at: 0, parts: Vec::with_capacity(chars.len()) }.scan();
        Source { chars, parts }
    }

    /// The code alone: comments and the insides of literals are blank, line breaks stay.
    pub fn code(&self) -> String {
        self.keep(|part| part == Part::Code)
    }

    /// Code and literals: comments are blank.
    pub fn without_comments(&self) -> String {
        self.keep(|part| part != Part::Comment)
    }

    /// The comments alone.
    pub fn comments(&self) -> String {
        self.keep(|part| part == Part::Comment)
    }

    fn keep(&self, wanted: impl Fn(Part) -> bool) -> String {
        let pairs = self.chars.iter().zip(&self.parts);
        pairs.map(|(c, part)| if *c == '\n' || wanted(*part) { *c } else { ' ' }).collect()
    }

    /// The code without `#[cfg(test)]` modules, and how many lines are left.
    pub fn production(&self) -> (String, usize) {
        let code = self.code();
        let mut kept: Vec<char> = code.chars().collect();
        let mut lines = code.lines().count();
        let mut from = 0;
        while let Some(start) = find(&kept, "#[cfg(test)]", from) {
            from = start + 1;
            let Some(open) = kept[start..].iter().position(|c| matches!(c, '{' | ';')).map(|at| start + at)
            else {
                break;
            };
            let end = if kept[open] == '{' { closing(&kept, open) } else { open };
            lines -= kept[start..=end].iter().filter(|c| **c == '\n').count() + 1;
            kept[start..=end].iter_mut().filter(|c| **c != '\n').for_each(|c| *c = ' ');
        }
        (kept.into_iter().collect(), lines)
    }
}

/// The functions with a body in code that [`Source`] cleared of comments and literals.
pub fn functions(code: &str) -> Vec<Function> {
    let chars: Vec<char> = code.chars().collect();
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = find(&chars, "fn ", from) {
        from = at + 3;
        let starts_word = at == 0 || !is_word(chars[at - 1]);
        let name: String =
            chars[from..].iter().skip_while(|c| c.is_whitespace()).take_while(|c| is_word(**c)).collect();
        if !starts_word || name.is_empty() {
            continue;
        }
        if let Some(open) = body(&chars, from) {
            let end = closing(&chars, open);
            let line = 1 + chars[..at].iter().filter(|c| **c == '\n').count();
            let lines = 1 + chars[at..end].iter().filter(|c| **c == '\n').count();
            found.push(Function { name, line, lines });
        }
    }
    found
}

/// Where the body of a function opens; none for a declaration without one.
fn body(chars: &[char], from: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, c) in chars.iter().enumerate().skip(from) {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(at),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The brace that closes the one at `open`, or the last character where it is missing.
pub fn closing(chars: &[char], open: usize) -> usize {
    let mut depth = 0_i32;
    for (at, c) in chars.iter().enumerate().skip(open) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len().saturating_sub(1)
}

/// The first place of a word at or after `from`.
pub fn find(chars: &[char], word: &str, from: usize) -> Option<usize> {
    let word: Vec<char> = word.chars().collect();
    let rest = chars.get(from..)?;
    rest.windows(word.len()).position(|window| window == word).map(|at| from + at)
}

/// Whether a character may stand in a name.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

struct Scanner<'a> {
    chars: &'a [char],
    at: usize,
    parts: Vec<Part>,
}

impl Scanner<'_> {
    fn scan(mut self) -> Vec<Part> {
        while let Some(c) = self.peek(0) {
            match (c, self.peek(1)) {
                ('/', Some('/')) => self.take_while(Part::Comment, |scanner| scanner.peek(0) != Some('\n')),
                ('/', Some('*')) => self.block_comment(),
                ('"', _) => self.string(),
                ('r', _) if self.raw_hashes().is_some() => self.raw_string(),
                ('\'', _) => self.character_or_lifetime(),
                _ => self.take(Part::Code),
            }
        }
        self.parts
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn take(&mut self, part: Part) {
        if self.at < self.chars.len() {
            self.parts.push(part);
            self.at += 1;
        }
    }

    fn take_while(&mut self, part: Part, more: impl Fn(&Self) -> bool) {
        while self.at < self.chars.len() && more(self) {
            self.take(part);
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while let Some(c) = self.peek(0) {
            let change = match (c, self.peek(1)) {
                ('/', Some('*')) => 1,
                ('*', Some('/')) => -1,
                _ => 0,
            };
            self.take(Part::Comment);
            if change != 0 {
                self.take(Part::Comment);
            }
            depth += change;
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.take(Part::Code);
        while let Some(c) = self.peek(0) {
            match c {
                '"' => return self.take(Part::Code),
                '\\' => {
                    self.take(Part::Text);
                    self.take(Part::Text);
                }
                _ => self.take(Part::Text),
            }
        }
    }

    /// How many `#` open the raw string here; none where there is no raw string.
    fn raw_hashes(&self) -> Option<usize> {
        let before = self.at.checked_sub(1).and_then(|at| self.chars.get(at)).copied();
        let prefixed = matches!(before, Some('b' | 'c'))
            && !self.chars.get(self.at.wrapping_sub(2)).is_some_and(|c| is_word(*c));
        if before.is_some_and(is_word) && !prefixed {
            return None;
        }
        let hashes = self.chars[self.at + 1..].iter().take_while(|c| **c == '#').count();
        (self.peek(1 + hashes) == Some('"')).then_some(hashes)
    }

    fn raw_string(&mut self) {
        let hashes = self.raw_hashes().unwrap_or(0);
        for _ in 0..hashes + 2 {
            self.take(Part::Code);
        }
        let ends = |scanner: &Self| {
            scanner.peek(0) == Some('"') && (1..=hashes).all(|ahead| scanner.peek(ahead) == Some('#'))
        };
        self.take_while(Part::Text, |scanner| !ends(scanner));
        for _ in 0..hashes + 1 {
            self.take(Part::Code);
        }
    }

    fn character_or_lifetime(&mut self) {
        let escaped = self.peek(1) == Some('\\');
        if !escaped && self.peek(2) != Some('\'') {
            return self.take(Part::Code);
        }
        self.take(Part::Code);
        if escaped {
            self.take(Part::Text);
        }
        self.take(Part::Text);
        self.take_while(Part::Text, |scanner| scanner.peek(0) != Some('\''));
        self.take(Part::Code);
    }
}
