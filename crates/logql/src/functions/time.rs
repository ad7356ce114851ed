//! Functions of times. All times are in UTC: the zone of the server must not change what a query answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use throughline_exec::quote::quote;
use throughline_template::time::{ZERO, ZERO_SECONDS, format_layout, parse_layout};
use throughline_template::{Functions, Kind, Value};

use super::{Surroundings, text_of};

const TIME: Kind = Kind::Named("*time.Time");

pub(super) fn add(table: &mut Functions<'static>, surroundings: &Arc<Surroundings>) {
    let row = surroundings.clone();
    table.add("now", &[], move |_, _| Ok(Value::Time(row.now_ns.load(Ordering::Relaxed))));
    let row = surroundings.clone();
    table.add("date", &[Kind::Text, Kind::Any], move |values, _| {
        let ns = match values.get(1) {
            Some(Value::Time(ns)) => *ns,
            Some(Value::Int(seconds)) => seconds.saturating_mul(1_000_000_000),
            // As in sprig, whatever else stands for now.
            _ => row.now_ns.load(Ordering::Relaxed),
        };
        Ok(Value::text(format_layout(ns, text_of(values, 0))))
    });
    table.add("toDate", &[Kind::Text, Kind::Text], |values, _| {
        // What is no time is the first of all.
        Ok(Value::Time(parse_layout(text_of(values, 0), text_of(values, 1)).unwrap_or(ZERO)))
    });
    table.add("toDateInZone", &[Kind::Text, Kind::Text, Kind::Text], |values, _| {
        let zone = text_of(values, 1);
        if !matches!(zone, "" | "UTC" | "Local" | "GMT" | "Etc/UTC" | "Etc/GMT" | "Z") {
            return Err(format!(
                "unknown time zone {zone}: times are read in UTC, or with an offset in the text"
            ));
        }
        Ok(Value::Time(parse_layout(text_of(values, 0), text_of(values, 2)).unwrap_or(ZERO)))
    });
    let units: [(&'static str, i64); 3] =
        [("unixEpoch", 1_000_000_000), ("unixEpochMillis", 1_000_000), ("unixEpochNanos", 1)];
    for (name, unit_ns) in units {
        table.add(name, &[TIME], move |values, _| {
            let ns = if let Some(Value::Time(ns)) = values.first() { *ns } else { 0 };
            let count = match (ns, unit_ns) {
                (ZERO, 1_000_000_000) => ZERO_SECONDS,
                (ZERO, 1_000_000) => ZERO_SECONDS * 1_000,
                // Its nanoseconds are beyond all counting: what is left of them.
                (ZERO, _) => ZERO_SECONDS.wrapping_mul(1_000_000_000),
                (ns, unit_ns) => ns.div_euclid(unit_ns),
            };
            Ok(Value::text(count.to_string()))
        });
    }
    table.add("unixToTime", &[Kind::Text], |values, _| {
        let text = text_of(values, 0);
        let failed = || format!("unable to parse time '{text}': %!w(<nil>)");
        let count: i64 = text.parse().map_err(|_| {
            let quoted = quote(text.as_bytes());
            format!("unable to parse time '{text}': strconv.ParseInt: parsing {quoted}: invalid syntax")
        })?;
        // How many digits there are says what they count.
        let unit_ns: i64 = match text.len() {
            5 => 86_400_000_000_000,
            10 => 1_000_000_000,
            13 => 1_000_000,
            16 => 1_000,
            19 => 1,
            _ => return Err(failed()),
        };
        count.checked_mul(unit_ns).map(Value::Time).ok_or_else(failed)
    });
}
