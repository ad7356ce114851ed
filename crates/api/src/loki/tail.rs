//! Following new lines over a websocket.
//!
//! Every so often the last minute is asked for what has not been sent yet: a line that comes late is sent when it comes, and one
//! that is there twice is sent once. Lines older than that minute are not followed.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use throughline_exec::log::Direction;
use throughline_exec::{Budget, Labels};
use throughline_logql::ast::Expr;
use throughline_logql::{LogStream, QueryParams, QueryValue};
use throughline_scan::logs::StoredLogs;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{MissedTickBehavior, interval};

use super::Loki;
use super::params::Params;
use super::query::is_categorized;
use super::reply::Refusal;
use super::streams::{CATEGORIZE, Form, put_streams};
use crate::prometheus::values::put_text;

/// Those who follow lines at once: Loki's `max_concurrent_tail_requests` for ten tenants.
pub(super) const TAILS_MAX: usize = 100;

/// How often new lines are looked for.
const TICK: Duration = Duration::from_millis(500);

/// How often the client is asked whether it is there.
const PING: Duration = Duration::from_secs(1);

/// How far back new lines may lie.
const WINDOW_NS: i64 = 60_000_000_000;

/// How far ahead of now lines are followed: what the receivers accept.
const AHEAD_NS: i64 = 600_000_000_000;

/// The longest delay that may be asked for.
const DELAY_NS_MAX: i64 = 5_000_000_000;

/// Lines of one message, at most; more are counted as dropped.
const LINES_MAX: usize = 5_000;

/// A message from a client: they send nothing but answers to pings.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

pub(super) async fn tail(
    State(loki): State<Loki>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    params: Params,
) -> Response {
    let prepared = Tail::prepare(&loki, &params, is_categorized(&headers));
    match (prepared, upgrade) {
        (Err(refusal), _) => refusal.into_response(),
        (Ok(_), Err(rejection)) => Refusal::bad(rejection.to_string()).into_response(),
        (Ok(tail), Ok(upgrade)) => {
            upgrade.max_message_size(MESSAGE_BYTES_MAX).on_upgrade(move |socket| tail.follow(loki, socket))
        }
    }
}

struct Tail {
    expr: Expr,
    start_ns: i64,
    delay_ns: i64,
    limit: usize,
    categorized: bool,
    _place: OwnedSemaphorePermit,
}

impl Tail {
    fn prepare(loki: &Loki, params: &Params, categorized: bool) -> Result<Tail, Refusal> {
        let expr = Expr::Log(params.log_query()?);
        let delay_ns = params.count("delay_for")?.unwrap_or(0).saturating_mul(1_000_000_000);
        let delay_ns = i64::try_from(delay_ns).unwrap_or(i64::MAX);
        if delay_ns > DELAY_NS_MAX {
            return Err(Refusal::bad("delay_for can't be greater than 5"));
        }
        let start_ns = match params.time_ns("start")? {
            Some(start) => start,
            None => loki.now().saturating_sub(3_600_000_000_000),
        };
        let Ok(place) = std::sync::Arc::clone(&loki.tails).try_acquire_owned() else {
            return Err(Refusal::bad(format!(
                "max concurrent tail requests limit exceeded, count > limit ({TAILS_MAX})"
            )));
        };
        let limit = params.limit()?;
        Ok(Tail { expr, start_ns, delay_ns, limit, categorized, _place: place })
    }

    async fn follow(mut self, loki: Loki, mut socket: WebSocket) {
        let (mut tick, mut ping) = (interval(TICK), interval(PING));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sent = Sent::default();
        let mut is_first = true;
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    match self.look(&loki, &mut sent, is_first).await {
                        Ok(None) => {}
                        Ok(Some(message)) => {
                            if socket.send(Message::text(message)).await.is_err() {
                                return;
                            }
                        }
                        Err(refusal) => return close(socket, refusal.message()).await,
                    }
                    is_first = false;
                    if loki.is_draining() {
                        return close(socket, "the server is shutting down").await;
                    }
                }
                _ = ping.tick() => {
                    if socket.send(Message::Ping(Vec::new().into())).await.is_err() {
                        return;
                    }
                }
                message = socket.recv() => match message {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => {}
                }
            }
        }
    }

    /// The lines that are new, as a message.
    async fn look(
        &mut self,
        loki: &Loki,
        sent: &mut Sent,
        is_first: bool,
    ) -> Result<Option<String>, Refusal> {
        let now = loki.now();
        let until = now.saturating_sub(self.delay_ns);
        let from = if is_first { self.start_ns } else { self.start_ns.max(until.saturating_sub(WINDOW_NS)) };
        let to = if self.delay_ns > 0 { until } else { until.saturating_add(AHEAD_NS) };
        let limit = if is_first { self.limit } else { LINES_MAX };
        let asked = QueryParams { limit, now_ns: now, ..QueryParams::range(from, to, 0) };
        let (engine, expr) = (loki.engine, self.expr.clone());
        let ask = move |logs: &StoredLogs, budget: &Budget| {
            engine.evaluate(&expr, &asked, logs, budget).map_err(|error| Refusal::query(&error))
        };
        let (value, _) = loki.ask(ask).await?;
        let QueryValue::Streams(mut streams) = value else { return Ok(None) };
        let found: usize = streams.iter().map(|stream| stream.entries.len()).sum();
        let is_full = !is_first && found >= LINES_MAX;
        sent.keep_new(&mut streams, now.saturating_sub(2 * WINDOW_NS));
        if is_first && found >= self.limit {
            // What lies before the first lines was not asked for.
            self.start_ns = sent.oldest();
        }
        if streams.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.message(&streams, is_full.then(|| sent.oldest()))))
    }

    fn message(&self, streams: &[LogStream], dropped_before: Option<i64>) -> String {
        let mut out = br#"{"streams":"#.to_vec();
        put_streams(&mut out, streams, Form { categorized: self.categorized, direction: Direction::Forward });
        if self.categorized {
            out.extend_from_slice(format!(r#","encodingFlags":["{CATEGORIZE}"]"#).as_bytes());
        }
        // More came than one message has: the client is told of each stream that it may have missed lines of.
        if let Some(time) = dropped_before {
            out.extend_from_slice(br#","dropped_entries":["#);
            let mut labels: Vec<&Labels> = streams.iter().map(|stream| &stream.labels).collect();
            labels.sort();
            labels.dedup();
            for (at, labels) in labels.into_iter().enumerate() {
                crate::prometheus::values::separate(&mut out, at);
                out.extend_from_slice(br#"{"labels":"#);
                crate::prometheus::values::put_labels(&mut out, labels);
                out.extend_from_slice(br#","timestamp":"#);
                put_text(&mut out, &time.to_string());
                out.push(b'}');
            }
            out.push(b']');
        }
        out.push(b'}');
        String::from_utf8(out).unwrap_or_default()
    }
}

async fn close(mut socket: WebSocket, reason: &str) {
    // The reason of a close frame has 123 bytes at most.
    let reason = reason.get(..reason.floor_char_boundary(120)).unwrap_or_default();
    let frame = CloseFrame { code: close_code::ERROR, reason: reason.into() };
    // The client may be gone already.
    _ = socket.send(Message::Close(Some(frame))).await;
}

/// The lines that were sent lately, by their hashes.
#[derive(Default)]
struct Sent {
    /// By time.
    lines: HashMap<i64, HashSet<u64>>,
}

impl Sent {
    /// Leaves the lines that were not sent yet, oldest first, and forgets those before a time.
    fn keep_new(&mut self, streams: &mut Vec<LogStream>, forget_before: i64) {
        self.lines.retain(|time, _| *time >= forget_before);
        for stream in streams.iter_mut() {
            let labels = &stream.labels;
            stream.entries.retain(|(time, line)| {
                let mut hasher = DefaultHasher::new();
                for (name, value) in labels.iter() {
                    (name, value).hash(&mut hasher);
                }
                line.hash(&mut hasher);
                self.lines.entry(*time).or_default().insert(hasher.finish())
            });
            stream.entries.sort_by_key(|(time, _)| *time);
        }
        streams.retain(|stream| !stream.entries.is_empty());
    }

    fn oldest(&self) -> i64 {
        self.lines.keys().min().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sent_once() {
        let stream = |entries: &[(i64, &str)]| LogStream {
            labels: Labels::from_pairs([("a", "b")]),
            stream: Labels::from_pairs([("a", "b")]),
            metadata: Labels::empty(),
            parsed: Labels::empty(),
            entries: entries.iter().map(|(time, line)| (*time, (*line).to_owned())).collect(),
        };
        let mut sent = Sent::default();
        let mut first = vec![stream(&[(2, "y"), (1, "x")])];
        sent.keep_new(&mut first, 0);
        assert_eq!(first, [stream(&[(1, "x"), (2, "y")])]);
        let mut again = vec![stream(&[(3, "x"), (2, "y"), (1, "late"), (1, "x")])];
        sent.keep_new(&mut again, 0);
        assert_eq!(again, [stream(&[(1, "late"), (3, "x")])]);
        let mut none = vec![stream(&[(3, "x")])];
        sent.keep_new(&mut none, 2);
        assert!(none.is_empty());
        assert_eq!(sent.oldest(), 2);
    }
}
