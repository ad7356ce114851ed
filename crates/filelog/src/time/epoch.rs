//! Times as numbers since 1970.

use crate::value::Value;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochUnit {
    /// Whole units of so many nanoseconds.
    Whole(i64),
    /// Seconds, and after a point units of so many nanoseconds.
    Seconds(i64),
}

impl EpochUnit {
    /// The unit of a layout: `s`, `ms`, `us`, `ns`, `s.ms`, `s.us`, `s.ns`.
    #[must_use]
    pub fn from_layout(layout: &str) -> Option<EpochUnit> {
        Some(match layout {
            "s" => EpochUnit::Whole(1_000_000_000),
            "ms" => EpochUnit::Whole(1_000_000),
            "us" => EpochUnit::Whole(1_000),
            "ns" => EpochUnit::Whole(1),
            "s.ms" => EpochUnit::Seconds(1_000_000),
            "s.us" => EpochUnit::Seconds(1_000),
            "s.ns" => EpochUnit::Seconds(1),
            _ => return None,
        })
    }

    /// Nanoseconds since the epoch.
    pub fn read(self, value: &Value) -> Result<i64, String> {
        let text = match (self, value) {
            (_, Value::Str(text)) => text.clone(),
            (EpochUnit::Whole(_), Value::Float(n)) => (*n as i64).to_string(),
            (_, Value::Int(n)) => n.to_string(),
            (EpochUnit::Seconds(unit), Value::Float(n)) => {
                let digits = match unit {
                    1_000_000 => 3,
                    1_000 => 6,
                    _ => 9,
                };
                format!("{n:.digits$}")
            }
            (_, other) => return Err(format!("{} cannot be parsed as a time", other.kind())),
        };
        let failed = || format!("{text:?} is not a time since the epoch in this layout");
        let nanoseconds = match self {
            EpochUnit::Whole(unit) => {
                i128::from(text.parse::<i64>().map_err(|_| failed())?) * i128::from(unit)
            }
            EpochUnit::Seconds(unit) => {
                // A number that was whole in the line has no point.
                let (seconds, fraction) = match (text.split_once('.'), value) {
                    (Some((seconds, fraction)), _) => (seconds, fraction),
                    (None, Value::Str(_)) => return Err(failed()),
                    (None, _) => (text.as_str(), "0"),
                };
                let seconds: i64 = seconds.parse().map_err(|_| failed())?;
                let fraction: u32 = fraction.parse().map_err(|_| failed())?;
                i128::from(seconds) * 1_000_000_000 + i128::from(fraction) * i128::from(unit)
            }
        };
        i64::try_from(nanoseconds).map_err(|_| failed())
    }
}
