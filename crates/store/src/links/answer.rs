//! Answers the ledger over a snapshot.
//!
//! 1. Blocks give what they counted; what they could not answer names traces to look for. References in memory do the same.
//! 2. The traces are looked for: spans in memory once, then blocks by their filters.
//! 3. Every open reference gets the state of its trace. One to a span whose trace is here, but in another place than the
//!    reference, is compared with the spans of the trace.

use std::collections::BTreeMap;
use std::sync::Arc;

use throughline_model::link::{LinkKind, LinkState};
use throughline_model::{SpanId, TraceId};

use super::alerts;
use super::table::{Class, LinkTable};
use super::targets::{Place, Targets, state_without_trace};
use super::{EXAMPLES_MAX, LinkCount, LinkExample, LinkQuery, LinkReport, MINUTE_NS, Reference, ReferredTo};
use crate::block::Block;
use crate::error::Error;
use crate::snapshot::{PENDING_NS, Snapshot};

/// An open reference, or several of one service and minute.
struct Open {
    target: u32,
    service: u32,
    kind: LinkKind,
    time: i64,
    count: u64,
    unsampled: u64,
    /// The block and the trace's row in it, of references to spans.
    rows: Option<(usize, u32)>,
}

/// Where a count goes.
type Key = (u32, LinkKind, &'static str, Option<String>);

/// Counts and examples as they come together.
struct Tally<'a> {
    query: &'a LinkQuery,
    numbers: BTreeMap<Arc<str>, u32>,
    services: Vec<Arc<str>>,
    counts: BTreeMap<Key, (u64, Vec<LinkExample>)>,
}

impl Tally<'_> {
    fn service(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let (name, number): (Arc<str>, u32) = (name.into(), self.services.len() as u32);
        self.numbers.insert(name.clone(), number);
        self.services.push(name);
        number
    }

    fn add(&mut self, key: Key, count: u64, example: impl FnOnce(String) -> Option<LinkExample>) {
        if count == 0 {
            return;
        }
        let service = key.0;
        let room = self.query.examples.min(EXAMPLES_MAX);
        let (total, examples) = self.counts.entry(key).or_default();
        *total += count;
        if examples.len() < room {
            let service = self.services.get(service as usize).map(|name| name.to_string());
            let example = example(service.unwrap_or_default());
            examples.extend(example.filter(|example| !examples.contains(example)));
        }
    }

    fn add_state(&mut self, service: u32, kind: LinkKind, state: &LinkState, count: u64, to: Named<'_>) {
        let key = (service, kind, state.name(), state.cause());
        self.add(key, count, |service| {
            Some(LinkExample {
                trace_id: to.trace_id,
                span_id: to.span_id,
                form: to.form.map(str::to_owned),
                service,
                time: to.time,
            })
        });
    }

    fn finish(self) -> Vec<LinkCount> {
        let name = |number: u32| self.services.get(number as usize).map(|name| name.to_string());
        let count = |((service, kind, state, cause), (count, examples)): (Key, (u64, Vec<LinkExample>))| {
            let service = name(service).unwrap_or_default();
            LinkCount { service, kind, state: state.to_owned(), cause, count, examples }
        };
        let mut counts: Vec<LinkCount> = self.counts.into_iter().map(count).collect();
        counts.sort_by(|a, b| {
            (&a.service, a.kind, &a.state, &a.cause).cmp(&(&b.service, b.kind, &b.state, &b.cause))
        });
        counts
    }
}

/// What an example names.
#[derive(Clone, Copy, Default)]
struct Named<'a> {
    trace_id: Option<TraceId>,
    span_id: Option<SpanId>,
    form: Option<&'a str>,
    time: i64,
}

impl Snapshot {
    /// Counts references by service, kind, state and cause.
    pub fn links(&self, query: &LinkQuery) -> Result<LinkReport, Error> {
        let tally = Tally { query, numbers: BTreeMap::new(), services: Vec::new(), counts: BTreeMap::new() };
        let mut asking = Asking {
            snapshot: self,
            query,
            tally,
            targets: Targets::default(),
            open: Vec::new(),
            partial: self.missing.to_vec(),
        };
        for (number, block) in self.blocks.iter().enumerate() {
            asking.block(number, block);
        }
        for memtable in &self.memtables {
            memtable.references(query, &mut |reference| asking.note(reference));
        }
        asking.alerts()?;
        asking.targets.find_in_memory(&self.memtables);
        for memtable in &self.memtables {
            memtable.references(query, &mut |reference| asking.settle(reference));
        }
        let partial = &mut asking.partial;
        asking.targets.find_in_blocks(&self.blocks, |error| add_reason(partial, &error));
        asking.settle_open()?;
        asking.partial.extend(asking.targets.partial());
        Ok(LinkReport { counts: asking.tally.finish(), partial: asking.partial })
    }
}

fn add_reason(partial: &mut Vec<String>, error: &Error) {
    let text = error.to_string();
    if !partial.contains(&text) {
        partial.push(text);
    }
}

/// One question on its way.
struct Asking<'a> {
    snapshot: &'a Snapshot,
    query: &'a LinkQuery,
    tally: Tally<'a>,
    targets: Targets,
    open: Vec<Open>,
    partial: Vec<String>,
}

impl Asking<'_> {
    // === blocks ===

    fn block(&mut self, number: usize, block: &Block) {
        let range = &self.query.range;
        if !range
            .overlaps(block.min_time().saturating_sub(MINUTE_NS), block.max_time().saturating_add(MINUTE_NS))
        {
            return;
        }
        let counted = match block.link_table() {
            Ok(Some(table)) => self.table(number, block, &table),
            Ok(None) if block.lacks_links() => {
                self.partial.push(format!(
                    "the references of block {} are in no count: it was written before they were counted",
                    block.meta().name
                ));
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = counted {
            add_reason(&mut self.partial, &error);
        }
    }

    fn table(&mut self, number: usize, block: &Block, table: &LinkTable) -> Result<(), Error> {
        let query = self.query;
        let services: Vec<Option<u32>> = table
            .services
            .iter()
            .map(|name| query.has_service(name).then(|| self.tally.service(name)))
            .collect();
        let service_of = |service: u32| services.get(service as usize).copied().flatten();
        self.cells(block, table, service_of);
        self.malformed(table, service_of);
        let is_wanted = |service: u32, minute: i64| service_of(service).filter(|_| query.has_minute(minute));
        let wanted: Vec<_> = table
            .open
            .iter()
            .filter_map(|open| Some((is_wanted(open.service, open.minute)?, open)))
            .collect();
        let mut rows: Vec<u32> = wanted.iter().map(|(_, open)| open.trace_row).collect();
        rows.dedup();
        let ids = block.trace_ids(&rows)?;
        let mut at = 0;
        for (service, open) in wanted {
            while rows.get(at).is_some_and(|row| *row < open.trace_row) {
                at += 1;
            }
            let Some(id) = ids.get(at).copied().flatten() else { continue };
            self.open_of_block(service, open, id, (number, open.trace_row));
        }
        for link in &table.span_links {
            let Some(service) = is_wanted(link.service, link.minute) else { continue };
            let time = link.minute.saturating_mul(MINUTE_NS);
            let count = u64::from(link.count);
            if let Some(target) = self.targets.add(link.trace_id, time + MINUTE_NS - 1, false, count) {
                let kind = LinkKind::SpanLinkTrace;
                self.open.push(Open { target, service, kind, time, count, unsampled: 0, rows: None });
            }
        }
        Ok(())
    }

    fn cells(&mut self, block: &Block, table: &LinkTable, service_of: impl Fn(u32) -> Option<u32>) {
        let query = self.query;
        for cell in &table.cells {
            let Some(service) = service_of(cell.service).filter(|_| query.has_minute(cell.minute)) else {
                continue;
            };
            let (state, cause) = match cell.class {
                Class::Resolved => ("resolved", None),
                // Their forms are counted apart, as far as examples are kept.
                Class::Malformed => continue,
                Class::Dropped(policy) => {
                    ("dropped", table.policies.get(policy as usize).map(|name| name.to_string()))
                }
            };
            self.tally.add((service, cell.kind, state, cause), cell.count, |service| {
                let id = block.trace_ids(&[cell.example?]).ok()?.first().copied().flatten()?;
                let time = cell.minute.saturating_mul(MINUTE_NS);
                Some(LinkExample { trace_id: Some(id), span_id: None, form: None, service, time })
            });
        }
    }

    /// What cannot be read: all of it counts with what is wrong with the examples; where several things are, with the first.
    fn malformed(&mut self, table: &LinkTable, service_of: impl Fn(u32) -> Option<u32>) {
        let mut counts: BTreeMap<(u32, LinkKind), u64> = BTreeMap::new();
        let cells = table.cells.iter().filter(|cell| cell.class == Class::Malformed);
        for cell in cells.filter(|cell| self.query.has_minute(cell.minute)) {
            *counts.entry((cell.service, cell.kind)).or_default() += cell.count;
        }
        for ((of, kind), mut count) in counts {
            let Some(service) = service_of(of) else { continue };
            let examples = table.malformed.iter().filter(|known| (known.service, known.kind) == (of, kind));
            let mut first = LinkState::Malformed { form: String::new() };
            for (at, example) in examples.enumerate() {
                let state = LinkState::Malformed { form: example.form.clone() };
                let named = Named { form: Some(&example.form), time: example.time, ..Named::default() };
                let one = count.min(1);
                self.tally.add_state(service, kind, &state, one, named);
                count -= one;
                if at == 0 {
                    first = state;
                }
            }
            self.tally.add((service, kind, first.name(), first.cause()), count, |_| None);
        }
    }

    fn open_of_block(&mut self, service: u32, open: &super::table::Open, id: TraceId, rows: (usize, u32)) {
        let time = open.minute.saturating_mul(MINUTE_NS);
        let counts = [
            (LinkKind::LogTrace, open.logs, None),
            (LinkKind::LogSpan, open.spans, Some(rows)),
            (LinkKind::ExemplarTrace, open.exemplars, None),
        ];
        let total = counts.iter().map(|(_, count, _)| u64::from(*count)).sum();
        // Where the block has spans of the trace, a record may say of its own span alone that it was not sampled.
        let is_unsampled = open.logs > 0 && open.unsampled > 0;
        let Some(target) = self.targets.add(id, time + MINUTE_NS - 1, is_unsampled, total) else { return };
        for (kind, count, rows) in counts.into_iter().filter(|(_, count, _)| *count > 0) {
            let (count, unsampled) = (u64::from(count), u64::from(open.unsampled));
            self.open.push(Open { target, service, kind, time, count, unsampled, rows });
        }
    }

    // === memory ===

    /// Notes the trace of a reference.
    fn note(&mut self, reference: &Reference<'_>) {
        match reference.to {
            ReferredTo::Trace(id) => {
                _ = self.targets.add(id, reference.time, reference.is_unsampled, 1);
            }
            // A reference to a span comes after that to its trace.
            ReferredTo::Span(..) | ReferredTo::Malformed(_) => {}
        }
    }

    /// Counts a reference whose trace is in memory, too; the others wait for what blocks know.
    fn settle(&mut self, reference: &Reference<'_>) {
        let service = self.tally.service(reference.service);
        let (kind, time) = (reference.kind, reference.time);
        let (id, span_id) = match reference.to {
            ReferredTo::Trace(id) => (id, None),
            ReferredTo::Span(id, span_id) => (id, Some(span_id)),
            ReferredTo::Malformed(form) => {
                let state = LinkState::Malformed { form: form.to_owned() };
                let named = Named { form: Some(form), time, ..Named::default() };
                return self.tally.add_state(service, kind, &state, 1, named);
            }
        };
        let Some(target) = self.targets.number(id) else { return };
        let is_here = self.targets.get(target).is_some_and(|target| target.place == Place::Memory);
        let named = Named { trace_id: Some(id), span_id, form: None, time };
        let unsampled = u64::from(reference.is_unsampled);
        match span_id {
            None if is_here => self.tally.add_state(service, kind, &LinkState::Resolved, 1, named),
            Some(span_id) if is_here && self.targets.is_in_memory(target, span_id) => {
                self.tally.add_state(service, kind, &LinkState::Resolved, 1, named);
            }
            Some(span_id) => self.open.push(Open {
                target,
                service,
                kind,
                time,
                count: 1,
                unsampled,
                rows: Some((usize::MAX, self.targets.keep(span_id))),
            }),
            None => {
                self.open.push(Open { target, service, kind, time, count: 1, unsampled, rows: None });
            }
        }
    }

    // === alerts ===

    /// What alerts cite.
    fn alerts(&mut self) -> Result<(), Error> {
        let (citations, partial) = alerts::citations(self.snapshot, self.query.range)?;
        for reason in partial {
            if !self.partial.contains(&reason) {
                self.partial.push(reason);
            }
        }
        for citation in citations.into_iter().filter(|of| self.query.has_service(&of.service)) {
            let service = self.tally.service(&citation.service);
            let (kind, time) = (LinkKind::AlertTrace, citation.time);
            match citation.to {
                Ok(id) => {
                    if let Some(target) = self.targets.add(id, time, false, 1) {
                        self.open.push(Open {
                            target,
                            service,
                            kind,
                            time,
                            count: 1,
                            unsampled: 0,
                            rows: None,
                        });
                    }
                }
                Err(form) => {
                    let state = LinkState::Malformed { form: form.clone() };
                    let named = Named { form: Some(&form), time, ..Named::default() };
                    self.tally.add_state(service, kind, &state, 1, named);
                }
            }
        }
        Ok(())
    }

    // === open references ===

    fn settle_open(&mut self) -> Result<(), Error> {
        for open in std::mem::take(&mut self.open) {
            let Some(target) = self.targets.get(open.target) else { continue };
            let state = state_without_trace(target, self.snapshot);
            let named = Named { trace_id: Some(target.id), span_id: None, form: None, time: open.time };
            match open.rows {
                Some(rows) if state == LinkState::Resolved => {
                    if let Err(error) = self.settle_spans(&open, rows, named) {
                        add_reason(&mut self.partial, &error);
                    }
                }
                _ => self.tally.add_state(open.service, open.kind, &state, open.count, named),
            }
        }
        Ok(())
    }

    /// References to spans of a trace that is here, but not where the reference is.
    fn settle_spans(&mut self, open: &Open, rows: (usize, u32), named: Named<'_>) -> Result<(), Error> {
        if let Some(block) = self.snapshot.blocks.get(rows.0) {
            let minute = open.time.div_euclid(MINUTE_NS);
            for reference in block.open_spans_of(rows.1)? {
                let is_of = self.tally.services.get(open.service as usize).map(|name| &**name)
                    == Some(reference.service.as_str())
                    && reference.time.div_euclid(MINUTE_NS) == minute;
                if is_of {
                    let (span_id, time) = (reference.span_id, reference.time);
                    let named = Named { span_id: Some(span_id), time, ..named };
                    self.settle_span(open, span_id, reference.is_unsampled, named)?;
                }
            }
            return Ok(());
        }
        match self.targets.kept(rows.1) {
            Some(span_id) => {
                let named = Named { span_id: Some(span_id), ..named };
                self.settle_span(open, span_id, open.unsampled > 0, named)
            }
            None => Ok(()),
        }
    }

    fn settle_span(
        &mut self,
        open: &Open,
        span_id: SpanId,
        is_unsampled: bool,
        named: Named<'_>,
    ) -> Result<(), Error> {
        let found = self.targets.has_span(open.target, span_id, &self.snapshot.blocks)?;
        let state = match found {
            Some(true) | None => LinkState::Resolved,
            Some(false) => self.state_of_lost_span(open.target, is_unsampled, named)?,
        };
        self.tally.add_state(open.service, open.kind, &state, 1, named);
        Ok(())
    }

    /// The state of a reference to a span that is nowhere, although its trace is here.
    fn state_of_lost_span(
        &mut self,
        target: u32,
        is_unsampled: bool,
        named: Named<'_>,
    ) -> Result<LinkState, Error> {
        if let Some(dropped) = self.targets.dropped(target, &self.snapshot.blocks)? {
            return Ok(LinkState::Dropped { policy: dropped.policy, at: dropped.at });
        }
        let expired = named.trace_id.and_then(|id| self.snapshot.expired.removed_at(id, Some(named.time)));
        let is_recent = named.time >= self.snapshot.taken_at().saturating_sub(PENDING_NS);
        Ok(match expired {
            Some(at) => LinkState::Expired { at },
            None if is_unsampled => LinkState::Unsampled,
            None if is_recent => LinkState::Pending,
            None => LinkState::NeverReceived,
        })
    }
}
