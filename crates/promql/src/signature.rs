//! The functions of PromQL: their names and the types of their arguments, in one table.

use crate::ast::ValueType;
use ValueType::{Matrix, Scalar, Text, Vector};

/// What the type checker and the documentation need to know of a function.
#[derive(Debug, PartialEq, Eq)]
pub struct Signature {
    /// Which function.
    pub function: Function,
    /// As it is written.
    pub name: &'static str,
    /// The types of the arguments; the last repeats where there may be more.
    pub args: &'static [ValueType],
    /// How many arguments there may be.
    pub arity: Arity,
    /// The type of the result.
    pub returns: ValueType,
    /// Whether Prometheus calls it experimental.
    pub experimental: bool,
}

/// How many arguments a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// One for each type.
    Exact,
    /// The last type may be left out, or stand at most this many times.
    Optional(usize),
    /// The last type may be left out, or stand any number of times.
    Any,
}

/// A function of PromQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// `abs`
    Abs,
    /// `absent`
    Absent,
    /// `absent_over_time`
    AbsentOverTime,
    /// `acos`
    Acos,
    /// `acosh`
    Acosh,
    /// `asin`
    Asin,
    /// `asinh`
    Asinh,
    /// `atan`
    Atan,
    /// `atanh`
    Atanh,
    /// `avg_over_time`
    AvgOverTime,
    /// `ceil`
    Ceil,
    /// `changes`
    Changes,
    /// `clamp`
    Clamp,
    /// `clamp_max`
    ClampMax,
    /// `clamp_min`
    ClampMin,
    /// `cos`
    Cos,
    /// `cosh`
    Cosh,
    /// `count_over_time`
    CountOverTime,
    /// `day_of_month`
    DayOfMonth,
    /// `day_of_week`
    DayOfWeek,
    /// `day_of_year`
    DayOfYear,
    /// `days_in_month`
    DaysInMonth,
    /// `deg`
    Deg,
    /// `delta`
    Delta,
    /// `deriv`
    Deriv,
    /// `double_exponential_smoothing`
    DoubleExponentialSmoothing,
    /// `end`
    End,
    /// `exp`
    Exp,
    /// `first_over_time`
    FirstOverTime,
    /// `floor`
    Floor,
    /// `histogram_avg`
    HistogramAvg,
    /// `histogram_count`
    HistogramCount,
    /// `histogram_fraction`
    HistogramFraction,
    /// `histogram_quantile`
    HistogramQuantile,
    /// `histogram_quantiles`
    HistogramQuantiles,
    /// `histogram_stddev`
    HistogramStddev,
    /// `histogram_stdvar`
    HistogramStdvar,
    /// `histogram_sum`
    HistogramSum,
    /// `hour`
    Hour,
    /// `idelta`
    Idelta,
    /// `increase`
    Increase,
    /// `info`
    Info,
    /// `irate`
    Irate,
    /// `label_join`
    LabelJoin,
    /// `label_replace`
    LabelReplace,
    /// `last_over_time`
    LastOverTime,
    /// `ln`
    Ln,
    /// `log10`
    Log10,
    /// `log2`
    Log2,
    /// `mad_over_time`
    MadOverTime,
    /// `max_of`
    MaxOf,
    /// `max_over_time`
    MaxOverTime,
    /// `min_of`
    MinOf,
    /// `min_over_time`
    MinOverTime,
    /// `minute`
    Minute,
    /// `month`
    Month,
    /// `pi`
    Pi,
    /// `predict_linear`
    PredictLinear,
    /// `present_over_time`
    PresentOverTime,
    /// `quantile_over_time`
    QuantileOverTime,
    /// `rad`
    Rad,
    /// `range`
    Range,
    /// `rate`
    Rate,
    /// `resets`
    Resets,
    /// `round`
    Round,
    /// `scalar`
    Scalar,
    /// `sgn`
    Sgn,
    /// `sin`
    Sin,
    /// `sinh`
    Sinh,
    /// `sort`
    Sort,
    /// `sort_by_label`
    SortByLabel,
    /// `sort_by_label_desc`
    SortByLabelDesc,
    /// `sort_desc`
    SortDesc,
    /// `sqrt`
    Sqrt,
    /// `start`
    Start,
    /// `start_timestamp`
    StartTimestamp,
    /// `stddev_over_time`
    StddevOverTime,
    /// `stdvar_over_time`
    StdvarOverTime,
    /// `step`
    Step,
    /// `sum_over_time`
    SumOverTime,
    /// `tan`
    Tan,
    /// `tanh`
    Tanh,
    /// `time`
    Time,
    /// `timestamp`
    Timestamp,
    /// `ts_of_first_over_time`
    TsOfFirstOverTime,
    /// `ts_of_last_over_time`
    TsOfLastOverTime,
    /// `ts_of_max_over_time`
    TsOfMaxOverTime,
    /// `ts_of_min_over_time`
    TsOfMinOverTime,
    /// `vector`
    Vector,
    /// `year`
    Year,
}

impl Function {
    /// The function called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Function> {
        let at = SIGNATURES.binary_search_by(|signature| signature.name.cmp(name)).ok()?;
        SIGNATURES.get(at).map(|signature| signature.function)
    }

    /// Name and types.
    #[must_use]
    pub fn signature(self) -> &'static Signature {
        // The table is in the order of the variants; a test holds that.
        &SIGNATURES[self as usize]
    }

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.signature().name
    }
}

const fn of(
    function: Function,
    name: &'static str,
    args: &'static [ValueType],
    arity: Arity,
    returns: ValueType,
) -> Signature {
    Signature { function, name, args, arity, returns, experimental: false }
}

const fn experimental(signature: Signature) -> Signature {
    Signature { experimental: true, ..signature }
}

/// All functions, in the order of their names.
pub const SIGNATURES: &[Signature] = &[
    of(Function::Abs, "abs", &[Vector], Arity::Exact, Vector),
    of(Function::Absent, "absent", &[Vector], Arity::Exact, Vector),
    of(Function::AbsentOverTime, "absent_over_time", &[Matrix], Arity::Exact, Vector),
    of(Function::Acos, "acos", &[Vector], Arity::Exact, Vector),
    of(Function::Acosh, "acosh", &[Vector], Arity::Exact, Vector),
    of(Function::Asin, "asin", &[Vector], Arity::Exact, Vector),
    of(Function::Asinh, "asinh", &[Vector], Arity::Exact, Vector),
    of(Function::Atan, "atan", &[Vector], Arity::Exact, Vector),
    of(Function::Atanh, "atanh", &[Vector], Arity::Exact, Vector),
    of(Function::AvgOverTime, "avg_over_time", &[Matrix], Arity::Exact, Vector),
    of(Function::Ceil, "ceil", &[Vector], Arity::Exact, Vector),
    of(Function::Changes, "changes", &[Matrix], Arity::Exact, Vector),
    of(Function::Clamp, "clamp", &[Vector, Scalar, Scalar], Arity::Exact, Vector),
    of(Function::ClampMax, "clamp_max", &[Vector, Scalar], Arity::Exact, Vector),
    of(Function::ClampMin, "clamp_min", &[Vector, Scalar], Arity::Exact, Vector),
    of(Function::Cos, "cos", &[Vector], Arity::Exact, Vector),
    of(Function::Cosh, "cosh", &[Vector], Arity::Exact, Vector),
    of(Function::CountOverTime, "count_over_time", &[Matrix], Arity::Exact, Vector),
    of(Function::DayOfMonth, "day_of_month", &[Vector], Arity::Optional(1), Vector),
    of(Function::DayOfWeek, "day_of_week", &[Vector], Arity::Optional(1), Vector),
    of(Function::DayOfYear, "day_of_year", &[Vector], Arity::Optional(1), Vector),
    of(Function::DaysInMonth, "days_in_month", &[Vector], Arity::Optional(1), Vector),
    of(Function::Deg, "deg", &[Vector], Arity::Exact, Vector),
    of(Function::Delta, "delta", &[Matrix], Arity::Exact, Vector),
    of(Function::Deriv, "deriv", &[Matrix], Arity::Exact, Vector),
    experimental(of(
        Function::DoubleExponentialSmoothing,
        "double_exponential_smoothing",
        &[Matrix, Scalar, Scalar],
        Arity::Exact,
        Vector,
    )),
    experimental(of(Function::End, "end", &[], Arity::Exact, Scalar)),
    of(Function::Exp, "exp", &[Vector], Arity::Exact, Vector),
    experimental(of(Function::FirstOverTime, "first_over_time", &[Matrix], Arity::Exact, Vector)),
    of(Function::Floor, "floor", &[Vector], Arity::Exact, Vector),
    of(Function::HistogramAvg, "histogram_avg", &[Vector], Arity::Exact, Vector),
    of(Function::HistogramCount, "histogram_count", &[Vector], Arity::Exact, Vector),
    of(Function::HistogramFraction, "histogram_fraction", &[Scalar, Scalar, Vector], Arity::Exact, Vector),
    of(Function::HistogramQuantile, "histogram_quantile", &[Scalar, Vector], Arity::Exact, Vector),
    experimental(of(
        Function::HistogramQuantiles,
        "histogram_quantiles",
        &[Vector, Text, Scalar, Scalar],
        Arity::Optional(9),
        Vector,
    )),
    of(Function::HistogramStddev, "histogram_stddev", &[Vector], Arity::Exact, Vector),
    of(Function::HistogramStdvar, "histogram_stdvar", &[Vector], Arity::Exact, Vector),
    of(Function::HistogramSum, "histogram_sum", &[Vector], Arity::Exact, Vector),
    of(Function::Hour, "hour", &[Vector], Arity::Optional(1), Vector),
    of(Function::Idelta, "idelta", &[Matrix], Arity::Exact, Vector),
    of(Function::Increase, "increase", &[Matrix], Arity::Exact, Vector),
    experimental(of(Function::Info, "info", &[Vector, Vector], Arity::Optional(1), Vector)),
    of(Function::Irate, "irate", &[Matrix], Arity::Exact, Vector),
    of(Function::LabelJoin, "label_join", &[Vector, Text, Text, Text], Arity::Any, Vector),
    of(Function::LabelReplace, "label_replace", &[Vector, Text, Text, Text, Text], Arity::Exact, Vector),
    of(Function::LastOverTime, "last_over_time", &[Matrix], Arity::Exact, Vector),
    of(Function::Ln, "ln", &[Vector], Arity::Exact, Vector),
    of(Function::Log10, "log10", &[Vector], Arity::Exact, Vector),
    of(Function::Log2, "log2", &[Vector], Arity::Exact, Vector),
    experimental(of(Function::MadOverTime, "mad_over_time", &[Matrix], Arity::Exact, Vector)),
    experimental(of(Function::MaxOf, "max_of", &[Scalar, Scalar], Arity::Exact, Scalar)),
    of(Function::MaxOverTime, "max_over_time", &[Matrix], Arity::Exact, Vector),
    experimental(of(Function::MinOf, "min_of", &[Scalar, Scalar], Arity::Exact, Scalar)),
    of(Function::MinOverTime, "min_over_time", &[Matrix], Arity::Exact, Vector),
    of(Function::Minute, "minute", &[Vector], Arity::Optional(1), Vector),
    of(Function::Month, "month", &[Vector], Arity::Optional(1), Vector),
    of(Function::Pi, "pi", &[], Arity::Exact, Scalar),
    of(Function::PredictLinear, "predict_linear", &[Matrix, Scalar], Arity::Exact, Vector),
    of(Function::PresentOverTime, "present_over_time", &[Matrix], Arity::Exact, Vector),
    of(Function::QuantileOverTime, "quantile_over_time", &[Scalar, Matrix], Arity::Exact, Vector),
    of(Function::Rad, "rad", &[Vector], Arity::Exact, Vector),
    experimental(of(Function::Range, "range", &[], Arity::Exact, Scalar)),
    of(Function::Rate, "rate", &[Matrix], Arity::Exact, Vector),
    of(Function::Resets, "resets", &[Matrix], Arity::Exact, Vector),
    of(Function::Round, "round", &[Vector, Scalar], Arity::Optional(1), Vector),
    of(Function::Scalar, "scalar", &[Vector], Arity::Exact, Scalar),
    of(Function::Sgn, "sgn", &[Vector], Arity::Exact, Vector),
    of(Function::Sin, "sin", &[Vector], Arity::Exact, Vector),
    of(Function::Sinh, "sinh", &[Vector], Arity::Exact, Vector),
    of(Function::Sort, "sort", &[Vector], Arity::Exact, Vector),
    experimental(of(Function::SortByLabel, "sort_by_label", &[Vector, Text], Arity::Any, Vector)),
    experimental(of(Function::SortByLabelDesc, "sort_by_label_desc", &[Vector, Text], Arity::Any, Vector)),
    of(Function::SortDesc, "sort_desc", &[Vector], Arity::Exact, Vector),
    of(Function::Sqrt, "sqrt", &[Vector], Arity::Exact, Vector),
    experimental(of(Function::Start, "start", &[], Arity::Exact, Scalar)),
    experimental(of(Function::StartTimestamp, "start_timestamp", &[Vector], Arity::Exact, Vector)),
    of(Function::StddevOverTime, "stddev_over_time", &[Matrix], Arity::Exact, Vector),
    of(Function::StdvarOverTime, "stdvar_over_time", &[Matrix], Arity::Exact, Vector),
    experimental(of(Function::Step, "step", &[], Arity::Exact, Scalar)),
    of(Function::SumOverTime, "sum_over_time", &[Matrix], Arity::Exact, Vector),
    of(Function::Tan, "tan", &[Vector], Arity::Exact, Vector),
    of(Function::Tanh, "tanh", &[Vector], Arity::Exact, Vector),
    of(Function::Time, "time", &[], Arity::Exact, Scalar),
    of(Function::Timestamp, "timestamp", &[Vector], Arity::Exact, Vector),
    experimental(of(Function::TsOfFirstOverTime, "ts_of_first_over_time", &[Matrix], Arity::Exact, Vector)),
    experimental(of(Function::TsOfLastOverTime, "ts_of_last_over_time", &[Matrix], Arity::Exact, Vector)),
    experimental(of(Function::TsOfMaxOverTime, "ts_of_max_over_time", &[Matrix], Arity::Exact, Vector)),
    experimental(of(Function::TsOfMinOverTime, "ts_of_min_over_time", &[Matrix], Arity::Exact, Vector)),
    of(Function::Vector, "vector", &[Scalar], Arity::Exact, Vector),
    of(Function::Year, "year", &[Vector], Arity::Optional(1), Vector),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_in_the_order_of_names_and_variants() {
        assert!(SIGNATURES.is_sorted_by_key(|signature| signature.name));
        for (at, signature) in SIGNATURES.iter().enumerate() {
            assert_eq!(signature.function as usize, at, "{}", signature.name);
            assert_eq!(Function::named(signature.name), Some(signature.function));
        }
        assert_eq!(Function::named("rates"), None);
    }
}
