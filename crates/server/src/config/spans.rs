//! The `jaeger` and `zipkin` receivers. They are off unless configured: their ports are those of systems that may still run
//! beside this one.

use std::net::SocketAddr;

use super::SpanReceivers;
use super::components::refuse_known;
use super::section::{Problem, Section};
use super::tree::Node;

const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

/// Keys of the Collector's gRPC servers that do nothing here yet.
const GRPC_KEYS: [&str; 8] = [
    "tls",
    "auth",
    "keepalive",
    "read_buffer_size",
    "write_buffer_size",
    "transport",
    "max_recv_msg_size_mib",
    "max_concurrent_streams",
];

/// Keys of the Collector's HTTP servers that do nothing here yet.
const HTTP_KEYS: [&str; 6] =
    ["tls", "auth", "cors", "max_request_body_size", "include_metadata", "response_headers"];

/// Reads a `jaeger` receiver: a present protocol is on, an absent one is off.
pub fn read_jaeger(path: &str, node: Node, receivers: &mut SpanReceivers, problems: &mut Vec<Problem>) {
    let mut jaeger = Section::new(path, Some(node), problems);
    if let Some(node) = jaeger.take("remote_sampling") {
        jaeger.refuse("remote_sampling", Some(node.line), "not supported yet; leave it out");
    }
    let protocols = jaeger.take("protocols");
    jaeger.finish();
    let mut protocols = Section::new(&format!("{path}::protocols"), protocols, problems);
    for key in ["thrift_compact", "thrift_binary"] {
        if let Some(node) = protocols.take(key) {
            let message = "Thrift over UDP is not supported; let clients send by thrift_http, grpc or OTLP";
            protocols.refuse(key, Some(node.line), message);
        }
    }
    let (grpc, http) = (protocols.take("grpc"), protocols.take("thrift_http"));
    if grpc.is_none() && http.is_none() {
        protocols.refuse("", None, "must specify at least one protocol when using the Jaeger receiver");
    }
    protocols.finish();
    let mut endpoint = |name: &str, node: Node, keys: &[&'static str], port: u16| -> SocketAddr {
        let mut section = Section::new(&format!("{path}::protocols::{name}"), Some(node), problems);
        refuse_known(&mut section, keys);
        let endpoint = section.endpoint("endpoint", (LOOPBACK, port).into());
        section.finish();
        endpoint
    };
    receivers.jaeger_grpc = grpc.map(|node| endpoint("grpc", node, &GRPC_KEYS, 14250));
    receivers.jaeger_http = http.map(|node| endpoint("thrift_http", node, &HTTP_KEYS, 14268));
}

/// Reads a `zipkin` receiver.
pub fn read_zipkin(path: &str, node: Node, receivers: &mut SpanReceivers, problems: &mut Vec<Problem>) {
    let mut zipkin = Section::new(path, Some(node), problems);
    refuse_known(&mut zipkin, &HTTP_KEYS);
    if zipkin.flag("parse_string_tags", false) {
        zipkin.refuse("parse_string_tags", None, "not supported yet; tags stay text");
    }
    receivers.zipkin = Some(zipkin.endpoint("endpoint", (LOOPBACK, 9411).into()));
    zipkin.finish();
}
