//! From a clock's reading to a moment: offsets of places, by the machine's database of time zones.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};

use super::parse::Parsed;

/// A place's clock.
pub type Zone = TimeZone;
/// Places by the abbreviation of their time.
pub type Abbreviations = BTreeMap<String, Zone>;

/// A time without a year may be so far ahead.
const AHEAD: jiff::SignedDuration = jiff::SignedDuration::from_hours(7 * 24);

/// The clock of a place as the IANA database names it; nothing, `Local` is that of the machine.
pub fn parse_zone(name: &str) -> Result<Zone, String> {
    match name {
        "" | "Local" => Ok(TimeZone::try_system().unwrap_or(TimeZone::UTC)),
        "UTC" => Ok(TimeZone::UTC),
        _ => TimeZone::get(name).map_err(|_| {
            format!(
                "{name:?} is not in this machine's database of time zones: write a name such as Europe/Berlin"
            )
        }),
    }
}

/// The moment that a reading means, nanoseconds since the epoch.
pub fn resolve(parsed: &Parsed, zone: &Zone, abbreviations: &Abbreviations, now: i64) -> Result<i64, String> {
    let place = place(parsed, zone, abbreviations)?;
    let moment = match parsed.year {
        Some(year) => moment(parsed, year, &place)?,
        None => {
            let now = Timestamp::from_nanosecond(i128::from(now)).map_err(|error| error.to_string())?;
            let year = place.to_datetime(now).year();
            let latest = now.checked_add(AHEAD).map_err(|error| error.to_string())?;
            match moment(parsed, year, &place) {
                Ok(moment) if moment <= latest => moment,
                _ => self::moment(parsed, year - 1, &place)?,
            }
        }
    };
    i64::try_from(moment.as_nanosecond()).map_err(|_| "it is out of range".to_owned())
}

fn moment(parsed: &Parsed, year: i16, place: &TimeZone) -> Result<Timestamp, String> {
    let date = match parsed.day_of_year {
        Some(day) => Date::new(year, 1, 1).and_then(|first| first.with().day_of_year(day).build()),
        None => Date::new(year, parsed.month.unwrap_or(1), parsed.day.unwrap_or(1)),
    };
    let date = date.map_err(|_| "there is no such day".to_owned())?;
    let time = jiff::civil::time(parsed.hour, parsed.minute, parsed.second, parsed.nanosecond);
    let reading = DateTime::from_parts(date, time);
    place.to_timestamp(reading).map_err(|error| error.to_string())
}

/// The clock that a reading is of: its offset, its abbreviation's, or the configured one.
fn place(parsed: &Parsed, zone: &Zone, abbreviations: &Abbreviations) -> Result<TimeZone, String> {
    if let Some(seconds) = parsed.offset {
        let offset = Offset::from_seconds(seconds).map_err(|error| error.to_string())?;
        return Ok(TimeZone::fixed(offset));
    }
    let Some(name) = parsed.zone.as_deref() else { return Ok(zone.clone()) };
    if let Some(place) = abbreviations.get(name) {
        return Ok(place.clone());
    }
    if matches!(name, "UTC" | "GMT") {
        return Ok(TimeZone::UTC);
    }
    if let Some(offset) = offset_of(name, zone, parsed.year.unwrap_or(2000)) {
        return Ok(TimeZone::fixed(offset));
    }
    TimeZone::get(name)
        .map_err(|_| format!("the time zone {name} is not known; say where it is in time_zone_locations"))
}

/// The offset that a place has while its time is abbreviated so: both halves of a year are looked at.
fn offset_of(name: &str, zone: &Zone, year: i16) -> Option<Offset> {
    [1, 7].into_iter().find_map(|month| {
        let middle = Date::new(year, month, 15).ok()?.at(12, 0, 0, 0);
        let info = zone.to_offset_info(zone.to_timestamp(middle).ok()?);
        (info.abbreviation() == name).then(|| info.offset())
    })
}
