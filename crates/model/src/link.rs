//! A link: a reference from one signal into another, and its state.

use serde::{Deserialize, Serialize};

/// What refers to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    /// A log record to its trace.
    LogTrace,
    /// A log record to its span.
    LogSpan,
    /// An exemplar to its trace.
    ExemplarTrace,
    /// An alert, by one of its labels, to a trace.
    AlertTrace,
    /// A span, by a span link, to another trace.
    SpanLinkTrace,
}

impl LinkKind {
    /// All kinds, in the order in which they are listed everywhere.
    pub const ALL: [LinkKind; 5] = [
        LinkKind::LogTrace,
        LinkKind::LogSpan,
        LinkKind::ExemplarTrace,
        LinkKind::AlertTrace,
        LinkKind::SpanLinkTrace,
    ];

    /// The kind's name, as it stands in metrics and answers.
    pub fn name(self) -> &'static str {
        match self {
            LinkKind::LogTrace => "log_trace",
            LinkKind::LogSpan => "log_span",
            LinkKind::ExemplarTrace => "exemplar_trace",
            LinkKind::AlertTrace => "alert_trace",
            LinkKind::SpanLinkTrace => "span_link_trace",
        }
    }

    /// The kind that a stored code stands for.
    pub fn from_code(code: u64) -> Option<LinkKind> {
        LinkKind::ALL.into_iter().find(|kind| *kind as u64 == code)
    }
}

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
    /// The names of all states, in the order in which they are listed everywhere.
    pub const NAMES: [&'static str; 7] =
        ["resolved", "pending", "unsampled", "dropped", "expired", "never_received", "malformed"];

    /// What tells apart references of this state: the policy that dropped the trace, or what is wrong with the form.
    pub fn cause(&self) -> Option<String> {
        match self {
            LinkState::Dropped { policy, .. } => Some(policy.clone()),
            LinkState::Malformed { form } => Some(form_fault(form)),
            _ => None,
        }
    }

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

/// What keeps a text from being a trace id, in a few words.
pub fn form_fault(form: &str) -> String {
    let digits = form.bytes().filter(u8::is_ascii_hexdigit).count();
    match form.len() {
        0 => "no trace id".to_owned(),
        _ if form.bytes().all(|byte| byte == b'0') => "all zeros".to_owned(),
        length if digits == length => format!("{length} hex digits"),
        length if length <= 64 => format!("{length} characters, not all hex digits"),
        _ => "longer than 64 characters".to_owned(),
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
