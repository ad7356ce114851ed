//! The HTTP APIs over real sockets.

mod loki;
mod prometheus;
mod served;
mod surface;
mod telemetry;
mod traces;
