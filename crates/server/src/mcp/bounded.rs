//! Text that fits a number of tokens, and says what it leaves out.
//!
//! Tokens are estimated as models' tokenizers cut text ([`tokens_of`]): of ids and times one is two bytes, of prose four, so that no
//! number of bytes would do for both. The end is reserved, so that what was not checked is always said.

/// Tokens of an answer when nothing is said.
pub(super) const TOKENS_DEFAULT: usize = 2_000;
/// The least and the most that can be asked for.
pub(super) const TOKENS_BOUNDS: (usize, usize) = (200, 50_000);
/// Of the room so much is kept for what was left out and not checked.
const RESERVED: f64 = 0.15;
/// A line is cut at so many bytes: one long value must not take the room of all others.
const LINE_BYTES_MAX: usize = 600;

/// An answer as it is written.
pub(super) struct Bounded {
    text: String,
    tokens: usize,
    tokens_max: usize,
    left_out: Vec<String>,
    not_checked: Vec<String>,
}

impl Bounded {
    pub fn new(tokens: usize) -> Bounded {
        let tokens_max = tokens.clamp(TOKENS_BOUNDS.0, TOKENS_BOUNDS.1);
        Bounded { text: String::new(), tokens: 0, tokens_max, left_out: Vec::new(), not_checked: Vec::new() }
    }

    fn room(&self) -> usize {
        let open = (self.tokens_max as f64 * (1.0 - RESERVED)) as usize;
        open.saturating_sub(self.tokens)
    }

    /// Writes a line if there is room for it.
    pub fn line(&mut self, line: impl AsRef<str>) -> bool {
        let line = one_line(line.as_ref(), LINE_BYTES_MAX);
        // And the end of the line.
        let tokens = tokens_of(&line) + 1;
        let fits = tokens < self.room();
        if fits {
            self.text.push_str(&line);
            self.text.push('\n');
            self.tokens += tokens;
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
        let room = self.tokens_max.saturating_sub(self.tokens);
        let mut end = end.as_str();
        while tokens_of(end) > room {
            end = cut(end, end.len() - end.len().div_ceil(16));
        }
        self.text.push_str(end);
        self.text
    }
}

/// What a run of characters is to a tokenizer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    Letters,
    Digits,
    Spaces,
    Signs,
    Other,
}

impl Run {
    fn of(c: char) -> Run {
        match c {
            'a'..='z' | 'A'..='Z' => Run::Letters,
            '0'..='9' => Run::Digits,
            ' ' => Run::Spaces,
            c if c.is_ascii() => Run::Signs,
            _ => Run::Other,
        }
    }
}

/// How many tokens a text is, about and rather too many: digits go by threes; letters by words, and by twos within ids, where they
/// make no words; a space goes with the word after it.
fn tokens_of(text: &str) -> usize {
    let mut tokens = 0;
    let mut rest = text;
    let mut before: Option<Run> = None;
    while let Some(first) = rest.chars().next() {
        let run = Run::of(first);
        let end = rest.find(|c| Run::of(c) != run).unwrap_or(rest.len());
        let (these, after) = rest.split_at(end);
        let next = after.chars().next().map(Run::of);
        tokens += match run {
            Run::Letters if before == Some(Run::Digits) || next == Some(Run::Digits) => {
                these.len().div_ceil(2)
            }
            Run::Letters => these.len().div_ceil(5),
            Run::Digits => these.len().div_ceil(3),
            Run::Spaces => usize::from(these.len() > 1 || next != Some(Run::Letters)),
            Run::Signs | Run::Other => these.len().div_ceil(2),
        };
        (rest, before) = (after, Some(run));
    }
    tokens
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
        assert!(tokens_of(&text) <= TOKENS_BOUNDS.0, "{}", text.len());
    }

    /// Against what o200k_base, a tokenizer of the GPT models, makes of them.
    #[test]
    fn an_estimate_is_rather_too_large() {
        for (text, tokens) in [
            ("24441f5e3d90807d10bc8534c04dfe39 bcaefdcb00ddeeff", 26),
            (
                "2026-11-30T16:42:53.096Z INFO task-svc GET task-0166 trace=24441f5e3d90807d10bc8534c04dfe39 span=088f483628fe1f94",
                55,
            ),
            (
                "the status was never set: the error was handled or logged within the span, and nobody set the span's status",
                23,
            ),
            (
                "traces_spanmetrics_latency_bucket{le=\"0.002\",service=\"db\",span_kind=\"SPAN_KIND_SERVER\",\
                 status_code=\"STATUS_CODE_UNSET\"}",
                32,
            ),
            ("Zahlung für Müller abgelehnt: 支払いが拒否されました", 16),
        ] {
            let estimate = tokens_of(text);
            assert!((tokens..=tokens * 5 / 2).contains(&estimate), "{estimate} for {tokens}: {text}");
        }
    }
}
