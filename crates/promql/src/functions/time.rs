//! Parts of dates in UTC.

use throughline_exec::Labels;

use super::{argument, unknown};
use crate::ast::{Call, Function};
use crate::eval::{Evaluator, QueryError};
use crate::value::{Column, StepSeries, Steps};

const SECONDS_PER_DAY: i64 = 86_400;

/// Beyond a million years dates are of no use, and the arithmetic stays far from overflow.
const DAYS_MAX: i64 = 400_000_000;

/// A day of the Gregorian calendar.
struct Date {
    year: i64,
    /// From one.
    month: i64,
    /// From one.
    day: i64,
}

/// Days since the epoch to a date: eras of 400 years that begin on the first of March.
fn date_of(days: i64) -> Date {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Date { year, month, day }
}

fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn day_of_year(date: &Date) -> i64 {
    (1..date.month).map(|month| days_in_month(date.year, month)).sum::<i64>() + date.day
}

fn part(function: Function, seconds: i64) -> f64 {
    let days = seconds.div_euclid(SECONDS_PER_DAY).clamp(-DAYS_MAX, DAYS_MAX);
    let second_of_day = seconds.rem_euclid(SECONDS_PER_DAY);
    let date = date_of(days);
    let part = match function {
        Function::Year => date.year,
        Function::Month => date.month,
        Function::DayOfMonth => date.day,
        Function::DayOfWeek => (days + 4).rem_euclid(7),
        Function::DayOfYear => day_of_year(&date),
        Function::DaysInMonth => days_in_month(date.year, date.month),
        Function::Hour => second_of_day / 3600,
        _ => second_of_day / 60 % 60,
    };
    part as f64
}

/// The same of a number that is no time: Go's conversion makes the least whole number of it, and its calendar the second
/// after the last, 15:30:08 on Sunday, 4 December 292277026596.
fn part_beyond_time(function: Function) -> f64 {
    match function {
        Function::Year => 292_277_026_596.0,
        Function::Month => 12.0,
        Function::DayOfMonth => 4.0,
        Function::DayOfWeek => 0.0,
        Function::DayOfYear => 339.0,
        Function::DaysInMonth => 31.0,
        Function::Hour => 15.0,
        _ => 30.0,
    }
}

fn part_of_value(function: Function, seconds: f64) -> f64 {
    let is_time = seconds.abs() < i64::MAX as f64;
    if is_time { part(function, seconds as i64) } else { part_beyond_time(function) }
}

/// `hour(v)` and its kin: of the values of a vector, or of the time of evaluation.
pub(super) fn date(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Vec<StepSeries>, QueryError> {
    if call.args.is_empty() {
        let values = steps.times().map(|time| part(call.function, time.div_euclid(1000)));
        let column = Column::full(values.collect());
        return Ok(vec![StepSeries { labels: Labels::empty(), drop_name: false, column }]);
    }
    if call.args.len() > 1 {
        return Err(unknown(call));
    }
    let series = evaluator.vector(argument(call, 0)?, steps)?;
    evaluator.map_vector(series, |mut series| {
        let values = series.column.values.iter_mut();
        values.for_each(|value| *value = part_of_value(call.function, *value));
        series.column.histograms.clear();
        Some(StepSeries { drop_name: true, ..series })
    })
}

/// `2026-11-20T17:00:00.5Z`
pub(crate) fn format_utc(time_ms: i64) -> String {
    let seconds = time_ms.div_euclid(1000);
    let days = seconds.div_euclid(SECONDS_PER_DAY).clamp(-DAYS_MAX, DAYS_MAX);
    let date = date_of(days);
    let second = seconds.rem_euclid(SECONDS_PER_DAY);
    let ms = time_ms.rem_euclid(1000);
    let fraction = if ms == 0 { String::new() } else { format!(".{ms:03}") };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}Z",
        date.year,
        date.month,
        date.day,
        second / 3600,
        second / 60 % 60,
        second % 60,
        fraction.trim_end_matches('0')
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(format_utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(format_utc(1_709_164_800_500), "2024-02-29T00:00:00.5Z");
        assert_eq!(format_utc(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(part(Function::DayOfYear, 1_735_603_200), 366.0);
        assert_eq!(part(Function::DayOfWeek, 0), 4.0);
        assert_eq!(part(Function::DaysInMonth, 951_782_400), 29.0);
        let _ = part(Function::Year, i64::MIN);
        let _ = part(Function::Year, i64::MAX);
    }
}
