//! Targets that answer whatever a test wants, byte for byte.

use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a target answers.
#[derive(Clone)]
pub struct Answer {
    head: String,
    body: Vec<u8>,
    content_type: &'static str,
    delay: Duration,
    is_raw: bool,
}

impl Answer {
    pub fn bytes(body: &[u8]) -> Answer {
        let content_type = "text/plain; version=0.0.4";
        let head = "HTTP/1.1 200 OK\r\n".to_owned();
        Answer { head, body: body.to_vec(), content_type, delay: Duration::ZERO, is_raw: false }
    }

    pub fn text(body: &str) -> Answer {
        Answer::bytes(body.as_bytes())
    }

    pub fn status(status: u16) -> Answer {
        Answer { head: format!("HTTP/1.1 {status} Why\r\n"), ..Answer::text("") }
    }

    pub fn redirect(location: &str) -> Answer {
        Answer { head: format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\n"), ..Answer::text("") }
    }

    /// Bytes after which the connection is closed.
    pub fn raw(bytes: &[u8]) -> Answer {
        Answer { is_raw: true, ..Answer::bytes(bytes) }
    }

    pub fn of_type(mut self, content_type: &'static str) -> Answer {
        self.content_type = content_type;
        self
    }

    pub fn encoded(mut self, encoding: &str) -> Answer {
        self.head += &format!("content-encoding: {encoding}\r\n");
        self
    }

    pub fn gzip(mut self) -> Answer {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&self.body).expect("in memory");
        self.body = encoder.finish().expect("in memory");
        self.encoded("gzip")
    }

    pub fn after(mut self, delay: Duration) -> Answer {
        self.delay = delay;
        self
    }
}

/// A target that answers every request as `answer` says; its address.
pub async fn serve(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address").to_string();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move { converse(stream, &*answer).await });
        }
    });
    address
}

/// Pages that are left.
pub type Pages = Arc<Mutex<Vec<Answer>>>;

/// A target that shows pages one after another, and the last one for ever.
pub async fn serve_pages(mut pages: Vec<Answer>) -> (String, Pages) {
    pages.reverse();
    let pages: Pages = Arc::new(Mutex::new(pages));
    let left = Arc::clone(&pages);
    let address = serve(move |_| {
        let mut left = left.lock().expect("no panic");
        if left.len() > 1 { left.pop().expect("some") } else { left[0].clone() }
    })
    .await;
    (address, pages)
}

async fn converse(mut stream: TcpStream, answer: &(dyn Fn(&str) -> Answer + Send + Sync)) {
    let mut request = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        let Ok(n @ 1..) = stream.read(&mut bytes).await else { return };
        request.extend_from_slice(&bytes[..n]);
        if !request.ends_with(b"\r\n\r\n") {
            continue;
        }
        let answer = answer(&String::from_utf8_lossy(&request));
        request.clear();
        tokio::time::sleep(answer.delay).await;
        if answer.is_raw {
            _ = stream.write_all(&answer.body).await;
            return;
        }
        let Answer { head, body, content_type, .. } = answer;
        let head = format!("{head}content-type: {content_type}\r\ncontent-length: {}\r\n\r\n", body.len());
        if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(&body).await.is_err() {
            return;
        }
    }
}

/// Replaces a file.
#[expect(clippy::disallowed_methods, reason = "the operator's file of targets")]
pub fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("written");
}

/// Removes a file.
#[expect(clippy::disallowed_methods, reason = "the operator's file of targets")]
pub fn remove(path: &Path) {
    std::fs::remove_file(path).expect("removed");
}
