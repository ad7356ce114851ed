//! A tree's value for an entry. Depth is that of the tree, which the parser limits.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::parser::{Function, Node, Operator, Variable};
use crate::entry::Entry;
use crate::value::Value;

/// The longest text that an expression may make.
const TEXT_BYTES_MAX: usize = 16 << 20;

type Found<'e> = Result<Cow<'e, Value>, String>;

pub fn eval<'e>(node: &'e Node, entry: &'e Entry) -> Found<'e> {
    Ok(match node {
        Node::Literal(value) => Cow::Borrowed(value),
        Node::Variable(variable) => self::variable(*variable, entry),
        Node::Member { of, key, optional } => return member(of, key, *optional, entry),
        Node::Not(of) => Cow::Owned(Value::Bool(!condition(of, entry)?)),
        Node::Negate(of) => Cow::Owned(match *eval(of, entry)? {
            Value::Int(n) => Value::Int(n.wrapping_neg()),
            Value::Float(n) => Value::Float(-n),
            ref other => return Err(format!("{} has no negative", other.kind())),
        }),
        Node::Binary(Operator::And, left, right) => {
            Cow::Owned(Value::Bool(condition(left, entry)? && condition(right, entry)?))
        }
        Node::Binary(Operator::Or, left, right) => {
            Cow::Owned(Value::Bool(condition(left, entry)? || condition(right, entry)?))
        }
        Node::Binary(Operator::Default, left, right) => match eval(left, entry) {
            Ok(value) if *value != Value::Null => value,
            Ok(_) | Err(_) => return eval(right, entry),
        },
        Node::Binary(operator, left, right) => {
            let (left, right) = (eval(left, entry)?, eval(right, entry)?);
            Cow::Owned(binary(*operator, &left, &right)?)
        }
        Node::Matches(of, pattern) => Cow::Owned(Value::Bool(match &*eval(of, entry)? {
            Value::Str(text) => pattern.is_match(text.as_bytes()),
            Value::Bytes(bytes) => pattern.is_match(bytes),
            Value::Null => false,
            other => return Err(format!("{} is matched against a pattern", other.kind())),
        })),
        Node::Conditional(parts) => {
            let [condition, yes, no] = parts.as_ref();
            return eval(if self::condition(condition, entry)? { yes } else { no }, entry);
        }
        Node::List(items) => {
            let items: Result<Vec<Value>, String> =
                items.iter().map(|item| eval(item, entry).map(Cow::into_owned)).collect();
            Cow::Owned(Value::List(items?))
        }
        Node::Call(function, arguments) => {
            let arguments: Result<Vec<Cow<'_, Value>>, String> =
                arguments.iter().map(|argument| eval(argument, entry)).collect();
            Cow::Owned(call(*function, &arguments?)?)
        }
    })
}

fn variable(variable: Variable, entry: &Entry) -> Cow<'_, Value> {
    match variable {
        Variable::Body => Cow::Borrowed(&entry.body),
        Variable::Attributes => Cow::Owned(Value::Map(entry.attributes.clone())),
        Variable::Resource => Cow::Owned(Value::Map(entry.resource.clone())),
        Variable::SeverityText => Cow::Owned(Value::Str(entry.severity_text.clone())),
        Variable::SeverityNumber => Cow::Owned(Value::Int(i64::from(entry.severity))),
    }
}

fn member<'e>(of: &'e Node, key: &'e Node, optional: bool, entry: &'e Entry) -> Found<'e> {
    let key = eval(key, entry)?;
    // One attribute is found without a copy of all.
    let whole = match of {
        Node::Variable(Variable::Attributes) => Some(&entry.attributes),
        Node::Variable(Variable::Resource) => Some(&entry.resource),
        _ => None,
    };
    if let (Some(map), Value::Str(name)) = (whole, &*key) {
        return Ok(map.get(name).map_or(Cow::Owned(Value::Null), Cow::Borrowed));
    }
    match (eval(of, entry)?, &*key) {
        (Cow::Borrowed(Value::Map(map)), Value::Str(name)) => {
            Ok(map.get(name).map_or(Cow::Owned(Value::Null), Cow::Borrowed))
        }
        (Cow::Owned(Value::Map(mut map)), Value::Str(name)) => {
            Ok(Cow::Owned(map.remove(name).unwrap_or_default()))
        }
        (list, Value::Int(index)) if matches!(*list, Value::List(_)) => {
            let Value::List(items) = list.into_owned() else { return Ok(Cow::Owned(Value::Null)) };
            let from_end = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let at = if *index < 0 { from_end.saturating_add(*index) } else { *index };
            let found = usize::try_from(at).ok().and_then(|at| items.get(at).cloned());
            found.map(Cow::Owned).ok_or_else(|| format!("index {index} of a list of {from_end}"))
        }
        (nothing, _) if optional && *nothing == Value::Null => Ok(Cow::Owned(Value::Null)),
        (of, key) => {
            let key = key.scalar().unwrap_or_default();
            Err(format!("cannot fetch {key} from {}", of.kind()))
        }
    }
}

fn condition(node: &Node, entry: &Entry) -> Result<bool, String> {
    match *eval(node, entry)? {
        Value::Bool(met) => Ok(met),
        ref other => Err(format!("{} is not a boolean", other.kind())),
    }
}

fn binary(operator: Operator, left: &Value, right: &Value) -> Result<Value, String> {
    let no = || Err(format!("{} and {} do not go with this operator", left.kind(), right.kind()));
    Ok(match operator {
        Operator::Equal => Value::Bool(is_equal(left, right)),
        Operator::Unequal => Value::Bool(!is_equal(left, right)),
        Operator::Less | Operator::Greater | Operator::LessEqual | Operator::GreaterEqual => {
            let Some(ordering) = compare(left, right)? else { return Ok(Value::Bool(false)) };
            Value::Bool(match operator {
                Operator::Less => ordering == Ordering::Less,
                Operator::Greater => ordering == Ordering::Greater,
                Operator::LessEqual => ordering != Ordering::Greater,
                _ => ordering != Ordering::Less,
            })
        }
        Operator::In => Value::Bool(is_in(left, right)?),
        Operator::NotIn => Value::Bool(!is_in(left, right)?),
        Operator::Contains | Operator::StartsWith | Operator::EndsWith => match (left, right) {
            (Value::Str(text), Value::Str(part)) => Value::Bool(match operator {
                Operator::Contains => text.contains(part.as_str()),
                Operator::StartsWith => text.starts_with(part.as_str()),
                _ => text.ends_with(part.as_str()),
            }),
            (Value::Null, _) | (_, Value::Null) => Value::Bool(false),
            _ => return no(),
        },
        Operator::Add => match (left, right) {
            (Value::Str(a), Value::Str(b)) if a.len() + b.len() <= TEXT_BYTES_MAX => {
                Value::Str(format!("{a}{b}"))
            }
            (Value::Str(_), Value::Str(_)) => {
                return Err(format!("more than {TEXT_BYTES_MAX} bytes of text"));
            }
            _ => return arithmetic(operator, left, right),
        },
        _ => return arithmetic(operator, left, right),
    })
}

fn arithmetic(operator: Operator, left: &Value, right: &Value) -> Result<Value, String> {
    if let (Value::Int(a), Value::Int(b)) = (left, right) {
        match operator {
            Operator::Add => return Ok(Value::Int(a.wrapping_add(*b))),
            Operator::Subtract => return Ok(Value::Int(a.wrapping_sub(*b))),
            Operator::Multiply => return Ok(Value::Int(a.wrapping_mul(*b))),
            Operator::Remainder => {
                return a.checked_rem(*b).map(Value::Int).ok_or_else(|| "division by zero".to_owned());
            }
            _ => {}
        }
    }
    let (Some(a), Some(b)) = (number(left), number(right)) else {
        return Err(format!("no arithmetic with {} and {}", left.kind(), right.kind()));
    };
    Ok(Value::Float(match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide => a / b,
        _ => return Err("the remainder is of whole numbers".to_owned()),
    }))
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(n) => Some(*n as f64),
        Value::Float(n) => Some(*n),
        _ => None,
    }
}

fn is_equal(left: &Value, right: &Value) -> bool {
    match (number(left), number(right)) {
        (Some(a), Some(b)) => a == b,
        _ => left == right,
    }
}

fn compare(left: &Value, right: &Value) -> Result<Option<Ordering>, String> {
    match (left, right) {
        (Value::Str(a), Value::Str(b)) => Ok(Some(a.cmp(b))),
        _ => match (number(left), number(right)) {
            (Some(a), Some(b)) => Ok(a.partial_cmp(&b)),
            _ => Err(format!("{} and {} have no order", left.kind(), right.kind())),
        },
    }
}

fn is_in(left: &Value, right: &Value) -> Result<bool, String> {
    match (left, right) {
        (_, Value::List(items)) => Ok(items.iter().any(|item| is_equal(left, item))),
        (Value::Str(key), Value::Map(map)) => Ok(map.contains_key(key)),
        (_, Value::Null) => Ok(false),
        _ => Err(format!("{} cannot be in {}", left.kind(), right.kind())),
    }
}

fn call(function: Function, arguments: &[Cow<'_, Value>]) -> Result<Value, String> {
    let text = |at: usize| match arguments.get(at).map(|value| &**value) {
        Some(Value::Str(text)) => Ok(text.as_str()),
        other => Err(format!("{} stands where text is expected", other.map_or("nothing", Value::kind))),
    };
    let owned = |text: &str| Value::Str(text.to_owned());
    let first = arguments.first().map(|value| &**value).unwrap_or(&Value::Null);
    Ok(match function {
        Function::Len => {
            let length = match first {
                Value::Str(text) => text.chars().count(),
                Value::Bytes(bytes) => bytes.len(),
                Value::List(items) => items.len(),
                Value::Map(map) => map.len(),
                other => return Err(format!("{} has no length", other.kind())),
            };
            Value::Int(i64::try_from(length).unwrap_or(i64::MAX))
        }
        Function::Lower => Value::Str(text(0)?.to_lowercase()),
        Function::Upper => Value::Str(text(0)?.to_uppercase()),
        Function::Trim if arguments.len() == 1 => owned(text(0)?.trim()),
        Function::Trim => {
            let letters: Vec<char> = text(1)?.chars().collect();
            owned(text(0)?.trim_matches(letters.as_slice()))
        }
        Function::TrimPrefix => owned(text(0)?.strip_prefix(text(1)?).unwrap_or(text(0)?)),
        Function::TrimSuffix => owned(text(0)?.strip_suffix(text(1)?).unwrap_or(text(0)?)),
        Function::HasPrefix => Value::Bool(text(0)?.starts_with(text(1)?)),
        Function::HasSuffix => Value::Bool(text(0)?.ends_with(text(1)?)),
        Function::Split => Value::List(text(0)?.split(text(1)?).map(owned).collect()),
        Function::Replace => {
            let (of, from, to) = (text(0)?, text(1)?, text(2)?);
            if of.len().saturating_mul(to.len().max(1)) > TEXT_BYTES_MAX {
                return Err(format!("more than {TEXT_BYTES_MAX} bytes of text"));
            }
            Value::Str(of.replace(from, to))
        }
        Function::Int => match first {
            Value::Int(n) => Value::Int(*n),
            Value::Float(n) => Value::Int(*n as i64),
            Value::Str(text) => {
                Value::Int(text.parse().map_err(|_| format!("{text:?} is not a whole number"))?)
            }
            other => return Err(format!("{} is not a number", other.kind())),
        },
        Function::Float => match first {
            Value::Str(text) => Value::Float(text.parse().map_err(|_| format!("{text:?} is not a number"))?),
            other => Value::Float(number(other).ok_or_else(|| format!("{} is not a number", other.kind()))?),
        },
        Function::Text => Value::Str(first.scalar().ok_or_else(|| format!("{} is no text", first.kind()))?),
    })
}
