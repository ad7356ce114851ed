//! Messages over standard input and output, one on each line. `rmcp` serves what is read here.
//!
//! Its own transport for lines drops what it cannot read and puts no bound on requests in work; here whoever wrote such a line is
//! answered, and lines are read only while there is room for their answers.

use std::collections::HashMap;
use std::io::{self, BufRead, Read as _, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rmcp::RoleServer;
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, JsonRpcError, JsonRpcMessage, RequestId, ServerJsonRpcMessage,
};
use rmcp::service::serve_directly;
use rmcp::transport::{Transport, TransportAdapterIdentity};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::protocol::{self, MESSAGE_BYTES_MAX, ToolServer};

/// Requests that are in work at a time, until their answers are written. More wait in the pipe.
const IN_WORK_MAX: usize = 16;

/// Answers until input ends and everything is answered.
///
/// # Errors
///
/// Input cannot be read or output not be written.
pub(super) async fn speak<W>(
    tools: ToolServer,
    input: impl BufRead + Send + 'static,
    output: Arc<Mutex<W>>,
) -> io::Result<()>
where
    W: Write + Send + 'static,
{
    let failure = Arc::new(OnceLock::new());
    let lines = Lines {
        input: lines(input)?,
        output,
        room: Arc::new(Semaphore::new(IN_WORK_MAX)),
        in_work: HashMap::new(),
        failure: Arc::clone(&failure),
    };
    // Without the handshake that `rmcp` would wait for: there is no session that could begin, and each request says what it is.
    let running = serve_directly::<RoleServer, _, _, _, TransportAdapterIdentity>(tools, lines, None);
    running.waiting().await.map_err(io::Error::other)?;
    match failure.get() {
        Some(failure) => Err(io::Error::new(failure.kind(), failure.to_string())),
        None => Ok(()),
    }
}

enum Line {
    Whole(Vec<u8>),
    /// Longer than a message may be; what was too much is gone.
    TooLong,
}

/// Lines as they come. A thread of its own waits for them, which nothing else waits for.
fn lines(mut input: impl BufRead + Send + 'static) -> io::Result<mpsc::Receiver<io::Result<Line>>> {
    let (sender, receiver) = mpsc::channel(1);
    let forward = move || {
        while let Some(line) = next_line(&mut input).transpose() {
            let is_last = line.is_err();
            if sender.blocking_send(line).is_err() || is_last {
                return;
            }
        }
    };
    std::thread::Builder::new().name("mcp-input".to_owned()).spawn(forward)?;
    Ok(receiver)
}

fn next_line(input: &mut impl BufRead) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    // With the line break.
    let limit = MESSAGE_BYTES_MAX + 1;
    if input.by_ref().take(limit as u64).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.len() < limit || line.last() == Some(&b'\n') {
        return Ok(Some(Line::Whole(line)));
    }
    input.skip_until(b'\n')?;
    Ok(Some(Line::TooLong))
}

/// Both ends of the pipe.
struct Lines<W> {
    input: mpsc::Receiver<io::Result<Line>>,
    output: Arc<Mutex<W>>,
    room: Arc<Semaphore>,
    /// Requests without an answer yet, with the room that each takes.
    in_work: HashMap<RequestId, OwnedSemaphorePermit>,
    /// Why input or output ended.
    failure: Arc<OnceLock<io::Error>>,
}

impl<W: Write + Send + 'static> Lines<W> {
    fn write(&self, message: &ServerJsonRpcMessage) -> impl Future<Output = io::Result<()>> + Send + use<W> {
        let line = serde_json::to_vec(message);
        let (output, failure) = (Arc::clone(&self.output), Arc::clone(&self.failure));
        async move {
            // JSON has no line breaks where nobody puts them.
            let mut line = line?;
            line.push(b'\n');
            let write = move || {
                let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
                output.write_all(&line)?;
                output.flush()
            };
            let written = tokio::task::spawn_blocking(write).await.map_err(io::Error::other).flatten();
            if let Err(error) = &written {
                _ = failure.set(io::Error::new(error.kind(), format!("write an answer: {error}")));
            }
            written
        }
    }

    fn refuse(&self, refusal: JsonRpcError, room: OwnedSemaphorePermit) {
        let written = self.write(&JsonRpcMessage::Error(refusal));
        tokio::spawn(async move {
            _ = written.await;
            drop(room);
        });
    }

    /// Keeps the room of a request until it is answered. One that is cancelled has no answer.
    fn note(&mut self, message: &ClientJsonRpcMessage, room: OwnedSemaphorePermit) {
        match message {
            JsonRpcMessage::Request(request) => _ = self.in_work.insert(request.id.clone(), room),
            JsonRpcMessage::Notification(notification) => {
                if let ClientNotification::CancelledNotification(cancelled) = &notification.notification
                    && let Some(id) = &cancelled.params.request_id
                {
                    self.in_work.remove(id);
                }
            }
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => {}
        }
    }
}

impl<W: Write + Send + 'static> Transport<RoleServer> for Lines<W> {
    type Error = io::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let id = match &message {
            JsonRpcMessage::Response(response) => Some(&response.id),
            JsonRpcMessage::Error(error) => error.id.as_ref(),
            JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => None,
        };
        let room = id.and_then(|id| self.in_work.remove(id));
        let written = self.write(&message);
        async move {
            let written = written.await;
            drop(room);
            written
        }
    }

    /// The next message. May be dropped while it waits: nothing is lost then.
    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        while self.failure.get().is_none() {
            let room = Arc::clone(&self.room).acquire_owned().await.ok()?;
            let line = match self.input.recv().await {
                Some(Ok(Line::Whole(line))) => line,
                Some(Ok(Line::TooLong)) => {
                    self.refuse(protocol::too_long(), room);
                    continue;
                }
                Some(Err(error)) => {
                    _ = self.failure.set(io::Error::new(error.kind(), format!("read a message: {error}")));
                    continue;
                }
                None => break,
            };
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match protocol::read(&line) {
                Ok(message) => {
                    self.note(&message, room);
                    return Some(message);
                }
                Err(refusal) => self.refuse(*refusal, room),
            }
        }
        // `rmcp` gives what is in work some seconds from here; a question may take longer.
        _ = self.room.acquire_many(IN_WORK_MAX as u32).await;
        None
    }

    async fn close(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use axum::Router;
    use serde_json::{Value as Json, json};

    use super::super::ask::Server;
    use super::*;

    /// What is answered to these lines, those without an id first.
    fn told(input: &str) -> Vec<Json> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let output = Arc::new(Mutex::new(Vec::new()));
        let tools = ToolServer::new(Server::Here(Router::new()));
        let spoken = speak(tools, Cursor::new(input.as_bytes().to_vec()), Arc::clone(&output));
        runtime.block_on(spoken).expect("spoken");
        let output = output.lock().expect("nobody panicked");
        let lines = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let mut answers: Vec<Json> = lines.map(|line| serde_json::from_slice(line).expect("JSON")).collect();
        answers.sort_by_key(|answer| answer["id"].as_i64());
        answers
    }

    fn request(id: i64, method: &str, params: Json) -> String {
        format!("{}\n", json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
    }

    fn initialize(id: i64, version: &str) -> String {
        let client = json!({"name": "test", "version": "0"});
        let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": client});
        request(id, "initialize", params)
    }

    #[test]
    fn versions_are_agreed_upon() {
        let answers =
            told(&(initialize(1, "2025-03-26") + &initialize(2, "2099-01-01") + &initialize(3, "")));
        let versions: Vec<&Json> =
            answers.iter().map(|answer| &answer["result"]["protocolVersion"]).collect();
        assert_eq!(versions, ["2025-03-26", "2025-11-25", "2025-11-25"]);
        assert_eq!(answers[0]["result"]["serverInfo"]["name"], "throughline");
    }

    #[test]
    fn messages_are_answered_or_refused() {
        let input = [
            "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n\n".to_owned(),
            "{\"jsonrpc\":\"2.0\",\"id\":9,\"result\":{}}\n".to_owned(),
            request(1, "ping", json!({})),
            request(2, "tools/list", json!({})),
            request(3, "resources/list", json!({})),
            request(4, "no/such", json!({})),
            request(5, "tools/call", json!({"name": "rm"})),
            request(6, "tools/call", json!({"name": 7})),
            request(7, "tools/call", json!({"name": "logs", "arguments": [1]})),
            request(8, "tools/call", json!({"name": "logs", "arguments": {"sevice": "x"}})),
        ];
        let answers = told(&input.concat());
        let ids: Vec<Option<i64>> = answers.iter().map(|answer| answer["id"].as_i64()).collect();
        assert_eq!(ids, (1..=8).map(Some).collect::<Vec<_>>());
        assert_eq!(answers[0], json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
        assert_eq!(answers[1]["result"]["tools"][0]["name"], "investigate");
        let codes: Vec<Option<i64>> =
            answers[2..7].iter().map(|answer| answer["error"]["code"].as_i64()).collect();
        assert_eq!(codes, [Some(-32601), Some(-32601), Some(-32602), Some(-32602), Some(-32602)]);
        assert_eq!(answers[7]["result"]["isError"], true);
        let text = answers[7]["result"]["content"][0]["text"].as_str().expect("text");
        assert!(text.starts_with("logs takes no \"sevice\"; it takes "), "{text}");
    }

    #[test]
    fn hostile_lines_are_refused_and_later_ones_answered() {
        let long = "x".repeat(MESSAGE_BYTES_MAX + 1);
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let mut fits = request(1, "ping", json!({})).trim_end().to_owned();
        fits += &" ".repeat(MESSAGE_BYTES_MAX - fits.len());
        let last = request(2, "ping", json!({}));
        let answers = told(&format!("{long}\n{deep}\n{{\n{fits}\n{}", last.trim_end()));
        let mut codes: Vec<i64> =
            answers[..3].iter().filter_map(|answer| answer["error"]["code"].as_i64()).collect();
        codes.sort_unstable();
        assert_eq!(codes, [-32700, -32700, -32600]);
        assert_eq!(answers[3]["id"], 1);
        assert_eq!(answers[4]["id"], 2);
    }

    #[test]
    fn many_requests_are_all_answered_before_the_end() {
        let n = 10 * IN_WORK_MAX as i64;
        let input: String = (0..n)
            .map(|id| request(id, "tools/call", json!({"name": "services", "arguments": {}})))
            .collect();
        let answers = told(&input);
        assert_eq!(
            answers.iter().filter_map(|answer| answer["id"].as_i64()).collect::<Vec<_>>(),
            (0..n).collect::<Vec<_>>()
        );
        assert!(answers.iter().all(|answer| answer["result"]["isError"] == true), "the router has no routes");
    }

    #[test]
    fn an_output_that_is_closed_ends_it_with_an_error() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let tools = ToolServer::new(Server::Here(Router::new()));
        let input = Cursor::new(request(1, "ping", json!({})).into_bytes());
        let spoken = runtime.block_on(speak(tools, input, Arc::new(Mutex::new(Closed))));
        assert_eq!(spoken.expect_err("an error").kind(), io::ErrorKind::BrokenPipe);
    }
}
