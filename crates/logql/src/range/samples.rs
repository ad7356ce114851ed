//! Windows whose value needs each of their samples.

use super::Grid;

/// What is made of the samples of a window.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whole {
    /// The value that this part of the samples does not exceed.
    Quantile(f64),
    /// The increase of a counter for each second.
    Increase,
}

/// The samples of one series: times and values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<(i64, f64)>);

impl Samples {
    pub(crate) fn add(&mut self, time_ns: i64, value: f64) {
        self.0.push((time_ns, value));
    }

    /// The value of each window that has a sample.
    pub(crate) fn windows(mut self, grid: &Grid, whole: Whole) -> Vec<Option<f64>> {
        self.0.sort_by_key(|sample| sample.0);
        let (mut first, mut end) = (0, 0);
        let mut scratch = Vec::new();
        let points = (0..grid.steps().count).map(|step| {
            let last_ns = grid.steps().at(step);
            let start_ns = last_ns.saturating_sub(grid.range_ns());
            let until = |from: usize, bound_ns: i64| {
                let rest = self.0.get(from..).unwrap_or_default();
                from + rest.partition_point(|sample| sample.0 <= bound_ns)
            };
            (first, end) = (until(first, start_ns), until(end, last_ns));
            let window = self.0.get(first..end).filter(|window| !window.is_empty())?;
            Some(match whole {
                Whole::Quantile(rank) => {
                    scratch.clear();
                    scratch.extend(window.iter().map(|sample| sample.1));
                    quantile(rank, &mut scratch)
                }
                Whole::Increase => increase(window, start_ns, last_ns),
            })
        });
        points.collect()
    }
}

/// The quantile of values, between two of them in proportion: no number where the neighbour is infinite, even if its part is zero.
/// What is no number counts as smallest.
fn quantile(rank: f64, values: &mut [f64]) -> f64 {
    if rank.is_nan() {
        return f64::NAN;
    }
    if rank < 0.0 {
        return f64::NEG_INFINITY;
    }
    if rank > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b)));
    let place = rank * (values.len() as f64 - 1.0);
    let (lower, weight) = (place.floor(), place - place.floor());
    let value = |at: f64| values.get(at as usize).or(values.last()).copied().unwrap_or(f64::NAN);
    value(lower) * (1.0 - weight) + value(lower + 1.0) * weight
}

/// The increase of a counter for each second of a window. A value that falls began again from zero.
///
/// The increase between the first and the last sample is extended to the edges of the window where these are about as near as the
/// samples are to each other, else by half such a distance; and never to where the counter would have been below zero.
fn increase(window: &[(i64, f64)], start_ns: i64, end_ns: i64) -> f64 {
    let (Some(first), Some(last)) = (window.first(), window.last()) else { return 0.0 };
    if window.len() < 2 {
        return 0.0;
    }
    let resets: f64 = window.windows(2).map(|pair| if pair[1].1 < pair[0].1 { pair[0].1 } else { 0.0 }).sum();
    let delta = last.1 - first.1 + resets;
    let seconds = |ns: i64| ns as f64 / 1e9;
    let sampled = seconds(last.0 - first.0);
    if sampled <= 0.0 {
        return 0.0;
    }
    let between = sampled / (window.len() - 1) as f64;
    let extension = |distance: f64| if distance >= between * 1.1 { between / 2.0 } else { distance };
    let mut before = extension(seconds(first.0.saturating_sub(start_ns)));
    if delta > 0.0 && first.1 >= 0.0 {
        before = before.min(sampled * (first.1 / delta));
    }
    let after = extension(seconds(end_ns.saturating_sub(last.0)));
    delta * ((sampled + before + after) / sampled) / seconds(end_ns.saturating_sub(start_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_values() {
        let of = |rank: f64, values: &[f64]| quantile(rank, &mut values.to_vec());
        assert_eq!(of(0.4, &[5.0, 1.0, 4.0, 2.0, 3.0]), 2.6);
        assert_eq!((of(0.0, &[2.0, 1.0]), of(1.0, &[2.0, 1.0])), (1.0, 2.0));
        assert_eq!((of(-0.1, &[1.0]), of(1.1, &[1.0])), (f64::NEG_INFINITY, f64::INFINITY));
        assert_eq!(of(0.75, &[f64::INFINITY, 1.0]), f64::INFINITY);
        assert!(of(1.0, &[f64::INFINITY, 1.0]).is_nan());
        assert!(of(0.0, &[1.0, f64::NAN]).is_nan());
    }

    #[test]
    fn counters_increase_over_resets_and_to_the_edges() {
        let window = |samples: &[(i64, f64)], start: i64, end: i64| {
            let samples: Vec<_> = samples.iter().map(|(s, v)| (s * 1_000_000_000, *v)).collect();
            increase(&samples, start * 1_000_000_000, end * 1_000_000_000)
        };
        assert_eq!(window(&[(60, 60.0), (90, 90.0), (120, 30.0), (150, 60.0)], 30, 150), 1.0);
        assert_eq!(window(&[(75, 30.0), (105, 90.0)], 45, 105), 1.5);
        assert_eq!(window(&[(150, 600.0), (180, 660.0)], 90, 240), 0.8);
        assert_eq!(window(&[(180, 40.0), (210, 100.0)], 120, 210), 1.0);
        assert_eq!(window(&[(60, 5.0)], 30, 90), 0.0);
    }
}
