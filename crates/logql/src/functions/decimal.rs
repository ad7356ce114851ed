//! Arithmetic on floats as people write them down: 0.1 and 0.2 make 0.3. Sprig's functions over floats compute so.

/// Digits behind the point that a division has.
const DIVISION_DIGITS: i32 = 16;

/// A number in digits: its value is `digits` times ten to the power of `exponent`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decimal {
    digits: i128,
    exponent: i32,
}

impl Decimal {
    /// The shortest digits that are read as this float; nothing of what is no number.
    pub(super) fn new(value: f64) -> Result<Decimal, String> {
        if !value.is_finite() {
            let text = if value.is_nan() {
                "NaN"
            } else if value > 0.0 {
                "+Inf"
            } else {
                "-Inf"
            };
            return Err(format!("Cannot create a Decimal from {text}"));
        }
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}").parse().unwrap_or_default();
        let exponent = exponent.parse::<i32>().unwrap_or_default() - fraction.len() as i32;
        Ok(Decimal { digits, exponent })
    }

    /// The float that is nearest.
    pub(super) fn value(self) -> f64 {
        format!("{}e{}", self.digits, self.exponent).parse().unwrap_or(f64::NAN)
    }

    /// Both with the smaller exponent; nothing where that takes too many digits.
    fn aligned(self, other: Decimal) -> Option<(i128, i128, i32)> {
        let exponent = self.exponent.min(other.exponent);
        Some((self.digits_at(exponent)?, other.digits_at(exponent)?, exponent))
    }

    fn digits_at(self, exponent: i32) -> Option<i128> {
        if self.digits == 0 {
            return Some(0);
        }
        let power = 10i128.checked_pow(u32::try_from(self.exponent.checked_sub(exponent)?).ok()?)?;
        self.digits.checked_mul(power)
    }

    pub(super) fn plus(self, other: Decimal) -> Option<Decimal> {
        let (a, b, exponent) = self.aligned(other)?;
        Some(Decimal { digits: a.checked_add(b)?, exponent })
    }

    pub(super) fn minus(self, other: Decimal) -> Option<Decimal> {
        let (a, b, exponent) = self.aligned(other)?;
        Some(Decimal { digits: a.checked_sub(b)?, exponent })
    }

    pub(super) fn times(self, other: Decimal) -> Option<Decimal> {
        let digits = self.digits.checked_mul(other.digits)?;
        Some(Decimal { digits, exponent: self.exponent.checked_add(other.exponent)? })
    }

    /// Rounded to [`DIVISION_DIGITS`], halves away from zero. Nothing of zero.
    pub(super) fn over(self, other: Decimal) -> Option<Decimal> {
        if other.digits == 0 {
            return None;
        }
        // digits / 10^16 = a * 10^x / b
        let shift = self.exponent.checked_sub(other.exponent)?.checked_add(DIVISION_DIGITS)?;
        let power = 10i128.checked_pow(shift.unsigned_abs())?;
        let (numerator, denominator) = match shift >= 0 {
            true => (self.digits.checked_mul(power)?, other.digits),
            false => (self.digits, other.digits.checked_mul(power)?),
        };
        let (quotient, rest) = (numerator / denominator, numerator % denominator);
        let is_half = rest.unsigned_abs().checked_mul(2)? >= denominator.unsigned_abs();
        let away = if (numerator < 0) == (denominator < 0) { 1 } else { -1 };
        Some(Decimal { digits: quotient + if is_half { away } else { 0 }, exponent: -DIVISION_DIGITS })
    }

    pub(super) fn is_zero(self) -> bool {
        self.digits == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_computed_with_as_written() {
        let of = |value: f64| Decimal::new(value).expect("finite");
        let result = |value: Option<Decimal>| value.map(Decimal::value);
        assert_eq!(result(of(0.1).plus(of(0.2))), Some(0.3));
        assert_eq!(result(of(0.3).minus(of(0.1))), Some(0.2));
        assert_eq!(result(of(1.1).times(of(1.1))), Some(1.21));
        assert_eq!(result(of(2.0).over(of(3.0))), Some(0.666_666_666_666_666_7));
        assert_eq!(result(of(-1e12).over(of(1e-3))), Some(-1e15));
        assert_eq!(result(of(-1e20).over(of(1e-3))), None);
        assert_eq!(result(of(1.0).over(of(1e17))), Some(0.0));
        assert_eq!(result(of(1e300).plus(of(1.0))), None);
        assert_eq!((of(0.0).value(), of(123.25).value(), of(5e-324).value()), (0.0, 123.25, 5e-324));
        assert!(Decimal::new(f64::NAN).is_err() && of(1.0).over(of(0.0)).is_none());
    }
}
