//! `csv_parser`: one row of comma-separated values under the names of a header.

use crate::entry::Entry;
use crate::value::{Map, Value};

/// How a row is read.
#[derive(Clone, Debug)]
pub struct Csv {
    /// Where the names come from.
    pub header: Header,
    /// Between values.
    pub delimiter: char,
    /// How quotes are taken.
    pub quotes: Quotes,
}

/// Where the names of values come from.
#[derive(Clone, Debug)]
pub enum Header {
    /// They are these.
    Names(Vec<String>),
    /// They stand in this attribute, separated so.
    Attribute(String, char),
}

/// How quotes are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quotes {
    /// A value in quotes may hold delimiters, and two quotes for one.
    Strict,
    /// A quote elsewhere is a letter like others.
    Lazy,
    /// All quotes are letters like others.
    Ignored,
}

impl Csv {
    /// The values of a row, by name.
    pub fn parse(&self, row: &str, entry: &Entry) -> Result<Map, String> {
        let from_attribute: Vec<String>;
        let names = match &self.header {
            Header::Names(names) => names,
            Header::Attribute(name, delimiter) => {
                let header = entry.attributes.get(name).and_then(Value::text);
                let header =
                    header.ok_or_else(|| format!("the attribute {name} with the header is missing"))?;
                from_attribute = header.split(*delimiter).map(str::to_owned).collect();
                &from_attribute
            }
        };
        let values = match self.quotes {
            Quotes::Ignored => row.split(self.delimiter).map(str::to_owned).collect(),
            Quotes::Strict | Quotes::Lazy => self.quoted(row)?,
        };
        if values.len() != names.len() {
            return Err(format!("wrong number of fields: expected {}, found {}", names.len(), values.len()));
        }
        Ok(names.iter().cloned().zip(values.into_iter().map(Value::Str)).collect())
    }

    fn quoted(&self, row: &str) -> Result<Vec<String>, String> {
        let is_lazy = self.quotes == Quotes::Lazy;
        let (mut values, mut rest) = (Vec::new(), row);
        loop {
            let mut value = String::new();
            if let Some(inside) = rest.strip_prefix('"') {
                rest = inside;
                loop {
                    let (before, after) = rest.split_once('"').ok_or("a quoted value has no end")?;
                    value.push_str(before);
                    let ends = after.is_empty() || after.starts_with(self.delimiter);
                    if let Some(after) = after.strip_prefix('"') {
                        value.push('"');
                        rest = after;
                    } else if ends {
                        rest = after;
                        break;
                    } else if is_lazy {
                        value.push('"');
                        rest = after;
                    } else {
                        return Err("a quote stands within a quoted value".to_owned());
                    }
                }
            } else {
                let (plain, after) = rest.split_at(rest.find(self.delimiter).unwrap_or(rest.len()));
                if plain.contains('"') && !is_lazy {
                    return Err("a quote stands within a value that is not quoted".to_owned());
                }
                value.push_str(plain);
                rest = after;
            }
            values.push(value);
            match rest.strip_prefix(self.delimiter) {
                Some(after) => rest = after,
                None => return Ok(values),
            }
        }
    }
}
