//! Accepting connections, serving them, and closing them: for slowness, for idleness and at shutdown.
//!
//! All ports speak HTTP/1.1 and HTTP/2 with prior knowledge, so that a sender that mixes the ports up is told so in
//! its own protocol instead of being cut off.

use std::convert::Infallible;
use std::future::Future;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::connections::OpenConnection;
use crate::service::Service;
use crate::socket::{Activity, Expiry, Socket};
use crate::stats::Transport;
use crate::{Error, loki, otlp_grpc, otlp_http, prometheus, spans};

/// Headers of one request: an OTLP sender has a few hundred bytes, with long credentials a few thousand.
const HEADER_BYTES_MAX: u32 = 16 << 10;

/// The read buffer of an HTTP/1.1 connection, which also bounds its headers.
const HTTP1_BUFFER_BYTES_MAX: usize = 64 << 10;

/// What an HTTP/2 sender may have under way unread, per request and per connection. The connection's share bounds
/// what a sender can make this side buffer that no reservation counts.
const STREAM_WINDOW_BYTES: u32 = 512 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 2 << 20;

/// Larger than the default of 16 KiB: fewer pieces per body.
const FRAME_BYTES_MAX: u32 = 64 << 10;

/// Requests that a sender resets before they were answered, on one connection, before it is closed: the answer to
/// floods of resets.
const RESETS_PENDING_MAX: usize = 32;

/// How long to wait after `accept` failed: out of descriptors, a moment helps and a busy loop does not.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection that is told to close for idleness has for its farewell.
const FAREWELL: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// Nothing new; what is in flight is finished.
    Draining,
    /// Everything ends now.
    Closed,
}

/// What a connection needs to know.
#[derive(Clone)]
struct Shared {
    service: Arc<Service>,
    phase: watch::Receiver<Phase>,
    /// Dropped with the last connection: this is how shutdown knows.
    _alive: mpsc::Sender<()>,
}

/// Serves until `shutdown` completes, then drains.
pub(crate) async fn serve(
    listeners: Vec<(Transport, TcpListener)>,
    service: Arc<Service>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let (set_phase, phase) = watch::channel(Phase::Serving);
    let (alive, mut all_gone) = mpsc::channel(1);
    let shared = Shared { service: Arc::clone(&service), phase, _alive: alive };
    for (transport, listener) in listeners {
        let address = listener.local_addr();
        let listener = tokio::net::TcpListener::from_std(listener).map_err(|source| Error::Listen {
            transport: transport.title(),
            address: address.unwrap_or_else(|_| ([0, 0, 0, 0], 0).into()),
            source,
        })?;
        tokio::spawn(accept(listener, transport, shared.clone()));
    }
    drop(shared);
    shutdown.await;
    // Receivers are there as long as anything is served; without them there is nothing to tell.
    let _ = set_phase.send(Phase::Draining);
    let drained = timeout(service.config.shutdown_timeout, all_gone.recv()).await;
    if drained.is_err() {
        let _ = set_phase.send(Phase::Closed);
        all_gone.recv().await;
    }
    // The threads are waited for, so that nothing is submitted to a store that is about to be closed.
    let closing = tokio::task::spawn_blocking(move || service.pool.close());
    // It only joins threads; if the runtime itself is going down there is nothing left to do.
    let _ = closing.await;
    Ok(())
}

async fn accept(listener: tokio::net::TcpListener, transport: Transport, mut shared: Shared) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = left(&mut shared.phase, Phase::Serving) => return,
        };
        match stream {
            Ok((stream, _)) => match shared.service.connections.open() {
                Some(open) => drop(tokio::spawn(serve_connection(stream, transport, shared.clone(), open))),
                None => drop(stream),
            },
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve_connection(stream: TcpStream, transport: Transport, mut shared: Shared, open: OpenConnection) {
    // Answers are small and waited for. If the option cannot be set they are only later.
    let _ = stream.set_nodelay(true);
    let activity = Arc::clone(&open.activity);
    let socket = TokioIo::new(Socket::new(stream, Arc::clone(&activity)));
    let service = Arc::clone(&shared.service);
    let on_request = {
        let (service, activity) = (Arc::clone(&service), Arc::clone(&activity));
        service_fn(move |request| {
            let (service, active) = (Arc::clone(&service), activity.begin());
            async move {
                let response = match transport {
                    Transport::Grpc | Transport::JaegerGrpc => {
                        otlp_grpc::handle(&service, transport, request).await
                    }
                    Transport::JaegerHttp | Transport::Zipkin => {
                        spans::handle(&service, transport, request).await
                    }
                    Transport::Http if prometheus::is_path(request.uri().path()) => {
                        prometheus::handle(&service, request).await
                    }
                    Transport::Http if loki::is_path(request.uri().path()) => {
                        loki::handle(&service, request).await
                    }
                    Transport::Http => otlp_http::handle(&service, request).await,
                };
                drop(active);
                Ok::<_, Infallible>(response)
            }
        })
    };
    let builder = builder(&service);
    let mut connection = pin!(builder.serve_connection(socket, on_request));
    loop {
        tokio::select! {
            // Errors are the sender's: broken HTTP, a reset. They end this connection and nothing else.
            _ = connection.as_mut() => return,
            () = left(&mut shared.phase, Phase::Serving) => break,
            () = activity.evicted() => return,
            () = sleep_until(next_look(&activity, &service)) => match expired(&activity, &service) {
                None => {}
                Some(Expiry::SlowHeaders) => return open.count_time_out(),
                Some(Expiry::Idle) => {
                    open.count_time_out();
                    connection.as_mut().graceful_shutdown();
                    // Whether it ended in time or not, it ends.
                    let _ = timeout(FAREWELL, connection.as_mut()).await;
                    return;
                }
            }
        }
    }
    // What is under way is finished, until it takes too long.
    connection.as_mut().graceful_shutdown();
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = left(&mut shared.phase, Phase::Draining) => return,
            () = sleep_until(next_look(&activity, &service)) => {
                if expired(&activity, &service).is_some() {
                    return;
                }
            }
        }
    }
}

/// Waits until the phase has moved on from `phase`.
async fn left(current: &mut watch::Receiver<Phase>, phase: Phase) {
    // The channel closes when the server is gone, which is the end of every phase.
    let _ = current.wait_for(|current| *current > phase).await;
}

/// When to look next whether the connection has expired.
fn next_look(activity: &Activity, service: &Service) -> Instant {
    let (headers, idle) = (service.config.header_timeout, service.config.idle_timeout);
    // Headers may begin at any moment, so look at least as often as their timeout asks.
    let latest = Instant::now() + headers.min(idle);
    activity.expires_at(headers, idle).map_or(latest, |(expiry, _)| expiry.min(latest))
}

fn expired(activity: &Activity, service: &Service) -> Option<Expiry> {
    let (expiry, why) = activity.expires_at(service.config.header_timeout, service.config.idle_timeout)?;
    (expiry <= Instant::now()).then_some(why)
}

fn builder(service: &Service) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        // Watched by `Activity` instead, which tells slow headers from an idle connection.
        .header_read_timeout(None)
        .max_buf_size(HTTP1_BUFFER_BYTES_MAX)
        .timer(TokioTimer::new());
    builder
        .http2()
        .max_concurrent_streams(service.config.streams_per_connection_max)
        .max_header_list_size(HEADER_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(RESETS_PENDING_MAX)
        .timer(TokioTimer::new());
    builder
}
