//! What became of the traces that lines refer to and that are not here: Loki's answer has no place for it at a line.

use throughline_correlate::unresolved::{ASKED_MAX, Lost, Tally};
use throughline_exec::Budget;
use throughline_logql::{LogStream, QueryValue};
use throughline_model::{TraceId, attribute};
use throughline_scan::logs::StoredLogs;
use throughline_wire::trace_context::{Finder, TraceContext, from_attributes};

/// The label with the trace id of a record that came over OTLP.
const TRACE_ID: &str = "trace_id";

/// A sentence about the lines of an answer whose traces are not here; none where all are, and of what is no lines.
pub(super) fn warning(value: &QueryValue, logs: &StoredLogs, budget: &Budget) -> Option<String> {
    let QueryValue::Streams(streams) = value else { return None };
    let mut lines = Lines { logs, budget, tally: Tally::default() };
    let finder = Finder::new();
    let mut attributes = Vec::new();
    for stream in streams {
        lines.of_stream(stream, &finder, &mut attributes);
    }
    let total: usize = streams.iter().map(|stream| stream.entries.len()).sum();
    in_words(&lines.tally, total)
}

struct Lines<'a> {
    logs: &'a StoredLogs,
    budget: &'a Budget,
    tally: Tally,
}

impl Lines<'_> {
    /// Looks for trace ids where they are looked for when lines are pushed: in metadata, in labels, in the line.
    fn of_stream(&mut self, stream: &LogStream, finder: &Finder, attributes: &mut Vec<u8>) {
        let count = stream.entries.len() as u64;
        if let Some((id, _)) = TraceId::parse(stream.metadata.get(TRACE_ID)) {
            return self.refer(id, count);
        }
        attributes.clear();
        for (name, value) in stream.metadata.iter().chain(stream.stream.iter()) {
            attribute::push_text(attributes, name, value);
        }
        match from_attributes(attributes) {
            Some(found) => self.found(&found, count),
            None => {
                let found = stream.entries.iter().filter_map(|(_, line)| finder.in_body(line));
                found.for_each(|found| self.found(&found, 1));
            }
        }
    }

    fn found(&mut self, found: &TraceContext<'_>, count: u64) {
        match found.trace_id {
            Some(id) => self.refer(id, count),
            None => self.tally.add_malformed(&found.original, count),
        }
    }

    fn refer(&mut self, id: TraceId, count: u64) {
        match self.budget.check() {
            Ok(()) => self.tally.add(id, count, |id| self.logs.link_state(id)),
            // The lines are here: the time for more is not.
            Err(_) => self.tally.leave_out(count),
        }
    }
}

fn in_words(tally: &Tally, total: usize) -> Option<String> {
    let lost = tally.lost();
    let mut sentence = String::new();
    if !lost.is_empty() {
        let count: u64 = lost.values().map(|lost| lost.count).sum();
        let of = |(what, lost): (&String, &Lost)| {
            let example = lost.named.first().map_or_else(String::new, |id| format!(" (e.g. {id})"));
            format!("{} {what}{example}", lost.count)
        };
        let states: Vec<String> = lost.iter().map(of).collect();
        sentence =
            format!("{count} of {total} lines refer to a trace that is not here: {}", states.join(", "));
    }
    if tally.left_out() > 0 {
        let separator = if sentence.is_empty() { "" } else { "; " };
        sentence += &format!(
            "{separator}of {} lines it was not looked for whether their traces are here: {ASKED_MAX} traces are, at most",
            tally.left_out()
        );
    }
    (!sentence.is_empty()).then_some(sentence)
}
