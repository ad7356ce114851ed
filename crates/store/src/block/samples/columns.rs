//! A run as columns: what a query reads, without a row per point.

use throughline_model::protobuf::Reader;

use super::{PayloadForm, Run, decompress, raw_payloads};
use crate::error::Error;
use crate::snapshot::parts::{Payloads, PointColumns, PointWant};

impl Run {
    /// The points of the wanted series, given by ascending rows of `series.parquet`.
    pub(crate) fn columns(&self, wanted: &[u32], want: PointWant) -> Result<PointColumns, Error> {
        let n = self.point_count as usize;
        let is_wanted = |row: &u32| wanted.binary_search(row).is_ok();
        Ok(PointColumns {
            series: self.series().into_iter().filter(|(row, _)| is_wanted(row)).collect(),
            times: decompress(&self.times, n)?,
            start_times: if want.start_times { decompress(&self.start_times, n)? } else { Vec::new() },
            values: decompress(&self.values, n)?,
            flags: self.flags.as_ref().map(|flags| decompress(flags, n)).transpose()?.unwrap_or_default(),
            payloads: match &self.payload {
                Some(payload) if want.payloads => self.payload_columns(payload)?,
                _ => Payloads::None,
            },
        })
    }

    fn payload_columns(&self, payload: &[u8]) -> Result<Payloads, Error> {
        let ends_early = || Error::Columns {
            action: "decode samples".to_owned(),
            detail: format!("the payload of a run of {:?} ends early", self.metric),
        };
        if self.payload_form == PayloadForm::Histogram as u8 {
            let (bounds, rest) = bounds_of(payload).ok_or_else(ends_early)?;
            let stream = Reader::new(rest).delimited().map_err(|_| ends_early())?;
            let n_counts = (bounds.len() + 1) * self.point_count as usize;
            return Ok(Payloads::Buckets { bounds: bounds.into(), counts: decompress(stream, n_counts)? });
        }
        Ok(Payloads::Raw(raw_payloads(payload, self.point_count as usize).ok_or_else(ends_early)?))
    }

    /// The bounds that all histograms of the run share; `None` where they are not alike.
    pub(crate) fn shared_bounds(&self) -> Option<Vec<f64>> {
        let payload = self.payload.as_ref().filter(|_| self.payload_form == PayloadForm::Histogram as u8)?;
        Some(bounds_of(payload)?.0)
    }
}

/// The bounds at the start of a payload in columns, and what follows them.
fn bounds_of(payload: &[u8]) -> Option<(Vec<f64>, &[u8])> {
    let mut reader = Reader::new(payload);
    let n_bounds = usize::try_from(reader.varint().ok()?).ok()?;
    let rest = reader.rest();
    let bytes = rest.get(..n_bounds.checked_mul(8)?)?;
    let bounds = bytes.as_chunks::<8>().0.iter().map(|bound| f64::from_le_bytes(*bound)).collect();
    Some((bounds, rest.get(bytes.len()..)?))
}
