//! Timestamps in log lines: what a layout says a text means.
//!
//! [`layout`] reads layouts, those of `strptime` and Go's, into one list of pieces; [`parse`] reads texts by them, as Go does;
//! [`zone`] knows offsets of places; [`epoch`] reads numbers.

mod epoch;
mod layout;
mod parse;
#[cfg(test)]
mod tests;
mod zone;

pub use epoch::EpochUnit;
pub use layout::Layout;
pub use zone::{Abbreviations, Zone, parse_zone};

use crate::value::Value;

/// How a time is written.
#[derive(Clone, Debug)]
pub enum TimeFormat {
    /// As a layout says.
    Layout {
        /// The layout.
        layout: Layout,
        /// Where clocks are whose times say no offset.
        zone: Zone,
        /// Places of abbreviations such as `PDT`.
        abbreviations: Abbreviations,
    },
    /// As a number.
    Epoch(EpochUnit),
}

impl TimeFormat {
    /// The time that a value means, nanoseconds since the epoch. A time without a year is the one nearest before `now`, or
    /// up to seven days after it.
    pub fn read(&self, value: &Value, now: i64) -> Result<i64, String> {
        match self {
            TimeFormat::Epoch(unit) => unit.read(value),
            TimeFormat::Layout { layout, zone, abbreviations } => {
                let Value::Str(text) = value else {
                    return Err(format!("{} cannot be parsed as a time", value.kind()));
                };
                let parsed = parse::parse(layout, text)?;
                zone::resolve(&parsed, zone, abbreviations, now)
                    .map_err(|reason| format!("time {text:?}: {reason}"))
            }
        }
    }
}
