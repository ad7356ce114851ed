//! What other systems' senders push, on a listener of someone else's: their paths lie beside those of queries, too.

use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;

use crate::reply::Reply;
use crate::service::Service;
use crate::{loki, prometheus};

/// Takes remote write, Loki's push and OTLP under their paths in, on another listener; the requests count with those of
/// the receiver.
#[derive(Clone)]
pub struct PushWriter {
    service: Arc<Service>,
}

impl PushWriter {
    /// The paths that it answers.
    pub fn paths() -> impl Iterator<Item = &'static str> {
        prometheus::PATHS.into_iter().chain(loki::PATHS)
    }

    pub(crate) fn new(service: &Arc<Service>) -> PushWriter {
        PushWriter { service: Arc::clone(service) }
    }

    /// Answers one request.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Reply>
    where
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        match loki::is_path(request.uri().path()) {
            true => loki::handle(&self.service, request).await,
            false => prometheus::handle(&self.service, request).await,
        }
    }
}
