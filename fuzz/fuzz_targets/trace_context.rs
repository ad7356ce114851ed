//! Log bodies, searched for trace context as text and as JSON.
#![no_main]

use std::sync::LazyLock;

use throughline_wire::trace_context::Finder;

static FINDER: LazyLock<Finder> = LazyLock::new(Finder::new);

libfuzzer_sys::fuzz_target!(|body: &str| {
    if let Some(found) = FINDER.in_body(body) {
        assert!(found.trace_id.is_some() || !found.original.is_empty());
    }
});
