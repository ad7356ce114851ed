//! Plans a trace: which spans it has, in which services, and when. What spans, logs and exemplars agree on.
//!
//! 1. The entrance and its route name a template: a tree of calls, fixed for a seed, as real routes are.
//! 2. A trace follows its template, skips a leaf now and then, and takes times with a long tail.
//! 3. Durations add up from the leaves; starts follow from the root. Children lie within their parents, except
//!    consumers of messages, which run later.
//! 4. In some traces one leaf fails, and the failure climbs until a parent handles it.

use crate::catalog::{INSTANCES_PER_SERVICE, ROUTES_PER_SERVICE, SERVICES};
use crate::random::Random;

/// Time between the starts of neighbouring traces, where nobody chose another: 200,000 traces fill an hour.
pub const TRACE_INTERVAL_NS: u64 = 18_000_000;
/// The newest trace starts this long before the base time, so that all of its spans have ended by then.
pub const MARGIN_NS: u64 = 20_000_000_000;
/// Share of traces with a failure.
const FAILURE_SHARE: f64 = 0.03;
/// How often a parent does not handle the failure of its child.
const FAILURE_CLIMBS: f64 = 0.7;
/// Calls deeper than this are not planned.
const DEPTH_MAX: usize = 8;
/// A trace as generated never gets longer than this.
const TRACE_NS_MAX: f64 = 15e9;

/// What a span is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Serves an HTTP route of its service.
    Serve {
        /// Which of the service's routes.
        route: usize,
    },
    /// Calls an HTTP route of another service.
    Call {
        /// The other service.
        service: usize,
        /// Which of its routes.
        route: usize,
    },
    /// Queries the database of its service.
    Query {
        /// What is done.
        operation: usize,
        /// To which table.
        table: usize,
    },
    /// Looks something up in a cache.
    Cache,
    /// Works within the process.
    Internal {
        /// Which step.
        step: usize,
    },
    /// Sends a message.
    Publish {
        /// To which topic.
        topic: usize,
    },
    /// Handles a message.
    Consume {
        /// From which topic.
        topic: usize,
    },
}

/// One span of a planned trace.
#[derive(Clone, Debug)]
pub struct PlannedSpan {
    /// Its id, never 0.
    pub id: u64,
    /// The index of its parent within the trace; parents come first.
    pub parent: Option<usize>,
    /// The service that did the work.
    pub service: usize,
    /// Which of all instances did it.
    pub instance: usize,
    /// What it is about.
    pub work: Work,
    /// When it started, nanoseconds since 1970.
    pub start_ns: u64,
    /// How long it took.
    pub duration_ns: u64,
    /// Whether it failed.
    pub failed: bool,
}

/// A planned trace.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The trace id.
    pub trace_id: [u8; 16],
    /// The user who caused it, a number below 100,000.
    pub user: u64,
    /// Its spans, parents first.
    pub spans: Vec<PlannedSpan>,
}

/// Plans the trace with a number; number 0 is the newest, and a higher number is older.
pub fn plan(seed: u64, base_time_ns: u64, interval_ns: u64, number: u64) -> Plan {
    let mut random = Random::of(seed, 0x7ace, number);
    let trace_id = trace_id(&mut random);
    let (entrance, route) = (random.index(3), random.skewed(ROUTES_PER_SERVICE));
    let nodes = template(seed, entrance, route);
    let kept = keep(&nodes, &mut random);
    let instances: Vec<usize> = (0..SERVICES).map(|_| random.index(INSTANCES_PER_SERVICE)).collect();
    let mut spans = Vec::with_capacity(nodes.len());
    let mut place = vec![0; nodes.len()];
    for (at, node) in nodes.iter().enumerate().filter(|(at, _)| kept[*at]) {
        place[at] = spans.len();
        spans.push(PlannedSpan {
            id: random.bits() | 1,
            parent: node.parent.map(|parent| place[parent]),
            service: node.service,
            instance: node.service * INSTANCES_PER_SERVICE + instances[node.service],
            work: node.work,
            start_ns: 0,
            duration_ns: (node.own_ns * random.tail()) as u64 + 20_000,
            failed: false,
        });
    }
    let start_ns = base_time_ns.saturating_sub(MARGIN_NS + number * interval_ns) + random.below(interval_ns);
    time(&mut spans, start_ns, &mut random);
    if random.chance(FAILURE_SHARE) {
        fail(&mut spans, &mut random);
    }
    Plan { trace_id, user: random.skewed(100_000) as u64, spans }
}

fn trace_id(random: &mut Random) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&(random.bits() | 1).to_be_bytes());
    id[8..].copy_from_slice(&random.bits().to_be_bytes());
    id
}

struct Node {
    parent: Option<usize>,
    depth: usize,
    service: usize,
    work: Work,
    own_ns: f64,
}

/// Grows the tree of calls of an entrance and route: 4 to 17 spans, about 10.
fn template(seed: u64, entrance: usize, route: usize) -> Vec<Node> {
    let mut random = Random::of(seed, 0x7e3b, (entrance * ROUTES_PER_SERVICE + route) as u64);
    let size = 4 + random.index(14);
    let mut nodes = vec![Node {
        parent: None,
        depth: 0,
        service: entrance,
        work: Work::Serve { route },
        own_ns: 900_000.0,
    }];
    while nodes.len() < size {
        let candidates: Vec<usize> = (0..nodes.len())
            .filter(|at| nodes[*at].depth < DEPTH_MAX)
            .filter(|at| {
                matches!(nodes[*at].work, Work::Serve { .. } | Work::Internal { .. } | Work::Consume { .. })
            })
            .collect();
        let parent = *random.pick(&candidates);
        grow(&mut nodes, parent, &mut random);
    }
    nodes
}

/// Adds one call (one or two spans) under a parent.
fn grow(nodes: &mut Vec<Node>, parent: usize, random: &mut Random) {
    let (depth, service) = (nodes[parent].depth + 1, nodes[parent].service);
    let mut add = |parent: usize, depth: usize, service: usize, work: Work, own_ns: f64| {
        nodes.push(Node { parent: Some(parent), depth, service, work, own_ns });
        nodes.len() - 1
    };
    match random.below(100) {
        0..38 => {
            let (other, route) = (3 + random.index(SERVICES - 3), random.skewed(ROUTES_PER_SERVICE));
            let call = add(parent, depth, service, Work::Call { service: other, route }, 400_000.0);
            add(call, depth + 1, other, Work::Serve { route }, 1_200_000.0);
        }
        38..72 => {
            let work = Work::Query { operation: random.skewed(4), table: random.index(3) };
            add(parent, depth, service, work, 2_500_000.0);
        }
        72..84 => {
            add(parent, depth, service, Work::Cache, 350_000.0);
        }
        84..94 => {
            add(parent, depth, service, Work::Internal { step: random.index(6) }, 700_000.0);
        }
        _ => {
            let (other, topic) = (3 + random.index(SERVICES - 3), random.index(8));
            let publish = add(parent, depth, service, Work::Publish { topic }, 600_000.0);
            add(publish, depth + 1, other, Work::Consume { topic }, 4_000_000.0);
        }
    }
}

/// Decides which spans of the template happen this time: now and then a leaf does not.
fn keep(nodes: &[Node], random: &mut Random) -> Vec<bool> {
    let mut kept = vec![true; nodes.len()];
    for at in 1..nodes.len() {
        let leaf = matches!(nodes[at].work, Work::Query { .. } | Work::Cache);
        kept[at] = !(leaf && random.chance(0.06));
    }
    kept
}

fn time(spans: &mut [PlannedSpan], start_ns: u64, random: &mut Random) {
    for at in (1..spans.len()).rev() {
        let (own, later) = (spans[at].duration_ns, matches!(spans[at].work, Work::Consume { .. }));
        if let (Some(parent), false) = (spans[at].parent, later) {
            let gap = 30_000 + random.below(200_000);
            let total = spans[parent].duration_ns as f64 + own as f64 + gap as f64;
            spans[parent].duration_ns = total.min(TRACE_NS_MAX) as u64;
        }
    }
    let mut cursor: Vec<u64> = vec![0; spans.len()];
    for at in 0..spans.len() {
        let start = match spans[at].parent {
            None => start_ns,
            Some(parent) if matches!(spans[at].work, Work::Consume { .. }) => {
                spans[parent].start_ns + spans[parent].duration_ns + 1_000_000 + random.below(20_000_000)
            }
            Some(parent) => cursor[parent] + 10_000 + random.below(25_000),
        };
        spans[at].start_ns = start;
        cursor[at] = start;
        if let Some(parent) = spans[at].parent {
            cursor[parent] = start + spans[at].duration_ns;
        }
    }
}

fn fail(spans: &mut [PlannedSpan], random: &mut Random) {
    let mut at = random.index(spans.len());
    loop {
        spans[at].failed = true;
        match spans[at].parent {
            Some(parent) if random.chance(FAILURE_CLIMBS) => at = parent,
            _ => return,
        }
    }
}
