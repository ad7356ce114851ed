//! Colours and width of the terminal.

use std::io::IsTerminal;

/// Where the width is not known.
const WIDTH_DEFAULT: usize = 120;
/// Narrower than this nothing fits; wider than this nobody reads.
const WIDTH_BOUNDS: (usize, usize) = (60, 240);

/// How to write.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Whether to use colours.
    pub colour: bool,
    /// Columns of a line.
    pub width: usize,
}

impl Style {
    /// For standard output: colours on a terminal unless `NO_COLOR` is set, width from `COLUMNS`.
    pub fn detect() -> Style {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
        Style {
            colour: std::io::stdout().is_terminal() && !no_color,
            width: columns.unwrap_or(WIDTH_DEFAULT).clamp(WIDTH_BOUNDS.0, WIDTH_BOUNDS.1),
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// What matters most.
    pub fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What matters least.
    pub fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    /// Errors.
    pub fn red(&self, text: &str) -> String {
        self.paint("31", text)
    }

    /// Warnings, the critical path.
    pub fn yellow(&self, text: &str) -> String {
        self.paint("33", text)
    }

    /// What is as it should be.
    pub fn green(&self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Names that can be copied into a command.
    pub fn cyan(&self, text: &str) -> String {
        self.paint("36", text)
    }
}

/// Text that came from outside, safe for a terminal: control characters become spaces.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Text cut to so many characters, with `…` where it was longer.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Text cut or filled up with spaces to exactly so many characters.
pub fn fit(text: &str, width: usize) -> String {
    let short = cut(text, width);
    let missing = width.saturating_sub(short.chars().count());
    short + &" ".repeat(missing)
}
