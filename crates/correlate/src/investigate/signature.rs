//! What kind of line a log line is: the place in the code that wrote it, where the line says so, else its pattern.
//!
//! A pattern has holes where lines have numbers, and numbers of lines of code are among them: two lines of one class that differ
//! in nothing else are two events. So a place in the code is a better name for a line than its text, and it does not change with
//! the values in it.

use throughline_model::PatternId;

/// Places stand near the start of a line.
const PLACE_WORDS: usize = 12;
/// A longer word is no place.
const PLACE_BYTES_MAX: usize = 160;
/// Extensions of files of code that stand before a line number.
const EXTENSIONS: [&str; 24] = [
    "java", "kt", "scala", "groovy", "clj", "rs", "go", "py", "rb", "js", "mjs", "ts", "jsx", "tsx", "cs",
    "fs", "cpp", "cc", "c", "h", "hpp", "php", "ex", "swift",
];

/// What a kind of line is called by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum LineKind {
    /// A place in the code: a class or a file, and a line.
    Place(String),
    /// A pattern of the store.
    Pattern(PatternId),
    /// A line without text.
    Empty,
}

/// The place in the code that a line names, if it names one.
pub(super) fn place(line: &str) -> Option<&str> {
    line.split([' ', '\t']).filter(|word| !word.is_empty()).take(PLACE_WORDS).find_map(|word| {
        let word = word.trim_matches(['(', ')', ',', ';', '"', '\'', '|']).trim_end_matches([':', '-']);
        is_place(word).then_some(word)
    })
}

/// Whether a line with this pattern may name a place: with a number after `#`, or after the `:` of a file of code; the number as it is
/// or as a slot.
pub(super) fn may_name_place(pattern: &str) -> bool {
    let is_number = |byte: u8| byte == b'{' || byte.is_ascii_digit();
    pattern.as_bytes().windows(2).enumerate().any(|(at, pair)| match *pair {
        [b'#', next] => is_number(next),
        [b':', next] => is_number(next) && is_file_of_code(pattern.get(..at).unwrap_or_default()),
        _ => false,
    })
}

/// Whether a text ends with the extension of a file of code.
fn is_file_of_code(path: &str) -> bool {
    EXTENSIONS
        .iter()
        .any(|extension| path.strip_suffix(extension).is_some_and(|before| before.ends_with('.')))
}

fn is_place(word: &str) -> bool {
    if word.len() > PLACE_BYTES_MAX {
        return false;
    }
    let Some((path, separator, line)) = split_line_number(word) else { return false };
    if line.is_empty() || line.len() > 6 || !line.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let in_path = |c: char| c.is_ascii_alphanumeric() || "_.$/\\<>[]-".contains(c);
    if !path.chars().all(in_path) || !path.contains(|c: char| c.is_ascii_alphabetic()) {
        return false;
    }
    match separator {
        ':' => is_file_of_code(path),
        // Qualified names, and names of classes; not the number of an order or of a request.
        _ => {
            let last = path.rsplit(['.', '/', '$']).next().unwrap_or_default();
            path.contains('.')
                || (last.contains(|c: char| c.is_ascii_uppercase())
                    && last.contains(|c: char| c.is_ascii_lowercase()))
        }
    }
}

fn split_line_number(word: &str) -> Option<(&str, char, &str)> {
    let at = word.rfind(['#', ':'])?;
    let (path, rest) = word.split_at(at);
    let separator = rest.chars().next()?;
    Some((path, separator, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_say_whether_their_lines_may_name_a_place() {
        for (pattern, may) in [
            ("{} INFO a.b.CartService#{} added", true),
            ("cache/lru.go:77: evicted", true),
            ("connected to {}:{}", false),
            ("(OrderController.java:{})", true),
            ("GET /cart/{} handled in {} ms", false),
            ("retry #: none", false),
            ("", false),
        ] {
            assert_eq!(may_name_place(pattern), may, "{pattern}");
        }
    }

    #[test]
    fn places_are_found_and_values_are_not() {
        for (line, expected) in [
            ("12:00:01 INFO  a.b.CartService#42 added", Some("a.b.CartService#42")),
            ("ERROR o.a.C.[.[.[dispatcher]#175 failed", Some("o.a.C.[.[.[dispatcher]#175")),
            ("2026-01-01 warn cache/lru.go:77: evicted", Some("cache/lru.go:77")),
            ("at (OrderController.java:12) order", Some("OrderController.java:12")),
            ("src/main.rs:9 started", Some("src/main.rs:9")),
            ("connected to db:5432", None),
            ("peer 10.0.0.1:80 is up", None),
            ("order#4711 was paid at 12:30", None),
            ("Order#4711", Some("Order#4711")),
            ("one two three four five six seven eight nine ten eleven twelve A.b#1", None),
            ("", None),
        ] {
            assert_eq!(place(line), expected, "{line}");
            assert!(expected.is_none() || may_name_place(line), "{line}");
        }
    }
}
