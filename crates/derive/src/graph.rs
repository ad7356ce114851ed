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
use crate::pairing::{EdgeKey, Half, Other, Pairing};
use crate::peers::Peers;
use crate::table::{SEPARATOR, Table};

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

/// The service graph.
#[derive(Debug)]
pub struct ServiceGraph {
    /// Edges by labels.
    pub table: Table<Edge>,
    /// Spans whose other side never came, by what is known of the two sides.
    pub unpaired: Table<f64>,
    /// Sides that wait.
    pub pairing: Pairing,
    /// The bounds of the histograms.
    pub bounds: Bounds,
    /// Labels of the user's choice, for each side.
    pub dimensions: Dimensions,
    /// What became of the sides.
    pub counts: GraphCounts,
    peers: Peers,
    wait_ns: i64,
    names: AHashSet<Arc<str>>,
    /// Names of services by their code in the batch at hand.
    services: Vec<Option<Arc<str>>>,
    no_dimensions: Arc<[u8]>,
    key: Vec<u8>,
}

/// One side of a request, as far as it is counted.
#[derive(Clone, Copy)]
struct Side<'a> {
    service: &'a str,
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
    fn unseen(service: &'a str, dimensions: &'a [u8], other: &Side<'_>) -> Side<'a> {
        Side { service, dimensions, ..*other }
    }
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
            table: Table::new(cardinality_limit),
            unpaired: Table::new(cardinality_limit),
            pairing: Pairing::new(config.store_limit),
            bounds: Bounds::new(&config.histogram_buckets),
            dimensions,
            counts: GraphCounts::default(),
            peers: Peers::new(&config.peer_attributes),
            wait_ns: i64::try_from(config.wait.as_nanos()).unwrap_or(i64::MAX),
            names: AHashSet::new(),
            services: Vec::new(),
            no_dimensions: no_dimensions.into(),
            key: Vec::new(),
        }
    }

    /// Looks every span of two sides through.
    pub fn observe(&mut self, spans: &Spans<'_>, now: i64) {
        let resources = self.dimensions.of_resources(spans);
        let mut dimensions = Vec::new();
        self.services.clear();
        for row in 0..spans.len() {
            let kind = spans.kind(row);
            if !matches!(kind, SERVER | CLIENT | PRODUCER | CONSUMER) {
                continue;
            }
            dimensions.clear();
            self.dimensions.write(spans, row, &resources, &mut dimensions);
            let side = Side {
                service: spans.service(row),
                dimensions: &dimensions,
                failed: spans.status(row) == ERROR,
                duration_ns: spans.duration_ns(row),
                weight: spans.weight(row),
            };
            let code = spans.service_code(row);
            let is_client = matches!(kind, CLIENT | PRODUCER);
            let id = if is_client { Some(spans.span_id(row)) } else { spans.parent_span_id(row) };
            match id {
                Some(id) => {
                    let key = EdgeKey::new(spans.trace_id(row), id);
                    self.side(key, kind, (side, code), spans.attributes(row), now);
                }
                None => self.outside(kind, side, spans, row, now),
            }
        }
    }

    /// `code` is that of the side's service in the batch at hand.
    fn side(&mut self, key: EdgeKey, kind: u8, (side, code): (Side<'_>, usize), attributes: &[u8], now: i64) {
        let is_client = matches!(kind, CLIENT | PRODUCER);
        let is_messaging = matches!(kind, PRODUCER | CONSUMER);
        match self.pairing.meet(key, is_client) {
            Other::Nowhere => {}
            Other::Twice => return self.count_unpaired(is_client, is_messaging, side, now),
            Other::Here(other) => {
                self.counts.paired += 1;
                let is_messaging = is_messaging || other.is_messaging;
                let connection = if is_messaging { Connection::MessagingSystem } else { Connection::Direct };
                let other = Side::of(&other);
                let (client, server) = if is_client { (side, other) } else { (other, side) };
                return self.count(connection, client, server, key.ids(), now);
            }
        }
        let peer = if is_client { self.peers.find(attributes) } else { None };
        let mut shared_peer = None;
        if let Some(peer) = peer {
            if peer.is_database {
                return self.virtual_request(Connection::Database, side, peer.name, key.ids(), now);
            }
            shared_peer = Some(shared(&mut self.names, peer.name));
        }
        let half = Half {
            is_client,
            is_messaging,
            failed: side.failed,
            arrived_at: now,
            duration_ns: side.duration_ns,
            weight: side.weight,
            service: self.service(code, side.service),
            peer: shared_peer,
            dimensions: (!side.dimensions.is_empty()).then(|| side.dimensions.into()),
        };
        if !self.pairing.wait(key, half) {
            self.counts.dropped += 1;
        }
    }

    /// One copy of a service's name for all that carry it, found by its code in the batch at hand.
    fn service(&mut self, code: usize, name: &str) -> Arc<str> {
        if code >= NAMES_MAX {
            return shared(&mut self.names, name);
        }
        if code >= self.services.len() {
            self.services.resize(code + 1, None);
        }
        let names = &mut self.names;
        self.services[code].get_or_insert_with(|| shared(names, name)).clone()
    }

    /// A span of a server or consumer that nobody called.
    fn outside(&mut self, kind: u8, server: Side<'_>, spans: &Spans<'_>, row: usize, now: i64) {
        let peer = if kind == CONSUMER { self.peers.find(spans.attributes(row)) } else { None };
        let name = peer.as_ref().map_or(USER, |peer| peer.name);
        let no_dimensions = self.no_dimensions.clone();
        let client = Side::unseen(name, &no_dimensions, &server);
        let ids = (spans.trace_id(row), spans.span_id(row));
        self.count(Connection::VirtualNode, client, server, ids, now);
    }

    fn virtual_request(&mut self, connection: Connection, client: Side<'_>, name: &str, ids: Ids, now: i64) {
        let no_dimensions = self.no_dimensions.clone();
        let server = Side::unseen(name, &no_dimensions, &client);
        self.count(connection, client, server, ids, now);
    }

    fn count(&mut self, connection: Connection, client: Side<'_>, server: Side<'_>, ids: Ids, now: i64) {
        let key = &mut self.key;
        key.clear();
        key.extend([connection as u8, 0]);
        key.extend_from_slice(client.service.as_bytes());
        key.push(SEPARATOR);
        key.extend_from_slice(server.service.as_bytes());
        key.extend_from_slice(client.dimensions);
        key.extend_from_slice(server.dimensions);
        let bounds = &self.bounds;
        let new = || Edge { failed: 0.0, server: Histogram::new(bounds), client: Histogram::new(bounds) };
        let edge = self.table.entry(key, now, new);
        let weight = client.weight.max(server.weight);
        if client.failed || server.failed {
            edge.failed += weight;
        }
        edge.server.observe(bounds, server.duration_ns, weight, now, || ids);
        edge.client.observe(bounds, client.duration_ns, weight, now, || ids);
    }

    fn count_unpaired(&mut self, is_client: bool, is_messaging: bool, side: Side<'_>, now: i64) {
        self.counts.unpaired += 1;
        let connection = if is_messaging { Connection::MessagingSystem } else { Connection::Direct };
        let (client, server) = if is_client { (side.service, "") } else { ("", side.service) };
        let key = &mut self.key;
        key.clear();
        key.extend([connection as u8, 0]);
        key.extend_from_slice(client.as_bytes());
        key.push(SEPARATOR);
        key.extend_from_slice(server.as_bytes());
        *self.unpaired.entry(key, now, || 0.0) += side.weight;
    }

    /// Ends the wait of those that came too long ago.
    pub fn expire(&mut self, now: i64) {
        while let Some((key, half)) = self.pairing.expired(now.saturating_sub(self.wait_ns)) {
            self.counts.expired += 1;
            let side = Side::of(&half);
            match &half.peer {
                Some(peer) => self.virtual_request(Connection::VirtualNode, side, peer, key.ids(), now),
                None => self.count_unpaired(half.is_client, half.is_messaging, side, now),
            }
        }
    }

    /// Forgets series in which nothing was counted since.
    pub fn forget(&mut self, unseen_since: i64) {
        self.table.forget(unseen_since);
        self.unpaired.forget(unseen_since);
    }

    /// The clock was set back.
    pub fn set_back(&mut self, now: i64) {
        self.table.set_back(now);
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
