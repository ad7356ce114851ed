//! Accepting the API's connections: no more than there is room for, none that dawdles, and from before the store is open.
//!
//! What answers may change while connections are open: [`crate::starting`] while the log is replayed, then
//! [`crate::native`].

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Connections at once: many times the queries that run at once, and half of the descriptors that a process has by
/// default. More wait in the system's queue until one of these ends.
pub const CONNECTIONS_MAX: u32 = 512;

/// A connection whose next request has not come with all of its headers by then is closed: slow ones and idle ones alike,
/// so that a place becomes free.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);

/// The read buffer of a connection, which also bounds its headers.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// How long to wait after `accept` failed: out of descriptors, a moment helps and a busy loop does not.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` completes, then ends when the requests under way are answered.
pub async fn serve(listener: TcpListener, router: watch::Receiver<Router>, stop: impl Future<Output = ()>) {
    serve_within(CONNECTIONS_MAX, HEADER_TIMEOUT, listener, router, stop).await;
}

async fn serve_within(
    connections_max: u32,
    header_timeout: Duration,
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
                    let connection = serve_connection(stream, router.clone(), stopping.clone(), header_timeout, place);
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
    header_timeout: Duration,
    _place: OwnedSemaphorePermit,
) {
    // Answers are waited for. If the option cannot be set they are only later.
    _ = stream.set_nodelay(true);
    let answer = service_fn(move |request: hyper::Request<Incoming>| {
        let service = TowerToHyperService::new(router.borrow().clone());
        async move { Ok::<_, Infallible>(service.call(request).await.unwrap_or_else(|never| match never {})) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(header_timeout).max_buf_size(BUFFER_BYTES_MAX);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), answer).with_upgrades());
    tokio::select! {
        // Errors are the client's: broken HTTP, a reset, slowness. They end this connection and nothing else.
        _ = connection.as_mut() => return,
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
    connection.as_mut().graceful_shutdown();
    _ = connection.await;
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
