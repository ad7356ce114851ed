//! Where differences between books come from. Pure: figures in, parts out.
//!
//! Each part takes at most what is left of its difference, in the order in which the evidence is sure.

use super::{Counts, Difference, Part, Row};
use crate::doctor::ErrorCauses;

/// Figures closer than this, of the larger, are one figure: edges of minutes, and requests under way.
const SAME_SHARE: f64 = 0.005;

/// So many standard deviations an estimate may be off by chance.
const DEVIATIONS: f64 = 3.0;

/// How far an estimate with a variance may be off by chance.
fn reach(variance: f64) -> f64 {
    DEVIATIONS * variance.max(0.0).sqrt()
}

struct Splitter {
    difference: Difference,
    left: f64,
}

impl Splitter {
    fn new(of: &str, left: (&str, f64), right: (&str, f64)) -> Splitter {
        let amount = left.1 - right.1;
        let difference = Difference {
            of: of.to_owned(),
            left: (left.0.to_owned(), left.1),
            right: (right.0.to_owned(), right.1),
            amount,
            parts: Vec::new(),
            unexplained: 0.0,
        };
        Splitter { difference, left: amount }
    }

    /// Gives up to so much of what is left to a cause that makes the left figure larger (or the right one, where negative).
    fn part(&mut self, cause: &str, up_to: f64, why: impl FnOnce(f64) -> String) {
        let amount = if up_to >= 0.0 { up_to.min(self.left).max(0.0) } else { up_to.max(self.left).min(0.0) };
        if amount.abs() >= 0.5 {
            self.left -= amount;
            let why = why(amount.abs());
            self.difference.parts.push(Part { cause: cause.to_owned(), amount, why });
        }
    }

    /// Gives what is left, whichever way, to chance, as far as that reaches.
    fn chance(&mut self, variance: f64) {
        let reach = reach(variance);
        self.part("chance", reach.copysign(self.left), |n| {
            format!(
                "{n:.0} are within what chance does: spans that stand for others say how many there were only about \
                 (standard deviation {:.0})",
                variance.sqrt()
            )
        });
    }

    fn finish(mut self) -> Difference {
        let largest = self.difference.left.1.abs().max(self.difference.right.1.abs());
        let is_noise = self.left.abs() < 0.5 || self.left.abs() <= largest * SAME_SHARE;
        self.difference.unexplained = if is_noise { 0.0 } else { self.left };
        self.difference
    }
}

/// All differences of a window.
pub(super) fn differences(total: &Row, rows: &[Row], causes: &ErrorCauses) -> Vec<Difference> {
    let mut out = Vec::new();
    out.extend(total.metric.map(|metric| requests_by_metric(total, rows, metric)));
    if total.adjusted != total.spans {
        out.push(adjusted(total));
    }
    out.extend(total.received.map(|received| received_and_stored(total, received)));
    out.extend(total.metric.map(|metric| errors_by_metric(total, metric)));
    out.push(errors_by_log(total, causes));
    out.retain(|difference| difference.amount.abs() >= 0.5);
    out
}

/// Requests that minutes without a value of the metric have by span: it was not exported yet, or not at all.
fn in_minutes_without(rows: &[Row]) -> f64 {
    rows.iter().filter(|row| row.metric.is_none()).map(|row| row.adjusted.requests).sum()
}

fn requests_by_metric(total: &Row, rows: &[Row], metric: Counts) -> Difference {
    let spans = total.adjusted.requests;
    let mut split = Splitter::new("requests", ("metric", metric.requests), ("adjusted spans", spans));
    let unsampled = total.logs.unsampled_traces as f64;
    split.part("sampled_out_by_head", unsampled, |_| {
        format!("log records name {unsampled} traces that were not sampled, and no span says how many it stands for")
    });
    if let Some(received) = total.received {
        let dropped = received.requests - total.adjusted.requests - reach(total.variance.requests);
        split.part("dropped", dropped.max(0.0), |n| {
            format!(
                "{} spans were received and {} are stored: retention dropped {n:.0}",
                received.requests, spans
            )
        });
    }
    split.part("no_metric", -total.messages, |n| {
        format!("{n:.0} spans handle messages, which metrics of requests do not count")
    });
    let silent = in_minutes_without(rows);
    split.part("no_metric", -silent, |n| {
        format!("{n:.0} spans lie in minutes for which the metric has no value: it was not exported yet, or got lost")
    });
    split.chance(total.variance.requests);
    let has_no_span = metric.requests > 0.0 && spans < 0.5;
    if has_no_span {
        split.part("no_span", metric.requests, |_| {
            "the service counts requests and sends no server span".to_owned()
        });
    }
    split.finish()
}

fn adjusted(total: &Row) -> Difference {
    let (adjusted, stored) = (total.adjusted.requests, total.spans.requests);
    let mut split = Splitter::new("requests", ("adjusted spans", adjusted), ("spans", stored));
    split.part("sampled", adjusted - stored, |_| {
        format!(
            "{stored} spans stand for {adjusted:.0} by their adjusted counts: the sender's sampler (tracestate ot=th) or a policy of \
             this store let the others go"
        )
    });
    split.finish()
}

fn received_and_stored(total: &Row, received: Counts) -> Difference {
    let stored = total.adjusted.requests;
    let mut split = Splitter::new("requests", ("received", received.requests), ("adjusted spans", stored));
    split.chance(total.variance.requests);
    split.part("dropped", (received.requests - stored).max(0.0), |n| {
        format!("{n:.0} spans were counted when they came and are not stored any more: sampling by retention dropped them")
    });
    split.part("not_counted_yet", received.requests - stored, |n| {
        format!("{n:.0} stored spans are in no derived counter yet (they are written every 15 s), or lie at the window's edge")
    });
    split.finish()
}

fn errors_by_metric(total: &Row, metric: Counts) -> Difference {
    let spans = total.adjusted.errors;
    let mut split = Splitter::new("errors", ("metric", metric.errors), ("adjusted spans", spans));
    // As many of those that failed are missing as of all, unless somebody chose by errors.
    let missing = (metric.requests - total.adjusted.requests - reach(total.variance.requests)).max(0.0);
    let share = if metric.requests > 0.0 { missing / metric.requests } else { 0.0 };
    split.part("no_span", metric.errors * share, |n| {
        format!(
            "{missing:.0} of {:.0} requests have no span here (see requests); at the same rate {n:.1} of the failed ones",
            metric.requests
        )
    });
    split.chance(total.variance.errors);
    let rest = split.left;
    if rest > 0.0 {
        split.part("status_unset", rest, |n| {
            format!("{n:.0} requests failed by their status code and their spans have no error status")
        });
    } else {
        split.part("not_the_servers_fault", rest, |n| {
            format!(
                "{n:.0} spans are in error whose requests were answered below 500, or that handle messages"
            )
        });
    }
    split.finish()
}

fn errors_by_log(total: &Row, causes: &ErrorCauses) -> Difference {
    let by_log = (total.logs.error_traces + total.logs.errors_without_trace) as f64;
    let mut split = Splitter::new("errors", ("log records", by_log), ("spans", total.spans.errors));
    // Causes are known of a part of the records: the others are taken to be like them.
    let told: u64 = causes.by_cause.values().sum();
    let scale = if told == 0 { 0.0 } else { by_log / told as f64 };
    for (cause, records) in &causes.by_cause {
        if *cause == "fine" {
            continue;
        }
        split.part(cause, *records as f64 * scale, |n| {
            format!("{records} of {told} ERROR records that were looked at, of {}: about {n:.0}", causes.of)
        });
    }
    let silent = -split.left;
    if silent > 0.0 {
        split.part("no_log", -silent, |n| {
            format!("{n:.0} spans are in error and no ERROR record was written for them")
        });
    }
    split.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::reconcile::LogSide;

    fn row(metric: (f64, f64), received: f64, spans: (f64, f64), adjusted: (f64, f64)) -> Row {
        let counts = |(requests, errors)| Counts { requests, errors };
        Row {
            metric: Some(counts(metric)),
            received: Some(counts((received, 0.0))),
            spans: counts(spans),
            adjusted: counts(adjusted),
            ..Row::default()
        }
    }

    fn causes(pairs: &[(&'static str, u64)]) -> ErrorCauses {
        let by_cause: BTreeMap<&'static str, u64> = pairs.iter().copied().collect();
        ErrorCauses { of: by_cause.values().sum(), by_cause, partial: Vec::new() }
    }

    fn parts(difference: &Difference) -> Vec<(&str, f64)> {
        difference.parts.iter().map(|part| (part.cause.as_str(), part.amount.round())).collect()
    }

    #[test]
    fn equal_books_have_no_difference() {
        let total = row((100.0, 3.0), 100.0, (100.0, 3.0), (100.0, 3.0));
        let mut with_logs = total.clone();
        with_logs.logs = LogSide { error_traces: 3, ..LogSide::default() };
        assert_eq!(differences(&with_logs, std::slice::from_ref(&total), &causes(&[("fine", 3)])), []);
    }

    #[test]
    fn each_part_takes_what_its_evidence_shows() {
        let mut total = row((1_000.0, 10.0), 900.0, (850.0, 4.0), (850.0, 4.0));
        total.logs.unsampled_traces = 90;
        let differences = differences(&total, std::slice::from_ref(&total), &causes(&[]));
        let [by_metric, stored, errors, by_log] = differences.as_slice() else { panic!("{differences:#?}") };
        assert_eq!(parts(by_metric), [("sampled_out_by_head", 90.0), ("dropped", 50.0)]);
        assert_eq!(by_metric.unexplained, 10.0);
        assert_eq!(parts(stored), [("dropped", 50.0)]);
        assert_eq!(parts(errors), [("no_span", 2.0), ("status_unset", 5.0)]);
        assert_eq!(parts(by_log), [("no_log", -4.0)]);
    }

    #[test]
    fn what_the_sampler_says_is_believed() {
        let total = row((100.0, 0.0), 100.0, (10.0, 0.0), (100.0, 0.0));
        let differences = differences(&total, std::slice::from_ref(&total), &causes(&[]));
        let [adjusted] = differences.as_slice() else { panic!("{differences:#?}") };
        assert_eq!(parts(adjusted), [("sampled", 90.0)]);
    }

    #[test]
    fn spans_that_no_counter_has_yet_were_not_dropped() {
        let total = row((1_000.0, 0.0), 700.0, (1_000.0, 0.0), (1_000.0, 0.0));
        let differences = differences(&total, std::slice::from_ref(&total), &causes(&[]));
        let [received] = differences.as_slice() else { panic!("{differences:#?}") };
        assert_eq!(parts(received), [("not_counted_yet", -300.0)]);
    }

    #[test]
    fn an_estimate_is_off_by_chance() {
        // Of 1,000 requests one in ten was kept, and chance kept 108, or 92.
        for kept in [108.0, 92.0] {
            let mut total = row((1_000.0, 10.0), 1_000.0, (kept, 10.0), (kept * 10.0, 10.0));
            total.variance = Counts { requests: kept * 90.0, errors: 0.0 };
            let differences = differences(&total, std::slice::from_ref(&total), &causes(&[("fine", 10)]));
            let of = |right: &str, left: &str| {
                let found = differences.iter().find(|of| of.left.0 == left && of.right.0 == right).unwrap();
                (parts(found), found.unexplained)
            };
            let off = 1_000.0 - kept * 10.0;
            assert_eq!(of("adjusted spans", "metric"), (vec![("chance", off)], 0.0));
            assert_eq!(of("adjusted spans", "received"), (vec![("chance", off)], 0.0));
            assert!(
                differences.iter().all(|of| of.of != "errors" || of.left.0 != "metric"),
                "{differences:#?}"
            );
        }
        // Beyond it something else took them: a rate, of which spans do not say how many they stand for.
        let mut total = row((1_000.0, 0.0), 1_000.0, (50.0, 0.0), (500.0, 0.0));
        total.variance = Counts { requests: 50.0 * 90.0, errors: 0.0 };
        let differences = differences(&total, std::slice::from_ref(&total), &causes(&[]));
        let received = differences.iter().find(|of| of.left.0 == "received").unwrap();
        assert_eq!(parts(received), [("chance", 201.0), ("dropped", 299.0)]);
    }

    #[test]
    fn errors_by_log_have_the_doctors_causes() {
        let mut total = row((50.0, 0.0), 50.0, (50.0, 1.0), (50.0, 1.0));
        total.logs = LogSide { error_traces: 8, errors_without_trace: 2, ..LogSide::default() };
        let causes = causes(&[("fine", 1), ("outside_any_span", 2), ("status_unset", 7)]);
        let differences = differences(&total, std::slice::from_ref(&total), &causes);
        let by_log = differences.last().unwrap();
        assert_eq!((by_log.amount, by_log.unexplained), (9.0, 0.0));
        assert_eq!(parts(by_log), [("outside_any_span", 2.0), ("status_unset", 7.0)]);
    }

    #[test]
    fn messages_and_late_metrics_are_no_loss() {
        let mut late = row((0.0, 0.0), 0.0, (30.0, 0.0), (30.0, 0.0));
        late.metric = None;
        let mut total = row((100.0, 0.0), 170.0, (170.0, 0.0), (170.0, 0.0));
        total.messages = 40.0;
        let differences = differences(&total, &[late], &causes(&[]));
        let by_metric = differences.first().unwrap();
        assert_eq!(parts(by_metric), [("no_metric", -40.0), ("no_metric", -30.0)]);
        assert_eq!(by_metric.unexplained, 0.0);
    }
}
