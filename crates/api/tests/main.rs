//! The HTTP APIs over real sockets.

mod links;
mod loki;
mod prometheus;
mod served;
mod surface;
mod telemetry;
mod traces;
