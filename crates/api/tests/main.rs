//! The HTTP APIs over real sockets.

mod prometheus;
mod served;
mod surface;
mod telemetry;
