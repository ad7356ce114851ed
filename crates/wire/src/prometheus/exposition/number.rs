//! Numbers as exposition formats write them: read as Go reads them, written as Go's `%g` with the fewest digits.

use std::fmt::Write as _;

/// Not a number, as Prometheus stores it: no bits that could be taken for a stale marker.
const NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// The number that a text is.
pub fn parse(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    if value.is_nan() {
        // Go knows no sign before NaN.
        return (!text.starts_with(['+', '-'])).then(|| f64::from_bits(NAN_BITS));
    }
    // Go refuses what is too large; here that becomes infinite without being called so.
    let named = || text.bytes().any(|b| matches!(b, b'i' | b'I'));
    (value.is_finite() || named()).then_some(value)
}

/// Appends a number with the fewest digits that read back the same: `0.25`, `1e+06`, `NaN`, `+Inf`.
pub fn format_float(out: &mut String, value: f64) {
    if value.is_nan() {
        return out.push_str("NaN");
    }
    if value.is_infinite() {
        return out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e6).contains(&magnitude) {
        let start = out.len();
        // Writing to a string cannot fail.
        _ = write!(out, "{value:e}");
        let at = out.get(start..).and_then(|text| text.find('e')).map_or(out.len(), |at| start + at);
        let exponent: i32 = out.get(at + 1..).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        out.truncate(at);
        _ = write!(out, "e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    } else {
        _ = write!(out, "{value}");
    }
}

/// Appends a number as OpenMetrics wants it in `le` and `quantile`: always with a point or an exponent.
pub fn format_open_metrics_float(out: &mut String, value: f64) {
    let start = out.len();
    format_float(out, value);
    if value.is_finite() && !out.get(start..).unwrap_or_default().contains(['.', 'e']) {
        out.push_str(".0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        let text = |value| {
            let mut out = String::new();
            format_float(&mut out, value);
            out
        };
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.25, "0.25"),
            (100_000.0, "100000"),
            (999_999.5, "999999.5"),
            (1e6, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (0.0001, "0.0001"),
            (0.000_012, "1.2e-05"),
            (-1e100, "-1e+100"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(value), expected);
            assert_eq!(parse(expected).map(f64::to_bits), Some(value.to_bits()));
        }
        let mut out = String::new();
        format_open_metrics_float(&mut out, 5.0);
        assert_eq!(out, "5.0");
    }

    #[test]
    fn only_numbers_are_numbers() {
        assert_eq!(parse("NaN").map(f64::to_bits), Some(NAN_BITS));
        assert_eq!(parse("+inf"), Some(f64::INFINITY));
        for text in ["", "1_000", "0x1p3", "1e999", "+nan", "1,5", " 1", "--1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
