//! What this server is in the protocol: tools, and nothing else. `rmcp` speaks it; here is what it asks for an answer, and what is
//! said to bytes that are no message.

use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientJsonRpcMessage, ContentBlock,
    CustomRequest, CustomResult, ErrorCode, Implementation, InitializeRequestParams, InitializeResult,
    JsonRpcError, ListToolsResult, PaginatedRequestParams, RequestId, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::Value as Json;
use tokio::task::JoinSet;

use super::ask::Server;
use super::tools;

/// The largest message: a call of a tool is some hundred bytes.
pub(super) const MESSAGE_BYTES_MAX: usize = 256 << 10;

/// How to begin, for whoever reads tools for the first time.
const INSTRUCTIONS: &str = "Telemetry (traces, logs, metrics) of the services of one system, from one store. Names of services come \
from `services`. A trace id in any form is taken by `trace`; log lines and exemplars lead to trace ids. `doctor` says what is wrong \
with the telemetry itself: ask it when something that should be there is not. Times are RFC 3339, or before now (-1h). Each answer \
fits max_tokens (2000 by default) and ends with what was not checked or left out.";

/// Methods that are answered, and what their parameters are.
const METHODS: [(&str, &str); 4] = [
    ("initialize", "protocolVersion, capabilities and clientInfo"),
    ("server/discover", "_meta"),
    ("tools/list", "nothing, or cursor"),
    ("tools/call", "name, a text, and arguments, an object"),
];

/// The tools as `rmcp` serves them. Nothing is kept from one request to the next.
#[derive(Clone)]
pub(super) struct ToolServer {
    asked: Arc<Server>,
}

impl ToolServer {
    /// Tools that ask this server.
    pub fn new(asked: Server) -> ToolServer {
        ToolServer { asked: Arc::new(asked) }
    }
}

impl ServerHandler for ToolServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("throughline", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    /// As `rmcp` would, but the revision that was agreed upon is what later requests are answered by, not the one that was asked for.
    async fn initialize(
        &self,
        mut client: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        let agreed = self.negotiate_initialize(&client)?;
        client.protocol_version = agreed.protocol_version.clone();
        context.peer.set_peer_info(client);
        Ok(agreed)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::all().map(tools::Tool::described).collect()))
    }

    /// Calls a tool. What a tool cannot answer is a result for whoever called, not a failure of the protocol.
    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = tools::all().find(|tool| tool.name == request.name) else {
            let names: Vec<&str> = tools::all().map(|tool| tool.name).collect();
            let message = format!("there is no tool {:?}; there are {}", request.name, names.join(", "));
            return Err(ErrorData::invalid_params(message, None));
        };
        let (asked, arguments) = (Arc::clone(&self.asked), request.arguments.unwrap_or_default());
        // A task of its own, which ends with this one: where it fails in itself, whoever called is told instead of waiting.
        let mut calls = JoinSet::new();
        calls.spawn(async move { tool.call(&asked, arguments).await });
        let answer = tokio::select! {
            answer = calls.join_next() => answer,
            () = context.ct.cancelled() => return Err(ErrorData::internal_error("the call was cancelled", None)),
        };
        match answer {
            Some(Ok(Ok(text))) => Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into()),
            Some(Ok(Err(text))) => Ok(CallToolResult::error(vec![ContentBlock::text(text)]).into()),
            Some(Err(_)) | None => {
                Err(ErrorData::internal_error(format!("{} ended without an answer", tool.name), None))
            }
        }
    }

    /// Requests that `rmcp` has no form for: of methods that are not the protocol's, or with parameters that are not the method's.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let method = request.method;
        Err(match METHODS.iter().find(|(known, _)| *known == method) {
            Some((_, parameters)) => {
                ErrorData::invalid_params(format!("the parameters of {method} are {parameters}"), None)
            }
            None => {
                let message = format!("there is no method {method}: this server has tools");
                ErrorData::new(ErrorCode::METHOD_NOT_FOUND, message, None)
            }
        })
    }
}

/// Reads one message.
///
/// # Errors
///
/// What to answer to bytes that are none: they are not JSON, are nested too deeply, or have not the form of a message.
pub(super) fn read(text: &[u8]) -> Result<ClientJsonRpcMessage, Box<JsonRpcError>> {
    serde_json::from_slice(text).map_err(|_| Box::new(refusal(text)))
}

fn refusal(text: &[u8]) -> JsonRpcError {
    let json: Json = match serde_json::from_slice(text) {
        Ok(json) => json,
        Err(error) => {
            return JsonRpcError::new(None, ErrorData::parse_error(format!("not JSON: {error}"), None));
        }
    };
    let id = json.get("id").and_then(|id| serde_json::from_value::<RequestId>(id.clone()).ok());
    let message = match json.is_array() {
        true => "a batch is not taken: send one message at a time",
        false => {
            "not a message of JSON-RPC: it has \"jsonrpc\": \"2.0\" and a method, with an id where an answer is wanted"
        }
    };
    JsonRpcError::new(id, ErrorData::invalid_request(message, None))
}

/// What to answer to more than a message may be.
pub(super) fn too_long() -> JsonRpcError {
    let message = format!("a message has at most {MESSAGE_BYTES_MAX} bytes");
    JsonRpcError::new(None, ErrorData::invalid_request(message, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> (i32, Option<RequestId>) {
        let refusal = read(text.as_bytes()).expect_err("refused");
        (refusal.error.code.0, refusal.id)
    }

    #[test]
    fn what_is_no_message_is_refused_by_what_it_lacks() {
        assert_eq!(code("{"), (-32700, None));
        assert_eq!(code(""), (-32700, None));
        assert_eq!(code(&format!("{}{}", "[".repeat(10_000), "]".repeat(10_000))), (-32700, None));
        assert_eq!(
            code(&format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{}"#,
                "{\"a\":".repeat(10_000)
            )),
            (-32700, None)
        );
        assert_eq!(code("7"), (-32600, None));
        assert_eq!(code("[]"), (-32600, None));
        assert_eq!(code(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#), (-32600, None));
        assert_eq!(code(r#"{"id":7,"method":"ping"}"#), (-32600, Some(RequestId::Number(7))));
        assert_eq!(code(r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#), (-32600, None));
    }

    #[test]
    fn messages_are_read() {
        for text in [
            r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            &format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":{}{}}}}}"#,
                "[".repeat(100),
                "]".repeat(100)
            ),
        ] {
            assert!(read(text.as_bytes()).is_ok(), "{text}");
        }
    }
}
