//! Messages over HTTP: each is posted to `/mcp` and answered in the response, as JSON, without a session and without a stream.
//!
//! A page in somebody's browser must not ask a server that only listens on loopback: requests of other origins are refused, and on
//! loopback those for another host's name, which is what a rebound DNS name looks like. `rmcp` looks at both before it reads.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use rmcp::model::JsonRpcError;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};

use super::ask::Server;
use super::protocol::{self, MESSAGE_BYTES_MAX, ToolServer};

/// Where the protocol lies on the API's listener.
const PATH: &str = "/mcp";

type Service = StreamableHttpService<ToolServer, NeverSessionManager>;

/// The router with the protocol beside the APIs that it asks.
pub fn mount(router: Router, address: SocketAddr) -> Router {
    let tools = ToolServer::new(Server::Here(router.clone()));
    let sessions = Arc::new(NeverSessionManager::default());
    let service = Service::new(move || Ok(tools.clone()), sessions, config(address.ip()));
    router.merge(Router::new().route(PATH, any(take)).with_state(Arc::new(service)))
}

/// What is asked for at an address: hosts and origins, and no sessions.
fn config(ip: IpAddr) -> StreamableHttpServerConfig {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()];
    if ip.is_loopback() {
        names.push(SocketAddr::new(ip, 0).to_string().trim_end_matches(":0").to_owned());
    }
    let origins = names.iter().flat_map(|name| [format!("http://{name}:*"), format!("https://{name}:*")]);
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(MESSAGE_BYTES_MAX)
        .with_allowed_origins(origins);
    match ip.is_loopback() {
        true => config.with_allowed_hosts(names),
        false => config.disable_allowed_hosts(),
    }
}

async fn take(State(service): State<Arc<Service>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, MESSAGE_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return refused(StatusCode::PAYLOAD_TOO_LARGE, &protocol::too_long());
        }
        Err(error) => return (StatusCode::BAD_REQUEST, format!("read the message: {error}")).into_response(),
    };
    let response = service.handle(Request::from_parts(parts, Full::new(body.clone()))).await;
    // To a body that is no message `rmcp` says so in plain text; the protocol has errors for it, which clients understand.
    if response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE
        && let Err(refusal) = protocol::read(&body)
    {
        return refused(StatusCode::BAD_REQUEST, &refusal);
    }
    response.map(Body::new)
}

fn refused(status: StatusCode, refusal: &JsonRpcError) -> Response {
    match serde_json::to_string(refusal) {
        Ok(json) => (status, [(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(_) => status.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;
    use serde_json::Value as Json;

    use super::*;

    const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

    /// What is answered at an address to a message with these headers instead of the usual ones.
    fn posted(address: &str, headers: &[(&str, &str)], body: &str) -> (StatusCode, Json) {
        answered(address, &Method::POST, headers, body)
    }

    fn answered(address: &str, method: &Method, headers: &[(&str, &str)], body: &str) -> (StatusCode, Json) {
        let mut request = Request::builder().method(method).uri(PATH);
        let usual = [
            ("host", "localhost:4319"),
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
        ];
        for (name, value) in usual.iter().filter(|(name, _)| !headers.iter().any(|(given, _)| given == name))
        {
            request = request.header(*name, *value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).expect("a request");
        let router = mount(Router::new(), address.parse().expect("an address"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async {
            let response = TowerToHyperService::new(router).call(request).await.expect("answered");
            let status = response.status();
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            (status, serde_json::from_slice(&body).unwrap_or_default())
        })
    }

    #[test]
    fn only_names_of_this_machine_are_answered_on_loopback() {
        let status = |address: &str, header: &str, value: &str| posted(address, &[(header, value)], PING).0;
        for host in ["localhost", "LOCALHOST:4319", "127.0.0.1:80", "[::1]:4319"] {
            assert_eq!(status("127.0.0.1:4319", "host", host), StatusCode::OK, "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:4319", "10.0.0.1"] {
            assert_eq!(status("127.0.0.1:4319", "host", host), StatusCode::FORBIDDEN, "{host}");
            assert_eq!(status("[::1]:4319", "host", host), StatusCode::FORBIDDEN, "{host}");
            assert_eq!(status("0.0.0.0:4319", "host", host), StatusCode::OK, "{host}");
        }
        assert_eq!(status("127.0.0.2:4319", "host", "127.0.0.2:4319"), StatusCode::OK);
        for address in ["127.0.0.1:4319", "0.0.0.0:4319"] {
            for origin in
                ["http://localhost:6274", "https://localhost", "http://[::1]:1", "http://127.0.0.1:80"]
            {
                assert_eq!(status(address, "origin", origin), StatusCode::OK, "{address} {origin}");
            }
            for origin in ["null", "http://evil.example", "http://localhost.evil.example:6274", "?"] {
                assert_eq!(status(address, "origin", origin), StatusCode::FORBIDDEN, "{address} {origin}");
            }
        }
    }

    #[test]
    fn a_message_is_answered_as_json_without_a_session() {
        let (status, answer) = posted("127.0.0.1:4319", &[], PING);
        assert_eq!(
            (status, &answer["id"], &answer["result"]),
            (StatusCode::OK, &Json::from(1), &serde_json::json!({}))
        );
        let note = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        assert_eq!(posted("127.0.0.1:4319", &[], note).0, StatusCode::ACCEPTED);
        for method in [Method::GET, Method::DELETE, Method::PUT] {
            let (status, _) = answered("127.0.0.1:4319", &method, &[], "");
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        }
    }

    #[test]
    fn a_body_that_is_no_message_is_an_error_of_the_protocol() {
        let long = PING.to_owned() + &" ".repeat(MESSAGE_BYTES_MAX + 1 - PING.len());
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for (body, status, code) in [
            ("{", StatusCode::BAD_REQUEST, -32700),
            (deep.as_str(), StatusCode::BAD_REQUEST, -32700),
            ("[]", StatusCode::BAD_REQUEST, -32600),
            (long.as_str(), StatusCode::PAYLOAD_TOO_LARGE, -32600),
        ] {
            let (got, answer) = posted("127.0.0.1:4319", &[], body);
            assert_eq!((got, &answer["error"]["code"]), (status, &Json::from(code)), "{body:.20}");
        }
        assert_eq!(posted("127.0.0.1:4319", &[], &long[..MESSAGE_BYTES_MAX]).0, StatusCode::OK);
        let plain = [("content-type", "text/plain")];
        assert_eq!(posted("127.0.0.1:4319", &plain, PING).0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(posted("127.0.0.1:4319", &[("accept", "*/*")], PING).0, StatusCode::NOT_ACCEPTABLE);
        assert_eq!(posted("127.0.0.1:4319", &[("host", "evil.example")], "{").0, StatusCode::FORBIDDEN);
    }
}
