//! Runs of samples: the points of many series of one metric, coded together.
//!
//! A run holds up to [`RUN_POINTS`] points, series after series in the order of `series.parquet`, each series in time
//! order. Times, start times and values are each one pco stream (`pco`, standalone format): neighbours of one metric
//! are alike, and a long stream costs less a sample than many short ones. What a point carries beyond its value takes
//! one of three forms ([`PayloadForm`]).

mod columns;
mod decoded;
mod payloads;

use std::ops::Range;

use pco::ChunkConfig;
use pco::data_types::Number;
use pco::standalone::{simple_compress, simple_decompress};
use throughline_model::point::{Histogram, PointKind};
use throughline_model::protobuf::{Reader, put_varint};
use throughline_model::record::Point;

use crate::error::Error;
use crate::snapshot::parts::RawPayloads;

pub(crate) use decoded::DecodedRun;
use payloads::Payloads;

/// Points of a run at most, but a series is never split: pco gains little beyond, and a look-up decodes a whole run.
pub(crate) const RUN_POINTS: usize = 65_536;

/// How hard pco tries for flushed blocks, which live for minutes; 8 is its default.
const FLUSH_EFFORT: usize = 4;

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

fn compress<T: Number>(numbers: &[T], level: u32) -> Result<Vec<u8>, Error> {
    let config = ChunkConfig::default();
    let config = if level == 0 { config.with_compression_level(FLUSH_EFFORT) } else { config };
    simple_compress(numbers, &config).map_err(columns_error("encode"))
}

fn decompress<T: Number>(bytes: &[u8], expected: usize) -> Result<Vec<T>, Error> {
    let numbers: Vec<T> = simple_decompress(bytes).map_err(columns_error("decode"))?;
    if numbers.len() != expected {
        let detail = format!("a stream has {} numbers, {expected} were written", numbers.len());
        return Err(Error::Columns { action: "decode samples".to_owned(), detail });
    }
    Ok(numbers)
}

/// One point on its way into a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PointRef<'a> {
    pub(crate) time: i64,
    pub(crate) start_time: i64,
    pub(crate) value: f64,
    pub(crate) flags: u32,
    /// Empty for a number.
    pub(crate) payload: &'a [u8],
}

/// Points that are numbers, column by column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NumberColumns<'a> {
    pub(crate) times: &'a [i64],
    /// Empty where all are 0.
    pub(crate) start_times: &'a [i64],
    pub(crate) values: &'a [f64],
    /// Empty where all are 0.
    pub(crate) flags: &'a [u32],
}

/// Collects series of one metric into a run, column by column.
#[derive(Default)]
pub(crate) struct RunBuilder {
    /// The level of the block.
    level: u32,
    kind: Option<PointKind>,
    counts: Vec<u32>,
    /// Where the points of the current series start.
    series_start: usize,
    times: Vec<i64>,
    start_times: Vec<i64>,
    values: Vec<f64>,
    flags: Vec<u32>,
    payloads: Payloads,
}

impl RunBuilder {
    /// For a block of this level.
    pub(crate) fn of_level(level: u32) -> RunBuilder {
        RunBuilder { level, ..RunBuilder::default() }
    }

    /// Starts a run of a metric of this kind. The one before it is finished.
    pub(crate) fn begin(&mut self, kind: PointKind) {
        self.kind = Some(kind);
    }

    /// Adds the next point of the current series.
    pub(crate) fn push(&mut self, point: &PointRef<'_>) {
        let may_be_columns = self.kind == Some(PointKind::Histogram);
        self.payloads.push(point.payload, point.value, &self.values, may_be_columns);
        self.times.push(point.time);
        self.start_times.push(point.start_time);
        self.values.push(point.value);
        self.flags.push(point.flags);
    }

    /// Adds the next points of the current series.
    pub(crate) fn extend_numbers(&mut self, points: &NumberColumns<'_>) {
        self.payloads.pad(points.values.len(), &self.values);
        self.times.extend_from_slice(points.times);
        self.start_times.extend_from_slice(points.start_times);
        self.values.extend_from_slice(points.values);
        self.flags.extend_from_slice(points.flags);
        self.start_times.resize(self.times.len(), 0);
        self.flags.resize(self.times.len(), 0);
    }

    /// Adds the next points of the current series from another run.
    pub(crate) fn extend_decoded(&mut self, run: &DecodedRun, range: Range<usize>) {
        self.payloads.extend(&run.payloads, range.clone(), &self.values);
        self.times.extend_from_slice(run.times.get(range.clone()).unwrap_or_default());
        self.start_times.extend_from_slice(run.start_times.get(range.clone()).unwrap_or_default());
        self.values.extend_from_slice(run.values.get(range.clone()).unwrap_or_default());
        self.flags.extend_from_slice(run.flags.get(range).unwrap_or_default());
        self.flags.resize(self.times.len(), 0);
    }

    /// Ends the current series and returns how many points it has.
    pub(crate) fn end_series(&mut self) -> usize {
        let n_points = self.times.len() - self.series_start;
        self.counts.push(n_points as u32);
        self.series_start = self.times.len();
        n_points
    }

    /// Whether the run is long enough to be written.
    pub(crate) fn is_full(&self) -> bool {
        self.times.len() >= RUN_POINTS
    }

    /// Whether there is no series yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Encodes the run of the series that start at this row, and starts a new one.
    pub(crate) fn finish(&mut self, metric: &str, kind: PointKind, first_series: u32) -> Result<Run, Error> {
        let mut counts = Vec::with_capacity(self.counts.len());
        self.counts.iter().for_each(|count| put_varint(&mut counts, u64::from(*count)));
        let (payload_form, payload) = self.payloads.encode(self.level)?;
        let has_flags = self.flags.iter().any(|flags| *flags != 0);
        let run = Run {
            metric: metric.to_owned(),
            kind: kind as u8,
            first_series,
            series_count: self.counts.len() as u32,
            point_count: self.times.len() as u32,
            min_time: self.times.iter().copied().min().unwrap_or_default(),
            max_time: self.times.iter().copied().max().unwrap_or_default(),
            counts,
            start_times: compress(&self.start_times, self.level)?,
            times: compress(&self.times, self.level)?,
            values: compress(&self.values, self.level)?,
            flags: if has_flags { Some(compress(&self.flags, self.level)?) } else { None },
            payload_form: payload_form as u8,
            payload,
        };
        self.counts.clear();
        self.series_start = 0;
        self.times.clear();
        self.start_times.clear();
        self.values.clear();
        self.flags.clear();
        self.payloads = Payloads::None;
        Ok(run)
    }
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

/// Payloads after their lengths, out of the raw form.
fn unpack_raw(payload: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader::new(payload);
    let len = usize::try_from(reader.varint().ok()?).ok()?;
    // The length was written by us and lies under a checksum; zstd still stops at the end of its own frame.
    zstd::bulk::decompress(reader.rest(), len).ok()
}

fn decode_raw(payload: &[u8], points: &mut [Point]) -> Option<Result<(), Error>> {
    let payloads = raw_payloads(payload, points.len())?;
    for (at, point) in points.iter_mut().enumerate() {
        point.payload = payloads.get(at).to_vec();
    }
    Some(Ok(()))
}

/// The payloads of so many points; `None` where they end early.
fn raw_payloads(payload: &[u8], n_points: usize) -> Option<RawPayloads> {
    let plain = unpack_raw(payload)?;
    let mut reader = Reader::new(&plain);
    let mut payloads = RawPayloads::default();
    for _ in 0..n_points {
        payloads.push(reader.delimited().ok()?);
    }
    Some(payloads)
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

    fn point_ref(point: &Point) -> PointRef<'_> {
        let Point { time, start_time, value, flags, .. } = *point;
        PointRef { time, start_time, value, flags, payload: &point.payload }
    }

    fn check(kind: PointKind, series: &[Vec<Point>], form: PayloadForm) {
        let mut builder = RunBuilder::default();
        builder.begin(kind);
        for points in series {
            points.iter().for_each(|point| builder.push(&point_ref(point)));
            assert_eq!(builder.end_series(), points.len());
        }
        let run = builder.finish("m", kind, 7).unwrap();
        assert_eq!(run.payload_form, form as u8);
        let points = run.points(true).unwrap();
        assert_eq!(points, series.concat());
        let rows: Vec<u32> = run.series().into_iter().map(|(row, _)| row).collect();
        assert_eq!(rows, (7..7 + series.len() as u32).collect::<Vec<_>>());
        // Copied as a merge copies it, and once more after points without payloads.
        let decoded = run.decode().unwrap();
        builder.extend_decoded(&decoded, 0..0);
        for (_, range) in run.series() {
            builder.extend_decoded(&decoded, range);
            builder.end_series();
        }
        assert_eq!(builder.finish("m", kind, 7).unwrap(), run);
        let number = point(1, None);
        builder.push(&point_ref(&number));
        builder.extend_decoded(&decoded, 0..points.len());
        builder.end_series();
        let after_a_number = builder.finish("m", kind, 7).unwrap().points(true).unwrap();
        assert_eq!(after_a_number, [&[number], points.as_slice()].concat());
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
    fn numbers_are_taken_in_columns() {
        let (times, values) = ([1, 2, 3], [0.5, 1.5, 2.5]);
        let columns = NumberColumns { times: &times, start_times: &[], values: &values, flags: &[] };
        let mut builder = RunBuilder::default();
        builder.begin(PointKind::Gauge);
        builder.extend_numbers(&columns);
        builder.extend_numbers(&NumberColumns { start_times: &[7, 8, 9], flags: &[0, 1, 0], ..columns });
        assert_eq!(builder.end_series(), 6);
        let points = builder.finish("m", PointKind::Gauge, 0).unwrap().points(true).unwrap();
        let found: Vec<(i64, i64, f64, u32)> =
            points.iter().map(|point| (point.time, point.start_time, point.value, point.flags)).collect();
        let expected =
            [(1, 0, 0.5, 0), (2, 0, 1.5, 0), (3, 0, 2.5, 0), (1, 7, 0.5, 0), (2, 8, 1.5, 1), (3, 9, 2.5, 0)];
        assert_eq!(found, expected);
    }

    #[test]
    fn odd_histograms_come_back_raw() {
        let odd = Histogram { sum: None, ..histogram(3) };
        let mut last = point(2, Some(odd));
        last.value = 0.0;
        check(PointKind::Histogram, &[vec![point(1, Some(histogram(1))), last]], PayloadForm::Raw);
    }
}
