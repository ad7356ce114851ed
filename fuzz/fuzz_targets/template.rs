//! Templates: parsed and executed within small limits.
#![no_main]

use throughline_template::{Functions, Kind, Limits, Template, Value};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let mut functions = Functions::new();
    functions.add_variadic("list", &[], Kind::Any, |values, _| Ok(Value::list(values.to_vec())));
    let data = Value::record("data", [("N", Value::Int(7)), ("At", Value::Time(1))]);
    let limits = Limits { output_bytes: 10_000, value_bytes: 100_000, steps: 10_000 };
    if let Ok(template) = Template::parse("t", text, &functions)
        && let Ok(output) = template.execute(&data, &functions, &limits)
    {
        assert!(output.len() <= limits.output_bytes);
    }
});
