//! Random queries over a few odd series: no query panics, and each answers the same in all forms.

use proptest::prelude::*;
use throughline_exec::{Budget, Cancellation, Labels, Limits};
use throughline_promql::script::{MemorySeries, series_line};
use throughline_promql::value::{QueryValue, RangeSeries, Sample};
use throughline_promql::{Engine, parse};

/// Series with gaps, resets, markers, histograms of all kinds, and a mix of them.
const SERIES: [&str; 16] = [
    "c_total{a=\"1\",b=\"x\"} 0+10x8 5+7x12",
    "c_total{a=\"1\",b=\"y\"} _ 3 _ 4 5 stale _ 1 2 _x4 9",
    "c_total{a=\"2\",b=\"x\"} 1 NaN 2 Inf 3 -Inf 4 1e308 1e308 0 -0",
    "g{a=\"1\"} 3 1 4 1 5 9 2 6 5 3 5 8 9 7 9 3 2 3 8 4 6",
    "g{a=\"2\"} -3-1x20",
    "g{a=\"\",c=\"é\"} 7x20",
    "h{a=\"1\"} {{schema:1 count:9 sum:12 z_bucket:1 z_bucket_w:0.01 buckets:[1 2 0 3] n_buckets:[2]}}x20",
    "h{a=\"2\"} {{schema:0 count:2 sum:3 buckets:[1 1]}}+{{count:3 sum:1 offset:2 buckets:[3]}}x9 {{count:1 buckets:[1]}}x9",
    "h{a=\"3\"} {{schema:-53 count:6 sum:9 custom_values:[1 2 5] buckets:[1 2 3]}}x9 _ {{schema:-53 count:4 sum:5 custom_values:[2 5] buckets:[3 1]}}x9",
    "h{a=\"4\"} {{count:1 sum:NaN buckets:[1] counter_reset_hint:gauge}} stale {{schema:8 count:2 sum:-1 n_offset:-9 n_buckets:[2]}}x5",
    "m{a=\"1\"} 1 2 {{count:1 sum:1 buckets:[1]}}x5 3 4 5 stale {{count:2 sum:1 buckets:[2]}} 6",
    "b_bucket{le=\"1\"} 0+1x20",
    "b_bucket{le=\"2\"} 0+3x20",
    "b_bucket{le=\"+Inf\"} 0+2x20",
    "b_bucket{le=\"bad\"} 1x20",
    "target_info{a=\"1\",instance=\"\",v=\"w\"} 1x20",
];

fn memory() -> MemorySeries {
    let mut memory = MemorySeries::default();
    let lines: Vec<_> = SERIES.iter().map(|line| series_line(line).expect("a series")).collect();
    memory.load(30_000, &lines);
    memory
}

// What queries are made of; `;` parts the choices. `~` stands for a vector, `@` for a scalar.
const NAMES: &str = "c_total;g;h;m;b_bucket;{__name__=~\".+\"};{a=\"1\"};none;h{a!=\"3\"}";
const MODIFIERS: &str =
    ";;;; offset 45s; offset -2m; @ 240; @ start(); @ end() offset 1m; smoothed; anchored";
const RANGES: &str = "[2m];[35s];[1ms];[1h];[3m:30s];[4m:];[2m:7s];[2m + 30s];[2m] anchored;[2m] smoothed";
const OVER_TIME: &str = "rate;increase;delta;irate;idelta;changes;resets;deriv;sum_over_time;avg_over_time;\
    min_over_time;max_over_time;stddev_over_time;stdvar_over_time;mad_over_time;last_over_time;first_over_time;\
    count_over_time;present_over_time;absent_over_time;ts_of_max_over_time;ts_of_min_over_time;\
    ts_of_first_over_time;ts_of_last_over_time";
const OVER_TIME_WITH_SCALAR: &str =
    "quantile_over_time(@, ~);predict_linear(~, @);double_exponential_smoothing(~, 0.5, 0.3)";
const SCALARS: &str = "0;1;-1;0.5;2;NaN;Inf;-Inf;1e300;time();scalar(g{a=\"1\"});scalar(g)";
const FUNCTIONS: &str = "abs;ceil;sgn;sqrt;exp;ln;round;timestamp;start_timestamp;absent;histogram_count;\
    histogram_sum;histogram_avg;histogram_stddev;histogram_stdvar;sort;sort_desc;info;hour;day_of_year;sum;\
    avg by (a);min without (b);max by (le);count by (__name__);group;stddev by (a);stdvar;-;+;";
const WITH_SCALAR: &str = "topk by (a) (@, ~);bottomk(@, ~);limitk by (a) (@, ~);limit_ratio(@, ~);\
    quantile by (a) (@, ~);histogram_quantile(@, ~);histogram_fraction(@, 2, ~);histogram_fraction(-1, @, ~);\
    round(~, @);clamp(~, -1, @);clamp_min(~, @);clamp_max(~, @);histogram_quantiles(~, \"q\", @, 0.9);\
    count_values(\"v\", ~) * @;label_replace(~, \"b\", \"$1\", \"a\", \"(.*)\") - @;\
    label_join(~, \"a\", \"-\", \"a\", \"b\") / @;(~) > @;(~) == bool @;@ < (~);@ ^ (~);(~) % @;(~) </ @;\
    (~) >/ @;(~) atan2 @;sum_over_time((~)[2m:30s]) + @;increase((~)[3m:20s]) + @;sort_by_label(~, \"a\") * @";
const OPERATORS: &str = "+;-;*;/;==;!= bool;>;and;or;unless;and on (a);or ignoring (a, b);unless on ();\
    * on (a) group_left (b);/ on (a, b) group_right;+ fill (0);- on (a) fill_left (1);\
    > on (a) group_left () fill_right (-1)";

fn one_of(choices: &'static str) -> impl Strategy<Value = &'static str> + Clone {
    prop::sample::select(choices.split(';').collect::<Vec<_>>())
}

fn query() -> impl Strategy<Value = String> {
    let selector =
        (one_of(NAMES), one_of(MODIFIERS)).prop_map(|(name, modifiers)| format!("{name}{modifiers}"));
    let windowed = (one_of(OVER_TIME), one_of(NAMES), one_of(RANGES))
        .prop_map(|(function, name, range)| format!("{function}({name}{range})"));
    let with_scalar = (one_of(OVER_TIME_WITH_SCALAR), one_of(NAMES), one_of(RANGES), one_of(SCALARS))
        .prop_map(|(function, name, range, scalar)| {
            function.replace('@', scalar).replace('~', &format!("{name}{range}"))
        });
    let scalar = one_of(SCALARS).prop_map(|scalar| format!("vector({scalar})"));
    prop_oneof![selector, windowed, with_scalar, scalar].prop_recursive(4, 16, 2, |inner| {
        prop_oneof![
            (one_of(FUNCTIONS), inner.clone()).prop_map(|(function, a)| format!("{function}({a})")),
            (one_of(WITH_SCALAR), inner.clone(), one_of(SCALARS))
                .prop_map(|(function, a, scalar)| function.replace('@', scalar).replace('~', &a)),
            (inner.clone(), one_of(OPERATORS), inner).prop_map(|(a, op, b)| format!("({a}) {op} ({b})")),
        ]
    })
}

fn budget() -> Budget {
    Budget::new(Limits { samples: 1_000_000, ..Limits::NONE }, Cancellation::new())
}

/// The labels that do not depend on other steps: a name is dropped of a whole series if it is at any step.
fn labels(labels: &Labels) -> Labels {
    labels.without_metric_name()
}

/// The samples at one time as text, sorted.
fn at(matrix: &[RangeSeries], time_ms: i64) -> Vec<String> {
    let mut found = Vec::new();
    for series in matrix {
        let floats = series.floats.iter().filter(|point| point.0 == time_ms);
        found.extend(floats.map(|point| format!("{} {}", labels(&series.labels), shown(point.1))));
        let histograms = series.histograms.iter().filter(|point| point.0 == time_ms);
        found.extend(histograms.map(|point| format!("{} {}", labels(&series.labels), point.1)));
    }
    found.sort();
    found
}

/// A float up to what the order of additions changes.
fn shown(value: f64) -> String {
    format!("{:.9e}", if value == 0.0 { 0.0 } else { value })
}

fn instant(query: &str, memory: &MemorySeries, time_ms: i64) -> Option<Result<Vec<String>, String>> {
    let expr = parse(query).ok()?;
    let answer = Engine::default().instant(query, &expr, time_ms, memory, &budget());
    Some(match answer {
        Ok(result) => match result.value {
            QueryValue::Vector(vector) => {
                let mut found: Vec<String> = vector
                    .iter()
                    .map(|sample| match &sample.sample {
                        Sample::Float(value) => format!("{} {}", labels(&sample.labels), shown(*value)),
                        Sample::Histogram(histogram) => format!("{} {histogram}", labels(&sample.labels)),
                    })
                    .collect();
                found.sort();
                Ok(found)
            }
            _ => return None,
        },
        Err(error) => Err(error.to_string()),
    })
}

proptest! {
    #[test]
    fn a_range_query_is_an_instant_query_at_every_step(query in query(), start in 0i64..500, step in 1i64..200) {
        let memory = memory();
        let Ok(expr) = parse(&query) else { return Ok(()) };
        let (start_ms, step_ms) = (start * 1_000, step * 1_000);
        let times = (start_ms, start_ms + 4 * step_ms, step_ms);
        let answer = Engine::default().range(&query, &expr, times, &memory, &budget());
        // What depends on the range as a whole cannot be compared step by step, nor the choice between equals.
        if ["start()", "end()", "topk", "bottomk", "limitk"].iter().any(|word| query.contains(word)) {
            return Ok(());
        }
        let singles: Vec<_> = (0..5).map(|at| instant(&query, &memory, start_ms + at * step_ms)).collect();
        let result = match answer {
            Ok(result) => result,
            Err(error) => {
                prop_assert!(singles.iter().any(|single| !matches!(single, Some(Ok(_)))), "{} fails as a range only: {}", query, error);
                return Ok(());
            }
        };
        let QueryValue::Matrix(matrix) = result.value else { return Ok(()) };
        for (step, single) in singles.into_iter().enumerate() {
            let time_ms = start_ms + step as i64 * step_ms;
            let Some(single) = single else { return Ok(()) };
            match single {
                Ok(single) => prop_assert_eq!(at(&matrix, time_ms), single, "{} at {} ms of {:?}", query, time_ms, times),
                Err(error) => prop_assert!(false, "{} at {} ms fails alone only: {}", query, time_ms, error),
            }
        }
    }
}

#[test]
fn the_deepest_queries_are_evaluated_on_a_small_stack() {
    let work = || {
        let memory = memory();
        for (start, end, levels) in [
            ("(", ")", 125),
            ("-(", ")", 62),
            ("abs(", ")", 125),
            ("sum by (a) (", ")", 125),
            ("topk(2, ", ")", 125),
            ("1 + (", ")", 62),
            ("g or (", ")", 62),
            ("g * on (a) group_left (b) (", ")", 62),
            ("histogram_quantile(0.5, ", ")", 125),
            ("label_replace(", ", \"x\", \"$1\", \"a\", \"(.*)\")", 125),
            ("max_over_time((", ")[2m:1m])", 41),
            ("info(", ")", 125),
            ("absent(", ")", 125),
            ("timestamp(", ")", 125),
            ("vector(scalar(", "))", 62),
        ] {
            let query = format!("{}g{}", start.repeat(levels), end.repeat(levels));
            let expr = parse(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
            let engine = Engine::default();
            let budget = Budget::new(Limits { samples: 1_000_000, ..Limits::NONE }, Cancellation::new());
            let _ = engine.instant(&query, &expr, 300_000, &memory, &budget);
            let _ = engine.range(&query, &expr, (0, 300_000, 60_000), &memory, &budget);
        }
    };
    let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(work);
    thread.expect("a thread").join().expect("no panic");
}
