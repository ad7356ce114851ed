//! TraceQL queries: what is read can be printed, and is read again as the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|query: &str| {
    let Ok(tree) = throughline_traceql::parse(query) else { return };
    let text = tree.to_string();
    // Printing can make a query longer than a query may be.
    if text.len() < query.len().saturating_mul(3) && text.len() < 64 << 10 {
        assert_eq!(throughline_traceql::parse(&text).as_ref(), Ok(&tree));
    }
    let _ = throughline_traceql::check(&tree);
});
