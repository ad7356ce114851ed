//! Reading a request's body: counted, reserved ahead, and with a minimum rate.
//!
//! A declared length (`Content-Length`, or the length in a gRPC message's prefix) is believed only where it leads to
//! a refusal: a body that says it is too large need not be read. It never sizes an allocation or a reservation
//! beyond the first step; both grow with what has really come.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use throughline_wire::grpc::{PREFIX_BYTES, message_bytes};
use tokio::time::Instant;

use crate::admission::Reservation;
use crate::refusal::{Cause, Refusal};
use crate::service::Service;

/// What a request costs beside its body: headers, tasks and buffers. It bounds how many empty requests are in
/// flight.
const REQUEST_BYTES: usize = 4 << 10;

/// The first step of a reservation. A larger one could be held by a sender that declares much and sends nothing.
const FIRST_STEP_BYTES: usize = 64 << 10;

/// When to try again after a body that came too slowly: the way to here was slow, not the receiver.
const SLOW_BODY_RETRY: Duration = Duration::from_secs(1);

/// Whether the body is the request or a gRPC message with its prefix.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// The body is the request.
    Whole,
    /// The body is one prefixed message.
    GrpcMessage,
}

/// A body with the bytes that are reserved for it.
pub(crate) struct ReadBody {
    pub(crate) bytes: Bytes,
    pub(crate) reservation: Reservation,
}

/// Reads a body of at most so many bytes, or fewer by configuration, to its end.
pub(crate) async fn read<B>(
    service: &Service,
    body: B,
    framing: Framing,
    bytes_max: usize,
) -> Result<ReadBody, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: Display,
{
    let message_bytes_max = bytes_max.min(service.config.request_bytes_max);
    let bytes_max = match framing {
        Framing::Whole => message_bytes_max,
        Framing::GrpcMessage => message_bytes_max.saturating_add(PREFIX_BYTES),
    };
    let declared = body.size_hint().exact().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if declared.is_some_and(|bytes| bytes > bytes_max) {
        return Err(Refusal::too_large(message_bytes_max));
    }
    if declared.is_some_and(|bytes| !service.in_flight.has_room_for_body(bytes)) {
        return Err(service.busy());
    }
    let first_step = declared.unwrap_or(FIRST_STEP_BYTES).min(FIRST_STEP_BYTES);
    let reservation = service.in_flight.reserve(REQUEST_BYTES + first_step).ok_or_else(|| service.busy())?;
    let mut reading =
        Reading { service, reservation, pieces: Pieces::default(), bytes_max, message_bytes_max, framing };
    let mut pace = Pace::new(service.config.body_check_interval, service.config.body_bytes_per_second_min);
    let mut body = std::pin::pin!(body);
    loop {
        let frame = match tokio::time::timeout_at(pace.next_check, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                return Err(Refusal::new(Cause::Cancelled, format!("request body broke off: {error}")));
            }
            Ok(None) => break,
            Err(_) => {
                pace.check()?;
                continue;
            }
        };
        if let Ok(data) = frame.into_data() {
            pace.count(data.len());
            reading.push(data)?;
        }
    }
    let bytes = reading.pieces.finish();
    Ok(ReadBody { bytes, reservation: reading.reservation })
}

struct Reading<'a> {
    service: &'a Service,
    reservation: Reservation,
    pieces: Pieces,
    bytes_max: usize,
    /// The same without a prefix.
    message_bytes_max: usize,
    framing: Framing,
}

impl Reading<'_> {
    fn push(&mut self, data: Bytes) -> Result<(), Refusal> {
        let bytes = self.pieces.len() + data.len();
        if bytes > self.bytes_max {
            return Err(Refusal::too_large(self.message_bytes_max));
        }
        // Reserve for as much again as has come: the next piece is then covered before it is read.
        let ahead = bytes.saturating_mul(2).min(self.bytes_max).max(bytes) + REQUEST_BYTES;
        if bytes + REQUEST_BYTES > self.reservation.bytes() && !self.reservation.grow_to(ahead) {
            return Err(self.service.busy());
        }
        self.pieces.push(data);
        if self.framing == Framing::GrpcMessage
            && let Some(declared) = message_bytes(self.pieces.start())
            && declared > self.message_bytes_max
        {
            return Err(Refusal::too_large(self.message_bytes_max));
        }
        Ok(())
    }
}

/// What has come of a body: one piece as it is (most requests of an SDK are one); more are put together at the end, once,
/// when it is known how much there is.
#[derive(Default)]
struct Pieces {
    all: Vec<Bytes>,
    len: usize,
    /// A copy of the first bytes, as far as a prefix reaches.
    start: [u8; PREFIX_BYTES],
}

impl Pieces {
    fn push(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        let prefix = self.start.get_mut(self.len..).unwrap_or_default();
        prefix.iter_mut().zip(&data).for_each(|(slot, byte)| *slot = *byte);
        self.len += data.len();
        self.all.push(data);
    }

    fn len(&self) -> usize {
        self.len
    }

    /// The first bytes, as many as a prefix has at most.
    fn start(&self) -> &[u8] {
        self.start.get(..self.len).unwrap_or(&self.start)
    }

    fn finish(mut self) -> Bytes {
        if self.all.len() <= 1 {
            return self.all.pop().unwrap_or_default();
        }
        let mut whole = Vec::with_capacity(self.len);
        self.all.iter().for_each(|piece| whole.extend_from_slice(piece));
        Bytes::from(whole)
    }
}

/// A minimum rate, checked at intervals: a burst earns no credit for a stall later.
struct Pace {
    interval: Duration,
    bytes_min: usize,
    bytes: usize,
    next_check: Instant,
}

impl Pace {
    fn new(interval: Duration, bytes_per_second_min: usize) -> Pace {
        let bytes_min = (bytes_per_second_min as f64 * interval.as_secs_f64()) as usize;
        Pace { interval, bytes_min, bytes: 0, next_check: Instant::now() + interval }
    }

    fn count(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn check(&mut self) -> Result<(), Refusal> {
        if self.bytes < self.bytes_min {
            let message = format!(
                "request body came too slowly: {} bytes in {:?}, at least {} are needed",
                self.bytes, self.interval, self.bytes_min
            );
            return Err(Refusal::retry(Cause::SlowBody, message, SLOW_BODY_RETRY));
        }
        self.bytes = 0;
        self.next_check = Instant::now() + self.interval;
        Ok(())
    }
}
