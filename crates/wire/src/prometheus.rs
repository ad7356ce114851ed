//! Prometheus' formats: the only place that knows them. Series are stored verbatim: their names and labels are what
//! the sender wrote.
//!
//! A batch's series are of the kinds [`PointKind::Sample`](throughline_model::point::PointKind) and `NativeHistogram`:
//! `metric` is the label `__name__`, the attributes are all other labels, sorted; there is no resource and no scope.

pub mod exposition;
pub(crate) mod labels;
pub mod read;
pub(crate) mod refusal;
pub(crate) mod sink;
pub mod write;
