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
use crate::dimensions::{Dimensions, OfResources, Precedence};
use crate::histogram::{Bounds, Histogram, Ids};
use crate::pairing::{EdgeKey, Half, Met, Pairing};
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
    no_dimensions: Arc<[u8]>,
    key: Vec<u8>,
}

/// A request between two services.
struct Request<'a> {
    connection: Connection,
    client: &'a str,
    server: &'a str,
    client_dimensions: &'a [u8],
    server_dimensions: &'a [u8],
    failed: bool,
    client_ns: u64,
    server_ns: u64,
    weight: f64,
    ids: Ids,
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
            no_dimensions: no_dimensions.into(),
            key: Vec::new(),
        }
    }

    /// Looks every span of two sides through.
    pub fn observe(&mut self, spans: &Spans<'_>, now: i64) {
        let resources = self.dimensions.of_resources(spans);
        let mut services: Vec<Option<Arc<str>>> = vec![None; spans.services().len()];
        for row in 0..spans.len() {
            let kind = spans.kind(row);
            if !matches!(kind, SERVER | CLIENT | PRODUCER | CONSUMER) {
                continue;
            }
            let is_client = matches!(kind, CLIENT | PRODUCER);
            let span_id = if is_client { Some(spans.span_id(row)) } else { spans.parent_span_id(row) };
            let Some(service) = services.get_mut(spans.service_code(row)) else { continue };
            let service = service.get_or_insert_with(|| shared(&mut self.names, spans.service(row))).clone();
            let half = Half {
                is_client,
                is_messaging: matches!(kind, PRODUCER | CONSUMER),
                failed: spans.status(row) == ERROR,
                arrived_at: now,
                duration_ns: spans.duration_ns(row),
                weight: spans.weight(row),
                service,
                peer: None,
                dimensions: self.dimensions_of(spans, row, &resources),
            };
            match span_id {
                Some(id) => {
                    let trace_id = u128::from_be_bytes(spans.trace_id(row));
                    let key = EdgeKey { trace_id, span_id: u64::from_be_bytes(id) };
                    self.side(key, half, spans.attributes(row), now);
                }
                None => self.from_outside(&half, spans, row, now),
            }
        }
    }

    fn dimensions_of(&mut self, spans: &Spans<'_>, row: usize, resources: &OfResources) -> Arc<[u8]> {
        if self.dimensions.is_empty() {
            return self.no_dimensions.clone();
        }
        let mut values = Vec::new();
        self.dimensions.write(spans, row, resources, &mut values);
        values.into()
    }

    fn side(&mut self, key: EdgeKey, mut half: Half, attributes: &[u8], now: i64) {
        if half.is_client
            && let Some(peer) = self.peers.find(attributes)
        {
            if peer.is_database {
                return self.to_virtual_node(&key, &half, &peer.name, Connection::Database, now);
            }
            half.peer = Some(shared(&mut self.names, &peer.name));
        }
        match self.pairing.meet(key, half) {
            Met::Waits => {}
            Met::Full => self.counts.dropped += 1,
            Met::Twice(half) => self.count_unpaired(&half, now),
            Met::Pair(this, other) => {
                self.counts.paired += 1;
                let (client, server) = if this.is_client { (this, other) } else { (other, this) };
                let is_messaging = client.is_messaging || server.is_messaging;
                let connection =
                    if is_messaging { Connection::MessagingSystem } else { Connection::Direct };
                let request = Request {
                    connection,
                    client: &client.service,
                    server: &server.service,
                    client_dimensions: &client.dimensions,
                    server_dimensions: &server.dimensions,
                    failed: client.failed || server.failed,
                    client_ns: client.duration_ns,
                    server_ns: server.duration_ns,
                    weight: client.weight.max(server.weight),
                    ids: ids_of(&key),
                };
                self.count(&request, now);
            }
        }
    }

    /// A span of a server or consumer that nobody called.
    fn from_outside(&mut self, half: &Half, spans: &Spans<'_>, row: usize, now: i64) {
        let peer = if half.is_messaging { self.peers.find(spans.attributes(row)) } else { None };
        let no_dimensions = self.no_dimensions.clone();
        let request = Request {
            connection: Connection::VirtualNode,
            client: peer.as_ref().map_or(USER, |peer| &peer.name),
            server: &half.service,
            client_dimensions: &no_dimensions,
            server_dimensions: &half.dimensions,
            failed: half.failed,
            client_ns: half.duration_ns,
            server_ns: half.duration_ns,
            weight: half.weight,
            ids: (spans.trace_id(row), spans.span_id(row)),
        };
        self.count(&request, now);
    }

    fn to_virtual_node(&mut self, key: &EdgeKey, half: &Half, server: &str, connection: Connection, now: i64) {
        let no_dimensions = self.no_dimensions.clone();
        let request = Request {
            connection,
            client: &half.service,
            server,
            client_dimensions: &half.dimensions,
            server_dimensions: &no_dimensions,
            failed: half.failed,
            client_ns: half.duration_ns,
            server_ns: half.duration_ns,
            weight: half.weight,
            ids: ids_of(key),
        };
        self.count(&request, now);
    }

    fn count(&mut self, request: &Request<'_>, now: i64) {
        let key = &mut self.key;
        key.clear();
        key.extend([request.connection as u8, 0]);
        key.extend_from_slice(request.client.as_bytes());
        key.push(SEPARATOR);
        key.extend_from_slice(request.server.as_bytes());
        key.extend_from_slice(request.client_dimensions);
        key.extend_from_slice(request.server_dimensions);
        let bounds = &self.bounds;
        let new = || Edge { failed: 0.0, server: Histogram::new(bounds), client: Histogram::new(bounds) };
        let edge = self.table.entry(key, now, new);
        if request.failed {
            edge.failed += request.weight;
        }
        edge.server.observe(bounds, request.server_ns, request.weight, now, || request.ids);
        edge.client.observe(bounds, request.client_ns, request.weight, now, || request.ids);
    }

    fn count_unpaired(&mut self, half: &Half, now: i64) {
        self.counts.unpaired += 1;
        let connection = if half.is_messaging { Connection::MessagingSystem } else { Connection::Direct };
        let (client, server) = if half.is_client { (&*half.service, "") } else { ("", &*half.service) };
        let key = &mut self.key;
        key.clear();
        key.extend([connection as u8, 0]);
        key.extend_from_slice(client.as_bytes());
        key.push(SEPARATOR);
        key.extend_from_slice(server.as_bytes());
        *self.unpaired.entry(key, now, || 0.0) += half.weight;
    }

    /// Ends the wait of those that came too long ago.
    pub fn expire(&mut self, now: i64) {
        while let Some((key, half)) = self.pairing.expired(now.saturating_sub(self.wait_ns)) {
            self.counts.expired += 1;
            match &half.peer {
                Some(peer) => self.to_virtual_node(&key, &half, peer, Connection::VirtualNode, now),
                None => self.count_unpaired(&half, now),
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

fn ids_of(key: &EdgeKey) -> Ids {
    (key.trace_id.to_be_bytes(), key.span_id.to_be_bytes())
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
