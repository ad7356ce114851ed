//! A run as a merge reads it: all columns of it decoded once, from which ranges of points are copied.

use throughline_model::protobuf::Reader;

use super::payloads::HistogramColumns;
use super::{PayloadForm, Run, decompress};
use crate::error::Error;

/// What the points of a decoded run carry beyond a value.
#[derive(Debug, Default)]
pub(super) enum Payloads {
    #[default]
    None,
    /// Histograms, and the sums of all of them.
    Columns(HistogramColumns, Vec<f64>),
    /// Each payload after its length, where each of them starts, and where the last ends.
    Raw { plain: Vec<u8>, starts: Vec<usize> },
}

/// The points of a run, column by column.
#[derive(Debug, Default)]
pub(crate) struct DecodedRun {
    pub(crate) times: Vec<i64>,
    pub(super) start_times: Vec<i64>,
    pub(super) values: Vec<f64>,
    /// Empty where all are 0.
    pub(super) flags: Vec<u32>,
    pub(super) payloads: Payloads,
}

impl Run {
    /// All columns of the run.
    pub(crate) fn decode(&self) -> Result<DecodedRun, Error> {
        let n = self.point_count as usize;
        let values: Vec<f64> = decompress(&self.values, n)?;
        let payloads = match &self.payload {
            None => Payloads::None,
            Some(payload) => {
                let decoded = match self.payload_form {
                    form if form == PayloadForm::Histogram as u8 => decode_columns(payload, n, &values),
                    _ => decode_raw(payload, n).map(Ok),
                };
                decoded.ok_or_else(|| Error::Columns {
                    action: "decode samples".to_owned(),
                    detail: format!("the payload of a run of {:?} ends early", self.metric),
                })??
            }
        };
        Ok(DecodedRun {
            times: decompress(&self.times, n)?,
            start_times: decompress(&self.start_times, n)?,
            flags: self.flags.as_ref().map(|flags| decompress(flags, n)).transpose()?.unwrap_or_default(),
            values,
            payloads,
        })
    }
}

fn decode_columns(payload: &[u8], n_points: usize, sums: &[f64]) -> Option<Result<Payloads, Error>> {
    let mut reader = Reader::new(payload);
    let n_bounds = usize::try_from(reader.varint().ok()?).ok()?;
    let bounds = reader.rest().get(..n_bounds.checked_mul(8)?)?;
    let mut reader = Reader::new(reader.rest().get(bounds.len()..)?);
    let n_buckets = n_bounds.checked_add(1)?;
    let by_bucket: Vec<u64> = match decompress(reader.delimited().ok()?, n_buckets.checked_mul(n_points)?) {
        Ok(counts) => counts,
        Err(error) => return Some(Err(error)),
    };
    let mut bounds_of = || -> Option<Result<Vec<f64>, Error>> {
        let stream = reader.delimited().ok()?;
        Some(if stream.is_empty() { Ok(Vec::new()) } else { decompress(stream, n_points) })
    };
    let (mins, maxs) = match (bounds_of()?, bounds_of()?) {
        (Ok(mins), Ok(maxs)) => (mins, maxs),
        (Err(error), _) | (_, Err(error)) => return Some(Err(error)),
    };
    let mut counts: Vec<u64> = Vec::with_capacity(by_bucket.len());
    for point in 0..n_points {
        counts.extend(by_bucket.iter().skip(point).step_by(n_points));
    }
    let columns = HistogramColumns { bounds: bounds.to_vec(), counts, mins, maxs };
    Some(Ok(Payloads::Columns(columns, sums.to_vec())))
}

fn decode_raw(payload: &[u8], n_points: usize) -> Option<Payloads> {
    let plain = super::unpack_raw(payload)?;
    let mut starts = Vec::with_capacity(n_points + 1);
    let mut reader = Reader::new(&plain);
    for _ in 0..n_points {
        starts.push(plain.len() - reader.rest().len());
        reader.delimited().ok()?;
    }
    starts.push(plain.len() - reader.rest().len());
    Some(Payloads::Raw { plain, starts })
}
