//! Correlation through the binary as users run it: the doctor over what real SDKs send, the books, Grafana's jumps.
//!
//! The SDK for Python is installed into a virtual environment under `target` at the first run. Where Python or a package cannot
//! be had, a test that needs it is skipped and says so; with `THROUGHLINE_TESTS_MUST_RUN=1` it fails.

#![expect(clippy::disallowed_methods, reason = "a test of real processes has real files and the time of day")]

#[path = "clients/process.rs"]
mod process;

#[path = "correlation/doctor.rs"]
mod doctor;
#[path = "correlation/grafana.rs"]
mod grafana;
#[path = "correlation/investigate.rs"]
mod investigate;
#[path = "correlation/jaeger.rs"]
mod jaeger;
#[path = "correlation/links.rs"]
mod links;
#[path = "correlation/mcp.rs"]
mod mcp;
#[path = "../../receive/tests/python/environment.rs"]
mod python;
#[path = "correlation/service_graph.rs"]
mod service_graph;
