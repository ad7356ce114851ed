//! Series and samples as a scraper of services and machines would send them: from a seed, the same for everybody.
//!
//! A target has a thousand series: half of them counters of requests and bytes, a quarter buckets of histograms, of
//! which most stand still, a fifth gauges, the rest constants. All series of a target have one time. A fifth of the
//! series are of one metric, so that a query can ask for ten thousand at once. Native histograms come besides.

/// Series of one target.
pub const TARGET_SERIES: u64 = 1_000;

/// Series of one metric and target.
const METRIC_SERIES: u64 = 20;

/// Native histograms of one target.
pub const NATIVE_PER_TARGET: u64 = 20;

/// Buckets of a native histogram.
const NATIVE_BUCKETS: usize = 32;

/// A mixing function (splitmix64): random enough for a load, and a function of its input alone.
fn mix(mut n: u64) -> u64 {
    n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// What a series' values do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Counter,
    Bucket,
    Gauge,
    Constant,
    Native,
}

/// The value of a series at one time.
#[derive(Debug, PartialEq)]
pub enum Point<'a> {
    /// A number.
    Float(f64),
    /// Counts of neighbouring buckets.
    Histogram(&'a [u64]),
}

/// One series.
pub struct Series {
    /// Its labels, sorted by name.
    pub labels: Vec<(&'static str, String)>,
    shape: Shape,
    state: u64,
    value: f64,
    /// By how much it moves.
    pace: u64,
    /// The buckets of a native histogram.
    counts: Vec<u64>,
}

impl Series {
    /// The series of that number.
    pub fn new(seed: u64, number: u64) -> Series {
        let (target, place) = (number / TARGET_SERIES, number % TARGET_SERIES);
        let (metric, variant) = (place / METRIC_SERIES, place % METRIC_SERIES);
        let (shape, name) = match metric {
            0..10 => (Shape::Counter, "service_requests_total".to_owned()),
            10..25 => (Shape::Counter, format!("service_requests_{metric}_total")),
            25..37 => (Shape::Bucket, format!("service_request_duration_{metric}_seconds_bucket")),
            37..47 => (Shape::Gauge, format!("machine_memory_{metric}_bytes")),
            _ => (Shape::Constant, format!("service_limit_{metric}")),
        };
        let mut labels = target_labels(seed, target, name);
        if shape == Shape::Bucket {
            let is_last = variant + 1 == METRIC_SERIES;
            let bound =
                if is_last { "+Inf".to_owned() } else { format!("{}", 0.001 * f64::from(1 << variant)) };
            labels.insert(5, ("le", bound));
        } else {
            // Of the ten metrics that are one each has handlers of its own.
            let handler = if metric < 10 { metric * 5 + variant / 4 } else { variant / 4 };
            labels.insert(3, ("handler", format!("/api/v1/resource-{handler}")));
            labels.push(("status", ["200", "302", "404", "500"][(variant % 4) as usize].to_owned()));
        }
        let state = mix(seed ^ mix(number));
        let pace = 1 << (state % 12);
        let value = match shape {
            Shape::Gauge => 1e6 + (state % 1_000_000) as f64,
            _ => (state % 10_000) as f64,
        };
        Series { labels, shape, state, value, pace, counts: Vec::new() }
    }

    /// The series of native histograms of that number.
    pub fn native(seed: u64, number: u64) -> Series {
        let (target, handler) = (number / NATIVE_PER_TARGET, number % NATIVE_PER_TARGET);
        let mut labels = target_labels(seed, target, "service_latency_seconds".to_owned());
        labels.insert(3, ("handler", format!("/api/v1/resource-{handler}")));
        let (state, counts) = (mix(seed ^ mix(!number)), vec![0; NATIVE_BUCKETS]);
        Series { labels, shape: Shape::Native, state, value: 0.0, pace: 1 << (state % 6), counts }
    }

    /// The next value.
    pub fn next(&mut self) -> Point<'_> {
        self.state = mix(self.state);
        if self.shape == Shape::Native {
            for observation in 0..self.pace {
                // The middle of three: most observations lie near the middle.
                let random = mix(self.state ^ observation);
                let mut three = [random, random >> 8, random >> 16].map(|n| n as usize % NATIVE_BUCKETS);
                three.sort_unstable();
                self.counts[three[1]] += 1;
            }
            return Point::Histogram(&self.counts);
        }
        Point::Float(self.next_float())
    }

    fn next_float(&mut self) -> f64 {
        let step = (self.state >> 8) % (self.pace + 1);
        match self.shape {
            Shape::Counter => self.value += step as f64,
            // Four in five steps no request fell into the bucket.
            Shape::Bucket if self.state.is_multiple_of(5) => self.value += (step % 8) as f64,
            Shape::Gauge => self.value += 4_096.0 * (step as f64 - (self.pace / 2) as f64),
            Shape::Bucket | Shape::Constant | Shape::Native => {}
        }
        self.value
    }
}

/// The labels that all series of a target have, with the name of a metric.
fn target_labels(seed: u64, target: u64, name: String) -> Vec<(&'static str, String)> {
    let service = target % 40;
    vec![
        ("__name__", name),
        ("cluster", "eu-west-1".to_owned()),
        ("container", format!("service-{service}")),
        ("instance", format!("10.{}.{}.7:9090", target / 250, target % 250)),
        ("job", format!("shop/service-{service}")),
        ("namespace", "shop".to_owned()),
        ("pod", format!("service-{service}-{:05x}", mix(seed ^ target) & 0xf_ffff)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_sorted_distinct_and_repeatable() {
        let mut seen = std::collections::HashSet::new();
        let plain = (0..3_000).map(|number| [Series::new(7, number), Series::new(7, number)]);
        let native = (0..60).map(|number| [Series::native(7, number), Series::native(7, number)]);
        for [mut a, mut b] in plain.chain(native) {
            assert!(a.labels.is_sorted_by(|x, y| x.0 < y.0), "{:?}", a.labels);
            assert!(seen.insert(a.labels.clone()), "{:?}", a.labels);
            assert!((0..9).all(|_| a.next() == b.next()));
        }
    }
}
