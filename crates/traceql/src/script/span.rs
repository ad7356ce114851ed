//! Spans as scripts write them.

use throughline_exec::quote::unquote;
use throughline_exec::script::time_ms;
use throughline_model::{SpanId, TraceId};

use crate::ast::{SpanKind, SpanStatus};
use crate::memory::{MemoryEvent, MemoryLink, MemorySpan};
use crate::value::Value;

/// Cuts a line at spaces that are not in quotes, brackets or braces.
pub(super) fn words(text: &str) -> Vec<&str> {
    let (mut words, mut start) = (Vec::new(), None);
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (at, char) in text.char_indices() {
        if escaped {
            escaped = false;
            continue;
        }
        match char {
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth = depth.saturating_sub(1),
            ' ' | '\t' if !quoted && depth == 0 => {
                words.extend(start.take().and_then(|start| text.get(start..at)));
                continue;
            }
            _ => {}
        }
        start.get_or_insert(at);
    }
    words.extend(start.and_then(|start| text.get(start..)));
    words
}

/// The id that a name stands for: its bytes.
pub(super) fn span_id(name: &str) -> Result<SpanId, String> {
    SpanId::from_slice(&padded::<8>(name)?).ok_or_else(|| format!("{name:?} is no name of a span"))
}

/// The id that a name stands for: its bytes.
pub(super) fn trace_id(name: &str) -> Result<TraceId, String> {
    TraceId::from_bytes(padded::<16>(name)?).ok_or_else(|| format!("{name:?} is no name of a trace"))
}

fn padded<const N: usize>(name: &str) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    let end = bytes.get_mut(N.saturating_sub(name.len())..).filter(|end| end.len() == name.len());
    end.ok_or_else(|| format!("{name:?} is longer than {N} bytes"))?.copy_from_slice(name.as_bytes());
    Ok(bytes)
}

fn ns(text: &str) -> Result<i64, String> {
    match text.strip_suffix("ns").and_then(|digits| digits.parse::<i64>().ok()) {
        Some(ns) => Ok(ns),
        None => Ok(time_ms(text)?.saturating_mul(1_000_000)),
    }
}

/// A value: a text in quotes, a number, `true`, `false`, or a list in brackets.
pub(super) fn value(text: &str) -> Result<Value, String> {
    if text.starts_with('"') {
        return Ok(Value::Text(String::from_utf8_lossy(&unquote(text)).into_owned()));
    }
    if let Some(list) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
        return items.map(value).collect::<Result<Vec<Value>, String>>().map(Value::List);
    }
    match text {
        "true" => return Ok(Value::Bool(true)),
        "false" => return Ok(Value::Bool(false)),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        return Ok(Value::Int(number));
    }
    text.parse::<f64>().map(Value::Float).map_err(|_| format!("{text:?} is no value"))
}

/// Reads `TRACE/ID<PARENT SERVICE "NAME" @START +DURATION FIELD=VALUE …`.
pub(super) fn read(line: &str) -> Result<MemorySpan, String> {
    let words = words(line);
    let [id, service, name, start, duration, fields @ ..] = words.as_slice() else {
        return Err("expected TRACE/ID SERVICE \"NAME\" @START +DURATION".to_owned());
    };
    let (trace, id) = id.split_once('/').ok_or_else(|| format!("expected TRACE/ID, got {id:?}"))?;
    let (id, parent) = match id.split_once('<') {
        Some((id, parent)) => (id, Some(span_id(parent)?)),
        None => (id, None),
    };
    let Value::Text(name) = value(name)? else {
        return Err(format!("expected a name in quotes, got {name}"));
    };
    let start = start.strip_prefix('@').ok_or_else(|| format!("expected @START, got {start:?}"))?;
    let duration =
        duration.strip_prefix('+').ok_or_else(|| format!("expected +DURATION, got {duration:?}"))?;
    let mut span = MemorySpan {
        trace_id: trace_id(trace)?,
        id: span_id(id)?,
        parent,
        service: (*service).to_owned(),
        name,
        kind: SpanKind::Internal,
        status: SpanStatus::Unset,
        status_message: String::new(),
        start_ns: ns(start)?,
        duration_ns: ns(duration)?,
        attributes: Vec::new(),
        resource: Vec::new(),
        scope_name: String::new(),
        scope_version: String::new(),
        scope: Vec::new(),
        events: Vec::new(),
        links: Vec::new(),
    };
    for field in fields {
        let (name, value) =
            field.split_once('=').ok_or_else(|| format!("expected FIELD=VALUE, got {field:?}"))?;
        set(&mut span, name, value)?;
    }
    Ok(span)
}

fn set(span: &mut MemorySpan, name: &str, text: &str) -> Result<(), String> {
    let as_text = || match value(text)? {
        Value::Text(text) => Ok(text),
        _ => Err(format!("{name} is a text, got {text}")),
    };
    let attribute = |prefix: &str| name.strip_prefix(prefix).map(str::to_owned);
    match name {
        "kind" => {
            let kind = SpanKind::ALL.into_iter().find(|kind| kind.name() == text);
            span.kind = kind.ok_or_else(|| format!("{text:?} is no kind"))?;
        }
        "status" => {
            let status = SpanStatus::ALL.into_iter().find(|status| status.name() == text);
            span.status = status.ok_or_else(|| format!("{text:?} is no status"))?;
        }
        "statusMessage" => span.status_message = as_text()?,
        "instrumentation:name" => span.scope_name = as_text()?,
        "instrumentation:version" => span.scope_version = as_text()?,
        "event:name" => {
            let event = MemoryEvent { name: as_text()?, time_ns: span.start_ns, attributes: Vec::new() };
            span.events.push(event);
        }
        "event:timeSinceStart" => {
            let event = span.events.last_mut().ok_or("event:name begins an event")?;
            event.time_ns = span.start_ns.saturating_add(ns(text)?);
        }
        "link:spanID" => {
            let span_id = span_id(&as_text()?)?.to_string();
            span.links.push(MemoryLink { span_id, ..MemoryLink::default() });
        }
        "link:traceID" => {
            let link = span.links.last_mut().ok_or("link:spanID begins a link")?;
            link.trace_id = trace_id(&as_text()?)?.to_string();
        }
        _ => {
            let value = value(text)?;
            if let Some(key) = attribute("span.") {
                span.attributes.push((key, value));
            } else if let Some(key) = attribute("resource.") {
                span.resource.push((key, value));
            } else if let Some(key) = attribute("instrumentation.") {
                span.scope.push((key, value));
            } else if let Some(key) = attribute("event.") {
                span.events.last_mut().ok_or("event:name begins an event")?.attributes.push((key, value));
            } else if let Some(key) = attribute("link.") {
                span.links.last_mut().ok_or("link:spanID begins a link")?.attributes.push((key, value));
            } else {
                return Err(format!("{name:?} is no field of a span"));
            }
        }
    }
    Ok(())
}
