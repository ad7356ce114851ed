//! Runs of samples: the points of many series of one metric, coded together.
//!
//! A run holds up to [`RUN_POINTS`] points, series after series in the order of `series.parquet`, each series in time
//! order. Times, start times and values are each one pco stream (`pco`, standalone format): neighbours of one metric
//! are alike, and a long stream costs less a sample than many short ones. What a point carries beyond its value takes
//! one of three forms ([`PayloadForm`]).

mod columns;

use pco::ChunkConfig;
use pco::data_types::Number;
use pco::standalone::{simple_compress, simple_decompress};
use throughline_model::point::{Histogram, PointKind};
use throughline_model::protobuf::{Reader, put_varint};
use throughline_model::record::Point;

use crate::error::Error;

/// Points of a run at most, but a series is never split: pco gains little beyond, and a look-up decodes a whole run.
pub(crate) const RUN_POINTS: usize = 65_536;

/// How a run stores what its points carry beyond a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum PayloadForm {
    /// The points are numbers.
    None = 0,
    /// Histograms of equal bounds: the bounds, then pco streams of bucket counts (bucket after bucket), and of
    /// smallest and largest values where every point has them.
    Histogram = 1,
    /// Anything else: each payload after its length, all under zstd.
    Raw = 2,
}

/// A run of one metric, as it lies in a row of `samples.parquet`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Run {
    pub(crate) metric: String,
    pub(crate) kind: u8,
    pub(crate) first_series: u32,
    pub(crate) series_count: u32,
    pub(crate) point_count: u32,
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
    pub(crate) counts: Vec<u8>,
    pub(crate) times: Vec<u8>,
    pub(crate) start_times: Vec<u8>,
    pub(crate) values: Vec<u8>,
    pub(crate) flags: Option<Vec<u8>>,
    pub(crate) payload_form: u8,
    pub(crate) payload: Option<Vec<u8>>,
}

fn columns_error(action: &str) -> impl Fn(pco::errors::PcoError) -> Error + '_ {
    move |error| Error::Columns { action: format!("{action} samples"), detail: error.to_string() }
}

fn compress<T: Number>(numbers: &[T]) -> Result<Vec<u8>, Error> {
    simple_compress(numbers, &ChunkConfig::default()).map_err(columns_error("encode"))
}

fn decompress<T: Number>(bytes: &[u8], expected: usize) -> Result<Vec<T>, Error> {
    let numbers: Vec<T> = simple_decompress(bytes).map_err(columns_error("decode"))?;
    if numbers.len() != expected {
        let detail = format!("a stream has {} numbers, {expected} were written", numbers.len());
        return Err(Error::Columns { action: "decode samples".to_owned(), detail });
    }
    Ok(numbers)
}

/// Collects series of one metric into a run.
#[derive(Default)]
pub(crate) struct RunBuilder {
    counts: Vec<u32>,
    points: Vec<Point>,
}

impl RunBuilder {
    /// Adds the points of the next series, in time order.
    pub(crate) fn add_series(&mut self, points: impl IntoIterator<Item = Point>) {
        let before = self.points.len();
        self.points.extend(points);
        self.counts.push((self.points.len() - before) as u32);
    }

    /// Whether the run is long enough to be written.
    pub(crate) fn is_full(&self) -> bool {
        self.points.len() >= RUN_POINTS
    }

    /// Whether there is no series yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Encodes the run of the series that start at this row, and starts a new one.
    pub(crate) fn finish(&mut self, metric: &str, kind: PointKind, first_series: u32) -> Result<Run, Error> {
        let points = std::mem::take(&mut self.points);
        let series_counts = std::mem::take(&mut self.counts);
        let mut counts = Vec::with_capacity(series_counts.len());
        series_counts.iter().for_each(|count| put_varint(&mut counts, u64::from(*count)));
        let column = |pick: fn(&Point) -> i64| points.iter().map(pick).collect::<Vec<i64>>();
        let times = column(|point| point.time);
        let values: Vec<f64> = points.iter().map(|point| point.value).collect();
        let flags: Vec<u32> = points.iter().map(|point| point.flags).collect();
        let (payload_form, payload) = encode_payloads(kind, &points)?;
        Ok(Run {
            metric: metric.to_owned(),
            kind: kind as u8,
            first_series,
            series_count: series_counts.len() as u32,
            point_count: points.len() as u32,
            min_time: times.iter().copied().min().unwrap_or_default(),
            max_time: times.iter().copied().max().unwrap_or_default(),
            counts,
            start_times: compress(&column(|point| point.start_time))?,
            times: compress(&times)?,
            values: compress(&values)?,
            flags: if flags.iter().all(|f| *f == 0) { None } else { Some(compress(&flags)?) },
            payload_form: payload_form as u8,
            payload,
        })
    }
}

fn encode_payloads(kind: PointKind, points: &[Point]) -> Result<(PayloadForm, Option<Vec<u8>>), Error> {
    if points.iter().all(|point| point.payload.is_empty()) {
        return Ok((PayloadForm::None, None));
    }
    if kind == PointKind::Histogram
        && let Some(payload) = encode_histograms(points)?
    {
        return Ok((PayloadForm::Histogram, Some(payload)));
    }
    let mut plain = Vec::new();
    for point in points {
        put_varint(&mut plain, point.payload.len() as u64);
        plain.extend_from_slice(&point.payload);
    }
    let packed = zstd::bulk::compress(&plain, zstd::DEFAULT_COMPRESSION_LEVEL)
        .map_err(|error| Error::Columns { action: "encode samples".to_owned(), detail: error.to_string() })?;
    let mut payload = Vec::with_capacity(packed.len() + 10);
    put_varint(&mut payload, plain.len() as u64);
    payload.extend_from_slice(&packed);
    Ok((PayloadForm::Raw, Some(payload)))
}

/// The regular form, or `None` where any point would not come back exactly as it was.
fn encode_histograms(points: &[Point]) -> Result<Option<Vec<u8>>, Error> {
    let mut decoded = Vec::with_capacity(points.len());
    for point in points {
        let Ok(histogram) = Histogram::decode(&point.payload) else { return Ok(None) };
        decoded.push(histogram);
    }
    let Some(first) = decoded.first() else { return Ok(None) };
    let is_regular = |histogram: &Histogram, point: &Point| {
        histogram.bounds.len() + 1 == histogram.bucket_counts.len()
            && histogram.bounds == first.bounds
            && histogram.count == histogram.bucket_counts.iter().fold(0u64, |sum, n| sum.wrapping_add(*n))
            && histogram.sum.is_some_and(|sum| sum.to_bits() == point.value.to_bits())
            && histogram.min.is_some() == first.min.is_some()
            && histogram.max.is_some() == first.max.is_some()
    };
    if !decoded.iter().zip(points).all(|(histogram, point)| is_regular(histogram, point)) {
        return Ok(None);
    }
    let n_buckets = first.bucket_counts.len();
    let mut counts: Vec<u64> = Vec::with_capacity(n_buckets * decoded.len());
    for bucket in 0..n_buckets {
        counts.extend(decoded.iter().filter_map(|histogram| histogram.bucket_counts.get(bucket)));
    }
    let mut out = Vec::new();
    put_varint(&mut out, first.bounds.len() as u64);
    first.bounds.iter().for_each(|bound| out.extend_from_slice(&bound.to_le_bytes()));
    put_stream(&mut out, &compress(&counts)?);
    for pick in [|histogram: &Histogram| histogram.min, |histogram: &Histogram| histogram.max] {
        let values: Vec<f64> = decoded.iter().filter_map(pick).collect();
        let stream = if values.is_empty() { Vec::new() } else { compress(&values)? };
        put_stream(&mut out, &stream);
    }
    Ok(Some(out))
}

fn put_stream(out: &mut Vec<u8>, stream: &[u8]) {
    put_varint(out, stream.len() as u64);
    out.extend_from_slice(stream);
}

impl Run {
    /// The rows of `series.parquet` in the run with the range of their points.
    pub(crate) fn series(&self) -> Vec<(u32, std::ops::Range<usize>)> {
        let mut reader = Reader::new(&self.counts);
        let (mut out, mut from) = (Vec::with_capacity(self.series_count as usize), 0usize);
        for series in 0..self.series_count {
            let Ok(count) = reader.varint() else { break };
            let to = from.saturating_add(count as usize);
            out.push((self.first_series + series, from..to));
            from = to;
        }
        out
    }

    /// All points of the run. Payloads are rebuilt only where asked for.
    pub(crate) fn points(&self, with_payload: bool) -> Result<Vec<Point>, Error> {
        let n = self.point_count as usize;
        let times: Vec<i64> = decompress(&self.times, n)?;
        let starts: Vec<i64> = decompress(&self.start_times, n)?;
        let values: Vec<f64> = decompress(&self.values, n)?;
        let flags: Vec<u32> = match &self.flags {
            Some(flags) => decompress(flags, n)?,
            None => vec![0; n],
        };
        let mut points: Vec<Point> = times
            .into_iter()
            .zip(starts)
            .zip(values.into_iter().zip(flags))
            .map(|((time, start_time), (value, flags))| Point {
                time,
                start_time,
                value,
                flags,
                payload: Vec::new(),
            })
            .collect();
        if let (true, Some(payload)) = (with_payload, &self.payload) {
            let decoded = match self.payload_form {
                form if form == PayloadForm::Histogram as u8 => decode_histograms(payload, &mut points),
                _ => decode_raw(payload, &mut points),
            };
            decoded.ok_or_else(|| Error::Columns {
                action: "decode samples".to_owned(),
                detail: format!("the payload of a run of {:?} ends early", self.metric),
            })??;
        }
        Ok(points)
    }
}

fn decode_histograms(payload: &[u8], points: &mut [Point]) -> Option<Result<(), Error>> {
    let mut reader = Reader::new(payload);
    let n_bounds = usize::try_from(reader.varint().ok()?).ok()?;
    let bytes = reader.rest().get(..n_bounds.checked_mul(8)?)?;
    let bounds: Vec<f64> = bytes.as_chunks::<8>().0.iter().map(|bound| f64::from_le_bytes(*bound)).collect();
    let mut reader = Reader::new(reader.rest().get(bytes.len()..)?);
    let n_points = points.len();
    let counts: Vec<u64> = match decompress(reader.delimited().ok()?, (n_bounds + 1) * n_points) {
        Ok(counts) => counts,
        Err(error) => return Some(Err(error)),
    };
    let bounds_of = |reader: &mut Reader<'_>| -> Option<Result<Vec<f64>, Error>> {
        let stream = reader.delimited().ok()?;
        Some(if stream.is_empty() { Ok(Vec::new()) } else { decompress(stream, n_points) })
    };
    let (mins, maxs) = match (bounds_of(&mut reader)?, bounds_of(&mut reader)?) {
        (Ok(mins), Ok(maxs)) => (mins, maxs),
        (Err(error), _) | (_, Err(error)) => return Some(Err(error)),
    };
    for (at, point) in points.iter_mut().enumerate() {
        let bucket_counts: Vec<u64> = counts.iter().skip(at).step_by(n_points.max(1)).copied().collect();
        let histogram = Histogram {
            count: bucket_counts.iter().fold(0, |sum, n| sum.wrapping_add(*n)),
            sum: Some(point.value),
            min: mins.get(at).copied(),
            max: maxs.get(at).copied(),
            bucket_counts,
            bounds: bounds.clone(),
        };
        point.payload = histogram.encode();
    }
    Some(Ok(()))
}

fn decode_raw(payload: &[u8], points: &mut [Point]) -> Option<Result<(), Error>> {
    let mut reader = Reader::new(payload);
    let len = usize::try_from(reader.varint().ok()?).ok()?;
    // The length was written by us and lies under a checksum; zstd still stops at the end of its own frame.
    let plain = zstd::bulk::decompress(reader.rest(), len).ok()?;
    let mut reader = Reader::new(&plain);
    for point in points {
        point.payload = reader.delimited().ok()?.to_vec();
    }
    Some(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(time: i64, histogram: Option<Histogram>) -> Point {
        Point {
            time,
            start_time: 5,
            value: histogram.as_ref().and_then(|h| h.sum).unwrap_or(time as f64 / 3.0),
            flags: 0,
            payload: histogram.map(|h| h.encode()).unwrap_or_default(),
        }
    }

    fn check(kind: PointKind, series: &[Vec<Point>], form: PayloadForm) {
        let mut builder = RunBuilder::default();
        series.iter().for_each(|points| builder.add_series(points.clone()));
        let run = builder.finish("m", kind, 7).unwrap();
        assert_eq!(run.payload_form, form as u8);
        let points = run.points(true).unwrap();
        assert_eq!(points, series.concat());
        let rows: Vec<u32> = run.series().into_iter().map(|(row, _)| row).collect();
        assert_eq!(rows, (7..7 + series.len() as u32).collect::<Vec<_>>());
    }

    fn histogram(n: u64) -> Histogram {
        Histogram {
            count: 2 * n + 1,
            sum: Some(n as f64 * 0.5),
            min: Some(0.1),
            max: Some(n as f64),
            bucket_counts: vec![n, n, 1],
            bounds: vec![1.0, 2.0],
        }
    }

    #[test]
    fn numbers_come_back() {
        let series: Vec<Vec<Point>> =
            (0..20).map(|s| (0..30).map(|t| point(t * 15 + s, None)).collect()).collect();
        check(PointKind::Gauge, &series, PayloadForm::None);
    }

    #[test]
    fn histograms_come_back_in_columns() {
        let series: Vec<Vec<Point>> =
            (1..5).map(|s| (0..9).map(|t| point(t, Some(histogram(s * t as u64)))).collect()).collect();
        check(PointKind::Histogram, &series, PayloadForm::Histogram);
    }

    #[test]
    fn odd_histograms_come_back_raw() {
        let odd = Histogram { sum: None, ..histogram(3) };
        let mut last = point(2, Some(odd));
        last.value = 0.0;
        check(PointKind::Histogram, &[vec![point(1, Some(histogram(1))), last]], PayloadForm::Raw);
    }
}
