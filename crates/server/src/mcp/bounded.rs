//! Text that fits a number of tokens, and says what it leaves out.
//!
//! A token is taken as four bytes, which is more than models' tokenizers make of telemetry. The end is reserved, so that what was
//! not checked is always said.

/// Tokens of an answer when nothing is said.
pub(super) const TOKENS_DEFAULT: usize = 2_000;
/// The least and the most that can be asked for.
pub(super) const TOKENS_BOUNDS: (usize, usize) = (200, 50_000);
/// Bytes of a token.
const TOKEN_BYTES: usize = 4;
/// Of the room so much is kept for what was left out and not checked.
const RESERVED: f64 = 0.15;
/// A line is cut at so many bytes: one long value must not take the room of all others.
const LINE_BYTES_MAX: usize = 600;

/// An answer as it is written.
pub(super) struct Bounded {
    text: String,
    bytes_max: usize,
    left_out: Vec<String>,
    not_checked: Vec<String>,
}

impl Bounded {
    pub fn new(tokens: usize) -> Bounded {
        let bytes_max = tokens.clamp(TOKENS_BOUNDS.0, TOKENS_BOUNDS.1) * TOKEN_BYTES;
        Bounded { text: String::new(), bytes_max, left_out: Vec::new(), not_checked: Vec::new() }
    }

    fn room(&self) -> usize {
        let open = (self.bytes_max as f64 * (1.0 - RESERVED)) as usize;
        open.saturating_sub(self.text.len())
    }

    /// Writes a line if there is room for it.
    pub fn line(&mut self, line: impl AsRef<str>) -> bool {
        let line = one_line(line.as_ref(), LINE_BYTES_MAX);
        let fits = line.len() < self.room();
        if fits {
            self.text.push_str(&line);
            self.text.push('\n');
        }
        fits
    }

    /// Writes as many of these as there is room for, and notes how many are left out.
    pub fn each<T>(&mut self, what: &str, items: &[T], mut line: impl FnMut(&T) -> String) {
        for (at, item) in items.iter().enumerate() {
            if !self.line(line(item)) {
                self.left_out.push(format!("{} more {what}", items.len() - at));
                return;
            }
        }
    }

    /// Notes what the answer lacks.
    pub fn not_checked(&mut self, reason: impl Into<String>) {
        let reason = reason.into();
        if !reason.is_empty() && !self.not_checked.contains(&reason) {
            self.not_checked.push(reason);
        }
    }

    /// The text with its end.
    pub fn finish(mut self) -> String {
        let mut end = match self.not_checked.is_empty() {
            true => "not checked: nothing that was asked for".to_owned(),
            false => format!("not checked: {}", self.not_checked.join("; ")),
        };
        if !self.left_out.is_empty() {
            end =
                format!("left out: {} (raise max_tokens, or ask for less)\n{end}", self.left_out.join(", "));
        }
        let room = self.bytes_max.saturating_sub(self.text.len());
        self.text.push_str(cut(&end, room));
        self.text
    }
}

/// Without control characters, and no longer than that.
fn one_line(text: &str, bytes_max: usize) -> String {
    let clean: String = text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match clean.len() <= bytes_max {
        true => clean,
        false => format!("{}…", cut(&clean, bytes_max)),
    }
}

fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_fits_and_says_what_it_lacks() {
        let mut answer = Bounded::new(200);
        answer.line("head\nand more");
        let items: Vec<usize> = (0..100).collect();
        answer.each("numbers", &items, |n| format!("number {n} of a hundred"));
        answer.not_checked("the rest");
        answer.not_checked("the rest");
        let text = answer.finish();
        assert!(text.len() <= 800, "{}", text.len());
        assert!(text.starts_with("head and more\nnumber 0 of a hundred\n"), "{text}");
        assert!(
            text.contains("more numbers (raise max_tokens") && text.ends_with("\nnot checked: the rest"),
            "{text}"
        );
    }

    #[test]
    fn whatever_comes_it_fits() {
        let mut answer = Bounded::new(1);
        answer.line("é".repeat(10_000));
        answer.each("lines", &["x".repeat(700), "y".repeat(700)], Clone::clone);
        (0..100).for_each(|n| answer.not_checked(format!("reason {n} é")));
        let text = answer.finish();
        assert!(text.len() <= TOKENS_BOUNDS.0 * TOKEN_BYTES, "{}", text.len());
    }
}
