//! A connection's socket, watched: when it last did something useful, and a close that lets the sender read.
//!
//! hyper's own header timeout also counts the time between two requests of a kept connection, which is much longer;
//! so the socket notes when the first byte after idleness came, and [`Activity`] tells slow headers from idleness.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

/// How long a closed connection still reads what its sender has under way. A socket closed with unread bytes resets,
/// and the reset may overtake the refusal that explains it.
const LINGER: Duration = Duration::from_secs(2);

/// The most that is read and thrown away then: one request of the recommended limit.
const LINGER_BYTES_MAX: usize = 64 << 20;

/// What begins an HTTP/2 connection.
const HTTP2_PREFACE: &[u8] = b"PRI ";

/// What a connection is doing.
pub(crate) struct Activity {
    opened: Instant,
    requests: AtomicUsize,
    /// Milliseconds since `opened` when the last request ended.
    idle_since: AtomicU64,
    /// Milliseconds since `opened`, plus one, when a byte came with no request under way; 0 if none did.
    headers_since: AtomicU64,
    /// On HTTP/2 bytes without a request are ordinary: settings, pings.
    is_http2: AtomicBool,
    /// Whether a request was brought to its end.
    has_served: AtomicBool,
    /// Whether another connection got its place.
    is_evicted: AtomicBool,
    eviction: Notify,
}

/// Why a connection is closed though nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// Its headers take too long.
    SlowHeaders,
    /// It had no request for too long.
    Idle,
}

/// A request under way on a connection.
pub(crate) struct ActiveRequest(Arc<Activity>);

impl Activity {
    pub(crate) fn new() -> Arc<Activity> {
        Arc::new(Activity {
            opened: Instant::now(),
            requests: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            headers_since: AtomicU64::new(0),
            is_http2: AtomicBool::new(false),
            has_served: AtomicBool::new(false),
            is_evicted: AtomicBool::new(false),
            eviction: Notify::new(),
        })
    }

    /// Notes that a request begins.
    pub(crate) fn begin(self: &Arc<Self>) -> ActiveRequest {
        self.requests.fetch_add(1, Relaxed);
        self.headers_since.store(0, Relaxed);
        ActiveRequest(Arc::clone(self))
    }

    /// When the connection is to be closed if nothing happens until then, and why; `None` while a request is under
    /// way.
    pub(crate) fn expires_at(
        &self,
        header_timeout: Duration,
        idle_timeout: Duration,
    ) -> Option<(Instant, Expiry)> {
        if !self.is_idle() {
            return None;
        }
        let idle = self.idle_since() + idle_timeout;
        match self.headers_since.load(Relaxed) {
            0 => Some((idle, Expiry::Idle)),
            since => {
                let headers = self.opened + Duration::from_millis(since) + header_timeout;
                Some((headers.min(idle), Expiry::SlowHeaders))
            }
        }
    }

    /// Whether no request is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.requests.load(Relaxed) == 0
    }

    /// When the last request ended, or when the connection was opened.
    pub(crate) fn idle_since(&self) -> Instant {
        self.opened + Duration::from_millis(self.idle_since.load(Relaxed))
    }

    /// Whether a request was brought to its end.
    pub(crate) fn has_served(&self) -> bool {
        self.has_served.load(Relaxed)
    }

    /// How long it is open.
    pub(crate) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Tells the connection to close at once.
    pub(crate) fn evict(&self) {
        self.is_evicted.store(true, Relaxed);
        self.eviction.notify_one();
    }

    /// Whether it was told to.
    #[cfg(test)]
    pub(crate) fn is_evicted(&self) -> bool {
        self.is_evicted.load(Relaxed)
    }

    /// Completes when the connection is told to close.
    pub(crate) async fn evicted(&self) {
        while !self.is_evicted.load(Relaxed) {
            self.eviction.notified().await;
        }
    }

    fn note_read(&self, bytes: &[u8]) {
        if bytes.is_empty() || self.requests.load(Relaxed) > 0 || self.is_http2.load(Relaxed) {
            return;
        }
        if bytes.starts_with(HTTP2_PREFACE) {
            self.is_http2.store(true, Relaxed);
            self.headers_since.store(0, Relaxed);
        } else if self.headers_since.load(Relaxed) == 0 {
            self.headers_since.store(self.now_ms() + 1, Relaxed);
        }
    }

    fn now_ms(&self) -> u64 {
        self.opened.elapsed().as_millis() as u64
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now_ms(), Relaxed);
        self.0.has_served.store(true, Relaxed);
        self.0.requests.fetch_sub(1, Relaxed);
    }
}

/// A socket that reports to an [`Activity`] and closes gently.
pub(crate) struct Socket {
    stream: TcpStream,
    activity: Arc<Activity>,
    linger: Option<Linger>,
    at_end: bool,
}

struct Linger {
    until: Pin<Box<Sleep>>,
    bytes: usize,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, activity: Arc<Activity>) -> Socket {
        Socket { stream, activity, linger: None, at_end: false }
    }

    /// Reads and drops until the sender has closed too, or for long enough.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let linger = self
            .linger
            .get_or_insert_with(|| Linger { until: Box::pin(tokio::time::sleep(LINGER)), bytes: 0 });
        let mut space = [0; 16 << 10];
        while !self.at_end && linger.bytes < LINGER_BYTES_MAX {
            if linger.until.as_mut().poll(context).is_ready() {
                break;
            }
            let mut buffer = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => linger.bytes += buffer.filled().len(),
                _ => self.at_end = true,
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = buffer.filled().get(before..).unwrap_or_default();
        self.at_end |= read.is_empty() && buffer.remaining() > 0;
        self.activity.note_read(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        }
        self.poll_linger(context).map(Ok)
    }
}
