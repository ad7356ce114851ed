//! The body of a response: at most one piece of data and, for gRPC, trailers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// A response body.
#[derive(Debug, Default)]
pub struct Reply {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Reply {
    /// No body at all.
    pub(crate) fn empty() -> Reply {
        Reply::default()
    }

    /// A body of these bytes.
    pub(crate) fn of(data: Vec<u8>) -> Reply {
        let data = Bytes::from(data);
        Reply { data: (!data.is_empty()).then_some(data), trailers: None }
    }

    /// A body of these bytes and trailers after it.
    pub(crate) fn with_trailers(data: Vec<u8>, trailers: HeaderMap) -> Reply {
        Reply { trailers: Some(trailers), ..Reply::of(data) }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = self.data.take().map(Frame::data);
        Poll::Ready(frame.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}
