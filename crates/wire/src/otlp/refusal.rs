//! Why one item is refused, as a small value, and the tally of a request's refusals.

use std::fmt;

use throughline_model::attribute::MAX_DEPTH;
use throughline_model::protobuf::Malformed;

use crate::DecodeLimits;
use crate::rejection::{self, RejectReason, Rejection};

/// Why an item is refused. Fields are named as in opentelemetry-proto.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Refusal {
    IdLength {
        field: &'static str,
        bytes: usize,
        expected: usize,
    },
    IdZero {
        field: &'static str,
    },
    NotUtf8 {
        field: &'static str,
    },
    TooDeep {
        field: &'static str,
    },
    AttributeBytes {
        field: &'static str,
        bytes: usize,
        limit: usize,
    },
    AttributeCount {
        field: &'static str,
        limit: usize,
    },
    NoTime {
        field: &'static str,
    },
    TooNew {
        field: &'static str,
        time: u64,
        received_at: i64,
        limit_ns: i64,
    },
    TooOld {
        field: &'static str,
        time: u64,
        received_at: i64,
        limit_ns: i64,
    },
    ItemCount {
        limit: usize,
    },
    Temporality {
        value: u64,
    },
    Buckets {
        counts: usize,
        bounds: usize,
    },
    NoValue,
    NoData,
    /// An id of another format, which is text there.
    IdText {
        field: &'static str,
    },
}

impl Refusal {
    /// The same of a field that another format calls by another name.
    fn named(self, names: FieldNames) -> Refusal {
        let other = |field| names.iter().find(|(own, _)| *own == field).map_or(field, |(_, other)| *other);
        match self {
            Refusal::IdLength { field, bytes, expected } => {
                Refusal::IdLength { field: other(field), bytes, expected }
            }
            Refusal::IdZero { field } => Refusal::IdZero { field: other(field) },
            Refusal::IdText { field } => Refusal::IdText { field: other(field) },
            Refusal::NotUtf8 { field } => Refusal::NotUtf8 { field: other(field) },
            Refusal::TooDeep { field } => Refusal::TooDeep { field: other(field) },
            Refusal::AttributeBytes { field, bytes, limit } => {
                Refusal::AttributeBytes { field: other(field), bytes, limit }
            }
            Refusal::AttributeCount { field, limit } => {
                Refusal::AttributeCount { field: other(field), limit }
            }
            Refusal::NoTime { field } => Refusal::NoTime { field: other(field) },
            Refusal::TooNew { field, time, received_at, limit_ns } => {
                Refusal::TooNew { field: other(field), time, received_at, limit_ns }
            }
            Refusal::TooOld { field, time, received_at, limit_ns } => {
                Refusal::TooOld { field: other(field), time, received_at, limit_ns }
            }
            unnamed => unnamed,
        }
    }

    fn reason(&self) -> RejectReason {
        match self {
            Refusal::IdLength { .. } | Refusal::IdZero { .. } | Refusal::IdText { .. } => {
                RejectReason::InvalidId
            }
            Refusal::NotUtf8 { .. } => RejectReason::InvalidUtf8,
            Refusal::TooDeep { .. } => RejectReason::TooDeep,
            Refusal::AttributeBytes { .. } | Refusal::AttributeCount { .. } => RejectReason::TooLarge,
            Refusal::TooNew { .. } => RejectReason::TooNew,
            Refusal::TooOld { .. } | Refusal::NoTime { .. } => RejectReason::TooOld,
            Refusal::ItemCount { .. } => RejectReason::TooManyItems,
            Refusal::Temporality { .. } | Refusal::Buckets { .. } | Refusal::NoValue | Refusal::NoData => {
                RejectReason::InvalidMetric
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Refusal::IdLength { field, bytes, expected } => {
                write!(f, "{field} has {bytes} bytes, it must have {expected}")
            }
            Refusal::IdZero { field } => write!(f, "{field} is all zeros"),
            Refusal::NotUtf8 { field } => write!(f, "{field} is not valid UTF-8"),
            Refusal::TooDeep { field } => {
                write!(f, "{field} nests values deeper than {MAX_DEPTH} levels; flatten the value")
            }
            Refusal::AttributeBytes { field, bytes, limit } => {
                write!(f, "{field} has {bytes} bytes, limit {limit} (throughline.limits.attribute_size)")
            }
            Refusal::AttributeCount { field, limit } => {
                write!(f, "more than {limit} {field} (throughline.limits.attributes_per_item)")
            }
            Refusal::NoTime { field } => {
                write!(f, "{field} is not set (0, or Go's zero time); it must be nanoseconds since the epoch")
            }
            Refusal::TooNew { field, time, received_at, limit_ns } => {
                let ahead = time.saturating_sub(received_at.max(0) as u64);
                write!(f, "{field} {time} is {} ahead of the time of receipt, limit ", Span(ahead))?;
                write!(
                    f,
                    "{}; correct the sender's clock or raise throughline.limits.future",
                    Span(limit_ns.max(0) as u64)
                )
            }
            Refusal::TooOld { field, time, received_at, limit_ns } => {
                let age = (received_at.max(0) as u64).saturating_sub(time);
                write!(f, "{field} {time} is {} before the time of receipt, limit ", Span(age))?;
                write!(
                    f,
                    "{} (throughline.retention.age); raise it to keep older data",
                    Span(limit_ns.max(0) as u64)
                )
            }
            Refusal::ItemCount { limit } => {
                write!(
                    f,
                    "the request has more than {limit} items (throughline.limits.items_per_request); send less at a time"
                )
            }
            Refusal::Temporality { value: 0 } => {
                f.write_str("aggregation_temporality is unspecified, it must be delta or cumulative")
            }
            Refusal::Temporality { value } => {
                write!(f, "aggregation_temporality is {value}, it must be 1 (delta) or 2 (cumulative)")
            }
            Refusal::Buckets { counts, bounds } => write!(
                f,
                "bucket_counts has {counts} entries for {bounds} explicit_bounds, it must have one more than \
                 bounds, or both none"
            ),
            Refusal::NoValue => f.write_str("the point has neither as_double nor as_int"),
            Refusal::NoData => f.write_str("the metric's data is of a kind that is not known here"),
            Refusal::IdText { field } => write!(f, "{field} is not hex of its length"),
        }
    }
}

/// A length of time as people write it, in its two largest units.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000_000_000;
        match seconds {
            0..=119 => write!(f, "{seconds} s"),
            120..=7_199 => write!(f, "{} min", seconds / 60),
            7_200..=172_799 => write!(f, "{} h", seconds / 3_600),
            _ => write!(f, "{} days", seconds / 86_400),
        }
    }
}

/// What ends the walk of one item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// The request's bytes are not protobuf: the whole request is refused.
    Malformed(Malformed),
    /// This item is refused, the others are not touched.
    Refused(Refusal),
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Fault {
        Fault::Malformed(malformed)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        Fault::Refused(refusal)
    }
}

/// Names of OTLP's fields and what another format calls them.
pub(crate) type FieldNames = &'static [(&'static str, &'static str)];

/// Where in a request the walk is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The names of the three levels, such as `resource_spans`, `scope_spans`, `spans`; empty for a level that is not
    /// there.
    pub names: [&'static str; 3],
    /// The positions within them.
    pub at: [usize; 3],
    /// The data point within a metric.
    pub point: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let levels = self.names.iter().zip(self.at).filter(|(name, _)| !name.is_empty());
        for (index, (name, at)) in levels.enumerate() {
            let dot = if index == 0 { "" } else { "." };
            write!(f, "{dot}{name}[{at}]")?;
        }
        match self.point {
            Some(point) => write!(f, ".data_points[{point}]"),
            None => Ok(()),
        }
    }
}

/// Counts a request's items and refusals, and knows where in the request it is.
pub(super) struct Tally {
    pub place: Place,
    of_request: rejection::Tally,
    /// What the request's format calls its fields, where that is not OTLP.
    pub fields: FieldNames,
}

impl Tally {
    pub fn new(names: [&'static str; 3], limits: &DecodeLimits) -> Tally {
        let place = Place { names, at: [0; 3], point: None };
        Tally { place, of_request: rejection::Tally::new(limits), fields: &[] }
    }

    /// Makes room for one more item, unless the request has too many.
    #[inline]
    pub fn admit(&mut self) -> Result<(), Refusal> {
        self.of_request.admit(|limit| Refusal::ItemCount { limit })
    }

    /// Counts `count` items of the current place as refused. A count of zero is a remark: the item is stored, but not
    /// all of it.
    #[cold]
    pub fn refuse(&mut self, refusal: Refusal, count: u64) {
        let (place, fields) = (self.place, self.fields);
        let message = || format!("{place}: {}", refusal.named(fields));
        self.of_request.refuse(refusal.reason(), count, message);
    }

    pub fn finish(self) -> Vec<Rejection> {
        self.of_request.finish()
    }
}
