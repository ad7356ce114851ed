//! The binary. All but its allocator is in the library, which a build compiles beside the crates that it uses: a binary has to wait
//! until the last of them is done.

use std::process::ExitCode;

/// Millions of small, short-lived allocations a second on several threads: it takes a fifth off the cost of ingest
/// against the system's allocator, and gives memory back. Without huge pages: memory comes and goes with every flush, and to
/// clear two megabytes where a few pages are needed was a third of the CPU and a quarter of the memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    throughline_server::run()
}
