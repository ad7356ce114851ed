//! Fields of spans out of the columns of the store.
//!
//! Resources, scopes, events and links are stored as JSON, and few of them differ: each distinct text is taken apart once.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use ahash::AHashMap as HashMap;
use serde_json::Value as Json;
use throughline_store::{Error, SpanColumn, SpanValues};
use throughline_traceql::ast::{Intrinsic, Scope};
use throughline_traceql::column::{Cell, Column, NIL, Numbers, Texts};
use throughline_traceql::source::SpanField;
use throughline_traceql::value::Value;

/// Texts that are kept taken apart while a query runs.
const KEPT_MAX: usize = 1 << 14;

/// Cells among which equal ones are looked for: a resource has few values of an attribute.
const EQUAL_CELLS: usize = 64;

/// JSON texts that were taken apart.
#[derive(Default)]
pub(super) struct Parsed {
    known: RefCell<HashMap<Box<str>, Arc<Json>>>,
}

impl Parsed {
    fn get(&self, text: &str) -> Arc<Json> {
        let mut known = self.known.borrow_mut();
        if let Some(json) = known.get(text) {
            return Arc::clone(json);
        }
        let json: Arc<Json> = Arc::new(serde_json::from_str(text).unwrap_or_default());
        if known.len() >= KEPT_MAX {
            known.clear();
        }
        known.insert(text.into(), Arc::clone(&json));
        json
    }
}

/// Whether a field is one column of the store, whose distinct values say what spans have of it.
pub(super) fn is_of_one(field: &SpanField) -> bool {
    use Intrinsic::{
        InstrumentationName, InstrumentationVersion, Kind, Name, RootName, RootServiceName, Status,
        StatusMessage, TraceDuration, TraceStart,
    };
    match field {
        SpanField::Service => true,
        SpanField::Attribute(scope, _) => !matches!(scope, Scope::Event | Scope::Link),
        SpanField::Intrinsic(intrinsic) => {
            let of_spans = [InstrumentationName, InstrumentationVersion, Kind, Name, Status, StatusMessage];
            let of_traces = [RootName, RootServiceName, TraceDuration, TraceStart];
            of_spans.contains(intrinsic) || of_traces.contains(intrinsic)
        }
        SpanField::HasParent | SpanField::ParentRow => false,
    }
}

/// Reads a column of the store.
pub(super) type Read<'r> = dyn Fn(SpanColumn<'_>) -> Result<SpanValues, Error> + 'r;

/// A field, out of the columns that it is in. What is of traces as a whole, and where parents are, is for the caller.
pub(super) fn column(field: &SpanField, parsed: &Parsed, read: &Read<'_>) -> Result<Column, Error> {
    Ok(match field {
        SpanField::Service => values(read(SpanColumn::Service)?),
        SpanField::HasParent => values(read(SpanColumn::HasParent)?),
        SpanField::ParentRow => values(read(SpanColumn::ParentRow)?),
        SpanField::Attribute(scope, key) => match scope {
            Scope::Span | Scope::Any => values(read(SpanColumn::Attribute(key))?),
            Scope::Resource => {
                by_text(&read(SpanColumn::Resource)?, |text| one(parsed.get(text).get(key.as_str())))
            }
            Scope::Instrumentation => by_text(&read(SpanColumn::Scope)?, |text| {
                one(parsed.get(text).get("attributes").and_then(|attributes| attributes.get(key.as_str())))
            }),
            Scope::Event => {
                by_text(&read(SpanColumn::Events)?, |text| each(text, |event| attribute(event, key)))
            }
            Scope::Link => by_text(&read(SpanColumn::Links)?, |text| each(text, |link| attribute(link, key))),
        },
        SpanField::Intrinsic(intrinsic) => of_intrinsic(*intrinsic, parsed, read)?,
    })
}

fn of_intrinsic(intrinsic: Intrinsic, parsed: &Parsed, read: &Read<'_>) -> Result<Column, Error> {
    let items = |column: SpanColumn<'_>, name: &str| {
        let member = |item: &Json| item.get(name).and_then(value_of);
        read(column).map(|texts| by_text(&texts, |text| each(text, member)))
    };
    let scope = |name: &str| {
        read(SpanColumn::Scope).map(|texts| by_text(&texts, |text| one(parsed.get(text).get(name))))
    };
    Ok(match intrinsic {
        Intrinsic::Name => values(read(SpanColumn::Name)?),
        Intrinsic::StatusMessage => values(read(SpanColumn::StatusMessage)?),
        Intrinsic::Duration => durations(read(SpanColumn::Duration)?),
        Intrinsic::TraceDuration => durations(read(SpanColumn::TraceDuration)?),
        Intrinsic::SpanStart => values(read(SpanColumn::Start)?),
        Intrinsic::TraceStart => values(read(SpanColumn::TraceStart)?),
        Intrinsic::RootName => values(read(SpanColumn::RootName)?),
        Intrinsic::RootServiceName => values(read(SpanColumn::RootService)?),
        Intrinsic::Status => codes(read(SpanColumn::Status)?, Column::statuses),
        Intrinsic::Kind => codes(read(SpanColumn::Kind)?, Column::kinds),
        Intrinsic::SpanId => values(read(SpanColumn::SpanId)?),
        Intrinsic::ParentId => values(read(SpanColumn::ParentId)?),
        Intrinsic::EventName => items(SpanColumn::Events, "name")?,
        Intrinsic::LinkTraceId => items(SpanColumn::Links, "trace_id")?,
        Intrinsic::LinkSpanId => items(SpanColumn::Links, "span_id")?,
        Intrinsic::EventTime => since_start(&read(SpanColumn::Events)?, &read(SpanColumn::Start)?),
        Intrinsic::InstrumentationName => scope("name")?,
        Intrinsic::InstrumentationVersion => scope("version")?,
        // Of trees and of traces: not asked for here.
        Intrinsic::ChildCount
        | Intrinsic::Parent
        | Intrinsic::TraceId
        | Intrinsic::NestedSetLeft
        | Intrinsic::NestedSetRight
        | Intrinsic::NestedSetParent => Column::Nil,
    })
}

/// The attributes of spans with these keys, of their resources, but for the name of the service, and of the libraries that made them.
pub(super) fn attributes(
    keys: Vec<String>,
    resources: &SpanValues,
    scopes: &SpanValues,
    parsed: &Parsed,
) -> Vec<SpanField> {
    let members = |json: Option<&Json>| {
        json.and_then(Json::as_object)
            .into_iter()
            .flat_map(|members| members.keys().cloned())
            .collect::<Vec<_>>()
    };
    let mut of_resource: BTreeSet<String> = BTreeSet::new();
    each_text(resources, |text| of_resource.extend(members(Some(&parsed.get(text)))));
    of_resource.remove("service.name");
    let mut of_scope: BTreeSet<String> = BTreeSet::new();
    each_text(scopes, |text| of_scope.extend(members(parsed.get(text).get("attributes"))));
    let all = [
        (Scope::Span, keys),
        (Scope::Resource, of_resource.into_iter().collect()),
        (Scope::Instrumentation, of_scope.into_iter().collect()),
    ];
    all.into_iter()
        .flat_map(|(scope, keys)| keys.into_iter().map(move |key| SpanField::Attribute(scope, key)))
        .collect()
}

/// Calls `visit` with each distinct text.
fn each_text(texts: &SpanValues, mut visit: impl FnMut(&str)) {
    let SpanValues::Texts(_, all, ends) = texts else { return };
    let mut start = 0;
    for end in ends {
        visit(all.get(std::mem::replace(&mut start, *end as usize)..*end as usize).unwrap_or_default());
    }
}

/// Values as they are.
fn values(values: SpanValues) -> Column {
    match values {
        SpanValues::None => Column::Nil,
        SpanValues::Texts(keys, texts, ends) => Column::Texts(keys, Texts::new(texts, ends)),
        SpanValues::Ints(values, present) => Column::Ints(Numbers { values, present }),
        SpanValues::Doubles(values, present) => Column::Floats(Numbers { values, present }),
        SpanValues::Bools(values, present) => Column::Bools(Numbers { values, present }),
        SpanValues::Ids(ids) => {
            let mut texts = Texts::default();
            let keys = ids.into_iter().map(|id| id.map_or(NIL, |id| texts.push(&id.to_string()))).collect();
            Column::Texts(keys, texts)
        }
        SpanValues::Mixed(values) => {
            Column::cells(values.into_iter().map(|value| value.as_ref().and_then(value_of).map(Cell::One)))
        }
    }
}

fn durations(of: SpanValues) -> Column {
    match values(of) {
        Column::Ints(numbers) => Column::Durations(numbers),
        other => other,
    }
}

fn codes(of: SpanValues, make: fn(&[u8]) -> Column) -> Column {
    match of {
        SpanValues::Ints(codes, _) => {
            let codes: Vec<u8> = codes.iter().map(|code| u8::try_from(*code).unwrap_or_default()).collect();
            make(&codes)
        }
        _ => Column::Nil,
    }
}

/// What a sender's value is in the language; a structure or bytes are nothing.
fn value_of(json: &Json) -> Option<Value> {
    match json {
        Json::String(text) => Some(Value::Text(text.clone())),
        Json::Bool(is) => Some(Value::Bool(*is)),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Some(Value::Int(number)),
            (None, number) => number.map(Value::Float),
        },
        // Lists in lists are left out.
        Json::Array(items) => {
            Some(Value::List(items.iter().filter(|item| !item.is_array()).filter_map(value_of).collect()))
        }
        Json::Object(members) if members.len() == 1 => match members.get("doubleValue")?.as_str()? {
            "NaN" => Some(Value::Float(f64::NAN)),
            "Infinity" => Some(Value::Float(f64::INFINITY)),
            "-Infinity" => Some(Value::Float(f64::NEG_INFINITY)),
            _ => None,
        },
        Json::Object(_) | Json::Null => None,
    }
}

fn one(json: Option<&Json>) -> Option<Cell> {
    json.and_then(value_of).map(Cell::One)
}

fn attribute(item: &Json, key: &str) -> Option<Value> {
    value_of(item.get("attributes")?.get(key)?)
}

/// A value of each event or link that has one.
fn each(text: &str, value: impl Fn(&Json) -> Option<Value>) -> Option<Cell> {
    let items: Vec<Json> = serde_json::from_str(text).unwrap_or_default();
    let values: Vec<Value> = items.iter().filter_map(value).collect();
    (!values.is_empty()).then_some(Cell::Each(values))
}

/// A column of what each distinct text says.
fn by_text(texts: &SpanValues, said: impl Fn(&str) -> Option<Cell>) -> Column {
    let SpanValues::Texts(keys, all, ends) = texts else { return Column::Nil };
    let mut start = 0;
    let (mut cells, mut places): (Vec<Cell>, Vec<u32>) = (Vec::new(), Vec::with_capacity(ends.len()));
    for end in ends {
        let text = all.get(std::mem::replace(&mut start, *end as usize)..*end as usize).unwrap_or_default();
        let Some(cell) = said(text) else {
            places.push(NIL);
            continue;
        };
        let equal =
            if cells.len() <= EQUAL_CELLS { cells.iter().position(|other| *other == cell) } else { None };
        places.push(match equal {
            Some(place) => place as u32,
            None => {
                cells.push(cell);
                cells.len() as u32 - 1
            }
        });
    }
    if cells.is_empty() {
        return Column::Nil;
    }
    let keys = keys.iter().map(|key| places.get(*key as usize).copied().unwrap_or(NIL)).collect();
    Column::Cells(keys, cells)
}

/// From the start of each span to its events.
fn since_start(events: &SpanValues, starts: &SpanValues) -> Column {
    let SpanValues::Texts(keys, ..) = events else { return Column::Nil };
    Column::cells((0..keys.len()).map(|row| {
        let start = starts.int(row)?;
        let time = |event: &Json| event.get("time").and_then(Json::as_i64);
        each(events.text(row)?, |event| time(event).map(|time| Value::Duration(time.saturating_sub(start))))
    }))
}
