//! The level of a log record: one word for how bad it is, whatever way its logger has to say so.
//!
//! OTLP's severity number says it exactly; other loggers write a word or a number under some name. [`Level::from_text`]
//! reads the words that are in use. The names are those of Loki's `detected_level`.

use serde::{Deserialize, Serialize};

/// A level, from the least to the most severe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Level {
    /// The record does not say.
    #[default]
    Unknown = 0,
    /// Finer than debug.
    Trace = 1,
    /// For whoever debugs.
    Debug = 2,
    /// As it should be.
    Info = 3,
    /// Not as it should be, and going on.
    Warn = 4,
    /// Something failed.
    Error = 5,
    /// Something failed that others depend on.
    Critical = 6,
    /// The process ends.
    Fatal = 7,
}

impl Level {
    /// All levels, by code.
    pub const ALL: [Level; 8] = [
        Level::Unknown,
        Level::Trace,
        Level::Debug,
        Level::Info,
        Level::Warn,
        Level::Error,
        Level::Critical,
        Level::Fatal,
    ];

    /// The level that a stored code stands for.
    pub fn from_code(code: u8) -> Level {
        Level::ALL.get(usize::from(code)).copied().unwrap_or_default()
    }

    /// The level of OTLP's severity number, 1 to 24; anything else says nothing.
    #[inline]
    pub fn from_severity(number: u8) -> Level {
        match number {
            1..=4 => Level::Trace,
            5..=8 => Level::Debug,
            9..=12 => Level::Info,
            13..=16 => Level::Warn,
            17..=20 => Level::Error,
            21..=24 => Level::Fatal,
            _ => Level::Unknown,
        }
    }

    /// The lowest of OTLP's severity numbers that say as much; 0 where the record does not say.
    pub fn lowest_severity(self) -> u8 {
        match self {
            Level::Unknown => 0,
            Level::Trace => 1,
            Level::Debug => 5,
            Level::Info => 9,
            Level::Warn => 13,
            Level::Error => 17,
            Level::Critical | Level::Fatal => 21,
        }
    }

    /// How severe a record is in OTLP's numbers: as it says itself, or else at least as its level does.
    #[inline]
    pub fn severity(self, number: u8) -> u8 {
        if number > 0 { number } else { self.lowest_severity() }
    }

    /// The name, as it stands in labels and answers.
    pub fn name(self) -> &'static str {
        match self {
            Level::Unknown => "unknown",
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Critical => "critical",
            Level::Fatal => "fatal",
        }
    }

    /// The level that a word names, in any case: those of OTLP (with their numbers, `INFO2`), syslog, Java, .NET, Python,
    /// glog and klog (`I`, `W`, `E`, `F`), and the numbers of bunyan and pino. `None` where it names none.
    pub fn from_text(word: &str) -> Option<Level> {
        let word = word.trim();
        let mut lower = [0u8; 16];
        let lower = lower.get_mut(..word.len())?;
        lower.copy_from_slice(word.as_bytes());
        lower.make_ascii_lowercase();
        let digits = lower.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        // OTLP's names have a number of one digit after them.
        let name = if digits == 1 { lower.get(..lower.len() - 1)? } else { &*lower };
        Some(match name {
            b"trace" | b"trc" | b"verbose" | b"finest" | b"finer" | b"t" | b"10" => Level::Trace,
            b"debug" | b"dbg" | b"fine" | b"config" | b"d" | b"20" => Level::Debug,
            b"info" | b"inf" | b"information" | b"informational" | b"notice" | b"i" | b"30" => Level::Info,
            b"warn" | b"wrn" | b"warning" | b"w" | b"40" => Level::Warn,
            b"error" | b"err" | b"eror" | b"severe" | b"fail" | b"e" | b"50" => Level::Error,
            b"critical" | b"crit" | b"alert" | b"emerg" | b"emergency" | b"c" => Level::Critical,
            b"fatal" | b"ftl" | b"panic" | b"dpanic" | b"f" | b"60" => Level::Fatal,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_levels() {
        for (words, level) in [
            ("trace TRACE TRC Verbose FINEST T TRACE4 10", Level::Trace),
            ("debug DBG fine D DEBUG2 20", Level::Debug),
            ("info INF Information notice I INFO3 30", Level::Info),
            ("warn WARNING wrn W WARN2 40", Level::Warn),
            ("error ERR SEVERE E ERROR4 fail 50", Level::Error),
            ("critical CRIT alert EMERGENCY", Level::Critical),
            ("fatal PANIC ftl F FATAL4 60", Level::Fatal),
        ] {
            for word in words.split(' ') {
                assert_eq!(Level::from_text(word), Some(level), "{word}");
            }
        }
        for word in ["", "5", "0", "informed", "errors", "info22", "a word that is much too long for a level"]
        {
            assert_eq!(Level::from_text(word), None, "{word}");
        }
    }

    #[test]
    fn codes_and_severities_name_levels() {
        for level in Level::ALL {
            assert_eq!(Level::from_code(level as u8), level);
            assert_eq!(serde_json::to_value(level).expect("text"), level.name());
        }
        let of = |number| Level::from_severity(number).name();
        let all: Vec<&str> = [0, 1, 5, 9, 12, 13, 17, 20, 21, 24, 25].into_iter().map(of).collect();
        let expected = [
            "unknown", "trace", "debug", "info", "info", "warn", "error", "error", "fatal", "fatal",
            "unknown",
        ];
        assert_eq!(all, expected);
    }
}
