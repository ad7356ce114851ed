//! TraceQL's values as stored spans have values: JSON that writers of `AnyValue` read.

use serde_json::Value as Json;
use throughline_model::attribute;
use throughline_traceql::Value;
use throughline_wire::tempo::Attributes;

/// A value: durations and what is a word in a query are texts.
pub(crate) fn json_of(value: &Value) -> Json {
    match value {
        Value::Text(text) => Json::from(text.as_str()),
        Value::Int(number) => Json::from(*number),
        Value::Float(number) => attribute::Value::Double(*number).to_json(),
        Value::Bool(is) => Json::from(*is),
        Value::Duration(ns) => Json::from(throughline_template::time::duration(*ns)),
        Value::Status(status) => Json::from(status.name()),
        Value::Kind(kind) => Json::from(kind.name()),
        Value::List(values) => values.iter().map(json_of).collect(),
    }
}

/// Names and values.
pub(crate) fn attributes_of(pairs: &[(String, Value)]) -> Attributes {
    pairs.iter().map(|(name, value)| (name.clone(), json_of(value))).collect()
}

/// The names of types in listings of values, and the values as texts: those of a list are listed each, as queries find them.
pub(crate) fn typed_texts(value: &Value) -> Vec<(&'static str, String)> {
    match value {
        Value::List(values) => values.iter().filter_map(typed_text).collect(),
        one => typed_text(one).into_iter().collect(),
    }
}

fn typed_text(value: &Value) -> Option<(&'static str, String)> {
    Some(match value {
        Value::Text(text) => ("string", text.clone()),
        Value::Int(number) => ("int", number.to_string()),
        // What is whole has its point all the same, which tells it from an int.
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
            ("float", format!("{number:.1}"))
        }
        Value::Float(number) => ("float", number.to_string()),
        Value::Bool(is) => ("bool", is.to_string()),
        Value::Duration(ns) => ("duration", throughline_template::time::duration(*ns)),
        Value::Status(status) => ("keyword", status.name().to_owned()),
        Value::Kind(kind) => ("keyword", kind.name().to_owned()),
        Value::List(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_of_a_list_are_listed_each() {
        let list = Value::List(vec![Value::Text("a".to_owned()), Value::Int(5)]);
        assert_eq!(typed_texts(&list), [("string", "a".to_owned()), ("int", "5".to_owned())]);
        assert_eq!(typed_texts(&Value::Bool(true)), [("bool", "true".to_owned())]);
        let floats = [5.0, 2.5].map(|number| typed_texts(&Value::Float(number)));
        assert_eq!(floats.concat(), [("float", "5.0".to_owned()), ("float", "2.5".to_owned())]);
    }
}
