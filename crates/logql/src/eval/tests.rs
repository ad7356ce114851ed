//! Limits, extreme times, what a source is asked for, and which lines are nearest.

use throughline_exec::log::{LogRequest, LogSink, LogSource, MemoryLogs, MemoryRow};
use throughline_exec::{Budget, Cancellation, Limits};

use super::*;
use crate::parse::parse;

fn logs(rows: i64) -> MemoryLogs {
    let mut logs = MemoryLogs::default();
    for at in 0..rows {
        let stream = Labels::from_pairs([("app", if at % 2 == 0 { "a" } else { "b" })]);
        let metadata = vec![("level".to_owned(), if at % 3 == 0 { "error" } else { "info" }.to_owned())];
        let line = format!("{{\"status\":{}}}", at % 5);
        logs.push(&stream, MemoryRow { time_ns: at * 1_000_000_000, line, metadata });
    }
    logs
}

fn evaluate(query: &str, params: &QueryParams, budget: &Budget) -> Result<QueryValue, QueryError> {
    let expr = parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    Engine.evaluate(&expr, params, &logs(5_000), budget)
}

#[test]
fn limits_stop_queries_and_name_themselves() {
    let query = r#"count_over_time({app=~".+"} | json [1m])"#;
    for (limits, part) in [
        (Limits { steps: 1000, ..Limits::NONE }, "more than 1000 steps"),
        (Limits { series: 3, ..Limits::NONE }, "more than 3 series"),
        (Limits { samples: 10, ..Limits::NONE }, "more than 10 samples"),
        (Limits { bytes: 100, ..Limits::NONE }, "more than 100 bytes"),
    ] {
        let budget = Budget::new(limits, Cancellation::new());
        let params = QueryParams::range(0, 2_000_000_000_000, 1_000_000_000);
        let error = evaluate(query, &params, &budget).expect_err(part);
        assert!(error.to_string().contains(part), "{error}");
    }
    // A step of a nanosecond is refused before anything is read.
    let budget = Budget::new(Limits { steps: 11_000, ..Limits::NONE }, Cancellation::new());
    let error = evaluate(query, &QueryParams::range(0, i64::MAX, 1), &budget).expect_err("too many steps");
    assert!(error.to_string().contains("steps"), "{error}");
    let token = Cancellation::new();
    token.cancel();
    let error = evaluate(query, &QueryParams::instant(0), &Budget::new(Limits::NONE, token)).map(|_| ());
    assert!(error.is_ok() || matches!(error, Err(QueryError::Exec(ExecError::Canceled))));
}

#[test]
fn extreme_times_are_answered() {
    for query in [
        r#"count_over_time({app="a"}[292y])"#,
        r#"rate({app="a"}[1ns] offset -292y)"#,
        r#"sum(count_over_time({app="a"}[1y] @ -9223372036))"#,
        r#"quantile_over_time(0.5, {app="a"} | unwrap level [292y])"#,
    ] {
        for params in [
            QueryParams::instant(i64::MAX),
            QueryParams::instant(i64::MIN),
            QueryParams::range(i64::MIN, i64::MIN + 5, 1),
            QueryParams::range(i64::MAX - 5, i64::MAX, 1),
        ] {
            let _ = evaluate(query, &params, &Budget::unlimited());
        }
    }
}

/// Remembers what it was asked for.
struct Asked<'a>(&'a MemoryLogs, std::sync::Mutex<Vec<LogRequest>>);

impl LogSource for Asked<'_> {
    fn read(&self, request: &LogRequest, budget: &Budget, sink: &mut dyn LogSink) -> Result<(), ExecError> {
        self.1.lock().expect("no panic").push(request.clone());
        self.0.read(request, budget, sink)
    }
}

#[test]
fn a_sum_by_a_label_asks_for_that_label_alone() {
    let logs = logs(100);
    let source = Asked(&logs, std::sync::Mutex::default());
    let expr = parse(r#"sum by (level) (count_over_time({app=~".+"} |= "status" [1h]))"#).expect("a query");
    let value = Engine.evaluate(&expr, &QueryParams::instant(100_000_000_000), &source, &Budget::unlimited());
    let requests = source.1.into_inner().expect("no panic");
    assert_eq!(requests.len(), 1);
    let expected = QueryValue::Vector(vec![
        (Labels::from_pairs([("level", "error")]), 34.0),
        (Labels::from_pairs([("level", "info")]), 66.0),
    ]);
    assert_eq!(value.expect("a value"), expected);
    assert!(matches!(requests[0].lines, throughline_exec::log::LinesWanted::None));
    assert!(format!("{:?}", requests[0].metadata).contains("[\"level\"]"));
    assert_eq!(
        (requests[0].filters.len(), requests[0].start_ns, requests[0].end_ns),
        (1, -3_500_000_000_000 + 1, 100_000_000_001)
    );
}

#[test]
fn the_nearest_lines_are_chosen_whatever_comes_first() {
    let mut params = QueryParams::range(0, 5_000_000_000_000, 0);
    params.limit = 3;
    for (direction, expected) in [(Direction::Backward, [4999, 4998, 4997]), (Direction::Forward, [0, 1, 2])]
    {
        params.direction = direction;
        let value = evaluate(r#"{app=~".+"}"#, &params, &Budget::unlimited()).expect("lines");
        let QueryValue::Streams(streams) = value else { panic!("no lines") };
        let mut times: Vec<i64> = streams
            .iter()
            .flat_map(|stream| stream.entries.iter().map(|entry| entry.0 / 1_000_000_000))
            .collect();
        times.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(times, expected);
    }
}
