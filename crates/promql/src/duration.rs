//! What durations come to, once the step and the range of the query are known.

use crate::ast::{BinaryOp, Duration, DurationExpr, DurationKind, Position, Span};

/// Longest duration in seconds: what fits into nanoseconds of 64 bits, as in Prometheus (292 years).
const SECONDS_MAX: f64 = i64::MAX as f64 / 1e9;
/// A literal of whole milliseconds comes this close to them when it is computed from seconds.
const ROUNDING: f64 = 1e-6;

/// Why a duration comes to nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DurationError {
    /// Ranges and steps are positive.
    #[error("{position}: duration must be greater than 0")]
    NotPositive {
        /// Where the duration stands.
        position: Position,
    },
    /// Also where the arithmetic leads to no number.
    #[error("{position}: duration is out of range")]
    OutOfRange {
        /// Where the duration stands.
        position: Position,
    },
    /// `5m / 0`
    #[error("{position}: division by zero")]
    DivisionByZero {
        /// Where the quotient stands.
        position: Position,
    },
    /// `5m % 0`
    #[error("{position}: modulo by zero")]
    ModuloByZero {
        /// Where the remainder stands.
        position: Position,
    },
}

/// The query around a duration.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Its text, for positions in errors.
    pub query: &'a str,
    /// Its step; zero in an instant query.
    pub step_ms: i64,
    /// Its end less its start.
    pub range_ms: i64,
}

impl Surroundings<'_> {
    /// A range or a step in milliseconds.
    pub fn positive_ms(&self, duration: &Duration) -> Result<i64, DurationError> {
        self.ms(duration, false)
    }

    /// An offset in milliseconds.
    pub fn offset_ms(&self, duration: &Duration) -> Result<i64, DurationError> {
        self.ms(duration, true)
    }

    fn ms(&self, duration: &Duration, negative_allowed: bool) -> Result<i64, DurationError> {
        let expr = match duration {
            Duration::Fixed { ms } => return Ok(*ms),
            Duration::Computed(expr) => expr,
        };
        let seconds = self.seconds(expr)?;
        let position = self.position(expr.span);
        if seconds <= 0.0 && !negative_allowed {
            return Err(DurationError::NotPositive { position });
        }
        if !in_range(seconds, negative_allowed) {
            return Err(DurationError::OutOfRange { position });
        }
        Ok(to_ms(seconds))
    }

    fn seconds(&self, expr: &DurationExpr) -> Result<f64, DurationError> {
        Ok(match &expr.kind {
            DurationKind::Number(literal) => literal.value,
            DurationKind::Step => self.step_ms as f64 / 1_000.0,
            DurationKind::Range => self.range_ms as f64 / 1_000.0,
            DurationKind::Unary { negative: true, inner } => -self.seconds(inner)?,
            DurationKind::Unary { negative: false, inner } | DurationKind::Paren(inner) => {
                self.seconds(inner)?
            }
            DurationKind::MinOf(a, b) => self.seconds(a)?.min(self.seconds(b)?),
            DurationKind::MaxOf(a, b) => self.seconds(a)?.max(self.seconds(b)?),
            DurationKind::Binary { op, lhs, rhs } => {
                let (lhs, rhs) = (self.seconds(lhs)?, self.seconds(rhs)?);
                let position = self.position(expr.span);
                match op {
                    BinaryOp::Add => lhs + rhs,
                    BinaryOp::Sub => lhs - rhs,
                    BinaryOp::Mul => lhs * rhs,
                    BinaryOp::Div if rhs == 0.0 => return Err(DurationError::DivisionByZero { position }),
                    BinaryOp::Div => lhs / rhs,
                    BinaryOp::Mod if rhs == 0.0 => return Err(DurationError::ModuloByZero { position }),
                    BinaryOp::Mod => lhs % rhs,
                    // The parser builds no other.
                    _ => lhs.powf(rhs),
                }
            }
        })
    }

    fn position(&self, span: Span) -> Position {
        span.position(self.query)
    }
}

/// Whether a duration of `seconds` can be used.
pub(crate) fn in_range(seconds: f64, negative_allowed: bool) -> bool {
    seconds.abs() <= SECONDS_MAX && (negative_allowed || seconds > 0.0)
}

/// Whole milliseconds, cut off towards zero.
pub(crate) fn to_ms(seconds: f64) -> i64 {
    let ms = seconds * 1_000.0;
    let nearest = ms.round();
    if (ms - nearest).abs() < ROUNDING { nearest as i64 } else { ms as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::Expr;

    fn range_of(query: &str) -> Result<i64, DurationError> {
        let Ok(Expr::Matrix(matrix)) = crate::parse(query) else { panic!("no matrix: {query}") };
        Surroundings { query, step_ms: 15_000, range_ms: 3_600_000 }.positive_ms(&matrix.range)
    }

    #[test]
    fn arithmetic_comes_to_milliseconds() {
        for (query, ms) in [
            ("x[1m+30s]", 90_000),
            ("x[2^(-1)^2]", 2_000),
            ("x[2^3^0]", 2_000),
            ("x[-5m+35m]", 1_800_000),
            ("x[-2^2+5]", 1_000),
            ("x[step()*2]", 30_000),
            ("x[min_of(range(), 5m)]", 300_000),
            ("x[max_of(step(), 5m)/2]", 150_000),
            ("x[90m % 1h]", 1_800_000),
            ("x[1.001]", 1_001),
        ] {
            assert_eq!(range_of(query), Ok(ms), "{query}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        let position = Position { line: 1, column: 3 };
        assert_eq!(range_of("x[5m-10m]"), Err(DurationError::NotPositive { position }));
        assert_eq!(range_of("x[5m/(1-1)]"), Err(DurationError::DivisionByZero { position }));
        assert_eq!(range_of("x[5m%(1-1)]"), Err(DurationError::ModuloByZero { position }));
        assert_eq!(range_of("x[10^300]"), Err(DurationError::OutOfRange { position }));
    }
}
