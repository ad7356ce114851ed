//! Histograms and floats as text.

use std::fmt::{self, Write};

use super::{Buckets, CounterResetHint, FloatHistogram};

impl fmt::Display for FloatHistogram {
    /// `{count:4, sum:5, (0.5,1]:1, (1,2]:3}`, which `count_values` makes label values of
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", format_float(self.count), format_float(self.sum))?;
        let mut buckets: Vec<_> = self.negative_buckets().collect();
        buckets.reverse();
        if !self.is_custom() {
            buckets.push(self.zero_bucket());
        }
        buckets.extend(self.positive_buckets());
        for bucket in buckets.iter().filter(|bucket| bucket.count != 0.0) {
            let open = if bucket.lower_inclusive { '[' } else { '(' };
            let close = if bucket.upper_inclusive { ']' } else { ')' };
            let (lower, upper) = (format_float(bucket.lower), format_float(bucket.upper));
            write!(f, ", {open}{lower},{upper}{close}:{}", format_float(bucket.count))?;
        }
        f.write_char('}')
    }
}

impl FloatHistogram {
    /// `{{schema:1 count:4 sum:5 buckets:[1 3]}}`, the form of test scripts.
    #[must_use]
    pub fn expression(&self) -> String {
        let mut parts = Vec::new();
        let mut number = |key: &str, value: f64| {
            if value != 0.0 {
                parts.push(format!("{key}:{}", format_float(value)));
            }
        };
        number("schema", f64::from(self.schema));
        number("count", self.count);
        number("sum", self.sum);
        number("z_bucket", self.zero_count);
        number("z_bucket_w", self.zero_threshold);
        if self.is_custom() {
            parts.push(format!("custom_values:[{}]", join(&self.custom_values)));
        }
        match self.counter_reset_hint {
            CounterResetHint::Unknown => {}
            CounterResetHint::Reset => parts.push("counter_reset_hint:reset".to_owned()),
            CounterResetHint::NotReset => parts.push("counter_reset_hint:not_reset".to_owned()),
            CounterResetHint::Gauge => parts.push("counter_reset_hint:gauge".to_owned()),
        }
        for (prefix, buckets) in [("", &self.positive), ("n_", &self.negative)] {
            let Some((first, counts)) = dense(buckets) else { continue };
            if first != 0 {
                parts.push(format!("{prefix}offset:{first}"));
            }
            parts.push(format!("{prefix}buckets:[{}]", join(&counts)));
        }
        format!("{{{{{}}}}}", parts.join(" "))
    }
}

/// The most buckets that gaps are filled up to: indexes come from outside.
const DENSE_MAX: usize = 100_000;

/// The first populated index and all counts from there to the last, gaps filled with zero.
fn dense(buckets: &Buckets) -> Option<(i32, Vec<f64>)> {
    let mut first = None;
    let mut counts = Vec::new();
    for (index, count) in buckets.iter().filter(|bucket| bucket.1 != 0.0) {
        let first = *first.get_or_insert(index);
        let at = usize::try_from(i64::from(index) - i64::from(first)).unwrap_or(0);
        if at >= DENSE_MAX {
            break;
        }
        counts.resize(at.max(counts.len()), 0.0);
        counts.push(count);
    }
    first.map(|first| (first, counts))
}

fn join(values: &[f64]) -> String {
    values.iter().map(|value| format_float(*value)).collect::<Vec<_>>().join(" ")
}

/// A float as C and Go print it with `%g`, as short as it can be without losing anything.
#[must_use]
pub fn format_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0".to_owned() } else { "0".to_owned() };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}
