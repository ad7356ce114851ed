//! The service graph: requests from one service to another, found by putting both sides' spans together.
//!
//! A client's span is the parent of the server's: both know the trace and the client's span id. The first to come waits
//! for the other ([`crate::pairing`]). Where the other never comes:
//!
//! - a request to a database counts at once, because databases send no spans;
//! - a server's span without a parent is the request of a `user`;
//! - a client's span whose attributes name the peer becomes a request to a *virtual node* when the wait is over;
//! - what remains is counted as unpaired.

use std::sync::Arc;

use ahash::AHashSet;

use crate::columns::{CLIENT, CONSUMER, ERROR, PRODUCER, SERVER, Spans};
use crate::config::{Dimension, GraphConfig};
use crate::dimensions::{Dimensions, Precedence};
use crate::histogram::{Bounds, Histogram, Ids};
use crate::pairing::{EdgeKey, Half, Other, Pairing, Place};
use crate::peers::Peers;
use crate::table::{SEPARATOR, Slot, Table};

/// The client where a request comes from outside.
const USER: &str = "user";
/// At most so many names are shared; then sharing starts anew.
const NAMES_MAX: usize = 4_096;

/// What lies between the two sides: the first code of an edge's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Connection {
    /// A request.
    Direct = 0,
    /// A message.
    MessagingSystem = 1,
    /// A request to a database.
    Database = 2,
    /// A request whose other side is known by name only.
    VirtualNode = 3,
}

impl Connection {
    /// The value of the label `connection_type` for a code.
    pub fn label(code: u8) -> &'static str {
        match code {
            1 => "messaging_system",
            2 => "database",
            3 => "virtual_node",
            _ => "",
        }
    }
}

/// The values of one edge. Both histograms have the same count, which is the number of requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// Requests that either side calls failed.
    pub failed: f64,
    /// As the server saw it; as the client did, where no server's span came.
    pub server: Histogram,
    /// As the client saw it; as the server did, where no client's span came.
    pub client: Histogram,
}

/// What became of the sides of requests, since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GraphCounts {
    /// Pairs of spans that became a request.
    pub paired: u64,
    /// Sides whose wait was over.
    pub expired: u64,
    /// Of these, and of those that came twice, those that no request was made of.
    pub unpaired: u64,
    /// Sides for which there was no room.
    pub dropped: u64,
}

/// The requests that were counted.
#[derive(Debug)]
pub struct Edges {
    /// Edges by labels.
    pub table: Table<Edge>,
    /// The bounds of the histograms.
    pub bounds: Bounds,
    key: Vec<u8>,
    /// Those that were counted last, without labels of the user's choice.
    recent: Vec<Option<Recent>>,
}

/// How many edges are remembered: those between a few services.
const RECENT: usize = 64;

/// The series of an edge. It holds the names, so that no others come to lie where they are.
#[derive(Debug)]
struct Recent {
    connection: Connection,
    client: Arc<str>,
    server: Arc<str>,
    slot: Slot,
}

/// The service graph.
#[derive(Debug)]
pub struct ServiceGraph {
    /// Edges by labels.
    pub edges: Edges,
    /// Spans whose other side never came, by what is known of the two sides.
    pub unpaired: Table<f64>,
    /// Sides that wait.
    pub pairing: Pairing,
    /// Labels of the user's choice, for each side.
    pub dimensions: Dimensions,
    /// What became of the sides.
    pub counts: GraphCounts,
    peers: Peers,
    wait_ns: i64,
    names: AHashSet<Arc<str>>,
    user: Arc<str>,
    nobody: Arc<str>,
    /// Names of services by their code in the batch at hand.
    services: Vec<Arc<str>>,
    /// Clients of the batch at hand that met nobody, and their rows.
    came_first: Vec<(Place, u32)>,
    no_dimensions: Arc<[u8]>,
    key: Vec<u8>,
}

/// One side of a request, as far as it is counted.
#[derive(Clone, Copy)]
struct Side<'a> {
    service: &'a Arc<str>,
    dimensions: &'a [u8],
    failed: bool,
    duration_ns: u64,
    weight: f64,
}

impl<'a> Side<'a> {
    fn of(half: &'a Half) -> Side<'a> {
        Side {
            service: &half.service,
            dimensions: half.dimensions.as_deref().unwrap_or_default(),
            failed: half.failed,
            duration_ns: half.duration_ns,
            weight: half.weight,
        }
    }

    /// Of somebody who sent no span: all that is known of it is its name, and what the other side saw.
    fn unseen(service: &'a Arc<str>, dimensions: &'a [u8], other: &Side<'_>) -> Side<'a> {
        Side { service, dimensions, ..*other }
    }
}

impl Edges {
    fn new(bounds: Bounds, cardinality_limit: usize) -> Edges {
        let recent = std::iter::repeat_with(|| None).take(RECENT).collect();
        Edges { table: Table::new(cardinality_limit), bounds, key: Vec::new(), recent }
    }

    /// Counts a request.
    fn count(&mut self, connection: Connection, client: Side<'_>, server: Side<'_>, ids: Ids, now: i64) {
        let slot = self.slot(connection, client, server, now);
        let bounds = &self.bounds;
        let edge = self.table.at(slot, now, || Edge::new(bounds));
        let weight = client.weight.max(server.weight);
        if client.failed || server.failed {
            edge.failed += weight;
        }
        edge.server.observe(bounds, server.duration_ns, weight, now, || ids);
        edge.client.observe(bounds, client.duration_ns, weight, now, || ids);
    }

    /// The place of an edge: names are shared, so that most edges are found by where their names lie.
    fn slot(&mut self, connection: Connection, client: Side<'_>, server: Side<'_>, now: i64) -> Slot {
        let is_plain = client.dimensions.is_empty() && server.dimensions.is_empty();
        let place = place(client.service, server.service);
        if let Some(Some(recent)) = self.recent.get(place).filter(|_| is_plain)
            && recent.connection == connection
            && Arc::ptr_eq(&recent.client, client.service)
            && Arc::ptr_eq(&recent.server, server.service)
        {
            return recent.slot;
        }
        let key = &mut self.key;
        key.clear();
        key.extend([connection as u8, 0]);
        key.extend_from_slice(client.service.as_bytes());
        key.push(SEPARATOR);
        key.extend_from_slice(server.service.as_bytes());
        key.extend_from_slice(client.dimensions);
        key.extend_from_slice(server.dimensions);
        let bounds = &self.bounds;
        let slot = self.table.slot(key, now, || Edge::new(bounds));
        if let Some(recent) = self.recent.get_mut(place).filter(|_| is_plain && slot != Slot::OVERFLOW) {
            let (client, server) = (client.service.clone(), server.service.clone());
            *recent = Some(Recent { connection, client, server, slot });
        }
        slot
    }

    fn forget(&mut self, unseen_since: i64) {
        // What stays moves.
        self.recent.iter_mut().for_each(|recent| *recent = None);
        self.table.forget(unseen_since);
    }
}

impl Edge {
    fn new(bounds: &Bounds) -> Edge {
        Edge { failed: 0.0, server: Histogram::new(bounds), client: Histogram::new(bounds) }
    }
}

#[inline]
fn place(client: &Arc<str>, server: &Arc<str>) -> usize {
    let (client, server) = (client.as_ptr() as u64, server.as_ptr() as u64);
    // Fibonacci hashing (Knuth, volume 3, section 6.4): the high bits depend on all others.
    let hash = (client ^ server.rotate_left(24)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> 32) as usize % RECENT
}

impl ServiceGraph {
    /// Nothing counted yet; at most so many edges.
    pub fn new(config: &GraphConfig, cardinality_limit: usize) -> ServiceGraph {
        let list = config.dimensions.iter();
        let list = list.map(|name| Dimension { name: name.clone(), default: None }).collect();
        let dimensions = Dimensions::new(list, Precedence::Resource);
        let mut no_dimensions = Vec::new();
        dimensions.write_absent(&mut no_dimensions);
        ServiceGraph {
            edges: Edges::new(Bounds::new(&config.histogram_buckets), cardinality_limit),
            unpaired: Table::new(cardinality_limit),
            pairing: Pairing::new(config.store_limit),
            dimensions,
            counts: GraphCounts::default(),
            peers: Peers::new(&config.peer_attributes),
            wait_ns: i64::try_from(config.wait.as_nanos()).unwrap_or(i64::MAX),
            names: AHashSet::new(),
            user: USER.into(),
            nobody: "".into(),
            services: Vec::new(),
            came_first: Vec::new(),
            no_dimensions: no_dimensions.into(),
            key: Vec::new(),
        }
    }

    /// Looks every span of two sides through.
    pub fn observe(&mut self, spans: &Spans<'_>, now: i64) {
        let resources = self.dimensions.of_resources(spans);
        let mut dimensions = Vec::new();
        self.pairing.close_gaps();
        self.services.clear();
        for name in spans.services() {
            self.services.push(shared(&mut self.names, name));
        }
        for row in 0..spans.len() {
            let kind = spans.kind(row);
            if !matches!(kind, SERVER | CLIENT | PRODUCER | CONSUMER) {
                continue;
            }
            dimensions.clear();
            self.dimensions.write(spans, row, &resources, &mut dimensions);
            let is_client = matches!(kind, CLIENT | PRODUCER);
            let id = if is_client { Some(spans.span_id(row)) } else { spans.parent_span_id(row) };
            match id {
                Some(id) => self.side(EdgeKey::new(spans.trace_id(row), id), spans, row, &dimensions, now),
                None => self.outside(spans, row, &dimensions, now),
            }
        }
        self.name_peers(spans);
    }

    fn side(&mut self, key: EdgeKey, spans: &Spans<'_>, row: usize, dimensions: &[u8], now: i64) {
        let kind = spans.kind(row);
        let is_client = matches!(kind, CLIENT | PRODUCER);
        let is_messaging = matches!(kind, PRODUCER | CONSUMER);
        let service = self.services.get(spans.service_code(row)).unwrap_or(&self.nobody);
        let side = side_of(spans, row, service, dimensions);
        match self.pairing.meet(key, is_client) {
            Other::Nowhere => {}
            Other::Twice => {
                let service = service.clone();
                return self.count_unpaired(is_client, is_messaging, &service, side.weight, now);
            }
            Other::Here(other) => {
                self.counts.paired += 1;
                let is_messaging = is_messaging || other.is_messaging;
                let connection = if is_messaging { Connection::MessagingSystem } else { Connection::Direct };
                let other = Side::of(other);
                let (client, server) = if is_client { (side, other) } else { (other, side) };
                return self.edges.count(connection, client, server, key.ids(), now);
            }
        }
        if is_client
            && self.peers.may_be_database(spans.attributes(row))
            && let Some(peer) = self.peers.find(spans.attributes(row)).filter(|peer| peer.is_database)
        {
            let name = shared(&mut self.names, peer.name);
            let server = Side::unseen(&name, &self.no_dimensions, &side);
            return self.edges.count(Connection::Database, side, server, key.ids(), now);
        }
        let half = Half {
            is_client,
            is_messaging,
            failed: side.failed,
            arrived_at: now,
            duration_ns: side.duration_ns,
            weight: side.weight,
            service: service.clone(),
            peer: None,
            dimensions: (!dimensions.is_empty()).then(|| dimensions.into()),
        };
        match self.pairing.wait(key, half) {
            Some(place) if is_client => self.came_first.push((place, row as u32)),
            Some(_) => {}
            None => self.counts.dropped += 1,
        }
    }

    /// Looks for what clients say of the other side, of those that did not meet it in the same batch: their attributes are gone
    /// afterwards, and nobody asks before.
    fn name_peers(&mut self, spans: &Spans<'_>) {
        for (place, row) in self.came_first.drain(..) {
            let Some(half) = self.pairing.at(place) else { continue };
            let peer = self.peers.find(spans.attributes(row as usize));
            half.peer = peer.map(|peer| shared(&mut self.names, peer.name));
        }
    }

    /// A span of a server or consumer that nobody called.
    fn outside(&mut self, spans: &Spans<'_>, row: usize, dimensions: &[u8], now: i64) {
        let is_consumer = spans.kind(row) == CONSUMER;
        let peer = if is_consumer { self.peers.find(spans.attributes(row)) } else { None };
        let name = peer.map_or_else(|| self.user.clone(), |peer| shared(&mut self.names, peer.name));
        let service = self.services.get(spans.service_code(row)).unwrap_or(&self.nobody);
        let server = side_of(spans, row, service, dimensions);
        let client = Side::unseen(&name, &self.no_dimensions, &server);
        let ids = (spans.trace_id(row), spans.span_id(row));
        self.edges.count(Connection::VirtualNode, client, server, ids, now);
    }

    fn count_unpaired(&mut self, is_client: bool, is_messaging: bool, service: &str, weight: f64, now: i64) {
        self.counts.unpaired += 1;
        let connection = if is_messaging { Connection::MessagingSystem } else { Connection::Direct };
        let (client, server) = if is_client { (service, "") } else { ("", service) };
        let key = &mut self.key;
        key.clear();
        key.extend([connection as u8, 0]);
        key.extend_from_slice(client.as_bytes());
        key.push(SEPARATOR);
        key.extend_from_slice(server.as_bytes());
        *self.unpaired.entry(key, now, || 0.0) += weight;
    }

    /// Ends the wait of those that came too long ago.
    pub fn expire(&mut self, now: i64) {
        while let Some((key, half)) = self.pairing.expired(now.saturating_sub(self.wait_ns)) {
            self.counts.expired += 1;
            let client = Side::of(&half);
            match &half.peer {
                Some(peer) => {
                    let server = Side::unseen(peer, &self.no_dimensions, &client);
                    self.edges.count(Connection::VirtualNode, client, server, key.ids(), now);
                }
                None => {
                    self.count_unpaired(half.is_client, half.is_messaging, &half.service, half.weight, now);
                }
            }
        }
    }

    /// Forgets series in which nothing was counted since.
    pub fn forget(&mut self, unseen_since: i64) {
        self.edges.forget(unseen_since);
        self.unpaired.forget(unseen_since);
    }

    /// The clock was set back.
    pub fn set_back(&mut self, now: i64) {
        self.edges.table.set_back(now);
        self.unpaired.set_back(now);
        self.pairing.set_back(now);
    }

    /// The names of the labels, in the order of a key's texts.
    pub fn labels(&self) -> Vec<String> {
        let sides = ["client", "server"];
        let own = sides.map(str::to_owned).into_iter();
        let of_side = |side: &'static str| self.dimensions.labels().map(move |name| format!("{side}_{name}"));
        own.chain(sides.into_iter().flat_map(of_side)).collect()
    }
}

fn side_of<'a>(spans: &Spans<'_>, row: usize, service: &'a Arc<str>, dimensions: &'a [u8]) -> Side<'a> {
    Side {
        service,
        dimensions,
        failed: spans.status(row) == ERROR,
        duration_ns: spans.duration_ns(row),
        weight: spans.weight(row),
    }
}

/// One copy of a name for all that carry it.
fn shared(names: &mut AHashSet<Arc<str>>, name: &str) -> Arc<str> {
    if let Some(known) = names.get(name) {
        return known.clone();
    }
    if names.len() >= NAMES_MAX {
        names.clear();
    }
    let name: Arc<str> = name.into();
    names.insert(name.clone());
    name
}
