//! What a span says of the other side of its request, where that sends no spans itself.

use throughline_model::attribute::{self, RawValue};

use crate::config::label_value;
use crate::dimensions::text_of;

/// Attributes that only a client of a database sets; the first that is there names it.
const DATABASE: [&str; 4] = ["db.namespace", "db.name", "db.system.name", "db.system"];
/// Set by hand: it names the peer whatever else is known.
const EXPLICIT: &str = "peer.service";

/// The other side of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Whether it is a database, which never sends spans.
    pub is_database: bool,
}

/// The attributes that are looked for.
#[derive(Debug)]
pub struct Peers {
    /// Those of a database first; within each part the first that is there counts.
    wanted: Vec<Vec<u8>>,
    /// A bit for every length that a wanted key has: most keys are told apart by it.
    lengths: u64,
}

impl Peers {
    /// With the attributes of the user's choice after those of databases.
    pub fn new(peer_attributes: &[String]) -> Peers {
        let keys = DATABASE.into_iter().chain(peer_attributes.iter().map(String::as_str));
        let wanted: Vec<Vec<u8>> = keys.map(|key| key.as_bytes().to_vec()).collect();
        let lengths = wanted.iter().fold(0, |bits, key| bits | length_bit(key));
        Peers { wanted, lengths }
    }

    /// Looks a span's attribute list through.
    pub fn find(&self, list: &[u8]) -> Option<Peer> {
        let (mut database, mut peer) = (None, None);
        for (key, value) in attribute::iter_raw(list) {
            if self.lengths & length_bit(key) == 0 {
                continue;
            }
            let Some(rank) = self.wanted.iter().position(|wanted| wanted == key) else { continue };
            let best = if rank < DATABASE.len() { &mut database } else { &mut peer };
            if best.is_none_or(|(best, _)| rank < best) && names(value) {
                *best = Some((rank, value));
            }
        }
        let is_explicit =
            |(rank, _): &(usize, RawValue<'_>)| self.wanted.get(*rank).is_some_and(|key| key == EXPLICIT.as_bytes());
        let (_, value) = peer.filter(is_explicit).or(database).or(peer)?;
        let name = label_value(&text_of(value)?).to_owned();
        Some(Peer { name, is_database: database.is_some() })
    }
}

fn length_bit(key: &[u8]) -> u64 {
    1 << (key.len() & 63)
}

/// Whether a value can name somebody: the numbers of Redis' databases cannot.
fn names(value: RawValue<'_>) -> bool {
    match value {
        RawValue::Text(text) => !text.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use throughline_model::protobuf::put_bytes;

    use super::*;
    use crate::config::GraphConfig;

    fn find(attributes: &[(&str, &str)]) -> Option<(String, bool)> {
        let mut list = Vec::new();
        for (key, value) in attributes {
            let (mut any, mut message) = (Vec::new(), Vec::new());
            put_bytes(&mut any, 1, value.as_bytes());
            put_bytes(&mut message, 1, key.as_bytes());
            put_bytes(&mut message, 2, &any);
            throughline_model::protobuf::put_varint(&mut list, message.len() as u64);
            list.extend(message);
        }
        let peers = Peers::new(&GraphConfig::default().peer_attributes);
        peers.find(&list).map(|peer| (peer.name, peer.is_database))
    }

    #[test]
    fn the_surest_attribute_names_the_peer() {
        let name = |text: &str, is_database| Some((text.to_owned(), is_database));
        assert_eq!(find(&[("http.method", "GET")]), None);
        assert_eq!(find(&[("server.address", "pay.example"), ("peer.service", "pay")]), name("pay", false));
        assert_eq!(find(&[("net.peer.name", "pay.example")]), name("pay.example", false));
        assert_eq!(find(&[("db.system", "postgresql"), ("db.name", "orders")]), name("orders", true));
        assert_eq!(find(&[("db.system", "redis"), ("db.namespace", "0")]), name("redis", true));
        assert_eq!(find(&[("db.system", "redis"), ("peer.service", "cache")]), name("cache", true));
        assert_eq!(find(&[("server.address", "db1"), ("db.system.name", "mysql")]), name("mysql", true));
        assert_eq!(
            find(&[("messaging.system", "kafka"), ("messaging.destination.name", "orders")]),
            name("orders", false)
        );
        assert_eq!(find(&[("peer.service", "")]), None);
    }
}
