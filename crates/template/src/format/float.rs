//! Floats as Go's `strconv` writes them.

/// A float in the form `e`, `f` or `g`; without a precision as many digits as tell it from its neighbours.
#[must_use]
pub fn float(number: f64, form: char, precision: Option<usize>) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    match (form, precision) {
        ('e', Some(digits)) => exponent_of(&format!("{number:.digits$e}")),
        ('e', None) => exponent_of(&format!("{number:e}")),
        ('f', Some(digits)) => format!("{number:.digits$}"),
        ('f', None) => format!("{number}"),
        _ => general(number, precision),
    }
}

/// The least exponent from which on a shortest form shows it.
const SHORTEST_EXPONENT: i32 = 6;

fn general(number: f64, precision: Option<usize>) -> String {
    let scientific = match precision {
        None => format!("{number:e}"),
        Some(digits) => format!("{number:.*e}", digits.max(1) - 1),
    };
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mantissa =
        if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    let digits = i32::try_from(mantissa.bytes().filter(u8::is_ascii_digit).count()).unwrap_or(i32::MAX);
    let point = exponent + 1;
    let limit = match precision {
        None => SHORTEST_EXPONENT,
        Some(precision) => {
            let precision = i32::try_from(precision.max(1)).unwrap_or(i32::MAX);
            if precision > digits && digits >= point { digits } else { precision }
        }
    };
    if exponent < -4 || exponent >= limit {
        return exponent_of(&format!("{mantissa}e{exponent}"));
    }
    let decimals = usize::try_from((digits - point).max(0)).unwrap_or(0);
    format!("{number:.decimals$}")
}

/// `1e5` as `1e+05`.
fn exponent_of(scientific: &str) -> String {
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific.to_owned() };
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}
