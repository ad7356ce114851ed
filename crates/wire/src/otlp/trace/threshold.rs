//! How many spans one stands for, as OpenTelemetry's consistent probability sampling says it in `tracestate`.
//!
//! The member `ot` has the sampler's rejection threshold as `th`, up to 14 lower-case hex digits, the first being the most
//! significant. What it is compared with is the randomness: the last 7 bytes of the trace id, or where the sender gave one `rv`,
//! which is exactly 14 such digits. A span was kept with probability `(2^56 - th) / 2^56`.

use throughline_model::TraceId;

/// Numbers below this are thresholds and randomness.
const RANGE: u64 = 1 << 56;

/// Hex digits of such a number.
const DIGITS: usize = 14;

/// The member's value may have so many characters; a longer one says nothing.
const MEMBER_CHARS_MAX: usize = 256;

/// How many spans this one stands for; none where nothing says so. A span below its threshold would not be here if the
/// threshold were true: then it says nothing either.
pub(super) fn adjusted_count(trace_state: &str, id: TraceId) -> Option<f64> {
    if trace_state.is_empty() {
        return None;
    }
    let member = trace_state.split(',').find_map(|member| member.trim().strip_prefix("ot="))?;
    if member.len() > MEMBER_CHARS_MAX {
        return None;
    }
    let value = |key: &str| member.split(';').find_map(|part| part.strip_prefix(key));
    let digits = value("th:")?;
    let threshold = number(digits)? << (4 * (DIGITS - digits.len()));
    let explicit = value("rv:").filter(|digits| digits.len() == DIGITS).and_then(number);
    let randomness = explicit.unwrap_or(id.low() % RANGE);
    (randomness >= threshold).then(|| RANGE as f64 / (RANGE - threshold) as f64)
}

/// A number of 1 to 14 lower-case hex digits.
fn number(digits: &str) -> Option<u64> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() > DIGITS || !digits.bytes().all(is_digit) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(trace_state: &str, id: &str, expected: Option<f64>) {
        let (id, _) = TraceId::parse(id).expect("an id");
        assert_eq!(adjusted_count(trace_state, id), expected, "{trace_state} of {id}");
    }

    /// The greatest randomness, and in front of it the least of what does not count.
    const HIGH: &str = "000000000000000000ffffffffffffff";
    /// The least randomness, and in front of it the greatest of what does not count.
    const LOW: &str = "ffffffffffffffffff00000000000000";

    #[test]
    fn a_threshold_says_how_many_a_span_stands_for() {
        for (state, expected) in [
            ("ot=th:0", 1.0),
            ("ot=th:8", 2.0),
            ("ot=th:c", 4.0),
            ("ot=th:80000000000000", 2.0),
            ("ot=th:fffffffffffffe", (1u64 << 55) as f64),
            ("ot=th:ffffffffffffff", (1u64 << 56) as f64),
            ("vendor=1, ot=p:8;th:c;x:y ,other=th:8", 4.0),
        ] {
            check(state, HIGH, Some(expected));
        }
        check("ot=th:0", LOW, Some(1.0));
    }

    #[test]
    fn a_span_below_its_threshold_has_none() {
        check("ot=th:8", "00000000000000000080000000000000", Some(2.0));
        check("ot=th:8", "ffffffffffffffffff7fffffffffffff", None);
        check(
            "ot=th:00000000000001",
            "ffffffffffffffffff00000000000001",
            Some(RANGE as f64 / (RANGE - 1) as f64),
        );
        check("ot=th:00000000000001", LOW, None);
        check("ot=th:ffffffffffffff", "fffffffffffffffffffffffffffffffe", None);
    }

    #[test]
    fn an_explicit_randomness_stands_before_the_id() {
        check("ot=th:8;rv:80000000000000", LOW, Some(2.0));
        check("ot=rv:7fffffffffffff;th:8", HIGH, None);
        check("ot=rv:00000000000000;th:0", LOW, Some(1.0));
        check("ot=rv:ffffffffffffff;th:ffffffffffffff", LOW, Some(RANGE as f64));
        // Only within the same member.
        check("ot=th:8,rv=80000000000000,x=rv:80000000000000", LOW, None);
    }

    #[test]
    fn what_is_malformed_says_nothing() {
        let long = format!("ot=th:8;x:{}", "y".repeat(252));
        for state in [
            "",
            "th:8",
            "ot=",
            "ot=th",
            "ot=th:",
            "ot=th:g",
            "ot=th:C",
            "ot=th:+8",
            "ot=th: 8",
            "ot=th:fffffffffffffff",
            "ot=rv:80000000000000",
            "OT=th:8",
            "not=th:8",
            &long,
        ] {
            check(state, HIGH, None);
        }
        check(&format!("ot=th:8;x:{}", "y".repeat(246)), HIGH, Some(2.0));
        // What is no `rv` leaves the id's.
        for no_rv in [
            "",
            "8",
            "8000000000000",
            "800000000000000",
            "8000000000000G",
            "8000000000000A",
            "+8000000000000",
        ] {
            check(&format!("ot=th:8;rv:{no_rv}"), HIGH, Some(2.0));
            check(&format!("ot=th:8;rv:{no_rv}"), LOW, None);
        }
    }
}
