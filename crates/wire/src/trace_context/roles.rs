//! Which keys name trace context, and what of it.

/// What a key's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A trace id in any form.
    Trace,
    /// The upper half of a trace id of which the lower half stands alone: Datadog's `_dd.p.tid`.
    TraceHigh,
    /// A span id in any form.
    Span,
    /// ECS' `transaction.id`: the span, where no other is named.
    Transaction,
    /// A W3C `traceparent`.
    Traceparent,
    /// An `X-Amzn-Trace-Id` header.
    XRay,
    /// A `b3` header: trace, span and sampling state with dashes between them.
    B3,
    /// A `uber-trace-id` header: trace, span, parent and flags with colons between them.
    Jaeger,
    /// An `X-Cloud-Trace-Context` header: `trace/span;o=1`, the span in decimal.
    CloudTrace,
    /// W3C trace flags: `01`, `1`, or .NET's `Recorded`.
    Flags,
    /// Whether the trace is sampled: `true`, `1`, `False`.
    Sampled,
    /// Datadog's sampling priority: positive where the trace is kept.
    Priority,
}

/// Whether a key may name a trace: a cheap test that lets through few others.
#[inline]
pub(crate) fn may_be_role(key: &[u8]) -> bool {
    // Every known key ends in "trace" or "span" with an "id" after it, or in one of a few other words.
    let [.., a, b] = key else { return false };
    match [a | 0x20, b | 0x20] {
        [b'i', b'd'] => {
            let [name @ .., last] = key.get(..key.len() - 2).unwrap_or_default() else { return false };
            let name = if last.is_ascii_alphanumeric() {
                key.get(..key.len() - 2).unwrap_or_default()
            } else {
                name
            };
            ends_with(name, b"ace") || ends_with(name, b"pan")
        }
        [b'c', b'e'] => ends_with(key, b"trace"),
        [b'n', b't'] => ends_with(key, b"parent"),
        [b'x', b't'] => ends_with(key, b"trace-context"),
        [b'b', b'3'] => key.eq_ignore_ascii_case(b"b3"),
        [b't', b'r'] => key == b"@tr",
        _ => false,
    }
}

/// Whether a key may say something more of a trace that another key names.
fn may_add(key: &[u8]) -> bool {
    ends_with(key, b"sampled")
        || ends_with(key, b"flags")
        || ends_with(key, b"priority")
        || ends_with(key, b"priority_v1")
        || ends_with(key, b"p.tid")
        || key == b"@sp"
        || key == b"transaction.id"
}

fn ends_with(text: &[u8], lower: &[u8]) -> bool {
    text.len() >= lower.len()
        && text.get(text.len() - lower.len()..).is_some_and(|end| end.eq_ignore_ascii_case(lower))
}

/// The role of an attribute's or field's key.
pub(super) fn role_of(key: &[u8]) -> Option<Role> {
    if !may_be_role(key) && !may_add(key) {
        return None;
    }
    match key {
        b"@tr" => return Some(Role::Trace),
        b"@sp" => return Some(Role::Span),
        _ => {}
    }
    let mut plain = [0u8; 32];
    let mut length = 0;
    for byte in key.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
        *plain.get_mut(length)? = byte.to_ascii_lowercase();
        length += 1;
    }
    Some(match plain.get(..length)? {
        b"traceid"
        | b"xtraceid"
        | b"ddtraceid"
        | b"xdatadogtraceid"
        | b"oteltraceid"
        | b"xb3traceid"
        | b"b3traceid"
        | b"ottraceid"
        | b"apmtraceid"
        | b"logginggoogleapiscomtrace" => Role::Trace,
        b"ddptid" => Role::TraceHigh,
        b"spanid"
        | b"ddspanid"
        | b"otelspanid"
        | b"xb3spanid"
        | b"b3spanid"
        | b"otspanid"
        | b"logginggoogleapiscomspanid" => Role::Span,
        b"transactionid" => Role::Transaction,
        b"traceparent" | b"httprequestheadertraceparent" | b"w3ctraceparent" => Role::Traceparent,
        b"xamzntraceid" | b"amzntraceid" | b"xraytraceid" | b"awsxraytraceid" => Role::XRay,
        b"b3" => Role::B3,
        b"ubertraceid" => Role::Jaeger,
        b"xcloudtracecontext" => Role::CloudTrace,
        b"traceflags" | b"oteltraceflags" => Role::Flags,
        b"sampled"
        | b"tracesampled"
        | b"oteltracesampled"
        | b"xb3sampled"
        | b"b3sampled"
        | b"logginggoogleapiscomtracesampled" => Role::Sampled,
        b"ddsamplingpriority" | b"samplingpriority" | b"samplingpriorityv1" | b"xdatadogsamplingpriority" => {
            Role::Priority
        }
        _ => return None,
    })
}
