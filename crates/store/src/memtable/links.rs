//! The references of a memtable, and the spans that answer them.

use std::sync::Arc;

use ahash::AHashSet as HashSet;
use arrow_array::Array;
use arrow_array::types::{UInt8Type, UInt32Type};
use throughline_model::batch::{
    column_binary, column_dictionary, column_fixed, column_number, column_text, column_time, exemplar, log,
    span,
};
use throughline_model::link::{LinkKind, UNSAMPLED};
use throughline_model::protobuf::{Field, Reader};
use throughline_model::{SpanId, TraceId};

use super::read::{MemtableView, wanted_keys};
use super::{MetricMiniBatch, MiniBatch, SeriesEntry};
use crate::links::alerts::ALERTS;
use crate::links::{LinkQuery, MINUTE_NS, Reference, ReferredTo, ReferringSpan};
use crate::sample::Mentions;
use crate::snapshot::rows::{dictionary, hex};

impl MemtableView {
    /// Calls `visit` with every reference of the query's services and minutes.
    pub(crate) fn references(&self, query: &LinkQuery, visit: &mut dyn FnMut(&Reference<'_>)) {
        let may_match = |mini: &MiniBatch| {
            let start = mini.min_time.div_euclid(MINUTE_NS).saturating_mul(MINUTE_NS);
            query.range.overlaps(start, mini.max_time.saturating_add(MINUTE_NS))
        };
        for mini in self.contents().logs.iter().filter(|mini| may_match(mini)) {
            log_references(mini, query, visit);
        }
        for mini in self.contents().spans.iter().filter(|mini| may_match(mini)) {
            span_links(mini, query, visit);
        }
        for metrics in self.contents().metrics.iter().filter(|metrics| may_match(&metrics.exemplars)) {
            self.exemplar_references(metrics, query, visit);
        }
    }

    fn exemplar_references(
        &self,
        metrics: &MetricMiniBatch,
        query: &LinkQuery,
        visit: &mut dyn FnMut(&Reference<'_>),
    ) {
        let rows = &metrics.exemplars.rows;
        let series = column_number::<UInt32Type>(rows, exemplar::SERIES).values();
        let times = column_time(rows, exemplar::TIME).values();
        let ids = column_fixed(rows, exemplar::TRACE_ID);
        let originals = column_text(rows, exemplar::TRACE_ID_ORIGINAL);
        for (row, (of, time)) in series.iter().zip(times).enumerate() {
            let of = metrics.series.get(*of as usize).and_then(|of| self.contents().series.get(*of as usize));
            // Those of alerts are references of alerts, and are counted as such.
            let is_counted =
                |series: &&Arc<SeriesEntry>| query.has_service(&series.service) && *series.metric != *ALERTS;
            let Some(series) = of.filter(is_counted) else { continue };
            if !query.has_minute(time.div_euclid(MINUTE_NS)) {
                continue;
            }
            let id = if ids.is_null(row) { None } else { TraceId::from_slice(ids.value(row)) };
            let form = if originals.is_null(row) { "" } else { originals.value(row) };
            let to = id.map_or(ReferredTo::Malformed(form), ReferredTo::Trace);
            let kind = LinkKind::ExemplarTrace;
            visit(&Reference { kind, service: &series.service, time: *time, to, is_unsampled: false });
        }
    }

    /// Calls `visit` with the traces that exemplars refer to.
    pub(crate) fn each_cited_trace(&self, mut visit: impl FnMut(TraceId)) {
        for metrics in self.contents().metrics.iter() {
            let ids = column_fixed(&metrics.exemplars.rows, exemplar::TRACE_ID);
            let set = (0..ids.len()).filter(|row| !ids.is_null(*row));
            set.filter_map(|row| TraceId::from_slice(ids.value(row))).for_each(&mut visit);
        }
    }

    /// What memory has of a trace.
    pub(crate) fn mentions(&self, id: TraceId) -> Mentions {
        let mut found = Mentions::default();
        let fingerprint = id.fingerprint();
        if !self.contents().seen.may_contain(fingerprint) {
            return found;
        }
        found.has_spans = self.has_spans(id);
        for mini in self.contents().logs.iter() {
            let severities = column_number::<UInt8Type>(&mini.rows, log::SEVERITY_NUMBER).values();
            let of_trace = mini.rows_of(fingerprint);
            let errors = of_trace.filter(|row| severities.get(*row).is_some_and(|number| *number >= 17));
            found.error_logs += errors.count() as u64;
        }
        for metrics in self.contents().metrics.iter() {
            found.exemplars += metrics.exemplars.rows_of(fingerprint).count() as u64;
        }
        found
    }

    /// Adds spans of other traces that link to a trace, until there are more than so many; says whether there are more.
    pub(crate) fn referring_spans(&self, id: TraceId, limit: usize, into: &mut Vec<ReferringSpan>) -> bool {
        let finder = memchr::memmem::Finder::new(&id.0);
        for mini in self.contents().spans.iter() {
            let links = column_binary(&mini.rows, span::LINKS);
            // Most spans have no links, and of those that have some few are to this trace.
            if links.null_count() == links.len() || finder.find(links.value_data()).is_none() {
                continue;
            }
            let linking = (0..links.len()).filter(|row| !links.is_null(*row));
            for row in linking.filter(|row| finder.find(links.value(*row)).is_some()) {
                if into.len() > limit {
                    return true;
                }
                refer(mini, row, id, into);
            }
        }
        false
    }

    /// Adds the links to traces with these fingerprints: the fingerprint, and the trace that links.
    pub(crate) fn linking_traces(&self, wanted: &HashSet<u64>, into: &mut Vec<(u64, TraceId)>) {
        for mini in self.contents().spans.iter() {
            let links = column_binary(&mini.rows, span::LINKS);
            if links.null_count() == links.len() {
                continue;
            }
            let ids = column_fixed(&mini.rows, span::TRACE_ID);
            for row in (0..links.len()).filter(|row| !links.is_null(*row)) {
                let Some(from) = TraceId::from_slice(ids.value(row)) else { continue };
                each_link(links.value(row), |to, _| {
                    let fingerprint = to.fingerprint();
                    into.extend(wanted.contains(&fingerprint).then_some((fingerprint, from)));
                });
            }
        }
    }

    /// Calls `visit` with the fingerprint of each span's trace and the span's id.
    pub(crate) fn each_span(
        &self,
        wanted: impl Fn(u64) -> Option<u32>,
        mut visit: impl FnMut(u32, Option<SpanId>),
    ) {
        for mini in self.contents().spans.iter() {
            let ids = column_fixed(&mini.rows, span::SPAN_ID);
            for (fingerprint, rows) in mini.by_trace.traces() {
                if let Some(found) = wanted(fingerprint) {
                    rows.for_each(|row| visit(found, SpanId::from_slice(ids.value(row))));
                }
            }
        }
    }
}

/// Adds a span once for each of its links to a trace, unless it is of the trace itself.
fn refer(mini: &MiniBatch, row: usize, id: TraceId, into: &mut Vec<ReferringSpan>) {
    let rows = &mini.rows;
    let of = |column: usize| column_fixed(rows, column).value(row);
    let (Some(trace_id), Some(span_id)) =
        (TraceId::from_slice(of(span::TRACE_ID)), SpanId::from_slice(of(span::SPAN_ID)))
    else {
        return;
    };
    if trace_id == id {
        return;
    }
    each_link(column_binary(rows, span::LINKS).value(row), |to, to_span_id| {
        if to == id {
            into.push(ReferringSpan {
                trace_id,
                span_id,
                service: dictionary(rows, span::SERVICE, row).to_owned(),
                name: column_text(rows, span::NAME).value(row).to_owned(),
                start_time: column_time(rows, span::START_TIME).value(row),
                to_span_id,
            });
        }
    });
}

/// Calls `visit` with the trace and span of each link of a span that names a trace.
fn each_link(links: &[u8], mut visit: impl FnMut(TraceId, Option<SpanId>)) {
    let mut reader = Reader::new(links);
    while !reader.rest().is_empty() {
        let Ok(message) = reader.delimited() else { break };
        let (mut to, mut to_span_id) = (None, None);
        let mut fields = Reader::new(message);
        while let Ok(Some((number, field))) = fields.next_field() {
            match (number, field) {
                (1, Field::Bytes(id)) => to = TraceId::from_slice(id),
                (2, Field::Bytes(id)) => to_span_id = SpanId::from_slice(id),
                _ => {}
            }
        }
        if let Some(to) = to {
            visit(to, to_span_id);
        }
    }
}

fn log_references(mini: &MiniBatch, query: &LinkQuery, visit: &mut dyn FnMut(&Reference<'_>)) {
    let rows = &mini.rows;
    let (ids, span_ids) = (column_fixed(rows, log::TRACE_ID), column_fixed(rows, log::SPAN_ID));
    let originals = column_text(rows, log::TRACE_ID_ORIGINAL);
    let sources = column_number::<UInt8Type>(rows, log::TRACE_SOURCE).values();
    let services = column_dictionary(rows, log::SERVICE);
    let wanted = wanted_keys(rows, log::SERVICE, query.service.as_deref());
    for (row, (time, source)) in column_time(rows, log::TIME).values().iter().zip(sources).enumerate() {
        let is_wanted = services.key(row).and_then(|key| wanted.get(key).copied()).unwrap_or(false);
        if !is_wanted || !query.has_minute(time.div_euclid(MINUTE_NS)) {
            continue;
        }
        let id = if ids.is_null(row) { None } else { TraceId::from_slice(ids.value(row)) };
        if id.is_none() && originals.is_null(row) {
            continue;
        }
        let service = dictionary(rows, log::SERVICE, row);
        let is_unsampled = source & UNSAMPLED != 0;
        let mut refer = |kind, to| visit(&Reference { kind, service, time: *time, to, is_unsampled });
        let Some(id) = id else {
            refer(LinkKind::LogTrace, ReferredTo::Malformed(originals.value(row)));
            continue;
        };
        refer(LinkKind::LogTrace, ReferredTo::Trace(id));
        let span_id = if span_ids.is_null(row) { None } else { SpanId::from_slice(span_ids.value(row)) };
        if let Some(span_id) = span_id {
            refer(LinkKind::LogSpan, ReferredTo::Span(id, span_id));
        }
    }
}

fn span_links(mini: &MiniBatch, query: &LinkQuery, visit: &mut dyn FnMut(&Reference<'_>)) {
    let rows = &mini.rows;
    let links = column_binary(rows, span::LINKS);
    if links.null_count() == links.len() {
        return;
    }
    let times = column_time(rows, span::START_TIME).values();
    for (row, time) in times.iter().enumerate().filter(|(row, _)| !links.is_null(*row)) {
        let service = dictionary(rows, span::SERVICE, row);
        if !query.has_service(service) || !query.has_minute(time.div_euclid(MINUTE_NS)) {
            continue;
        }
        let mut reader = Reader::new(links.value(row));
        while !reader.rest().is_empty() {
            let Ok(message) = reader.delimited() else { break };
            let mut fields = Reader::new(message);
            let mut named: &[u8] = &[];
            while let Ok(Some((number, field))) = fields.next_field() {
                if let (1, Field::Bytes(id)) = (number, field) {
                    named = id;
                }
            }
            let form = hex(named);
            let to = TraceId::from_slice(named).map_or(ReferredTo::Malformed(&form), ReferredTo::Trace);
            let kind = LinkKind::SpanLinkTrace;
            visit(&Reference { kind, service, time: *time, to, is_unsampled: false });
        }
    }
}
