//! Fields that random questions are about, and which of them a question names.

/// What a field may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Text,
    Number,
    Duration,
    Bool,
    Status,
    Kind,
}

use Type::{Bool, Duration, Number, Text};

/// Fields, what most spans have there, and constants that some are equal to.
pub const FIELDS: [(&str, Type, &[&str]); 49] = [
    ("name", Text, &["GET /", "GET /cart", "POST /pay", "SELECT", ""]),
    ("span:name", Text, &["GET /", "send"]),
    ("statusMessage", Text, &["boom", "no stock", ""]),
    ("span:statusMessage", Text, &["boom", ""]),
    ("rootName", Text, &["GET /", "SELECT", ""]),
    ("trace:rootName", Text, &["GET /cart", "send"]),
    ("rootServiceName", Text, &["web", "db", ""]),
    ("trace:rootService", Text, &["cart", "queue"]),
    ("resource.service.name", Text, &["web", "cart", "db", "queue", "x"]),
    (".service.name", Text, &["web", "cart"]),
    ("resource.region", Text, &["eu", "us", "ap"]),
    ("span.region", Text, &["eu", "us", "ap"]),
    (".region", Text, &["eu", "us", "ap"]),
    ("resource.zones", Text, &["a", "b", "x"]),
    ("resource.k8s.namespace.name", Text, &["shop", "infra"]),
    ("resource.service.instance.id", Text, &["web-0", "cart-1", "x"]),
    ("span.http.method", Text, &["GET", "POST", "PUT", "DELETE"]),
    (".http.method", Text, &["GET", "POST"]),
    ("span.tags", Text, &["a", "b", "c", "x"]),
    ("span.\"a b\"", Text, &["x", "y z"]),
    ("span.empty", Text, &["", "x"]),
    ("span.missing", Text, &["x"]),
    (".missing", Text, &["x"]),
    ("instrumentation:name", Text, &["lib.a", "lib.b", ""]),
    ("instrumentation:version", Text, &["1.0", "2.1", ""]),
    ("instrumentation.lang", Text, &["go", "rust"]),
    ("span.mixed", Text, &["x", "5"]),
    ("span.mixed", Bool, &["true", "false"]),
    ("span.http.status_code", Number, &["200", "404", "500", "503"]),
    (".http.status_code", Number, &["200", "404", "501"]),
    ("span.items", Number, &["0", "3", "-1", "10", "7"]),
    (".items", Number, &["1", "7"]),
    ("span.share", Number, &["0.5", "0.0", "1.0", "2.75", "-0.5"]),
    ("span.codes", Number, &["1", "2", "3", "4"]),
    ("span.shares", Number, &["0.5", "1.5", "1.0"]),
    ("span.big", Number, &["9223372036854775806", "9007199254740993", "0"]),
    ("resource.pods", Number, &["1", "3", "5"]),
    (".pods", Number, &["1", "7"]),
    ("resource.ratio", Number, &["0.5", "1.0", "1.5", "0.0"]),
    ("instrumentation.level", Number, &["3", "4"]),
    ("duration", Duration, &["1ms", "10ms", "100ms", "1s", "30s", "0s", "100us"]),
    ("span:duration", Duration, &["1ms", "1.5s"]),
    ("traceDuration", Duration, &["1ms", "10s", "30s"]),
    ("trace:duration", Duration, &["1s", "20s"]),
    ("span.flag", Bool, &["true", "false"]),
    ("span.flags", Bool, &["true", "false"]),
    ("resource.ready", Bool, &["true", "false"]),
    ("status", Type::Status, &["ok", "error", "unset"]),
    ("kind", Type::Kind, &["server", "client", "internal", "producer", "consumer", "unspecified"]),
];

/// Fields with numbers: sums and quantiles are of those.
pub const NUMBERS: [&str; 5] =
    ["duration", "span.http.status_code", "span.items", "span.share", "resource.pods"];

/// Attributes that are lists.
pub const LISTS: [&str; 6] =
    ["resource.zones", "span.tags", "span.codes", "span.shares", "span.flags", "event.tags"];

/// Lists that Tempo does not keep apart from what it reads next in queries for numbers.
pub const OVERWRITTEN: [&str; 3] = ["span.codes", "span.shares", "span.flags"];

/// Whether a query names a field, whatever scope it says.
pub fn names(query: &str, field: &str) -> bool {
    let bare = field.split_once(['.', ':']).map_or(field, |(_, bare)| bare);
    // The root has names with and without that word.
    let bare = if bare.starts_with("root") { bare.trim_end_matches("Name") } else { bare };
    query.contains(bare)
}

/// Whether spans that fail a condition of the query may have lost an attribute that is asked for later.
pub fn lacks_after(query: &str, field: &str) -> bool {
    field.contains('.') && names(query, field)
}

/// Whether conditions of a query see the text `nil` in the place of what is missing, which Tempo has there where it asks for that or makes
/// groups by what it has a column for.
pub fn is_confused(query: &str) -> bool {
    let told_missing = query.match_indices(" = nil").any(|(end, _)| {
        let before = query.get(..end).unwrap_or_default();
        let bare = before.rsplit_once("span.").map(|(_, bare)| bare);
        bare.is_some_and(|bare| query.matches(bare).count() > 1)
    });
    told_missing || query.contains("by(span.http.") && query.matches("http.").count() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_query_is_about_is_known() {
        assert!(
            names("{ trace:rootService = `a` }", "rootServiceName") && names("{ .items > 1 }", "span.items")
        );
        assert!(!names("{ rootName = `a` }", "name") && !lacks_after("{ name = `a` }", "name"));
        assert!(is_confused("{ span.share = nil || span.share > 1.0 }"));
        assert!(is_confused("{ (span.\"a b\" = nil) && span.\"a b\" !~ `x` }"));
        assert!(is_confused("{ span.http.method != `GET` } | by(span.http.method)"));
        assert!(!is_confused("{ span.\"a b\" = nil && span.items > 1 }"));
        assert!(!is_confused("{ span.share = nil && span.items > 1 } | by(span.http.method)"));
    }
}
