//! From a run's columns to samples: what each family takes from a stored point.

use std::ops::Range;
use std::sync::Arc;

use ahash::AHashMap as HashMap;
use throughline_exec::{FloatHistogram, Grid, Matcher, SeriesSamples, Times, stale_nan};
use throughline_model::point::{Histogram, Summary};
use throughline_store::snapshot::parts::{Payloads, PointColumns};

use super::native;
use super::runs::{DecodedRun, RunSeries};
use super::translate::{Family, Form};

/// OTLP's flag of a point that says only that there is no value any more.
const NO_RECORDED_VALUE: u32 = 1;

const NS_PER_MS: i64 = 1_000_000;

/// The samples that one run gives for one series of a family.
pub(super) struct Piece {
    /// The value of `le` or `quantile`, as bits.
    pub(super) dynamic: Option<u64>,
    pub(super) samples: SeriesSamples,
}

/// How `le` and `quantile` write a number.
pub(super) fn number_text(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        format!("{value}")
    }
}

/// What to take from a run for one family.
pub(super) struct Expansion<'a> {
    pub(super) family: &'a Family,
    /// Matchers of the family's dynamic label.
    pub(super) matchers: &'a [&'a Matcher],
    /// The window, milliseconds, both ends within.
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) start_times: bool,
    /// Where only the last samples up to these times are asked for.
    pub(super) last_at: Option<Grid>,
}

/// The part of its times that a series has within the window; the series of one target share it.
#[derive(Default)]
pub(super) struct WindowTimes {
    /// Of which times, from where to where, and the part.
    last: Option<(Times, Range<usize>, Times)>,
    /// Of which times, and which of them are the last of a grid, with their indexes.
    last_of_grid: Option<(Times, Vec<usize>, Times)>,
}

impl WindowTimes {
    fn of(&mut self, times: &Times, part: &Range<usize>) -> Times {
        if part.len() == times.len() {
            return times.clone();
        }
        match &self.last {
            Some((of, known, shared)) if known == part && of.is_same(times) => shared.clone(),
            _ => {
                let shared: Times = times.get(part.clone()).unwrap_or_default().to_vec().into();
                self.last = Some((times.clone(), part.clone(), shared.clone()));
                shared
            }
        }
    }
}

impl WindowTimes {
    /// The times that are the last of a grid, and their indexes.
    fn last_of(&mut self, grid: Grid, times: &Times) -> (&[usize], Times) {
        if !self.last_of_grid.as_ref().is_some_and(|(of, ..)| of.is_same(times)) {
            let indexes = grid.last_of(times);
            let last = indexes.iter().filter_map(|at| times.get(*at)).copied().collect();
            self.last_of_grid = Some((times.clone(), indexes, last));
        }
        match &self.last_of_grid {
            Some((_, indexes, last)) => (indexes, last.clone()),
            None => (&[], Times::default()),
        }
    }
}

/// One stored series' points within a run.
struct Points<'a> {
    run: &'a DecodedRun,
    columns: &'a PointColumns,
    /// Those within the window.
    range: Range<usize>,
    times: Times,
}

impl Points<'_> {
    fn starts_ms(&self) -> Vec<i64> {
        let times = self.columns.start_times.get(self.range.clone()).unwrap_or_default();
        times.iter().map(|time| time.div_euclid(NS_PER_MS)).collect()
    }

    fn is_stale(&self, at: usize) -> bool {
        self.columns.flags.get(at).is_some_and(|flags| flags & NO_RECORDED_VALUE != 0)
    }

    fn value(&self, at: usize) -> f64 {
        self.run.values.get(at).unwrap_or(f64::NAN)
    }

    fn payload(&self, at: usize) -> &[u8] {
        match &self.columns.payloads {
            Payloads::Raw(payloads) => payloads.get(at),
            _ => &[],
        }
    }
}

impl Expansion<'_> {
    /// The pieces of one stored series of a run.
    pub(super) fn pieces(
        &self,
        run: &DecodedRun,
        series: &RunSeries,
        window_times: &mut WindowTimes,
    ) -> Vec<Piece> {
        let Some(points) = self.within(run, series, window_times) else { return Vec::new() };
        match self.family.form {
            Form::Value => vec![self.values(&points, window_times)],
            Form::TargetInfo => vec![self.floats(&points, None, |at| (!points.is_stale(at)).then_some(1.0))],
            Form::Sum | Form::Count => vec![self.sum_or_count(&points)],
            Form::Bucket => self.buckets(&points),
            Form::Quantile => self.quantiles(&points),
            Form::Exponential | Form::Native => vec![self.histograms(&points)],
        }
    }

    /// The points that lie within the window.
    fn within<'a>(
        &self,
        run: &'a DecodedRun,
        series: &RunSeries,
        window_times: &mut WindowTimes,
    ) -> Option<Points<'a>> {
        let RunSeries { points, times, .. } = series;
        let mut from = times.partition_point(|time| *time < self.start_ms);
        let to = times.partition_point(|time| *time <= self.end_ms);
        if self.last_at.is_some_and(|grid| grid.count == 1) {
            // The one time is the end of the window.
            from = from.max(to.saturating_sub(1));
        }
        let times = (from < to).then(|| window_times.of(times, &(from..to)))?;
        let range = points.start + from..points.start + to;
        Some(Points { run, columns: &run.columns, range, times })
    }

    /// The values as they are stored.
    fn values(&self, points: &Points<'_>, window_times: &mut WindowTimes) -> Piece {
        if !points.columns.flags.is_empty() {
            return self.floats(points, None, |at| Some(points.value(at)));
        }
        if let Some(grid) = self.last_at.filter(|grid| grid.count > 1 && !self.start_times) {
            let (indexes, timestamps) = window_times.last_of(grid, &points.times);
            let values = points.run.values.picked(points.range.start, indexes);
            return Piece {
                dynamic: None,
                samples: SeriesSamples { timestamps, values, ..SeriesSamples::default() },
            };
        }
        let samples = SeriesSamples {
            timestamps: points.times.clone(),
            values: points.run.values.range(points.range.clone()),
            start_timestamps: if self.start_times { points.starts_ms() } else { Vec::new() },
            ..SeriesSamples::default()
        };
        Piece { dynamic: None, samples }
    }

    /// A piece of floats; `value` is asked for each point that has one.
    fn floats(
        &self,
        points: &Points<'_>,
        dynamic: Option<u64>,
        value: impl Fn(usize) -> Option<f64>,
    ) -> Piece {
        let mut samples = SeriesSamples {
            timestamps: points.times.clone(),
            start_timestamps: if self.start_times { points.starts_ms() } else { Vec::new() },
            ..SeriesSamples::default()
        };
        samples.values.reserve_exact(samples.timestamps.len());
        let mut gaps = false;
        for at in points.range.clone() {
            let stale = points.is_stale(at) && self.family.form != Form::TargetInfo;
            let value = if stale { Some(stale_nan()) } else { value(at) };
            gaps |= value.is_none();
            samples.values.push(value.unwrap_or(f64::NAN));
        }
        if gaps {
            let kept: Vec<bool> = points
                .range
                .clone()
                .map(|at| {
                    (points.is_stale(at) && self.family.form != Form::TargetInfo) || value(at).is_some()
                })
                .collect();
            let times = samples.timestamps.iter().zip(&kept).filter(|(_, kept)| **kept);
            samples.timestamps = times.map(|(time, _)| *time).collect();
            retain(&mut samples.values, &kept);
            retain(&mut samples.start_timestamps, &kept);
        }
        Piece { dynamic, samples }
    }

    fn sum_or_count(&self, points: &Points<'_>) -> Piece {
        let is_sum = self.family.form == Form::Sum;
        match &points.columns.payloads {
            Payloads::Buckets { bounds, counts } if !is_sum => {
                let n = points.run.values.len();
                let count = |at: usize| {
                    let of_bucket = |bucket: usize| counts.get(bucket * n + at).copied().unwrap_or_default();
                    (0..=bounds.len()).map(of_bucket).fold(0u64, u64::wrapping_add) as f64
                };
                self.floats(points, None, |at| Some(count(at)))
            }
            Payloads::Raw(_) => self.floats(points, None, |at| {
                // Histogram and summary have count and sum under the same numbers.
                let histogram = Histogram::decode(points.payload(at)).ok()?;
                if is_sum { histogram.sum } else { Some(histogram.count as f64) }
            }),
            _ => self.floats(points, None, |at| is_sum.then(|| points.value(at))),
        }
    }

    fn buckets(&self, points: &Points<'_>) -> Vec<Piece> {
        match &points.columns.payloads {
            Payloads::Buckets { bounds, counts } => {
                let n = points.run.values.len();
                let mut cumulated = vec![0u64; points.range.len()];
                let mut out = Vec::with_capacity(bounds.len() + 1);
                for (bucket, bound) in bounds.iter().copied().chain([f64::INFINITY]).enumerate() {
                    let from = bucket * n;
                    let of_bucket = counts.get(from + points.range.start..from + points.range.end);
                    for (sum, count) in cumulated.iter_mut().zip(of_bucket.unwrap_or_default()) {
                        *sum = sum.wrapping_add(*count);
                    }
                    if self.accepts(bound) {
                        let first = points.range.start;
                        let value = |at: usize| cumulated.get(at - first).map(|count| *count as f64);
                        out.push(self.floats(points, Some(bound.to_bits()), value));
                    }
                }
                out
            }
            Payloads::Raw(_) => {
                let decoded: Vec<Option<Histogram>> = points
                    .range
                    .clone()
                    .map(|at| Histogram::decode(points.payload(at)).ok().filter(|_| !points.is_stale(at)))
                    .collect();
                self.by_dynamic(points, decoded.iter().map(|h| h.as_ref().map(cumulated_buckets)))
            }
            Payloads::None => Vec::new(),
        }
    }

    fn quantiles(&self, points: &Points<'_>) -> Vec<Piece> {
        let quantiles = points.range.clone().map(|at| {
            let summary = Summary::decode(points.payload(at)).ok().filter(|_| !points.is_stale(at))?;
            Some(summary.quantiles)
        });
        self.by_dynamic(points, quantiles)
    }

    /// Pieces where each point brings its own values of the dynamic label. A point without any is a stale marker for
    /// all of them.
    fn by_dynamic(
        &self,
        points: &Points<'_>,
        values: impl Iterator<Item = Option<Vec<(f64, f64)>>>,
    ) -> Vec<Piece> {
        let values: Vec<Option<Vec<(f64, f64)>>> = values.collect();
        let mut names: Vec<u64> = Vec::new();
        let mut maps: Vec<Option<HashMap<u64, f64>>> = Vec::with_capacity(values.len());
        for of_point in values {
            let map: Option<HashMap<u64, f64>> = of_point
                .map(|pairs| pairs.into_iter().map(|(name, value)| (name.to_bits(), value)).collect());
            names.extend(map.iter().flat_map(|map| map.keys().copied()));
            maps.push(map);
        }
        names.sort_unstable();
        names.dedup();
        let first = points.range.start;
        let accepted = names.into_iter().filter(|name| self.accepts(f64::from_bits(*name)));
        accepted
            .map(|name| {
                self.floats(points, Some(name), |at| maps.get(at - first)?.as_ref()?.get(&name).copied())
            })
            .collect()
    }

    fn accepts(&self, dynamic: f64) -> bool {
        self.matchers.is_empty() || {
            let text = number_text(dynamic);
            self.matchers.iter().all(|matcher| matcher.matches(&text))
        }
    }

    fn histograms(&self, points: &Points<'_>) -> Piece {
        let mut samples = SeriesSamples::default();
        let starts = if self.start_times { points.starts_ms() } else { Vec::new() };
        for ((at, time), n) in points.range.clone().zip(points.times.iter().copied()).zip(0..) {
            let histogram = if points.is_stale(at) {
                Some(native::stale())
            } else if self.family.form == Form::Native {
                native::of_prometheus(points.payload(at), points.value(at))
            } else {
                native::of_exponential(points.payload(at))
            };
            if let Some(histogram) = histogram {
                samples.histograms.push((time, Arc::<FloatHistogram>::new(histogram)));
                samples.histogram_start_timestamps.extend(starts.get(n));
            }
        }
        Piece { dynamic: None, samples }
    }
}

/// The bounds with their cumulated counts; a histogram without buckets has its count alone.
fn cumulated_buckets(histogram: &Histogram) -> Vec<(f64, f64)> {
    let mut sum = 0u64;
    let mut out: Vec<(f64, f64)> = Vec::with_capacity(histogram.bounds.len() + 1);
    for (bound, count) in histogram.bounds.iter().zip(&histogram.bucket_counts) {
        sum = sum.wrapping_add(*count);
        out.push((*bound, sum as f64));
    }
    out.push((f64::INFINITY, histogram.count as f64));
    out
}

fn retain<T: Copy>(values: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    values.retain(|_| kept.next().copied().unwrap_or(true));
}
