//! Remote write, 1.0 and 2.0: requests into batches, and samples of our own into requests.
//!
//! The two versions differ in where labels, histograms and exemplars are ([`v1`], [`v2`]); series, samples and
//! histograms are alike and are taken here. What is wrong with one sample refuses that sample, what is wrong with the
//! labels of a series refuses its samples; everything else is kept. Samples may come in any order. Exemplars that
//! cannot be taken are left out with a remark, as in Prometheus: they do not refuse anything.

mod histogram;
mod request;
mod v1;
mod v2;

use throughline_model::point::PointKind;
use throughline_model::protobuf::{Field, Malformed, Reader};

use super::labels::Labels;
use super::refusal::{Refusal, Tally};
use super::sink::{Metadata, Sink};
use crate::{DecodeContext, DecodeError, Decoded};

pub use request::{Exemplar, RequestBuilder, Sample, Series};

/// Which version of remote write a request is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 1.0: `prometheus.WriteRequest`.
    V1,
    /// 2.0: `io.prometheus.write.v2.Request`.
    V2,
}

/// Decodes one decompressed request.
pub fn decode(version: Version, body: &[u8], context: &DecodeContext) -> Result<Decoded, DecodeError> {
    let mut walk = Walk {
        sink: Sink::new(context, body.len()),
        tally: Tally::new(&context.limits),
        context,
        index: 0,
        labels: Labels::default(),
        payload: Vec::new(),
    };
    let walked = match version {
        Version::V1 => v1::walk(body, &mut walk),
        Version::V2 => v2::walk(body, &mut walk),
    };
    walked.map_err(|cause| DecodeError::Protobuf { path: format!("timeseries[{}]", walk.index), cause })?;
    Ok(Decoded { batch: walk.sink.finish(), rejected: walk.tally.finish() })
}

/// A walk over the series of a request.
struct Walk<'a> {
    sink: Sink<'a>,
    tally: Tally,
    context: &'a DecodeContext,
    /// The series within the request.
    index: usize,
    labels: Labels<'a>,
    /// The histogram at hand.
    payload: Vec<u8>,
}

/// Where a version has what both have.
struct Layout {
    samples: u32,
    histograms: u32,
    exemplars: u32,
}

/// What a series has, counted before its labels are known to be good.
#[derive(Default)]
struct Contents {
    samples: u64,
    histograms: u64,
    exemplars: u64,
}

impl Contents {
    fn count(message: &[u8], layout: &Layout) -> Result<Contents, Malformed> {
        let mut contents = Contents::default();
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field()? {
            if !matches!(field, Field::Bytes(_)) {
                continue;
            }
            contents.samples += u64::from(number == layout.samples);
            contents.histograms += u64::from(number == layout.histograms);
            contents.exemplars += u64::from(number == layout.exemplars);
        }
        Ok(contents)
    }
}

impl<'a> Walk<'a> {
    /// Refuses a series for its labels.
    #[cold]
    fn refuse_series(&mut self, message: &[u8], layout: &Layout, refusal: Refusal) -> Result<(), Malformed> {
        let contents = Contents::count(message, layout)?;
        // A series without samples is counted as one item, so that it shows.
        let count = (contents.samples + contents.histograms).max(1);
        self.tally.refuse(format_args!("timeseries[{}]", self.index), refusal, count);
        Ok(())
    }

    /// Takes the samples, histograms and exemplars of a series, whose labels are in `self.labels` and checked.
    /// `exemplar_labels` reads those of an exemplar's message.
    fn take(
        &mut self,
        message: &'a [u8],
        layout: &Layout,
        metadata: &Metadata<'_>,
        exemplar_labels: impl Fn(&'a [u8], &mut Labels<'a>) -> Result<Result<(), Refusal>, Malformed>,
    ) -> Result<(), Malformed> {
        let (mut samples, mut histograms) = (None, None);
        let mut has_exemplars = false;
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field()? {
            let Field::Bytes(bytes) = field else { continue };
            if number == layout.samples {
                let series = *samples
                    .get_or_insert_with(|| self.sink.series(&mut self.labels, PointKind::Sample, metadata));
                self.sample(bytes, series)?;
            } else if number == layout.histograms {
                let series = *histograms.get_or_insert_with(|| {
                    self.sink.series(&mut self.labels, PointKind::NativeHistogram, metadata)
                });
                self.histogram(bytes, series)?;
            } else if number == layout.exemplars {
                has_exemplars = true;
            }
        }
        if has_exemplars {
            let series = histograms
                .or(samples)
                .unwrap_or_else(|| self.sink.series(&mut self.labels, PointKind::Sample, metadata));
            self.exemplars(message, layout, series, exemplar_labels)?;
        } else if samples.is_none() && histograms.is_none() {
            self.tally.refuse(format_args!("timeseries[{}]", self.index), Refusal::NoSample, 1);
        }
        Ok(())
    }

    #[inline]
    fn sample(&mut self, message: &[u8], series: u128) -> Result<(), Malformed> {
        let (mut value, mut time_ms, mut start_ms) = (0.0, 0, 0);
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (1, Field::Fixed64(bits)) => value = f64::from_bits(bits),
                (2, Field::Varint(ms)) => time_ms = ms as i64,
                (3, Field::Varint(ms)) => start_ms = ms as i64,
                _ => {}
            }
        }
        let admitted = self.tally.admit();
        if let Err(refusal) = admitted.and_then(|()| self.sink.point(series, time_ms, start_ms, value, None))
        {
            self.tally.refuse(format_args!("timeseries[{}].samples", self.index), refusal, 1);
        }
        Ok(())
    }

    fn histogram(&mut self, message: &[u8], series: u128) -> Result<(), Malformed> {
        let taken = match histogram::read(message, &mut self.payload)? {
            Ok(read) => self.tally.admit().and_then(|()| {
                self.sink.point(series, read.time_ms, read.start_ms, read.sum, Some(&self.payload))
            }),
            Err(bad) => Err(Refusal::Histogram(bad)),
        };
        if let Err(refusal) = taken {
            self.tally.refuse(format_args!("timeseries[{}].histograms", self.index), refusal, 1);
        }
        Ok(())
    }

    fn exemplars(
        &mut self,
        message: &'a [u8],
        layout: &Layout,
        series: u128,
        read_labels: impl Fn(&'a [u8], &mut Labels<'a>) -> Result<Result<(), Refusal>, Malformed>,
    ) -> Result<(), Malformed> {
        let mut labels = Labels::default();
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field()? {
            let (true, Field::Bytes(exemplar)) = (number == layout.exemplars, field) else { continue };
            labels.clear();
            let read = read_labels(exemplar, &mut labels)?;
            let (mut value, mut time_ms) = (0.0, 0);
            let mut fields = Reader::new(exemplar);
            while let Some((number, field)) = fields.next_field()? {
                match (number, field) {
                    (2, Field::Fixed64(bits)) => value = f64::from_bits(bits),
                    (3, Field::Varint(ms)) => time_ms = ms as i64,
                    _ => {}
                }
            }
            let taken = read
                .and_then(|()| labels.check(&self.context.limits))
                .and_then(|()| self.sink.exemplar(series, &labels, time_ms, value));
            if let Err(refusal) = taken {
                self.tally.refuse(format_args!("timeseries[{}].exemplars", self.index), refusal, 0);
            }
        }
        Ok(())
    }
}
