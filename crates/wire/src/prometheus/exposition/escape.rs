//! Names: which ones need no quotes, and the schemes that make such names of all others.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a metric's name can stand without quotes.
pub fn is_legacy_metric_name(name: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphabetic() || matches!(b, b'_' | b':');
    name.bytes().next().is_some_and(letter) && name.bytes().all(|b| letter(b) || b.is_ascii_digit())
}

/// Whether a label's name can stand without quotes.
pub fn is_legacy_label_name(name: &str) -> bool {
    is_legacy_metric_name(name) && !name.contains(':')
}

/// What becomes of names that only a reader of UTF-8 names understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Escaping {
    /// They stay, in quotes.
    AllowUtf8,
    /// Every other character becomes `_`.
    #[default]
    Underscores,
    /// `.` becomes `_dot_`, `_` becomes `__`, every other character `__`.
    Dots,
    /// `U__` and then `_` as `__` and every other character as `_` + its code point in hex + `_`: can be undone.
    Values,
}

impl Escaping {
    const NAMES: [(&'static str, Escaping); 4] = [
        ("allow-utf-8", Escaping::AllowUtf8),
        ("underscores", Escaping::Underscores),
        ("dots", Escaping::Dots),
        ("values", Escaping::Values),
    ];

    /// Its name in `Accept` and `Content-Type`.
    pub fn name(self) -> &'static str {
        Escaping::NAMES.iter().find(|(_, scheme)| *scheme == self).map_or("", |(name, _)| name)
    }

    /// The scheme of that name.
    pub fn from_name(name: &str) -> Option<Escaping> {
        Escaping::NAMES.iter().find(|(known, _)| *known == name).map(|(_, scheme)| *scheme)
    }

    /// A name after the scheme.
    pub fn escape(self, name: &str) -> Cow<'_, str> {
        // Dots are undone by readers, so that this scheme touches the underscores of every name.
        let plain = is_legacy_metric_name(name) && self != Escaping::Dots;
        if plain || name.is_empty() || self == Escaping::AllowUtf8 {
            return Cow::Borrowed(name);
        }
        let mut out = String::with_capacity(name.len() + 8);
        if self == Escaping::Values {
            out.push_str("U__");
        }
        for (at, c) in name.chars().enumerate() {
            let keeps = c.is_ascii_alphabetic() || c == ':' || (c.is_ascii_digit() && at > 0);
            match (self, c) {
                (Escaping::Dots | Escaping::Values, '_') => out.push_str("__"),
                (Escaping::Dots, '.') => out.push_str("_dot_"),
                _ if keeps || c == '_' => out.push(c),
                (Escaping::Dots, _) => out.push_str("__"),
                // Writing to a string cannot fail.
                (Escaping::Values, _) => _ = write!(out, "_{:x}_", c as u32),
                _ => out.push('_'),
            }
        }
        Cow::Owned(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_make_names_that_need_no_quotes() {
        let all = |name: &str| {
            [Escaping::Underscores, Escaping::Dots, Escaping::Values].map(|s| s.escape(name).into_owned())
        };
        assert_eq!(
            all("http.status_code"),
            ["http_status_code", "http_dot_status__code", "U__http_2e_status__code"]
        );
        assert_eq!(all("plain_name"), ["plain_name", "plain__name", "plain_name"]);
        assert_eq!(all("1µ"), ["__", "____", "U___31__b5_"]);
        assert_eq!(Escaping::AllowUtf8.escape("a.b"), "a.b");
        assert_eq!(Escaping::from_name(Escaping::Values.name()), Some(Escaping::Values));
    }
}
