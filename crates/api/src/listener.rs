//! Accepting the API's connections: no more than there is room for, none that dawdles, and from before the store is open.
//!
//! They speak HTTP/1.1, and HTTP/2 with prior knowledge, which gRPC needs. A connection is idle while no request is under way and
//! no answer is being sent; one that has been for [`IDLE_TIMEOUT`] is closed, whatever it speaks.
//!
//! What answers may change while connections are open: [`crate::starting`] while the log is replayed, then
//! [`crate::native`].

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

/// Connections at once: many times the queries that run at once, and half of the descriptors that a process has by
/// default. More wait in the system's queue until one of these ends.
pub const CONNECTIONS_MAX: u32 = 512;

/// A connection whose next request has not come with all of its headers by then is closed: slow ones and idle ones alike,
/// so that a place becomes free.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// HTTP/2 requests at once on one connection: more than run at once anyway.
const STREAMS_MAX: u32 = 64;

/// Headers of one HTTP/2 request.
const HEADER_BYTES_MAX: u32 = 64 << 10;

/// How long a connection that is told to close for idleness has for its farewell.
const FAREWELL: Duration = Duration::from_secs(3);

/// The read buffer of a connection, which also bounds its headers.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// How long to wait after `accept` failed: out of descriptors, a moment helps and a busy loop does not.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` completes, then ends when the requests under way are answered.
pub async fn serve(listener: TcpListener, router: watch::Receiver<Router>, stop: impl Future<Output = ()>) {
    serve_within(CONNECTIONS_MAX, IDLE_TIMEOUT, listener, router, stop).await;
}

async fn serve_within(
    connections_max: u32,
    idle_timeout: Duration,
    listener: TcpListener,
    router: watch::Receiver<Router>,
    stop: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(connections_max as usize));
    let (set_stopping, stopping) = watch::channel(false);
    let mut stop = pin!(stop);
    loop {
        let accepted = async {
            // The semaphore is never closed; were it, nothing could be accepted any more.
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            listener.accept().await.ok().map(|(stream, _)| (stream, place))
        };
        tokio::select! {
            accepted = accepted => match accepted {
                Some((stream, place)) => {
                    let connection = serve_connection(stream, router.clone(), stopping.clone(), idle_timeout, place);
                    tokio::spawn(connection);
                }
                None => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            () = &mut stop => break,
        }
    }
    drop(listener);
    set_stopping.send_replace(true);
    // An error would mean that nobody holds a place any more.
    _ = places.acquire_many(connections_max).await;
}

async fn serve_connection(
    stream: TcpStream,
    router: watch::Receiver<Router>,
    mut stopping: watch::Receiver<bool>,
    idle_timeout: Duration,
    _place: OwnedSemaphorePermit,
) {
    // Answers are waited for. If the option cannot be set they are only later.
    _ = stream.set_nodelay(true);
    let activity = Activity::new();
    let under_way = Arc::clone(&activity);
    let answer = service_fn(move |request: hyper::Request<Incoming>| {
        let service = TowerToHyperService::new(router.borrow().clone());
        let active = Active::begin(&under_way);
        async move {
            let response = service.call(request).await.unwrap_or_else(|never| match never {});
            Ok::<_, Infallible>(response.map(|body| Watched { body, _active: active }))
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    // Slow headers are idleness: a request is under way once they are there.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(BUFFER_BYTES_MAX);
    let mut http2 = builder.http2();
    http2.timer(TokioTimer::new()).max_concurrent_streams(STREAMS_MAX).max_header_list_size(HEADER_BYTES_MAX);
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), answer));
    loop {
        tokio::select! {
            // Errors are the client's: broken HTTP, a reset. They end this connection and nothing else.
            _ = connection.as_mut() => return,
            () = set(&mut stopping) => break,
            () = tokio::time::sleep_until(activity.next_look(idle_timeout)) => {
                if activity.is_idle_for(idle_timeout) {
                    connection.as_mut().graceful_shutdown();
                    // Whether it ended in time or not, it ends.
                    _ = tokio::time::timeout(FAREWELL, connection).await;
                    return;
                }
            }
        }
    }
    connection.as_mut().graceful_shutdown();
    _ = connection.await;
}

/// Completes when the flag is set, or nobody can set it any more.
async fn set(flag: &mut watch::Receiver<bool>) {
    _ = flag.wait_for(|set| *set).await;
}

/// What a connection is doing.
struct Activity {
    /// Requests under way, and since when there has been none.
    state: Mutex<(usize, Instant)>,
}

impl Activity {
    fn new() -> Arc<Activity> {
        Arc::new(Activity { state: Mutex::new((0, Instant::now())) })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, (usize, Instant)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the connection may have been idle for so long.
    fn next_look(&self, timeout: Duration) -> Instant {
        let (under_way, since) = *self.state();
        if under_way > 0 { Instant::now() + timeout } else { since + timeout }
    }

    fn is_idle_for(&self, timeout: Duration) -> bool {
        let (under_way, since) = *self.state();
        under_way == 0 && since + timeout <= Instant::now()
    }
}

/// One request that is under way, until its answer is sent or given up.
struct Active(Arc<Activity>);

impl Active {
    fn begin(activity: &Arc<Activity>) -> Active {
        activity.state().0 += 1;
        Active(Arc::clone(activity))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.0 = state.0.saturating_sub(1);
        state.1 = Instant::now();
    }
}

/// The body of an answer, which keeps its connection busy.
struct Watched {
    body: Body,
    _active: Active,
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::SocketAddr;

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(300);

    fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).expect("connected");
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    }

    #[test]
    fn answers_while_starting_and_outlives_those_that_dawdle() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("bound");
        let address = listener.local_addr().expect("address");
        let (routers, router) = watch::channel(crate::starting());
        let (stop, mut stopped) = watch::channel(false);
        let served = runtime.spawn(serve_within(2, TIMEOUT, listener, router, async move {
            _ = stopped.wait_for(|stop| *stop).await;
        }));
        assert!(ask(address, "/livez").starts_with("HTTP/1.1 200"));
        let waiting = ask(address, "/readyz");
        assert!(waiting.starts_with("HTTP/1.1 503") && waiting.contains("replayed"), "{waiting}");
        let refused = ask(address, "/api/throughline/v1/services");
        assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("\"starting\""), "{refused}");
        let mut slow = [(); 2].map(|()| std::net::TcpStream::connect(address).expect("connected"));
        slow.iter_mut().for_each(|stream| stream.write_all(b"GET /livez HT").expect("sent"));
        assert!(ask(address, "/livez").starts_with("HTTP/1.1 200"), "a slow one's place became free");
        _ = routers.send_replace(Router::new().route("/livez", axum::routing::get(|| async { "later" })));
        assert!(ask(address, "/livez").ends_with("later"));
        stop.send_replace(true);
        runtime.block_on(served).expect("ended");
    }
}
