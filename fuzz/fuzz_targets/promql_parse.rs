//! PromQL queries: what is read can be printed, on one line and on many, and is read again as the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|query: &str| {
    let _ = throughline_promql::parse::parse_selector(query);
    let Ok(expr) = throughline_promql::parse(query) else { return };
    let text = expr.to_string();
    // Printing can make a query longer than a query may be.
    if text.len() < query.len().saturating_mul(2) && text.len() < 32 << 10 {
        let again = throughline_promql::parse(&text).expect("a printed query is a query");
        assert_eq!(again.to_string(), text);
    }
    let _ = throughline_promql::print::pretty(&expr);
});
