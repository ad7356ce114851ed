//! Names: OTLP's metric names, units and attribute keys as Prometheus writes them.
//!
//! The rules are those of Prometheus's OTLP receiver (`otlp.translation_strategy` in its configuration) and of the
//! OpenTelemetry specification, "Prometheus and OpenMetrics compatibility".

use std::borrow::Cow;

use throughline_model::point::MetricType;

/// How names of metrics and labels are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Characters outside `[a-zA-Z0-9:_]` become `_`; unit and type are appended. Prometheus's default.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// Characters outside `[a-zA-Z0-9:_]` become `_`; nothing is appended.
    UnderscoreEscapingWithoutSuffixes,
    /// Names stay; unit and type are appended.
    NoUtf8EscapingWithSuffixes,
    /// Names stay as they are.
    NoTranslation,
}

impl Strategy {
    /// Every strategy with its name in a configuration.
    pub const ALL: [(&'static str, Strategy); 4] = [
        ("UnderscoreEscapingWithSuffixes", Strategy::UnderscoreEscapingWithSuffixes),
        ("UnderscoreEscapingWithoutSuffixes", Strategy::UnderscoreEscapingWithoutSuffixes),
        ("NoUTF8EscapingWithSuffixes", Strategy::NoUtf8EscapingWithSuffixes),
        ("NoTranslation", Strategy::NoTranslation),
    ];

    fn escapes(self) -> bool {
        matches!(self, Strategy::UnderscoreEscapingWithSuffixes | Strategy::UnderscoreEscapingWithoutSuffixes)
    }

    fn has_suffixes(self) -> bool {
        matches!(self, Strategy::UnderscoreEscapingWithSuffixes | Strategy::NoUtf8EscapingWithSuffixes)
    }
}

/// The word of a unit (UCUM's code), or the code itself where the table has none.
fn unit_word(code: &str) -> &str {
    match code {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "1" => "",
        "%" => "percent",
        other => other,
    }
}

/// The word after `per`.
fn per_word(code: &str) -> &str {
    match code {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        other => other,
    }
}

/// A unit's words as part of a name: letters and digits, joined by single underscores.
fn clean(word: &str) -> String {
    word.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("_")
}

/// The main unit and the unit after the slash as words; empty where there is none. Annotations (`{order}`) are none.
fn unit_words(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let word = |code: &str, table: fn(&str) -> &str| {
        let code = code.trim();
        if code.is_empty() || code.contains(['{', '}']) { String::new() } else { clean(table(code)) }
    };
    let per = word(per, per_word);
    (word(main, unit_word), if per.is_empty() { per } else { format!("per_{per}") })
}

/// A unit as metadata has it: `By/s` is `bytes_per_second`.
pub fn unit(unit: &str, strategy: Strategy) -> String {
    if !strategy.has_suffixes() {
        return unit.to_owned();
    }
    let (main, per) = unit_words(unit);
    match (main.is_empty(), per.is_empty()) {
        (_, true) => main,
        (true, false) => per,
        (false, false) => format!("{main}_{per}"),
    }
}

/// The name of a metric without what its series append (`_bucket`, `_sum`, `_count`).
pub fn metric(name: &str, unit: &str, metric_type: MetricType, strategy: Strategy) -> String {
    if !strategy.escapes() {
        return if strategy.has_suffixes() {
            with_suffixes(name, unit, metric_type)
        } else {
            name.to_owned()
        };
    }
    if !strategy.has_suffixes() {
        let parts = name.split(|c: char| !(c.is_ascii_alphanumeric() || c == ':' || c == '_'));
        return not_leading_digit(parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_"));
    }
    let outside = |c: char| !(c.is_ascii_alphanumeric() || c == ':');
    let mut tokens: Vec<&str> = name.split(outside).filter(|token| !token.is_empty()).collect();
    let (main, per) = unit_words(unit);
    let per_unit = per.strip_prefix("per_").unwrap_or_default();
    if !main.is_empty() && !tokens.contains(&main.as_str()) {
        tokens.push(&main);
    }
    if !per_unit.is_empty() && !tokens.contains(&per_unit) {
        tokens.extend(["per", per_unit]);
    }
    if metric_type == MetricType::Counter {
        tokens.retain(|token| *token != "total");
        tokens.push("total");
    }
    if unit == "1" && metric_type == MetricType::Gauge {
        tokens.retain(|token| *token != "ratio");
        tokens.push("ratio");
    }
    not_leading_digit(tokens.join("_"))
}

fn not_leading_digit(name: String) -> String {
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// Appends unit and type to a name that stays otherwise.
fn with_suffixes(name: &str, unit: &str, metric_type: MetricType) -> String {
    let (main, per) = unit_words(unit);
    let mut name = name.to_owned();
    let ending = match metric_type {
        MetricType::Counter => "_total",
        MetricType::Gauge if unit == "1" => "_ratio",
        _ => "",
    };
    if !ending.is_empty() {
        name.truncate(name.strip_suffix(ending).map_or(name.len(), str::len));
    }
    for words in [main, per] {
        if !words.is_empty() && !name.ends_with(&words) {
            name.push('_');
            name.push_str(&words);
        }
    }
    name + ending
}

/// The name of a label.
pub fn label(key: &str, strategy: Strategy) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let leads = key.starts_with(|c: char| c.is_ascii_digit());
    let single_underscore = key.starts_with(|c: char| !(c.is_ascii_alphanumeric())) && !key.starts_with("__");
    if !strategy.escapes() || (key.chars().all(is_plain) && !leads && !single_underscore) {
        return Cow::Borrowed(key);
    }
    let escaped: String = key.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    Cow::Owned(if leads {
        format!("key_{escaped}")
    } else if escaped.starts_with('_') && !escaped.starts_with("__") {
        format!("key{escaped}")
    } else {
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_names_carry_unit_and_type() {
        let name = |name, unit, metric_type| metric(name, unit, metric_type, Strategy::default());
        use MetricType::{Counter, Gauge, Histogram};
        assert_eq!(
            name("http.server.request.duration", "s", Histogram),
            "http_server_request_duration_seconds"
        );
        assert_eq!(name("app.orders", "{order}", Counter), "app_orders_total");
        assert_eq!(name("system.network.io", "By/s", Gauge), "system_network_io_bytes_per_second");
        assert_eq!(name("memory.bytes.used", "By", Gauge), "memory_bytes_used");
        assert_eq!(name("cpu.utilization", "1", Gauge), "cpu_utilization_ratio");
        assert_eq!(name("total.things", "1", Counter), "things_total");
        assert_eq!(name("2xx.responses", "", Gauge), "_2xx_responses");
        assert_eq!(name("weird__name--x", "widgets", Gauge), "weird_name_x_widgets");
        assert_eq!(name("a", "m/s", Gauge), "a_meters_per_second");
    }

    #[test]
    fn strategies_escape_and_append_or_not() {
        let of = |strategy| metric("http.duration", "s", MetricType::Counter, strategy);
        assert_eq!(of(Strategy::UnderscoreEscapingWithoutSuffixes), "http_duration");
        assert_eq!(of(Strategy::NoUtf8EscapingWithSuffixes), "http.duration_seconds_total");
        assert_eq!(of(Strategy::NoTranslation), "http.duration");
        let counter = metric("x_total", "s", MetricType::Counter, Strategy::NoUtf8EscapingWithSuffixes);
        assert_eq!(counter, "x_seconds_total");
    }

    #[test]
    fn label_names_are_made_valid() {
        let of = |key| label(key, Strategy::default()).into_owned();
        assert_eq!(of("http.status_code"), "http_status_code");
        assert_eq!(of("1st"), "key_1st");
        assert_eq!(of("_private"), "key_private");
        assert_eq!(of(".dot"), "key_dot");
        assert_eq!(of("__meta"), "__meta");
        assert_eq!(of("plain"), "plain");
        assert_eq!(label("a.b", Strategy::NoTranslation), "a.b");
    }

    #[test]
    fn units_are_words() {
        assert_eq!(unit("By/s", Strategy::default()), "bytes_per_second");
        assert_eq!(unit("{request}", Strategy::default()), "");
        assert_eq!(unit("ms", Strategy::NoTranslation), "ms");
    }
}
