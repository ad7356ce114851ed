//! Series and samples as a scraper of services and machines would send them: from a seed, the same for everybody.
//!
//! A target has a thousand series: half of them counters of requests and bytes, a quarter buckets of histograms, of
//! which most stand still, a fifth gauges, the rest constants. All series of a target have one time.

/// Series of one target.
pub const TARGET_SERIES: u64 = 1_000;

/// Series of one metric and target.
const METRIC_SERIES: u64 = 20;

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
}

impl Series {
    /// The series of that number.
    pub fn new(seed: u64, number: u64) -> Series {
        let (target, place) = (number / TARGET_SERIES, number % TARGET_SERIES);
        let (metric, variant) = (place / METRIC_SERIES, place % METRIC_SERIES);
        let (shape, name) = match metric {
            0..25 => (Shape::Counter, format!("service_requests_{metric}_total")),
            25..37 => (Shape::Bucket, format!("service_request_duration_{metric}_seconds_bucket")),
            37..47 => (Shape::Gauge, format!("machine_memory_{metric}_bytes")),
            _ => (Shape::Constant, format!("service_limit_{metric}")),
        };
        let service = target % 40;
        let mut labels = vec![
            ("__name__", name),
            ("cluster", "eu-west-1".to_owned()),
            ("container", format!("service-{service}")),
            ("instance", format!("10.{}.{}.7:9090", target / 250, target % 250)),
            ("job", format!("shop/service-{service}")),
            ("namespace", "shop".to_owned()),
            ("pod", format!("service-{service}-{:05x}", mix(seed ^ target) & 0xf_ffff)),
        ];
        if shape == Shape::Bucket {
            labels.insert(5, ("le", format!("{}", 0.001 * f64::from(1 << variant))));
        } else {
            labels.insert(3, ("handler", format!("/api/v1/resource-{}", variant / 4)));
            labels.push(("status", ["200", "302", "404", "500"][(variant % 4) as usize].to_owned()));
        }
        let state = mix(seed ^ mix(number));
        let pace = 1 << (state % 12);
        let value = match shape {
            Shape::Gauge => 1e6 + (state % 1_000_000) as f64,
            _ => (state % 10_000) as f64,
        };
        Series { labels, shape, state, value, pace }
    }

    /// The next value.
    pub fn next(&mut self) -> f64 {
        self.state = mix(self.state);
        let step = (self.state >> 8) % (self.pace + 1);
        match self.shape {
            Shape::Counter => self.value += step as f64,
            // Four in five steps no request fell into the bucket.
            Shape::Bucket if self.state.is_multiple_of(5) => self.value += (step % 8) as f64,
            Shape::Gauge => self.value += 4_096.0 * (step as f64 - (self.pace / 2) as f64),
            Shape::Bucket | Shape::Constant => {}
        }
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_sorted_distinct_and_repeatable() {
        let mut seen = std::collections::HashSet::new();
        for number in 0..3_000 {
            let (mut a, mut b) = (Series::new(7, number), Series::new(7, number));
            assert!(a.labels.is_sorted_by(|x, y| x.0 < y.0), "{:?}", a.labels);
            assert!(seen.insert(a.labels.clone()), "{:?}", a.labels);
            assert!((0..9).all(|_| a.next().to_bits() == b.next().to_bits()));
        }
    }
}
