//! The functions that Prometheus gives to templates.

use regex::{Regex, RegexBuilder};
use throughline_template::{Functions, Kind, Room, Value, format, url_query};

use super::{Surroundings, humanize, number};
use crate::duration;

/// The Go types of what `query` gives.
const RESULT: &str = "template.queryResult";
const SAMPLE: &str = "*template.sample";

/// The most bytes of a compiled pattern.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// All of them.
pub fn functions(surroundings: Surroundings<'_>) -> Functions<'_> {
    let mut table = Functions::new();
    add_queries(&mut table, surroundings);
    add_numbers(&mut table, surroundings);
    add_texts(&mut table);
    add_links(&mut table, surroundings);
    table
}

fn text(value: &Value) -> &str {
    value.as_text().unwrap_or_default()
}

fn add_queries<'a>(table: &mut Functions<'a>, surroundings: Surroundings<'a>) {
    table.add("query", &[Kind::Text], move |values, _| {
        let querier = surroundings.querier.ok_or("there is nothing to query")?;
        let samples = querier.instant(text(&values[0]), surroundings.time_ms)?;
        let samples = samples.iter().map(|sample| {
            let labels = Value::text_map(sample.labels.iter());
            Value::record(SAMPLE, [("Labels", labels), ("Value", number(&sample.value))])
        });
        Ok(Value::list_of(RESULT, samples.collect()))
    });
    table.add("first", &[Kind::Named(RESULT)], |values, _| {
        let first = values[0].as_list().and_then(<[Value]>::first);
        first.cloned().ok_or_else(|| "first() called on vector with no elements".to_owned())
    });
    let label = |sample: &Value, name: &str| {
        let labels = sample.get("Labels");
        labels.and_then(|labels| labels.get(name)).cloned().unwrap_or_else(|| Value::text(""))
    };
    table.add("label", &[Kind::Text, Kind::Named(SAMPLE)], move |values, _| {
        Ok(label(&values[1], text(&values[0])))
    });
    table.add("strvalue", &[Kind::Named(SAMPLE)], move |values, _| Ok(label(&values[0], "__value__")));
    table.add("value", &[Kind::Named(SAMPLE)], |values, _| {
        Ok(values[0].get("Value").cloned().unwrap_or(Value::Nil))
    });
    table.add("sortByLabel", &[Kind::Text, Kind::Named(RESULT)], move |values, _| {
        let name = text(&values[0]);
        let mut samples = values[1].as_list().unwrap_or_default().to_vec();
        samples.sort_by(|a, b| text(&label(a, name)).cmp(text(&label(b, name))));
        Ok(Value::list_of(RESULT, samples))
    });
    table.add_variadic("args", &[], Kind::Any, |values, _| {
        let entries = values.iter().enumerate().map(|(at, value)| (format!("arg{at}"), value.clone()));
        Ok(Value::map(entries))
    });
}

/// A number as text.
type Form = fn(f64) -> Result<String, String>;

fn add_numbers<'a>(table: &mut Functions<'a>, surroundings: Surroundings<'a>) {
    let forms: [(&'static str, Form); 5] = [
        ("humanize", |number| Ok(humanize::humanize(number))),
        ("humanize1024", |number| Ok(humanize::humanize1024(number))),
        ("humanizeDuration", |number| Ok(humanize::duration(number))),
        ("humanizePercentage", |number| Ok(format!("{}%", format::float(number * 100.0, 'g', Some(4))))),
        ("humanizeTimestamp", humanize::timestamp),
    ];
    for (name, form) in forms {
        table
            .add(name, &[Kind::Any], move |values, _| form(humanize::to_float(&values[0])?).map(Value::text));
    }
    table.add("toTime", &[Kind::Any], |values, _| humanize::to_time(humanize::to_float(&values[0])?));
    table.add("toDuration", &[Kind::Any], |values, _| {
        Ok(Value::Duration((humanize::to_float(&values[0])? * 1e9) as i64))
    });
    table.add("now", &[], move |_, _| Ok(Value::Float(surroundings.time_ms as f64 / 1000.0)));
    table.add("parseDuration", &[Kind::Text], |values, _| {
        let written = text(&values[0]);
        let (sign, magnitude) = match written.strip_prefix('-') {
            Some(rest) => (-1.0, rest),
            None => (1.0, written),
        };
        Ok(Value::Float(sign * duration::parse_ms(magnitude)? as f64 / 1000.0))
    });
}

fn pattern(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build();
    built.map_err(|error| format!("error parsing regexp: {error}"))
}

fn replace_all(values: &[Value], room: Room) -> Result<Value, String> {
    let (pattern, with, plain) = (pattern(text(&values[0]))?, text(&values[1]), text(&values[2]));
    let (mut out, mut end) = (String::new(), 0);
    for captures in pattern.captures_iter(plain) {
        let Some(found) = captures.get(0) else { continue };
        out.push_str(&plain[end..found.start()]);
        captures.expand(with, &mut out);
        end = found.end();
        if out.len() > room.bytes {
            return Err("the text is too large".to_owned());
        }
    }
    out.push_str(&plain[end..]);
    Ok(Value::text(out))
}

fn add_texts(table: &mut Functions<'_>) {
    table.add("toUpper", &[Kind::Text], |values, _| Ok(Value::text(text(&values[0]).to_uppercase())));
    table.add("toLower", &[Kind::Text], |values, _| Ok(Value::text(text(&values[0]).to_lowercase())));
    table.add("title", &[Kind::Text], |values, _| Ok(Value::text(title(text(&values[0])))));
    // Output is text, not HTML: nothing is escaped, and so there is nothing to exempt.
    table.add("safeHtml", &[Kind::Text], |values, _| Ok(values[0].clone()));
    table.add("match", &[Kind::Text, Kind::Text], |values, _| {
        Ok(Value::Bool(pattern(text(&values[0]))?.is_match(text(&values[1]))))
    });
    table.add("reReplaceAll", &[Kind::Text, Kind::Text, Kind::Text], replace_all);
    table.add("urlQueryEscape", &[Kind::Text], |values, _| Ok(Value::text(url_query(text(&values[0])))));
    table.add("stripPort", &[Kind::Text], |values, _| {
        let address = text(&values[0]);
        Ok(Value::text(split_port(address).map_or(address, |(host, _)| host)))
    });
    table.add("stripDomain", &[Kind::Text], |values, _| Ok(Value::text(strip_domain(text(&values[0])))));
}

/// Every word with a capital; other letters stay.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_inside = false;
    for c in text.chars() {
        if is_inside {
            out.push(c);
        } else {
            out.extend(c.to_uppercase());
        }
        is_inside = c.is_alphanumeric() || (is_inside && matches!(c, '\'' | '’' | '_'));
    }
    out
}

/// Host and port of `host:port` or `[host]:port`.
fn split_port(address: &str) -> Option<(&str, &str)> {
    let (host, port) = address.rsplit_once(':')?;
    if let Some(bracketed) = host.strip_prefix('[') {
        return Some((bracketed.strip_suffix(']')?, port));
    }
    (!host.contains(':')).then_some((host, port))
}

fn strip_domain(address: &str) -> String {
    let (host, port) = split_port(address).unwrap_or((address, ""));
    if host.parse::<std::net::IpAddr>().is_ok() {
        return address.to_owned();
    }
    let name = host.split('.').next().unwrap_or(host);
    if port.is_empty() { name.to_owned() } else { format!("{name}:{port}") }
}

fn add_links<'a>(table: &mut Functions<'a>, surroundings: Surroundings<'a>) {
    table.add("graphLink", &[Kind::Text], |values, _| Ok(Value::text(link(text(&values[0]), 0))));
    table.add("tableLink", &[Kind::Text], |values, _| Ok(Value::text(link(text(&values[0]), 1))));
    table.add("externalURL", &[], move |_, _| Ok(Value::text(surroundings.external_url)));
    table.add("pathPrefix", &[], move |_, _| {
        let url = surroundings.external_url;
        let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
        Ok(Value::text(after_scheme.find('/').map_or("", |at| &after_scheme[at..])))
    });
}

/// The path of a page with an expression: tab 0 is the graph, 1 the table.
pub fn link(expr: &str, tab: u8) -> String {
    format!("/graph?g0.expr={}&g0.tab={tab}", url_query(expr))
}
