//! The receivers over real sockets, into a real store: statuses, hostile input, slow senders, shutdown, and a stock
//! OpenTelemetry SDK.

mod client;
mod connections;
mod delivery;
mod hostile;
#[path = "../../../wire/tests/requests/jaeger.rs"]
mod jaeger;
mod loki;
#[path = "../../../wire/tests/requests/remote_write.rs"]
mod messages;
#[path = "../../../wire/tests/requests/loki.rs"]
mod pushes;
#[path = "../python/environment.rs"]
mod python;
mod remote_write;
mod sdk;
mod server;
mod spans;
mod status_message;
mod statuses;
mod telemetry;
#[path = "../../../wire/tests/requests/zipkin.rs"]
mod zipkin;
