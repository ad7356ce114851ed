//! LogQL queries: what is read can be printed, on one line and on many, and is read again as the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|query: &str| {
    let Ok(expr) = throughline_logql::parse(query) else { return };
    let text = expr.to_string();
    // Printing can make a query longer than a query may be, and deeper by a level of parentheses.
    if text.len() < query.len().saturating_mul(3) && text.len() < 64 << 10 {
        let again = throughline_logql::parse(&text).expect("a printed query is a query");
        assert_eq!(again.to_string(), text);
    }
    let _ = throughline_logql::print::pretty(&expr);
});
