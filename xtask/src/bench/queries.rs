//! The forty questions of `bench metrics`: what dashboards and rules ask, over an hour of ten thousand to fifty
//! thousand series.
//!
//! All systems run at once and hold the same samples. A question goes to each of them in turn, round after round, so
//! that whatever else the machine does meets all of them alike. Answers are compared with those of Prometheus: a wrong
//! answer does not count as a fast one.

use super::OURS;
use super::table::{Bar, Figure, percentile};
use crate::answers::{Answer, Target, difference};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A query at the last time.
    Instant,
    /// A query over the hour, with a step in seconds.
    Range(i64),
    /// The values of the label with this name, of the series that the text selects, if any.
    Values(&'static str),
    /// The names of labels.
    Names,
    /// Series.
    Series,
}

/// A question by name.
type Question = (&'static str, Kind, &'static str);

/// The window of ranges and listings, milliseconds.
const WINDOW_MS: i64 = 3_600_000;

/// Rounds that do not count.
const WARM_UP: usize = 2;

/// Ours is to take at most this part of Prometheus's time.
const OF_PROMETHEUS: f64 = 0.5;

const QUESTIONS: [Question; 40] = [
    (
        "one series, now",
        Kind::Instant,
        r#"service_requests_total{instance="10.0.7.7:9090",handler="/api/v1/resource-3",status="200"}"#,
    ),
    ("a gauge of 1,000, now", Kind::Instant, "machine_memory_40_bytes"),
    ("count 10,000, now", Kind::Instant, "count(service_requests_total)"),
    ("count by name, all, now", Kind::Instant, r#"count by (__name__) ({__name__=~".+"})"#),
    ("rate by job, now", Kind::Instant, "sum by (job) (rate(service_requests_total[5m]))"),
    ("top ten rates, now", Kind::Instant, "topk(10, rate(service_requests_total[5m]))"),
    (
        "rate by pod and handler, now",
        Kind::Instant,
        "sum by (pod, handler) (rate(service_requests_total[5m]))",
    ),
    (
        "rate over ten names, now",
        Kind::Instant,
        r#"sum by (status) (rate({__name__=~"service_requests_1[0-9]_total"}[5m]))"#,
    ),
    (
        "error ratio by job, now",
        Kind::Instant,
        r#"sum by (job) (rate(service_requests_total{status="500"}[5m])) / sum by (job) (rate(service_requests_total[5m]))"#,
    ),
    (
        "classic p99, now",
        Kind::Instant,
        "histogram_quantile(0.99, sum by (le) (rate(service_request_duration_30_seconds_bucket[5m])))",
    ),
    (
        "native p99 by job, now",
        Kind::Instant,
        "histogram_quantile(0.99, sum by (job) (rate(service_latency_seconds[5m])))",
    ),
    ("increase of an hour, now", Kind::Instant, "sum(increase(service_requests_total[1h]))"),
    (
        "maximum of half an hour, now",
        Kind::Instant,
        "max by (job) (max_over_time(machine_memory_40_bytes[30m]))",
    ),
    (
        "maximum of a rate, now",
        Kind::Instant,
        "max_over_time(sum(rate(service_requests_12_total[5m]))[30m:1m])",
    ),
    ("gauge by limit, now", Kind::Instant, "machine_memory_40_bytes / service_limit_47"),
    ("absent, now", Kind::Instant, r#"absent(service_requests_total{job="nothing"})"#),
    (
        "one series",
        Kind::Range(15),
        r#"service_requests_total{instance="10.0.7.7:9090",handler="/api/v1/resource-3",status="200"}"#,
    ),
    (
        "rate of four series",
        Kind::Range(15),
        r#"rate(service_requests_total{instance="10.0.7.7:9090",handler="/api/v1/resource-3"}[5m])"#,
    ),
    ("a gauge of 1,000", Kind::Range(60), "machine_memory_40_bytes"),
    ("rate by job, 10,000 series", Kind::Range(15), "sum by (job) (rate(service_requests_total[5m]))"),
    (
        "rate by status and handler",
        Kind::Range(15),
        "sum by (status, handler) (rate(service_requests_total[1m]))",
    ),
    ("rate of 1,000, sum", Kind::Range(15), "sum(rate(service_requests_12_total[5m]))"),
    ("gauge by job", Kind::Range(15), "avg by (job) (machine_memory_40_bytes)"),
    ("mean of ten minutes", Kind::Range(15), "avg by (job) (avg_over_time(machine_memory_40_bytes[10m]))"),
    ("p95 by job", Kind::Range(15), "quantile by (job) (0.95, machine_memory_40_bytes)"),
    ("top five pods", Kind::Range(15), "topk(5, sum by (pod) (rate(service_requests_total[5m])))"),
    (
        "classic p99 by job",
        Kind::Range(15),
        "histogram_quantile(0.99, sum by (le, job) (rate(service_request_duration_30_seconds_bucket[5m])))",
    ),
    (
        "classic p90, 12,000 series",
        Kind::Range(60),
        r#"histogram_quantile(0.9, sum by (le) (rate({__name__=~"service_request_duration_.*_seconds_bucket"}[5m])))"#,
    ),
    (
        "native p99 by job",
        Kind::Range(60),
        "histogram_quantile(0.99, sum by (job) (rate(service_latency_seconds[5m])))",
    ),
    (
        "native rate by job",
        Kind::Range(60),
        "sum by (job) (histogram_count(rate(service_latency_seconds[5m])))",
    ),
    (
        "error ratio by job",
        Kind::Range(15),
        r#"sum by (job) (rate(service_requests_total{status="500"}[5m])) / sum by (job) (rate(service_requests_total[5m]))"#,
    ),
    (
        "maximum of rates",
        Kind::Range(60),
        r#"max_over_time(rate(service_requests_12_total{status="500"}[2m])[10m:30s])"#,
    ),
    (
        "against a quarter ago",
        Kind::Range(60),
        "sum(rate(service_requests_total[5m])) - sum(rate(service_requests_total[5m] offset 15m))",
    ),
    ("count by name", Kind::Range(60), r#"count by (__name__) ({__name__=~"service_.*"})"#),
    ("gauges over a limit", Kind::Range(60), "machine_memory_41_bytes > 1.5e6"),
    (
        "rate by a new label",
        Kind::Range(60),
        r#"sum by (n) (label_replace(rate(service_requests_14_total[5m]), "n", "$1", "pod", "service-(.*)-.*"))"#,
    ),
    ("names of metrics", Kind::Values("__name__"), ""),
    ("pods of a metric", Kind::Values("pod"), "service_requests_total"),
    ("names of labels", Kind::Names, ""),
    ("series of a job", Kind::Series, r#"service_requests_total{job="shop/service-3"}"#),
];

/// A running system.
pub struct System<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its API.
    pub target: Target,
}

impl System<'_> {
    fn is_prometheus(&self) -> bool {
        self.name.to_lowercase().starts_with("prometheus")
    }
}

/// Path and form of a question.
fn request((_, kind, text): Question, end_ms: i64) -> (String, Vec<(&'static str, String)>) {
    let seconds = |ms: i64| format!("{}.{:03}", ms / 1_000, ms % 1_000);
    let window = [("start", seconds(end_ms - WINDOW_MS)), ("end", seconds(end_ms))];
    // No cache of whole answers: VictoriaMetrics has one, and the question would be asked only once.
    let query = [("query", text.to_owned()), ("nocache", "1".to_owned())];
    let selected = || {
        let selector = (!text.is_empty()).then(|| ("match[]", text.to_owned()));
        window.clone().into_iter().chain(selector).collect()
    };
    match kind {
        Kind::Instant => ("query".to_owned(), query.into_iter().chain([("time", seconds(end_ms))]).collect()),
        Kind::Range(step) => {
            let step = ("step", step.to_string());
            ("query_range".to_owned(), query.into_iter().chain(window).chain([step]).collect())
        }
        Kind::Values(label) => (format!("label/{label}/values"), selected()),
        Kind::Names => ("labels".to_owned(), selected()),
        Kind::Series => ("series".to_owned(), selected()),
    }
}

/// Asks every question of every system in so many rounds.
pub fn measure(systems: &[System<'_>], rounds: usize, end_ms: i64) -> anyhow::Result<Vec<Figure>> {
    let (mut figures, mut compared, mut differing) = (Vec::new(), 0u32, 0u32);
    let (mut met, mut bars) = (0, 0);
    for question in QUESTIONS {
        let (path, form) = request(question, end_ms);
        let answers = systems
            .iter()
            .map(|system| system.target.ask(&path, &form))
            .collect::<anyhow::Result<Vec<Answer>>>()?;
        let reference = systems.iter().position(System::is_prometheus).and_then(|at| answers.get(at));
        if let (Some(ours), Some(theirs)) = (answers.first(), reference) {
            compared += 1;
            if let Some(difference) = difference(ours, theirs, 0.0) {
                differing += 1;
                eprintln!("{:?} DIFFERS from Prometheus: {difference}", question.0);
            }
        }
        let answering: Vec<&System<'_>> =
            systems.iter().zip(&answers).filter(|(_, answer)| is_answer(answer)).map(|pair| pair.0).collect();
        for (system, _) in systems.iter().zip(&answers).filter(|(_, answer)| !is_answer(answer)) {
            eprintln!("{} does not answer {:?}: left out", system.name, question.0);
        }
        let of_question = timed(&answering, &path, &form, rounds, question.0)?;
        let with_bars = of_question.iter().filter(|figure| figure.bar.is_some());
        bars += with_bars.clone().count();
        met += with_bars.filter(|figure| figure.is_met()).count();
        figures.extend(of_question);
    }
    if compared > 0 {
        println!("answers compared with Prometheus's: {compared}, differing: {differing}");
        println!("p50 and p95 within {OF_PROMETHEUS} of Prometheus and 1 of others: {met} of {bars}");
    }
    Ok(figures)
}

/// Whether there is anything in the answer.
fn is_answer(answer: &Answer) -> bool {
    let Ok(data) = answer else { return false };
    data.get("result").unwrap_or(data).as_array().is_none_or(|items| !items.is_empty())
}

fn timed(
    systems: &[&System<'_>],
    path: &str,
    form: &[(&'static str, String)],
    rounds: usize,
    name: &str,
) -> anyhow::Result<Vec<Figure>> {
    let mut latencies_ms: Vec<Vec<f64>> = vec![Vec::new(); systems.len()];
    for round in 0..rounds + WARM_UP {
        for (system, of_system) in systems.iter().zip(&mut latencies_ms) {
            let (_, _, took) = system.target.fetch(path, form)?;
            if round >= WARM_UP {
                of_system.push(took.as_secs_f64() * 1e3);
            }
        }
    }
    let mut figures = Vec::new();
    for percent in [50.0, 95.0] {
        let taken: Vec<f64> = latencies_ms.iter().map(|of_system| percentile(of_system, percent)).collect();
        let limits = systems.iter().zip(&taken).filter(|(system, _)| system.name != OURS);
        let limit = limits
            .map(|(system, ms)| if system.is_prometheus() { OF_PROMETHEUS * ms } else { *ms })
            .min_by(f64::total_cmp);
        figures.extend(systems.iter().zip(&taken).map(|(system, ms)| Figure {
            system: system.name.to_owned(),
            job: name.to_owned(),
            measure: format!("p{percent}"),
            unit: "ms".to_owned(),
            runs: vec![*ms],
            bar: limit.filter(|_| system.name == OURS).map(Bar::AtMost),
        }));
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_have_names_of_their_own() {
        let mut seen = std::collections::HashSet::new();
        assert!(
            QUESTIONS
                .iter()
                .all(|(name, kind, _)| { seen.insert(format!("{name} {}", matches!(kind, Kind::Instant))) })
        );
        let (path, form) = request(("", Kind::Values("pod"), "up"), 3_600_500);
        assert_eq!(path, "label/pod/values");
        let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(form, [("start", "0.500"), ("end", "3600.500"), ("match[]", "up")]);
    }
}
