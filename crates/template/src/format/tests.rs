//! Verbs against what Go prints.

use super::*;

fn check(format: &str, values: &[Value], expected: &str) {
    assert_eq!(sprintf(format, values, 1 << 20).as_deref(), Ok(expected), "{format}");
}

#[test]
fn integers() {
    for (format, n, expected) in [
        ("%d", 42, "42"),
        ("%5d|", 42, "   42|"),
        ("%-5d|", 42, "42   |"),
        ("%05d", -42, "-0042"),
        ("%+d", 42, "+42"),
        ("% d", 42, " 42"),
        ("%.5d", 42, "00042"),
        ("%x", 255, "ff"),
        ("%#X", 255, "0XFF"),
        ("%o", 8, "10"),
        ("%b", 5, "101"),
        ("%c", 65, "A"),
        ("%U", 65, "U+0041"),
        ("%q", 65, "'A'"),
        ("%s", 5, "%!s(int=5)"),
        ("%.2f", 5, "%!f(int=05)"),
        ("%t", 5, "%!t(int=5)"),
        ("%T", 5, "int"),
    ] {
        check(format, &[Value::Int(n)], expected);
    }
}

#[test]
fn floats() {
    for (format, x, expected) in [
        ("%v", 1.0, "1"),
        ("%v", 0.1, "0.1"),
        ("%v", 100_000.0, "100000"),
        ("%v", 1_000_000.0, "1e+06"),
        ("%v", 1.234_567_89e8, "1.23456789e+08"),
        ("%v", 0.000_01, "1e-05"),
        ("%v", -0.0, "-0"),
        ("%v", f64::NAN, "NaN"),
        ("%v", f64::INFINITY, "+Inf"),
        ("%v", f64::NEG_INFINITY, "-Inf"),
        ("%f", 1.5, "1.500000"),
        ("%.2f", 2.675, "2.67"),
        ("%8.2f|", 2.5, "    2.50|"),
        ("%08.2f", -2.5, "-0002.50"),
        ("%e", 123_456.0, "1.234560e+05"),
        ("%E", 1e-10, "1.000000E-10"),
        ("%g", 1e21, "1e+21"),
        ("%.4g", 1234.0, "1234"),
        ("%.4g", 12_345.0, "1.234e+04"),
        ("%.4g", 99.996, "100"),
        ("%.4g", 0.000_012_34, "1.234e-05"),
        ("%.3g", 100.0, "100"),
        ("%d", 1.5, "%!d(float64=1.5)"),
        ("%+.1f", 1.25, "+1.2"),
    ] {
        check(format, &[Value::Float(x)], expected);
    }
}

#[test]
fn texts() {
    for (format, text, expected) in [
        ("%s", "hi", "hi"),
        ("%5s|", "hé", "   hé|"),
        ("%-5s|", "hi", "hi   |"),
        ("%.1s", "hé", "h"),
        ("%q", "a\"b\n", "\"a\\\"b\\n\""),
        ("%x", "hi", "6869"),
        ("% X", "hi", "68 69"),
        ("%d", "hi", "%!d(string=hi)"),
        ("%v", "hi", "hi"),
        ("%#v", "hi", "\"hi\""),
    ] {
        check(format, &[Value::text(text)], expected);
    }
}

#[test]
fn composed_values_and_mistakes() {
    let list = Value::list(vec![Value::Int(1), Value::text("a")]);
    check("%v", std::slice::from_ref(&list), "[1 a]");
    check("%d", &[list], "[1 %!d(string=a)]");
    check("%v", &[Value::Nil], "<nil>");
    check("%d", &[Value::Nil], "%!d(<nil>)");
    check("%d %d", &[Value::Int(1)], "1 %!d(MISSING)");
    check("%d", &[Value::Int(1), Value::text("x")], "1%!(EXTRA string=x)");
    check("100%", &[], "100%!(NOVERB)");
    check("100%%", &[], "100%");
    check("%[2]d %[1]d", &[Value::Int(1), Value::Int(2)], "2 1");
    check("%[3]d", &[Value::Int(1)], "%!d(BADINDEX)");
    check("%*d", &[Value::Int(4), Value::Int(2)], "   2");
    check("%!", &[], "%!!(MISSING)");
    check("%t", &[Value::Bool(true)], "true");
    check("%v", &[Value::Duration(1_500_000_000)], "1.5s");
    assert_eq!(sprintf("%1000000d", &[Value::Int(1)], 1000), Err(Full));
}
