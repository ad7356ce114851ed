//! Sampling as retention: every span is stored and visible at once, and some time after a trace's last span a merge decides
//! whether it stays.
//!
//! 1. A trace is decided about when its last span is older than the delay, by policies that see all of it and what refers to
//!    it, wherever that lies ([`elsewhere`]): in the blocks that are merged, in others, in memory. A trace with spans
//!    elsewhere waits until they come together.
//! 2. One that stays keeps the decision, and its spans how many they stand for, so that it is not decided about again.
//! 3. One that goes leaves its row in the trace table as a tombstone: bounds, root, services, errors, and who dropped it when.
//!    Its log records stay, and name the spans that they belonged to.
//!
//! Until the merge's edit is in the manifest nothing has gone, and evidence that comes before the merge counts. What exemplars,
//! alerts and pins refer to stays whatever policies say; which links between traces count, [`linked`] says. Metrics derived from spans
//! are counted when they are received, and do not change.

mod alerts;
mod elsewhere;
mod evidence;
mod linked;
mod spans;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use throughline_model::TraceId;
use throughline_model::record::Span;
use throughline_sampling::{Decision, Needs, Policy, PolicyError, Sampler, Trace};

use crate::block::texts::Texts;
use crate::block::traces::{Fate, TraceEntry};
use crate::block::{Block, BlockMeta};
use crate::error::Error;
use crate::retain::Cited;
use crate::snapshot::Snapshot;

use elsewhere::Elsewhere;
pub(crate) use elsewhere::Mentions;
use evidence::{About, Around};
use spans::SpanReader;

/// Pins that a store holds: what people look at, not what programs do.
pub const PINS_MAX: usize = 10_000;

/// The durations of a route are those of so long before a merge's first trace, and after.
const ROUTES_BEFORE_NS: i64 = 3_600_000_000_000;

/// Policies, and when they are asked.
#[derive(Clone, Debug)]
pub struct Sampling {
    sampler: Sampler,
    delay_ns: i64,
}

impl Sampling {
    /// Five minutes after its last span a trace is as good as complete, and who looks at what just happened still sees all.
    pub const DELAY: Duration = Duration::from_secs(300);

    /// Sampling by policies, so long after a trace's last span.
    pub fn new(policies: Vec<Policy>, delay: Duration) -> Result<Sampling, PolicyError> {
        let delay_ns = i64::try_from(delay.as_nanos()).unwrap_or(i64::MAX);
        Ok(Sampling { sampler: Sampler::new(policies)?, delay_ns })
    }

    /// How long after its last span a trace is decided about.
    pub fn delay(&self) -> Duration {
        Duration::from_nanos(self.delay_ns.unsigned_abs())
    }

    /// The names of the policies, in the order in which they are asked.
    pub fn policies(&self) -> impl Iterator<Item = &str> {
        self.sampler.policies()
    }

    /// How long after its last span a trace is decided about, nanoseconds.
    pub(crate) fn delay_ns(&self) -> i64 {
        self.delay_ns
    }
}

/// What a policy dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Traces.
    pub traces: u64,
    /// Their spans.
    pub spans: u64,
}

/// A trace that somebody wants to keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The trace.
    pub trace_id: TraceId,
    /// Since when, nanoseconds since the epoch.
    pub at: i64,
    /// Why, in somebody's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// What was decided for good, and what is held: a part of the manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decisions {
    /// What each policy dropped, ever.
    #[serde(default)]
    pub dropped: BTreeMap<String, Dropped>,
    /// Traces that stay until they are unpinned, beyond their retention as well.
    #[serde(default)]
    pub pins: Vec<Pin>,
    /// Traces that alerts cite, which are held beyond their retention.
    #[serde(default)]
    pub cited: Vec<Cited>,
}

impl Decisions {
    /// The spans that were dropped, of all that were stored.
    pub fn dropped_spans(&self) -> u64 {
        self.dropped.values().map(|dropped| dropped.spans).sum()
    }

    /// Adds what a merge dropped.
    pub(crate) fn add(&mut self, dropped: &BTreeMap<String, Dropped>) {
        for (policy, of) in dropped {
            let sum = self.dropped.entry(policy.clone()).or_default();
            sum.traces += of.traces;
            sum.spans += of.spans;
        }
    }
}

/// Whether a block has traces that nobody has decided about, now that the last of them can be. `delay_ns` is the policies'.
pub(crate) fn is_due(block: &BlockMeta, now: i64, delay_ns: i64) -> bool {
    let decidable_at = block.max_time.saturating_add(delay_ns);
    block.rows.spans > 0 && !block.is_held() && block.sampled_at < decidable_at && decidable_at <= now
}

/// What decides during one merge.
pub(crate) struct Decider<'a> {
    sampler: &'a mut Sampler,
    needs: Needs,
    now: i64,
    delay_ns: i64,
    snapshot: &'a Snapshot,
    elsewhere: Elsewhere,
    around: Around,
    spans: Option<SpanReader>,
    dropped: BTreeMap<String, Dropped>,
    /// What could not be read, and so keeps everything that it may be evidence of.
    damage: Option<Error>,
}

/// What a merge knows of a trace beside its entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gathered<'a> {
    pub(crate) entry: &'a TraceEntry,
    /// Exemplars in the blocks that are merged.
    pub(crate) exemplars: u64,
}

impl<'a> Decider<'a> {
    /// A decider for a merge of these blocks, which are part of the snapshot.
    pub(crate) fn new(
        sampling: &'a mut Sampling,
        snapshot: &'a Snapshot,
        inputs: &[Arc<Block>],
        decisions: &Decisions,
    ) -> Result<Decider<'a>, Error> {
        let needs = sampling.sampler.needs();
        let min_time = inputs.iter().map(|block| block.min_time()).min().unwrap_or_default();
        let max_time = inputs.iter().map(|block| block.max_time()).max().unwrap_or_default();
        let around = Around::new(snapshot, (min_time, max_time), decisions, &needs)?;
        let spans = if needs.spans || needs.bytes { Some(SpanReader::new(inputs, &needs)?) } else { None };
        Ok(Decider {
            needs,
            now: snapshot.taken_at(),
            delay_ns: sampling.delay_ns,
            sampler: &mut sampling.sampler,
            snapshot,
            elsewhere: Elsewhere::new(snapshot, inputs),
            around,
            spans,
            dropped: BTreeMap::new(),
            damage: None,
        })
    }

    /// When it decides, nanoseconds since the epoch.
    pub(crate) fn now(&self) -> i64 {
        self.now
    }

    /// What was dropped.
    pub(crate) fn dropped(&self) -> &BTreeMap<String, Dropped> {
        &self.dropped
    }

    /// Something that could not be read, where traces stay for it.
    pub(crate) fn damage(&self) -> Option<&Error> {
        self.damage.as_ref()
    }

    /// Whether it is time to decide about a trace, and nobody has.
    fn is_due(&self, entry: &TraceEntry) -> bool {
        let is_open = entry.fate == Fate::Undecided && entry.postings.span_count > 0;
        is_open && entry.end.saturating_add(self.delay_ns) <= self.now
    }

    /// What becomes of a trace; nothing yet where it is young or not all here. `rows` are the inputs and rows of its spans.
    pub(crate) fn decide(
        &mut self,
        gathered: &Gathered<'_>,
        rows: &mut dyn Iterator<Item = (u32, u32)>,
        texts: &mut Texts,
    ) -> Result<Fate, Error> {
        let entry = gathered.entry;
        if !self.is_due(entry) {
            return Ok(entry.fate);
        }
        let other = match self.elsewhere.of(entry.id) {
            Ok(other) if other.has_spans => return Ok(Fate::Undecided),
            Ok(other) => other,
            Err(error) => {
                self.damage.get_or_insert(error);
                return Ok(Fate::Undecided);
            }
        };
        let spans: Vec<Span> = match &mut self.spans {
            Some(reader) => reader.read(entry.id, rows)?,
            None => Vec::new(),
        };
        let about = About {
            id: entry.id,
            start: entry.start,
            end: entry.end,
            error_logs: u64::from(entry.error_log_count) + other.error_logs,
            exemplars: gathered.exemplars + other.exemplars,
            root: (texts.get(entry.root_service), texts.get(entry.root_name)),
        };
        let took_part = |service: &str| entry.services.iter().any(|of| texts.get(*of) == service);
        let evidence = self.around.evidence(&about, took_part);
        let trace = Trace {
            id: entry.id,
            start: entry.start,
            end: entry.end,
            span_count: u64::from(entry.postings.span_count),
            error_count: u64::from(entry.error_count),
            bytes: if self.needs.bytes { spans::bytes(&spans) } else { 0 },
            spans: &spans,
            evidence,
        };
        Ok(match self.sampler.decide(&trace, entry.end) {
            Decision::Keep { policy, adjusted_count } => {
                Fate::Kept { policy: texts.intern(policy), at: self.now, adjusted: adjusted_count }
            }
            Decision::Drop { policy } => {
                let spans = entry.postings.span_count;
                let sum = self.dropped.entry(policy.to_owned()).or_default();
                sum.traces += 1;
                sum.spans += u64::from(spans);
                Fate::Dropped { policy: texts.intern(policy), at: self.now, spans }
            }
        })
    }
}
