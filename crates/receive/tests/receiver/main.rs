//! The receivers over real sockets, into a real store: statuses, hostile input, slow senders, shutdown, and a stock
//! OpenTelemetry SDK.

mod client;
mod connections;
mod delivery;
mod hostile;
mod loki;
#[path = "../../../wire/tests/requests/remote_write.rs"]
mod messages;
#[path = "../../../wire/tests/requests/loki.rs"]
mod pushes;
mod remote_write;
mod sdk;
mod server;
mod status_message;
mod statuses;
mod telemetry;
