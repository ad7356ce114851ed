//! Messages of the protocol: JSON-RPC 2.0, as far as a server that has tools and nothing else needs it.
//!
//! Revisions of the protocol are told apart by the version of the handshake alone: what is used here is the same in all of them.
//! A client that asks for a newer revision is answered with the newest that is known, as the specification has it, and goes on
//! with that or ends.

use serde_json::{Map, Value as Json, json};

use super::ask::Server;
use super::tools;

/// Revisions of the protocol that are known, the newest first.
pub(super) const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// The largest message: a call of a tool is some hundred bytes.
pub(super) const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// Messages of one batch, which old revisions have.
const BATCH_MAX: usize = 32;

/// Codes of JSON-RPC.
const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;

/// How to begin, for whoever reads tools for the first time.
const INSTRUCTIONS: &str = "Telemetry (traces, logs, metrics) of the services of one system, from one store. Names of services come \
from `services`. A trace id in any form is taken by `trace`; log lines and exemplars lead to trace ids. `doctor` says what is wrong \
with the telemetry itself: ask it when something that should be there is not. Times are RFC 3339, or before now (-1h). Each answer \
fits max_tokens (2000 by default) and ends with what was not checked or left out.";

/// Why a request has no result.
struct Refusal {
    code: i64,
    message: String,
}

/// Answers the text of a message, or of a batch of them. Nothing where it asks nothing: a notification, or a client's response.
pub(super) async fn answer(text: &[u8], server: &Server) -> Option<Json> {
    let message: Json = match serde_json::from_slice(text) {
        Ok(message) => message,
        Err(error) => return Some(refused(&Json::Null, PARSE_ERROR, &format!("not JSON: {error}"))),
    };
    let Json::Array(batch) = message else { return answer_one(&message, server).await };
    if batch.is_empty() || batch.len() > BATCH_MAX {
        let message = format!("a batch has 1 to {BATCH_MAX} messages");
        return Some(refused(&Json::Null, INVALID_REQUEST, &message));
    }
    let mut answers = Vec::new();
    for message in &batch {
        answers.extend(answer_one(message, server).await);
    }
    (!answers.is_empty()).then_some(Json::Array(answers))
}

async fn answer_one(message: &Json, server: &Server) -> Option<Json> {
    let is_response = message.get("result").is_some() || message.get("error").is_some();
    let method = match message.get("method").and_then(Json::as_str) {
        Some(method) => method,
        None if is_response => return None,
        None => return Some(refused(&Json::Null, INVALID_REQUEST, "a message has a method")),
    };
    // Without an id it is a notification, which nobody answers.
    let id = message.get("id").filter(|id| id.is_string() || id.is_number())?;
    let params = message.get("params").unwrap_or(&Json::Null);
    Some(match result(method, params, server).await {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(Refusal { code, message }) => refused(id, code, &message),
    })
}

fn refused(id: &Json, code: i64, message: &str) -> Json {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

async fn result(method: &str, params: &Json, server: &Server) -> Result<Json, Refusal> {
    match method {
        "initialize" => Ok(initialized(params)),
        "ping" => Ok(json!({})),
        "tools/list" => Ok(json!({"tools": tools::all().map(tools::Tool::described).collect::<Vec<Json>>()})),
        "tools/call" => call(params, server).await,
        _ => Err(Refusal {
            code: METHOD_NOT_FOUND,
            message: format!("there is no method {method}: this server has tools"),
        }),
    }
}

fn initialized(params: &Json) -> Json {
    let asked = params.get("protocolVersion").and_then(Json::as_str).unwrap_or_default();
    let version = VERSIONS.into_iter().find(|version| *version == asked).unwrap_or(VERSIONS[0]);
    json!({
        "protocolVersion": version,
        "capabilities": {"tools": {"listChanged": false}},
        "serverInfo": {"name": "throughline", "version": env!("CARGO_PKG_VERSION")},
        "instructions": INSTRUCTIONS,
    })
}

/// Calls a tool. What a tool cannot answer is a result for whoever called, not a failure of the protocol.
async fn call(params: &Json, server: &Server) -> Result<Json, Refusal> {
    let name = params.get("name").and_then(Json::as_str).unwrap_or_default();
    let Some(tool) = tools::all().find(|tool| tool.name == name) else {
        let names: Vec<&str> = tools::all().map(|tool| tool.name).collect();
        let message = format!("there is no tool {name:?}; there are {}", names.join(", "));
        return Err(Refusal { code: INVALID_PARAMS, message });
    };
    let arguments = match params.get("arguments") {
        None | Some(Json::Null) => Map::new(),
        Some(Json::Object(arguments)) => arguments.clone(),
        Some(_) => {
            return Err(Refusal { code: INVALID_PARAMS, message: "arguments is not an object".to_owned() });
        }
    };
    let (text, is_error) = match tool.call(server, arguments).await {
        Ok(text) => (text, false),
        Err(text) => (text, true),
    };
    Ok(json!({"content": [{"type": "text", "text": text}], "isError": is_error}))
}

#[cfg(test)]
mod tests {
    use axum::Router;

    use super::*;

    fn ask(text: &str) -> Option<Json> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(answer(text.as_bytes(), &Server::Here(Router::new())))
    }

    fn code(text: &str) -> Option<i64> {
        ask(text)?.pointer("/error/code")?.as_i64()
    }

    #[test]
    fn versions_are_agreed_upon() {
        let version = |asked: &str| {
            let message = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": asked}});
            ask(&message.to_string()).expect("answered")["result"]["protocolVersion"].clone()
        };
        assert_eq!(version("2025-03-26"), "2025-03-26");
        assert_eq!(version("2099-01-01"), VERSIONS[0]);
    }

    #[test]
    fn messages_are_answered_or_refused() {
        assert_eq!(ask(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), None);
        assert_eq!(ask(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), None);
        let pong = ask(r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#).expect("answered");
        assert_eq!(pong, json!({"jsonrpc": "2.0", "id": "a", "result": {}}));
        assert_eq!(code("{"), Some(PARSE_ERROR));
        assert_eq!(code("[]"), Some(INVALID_REQUEST));
        assert_eq!(code("7"), Some(INVALID_REQUEST));
        assert_eq!(code(r#"{"id":1,"method":"resources/list"}"#), Some(METHOD_NOT_FOUND));
        assert_eq!(code(r#"{"id":1,"method":"tools/call","params":{"name":"rm"}}"#), Some(INVALID_PARAMS));
        let batch =
            ask(r#"[{"id":1,"method":"ping"},{"method":"notifications/x"},{"id":2,"method":"ping"}]"#);
        assert_eq!(batch.expect("answered").as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn a_misspelt_argument_is_a_result_that_says_so() {
        let message = r#"{"id":1,"method":"tools/call","params":{"name":"logs","arguments":{"sevice":"x"}}}"#;
        let answer = ask(message).expect("answered");
        assert_eq!(answer["result"]["isError"], true);
        let text = answer["result"]["content"][0]["text"].as_str().expect("text");
        assert!(text.starts_with("logs takes no \"sevice\"; it takes "), "{text}");
    }
}
