//! The file `links` of a block: what its references are, counted, and which of them the block cannot answer.
//!
//! `docs/format/block.md` draws the bytes. Columns of like numbers stand together, so that a block whose log records all
//! have traces that are elsewhere costs about a byte for each of those traces.

use std::path::Path;
use std::sync::Arc;

use throughline_model::TraceId;
use throughline_model::link::LinkKind;
use throughline_model::protobuf::put_varint;

use crate::block::packed::{Body, Packed, put_deltas, put_text};
use crate::error::Error;

/// The file's name in the block's folder.
pub(crate) const FILE_NAME: &str = "links";

/// A table takes at most so many bytes: of a block whose four million traces are all elsewhere it takes some 40 MB.
const FORMAT: Packed = Packed { name: FILE_NAME, magic: *b"TLLK", version: 1, bytes_max: 128 << 20 };

/// What is known of references within their block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Class {
    /// What is referred to is in the block.
    Resolved,
    /// The reference cannot be read.
    Malformed,
    /// The block has the tombstone of the trace; the number is that of the policy.
    Dropped(u32),
}

/// Counted references of one service, kind, minute and class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    /// A number of [`LinkTable::services`].
    pub(crate) service: u32,
    pub(crate) kind: LinkKind,
    pub(crate) class: Class,
    /// Minutes since the epoch.
    pub(crate) minute: i64,
    pub(crate) count: u64,
    /// The row of one of the traces.
    pub(crate) example: Option<u32>,
}

/// References of one service and minute to one trace that the block cannot answer: it has no span of the trace, or not the
/// span that is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Open {
    pub(crate) trace_row: u32,
    pub(crate) service: u32,
    pub(crate) minute: i64,
    /// Log records that refer to the trace.
    pub(crate) logs: u32,
    /// Log records that refer to a span of it.
    pub(crate) spans: u32,
    /// Exemplars that refer to the trace.
    pub(crate) exemplars: u32,
    /// Log records among those of `logs` (of `spans` where the block has spans of the trace) whose sender's sampler
    /// decided against the trace.
    pub(crate) unsampled: u32,
}

/// Span links of one service and minute to one trace of which the block has no span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OpenSpanLink {
    pub(crate) service: u32,
    pub(crate) minute: i64,
    pub(crate) trace_id: TraceId,
    pub(crate) count: u32,
}

/// A reference that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) service: u32,
    pub(crate) kind: LinkKind,
    /// Nanoseconds since the epoch.
    pub(crate) time: i64,
    /// The text as it was sent, cut off.
    pub(crate) form: String,
}

/// The references of a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkTable {
    pub(crate) services: Vec<Arc<str>>,
    pub(crate) policies: Vec<Arc<str>>,
    pub(crate) cells: Vec<Cell>,
    /// By trace.
    pub(crate) open: Vec<Open>,
    pub(crate) span_links: Vec<OpenSpanLink>,
    /// Examples of references that cannot be read.
    pub(crate) malformed: Vec<Malformed>,
}

impl LinkTable {
    /// The bytes of the file.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        for names in [&self.services, &self.policies] {
            put_varint(&mut body, names.len() as u64);
            names.iter().for_each(|name| put_text(&mut body, name));
        }
        put_varint(&mut body, self.cells.len() as u64);
        let column = |body: &mut Vec<u8>, of: fn(&Cell) -> u64| {
            self.cells.iter().for_each(|cell| put_varint(body, of(cell)));
        };
        column(&mut body, |cell| u64::from(cell.service));
        column(&mut body, |cell| cell.kind as u64);
        column(&mut body, |cell| match cell.class {
            Class::Resolved => 0,
            Class::Malformed => 1,
            Class::Dropped(policy) => 2 + u64::from(policy),
        });
        put_deltas(&mut body, self.cells.iter().map(|cell| cell.minute));
        column(&mut body, |cell| cell.count);
        column(&mut body, |cell| cell.example.map_or(0, |row| u64::from(row) + 1));
        self.encode_open(&mut body);
        put_varint(&mut body, self.malformed.len() as u64);
        for malformed in &self.malformed {
            put_varint(&mut body, u64::from(malformed.service));
            put_varint(&mut body, malformed.kind as u64);
            body.extend_from_slice(&malformed.time.to_le_bytes());
            put_text(&mut body, &malformed.form);
        }
        FORMAT.pack(&body)
    }

    fn encode_open(&self, body: &mut Vec<u8>) {
        put_varint(body, self.open.len() as u64);
        put_deltas(body, self.open.iter().map(|open| i64::from(open.trace_row)));
        put_deltas(body, self.open.iter().map(|open| open.minute));
        let numbers: [fn(&Open) -> u32; 5] = [
            |open| open.service,
            |open| open.logs,
            |open| open.spans,
            |open| open.exemplars,
            |open| open.unsampled,
        ];
        for of in numbers {
            self.open.iter().for_each(|open| put_varint(body, u64::from(of(open))));
        }
        put_varint(body, self.span_links.len() as u64);
        put_deltas(body, self.span_links.iter().map(|link| link.minute));
        for link in &self.span_links {
            put_varint(body, u64::from(link.service));
            put_varint(body, u64::from(link.count));
        }
        self.span_links.iter().for_each(|link| body.extend_from_slice(&link.trace_id.0));
    }

    /// Reads the bytes of the file; `path` is for errors.
    pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<LinkTable, Error> {
        let body = FORMAT.unpack(path, bytes)?;
        let mut reader = Body(&body);
        let table = read(&mut reader).filter(|_| reader.0.is_empty());
        table.ok_or_else(|| Error::damaged(path, "its content is not what a table of links holds"))
    }
}

fn read(reader: &mut Body<'_>) -> Option<LinkTable> {
    let mut table = LinkTable::default();
    for names in [&mut table.services, &mut table.policies] {
        for _ in 0..reader.count()? {
            names.push(reader.text()?.into());
        }
    }
    let (n_services, n_policies) = (table.services.len(), table.policies.len());
    let is_service = |number: &u32| (*number as usize) < n_services;
    let n = reader.count()?;
    let services = reader.numbers(n)?;
    let (kinds, classes) = (reader.numbers(n)?, reader.numbers(n)?);
    let (minutes, counts, examples) = (reader.deltas(n)?, reader.numbers(n)?, reader.numbers(n)?);
    for ((((service, kind), class), minute), (count, example)) in
        services.into_iter().zip(kinds).zip(classes).zip(minutes).zip(counts.into_iter().zip(examples))
    {
        let class = match class {
            0 => Class::Resolved,
            1 => Class::Malformed,
            policy => Class::Dropped(small(policy - 2).filter(|policy| (*policy as usize) < n_policies)?),
        };
        let example = example.checked_sub(1).map(small);
        let example = if let Some(row) = example { Some(row?) } else { None };
        let service = small(service).filter(is_service)?;
        let kind = LinkKind::from_code(kind)?;
        table.cells.push(Cell { service, kind, class, minute, count, example });
    }
    table.open = read_open(reader)?;
    table.span_links = read_span_links(reader)?;
    for _ in 0..reader.count()? {
        let service = small(reader.varint()?)?;
        let kind = LinkKind::from_code(reader.varint()?)?;
        let time = i64::from_le_bytes(reader.take(8)?.try_into().ok()?);
        table.malformed.push(Malformed { service, kind, time, form: reader.text()?.to_owned() });
    }
    let named = table.open.iter().map(|open| open.service);
    let named = named.chain(table.span_links.iter().map(|link| link.service));
    let mut named = named.chain(table.malformed.iter().map(|malformed| malformed.service));
    named.all(|service| is_service(&service)).then_some(table)
}

fn read_open(reader: &mut Body<'_>) -> Option<Vec<Open>> {
    let n = reader.count()?;
    let (rows, minutes) = (reader.deltas(n)?, reader.deltas(n)?);
    let mut open: Vec<Open> = Vec::with_capacity(rows.len());
    for (row, minute) in rows.into_iter().zip(minutes) {
        open.push(Open { trace_row: u32::try_from(row).ok()?, minute, ..Open::default() });
    }
    let numbers: [fn(&mut Open) -> &mut u32; 5] = [
        |open| &mut open.service,
        |open| &mut open.logs,
        |open| &mut open.spans,
        |open| &mut open.exemplars,
        |open| &mut open.unsampled,
    ];
    for of in numbers {
        for open in &mut open {
            *of(open) = small(reader.varint()?)?;
        }
    }
    Some(open)
}

fn read_span_links(reader: &mut Body<'_>) -> Option<Vec<OpenSpanLink>> {
    let n = reader.count()?;
    let mut links = Vec::new();
    for minute in reader.deltas(n)? {
        links.push(OpenSpanLink { service: 0, minute, trace_id: TraceId([0; 16]), count: 0 });
    }
    for link in &mut links {
        (link.service, link.count) = (small(reader.varint()?)?, small(reader.varint()?)?);
    }
    for link in &mut links {
        link.trace_id = TraceId(reader.take(16)?.try_into().ok()?);
    }
    Some(links)
}

fn small(number: u64) -> Option<u32> {
    u32::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> LinkTable {
        let cell = |class, minute, example| Cell {
            service: 1,
            kind: LinkKind::LogSpan,
            class,
            minute,
            count: u64::MAX,
            example,
        };
        let open = Open {
            trace_row: 9,
            service: 1,
            minute: -4,
            logs: 3,
            spans: 2,
            exemplars: 1,
            unsampled: u32::MAX,
        };
        let link = |service, minute| OpenSpanLink { service, minute, trace_id: TraceId([7; 16]), count: 2 };
        LinkTable {
            services: vec!["".into(), "wéb".into()],
            policies: vec!["rest".into()],
            cells: vec![
                cell(Class::Resolved, -3, None),
                cell(Class::Malformed, i64::MAX, Some(0)),
                cell(Class::Dropped(0), i64::MIN, Some(u32::MAX)),
            ],
            open: vec![open, Open { trace_row: u32::MAX, ..open }, Open::default()],
            span_links: vec![link(0, 5), link(1, -5)],
            malformed: vec![Malformed {
                service: 1,
                kind: LinkKind::ExemplarTrace,
                time: i64::MIN,
                form: "x".to_owned(),
            }],
        }
    }

    #[test]
    fn tables_come_back() {
        for table in [table(), LinkTable::default()] {
            let bytes = table.encode().expect("encoded");
            assert_eq!(LinkTable::decode(Path::new("links"), &bytes).expect("decoded"), table);
        }
    }

    #[test]
    fn damage_is_an_error() {
        let bytes = table().encode().expect("encoded");
        let path = Path::new("links");
        for at in 0..bytes.len() {
            assert!(LinkTable::decode(path, bytes.get(..at).expect("shorter")).is_err(), "cut at {at}");
            let mut changed = bytes.clone();
            changed[at] ^= 0x55;
            // It must not panic, nor take memory for what it claims to be.
            _ = LinkTable::decode(path, &changed);
        }
        let mut unknown = table();
        unknown.open[0].service = 2;
        let bytes = unknown.encode().expect("encoded");
        assert!(LinkTable::decode(path, &bytes).is_err(), "a service that is not in the list");
    }

    #[test]
    fn a_trace_that_is_elsewhere_costs_about_a_byte() {
        let open = |row: u32| Open {
            trace_row: row,
            service: row * 7 % 20,
            minute: i64::from(row) / 500,
            logs: 1 + row % 3,
            spans: 1 + row % 3,
            ..Open::default()
        };
        let services = (0..20).map(|n| format!("service-{n}").into()).collect();
        let table = LinkTable { services, open: (0..100_000).map(open).collect(), ..LinkTable::default() };
        let bytes = table.encode().expect("encoded").len();
        assert!(bytes < 150_000, "{bytes}");
    }
}
