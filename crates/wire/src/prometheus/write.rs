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
use super::refusal::Refusal;
pub(crate) use super::sink::Memory;
use super::sink::{Metadata, Sink};
use crate::rejection::Tally;
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
pub(crate) fn decode(
    version: Version,
    body: &[u8],
    context: &DecodeContext,
    memory: &mut Memory,
) -> Result<Decoded, DecodeError> {
    let mut walk = Walk {
        sink: Sink::new(context, memory, body.len()),
        tally: Tally::new(&context.limits),
        context,
        index: 0,
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
    /// The histogram at hand.
    payload: Vec<u8>,
}

/// Where a version has what both have.
struct Layout {
    samples: u32,
    histograms: u32,
    exemplars: u32,
    /// Whether a series without any of them is refused: 2.0 says so, and senders of 1.0 rely on the contrary.
    refuses_empty: bool,
}

/// What a series has, counted before its labels are known to be good.
#[derive(Clone, Copy, Default)]
struct Contents {
    samples: u64,
    histograms: u64,
    exemplars: u64,
}

impl Contents {
    #[inline]
    fn count(&mut self, number: u32, layout: &Layout) {
        self.samples += u64::from(number == layout.samples);
        self.histograms += u64::from(number == layout.histograms);
        self.exemplars += u64::from(number == layout.exemplars);
    }
}

impl Walk<'_> {
    /// Refuses a series for its labels.
    #[cold]
    fn refuse_series(&mut self, contents: Contents, refusal: Refusal) {
        // A series without samples is counted as one item, so that it shows.
        let count = (contents.samples + contents.histograms).max(1);
        self.refuse("", refusal, count);
    }

    /// Refuses items of the series: `of` says which, a count of zero that it is stored but not all of it.
    #[cold]
    fn refuse(&mut self, of: &str, refusal: Refusal, count: u64) {
        let index = self.index;
        self.tally.refuse(refusal.reason(), count, || format!("timeseries[{index}]{of}: {refusal}"));
    }

    /// Makes room for one more sample, unless the request has too many.
    #[inline]
    fn admit(&mut self) -> Result<(), Refusal> {
        self.tally.admit(|limit| Refusal::ItemCount { limit })
    }

    /// Takes a series: its samples, histograms and exemplars. `write_labels` writes the labels of an exemplar's
    /// message as `Label` messages.
    #[inline]
    fn take(
        &mut self,
        message: &[u8],
        labels: &[u8],
        contents: Contents,
        layout: &Layout,
        metadata: &Metadata<'_>,
        write_labels: impl Fn(&[u8], &mut Vec<u8>, &mut Sink<'_>) -> Result<Result<(), Refusal>, Malformed>,
    ) -> Result<(), Malformed> {
        if contents.samples + contents.histograms + contents.exemplars == 0 {
            if layout.refuses_empty {
                self.refuse_series(contents, Refusal::NoSample);
            }
            return Ok(());
        }
        let before = self.sink.mark();
        let kind = if contents.samples == 0 && contents.histograms > 0 {
            PointKind::NativeHistogram
        } else {
            PointKind::Sample
        };
        let first = match self.sink.series(labels, kind, metadata)? {
            Ok(row) => row,
            Err(refusal) => {
                self.refuse_series(contents, refusal);
                return Ok(());
            }
        };
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field()? {
            let Field::Bytes(bytes) = field else { continue };
            if number == layout.samples {
                self.sample(bytes, first)?;
            } else if number == layout.histograms {
                let row = match self.sink.series(labels, PointKind::NativeHistogram, metadata)? {
                    Ok(row) => row,
                    Err(_) => first,
                };
                self.histogram(bytes, row)?;
            } else if number == layout.exemplars {
                self.exemplar(bytes, first, &write_labels)?;
            }
        }
        self.sink.drop_unused(before);
        Ok(())
    }

    #[inline]
    fn sample(&mut self, message: &[u8], series: u32) -> Result<(), Malformed> {
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
        let admitted = self.admit();
        if let Err(refusal) = admitted.and_then(|()| self.sink.point(series, time_ms, start_ms, value, None))
        {
            self.refuse(".samples", refusal, 1);
        }
        Ok(())
    }

    fn histogram(&mut self, message: &[u8], series: u32) -> Result<(), Malformed> {
        let taken = match histogram::read(message, &mut self.payload)? {
            Ok(read) => self.admit().and_then(|()| {
                self.sink.point(series, read.time_ms, read.start_ms, read.sum, Some(&self.payload))
            }),
            Err(bad) => Err(Refusal::Histogram(bad)),
        };
        if let Err(refusal) = taken {
            self.refuse(".histograms", refusal, 1);
        }
        Ok(())
    }

    fn exemplar(
        &mut self,
        message: &[u8],
        series: u32,
        write_labels: impl Fn(&[u8], &mut Vec<u8>, &mut Sink<'_>) -> Result<Result<(), Refusal>, Malformed>,
    ) -> Result<(), Malformed> {
        let (mut value, mut time_ms) = (0.0, 0);
        let mut fields = Reader::new(message);
        while let Some((number, field)) = fields.next_field()? {
            match (number, field) {
                (2, Field::Fixed64(bits)) => value = f64::from_bits(bits),
                (3, Field::Varint(ms)) => time_ms = ms as i64,
                _ => {}
            }
        }
        let (mut written, mut sorted) = (Vec::new(), Vec::new());
        let mut taken = write_labels(message, &mut written, &mut self.sink)?;
        if taken.is_ok() {
            let mut labels = Labels::read(&written)?;
            taken = labels.check(&self.context.limits);
            labels.write(&mut sorted);
        }
        if let Err(refusal) = taken.and_then(|()| self.sink.exemplar(series, &sorted, time_ms, value)) {
            self.refuse(".exemplars", refusal, 0);
        }
        Ok(())
    }
}
