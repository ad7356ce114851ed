//! Bytes to batches and back: the only place that knows wire formats.
//!
//! The path of a request: [`decompress`] it, then [`decode`] it (or [`Decoder::decode`], which remembers resources
//! from one request to the next) into a columnar batch and a list of exact rejections; [`response`] encodes what
//! the sender is told. JSON is transcoded to protobuf and read by the same decoder.
//!
//! This crate is pure: it does no I/O and reads no clock, so that replaying a request from the write-ahead log with
//! the [`DecodeContext`] of its receipt gives the same batch and the same rejections. No input makes it panic,
//! recurse beyond a fixed depth, or allocate from a length that a sender declared.

#![deny(clippy::indexing_slicing)]

mod compression;
mod decode;
mod error;
pub mod grpc;
pub mod jaeger;
mod level;
pub mod loki;
pub mod otlp;
pub mod prometheus;
mod rejection;
pub mod response;
pub mod tempo;
pub mod trace_context;
mod unhashed;
mod zipkin;

pub use compression::{Compression, ZSTD_WINDOW_LOG_MAX, decompress};
pub use decode::{DecodeContext, DecodeLimits, Decoded, Decoder, Encoding, decode};
pub use error::DecodeError;
pub use rejection::{RejectReason, Rejection};
