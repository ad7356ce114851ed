//! Messages over HTTP: each is posted to `/mcp` and answered in the response, without a session and without a stream.
//!
//! A page in somebody's browser must not ask a server that only listens on loopback: requests of other origins are refused, and on
//! loopback those for another host's name, which is what a rebound DNS name looks like.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;

use super::ask::Server;
use super::protocol::{MESSAGE_BYTES_MAX, answer};

/// Where the protocol lies on the API's listener.
const PATH: &str = "/mcp";

struct Place {
    server: Server,
    is_loopback: bool,
}

/// The router with the protocol beside the APIs that it asks.
pub fn mount(router: Router, address: SocketAddr) -> Router {
    let is_loopback = address.ip().is_loopback();
    let place = Arc::new(Place { server: Server::Here(router.clone()), is_loopback });
    // Other methods are for streams and sessions, which there are none of: 405, as the specification has it.
    let of_protocol = post(take).layer(DefaultBodyLimit::max(MESSAGE_BYTES_MAX));
    router.merge(Router::new().route(PATH, of_protocol).with_state(place))
}

async fn take(State(place): State<Arc<Place>>, headers: HeaderMap, body: Bytes) -> Response {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let is_foreign_origin = text(header::ORIGIN).is_some_and(|origin| !is_local(host_of_origin(origin)));
    let is_foreign_host = place.is_loopback && text(header::HOST).is_some_and(|host| !is_local(host));
    if is_foreign_origin || is_foreign_host {
        let why =
            "requests for this address come from this machine: the headers Origin and Host name another";
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    match answer(&body, &place.server).await {
        Some(json) => ([(header::CONTENT_TYPE, "application/json")], json.to_string()).into_response(),
        None => StatusCode::ACCEPTED.into_response(),
    }
}

fn host_of_origin(origin: &str) -> &str {
    origin.split_once("://").map_or("", |(_, host)| host)
}

/// Whether a host, with a port or without, is this machine's own name for itself.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_are_known() {
        for host in ["localhost", "LOCALHOST:4319", "127.0.0.1:80", "[::1]:4319", "127.0.0.2"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example:4319", "10.0.0.1"]
        {
            assert!(!is_local(host), "{host}");
        }
        assert!(!is_local(host_of_origin("null")));
        assert!(is_local(host_of_origin("http://localhost:6274")));
    }
}
