//! The receivers over real sockets, into a real store: statuses, hostile input, slow senders, shutdown, and a stock
//! OpenTelemetry SDK.

mod client;
mod connections;
mod delivery;
mod hostile;
mod sdk;
mod server;
mod status_message;
mod statuses;
mod telemetry;
