//! A receiver of webhooks that keeps what it is told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde_json::Value as Json;

/// Listens until the process ends.
pub struct Webhook {
    address: SocketAddr,
    told: Receiver<Json>,
    refused: Arc<AtomicUsize>,
}

impl Webhook {
    /// An address where nobody listens yet.
    pub fn reserve() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        listener.local_addr().expect("an address")
    }

    /// Listens, and answers the first requests with 500.
    pub fn start(address: Option<SocketAddr>, n_refused: usize) -> Webhook {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = TcpListener::bind(address.unwrap_or(any)).expect("bound");
        let address = listener.local_addr().expect("an address");
        let (sender, told) = channel();
        let refused = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&refused);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (sender, count) = (sender.clone(), Arc::clone(&count));
                std::thread::spawn(move || serve(stream.expect("accepted"), &sender, &count, n_refused));
            }
        });
        Webhook { address, told, refused }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next payload.
    pub fn next(&self, patience: Duration) -> Json {
        self.told.recv_timeout(patience).expect("told in time")
    }

    /// The next payload, if there is one.
    pub fn try_next(&self, patience: Duration) -> Option<Json> {
        self.told.recv_timeout(patience).ok()
    }

    pub fn n_refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

fn serve(stream: TcpStream, sender: &Sender<Json>, refused: &AtomicUsize, n_refused: usize) {
    let mut reader = BufReader::new(stream.try_clone().expect("cloned"));
    let mut stream = stream;
    loop {
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        let status = if refused.load(Ordering::Relaxed) < n_refused {
            refused.fetch_add(1, Ordering::Relaxed);
            "500 Later"
        } else {
            sender.send(serde_json::from_slice(&body).expect("JSON")).ok();
            "200 OK"
        };
        if write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").is_err() {
            return;
        }
    }
}
