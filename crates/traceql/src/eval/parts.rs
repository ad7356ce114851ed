//! What some of the spans of a trace tell of all of them, and so which traces of a batch are worth a look.
//!
//! A condition on single spans is fulfilled by a trace if it is in any part of it. One on the trace as a whole is not: no part knows how
//! long all of them last. But the root of a trace is that of one of its parts, so that what a condition says of the root alone is true
//! in that part ([`of_part`]). And where spans lie in one place only, what that place says of the trace is so of every part.

use throughline_exec::ExecError;

use super::EvalError;
use super::fields::{Fields, Rows};
use super::filter::{Filter, Mask};
use super::pipeline::first_stage;
use super::plan::Plan;
use super::search::masks;
use super::torn::{fulfilled, may_match};
use crate::ast::Intrinsic;
use crate::source::{SpanField, TraceRun};

/// For each condition what a part of a trace fulfils if the trace has a span that fulfils it.
pub(super) struct Parts {
    /// Of traces that may lie in several places, and of those that lie in one; nothing where conditions are about single spans.
    filters: Option<[Vec<Filter>; 2]>,
}

/// The spans of a batch that fulfil conditions.
pub(super) struct Masks {
    /// All of a condition.
    pub leaves: Vec<Mask>,
    /// What parts of traces tell of it, where anything is asked of traces as a whole.
    parts: Option<Vec<Mask>>,
}

/// A trace of a batch that may be found.
pub(super) struct Candidate {
    pub run: TraceRun,
    /// The conditions that are fulfilled as far as its spans in the batch tell, as bits.
    pub bits: u64,
    /// Whether others of its spans may be elsewhere.
    pub may_be_torn: bool,
}

impl Parts {
    pub fn new(plan: &Plan) -> Parts {
        let of_trace = plan.fields.any(|field| field.is_of_tree() || field.is_of_trace());
        let filters = |is_alone| -> Vec<Filter> {
            plan.leaves.iter().map(|leaf| of_part(leaf, &plan.fields, is_alone)).collect()
        };
        Parts { filters: of_trace.then(|| [filters(false), filters(true)]) }
    }

    /// Decides all conditions for a batch.
    pub fn masks(&self, plan: &Plan, rows: &Rows<'_>) -> Result<Masks, ExecError> {
        let Some([torn, alone]) = &self.filters else {
            return Ok(Masks { leaves: masks(plan, rows)?, parts: None });
        };
        let filters = if rows.batch.is_alone() { alone } else { torn };
        let (mut leaves, mut parts) = (Vec::new(), Vec::new());
        for (leaf, of_part) in plan.leaves.iter().zip(filters) {
            let part = of_part.mask(rows)?;
            // No trace that is whole here fulfils what none of its parts does.
            leaves.push(if part.contains(&true) { leaf.mask(rows)? } else { part.clone() });
            parts.push(part);
        }
        Ok(Masks { leaves, parts: Some(parts) })
    }
}

impl Masks {
    fn of_parts(&self) -> &[Mask] {
        self.parts.as_deref().unwrap_or(&self.leaves)
    }

    /// Whether any trace of the batch may be found.
    pub fn any(&self) -> bool {
        match self.leaves.is_empty() {
            true => self.parts.is_some(),
            false => self.of_parts().iter().any(|mask| mask.contains(&true)),
        }
    }

    /// The traces of a batch of which spans fulfil any condition.
    pub fn runs(&self, rows: &Rows<'_>) -> Result<Vec<Candidate>, ExecError> {
        let mut found = Vec::new();
        for run in rows.runs()? {
            let bits = fulfilled(self.of_parts(), run);
            if bits != 0 || self.leaves.is_empty() {
                found.push(Candidate { run: *run, bits, may_be_torn: true });
            }
        }
        Ok(found)
    }

    /// The traces of a batch that may be found, or of which parts may be elsewhere; and the spans that the first stage leaves, where it
    /// is decided for all of them at once.
    pub fn candidates(
        &self,
        plan: &Plan,
        rows: &Rows<'_>,
    ) -> Result<(Vec<Candidate>, Option<Mask>), EvalError> {
        let mut found = self.runs(rows)?;
        for candidate in &mut found {
            candidate.may_be_torn = rows.batch.may_be_torn(&candidate.run)?;
        }
        found.retain(|candidate| candidate.may_be_torn || may_match(plan, candidate.bits));
        let first = match found.iter().any(|candidate| may_match(plan, candidate.bits)) {
            true => first_stage(plan, rows, &self.leaves)?,
            false => None,
        };
        if let Some(first) = &first {
            let leaves_any = |run: &TraceRun| {
                first.get(run.start as usize..run.end as usize).is_some_and(|of_run| of_run.contains(&true))
            };
            found.retain(|candidate| candidate.may_be_torn || leaves_any(&candidate.run));
        }
        Ok((found, first))
    }
}

/// What a condition is about.
#[derive(Clone, Copy, Debug, Default)]
struct About {
    /// What a part of a trace knows of its own spans, or of all.
    spans: bool,
    /// The root of a trace.
    roots: bool,
    /// What parts do not know.
    others: bool,
}

impl About {
    fn of(filter: &Filter, fields: &Fields, is_alone: bool) -> About {
        let mut about = About::default();
        filter.each_field(&mut |number| {
            use Intrinsic::{RootName, RootServiceName};
            let Some(field) = fields.get(number) else { return };
            match field {
                field if field.is_of_tree() => about.others = true,
                field if !field.is_of_trace() || is_alone => about.spans = true,
                SpanField::Intrinsic(RootName | RootServiceName) => about.roots = true,
                _ => about.others = true,
            }
        });
        about
    }

    fn is_of_spans(self) -> bool {
        !self.roots && !self.others
    }

    fn is_of_roots(self) -> bool {
        self.roots && !self.spans && !self.others
    }
}

/// What any part of a trace fulfils, by any of its spans there, if a span of the trace fulfils the condition.
fn of_part(filter: &Filter, fields: &Fields, is_alone: bool) -> Filter {
    let about = |filter: &Filter| About::of(filter, fields, is_alone);
    let whole = about(filter);
    if whole.is_of_spans() || whole.is_of_roots() {
        return filter.clone();
    }
    match filter {
        // The root and the span may be in different parts: one of both is left out.
        Filter::All(all) => {
            let some = |is: fn(About) -> bool| -> Vec<Filter> {
                all.iter().filter(|filter| is(about(filter))).cloned().collect()
            };
            match (some(About::is_of_roots), some(About::is_of_spans)) {
                (roots, spans) if roots.is_empty() => Filter::All(spans),
                (roots, _) => Filter::All(roots),
            }
        }
        Filter::Any(any) => Filter::Any(any.iter().map(|one| of_part(one, fields, is_alone)).collect()),
        _ => Filter::Constant(true),
    }
}
