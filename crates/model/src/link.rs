//! A link: a reference from one signal into another, and its state.

use serde::{Deserialize, Serialize};

/// Whether a reference holds and, if it does not, why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum LinkState {
    /// What is referred to is stored.
    Resolved,
    /// It is not here yet, and is young enough that it may still come.
    Pending,
    /// The head sampler of the sender decided against it: the sampled flag is off.
    Unsampled,
    /// A retention policy dropped it.
    Dropped {
        /// The policy's name.
        policy: String,
        /// When, in nanoseconds since the epoch.
        at: i64,
    },
    /// It has passed its retention.
    Expired {
        /// When, in nanoseconds since the epoch.
        at: i64,
    },
    /// It was never received.
    NeverReceived,
    /// The reference itself cannot be read.
    Malformed {
        /// The text as it was sent.
        form: String,
    },
}

impl LinkState {
    /// The state's name, as it stands in metrics and answers.
    pub fn name(&self) -> &'static str {
        match self {
            LinkState::Resolved => "resolved",
            LinkState::Pending => "pending",
            LinkState::Unsampled => "unsampled",
            LinkState::Dropped { .. } => "dropped",
            LinkState::Expired { .. } => "expired",
            LinkState::NeverReceived => "never_received",
            LinkState::Malformed { .. } => "malformed",
        }
    }
}

/// Where in a log record its trace context was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum TraceSource {
    /// The record carries no trace context.
    #[default]
    None = 0,
    /// OTLP's own fields.
    Field = 1,
    /// An attribute such as `trace_id` or `dd.trace_id`.
    Attribute = 2,
    /// A field of a structured (map or JSON) body.
    Body = 3,
    /// Free text, such as `trace_id=…`.
    Text = 4,
}

/// The bit of a stored [`TraceSource`] that says that the sender's sampler decided against the trace: W3C's sampled flag is
/// off, or the record has one of the fields that say the same. Where nothing says so the bit is off.
pub const UNSAMPLED: u8 = 16;

impl TraceSource {
    /// The source that a stored code stands for.
    pub fn from_code(code: u8) -> TraceSource {
        match code & !UNSAMPLED {
            1 => TraceSource::Field,
            2 => TraceSource::Attribute,
            3 => TraceSource::Body,
            4 => TraceSource::Text,
            _ => TraceSource::None,
        }
    }
}
