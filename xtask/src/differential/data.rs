//! The samples that queries are asked over: counters with resets, gauges with gaps and NaN, classic and native
//! histograms, series that end.

use anyhow::Context as _;

use super::random::mix;
use crate::remote_write::{histogram, label, put_bytes, sample};

/// Between two samples.
const INTERVAL_MS: i64 = 15_000;

/// Samples of a series: three quarters of an hour, within what Prometheus takes at once.
const STEPS: i64 = 180;

/// Steps of one request.
const STEPS_PER_REQUEST: i64 = 20;

const STALE: u64 = 0x7ff0_0000_0000_0002;

/// Now, at a full minute.
#[expect(clippy::disallowed_methods, reason = "servers refuse samples that are far from now")]
pub fn aligned_now_ms() -> anyhow::Result<i64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).context("the clock")?;
    Ok(i64::try_from(now.as_secs() / 60 * 60)? * 1_000)
}

#[derive(Clone, Copy)]
enum Shape {
    Counter,
    Gauge,
    Constant,
    Native,
}

struct Series {
    labels: Vec<(&'static str, String)>,
    shape: Shape,
    seed: u64,
}

/// One point.
enum Point {
    Float(f64),
    /// Counts of neighbouring buckets of schema 1, from index 0.
    Histogram([u64; 4]),
}

impl Series {
    fn random(&self, step: i64) -> u64 {
        mix(self.seed ^ (step as u64).wrapping_mul(0x1_0001))
    }

    /// How much a counter has counted since its last reset.
    fn counted(&self, step: i64) -> u64 {
        let since = (0..=step).rev().find(|step| self.random(*step).is_multiple_of(97)).unwrap_or(0);
        (since..=step).map(|step| (self.random(step) >> 8) % 50).sum()
    }

    /// The point of a step, if there is one.
    fn point(&self, step: i64) -> Option<Point> {
        let random = self.random(step);
        if (random >> 40).is_multiple_of(23) {
            return None;
        }
        // A fifth of the series end two thirds of the way.
        if self.seed.is_multiple_of(5) && step >= STEPS * 2 / 3 {
            let ends = step == STEPS * 2 / 3 && matches!(self.shape, Shape::Counter | Shape::Gauge);
            return ends.then(|| Point::Float(f64::from_bits(STALE)));
        }
        Some(match self.shape {
            Shape::Constant => Point::Float(1.0),
            Shape::Counter => Point::Float(self.counted(step) as f64),
            Shape::Gauge if random.is_multiple_of(61) => Point::Float(f64::NAN),
            Shape::Gauge => Point::Float(((random >> 16) % 20_001) as f64 / 100.0 - 100.0),
            Shape::Native => {
                let of = |bucket: u64| Series {
                    labels: Vec::new(),
                    shape: Shape::Counter,
                    seed: self.seed ^ bucket,
                };
                Point::Histogram([1, 2, 3, 4].map(|bucket| {
                    let part = of(bucket);
                    (0..=step).map(|step| (part.random(step) >> 8) % 9).sum()
                }))
            }
        })
    }
}

fn all_series(seed: u64) -> Vec<Series> {
    let mut out: Vec<Series> = Vec::new();
    let mut add = |name: &str, shape, more: &[(&'static str, &str)]| {
        for job in ["api", "db", "web"] {
            for instance in ["i0", "i1", "i2", "i3"] {
                let mut labels = vec![
                    ("__name__", name.to_owned()),
                    ("instance", instance.to_owned()),
                    ("job", job.to_owned()),
                ];
                labels.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
                labels.sort();
                let text: String = labels.iter().map(|(name, value)| format!("{name}={value},")).collect();
                let hash = text.bytes().fold(mix(seed), |hash, byte| mix(hash ^ u64::from(byte)));
                out.push(Series { labels, shape, seed: hash });
            }
        }
    };
    for (method, code) in [("get", "200"), ("get", "500"), ("post", "200"), ("post", "500")] {
        add("requests_total", Shape::Counter, &[("method", method), ("code", code)]);
    }
    add("busy", Shape::Gauge, &[]);
    add("load", Shape::Gauge, &[("core", "0")]);
    add("load", Shape::Gauge, &[("core", "1")]);
    add("build_info", Shape::Constant, &[("version", "1.2.3")]);
    add("rpc_seconds", Shape::Native, &[]);
    // Prometheus adds up series in the order in which they came to it, or in that of labels once they lie in a block; we always
    // in that of labels. They come in it, so that last digits are alike.
    out.sort_by(|a, b| a.labels.cmp(&b.labels));
    out
}

/// Classic histograms: buckets that agree with each other, as a client library makes them.
fn classic(seed: u64, step: i64) -> Vec<(Vec<(&'static str, String)>, f64)> {
    let mut out = Vec::new();
    for job in ["api", "db"] {
        for instance in ["i0", "i1"] {
            let hash = mix(seed ^ mix(u64::from(job.as_bytes()[0]) << 8 | u64::from(instance.as_bytes()[1])));
            let series = Series { labels: Vec::new(), shape: Shape::Counter, seed: hash };
            let mut sum = 0;
            let labels = |name: &str, le: Option<&str>| {
                let mut labels = vec![
                    ("__name__", format!("latency_seconds_{name}")),
                    ("instance", instance.to_owned()),
                    ("job", job.to_owned()),
                ];
                labels.extend(le.map(|le| ("le", le.to_owned())));
                labels
            };
            for (bucket, le) in ["0.1", "0.5", "1", "2.5", "+Inf"].into_iter().enumerate() {
                sum += (0..=step).map(|step| (series.random(step) >> (8 + bucket)) % 7).sum::<u64>();
                out.push((labels("bucket", Some(le)), sum as f64));
            }
            out.push((labels("count", None), sum as f64));
            out.push((labels("sum", None), sum as f64 * 0.37));
        }
    }
    out.sort_by(|(a, _), (b, _)| a.cmp(b));
    out
}

/// Remote-write 1.0 bodies of everything, oldest first.
pub fn requests(seed: u64, end_ms: i64) -> anyhow::Result<Vec<Vec<u8>>> {
    let series = all_series(seed);
    let mut out = Vec::new();
    for first in (0..STEPS).step_by(STEPS_PER_REQUEST as usize) {
        let steps = first..(first + STEPS_PER_REQUEST).min(STEPS);
        let time = |step: i64| end_ms - (STEPS - 1 - step) * INTERVAL_MS;
        let mut body = Vec::new();
        for series in &series {
            let mut message = labels(&series.labels);
            for step in steps.clone() {
                match series.point(step) {
                    Some(Point::Float(value)) => put_bytes(&mut message, 2, &sample(value, time(step))),
                    Some(Point::Histogram(counts)) => {
                        put_bytes(&mut message, 4, &histogram(1, &counts, time(step)))
                    }
                    None => {}
                }
            }
            put_bytes(&mut body, 1, &message);
        }
        for step in steps {
            for (names, value) in classic(seed, step) {
                let mut message = labels(&names);
                put_bytes(&mut message, 2, &sample(value, time(step)));
                put_bytes(&mut body, 1, &message);
            }
        }
        out.push(snap::raw::Encoder::new().compress_vec(&body).context("snappy")?);
    }
    Ok(out)
}

fn labels(labels: &[(&'static str, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in labels {
        put_bytes(&mut out, 1, &label(name, value));
    }
    out
}
