//! Times as logs write them.

use super::*;

/// 2024-05-06T07:08:09Z.
const NOW: i64 = 1_714_979_289_000_000_000;

fn format(layout: Result<Layout, String>, zone: &str) -> TimeFormat {
    let zone = parse_zone(zone).expect("a zone");
    TimeFormat::Layout { layout: layout.expect("a layout"), zone, abbreviations: Abbreviations::new() }
}

fn read(format: &TimeFormat, text: &str) -> Result<String, String> {
    let nanoseconds = format.read(&Value::Str(text.to_owned()), NOW)?;
    Ok(jiff::Timestamp::from_nanosecond(i128::from(nanoseconds)).expect("in range").to_string())
}

fn check_strptime(layout: &str, zone: &str, text: &str, expected: &str) {
    let format = format(Layout::strptime(layout), zone);
    assert_eq!(read(&format, text).as_deref(), Ok(expected), "{layout} {text}");
}

fn check_go(layout: &str, zone: &str, text: &str, expected: &str) {
    let format = format(Layout::go(layout), zone);
    assert_eq!(read(&format, text).as_deref(), Ok(expected), "{layout} {text}");
}

#[test]
fn layouts_of_strptime() {
    check_strptime("%Y-%m-%d", "UTC", "2020-01-31", "2020-01-31T00:00:00Z");
    check_strptime(
        "%Y-%m-%d %H:%M:%S,%L %z",
        "UTC",
        "2022-01-02 07:24:56,123 -0700",
        "2022-01-02T14:24:56.123Z",
    );
    check_strptime(
        "%Y-%m-%dT%H:%M:%S.%LZ",
        "UTC",
        "2022-01-02T14:24:56.123456789Z",
        "2022-01-02T14:24:56.123456789Z",
    );
    check_strptime("%d/%b/%Y:%T %z", "UTC", "02/Jan/2022:03:04:05 +0100", "2022-01-02T02:04:05Z");
    check_strptime("%b %e %H:%M:%S", "UTC", "Apr  7 01:02:03", "2024-04-07T01:02:03Z");
    check_strptime("%b %e %H:%M:%S", "UTC", "Dec 31 01:02:03", "2023-12-31T01:02:03Z");
    check_strptime("%D %r", "UTC", "01/02/2022 12:04:05 am", "2022-01-02T00:04:05Z");
    check_strptime("%y%m%d %I:%M %p", "UTC", "700102 1:04 PM", "1970-01-02T13:04:00Z");
    check_strptime("%c", "UTC", "Sun Jan 02 15:04:05 2022", "2022-01-02T15:04:05Z");
    check_strptime(
        "%A %B %g %F%t%%%n%R",
        "UTC",
        "Sunday January 2 2022-01-02\t%\n15:04",
        "2022-01-02T15:04:00Z",
    );
    check_strptime("%F %T%j", "UTC", "2022-01-02 15:04:05+05:30", "2022-01-02T09:34:05Z");
    check_strptime("%F %T%i", "UTC", "2022-01-02 15:04:05-02", "2022-01-02T17:04:05Z");
    check_strptime("%q/%o/%Y", "UTC", "1/ 1/2022", "2022-01-01T00:00:00Z");
}

#[test]
fn layouts_of_go() {
    check_go("Jan 2 15:04:05 MST 2006", "UTC", "Jun 5 13:50:27 EST 2020", "2020-06-05T18:50:27Z");
    check_go(
        "2006-01-02T15:04:05.999999999Z07:00",
        "UTC",
        "2024-04-13T07:59:37.505201169-05:00",
        "2024-04-13T12:59:37.505201169Z",
    );
    check_go("2006-01-02T15:04:05Z07:00", "UTC", "2024-04-13T07:59:37.5Z", "2024-04-13T07:59:37.5Z");
    check_go("2006-01-02 15:04:05,000", "UTC", "2024-04-13 07:59:37,505", "2024-04-13T07:59:37.505Z");
    check_go(
        "Monday, 02-Jan-06 15:04:05 MST",
        "UTC",
        "Saturday, 13-Apr-24 07:59:37 UTC",
        "2024-04-13T07:59:37Z",
    );
    check_go("2006.002 3:4:5PM", "UTC", "2024.061 7:5:3AM", "2024-03-01T07:05:03Z");
    check_go("_2 January 2006 03:04pm -070000", "UTC", " 3 may 2024 07:05am +000030", "2024-05-03T07:04:30Z");
}

#[test]
fn places_have_their_own_time() {
    check_strptime("%Y-%m-%d %H:%M", "Europe/Berlin", "2022-07-02 12:00", "2022-07-02T10:00:00Z");
    check_strptime("%Y-%m-%d %H:%M", "Europe/Berlin", "2022-01-02 12:00", "2022-01-02T11:00:00Z");
    check_strptime("%Y-%m-%d %H:%M %Z", "America/New_York", "2022-07-02 12:00 EDT", "2022-07-02T16:00:00Z");
    assert!(parse_zone("Atlantis/Port").is_err());
    let zone = parse_zone("Asia/Kolkata").expect("a zone");
    let pacific = parse_zone("America/Los_Angeles").expect("a zone");
    let format = TimeFormat::Layout {
        layout: Layout::strptime("%a %b %d %H:%M:%S %Z %Y").expect("a layout"),
        zone,
        abbreviations: Abbreviations::from([("PDT".to_owned(), pacific)]),
    };
    assert_eq!(read(&format, "Wed Aug 27 15:08:58 IST 2025").as_deref(), Ok("2025-08-27T09:38:58Z"));
    assert_eq!(read(&format, "Wed Aug 20 14:08:48 PDT 2025").as_deref(), Ok("2025-08-20T21:08:48Z"));
    assert!(
        read(&format, "Wed Aug 20 14:08:48 QQT 2025").expect_err("unknown").contains("time_zone_locations")
    );
}

#[test]
fn texts_that_do_not_fit_are_errors() {
    let format = format(Layout::strptime("%Y-%m-%d %H:%M:%S"), "UTC");
    for text in [
        "",
        "2022",
        "2022-13-01 00:00:00",
        "2022-02-30 00:00:00",
        "2022-01-01 24:00:00",
        "2022-01-01 00:00:00 x",
    ] {
        assert!(read(&format, text).is_err(), "{text}");
    }
    assert!(format.read(&Value::Int(7), NOW).is_err());
    for layout in ["", "%", "%Q", "%S:%f"] {
        assert!(Layout::strptime(layout).is_err(), "{layout}");
    }
    assert!(Layout::strptime("%Y-%m-%dT%H:%M:%SZ").expect("a layout").ends_with_z());
    assert!(!Layout::go("2006Z07:00").expect("a layout").ends_with_z());
}

#[test]
fn numbers_since_the_epoch() {
    let second = 1_136_214_245_000_000_000;
    let text = |text: &str| Value::Str(text.to_owned());
    for (layout, value, expected) in [
        ("s", Value::Int(1_136_214_245), second),
        ("s", text("1136214245"), second),
        ("s", Value::Float(1_136_214_245.9), second),
        ("ms", Value::Int(1_136_214_245_123), second + 123_000_000),
        ("us", Value::Int(1_136_214_245_123_456), second + 123_456_000),
        ("ns", text("1136214245123456789"), second + 123_456_789),
        ("s.ms", text("1136214245.123"), second + 123_000_000),
        ("s.us", text("1136214245.123456"), second + 123_456_000),
        ("s.ns", text("1136214245.123456789"), second + 123_456_789),
        ("s.ms", Value::Float(1_136_214_245.123), second + 123_000_000),
        ("s.ns", Value::Int(1_136_214_245), second),
    ] {
        let unit = EpochUnit::from_layout(layout).expect("a layout");
        assert_eq!(unit.read(&value), Ok(expected), "{layout} {value:?}");
    }
    assert_eq!(EpochUnit::from_layout("min"), None);
    for (layout, value) in
        [("s", text("x")), ("s.ms", text("7")), ("s", Value::Bool(true)), ("s", text("99999999999999"))]
    {
        assert!(
            EpochUnit::from_layout(layout).expect("a layout").read(&value).is_err(),
            "{layout} {value:?}"
        );
    }
}
