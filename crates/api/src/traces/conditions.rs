//! Conditions of older query forms as TraceQL: names and values as text become expressions over fields.

use throughline_traceql::ast::{Attribute, Literal, Scope};

/// A text as a constant.
pub(crate) fn quoted(text: &str) -> String {
    Literal::Text(text.to_owned()).to_string()
}

/// A duration as a constant.
pub(crate) fn duration(ns: i64) -> String {
    Literal::Duration(ns).to_string()
}

/// An attribute of a scope.
pub(crate) fn attribute(scope: Scope, name: &str) -> String {
    Attribute { parent: false, scope, name: name.to_owned() }.to_string()
}

/// The constants that a value written as text may be of: the text, and the number or truth value that it reads as.
fn constants(value: &str) -> Vec<String> {
    let mut constants = vec![quoted(value)];
    match (value.parse::<i64>(), value.parse::<f64>(), value) {
        (Ok(number), ..) => constants.push(Literal::Int(number).to_string()),
        (_, Ok(number), _) if number.is_finite() => constants.push(Literal::Float(number).to_string()),
        (.., "true" | "false") => constants.push(value.to_owned()),
        _ => {}
    }
    constants
}

/// That an attribute of any of the scopes has a value, compared as text.
pub(crate) fn has_value(scopes: &[Scope], name: &str, value: &str) -> String {
    let constants = constants(value);
    let one = |scope: &Scope| {
        let field = attribute(*scope, name);
        constants.iter().map(move |constant| format!("{field} = {constant}")).collect::<Vec<_>>()
    };
    let all: Vec<String> = scopes.iter().flat_map(one).collect();
    match all.as_slice() {
        [single] => single.clone(),
        several => format!("({})", several.join(" || ")),
    }
}

/// That a field contains a text, whatever the case of its letters.
pub(crate) fn contains(field: &str, text: &str) -> String {
    let mut pattern = String::from("(?i).*");
    for char in text.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(char) {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern.push_str(".*");
    format!("{field} =~ {}", quoted(&pattern))
}

/// That an attribute of a span or its resource contains a text, or is the number or truth value that it reads as.
pub(crate) fn contains_value(name: &str, text: &str) -> String {
    let field = attribute(Scope::Any, name);
    let mut all = vec![contains(&field, text)];
    all.extend(constants(text).into_iter().skip(1).map(|constant| format!("{field} = {constant}")));
    match all.as_slice() {
        [single] => single.clone(),
        several => format!("({})", several.join(" || ")),
    }
}

/// A query for spans that meet all conditions.
pub(crate) fn all_of(conditions: &[String]) -> String {
    match conditions {
        [] => "{ }".to_owned(),
        conditions => format!("{{ {} }}", conditions.join(" && ")),
    }
}

#[cfg(test)]
mod tests {
    use throughline_traceql::checked;

    use super::*;

    #[test]
    fn conditions_are_queries() {
        let scopes = [Scope::Span, Scope::Resource];
        let conditions = [
            has_value(&scopes, "http.status_code", "500"),
            has_value(&[Scope::Resource], "a b\"c", "x\\\"y"),
            has_value(&scopes, "ratio", "0.5"),
            has_value(&scopes, "ok", "true"),
            contains_value("http.url", "/a?b=(c)"),
            contains_value("size", "7"),
            format!("duration >= {}", duration(1_500_000)),
        ];
        for condition in &conditions {
            let query = all_of(std::slice::from_ref(condition));
            assert!(checked(&query).is_ok(), "{query}: {:?}", checked(&query).err());
        }
        assert!(checked(&all_of(&conditions)).is_ok());
        assert!(checked(&all_of(&[])).is_ok());
        assert_eq!(
            conditions[0],
            "(span.http.status_code = \"500\" || span.http.status_code = 500 || resource.http.status_code = \"500\" || \
             resource.http.status_code = 500)"
        );
    }
}
